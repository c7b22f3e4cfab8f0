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
from decimal import Decimal
from typing import Any, ClassVar, Final, NoReturn, SupportsFloat

from mypy_extensions import i32, i64, mypyc_attr

from chainrule import ieee, rules
from chainrule.annotations import (
    ACTIVE,
    Annotation,
    asked_by_user,
    detecting_anomaly,
    new_annotation,
    users_line,
)
from chainrule.domain import check_domain, raising_domain_errors
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
from chainrule.tracing import PROGRESS, TracedValueError, has_ended, name_of

COMPILED: Final = not __file__.endswith(".py")
"""Whether the engine runs as machine code."""


INTERNAL: Final = frozenset(
    ["_pending", "_operation", "_a", "_b", "_extra", "_number", "_grad", "_clock", "_level"]
)
"""The attributes that the engine keeps on every node."""


LARGEST_WHOLE: Final = 2.0**53
"""Up to here every whole number is a float."""


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
        self._number: float = number
        self._grad: float = 0.0
        self._clock: i64 = _STATE.clock
        self._level: i64 = 0  # of the innermost transformation it depends on an input of
        if self._extra is not None:
            self._level = _level_of(parents)
        if name is not None and not isinstance(name, str):
            raise TypeError(f"the name of a node is text, not {type(name).__name__}")
        if ACTIVE.contexts or name is not None:
            _enter_contexts(self, name)
            if self._rest is not None and detecting_anomaly() and not math.isfinite(self._number):
                raise FloatingPointError(f"{type(self).__name__} = {self._number} at {self.line}")

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
        return self._number

    @data.setter
    def data(self, value: SupportsFloat) -> None:
        if self._operation is not None:
            raise ValueError(
                f"the data of {self!r} is the result of an operation and can't be set;"
                " set a leaf's and compute the result again"
            )
        if (self._level or ACTIVE.contexts) and _followed(self):
            raise _leaving(self, "setting the data of")
        self._number = to_float(value, "data", "takes a real number")
        _STATE.clock += 1
        self._clock = _STATE.clock

    @property
    def grad(self) -> float:
        """∂root/∂self by the last backward pass; on leaves, summed over passes since it was set.

        Raises:
            TracedValueError: for a node that depends on an input of a transformation in progress.
        """
        if (self._level or ACTIVE.contexts) and _followed(self):
            raise _leaving(self, "reading the grad of", _USE_GRAD)
        return self._grad

    @grad.setter
    def grad(self, value: SupportsFloat) -> None:
        if (self._level or ACTIVE.contexts) and _followed(self):
            raise _leaving(self, "setting the grad of", _USE_GRAD)
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
        new = Annotation(name, (), None) if old is None else Annotation(name, old.groups, old.line)
        self._keep(self._rest, new)

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
        for i, known in enumerate(self._parents):
            if known is parent:
                return self.local_grads()[i]
        raise ValueError(f"{parent!r} is not a parent of {self!r}")

    def local_grads(self) -> tuple[float, ...]:
        """∂self/∂parent for each of the parents in order, at the present values.

        Raises:
            TracedValueError: for a node that depends on an input of a transformation in progress.
        """
        if (self._level or ACTIVE.contexts) and _followed(self):
            raise _leaving(self, "reading the local gradients of", _USE_GRAD)
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
        if (self._level or ACTIVE.contexts) and _followed(self):
            raise _leaving(self, "looking at the graph of", _USE_OUTSIDE)
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
            TracedValueError: for a node that depends on an input of a transformation in progress.
            ValueError: if the graph has a cycle, or a leaf's data was changed after an operation
                had used it.
            FloatingPointError: inside :func:`~chainrule.detect_anomaly`.
        """
        if (self._level or ACTIVE.contexts) and _followed(self):
            raise _leaving(self, "backward from", _USE_GRAD)
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
        return OperationNode(rules.negative, -self._number, self, None, None)

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
            value = ieee.round_half_even(self._number, 0.0)
            return _with_line(WholeNode(rules.round_half_even, value, self, None, 0.0))
        return apply(rules.round_half_even, (self, digits))

    def __floor__(self) -> Node:
        return _rounded(rules.floor, self)

    def __ceil__(self) -> Node:
        return _rounded(rules.ceil, self)

    def __trunc__(self) -> Node:
        return _rounded(rules.trunc, self)

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
            return self._number < other._number
        if not _is_comparable(other):
            return _with_array(self, other, "less")
        if self._level or ACTIVE.contexts:
            return compared(rules.less, self, other)
        return self._number < other

    def __le__(self, other: Any) -> Any:
        if isinstance(other, Node):
            if self._level or other._level or ACTIVE.contexts:
                return compared(rules.less_equal, self, other)
            return self._number <= other._number
        if not _is_comparable(other):
            return _with_array(self, other, "less_equal")
        if self._level or ACTIVE.contexts:
            return compared(rules.less_equal, self, other)
        return self._number <= other

    def __gt__(self, other: Any) -> Any:
        if isinstance(other, Node):
            if self._level or other._level or ACTIVE.contexts:
                return compared(rules.less, other, self)
            return self._number > other._number
        if not _is_comparable(other):
            return _with_array(self, other, "greater")
        if self._level or ACTIVE.contexts:
            return compared(rules.less, other, self)
        return self._number > other

    def __ge__(self, other: Any) -> Any:
        if isinstance(other, Node):
            if self._level or other._level or ACTIVE.contexts:
                return compared(rules.less_equal, other, self)
            return self._number >= other._number
        if not _is_comparable(other):
            return _with_array(self, other, "greater_equal")
        if self._level or ACTIVE.contexts:
            return compared(rules.less_equal, other, self)
        return self._number >= other

    def __eq__(self, other: Any) -> Any:
        if isinstance(other, Node):
            if self._level or other._level or ACTIVE.contexts:
                return compared(rules.equal, self, other)
            return self is other
        if not _is_comparable(other):
            return _with_array(self, other, "equal")
        if self._level or ACTIVE.contexts:
            return compared(rules.equal, self, other)
        return self._number == other

    def __ne__(self, other: Any) -> Any:
        if isinstance(other, Node):
            if self._level or other._level or ACTIVE.contexts:
                return compared(rules.not_equal, self, other)
            return self is not other
        if not _is_comparable(other):
            return _with_array(self, other, "not_equal")
        if self._level or ACTIVE.contexts:
            return compared(rules.not_equal, self, other)
        return self._number != other

    def __hash__(self) -> int:
        if self._level:
            raise _leaving(self, "the hash of", _USE_EQUAL)
        return id(self) >> 4

    # Leaving the graph is said aloud: node.data

    def __bool__(self) -> bool:
        """Whether it is not 0, as of a number."""
        return bool(self != 0.0)

    def __float__(self) -> float:
        from chainrule.advice import on_float, users_place

        if _followed(self):
            raise _leaving(self, "float() of", on_float())
        raise TypeError(
            f"a node is not turned into a float at {users_place()}, which would lose its gradient:"
            f" {on_float()}; node.data leaves the graph"
        )

    def __int__(self) -> int:
        """The whole part, which has no derivative to lose; where ``compile`` traces, by guards."""
        return _whole_part(self)

    def __complex__(self) -> complex:
        raise TypeError("a node is real; use node.data to leave the graph")

    # Text, copying and pickling

    def __repr__(self) -> str:
        if (self._level or ACTIVE.contexts) and _followed(self):
            return _traced_text(self)
        text = f"data={self._number!r}, grad={self._grad!r}"
        if self._operation is not None:
            text += f", op={_symbol(self)!r}"
        if self.name is not None:
            text += f", name={self.name!r}"
        return f"{type(self).__name__}({text})"

    def __format__(self, spec: str) -> str:
        if not spec:
            return repr(self)
        if (self._level or ACTIVE.contexts) and _followed(self):
            raise _leaving(self, f"formatting ({spec!r})", _AS_TEXT)
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
        return _rounded(rules.floor, self)

    def ceil(self) -> Node:
        """The whole number above, with derivative 0."""
        return _rounded(rules.ceil, self)

    def trunc(self) -> Node:
        """The whole part, with derivative 0."""
        return _rounded(rules.trunc, self)

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
        return self - _rounded(rules.floor, self) == 0.0

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
        self._number = data
        self._grad = 0.0
        self._clock = _STATE.clock
        level: i64 = 0
        if a is not None:
            level = a._level
        if b is not None and b._level > level:
            level = b._level
        self._level = level
        if not COMPILED and type(self).__module__ != __name__:  # compiled, Python itself objects
            raise TypeError(f"{type(self).__name__}: subclass Node, not the class of an operation")
        if ACTIVE.contexts:
            _enter_contexts(self, None)
            if not math.isfinite(data):
                if raising_domain_errors() and operation.builtin:
                    check_domain(operation.name, _values(self.operands))
                if detecting_anomaly():
                    raise FloatingPointError(f"{equation(self)} at {self.line}")

    def __str__(self) -> str:
        """The symbol of the operation, with its constants: ``*``, ``tanh``, ``** 2``, ``1 /``."""
        if (self._level or ACTIVE.contexts) and _followed(self):
            return _traced_text(self)
        return _symbol(self)


def _symbol(node: Node) -> str:
    """The symbol of a node's operation, with its constants."""
    operation = node._operation
    if operation is None:  # made anew as a leaf
        return type(node).__name__
    operands = node.operands
    constants = ["·" if isinstance(operand, Node) else f"{operand:.6g}" for operand in operands]
    if len(node._parents) == len(operands):
        return operation.symbol
    if not operation.symbol.isidentifier() and len(operands) == 2:
        return " ".join([constants[0], operation.symbol, constants[1]]).strip("· ")
    return f"{operation.symbol}({', '.join(constants)})"


