"""Loops that are fused: the same numbers to the last bit, and only where that can be."""

from __future__ import annotations

from contextlib import ExitStack
from random import Random

import pytest
from expand import rebuilt
from random_forms import bits, random_index, random_inputs, random_program
from rolled_programs import View, add, each, load, room, store

from chainrule import rules
from chainrule.passes.fuse import fuse
from chainrule.program.builder import Builder
from chainrule.program.form import SUMS, Index, Loop, Program, Slice, Store, statements
from chainrule.program.interpreter import interpret
from chainrule.program.verifier import verify


def loops(p: Program) -> int:
    """How many loops a program has."""
    return sum(isinstance(x, Loop) for x in statements(p.body))


def check(p: Program, xs: list[float]) -> int:
    """Fuse the loops of a program; gives how many have gone."""
    before, (expected, failed) = loops(p), interpret(p, xs)
    fuse(p)
    for q in (p, rebuilt(p)):
        verify(q)
        found, number = interpret(q, xs)
        assert (bits(found), number) == (bits(expected), failed)
    return before - loops(p)


def two_loops(random: Random) -> Program:
    """Two loops, perhaps in others, with statements between; the second reads what it may."""
    b = Builder(4)
    results = room(b, 1, "results", SUMS)
    with ExitStack() as outer:
        for _ in range(random.randint(0, 2)):
            outer.enter_context(b.loop(random.randint(1, 3)))
        trips = random.randint(1, 5)
        kept, first, both = room(b, trips), room(b, 1, "first", SUMS), room(b, 3, "both", SUMS)
        with b.loop(trips) as i:
            x = b.load(b.inputs, random_index(random, 4, b.loops))
            at = each(i, -1, trips - 1) if random.random() < 0.2 else each(i)
            store(b, kept, at, b.compute(rules.sin, (x,)))
            add(b, first, 0, x)
            if random.random() < 0.5:
                add(b, both, random_index(random, 3, b.loops), x)
        between = random.choice([0.5, load(b, kept, 0), load(b, first, 0), b.input(1)])
        if random.random() < 0.3:
            add(b, results, 0, b.input(2))
        with b.loop(trips if random.random() < 0.9 else trips + 1) as j:
            at = random_index(random, trips, b.loops)
            if random.random() < 0.6 and j.trips == Index(trips):
                at = each(j)
            y = b.compute(rules.multiply, (load(b, kept, at), between))
            if random.random() < 0.5:
                add(b, both, random_index(random, 3, b.loops), y)
            add(b, results, 0, y)
        for k in range(3):
            add(b, results, 0, load(b, both, k))
    return b.finish([Slice(results.array, 0, 1)])


def test_random_pairs_of_loops() -> None:
    """They become one where each iteration of the second reads what is there already, not else."""
    gone = [check(two_loops(Random(seed)), [0.3, -0.7, 1.1, 0.2]) for seed in range(400)]
    assert set(gone) == {0, 1}
    assert 80 < sum(gone) < 320


def two_nests(random: Random) -> Program:
    """Two loops with loops in them, of which the second reads what it may of the first."""
    b = Builder(4)
    trips, inner, low = random.randint(1, 5), random.randint(1, 3), random.randint(0, 2)
    stride = inner + random.choice([0, 0, 1])
    stored = {low + stride * i + k for i in range(trips) for k in range(inner)}
    results = room(b, 1, "results", SUMS)
    with ExitStack() as outer:
        if random.random() < 0.3:
            outer.enter_context(b.loop(random.randint(1, 3)))
        kept = room(b, low + stride * trips)
        with b.loop(trips) as i, b.loop(inner) as k:
            x = b.load(b.inputs, random_index(random, 4, b.loops))
            at = Index(low, ((i, stride), (k, 1)))
            store(b, kept, at, b.compute(rules.sin, (x,)))
        first, step, count = low, stride, random.choice([inner, 1])
        if random.random() < 0.5:
            first, step = random.choice([(max(stored), -stride), (low + 1, 1), (low + stride, 0)])
        read = {first + step * i + k for i in range(trips) for k in range(count)}
        if not read <= stored:
            first, step = low, stride
        with b.loop(trips) as j, b.loop(count) as k:
            y = load(b, kept, Index(first, ((j, step), (k, 1))))
            add(b, results, 0, b.compute(rules.multiply, (y, 1.5)))
    return b.finish([Slice(results.array, 0, 1)])


def test_random_pairs_of_nests() -> None:
    """Whether one iteration is looked at or all: nothing is read before it is there."""
    gone = [check(two_nests(Random(seed)), [0.3, -0.7, 1.1, 0.2]) for seed in range(600)]
    assert gone.count(1) > 100
    assert gone.count(0) > 100


@pytest.mark.parametrize("seed", range(100))
def test_random_programs(seed: int) -> None:
    """Whatever else there is, guards among it."""
    p = rebuilt(random_program(seed, guards=seed % 2 == 0))
    check(p, random_inputs(seed, p))


def _kept(b: Builder, trips: int) -> View:
    kept = room(b, trips, "kept")
    with b.loop(trips) as i:
        store(b, kept, each(i), b.compute(rules.sin, (b.load(b.inputs, each(i)),)))
    return kept


def test_a_map_and_a_sum() -> None:
    """What is handed on within an iteration is not kept."""
    b = Builder(5)
    kept, total = _kept(b, 5), room(b, 1, "total", SUMS)
    with b.loop(5) as i:
        add(b, total, 0, load(b, kept, each(i)))
    p = b.finish([load(b, total, 0)])
    assert check(p, [0.1, 0.2, 0.3, 0.4, 0.5]) == 1
    assert kept.array not in {x.array for x in statements(rebuilt(p).body) if isinstance(x, Store)}


@pytest.mark.parametrize("why", ["backwards", "sum first", "guard"])
def test_loops_that_stay_two(why: str) -> None:
    """The second reads later elements, or needs what the whole first one gives, or asks guards."""
    b = Builder(5)
    kept, total = _kept(b, 5), room(b, 1, "total", SUMS)
    scale = b.compute(rules.exp, (load(b, kept, 4),)) if why == "sum first" else 2.0
    with b.loop(5) as i:
        at = each(i, -1, 4) if why == "backwards" else each(i)
        y = b.compute(rules.multiply, (load(b, kept, at), scale))
        if why == "guard":
            b.guard(b.compute(rules.less, (y, 9.0)), True, each(i))
        add(b, total, 0, y)
    p = b.finish([load(b, total, 0)])
    assert check(p, [0.1, 0.2, 0.3, 0.4, 0.5]) == 0


def test_what_is_between_moves() -> None:
    """A statement that only the second loop needs comes before both."""
    b = Builder(5)
    kept, total = _kept(b, 5), room(b, 1, "total", SUMS)
    scale = b.compute(rules.exp, (b.input(1),))
    with b.loop(5) as i:
        add(b, total, 0, b.compute(rules.multiply, (load(b, kept, each(i)), scale)))
    assert check(b.finish([load(b, total, 0)]), [0.1, 0.2, 0.3, 0.4, 0.5]) == 1
