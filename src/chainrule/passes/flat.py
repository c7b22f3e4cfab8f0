"""A program without loops, from a recording."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any, Final

import numpy

from chainrule.program.builder import Builder
from chainrule.program.form import (
    VALUES,
    Array,
    Diagonal,
    Index,
    Load,
    Operand,
    Program,
    Segment,
    Slice,
)
from chainrule.program.nests import Numbers
from chainrule.program.recording import (
    ABSENT,
    IN_BULK,
    LOOKUP,
    OPERATION_OF,
    TABLE,
    Recording,
    Row,
    has_left,
    unpacked,
)

from .loops import Around, Programs, Range, write_loop
from .stretches import Stretch

FEW_PARTS: Final = 32
"""Of results in bulk so many parts are given as they lie."""


def flat(
    recording: Recording | Stretch,
    outputs: Any,
    programs: Programs | None = None,
) -> Program:
    """The program of a recording, without other loops than those that it says.

    Args:
        recording: its rows are in order.
        outputs: operands of it, a list or an array: what the program gives.
        programs: gives its loops.

    Returns:
        A program whose guards are numbered in the order of the recording's.
    """
    n_inputs = int(numpy.count_nonzero(numpy.asarray(recording.codes) == Row.INPUT))
    columns = (recording.codes, recording.left, recording.right)
    codes, left, right = (x[n_inputs:].tolist() for x in columns)
    constants, pool = recording.constants.tolist(), recording.pool.tolist()
    notes = recording.notes[n_inputs:].tolist() or [-1] * len(codes)
    annotations = [*recording.annotations, None]  # the last for -1
    builder = Builder(recording.n_inputs)
    segments = _Segments(builder, programs)
    numbers = recording.left[:n_inputs]
    inputs: dict[int, Operand] = {}
    values: list[Operand] = []
    tables: dict[int, tuple[Array, int, int]] = {}  # by row: array, first element, size
    n_guards = 0
    ranges: list[Range] = []

    def operand(x: int) -> Operand:
        if x < 0:
            return constants[~x]
        if x >= n_inputs:
            return values[x - n_inputs]
        value = inputs.get(x)
        if value is None:
            value = inputs[x] = builder.input(int(numbers[x]))
        return value

    for code, a, b, note in zip(codes, left, right, notes, strict=True):
        builder.note = annotations[note]
        value: Operand = 0.0
        if code == Row.LEAF:
            value = operand(a)
        elif code == Row.GUARD:
            builder.guard(operand(a), bool(b), Index(n_guards))
            n_guards += 1
        elif code == Row.LOOP:
            n_guards += segments.loop(a, n_guards)
        elif code == Row.GIVES:
            assert isinstance(recording, Stretch)
            segments.gives[b] = recording.gathers[a]
        elif code == Row.RESULTS:
            ranges.append(Range(a, segments.results, b))
        elif code in (
            Row.BEGIN,
            Row.END,
            Row.ENTER,
            Row.LEAVE,
            Row.GIVE,
            Row.PULL,
            Row.PUSH,
            Row.RESULT,
        ):
            value = segments.value(code, a, operand(a) if has_left(code) else 0.0, b)
        elif code == Row.USER:
            operation = recording.operations[pool[a]]
            given = [operand(x) for x in pool[a + 1 : a + 1 + b]]
            if operation is TABLE:
                tables[n_inputs + len(values)] = _table(builder, given[1:])
                value = 0.0
            elif operation is LOOKUP:
                array, first, size = tables[pool[a + 3]]
                value = builder.gather(array, Index(first), size, given[0])
            else:
                value = builder.compute(operation, given)
        elif code & Row.POOLED:
            given = [operand(x) for x in pool[a : a + b]]
            value = builder.compute(OPERATION_OF[code & ~Row.POOLED], given)
        elif b == ABSENT:
            value = builder.compute(OPERATION_OF[code], [operand(a)])
        else:
            value = builder.compute(OPERATION_OF[code], [operand(a), operand(b)])
        values.append(value)
    wanted: Numbers = numpy.asarray(outputs, dtype=numpy.int64)
    if ranges and len(wanted):
        return builder.finish(_in_bulk(builder, wanted, ranges, operand))
    return builder.finish([operand(x) for x in wanted.tolist()])


def _in_bulk(
    builder: Builder, outputs: Numbers, ranges: Sequence[Range], operand: Callable[[int], Operand]
) -> list[Operand | Slice]:
    """Outputs, where there are results in bulk: slices of these, if that is few parts."""
    firsts = [x.first for x in ranges]
    starts = _starts(outputs, firsts)
    if starts is not None:
        parts: list[Operand | Slice] = []
        for start, end in pairwise([*starts, len(outputs)]):
            x = int(outputs[start])
            if x < IN_BULK:
                parts.append(operand(x))
            else:
                first, source, element = ranges[bisect(firsts, x) - 1]
                parts.append(Slice(source, element + x - first, end - start))
        return parts
    from .copies import copy_columns  # here, as short code does without
    from .domain import Indices

    array = Array(VALUES, len(outputs), "y")
    for place in numpy.flatnonzero(outputs < IN_BULK).tolist():
        builder.store(array, Index(place), operand(int(outputs[place])))
    columns = []
    order = _in_order(outputs, numpy.flatnonzero(outputs >= IN_BULK))
    ends = numpy.searchsorted(outputs[order], [*firsts[1:], 2 * IN_BULK])
    for (first, source, element), own in zip(ranges, numpy.split(order, ends[:-1]), strict=True):
        columns.append((source, element + outputs[own] - first, own))
    copy_columns(builder, Indices(), columns, array)
    return [Slice(array, 0, len(outputs))]


def _starts(outputs: Numbers, firsts: list[int]) -> list[int] | None:
    """Where parts of outputs begin that lie one after another; None if they are many."""
    if numpy.count_nonzero(numpy.diff(outputs[:1000]) != 1) >= FEW_PARTS:
        return None  # as most that are many show at once
    goes_on = (numpy.diff(outputs) == 1) & (outputs[1:] > IN_BULK)
    if numpy.count_nonzero(~goes_on) < FEW_PARTS:
        goes_on &= ~numpy.isin(outputs[1:], firsts)
    starts = [0, *(numpy.flatnonzero(~goes_on) + 1).tolist()]
    return starts if len(starts) <= FEW_PARTS else None


def _in_order(numbers: Numbers, places: Numbers) -> Numbers:
    """Some places of numbers in the order of these; soon where they are different."""
    found = numbers[places] - numbers[places].min()
    place = numpy.full(int(found.max()) + 1, -1)
    place[found] = places
    if (place[found] == places).all():
        return place[place >= 0]
    order: Numbers = places[numpy.argsort(found, kind="stable")]
    return order


def _table(builder: Builder, elements: Sequence[Operand]) -> tuple[Array, int, int]:
    """Where elements of a table lie side by side; they are stored if they don't yet."""
    size = len(elements)
    numbers = [x for x in elements if isinstance(x, float)]
    if len(numbers) == size:
        return builder.table(numbers), 0, size
    first = elements[0]
    if isinstance(first, Load) and first.array is builder.inputs:
        start = first.index.offset
        if all(
            isinstance(x, Load) and x.array is first.array and x.index == Index(start + k)
            for k, x in enumerate(elements)
        ):
            return first.array, start, size
    array = Array(VALUES, size, "table")
    for k, x in enumerate(elements):
        builder.store(array, Index(k), x)
    return array, 0, size