def _traced_text(node: Node) -> str:
    """What stands for a traced value where text is wanted: ``<traced exp, line 12>``.

    The line is that of the code that made it, where it was recorded.
    """
    operation = node._operation
    what = "node" if operation is None or operation is rules.identity else operation.name
    if node.name is not None:
        what += f" {node.name!r}"
    line = node.line
    if line is not None:
        number = line.rpartition(":")[2]
        what += f", {line}" if number == line else f", line {number}"  # of a cell, or of a file
    return f"<traced {what}>"


def equation(node: Node) -> str:
    """The operation with its numbers put in, ``log(0) = -inf``, for messages."""
    operation = node._operation
    name = type(node).__name__ if operation is None else operation.name
    values = ", ".join([f"{value:.6g}" for value in _values(node.operands)])
    return f"{name}({values}) = {node._number:.6g}"


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
            super().__init__(rules.add, x._number + y._number, x, y, None)
        elif op == "*":
            super().__init__(rules.multiply, x._number * y._number, x, y, None)
        else:
            operation = _operator(op)
            super().__init__(operation, _operate(operation, x._number, y._number), x, y, None)

    @property
    def _op(self) -> str:
        return "" if self._operation is None else self._operation.symbol


class ReLUNode(OperationNode):
    """max(x, 0), with gradient 0 at 0."""

    def __init__(self, x: Node) -> None:
        if not COMPILED:
            _check_nodes(x)
        super().__init__(rules.relu, ieee.relu(x._number), x, None, None)


