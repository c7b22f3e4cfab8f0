"""compile: what it takes and gives back, what it captures, what it refuses, and that it is safe."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import math
import pickle
import random
import subprocess
import sys
import types
import warnings
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optree
import pytest
from threads import run_in_threads

import chainrule as cr
from chainrule import Node
from chainrule import math as crmath
from chainrule.jit import paths as paths_module
from chainrule.jit import trace as trace_module
from chainrule.jit.function import MAX_SPECIALIZATIONS, MAX_STATIC_PLANS
from chainrule.program.interpreter import interpret
from chainrule.tracing import PROGRESS


def assert_same(found: Any, expected: Any, tolerance: float = 1e-13) -> None:
    """Two trees have one structure, one kind of leaves, and equal numbers."""
    mine, structure = optree.tree_flatten(found)
    others, expected_structure = optree.tree_flatten(expected)
    assert structure == expected_structure
    for x, y in zip(mine, others, strict=True):
        assert type(x) is type(y)
        assert np.shape(x) == np.shape(y)
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=1e-15)


def assert_clean() -> None:
    """No trace or transformation is left open."""
    assert not PROGRESS.names
    assert PROGRESS.recorder is None
    assert PROGRESS.recorded_level == 0


# The decorator, methods


@cr.compile
def decorated(x: float, y: float = 2.0) -> Any:
    """Has a docstring."""
    return crmath.sin(x) * y if x > 0 else x / y


@cr.compile(check=True, max_traces=5, threads=1)
def with_options(x: float) -> Any:
    """Has options."""
    return x * x


def plain(x: Any, k: Any = 1.0) -> Any:
    """To be compiled by hand."""
    return crmath.exp(-x * k) * x if x > 0 else x * k


def test_decorator() -> None:
    """With and without arguments; the compiled function looks like the function."""
    assert decorated(1.0) == pytest.approx(2.0 * math.sin(1.0), rel=1e-15)
    assert decorated(-1.0, y=4.0) == -0.25
    assert with_options(3.0) == 9.0
    assert decorated.__name__ == "decorated"
    assert decorated.__doc__ == "Has a docstring."
    assert str(inspect.signature(decorated)) == "(x: 'float', y: 'float' = 2.0) -> 'Any'"
    assert repr(decorated) == "compile(decorated)"
    assert repr(cr.compile(cr.grad(plain))) == "compile(grad(plain))"
    options = with_options.options
    assert (options.check, options.max_traces, options.threads) == (True, 5, 1)
    assert cr.compile(cr.compile(plain)).function is plain


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"f": 3}, TypeError, "compile takes a function, not int 3"),
        ({"f": plain, "max_traces": 0}, ValueError, "max_traces starts at 1, not int 0"),
        (
            {"f": plain, "max_specializations": 0},
            ValueError,
            "max_specializations starts at 1, not int 0",
        ),
        ({"f": plain, "max_traces": 2.0}, ValueError, "max_traces starts at 1, not float 2.0"),
        ({"f": plain, "threads": 0}, ValueError, "threads starts at 1, not int 0"),
        ({"f": plain, "threads": "2"}, ValueError, "threads starts at 1, not str '2'"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    """Clear errors when compiling."""
    with pytest.raises(error, match=message):
        cr.compile(**options)


def test_threads_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """CHAINRULE_THREADS is the default; nonsense in it is an error."""
    x = np.arange(3.0)
    monkeypatch.setenv("CHAINRULE_THREADS", "1")
    assert cr.compile(cr.vmap(lambda x: x + 1.0))(x).tolist() == [1.0, 2.0, 3.0]
    monkeypatch.setenv("CHAINRULE_THREADS", "many")
    with pytest.raises(ValueError, match="CHAINRULE_THREADS is a whole number from 1 up, not 'ma"):
        cr.compile(cr.vmap(lambda x: x))(x)


class Scaled:
    """Has compiled methods of all kinds."""

    def __init__(self, factor: Any) -> None:
        self.factor = factor

    @cr.compile
    def method(self, x: float) -> Any:
        """Uses the object."""
        return self.factor * x

    @staticmethod
    @cr.compile
    def static(x: float) -> Any:
        """Uses nothing."""
        return x + 1.0

    @classmethod
    @cr.compile
    def of_class(cls, x: float) -> Any:
        """Uses the class."""
        return x + len(cls.__name__)

    def __call__(self, x: float) -> Any:
        """The object as a function."""
        return self.factor + x


def test_methods() -> None:
    """Each object has its own trace; a node in it may change, and be another one."""
    two, three = Scaled(2.0), Scaled(3.0)
    assert (two.method(5.0), three.method(5.0), Scaled.method(two, 1.0)) == (10.0, 15.0, 2.0)
    assert (Scaled.static(1.0), two.static(2.0), Scaled.of_class(1.0)) == (2.0, 3.0, 7.0)
    assert cr.compile(two)(1.0) == 3.0
    assert cr.compile(two.method)(1.0) == 2.0
    weight = Node(4.0)
    model = Scaled(weight)
    y = model.method(3.0)
    y.backward()
    assert (y.data, weight.grad) == (12.0, 3.0)
    weight.data = 5.0
    assert model.method(3.0).data == 15.0
    model.factor = Node(7.0)
    assert model.method(3.0).data == 21.0


# Arguments


def test_numbers_of_all_kinds() -> None:
    """Floats are inputs, compiled once; the result is a float."""
    f = cr.compile(lambda x: x * 0.5)
    for x in (3.0, np.float64(3.0), np.float32(3.0), np.float16(3.0)):
        assert f(x) == 1.5
        assert type(f(x)) is float
    assert f(np.float32(0.1)) == float(np.float32(0.1)) * 0.5
    assert f.stats().plans == 1
    assert f(np.array(3.0)) == 1.5
    assert f(math.inf) == math.inf
    assert math.isnan(f(math.nan))
    assert math.copysign(1.0, f(-0.0)) == -1.0


def test_static_values() -> None:
    """Whole numbers, truth values, texts and None steer the trace; another one compiles again."""

    @cr.compile
    def f(x: Any, n: int, flag: bool = False, name: str | None = None) -> Any:
        for _ in range(n):
            x = x * x
        if name is not None:
            x = x + len(name)
        return -x if flag else x

    assert f(2.0, 3) == 256.0
    assert f(2.0, 1, True) == -4.0
    assert f(2.0, 1, flag=True, name="abc") == -7.0
    assert f(2.0, 1, name=None) == 4.0
    assert f.stats().plans == 4
    for _ in range(3):
        assert f(3.0, 1, True) == -9.0
    assert f.stats().plans == 4
    one: Any = True
    assert f(2.0, one) == 4.0  # True is not 1
    assert f.stats().plans == 5
    assert f(2.0, np.int64(2)) == 16.0


def test_many_whole_numbers_warn_once() -> None:
    """With the advice to pass a float."""
    f = cr.compile(lambda x, n: x * n)
    counts = range(MAX_STATIC_PLANS + 2)
    with pytest.warns(RuntimeWarning, match=r"compiled \d+ times: .* pass a number that varies"):
        assert [f(2.0, n) for n in counts] == [2.0 * n for n in counts]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in range(100, 110):
            f(2.0, n)
        g = cr.compile(cr.grad(lambda n: n * n))
        for n in range(100):
            assert g(n) == 2.0 * n  # differentiated by, it is a float
        assert g.stats().plans == 1


def test_trees() -> None:
    """Nested dicts, lists, tuples, arrays of any shape; another structure compiles again."""
    f = cr.compile(lambda d, *rest, **named: d["a"] * rest[0][1] + named.get("k", d["b"]).sum())
    d = {"b": np.ones((2, 3)), "a": 2.0}
    assert f(d, (1.0, 5.0)) == 16.0
    assert f({"a": 3.0, "b": np.ones(1)}, [1.0, 5.0]) == 16.0
    assert f(d, (1.0, 5.0), k=np.full((2, 2), 2.0)) == 18.0
    with pytest.raises(KeyError, match="a"):
        f({"c": 1.0}, (1.0, 5.0))
    assert_clean()
    assert f(d, (1.0, 6.0)) == 18.0
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        cr.compile(lambda x: x)(1.0, 2.0)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        cr.compile(lambda x: x)()


def test_shapes() -> None:
    """Another shape or type on a later call compiles again."""
    f = cr.compile(lambda x: (x * x).sum())
    for shape in ((3,), (4,), (2, 2), (0,), (3,)):
        assert f(np.ones(shape)) == float(np.prod(shape))
    assert f(np.ones(3, dtype=np.float32)) == 3.0
    assert f(np.asfortranarray(np.arange(6.0).reshape(2, 3))) == 55.0
    assert f(np.arange(6.0)[::-2]) == 35.0
    assert f.stats().plans == 5
    with pytest.raises(TypeError, match=r"an array of <U1 is neither .* convert it with .astype"):
        f(np.array(["a"]))
    with pytest.raises(TypeError, match="an array of complex128 is neither"):
        f(np.array([1j]))


def test_array_functions() -> None:
    """Traced arrays do what arrays do, alone and with nodes; reductions give numbers."""
    x = np.array([[1.0, 2.0], [3.0, 5.0]])

    def f(x: Any, k: Any) -> Any:
        return (
            x * k + k * x - x / k,
            x @ x,
            np.exp(x)[0],
            x.T.reshape(4)[1:],
            x.sum(axis=0),
            x.mean(),
            np.dot(x[0], x[1]),
            x.max(),
            np.sqrt(x).prod(),
            np.stack([x, x]).sum(),
            np.where(x > k, x, k),
            sum(row.sum() for row in x),
            np.cumsum(x[0])[-1],
            k - x[0],
        )

    found = cr.compile(f)(x, 2.5)
    expected = f(x, 2.5)
    plain_numbers = tuple(float(y) if np.ndim(y) == 0 else y for y in expected)
    assert_same(found, plain_numbers)


def test_a_bool_array_is_static() -> None:
    """It may select; over lanes it can't."""
    f = cr.compile(lambda x, keep: sum(v for v, k in zip(x, keep, strict=True) if k))
    x = np.array([1.0, 2.0, 4.0])
    assert f(x, np.array([True, False, True])) == 5.0
    assert f(x, np.array([False, True, True])) == 6.0
    with pytest.raises(TypeError, match="an array of bool is neither numbers, indices nor nodes"):
        cr.compile(cr.vmap(lambda x, k: x if k else 0.0))(x, np.array([True, False, True]))


