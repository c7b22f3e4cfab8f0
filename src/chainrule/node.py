"""The computational graph: nodes, their order, and backpropagation.

A :class:`Node` holds a number and remembers its parents, the nodes it was computed from. Running
ordinary Python on nodes builds the graph; :meth:`Node.backward` walks it from the root to the
leaves and multiplies local gradients along the way, which is the chain rule.

This is the reference, in plain Python, and the engine where there is no compiler. Else the classes
written in C take the place of those here, at the end of the file.
"""

from __future__ import annotations

import itertools
import math
import operator
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any, ClassVar, Final, NoReturn, SupportsFloat

from chainrule import rules
from chainrule.annotations import (
    ACTIVE,
    Annotation,
    detecting_anomaly,
    new_annotation,
)
from chainrule.domain import check_domain, raising_domain_errors
from chainrule.engine import ENGINE
from chainrule.forking import take_around_forks
from chainrule.rules import Operation, described, to_float
from chainrule.text import equation, symbol_of, traced_text
from chainrule.tracebacks import boundaries, boundary, keep_users_frames
from chainrule.traced import (
    AS_TEXT,
    TO_CONSTANT,
    USE_EQUAL,
    USE_GRAD,
    USE_OUTSIDE,
    followed,
    leaving,
)
from chainrule.tracing import PROGRESS

_SERIALS = itertools.count(1)  # of each node made, and of each setting of data


class _State:
    """What all nodes share.

    Attributes:
        last_set: the serial number of the last setting of a node's data. Nodes made since have
            operands as they were; of older ones it must be looked whether they are.
    """

    def __init__(self) -> None:
        self.last_set = 0


_STATE: Final = _State()
_SETTING: Final = threading.RLock()  # of data, in the order of the serial numbers
take_around_forks(lambda: _SETTING)


class _AskedOfTheClass:
    """What NumPy asks for ``np.exp(node)``, ``np.float64(2) * node``, ``array * node``.

    NumPy asks a node's class. Asked of a node itself, as masked arrays do, it is None, which says
    that the node's operators come first: a masked array would take a node for its number.
    """

    def __get__(self, node: object, kind: object) -> Any:
        return _apply_ufunc if node is None else None


