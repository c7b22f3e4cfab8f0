"""Backpropagation: what gradients end up where, over passes, errors and threads."""

import math
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from marks import unmarked
from threads import run_in_threads

from chainrule import (
    Node,
    Operation,
    TanhNode,
    compile,
    detect_anomaly,
    grad,
    group,
    special,
    vmap,
    zero_grad,
)
from chainrule import math as cm


def line_below(count: int = 1) -> str:
    """``file:line`` of the line so many below the caller's."""
    frame = sys._getframe(1)
    return f"{frame.f_code.co_filename}:{frame.f_lineno + count}"


def grads(*nodes: Node) -> list[float]:
    """Their gradients."""
    return [node.grad for node in nodes]


# The seed's examples


def test_the_seeds_example() -> None:
    """One neuron; what is not below the root keeps its gradient."""
    w0, w1, b = Node(-1), Node(2), Node(4)
    x = Node(2)
    z = w0 * x + w1 * x + b
    y = z.relu()
    u = z.tanh()
    y.backward()
    assert grads(w0, w1, b, x) == [2.0, 2.0, 1.0, 1.0]
    assert (y.grad, z.grad, u.grad) == (1.0, 1.0, 0.0)
    x1 = Node(1.7)
    y1 = (w0 * x1 + w1 * x1 + b).relu()
    y1.backward()
    assert grads(w0, w1, b, x1) == [3.7, 3.7, 2.0, 1.0]
    assert x.grad == 1.0


def test_the_seeds_training_step() -> None:
    """Gradients set to 0, a step down, and the loss falls."""
    w, b = Node(0.5, name="w"), Node(0.0, name="b")
    losses: list[float] = []
    for _ in range(20):
        loss = sum((w * x + b - y) ** 2 for x, y in ((1.0, 3.0), (2.0, 5.0), (3.0, 7.0)))
        for parameter in (w, b):
            parameter.grad = 0
        assert isinstance(loss, Node)
        loss.backward()
        for parameter in (w, b):
            parameter.data -= 0.05 * parameter.grad
        losses.append(loss.data)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.1 * losses[0]


# Which gradients add up


def test_leaves_accumulate() -> None:
    """Until they are set to 0."""
    x = Node(3.0)
    y = x * x
    for total in (6.0, 12.0, 18.0):
        y.backward()
        assert x.grad == total
    x.grad = 0
    y.backward()
    assert x.grad == 6.0


def test_leaves_add_to_what_they_were_given() -> None:
    """A gradient set by hand is a beginning."""
    x = Node(3.0)
    x.grad = 100
    (x * 2).backward()
    assert x.grad == 102.0


def test_interior_nodes_hold_the_last_pass() -> None:
    """And what was set by hand on them is gone."""
    x = Node(3.0)
    h = x * 2
    y = h * h
    h.grad = 5
    for _ in range(3):
        y.backward()
        assert grads(y, h) == [1.0, 12.0]
    assert x.grad == 72.0


def test_an_interior_node_that_gets_nothing_holds_zero() -> None:
    """Not what a former pass left there."""
    x = Node(-3.0)
    h = x * 2
    h.backward()
    h.relu().backward()
    assert (h.grad, x.grad) == (0.0, 2.0)


def test_overlapping_graphs() -> None:
    """Two roots over one node, and the shared node itself as a root."""
    x = Node(1.0)
    h = x * 2
    first, second = h * 3, h * 5
    first.backward()
    assert grads(x, h, first, second) == [6.0, 3.0, 1.0, 0.0]
    second.backward()
    assert grads(x, h, first, second) == [16.0, 5.0, 1.0, 1.0]
    h.backward()
    assert grads(x, h, first, second) == [18.0, 1.0, 1.0, 1.0]
    (first + second).backward()
    assert grads(x, h, first, second) == [34.0, 8.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("build", "value", "expected"),
    [
        (lambda x: x * x, 3.0, 6.0),
        (lambda x: x + x, 3.0, 2.0),
        (lambda x: x - x, 3.0, 0.0),
        (lambda x: x / x, 4.0, 0.0),
        (lambda x: x**x, 2.0, 4.0 * (math.log(2.0) + 1.0)),
        (lambda x: x % x, 3.0, 0.0),
        (lambda x: x * x * x, 2.0, 12.0),
        (lambda x: (x * x) * (x * x), 2.0, 32.0),
        (lambda x: (x + x) * (x - x), 2.0, 0.0),
        (lambda x: cm.fsum([x, x, 1.0, x]), 2.0, 3.0),
        (lambda x: cm.fma(x, x, x), 2.0, 5.0),
        (lambda x: cm.hypot(x, x, x, x), 2.0, 2.0),
        (lambda x: cm.atan2(x, x), 2.0, 0.0),
        (lambda x: cm.maximum(x, x), 2.0, 1.0),
        (lambda x: cm.minimum(x, x), 2.0, 1.0),
        (lambda x: cm.where(x > 0, x, x), 2.0, 1.0),
        (lambda x: cm.dot([x, x], [x, x]), 2.0, 8.0),
    ],
)
def test_repeated_operands(build: Callable[[Any], Any], value: float, expected: float) -> None:
    """Each position counts, on a leaf and on an interior node."""
    x = Node(value)
    build(x).backward()
    assert x.grad == pytest.approx(expected, rel=1e-15)
    x = Node(value)
    build(x * 1.0).backward()
    assert x.grad == pytest.approx(expected, rel=1e-15)


