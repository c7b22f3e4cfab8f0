"""The table of elementary operations: one row for each, with all that is known of it.

A row has a name, a value, local gradients, and properties. The value is a function of floats or,
wherever it can be said so, an expression of other rows: then all that computes with the table (the
engine, machine code, the page of the explorer) computes it too. Only the rows that are no such
expression, the primitives, are written there once more.

A local gradient is the derivative of the value by one operand. It is a function of the value ``y``
and the operands, and is written with the operations of this table, so that handed floats it gives a
float and handed nodes it gives a node: gradients of gradients come from the same line.

Each formula is the textbook's, arranged so that it does not cancel or overflow where the result is
an ordinary number (``1 / ((1 - x) (1 + x))``, not ``1 / (1 - x**2)``). In an expression both sides
of a ``where`` are computed; the side that is not picked may be anything.

The engine in C has most values once more, by name (``_engine/rules.c``); the local gradients it
takes from here, traced once, and the values of expressions that it does not have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from chainrule import ieee, special
from chainrule.engine import ENGINE
from chainrule.operation import Operation as Operation
from chainrule.operation import called as called
from chainrule.operation import described as described
from chainrule.operation import evaluated, one, zero
from chainrule.operation import to_float as to_float

LOG_2 = 0.6931471805599453
INV_LOG_2 = 1.4426950408889634
INV_LOG_10 = 0.4342944819032518
TWO_OVER_SQRT_PI = 1.1283791670955126

OPERATIONS: dict[str, Operation] = {}
"""Every operation of the table by name."""


def _operation_named(name: str) -> Operation:
    return OPERATIONS[name]


def _row(
    name: str,
    value: Callable[..., Any],
    local_grads: Sequence[Callable[..., Any] | None] | Callable[..., Any],
    doc: str = "",
    *,
    symbol: str = "",
    public: str | None = None,
    ulps: float = 4.0,
    commutative: bool = False,
    picks: bool = False,
    looks_up: bool = False,
    conditional: bool = False,
) -> Operation:
    """Add a row to the table; see the class for the properties.

    Args:
        name: see the class.
        value: of floats, or an expression of other rows.
        local_grads: see the class.
        doc: what it computes; by default what the value's function says.
        symbol: see the class.
        public: the name in chainrule.math, empty if it is not there; by default the same name.
        ulps: a property, as are those that follow.
        commutative: a property.
        picks: a property.
        looks_up: a property.
        conditional: a property.
    """
    operation = Operation(name, value, local_grads, symbol)
    operation.builtin = True
    operation.__doc__ = doc or value.__doc__
    operation.public = name if public is None else public
    operation.ulps = ulps
    operation.commutative = commutative
    operation.picks = picks
    operation.looks_up = looks_up
    operation.conditional = conditional
    OPERATIONS[name] = operation
    return operation


# What expressions say often, of numbers that are 1 where something holds, else 0


def _finite(x: Any) -> Any:
    return equal(x - x, 0.0)


def _all(*conditions: Any) -> Any:
    """Whether all hold."""
    found = conditions[0]
    for condition in conditions[1:]:
        found = found * condition
    return found


def _odd(x: Any) -> Any:
    """Whether it is an odd whole number."""
    return equal(absolute(fmod(x, 2.0)), 1.0)


# Arithmetic


def _power_term(c: Any, x: Any, n: Any, k: Any) -> Any:
    """c * x ** (n - k) for a small whole number k: what the derivatives of x ** n are made of.

    A zero wins over an infinity: c over any power (x ** 0 has derivative 0), a power over the
    infinite log(x) at x = 0, but not 0 ** 0, which is 1. The rounding error of n - k, which times
    log(x) may be hundreds of units in the last place, is made good; a power that overflows or
    underflows before it meets c is multiplied in by halves.
    """
    base = absolute(x)
    exponent = n - k
    magnitude = power(base, exponent)
    product = c * magnitude
    half = power(base, 0.5 * exponent)
    moderate = _all(
        less_equal(ieee.SMALLEST_NORMAL, magnitude), less_equal(magnitude, ieee.LARGEST)
    )
    ordinary = where(moderate, product, c * half * half)
    shift = exponent - n
    error = (n - (exponent - shift)) - (k + shift)
    inexact = _all(not_equal(error, 0.0), _finite(ordinary))
    ordinary = where(inexact, ordinary + ordinary * (error * log(base)), ordinary)
    usual = _all(not_equal(x, 0.0), _finite(c), _finite(x), _finite(n))
    result = where(usual, ordinary, where(equal(magnitude, 0.0), 0.0, product))
    whole = _all(_finite(n), equal(floor(n), n))
    odd = _all(less(copysign(1.0, x), 0.0), whole, not_equal(_odd(n), _odd(k)))
    result = where(odd, -result, result)
    result = where(_all(less(x, 0.0), 1.0 - whole), math.nan, result)
    return where(equal(c, 0.0), 0.0, where(equal(c, c), result, math.nan))


def _mod(a: Any, b: Any) -> Any:
    """a % b with the sign of b, as Python's operator; NaN for b = 0."""
    rest = fmod(a, b)
    with_sign = where(not_equal(less(b, 0.0), less(rest, 0.0)), rest + b, rest)
    return where(b, where(rest, with_sign, copysign(0.0, b)), math.nan)


