"""Loops of a single point that are computed several iterations at a time."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import numpy as np
import pytest
from random_forms import bits
from test_program_kernels import MACHINES, call

import chainrule as cr
import chainrule.math as crmath
from chainrule import rules
from chainrule.backends.llvm import strips
from chainrule.backends.llvm.in_common import InCommon, needed_flag
from chainrule.backends.llvm.kernel import Kernel
from chainrule.backends.llvm.machine import machine
from chainrule.backends.llvm.maps import Map, as_map
from chainrule.passes.promote import promoted
from chainrule.program.builder import Builder
from chainrule.program.form import (
    INPUT,
    SUMS,
    VALUES,
    Add,
    Array,
    Carry,
    Compute,
    Index,
    Last,
    Load,
    Loop,
    Operand,
    Program,
    Slice,
    Store,
    Table,
    statements,
)
from chainrule.program.interpreter import interpret
from chainrule.program.nests import numbers
from chainrule.program.verifier import verify

EXACT: tuple[rules.Operation, ...] = (
    *(rules.add, rules.subtract, rules.multiply, rules.divide, rules.maximum, rules.where),
    *(rules.less, rules.relu, rules.sqrt, rules.absolute, rules.negative, rules.floor),
    rules.message,
)
OTHERS = (rules.sin, rules.exp, rules.tanh, rules.sigmoid, rules.power, rules.hypot, rules.fmod)
SIZE = 150  # elements of each array


@pytest.fixture(autouse=True)
def no_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what changes the order of sums, which has tests of its own."""
    monkeypatch.setattr(strips, "LEAST", 1 << 40)


