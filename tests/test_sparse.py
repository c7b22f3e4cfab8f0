"""Sparse derivatives: compiled, and of one pattern for all values."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import Node, compile, hessian, jacobian, lax
from chainrule import math as cm


@pytest.mark.parametrize(
    "derivative",
    [
        jacobian(lambda x: x[1:] - x[:-1], sparse=True),
        jacobian(lambda x: [3.0, 2.0 * x[0]], sparse=True),
        jacobian(lambda x: [3.0], sparse=True),
        hessian(lambda x: x[0] * x[1], sparse=True),
        hessian(lambda x: x[0] + x[1], sparse=True),
        hessian(lambda x: x[0] * x[1] ** 2, sparse=True),
        cr.jacfwd(lambda x: x[1:] * x[:-1], sparse=True),
        cr.jacrev(lambda x: x[1:] - x[:-1], sparse=True),
    ],
)
def test_sparse_derivatives_compile(derivative: Any) -> None:
    """Whether or not an entry depends on the input; each result is the caller's own."""
    f = cr.compile(derivative)
    x = np.array([1.0, 2.0, 4.0])
    for _ in range(3):
        found, expected = f(x), derivative(x)
        assert type(found) is type(expected)
        assert (found.toarray() == expected.toarray()).all()
        assert (found.indices == expected.indices).all()
        found.data[:] = 0.0
        found.eliminate_zeros()
        found.indices[:] = 7
        found.indptr[:] = 0


def test_a_sparse_result_among_others() -> None:
    """In a tree, and of nodes."""
    inner = jacobian(lambda x: x[1:] - x[:-1], sparse=True)
    f = cr.compile(lambda x: {"j": inner(x), "sum": x.sum()})
    found = f(np.arange(3.0))
    assert found["sum"] == 3.0
    assert found["j"].toarray().tolist() == [[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]]
    g = cr.compile(lambda x, k: jacobian(lambda v: [k * v[0]], sparse=True)(x))
    for _ in range(2):
        matrix = g(np.arange(3.0), Node(2.0))
        assert matrix.toarray()[0, 0].data == 2.0
        matrix.indices[:] = 2


@pytest.mark.parametrize("name", sorted(set(cr.rules.OPERATIONS) - {"gather"}))
def test_one_pattern_for_all_values(name: str) -> None:
    """A sparse Jacobian has the entries that an input can reach, whatever its values."""
    operation = cr.rules.OPERATIONS[name]
    numbers = [i for i, by in enumerate(operation.local_grads) if by is None]
    count = 3 if operation.variadic else len(operation.local_grads)
    patterns = set()
    for point in ((0.0, 0.0, 0.0, 0.0), (1.0, -1.0, 2.0, 1.0), (-2.0, 3.0, 0.5, 0.0)):

        def f(x: Any, point: Any = point) -> list[Any]:
            given = [point[i] if i in numbers else x[i] for i in range(count)]
            return [operation(*given) * 0.0 * x[3]]

        matrix = jacobian(f, sparse=True)(np.array(point))
        patterns.add(tuple(matrix.indices))
    assert len(patterns) == 1


BRANCHED: dict[str, Callable[[Any], Any]] = {
    "where": lambda v: cm.where(v[0] > 0, v[0] * v[1], v[1] ** 2 * v[2]),
    "where in where": lambda v: cm.where(
        v[0] > 0, v[0] * v[1], cm.where(v[1] > 2, v[2] * v[1], v[0] ** 3)
    ),
    "maximum": lambda v: cm.maximum(v[0] * v[1], v[2] * v[2]) * v[1],
    "relu": lambda v: cm.sqrt(cm.relu(v[0] * v[1])) * v[2],
    "a factor of 0": lambda v: v[0] * v[1] ** 2,
    "abs": lambda v: abs(v[0] - 1) * v[1],
}


