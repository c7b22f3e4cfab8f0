"""Stretches of a recording: the bodies of its loops, apart from what is around them.

A loop whose body was recorded once becomes three kinds of rows of the stretch around it: GIVE for
what its iterations use, LOOP, and RESULT for what is used of it. So it is one of the things that
may repeat, like a derivative of a segment. Its body is a recording of its own, with inputs.

GIVES is a column of inputs in the place of a GIVE for each: ``left`` is its number among those of
the stretch, ``right`` the place where the loop is given its first element.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy
from numpy.typing import NDArray

from chainrule.node import Node, apply
from chainrule.operation import Operation
from chainrule.passes.products import Product
from chainrule.program.nests import Numbers
from chainrule.program.recording import (
    ABSENT,
    IDENTITY,
    IN_BULK,
    LOOKUP,
    Recording,
    Row,
    has_left,
    has_right,
)

Floats: TypeAlias = NDArray[numpy.float64]
Ints: TypeAlias = NDArray[numpy.int32]


class Unrolled(BaseException):
    """Loops can't be recorded once: what their bodies do goes beyond an iteration."""


def _unknown(y: Any, *operands: Any) -> list[Any]:
    """Local gradients that are not known yet, but that depend on the operands."""
    if any(isinstance(x, Node) for x in operands):
        return [apply(UNKNOWN, (math.nan, *operands))] * len(operands)
    return [math.nan] * len(operands)


UNKNOWN: Final = Operation("loop", lambda number, *operands: number, _unknown)
"""What a loop computes, of which a trace knows what it depends on; and its number, or NaN."""
UNKNOWN.unknown = True


class Place(NamedTuple):
    """Where a column lies: what iteration i reads is element ``first + step * i``.

    Attributes:
        source: a table of numbers; "input" for an input of the stretch around the loop; "given" for
            what the loop is given.
    """

    source: str | Floats
    first: int
    step: int


NO_RUNS: Final = numpy.empty((0, 3), dtype=numpy.int64)
"""See :class:`Stretch`."""

NOTHING: Final = Place(numpy.zeros(1), 0, 0)
"""Where a table lies that no iteration reads: loops that do the same are one."""


class LoopOf:
    """A loop of which one iteration is recorded.

    Attributes:
        trips: how many iterations there are.
        level: of the innermost transformation around it.
        nest: as loops of how many iterations, one in another, it is written; those of all but the
            innermost run again in the reverse pass. After them come the iterations that are left.
        columns: for what each iteration reads: numbers as floats, operands of a recording, or where
            they lie among its inputs.
        given: the columns that are handed to the loop, as they are no inputs at even distances.
        gathered: those of them that are inputs, and handed over whole.
        hands_on: whether a loop around it hands on what comes from further out.
        expands: whether all iterations are to be rows in the end.
        mixes: whether all results are taken to depend on what a transformation follows, as it goes
            from one iteration to the next or nobody asks for a pattern.
        by_column: whether what it is given, and what it leaves, is one column after another, not
            one iteration after another.
    """

    def __init__(self, trips: int, nest: tuple[int, ...], level: int) -> None:
        self.trips = trips
        self.level = level
        self.nest = nest
        self.columns: list[Any] = []
        self.given: set[int] = set()
        self.gathered: set[int] = set()
        self.hands_on = self.expands = False
        self.mixes = False
        self.by_column = False

    @property
    def handed(self) -> list[int]:
        """The columns that are given, in the order in which they are."""
        return [*sorted(self.given - self.gathered), *sorted(self.gathered)]

    def rows(self) -> list[int]:
        """The columns that are operands."""
        return [
            j
            for j, column in enumerate(self.columns)
            if not isinstance(column, Place) and column.dtype.kind == "i"
        ]


