"""Neighbours and groups of several sizes, as users write them: compiled with code of one size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import compile, lax, take, value_and_grad, vmap

Field = Callable[[Any], Any]


def _second(a: Any, b: Any, c: Any) -> Any:
    return (a - 2.0 * b + c) ** 2


HALOS: dict[str, Field] = {
    "a plain loop": lambda x: sum(_second(x[i - 1], x[i], x[i + 1]) for i in range(1, len(x) - 1)),
    "shifted slices": lambda x: _second(x[:-2], x[1:-1], x[2:]).sum(),
    "lanes of shifted slices": lambda x: vmap(_second, reduce="sum")(x[:-2], x[1:-1], x[2:]),
    "lanes of indices": lambda x: vmap(
        lambda i: _second(take(x, i - 1), take(x, i), take(x, i + 1)), reduce="sum"
    )(np.arange(1, len(x) - 1)),
    "a loop of indices": lambda x: lax.fori_loop(
        1, len(x) - 1, lambda i, total: total + _second(x[i - 1], x[i], x[i + 1]), 0.0
    ),
    "roll": lambda x: _second(np.roll(x, 1), x, np.roll(x, -1)).sum(),
}

STEPS: dict[str, Field] = {
    "roll": lambda u: u + 0.1 * (np.roll(u, 1) - 2.0 * u + np.roll(u, -1)),
    "slices": lambda u: np.concatenate([u[:1], u[1:-1] + 0.1 * u[:-2] * u[2:], u[-1:]]),
    "a list": lambda u: cr.array(
        [u[i] + 0.1 * u[i - 1] * u[(i + 1) % len(u)] for i in range(len(u))]
    ),
    "lanes": lambda u: vmap(lambda a, b, c: b + 0.1 * a * c)(np.roll(u, 1), u, np.roll(u, -1)),
    "map": lambda u: lax.map(lambda i: u[i] + 0.1 * u[i - 1], np.arange(len(u))),
}


def _after_steps(step: Field, by_index: bool) -> Field:
    """The energy of a field that is the carry of a loop."""

    def energy(u: Any) -> Any:
        if by_index:
            end = lax.fori_loop(0, 12, lambda i, u: step(u), u)
        else:
            end = lax.scan(lambda u, _: (step(u), None), u, None, 12)[0]
        return (end**2).sum()

    return energy


def _check(f: Callable[..., Any], *sized: tuple[Any, ...]) -> None:
    """Eager and compiled are equal, and the code does not grow with the data."""
    sizes = []
    for args in sized:
        compiled = compile(value_and_grad(f))
        found, right = compiled(*args), value_and_grad(f)(*args)
        assert found[0] == pytest.approx(right[0], rel=1e-12)
        np.testing.assert_allclose(found[1], right[1], rtol=1e-9, atol=1e-12)
        assert not compiled.stats().eager
        sizes.append(compiled.stats().nodes)
    assert sizes[-1] < 250


@pytest.mark.parametrize("way", HALOS)
def test_halos(way: str) -> None:
    """What is computed of neighbours."""
    _check(HALOS[way], *[(np.sin(np.arange(float(n))),) for n in (90, 180)])


@pytest.mark.parametrize("by_index", [False, True])
@pytest.mark.parametrize("way", STEPS)
def test_fields(way: str, by_index: bool) -> None:
    """A field as a carry, which each step makes anew of neighbours."""
    f = _after_steps(STEPS[way], by_index)
    _check(f, *[(0.5 * np.sin(np.arange(float(n))),) for n in (90, 180)])


def _sum_of_logs(sums: Any) -> Any:
    return np.log(1.0 + sums).sum()


def _to_the_end(values: Any, begin: Any, end: Any) -> Any:
    def add(state: Any) -> Any:
        return state[0] + 1, state[1] + take(values, state[0]) ** 2

    return lax.while_loop(lambda state: state[0] < end, add, (begin, 0.0))[1]


GROUPS: dict[str, Callable[..., Any]] = {
    "segments": lambda values, begins, ends, groups: _sum_of_logs(
        cr.segment_sum(values**2, groups, len(ends))
    ),
    "ranges": lambda values, begins, ends, groups: _sum_of_logs(
        vmap(lambda begin, end: _to_the_end(values, begin, end))(begins, ends)
    ),
    "differences": lambda values, begins, ends, groups: _sum_of_logs(
        np.concatenate([[0.0], np.cumsum(values**2)])[ends]
        - np.concatenate([[0.0], np.cumsum(values**2)])[begins]
    ),
}


@pytest.mark.parametrize("way", GROUPS)
def test_groups(way: str) -> None:
    """Groups of several sizes by index arrays, which may be others at each call."""
    compiled = compile(value_and_grad(GROUPS[way]))
    rng = np.random.default_rng(0)
    values = rng.normal(size=200)
    for _ in range(3):
        sizes = rng.integers(1, 5, 70)
        sizes[-1] += 200 - sizes.sum() if sizes.sum() < 200 else 0
        ends = np.minimum(np.cumsum(sizes), 200)
        begins = np.append(0, ends[:-1])
        groups = np.repeat(np.arange(70), ends - begins)
        groups = np.append(groups, np.full(200 - len(groups), 69))
        found = compiled(values, begins, ends, groups)
        right = value_and_grad(GROUPS[way])(values, begins, ends, groups)
        assert found[0] == pytest.approx(right[0], rel=1e-11)
        np.testing.assert_allclose(found[1], right[1], rtol=1e-8, atol=1e-11)
    assert not compiled.stats().eager