@boundary
def _apply_ufunc(node: Any, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    if len(inputs) == 2 and method == "__call__" and not kwargs:
        symbol = _SYMBOLS.get(ufunc.__name__)
        if symbol is not None and inputs[1] is node and isinstance(inputs[0], float):
            return _with_constant(node, float(inputs[0]), symbol, True)
    from chainrule.arrays import applied

    return applied(ufunc, method, inputs, kwargs)


@boundaries
class Node:
    """A number in a computational graph.

    Made directly, a node is a leaf: a number with a name, if you like. An operation on nodes gives
    a node that remembers its operands. Plain numbers among the operands are constants: they are
    part of the operation and have no gradient.

    A subclass with its own operation calls ``super().__init__(value, (x, y))`` and defines
    ``_local_grad(parent)``. If an operand can occur twice, an :class:`~chainrule.Operation` is the
    better way, as it is told the position.

    Args:
        data: the value, a real number.
        parents: the nodes the value was computed from (for subclasses).
        name: shown in pictures and messages.

    Raises:
        TypeError: if data is not a real number, a parent not a node, or the name not text.
    """

    __slots__ = (
        *("_number", "_grad", "_operation"),
        *("_a", "_b", "_rest"),  # operands: one or two nodes, a constant; or a tuple of all
        "_annotation",
        "_serial",  # greater than those of all nodes made, and all data set, before it
        "_level",  # of the innermost transformation it depends on an input of
    )

    __array_priority__: ClassVar[float] = 1000.0  # for classes that do not know __array_ufunc__

    def __init__(
        self,
        /,
        data: SupportsFloat,
        parents: Sequence[Node] = (),
        name: str | None = None,
        **unknown: NoReturn,
    ) -> None:
        again = hasattr(self, "_serial")
        self._operation: Operation | None = None
        self._a: Node | None = None
        self._b: Node | None = None
        self._rest: object = None
        self._annotation: Annotation | None = None
        self._number = 0.0
        self._grad = 0.0
        self._serial = next(_SERIALS)
        if again:  # what was computed from it had another number
            with _SETTING:
                self._serial = _STATE.last_set = next(_SERIALS)
        self._level = 0
        _fill(self, data, parents, name, **unknown)

    # What a node knows

    @property
    def data(self) -> float:
        """The value. It can be set on leaves, for example by a step of gradient descent.

        Raises:
            TracedValueError: for a node that depends on an input of a transformation in progress.
        """
        if self._level or ACTIVE.contexts:
            return _data_of_traced(self)
        return self._number

    @data.setter
    def data(self, value: SupportsFloat) -> None:
        number = _data_to_set(self, value)
        with _SETTING:
            self._number = number
            self._serial = _STATE.last_set = next(_SERIALS)

    @property
    def grad(self) -> float:
        """∂root/∂self by the last backward pass; on leaves, summed over passes since it was set.

        Raises:
            TracedValueError: for a node that depends on an input of a transformation in progress.
        """
        if self._level or ACTIVE.contexts:
            return _grad_of_traced(self)
        return self._grad

    @grad.setter
    def grad(self, value: SupportsFloat) -> None:
        self._grad = _grad_to_set(self, value)

    @property
    def name(self) -> str | None:
        """The name, or None."""
        return None if self._annotation is None else self._annotation.name

    @name.setter
    def name(self, name: str | None) -> None:
        _check_name(name)
        old = self._annotation
        self._annotation = Annotation(name, (), None) if old is None else old.named(name)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups (see :func:`~chainrule.group`) the node was made in, outermost first."""
        return () if self._annotation is None else self._annotation.groups

    @property
    def line(self) -> str | None:
        """``file:line`` (or cell and line) of the code that made the node, where recorded."""
        return None if self._annotation is None else self._annotation.line

    @property
    def operation(self) -> Operation | None:
        """The operation that made the node; None for leaves and users' own subclasses."""
        return self._operation

    def _replace(self, operands: Sequence[Any]) -> None:
        """Put others in the place of its operands, as many as there are."""
        if isinstance(self._rest, tuple):
            self._rest = tuple(operands)
            return
        self._a, self._b, self._rest = None, None, None
        for i, operand in enumerate(operands):
            if not isinstance(operand, Node):
                self._rest = operand
            elif i == 0:
                self._a = operand
            else:
                self._b = operand

    @property
    def operands(self) -> tuple[Any, ...]:
        """Nodes and constants (floats) that the operation was applied to, in order."""
        rest = self._rest
        if isinstance(rest, tuple):
            return rest
        if self._a is None:
            return () if self._b is None else (rest, self._b)
        if self._b is not None:
            return (self._a, self._b)
        return (self._a,) if rest is None else (self._a, rest)

    @property
    def _parents(self) -> tuple[Node, ...]:
        """The nodes among the operands, in order; one used twice stands twice."""
        return tuple([operand for operand in self.operands if isinstance(operand, Node)])

    @_parents.setter
    def _parents(self, parents: Sequence[Node]) -> None:
        _set_parents(self, parents)

    @boundary
    def _local_grad(self, parent: Node) -> Any:
        """∂self/∂parent; for an operand that occurs twice, by its first position.

        Raises:
            ValueError: if ``parent`` is not a parent of this node.
            NotImplementedError: if a subclass with parents does not define it.
        """
        if self._operation is None:
            if self._rest is None:
                raise ValueError("a leaf has no parents and no local gradients")
            raise NotImplementedError(
                f"{type(self).__name__} has parents but no method _local_grad(parent)"
            )
        for i, known in enumerate(self._parents):
            if known is parent:
                return self.local_grads()[i]
        raise ValueError(f"{parent!r} is not a parent of {self!r}")

    def local_grads(self) -> tuple[float, ...]:
        """∂self/∂parent for each of the parents in order, at the present values.

        Raises:
            TracedValueError: for a node that depends on an input of a transformation in progress.
        """
        if (self._level or ACTIVE.contexts) and followed(self):
            raise leaving(self, "reading the local gradients of", USE_GRAD)
        operation = self._operation
        if operation is None:
            return tuple(
                [
                    to_float(
                        self._local_grad(parent),
                        f"_local_grad of {type(self).__name__}",
                        "must give a real number",
                    )
                    for parent in self._parents
                ]
            )
        operands = self.operands
        positions = [i for i, operand in enumerate(operands) if isinstance(operand, Node)]
        grads = operation.local_grads_at(positions, self._number, _values(operands))
        return tuple(
            [
                grad
                if isinstance(grad, float)
                else to_float(
                    grad, f"a local gradient of {operation.name}", "must be a real number"
                )
                for grad in grads
            ]
        )

    # Order and backpropagation

    def sorted_nodes(self) -> list[Node]:
        """The graph below this node in topological order: this node first, parents after children.

        Raises:
            TracedValueError: for a node that depends on an input of a transformation in progress.
            ValueError: if the graph has a cycle.
        """
        if (self._level or ACTIVE.contexts) and followed(self):
            raise leaving(self, "looking at the graph of", USE_OUTSIDE)
        from chainrule.backpropagation import sorted_nodes

        return sorted_nodes(self)

    def backward(self, seed: SupportsFloat = 1.0) -> None:
        """Backpropagate: set ``grad`` of every node below to ∂self/∂node times ``seed``.

        Leaves add to what they hold, so that gradients accumulate over calls until they are set to
        0; the other nodes hold the last pass. What an operation has not picked (the other side of
        ``where``, what ``relu`` cuts off) is sent no message, and sends none. After an error, no
        gradient has changed.

        Raises:
            TypeError: if the seed is not a number, or a user's local gradient gives none.
            TracedValueError: for a node that depends on an input of a transformation in progress.
            ValueError: if the graph has a cycle, or a leaf's data was changed after an operation
                had used it.
            FloatingPointError: inside :func:`~chainrule.detect_anomaly`.
        """
        if (self._level or ACTIVE.contexts) and followed(self):
            raise leaving(self, "backward from", USE_GRAD)
        from chainrule.backpropagation import backward

        backward(self, to_float(seed, "backward", "takes a real number as seed"))

    # Operators

    def __add__(self, other: object) -> Any:
        return with_other(self, other, "+", False)

    def __radd__(self, other: object) -> Any:
        return with_other(self, other, "+", True)

    def __sub__(self, other: object) -> Any:
        return with_other(self, other, "-", False)

    def __rsub__(self, other: object) -> Any:
        return with_other(self, other, "-", True)

    def __mul__(self, other: object) -> Any:
        return with_other(self, other, "*", False)

    def __rmul__(self, other: object) -> Any:
        return with_other(self, other, "*", True)

    def __truediv__(self, other: object) -> Any:
        return with_other(self, other, "/", False)

    def __rtruediv__(self, other: object) -> Any:
        return with_other(self, other, "/", True)

    def __pow__(self, other: object) -> Any:
        return with_other(self, other, "**", False)

    def __rpow__(self, other: object) -> Any:
        return with_other(self, other, "**", True)

    def __mod__(self, other: object) -> Any:
        return with_other(self, other, "%", False)

    def __rmod__(self, other: object) -> Any:
        return with_other(self, other, "%", True)

    def __floordiv__(self, other: object) -> Any:
        return with_other(self, other, "//", False)

    def __rfloordiv__(self, other: object) -> Any:
        return with_other(self, other, "//", True)

    def __neg__(self) -> Node:
        return _unary(rules.negative, self)

    def __pos__(self) -> Node:
        return self

    def __abs__(self) -> Node:
        return _unary(rules.absolute, self)

    def __divmod__(self, other: object) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: object) -> Any:
        return other // self, other % self

    def __round__(self, digits: Any = None) -> Node:
        if digits is None:
            return whole.rounded_half_even(self)
        return apply(rules.round_half_even, (self, digits))

    def __floor__(self) -> Node:
        return whole.without_sign(whole.rounded(rules.floor, self))

    def __ceil__(self) -> Node:
        return whole.without_sign(whole.rounded(rules.ceil, self))

    def __trunc__(self) -> Node:
        return whole.without_sign(whole.rounded(rules.trunc, self))

    def _apply(self, operation: Operation, operands: Sequence[object]) -> Node:
        """What a call of an operation asks of the first operand that is not a number."""
        return apply(operation, operands)

    __array_ufunc__: ClassVar[Any] = _AskedOfTheClass()

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """What NumPy asks for ``np.clip(node, 0, 1)``, ``np.where(node > 0, node, 0)``."""
        from chainrule.arrays import called

        return called(function, types, args, kwargs)

    # Comparisons are of values, but for == and != between ordinary nodes and hash, which are
    # identity. What compile records gives a ConditionNode, everything else a bool.

    def __lt__(self, other: Any) -> Any:
        return _compared(self, other, "<")

    def __le__(self, other: Any) -> Any:
        return _compared(self, other, "<=")

    def __gt__(self, other: Any) -> Any:
        return _compared(self, other, ">")

    def __ge__(self, other: Any) -> Any:
        return _compared(self, other, ">=")

    def __eq__(self, other: Any) -> Any:
        return _compared(self, other, "==")

    def __ne__(self, other: Any) -> Any:
        return _compared(self, other, "!=")

    def __hash__(self) -> int:
        if self._level:
            return _hash_of_traced(self)
        return id(self) >> 4

    # Leaving the graph is said aloud: node.data

    def __bool__(self) -> bool:
        """Whether it is not 0, as of a number."""
        return bool(self != 0.0)

    def __float__(self) -> float:
        from chainrule.advice import on_float, users_place

        if followed(self):
            raise leaving(self, "float() of", on_float())
        raise TypeError(
            f"a node is not turned into a float at {users_place()}, which would lose its gradient:"
            f" {on_float()}; node.data leaves the graph"
        )

    def __int__(self) -> int:
        """The whole part, which has no derivative to lose; where ``compile`` traces, by guards."""
        return whole.whole_part(self)

    def __complex__(self) -> complex:
        raise TypeError("a node is real; use node.data to leave the graph")

    # Text, copying and pickling

    def __repr__(self) -> str:
        if (self._level or ACTIVE.contexts) and followed(self):
            return traced_text(self)
        text = f"data={self._number!r}, grad={self._grad!r}"
        if self._operation is not None:
            text += f", op={symbol_of(self)!r}"
        if self.name is not None:
            text += f", name={self.name!r}"
        return f"{type(self).__name__}({text})"

    def __format__(self, spec: str) -> str:
        if not spec:
            return repr(self)
        if (self._level or ACTIVE.contexts) and followed(self):
            raise leaving(self, f"formatting ({spec!r})", AS_TEXT)
        return format(self._number, spec)

    def __copy__(self) -> Node:
        from chainrule.copying import copy_node

        return copy_node(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Node:
        from chainrule.copying import deepcopy_node

        return deepcopy_node(self, memo)

    def __reduce_ex__(self, protocol: object) -> Any:
        from chainrule.copying import reduce_node

        return reduce_node(self)

    # Methods under NumPy's names, which NumPy calls on arrays of nodes

    def relu(self) -> Node:
        """max(self, 0)."""
        return ReLUNode(self)

    def tanh(self) -> Node:
        """Hyperbolic tangent."""
        return TanhNode(self)

    def exp(self) -> Node:
        """e ** self."""
        return _unary(rules.exp, self)

    def exp2(self) -> Node:
        """2 ** self."""
        return _unary(rules.exp2, self)

    def expm1(self) -> Node:
        """e ** self - 1."""
        return _unary(rules.expm1, self)

    def log(self) -> Node:
        """Natural logarithm."""
        return _unary(rules.log, self)

    def log2(self) -> Node:
        """Logarithm to base 2."""
        return _unary(rules.log2, self)

    def log10(self) -> Node:
        """Logarithm to base 10."""
        return _unary(rules.log10, self)

    def log1p(self) -> Node:
        """log(1 + self)."""
        return _unary(rules.log1p, self)

    def sqrt(self) -> Node:
        """Square root."""
        return _unary(rules.sqrt, self)

    def cbrt(self) -> Node:
        """Cube root."""
        return _unary(rules.cbrt, self)

    def sin(self) -> Node:
        """Sine of radians."""
        return _unary(rules.sin, self)

    def cos(self) -> Node:
        """Cosine of radians."""
        return _unary(rules.cos, self)

    def tan(self) -> Node:
        """Tangent of radians."""
        return _unary(rules.tan, self)

    def arcsin(self) -> Node:
        """Arc sine."""
        return _unary(rules.asin, self)

    def arccos(self) -> Node:
        """Arc cosine."""
        return _unary(rules.acos, self)

    def arctan(self) -> Node:
        """Arc tangent."""
        return _unary(rules.atan, self)

    def sinh(self) -> Node:
        """Hyperbolic sine."""
        return _unary(rules.sinh, self)

    def cosh(self) -> Node:
        """Hyperbolic cosine."""
        return _unary(rules.cosh, self)

    def arcsinh(self) -> Node:
        """Inverse hyperbolic sine."""
        return _unary(rules.asinh, self)

    def arccosh(self) -> Node:
        """Inverse hyperbolic cosine."""
        return _unary(rules.acosh, self)

    def arctanh(self) -> Node:
        """Inverse hyperbolic tangent."""
        return _unary(rules.atanh, self)

    def sign(self) -> Node:
        """-1, 0 or 1, with derivative 0."""
        return _unary(rules.sign, self)

    def floor(self) -> Node:
        """The whole number below, with derivative 0."""
        return whole.rounded(rules.floor, self)

    def ceil(self) -> Node:
        """The whole number above, with derivative 0."""
        return whole.rounded(rules.ceil, self)

    def trunc(self) -> Node:
        """The whole part, with derivative 0."""
        return whole.rounded(rules.trunc, self)

    def sigmoid(self) -> Node:
        """1 / (1 + exp(-self))."""
        return _unary(rules.sigmoid, self)

    def softplus(self) -> Node:
        """log(1 + exp(self))."""
        return _unary(rules.softplus, self)

    def fabs(self) -> Node:
        """Absolute value."""
        return abs(self)

    def rint(self) -> Node:
        """The nearest whole number, halves to even, with derivative 0."""
        return round(self)

    def conjugate(self) -> Node:
        """The node itself: its number is real."""
        return self

    @property
    def real(self) -> Node:
        """The node itself."""
        return self

    @property
    def imag(self) -> float:
        """0."""
        return 0.0

    def item(self) -> Node:
        """The node itself, as of an array with one element."""
        return self

    def is_integer(self) -> Any:
        """Whether the value is a whole number."""
        return self - self.floor() == 0.0

    def rad2deg(self) -> Any:
        """Radians to degrees."""
        return self.degrees()

    def deg2rad(self) -> Any:
        """Degrees to radians."""
        return self.radians()

    def degrees(self) -> Any:
        """Radians to degrees."""
        return self * (180.0 / math.pi)

    def radians(self) -> Any:
        """Degrees to radians."""
        return self * (math.pi / 180.0)

    def arctan2(self, x: object) -> Node:
        """The angle of the point (x, self)."""
        return apply(rules.atan2, (self, x))

    def hypot(self, other: object) -> Node:
        """sqrt(self**2 + other**2)."""
        return apply(rules.hypot, (self, other))

    def fmod(self, other: object) -> Node:
        """Remainder with the sign of self."""
        return apply(rules.fmod, (self, other))


# Leaves


def _fill(
    node: Node,
    /,
    data: SupportsFloat,
    parents: Sequence[Node] = (),
    name: str | None = None,
    **unknown: NoReturn,
) -> None:
    """Put the arguments of Node into a blank node."""
    if unknown:
        from chainrule.keywords import unknown_keyword

        raise unknown_keyword("Node", next(iter(unknown)), ("data", "parents", "name"))
    if isinstance(data, Node):
        raise TypeError("Node takes a number, not a node; to detach one use stop_gradient")
    number = data if type(data) is float else to_float(data, "Node", "takes a real number")
    rest = None if type(parents) is tuple and not parents else _checked_parents(parents)
    _check_name(name)
    node._number = number
    if rest is not None:
        node._rest = rest
        node._level = level_of(rest)
    if ACTIVE.contexts or name is not None:
        _enter_contexts(node, name)


_fill.__qualname__ = "Node.__init__"  # as which it complains of arguments


def _checked_parents(parents: object) -> tuple[Node, ...] | None:
    """The parents as a tuple, None for none of them."""
    if isinstance(parents, str):
        raise TypeError(
            "the second argument of Node are its parents; a name is given by keyword:"
            f" Node(2.0, name={parents!r})"
        )
    if isinstance(parents, Node) or not isinstance(parents, Iterable):
        raise TypeError(f"the parents of a node are a tuple of nodes, not {described(parents)}")
    checked = []
    for parent in parents:
        if not isinstance(parent, Node):
            raise TypeError(f"the parents of a node are nodes, not {described(parent)}")
        checked.append(parent)
    return tuple(checked) or None


def _set_parents(node: Node, parents: object) -> None:
    """Give a user's own node other parents."""
    if node._operation is not None:
        raise ValueError("the operands of an operation can't be changed; compute it again")
    node._rest = _checked_parents(parents)


def _check_name(name: object) -> None:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"the name of a node is text, not {type(name).__name__}")


