"""The elements that an index is in nested loops: they are listed only where they must be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy
from numpy.typing import NDArray

from . import nests
from .form import BY_VALUE, Gather, Index, Load, Loop, Scatter, Store
from .nests import Numbers, Path

Mask: TypeAlias = NDArray[numpy.bool_]
"""Whether something holds, for each element of an array or each instance of a statement."""
Access: TypeAlias = "Load | Gather | Store | Scatter"


class Elements:
    """The elements that an index is, one or some side by side for each instance in nested loops.

    Masks are of arrays whose elements they are. Where nothing runs, an index may be any number.

    Args:
        index: depends on these loops only.
        path: the loops, the outermost first.
        size: how many elements from the index on are meant.
        numbers: gives an index as a number for each instance.
    """

    def __init__(
        self,
        index: Index,
        path: Path,
        size: int = 1,
        numbers: Callable[[Index, Path], Numbers] = nests.numbers,
    ) -> None:
        self._index = index
        self._path = path
        self._size = size
        self._numbers = numbers
        self._rows: tuple[Numbers, Numbers] | None = None

    def all_in(self, mask: Mask) -> Mask:
        """In which instances all of the elements are true; has an axis for each loop, or one."""
        view = self._view(mask)
        if view is not None:
            trips = [loop.trips.offset for loop in self._path]
            return numpy.broadcast_to(numpy.all(view, axis=-1), trips)
        rows, which = self.listed(len(mask))
        found: Mask = numpy.all(mask[rows], axis=1)[which]
        return found

    def any_in(self, mask: Mask) -> bool:
        """Whether any of the elements of any instance is true."""
        view = self._view(mask)
        return bool((mask[self.listed(len(mask))[0]] if view is None else view).any())

    def mark(self, mask: Mask, where: Mask | None = None) -> None:
        """Make the elements true, in all instances or in some."""
        view = self._view(mask)
        if view is None:
            rows, which = self.listed(len(mask))
            mask[rows if where is None else rows[which[where]]] = True
        elif where is None:
            view[...] = True
        else:
            trips = [loop.trips.offset for loop in self._path]
            repeated = tuple([k for k, n in enumerate(trips) if view.shape[k] < n])
            some: Mask = numpy.any(where.reshape(trips), axis=repeated, keepdims=True)
            numpy.copyto(view, True, where=some[..., None])

    def mark_once(self, mask: Mask) -> bool:
        """Make the elements true; gives whether each was false until its only instance came."""
        view = self._view(mask)
        if view is not None and _differ(view):
            once = [*view.shape[:-1]] == [loop.trips.offset for loop in self._path]
            once = once and not view.any()
            view[...] = True
            return once
        rows, which = self.listed(len(mask))
        counts = numpy.bincount(rows[which].reshape(-1), minlength=len(mask))
        once = len(counts) == len(mask) and not mask[rows].any() and counts.max(initial=0) <= 1
        mask[rows] = True
        return bool(once)

    def listed(self, size: int) -> tuple[Numbers, Numbers]:
        """Rows of elements of an array of a size, and which of them each instance has."""
        if self._rows is None:
            if self._size > 1:
                found, which = nests.unique(self._index, self._path)
            else:
                found = self._numbers(self._index, self._path)
                which = numpy.arange(len(found))
            self._rows = found[:, None] + numpy.arange(self._size), which
        rows, which = self._rows
        return numpy.clip(rows, 0, size - 1), which

    def _view(self, mask: Mask) -> Mask | None:
        """The elements as a part of the mask, if they lie at even distances.

        It has an axis for each loop, of length 1 where the loop does not matter, and one for those
        side by side.
        """
        if self._index.tables or not mask.flags.c_contiguous:
            return None
        strides = dict(self._index.strides)
        shape, steps = [], []
        for loop in self._path:
            if not loop.trips.is_fixed or loop.trips.offset < 1:
                return None
            step = strides.pop(loop, 0)
            shape.append(loop.trips.offset if step else 1)
            steps.append(step)
        if strides:
            return None
        try:
            first = self._index.offset
            return numpy.ndarray([*shape, self._size], numpy.bool_, mask, first, [*steps, 1])
        except (TypeError, ValueError):  # the mask has not all of them
            return None


def accessed(
    x: Access,
    path: Path,
    numbers: Callable[[Index, Path], Numbers] = nests.numbers,
) -> Elements:
    """What a statement in nested loops may access, in all its instances."""
    return Elements(x.index, path, x.size if isinstance(x, BY_VALUE) else 1, numbers)


def apart(accesses: Iterable[tuple[Access, Path]], around: Path) -> bool:
    """Whether each iteration of some loops accesses elements of its own, in all of them alike.

    Args:
        accesses: what accesses an array, with the loops in these loops that it stands in.
        around: the loops.

    Returns:
        True only if that is certain.
    """
    if not around:
        return True
    first: dict[Loop, Index] = dict.fromkeys(around, Index())
    ranges, steps = [], []
    for x, path in accesses:
        if not all(loop.trips.is_fixed for loop in (*around, *path)):
            return False
        if any(inner.loops() & first.keys() for _, inner in x.index.tables):
            return False
        low, high = nests.bounds(nests.substituted(x.index, first))
        ranges.append((low, high + (x.size if isinstance(x, BY_VALUE) else 1)))
        steps.append(dict(x.index.strides))
    span = max([high for _, high in ranges]) - min([low for low, _ in ranges])
    for loop in reversed(around):
        step = abs(steps[0].get(loop, 0))
        if step < span or any(x.get(loop) != steps[0].get(loop) for x in steps):
            return False
        span += step * (loop.trips.offset - 1)
    return True


def _differ(view: Mask) -> bool:
    """Whether it is certain that no two elements of a view are the same."""
    reach = 0
    for step, trips in sorted(zip(map(abs, view.strides), view.shape, strict=True)):
        if trips > 1:
            if step <= reach:
                return False
            reach += step * (trips - 1)
    return True
