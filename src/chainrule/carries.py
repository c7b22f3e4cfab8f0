"""What a loop hands from one iteration to the next, what it reads and leaves: trees, checked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy
import optree

from chainrule.arrays import NodeArray
from chainrule.node import Node
from chainrule.rules import described
from chainrule.trees import array_of, is_number, is_truth, truth_of


def leaves_of(tree: Any) -> tuple[list[Any], Any]:
    """The leaves of a tree and its structure; None is an empty tree."""
    leaves, structure = optree.tree_flatten(tree, namespace="chainrule")
    return list(leaves), structure


def _places(structure: Any, name: str) -> list[str]:
    """What Python calls the leaves of a tree of that name."""
    return [accessor.codify(name) for accessor in structure.accessors()]


def kind_of(leaf: Any) -> Any:
    """The kind of a leaf, None for one that is neither number, node, truth value nor array."""
    if isinstance(leaf, numpy.ndarray):
        return ("truths" if is_truth(leaf) else "array", leaf.shape)
    if isinstance(leaf, float):
        return "number"
    if is_truth(leaf):
        return "truth"
    return "number" if isinstance(leaf, Node) or is_number(leaf) else None


def _in_words(kind: Any) -> str:
    if isinstance(kind, tuple):
        what = "an array" if kind[0] == "array" else "an array of truth values"
        return f"{what} of shape {kind[1]}"
    return "a number" if kind == "number" else "a truth value"


class EndlessError(RuntimeError):
    """A while_loop does not end.

    Args:
        count: the iteration that left its value as it was; None if it goes on too long.
        most: the iterations after which it is taken to be endless.
    """

    def __init__(self, count: int | None, most: int) -> None:
        super().__init__(
            f"while_loop still goes on after {most:,} iterations; does it end? Its bound is"
            " max_iterations"
            if count is None
            else f"while_loop does not end: iteration {count} left its value as it was"
        )
        self.count = count
        self.most = most

    def __reduce__(self) -> Any:
        return type(self), (self.count, self.most)


class Carry:
    """The structure and kinds that a carry keeps.

    Args:
        initial: the first one.
        loop: what it is the carry of, for messages.

    Raises:
        TypeError: if a leaf is neither number, node, truth value nor array of these.
    """

    def __init__(self, initial: Any, loop: str) -> None:
        self._loop = loop
        leaves, self.structure = leaves_of(initial)
        self.kinds = [*map(kind_of, leaves)]
        if None in self.kinds:
            i = self.kinds.index(None)
            place = _places(self.structure, "carry")[i]
            raise TypeError(
                f"{loop}: {place} is {described(leaves[i])}, not a number, node or array of them"
            )

    def is_numeric(self) -> bool:
        """Whether it holds numbers and nodes alone."""
        return all(map(is_numeric, self.kinds))

    def of(self, values: Sequence[Any]) -> Any:
        """The carry of some numbers and nodes."""
        return self.structure.unflatten(shaped(self.kinds, values))

    def check(self, carry: Any) -> list[Any]:
        """The leaves of a later one.

        Raises:
            TypeError: if its structure is another one, or the kind of a leaf.
        """
        leaves, structure = leaves_of(carry)
        if structure != self.structure:
            raise TypeError(
                f"{self._loop}: the carry has another structure after an iteration:"
                f" {_shown(self.structure)} became {_shown(structure)}"
            )
        for i, (leaf, kind) in enumerate(zip(leaves, self.kinds, strict=True)):
            found = kind_of(leaf)
            if found != kind:
                place = _places(structure, "carry")[i]
                became = described(leaf) if found is None else _in_words(found)
                raise TypeError(
                    f"{self._loop}: {place} was {_in_words(kind)} and became {became}; a carry"
                    " keeps its structure and the shapes in it"
                )
        return leaves


def _shown(structure: Any) -> str:
    """A structure to read."""
    if structure.num_leaves == 1 and structure.is_leaf():
        return "a single leaf"
    text = str(structure).removeprefix("PyTreeSpec(").removesuffix(")")
    text = text.partition(", namespace=")[0]
    return text if len(text) <= 100 else text[:97] + "..."


class Columns:
    """Trees of arrays that a loop reads row by row.

    Args:
        xs: the tree; None for none.
        length: the number of rows, if it is given.
        loop: what reads them, for messages.

    Attributes:
        length: the number of rows.
        leaves: the arrays.

    Raises:
        TypeError: if a leaf is no array, or the number is not known or no whole number.
        ValueError: if lengths differ.
    """

    def __init__(self, xs: Any, length: Any, loop: str) -> None:
        self.leaves, self.structure = leaves_of(xs)
        self._rows: list[Any] | None = None  # made for plain loops
        if length is not None:
            length = whole_number(length, f"{loop}: the length")
            if length < 0:
                raise ValueError(f"{loop}: a length is not negative, but {length} is")
        for i, leaf in enumerate(self.leaves):
            place = _places(self.structure, "xs")[i]
            if not isinstance(leaf, numpy.ndarray) or not leaf.ndim:
                raise TypeError(
                    f"{loop}: {place} is {described(leaf)}, not an array with an axis to go along"
                )
            if length is None:
                length, first = len(leaf), place
            elif len(leaf) != length:
                other = f"the length {length}" if i == 0 else f"{first} has length {length}"
                raise ValueError(f"{loop}: {place} has length {len(leaf)}, but {other}")
            elif i == 0:
                first = place
            if leaf.dtype == object and not isinstance(leaf, NodeArray):
                self.leaves[i] = leaf.view(NodeArray)
        shapes = [leaf.shape[1:] for leaf in self.leaves]
        self._kinds = [("array", shape) if shape else "number" for shape in shapes]
        if length is None:
            raise TypeError(f"{loop} without xs takes a length")
        self.length: int = length

    def row(self, i: int) -> Any:
        """What iteration i reads."""
        if self._rows is None:
            self._rows = [leaf.tolist() if leaf.ndim == 1 else leaf for leaf in self.leaves]
        return self.structure.unflatten([rows[i] for rows in self._rows])

    def is_numeric(self) -> bool:
        """Whether they hold numbers and nodes alone."""
        return all(
            leaf.dtype.kind in "fiu" or (leaf.dtype.kind == "O" and leaf.holds_nodes())
            for leaf in self.leaves
        )

    def columns(self, reverse: bool) -> Iterator[Any]:
        """What the iterations read: an array for each number of a row."""
        for leaf in self.leaves:
            flat = leaf if leaf.ndim == 1 else leaf.reshape(len(leaf), -1)
            if reverse:
                flat = flat[::-1]
            yield from [flat] if leaf.ndim == 1 else [flat[:, j] for j in range(flat.shape[1])]

    def of(self, values: Sequence[Any]) -> Any:
        """A row of some numbers and nodes."""
        return self.structure.unflatten(shaped(self._kinds, values))

    def a_row(self) -> Any:
        """Something of the kind that an iteration would read, where there are no rows."""
        rows = [numpy.zeros(leaf.shape[1:]) for leaf in self.leaves]
        return self.structure.unflatten([row if row.ndim else 0.0 for row in rows])


class Stack:
    """What the iterations of a loop leave, stacked along a first axis.

    Args:
        loop: for messages.
    """

    def __init__(self, loop: str) -> None:
        self._loop = loop
        self.rows: list[list[Any]] = []
        self.structure: Any = None
        self.kinds: list[Any] = []

    def is_numeric(self) -> bool:
        """Whether it holds numbers and nodes alone."""
        return all(map(is_numeric, self.kinds))

    def append(self, y: Any) -> None:
        """Take what another iteration has left."""
        self.rows.append(self.check(y))

    def put(self, values: Sequence[Any]) -> None:
        """Take what another iteration has left as numbers and nodes."""
        self.rows.append(shaped(self.kinds, values))

    def check(self, y: Any) -> list[Any]:
        """The leaves of what an iteration has left.

        Raises:
            TypeError: if a leaf can't be stacked, or it is not like those before.
        """
        leaves, structure = leaves_of(y)
        kinds = [*map(kind_of, leaves)]
        if self.structure is None:
            self.structure, self.kinds = structure, kinds
            if None in kinds:
                i = kinds.index(None)
                place = _places(structure, "y")[i]
                raise TypeError(
                    f"{self._loop}: {place} is {described(leaves[i])}, not a number, node or array"
                    " of them"
                )
        elif structure != self.structure:
            raise TypeError(
                f"{self._loop}: what an iteration leaves has another structure than before:"
                f" {_shown(structure)}, not {_shown(self.structure)}"
            )
        elif kinds != self.kinds:
            i = next(i for i, kind in enumerate(kinds) if kind != self.kinds[i])
            place = _places(structure, "y")[i]
            became = described(leaves[i]) if kinds[i] is None else _in_words(kinds[i])
            raise TypeError(
                f"{self._loop}: {place} was {_in_words(self.kinds[i])} before and is {became}"
            )
        return leaves

    def stacked(self, reverse: bool = False) -> Any:
        """The tree of arrays."""
        rows = self.rows[::-1] if reverse else self.rows
        columns = []
        for i, kind in enumerate(self.kinds):
            column = [leaves[i] for leaves in rows]
            shape = kind[1] if isinstance(kind, tuple) else ()
            if shape or isinstance(kind, tuple):
                column = [x for array in column for x in array.ravel().tolist()]
            columns.append(stacked(column, (len(rows), *shape), kind))
        return self.structure.unflatten(columns)


def is_numeric(kind: Any) -> bool:
    """Whether leaves of a kind hold numbers and nodes."""
    return bool(kind == "number" or kind[0] == "array")


def values_in(leaves: Sequence[Any]) -> list[Any]:
    """The elements of numeric leaves."""
    values: list[Any] = []
    for leaf in leaves:
        values += leaf.ravel().tolist() if isinstance(leaf, numpy.ndarray) else [leaf]
    return values


def flattened(leaves: Sequence[Any]) -> list[Any]:
    """The numbers and nodes of numeric leaves."""
    return [x if isinstance(x, Node) else float(x) for x in values_in(leaves)]


def shaped(kinds: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Leaves of numeric kinds."""
    leaves: list[Any] = []
    start = 0
    for kind in kinds:
        if kind == "number":
            leaves.append(values[start])
            start += 1
        else:
            size = math.prod(kind[1])
            leaves.append(array_of(values[start : start + size], kind[1]))
            start += size
    return leaves


def stacked(values: Sequence[Any], shape: tuple[int, ...], kind: Any) -> Any:
    """An array of values of a kind."""
    if kind == "truth" or kind[0] == "truths":
        values = [x if isinstance(x, Node) else float(x) for x in values]
        return truth_of(array_of(values, shape))
    if values and all(type(x) is int for x in values):
        return numpy.array(values).reshape(shape)
    return array_of(values, shape)


def whole_number(x: Any, what: str) -> int:
    """A whole number that is known.

    Raises:
        TypeError: if x is none.
    """
    if isinstance(x, bool) or not hasattr(x, "__index__"):
        raise TypeError(f"{what} is a whole number, not {described(x)}")
    return int(x.__index__())
