"""Calls of compiled functions inside transformations.

A call that takes long enough is one operation there, see :mod:`.parts`; else the function itself
runs, and the graph goes through it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy

from chainrule import trees
from chainrule.array_elements import objects
from chainrule.debugging import Shown
from chainrule.node import BinaryOpNode, Node, OperationNode, PowOp, ReLUNode, TanhNode
from chainrule.program.form import Compute, Program, Slice, statements
from chainrule.tracing import PROGRESS, has_ended
from chainrule.whole import WholeNode

from .arguments import Leaf, Packed, checked_array
from .parts import Part, as_numbers
from .paths import Paths, eager_seconds, run_point
from .results import LaneResult
from .stages import Block, Stage
from .trace import Restart

if TYPE_CHECKING:
    from .function import Compiled
    from .plan import Plan

LEAST_SECONDS: Final = 1e-4
"""What a call as an operation of its own takes in any case."""
FEW_LANES: Final = 32
"""Lanes below which it is not traced before it has run for a while."""
SECONDS_OF_A_TRACE: Final = 0.02
SECONDS_OF_CODE: Final = 0.1


_NUMBERS: Final = frozenset([float, Node, OperationNode, BinaryOpNode, ReLUNode, TanhNode, PowOp])


class NotAPart(Exception):
    """The function itself has to run, so that the graph goes through it."""


def called_inside(owner: Compiled, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of a call inside a transformation."""
    kinds = None if kwargs else tuple(map(type, args))
    if PROGRESS.recorder is not None or PROGRESS.structural or kinds in owner.small_inside:
        return owner._plainly(args, kwargs)
    inside: Inside | None = None
    try:
        inside, leaves, values, lanes = _inside(owner, args, kwargs)
        if inside.pays(values, lanes):
            return inside.result(leaves, values, lanes)
        if inside.is_small and kinds is not None and _NUMBERS.issuperset(kinds):
            owner.small_inside.add(kinds)
    except Exception:
        pass  # the function itself says what is wrong, if something is
    start = time.perf_counter()
    result = owner._plainly(args, kwargs)
    if inside is not None:
        inside.seconds += 2.0 * (time.perf_counter() - start)
    return result