def level_of(operands: Iterable[object]) -> int:
    """The level of an operation's node: the largest of its operands."""
    level = 0
    for operand in operands:  # asked often: without a generator
        if isinstance(operand, Node) and operand._level > level:
            level = operand._level
    return level


def _enter_contexts(node: Node, name: str | None) -> None:
    """Give a new node what the open contexts say, and check it: group, line, level of a trace."""
    if PROGRESS.recorder is not None:
        from chainrule.comparing import ConditionNode

        if node._level < PROGRESS.recorded_level:
            node._level = PROGRESS.recorded_level  # it is computed anew at each call of the trace
        for operand in node.operands:
            if isinstance(operand, ConditionNode):
                operand.asked = True
    node._annotation = new_annotation(name)
    if not math.isfinite(node._number):
        _check_value(node)


def _check_value(node: Node) -> None:
    """Raise for the value of an operation or of a user's own node, where that is asked for.

    Raises:
        ValueError, ZeroDivisionError, OverflowError: inside domain_errors.
        FloatingPointError: inside detect_anomaly.
    """
    operation = node._operation
    if operation is None:
        if node._rest is not None and detecting_anomaly():
            raise FloatingPointError(f"{type(node).__name__} = {node._number} at {node.line}")
        return
    if raising_domain_errors() and operation.builtin:
        check_domain(operation.name, _values(node.operands))
    if detecting_anomaly():
        raise FloatingPointError(f"{equation(node)} at {node.line}")


