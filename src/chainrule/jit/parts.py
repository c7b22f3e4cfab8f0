"""Compiled functions as parts of graphs: a call with nodes is one operation, to any order.

Its results are computed by the function's kernel, and what is pulled back or pushed forward through
it by kernels of its derivatives; where nodes go in, these are such operations themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

import numpy

from chainrule import trees
from chainrule.array_elements import objects
from chainrule.node import Node, apply
from chainrule.operation import Operation, result_of
from chainrule.tracing import PROGRESS, NotCompilable
from chainrule.transforms import changed_by

from .arguments import Leaf
from .paths import TooManyTraces
from .stages import Block, Changed, Stage
from .trace import CompileError

SMALL: Final = 1e-100
"""Numbers between this and its inverse have products that are neither too small nor too large."""


class Part:
    """A function of blocks, for a call.

    Args:
        stage: the function.
        values: the leaves of the compiled function's arguments, of which the static ones count.
        lanes: how many there are; 0 without.
        label: what the function is called.
        of: how many lanes the whole call has, if these are some of them.
    """

    def __init__(
        self, stage: Stage, values: Sequence[Any], lanes: int, label: str, of: int = 0
    ) -> None:
        self.stage = stage
        self.values = values
        self.lanes = lanes
        self.label = label
        self.of = of or lanes

    def applied(self, blocks: Sequence[Any], results: Any = None) -> Sequence[Any]:
        """The results, as nodes if there are nodes in the blocks.

        Args:
            blocks: arrays of float64, or of objects.
            results: what comes of their numbers, if that is known.
        """
        applied = _Applied(self, blocks)
        if results is None:
            results = applied.run()
        if not applied.nodes or not self.stage.n_results:
            return results  # type: ignore[no-any-return]
        numbers = [x for array in results for x in array.ravel().tolist()]
        whole = Operation(self.label, lambda y, *xs: y, applied.of_ones)
        whole.passes = True
        whole.pull_back, whole.push_forward = applied.pull_back, applied.push_forward
        whole.n_results = len(numbers)
        together = apply(whole, (numbers[0], *applied.nodes))
        nodes = [together]
        if len(numbers) > 1:
            nodes = [
                apply(result_of(self.label, place), (y, together))
                for place, y in enumerate(numbers)
            ]
        return split(objects(nodes), self.stage.results, self.lanes)

    def computed(self, blocks: Sequence[Any]) -> Sequence[Any]:
        """The results for blocks; nodes if there are nodes in them.

        In a trace, or where it can't be computed by a kernel, the function itself runs.
        """
        recorded = PROGRESS.recorder is not None or PROGRESS.structural > 0
        if not (recorded and any(array.dtype == object for array in blocks)):
            try:
                return self.applied(blocks)
            except (NotCompilable, TooManyTraces):
                pass
        return self.plainly(blocks)

    def plainly(self, blocks: Sequence[Any]) -> Sequence[Any]:
        """The results of the function itself, of which the graph goes through it.

        Raises:
            CompileError: if derivatives by nodes from outside are asked for.
        """
        stage = self.stage
        if not isinstance(stage, Changed):
            return self._of_function(blocks)
        before = Part(stage.before, self.values, self.lanes, self.label, self.of)
        count = len(stage.before.inputs)
        if stage.captured in stage.wanted:
            raise CompileError(
                f"derivatives of the compiled function {self.label} by nodes that it uses from"
                " outside can't be taken here; pass them as arguments"
            )

        def function(*own: Any) -> tuple[Any, ...]:
            inputs = [*blocks[:count]]
            for i, array in zip(stage.wanted, own, strict=True):
                inputs[i] = array
            return tuple(before.plainly(inputs))

        given: list[Any] = []
        start = 0
        for array, block in zip(blocks[count:], stage.changes, strict=True):
            own = numpy.broadcast_to(stage.given[start : start + block.size], array.shape)
            pairs = zip(array.ravel().tolist(), own.ravel().tolist(), strict=True)
            given += [x if has else None for x, has in pairs]
            start += block.size
        primals = [blocks[i] for i in stage.wanted]
        changes = changed_by(function, primals, stage.forward, given)
        return split(objects(changes), stage.results, self.lanes)

    def _of_function(self, blocks: Sequence[Any]) -> Sequence[Any]:
        """What the compiled function itself gives."""
        plan = self.stage.plan
        given = iter(blocks)
        leaves = [
            value if leaf.kind == "static" else _as_leaf(next(given), leaf, self.lanes)
            for leaf, value in zip(plan.leaves, self.values, strict=True)
        ]
        args, kwargs = trees.unflatten(plan.structure, leaves)
        result = plan.owner._plainly(args, kwargs)
        if not plan.lanes:
            return [objects(trees.flatten(result, "compile: the result", truths=True)[0])]
        vmap = plan.owner.vmap
        scale = 1.0
        if vmap is not None and vmap.reduce == "mean":
            scale = self.lanes / self.of
        arrays = []
        for leaf, axis in zip(trees.leaves_of(result)[0], plan._lane_axes(), strict=True):
            array = numpy.asarray(leaf, dtype=object) * scale
            arrays.append(
                array.ravel()
                if axis is None
                else numpy.moveaxis(array, axis, 0).reshape(self.lanes, -1)
            )
        return arrays


class _Applied:
    """A part with the nodes that it is applied to.

    Args:
        part: the part.
        blocks: arrays of float64, or of objects.

    Attributes:
        nodes: those in the blocks, in order.
    """

    def __init__(self, part: Part, blocks: Sequence[Any]) -> None:
        self._part = part
        self._numbers = [*map(as_numbers, blocks)]
        self._gradient: Any = None  # of a single result, if it is known
        self._places: dict[int, list[int]] = {}  # of the nodes of a block that has some
        self.nodes: list[Node] = []
        for i, array in enumerate(blocks):
            if array.dtype == object:
                flat = array.ravel().tolist()
                own = [k for k, x in enumerate(flat) if isinstance(x, Node)]
                if own:
                    self._places[i] = own
                    self.nodes += [flat[k] for k in own]

    def run(self) -> list[Any]:
        """The numbers of the results; of a single one with the gradient, at hardly more cost."""
        part, wanted = self._part, tuple(self._places)
        stage = part.stage
        blocks = self._numbers
        single = stage.count(part.lanes) == 1 and wanted and not isinstance(stage, Changed)
        if single:
            stage = stage.changed(False, wanted, keep=True)
            blocks = [*blocks, numpy.ones(1)]
        found = stage.run(blocks, part.values, part.lanes, part.of)
        if single:
            self._gradient = _joined(found[1:])
        return found[:1] if single else found

    def of_ones(self, y: Any, *operands: Any) -> list[Any]:
        """What is pulled back of 1, for pictures."""
        count = self._part.stage.count(self._part.lanes)
        numbers = [x._number if isinstance(x, Node) else x for x in operands[1:]]
        return [0.0, *[x or 0.0 for x in self.pull_back([1.0] * count, numbers)]]

    def pull_back(self, cotangents: Sequence[Any], operands: Sequence[Any]) -> list[Any]:
        """From cotangents of the results to messages to the operands; None for no message."""
        found = self._through(False, cotangents, operands)
        starts = itertools.accumulate((self._numbers[i].size for i in self._places), initial=0)
        return [
            found[start + k]
            for start, own in zip(starts, self._places.values(), strict=False)
            for k in own
        ]

    def push_forward(self, tangents: Sequence[Any], operands: Sequence[Any]) -> list[Any]:
        """From tangents of the operands to those of the results."""
        given: list[Any] = []
        remaining = iter(tangents)
        for i, own in self._places.items():
            block: list[Any] = [None] * self._numbers[i].size
            for k in own:
                block[k] = next(remaining)
            given += block
        return self._through(True, given, operands)

    def _through(self, forward: bool, given: Sequence[Any], operands: Sequence[Any]) -> list[Any]:
        """What comes of changes: of the results for tangents of blocks, or the other way round."""
        if not forward and self._is_gradient(given, operands):
            return (given[0] * self._gradient).tolist()  # type: ignore[no-any-return]
        part = self._part
        blocks = self._with(operands)
        wanted = tuple(self._places)
        derivative = _Derivative(part, forward, wanted)
        is_given = numpy.array([x is not None for x in given])
        changes = objects([0.0 if x is None else x for x in given])
        exact = False
        flat = derivative.of(blocks, changes, is_given, exact)
        if not is_given.all() and numpy.isnan(as_numbers(flat)).any():
            exact = True  # 0.0 is a number, and no change is none
            flat = derivative.of(blocks, changes, is_given, exact)
        values: list[Any] = flat.tolist()
        zeros = numpy.flatnonzero(as_numbers(flat) == 0.0)
        if len(zeros):
            unknown = numpy.where(is_given, numpy.nan, 0.0)  # makes all that it comes to unknown
            come = derivative.of([*map(as_numbers, blocks)], unknown, is_given, exact)
            for k in zeros[~numpy.isnan(come[zeros].astype(numpy.float64))].tolist():
                values[k] = None
        return values

    def _is_gradient(self, given: Sequence[Any], operands: Sequence[Any]) -> bool:
        """Whether a cotangent times the known gradient is what comes of it, as precisely."""
        gradient = self._gradient
        if gradient is None or not isinstance(given[0], float):
            return False
        if any(isinstance(x, Node) for x in operands):  # and what comes depends on them
            return False
        if [*operands] != [x._number for x in self.nodes]:
            return False
        sizes = numpy.abs(gradient)
        ordinary = SMALL <= abs(given[0]) <= 1.0 / SMALL
        return bool(ordinary and ((sizes >= SMALL) & (sizes <= 1.0 / SMALL)).all())

    def _with(self, operands: Sequence[Any]) -> list[Any]:
        """The blocks, with other nodes or numbers in the place of the nodes."""
        blocks = [*self._numbers]
        start = 0
        for i, own in self._places.items():
            values = operands[start : start + len(own)]
            start += len(own)
            kind = object if any(isinstance(x, Node) for x in values) else numpy.float64
            array = blocks[i].astype(kind, order="C")
            array.reshape(-1)[own] = objects(values)
            blocks[i] = array
        return blocks


class _Derivative:
    """What comes of changes of a part.

    Args:
        part: the part.
        forward: whether tangents of inputs are pushed forward, else cotangents pulled back.
        wanted: the blocks of inputs to differentiate by.
    """

    def __init__(self, part: Part, forward: bool, wanted: tuple[int, ...]) -> None:
        self._part = part
        self._forward = forward
        self._wanted = wanted
        stage = part.stage
        own = [stage.inputs[i] for i in wanted]
        self._changes, self._results = (own, stage.results) if forward else (stage.results, own)

    def of(self, blocks: Sequence[Any], changes: Any, is_given: Any, exact: bool) -> Any:
        """The numbers and nodes that come, in order.

        Args:
            blocks: the part's.
            changes: numbers and nodes.
            is_given: for each whether it is given; the others are 0.0.
            exact: whether these are no messages; else they are numbers.
        """
        part = self._part
        lanes = part.lanes
        given = split(changes, self._changes, lanes)
        masks = split(is_given, self._changes, lanes)
        if not lanes:
            return self._group(blocks, given, None, is_given if exact else None)
        of_lanes = numpy.concatenate(
            [numpy.broadcast_to(mask, (lanes, mask.shape[-1])) for mask in masks], axis=1
        )
        if of_lanes.all():
            return self._group(blocks, given, None, None)
        groups: list[tuple[Any, Any]] = []
        if exact:
            patterns, which = numpy.unique(of_lanes, axis=0, return_inverse=True)
            for number, pattern in enumerate(patterns):
                groups.append((pattern, numpy.flatnonzero(which.reshape(-1) == number)))
        else:
            groups.append((None, numpy.flatnonzero(of_lanes.any(axis=1))))
        total = [
            numpy.zeros((lanes, block.size) if block.over_lanes else block.size, dtype=object)
            for block in self._results
        ]
        for pattern, rows in groups:
            if not len(rows) or (pattern is not None and not pattern.any()):
                continue
            found = self._group(blocks, given, rows, pattern)
            for array, own, block in zip(
                total, split(found, self._results, len(rows)), self._results, strict=True
            ):
                if block.over_lanes:
                    array[rows] = own
                else:
                    array += own
        return _joined(total)

    def _group(self, blocks: Sequence[Any], given: Sequence[Any], rows: Any, pattern: Any) -> Any:
        """The same for some lanes, None for all; with a pattern of what is given, None for all."""
        part = self._part
        stage = part.stage.changed(self._forward, self._wanted, pattern)
        inputs = [*blocks, *map(_plain, given)]
        lanes = part.lanes
        if rows is not None:
            lanes = len(rows)
            inputs = [
                array[rows] if block.over_lanes else array
                for array, block in zip(inputs, stage.inputs, strict=True)
            ]
        derivative = Part(stage, part.values, lanes, f"∂{part.label}", part.of)
        return _joined(derivative.computed(inputs))


def split(values: Any, blocks: Sequence[Block], lanes: int) -> list[Any]:
    """The arrays of some blocks, from all their elements in order."""
    arrays = []
    start = 0
    for block in blocks:
        stop = start + block.size * (lanes if block.over_lanes else 1)
        array = values[start:stop]
        arrays.append(array.reshape(lanes, block.size) if block.over_lanes else array)
        start = stop
    return arrays


def _joined(arrays: Sequence[Any]) -> Any:
    """The elements of some arrays in order."""
    return numpy.concatenate([array.ravel() for array in arrays]) if arrays else numpy.empty(0)


def as_numbers(array: Any) -> Any:
    """An array of numbers and nodes as numbers."""
    if array.dtype != object:
        return array
    numbers = [x._number if isinstance(x, Node) else x for x in array.ravel().tolist()]
    return numpy.array(numbers, dtype=numpy.float64).reshape(array.shape)


def _plain(array: Any) -> Any:
    """An array of numbers and nodes, as float64 if there are no nodes."""
    if array.dtype != object or any(isinstance(x, Node) for x in array.ravel().tolist()):
        return array
    return array.astype(numpy.float64)


def _as_leaf(array: Any, leaf: Leaf, lanes: int) -> Any:
    """A block as a leaf of arguments."""
    if leaf.kind == "number":
        return array.item()
    if leaf.kind == "indices":
        array = array.astype(numpy.int64)
    elif array.dtype == object:
        array = trees.array_of(array.ravel().tolist(), array.shape)
    shape = leaf.shape or ()
    if leaf.axis is None:
        return array.reshape(shape)
    return numpy.moveaxis(array.reshape(lanes, *shape), 0, leaf.axis)
