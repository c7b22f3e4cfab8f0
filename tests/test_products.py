"""Products of arrays that a trace records as one: as eagerly, to second order, on random shapes."""

import operator
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import lax
from chainrule.jit import products
from chainrule.leaves import leaves


@pytest.fixture(autouse=True)
def _all_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small products are recorded as one too."""
    monkeypatch.setattr(products, "LEAST", 1)


def random_shapes(rng: random.Random) -> list[tuple[int, ...]]:
    """Shapes of two factors that fit: vectors, matrices, batches that broadcast."""
    rows, terms, columns = (rng.randint(1, 4) for _ in range(3))
    batch = [rng.randint(1, 3) for _ in range(rng.choice([0, 0, 0, 1, 2]))]
    shapes = []
    for shape in ((rows, terms), (terms, columns)):
        own = [x if rng.random() < 0.7 else 1 for x in batch][rng.randint(0, len(batch)) :]
        shapes.append((*own, *shape))
    if rng.random() < 0.2 and len(shapes[0]) == 2:
        shapes[0] = (terms,)
    if rng.random() < 0.2 and len(shapes[1]) == 2:
        shapes[1] = (terms,)
    return shapes


def random_numbers(rng: random.Random, shape: tuple[int, ...]) -> Any:
    """Numbers, zeros of both signs among them."""
    size = int(np.prod(shape))
    return np.array(
        [rng.choice([0.0, -0.0, *[rng.uniform(-2, 2)] * 8]) for _ in range(size)]
    ).reshape(shape)


def _by_dot(a: Any, b: Any) -> Any:
    return np.dot(a, b) if max(np.ndim(a), np.ndim(b)) <= 2 else a @ b


def ways(rng: random.Random) -> Any:
    """A product as it is written."""
    return rng.choice([operator.matmul, np.matmul, _by_dot])


def random_function(rng: random.Random) -> tuple[Any, Any]:
    """A function of one flat array with products in it, and its argument."""
    first, second = random_shapes(rng)
    sizes = [int(np.prod(x)) for x in (first, second)]
    constant = random_numbers(rng, first)
    multiplied, kind, turned = ways(rng), rng.randrange(6), rng.random() < 0.3

    def f(x: Any) -> Any:
        a, b = x[: sizes[0]].reshape(first), x[sizes[0] :].reshape(second)
        if turned:
            a = a[..., ::-1]
        if kind == 1:
            a = constant
        elif kind == 2:
            a = np.tanh(a)
        c = multiplied(a, b)
        if kind == 3 and np.ndim(c) == 2:
            c = multiplied(c, np.swapaxes(c, 0, 1))
        if kind == 4:
            c = c * np.sum(c)
        if kind == 5 and cr.math.exp(np.sum(c)) > 1.0:  # a guard on what comes of it
            c = c * 2.0
        return np.sum(np.sin(c) * c)

    return f, random_numbers(rng, (sum(sizes),))


def same(a: Any, b: Any) -> None:
    """Whether numbers agree."""
    np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_as_eagerly_to_second_order(seed: int) -> None:
    """Values, gradients and second derivatives."""
    rng = random.Random(seed)
    f, x = random_function(rng)
    direction = random_numbers(rng, x.shape)
    gradient = cr.grad(f)
    along = lambda x: cr.jvp(gradient, (x,), (direction,))[1]  # noqa: E731
    for function in (f, gradient, along, lambda x: cr.jvp(f, (x,), (direction,))[1]):
        compiled = cr.compile(function)
        same(compiled(x), function(x))
        same(compiled(x + 0.25), function(x + 0.25))


@pytest.mark.parametrize("seed", range(40))
def test_values_are_the_same_to_the_last_bit(seed: int) -> None:
    """Sums have the same terms in the same order, and begin with the first."""
    rng = random.Random(1000 + seed)
    first, second = random_shapes(rng)
    a, b = random_numbers(rng, first), random_numbers(rng, second)
    if seed % 4 == 0:
        a[...] = 0.0
    found = cr.compile(lambda a, b: a @ b)(a, b)
    expected = cr.array(leaves(a.ravel())).reshape(a.shape) @ b
    values = np.array([x.data for x in np.ravel(expected)]).reshape(np.shape(expected))
    assert np.shape(found) == np.shape(expected)
    assert np.asarray(found, float).tobytes() == values.tobytes()


def is_recorded(compiled: Any) -> bool:
    """Whether the programs have products in them."""
    return all("product" in str(program) for program in compiled.programs())


@pytest.mark.parametrize("lanes", [1, 3, 20])
def test_over_lanes(lanes: int) -> None:
    """Lanes have products of their own, or share a factor."""
    rng = np.random.default_rng(lanes)
    a, b = rng.normal(size=(lanes, 3, 4)), rng.normal(size=(4, 2))
    f = cr.grad(lambda a, b: np.sum(np.tanh(a @ b)), argnums=(0, 1))
    compiled = cr.compile(cr.vmap(f, in_axes=(0, None)))
    same(compiled(a, b)[0], [f(x, b)[0] for x in a])
    same(compiled(a, b)[1], [f(x, b)[1] for x in a])
    assert is_recorded(compiled)


def test_in_loops_that_are_traced_once() -> None:
    """Iterations have products of what they carry and read."""
    rng = np.random.default_rng(1)
    w, xs = rng.normal(size=(3, 3)) / 2, rng.normal(size=(6, 3))

    def f(w: Any, xs: Any) -> Any:
        def step(state: Any, x: Any) -> Any:
            state = np.tanh(w @ state + x)
            return state, np.sum(state @ w)

        last, left = lax.scan(step, np.zeros(3), xs)
        return np.sum(last * last) + np.sum(left)

    second = lambda w, xs: cr.jvp(cr.grad(f), (w, xs), (w, xs))[1]  # noqa: E731
    for function in (f, cr.grad(f), cr.grad(f, argnums=1), second):
        compiled = cr.compile(function)
        same(compiled(w, xs), function(w, xs))
        assert is_recorded(compiled)


def test_in_plain_loops_that_are_found_again() -> None:
    """Products that repeat are products in a loop."""
    rng = np.random.default_rng(2)
    w, x = rng.normal(size=(3, 3)) / 2, rng.normal(size=3)

    def f(w: Any, x: Any) -> Any:
        for _ in range(200):
            x = np.tanh(w @ x)
        return np.sum(x)

    g = cr.value_and_grad(f, argnums=(0, 1))
    compiled = cr.compile(g)
    same(compiled(w, x)[0], g(w, x)[0])
    same(compiled(w, x)[1][0], g(w, x)[1][0])
    assert is_recorded(compiled)
    [program] = compiled.programs()
    assert len(str(program)) < 6000


@pytest.mark.parametrize("view", ["whole", "rows", "reversed", "turned", "flat", "columns"])
def test_of_large_arguments(view: str) -> None:
    """Arrays that are arguments need no nodes, or are read by strides."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(40, 30)), rng.normal(size=(30, 50))

    def f(a: Any, b: Any) -> Any:
        if view == "rows":
            a = a[3:23:2]
        elif view == "reversed":
            a = a[::-1]
        elif view == "turned":
            a, b = b.T, a.T
        elif view == "flat":
            a = a.reshape(30, 40).reshape(40, 30)
        elif view == "columns":
            a, b = a[:, 5:9], b[::8]
        return a @ b

    compiled = cr.compile(f)
    np.testing.assert_allclose(compiled(a, b), f(a, b), rtol=1e-12)
    np.testing.assert_allclose(compiled(2 * a, b), f(2 * a, b), rtol=1e-12)
    assert is_recorded(compiled)


