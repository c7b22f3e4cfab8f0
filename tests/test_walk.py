"""Walks over graphs when something goes wrong in the middle: memory ends, cycles, users' code."""

import builtins
import gc
import importlib
import random
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from marks import unmarked

from chainrule import Node, Operation, detect_anomaly, zero_grad
from chainrule import math as cm
from chainrule.engine import ENGINE

_testcapi: Any = importlib.import_module("_testcapi")


class Doing(Node):
    """2 x, with something done when its local gradient is asked for."""

    def __init__(self, x: Node, action: Callable[[Any], object]) -> None:
        super().__init__(2.0 * x.data, (x,))
        self.action = action

    def _local_grad(self, parent: Node) -> float:
        self.action(self)
        return 2.0


def doing(x: Node, action: Callable[[Any], object]) -> Node:
    """2 x by an operation that does something when its local gradient is asked for."""

    def local_grad(y: float, x: float) -> float:
        action(None)
        return 2.0

    y: Node = Operation("doing", lambda x: 2.0 * x, (local_grad,))(x)
    return y


both = pytest.mark.parametrize("doing", [Doing, doing])


def grads(*nodes: Node) -> list[float]:
    """Their gradients."""
    return [node.grad for node in nodes]


# Memory


def without_memory_from(n: int, run: Callable[[], object]) -> bool:
    """Run something whose n-th allocation fails; whether it did, with MemoryError."""
    _testcapi.set_nomemory(n, n + 1)
    try:
        run()
    except MemoryError:
        return True
    finally:
        _testcapi.remove_mem_hooks()
    return False


def wide_and_deep(count: int) -> Node:
    """A graph whose lists grow several times, of all kinds of nodes of the table."""
    rng = random.Random(5)
    nodes: list[Any] = [Node(rng.uniform(0.5, 1.5)) for _ in range(20)]
    for _ in range(count):
        operands = rng.choices(nodes, k=3)
        made = (operands[0] * operands[1], cm.tanh(operands[0]), cm.fsum(operands) / 3.0)
        nodes.append(rng.choice(made))
    root: Node = cm.hypot(*nodes)
    return root


@pytest.mark.parametrize("kind", ["table", "class", "operation", "set data", "anomaly"])
def test_backward_without_memory(kind: str) -> None:
    """Whichever allocation fails, no gradient has changed, and the next pass is right.

    Asked of the engine in C; where Python runs, Python itself allocates, everywhere.
    """
    root = wide_and_deep(300)
    if kind in ("class", "operation"):
        root = {"class": Doing, "operation": doing}[kind](root, id)
    order = root.sorted_nodes()
    if kind == "set data":
        leaf = order[-1]
        leaf.data = leaf.data
    assert not order[-1]._parents

    root.backward()
    once = grads(*order)
    zero_grad(order)
    failures = 0
    with detect_anomaly() if kind == "anomaly" else nullcontext():
        while ENGINE is not None and without_memory_from(failures, root.backward):
            failures += 1
            assert not any(node._grad for node in order)
            assert unmarked(order)
    assert (failures > 0) == (ENGINE is not None)
    zero_grad(order)
    root.backward()
    assert grads(*order) == once


@pytest.mark.parametrize("n", range(12))
def test_sorting_without_memory(n: int) -> None:
    """The order, or MemoryError and no marks."""
    root = wide_and_deep(300)
    expected = root.sorted_nodes()
    found: list[list[Node]] = []
    failed = without_memory_from(n, lambda: found.append(root.sorted_nodes()))
    assert failed or found == [expected]
    assert unmarked(expected)
    assert root.sorted_nodes() == expected


# Cycles


@pytest.mark.parametrize("seed", range(30))
def test_cycles_leave_no_marks(seed: int) -> None:
    """Wherever they are, beside and above and below other nodes; without them the graph works."""
    rng = random.Random(seed)
    nodes: list[Any] = [Node(1.0) for _ in range(4)]
    users = []
    for _ in range(60):
        x, y, z = rng.choices(nodes, k=3)
        made = rng.choice((x * y, cm.fsum([x, y, z]), Doing(x, id)))
        nodes.append(made)
        if isinstance(made, Doing):
            users.append(made)
    root = cm.fsum(rng.sample(nodes, 30))
    below = root.sorted_nodes()
    closing = rng.choice([node for node in users if node in below])
    (before,) = closing._parents
    closing._parents = (rng.choice([n for n in below if closing in n.sorted_nodes()]),)
    for _ in range(2):
        with pytest.raises(ValueError, match="the graph has a cycle"):
            root.backward()
        assert unmarked(nodes)
        assert grads(*nodes) == [0.0] * len(nodes)
    closing._parents = (before,)
    assert root.sorted_nodes() == below


