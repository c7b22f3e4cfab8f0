"""What pulling back and pushing forward have in common: arrays of changes, with conditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

import numpy

from chainrule import rules
from chainrule.passes.local_gradients import Instantiation, LocalGradients
from chainrule.passes.messages import Message, flag, sent
from chainrule.passes.primal import Primal
from chainrule.passes.reach import Instances, Reach
from chainrule.passes.region import Region
from chainrule.program import nests
from chainrule.program.builder import Builder
from chainrule.program.elements import Access
from chainrule.program.form import (
    BY_VALUE,
    CONSTANT,
    SUMS,
    VALUES,
    Array,
    Compute,
    Enter,
    Index,
    Leave,
    Loop,
    Operand,
    Statement,
)


class Ends(NamedTuple):
    """Where changes are given, and where what comes of them goes.

    Attributes:
        forward: whether tangents of the inputs are given, or cotangents of the outputs.
        given: the array of them.
        given_at: where they begin.
        results: the array of what comes.
        results_at: where that begins.
        number: the one number that is given everywhere, if it is one.
        masks: of inputs or outputs that are given something: 0 where they are not, by the elements
            of ``given``; None if they always are.
    """

    forward: bool
    given: Array
    given_at: Index
    results: Array
    results_at: Index
    number: float | None
    masks: Mapping[Statement, Array | None]


ByValue: TypeAlias = "tuple[int, Operand] | None"
"""Of an element that a value tells: how many from the index on it may be, and which it is."""


def _read(builder: Builder, array: Array, index: Index, by: ByValue) -> Operand:
    return builder.load(array, index) if by is None else builder.gather(array, index, *by)


def _add(builder: Builder, array: Array, index: Index, value: Operand, by: ByValue) -> None:
    if by is None:
        builder.add(array, index, value)
    else:
        builder.scatter(array, index, *by, value)


class Changes:
    """The changes of an array: adjoints or tangents, with flags where they have conditions.

    Args:
        array: holds them.
        flags: SUMS: how many messages have come to each; CONSTANT: 1 where some have, in each
            instance; or None where nobody asks.
        first: where those of an instance of the transformation begin.
    """

    def __init__(self, array: Array, flags: Array | None, first: Index) -> None:
        self.array = array
        self.flags = flags
        self.first = first

    @property
    def arrays(self) -> list[Array]:
        """What passes write to."""
        flags = self.flags
        return [self.array] if flags is None or flags.kind == CONSTANT else [self.array, flags]

    def load(self, builder: Builder, index: Index, always: bool, by: ByValue = None) -> Message:
        """The change of an element."""
        value = _read(builder, self.array, nests.added(self.first, index), by)
        if always or self.flags is None:
            return Message(value)
        at = index if self.flags.kind == CONSTANT else nests.added(self.first, index)
        return Message(value, _read(builder, self.flags, at, by))

    def add(self, builder: Builder, index: Index, message: Message, by: ByValue = None) -> None:
        """Add to the change of an element."""
        at = nests.added(self.first, index)
        _add(builder, self.array, at, message.value, by)
        if self.flags is not None and self.flags.kind == SUMS:
            _add(builder, self.flags, at, flag(builder, message.condition), by)

    def store(self, builder: Builder, index: Index, value: Operand) -> None:
        """Write the change of an element; 0 for none."""
        builder.store(self.array, nests.added(self.first, index), value)

    def mark(self, builder: Builder, index: Index, message: Message) -> None:
        """Note that a message has come to an element that was stored."""
        if self.flags is not None and self.flags.kind == SUMS:
            at = nests.added(self.first, index)
            builder.add(self.flags, at, flag(builder, message.condition))


class Derivative:
    """A pass through a region.

    Args:
        builder: makes the statements.
        region: the region.
        local_gradients: the formulas of all passes.
        ends: where it starts and where its results go.
        passed: the statements that changes come to, if these are others that stand for them.
    """

    def __init__(
        self,
        builder: Builder,
        region: Region,
        local_gradients: LocalGradients,
        ends: Ends,
        passed: Region | None = None,
    ) -> None:
        self.builder = builder
        self.region = region
        self.passed = region if passed is None else passed
        self.ends = ends
        self.iterations: dict[Loop, Index] = {}
        self.primal = Primal(builder, region, self.iterations)
        self._around = tuple(builder.loops)
        exact = all(mask is None for mask in ends.masks.values())
        exact = exact or self._around == region.around
        starts = {x: self._given_instances(x) for x in ends.masks}
        self.reach = Reach(self.passed, starts, ends.forward, exact)
        self._local_gradients = local_gradients
        self._locals: dict[Statement, Instantiation] = {}
        self.primal.expect(self._needed())
        self._changes: dict[Array, Changes] = {}
        self._instances: dict[nests.Path, Index] = {}

    def _given_instances(self, x: Statement) -> Instances:
        """In which instances something is given of an input or output, in every pass."""
        mask = self.ends.masks[x]
        if mask is None:
            return True
        assert isinstance(x, (Enter, Leave))
        assert mask.data is not None
        loops = (*self._around, *self.region.paths.get(x, ()))
        given = mask.data[nests.numbers(nests.added(self.ends.given_at, x.place), loops)] != 0.0
        own = self.region.loops_around(x)
        found = numpy.ones(nests.count(own), dtype=numpy.bool_)
        found[nests.numbers(nests.instance(own), loops)[~given]] = False
        return found

    def _needed(self) -> Iterator[Statement]:
        """The values in loops that local gradients are computed from."""
        for x in self.passed.paths:
            if x not in self.reach.some:
                continue
            if isinstance(x, BY_VALUE) and isinstance(x.place, Statement):
                yield x.place
            if not isinstance(x, Compute):
                continue
            formulas = self._local_gradients.of(x.operation, x.operands)
            for position, _, _ in self.passed.sources[x]:
                for place in formulas.needs(x.operation.name, position):
                    value = self.passed.origin(x) if place == -1 else x.operands[-2 - place]
                    if isinstance(value, Statement):
                        yield value

    def given(self, x: Statement, place: Index) -> Message:
        """The change that is given of an input or output."""
        ends = self.ends
        at = nests.added(ends.given_at, self.primal.index(place))
        value: Operand
        value = self.builder.load(ends.given, at) if ends.number is None else ends.number
        mask = ends.masks[x]
        if mask is None:
            return Message(value)
        condition = self.builder.load(mask, at)
        if ends.number is not None:
            value = self.builder.compute(rules.where, (condition, value, 0.0))
        return Message(value, condition)

    def by_value(self, x: Access) -> ByValue:
        """How a statement of the region accesses elements, if a value tells which."""
        return (x.size, self.primal.value(x.place)) if isinstance(x, BY_VALUE) else None

    def result(self, place: Index, value: Operand) -> None:
        """Give what comes to an input or output."""
        at = nests.added(self.ends.results_at, self.primal.index(place))
        results = self.ends.results
        write = self.builder.add if results.kind == SUMS else self.builder.store
        write(results, at, value)

    def instance(self, loops: nests.Path) -> Index:
        """The number of an iteration of nested loops."""
        found = self._instances.get(loops)
        if found is None:
            found = self._instances[loops] = nests.instance(loops)
        return found

    def changes(self, array: Array) -> Changes:
        """The changes of an array of the region."""
        found = self._changes.get(array)
        if found is None:
            found = self._changes[array] = self._new_changes(array)
        return found

    def _new_changes(self, array: Array) -> Changes:
        reach = self.reach
        kind = SUMS
        if self.ends.forward and array.kind == VALUES and reach.is_covered(array):
            kind = VALUES
        loops = self._own_loops(array)
        size, number = nests.count(loops), self.instance(loops)
        first = nests.scaled(number, array.size)
        name = f"{'change' if self.ends.forward else 'adjoint'} of {array.name}".strip()
        flags = None
        if reach.is_flagged(array):
            mask = reach.mask(array)
            if mask is None:
                flags = Array(SUMS, array.size * size, "reached")
            else:
                flags = Array(CONSTANT, array.size, "reached", mask.astype(numpy.float64))
        return Changes(Array(kind, array.size * size, name), flags, first)

    def _own_loops(self, array: Array) -> nests.Path:
        """The loops around in each of whose iterations the array has changes of their own."""
        return self._around if array in self.reach.separate else self.primal.passes

    def sent(
        self, statement: Compute, message: Message, local: Instantiation, position: int
    ) -> Message | None:
        """What a message becomes by way of an operand of a statement."""
        operation = statement.operation
        term = self._local_gradients.of(operation, statement.operands).result(
            operation.name, position
        )
        grad = local.build(term)
        decider: Operand | None = None
        if operation.picks:
            asked = statement.operands[0]
            decider = self.primal.value(asked) if operation.conditional else grad
        return sent(self.builder, message, grad, decider)

    def local(self, statement: Compute) -> Instantiation:
        """The local gradients of a statement."""
        operands, origin = statement.operands, self.passed.origin(statement)
        found = self._locals.get(origin)
        if found is None:

            def known(place: int) -> Operand:
                return self.primal.value(origin if place == -1 else operands[-2 - place])

            formulas = self._local_gradients.of(statement.operation, operands)
            found = self._locals[origin] = Instantiation(formulas, known, self.builder.compute)
        return found

    @contextmanager
    def loop(self, loop: Loop) -> Iterator[Loop]:
        """A loop that stands for one of the region, forwards or backwards."""
        trips = self.primal.index(loop.trips)
        with self.builder.loop(trips) as new:
            new.name = loop.name
            if self.ends.forward:
                self.iterations[loop] = Index(0, ((new, 1),))
            else:
                self.iterations[loop] = nests.added(trips.plus(-1), Index(0, ((new, -1),)))
            if loop.checkpoints and not self.ends.forward:
                self.primal.run_again(loop)
            yield new
            handed = [self._changes[x] for x in loop.checkpoints if x in self._changes]
            new.checkpoints = [y for x in handed for y in x.arrays]
        del self.iterations[loop]
        self.primal.left(loop)