# Traced values, and what is asked of them


def _data_of_traced(node: Node) -> float:
    """The data, of a node that may be traced."""
    if followed(node):
        from chainrule.advice import on_data

        raise leaving(node, "reading the data of", on_data() or TO_CONSTANT)
    return node._number


def _grad_of_traced(node: Node) -> float:
    """The gradient, of a node that may be traced."""
    if followed(node):
        raise leaving(node, "reading the grad of", USE_GRAD)
    return node._grad


def _data_to_set(node: Node, value: object) -> float:
    """The number that a node's data is set to."""
    if node._operation is not None:
        raise ValueError(
            f"the data of {node!r} is the result of an operation and can't be set;"
            " set a leaf's and compute the result again"
        )
    if (node._level or ACTIVE.contexts) and followed(node):
        raise leaving(node, "setting the data of")
    return to_float(value, "data", "takes a real number")


def _grad_to_set(node: Node, value: object) -> float:
    """The number that a node's gradient is set to."""
    if (node._level or ACTIVE.contexts) and followed(node):
        raise leaving(node, "setting the grad of", USE_GRAD)
    return to_float(value, "grad", "takes a real number")


def _hash_of_traced(node: Node) -> NoReturn:
    raise leaving(node, "the hash of", USE_EQUAL)


# Operations