def test_exponentially_many_paths() -> None:
    """The pass visits every node once."""
    x = Node(1.0)
    y: Any = x
    for _ in range(1000):
        y = y + y
    y.backward()
    assert x.grad == 2.0**1000


def test_a_leaf_as_root() -> None:
    """Accumulates the seed."""
    x = Node(3.0)
    x.backward()
    x.backward()
    x.backward(0.5)
    assert x.grad == 2.5


@pytest.mark.parametrize("seed", [2, -0.5, True, np.float32(0.5), np.int64(3), 0, math.inf])
def test_seeds(seed: Any) -> None:
    """Every gradient of the pass is multiplied by the seed."""
    x = Node(3.0)
    h = x * 2
    h.backward(seed)
    assert grads(h, x) == [float(seed), 2.0 * float(seed)]
    h.backward(seed=seed)
    assert x.grad == 4.0 * float(seed)


def test_nan_as_seed() -> None:
    """Goes down as any number."""
    x = Node(3.0)
    (x * 2).backward(math.nan)
    assert math.isnan(x.grad)


def test_a_graph_of_every_kind_of_node() -> None:
    """Against the derivative by hand."""
    x, y = Node(1.5), Node(0.5)
    z = (x * y + x / y - y) ** 2 + (2 - x).exp() * abs(-y) + (3 / y).tanh() - 1
    z.backward()
    u = 1.5 * 0.5 + 1.5 / 0.5 - 0.5
    assert x.grad == pytest.approx(2 * u * (0.5 + 1 / 0.5) - math.exp(0.5) * 0.5, rel=1e-14)
    assert y.grad == pytest.approx(
        2 * u * (1.5 - 1.5 / 0.25 - 1) + math.exp(0.5) + (1 - math.tanh(6.0) ** 2) * -12.0,
        rel=1e-14,
    )


# What was not picked is sent nothing; every other zero is a number


@pytest.mark.parametrize("value", [0.0, -0.0, -4.0])
def test_the_branch_not_taken_is_sent_nothing(value: float) -> None:
    """No double where is needed."""
    x = Node(value)
    y = cm.where(x > 0, cm.sqrt(x), 0)
    y.backward()
    assert (y.data, x.grad) == (0.0, 0.0)
    x = Node(value)
    y = cm.where(x > 0, cm.log(x) * (1 / x), x * 2)
    y.backward()
    assert x.grad == 2.0


def test_the_branch_taken_counts() -> None:
    """The same expression where its condition holds."""
    x = Node(4.0)
    cm.where(x > 0, cm.sqrt(x), 0).backward()
    assert x.grad == 0.25


@pytest.mark.parametrize(
    "build",
    [
        lambda x: (x**0.5 - 1).relu(),
        lambda x: cm.log(x).relu(),
        lambda x: cm.maximum(cm.log(x), -1e300),
        lambda x: cm.minimum(1 / x, 5.0),
        lambda x: cm.clip(cm.log(x), -1.0, 1.0),
        lambda x: abs(cm.sqrt(x)),
        lambda x: cm.copysign(cm.sqrt(x), -1.0),
        lambda x: cm.stop_gradient(cm.log(x)),
        lambda x: math.floor(cm.sqrt(x)),
        lambda x: cm.sign(1 / x),
        lambda x: cm.sqrt(cm.relu(x - 1)),
        lambda x: cm.log(cm.maximum(x - 1, 0.0)),
        lambda x: cm.sqrt(cm.maximum(x - 1, 0.0)) * cm.sqrt(cm.clip(x - 1, 0.0, 2.0)),
    ],
)
def test_what_was_not_picked_is_sent_nothing(build: Callable[[Any], Any]) -> None:
    """Before an infinite local gradient, and after one."""
    x = Node(0.0)
    build(x).backward()
    assert x.grad == 0.0


