"""Transformations against closed forms, mpmath, finite differences and plain backpropagation."""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
import math
import pickle
import random
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
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
from chainrule.engine import COMPILED
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
    """A float, the derivative by mpmath, and that of plain backpropagation."""
    for x in POINTS:
        found = DERIVATIVES[name](f)(x)
        assert type(found) is float
        assert found == pytest.approx(float(mp.diff(lambda t: f(t, MP), x)), rel=1e-13)
        leaf = Node(x)
        f(leaf).backward()
        assert found == pytest.approx(leaf.grad, rel=1e-15)


@pytest.mark.parametrize("f", FUNCTIONS)
def test_value(f: Callable[..., Any]) -> None:
    """The value that comes with a derivative is that of the function on numbers, to the bit."""
    for x in POINTS:
        values = [value_and_grad(f)(x)[0], jvp(f, (x,), (1.0,))[0], vjp(f, x)[0]]
        assert values == [f(x)] * 3
        assert {type(value) for value in values} == {float}


@pytest.mark.parametrize("names", list(itertools.product(DERIVATIVES, repeat=2)), ids="-of-".join)
def test_second_derivative(names: tuple[str, str]) -> None:
    """Every transformation of every transformation."""
    outer, inner = (DERIVATIVES[name] for name in names)
    for f, x in itertools.product(FUNCTIONS, POINTS):
        found = outer(inner(f))(x)
        assert type(found) is float
        assert found == pytest.approx(float(mp.diff(lambda t, f=f: f(t, MP), x, 2)), rel=1e-12)


@pytest.mark.parametrize("names", list(itertools.product(["grad", "jvp", "jacobian"], repeat=3)))
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
    g: Any = lambda x: x**3  # noqa: E731
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


def as_matrix(found: Any, result: Any, argument: Any) -> Any:
    """The matrix in a tree like a result of trees like an argument; checks all structures."""
    rows = []
    blocks = optree.tree_structure(result).flatten_up_to(found)
    for block, value in zip(blocks, optree.tree_leaves(result), strict=True):
        assert optree.tree_structure(block) == optree.tree_structure(argument)
        parts = []
        for part, leaf in zip(optree.tree_leaves(block), optree.tree_leaves(argument), strict=True):
            assert np.shape(part) == np.shape(value) + np.shape(leaf)
            assert type(part) is float or part.dtype == np.float64
            parts.append(np.reshape(part, (np.size(value), np.size(leaf))))
        rows.append(np.concatenate(parts, axis=1))
    return np.concatenate(rows, axis=0)


@every_tree
def test_jacobian_of_a_tree(name: str) -> None:
    """A tree of the result, of trees of the argument, with the shapes one after the other."""
    tree = TREES[name]
    matrices = [as_matrix(t(several)(tree), several(tree), tree) for t in (jacfwd, jacrev)]
    assert matrices[0] == pytest.approx(differences(several, tree), abs=1e-7)
    assert matrices[1] == pytest.approx(matrices[0], rel=1e-13, abs=1e-15)
    assert (as_matrix(jacobian(several)(tree), several(tree), tree) == matrices[0]).all()


@every_tree
def test_hessian_of_a_tree(name: str) -> None:
    """Exactly symmetric, as differences of the gradient have it; hvp is its product."""
    tree = TREES[name]
    matrix = as_matrix(hessian(mixed_up)(tree), tree, tree)
    assert (matrix == matrix.T).all()
    assert matrix == pytest.approx(differences(grad(mixed_up), tree), abs=1e-6)
    twice = as_matrix(jacfwd(jacrev(mixed_up))(tree), tree, tree)
    assert matrix == pytest.approx(twice, rel=1e-12, abs=1e-13)
    u = np.linspace(-1, 1, len(matrix)).tolist()
    product = hvp(mixed_up, (tree,), (with_numbers(tree, u),))
    assert shapes(product) == shapes(tree)
    assert np.array(flat(product)) == pytest.approx(matrix @ u, rel=1e-11, abs=1e-11)


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


def test_symmetric_to_the_last_bit() -> None:
    """However the two halves would round."""

    def f(x: Any) -> Any:
        return cm.exp(x[0] * x[1]) * cm.sin(x[1] / x[2]) + x[0] ** x[2] / (x[1] + x[3] * x[0])

    rng = np.random.default_rng(0)
    for _ in range(20):
        matrix = hessian(f)(rng.uniform(0.5, 2.0, 4))
        assert (matrix == matrix.T).all()
        sparse = hessian(f, sparse=True)(rng.uniform(0.5, 2.0, 4)).toarray()
        assert (sparse == sparse.T).all()


def test_arrays_of_no_elements() -> None:
    """Nothing in, nothing out."""
    nothing = np.zeros((0, 3))
    assert grad(lambda x: 2.0)(nothing).shape == (0, 3)
    assert jacobian(lambda x: x)(nothing).shape == (0, 3, 0, 3)
    assert hessian(lambda x: 2.0)(nothing).shape == (0, 3, 0, 3)
    assert jacobian(lambda x: nothing)(1.0).shape == (0, 3)
    assert jacobian(lambda x: ())(1.0) == ()
    assert grad(lambda x: 2.0)([]) == []


# Which arguments


def three(x: Any, y: Any, z: Any) -> Any:
    """Told apart by their derivatives: 2xy³z, 3x²y²z, x²y³."""
    return x**2 * y**3 * z


