"""vmap: one function at many points, eagerly one after another."""

from __future__ import annotations

from typing import Any

import numpy as np
import optree
import pytest
from references import same

from chainrule import Node, compile, grad, hessian, jacobian, jvp, value_and_grad, vmap
from chainrule import math as cm

POINTS = np.array([0.5, -1.0, 2.0])
TABLE = np.arange(1.0, 7.0).reshape(3, 2)


def test_one_axis() -> None:
    """The results stacked; each lane is a call with plain numbers."""
    seen: list[Any] = []

    def f(x: Any) -> Any:
        seen.append(x)
        return x * x if x > 0 else -x

    found = vmap(f)(POINTS)
    assert found.dtype == np.float64
    assert found.tolist() == [0.25, 1.0, 4.0]
    assert seen == POINTS.tolist()
    assert [type(x) for x in seen] == [float] * 3


def test_kinds_of_lanes() -> None:
    """Rows come as arrays; whole numbers, truth values and small floats as themselves."""
    rows: list[Any] = []
    vmap(lambda row: rows.append(row) or np.sum(row))(TABLE)  # type: ignore[func-returns-value]
    assert [row.tolist() for row in rows] == TABLE.tolist()
    seen: list[Any] = []
    f = lambda *args: seen.append(args) or 1.0  # type: ignore[func-returns-value] # noqa: E731
    vmap(f)(np.array([3]), np.array([True]), np.array([0.1], dtype=np.float32), np.array(["a"]))
    (args,) = seen
    assert args == (3, True, float(np.float32(0.1)), "a")
    assert [type(x) for x in args] == [int, bool, float, str]


@pytest.mark.parametrize(
    ("in_axes", "shapes"),
    [
        (0, ((4, 2, 3), (4, 5))),
        ((0, 0), ((4, 2, 3), (4, 5))),
        ([1, 0], ((2, 4, 3), (4, 5))),
        ((2, 1), ((2, 3, 4), (5, 4))),
        ((-1, -1), ((2, 3, 4), (5, 4))),
        ((-3, -2), ((4, 2, 3), (4, 5))),
        ((1, None), ((2, 4, 3), (5,))),
        ((None, 1), ((2, 3), (5, 4))),
    ],
)
def test_in_axes(in_axes: Any, shapes: Any) -> None:
    """The axis of the lanes for each argument, negative from the end, None if they share it."""
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=shape) for shape in shapes)
    axes = (in_axes, in_axes) if isinstance(in_axes, int) else in_axes

    def f(x: Any, y: Any) -> Any:
        assert (x.shape, y.shape) == ((2, 3), (5,))
        return np.sum(x) * y[0] + y[4]

    def lane(x: Any, axis: Any, k: int) -> Any:
        return x if axis is None else np.take(x, k, axis=axis)

    expected = [f(lane(a, axes[0], k), lane(b, axes[1], k)) for k in range(4)]
    assert vmap(f, in_axes=in_axes)(a, b).tolist() == expected
    assert vmap(f, in_axes)(a, b).tolist() == expected


def test_in_axes_as_trees() -> None:
    """A tree of axes, or the beginning of one that stands for all below."""
    tree = {"w": TABLE, "b": [POINTS, 7.0]}

    def f(tree: Any, x: Any) -> Any:
        return tree["w"][0] * x + tree["w"][1] + tree["b"][0] * tree["b"][1]

    expected = [
        w[0] * x + w[1] + b * 7.0
        for w, b, x in zip(TABLE.tolist(), POINTS.tolist(), POINTS.tolist(), strict=True)
    ]
    for axes in (
        ({"w": 0, "b": [0, None]}, 0),
        ({"w": -2, "b": [-1, None]}, -1),
    ):
        assert vmap(f, in_axes=axes)(tree, POINTS).tolist() == expected
    flipped = {"w": TABLE.T, "b": [POINTS, 7.0]}
    assert vmap(f, ({"w": 1, "b": [0, None]}, 0))(flipped, POINTS).tolist() == expected
    shared = {"w": np.array([2.0, 3.0]), "b": [5.0, 7.0]}
    assert vmap(f, (None, 0))(shared, POINTS).tolist() == [2 * x + 38 for x in POINTS.tolist()]
    nested = vmap(lambda p: p[0] + p[1], ((0, None),))((POINTS, 1.0))
    assert nested.tolist() == [1.5, 0.0, 3.0]


def test_trees_as_results() -> None:
    """Each leaf is stacked."""
    found = vmap(lambda x: {"a": x, "b": [np.array([x, 2 * x]), 3]})(POINTS)
    assert found["a"].tolist() == POINTS.tolist()
    assert found["b"][0].shape == (3, 2)
    assert found["b"][0][:, 1].tolist() == (2 * POINTS).tolist()
    assert found["b"][1].tolist() == [3.0] * 3
    assert vmap(lambda x: ())(POINTS) == ()


