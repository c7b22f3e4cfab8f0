"""The arguments of a compiled function: which of their numbers are inputs, and where they lie."""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import operator
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy
from numpy.lib.stride_tricks import as_strided

from chainrule import trees
from chainrule.annotations import users_line
from chainrule.backends.llvm.addresses import address_of
from chainrule.backends.llvm.kernel import Regular
from chainrule.handover import handed_array
from chainrule.node import Node
from chainrule.rules import described, to_float
from chainrule.tracing import LEFTOVER, NotCompilable, TracedValueError

from .inputs import Inputs, PlainInputs
from .statics import EXACT, SEQUENCES, exactly

_FLOAT64 = numpy.dtype(numpy.float64)
LARGEST_WHOLE = 2**53  # up to here every whole number is a float


class NodesOverLanes(NotCompilable):
    """An array of objects over the lanes, which have no layout that these share."""


class ManyResults(Exception):
    """Derivatives of many results by nodes, which are pulled back together."""


class Leaf(NamedTuple):
    """What the key of a compiled function keeps of a leaf of the arguments.

    Attributes:
        kind: "number", "node", "array", "nodes" (an array of them), "indices", "static".
        shape: of one lane of an array.
        axis: the axis of the lanes, None if they share the leaf.
        value: what a static leaf's value is known by.
    """

    kind: str
    shape: trees.Shape | None = None
    axis: int | None = None
    value: Any = None

    @property
    def size(self) -> int:
        """How many inputs it gives."""
        return 0 if self.kind == "static" else trees.size_of(self.shape)

    @property
    def is_exact(self) -> bool:
        """Whether it is a static value that its type and == tell from others."""
        value = self.value
        return self.kind == "static" and type(value) is tuple and value[0] in EXACT

    def lanes_of(self, value: Any) -> int | None:
        """How many lanes a value of this kind has, 0 if all share it; None if it is none for sure.

        Not for nodes, indices, and static values that are not exact.
        """
        kind, shape, axis, static = self
        if kind == "number":
            return 0 if type(value) is float or type(value) is numpy.float64 else None
        if kind == "static":
            return 0 if type(value) is static[0] and value == static[1] else None
        if type(value) is not numpy.ndarray or value.dtype is not _FLOAT64:
            return None
        own = value.shape
        if axis is None:
            return 0 if own == shape else None
        if axis >= len(own) or own[:axis] + own[axis + 1 :] != shape:
            return None
        return own[axis] or None


def leaf_of(
    value: Any, axis: int | None, differentiated: bool, knows_indices: bool = False
) -> Leaf:
    """What the key keeps of a leaf.

    Args:
        value: the leaf.
        axis: that of the lanes, None if they share it.
        differentiated: whether its numbers are what derivatives go by.
        knows_indices: whether integer arrays are static.

    Raises:
        TypeError: if the leaf is no number, node or array of them and can't be a static value.
    """
    if isinstance(value, float):
        return _NUMBER
    if type(value) is int and not differentiated:
        return leaf_of_int(value)
    if type(value) in EXACT and not differentiated:
        return Leaf("static", None, None, (type(value), value))
    if isinstance(value, Node):
        return _NODE
    if isinstance(value, numpy.ndarray):
        plain = type(value) is numpy.ndarray
        if not plain and isinstance(value, (numpy.ma.MaskedArray, numpy.matrix)):
            raise TypeError(
                f"compile: a {type(value).__name__} counts otherwise than an array of nodes would;"
                " pass np.asarray(...) of it, or of a masked array .filled(...)"
            )
        shape = value.shape
        if axis is not None:
            axis %= value.ndim
            shape = shape[:axis] + shape[axis + 1 :]
        kind = value.dtype.kind
        if kind == "f" or (kind in "iu" and differentiated):
            return Leaf("array", shape, axis)
        if kind in "iu":
            if knows_indices and axis is None:
                return Leaf("static", value=(value.dtype.str, shape, value.tobytes()))
            return Leaf("indices", shape, axis)
        if kind == "O":
            if axis is not None:
                raise _objects_over_lanes(value)
            return Leaf("nodes", shape)
        if kind == "b" and axis is None:
            return Leaf("static", value=("mask", shape, value.tobytes()))
        raise TypeError(
            f"compile: an array of {value.dtype} is neither numbers, indices nor nodes;"
            " convert it with .astype(float) or .astype(int)"
        )
    if isinstance(value, (numpy.floating,)) or (differentiated and trees.is_number(value)):
        return _NUMBER
    return Leaf("static", value=exactly(value))


