"""Large arrays as arguments, whose nodes are made late, where NumPy reads past them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import compile, grad, lax, vmap
from chainrule.jit.inputs import Inputs
from chainrule.jit.whole_gradients import WholeGradient

SIZE = 300

COPIES: dict[str, Callable[[Any], Any]] = {
    "np.array": np.array,
    "np.asarray": np.asarray,
    "cr.array": cr.array,
    "a part": lambda x: np.array(x[2:]),
    "in a list": lambda x: np.array([x, x])[1],
    "into another": lambda x: np.array([*np.zeros((1, SIZE)), x])[1],
    "method": lambda x: x.copy(),
    "copy": copy.copy,
    "view": lambda x: x.view(np.ndarray),
    "rows": lambda x: np.array(x.reshape(2, SIZE // 2))[1],
}

USES: dict[str, Callable[[Any], Any]] = {
    "itself": lambda y: y,
    "element": lambda y: y[7],
    "product": lambda y: y * y,
    "element of a product": lambda y: (y * y)[7],
    "sum": lambda y: (2.0 * y).sum(),
    "list": lambda y: cr.array([2.0 * v for v in y]),
    "branch": lambda y: y[3] if y[7] > 0.0 else y[4],
    "gradient": lambda y: grad(lambda a: a * y[7])(2.0),
    "map": lambda y: lax.map(lambda i: 2.0 * y[i], np.arange(9)),
    "scan": lambda y: lax.scan(lambda c, v: (c * 0.5 + v, c), 0.0, y)[0],
    "lanes": lambda y: vmap(lambda v: v * v)(y),
    "look-up": lambda y: vmap(lambda i: cr.take(y, i))(np.arange(5)),
    "largest": lambda y: max(y.tolist()),
    "captured by a loop": lambda y: lax.fori_loop(0, 9, lambda i, c: c * y[7], 1.0),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("lanes", [False, True])
def test_what_numpy_copies(way: str, use: str, lanes: bool) -> None:
    """The elements are those of the argument."""

    def f(x: Any) -> Any:
        return USES[use](COPIES[way](x))

    points = np.random.default_rng(0).normal(size=(2, SIZE))
    compiled = compile(vmap(f) if lanes else f)
    found = compiled(points) if lanes else [compiled(x) for x in points]
    for x, y in zip(points, found, strict=True):
        np.testing.assert_allclose(y, f(x), rtol=1e-12)


def _of_inner_gradient(x: Any, y: Any, k: Any) -> Any:
    def inner(a: Any) -> Any:
        return np.sum(np.sin(a.reshape(15, 20) @ x.reshape(20, 15))) + k * a[1] ** 3

    return (grad(inner)(y) * x).sum() * k


def _of_branches(x: Any, y: Any, k: Any) -> Any:
    total = k
    for v in x[:9]:
        total = total + v * v if v > 0.0 else total - np.sin(v) * k
    return total * y[0] if total > y[1] else y[2] * y[0]


def _of_loop(x: Any, y: Any, k: Any) -> Any:
    total = 0.0
    for v, w in zip(x, y, strict=True):
        total = total * 0.9 + v * w * k
    return total


def _of_equality(x: Any, y: Any, k: Any) -> Any:
    if k == 0.0:
        return x[0] * y[0] + k
    return x[1] * k


SCALE = cr.Node(1.5)


@cr.custom_gradient
def _cube(x: Any) -> Any:
    return x**3, lambda bar: bar * 3.0 * x * x


FUNCTIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "product": lambda x, y, k: (np.tanh(x) * y).sum() * k,
    "matrices": lambda x, y, k: np.sum(np.sin(x.reshape(15, 20) @ y.reshape(20, 15))) * k,
    "largest": lambda x, y, k: np.max(x) * np.min(y) + k * k,
    "element": lambda x, y, k: x[7] * y[3],
    "an input": lambda x, y, k: x[7],
    "a number": lambda x, y, k: 3.0,
    "by no input": lambda x, y, k: cr.Node(2.0) * 1.0,
    "inner gradient": _of_inner_gradient,
    "branches": _of_branches,
    "long loop": _of_loop,
    "look-up": lambda x, y, k: cr.take(x, np.searchsorted(np.arange(5.0), k)) * y[0],
    "equal": _of_equality,
    "custom": lambda x, y, k: _cube(x[0]) * y[0] * k,
    "captured": lambda x, y, k: (x * y).sum() * SCALE,
    "scan": lambda x, y, k: lax.scan(lambda c, v: (c * k + v[0] * v[1], c), 0.0, (x, y))[0],
    "again and again": lambda x, y, k: _fibonacci(x[0], y[0] * k, 18),
}


SEGMENTS = {"a number", "equal", "custom", "captured", "again and again"}
"""Those whose gradients are not those of whole programs."""


def _fibonacci(a: Any, b: Any, n: int) -> Any:
    return (a, b)[n] if n < 2 else _fibonacci(a, b, n - 1) * 0.6 + _fibonacci(a, b, n - 2)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("kind", "argnums"),
    [
        *(("grad", 0), ("grad", (1, 0)), ("value_and_grad", (2, 1, 0))),
        *(("lanes", 1), ("hessian row", (0, 1))),
    ],
)
def test_gradients_by_whole_arrays(
    name: str, kind: str, argnums: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are what they are without compiling, by some arguments or all."""
    wholes: list[Any] = []
    of = WholeGradient.of

    def noted(whole: WholeGradient, program: Any) -> Any:
        wholes.append(whole)
        return of(whole, program)

    monkeypatch.setattr(WholeGradient, "of", noted)
    f = FUNCTIONS[name]
    rng = np.random.default_rng(4)
    points = [(*rng.normal(size=(2, SIZE)), k) for k in (0.0, 0.7, -1.2)]
    if kind == "hessian row":
        inner = grad(f)
        derivative = grad(lambda x, y, k: (inner(x, y, k) * y[::-1]).sum(), argnums=argnums)
    elif kind == "value_and_grad":
        derivative = cr.value_and_grad(f, argnums=argnums)
    else:
        derivative = grad(f, argnums=argnums)
    expected = [derivative(*point) for point in points]
    if kind == "lanes":
        columns = [np.array(column) for column in zip(*points, strict=True)]
        found = compile(vmap(derivative))(*columns)
        several = isinstance(argnums, tuple)
        found = [[y[i] for y in found] if several else found[i] for i in range(3)]
    else:
        compiled = compile(derivative)
        found = [compiled(*point) for point in points]
    for one, other in zip(found, expected, strict=True):
        _same(one, other)
    assert kind == "hessian row" or bool(wholes) is (name not in SEGMENTS)


