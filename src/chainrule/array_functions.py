"""NumPy's functions that are no ufuncs, as they are on arrays of nodes."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable
from typing import Any, Final

import numpy

from chainrule import array_conditions as conditions
from chainrule import array_order as order
from chainrule import math
from chainrule.array_elements import ELEMENTS, is_nan
from chainrule.node import Node
from chainrule.picks import chosen
from chainrule.tracing import PROGRESS


def _elementwise(function: Callable[..., Any], *arrays: Any) -> Any:
    return numpy.frompyfunc(function, len(arrays), 1)(*arrays)


def _clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, **given: Any) -> Any:
    low, high = given.pop("min", a_min), given.pop("max", a_max)
    _check_none(numpy.clip, given)
    result = a if low is None else numpy.maximum(a, low)
    result = result if high is None else numpy.minimum(result, high)
    return +result if out is None else numpy.positive(result, out=out)


def where(condition: Any, *choices: Any) -> Any:
    """``np.where``; NotImplemented for conditions that are bools."""
    if not choices:
        return order.nonzero(condition)
    if not (isinstance(condition, Node) or numpy.asarray(condition).dtype == object):
        return NotImplemented
    if len(choices) == 2 and conditions.are_recorded():  # no branch
        return _elementwise(chosen, conditions.of(condition), *choices)
    return numpy.where(conditions.truths(condition), *choices)


def _select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    if not conditions.are_recorded() or not any(map(conditions.hold, condlist)):
        return NotImplemented
    if len(condlist) != len(choicelist):
        raise ValueError("list of cases must be same length as list of conditions")
    found = default
    for condition, choice in zip(condlist[::-1], choicelist[::-1], strict=True):
        found = numpy.where(condition, choice, found)
    return found


def _copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> Any:
    if not conditions.hold(where) or dst.dtype != object:
        return NotImplemented
    dst[...] = numpy.where(where, src, dst)
    return None


def _take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    if numpy.asarray(indices).dtype != object:
        return NotImplemented
    recorder: Any = PROGRESS.recorder
    if axis is None:
        arr, axis = numpy.ravel(arr), 0
    values, places = numpy.moveaxis(arr, axis, -1), numpy.moveaxis(indices, axis, -1)
    shape = numpy.broadcast_shapes(values.shape[:-1], places.shape[:-1])
    values = numpy.broadcast_to(values, shape + values.shape[-1:])
    found = numpy.array(numpy.broadcast_to(places, shape + places.shape[-1:]))
    for at in numpy.ndindex(found.shape):
        found[at] = recorder.looked_up(values[at[:-1]], found[at])
    return numpy.moveaxis(found, -1, axis)


def _sinc(x: Any) -> Any:
    """sin(πx) / (πx), near 0 by its series: all derivatives are right there."""
    t = math.pi * x
    square = t * t
    series: Any = 0.0
    for n in range(11, 0, -1):
        series = (1.0 + series) * square / (-2.0 * n * (2 * n + 1))
    return math.where(math.fabs(t) < 1, 1.0 + series, ELEMENTS[numpy.divide](math.sin(t), t))


def _nan_to_num(x: Any, nan: Any, posinf: Any, neginf: Any) -> Any:
    finite = math.where(math.isnan(x), nan, x)
    return math.where(x == math.inf, posinf, math.where(x == -math.inf, neginf, finite))


def _sinc_of(x: Any) -> Any:
    return _elementwise(_sinc, x)


def _nan_to_num_of(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    limits = numpy.finfo(numpy.float64)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    result = _elementwise(lambda element: _nan_to_num(element, nan, high, low), x)
    if not copy:
        x[...] = result
        return x
    return result


def _interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    if period is not None:
        raise TypeError("np.interp of nodes takes no period; write x % period")
    at, values = numpy.asarray(xp).tolist(), numpy.asarray(fp).tolist()
    if not at or len(at) != len(values):
        raise ValueError(
            f"np.interp takes as many values as points, and at least one, not {len(at)} points and"
            f" {len(values)} values"
        )
    below = values[0] if left is None else left
    above = values[-1] if right is None else right

    if order.is_recorded(x, xp, fp) and len(at) > 1:
        return _elementwise(lambda u: _looked_up(u, at, values, below, above), x)

    def element(u: Any) -> Any:
        if is_nan(u):
            return u
        i = bisect.bisect_right(at, u) - 1
        if i < 0:
            return below
        if i >= len(at) - 1:
            return values[-1] if i == len(at) - 1 and not at[-1] < u else above
        slope = ELEMENTS[numpy.divide](values[i + 1] - values[i], at[i + 1] - at[i])
        return slope * (u - at[i]) + values[i]

    return _elementwise(element, x)


def _looked_up(u: Any, at: list[Any], values: list[Any], below: Any, above: Any) -> Any:
    """The value at a point between others in a trace, whatever the numbers are."""
    recorder: Any = PROGRESS.recorder
    last = len(at) - 1
    i = recorder.searchsorted(numpy.asarray(at), u, True) - 1
    i = (
        max(min(i, last - 1), 0)
        if isinstance(i, int)
        else math.maximum(math.minimum(i, last - 1), 0)
    )
    x, y, x_next, y_next = (recorder.looked_up(z, k) for k in (i, i + 1) for z in (at, values))
    slope = ELEMENTS[numpy.divide](y_next - y, x_next - x)
    between = slope * (u - x) + y
    beyond = math.where(u == at[last], values[last], above)
    return math.where(
        u < at[0], below, math.where(u < at[last], between, math.where(u == u, beyond, u))
    )


def _dot(a: Any, b: Any, out: Any = None) -> Any:
    """A large product in a trace, which is recorded as one; NotImplemented for others."""
    recorder: Any = PROGRESS.recorder
    if recorder is None or out is not None or max(numpy.ndim(a), numpy.ndim(b)) > 2:
        return NotImplemented
    found = recorder.loop("product", a, b)
    return NotImplemented if found is None else found[0]


def _inner(a: Any, b: Any) -> Any:
    return _dot(a, numpy.transpose(b)) if PROGRESS.recorder is not None else NotImplemented


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """The norms that are sums and maxima; NumPy's own would lose a NaN."""
    rank = numpy.ndim(x) if axis is None else numpy.size(axis)
    size = abs(x)
    if ord is None or (rank == 2 and ord == "fro"):
        return numpy.sqrt(numpy.sum(size * size, axis=axis, keepdims=keepdims))
    if rank == 1:
        if ord == math.inf:
            return numpy.max(size, axis=axis, keepdims=keepdims)
        if ord == -math.inf:
            return numpy.min(size, axis=axis, keepdims=keepdims)
        if ord == 0:
            return numpy.sum((size != 0).astype(float), axis=axis, keepdims=keepdims)
        if ord == 1:
            return numpy.sum(size, axis=axis, keepdims=keepdims)
        if ord == 2:
            return numpy.sqrt(numpy.sum(size * size, axis=axis, keepdims=keepdims))
        if not isinstance(ord, str):
            return numpy.sum(size**ord, axis=axis, keepdims=keepdims) ** (1.0 / ord)
    if rank == 2 and ord in (1, -1, math.inf, -math.inf):
        axes = (-2, -1) if axis is None else axis
        sums = numpy.sum(size, axis=axes[0 if abs(ord) == 1 else 1], keepdims=True)
        extreme = numpy.max if ord > 0 else numpy.min
        result = extreme(sums, axis=tuple(axes), keepdims=True)
        return result if keepdims else numpy.squeeze(result, axis=tuple(axes))
    raise TypeError(
        f"np.linalg.norm of nodes has no ord={ord!r} here: singular values are computed by LAPACK,"
        " which knows only floats; use chainrule.custom_gradient"
    )


