"""What is compiled for one kind of arguments, and how a call of it runs."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy

from chainrule import forking, trees
from chainrule.backends.llvm.addresses import address_of
from chainrule.lanes import Vmap, lane_of
from chainrule.node import Node, apply
from chainrule.rules import Operation, described
from chainrule.sparse import holds_sparse, taken_apart
from chainrule.tracing import NotCompilable
from chainrule.transforms import Gradient, Transformed, handed_to

from .arguments import Leaf, Packed, inputs_to_arguments
from .captures import Watch
from .draws import Draws
from .indices import OutsideTableError
from .paths import Eager, Outputs, Paths, Prefix, TooManyTraces, run_lanes, run_point, run_reduced
from .results import LaneResult
from .sites import PlainSites
from .small import SmallCall, pattern_of_arguments
from .statics import Order, State
from .trace import Restart, Trace


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

    def warn_of_draws(self, generator: str) -> None:
        """Warn once that random numbers were drawn."""


class Plan:
    """A function compiled for one kind of arguments: their structure, shapes and static values.

    Args:
        owner: the compiled function.
        leaves: what the key keeps of each leaf of the arguments.
        structure: of the arguments.
        axes_by_argument: for the leaves of each argument the axis of the lanes.
        order: tells what arguments of the structure may differ in.
    """

    def __init__(
        self,
        owner: Owner,
        leaves: Sequence[Leaf],
        structure: Any,
        axes_by_argument: list[list[int | None]],
        order: Order,
    ) -> None:
        self.owner = owner
        self.leaves = list(leaves)
        self.structure = structure
        self.order = order
        self._structure = structure
        self._axes_by_argument = axes_by_argument
        self.lanes = owner.vmap is not None
        self.threads = owner.threads or thread_count()
        self._call = threading.local()  # the leaves of the call that a thread runs
        self._make_arguments = inputs_to_arguments(structure, leaves, lambda: self._call.values)
        self.n_inputs = sum(leaf.size for leaf in leaves)
        self.live: list[int] = []  # the inputs that may be nodes
        self._shared: list[bool] = []
        for leaf in leaves:
            if leaf.kind in ("node", "nodes"):
                self.live.extend(range(len(self._shared), len(self._shared) + leaf.size))
            self._shared.extend([leaf.axis is None] * leaf.size)
        self.layout: trees.Layout | None = None
        self.watch: Watch | None = None
        self._operations: list[Operation] = []  # of the user's, in any trace
        self._plain = PlainSites()
        self.trace_seconds = 0.0
        self._lock = forking.lock()
        self._draws = Draws(owner.function)
        self.eager = False
        self._pattern: Any = None if self.lanes else pattern_of_arguments(structure, leaves)
        self.small: Any = None  # what calls it with plain arguments
        self.result: LaneResult | None = None
        self.paths = self._new_paths()

    def _new_paths(self, captured: Sequence[Node] = ()) -> Paths:
        uniform = (lambda trace: self._uniform(trace)) if self.lanes else None
        paths = Paths(
            lambda point, prefix: self._record(paths, point, prefix),
            uniform,
            self.owner.max_traces,
        )
        paths.captured = captured
        return paths

    @property
    def captured(self) -> Sequence[Node]:
        """The nodes from outside that the traces use."""
        return self.paths.captured

    def _uniform(self, trace: Trace) -> list[bool]:
        return [*self._shared, *[True] * len(trace.captured)]

    def _record(self, paths: Paths, point: Sequence[float], prefix: Prefix) -> Trace:
        """Run the function on nodes."""
        self._draws.begin()
        start = time.perf_counter()
        static = self._static()
        before = [(State(value), State(value, cached=False)) for value in static]
        try:
            trace = Trace(
                self._at_point,
                point[: self.n_inputs],
                self._make_arguments,
                self.live,
                prefix,
                paths.captured,
                plain=self._plain,
            )
        except Restart:
            self.paths = self._new_paths(paths.captured)
            raise
        except MemoryError:
            raise MemoryError(
                f"tracing {self.owner!r} ran out of memory; compile the body of the loop, or use"
                " vmap for what is done for many points"
            ) from None
        self.trace_seconds += time.perf_counter() - start
        generator = self._draws.made()
        if generator is not None:
            self.owner.warn_of_draws(generator)
        for value, (whole, state) in zip(static, before, strict=True):
            now = State(value)
            traced = now.holds_traced() and not whole.holds_traced()
            if traced or (now != whole and State(value, cached=False) != state):
                raise TypeError(
                    f"{self.owner!r}: the function has changed {described(value)}, which it would"
                    " do when it is traced, but not in each call; return what is new instead"
                )
        self._check_layout(trace.layout)
        captured = trace.captured
        used = [op for op in trace.operations if not any(op is known for known in self._operations)]
        if self.watch is None or used or len(captured) > len(paths.captured):
            self._operations += used
            watch = Watch(self.owner.function, captured, static, self._operations)
            if watch.hidden:
                raise NotCompilable(watch.hidden)
            if watch.unseen:
                raise NotCompilable(
                    f"it uses {watch.unseen[0]!r}, a node that it does not lead to in a way that"
                    " could be watched, so that another in its place would not be noticed; pass it"
                    " as an argument"
                )
            self.watch = watch
        if len(captured) > len(paths.captured):
            if paths.traces:
                self.paths = self._new_paths(captured)
                raise Restart
            paths.captured = captured
        return trace

    def _static(self) -> list[Any]:
        """The static values of the call at hand."""
        values = zip(self.leaves, self._call.values, strict=True)
        return [value for leaf, value in values if leaf.kind == "static"]

    def _at_point(self, arguments: Any) -> Any:
        """The function itself, at one lane."""
        args, kwargs = arguments
        result = handed_to(self.owner.point, args, kwargs, self.owner.label)
        if self.lanes and holds_sparse(result):
            raise TypeError(
                "vmap can't stack the sparse matrices of its lanes; leave out sparse=True"
            )
        return taken_apart(result)

    @property
    def is_outdated(self) -> bool:
        """Whether the function is bound to other nodes than those that it was compiled for."""
        return self.watch is not None and self.watch.changed()

    def run(self, values: Sequence[Any], lanes: int) -> Any:
        """The result for the leaves of a call.

        Raises:
            NotCompilable: if it can't be compiled.
            TooManyTraces: if it takes too many paths.
        """
        return self._with(values, lambda: self._run(values, lanes))

    def small_call(self) -> Any:
        """What calls it with plain arguments; None if that can't be."""
        path = self.paths.known(())
        step = None
        if self._pattern is not None and not self.captured and path is not None:
            step = path.step
        if step is None:
            self.small = None
        elif self.small is None or self.small.first is not step:
            looks, changed = ((), None) if self.watch is None else self.watch.split()
            self.small = SmallCall(self._pattern, step, looks, changed, self)
        return self.small

    def prepare(self, values: Sequence[Any]) -> None:
        """Compile for the path that the leaves of a call take, or their first lane."""
        self._with(values, lambda: self._prepare(values))

    def _with(self, values: Sequence[Any], run: Callable[[], Any]) -> Any:
        """What a run gives for the leaves of a call, once nothing has to be recorded anew."""
        outer = getattr(self._call, "values", None)
        self._call.values = values
        try:
            while True:
                try:
                    return run()
                except Restart:
                    continue
                except (TooManyTraces, NotCompilable):
                    self.eager = True
                    raise
        finally:
            self._call.values = outer

    def _prepare(self, values: Sequence[Any]) -> None:
        packed = Packed(self.leaves, values)
        path = self.paths.at((), lambda: packed.at(0))
        if path.constant is None:
            added: tuple[bool, ...] = ()
            if self.lanes:
                added = self._lane_result(len(self.live) + len(self.paths.captured)).reduce
            path.kernel(added)

    def _run(self, values: Sequence[Any], lanes: int) -> Any:
        packed = Packed(self.leaves, values)
        try:
            return self._run_packed(packed, values, lanes)
        except OutsideTableError as error:
            if self.lanes and error.lane is None:
                error.lane = packed.asked
            raise

    def _run_packed(self, packed: Packed, values: Sequence[Any], lanes: int) -> Any:
        paths = self.paths
        paths.at((), lambda: packed.at(0))
        captured = paths.captured
        packed.add(captured)
        n_nodes = len(self.live) + len(captured)
        if not self.lanes:
            inputs = packed.contiguous()
            trace, outputs = run_point(
                paths, lambda: packed.at(0), address_of(inputs), patient=not n_nodes
            )
            if not n_nodes:
                return trace.layout.unflatten_numbers(outputs)
            numbers: list[Any] = outputs[: trace.n_results].tolist()
            rows = outputs[trace.n_results :].reshape(-1, n_nodes)
            nodes = [*packed.nodes, *captured]
            return trace.layout.unflatten(self._as_nodes(numbers, rows, nodes))
        eager = None if n_nodes else functools.partial(self._eager_outputs, values)
        return self._run_lanes(paths, packed, lanes, n_nodes, eager)

    def _as_nodes(self, numbers: list[Any], rows: Any, nodes: list[Node | None]) -> list[Any]:
        """Results as nodes whose parents are the nodes among the inputs, captured ones included."""
        parents = [node for node in nodes if node is not None]
        if not parents:
            return numbers
        if len(parents) < len(nodes):
            rows = rows[:, [i for i, node in enumerate(nodes) if node is not None]]
        name = self.owner.label
        return [
            _result_node(name, y, parents, row)
            for y, row in zip(numbers, rows.tolist(), strict=True)
        ]

    def _eager_outputs(self, values: Sequence[Any], lane: int) -> list[float]:
        """The outputs for a lane of a call's leaves, by running the function."""
        point = [
            value if leaf.axis is None else lane_of(value, leaf.axis, lane)
            for leaf, value in zip(self.leaves, values, strict=True)
        ]
        result = self._at_point(trees.unflatten(self._structure, point))
        outputs, layout = trees.flatten(result, "compile: the function's result", truths=True)
        self._check_layout(layout)
        return [y._number if isinstance(y, Node) else y for y in outputs]

    def _check_layout(self, layout: trees.Layout) -> None:
        """Raise TypeError if lanes give different results."""
        if self.layout is None:
            self.layout = layout  # of all lanes; single points may have others
        elif self.lanes and layout != self.layout:
            raise TypeError(
                f"{self.owner!r}: the result must have one structure and shape in all lanes,"
                f" whatever branch they take; it was {self.layout}, and is {layout} on"
                " another path"
            )

    def _run_lanes(
        self, paths: Paths, packed: Packed, lanes: int, n_nodes: int, eager: Eager | None
    ) -> Any:
        owner = self.owner
        result = self._lane_result(n_nodes)
        outputs = Outputs(result.kept, lanes)
        inputs = packed.segments
        if result.any_added:
            sums = run_reduced(
                paths, packed.at, inputs, lanes, result.added, outputs, self.threads, eager
            )
        else:
            sums = numpy.empty(0)
            run_lanes(paths, packed.at, inputs, lanes, outputs, self.threads, eager=eager)
        if owner.vmap is not None and owner.vmap.reduce == "mean":
            sums = sums / lanes
            for array in outputs.arrays:
                array /= lanes
        nodes = [*packed.nodes, *paths.captured]
        as_nodes = functools.partial(self._as_nodes, nodes=nodes) if n_nodes else None
        return result.assembled(sums, outputs.arrays, lanes, as_nodes)

    def _lane_result(self, n_nodes: int) -> LaneResult:
        if self.result is None or self.result.n_nodes != n_nodes:
            assert self.layout is not None
            self.result = LaneResult(self.layout, self._lane_axes(), n_nodes)
        return self.result

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
    return apply(Operation(name, lambda *xs: value, lambda y, *xs: grads), parents)


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
