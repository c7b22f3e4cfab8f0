"""compile: a function that runs as machine code."""

from __future__ import annotations

import ctypes
import functools
import math
import os
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from chainrule import trees
from chainrule.lanes import Vmap, move_lanes
from chainrule.node import Node, apply
from chainrule.rules import Operation, described
from chainrule.tracing import PROGRESS, NotCompilable
from chainrule.transforms import Gradient, Jacobian, Transformed

from .arguments import Leaf, Packed, inputs_to_arguments, leaf_of
from .captures import Watch
from .machine import BLOCK
from .paths import Outputs, Paths, Prefix, TooManyTraces, run_lanes, run_point, run_reduced
from .pickling import reduced
from .trace import CompileError, Trace

MAX_STATIC_PLANS = 16
"""Recompilations over a static number after which a warning says to pass a float."""


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
        owner: Compiled,
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
                lambda arguments: self.owner.call_point(arguments),
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

    def _as_nodes(self, numbers: list[Any], rows: Any, nodes: list[Node]) -> list[Any]:
        """Results as nodes whose parents are the nodes among the inputs."""
        parents = [*nodes, *self.captured]
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
        nodes: list[Node],
    ) -> Any:
        """The result from the sums and the arrays over the lanes."""
        assert self.layout is not None
        n_sums = sum(size for axis, size in zip(axes, sizes, strict=True) if axis is None)
        rows = sums[n_sums:].reshape(n_sums, n_nodes) if n_nodes else None
        arrays = list(outputs.arrays)
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
            array = array.reshape((outputs.lanes, *(shape or ())))
            leaves.append(move_lanes(array, axis))
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


def peeled(
    function: Callable[..., Any],
) -> tuple[Callable[..., Any], Vmap | None, list[Transformed]]:
    """What to do at each lane, the vmap that says what the lanes are, and what stands around it.

    Differentiation is linear: the derivative of a sum over lanes, by what they share, is the sum of
    the derivatives at each lane.
    """
    outer: list[Transformed] = []
    inner = function
    while isinstance(inner, (Gradient, Jacobian)):
        outer.append(inner)
        inner = inner.function
    if not isinstance(inner, Vmap) or (outer and not _linear(outer, inner)):
        return function, None, []
    point = inner.function
    for transformed in reversed(outer):
        point = transformed.around(point)
    return point, inner, outer


def _linear(outer: Sequence[Transformed], vmap: Vmap) -> bool:
    """Whether transformations of a vmap are those of each lane, added up."""
    if vmap.reduce is None:
        return False
    if any(isinstance(t, Gradient) and t.has_aux for t in outer):
        return False
    if len(outer) == 1 and isinstance(outer[0], Gradient):
        return True
    if isinstance(vmap.in_axes, int) or vmap.in_axes is None:
        return False
    for transformed in outer:
        argnums = transformed.argnums  # type: ignore[attr-defined]
        for i in [argnums] if isinstance(argnums, int) else argnums:
            if not 0 <= i < len(vmap.in_axes) or vmap.in_axes[i] is not None:
                return False
    return not any(isinstance(t, Jacobian) and t.sparse for t in outer)