@functools.lru_cache(maxsize=1 << 14)
def leaf_of_int(value: int) -> Leaf:
    """That of a whole number that nothing is differentiated by: lists of indices have many."""
    return Leaf("static", None, None, (int, value))


class Arguments:
    """Positional arguments of one kind.

    One that holds static values alone is known at a glance if it holds the very objects of last
    time, and those can't change.

    Args:
        structure: of the arguments.
        leaves: what is known of their leaves.
    """

    def __init__(self, structure: Any, leaves: Sequence[Leaf]) -> None:
        self._structure = structure
        self._leaves = leaves
        self._is_flat = structure.num_nodes == structure.num_leaves + 1
        self._parts: list[tuple[Any, Sequence[Leaf], bool]] = []
        rest = iter(leaves)
        for part in structure.children():
            own = [*itertools.islice(rest, part.num_leaves)]
            different = {id(leaf): leaf for leaf in own}.values()  # of whole numbers there are few
            static = part.kind in SEQUENCES and all(leaf.is_exact for leaf in different)
            self._parts.append((part, own, static))
        self._one_by_one = any(static for _, _, static in self._parts)
        # For each of them its elements last time, and leaves; at first those that none has.
        self._last: list[tuple[tuple[Any, ...], list[Any]]] = [((object(),), [])] * len(self._parts)

    def taken(
        self, args: tuple[Any, ...]
    ) -> tuple[Sequence[Any], Iterable[tuple[Leaf, Any]]] | None:
        """The leaves of as many arguments of the same types, and those to be compared still.

        None if they are of another kind for sure.
        """
        if self._is_flat:
            return args, zip(self._leaves, args, strict=True)
        leaves: list[Any]
        if not self._one_by_one:
            leaves, structure = trees.leaves_of(args)
            pairs = zip(self._leaves, leaves, strict=True)
            return (leaves, pairs) if structure == self._structure else None
        leaves = []
        left: list[tuple[Leaf, Any]] = []
        for k, ((structure, kinds, static), value) in enumerate(
            zip(self._parts, args, strict=True)
        ):
            own = self._static(k, value) if static else _of_structure(structure, value)
            if own is None:
                return None
            leaves += own
            if not static:
                left += zip(kinds, own, strict=True)
        return leaves, left

    def _static(self, number: int, value: Any) -> list[Any] | None:
        """The leaves of an argument that holds static values alone, if they are as they were."""
        elements, known = self._last[number]
        if len(value) == len(elements) and all(map(operator.is_, value, elements)):
            return known
        structure, kinds, _ = self._parts[number]
        leaves = _of_structure(structure, value)
        if leaves is None or None in map(Leaf.lanes_of, kinds, leaves):
            return None
        if all(map(_never_changes, value)):
            self._last[number] = tuple(value), leaves
        return leaves


def _of_structure(structure: Any, value: Any) -> list[Any] | None:
    """The leaves of a tree of some structure."""
    leaves, own = trees.leaves_of(value)
    return leaves if own == structure else None


def _never_changes(value: Any) -> bool:
    """Whether a static value is the same as long as it is the same object."""
    return type(value) in EXACT or (type(value) is tuple and all(map(_never_changes, value)))