class Draft:
    """A program of some loops under construction."""

    def __init__(self, seed: int, exact: bool, nests: bool = False) -> None:
        self.rng = Random(seed)
        self.operations = EXACT if exact else EXACT + OTHERS
        self.builder = Builder(SIZE, final=True)
        self.readable = [self.builder.inputs]
        self.outputs: list[Operand | Slice] = []
        for _ in range(self.rng.randint(1, 4)):
            self.add_nest() if nests else self.add_loop()
        self.program = self.builder.finish(self.outputs)
        verify(self.program)

    def add_loop(self) -> None:
        """A loop, or one in another."""
        builder, rng = self.builder, self.rng
        trips = rng.choice([1, 7, 8, 9, 16, 30, 65])
        target, sums = Array(VALUES, SIZE, "a"), Array(SUMS, SIZE, "s")
        if rng.random() < 0.4:
            with builder.loop(rng.randint(1, 4)) as outer:
                count = Index(trips, ((outer, rng.choice([0, 1])),))
                with builder.loop(count if count.strides[0][1] else trips) as loop:
                    self.body(loop, trips + 3, Array(VALUES, 0), sums, outer)
        else:
            with builder.loop(trips) as loop:
                self.body(loop, trips, target, sums, None)
            self.outputs.append(Slice(target, 0, trips))
            if trips == SIZE:
                self.readable.append(target)
        self.outputs.append(Slice(sums, 0, SIZE))

    def add_nest(self) -> None:
        """A loop whose iterations have inner loops, with sums and elements of their own."""
        builder, rng = self.builder, self.rng
        trips, inner_trips = rng.choice([5, 8, 11, 16, 20]), rng.randint(2, 5)
        size = trips * inner_trips
        own, out = Array(VALUES, size, "own"), Array(VALUES, trips, "out")
        totals, shared = Array(SUMS, trips, "totals"), Array(SUMS, SIZE, "shared")
        by_rows = rng.random() < 0.5
        strides = (inner_trips, 1) if by_rows else (1, trips)
        with builder.loop(trips) as outer:
            values: list[Operand] = [0.5, self.loaded(outer)]
            with builder.loop(inner_trips) as loop:
                here = [*values, self.element(outer, loop), self.element(outer, loop)]
                self.compute(here)
                if rng.random() < 0.5:  # sent in all iterations of the outer loop, or in none
                    flag = builder.compute(rules.less, (self.loaded(loop), 0.3))
                    here.append(builder.compute(rules.message, (flag, *here[-2:])))
                builder.store(own, Index(0, ((outer, strides[0]), (loop, strides[1]))), here[-1])
                builder.add(totals, Index(0, ((outer, 1),)), here[rng.choice([-1, -2, -3])])
                if rng.random() < 0.6:
                    at = rng.choice([((loop, 3),), ((loop, 1), (outer, 1)), (), ((outer, 7),)])
                    builder.add(shared, Index(0, at), here[-1])
            values += [builder.load(totals, Index(0, ((outer, 1),))), self.loaded(outer)]
            self.compute(values)
            if rng.random() < 0.6:
                with builder.loop(inner_trips) as loop:
                    last = strides[1] * (inner_trips - 1)
                    back = Index(last, ((outer, strides[0]), (loop, -strides[1])))
                    here = [*values, builder.load(own, back), self.element(outer, loop)]
                    self.compute(here)
                    builder.add(shared, Index(SIZE - 1, ((loop, -1),)), here[-1])
            builder.store(out, Index(0, ((outer, 1),)), values[-1])
            builder.add(shared, Index(70), values[-1])
        self.outputs += [Slice(out, 0, trips), Slice(shared, 0, SIZE)]
        if rng.random() < 0.5:
            self.outputs.append(Slice(own, 0, size))

    def places(self, *loops: Loop) -> Index:
        """An element of the inputs in bounds, which may be the same for some loops."""
        strides = [(loop, self.rng.choice([0, 1, 1, -1, 2, 3, -5])) for loop in loops]
        first = sum([max(0, -stride) * loop.trips.offset for loop, stride in strides])
        return Index(first, tuple([x for x in strides if x[1]]))

    def element(self, outer: Loop, loop: Loop) -> Operand:
        """An input, that depends on both of two loops perhaps."""
        return self.builder.load(self.builder.inputs, self.places(outer, loop))

    def loaded(self, outer: Loop) -> Operand:
        """An input, that depends on a loop perhaps."""
        return self.builder.load(self.builder.inputs, self.places(outer))

    def compute(self, values: list[Operand]) -> None:
        """Add some values made of the last ones."""
        for _ in range(self.rng.randint(1, 4)):
            operation = self.rng.choice(self.operations)
            arity = 2 if operation is rules.hypot else len(operation.local_grads)
            recent = [self.rng.choice(values[-3:]) for _ in range(arity)]
            values.append(self.builder.compute(operation, recent))

    def index(self, loop: Loop, most: int, outer: Loop | None) -> Index:
        """An element in bounds for up to so many iterations."""
        rng = self.rng
        extra = ((outer, rng.choice([1, 5])),) if outer is not None else ()
        if rng.random() < 0.15:
            different = rng.choice([2, SIZE - 15])
            numbers = np.array([rng.randrange(different) for _ in range(most)])
            return Index(0, extra, ((Table(numbers), Index(0, ((loop, 1),))),))
        stride = rng.choice([1, 1, 1, 1, -1, -1, 0, 2, -2, 3, -7])
        if abs(stride) * most > 90:
            stride = 1 if stride > 0 else -1
        first = rng.randint(0, 40) + max(-stride * most, 0)
        return Index(first, (((loop, stride),) if stride else ()) + extra)

    def body(self, loop: Loop, most: int, target: Array, sums: Array, outer: Loop | None) -> None:
        """Values of elements, stored or added up."""
        builder, rng = self.builder, self.rng
        values: list[Operand] = [0.5]
        for _ in range(rng.randint(1, 3)):
            index = self.index(loop, most, outer)
            values.append(builder.load(rng.choice(self.readable), index))
        self.compute(values)
        if target.size:
            at = Index(0, ((loop, 1),))
            if rng.random() < 0.3:
                at = Index(loop.trips.offset - 1, ((loop, -1),))
            builder.store(target, at, values[-1])
        kind = rng.choice([0, 0, 0, 1, 1, 2, 2, 3, 4])
        if kind == 0:
            builder.add(sums, Index(3), values[-1])
        elif kind == 1:
            builder.add(sums, self.index(loop, most, outer), values[-1])
        elif kind == 2:
            builder.add(sums, Index(3), values[-1])
            builder.add(sums, Index(3), values[-2])
        elif kind == 4:  # to elements that may be the same ones
            builder.add(sums, self.index(loop, most, outer), values[-1])
            builder.add(sums, self.index(loop, most, outer), values[-2])


def maps_of(program: Program) -> list[Map]:
    """The loops that are computed on vectors."""
    loops = [x for x in statements(promoted(program).body) if isinstance(x, Loop)]
    found = [as_map(x, {x: x.carries for x in loops}, {}, 8) for x in loops]
    return [x for x in found if x is not None]


def in_common(found: Map) -> InCommon:
    """What the iterations of a map have in common."""
    loops = [x for x in statements([found.loop]) if isinstance(x, Loop)]
    return InCommon(found.loop, {x: x.carries for x in loops}, lambda x: x)


def inputs_for(seed: int) -> np.ndarray:
    """Numbers, some special."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=SIZE)
    numbers[rng.integers(0, SIZE, 6)] = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-320]
    return numbers


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("nests", [False, True])
def test_exact_maps(seed: int, nests: bool) -> None:
    """To the last bit what the interpreter gives."""
    program = Draft(seed, exact=True, nests=nests).program
    numbers = inputs_for(seed)
    status, found = call(Kernel(program, [], lanes=False), numbers)
    assert status == 0
    assert bits(found.tolist()) == bits(interpret(program, numbers.tolist())[0])


@pytest.mark.parametrize("seed", range(40, 70))
@pytest.mark.parametrize("name", MACHINES)
def test_maps(seed: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit what comes one iteration after the other, on other machines too."""
    cpu, vector_math = MACHINES[name]
    if cpu and (machine().width < 4 or "x86" not in machine().triple):
        pytest.skip("a machine that can't be simulated here")
    monkeypatch.setenv("CHAINRULE_CPU", cpu)
    monkeypatch.setenv("CHAINRULE_VECTOR_MATH", vector_math)
    program = Draft(seed, exact=False, nests=seed % 2 == 1).program
    numbers = inputs_for(seed)
    _, together = call(Kernel(program, [], lanes=False), numbers)
    monkeypatch.setattr("chainrule.backends.llvm.maps.as_map", lambda *_: None)
    _, alone = call(Kernel(program, [], lanes=False), numbers)
    assert bits(together.tolist()) == bits(alone.tolist())


