"""Derivatives of numbers: the passes in C against the Python class that documents them."""

from __future__ import annotations

import gc
import importlib.util
import math
import struct
import weakref
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from marks import unmarked
from random_programs import points, program

import chainrule as cr
from chainrule import (
    Node,
    Operation,
    custom_gradient,
    grad,
    hessian,
    jacobian,
    jvp,
    rules,
    transforms,
    vjp,
)
from chainrule import math as cm
from chainrule.backpropagation import topological
from chainrule.differentiation import (
    Linearization,
    LinearizationOfNumbers,
    fresh_input,
    linearization,
    push_tangents,
)
from chainrule.engine import COMPILED
from chainrule.tracing import transformation
from chainrule.trees import flatten

PROGRAMS = 150

users_sin = Operation("users_sin", lambda x: cm.sin(x), [lambda y, x: cm.cos(x)])
users_product = Operation(
    "users_product", lambda x, y: x * y, [lambda y, a, b: b, lambda y, a, b: a]
)
users_sum = Operation("users_sum", lambda *xs: sum(xs), lambda y, *xs: [1] * len(xs))

FUNCTIONS: dict[str, Any] = {name: getattr(cm, name) for name in cm.__all__}
FUNCTIONS.update(rules.OPERATIONS)
FUNCTIONS.update(abs=abs, t=cm.tanh, max=max, min=min, sorted=sorted, sum=sum, range=range)
FUNCTIONS.update({name: getattr(cm, name) for name in ("fsum", "hypot")})
WITH_USERS = {
    **FUNCTIONS,
    "sin": users_sin,
    "fma": lambda x, y, z: users_sum(users_product(x, y), z),
}
CHANGES = (None, None, 0.0, -0.0, 1.0, -1.0, 0.3, -7.0, math.inf, math.nan, 1e300, 5e-324)


class Graph:
    """Inputs and outputs of a random program: constants, inputs, and some twice among these."""

    def __init__(self, seed: int, level: int, users: bool) -> None:
        random = Random(seed)
        made = program(seed, 6, exact=False)
        (point,) = points(seed, made.inputs, 1)
        self.level = level
        self.inputs = [fresh_input(x, level) for x in point]
        f = made.function(WITH_USERS if users else FUNCTIONS)
        result = f(np.array(self.inputs)) if made.as_array else f(*self.inputs)
        results = list(result) if isinstance(result, (list, tuple, np.ndarray)) else [result]
        self.outputs: list[Any] = [*results, 2.0, self.inputs[-1]]
        between = topological([y for y in results if isinstance(y, Node)], level)
        self.outputs += random.choices(between or [1.0], k=7)
        random.shuffle(self.outputs)
        self.nodes = [*between, *self.inputs]

    def made(self) -> Any:
        """Its linearization by the engine."""
        found = linearization(self.inputs, self.outputs, self.level)
        assert type(found) is (LinearizationOfNumbers if COMPILED else Linearization)
        assert unmarked(self.nodes)
        assert all(node._grad == 0.0 for node in self.nodes)
        return found

    def reference(self) -> Linearization:
        """Its linearization in Python."""
        return Linearization(self.inputs, self.outputs, self.level)


def bits(x: Any) -> Any:
    """What is the same only for the same bits; all NaN are."""
    if isinstance(x, dict):
        return [(key, bits(value)) for key, value in x.items()]
    if isinstance(x, (list, tuple)):
        return [bits(value) for value in x]
    if isinstance(x, np.ndarray):
        return bits(x.tolist())
    assert type(x) is float
    return "nan" if math.isnan(x) else struct.pack("d", x)


@pytest.mark.parametrize("users", [False, True])
def test_passes_are_those_of_the_reference(users: bool) -> None:
    """Bit for bit, whatever cotangents and tangents: None, zeros, NaN, infinities."""
    in_place = 0
    for seed in range(PROGRAMS):
        random = Random(seed)
        with transformation("test") as level:
            graph = Graph(seed, level, users)
            ours, reference = graph.made(), graph.reference()
            for _ in range(4):
                cotangents = random.choices(CHANGES, k=len(graph.outputs))
                tangents = random.choices(CHANGES, k=len(graph.inputs))
                assert bits(ours.pull_back(cotangents)) == bits(reference.pull_back(cotangents))
                pushed = bits(reference.push_forward(tangents))
                assert bits(ours.push_forward(tangents)) == pushed
                once = push_tangents(graph.inputs, graph.outputs, level, tangents)
                if once is not None:
                    in_place += 1
                    assert bits(once) == pushed
                assert unmarked(graph.nodes)
            for forward in (False, True):
                assert bits(ours.jacobian(forward)) == bits(reference.jacobian(forward))
            assert bits(ours.sparse_rows()) == bits(reference.sparse_rows())
            assert bits(ours.kept(graph.outputs)) == bits(reference.kept(graph.outputs))
    assert in_place > PROGRAMS if COMPILED else in_place == 0


