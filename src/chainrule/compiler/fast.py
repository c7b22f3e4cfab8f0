"""Frequent calls over lanes with as little as possible around the machine code."""

from __future__ import annotations

from array import array
from typing import Any

import numpy

from chainrule.backends.llvm.addresses import address_of

from .arguments import element_stride
from .plan import Plan

_FLOAT64 = numpy.dtype(numpy.float64)


class FastLanes:
    """A call over lanes with float arrays and numbers as arguments, all on the first path."""

    def __init__(self, plan: Plan) -> None:
        assert plan.result is not None
        self.plan = plan
        self._result = plan.result
        self._kernel = plan.paths.at((), lambda: []).kernel(plan.result.reduce)
        self._leaves = plan.leaves
        self._threads = plan.threads
        self._mean = plan.owner.vmap is not None and plan.owner.vmap.reduce == "mean"
        self._watch = plan.watch if plan.watch is not None and not plan.watch.nothing else None
        self._left = False  # whether lanes have taken another path

    @staticmethod
    def fits(plan: Plan, args: tuple[Any, ...]) -> bool:
        """Whether calls with arguments of these types can be made this way."""
        if plan.result is None or plan.captured or plan.live or plan.paths.traces > 1:
            return False
        return (
            len(plan.leaves) == len(args)
            and all(
                leaf.kind == "array" or (leaf.kind == "number" and type(arg) is float)
                for leaf, arg in zip(plan.leaves, args, strict=True)
            )
            and plan.paths.at((), lambda: []).constant is None
        )

    def __call__(self, args: tuple[Any, ...]) -> Any:
        """The result; None if an argument is of another kind, or a lane leaves the path."""
        if self._left or (self._watch is not None and self._watch.changed()):
            return None
        segments = []
        kept = []
        lanes = -1
        for arg, (_, shape, axis, _) in zip(args, self._leaves, strict=True):
            if shape is None:
                number = array("d", (arg,))
                kept.append(number)
                segments.append((number.buffer_info()[0], 1, 8, 0))
                continue
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
        result = self._result
        arrays = [numpy.empty((lanes, count)) for count in result.kept]
        places = [(address_of(x), x.shape[1], 8, 8 * x.shape[1]) for x in arrays if x.size]
        status, sums = self._kernel.run(segments, places, lanes, threads=self._threads)
        if status is not None and status.any():
            self._left = True
            return None
        if self._mean:
            sums = None if sums is None else sums / lanes
            arrays = [x / lanes for x in arrays]
        return result.assembled(sums, arrays, lanes, None)