@pytest.mark.parametrize(
    ("argnums", "expected"),
    [
        (0, 2 * 2 * 27 * 5.0),
        (1, 3 * 4 * 9 * 5.0),
        (2, 4 * 27.0),
        (-1, 4 * 27.0),
        (-3, 2 * 2 * 27 * 5.0),
        ((0,), (540.0,)),
        ((2, 0), (108.0, 540.0)),
        ([1, 2], (540.0, 108.0)),
        ((0, 1, -1), (540.0, 540.0, 108.0)),
    ],
)
def test_argnums(argnums: Any, expected: Any) -> None:
    """A number gives the derivative, several a tuple in their order; whole numbers are floats."""
    assert grad(three, argnums)(2, 3, 5) == expected
    assert value_and_grad(three, argnums=argnums)(2.0, 3.0, 5.0) == (540.0, expected)
    for transformation in (jacfwd, jacrev, jacobian):
        assert transformation(three, argnums)(2, 3, 5) == expected
    second = hessian(three, argnums)(2.0, 3.0, 5.0)
    assert isinstance(second, tuple) == isinstance(expected, tuple)
    if not isinstance(expected, tuple):
        assert second == grad(grad(three, argnums), argnums)(2.0, 3.0, 5.0)
    else:
        assert all(second[i][j] == second[j][i] for i in range(len(second)) for j in range(i))


def test_other_arguments_come_as_they_are() -> None:
    """Whole numbers, text, None and what else there is, positional or by name."""
    seen: list[Any] = []
    thing = object()

    def f(n: int, x: Any, *rest: Any, scale: Any = 1, **options: Any) -> Any:
        seen.append((n, rest, scale, options))
        return sum(x**k for k in range(n)) * scale

    assert grad(f, 1)(3, 2, "text", None, scale=True, thing=thing) == 5.0
    assert seen == [(3, ("text", None), True, {"thing": thing})]
    assert type(seen[0][0]) is int
    assert grad(f, argnums=1)(3, 2.0, scale=3.0) == 15.0
    assert jacobian(f, 1)(3, 2.0, scale=3) == 15.0
    assert hessian(f, 1)(3, 2.0, scale=3) == 6.0


def test_keywords_are_not_differentiated() -> None:
    """As in JAX; a node among them is a node from outside."""
    y = Node(3.0)
    slope = grad(lambda x, *, y: x * x * y)(2.0, y=y)
    assert isinstance(slope, Node)
    slope.backward()
    assert (slope.data, y.grad) == (12.0, 4.0)


def test_the_arguments_are_not_changed() -> None:
    """What the function does to a copy of its argument stays within."""

    def f(x: Any) -> Any:
        x = copy.copy(x)
        x[0] = x[0] * x[1]
        x[1] = x[0] + x[1]
        return x[1] + x[0]

    for xs in ([2.0, 3.0], np.array([2.0, 3.0])):
        assert list(grad(f)(xs)) == [6.0, 5.0]
        assert list(xs) == [2.0, 3.0]


def test_has_aux() -> None:
    """Auxiliary data is passed on as it is, but its traced values as numbers."""
    names = np.array(["a", None], dtype=object)
    whole = np.array([1, 2])

    def f(x: Any) -> Any:
        y = x * x
        aux = {
            "nodes": [x, y, y * 3],
            "array": np.array([x, 2.0, y], dtype=object).reshape(1, 3),
            "mixed": np.array([y, "text"], dtype=object),
            "others": ("text", None, 3, True, whole, names, f),
        }
        return cm.sin(y), aux

    expected = {
        "nodes": [2.0, 4.0, 12.0],
        "others": ("text", None, 3, True, whole, names, f),
    }
    slope, aux = grad(f, has_aux=True)(2.0)
    (value, aux_too), slope_too = value_and_grad(f, has_aux=True)(2.0)
    assert slope == slope_too == math.cos(4.0) * 4.0
    assert value == math.sin(4.0)
    for found in (aux, aux_too):
        assert found["nodes"] == expected["nodes"]
        assert [type(x) for x in found["nodes"]] == [float] * 3
        assert found["array"].dtype == np.float64
        assert found["array"].tolist() == [[2.0, 2.0, 4.0]]
        assert found["mixed"].tolist() == [4.0, "text"]
        assert all(a is b for a, b in zip(found["others"], expected["others"], strict=True))
    assert grad(lambda x: (x * x, None), has_aux=True)(3.0) == (6.0, None)


def test_aux_depends_on_outer_variables() -> None:
    """Also where the result itself does not."""
    inner = grad(lambda x, y: (x * x, x * y), has_aux=True)
    assert grad(lambda y: inner(2.0, y)[1])(3.0) == 2.0
    assert grad(lambda y: inner(y, y)[1])(3.0) == 6.0
    y = Node(3.0)
    slope, aux = grad(lambda x: (x * x, x * y), has_aux=True)(2.0)
    assert slope == 4.0
    aux.backward()
    assert y.grad == 2.0


def test_results_that_do_not_depend_on_the_argument() -> None:
    """Zeros, not errors."""
    assert grad(lambda x: 3)(2.0) == 0.0
    assert grad(lambda x: stop_gradient(x) + 0 * x)(2.0) == 0.0
    assert value_and_grad(lambda x: 3)([2.0, np.ones(2)])[0] == 3.0
    assert jvp(lambda x: [3, np.ones(2)], (1.0,), (1.0,))[1][0] == 0.0
    assert vjp(lambda x: 3, 1.0)[1](5.0) == (0.0,)
    assert hessian(lambda x: 3 * x)(2.0) == 0.0
    assert hessian(lambda x: 3.0)(np.ones(2)).tolist() == [[0.0, 0.0]] * 2


