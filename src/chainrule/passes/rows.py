"""The rows of a recording, ready to be rolled: tokens, and operands by number."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy
from numpy.typing import NDArray

from chainrule import rules
from chainrule.forking import computed_once
from chainrule.program.recording import (
    ABSENT,
    LOOKUP,
    OPERATION_OF,
    TABLE,
    Recording,
    Row,
    has_left,
    has_right,
)
from chainrule.rules import Operation

from .repeats import Ints
from .stretches import NO_RUNS, Stretch, guards_of

LOOKED_UP, ELEMENT = range(Row.MARKS + 24, Row.MARKS + 26)
"""Codes of rows that a recording has not: the look-up of a table, and an element of one."""


class Rows:
    """The rows of a recording that do something: without inputs and leaves.

    Also a table has a row for each element, ELEMENT; a row LOOKED_UP has the index as its operand,
    and in its second column the first row of the table.

    An operand is the number of an earlier of these rows, or ``len(rows) + number`` for an input; a
    negative one, ``~operand``, is the number of a constant.

    Args:
        recording: its rows are in order.

    Attributes:
        tokens: what each row does: rows that do the same to values and constants in the same places
            have the same one.
        loose: for each token one that stands for it and for those that do the same to numbers
            where it takes values, and the other way round; only sums and products have others.
        constants: the constants.
        n_inputs: the number of inputs.
        gathers: the columns that GIVES stand for, see :class:`~.stretches.Stretch`.
        columns: the first operands of each row, ABSENT where there is none.
        runs: of iterations, see :class:`~.stretches.Stretch`.
        in_bulk: of results in bulk the first operand, its place among the results, and the row that
            these are of.
    """

    def __init__(self, recording: Recording | Stretch) -> None:
        codes = numpy.array(recording.codes)
        left, right = numpy.array(recording.left), numpy.array(recording.right)
        self.constants = numpy.array(recording.constants)
        self._recording = recording
        self._notes = numpy.array(recording.notes)
        inputs, leaves = codes == Row.INPUT, codes == Row.LEAF
        self.n_inputs = recording.n_inputs
        self.gathers: list[Any] = getattr(recording, "gathers", [])
        n_rows = int(numpy.count_nonzero(inputs))
        bulk = numpy.flatnonzero(codes == Row.RESULTS)
        whole = bool(inputs[:n_rows].all()) and not (leaves.any() or len(bulk))  # inputs come first
        if whole:
            kept = numpy.arange(n_rows, len(codes))
        else:
            kept = numpy.flatnonzero(~(inputs | leaves | (codes == Row.RESULTS)))
        self._kept = kept
        self._pool = numpy.array(recording.pool)
        tables = self._of_user(codes, left, TABLE)
        counts = numpy.ones(len(codes) if len(tables) else 0, dtype=numpy.int64)
        self._places = numpy.empty(len(codes), dtype=numpy.int32)
        if len(tables):
            counts[tables] = right[tables] - 1
            ends = numpy.cumsum(counts[self._kept])
            self._places[self._kept] = ends - counts[self._kept]
            self._kept = numpy.repeat(self._kept, counts[self._kept])
        else:
            self._places[self._kept] = numpy.arange(len(self._kept), dtype=numpy.int32)
        self.runs = getattr(recording, "runs", NO_RUNS).copy()
        self.runs[:, 2] += self.runs[:, 0]
        self.runs[:, ::2] = numpy.searchsorted(self._kept, self.runs[:, ::2])
        self.runs[:, 2] -= self.runs[:, 0]
        self._places[inputs] = len(self._kept) + left[inputs]
        self._places[leaves] = left[leaves]
        derives = numpy.flatnonzero(numpy.isin(codes, [Row.PULL, Row.PUSH, Row.LOOP]))
        of = self._places[derives[numpy.searchsorted(derives, bulk) - 1]] if len(bulk) else bulk
        self.in_bulk = [*zip(left[bulk].tolist(), right[bulk].tolist(), of.tolist(), strict=True)]
        some = slice(n_rows, None) if whole and not len(tables) else self._kept
        self._codes, self._left, self._right = codes[some], left[some], right[some]
        self._sizes: dict[int, int] = {}  # of the tables that rows look up
        if len(tables):
            self._write_tables(codes, left, counts)
        self._pooled = numpy.flatnonzero(self._codes & Row.POOLED)
        self.columns = self._first_operands()
        self.tokens = self._tokens()
        self.loose = self._loose()

    def __len__(self) -> int:
        return len(self._kept)

    def kinds(self, operands: Ints) -> Ints:
        """For each operand the token of the row that it comes from; -1 for an input, -2 else."""
        kinds = numpy.where(operands < 0, -2, -1)
        values = (operands >= 0) & (operands < len(self))
        kinds[values] = self.tokens[operands[values]]
        return kinds

    def told_apart(self, some: Sequence[int]) -> Rows:
        """The rows, with tokens that tell those like some of them apart by what they read."""
        count = int(self.tokens.max()) + 1
        chosen = numpy.isin(self.tokens, self.tokens[[*some]])
        names = self.tokens
        for column in self.columns:
            read = numpy.where(chosen, self.kinds(column) + 2, 0)
            names = _renumbered(names * numpy.int64(count + 2) + read)
        rows = copy(self)
        rows.tokens = names
        rows.loose = rows._loose()
        return rows

    def _of_user(self, codes: Any, left: Any, operation: Operation) -> NDArray[numpy.int64]:
        """The rows of the recording of an operation that is none of the table."""
        operations = self._recording.operations
        place = next((i for i, x in enumerate(operations) if x is operation), -1)
        rows = numpy.flatnonzero(codes == Row.USER)
        found: NDArray[numpy.int64] = rows[self._pool[left[rows]] == place]
        return found

    def _write_tables(self, codes: Any, left: Any, counts: Any) -> None:
        """Write the rows of tables and look-ups."""
        for row in self._of_user(codes, left, TABLE).tolist():
            own = slice(self._places[row], self._places[row] + counts[row])
            self._codes[own] = ELEMENT
            first = left[row] + 2  # after the operation, and an input
            self._left[own] = self._pool[first : first + counts[row]]
            self._right[own] = ABSENT
        rows = self._of_user(codes, left, LOOKUP)
        places = self._places[rows]
        tables = self._pool[left[rows] + 3]
        self._codes[places] = LOOKED_UP
        self._left[places] = self._pool[left[rows] + 1]
        self._right[places] = self._places[tables]
        self._sizes = dict(zip(places.tolist(), counts[tables].tolist(), strict=True))

    def size(self, row: int) -> int:
        """How many elements the table has that a row looks up."""
        return self._sizes[row]

    def placed(self, operands: Ints) -> Ints:
        """Operands of the recording by their numbers here."""
        if not len(self._places):
            return operands
        placed: Ints = self._places.take(operands, mode="clip")
        numpy.copyto(placed, operands, where=operands < 0)
        return placed

    def code(self, row: int) -> int:
        """The code of a row, as in the recording."""
        return int(self._codes[row])

    def codes(self, rows: Any) -> NDArray[numpy.uint16]:
        """The codes of rows."""
        codes: NDArray[numpy.uint16] = self._codes[rows]
        return codes

    def of_code(self, *codes: int) -> NDArray[numpy.int64]:
        """The rows of some codes, in order."""
        return numpy.flatnonzero(numpy.isin(self._codes, codes))

    def left(self, rows: Any) -> Ints:
        """The first column of rows in which that is no operand."""
        left: Ints = self._left[rows]
        return left

    def right(self, rows: Any) -> Ints:
        """The second column of rows in which that is no operand."""
        right: Ints = self._right[rows]
        return right

    def token(self, code: int) -> int:
        """The token of rows of a code that has one only, -1 if there are none."""
        rows = numpy.flatnonzero(self._codes == code)
        return int(self.tokens[rows[0]]) if len(rows) else -1

    def operation(self, row: int) -> Operation:
        """The operation of a row that has one."""
        code = int(self._codes[row])
        if code == Row.USER:
            operation: Operation = self._recording.operations[self._pool[self._left[row]]]
            return operation
        return OPERATION_OF[code & ~Row.POOLED]

    def operands(self, rows: Any) -> list[Ints]:
        """The operands of rows with the same token, one after another."""
        code = int(self._codes[rows[0]])
        if code & Row.POOLED:
            start = self._left[rows] + (code == Row.USER)
            count = int(self._right[rows[0]])
            return [self.placed(self._pool[start + i]) for i in range(count)]
        if _is_special(code):
            return [self.columns[0][rows]] if has_left(code) else []
        two = self._right[rows[0]] != ABSENT
        return [column[rows] for column in self.columns[: 1 + two]]

    def note(self, row: int) -> Any:
        """What is known of a row: its name, group and line."""
        if not len(self._notes):
            return None
        place = int(self._notes[self._kept[row]])
        return None if place < 0 else self._recording.annotations[place]

    @computed_once
    def guards(self) -> NDArray[numpy.int64]:
        """How many guards come before each row."""
        asked = guards_of(self._codes, self._left, self._recording)
        before: NDArray[numpy.int64] = numpy.cumsum(asked) - asked
        return before

    def _first_operands(self) -> list[Ints]:
        """The operands of plain rows, and the first ones of others."""
        has_two = has_right(self._codes) & (self._right != ABSENT)
        columns = [self.placed(self._left), self.placed(self._right)]
        columns[0][~has_left(self._codes)] = ABSENT
        columns[1][~has_two] = ABSENT
        pooled = self._pooled
        if len(pooled):
            columns.append(numpy.full(len(self), ABSENT, dtype=numpy.int32))
            start = self._left[pooled] + (self._codes[pooled] == Row.USER)
            for i, column in enumerate(columns):
                there = self._right[pooled] > i
                column[pooled] = ABSENT
                column[pooled[there]] = self.placed(self._pool[start[there] + i])
        return columns

    def _tokens(self) -> Ints:
        """The tokens of all rows."""
        keys = self._codes.astype(numpy.int32)
        first, second = self.columns[:2]
        for told in (second != ABSENT, second < 0, first < 0):
            keys <<= 1
            keys |= told
        asked = numpy.flatnonzero(self._codes == Row.GUARD)
        keys[asked] = (keys[asked] & ~7) | (self._right[asked] != 0)
        keys[self._pooled] = 0
        for code in (Row.RESULT, Row.PULL, Row.BEGIN, Row.END):
            keys[self._codes == code] = code << 3
        next_key = 1 << 19
        if self._sizes:
            _, names = numpy.unique([*self._sizes.values()], return_inverse=True)
            keys[[*self._sizes]] = next_key + names.reshape(-1)
            next_key += int(names.max()) + 1
        pushed = numpy.flatnonzero(self._codes == Row.PUSH)
        which, names = numpy.unique(self._right[pushed], return_inverse=True)
        keys[pushed] = next_key + names.reshape(-1)
        next_key += len(which)
        looped = self._codes == Row.LOOP
        if looped.any():
            keys[looped] = next_key + self._left[looped]
            next_key += int(self._left[looped].max()) + 1
        starts = self._left[self._pooled]
        counts = self._right[self._pooled]
        codes = self._codes[self._pooled]
        for code, count in {*zip(codes.tolist(), counts.tolist(), strict=True)}:
            chosen = numpy.flatnonzero((codes == code) & (counts == count))
            start = starts[chosen]
            kinds = numpy.empty((len(chosen), count + (code == Row.USER)), dtype=numpy.int32)
            for i in range(kinds.shape[1]):
                given = self._pool[start + i]
                user = code == Row.USER and i == 0
                kinds[:, i] = given if user else self.placed(given) < 0
            _, names = numpy.unique(kinds, axis=0, return_inverse=True)
            names = names.reshape(-1)
            keys[self._pooled[chosen]] = next_key + names
            next_key += int(names.max()) + 1
        return _renumbered(keys)

    def _loose(self) -> Ints:
        examples = numpy.zeros(int(self.tokens.max(initial=-1)) + 1, dtype=numpy.int64)
        examples[self.tokens] = numpy.arange(len(self))
        loose = numpy.arange(len(examples), dtype=numpy.int32)
        for code in _LOOSE:
            alike = numpy.flatnonzero(self._codes[examples] == code)
            loose[alike] = alike[:1]
        return loose

    @computed_once
    def numbers(self) -> tuple[NDArray[numpy.float64], NDArray[numpy.int64]]:
        """The different constants, and which of them each constant is."""
        bits, which = numpy.unique(self.constants.view(numpy.int64), return_inverse=True)
        return bits.view(numpy.float64), which.reshape(-1)


_LOOSE = [
    code
    for code, operation in OPERATION_OF.items()
    if operation in (rules.add, rules.subtract, rules.multiply)
]


def _renumbered(keys: Ints | NDArray[numpy.int64]) -> Ints:
    """Small numbers for some keys, in the same order."""
    highest = int(keys.max(initial=0))
    if highest > 64 * len(keys) + (1 << 20):
        return numpy.unique(keys, return_inverse=True)[1].reshape(-1).astype(numpy.int32)
    present = numpy.zeros(highest + 1, dtype=bool)
    present[keys] = True
    numbers: Ints = (numpy.cumsum(present, dtype=numpy.int32) - 1)[keys]
    return numbers


def _is_special(code: Any) -> Any:
    """Whether a code is no operation's."""
    return (code >= Row.MARKS) & (code < Row.POOLED)