def stand_in(leaf: Any) -> Any:
    """An array of zeros for what has a shape and a dtype, but no numbers; else the leaf itself.

    Raises:
        TypeError: if these are none of an array.
    """
    if isinstance(leaf, (numpy.ndarray, numpy.generic, type, Node)):
        return leaf
    shape, dtype = getattr(leaf, "shape", None), getattr(leaf, "dtype", None)
    if shape is None or dtype is None:
        return leaf
    try:
        return numpy.broadcast_to(numpy.zeros((), dtype), shape)  # takes no memory
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"prepare: a shape of {described(shape)} and a dtype of {described(dtype)} make no"
            f" array: {error}"
        ) from None


def _objects_over_lanes(array: Any) -> NotCompilable:
    """Why an object array has no layout that all lanes share."""
    found = array.ravel().tolist()
    if all(isinstance(x, Node) or type(x) is float for x in found):
        return NodesOverLanes("an array of nodes over the lanes gives each lane other nodes")
    for x in found:
        if not isinstance(x, Node) and not trees.is_number(x):
            return NotCompilable(
                "an object array over the lanes may hold something else in each lane, here"
                f" {described(x)}"
            )
    return NotCompilable("an object array over the lanes; convert it with .astype(float)")


_NUMBER = Leaf("number")
_NODE = Leaf("node")


class Packed:
    """The numbers of a call, laid out for a kernel.

    Args:
        leaves: what is known of the leaves of the arguments.
        values: the leaves.
        inputs: which of them are no static values, if that is known.

    Attributes:
        values: the leaves of the arguments.
        places: where the numbers lie, in order.
        nodes: the elements of the leaves that may be nodes, in order; None for a number.
        asked: the lane whose inputs were asked for last.
    """

    def __init__(
        self, leaves: Sequence[Leaf], values: Sequence[Any], inputs: Sequence[int] | None = None
    ) -> None:
        self.values = values
        self.nodes: list[Node | None] = []
        self.asked = 0
        self._kept: list[Any] = []
        self.places: list[Regular] = []
        self._numbers: list[float] = []
        for k in range(len(leaves)) if inputs is None else inputs:
            leaf, value = leaves[k], values[k]
            kind = leaf.kind
            if kind == "number":
                number = value if type(value) is float else to_float(value, "compile")
                self._numbers.append(number)
            elif kind == "node":
                self.nodes.append(value)
                self._numbers.append(_value(value))
            elif kind == "nodes":
                for x in value.ravel().tolist():
                    is_node = isinstance(x, Node)
                    self.nodes.append(x if is_node else None)
                    self._numbers.append(_value(x) if is_node else to_float(x, "compile"))
            elif kind != "static":
                is_plain = value.dtype is _FLOAT64 and value.flags.aligned
                self.add(value if is_plain else checked_array(value, kind), leaf.axis)
        if self._numbers:
            self._flush()

    def _flush(self) -> None:
        """Give the single numbers so far a place."""
        numbers = array("d", self._numbers)  # a third of the time of NumPy's
        self._kept.append(numbers)
        self.places.append((numbers.buffer_info()[0], len(numbers), 8, 0))
        self._numbers = []

    def add(self, numbers: Any, axis: int | None = None) -> None:
        """Append the numbers of an array of float64; an axis of it may be that of the lanes."""
        if self._numbers:
            self._flush()
        if not numbers.size:
            return
        spaced = _spaced(numbers.shape, numbers.strides, axis)
        if spaced is None:
            if axis is not None:
                numbers, axis = numpy.moveaxis(numbers, axis, 0), 0
            numbers = numpy.ascontiguousarray(numbers)
            spaced = _spaced(numbers.shape, numbers.strides, axis)
            assert spaced is not None
        self._kept.append(numbers)
        self.places.append((address_of(numbers), *spaced))

    def contiguous(self) -> Any:
        """All inputs of a single point, one after another."""
        parts = [numpy.asarray(part) for part in self._kept] or [numpy.empty(0)]
        if len(parts) == 1 and parts[0].flags.c_contiguous:
            return parts[0]
        return numpy.concatenate([part.ravel() for part in parts])

    def at(self, lane: int) -> Any:
        """The inputs of a lane, as an array."""
        self.asked = lane
        parts = [numpy.empty(0)]
        for address, count, stride, lane_stride in self.places:
            first: Any = (ctypes.c_double * 1).from_address(address + lane * lane_stride)
            parts.append(as_strided(numpy.frombuffer(first), (count,), (stride,)))
        return numpy.concatenate(parts)