def _check_none(function: Any, given: dict[str, Any]) -> None:
    if given:
        raise TypeError(f"np.{function.__name__} of nodes takes no {', '.join(given)}")


def _vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    if axis is not None:
        return _norm(x, ord, axis, keepdims)
    norm = _norm(numpy.ravel(x), ord)
    return numpy.full((1,) * numpy.ndim(x), norm, dtype=object) if keepdims else norm


def _refuse(name: str, *args: Any, **kwargs: Any) -> Any:
    raise TypeError(f"np.{name} does not work on nodes: {advice_on(name, 'numpy')}")


FUNCTIONS: Final[dict[Any, Callable[..., Any]]] = {
    numpy.clip: _clip,
    numpy.where: where,
    numpy.select: _select,
    numpy.copyto: _copyto,
    numpy.take_along_axis: _take_along_axis,
    numpy.sinc: _sinc_of,
    numpy.nan_to_num: _nan_to_num_of,
    numpy.interp: _interp,
    numpy.linalg.norm: _norm,
    numpy.dot: _dot,
    numpy.inner: _inner,
    numpy.searchsorted: order.searchsorted,
    numpy.digitize: order.digitize,
    numpy.median: order.median,
    numpy.quantile: order.quantile,
    numpy.percentile: order.percentile,
    numpy.nanmedian: order.nanmedian,
    numpy.nanquantile: order.nanquantile,
    numpy.nanpercentile: order.nanpercentile,
    numpy.nanmax: order.nanmax,
    numpy.nanmin: order.nanmin,
    numpy.unique: order.unique,
    numpy.isin: order.isin,
    numpy.setdiff1d: order.setdiff1d,
    numpy.array_equal: order.array_equal,
    numpy.array_equiv: order.array_equiv,
    numpy.count_nonzero: order.count_nonzero,
}
"""What takes the place of NumPy's own implementation; NotImplemented goes back to that."""