def test_out_axes() -> None:
    """Where the axis of the lanes goes."""
    f = lambda x: np.array([[x, 2 * x]])  # noqa: E731
    for axis, shape in ((0, (3, 1, 2)), (1, (1, 3, 2)), (2, (1, 2, 3)), (-1, (1, 2, 3))):
        found = vmap(f, out_axes=axis)(POINTS)
        assert found.shape == shape
        assert np.moveaxis(found, axis, 0)[:, 0, 1].tolist() == (2 * POINTS).tolist()
    assert vmap(f, 0, -3)(POINTS).shape == (3, 1, 2)


def test_reductions() -> None:
    """Sum and mean over the lanes, from the first to the last, of trees too."""
    f = lambda x: {"a": x * 0.1, "b": np.array([x, 1.0])}  # noqa: E731
    total = vmap(f, reduce="sum")(POINTS)
    assert total["a"] == 0.05 + -0.1 + 0.2
    assert total["b"].tolist() == [1.5, 3.0]
    mean = vmap(f, reduce="mean")(POINTS)
    assert mean["a"] == (0.05 + -0.1 + 0.2) / 3
    assert mean["b"].tolist() == [0.5, 1.0]
    assert type(vmap(lambda x: 1, reduce="sum")(POINTS)) is float
    assert same(vmap(lambda x: x, reduce="sum")(np.array([0.0, -0.0])), 0.0)
    assert same(vmap(lambda x: x, reduce="sum")(np.array([-0.0, -0.0])), -0.0)
    assert same(vmap(lambda x: x, reduce="sum")(np.array([np.inf, -np.inf])), float("nan"))


