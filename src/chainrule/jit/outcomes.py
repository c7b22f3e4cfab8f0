"""What the outcomes of a run's comparisons say about those that follow.

Two numbers stand in one of four relations: less, equal, greater, or unordered where one is NaN. The
outcome of a comparison leaves some of them, and narrows the range of its operands. A comparison
that comes out the same under all that are left is decided.
"""

from __future__ import annotations

import math
from typing import Any

from chainrule import rules
from chainrule.program.recording import CODE_OF

LESS, EQUAL, GREATER, UNORDERED = 1, 2, 4, 8
ALL = LESS | EQUAL | GREATER | UNORDERED
HOLDS = {  # the relations under which a comparison holds, by its code
    CODE_OF[rules.less]: LESS,
    CODE_OF[rules.less_equal]: LESS | EQUAL,
    CODE_OF[rules.equal]: EQUAL,
    CODE_OF[rules.not_equal]: LESS | GREATER | UNORDERED,
}
AND, OR, NOT = CODE_OF[rules.multiply], CODE_OF[rules.maximum], CODE_OF[rules.subtract]
COMBINED = (AND, OR, NOT)
"""& and | of conditions, and 1 - condition."""
NEGATIVE = CODE_OF[rules.negative]

Value = int | float
"""A value by its number, or a number."""

Range = tuple[float, float, bool]
"""Where a value lies if it is not NaN, from low to high, and whether it may be NaN."""

ANYTHING: Range = (-math.inf, math.inf, True)
TRUTH: Range = (0.0, 1.0, False)
FALSE: Range = (0.0, 0.0, False)
TRUE: Range = (1.0, 1.0, False)


Comparison = tuple[int, Value, Value, Range, Range, int]
"""What is known of two operands before they are compared.

The relations under which the comparison holds, the operands, their ranges, and the relations in
which the first may stand to the second.
"""


class Outcomes:
    """The outcomes so far.

    Args:
        numbering: of the recording; it gives values their numbers.
    """

    def __init__(self, numbering: Any) -> None:
        self._row = numbering.row
        self._known: dict[int, bool] = {}
        self._relations: dict[tuple[int, int], int] = {}
        self._to_numbers: dict[tuple[int, float], int] = {}  # of a value to a number
        self._ranges: dict[int, Range] = {}
        self._last: tuple[int, Comparison] | None = None  # a condition just looked at

    def decided(self, condition: Value) -> bool | None:
        """The outcome of a condition, None if it may come out either way."""
        if not isinstance(condition, float):
            known = self._known.get(condition)
            if known is not None:
                return known
            code, a, b = self._row(condition)
            if code in HOLDS:  # nearly always
                return self._comes_out(condition, self._compared(code, a, b))
        found_of: dict[int, bool | None] = {}
        pending = [condition]
        found: bool | None = None
        while pending:
            part = pending.pop()
            if isinstance(part, float):
                found = part != 0.0
                continue
            found = self._known.get(part)
            if found is None:
                code, a, b = self._row(part)
                if code in HOLDS:
                    found = self._comes_out(part, self._compared(code, a, b))
                elif code in COMBINED:
                    waiting = [x for x in (a, b) if not isinstance(x, float) and x not in found_of]
                    if waiting:
                        pending += [part, *waiting]
                        continue
                    u, v = (x != 0.0 if isinstance(x, float) else found_of[x] for x in (a, b))
                    found = _combined(code, u, v)
            found_of[part] = found
        return found

    def _comes_out(self, condition: int, compared: Comparison) -> bool | None:
        """The outcome of a comparison."""
        self._last = condition, compared
        holds, possible = compared[0], compared[-1]
        if possible & holds == 0 and possible:
            return False
        return True if possible & ~holds == 0 and possible else None

    def note(self, condition: Value, outcome: bool) -> None:
        """Take an outcome for given."""
        last, self._last = self._last, None
        if last is not None and last[0] == condition and condition not in self._known:
            self._known[last[0]] = outcome
            self._ranges[last[0]] = TRUE if outcome else FALSE
            self._narrow(last[1], outcome)
            return
        pending = [(condition, outcome)]
        while pending:
            value, outcome = pending.pop()
            if isinstance(value, float) or value in self._known:
                continue
            self._known[value] = outcome
            self._ranges[value] = TRUE if outcome else FALSE
            code, a, b = self._row(value)
            if code == NOT:
                pending.append((b, not outcome))
            elif code in (AND, OR) and outcome == (code == AND):
                pending += [(a, outcome), (b, outcome)]
            elif code in HOLDS:
                self._narrow(self._compared(code, a, b), outcome)

    def _compared(self, code: int, x: Value, y: Value) -> Comparison:
        """What a condition compares; signs on both sides cancel."""
        minus_x = self._without_sign(x)
        if minus_x is not None:
            minus_y = self._without_sign(y)
            if minus_y is not None:
                x, y = minus_y, minus_x
        a, b = self._range(x), self._range(y)
        return HOLDS[code], x, y, a, b, self._possible(x, y, a, b)

    def _without_sign(self, x: Value) -> Value | None:
        if isinstance(x, float):
            return -x
        code, operand, _ = self._row(x)
        return operand if code == NEGATIVE else None

    def _range(self, x: Value) -> Range:
        if isinstance(x, float):
            return (x, x, False) if x == x else (math.inf, -math.inf, True)
        found = self._ranges.get(x)
        if found is None:
            return TRUTH if self._row(x)[0] in HOLDS else ANYTHING
        return found

    def _possible(self, x: Value, y: Value, a: Range, b: Range) -> int:
        """The relations in which two operands in some ranges may stand."""
        if isinstance(x, float):
            possible = _mirrored(
                self._to_numbers.get((int(y), x), ALL)
            )  # two numbers are not compared
        elif isinstance(y, float):
            possible = self._to_numbers.get((x, y), ALL)
        elif x == y:
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

    def _narrow(self, compared: Comparison, outcome: bool) -> None:
        """Leave the relations that fit an outcome of a comparison."""
        holds, x, y, a, b, possible = compared
        left = possible & (holds if outcome else ~holds)
        mirrored = _mirrored(left)
        if isinstance(x, float):
            self._to_numbers[int(y), x] = mirrored
        elif isinstance(y, float):
            self._to_numbers[x, y] = left
        else:
            self._relations[x, y] = left
            self._relations[y, x] = mirrored
        if not isinstance(x, float):
            self._ranges[x] = _narrowed(a, b, left)
        if not isinstance(y, float):
            self._ranges[y] = _narrowed(b, a, mirrored)


def _combined(code: int, u: bool | None, v: bool | None) -> bool | None:
    if code == NOT:
        return None if v is None else not v
    if code == AND:
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
    if not relations & GREATER and to <= high:
        high = to if relations & EQUAL else math.nextafter(to, -math.inf)
    if not relations & LESS and from_ >= low:
        low = from_ if relations & EQUAL else math.nextafter(from_, math.inf)
    if not relations & EQUAL and from_ == to:
        if low == from_:
            low = math.nextafter(low, math.inf)
        if high == from_:
            high = math.nextafter(high, -math.inf)
    return low, high, nan
