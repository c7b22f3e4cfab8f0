"""Cycles through nodes are collected, and what can be in none is nothing to the collector.

A node refers only to its operands, which are older, so that plain nodes form no cycles. A user's
subclass has attributes, and a user's operation functions, that may refer to anything.
"""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from memory import blocks_in_use
from node_cases import HALF, Scaled

import chainrule as cr
from chainrule import Node
from chainrule import math as cm
from chainrule.engine import ENGINE
from chainrule.whole import WholeNode

COMPILED = cr.build_info()["compiled"]


class Traced:
    """An object whose end is seen."""


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    """Nothing is collected but where the test says so."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def own_cache(x: Any) -> Any:
    """A node that refers to what was computed from it."""
    node: Any = Scaled(x)
    node.cache = node * 2.0 + 1.0
    return node


def long_cache(x: Any) -> Any:
    """The same by way of many plain operations."""
    node: Any = Scaled(x)
    y = node
    for _ in range(50):
        y = (y * 1.5).tanh() + x
    node.cache = [{"y": y}]
    return node


def wide_cache(x: Any) -> Any:
    """By way of operations of many operands, whole numbers and a named node."""
    node: Any = Scaled(x)
    y = cm.fsum([x, x, node, 1.0]) * cm.fma(x, node, 2.0)
    y.name = "y"
    node.cache = round(y) + cm.hypot(y, x, 1.0)
    return node


def constant_first(x: Any) -> Any:
    """With constants on the left, in powers, in a group."""
    node: Any = Scaled(x)
    with cr.group("g"), cr.record_lines():
        node.cache = (2.0 - node) ** 2 / (1.0 + node)
    return node


def parents_set(x: Any) -> Any:
    """A node that is its own ancestor."""
    node: Any = Scaled(x)
    node._parents = (node * 2.0,)
    return node


def plain_with_parents(x: Any) -> Any:
    """By way of a plain node that was given its parents."""
    node: Any = Scaled(x)
    node.cache = cr.Node(1.0, (x, node), name="with parents")
    return node


def two(x: Any) -> Any:
    """Two that refer to what was computed from the other."""
    a: Any = Scaled(x)
    b: Any = Scaled(a)
    a.cache, b.cache = b * 2.0, a * 3.0
    return b


def operation(x: Any) -> Any:
    """A user's operation whose functions hold what it made."""
    kept: list[Any] = []
    own = cr.Operation("own", lambda v: 2.0 * v, [lambda y, v: 2.0 * len(kept)])
    y = own(x)
    kept.append(y * 3.0)
    return y


def operation_as_attribute(x: Any) -> Any:
    """A user's operation with a node for an attribute."""
    own: Any = cr.Operation("own", lambda v: 2.0 * v, [lambda y, v: 2.0])
    y = own(x) * 2.0
    own.last = y
    return y


def custom(x: Any) -> Any:
    """A function with its own derivative, that holds its result."""
    kept: list[Any] = []

    @cr.custom_gradient
    def double(v: Any) -> Any:
        return 2.0 * v, lambda cotangent: cotangent * (2.0 + 0.0 * len(kept))

    y = double(x)
    kept.append(y)
    return y


def several_results(x: Any) -> Any:
    """The same with two results."""
    kept: list[Any] = []

    @cr.custom_gradient
    def both(v: Any, w: Any) -> Any:
        return (v * w, v + w), lambda cotangents: (kept and cotangents[0], cotangents[1])

    first, second = both(x, 2.0)
    kept.append(second * first)
    return first


def copied(x: Any) -> Any:
    """A copy of a cycle."""
    found = copy.deepcopy(own_cache(cr.Node(1.0)))
    found.cache = found.cache * x
    return found


def pickled(x: Any) -> Any:
    """A pickled cycle."""
    return pickle.loads(pickle.dumps(own_cache(cr.Node(1.0))))