def _floor_divide(a: Any, b: Any) -> Any:
    """a // b as Python's operator; as a / b for b = 0."""
    rest = fmod(a, b)
    quotient = divide(a - rest, b)
    below = where(not_equal(less(b, 0.0), less(rest, 0.0)), quotient - 1.0, quotient)
    quotient = where(rest, below, quotient)
    whole = floor(quotient)
    whole = where(less(0.5, quotient - whole), whole + 1.0, whole)
    return where(b, where(quotient, whole, copysign(0.0, divide(a, b))), divide(a, b))


def _message(reached: Any, global_grad: Any, local_grad: Any) -> Any:
    """global_grad * local_grad of a node that is reached only under a condition.

    Where it is not, it sends 0, whatever the product: of a global gradient that is 0, or of a local
    gradient that is 0 because the operand was not picked.
    """
    return where(reached, global_grad * local_grad, 0.0)


def _minus_quotient(y: Any, a: Any, b: Any) -> Any:
    """Minus the whole number n of a remainder y = a - n b."""
    return round_half_even(divide(y, b) - divide(a, b), 0.0)


add: Operation = _row(
    "add",
    lambda a, b: a + b,
    [one, one],
    "a + b.",
    symbol="+",
    ulps=0.5,
    commutative=True,
    public="",
)
subtract: Operation = _row(
    "subtract",
    lambda a, b: a - b,
    [one, lambda y, a, b: -1.0],
    "a - b.",
    symbol="-",
    ulps=0.5,
    public="",
)
multiply: Operation = _row(
    "multiply",
    lambda a, b: a * b,
    [lambda y, a, b: b, lambda y, a, b: a],
    "a * b.",
    symbol="*",
    ulps=0.5,
    commutative=True,
    public="",
)
divide: Operation = _row(
    "divide",
    ieee.divide,
    [lambda y, a, b: divide(1.0, b), lambda y, a, b: -divide(y, b)],
    symbol="/",
    ulps=0.5,
    public="",
)
azmul: Operation = _row(
    "azmul",
    lambda a, b: where(_all(equal(a, 0.0), equal(absolute(b), math.inf)), 0.0, a * b),
    [lambda y, a, b: b, lambda y, a, b: a],
    "a * b, but 0 for 0 times infinity: for an a that vanishes faster than b grows.",
    ulps=0.5,
    public="",
)
message: Operation = _row(
    "message",
    _message,
    [
        zero,
        lambda y, reached, global_grad, local_grad: where(reached, local_grad, 0.0),
        lambda y, reached, global_grad, local_grad: where(reached, global_grad, 0.0),
    ],
    ulps=0.5,
    picks=True,
    conditional=True,
    public="",
)
negative: Operation = _row(
    "negative", lambda x: -x, [lambda y, x: -1.0], "-x.", symbol="neg", ulps=0.0, public=""
)
power: Operation = _row(
    "power",
    ieee.power,
    [lambda y, x, n: power_term(n, x, n, 1.0), lambda y, x, n: power_term(log(x), x, n, 0.0)],
    symbol="**",
    public="pow",
)
power_term: Operation = _row(
    "power_term",
    _power_term,
    [
        lambda y, c, x, n, k: power_term(1.0, x, n, k),
        lambda y, c, x, n, k: power_term(azmul(c, n - k), x, n, k + 1.0),
        lambda y, c, x, n, k: power_term(azmul(c, log(x)), x, n, k),
        None,
    ],
    public="",
)
mod: Operation = _row(
    "mod", _mod, [one, lambda y, a, b: -floor_divide(a, b)], symbol="%", ulps=0.5, public=""
)
fmod: Operation = _row("fmod", ieee.fmod, [one, _minus_quotient], ulps=0.5)
remainder: Operation = _row("remainder", ieee.remainder, [one, _minus_quotient], ulps=0.5)
floor_divide: Operation = _row(
    "floor_divide", _floor_divide, [zero, zero], symbol="//", ulps=0.5, public=""
)
fma: Operation = _row("fma", ieee.fma, [lambda y, a, b, c: b, lambda y, a, b, c: a, one], ulps=0.5)
fsum: Operation = _row("fsum", ieee.fsum, lambda y, *xs: [1.0] * len(xs), ulps=0.5)
ldexp: Operation = _row("ldexp", ieee.ldexp, [lambda y, x, n: ldexp(1.0, n), None], ulps=0.5)

