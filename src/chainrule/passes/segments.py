"""Segments of a recording, what is derived of them, and loops, in a rolled program."""

from __future__ import annotations

from contextlib import ExitStack

import numpy

from chainrule.program.builder import Builder
from chainrule.program.form import VALUES, Array, Index, Operand, Segment
from chainrule.program.nests import Numbers, distinct
from chainrule.program.recording import Row, unpacked

from .domain import Domain, Indices
from .loops import Around, Programs, Range, write_loop
from .nest import Nest, Written
from .rows import Rows


class IrregularError(Exception):
    """Derivatives of segments that other iterations have run."""


class Segments:
    """Writes the rows of segments.

    Derivatives that give or take the same written rows share arrays; each of their instances has
    its stretch there.

    Args:
        builder: of the program.
        indices: makes its indices.
        rows, nest: what is written.
        programs: gives loops by their numbers, with the programs of their bodies.

    Raises:
        IrregularError: if an instance derives what another iteration has run.
    """

    def __init__(
        self, builder: Builder, indices: Indices, rows: Rows, nest: Nest, programs: Programs
    ) -> None:
        self._builder = builder
        self._programs = programs
        self._indices = indices
        self._rows = rows
        self._nest = nest
        self._open: list[tuple[ExitStack, Segment]] = []
        self._segments: dict[int, Segment] = {}  # by the written rows that begin them
        self._derives = rows.of_code(Row.PULL, Row.PUSH, Row.LOOP)
        self._begins: dict[int, int] = {}  # for each written derivative what begins its segment
        if len(self._derives):
            self._find_segments()
            self._share_arrays()

    def _find_segments(self) -> None:
        """What the derivatives are of, and how many inputs and outputs that has."""
        rows, nest = self._rows, self._nest
        begins, ends = rows.of_code(Row.BEGIN), rows.of_code(Row.END)
        begin_of = numpy.empty(len(begins), dtype=numpy.int64)
        begin_of[rows.left(begins)] = begins
        end_of = numpy.empty(len(begins), dtype=numpy.int64)
        end_of[rows.left(ends)] = ends
        self._n_given = numpy.empty(len(self._derives), dtype=numpy.int64)
        self._n_results = numpy.empty(len(self._derives), dtype=numpy.int64)
        codes = rows.codes(self._derives)
        looped = codes == Row.LOOP
        for place in numpy.flatnonzero(looped).tolist():
            loop, _ = self._programs(int(rows.left(self._derives[place])))
            self._n_given[place], self._n_results[place] = loop.n_given, loop.n_results
        numbers = rows.left(self._derives[~looped])
        first, last = begin_of[numbers], end_of[numbers]
        n_inputs = _run_lengths(rows.of_code(Row.ENTER), first, 1)
        n_outputs = _run_lengths(rows.of_code(Row.LEAVE), last, -1)
        forward = codes[~looped] == Row.PUSH
        self._n_given[~looped] = numpy.where(forward, n_inputs, n_outputs)
        self._n_results[~looped] = numpy.where(forward, n_outputs, n_inputs)
        derives = self._derives[~looped]
        for number in distinct(nest.owner[derives]).tolist():
            written = nest.written[number]
            of = first[numpy.searchsorted(derives, written.rows)]
            owners = distinct(nest.owner[of])
            begin = nest.written[int(owners[0])]
            instances = written.domain.instances_of(begin.domain)
            if len(owners) > 1 or instances is None or (nest.instance[of] != instances).any():
                raise IrregularError
            self._begins[number] = begin.number

    def _share_arrays(self) -> None:
        """Which written derivatives share arrays, and where each instance has its stretch."""
        rows, nest = self._rows, self._nest
        group = {number: number for number in distinct(nest.owner[self._derives]).tolist()}
        given = rows.of_code(Row.GIVE, Row.GIVES)
        for marks, side in ((given, "left"), (rows.of_code(Row.RESULT), "right")):
            derives = self._derive_of(marks, side)
            count = len(nest.written)
            pairs = distinct(nest.owner[marks].astype(numpy.int64) * count + nest.owner[derives])
            first: dict[int, int] = {}
            for mark, derive in zip(*map(numpy.ndarray.tolist, divmod(pairs, count)), strict=True):
                other = first.setdefault(mark, derive)
                if group[other] != group[derive]:
                    old, new = group[derive], group[other]
                    for number in group:
                        if group[number] == old:
                            group[number] = new
        self._given: dict[int, Array] = {}
        self._results: dict[int, Array] = {}
        self._given_at = numpy.zeros(len(self._derives), dtype=numpy.int64)
        self._results_at = numpy.zeros(len(self._derives), dtype=numpy.int64)
        self._stretches = numpy.zeros(len(self._derives), dtype=numpy.int64)
        self._counts: dict[int, int] = {}  # of the stretches in the arrays of each
        groups = numpy.asarray([group[x] for x in nest.owner[self._derives].tolist()])
        for number in distinct(groups).tolist():
            members = numpy.flatnonzero(groups == number)
            self._stretches[members] = numpy.arange(len(members))
            self._counts.update({x: len(members) for x in group if group[x] == number})
            for sizes, places, arrays, name in (
                (self._n_given, self._given_at, self._given, "given"),
                (self._n_results, self._results_at, self._results, "results"),
            ):
                size = int(sizes[members].max())
                places[members] = numpy.arange(len(members)) * size
                array = Array(VALUES, len(members) * size, name)
                for derive in group:
                    if group[derive] == number:
                        arrays[derive] = array

    def ranges(self) -> list[Range]:
        """Where results in bulk stand."""
        found = []
        for first, place, row in self._rows.in_bulk:
            at = self._results_at[numpy.searchsorted(self._derives, row)] + place
            found.append(Range(first, self._results[int(self._nest.owner[row])], int(at)))
        return found

    def _derive_of(self, marks: Numbers, side: str) -> Numbers:
        """The derivatives that come after given values, or before results."""
        places = numpy.searchsorted(self._derives, marks)
        return self._derives[places if side == "left" else places - 1]

    def write(self, written: Written, operands: list[Operand]) -> Operand:
        """The statement of a row; gives its value, 0.0 where it has none."""
        builder, indices, domain = self._builder, self._indices, written.domain
        rows = written.rows
        code = self._rows.code(int(rows[0]))
        if code == Row.BEGIN:
            stack = ExitStack()
            segment = stack.enter_context(builder.segment())
            self._open.append((stack, segment))
            self._segments[written.number] = segment
        elif code == Row.END:
            self._open.pop()[0].close()
        elif code in (Row.ENTER, Row.LEAVE):
            place = indices.index(domain, self._rows.right(rows).astype(numpy.int64))
            segment = self._open[-1][1]
            if code == Row.ENTER:
                return builder.enter(segment, place, operands[0])
            builder.leave(segment, place, operands[0])
        elif code == Row.GIVE:
            derives = self._derive_of(rows, "left")
            at = self._given_at[numpy.searchsorted(self._derives, derives)]
            array = self._given[int(self._nest.owner[derives[0]])]
            place = indices.index(domain, at + self._rows.right(rows))
            builder.store(array, place, operands[0])
        elif code == Row.GIVES:
            self._give_columns(written)
        elif code == Row.RESULT:
            derives = self._derive_of(rows, "right")
            at = self._results_at[numpy.searchsorted(self._derives, derives)]
            array = self._results[int(self._nest.owner[derives[0]])]
            return builder.load(array, indices.index(domain, at + self._rows.left(rows)))
        else:
            self._derive(written)
        return 0.0

    def _give_columns(self, written: Written) -> None:
        """The loop that hands a column of inputs to a loop."""
        builder, indices, rows = self._builder, self._indices, written.rows
        columns = [self._rows.gathers[k] for k in self._rows.left(rows).tolist()]
        derives = self._derive_of(rows, "left")
        at = self._given_at[numpy.searchsorted(self._derives, derives)] + self._rows.right(rows)
        domain = Domain(written.domain, numpy.array([*map(len, columns)]))
        with builder.loop(indices.index(written.domain, domain.trips)) as domain.loop:
            places = at[domain.up] + domain.iterations[-1]
            index = indices.gathering(domain, numpy.concatenate(columns))
            value = builder.load(builder.inputs, index)
            array = self._given[int(self._nest.owner[derives[0]])]
            builder.store(array, indices.index(domain, places), value)

    def _derive(self, written: Written) -> None:
        """The statements of a derivative, or of a loop."""
        builder, indices, domain = self._builder, self._indices, written.domain
        number, first = written.number, int(written.rows[0])
        places = numpy.searchsorted(self._derives, written.rows)
        given = self._given[number], indices.index(domain, self._given_at[places])
        results = self._results[number], indices.index(domain, self._results_at[places])
        if self._rows.code(first) != Row.LOOP:
            segment = self._segments[self._begins[number]]
            forward = self._rows.code(first) == Row.PUSH
            diagonal = unpacked(int(self._rows.right(first))) if forward else None
            builder.derive(segment, forward, *given, *results, diagonal)
            return

        def where(size: int) -> Index:
            return indices.index(domain, self._stretches[places] * size)

        guard = indices.index(domain, self._rows.guards_before(written.rows))
        around = Around(self._counts[number], where, given, results, guard)
        write_loop(builder, *self._programs(int(self._rows.left(first))), around)


def _run_lengths(marks: Numbers, starts: Numbers, step: int) -> Numbers:
    """How many of some rows stand in a row directly after others, or before them."""
    if not len(marks):
        return numpy.zeros(len(starts), dtype=numpy.int64)
    if step < 0:
        return _run_lengths(-marks[::-1], -starts, 1)
    # A run of consecutive rows has one number for each of its rows less their places.
    runs = marks - numpy.arange(len(marks))
    first = numpy.searchsorted(marks, starts + 1)
    there = first < len(marks)
    there[there] = marks[first[there]] == starts[there] + 1
    ends = numpy.searchsorted(runs, runs[numpy.minimum(first, len(marks) - 1)], side="right")
    return numpy.where(there, ends - first, 0)
