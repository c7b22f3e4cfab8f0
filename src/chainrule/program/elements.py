"""The elements that an index is in nested loops: they are listed only where they must be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy
from numpy.typing import NDArray

from . import nests
from .form import BY_VALUE, Gather, Index, Load, Scatter, Store
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
        self._outer = path
        self._columns: slice | Numbers = slice(None)  # among those side by side
        self._strides, self._low, self._span = dict(index.strides), index.offset, size
        if index.tables:
            self._find_columns()

    def _find_columns(self) -> None:
        """Where tables belong to the innermost loops alone: the places that these lead to."""
        asked = {loop for _, inner in self._index.tables for loop in inner.loops()}
        first = min([k for k, loop in enumerate(self._path) if loop in asked], default=0)
        own = self._path[first:]
        if self._size > 1 or first == 0 or any(loop.trips.loops() for loop in own):
            return
        steps = [x for x in self._index.strides if x[0] in own]
        columns = self._numbers(Index(0, tuple(steps), self._index.tables), own)
        if len(columns):
            low, self._span = int(columns.min()), int(columns.max() - columns.min()) + 1
            self._outer, self._columns = self._path[:first], columns - low
            self._low += low
            self._strides = {x: step for x, step in self._strides.items() if x not in own}

    def all_in(self, mask: Mask) -> Mask:
        """In which instances all of the elements are true; has an axis for each loop, or one."""
        view = self._view(mask)
        if view is not None:
            trips = [loop.trips.offset for loop in self._outer]
            if isinstance(self._columns, slice):
                return numpy.broadcast_to(numpy.all(view, axis=-1), trips)
            return numpy.broadcast_to(view[..., self._columns], [*trips, len(self._columns)])
        rows, which = self.listed(len(mask))
        found: Mask = numpy.all(mask[rows], axis=1)[which]
        return found

    def any_in(self, mask: Mask) -> bool:
        """Whether any of the elements of any instance is true."""
        view = self._view(mask)
        rows = mask[self.listed(len(mask))[0]] if view is None else view[..., self._columns]
        return bool(rows.any())

    def mark(self, mask: Mask, where: Mask | None = None) -> None:
        """Make the elements true, in all instances or in some."""
        view = self._view(mask)
        listed = where is not None and not isinstance(self._columns, slice)
        if view is None or listed:
            rows, which = self.listed(len(mask))
            mask[rows if where is None else rows[which[where]]] = True
        elif where is None:
            view[..., self._columns] = True
        else:
            trips = [loop.trips.offset for loop in self._path]
            repeated = tuple([k for k, n in enumerate(trips) if view.shape[k] < n])
            some: Mask = numpy.any(where.reshape(trips), axis=repeated, keepdims=True)
            numpy.copyto(view, True, where=some[..., None])

    def mark_once(self, mask: Mask) -> bool:
        """Make the elements true; gives whether each was false until its only instance came."""
        if not len(mask):
            return False
        view = self._view(mask)
        columns = self._columns
        if view is not None and _differ(view):
            once = [*view.shape[:-1]] == [loop.trips.offset for loop in self._outer]
            once = once and not view[..., columns].any()
            if not isinstance(columns, slice):
                once = once and bool((numpy.bincount(columns) <= 1).all())
            view[..., columns] = True
            return once
        rows, which = self.listed(len(mask))
        once = self._rows is not None and numpy.array_equal(rows, self._rows[0])  # they exist
        counts = numpy.bincount(rows[which].reshape(-1), minlength=1)
        once = once and not mask[rows].any() and bool(counts.max() <= 1)
        mask[rows] = True
        return once

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
        side by side: where tables lead to some of these, for all between.
        """
        tabled = isinstance(self._columns, slice) and self._index.tables
        if tabled or not mask.flags.c_contiguous:
            return None
        strides = dict(self._strides)
        shape, steps = [], []
        for loop in self._outer:
            if not loop.trips.is_fixed or loop.trips.offset < 1:
                return None
            step = strides.pop(loop, 0)
            shape.append(loop.trips.offset if step else 1)
            steps.append(step)
        if strides:
            return None
        try:
            shape.append(self._span)
            return numpy.ndarray(shape, numpy.bool_, mask, self._low, [*steps, 1])
        except (TypeError, ValueError):  # the mask has not all of them
            return None