def test_of_nodes_from_outside() -> None:
    """Weights that a function closes over get gradients."""
    rng = np.random.default_rng(4)
    weights = cr.array(leaves(rng.normal(size=12))).reshape(3, 4)
    x = rng.normal(size=4)

    def f(x: Any) -> Any:
        return np.sum(np.tanh(weights @ x))

    compiled = cr.compile(f)
    compiled(x).backward()
    found = [w.grad for w in weights.flat]
    cr.zero_grad(weights)
    f(x).backward()
    same(found, [w.grad for w in weights.flat])
    assert is_recorded(compiled)


def test_branches_go_by_products() -> None:
    """A guard asks for a value that the trace did not have to know before."""
    rng = np.random.default_rng(5)
    a = rng.normal(size=(3, 3))

    def f(a: Any) -> Any:
        total = 0.0
        for x in (a @ a).ravel():
            if x > 0.25:
                break
            total = total + x * a[0, 0]
        return total

    compiled, gradient = cr.compile(f), cr.compile(cr.grad(f))
    for scale in (1.0, -1.0, 0.1, 3.0):
        same(compiled(scale * a), f(scale * a))
        same(gradient(scale * a), cr.grad(f)(scale * a))


def test_sparse_derivatives() -> None:
    """An element hangs on its row and its column."""
    pytest.importorskip("scipy")
    a = np.arange(12.0).reshape(4, 3) + 1.0
    b = np.arange(6.0).reshape(3, 2) - 2.5
    f = lambda a: (a @ b).ravel()  # noqa: E731
    eager = cr.jacobian(f, sparse=True)(a)
    found = cr.compile(cr.jacobian(f, sparse=True))(a)
    assert eager.shape == found.shape
    np.testing.assert_allclose(found.toarray(), eager.toarray())
    assert found.nnz == eager.nnz