def _value(node: Node) -> float:
    """The value of a node that is an argument.

    Raises:
        TracedValueError: for one that a transformation follows that has ended.
    """
    if node._level:
        raise TracedValueError(f"a compiled function at {users_line()} takes {LEFTOVER}")
    return node._number


def checked_array(numbers: Any, kind: str) -> Any:
    """An array as float64.

    Raises:
        ValueError: if a whole number is too large to be a float exactly.
    """
    if (
        kind == "indices"
        and numbers.size
        and max(abs(int(numbers.max())), abs(int(numbers.min()))) > LARGEST_WHOLE
    ):
        raise ValueError(
            f"compile: an index array holds {described(int(abs(numbers).max()))}, beyond 2**53,"
            " where whole numbers are no longer floats exactly"
        )
    return numbers.astype(numpy.float64)


def as_computed(leaf: Leaf, value: Any) -> Any:
    """A leaf without nodes in the precision of machine code, which is not that of all arrays."""
    if leaf.kind == "number" and not isinstance(value, float):
        return to_float(value, "compile")
    if leaf.kind in ("array", "indices") and isinstance(value, numpy.ndarray):
        kind = numpy.float64 if leaf.kind == "array" else numpy.int64
        return value.astype(kind, copy=False)
    return float(value) if leaf.kind == "array" else value


@functools.lru_cache(maxsize=256)
def _spaced(
    shape: tuple[int, ...], strides: tuple[int, ...], axis: int | None
) -> tuple[int, int, int] | None:
    """How many numbers a lane of an array has, and the distances of its numbers and of lanes.

    None if the numbers of a lane are not evenly spaced.
    """
    lane_stride = 0
    if axis is not None:
        lane_stride = strides[axis]
        shape = shape[:axis] + shape[axis + 1 :]
        strides = strides[:axis] + strides[axis + 1 :]
    stride = element_stride(shape, strides)
    return None if stride is None else (math.prod(shape), stride, lane_stride)


def element_stride(shape: tuple[int, ...], strides: tuple[int, ...]) -> int | None:
    """The distance of neighbours of an array read in C order, None if there is not one."""
    stride = 8
    expected: int | None = None
    for length, actual in zip(reversed(shape), reversed(strides), strict=True):
        if length == 1:
            continue
        if expected is None:
            stride = expected = actual  # 0 where all are one number
        elif actual != expected:
            return None
        expected *= length
    return stride


def inputs_to_arguments(
    inputs: Inputs | PlainInputs, structure: Any, leaves: Sequence[Leaf], values: Sequence[Any]
) -> Any:
    """The arguments that hold the input nodes of a trace.

    Args:
        inputs: those of the trace.
        structure: of the arguments.
        leaves: what is known of each of their leaves.
        values: the leaves of a call, of which the static ones count.
    """
    found: list[Any] = []
    start = 0
    for leaf, value in zip(leaves, values, strict=True):
        if leaf.kind == "static":
            found.append(handed_array(value) if isinstance(value, numpy.ndarray) else value)
            continue
        array = inputs.array(start, leaf.shape or (), leaf.kind == "indices")
        start += leaf.size
        if leaf.kind in ("number", "node") or (leaf.shape == () and leaf.axis is not None):
            found.append(array[()])
        else:
            found.append(array)
    return trees.unflatten(structure, found)
