"""compile: a function that runs as machine code."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy

from chainrule import forking, trees
from chainrule.annotations import ACTIVE, detecting_anomaly
from chainrule.backends.llvm.layout import BLOCK
from chainrule.domain import raising_domain_errors
from chainrule.keywords import with_nearest_names
from chainrule.lanes import Vmap, axes_by_keyword
from chainrule.node import Node
from chainrule.program.form import Program
from chainrule.rewriting.decisions import Branch
from chainrule.rules import described
from chainrule.tracebacks import boundary, warn
from chainrule.tracing import PROGRESS, NotCompilable
from chainrule.transforms import Gradient, Jacobian, Transformed, handed_to

from .arguments import Leaf, ManyResults, NodesOverLanes, leaf_of, leaf_of_int, stand_in
from .inside import NotAPart, called_inside, called_with_nodes
from .paths import Path, TooManyTraces, taking_paths
from .peel import peeled
from .pickling import reduced
from .plan import Plan
from .recorded import IndicesWanted
from .small import MAX_SMALL, Dispatch
from .statics import Order
from .trace import CompileError

forking.import_before_forks(
    *("chainrule.jit.branches", "chainrule.jit.eager_lanes", "chainrule.jit.extremes"),
    *("chainrule.jit.loops", "chainrule.jit.products", "chainrule.jit.segments"),
    *("chainrule.jit.whiles", "chainrule.jit.whole_gradients"),
    *("chainrule.lax", "chainrule.passes.distribute"),
    *("chainrule.passes.interchange", "chainrule.passes.jam", "chainrule.passes.promote"),
    "chainrule.passes.repetitions",
    *("chainrule.backends.llvm.contraction", "chainrule.backends.llvm.in_common"),
    *("chainrule.backends.llvm.map_writer", "chainrule.backends.llvm.maps"),
    "chainrule.backends.llvm.strips",
    *("chainrule.program.files", "chainrule.program.printer", "chainrule.files"),
    *("chainrule.rewriting.elsewhere", "chainrule.rewriting.functions"),
    "chainrule.rewriting.pure",
)
MAX_SPECIALIZATIONS = 128
"""Kinds of arguments for which code is kept: beyond, that goes which was not used for longest."""
MAX_STATIC_PLANS = 16
"""Recompilations over a static number after which a warning says to pass a float."""


@dataclass(frozen=True)
class Options:
    """What :func:`compile` takes besides the function."""

    check: bool = False
    max_traces: int = 1000
    threads: int | None = None
    max_specializations: int = MAX_SPECIALIZATIONS
    rewrite: bool = True

    def __post_init__(self) -> None:
        for name in ("max_traces", "threads", "max_specializations"):
            least = getattr(self, name)
            if (name, least) != ("threads", None) and (not isinstance(least, int) or least < 1):
                raise ValueError(f"compile: {name} starts at 1, not {described(least)}")


_DEFAULT = Options()


class Compiled(Dispatch):
    """A function that runs as machine code: see :func:`compile`."""

    __name__: str

    def __init__(self, function: Callable[..., Any], options: Options = _DEFAULT) -> None:
        super().__init__()
        if not callable(function):
            raise TypeError(f"compile takes a function, not {described(function)}")
        if isinstance(function, Compiled):
            function = function.function
        self.function: Callable[..., Any] = function
        self.options = options
        self.point, self.vmap, self.outer = peeled(function)
        self.label = getattr(function, "__name__", None) or type(function).__name__
        self._forms: dict[Any, Form] = {}
        self._plans: dict[Key, Plan] = {}
        self._latest: Plan | None = None
        # Whether index arrays are part of what it is compiled for: they say where entries are.
        self._knows_indices = isinstance(self.point, Jacobian) and self.point.sparse
        self._quick: dict[tuple[type, ...], Plan] = {}  # by the types of arguments
        self._lock = forking.lock()
        self.by_results = False  # whether derivatives by nodes are those of each result
        self.small_inside: set[tuple[type, ...] | None] = set()  # types of arguments
        self._warned: set[str] = set()
        functools.update_wrapper(self, function, updated=())

    def __repr__(self) -> str:
        inner = self.function
        return f"compile({repr(inner) if isinstance(inner, Transformed) else self.label})"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def _general(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result, whatever the arguments are."""
        # In a transformation or trace it is part of that graph; machine code never raises.
        raising = ACTIVE.contexts and (detecting_anomaly() or raising_domain_errors())
        if raising:
            return self._plainly(args, kwargs)
        if PROGRESS.names:
            return called_inside(self, args, kwargs)
        self.calls += 1
        result = self._call(args, kwargs)
        if self.options.check:
            self._compare(result, args, kwargs)
        return result

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            quick = None if kwargs else self._quick.get(tuple(map(type, args)))
            found = None if quick is None else quick.taken_by(args)
            plan, leaves, lanes = found or self._planned(args, kwargs)
            if plan.eager:
                with plan.untraced():
                    return self._plainly(args, kwargs)
            result = plan.run(leaves, lanes)
        except IndicesWanted:
            self._knows_indices = True
            return self._call(args, kwargs)
        except (NodesOverLanes, ManyResults) as error:
            try:
                return called_with_nodes(self, args, kwargs)
            except (NotAPart, TooManyTraces, NotCompilable):
                if isinstance(error, NodesOverLanes):
                    return self._eagerly(str(error), args, kwargs)
            self.by_results = True
            self.forget(plan)
            return self._call(args, kwargs)
        except (TooManyTraces, NotCompilable) as error:
            return self._eagerly(self._reason(error), args, kwargs)
        if plan.paths.refused:
            self._warn_eagerly(self._reason(TooManyTraces()))
        if self.vmap is None and not kwargs and not self.options.check:
            self._know_small(plan)
        return result

    def _know_small(self, plan: Plan) -> None:
        """Let later calls like this one go straight to the code, if they can."""
        old, new = plan.small, plan.small_call()
        if new is not old or (new is not None and new not in self._small):
            kept = [small for small in self._small if small is not old and small is not new]
            if new is not None:
                kept.insert(0, new)
            self._small[:] = kept[:MAX_SMALL]

    def _planned(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Plan, list[Any], int]:
        """The plan for some arguments, their leaves, and how many lanes they have.

        Raises:
            NotCompilable: if arguments of the kind can't be laid out for machine code.
        """
        leaves, structure = trees.leaves_of((args, kwargs))
        form = self._forms.get(structure)
        if form is None:
            form = self._forms[structure] = self._form(args, structure)
        axes = form.axes
        lanes = 0
        if self.vmap is not None:
            axes = form.axes[: form.positional] + axes_by_keyword(leaves[form.positional :])
            lanes = self._lanes(args, kwargs, leaves, axes)
        known = self._knows_indices
        key_leaves = tuple(
            [
                leaf_of_int(x) if type(x) is int and not by else leaf_of(x, axis, by, known)
                for x, axis, by in zip(leaves, axes, form.differentiated, strict=True)
            ]
        )
        key = structure, form.order.of(args, kwargs), key_leaves
        plan = self._plans.get(key)
        if plan is None or plan is not self._latest or plan.is_outdated:
            with self._lock:
                old = plan = self._plans.pop(key, None)
                if plan is None or plan.is_outdated:
                    plan = Plan(self, form, key)
                    self._quick.clear()
                    self._small[:] = [x for x in self._small if x.plan is not old]
                self._plans[key] = self._latest = plan  # the one used last comes last
                self._drop_plans()
                self._warn_of_statics()
        if plan.is_plain and not kwargs:
            self._quick[tuple(map(type, args))] = plan
        return plan, leaves, lanes

    def forget(self, plan: Plan) -> None:
        """Let the code for a kind of arguments go."""
        with self._lock:
            for key in [key for key, known in self._plans.items() if known is plan]:
                del self._plans[key]
            self._latest = None
            self._quick.clear()
            self._small.clear()

    def _drop_plans(self) -> None:
        """Let the code go that was not used for longest."""
        while len(self._plans) > self.options.max_specializations:
            used = {self._latest, *self._quick.values()}
            used.update(small.plan for small in self._small)
            found = next((key for key, plan in self._plans.items() if plan not in used), None)
            if found is None:  # those that plain calls use as well
                self._quick.clear()
                self._small.clear()
                continue
            del self._plans[found]
        if len(self._forms) > 2 * self.options.max_specializations:
            self._forms.clear()

    def _reason(self, error: Exception) -> str:
        """Why it runs eagerly."""
        return str(error) or (
            f"it takes more than {self.options.max_traces} paths (max_traces);"
            " where(condition, a, b), maximum and minimum of chainrule.math choose without a path"
            " of their own"
        )

    @boundary
    def prepare(self, *args: Any, **kwargs: Any) -> None:
        """Compile ahead, for calls with arguments like these.

        The function is traced for the path that these arguments take, and compiled; nothing is
        computed. What counts besides is what a call compiles for: the structure of the arguments,
        shapes, and the values of those that are static. An object with a ``shape`` and a ``dtype``
        stands for an array of zeros.
        """
        if PROGRESS.names:
            return
        args, kwargs = trees.map_leaves(stand_in, (args, kwargs))
        try:
            plan, leaves, _ = self._planned(args, kwargs)
            if not plan.eager:
                plan.run(leaves, 0, only_prepare=True)
        except IndicesWanted:
            self._knows_indices = True
            self.prepare(*args, **kwargs)
        except ManyResults:
            pass  # what calls with nodes take is compiled where they are known
        except (TooManyTraces, NotCompilable) as error:
            self._warn_eagerly(self._reason(error))

    def _form(self, args: tuple[Any, ...], structure: Any) -> Form:
        """What the structure of the arguments says about each of their leaves."""
        count = structure.num_leaves
        positional_of, named = structure.children()
        sizes = [part.num_leaves for part in positional_of.children()]
        axes: list[int | None] = [None] * count
        by_argument: list[list[int | None]] = []
        positional = 0
        if self.vmap is not None:
            _, _, own_axes = self.vmap.axes_of(args, {})
            positional = len(own_axes)
            axes[:positional] = own_axes
            start = 0
            for n in sizes:
                by_argument.append(own_axes[start : start + n])
                start += n
        wanted: set[int] = set()
        inner = self.function
        while isinstance(inner, (Gradient, Jacobian, Vmap)):
            if not isinstance(inner, Vmap):
                argnums = inner.argnums
                wanted.update([argnums] if isinstance(argnums, int) else argnums)
            inner = inner.function
        differentiated: list[bool] = []
        for i, n in enumerate(sizes):
            by = i in wanted or i - len(args) in wanted
            differentiated.extend([by] * n)
        differentiated.extend([False] * (count - len(differentiated)))
        order = Order(positional_of, named, args)
        return Form(axes, positional, by_argument, differentiated, order, positional_of, named)

    def _lanes(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        leaves: list[Any],
        axes: list[int | None],
    ) -> int:
        """How many lanes the arguments have; errors are those of vmap."""
        assert self.vmap is not None
        lanes = -1
        for leaf, axis in zip(leaves, axes, strict=True):
            if axis is None:
                continue
            if not isinstance(leaf, numpy.ndarray) or not -leaf.ndim <= axis < leaf.ndim:
                self.vmap.axes_of(args, kwargs)  # raises
            if lanes == -1:
                lanes = leaf.shape[axis]
            elif leaf.shape[axis] != lanes:
                self.vmap.lanes_of(leaves, axes)  # raises
        if lanes < 1:
            lanes = self.vmap.lanes_of(leaves, axes)
            if lanes == 0:
                raise ValueError("vmap: the arguments have no lanes (an axis of length 0)")
        return lanes

    def _eagerly(self, why: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result without compiling, with one warning that says why."""
        self._warn_eagerly(why)
        return self._plainly(args, kwargs)

    def _warn_eagerly(self, why: str) -> None:
        self._warn(why, f"{self!r} runs eagerly: {why}")

    def _plainly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of the function itself."""
        return handed_to(self.function, args, kwargs, self.label)

    def _warn(self, key: str, message: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            warn(message)

    def warn_of_draws(self, generator: str) -> None:
        """Warn once that random numbers were drawn while the function was traced."""
        self._warn(
            "draws",
            f"{self!r} drew random numbers ({generator}) while it was traced: they are constants of"
            " the compiled code; draw outside and pass them as arguments",
        )

    def warn_of_paths(self, count: int, line: str) -> None:
        """Warn once that it takes many paths."""
        self._warn("paths", f"{self!r} {taking_paths(count, line)}")

    def _warn_of_statics(self) -> None:
        if len(self._plans) > MAX_STATIC_PLANS:
            kinds = [tuple(leaf.kind for leaf in key[2]) for key in self._plans]
            if len(kinds) - len(set(kinds)) >= MAX_STATIC_PLANS:
                self._warn(
                    "static",
                    f"{self!r} was compiled {len(kinds)} times: whole numbers, texts, shapes and"
                    " what objects hold are part of the compiled code; pass a number that varies as"
                    " a float",
                )

    def _compare(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise CompileError if the function itself gives something else."""
        expected, layout = trees.flatten(self._plainly(args, kwargs), "check", truths=True)
        found, found_layout = trees.flatten(result, "check", truths=True)
        if layout != found_layout:
            raise CompileError(f"{self!r} gave {found_layout}; computed eagerly it is {layout}")
        for i, (x, y) in enumerate(zip(found, expected, strict=True)):
            u = x._number if isinstance(x, Node) else x
            v = y._number if isinstance(y, Node) else y
            if not (math.isclose(u, v, rel_tol=1e-9, abs_tol=1e-12) or (u != u and v != v)):
                raise CompileError(
                    f"{self!r} gave {u!r} as number {i} of its result; computed eagerly it is"
                    f" {v!r}. Does it use something that has changed since it was traced?"
                )

    def stats(self) -> Stats:
        """What has been done: traces, nodes, compile time."""
        plans = list(self._plans.values())
        paths = [path for plan in plans for path in plan.paths.all()]
        traces = {path.trace for path in paths}
        inner = [
            gradient.stats()
            for plan in plans
            if plan.inner_gradients is not None
            for gradient in plan.inner_gradients.compiled
        ]
        shortcuts = [path.trace.shortcuts for path in paths] + [x.shortcuts for x in inner]
        return Stats(
            calls=self.calls,
            plans=len(plans),
            traces=sum(plan.paths.traces for plan in plans),
            nodes=sum(plan.paths.nodes for plan in plans),
            trace_seconds=sum(plan.trace_seconds for plan in plans)
            + sum(trace.program_seconds for trace in traces)
            + sum(stats.trace_seconds for stats in inner),
            compile_seconds=sum(path.compile_seconds for path in paths)
            + sum(stats.compile_seconds for stats in inner),
            kernels=len({id(code) for path in paths for code in path.codes}),
            lanes=BLOCK if self.vmap is not None else 1,
            eager=any(plan.eager or plan.paths.refused for plan in plans),
            branches=tuple(dict.fromkeys(x for plan in plans for x in plan.branches.branches())),
            shortcuts=tuple(dict.fromkeys(line for lines in shortcuts for line in lines)),
            gradients=len(inner),
        )

    @boundary
    def tape(self) -> str:
        """The recorded programs to read, one statement a line.

        Raises:
            CompileError: if the function has not been called yet.
        """
        texts = []
        for path in self._paths():
            head = f"after {len(path.prefix)} guards:\n" if path.prefix else ""
            texts.append(head + str(path.program))
        return "\n\n".join(texts)

    @boundary
    def programs(self) -> list[Program]:
        """The recorded programs, a path each, in the order of :meth:`tape`.

        ``str`` of one is text to read, ``save`` keeps it in a file. Their inputs are the numbers of
        the arguments in order, then nodes from outside; their outputs the numbers of the result,
        then its derivatives by nodes.

        Raises:
            CompileError: if the function has not been called yet.
        """
        return [path.program for path in self._paths()]

    def _paths(self) -> list[Path]:
        paths = [path for plan in self._plans.values() for path in plan.paths.all()]
        if not paths:
            raise CompileError("there is no tape yet: call the compiled function first")
        return paths

    def __reduce__(self) -> Any:
        return reduced(self)

    def __copy__(self) -> Compiled:
        return Compiled(self.function, self.options)

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        function = copy.deepcopy(self.function, memo)  # another one for a method of a copied object
        return Compiled(function, self.options)


class Quiet(Compiled):
    """A compiled function that says nothing, and does not run eagerly instead."""

    def _warn(self, key: str, message: str) -> None:
        pass

    def _eagerly(self, why: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise NotCompilable(why)


@dataclass(frozen=True)
class Stats:
    """What a compiled function has done.

    Attributes:
        calls: how often it was called.
        plans: kinds of arguments it is compiled for; those it has code for, as with what follows.
        traces: recorded paths through the function.
        nodes: statements of their programs, all together.
        trace_seconds: time spent running the function on nodes, and making programs of that.
        compile_seconds: time spent making machine code.
        kernels: pieces of machine code; paths whose programs differ in numbers alone share it.
        lanes: lanes computed at a time.
        eager: whether some kind of arguments runs eagerly instead, or on some of its paths.
        branches: for each place where it branches by traced values, what was done.
        shortcuts: the lines at which an ``==`` of values with a derivative held: the derivative on
            that path is that of a branch which holds at a single point.
        gradients: those that it takes which are compiled on their own, in runs that no trace
            follows; the seconds above are theirs as well.
    """

    calls: int
    plans: int
    traces: int
    nodes: int
    trace_seconds: float
    compile_seconds: float
    kernels: int
    lanes: int
    eager: bool
    branches: tuple[Branch, ...]
    shortcuts: tuple[str, ...]
    gradients: int


Key = tuple[Any, Hashable, tuple[Leaf, ...]]
"""What arguments have in common that run the same code: structure, order and leaves."""


class Form(NamedTuple):
    """What the structure of the arguments says about their leaves.

    Attributes:
        axes: for each leaf the axis of the lanes, None if they share it.
        positional: how many of the leaves are of positional arguments.
        by_argument: the same for the leaves of each positional argument.
        differentiated: for each leaf whether it is differentiated by: whole numbers are floats
            there.
        order: tells the order and types of keys, and exact metadata.
        args, kwargs: the structures of positional and keyword arguments.
    """

    axes: list[int | None]
    positional: int
    by_argument: list[list[int | None]]
    differentiated: list[bool]
    order: Order
    args: Any
    kwargs: Any


@overload
def compile(
    f: Callable[..., Any],
    *,
    check: bool = False,
    max_traces: int = 1000,
    threads: int | None = None,
    max_specializations: int = MAX_SPECIALIZATIONS,
    rewrite: bool = True,
) -> Compiled: ...


@overload
def compile(
    f: None = None,
    *,
    check: bool = False,
    max_traces: int = 1000,
    threads: int | None = None,
    max_specializations: int = MAX_SPECIALIZATIONS,
    rewrite: bool = True,
) -> Callable[[Callable[..., Any]], Compiled]: ...


@with_nearest_names
def compile(
    f: Callable[..., Any] | None = None,
    *,
    check: bool = False,
    max_traces: int = 1000,
    threads: int | None = None,
    max_specializations: int = MAX_SPECIALIZATIONS,
    rewrite: bool = True,
) -> Any:
    """A function that runs as machine code; also a decorator.

    At the first call the function runs once on nodes, which is recorded; in the recording its loops
    are found again, and the program with these loops becomes machine code.
    Branches are followed: where there are many both sides are computed, and one is picked; else a
    comparison is a guard, and a call, or a lane of a :func:`~chainrule.vmap`, that takes another
    path runs (and first records) another trace.

    Floats and arrays of them are inputs, nodes too: then the result is a node whose ``backward``
    works. Whole numbers, truth values, texts and None are static: another one compiles again. So
    are objects, by all that they hold at each call. Arrays of whole numbers are indices, see
    :func:`~chainrule.take`. Leaf nodes that the function uses from outside (the weights of a model)
    are read at each call. Inside, arrays are read-only and lists and dicts are copies.

    Args:
        f: a function of trees of numbers and arrays, or what a transformation made of one.
        check: compute each call eagerly too, and raise CompileError on a difference.
        max_traces: paths to record; on others it runs eagerly, with one warning.
        threads: for the lanes; by default ``CHAINRULE_THREADS`` or all usable cores.
        max_specializations: kinds of arguments (structures, shapes, static values) for which code
            is kept; beyond, that goes which was not used for longest, with its memory.
        rewrite: whether branches may compute both their sides, see the guide; else each is a guard.

    Raises:
        TypeError: if f is not callable; when called, if an argument hides whether it has changed,
            or the function changes one.
    """
    options = Options(check, max_traces, threads, max_specializations, rewrite)
    return functools.partial(compile, **vars(options)) if f is None else Compiled(f, options)
