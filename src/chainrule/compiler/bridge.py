"""A program without loops as the tape that the lowering reads."""

from __future__ import annotations

from chainrule.backends.llvm.vector_math import COMPILED
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