class Stretch:
    """Rows as in a recording, without those of the bodies of loops.

    Args:
        recording: what they come from.
        loops: the different loops; LOOP rows give their places.
        n_inputs: how many inputs there are, those without a row included.

    Attributes:
        gathers: the columns that GIVES stand for: numbers of inputs.
        runs: of iterations that were traced as one, those around others first: the first row, how
            many iterations, and how many rows each has.
    """

    def __init__(self, recording: Any, loops: list[LoopBody | Product], n_inputs: int) -> None:
        self.operations: list[Any] = recording.operations
        self.annotations: list[Any] = recording.annotations
        self.loops = loops
        self.n_inputs = n_inputs
        self.gathers: list[Numbers] = getattr(recording, "gathers", [])
        self.codes: NDArray[numpy.uint16] = numpy.empty(0, dtype=numpy.uint16)
        self.left: Ints = numpy.empty(0, dtype=numpy.int32)
        self.right = self.notes = self.pool = self.left
        self.constants: Floats = numpy.empty(0)
        self.runs = NO_RUNS

    def __len__(self) -> int:
        return len(self.codes)

    def record(self, number: float) -> int:
        """A number as an operand."""
        self.constants = numpy.append(self.constants, number)
        return ~(len(self.constants) - 1)


class LoopBody:
    """A loop, its body apart.

    Attributes:
        trips, nest, by_column, expands: as for :class:`LoopOf`.
        stretch: the body. Its inputs are the carries, a number of each column, and what else it
            uses from around it.
        n_carries: how many carries there are.
        columns: where the columns lie; after them, where what is read of further out does.
        n_given: how much it is given: the first carries, what else it uses, and columns.
        outputs: operands of the body: the next carries, and what an iteration leaves.
        guards: how many guards an iteration asks.
    """

    rows_saved: Final = 0

    def __init__(
        self,
        loop: LoopOf,
        stretch: Stretch,
        n_carries: int,
        outputs: list[int],
    ) -> None:
        self.trips = loop.trips
        self.nest = loop.nest
        self.by_column = loop.by_column
        self.expands = loop.expands
        self.stretch = stretch
        self.n_carries = n_carries
        self.columns: list[Place] = []
        self.n_given = 0
        self.outputs = outputs
        self.guards = int(guards_of(stretch.codes, stretch.left, stretch).sum())

    @property
    def n_left(self) -> int:
        """How much an iteration leaves."""
        return len(self.outputs) - self.n_carries

    @property
    def n_results(self) -> int:
        """How much comes of the loop: the last carries, and what the iterations have left."""
        return self.n_carries + self.trips * self.n_left

    @property
    def key(self) -> Any:
        """Equal for loops that do the same."""
        s = self.stretch
        arrays = (s.codes, s.left, s.right, s.pool, s.constants)
        columns = [
            (x.source if isinstance(x.source, str) else x.source.tobytes(), x.first, x.step)
            for x in self.columns
        ]
        return (
            *(self.trips, self.nest, self.by_column, self.n_carries, self.n_given, self.expands),
            *(tuple(columns), tuple(self.outputs)),
            *(array.tobytes() for array in arrays),
        )


def guards_of(codes: Any, left: Any, recording: Recording | Stretch) -> Numbers:
    """How many guards each row asks."""
    asked: Numbers = (codes == Row.GUARD).astype(numpy.int64)
    for row in numpy.flatnonzero(codes == Row.LOOP).tolist():
        loop = recording.loops[int(left[row])]  # type: ignore[union-attr]
        asked[row] = loop.trips * loop.guards
    return asked


def apart(
    recording: Recording, loops: Sequence[LoopOf | Product], outputs: Numbers
) -> tuple[Stretch, Numbers]:
    """A recording as a stretch, with its loops apart, and operands of it there.

    Args:
        recording: its rows are in order.
        loops: they, by their numbers.
        outputs: operands of it.

    Raises:
        Unrolled: if something uses a value of an iteration after it, or differentiates there what
            another iteration has done.
    """
    return _Cutting(recording, loops, outputs).whole()


class _NotEven(Exception):
    """A column does not lie as it was taken for."""


