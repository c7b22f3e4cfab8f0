"""A program without loops as the tape that the lowering reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.backends.llvm.vector_math import COMPILED
from chainrule.program.builder import Builder
from chainrule.program.form import Compute, Guard, Load, Operand, Program
from chainrule.rules import Operation


class FlatTape:
    """The linear form of a program."""

    def __init__(self, program: Program) -> None:
        self.operations: list[str] = []
        self.operands: list[tuple[int, ...]] = []
        self.constants: dict[int, float] = {}
        self.user: dict[str, Operation] = {}
        self.n_inputs = program.inputs.size
        self.guards: list[tuple[int, bool]] = []
        self.numbers: list[int] = []
        self._values: dict[object, int] = {}
        for statement in program.body:
            if isinstance(statement, Load):
                self._add(statement, "input", (statement.index.offset,))
            elif isinstance(statement, Guard):
                self.guards.append((self._operand(statement.condition), statement.outcome))
                self.numbers.append(statement.number.offset)
            else:
                assert isinstance(statement, Compute)
                operands = tuple([self._operand(x) for x in statement.operands])
                self._add(statement, self._name(statement.operation), operands)
        self.outputs = [self._operand(x) for x in program.outputs]  # type: ignore[arg-type]

    def _add(self, key: object, name: str, operands: tuple[int, ...]) -> int:
        self._values[key] = len(self.operations)
        self.operations.append(name)
        self.operands.append(operands)
        return len(self.operations) - 1

    def _operand(self, x: Operand) -> int:
        key: object = repr(x) if isinstance(x, float) else x
        found = self._values.get(key)
        if found is None:
            assert isinstance(x, float)
            found = self._add(key, "constant", ())
            self.constants[found] = x
        return found

    def _name(self, operation: Operation) -> str:
        if operation.builtin and operation.name in COMPILED:
            return operation.name
        for name, known in self.user.items():
            if known is operation:
                return name
        name = f"{operation.name}#{len(self.user)}"
        self.user[name] = operation
        return name


def going_on(program: Program, guards: int, outputs: Sequence[Any]) -> Program:
    """A program without its first guards, of which it is known that they hold, for good.

    Args:
        program: a program without loops.
        guards: how many of them.
        outputs: those that are still wanted.
    """
    builder = Builder(program.inputs.size, final=True)
    values: dict[Any, Operand] = {}
    for statement in program.body:
        builder.note = statement.note
        operands = [values.get(x, x) for x in statement.operands]
        if isinstance(statement, Compute):
            values[statement] = builder.compute(statement.operation, operands)
        elif isinstance(statement, Load):
            values[statement] = builder.load(builder.inputs, statement.index)
        elif isinstance(statement, Guard) and statement.number.offset >= guards:
            builder.guard(operands[0], statement.outcome, statement.number)
    return builder.finish([values.get(x, x) for x in outputs])