# Users' code in the middle of a pass


@both
def test_dropping_the_last_reference_to_a_parent(doing: Callable[..., Node]) -> None:
    """The pass goes on with the nodes that it began with."""
    x = Node(3.0)
    held: list[Any] = [Doing(x * 1.0, id) * 1.0]

    def drop(node: Any) -> None:
        held[0]._parents[0]._parents = (Node(5.0),)
        del held[:]
        gc.collect()

    top = doing(Node(1.0), drop) * 4.0 + held[0]
    top.backward()
    assert top.grad == 1.0
    below = top.sorted_nodes()
    assert unmarked(below)
    del top, below
    assert x.grad in (0.0, 2.0)  # as the change came before or after its parent's turn


@both
def test_losing_its_own_parents(doing: Callable[..., Node]) -> None:
    """A node whose parents are taken away while it is asked for its local gradients."""
    x = Node(3.0)
    lower: Any = Doing(x, lambda node: setattr(node, "_parents", ()))
    upper = doing(lower, lambda node: gc.collect())
    upper.backward()
    assert (x.grad, upper.grad) == (4.0, 1.0)
    assert lower._parents == ()


def test_parents_changed_before_the_first_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """As backward is prepared: by an import hook here, or by whatever the collector frees."""
    x = Node(3.0)
    y: Any = Doing(x, id)
    root = y * 1.0
    ordinary = builtins.__import__

    def changing(*args: Any, **kwargs: Any) -> Any:
        y._parents = (x,) * 100_000
        return ordinary(*args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", changing)
    root.backward()
    monkeypatch.undo()
    assert x.grad in (2.0, 200_000.0)
    assert unmarked([x, y, root])


@both
def test_made_anew_in_the_middle(doing: Callable[..., Node]) -> None:
    """A node below becomes a leaf."""
    x = Node(3.0)
    product = x * x
    y = doing(product, lambda node: Node.__init__(product, 7.0))
    y.backward()
    assert (product.data, product.grad, x.grad) == (7.0, 2.0, 0.0)
    x.grad = 0.0
    y = doing(x * 1.0, lambda node: Node.__init__(x, 7.0))
    y.backward()
    assert (x.data, x.grad) == (7.0, 2.0)


@both
def test_backward_in_backward(doing: Callable[..., Node]) -> None:
    """Of the same graph, by an operation of it: leaves add up both passes."""
    x = Node(3.0)
    depth = 0

    def again(node: Any) -> None:
        nonlocal depth
        if depth < 3:
            depth += 1
            root.backward(10.0**depth)

    h = x * 5.0
    root = doing(h, again) * 1.0
    root.backward()
    assert x.grad == 10.0 * 1111.0
    assert h.grad == 2.0  # the last to end is the first to begin
    assert unmarked([x, h, root])


@both
def test_an_error_after_backward_in_backward(doing: Callable[..., Node]) -> None:
    """Takes nothing from the pass that ended well."""
    x = Node(3.0)
    h = x * 5.0

    def fails(node: Any) -> None:
        h.backward()
        raise RuntimeError("half-way")

    root = doing(h, fails) + h
    with pytest.raises(RuntimeError, match="half-way"):
        root.backward()
    assert grads(x, h, root) == [5.0, 1.0, 0.0]
    assert unmarked([x, h, root])


@both
def test_a_user_operation_does_not_change_what_others_send(doing: Callable[..., Node]) -> None:
    """The same gradients with one on top of the graph as without."""
    root = wide_and_deep(500)
    order = root.sorted_nodes()
    root.backward(2.0)
    expected = grads(*order)
    zero_grad(order)
    doing(root, id).backward()
    assert grads(*order) == expected


def test_minus_zero_in_a_leaf() -> None:
    """What no message reaches keeps its gradient, and its sign."""
    x, y = Node(1.0), Node(2.0)
    for root in (cm.where(True, x, y) * 1.0, doing(cm.where(True, x, y), id)):
        y.grad = -0.0
        root.backward()
        assert str(y.grad) == "-0.0"