def test_one_result_in_an_array_of_no_axes() -> None:
    """It counts as a number."""
    value, slope = value_and_grad(lambda x: np.array(x * x, dtype=object))(3.0)
    assert (value, slope) == (9.0, 6.0)
    assert grad(lambda x: np.sum(x * x))(np.array([1.0, 2.0])).tolist() == [2.0, 4.0]


def test_numpy_on_arrays_of_nodes() -> None:
    """NumPy's functions work inside."""
    a = np.array([[0.5, 0.2], [0.1, 0.7]])
    f = lambda x: np.sum(np.exp(a @ x) * np.tanh(x)) + np.dot(x, x)  # noqa: E731
    check_grads(f, (np.array([0.3, 0.4]),), order=2)


def test_decorators_and_methods() -> None:
    """A transformed function keeps its name and text, and works as a method."""

    class Model:
        """A model."""

        scale = 3.0

        @grad
        def wrong(self, x: Any) -> Any:
            """Differentiated by self."""

        def energy(self, x: Any) -> Any:
            """The energy."""
            return self.scale * x * x

        force = chainrule.grad(energy, argnums=1)

    assert Model().force(2.0) == 12.0
    assert grad(Model().energy)(2.0) == 12.0
    assert Model.force.__name__ == "energy"
    assert Model.force.__doc__ == "The energy."
    assert repr(Model.force) == "grad(energy)"
    assert repr(hessian(math.sin)) == "hessian(sin)"
    assert repr(jacobian(value_and_grad(three))) == "jacobian(three)"
    with pytest.raises(TypeError, match=r"grad: what it differentiates by holds Model .*argnums"):
        Model().wrong(2.0)


def test_what_a_gradient_takes_over_from_its_function() -> None:
    """Its name, module, text and signature; so do copies, and it has none that there are not."""

    def energy(x: float, weight: float = 2.0) -> float:
        """How much."""
        return weight * x * x

    for made in (grad(energy), copy.copy(grad(energy)), copy.deepcopy(grad(energy))):
        assert (made.__name__, made.__doc__, made.__module__) == ("energy", "How much.", __name__)
        assert list(inspect.signature(made).parameters) == ["x", "weight"]
        assert vars(made)["__wrapped__"] is energy
        assert "__qualname__" in dir(made)
        assert made(3.0) == 12.0
    assert pickle.loads(pickle.dumps(grad(math.sin))).__name__ == "sin"
    half = grad(functools.partial(energy, weight=0.5))
    assert (half(3.0), hasattr(half, "__name__"), repr(half)[:19]) == (
        3.0,
        False,
        "grad(functools.part",
    )
    empty = type(half).__new__(type(half))
    assert not vars(empty)
    assert not hasattr(empty, "__name__")
    with pytest.raises(AttributeError):
        empty(3.0)


@pytest.mark.parametrize("value", [False, True])
def test_a_gradient_of_a_gradient(value: bool) -> None:
    """Of a number, of a list, which is no number, and where an argument is changed."""

    def cubic(x: Any) -> Any:
        return x * x * x

    transform = value_and_grad if value else grad
    assert transform(grad(cubic))(2.0) == ((12.0, 12.0) if value else 12.0)
    assert transform(grad(grad(cubic)))(2.0) == ((12.0, 6.0) if value else 6.0)
    of_list = transform(grad(lambda x: x[0] * x[1]))
    with pytest.raises(TypeError, match=r"one number as result, not \[number, number\]"):
        of_list([1.0, 2.0])
    changing = transform(grad(lambda x: x.pop() * 2.0))
    with pytest.raises(TypeError, match="grad has changed argument 1"):
        changing([1.0])
    assert not PROGRESS.names


# Nodes: as arguments, and from outside


def assert_settled(tree: Any) -> None:
    """No result is traced any more, nothing in its graph stands for an input."""
    assert not PROGRESS.names
    for x in flat(tree):
        if isinstance(x, Node):
            for node in x.sorted_nodes():
                assert node._level == 0
                assert node.operation is not rules.identity
                assert node.data == node._number or node.data != node.data
                assert all(parent._level == 0 for parent in node._parents)
        else:
            assert type(x) is float


NODE_RESULTS: dict[str, Callable[[Any], Any]] = {
    "grad": grad(loop),
    "value_and_grad": value_and_grad(loop),
    "jvp": lambda x: jvp(loop, (x,), (2.0,)),
    "jvp along a node": lambda x: jvp(loop, (0.7,), (x,)),
    "vjp": lambda x: vjp(loop, x)[1](2.0),
    "vjp of a node": lambda x: vjp(loop, 0.7)[1](x),
    "vjp of both": lambda x: vjp(loop, x)[1](x),
    "jacfwd": jacfwd(lambda x: [loop(x), x * x]),
    "jacobian": jacobian(lambda x: np.array([loop(x), x, 3.0])),
    "hessian": hessian(loop),
    "hvp": lambda x: hvp(loop, (x,), (x,)),
    "grad of grad": grad(grad(loop)),
    "jvp of grad": lambda x: jvp(grad(loop), (x,), (x,)),
    "grad at a number": lambda x: grad(lambda t: loop(t * x))(0.7),
    "hessian at a number": lambda x: hessian(lambda t: loop(t * x))(0.7),
    "in an array": lambda x: grad(lambda a: loop(a[0] * a[1]))(np.array([x, 0.7])),
    "in a list": lambda x: grad(lambda a: loop(a[0] * a[1]))([0.7, x]),
    "as other argument": lambda x: grad(lambda t, u: loop(t * u))(0.7, x),
    "aux": lambda x: grad(lambda t: (t, [loop(x * t), t, x]), has_aux=True)(0.7),
}


