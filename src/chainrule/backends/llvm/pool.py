"""Memory of results and of large workspaces: it is used again, and fills huge pages.

The first store to each page of new memory takes the system about as long as computing what is
stored. So memory that nobody uses any more is kept for the next ones, up to a limit; and what is
larger begins where a huge page does.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from typing import Any, Final

import numpy

from .addresses import address_of

SMALLEST: Final = 1 << 17  # bytes below which the system keeps memory itself
HUGE_PAGE: Final = 1 << 21
LARGEST_KEPT: Final = 1 << 28  # bytes of all that is kept

_TYPE: Final = numpy.dtype(numpy.float64).str


class _Pool:
    """Memory that is kept, by its size; the size that was given back last comes last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, list[Any]] = OrderedDict()
        self._size = 0
        # Nobody waits for it: an array may go at any time, also in the middle of what is here, and
        # in a child of a process in which another thread was here. Then memory is the system's.
        self._lock = threading.Lock()

    def take(self, size: int) -> Any:
        """Memory of a size."""
        if self._lock.acquire(blocking=False):
            try:
                kept = self._kept.get(size)
                if kept:
                    self._size -= size
                    return kept.pop()
            finally:
                self._lock.release()
        return numpy.empty(size, numpy.uint8)

    def clear(self) -> None:
        """Keep nothing."""
        if self._lock.acquire(blocking=False):
            try:
                self._kept, self._size = OrderedDict(), 0
            finally:
                self._lock.release()

    def give_back(self, memory: Any) -> None:
        """Keep memory, and rather what is new than what is old."""
        size = memory.size
        if size > LARGEST_KEPT or not self._lock.acquire(blocking=False):
            return
        try:
            self._kept.setdefault(size, []).append(memory)
            self._kept.move_to_end(size)
            self._size += size
            while self._size > LARGEST_KEPT:
                oldest, kept = next(iter(self._kept.items()))
                if kept:
                    kept.pop()
                    self._size -= oldest
                else:
                    del self._kept[oldest]
        finally:
            self._lock.release()


_POOL: Final = _Pool()


def take(size: int) -> tuple[int, Any]:
    """Memory of a size: its address, where a huge page begins, and what is to be given back."""
    memory = _POOL.take((-(-size // HUGE_PAGE) + 1) * HUGE_PAGE)
    return -(-address_of(memory) // HUGE_PAGE) * HUGE_PAGE, memory


def give_back(memory: Any) -> None:
    """Let memory be used again."""
    _POOL.give_back(memory)


def clear() -> None:
    """Give what is kept back to the system."""
    _POOL.clear()


class _Lent:
    """Memory that arrays lie in; it is given back when none refers to it any more."""

    def __init__(self, memory: Any, address: int, shape: tuple[int, ...]) -> None:
        self._memory, self._pool = memory, _POOL
        self.__array_interface__ = {
            "data": (address, False),
            "shape": shape,
            "typestr": _TYPE,
            "version": 3,
        }

    def __del__(self) -> None:
        self._pool.give_back(self._memory)


def empty(shape: tuple[int, ...]) -> Any:
    """An array of float64 whose numbers are still to be stored."""
    size = 8 * math.prod(shape)
    if size < SMALLEST:
        return numpy.empty(shape)
    if size >= HUGE_PAGE // 2:
        address, memory = take(size)
    else:
        memory = _POOL.take(size)
        address = address_of(memory)
    return numpy.asarray(_Lent(memory, address, shape))
