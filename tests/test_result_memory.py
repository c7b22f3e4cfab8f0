"""Arrays that results lie in: their memory is used again once nobody refers to it, not before."""

from __future__ import annotations

import gc
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.llvm import pool
from chainrule.backends.llvm.addresses import address_of

LARGE = pool.HUGE_PAGE // 8
SIZES = (pool.SMALLEST // 8, LARGE // 2 - 1, LARGE // 2, 3 * LARGE + 5)


@pytest.mark.parametrize("size", SIZES)
def test_memory_is_used_again_only_when_free(size: int) -> None:
    """Also by a part of the array alone."""
    first = pool.empty((size, 1))
    first[:] = 1.0
    part, address = first[size // 2 :], address_of(first)
    del first
    gc.collect()
    other = pool.empty((size, 1))
    other[:] = 2.0
    assert (part == 1.0).all()
    del part
    gc.collect()
    again, another = pool.empty((size, 1)), pool.empty((size, 1))
    assert address_of(again) == address
    assert not np.shares_memory(again, another)
    assert (other == 2.0).all()


def test_large_arrays_begin_with_a_huge_page() -> None:
    """And they are arrays like others."""
    for size in SIZES:
        array = pool.empty((size,))
        assert array.flags.carray
        assert (address_of(array) % pool.HUGE_PAGE == 0) or size < LARGE // 2


def test_what_is_kept_is_limited() -> None:
    """What is new is kept rather than what is old."""
    kept = pool._Pool()
    for size in [pool.LARGEST_KEPT // 4, pool.LARGEST_KEPT // 8] * 8:
        memory = [kept.take(size) for _ in range(3)]
        for x in memory:
            kept.give_back(x)
        assert kept._size == sum(x.size for found in kept._kept.values() for x in found)
        assert kept._size <= pool.LARGEST_KEPT
        assert len(kept._kept[size]) == 3


def test_arrays_that_go_in_the_middle() -> None:
    """The garbage collector may let arrays go between any two steps."""

    class Interrupted(OrderedDict[int, Any]):
        def get(self, size: int, default: Any = None) -> Any:
            found = super().get(size, default)
            self.interrupt(size)
            return found

        def setdefault(self, size: int, default: Any = None) -> Any:
            found = super().setdefault(size, default)
            self.interrupt(size)
            return found

        def items(self) -> Any:
            found = [*super().items()]
            self.interrupt(found[0][0])
            return found

        def interrupt(self, size: int) -> None:
            for other in (pool.LARGEST_KEPT // 2, pool.LARGEST_KEPT // 2 - 1, size):
                kept.give_back(np.empty(other, np.uint8))
            assert kept.take(size) is not None

    kept = pool._Pool()
    kept._kept = Interrupted()
    sizes = [pool.LARGEST_KEPT // 4, pool.LARGEST_KEPT // 8, pool.LARGEST_KEPT // 2] * 3
    for size in sizes:
        memory = [kept.take(size) for _ in range(3)]
        for x in memory:
            kept.give_back(x)
        every = [x for found in OrderedDict.values(kept._kept) for x in found]
        assert kept._size == sum(x.size for x in every)
        assert len({id(x) for x in every}) == len(every)


def test_results_of_calls_stay() -> None:
    """A call does not store to what an earlier one gave."""
    compiled = cr.compile(cr.vmap(lambda x: x + 1.0))
    lanes = pool.SMALLEST // 8
    results = [compiled(np.full(lanes, float(k))) for k in range(4)]
    for k, result in enumerate(results):
        assert (result == k + 1.0).all()
