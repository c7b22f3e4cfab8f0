"""Elementary operations: what one is, and what a call of it does.

The rows of the table, :mod:`chainrule.rules`, are such operations; users make their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from chainrule.domain import check_domain, raising_domain_errors, without_domain_errors
from chainrule.engine import ENGINE
from chainrule.tracebacks import boundary
from chainrule.tracing import PROGRESS


def called(operation: Operation, *operands: Any) -> Any:
    """Apply an operation: a float for numbers, a node if an operand is one."""
    numbers: list[float] = []
    for operand in operands:
        if isinstance(operand, float):
            numbers.append(operand)
        elif hasattr(operand, "_apply"):
            if not operation.builtin and PROGRESS.recorder is not None:
                PROGRESS.recorder.uses(operation)
            return operand._apply(operation, operands)
        else:
            numbers.append(to_float(operand, operation.name))
    operation.check_arity(len(numbers))
    value = operation.evaluate(numbers)
    if value - value != 0.0 and operation.builtin and raising_domain_errors():
        check_domain(operation.name, numbers)
    return value


def evaluated(operation: Operation, numbers: Sequence[float]) -> float:
    """The value of an operation for numbers.

    Raises:
        TypeError: if a user's function gives no number.
    """
    if operation.builtin and raising_domain_errors():  # that is about the value as a whole
        with without_domain_errors():
            value = operation.value(*numbers)
    else:
        value = operation.value(*numbers)
    if isinstance(value, float):
        return float(value)
    return to_float(value, f"the value of {operation.name}", "must be a real number")


class OperationBase:
    """What can be called on numbers and nodes."""

    code = 0
    """The row in the engine's table; 0 where it has none."""
    native = False
    """Whether no Python runs in it."""

    __call__ = boundary(called)
    evaluate = evaluated


if ENGINE is not None:
    OperationBase = ENGINE.OperationBase  # type: ignore[misc]


class Operation(OperationBase):
    """An elementary operation: a function of numbers with its local gradients.

    Called on numbers it returns a float; called with a node among its operands, a node.

    Args:
        name: what the operation is called in pictures and messages.
        value: the function; takes as many floats as there are operands, returns a float.
        local_grads: one function ``(y, *operands) -> local gradient`` for each operand, where ``y``
            is the value; None for an operand that must be a plain number. For any number of
            operands, a single function ``(y, *operands) -> local gradients``, as many as operands.
            Written with the functions of :mod:`chainrule.math`, they can be differentiated again.
        symbol: the label in pictures, by default the name. One that is not a name, such as ``+``,
            is written between its operands.

    Raises:
        TypeError: if ``value`` or a local gradient is not callable.
        ValueError: if the name is empty.
    """

    # Properties: those of the table's rows say which hold; few do of a user's operation.
    builtin = False
    """Whether it is a row of the table."""
    commutative = False
    """Whether its two operands may change places."""
    picks = False
    """Whether an operand with a local gradient of 0 is sent nothing."""
    passes = False
    """Whether the value is the first operand, which has no gradient."""
    looks_up = False
    """Whether the first operand is an index, and the value one of the others."""
    conditional = False
    """Whether the first operand says if anything is sent to the others."""
    unknown = False
    """Whether it stands for something of which only the operands are known."""
    ulps = 4.0
    """The largest error in units in the last place; 0.5 is rounded correctly, 0 exact."""
    public = ""
    """The name in chainrule.math; empty if it is not there."""

    @boundary
    def __init__(
        self,
        name: str,
        value: Callable[..., Any],
        local_grads: Sequence[Callable[..., Any] | None] | Callable[..., Any],
        symbol: str = "",
    ) -> None:
        for text in (name, symbol):
            if not isinstance(text, str):
                raise TypeError(f"an operation's name and symbol are text, not {described(text)}")
        if not name:
            raise ValueError("an operation needs a name, not ''")
        if not callable(value):
            raise TypeError(f"the value of {name} must be a function of floats, not {value!r}")
        if not callable(local_grads) and not isinstance(local_grads, (list, tuple)):
            raise TypeError(
                f"the local gradients of {name} must be a list of functions, or one function"
                f" for any number of operands, not {described(local_grads)}"
            )
        self.name = name
        self.symbol = symbol or name
        self.value = value
        self.variadic = callable(local_grads)
        self.local_grads: tuple[Callable[..., Any] | None, ...] = (
            (local_grads,) if callable(local_grads) else tuple(local_grads)
        )
        for local_grad in self.local_grads:
            if local_grad is not None and not callable(local_grad):
                raise TypeError(
                    f"a local gradient of {name} must be a function, not {local_grad!r}"
                )
        # In place of local gradients, from the cotangents of the results and all operands but the
        # first to the messages to these, and from the tangents of these to those of the results;
        # None is no message. Of how many results; of an operation that is one of several, which.
        self.pull_back: Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]] | None = None
        self.push_forward: Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]] | None = None
        self.n_results = 1
        self.result_of: int | None = None
        self.__doc__: str | None = getattr(value, "__doc__", None)

    def __repr__(self) -> str:
        return f"<operation {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle an operation of the table by name, a user's by its parts."""
        if self.builtin:
            from chainrule.rules import _operation_named

            return _operation_named, (self.name,)
        local_grads = self.local_grads[0] if self.variadic else self.local_grads
        return Operation, (self.name, self.value, local_grads, self.symbol)

    @property
    def summary(self) -> str:
        """What it computes, in a line."""
        return (self.__doc__ or self.name).splitlines()[0]

    @property
    def is_value(self) -> bool:
        """Whether it is its first operand, and what is special about it is its derivative."""
        return self.pull_back is not None or self.result_of is not None

    @property
    def can_raise(self) -> bool:
        """Whether it may raise an error where the program does not compute it."""
        return self.looks_up or not self.builtin

    def ignores(self, position: int) -> bool:
        """Whether the local gradient by the operand at ``position`` is 0 by rule, not by value."""
        if self.variadic:
            return position == 0 and (self.passes or self.looks_up)
        return self.local_grads[position] is zero

    def deciding(self, local_grad: Any, operands: Sequence[Any]) -> Any:
        """What decides whether an operand is sent a message: it is, unless this is 0.

        Of an operation that picks among its operands; NaN counts as picked.
        """
        return operands[0] if self.conditional else local_grad

    def check_arity(self, count: int) -> None:
        """Raise TypeError unless the operation takes ``count`` operands."""
        if not self.variadic and count != len(self.local_grads):
            wanted = len(self.local_grads)
            operands = "operand" if wanted == 1 else "operands"
            raise TypeError(f"{self.name} takes {wanted} {operands}, not {count}")

    def local_grad(self, position: int, y: Any, operands: Sequence[Any]) -> Any:
        """The local gradient by the operand at ``position``: a float, or a node if given nodes.

        Raises:
            TypeError: if that operand must be a number.
            ValueError: if a variadic operation gives a wrong number of local gradients.
        """
        return self.local_grads_at([position], y, operands)[0]

    def local_grads_at(self, positions: list[int], y: Any, operands: Sequence[Any]) -> list[Any]:
        """The local gradients by the operands at some positions: see :meth:`local_grad`."""
        if raising_domain_errors():  # that is about values
            with without_domain_errors():
                return self._local_grads_at(positions, y, operands)
        return self._local_grads_at(positions, y, operands)

    def _local_grads_at(self, positions: list[int], y: Any, operands: Sequence[Any]) -> list[Any]:
        if self.variadic:
            function = self.local_grads[0]
            assert function is not None
            grads = function(y, *operands)
            if not isinstance(grads, Sequence):
                raise TypeError(
                    f"the local gradients of {self.name} must be a list, not {described(grads)}"
                )
            if len(grads) != len(operands):
                raise ValueError(
                    f"{self.name} gave {len(grads)} local gradients for {len(operands)} operands"
                )
            return [grads[i] for i in positions]
        found = []
        for i in positions:
            function = self.local_grads[i]
            if function is None:
                raise TypeError(f"operand {i + 1} of {self.name} must be a number, not a node")
            found.append(function(y, *operands))
        return found