@pytest.mark.parametrize(
    "build",
    [
        lambda x: (x**0.5) * 0,
        lambda x: 0 * cm.log(x),
        lambda x: (1 / x) * 0.0,
        lambda x: 0.0 * (1.0 - cm.sqrt(x)),
        lambda x: 0.0 * -(cm.sqrt(x) * 1.0),
        lambda x: 1 / (1 / x),
        lambda x: cm.atan(1 / x),
        lambda x: cm.hypot(cm.sqrt(x), cm.sqrt(x)),
        lambda x: cm.sqrt(x * x) * 1.0,
        lambda x: cm.sqrt(x - x),
        lambda x: cm.where(x == 0, cm.log(x) * 0, 0.0),
    ],
)
def test_a_zero_that_is_a_number_times_infinity_is_not_known(build: Callable[[Any], Any]) -> None:
    """NaN, as in other frameworks: no plausible number."""
    x = Node(0.0)
    build(x).backward()
    assert math.isnan(x.grad)
    assert math.isnan(grad(build)(0.0))
    assert math.isnan(grad(build)(Node(0.0)).data)
    assert math.isnan(compile(grad(build))(0.0))


def test_picks_behind_picks() -> None:
    """A message comes where both have picked, and where one of two has."""
    behind = lambda x: cm.relu(1.0 + cm.relu(-cm.sqrt(x)))  # noqa: E731

    def beside(n: Any) -> Any:
        power = (-2.0) ** n  # no function of a real n
        return cm.relu(-1.0 - power) + cm.relu(1.0 + power)

    def besides(n: Any) -> Any:
        power = (-2.0) ** n
        return cm.relu(1.0 + power) + cm.relu(-1.0 - power)

    for derivative in (grad, lambda f: compile(grad(f)), lambda f: compile(vmap(grad(f)))):
        lanes = "vmap" in repr(derivative(behind))
        x, n = (np.zeros(3), np.full(3, 2.0)) if lanes else (0.0, 2.0)
        assert np.all(derivative(behind)(x) == 0.0)
        assert np.all(np.isnan(derivative(beside)(n)))
        assert np.all(np.isnan(derivative(besides)(n)))


def test_a_sum_that_cancels_has_been_reached() -> None:
    """It is 0, and a number."""
    x = Node(0.0)
    y = cm.sqrt(x)
    (y - y).backward()
    assert y.grad == 0.0
    assert math.isnan(x.grad)


def test_nan_is_sent_on() -> None:
    """By operations that pick as by others."""
    for build in (Node.relu, abs, lambda x: cm.maximum(x, 1.0), lambda x: cm.minimum(1.0, x)):
        x = Node(math.nan)
        build(x).backward()
        assert math.isnan(x.grad)


def test_zero_as_seed() -> None:
    """Is a number as any other."""
    x, z = Node(0.0), Node(3.0)
    y = cm.log(x)
    y.backward(0)
    assert y.grad == 0.0
    assert math.isnan(x.grad)
    (z * 2).backward(0)
    assert z.grad == 0.0


def test_what_is_not_reached_is_not_asked() -> None:
    """Of users' nodes."""

    class Log(Node):
        def __init__(self, x: Node) -> None:
            super().__init__(-math.inf, (x,))

        def _local_grad(self, parent: Node) -> float:
            raise AssertionError("asked")

    x = Node(0.0)
    Log(x).relu().backward()
    assert x.grad == 0.0


def test_gradients_are_never_minus_zero() -> None:
    """Which is how the pass marks what it has not reached."""
    x, y = Node(-0.0), Node(0.0)
    z = x * y
    root = z - y + cm.relu(y * -1.0) + -(z * -0.0)
    root.backward()
    for node in root.sorted_nodes():
        assert math.copysign(1.0, node.grad) == 1.0 or node.grad < 0.0


# Users' subclasses


class Product(Node):
    """A user's operation in the seed's style."""

    def __init__(self, x: Node, y: Node) -> None:
        super().__init__(x.data * y.data, (x, y))

    def _local_grad(self, parent: Node) -> float:
        return self._parents[1 - self._parents.index(parent)].data

    def __str__(self) -> str:
        return "times"


class Scaled(Node):
    """One with attributes of its own, and a hook that tests can make fail."""

    def __init__(self, x: Node, factor: float) -> None:
        super().__init__(factor * x.data, (x,))
        self.factor: Any = factor
        self.asked = 0

    def _local_grad(self, parent: Node) -> Any:
        self.asked += 1
        if isinstance(self.factor, BaseException):
            raise self.factor
        return self.factor


