"""The table of elementary operations: name, value, local gradients.

A local gradient is the derivative of the value by one operand. It is a function of the value ``y``
and the operands, and is written with the operations of this table, so that handed floats it gives a
float and handed nodes it gives a node: gradients of gradients come from the same line.

Each formula is the textbook derivative, arranged so that it does not cancel or overflow where the
result is an ordinary number (``1 / ((1 - x) (1 + x))``, not ``1 / (1 - x**2)``).

The engine in C has the values once more, by name (``_engine/rules.c``); the local gradients it
takes from here, traced once. What it has no row for, it treats like a user's operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from chainrule import ieee, special
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
        self.builtin = False
        self.passes = False  # whether the value is the first operand, which has no gradient
        self.picks = False  # whether an operand with a local gradient of 0 is sent nothing
        # In place of local gradients, from the cotangents of the results and all operands but the
        # first to the messages to these; and of an operation that is one of several results, which.
        self.pull_back: Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]] | None = None
        self.result_of: tuple[int, int] | None = None
        self.__doc__: str | None = getattr(value, "__doc__", None)

    def __repr__(self) -> str:
        return f"<operation {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle an operation of the table by name, a user's by its parts."""
        if self.builtin:
            return _operation_named, (self.name,)
        local_grads = self.local_grads[0] if self.variadic else self.local_grads
        return Operation, (self.name, self.value, local_grads, self.symbol)

    def ignores(self, position: int) -> bool:
        """Whether the local gradient by the operand at ``position`` is 0 by rule, not by value."""
        if self.variadic:
            return position == 0 and (self.passes or self is gather)
        return self.local_grads[position] is _zero

    def deciding(self, local_grad: Any, operands: Sequence[Any]) -> Any:
        """What decides whether an operand is sent a message: it is, unless this is 0.

        Of an operation that picks among its operands; NaN counts as picked.
        """
        return operands[0] if self is message else local_grad

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


OPERATIONS: dict[str, Operation] = {}
"""Every operation of the table by name."""


def _operation_named(name: str) -> Operation:
    return OPERATIONS[name]


def _rule(
    name: str,
    value: Callable[..., float],
    *local_grads: Callable[..., Any] | None,
    symbol: str = "",
) -> Operation:
    operation = Operation(name, value, local_grads, symbol)
    operation.builtin = True
    OPERATIONS[name] = operation
    return operation


def _variadic(name: str, value: Callable[..., float], local_grad: Callable[..., Any]) -> Operation:
    operation = _rule(name, value, local_grad)
    operation.variadic = True
    return operation


def _zero(y: Any, *operands: Any) -> float:
    return 0.0


def _one(y: Any, *operands: Any) -> float:
    return 1.0


def _minus_quotient(y: Any, a: Any, b: Any) -> Any:
    """Minus the whole number n of a remainder y = a - n b."""
    return round_half_even(divide(y, b) - divide(a, b), 0.0)


LOG_2 = 0.6931471805599453
INV_LOG_2 = 1.4426950408889634
INV_LOG_10 = 0.4342944819032518
TWO_OVER_SQRT_PI = 1.1283791670955126

# Arithmetic
add: Operation = _rule("add", lambda a, b: a + b, _one, _one, symbol="+")
subtract: Operation = _rule("subtract", lambda a, b: a - b, _one, lambda y, a, b: -1.0, symbol="-")
multiply: Operation = _rule(
    "multiply",
    lambda a, b: a * b,
    lambda y, a, b: b,
    lambda y, a, b: a,
    symbol="*",
)
divide: Operation = _rule(
    "divide",
    ieee.divide,
    lambda y, a, b: divide(1.0, b),
    lambda y, a, b: -divide(y, b),
    symbol="/",
)
azmul: Operation = _rule(  # a * b, but 0 for 0 times infinity
    "azmul", ieee.azmul, lambda y, a, b: b, lambda y, a, b: a
)
message: Operation = _rule(  # global_grad * local_grad; 0 where nothing is reached
    "message",
    ieee.message,
    _zero,
    lambda y, reached, global_grad, local_grad: where(reached, local_grad, 0.0),
    lambda y, reached, global_grad, local_grad: where(reached, global_grad, 0.0),
)
negative: Operation = _rule("negative", lambda x: -x, lambda y, x: -1.0, symbol="neg")
power: Operation = _rule(
    "power",
    ieee.power,
    lambda y, x, n: power_term(n, x, n, 1.0),
    lambda y, x, n: power_term(log(x), x, n, 0.0),
    symbol="**",
)
power_term: Operation = _rule(  # c * x ** (n - k), k a plain number
    "power_term",
    ieee.power_term,
    lambda y, c, x, n, k: power_term(1.0, x, n, k),
    lambda y, c, x, n, k: power_term(azmul(c, n - k), x, n, k + 1.0),
    lambda y, c, x, n, k: power_term(azmul(c, log(x)), x, n, k),
    None,
)
mod: Operation = _rule("mod", ieee.mod, _one, lambda y, a, b: -floor_divide(a, b), symbol="%")
fmod: Operation = _rule("fmod", ieee.fmod, _one, _minus_quotient)
remainder: Operation = _rule("remainder", ieee.remainder, _one, _minus_quotient)
floor_divide: Operation = _rule("floor_divide", ieee.floor_divide, _zero, _zero, symbol="//")
fma: Operation = _rule("fma", ieee.fma, lambda y, a, b, c: b, lambda y, a, b, c: a, _one)
fsum: Operation = _variadic("fsum", ieee.fsum, lambda y, *xs: [1.0] * len(xs))
ldexp: Operation = _rule("ldexp", ieee.ldexp, lambda y, x, n: ldexp(1.0, n), None)

