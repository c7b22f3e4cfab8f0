"""What the outcomes of a run's comparisons say about those that follow.

Two numbers stand in one of four relations: less, equal, greater, or unordered where one is NaN. The
outcome of a comparison leaves some of them, and narrows the range of its operands. A comparison
that comes out the same under all that are left is decided.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from chainrule import rules
from chainrule.program.form import Compute, Operand, Statement
from chainrule.rules import Operation

LESS, EQUAL, GREATER, UNORDERED = 1, 2, 4, 8
ALL = LESS | EQUAL | GREATER | UNORDERED
HOLDS = {  # the relations under which a comparison holds
    rules.less: LESS,
    rules.less_equal: LESS | EQUAL,
    rules.equal: EQUAL,
    rules.not_equal: LESS | GREATER | UNORDERED,
}
COMBINED = (rules.multiply, rules.maximum, rules.subtract)
"""& and | of conditions, and 1 - condition: not."""

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
    """The outcomes so far."""

    def __init__(self) -> None:
        self._known: dict[Statement, bool] = {}
        self._relations: dict[tuple[Statement, Statement], int] = {}
        self._to_numbers: dict[tuple[Statement, float], int] = {}  # of a value to a number
        self._ranges: dict[Statement, Range] = {}
        self._last: tuple[Statement, Comparison] | None = None  # a condition just looked at

    def decided(self, condition: Operand) -> bool | None:
        """The outcome of a condition, None if it may come out either way."""
        found = self._simple(condition)
        if found is not None or not _is_combined(condition):
            return found
        found_of: dict[Operand, bool | None] = {}
        pending = [condition]
        while pending:
            part = pending[-1]
            if part in found_of:
                pending.pop()
                continue
            found = self._simple(part)
            if found is None and _is_combined(part):
                assert isinstance(part, Compute)
                waiting = [x for x in part.operands if x not in found_of]
                if waiting:
                    pending.extend(waiting)
                    continue
                a, b = part.operands
                found = _combined(part.operation, found_of[a], found_of[b])
            found_of[part] = found
        return found_of[condition]

    def _simple(self, condition: Operand) -> bool | None:
        """The outcome of a constant, of a condition that has been asked, or of a comparison."""
        if isinstance(condition, float):
            return condition != 0.0
        known = self._known.get(condition)
        if known is not None:
            return known
        if not isinstance(condition, Compute) or condition.operation not in HOLDS:
            return None
        comparison = self._compared(condition)
        self._last = condition, comparison
        possible = comparison.possible
        holds = HOLDS[condition.operation]
        if possible & holds == 0 and possible:
            return False
        return True if possible & ~holds == 0 and possible else None

    def note(self, condition: Operand, outcome: bool) -> None:
        """Take an outcome for given."""
        pending = [(condition, outcome)]
        while pending:
            value, outcome = pending.pop()
            if isinstance(value, float) or value in self._known:
                continue
            self._known[value] = outcome
            number = 1.0 if outcome else 0.0
            self._ranges[value] = number, number, False
            if not isinstance(value, Compute):
                continue
            operation = value.operation
            if operation is rules.subtract:
                pending.append((value.operands[1], not outcome))
            elif operation in COMBINED and outcome == (operation is rules.multiply):
                pending.extend((operand, outcome) for operand in value.operands)
            elif operation in HOLDS:
                last = self._last
                compared = last[1] if last and last[0] is value else self._compared(value)
                self._narrow(HOLDS[operation], compared, outcome)
            self._last = None

    def _compared(self, condition: Compute) -> Comparison:
        """What a condition compares; signs on both sides cancel."""
        x, y = condition.operands
        minus_x = _without_sign(x)
        if minus_x is not None:
            minus_y = _without_sign(y)
            if minus_y is not None:
                x, y = minus_y, minus_x
        a, b = self._range(x), self._range(y)
        return Comparison(x, y, a, b, self._possible(x, y, a, b))

    def _range(self, x: Operand) -> Range:
        if isinstance(x, float):
            return (x, x, False) if x == x else (math.inf, -math.inf, True)
        found = self._ranges.get(x)
        if found is None:
            return TRUTH if isinstance(x, Compute) and x.operation in HOLDS else ANYTHING
        return found

    def _possible(self, x: Operand, y: Operand, a: Range, b: Range) -> int:
        """The relations in which two operands in some ranges may stand."""
        if isinstance(x, float):
            possible = _mirrored(self._to_numbers.get((y, x), ALL))  # type: ignore[arg-type]
        elif isinstance(y, float):
            possible = self._to_numbers.get((x, y), ALL)
        elif x is y:
            possible = EQUAL | UNORDERED
        else:
            possible = self._relations.get((x, y), ALL)
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
        if isinstance(x, float):
            self._to_numbers[y, x] = mirrored  # type: ignore[index]
        elif isinstance(y, float):
            self._to_numbers[x, y] = left
        else:
            self._relations[x, y] = left
            self._relations[y, x] = mirrored
        if not isinstance(x, float):
            self._ranges[x] = _narrowed(a, b, left)
        if not isinstance(y, float):
            self._ranges[y] = _narrowed(b, a, mirrored)


def _is_combined(x: Operand) -> bool:
    return isinstance(x, Compute) and x.operation in COMBINED


def _without_sign(x: Operand) -> Operand | None:
    if isinstance(x, float):
        return -x
    if isinstance(x, Compute) and x.operation is rules.negative:
        return x.operands[0]
    return None


def _combined(operation: Operation, u: bool | None, v: bool | None) -> bool | None:
    if operation is rules.subtract:
        return None if v is None else not v
    if operation is rules.multiply:
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