def test_a_users_subclass() -> None:
    """Works among the others, twice used by one node too."""
    x, y = Node(3.0), Node(4.0)
    z = Product(x, y)
    assert (z.data, str(z), z._parents, z.operation) == (12.0, "times", (x, y), None)
    w = Product(z, z) + z * 2
    w.backward()
    assert grads(w, z, x, y) == [1.0, 26.0, 104.0, 78.0]
    w.backward()
    assert grads(w, z, x, y) == [1.0, 26.0, 208.0, 156.0]
    assert w.sorted_nodes()[0] is w


def test_a_users_subclass_as_root_and_its_attributes() -> None:
    """The hook is asked once a parent and pass."""
    x = Node(2.0)
    y = Scaled(x, 3)
    y.backward(2)
    assert grads(y, x) == [2.0, 6.0]
    assert y.asked == 1
    y.backward()
    assert grads(y, x) == [1.0, 9.0]
    assert y.local_grads() == (3.0,)


def test_a_users_subclass_without_parents_is_a_leaf() -> None:
    """For parameters with more to say."""

    class Parameter(Node):
        def __init__(self, data: float, limit: float) -> None:
            super().__init__(data, name="p")
            self.limit = limit

    p = Parameter(2.0, 5.0)
    for _ in range(2):
        (p * p).backward()
    assert (p.grad, p.limit, p.name) == (8.0, 5.0, "p")
    p.data = 3.0
    assert p.data == 3.0


@pytest.mark.parametrize("local", [2, True, np.float32(2), np.float64(2), np.int64(2)])
def test_a_hook_may_return_any_real_number(local: Any) -> None:
    """NumPy's included."""
    x = Node(1.0)
    Scaled(x, local).backward()
    assert x.grad == float(local)


def test_a_hook_may_itself_backpropagate() -> None:
    """Over nodes of its own, and over those of the pass that asks it."""

    class Inner(Node):
        def __init__(self, x: Node) -> None:
            super().__init__(x.data**3, (x,))

        def _local_grad(self, parent: Node) -> float:
            own = Node(parent.data)
            (own**3).backward()
            (parent * 10).backward()
            return own.grad

    x = Node(2.0)
    h = x * 1
    y = Inner(h) + x
    y.backward()
    assert grads(y, h, x) == [1.0, 12.0, 23.0]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (RuntimeError("half-way"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        ("2", TypeError),
        (None, TypeError),
        (2j, TypeError),
        (10**400, ValueError),
    ],
)
def test_a_hook_that_fails_changes_nothing(answer: Any, error: type[BaseException]) -> None:
    """No gradient is touched, no mark left, and the graph works afterwards."""
    x, y = Node(2.0), Node(5.0)
    early = Scaled(x, 3.0)
    middle = Scaled(early * y, 7.0)
    z = middle * 2 + x + y
    z.backward()
    before = grads(*z.sorted_nodes())
    x.grad, y.grad = -1.0, -2.0
    early.factor = answer
    with pytest.raises(error):
        z.backward()
    assert grads(x, y) == [-1.0, -2.0]
    assert unmarked(z.sorted_nodes())
    early.factor = 3.0
    x.grad = y.grad = 0.0
    z.backward()
    assert grads(*z.sorted_nodes()) == before
    (x * y).backward()


class FailingError(KeyboardInterrupt):
    """What a user's key does in the middle of a pass."""


def test_an_operation_of_the_user_that_fails_changes_nothing() -> None:
    """The same with an Operation."""

    def fails(y: float, x: float) -> float:
        raise FailingError

    x = Node(2.0)
    h = x * 3
    y = Operation("odd", lambda u: u, (fails,))(h) + x
    with pytest.raises(FailingError):
        y.backward()
    assert grads(y, h, x) == [0.0, 0.0, 0.0]


def test_an_interrupt_inside_a_rule_of_the_table_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The gamma family computes in Python, where a user's key can stop it."""

    class Context:
        def psi(self, *_: Any) -> float:
            raise KeyboardInterrupt

    x = Node(2.5)
    h = x * 3
    y = h + cm.lgamma(x) + cm.gamma(h) + cm.polygamma(1, h)
    monkeypatch.setattr(special._local, "context", Context())
    with pytest.raises(KeyboardInterrupt):
        y.backward()
    assert all(node.grad == 0.0 for node in y.sorted_nodes())
    monkeypatch.undo()
    y.backward()
    assert y.grad == 1.0


# Users' operations


