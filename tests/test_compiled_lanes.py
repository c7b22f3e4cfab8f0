"""Many lanes: branches taken lane by lane, layouts in memory, sums, threads, other machines."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import math as crmath
from chainrule.jit.paths import Paths

LANES = 1_000_000


# Branches and a loop, lane by lane


def branching(a: float, b: float, c: float) -> float:
    """Nested branches, the first one often a near tie, and Newton's method for a root."""
    s = a * b + c
    if s > 1.0:
        if s * s - a < b:
            y = s * s + 1.0 / (b + 2.0)
        elif a > b:
            y = (s - a) * (s - a) + 0.5
        else:
            y = s + c * c
    elif s == 1.0:
        y = 3.0 - a
    else:
        y = 2.0 - s if a < 0.5 else (s - b) / (a + 1.0) + 4.0
    root = y
    while abs(root * root - y) > 1e-13 * y:
        root = 0.5 * (root + y / root)
    result: float = root * a - crmath.sqrt(y + b * b)
    return result


def branching_by_numpy(a: Any, b: Any, c: Any) -> Any:
    """The same, all lanes at once."""
    s = a * b + c
    high = np.where(
        s * s - a < b,
        s * s + 1.0 / (b + 2.0),
        np.where(a > b, (s - a) * (s - a) + 0.5, s + c * c),
    )
    low = np.where(a < 0.5, 2.0 - s, (s - b) / (a + 1.0) + 4.0)
    y = np.where(s > 1.0, high, np.where(s == 1.0, 3.0 - a, low))
    root = y.copy()
    active = np.abs(root * root - y) > 1e-13 * y
    while active.any():
        root = np.where(active, 0.5 * (root + y / root), root)
        active = np.abs(root * root - y) > 1e-13 * y
    return root * a - np.sqrt(y + b * b)


def near_ties(lanes: int) -> tuple[Any, Any, Any]:
    """Inputs, of which half bring a * b + c to within some units in the last place of 1.

    With the product and the sum rounded once, in a fused multiplication and addition, many of
    these would take another branch.
    """
    random = np.random.default_rng(20)
    a = random.uniform(0.0, 1.0, lanes)
    b = random.uniform(0.0, 1.0, lanes)
    c = random.uniform(-0.5, 1.5, lanes)
    half = lanes // 2
    c[:half] = 1.0 - a[:half] * b[:half]
    c[:half] += random.integers(-2, 3, half) * np.spacing(c[:half])
    return a, b, c


def test_lanes_take_their_own_branches() -> None:
    """Each of many lanes gives what plain floats give, to the last bit, near ties included."""
    a, b, c = near_ties(LANES)
    f = cr.compile(cr.vmap(branching), rewrite=False)
    found = f(a, b, c)
    expected = branching_by_numpy(a, b, c)
    assert np.array_equal(found, expected)
    some = np.random.default_rng(21).choice(LANES, 200_000, replace=False)
    plain = list(map(branching, a[some].tolist(), b[some].tolist(), c[some].tolist()))
    assert found[some].tolist() == plain
    s = a * b + c
    assert (s > 1.0).any()
    assert (s == 1.0).any()
    assert (s < 1.0).any()
    assert f.stats().traces >= 10
    assert not f.stats().eager


def test_a_fused_product_would_take_other_branches() -> None:
    """The near ties of the test above decide between rounding once and twice."""
    from fractions import Fraction

    a, b, c = near_ties(2000)
    differing = 0
    for x, y, z in zip(a[:1000].tolist(), b[:1000].tolist(), c[:1000].tolist(), strict=True):
        once = Fraction(x) * Fraction(y) + Fraction(z)
        differing += (once > 1) != (x * y + z > 1.0)
    assert differing > 100


def test_gradients_of_lanes_on_their_own_branches() -> None:
    """The values are those of eager code to the last bit; derivatives nearly, second ones too."""
    a, b, c = near_ties(1500)
    first = cr.value_and_grad(branching, argnums=(0, 1, 2))
    second = cr.hessian(branching, argnums=(0, 1, 2))
    values, slopes = cr.compile(cr.vmap(first))(a, b, c)
    matrix = cr.compile(cr.vmap(second))(a, b, c)
    for i in range(0, 1500, 5):
        point = float(a[i]), float(b[i]), float(c[i])
        value, slope = first(*point)
        assert values[i] == value
        np.testing.assert_allclose([g[i] for g in slopes], slope, rtol=1e-14, atol=1e-14)
        found = [[x[i] for x in row] for row in matrix]
        np.testing.assert_allclose(found, second(*point), rtol=1e-14, atol=1e-14)


