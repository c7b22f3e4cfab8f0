"""Differentiation of programs: transformations become plain statements.

A transformation of a function that was recorded is a segment, which holds what the function did,
and statements that pull cotangents back through it or push tangents forward. These become the
statements of a derivative, innermost segments first: of loops, loops. What comes of it is a program
of the same form, so that derivatives of any order are taken in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy

from chainrule.passes.colours import coloured
from chainrule.passes.derivative import Ends
from chainrule.passes.fuse import fuse
from chainrule.passes.local_gradients import LocalGradients, Untraceable
from chainrule.passes.pull import pull_back
from chainrule.passes.push import push_forward
from chainrule.passes.region import Region
from chainrule.passes.single_terms import accessing, arrays_of_one_number, sums_of_one_term
from chainrule.program import nests
from chainrule.program.builder import Builder
from chainrule.program.elements import Elements
from chainrule.program.form import (
    CONSTANT,
    READS,
    SUMS,
    VALUES,
    WRITES,
    Array,
    Compute,
    Derive,
    Diagonal,
    Enter,
    Index,
    Leave,
    Load,
    Loop,
    Operand,
    Program,
    Segment,
    Slice,
    Statement,
    Store,
    Table,
    statements,
)
from chainrule.program.nests import Path, paths

__all__ = ["Untraceable", "differentiated"]


def differentiated(program: Program) -> Program:
    """A program without segments, in which transformations are plain statements.

    Args:
        program: the program, which is used up.

    Raises:
        Untraceable: if local gradients are not written with operations, as a user's can be.
    """
    given = _Given(program)
    if given.derives:
        builder = Builder(program.inputs, program.guards)
        _Differentiation(builder, given).body(program.body)
        program = builder.finish(program.outputs)
    return opened(program)


def opened(program: Program) -> Program:
    """A program with derivatives, without segments, and with as few loops and sums as can be.

    Args:
        program: the program; it is changed in place.
    """
    arrays = {array: Array(VALUES, array.size, array.name) for array in sums_of_one_term(program)}
    numbers = arrays_of_one_number(program, arrays)
    values: dict[Operand, Operand] = {}
    program.body = _opened(program.body, arrays, numbers, values)
    program.outputs = [
        x._replace(array=arrays.get(x.array, x.array)) if isinstance(x, Slice) else values.get(x, x)
        for x in program.outputs
    ]
    fuse(program)
    return program


def _opened(
    body: Sequence[Statement],
    arrays: Mapping[Array, Array],
    numbers: Mapping[Array, float],
    values: dict[Operand, Operand],
) -> list[Statement]:
    """The statements of a body without segments.

    Args:
        body: the statements.
        arrays: what some arrays become.
        numbers: what all elements of some arrays are.
        values: what inputs of segments and loads of numbers are; they are added.
    """
    found: list[Statement] = []
    for x in body:
        if type(x) is Compute:  # nearly all of a long program
            x.replace(values)
            found.append(x)
        elif isinstance(x, Segment):
            found += _opened(x.body, arrays, numbers, values)
        elif isinstance(x, Enter):
            values[x] = values.get(x.value, x.value)
        elif isinstance(x, Load) and x.array in numbers:
            values[x] = numbers[x.array]
        elif not isinstance(x, Leave):
            x.replace(values)
            if isinstance(x, Loop):
                x.body = _opened(x.body, arrays, numbers, values)
                x.checkpoints = [arrays.get(y, y) for y in x.checkpoints]
            elif isinstance(x, (*READS, *WRITES)) and x.array in arrays:
                x = accessing(x, arrays[x.array])
            found.append(x)
    return found


class _Given:
    """What is given to the transformations of a program.

    Attributes:
        derives: they.
        numbers: of arrays in which the same number is stored everywhere, that number.
        masks: of those that are given only in part, 1 for elements that are.
    """

    def __init__(self, program: Program) -> None:
        self._nests = nests.Nests()
        self.derives: list[Derive] = []
        self.numbers: dict[Array, float] = {}
        self.masks: dict[Array, Array] = {}
        self._paths: dict[Statement, Path] = {}
        self._ends: dict[Segment, list[Enter | Leave]] = {}
        self._is_given: dict[Derive, dict[Enter | Leave, bool]] = {}
        for statement, path in paths(program.body):
            if path:
                self._paths[statement] = path
            if isinstance(statement, Derive):
                self.derives.append(statement)
            elif isinstance(statement, (Enter, Leave)):
                self._ends.setdefault(statement.segment, []).append(statement)
        if not self.derives:
            return
        self._stored = {
            derive.given: numpy.zeros(derive.given.size, dtype=numpy.bool_)
            for derive in self.derives
        }
        self._find_stored(program)
        for derive in self.derives:
            if derive.diagonal is None:
                self._find_given(derive)

    def _find_stored(self, program: Program) -> None:
        """Find the elements of given arrays that something stores, and whether numbers alone."""
        values: dict[Array, set[str | None]] = {array: set() for array in self._stored}
        for statement in statements(program.body):
            if isinstance(statement, Store) and statement.array in values:
                path = self._paths.get(statement, ())
                self._elements(statement.index, path).mark(self._stored[statement.array])
                is_number = isinstance(statement.value, float)
                values[statement.array].add(repr(statement.value) if is_number else None)
            elif isinstance(statement, Derive) and statement.results in values:
                kind = Leave if statement.forward else Enter
                for _, at, path in self._places(statement, kind, statement.results_at):
                    self._elements(at, path).mark(self._stored[statement.results])
                values[statement.results].add(None)
        for array, found in values.items():
            if len(found) == 1 and None not in found:
                self.numbers[array] = float(found.pop() or 0.0)

    def _find_given(self, derive: Derive) -> None:
        """Find which of the ends of a transformation are given something."""
        stored = self._stored[derive.given]
        found = self._is_given[derive] = {}
        kind = Enter if derive.forward else Leave
        for end, at, path in self._places(derive, kind, derive.given_at):
            asked = self._elements(at, path).all_in(stored)
            if asked.all():
                found[end] = True
            elif asked.any():
                found[end] = False
                data = stored.astype(numpy.float64)
                self.masks[derive.given] = Array(CONSTANT, len(data), "given", data)

    def _places(
        self, derive: Derive, kind: type[Enter] | type[Leave], first: Index
    ) -> Iterator[tuple[Enter | Leave, Index, Path]]:
        """Inputs or outputs of a transformation: their places in an array, in nested loops."""
        around = self._paths.get(derive, ())
        outside = len(self._paths.get(derive.segment, ()))
        for end in self._ends.get(derive.segment, ()):
            if isinstance(end, kind):
                path = around + self._paths.get(end, ())[outside:]
                yield end, nests.added(first, end.place), path

    def _elements(self, index: Index, path: Path) -> Elements:
        return Elements(index, path, 1, self._nests.numbers)

    def ends(self, derive: Derive) -> dict[Statement, Array | None]:
        """The ends of a transformation that are given something, with masks."""
        mask = self.masks.get(derive.given)
        return {x: None if always else mask for x, always in self._is_given[derive].items()}


class _Differentiation:
    """Moves statements to another builder, with derivatives in the place of transformations."""

    def __init__(self, builder: Builder, given: _Given) -> None:
        self._builder = builder
        self._given = given
        self._local_gradients = LocalGradients()
        self._around: dict[Segment, Path] = {}
        self._regions: dict[Segment, Region] = {}
        self._by_colour: dict[tuple[Segment, int, Path], Array] = {}
        self._arrays = {  # elements that nothing stores are asked for
            array: Array(SUMS, array.size, array.name) for array in given.masks
        }

    def body(self, body: Sequence[Statement]) -> None:
        """Move the statements of a body."""
        builder = self._builder
        for x in body:
            builder.note = x.note
            if isinstance(x, Derive):
                self._derive(x)
            elif isinstance(x, (Loop, Segment)):
                if isinstance(x, Segment):
                    self._around[x] = tuple(builder.loops)
                inner, x.body = x.body, []
                with builder.opened(x):
                    self.body(inner)
            else:
                if isinstance(x, (*READS, *WRITES)) and x.array in self._arrays:
                    x = accessing(x, self._arrays[x.array])
                builder.take(x)

    def _derive(self, derive: Derive) -> None:
        segment = derive.segment
        region = self._regions.get(segment)
        if region is None:
            region = Region(segment, self._around[segment], self._local_gradients)
            self._regions[segment] = region
        if derive.diagonal is not None:
            self._diagonal(derive, derive.diagonal, region)
            return
        ends = Ends(
            derive.forward,
            self._arrays.get(derive.given, derive.given),
            derive.given_at,
            self._arrays.get(derive.results, derive.results),
            derive.results_at,
            self._given.numbers.get(derive.given),
            self._given.ends(derive),
        )
        pass_through: Any = push_forward if derive.forward else pull_back
        pass_through(self._builder, region, self._local_gradients, ends)

    def _diagonal(self, derive: Derive, diagonal: Diagonal, region: Region) -> None:
        """Build the entries on a diagonal."""
        results = self._arrays.get(derive.results, derive.results)
        at = derive.results_at
        passed = coloured(region, diagonal)
        if passed is not None:
            none = Array(VALUES, 0)
            ends = Ends(True, none, Index(), results, at, 1.0, dict.fromkeys(passed.moving))
            push_forward(self._builder, region, self._local_gradients, ends, passed)
            return
        count = _count(region.leaves, region)
        products = self._products(derive.segment, region, diagonal.period, count)
        row = numpy.arange(count, dtype=numpy.int64)
        colour = (diagonal.stride * row + diagonal.shift) % diagonal.period
        with self._builder.loop(count) as loop:
            place = Index(0, ((loop, 1),))
            entry = Index(0, (), ((Table(colour * count + row), place),))
            value = self._builder.load(products, entry)
            self._builder.store(results, nests.added(at, place), value)

    def _products(self, segment: Segment, region: Region, period: int, count: int) -> Array:
        """The changes of all outputs by each colour, one after another."""
        key = segment, period, tuple(self._builder.loops)
        found = self._by_colour.get(key)
        if found is None:
            found = self._by_colour[key] = Array(VALUES, period * count, "by colour")
            colours = numpy.arange(_count(region.enters, region)) % period
            for colour in range(period):
                data = (colours == colour).astype(numpy.float64)
                given = Array(CONSTANT, len(data), "given", data)
                masks: dict[Statement, Array | None] = dict.fromkeys(region.enters, given)
                first = Index(colour * count)
                ends = Ends(True, given, Index(), found, first, 1.0, masks)
                push_forward(self._builder, region, self._local_gradients, ends)
        return found


def _count(ends: Sequence[Enter] | Sequence[Leave], region: Region) -> int:
    """How many inputs or outputs a region has."""
    return 1 + max([int(region.numbers(x.place, x).max(initial=-1)) for x in ends], default=-1)
