"""Elements looked up by whole numbers of a trace, where Python would ask for the number itself."""

from __future__ import annotations

import builtins
import functools
import math as python_math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy

from chainrule import math, rules
from chainrule.array_elements import objects
from chainrule.comparing import ConditionNode
from chainrule.jit.indices import MANY, IndexArray, IndexNode, TracedArray, holds_indices, take_at
from chainrule.jit.recorded import IndicesWanted
from chainrule.jit.whole import SMALL
from chainrule.node import Node
from chainrule.traced import recorded
from chainrule.tracing import PROGRESS
from chainrule.whole import WholeNode, refuse_infinite, rounded, without_sign

_BUILTINS: Final = frozenset(
    map(id, (builtins.abs, builtins.int, builtins.max, builtins.min, builtins.range))
)


def may_stay(x: Any, known: Sequence[Any], floats: Sequence[Any]) -> bool:
    """Whether ``int`` of something may stay in the trace.

    Args:
        x: a number.
        known: what has the names of Python's functions where the result goes.
        floats: what it meets there, which must have fractions.
    """
    return (
        _is_real(x)
        and recorded(x._level)
        and all(id(function) in _BUILTINS for function in known)
        and all(type(y) in (float, numpy.float64) or _is_real(y) for y in floats)
    )


def truncated(x: Node) -> IndexNode:
    """The whole part of a number.

    Raises:
        ValueError: if it is NaN.
        OverflowError: if it is infinite.
    """
    index = IndexNode.of(without_sign(rounded(rules.trunc, x)))
    if index.bound > SMALL:
        refuse_infinite(x)
    return index


def _counted(function: Any) -> Any:
    """A function that rounds, whose results are whole numbers of a trace."""

    @functools.wraps(function)
    def rounding(*args: Any, **options: Any) -> Any:
        found = function(*args, **options)
        return IndexNode.of(found) if type(found) is WholeNode and recorded(found._level) else found

    return rounding


ROUNDING: Final = {
    function: _counted(function)
    for module in (python_math, math)
    for function in (module.floor, module.ceil, module.trunc)
} | {round: _counted(round)}
"""What is called in the place of functions that round."""
_ROUNDS: Final = (rules.floor, rules.ceil, rules.trunc, rules.round_half_even)


def is_pythons(x: Any) -> bool:
    """Whether something stands for an int of Python's: what is rounded, and what comes of it."""
    waiting = [x]
    for y in waiting:
        if not isinstance(y, Node):
            continue
        if y._operation is None:
            return False
        if y._operation not in _ROUNDS:
            waiting += y.operands
    return isinstance(x, IndexNode)


def as_arrays(keys: Sequence[Any]) -> tuple[Any, ...]:
    """Keys in which a list that holds whole numbers of the trace is an array of these."""
    return tuple([as_arrays(key) if type(key) is tuple else _as_array(key) for key in keys])


def _as_array(key: Any) -> Any:
    return objects(key).view(IndexArray) if type(key) is list and any(map(_is_index, key)) else key


def are_whole(keys: Sequence[Any]) -> bool:
    """Whether a whole number of a trace, or an array of these, is among keys or in a tuple."""
    return any(isinstance(key, (WholeNode, TracedArray)) for key in _flat(keys))


def holds_array(key: Any) -> bool:
    """Whether a key is an array, or one is in it: what it leads to is no part of another array."""
    return any(isinstance(x, numpy.ndarray) for x in (key if type(key) is tuple else [key]))


def are_scalars(keys: Sequence[Any]) -> bool:
    """Whether each key leads to one element, not to several of them."""
    return all(isinstance(key, (int, WholeNode)) for key in keys)


def are_all(keys: Sequence[Any], ndim: int) -> bool:
    """Whether keys lead to a single element of an array."""
    return sum(1 for _ in _flat(keys)) == ndim


def looked_up(owner: Any, keys: Sequence[Any]) -> Any:
    """The element that keys lead to, one after the other; None where it is no table of numbers."""
    flat = tuple(_flat(keys))
    if not all(type(key) in (int, slice) or _is_index(key) or holds_indices(key) for key in flat):
        return None
    if type(owner) is not numpy.ndarray and not all(type(x) is int or _is_index(x) for x in flat):
        return None
    table = _table(owner, len(keys), len(flat))
    if table is None:
        return None
    if table.dtype == numpy.bool_:
        return take_at(table.astype(numpy.int64), flat) != 0
    return take_at(table, flat)


def plainly(owner: Any, key: Any) -> Any:
    """A key as it looks up something that is no table of numbers.

    Raises:
        IndicesWanted: for an array of many that may be known.
        TypeError: for another one of many.
    """
    if isinstance(key, tuple):
        return tuple([plainly(owner, x) for x in key])
    if not holds_indices(key):
        return key.__index__() if _is_index(key) else key
    if key.size >= MANY:
        recorder: Any = PROGRESS.recorder
        if recorder.may_know_indices:
            raise IndicesWanted("an array looks up what is no table of numbers")
        kind = f"an array of {owner.dtype}" if hasattr(owner, "dtype") else type(owner).__name__
        raise TypeError(
            f"{kind} can't be looked up by an array that is an argument of the compiled function;"
            " arrays of float64, whole numbers and bools can: take .astype(float)"
        )
    plain = [k.__index__() for k in key.reshape(-1).tolist()]
    return numpy.array(plain, dtype=numpy.int64).reshape(key.shape)


def _flat(keys: Sequence[Any]) -> Iterator[Any]:
    for key in keys:
        if isinstance(key, tuple):
            yield from key
        else:
            yield key


def _is_index(x: Any) -> bool:
    return isinstance(x, WholeNode) and not isinstance(x, ConditionNode)


def _is_real(x: Any) -> bool:
    return isinstance(x, Node) and not isinstance(x, WholeNode)


def _table(owner: Any, n_keys: int, n_indices: int) -> Any:
    """An array of the numbers and nodes in lists of one shape; None for anything else."""
    if type(owner) is numpy.ndarray:
        known = owner.dtype == numpy.float64 or owner.dtype.kind in "biu"
        return owner if known and owner.ndim >= n_indices else None
    if n_keys != n_indices or not isinstance(owner, (list, tuple)):
        return None
    rows: list[Any] = [owner]
    shape = []
    for _ in range(n_keys):
        if not all(type(row) in (list, tuple) and len(row) == len(rows[0]) for row in rows):
            return None
        shape.append(len(rows[0]))
        rows = [x for row in rows for x in row]
    if not rows or not (
        all(type(x) in (float, numpy.float64) or _is_real(x) for x in rows)
        or all(type(x) is int for x in rows)
    ):
        return None
    table = numpy.empty(len(rows), dtype=object)
    table[:] = rows
    return table.reshape(shape)