@functools.lru_cache(maxsize=4096)
def result_of(name: str, place: int) -> Operation:
    """One of several results of what is called so: an operation on its value and the whole."""
    part = Operation(f"{name}[{place}]", lambda y, whole: y, lambda y, *xs: [0.0, 1.0])
    part.passes = True
    part.result_of = place
    return part


def to_float(x: object, what: str, rule: str = "takes real numbers and nodes") -> float:
    """The float equal to a real number; ``what`` and ``rule`` are for the message.

    Raises:
        TypeError: if x is not a real number.
        ValueError: if x is a whole number too large for a float.
    """
    if isinstance(x, float):
        return float.__float__(x)  # a subclass is the number that Python's arithmetic takes it for
    if isinstance(x, (int, Real)):
        try:
            return int.__float__(x) if isinstance(x, int) else float(x)
        except OverflowError:
            raise ValueError(f"{what}: {described(x)} is too large for a float") from None
    hint = ""
    if type(x).__module__ == "numpy":
        hint = "; for an array, apply the NumPy function (np.exp(array_of_nodes)) or loop over it"
    elif isinstance(x, str):
        hint = "; convert text with float(...) first"
    elif isinstance(x, complex):
        hint = "; a node holds one real number"
    raise TypeError(f"{what} {rule}, not {described(x)}{hint}")


def described(x: object) -> str:
    """A value with its type, for messages."""
    if isinstance(x, int) and abs(x) >= 10**40:
        return f"int of {x.bit_length()} bits"
    try:
        text = repr(x)
    except Exception:  # a message about bad input must not fail itself
        return type(x).__name__
    return f"{type(x).__name__} {text if len(text) <= 40 else text[:37] + '...'}"


def zero(y: Any, *operands: Any) -> float:
    """The local gradient that is 0 by rule: the operand is never sent anything."""
    return 0.0


def one(y: Any, *operands: Any) -> float:
    """The local gradient 1."""
    return 1.0