class OperationNode(Node):
    """The result of an operation of the table or of a user's :class:`~chainrule.Operation`.

    Made by the operators, methods and functions, not by hand. Only :class:`Node` is for
    subclassing.
    """

    __slots__ = ()

    @boundary
    def __init_subclass__(cls) -> None:
        if cls.__module__.partition(".")[0] != __name__.partition(".")[0]:
            raise TypeError(f"{cls.__name__}: subclass Node, not the class of an operation")

    def __init__(
        self, operation: Operation, data: float, a: Node | None, b: Node | None, rest: object
    ) -> None:
        self._operation = operation
        self._a = a
        self._b = b
        self._rest = rest
        self._annotation = None
        self._number = data
        self._grad = 0.0
        self._serial = next(_SERIALS)
        level = 0 if a is None else a._level
        if b is not None and b._level > level:
            level = b._level
        self._level = level_of(rest) if isinstance(rest, tuple) else level
        if ACTIVE.contexts:
            _enter_contexts(self, None)

    def __str__(self) -> str:
        """The symbol of the operation, with its constants: ``*``, ``tanh``, ``** 2``, ``1 /``."""
        if (self._level or ACTIVE.contexts) and followed(self):
            return traced_text(self)
        return symbol_of(self)


class BinaryOpNode(OperationNode):
    """The result of an operator between two nodes.

    Args:
        x: the left operand.
        y: the right operand.
        op: ``+``, ``-``, ``*``, ``/``, ``**``, ``%`` or ``//``.

    Raises:
        TypeError: if an operand is not a node.
        ValueError: if the operator is none of these.
    """

    __slots__ = ()

    @boundary
    def __init__(self, x: Node, y: Node, op: str) -> None:
        _check_nodes(x, y)
        operation = operator_of(op)
        value = operation.evaluate((x._number, y._number))
        OperationNode.__init__(self, operation, value, x, y, None)

    @property
    def _op(self) -> str:
        return "" if self._operation is None else self._operation.symbol


