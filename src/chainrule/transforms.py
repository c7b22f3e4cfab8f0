"""Transformations of functions: gradients, Jacobians, Hessians, tangents and cotangents.

Names, argument order and keywords are JAX's. Arguments and results are trees (nested lists, tuples,
dicts) of numbers, nodes and NumPy arrays of either. Numbers in give numbers out; where a node goes
in, or the function uses nodes from outside, the results that depend on it are nodes: a graph that
can be drawn, differentiated again and compiled.

Transformations nest to any order. Inside one, a value that depends on its inputs can't leave the
graph: reading its ``data`` raises, as its dependence would be lost.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import chain, islice
from types import FunctionType
from typing import Any, Final

import numpy

from chainrule import trees
from chainrule.annotations import users_line
from chainrule.array_elements import objects
from chainrule.differentiation import (
    are_current,
    as_numbers,
    closed_gradient,
    fresh_inputs,
    gradient_at,
    linearization,
    push_tangents,
    release,
)
from chainrule.engine import ENGINE
from chainrule.handover import called, form_of
from chainrule.keywords import with_nearest_names
from chainrule.node import Node
from chainrule.rules import described
from chainrule.sparse import Entries, from_parts, load_scipy
from chainrule.tracebacks import boundary
from chainrule.tracing import (
    LEFTOVER,
    LEVELS,
    PROGRESS,
    TracedValueError,
    close_level,
    open_level,
    pattern_kept,
    transformation,
)
from chainrule.trees import Layout

Argnums = int | Sequence[int]

MANY: Final = 64
"""Gradients of arrays of so many numbers are given in bulk where a trace can."""

_NONE: Final[dict[str, Any]] = {}  # of keywords

_ASSIGNED = [
    name
    for name in functools.WRAPPER_ASSIGNMENTS
    if name not in ("__module__", "__name__", "__qualname__", "__doc__")
]
"""What else a wrapper takes over from a function: its annotations, by a name that varies."""


class Transformed:
    """A function made from another one by a transformation."""

    name = ""

    def __init__(self, function: Callable[..., Any]) -> None:
        if not callable(function):
            raise TypeError(f"{self.name} takes a function, not {described(function)}")
        self._function = function
        self._take_names()

    def _take_names(self) -> None:
        """Take over the function's name and what else tells of it."""
        function = self._function
        if type(function) is FunctionType:  # the same by hand, which takes a fourth of the time
            self.__module__ = function.__module__
            self.__name__ = function.__name__
            self.__qualname__ = function.__qualname__
            self.__doc__ = function.__doc__
            for name in _ASSIGNED:
                setattr(self, name, getattr(function, name))
            self.__wrapped__ = function
        else:
            functools.update_wrapper(self, function, updated=())

    @property
    def function(self) -> Callable[..., Any]:
        """What it transforms: always the same, so that compiled functions need not look."""
        return self._function

    def __repr__(self) -> str:
        inner = self.function
        return f"{self.name}({getattr(inner, '__name__', None) or repr(inner)})"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The transformed function at these arguments."""
        raise NotImplementedError

    def around(self, function: Callable[..., Any]) -> Transformed:
        """The same transformation of another function."""
        raise NotImplementedError

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)


def handed_to(
    function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], name: str
) -> Any:
    """The result of a function for the arguments of a call, which it must not change.

    Raises:
        TypeError: if it does.
    """
    if isinstance(function, Transformed):  # which hands them on, in its way
        return function(*args, **kwargs)
    return called(function, args, kwargs, name)


class _Call:
    """One call of a function under differentiation: its inputs, outputs, and what is between.

    Args:
        name: of the transformation.
        level: its level.
        function, args, kwargs: what is called.
        argnums: the positions of the arguments by which it is differentiated.
        has_aux: whether the function gives auxiliary data as well.
        begun: the layout of the argument, the inputs, and what the function gives for them, where
            it has run, in no trace.
    """

    def __init__(
        self,
        name: str,
        level: int,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        argnums: Argnums,
        has_aux: bool = False,
        begun: tuple[Any, list[Any], Any] | None = None,
    ) -> None:
        self.level = level
        self._began: Any = None
        if begun is not None:
            self.layout, self.inputs, result = begun
        else:
            given = self._given(name, args, argnums)
            result = handed_to(function, given, kwargs, name)
        self.aux: Any = None
        if has_aux:
            if not isinstance(result, tuple) or len(result) != 2:
                raise TypeError(
                    f"{name} with has_aux takes a function that returns a pair"
                    f" (result, auxiliary data), not {described(result)}"
                )
            result, self.aux = result
        self.outputs, self.result_layout = trees.flat(result) or trees.flatten(
            result, f"{name}: the function's result"
        )
        self._name = name
        self._graph: Any = None

    def _given(self, name: str, args: Sequence[Any], argnums: Argnums) -> list[Any]:
        """The arguments with inputs in the place of some."""
        by = args[argnums] if isinstance(argnums, int) else tuple([args[i] for i in argnums])
        values, self.layout = trees.flat(by) or trees.flatten(
            by,
            f"{name}: what it differentiates by",
            "; say with argnums which arguments to differentiate by",
        )
        check_current(values, name)
        self._began = None if PROGRESS.recorder is None else Node(0.0)
        self.inputs = fresh_inputs(values, self.level)
        given = list(args)
        traced = self.layout.unflatten(self.inputs)
        if not self.layout.all_numbers:
            traced = trees.as_arrays_of(traced, by)
        if isinstance(argnums, int):
            given[argnums] = traced
        else:
            for i, arg in zip(argnums, traced, strict=True):
                given[i] = arg
        return given

    @property
    def graph(self) -> Any:
        """The linearization: what is between the inputs and the outputs."""
        if self._graph is None:
            if self._began is not None and PROGRESS.recorder is not None:
                self._graph = PROGRESS.recorder.linearization(
                    self._began, self.inputs, self.outputs, self.level
                )
            if self._graph is None:
                self._graph = linearization(self.inputs, self.outputs, self.level)
            if self._graph.stray is not None:
                raise TracedValueError(
                    f"{self._name} at {users_line()}: the function uses {LEFTOVER}"
                )
        return self._graph

    def gradient(self) -> tuple[Any, Any, list[Any]]:
        """Of a single output the gradient, the value, and the nodes of the auxiliary data.

        The gradient of many inputs is an array of operands where a trace gives it.
        """
        if self.aux is None and not PROGRESS.structural:
            (y,) = self.outputs
            closed = closed_gradient(y, self.inputs, self.level, PROGRESS.names)
            if closed is not None:
                return closed, closed.pop(), []
        graph = self.graph
        if self.aux is None and len(self.inputs) >= MANY * len(self.layout.shapes):
            in_bulk = getattr(graph, "gradient", None)  # where a trace records it
            rows = None if in_bulk is None else in_bulk()
            if rows is not None:
                return rows, *graph.closed(self.outputs), []
        pulled = graph.pull_back([1.0])
        if self.aux is None:
            aux: list[Any] = []
            grads = graph.closed([*pulled, *self.outputs])
            value = grads.pop()
        else:
            grads, (value,), aux = self.finish(pulled, self.outputs, self.aux_nodes())
        return [x + 0.0 if isinstance(x, float) else x for x in grads], value, aux  # no -0.0

    def scalar_output(self, name: str) -> None:
        """Raise TypeError unless the function gave one number."""
        if self.result_layout is not trees.NUMBER and not self.result_layout.is_number:
            raise TypeError(
                f"{name} takes a function with one number as result, not {self.result_layout};"
                " for several use jacobian, or vmap over the inputs"
            )

    def finish(self, *trees_of_values: Sequence[Any]) -> list[list[Any]]:
        """Values after the level is closed: nodes if they outlive it, else numbers."""
        values: list[Any] = [*chain.from_iterable(trees_of_values)]
        if self.aux is not None and not self.graph.live:  # this may depend on others than outputs
            values = release(self.inputs, values, self.level)
        else:
            values = self.graph.closed(values)
        remaining = iter(values)
        return [[*islice(remaining, len(group))] for group in trees_of_values]

    def aux_nodes(self) -> list[Node]:
        """The nodes in the auxiliary data, in order."""
        if self.aux is None:
            return []
        held: list[Any] = []
        for leaf in trees.leaves_of(self.aux)[0]:
            held.extend(leaf.ravel().tolist() if _holds_objects(leaf) else [leaf])
        return [x for x in held if isinstance(x, Node)]

    def aux_with(self, closed: Sequence[Any]) -> Any:
        """The auxiliary data with others in the place of its nodes."""
        if self.aux is None:
            return None
        remaining = iter(closed)

        def close(leaf: Any) -> Any:
            if isinstance(leaf, Node):
                return next(remaining)
            if not _holds_objects(leaf):
                return leaf
            held = leaf.ravel().tolist()
            if not any(isinstance(x, Node) for x in held):
                return leaf
            held = [next(remaining) if isinstance(x, Node) else x for x in held]
            if all(isinstance(x, (float, Node)) for x in held):
                return trees.array_of(held, leaf.shape)
            return objects(held).reshape(leaf.shape)

        return trees.map_leaves(close, self.aux)


def _holds_objects(leaf: Any) -> bool:
    return isinstance(leaf, numpy.ndarray) and leaf.dtype == object


def check_current(values: list[Any], name: str) -> None:
    """Raise TracedValueError for a node that no transformation around this one follows."""
    if not are_current(values, PROGRESS.names):
        raise TracedValueError(f"{name} at {users_line()} takes {LEFTOVER}")


def _positions(argnums: Argnums, args: Sequence[Any], name: str) -> Argnums:
    """Argument positions, counted from 0; one or several, as argnums says.

    Raises:
        TypeError: if argnums is not a whole number or several.
        ValueError: if there is no such argument, or one is named twice.
    """
    if type(argnums) is int and 0 <= argnums < len(args):
        return argnums
    wanted = [argnums] if isinstance(argnums, int) else list(argnums)
    positions = []
    for i in wanted:
        if not isinstance(i, int) or isinstance(i, bool):
            raise TypeError(f"{name}: argnums takes argument numbers, not {described(i)}")
        if not -len(args) <= i < len(args):
            raise ValueError(
                f"{name}: argnums={argnums}, but the function was called with {len(args)}"
                " positional arguments"
            )
        positions.append(i % len(args))
    if len(set(positions)) < len(positions):
        raise ValueError(f"{name}: argnums={argnums} names an argument twice")
    return positions[0] if isinstance(argnums, int) else positions


def _check_argnums(argnums: Argnums, name: str) -> None:
    if type(argnums) is int:
        return
    several = isinstance(argnums, (list, tuple))
    for i in argnums if isinstance(argnums, (list, tuple)) else (argnums,):
        if not isinstance(i, int) or isinstance(i, bool):
            raise TypeError(f"{name}: argnums takes argument numbers, not {described(i)}")
    if several and not argnums:
        raise ValueError(f"{name}: argnums names no argument")


class _GradientBase:
    """What calls a gradient: the engine in C does it at once for a few plain arguments."""

    @boundary
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The gradient at these arguments."""
        return self._in_general(*args, **kwargs)

    def _in_general(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


if ENGINE is not None:
    ENGINE.set_progress(PROGRESS, LEVELS, Transformed)
    _GradientBase = ENGINE.GradientBase  # type: ignore[misc]


class Gradient(_GradientBase, Transformed):
    """What :func:`grad` and :func:`value_and_grad` return."""

    def __init__(
        self, function: Callable[..., Any], argnums: Argnums, has_aux: bool, value: bool
    ) -> None:
        self.name = "value_and_grad" if value else "grad"
        if not callable(function):
            raise TypeError(f"{self.name} takes a function, not {described(function)}")
        if type(argnums) is not int:
            _check_argnums(argnums, self.name)
        self._function = function
        self.argnums = argnums
        self.has_aux = has_aux
        self.value = value
        if ENGINE is None:  # which asks for them once somebody looks
            self._take_names()

    def around(self, function: Callable[..., Any]) -> Gradient:
        """The same transformation of another function."""
        other = Gradient.__new__(Gradient)
        other.__dict__.update(self.__dict__, _function=function, __wrapped__=function)
        return other

    def _in_general(self, *args: Any, **kwargs: Any) -> Any:
        """The gradient at these arguments, whatever they are."""
        inner = PROGRESS.inner
        if inner is not None and not (kwargs or PROGRESS.names) and PROGRESS.log is None:
            found = inner.instead(self, args)
            if found is not NotImplemented:
                return found
        positions = _positions(self.argnums, args, self.name)
        if PROGRESS.recorder is not None:
            whole = PROGRESS.recorder.loop("gradient", self, args, kwargs, positions)
            if whole is not None:
                return whole[0]
        return self._of_call(*self._called(args, kwargs, positions))

    def _called(self, args: Any, kwargs: Any, positions: Argnums) -> tuple[Any, ...]:
        """What the engine gives at once, or the call, its gradient, value and what is closed.

        It is short: where memory runs out in a ``try`` beyond 256 instructions, Python 3.11 does
        not come out of it.
        """
        level = open_level(self.name)
        try:
            begun = None if kwargs else self._begun(level, args, positions)
            if begun is not None and len(begun) == 2:
                return begun  # type: ignore[no-any-return]
            return self._continued(level, args, positions, begun, kwargs)
        finally:
            close_level(level)

    def _continued(
        self, level: int, args: Any, positions: Argnums, begun: Any, kwargs: Any = _NONE
    ) -> tuple[Any, ...]:
        """The call, its gradient, value and what is closed, while the level is open."""
        name = self.name
        call = _Call(name, level, self._function, args, kwargs, positions, self.has_aux, begun)
        call.scalar_output(name)
        return call, *call.gradient()

    def _of_call(self, *found: Any) -> Any:
        """The result, of what :meth:`_called` gives."""
        if len(found) == 2:
            return found if self.value else found[1]
        call, grads, value, closed = found
        layout = call.layout
        in_bulk = isinstance(grads, numpy.ndarray)
        gradient = layout.unflatten_operands(grads) if in_bulk else layout.unflatten(grads)
        result = (value, gradient) if self.value else gradient
        if not self.has_aux:
            return result
        aux = call.aux_with(closed)
        return ((value, aux), gradient) if self.value else (gradient, aux)

    def _begun(self, level: int, args: Sequence[Any], positions: Argnums) -> Any:
        """What :func:`~.differentiation.gradient_at` gives, where no trace records each step."""
        function = self._function
        if PROGRESS.recorder is not None or isinstance(function, Transformed):
            return None
        keep = self.has_aux or PROGRESS.structural
        form = form_of(function)
        return gradient_at(form, args, positions, self.name, level, PROGRESS.names, keep)


@with_nearest_names
def grad(f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Gradient:
    """The gradient of a function with one number as result, as a function.

    Args:
        f: takes trees of numbers, nodes and arrays; returns a number, or a pair of it and auxiliary
            data if ``has_aux``.
        argnums: the positional argument to differentiate by, or several of them.
        has_aux: whether f returns auxiliary data as well, which is passed on as it is.

    Returns:
        A function of the same arguments that gives a tree like that argument, or a tuple of them if
        argnums is a tuple.

    Raises:
        TypeError: when called, if f does not return one number, or an argument to differentiate by
            holds something else than numbers and nodes.
    """
    return Gradient(f, argnums, has_aux, value=False)


@with_nearest_names
def value_and_grad(f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Gradient:
    """Like :func:`grad`; the function gives the pair (value, gradient)."""
    return Gradient(f, argnums, has_aux, value=True)


class Jacobian(Transformed):
    """What :func:`jacfwd`, :func:`jacrev`, :func:`jacobian` and :func:`hessian` return."""

    def __init__(
        self,
        function: Callable[..., Any],
        argnums: Argnums,
        mode: str,
        sparse: bool,
        name: str,
        symmetric: bool = False,
    ) -> None:
        self.name = name
        super().__init__(function)
        _check_argnums(argnums, name)
        self.argnums = argnums
        self.mode = mode
        self.sparse = sparse
        self.symmetric = symmetric
        if sparse:
            load_scipy()

    def around(self, function: Callable[..., Any]) -> Jacobian:
        """The same transformation of another function."""
        return Jacobian(function, self.argnums, self.mode, self.sparse, self.name, self.symmetric)

    @boundary
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The derivative at these arguments."""
        positions = _positions(self.argnums, args, self.name)
        with transformation(self.name) as level, pattern_kept(level if self.sparse else 0):
            call = _Call(self.name, level, self._function, args, kwargs, positions)
            if self.sparse:
                found: Entries = call.graph.sparse_entries(self.symmetric)
                data = self._data(call, found.values)
            else:
                matrix = self._matrix(call)
        if self.sparse:
            shape = len(call.outputs), len(call.inputs)
            return from_parts(data, found.indices, found.indptr, shape)
        return _blocks(matrix, call.result_layout, call.layout)

    def _data(self, call: _Call, values: Any) -> Any:
        """The entries of a sparse matrix after the level is closed."""
        if values.dtype != object:
            return trees.Operands(values, values.shape)
        (closed,) = call.finish(values.tolist())
        return trees.array_of(closed, values.shape)

    def _matrix(self, call: _Call) -> Any:
        """A row for each number of the result, a column for each of the argument."""
        shorter = len(call.inputs) < len(call.outputs) and not call.graph.reverse_only
        matrix = call.graph.jacobian(self.mode == "forward" or (self.mode == "either" and shorter))
        if self.symmetric:
            upper = numpy.triu_indices(len(call.inputs), 1)
            matrix[upper] = matrix.T[upper]
        return matrix


def _blocks(matrix: Any, result: Layout, argument: Layout) -> Any:
    """The rows of a matrix as a tree like the result, of trees like the argument."""
    leaves = []
    row = 0
    for result_shape in result.shapes:
        rows = slice(row, row + trees.size_of(result_shape))
        row = rows.stop
        blocks = []
        column = 0
        for shape in argument.shapes:
            columns = slice(column, column + trees.size_of(shape))
            column = columns.stop
            block = matrix[rows, columns]
            if result_shape is None and shape is None:
                blocks.append(block.item())
                continue
            whole = (result_shape or ()) + (shape or ())
            if block.dtype == object:
                blocks.append(trees.array_of(block.ravel().tolist(), whole))
            else:
                blocks.append(block.reshape(whole).copy())
        leaves.append(trees.unflatten(argument.structure, blocks))
    return trees.unflatten(result.structure, leaves)


@with_nearest_names
def jacfwd(f: Callable[..., Any], argnums: Argnums = 0, *, sparse: bool = False) -> Jacobian:
    """The Jacobian of a function by forward mode, one pass for each number of the argument.

    The result is a tree like f's result; each of its leaves holds a tree like the argument (a tuple
    of them if argnums is a tuple) of arrays, of the shape of the result's leaf followed by the
    shape of the argument's. With ``sparse``, one ``scipy.sparse.csr_array``: see jacobian.
    """
    return Jacobian(f, argnums, "forward", sparse, "jacfwd")


@with_nearest_names
def jacrev(f: Callable[..., Any], argnums: Argnums = 0, *, sparse: bool = False) -> Jacobian:
    """The Jacobian by reverse mode, one pass for each number of the result: see jacfwd."""
    return Jacobian(f, argnums, "reverse", sparse, "jacrev")


@with_nearest_names
def jacobian(f: Callable[..., Any], argnums: Argnums = 0, *, sparse: bool = False) -> Jacobian:
    """The Jacobian by the mode that takes fewer passes: see jacfwd.

    With ``sparse`` it is one ``scipy.sparse.csr_array``: a row for each number of the result and a
    column for each of the argument, in order. Only what is not 0 by the structure of the graph is
    computed and stored.
    """
    return Jacobian(f, argnums, "either", sparse, "jacobian")


@with_nearest_names
def hessian(f: Callable[..., Any], argnums: Argnums = 0, *, sparse: bool = False) -> Jacobian:
    """The matrix of second derivatives of a function with one number as result.

    The result is a tree like the argument, of trees like the argument: see jacfwd. It is exactly
    symmetric. With ``sparse``, one ``scipy.sparse.csr_array``: see jacobian.
    """
    gradient = Gradient(f, argnums, has_aux=False, value=False)
    gradient.name = "hessian"
    return Jacobian(gradient, argnums, "reverse", sparse, "hessian", symmetric=True)


def _same_structure(name: str, what: str, given: Any, layout: Layout) -> list[Any]:
    """The numbers of a tree that must look like another one.

    Raises:
        ValueError: if it does not.
    """
    values, found = trees.flatten(given, f"{name}: the tree of {what}")
    if found != layout:
        raise ValueError(
            f"{name}: the {what} must have the structure and shapes of what they go with,"
            f" {layout}, not {found}"
        )
    return values


@boundary
def jvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """A function's value and its directional derivative (Jacobian times tangents).

    Args:
        f: the function.
        primals: its arguments, as a tuple.
        tangents: for each number in them how it moves, in the same structure.

    Raises:
        TypeError: if primals is not a tuple or list.
        ValueError: if the tangents differ in structure.
    """
    check_tuple("jvp", "primals", primals)
    check_tuple("jvp", "tangents", tangents)
    with transformation("jvp") as level:
        call = _Call("jvp", level, f, primals, {}, range(len(primals)))
        moved = _same_structure("jvp", "tangents", tuple(tangents), call.layout)
        check_current(moved, "jvp")
        change = push_tangents(call.inputs, call.outputs, level, moved)
        if change is not None:
            value = as_numbers(call.outputs, level)
        else:
            value, change = call.finish(call.outputs, call.graph.push_forward(moved))
    return call.result_layout.unflatten(value), call.result_layout.unflatten(change)


@boundary
def vjp(f: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """A function's value, and the function that pulls cotangents of it back to the arguments."""
    with transformation("vjp") as level:
        call = _Call("vjp", level, f, primals, {}, range(len(primals)))
        value = call.graph.kept(call.outputs)

    @boundary
    def pull_back(cotangents: Any) -> tuple[Any, ...]:
        given = _same_structure("vjp", "cotangents", cotangents, call.result_layout)
        pulled: tuple[Any, ...] = call.layout.unflatten(call.graph.pull_back(given))
        return pulled

    return call.result_layout.unflatten(value), pull_back


def changed_by(
    f: Callable[..., Any], primals: Sequence[Any], forward: bool, given: Sequence[Any]
) -> list[Any]:
    """What comes of some changes of a function of trees, whose numbers are in order.

    Args:
        f: the function.
        primals: its arguments.
        forward: whether tangents of them are pushed forward, else cotangents pulled back.
        given: these; None for no message.
    """
    with transformation("compile") as level:
        call = _Call("compile", level, f, primals, {}, range(len(primals)))
        through = call.graph.push_forward(given) if forward else call.graph.pull_back(given)
        return call.finish(through)[0]


@boundary
def hvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The Hessian of a function with one number as result, times tangents.

    Computed by pushing the tangents through the gradient, or pulling them back through it where it
    holds a custom gradient, without the matrix. Primals and tangents are tuples of the arguments;
    so is the result, a bare tree for one argument.
    """
    check_tuple("hvp", "primals", primals)
    check_tuple("hvp", "tangents", tangents)
    gradient = grad(f, argnums=tuple(range(len(primals))))
    gradient.name = "hvp"
    with transformation("hvp") as level:
        call = _Call("hvp", level, gradient, primals, {}, range(len(primals)))
        moved = _same_structure("hvp", "tangents", tuple(tangents), call.layout)
        check_current(moved, "hvp")
        graph = call.graph
        through = graph.pull_back(moved) if graph.reverse_only else graph.push_forward(moved)
        (change,) = call.finish(through)
    product = call.layout.unflatten(change)
    return product[0] if len(primals) == 1 else product


def check_tuple(name: str, what: str, given: Any) -> None:
    """Raise TypeError unless several arguments come as a tuple or list."""
    if not isinstance(given, (tuple, list)):
        raise TypeError(
            f"{name} takes the {what} as a tuple, not {described(given)};"
            " for one argument write (x,)"
        )
