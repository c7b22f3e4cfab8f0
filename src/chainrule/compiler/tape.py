"""The tape: a recorded program as a flat list of operations (a Wengert list).

Building it shares equal subexpressions, folds constants, leaves out what no output needs, and
simplifies where the result stays the same to the last bit, NaN, infinities and signed zeros
included; only small whole powers become products, which rounds once more than ``pow``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from chainrule import rules
from chainrule.annotations import users_line
from chainrule.backends.llvm.vector_math import COMPILED
from chainrule.compiler.recording import (
    ABSENT,
    GUARD,
    INPUT,
    LEAF,
    OPERATION_OF,
    POOLED,
    USER,
    Recording,
)
from chainrule.node import Node
from chainrule.rules import OPERATIONS, Operation
from chainrule.tracing import LEFTOVER, TracedValueError, has_ended

_COMMUTATIVE: Final = frozenset(["add", "multiply", "equal", "not_equal"])

_PLAIN, _NUMBER, _ODD = 0, 1, 2
"""What a value is that + - * / take: any; a constant; negated or a constant that may simplify."""

_DIRECT: Final = {  # codes of operations that need no simplification of plain values
    code: operation.name
    for code, operation in OPERATION_OF.items()
    if operation.name in ("add", "subtract", "multiply", "divide")
    or operation.name in ("less", "less_equal", "equal", "not_equal")
    or (
        operation.name in COMPILED
        and len(operation.local_grads) == 1
        and not operation.variadic
        and operation not in (rules.negative, rules.identity, rules.stop_gradient)
    )
}
_COMMUTING: Final = frozenset(code for code, name in _DIRECT.items() if name in _COMMUTATIVE)
_DIVIDE: Final = next(code for code, name in _DIRECT.items() if name == "divide")
_SAME: Final = frozenset(  # codes of rows that are what their operand is
    [LEAF, GUARD]
    + [code for code, op in OPERATION_OF.items() if op in (rules.identity, rules.stop_gradient)]
)


class Tape:
    """A program on numbers: inputs, constants and operations, each on earlier values.

    Attributes:
        operations: for each value "input", "constant", or the name of its operation.
        operands: for each value the values it is computed from; for an input its number.
        constants: the numbers of the constant values.
        user: the operations that are computed in Python, by name: those not of the table, and what
            the compiler does not know of it.
        n_inputs: how many inputs there are, used or not.
        outputs: the values that are the result.
        guards: conditions (values that are 1.0 or 0.0) with the outcome the trace relies on.
    """

    def __init__(self, n_inputs: int) -> None:
        self.operations: list[str] = []
        self.operands: list[tuple[int, ...]] = []
        self.constants: dict[int, float] = {}
        self.user: dict[str, Operation] = {}
        self.n_inputs = n_inputs
        self.outputs: list[int] = []
        self.guards: list[tuple[int, bool]] = []
        self.known: dict[str, dict[tuple[int, ...], int]] = defaultdict(dict)  # by operation
        self._numbers: dict[Any, int] = {}  # the values of constants
        self.plainness: list[int] = []  # of each value: see _PLAIN

    def __len__(self) -> int:
        return len(self.operations)

    def input(self, number: int) -> int:
        """The value of an input."""
        return self._value("input", (number,))

    def constant(self, number: float) -> int:
        """The value of a constant; signed zeros are told apart, all NaNs are one."""
        key: Any = number
        if number == 0.0:
            key = math.copysign(1.0, number), 0.0
        elif number != number:
            key = None
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self.operations)
            self.operations.append("constant")
            self.operands.append(())
            self.constants[found] = number
            self.plainness.append(_ODD if abs(number) in (0.0, 1.0) else _NUMBER)
        return found

    def _value(self, name: str, operands: tuple[int, ...]) -> int:
        known = self.known[name]
        found = known.get(operands)
        if found is None:
            found = known[operands] = len(self.operations)
            self.operations.append(name)
            self.operands.append(operands)
            self.plainness.append(_ODD if name == "negative" else _PLAIN)
        return found

    def apply(self, operation: Operation, operands: tuple[int, ...]) -> int:
        """The value of an operation, simplified."""
        if operation.passes or operation is rules.identity or operation is rules.stop_gradient:
            return operands[0]
        constants = self.constants
        known = True
        for operand in operands:
            if operand not in constants:
                known = False
                break
        if known:
            return self.constant(operation.evaluate([constants[i] for i in operands]))
        name = operation.name
        if not operation.builtin or name not in COMPILED:
            name = self._user_name(operation)
        elif len(operands) == 2:
            simpler = self._binary(name, operands[0], operands[1])
            if simpler >= 0:
                return simpler
            if name in _COMMUTATIVE and operands[0] > operands[1]:
                operands = (operands[1], operands[0])
        elif name == "negative" and self.operations[operands[0]] == "negative":
            return self.operands[operands[0]][0]
        elif name == "where":
            condition = constants.get(operands[0])
            if condition is not None:
                return operands[1] if condition else operands[2]
            if operands[1] == operands[2]:
                return operands[1]
            operands = self._plain_condition(operands)
        elif name == "power_term":
            simpler = self._power_term(operands)
            if simpler >= 0:
                return simpler
        elif name == "message":
            condition = constants.get(operands[0])
            if condition is not None:
                if condition == 0.0:
                    return self.constant(0.0)
                return self.apply(rules.multiply, operands[1:])
        elif name == "gather":
            index = constants.get(operands[0])
            if index is not None:
                return operands[1 + int(index)]
        return self._value(name, operands)

    def _user_name(self, operation: Operation) -> str:
        for name, known in self.user.items():
            if known is operation:
                return name
        name = f"{operation.name}#{len(self.user)}"
        self.user[name] = operation
        return name

    def _binary(self, name: str, a: int, b: int) -> int:
        """A simpler value that is equal, or -1."""
        u = self.constants.get(a)
        v = self.constants.get(b)
        if name == "multiply":
            if u is not None:
                a, b, v = b, a, u
            if v is not None:
                if v == 1.0:
                    return a
                if v == -1.0:
                    return self.apply(rules.negative, (a,))
                if self.operations[a] == "negative":
                    return self.apply(rules.multiply, (self.operands[a][0], self.constant(-v)))
            elif self.operations[a] == "negative" and self.operations[b] == "negative":
                return self.apply(rules.multiply, (self.operands[a][0], self.operands[b][0]))
        elif name == "add":
            if self.operations[b] == "negative":
                return self.apply(rules.subtract, (a, self.operands[b][0]))
            if self.operations[a] == "negative":
                return self.apply(rules.subtract, (b, self.operands[a][0]))
            if v is not None and v == 0.0 and math.copysign(1.0, v) < 0.0:
                return a
            if u is not None and u == 0.0 and math.copysign(1.0, u) < 0.0:
                return b
        elif name == "subtract":
            if self.operations[b] == "negative":
                return self.apply(rules.add, (a, self.operands[b][0]))
            if v is not None and v == 0.0 and math.copysign(1.0, v) > 0.0:
                return a
        elif name == "divide":
            if v is not None:
                if v == 1.0:
                    return a
                if v == -1.0:
                    return self.apply(rules.negative, (a,))
                if _is_power_of_two(v):
                    return self.apply(rules.multiply, (a, self.constant(1.0 / v)))
        elif name == "azmul":
            if (u is not None and u != 0.0) or (v is not None and math.isfinite(v)):
                return self.apply(rules.multiply, (a, b))
        elif name == "power" and v is not None:
            return self._small_power(a, v)
        return -1

    def _plain_condition(self, operands: tuple[int, ...]) -> tuple[int, ...]:
        """The operands of where, with a condition that is not c == 0 or c != 0 but c."""
        condition, a, b = operands
        name = self.operations[condition]
        if name in ("equal", "not_equal"):
            c, zero = self.operands[condition]
            if self.constants.get(c) == 0.0:
                c, zero = zero, c
            if self.constants.get(zero) == 0.0:
                return (c, b, a) if name == "equal" else (c, a, b)
        return operands

    def _small_power(self, x: int, n: float) -> int:
        """x ** n by products, or -1."""
        if n == 0.0:
            return self.constant(1.0)
        if n == 1.0:
            return x
        if n == -1.0:
            return self.apply(rules.divide, (self.constant(1.0), x))
        if n in (2.0, 3.0, 4.0):
            square = self.apply(rules.multiply, (x, x))
            if n == 2.0:
                return square
            return self.apply(rules.multiply, (square, x if n == 3.0 else square))
        return -1

    def _power_term(self, operands: tuple[int, ...]) -> int:
        """c x ** (n - k) by products where c is a moderate constant, or -1."""
        c = self.constants.get(operands[0])
        n = self.constants.get(operands[2])
        k = self.constants.get(operands[3])
        if c is None or n is None or k is None or not 1e-100 < abs(c) < 1e100:
            return -1
        x = operands[1]
        if n - k == 0.0:
            return operands[0]
        if n - k == 1.0:
            return self.apply(rules.multiply, (operands[0], x))
        if n - k == 2.0:
            return self.apply(rules.multiply, (self.apply(rules.multiply, (operands[0], x)), x))
        return -1

    def forget(self) -> None:
        """Drop what is only needed while building."""
        self.known = {}
        self._numbers = {}
        self.plainness = []

    def __str__(self) -> str:
        """The tape to read, one value a line."""
        lines = []
        for i, (name, operands) in enumerate(zip(self.operations, self.operands, strict=True)):
            lines.append(f"%{i} = {self._shown(name, operands, i)}")
        for value, outcome in self.guards:
            lines.append(f"guard %{value} is {'true' if outcome else 'false'}")
        lines.append("return " + ", ".join(f"%{i}" for i in self.outputs))
        return "\n".join(lines)

    def _shown(self, name: str, operands: tuple[int, ...], i: int) -> str:
        if name == "constant":
            return repr(self.constants[i])
        if name == "input":
            return f"input {operands[0]}"
        symbol = OPERATIONS[name].symbol if name in OPERATIONS else name.split("#")[0]
        shown = [f"%{operand}" for operand in operands]
        if not symbol.isidentifier() and len(shown) == 2:
            return f"{shown[0]} {symbol} {shown[1]}"
        return f"{symbol}({', '.join(shown)})"


def _is_power_of_two(x: float) -> bool:
    return math.frexp(x)[0] in (0.5, -0.5) and 2.0**-1000 < abs(x) < 2.0**1000


class TapeBuilder:
    """A tape made from a graph, a root after another; equal expressions are one value of it.

    Args:
        inputs: the input nodes of the trace, in order.
        level: the level of the trace.
        captured: nodes from outside that are known already; they come first.

    Attributes:
        tape: the tape.
        captured: the nodes from outside that the graph uses; they are inputs after the given ones.
    """

    def __init__(self, inputs: Sequence[Node], level: int, captured: Sequence[Node] = ()) -> None:
        self.tape = Tape(len(inputs))
        self._recording = Recording(inputs, level, captured)
        self.captured: list[Node] = self._recording.captured
        self._followed = 0  # of the captured, those that can be
        self._values: list[int] = []  # of the tape, by row
        self._numbers: list[int] = []  # of the tape, by constant
        self._direct = {code: (name, self.tape.known[name]) for code, name in _DIRECT.items()}
        self._enter()

    def value(self, root: object) -> int:
        """The value of the tape that a number or a node is, entered with all it depends on.

        Raises:
            TypeError: if it depends on a node whose value is computed in Python.
            TracedValueError: if it depends on a value of a transformation that has ended.
        """
        operand = self._recording.record(root)
        for node in self.captured[self._followed :]:
            if has_ended(node._level):
                raise TracedValueError(f"compile at {users_line()}: the function uses {LEFTOVER}")
            self._followed += 1
        self._enter()
        return self._values[operand] if operand >= 0 else self._numbers[~operand]

    def guard(self, condition: Node, outcome: bool) -> None:
        """Note in the recording that a condition has been asked, now."""
        operand = self._recording.record(condition)
        if operand >= 0:
            self._recording.guard(operand, outcome)

    def close(self, outputs: Sequence[Any], guards: Sequence[tuple[int, bool]]) -> None:
        """Say what the tape gives: nodes and numbers, and the values that are its guards."""
        for y in outputs:
            if isinstance(y, Node) and has_ended(y._level):
                raise TracedValueError(f"compile at {users_line()}: the result is {LEFTOVER}")
        self.tape.outputs = [self.value(y) for y in outputs]
        self.tape.guards = list(guards)
        self.tape.forget()
        del self._recording, self._values, self._numbers, self._direct

    def _enter(self) -> None:
        """Enter what the recording has that is new; most rows need no simplification."""
        tape, values, numbers = self.tape, self._values, self._numbers
        rows, constants = self._recording.after(len(values), len(numbers))
        numbers += map(tape.constant, constants)
        operations, all_operands, plainness = tape.operations, tape.operands, tape.plainness
        direct = self._direct
        for code, left, right in rows:
            if code not in direct:
                values.append(self._entered(code, left, right))
                continue
            a = values[left] if left >= 0 else numbers[~left]
            if right == ABSENT:
                operands: tuple[int, ...] = (a,)
                plain = plainness[a] == _PLAIN
            else:
                b = values[right] if right >= 0 else numbers[~right]
                operands = (b, a) if a > b and code in _COMMUTING else (a, b)
                plain = plainness[a] + plainness[b] < _ODD and (not plainness[b] or code != _DIVIDE)
            if not plain:
                values.append(tape.apply(OPERATION_OF[code], (a,) if right == ABSENT else (a, b)))
                continue
            name, known = direct[code]
            found = known.get(operands)
            if found is None:
                found = known[operands] = len(operations)
                operations.append(name)
                all_operands.append(operands)
                plainness.append(_PLAIN)
            values.append(found)

    def _entered(self, code: int, left: int, right: int) -> int:
        """The value of any other row."""
        values, numbers, recording = self._values, self._numbers, self._recording
        if code == INPUT:
            self.tape.n_inputs = max(self.tape.n_inputs, left + 1)  # captured ones come to them
            return self.tape.input(left)
        if code in _SAME:
            return values[left] if left >= 0 else numbers[~left]
        given = [left] if right == ABSENT else [left, right]
        if code & POOLED:
            given = recording.pool[left : left + right + (code == USER)].tolist()
        user = recording.operations[given.pop(0)] if code == USER else None
        operation = user or OPERATION_OF[code & ~POOLED]
        operands = tuple([values[i] if i >= 0 else numbers[~i] for i in given])
        return self.tape.apply(operation, operands)


def pruned(tape: Tape, outputs: Sequence[int], guards: Sequence[tuple[int, bool]]) -> Tape:
    """A tape that computes only some outputs and guards."""
    needed = [False] * len(tape)
    for value in outputs:
        needed[value] = True
    for value, _ in guards:
        needed[value] = True
    operations = tape.operations
    operands = tape.operands
    for i in range(len(tape) - 1, -1, -1):
        if needed[i] and operations[i] != "input":
            for operand in operands[i]:
                needed[operand] = True
    if all(needed) and len(guards) == len(tape.guards):
        return tape
    smaller = Tape(tape.n_inputs)
    smaller.user = tape.user
    numbers = [-1] * len(tape)
    for i in range(len(tape)):
        if not needed[i]:
            continue
        new = len(smaller.operations)
        numbers[i] = new
        name = operations[i]
        smaller.operations.append(name)
        if name == "input":
            smaller.operands.append(operands[i])
        elif name == "constant":
            smaller.operands.append(())
            smaller.constants[new] = tape.constants[i]
        else:
            smaller.operands.append(tuple([numbers[operand] for operand in operands[i]]))
    smaller.outputs = [numbers[value] for value in outputs]
    smaller.guards = [(numbers[value], outcome) for value, outcome in guards]
    return smaller
