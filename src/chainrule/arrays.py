"""Arrays of nodes on which NumPy's functions do what they do on arrays of floats.

The library hands such arrays out, and :func:`array` makes one. NumPy asks an array's class, or a
node's, how to apply a function; of the elements of an ordinary array of objects it asks nothing.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy

from chainrule import array_conditions as conditions
from chainrule import array_elements as elements
from chainrule import array_functions as functions
from chainrule import array_order as order
from chainrule.node import Node
from chainrule.rules import described
from chainrule.tracebacks import boundary
from chainrule.tracing import PROGRESS, TracedValueError


class NodeArray(numpy.ndarray[Any, Any]):
    """An array of nodes and numbers with NumPy's functions as on arrays of floats.

    NaN is never lost, equal elements share the gradient of a maximum, and elements that are plain
    numbers follow IEEE 754. Made by :func:`array`, and by every function of this package that gives
    an array of nodes.
    """

    __array_priority__ = 2000.0  # where NumPy still asks for priorities: more than a node's

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return applied(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return called(function, types, args, kwargs)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """What some of NumPy's functions give: an array like this one, or its only element."""
        return array[()] if array.ndim == 0 else array.view(type(self))

    def holds_nodes(self) -> bool:
        """Whether its elements are nodes and floats alone."""
        kinds = set(map(type, self.view(numpy.ndarray).ravel().tolist()))
        return all(kind is float or issubclass(kind, Node) for kind in kinds)

    def argmax(self, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Any:
        """The position of the largest element, or of the first NaN."""
        return self._extremes(operator.gt, axis, out, keepdims)

    def argmin(self, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Any:
        """The position of the smallest element, or of the first NaN."""
        return self._extremes(operator.lt, axis, out, keepdims)

    def _extremes(self, beats: Any, axis: Any, out: Any, keepdims: bool) -> Any:
        lanes = _lanes(self, axis)
        if lanes.shape[-1] == 0:
            raise ValueError("there is no largest or smallest element in an empty array")
        found = _each(lanes, lambda lane: [order.extreme_of(lane, beats)], ())
        if keepdims:
            whole = (1,) * self.ndim
            found = found.reshape(whole) if axis is None else numpy.expand_dims(found, axis)
        return _put(found if found.ndim else found[()], out)

    def argsort(self, axis: Any = -1, *args: Any, **kwargs: Any) -> Any:
        """The positions of the elements in ascending order, NaN last; stable."""
        lanes = _lanes(self, axis)
        found = _each(lanes, order.order_of, lanes.shape[-1:])
        return found if axis is None else numpy.moveaxis(found, -1, axis)

    def sort(self, axis: Any = -1, *args: Any, **kwargs: Any) -> None:
        """Sort in place, NaN last; stable."""
        lanes = _lanes(self, axis)  # a view
        found = [x for lane in _rows(lanes) for x in order.ordered(lane)]
        lanes[...] = elements.objects(found).reshape(lanes.shape)

    def argpartition(self, kth: Any, axis: Any = -1, *args: Any, **kwargs: Any) -> Any:
        """As argsort, which is such a partition."""
        return self.argsort(axis)

    def partition(self, kth: Any, axis: Any = -1, *args: Any, **kwargs: Any) -> None:
        """As sort, which is such a partition."""
        self.sort(axis)

    def searchsorted(self, v: Any, side: str = "left", sorter: Any = None) -> Any:
        """Where values belong in this sorted array, NaN last."""
        return order.searchsorted(self, v, side, sorter)

    def nonzero(self) -> Any:
        """The positions of the elements that are not 0."""
        return order.nonzero(self)

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        """The elements as something else; comparisons of a trace as numbers."""
        if PROGRESS.recorder is not None and conditions.hold(self):
            if numpy.dtype(dtype).kind in "if":
                return conditions.numbers(self)
            return conditions.plain(self).astype(dtype, *args, **kwargs)
        return super().astype(dtype, *args, **kwargs)

    def clip(self, min: Any = None, max: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """``minimum(maximum(self, min), max)``."""
        return numpy.clip(self, min, max, out=out, **kwargs)

    def dot(self, other: Any, out: Any = None) -> Any:
        """The product of matrices or vectors."""
        return numpy.dot(self, other, out=out)


@boundary
def array(values: Any) -> NodeArray:
    """An array of nodes on which NumPy's functions do what they do on arrays of floats.

    On what ``np.array`` makes of nodes NumPy picks with Python's comparisons: ``np.maximum``,
    ``np.max``, ``np.sort`` and their kin lose a NaN there, and ``np.isnan``, ``np.interp`` and
    others do not work.

    Args:
        values: nested lists, or an array, of numbers and nodes.

    Returns:
        An array of their shape; its elements can be set to nodes and numbers.

    Raises:
        TypeError: if there is something else than real numbers and nodes.
        ValueError: if nested lists differ in length.
    """
    found = numpy.array(values)
    if found.dtype.kind not in "fiuO" or is_masked(values):
        what = "a masked array" if is_masked(values) else described(values)
        raise TypeError(f"array takes numbers and nodes, not {what}")
    elements = found.astype(object)
    for x in elements.flat:
        if isinstance(x, (bool, complex)) or not isinstance(x, (Node, int, float, numpy.number)):
            raise TypeError(f"array takes numbers and nodes, not {described(x)}")
    return elements.view(NodeArray)


# What NumPy asks


def is_masked(array: Any) -> bool:
    """Whether it is a masked array; ``numpy.ma``, slow to import, is not asked about others."""
    if type(array) in (numpy.ndarray, NodeArray) or not isinstance(array, numpy.ndarray):
        return False
    return isinstance(array, getattr(sys.modules.get("numpy.ma"), "MaskedArray", ()))


def applied(ufunc: Any, method: str, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A ufunc, or one of its methods, on operands of which some are nodes or arrays of them."""
    if method == "__call__" and not kwargs and all(map(_is_scalar, inputs)):
        element = elements.element_of(ufunc)
        if element is not None:
            return element(*map(_plain, inputs))
    if ufunc is numpy.matmul and not kwargs and PROGRESS.recorder is not None:
        found = PROGRESS.recorder.loop("product", *inputs)
        if found is not None:
            return found[0]
    kind, own = NodeArray, False
    operands: list[Any] = []
    for x in inputs:
        if isinstance(x, NodeArray):
            kind = type(x) if issubclass(type(x), kind) else kind
            operands.append(x.view(numpy.ndarray))
        elif isinstance(x, Node):
            operands.append(_holder(x))
        elif _is_foreign(x):
            return NotImplemented
        else:
            operands.append(x)
        own = own or _holds_objects(operands[-1])
    kwargs = dict(kwargs)
    targets = kwargs.pop("out", None)
    only = kwargs.pop("where", True) if targets and method == "__call__" else True
    if method == "at":
        _check_holds_nodes(inputs[0])
    if kwargs.get("where", True) is not True:
        if own and method == "reduce" and ufunc.identity is not None:
            kwargs.setdefault("initial", ufunc.identity)
            if conditions.hold(kwargs["where"]):  # what is left out changes nothing
                chosen = functions.where(kwargs.pop("where"), operands[0], ufunc.identity)
                operands = [chosen.view(numpy.ndarray)]
        kwargs["where"] = conditions.plain(kwargs.get("where", True))
    loop, compares = None, False
    if own and conditions.are_recorded():
        loop, operands, compares = conditions.loop_over(ufunc, method, operands)
    elif ufunc in conditions.LOGICAL:
        operands = [conditions.truths(x) if _holds_objects(x) else x for x in operands]
    if loop is None:
        loop = elements.loop_over(ufunc) if own else ufunc
    warns = own and (method != "__call__" or ufunc not in elements.QUIET)
    try:
        # Arithmetic of nodes does not warn, but NumPy would of the flags it leaves behind.
        with numpy.errstate(all="ignore") if warns else nullcontext():
            apply = loop if method == "__call__" else getattr(loop, method)
            result = apply(*operands, **kwargs)
    except TypeError as error:
        if not str(error).startswith(("ufunc '", "loop of ufunc", "Cannot cast ufunc")):
            raise
        name = ufunc.__name__
        raise TypeError(
            f"{name} does not work on nodes: {functions.advice_on(name, '')}"
        ) from error
    results = result if isinstance(result, tuple) else (result,)
    if compares or ufunc in elements.TRUTHS:
        results = tuple(conditions.found(x) for x in results)
    if targets is Ellipsis:  # an array in any case
        return numpy.asarray(results[0]).view(kind)
    viewed = tuple(_viewed(x, kind) for x in results)
    if targets is not None:
        viewed = tuple(_put(x, target, only) for x, target in zip(viewed, targets, strict=True))
    return viewed if isinstance(result, tuple) else viewed[0]


def called(function: Any, types: Sequence[type], args: Any, kwargs: Any) -> Any:
    """One of NumPy's other functions, on arguments of which some are nodes or arrays of them."""
    if not all(issubclass(t, (numpy.ndarray, Node)) for t in types):
        return NotImplemented
    kind = _kind_of(_flat(args))
    name, module = function.__name__, function.__module__
    own = functions.FUNCTIONS.get(function)
    result = NotImplemented if own is None else own(*args, **kwargs)
    if result is NotImplemented:
        if PROGRESS.recorder is not None and name not in functions.TAKE_CONDITIONS:
            args, kwargs = _plain_conditions(args), _plain_conditions(kwargs)
        array_types = [t for t in types if issubclass(t, numpy.ndarray)] or [kind]
        try:
            result = numpy.ndarray.__array_function__(
                numpy.empty(0).view(kind),
                function,
                array_types,
                _nodes_as_arrays(args),
                {key: _nodes_as_arrays(value) for key, value in kwargs.items()},
            )
        except TracedValueError:
            raise
        except (TypeError, AttributeError, ValueError) as error:
            ours = isinstance(error, ValueError) or str(error).startswith("a node is")
            if ours and module != "numpy.linalg" and not functions.has_advice(name):
                raise
            full = f"{module}.{name}".replace("numpy", "np", 1)
            raise TypeError(
                f"{full} does not work on nodes: {functions.advice_on(name, module)}"
            ) from error
    return _viewed(result, kind)


# Operands and results


def _is_scalar(x: Any) -> bool:
    return isinstance(x, (Node, float, int, numpy.generic)) or (
        type(x) in (numpy.ndarray, NodeArray) and x.ndim == 0
    )


def _plain(x: Any) -> Any:
    """A number as Python's: NumPy's would ask NumPy again."""
    number = x.item() if isinstance(x, (numpy.generic, numpy.ndarray)) else x
    return float(number) if isinstance(number, numpy.floating) else number


def _is_foreign(x: Any) -> bool:
    """Whether x is of a class that answers NumPy itself, which then goes first."""
    if isinstance(x, (numpy.ndarray, numpy.generic, Node)):
        return False
    return getattr(type(x), "__array_ufunc__", None) is not None


def _holds_objects(x: Any) -> bool:
    return isinstance(x, numpy.ndarray) and x.dtype == object


def _kind_of(values: Sequence[Any]) -> type[NodeArray]:
    """The class of array to hand out: the most special one among some values."""
    kind = NodeArray
    for x in values:
        if isinstance(x, kind):
            kind = type(x)
    return kind


def _flat(args: Any) -> list[Any]:
    if isinstance(args, (list, tuple)):
        return [x for part in args for x in _flat(part)]
    return [args]


def _operand(x: Any) -> Any:
    """What NumPy's own loop takes."""
    if isinstance(x, NodeArray):
        return x.view(numpy.ndarray)
    return _holder(x) if isinstance(x, Node) else x


def _holder(node: Node) -> Any:
    """An array of no axes that holds a node."""
    holder = numpy.empty((), dtype=object)
    holder[()] = node
    return holder


def _nodes_as_arrays(args: Any) -> Any:
    if isinstance(args, Node):
        return _holder(args).view(NodeArray)
    if type(args) in (list, tuple) and any(isinstance(x, Node) for x in _flat(args)):
        return type(args)(_nodes_as_arrays(x) for x in args)
    return args


def _plain_conditions(args: Any) -> Any:
    """Arguments in which arrays of comparisons are arrays of bools."""
    if type(args) in (list, tuple):
        return type(args)(map(_plain_conditions, args))
    if type(args) is dict:
        return {key: _plain_conditions(value) for key, value in args.items()}
    return conditions.plain(args)


def _viewed(result: Any, kind: type[NodeArray]) -> Any:
    """A result as arrays of a class; what has no axes is its element."""
    if isinstance(result, (tuple, list)):
        parts = [_viewed(part, kind) for part in result]
        return type(result)(parts) if type(result) in (tuple, list) else result
    if type(result) is numpy.ndarray or isinstance(result, NodeArray):
        if result.dtype != object:
            return result.view(numpy.ndarray)
        return result[()] if result.ndim == 0 else result.view(kind)
    return result


def _put(value: Any, target: Any, where: Any = True) -> Any:
    """Write into an array that was given as ``out``, if one was."""
    if target is None:
        return value
    if numpy.asarray(value).dtype == object:
        _check_holds_nodes(target)
    numpy.copyto(target.view(numpy.ndarray), _operand(value), where=where, casting="unsafe")
    return target


def _check_holds_nodes(target: Any) -> None:
    if isinstance(target, numpy.ndarray) and target.dtype != object:
        raise TypeError(
            f"an array of {target.dtype} can't hold nodes: make it with dtype=object, such as"
            " np.zeros(3, dtype=object), or chainrule.array(np.zeros(3))"
        )


def _lanes(values: NodeArray, axis: Any) -> Any:
    """The array with an axis moved to the end; flat for None."""
    plain = values.view(numpy.ndarray)
    return plain.ravel() if axis is None else numpy.moveaxis(plain, axis, -1)


def _rows(lanes: Any) -> list[list[Any]]:
    """The lists along the last axis."""
    rows: list[list[Any]] = lanes.reshape(-1, lanes.shape[-1]).tolist()
    return rows


def _each(lanes: Any, function: Callable[[list[Any]], list[Any]], shape: tuple[int, ...]) -> Any:
    """Whole numbers that a function gives for each list along the last axis."""
    found = elements.objects([x for row in _rows(lanes) for x in function(row)])
    found = found.reshape(lanes.shape[:-1] + shape)
    if any(isinstance(x, Node) for x in found.flat):
        recorder: Any = PROGRESS.recorder
        return recorder.indices(found, lanes.shape[-1])
    return found.astype(numpy.intp)