class ReLUNode(OperationNode):
    """max(x, 0), with gradient 0 at 0."""

    __slots__ = ()

    @boundary
    def __init__(self, x: Node) -> None:
        _check_nodes(x)
        OperationNode.__init__(self, rules.relu, rules.relu.evaluate((x._number,)), x, None, None)


class TanhNode(OperationNode):
    """Hyperbolic tangent."""

    __slots__ = ()

    @boundary
    def __init__(self, x: Node) -> None:
        _check_nodes(x)
        OperationNode.__init__(self, rules.tanh, rules.tanh.evaluate((x._number,)), x, None, None)


class PowOp(OperationNode):
    """x ** n for a number n."""

    __slots__ = ()

    @boundary
    def __init__(self, x: Node, n: float) -> None:
        _check_nodes(x)
        exponent = to_float(n, "**")
        value = rules.power.evaluate((x._number, exponent))
        OperationNode.__init__(self, rules.power, value, x, None, exponent)

    @property
    def n(self) -> float:
        """The exponent."""
        return to_float(self._rest, "**")


# Building


def _check_nodes(*nodes: object) -> None:
    """Raise TypeError for anything else."""
    for node in nodes:
        if not isinstance(node, Node):
            raise TypeError(f"expected a node, not {described(node)}")


_OPERATORS: Final[dict[str, tuple[Operation, str]]] = {  # with NumPy's name
    "+": (rules.add, "add"),
    "-": (rules.subtract, "subtract"),
    "*": (rules.multiply, "multiply"),
    "/": (rules.divide, "true_divide"),
    "**": (rules.power, "power"),
    "%": (rules.mod, "remainder"),
    "//": (rules.floor_divide, "floor_divide"),
}
_SYMBOLS: Final[dict[str, str]] = {
    **{name: symbol for symbol, (_, name) in _OPERATORS.items()},
    "divide": "/",  # as true_divide calls itself
}


