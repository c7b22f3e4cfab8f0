"""NumPy's picks on arrays of nodes, and ``sorted``: values of floats, one trace, eager's gradients.

Inputs have ties, NaN, infinities and zeros of both signs. ``CHAINRULE_PICKS=200`` checks as many
inputs of each.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.sorting import LONGEST, sorted_of

COUNT = int(os.environ.get("CHAINRULE_PICKS", "8"))
GRID = np.array([-1.0, 0.0, 0.5, 2.0])

PICKS: dict[str, Callable[[Any, Any], Any]] = {
    "maximum": lambda a, b: np.maximum(a, b),
    "minimum": lambda a, b: np.minimum(a, 0.0),
    "fmax": lambda a, b: np.fmax(a, b),
    "fmin": lambda a, b: np.fmin(b, a),
    "amax": lambda a, b: np.amax(a),
    "max": lambda a, b: a.max(axis=0),
    "min": lambda a, b: np.min(a, axis=-1, keepdims=True),
    "ptp": lambda a, b: np.ptp(a, axis=0),
    "clip": lambda a, b: np.clip(a, -0.5, 1.0),
    "clip by b": lambda a, b: a.clip(b, 1.0),
    "where": lambda a, b: np.where(a > b, a, 2.0 * b),
    "where and": lambda a, b: np.where((a > b) & (a <= 1.0), a, -b),
    "where or": lambda a, b: np.where(np.logical_or(a > b, ~(a < 1.0)), a, 0.5),
    "where xor": lambda a, b: np.where((a > b) ^ (b == 0.0), a, b),
    "where not": lambda a, b: np.where(np.logical_not(a > b), a, b),
    "where equal": lambda a, b: np.where(a == b, a, 3.0 * b),
    "where different": lambda a, b: np.where(a != b, a, 3.0 * b),
    "where number": lambda a, b: np.where(a, b, 0.5),
    "where NaN": lambda a, b: np.where(np.isnan(a), b, a),
    "where finite": lambda a, b: np.where(np.isfinite(a), a, b),
    "where infinite": lambda a, b: np.where(np.isinf(a), b, 2.0),
    "where signbit": lambda a, b: np.where(np.signbit(a), b, a),
    "where any": lambda a, b: np.where((a > 1.0).any(), a, b),
    "where all": lambda a, b: np.where(np.all(a < 1.0, axis=0), a, b),
    "bools plus": lambda a, b: np.where((a > 0.0) + (b > 0.0), a, b),
    "bools times": lambda a, b: np.where((a > 0.0) * (b > 0.0), a, b),
    "set": lambda a, b: _set(a, b),
    "times bool": lambda a, b: b * (a > 0.0),
    "count": lambda a, b: (a > b).sum(axis=0) * b,
    "count_nonzero": lambda a, b: np.count_nonzero(a) * b,
    "share": lambda a, b: (a > 0.0).mean() * b,
    "as floats": lambda a, b: (a > 0.0).astype(float) * b,
    "cumsum of bools": lambda a, b: np.cumsum(a > 0.0) * 0.5,
    "sum where": lambda a, b: np.sum(b, where=a > 0.0),
    "isclose": lambda a, b: np.where(np.isclose(a, 0.5), a, b),
    "isin": lambda a, b: np.where(np.isin(a, [1.0, 0.5]), a, b),
    "sort": lambda a, b: np.sort(a),
    "sort axis 0": lambda a, b: np.sort(a, axis=0),
    "sort in place": lambda a, b: _sorted(a),
    "largest": lambda a, b: -np.sort(-a, axis=None)[:2],
    "argsort": lambda a, b: np.argsort(a, kind="stable") * 1.0,
    "by argsort": lambda a, b: b.ravel()[np.argsort(a, axis=None, kind="stable")],
    "take_along": lambda a, b: np.take_along_axis(b, np.argsort(a, axis=0, kind="stable"), axis=0),
    "partition": lambda a, b: np.sort(np.partition(a, 1, axis=None)[:2]),
    "argmax": lambda a, b: np.argmax(a) * 1.0,
    "by argmax": lambda a, b: b.ravel()[np.argmax(a)],
    "argmin": lambda a, b: a.argmin(axis=0) * 1.0,
    "by argmin": lambda a, b: b.ravel()[a.argmin()] * 2.0,
    "sign": lambda a, b: np.sign(a) * b,
    "abs": lambda a, b: np.abs(a),
    "heaviside": lambda a, b: np.heaviside(a, 0.5),
    "interp": lambda a, b: np.interp(a, GRID, GRID * GRID),
    "median": lambda a, b: np.median(a),
    "median axis": lambda a, b: np.median(a, axis=0),
    "quantile": lambda a, b: np.quantile(a, 0.25),
    "max accumulate": lambda a, b: np.maximum.accumulate(a, axis=0),
    "min accumulate": lambda a, b: np.minimum.accumulate(a.ravel()),
    "select": lambda a, b: np.select([a > 1.0, b > 0.0], [a, 2.0 * b], -a),
    "copyto": lambda a, b: _copied(a, b),
    "searchsorted": lambda a, b: np.searchsorted(GRID, a) * 1.0,
    "array_equal": lambda a, b: 1.0 * np.count_nonzero(a == b),
}
"""What must take one trace, as it gives what hangs on comparisons in each element alone."""

BY_PATH: dict[str, Callable[[Any, Any], Any]] = {
    "mask": lambda a, b: a[a > 0.0].sum(),
    "bools minus": lambda a, b: np.where(np.maximum(a > 0.0, b > 0.0), a, b),
    "mask of floats": lambda a, b: GRID[:2][(a.ravel() > 0.0)[:2]].sum() * b,
    "list by argmax": lambda a, b: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0][np.argmax(a)] * b,
    "floats by argsort": lambda a, b: (
        np.arange(6.0)[np.argsort(a, axis=None, kind="stable")[:1]] * b
    ),
    "compress": lambda a, b: np.compress(a.ravel() > 0.0, b.ravel()).sum(),
    "choose": lambda a, b: np.choose(a > 0.0, [a, 2.0 * b]),
    "max where": lambda a, b: np.max(a, where=a > 0.0, initial=0.0),
    "if any": lambda a, b: a if np.any(a > 1.0) else b,
    "unique": lambda a, b: np.unique(np.nan_to_num(a)).sum(),
    "nanmedian": lambda a, b: np.nanmedian(a),
    "nanmax": lambda a, b: np.nanmax(a),
    "nansum": lambda a, b: np.nansum(a),
    "nanmean": lambda a, b: np.nanmean(a),
    "nancumsum": lambda a, b: np.nancumsum(a),
    "isclose to NaN": lambda a, b: np.where(np.isclose(a, b, equal_nan=True), a, b),
    "all positive": lambda a, b: a * 2.0 if (a > 0.0).all() and not np.isnan(b).any() else b,
}
"""What may take a trace for each outcome."""


def _set(a: Any, b: Any) -> Any:
    changed = a.copy()
    changed[changed < 0.0] = 0.25
    return changed * b


def _sorted(a: Any) -> Any:
    flat = a.ravel().copy()
    flat.sort()
    return flat


def _copied(a: Any, b: Any) -> Any:
    changed = a.copy()
    np.copyto(changed, b, where=b > a)
    return changed


def _inputs(random: Random, shape: tuple[int, ...], odd: bool) -> Any:
    values = [-1.5, -1.0, -0.0, 0.0, 0.5, 1.0, 1.25, 2.0, 2.5]
    odds = [np.nan, np.inf, -np.inf]
    size = int(np.prod(shape))
    chosen = [
        random.choice(odds if odd and random.random() < 0.15 else values) for _ in range(size)
    ]
    return np.array(chosen).reshape(shape)


def _same(found: Any, expected: Any, exactly: bool = True) -> bool:
    """Equal, zeros of both signs apart; the sign of 0 is NumPy's own choice in some reductions."""
    close = np.array_equal if exactly else np.allclose
    return bool(close(np.asarray(found, float), np.asarray(expected, float), equal_nan=True))