class TanhNode(OperationNode):
    """Hyperbolic tangent."""

    def __init__(self, x: Node) -> None:
        if not COMPILED:
            _check_nodes(x)
        super().__init__(rules.tanh, ieee.tanh(x._number), x, None, None)


class PowOp(OperationNode):
    """x ** n for a number n."""

    def __init__(self, x: Node, n: float) -> None:
        if not COMPILED:
            _check_nodes(x)
        exponent = to_float(n, "**")
        super().__init__(rules.power, ieee.power(x._number, exponent), x, None, exponent)

    @property
    def n(self) -> float:
        """The exponent."""
        return to_float(self._rest, "**")


class WholeNode(OperationNode):
    """A whole number without derivative, an int in Python: what floor, ceil and round give.

    Sums, differences, products, quotients by ``//`` and remainders of whole numbers are whole
    numbers, exact up to 2**53. It is an index where Python asks for one: the number itself eagerly;
    where ``compile`` traces, found by guards.
    """

    def __index__(self) -> int:
        return _whole_part(self)

    def __float__(self) -> float:
        return float(_whole_part(self))

    def __add__(self, other: object) -> Any:
        return _whole_operator(self, other, "+", False)

    def __radd__(self, other: object) -> Any:
        return _whole_operator(self, other, "+", True)

    def __sub__(self, other: object) -> Any:
        return _whole_operator(self, other, "-", False)

    def __rsub__(self, other: object) -> Any:
        return _whole_operator(self, other, "-", True)

    def __mul__(self, other: object) -> Any:
        return _whole_operator(self, other, "*", False)

    def __rmul__(self, other: object) -> Any:
        return _whole_operator(self, other, "*", True)

    def __mod__(self, other: object) -> Any:
        return _whole_operator(self, other, "%", False)

    def __rmod__(self, other: object) -> Any:
        return _whole_operator(self, other, "%", True)

    def __floordiv__(self, other: object) -> Any:
        return _whole_operator(self, other, "//", False)

    def __rfloordiv__(self, other: object) -> Any:
        return _whole_operator(self, other, "//", True)

    def __neg__(self) -> Node:
        return WholeNode(rules.negative, -self._number, self, None, None)

    def __abs__(self) -> Node:
        return WholeNode(rules.absolute, abs(self._number), self, None, None)

    def __round__(self, digits: Any = None) -> Node:
        return self if digits is None or digits >= 0 else super().__round__(digits)

    def __floor__(self) -> Node:
        return self

    def __ceil__(self) -> Node:
        return self

    def __trunc__(self) -> Node:
        return self

    def __and__(self, other: object) -> Any:
        return _bits(self, other, "&")

    def __rand__(self, other: object) -> Any:
        return _bits(self, other, "&")

    def __or__(self, other: object) -> Any:
        return _bits(self, other, "|")

    def __ror__(self, other: object) -> Any:
        return _bits(self, other, "|")

    def __xor__(self, other: object) -> Any:
        return _bits(self, other, "^")

    def __rxor__(self, other: object) -> Any:
        return _bits(self, other, "^")

    def __invert__(self) -> Any:
        return -self - 1