# Results


class Pair(NamedTuple):
    """A tuple with names."""

    a: Any
    b: Any


RESULTS: dict[str, Callable[[Any], Any]] = {
    "number": lambda x: x * 2.0,
    "input": lambda x: x,
    "constant": lambda x: 1.5,
    "whole number": lambda x: 3,
    "NumPy number": lambda x: np.float64(2.5),
    "twice": lambda x: (x, x),
    "tree": lambda x: {"z": [x, (1.0, x * x)], "a": -x},
    "named tuple": lambda x: Pair(x, [x]),
    "ordered": lambda x: OrderedDict(z=x, a=1.0),
    "array": lambda x: np.array([[x, 1.0], [2.0, x]]),
    "constant array": lambda x: np.array([1.0, 2.0]),
    "empty": lambda x: (),
    "empty array": lambda x: np.zeros((0, 2)),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results(name: str) -> None:
    """Trees of numbers and arrays come back as they are; twice, and from a node as nodes."""
    f = RESULTS[name]
    expected = optree.tree_map(
        lambda y: np.array(y, dtype=float) if np.ndim(y) else float(y), f(2.0)
    )
    g = cr.compile(f)
    for _ in range(3):
        assert_same(g(2.0), expected, 1e-15)
    nodes = g(Node(2.0))
    values = optree.tree_map(
        lambda y: np.array([n.data for n in y.flat]).reshape(y.shape) if np.ndim(y) else y.data,
        nodes,
    )
    assert_same(values, expected, 1e-15)
    lanes = cr.compile(cr.vmap(f))(np.array([2.0, 2.0]))
    for lane in range(2):
        one = optree.tree_map(lambda y, lane=lane: y[lane] if y.ndim > 1 else float(y[lane]), lanes)
        assert_same(one, expected, 1e-15)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "NoneType None"),
        ("text", "str 'text'"),
        ((1.0, None), "NoneType None"),
        ([object], "type <class 'object'>"),
        (np.array(["a"]), "an array of <U1"),
        (1j, "complex 1j"),
    ],
)
def test_wrong_results(result: Any, message: str) -> None:
    """What is no tree of numbers is an error that says what it is, each time."""
    f = cr.compile(lambda x: result)
    for _ in range(2):
        with pytest.raises(TypeError, match=f"compile: the function's result holds {message}"):
            f(1.0)
    assert_clean()


def test_results_belong_to_the_caller() -> None:
    """Changing them changes neither arguments nor later results."""
    constant = np.array([1.0, 2.0])
    f = cr.compile(lambda x: (x, constant))
    x = np.array([3.0, 4.0])
    for _ in range(2):
        same, ones = f(x)
        assert (same.tolist(), ones.tolist()) == ([3.0, 4.0], [1.0, 2.0])
        same[0] = ones[0] = 9.0
    assert (x.tolist(), constant.tolist()) == ([3.0, 4.0], [1.0, 2.0])


def test_structures_that_differ_between_branches() -> None:
    """Fine at a single point, an error over lanes."""

    def f(x: Any) -> Any:
        return x if x > 0 else (x, np.array([x, 1.0]))

    g = cr.compile(f)
    for _ in range(2):
        assert g(1.0) == 1.0
        assert_same(g(-1.0), (-1.0, np.array([-1.0, 1.0])))
    lanes = cr.compile(cr.vmap(f))
    with pytest.raises(TypeError, match=r"one structure and shape in all lanes.* it was a number"):
        lanes(np.array([1.0, -1.0]))
    assert lanes(np.array([1.0, 2.0])).tolist() == [1.0, 2.0]


# Nodes in, nodes out


def test_nodes() -> None:
    """A node among the arguments gives nodes, with gradients by all nodes among them."""
    f = cr.compile(lambda x, y: (crmath.sin(x) * y, {"b": np.array([x * x, y])}))
    x, y = Node(0.5), Node(3.0)
    first, rest = f(x, y)
    (first * rest["b"][0]).backward()
    assert first.data == pytest.approx(math.sin(0.5) * 3.0, rel=1e-15)
    assert x.grad == pytest.approx(3.0 * (math.cos(0.5) * 0.25 + math.sin(0.5)), rel=1e-14)
    assert y.grad == pytest.approx(math.sin(0.5) * 0.25, rel=1e-15)
    x.grad = 0.0
    first, _ = f(x, 3.0)  # the other a number
    first.backward()
    assert x.grad == pytest.approx(3.0 * math.cos(0.5), rel=1e-15)
    assert isinstance(f(0.5, 3.0)[0], float)
    same = cr.compile(lambda x, y: x * y)(y, y)  # one node for two arguments
    y.grad = 0.0
    same.backward()
    assert (same.data, y.grad) == (9.0, 6.0)


def test_arrays_of_nodes() -> None:
    """Object arrays; numbers among the nodes are numbers."""
    f = cr.compile(lambda x: (x * x).sum())
    x = np.array([Node(1.0), Node(2.0)])
    f(x).backward()
    assert [node.grad for node in x] == [2.0, 4.0]
    mixed = np.array([Node(3.0), 2.0], dtype=object)
    y = f(mixed)
    y.backward()
    assert (y.data, mixed[0].grad) == (13.0, 6.0)
    few = np.array([Node(1.0), 5.0, Node(2.0), Node(4.0)], dtype=object)
    f(few).backward()
    assert [few[i].grad for i in (0, 2, 3)] == [2.0, 4.0, 8.0]
    other = Node(-1.0)  # the gradient is that of this call
    f(np.array([Node(2.0), other])).backward()
    assert other.grad == -2.0
    assert f(np.array([1, 2.0], dtype=object)) == 5.0
    with pytest.raises(TypeError, match="takes real numbers and nodes, not NoneType None"):
        f(np.array([None, 2.0], dtype=object))


def test_an_array_of_nodes_over_lanes() -> None:
    """Each lane may have other nodes: what they get comes of the lanes that they are in."""
    f = cr.compile(cr.vmap(lambda x: x * x))
    x = np.array([Node(1.0), Node(3.0), 2.0])
    y = f(x)
    y[1].backward()
    assert [node.grad for node in x[:2]] == [0.0, 6.0]
    assert [node.data for node in f(x)] == [1.0, 9.0, 4.0]
    assert f(np.array([1.0, 2.0], dtype=object)).tolist() == [1.0, 4.0]
    odd = np.array([1.0, None], dtype=object)
    with pytest.raises(TypeError), pytest.warns(RuntimeWarning, match="here NoneType None"):
        f(odd)


def test_an_array_of_objects_over_lanes_is_eager() -> None:
    """Where what is computed of nodes is in Python alone; with one warning, and right."""
    twice = cr.Operation("twice", lambda x: 2.0 * float(x), [lambda y, x: 2.0])
    f = cr.compile(cr.vmap(lambda x: twice(x) * x))
    x = np.array([Node(1.0), Node(3.0)])
    with pytest.warns(RuntimeWarning, match="runs eagerly: an array of nodes over the lanes"):
        y = f(x)
    y[1].backward()
    assert [node.grad for node in x] == [0.0, 12.0]


def test_the_result_of_nodes_goes_on() -> None:
    """It may be drawn, copied, used in further graphs, and its leaves changed before backward."""
    w = Node(3.0)
    f = cr.compile(lambda x: x * w * w)
    y = f(2.0)
    w.data = 10.0  # what the call has read stays
    y.backward()
    assert w.grad == 12.0
    z = copy.deepcopy(f(2.0))
    assert z.data == 200.0
    assert "lambda" in str(cr.draw_graph(f(2.0)))