def after_backward(x: Any) -> Any:
    """A cycle over which gradients were sent, and that was sorted."""
    node = long_cache(x)
    y = node.cache[0]["y"]
    y.backward()
    node.order = y.sorted_nodes()
    return node


MAKERS = [own_cache, long_cache, wide_cache, constant_first, parents_set, plain_with_parents]
MAKERS += [
    two,
    operation,
    operation_as_attribute,
    custom,
    several_results,
    copied,
    pickled,
    after_backward,
]


def live_nodes() -> int:
    """How many nodes the collector sees."""
    return sum(isinstance(x, cr.Node) for x in gc.get_objects())


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_a_cycle_is_collected(make: Callable[[Any], Any]) -> None:
    """All of it: the nodes, and what they hold."""
    x = cr.Node(1.0)
    make(x)  # whatever is kept of the first
    gc.collect()
    nodes, references, blocks = live_nodes(), sys.getrefcount(x), blocks_in_use()
    ends = []
    for _ in range(50):
        found = make(x)
        if isinstance(found, Scaled):
            found.__dict__["traced"] = traced = Traced()
            ends.append(weakref.ref(traced))
            del traced
        del found
    assert live_nodes() > nodes
    gc.collect()
    assert not any(end() for end in ends)
    assert live_nodes() == nodes
    assert sys.getrefcount(x) == references
    assert blocks_in_use() - blocks < 1000


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_what_is_in_use_is_not_collected(make: Callable[[Any], Any]) -> None:
    """Nor changed: the values and the graph are what they were."""
    x = cr.Node(1.0)
    found = make(x)
    if make is not parents_set:
        order = [id(node) for node in found.sorted_nodes()]
    held = found * 2.0
    data = held.data
    gc.collect()
    gc.collect()
    assert held.data == data
    assert held.operands[0] is found
    if make is not parents_set:
        assert [id(node) for node in held.sorted_nodes()][1:] == order


def test_plain_nodes_are_untracked() -> None:
    """Leaves, and what the table's operations give for them: they can't be part of a cycle.

    In plain Python every object has the collector's header.
    """
    x, y = cr.Node(1.0), cr.Node(2.0, name="y")
    plain = [x, y, x * y, x + 1.0, 2.0 / y, -x, x.tanh(), x.relu(), x**2, x**y, cm.sin(x)]
    plain += [cm.fsum([x, y, 1.0]), cm.fma(x, y, 2.0), cm.hypot(x, y, x), cm.where(x > 0.0, x, y)]
    plain += [copy.copy(x * y), copy.deepcopy(x * y), pickle.loads(pickle.dumps(x * y))]
    with cr.group("g"):
        plain.append(x * y)
    (x * y).backward()
    seen = {id(x) for x in gc.get_objects()}
    for node in plain:
        assert gc.is_tracked(node) != COMPILED, node
        assert (id(node) in seen) != COMPILED


def tracked(x: Any, y: Any) -> list[Any]:
    """What is computed from a node that may be part of a cycle."""
    whole = round(x * 1.0)
    found = [x * y, y * x, x + 1.0, 2.0 / x, -x, x.tanh(), x.relu(), x**2, y**x, cm.sin(x)]
    found += [cm.fsum([y, x, 1.0]), cm.fma(y, y, x), cm.where(y > 0.0, y, x), whole, whole + 1]
    found += [cr.BinaryOpNode(x, y, "+"), cr.PowOp(x, 3), cr.ReLUNode(x), cr.TanhNode(x)]
    found += [cr.Node(1.0, (y, x)), copy.copy(x * y), copy.deepcopy(x * y)]
    return found


@pytest.mark.parametrize("kind", [Scaled, HALF], ids=["subclass", "operation"])
def test_what_may_be_in_a_cycle_is_tracked(kind: Callable[[Any], Any]) -> None:
    """A user's own, and everything that was computed from it, in however many steps."""
    x, y = cr.Node(1.0), cr.Node(2.0)
    own = kind(x)
    assert gc.is_tracked(own)
    for node in tracked(own, y):
        assert gc.is_tracked(node), node
        for later in tracked(node, y):
            assert gc.is_tracked(later), later