# Exponentials and logarithms
exp: Operation = _row("exp", ieee.exp, [lambda y, x: y])
exp2: Operation = _row("exp2", lambda x: power(2.0, x), [lambda y, x: y * LOG_2], "2 ** x.")
expm1: Operation = _row("expm1", ieee.expm1, [lambda y, x: exp(x)])
log: Operation = _row("log", ieee.log, [lambda y, x: divide(1.0, nonnegative(x))])
log2: Operation = _row("log2", ieee.log2, [lambda y, x: divide(INV_LOG_2, nonnegative(x))])
log10: Operation = _row("log10", ieee.log10, [lambda y, x: divide(INV_LOG_10, nonnegative(x))])
log1p: Operation = _row("log1p", ieee.log1p, [lambda y, x: divide(1.0, nonnegative(1.0 + x))])
sqrt: Operation = _row("sqrt", ieee.sqrt, [lambda y, x: divide(0.5, nonnegative(y))], ulps=0.5)
cbrt: Operation = _row("cbrt", ieee.cbrt, [lambda y, x: divide(1.0, 3.0 * y * y)], ulps=1.0)

# Trigonometry, angles in radians


def _hypot_grads(y: Any, xs: Sequence[Any]) -> list[Any]:
    """x / y for each x; by way of all of them where y is 0, or overflows though x / y would not."""
    if isinstance(y, float) and 1e-140 < y < 1e140:
        return [divide(x, y) for x in xs]
    return [over_norm(x, *xs) for x in xs]


sin: Operation = _row("sin", ieee.sin, [lambda y, x: cos(x)])
cos: Operation = _row("cos", ieee.cos, [lambda y, x: -sin(x)])


def _half_turns(x: Any) -> tuple[Any, Any]:
    """What x is beyond the nearest whole number, and 1 or -1 for an even or odd one."""
    rest = remainder(x, 1.0)
    return rest, 1.0 - 2.0 * absolute(remainder(stop_gradient(x - rest), 2.0))


