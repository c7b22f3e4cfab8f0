"""Arguments and results: trees of numbers, nodes and arrays, laid flat and put together again.

A tree is any nesting of lists, tuples, dicts and what else is registered with ``optree``. Its
leaves are numbers, nodes, and NumPy arrays of either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy
import optree

from chainrule.arrays import NodeArray
from chainrule.node import Node
from chainrule.rules import described, to_float

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """The structure of a tree whose leaves are numbers (shape None) or arrays of them."""

    structure: Any
    shapes: tuple[Shape | None, ...]

    def __str__(self) -> str:
        """Numbers and arrays in words, in their place in the tree."""
        if self.structure.is_leaf():
            return "a number" if self.shapes[0] is None else f"an array of shape {self.shapes[0]}"
        text = str(unflatten(self.structure, [_Leaf(shape) for shape in self.shapes]))
        return text if len(text) <= 100 else text[:97] + "..."

    @property
    def is_number(self) -> bool:
        """Whether the tree is a number, or an array of no axes."""
        return self.shapes in ((None,), ((),)) and bool(self.structure.is_leaf())

    @property
    def size(self) -> int:
        """How many numbers the tree holds."""
        return sum(size_of(shape) for shape in self.shapes)

    def unflatten(self, values: Sequence[Any]) -> Any:
        """The tree that holds some numbers or nodes, in order."""
        leaves: list[Any] = []
        start = 0
        for shape in self.shapes:
            if shape is None:
                leaves.append(values[start])
                start += 1
            else:
                stop = start + size_of(shape)
                leaves.append(array_of(values[start:stop], shape))
                start = stop
        return unflatten(self.structure, leaves)

    def unflatten_numbers(self, numbers: Any) -> Any:
        """The tree that holds the numbers of a float64 array."""
        leaves: list[Any] = []
        start = 0
        for shape in self.shapes:
            if shape is None:
                leaves.append(numbers.item(start))
                start += 1
            else:
                stop = start + size_of(shape)
                leaves.append(numbers[start:stop].reshape(shape).copy())
                start = stop
        return unflatten(self.structure, leaves)


@dataclass(frozen=True, repr=False)
class _Leaf:
    """What stands for a leaf in a text."""

    shape: Shape | None

    def __repr__(self) -> str:
        return "number" if self.shape is None else f"array{self.shape}"


def size_of(shape: Shape | None) -> int:
    """How many numbers an array of a shape holds; 1 for a plain number."""
    size = 1
    for n in shape or ():
        size *= n
    return size


def array_of(values: Sequence[Any], shape: Shape) -> Any:
    """An array of numbers, or a :class:`NodeArray` if some are nodes."""
    if any(isinstance(value, Node) for value in values):
        array: Any = numpy.empty(len(values), dtype=object).view(NodeArray)
        array[:] = values
    else:
        array = numpy.array(values, dtype=numpy.float64)
    return array.reshape(shape)


def as_arrays_of(tree: Any, original: Any) -> Any:
    """A tree whose arrays of nodes are of the classes that they have in another one like it."""
    arrays = [
        (i, like) for i, like in enumerate(leaves_of(original)[0]) if isinstance(like, NodeArray)
    ]
    if not arrays:
        return tree
    leaves, structure = leaves_of(tree)
    for i, like in arrays:
        leaves[i] = leaves[i].view(type(like))
    return unflatten(structure, leaves)


def leaves_of(tree: Any) -> tuple[list[Any], Any]:
    """The leaves of a tree and its structure; None is a leaf."""
    leaves, structure = optree.tree_flatten(tree, none_is_leaf=True, namespace="chainrule")
    return list(leaves), structure


def is_number(x: object) -> bool:
    """Whether x is a plain real number (NumPy's included, truth values excluded)."""
    return isinstance(x, (float, int, Real)) and not isinstance(x, (bool, numpy.bool_))


def is_array(x: object) -> bool:
    """Whether x is an array with at least one axis, or one of no axes."""
    return isinstance(x, numpy.ndarray)


def flatten(tree: Any, what: str, advice: str = "") -> tuple[list[Any], Layout]:
    """The numbers and nodes of a tree, in order, and its layout.

    Raises:
        TypeError: if a leaf is neither number, node nor array of them; ``what`` names the tree.
    """
    leaves, structure = leaves_of(tree)
    values: list[Any] = []
    shapes: list[Shape | None] = []
    for leaf in leaves:
        if isinstance(leaf, Node):
            values.append(leaf)
            shapes.append(None)
        elif isinstance(leaf, numpy.ndarray):
            values.extend(_elements(leaf, what, advice))
            shapes.append(leaf.shape)
        elif is_number(leaf):
            values.append(to_float(leaf, what))
            shapes.append(None)
        else:
            raise TypeError(
                f"{what} holds {described(leaf)}, not numbers, nodes or arrays of them{advice}"
            )
    return values, Layout(structure, tuple(shapes))


def _elements(array: Any, what: str, advice: str) -> list[Any]:
    if isinstance(array, numpy.ma.MaskedArray):
        raise TypeError(
            f"{what} holds a masked array, not numbers, nodes or arrays of them{advice}"
        )
    array = numpy.asarray(array)  # a matrix does not become flat
    kind = array.dtype.kind
    if kind in "fiu":
        elements: list[Any] = array.astype(numpy.float64).ravel().tolist()
        return elements
    if kind == "O":
        elements = []
        for x in array.ravel().tolist():
            if isinstance(x, Node):
                elements.append(x)
            elif is_number(x):
                elements.append(to_float(x, what))
            else:
                raise TypeError(
                    f"{what} holds an array with {described(x)}, not numbers and nodes{advice}"
                )
        return elements
    raise TypeError(f"{what} holds an array of {array.dtype}, not of numbers or nodes{advice}")


def unflatten(structure: Any, leaves: Sequence[Any]) -> Any:
    """The tree of a structure with some leaves."""
    return optree.tree_unflatten(structure, list(leaves))


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """A tree with a function applied to each leaf."""
    leaves, structure = leaves_of(tree)
    return unflatten(structure, [function(leaf) for leaf in leaves])
