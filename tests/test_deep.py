"""Graphs a million operations deep, and wide ones: nothing recurses, nothing is quadratic."""

import copy
import gc
import itertools
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from marks import unmarked

from chainrule import Node, Operation, build_info
from chainrule import math as cm

DEPTH = 1_000_000 if build_info()["compiled"] else 100_000
"""One chain is so deep; for the others, which tell operations apart, a part of that will do.

Whatever recurses in C needs more than 100 bytes for a call: a part overflows 8 MiB, too.
"""
PART = DEPTH // 10
WIDTH = PART


class Twice(Node):
    """A user's operation."""

    def __init__(self, x: Node) -> None:
        super().__init__(2.0 * x.data, (x,))

    def _local_grad(self, parent: Node) -> float:
        return 2.0


class Halved(Node):
    """A user's operation with an attribute of its own."""

    def __init__(self, x: Node) -> None:
        super().__init__(0.5 * x.data, (x,))
        self.factor = 0.5

    def _local_grad(self, parent: Node) -> float:
        return self.factor


def third_value(*xs: float) -> float:
    """The value of a user's operation."""
    return xs[0]


def third_local_grads(y: Any, *xs: Any) -> list[float]:
    """Its derivatives."""
    return [1.0, 0.0, 0.0]


third = Operation("third", third_value, third_local_grads)


@pytest.fixture(autouse=True)
def _without_collector() -> Iterator[None]:
    """Millions of nodes are built faster with Python's garbage collector paused."""
    assert sys.getrecursionlimit() <= 1000
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def build(step: Callable[[Any, Node], Any], depth: int) -> tuple[Node, Any]:
    """A leaf of value 1, and the end of a chain of steps over it whose values are all 1."""
    x = Node(1.0)
    y: Any = Node(1.0)
    for _ in range(depth):
        y = step(y, x)
    return x, y


@dataclass
class Chain:
    """A step, how many nodes it makes, and what it adds to the derivative by the leaf."""

    step: Callable[[Any, Node], Any]
    nodes: int
    slope: float
    operations: int = PART

    @property
    def depth(self) -> int:
        """How many steps."""
        return self.operations // self.nodes


CHAINS = {
    "operators": Chain(lambda y, x: y * x + (x - x), 3, 1.0, DEPTH),
    "constants": Chain(lambda y, x: 2.0 - (1.0 - (y - x)), 3, -1.0),
    "functions": Chain(lambda y, x: cm.maximum(abs(-y).relu(), 0.5) * x, 5, 1.0),
    "variadic": Chain(lambda y, x: cm.fsum([y, x, -1.0]), 1, 1.0),
    "three operands": Chain(lambda y, x: cm.where(x > 0, y, x) * x, 2, 1.0),
    "user's class": Chain(lambda y, x: Halved(Twice(y)) * x, 3, 1.0),
    "user's operation": Chain(lambda y, x: third(y, x, y) * x, 2, 1.0),
}
chains = pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)


@chains
def test_build_sort_and_free(chain: Chain) -> None:
    """The order holds every node once, and all are gone afterwards."""
    x = Node(1.0)
    references = sys.getrefcount(x)
    x, y = build(chain.step, chain.depth)
    order = y.sorted_nodes()
    assert order[0] is y
    assert y.data == 1.0
    assert len(order) == chain.depth * chain.nodes + 2
    assert unmarked(order)
    assert sys.getrefcount(x) > references
    del order, y
    assert sys.getrefcount(x) == references


@chains
def test_backward(chain: Chain) -> None:
    """Twice, so that the leaf holds twice the derivative."""
    x, y = build(chain.step, chain.depth)
    for passes in (1, 2):
        y.backward()
        assert x.grad == passes * chain.slope * chain.depth


@chains
def test_deepcopy(chain: Chain) -> None:
    """A graph of its own, of the same values."""
    depth = PART // chain.nodes
    x, y = build(chain.step, depth)
    new = copy.deepcopy(y)
    before, after = y.sorted_nodes(), new.sorted_nodes()
    assert [n.data for n in before] == [n.data for n in after]
    assert before[0] is not after[0]
    place = before.index(x)
    leaf = after[place]
    del before, after, y
    new.backward()
    assert (x.grad, leaf.grad) == (0.0, chain.slope * depth)


@chains
def test_pickle(chain: Chain) -> None:
    """There and back."""
    depth = PART // chain.nodes
    x, y = build(chain.step, depth)
    place = y.sorted_nodes().index(x)
    text = pickle.dumps(y)
    del x, y
    new = pickle.loads(text)
    order = new.sorted_nodes()
    assert len(order) == depth * chain.nodes + 2
    assert new.data == order[place].data == 1.0
    new.backward()
    assert order[place].grad == chain.slope * depth


@pytest.mark.parametrize(
    ("operation", "width", "slope"),
    [(cm.fsum, WIDTH, 1.0), (sum, WIDTH, 1.0), (lambda xs: cm.hypot(*xs), 900, 1 / 30)],
    ids=["fsum", "sum", "hypot"],
)
def test_wide_fan_in(operation: Callable[[Any], Any], width: int, slope: float) -> None:
    """One operation of hundreds of thousands of operands, and a sum of as many."""
    xs = [Node(1.0) for _ in range(width)]
    y = operation(xs)
    assert set(y.sorted_nodes()) >= set(xs)
    new = pickle.loads(pickle.dumps(copy.deepcopy(y)))
    for root in (y, new):
        root.backward()
        leaves = [node for node in root.sorted_nodes() if not node._parents]
        assert len(leaves) == width
        assert all(x.grad == pytest.approx(slope, rel=1e-12) for x in leaves[:: width // 100])


def test_wide_fan_out() -> None:
    """One leaf used by hundreds of thousands of operations."""
    x = Node(1.0)
    y = sum([x * 2.0 for _ in range(WIDTH)], start=x)
    y.backward()
    assert x.grad == 2.0 * WIDTH + 1.0


def test_wide_and_deep() -> None:
    """Layers that each use all of the layer before."""
    layer: list[Any] = [Node(1.0) for _ in range(300)]
    leaves = list(layer)
    for _ in range(10):
        layer = [cm.fsum(layer) * (1 / 300) for _ in layer]
    cm.fsum(layer).backward()
    assert [x.grad for x in leaves] == pytest.approx([1.0] * 300, rel=1e-12)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_long_trajectory(way: Callable[[Any], Any]) -> None:
    """A list of all states of a simulation, each made from the one before."""
    states: list[Any] = [Node(1.0)]
    for _ in range(PART // 2):
        states.append(states[-1] * 0.5 + 0.5)
    new = way(states)
    assert len(new) == len(states)
    assert all(u is v._parents[0]._parents[0] for u, v in itertools.pairwise(new))
    new[-1].backward()


def test_a_deep_graph_with_a_cycle() -> None:
    """Found at the bottom; afterwards the graph works."""
    x, y = build(lambda y, x: y + x, DEPTH)
    x._parents = (y,)
    with pytest.raises(ValueError, match="the graph has a cycle"):
        y.backward()
    x._parents = ()
    y.backward()
    assert x.grad == float(DEPTH)


def test_a_deep_graph_freed_from_the_middle() -> None:
    """One half at a time, whichever end goes first."""
    x, y = build(lambda y, x: y + x, DEPTH)
    order = y.sorted_nodes()
    middle = order[len(order) // 2]
    del order, y
    middle.backward()
    assert 0.0 < x.grad < DEPTH
    del middle
    assert x.data == 1.0
