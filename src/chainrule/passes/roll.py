"""Rolling: from a recording to a program in which repeated stretches are loops.

The user's loops are found again in the list of operations that a run has made. Nothing is moved: the
program runs the same operations on the same operands in the same order, so no dependences need to
be analysed for it to be right.

What an operand of a written row reads is data: numbers, which become a constant or a table of them;
values of the same iteration, or of one around; inputs; else elements of an array in which these
values are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from chainrule.compiler.recording import Recording
from chainrule.program.builder import Builder
from chainrule.program.form import VALUES, Array, Index, Operand, Program, Slice

from .domain import Domain, Indices, Numbers
from .flat import flat
from .grammar import Grammar, Operands
from .nest import ROOT, Nest, Repeated, Written
from .placing import Read, Shared, shared_arrays
from .repeats import Ints
from .rows import Rows

SHORT = 256
"""A recording of so many rows stays flat: its code is small enough, and faster than loops."""

GAIN = 2
"""Loops must make it shorter by this factor."""


def rolled(recording: Recording, outputs: Sequence[int]) -> Program:
    """The program of a recording, with loops where it pays.

    Args:
        recording: its rows are put in order.
        outputs: what the program gives, as ``record`` gave it.

    Returns:
        A program whose guards are numbered in the order of the recording's.
    """
    if len(recording) <= SHORT:
        return flat(recording, outputs)
    outputs = recording.in_order(outputs)
    rows = Rows(recording)
    grammar = Grammar(rows.tokens, None, Operands(rows.columns))
    if grammar.written * GAIN > len(rows):
        return flat(recording, outputs)
    return _Writer(rows, Nest(rows, grammar)).program(outputs)


@dataclass(eq=False)
class _Value:
    """An operand: the value of a written row, in the same iteration or one around."""

    owner: int


@dataclass(eq=False)
class _Input:
    """An operand: inputs, by their numbers."""

    numbers: Numbers


_Source = _Value | _Input | Read | float | numpy.ndarray


class _Writer:
    """Writes the program of a nest."""

    def __init__(self, rows: Rows, nest: Nest) -> None:
        self._rows = rows
        self._nest = nest
        self._indices = Indices()
        self._builder = Builder(rows.n_inputs)
        self._reads: list[Read] = []
        self._sources = [
            [self._source(written, operand) for operand in written.operands]
            for written in nest.written
        ]
        self._values: list[Operand] = [0.0] * len(nest.written)
        self._guards = rows.guards()
        self._tables: dict[bytes, Array] = {}
        self._stores: dict[int, list[tuple[Shared, Numbers]]] = {}

    def program(self, outputs: Sequence[int]) -> Program:
        """The program that gives these outputs."""
        given = _Outputs(self._nest, self._rows, outputs)
        self._reads += given.reads
        shared = shared_arrays(self._nest, self._reads)
        self._home: dict[Read, Shared] = {}
        for each in shared:
            for read in each.reads:
                self._home[read] = each
            for kept in each.kept:
                if kept.owner < 0:
                    assert kept.instances is not None
                    self._copy_inputs(each, kept.instances, kept.places)
                else:
                    self._stores.setdefault(kept.owner, []).append((each, kept.places))
        self._body(self._nest.body)
        self._builder.note = None
        return self._builder.finish(self._outputs(given))

    # Where operands come from

    def _source(self, written: Written, operand: Ints) -> _Source:
        """Where an operand's values come from."""
        nest, rows = self._nest, self._rows
        first = int(operand[0])
        if first < 0:
            numbers = rows.constants[~operand]
            bits = numbers.view(numpy.int64)
            return float(numbers[0]) if (bits == bits[0]).all() else numbers
        owners = nest.owner[operand]
        owner = int(owners[0])
        if len(owners) == 1 or (owners == owner).all():
            if owner < 0:
                return _Input(nest.instance[operand].astype(numpy.int64))
            source = nest.written[owner]
            instances = written.domain.instances_of(source.domain)
            if instances is not None and (nest.instance[operand] == instances).all():
                return _Value(owner)
            read = Read(written.domain, operand, [owner], None)
        else:
            present = numpy.flatnonzero(numpy.bincount(owners + 1)) - 1
            read = Read(written.domain, operand, present.tolist(), owners)
        self._reads.append(read)
        return read

    def _operand(self, source: _Source, domain: Domain) -> Operand:
        """The operand in the program, inside the loops of its domain."""
        if isinstance(source, float):
            return source
        if isinstance(source, _Value):
            return self._values[source.owner]
        if isinstance(source, _Input):
            index = self._indices.index(domain, source.numbers)
            return self._builder.load(self._builder.inputs, index)
        if isinstance(source, Read):
            if source.array is None:
                self._home[source].find(source, self._indices)
            assert source.array is not None
            return self._builder.load(source.array, source.index)
        bits, place = self._indices.looked_up(domain, source.view(numpy.int64))
        return self._builder.load(self._table(bits.view(numpy.float64)), place)

    def _table(self, numbers: numpy.ndarray) -> Array:
        """A table of constants; equal ones are one."""
        key = numbers.tobytes()
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = self._builder.table(numbers)
        return table

    # Statements

    def _body(self, body: Sequence[Written | Repeated]) -> None:
        for node in body:
            if isinstance(node, Written):
                self._write(node)
            else:
                self._loop(node, node.domains)

    def _loop(self, node: Repeated, domains: Sequence[Domain]) -> None:
        domain = domains[0]
        assert domain.parent is not None
        trips = self._indices.index(domain.parent, domain.trips)
        self._builder.note = None
        with self._builder.loop(trips) as loop:
            domain.loop = loop
            if len(domains) > 1:
                self._loop(node, domains[1:])
            else:
                self._body(node.body)

    def _write(self, written: Written) -> None:
        """The statements of a written row."""
        builder, domain = self._builder, written.domain
        row = int(written.rows[0])
        builder.note = self._rows.note(row)
        operands = [self._operand(source, domain) for source in self._sources[written.number]]
        operation = self._rows.operation(row)
        if operation is None:
            number = self._indices.index(domain, self._guards[written.rows])
            builder.guard(operands[0], self._rows.outcome(row), number)
            return
        value = builder.compute(operation, operands)
        self._values[written.number] = value
        for shared, places in self._stores.get(written.number, ()):
            builder.store(shared.array, self._indices.index(domain, places), value)

    def _copy_inputs(self, shared: Shared, numbers: Numbers, places: Numbers) -> None:
        """Store inputs in an array, before all else."""
        order = numpy.argsort(places, kind="stable")
        numbers, places = numbers[order], places[order]
        self._copied(numbers, places, self._builder.inputs, shared.array)

    def _copied(self, numbers: Numbers, places: Numbers, source: Array, target: Array) -> None:
        """Copy elements of one array to another."""
        builder = self._builder
        for first, end in _stretches(numbers, places):
            if end - first < 8:
                for number, place in zip(numbers[first:end], places[first:end], strict=True):
                    value = builder.load(source, Index(int(number)))
                    builder.store(target, Index(int(place)), value)
                continue
            with builder.loop(end - first) as loop:
                domain = Domain(ROOT, numpy.full(1, end - first))
                domain.loop = loop
                at = self._indices.index(domain, numbers[first:end])
                value = builder.load(source, at)
                to = self._indices.index(domain, places[first:end])
                builder.store(target, to, value)

    def _outputs(self, given: _Outputs) -> list[Operand | Slice]:
        """The outputs in the program."""
        result: list[Operand | Slice] = []
        for first, end in given.stretches:
            read = given.read_of.get(first)
            operands = given.operands[first:end]
            if read is None:
                result += [self._output(int(operand)) for operand in operands]
                continue
            places = self._home[read].places(read)
            if (numpy.diff(places) == 1).all():
                array = self._home[read].array
                result.append(Slice(array, int(places[0]), len(places)))
            elif len(places) < 8:
                array = self._home[read].array
                result += [self._builder.load(array, Index(int(place))) for place in places]
            else:
                target = Array(VALUES, len(places), "y")
                source = self._home[read].array
                self._copied(places, numpy.arange(len(places)), source, target)
                result.append(Slice(target, 0, len(places)))
        return result

    def _output(self, operand: int) -> Operand:
        """An output that is a number, an input or a value of the program's body."""
        if operand < 0:
            return float(self._rows.constants[~operand])
        owner = int(self._nest.owner[operand])
        if owner < 0:
            return self._builder.input(int(self._nest.instance[operand]))
        return self._values[owner]