def _same(one: Any, other: Any) -> None:
    if isinstance(other, tuple):
        for x, y in zip(one, other, strict=True):
            _same(x, y)
        return
    one, other = (x.data if isinstance(x, cr.Node) else x for x in (one, other))
    np.testing.assert_allclose(_numbers(one), _numbers(other), rtol=1e-11, atol=1e-13)


def _numbers(x: Any) -> Any:
    return [y.data if isinstance(y, cr.Node) else y for y in np.ravel(x).tolist()]


def test_gradients_of_trees_that_hold_whole_arrays() -> None:
    """Also small arrays, lists and numbers beside large ones; an array by itself is none twice."""

    def f(tree: Any, more: Any) -> Any:
        return (tree["x"] * more).sum() * tree["k"][0] + tree["y"][1] * tree["k"][1]

    rng = np.random.default_rng(4)
    tree = {"x": rng.normal(size=SIZE), "k": [0.5, 2.0], "y": rng.normal(size=3)}
    more = rng.normal(size=SIZE)
    expected, found = (g(tree, more) for g in (grad(f), compile(grad(f))))
    assert expected.keys() == found.keys()
    for key in expected:
        _same(found[key], expected[key])
    twice = grad(lambda x, y: (x * y * y).sum(), argnums=(0, 1))
    same = compile(lambda x: twice(x, x))(more)
    _same(same, twice(more, more))


def test_whole_arrays_have_no_nodes_where_loops_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient of a long loop by an array makes none of all its elements."""
    made: list[int] = []
    between = Inputs.between

    def counted(self: Any, start: int, stop: int) -> Any:
        made.append(stop - start)
        return between(self, start, stop)

    monkeypatch.setattr(Inputs, "between", counted)
    x, y = np.random.default_rng(4).normal(size=(2, 50_000))
    derivative = cr.value_and_grad(_of_loop, argnums=(0, 1))
    found = compile(derivative)(x, y, 0.5)
    assert sum(made) < 10
    _same(found, derivative(x, y, 0.5))


@pytest.mark.parametrize(
    "f", [lambda x: x, lambda x: float(x[0]), lambda x: x[0] + "a", lambda x: x[SIZE]]
)
def test_errors_name_the_gradient(f: Any) -> None:
    """What is wrong is said as without compiling."""
    x = np.ones(SIZE)
    with pytest.raises(Exception) as expected:  # noqa: PT011
        grad(f)(x)
    with pytest.raises(type(expected.value)) as found:
        compile(grad(f))(x)
    assert str(found.value) == str(expected.value)