def test_there_are_maps() -> None:
    """The tests above would pass without."""
    found = [x for seed in range(70) for x in maps_of(Draft(seed, exact=seed < 40).program)]
    assert len(found) > 20
    assert sum(len(x.sums) > 0 for x in found) > 5
    found = [x for seed in range(40) for x in maps_of(Draft(seed, True, nests=True).program)]
    assert sum(any(isinstance(y, Loop) for y in x.body) for x in found) > 10
    jumps = [
        in_common(x).for_messages(y.body) for x in found for y in x.body if isinstance(y, Loop)
    ]
    assert sum(map(bool, jumps)) > 5


def program_of(write: object) -> Program:
    """A program with one loop of 20 iterations."""
    builder = Builder(100, final=True)
    array, sums = Array(VALUES, 60, "a"), Array(SUMS, 60, "s")
    for k in range(40, 60):
        builder.store(array, Index(k), float(k))
    with builder.loop(20) as loop:
        write(builder, Index(0, ((loop, 1),)), array, sums)  # type: ignore[operator]
    stores = [x for x in loop.body if isinstance(x, Store) and x.array is array]
    stored = [place for x in stores for place in numbers(x.index, [loop]).tolist()]
    return builder.finish([*[Slice(array, x, 1) for x in stored], Slice(sums, 0, 60)])


def scaled(builder: Builder, at: Index) -> Operand:
    """The sine of an input."""
    return builder.compute(rules.sin, (builder.load(builder.inputs, at),))


HANG_TOGETHER = {
    "reads what others store": lambda b, i, a, s: b.store(
        a, i.plus(19), b.compute(rules.sin, (b.load(a, Index(0, i.strides)),))
    ),
    "adds twice to elements": lambda b, i, a, s: (
        b.add(s, i, scaled(b, i)),
        b.add(s, i.plus(1), scaled(b, i.plus(3))),
    ),
    "adds to what tables of one sum tell": lambda b, i, a, s: (
        b.add(s, i.plus(4), scaled(b, i)),
        b.add(s, Index(0, (), ((Table(np.array([*range(20)])), i),)), scaled(b, i.plus(3))),
    ),
    "looks up what costs little": lambda b, i, a, s: b.store(
        a, i, b.load(b.inputs, Index(0, (), ((Table(np.array([*range(20)])), i),)))
    ),
    "a guard": lambda b, i, a, s: (
        b.store(a, i, scaled(b, i)),
        b.guard(b.compute(rules.less, (scaled(b, i), 5.0)), True, i),
    ),
}


@pytest.mark.parametrize("name", HANG_TOGETHER)
def test_loops_that_are_no_maps(name: str) -> None:
    """One iteration after the other."""
    assert not maps_of(program_of(HANG_TOGETHER[name]))


MAPS = {
    "reads what has been stored": lambda b, i, a, s: b.store(
        a, i, b.compute(rules.sin, (b.load(a, i.plus(40)),))
    ),
    "adds to two parts of an array": lambda b, i, a, s: (
        b.add(s, i, scaled(b, i)),
        b.add(s, Index(59, ((i.strides[0][0], -2),)), scaled(b, i.plus(3))),
    ),
    "reads what has been stored before it": lambda b, i, a, s: (
        b.store(a, Index(39, ((i.strides[0][0], -1),)), b.load(b.inputs, i)),
        b.add(s, i, b.load(a, Index(40, ((i.strides[0][0], -1),)))),
    ),
    "every second element": lambda b, i, a, s: b.store(
        a, Index(1, ((i.strides[0][0], 2),)), scaled(b, Index(0, ((i.strides[0][0], 2),)))
    ),
    "looks up": lambda b, i, a, s: b.add(
        s, i, scaled(b, Index(0, (), ((Table(np.array([*range(20)])), i),)))
    ),
    "adds to elements again and again": lambda b, i, a, s: b.add(
        s, Index(0, (), ((Table(np.array([0, 1, 2, 2] * 5)), i),)), scaled(b, i)
    ),
}


