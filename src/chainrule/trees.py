"""Arguments and results: trees of numbers, nodes and arrays, laid flat and put together again.

A tree is any nesting of lists, tuples, dicts and what else is registered with ``optree``. Its
leaves are numbers, nodes, and NumPy arrays of either.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Final

import numpy
import optree

from chainrule import forking
from chainrule.array_elements import objects
from chainrule.arrays import NodeArray, is_masked
from chainrule.comparing import ConditionNode
from chainrule.engine import ENGINE
from chainrule.node import BinaryOpNode, Node, OperationNode, PowOp, ReLUNode, TanhNode
from chainrule.rules import described, to_float

Shape = tuple[int, ...]

PLAIN = frozenset([float, Node, OperationNode, BinaryOpNode, ReLUNode, TanhNode, PowOp])
_LEAVES = PLAIN | {numpy.ndarray}
_RESULTS = _LEAVES | {numpy.float64, int}
_FLOAT = frozenset([float])
_SEQUENCES: Final = frozenset([list, tuple])


class Operands:
    """An array of what a trace gives, without nodes: it stands for itself in a tree, as a leaf.

    Args:
        rows: operands of the recording.
        shape: of the array; None for a number.
    """

    def __init__(self, rows: Any, shape: Shape | None) -> None:
        self.rows = rows
        self.shape = shape


@dataclass(frozen=True)
class Layout:
    """The structure of a tree whose leaves are numbers (shape None) or arrays of them.

    Attributes:
        structure: of the tree.
        shapes: of its leaves.
        truths: the numbers of the leaves that hold truth values.
        flat: list or tuple, where it is known to be one of numbers alone.
    """

    structure: Any
    shapes: tuple[Shape | None, ...]
    truths: frozenset[int] = frozenset()
    flat: Callable[[Sequence[Any]], Any] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        """Numbers and arrays in words, in their place in the tree."""
        if self.truths:
            shapes = [(i in self.truths, shape) for i, shape in enumerate(self.shapes)]
            return str(unflatten(self.structure, [_Leaf(shape, truth) for truth, shape in shapes]))
        if self.structure.is_leaf():
            return "a number" if self.shapes[0] is None else f"an array of shape {self.shapes[0]}"
        text = str(unflatten(self.structure, [_Leaf(shape) for shape in self.shapes]))
        return text if len(text) <= 100 else text[:97] + "..."

    @property
    def is_number(self) -> bool:
        """Whether the tree is a number, or an array of no axes."""
        if self.truths:
            return False
        return self.shapes in ((None,), ((),)) and bool(self.structure.is_leaf())

    @property
    def size(self) -> int:
        """How many numbers the tree holds."""
        return sum(size_of(shape) for shape in self.shapes)

    def unflatten(self, values: Sequence[Any]) -> Any:
        """The tree that holds some numbers or nodes, in order."""
        if self is NUMBER:
            return values[0]
        if self.flat is not None:
            return self.flat(values)
        if self.all_numbers:
            return unflatten(self.structure, values)
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
        for i in self.truths:
            leaves[i] = truth_of(leaves[i])
        return unflatten(self.structure, leaves)

    def unflatten_operands(self, rows: Any) -> Any:
        """The tree that holds what a trace gives in the place of nodes."""
        ends = itertools.accumulate(map(size_of, self.shapes))
        parts = [
            Operands(rows[end - size_of(shape) : end], shape)
            for shape, end in zip(self.shapes, ends, strict=True)
        ]
        return unflatten(self.structure, parts)

    @forking.computed_once
    def all_numbers(self) -> bool:
        """Whether its leaves are numbers, and none a truth value."""
        return not self.truths and not any(shape is not None for shape in self.shapes)

    @forking.computed_once
    def _runs(self) -> tuple[Any, list[tuple[Any, Shape | None, int]]]:
        """The tree with lists and tuples of equal leaves as its leaves, and runs of these in order.

        A run is a list or tuple, with its type, or leaves that follow each other, with None; then
        the shape and the number of the leaves in it.
        """
        shapes = self.shapes

        def is_run(part: Any) -> bool:
            if self.truths or type(part) not in (list, tuple) or not part:
                return False
            return all(type(i) is int for i in part) and len({shapes[i] for i in part}) == 1

        whole = unflatten(self.structure, range(len(shapes)))
        parts, structure = optree.tree_flatten(
            whole, is_run, none_is_leaf=True, namespace="chainrule"
        )
        runs: list[tuple[Any, Shape | None, int]] = []
        for kind, same in itertools.groupby(
            parts, lambda x: (None, shapes[x]) if type(x) is int else (type(x), shapes[x[0]])
        ):
            if kind[0] is None:
                runs.append((*kind, len([*same])))
            else:
                runs += [(*kind, len(part)) for part in same]
        return structure, runs

    def unflatten_numbers(self, numbers: Any) -> Any:
        """The tree that holds the numbers of a float64 array, of which its arrays may be views."""
        structure, runs = self._runs
        leaves: list[Any] = []
        start = 0
        for kind, shape, count in runs:
            size = count * size_of(shape)
            part = numbers[start : start + size]
            start += size
            if shape is None:
                values = part.tolist()
            elif shape == () or 2 * size < len(numbers):
                arrays = part.reshape(count, *shape)
                values = [arrays[k, ...].copy() for k in range(count)]
            else:  # most of the memory that they share is theirs
                values = list(part.reshape(count, *shape))
            if kind is None:
                leaves += values
            else:
                leaves.append(values if kind is list else tuple(values))
        for i in self.truths:
            leaves[i] = truth_of(leaves[i])
        return unflatten(structure, leaves)


class _Long(Layout):
    """That of a long list or tuple of numbers, whose structure few ask for.

    Args:
        kind: list or tuple.
        count: how many there are.
    """

    def __init__(self, kind: Any, count: int) -> None:
        self.__dict__.update(shapes=(None,) * count, truths=frozenset(), flat=kind)

    @forking.computed_once
    def structure(self) -> Any:
        """Of the tree."""
        return _structure(self.__dict__["flat"]((0.0,) * len(self.shapes)))


def _structure(tree: Any) -> Any:
    return optree.tree_structure(tree, none_is_leaf=True, namespace="chainrule")


NUMBER = Layout(_structure(0.0), (None,))
"""The layout of a number."""


FEW = 16
"""Tuples of up to so many numbers and arrays, as most arguments are, are flattened here."""


_ALONE = operator.itemgetter(0)


@functools.lru_cache(maxsize=1000)
def _of(kind: Any, shapes: tuple[Shape | None, ...]) -> Layout:
    """The layout of a list or tuple of numbers and arrays, or of one alone."""
    numbers = all(shape is None for shape in shapes)
    return Layout(_structure(kind((0.0,) * len(shapes))), shapes, flat=kind if numbers else None)


_FLAT: Final = {
    kind: tuple([_of(kind, (None,) * n) for n in range(FEW + 1)]) for kind in (list, tuple)
}
"""The layouts of lists and tuples of a few numbers, by their lengths."""


def flat(tree: Any) -> tuple[list[Any], Layout] | None:
    """What :func:`flatten` gives for a number or node, or a list or tuple of a few; else None."""
    kind = type(tree)
    if kind in PLAIN:
        return [tree], NUMBER
    if kind in _FLAT and len(tree) <= FEW and PLAIN.issuperset(map(type, tree)):
        return [*tree], _FLAT[kind][len(tree)]
    return None


def _flat_tuple(leaves: tuple[Any, ...]) -> tuple[list[Any], Layout] | None:
    """A tuple of numbers, nodes and arrays, flat; None for arrays of other than 64-bit floats."""
    values: list[Any] = []
    shapes: list[Shape | None] = []
    for leaf in leaves:
        if type(leaf) is not numpy.ndarray:
            values.append(leaf)
            shapes.append(None)
        elif leaf.dtype.char == "d":
            values += leaf.ravel().tolist()
            shapes.append(leaf.shape)
        else:
            return None
    return values, _of(tuple, tuple(shapes))


@dataclass(frozen=True, repr=False)
class _Leaf:
    """What stands for a leaf in a text."""

    shape: Shape | None
    truth: bool = False

    def __repr__(self) -> str:
        if self.shape is None:
            return "truth value" if self.truth else "number"
        return f"array{self.shape}{' of truth values' if self.truth else ''}"


def truth_of(leaf: Any) -> Any:
    """A bool, or an array of them, for numbers or nodes that are 1.0 or 0.0."""
    if isinstance(leaf, numpy.ndarray):
        numbers = [x._number if isinstance(x, Node) else x for x in leaf.ravel().tolist()]
        return (numpy.array(numbers, dtype=float) != 0.0).reshape(leaf.shape)
    return bool((leaf._number if isinstance(leaf, Node) else leaf) != 0.0)


def size_of(shape: Shape | None) -> int:
    """How many numbers an array of a shape holds; 1 for a plain number."""
    size = 1
    for n in shape or ():
        size *= n
    return size


def array_of(values: Sequence[Any], shape: Shape) -> Any:
    """An array of numbers, or a :class:`NodeArray` if some are nodes."""
    if not _FLOAT.issuperset(map(type, values)) and any(isinstance(x, Node) for x in values):
        array: Any = objects(values).view(NodeArray)
    else:
        array = numpy.array(values, dtype=numpy.float64)
    return array.reshape(shape)


def as_arrays_of(tree: Any, original: Any) -> Any:
    """A tree whose arrays of nodes are of the classes that they have in another one like it."""
    if type(original) in _LEAVES:
        return tree
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


def flatten(
    tree: Any, what: str, advice: str = "", truths: bool = False
) -> tuple[list[Any], Layout]:
    """The numbers and nodes of a tree, in order, and its layout; truth values too if ``truths``.

    Raises:
        TypeError: if a leaf is neither number, node nor array of them; ``what`` names the tree.
    """
    plain = flat(tree)
    if plain is not None:
        return plain
    if type(tree) in _FLAT and PLAIN.issuperset(map(type, tree)):
        return [*tree], _Long(type(tree), len(tree))
    if type(tree) is numpy.float64:
        return [float(tree)], NUMBER
    if type(tree) is numpy.ndarray and tree.dtype.char == "d":
        return tree.ravel().tolist(), _of(_ALONE, (tree.shape,))
    if type(tree) is tuple and len(tree) <= FEW and _LEAVES.issuperset(map(type, tree)):
        pair = _flat_tuple(tree)
        if pair is not None:
            return pair
    leaves, structure = leaves_of(tree)
    values: list[Any] = []
    shapes: list[Shape | None] = []
    true_or_false = set()
    for leaf in leaves:
        if type(leaf) in PLAIN:
            values.append(leaf)
            shapes.append(None)
        elif truths and is_truth(leaf):
            true_or_false.add(len(shapes))
            array = numpy.asarray(leaf)
            shapes.append(array.shape if isinstance(leaf, numpy.ndarray) else None)
            values.extend([float(x) if isinstance(x, bool) else x for x in array.ravel().tolist()])
        elif isinstance(leaf, Node):
            values.append(leaf)
            shapes.append(None)
        elif isinstance(leaf, numpy.ndarray):
            values.extend(_elements(leaf, what, advice))
            shapes.append(leaf.shape)
        elif isinstance(leaf, Operands):
            values.append(leaf)
            shapes.append(leaf.shape)
        elif is_number(leaf):
            values.append(to_float(leaf, what))
            shapes.append(None)
        else:
            raise TypeError(
                f"{what} holds {described(leaf)}, not numbers, nodes or arrays of them{advice}"
            )
    return values, Layout(structure, tuple(shapes), frozenset(true_or_false))


def is_truth(leaf: object) -> bool:
    """Whether it is a truth value, a comparison in a trace, or an array of these."""
    if isinstance(leaf, numpy.ndarray):
        if leaf.dtype.kind == "O" and leaf.size:
            return all(isinstance(x, (bool, ConditionNode)) for x in leaf.ravel().tolist())
        return bool(leaf.dtype.kind == "b")
    return isinstance(leaf, (bool, numpy.bool_, ConditionNode))


def _elements(array: Any, what: str, advice: str) -> list[Any]:
    if is_masked(array):
        raise TypeError(
            f"{what} holds a masked array, not numbers, nodes or arrays of them{advice}"
        )
    array = array.view(numpy.ndarray)  # a matrix does not become flat
    kind = array.dtype.kind
    if kind in "fiu":
        elements: list[Any] = array.astype(numpy.float64, copy=False).ravel().tolist()
        return elements
    if kind == "O":
        elements = array.ravel().tolist()
        others = [kind for kind in set(map(type, elements)) if not issubclass(kind, Node)]
        for i, x in enumerate(elements if others else ()):
            if isinstance(x, Node):
                continue
            if not is_number(x):
                raise TypeError(
                    f"{what} holds an array with {described(x)}, not numbers and nodes{advice}"
                )
            elements[i] = to_float(x, what)
        return elements
    raise TypeError(f"{what} holds an array of {array.dtype}, not of numbers or nodes{advice}")


def unflatten(structure: Any, leaves: Sequence[Any]) -> Any:
    """The tree of a structure with some leaves."""
    return optree.tree_unflatten(structure, list(leaves))


def depth_of(tree: Any, structure: Any) -> int | None:
    """How deep lists and tuples lie in one another in a tree; None if it has nodes of other kinds.

    Args:
        tree: it.
        structure: that of it, or of another one whose leaves are no lists and tuples either.
    """
    depth = n_nodes = n_leaves = 0
    level = [tree]
    while level:
        n_nodes += len(level)
        kinds = set(map(type, level))
        inner = kinds & _SEQUENCES
        if kinds - _SEQUENCES:
            sequences = [x for x in level if type(x) in _SEQUENCES] if inner else []
            n_leaves += len(level) - len(sequences)
            level = sequences
        depth += bool(inner)
        level = [*itertools.chain.from_iterable(level)]
    # What looks like a leaf and is none has a node more than leaves.
    is_plain = n_nodes == structure.num_nodes and n_leaves == structure.num_leaves
    return depth if is_plain else None


def is_plain(tree: Any) -> bool:
    """Whether it is made of numbers, nodes, arrays, tuples and lists alone."""
    kind = type(tree)
    return kind in _RESULTS or ((kind is tuple or kind is list) and all(map(is_plain, tree)))


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """A tree with a function applied to each leaf."""
    leaves, structure = leaves_of(tree)
    return unflatten(structure, [function(leaf) for leaf in leaves])


if ENGINE is not None:
    ENGINE.set_layouts(NUMBER, _FLAT[list], _FLAT[tuple])
    flat = ENGINE.flat
