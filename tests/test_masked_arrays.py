"""Nodes and NumPy's masked arrays: no number is taken out of a node."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import Node

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    "%": operator.mod,
    "//": operator.floordiv,
}


def masked(dtype: type = float) -> Any:
    """1, nothing, 3."""
    return np.ma.MaskedArray(np.array([1.0, 2.0, 3.0]).astype(dtype), [False, True, False])


@pytest.mark.parametrize("dtype", [float, int, object])
@pytest.mark.parametrize("symbol", OPERATORS)
def test_arithmetic(symbol: str, dtype: type) -> None:
    """An error with advice in both orders; % of an array, which NumPy does itself, gives nodes."""
    f = OPERATORS[symbol]
    for applied in (f, lambda a, b: f(b, a)):
        if symbol == "%" and applied is not f:
            assert all(isinstance(y, Node) for y in applied(Node(2.5), masked(dtype)).compressed())
            continue
        with pytest.raises(TypeError, match="a masked array can't hold nodes"):
            applied(Node(2.5), masked(dtype))


@pytest.mark.parametrize("symbol", OPERATORS)
def test_in_place(symbol: str) -> None:
    """Numbers can't become nodes: a TypeError, and they are as before; objects can."""
    f = getattr(operator, "i" + OPERATORS[symbol].__name__)
    numbers = masked()
    before = numbers.copy()
    with pytest.raises(TypeError):
        f(numbers, Node(2.5))
    assert (numbers == before).all()
    if symbol in ("+", "-", "*"):
        node = Node(2.5)
        held = f(masked(object), node)
        assert held.mask.tolist() == [False, True, False]
        held[2].backward()
        assert node.grad != 0.0


def test_numpy_finds_no_number_in_a_node() -> None:
    """NumPy's masked arrays look for an attribute ``_data``, and computed and compared with it."""
    node: Any = Node(2.0)
    assert not hasattr(node, "_data")
    assert np.ma.getdata(node).item() is node
    assert isinstance(np.ma.add(node, masked())[0], Node)
