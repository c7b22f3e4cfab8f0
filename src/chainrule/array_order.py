"""Order among nodes and numbers: sorting, quantiles and sets, with NaN last as NumPy has it."""

from __future__ import annotations

import bisect
import itertools
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy

from chainrule import array_conditions as conditions
from chainrule import math
from chainrule.array_elements import ELEMENTS, is_nan, objects
from chainrule.comparing import negated
from chainrule.node import Node
from chainrule.picks import chosen
from chainrule.sorting import LONGEST, exchanged, with_nan_last
from chainrule.tracing import PROGRESS

Lane = list[Any]
_equal = ELEMENTS[numpy.equal]


def is_recorded(*arrays: Any) -> bool:
    """Whether a trace records what is done with some elements: then nothing may hang on them."""
    if PROGRESS.recorder is None:
        return False
    return any(isinstance(x, Node) for array in arrays for x in numpy.asarray(array).flat)


def _is_picked(lane: Lane) -> bool:
    """Whether the order of elements is found without a branch."""
    return len(lane) <= LONGEST and is_recorded(lane) and conditions.are_recorded()


def ordered(lane: Lane) -> Lane:
    """The elements in ascending order, NaN last; equal ones stay in theirs."""
    if _is_picked(lane):
        lane = list(lane)
        exchanged([lane], with_nan_last)
        return lane
    return [lane[i] for i in order_of(lane)]


def order_of(lane: Lane) -> Lane:
    """The positions of elements in ascending order, NaN last; equal ones stay in theirs."""
    if _is_picked(lane):
        positions: Lane = list(range(len(lane)))
        exchanged([list(lane), positions], with_nan_last)
        return positions
    missing = [is_nan(x) for x in lane]
    numbers = [i for i in range(len(lane)) if not missing[i]]
    return sorted(numbers, key=lane.__getitem__) + [i for i in range(len(lane)) if missing[i]]


def extreme_of(lane: Lane, beats: Callable[[Any, Any], Any]) -> Any:
    """The position of the first largest (or smallest) element, or of the first NaN."""
    best: Any = 0
    if _is_picked(lane):
        found = lane[0]
        for i, x in enumerate(lane[1:], 1):
            better = (beats(x, found) | math.isnan(x)) & (found == found)
            best, found = chosen(better, i, best), chosen(better, x, found)
        return best
    for i, x in enumerate(lane):
        if is_nan(x):
            return i
        if beats(x, lane[best]):
            best = i
    return best


def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    """Where values belong in a sorted array."""
    if side not in ("left", "right"):
        raise ValueError(f"side is 'left' or 'right', not {side!r}")
    table = numpy.asarray(a) if sorter is None else numpy.asarray(a)[sorter]
    if is_recorded(table, v):
        recorder: Any = PROGRESS.recorder
        return recorder.searchsorted(table, v, side == "right")
    lane = table.tolist()
    numbers = lane[: next((i for i, x in enumerate(lane) if is_nan(x)), len(lane))]
    bisected = bisect.bisect_left if side == "left" else bisect.bisect_right

    def place(x: Any) -> int:
        if is_nan(x):
            return len(numbers) if side == "left" else len(lane)
        return bisected(numbers, x)

    places = numpy.frompyfunc(place, 1, 1)(v)
    return places.astype(numpy.intp) if isinstance(places, numpy.ndarray) else places


def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """The number of the bin that each value falls into."""
    edges = numpy.asarray(bins).tolist()
    falling = len(edges) > 1 and bool(edges[0] > edges[-1])
    rising = edges[::-1] if falling else edges
    if not all(bool(low <= high) for low, high in itertools.pairwise(rising)):
        raise ValueError("np.digitize takes bins that rise or fall")
    places = searchsorted(rising, x, "left" if right else "right")
    return len(edges) - places if falling else places


# Quantiles


def median(
    a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False
) -> Any:
    """The middle element, or the mean of the two in the middle; NaN where there is one."""
    return _over_lanes(_poisoned(_middle), a, axis, keepdims)


def nanmedian(
    a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False
) -> Any:
    """The median of what is not NaN."""
    return _over_lanes(_without_nan(_middle), a, axis, keepdims)