# Compiled, the method alone does not tell Python that these are indices; setting it does.
setattr(WholeNode, "__index__", WholeNode.__index__)  # noqa: B010


class ConditionNode(WholeNode):
    """A comparison that ``compile`` follows: the bool that it is in plain Python, 1.0 or 0.0.

    Where its truth is asked (``if``, ``while``, ``and``, ``not``) it becomes a guard: the trace
    holds for calls in which it comes out the same. As the condition of ``where``, or as a number,
    it is computed without a branch; ``&``, ``|``, ``^`` and ``~`` combine conditions without one.

    Attributes:
        asked: whether anything has used it.
        escaped: whether it was used where only a bool would do.
    """

    def __init__(
        self, operation: Operation, data: float, a: Node | None, b: Node | None, rest: object
    ) -> None:
        super().__init__(operation, data, a, b, rest)
        self.asked = False
        self.escaped = False

    def __bool__(self) -> bool:
        recorder = PROGRESS.recorder
        if recorder is None:
            raise _leaving(self, "the truth value of")
        self.asked = True
        return bool(recorder.guard(self, self._number != 0.0))

    def __int__(self) -> int:
        return 1 if self else 0

    def __float__(self) -> float:
        return 1.0 if self else 0.0

    # As an index (NumPy takes a bool for a mask), a key or text it must be a bool: the trace starts
    # anew with one.

    def __index__(self) -> int:
        self.escaped = True
        raise TypeError("a traced comparison is no index")

    def __hash__(self) -> int:
        self.escaped = self.escaped or asked_by_user()
        return id(self) >> 4

    def __str__(self) -> str:
        self.escaped = self.escaped or asked_by_user()
        return super().__str__()

    def __repr__(self) -> str:
        self.escaped = self.escaped or asked_by_user()
        return super().__repr__()

    def __format__(self, spec: str) -> str:
        self.escaped = self.escaped or asked_by_user()
        return super().__format__(spec)

    def __round__(self, digits: Any = None) -> Node:
        return _node(self + 0)

    def __invert__(self) -> Any:
        return InvertedNode(rules.subtract, -1.0 - self._number, None, self, -1.0)


