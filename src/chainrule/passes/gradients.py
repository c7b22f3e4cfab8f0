"""Derivatives of whole programs: with the gradients of outputs, or for changes that are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy

from chainrule.passes.derivative import Ends
from chainrule.passes.differentiate import differentiated, opened
from chainrule.passes.local_gradients import LocalGradients
from chainrule.passes.pull import pull_back
from chainrule.passes.push import push_forward
from chainrule.passes.rebuild import Rebuilding
from chainrule.passes.region import Region
from chainrule.program.builder import Builder
from chainrule.program.elements import accessed
from chainrule.program.form import (
    CONSTANT,
    INPUT,
    READS,
    VALUES,
    Array,
    Index,
    Leave,
    Load,
    Loop,
    Operand,
    Program,
    Segment,
    Slice,
    Statement,
    statements,
)
from chainrule.program.nests import Numbers, paths

FEW: Final = 16
"""Where so many times as many inputs are copied, others are too: all gradients lie in one array."""


def with_gradients(program: Program, places: Sequence[int] | Numbers, keep: bool = True) -> Program:
    """A program that gives the gradient of each of its outputs as well.

    Args:
        program: the program, which is used up.
        places: the elements of the INPUT array to differentiate by; each once.
        keep: whether it gives the outputs themselves.

    Returns:
        A program whose outputs are those of the program; then, for each of them, its derivatives by
        these inputs.

    Raises:
        Untraceable: as ``differentiated``.
    """
    if any(isinstance(statement, Segment) for statement in statements(program.body)):
        program = differentiated(program)
    return opened(_Whole(program, places).with_derivatives(keep))


def with_changes(
    program: Program,
    places: Sequence[int],
    forward: bool,
    given: Sequence[bool],
    keep: bool = False,
) -> Program:
    """A program that takes changes as well, and gives what comes of them.

    Args:
        program: one without segments and carries; it stays as it is.
        places: the elements of the INPUT array to differentiate by; each once.
        forward: whether the changes are tangents of these elements, pushed forward to the outputs;
            else cotangents of the outputs, pulled back to these elements.
        given: for each change whether there is one; the others are no messages.
        keep: whether it gives the outputs of the program first.

    Returns:
        A program whose inputs are those of the program, then the changes.
    """
    inputs = Array(INPUT, program.inputs.size + len(given), program.inputs.name)
    again = Rebuilding(program, Builder(inputs, program.guards))
    again.arrays[program.inputs] = inputs
    whole = _Whole(again.finished(), places)
    return opened(whole.with_changes(forward, program.inputs.size, given, keep))


class _Whole:
    """Moves a program into a segment, which some inputs enter.

    Inputs that are loaded in loops are copied to an array first.
    """

    def __init__(self, program: Program, places: Sequence[int] | Numbers) -> None:
        self.program = program
        self.builder = Builder(program.inputs, program.guards)
        self._values: dict[Operand, Operand] = {}  # what stands for loads of inputs
        size = program.inputs.size
        self._count = len(places)
        self._places = numpy.full(size, -1, dtype=numpy.int64)  # of inputs that enter
        self._places[numpy.asarray(places, dtype=numpy.int64)] = numpy.arange(len(places))
        self._copies = Array(VALUES, size, "x")
        self._copied = numpy.zeros(size, dtype=numpy.bool_)
        self._entered: dict[int, Operand] = {}
        self._through_copies: set[Statement] = set()
        self._local_gradients = LocalGradients()
        enter = self._places >= 0
        straight = numpy.zeros(size, dtype=numpy.bool_)
        for statement, path in paths(program.body):
            if isinstance(statement, READS) and statement.array is program.inputs:
                elements = accessed(statement, path)
                if not path and isinstance(statement, Load):
                    elements.mark(straight)
                elif elements.any_in(enter):
                    self._through_copies.add(statement)
                    elements.mark(self._copied)
        for output in program.outputs:
            if isinstance(output, Slice) and output.array is program.inputs:
                self._copied[output.start : output.start + output.size] = True
        if self._copied.any():
            alone = numpy.count_nonzero(straight & enter & ~self._copied)
            few = alone * FEW <= numpy.count_nonzero(self._copied & enter)
            self._copied |= enter if few else enter & ~straight

    def with_derivatives(self, keep: bool) -> Program:
        """The outputs of the program, if they are kept, and what is pulled back of each."""
        builder = self.builder
        region, outputs, leaves = self._region()
        if not keep:
            outputs = []
        given = Array(VALUES, len(leaves), "given")  # nothing is read of it: all is 1
        for row, leave in enumerate(leaves):
            results = Array(VALUES, self._count, "gradient")
            mask = None
            if not leave.place.is_fixed:
                mask = builder.table([float(k == row) for k in range(len(leaves))])
            ends = Ends(False, given, Index(), results, Index(), 1.0, {leave: mask})
            pull_back(builder, region, self._local_gradients, ends)
            outputs += self._all_of(results)
        return builder.finish(outputs)

    def with_changes(self, forward: bool, at: int, given: Sequence[bool], keep: bool) -> Program:
        """What comes of changes, which are inputs from a place on; of those that are given."""
        builder = self.builder
        region, outputs, leaves = self._region()
        is_given = numpy.array(given, dtype=numpy.bool_)
        mask = None
        if not is_given.all():
            data = numpy.append(numpy.zeros(at), is_given.astype(numpy.float64))
            mask = Array(CONSTANT, len(data), "given", data)
        masks: dict[Statement, Array | None] = {}
        for end in region.enters if forward else dict.fromkeys(leaves):
            own = is_given[region.numbers(end.place, end)]
            if own.any():
                masks[end] = None if own.all() else mask
        count = len(leaves) if forward else self._count
        results = Array(VALUES, count, "change")
        ends = Ends(forward, builder.inputs, Index(at), results, Index(), None, masks)
        through: Any = push_forward if forward else pull_back
        through(builder, region, self._local_gradients, ends)
        looped = forward and any(not leave.place.is_fixed for leave in leaves)
        return builder.finish([*(outputs if keep else ()), *self._all_of(results, looped)])

    def _region(self) -> tuple[Region, list[Operand | Slice], list[Leave]]:
        """The segment, the outputs, and by which statement each of these leaves it."""
        with self.builder.segment("gradient") as segment:
            self._enter(segment)
            self._body(self.program.body)
            outputs = [
                self._slice(x) if isinstance(x, Slice) else self._values.get(x, x)
                for x in self.program.outputs
            ]
            leaves = self._leave(segment, outputs)
        return Region(segment, (), self._local_gradients), outputs, leaves

    def _all_of(self, results: Array, looped: bool = False) -> list[Operand | Slice]:
        """The elements of an array as outputs."""
        if looped or self._copied.any():
            return [Slice(results, 0, results.size)]
        return [self.builder.load(results, Index(k)) for k in range(results.size)]

    def _slice(self, output: Slice) -> Slice:
        """Outputs of an array; inputs are given by their copies."""
        is_input = output.array is self.program.inputs
        return output._replace(array=self._copies) if is_input else output

    def _enter(self, segment: Segment) -> None:
        """Let the inputs enter, those that lie side by side in a loop."""
        builder, inputs = self.builder, self.builder.inputs
        for start, size, place in self._runs():
            if size == 1:
                value = builder.load(inputs, Index(start))
                if place >= 0:
                    value = builder.enter(segment, Index(place), value)
                    self._entered[start] = value
                if self._copied[start]:
                    builder.store(self._copies, Index(start), value)
                continue
            with builder.loop(size) as loop:
                at = Index(start, ((loop, 1),))
                value = builder.load(inputs, at)
                if place >= 0:
                    value = builder.enter(segment, at.plus(place - start), value)
                builder.store(self._copies, at, value)

    def _runs(self) -> list[tuple[int, int, int]]:
        """Inputs that enter or are copied: the first of some, their number, and its place or -1."""
        places = self._places
        found = numpy.flatnonzero(self._copied | (places >= 0))
        if not len(found):
            return []
        left, right = found[:-1], found[1:]
        joined = (right == left + 1) & self._copied[left] & self._copied[right]
        entering = (places[left] >= 0) | (places[right] >= 0)
        joined &= ~entering | ((places[left] >= 0) & (places[right] == places[left] + 1))
        starts = numpy.append(0, numpy.flatnonzero(~joined) + 1)
        sizes = numpy.diff(numpy.append(starts, len(found)))
        firsts = found[starts]
        return list(zip(firsts.tolist(), sizes.tolist(), places[firsts].tolist(), strict=True))

    def _leave(self, segment: Segment, outputs: Sequence[Operand | Slice]) -> list[Leave]:
        """Let the outputs leave; gives by which statement each does."""
        builder = self.builder
        leaves: list[Leave] = []
        for output in outputs:
            count = len(leaves)
            if not isinstance(output, Slice):
                leaves.append(builder.leave(segment, Index(count), output))
            elif output.size:
                with builder.loop(output.size) as loop:
                    value = builder.load(output.array, Index(output.start, ((loop, 1),)))
                    leave = builder.leave(segment, Index(count, ((loop, 1),)), value)
                leaves += [leave] * output.size
        return leaves

    def _is_copied(self, x: Load) -> bool:
        """Whether it reads an input that has a copy by which is differentiated."""
        if x.array is not self.program.inputs or not x.index.is_fixed:
            return False
        return bool(self._places[x.index.offset] >= 0)

    def _body(self, body: Sequence[Statement]) -> None:
        """Move the statements of a body."""
        builder = self.builder
        for x in body:
            builder.note = x.note
            if isinstance(x, Loop):
                inner, x.body = x.body, []
                with builder.opened(x):
                    self._body(inner)
                continue
            if x in self._through_copies:
                assert isinstance(x, READS)
                x.array = self._copies
            elif isinstance(x, Load) and self._is_copied(x):
                entered = self._entered.get(x.index.offset)
                if entered is None:
                    entered = builder.load(self._copies, x.index)
                self._values[x] = entered
                continue
            x.replace(self._values)
            builder.take(x)
