"""Frequent calls over lanes with as little as possible around the machine code."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy

from chainrule import trees
from chainrule.backends.llvm.addresses import address_of

from .arguments import element_stride
from .plan import Plan
from .statics import EXACT

_FLOAT64 = numpy.dtype(numpy.float64)


class FastLanes:
    """A call over lanes with float arrays, numbers and plain static values, or trees of them.

    All lanes are on the first path.

    Args:
        plan: what it calls.
        args: arguments of its kind.
    """

    def __init__(self, plan: Plan, args: tuple[Any, ...]) -> None:
        assert plan.result is not None
        self.plan = plan
        self._result = plan.result
        self._kernel = plan.paths.at((), lambda: []).kernel(plan.result.reduce)
        self._leaves = plan.leaves
        self._threads = plan.threads
        self._mean = plan.owner.vmap is not None and plan.owner.vmap.reduce == "mean"
        self._watch = plan.watch if plan.watch is not None and not plan.watch.nothing else None
        self._left = False  # whether lanes have taken another path
        self._structure = None if _are_leaves(args) else plan.structure
        self._in_order = plan.order.of(args, {})

    @staticmethod
    def fits(plan: Plan) -> bool:
        """Whether calls of a plan can be made this way."""
        if plan.result is None or plan.captured or plan.live or plan.paths.traces > 1:
            return False
        return (
            all(leaf.kind in ("array", "number") or leaf.is_exact for leaf in plan.leaves)
            and plan.paths.at((), lambda: []).constant is None
        )

    def __call__(self, args: tuple[Any, ...]) -> Any:
        """The result; None if an argument is of another kind, or a lane leaves the path."""
        if self._left or (self._watch is not None and self._watch.changed()):
            return None
        values: Sequence[Any] = args
        if self._structure is not None:
            values, structure = trees.leaves_of((args, {}))
            if structure != self._structure or self.plan.order.of(args, {}) != self._in_order:
                return None
        elif len(args) != len(self._leaves):
            return None
        segments = []
        kept = []
        numbers: list[float] = []
        lanes = -1
        for arg, (kind, shape, axis, static) in zip(values, self._leaves, strict=True):
            if kind == "number":
                if type(arg) is not float and type(arg) is not numpy.float64:
                    return None
                numbers.append(arg)
                continue
            if kind == "static":
                if type(arg) is not static[0] or arg != static[1]:
                    return None
                continue
            if type(arg) is not numpy.ndarray or shape is None:
                return None
            if numbers:
                kept.append(array("d", numbers))
                segments.append((kept[-1].buffer_info()[0], len(numbers), 8, 0))
                numbers = []
            own_shape = arg.shape
            strides = arg.strides
            lane_stride = 0
            if axis is not None:
                if len(own_shape) != len(shape) + 1:
                    return None
                if lanes not in (-1, own_shape[axis]):
                    return None
                lanes = own_shape[axis]
                lane_stride = strides[axis]
                own_shape = own_shape[:axis] + own_shape[axis + 1 :]
                strides = strides[:axis] + strides[axis + 1 :]
            stride = element_stride(own_shape, strides) if own_shape else 8
            if (
                own_shape != shape
                or stride is None
                or arg.dtype is not _FLOAT64
                or not arg.flags.aligned
            ):
                return None
            count = 1
            for n in shape:
                count *= n
            if count:
                segments.append((address_of(arg), count, stride, lane_stride))
        if lanes < 1:
            return None
        if numbers:
            kept.append(array("d", numbers))
            segments.append((kept[-1].buffer_info()[0], len(numbers), 8, 0))
        result = self._result
        arrays = [numpy.empty((lanes, count)) for count in result.kept]
        places = [(address_of(x), x.shape[1], 8, 8 * x.shape[1]) for x in arrays if x.size]
        status, sums = self._kernel.run(segments, places, lanes, threads=self._threads)
        if status is not None and numpy.count_nonzero(status):
            self._left = True
            return None
        if self._mean:
            sums = None if sums is None else sums / lanes
            arrays = [x / lanes for x in arrays]
        return result.assembled(sums, arrays, lanes, None)


def _are_leaves(args: tuple[Any, ...]) -> bool:
    """Whether each argument is a leaf of its own."""
    return all(type(arg) in EXACT or isinstance(arg, (float, numpy.ndarray)) for arg in args)
