"""Transformations against closed forms, mpmath, finite differences and plain backpropagation."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, NamedTuple

import mpmath
import numpy as np
import optree
import pytest
import scipy.sparse
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from random_programs import points, program
from references import same

import chainrule
from chainrule import (
    Node,
    Operation,
    TracedValueError,
    check_grads,
    detect_anomaly,
    differentiation,
    draw_graph,
    grad,
    hessian,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    rules,
    stop_gradient,
    value_and_grad,
    vjp,
)
from chainrule import math as cm
from chainrule.node import COMPILED
from chainrule.sparse import SparseNodes
from chainrule.tracing import PROGRESS

mp = mpmath.MPContext()
mp.dps = 60
MP = SimpleNamespace(
    exp=mp.exp, sin=mp.sin, cos=mp.cos, log=mp.log, tanh=mp.tanh, sqrt=mp.sqrt, atan=mp.atan
)

# Functions of one number, for floats, nodes and mpmath alike


def bump(x: Any, m: Any = cm) -> Any:
    """A product, a quotient and a function of a function."""
    return m.exp(m.sin(x)) * x**2 / (1 + x * x)


def loop(x: Any, m: Any = cm) -> Any:
    """A value that is used in each round of a loop."""
    y = x
    for k in range(1, 5):
        y = m.tanh(y * x + k * 0.25)
    return y * x


def branches(x: Any, m: Any = cm) -> Any:
    """Another formula on each side of 1."""
    if x < 1:
        return m.sqrt(1 + x * x)
    return m.log(x) * m.atan(x)


def newton(x: Any, m: Any = cm) -> Any:
    """The square root of x by Newton's method: as many rounds as it needs."""
    y = x
    for _ in range(9):
        y = 0.5 * (y + x / y)
    return y


FUNCTIONS = [bump, loop, branches, newton]
POINTS = (0.3, 0.7, 1.9)

# The derivative of a function of one number, by each transformation
DERIVATIVES: dict[str, Callable[[Any], Callable[[Any], Any]]] = {
    "grad": grad,
    "value_and_grad": lambda f: lambda x: value_and_grad(f)(x)[1],
    "jvp": lambda f: lambda x: jvp(f, (x,), (1.0,))[1],
    "vjp": lambda f: lambda x: vjp(f, x)[1](1.0)[0],
    "jacfwd": jacfwd,
    "jacrev": jacrev,
    "jacobian": jacobian,
}


@pytest.mark.parametrize("f", FUNCTIONS)
@pytest.mark.parametrize("name", DERIVATIVES)
def test_first_derivative(f: Callable[..., Any], name: str) -> None:
    """A float, the derivative by mpmath, and bit for bit that of plain backpropagation."""
    for x in POINTS:
        found = DERIVATIVES[name](f)(x)
        assert type(found) is float
        assert found == pytest.approx(float(mp.diff(lambda t: f(t, MP), x)), rel=1e-13)
        leaf = Node(x)
        f(leaf).backward()
        if name not in ("jvp", "jacfwd"):  # those add in another order
            assert found == leaf.grad


@pytest.mark.parametrize("f", FUNCTIONS)
def test_value(f: Callable[..., Any]) -> None:
    """The value that comes with a derivative is that of the function on numbers, to the bit."""
    for x in POINTS:
        values = [value_and_grad(f)(x)[0], jvp(f, (x,), (1.0,))[0], vjp(f, x)[0]]
        assert values == [f(x)] * 3
        assert {type(value) for value in values} == {float}


@pytest.mark.parametrize("names", itertools.product(DERIVATIVES, repeat=2), ids="-of-".join)
def test_second_derivative(names: tuple[str, str]) -> None:
    """Every transformation of every transformation."""
    outer, inner = (DERIVATIVES[name] for name in names)
    for f, x in itertools.product(FUNCTIONS, POINTS):
        found = outer(inner(f))(x)
        assert type(found) is float
        assert found == pytest.approx(float(mp.diff(lambda t, f=f: f(t, MP), x, 2)), rel=1e-12)


@pytest.mark.parametrize("names", itertools.product(["grad", "jvp", "jacobian"], repeat=3))
def test_third_derivative(names: tuple[str, ...]) -> None:
    """Forward and reverse mode mixed."""
    for f in FUNCTIONS:
        g: Any = f
        for name in names:
            g = DERIVATIVES[name](g)
        expected = float(mp.diff(lambda t, f=f: f(t, MP), 0.7, 3))
        assert g(0.7) == pytest.approx(expected, rel=1e-11)


def test_fourth_and_fifth_derivative() -> None:
    """They keep coming."""
    g: Any = bump
    for order in range(1, 6):
        g = grad(g) if order % 2 else DERIVATIVES["jvp"](g)
        expected = float(mp.diff(lambda t: bump(t, MP), 0.7, order))
        assert g(0.7) == pytest.approx(expected, rel=1e-10), order


