"""Whole numbers that are known only when the compiled code runs, and tables they look up.

The elements of an integer array are indices: ``table[i]`` reads the element of an array at run
time, and its gradient goes back to that element. Arithmetic with whole numbers keeps them indices;
with anything else they are numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy

from chainrule import array_conditions as conditions
from chainrule import math, rules
from chainrule.annotations import users_line
from chainrule.array_elements import objects
from chainrule.arrays import NodeArray
from chainrule.comparing import ConditionNode
from chainrule.engine import ENGINE
from chainrule.node import Node, apply, with_other
from chainrule.rules import Operation, described
from chainrule.tracebacks import boundary
from chainrule.tracing import PROGRESS
from chainrule.whole import SEQUENCES, WholeNode, found_by_guards

from . import whole
from .bounds import OUTSIDE

if TYPE_CHECKING:
    from .tables import RecordedTables


MANY: Final = 64
"""Look-ups by an array from which on one stands for all."""


class IndexNode(WholeNode):
    """A whole number in a trace."""

    _bound: int | None = None

    @staticmethod
    def of(node: Node, bound: int | None = None) -> IndexNode:
        """The index that has the value of a node, and maybe a bound of its absolute value."""
        index = IndexNode(rules.identity, node._number, node, None, None)
        index._bound = bound
        return index

    standing_for = of

    def __index__(self) -> int:
        """The number itself, found by guards: it becomes part of the trace.

        Raises:
            IndicesWanted: if there are many such, and all may be known.
        """
        recorder: Any = PROGRESS.recorder
        if recorder is not None:
            recorder.note_index()
        return found_by_guards(self)

    def columns(self, rows: Any) -> list[Any] | None:
        """The elements of a row, where it is known for each iteration of a loop which one."""
        return None

    @property
    def bound(self) -> int:
        """What the absolute value does not exceed; of an input it is found by a guard, once."""
        if self._bound is None:
            small = _holds(Node.__abs__(self) <= whole.SMALL)
            self._bound = whole.SMALL if small else whole.LARGEST
        return self._bound

    def _with(self, other: Any, symbol: str, swapped: bool) -> Any:
        """An operator with something else: as on ints if that is a whole number.

        Raises:
            ZeroDivisionError: for a divisor of 0.
            OverflowError: if the result is not exact.
        """
        a, b = (other, self) if swapped else (self, other)
        if symbol in ("/", "//", "%") and (is_whole(other) or type(other) is float) and b == 0:
            raise ZeroDivisionError("division by zero")
        if not is_whole(other):
            if symbol == "*" and isinstance(other, SEQUENCES):
                return NotImplemented  # so many times, which asks for an index
            return with_other(self, other, symbol, swapped)
        if not isinstance(other, Node):
            other = whole.exact(int(other))
            a, b = (other, self) if swapped else (self, other)
        result = with_other(self, other, symbol, swapped)
        if symbol == "/":
            return result
        if symbol in ("*", "//", "%") and not _has_no_sign_of_zero(self, other, symbol, swapped):
            result = apply(rules.add, (result, 0.0))  # ints have no -0.0
        if symbol == "//":
            bound = bound_of(a)
        elif symbol == "%":
            bound = bound_of(b)
        elif symbol == "*":
            bound = bound_of(a) * bound_of(b)
        else:
            bound = bound_of(a) + bound_of(b)
        return checked(result, bound)

    def __truediv__(self, other: object) -> Any:
        return self._with(other, "/", False)

    def __rtruediv__(self, other: object) -> Any:
        return self._with(other, "/", True)

    def __divmod__(self, other: object) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: object) -> Any:
        return other // self, other % self

    def __pow__(self, other: object, modulus: object = None) -> Any:
        if not is_whole(other):
            return super().__pow__(other)
        return whole.power(self, other, modulus)

    def __rpow__(self, other: object) -> Any:
        if is_whole(other):
            return whole.power(other, self, None)
        if type(other) is float and other == 0.0 and self < 0:
            raise ZeroDivisionError("0.0 cannot be raised to a negative power")
        return super().__rpow__(other)

    def __lshift__(self, other: object) -> Any:
        return _bits(whole.shifted_left, "left_shift", self, other)

    def __rlshift__(self, other: object) -> Any:
        return _bits(whole.shifted_left, "left_shift", other, self)

    def __rshift__(self, other: object) -> Any:
        return _bits(whole.shifted_right, "right_shift", self, other)

    def __rrshift__(self, other: object) -> Any:
        return _bits(whole.shifted_right, "right_shift", other, self)

    def __and__(self, other: object) -> Any:
        return _bits(whole.bits_and, "bitwise_and", self, other)

    def __or__(self, other: object) -> Any:
        return _bits(whole.bits_or, "bitwise_or", self, other)

    def __xor__(self, other: object) -> Any:
        return _bits(whole.bits_xor, "bitwise_xor", self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __neg__(self) -> Any:
        return IndexNode.of(with_other(self, 0.0, "-", True), self.bound)  # no -0.0

    def __abs__(self) -> Any:
        return IndexNode.of(super().__abs__(), self.bound)

    def _apply(self, operation: Operation, operands: Sequence[object]) -> Any:
        result = super()._apply(operation, operands)
        if operation not in _KEEP_WHOLE or not all(map(is_whole, operands)):
            return result
        return IndexNode.of(result, max(map(bound_of, operands)))


_KEEP_WHOLE: Final = (
    rules.maximum,
    rules.minimum,
    rules.sign,
    rules.floor,
    rules.ceil,
    rules.trunc,
)


def is_whole(x: object) -> bool:
    """Whether x is a whole number, or is one in a trace."""
    return isinstance(x, (int, numpy.integer, numpy.bool_, WholeNode))


def _has_no_sign_of_zero(x: IndexNode, other: Any, symbol: str, swapped: bool) -> bool:
    """Whether a product, quotient or remainder of whole numbers is no -0.0 as a float."""
    if isinstance(other, Node):
        return other is x
    return other > 0 and (symbol == "*" or not swapped)


def bound_of(x: Any) -> int:
    """What the absolute value of a whole number does not exceed."""
    if isinstance(x, IndexNode):
        return x.bound
    if isinstance(x, WholeNode):
        return 1 if isinstance(x, ConditionNode) else whole.LARGEST
    return abs(int(x))


def _bits(function: Callable[[Any, Any], Any], ufunc: str, a: Any, b: Any) -> Any:
    """A shift or an operation on bits of whole numbers, or of one and an array of them."""
    if is_whole(a) and is_whole(b):
        return function(a, b)
    if isinstance(a, numpy.ndarray) or isinstance(b, numpy.ndarray):
        arrays = [x.astype(object) if isinstance(x, numpy.ndarray) else x for x in (a, b)]
        return getattr(numpy, ufunc)(*arrays)
    return NotImplemented


def _holds(condition: Any) -> bool:
    """Whether a condition does, without which an exception is raised."""
    recorder: Any = PROGRESS.recorder
    if recorder is None or not isinstance(condition, Node):
        return bool(condition)
    if recorder.presumes or recorder.notes_failures:
        if isinstance(condition, ConditionNode):
            condition.asked = True
        if not recorder.presumes:  # else the loop has noted it
            recorder.note_failed(OUTSIDE, apply(rules.where, (condition, 0.0, 1.0)))
        return True
    return bool(recorder.speculation.holds(condition))


def checked(result: Node, bound: int) -> IndexNode:
    """The index that has the value of a node, which a guard checks to be exact if it must.

    Raises:
        OverflowError: if it is not.
    """
    if bound >= whole.LARGEST:
        if not _holds(Node.__abs__(result) < whole.LARGEST):
            raise OverflowError(
                f"a whole number at {users_line()} comes to {result._number:.6g}: in compiled code"
                " they are exact below 2**53 only; compute with floats (1.0 * k), or outside"
            )
        bound = whole.LARGEST - 1
    return IndexNode.of(result, bound)


class OutsideTableError(IndexError):
    """An index is outside of what it looks up.

    Attributes:
        lane: where there are several, that of the index.
    """

    def __init__(self, index: int, length: int) -> None:
        super().__init__(index, length)
        self.lane: int | None = None

    def __str__(self) -> str:
        index, length = self.args
        lane = "" if self.lane is None else f", at lane {self.lane}"
        return f"index {index} is outside a table of {length}{lane}"


class _ElementReader:
    """Reads elements of an array: see ``_engine/elements.c``, which goes straight to NumPy."""

    def __getitem__(self, key: Any) -> Any:
        return self._element(key)

    def _element(self, key: Any) -> Any:
        """The element or part for a key of any kind."""
        raise NotImplementedError


if ENGINE is None or TYPE_CHECKING:
    ElementReader = _ElementReader
else:
    ElementReader = ENGINE.ElementReader
    ENGINE.set_array_type(numpy.ndarray)


class TracedArray(ElementReader, NodeArray):
    """An array of nodes whose elements can be looked up by an :class:`IndexNode`."""

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __iter__(self) -> Iterator[Any]:
        if self.ndim == 1 and not self.flags.writeable:  # a loop that sets elements sees them set
            return iter(self.tolist())
        return super().__iter__()

    def _element(self, key: Any) -> Any:
        keys = key if type(key) is tuple else (key,)
        if any(map(conditions.hold, keys)):
            keys = tuple(map(conditions.plain, keys))
            key = keys if isinstance(key, tuple) else keys[0]
        if any(isinstance(k, WholeNode) for k in keys):
            keys = tuple([_index(k) for k in keys])
            key = keys if isinstance(key, tuple) else keys[0]
        if any(map(holds_indices, keys)):
            return _looked_up_by_arrays(self, keys)
        if any(isinstance(k, IndexNode) for k in keys):
            return _looked_up(self, key)
        return NodeArray.__getitem__(self, key)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function is numpy.take and len(args) > 1 and holds_indices(args[1]):
            return taken(*args, **kwargs)
        return super().__array_function__(function, types, args, kwargs)

    def __setitem__(self, key: Any, value: Any) -> None:
        if conditions.hold(key):
            if key.shape == self.shape and numpy.ndim(value) == 0:  # no branch
                key, value = ..., numpy.where(key, value, self)
            else:
                key = conditions.plain(key)
        super().__setitem__(key, value)


class IndexArray(TracedArray):
    """An array of indices."""


def taken(a: Any, indices: Any, axis: int | None = None, **options: Any) -> Any:
    """``numpy.take``, also by whole numbers of a trace."""
    if options or not (isinstance(indices, IndexNode) or holds_indices(indices)):
        return numpy.take(a, indices, axis, **options)
    table = numpy.asanyarray(a)
    if axis is None:
        return take_at(table.reshape(-1), (indices,))
    return take_at(table, (*[slice(None)] * (axis % table.ndim), indices))


@boundary
def take(table: Any, index: Any) -> Any:
    """``table[index]``, also for lists: the way to look up by an index that is data.

    Compiled, an element is read at run time by the index of the call. ``table[index]`` does that
    too for arrays that are arguments of the compiled function, and for lists and other arrays where
    the source of the code is found; elsewhere Python asks such an index for its number, a path for
    each. With a plain whole number it is ``table[index]``.

    Args:
        table: a list, or nested lists of one shape, or an array, of numbers and nodes.
        index: a whole number, or an element of an integer array, or such an array.

    Raises:
        IndexError: if the index is outside the table.
        TypeError: if it is no whole number.
    """
    if isinstance(index, WholeNode) and not isinstance(index, ConditionNode):
        index = _index(index) if PROGRESS.recorder is not None else index.__index__()
    if isinstance(index, IndexNode):
        if isinstance(table, dict):
            raise TypeError("take looks up lists and arrays, not dicts")
        return _looked_up(table if isinstance(table, TracedArray) else _as_array(table), index)
    if holds_indices(index):
        return _looked_up_by_arrays(_as_array(table), (index,))
    if isinstance(index, numpy.ndarray) and index.dtype.kind in "iu":
        return numpy.asarray(table)[index]
    if isinstance(index, (int, numpy.integer)) and not isinstance(index, bool):
        return table[index]
    raise TypeError(f"take: an index is a whole number, not {described(index)}")


def take_at(table: Any, keys: tuple[Any, ...]) -> Any:
    """What an array has at whole numbers, of which some are those of a trace."""
    if any(map(holds_indices, keys)):
        return _looked_up_by_arrays(table, keys)
    return _looked_up(table, tuple(map(_index, keys)))


def holds_indices(key: Any) -> bool:
    """Whether a key is an array of indices."""
    if isinstance(key, IndexArray) or not isinstance(key, TracedArray) or not key.size:
        return isinstance(key, IndexArray)
    whole = getattr(key, "_whole", None)
    if whole is not None:
        return bool(whole.indices)
    return all(isinstance(k, IndexNode) for k in key.flat)


def _index(key: Any) -> Any:
    """A key of a traced array: an index for a whole number; a comparison is a bool, a mask."""
    if isinstance(key, ConditionNode):
        return bool(key)
    if isinstance(key, WholeNode) and not isinstance(key, IndexNode):
        return IndexNode.of(key)
    return key


def _as_array(table: Any) -> Any:
    if isinstance(table, numpy.ndarray):
        return table.view(numpy.ndarray)
    if len(table) and isinstance(table[0], (list, tuple, numpy.ndarray)):
        rows = [_as_array(row) for row in table]
        if len({row.shape for row in rows}) > 1:
            raise ValueError("take: the rows of a table must have one length")
        return numpy.stack([row.astype(object) for row in rows])
    return objects([*table])


def _looked_up(table: Any, key: Any) -> Any:
    """The element, or array of them, at a key that holds an IndexNode."""
    keys = list(key) if isinstance(key, tuple) else [key]
    column = _column(table, keys)
    if column is not None:
        return column
    plain = table.view(numpy.ndarray)
    axes = _axes(keys, plain.ndim)
    first: Any = None  # which element is found if all other keys are 0
    for k, axis in zip(keys, axes, strict=True):
        if isinstance(k, IndexNode):
            step = prod(plain.shape[axis + 1 :])
            place = _from_zero(k, plain.shape[axis])
            place = place * step if step > 1 else place
            first = place if first is None else first + place
    at_zero = tuple([0 if isinstance(k, IndexNode) else k for k in keys])
    places = numpy.arange(plain.size).reshape(plain.shape)[at_zero]
    if plain.size == 1:
        return table.reshape(places.shape)[()]
    recorder: Any = PROGRESS.recorder  # indices belong to traces
    found = recorder.tables.of(plain)
    bound = found.bound(is_whole, bound_of)
    elements = numpy.empty(numpy.shape(places), dtype=object)
    for at, place in numpy.ndenumerate(places):
        element = found.look_up(first + int(place) if place else first)
        elements[at] = element if bound is None else IndexNode.of(element, bound)
    return elements.view(TracedArray if bound is None else IndexArray)[()]


def _axes(keys: Sequence[Any], ndim: int) -> list[int]:
    """The axis of a table that each key is for.

    Raises:
        IndexError: if there are more keys than axes.
    """
    taken = sum(k is not None and k is not Ellipsis for k in keys)
    if taken > ndim:
        raise IndexError(f"{taken} indices of a table of {ndim} dimensions")
    axes, axis = [], 0
    for k in keys:
        axes.append(axis)
        axis += ndim - taken if k is Ellipsis else k is not None
    return axes


def _from_zero(index: IndexNode, length: int) -> IndexNode:
    """An index counted from the beginning.

    Raises:
        IndexError: if the table is shorter.
    """
    if not _holds((index >= -length) & (index < length)):
        raise OutsideTableError(int(index._number), length)
    from_end = with_other(index, float(length), "+", False)
    found = apply(rules.where, (index < 0, from_end, index))  # no branch
    return IndexNode.of(found, length)


def _column(table: Any, keys: list[Any]) -> Any:
    """What is looked up by an index that is known for each iteration of a loop, else None."""
    (index, *others) = [k for k in keys if isinstance(k, IndexNode)]
    if others or not all(k is index or isinstance(k, (int, slice)) for k in keys):
        return None
    at = next(i for i, k in enumerate(keys) if k is index)
    rows = table[tuple([slice(None) if k is index else k for k in keys])]
    axis = sum(isinstance(k, slice) for k in keys[:at])
    if axis:
        rows = numpy.moveaxis(rows, axis, 0)
    columns = index.columns(rows)
    if columns is None:
        return None
    indices = any(isinstance(x, IndexNode) for x in columns)
    return objects(columns).reshape(rows.shape[1:]).view(IndexArray if indices else TracedArray)[()]


def _looked_up_by_arrays(table: Any, keys: tuple[Any, ...]) -> Any:
    """The elements at arrays of indices, in the order and shape that NumPy gives them."""
    if any(k is Ellipsis or k is None for k in keys):
        raise TypeError("a table is looked up by whole numbers and slices, not ... or None")
    places = [i for i, k in enumerate(keys) if not isinstance(k, slice)]
    elements = table.view(TracedArray)

    def row_at(indices: Any) -> Any:
        own = list(keys)
        for i, index in zip(places, indices, strict=True):
            own[i] = index
        return elements[tuple(own)]

    if len(places) == 1 and keys[places[0]].size >= MANY:
        from chainrule import lax  # here, as it needs the trace

        (index,) = [keys[i] for i in places]
        shape = index.shape
        found = lax.map(lambda k: row_at([k]), index.reshape(-1))
    else:
        arrays = numpy.broadcast_arrays(*[_index_array(keys[i]) for i in places])
        shape = arrays[0].shape
        rows = [
            row_at(indices) for indices in zip(*[x.ravel().tolist() for x in arrays], strict=True)
        ]
        found = numpy.empty((len(rows), *(numpy.shape(rows[0]) if rows else ())), dtype=object)
        for i, row in enumerate(rows):
            found[i] = row
    found = found.reshape((*shape, *found.shape[1:]))
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


def _picked(condition: Any, if_so: Any, if_not: Any) -> Any:
    """One of two values, without a branch."""
    if isinstance(condition, Node):
        return apply(rules.where, (condition, _number(if_so), _number(if_not)))
    return if_so if condition else if_not


def _number(x: Any) -> Any:
    return x if isinstance(x, Node) else float(x)


def searchsorted(tables: RecordedTables, table: Any, values: Any, right: bool) -> Any:
    """Where values belong in a sorted array, found by halves, without a branch.

    Args:
        tables: those of the trace.
        table: the array; NaN comes last.
        values: a value or an array of them.
        right: after elements that are equal, else before them.

    Returns:
        An index, or an array of indices.
    """
    count = len(table)
    elements = tables.of(_as_array(table)) if count else None
    steps = [1 << k for k in reversed(range(count.bit_length()))]

    def place(value: Any) -> Any:
        found: Any = 0
        for step in steps:
            ahead = found + step
            if isinstance(ahead, int):
                element = table[ahead - 1]  # half of them at most
            else:
                assert elements is not None
                element = elements.look_up(ahead - 1)
            before = element <= value if right else element < value
            before = _picked(math.isnan(value), True if right else element == element, before)
            there = _picked(before, ahead, found)
            if not isinstance(ahead, int):
                there = _picked(ahead <= count, there, found)
            found = IndexNode.of(there, count) if isinstance(there, Node) else int(there)
        return found

    places = numpy.frompyfunc(place, 1, 1)(values)
    return places.view(IndexArray) if isinstance(places, numpy.ndarray) else places