class InvertedNode(WholeNode):
    """``~`` of a comparison: as a number -2 or -1, as in Python; as a condition its negation."""

    def __invert__(self) -> Any:
        return self._b


def compared(operation: Operation, a: object, b: object) -> Any:
    """A comparison: a :class:`ConditionNode` where it is recorded, else a bool.

    Numbers that are no floats are compared exactly, as Python does.

    Raises:
        TracedValueError: in another thread than the transformation's, or after its end.
    """
    x = a if isinstance(a, Node) else None
    y = b if isinstance(b, Node) else None
    u = 0.0
    v = 0.0
    never_equal = False
    if x is not None:
        u = x._number
    else:
        below, u = _around(a, operation)
        never_equal = below != u
    if y is not None:
        v = y._number
    else:
        v, above = _around(b, operation)
        never_equal = above != v
    level = _level_of((a, b))
    if level == 0 and x is not None and y is not None:
        if operation is rules.equal:
            return x is y
        if operation is rules.not_equal:
            return x is not y
    if level > 0:
        for operand in (x, y):
            if operand is not None and has_ended(operand._level):
                raise _leaving(operand, "comparing")
    if never_equal and u == u and v == v:
        if operation is rules.equal or operation is rules.not_equal:
            return operation is rules.not_equal
        operation = rules.less_equal  # with the float next to the number
    value = operation.evaluate((u, v))
    if not _recorded(level):
        held = held_equality(operation, value != 0.0, a, b)
        if level > 0 and (held or ACTIVE.contexts):
            _note_comparison((a, b), held)
        return value != 0.0
    rest = u if x is None else v if y is None else None
    return _noted(ConditionNode(operation, value, x, y, rest))


def held_equality(operation: Operation | None, outcome: bool, a: Any, b: Any) -> bool:
    """Whether a comparison found values equal, but for ``x != 0``, which keeps clear of poles."""
    if operation is not rules.not_equal or outcome:
        return operation is rules.equal and outcome
    return all(isinstance(x, Node) or bool(x != 0.0) for x in (a, b))


def _note_comparison(sides: tuple[Any, ...], held: bool) -> None:
    """Note what values that are differentiated were compared, and whether they are equal."""
    from chainrule.shortcuts import note_comparison

    note_comparison(sides, held, 1)


def _around(number: Any, operation: Operation) -> tuple[float, float]:
    """The floats next to a number, below and above; the same twice if it is one itself."""
    if isinstance(number, float):
        return number, number
    try:
        near = float(number)
    except OverflowError:
        near = math.inf if number > 0 else -math.inf
    if type(number).__module__ == "numpy" or number != number or number == near:
        return near, near
    if number > near:
        return near, math.nextafter(near, math.inf)
    return math.nextafter(near, -math.inf), near


def _recorded(level: i64) -> bool:
    """Whether a comparison at a level is part of a trace."""
    return PROGRESS.recorder is not None and not 0 < level < PROGRESS.recorded_level


def _noted(condition: ConditionNode) -> Any:
    """A new condition, or its outcome where the trace has comparisons that are bools."""
    recorder = PROGRESS.recorder
    return condition if recorder is None else recorder.compared(condition)