def _sinc(x: Any) -> Any:
    """sin(pi x) / (pi x), and 1 at 0, accurate near its zeros too."""
    rest, sign = _half_turns(x)
    return where(x, divide(sign * sin(math.pi * rest), math.pi * x), 1.0)


def _sinc_grad(y: Any, x: Any) -> Any:
    """(cos(pi x) - y) / x; near 0, where that cancels, the Taylor series, to order 39.

    At its own zeros, the extrema of sinc, the error is as large as that of the two terms.
    """
    near, square = 0.0, x * x
    for k in range(20, 0, -1):
        size = 2 * k * math.pi ** (2 * k) / math.factorial(2 * k + 1)
        near = near * square + math.copysign(size, 0.5 - k % 2)
    rest, sign = _half_turns(x)
    zeros = sin(math.pi * (0.5 - absolute(rest)))  # cos(pi rest), accurate where that is small
    cosine = sign * where(less(absolute(rest), 0.25), cos(math.pi * rest), zeros)
    return where(less(absolute(x), 0.5), near * x, divide(cosine - y, x))


sinc: Operation = _row("sinc", _sinc, [_sinc_grad])
tan: Operation = _row("tan", ieee.tan, [lambda y, x: 1.0 + y * y])
asin: Operation = _row("asin", ieee.asin, [lambda y, x: divide(1.0, sqrt((1.0 - x) * (1.0 + x)))])
acos: Operation = _row("acos", ieee.acos, [lambda y, x: divide(-1.0, sqrt((1.0 - x) * (1.0 + x)))])
atan: Operation = _row("atan", ieee.atan, [lambda y, x: divide(1.0, 1.0 + x * x)])
atan2: Operation = _row(
    "atan2",
    ieee.atan2,
    [lambda a, y, x: over_squares(x, x, y), lambda a, y, x: over_squares(-y, x, y)],
)
hypot: Operation = _row("hypot", ieee.hypot, lambda y, *xs: _hypot_grads(y, xs))
over_norm: Operation = _row(
    "over_norm",
    ieee.over_norm,
    lambda y, p, *xs: [over_norm(1.0, *xs), *[-azmul(y, over_squares(x, *xs)) for x in xs]],
    public="",
)
over_squares: Operation = _row(
    "over_squares",
    ieee.over_squares,
    lambda y, p, *xs: [
        over_squares(1.0, *xs),
        *[-2.0 * azmul(y, over_squares(x, *xs)) for x in xs],
    ],
    public="",
)

# Hyperbolic functions


def _sech2(x: Any) -> Any:
    """1 - tanh(x)**2 without cancellation: 4 e / (1 + e)**2 with e = exp(-2 |x|)."""
    e = exp(-2.0 * absolute(x))
    return 4.0 * e / (1.0 + e * (2.0 + e))


sinh: Operation = _row("sinh", ieee.sinh, [lambda y, x: cosh(x)])
cosh: Operation = _row("cosh", ieee.cosh, [lambda y, x: sinh(x)])
tanh: Operation = _row("tanh", ieee.tanh, [lambda y, x: sech2(x)])
sech2: Operation = _row("sech2", _sech2, [lambda y, x: -2.0 * tanh(x) * y], public="")
asinh: Operation = _row("asinh", ieee.asinh, [lambda y, x: divide(1.0, hypot(1.0, x))])
acosh: Operation = _row(
    "acosh", ieee.acosh, [lambda y, x: divide(1.0, sqrt(x - 1.0) * sqrt(x + 1.0))]
)
atanh: Operation = _row(
    "atanh", ieee.atanh, [lambda y, x: divide(1.0, nonnegative((1.0 - x) * (1.0 + x)))]
)

# Kinks and steps


def _sign(x: Any) -> Any:
    return where(less(0.0, x), 1.0, where(less(x, 0.0), -1.0, x + 0.0))


def _greater(a: Any, b: Any) -> Any:
    return where(less(b, a), 1.0, where(equal(a, b), 0.5, where(less(a, b), 0.0, math.nan)))