# Captured nodes


def test_captured_leaves_are_read_at_each_call() -> None:
    """And backward accumulates into them, as with the function itself."""
    w, b = Node(2.0), Node(0.5)
    f = cr.compile(lambda x: crmath.tanh(w * x + b))
    for value in (2.0, -1.0, 0.25):
        w.data = value
        y = f(0.75)
        y.backward()
        z = crmath.tanh(w * 0.75 + b)
        assert y.data == pytest.approx(z.data, rel=1e-15)
    eager_w, eager_b = Node(2.0), Node(0.5)
    for value in (2.0, -1.0, 0.25):
        eager_w.data = value
        crmath.tanh(eager_w * 0.75 + eager_b).backward()
    assert w.grad == pytest.approx(eager_w.grad, rel=1e-14)
    assert b.grad == pytest.approx(eager_b.grad, rel=1e-14)
    assert f.stats().traces == 1


def test_captured_and_passed_is_one_node() -> None:
    """The gradient by it has both parts."""
    w = Node(3.0)
    f = cr.compile(lambda x: x * w)
    for _ in range(2):
        w.grad = 0.0
        y = f(w)
        y.backward()
        assert (y.data, w.grad) == (9.0, 6.0)
    w.grad = 0.0
    f(Node(1.0)).backward()
    assert w.grad == 1.0


def test_captured_interior_nodes() -> None:
    """They are inputs, and backward goes on below them."""
    a = Node(2.0)
    inner = a * a
    f = cr.compile(lambda x: x * inner)
    y = f(3.0)
    y.backward()
    assert (y.data, a.grad, inner.grad) == (12.0, 12.0, 3.0)


def test_captures_that_differ_between_branches() -> None:
    """A node that only another branch uses is found when it is taken."""
    a, b = Node(2.0), Node(3.0)
    f = cr.compile(lambda x: a * x if x > 0 else b * x * x)
    assert f(1.0).data == 2.0
    y = f(-2.0)
    y.backward()
    assert (y.data, a.grad, b.grad) == (12.0, 0.0, 4.0)
    y = f(3.0)
    y.backward()
    assert (y.data, a.grad, b.grad) == (6.0, 3.0, 4.0)
    b_then = b
    b = Node(5.0)  # watched as well, though the first trace did not know it
    assert (f(-2.0).data, f(3.0).data) == (20.0, 6.0)
    b = b_then
    lanes = cr.compile(cr.vmap(f.function))
    values = lanes(np.array([1.0, -2.0, 3.0]))
    assert [y.data for y in values] == [2.0, 12.0, 6.0]
    a.grad = b.grad = 0.0
    sum(values).backward()
    assert (a.grad, b.grad) == (4.0, 4.0)


@pytest.mark.parametrize("reduce", [None, "sum", "mean"])
def test_captured_over_lanes(reduce: Any) -> None:
    """Without reduction an array of nodes, with one a node; also of a gradient."""
    a = Node(0.5)
    x = np.array([1.0, 2.0, 4.0])

    def f(k: Any, x: Any) -> Any:
        return crmath.sin(a * x) * k

    def total(y: Any) -> Any:
        return sum(y) if isinstance(y, np.ndarray) else y

    compiled = cr.compile(cr.vmap(f, in_axes=(None, 0), reduce=reduce))
    y = total(compiled(3.0, x))
    y.backward()
    slope = a.grad
    expected = total(compiled.function(3.0, x))
    a.grad = 0.0
    expected.backward()
    assert y.data == pytest.approx(expected.data, rel=1e-15)
    assert slope == pytest.approx(a.grad, rel=1e-14)
    if reduce is not None:
        gradient = cr.compile(cr.value_and_grad(cr.vmap(f, in_axes=(None, 0), reduce=reduce)))
        value, by_k = gradient(3.0, x)
        a.grad = 0.0
        by_k.backward()
        assert value.data == y.data
        assert a.grad == pytest.approx(slope / 3.0, rel=1e-14)


GLOBAL_WEIGHT: Any = Node(1.0)
config = types.ModuleType("config")
config.weight = Node(1.0)  # type: ignore[attr-defined]


class Holder:
    """Has attributes."""

    shared: Any = Node(1.0)

    def __init__(self, weight: Any = None) -> None:
        if weight is not None:
            self.weight = weight

    def __call__(self, x: Any) -> Any:
        """The object as a function that uses a global."""
        return GLOBAL_WEIGHT * x

    def forward(self, x: Any) -> Any:
        """A method that uses a global."""
        return GLOBAL_WEIGHT * x

    @property
    def current(self) -> Any:
        """A property that does."""
        return GLOBAL_WEIGHT


class Slotted:
    """Has no dict."""

    __slots__ = ("weight",)

    def __init__(self) -> None:
        self.weight: Any = Node(1.0)


@dataclass
class Record:
    """A data class."""

    weight: Any


def _set_global(node: Node) -> None:
    globals()["GLOBAL_WEIGHT"] = node


def by_global(x: Any) -> Any:
    """Uses a global."""
    return GLOBAL_WEIGHT * x


def _rebindings() -> dict[str, tuple[Callable[[Any], Any], Callable[[Node], Any]]]:
    """Functions with a captured weight, and how it becomes another node."""
    held, slotted, record = Holder(Node(1.0)), Slotted(), Record(Node(1.0))
    caller = Holder()
    nested: Any = {"layers": [(Node(2.0), [Node(1.0), Node(3.0)])]}
    objects = np.array([Node(1.0), Node(2.0)])
    ends, members = deque([Node(1.0)]), {Node(1.0)}
    deep: Any = Node(1.0)
    for _ in range(30):
        deep = [deep]
    closed = Node(1.0)

    def deepest(x: Any) -> Any:
        inner = deep
        while isinstance(inner, list):
            inner = inner[0]
        return inner * x

    def set_deepest(node: Node) -> None:
        inner = deep
        while isinstance(inner[0], list):
            inner = inner[0]
        inner[0] = node

    def close(node: Node) -> None:
        nonlocal closed
        closed = node

    def set_member(node: Node) -> None:
        members.clear()
        members.add(node)

    def helper(x: Any) -> Any:
        return closed * x

    in_default = [Node(1.0)]

    def default(x: Any, weights: Any = in_default) -> Any:
        return weights[0] * x

    compiled = cr.compile(lambda x: held.weight * x)

    return {
        "global": (by_global, _set_global),
        "global through a function": (lambda x: by_global(x) + 0.0, _set_global),
        "global through a method": (lambda x: held.forward(x), _set_global),
        "global through a call": (lambda x: caller(x), _set_global),
        "global through a property": (lambda x: held.current * x, _set_global),
        "object": (Holder(), _set_global),
        "bound method": (caller.forward, _set_global),
        "closure": (lambda x: closed * x, close),
        "closure of a function": (lambda x: helper(x), close),
        "attribute": (lambda x: held.weight * x, lambda n: setattr(held, "weight", n)),
        "attribute of a class": (
            lambda x: Holder.shared * x,
            lambda n: setattr(Holder, "shared", n),
        ),
        "attribute hides that of the class": (
            lambda x: caller.shared * x,
            lambda n: setattr(caller, "shared", n),
        ),
        "slot": (lambda x: slotted.weight * x, lambda n: setattr(slotted, "weight", n)),
        "data class": (lambda x: record.weight * x, lambda n: setattr(record, "weight", n)),
        "module": (lambda x: config.weight * x, lambda n: setattr(config, "weight", n)),
        "list in a tuple in a dict": (
            lambda x: nested["layers"][0][1][0] * x,
            lambda n: nested["layers"][0][1].__setitem__(0, n),
        ),
        "longer list": (
            lambda x: sum(w * x for w in nested["layers"][0][1]),
            lambda n: nested["layers"][0][1].append(n),
        ),
        "new key": (
            lambda x: sum(w * x for w in vars(record).values()),
            lambda n: setattr(record, "other", n),
        ),
        "array": (lambda x: objects[1] * x, lambda n: objects.__setitem__(1, n)),
        "deque": (lambda x: ends[0] * x, lambda n: ends.__setitem__(0, n)),
        "set": (lambda x: sum(members) * x, set_member),
        "deep": (deepest, set_deepest),
        "default": (default, lambda n: in_default.__setitem__(0, n)),
        "partial": (
            functools.partial(lambda h, x: h.weight * x, held),
            lambda n: setattr(held, "weight", n),
        ),
        "transformed": (
            cr.grad(lambda x: held.weight * x * x),
            lambda n: setattr(held, "weight", n),
        ),
        "compiled": (lambda x: compiled(x) + 0.0, lambda n: setattr(held, "weight", n)),
    }


