"""Repetitions: the loops that are found in a recording, and the program that they make.

The user's loops are found again in the list of operations that a run has made. Nothing is moved:
the program runs the same operations on the same operands in the same order, so no dependences need
to be analysed for it to be right.

What an operand of a written row reads is data: numbers, which become a constant or a table of them;
values of the same iteration, or of one around; inputs; else elements of an array in which these
values are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy

from chainrule.forking import computed_once
from chainrule.program.builder import Builder
from chainrule.program.form import Array, Operand, Program
from chainrule.program.nests import Numbers
from chainrule.program.recording import IN_BULK, Recording, Row

from .copies import copy_elements
from .domain import Domain, Indices
from .grammar import Grammar
from .lasts import Lasts
from .loops import Programs
from .nest import Nest, Repeated, Written, first_row
from .outputs import Outputs
from .placing import Kept, Read, Shared, shared_arrays
from .repeats import Ints
from .roles import mixed
from .rows import ELEMENT, LOOKED_UP, Rows
from .segments import IrregularError, Segments
from .stretches import Stretch
from .tables import Tables

SCATTERED = 1 / 16
"""Where more than this share of what rows read is found by tables, other loops are tried."""

SAVED = 1 / 2
"""Other loops must save this share of these reads,"""

EACH = 64
"""and so many for each row more that is written."""

SMALL: Final = 4_096
"""Of so many rows all may be told apart: where loops read by tables, but none is mixed."""

TABLES: Final = 32
"""Tables of so many elements are worth it even so: what comes to all of them lies in an array."""


def with_loops(
    recording: Recording | Stretch,
    outputs: Any,
    least: float,
    share: float,
    programs: Programs,
    repeated: bool = False,
) -> Program | None:
    """The program of a recording, with loops; None where they save too little.

    Args:
        recording: its rows are in order.
        outputs: operands of it, a list or an array: what the program gives.
        least: how many rows the loops must save,
        share: and which share of all.
        programs: gives the loops that the recording says.
        repeated: whether it is the body of a loop: what it reads by tables costs each time.
    """
    rows = Rows(recording)
    if len(rows.of_code(ELEMENT)) >= TABLES:
        least = min(least, 2 * TABLES)
    least = max(least, share * len(rows))
    found = _Loops(rows, least, outputs, programs)
    while some := found.mixed or (found.by_table if repeated else []):
        apart = found.rows.told_apart(some)
        if apart.tokens.max() == found.rows.tokens.max():
            break  # they read the same
        finer = _Loops(apart, least, outputs, programs)
        if not finer.are_better_than(found):
            break
        found = finer
    return None if found.writer is None else found.writer.program


class _Loops:
    """Loops that are found in rows.

    Args:
        rows: the rows.
        least: how many of them the loops must save.
        outputs, programs: see ``with_loops``.

    Attributes:
        rows: the rows.
        written: how many are written.
        mixed: some that are to be told apart, so that other loops are found.
    """

    def __init__(self, rows: Rows, least: float, outputs: Any, programs: Programs) -> None:
        brackets = rows.token(Row.BEGIN), rows.token(Row.END)
        grammar = Grammar(rows.tokens, rows.loose, brackets, rows.columns, rows.runs)
        self.rows = rows
        self.written = grammar.written
        self._nest = Nest(rows, grammar) if len(rows) - self.written >= least else None
        self.mixed = [] if self._nest is None else mixed(self._nest, rows)
        self._rest = outputs, programs

    @property
    def by_table(self) -> Sequence[int]:
        """All rows, where these are few and much of what they read is found by tables."""
        rows = self.rows
        if len(rows) > SMALL or self.writer is None:
            return []
        return range(len(rows)) if self.writer.by_table > SCATTERED * len(rows) else []

    @computed_once
    def writer(self) -> _Writer | None:
        """Writes the program; None where loops save too little or can't be written."""
        if self._nest is None:
            return None
        try:
            return _Writer(self.rows, self._nest, *self._rest)
        except IrregularError:
            return None

    def are_better_than(self, other: _Loops) -> bool:
        """Whether there are not more rows to be written, or much less is read by tables."""
        if self.writer is None:
            return False
        more = self.written - other.written
        if more <= 0 or other.writer is None:
            return True
        before = other.writer.by_table
        saved = before - self.writer.by_table
        return before > SCATTERED * len(self.rows) and saved >= max(SAVED * before, EACH * more)