# Exponentials and logarithms
exp: Operation = _rule("exp", ieee.exp, lambda y, x: y)
exp2: Operation = _rule("exp2", ieee.exp2, lambda y, x: y * LOG_2)
expm1: Operation = _rule("expm1", ieee.expm1, lambda y, x: exp(x))
log: Operation = _rule("log", ieee.log, lambda y, x: divide(1.0, nonnegative(x)))
log2: Operation = _rule("log2", ieee.log2, lambda y, x: divide(INV_LOG_2, nonnegative(x)))
log10: Operation = _rule("log10", ieee.log10, lambda y, x: divide(INV_LOG_10, nonnegative(x)))
log1p: Operation = _rule("log1p", ieee.log1p, lambda y, x: divide(1.0, nonnegative(1.0 + x)))
sqrt: Operation = _rule("sqrt", ieee.sqrt, lambda y, x: divide(0.5, nonnegative(y)))
cbrt: Operation = _rule("cbrt", ieee.cbrt, lambda y, x: divide(1.0, 3.0 * y * y))

# Trigonometry, angles in radians
sin: Operation = _rule("sin", ieee.sin, lambda y, x: cos(x))
cos: Operation = _rule("cos", ieee.cos, lambda y, x: -sin(x))
tan: Operation = _rule("tan", ieee.tan, lambda y, x: 1.0 + y * y)
asin: Operation = _rule("asin", ieee.asin, lambda y, x: divide(1.0, sqrt((1.0 - x) * (1.0 + x))))
acos: Operation = _rule("acos", ieee.acos, lambda y, x: divide(-1.0, sqrt((1.0 - x) * (1.0 + x))))
atan: Operation = _rule("atan", ieee.atan, lambda y, x: divide(1.0, 1.0 + x * x))
atan2: Operation = _rule(
    "atan2",
    ieee.atan2,
    lambda a, y, x: over_squares(x, x, y),
    lambda a, y, x: over_squares(-y, x, y),
)
hypot: Operation = _variadic("hypot", ieee.hypot, lambda y, *xs: _hypot_grads(y, xs))
over_norm: Operation = _variadic(  # p / hypot(*xs)
    "over_norm",
    ieee.over_norm,
    lambda y, p, *xs: [over_norm(1.0, *xs), *[-azmul(y, over_squares(x, *xs)) for x in xs]],
)
over_squares: Operation = _variadic(  # p / hypot(*xs)**2
    "over_squares",
    ieee.over_squares,
    lambda y, p, *xs: [
        over_squares(1.0, *xs),
        *[-2.0 * azmul(y, over_squares(x, *xs)) for x in xs],
    ],
)


def _hypot_grads(y: Any, xs: Sequence[Any]) -> list[Any]:
    """x / y for each x; by way of all of them where y is 0, or overflows though x / y would not."""
    if isinstance(y, float) and 1e-140 < y < 1e140:
        return [divide(x, y) for x in xs]
    return [over_norm(x, *xs) for x in xs]