def operator_of(symbol: str) -> Operation:
    """The operation of an operator."""
    try:
        return _OPERATORS[symbol][0]
    except KeyError:
        message = f"an operator is one of + - * / ** % //, not {symbol!r}"
        raise ValueError(message) from None


def _with_constant(node: Node, constant: float, symbol: str, swapped: bool) -> Node:
    """An operator between a node and a number, the number first if swapped."""
    operation = operator_of(symbol)
    if swapped:
        value = operation.evaluate((constant, node._number))
        return OperationNode(operation, value, None, node, constant)
    if operation is rules.power:
        return PowOp(node, constant)
    value = operation.evaluate((node._number, constant))
    return OperationNode(operation, value, node, None, constant)


def _unary(operation: Operation, x: Node) -> Node:
    return OperationNode(operation, operation.evaluate((x._number,)), x, None, None)


def apply(operation: Operation, operands: Sequence[object]) -> Node:
    """The node that an operation gives for operands of which at least one is a node.

    Raises:
        TypeError: for a wrong number of operands, one that is neither node nor number, a node
            where the operation takes only a number, or a value that is not a number.
    """
    operation.check_arity(len(operands))
    first = operands[0]
    if len(operands) == 1 and isinstance(first, Node):
        if operation is rules.relu:
            return ReLUNode(first)
        if operation is rules.tanh:
            return TanhNode(first)
        if operation in (rules.floor, rules.ceil, rules.trunc):
            return whole.rounded(operation, first)
        _check_differentiable(operation, 0)
        return _unary(operation, first)
    if operation.builtin and operation.symbol in _OPERATORS:
        swapped = not isinstance(first, Node)
        node, other = (operands[1], first) if swapped else (first, operands[1])
        assert isinstance(node, Node)
        if isinstance(other, Node):
            return BinaryOpNode(node, other, operation.symbol)
        constant = to_float(other, operation.symbol)
        return _with_constant(node, constant, operation.symbol, swapped)
    checked: list[Any] = []
    for i, operand in enumerate(operands):
        if not isinstance(operand, Node):
            checked.append(to_float(operand, operation.name))
            continue
        _check_differentiable(operation, i)
        checked.append(operand)
    value = operation.evaluate(_values(checked))
    if len(checked) > 2:
        return OperationNode(operation, value, None, None, tuple(checked))
    left, right = checked
    if not isinstance(left, Node):
        return OperationNode(operation, value, None, right, left)
    if not isinstance(right, Node):
        return OperationNode(operation, value, left, None, right)
    return OperationNode(operation, value, left, right, None)


def _check_differentiable(operation: Operation, position: int) -> None:
    if not operation.variadic and operation.local_grads[position] is None:
        raise TypeError(
            f"operand {position + 1} of {operation.name} must be a number or a comparison,"
            " not a node"
        )


def _values(operands: Iterable[Any]) -> list[float]:
    return [operand._number if isinstance(operand, Node) else operand for operand in operands]


# Operators and comparisons with anything