@pytest.mark.parametrize("kind", [int, bool, np.float32])
def test_constants_of_other_types(kind: Any) -> None:
    """They are the numbers that they are equal to."""
    rng = np.random.default_rng(6)
    a, b = rng.integers(0, 2, (3, 4)).astype(kind), rng.normal(size=(4, 2))
    f = lambda b: np.sum((a @ b) ** 2)  # noqa: E731
    same(cr.compile(cr.grad(f))(b), cr.grad(f)(b))


def test_what_does_not_fit() -> None:
    """NumPy's own error."""
    for shapes in (((3, 4), (3, 2)), ((2, 3, 4), (3, 4, 2)), ((), (3,))):
        a, b = map(np.ones, shapes)
        with pytest.raises(ValueError, match=r"matmul|broadcast"):
            cr.compile(lambda a, b: a @ b)(a, b)


def test_programs_in_files(tmp_path: Path) -> None:
    """A sum that begins with -0 does so when it is read again."""
    compiled = cr.compile(lambda a: a @ a)
    compiled(np.eye(3))
    [program] = compiled.programs()
    program.save(tmp_path / "product.json")
    assert str(type(program).load(tmp_path / "product.json")) == str(program)
    assert "= -0.0" in str(program)


@pytest.mark.parametrize("transform", [cr.grad, cr.value_and_grad])
def test_gradients_in_bulk(transform: Any) -> None:
    """Of arrays beside numbers, some of which nothing depends on; also of nodes, and of lanes."""

    def f(tree: Any) -> Any:
        return ((tree["x"] @ tree["x"]) * tree["y"]).sum() * tree["z"][1]

    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(20, 20)), rng.normal(size=20)
    tree = {"x": x, "y": y, "z": [0.5, 2.0]}
    derived = transform(f)
    compiled = cr.compile(derived)
    result = compiled(tree)
    found = result if transform is cr.grad else result[1]
    ones, products = np.ones(20), x @ x
    right = {
        "x": 2.0 * (np.outer(ones, y) @ x.T + x.T @ np.outer(ones, y)),
        "y": 2.0 * products.sum(axis=0),
        "z": [0.0, (products * y).sum()],
    }
    assert found.keys() == right.keys()
    for name in "xy":
        np.testing.assert_allclose(found[name], right[name], rtol=1e-10, atol=1e-12)
    assert [type(z) for z in found["z"]] == [float, float]
    np.testing.assert_allclose(found["z"], right["z"], rtol=1e-10)
    if transform is cr.value_and_grad:
        np.testing.assert_allclose(result[0], 2.0 * (products * y).sum(), rtol=1e-10)
    lanes = cr.compile(cr.vmap(derived))(
        {"x": x[None], "y": y[None], "z": [ones[:1], 2 * ones[:1]]}
    )
    lanes = lanes if transform is cr.grad else lanes[1]
    np.testing.assert_allclose(lanes["x"][0], right["x"], rtol=1e-10, atol=1e-12)
    z = cr.Node(2.0)
    nodes = compiled({"x": x, "y": y, "z": [0.5, z]})
    nodes = nodes if transform is cr.grad else nodes[1]
    nodes["y"].sum().backward()
    np.testing.assert_allclose(z.grad, products.sum(), rtol=1e-10)
