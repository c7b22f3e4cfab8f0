"""No operation, method, attribute, error, copy, pass or transformation leaks.

Each is done again and again: afterwards there are as many blocks of memory as before, as many bytes
in larger ones, and as many references to the nodes, operations and classes that took part.
``python tests/test_leaks.py 100000000`` does them so often, and prints what has grown.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable

import pytest
from memory import blocks_in_use
from node_cases import CASES, ERRORS, FOREIGN, FOREIGN_ERRORS, Pool, raising

ACTIONS = {
    **CASES,
    **FOREIGN,
    **{
        f"error: {name}": raising(kind, action)
        for name, (kind, action) in {**ERRORS, **FOREIGN_ERRORS}.items()
    },
}
LIMIT = 0.6
"""Of a block, or a reference, for each call: a leak is one. Caches and free lists take the rest."""
CALLS = 200
MANY = 1e-3
"""Seconds from which on it is done a tenth as often at first."""
SLOW = 3e-4
"""Seconds from which on an action is not done millions of times."""


@pytest.fixture(scope="module")
def pool() -> Pool:
    """The nodes, which the collector need not go through while something is counted."""
    found = Pool()
    gc.collect()
    gc.freeze()
    return found


def counts(watched: list[object]) -> list[int]:
    """References to each."""
    return [sys.getrefcount(x) for x in watched]


def growth(action: Callable[[], object], watched: list[object], calls: int) -> tuple[int, int]:
    """Blocks, and references to what is watched, that so many calls leave behind.

    The least of three rounds: a cache or a dictionary may grow once.
    """
    rounds = []
    for _ in range(3):
        before, references = blocks_in_use(), counts(watched)
        for _ in range(calls):
            action()
        found = blocks_in_use() - before
        differences = [
            abs(now - then) for now, then in zip(counts(watched), references, strict=True)
        ]
        rounds.append((found, max(differences)))
        if max(rounds[-1]) < LIMIT * calls:
            break
    return min(rounds, key=max)


def bytes_grown(action: Callable[[], object], calls: int) -> int:
    """Bytes that calls leave behind, whatever has allocated them: the least of three rounds."""
    rounds = []
    tracemalloc.start()
    try:
        for _ in range(3):
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(calls):
                action()
            gc.collect()
            rounds.append(tracemalloc.get_traced_memory()[0] - before)
            if rounds[-1] < 16 * calls:
                break
    finally:
        tracemalloc.stop()
    return min(rounds)


def seconds(action: Callable[[], object]) -> float:
    """How long a call takes, after some that fill caches and free lists."""
    for _ in range(3):
        start = time.perf_counter()
        action()
        taken = time.perf_counter() - start
    return taken


@pytest.mark.parametrize("part", range(8))
def test_nothing_leaks(part: int, pool: Pool) -> None:
    """Neither blocks, nor references, nor larger pieces of memory."""
    watched = pool.watched()
    grown = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in list(ACTIONS)[part::8]:

            def action(name: str = name) -> object:
                return ACTIONS[name](pool)

            first = CALLS if seconds(action) < MANY else CALLS // 10
            for calls in (first, 10 * first):  # what is no leak does not grow with the calls
                action()
                left, references = growth(action, watched, calls)
                size = bytes_grown(action, calls)
                if max(left, references) < LIMIT * calls and size < 16 * calls:
                    break
            else:
                grown.append(f"{name}: {left} blocks, {references} references, {size} bytes")
    assert not grown, "\n".join(grown)


def test_a_leak_is_found(pool: Pool) -> None:
    """Of a node, of a reference, of a large piece of memory."""
    kept: list[object] = []
    x = pool.x
    left, references = growth(lambda: kept.append(x * 2.0), [x], 200)
    assert left >= 200
    assert references == 200
    assert growth(lambda: kept.append(x), [x], 200)[1] == 200
    assert bytes_grown(lambda: kept.append(bytes(1000)), 50) >= 50_000


def main() -> None:
    """See the module."""
    total = int(sys.argv[1])
    warnings.simplefilter("ignore")
    found = Pool()
    watched = found.watched()
    names = [name for name in ACTIONS if seconds(lambda n=name: ACTIONS[n](found)) < SLOW]  # type: ignore[misc]
    each = total // len(names)
    before, references = blocks_in_use(), counts(watched)
    for name in names:
        action = ACTIONS[name]
        for _ in range(each):
            action(found)
    print(f"{len(names)} actions, {each:,} times each: {blocks_in_use() - before:+} blocks")
    for x, now, then in zip(watched, counts(watched), references, strict=True):
        if abs(now - then) > 10:
            print(f"{now - then:+} references to {x!r}")


if __name__ == "__main__":
    main()