@pytest.mark.parametrize("name", MAPS)
def test_loops_that_are_maps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some iterations at a time, with the same results."""
    program = program_of(MAPS[name])
    assert maps_of(program)
    given = np.random.default_rng(0).normal(size=100)
    _, together = call(Kernel(program, [], lanes=False), given)
    monkeypatch.setattr("chainrule.backends.llvm.maps.as_map", lambda *_: None)
    _, alone = call(Kernel(program, [], lanes=False), given)
    assert bits(together.tolist()) == bits(alone.tolist())


def handing_on(seed: int) -> tuple[Program, Loop]:
    """A loop whose iterations hand on some values, of which others are made that are stored."""
    rng = Random(seed)
    trips = rng.choice([3, 8, 9, 24, 31])
    inputs, array, sums = Array(INPUT, 120, "x"), Array(VALUES, trips, "y"), Array(SUMS, 80, "s")
    loop = Loop(Index(trips))
    loop.carries = [Carry(rng.choice([0.0, -0.0, 1.0, 0.5])) for _ in range(rng.randint(1, 3))]
    values: list[Operand] = [*loop.carries, 0.0, 1.0]
    scans = rng.random() < 0.4
    for _ in range(rng.randint(2, 9)):
        if rng.random() < 0.4:
            stride = rng.choice([-1, 0, 1, 1, 2])
            index = Index(45, ((loop, stride),) if stride else ())
            loop.body.append(Load(inputs, index))
        else:
            operation = rng.choice((*EXACT, rules.minimum, rules.not_equal, rules.greater))
            given = [rng.choice(values[-6:]) for _ in operation.local_grads]
            loop.body.append(Compute(operation, tuple(given)))
        values.append(loop.body[-1])
    if scans:
        x = rng.choice([x for x in loop.body if isinstance(x, Load)] or [Load(inputs, Index(3))])
        if x not in loop.body:
            loop.body.append(x)
        largest = Compute(
            rng.choice([rules.maximum, rules.minimum]),
            tuple(rng.sample([loop.carries[0], x], 2)),
        )
        loop.body.append(largest)
        for carry in loop.carries:
            carry.next = largest
    else:
        for carry in loop.carries:
            carry.next = rng.choice([*values[-4:], *loop.carries])
    for _ in range(rng.randint(0, 2)):
        loop.body.insert(
            rng.randint(len(loop.body) - 1, len(loop.body)),
            Add(sums, Index(5, ((loop, rng.choice([-1, 1])),)).plus(30), rng.choice(loop.carries)),
        )
    last_values = [x for x in loop.body if isinstance(x, (Load, Compute))]
    stored = rng.choice([*last_values, *loop.carries])
    loop.body.append(Store(array, Index(0, ((loop, 1),)), stored))
    lasts = [Last(loop, carry) for carry in loop.carries]
    outputs: list[Operand | Slice] = [*lasts, Slice(array, 0, trips), Slice(sums, 0, 80)]
    program = Program(inputs, [loop, *lasts], outputs)
    verify(program)
    return program, loop


@pytest.mark.parametrize("seed", range(120))
def test_what_iterations_hand_on(seed: int) -> None:
    """To the last bit what the interpreter gives."""
    program, _ = handing_on(seed)
    numbers = inputs_for(seed)[:120]
    _, found = call(Kernel(program, [], lanes=False), numbers)
    assert bits(found.tolist()) == bits(interpret(program, numbers.tolist())[0])


def test_some_hand_on() -> None:
    """The test above would pass without."""
    loops = [handing_on(seed)[1] for seed in range(120)]
    found = [as_map(x, {x: [y for y in x.carries if y.next is not y]}, {}, 8) for x in loops]
    chains = [x for each in found if each is not None for x in each.chains]
    assert len(chains) > 20
    assert sum(x.is_scan for x in chains) > 10
    steps = [x for each in found if each is not None for x in each.steps]
    assert sum(isinstance(x, Carry) for x in steps) > 20


def neighbours(seed: int) -> tuple[Program, Loop]:
    """A loop that reads elements that it has added to or stored in this iteration or before."""
    rng = Random(seed)
    trips, step = rng.choice([8, 17, 40]), rng.choice([-1, -1, 1, 2])
    builder = Builder(120, final=True)
    arrays = [Array(SUMS, 150, "s"), Array(SUMS, 150, "t"), Array(VALUES, 150, "y")]
    for k in {*range(150)} - {60 + step * k for k in range(trips)}:
        builder.store(arrays[2], Index(k), builder.input(k % 120))
    with builder.loop(trips) as loop:
        at = Index(60, ((loop, step),))
        values: list[Operand] = [builder.load(builder.inputs, Index(50, ((loop, 1),)))]
        wrote_last = dict.fromkeys(arrays, False)
        for _ in range(rng.randint(4, 12)):
            array = rng.choice(arrays)
            kind = rng.random()
            if kind < 0.4:
                ahead = rng.choice([1, 1, 2, 3]) - (rng.random() < 0.4 and wrote_last[array])
                values.append(builder.load(array, at.plus(-step * ahead)))
            elif kind < 0.7 and array.kind == SUMS and not wrote_last[array]:
                for _ in range(rng.choice([1, 1, 2])):
                    builder.add(array, at, rng.choice(values[-3:]))
                wrote_last[array] = True
            elif array.kind == VALUES and not wrote_last[array]:
                builder.store(array, at, rng.choice(values[-3:]))
                wrote_last[array] = True
            else:
                given = tuple(rng.choice(values[-4:]) for _ in range(2))
                values.append(builder.compute(rng.choice((rules.add, rules.multiply)), given))
        if not wrote_last[arrays[2]]:
            builder.store(arrays[2], at, values[-1])
    return builder.finish([Slice(x, 0, 150) for x in arrays]), loop


@pytest.mark.parametrize("seed", range(150))
def test_neighbours(seed: int) -> None:
    """To the last bit what the interpreter gives."""
    program, _ = neighbours(seed)
    verify(program)
    numbers = inputs_for(seed)[:120]
    expected = bits(interpret(program, numbers.tolist())[0])
    _, found = call(Kernel(program, [], lanes=False), numbers)
    assert bits(found.tolist()) == expected


def test_some_neighbours_are_read_on_vectors() -> None:
    """The test above would pass without."""
    loops = [neighbours(seed)[1] for seed in range(150)]
    found = [as_map(x, {x: []}, {}, 8) for x in loops]
    assert 30 < sum(x is not None for x in found) < 120


def message(seed: int) -> tuple[Program, Loop]:
    """A loop that hands on a message for as long as it comes through, in parts."""
    rng = Random(seed)
    trips, step = rng.choice([8, 24, 61]), rng.choice([-1, 1])
    inputs, array = Array(INPUT, 140, "x"), Array(VALUES, 4 * trips, "y")
    loop = Loop(Index(trips))
    value, flag = Carry(rng.choice([2.5, -0.0, math.inf, math.nan])), Carry(rng.choice([1.0, 0.0]))
    first = 5 if step > 0 else 65
    x, y = [Load(inputs, Index(first + k, ((loop, step),))) for k in (0, 70)]
    part = Compute(rng.choice([rules.greater, rules.less_equal, rules.multiply]), (x, y))
    through = Compute(rules.where, (flag, part, rng.choice([0.0, -0.0])))
    flag.next = Compute(rules.not_equal, (through, 0.0))
    value.next = Compute(rules.message, (rng.choice([through, part]), value, part))
    loop.carries = [value, flag]
    loop.body = [x, y, part, through, value.next, flag.next]
    for k, stored in enumerate((value.next, flag, value, through)):
        loop.body.append(Store(array, Index(k * trips, ((loop, 1),)), stored))
    lasts = [Last(loop, carry) for carry in loop.carries]
    program = Program(inputs, [loop, *lasts], [*lasts, Slice(array, 0, 4 * trips)])
    verify(program)
    return program, loop


@pytest.mark.parametrize("seed", range(80))
def test_messages(seed: int) -> None:
    """To the last bit what the interpreter gives, whether all, nothing or some of it goes on."""
    program, loop = message(seed)
    found = as_map(loop, {loop: loop.carries}, {}, 8)
    assert found is not None
    assert [x.is_flag for x in found.chains].count(True) == 1
    assert [x.is_message for x in found.chains].count(True) == 1
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=140)
    numbers[75 if seed % 2 else 95 :] -= rng.choice([0.0, 3.0, 9.0])
    special = rng.integers(0, 140, seed % 4)
    numbers[special] = rng.choice([np.nan, 0.0, 1.0, np.inf], len(special))
    if seed % 3 == 0:
        numbers[70:] = numbers[:70]
    _, given = call(Kernel(program, [], lanes=False), numbers)
    assert bits(given.tolist()) == bits(interpret(program, numbers.tolist())[0])


def of_messages(seed: int) -> Program:
    """Sums of messages of messages, each of which all iterations of a loop send, or none."""
    rng = Random(seed)
    trips, inner_trips = rng.choice([8, 24, 41]), rng.choice([1, 3])
    builder = Builder(200, final=True)
    totals = Array(SUMS, trips, "totals")
    with builder.loop(trips) as outer, builder.loop(inner_trips) as loop:
        conditions = [builder.load(builder.inputs, Index(k, ((loop, 2),))) for k in (0, 1)]
        values: list[Operand] = [
            builder.load(builder.inputs, Index(k, ((outer, 1), (loop, rng.randint(0, 1)))))
            for k in (50, 100, 150)
        ]
        for _ in range(rng.randint(6, 16)):
            operation = rng.choice([rules.message, rules.multiply, rules.add])
            operands = [rng.choice(values[-4:]) for _ in range(2)]
            if operation is rules.message:
                operands.insert(0, rng.choice(conditions))
            values.append(builder.compute(operation, operands))
        builder.add(totals, Index(0, ((outer, 1),)), values[-1])
    return builder.finish([Slice(totals, 0, trips)])


@pytest.mark.parametrize("seed", range(60))
def test_messages_of_messages(seed: int) -> None:
    """To the last bit what the interpreter gives, whatever of it is jumped over."""
    program = of_messages(seed)
    verify(program)
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=200)
    numbers[:10] = rng.choice([0.0, 1.0, np.nan], 10, p=[0.5, 0.4, 0.1])
    _, found = call(Kernel(program, [], lanes=False), numbers)
    assert bits(found.tolist()) == bits(interpret(program, numbers.tolist())[0])


def test_some_messages_are_jumped_over() -> None:
    """The test above would pass without."""
    found = [each for seed in range(60) for each in maps_of(of_messages(seed))]
    inner = [(each, x) for each in found for x in statements(each.body) if isinstance(x, Loop)]
    assert sum(len(in_common(each).for_messages(x.body)) for each, x in inner) > 20


def of_flags(seed: int) -> tuple[Program, Array, Loop]:
    """Sums of what an inner loop sends where a flag of the iteration of the outer one is not 0."""
    rng = Random(seed)
    trips, inner_trips = rng.choice([8, 24, 41]), rng.choice([1, 3])
    builder = Builder(200, final=True)
    start = rng.choice([0.0, 0.0, 0.0, -0.0])
    totals = Array(SUMS, trips * inner_trips, "totals", None, start)
    with builder.loop(trips) as outer:
        flag = builder.load(builder.inputs, Index(0, ((outer, 1),)))
        with builder.loop(inner_trips) as loop:
            values: list[Operand] = [
                builder.load(builder.inputs, Index(k, ((outer, 1), (loop, rng.randint(0, 1)))))
                for k in (50, 100, 150)
            ]
            for _ in range(rng.randint(0, 3)):
                operands = [rng.choice(values) for _ in range(2)]
                values.append(builder.compute(rng.choice([rules.multiply, rules.add]), operands))
            sent: list[Operand] = [builder.compute(rules.message, [flag, *values[-2:]])]
            for _ in range(rng.randint(0, 4)):
                operation = rng.choice([rules.where, rules.negative, rules.add, rules.subtract])
                operands = [rng.choice(sent) for _ in operation.local_grads]
                if rng.random() < 0.1:  # of nothing and infinity it is NaN
                    operation, operands = rules.multiply, [sent[-1], values[-1]]
                if operation is rules.where:
                    operands = [flag, values[-1], rng.choice([*sent, 0.0])]
                sent.append(builder.compute(operation, operands))
            at = ((outer, inner_trips), (loop, 1)) if rng.random() < 0.5 else ((loop, 1),)
            builder.add(totals, Index(0, at), sent[-1])
    return builder.finish([Slice(totals, 0, totals.size)]), totals, outer


def flag_of(loop: Loop, sums: Array) -> Operand | None:
    """What a loop in a loop does nothing without."""
    loops = {x: x.carries for x in statements([loop]) if isinstance(x, Loop)}
    return needed_flag(loop, loops, lambda x: x, lambda _: str(sums.start) == "0.0")


@pytest.mark.parametrize("seed", range(80))
@pytest.mark.parametrize("share", [0.0, 0.9, 0.99, 1.0])
def test_loops_with_a_flag(seed: int, share: float) -> None:
    """To the last bit what the interpreter gives, whether an inner loop is jumped over or not."""
    program, _, _ = of_flags(seed)
    verify(program)
    rng = np.random.default_rng(seed)
    numbers = rng.choice([-1.5, -0.0, 0.0, 0.5, np.inf, np.nan], 200)
    numbers[:50] = rng.choice(
        [1.0, np.nan, -0.0, 0.0], 50, p=[0.9 - 0.9 * share, 0.1 - 0.1 * share, share / 2, share / 2]
    )
    _, found = call(Kernel(program, [], lanes=False), numbers)
    assert bits(found.tolist()) == bits(interpret(program, numbers.tolist())[0])


def test_some_loops_have_a_flag() -> None:
    """The test above would pass without; what may be more than zeros has none."""
    given = 0
    for seed in range(80):
        _, sums, outer = of_flags(seed)
        first, loop = outer.body
        assert isinstance(loop, Loop)
        flag = flag_of(loop, sums)
        assert flag is None or (flag is first and str(sums.start) == "0.0")
        given += flag is not None
    assert 30 < given < 75


def product(seed: int) -> Program:
    """Products of matrices in loops of any order, each matrix by rows or by columns."""
    rng = Random(seed)
    sizes = [rng.choice([2, 5, 8, 19, 32, 41]) for _ in range(3)]
    builder = Builder(2 * 41 * 41, final=True)
    sums = Array(SUMS, 2 * 41 * 41, "s")

    def place(x: int, y: int, first: int = 0) -> Index:
        strides = (41, 1) if by_rows[first // 1681] else (1, 41)
        return Index(first, ((loops[x], strides[0]), (loops[y], strides[1])))

    by_rows = [rng.random() < 0.7 for _ in range(2)]
    order = rng.sample(range(3), 3)
    loops: dict[int, Loop] = {}
    with (
        builder.loop(sizes[order[0]]) as loops[order[0]],
        builder.loop(sizes[order[1]]) as loops[order[1]],
        builder.loop(sizes[order[2]]) as loops[order[2]],
    ):
        x = builder.load(builder.inputs, place(0, 1))
        y = builder.load(builder.inputs, place(1, 2, 1681))
        term = builder.compute(rules.multiply, (x, y))
        builder.add(sums, Index(0, place(0, 2).strides), term)
        if rng.random() < 0.5:
            builder.add(sums, place(1, 0, 1681), builder.compute(rules.add, (x, term)))
    return builder.finish([Slice(sums, 0, sums.size)])


@pytest.mark.parametrize("seed", range(60))
def test_products(seed: int) -> None:
    """To the last bit what the interpreter gives."""
    program = product(seed)
    verify(program)
    numbers = np.random.default_rng(seed).normal(size=program.inputs.size)
    expected = bits(interpret(program, numbers.tolist())[0])
    _, found = call(Kernel(program, [], lanes=False), numbers)
    assert bits(found.tolist()) == expected


def test_there_are_products() -> None:
    """The test above would pass without."""
    found = [each for seed in range(60) for each in maps_of(product(seed))]
    assert sum(each.vectors(8, in_common(each))[0] > 1 for each in found) > 10


def carrying(trips: int) -> tuple[Program, Loop]:
    """A running total that is added up and stored, in a carry that nothing reads so far."""
    inputs, array = Array(INPUT, trips, "x"), Array(VALUES, trips, "y")
    loop = Loop(Index(trips))
    at = Index(0, ((loop, 1),))
    total, twin = Carry(0.5), Carry(0.5)
    x = Load(inputs, at)
    total.next = twin.next = Compute(rules.add, (total, x))
    sine = Compute(rules.sin, (twin,))
    loop.carries = [total, twin]
    loop.body = [x, total.next, sine, Store(array, at, sine)]
    last = Last(loop, total)
    return Program(inputs, [loop, last], [last, Slice(array, 0, trips)]), loop


@pytest.mark.parametrize("trips", [3, 8, 20])
def test_equal_carries(trips: int) -> None:
    """What reads one of them reads the other."""
    program, _ = carrying(trips)
    verify(program)
    numbers = np.linspace(-1.0, 2.0, trips)
    _, found = call(Kernel(program, [], lanes=False), numbers)
    assert np.allclose(found, interpret(program, numbers.tolist())[0], rtol=1e-14)


def test_a_carry_that_is_a_constant_one() -> None:
    """A carry becomes one that never changes, with the same initial value."""
    program, loop = carrying(9)
    still = Carry(0.5)
    still.next = still
    loop.carries[1].next = still
    loop.carries.insert(0, still)
    verify(program)
    numbers = np.linspace(-1.0, 2.0, 9)
    _, found = call(Kernel(program, [], lanes=False), numbers)
    assert np.allclose(found, interpret(program, numbers.tolist())[0], rtol=1e-14)


def log_sum_exp(x: Any) -> Any:
    """The reverse pass of the largest number has nothing to do before it."""
    largest = np.max(x)
    return largest + crmath.log(sum(crmath.exp(v - largest) for v in x))


def weighted_largest(x: Any) -> Any:
    """Here each of the largest numbers so far sends something."""
    largest, total = x[0], x[0] * 0.0
    for k, v in enumerate(x):
        largest = crmath.maximum(largest, v)
        total = total + largest * (0.5 + k % 3) + v * v
    return total


@pytest.mark.parametrize("function", [log_sum_exp, weighted_largest])
def test_loops_that_end_with_a_flag(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out changes no bit: wherever the largest number is, and whatever the others."""
    found: list[Carry | None] = []
    decide = Map.goes_on_by

    def noted(*given: Any) -> Carry | None:
        found.append(decide(*given))
        return found[-1]

    rng = np.random.default_rng(5)
    points = [rng.normal(size=211) for _ in range(12)]
    for x, place in zip(points, [0, 1, 7, 8, 9, 105, 200, 201, 202, 203, 209, 210], strict=True):
        x[place] = 4.0
    special = [np.zeros(211), np.full(211, -0.0), np.full(211, -np.inf), *rng.normal(size=(6, 211))]
    special[3][[20, 100]] = 5.0  # each gets half
    special[4][30], special[5][150], special[6][60:] = np.nan, np.inf, -np.inf
    special[7][::2] = -0.0
    special[8][:] = np.sort(special[8])
    points += special
    whole = cr.compile(cr.value_and_grad(function))
    with monkeypatch.context() as patched:
        patched.setattr(Map, "goes_on_by", lambda *given: None)
        expected = [whole(x) for x in points]
    monkeypatch.setattr(Map, "goes_on_by", noted)
    ending = cr.compile(cr.value_and_grad(function))
    for x, (y, slopes) in zip(points, expected, strict=True):
        value, gradient = ending(x)
        assert bits([value, *gradient]) == bits([y, *slopes])
        with np.errstate(all="ignore"):
            eager = cr.value_and_grad(function)(x)
        np.testing.assert_allclose(gradient, eager[1], rtol=1e-12, atol=1e-300)
    ends = any(carry is not None for carry in found)
    assert ends == (function is log_sum_exp) or machine().width == 1