class _Outputs:
    """Outputs in stretches: of values of one written row in loops, and others.

    Attributes:
        operands: the outputs, numbered as in ``Rows``.
        stretches: the first and the end of each.
        read_of: what reads the stretch that begins there, if it is of values in loops.
        reads: these.
    """

    def __init__(self, nest: Nest, rows: Rows, outputs: Sequence[int]) -> None:
        self.operands = rows.placed(numpy.asarray(outputs, dtype=numpy.int32))
        owners = [int(nest.owner[x]) if x >= 0 else -1 for x in self.operands]
        looped = [o if o >= 0 and nest.written[o].domain is not ROOT else -1 for o in owners]
        self.stretches: list[tuple[int, int]] = []
        self.read_of: dict[int, Read] = {}
        first = 0
        for end in range(1, len(looped) + 1):
            if end < len(looped) and looped[end] == looped[first]:
                continue
            self.stretches.append((first, end))
            if looped[first] >= 0:
                domain = Domain(ROOT, numpy.full(1, end - first))
                read = Read(domain, self.operands[first:end], [looped[first]], None)
                self.read_of[first] = read
            first = end
        self.reads = list(self.read_of.values())


def _stretches(numbers: Numbers, places: Numbers) -> list[tuple[int, int]]:
    """The first and end of stretches in which both advance by the same steps."""
    found = []
    first, n = 0, len(numbers)
    steps = numpy.stack([numpy.diff(numbers), numpy.diff(places)])
    changes = numpy.flatnonzero((steps[:, 1:] != steps[:, :-1]).any(axis=0)) + 1
    if 8 * len(changes) > n:  # not worth a loop for each
        return [(0, n)]
    for end in [*changes.tolist(), n]:
        if end > first:
            found.append((first, min(end + 1, n)))
            first = min(end + 1, n)
    return found