@dataclass(eq=False, repr=False)
class _Value:
    """An operand: the value of a written row, in the same iteration or one around."""

    owner: int


@dataclass(eq=False, repr=False)
class _Input:
    """An operand: inputs, by their numbers."""

    numbers: Numbers


_Source = _Value | _Input | Read | float | numpy.ndarray


class _Writer:
    """Writes the program of a nest.

    Attributes:
        program: the program.
        by_table: how often the program reads what no affine index tells.
    """

    def __init__(self, rows: Rows, nest: Nest, outputs: Any, programs: Programs) -> None:
        self._rows = rows
        self._nest = nest
        self.by_table = 0
        self._indices = Indices()
        self._builder = Builder(rows.n_inputs)
        self._looked_up = Tables(self._builder, rows, nest)
        self._lasts = Lasts(nest)  # which adds to the nest
        given = numpy.asarray(outputs, dtype=numpy.int32)
        placed = numpy.where(given >= IN_BULK, given, rows.placed(given))
        self._outputs = self._lasts.of_outputs(placed)
        self._segments = Segments(self._builder, self._indices, rows, nest, programs)
        self._reads: list[Read] = []
        self._sources = [
            [self._source(written, operand) for operand in written.operands]
            for written in nest.written
        ]
        self._values: list[Operand] = [0.0] * len(nest.written)
        self._tables: dict[bytes, Array] = {}
        self._stores: dict[int, list[tuple[Array, Numbers]]] = {}
        self._homes: dict[int, tuple[Array, Numbers]] = {}
        self._array_of: dict[Read, Shared] = {}
        self._before: dict[Domain, list[tuple[Array, Kept]]] = {}
        self.program = self._whole()

    def _whole(self) -> Program:
        self._place()
        given = Outputs(self._nest, self._outputs, self._homes, self._segments.ranges())
        for owner in given.homeless:
            self._add_array(Shared(self._nest, [self._nest.written[owner]], [], f"v{owner}"))
        for owner, (array, places) in self._looked_up.stores.items():
            self._stores.setdefault(owner, []).append((array, places))
        for owner, array, places in given.stores:
            self._stores.setdefault(owner, []).append((array, places))
        self._body(self._nest.body)
        self._builder.note = None
        constants = self._rows.constants
        result = given.write(self._builder, self._indices, self._values, constants)
        return self._builder.finish([*result])

    def _place(self) -> None:
        """Lay out the arrays."""
        for shared in shared_arrays(self._nest, self._reads):
            self._add_array(shared)

    def _add_array(self, shared: Shared) -> None:
        """Take an array: what is stored there, and what reads it."""
        for read in shared.reads:
            self._array_of[read] = shared
        for owner, home in shared.homes.items():
            self._homes[owner] = shared.array, home.places
        for kept in shared.kept:
            if kept.owner >= 0:
                self._stores.setdefault(kept.owner, []).append((shared.array, kept.places))
                continue
            assert kept.instances is not None
            inputs = kept.instances < self._rows.n_inputs
            if kept.before is not None and (inputs == inputs[0]).all():
                self._before.setdefault(kept.before, []).append((shared.array, kept))
                continue
            for chosen in (inputs, ~inputs):
                if chosen.any():
                    self._copy(shared.array, kept.instances[chosen], kept.places[chosen])

    def _copy(self, array: Array, instances: Numbers, places: Numbers) -> None:
        """Store inputs or numbers in an array before all else."""
        source = self._builder.inputs
        if instances[0] >= self._rows.n_inputs:
            numbers, _ = self._rows.numbers
            used, instances = numpy.unique(instances - self._rows.n_inputs, return_inverse=True)
            source = self._table(numbers[used])
        copy_elements(self._builder, self._indices, source, instances, array, places)

    # Where operands come from

    def _source(self, written: Written, operand: Ints) -> _Source:
        """Where an operand's values come from."""
        nest, rows = self._nest, self._rows
        first = int(operand[0])
        if first < 0:
            return _numbers(rows.constants[~operand])
        beside = nest.beside(operand)
        if beside >= 0 and nest.written[beside].domain is written.domain:
            return _Value(beside)
        owners = nest.owner[operand]
        owner = int(owners[0])
        if len(owners) == 1 or (owners == owner).all():
            if owner < 0:
                numbers = nest.instance[operand].astype(numpy.int64)
                if numbers.max() < rows.n_inputs:
                    return _Input(numbers)
                read = Read(written.domain, operand, [owner], None)
                self._reads.append(read)
                return read
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
            self.by_table += domain.count if index.tables else 0
            return self._builder.load(self._builder.inputs, index)
        if isinstance(source, Read):
            if source.array is None:
                self._array_of[source].find(source, self._indices)
            assert source.array is not None
            self.by_table += domain.count if source.index.tables else 0
            return self._builder.load(source.array, source.index)
        bits, place = self._indices.looked_up(domain, source.view(numpy.int64))
        return self._builder.load(self._table(bits.view(numpy.float64)), place)

    def _table(self, numbers: numpy.ndarray) -> Array:
        """A table of constants; equal ones are one."""
        key = numbers.tobytes()
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = self._builder.table(numbers.tolist())
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
        self._builder.note = self._rows.note(first_row(node))
        for array, kept in self._before.get(domain, ()):
            self._begin(domain.parent, array, kept)
        self._beside(self._lasts.before.get(domain, ()))
        with self._builder.loop(trips) as loop:
            domain.loop = loop
            if len(domains) > 1:
                self._loop(node, domains[1:])
            else:
                self._body(node.body)
        self._builder.note = None
        self._beside(self._lasts.after.get(domain, ()))

    def _beside(self, rows: Sequence[Written]) -> None:
        """Write rows that are the same as their operands."""
        for row in rows:
            (source,) = self._sources[row.number]
            self._finish(row, self._operand(source, row.domain))

    def _begin(self, domain: Domain, array: Array, kept: Kept) -> None:
        """Store what a recurrence begins with."""
        assert kept.instances is not None
        numbers = kept.instances - self._rows.n_inputs
        source: _Source
        if numbers.max() < 0:
            source = _Input(kept.instances)
        else:
            source = _numbers(self._rows.numbers[0][numbers])
        value = self._operand(source, domain)
        self._builder.store(array, self._indices.index(domain, kept.places), value)

    def _write(self, written: Written) -> None:
        """The statements of a written row."""
        builder, domain = self._builder, written.domain
        row = int(written.rows[0])
        builder.note = self._rows.note(row)
        operands = [self._operand(source, domain) for source in self._sources[written.number]]
        code = self._rows.code(row)
        if code == Row.GUARD:
            number = self._indices.index(domain, self._rows.guards[written.rows])
            builder.guard(operands[0], bool(self._rows.right(written.rows[:1])[0]), number)
            return
        value: Operand
        if code == ELEMENT:
            value = operands[0]
        elif code == LOOKED_UP:
            value = self._looked_up.look_up(builder, self._indices, written, operands[0])
        elif Row.MARKS <= code < Row.GUARD:
            value = self._segments.write(written, operands)
        else:
            value = builder.compute(self._rows.operation(row), operands)
        self._finish(written, value)

    def _finish(self, written: Written, value: Operand) -> None:
        """Store a value where it is read."""
        self._values[written.number] = value
        for array, places in self._stores.get(written.number, ()):
            self._builder.store(array, self._indices.index(written.domain, places), value)


def _numbers(numbers: numpy.ndarray) -> float | numpy.ndarray:
    """Numbers that an operand reads; one if it is always the same."""
    bits = numbers.view(numpy.int64)
    return float(numbers[0]) if (bits == bits[0]).all() else numbers