def with_a_flag(kind: str) -> Program:
    """A loop that hands on a message as long as a flag is up, and sends parts of it."""
    size = 65
    inputs, stored = Array(INPUT, 4 * size, "x"), Array(VALUES, size, "y")
    sums = Array(SUMS, size, "s", start=-0.0 if kind == "sums from -0.0" else 0.0)
    loop = Loop(Index(size))
    flag, change = Carry(0.0 if kind == "a flag that is down" else 1.0), Carry(3.0)
    number, slope, other, part = [Load(inputs, Index(size * k, ((loop, 1),))) for k in range(4)]
    picked = Compute(rules.where, (flag, number, 0.0))
    up = Compute(rules.not_equal, (picked, 0.0))
    condition = number if kind == "a message without it" else picked
    message = Compute(rules.message, (condition, change, slope))
    picked_too = Compute(rules.where, (flag, other, 0.0))
    sent = Compute(rules.message, (picked_too, change, part))
    value = part if kind == "what is no message" else sent
    loop.body = [number, slope, other, part, picked, up, message, picked_too, sent]
    loop.body.append(Add(sums, Index(0, ((loop, 1),)), value))
    if kind == "a store":
        loop.body.append(Store(stored, Index(0, ((loop, 1),)), sent))
    loop.carries = [flag, change]
    flag.next, change.next = up, message
    if kind == "a number handed on":
        loop.carries.append(Carry(0.5))
        loop.carries[-1].next = part
    if kind == "a sum":
        total = Carry(-0.0)
        total.next = Compute(rules.add, (total, part))
        loop.body.append(total.next)
        loop.carries.append(total)
    lasts = [Last(loop, carry) for carry in loop.carries]
    outputs: list[Operand | Slice] = [*lasts, Slice(sums, 0, size)]
    outputs += [Slice(stored, 0, size)] if kind == "a store" else []
    before = Loop(Index(size))
    before.body.append(Load(inputs, Index(100, ((before, 1),))))
    if kind != "first terms":
        before.body.append(Add(sums, Index(0, ((before, 1),)), before.body[0]))
    program = Program(inputs, [before, loop, *lasts], outputs)
    verify(program)
    return program