def negated(condition: Any) -> Any:
    """``not`` of a comparison, without a branch."""
    if not isinstance(condition, ConditionNode):
        return not condition
    value = 1.0 - condition._number
    return _noted(ConditionNode(rules.subtract, value, None, condition, 1.0))


def as_condition(x: object) -> Any:
    """What ``where`` picks by, for a comparison, or comparisons combined by ``& | ^ ~``.

    In Python ``~True`` is -2 and ``~False`` -1: of such numbers the last bit counts.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(x, (bool, ConditionNode)):
        return x
    if isinstance(x, InvertedNode):
        return negated(x._b)
    if type(x) is int and -2 <= x <= 1:
        return x % 2 == 1
    if type(x).__module__ == "numpy" and type(x).__name__ in ("bool", "bool_"):
        return bool(x)
    raise TypeError(
        f"where takes a comparison such as x > 0, not {type(x).__name__}; for arrays use np.where"
    )


def _bits(left: WholeNode, other: Any, symbol: str) -> Any:
    """``&``, ``|`` or ``^`` of a whole number and another: of conditions, without a branch."""
    inverted = isinstance(left, InvertedNode)
    if inverted or isinstance(left, ConditionNode):
        try:
            a = as_condition(left)
            b = as_condition(other)
        except TypeError:
            pass
        else:
            below = isinstance(other, InvertedNode) or (isinstance(other, int) and other < 0)
            if symbol == "&":
                result, negative = _logic(rules.multiply, a, b), inverted and below
            elif symbol == "|":
                result, negative = _logic(rules.maximum, a, b), inverted or below
            else:
                result, negative = _logic(rules.not_equal, a, b), inverted != below
            return ~negated(result) if negative else result
    if not _is_whole(other):
        return NotImplemented
    u = int(left)
    v = int(other)
    return u & v if symbol == "&" else u | v if symbol == "|" else u ^ v


def _logic(operation: Operation, a: Any, b: Any) -> Any:
    """Two conditions, or a condition and a bool, combined by an operation on 1.0 and 0.0."""
    if not isinstance(a, Node):
        a, b = b, a
    if not isinstance(a, Node):
        return operation.evaluate((1.0 if a else 0.0, 1.0 if b else 0.0)) != 0.0
    if isinstance(b, Node):
        condition = ConditionNode(operation, operation.evaluate((a._number, b._number)), a, b, None)
    else:
        number = 1.0 if b else 0.0
        condition = ConditionNode(
            operation, operation.evaluate((a._number, number)), a, None, number
        )
    return _noted(condition)


# Whole numbers


def _is_whole(x: object) -> bool:
    """Whether x is a whole number: an index, in Python's term."""
    return isinstance(x, int) or (  # arrays have the method, too
        hasattr(type(x), "__index__") and not hasattr(type(x), "__len__")
    )


def _rounded(operation: Operation, x: Node) -> Node:
    return _with_line(WholeNode(operation, operation.evaluate((x._number,)), x, None, None))


def _with_line(node: Node) -> Node:
    """Where a transformation follows it, a step remembers its line: it ends a derivative."""
    if node._level > 0 and node.line is None:
        node._keep(node._rest, Annotation(node.name, node.groups, users_line()))
    return node


def _whole_operator(node: WholeNode, other: Any, symbol: str, swapped: bool) -> Any:
    """An operator whose result is a whole number if the other operand is one."""
    if not _is_whole(other):
        if symbol == "*" and isinstance(other, (str, bytes, list, tuple)):
            return NotImplemented  # so many times, which asks for an index
        return _with_other(node, other, symbol, swapped)
    divisor = node if swapped else other
    if (symbol == "%" or symbol == "//") and divisor == 0:
        raise ZeroDivisionError("integer division or modulo by zero")
    operation = _operator(symbol)
    if isinstance(other, Node):
        a: Node | None = other if swapped else node
        b: Node | None = node if swapped else other
        rest: object = None
        value = _operate(operation, _node(a)._number, _node(b)._number)
    else:
        number = to_float(other, symbol)
        a, b, rest = (None, node, number) if swapped else (node, None, number)
        u, v = (number, node._number) if swapped else (node._number, number)
        value = _operate(operation, u, v)
    if PROGRESS.recorder is None and not abs(value) <= LARGEST_WHOLE:
        return OperationNode(operation, value, a, b, rest)  # no longer exact
    return WholeNode(operation, value, a, b, rest)


