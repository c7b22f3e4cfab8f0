"""The rest of a program: what is left to do where its first guards are known to hold."""

from __future__ import annotations

from chainrule.debugging import Shown
from chainrule.passes.inline import Inlining
from chainrule.passes.rebuild import Rebuilding
from chainrule.program import nests
from chainrule.program.builder import Builder
from chainrule.program.form import Compute, Guard, Program, Statement
from chainrule.program.nests import Path, paths


def going_on(program: Program, guards: int) -> Program:
    """A program without its first guards, of which it is known that they hold, built for good.

    Equal values become one, and users' operations those that their values are made of.

    Args:
        program: one without segments and carries; it stays as it is.
        guards: how many of them.
    """
    return _GoingOn(program, guards).finished()


class _GoingOn(Rebuilding):
    """Builds a program again without guards that are known to hold.

    In a loop, a guard stays if it is not known of all its instances.
    """

    def __init__(self, program: Program, guards: int) -> None:
        super().__init__(program, Builder(program.inputs, program.guards, final=True))
        self._inlining = Inlining()
        self._known: set[Statement] = set()
        if guards:
            for statement, path in paths(program.body):
                if not isinstance(statement, Guard) or _is_printed(statement):
                    continue
                if _most(statement, path) < guards:
                    self._known.add(statement)

    def statement(self, statement: Statement) -> None:
        if isinstance(statement, Compute) and not statement.operation.builtin:
            operands = [self.value(x) for x in statement.operands]
            operation = statement.operation
            self.values[statement] = self._inlining.compute(self.builder, operation, operands)
        elif statement not in self._known:
            super().statement(statement)


def _is_printed(guard: Guard) -> bool:
    """Whether it is there for a debug_print, which prints once it is known which path is taken."""
    condition = guard.condition
    asked = condition.operands if isinstance(condition, Compute) else ()
    return any(isinstance(x, Compute) and isinstance(x.operation, Shown) for x in asked)


def _most(guard: Guard, path: Path) -> int:
    """The greatest of its numbers."""
    return int(nests.numbers(guard.number, path).max(initial=-1))