for _refused in (numpy.histogram, numpy.lexsort):  # these would lose a NaN
    FUNCTIONS[_refused] = functools.partial(_refuse, _refused.__name__)
if hasattr(numpy.linalg, "vector_norm"):  # NumPy 2
    FUNCTIONS[numpy.linalg.vector_norm] = _vector_norm

TAKE_CONDITIONS: Final = frozenset(
    [
        *("all", "any", "argmax", "argmin", "average", "broadcast_arrays", "broadcast_to", "copy"),
        *("atleast_1d", "atleast_2d", "atleast_3d", "concatenate", "cumsum", "dot", "dstack"),
        *(
            "einsum",
            "expand_dims",
            "flip",
            "fliplr",
            "flipud",
            "hstack",
            "inner",
            "mean",
            "moveaxis",
        ),
        *("outer", "ravel", "repeat", "reshape", "roll", "rollaxis", "rot90", "split", "squeeze"),
        *("stack", "sum", "swapaxes", "tensordot", "tile", "transpose", "vdot", "vstack"),
    ]
)
"""The names of those that do to arrays of comparisons what they do to arrays of bools."""


# What does not work

_LAPACK = (
    "it calls LAPACK, which knows only floats; write it as loops over the elements"
    " (elimination, Cholesky), or give it its derivative with chainrule.custom_gradient"
)
_ADVICE: Final[dict[str, str]] = {
    "cov": "write d = a - a.mean(); d @ d / (len(d) - 1)",
    "corrcoef": "write it with d = a - a.mean() and d @ d",
    "gradient": "write the differences: (a[2:] - a[:-2]) / (2 * h)",
    "histogram": "count with comparisons: ((a >= low) & (a < high)).sum()",
    "lexsort": "use np.argsort, which is stable, by the last key first",
    "i0": "write its series, or use chainrule.custom_gradient",
    "angle": "a node is real; use np.arctan2",
    "nextafter": "use .data: it has no derivative",
    "spacing": "use .data: it has no derivative",
    "frexp": "use .data: it has no derivative",
}
_OTHERWISE = (
    "write it as loops over the elements, or give it its derivative with chainrule.custom_gradient"
)


def has_advice(name: str) -> bool:
    """Whether it is known what to write in place of a function."""
    return name in _ADVICE


def advice_on(name: str, module: str) -> str:
    """What to write in place of a function that does not work on nodes."""
    if module == "numpy.linalg":
        return _LAPACK
    if name in _ADVICE:
        return _ADVICE[name]
    return f"chainrule.math has {name}" if name in math.__all__ else _OTHERWISE