@pytest.mark.parametrize("name", NODE_RESULTS)
def test_nodes_in_nodes_out(name: str) -> None:
    """The result has the numbers it has for a number, and its graph the right derivative."""
    f = NODE_RESULTS[name]
    x = Node(0.6, name="x")
    results = flat(f(x))
    assert_settled(results)
    numbers = [float(y) for y in flat(f(0.6))]
    slopes = [float(row[0]) for row in differences(lambda t: flat(f(t)), 0.6)]
    assert any(isinstance(y, Node) for y in results)
    for y, number, slope in zip(results, numbers, slopes, strict=True):
        if not isinstance(y, Node):
            assert slope == 0.0
            assert y == number
            continue
        assert y.data == pytest.approx(number, rel=1e-14)
        x.grad = 0.0
        y.backward()
        assert x.grad == pytest.approx(slope, rel=1e-7)
        leaves = [node for node in y.sorted_nodes() if not node._parents]
        assert leaves == [x]


def test_a_derivative_can_be_drawn() -> None:
    """The picture shows the formula, from the node that was given."""
    x = Node(0.0, name="x")
    text = draw_graph(grad(lambda t: t * cm.exp(t))(x)).source
    assert re.findall(r'label="(.*?)" shape=record', text) == [
        "x | data=0.000 | grad=0.0000",
        "data=1.000 | grad=0.0000",  # exp(x)
        "data=0.000 | grad=0.0000",  # x * exp(x)
        "data=1.000 | grad=0.0000",  # and the sum of both
    ]
    assert re.findall(r'op \[label="?([^" ]*)', text) == ["exp", "*", "+"]


def test_numbers_among_nodes_are_constants() -> None:
    """A number that is differentiated by is none of the leaves of the result."""
    w = Node(2.0)
    slope = grad(lambda x: w * cm.sin(x * x + 1))(0.5)
    assert {node for node in slope.sorted_nodes() if not node._parents} == {w}
    assert slope.data == 2.0 * (math.cos(1.25) * 1.0)
    slope.backward()
    assert w.grad == math.cos(1.25)


def test_each_result_depends_on_what_it_depends_on() -> None:
    """Numbers where a result has nothing to do with the nodes from outside."""
    w = Node(2.0)
    value, change = jvp(lambda x: {"a": x * w, "b": x * x, "c": w}, (3.0,), (1.0,))
    assert value["a"].data == 6.0
    assert (value["b"], value["c"]) == (9.0, w)
    assert change["a"] is w
    assert (change["b"], change["c"]) == (6.0, 0.0)


def test_gradient_by_a_captured_weight() -> None:
    """The gradient of a penalty on the gradient, as in double backpropagation."""
    weights = [Node(0.5), Node(-0.3)]
    model = lambda x: cm.tanh(weights[0] * x + weights[1])  # noqa: E731
    penalty = grad(model)(0.7) ** 2
    penalty.backward()

    def by_number(w: Any) -> Any:
        return grad(lambda x: cm.tanh(w[0] * x + w[1]))(0.7) ** 2

    assert [w.grad for w in weights] == pytest.approx(grad(by_number)([0.5, -0.3]), rel=1e-14)
    first = [w.grad for w in weights]
    penalty.backward()  # leaves accumulate
    assert [w.grad for w in weights] == [2 * g for g in first]


def test_the_same_node_twice() -> None:
    """Each place has a derivative of its own."""
    x = Node(3.0)
    both = grad(lambda a, b: a * a * b, argnums=(0, 1))(x, x)
    assert [g.data for g in both] == [18.0, 9.0]
    both[0].backward()
    assert x.grad == 12.0
    assert grad(lambda a: a * a * x)(x).data == 18.0


def test_interior_nodes_from_outside() -> None:
    """A captured result of operations is a constant for the inside, not for the result."""
    x = Node(2.0)
    y = x * x
    slope = grad(lambda t: t * t * y)(3.0)
    slope.backward()
    assert (slope.data, x.grad) == (24.0, 24.0)
    at = grad(lambda t: t * t * x)(y)
    x.grad = 0.0
    at.backward()
    assert (at.data, x.grad) == (16.0, 2 * 3 * 4.0)


def test_changed_data_is_noticed() -> None:
    """As for any graph: computed before its leaf was changed."""
    x = Node(2.0)
    slope = grad(lambda t: t**3)(x)
    x.data = 5.0
    with pytest.raises(ValueError, match="was changed after power_term had used it"):
        slope.backward()


# Against plain backpropagation, over random programs


def functions() -> dict[str, Any]:
    """What random programs call."""
    found: dict[str, Any] = dict(rules.OPERATIONS)
    found.update({name: getattr(cm, name) for name in cm.__all__})
    found.update(t=cm.tanh, abs=abs)
    return found