def accessed(
    x: Access,
    path: Path,
    numbers: Callable[[Index, Path], Numbers] = nests.numbers,
) -> Elements:
    """What a statement in nested loops may access, in all its instances."""
    return Elements(x.index, path, x.size if isinstance(x, BY_VALUE) else 1, numbers)


def apart(accesses: Sequence[tuple[Access, Path]], around: Path) -> bool:
    """Whether each iteration of some loops accesses elements of its own, in all of them alike.

    Args:
        accesses: what accesses an array, with the loops in these loops that it stands in.
        around: the loops.

    Returns:
        True only if that is certain.
    """
    sizes = [x.size if isinstance(x, BY_VALUE) else 1 for x, _ in accesses]
    return lie_apart([(x.index, path) for x, path in accesses], around, max(sizes, default=1))


def lie_apart(indices: Sequence[tuple[Index, Path]], around: Path, size: int = 1) -> bool:
    """The same of indices, and as many elements from each on."""
    if not around:
        return True
    if not alike(indices, around):
        return False
    low, high = _range([index for index, _ in indices], around)
    span = high + size - low
    strides = dict(indices[0][0].strides)
    for loop in reversed(around):
        if abs(strides.get(loop, 0)) < span:
            return False
        span += abs(strides[loop]) * (loop.trips.offset - 1)
    return True


def alike(indices: Iterable[tuple[Index, Path]], around: Path) -> bool:
    """Whether indices are the same in each iteration of some loops, but for what is added to all.

    Args:
        indices: they, with the loops in these loops that they are in.
        around: the loops.

    Returns:
        True only if that is certain.
    """
    steps: set[tuple[int, ...]] = set()
    for index, path in indices:
        if not all(loop.trips.is_fixed and loop.trips.offset > 0 for loop in (*around, *path)):
            return False
        if any(not inner.loops().isdisjoint(around) for _, inner in index.tables):
            return False
        strides = dict(index.strides)
        steps.add(tuple([strides.get(loop, 0) for loop in around]))
    return len(steps) <= 1


def meet(
    some: Sequence[tuple[Index, Path]], others: Sequence[tuple[Index, Path]], around: Path
) -> bool:
    """Whether indices are ever the number that others are, in the same iteration of some loops.

    Args:
        some: indices of elements, with the loops in these loops that they are in.
        others: as many as there are, of elements of the same array.
        around: the loops.
    """
    both = *some, *others
    if both and alike(both, around):
        low, high = _range([index for index, _ in both], around)
        mask = numpy.zeros(high - low + 1, dtype=numpy.bool_)
        for index, path in others:
            Elements(_in_first(index, around).plus(-low), path).mark(mask)
        begins = [(_in_first(index, around).plus(-low), path) for index, path in some]
        return any(Elements(index, path).any_in(mask) for index, path in begins)
    run = nests.instance(around)
    pairs = [
        numpy.concatenate(
            [
                numpy.stack([nests.numbers(x, (*around, *path)) for x in (run, index)], axis=1)
                for index, path in group
            ]
            or [numpy.empty((0, 2), dtype=numpy.int64)]
        )
        for group in (some, others)
    ]
    size = max([int(x[:, 1].max(initial=0)) for x in pairs]) + 1
    here, there = [numpy.sort(x[:, 0] * size + x[:, 1]) for x in pairs]
    at = numpy.searchsorted(there, here)
    return bool((there[numpy.minimum(at, len(there) - 1)] == here).any()) if len(there) else False


def _in_first(index: Index, around: Path) -> Index:
    """An index in the first iteration of loops."""
    return nests.substituted(index, dict.fromkeys(around, Index()))


def _range(indices: Iterable[Index], around: Path) -> tuple[int, int]:
    """The least and the largest number that some indices may be in the first iteration of loops."""
    lows, highs = zip(*[nests.bounds(_in_first(x, around)) for x in indices], strict=True)
    return min(lows), max(highs)


def _differ(view: Mask) -> bool:
    """Whether it is certain that no two elements of a view are the same."""
    reach = 0
    for step, trips in sorted(zip(map(abs, view.strides), view.shape, strict=True)):
        if trips > 1:
            if step <= reach:
                return False
            reach += step * (trips - 1)
    return True