@pytest.mark.parametrize("down", [0, 1, 7, 8, 9, 30, 63, 64, 65])
@pytest.mark.parametrize(
    "kind",
    [
        *("", "sums from -0.0", "a flag that is down", "a message without it"),
        *("what is no message", "a store", "a number handed on", "a sum", "first terms"),
    ],
)
def test_what_is_done_without_a_flag(kind: str, down: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit what the interpreter gives; a loop ends early only where nothing is done."""
    found: list[Carry | None] = []
    decide = Map.goes_on_by

    def noted(*given: Any) -> Carry | None:
        found.append(decide(*given))
        return found[-1]

    monkeypatch.setattr(Map, "goes_on_by", noted)
    rng = np.random.default_rng(down)
    numbers = rng.normal(size=260)
    numbers[:65] = 1.0
    numbers[down : down + 1] = 0.0
    numbers[130:195] = rng.choice([0.0, 1.0], 65)
    program = with_a_flag(kind)
    _, result = call(Kernel(program, [], lanes=False), numbers)
    assert bits(result.tolist()) == bits(interpret(program, numbers.tolist())[0])
    if machine().width > 1:
        assert any(carry is not None for carry in found) == (not kind)


@pytest.mark.parametrize("part", range(4))
def test_iterations_that_hand_all_on(part: int) -> None:
    """To the last bit what the interpreter gives, wherever one of them does anything else."""
    program = with_a_flag("")
    kernel = Kernel(program, [], lanes=False)
    for place in (0, 5, 7, 8, 40, 63, 64):
        for number in (0.0, -0.0, 1.0, 2.0, math.nan, math.inf):
            numbers = np.repeat([1.0, 1.0, 0.0, math.inf], 65)
            numbers[195:] = np.random.default_rng(place).normal(size=65)
            numbers[65 * part + place] = number
            _, found = call(kernel, numbers)
            assert bits(found.tolist()) == bits(interpret(program, numbers.tolist())[0])


def test_when_all_is_handed_on() -> None:
    """Where numbers are 1, and those that what is sent hangs on are 0."""
    program = with_a_flag("")
    loop = program.body[1]
    assert isinstance(loop, Loop)
    found = as_map(loop, {loop: loop.carries}, {}, 8)
    assert found is not None
    flag, change = loop.carries
    number, slope, other = loop.body[:3]
    handed_on = found.handed_on(flag, lambda x: x)
    assert handed_on is not None
    assert handed_on.ones == [number, slope]
    assert handed_on.zeros == [other]
    assert handed_on.needed == [number, slope, other]
    assert handed_on.after == {flag: flag, change: change}
