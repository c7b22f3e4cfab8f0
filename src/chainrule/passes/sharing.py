"""Equal values of a run made one, where there are many: a recursion without memory, say.

What is derived of one value is the sum of what is derived of its copies, times the same local
gradients: the same, except for rounding, where all is finite. A local gradient or a message that is
not finite gives a result that is not, because what is not finite stays so in sums and products. So
a guard asks at the end whether all results are finite; where it fails, the run goes on with a
program in which nothing is shared.
"""

from __future__ import annotations

from typing import Any

import numpy
from numpy.typing import NDArray

from chainrule import rules
from chainrule.program.numbering import Numbering
from chainrule.program.recording import CODE_OF, Recording, Row, has_left, has_right

from .stretches import Stretch

FEWEST = 1_000
"""Rows of a recording in which equal ones are looked for."""
WORTH = 0.25
"""The share of the rows that may be left where sharing is worth another order of sums."""

MANY = 1_000
"""Rows left from which on they are put in another order: fewer are fast in any."""

_SUMS = (CODE_OF[rules.add], CODE_OF[rules.subtract])
_KNOWN = (
    Row.BEGIN,
    Row.END,
    Row.PULL,
    Row.PUSH,
    Row.RESULT,
    Row.ENTER,
    Row.LEAVE,
    Row.GIVE,
    Row.INPUT,
    Row.GUARD,
)

Ints = NDArray[numpy.int32]


class Sharing(Stretch):
    """A recording in which equal values are one.

    Args:
        recording: its rows are in order.
        same: for each row the first one that computes the same.
    """

    def __init__(self, recording: Recording, same: Ints) -> None:
        super().__init__(recording, [], recording.n_inputs)
        self.constants = numpy.array(recording.constants)
        codes, left, right = _columns(recording)
        kept = _by_depth(codes, left, right, same)
        new = numpy.empty(len(same), dtype=numpy.int32)
        new[kept] = numpy.arange(len(kept), dtype=numpy.int32)
        self._places = new[same]
        pool = numpy.array(recording.pool)
        self.pool = self.placed(pool).astype(numpy.int64)
        users = left[codes == Row.USER]
        self.pool[users] = pool[users]
        self.codes, left, right = codes[kept], left[kept], right[kept]
        self.left: Any = self._placed_where(has_left(self.codes), left)
        self.right: Any = self._placed_where(has_right(self.codes), right)
        self.notes = numpy.array(recording.notes)
        if len(self.notes):
            self.notes = self.notes[kept]

    def placed(self, operands: Any) -> Ints:
        """What operands of the recording are here."""
        operands = numpy.asarray(operands, dtype=numpy.int32)
        placed: Ints
        placed = numpy.where(operands >= 0, self._places[numpy.maximum(operands, 0)], operands)
        return placed

    def _placed_where(self, operands: Any, columns: Any) -> Any:
        """Columns of rows with those entries placed that are operands; others may be anything."""
        found = columns.copy()
        found[operands] = self.placed(columns[operands])
        return found

    def ask(self, outputs: Ints) -> None:
        """Ask at the end whether all that is derived and used is finite.

        Args:
            outputs: operands: what the program gives.
        """
        used = numpy.zeros(len(self), dtype=numpy.bool_)
        for operands in (self.left[self.left < len(self)], self.right, self.pool, outputs):
            given = numpy.asarray(operands)
            used[given[(given >= 0) & (given < len(self))]] = True
        asked = numpy.flatnonzero(used & (self.codes == Row.RESULT)).tolist()
        zero = self.record(0.0)
        first = len(self)
        rows = [(CODE_OF[rules.multiply], row, zero) for row in asked]
        total = zero
        for product in range(first, first + len(asked)):
            rows.append((CODE_OF[rules.add], product, total))
            total = first + len(rows) - 1
        rows.append((CODE_OF[rules.equal], total, zero))
        rows.append((Row.GUARD, first + len(rows) - 1, 1))
        codes, left, right = (numpy.array(column) for column in zip(*rows, strict=True))
        self.codes = numpy.append(self.codes, codes.astype(numpy.uint16))
        self.left = numpy.append(self.left, left.astype(numpy.int32))
        self.right = numpy.append(self.right, right.astype(numpy.int32))
        if len(self.notes):
            self.notes = numpy.append(self.notes, numpy.full(len(rows), -1, dtype=numpy.int32))


def _by_depth(codes: NDArray[numpy.uint16], left: Ints, right: Ints, same: Ints) -> Any:
    """The rows that are left, between marks by how many products and the like lead to each.

    The calls of a recursion came one inside the other. Those of one depth do the same to other
    values, and none waits for another; their sums stay together.
    """
    kept = numpy.flatnonzero(same == numpy.arange(len(same)))
    codes, left, right = codes[kept], left[kept], right[kept]
    plain = codes < Row.MARKS
    if len(kept) < MANY or (codes >= Row.POOLED).any():  # operands in a pool
        return kept
    new = numpy.zeros(len(same) + 1, dtype=numpy.int32)
    new[kept] = numpy.arange(len(kept))
    new[:-1] = new[same]
    new[-1] = len(kept)  # what is no row
    lefts = new[numpy.where(has_left(codes) & (left >= 0), left, -1)].tolist()
    rights = new[numpy.where(has_right(codes) & (right >= 0), right, -1)].tolist()
    steps = (~numpy.isin(codes, _SUMS)).tolist()
    depths = [0] * (len(kept) + 1)
    for row, (x, y, step) in enumerate(zip(lefts, rights, steps, strict=True)):
        depths[row] = max(depths[x], depths[y]) + step
    stretches = numpy.cumsum(~plain | numpy.append(False, ~plain[:-1]))
    return kept[numpy.lexsort((numpy.array(depths[:-1]), stretches))]


def worth_sharing(recording: Recording) -> Ints | None:
    """For each row the first one that computes the same, if few are left then.

    A run that asks for the outcome of a comparison after something has been derived is left alone:
    that may be what is not finite.

    Args:
        recording: its rows are in order.
    """
    if len(recording) < FEWEST or isinstance(recording, Stretch):
        return None
    codes = numpy.array(recording.codes)
    marks = codes[(codes >= Row.MARKS) & (codes < Row.POOLED)]
    if not numpy.isin(marks, _KNOWN).all():
        return None
    derived, asked = numpy.flatnonzero(marks == Row.RESULT), numpy.flatnonzero(marks == Row.GUARD)
    if len(derived) and len(asked) and asked[-1] > derived[0]:
        return None
    same = Numbering(recording, apart=True).values(int(WORTH * len(recording)))
    return None if same is None else numpy.frombuffer(same, dtype=numpy.int32)


def derives(recording: Recording | Stretch) -> bool:
    """Whether something is derived in a run."""
    return bool((numpy.asarray(recording.codes) == Row.RESULT).any())


def _columns(recording: Recording) -> tuple[NDArray[numpy.uint16], Ints, Ints]:
    return (
        numpy.array(recording.codes),
        numpy.array(recording.left),
        numpy.array(recording.right),
    )