def _reference() -> Any:
    """The module of differentiation as it is where there is no engine in C."""
    spec = importlib.util.find_spec("chainrule.differentiation")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chainrule.engine.ENGINE", None)
        spec.loader.exec_module(module)
    module.send_gradients = lambda root, inputs: False  # type: ignore[attr-defined]
    return module


REFERENCE = _reference()


def written(values: Sequence[Any]) -> list[Any]:
    """A graph, its nodes in the order in which they were made, and the values in it."""
    nodes = topological([x for x in values if isinstance(x, Node)], 0)
    nodes.sort(key=lambda node: node._serial)
    places = {id(node): i for i, node in enumerate(nodes)}

    def told(x: Any) -> Any:
        return places[id(x)] if isinstance(x, Node) else bits(x)

    lines = [
        (type(x).__name__, str(x.operation), bits(x._number), x._level, *map(told, x.operands))
        for x in nodes
    ]
    return [*lines, *map(told, values)]


@pytest.mark.parametrize("users", [False, True])
def test_graphs_of_derivatives_are_those_of_the_reference(
    users: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Node by node, in the order in which they are made."""

    def derivatives(seed: int) -> list[Any]:
        made = program(seed, 4, exact=False)
        (point,) = points(seed, made.inputs, 1)
        f = made.function(WITH_USERS if users else FUNCTIONS)
        nodes: list[Any] = [Node(x) if i % 3 else x for i, x in enumerate(point)]
        arguments = (np.array([Node(0.5), *nodes])[1:],) if made.as_array else tuple(nodes)
        argnums = tuple(range(len(arguments)))

        def first(*args: Any) -> Any:
            result = f(*args)
            results = list(result) if isinstance(result, (list, tuple, np.ndarray)) else [result]
            return cm.fsum([0.0, *results])

        twice = grad(lambda *args: cm.fsum(flat(grad(first, argnums)(*args))), argnums)
        moved = jvp(first, arguments, arguments)
        return [x for tree in (twice(*arguments), moved) for x in flat(tree)]

    compared = 0
    for seed in range(PROGRAMS // 3):
        ours = written(derivatives(seed))
        with monkeypatch.context() as patch:
            for name in (
                "linearization",
                "release",
                "push_tangents",
                "closed_gradient",
                "gradient_at",
            ):
                patch.setattr(transforms, name, getattr(REFERENCE, name))
            assert written(derivatives(seed)) == ours
        compared += len(ours) > 30
    assert compared > PROGRAMS // 12


def flat(tree: Any) -> list[Any]:
    """The numbers and nodes of a tree, in order."""
    return list(flatten(tree, "test")[0])


def test_picks_and_what_is_not_reached() -> None:
    """No message goes where none is due, however infinite the local gradients are."""
    cases: list[Callable[[Any, Any], Any]] = [
        lambda x, y: cm.where(x > 0, cm.sqrt(x), y),
        lambda x, y: cm.maximum(cm.log(x), y) * cm.relu(-cm.sqrt(x)),
        lambda x, y: [abs(cm.sqrt(x) - y), cm.minimum(x, x), x - x, x / y],
        lambda x, y: rules.gather(cm.floor(y), x, cm.sqrt(x), y),
        lambda x, y: [x, x, y, 3.0, cm.floor(x), cm.stop_gradient(cm.sqrt(x))],
        lambda x, y: rules.message(x, y, cm.log(y)) + rules.azmul(x, 1 / x),
    ]
    for f in cases:
        for x in (0.0, 1.0, -1.0, math.inf, math.nan):
            for y in (0.0, 1.0, 2.0):
                with transformation("test") as level:
                    inputs = [fresh_input(x, level), fresh_input(y, level)]
                    result = f(*inputs)
                    outputs = result if isinstance(result, list) else [result]
                    ours = linearization(inputs, outputs, level)
                    wanted = Linearization(inputs, outputs, level)
                    assert bits(ours.sparse_rows()) == bits(wanted.sparse_rows())
                    for forward in (False, True):
                        assert bits(ours.jacobian(forward)) == bits(wanted.jacobian(forward))
                    for change in ([1.0, None], [0.0, 1.0], [math.inf, 0.0]):
                        pushed = bits(wanted.push_forward(change))
                        assert bits(ours.push_forward(change)) == pushed
                        once = push_tangents(inputs, outputs, level, change)
                        assert once is None or bits(once) == pushed


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 40])
def test_matrices_of_any_size(size: int) -> None:
    """As many rows and columns as there are: also none, and more than take one pass."""

    def f(xs: Any) -> Any:
        return np.array([x * y for x, y in pairwise(xs)] + [2.0])

    xs = np.linspace(-1.0, 2.0, size)
    dense = jacobian(f)(xs)
    wanted = np.zeros((max(size, 1), size))
    for i in range(size - 1):
        wanted[i, i : i + 2] = xs[i + 1], xs[i]
    assert dense.tolist() == wanted.tolist()
    for mode in (cr.jacfwd, cr.jacrev):
        assert mode(f)(xs).tolist() == wanted.tolist()
    if size:
        sparse = jacobian(f, sparse=True)(xs)
        assert sparse.toarray().tolist() == wanted.tolist()
    dense[:] = 1.0  # the result is the caller's


def test_a_function_with_nothing_to_follow() -> None:
    """No inputs, no outputs, constants alone."""
    assert vjp(lambda: 3.0)[1](1.0) == ()
    assert jvp(lambda x: [], (1.0,), (2.0,)) == ([], [])
    assert jvp(lambda x: [3.0, x], (1.0,), (2.0,)) == ([3.0, 1.0], [0.0, 2.0])
    assert vjp(lambda x, y: (x, 2.0, x), 1.0, 5.0)[1]((1.0, 4.0, 2.0)) == (3.0, 0.0)


def test_functions_are_kept() -> None:
    """What vjp gives is called when its transformation has ended, again and again, anywhere."""
    value, pull_back = vjp(lambda x, y: cm.exp(x * y) + users_sin(x), 0.5, 2.0)
    wanted = (2 * math.exp(1.0) + math.cos(0.5), 0.5 * math.exp(1.0))
    assert value == math.exp(1.0) + math.sin(0.5)
    for g in (1.0, 0.0, -2.0):
        assert pull_back(g) == pytest.approx([g * w for w in wanted], rel=1e-15)
    assert grad(lambda g: pull_back(g * g)[0])(3.0) == pytest.approx(6 * wanted[0], rel=1e-15)
    assert jvp(lambda g: pull_back(g)[1], (3.0,), (2.0,))[1] == pytest.approx(2 * wanted[1])
    cotangent = Node(4.0)
    pull_back(cotangent)[0].backward()
    assert cotangent.grad == pytest.approx(wanted[0], rel=1e-15)
    assert cr.compile(lambda g: pull_back(g)[1])(2.0) == pytest.approx(2 * wanted[1], rel=1e-15)


def test_nodes_among_tangents() -> None:
    """Then the change is a node, and the value a number."""
    t = Node(3.0)
    value, change = jvp(lambda x, y: x * x * y, (2.0, 5.0), (t, 1.0))
    assert value == 20.0
    assert change.data == 64.0
    change.backward()
    assert t.grad == 20.0


def test_what_outlives_is_followed() -> None:
    """A function that uses a node from outside gives nodes, an output from outside stays itself."""
    w = Node(3.0)
    gradient = grad(lambda x: w * x * x)(2.0)
    gradient.backward()
    assert (gradient.data, w.grad) == (12.0, 4.0)
    value, change = jvp(lambda x: [w, x], (2.0,), (1.0,))
    assert value[0] is w
    assert change == [0.0, 1.0]


class Wrong(Exception):
    """Raised by a user's local gradient."""


def test_errors_in_users_local_gradients() -> None:
    """They come out, where the operation is reached; the next call is right."""
    fails = [True]

    def local_grad(y: Any, x: Any) -> Any:
        if fails[0]:
            raise Wrong
        return 2.0

    wrong = Operation("wrong", lambda x: 2 * x, [local_grad])
    f = lambda x: cm.where(x > 0, x * x, wrong(x)) * users_sin(x)  # noqa: E731
    assert grad(f)(1.0) == pytest.approx(2 * math.sin(1.0) + math.cos(1.0))
    for call in (
        lambda: vjp(f, 1.0),
        lambda: jvp(f, (1.0,), (0.0,)),
        lambda: grad(f)(-1.0),
        lambda: jvp(f, (-1.0,), (0.0,)),
        lambda: jacobian(f)(-1.0),
        lambda: jacobian(f, sparse=True)(-1.0),
    ):
        with pytest.raises(Wrong):
            call()
    fails[0] = False
    assert grad(f)(-1.0) == pytest.approx(2 * math.sin(-1.0) + -2 * math.cos(-1.0))
    assert vjp(f, -1.0)[1](1.0)[0] == grad(f)(-1.0)


def test_users_local_gradients_that_are_no_numbers() -> None:
    """The error says so."""
    text = Operation("text", lambda x: x, [lambda y, x: "1"])
    with pytest.raises(TypeError, match="a local gradient of text must be a real number"):
        jvp(text, (1.0,), (1.0,))
    whole = Operation("whole", lambda x: x, [lambda y, x: 3])
    assert jvp(whole, (1.0,), (2.0,)) == (1.0, 6.0)
    with pytest.raises(TypeError, match="Own gives its local gradients as numbers"):
        jvp(lambda x: Own(2.0, (x,)), (1.0,), (1.0,))
    with pytest.raises(TypeError, match="Own gives its local gradients as numbers"):
        vjp(lambda x: Own(2.0, (x,)) * x, 1.0)


class Own(Node):
    """A user's class of nodes."""

    def _local_grad(self, parent: Node) -> float:
        return 1.0


def test_a_users_local_gradient_is_computed_once() -> None:
    """However often the function is pulled back through."""
    calls: list[float] = []

    def local_grad(y: Any, x: Any) -> float:
        calls.append(x)
        return 2.0

    counted = Operation("counted", lambda x: 2 * x, [local_grad])
    _, pull_back = vjp(lambda x: counted(x) + counted(3 * x), 1.0)
    assert [pull_back(1.0), pull_back(2.0)] == [(8.0,), (16.0,)]
    assert calls == [1.0, 3.0]
    calls.clear()
    jacobian(lambda x: [counted(x)] * 20)(1.0)
    assert calls == [1.0]


def test_custom_gradients_pull_back() -> None:
    """They are no matter of local gradients."""
    double = custom_gradient(lambda x: (2 * x, lambda g: 7 * g))
    assert grad(lambda x: double(x) * x)(3.0) == 3 * 7 + 6
    assert vjp(lambda x: double(x), 3.0)[1](2.0) == (14.0,)
    with pytest.raises(cr.tracing.NoForwardMode):
        jvp(double, (3.0,), (1.0,))


def test_anomalies() -> None:
    """They are found in a pass that was prepared outside of detect_anomaly."""
    _, pull_back = vjp(lambda x: cm.sqrt(x) * 2.0, 0.0)
    assert pull_back(1.0) == (math.inf,)
    with cr.detect_anomaly(), pytest.raises(FloatingPointError, match="derivative inf at sqrt"):
        pull_back(1.0)
    with cr.detect_anomaly(), pytest.raises(FloatingPointError, match="derivative inf at sqrt"):
        jvp(cm.sqrt, (0.0,), (1.0,))


def test_infinities_in_sparse_hessians() -> None:
    """Where the dense matrix has them."""
    functions: Sequence[Callable[[Any], Any]] = [
        lambda v: cm.maximum(v[0], v[1]) * cm.sqrt(v[0]),
        lambda v: abs(cm.sqrt(v[0]) - v[1]) * cm.sqrt(v[0]),
        lambda v: cm.relu(cm.sqrt(v[0]) + v[1]) ** 0.5,
    ]
    for f in functions:
        for point in ([0.0, 1.0], [0.0, -1.0], [0.0, 0.0], [1.0, 0.0]):
            dense = hessian(f)(np.array(point))
            sparse = hessian(f, sparse=True)(np.array(point)).toarray()
            assert bits(sparse) == bits(dense)


def test_cycles_through_a_kept_function_are_collected() -> None:
    """A user's local gradient can hold the function that vjp made from it."""

    class Held:
        """What is to be freed."""

    def cycle() -> Any:
        kept: list[Any] = [Held()]
        operation = Operation("holding", lambda x: x, [lambda y, x: 1.0 if kept else 0.0])
        kept.append(vjp(operation, 1.0)[1])
        return weakref.ref(kept[0])

    alive = cycle()
    gc.collect()
    assert alive() is None


@pytest.mark.skipif(not COMPILED, reason="allocations of the engine in C")
@pytest.mark.parametrize("users", [False, True])
def test_out_of_memory(users: bool) -> None:
    """A MemoryError, no marks, and the right result afterwards."""
    testcapi = pytest.importorskip("_testcapi")
    with transformation("test") as level:
        graph = Graph(5, level, users)
        wanted = graph.reference()
        ones: list[Any] = [1.0] * len(graph.outputs)
        tangents: list[Any] = [1.0] * len(graph.inputs)
        calls: list[tuple[Callable[[], Any], Any]] = [
            (lambda: graph.made().pull_back(ones), wanted.pull_back(ones)),
            (lambda: graph.made().push_forward(tangents), wanted.push_forward(tangents)),
            (lambda: graph.made().jacobian(False), wanted.jacobian(False)),
            (lambda: graph.made().sparse_rows(), wanted.sparse_rows()),
        ]
        for call, right in calls:
            failures = 0
            for allowed in range(2000):
                testcapi.set_nomemory(allowed, allowed + 1)
                try:
                    result = call()
                except MemoryError:
                    failures += 1
                    result = None
                finally:
                    testcapi.remove_mem_hooks()
                assert unmarked(graph.nodes)
                if result is not None:
                    assert bits(result) == bits(right)
                    break
            assert failures > 3