@pytest.mark.parametrize("name", BRANCHED)
def test_second_derivatives_have_one_pattern_for_all_values(name: str) -> None:
    """Eagerly what was not picked is 0 and has its place, as compiled."""
    f = BRANCHED[name]
    compiled = compile(hessian(f, sparse=True))
    patterns = set()
    for x in ([1.0, 2.0, 3.0], [-1.0, 2.0, 0.5], [-1.0, 2.5, 0.5], [0.0, 0.0, 0.0]):
        found = hessian(f, sparse=True)(np.array(x))
        dense = hessian(f)(np.array(x))
        np.testing.assert_allclose(found.toarray(), dense, rtol=1e-13)
        fast = compiled(np.array(x))
        np.testing.assert_allclose(fast.toarray(), dense, rtol=1e-13)
        patterns |= {(tuple(m.indices), tuple(m.indptr)) for m in (found, fast)}
    assert len(patterns) == 1


def banded(random: Random, size: int) -> tuple[Any, int]:
    """A function in loops whose results depend on inputs near each other, and how many it takes."""
    width = random.choice((2, 3, 5))
    inputs = size * width if random.random() < 0.3 else size
    step = random.choice((1, 1, 1, -1, 2, 3))
    reach = random.randint(1, 3)
    around = random.random() < 0.3
    grid = random.random() < 0.3
    shuffled = random.sample(range(inputs), inputs) if random.random() < 0.2 else range(inputs)
    kinds = [random.randrange(7) for _ in range(reach)]
    handed = random.random() < 0.3

    def term(y: Any, z: Any, kind: int) -> Any:
        if kind == 0:
            return y * z
        if kind == 1:
            return y + cm.sin(z) * y
        if kind == 2:
            return cm.maximum(y, z * z)
        if kind == 3:
            return cm.where(z > 0.0, y * z, y)
        if kind == 4:
            return y - 3.0 * z
        return y / (2.0 + z * z) if kind == 5 else y * cm.stop_gradient(z)

    def f(x: Any) -> Any:
        results = []
        if grid:
            rows = inputs // width
            for i in range(rows - 1):
                for j in range(width - 1):
                    y = x[shuffled[i * width + j]]
                    y = term(y, x[shuffled[i * width + j + 1]], kinds[0])
                    results.append(term(y, x[shuffled[(i + 1) * width + j]], kinds[-1]))
            return results
        before = 1.0
        places = range(inputs - 1, -1, -1) if step < 0 else range(0, inputs, step)
        for i in places:
            y = x[shuffled[i]] * x[shuffled[i]]
            for k, kind in enumerate(kinds, 1):
                if around or i + k < inputs:
                    y = term(y, x[shuffled[(i + k) % inputs]], kind)
            if handed:
                y, before = y * before, x[shuffled[i]]
            results.append(y)
        return results

    return f, inputs


