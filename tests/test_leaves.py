"""Leaves in bulk are the leaves that are made, read and set one after the other."""

import copy
import gc
import pickle
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from chainrule import Node, compile, detect_anomaly, group, record_lines
from chainrule.leaves import are_leaves, are_same, data_of, distinct, leaves, set_data
from chainrule.tracing import TracedValueError

CONTEXTS = {
    "none": (),
    "a group": (lambda: group("a"),),
    "nested groups": (lambda: group("a"), lambda: group("b 1")),
    "lines": (record_lines,),
    "anomaly": (detect_anomaly, lambda: group("a")),
}


def made(contexts: Any, name: str | None, values: list[float]) -> tuple[list[Node], list[Node]]:
    """Leaves in bulk and one by one."""
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context())
        names = [None if name is None else f"{name}{i}" for i in range(len(values))]
        one_by_one = [Node(x, name=own) for x, own in zip(values, names, strict=True)]
        return leaves(values, name), one_by_one


def seen(node: Node) -> Any:
    """What can be seen of a leaf."""
    line = node.line
    return node.data, node.grad, node.name, node.groups, line and line.split(":")[0], repr(node)


@pytest.mark.parametrize("name", [None, "w", "größe ", ""])
@pytest.mark.parametrize("contexts", CONTEXTS)
def test_they_are_those_made_one_by_one(contexts: str, name: str | None) -> None:
    """Names, groups and lines are the same, in all contexts."""
    for count in (0, 1, 3):
        bulk, single = made(CONTEXTS[contexts], name, [0.5 - i for i in range(count)])
        assert [*map(type, bulk)] == [Node] * count
        assert [*map(seen, bulk)] == [*map(seen, single)]
        assert [*map(seen, bulk)] == [*map(seen, single)]  # names are put together once


@pytest.mark.parametrize(
    "other",
    [copy.copy, copy.deepcopy, lambda node: pickle.loads(pickle.dumps(node)), lambda node: node],
)
@pytest.mark.parametrize("contexts", CONTEXTS)
def test_copies_have_the_names(contexts: str, other: Callable[[Node], Node]) -> None:
    """However a copy is made."""
    bulk, single = made(CONTEXTS[contexts], "w", [1.0, 2.0])
    assert [seen(other(node)) for node in bulk] == [seen(other(node)) for node in single]


def test_another_name_or_number_or_a_start_anew() -> None:
    """What is put together later gives way to what is set before."""
    a, b, c = leaves([1.0, 2.0, 3.0], "w")
    b.data = 5.0
    Node.__init__(c, 7.0)
    Node.__init__(a, 8.0, name="other")
    assert [(x.name, x.data) for x in (a, b, c)] == [("other", 8.0), ("w1", 5.0), (None, 7.0)]
    [d] = leaves([1.0], "w")
    Node.__init__(d, 1.0, (b,))
    assert d._parents == (b,)


def test_they_train_and_go() -> None:
    """They take gradients and are freed."""
    for _ in range(3):
        nodes = leaves(np.arange(4.0), "w")
        (nodes[0] * nodes[3] + nodes[1]).backward()
        assert [x.grad for x in nodes] == [3.0, 1.0, 0.0, 0.0]
        del nodes
    gc.collect()


def test_names_in_compiled_programs() -> None:
    """They may be captured."""
    nodes = leaves([2.0, 3.0], "w")
    f = compile(lambda x: x * nodes[0] + nodes[1])
    assert f(2.0).data == 7.0
    nodes[1].data = 4.0
    assert f(2.0).data == 8.0


def test_numbers_of_all_kinds() -> None:
    """Numbers are taken as Node takes them."""
    values = [1, True, np.float32(0.5), np.float64(2.0), 3.0]
    assert [x.data for x in leaves(values)] == [1.0, 1.0, 0.5, 2.0, 3.0]
    assert [x.data for x in leaves(np.array([1, 2]))] == [1.0, 2.0]
    with pytest.raises(TypeError, match="Node takes a real number, not str"):
        leaves([1.0, "2"])
    with pytest.raises(TypeError, match="Node takes a real number"):
        leaves([Node(1.0)])


def test_data_is_read_and_set() -> None:
    """In bulk as one by one, with gradients or without."""
    nodes = leaves([1.0, 2.0, 3.0])
    nodes[0].grad = 4.0
    assert data_of(nodes).tolist() == [1.0, 2.0, 3.0]
    set_data(nodes, np.arange(6.0)[::2], zero_grad=False)
    assert data_of(nodes).tolist() == [0.0, 2.0, 4.0]
    assert nodes[0].grad == 4.0
    set_data(nodes, np.ones(3))
    assert nodes[0].grad == 0.0
    y = nodes[0] * nodes[1]
    set_data(nodes, np.full(3, 2.0))
    with pytest.raises(ValueError, match="was changed after multiply"):
        y.backward()
    with record_lines():
        assert data_of(nodes).tolist() == [2.0] * 3
        set_data(nodes, np.zeros(3))
    assert data_of(nodes).tolist() == [0.0] * 3


def test_only_leaves_can_be_set() -> None:
    """Errors are those of a single node."""
    x, y = leaves([1.0, 2.0])
    with pytest.raises(ValueError, match="result of an operation"):
        set_data([x, x * y], np.zeros(2))
    with pytest.raises(ValueError, match="zip"):
        set_data([x, y], np.zeros(3))


def test_what_is_traced_does_not_leave() -> None:
    """Reading in bulk asks what reading one asks."""

    @compile
    def f(x: Any) -> Any:
        return float(data_of([x])[0])

    with pytest.raises(TracedValueError, match="reading the data"):
        f(1.0)


def test_are_leaves_and_distinct() -> None:
    """What the walk through a module asks."""

    class Own(Node):
        pass

    x, y = leaves([1.0, 2.0])
    assert are_leaves([])
    assert are_leaves([x, y, x])
    for other in (x + y, 1.0, Own(1.0), Node(1.0, (x,)), None, [x]):
        assert not are_leaves([x, other])
    product, own = x * y, Own(1.0)
    found = distinct([x, product, x, own, product, y, own])
    assert [*map(id, found)] == [*map(id, [x, product, own, y])]
    assert [*map(id, distinct([x, x]))] == [id(x)]
    product.backward()
    assert (x.grad, y.grad) == (2.0, 1.0)


def test_are_same() -> None:
    """By what they are, not by what they are equal to: nodes that are compared may be traced."""
    x, y = leaves([1.0, 1.0])
    assert are_same([], [])
    assert are_same([x, y, None], [x, y, None])
    for other in ([x], [x, x], [y, x], [x, y, x], [x, Node(1.0)]):
        assert not are_same([x, y], other)


def test_arrays_of_other_shapes_are_no_numbers() -> None:
    """Rows of numbers; masked arrays are as good as their elements."""
    with pytest.raises(TypeError, match="takes a real number"):
        leaves(np.ones((2, 2)))
    with pytest.raises(TypeError):
        leaves(np.ma.array([1.0, 2.0], mask=[False, True]))
    x = np.arange(6.0)
    assert [node.data for node in leaves(x[::-2])] == [5.0, 3.0, 1.0]
    assert [node.data for node in leaves(x.astype(">f8"))] == x.tolist()
