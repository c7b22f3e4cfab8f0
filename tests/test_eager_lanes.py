"""Lanes that no trace is recorded for: by the function itself, as on plain nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optree
import pytest

import chainrule as cr
from chainrule import math as cm
from chainrule.jit.eager_lanes import EagerLanes
from chainrule.operation import Operation

pytestmark = pytest.mark.filterwarnings("ignore:.* runs eagerly")

LANES = 40
RANDOM = np.random.default_rng(5)
X, Y = RANDOM.normal(size=(2, LANES))
ROWS = RANDOM.normal(size=(LANES, 6))
DOUBLED = Operation("doubled", lambda x: 2.0 * x, lambda y, x: [2.0])


def bits(x: Any, y: Any, *rest: Any) -> Any:
    """A function whose path is one of 64."""
    total = x * y
    for k in range(6):
        total = total + x if x * 2**k % 1.0 < 0.5 else total * y
    for other in rest:
        total = total + other
    return total


def sums(values: Any, factor: Any) -> Any:
    """A sum of terms that are picked one by one; NumPy's functions on rows."""
    total = factor * values.sum()
    for v in values:
        if v * factor > 0.0:
            total = total + np.sin(v) * factor
    return total


def tree(weights: Any, at: Any, *, scale: float = 1.0) -> Any:
    """Of a dict, a list and a number by name."""
    total = weights["b"] * scale
    for a, x in zip(weights["a"], at, strict=True):
        total = total * x if a * x > 0.0 else total + a
    return total


def sometimes(x: Any, y: Any) -> Any:
    """Of some lanes the result is a number that hangs on nothing."""
    if x < -0.3:
        return 0.25
    if x < 0.4:
        return x
    return cm.exp(x) if y < 0.0 else y if y < 0.4 else y * y


def of_a_user(x: Any, y: Any) -> Any:
    """An operation of a user's."""
    return DOUBLED(x) if bits(x, y) > 0.0 else bits(y, x)


WEIGHTS = {"a": [ROWS[:, 0], ROWS[:, 1]], "b": Y}
TREE = {"a": [0, 0], "b": 0}
CASES: list[tuple[Callable[..., Any], Any, Any, dict[str, Any]]] = [
    (bits, (X, Y), 0, {}),
    (bits, (X, 0.75, ROWS[:, 0]), (0, None, 0), {}),
    (sums, (ROWS, 1.5), (0, None), {}),
    (sums, (ROWS.T, Y), (-1, 0), {}),
    (sums, (ROWS[0], Y), (None, 0), {}),
    (sums, (np.asfortranarray(ROWS)[::-1], Y.astype(np.float32)), 0, {}),
    (tree, (WEIGHTS, [X, Y]), (TREE, [0, 0]), {"scale": 2.0}),
    (tree, ({"a": [0.5, -0.5], "b": 2.0}, [X, Y]), (None, 0), {"scale": Y}),
    (sometimes, (X, Y), 0, {}),
    (of_a_user, (X, Y), 0, {}),
    (cr.grad(bits), (X, Y), 0, {}),
]
WAYS: list[Callable[[Any], Any]] = [
    lambda f: f,
    cr.grad,
    lambda f: cr.value_and_grad(f, (0, 1)),
    lambda f: cr.value_and_grad(f, (-1, 0)),
    lambda f: cr.jacfwd(f),
    lambda f: cr.value_and_grad(lambda *x, **named: (f(*x, **named), x), has_aux=True),
]


def same(found: Any, expected: Any) -> None:
    """Two results are the same, but for what machine code computes otherwise in its last bits."""
    assert optree.tree_structure(found) == optree.tree_structure(expected)
    for x, y in zip(optree.tree_leaves(found), optree.tree_leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("way", range(len(WAYS)))
@pytest.mark.parametrize("case", range(len(CASES)))
def test_as_eager(way: int, case: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed for lanes past the last trace is what vmap gives without compile."""
    f, args, axes, named = CASES[case]
    f = WAYS[way](f)
    ran: list[int] = []
    outputs = EagerLanes.outputs

    def noted(self: EagerLanes, values: Any, lanes: Any) -> Any:
        ran.append(len(lanes))
        return outputs(self, values, lanes)

    monkeypatch.setattr(EagerLanes, "outputs", noted)
    compiled = cr.compile(cr.vmap(f, axes), max_traces=1, rewrite=False)
    eager = cr.vmap(f, axes)
    for _ in range(2):
        try:
            expected = eager(*args, **named)
        except TypeError:  # a gradient of what is no single number
            with pytest.raises(TypeError):
                compiled(*args, **named)
            return
        same(compiled(*args, **named), expected)
    assert compiled.stats().traces == 1
    assert ran


def test_added_up() -> None:
    """Gradients of sums over lanes, by what all share and by what they have of their own."""
    for argnums in (0, (0, 1)):
        f = cr.value_and_grad(cr.vmap(bits, (None, 0), reduce="sum"), argnums)
        same(cr.compile(f, max_traces=1, rewrite=False)(0.3, Y), f(0.3, Y))


def test_lanes_do_not_meet() -> None:
    """A value that the function has kept of another lane is no value of this one."""
    kept: list[Any] = []

    def f(x: Any, y: Any) -> Any:
        kept.append(x)
        return bits(x, y) * kept[max(0, len(kept) - 2)]

    f(0.5, 0.5)
    compiled = cr.compile(cr.vmap(cr.grad(f)), max_traces=1, rewrite=False)
    with pytest.raises(cr.TracedValueError):
        compiled(X, Y)


def test_arguments_stay() -> None:
    """Arrays are read-only, a list that the function changes is an error: in later lanes too."""

    def f(values: Any) -> Any:
        if values[0] < 0.0:
            values[0] = values[1]
        return values[0]

    x = np.array([1.0, 2.0, -1.0])
    for args in (np.stack([x, x + 1.0], 1), [x, x + 1.0]):
        for g in (f, cr.value_and_grad(f)):
            with pytest.raises((TypeError, ValueError), match=r"read-only|has changed"):
                cr.compile(cr.vmap(g), max_traces=1, rewrite=False)(args)