class Compiled:
    """A function that runs as machine code: see :func:`compile`."""

    def __init__(
        self,
        function: Callable[..., Any],
        check: bool = False,
        max_traces: int = 1000,
        threads: int | None = None,
    ) -> None:
        if not callable(function):
            raise TypeError(f"compile takes a function, not {described(function)}")
        if isinstance(function, Compiled):
            function = function.function
        if not isinstance(max_traces, int) or max_traces < 1:
            raise ValueError(f"compile: max_traces starts at 1, not {described(max_traces)}")
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise ValueError(f"compile: threads starts at 1, not {described(threads)}")
        self.function = function
        self.check = check
        self.max_traces = max_traces
        self.threads = threads
        self.point, self.vmap, self.outer = peeled(function)
        self.label = getattr(function, "__name__", None) or type(function).__name__
        self._plans: dict[Any, Plan] = {}
        self._fast: dict[tuple[type, ...], FastCall] = {}
        self._lock = threading.RLock()
        self._warned: set[str] = set()
        self.calls = 0
        functools.update_wrapper(self, function, updated=())

    def __repr__(self) -> str:
        inner = self.function
        return f"compile({repr(inner) if isinstance(inner, Transformed) else self.label})"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result for these arguments."""
        if PROGRESS.names:  # inside a transformation or trace, it is part of that graph
            return self.function(*args, **kwargs)
        self.calls += 1
        if not kwargs:
            fast = self._fast.get(tuple(map(type, args)))
            if fast is not None:
                result = fast(args)
                if result is not None:
                    return result
        result = self._call(args, kwargs)
        if self.check:
            self._compare(result, args, kwargs)
        return result

    def call_point(self, arguments: tuple[Any, dict[str, Any]]) -> Any:
        """The function at a single point, eagerly: what is traced."""
        args, kwargs = arguments
        return self.point(*args, **kwargs)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        leaves, structure = trees.leaves_of((args, kwargs))
        axes: list[int | None] = [None] * len(leaves)
        lanes = 0
        by_argument: list[list[int | None]] = []
        if self.vmap is not None:
            own, _, own_axes = self.vmap.axes_of(args)
            lanes = self.vmap.lanes_of(own, own_axes)
            if lanes == 0:
                raise ValueError("vmap: the arguments have no lanes (an axis of length 0)")
            axes[: len(own)] = own_axes
            start = 0
            for arg in args:
                count = len(trees.leaves_of(arg)[0])
                by_argument.append(own_axes[start : start + count])
                start += count
        differentiated = self._differentiated(args, len(leaves))
        key_leaves = tuple(
            leaf_of(value, axis, by)
            for value, axis, by in zip(leaves, axes, differentiated, strict=True)
        )
        key = (structure, key_leaves)
        plan = self._plans.get(key)
        if plan is None or (plan.watch is not None and plan.watch.changed()):
            with self._lock:
                plan = self._plans.get(key)
                if plan is None or (plan.watch is not None and plan.watch.changed()):
                    plan = Plan(self, key_leaves, leaves, structure, by_argument)
                    self._plans[key] = plan
                    self._fast.clear()
                    self._warn_of_statics()
        if plan.eager:
            return self.function(*args, **kwargs)
        try:
            result = plan.run(leaves, lanes)
        except (TooManyTraces, NotCompilable) as error:
            plan.eager = True
            why = str(error) or f"it takes more than {self.max_traces} paths (max_traces)"
            self._warn(why, f"{self!r} runs eagerly: {why}")
            return self.function(*args, **kwargs)
        if not kwargs and FastCall.fits(plan, args):
            self._fast[tuple(map(type, args))] = FastCall(plan)
        return result

    def _differentiated(self, args: tuple[Any, ...], count: int) -> list[bool]:
        """For each leaf whether the function differentiates by it: whole numbers are floats there."""
        inner = self.function
        wanted: set[int] = set()
        while isinstance(inner, (Gradient, Jacobian, Vmap)):
            if not isinstance(inner, Vmap):
                argnums = inner.argnums
                wanted.update([argnums] if isinstance(argnums, int) else argnums)
            inner = inner.function
        flags: list[bool] = []
        if wanted:
            for i, arg in enumerate(args):
                by = i in wanted or i - len(args) in wanted
                flags.extend([by] * len(trees.leaves_of(arg)[0]))
        return flags + [False] * (count - len(flags))

    def _warn(self, key: str, message: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            warnings.warn(message, RuntimeWarning, stacklevel=4)

    def _warn_of_statics(self) -> None:
        if len(self._plans) > MAX_STATIC_PLANS:
            kinds = [tuple(leaf.kind for leaf in key[1]) for key in self._plans]
            if len(kinds) - len(set(kinds)) >= MAX_STATIC_PLANS:
                self._warn(
                    "static",
                    f"{self!r} was compiled {len(kinds)} times: whole numbers, texts and shapes are"
                    " part of the compiled code; pass a number that varies as a float",
                )

    def _compare(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise CompileError if the function itself gives something else."""
        expected, layout = trees.flatten(self.function(*args, **kwargs), "check")
        found, found_layout = trees.flatten(result, "check")
        if layout != found_layout:
            raise CompileError(f"{self!r} gave {found_layout}; computed eagerly it is {layout}")
        for i, (x, y) in enumerate(zip(found, expected, strict=True)):
            u = x._data if isinstance(x, Node) else x
            v = y._data if isinstance(y, Node) else y
            if not (math.isclose(u, v, rel_tol=1e-9, abs_tol=1e-12) or (u != u and v != v)):
                raise CompileError(
                    f"{self!r} gave {u!r} as number {i} of its result; computed eagerly it is"
                    f" {v!r}. Does it use something that has changed since it was traced?"
                )

    def stats(self) -> Stats:
        """What has been done: traces, nodes, compile time."""
        plans = list(self._plans.values())
        paths = [path for plan in plans for path in plan.paths.all()]
        return Stats(
            calls=self.calls,
            plans=len(plans),
            traces=sum(plan.paths.traces for plan in plans),
            nodes=sum(plan.paths.nodes for plan in plans),
            trace_seconds=sum(plan.trace_seconds for plan in plans),
            compile_seconds=sum(path.compile_seconds for path in paths),
            lanes=BLOCK if self.vmap is not None else 1,
            eager=any(plan.eager for plan in plans),
        )

    def tape(self) -> str:
        """The recorded programs to read, one value a line.

        Raises:
            CompileError: if the function has not been called yet.
        """
        texts = []
        for plan in self._plans.values():
            for path in plan.paths.all():
                head = f"after {len(path.prefix)} guards:\n" if path.prefix else ""
                texts.append(head + str(path.tape))
        if not texts:
            raise CompileError("there is no tape yet: call the compiled function first")
        return "\n\n".join(texts)

    def __reduce__(self) -> Any:
        return reduced(self)

    def __copy__(self) -> Compiled:
        return Compiled(self.function, self.check, self.max_traces, self.threads)

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        return self.__copy__()


