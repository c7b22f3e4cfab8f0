"""The inputs of a trace: nodes that are made once somebody asks for them, and arrays of these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import numpy

from chainrule.differentiation import fresh_input, fresh_inputs
from chainrule.node import Node
from chainrule.passes.stretches import Place
from chainrule.program.nests import Numbers
from chainrule.tracing import PROGRESS

from .indices import IndexArray, IndexNode, TracedArray
from .iterations import LoopIndex

MANY: Final = 256
"""Arrays of so many elements are whole at first."""

PATIENCE: Final = 8
"""Parts that are taken of a whole array before all its nodes are made."""

_KNOWN: Final = frozenset(
    [
        *("shape", "ndim", "size", "dtype", "flags", "strides", "itemsize", "nbytes"),
        *("__class__", "__dict__", "_whole", "read", "reshape", "place", "holds_nodes"),
        *("numbers", "holds_indices", "values", "max", "min", "_extreme"),
    ]
)
"""Attributes of a whole array for which its nodes need not be made."""


class PlainInputs:
    """The inputs of a run in plain numbers.

    Args:
        numbers: their values.
    """

    def __init__(self, numbers: Sequence[float]) -> None:
        self._numbers = numpy.asarray(numbers, dtype=numpy.float64)

    def array(self, start: int, shape: tuple[int, ...], indices: bool) -> Any:
        """An array of inputs from one on, which is read-only."""
        numbers = self._numbers[start : start + math.prod(shape)].reshape(shape)
        if indices:
            numbers = numbers.astype(numpy.int64)
        if not shape:
            return numpy.array(numbers.item(), dtype=object)
        numbers.flags.writeable = False
        return numbers


class Inputs:
    """The inputs of a trace.

    Args:
        numbers: their values.
        level: the level of the trace.
        wholes: whether arrays may be whole at first.

    Attributes:
        has_indices: whether there are whole numbers among them.
        made: how many nodes have been made.
    """

    def __init__(self, numbers: Sequence[float], level: int, wholes: bool = False) -> None:
        self.level = level
        self._numbers = numpy.asarray(numbers, dtype=numpy.float64)
        self._nodes: list[Any] = [None] * len(self._numbers)
        self._indices: dict[int, IndexNode] = {}
        self.has_indices = False
        self.made = 0
        self._recording: Any = None
        self._wholes = wholes
        self._unread: Node | None = None

    def begin(self, recording: Any) -> None:
        """Take the recording in which they get their rows."""
        self._recording = recording

    def __len__(self) -> int:
        return len(self._nodes)

    def __getitem__(self, number: int) -> Node:
        node: Node | None = self._nodes[number]
        if node is None:
            [node] = self._made(number, number + 1)
        return node

    def _made(self, start: int, stop: int) -> list[Node]:
        """New nodes of inputs that follow each other."""
        nodes = fresh_inputs(self._numbers[start:stop].tolist(), self.level)
        self._recording.enter_inputs(start, nodes)
        self._nodes[start:stop] = nodes
        self.made += len(nodes)
        return nodes

    def between(self, start: int, stop: int) -> list[Node]:
        """Nodes of inputs that follow each other."""
        nodes = self._nodes[start:stop]
        missing = nodes.count(None)
        if missing == len(nodes):
            return self._made(start, stop)
        first = start
        while missing:
            first = self._nodes.index(None, first, stop)
            end = first + 1
            while end < stop and self._nodes[end] is None:
                end += 1
            self._made(first, end)
            missing -= end - first
        return self._nodes[start:stop]

    def elements(self, numbers: Numbers, indices: bool) -> list[Any]:
        """What an array holds of inputs: their nodes, or indices that stand for these."""
        steps = numbers[1:] - numbers[:-1]
        if len(numbers) and (steps == 1).all():
            nodes = self.between(int(numbers[0]), int(numbers[-1]) + 1)
        else:
            nodes = [self[number] for number in numbers.tolist()]
        return [*map(self._index, numbers.tolist(), nodes)] if indices else nodes

    def _index(self, number: int, node: Node) -> IndexNode:
        index = self._indices.get(number)
        if index is None:
            self.has_indices = True
            index = self._indices[number] = IndexNode.standing_for(node)
        return index

    def values(self, numbers: Numbers) -> Any:
        """The values of inputs by their numbers."""
        return self._numbers[numbers]

    # Arrays

    def array(self, start: int, shape: tuple[int, ...], indices: bool) -> Any:
        """An array of inputs from one on, read-only; a large one is whole at first."""
        size = int(numpy.prod(shape, dtype=numpy.int64))
        memory = numpy.empty(shape, dtype=object)
        numbers = numpy.arange(start, start + size).reshape(shape)
        self.has_indices |= indices
        whole = _Whole(self, numbers, memory, indices)
        if not self._wholes or size < MANY:
            return whole.filled().view(whole.kind)
        if self._unread is None:
            self._unread = fresh_input(float("nan"), self.level)
        memory.fill(self._unread)
        return whole.array()

    @property
    def are_whole(self) -> bool:
        """Whether an array has been whole."""
        return self._unread is not None

    @property
    def met_unread(self) -> bool:
        """Whether what stands for elements without a node has come into the recording.

        NumPy has handed it on past the array then.
        """
        if self._unread is None:
            return False
        size = len(self._recording)
        self._recording.record(self._unread)
        return len(self._recording) == size


class _Whole:
    """What is known of a whole array: its elements are inputs by these numbers.

    Args:
        inputs: those of the trace.
        numbers: the inputs that the elements are.
        memory: an array of objects, for the elements.
        indices: whether they are indices.
    """

    def __init__(self, inputs: Inputs, numbers: Numbers, memory: Any, indices: bool) -> None:
        self.inputs = inputs
        self.numbers = numbers
        self.memory = memory
        self.indices = indices
        self.parts = 0  # that have been taken
        self.kind = IndexArray if indices else TracedArray

    def array(self) -> Any:
        """The array."""
        array: Any = self.memory.view(self.kind)
        array.flags.writeable = False
        array.__class__ = WholeArray
        array._whole = self
        return array

    def part(self, key: Any) -> Any:
        """What an index of NumPy takes: an element, or an array."""
        numbers = self.numbers[key]
        if numbers.size >= MANY:
            return _Whole(self.inputs, numbers, self.memory[key], self.indices).array()
        self.parts += 1
        if numbers.ndim == 0:
            return self.inputs.elements(numbers.reshape(1), self.indices)[0]
        part = _Whole(self.inputs, numbers, self.memory[key], self.indices)
        return part.filled().view(self.kind)

    def filled(self) -> Any:
        """Its memory with the elements, read-only."""
        elements = numpy.empty(self.numbers.size, dtype=object)
        elements[:] = self.inputs.elements(self.numbers.reshape(-1), self.indices)
        self.memory[...] = elements.reshape(self.numbers.shape)
        filled = self.memory.view()
        filled.flags.writeable = False
        return filled


class WholeArray(TracedArray):
    """A large array that is an argument, as long as nobody has asked for its nodes.

    Its shape is known, and it can be sliced, read by loops and looked up by their indices. With all
    else the nodes are made, and it becomes an array of another class. NumPy may read past it; what
    it finds there is a node that nothing may depend on.
    """

    _whole: _Whole

    def __getattribute__(self, name: str) -> Any:
        if name not in _KNOWN:
            WholeArray.read(self)
        return object.__getattribute__(self, name)  # of the class that it has now

    def __array_finalize__(self, parent: Any) -> None:
        if type(parent) is WholeArray:
            parent.read()
        self.__class__ = TracedArray  # type: ignore[assignment]

    def read(self) -> None:
        """Make the nodes, if they have not been made."""
        whole = vars(self).pop("_whole", None)
        if whole is not None:
            self.__class__ = whole.kind
            whole.filled()

    def __getitem__(self, key: Any) -> Any:
        whole = self._whole
        keys = key if isinstance(key, tuple) else (key,)
        if any(isinstance(k, LoopIndex) for k in keys):
            return super().__getitem__(key)
        if all(map(_is_plain, keys)) and whole.parts < PATIENCE:
            return whole.part(key)
        self.read()
        return self[key]

    def __iter__(self) -> Any:
        yield self[0]  # a loop of which one iteration is traced asks for no more
        WholeArray.read(self)
        yield from islice(iter(self), 1, None)

    def __contains__(self, x: Any) -> bool:
        self.read()
        return x in self

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc is numpy.matmul and not kwargs:
            recorder: Any = PROGRESS.recorder
            found = recorder.loop("product", *inputs)
            if found is not None:
                return found[0]
        _read_all([*inputs, *kwargs.values()])
        return TracedArray.__array_ufunc__(self, ufunc, method, *inputs, **kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if len(args) == 1 and args[0] is self and not kwargs:
            if function in (numpy.max, numpy.amax):
                return self.max()
            if function in (numpy.min, numpy.amin):
                return self.min()
        _read_all([*args, *kwargs.values()])
        return TracedArray.__array_function__(self, function, types, args, kwargs)

    def max(self, *args: Any, **kwargs: Any) -> Any:
        """The largest element."""
        found = None if args or kwargs else self._extreme(numpy.maximum)
        return TracedArray.max(self, *args, **kwargs) if found is None else found

    def min(self, *args: Any, **kwargs: Any) -> Any:
        """The smallest element."""
        found = None if args or kwargs else self._extreme(numpy.minimum)
        return TracedArray.min(self, *args, **kwargs) if found is None else found

    def _extreme(self, ufunc: Any) -> Node | None:
        """What a ufunc reduces it to; None where its nodes have been made for that."""
        recorder: Any = PROGRESS.recorder
        found = None if recorder is None else recorder.loop("extreme", self, ufunc)
        if found is None:
            self.read()
            return None
        node: Node = found[0]
        return node

    def reshape(self, *shape: Any, **kwargs: Any) -> Any:
        """The elements in another shape."""
        whole = self._whole
        numbers = whole.numbers.reshape(*shape, **kwargs)
        memory = whole.memory.reshape(*shape, **kwargs)
        return _Whole(whole.inputs, numbers, memory, whole.indices).array()

    def holds_nodes(self) -> bool:
        """Whether its elements are nodes and floats: yes."""
        return True

    def holds_indices(self) -> bool:
        """Whether its elements are whole numbers."""
        return self._whole.indices

    def numbers(self) -> Numbers:
        """Which inputs its elements are."""
        return self._whole.numbers

    def values(self) -> Any:
        """The numbers of the run."""
        return self._whole.inputs.values(self._whole.numbers)

    def place(self) -> Place | None:
        """Where the elements of an array of one axis lie among the inputs, if at even distances."""
        numbers = self._whole.numbers
        steps = numpy.diff(numbers)
        if numbers.ndim != 1 or not len(steps) or (steps != steps[0]).any():
            return None
        return Place("input", int(numbers[0]), int(steps[0]))


def _is_plain(key: Any) -> bool:
    """Whether it is a key without nodes."""
    if isinstance(key, slice):
        return all(type(x) in (int, type(None)) for x in (key.start, key.stop, key.step))
    if type(key) is numpy.ndarray:
        return key.dtype.kind in "iu"
    return key is None or key is Ellipsis or type(key) is int


def _read_all(values: Sequence[Any]) -> None:
    """Make the nodes of all whole arrays among values and lists of them."""
    for x in values:
        if type(x) is WholeArray:
            x.read()
        elif isinstance(x, (list, tuple)):
            _read_all(x)