def test_an_operation_of_fixed_arity() -> None:
    """On numbers a float, with a node among its operands a node."""
    power_product = Operation(
        "power_product",
        lambda x, y: x * x * y,
        (lambda z, x, y: 2.0 * x * y, lambda z, x, y: x * x),
    )
    value = power_product(3, np.float32(2))
    assert (type(value), value) == (float, 18.0)
    x, y = Node(3.0), Node(2.0)
    for z, expected in (
        (power_product(x, y), [12.0, 9.0]),
        (power_product(x, 2), [12.0, 0.0]),
        (power_product(3, y), [0.0, 9.0]),
        (power_product(x, x), [27.0, 0.0]),
    ):
        zero_grad([x, y])
        z.backward()
        assert z.operation is power_product
        assert grads(x, y) == expected


def test_an_operation_of_any_number_of_operands() -> None:
    """One function by position."""
    product = Operation(
        "product",
        lambda *xs: math.prod(xs),
        lambda y, *xs: [math.prod(xs[:i] + xs[i + 1 :]) for i in range(len(xs))],
    )
    x, y = Node(2.0), Node(3.0)
    assert product() == 1.0
    assert product(x).data == 2.0
    z = product(x, 5, y, x)
    assert (z.data, str(z)) == (60.0, "product(·, 5, ·, ·)")
    z.backward()
    assert grads(x, y) == [60.0, 20.0]
    assert z.local_grads() == (30.0, 20.0, 30.0)


def test_an_operation_with_a_symbol() -> None:
    """One that is not a name stands between its operands."""
    operation = Operation("join", lambda x, y: x + y, (lambda z, x, y: 1.0,) * 2, symbol="⊕")
    x = Node(1.0)
    assert str(operation(x, x)) == "⊕"
    assert str(operation(x, 2)) == "⊕ 2"
    assert str(operation(2, x)) == "2 ⊕"
    assert repr(operation) == "<operation join>"


def test_an_operation_with_an_operand_that_must_be_a_number() -> None:
    """None for its local gradient."""
    scale = Operation("scale", lambda x, k: k * x, (lambda y, x, k: k, None))
    x = Node(2.0)
    scale(x, 3).backward()
    assert x.grad == 3.0
    with pytest.raises(TypeError, match="operand 2 of scale must be a number"):
        scale(2.0, x)


def test_an_operation_of_operations() -> None:
    """Its local gradient may use the functions of chainrule.math."""
    softsign = Operation(
        "softsign", lambda x: x / (1 + abs(x)), (lambda y, x: (1 - cm.fabs(y)) ** 2,)
    )
    x = Node(-3.0)
    softsign(x).backward()
    assert x.grad == 0.0625


def test_a_value_that_fails_builds_nothing() -> None:
    """And leaves the operands as they were."""
    odd = Operation("odd", lambda x: 1 / 0, (lambda y, x: 1.0,))
    x = Node(1.0)
    with pytest.raises(ZeroDivisionError):
        odd(x)
    (x * 2).backward()
    assert x.grad == 2.0


# Stale data


def operations_on(x: Any) -> list[Any]:
    """Nodes of every shape over one leaf."""
    return [
        x * x,
        x * 2,
        2 - x,
        x**3,
        x.tanh(),
        cm.fsum([1, x, x]),
        cm.hypot(x, 1),
        -x,
        x + Node(1),
    ]


@pytest.mark.parametrize("i", range(len(operations_on(Node(2.0)))))
def test_data_set_after_use(i: int) -> None:
    """An error that names the leaf and the operation; nothing is changed."""
    x = Node(2.0, name="weight")
    y = operations_on(x)[i]
    root = (y * 3).exp()
    root.backward()
    before = grads(root, y, x)
    x.data = 2.5
    with pytest.raises(ValueError, match=r"name='weight'\) was changed after \w+ had used it"):
        root.backward()
    assert grads(root, y, x) == before
    x.data = 2.0
    root.backward()
    assert x.grad == 2 * before[2]


@pytest.mark.parametrize("i", range(len(operations_on(Node(2.0)))))
def test_a_leaf_filled_again_after_use(i: int) -> None:
    """Its data is set by that: what was computed from it is stale."""
    x = Node(2.0)
    y = operations_on(x)[i]
    Node.__init__(x, 2.5)
    with pytest.raises(ValueError, match="was changed after"):
        y.backward()
    Node.__init__(x, 2.0)
    y.backward()


def test_a_result_filled_again_after_use() -> None:
    """It is a leaf from then on, with another value."""
    x = Node(2.0)
    y = x.exp()
    z = y * y
    Node.__init__(y, 3.0)
    assert y.operands == ()
    with pytest.raises(ValueError, match="was changed after multiply"):
        z.backward()