relu: Operation = _row(
    "relu",
    lambda x: where(less_equal(x, 0.0), 0.0, x),
    [lambda y, x: step(x)],
    "x above 0, else 0; NaN for NaN.",
    ulps=0.0,
    picks=True,
)
absolute: Operation = _row(
    "absolute",
    abs,
    [lambda y, x: sign(x)],
    "|x|.",
    symbol="abs",
    public="fabs",
    ulps=0.0,
    picks=True,
)
maximum: Operation = _row(
    "maximum",
    ieee.maximum,
    [lambda y, a, b: greater(a, b), lambda y, a, b: greater(b, a)],
    ulps=0.0,
    picks=True,
)
minimum: Operation = _row(
    "minimum",
    ieee.minimum,
    [lambda y, a, b: greater(b, a), lambda y, a, b: greater(a, b)],
    ulps=0.0,
    picks=True,
)
copysign: Operation = _row(
    "copysign",
    ieee.copysign,
    [lambda y, x, s: sign(x) * copysign(1.0, s), zero],
    ulps=0.0,
    picks=True,
)
where: Operation = _row(
    "where",
    lambda condition, a, b: a if condition else b,
    [
        zero,
        lambda y, condition, a, b: not_equal(condition, 0.0),
        lambda y, condition, a, b: equal(condition, 0.0),
    ],
    "a where the condition is not 0, else b.",
    ulps=0.0,
    picks=True,
)
less: Operation = _row("less", ieee.less, [zero, zero], symbol="<", ulps=0.0, public="")
less_equal: Operation = _row(
    "less_equal", ieee.less_equal, [zero, zero], symbol="<=", ulps=0.0, public=""
)
equal: Operation = _row(
    "equal", ieee.equal, [zero, zero], symbol="==", ulps=0.0, commutative=True, public=""
)
not_equal: Operation = _row(
    "not_equal", ieee.not_equal, [zero, zero], symbol="!=", ulps=0.0, commutative=True, public=""
)
COMPARISONS: Final = frozenset([less, less_equal, equal, not_equal])
"""What gives 1 or 0."""
nonnegative: Operation = _row(
    "nonnegative",
    lambda x: where(less(0.0, x), x, where(equal(x, 0.0), 0.0, math.nan)),
    [one],
    "x, with 0.0 for -0.0 and NaN below: where log and sqrt are defined.",
    ulps=0.0,
    public="",
)
sign: Operation = _row("sign", _sign, [zero], "-1, 0 or 1; NaN for NaN.", ulps=0.0)
step: Operation = _row(
    "step",
    lambda x: where(less(0.0, x), 1.0, where(equal(x, x), 0.0, x)),
    [zero],
    "1 above 0, else 0; NaN for NaN.",
    ulps=0.0,
    public="",
)
greater: Operation = _row(
    "greater",
    _greater,
    [zero, zero],
    "1 where a > b, 1/2 where they are equal, else 0; NaN if either is NaN.",
    ulps=0.0,
    public="",
)
floor: Operation = _row("floor", ieee.floor, [zero], ulps=0.0)
ceil: Operation = _row(
    "ceil",
    lambda x: -floor(-x),
    [zero],
    "The smallest whole number not below x, as a float.",
    ulps=0.0,
)
trunc: Operation = _row(
    "trunc",
    lambda x: copysign(floor(absolute(x)), x),
    [zero],
    "The whole part of x, as a float.",
    ulps=0.0,
)
round_half_even: Operation = _row("round", ieee.round_half_even, [zero, None], ulps=0.5, public="")
stop_gradient: Operation = _row(
    "stop_gradient", lambda x: x, [zero], "x, whose gradient is not sent on.", ulps=0.0
)
identity: Operation = _row("identity", lambda x: x, [one], "x.", ulps=0.0, public="")
gather: Operation = _row(
    "gather",
    ieee.gather,
    lambda y, index, *table: [0.0, *[equal(index, float(i)) for i in range(len(table))]],
    ulps=0.0,
    picks=True,
    looks_up=True,
    public="",
)