CALLED = functions()
BY_IDENTITY = re.compile(r"[xv]\d+ [!=]= [xv]\d+")  # == of plain nodes is not of values
examples = settings(
    max_examples=400 if COMPILED else 150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def sums_of_two(root: Any) -> bool:
    """Whether every gradient is the sum of at most two terms, so that their order is no matter."""
    if not isinstance(root, Node):
        return True
    uses = Counter(parent for node in root.sorted_nodes() for parent in node._parents)
    return max(uses.values(), default=0) <= 2


@examples
@given(st.integers(0, 2**31), st.integers(1, 12), st.booleans())
def test_gradient_is_backward(seed: int, statements: int, exact: bool) -> None:
    """Infinities, NaN and structural zeros included; bit for bit but for the order of sums."""
    made = program(seed, statements, exact)
    assume(not BY_IDENTITY.search(made.source))
    f = made.function(CALLED)
    for row in points(seed, made.inputs, 6, special=0.3):
        leaves = [Node(x) for x in row]
        try:
            root = f(np.array(leaves)) if made.as_array else f(*leaves)
        except ZeroDivisionError:  # of plain numbers
            continue
        if isinstance(root, Node):
            root.backward()
        argnums = 0 if made.as_array else tuple(range(made.inputs))
        args = (np.array(row),) if made.as_array else row
        value, found = value_and_grad(f, argnums)(*args)
        assert same(value, root.data if isinstance(root, Node) else float(root))
        expected = [leaf.grad + 0.0 for leaf in leaves]
        gradient = [float(x) + 0.0 for x in found]
        if sums_of_two(root):
            assert all(map(same, gradient, expected)), (row, gradient, expected)
        else:
            size = max((abs(x) for x in expected if math.isfinite(x)), default=0.0)
            assert gradient == pytest.approx(
                expected, nan_ok=True, rel=1e-9, abs=1e-9 * size + 1e-15
            )
        matrix = jacrev(f, argnums)(*args)
        assert all(same(float(a), float(b)) for a, b in zip(matrix, found, strict=True))


@examples
@given(st.integers(0, 2**31), st.integers(1, 12))
def test_forward_is_reverse(seed: int, statements: int) -> None:
    """At ordinary points both modes agree, and with the gradient of nodes."""
    made = program(seed, statements, exact=False)
    f = made.function(CALLED)
    for row in points(seed, made.inputs, 2, special=0.0):
        argnums = 0 if made.as_array else tuple(range(made.inputs))
        args: list[Any] = [np.array(row)] if made.as_array else row
        try:
            reverse = flat(jacrev(f, argnums)(*args))
        except ZeroDivisionError:
            continue
        forward = flat(jacfwd(f, argnums)(*args))
        nodes = [np.array([Node(x) for x in row])] if made.as_array else [Node(x) for x in row]
        of_nodes = flat(grad(f, argnums)(*nodes))
        assert_settled(of_nodes)
        values = [g.data if isinstance(g, Node) else g for g in of_nodes]
        assert values == pytest.approx(reverse, nan_ok=True, rel=1e-15)
        if all(math.isfinite(x) for x in forward + reverse):
            size = max(map(abs, forward + reverse), default=0.0)
            assert forward == pytest.approx(reverse, rel=1e-6, abs=1e-9 * size)


# Zeros, infinities, NaN


STOPPED: dict[str, tuple[Callable[[Any], Any], float]] = {
    "where at the edge": (lambda x: cm.where(x > 0, cm.sqrt(x), 0.0), 0.0),
    "where outside": (lambda x: cm.where(x > 0, cm.sqrt(x), 0.0), -1.0),
    "where of a logarithm": (lambda x: cm.where(x > 0, x * cm.log(x), 0.0), -1.0),
    "where of nested": (lambda x: cm.where(x > 1, cm.sqrt(cm.log(x)), cm.where(x > 0, x, 0)), 0.0),
    "where of a quotient": (lambda x: cm.where(x != 0, cm.sin(x) / x, 0.0), 0.0),
    "times 0": (lambda x: 0.0 * cm.log(x) if x != x else x * 0.0, 0.0),
}


@pytest.mark.parametrize("name", STOPPED)
@pytest.mark.parametrize("way", DERIVATIVES)
def test_what_was_not_picked_is_sent_nothing(name: str, way: str) -> None:
    """Whatever its slope; at any order, eagerly and by nodes."""
    f, x = STOPPED[name]
    derivative = DERIVATIVES[way]
    assert derivative(f)(x) == 0.0
    assert derivative(derivative(f))(x) == 0.0
    of_node = derivative(f)(Node(x))
    assert (of_node.data if isinstance(of_node, Node) else of_node) == 0.0
    leaf = Node(x)
    f(leaf).backward()
    assert leaf.grad == 0.0


@pytest.mark.parametrize("live", [False, True], ids=["number", "node"])
def test_infinities_and_nan_come_through(live: bool) -> None:
    """As IEEE 754 has it: nothing is hidden but what was not picked."""
    cases: list[tuple[Callable[[Any], Any], float, float]] = [
        (cm.sqrt, 0.0, math.inf),
        (cm.log, 0.0, math.inf),
        (lambda x: 1 / x, 0.0, -math.inf),
        (cm.sqrt, -1.0, math.nan),
        (lambda x: cm.sqrt(x) * x, 0.0, math.nan),  # 0 times infinity
        (lambda x: cm.sqrt(x) - cm.sqrt(x), 0.0, math.nan),
        (lambda x: cm.relu(-cm.sqrt(x)), 0.0, 0.0),
        (lambda x: x**2, math.inf, math.inf),
        (lambda x: x * 1e300 * 1e300, 1.0, math.inf),
        (lambda x: cm.exp(x) * 0.0, 1000.0, math.nan),
        (lambda x: cm.where(x > 2000.0, cm.exp(x), 1.0), 1000.0, 0.0),
        (lambda x: abs(x) + cm.relu(x) + cm.sign(x), 0.0, 0.0),
        (lambda x: cm.maximum(x, 0.0) + cm.minimum(x, 0.0), 0.0, 1.0),
    ]
    for f, x, expected in cases:
        leaf = Node(x)
        f(leaf).backward()
        found = grad(f)(Node(x) if live else x)
        number = found.data if isinstance(found, Node) else found
        assert same(number + 0.0, expected), (x, number, expected)
        assert same(leaf.grad + 0.0, expected)


def test_anomalies_are_named() -> None:
    """Inside detect_anomaly a derivative that is not finite is an error, in each mode."""
    f = lambda x: cm.sqrt(x) + 1  # noqa: E731
    for derivative in DERIVATIVES.values():
        with (
            detect_anomaly(),
            pytest.raises(
                FloatingPointError,
                match=r"^derivative inf at sqrt\(0\) = 0 at .*test_transforms\.py",
            ),
        ):
            derivative(f)(0.0)
        assert derivative(f)(0.0) == math.inf
    with detect_anomaly(), pytest.raises(FloatingPointError, match="derivative inf at sqrt"):
        jacobian(f, sparse=True)(0.0)
    with detect_anomaly(), pytest.raises(FloatingPointError, match=r"divide\(0.5, 0\) = inf at"):
        grad(f)(Node(0.0))
    with detect_anomaly():
        assert grad(f)(4.0) == 0.25
    assert not PROGRESS.names


# Users' operations


def test_operations_of_users() -> None:
    """Their local gradients are made floats, of full precision."""
    half = Operation("half", lambda x: 0.5 * x, [lambda y, x: np.float32(0.5)])
    count = Operation("count", lambda x: 3.0 * x, [lambda y, x: 3])
    assert grad(lambda x: half(x) * 0.1)(1.0) == 0.05
    assert type(grad(half)(1.0)) is float
    assert (grad(count)(1.0), type(grad(count)(1.0))) == (3.0, float)
    assert grad(lambda x: count(x) * x)(Node(2.0)).data == 12.0
    assert jvp(count, (1.0,), (0.1,))[1] == 0.1 * 3


@pytest.mark.parametrize("name", DERIVATIVES)
def test_local_gradients_that_are_nodes(name: str) -> None:
    """Computed with a weight, say: the derivative of a function of numbers is a node then."""
    weight = Node(3.0)
    scaled = Operation("scaled", lambda x: x * weight.data, [lambda y, x: weight])
    found = DERIVATIVES[name](lambda x: scaled(x) * x * x)(2.0)
    assert isinstance(found, Node)
    assert found.data == 36.0
    found.backward()
    assert weight.grad == 4.0  # what it is computed with, as a node


def test_pulling_back_through_nodes_later() -> None:
    """Local gradients that are nodes are computed as the function runs, not as it pulls back."""
    weight = Node(3.0)
    scaled = Operation("scaled", lambda x: 3.0 * x, [lambda y, x: weight])
    value, pull_back = vjp(lambda x: (scaled(x) * x, x + 1.0), 2.0)
    assert value == (12.0, 3.0)
    weight = Node(100.0)
    (found,) = pull_back((1.0, 0.5))
    assert found.data == 12.5
    assert jacobian(lambda x: [scaled(x), x], sparse=True)(2.0).toarray()[0, 0].data == 100.0


@pytest.mark.parametrize("answer", ["2", None, 2j, [1.0]])
def test_local_gradients_that_are_no_numbers(answer: Any) -> None:
    """The same error as in plain backpropagation."""
    odd = Operation("odd", lambda x: x, [lambda y, x: answer])
    message = rf"a local gradient of odd must be a real number, not {type(answer).__name__}"
    for argument in (2.0, Node(2.0)):
        for derivative in DERIVATIVES.values():
            with pytest.raises(TypeError, match=message):
                derivative(odd)(argument)
    with pytest.raises(TypeError, match=message):
        odd(Node(2.0)).backward()


class Doubled(Node):
    """A user's own class of node."""

    def __init__(self, x: Node) -> None:
        super().__init__(2.0 * x._number, (x,))

    def _local_grad(self, parent: Node) -> float:
        return 2.0


def test_users_own_nodes() -> None:
    """A class with local gradients by hand can't be followed; an operation can."""
    for derivative in DERIVATIVES.values():
        with pytest.raises(TypeError, match=r"Doubled gives .* numbers.*define an Operation"):
            derivative(lambda x: Doubled(x) * x)(3.0)
    assert not PROGRESS.names
    outside = Doubled(Node(3.0))  # one that no transformation concerns is a node like any other
    assert grad(lambda x: x * outside)(2.0) is outside
    assert grad(lambda x: x * x)(outside).data == 12.0


class Reading(Node):
    """A user's own class of node that reads its parent's value."""

    def __init__(self, x: Node) -> None:
        super().__init__(2.0 * x.data, (x,))


def test_users_own_nodes_that_read_data() -> None:
    """They meet the error for reading."""
    with pytest.raises(TracedValueError, match=r"reading the data of .*test_transforms\.py"):
        grad(Reading)(3.0)


# Sparse derivatives


def rosenbrock(x: Any) -> Any:
    """Each number is in a term with its neighbours only."""
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in itertools.pairwise(x))


