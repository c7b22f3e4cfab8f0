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

Range = tuple[float, float, bool]
"""Where a value lies if it is not NaN, from low to high, and whether it may be NaN."""

ANYTHING: Range = (-math.inf, math.inf, True)
TRUTH: Range = (0.0, 1.0, False)


class Comparison(NamedTuple):
    """What is known of two operands before they are compared.

    Attributes:
        x: the first operand.
        y: the second.
        a: the range of the first.
        b: the range of the second.
        possible: the relations in which the first may stand to the second.
    """

    x: Operand
    y: Operand
    a: Range
    b: Range
    possible: int


class Outcomes:
    """The outcomes so far.

    Args:
        tape: holds the conditions and what they compare; it grows.
    """

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._known: dict[int, bool] = {}
        self._relations: dict[tuple[int, int], int] = {}  # of two values, the first less
        self._to_numbers: dict[tuple[int, float], int] = {}  # of a value to a constant
        self._ranges: dict[int, Range] = {}
        self._last: tuple[int, Comparison] | None = None  # a condition that was just looked at

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
        comparison = self._compared(condition)
        self._last = condition, comparison
        possible = comparison.possible
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
            self._ranges[value] = number, number, False
            operation = self._tape.operations[value]
            operands = self._tape.operands[value]
            if operation == "subtract":
                pending.append((operands[1], not outcome))
            elif operation in COMBINED and outcome == (operation == "multiply"):
                pending.extend((operand, outcome) for operand in operands)
            elif operation in HOLDS:
                last = self._last
                compared = last[1] if last and last[0] == value else self._compared(value)
                self._narrow(HOLDS[operation], compared, outcome)
            self._last = None

    def _compared(self, condition: int) -> Comparison:
        """What a condition compares, constants as numbers; signs on both sides cancel."""
        constants = self._tape.constants
        u, v = self._tape.operands[condition]
        x: Operand = constants.get(u, u)
        y: Operand = constants.get(v, v)
        minus_x = self._without_sign(x)
        if minus_x is not None:
            minus_y = self._without_sign(y)
            if minus_y is not None:
                x, y = minus_y, minus_x
        a, b = self._range(x), self._range(y)
        return Comparison(x, y, a, b, self._possible(x, y, a, b))

    def _without_sign(self, x: Operand) -> Operand | None:
        if isinstance(x, float):
            return -x
        if self._tape.operations[x] == "negative":
            return self._tape.operands[x][0]
        return None

    def _range(self, x: Operand) -> Range:
        if isinstance(x, float):
            return (x, x, False) if x == x else (math.inf, -math.inf, True)
        found = self._ranges.get(x)
        if found is None:
            return TRUTH if self._tape.operations[x] in HOLDS else ANYTHING
        return found

    def _possible(self, x: Operand, y: Operand, a: Range, b: Range) -> int:
        """The relations in which two operands in some ranges may stand."""
        if isinstance(y, float):
            possible = self._to_numbers.get((x, y), ALL)  # type: ignore[arg-type]
        elif isinstance(x, float):
            possible = _mirrored(self._to_numbers.get((y, x), ALL))
        elif x == y:
            possible = EQUAL | UNORDERED
        elif x < y:
            possible = self._relations.get((x, y), ALL)
        else:
            possible = _mirrored(self._relations.get((y, x), ALL))
        low, high, nan = a
        from_, to, other_nan = b
        if not low < to:
            possible &= ~LESS
        if not high > from_:
            possible &= ~GREATER
        if from_ > high or low > to or low > high or from_ > to:
            possible &= ~EQUAL
        return possible if nan or other_nan else possible & ~UNORDERED

    def _narrow(self, holds: int, compared: Comparison, outcome: bool) -> None:
        """Leave the relations that fit an outcome of what holds under some of them."""
        x, y, a, b, possible = compared
        left = possible & (holds if outcome else ~holds)
        mirrored = _mirrored(left)
        if isinstance(y, float):
            self._to_numbers[x, y] = left  # type: ignore[index]
        elif isinstance(x, float):
            self._to_numbers[y, x] = mirrored
        elif x <= y:
            self._relations[x, y] = left
        else:
            self._relations[y, x] = mirrored
        if not isinstance(x, float):
            self._ranges[x] = _narrowed(a, b, left)
        if not isinstance(y, float):
            self._ranges[y] = _narrowed(b, a, mirrored)


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
    from_, to, other_nan = b
    if not relations & UNORDERED:
        nan = False
    elif other_nan:
        return a  # the second may be NaN, and the first anything
    if not relations & GREATER:
        high = min(high, to if relations & EQUAL else math.nextafter(to, -math.inf))
    if not relations & LESS:
        low = max(low, from_ if relations & EQUAL else math.nextafter(from_, math.inf))
    if not relations & EQUAL and from_ == to:
        if low == from_:
            low = math.nextafter(low, math.inf)
        if high == from_:
            high = math.nextafter(high, -math.inf)
    return low, high, nan