def called_with_nodes(owner: Compiled, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of a call with nodes as an operation.

    Raises:
        NotAPart, NotCompilable, TooManyTraces: if it can't be one.
    """
    inside, leaves, values, lanes = _inside(owner, args, kwargs)
    inside.trace(values)
    return inside.result(leaves, values, lanes)


def _inside(
    owner: Compiled, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Inside, list[Any], Sequence[Any], int]:
    """Calls of a kind, the leaves of one with nodes and without, and how many lanes it has."""
    leaves, structure = trees.leaves_of((args, kwargs))
    own_args, own_kwargs = trees.unflatten(structure, [*map(_number_of, leaves)])
    plan, values, lanes = owner._planned(own_args, own_kwargs)
    if plan.inside is None:
        plan.inside = Inside(plan)
    return plan.inside, leaves, values, lanes


def _number_of(leaf: Any) -> Any:
    """A leaf of arguments without nodes."""
    if isinstance(leaf, Node):
        if has_ended(leaf._level) or isinstance(leaf, WholeNode):
            raise NotAPart
        return leaf._number
    if isinstance(leaf, numpy.ndarray) and leaf.dtype == object:
        elements = leaf.ravel().tolist()
        if not all(isinstance(x, Node) or trees.is_number(x) for x in elements):
            raise NotAPart
        numbers = [*map(_number_of, elements)]
        return numpy.array(numbers, dtype=numpy.float64).reshape(leaf.shape)
    return leaf


class Inside:
    """Calls of a compiled function inside transformations, for one kind of arguments.

    Args:
        plan: for the kind.

    Attributes:
        seconds: what calls have taken so far, about, for which the function itself has run.
        is_small: whether it always runs itself.
    """

    def __init__(self, plan: Plan) -> None:
        self.seconds = 0.0
        self.is_small = False
        self._plan = plan
        self._of_a_lane: float | None = None
        self._has_code = False
        self._plain: set[Any] = set()  # traces of which derivatives can be taken
        self._stages: dict[tuple[Block, ...], Stage] = {}

    def pays(self, values: Sequence[Any], lanes: int) -> bool:
        """Whether a call is to be an operation.

        Raises:
            NotAPart: if it can't be one.
        """
        plan = self._plan
        if plan.eager:
            return False
        if self._of_a_lane is None:
            known = plan.paths.traces > 0
            if not known and lanes < FEW_LANES and self.seconds < SECONDS_OF_A_TRACE:
                return False
            self._of_a_lane = 0.0  # if it can't be traced
            program = self.trace(values)
            self._of_a_lane = eager_seconds(program.body)
            self.is_small = not plan.lanes and self._of_a_lane < LEAST_SECONDS
        seconds = self._of_a_lane * max(1, lanes)
        if seconds < LEAST_SECONDS:
            return False
        if not self._has_code:
            self._has_code = self.seconds + seconds > SECONDS_OF_CODE
        return self._has_code

    def trace(self, values: Sequence[Any]) -> Program:
        """The program of the first path, traced if none is there yet."""
        plan = self._plan
        if plan.eager:
            raise NotAPart
        while True:
            try:
                return plan.paths.at((), Packed(plan.leaves, values)).trace.program
            except Restart:
                continue

    def result(self, leaves: Sequence[Any], values: Sequence[Any], lanes: int) -> Any:
        """The result of a call.

        Args:
            leaves: of the arguments, with nodes.
            values: the same without nodes.
            lanes: how many there are; 0 without.

        Raises:
            NotAPart: if derivatives can't be taken of what was recorded.
        """
        plan = self._plan
        paths = plan.paths
        self._check(paths)  # before anything is printed
        captured = paths.captured
        if any(has_ended(node._level) for node in captured):
            plan.owner.forget(plan)
            raise NotAPart
        blocks = [
            _block(leaf, value)
            for leaf, value in zip(plan.leaves, leaves, strict=True)
            if leaf.kind != "static"
        ]
        if captured:
            blocks.append(objects(captured))
        if plan.lanes:
            assert plan.layout is not None
            axes = plan._lane_axes()
            shapes = plan.layout.shapes
            stage = self._stage(
                Block(trees.size_of(shape), axis is not None)
                for shape, axis in zip(shapes, axes, strict=True)
            )
            part = Part(stage, values, lanes, plan.owner.label)
            found = part.applied(blocks)
            self._check(paths)
            found = _without_constants(found, [path.trace.program for path in paths.all()])
            sums = [array for array, axis in zip(found, axes, strict=True) if axis is None]
            return LaneResult(plan.layout, axes, 0).assembled(
                numpy.concatenate(sums) if sums else None,
                [
                    array.reshape(lanes, *(shape or ()))
                    for array, axis, shape in zip(found, axes, shapes, strict=True)
                    if axis is not None
                ],
                None,
            )
        packed = Packed(plan.leaves, values)
        if captured:
            packed.add(numpy.array([node._number for node in captured]))
        try:
            trace, outputs = run_point(paths, packed, patient=False)
        except Restart:  # it uses other nodes
            return self.result(leaves, values, lanes)
        self._check(paths)
        size = trace.layout.size
        part = Part(self._stage([Block(size)]), values, 0, plan.owner.label)
        (array,) = part.applied(blocks, [outputs[:size]])
        constant = _constant(trace.program, size)
        numbers = zip(array.tolist(), outputs.tolist(), constant, strict=False)
        return trace.layout.unflatten([x if is_one else y for y, x, is_one in numbers])

    def _check(self, paths: Paths) -> None:
        """Raise NotAPart if derivatives must be nodes: users' operations say them in Python."""
        for path in paths.all():
            if path.trace not in self._plain:
                body = statements(path.trace.program.body)
                computed = [x.operation for x in body if isinstance(x, Compute)]
                if path.trace.pulls or any(not x.builtin or isinstance(x, Shown) for x in computed):
                    raise NotAPart
                self._plain.add(path.trace)

    def _stage(self, results: Iterable[Block]) -> Stage:
        """What the plan computes, where that is so many results."""
        key = tuple(results)
        captured = len(self._plan.paths.captured)
        found = self._stages.get(key)
        if found is None or found.n_captured != captured:
            leaves = self._plan.leaves
            inputs = [Block(x.size, x.axis is not None) for x in leaves if x.kind != "static"]
            if captured:
                inputs.append(Block(captured))
            found = self._stages[key] = Stage(self._plan, inputs, key)
        return found


def _block(leaf: Leaf, value: Any) -> Any:
    """A leaf of arguments, with nodes, as a block."""
    if leaf.kind == "number":
        return objects([value]) if isinstance(value, Node) else numpy.array([float(value)])
    if leaf.axis is not None:
        value = numpy.moveaxis(value, leaf.axis, 0)
        return _numbers(value, leaf).reshape(len(value), leaf.size)
    return _numbers(value, leaf).reshape(leaf.size)


def _numbers(value: Any, leaf: Leaf) -> Any:
    """An array of float64, or of objects if some are nodes."""
    if value.dtype != object:
        return checked_array(value, leaf.kind)  # a copy: the caller may change it meanwhile
    nodes = any(isinstance(x, Node) for x in value.ravel().tolist())
    return numpy.asarray(value) if nodes else value.astype(numpy.float64)


def _constant(program: Program, count: int) -> list[bool]:
    """For each of the first outputs whether it is a constant, which is no node in eager code."""
    found: list[bool] = []
    for x in program.outputs:
        found += [False] * x.size if isinstance(x, Slice) else [isinstance(x, float)]
        if len(found) >= count:
            break
    return found[:count]


def _without_constants(arrays: Sequence[Any], programs: Sequence[Program]) -> list[Any]:
    """The leaves of results over lanes; those that are constant in all programs as numbers."""
    sizes = [array.shape[-1] for array in arrays]
    kinds = [_constant(program, sum(sizes)) for program in programs]
    constant = iter([all(kind) for kind in zip(*kinds, strict=True)])
    return [
        as_numbers(array) if all([*itertools.islice(constant, size)]) else array
        for array, size in zip(arrays, sizes, strict=True)
    ]