class _Rows(NamedTuple):
    """Some rows; operands are numbers of rows in the recording, as ``ids`` are.

    Rows that are not in the recording have larger numbers.
    """

    ids: Ints
    codes: NDArray[numpy.uint16]
    left: Ints
    right: Ints
    notes: Ints

    def some(self, which: Any) -> _Rows:
        """Some of them."""
        return _Rows(*[column[which] for column in self])

    @staticmethod
    def joined(parts: Sequence[_Rows]) -> _Rows:
        """They, one part after another."""
        return _Rows(*map(numpy.concatenate, zip(*parts, strict=True)))

    @property
    def has_left(self) -> NDArray[numpy.bool_]:
        """Which first operands are operands, and no numbers."""
        has: NDArray[numpy.bool_] = has_left(self.codes)
        return has

    @property
    def has_right(self) -> NDArray[numpy.bool_]:
        """Which second ones are."""
        has: NDArray[numpy.bool_] = has_right(self.codes) & (self.right != ABSENT)
        return has

    def pooled(self) -> tuple[Numbers, Numbers]:
        """Places in the pool that rows refer to, in order, and which of these are operands."""
        rows = numpy.flatnonzero(self.codes & Row.POOLED)
        if not len(rows):
            return rows, numpy.empty(0, dtype=bool)
        user = self.codes[rows] == Row.USER
        counts = self.right[rows] + user
        ends = numpy.cumsum(counts)
        first = numpy.repeat(self.left[rows] - (ends - counts), counts)
        places = first + numpy.arange(len(first))
        is_operand = numpy.ones(len(places), dtype=bool)
        is_operand[(ends - counts)[user]] = False
        return places, is_operand