@pytest.mark.parametrize("seed", range(60))
def test_bands(seed: int) -> None:
    """Sparse derivatives of loops are those of eager code, entry by entry."""
    random = Random(seed)
    f, inputs = banded(random, random.choice((7, 61, 90)))

    def total(x: Any) -> Any:
        return sum(y * y for y in f(x)) if seed % 2 else sum(f(x))

    def all_of_it(x: Any) -> Any:
        return (
            jacobian(lambda x: np.array(f(x)), sparse=True)(x),
            hessian(total, sparse=True)(x),
            hessian(lambda x: total(x) * (x[0] if seed % 3 == 0 else 1.0), sparse=True)(x),
        )

    compiled = cr.compile(all_of_it)
    for _ in range(3):
        x = np.array([random.choice((0.0, random.gauss(0.0, 1.0))) for _ in range(inputs)])
        for found, right in zip(compiled(x), all_of_it(x), strict=True):
            assert found.indptr.tolist() == right.indptr.tolist()
            assert found.indices.tolist() == right.indices.tolist()
            np.testing.assert_allclose(found.data, right.data, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_bands_at_many_points(seed: int) -> None:
    """A loop over points rolls, with the sparse derivatives in it."""
    random = Random(seed)
    f, inputs = banded(random, random.choice((7, 12)))
    derivative = (jacobian if seed % 2 else hessian)(
        lambda x: f(x) if seed % 2 else sum(y * x[0] for y in f(x)), sparse=True
    )

    def entries(x: Any) -> Any:
        total: Any = 0.0
        for k in range(20):
            for entry in derivative(x * (1.0 + k)).data:
                total = total + entry * entry
        return total

    compiled = cr.compile(entries)
    for _ in range(2):
        x = np.array([random.choice((0.0, random.gauss(0.0, 1.0))) for _ in range(inputs)])
        np.testing.assert_allclose(compiled(x), entries(x), rtol=1e-11)


INSIDE: dict[str, Callable[[Any], Any]] = {
    "a constant point": lambda x: hessian(BRANCHED["where"], sparse=True)(np.ones(3)).data * x[0],
    "a part of a gradient": lambda x: jacobian(
        lambda v: cr.grad(BRANCHED["abs"])(v)[1:], sparse=True
    )(x),
    "a gradient, reversed": lambda x: jacobian(
        lambda v: cr.grad(BRANCHED["relu"])(v)[::-1], sparse=True
    )(x),
    "a gradient and more": lambda x: jacobian(
        lambda v: [v[0] * v[0], *cr.grad(lambda w: w[0] * w[1] * w[2])(v)], sparse=True
    )(x),
    "twice a gradient": lambda x: jacobian(
        lambda v: 2.0 * cr.grad(lambda w: w[0] * w[1] * w[2])(v), sparse=True
    )(x),
    "by one argument": lambda x: hessian(lambda v, w: v[0] * v[1] * w, sparse=True)(x, x[0]),
    "the same twice": lambda x: jacobian(
        lambda v: cr.grad(lambda w: w[0] * w[1] ** 2 * w[2])([v[0], v[0], v[1]]), sparse=True
    )(x),
    "products": lambda x: jacobian(
        lambda v: cr.grad(lambda w: w[0] * w[1] ** 2 * w[2])([v[0] * v[1], v[1], v[2]]), sparse=True
    )(x),
    "a gradient of a gradient": lambda x: jacobian(
        lambda v: cr.grad(lambda w: cr.grad(lambda u: u[0] ** 3 * u[1])(w)[0] * w[2])(v),
        sparse=True,
    )(x),
    "a gradient beside it": lambda x: jacobian(
        lambda v: [cr.grad(lambda w: w * w * v[1])(v[0]), cr.grad(lambda w: w**3)(v[2])],
        sparse=True,
    )(x),
    "what it does not depend on": lambda x: jacobian(
        lambda v: [cr.grad(lambda w: w * w * v[1])(v[0]), v[1]][1:], sparse=True
    )(x),
    "a question": lambda x: (
        hessian(BRANCHED["maximum"], sparse=True)(x).data[0] * 2.0
        if hessian(BRANCHED["abs"], sparse=True)(x).data[0] > 0.0
        else hessian(BRANCHED["abs"], sparse=True)(x).data
    ),
    "its derivative": lambda x: cr.grad(
        lambda v: sum(hessian(lambda w: w[0] ** 3 * w[1] * w[2], sparse=True)(v).data)
    )(x),
    "a pull-back": lambda x: jacobian(
        lambda v: cr.vjp(BRANCHED["maximum"], v)[1](2.0)[0], sparse=True
    )(x),
    "a pull-back of its own": lambda x: jacobian(
        lambda v: cr.vjp(BRANCHED["maximum"], v)[1](v[0])[0], sparse=True
    )(x),
    "a sum of products": lambda x: hessian(
        lambda v: cr.math.fsum([v[0] * v[1], v[2] ** 3]), sparse=True
    )(x),
}


@pytest.mark.parametrize("name", INSIDE)
def test_gradients_inside(name: str) -> None:
    """Whatever a sparse derivative is of, it is compiled as it is eagerly."""
    f = INSIDE[name]
    compiled = compile(f)
    for x in ([1.0, 2.0, 3.0], [-1.0, 2.0, 0.5], [-1.0, 2.5, 0.5], [0.0, 0.0, 0.0]):
        found, right = compiled(np.array(x)), f(np.array(x))
        assert type(found) is type(right)
        if hasattr(right, "indices"):
            assert found.indices.tolist() == right.indices.tolist()
            assert found.indptr.tolist() == right.indptr.tolist()
            found, right = found.data, right.data
        np.testing.assert_allclose(found, right, rtol=1e-13)


def _by_data(random: Random) -> Callable[..., Any]:
    """A function of a table of rows, of numbers and of index arrays that say what meets what."""
    way = random.choice(["map", "scan", "vmap", "vmap of rows", "loop"])
    terms = [random.choice(["product", "floor", "where", "constant", "none"]) for _ in range(2)]
    shared = random.random() < 0.3

    def error(row: Any, other: Any, w: Any, first: Any) -> Any:
        results = [row[0] * other[1] - w]
        for term in terms:
            if term == "product":
                results.append(cm.sin(row[1]) * other[0] * w)
            elif term == "floor":
                results.append(row[0] * cm.where(other[1] > 0.3, 2.0, 0.5))
            elif term == "where":
                results.append(cm.where(w > 0.0, row[1], other[0]))
            elif term == "constant":
                results.append(0.5)
        if shared:
            results.append(first * w)
        return results

    def f(table: Any, w: Any, i: Any, j: Any) -> Any:
        first = table[0, 0]
        if way == "map":
            return lax.map(lambda x: error(table[x[0]], table[x[1]], x[2], first), (i, j, w))
        if way == "scan":

            def step(carry: Any, x: Any) -> Any:
                return carry * 0.5 + x[2], error(table[x[0]], table[x[1]], x[2], first)

            return lax.scan(step, table[1, 1], (i, j, w))
        if way == "vmap":
            return cr.vmap(error, in_axes=(0, 0, 0, None))(table[i], table[j], w, first)
        if way == "vmap of rows":
            return cr.vmap(lambda i, j, w: error(cr.take(table, i), cr.take(table, j), w, first))(
                i, j, w
            )
        return [error(table[i[k]], table[j[k]], w[k], first) for k in range(len(i))]

    return f


@pytest.mark.parametrize("seed", range(40))
def test_blocks_from_data(seed: int) -> None:
    """Index arrays say where entries are: those of eager code, for each call's own indices."""
    random, rng = Random(seed), np.random.default_rng(seed)
    f = _by_data(random)
    rows, count = 5, random.choice([6, 17])
    derivative = jacobian(f, argnums=(0, 1), sparse=True)
    by_hand = jacobian(lambda t, w, i, j: cr.vmap(lambda k: k * w[0])(t[i, 0]), sparse=True)
    how = random.randrange(3)
    compiled = compile(derivative)
    if how == 1:
        compiled = compile(lambda *args: (derivative(*args), by_hand(*args))[0])
    for _ in range(2):
        i, j = rng.integers(-rows if how == 2 else 0, rows, (2, count))
        args = rng.normal(size=(rows, 2)), rng.normal(size=count), i, j
        found, right = compiled(*args), derivative(*args)
        assert found.shape == right.shape
        assert found.indptr.tolist() == right.indptr.tolist()
        assert found.indices.tolist() == right.indices.tolist()
        np.testing.assert_allclose(found.data, right.data, rtol=1e-13, atol=1e-15)


def test_blocks_are_traced_once() -> None:
    """However many observations there are, the program has one iteration of them."""

    def f(table: Any, i: Any, j: Any) -> Any:
        return lax.map(lambda x: table[x[0]] * cm.sin(table[x[1]]), (i, j))

    sizes = []
    for count in (40, 400):
        compiled = compile(jacobian(f, sparse=True))
        i, j = np.random.default_rng(0).permutation(count), count + np.arange(count) % 9
        table = np.ones(count + 9)
        compiled.prepare(table, i, j)
        sizes.append(compiled.stats().nodes)
        assert compiled(table, i, j).nnz == 2 * count
    assert sizes[0] == sizes[1] < 80


def test_entries_of_lanes() -> None:
    """Lanes have one pattern: their entries are stacked, and whole matrices are refused."""

    def f(x: Any, i: Any) -> Any:
        return (x[i] * x[0])[1:] * x[1]

    xs, i = np.random.default_rng(0).normal(size=(9, 4)), np.array([0, 3, 2, 2])
    for derivative in (jacobian(f, sparse=True), hessian(lambda x, i: sum(f(x, i)), sparse=True)):

        def entries(x: Any, i: Any, derivative: Any = derivative) -> Any:
            return derivative(x, i).data

        right = [entries(x, i) for x in xs]
        mapped = cr.vmap(entries, in_axes=(0, None))
        for way in (mapped, compile(mapped), compile(lambda x, i, f=mapped: f(x, i))):
            np.testing.assert_allclose(way(xs, i), right, rtol=1e-13)
        matrices = cr.vmap(derivative, in_axes=(0, None))
        for refusing in (matrices, compile(matrices)):
            with pytest.raises(TypeError, match=r"return their entries, \.data"):
                refusing(xs, i)
