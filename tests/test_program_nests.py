"""Indices over nested loops, against plain loops in Python."""

import random
from collections.abc import Iterator

import numpy
import pytest
from random_forms import random_index

from chainrule.program.form import Index, Loop, ProgramError, Table
from chainrule.program.nests import (
    added,
    count,
    distinct,
    instance,
    iterations,
    numbers,
    scaled,
    substituted,
)


def random_nest(rng: random.Random) -> list[Loop]:
    """Loops whose trip counts hang on those around them."""
    loops: list[Loop] = []
    for _ in range(rng.randint(1, 5)):
        fixed = rng.random() < 0.3
        trips = Index(rng.randint(0, 4)) if fixed else random_index(rng, 6, loops)
        loops.append(Loop(trips))
    return loops


def value(index: Index, at: dict[Loop, int]) -> int:
    """An index at some iterations."""
    total = index.offset + sum(stride * at[loop] for loop, stride in index.strides)
    return total + sum(int(table.numbers[value(inner, at)]) for table, inner in index.tables)


def visited(loops: list[Loop], at: dict[Loop, int] | None = None) -> Iterator[dict[Loop, int]]:
    """The iterations of all loops in each instance, in order."""
    at = at or {}
    if not loops:
        yield at
        return
    for i in range(value(loops[0].trips, at)):
        yield from visited(loops[1:], {**at, loops[0]: i})


@pytest.mark.parametrize("seed", range(300))
def test_all_instances(seed: int) -> None:
    """Counts, iterations, indices and their sums, in random nests."""
    rng = random.Random(seed)
    loops = random_nest(rng)
    visits = list(visited(loops))
    assert count(loops) == len(visits)
    found = iterations(loops)
    for loop in loops:
        assert found[loop].tolist() == [at[loop] for at in visits]
    assert numbers(instance(loops), loops).tolist() == list(range(len(visits)))
    a, b = random_index(rng, 20, loops), random_index(rng, 9, loops)
    assert numbers(a, loops).tolist() == [value(a, at) for at in visits]
    total = added(scaled(a, 3), scaled(b, -2))
    assert numbers(total, loops).tolist() == [3 * value(a, at) - 2 * value(b, at) for at in visits]


@pytest.mark.parametrize("seed", range(100))
def test_substituted(seed: int) -> None:
    """An index with other indices in the place of iterations."""
    rng = random.Random(seed)
    old, new, kept = [[Loop(Index(n)), Loop(Index(n))] for n in (4, 3, 2)]
    index = random_index(rng, 12, [*old, *kept])
    replacements = {loop: random_index(rng, 4, new) for loop in old}
    replaced = substituted(index, replacements)
    for at in visited([*new, *kept]):
        before = {loop: value(replacements[loop], at) for loop in old}
        assert value(replaced, at) == value(index, {**before, **at})


def test_rectangular_nests_have_strides_alone() -> None:
    """No table where no trip count varies."""
    i, j, k = Loop(Index(7)), Loop(Index(5)), Loop(Index(3))
    assert instance([i, j, k]) == Index(0, ((i, 15), (j, 3), (k, 1)))


def test_tables_are_as_small_as_what_varies() -> None:
    """A loop on which nothing hangs is in no table."""
    t, i = Loop(Index(1000)), Loop(Index(10))
    j = Loop(Index(0, ((i, 1),)))
    k = Loop(Index(0, ((j, 1),)))
    index = instance([t, i, j, k])
    assert index.strides == ((t, 120), (k, 1))
    assert [len(table.numbers) for table, _ in index.tables] == [10, 9]


def test_errors() -> None:
    """Indices that no loops around give."""
    i = Loop(Index(3))
    stranger = Loop(Index(2))
    with pytest.raises(ProgramError, match="not around it"):
        numbers(Index(0, ((stranger, 1),)), [i])
    with pytest.raises(ProgramError, match=r"read of \[2\] of an index table of 2"):
        numbers(Index(0, (), ((Table(numpy.array([4, 5])), Index(0, ((i, 1),))),)), [i])
    with pytest.raises(ProgramError, match="loop of -1 iterations"):
        count([i, Loop(Index(1, ((i, -1),))), Loop(Index(1))])


@pytest.mark.parametrize("kind", ["int32", "int64"])
def test_distinct(kind: str) -> None:
    """The different numbers, in order and of their kind, near each other or not."""
    rng = numpy.random.default_rng(0)
    for low, high in ((0, 5), (-3, 2), (-1, 0), (-(2**31), 2**31 - 1), (2**31 - 3, 2**31 - 1)):
        for size in (0, 1, 7, 50):
            items = rng.integers(low, high, size, dtype=kind, endpoint=True)
            found = distinct(items)
            assert found.tolist() == sorted({*items.tolist()})
            assert found.dtype == items.dtype
    assert distinct([3, 1, 3]).tolist() == [1, 3]
