"""Lanes by the function itself, one after another, with as little as possible around it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from chainrule import trees
from chainrule.array_elements import objects
from chainrule.arrays import NodeArray
from chainrule.backpropagation import send_gradients
from chainrule.differentiation import fresh_inputs
from chainrule.handover import handed_array
from chainrule.node import Node
from chainrule.tracing import PROGRESS, transformation
from chainrule.transforms import Gradient, handed_to

from .arguments import as_computed

if TYPE_CHECKING:
    from .plan import Plan


class EagerLanes:
    """The outputs at lanes of a call, of which none is a node.

    Args:
        plan: what is compiled for arguments of the kind.
        counts: how many leaves each positional argument has.
    """

    def __init__(self, plan: Plan, counts: Sequence[int]) -> None:
        self._plan = plan
        self._leaves = plan.leaves
        args, kwargs = plan.structure.children()
        self._flat = not kwargs.num_leaves and all(x.is_leaf() for x in args.children())
        self._gradient: Gradient | None = None
        self._by: list[int] = []  # the leaves that it is differentiated by, in order
        point = plan.owner.point
        if isinstance(point, Gradient) and not point.has_aux:
            argnums, n = point.argnums, len(counts)
            wanted = [argnums] if isinstance(argnums, int) else argnums
            starts = [0, *itertools.accumulate(counts)]
            for i in {i % n: None for i in wanted if -n <= i < n}:
                self._by.extend(range(starts[i], starts[i + 1]))
            if self._by and all(self._leaves[k].kind in ("number", "array") for k in self._by):
                self._gradient = point

    def outputs(self, values: Sequence[Any], lanes: Any) -> list[list[float]]:
        """The outputs at each of some lanes.

        Args:
            values: the leaves of the call.
            lanes: their numbers.
        """
        if self._gradient is not None and PROGRESS.recorder is None:
            rows = self._gradients(self._gradient, values, lanes)
            if rows is not None:
                return rows
            self._gradient = None
        plan = self._plan
        columns = [self._column(k, values[k], lanes) for k in range(len(values))]
        with plan.untraced():
            return [
                plan.numbers_of(self._result(plan.owner.point, point, plan.owner.label))
                for point in zip(*columns, strict=False)
            ]

    def _gradients(
        self, gradient: Gradient, values: Sequence[Any], lanes: Any
    ) -> list[list[float]] | None:
        """The same for gradients; None if one needs more than numbers sent back in a graph.

        The inputs of all lanes are made at once. Lanes don't meet: an output that hangs on inputs
        of another lane has none of its own that tell how.
        """
        rows = []
        with transformation(gradient.name) as level:
            inputs = [self._inputs(k, values[k], lanes, level) for k in self._by]
            columns = [
                inputs[self._by.index(k)] if k in self._by else self._column(k, x, lanes)
                for k, x in enumerate(values)
            ]
            owned = numpy.concatenate([x.reshape(len(lanes), -1) for x in inputs], axis=1)
            for own, *point in zip(owned.tolist(), *columns, strict=False):
                y = self._result(gradient.function, point, gradient.name)
                if type(y) is float:
                    value, slopes = y, [0.0] * len(own)
                elif isinstance(y, Node) and y._level == level and send_gradients(y, own):
                    value, slopes = y._number, [x._grad for x in own]
                else:
                    return None
                rows.append([value, *slopes] if gradient.value else slopes)
        return rows

    def _result(self, function: Callable[..., Any], point: Sequence[Any], name: str) -> Any:
        """The result of a function for the leaves of its arguments."""
        if self._flat and PROGRESS.recorder is None:  # which it can't change: arrays are read-only
            return function(*point)
        args, kwargs = trees.unflatten(self._plan.structure, point)
        return handed_to(function, args, kwargs, name)

    def _rows(self, k: int, value: Any, lanes: Any) -> Any:
        """A leaf at each of some lanes, in an array."""
        leaf = self._leaves[k]
        if leaf.axis is None:
            return numpy.broadcast_to(value, (len(lanes), *(leaf.shape or ())))
        return numpy.moveaxis(value, leaf.axis, 0)[lanes]

    def _column(self, k: int, value: Any, lanes: Any) -> Any:
        """The same, as the function takes it."""
        leaf = self._leaves[k]
        computed = as_computed(leaf, value if leaf.axis is None else self._rows(k, value, lanes))
        if isinstance(computed, numpy.ndarray):
            computed = handed_array(computed)
        if leaf.axis is None:
            return itertools.repeat(computed)
        return computed if leaf.shape else computed.tolist()

    def _inputs(self, k: int, value: Any, lanes: Any, level: int) -> Any:
        """Nodes in its place."""
        numbers = numpy.asarray(self._rows(k, value, lanes), numpy.float64)
        nodes = fresh_inputs(numbers.ravel().tolist(), level)
        return handed_array(objects(nodes).view(NodeArray).reshape(numbers.shape))
