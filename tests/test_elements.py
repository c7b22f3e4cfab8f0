"""Elements of arrays in nested loops, against lists of them."""

import itertools
import random

import numpy
import pytest
from random_forms import random_index
from test_program_nests import random_nest, value, visited

from chainrule.program.elements import Access, Elements, accessed, apart, meet
from chainrule.program.form import (
    SUMS,
    VALUES,
    Array,
    Gather,
    Index,
    Load,
    Loop,
    Scatter,
    Store,
    Table,
)
from chainrule.program.nests import Path

SIZE = 400


def rectangular(rng: random.Random) -> list[Loop]:
    """Loops that run as often each time."""
    return [Loop(Index(rng.randint(0 if rng.random() < 0.1 else 1, 4))) for _ in range(3)]


def strided(rng: random.Random, loops: list[Loop]) -> Index:
    """An index of strides, of which some are 0 and some reach into each other."""
    strides = {loop: rng.choice([0, 1, -1, 2, 4, 5, -5, 20]) for loop in loops}
    low = -sum(min(0, stride * (loop.trips.offset - 1)) for loop, stride in strides.items())
    return Index(low + rng.randint(0, 20), tuple(strides.items()))


def random_table(rng: random.Random, size: int) -> numpy.ndarray:
    """Numbers, of which some may be equal."""
    return numpy.array([rng.choice([0, 1, 2, 3, 7, 9]) for _ in range(size)], dtype=numpy.int64)


def random_mask(rng: random.Random) -> numpy.ndarray:
    """Which of all elements, in stretches."""
    part = rng.choice([0.02, 0.5, 0.98])
    return numpy.array([rng.random() < part for _ in range(SIZE // 4) for _ in range(4)])


@pytest.mark.parametrize("seed", range(400))
def test_masks(seed: int) -> None:
    """What is asked of masks and marked in them, in loops of known trip counts and of others."""
    rng = random.Random(seed)
    even = rng.random() < 0.7
    loops = rectangular(rng) if even else random_nest(rng)
    index = strided(rng, loops) if even else random_index(rng, 100, loops)
    if even and rng.random() < 0.5:
        table = Table(random_table(rng, loops[2].trips.offset))
        inner = Index(0, ((loops[2], 1),))
        if rng.random() < 0.5:
            inner = Index(loops[2].trips.offset - 1, ((loops[2], -1),))
        if rng.random() < 0.5:  # each iteration has a row
            steps = zip(loops, (80, 20, rng.choice([0, 1, 2])), strict=True)
            index = Index(rng.randint(0, 20), tuple(steps))
        index = index._replace(tables=((table, inner),))
    size = rng.choice([1, 1, 3])
    elements = Elements(index, tuple(loops), size)
    rows = [range(value(index, at), value(index, at) + size) for at in visited(loops)]
    mask = random_mask(rng)
    assert elements.all_in(mask).reshape(-1).tolist() == [all(mask[e] for e in r) for r in rows]
    assert elements.any_in(mask) == any(mask[e] for r in rows for e in r)

    some = numpy.array([rng.random() < 0.5 for _ in rows], dtype=numpy.bool_)
    for where in (None, some):
        marked = mask.copy()
        elements.mark(marked, where)
        chosen = {e for k, r in enumerate(rows) if where is None or where[k] for e in r}
        assert set(numpy.flatnonzero(marked)) == set(numpy.flatnonzero(mask)) | chosen

    for before in (numpy.zeros(SIZE, dtype=numpy.bool_), mask):
        marked = before.copy()
        listed = [e for r in rows for e in r]
        once = len(set(listed)) == len(listed) and not any(before[e] for e in listed)
        assert elements.mark_once(marked) == once
        assert set(numpy.flatnonzero(marked)) == set(numpy.flatnonzero(before)) | {*listed}


@pytest.mark.parametrize("seed", range(400))
def test_apart(seed: int) -> None:
    """Where iterations are said to be apart they are, and alike; plain rows are."""
    rng = random.Random(seed)
    around, inside = rectangular(rng)[:2], rectangular(rng)[:2]
    steps = [(loop, rng.choice([12, 12, 60, -60, 7, 0])) for loop in around]
    found: list[tuple[Access, Path]] = []
    for _ in range(2):
        index = strided(rng, inside)
        own = steps if rng.random() < 0.9 else [(loop, 60) for loop in around]
        index = Index(index.offset, (*index.strides, *own))
        array, place = Array(rng.choice([VALUES, SUMS]), SIZE), 0.0
        kinds: list[Access] = [Load(array, index), Store(array, index, 0.0)]
        kinds += [Gather(array, index, 3, place), Scatter(array, index, 3, place, 0.0)]
        found.append((rng.choice(kinds), tuple(inside)))
    if not apart(found, tuple(around)):
        return
    by_run = []
    for at in visited(around):
        runs = []
        for x, path in found:
            size = x.size if isinstance(x, (Gather, Scatter)) else 1
            first = [value(x.index, {**at, **inner}) for inner in visited(list(path))]
            runs.append([e + k for e in first for k in range(size)])
        by_run.append(runs)
    for one, other in itertools.combinations(by_run, 2):
        assert not {*itertools.chain(*one)} & {*itertools.chain(*other)}
        shifts = {b - a for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)}
        assert len(shifts) <= 1


def test_rows_are_apart() -> None:
    """Each iteration has a row of its own, read and written backwards too."""
    i, j = Loop(Index(1000)), Loop(Index(1000))
    array = Array(VALUES, 1_001_000)
    forwards = Store(array, Index(1, ((i, 1001), (j, 1))), 0.0)
    backwards = Load(array, Index(1000, ((i, 1001), (j, -1))))
    assert apart([(forwards, (j,)), (backwards, (j,))], (i,))
    assert not apart([(forwards, (j,)), (Load(array, Index(0, ((i, 1),))), (j,))], (i,))


def test_elements_out_of_reach() -> None:
    """What is stored where no element is, is not once in each."""
    i = Loop(Index(3))
    beyond = accessed(Store(Array(VALUES, 3), Index(1, ((i, 1),)), 0.0), (i,))
    assert not beyond.mark_once(numpy.zeros(3, dtype=numpy.bool_))
    assert not Elements(Index(3), ()).mark_once(numpy.zeros(3, dtype=numpy.bool_))


@pytest.mark.parametrize("seed", range(400))
def test_meet(seed: int) -> None:
    """Whether indices are the same number in a run of loops, against lists of them."""
    rng = random.Random(seed)
    even = rng.random() < 0.6
    loops = rectangular(rng) if even else random_nest(rng)
    depth = rng.randint(0, len(loops))
    around, inside = tuple(loops[:depth]), tuple(loops[depth:])
    common = [(loop, rng.choice([1, 30])) for loop in around]
    groups: list[list[tuple[Index, Path]]] = [[], []]
    for group in groups:
        for _ in range(rng.randint(0, 2)):
            path = inside[: rng.randint(0, len(inside))]
            if even:
                own = strided(rng, list(path))
                index = Index(own.offset, (*own.strides, *common))
            else:
                index = random_index(rng, 40, [*around, *path])
            group.append((index, path))
    found = False
    for at in visited([*around]):
        here, there = [
            {value(index, inner) for index, path in group for inner in visited([*path], at)}
            for group in groups
        ]
        found = found or bool(here & there)
    assert meet(groups[0], groups[1], around) == found
