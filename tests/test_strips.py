"""Loops of a single point that are mined in strips of eight iterations."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
from random_forms import bits
from test_maps import Draft, inputs_for
from test_program_kernels import any_machine, call

from chainrule import rules
from chainrule.backends.llvm import strips
from chainrule.backends.llvm.first_terms import Zero
from chainrule.backends.llvm.independence import are_independent
from chainrule.backends.llvm.kernel import Kernel
from chainrule.backends.llvm.strips import strip_mine
from chainrule.passes.distribute import distribute
from chainrule.passes.promote import promoted
from chainrule.program.builder import Builder
from chainrule.program.form import (
    CONSTANT,
    SUMS,
    VALUES,
    Array,
    Carry,
    Index,
    Load,
    Loop,
    Operand,
    Program,
    Slice,
    Table,
    statements,
)
from chainrule.program.interpreter import interpret
from chainrule.program.nests import added
from chainrule.program.verifier import verify

__all__ = ["any_machine"]  # a fixture


@pytest.fixture(autouse=True)
def every_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops that are short, and for which it does not pay."""
    monkeypatch.setattr(strips, "LEAST", 3)
    monkeypatch.setattr(strips, "ALWAYS", True)


def mined(program: Program) -> Program:
    """The program whose loops are mined, as a kernel has it.

    What is only code's, zeroes before a loop, the interpreter does by itself; in loops it can't.
    """
    changed = promoted(program)
    if changed is not program:
        distribute(changed)
        strip_mine(changed)
    changed.body[:] = [x for x in changed.body if not isinstance(x, Zero)]
    return changed


def interpreted(program: Program, numbers: list[float]) -> list[float] | None:
    """What the interpreter gives; None for a program that it does not know."""
    if any(isinstance(x, Zero) for x in statements(program.body)):
        return None
    verify(program)
    return interpret(program, numbers)[0]


def strips_of(program: Program) -> Iterator[Loop]:
    """The loops of eight iterations."""
    return (x for x in statements(program.body) if isinstance(x, Loop) and x.side_by_side)


class Sums(Draft):
    """A loop with arrays of its own, whose iterations share sums, and one backwards perhaps."""

    def __init__(self, seed: int) -> None:
        self.digits = Random(seed)
        super().__init__(seed, exact=True)

    def add_loop(self) -> None:
        """A loop that stores elements of its own, and one that reads these."""
        rng, builder = self.digits, self.builder
        trips, wide, deep = rng.choice([3, 8, 9, 16, 21]), rng.randint(1, 4), rng.randint(1, 3)
        size = trips * wide * deep
        own, change = Array(VALUES, size, "own"), Array(SUMS, size, "change")
        shared, total = Array(SUMS, 40, "shared"), Array(SUMS, 1, "total")
        far = Table(np.array(rng.sample(range(30), wide)))
        builder.add(shared, Index(39), builder.input(0))

        def place(loop: Loop, column: Loop, step: int) -> Index:
            """An element of an iteration, in the order of the loop or the other one."""
            across = rng.choice([1, -1])
            first = (wide - 1 if across < 0 else 0) + (wide * (trips - 1) if step < 0 else 0)
            return Index(first, ((loop, step * wide), (column, across)))

        with builder.loop(trips) as loop:
            for layer in range(deep):
                with builder.loop(wide) as column:
                    here = [self.element(loop, column), self.loaded(loop)]
                    self.compute(here)
                    at = place(loop, column, 1).plus(trips * wide * layer)
                    builder.store(own, at, here[-1])
            builder.add(total, Index(), self.loaded(loop))
        with builder.loop(trips) as loop:
            step = rng.choice([1, -1])
            further = rng.choice([0, 0, 1, wide]) if deep > 1 else 0
            with builder.loop(deep - (further > 0)) as around, builder.loop(wide) as column:
                apart = Index(0, ((around, trips * wide),))
                here = [
                    builder.load(shared, Index(39)),
                    builder.load(own, added(place(loop, column, step), apart).plus(further)),
                    self.loaded(around),
                ]
                self.compute(here)
                turned = step if rng.random() < 0.7 else -step
                builder.add(change, added(place(loop, column, turned), apart), here[-1])
                by_table = ((far, Index(0, ((column, 1),))),)
                builder.add(shared, Index(rng.randint(0, 8), (), by_table), here[-1])
            first = 0 if turned > 0 else wide * (trips - 1)
            values = [builder.load(change, Index(first, ((loop, turned * wide),)))]
            builder.add(shared, Index(38), values[0])
            builder.add(total, Index(), builder.compute(rules.negative, values))
        self.outputs += [Slice(shared, 0, 40), Slice(total, 0, 1)]
        if rng.random() < 0.3:
            self.outputs.append(Slice(own, 0, size))