def stencil(x: Any) -> Any:
    """A band matrix: each result depends on three numbers."""
    n = len(x)
    inner = [cm.sin(x[i - 1]) * x[i] + x[i + 1] ** 2 for i in range(1, n - 1)]
    return [x[0], *inner, 2.5, x[n - 1] * x[0]]


def pattern(matrix: Any) -> set[tuple[int, int]]:
    """Where something is stored."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return set(zip(rows.tolist(), matrix.indices.tolist(), strict=True))


@pytest.mark.parametrize("special", [False, True], ids=["anywhere", "at zeros"])
def test_sparse_jacobian(special: bool) -> None:
    """The dense one's numbers, stored where the structure of the graph has them."""
    x = np.zeros(7) if special else np.linspace(0.2, 1.4, 7)
    found = jacobian(stencil, sparse=True)(x)
    assert isinstance(found, scipy.sparse.csr_array)
    assert found.dtype == np.float64
    assert found.has_sorted_indices
    assert (found.toarray() == np.array(jacrev(stencil)(x))).all()
    band = {(i, i + k) for i in range(1, 6) for k in (-1, 0, 1)}
    assert pattern(found) == band | {(0, 0), (7, 6), (7, 0)} - {(6, j) for j in range(7)}
    assert found.shape == (8, 7)


