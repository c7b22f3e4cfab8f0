"""Leaf nodes in bulk: made, read and set together, as the many parameters of a network are."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from chainrule.engine import ENGINE
from chainrule.node import Node
from chainrule.rules import to_float

Array = NDArray[numpy.float64]


def leaves(numbers: Sequence[Any] | NDArray[Any], name: str | None = None) -> list[Node]:
    """New nodes for numbers, with names such as ``w0``, ``w1``, … if a name is given.

    Raises:
        TypeError: if something is no real number.
    """
    plain = type(numbers) is numpy.ndarray and numbers.ndim == 1 and numbers.dtype == numpy.float64
    if not plain:
        numbers = [to_float(x, "Node", "takes a real number") for x in numbers]
    array = numpy.ascontiguousarray(numbers, dtype=numpy.float64)
    if ENGINE is not None:
        made: list[Node] = ENGINE.leaves(array, name)
        return made
    floats = array.tolist()
    names = [None if name is None else f"{name}{i}" for i in range(len(floats))]
    return [Node(x, name=own) for x, own in zip(floats, names, strict=True)]


def are_leaves(values: list[Any]) -> bool:
    """Whether all elements of a list are leaves, of no class of the user's."""
    return all(type(x) is Node and not x.operands for x in values)


def are_same(left: list[Any], right: list[Any]) -> bool:
    """Whether two lists hold the very same objects in the same order."""
    return len(left) == len(right) and all(map(operator.is_, left, right))


def distinct(nodes: list[Node]) -> list[Node]:
    """The nodes in order, each once."""
    return list({id(node): node for node in nodes}.values())


def data_of(nodes: list[Node]) -> Array:
    """The data of nodes, as an array."""
    numbers = numpy.empty(len(nodes))
    if ENGINE is None or not ENGINE.read_data(nodes, numbers):
        numbers[:] = [node.data for node in nodes]
    return numbers


def set_data(nodes: list[Node], numbers: Array, zero_grad: bool = True) -> None:
    """Give leaf nodes their data, and gradients of 0 if asked."""
    if ENGINE is None or not ENGINE.write_data(nodes, numpy.ascontiguousarray(numbers), zero_grad):
        for node, number in zip(nodes, numbers.tolist(), strict=True):
            node.data = number
            if zero_grad:
                node.grad = 0.0


if ENGINE is not None:
    are_leaves = ENGINE.are_leaves
    are_same = ENGINE.are_same
    distinct = ENGINE.distinct
