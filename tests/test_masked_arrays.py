"""Nodes and NumPy's masked arrays: what is masked stays so, the rest are nodes, nothing is lost."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import Node, grad

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
@pytest.mark.parametrize("swapped", [False, True])
def test_arithmetic(symbol: str, swapped: bool, dtype: type) -> None:
    """In both orders, with the gradients of the elements that are shown."""
    f = OPERATORS[symbol]

    def applied(node: Any, other: Any) -> Any:
        return f(other, node) if swapped else f(node, other)

    node, alone = Node(2.5), Node(2.5)
    result = applied(node, masked(dtype))
    assert isinstance(result, np.ma.MaskedArray)
    assert result.mask.tolist() == [False, True, False]
    expected = [applied(alone, k) for k in (1.0, 3.0)]
    assert [y.data for y in result.compressed()] == [y.data for y in expected]
    (result[0] * result[2]).backward()
    (expected[0] * expected[1]).backward()
    assert node.grad == alone.grad


def test_all_masked_and_unmasked() -> None:
    """The ends of the range, and an array without axes."""
    node = Node(2.0)
    assert (np.ma.MaskedArray([1.0], [True]) + node).mask.all()
    assert (np.ma.MaskedArray([1.0, 2.0]) * node).sum().data == 6.0
    assert (node * np.ma.MaskedArray(3.0))[()].data == 6.0
    assert grad(lambda x: (masked() * x * x).sum())(3.0) == 24.0


@pytest.mark.parametrize("symbol", OPERATORS)
def test_in_place(symbol: str) -> None:
    """Where the array holds nodes it works; numbers can't become nodes: NumPy's own error."""
    f = getattr(operator, "i" + OPERATORS[symbol].__name__)
    node = Node(2.5)
    if symbol in ("+", "-", "*"):
        held = masked(object)
        held = f(held, node)
        assert held.mask.tolist() == [False, True, False]
        assert all(isinstance(y, Node) for y in held.compressed())
        held[2].backward()
        assert node.grad != 0.0
    numbers = masked(float)
    before = numbers.copy()
    try:
        found = f(numbers, node)
    except TypeError:
        assert (numbers == before).all()
    else:
        assert all(isinstance(y, Node) for y in found.compressed())


def test_numpy_finds_no_number_in_a_node() -> None:
    """NumPy's masked arrays look for an attribute ``_data``, and compared and added that."""
    node = Node(2.0)
    assert not hasattr(node, "_data")
    held: Any = node
    assert np.ma.getdata(held).item() is node

    def f(x: Any) -> Any:
        shown = (masked() < x) & (x > masked())
        return x * x if shown.any() else x

    assert grad(f)(3.0) == 6.0
    assert isinstance(np.ma.add(held, masked())[0], Node)