def _whole_part(node: Node) -> int:
    """The whole part of a value, as int() gives it; where a trace records, it is part of the trace.

    Raises:
        ValueError: if the value is NaN.
        OverflowError: if it is infinite.
        TracedValueError: if the value belongs to a transformation that has ended.
    """
    if has_ended(node._level):
        raise _leaving(node, "int() of")
    if not _recorded(node._level):
        if node._level > 0 and ACTIVE.contexts:
            _note_comparison((node,), False)
        return int(node._number)
    if not abs(node) < math.inf:
        raise (OverflowError if node == node else ValueError)(
            "int() of a traced value that is infinite or NaN"
        )
    return found_by_guards(node)


def found_by_guards(node: Node) -> int:
    """The whole part of a finite value, which comparisons make part of the trace."""
    negative = bool(node <= -1.0)
    x = -node if negative else node
    high = 1
    while not x < high:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if x < middle:
            high = middle
        else:
            low = middle
    return -low if negative else low


def _level_of(operands: Iterable[object]) -> i64:
    level: i64 = 0
    for operand in operands:
        if isinstance(operand, Node) and operand._level > level:
            level = operand._level
    return level


def _enter_contexts(node: Node, name: str | None) -> None:
    """Give a new node what the open contexts say: its group and line, the level of a trace."""
    if PROGRESS.recorder is not None:
        if node._level < PROGRESS.recorded_level:
            node._level = PROGRESS.recorded_level  # it is computed anew at each call of the trace
        rest = node._rest
        for operand in rest if isinstance(rest, tuple) else (node._a, node._b):
            if isinstance(operand, ConditionNode):
                operand.asked = True
    node._keep(node._rest, new_annotation(name))


def _followed(node: Node) -> bool:
    """Whether a transformation, or a trace in this thread, follows the node's value.

    Where nothing is recorded, the values of stop_gradient are constants.
    """
    if PROGRESS.recorder is not None:
        return True
    stopped = node._operation is rules.stop_gradient
    return node._level > 0 and (not stopped or has_ended(node._level))


_TO_CONSTANT: Final = "write stop_gradient(x) to treat it as constant"
_USE_GRAD: Final = "use grad or value_and_grad for derivatives inside"
_USE_OUTSIDE: Final = "call the function on nodes, outside, to see its graph"
_USE_EQUAL: Final = "sets and dicts look up by hash; compare it with == instead"
_AS_TEXT: Final = "leave the format out for a text without the value"
_USE_MATH: Final = "use the functions of chainrule.math in place of Python's"


def _leaving(node: Node, what: str, instead: str = _TO_CONSTANT) -> TracedValueError:
    """The error for a traced value that would leave the graph."""
    from chainrule.advice import users_place

    if has_ended(node._level):
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
        value = _operate(operation, constant, node._number)
        return OperationNode(operation, value, None, node, constant)
    if operation is rules.power:
        return PowOp(node, constant)
    return OperationNode(
        operation, _operate(operation, node._number, constant), node, None, constant
    )


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
        if operation.code == CODE_RELU:
            return ReLUNode(first)
        if operation.code == CODE_TANH:
            return TanhNode(first)
        if operation is rules.floor or operation is rules.ceil or operation is rules.trunc:
            return _rounded(operation, first)
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
    return [operand._number if isinstance(operand, Node) else operand for operand in operands]


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


def _is_comparable(x: object) -> bool:
    return isinstance(x, (float, int, rules._REAL, Decimal))


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