def test_data_set_and_computed_again() -> None:
    """A training loop; other graphs made before are not concerned."""
    x, other = Node(2.0), Node(3.0)
    unconcerned = other * other
    for value in (1.0, 2.0, 3.0):
        x.data = value
        x.grad = 0
        (x * x * other).backward()
        assert x.grad == 6.0 * value
    unconcerned.backward()
    x.data = 7.0
    unconcerned.backward()
    x.backward()
    assert x.grad == 19.0


def test_data_set_to_what_changes_no_value() -> None:
    """As long as the value would be the same, so are the local gradients of use."""
    x = Node(-2.0)
    y = x.relu()
    x.data = -3.0
    y.backward()
    assert x.grad == 0.0


def test_data_set_of_nan() -> None:
    """NaN set to NaN is no change."""
    x = Node(math.nan)
    y = x * 2
    x.data = math.nan
    y.backward()
    assert x.grad == 2.0
    x.data = 1.0
    with pytest.raises(ValueError, match="was changed"):
        y.backward()


def test_data_of_a_users_node_set_after_use() -> None:
    """The user's own nodes can be set, and are noticed as operands."""
    p = Product(Node(2.0), Node(3.0))
    y = p * 2
    p.data = 7.0
    with pytest.raises(ValueError, match=r"Product\(data=7.0"):
        y.backward()


# Order and cycles


def test_sorted_nodes_begins_with_the_root() -> None:
    """And lists every node once, parents after children."""
    x, y = Node(1.0), Node(2.0)
    h = x * y
    z = h + x
    nodes = z.sorted_nodes()
    assert nodes[:2] == [z, h]
    assert set(nodes) == {x, y, h, z}
    assert len(nodes) == 4
    assert x.sorted_nodes() == [x]


def rings() -> Iterator[tuple[Node, Node, list[Node]]]:
    """Graphs with a cycle: the root, the node whose parents to remove, all nodes."""
    x = Node(1.0)
    x._parents = (x,)
    yield x, x, [x]
    x, y = Node(1.0), Node(2.0)
    h = x * y
    z = h.tanh() + y
    x._parents = (z,)
    yield z, x, [x, y, h, z]
    yield h, x, [x, y, h, z]
    x = Node(1.0)
    h = x * 2
    x._parents = (y, h, h)
    top: Any = h
    for _ in range(50):
        top = top * h + y
    yield top, x, [x, y, h, *top._parents]
    x = Node(1.0)
    h = cm.fsum([x, y, x, 1.0])
    x._parents = [h]
    yield (y + y) * h * h, x, [x, y, h]


@pytest.mark.parametrize("i", range(len(list(rings()))))
def test_cycles(i: int) -> None:
    """An error that leaves no marks: with the cycle gone, the graph works."""
    root, leaf, nodes = list(rings())[i]
    for _ in range(2):
        with pytest.raises(ValueError, match="the graph has a cycle"):
            root.sorted_nodes()
        with pytest.raises(ValueError, match="the graph has a cycle"):
            root.backward()
    assert unmarked(nodes)
    assert all(node.grad == 0.0 for node in nodes)
    leaf._parents = ()
    order = root.sorted_nodes()
    assert len(order) == len(set(order))
    root.backward()
    assert root.grad == 1.0
    assert math.isfinite(leaf.grad)
    assert unmarked(order)


# Setting gradients to 0


def test_zero_grad() -> None:
    """Of a node, or of any nesting of them."""
    xs = [Node(float(i)) for i in range(8)]

    def dirty() -> None:
        for x in xs:
            x.grad = 1.0

    for given in (
        xs,
        tuple(xs),
        np.array(xs).reshape(2, 2, 2),
        [xs[:3], (xs[3], [xs[4:6]]), np.array(xs[6:])],
        (x for x in xs),
        dict.fromkeys(xs, "value"),
        set(xs),
    ):
        dirty()
        zero_grad(given)
        assert grads(*xs) == [0.0] * 8
    dirty()
    zero_grad(xs[3])
    assert grads(*xs) == [1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0]


def test_zero_grad_of_something_else_changes_nothing() -> None:
    """The error comes before the first gradient is set."""
    x = Node(1.0)
    x.grad = 5.0
    for given in ([x, [x, 1.0]], [[1.0, x], x]):
        with pytest.raises(TypeError, match="zero_grad takes nodes, not float"):
            zero_grad(given)
    assert x.grad == 5.0


# Detecting anomalies