def quantile(a: Any, q: Any, axis: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Quantiles by linear interpolation; NaN where there is one."""
    return _quantiles(_poisoned, a, q, axis, args, kwargs)


def percentile(a: Any, q: Any, axis: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Percentiles by linear interpolation; NaN where there is one."""
    return _quantiles(_poisoned, a, numpy.true_divide(q, 100), axis, args, kwargs)


def nanquantile(a: Any, q: Any, axis: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Quantiles of what is not NaN."""
    return _quantiles(_without_nan, a, q, axis, args, kwargs)


def nanpercentile(a: Any, q: Any, axis: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Percentiles of what is not NaN."""
    return _quantiles(_without_nan, a, numpy.true_divide(q, 100), axis, args, kwargs)


def _quantiles(guarded: Any, a: Any, q: Any, axis: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    keepdims = kwargs.pop("keepdims", False)
    if args or kwargs.pop("method", "linear") != "linear" or kwargs:
        raise TypeError("quantiles of nodes are by method='linear', without out= and weights=")
    wanted = numpy.asarray(q, dtype=float)
    if not ((wanted >= 0) & (wanted <= 1)).all():
        raise ValueError(f"a quantile is from 0 to 1, a percentile from 0 to 100, not {q}")
    found = [
        _over_lanes(guarded(lambda lane, p=p: _at(lane, p)), a, axis, keepdims)
        for p in wanted.ravel().tolist()
    ]
    return numpy.stack(found).reshape(wanted.shape + found[0].shape)


def _middle(ordered: Lane) -> Any:
    n = len(ordered)
    middle = ordered[n // 2]
    return middle if n % 2 else (ordered[n // 2 - 1] + middle) / 2


def _at(ordered: Lane, part: float) -> Any:
    place = (len(ordered) - 1) * part
    i = int(place)
    low, high, t = ordered[i], ordered[min(i + 1, len(ordered) - 1)], place - i
    return low + (high - low) * t if t < 0.5 else high - (high - low) * (1 - t)


def _poisoned(statistic: Callable[[Lane], Any]) -> Callable[[Lane], Any]:
    """A statistic of sorted elements, NaN with NaN as gradient where there is one among them."""

    def guarded(lane: Lane) -> Any:
        if not lane:
            return numpy.nan
        if _is_picked(lane):
            missing = reduce(operator.or_, map(math.isnan, lane))
            return chosen(missing, numpy.nan * sum(lane), statistic(ordered(lane)))
        return numpy.nan * sum(lane) if any(map(is_nan, lane)) else statistic(ordered(lane))

    return guarded


def _without_nan(statistic: Callable[[Lane], Any]) -> Callable[[Lane], Any]:
    """A statistic of the sorted elements that are not NaN."""

    def guarded(lane: Lane) -> Any:
        numbers = [x for x in lane if not is_nan(x)]
        return statistic(ordered(numbers)) if numbers else numpy.nan

    return guarded


def _over_lanes(statistic: Callable[[Lane], Any], a: Any, axis: Any, keepdims: bool) -> Any:
    """A statistic of the elements along some axes (None for all): an array of objects."""
    values = numpy.asarray(a, dtype=object)
    axes = range(values.ndim) if axis is None else numpy.atleast_1d(axis).tolist()
    reduced = sorted(i % values.ndim for i in axes)
    kept = [i for i in range(values.ndim) if i not in reduced]
    shape = [values.shape[i] for i in kept]
    lanes = numpy.transpose(values, kept + reduced).reshape(int(numpy.prod(shape)), -1)
    found = objects([statistic(lane) for lane in lanes.tolist()])
    if keepdims:
        shape = [1 if i in reduced else n for i, n in enumerate(values.shape)]
    return found.reshape(shape)


# What is not NaN


def nanmax(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False, **given: Any) -> Any:
    """The largest element that is not NaN."""
    return numpy.fmax.reduce(a, axis=axis, out=out, keepdims=keepdims, **given)


def nanmin(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False, **given: Any) -> Any:
    """The smallest element that is not NaN."""
    return numpy.fmin.reduce(a, axis=axis, out=out, keepdims=keepdims, **given)


# Sets


def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Any = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    """The different values in ascending order, of equal ones the first element."""
    if axis is not None:
        raise TypeError("np.unique of nodes takes no axis; it compares numbers, not rows")
    values = numpy.asarray(ar)
    lane = values.ravel().tolist()
    order = order_of(lane)
    groups: list[list[int]] = []
    for i in order:
        if groups and _same(lane[groups[-1][0]], lane[i], equal_nan):
            groups[-1].append(i)
        else:
            groups.append([i])
    first = [group[0] for group in groups]
    result: list[Any] = [objects([lane[i] for i in first])]
    if return_index:
        result.append(numpy.array(first, dtype=numpy.intp))
    if return_inverse:
        inverse = numpy.empty(len(lane), dtype=numpy.intp)
        for number, group in enumerate(groups):
            inverse[group] = number
        result.append(inverse.reshape(values.shape))
    if return_counts:
        result.append(numpy.array([len(group) for group in groups], dtype=numpy.intp))
    return result[0] if len(result) == 1 else tuple(result)


def _same(x: Any, y: Any, equal_nan: bool) -> bool:
    if is_nan(x) or is_nan(y):
        return equal_nan and is_nan(x) and is_nan(y)
    return bool(x <= y) and bool(x >= y)


def isin(
    element: Any,
    test_elements: Any,
    assume_unique: bool = False,
    invert: bool = False,
    *,
    kind: str | None = None,
) -> Any:
    """For each element whether its value is among some others."""
    others = numpy.asarray(test_elements).ravel().tolist()

    def is_in(x: Any) -> Any:
        inside = reduce(operator.or_, (_equal(x, y) for y in others), False)
        return negated(inside) if invert else inside

    return conditions.found(numpy.frompyfunc(is_in, 1, 1)(element))


def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    """The different values of an array that are not in another one."""
    values = numpy.asarray(ar1).ravel() if assume_unique else unique(ar1)
    return values[isin(values, ar2, invert=True)]


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    """Whether shape and values are equal."""
    first, second = numpy.asarray(a1), numpy.asarray(a2)
    if first.shape != second.shape:
        return False
    pairs = zip(first.ravel().tolist(), second.ravel().tolist(), strict=True)
    if equal_nan:
        return all(_same(x, y, True) for x, y in pairs)
    return bool(reduce(operator.and_, itertools.starmap(_equal, pairs), True))


def array_equiv(a1: Any, a2: Any) -> bool:
    """Whether the values are equal, after broadcasting."""
    try:
        first, second = numpy.broadcast_arrays(a1, a2)
    except ValueError:
        return False
    return array_equal(first, second)


def nonzero(a: Any) -> tuple[Any, ...]:
    """The positions of the elements that are not 0."""
    found: tuple[Any, ...] = conditions.truths(a).nonzero()
    return found


def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """How many elements are not 0."""
    if conditions.are_recorded():
        counted: Any = conditions.numbers(conditions.of(numpy.asarray(a)))
        return counted.sum(axis=axis, keepdims=keepdims)
    return numpy.count_nonzero(conditions.truths(a), axis=axis, keepdims=keepdims)
