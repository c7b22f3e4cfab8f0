"""What is compiled for one kind of arguments, and how a call of it runs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy

from chainrule import trees
from chainrule.lanes import Vmap, move_lanes
from chainrule.node import Node, apply
from chainrule.rules import Operation
from chainrule.transforms import Gradient, Transformed

from .arguments import Leaf, Packed, inputs_to_arguments
from .captures import Watch
from .paths import Outputs, Paths, Prefix, run_lanes, run_point, run_reduced
from .trace import Trace


class Owner(Protocol):
    """What a plan asks of its compiled function."""

    function: Callable[..., Any]
    point: Callable[..., Any]
    vmap: Vmap | None
    outer: list[Transformed]
    label: str
    check: bool
    max_traces: int
    threads: int | None


class _Restart(Exception):
    """A trace has captured nodes that the ones before it had not: record all of them anew."""


class Plan:
    """A function compiled for one kind of arguments: their structure, shapes and static values.

    Args:
        owner: the compiled function.
        leaves: what the key keeps of each leaf of the arguments.
        values: the leaves of the first call, whose static ones count.
        structure: of the arguments.
        axes_by_argument: for the leaves of each argument the axis of the lanes.
    """

    def __init__(
        self,
        owner: Owner,
        leaves: Sequence[Leaf],
        values: Sequence[Any],
        structure: Any,
        axes_by_argument: list[list[int | None]],
    ) -> None:
        self.owner = owner
        self.leaves = list(leaves)
        self._axes_by_argument = axes_by_argument
        self.lanes = owner.vmap is not None
        static = [
            v if leaf.kind == "static" else None for v, leaf in zip(values, leaves, strict=True)
        ]
        self._make_arguments = inputs_to_arguments(structure, leaves, static)
        self.n_inputs = sum(leaf.count for leaf in leaves)
        self.live: list[int] = []  # the inputs that may be nodes
        self._shared: list[bool] = []
        for leaf in leaves:
            if leaf.kind in ("node", "nodes"):
                self.live.extend(range(len(self._shared), len(self._shared) + leaf.count))
            self._shared.extend([leaf.axis is None] * leaf.count)
        self.layout: trees.Layout | None = None
        self.n_results = 0
        self.captured: list[Node] = []
        self.watch: Watch | None = None
        self.trace_seconds = 0.0
        self._lock = threading.RLock()
        self.eager = False
        self.paths = self._new_paths()

    def _new_paths(self) -> Paths:
        uniform = (lambda trace: self._uniform(trace)) if self.lanes else None
        return Paths(self._record, uniform, self.owner.max_traces)

    def _uniform(self, trace: Trace) -> list[bool]:
        return [*self._shared, *[True] * len(trace.recording.captured)]

    def _record(self, point: Sequence[float], prefix: Prefix) -> Trace:
        """Run the function on nodes."""
        start = time.perf_counter()
        try:
            trace = Trace(
                lambda arguments: self.owner.point(*arguments[0], **arguments[1]),
                point[: self.n_inputs],
                self._make_arguments,
                self.live,
                prefix,
                self.captured,
            )
        except MemoryError:
            raise MemoryError(
                f"tracing {self.owner!r} ran out of memory; compile the body of the loop, or use"
                " vmap for what is done for many points"
            ) from None
        self.trace_seconds += time.perf_counter() - start
        if self.layout is None:
            self.layout = trace.layout
            self.n_results = trace.n_results
        elif trace.layout != self.layout:
            raise TypeError(
                f"{self.owner!r}: the result must have one structure and shape whatever branch is"
                f" taken; it was {self.layout}, and is {trace.layout} on another path"
            )
        captured = trace.recording.captured
        if self.watch is None:
            self.watch = Watch(self.owner.function, captured)
        if len(captured) > len(self.captured):
            first = self.paths.traces == 0
            self.captured = captured
            self.watch = Watch(self.owner.function, captured)
            if not first:
                self.paths = self._new_paths()
                raise _Restart
        return trace

    def run(self, values: Sequence[Any], lanes: int) -> Any:
        """The result for the leaves of a call."""
        while True:
            try:
                return self._run(values, lanes)
            except _Restart:
                continue

    def _run(self, values: Sequence[Any], lanes: int) -> Any:
        packed = Packed(self.leaves, values)
        paths = self.paths
        paths.at((), lambda: packed.at(0))
        assert self.layout is not None
        captured = self.captured
        packed.add(captured)
        n_nodes = len(self.live) + len(captured)
        if not self.lanes:
            inputs = packed.contiguous()
            results = numpy.empty(self.n_results * (1 + n_nodes))
            run_point(paths, lambda: packed.at(0), inputs.ctypes.data, results.ctypes.data)
            numbers: list[Any] = results[: self.n_results].tolist()
            if n_nodes:
                numbers = self._as_nodes(
                    numbers, results[self.n_results :].reshape(-1, n_nodes), packed.nodes
                )
            return self.layout.unflatten(numbers)
        return self._run_lanes(packed, lanes, n_nodes)

    def _as_nodes(self, numbers: list[Any], rows: Any, nodes: list[Node | None]) -> list[Any]:
        """Results as nodes whose parents are the nodes among the inputs."""
        found = [*nodes, *self.captured]
        parents = [node for node in found if node is not None]
        if not parents:
            return numbers
        if len(parents) < len(found):
            rows = rows[:, [i for i, node in enumerate(found) if node is not None]]
        name = self.owner.label
        return [
            _result_node(name, y, parents, row)
            for y, row in zip(numbers, rows.tolist(), strict=True)
        ]

    def _run_lanes(self, packed: Packed, lanes: int, n_nodes: int) -> Any:
        assert self.layout is not None
        owner = self.owner
        threads = owner.threads or thread_count()
        axes = self._lane_axes()
        reduced = [axis is None for axis in axes]
        sizes = [trees.size_of(shape) for shape in self.layout.shapes]
        flags = [r for r, size in zip(reduced, sizes, strict=True) for _ in range(size)]
        flags += [r for r in flags for _ in range(n_nodes)]
        kept = [size for r, size in zip(reduced, sizes, strict=True) if not r]
        if n_nodes and not all(reduced):
            kept.append(sum(kept) * n_nodes)
        outputs = Outputs(kept, lanes)
        if any(flags):
            sums = run_reduced(
                self.paths, packed.at, packed.segments, lanes, tuple(flags), outputs, threads
            )
            if owner.vmap is not None and owner.vmap.reduce == "mean":
                sums = sums / lanes
                for array in outputs.arrays:
                    array /= lanes
        else:
            sums = numpy.empty(0)
            run_lanes(self.paths, packed.at, packed.segments, lanes, outputs, threads)
        return self._assembled(sums, outputs, axes, sizes, n_nodes, packed.nodes)

    def _assembled(
        self,
        sums: Any,
        outputs: Outputs,
        axes: list[int | None],
        sizes: list[int],
        n_nodes: int,
        nodes: list[Node | None],
    ) -> Any:
        """The result from the sums and the arrays over the lanes."""
        assert self.layout is not None
        n_sums = sum(size for axis, size in zip(axes, sizes, strict=True) if axis is None)
        rows = sums[n_sums:].reshape(n_sums, n_nodes) if n_nodes else None
        arrays: list[Any] = list(outputs.arrays)
        slopes = arrays.pop() if n_nodes and any(axis is not None for axis in axes) else None
        leaves: list[Any] = []
        at_sum = at_slope = 0
        for shape, size, axis in zip(self.layout.shapes, sizes, axes, strict=True):
            if axis is None:
                values = sums[at_sum : at_sum + size].tolist()
                if rows is not None:
                    values = self._as_nodes(values, rows[at_sum : at_sum + size], nodes)
                at_sum += size
                leaves.append(values[0] if shape is None else trees.array_of(values, shape))
                continue
            array = arrays.pop(0)
            if slopes is not None:
                stop = at_slope + size * n_nodes
                own = slopes[:, at_slope:stop].reshape(-1, n_nodes)
                at_slope = stop
                made = self._as_nodes(array.ravel().tolist(), own, nodes)
                array = numpy.empty(len(made), dtype=object)
                array[:] = made
            leaves.append(move_lanes(array.reshape((outputs.lanes, *(shape or ()))), axis))
        return trees.unflatten(self.layout.structure, leaves)

    def _lane_axes(self) -> list[int | None]:
        """For each leaf of the result the axis of the lanes; None if they are added up.

        Of a gradient over a reduction, the part by what all lanes share is added up; the part by an
        array over the lanes is such an array.
        """
        assert self.layout is not None
        vmap = self.owner.vmap
        assert vmap is not None
        count = len(self.layout.shapes)
        if vmap.reduce is None:
            return [vmap.out_axes] * count
        outer = self.owner.outer
        if len(outer) != 1 or not isinstance(outer[0], Gradient):
            return [None] * count
        gradient = outer[0]
        axes: list[int | None] = [None] if gradient.value else []
        argnums = gradient.argnums
        for i in [argnums] if isinstance(argnums, int) else argnums:
            axes.extend(self._axes_by_argument[i])
        return axes


def _result_node(name: str, value: float, parents: list[Node], grads: list[float]) -> Node:
    """A node of a value with known local gradients."""
    operation = Operation(name, lambda *xs: value, lambda y, *xs: grads)
    operation.native = True  # nothing of the user's runs in it
    return apply(operation, parents)


def thread_count() -> int:
    """How many threads compiled functions use: ``CHAINRULE_THREADS``, else all usable cores.

    Raises:
        ValueError: if the variable is no positive whole number.
    """
    text = os.environ.get("CHAINRULE_THREADS")
    if text is None:
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"CHAINRULE_THREADS is a whole number from 1 up, not {text!r}")
    return int(text)
