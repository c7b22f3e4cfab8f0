"""What is compiled for one kind of arguments, and how a call of it runs."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy

from chainrule import forking, trees
from chainrule.backends.llvm.threads import thread_count
from chainrule.debugging import printing_at_the_end
from chainrule.engine import ENGINE
from chainrule.node import Node, apply
from chainrule.rules import Operation, described
from chainrule.sparse import SparseNodes, refuse_stacking, taken_apart
from chainrule.tracing import PROGRESS, NotCompilable
from chainrule.transforms import Gradient, Jacobian, Transformed, handed_to

from .arguments import Arguments, ManyResults, Packed, as_computed
from .captures import Watch
from .eager_lanes import EagerLanes
from .indices import OutsideTableError
from .inner_gradients import InnerGradients
from .lane_call import LaneCall, sums_of_one_path
from .paths import NotYet, Path, Paths, Prefix, run_point
from .results import LaneResult
from .small import pattern_of_arguments
from .statics import EXACT, State
from .trace import MANY_RESULTS, Answered, Restart, Trace
from .traced_function import TracedFunction

if TYPE_CHECKING:
    from .function import Compiled, Form, Key
    from .inside import Inside


class Plan(TracedFunction):
    """A function compiled for one kind of arguments: their structure, shapes and static values.

    Args:
        owner: the compiled function.
        form: what the structure of the arguments says about their leaves.
        key: what arguments of the kind have in common.
    """

    def __init__(self, owner: Compiled, form: Form, key: Key) -> None:
        structure, self._in_order, leaves = key
        self.owner = owner
        self._form = form
        lanes = owner.vmap is not None
        super().__init__(owner.function, structure, leaves, lanes, owner.options.max_traces)
        self.branches.rewrite = owner.options.rewrite
        self.derives = isinstance(owner.point, (Gradient, Jacobian))
        self.has_indices = any(leaf.kind == "indices" and leaf.axis is None for leaf in leaves)
        if not owner.by_results:
            self.most_results = MANY_RESULTS
        self.has_many_results = False  # calls with nodes are one operation
        self.threads = owner.options.threads or thread_count()
        self.watch: Watch | None = None
        self._watched = -1  # how many nodes the watch is for
        self._operations: list[Operation] = []  # of the user's, in any trace
        self.eager = False
        different = {id(leaf): leaf for leaf in leaves}.values()
        self.is_plain = all(x.kind in ("array", "number") or x.is_exact for x in different)
        self._arguments = Arguments(form.args, leaves)
        self._inputs = [k for k, leaf in enumerate(leaves) if leaf.kind != "static"]
        self._pattern: Any = None
        if not lanes and form.kwargs.num_nodes == 1:
            self._pattern = pattern_of_arguments(form.args, leaves)
        self.small: Any = None  # what calls it with plain arguments
        self.result: LaneResult | None = None
        self.inside: Inside | None = None  # calls inside transformations
        whole = isinstance(owner.point, Transformed)
        self.inner_gradients = None if whole else InnerGradients(owner.options)

    def __repr__(self) -> str:
        return repr(self.owner)

    # Tracing

    def warn_of_draws(self, generator: str) -> None:
        """Let the owner say so."""
        self.owner.warn_of_draws(generator)

    def warn_of_paths(self, count: int, line: str) -> None:
        """Let the owner say so."""
        self.owner.warn_of_paths(count, line)

    def record(
        self, paths: Paths, packed: Packed, lane: int, prefix: Prefix, answers: bool = False
    ) -> Trace:
        """Run the function on nodes, and watch what it has used from outside."""
        values = zip(self.leaves, packed.values, strict=True)
        static = [value for leaf, value in values if leaf.kind == "static"]
        objects = [value for value in static if type(value) not in EXACT]
        before = [(State(value), State(value, cached=False)) for value in objects]
        try:
            trace = super().record(paths, packed, lane, prefix, answers)
        except Answered:
            self._check_unchanged(objects, before)
            raise
        self._check_unchanged(objects, before)
        used = [op for op in trace.operations if not any(op is known for known in self._operations)]
        if used or len(trace.captured) > self._watched:
            self._operations += used
            watch = Watch(self.owner.function, trace.captured, static, self._operations)
            if watch.hidden:
                raise NotCompilable(watch.hidden)
            if watch.unseen:
                raise NotCompilable(
                    f"it uses {watch.unseen[0]!r}, a node that it does not lead to in a way that"
                    " could be watched, so that another in its place would not be noticed; pass it"
                    " as an argument"
                )
            self.watch = None if watch.nothing else watch
            self._watched = len(trace.captured)
        self.has_many_results |= trace.lacks_derivatives
        return trace

    def _check_unchanged(self, objects: list[Any], before: list[tuple[State, State]]) -> None:
        """Raise TypeError if the function has changed an object that it was given."""
        for value, (whole, state) in zip(objects, before, strict=True):
            now = State(value)
            traced = now.holds_traced() and not whole.holds_traced()
            if traced or (now != whole and State(value, cached=False) != state):
                raise TypeError(
                    f"{self!r}: the function has changed {described(value)}, which it would"
                    " do when it is traced, but not in each call; return what is new instead"
                )

    def at_point(self, arguments: Any) -> Any:
        """The function itself, at one lane."""
        args, kwargs = arguments
        return self._in_parts(handed_to(self.owner.point, args, kwargs, self.owner.label))

    def _in_parts(self, result: Any) -> Any:
        """A result with its sparse matrices taken apart."""
        if trees.is_plain(result):
            return result
        if self.lanes:
            refuse_stacking(result)
        return result if isinstance(result, SparseNodes) else taken_apart(result)

    # Calls

    @property
    def is_outdated(self) -> bool:
        """Whether the function is bound to other nodes than those that it was compiled for."""
        return self.watch is not None and self.watch.changed()

    def taken_by(self, args: tuple[Any, ...]) -> tuple[Plan, Sequence[Any], int] | None:
        """This plan, the leaves of some arguments, and how many lanes they have.

        None if they may be of another kind. For plans that are plain, and arguments of the same
        types as some that were of their kind.
        """
        found = self._arguments.taken(args)
        if found is None:
            return None
        leaves, pairs = found
        if self._form.order.of(args, {}) != self._in_order:
            return None
        lanes = 0
        for leaf, value in pairs:
            own = leaf.lanes_of(value)
            if own is None or (own and lanes and own != lanes):
                return None
            lanes = lanes or own
        if self.is_outdated or (self.lanes and not lanes):
            return None
        return self, leaves, lanes

    def run(self, values: Sequence[Any], lanes: int, only_prepare: bool = False) -> Any:
        """The result for the leaves of a call; or compile for the path that they take.

        Raises:
            NotCompilable: if it can't be compiled.
            TooManyTraces: if it takes too many paths.
        """
        while True:
            packed = Packed(self.leaves, values, self._inputs)
            try:
                paths = self.paths
                if not paths.traces:
                    paths.at((), packed, patient=not (only_prepare or self.lanes or self.live))
                if self.has_many_results:
                    raise ManyResults
                captured = paths.captured
                nodes = packed.nodes
                if captured:
                    packed.add(numpy.array([node._number for node in captured]))
                    nodes = [*nodes, *captured]
                if only_prepare:
                    return self._prepare(paths.at((), packed), len(nodes))
                if self.lanes:
                    return self._run_lanes(paths, packed, lanes, nodes)
                return self._run_point(paths, packed, nodes)
            except Restart:
                continue
            except Answered as answer:
                self.paths.run_seconds = answer.seconds
                try:
                    outputs, layout = _flat_result(answer.result)
                except TypeError:  # of complex numbers, say, which machine code has as NaN
                    continue
                if any(isinstance(x, Node) for x in outputs):  # of nodes from outside
                    continue
                return layout.unflatten_numbers(numpy.array(outputs, numpy.float64))
            except OutsideTableError as error:
                if self.lanes:
                    error.lane = packed.asked
                raise IndexError(str(error)).with_traceback(error.__traceback__) from None
            except NotCompilable:
                self.eager = True
                raise

    @contextmanager
    def untraced(self) -> Iterator[None]:
        """A run that no trace follows: gradients in it may be compiled on their own."""
        outer, PROGRESS.inner = PROGRESS.inner, self.inner_gradients
        try:
            yield
        finally:
            PROGRESS.inner = outer

    def _prepare(self, path: Path, n_nodes: int) -> None:
        if path.constant is None:
            path.kernel(self._lane_result(n_nodes).added if self.lanes else ())

    def _run_point(self, paths: Paths, packed: Packed, nodes: list[Node | None]) -> Any:
        try:
            trace, outputs = run_point(paths, packed, patient=not nodes)
        except NotYet as rare:
            start = time.thread_time()
            try:
                with printing_at_the_end(paths.refused), self.untraced():
                    point = [*map(as_computed, self.leaves, packed.values)]
                    result = self.at_point(trees.unflatten(self.structure, point))
                    numbers, layout = self._flattened(result)
            except Exception:  # Python's numbers refuse what machine code computes, 1.0 / 0.0 say
                if paths.refused:
                    raise
                trace, outputs = run_point(paths, packed, patient=False)
            else:
                paths.ran_eagerly(rare.prefix, time.thread_time() - start)
                return layout.unflatten_numbers(numpy.array(numbers, numpy.float64))
        if not nodes:
            return trace.layout.unflatten_numbers(outputs)
        if self.has_many_results:  # on this path
            raise ManyResults
        numbers = outputs[: trace.n_results].tolist()
        rows = outputs[trace.n_results :].reshape(-1, len(nodes))
        return trace.layout.unflatten(self._as_nodes(numbers, rows, nodes))

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

    def small_call(self) -> Any:
        """What calls it with plain arguments; None if that can't be."""
        path = self.paths.known(())
        step = None
        if self._pattern is not None and not self.paths.captured and path is not None:
            step = path.step
        if step is None:
            self.small = None
        elif self.small is None or self.small.first is not step:
            looks, changed = ((), None) if self.watch is None else self.watch.split()
            self.small = ENGINE.SmallCall(self._pattern, step, looks, changed, self)
        return self.small

    # Lanes

    def _run_lanes(self, paths: Paths, packed: Packed, lanes: int, nodes: list[Node | None]) -> Any:
        result = self._lane_result(len(nodes))
        sums, arrays = None, []
        if not result.kept:  # all is added up
            sums = sums_of_one_path(paths, packed.places, (), lanes, result.added, self.threads)
        if sums is None:
            eager = None if nodes else self._eager_lanes
            call = LaneCall(paths, packed, lanes, result.kept, self.threads, eager)
            sums, arrays = call.run(result.added), call.arrays
        vmap = self.owner.vmap
        if vmap is not None and vmap.reduce == "mean":
            sums = None if sums is None else sums / lanes
            arrays = [array / lanes for array in arrays]
        as_nodes = functools.partial(self._as_nodes, nodes=nodes) if nodes else None
        return result.assembled(sums, arrays, as_nodes)

    @forking.computed_once
    def _eager_lanes(self) -> EagerLanes:
        return EagerLanes(self, [len(axes) for axes in self._form.by_argument])

    def numbers_of(self, result: Any) -> list[float]:
        """The numbers of the function's result at a lane, as those of other lanes."""
        numbers, layout = self._flattened(self._in_parts(result))
        self._check_layout(layout)
        return numbers

    def _flattened(self, result: Any) -> tuple[list[float], trees.Layout]:
        """The numbers of the function's result, and its layout."""
        outputs, layout = _flat_result(result)
        return [y._number if isinstance(y, Node) else y for y in outputs], layout

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
            axes.extend(self._form.by_argument[i])
        return axes


def _flat_result(result: Any) -> tuple[list[Any], trees.Layout]:
    """The numbers and nodes of the function's result, and its layout."""
    return trees.flatten(result, "compile: the function's result", truths=True)


def _result_node(name: str, value: float, parents: list[Node], grads: list[float]) -> Node:
    """A node of a value with known local gradients."""
    return apply(Operation(name, lambda *xs: value, lambda y, *xs: grads), parents)
