"""Loops whose body was recorded once, in the program of what is around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy

from chainrule.passes.products import Product
from chainrule.passes.rebuild import Rebuilding
from chainrule.passes.stretches import LoopBody
from chainrule.program import nests
from chainrule.program.builder import Builder
from chainrule.program.form import (
    CONSTANT,
    VALUES,
    Array,
    Gather,
    Guard,
    Index,
    Load,
    Loop,
    Program,
    Slice,
    Statement,
    Store,
)
from chainrule.program.nests import added, paths, scaled

FEW = 8
"""So many numbers are copied one by one."""

Where = Callable[[int], Index]
"""Gives, for a number of elements, where those of an instance begin, in an array for all."""

Programs = Callable[[int], tuple[LoopBody | Product, Program | None]]
"""Gives loops by their numbers, with the programs of their bodies."""

Source = Callable[[Index], tuple[Array, Index]]
"""Gives the element of a number."""


class Range(NamedTuple):
    """Results in bulk.

    Attributes:
        first: the operand that the first is.
        array, element: where that stands; the others follow it.
    """

    first: int
    array: Array
    element: int


class Around:
    """What is around a loop.

    Args:
        count: how many instances of the loop there are.
        where: where the elements of each begin.
        given, given_at: what the loop is given.
        results, results_at: where its results go.
        guard: the number of its first guard.
    """

    def __init__(
        self,
        count: int,
        where: Where,
        given: tuple[Array, Index],
        results: tuple[Array, Index],
        guard: Index,
    ) -> None:
        self.count = count
        self.where = where
        self.given, self.given_at = given
        self.results, self.results_at = results
        self.guard = guard


def write_loop(
    builder: Builder, loop: LoopBody | Product, program: Program | None, around: Around
) -> None:
    """Write a loop.

    Args:
        builder: of the program around it.
        loop: the loop.
        program: of its body; None for a product.
        around: what is around it.
    """
    if isinstance(loop, Product):
        loop.write(builder, around)
    else:
        assert program is not None
        _Body(builder, loop, program, around).write()


class _Range(NamedTuple):
    """Inputs of a body, from low to high.

    Attributes:
        beside: whether they must lie side by side, as a run tells which is read.
    """

    low: int
    high: int
    beside: bool = False


_FIXED = _Range(0, 0)


class _Group(NamedTuple):
    """Carries that lie in an array one after another.

    Attributes:
        first: the first one.
        size: how many there are.
    """

    first: int
    size: int


Level = dict[_Group, tuple[Array, Index]]
"""Of carries of a loop: their array, and where those of its next iteration lie."""


def _joined(count: int, read: Sequence[_Range]) -> list[tuple[int, int]]:
    """Some numbers in stretches, so that each of those that are read is in one."""
    joined = numpy.zeros(count + 1, dtype=bool)  # whether a number is with the one before it
    for low, high, _ in read:
        if high <= count:
            joined[low + 1 : high] = True
    starts = numpy.flatnonzero(~joined).tolist()
    return list(pairwise(starts))


class _Body(Rebuilding):
    """Builds the program of a body in a loop, with arrays that have room for each iteration."""

    def __init__(self, builder: Builder, loop: LoopBody, program: Program, around: Around) -> None:
        super().__init__(program, builder)
        self._loop = loop
        self._around = around
        self._iteration = self._place = Index()  # of the loop, and of this part of it
        self._first, self._count = 0, loop.trips  # the iterations of this part
        self._n_inputs = program.inputs.size
        self._rooms: dict[Array, tuple[Array, Index]] = {}
        self._fixed_rooms: dict[Array, tuple[Array, Index]] = {}
        self._tables: dict[int, Array] = {}
        self._ranges: dict[Statement, _Range] = {}
        for statement, path in paths(program.body):
            if isinstance(statement, (Load, Gather)) and statement.array is program.inputs:
                places = nests.numbers(statement.index, path)
                gathers = isinstance(statement, Gather)
                size = statement.size if isinstance(statement, Gather) else 1
                if len(places):
                    low, high = int(places.min()), int(places.max()) + size
                    self._ranges[statement] = _Range(low, high, gathers)
        slices = [x for x in program.outputs if isinstance(x, Slice) and x.array is program.inputs]
        read = [*self._ranges.values(), *[_Range(x.start, x.start + x.size) for x in slices]]
        self._together: Array | None = None
        self._groups: list[_Group] = []  # of each carry
        for low, high in _joined(loop.n_carries, read):
            self._groups += [_Group(low, high - low)] * (high - low)
        self._carries: Level = {}  # of the innermost loop that is open
        if any(self._input(Index(), each) is None for each in read):
            self._together = Array(VALUES, 0, "inputs")
        self._fixed = self._copies_from_outside()
        for x, _ in paths(self._fixed):
            if isinstance(x, Store) and x.array not in self._fixed_rooms:
                size = x.array.size
                room = x.array.like(around.count * size), around.where(size)
                self._fixed_rooms[x.array] = room

    def _copies_from_outside(self) -> list[Statement]:
        """Statements that do the same in each iteration: they copy to arrays what it is given."""
        outside = self._loop.n_carries + len(self._loop.columns)
        found = [(x, [y for y, _ in paths([x])]) for x in self.program.body]
        arrays = {y.array for _, inside in found for y in inside if isinstance(y, Store)}

        def is_copy(x: Statement) -> bool:
            if isinstance(x, Store):
                copied = isinstance(x.value, float) or x.value in known
                return copied and x.array in arrays and x.array.kind == VALUES
            if isinstance(x, Load) and x.array is self.program.inputs:
                return x in self._ranges and self._ranges[x].low >= outside
            return isinstance(x, Loop) or (isinstance(x, Load) and x.array.kind == CONSTANT)

        count = -1
        while len(found) != count:
            count = len(found)
            known = {y for _, inside in found for y in inside}
            copies = {x for x, inside in found if all(map(is_copy, inside))}
            for x, inside in found:
                if x not in copies:
                    arrays -= {y.array for y in inside if isinstance(y, Store)}
            found = [(x, inside) for x, inside in found if x in copies]
        used = {y.value for _, inside in found for y in inside if isinstance(y, Store)}
        return [x for x, _ in found if not isinstance(x, Load) or x in used]

    def write(self) -> None:
        """Write the loop: as a nest, and the iterations that are left."""
        loop, around = self._loop, self._around
        self.body(self._fixed)
        begins = {x: (around.given, around.given_at.plus(x.first)) for x in self._all_groups()}
        for nest in (loop.nest, (loop.trips - prod(loop.nest),)):
            if nest[0]:
                self._rooms.clear()
                self._count = prod(nest)
                begins = self._write(nest, Index(), begins)
                self._first += self._count
        for group, source in begins.items():
            self._copy(
                group.size, _after(*source), (around.results, around.results_at.plus(group.first))
            )

    def _all_groups(self) -> list[_Group]:
        return list(dict.fromkeys(self._groups))

    def _write(self, nest: Sequence[int], number: Index, begins: Level) -> Level:
        """Write nested loops.

        Args:
            nest: of how many iterations each is.
            number: of the outermost of them, among its instances.
            begins: the carries before.

        Returns:
            the carries after.
        """
        trips, fixed = nest[0], set(self._fixed)
        instances = self._count // prod(nest)
        slot = scaled(number, trips + 1)
        level: Level = {}
        for group, source in begins.items():
            array, at = self._room(instances * (trips + 1) * group.size)
            level[group] = array, added(at, scaled(slot, group.size))
            self._copy(group.size, _after(*source), level[group])

        def after(trip: Index) -> Level:
            return {
                group: (array, added(at, scaled(trip, group.size)))
                for group, (array, at) in level.items()
            }

        with self.builder.loop(trips) as new:
            new.name = "scan"
            trip = Index(0, ((new, 1),))
            place = added(scaled(number, trips), trip)
            if len(nest) > 1:
                new.checkpoints = [array for array, _ in level.values()]
                ends = self._write(nest[1:], place, after(trip))
                for group, to in after(trip.plus(1)).items():
                    self._copy(group.size, _after(*ends[group]), to)
            else:
                self._place, self._iteration = place, place.plus(self._first)
                self._carries = after(trip)
                if self._together is not None:
                    self._bring_together(self._together)
                self.body([x for x in self.program.body if x not in fixed])
                self._give()
        return after(Index(trips))

    def _give(self) -> None:
        """Store what an iteration gives: the next carries, and what it leaves."""
        place = 0
        for output in self.program.outputs:
            end = place + (output.size if isinstance(output, Slice) else 1)
            first = place
            while first < end:
                size, to = self._given_to(first, end)
                if isinstance(output, Slice):
                    low = output.start + first - place
                    self._copy(size, self._part(output.array, low, low + size), to)
                else:
                    self.builder.store(*to, self.value(output))
                first += size
            place = end

    def _given_to(self, first: int, end: int) -> tuple[int, tuple[Array, Index]]:
        """How many outputs from one on go to one array one after another, and where."""
        n = self._loop.n_carries
        if first >= n and self._loop.by_column:
            column = self._around.results_at.plus(n + (first - n) * self._loop.trips)
            return 1, (self._around.results, added(column, self._iteration))
        if first >= n:
            left_at = self._own(self._loop.n_left, self._around.results_at.plus(first))
            return end - first, (self._around.results, left_at)
        group = self._groups[first]
        array, at = self._carries[group]
        size = min(end, group.first + group.size) - first
        return size, (array, at.plus(group.size + first - group.first))

    # Elements

    def _room(self, size: int) -> tuple[Array, Index]:
        """An array that has room for each instance of the loop, and where that of one begins."""
        return Array(VALUES, self._around.count * size, "carry"), self._around.where(size)

    def _own(self, size: int, first: Index) -> Index:
        """Where the elements of the iteration begin, if each has so many."""
        return added(first, scaled(self._iteration, size))

    def _element(self, array: Array, index: Index, among: _Range = _FIXED) -> tuple[Array, Index]:
        """An element of an array of the body; of its inputs, it is one of some."""
        if array is self.program.inputs:
            found = self._input(index, among)
            if found is not None:
                return found
            assert self._together is not None
            return self._element(self._together, index)
        if array.kind == CONSTANT:
            return array, index
        if array in self._fixed_rooms:
            fixed, at = self._fixed_rooms[array]
            return fixed, added(at, index)
        room = self._rooms.get(array)
        if room is None:
            size = self._count * array.size
            room = array.like(self._around.count * size), self._around.where(size)
            self._rooms[array] = room
        return room[0], added(added(room[1], scaled(self._place, array.size)), index)

    def _part(self, array: Array, low: int, high: int) -> Source:
        """Elements of an array of the body from low to high."""
        return lambda k: self._element(array, k.plus(low), _Range(low, high))

    def _input(self, index: Index, among: _Range) -> tuple[Array, Index] | None:
        """An input of the iteration, one of some; None if these lie apart."""
        loop, around = self._loop, self._around
        low, high, beside = among
        n, outside = loop.n_carries, loop.n_carries + len(loop.columns)
        if high <= n:
            group = self._groups[low]
            if high > group.first + group.size:
                return None
            array, at = self._carries.get(group, (self.program.inputs, Index()))
            return array, added(at.plus(-group.first), index)
        if low >= outside:
            return around.given, added(around.given_at, index.plus(n - outside))
        if low < n or high > outside:
            return None
        columns = loop.columns[low - n : high - n]
        first = columns[0]
        apart = columns[1].first - first.first if len(columns) > 1 else 0
        if beside and len(columns) > 1 and apart != 1:
            return None
        for j, column in enumerate(columns[1:], 1):
            named = isinstance(column.source, str) and isinstance(first.source, str)
            if not named or column.source != first.source:
                return None
            if column.step != first.step or column.first != first.first + apart * j:
                return None
        at = added(scaled(index.plus(-low), apart), Index(first.first))
        at = self._own(first.step, at)
        if isinstance(first.source, str):
            if first.source == "input":
                return self.builder.inputs, at
            return around.given, added(around.given_at, at)
        table = self._tables.get(low)
        if table is None:
            table = self._tables[low] = Array(CONSTANT, len(first.source), "", first.source)
        return table, at

    def _bring_together(self, together: Array) -> None:
        """Copy all inputs of the iteration to one array."""
        together.size = self._n_inputs
        n, outside = self._loop.n_carries, self._loop.n_carries + len(self._loop.columns)
        parts = [(x.first, x.first + x.size) for x in self._all_groups()]
        parts += [(j, j + 1) for j in range(n, outside)] + [(outside, self._n_inputs)]
        for low, high in parts:
            to = self._element(together, Index(low))
            self._copy(high - low, self._part(self.program.inputs, low, high), to)

    def _copy(self, size: int, source: Source, to: tuple[Array, Index]) -> None:
        """Copy elements to where they lie one after another."""
        builder = self.builder
        if size <= FEW:
            for k in range(size):
                builder.store(to[0], to[1].plus(k), builder.load(*source(Index(k))))
            return
        with builder.loop(size) as loop:
            each = Index(0, ((loop, 1),))
            builder.store(to[0], added(to[1], each), builder.load(*source(each)))

    # Statements

    def element(self, array: Array, index: Index, user: Statement) -> tuple[Array, Index]:
        """The element in the room of the iteration."""
        return self._element(array, self.index(index), self._ranges.get(user, _FIXED))

    def statement(self, statement: Statement) -> None:
        """Build a statement; guards are counted on over all iterations."""
        if isinstance(statement, Guard):
            number = self._own(self._loop.guards, self._around.guard)
            number = added(number, self.index(statement.number))
            self.builder.guard(self.value(statement.condition), statement.outcome, number)
        else:
            super().statement(statement)


def _after(array: Array, at: Index) -> Source:
    """The elements of an array from one on."""
    return lambda k: (array, added(at, k))