def test_derivatives_of_a_power_end_in_zero() -> None:
    """x**3 four times: what depends on nothing any more is the number 0."""
    g: Any = lambda x: x**3
    for expected in (12.0, 12.0, 6.0, 0.0, 0.0):
        g = grad(g)
        found = g(2.0)
        assert type(found) is float
        assert found == expected


def test_hessian_of_one_number() -> None:
    """It is the second derivative, by hvp too."""
    for f, x in itertools.product(FUNCTIONS, POINTS):
        expected = float(mp.diff(lambda t, f=f: f(t, MP), x, 2))
        assert hessian(f)(x) == pytest.approx(expected, rel=1e-12)
        assert hvp(f, (x,), (2.0,)) == pytest.approx(2 * expected, rel=1e-12)


# Trees and arrays


class Point(NamedTuple):
    """A tree of its own kind."""

    x: Any
    y: Any


TREES: dict[str, Any] = {
    "number": 0.7,
    "whole number": 2,
    "numpy number": np.float32(0.5),
    "fraction": Fraction(3, 4),
    "list": [0.3, 0.7],
    "tuple": (0.3, 2),
    "nested": {"w": [0.3, {"b": (0.7, 1.1)}], "a": 1.3},
    "ordered": OrderedDict(z=0.3, a=0.7),
    "named tuple": Point(0.3, [0.7]),
    "vector": np.array([0.3, 0.7, 1.1]),
    "matrix": np.arange(1.0, 7.0).reshape(2, 3) / 5,
    "cube": np.arange(1.0, 9.0).reshape(2, 2, 2) / 5,
    "no axes": np.array(0.7),
    "one": np.array([[0.7]]),
    "whole numbers": np.array([1, 2, 3]),
    "small floats": np.array([0.5, 0.25], dtype=np.float32),
    "columns first": np.asfortranarray(np.arange(1.0, 7.0).reshape(2, 3) / 5),
    "every other": np.arange(1.0, 9.0)[::2] / 5,
    "read only": np.broadcast_to(np.float64(0.7), (3,)),
    "matrix class": np.asmatrix([[0.3, 0.7]]),
    "objects": np.array([0.3, 2, Fraction(3, 4)], dtype=object),
    "mixed": {"w": np.array([[0.3, 0.7]]), "b": 1.1, "c": [np.array(0.2), ()]},
}
every_tree = pytest.mark.parametrize("name", TREES)


def flat(tree: Any) -> list[Any]:
    """All numbers and nodes of a tree, in order."""
    leaves = optree.tree_leaves(tree, none_is_leaf=True)
    return [x for leaf in leaves for x in np.asarray(leaf, dtype=object).ravel().tolist()]


def shapes(tree: Any) -> Any:
    """The structure of a tree with the shapes of its arrays; None for a number."""
    return optree.tree_map(lambda x: x.shape if isinstance(x, np.ndarray) else None, tree)


def with_numbers(tree: Any, numbers: Sequence[float]) -> Any:
    """A tree like another one that holds some numbers."""
    rest = iter(numbers)

    def put(leaf: Any) -> Any:
        if not isinstance(leaf, np.ndarray):
            return next(rest)
        return np.array([next(rest) for _ in range(leaf.size)]).reshape(leaf.shape)

    return optree.tree_map(put, tree)


def differences(f: Callable[[Any], Any], tree: Any, step: float = 1e-6) -> Any:
    """The matrix of central differences of a function of a tree, all numbers in order."""
    point = [float(x) for x in flat(tree)]
    columns = []
    for i in range(len(point)):
        high, low = list(point), list(point)
        high[i] += step
        low[i] -= step
        ends = [np.array(flat(f(with_numbers(tree, p))), dtype=float) for p in (high, low)]
        columns.append((ends[0] - ends[1]) / (2 * step))
    return np.array(columns).T


def mixed_up(tree: Any) -> Any:
    """A number that depends on all numbers of a tree, each in another way."""
    total: Any = 0.0
    for k, x in enumerate(flat(tree)):
        total = cm.sin(total + (k + 1) * x) + 0.1 * x * x
    return total


def several(tree: Any) -> Any:
    """A tree of results: a number, an array, one that is constant."""
    xs = flat(tree)
    return {
        "all": mixed_up(tree),
        "array": np.array([[x * x, cm.exp(x)] for x in xs], dtype=object),
        "others": [xs[0] * xs[-1], 3, np.array(2.0)],
    }


