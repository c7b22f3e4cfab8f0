"""Whole numbers that are known only when the compiled code runs, and tables they look up.

The elements of an integer array are indices: ``table[i]`` reads the element of an array at run
time, and its gradient goes back to that element. Arithmetic with whole numbers keeps them indices;
with anything else they are numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from chainrule import rules
from chainrule.arrays import NodeArray
from chainrule.node import Node, apply
from chainrule.rules import Operation, described
from chainrule.tracebacks import boundary


class IndexNode(Node):
    """A whole number in a trace."""

    @staticmethod
    def of(node: Node) -> IndexNode:
        """The index that has the value of a node."""
        index = IndexNode(node._data)
        index._operation = rules.identity
        index._a = node
        index._level = node._level
        return index

    standing_for = of

    def __index__(self) -> int:
        """The number itself, found by guards: it becomes part of the trace."""
        if not self >= 0:
            positive: int = (-self).__index__()
            return -positive
        high = 1
        while not self < high:
            high *= 2
        low = 0
        while high - low > 1:
            middle = (low + high) // 2
            if self < middle:
                high = middle
            else:
                low = middle
        return low

    def __add__(self, other: object) -> Any:
        return _whole(super().__add__(other), other)

    def __radd__(self, other: object) -> Any:
        return _whole(super().__radd__(other), other)

    def __sub__(self, other: object) -> Any:
        return _whole(super().__sub__(other), other)

    def __rsub__(self, other: object) -> Any:
        return _whole(super().__rsub__(other), other)

    def __mul__(self, other: object) -> Any:
        return _whole(super().__mul__(other), other)

    def __rmul__(self, other: object) -> Any:
        return _whole(super().__rmul__(other), other)

    def __floordiv__(self, other: object) -> Any:
        return _whole(super().__floordiv__(other), other)

    def __mod__(self, other: object) -> Any:
        return _whole(super().__mod__(other), other)

    def __neg__(self) -> Any:
        return IndexNode.of(super().__neg__())

    def __abs__(self) -> Any:
        return IndexNode.of(super().__abs__())

    def __int__(self) -> int:
        return self.__index__()

    def _apply(self, operation: Operation, operands: Sequence[object]) -> Any:
        result = super()._apply(operation, operands)
        return _whole(result, *operands) if operation in _KEEP_WHOLE else result

    def __round__(self, digits: Any = None) -> Any:
        return self if digits is None else super().__round__(digits)


_KEEP_WHOLE = (rules.maximum, rules.minimum, rules.sign, rules.floor, rules.ceil, rules.trunc)


def _whole(result: Any, *others: object) -> Any:
    """The result of arithmetic of an index: an index if the other numbers are whole too."""
    whole = all(
        isinstance(x, (int, numpy.integer, IndexNode)) and not isinstance(x, bool) for x in others
    )
    return IndexNode.of(result) if whole and isinstance(result, Node) else result


class TracedArray(NodeArray):
    """An array of nodes whose elements can be looked up by an :class:`IndexNode`."""

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        if any(isinstance(k, IndexArray) for k in keys):
            return _looked_up_by_arrays(self, keys)
        if any(isinstance(k, IndexNode) for k in keys):
            return _looked_up(self, key)
        return super().__getitem__(key)


class IndexArray(TracedArray):
    """An array of indices."""


@boundary
def take(table: Any, index: Any) -> Any:
    """``table[index]``, also for lists: the way to look up by an index that is data.

    Compiled, an element is read at run time by the index of the call; ``table[index]`` does that
    only for arrays that are arguments of the compiled function, as Python asks a list's or another
    array's index for its number. With a plain whole number it is ``table[index]``.

    Args:
        table: a list, or nested lists of one shape, or an array, of numbers and nodes.
        index: a whole number, or an element of an integer array, or such an array.

    Raises:
        IndexError: if the index is outside the table.
        TypeError: if it is no whole number.
    """
    if isinstance(index, IndexNode):
        if isinstance(table, dict):
            raise TypeError("take looks up lists and arrays, not dicts")
        return _looked_up(_as_array(table), index)
    if isinstance(index, IndexArray):
        return _looked_up_by_arrays(_as_array(table), (index,))
    if isinstance(index, numpy.ndarray) and index.dtype.kind in "iu":
        return numpy.asarray(table)[index]
    if isinstance(index, (int, numpy.integer)) and not isinstance(index, bool):
        return table[index]
    raise TypeError(f"take: an index is a whole number, not {described(index)}")


def _as_array(table: Any) -> Any:
    if isinstance(table, numpy.ndarray):
        return table.view(numpy.ndarray)
    if len(table) and isinstance(table[0], (list, tuple, numpy.ndarray)):
        rows = [_as_array(row) for row in table]
        if len({row.shape for row in rows}) > 1:
            raise ValueError("take: the rows of a table must have one length")
        return numpy.stack([row.astype(object) for row in rows])
    array = numpy.empty(len(table), dtype=object)
    array[:] = list(table)
    return array


def _looked_up(table: Any, key: Any) -> Any:
    """The element, or array of them, at a key that holds an IndexNode."""
    plain = table.view(numpy.ndarray)
    keys = list(key) if isinstance(key, tuple) else [key]
    axis = next(i for i, k in enumerate(keys) if isinstance(k, IndexNode))
    if any(k is Ellipsis or k is None for k in keys):
        raise TypeError("a table is looked up by whole numbers and slices, not ... or None")
    index = keys[axis]
    # The slices before the index keep their axes; they say at which axis it now looks.
    before = [k if not isinstance(k, IndexNode) else slice(None) for k in keys[:axis]]
    plain = plain[tuple(before)] if before else plain
    kept = sum(isinstance(k, slice) for k in before)
    length = plain.shape[kept]
    if not (index >= -length) & (index < length):
        raise IndexError(f"index {index._data:.0f} is outside a table of {length}")
    index = IndexNode.of(apply(rules.where, (index < 0, index + length, index)))  # no branch
    moved = numpy.moveaxis(plain, kept, 0)
    found = numpy.empty(moved.shape[1:], dtype=object)
    columns = moved.reshape(length, -1)
    flat = [_gather(index, columns[:, j].tolist()) for j in range(columns.shape[1])]
    found.reshape(-1)[:] = flat
    rest = (slice(None),) * kept + tuple(keys[axis + 1 :])
    result = found.view(TracedArray)[rest] if keys[axis + 1 :] else found.view(TracedArray)
    return result[()] if isinstance(result, numpy.ndarray) and result.ndim == 0 else result


def _looked_up_by_arrays(table: Any, keys: tuple[Any, ...]) -> Any:
    """The elements at arrays of indices, in the order and shape that NumPy gives them."""
    if any(k is Ellipsis or k is None for k in keys):
        raise TypeError("a table is looked up by whole numbers and slices, not ... or None")
    places = [i for i, k in enumerate(keys) if not isinstance(k, slice)]
    arrays = numpy.broadcast_arrays(*[_index_array(keys[i]) for i in places])
    shape = arrays[0].shape
    rows = []
    for indices in zip(*[array.ravel().tolist() for array in arrays], strict=True):
        own = list(keys)
        for i, index in zip(places, indices, strict=True):
            own[i] = index
        row = numpy.empty((), dtype=object)
        row[()] = table.view(TracedArray)[tuple(own)]
        rows.append(row[()])
    inner = numpy.shape(rows[0]) if rows else ()
    found = numpy.empty((len(rows), *inner), dtype=object)
    for i, row in enumerate(rows):
        found[i] = row
    found = found.reshape((*shape, *inner))
    if places == list(range(places[0], places[0] + len(places))):  # else they come first
        first = sum(isinstance(k, slice) for k in keys[: places[0]])
        at = range(len(shape))
        found = numpy.moveaxis(found, list(at), [first + i for i in at])
    return found.view(TracedArray)


def _index_array(key: Any) -> Any:
    """An array of the indices in a key.

    Raises:
        IndexError: if there is something else among them.
    """
    array = numpy.empty((), dtype=object)
    array[()] = key
    array = key.view(numpy.ndarray) if isinstance(key, numpy.ndarray) else array
    for k in array.ravel().tolist():
        if not isinstance(k, (int, IndexNode)) or isinstance(k, bool):
            raise IndexError(f"an index is a whole number, not {described(k)}")
    return array


def _gather(index: IndexNode, table: Sequence[Any]) -> Any:
    return apply(rules.gather, (index, *table))