def above(x: Any, limit: Any) -> Any:
    """Branches on a value whose last digit may be another in machine code."""
    if crmath.exp(x) > limit:
        return x + 1.0
    if crmath.exp(x) < limit:
        return x - 1.0
    return x


def test_the_values_of_the_machine_code_decide() -> None:
    """Where its last digit is not that of eager code, the branch is the one it shows.

    Recording what follows with eager values would lead back to the branch that it left.
    """
    x = np.random.default_rng(2).uniform(-3.0, 3.0, 20_000)
    mine = cr.compile(cr.vmap(crmath.exp))(x)
    others = np.array([crmath.exp(v) for v in x.tolist()])
    for limit in (mine, others, np.maximum(mine, others), np.minimum(mine, others)):
        expected = np.where(mine > limit, x + 1.0, np.where(mine < limit, x - 1.0, x))
        assert np.array_equal(cr.compile(cr.vmap(above))(x, limit), expected)
        differing = np.flatnonzero(mine != others)[:50]
        one = cr.compile(above)
        assert [one(x[i], limit[i]) for i in differing] == expected[differing].tolist()


def knock_out(path: Any, barrier: float) -> Any:
    """A sum that ends where it crosses a barrier: as many ways through it as steps."""
    total = 0.0
    for x in path:
        total = total + x
        if total > barrier:
            return total * total
    return total