def test_anomaly_in_a_value() -> None:
    """Raised where it is made, naming the operation, its numbers and the line."""
    x = Node(0.0)
    with detect_anomaly():
        y = x * 2
        line = line_below(2)
        with pytest.raises(FloatingPointError) as caught:
            cm.log(y)
    assert str(caught.value) == f"log(0) = -inf at {line}"
    assert "test_backward.py" in line


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda x: 1 / x, "divide(1, 0) = inf"),
        (lambda x: x / x, "divide(0, 0) = nan"),
        (lambda x: (x - 8) ** 0.5, "power(-8, 0.5) = nan"),
        (lambda x: (x + 1000).exp(), "exp(1000) = inf"),
        (lambda x: cm.log(x - 1, 10), "log(-1) = nan"),
        (lambda x: np.log(np.array([x]))[0], "log(0) = -inf"),
        (lambda x: sum([x, x, math.inf]), "add(0, inf) = inf"),
        (lambda x: cm.fsum([x, math.nan]), "fsum(0, nan) = nan"),
        (lambda x: TanhNode(x) * math.inf, "multiply(0, inf) = nan"),
    ],
)
def test_anomaly_names_the_first_operation(build: Callable[[Any], Any], message: str) -> None:
    """Through functions, NumPy and the classes of the table."""
    with detect_anomaly(), pytest.raises(FloatingPointError) as caught:
        build(Node(0.0))
    text, place = str(caught.value).split(" at ")
    assert text == message
    assert "test_backward.py:" in place


def test_anomaly_in_a_gradient() -> None:
    """Raised by backward, naming the operation and the line that made it; nothing is changed."""
    x = Node(0.0, name="x")
    with detect_anomaly():
        h = x * 1
        line = line_below()
        y = h.sqrt()
        with pytest.raises(FloatingPointError) as caught:
            (y + 1).backward()
    message = str(caught.value)
    assert "gradient inf" in message
    assert f"sqrt(0) = 0 at {line}" in message
    assert "local gradient inf" in message
    assert grads(x, h, y) == [0.0, 0.0, 0.0]


def test_anomaly_in_a_graph_made_before() -> None:
    """The operation is named, its line is not known."""
    x = Node(0.0, name="start")
    y = x.sqrt()
    assert y.line is None
    with detect_anomaly(), pytest.raises(FloatingPointError, match=r"sqrt\(0\) = 0:") as caught:
        y.backward()
    assert "name='start'" in str(caught.value)
    assert x.grad == 0.0
    y.backward()
    assert x.grad == math.inf


def test_anomaly_in_a_users_hook() -> None:
    """Its class is named."""
    x = Node(1.0)
    with detect_anomaly():
        y = Scaled(x, 2.0)
        y.factor = math.inf
        with pytest.raises(FloatingPointError) as caught:
            y.backward()
    assert f"Scaled at {__file__}:" in str(caught.value)
    assert "local gradient inf" in str(caught.value)
    assert x.grad == 0.0


def test_anomaly_in_a_users_value() -> None:
    """A user's node is an operation, too; a leaf may hold what it likes."""
    with detect_anomaly():
        x = Node(math.inf)
        with pytest.raises(FloatingPointError) as caught:
            Scaled(x, 2.0)
    assert "Scaled" in str(caught.value)
    assert f"{__file__}:" in str(caught.value)


def test_no_anomaly() -> None:
    """What is finite passes, and what was not picked before infinity is none."""
    x = Node(-1.0)
    with detect_anomaly():
        y = cm.where(x > 0, cm.sqrt(abs(x) - 1), 0) + x * 3
        y.backward()
        y.backward()
    assert x.grad == 6.0


def test_anomaly_contexts_nest_and_end() -> None:
    """Within groups, too, and when they end with an error."""
    x = Node(0.0)

    def caught() -> bool:
        try:
            1 / x
        except FloatingPointError:
            return True
        return False

    assert not caught()
    with detect_anomaly():
        with detect_anomaly(), group("g"):
            assert caught()
        assert caught()
        with pytest.raises(FloatingPointError), detect_anomaly():
            1 / x
        assert caught()
    assert not caught()
    with group("g"):
        assert not caught()
    assert (x * 2).line is None


def test_anomaly_in_other_threads_is_not_looked_for() -> None:
    """Only the code inside the block is concerned, not what runs beside it."""
    x = Node(0.0)
    results: list[Any] = []

    def other() -> None:
        y = 1 / x
        y.backward()
        results.append((y.data, y.line))
        with detect_anomaly():
            try:
                1 / x
            except FloatingPointError as error:
                results.append(str(error))

    with detect_anomaly():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        with pytest.raises(FloatingPointError):
            1 / x
    assert results[0] == (math.inf, None)
    assert results[1].startswith("divide(1, 0) = inf at")