def with_other(node: Node, other: object, symbol: str, swapped: bool) -> Any:
    """An operator between a node and anything; an array of nodes if the other is an array."""
    if isinstance(other, Node):
        return BinaryOpNode(other, node, symbol) if swapped else BinaryOpNode(node, other, symbol)
    if isinstance(other, (float, int, Real)):
        return _with_constant(node, to_float(other, symbol), symbol, swapped)
    if other is None or isinstance(other, (str, bytes, complex, list, tuple, dict, set)):
        to_float(other, symbol)  # raises
    return _with_array(node, other, _OPERATORS[symbol][1], swapped)


_COMPARISONS: Final[dict[str, tuple[Operation, bool, str, Callable[[Any, Any], Any]]]] = {
    # the operation, whether its operands are swapped, NumPy's name, Python's function
    "<": (rules.less, False, "less", operator.lt),
    "<=": (rules.less_equal, False, "less_equal", operator.le),
    ">": (rules.less, True, "greater", operator.gt),
    ">=": (rules.less_equal, True, "greater_equal", operator.ge),
    "==": (rules.equal, False, "equal", operator.eq),
    "!=": (rules.not_equal, False, "not_equal", operator.ne),
}


def _compared(node: Node, other: Any, symbol: str) -> Any:
    """A comparison of a node with anything."""
    operation, swapped, ufunc, function = _COMPARISONS[symbol]
    if not isinstance(other, (Node, float, int, Real)) and not _is_decimal(other):
        return _with_array(node, other, ufunc)
    if node._level or ACTIVE.contexts or (isinstance(other, Node) and other._level):
        from chainrule.comparing import compared

        return compared(operation, other, node) if swapped else compared(operation, node, other)
    if not isinstance(other, Node):
        return bool(function(node._number, other))  # NumPy's numbers give a bool of theirs
    if symbol == "==":
        return node is other
    if symbol == "!=":
        return node is not other
    return function(node._number, other._number)


def _is_decimal(x: object) -> bool:
    """Whether it is a Decimal; there is none before ``decimal`` is imported, which takes long."""
    module = sys.modules.get("decimal")
    return module is not None and isinstance(x, module.Decimal)


def _with_array(node: Node, other: object, ufunc_name: str, swapped: bool = False) -> Any:
    """A NumPy function of a node and each element of an array; NotImplemented for no array."""
    module = type(other).__module__
    if module.startswith("numpy.ma"):
        raise TypeError(
            "a masked array can't hold nodes; take its numbers, with .filled(0.0) or .compressed()"
        )
    if module != "numpy":
        return NotImplemented
    import numpy

    ufunc = getattr(numpy, ufunc_name)
    return ufunc(other, node) if swapped else ufunc(node, other)


# The classes written in C


def _hand_over() -> None:
    """Let the engine's classes take the place of those above, with all that they lack.

    They have what is frequent: the attributes, making and freeing, ``data``, ``grad``, operands,
    operators, comparisons, ``__bool__``, ``__hash__``, the methods of operations of one
    operand. Each other method, property or constant of a class above is set on the engine's class,
    and is the same function on both engines. What is rare in the engine's methods comes back to
    here through the hooks.
    """
    ENGINE.set_hooks(
        keep_users_frames=keep_users_frames,
        apply=apply,
        with_other=with_other,
        compared=_compared,
        fill=_fill,
        set_parents=_set_parents,
        sorted_nodes=Node.sorted_nodes,
        backward=Node.backward,
        data_of_traced=_data_of_traced,
        grad_of_traced=_grad_of_traced,
        hash_of_traced=_hash_of_traced,
        data_to_set=_data_to_set,
        grad_to_set=_grad_to_set,
        operator_of=operator_of,
        check_node=_check_nodes,
        to_float=to_float,
    )
    ENGINE.set_docs({name: value.__doc__ for name, value in vars(Node).items() if value.__doc__})
    slots = {"__init__", "__slots__", "__dict__", "__weakref__", *Node.__slots__}
    for reference in (Node, OperationNode, BinaryOpNode, ReLUNode, TanhNode, PowOp):
        twin = getattr(ENGINE, reference.__name__)
        own = slots.union(vars(twin)) - {"__doc__", "__module__"}
        for name, value in vars(reference).items():
            if name not in own:
                setattr(twin, name, value)
        globals()[reference.__name__] = twin
    ENGINE.set_context_hooks(check=_check_value)
    globals()["_enter_contexts"] = ENGINE.enter_contexts


if ENGINE is not None:
    _hand_over()

from chainrule import whole  # noqa: E402 (it is made of the classes above)