class _Cutting:
    """Takes the loops of a recording apart."""

    def __init__(
        self, recording: Recording, loops: Sequence[LoopOf | Product], outputs: Numbers
    ) -> None:
        self._recording = recording
        self._loops = loops
        self._n_inputs = int(numpy.count_nonzero(numpy.asarray(recording.codes) == Row.INPUT))
        self._inputs = numpy.array(recording.left[: self._n_inputs])
        columns = (recording.codes, recording.left, recording.right, recording.notes)
        codes, left, right, notes = (numpy.array(x[self._n_inputs :]) for x in columns)
        if not len(notes):
            notes = numpy.full(len(codes), -1, dtype=numpy.int32)
        ids = numpy.arange(self._n_inputs, self._n_inputs + len(codes), dtype=numpy.int32)
        self._rows = _Rows(ids, codes, left, right, notes)
        self._pool = numpy.array(recording.pool).astype(numpy.int32)
        self._constants = numpy.array(recording.constants)
        self._next = self._n_inputs + len(codes)  # of rows that are not in the recording
        self._made: list[LoopBody | Product] = []
        self._numbers: dict[Any, int] = {}  # of loops by what they do
        self._gathers: list[Numbers] = []
        self._begins = numpy.flatnonzero(codes == Row.LOOP)
        ends = numpy.flatnonzero(codes == Row.END_LOOP)
        self._end_of = dict(zip(left[ends].tolist(), ends.tolist(), strict=True))
        self._given = outputs
        self._outputs = outputs[outputs < IN_BULK]
        for loop in loops:
            if isinstance(loop, LoopOf) and loop.by_column:
                for j in loop.rows():
                    loop.columns[j] = self._behind(loop.columns[j])
        self._kept = self._asked_for()

    def _behind(self, column: Numbers) -> Numbers:
        """A column with inputs in the place of what is the same."""
        rows = self._rows
        at = numpy.maximum(column - self._n_inputs, 0)
        same = (column >= self._n_inputs) & (rows.codes[at] == IDENTITY)
        same &= (rows.left[at] >= 0) & (rows.left[at] < self._n_inputs)
        return numpy.where(same, rows.left[at], column)

    def _asked_for(self) -> NDArray[numpy.bool_]:
        """All rows but results of loops, and what is the same as others, that nothing asks for."""
        rows = self._rows
        used = numpy.zeros(self._next, dtype=bool)
        places, is_operand = rows.pooled()
        columns = [loop.columns[j] for loop in self._loops for j in loop.rows()]
        asked = [self._outputs, rows.left[rows.has_left], rows.right[rows.has_right]]
        for operands in [*asked, self._pool[places[is_operand]], *columns]:
            used[operands[operands >= 0]] = True
        result = rows.codes == Row.RESULT
        after = result | (rows.codes == Row.RESULTS)
        before = numpy.maximum.accumulate(numpy.where(after, 0, rows.ids - self._n_inputs))
        asked_for = used[self._n_inputs :]
        kept: NDArray[numpy.bool_] = asked_for | ~result | (rows.codes[before] != Row.END_LOOP)
        kept &= asked_for | (rows.codes != IDENTITY)
        return kept

    def whole(self) -> tuple[Stretch, Numbers]:
        """What is in no loop, with the loops in their places, and the outputs."""
        self._hand_columns()
        while True:
            try:
                stretch, body = self._cut(0, len(self._rows.ids), None)
                placed = self._given.copy()
                placed[placed < IN_BULK] = body.outputs
                return stretch, placed
            except _NotEven:
                self._made.clear()
                self._numbers.clear()
                self._gathers.clear()

    def _hand_columns(self) -> None:
        """Let loops that are in no other be handed the columns that are no inputs in a row.

        So that they need not be cut twice. What loops in loops read is only known then.
        """
        at = 0
        for begin in self._begins.tolist():
            if begin >= at:
                number = int(self._rows.left[begin])
                at, loop = self._end_of[number], self._loops[number]
                if isinstance(loop, LoopOf):
                    columns = {j: loop.columns[j] for j in loop.rows()}
                    loop.given |= {j for j, column in columns.items() if not self._is_even(column)}
                    if loop.by_column and not loop.expands:
                        loop.gathered = {j for j in loop.given if self._are_inputs(columns[j])}

    def _is_even(self, column: Numbers) -> bool:
        """Whether a column is inputs at even distances."""
        if not self._are_inputs(column):
            return False
        steps = numpy.diff(self._inputs[column])
        return not (steps != steps[0]).any()

    def _are_inputs(self, column: Numbers) -> bool:
        """Whether a column is inputs."""
        return bool(column.min() >= 0 and column.max() < self._n_inputs)

    def _cut(self, first: int, end: int, loop: LoopOf | Product | None) -> tuple[Stretch, _Body]:
        """The rows between two, with the loops among them in their places.

        Args:
            first: the first of them.
            end: the one before which they stop.
            loop: whose body they are; None for the whole recording.
        """
        rows, children = self._parts(first, end)
        is_carry, is_each = rows.codes == Row.CARRY, rows.codes == Row.EACH
        carries, eachs = rows.some(is_carry), rows.some(is_each)
        outputs = self._outputs
        if loop is not None:
            handed = (rows.codes == Row.NEXT) | (rows.codes == Row.LEFT)
            outputs = rows.left[handed]
            rows = rows.some(~(is_carry | is_each | handed))
        n_carries = len(carries.ids)
        rows = self._with_tables(rows)
        places, is_operand = rows.pooled()
        pool = self._pool[places]
        used = numpy.zeros(self._next, dtype=bool)
        by_left, by_right = rows.has_left, rows.has_right
        asked: list[Any] = [rows.left[by_left], rows.right[by_right]]
        asked += [pool[is_operand], outputs]
        inner = [column for child in children for column in child.even()]
        for operands in [*asked, *inner]:
            used[operands[operands >= 0]] = True
        for own in (rows.ids, carries.ids, eachs.ids):
            used[own] = False
        if loop is None:
            used[: self._n_inputs] = True
        outside = numpy.flatnonzero(used)
        if loop is None and len(outside) > self._n_inputs:
            raise Unrolled("a value of an iteration is used outside of its loop")
        heads = n_carries + (0 if loop is None else len(loop.columns))
        n_inputs = heads + len(outside)
        place = numpy.full(self._next, -1, dtype=numpy.int32)
        place[carries.ids] = carries.right
        place[eachs.ids] = n_carries + eachs.left
        place[outside] = heads + numpy.arange(len(outside))
        place[rows.ids] = n_inputs + numpy.arange(len(rows.ids))
        whole = loop is None
        stretch = Stretch(
            self._recording, self._made, self._recording.n_inputs if whole else n_inputs
        )
        constants = [self._constants[:0]]

        def placed(operands: Any) -> Any:
            """Operands as the stretch has them, and their constants in the order of their use."""
            new = operands.copy()
            values = operands >= 0
            new[values] = place[operands[values]]
            numbers = self._constants[~operands[~values]]
            new[~values] = ~(sum(map(len, constants)) + numpy.arange(len(numbers)))
            constants.append(numbers)
            return new

        left, right = rows.left.copy(), rows.right.copy()
        left[by_left] = placed(rows.left[by_left])
        right[by_right] = placed(rows.right[by_right])
        if len(pool):
            pooled = rows.codes & Row.POOLED != 0
            counts = rows.right[pooled] + (rows.codes[pooled] == Row.USER)
            left[pooled] = numpy.cumsum(counts) - counts
            pool[is_operand] = placed(pool[is_operand])
        outputs = placed(outputs)
        own_inputs = numpy.full(n_inputs, Row.INPUT, dtype=numpy.uint16)
        stretch.codes = numpy.concatenate([own_inputs, rows.codes])
        inputs = self._inputs if whole else numpy.arange(n_inputs, dtype=numpy.int32)
        stretch.left = numpy.concatenate([inputs, left])
        absent = numpy.full(n_inputs, ABSENT, dtype=numpy.int32)
        stretch.right = numpy.concatenate([absent, right])
        stretch.notes = numpy.concatenate([absent * 0 - 1, rows.notes])
        stretch.pool = pool
        stretch.constants = numpy.concatenate(constants)
        stretch.gathers = self._gathers
        number_segments(stretch)
        self._number_loops(stretch, children, place)
        read = numpy.zeros(len(stretch.codes), dtype=bool)
        others = [place[column[column >= 0]] for column in inner]
        for operands in (left[by_left], right[by_right], pool[is_operand], outputs, *others):
            read[operands[operands >= 0]] = True
        return stretch, _Body(carries.left, outside, outputs, read[n_carries:heads])

    def _parts(self, first: int, end: int) -> tuple[_Rows, list[_Child]]:
        """The rows between two, with GIVE and LOOP in the place of loops, and these."""
        parts = []
        children: list[_Child] = []
        at = first
        while True:
            which = int(numpy.searchsorted(self._begins, at))
            begin = int(self._begins[which]) if which < len(self._begins) else end
            begin = min(begin, end)
            kept = self._kept[at:begin]
            parts.append(self._rows.some(slice(at, begin)))
            if not kept.all():
                parts[-1] = parts[-1].some(kept)
            if begin == end:
                return _Rows.joined(parts), children
            number = int(self._rows.left[begin])
            at = self._end_of[number] + 1
            loop = self._loops[number]
            stretch, body = self._cut(begin + 1, at - 1, loop)
            nested = first > 0 and not loop.hands_on
            further = numpy.searchsorted(body.outside, self._n_inputs + first) if nested else 0
            child = _Child(loop, stretch, body, body.outside[:further])
            given: list[Any] = [body.begins, body.outside[further:], child.spread()]
            parts.append(self._new_rows(Row.GIVE, numpy.concatenate(given)))
            parts.append(self._gives(loop, len(parts[-1].ids)))
            parts.append(self._new_rows(Row.LOOP, numpy.array([len(children)])))
            children.append(child)

    def _with_tables(self, rows: _Rows) -> _Rows:
        """Rows together with those of the tables that they look up."""
        operations = self._recording.operations
        lookup = next((i for i, x in enumerate(operations) if x is LOOKUP), -1)
        if lookup < 0:
            return rows
        at = numpy.flatnonzero(rows.codes == Row.USER)
        at = at[self._pool[rows.left[at]] == lookup]
        asked, first = numpy.unique(self._pool[rows.left[at] + 3], return_index=True)
        missing = numpy.array([x not in rows.ids for x in asked], dtype=numpy.bool_)
        if not missing.any():
            return rows
        tables = self._rows.some(asked[missing] - self._n_inputs)
        before = at[first[missing]]
        joined = _Rows.joined([rows, tables])
        order = numpy.insert(
            numpy.arange(len(rows.ids)), before, range(len(rows.ids), len(joined.ids))
        )
        return joined.some(order)

    def _gives(self, loop: LoopOf | Product, place: int) -> _Rows:
        """The rows of the columns that a loop is given whole, from a place on."""
        first = len(self._gathers)
        for j in () if isinstance(loop, Product) else sorted(loop.gathered):
            self._gathers.append(self._inputs[loop.columns[j]].astype(numpy.int64))
        rows = self._new_rows(Row.GIVES, numpy.arange(first, len(self._gathers)))
        return rows._replace(right=place + loop.trips * rows.right)

    def _new_rows(self, code: int, left: Numbers) -> _Rows:
        """Rows that count themselves."""
        places = numpy.arange(len(left), dtype=numpy.int32)
        ids = places + numpy.int32(self._next)
        self._next += len(left)
        codes = numpy.full(len(left), code, dtype=numpy.uint16)
        notes = numpy.full(len(left), -1, dtype=numpy.int32)
        return _Rows(ids, codes, left.astype(numpy.int32), places, notes)

    def _number_loops(self, stretch: Stretch, children: Sequence[_Child], place: Ints) -> None:
        """Finish loops: find where their columns lie, and number those that are different."""
        at = numpy.flatnonzero(stretch.codes == Row.LOOP)
        even = True
        for row, child in zip(at.tolist(), children, strict=True):
            body, loop = child.body, child.loop
            if isinstance(loop, Product):
                stretch.left[row] = self._number_of(loop)
                continue
            n_given = len(loop.given)
            found = LoopBody(loop, child.stretch, len(body.begins), body.outputs.tolist())
            first = len(body.begins) + len(body.outside) - len(child.further)
            given = loop.handed
            found.n_given = first + loop.trips * len(given)
            for j, column in enumerate(loop.columns):
                if isinstance(column, Place):
                    where = column
                elif j in loop.given:
                    number = given.index(j)
                    if loop.by_column:
                        where = Place("given", first + loop.trips * number, 1)
                    else:
                        where = Place("given", first + number, len(given))
                elif column.dtype.kind == "f":
                    where = Place(column, 0, 1) if body.read[j] else NOTHING
                else:
                    rows = numpy.where(column < 0, -1, place[column])
                    inputs = stretch.left[rows]
                    steps = numpy.diff(inputs)
                    uneven = (steps != steps[0]).any() or (rows < 0).any()
                    if uneven or (stretch.codes[rows] != Row.INPUT).any():
                        loop.given.add(j)
                        continue
                    where = Place("input", int(inputs[0]), int(steps[0]))
                found.columns.append(where)
            further = stretch.left[place[child.further]]
            apart = bool((numpy.diff(further) != 1).any())
            loop.hands_on |= apart
            if apart or len(loop.given) > n_given:
                even = False
                continue
            found.columns += [Place("input", k, 0) for k in further.tolist()]
            stretch.left[row] = self._number_of(found)
        if not even:  # of all of them at once: all are cut anew
            raise _NotEven

    def _number_of(self, loop: LoopBody | Product) -> int:
        """The number of a loop: that of one which does the same, if there is one."""
        number = self._numbers.setdefault(loop.key, len(self._made))
        if number == len(self._made):
            self._made.append(loop)
        return number