@pytest.mark.parametrize("way", _rebindings())
def test_another_node_in_the_place_of_a_captured_one(way: str) -> None:
    """However the function finds it, it is traced again."""
    f, rebind = _rebindings()[way]
    g = cr.compile(f)
    y = g(3.0)
    assert y.data == f(3.0).data
    for value in (5.0, 7.0):
        new = Node(value)
        rebind(new)
        y = g(3.0)
        assert y.data == f(3.0).data
        y.backward()
        assert new.grad == pytest.approx(6.0 if way == "transformed" else 3.0)
    traces = g.stats().traces
    g(4.0)
    assert g.stats().traces == traces


def test_a_node_that_can_not_be_watched_is_eager() -> None:
    """Nothing shows that a cache was cleared: no wrong number, but a warning."""

    @functools.cache
    def parameters() -> list[Node]:
        return [Node(2.0)]

    parameters()  # what a trace makes is part of it
    f = cr.compile(lambda x: parameters()[0] * x)
    with pytest.warns(RuntimeWarning, match=r"runs eagerly: it uses .* pass it as an argument"):
        assert f(3.0).data == 6.0
    parameters.cache_clear()
    parameters()[0].data = 5.0
    assert f(3.0).data == 15.0


def test_a_function_under_another_name() -> None:
    """A helper that is replaced is traced again."""

    def double(x: Any) -> Any:
        return 2.0 * x

    inner = double
    f = cr.compile(lambda x: inner(x) + 1.0)
    assert f(3.0) == 7.0

    def triple(x: Any) -> Any:
        return 3.0 * x

    inner = triple
    assert f(3.0) == 10.0


class Neuron:
    """Weights and a bias, as leaf nodes."""

    def __init__(self, inputs: int, seed: random.Random) -> None:
        self.w = [Node(seed.uniform(-1.0, 1.0)) for _ in range(inputs)]
        self.b = Node(0.0)

    def __call__(self, x: Any) -> Any:
        """The weighted sum."""
        return sum((w * v for w, v in zip(self.w, x, strict=True)), self.b)


class Network:
    """Two layers, tanh and relu between them."""

    def __init__(self) -> None:
        seed = random.Random(1)
        self.layers = [[Neuron(2, seed) for _ in range(4)], [Neuron(4, seed)]]

    def __call__(self, x: Any) -> Any:
        """The output."""
        hidden = [neuron(x) for neuron in self.layers[0]]
        hidden = [crmath.tanh(h) if i % 2 else crmath.relu(h) for i, h in enumerate(hidden)]
        return self.layers[1][0](hidden)

    def parameters(self) -> list[Node]:
        """All leaves."""
        return [p for layer in self.layers for n in layer for p in [*n.w, n.b]]


SAMPLES = [(random.Random(k).uniform(-2, 2), random.Random(-k).uniform(-2, 2)) for k in range(12)]


def train(model: Network, loss: Callable[..., Any], steps: int) -> list[float]:
    """The loop of a beginner: loss, backward, step, zero."""
    losses = []
    for step in range(steps):
        x = SAMPLES[step % len(SAMPLES)]
        y = loss(x, crmath.sin(x[0]) * x[1])
        y.backward()
        losses.append(y.data)
        for p in model.parameters():
            p.data -= 0.05 * p.grad
            p.grad = 0
    return losses


def test_a_training_loop_runs_unchanged() -> None:
    """With the loss compiled, hundreds of steps lead to the parameters of the eager loop."""
    losses, parameters = [], []
    for compiled in (False, True):
        model = Network()

        def loss(x: Any, target: Any, model: Network = model) -> Any:
            error = model(x) - target
            return error * error if abs(error) < 1.0 else 2.0 * abs(error) - 1.0

        f = cr.compile(loss) if compiled else loss
        losses.append(train(model, f, 400))
        parameters.append([p.data for p in model.parameters()])
    assert np.mean(losses[0][-50:]) < 0.3 * np.mean(losses[0][:50])
    assert parameters[1] == pytest.approx(parameters[0], rel=1e-12, abs=1e-12)
    assert losses[1] == pytest.approx(losses[0], rel=1e-12, abs=1e-12)


def test_a_new_model_under_the_same_name() -> None:
    """The loss follows, also when only a layer is new."""
    model = Network()

    @cr.compile
    def loss(x: Any) -> Any:
        return model(x) ** 2

    point = np.array([0.5, -1.0])
    for _ in range(2):
        expected = loss.function(point).data
        assert loss(point).data == pytest.approx(expected, rel=1e-14)
        model.layers[1] = [Neuron(4, random.Random(7))]
        expected = loss.function(point).data
        assert loss(point).data == pytest.approx(expected, rel=1e-14)
        model = Network()
        model.layers[0][0].b.data = 0.75


# Index arrays

TABLE = np.arange(12.0).reshape(3, 4) ** 2 + 0.5
INDICES = np.array([2, 1])