# Activations and special functions


def _sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) without overflow."""
    e = exp(-absolute(x))
    return where(less_equal(0.0, x), 1.0, e) / (1.0 + e)


def _gaussian(x: Any) -> Any:
    """exp(-x**2), the square taken exactly: its rounding error alone would cost x**2 / 2 units."""
    high, low = ieee.exact_square(x)
    e = exp(-high)
    return where(less(absolute(x), 100.0), e + e * expm1(-low), exp(-x * x))


def _norm_pdf(x: Any) -> Any:
    """Density of the standard normal distribution, exp(-x**2 / 2) / sqrt(2 pi)."""
    high, low = ieee.exact_square(x)
    e = exp(-0.5 * high)
    near = special.INV_SQRT_2PI * (e + e * (expm1(-0.5 * low) + special.INV_SQRT_2PI_ERROR))
    return where(less(absolute(x), 100.0), near, exp(-x * x))


def _norm_cdf(x: Any) -> Any:
    """Distribution function of the standard normal, erfc(-x / sqrt(2)) / 2.

    The rounding error of the argument is made good by one term of the Taylor series of erfc: far
    out on the left it would cost x**2 units in the last place.
    """
    t = -x * special.SQRT_HALF
    xh, xl = ieee.halves(x)
    ch, cl = ieee.halves(special.SQRT_HALF)
    error = ((-xh * ch - t) - xh * cl - xl * ch) - xl * cl - x * special.SQRT_HALF_ERROR
    near = erfc(t) - TWO_OVER_SQRT_PI * gaussian(t) * error
    return 0.5 * where(less(absolute(x), 100.0), near, erfc(-x))


sigmoid: Operation = _row("sigmoid", _sigmoid, [lambda y, x: 0.25 * sech2(0.5 * x)])
softplus: Operation = _row(
    "softplus",
    lambda x: relu(x) + log1p(exp(-absolute(x))),
    [lambda y, x: sigmoid(x)],
    "log(1 + exp(x)) without overflow.",
)
erf: Operation = _row("erf", special.erf, [lambda y, x: TWO_OVER_SQRT_PI * gaussian(x)])
erfc: Operation = _row("erfc", special.erfc, [lambda y, x: -TWO_OVER_SQRT_PI * gaussian(x)])
gaussian: Operation = _row("gaussian", _gaussian, [lambda y, x: -2.0 * azmul(y, x)], public="")
norm_cdf: Operation = _row("norm_cdf", _norm_cdf, [lambda y, x: norm_pdf(x)])
norm_pdf: Operation = _row("norm_pdf", _norm_pdf, [lambda y, x: -azmul(y, x)])
gamma: Operation = _row("gamma", special.gamma, [lambda y, x: y * polygamma(0.0, x)])
lgamma: Operation = _row("lgamma", special.lgamma, [lambda y, x: polygamma(0.0, x)])
polygamma: Operation = _row(
    "polygamma", special.polygamma, [None, lambda y, n, x: polygamma(n + 1.0, x)]
)


def _finish() -> None:
    """Hand the table to the engine; without it, compute expressions without calls of operations."""
    from chainrule.expressions import formula, function_of_floats, programs, value_program

    if ENGINE is not None:
        ENGINE.set_call(Operation, called, evaluated)
        asked = [
            ENGINE.add_row(x.name, -1 if x.variadic else len(x.local_grads))
            for x in OPERATIONS.values()
        ]
        for operation, its_value in zip(OPERATIONS.values(), asked, strict=True):
            value = value_program(operation) if its_value else None
            ENGINE.register(operation, programs(operation), value)
        return
    for operation in OPERATIONS.values():
        found = formula(operation)
        if found is not None:
            operation.evaluate = function_of_floats(  # type: ignore[method-assign,assignment]
                found, len(operation.local_grads)
            )


_finish()
