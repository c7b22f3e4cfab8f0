"""Dead statements: what no output, guard or needed array asks for."""

from __future__ import annotations

from .form import (
    Array,
    Derive,
    Guard,
    Last,
    Leave,
    Load,
    Loop,
    Operand,
    Program,
    Segment,
    Slice,
    Statement,
    Store,
)


def without_dead(program: Program) -> Program:
    """The program with only what its outputs and guards need; it is changed in place."""
    needed = _Needed()
    for output in program.outputs:
        if isinstance(output, Slice):
            needed.arrays.add(output.array)
        else:
            needed.value(output)
    needed.visit(program.body)
    _keep(program.body, needed.statements)
    return program


class _Needed:
    """What is needed so far: statements, and the arrays that are read."""

    def __init__(self) -> None:
        self.statements: set[Statement] = set()
        self.arrays: set[Array] = set()

    def value(self, x: Operand) -> None:
        """Need an operand."""
        if isinstance(x, Statement):
            self.statements.add(x)

    def visit(self, body: list[Statement]) -> None:
        """Go through a body backwards, so that each statement comes after what asks for it."""
        for statement in reversed(body):
            if isinstance(statement, Loop):
                self._visit_loop(statement)
                continue
            if isinstance(statement, Segment):
                self.visit(statement.body)
                if any(x in self.statements for x in statement.body):
                    self.statements.add(statement)
                continue
            if not self._asked(statement):
                continue
            self.statements.add(statement)
            for x in statement.operands:
                self.value(x)
            if isinstance(statement, Load):
                self.arrays.add(statement.array)
            elif isinstance(statement, Last):
                self.statements.add(statement.carry)
            elif isinstance(statement, Derive):
                self.arrays.add(statement.given)
                self.statements.add(statement.segment)

    def _asked(self, statement: Statement) -> bool:
        if isinstance(statement, Guard):
            return True
        if isinstance(statement, Store):
            return statement.array in self.arrays
        if isinstance(statement, Derive):
            return statement.results in self.arrays
        if isinstance(statement, Leave):
            return statement.segment in self.statements
        return statement in self.statements

    def _visit_loop(self, loop: Loop) -> None:
        """An iteration may ask for what the one before has stored or handed on."""
        size = -1
        while size != len(self.statements) + len(self.arrays):
            size = len(self.statements) + len(self.arrays)
            for carry in loop.carries:
                if carry in self.statements:
                    self.value(carry.next)
                    self.value(carry.initial)
            self.visit(loop.body)
        asked = any(x in self.statements for x in loop.body)
        if asked or any(carry in self.statements for carry in loop.carries):
            self.statements.add(loop)


def _keep(body: list[Statement], needed: set[Statement]) -> None:
    """Take out what is not needed."""
    body[:] = [statement for statement in body if statement in needed]
    for statement in body:
        if isinstance(statement, Loop):
            statement.carries = [carry for carry in statement.carries if carry in needed]
            _keep(statement.body, needed)
        elif isinstance(statement, Segment):
            _keep(statement.body, needed)