def test_finalizers_see_whole_nodes() -> None:
    """A ``__del__`` that uses the graph it is in, and one that brings its node back to life."""
    seen: list[Any] = []

    class Noisy(Scaled):
        def __del__(self) -> None:
            cache = vars(self)["cache"]
            order = cache.sorted_nodes()
            cache.backward()
            seen.append((len(order), self.data, cache.data, self.grad))

    class Phoenix(Scaled):
        def __del__(self) -> None:
            seen.append(self)

    x = cr.Node(1.0)
    noisy: Any = Noisy(x)
    noisy.cache = noisy * 2.0
    del noisy
    gc.collect()
    assert seen == [(3, 3.0, 6.0, 2.0)]
    assert x.grad == 6.0
    seen.clear()
    phoenix: Any = Phoenix(x)
    phoenix.cache = phoenix * 2.0
    del phoenix
    gc.collect()
    (alive,) = seen
    (alive.cache * 1.0).backward()
    assert alive.grad == 2.0
    assert alive.cache.operands == (alive, 2.0)


def test_weak_references() -> None:
    """To a user's own; they end with it, and their functions may use the graph."""
    x = cr.Node(1.0)
    node = Scaled(x)
    y = node * 2.0
    ended: list[float] = []

    def after(_: Any) -> None:
        x.grad = 0.0
        (x * x).backward()
        ended.append(x.grad)

    reference = weakref.ref(node, after)
    del node
    assert reference() is y.operands[0]
    del y
    assert reference() is None
    assert ended == [2.0]


def test_a_long_cycle_is_freed_without_recursion() -> None:
    """Hundreds of thousands of nodes through which a cycle runs."""
    x = cr.Node(1.0)
    node: Any = Scaled(x)
    y = node
    for _ in range(200_000 if COMPILED else 20_000):
        y = y * 1.0
    node.cache = y
    end = weakref.ref(node)
    del node, y
    gc.collect()
    assert end() is None


def test_compiled_functions_that_hold_nodes() -> None:
    """A compiled function and the nodes that it captures, one of which holds the function."""
    x = cr.Node(2.0)

    def make() -> Any:
        node: Any = Scaled(x)
        node.function = cr.compile(lambda v: v * node + x)
        assert node.function(3.0).data == 20.0
        return node

    end = weakref.ref(make())
    gc.collect()
    assert end() is None


def test_a_plain_node_with_a_users_own_as_parent() -> None:
    """It can be part of a cycle; one that was made without parents can't become so in C."""
    x = cr.Node(2.0)
    plain = cr.Node(1.0)

    def make() -> Any:
        node: Any = Scaled(x)
        node.cache = cr.Node(1.0, (node,)), cr.Node(1.0, parents=[node])
        if COMPILED:
            with pytest.raises(TypeError, match="a user's own as a parent"):
                plain._parents = (node,)
        return node

    end = weakref.ref(make())
    gc.collect()
    assert end() is None
    plain._parents = (x,)
    assert plain._parents == (x,)


def test_a_plain_node_cannot_become_a_users_own() -> None:
    """It has no room for what the collector needs; between classes of one kind it can."""

    class Own(Node):
        __slots__ = ()

    class Other(Node):
        __slots__ = ()

    if ENGINE is not None:
        for node in (Node(1.0), Node(1.0).exp(), Node(1.0) * 2.0):
            with pytest.raises(TypeError, match="__class__"):
                node.__class__ = Own
            with pytest.raises(TypeError, match="__class__"):
                node.__class__ = WholeNode
    own: Any = Own(1.0)
    own.__class__ = Other
    assert type(own) is Other
    del own
    gc.collect()