@pytest.mark.parametrize("transform", [lambda f: f, compile, lambda f: compile(f, check=True)])
def test_keyword_arguments_have_the_lanes_along_their_first_axis(transform: Any) -> None:
    """As in JAX; what has no axes is shared."""
    found = transform(vmap(lambda x, *, y, scale, power: scale * x * y["b"][0] ** power))
    points, rows = np.arange(3.0), np.array([[2.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    for scale in (1.5, np.array(1.5)):
        result = found(points, y={"b": rows}, scale=scale, power=2)
        assert result.tolist() == [0.0, 13.5, 48.0]
    only = transform(vmap(lambda x, y: x[0] * y, in_axes=None))  # the lanes are the keyword's
    assert only(np.array([2.0]), y=points).tolist() == [0.0, 2.0, 4.0]
    slopes = transform(vmap(grad(lambda x, y: x * y)))
    assert slopes(points, y=points + 1).tolist() == [1.0, 2.0, 3.0]
    total = transform(grad(vmap(lambda w, x: w * x, in_axes=None, reduce="sum")))
    assert total(2.0, x=points) == 3.0
    table = transform(vmap(lambda i, t: t[i]))
    assert table(np.array([0, 1, 0]), t=rows).tolist() == [2.0, 0.0, 4.0]


@pytest.mark.parametrize("transform", [lambda f: f, compile])
def test_keyword_arguments_with_other_numbers_of_lanes(transform: Any) -> None:
    """They are an error that names the shapes."""
    with pytest.raises(ValueError, match=r"different numbers of lanes: 3 .*, 2 \(axis 0 of shape"):
        transform(vmap(lambda x, y: x * y))(POINTS, y=np.array([1.0, 2.0]))


def test_nodes() -> None:
    """Arrays of nodes in, arrays of nodes out; captured nodes too."""
    nodes = np.array([Node(x) for x in POINTS])
    found = vmap(lambda x: x * x)(nodes)
    assert found.dtype == object
    found[2].backward()
    assert [node.grad for node in nodes] == [0.0, 0.0, 4.0]
    w = Node(3.0)
    total = vmap(lambda x: w * x, reduce="mean")(POINTS)
    total.backward()
    assert w.grad == pytest.approx(POINTS.mean())
    table = np.array([nodes, nodes]).T
    assert vmap(lambda row: row[0] * row[1])(table)[0].data == 0.25
    mixed = vmap(lambda x: w if x > 0 else 1.0)(POINTS)
    assert [mixed[0], mixed[1]] == [w, 1.0]


def test_with_the_other_transformations() -> None:
    """Inside, outside, nested."""

    def f(x: Any) -> Any:
        return cm.sin(x) * x

    slopes = [grad(f)(x) for x in POINTS.tolist()]
    assert vmap(grad(f))(POINTS).tolist() == slopes
    values, found = vmap(value_and_grad(f))(POINTS)
    assert values.tolist() == [f(x) for x in POINTS.tolist()]
    assert found.tolist() == slopes
    assert grad(vmap(f, reduce="sum"))(POINTS).tolist() == slopes
    assert grad(vmap(f, reduce="mean"))(POINTS) == pytest.approx(np.array(slopes) / 3)
    assert np.diag(jacobian(vmap(f))(POINTS)).tolist() == slopes
    assert jacobian(vmap(f), sparse=True)(POINTS).nnz == 3
    assert hessian(vmap(f, reduce="sum"))(POINTS)[1, 1] == hessian(f)(-1.0)
    assert vmap(hessian(f))(POINTS).tolist() == [hessian(f)(x) for x in POINTS.tolist()]
    assert jvp(vmap(f), (POINTS,), (np.ones(3),))[1].tolist() == slopes
    outer = vmap(vmap(lambda x, y: x * y, (None, 0)), (0, None))(POINTS, np.array([1.0, 2.0]))
    assert outer.tolist() == np.outer(POINTS, [1.0, 2.0]).tolist()
    by_weight = grad(lambda w: vmap(lambda x: w * x * x, reduce="sum")(POINTS))(2.0)
    assert by_weight == sum(x * x for x in POINTS)
    batched = vmap(grad(lambda x, y: x * y[0] * y[1], 1), (0, 0))(POINTS, TABLE)
    assert batched.tolist() == [[x * b, x * a] for x, (a, b) in zip(POINTS, TABLE, strict=True)]


def test_repr_and_name() -> None:
    """It keeps the name of the function."""
    assert repr(vmap(abs)) == "vmap(abs)"
    lanes: Any = vmap(test_nodes)
    assert lanes.__name__ == "test_nodes"


class Lane:
    """Not a number."""


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "no function": (lambda: vmap(3), TypeError, r"vmap takes a function, not int 3"),  # type: ignore[arg-type]
    "reduce": (
        lambda: vmap(abs, reduce="max"),  # type: ignore[arg-type]
        ValueError,
        r'reduce is None, "sum" or "mean", not str \'max\'',
    ),
    "out_axes": (lambda: vmap(abs, out_axes=1.0), TypeError, r"out_axes is a whole number, not f"),  # type: ignore[arg-type]
    "out_axes None": (lambda: vmap(abs, out_axes=None), TypeError, r"out_axes is a whole number"),  # type: ignore[arg-type]
    "out_axes outside": (
        lambda: vmap(abs, out_axes=1)(POINTS),
        ValueError,
        r"out_axes names axis 1 of a result of 1 axes, lanes included",
    ),
    "lengths": (
        lambda: vmap(lambda x, y: x)(POINTS, TABLE.T),
        ValueError,
        r"different numbers of lanes: 3 \(axis 0 of shape \(3,\)\), 2 \(axis 0 of shape \(2, 3\)\)",
    ),
    "lengths in a tree": (
        lambda: vmap(lambda t: 1.0)({"a": POINTS, "b": POINTS[:2]}),
        ValueError,
        r"different numbers of lanes",
    ),
    "too few axes": (
        lambda: vmap(lambda x, y: x, (0,))(POINTS, POINTS),
        ValueError,
        r"in_axes \(0,\) is for 1 arguments, but 2 were given",
    ),
    "too many axes": (
        lambda: vmap(lambda x: x, [0, None])(POINTS),
        ValueError,
        r"in_axes \(0, None\) is for 2 arguments, but 1 were given",
    ),
    "axis outside": (
        lambda: vmap(abs, in_axes=1)(POINTS),
        ValueError,
        r"in_axes names axis 1 of an array of shape \(3,\)",
    ),
    "negative axis outside": (
        lambda: vmap(abs, in_axes=(-2,))(POINTS),
        ValueError,
        r"in_axes names axis -2 of an array of shape \(3,\)",
    ),
    "axis of no array": (
        lambda: vmap(abs)(np.array(1.0)),
        ValueError,
        r"in_axes names axis 0 of an array of shape \(\)",
    ),
    "no axis": (
        lambda: vmap(abs, in_axes=None)(1.0),
        ValueError,
        r"in_axes names no axis in any argument",
    ),
    "no argument": (lambda: vmap(lambda: 1.0)(), ValueError, r"names no axis in any argument"),
    "an axis that is a float": (
        lambda: vmap(abs, in_axes=(0.0,))(POINTS),
        TypeError,
        r"an axis is a whole number or None, not float 0.0",
    ),
    "an axis that is a truth value": (
        lambda: vmap(abs, in_axes=True)(POINTS),
        TypeError,
        r"an axis is a whole number or None, not bool True",
    ),
    "axes that do not fit": (
        lambda: vmap(lambda t: 1.0, in_axes=({"b": 0},))({"a": POINTS}),
        ValueError,
        r"in_axes \(\{'b': 0\},\) does not fit the arguments",
    ),
    "a number": (
        lambda: vmap(abs)(1.0),
        TypeError,
        r"an argument with lanes is an array with an axis 0, not float 1.0; give .* as None",
    ),
    "a list": (
        lambda: vmap(abs)([1.0, 2.0]),
        TypeError,
        r"an argument with lanes is an array with an axis 0, not float 1.0",
    ),
    "a node": (
        lambda: vmap(lambda x, y: x * y)(POINTS, Node(1.0)),
        TypeError,
        r"an argument with lanes is an array with an axis 0, not Node",
    ),
    "None": (
        lambda: vmap(lambda x, y: x)(POINTS, None),
        TypeError,
        r"an argument with lanes is an array with an axis 0, not NoneType None",
    ),
    "no lanes": (
        lambda: vmap(abs)(np.zeros((0, 2))),
        ValueError,
        r"the arguments have no lanes \(an axis of length 0\)",
    ),
    "result": (
        lambda: vmap(lambda x: Lane())(POINTS),
        TypeError,
        r"vmap: the function's result holds Lane <.*, not numbers, nodes or arrays of them",
    ),
    "result None": (
        lambda: vmap(lambda x: None)(POINTS),
        TypeError,
        r"vmap: the function's result holds NoneType None",
    ),
    "sparse results": (
        lambda: vmap(jacobian(lambda x: [x * x], sparse=True))(POINTS),
        TypeError,
        r"vmap can't stack the sparse matrices of its lanes; return their entries, \.data",
    ),
    "sparse results of nodes": (
        lambda: vmap(jacobian(lambda x: [x * x], sparse=True))(np.array([Node(1.0), Node(2.0)])),
        TypeError,
        r"vmap can't stack the sparse matrices of its lanes; return their entries, \.data",
    ),
    "results of different structure": (
        lambda: vmap(lambda x: [x] if x < 0 else x)(POINTS),
        ValueError,
        r"one structure and shape for all lanes; lane 1 gave \[number\], lane 0 a number",
    ),
    "results of different shape": (
        lambda: vmap(lambda x: np.ones(2 if x > 1 else 3))(POINTS),
        ValueError,
        r"lane 2 gave an array of shape \(2,\), lane 0 an array of shape \(3,\)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input(case: str) -> None:
    """An error that says what was given and what is wanted."""
    call, error, message = WRONG[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert caught.type is error
    assert len(str(caught.value)) < 400


def test_errors_of_the_function() -> None:
    """They come as they are."""
    with pytest.raises(KeyError, match="mine"):
        vmap(lambda x: {"other": x}["mine"])(POINTS)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        vmap(lambda x, y: x)(POINTS)


@pytest.mark.parametrize("reduce", [None, "sum", "mean"])
@pytest.mark.parametrize("kind", ["value", "gradient", "both", "of lanes alone"])
def test_calls_again(reduce: Any, kind: str) -> None:
    """Calls that are like the one before, or nearly, give what a first call gives."""

    def f(w: Any, x: Any) -> Any:
        y = w * x[0] * x[1]
        return y * y if y > 0.5 else -y

    mapped = vmap(f, in_axes=(None, 0), reduce=reduce)
    of_lane = vmap(grad(f, argnums=1), in_axes=(None, 0), out_axes=1)
    made = {
        "value": mapped,
        "gradient": grad(mapped) if reduce else of_lane,
        "both": value_and_grad(mapped, argnums=(0, 1)) if reduce else of_lane,
        "of lanes alone": grad(mapped, argnums=1) if reduce else of_lane,
    }[kind]
    table = np.linspace(-1.0, 0.3, 24).reshape(12, 2)
    calls = [
        *[(1.5, table), (1.5, table), (-2.5, table + 0.0)],
        *[(1.5, table[:5]), (1.5, np.asfortranarray(table)), (1.5, table[::-2])],
        *[
            (1.5, table[:, ::-1]),
            (1.5, np.repeat(table, 2, 1)[:, ::2]),
        ],
        *[(4.5, table + 0.5), (1.5, table), (2, table), (1.5, np.ones((3, 3)))],
    ]
    compiled = compile(made)
    for point in calls:
        found = np.concatenate([np.ravel(x) for x in optree.tree_leaves(compiled(*point))])
        expected = np.concatenate([np.ravel(x) for x in optree.tree_leaves(made(*point))])
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)