@every_tree
def test_gradient_of_a_tree(name: str) -> None:
    """Like the argument in structure and shape, floats, and as differences have it."""
    tree = TREES[name]
    value, found = value_and_grad(mixed_up)(tree)
    assert shapes(found) == shapes(tree)
    assert type(found) is type(tree) or name in (
        *("whole number", "numpy number", "fraction", "matrix class"),
    )
    leaves = optree.tree_leaves(found)
    assert all(type(leaf) is float or leaf.dtype == np.float64 for leaf in leaves)
    assert value == mixed_up(tree)
    expected = differences(lambda t: [mixed_up(t)], tree)[0]
    assert np.array(flat(found)) == pytest.approx(expected, abs=1e-8)
    assert flat(grad(mixed_up)(tree)) == flat(found)


@every_tree
@pytest.mark.parametrize("transformation", [jacfwd, jacrev, jacobian])
def test_jacobian_of_a_tree(name: str, transformation: Callable[..., Any]) -> None:
    """A tree of the result, of trees of the argument, with the shapes one after the other."""
    tree = TREES[name]
    found = transformation(several)(tree)
    result = several(tree)
    assert set(found) == {"all", "array", "others"}
    for block, value in zip(
        [found["all"], found["array"], *found["others"]],
        [result["all"], result["array"], *result["others"]],
        strict=True,
    ):
        leaves = optree.tree_leaves(tree)
        assert optree.tree_structure(block) == optree.tree_structure(tree)
        for part, leaf in zip(optree.tree_leaves(block), leaves, strict=True):
            assert np.shape(part) == np.shape(value) + np.shape(leaf)
            assert type(part) is float or part.dtype == np.float64
    expected = differences(several, tree)
    n = expected.shape[1]
    rows = [
        np.concatenate([np.reshape(x, (-1,)) for x in parts])
        for parts in _rows(found, np.shape(result["array"]))
    ]
    assert np.array(rows).reshape(-1, n) == pytest.approx(expected, abs=1e-7)


def _rows(found: Any, shape: tuple[int, ...]) -> Iterator[list[Any]]:
    """The rows of the Jacobian of ``several``, as the parts for each leaf of the argument."""
    yield optree.tree_leaves(found["all"])
    for i in np.ndindex(*shape):
        yield [part[i] for part in optree.tree_leaves(found["array"])]
    for block in found["others"]:
        yield optree.tree_leaves(block)


@every_tree
def test_forward_and_reverse_products(name: str) -> None:
    """<v, J u> is <Jᵀ v, u>, and both are products with the Jacobian."""
    tree = TREES[name]
    rng = random.Random(1)
    matrix = differences(several, tree)
    u = [rng.uniform(-1, 1) for _ in range(matrix.shape[1])]
    v = [rng.uniform(-1, 1) for _ in range(matrix.shape[0])]
    value, pushed = jvp(several, (tree,), (with_numbers(tree, u),))
    value_too, pull_back = vjp(several, tree)
    (pulled,) = pull_back(with_numbers(value, v))
    assert flat(value) == flat(value_too) == flat(several(tree))
    assert shapes(pushed) == shapes(value) == shapes(several(tree))
    assert shapes(pulled) == shapes(tree)
    assert np.dot(v, flat(pushed)) == pytest.approx(np.dot(flat(pulled), u), rel=1e-12)
    assert np.array(flat(pushed)) == pytest.approx(matrix @ u, abs=1e-7)
    assert np.array(flat(pulled)) == pytest.approx(np.array(v) @ matrix, abs=1e-7)


@every_tree
def test_hessian_of_a_tree(name: str) -> None:
    """Exactly symmetric, as differences of the gradient have it; hvp is its product."""
    tree = TREES[name]
    found = hessian(mixed_up)(tree)
    n = len(flat(tree))
    rows = [
        np.concatenate(
            [
                np.reshape(part, (leaf_size(leaf), -1))
                for part, leaf in zip(
                    optree.tree_leaves(row), optree.tree_leaves(tree), strict=True
                )
            ],
            axis=1,
        )
        if np.ndim(optree.tree_leaves(row)[0]) == 0
        else np.concatenate(
            [
                np.reshape(part, (size, -1))
                for part in optree.tree_leaves(row)
            ],
            axis=1,
        )
        for row, size in _hessian_rows(found, tree)
    ]
    matrix = np.concatenate(rows, axis=0)
    assert matrix.shape == (n, n)
    assert (matrix == matrix.T).all()
    expected = differences(lambda t: grad(mixed_up)(t), tree)
    assert matrix == pytest.approx(expected, abs=1e-6)
    u = np.linspace(-1, 1, n)
    product = hvp(mixed_up, (tree,), (with_numbers(tree, u),))
    assert shapes(product) == shapes(tree)
    assert np.array(flat(product)) == pytest.approx(matrix @ u, rel=1e-11, abs=1e-11)
