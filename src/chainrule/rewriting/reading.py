"""What a loop goes through, as columns: arrays of which each iteration reads a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy

from chainrule.array_elements import objects
from chainrule.arrays import NodeArray
from chainrule.jit.indices import IndexArray, IndexNode, TracedArray
from chainrule.jit.inputs import WholeArray
from chainrule.node import Node
from chainrule.whole import WholeNode

if TYPE_CHECKING:
    from chainrule.jit.loops import Iteration

THROUGH: Final = (enumerate, reversed, zip)
"""What a loop may go through something else by."""
_ARRAYS: Final = (numpy.ndarray, NodeArray, TracedArray, IndexArray, WholeArray)


class Through:
    """A call of something of THROUGH, before it is made.

    Args:
        function: this.
        args: what it goes through.
        options: its keywords.

    Attributes:
        args: the same.
    """

    def __init__(self, function: Any, args: Sequence[Any], options: dict[str, Any]) -> None:
        self._function = function
        self.args = args
        self._options = options

    def made(self) -> Any:
        """What the call gives."""
        return self._function(*map(plainly, self.args), **self._options)

    def __len__(self) -> int:
        lengths = [*map(len, self.args[: 1 if self._function is enumerate else None])]
        return min(lengths, default=0)

    def reading(self) -> Reading | None:
        """It as columns."""
        if self._function is enumerate:
            start = [*self.args[1:], *self._options.values()] or [0]
            if len(start) > 1 or type(start[0]) is not int:
                return None
            parts = [range(start[0], start[0] + len(self)), self.args[0]]
            return _side_by_side(parts, len(self), tuple)
        if self._function is zip:
            if self._options.get("strict") and len({*map(len, self.args)}) > 1:
                return None
            return _side_by_side(self.args, len(self), tuple)
        if len(self.args) != 1 or isinstance(self.args[0], Through):
            return None
        found = reading(self.args[0])
        if found is None:
            return None
        return found._replace(leaves=[leaf[::-1] for leaf in found.leaves])


def parts_of(x: Any) -> list[Any]:
    """What is gone through, also by calls."""
    found = [x]
    for y in found:
        if type(y) is Through:
            found += y.args
    return found


def plainly(x: Any) -> Any:
    """What a loop goes through where it is plain."""
    return x.made() if type(x) is Through else x


class Reading(NamedTuple):
    """Columns.

    Attributes:
        leaves: arrays, of whose rows each iteration reads one.
        row: makes of these rows what an iteration reads.
    """

    leaves: list[Any]
    row: Callable[[list[Any]], Any]

    def of(self, iteration: Iteration, note: Callable[[Any, Any], None]) -> Any:
        """What stands for what any iteration reads.

        Args:
            iteration: the one that is recorded.
            note: takes what stands for plain numbers, and these.
        """
        return self.row([_row_of(leaf, iteration, note) for leaf in self.leaves])

    def at(self, numbers: Any) -> Reading:
        """What is read by other numbers, in their order."""
        return self._replace(leaves=[leaf[numbers] for leaf in self.leaves])


def _row_of(leaf: Any, iteration: Iteration, note: Callable[[Any, Any], None]) -> Any:
    def column(values: Any) -> Node:
        node = iteration.column(values)
        if not isinstance(node, WholeNode) and type(values) is not WholeArray:
            plain = [x for x in values.tolist() if not isinstance(x, Node)]
            if plain:
                note(node, numpy.array(plain, dtype=numpy.float64))
        return node

    if leaf.ndim == 1:
        return column(leaf)
    shape = leaf.shape[1:]
    flat = leaf.reshape(len(leaf), prod(shape))
    nodes = [column(flat[:, j]) for j in range(flat.shape[1])]
    kind = IndexArray if all(isinstance(x, IndexNode) for x in nodes) else TracedArray
    return objects(nodes).reshape(shape).view(kind)


def _only(rows: list[Any]) -> Any:
    return rows[0]


def _side_by_side(
    parts: Iterable[Any], length: int, kind: Callable[[Any], Any]
) -> Reading | None:
    """Several things that are read at once."""
    found: list[Reading] = []
    for part in parts:
        one = reading(part)
        if one is None:
            return None
        found.append(one)
    counts = [len(x.leaves) for x in found]

    def row(rows: list[Any]) -> Any:
        made, start = [], 0
        for one, count in zip(found, counts, strict=True):
            made.append(one.row(rows[start : start + count]))
            start += count
        return kind(made)

    return Reading([leaf[:length] for one in found for leaf in one.leaves], row)


def reading(x: Any) -> Reading | None:
    """Something as columns; None if it is not known how."""
    if type(x) is Through:
        return x.reading()
    if type(x) is range:
        if max(abs(x.start), abs(x.stop)) > 2**53:
            return None
        return Reading([numpy.arange(x.start, x.stop, x.step, dtype=numpy.int64)], _only)
    if isinstance(x, numpy.ndarray):
        return _of_array(x)
    if type(x) not in (list, tuple) or not x:
        return None
    kinds = set(map(type, x))
    if kinds == {int}:
        if max(map(abs, x)) > 2**53:
            return None
        return Reading([numpy.array(x, dtype=numpy.int64)], _only)
    if kinds <= {float, numpy.float64}:
        return Reading([numpy.array(x, dtype=numpy.float64)], _only)
    if len(kinds) == 1 and not kinds.isdisjoint({tuple, list}):
        if len(set(map(len, x))) > 1 or not x[0]:
            return None
        return _side_by_side([[*column] for column in zip(*x, strict=True)], len(x), kinds.pop())
    if all(kind in _ARRAYS for kind in kinds):
        shapes = {row.shape for row in x}
        if len(shapes) > 1 or () in shapes or not x[0].size or len({row.dtype for row in x}) > 1:
            return None
        array = numpy.stack([row.view(numpy.ndarray) for row in x])
        return _of_array(array)
    if all(kind is float or _is_number(kind) for kind in kinds) or kinds == {IndexNode}:
        return Reading([objects(x).view(NodeArray)], _only)
    return None


def _is_number(kind: type) -> bool:
    return issubclass(kind, Node) and not issubclass(kind, WholeNode)


def _of_array(x: Any) -> Reading | None:
    if type(x) not in _ARRAYS or not x.ndim or not x.size:
        return None
    if type(x) is WholeArray or x.dtype.kind in "iuf":
        return Reading([x], _only)
    if x.dtype.kind != "O":
        return None
    kinds = set(map(type, x.ravel().tolist()))
    if all(kind is float or _is_number(kind) for kind in kinds) or kinds == {IndexNode}:
        return Reading([x.view(NodeArray) if type(x) is numpy.ndarray else x], _only)
    return None