LOOKUPS: dict[str, Callable[[Any, Any], Any]] = {
    "row": lambda t, i: t[i[0]],
    "element": lambda t, i: t[i[0], i[1]],
    "element of a row": lambda t, i: t[i[0]][i[1]],
    "column": lambda t, i: t[:, i[1]],
    "part of a row": lambda t, i: t[i[1], 1:3],
    "last axis": lambda t, i: t[..., i[1]],
    "new axes": lambda t, i: t[None, i[0], None, ..., None],
    "negative": lambda t, i: t[-i[0], i[1] - 4],
    "arithmetic": lambda t, i: t[(i[0] + i[1]) % 3, i[0] // 2] * i[1] + i[0] / 2 + 2.0 ** i[1],
    "slice": lambda t, i: t[0, : i[0]],
    "rows": lambda t, i: t[i],
    "rows by a matrix": lambda t, i: t[np.stack([i, i - 1])],
    "columns": lambda t, i: t[:, i],
    "elements": lambda t, i: t[i, i - 3],
    "elements apart": lambda t, i: t.reshape(3, 2, 2)[i, :, i - 1],
    "list": lambda t, i: [10.0, 20.0, 30.0][i[0]] * t[0, 0],
    "constant array": lambda t, i: np.array([10.0, 20.0, 30.0])[i[0]] * t[0, 0],
    "take": lambda t, i: cr.take([10.0, 20.0, 30.0], i[0]) * t[0, 0],
    "take rows": lambda t, i: cr.take([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], i[1])[1] * t[0, 0],
    "take many": lambda t, i: cr.take(np.array([10.0, 20.0, 30.0]), i) * t[0, 0],
    "loop": lambda t, i: sum(t[k, 0] for k in range(i[0])),
    "over indices": lambda t, i: sum(t[k, k] for k in i),
    "comparison": lambda t, i: t[0, 0] if i[0] > i[1] else t[0, 1],
    "equal": lambda t, i: t[0, 0] if i[0] == 2 else t[0, 1],
    "int": lambda t, i: t[int(i[0])] * abs(i[1]) * round(i[1]),
    "reduced": lambda t, i: t[i.max(), i.sum() - 3],
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_lookups(name: str) -> None:
    """As NumPy's, with the gradient scattered back; and in lanes."""
    f = LOOKUPS[name]
    compiled = cr.compile(f)
    for indices in (INDICES, INDICES[::-1].copy(), np.array([1, 1], dtype=np.int32)):
        expected = f(TABLE, indices)
        np.testing.assert_array_equal(compiled(TABLE, indices), expected)

        def total(t: Any, i: Any) -> Any:
            return np.sum(f(t * t, i))

        gradient = cr.grad(total)(TABLE, indices)
        np.testing.assert_array_equal(cr.compile(cr.grad(total))(TABLE, indices), gradient)
    many = np.array([[2, 1], [1, 2], [1, 1], [2, 2]] * 5)
    lanes = cr.compile(cr.vmap(lambda i, t: np.sum(f(t, i)), in_axes=(0, None)))(many, TABLE)
    assert lanes.tolist() == [float(np.sum(f(TABLE, i))) for i in many]


def test_an_index_is_data() -> None:
    """Other indices, negative ones among them, need no other trace."""
    f = cr.compile(lambda t, i: t[i[0]] * t[i[1]] * t[i[2]])
    t = np.array([1.0, 2.0, 5.0])
    for i in ([0, 1, 2], [-1, 0, -3], [2, 2, -1], [1, -2, 1]):
        assert f(t, np.array(i)) == t[i[0]] * t[i[1]] * t[i[2]]
    assert f.stats().traces == 1


def test_scattered_gradients_of_shared_tables() -> None:
    """The gradient of a sum over lanes adds up where lanes look up the same row."""
    random_ = np.random.default_rng(1)
    table = random_.normal(size=(5, 3))
    users = random_.integers(-5, 5, size=2000)

    def f(t: Any, u: Any, x: Any) -> Any:
        return (t[u] * t[u]).sum() * x

    x = random_.normal(size=2000)
    total = cr.vmap(f, in_axes=(None, 0, 0), reduce="sum")
    compiled = cr.compile(cr.grad(total))
    found = compiled(table, users, x)
    assert compiled.stats().traces == 1
    expected = np.zeros_like(table)
    np.add.at(expected, users, 2.0 * table[users] * x[:, None])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_wrong_indices() -> None:
    """Out of range, too large, of a wrong kind: the errors of lists and arrays."""
    f = cr.compile(lambda t, i: t[i[0]])
    t = np.array([1.0, 2.0, 3.0])
    assert f(t, np.array([2])) == 3.0
    for index in (3, -4, 1000):
        with pytest.raises(IndexError, match=f"index {index} is outside a table of 3"):
            f(t, np.array([index]))
        assert_clean()
    assert f(t, np.array([-3])) == 1.0
    with pytest.raises(ValueError, match=r"holds int 9007199254740994, beyond 2\*\*53"):
        f(t, np.array([2**53 + 2]))
    with pytest.raises(ValueError, match=r"holds int 18446744073709551615, beyond 2\*\*53"):
        f(t, np.array([2**64 - 1], dtype=np.uint64))
    with pytest.raises(ValueError, match=r"beyond 2\*\*53"):
        f(t, np.array([-(2**63)]))
    for i in (2**53, -(2**53)):
        assert cr.compile(lambda i: i[0])(np.array([i])) == i
    lanes = cr.compile(cr.vmap(lambda i, t: t[i], in_axes=(0, None)))
    assert lanes(np.array([0, 2]), t).tolist() == [1.0, 3.0]
    with pytest.raises(IndexError, match="index 7 is outside a table of 3"):
        lanes(np.array([0, 7, 2]), t)
    with pytest.raises(IndexError, match="only integers"):
        cr.compile(lambda t, x: t[x])(t, 1.0)
    with pytest.raises(IndexError, match="array is 2-dimensional, but 3 were indexed"):
        cr.compile(lambda t, i: t[i[0], 0, 0])(TABLE, np.array([1]))
    with pytest.raises(IndexError, match="an index is a whole number, not OperationNode"):
        cr.compile(lambda t, i: t[i * 0.5])(t, np.array([2]))
    with pytest.raises(TypeError, match="take looks up lists and arrays, not dicts"):
        cr.compile(lambda i: cr.take({1: 2.0}, i[0]))(np.array([1]))
    with pytest.raises(ValueError, match="the rows of a table must have one length"):
        cr.compile(lambda i: cr.take([[1.0], [2.0, 3.0]], i[0])[0])(np.array([1]))
    with pytest.raises(TypeError, match=r"an index is a whole number, not float 1\.0"):
        cr.take([1.0, 2.0], 1.0)


def test_take_without_compiling() -> None:
    """With plain whole numbers it is a lookup."""
    assert cr.take([1.0, 2.0], 1) == 2.0
    assert cr.take([1.0, 2.0], np.int64(-1)) == 2.0
    assert cr.take([1.0, 2.0, 4.0], np.array([2, 0])).tolist() == [4.0, 1.0]
    weight = Node(3.0)
    y = cr.compile(lambda i, x: cr.take([1.0, weight], i[0]) * x)(np.array([1]), 2.0)
    y.backward()
    assert (y.data, weight.grad) == (6.0, 2.0)


# What goes wrong in the function


class OddError(Exception):
    """The user's."""


def test_an_exception_while_tracing() -> None:
    """It is shown as it is; nothing is left behind; the next call works."""
    broken = True

    @cr.compile
    def f(x: Any) -> Any:
        y = cr.grad(lambda z: _raise_if(broken, z * z))(x)
        return y * 2.0

    for _ in range(2):
        with pytest.raises(OddError, match="the user's own"):
            f(1.0)
        assert_clean()
    assert f.stats().traces == 0
    broken = False
    assert f(1.0) == 4.0


def _raise_if(broken: bool, x: Any) -> Any:
    if broken:
        raise OddError("the user's own")
    return x


@pytest.mark.parametrize("over_lanes", [False, True])
def test_an_exception_on_a_branch(over_lanes: bool) -> None:
    """Calls that don't take it go on."""

    def f(x: Any) -> Any:
        if x < 0:
            raise OddError("negative")
        return x * 2.0

    g = cr.compile(cr.vmap(f)) if over_lanes else cr.compile(f)

    def call(*xs: float) -> list[float]:
        return list(g(np.array(xs))) if over_lanes else [g(x) for x in xs]

    assert call(1.0, 2.0) == [2.0, 4.0]
    for _ in range(2):
        with pytest.raises(OddError, match="negative"):
            call(1.0, -1.0)
        assert_clean()
        assert call(3.0) == [6.0]


LEAKS: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "data": lambda x: x.data,
    "math.exp": math.exp,
    "complex": complex,
    "array of floats": lambda x: np.array([x], dtype=float)[0],
}


@pytest.mark.parametrize("leak", LEAKS)
def test_leaks(leak: str) -> None:
    """What would freeze a traced value, or a captured leaf's, raises and names the line."""
    f = LEAKS[leak]
    where = "a node is real" if leak == "complex" else "test_compile.py:"
    with pytest.raises(TypeError, match=where):
        cr.compile(lambda x: f(x * 2.0) + x)(1.0)
    assert_clean()
    leaf = Node(1.0)
    with pytest.raises(TypeError, match=where):
        cr.compile(lambda x: f(leaf) + x)(1.0)
    assert cr.compile(lambda x: crmath.stop_gradient(x) * x)(3.0) == 9.0


def test_a_traced_value_outside() -> None:
    """One that was kept from a trace can't be used afterwards."""
    kept: list[Any] = []

    def f(x: Any) -> Any:
        kept.append(x * 2.0)
        return x

    assert cr.compile(f)(3.0) == 3.0
    with pytest.raises(cr.TracedValueError):
        _ = kept[0].data
    with pytest.raises(cr.TracedValueError):
        _ = kept[0] > 1.0


def counting(x: Any) -> Any:
    """As many paths as whole numbers."""
    n = 0
    while x > 1:
        x = x - 1
        n += 1
    return x * n


@pytest.mark.parametrize("kind", ["point", "lanes", "sum", "gradient of sum"])
def test_too_many_traces(kind: str) -> None:
    """Beyond max_traces it runs eagerly, is right, and warns once."""
    f: Any = counting
    if kind != "point":
        f = cr.vmap(f, reduce=None if kind == "lanes" else "sum")
    if kind == "gradient of sum":
        f = cr.grad(f)
    g = cr.compile(f, max_traces=3)
    x = np.arange(8.0) + 0.5
    arguments = x.tolist() if kind == "point" else [x, x[::-1]]
    with pytest.warns(RuntimeWarning, match=r"eagerly: it takes more than 3 paths") as caught:
        results = [g(a) for a in arguments]
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = [g(a) for a in arguments]
    assert_same(results, [f(a) for a in arguments])
    assert_same(again, results)
    assert g.stats().eager
    assert g.stats().traces <= 3


def test_an_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error that says so; other branches still work."""
    monkeypatch.setattr(trace_module, "MAX_GUARDS", 2000)

    def f(x: Any) -> Any:
        while x > 0:
            x = x + 1
        return x

    g = cr.compile(f)
    with pytest.raises(cr.CompileError, match=r"has made 2,000 comparisons .* does its loop end\?"):
        g(1.0)
    assert_clean()
    assert g(-1.0) == -1.0


def test_nan_ends_loops_and_takes_the_other_branch() -> None:
    """As Python does it."""
    f = cr.compile(lambda x: 1.0 if x > 0 else 2.0 if x <= 0 else 3.0)
    assert [f(x) for x in (1.0, 0.0, -0.0, math.nan, math.inf, -math.inf)] == [1, 2, 2, 3, 1, 2]
    assert cr.compile(counting)(math.nan) is not None
    g = cr.compile(lambda x: 1.0 if x != x else 0.0)
    assert [g(x) for x in (1.0, math.nan)] == [0.0, 1.0]
    h = cr.compile(lambda x, y: 1.0 if x == y else 0.0)
    assert [h(1.0, 1.0), h(1.0, 2.0), h(0.0, -0.0), h(math.nan, math.nan)] == [1.0, 0.0, 1.0, 0.0]


def test_anomalies_are_found() -> None:
    """Inside detect_anomaly the function runs on nodes, so that the first NaN is found."""
    weight = Node(2.0)
    f = cr.compile(lambda x: crmath.log(weight) * x)
    assert f(2.0).data == pytest.approx(2.0 * math.log(2.0))
    weight.data = -1.0
    assert math.isnan(f(2.0).data)
    with cr.detect_anomaly(), pytest.raises(FloatingPointError, match=r"log\(-1\) = nan"):
        f(2.0)
    g = cr.compile(cr.grad(lambda x: crmath.sqrt(x) * x))
    assert math.isnan(g(-1.0))
    with cr.detect_anomaly(), pytest.raises(FloatingPointError, match=r"sqrt\(-1\) = nan"):
        g(-1.0)


def test_check() -> None:
    """check=True finds what has changed since the trace; without, it is frozen."""
    factor = [2.0]
    f = cr.compile(lambda x: x * factor[0], check=True)
    frozen = cr.compile(lambda x: x * factor[0])
    assert (f(3.0), frozen(3.0)) == (6.0, 6.0)
    factor[0] = 5.0
    with pytest.raises(cr.CompileError, match=r"gave 6\.0 as number 0 .* is 15\.0\. Does it use"):
        f(3.0)
    assert frozen(3.0) == 6.0
    factor[0] = 2.0
    assert f(3.0) == 6.0
    noise = cr.compile(lambda x: x * random.random(), check=True)
    with (
        pytest.warns(RuntimeWarning, match="drew random numbers"),
        pytest.raises(cr.CompileError, match="Does it use something that has changed"),
    ):
        noise(3.0)
    lanes = cr.compile(cr.vmap(lambda x: (crmath.exp(x), x)), check=True)
    values, _ = lanes(np.array([0.0, math.nan, math.inf, -math.inf]))
    np.testing.assert_array_equal(values, [1.0, math.nan, math.inf, 0.0])
    weight = Node(2.0)
    node = cr.compile(lambda x: x * weight, check=True)(3.0)
    node.backward()
    assert (node.data, weight.grad) == (6.0, 3.0)


# With transformations

COMPOSITIONS: dict[str, Callable[[Any], Any]] = {
    "value": lambda v: v,
    "grad": lambda v: cr.grad(v, argnums=1),
    "grad of two": lambda v: cr.grad(v, argnums=(1, 2)),
    "grad by lanes": lambda v: cr.grad(v, argnums=0),
    "value and grad by both": lambda v: cr.value_and_grad(v, argnums=(0, 1)),
    "hessian": lambda v: cr.hessian(v, argnums=1),
    "hessian of two": lambda v: cr.hessian(v, argnums=(1, 2)),
    "hessian by lanes": lambda v: cr.hessian(v, argnums=0),
    "negative argnums": lambda v: cr.grad(v, argnums=-1),
    "jacobian by both": lambda v: cr.jacobian(v, argnums=(0, 1)),
    "jacfwd": lambda v: cr.jacfwd(v, argnums=2),
    "grad of grad": lambda v: cr.grad(cr.grad(v, argnums=1), argnums=2),
    "third": lambda v: cr.jacobian(cr.hessian(v, argnums=1), argnums=2),
    "a formula of it": lambda v: lambda x, k, y: v(x, k, y) ** 2 + y,
    "grad of a formula": lambda v: cr.grad(lambda x, k, y: v(x, k, y) ** 2 + y, argnums=1),
}


def branched(x: Any, k: Any, y: Any) -> Any:
    """Has two branches."""
    return crmath.sin(x * k) * y if x > 0 else x * k * k * y


@pytest.mark.parametrize("reduce", ["sum", "mean"])
@pytest.mark.parametrize("name", COMPOSITIONS)
def test_around_a_reduction(name: str, reduce: Any) -> None:
    """Derivatives of sums and means over lanes, by what is shared and by the lanes."""
    x = np.random.default_rng(3).normal(size=20)
    f = COMPOSITIONS[name](cr.vmap(branched, in_axes=(0, None, None), reduce=reduce))
    assert_same(cr.compile(f)(x, 1.3, 0.7), f(x, 1.3, 0.7), 1e-12)


INNER: dict[str, Callable[..., Any]] = {
    "grad": cr.grad(branched, argnums=(0, 1)),
    "hessian": cr.hessian(branched, argnums=(0, 1, 2)),
    "jacobian": cr.jacobian(lambda x, k, y: np.array([x * k, y * x]), argnums=(0, 2)),
    "third": cr.grad(cr.grad(cr.grad(branched, argnums=1), argnums=0), argnums=1),
    "jvp": lambda x, k, y: cr.jvp(branched, (x, k, y), (1.0, 2.0, 3.0)),
    "vjp": lambda x, k, y: cr.vjp(branched, x, k, y)[1](2.0),
    "hvp": lambda x, k, y: cr.hvp(branched, (x, k, y), (1.0, 2.0, 3.0)),
    "lanes in lanes": lambda x, k, y: cr.vmap(branched, in_axes=(None, None, 0))(
        x, k, np.array([1.0, 2.0])
    ),
    "sum in lanes": lambda x, k, y: cr.vmap(branched, in_axes=(None, None, 0), reduce="sum")(
        x, k, np.array([1.0, 2.0])
    ),
}


@pytest.mark.parametrize("name", INNER)
def test_inside_lanes(name: str) -> None:
    """Transformations at each lane, and at a single point."""
    f = INNER[name]
    assert_same(cr.compile(f)(0.4, 1.3, 0.7), f(0.4, 1.3, 0.7), 1e-13)
    x = np.random.default_rng(4).normal(size=9)
    lanes = cr.vmap(f, in_axes=(0, None, None))
    assert_same(cr.compile(lanes)(x, 1.3, 0.7), lanes(x, 1.3, 0.7), 1e-12)


def test_inside_other_transformations() -> None:
    """A compiled function there is part of the graph: differentiated, mapped, compiled, drawn."""
    f = cr.compile(plain)
    for x in (0.5, -0.5):
        assert cr.grad(f)(x) == cr.grad(plain)(x)
        assert cr.hessian(f)(x) == cr.hessian(plain)(x)
        assert cr.jvp(f, (x,), (1.0,)) == cr.jvp(plain, (x,), (1.0,))
        assert_same(cr.compile(cr.grad(f))(x), cr.grad(plain)(x))
        assert_same(cr.compile(lambda y: f(y) + f(2.0 * y))(x), plain(x) + plain(2.0 * x))
        assert_same(cr.compile(cr.grad(cr.compile(cr.grad(f))))(x), cr.grad(cr.grad(plain))(x))
    assert f.stats().calls == 0
    xs = np.array([1.0, -1.0, 2.0])
    assert_same(cr.vmap(f)(xs), cr.vmap(plain)(xs))
    assert_same(cr.compile(cr.vmap(f))(xs), cr.vmap(plain)(xs))
    assert_same(cr.grad(cr.compile(cr.vmap(f, reduce="sum")))(xs), cr.vmap(cr.grad(plain))(xs))


def test_aux() -> None:
    """Auxiliary results come along, over lanes too."""
    f = cr.grad(lambda x, k: (x * x * k, {"twice": 2.0 * x}), has_aux=True)
    assert_same(cr.compile(f)(3.0, 2.0), (12.0, {"twice": 6.0}))
    lanes = cr.vmap(f, in_axes=(0, None))
    assert_same(cr.compile(lanes)(np.arange(3.0), 2.0), lanes(np.arange(3.0), 2.0))
    total = cr.vmap(f.function, in_axes=(None, 0), reduce="sum")
    outer = cr.grad(total, has_aux=True)
    assert_same(cr.compile(outer)(2.0, np.arange(3.0)), outer(2.0, np.arange(3.0)))


def test_users_operations_and_custom_gradients() -> None:
    """They are computed by Python, lane by lane, and their gradients are theirs."""
    calls = []

    def cube(x: float) -> float:
        calls.append(x)
        return x**3

    operation = cr.Operation("cube", cube, [lambda y, x: 3.0 * x * x])
    f = cr.value_and_grad(lambda x: operation(x) * 2.0 if x > 0 else operation(-x))
    x = np.array([1.0, -2.0, 3.0])
    assert_same(cr.compile(cr.vmap(f))(x), cr.vmap(f)(x))
    assert_same(cr.compile(f)(2.0), f(2.0))

    def raising(x: float) -> float:
        if x > 2.0:
            raise OddError("too large")
        return x

    @cr.custom_gradient
    def clipped(x: Any) -> Any:
        return x * x, lambda g: crmath.clip(g * 2.0 * x, -1.0, 1.0)

    h = cr.value_and_grad(lambda x: clipped(x) * 3.0 if x > 0 else x)
    assert_same(cr.compile(h)(2.0), h(2.0))
    assert_same(cr.compile(cr.vmap(h))(x), cr.vmap(h)(x))

    other = cr.Operation("raising", raising, [lambda y, x: 1.0])
    g = cr.compile(lambda x: other(x) + 1.0)
    assert g(1.0) == 2.0
    with pytest.raises(OddError, match="too large"):
        g(3.0)
    assert g(2.0) == 3.0


def rosenbrock(x: Any) -> Any:
    """The chained function of Rosenbrock."""
    return sum(100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(len(x) - 1))


def test_sparse_results() -> None:
    """SciPy's arrays; another pattern on another branch."""
    sparse = pytest.importorskip("scipy.sparse")
    x = np.random.default_rng(5).normal(size=6)
    functions = {
        "hessian": cr.hessian(rosenbrock, sparse=True),
        "jacobian": cr.jacobian(lambda x: x[1:] * x[:-1], sparse=True),
        "branches": cr.jacobian(
            lambda x: x[1:] * x[:-1] if x[0] > 0 else x[1:] * x[2], sparse=True
        ),
    }
    for f in functions.values():
        g = cr.compile(f)
        for point in (x, -x, 2.0 * x):
            found, expected = g(point), f(point)
            assert isinstance(found, sparse.csr_array)
            assert found.nnz == expected.nnz
            assert found.indices.tolist() == expected.indices.tolist()
            np.testing.assert_allclose(found.toarray(), expected.toarray(), rtol=1e-12)


# stats and tape


def test_stats() -> None:
    """What has been done, in numbers."""
    f = cr.compile(counting)
    assert f.stats() == f.stats()
    assert (f.stats().calls, f.stats().plans, f.stats().traces, f.stats().nodes) == (0, 0, 0, 0)
    for x in (0.5, 1.5, 0.25, 2.5):
        f(x)
    stats = f.stats()
    assert (stats.calls, stats.plans, stats.traces, stats.lanes) == (4, 1, 3, 1)
    assert stats.nodes > 5
    assert stats.trace_seconds > 0.0
    assert stats.compile_seconds > 0.0
    assert not stats.eager
    lanes = cr.compile(cr.vmap(counting))
    lanes(np.array([0.5, 1.5]))
    assert (lanes.stats().lanes, lanes.stats().traces) == (8, 2)


def test_tape() -> None:
    """It can be read: inputs, constants, operations, guards, results; shared and simplified."""

    def branching(x: Any, y: Any) -> Any:
        return (x + y) * (x + y) - 0.0 if x < 2.0 else crmath.exp(x) * 1.0

    f = cr.compile(branching, rewrite=False)
    with pytest.raises(cr.CompileError, match="no tape yet: call the compiled function first"):
        f.tape()
    f(1.0, 3.0)
    assert f.tape().splitlines() == [
        "input x[2]",
        "guard 0: x[0] < 2.0 is true",
        "%0 = x[0] + x[1]",
        "%1 = %0 * %0",
        "return %1",
    ]
    f(3.0, 3.0)
    assert f.tape().split("\n\n")[1].splitlines() == [
        "after 1 guards:",
        "input x[2]",
        "%0 = exp(x[0])",
        "return %0",
    ]


def test_programs(tmp_path: Path) -> None:
    """They are what the tape shows; kept in a file they give what the function gives."""
    f = cr.compile(cr.value_and_grad(lambda x: sum(crmath.sin(y) * y for y in x)))
    with pytest.raises(cr.CompileError, match="no tape yet: call the compiled function first"):
        f.programs()
    x = np.linspace(-1.0, 1.0, 200)
    value, gradient = f(x)
    assert [str(program) for program in f.programs()] == f.tape().split("\n\n")
    f.programs()[0].save(tmp_path / "program.json")
    loaded = cr.Program.load(tmp_path / "program.json")
    outputs, failed = interpret(loaded, x.tolist())
    assert failed is None
    assert np.allclose(outputs, [value, *gradient], rtol=1e-15, atol=1e-15)
    branch = cr.compile(lambda x: x if x < 2.0 else x * x, rewrite=False)
    branch(1.0), branch(3.0)
    first, second = branch.programs()
    assert interpret(first, [3.0]) == ([], 0)
    assert interpret(second, [3.0]) == ([9.0], None)


# Specializations


def test_specializations_are_dropped() -> None:
    """Those that were not used for longest, with their code; those in use are kept."""
    f = cr.compile(lambda x, n: x * n)
    first = weakref.ref(f._planned((2.0, -1), {})[0])
    assert f(2.0, -1) == -2.0
    used = f._planned((2.0, 0), {})[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n in range(2 * MAX_SPECIALIZATIONS):
            assert f(2.0, n) == 2.0 * n
            assert f(2.0, 0) == 0.0
    assert f.stats().plans == f.stats().traces == MAX_SPECIALIZATIONS
    gc.collect()
    assert first() is None
    assert f._planned((2.0, 0), {})[0] is used
    assert f(3.0, -1) == -3.0


def test_compiling_must_pay() -> None:
    """Paths that are rarely taken run eagerly at first; one that is taken often is compiled."""

    def f(x: Any) -> Any:
        while x > 1.0:
            x = x * 0.99
        return x * x

    compiled = cr.compile(cr.value_and_grad(f))
    points = [1.0 / 0.99**k * 1.0001 for k in range(200)]
    for x in points:
        assert compiled(x) == pytest.approx(cr.value_and_grad(f)(x), rel=1e-13)
    assert compiled.stats().traces < 100
    assert not compiled.stats().eager
    for _ in range(1000):
        before = compiled.stats().traces
        assert compiled(points[-1]) == pytest.approx(cr.value_and_grad(f)(points[-1]), rel=1e-13)
    assert compiled.stats().traces == before  # it has its own by now
    assert before < 100


ENDS: list[Callable[[Any, Any], Any]] = [
    lambda x, a: 1.0 / (x - 0.5) + a,  # which Python's numbers refuse
    lambda x, a: (3.0 - x) ** 0.5 + a,  # which they make complex
    lambda x, a: (1e160 * (x - 0.5)) ** 2 + a,  # too large for these
    lambda x, a: x + a * a / 3.0,
]


@pytest.mark.parametrize("lanes", [False, True])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.filterwarnings("ignore:.*(takes|divide|invalid|overflow)")
def test_paths_that_do_not_pay_give_the_same(end: Callable[[Any, Any], Any], lanes: bool) -> None:
    """Numbers that Python refuses, and arrays of less precision, are those of compiled code."""

    def f(x: Any, row: Any) -> Any:
        left = x
        while left > 0.0:
            left = left - 1.0
        return end(x - 5.0 if x > 5.0 else x, row[1])

    points = np.array([*(np.arange(12) + 0.5), 20.5, 20.5])
    rows = np.array([[k, 1.0 / (k + 3.0)] for k in range(len(points))], np.float32)
    expected = [cr.compile(f)(x, row) for x, row in zip(points.tolist(), rows, strict=True)]
    compiled = cr.compile(cr.vmap(f) if lanes else f)
    pairs = zip(points.tolist(), rows, strict=True)
    found = compiled(points, rows) if lanes else [compiled(x, row) for x, row in pairs]
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert not compiled.stats().eager


@pytest.mark.parametrize("most", [1, 2, 5])
@pytest.mark.filterwarnings("ignore:.*was compiled")
def test_few_specializations(most: int) -> None:
    """As many as are wanted, whichever way they are called: plain ones, arrays, lanes."""
    f = cr.compile(lambda x, n: x * n, max_specializations=most)
    lanes = cr.compile(cr.vmap(lambda x, n: x * n, in_axes=(0, None)), max_specializations=most)
    found: list[Any] = []
    rng = random.Random(most)
    for _ in range(60):
        n = rng.randrange(4)
        found += [f(2.0, n), f(2.0, n), f(np.array([2.0]), n)[0], lanes(np.array([1.0, 2.0]), n)[1]]
        assert found[-4:] == [2.0 * n] * 4
        assert f.stats().plans <= most
        assert lanes.stats().plans <= most
    copies: list[Any] = [copy.copy(f), copy.deepcopy(f)]
    assert [g.options.max_specializations for g in copies] == [most] * 2


@pytest.mark.parametrize("dtype", [float, "float32", np.int64])
def test_prepare_for_shapes(dtype: Any) -> None:
    """Objects with a shape and a dtype do for arrays; nothing is left to compile."""
    shape_of = functools.partial(types.SimpleNamespace, dtype=dtype)
    f = cr.compile(cr.value_and_grad(lambda p, n: p["a"][0] * p["a"][2] * n + p["b"][0][1, 1]))
    f.prepare({"a": shape_of(shape=(3,)), "b": [shape_of(shape=(2, 2))]}, 2)
    before = f.stats()
    assert (before.calls, before.traces) == (0, 1)
    a, b = np.array([1, 2, 3], dtype), np.array([[1, 2], [3, 4]], dtype)
    value, slopes = f({"a": a, "b": [b]}, 2)
    assert value == 10.0
    assert slopes["a"].tolist() == [6.0, 0.0, 2.0]
    after = f.stats()
    assert (after.traces, after.compile_seconds) == (1, before.compile_seconds)
    for wrong in ({"shape": (2,), "dtype": "no"}, {"shape": (-1,), "dtype": float}):
        with pytest.raises(TypeError, match="make no array"):
            f.prepare(types.SimpleNamespace(**wrong), 1)


@pytest.mark.parametrize("reduce", [None, "sum"])
def test_compiling_must_pay_for_lanes(reduce: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes on paths that few take run eagerly, and each has its result where it belongs."""
    monkeypatch.setattr(paths_module, "LONG_EAGERLY", 0.0)

    def f(x: Any, k: int) -> Any:
        while x > 1.0:
            x = x * 0.99 + 0.0 * k
        return x * x

    mapped = cr.vmap(f, in_axes=(0, None), reduce=reduce)
    made = cr.value_and_grad(mapped) if reduce else cr.vmap(cr.value_and_grad(f), (0, None))
    points = np.random.default_rng(3).permutation([1.0 / 0.99**k * 1.0001 for k in range(200)])
    compiled = cr.compile(made, rewrite=False)
    line = f.__code__.co_firstlineno + 1
    with pytest.warns(RuntimeWarning, match=f"which part at {__file__}:{line};") as caught:
        results = [compiled(x, 1) for x in (points, points[::-1], points[:1])]
    assert len(caught) == 1
    for x, result in zip((points, points[::-1], points[:1]), results, strict=True):
        for found, expected in zip(result, made(x, 1), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert compiled.stats().traces < 120


@pytest.mark.parametrize("kind", ["point", "lanes", "node"])
def test_what_is_compiled_stays(kind: str) -> None:
    """Beyond max_traces too: only the paths that are one too many run eagerly."""
    runs: list[int] = []

    def f(x: Any) -> Any:
        runs.append(1)
        return counting(x)

    compiled = cr.compile(cr.vmap(f) if kind == "lanes" else f, max_traces=3)
    made: Any = {"lanes": lambda x: np.array([x]), "node": Node}.get(kind, float)
    with pytest.warns(RuntimeWarning, match="more than 3 paths"):
        results = [compiled(made(k + 0.5)) for k in range(6)]
    assert compiled.stats().traces == 3
    runs.clear()
    results += [compiled(made(k + 0.5)) for k in range(6)]
    found = [x.data if kind == "node" else float(np.ravel(x)[0]) for x in results]
    assert found == [counting(k + 0.5) for k in range(6)] * 2
    assert len(runs) == 3


@pytest.mark.parametrize("kind", ["point", "lanes", "sums", "captured"])
def test_prepare(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call that follows has nothing to trace or compile, whatever its numbers are."""
    weight = Node(3.0)

    def of_one(x: Any, n: int) -> Any:
        return (weight if kind == "captured" else 3.0) * x * x + n

    made = {
        "lanes": cr.vmap(cr.value_and_grad(of_one), in_axes=(0, None)),
        "sums": cr.value_and_grad(cr.vmap(of_one, in_axes=(0, None), reduce="sum")),
    }.get(kind, cr.value_and_grad(of_one))
    f = cr.compile(made)
    number: Any = 0.0 if kind in ("point", "captured") else np.zeros(3)
    f.prepare(number, 1)
    assert (f.stats().calls, f.stats().traces) == (0, 1)
    seconds = f.stats().compile_seconds
    assert seconds > 0.0
    point: Any = number + 2.0
    found, slope = f(point, 1)
    expected, expected_slope = made(point, 1)
    np.testing.assert_allclose(np.vectorize(float_of)(found), np.vectorize(float_of)(expected))
    np.testing.assert_allclose(
        np.vectorize(float_of)(slope), np.vectorize(float_of)(expected_slope)
    )
    assert (f.stats().traces, f.stats().compile_seconds) == (1, seconds)
    f.prepare(number, 2)
    assert f.stats().plans == 2


def float_of(x: Any) -> float:
    """The number of a node or number."""
    return x.data if isinstance(x, Node) else float(x)


def test_prepare_of_what_is_not_compiled() -> None:
    """It warns as the call would, and does nothing inside a transformation."""
    f = cr.compile(lambda x: x if x > 0.0 else -x, max_traces=1)
    f.prepare(1.0)
    assert f.stats().traces == 1

    def g(x: Any) -> Any:
        f.prepare(x)
        return x * x

    assert cr.grad(g)(3.0) == 6.0
    with pytest.warns(RuntimeWarning, match="runs eagerly"):
        cr.compile(cr.vmap(lambda x: x)).prepare(np.array([1.0, "x"], dtype=object))


# Copies and other processes


def test_copies() -> None:
    """A copy compiles anew, with the same options; a deep copy of an object uses the copy."""
    weight = Node(2.0)
    f = cr.compile(lambda x: x * weight, threads=1, max_traces=7)
    f(1.0)
    for g in (copy.copy(f), copy.deepcopy(f)):
        assert g is not f
        assert (g.options.threads, g.options.max_traces, g.stats().calls) == (1, 7, 0)
        assert g(3.0).data == 6.0

    class Model:
        def __init__(self) -> None:
            self.weight = Node(3.0)
            self.fast = cr.compile(self.loss)

        def loss(self, x: Any) -> Any:
            return self.weight * x

    model = Model()
    assert model.fast(1.0).data == 3.0
    other = copy.deepcopy(model)
    other.weight.data = 10.0
    assert (model.fast(1.0).data, other.fast(1.0).data) == (3.0, 10.0)


PICKLED = {
    "function": cr.compile(plain, max_traces=9, threads=1),
    "decorated": decorated,
    "gradient": cr.compile(cr.grad(plain)),
    "lambda": cr.compile(lambda x: crmath.exp(-x) * x if x > 0 else x, check=True),
    "gradient of a lambda": cr.compile(cr.grad(lambda x: x * x)),
}


@pytest.mark.parametrize("name", PICKLED)
def test_pickling(name: str) -> None:
    """The function and the options go along, used before or not; lambdas by cloudpickle."""
    f = PICKLED[name]
    for _ in range(2):
        g = pickle.loads(pickle.dumps(f))
        assert (g is f) == (name == "decorated")  # known by its name
        assert g.options == f.options
        assert repr(g) == repr(f)
        for x in (0.5, -0.5):
            assert g(x) == f(x)


def test_pickling_without_cloudpickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(pickle.PicklingError, match="pip install cloudpickle"):
        pickle.dumps(PICKLED["lambda"])
    assert pickle.loads(pickle.dumps(PICKLED["function"]))(0.5) == PICKLED["function"](0.5)


def test_in_a_fresh_process(tmp_path: Path) -> None:
    """The pickles work where nothing of this module is loaded but by them."""
    for name, f in PICKLED.items():
        (tmp_path / name).write_bytes(pickle.dumps(f))
    script = (
        "import pathlib, pickle, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"for path in sorted(pathlib.Path({str(tmp_path)!r}).iterdir()):\n"
        "    f = pickle.loads(path.read_bytes())\n"
        "    print(path.name, f(0.5).hex(), f(-0.5).hex(), sep='|')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = [f"{n}|{f(0.5).hex()}|{f(-0.5).hex()}" for n, f in sorted(PICKLED.items())]
    assert done.stdout.splitlines() == expected


def test_joblib() -> None:
    """Worker processes compute what this one does."""
    joblib = pytest.importorskip("joblib")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joblib's own
        found = joblib.Parallel(n_jobs=2)(
            joblib.delayed(f)(x) for f in PICKLED.values() for x in (0.25, -0.25)
        )
    assert found == [f(x) for f in PICKLED.values() for x in (0.25, -0.25)]


# Threads


def in_threads(work: Callable[[int], None], count: int = 6) -> None:
    """Run something in several threads that start at once."""
    run_in_threads(*[functools.partial(work, i) for i in range(count)])


@pytest.mark.usefixtures("frequent_switches")
@pytest.mark.parametrize("attempt", range(5))
def test_one_function_in_several_threads(attempt: int) -> None:
    """Its first call too, with branches and captured nodes that come up on the way."""
    weights = [Node(float(i + 1)) for i in range(6)]

    def f(x: Any) -> Any:
        i = 0
        total = x * weights[0]
        while x > i and i < 5:
            i += 1
            total = total + weights[i] * x
        return total

    one, lanes = cr.compile(f), cr.compile(cr.vmap(f))
    x = np.linspace(-1.0, 7.0, 23)
    expected = [f(v).data for v in x.tolist()]

    def work(i: int) -> None:
        order = random.Random(100 * attempt + i).sample(range(23), 23)
        for k in order:
            assert one(x[k]).data == expected[k]
        for _ in range(3):
            assert [y.data for y in lanes(x[i:])] == expected[i:]

    in_threads(work)
    assert one.stats().calls == 6 * 23


@pytest.mark.usefixtures("frequent_switches")
def test_kinds_of_arguments_in_several_threads() -> None:
    """Plans are made aside of each other, and of another thread's eager training."""
    f = cr.compile(lambda x: x * 2.0 if isinstance(x, Node) else x.sum())

    def work(i: int) -> None:
        for k in range(20):
            if i % 2:
                assert f(float(k)) == 2.0 * k
            else:
                assert f(np.arange(float(i + k % 3 + 1))) == sum(range(i + k % 3 + 1))
            w = Node(2.0)
            y = w * w + k
            y.backward()
            assert (w.grad, y.data) == (4.0, 4.0 + k)

    in_threads(work)