# Hyperbolic functions
sinh: Operation = _rule("sinh", ieee.sinh, lambda y, x: cosh(x))
cosh: Operation = _rule("cosh", ieee.cosh, lambda y, x: sinh(x))
tanh: Operation = _rule("tanh", ieee.tanh, lambda y, x: sech2(x))
sech2: Operation = _rule("sech2", ieee.sech2, lambda y, x: -2.0 * tanh(x) * y)  # 1 - tanh(x)**2
asinh: Operation = _rule("asinh", ieee.asinh, lambda y, x: divide(1.0, hypot(1.0, x)))
acosh: Operation = _rule(
    "acosh", ieee.acosh, lambda y, x: divide(1.0, sqrt(x - 1.0) * sqrt(x + 1.0))
)
atanh: Operation = _rule(
    "atanh", ieee.atanh, lambda y, x: divide(1.0, nonnegative((1.0 - x) * (1.0 + x)))
)

# Kinks and steps
relu: Operation = _rule("relu", ieee.relu, lambda y, x: step(x))
absolute: Operation = _rule("absolute", abs, lambda y, x: sign(x), symbol="abs")
maximum: Operation = _rule(
    "maximum", ieee.maximum, lambda y, a, b: greater(a, b), lambda y, a, b: greater(b, a)
)
minimum: Operation = _rule(
    "minimum", ieee.minimum, lambda y, a, b: greater(b, a), lambda y, a, b: greater(a, b)
)
copysign: Operation = _rule(
    "copysign", ieee.copysign, lambda y, x, s: sign(x) * copysign(1.0, s), _zero
)
where: Operation = _rule(
    "where",
    lambda condition, a, b: a if condition else b,
    _zero,
    lambda y, condition, a, b: not_equal(condition, 0.0),
    lambda y, condition, a, b: equal(condition, 0.0),
)
less: Operation = _rule("less", ieee.less, _zero, _zero, symbol="<")
less_equal: Operation = _rule("less_equal", ieee.less_equal, _zero, _zero, symbol="<=")
equal: Operation = _rule("equal", ieee.equal, _zero, _zero, symbol="==")
not_equal: Operation = _rule("not_equal", ieee.not_equal, _zero, _zero, symbol="!=")
nonnegative: Operation = _rule("nonnegative", ieee.nonnegative, _one)
sign: Operation = _rule("sign", ieee.sign, _zero)
step: Operation = _rule("step", ieee.step, _zero)
greater: Operation = _rule("greater", ieee.greater, _zero, _zero)
floor: Operation = _rule("floor", ieee.floor, _zero)
ceil: Operation = _rule("ceil", ieee.ceil, _zero)
trunc: Operation = _rule("trunc", ieee.trunc, _zero)
round_half_even: Operation = _rule("round", ieee.round_half_even, _zero, None)
stop_gradient: Operation = _rule("stop_gradient", ieee.identity, _zero)
identity: Operation = _rule("identity", ieee.identity, _one)
gather: Operation = _variadic(  # table[index]
    "gather",
    ieee.gather,
    lambda y, index, *table: [0.0, *[equal(index, float(i)) for i in range(len(table))]],
)

# Activations and special functions
sigmoid: Operation = _rule("sigmoid", ieee.sigmoid, lambda y, x: 0.25 * sech2(0.5 * x))
softplus: Operation = _rule("softplus", ieee.softplus, lambda y, x: sigmoid(x))
erf: Operation = _rule("erf", special.erf, lambda y, x: TWO_OVER_SQRT_PI * gaussian(x))
erfc: Operation = _rule("erfc", special.erfc, lambda y, x: -TWO_OVER_SQRT_PI * gaussian(x))
gaussian: Operation = _rule(
    "gaussian", special.gaussian, lambda y, x: -2.0 * azmul(y, x)
)  # exp(-x**2)
norm_cdf: Operation = _rule("norm_cdf", special.norm_cdf, lambda y, x: norm_pdf(x))
norm_pdf: Operation = _rule("norm_pdf", special.norm_pdf, lambda y, x: -azmul(y, x))
gamma: Operation = _rule("gamma", special.gamma, lambda y, x: y * polygamma(0.0, x))
lgamma: Operation = _rule("lgamma", special.lgamma, lambda y, x: polygamma(0.0, x))
polygamma: Operation = _rule(
    "polygamma", special.polygamma, None, lambda y, n, x: polygamma(n + 1.0, x)
)

for _picking in (where, gather, relu, absolute, maximum, minimum, copysign, message):
    _picking.picks = True


if ENGINE is not None:
    from chainrule.expressions import programs

    ENGINE.set_call(Operation, called, evaluated)
    for _operation in OPERATIONS.values():
        ENGINE.register(_operation, programs(_operation))