def _check(name: str, pick: Callable[[Any, Any], Any]) -> int:
    """Compare on random inputs; gives how many traces there are."""
    random = Random(name)
    shape = random.choice([(6,), (2, 3), (3, 2)])
    for_each = [random.random() < 0.5 for _ in range(COUNT)]
    inputs = [(_inputs(random, shape, odd), _inputs(random, shape, odd)) for odd in for_each]
    weights = np.array([1.0, -2.0, 4.0, 0.5, 3.0, 8.0])

    def weighted(a: Any, b: Any) -> Any:
        found = pick(a, b)
        flat = np.ravel(found)
        return (flat * weights[: len(flat)]).sum() + 0.0 * 1.0

    derived = cr.value_and_grad(weighted, (0, 1))
    lanes, values = cr.compile(cr.vmap(derived)), cr.compile(cr.vmap(lambda a, b: 1.0 * pick(a, b)))
    left, right = (np.array(side) for side in zip(*inputs, strict=True))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        assert _same(values(left, right), [1.0 * pick(a, b) for a, b in inputs]), name
        totals, slopes = lanes(left, right)
        for k, (a, b) in enumerate(inputs):
            total, (by_a, by_b) = derived(a, b)
            assert _same(totals[k], weighted(a, b), exactly=False), (name, a, b)
            assert _same(totals[k], total, exactly=False), (name, a, b)
            assert _same([slopes[0][k], slopes[1][k]], [by_a, by_b], exactly=False), (name, a, b)
    return lanes.stats().traces


@pytest.mark.parametrize("name", PICKS)
def test_picks_without_branches(name: str) -> None:
    """One trace holds for all inputs."""
    assert _check(name, PICKS[name]) == 1


@pytest.mark.parametrize("name", BY_PATH)
def test_picks_with_branches(name: str) -> None:
    """What needs bools gets them."""
    _check(name, BY_PATH[name])


@pytest.mark.parametrize(
    "options", [{}, {"reverse": True}, {"key": abs}, {"key": lambda x: -x * x}]
)
@pytest.mark.parametrize("length", [1, 2, 5, 9, LONGEST + 1])
def test_sorted(options: dict[str, Any], length: int) -> None:
    """As Python's, which of equal numbers comes first included."""
    random = Random(length)
    weights = [random.choice([0.5, 1.0, 2.0, -4.0]) for _ in range(length)]

    def total(by: Any) -> Any:
        return lambda x: sum(w * y for w, y in zip(weights, by(list(x), **options), strict=True))

    count = 3 if length > LONGEST else 40
    inputs = np.array([_inputs(random, (length,), odd=k % 4 == 0) for k in range(count)])
    compiled = cr.compile(cr.vmap(cr.value_and_grad(total(sorted_of))))
    values, slopes = compiled(inputs)
    for k, x in enumerate(inputs):
        expected, gradient = cr.value_and_grad(total(sorted))(x)
        assert _same(values[k], expected), x
        assert _same(slopes[k], gradient), x
    numbers = inputs[~np.isnan(inputs).any(axis=1)]
    if 1 < length <= LONGEST:
        compiled = cr.compile(cr.vmap(cr.value_and_grad(total(sorted_of))))
        compiled(numbers)
        assert compiled.stats().traces == 1