@pytest.mark.parametrize("special", [False, True], ids=["anywhere", "at zeros"])
def test_sparse_hessian(special: bool) -> None:
    """A chain of neighbours is a tridiagonal matrix."""
    x = np.zeros(6) if special else np.linspace(-1.0, 1.4, 6)
    found = hessian(rosenbrock, sparse=True)(x)
    assert isinstance(found, scipy.sparse.csr_array)
    dense = hessian(rosenbrock)(x)
    assert (found.toarray() == dense).all()
    assert pattern(found) == {(i, j) for i in range(6) for j in range(6) if abs(i - j) <= 1}


def test_sparse_at_poles() -> None:
    """What was not picked has 0 there, with its place kept."""

    def f(x: Any) -> Any:
        return [cm.where(x[0] > 0, cm.sqrt(x[0]), 0.0), x[1] * 0.0 * cm.log(x[0])]

    for point in ([0.0, 1.0], [-1.0, 1.0], [2.0, 0.0]):
        found = jacobian(f, sparse=True)(point)
        assert pattern(found) == {(0, 0), (1, 0), (1, 1)}
        leaves = [Node(x) for x in point]
        for row, y in zip(found.toarray().tolist(), f(leaves), strict=True):
            leaves[0].grad = leaves[1].grad = 0.0
            y.backward()
            assert all(map(same, (x + 0.0 for x in row), (leaf.grad + 0.0 for leaf in leaves)))


def test_sparse_of_trees() -> None:
    """A row for each number of the result, a column for each of the arguments, in order."""

    def f(a: Any, b: Any) -> Any:
        return {"p": [a["u"] * b[1], 3.0], "q": np.array([[b[0] ** 2, a["v"]]])}

    a, b = {"v": 2.0, "u": 3.0}, np.array([5.0, 7.0])
    found = jacobian(f, (0, 1), sparse=True)(a, b)
    expected: list[list[float]] = [[7.0, 0, 0, 3.0], [0] * 4, [0, 0, 10.0, 0], [0, 1.0, 0, 0]]
    assert found.toarray().tolist() == expected
    assert jacobian(f, 1, sparse=True)(a, b).toarray().tolist() == [r[2:] for r in expected]
    assert jacobian(f, sparse=True)(a, b).toarray().tolist() == [r[:2] for r in expected]


def test_sparse_of_nothing() -> None:
    """Constant functions, and steps, have nothing to store."""
    constant: Any = lambda x: [3.0, 2.0]  # noqa: E731
    for f in (constant, lambda x: [cm.floor(x[0]), stop_gradient(x[1])]):
        found = jacobian(f, sparse=True)(np.ones(3))
        assert (found.shape, found.nnz) == ((2, 3), 0)
    linear = hessian(lambda x: x[0] + 2 * x[1], sparse=True)(np.ones(2))
    assert (linear.shape, linear.nnz) == ((2, 2), 0)


def test_sparse_with_nodes() -> None:
    """Nodes among the entries: a matrix of nodes, by the same rows."""
    xs = np.array([Node(x) for x in np.linspace(-1.0, 1.4, 5)])
    found = hessian(rosenbrock, sparse=True)(xs)
    assert isinstance(found, SparseNodes)
    assert_settled(list(found.data))
    assert repr(found) == "<SparseNodes of shape (5, 5) with 13 stored entries>"
    numbers = hessian(rosenbrock)(np.linspace(-1.0, 1.4, 5))
    dense = found.toarray()
    assert dense.shape == (5, 5)
    for i, j in np.ndindex(5, 5):
        entry = dense[i, j]
        assert (entry.data if isinstance(entry, Node) else entry) == numbers[i, j]
    assert dense[1, 2] is dense[2, 1]
    dense[0, 0].backward()  # 1200 x0² - 400 x1 + 2
    assert [x.grad for x in xs] == pytest.approx([-2400.0, -400.0, 0.0, 0.0, 0.0])
    assert jacobian(lambda x: [3 * x[0]], sparse=True)(xs).toarray()[0, 0] == 3.0


def test_sparse_matrices_are_trees_of_their_entries() -> None:
    """Functions of the entries can be differentiated again."""

    def f(x: Any) -> Any:
        return sum(jacobian(stencil, sparse=True)(x).data)

    def dense(x: Any) -> Any:
        return sum(flat(jacobian(stencil)(x)))

    x = np.linspace(0.2, 1.4, 5)
    assert grad(f)(x) == pytest.approx(grad(dense)(x), rel=1e-14)
    nested = jacobian(jacobian(stencil, sparse=True))(x)
    assert isinstance(nested, SparseNodes)


