"""The computational graph: nodes, their order, and backpropagation.

A :class:`Node` holds a number and remembers its parents, the nodes it was computed from. Running
ordinary Python on nodes builds the graph; :meth:`Node.backward` walks it from the root to the
leaves and multiplies local gradients along the way, which is the chain rule.

This file is plain Python. Where a C compiler is found it is compiled when the package is built,
which makes it some forty times faster and changes no result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final, NoReturn, SupportsFloat

from mypy_extensions import i32, i64, mypyc_attr

from chainrule import ieee, rules
from chainrule.annotations import (
    ACTIVE,
    Annotation,
    detecting_anomaly,
    new_annotation,
)
from chainrule.rules import (
    CODE_ADD,
    CODE_DIVIDE,
    CODE_MULTIPLY,
    CODE_POWER,
    CODE_RELU,
    CODE_SUBTRACT,
    CODE_TANH,
    Operation,
    described,
    to_float,
)
from chainrule.tracebacks import keep_users_frames
from chainrule.tracing import PROGRESS, TracedValueError, name_of

COMPILED: Final = not __file__.endswith(".py")
"""Whether the engine runs as machine code."""


INTERNAL: Final = frozenset(
    ["_pending", "_operation", "_a", "_b", "_extra", "_data", "_grad", "_clock", "_level"]
)
"""The attributes that the engine keeps on every node."""


class _State:
    """Counts the times that any node's data was set; nodes compare it to notice stale values."""

    def __init__(self) -> None:
        self.clock: i64 = 0


_STATE: Final = _State()


class _Both:
    """The rest of a node's operands and its annotation, in one place as both are rare."""

    def __init__(self, rest: object, annotation: Annotation) -> None:
        self.rest = rest
        self.annotation = annotation


class _AskedOfTheClass:
    """What NumPy asks for ``np.exp(node)``, ``np.float64(2) * node``, ``array * node``.

    NumPy asks a node's class. Asked of a node itself, as masked arrays do, it is None, which says
    that the node's operators come first: a masked array would take a node for its number.
    """

    def __get__(self, node: object, kind: object) -> Any:
        return _apply_ufunc if node is None else None


