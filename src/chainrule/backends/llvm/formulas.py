"""Vector functions written by hand: primitives, and what is faster or more accurate this way.

A formula takes vectors and gives one. A sweep goes through any number of operands in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from chainrule import ieee, special
from chainrule.rules import TWO_OVER_SQRT_PI

from .callback import call_python
from .vectors import Function, Mask, Vector

Formula = Callable[..., Vector]


def less(a: Vector, b: Vector) -> Vector:
    """1.0 if a < b, else 0.0."""
    return (a < b).select(1.0, 0.0)


def less_equal(a: Vector, b: Vector) -> Vector:
    """1.0 if a <= b, else 0.0."""
    return (a <= b).select(1.0, 0.0)


def equal(a: Vector, b: Vector) -> Vector:
    """1.0 if a == b, else 0.0."""
    return a.equals(b).select(1.0, 0.0)


def not_equal(a: Vector, b: Vector) -> Vector:
    """1.0 if a != b, else 0.0."""
    return a.differs(b).select(1.0, 0.0)


def where(condition: Vector, a: Vector, b: Vector) -> Vector:
    """A where the condition is true."""
    return condition.differs(0.0).select(a, b)


def maximum(a: Vector, b: Vector) -> Vector:
    """The larger, NaN if either is."""
    return a.function.intrinsic("maximum", a, b)


def minimum(a: Vector, b: Vector) -> Vector:
    """The smaller, NaN if either is."""
    return a.function.intrinsic("minimum", a, b)


def fmod(a: Vector, b: Vector) -> Vector:
    """The remainder with the sign of a."""
    return a.function.call("c_fmod", a, b)


def ldexp(x: Vector, n: Vector) -> Vector:
    """x * 2**n for a whole n, else NaN."""
    f = x.function
    whole = f.intrinsic("floor", n).equals(n)
    clamped = f.intrinsic("minnum", f.intrinsic("maxnum", n, -5000.0), 5000.0)
    function = f.declare("ldexp", "d", ["d", f.i32])
    lanes = zip(f.lanes(x.value), f.lanes(clamped.value), strict=True)
    scaled = f.from_lanes([f.b.call(function, [y, f.b.fptosi(k, f.i32)]) for y, k in lanes])
    return x.is_finite().select(whole.select(scaled, ieee.NAN), whole.select(x, ieee.NAN))


def exp_down(x: Vector) -> Vector:
    """exp(x) for x <= 0, to 0.7 units in the last place: libmvec's 3 units would be doubled below.

    x = k log(2) + r with a whole k; exp(r) by its Taylor series, in two halves.
    """
    f, b = x.function, x.function.b
    x = f.intrinsic("maximum", x, -1100.0)
    shifted = multiply_add(x, _INV_LOG_2, _ROUNDING)
    k = shifted - _ROUNDING
    r = multiply_add(k, -_LOG_2_LOW, multiply_add(k, -_LOG_2_HIGH, x))
    square = r * r
    even = f.vector(1.0 / math.factorial(12))
    odd = f.vector(1.0 / math.factorial(13))
    for n in range(10, 0, -2):
        even = multiply_add(even, square, 1.0 / math.factorial(n))
        odd = multiply_add(odd, square, 1.0 / math.factorial(n + 1))
    e = 1.0 + multiply_add(square, multiply_add(r, odd, even), r)
    whole = b.sub(b.bitcast(shifted.value, f.integers), f.constant(f.integers, _ROUNDING_BITS))
    half = b.ashr(whole, f.constant(f.integers, 1))  # 2**k may be no normal number
    for part in (half, b.sub(whole, half)):
        exponent = b.add(part, f.constant(f.integers, 1023))
        power = b.shl(exponent, f.constant(f.integers, 52))
        e = e * Vector(f, b.bitcast(power, f.type))
    return e


_INV_LOG_2: Final = 1.4426950408889634
_LOG_2_HIGH: Final = 0.6931471803691238  # its last 32 bits are 0: its products with k are exact
_LOG_2_LOW: Final = 1.9082149292705877e-10
_ROUNDING: Final = 1.5 * 2.0**52  # added to a number, it leaves the nearest whole one
_ROUNDING_BITS: Final = 0x4338000000000000


def sech2(x: Vector) -> Vector:
    """1 - tanh(x)**2."""
    e = exp_down(-2.0 * abs(x))
    return 4.0 * e / (1.0 + e * (2.0 + e))


def sigmoid(x: Vector) -> Vector:
    """1 / (1 + exp(-x))."""
    e = exp_down(-abs(x))
    return (x >= 0.0).select(1.0, e) / (1.0 + e)


def softplus(x: Vector) -> Vector:
    """log(1 + exp(x))."""
    return (x <= 0.0).select(0.0, x) + x.function.call("log1p", exp_down(-abs(x)))


def multiply_add(x: Vector, y: Vector | float, z: Vector | float) -> Vector:
    """x * y + z, rounded once where the machine can: for errors that do not matter."""
    f = x.function
    return f.intrinsic("fma", x, y, z) if f.fused else x * y + z


def exact_square(x: Vector) -> tuple[Vector, Vector]:
    """x**2 in two parts, for x of moderate size."""
    if x.function.fused:
        square = x * x
        return square, x.function.intrinsic("fma", x, x, -square)
    big = ieee.SPLIT * x
    high = big - (big - x)
    low = x - high
    return high * high, low * (high + x)


def product_error(x: Vector, c: float, product: Vector) -> Vector:
    """x * c - product, exactly, for a product of moderate size."""
    if x.function.fused:
        return x.function.intrinsic("fma", x, c, -product)
    big = ieee.SPLIT * x
    high = big - (big - x)
    low = x - high
    c_big = ieee.SPLIT * c
    c_high = c_big - (c_big - c)
    c_low = c - c_high
    return ((high * c_high - product) + high * c_low + low * c_high) + low * c_low


def small_expm1(x: Vector) -> Vector:
    """exp(x) - 1 for |x| < 1e-4, to 1e-17."""
    return multiply_add(x * x, multiply_add(x, 1.0 / 6.0, 0.5), x)


def gaussian(x: Vector) -> Vector:
    """exp(-x**2)."""
    high, low = exact_square(x)
    near = abs(x) < 100.0
    e = exp_down(near.select(-high, -x * x))
    return near.select(e + e * small_expm1(-low), e)


def norm_pdf(x: Vector) -> Vector:
    """Density of the standard normal distribution."""
    high, low = exact_square(x)
    near = abs(x) < 100.0
    e = exp_down(near.select(-0.5 * high, -x * x))
    factor = small_expm1(-0.5 * low) + special.INV_SQRT_2PI_ERROR
    return near.select(special.INV_SQRT_2PI * (e + e * factor), e)


def norm_cdf(x: Vector) -> Vector:
    """Distribution function of the standard normal."""
    f = x.function
    near = abs(x) < 100.0
    t = -x * special.SQRT_HALF
    error = -product_error(x, special.SQRT_HALF, -t) - x * special.SQRT_HALF_ERROR
    tail = f.call("erfc", near.select(t, -x))
    slope = -TWO_OVER_SQRT_PI * exp_down(-t * t)  # a few digits are enough
    return 0.5 * near.select(tail + slope * error, tail)


def _is_odd(x: Vector) -> Mask:
    """Whether it is an odd whole number."""
    return (x - 2.0 * x.function.intrinsic("floor", 0.5 * x)).equals(1.0)


def power_term(c: Vector, x: Vector, n: Vector, k: Vector) -> Vector:
    """c * x ** (n - k): see ieee.power_term."""
    f = x.function
    base = abs(x)
    exponent = n - k
    magnitude = f.call("power", base, exponent)
    whole = n.is_finite() & f.intrinsic("floor", n).equals(n)
    special_case = x.equals(0.0) | ~(c.is_finite() & x.is_finite() & n.is_finite())
    result = c * magnitude

    extreme = ~special_case & ~((magnitude >= ieee.SMALLEST_NORMAL) & (magnitude <= ieee.LARGEST))

    def by_halves() -> Vector:
        half = f.call("power", base, 0.5 * exponent)
        return extreme.select(c * half * half, result)

    ordinary = f.if_any(extreme, by_halves, result)
    shift = exponent - n
    error = (n - (exponent - shift)) - (k + shift)
    inexact = ~special_case & error.differs(0.0) & ordinary.is_finite()

    def corrected() -> Vector:
        return inexact.select(ordinary + ordinary * (error * f.call("log", base)), ordinary)

    ordinary = f.if_any(inexact, corrected, ordinary)
    value = special_case.select(magnitude.equals(0.0).select(0.0, result), ordinary)
    negative = x.sign_bit() & whole & (_is_odd(n) ^ _is_odd(k))
    value = negative.select(-value, value)
    undefined = c.is_nan() | ((x < 0.0) & ~whole)
    return c.equals(0.0).select(0.0, undefined.select(ieee.NAN, value))


FORMULAS: Final[dict[str, Formula]] = {
    formula.__name__: formula
    for formula in (
        *(less, less_equal, equal, not_equal, where, maximum, minimum, fmod, ldexp),
        *(sech2, sigmoid, softplus, gaussian, norm_pdf, norm_cdf, power_term),
    )
}
"""Operations that are written with others."""


def hypot(f: Function) -> Vector:
    """Square root of the sum of squares of any number of operands, scaled to avoid overflow."""
    largest = _largest(f, 0)
    not_a_number, infinite = f.sweep(
        0,
        [0.0, 0.0],
        lambda x, state: [
            x.is_nan().select(x, state[0]),
            x.is_infinite().select(abs(x), state[1]),
        ],
    )
    big = largest > 1e140
    small = largest < 1e-140
    factor = big.select(2.0**-600, small.select(2.0**600, 1.0))
    back = big.select(2.0**600, small.select(2.0**-600, 1.0))
    root = f.intrinsic("sqrt", _sum_of_squares(f, 0, factor)) * back
    return infinite.differs(0.0).select(infinite, not_a_number.is_nan().select(not_a_number, root))


def over_norm(f: Function) -> Vector:
    """The first operand over the hypot of the others."""
    return _over(f, "over_norm", lambda squares: f.intrinsic("sqrt", squares))


def over_squares(f: Function) -> Vector:
    """The first operand over the sum of the squares of the others."""
    return _over(f, "over_squares", lambda squares: squares)


def _over(f: Function, operation: str, length: Callable[[Vector], Vector]) -> Vector:
    """The first operand over the length of the others; by Python where squares leave the range."""
    quotient = f.operand(f.args[0]) / length(_sum_of_squares(f, 1, f.vector(1.0)))
    largest = _largest(f, 1)
    ordinary = (largest > 1e-140) & (largest < 1e139)
    return f.if_any(
        ~ordinary, lambda: ordinary.select(quotient, call_python(f, operation)), quotient
    )


def fsum(f: Function) -> Vector:
    """The sum, in twice the precision; by Python where that may not be enough."""

    def add(x: Vector, state: list[Vector]) -> list[Vector]:
        high, low, size = state
        total, error = _two_sum(high, x)
        return [total, low + error, size + abs(x)]

    high, low, size = f.sweep(0, [0.0, 0.0, 0.0], add)
    count = f.from_lanes([f.b.uitofp(f.args[1], f.double)] * f.width)
    total = high + low
    sure = count * count * (2.0**-100 * size) < 2.0**-53 * abs(total)
    return f.if_any(~sure, lambda: sure.select(total, call_python(f, "fsum")), total)


def _largest(f: Function, first: int) -> Vector:
    """The largest magnitude; NaN does not count."""
    return f.sweep(first, [0.0], lambda x, s: [(abs(x) > s[0]).select(abs(x), s[0])])[0]


def _sum_of_squares(f: Function, first: int, factor: Vector) -> Vector:
    """The sum of the squares of the operands times a factor, in twice the precision."""

    def add(x: Vector, state: list[Vector]) -> list[Vector]:
        square, rest = exact_square(x * factor)
        total, error = _two_sum(state[0], square)
        return [total, state[1] + (error + rest)]

    high, low = f.sweep(first, [0.0, 0.0], add)
    return high + low


def _two_sum(x: Vector, y: Vector) -> tuple[Vector, Vector]:
    """x + y and its rounding error."""
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


SWEEPS: Final[dict[str, Callable[[Function], Vector]]] = {
    sweep.__name__: sweep for sweep in (hypot, over_norm, over_squares, fsum)
}
"""Operations on any number of operands, which lie in memory."""