@dataclass(frozen=True)
class Stats:
    """What a compiled function has done.

    Attributes:
        calls: how often it was called.
        plans: kinds of arguments it was compiled for.
        traces: recorded paths through the function.
        nodes: values on their tapes, all together.
        trace_seconds: time spent running the function on nodes.
        compile_seconds: time spent making machine code.
        lanes: lanes computed at a time.
        eager: whether some kind of arguments runs eagerly instead.
    """

    calls: int
    plans: int
    traces: int
    nodes: int
    trace_seconds: float
    compile_seconds: float
    lanes: int
    eager: bool


class FastCall:
    """A call with floats alone for a single point, with as little as possible around the code."""

    def __init__(self, plan: Plan) -> None:
        path = plan.paths.at((), lambda: [])
        self._call = path.kernel().call
        self._inputs = ctypes.c_double * max(plan.n_inputs, 1)
        self._outputs = ctypes.c_double * max(plan.n_results, 1)
        assert plan.layout is not None
        self._plain = plan.layout.shapes == (None,) and plan.layout.structure.is_leaf()
        self._unflatten = plan.layout.unflatten

    @staticmethod
    def fits(plan: Plan, args: tuple[Any, ...]) -> bool:
        """Whether calls with arguments of these types can be made this way."""
        return (
            plan.owner.vmap is None
            and not plan.owner.check
            and not plan.captured
            and plan.watch is not None
            and plan.watch.nothing
            and all(type(arg) is float for arg in args)
            and plan.paths.at((), lambda: []).constant is None
        )

    def __call__(self, args: tuple[float, ...]) -> Any:
        """The result; None if it follows another trace."""
        inputs = self._inputs(*args)
        outputs = self._outputs()
        if self._call(ctypes.addressof(inputs), ctypes.addressof(outputs)):
            return None
        return outputs[0] if self._plain else self._unflatten(list(outputs))


def compile(
    f: Callable[..., Any] | None = None,
    *,
    check: bool = False,
    max_traces: int = 1000,
    threads: int | None = None,
) -> Any:
    """A function that runs as machine code; also a decorator.

    At the first call the function runs once on nodes; the graph it built becomes machine code.
    Branches are followed: each comparison is a guard, and a call, or a lane of a
    :func:`~chainrule.vmap`, that takes another path runs (and first records) another trace.

    Floats and arrays of them are inputs, nodes too: then the result is a node whose ``backward``
    works. Whole numbers, truth values, texts and None are static: another one compiles again.
    Arrays of whole numbers are indices, see :func:`~chainrule.take`. Leaf nodes that the function
    uses from outside (the weights of a model) are read at each call.

    Args:
        f: a function of trees of numbers and arrays, or what a transformation made of one.
        check: compute each call eagerly too, and raise CompileError on a difference.
        max_traces: paths to record before it runs eagerly, with one warning.
        threads: for the lanes; by default ``CHAINRULE_THREADS`` or all usable cores.

    Raises:
        TypeError: if f is not callable.
    """
    if f is None:
        return functools.partial(compile, check=check, max_traces=max_traces, threads=threads)
    return Compiled(f, check, max_traces, threads)
