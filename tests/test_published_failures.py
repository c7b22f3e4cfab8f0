"""Loops that other compilers of derivatives got wrong without a word, by their public reports.

Each is the report's program in plain Python with the right derivatives, from formulas written here.
They hold eagerly, compiled for one point, and compiled for lanes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import math as crmath

Case = tuple[Callable[..., Any], Callable[..., Sequence[float]], list[tuple[float, ...]]]


def overwritten(x: Any) -> Any:
    """Warp 174: a loop overwrites the variable that the derivative needs."""
    for _ in range(20):
        x = x * x * 0.5 + 0.25
    return x


def _overwritten_slope(x: float) -> list[float]:
    slope = 1.0
    for _ in range(20):
        slope *= x
        x = x * x * 0.5 + 0.25
    return [slope]


def nested_ranges(angle: Any, offset: Any) -> Any:
    """Warp 1293: a pose carried along a tree, with as many joints at a body as it has."""
    pose = [0.0, 1.0, 0.0, 0.0]  # place, quaternion's w and z, and the last place
    for body, joints in enumerate([1, 3, 0, 2]):
        pose[3] = pose[0]
        pose[0] = pose[0] + offset * pose[1]
        for joint in range(joints):
            half = 0.5 * angle * (1.0 + 0.1 * joint) * (1.0 - 0.2 * body)
            w, z = crmath.cos(half), crmath.sin(half)
            pose[1], pose[2] = pose[1] * w - pose[2] * z, pose[1] * z + pose[2] * w
    return pose[0] + pose[3] * pose[2]


def _nested_ranges_slope(angle: float, offset: float) -> list[float]:
    total = 0.0  # of the half angles: products of rotations add angles up
    place = last = 0.0
    d_place = [0.0, 0.0]
    d_last = [0.0, 0.0]
    factor = 0.0
    for body, joints in enumerate([1, 3, 0, 2]):
        last, d_last = place, list(d_place)
        total = factor * angle
        place += offset * math.cos(total)
        d_place[0] -= offset * math.sin(total) * factor
        d_place[1] += math.cos(total)
        for joint in range(joints):
            factor += 0.5 * (1.0 + 0.1 * joint) * (1.0 - 0.2 * body)
    total = factor * angle
    return [
        d_place[0] + d_last[0] * math.sin(total) + last * math.cos(total) * factor,
        d_place[1] + d_last[1] * math.sin(total),
    ]


def before_and_after(x: Any, s: Any) -> Any:
    """Warp 1694: a variable from before a loop is used after it."""
    area = x * x
    total = 0.0
    for _ in range(7):
        total = total + s
    return total * area


def _before_and_after_slope(x: float, s: float) -> list[float]:
    return [7 * s * 2 * x, 7 * x * x]


def begun_at_five(x: Any, b: Any) -> Any:
    """Warp 1694, a comment: a sum that begins at 5, in a product after its loop."""
    total = 5.0
    for _ in range(3):
        total = total + x * b
    return total * b


def _begun_at_five_slope(x: float, b: float) -> list[float]:
    return [3 * b * b, 5 + 6 * x * b]


def argmax_by_continue(x: Any, y: Any) -> Any:
    """Warp 1552: the largest of some products, with continue; lanes have other winners."""
    largest = -1e20
    for p in range(5):
        for q in range(5):
            if (p * q) % 3 == 1:
                continue
            value = x * (p - 2) + y * (q - 2) - 0.1 * (p * p + q)
            if value < largest:
                continue
            largest = value
    return largest


def _argmax_by_continue_slope(x: float, y: float) -> list[float]:
    values = [
        (x * (p - 2) + y * (q - 2) - 0.1 * (p * p + q), p, q)
        for p in range(5)
        for q in range(5)
        if (p * q) % 3 != 1
    ]
    _, p, q = max(values, key=lambda found: found[0])
    return [p - 2.0, q - 2.0]


def reciprocal_of_sum(x: Any, y: Any, z: Any) -> Any:
    """Warp 1740: a reciprocal and a square of a sum after its loop, in the same function."""
    total = 0.0
    for value in (x, y, z):
        total = total + value
    return 1.0 / total + total * total


def _reciprocal_of_sum_slope(x: float, y: float, z: float) -> list[float]:
    total = x + y + z
    return [2 * total - 1 / total**2] * 3


def guarded_division(x: Any, y: Any) -> Any:
    """Warp 1736: both sides of a conditional expression read the same element."""
    terms = [x, y, x * y]
    total = 0.0
    for k in range(3):
        total = total + (terms[k] / y if y > 0.0 else terms[k])
    return total


def _guarded_division_slope(x: float, y: float) -> list[float]:
    if y > 0.0:
        return [1 / y + 1, -x / y**2]
    return [1 + y, 1 + x]


def two_inner_loops(x: Any) -> Any:
    """Taichi 3003: two loops, one after the other, in a third."""
    total = 0.0
    for _ in range(2):
        for _ in range(3):
            total = total + x
        for _ in range(3):
            total = total + x
    return total


def _two_inner_loops_slope(x: float) -> list[float]:
    return [12.0]


def long_inner_loop(x: Any) -> Any:
    """Taichi 8027: an inner loop of 500, which uses its index."""
    total = 0.0
    for i in range(10):
        weights = 0.0
        for j in range(500):
            weights = weights + x * j
        total = total + weights * i
    return total


def _long_inner_loop_slope(x: float) -> list[float]:
    return [45.0 * (499 * 500 / 2)]


def accumulated_locally(x: Any) -> Any:
    """Taichi 4412: a local sum of the same value."""
    found = []
    for i in range(15):
        p = x * (i + 1)
        q = 0.0
        for _ in range(5):
            q = q + p
        found.append(q)
    return sum(found)


def _accumulated_locally_slope(x: float) -> list[float]:
    return [5.0 * 120]


def recursive_average(x: Any, y: Any) -> Any:
    """Taichi 2425: an exponentially weighted average that reads what it has just written."""
    average = [x]
    for k in range(12):
        average.append(0.9 * average[-1] + 0.1 * (y * k + x))
    return average[-1]


def _recursive_average_slope(x: float, y: float) -> list[float]:
    return [1.0, sum(0.1 * k * 0.9 ** (11 - k) for k in range(12))]


def until_converged(x: Any) -> Any:
    """Dr.Jit: reverse mode cut loops off at max_iterations; here lanes end when they do."""
    root = x
    while abs(root * root - x) > 1e-13 * x:
        root = 0.5 * (root + x / root)
    return root


def _until_converged_slope(x: float) -> list[float]:
    return [0.5 / math.sqrt(x)]


def walk_of_many_steps(x: Any) -> Any:
    """Dr.Jit: as many steps as the value asks for, up to some hundred."""
    steps = 0
    total = x
    while total < 10.0:
        total = total + 0.125 * x
        steps += 1
    return total * x


def _walk_of_many_steps_slope(x: float) -> list[float]:
    steps, total = 0, x
    while total < 10.0:
        total = total + 0.125 * x
        steps += 1
    return [2 * x * (1 + 0.125 * steps)]


def _points(count: int) -> list[tuple[float, ...]]:
    random = np.random.default_rng(count)
    return [tuple(map(float, random.uniform(0.25, 1.4, count))) for _ in range(11)]


_PROGRAMS: list[tuple[Callable[..., Any], Callable[..., Sequence[float]], int]] = [
    (overwritten, _overwritten_slope, 1),
    (nested_ranges, _nested_ranges_slope, 2),
    (before_and_after, _before_and_after_slope, 2),
    (begun_at_five, _begun_at_five_slope, 2),
    (argmax_by_continue, _argmax_by_continue_slope, 2),
    (reciprocal_of_sum, _reciprocal_of_sum_slope, 3),
    (guarded_division, _guarded_division_slope, 2),
    (two_inner_loops, _two_inner_loops_slope, 1),
    (long_inner_loop, _long_inner_loop_slope, 1),
    (accumulated_locally, _accumulated_locally_slope, 1),
    (recursive_average, _recursive_average_slope, 2),
    (until_converged, _until_converged_slope, 1),
    (walk_of_many_steps, _walk_of_many_steps_slope, 1),
]
CASES: dict[str, Case] = {f.__name__: (f, slope, _points(n)) for f, slope, n in _PROGRAMS}


@pytest.mark.parametrize("name", CASES)
def test_published_failures(name: str) -> None:
    """The gradient is the one of the formulas, in every way of running."""
    f, slope, points = CASES[name]
    every = tuple(range(len(points[0])))
    expected = [slope(*point) for point in points]
    eager = [cr.grad(f, argnums=every)(*point) for point in points]
    np.testing.assert_allclose(eager, expected, rtol=1e-9, atol=1e-12)
    compiled = cr.compile(cr.value_and_grad(f, argnums=every))
    for point, gradient in zip(points, expected, strict=True):
        value, slopes = compiled(*point)
        assert math.isclose(value, f(*point), rel_tol=1e-14)
        np.testing.assert_allclose(slopes, gradient, rtol=1e-9, atol=1e-12)
    lanes = cr.compile(cr.vmap(cr.grad(f, argnums=every)))
    np.testing.assert_allclose(
        np.array(lanes(*np.array(points).T)).T, expected, rtol=1e-9, atol=1e-12
    )
    hessian = cr.compile(cr.hessian(lambda p: f(*p)))
    h = 1e-5
    for point in points[:2]:
        rows = hessian(np.array(point))
        for i in every:
            up, down = list(point), list(point)
            up[i] += h
            down[i] -= h
            if name not in ("until_converged", "walk_of_many_steps"):  # which may end otherwise
                difference = (np.array(slope(*up)) - np.array(slope(*down))) / (2 * h)
                np.testing.assert_allclose(rows[i], difference, rtol=1e-4, atol=1e-4)