def drafted(seed: int) -> Program:
    """A program."""
    if seed % 3 == 0:
        return Draft(seed, exact=True, nests=seed % 2 == 0).program
    return Sums(seed).program


@pytest.mark.usefixtures("any_machine")
@pytest.mark.parametrize("seed", range(40))
def test_order(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program says the order of sums: machines with other vectors give the same bits."""
    numbers = inputs_for(seed)
    status, found = call(Kernel(drafted(seed), [], lanes=False), numbers)
    assert status == 0
    expected = interpreted(mined(drafted(seed)), numbers.tolist())
    if expected is None:
        monkeypatch.setattr("chainrule.backends.llvm.maps.as_map", lambda *_: None)
        expected = call(Kernel(drafted(seed), [], lanes=False), numbers)[1].tolist()
    assert bits(found.tolist()) == bits(expected)


@pytest.mark.parametrize("seed", range(60))
def test_values(seed: int) -> None:
    """The terms of sums are what they were; all else is the same to the last bit."""
    numbers = np.random.default_rng(seed).integers(-3, 4, 150).astype(float)
    program = drafted(seed)
    expected, _ = interpret(program, numbers.tolist())
    _, found = call(Kernel(program, [], lanes=False), numbers)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-9)


def test_there_are_strips() -> None:
    """The tests above would pass without."""
    programs = [mined(drafted(seed)) for seed in range(60)]
    known = [interpreted(program, [1.0] * 150) is not None for program in programs]
    assert sum(known) > 40
    found = [x for program in programs for x in strips_of(program)]
    assert len(found) > 60
    assert sum(not x.trips.is_fixed for x in found) > 10
    assert sum(any(isinstance(y, Loop) for y in x.body) for x in found) > 30


def test_short_loops_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips are for loops of many iterations that gain by them."""
    monkeypatch.undo()
    builder = Builder(4, final=True)
    total, others = Array(SUMS, 1, "total"), Array(VALUES, 100, "others")
    with builder.loop(60) as loop:
        builder.add(total, Index(), builder.load(builder.inputs, Index()))
    with builder.loop(100) as loop:
        builder.store(others, Index(0, ((loop, 1),)), builder.input(1))
    program = builder.finish([Slice(total, 0, 1), Slice(others, 0, 100)])
    assert not any(strips_of(mined(program)))


@pytest.mark.parametrize("calls", [False, True])
def test_vectors_that_share_loads_stay(calls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that is a map with several vectors side by side is better than with one a strip.

    It is not one where functions are called: there, elements side by side pay.
    """
    monkeypatch.undo()
    builder = Builder(150, final=True)
    own, found = Array(VALUES, 200, "own"), Array(VALUES, 100, "found")
    with builder.loop(100) as loop:
        total = Carry(-0.0)
        with builder.loop(50) as inner:
            x = builder.load(builder.inputs, Index(0, ((inner, 1),)))
            y = builder.load(builder.inputs, Index(50, ((loop, 1),)))
            term: Operand = builder.compute(rules.multiply, [x, y])
            if calls:
                term = builder.compute(rules.exp, [term])
            builder.carry(total)
            total.next = builder.compute(rules.add, [total, term])
        with builder.loop(2) as column:
            builder.store(own, Index(0, ((loop, 2), (column, 1))), builder.last(inner, total))
    with builder.loop(100) as loop:
        products = [builder.load(own, Index(k, ((loop, 2),))) for k in range(2)]
        builder.store(found, Index(0, ((loop, 1),)), builder.compute(rules.multiply, products))
    program = builder.finish([Slice(found, 0, 100)])
    strip_mine(program)
    assert any(strips_of(program)) == calls


def test_sums_of_the_program_keep_their_order() -> None:
    """Only the terms of derivatives may come in another order."""
    builder = Builder(150, final=True)
    sums = [Array(SUMS, 4, "sums", None, start) for start in (-0.0, 0.0)]
    for array in sums:
        with builder.loop(30) as loop, builder.loop(4) as column:
            x = builder.load(builder.inputs, Index(0, ((loop, 4), (column, 1))))
            builder.add(array, Index(0, ((column, 1),)), builder.compute(rules.multiply, (x, x)))
    program = builder.finish([Slice(x, 0, 4) for x in sums])
    numbers = np.random.default_rng(2).normal(size=150)
    _, found = call(Kernel(program, [], lanes=False), numbers)
    expected = bits(interpret(program, numbers.tolist())[0])
    assert bits(found[:4].tolist()) == expected[:4]
    assert bits(found[4:].tolist()) != expected[4:]


def that_reads_again(seed: int) -> Program:
    """A loop whose iterations read some elements of the inputs, each several times."""
    rng = Random(seed)
    trips, wide, again = rng.choice([3, 8, 9, 17]), rng.randint(1, 6), rng.randint(2, 4)
    builder = Builder(150, final=True)
    table = Array(CONSTANT, 150, "t", np.random.default_rng(seed).normal(size=150))
    own = Array(VALUES, trips * again * wide, "own")
    with builder.loop(trips) as loop, builder.loop(again) as around, builder.loop(wide) as column:
        values = []
        for _ in range(rng.randint(1, 3)):
            stride, across = rng.choice([wide, -wide, 2, 0]), rng.choice([1, -1, 2])
            first = max(0, -stride) * trips + max(0, -across) * wide + rng.randint(0, 5)
            strides = ((loop, stride), (column, across))
            index = Index(first, tuple([x for x in strides if x[1]]))
            values.append(builder.load(rng.choice([builder.inputs, table]), index))
        value = builder.compute(rules.multiply, [values[0], values[-1]])
        at = ((loop, again * wide), (around, wide), (column, 1))
        builder.store(own, Index(0, at), value)
    return builder.finish([Slice(own, 0, own.size)])


@pytest.mark.usefixtures("any_machine")
@pytest.mark.parametrize("seed", range(40))
def test_what_is_read_again_is_copied(seed: int) -> None:
    """The elements of a strip's iterations lie side by side then; values are the same."""
    numbers = np.random.default_rng(seed).normal(size=150)
    _, found = call(Kernel(that_reads_again(seed), [], lanes=False), numbers)
    expected, _ = interpret(that_reads_again(seed), numbers.tolist())
    assert bits(found.tolist()) == bits(expected)


def test_some_is_copied() -> None:
    """The test above would pass without. Strips that copy to the same place are no map."""
    copied = 0
    for seed in range(40):
        for x in mined(that_reads_again(seed)).body:
            assert isinstance(x, Loop)
            inner = [y for y in statements(x.body) if isinstance(y, Load)]
            if any(y.array.name == "copy" for y in inner):
                copied += 1
                assert not are_independent(x, x.body)
                assert all(are_independent(y, y.body) for y in x.body if isinstance(y, Loop))
    assert copied > 20


def that_has_arrays() -> Program:
    """Loops in a loop, whose iterations store what they alone read."""
    around, trips, wide = 6, 1000, 8
    builder, rows = Builder(150, final=True), Table(np.arange(trips) % 97)
    own, found = Array(VALUES, around * trips * wide, "own"), Array(SUMS, around * trips, "found")
    with builder.loop(around) as outer, builder.loop(trips) as loop:
        part = Index(0, ((outer, trips * wide), (loop, wide)))
        y = builder.load(builder.inputs, Index(0, (), ((rows, Index(0, ((loop, 1),))),)))
        with builder.loop(wide) as inner:
            x = builder.load(builder.inputs, Index(0, ((outer, 20), (inner, 1))))
            here = added(part, Index(0, ((inner, 1),)))
            builder.store(own, here, builder.compute(rules.multiply, [x, y]))
        with builder.loop(wide) as inner:
            term = builder.load(own, added(part, Index(wide - 1, ((inner, -1),))))
            builder.add(found, Index(0, ((outer, trips), (loop, 1))), term)
    return builder.finish([Slice(found, 0, found.size)])


@pytest.mark.usefixtures("any_machine")
def test_memory_of_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an iteration of a loop in a loop stores for itself takes the memory of one strip."""
    monkeypatch.setattr(strips, "LEAST", 64)
    numbers = inputs_for(1)
    expected, _ = interpret(that_has_arrays(), numbers.tolist())
    kernel = Kernel(that_has_arrays(), [], lanes=False)
    assert bits(call(kernel, numbers)[1].tolist()) == bits(expected)
    assert [*strips_of(mined(that_has_arrays()))]
    assert kernel._loaded.code.size < 8 * 2 * len(expected)


def test_many_sums_of_messages() -> None:
    """The sums of a loop's messages are added up together, from what each begins with."""
    builder = Builder(150, final=True)
    sums = Array(SUMS, 5, "sums")
    for k in range(5):
        builder.add(sums, Index(k), builder.input(k))
    with builder.loop(30) as loop:
        x, *others = [builder.load(builder.inputs, Index(k, ((loop, 4),))) for k in range(6)]
        for k, y in enumerate(others):
            builder.add(sums, Index(k), builder.compute(rules.multiply, [x, y]))
            builder.add(sums, Index(k), builder.compute(rules.negative, [y]))
    program = builder.finish([Slice(sums, 0, 5)])
    numbers = np.random.default_rng(3).integers(-9, 9, 150).astype(float)
    expected, _ = interpret(program, numbers.tolist())
    _, found = call(Kernel(program, [], lanes=False), numbers)
    assert found.tolist() == expected
    changed = mined(program)
    loops = [x for x in changed.body if isinstance(x, Loop)]
    assert [len(x.carries) for x in loops] == [0, 5]
    assert [*strips_of(changed)]
