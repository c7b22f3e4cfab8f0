"""What the outcomes of a run's comparisons say about those that follow.

Two numbers stand in one of four relations: less, equal, greater, or unordered where one is NaN. The
outcome of a comparison leaves some of them, and narrows the range of its operands. A comparison
that comes out the same under all that are left is decided.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .tape import Tape

LESS, EQUAL, GREATER, UNORDERED = 1, 2, 4, 8
ALL = LESS | EQUAL | GREATER | UNORDERED
HOLDS = {  # the relations under which a comparison holds
    "less": LESS,
    "less_equal": LESS | EQUAL,
    "equal": EQUAL,
    "not_equal": LESS | GREATER | UNORDERED,
}
COMBINED = ("multiply", "maximum", "subtract")  # & and | of conditions, and 1 - condition: not

Operand = int | float
"""A value of the tape, or a constant."""

Key = tuple[bool, Operand]
"""An operand as a key: whether it is a constant (0 and 0.0 are equal otherwise), and which."""


class Range(NamedTuple):
    """Where a value lies if it is not NaN, and whether it may be NaN."""

    low: float = -math.inf
    high: float = math.inf
    nan: bool = True


ANYTHING = Range()


class Outcomes:
    """The outcomes so far.

    Args:
        tape: holds the conditions and what they compare; it grows.
    """

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._known: dict[int, bool] = {}
        self._relations: dict[tuple[Key, Key], int] = {}
        self._ranges: dict[int, Range] = {}

    def decided(self, condition: int) -> bool | None:
        """The outcome of a condition, None if it may come out either way."""
        found = self._simple(condition)
        if found is not None or self._tape.operations[condition] not in COMBINED:
            return found
        parts: set[int] = set()
        pending = [condition]
        while pending:
            part = pending.pop()
            if part in parts or self._simple(part) is not None:
                continue
            if self._tape.operations[part] in COMBINED:
                parts.add(part)
                pending.extend(self._tape.operands[part])
        found_of: dict[int, bool | None] = {}
        for part in sorted(parts):  # operands come before what is computed from them
            a, b = self._tape.operands[part]
            u = found_of[a] if a in parts else self._simple(a)
            v = found_of[b] if b in parts else self._simple(b)
            found_of[part] = _combined(self._tape.operations[part], u, v)
        return found_of[condition]

    def _simple(self, condition: int) -> bool | None:
        """The outcome of a constant, of a condition that has been asked, or of a comparison."""
        number = self._tape.constants.get(condition)
        if number is not None:
            return number != 0.0
        known = self._known.get(condition)
        if known is not None:
            return known
        operation = self._tape.operations[condition]
        if operation not in HOLDS:
            return None
        possible = self._possible(*self._compared(condition))
        holds = HOLDS[operation]
        if possible & holds == 0 and possible:
            return False
        return True if possible & ~holds == 0 and possible else None

    def note(self, condition: int, outcome: bool) -> None:
        """Take an outcome for given."""
        pending = [(condition, outcome)]
        while pending:
            value, outcome = pending.pop()
            if value in self._tape.constants or value in self._known:
                continue
            self._known[value] = outcome
            number = 1.0 if outcome else 0.0
            self._ranges[value] = Range(number, number, False)
            operation = self._tape.operations[value]
            operands = self._tape.operands[value]
            if operation == "subtract":
                pending.append((operands[1], not outcome))
            elif operation in COMBINED and outcome == (operation == "multiply"):
                pending.extend((operand, outcome) for operand in operands)
            elif operation in HOLDS:
                self._narrow(operation, *self._compared(value), outcome)

    def _compared(self, condition: int) -> tuple[Operand, Operand]:
        """What a condition compares, constants as numbers; signs on both sides cancel."""
        a, b = self._tape.operands[condition]
        x, y = self._operand(a), self._operand(b)
        u, v = self._without_sign(x), self._without_sign(y)
        return (x, y) if u is None or v is None else (v, u)

    def _operand(self, value: int) -> Operand:
        number = self._tape.constants.get(value)
        return value if number is None else number

    def _without_sign(self, x: Operand) -> Operand | None:
        if isinstance(x, float):
            return -x
        if self._tape.operations[x] == "negative":
            return self._tape.operands[x][0]
        return None

    def _range(self, x: Operand) -> Range:
        if not isinstance(x, float):
            found = self._ranges.get(x)
            if found is None:
                found = Range(0.0, 1.0, False) if self._tape.operations[x] in HOLDS else ANYTHING
            return found
        return Range(x, x, False) if x == x else Range(math.inf, -math.inf, True)

    def _possible(self, x: Operand, y: Operand) -> int:
        """The relations in which two operands may stand."""
        u, v = _key(x), _key(y)
        if u == v:
            possible = EQUAL | UNORDERED
        elif u > v:
            possible = _mirrored(self._relations.get((v, u), ALL))
        else:
            possible = self._relations.get((u, v), ALL)
        a, b = self._range(x), self._range(y)
        if not a.low < b.high:
            possible &= ~LESS
        if not a.high > b.low:
            possible &= ~GREATER
        if max(a.low, b.low) > min(a.high, b.high):
            possible &= ~EQUAL
        return possible if a.nan or b.nan else possible & ~UNORDERED

    def _narrow(self, operation: str, x: Operand, y: Operand, outcome: bool) -> None:
        """Leave the relations that fit an outcome."""
        holds = HOLDS[operation]
        left = self._possible(x, y) & (holds if outcome else ~holds)
        u, v = _key(x), _key(y)
        if u > v:
            self._relations[v, u] = _mirrored(left)
        else:
            self._relations[u, v] = left
        a, b = self._range(x), self._range(y)
        self._set_range(x, _narrowed(a, b, left))
        self._set_range(y, _narrowed(b, a, _mirrored(left)))

    def _set_range(self, x: Operand, found: Range) -> None:
        if not isinstance(x, float):
            self._ranges[x] = found


def _combined(operation: str, u: bool | None, v: bool | None) -> bool | None:
    if operation == "subtract":
        return None if v is None else not v
    if operation == "multiply":
        if u is False or v is False:
            return False
        return True if u and v else None
    if u or v:
        return True
    return False if u is False and v is False else None


def _key(x: Operand) -> Key:
    return isinstance(x, float), x


def _mirrored(relations: int) -> int:
    """The relations of y to x, given those of x to y."""
    mirrored = relations & (EQUAL | UNORDERED)
    if relations & LESS:
        mirrored |= GREATER
    if relations & GREATER:
        mirrored |= LESS
    return mirrored


def _narrowed(a: Range, b: Range, relations: int) -> Range:
    """The range of the first of two operands that stand in one of some relations."""
    low, high, nan = a
    if not relations & UNORDERED:
        nan = False
    elif b.nan:
        return a  # the second may be NaN, and the first anything
    if not relations & GREATER:
        high = min(high, b.high if relations & EQUAL else math.nextafter(b.high, -math.inf))
    if not relations & LESS:
        low = max(low, b.low if relations & EQUAL else math.nextafter(b.low, math.inf))
    if not relations & EQUAL and b.low == b.high:
        if low == b.low:
            low = math.nextafter(low, math.inf)
        if high == b.high:
            high = math.nextafter(high, -math.inf)
    return Range(low, high, nan)
