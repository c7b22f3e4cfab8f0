"""Compiled functions inside transformations: operations with kernels for their derivatives."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import numpy as np
import pytest
from random_parts import COORDINATES, INPUTS, composition

import chainrule as cr
from chainrule import Node
from chainrule import math as cm
from chainrule.jit import inside, parts


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every call be an operation that can be one."""
    for name in ("LEAST_SECONDS", "SECONDS_OF_A_TRACE", "SECONDS_OF_CODE"):
        monkeypatch.setattr(inside, name, -1.0)
    monkeypatch.setattr(inside, "FEW_LANES", -1)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the functions of which calls have become operations."""
    found: list[str] = []
    applied = parts.Part.applied

    def noted(self: parts.Part, *args: Any) -> Any:
        found.append(self.label)
        return applied(self, *args)

    monkeypatch.setattr(parts.Part, "applied", noted)
    yield found


def directional(f: Callable[..., Any], x: Any) -> Any:
    return cr.jvp(f, (x,), (np.array([1.0, -0.5, 2.0]),))


def of_node(f: Callable[..., Any], x: Any) -> Any:
    """A gradient that is a graph, and the gradient of this."""
    nodes = [Node(v) for v in x.tolist()]
    slopes = cr.grad(lambda *xs: f(xs), argnums=(0, 1, 2))(*nodes)
    total = sum((k + 1) * s for k, s in enumerate(slopes))
    if isinstance(total, Node):
        total.backward()
    return [s.data if isinstance(s, Node) else s for s in slopes], [v.grad for v in nodes]


def pulled_later(f: Callable[..., Any], x: Any) -> Any:
    value, pull = cr.vjp(f, x)
    return value, pull(2.0), cr.grad(lambda c: sum(pull(c)[0]) * c)(0.5)


WAYS: dict[str, Callable[..., Any]] = {
    "grad": lambda f, x: cr.value_and_grad(f)(x),
    "jvp": directional,
    "hessian": lambda f, x: cr.hessian(f)(x),
    "forward over forward": lambda f, x: cr.jacfwd(cr.jacfwd(f))(x),
    "reverse over forward": lambda f, x: cr.jacrev(cr.jacfwd(f))(x),
    "forward over reverse": lambda f, x: directional(cr.grad(f), x),
    "third": lambda f, x: directional(lambda y: cr.hvp(f, (y,), (np.ones(3),)), x),
    "node": of_node,
    "vjp": pulled_later,
    "in a trace": lambda f, x: cr.compile(cr.value_and_grad(f))(x),
    "sparse": lambda f, x: cr.hessian(f, sparse=True)(x).toarray(),
    "lanes": lambda f, x: cr.vmap(cr.grad(f))(np.stack([x, x[::-1]])),
}


def flat(tree: Any) -> Any:
    leaves = cr.trees.leaves_of(tree)[0]
    return np.concatenate(
        [
            np.array([y.data if isinstance(y, Node) else y for y in np.ravel(leaf)], dtype=float)
            for leaf in leaves
        ]
    )


def assert_same(found: Any, expected: Any, text: str) -> None:
    x, y = flat(found), flat(expected)
    scale = max([1.0, *abs(y[np.isfinite(y)])])
    assert np.allclose(x, y, rtol=1e-9, atol=1e-11 * scale, equal_nan=True), (text, x, y)


@pytest.mark.parametrize("seed", range(60))
def test_compositions(seed: int, always: None) -> None:
    """With parts that are compiled, and with the functions themselves."""
    plain = composition(Random(seed), lambda f: f)
    compiled = composition(Random(seed), cr.compile)
    random = Random(seed)
    point = np.array([random.choice(COORDINATES) for _ in range(INPUTS)])
    for name in random.sample([*WAYS], 4):
        if plain.captured and name in ("in a trace",):
            continue
        way = WAYS[name]
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected, found = way(plain.function, point), way(compiled.function, point)
        assert_same(found, expected, f"seed {seed}, {name}: {plain.text}")
    graphs = [plain, compiled]
    for x in graphs:
        value = x.function(point)
        slope = cr.grad(x.function)(point) if not x.captured else x.function(point)
        if isinstance(value, Node):
            value.backward()
        del slope
    for a, b in zip(plain.captured, compiled.captured, strict=True):
        assert a.grad == pytest.approx(b.grad, rel=1e-9, abs=1e-11, nan_ok=True)