# Threads


@pytest.mark.usefixtures("frequent_switches")
@pytest.mark.parametrize("middle", ["table", "hook", "operation", "lgamma", "mixed"])
def test_backward_from_several_threads(middle: str) -> None:
    """Leaves end with the exact sum over all passes, whatever runs in the middle."""
    half = Operation("half", lambda x: 0.5 * x, (lambda y, x: sum([0.25, 0.25]),))
    xs = [Node(float(i)) for i in range(1, 6)]
    aside = Node(2.5)
    shared: Any = cm.fsum([x * 2.0 for x in xs])
    kinds: dict[str, Callable[[Any], Any]] = {
        "table": lambda h: h * 0.5,
        "hook": lambda h: Scaled(h, 0.5),
        "operation": half,
        "lgamma": lambda h: h * 0.5 + 0.0 * h + cm.lgamma(aside),
    }
    roots = []
    for i, kind in enumerate(list(kinds) if middle == "mixed" else [middle] * 4):
        h = shared
        for _ in range(5):
            h = kinds[kind](h * 2.0)
        roots.append(h * (i + 1.0) + xs[i])
    passes = 60

    def work(root: Node) -> Callable[[], None]:
        def run() -> None:
            for _ in range(passes):
                root.backward()

        return run

    run_in_threads(*[work(root) for root in roots])
    slope = passes * 2.0 * (1 + 2 + 3 + 4)
    assert grads(*xs) == [slope + (passes if i < 4 else 0) for i in range(5)]
    assert all(unmarked(root.sorted_nodes()) for root in roots)


@pytest.mark.usefixtures("frequent_switches")
def test_interior_nodes_hold_one_pass_not_a_mixture() -> None:
    """Two passes at once over a shared chain leave the gradients of one of them."""
    chain: list[Any] = [Node(1.0) * 1.0]
    for _ in range(300):
        chain.append(chain[-1] * 1.0)
    roots = [Scaled(chain[-1], 2.0), Scaled(chain[-1], 3.0), chain[-1] * 4.0]
    for _ in range(20):
        run_in_threads(*[root.backward for root in roots])
        assert len({node.grad for node in chain}) == 1
    assert chain[0]._parents[0].grad == 20 * (2.0 + 3.0 + 4.0)


@pytest.mark.usefixtures("frequent_switches")
def test_hooks_that_fail_beside_others_that_do_not() -> None:
    """A pass that ends with an error takes nothing from the passes of other threads."""
    x = Node(3.0)
    h = x * 2
    good, bad = Scaled(h, 4.0) * 1.0, Scaled(h, 4.0) * 1.0
    bad._parents[0].factor = RuntimeError("half-way")
    failures = []

    def succeed() -> None:
        for _ in range(100):
            good.backward()

    def fail() -> None:
        for _ in range(100):
            try:
                bad.backward()
            except RuntimeError:
                failures.append(1)

    run_in_threads(succeed, fail, succeed, fail)
    assert len(failures) == 200
    assert x.grad == 200 * 8.0


@pytest.mark.usefixtures("frequent_switches")
def test_sorting_from_several_threads() -> None:
    """Every thread gets every node once, in order."""
    x = Node(1.0)
    y: Any = x
    for _ in range(300):
        y = y * x + y
    expected = y.sorted_nodes()

    def work() -> None:
        for _ in range(20):
            assert y.sorted_nodes() == expected

    run_in_threads(work, work, work)


@pytest.mark.usefixtures("frequent_switches")
def test_training_beside_anomalies_and_groups() -> None:
    """What one thread opens does not show in the nodes of another."""

    def train() -> None:
        x = Node(1.0)
        for _ in range(100):
            y = x * 2
            assert (y.groups, y.line) == ((), None)
            y.backward()
        assert x.grad == 200.0

    def annotated() -> None:
        x = Node(1.0)
        for _ in range(100):
            with group("g"), detect_anomaly():
                y = x * 2
            assert y.groups == ("g",)
            assert y.line is not None

    run_in_threads(train, annotated, train, annotated)
    assert (Node(1.0) * 2).line is None


def test_stale_operand_of_a_users_class() -> None:
    """Its value can't be computed again, so that a changed operand is an error in any case."""
    x = Node(2.0)
    y = Scaled(x, 3.0) * 1.0
    x.data = 5.0
    with pytest.raises(ValueError, match="was changed after Scaled had used it"):
        y.backward()
    assert x.grad == 0.0
    (Scaled(x, 3.0) * 1.0).backward()
    assert x.grad == 3.0