def _apply_ufunc(node: Any, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    if len(inputs) == 2 and method == "__call__" and not kwargs:
        symbol = _SYMBOLS.get(ufunc.__name__)
        if symbol is not None and inputs[1] is node and isinstance(inputs[0], float):
            return _with_constant(node, float(inputs[0]), symbol, True)
    from chainrule.arrays import applied

    return applied(ufunc, method, inputs, kwargs)


@mypyc_attr(allow_interpreted_subclasses=True)
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

    __array_priority__: ClassVar[float] = 1000.0  # for classes that do not know __array_ufunc__

    def __init__(
        self,
        data: SupportsFloat,
        parents: Sequence[Node] = (),
        name: str | None = None,
        **unknown: NoReturn,
    ) -> None:
        if unknown:
            from chainrule.keywords import unknown_keyword

            raise unknown_keyword("Node", next(iter(unknown)), ("data", "parents", "name"))
        if isinstance(data, Node):
            raise TypeError("Node takes a number, not a node; to detach one use stop_gradient")
        number = to_float(data, "Node", "takes a real number")
        # Compiled, the attributes stand in memory in this order: the small one fills a gap, and
        # what the garbage collector looks at is near the node's head.
        self._pending: i32 = 0
        self._operation: Operation | None = None
        # The operands: one or two nodes in _a and _b; in _rest the constant of a two-operand
        # operation, or a tuple of all the operands if there are more than two.
        self._a: Node | None = None
        self._b: Node | None = None
        self._extra: object = _checked_parents(parents)  # _rest, _annotation, or _Both
        self._data: float = number
        self._grad: float = 0.0
        self._clock: i64 = _STATE.clock
        self._level: i32 = 0  # of the innermost transformation it depends on an input of
        if self._extra is not None:
            self._level = _level_of(parents)
        if name is not None and not isinstance(name, str):
            raise TypeError(f"the name of a node is text, not {type(name).__name__}")
        if ACTIVE.contexts or name is not None:
            _enter_contexts(self, name)
            if self._rest is not None and detecting_anomaly() and not math.isfinite(self._data):
                raise FloatingPointError(f"{type(self).__name__} = {self._data} at {self.line}")

    # What a node knows

    @property
    def data(self) -> float:
        """The value. It can be set on leaves, for example by a step of gradient descent.

        Raises:
            TracedValueError: for a node that depends on an input of a transformation in progress.
        """
        if (self._level or ACTIVE.contexts) and _followed(self):
            from chainrule.advice import on_data

            raise _leaving(self, "reading the data of", on_data() or _TO_CONSTANT)
        return self._data

    @data.setter
    def data(self, value: SupportsFloat) -> None:
        if self._operation is not None:
            raise ValueError(
                f"the data of {self!r} is the result of an operation and can't be set;"
                " set a leaf's and compute the result again"
            )
        if (self._level or ACTIVE.contexts) and _followed(self):
            raise _leaving(self, "setting the data of")
        self._data = to_float(value, "data", "takes a real number")
        _STATE.clock += 1
        self._clock = _STATE.clock

    @property
    def grad(self) -> float:
        """∂root/∂self by the last backward pass; on leaves, summed over passes since it was set."""
        return self._grad

    @grad.setter
    def grad(self, value: SupportsFloat) -> None:
        self._grad = to_float(value, "grad", "takes a real number")

    @property
    def name(self) -> str | None:
        """The name, or None."""
        return None if self._annotation is None else self._annotation.name

    @name.setter
    def name(self, name: str | None) -> None:
        if name is not None and not isinstance(name, str):
            raise TypeError(f"the name of a node is text, not {type(name).__name__}")
        old = self._annotation
        self._annotation = (
            Annotation(name, (), None) if old is None else Annotation(name, old.groups, old.line)
        )

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

    @property
    def _rest(self) -> object:
        extra = self._extra
        if isinstance(extra, Annotation):
            return None
        return extra.rest if isinstance(extra, _Both) else extra

    @_rest.setter
    def _rest(self, rest: object) -> None:
        self._keep(rest, self._annotation)

    @property
    def _annotation(self) -> Annotation | None:
        extra = self._extra
        if isinstance(extra, Annotation):
            return extra
        return extra.annotation if isinstance(extra, _Both) else None

    @_annotation.setter
    def _annotation(self, annotation: Annotation | None) -> None:
        self._keep(self._rest, annotation)

    def _keep(self, rest: object, annotation: Annotation | None) -> None:
        if annotation is None:
            self._extra = rest
        else:
            self._extra = annotation if rest is None else _Both(rest, annotation)

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
        if self._operation is not None:
            raise ValueError("the operands of an operation can't be changed; compute it again")
        self._rest = _checked_parents(parents)

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
        parents = self._parents
        if parent not in parents:
            raise ValueError(f"{parent!r} is not a parent of {self!r}")
        return self.local_grads()[parents.index(parent)]

    def local_grads(self) -> tuple[float, ...]:
        """∂self/∂parent for each of the parents in order, at the present values."""
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
        grads = operation.local_grads_at(positions, self._data, _values(operands))
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
            ValueError: if the graph has a cycle.
        """
        from chainrule.backpropagation import sorted_nodes

        try:
            return sorted_nodes(self)
        except BaseException as error:
            keep_users_frames(error)
            raise

    def backward(self, seed: SupportsFloat = 1.0) -> None:
        """Backpropagate: set ``grad`` of every node below to ∂self/∂node times ``seed``.

        Leaves add to what they hold, so that gradients accumulate over calls until they are set to
        0; the other nodes hold the last pass. What an operation has not picked (the other side of
        ``where``, what ``relu`` cuts off) is sent no message, and sends none. After an error, no
        gradient has changed.

        Raises:
            TypeError: if the seed is not a number, or a user's local gradient gives none.
            ValueError: if the graph has a cycle, or a leaf's data was changed after an operation
                had used it.
            FloatingPointError: inside :func:`~chainrule.detect_anomaly`.
        """
        from chainrule.backpropagation import backward

        try:
            backward(self, to_float(seed, "backward", "takes a real number as seed"))
        except BaseException as error:
            keep_users_frames(error)
            raise

    # Operators

    def __add__(self, other: object) -> Any:
        if isinstance(other, Node):
            return BinaryOpNode(self, other, "+")
        return _with_other(self, other, "+", False)

    def __radd__(self, other: object) -> Any:
        return _with_other(self, other, "+", True)

    def __sub__(self, other: object) -> Any:
        if isinstance(other, Node):
            return BinaryOpNode(self, other, "-")
        return _with_other(self, other, "-", False)

    def __rsub__(self, other: object) -> Any:
        return _with_other(self, other, "-", True)

    def __mul__(self, other: object) -> Any:
        if isinstance(other, Node):
            return BinaryOpNode(self, other, "*")
        return _with_other(self, other, "*", False)

    def __rmul__(self, other: object) -> Any:
        return _with_other(self, other, "*", True)

    def __truediv__(self, other: object) -> Any:
        if isinstance(other, Node):
            return BinaryOpNode(self, other, "/")
        return _with_other(self, other, "/", False)

    def __rtruediv__(self, other: object) -> Any:
        return _with_other(self, other, "/", True)

    def __pow__(self, other: object) -> Any:
        if isinstance(other, Node):
            return BinaryOpNode(self, other, "**")
        return _with_other(self, other, "**", False)

    def __rpow__(self, other: object) -> Any:
        return _with_other(self, other, "**", True)

    def __mod__(self, other: object) -> Any:
        return _with_other(self, other, "%", False)

    def __rmod__(self, other: object) -> Any:
        return _with_other(self, other, "%", True)

    def __floordiv__(self, other: object) -> Any:
        return _with_other(self, other, "//", False)

    def __rfloordiv__(self, other: object) -> Any:
        return _with_other(self, other, "//", True)

    def __neg__(self) -> Node:
        return OperationNode(rules.negative, -self._data, self, None, None)

    def __pos__(self) -> Node:
        return self

    def __abs__(self) -> Node:
        return _unary(rules.absolute, self)

    def __round__(self, digits: int = 0) -> Node:
        return apply(rules.round_half_even, (self, digits))

    def __floor__(self) -> Node:
        return _unary(rules.floor, self)

    def __ceil__(self) -> Node:
        return _unary(rules.ceil, self)

    def __trunc__(self) -> Node:
        return _unary(rules.trunc, self)

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
        if isinstance(other, Node):
            if self._level or other._level or ACTIVE.contexts:
                return compared(rules.less, self, other)
            return self._data < other._data
        if not _is_real(other):
            return _with_array(self, other, "less")
        if self._level or ACTIVE.contexts:
            return compared(rules.less, self, other)
        return self._data < other

    def __le__(self, other: Any) -> Any:
        if isinstance(other, Node):
            if self._level or other._level or ACTIVE.contexts:
                return compared(rules.less_equal, self, other)
            return self._data <= other._data
        if not _is_real(other):
            return _with_array(self, other, "less_equal")
        if self._level or ACTIVE.contexts:
            return compared(rules.less_equal, self, other)
        return self._data <= other

    def __gt__(self, other: Any) -> Any:
        if isinstance(other, Node):
            if self._level or other._level or ACTIVE.contexts:
                return compared(rules.less, other, self)
            return self._data > other._data
        if not _is_real(other):
            return _with_array(self, other, "greater")
        if self._level or ACTIVE.contexts:
            return compared(rules.less, other, self)
        return self._data > other

    def __ge__(self, other: Any) -> Any:
        if isinstance(other, Node):
            if self._level or other._level or ACTIVE.contexts:
                return compared(rules.less_equal, other, self)
            return self._data >= other._data
        if not _is_real(other):
            return _with_array(self, other, "greater_equal")
        if self._level or ACTIVE.contexts:
            return compared(rules.less_equal, other, self)
        return self._data >= other

    def __eq__(self, other: Any) -> Any:
        if isinstance(other, Node):
            if self._level or other._level or ACTIVE.contexts:
                return compared(rules.equal, self, other)
            return self is other
        if not _is_real(other):
            return _with_array(self, other, "equal")
        if self._level or ACTIVE.contexts:
            return compared(rules.equal, self, other)
        return self._data == other

    def __ne__(self, other: Any) -> Any:
        if isinstance(other, Node):
            if self._level or other._level or ACTIVE.contexts:
                return compared(rules.not_equal, self, other)
            return self is not other
        if not _is_real(other):
            return _with_array(self, other, "not_equal")
        if self._level or ACTIVE.contexts:
            return compared(rules.not_equal, self, other)
        return self._data != other

    def __hash__(self) -> int:
        return id(self) >> 4

    # Leaving the graph is said aloud: node.data

    def __bool__(self) -> bool:
        raise TypeError("a node is neither true nor false; compare it: node != 0 or node > 0")

    def __float__(self) -> float:
        from chainrule.advice import on_float, users_place

        if _followed(self):
            raise _leaving(self, "float() of", on_float())
        raise TypeError(
            f"a node is not turned into a float at {users_place()}, which would lose its gradient:"
            f" {on_float()}; node.data leaves the graph"
        )

    def __int__(self) -> int:
        if _followed(self):
            raise _leaving(self, "int() of", _USE_MATH)
        raise TypeError(
            "a node is not turned into an int, which would lose its gradient; use"
            " chainrule.math.trunc, or int(node.data) to leave the graph"
        )

    def __complex__(self) -> complex:
        raise TypeError("a node is real; use node.data to leave the graph")

    # Text, copying and pickling

    def __repr__(self) -> str:
        label = "" if self.name is None else f", name={self.name!r}"
        return f"{type(self).__name__}(data={self._data!r}, grad={self._grad!r}{label})"

    def __format__(self, spec: str) -> str:
        return format(self._data, spec) if spec else str(self)

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
        return _unary(rules.floor, self)

    def ceil(self) -> Node:
        """The whole number above, with derivative 0."""
        return _unary(rules.ceil, self)

    def trunc(self) -> Node:
        """The whole part, with derivative 0."""
        return _unary(rules.trunc, self)

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


class OperationNode(Node):
    """The result of an operation of the table or of a user's :class:`~chainrule.Operation`.

    Made by the operators, methods and functions, not by hand. Only :class:`Node` is for
    subclassing.
    """

    def __init__(
        self, operation: Operation, data: float, a: Node | None, b: Node | None, rest: object
    ) -> None:
        self._pending = 0
        self._operation = operation
        self._a = a
        self._b = b
        self._extra = rest
        self._data = data
        self._grad = 0.0
        self._clock = _STATE.clock
        level: i32 = 0
        if a is not None:
            level = a._level
        if b is not None and b._level > level:
            level = b._level
        self._level = level
        if not COMPILED and type(self).__module__ != __name__:  # compiled, Python itself objects
            raise TypeError(f"{type(self).__name__}: subclass Node, not the class of an operation")
        if ACTIVE.contexts:
            _enter_contexts(self, None)
            if detecting_anomaly() and not math.isfinite(data):
                raise FloatingPointError(f"{equation(self)} at {self.line}")

    def __str__(self) -> str:
        """The symbol of the operation, with its constants: ``*``, ``tanh``, ``** 2``, ``1 /``."""
        operation = self._operation
        assert operation is not None
        operands = self.operands
        constants = ["·" if isinstance(operand, Node) else f"{operand:.6g}" for operand in operands]
        if len(self._parents) == len(operands):
            return operation.symbol
        if not operation.symbol.isidentifier() and len(operands) == 2:
            return " ".join([constants[0], operation.symbol, constants[1]]).strip("· ")
        return f"{operation.symbol}({', '.join(constants)})"


def equation(node: Node) -> str:
    """The operation with its numbers put in, ``log(0) = -inf``, for messages."""
    operation = node._operation
    assert operation is not None
    values = ", ".join([f"{value:.6g}" for value in _values(node.operands)])
    return f"{operation.name}({values}) = {node._data:.6g}"


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

    def __init__(self, x: Node, y: Node, op: str) -> None:
        if not COMPILED:
            _check_nodes(x, y)
        if op == "+":
            super().__init__(rules.add, x._data + y._data, x, y, None)
        elif op == "*":
            super().__init__(rules.multiply, x._data * y._data, x, y, None)
        else:
            operation = _operator(op)
            super().__init__(operation, _operate(operation, x._data, y._data), x, y, None)

    @property
    def _op(self) -> str:
        operation = self._operation
        assert operation is not None
        return operation.symbol


class ReLUNode(OperationNode):
    """max(x, 0), with gradient 0 at 0."""

    def __init__(self, x: Node) -> None:
        if not COMPILED:
            _check_nodes(x)
        super().__init__(rules.relu, ieee.relu(x._data), x, None, None)


class TanhNode(OperationNode):
    """Hyperbolic tangent."""

    def __init__(self, x: Node) -> None:
        if not COMPILED:
            _check_nodes(x)
        super().__init__(rules.tanh, ieee.tanh(x._data), x, None, None)


class PowOp(OperationNode):
    """x ** n for a number n."""

    def __init__(self, x: Node, n: float) -> None:
        if not COMPILED:
            _check_nodes(x)
        exponent = to_float(n, "**")
        super().__init__(rules.power, ieee.power(x._data, exponent), x, None, exponent)

    @property
    def n(self) -> float:
        """The exponent."""
        return to_float(self._rest, "**")


class ConditionNode(OperationNode):
    """A comparison that ``compile`` follows: 1.0 or 0.0.

    Used in ``if``, ``while``, ``and``, ``or`` and ``not``, it becomes a guard: the trace holds for
    calls in which it comes out the same. As the condition of ``where``, or as a number, it is
    computed without a branch. ``&``, ``|`` and ``~`` combine conditions without a branch.
    """

    def __bool__(self) -> bool:
        recorder = PROGRESS.recorder
        if recorder is None:
            raise _leaving(self, "the truth value of")
        return bool(recorder.guard(self, self._data != 0.0))

    def __and__(self, other: object) -> Any:
        return _condition(rules.multiply, self, other)

    def __rand__(self, other: object) -> Any:
        return _condition(rules.multiply, self, other)

    def __or__(self, other: object) -> Any:
        return _condition(rules.maximum, self, other)

    def __ror__(self, other: object) -> Any:
        return _condition(rules.maximum, self, other)

    def __invert__(self) -> Any:
        return ConditionNode(rules.subtract, 1.0 - self._data, None, self, 1.0)


def compared(operation: Operation, a: object, b: object) -> Any:
    """A comparison: a :class:`ConditionNode` where it is recorded, else a bool.

    Raises:
        TracedValueError: in another thread than the transformation's, or after its end.
    """
    x = a if isinstance(a, Node) else None
    y = b if isinstance(b, Node) else None
    u = x._data if x is not None else to_float(a, operation.symbol)
    v = y._data if y is not None else to_float(b, operation.symbol)
    level = _level_of((a, b))
    if level == 0 and x is not None and y is not None:
        if operation is rules.equal:
            return x is y
        if operation is rules.not_equal:
            return x is not y
    if level > PROGRESS.level:
        raise _leaving(x if x is not None and x._level == level else _node(b), "comparing")
    value = operation.evaluate((u, v))
    if PROGRESS.recorder is None or 0 < level < PROGRESS.recorded_level:
        return value != 0.0
    return ConditionNode(operation, value, x, y, u if x is None else v if y is None else None)


def _condition(operation: Operation, condition: ConditionNode, other: object) -> Any:
    """Two conditions, or a condition and a bool, combined."""
    if isinstance(other, ConditionNode):
        value = operation.evaluate((condition._data, other._data))
        return ConditionNode(operation, value, condition, other, None)
    if isinstance(other, bool):
        number = 1.0 if other else 0.0
        value = operation.evaluate((condition._data, number))
        return ConditionNode(operation, value, condition, None, number)
    return NotImplemented


def _level_of(operands: Iterable[object]) -> i32:
    level: i32 = 0
    for operand in operands:
        if isinstance(operand, Node) and operand._level > level:
            level = operand._level
    return level


def _enter_contexts(node: Node, name: str | None) -> None:
    """Give a new node what the open contexts say: its group and line, the level of a trace."""
    if PROGRESS.recorder is not None and node._level < PROGRESS.recorded_level:
        node._level = PROGRESS.recorded_level  # it is computed anew at each call of the trace
    node._annotation = new_annotation(name)


def _followed(node: Node) -> bool:
    """Whether a transformation, or a trace in this thread, follows the node's value."""
    return node._level > 0 or PROGRESS.recorder is not None


_TO_CONSTANT: Final = "write stop_gradient(x) to treat it as constant"
_USE_MATH: Final = "use the functions of chainrule.math (trunc for int) in place of Python's"


def _leaving(node: Node, what: str, instead: str = _TO_CONSTANT) -> TracedValueError:
    """The error for a traced value that would leave the graph."""
    from chainrule.advice import users_place

    if node._level > PROGRESS.level:
        why = "it is used outside the transformation it belongs to, which has ended"
    else:
        why = (
            f"inside {name_of(node._level)} that would lose its dependence on the inputs; {instead}"
        )
    return TracedValueError(f"{what} a traced value at {users_place()}: {why}")


# Building


def _check_nodes(*nodes: object) -> None:
    """Raise TypeError for anything else; compiled code checks its argument types by itself."""
    for node in nodes:
        if not isinstance(node, Node):
            raise TypeError(f"expected a node, not {described(node)}")


def _operator(symbol: str) -> Operation:
    if symbol == "+":
        return rules.add
    if symbol == "*":
        return rules.multiply
    if symbol == "-":
        return rules.subtract
    if symbol == "/":
        return rules.divide
    if symbol == "**":
        return rules.power
    if symbol == "%":
        return rules.mod
    if symbol == "//":
        return rules.floor_divide
    raise ValueError(f"an operator is one of + - * / ** % //, not {symbol!r}")


def _operate(operation: Operation, u: float, v: float) -> float:
    """The value of an operator: a typed twin of the table for the most frequent ones."""
    code = operation.code
    if code == CODE_ADD:
        return u + v
    if code == CODE_MULTIPLY:
        return u * v
    if code == CODE_SUBTRACT:
        return u - v
    if code == CODE_DIVIDE:
        return ieee.divide(u, v)
    if code == CODE_POWER:
        return ieee.power(u, v)
    return float(operation.value(u, v))


def _with_constant(node: Node, constant: float, symbol: str, swapped: bool) -> Node:
    """An operator between a node and a number, the number first if swapped."""
    operation = _operator(symbol)
    if swapped:
        value = _operate(operation, constant, node._data)
        return OperationNode(operation, value, None, node, constant)
    if operation is rules.power:
        return PowOp(node, constant)
    return OperationNode(operation, _operate(operation, node._data, constant), node, None, constant)


def _unary(operation: Operation, x: Node) -> Node:
    return OperationNode(operation, operation.evaluate((x._data,)), x, None, None)


def apply(operation: Operation, operands: Sequence[object]) -> Node:
    """The node that an operation gives for operands of which at least one is a node.

    Raises:
        TypeError: for a wrong number of operands, one that is neither node nor number, a node
            where the operation takes only a number, or a value that is not a number.
    """
    operation.check_arity(len(operands))
    first = operands[0]
    if len(operands) == 1 and isinstance(first, Node):
        if operation.code == CODE_RELU:
            return ReLUNode(first)
        if operation.code == CODE_TANH:
            return TanhNode(first)
        _check_differentiable(operation, 0)
        return _unary(operation, first)
    if operation.builtin and operation.symbol in _NUMPY_NAMES:
        if isinstance(first, Node):
            return _operated(first, operands[1], operation.symbol, False)
        return _operated(_node(operands[1]), first, operation.symbol, True)
    checked: list[Any] = []
    for i, operand in enumerate(operands):
        if not isinstance(operand, Node):
            checked.append(to_float(operand, operation.name))
            continue
        _check_differentiable(operation, i)
        checked.append(operand)
    value = operation.evaluate(_values(checked))
    if len(checked) > 2:
        node = OperationNode(operation, value, None, None, tuple(checked))
        node._level = _level_of(checked)
        return node
    left, right = checked
    if not isinstance(left, Node):
        return OperationNode(operation, value, None, _node(right), left)
    if not isinstance(right, Node):
        return OperationNode(operation, value, left, None, right)
    return OperationNode(operation, value, left, right, None)


def _check_differentiable(operation: Operation, position: int) -> None:
    if not operation.variadic and operation.local_grads[position] is None:
        raise TypeError(
            f"operand {position + 1} of {operation.name} must be a number or a comparison,"
            " not a node"
        )


def _operated(node: Node, other: object, symbol: str, swapped: bool) -> Node:
    if isinstance(other, Node):
        return BinaryOpNode(node, other, symbol)
    return _with_constant(node, to_float(other, symbol), symbol, swapped)


def _node(x: object) -> Node:
    assert isinstance(x, Node)
    return x


def _values(operands: Iterable[Any]) -> list[float]:
    return [operand._data if isinstance(operand, Node) else operand for operand in operands]


_NUMPY_NAMES: Final[dict[str, str]] = {
    "+": "add",
    "-": "subtract",
    "*": "multiply",
    "/": "true_divide",
    "**": "power",
    "%": "remainder",
    "//": "floor_divide",
}
_SYMBOLS: Final[dict[str, str]] = {
    **{name: symbol for symbol, name in _NUMPY_NAMES.items()},
    "divide": "/",  # as true_divide calls itself
}


def _is_real(x: object) -> bool:
    return isinstance(x, (float, int, rules._REAL))


def _with_other(node: Node, other: object, symbol: str, swapped: bool) -> Any:
    """An operator between a node and anything; an array of nodes if the other is an array."""
    if isinstance(other, Node):
        return BinaryOpNode(other, node, symbol) if swapped else BinaryOpNode(node, other, symbol)
    if isinstance(other, float) or _is_real(other):
        return _with_constant(node, to_float(other, symbol), symbol, swapped)
    if other is None or isinstance(other, (str, bytes, complex, list, tuple, dict, set)):
        to_float(other, symbol)  # raises
    return _with_array(node, other, _NUMPY_NAMES[symbol], swapped)


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