@pytest.mark.skipif(COMPILED, reason="counts calls inside the engine")
@pytest.mark.parametrize(
    "derivative", [jacobian(stencil, sparse=True), hessian(rosenbrock, sparse=True)]
)
def test_sparse_cost(derivative: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of products grows as the entries do."""
    times, calls = differentiation.times, 0

    def counted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return times(*args)

    monkeypatch.setattr(differentiation, "times", counted)
    counts = []
    for n in (50, 100, 200):
        calls = 0
        entries = derivative(np.linspace(0.2, 1.4, n)).nnz
        counts.append(calls)
        assert calls < 40 * entries
    assert counts[2] - counts[1] == pytest.approx(2 * (counts[1] - counts[0]), rel=0.02)


def test_sparse_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install; matrices of nodes do without."""
    monkeypatch.setitem(__import__("sys").modules, "scipy.sparse", None)
    with pytest.raises(ImportError, match=r"pip install 'chainrule\[sparse\]'"):
        jacobian(stencil, sparse=True)(np.ones(3))
    xs = np.array([Node(1.0) for _ in range(3)])
    assert isinstance(jacobian(stencil, sparse=True)(xs), SparseNodes)


# check_grads


def test_check_grads_passes() -> None:
    """Right derivatives, of trees, of any order."""
    check_grads(bump, (0.7,), order=3)
    check_grads(several, (TREES["mixed"],), order=2)
    check_grads(three, (2, 3.0, np.array([[5.0]])), order=2)
    check_grads(three, [0.2, 0.3, 0.5], order=1, modes=["rev"])
    check_grads(lambda x: 3.0, (1.0,))
    check_grads(lambda x: [], (1.0,))


wrong_first = Operation("wrong", lambda x: math.sin(x), [lambda y, x: -cm.cos(x)])
wrong_second = Operation("wrong", lambda x: math.sin(x), [lambda y, x: stop_gradient(cm.cos(x))])


@pytest.mark.parametrize(
    ("f", "options", "message"),
    [
        (wrong_first, {}, r"derivative 1 \(fwd\) along"),
        (wrong_first, {"modes": ("rev",)}, r"derivative 1 \(rev\) along"),
        (wrong_second, {}, r"derivative 2 \(fwd of fwd\) along"),
        (wrong_second, {"modes": ["rev"]}, r"derivative 2 \(rev of rev\) along"),
        (lambda x: cm.sqrt(x), {"order": 1}, r"derivative 1 .* is (nan|-?inf)"),
        (abs, {"order": 1, "atol": 0.0, "rtol": -1.0}, r"is -1.3\d+, .* -1.3\d+; they differ by"),
    ],
)
def test_check_grads_fails(f: Callable[..., Any], options: Any, message: str) -> None:
    """Wrong ones, with both numbers; and what is not a number is not right."""
    point = 0.0 if "sqrt" in str(message) or "nan" in message else 0.7
    with pytest.raises(AssertionError, match=message) as caught:
        check_grads(f, (point,), **options)
    assert "by central differences" in str(caught.value)
    assert "they differ by" in str(caught.value)


def test_check_grads_finds_one_wrong_entry() -> None:
    """The direction has no zeros."""
    f = lambda x: [x[0], x[1] * stop_gradient(x[2]), x[2]]  # noqa: E731
    with pytest.raises(AssertionError, match="derivative 1"):
        check_grads(f, ([0.1, 0.2, 0.3],))


NUMBERS_ALONE: dict[str, Callable[..., Any]] = {
    "a loop": lambda x, y: [x := cm.tanh(x * y + 0.1) for _ in range(40)][-1],
    "shared": lambda x, y: (x * y + x / y - x) * (x * y + cm.exp(x) ** 2),
    "picks": lambda x, y: cm.maximum(x, y) * cm.relu(x - 5) + abs(y) + cm.where(x > y, x, y * y),
    "many operands": lambda x, y: cm.hypot(x, y, x * y) + cm.fsum([x, y, x, x * y]),
    "not reached": lambda x, y: cm.relu(-x * x) + y,
    "an input itself": lambda x, y: y,
}


@pytest.mark.parametrize("name", NUMBERS_ALONE)
def test_the_gradient_of_numbers_is_that_of_backward(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, in its pass: no derivative is built as a graph."""
    f = NUMBERS_ALONE[name]
    rng = random.Random(3)
    places = [(rng.gauss(0, 2), rng.gauss(0, 2)) for _ in range(50)]
    wanted = []
    for point in places:
        x, y = map(Node, point)
        root = f(x, y)
        root.backward()
        wanted.append((root.data, (x.grad, y.grad)))
    monkeypatch.setattr("chainrule.transforms.linearization", None)
    assert [value_and_grad(f, (0, 1))(*point) for point in places] == wanted


@pytest.mark.parametrize("transform", [grad, value_and_grad, jacobian, chainrule.vmap])
def test_what_is_transformed_stays(transform: Callable[..., Any]) -> None:
    """Compiled functions do not look whether it is another function by now."""
    transformed = transform(cm.sin)
    with pytest.raises(AttributeError):
        transformed.function = cm.cos
    assert transformed.function is cm.sin
    assert copy.copy(transformed).function is cm.sin
