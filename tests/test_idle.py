"""Iterations in vain: loops that end by a condition run those that count, and read no others.

``python tests/test_idle.py 100 SEED`` checks so many random loops.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import chainrule as cr
import chainrule.math as cm
from chainrule import lax
from chainrule.backends.llvm import idle, loaded, lowering, pool
from chainrule.backends.llvm.idle import Idle


@contextmanager
def looked_at(before: float, runs_all: bool = False) -> Iterator[list[Idle]]:
    """Memory holds a number before it is written to; gives what is found."""
    take = pool.take
    found: list[Idle] = []

    def noted(*given: Any) -> Idle:
        result = idle.idle(*given)
        found.append(result)
        return Idle({}, {}) if runs_all else result

    def poisoned(size: int) -> tuple[int, Any]:
        address, memory = take(size)
        memory[: memory.size // 8 * 8].view(np.float64)[:] = before
        return address, memory

    with (
        patch.object(lowering, "idle", noted),
        patch.object(loaded, "LARGE", 0),
        patch.object(pool, "take", poisoned),
    ):
        yield found


def counted(x: Any, n: Any) -> Any:
    """A condition that is computed again."""
    return lax.while_loop(lambda s: s[1] < n, lambda s: (s[0] * x + 0.3, s[1] + 1.0), (x, 0.0))[0]


def newton(x: Any, n: Any) -> Any:
    """A condition that is kept, and what costs much."""

    def body(s: Any) -> Any:
        z, total = s
        return z - (z * z - x) / (2.0 * z) * 0.4, total + cm.sin(z) * x

    z, total = lax.while_loop(lambda s: abs(s[0] ** 2 - x) > cm.exp(-0.3 * n), body, (3.0 * x, x))
    return z + total


def root(x: Any, most: int = 64) -> Any:
    """A loop of so many iterations, most of which are in vain."""

    def body(k: Any, z: Any) -> Any:
        return cm.where(abs(z * z - x) > 1e-6, z - (z * z - x) / (2.0 * z), z)

    return lax.fori_loop(0, most, body, x + 1.0)


def nested(x: Any, n: Any) -> Any:
    """Such loops in a loop that is one too."""

    def body(k: Any, s: Any) -> Any:
        z, t = s
        goes_on = t < n
        return cm.where(goes_on, z + 0.1 * root(z + x), z), cm.where(goes_on, t + 1.0, t)

    return lax.fori_loop(0, 40, body, (x, 0.0))[0]


def several(x: Any, n: Any) -> Any:
    """Such loops in a loop of which all iterations count."""
    return lax.fori_loop(0, 9, lambda k, z: root(z * x + n), x)


def mapped(x: Any, n: Any) -> Any:
    """Such loops in one whose iterations are computed side by side."""
    return np.sum(lax.map(lambda z: root(z * x + n) * x, np.linspace(0.2, 5.0, 43)))


def listed(x: Any, n: Any) -> Any:
    """What each iteration gives is read, also of those in vain."""

    def body(s: Any, _: Any) -> Any:
        z, t = s
        goes_on = t < n
        after = cm.where(goes_on, cm.sin(z + x), z), cm.where(goes_on, t + 1.0, t)
        return after, z * t

    _, ys = lax.scan(body, (x, 0.0), None, 50)
    return np.dot(ys, np.cos(np.arange(50.0)))


def returning(x: Any, n: Any) -> Any:
    """A condition that is true again."""

    def body(k: Any, z: Any) -> Any:
        return cm.where((k < n) | (k > 30.0), cm.sin(z + x), z)

    return lax.fori_loop(0, 40, body, x)


def joined(x: Any, n: Any) -> Any:
    """Two conditions."""

    def body(s: Any) -> Any:
        z, k = s
        return z + 0.1 * cm.sin(z), k + 1.0

    return lax.while_loop(lambda s: (s[1] < n) & (s[0] < 3.0 * x + 2.0), body, (x, 0.0))[0]


def vectors(x: Any, n: Any) -> Any:
    """Arrays that are handed on."""

    def body(s: Any) -> Any:
        z, k = s
        return np.tanh(np.outer(np.arange(6.0), np.ones(6)) @ z * 0.01 + x), k + 1.0

    z, _ = lax.while_loop(lambda s: s[1] < n, body, (x * np.linspace(0.0, 1.0, 6), 0.0))
    return np.sum(z)


def with_nan(x: Any, n: Any) -> Any:
    """What iterations in vain compute is no number."""

    def body(s: Any) -> Any:
        z, k = s
        return z + cm.sqrt(n - k) / (n - k), k + 1.0

    return lax.while_loop(lambda s: s[1] < n, body, (x, 0.0))[0] * x


FUNCTIONS = [counted, newton, nested, several, mapped, listed, returning, joined, vectors, with_nan]
POINTS = [(1.3, 4.0), (1.1, 11.0), (1.6, 8.0), (0.7, 19.0), (1.2, 35.0), (1.2, 1.0)]


def check(f: Callable[..., Any], points: list[tuple[float, float]]) -> Idle:
    """Compiled, a function gives what it gives eagerly, to the last bit as when all iterations run.

    Gives what is found.
    """
    lanes = [np.array(x) for x in zip(*points, strict=True)]

    def results(before: float, runs_all: bool = False) -> tuple[list[Any], Idle]:
        with looked_at(before, runs_all) as found:
            both = cr.compile(cr.value_and_grad(f))
            second = cr.compile(cr.hessian(f))
            forward = cr.compile(lambda x, n: cr.jvp(f, (x, n), (1.0, 0.0)))
            all_lanes = cr.compile(cr.vmap(cr.value_and_grad(f)))
            values = [[g(*p) for p in points] for g in (both, second, forward)]
            values.append([x for _ in range(2) for x in all_lanes(*lanes)])
        ends = {k: v for idle in found for k, v in idle.ends.items()}
        begins = {k: v for idle in found for k, v in idle.begins.items()}
        return values, Idle(ends, begins)

    plain, _ = results(np.nan, runs_all=True)
    for before in (np.nan, -3.0):
        compiled, found = results(before)
        for x, y in zip(compiled, plain, strict=True):
            np.testing.assert_array_equal(np.array(x, float), np.array(y, float))
    eager = [cr.value_and_grad(f)(*p) for p in points]
    np.testing.assert_allclose(np.array(compiled[0], float), np.array(eager, float), 1e-11)
    second = [cr.hessian(f)(*p) for p in points]
    np.testing.assert_allclose(compiled[1], np.array(second, float), 1e-9, 1e-11)
    np.testing.assert_allclose(np.array(compiled[2], float), np.array(eager, float), 1e-11)
    for x, y in zip(compiled[3], [*np.array(eager).T] * 2, strict=True):
        np.testing.assert_allclose(x, y, 1e-11)
    return found


@pytest.mark.parametrize("f", FUNCTIONS)
def test_functions(f: Callable[..., Any]) -> None:
    """Functions with loops that end by a condition, or seem to."""
    found = check(f, POINTS)
    if f in (counted, newton, nested, several, mapped, joined, with_nan):
        assert found.ends
        assert found.begins
    if f in (listed, returning):
        assert not found.begins
    if f is returning:
        assert not found.ends


def random_loop(random: Random) -> Callable[..., Any]:
    """A loop that ends by a condition, of a few variables, with others in it now and then."""
    count = random.randint(1, 3)
    picked = [random.randrange(6) for _ in range(count)]
    others = [random.randrange(count) for _ in range(count)]
    factors = [random.uniform(-0.5, 0.5) for _ in range(count)]
    kind, place, most = random.randrange(5), random.randrange(count), random.randint(4, 70)
    inside = random_loop(random) if random.random() < 0.3 else None
    listed, plain = random.random() < 0.2, random.random() < 0.5

    def step(i: int, s: Any, x: Any) -> Any:
        z, y, c = s[i], s[others[i]], factors[i]
        return (
            lambda: z + c * cm.sin(y),
            lambda: z * 0.9 + c * x,
            lambda: z - c * (z * z - x) / (2.0 + z * z),
            lambda: cm.maximum(z, c) * 0.8 + y * c,
            lambda: cm.where(y > c, z * 1.1 - c, z * 0.5 + x),
            lambda: z + c * (inside(y, x + 1.0) if inside is not None else cm.exp(-z * z)),
        )[picked[i]]()

    def goes_on(s: Any, n: Any) -> Any:
        if kind == 0:
            return s[-1] < n
        if kind == 1:
            return abs(s[place]) < 3.0 + n
        if kind == 2:
            return (s[-1] < n) & (s[place] < 5.0)
        if kind == 3:
            return cm.exp(-s[-1]) * 9.0 > 1.0 / (1.0 + n)
        return (s[-1] < n) | (s[-1] < 2.0 * abs(s[place]))

    def after(s: Any, x: Any) -> Any:
        return (*[step(i, s, x) for i in range(count)], s[-1] + 1.0)

    def loop(x: Any, n: Any) -> Any:
        first = (*[x + 0.1 * i for i in range(count)], 0.0)
        if plain and not listed:
            last = lax.while_loop(
                lambda s: goes_on(s, n) & (s[-1] < most), lambda s: after(s, x), first
            )
            return sum(last)

        def body(s: Any, _: Any) -> Any:
            asked = goes_on(s, n)
            pairs = zip(after(s, x), s, strict=True)
            new = tuple([cm.where(asked, a, b) for a, b in pairs])
            return new, (new[0] * s[place] if listed else 0.0)

        last, ys = lax.scan(body, first, None, most)
        return sum(last) + (np.dot(ys, np.sin(np.arange(most))) if listed else 0.0)

    return loop


@pytest.mark.parametrize("seed", range(6))
def test_random_loops(seed: int) -> None:
    """Loops made at random."""
    random = Random(seed)
    points = [(random.uniform(0.2, 2.0), float(random.randint(0, 40))) for _ in range(9)]
    check(random_loop(random), points)


if __name__ == "__main__":
    wrong = False
    for seed in range(int(sys.argv[2]), int(sys.argv[2]) + int(sys.argv[1])):
        try:
            test_random_loops(seed)
        except Exception as error:
            wrong = True
            print(seed, type(error).__name__, str(error)[:400])
            if len(sys.argv) > 3:
                raise
    sys.exit(wrong)
