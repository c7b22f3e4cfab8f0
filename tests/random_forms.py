"""Random well-formed programs, for the tests of passes and back ends.

They have nested loops, rectangular, triangular and of no trips; recurrences that look back over
several distances; sums that are added up in some loops and read in others; elements at random
places, by strides, tables and values; tables of constants; picks; and, if wanted, guards, and
segments that are differentiated.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy

from chainrule import rules
from chainrule.program.form import (
    CONSTANT,
    INPUT,
    SUMS,
    VALUES,
    Add,
    Array,
    Compute,
    Derive,
    Enter,
    Gather,
    Guard,
    Index,
    Leave,
    Load,
    Loop,
    Operand,
    Program,
    Scatter,
    Segment,
    Slice,
    Statement,
    Store,
    Table,
    statements,
)
from chainrule.program.nests import added, count, instance, numbers, scaled
from chainrule.program.verifier import Clock
from chainrule.rules import Operation

SMOOTH = (
    *(rules.add, rules.subtract, rules.multiply, rules.add, rules.multiply),
    *(rules.negative, rules.sin, rules.cos, rules.tanh, rules.sigmoid),
)
PICKS = (
    *(rules.relu, rules.absolute, rules.maximum, rules.minimum, rules.where, rules.where),
    *(rules.less, rules.equal, rules.copysign, rules.gather),
)
ROUGH = (rules.divide, rules.sqrt, rules.exp, rules.log, rules.power, rules.stop_gradient)
"""What gives infinities and NaN easily."""

PLAIN_NUMBERS = (0.0, 1.0, -1.0, 0.5, 2.0, -0.75)
SPECIAL_NUMBERS = (0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1e300, 5e-324)


class Region(NamedTuple):
    """Elements of an array that can be read: ``size`` of them from ``base`` on."""

    array: Array
    base: Index
    size: int


class Behind(NamedTuple):
    """An array being filled: it is stored at ``at``, and ``distance`` elements before are there."""

    array: Array
    at: Index
    distance: int


def random_program(
    seed: int,
    operations: Sequence[Operation] = (*SMOOTH, *PICKS),
    constants: Sequence[float] = PLAIN_NUMBERS,
    n_inputs: int = 4,
    guards: bool = False,
    segments: bool = False,
    size: int = 6,
) -> Program:
    """A program.

    Args:
        seed: the same one for the same seed and arguments.
        operations: those it has; SMOOTH, PICKS and ROUGH are some.
        constants: those it has, and halves of whole numbers.
        n_inputs: the number of inputs.
        guards: whether it has guards; most of them hold.
        segments: whether it has segments, with cotangents pulled back and tangents pushed forward.
        size: about how many loops, sums and groups of operations there are.
    """
    maker = _Maker(random.Random(seed), operations, constants, n_inputs, guards, segments)
    return maker.program(size)


def random_inputs(seed: int, program: Program, special: bool = False) -> list[float]:
    """Inputs for a program: a few zeros and ones among them, and special numbers if wanted."""
    rng = random.Random(seed)
    kinds = [lambda: rng.uniform(-2.0, 2.0)] * 3 + [lambda: rng.choice(PLAIN_NUMBERS)]
    if special:
        kinds.append(lambda: rng.choice(SPECIAL_NUMBERS))
    return [rng.choice(kinds)() for _ in range(program.inputs.size)]


def bits(numbers: Sequence[float]) -> list[str]:
    """What numbers are to the last bit; all NaNs are one."""
    return ["nan" if x != x else struct.pack(">d", x).hex() for x in numbers]


class _Maker:
    """A program under construction; it is built without a Builder, so that nothing is simplified.

    What opens a loop or segment puts it into the body around it when it is complete. So what is
    appended to an outer body meanwhile comes before it.
    """

    def __init__(
        self,
        rng: random.Random,
        operations: Sequence[Operation],
        constants: Sequence[float],
        n_inputs: int,
        guards: bool,
        segments: bool,
    ) -> None:
        self._rng = rng
        self._operations = operations
        self._constants = constants
        self._guards = guards
        self._segments = segments
        self._inputs = Array(INPUT, n_inputs, "x")
        self._root: list[Statement] = []
        self._body = self._root
        self._loops: list[Loop] = []
        self._values: list[Operand] = []  # that are visible
        self._regions: list[Region] = [Region(self._inputs, Index(), n_inputs)]
        self._behind: list[Behind] = []
        self._later: list[Region] = []  # complete when the outermost loop is over
        self._depth = 0  # of segments

    def program(self, size: int) -> Program:
        """A program with a body of so many parts."""
        for i in range(self._inputs.size):
            self._values.append(self._append(Load(self._inputs, Index(i))))
        self._block(size)
        outputs: list[Operand | Slice] = [*self._values[-4:], self._constant()]
        for region in self._regions:
            if region.array.kind in (VALUES, SUMS):
                start = self._rng.randint(0, region.size)
                size = self._rng.randint(0, region.size - start)
                outputs.append(Slice(region.array, region.base.offset + start, size))
        program = Program(self._inputs, self._root, outputs)
        _number_guards(program)
        return program

    # Parts

    def _block(self, size: int) -> None:
        kinds = [self._group, self._group]
        if len(self._loops) < 4 and count(self._loops) < 100:
            kinds += [self._recurrence, self._recurrence, self._sum]
        if self._segments and self._depth < 2:
            kinds += [self._segment]
        for _ in range(size):
            self._rng.choice(kinds)()

    def _inner(self) -> None:
        """The body of a loop."""
        self._group()
        if self._rng.random() < 0.4:
            self._block(self._rng.randint(1, 2))

    def _group(self) -> None:
        """A few operations, loads among them."""
        for _ in range(self._rng.randint(1, 4)):
            if self._rng.random() < 0.3:
                self._values.append(self._element())
            else:
                self._values.append(self._computed(self._rng.choice(self._operations)))
        if self._guards and self._rng.random() < 0.3:
            self._guard()

    def _recurrence(self) -> None:
        """An array filled by nested loops, each element from some before it."""
        distance = self._rng.randint(0, 3)
        local = self._rng.random() < 0.4
        loops = self._new_loops(local)
        counted = loops if local else [*self._loops, *loops]
        array, base, size = self._array(VALUES, distance + count(counted), local)
        at = added(base, instance(counted)).plus(distance)
        for i in range(distance):
            if local:
                self._append(Store(array, base.plus(i), self._operand()))
            else:
                inputs: list[Operand] = [*self._root[: self._inputs.size]]
                start = self._rng.choice([*inputs, self._constant()])
                self._root.append(Store(array, base.plus(i), start))
        with self._opened(loops):
            if distance:
                self._behind.append(Behind(array, at, distance))
                self._values.append(self._element_behind())
            self._inner()
            self._append(Store(array, at, self._bounded()))
        self._complete(Region(array, base, size), local)

    def _sum(self) -> None:
        """An array that is added to in nested loops."""
        local = self._rng.random() < 0.5
        array, base, size = self._array(SUMS, self._rng.randint(1, 4), local)
        with self._opened(self._new_loops(local)):
            self._inner()
            for _ in range(self._rng.randint(1, 2)):
                self._append(
                    Add(
                        array,
                        added(base, random_index(self._rng, size, self._loops)),
                        self._bounded(),
                    )
                )
            if self._rng.random() < 0.4:
                first, part = self._part(size)
                value = self._bounded()
                self._append(Scatter(array, added(base, first), part, self._place(), value))
        self._complete(Region(array, base, size), local)

    def _guard(self) -> None:
        far = 1e9 if self._rng.random() < 0.95 else 0.3
        condition = self._append(Compute(rules.less, (self._operand(), far)))
        self._append(Guard(condition, True, Index()))

    def _segment(self) -> None:
        """A segment, and what is pulled back or pushed forward through it."""
        segment = Segment(self._rng.choice(["grad", "jvp", ""]))
        outside = self._operand, self._element
        entering = [self._rng.choice(outside)() for _ in range(self._rng.randint(1, 3))]
        many = self._rng.randint(1, 3) if self._rng.random() < 0.3 else 0
        with self._scope(segment.body):
            self._depth += 1
            if self._rng.random() < 0.7:  # else it also takes what is constant for it
                self._values = []
            for place, x in enumerate(entering):
                self._values.append(self._append(Enter(segment, Index(place), x)))
            if many:
                self._enter_many(segment, len(entering), many)
            self._block(self._rng.randint(1, 3))
            leaving = [self._bounded() for _ in range(self._rng.randint(1, 3))]
            for place, y in enumerate(leaving):
                self._append(Leave(segment, Index(place), y))
            self._depth -= 1
            inner = self._values
        self._append(segment)
        if self._rng.random() < 0.3:
            self._values += [x for x in inner if x not in self._values]
        self._values += leaving
        for _ in range(self._rng.randint(0, 2)):
            self._derive(segment, len(entering) + many, len(leaving))

    def _enter_many(self, segment: Segment, first: int, many: int) -> None:
        """Elements of an array that enter in a loop, into another array."""
        source = Region(self._inputs, Index(), self._inputs.size)
        array, base, _ = self._array(VALUES, many, True)
        loop = Loop(Index(many))
        with self._opened([loop]):
            i = Index(0, ((loop, 1),))
            x = self._append(Load(source.array, random_index(self._rng, source.size, self._loops)))
            entered = self._append(Enter(segment, i.plus(first), x))
            self._append(Store(array, added(base, i), entered))
        self._regions.append(Region(array, base, many))

    def _derive(self, segment: Segment, n_in: int, n_out: int) -> None:
        forward = self._rng.random() < 0.4
        n_given, n_results = (n_in, n_out) if forward else (n_out, n_in)
        total, total_base, _ = self._array(SUMS, n_results, True)
        loops = [Loop(Index(2))] if self._rng.random() < 0.3 else []
        with self._opened(loops):
            given, given_at, _ = self._array(VALUES, n_given, True)
            results, results_at, _ = self._array(VALUES, n_results, True)
            for i in range(n_given):
                if self._rng.random() < 0.7:
                    self._append(Store(given, given_at.plus(i), self._operand()))
            self._append(Derive(segment, forward, given, given_at, results, results_at))
            found = [self._append(Load(results, results_at.plus(i))) for i in range(n_results)]
            for i, x in enumerate(found):
                self._append(Add(total, total_base.plus(i), x))
            self._values += found
        self._regions.append(Region(total, total_base, n_results))

    # Loops

    def _new_loops(self, local: bool) -> list[Loop]:
        """One to three nested loops; their trip counts may hang on those around, unless local."""
        loops: list[Loop] = []
        for _ in range(self._rng.choice([1, 1, 2, 2, 3])):
            around = loops if local else [*self._loops, *loops]
            if around and self._rng.random() < 0.4:
                trips = random_index(self._rng, self._rng.randint(1, 6), around)
            else:
                trips = Index(self._rng.choice([0, 1, 2, 3, 3, 4, 5]))
            loops.append(Loop(trips))
        return loops

    @contextmanager
    def _opened(self, loops: Sequence[Loop]) -> Iterator[None]:
        """What is built inside is the body of the innermost of some nested loops."""
        if not loops:
            yield
            return
        self._loops.append(loops[0])
        with self._scope(loops[0].body), self._opened(loops[1:]):
            yield
        self._loops.pop()
        self._append(loops[0])
        if not self._loops:
            self._regions += self._later
            self._later = []

    @contextmanager
    def _scope(self, body: list[Statement]) -> Iterator[None]:
        kept = self._body, self._values, self._regions, self._behind
        self._body, self._values = body, list(self._values)
        self._regions, self._behind = list(self._regions), list(self._behind)
        yield
        self._body, self._values, self._regions, self._behind = kept

    def _array(self, kind: str, size: int, local: bool) -> tuple[Array, Index, int]:
        """An array, where its elements begin, and how many: of each instance here, if local."""
        each = count(self._loops) if local else 1
        base = scaled(instance(self._loops), size) if local else Index()
        return Array(kind, size * each, self._rng.choice(["", "s", "t"])), base, size

    def _complete(self, region: Region, local: bool) -> None:
        """Allow to read what has been filled: a local one here, another after all loops."""
        if region.size == 0:
            return
        if local or not self._loops:
            self._regions.append(region)
        else:
            self._later.append(region)

    # Values

    def _append(self, statement: Statement) -> Statement:
        self._body.append(statement)
        return statement

    def _constant(self) -> float:
        return self._rng.choice([*self._constants, self._rng.randint(-3, 3) / 2])

    def _operand(self) -> Operand:
        """One of the last values, most often; else any, or a number."""
        if not self._values or self._rng.random() < 0.2:
            return self._constant()
        return self._rng.choice(self._values[-4:] if self._rng.random() < 0.7 else self._values)

    def _computed(self, operation: Operation) -> Statement:
        if operation is rules.gather:
            n = self._rng.randint(2, 4)
            pick = self._append(Compute(rules.less, (self._operand(), self._operand())))
            if n > 2 and self._rng.random() < 0.5:
                pick = self._append(Compute(rules.add, (pick, 1.0)))
            return self._append(Compute(operation, [pick, *[self._operand() for _ in range(n)]]))
        n = len(operation.local_grads)
        return self._append(Compute(operation, [self._operand() for _ in range(n)]))

    def _bounded(self) -> Operand:
        """The last value, often within -1 and 1, so that recurrences do not overflow always."""
        value = self._values[-1] if self._values else self._constant()
        if self._rng.random() < 0.3:
            return value
        return self._append(Compute(self._rng.choice([rules.tanh, rules.sin]), (value,)))

    def _element(self) -> Statement:
        """An element of an array: one behind, or any of a complete region, or of a table."""
        if self._behind and self._rng.random() < 0.5:
            return self._element_behind()
        if self._rng.random() < 0.2:
            data = numpy.array([self._constant() for _ in range(self._rng.randint(1, 6))])
            array = Array(CONSTANT, len(data), "", data)
            if self._rng.random() < 0.5:
                return self._append(Gather(array, Index(), len(data), self._place()))
            return self._append(Load(array, random_index(self._rng, len(data), self._loops)))
        region = self._rng.choice(self._regions)
        if self._rng.random() < 0.3:
            first, size = self._part(region.size)
            return self._append(
                Gather(region.array, added(region.base, first), size, self._place())
            )
        return self._append(
            Load(
                region.array, added(region.base, random_index(self._rng, region.size, self._loops))
            )
        )

    def _part(self, size: int) -> tuple[Index, int]:
        """Some elements side by side: where they begin, and how many."""
        own = self._rng.randint(1, size)
        return random_index(self._rng, size - own + 1, self._loops), own

    def _place(self) -> Operand:
        """Which element a value tells; sometimes none of them."""
        if self._rng.random() < 0.5:
            return self._operand()
        scaled_up = self._append(Compute(rules.multiply, (self._operand(), 3.0)))
        size = self._append(Compute(rules.absolute, (scaled_up,)))
        return self._append(Compute(rules.floor, (size,)))

    def _element_behind(self) -> Statement:
        array, at, distance = self._rng.choice(self._behind)
        return self._append(Load(array, at.plus(-self._rng.randint(1, distance))))


def random_index(rng: random.Random, size: int, loops: Sequence[Loop]) -> Index:
    """An index from 0 to size - 1 in nested loops, by strides or a table.

    Where nothing runs it may be anything.
    """
    own = [loop for loop in loops if rng.random() < 0.7]
    if own and rng.random() < 0.25:
        table = Table(numpy.array([rng.randrange(size) for _ in range(count(loops))]))
        return Index(0, (), ((table, instance(loops)),)) if count(loops) else Index()
    index = Index(0, tuple([(loop, rng.choice([1, 1, -1, 2])) for loop in own]))
    found = numbers(index, loops)
    low, high = (int(found.min()), int(found.max())) if len(found) else (0, 0)
    if high - low >= size:
        return Index(rng.randrange(size))
    return index.plus(rng.randint(-low, size - 1 - high))


def _number_guards(program: Program) -> None:
    """Give guards their numbers, in the order in which they are asked."""
    times = Clock(program.body).times
    around: dict[Statement, list[Loop]] = {}
    _note_loops(program.body, [], around)
    guards = [x for x in statements(program.body) if isinstance(x, Guard)]
    if guards:
        order = numpy.sort(numpy.concatenate([times[x] for x in guards]))
        program.guards = len(order)
    for x in guards:
        places = numpy.searchsorted(order, times[x])
        if not around[x]:
            x.number = Index(int(places[0]))
        elif len(places):
            x.number = Index(0, (), ((Table(places), instance(around[x])),))


def _note_loops(
    body: Sequence[Statement], loops: list[Loop], around: dict[Statement, list[Loop]]
) -> None:
    for x in body:
        around[x] = loops
        if isinstance(x, Loop):
            _note_loops(x.body, [*loops, x], around)
        elif isinstance(x, Segment):
            _note_loops(x.body, loops, around)