def test_a_path_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces share what they have in common, and are no more than there are ways."""
    monkeypatch.setattr(Paths, "pays", lambda self, prefix, runs=1: True)
    random = np.random.default_rng(3)
    paths = random.normal(0.05, 1.0, (4000, 40))
    by_lane = cr.vmap(cr.value_and_grad(knock_out, argnums=(0, 1)), in_axes=(0, None))
    f = cr.compile(by_lane, rewrite=False)
    values, (by_path, by_barrier) = f(paths, 3.0)
    totals = np.cumsum(paths, axis=1)
    for i in range(4000):
        total = 0.0
        for x in paths[i].tolist():
            total += x
            if total > 3.0:
                break
        crossed = np.flatnonzero(totals[i] > 3.0)
        steps = crossed[0] + 1 if len(crossed) else 40
        assert values[i] == (total * total if len(crossed) else total)
        slope = 2.0 * total if len(crossed) else 1.0
        assert by_path[i].tolist() == [slope] * steps + [0.0] * (40 - steps)
    assert not by_barrier.any()
    assert 30 <= f.stats().traces <= 41


# A value does not depend on its lane


def curved(x: Any, y: Any) -> Any:
    """Something of all kinds of vector mathematics."""
    if x * y > 1.0:
        return crmath.exp(-x * x) * crmath.erf(y) + crmath.atan2(x, y)
    return crmath.sin(x) * crmath.tanh(y) + crmath.gamma(1.5 + x * x) + crmath.fsum([x, y, 0.1])


COUNTS = [*range(1, 21), 31, 32, 33, 1023, 1024, 1025, 2049]


@pytest.mark.parametrize("kind", ["value", "gradient"])
def test_any_number_of_lanes(kind: str) -> None:
    """The first lanes of many are the lanes of few, and of a single point, to the last bit."""
    random = np.random.default_rng(4)
    x, y = random.normal(size=(2, 2049)) * 1.5
    g = curved if kind == "value" else cr.grad(curved)
    f = cr.compile(cr.vmap(g))
    every = f(x, y)
    point = cr.compile(g)
    assert [point(u, v) for u, v in zip(x[:50].tolist(), y[:50].tolist(), strict=True)] == list(
        every[:50]
    )
    for count in COUNTS:
        assert np.array_equal(f(x[:count], y[:count]), every[:count])
        assert np.array_equal(f(x[2049 - count :], y[2049 - count :]), every[2049 - count :])
        order = random.permutation(count)
        assert np.array_equal(f(x[order], y[order]), every[order])


# Layouts in memory


def weighted(row: Any, k: Any) -> Any:
    """Takes the order of elements into account."""
    total = k * 0.0
    for i, x in enumerate(row):
        total = total + (i + 1.0) * x * k
    return total, row * k


def layouts(table: Any) -> dict[str, Any]:
    """The same (lanes, 3) array in all kinds of memory."""
    lanes = len(table)
    wide = np.zeros((2 * lanes, 7))
    wide[::2, 1:7:2] = table
    unaligned = np.zeros(lanes * 24 + 1, dtype=np.uint8)[1:].view(np.float64).reshape(lanes, 3)
    unaligned[:] = table
    record = np.zeros(lanes, dtype=[("pad", "i2"), ("x", "f8", (3,))])
    record["x"] = table
    return {
        "C": np.ascontiguousarray(table),
        "Fortran": np.asfortranarray(table),
        "strided": wide[::2, 1:7:2],
        "backwards": np.ascontiguousarray(table[::-1])[::-1],
        "backwards in rows": np.ascontiguousarray(table[:, ::-1])[:, ::-1],
        "unaligned": unaligned,
        "record": record["x"],
        "other byte order": table.astype(">f8"),
        "read-only": np.broadcast_to(table, table.shape),
        "long double": table.astype(np.longdouble),
    }


@pytest.mark.parametrize("lanes", [1, 7, 8, 1025])
@pytest.mark.parametrize("layout", layouts(np.zeros((2, 3))))
def test_any_layout(layout: str, lanes: int) -> None:
    """All of them give the same."""
    random = np.random.default_rng(5)
    table = random.normal(size=(lanes, 3))
    k = random.normal(size=lanes)
    totals, rows = cr.compile(cr.vmap(weighted))(layouts(table)[layout], k)
    expected = ((0.0 + 1.0 * table[:, 0] * k) + 2.0 * table[:, 1] * k) + 3.0 * table[:, 2] * k
    assert np.array_equal(totals, expected)
    assert np.array_equal(rows, table * k[:, None])


@pytest.mark.parametrize("lanes", [1, 9, 1030])
def test_axes(lanes: int) -> None:
    """Lanes along any axis in, any axis out; matrices; what all lanes share."""
    random = np.random.default_rng(6)
    cube = random.normal(size=(4, lanes, 3))
    shared = random.normal(size=(4, 3))

    def f(m: Any, w: Any, k: Any) -> Any:
        return m * w * k

    def compiled(**options: Any) -> Any:
        return cr.compile(cr.vmap(f, **options))

    expected = np.moveaxis(cube, 1, 0) * shared * 2.0
    assert np.array_equal(compiled(in_axes=(1, None, None))(cube, shared, 2.0), expected)
    assert np.array_equal(compiled(in_axes=(-2, None, None))(cube, shared, 2.0), expected)
    back = compiled(in_axes=(1, None, None), out_axes=1)(cube, shared, 2.0)
    assert np.array_equal(back, cube * shared[:, None] * 2.0)
    last = compiled(in_axes=(1, None, None), out_axes=-1)(cube, shared.T.copy().T, 2.0)
    assert np.array_equal(last, np.moveaxis(expected, 0, -1))
    for m in (np.asfortranarray(cube), cube[:, ::-1][:, ::-1], cube.astype(np.float32)):
        found = compiled(in_axes=(1, None, None))(m, np.asfortranarray(shared), 2.0)
        assert np.array_equal(found, np.moveaxis(m.astype(float), 1, 0) * shared * 2.0)
    one = np.broadcast_to(shared[0], (lanes, 3))  # a stride of 0 between the lanes
    found = compiled(in_axes=(1, 0, None))(np.broadcast_to(cube[:, :1], cube.shape), one, 2.0)
    assert np.array_equal(found, np.broadcast_to(cube[:, 0] * shared[0] * 2.0, (lanes, 4, 3)))


BROADCAST = {
    "rows": np.arange(1.0, 3.0)[:, None],
    "columns": np.arange(1.0, 4.0),
    "everything": np.array(2.5),
    "nothing": np.arange(6.0).reshape(2, 3),
}


@pytest.mark.parametrize("name", BROADCAST)
def test_broadcast_elements(name: str) -> None:
    """Strides of 0 between the elements of a lane, in all kinds of calls."""
    one = np.broadcast_to(BROADCAST[name], (2, 3))
    many = np.broadcast_to(one, (9, 2, 3))
    weights = np.arange(6.0).reshape(2, 3) - 2.0
    assert np.array_equal(cr.compile(lambda x: x * weights)(one), one * weights)
    assert np.array_equal(cr.compile(cr.vmap(lambda x: x * weights))(many), many * weights)
    total = cr.compile(cr.vmap(lambda x, w: (x * w).sum(), in_axes=(0, None), reduce="sum"))
    for _ in range(3):  # a general call, then fast ones
        for x in (many, many.copy(), many[:5]):
            assert total(x, weights) == len(x) * (one * weights).sum()
            assert total(x, np.broadcast_to(weights[:, :1], (2, 3))) == len(x) * (
                (one * weights[:, :1]).sum()
            )


@pytest.mark.parametrize("empty", [0, 1])
def test_no_lanes_in_one_argument(empty: int) -> None:
    """An error in each call, also where earlier ones had lanes in all arguments."""
    f = cr.compile(cr.vmap(lambda x, y: x * y))
    given = [np.ones(5), np.ones(5)]
    assert f(*given).tolist() == f(*given).tolist() == [1.0] * 5
    given[empty] = np.empty(0)
    with pytest.raises(ValueError, match="different numbers of lanes"):
        f(*given)


@pytest.mark.parametrize("dtype", ["f2", "f4", "i1", "i8", "u2", ">f4"])
def test_other_types_of_numbers(dtype: str) -> None:
    """Other floats, and whole numbers where they are differentiated by, are taken exactly."""
    table = np.array([[1, 2], [3, 5], [100, 7]]).astype(dtype)
    f = cr.compile(cr.vmap(cr.grad(lambda x: x[0] * x[0] * x[1] + 0.1 * x[1])))
    x = table.astype(float)
    assert np.array_equal(f(table), np.stack([2.0 * x[:, 0] * x[:, 1], x[:, 0] ** 2 + 0.1], 1))


def test_results_are_the_callers() -> None:
    """A later call does not change an earlier result, nor a call its arguments."""
    f = cr.compile(cr.vmap(lambda x: (x * 2.0, x)))
    x = np.arange(5.0)
    doubled, same = f(x)
    f(x + 1.0)
    assert doubled.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    same[0] = 9.0
    assert x.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_constant_results() -> None:
    """Lanes that give constants, some or all, and empty arrays."""
    f = cr.compile(cr.vmap(lambda x: (1.5, x if x > 2.0 else 7.0)))
    ones, some = f(np.arange(5.0))
    assert ones.tolist() == [1.5] * 5
    assert some.tolist() == [7.0, 7.0, 7.0, 3.0, 4.0]
    assert cr.compile(cr.vmap(lambda x: 2))(np.arange(3.0)).tolist() == [2.0] * 3
    assert cr.compile(cr.vmap(lambda x: x))(np.zeros((3, 0))).shape == (3, 0)
    assert cr.compile(cr.vmap(lambda x: 1.0 if x > 1.0 else -1.0))(np.arange(4.0)).tolist() == [
        -1.0,
        -1.0,
        1.0,
        1.0,
    ]
    assert cr.compile(cr.vmap(lambda x: 1.0, reduce="sum"))(np.arange(1030.0)) == 1030.0


# Wrong lanes


def test_no_lanes_and_different_lanes() -> None:
    """Clear errors, of eager and compiled code alike."""
    f = cr.compile(cr.vmap(lambda x, y: x * y))
    for call in (f, f.function):
        with pytest.raises(ValueError, match=r"no lanes \(an axis of length 0\)"):
            call(np.zeros(0), np.zeros(0))
        with pytest.raises(ValueError, match=r"different numbers of lanes: 3 .* 4"):
            call(np.zeros(3), np.zeros(4))
        with pytest.raises(TypeError, match="an argument with lanes is an array"):
            call(np.zeros(3), 1.0)
        with pytest.raises(TypeError, match="an argument with lanes is an array"):
            call([1.0, 2.0], np.zeros(2))
        with pytest.raises(ValueError, match="names axis 0 of an array of shape"):
            call(np.zeros(3), np.array(1.0))
        assert call(np.ones(3), np.ones(3)).tolist() == [1.0] * 3
    with pytest.raises(ValueError, match="no lanes"):
        cr.compile(cr.vmap(lambda x: x, reduce="sum"))(np.zeros(0))
    with pytest.raises(ValueError, match="in_axes names no axis"):
        cr.compile(cr.vmap(lambda x: x, in_axes=None))(np.zeros(3))
    with pytest.raises(ValueError, match="out_axes names axis 2"):
        cr.compile(cr.vmap(lambda x: x, out_axes=2))(np.zeros(3))


# Sums


def summand(x: Any, k: Any) -> Any:
    """A term that has several branches."""
    if x > 0.5:
        return crmath.sqrt(x) * k
    if x > -0.5:
        return x * x * k - 1.0
    return crmath.sin(x * k)


def fixed_order_sum(values: Any) -> float:
    """The sum in chunks of 1024 lanes; in each, eight interleaved sums, added up as a tree."""
    total = 0.0
    for start in range(0, len(values), 1024):
        parts = [0.0] * 8
        for i, value in enumerate(values[start : start + 1024].tolist()):
            parts[i % 8] += value
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [parts[i] + parts[i + half] for i in range(half)]
        total += parts[0]
    return total


@pytest.mark.parametrize("lanes", [*range(1, 18), 1023, 1024, 1025, 5000, 40_000])
def test_sums_have_one_order(lanes: int) -> None:
    """On one thread, two or eight, on one trace or several: the same to the last bit."""
    x = np.random.default_rng(lanes).normal(size=lanes) * 10.0
    values = cr.compile(cr.vmap(summand, in_axes=(0, None)))(x, 1.5)
    slopes = cr.compile(cr.vmap(cr.grad(summand, argnums=1), in_axes=(0, None)))(x, 1.5)
    expected = fixed_order_sum(values), fixed_order_sum(slopes)
    for threads in (1, 2, 8):
        total = cr.vmap(summand, in_axes=(0, None), reduce="sum")
        f = cr.compile(cr.value_and_grad(total, argnums=1), threads=threads)
        assert f(x, 1.5) == expected
        assert f(x, 1.5) == expected  # now that all traces are known
        mean = cr.compile(cr.vmap(summand, in_axes=(0, None), reduce="mean"), threads=threads)
        assert mean(x, 1.5) == expected[0] / lanes


def test_sums_of_one_trace_equal_those_of_several() -> None:
    """A function without branches, and the same with a branch that changes nothing."""

    def plain(x: Any) -> Any:
        return crmath.exp(x) * x

    def branched(x: Any) -> Any:
        return crmath.exp(x) * x if x > 0.0 else x * crmath.exp(x)

    x = np.random.default_rng(8).normal(size=3001)
    one = cr.compile(cr.vmap(plain, reduce="sum"))
    two = cr.compile(cr.vmap(branched, reduce="sum"), rewrite=False)
    assert one(x) == two(x)
    assert (one.stats().traces, two.stats().traces) == (1, 2)


@pytest.mark.parametrize("threads", [1, 2])
def test_lanes_on_threads(threads: int) -> None:
    """Enough work that threads are used: the same bits."""
    a, b, c = near_ties(60_000)
    gradient = cr.vmap(cr.value_and_grad(branching, argnums=(0, 1, 2)))
    values, slopes = cr.compile(gradient, threads=threads)(a, b, c)
    assert np.array_equal(values, branching_by_numpy(a, b, c))
    again = cr.compile(gradient, threads=3)(a, b, c)
    assert all(np.array_equal(x, y) for x, y in zip(slopes, again[1], strict=True))


def test_infinities_and_nan_in_sums() -> None:
    """They reach the sum, but not those of other outputs; lanes beyond the last add nothing."""
    x = np.array([1.0, math.inf, 2.0, -math.inf, math.nan])
    f = cr.compile(cr.vmap(lambda x: (x, 1.0 / x, -0.0 * x * 0.0), reduce="sum"))
    total, inverse, _ = f(x[:3])
    assert (total, inverse) == (math.inf, 1.5)
    total, inverse, _ = f(x[:4])
    assert math.isnan(total)
    assert inverse == 1.5
    assert all(map(math.isnan, f(x)))
    assert math.copysign(1.0, cr.compile(cr.vmap(lambda x: -x, reduce="sum"))(np.zeros(3))) == 1.0


def _numbers(rng: Random, shape: tuple[int, ...], axis: int) -> Any:
    """An array of some lane shape, laid out in one of many ways."""
    count = rng.randrange(1, 12)
    whole = (*shape[:axis], count, *shape[axis:])
    x = np.array([rng.uniform(-2.0, 2.0) for _ in range(2 * math.prod(whole))])
    x = x.reshape((2, *whole))
    way = rng.randrange(6)
    if way == 0:
        return np.moveaxis(x, 0, -1)[..., 0]  # every other number
    if way == 1:
        return np.asfortranarray(x[0])
    if way == 2:
        return x[0].astype(rng.choice(["f4", ">f8"]))
    if way == 3:  # not aligned
        data = np.frombuffer(b"." + x[0].tobytes(), dtype="u1")[1:]
        return data.view("f8").reshape(whole)
    if way == 4:
        return x[0][::-1]
    return x[0]


@pytest.mark.filterwarnings("ignore:.*was compiled")
@pytest.mark.parametrize("seed", range(12))
def test_arguments_of_the_same_types(seed: int) -> None:
    """Calls find their code by types first; what else differs is told apart."""
    rng = Random(seed)
    axis = seed % 2

    def f(x: Any, y: Any, k: Any) -> Any:
        parts = [*y.values()] if isinstance(y, dict) else y if isinstance(y, list) else [y]
        total = sum(x.ravel().tolist()) if isinstance(x, np.ndarray) else x
        for i, part in enumerate(parts):
            inner = part[0] * 3.0 if isinstance(part, list) else part
            total = total * (i + 2) + sum(np.ravel(inner).tolist()) * len(str(k[0]))
        return total, [x]

    g = cr.vmap(f, in_axes=(axis, None, None))
    compiled = cr.compile(g)
    shapes: list[tuple[int, ...]] = [(), (2,), (3,), (2, 3)]
    for _ in range(60):
        x = _numbers(rng, rng.choice(shapes[axis:]), axis)
        y: Any = rng.choice([0.5, np.float64(1.5), np.arange(3.0), np.arange(2.0), np.ones((3, 1))])
        alike = [[y], [[[y], 2.0], [y, [2.0]]], [{"b": y, "a": 1.0}, {"a": 1.0, "b": y}]]
        k = [rng.choice([1, 10, True, "a", None])]
        for y in rng.choice(alike) * 2:
            found, expected = compiled(x, y, k), g(x, y, k)
            assert np.array_equal(found[1][0], expected[1][0])
            assert np.allclose(found[0], expected[0], rtol=1e-12, atol=1e-12)
        if rng.random() < 0.1:
            with pytest.raises(ValueError, match="no lanes"):
                compiled(x.take([], axis=axis), y, k)


# Other machines

SIMULATED = [
    ({"CHAINRULE_VECTOR_MATH": "none"}, ()),
    ({"CHAINRULE_CPU": "haswell"}, ()),
    ({"CHAINRULE_CPU": "x86-64", "CHAINRULE_VECTOR_MATH": "none"}, ("test_compile.py",)),
]


@pytest.mark.whole
@pytest.mark.parametrize(
    ("machine", "more"), SIMULATED, ids=[" ".join(m.values()) for m, _ in SIMULATED]
)
def test_other_machines(machine: dict[str, str], more: tuple[str, ...]) -> None:
    """Without libmvec, without AVX-512, without AVX: the same tests pass, with fewer programs."""
    if os.environ.get("CHAINRULE_TEST_PROGRAMS"):
        pytest.skip("this is another machine")
    here = Path(__file__).parent
    files = ["test_compiled_programs.py", "test_compiled_lanes.py", *more]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        + ["-k", "not process and not joblib and not threads and not same_types"]
        + [str(here / name) for name in files],
        env={**os.environ, **machine, "CHAINRULE_TEST_PROGRAMS": "30"},
        capture_output=True,
        text=True,
        cwd=here.parent,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