class _Segments:
    """The segments of a recording on the way into a program.

    Args:
        builder: of the program.
    """

    def __init__(self, builder: Builder, programs: Programs | None) -> None:
        self._builder = builder
        self._programs = programs
        self._open: list[tuple[ExitStack, _Counted]] = []
        self._known: dict[int, _Counted] = {}  # by number
        self._given: dict[int, Operand] = {}  # by place, for the derivative that comes next
        self.gives: dict[int, Numbers] = {}  # the same of columns of inputs
        self.results = Array(VALUES, 0)  # of the last derivative

    def value(self, code: int, number: int, operand: Operand, place: int) -> Operand:
        """The value of a row that concerns segments, 0.0 where it has none."""
        builder = self._builder
        if code == Row.BEGIN:
            stack = ExitStack()
            counted = self._known[number] = _Counted(stack.enter_context(builder.segment()))
            self._open.append((stack, counted))
        elif code == Row.END:
            self._open.pop()[0].close()
        elif code == Row.ENTER:
            counted = self._open[-1][1]
            counted.inputs += 1
            return builder.enter(counted.segment, Index(place), operand)
        elif code == Row.LEAVE:
            counted = self._open[-1][1]
            counted.outputs += 1
            builder.leave(counted.segment, Index(place), operand)
        elif code == Row.GIVE:
            self._given[place] = operand
        elif code == Row.RESULT:
            return builder.load(self.results, Index(number))
        else:
            diagonal = unpacked(place) if code == Row.PUSH else None
            self._derive(self._known[number], code == Row.PUSH, diagonal)
        return 0.0

    def _derive(self, counted: _Counted, forward: bool, diagonal: Diagonal | None) -> None:
        sizes = (counted.inputs, counted.outputs)
        n_given, n_results = sizes if forward else reversed(sizes)
        given = self._stored(n_given, n_results)
        results = self.results
        self._builder.derive(counted.segment, forward, given, Index(), results, Index(), diagonal)

    def _stored(self, n_given: int, n_results: int) -> Array:
        """What is given, and an array for the results."""
        given = Array(VALUES, n_given, "given")
        self.results = Array(VALUES, n_results, "results")
        for place, operand in self._given.items():
            self._builder.store(given, Index(place), operand)
        self._given = {}
        return given

    def loop(self, number: int, guards: int) -> int:
        """Write a loop after so many guards; gives how many it asks."""
        assert self._programs is not None
        loop, program = self._programs(number)
        given = self._stored(loop.n_given, loop.n_results)
        results = self.results, Index()
        if self.gives:
            self._give_columns(given)
        around = Around(1, lambda size: Index(), (given, Index()), results, Index(guards))
        write_loop(self._builder, loop, program, around)
        return loop.trips * loop.guards

    def _give_columns(self, given: Array) -> None:
        """The loops that hand columns of inputs to a loop."""
        from .domain import Domain, Indices  # here, as short code does without
        from .nest import ROOT

        alike: dict[bytes, list[tuple[int, Numbers]]] = {}  # those that are as far from each other
        for place, numbers in self.gives.items():
            alike.setdefault((numbers - numbers[0]).tobytes(), []).append((place, numbers))
        indices = Indices()
        for columns in alike.values():
            domain = Domain(ROOT, numpy.full(1, len(columns[0][1])))
            with self._builder.loop(indices.index(ROOT, domain.trips)) as domain.loop:
                for place, numbers in columns:
                    index = indices.gathering(domain, numbers)
                    value = self._builder.load(self._builder.inputs, index)
                    self._builder.store(given, Index(place, ((domain.loop, 1),)), value)
        self.gives = {}


class _Counted:
    """A segment with the number of its inputs and outputs."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.inputs = 0
        self.outputs = 0