class _Body(NamedTuple):
    """What is known of a stretch that is a body.

    Attributes:
        begins: what its carries begin with, operands of the recording.
        outside: the rows that it uses from around it.
        outputs: operands of the stretch: what an iteration gives.
        read: of each column whether an iteration reads it.
    """

    begins: Ints
    outside: Numbers
    outputs: Numbers
    read: NDArray[numpy.bool_]


class _Child(NamedTuple):
    """A loop in a stretch, before it is known where its columns lie.

    Attributes:
        further: the rows that it uses from outside of a loop around it, not handed on by that.
    """

    loop: LoopOf | Product
    stretch: Stretch
    body: _Body
    further: Numbers

    def even(self) -> list[Numbers]:
        """The columns that are inputs, and what comes from further out."""
        if isinstance(self.loop, Product):
            return []
        columns = [self.loop.columns[j] for j in self.loop.rows() if j not in self.loop.given]
        return [*columns, self.further]

    def spread(self) -> Numbers:
        """The columns that are given one by one, as the loop has them."""
        if isinstance(self.loop, Product):
            given: Numbers = self.loop.columns[0]
            return given
        columns = [self.loop.columns[j] for j in sorted(self.loop.given - self.loop.gathered)]
        axis = 0 if self.loop.by_column else 1
        return numpy.stack(columns, axis=axis).ravel() if columns else numpy.empty(0, dtype=int)


def number_segments(stretch: Stretch) -> None:
    """Number the segments in the order in which they begin."""
    rows = numpy.flatnonzero((stretch.codes >= Row.BEGIN) & (stretch.codes <= Row.PUSH))
    if not len(rows):
        return
    old = stretch.left[rows]
    begins = old[stretch.codes[rows] == Row.BEGIN]
    numbers = numpy.full(int(old.max()) + 1, -1, dtype=numpy.int32)
    numbers[begins] = numpy.arange(len(begins))
    stretch.left[rows] = new = numbers[old]
    if (new < 0).any():
        raise Unrolled("a derivative is taken of what another iteration has done")
