"""Elementary functions of floats that follow IEEE 754 and never raise.

Python's ``math`` raises on a domain error, a pole and overflow. Nodes, NumPy and machine code give
NaN and infinity instead; so do these functions, so that a program computes the same on numbers and
on nodes. Where nothing goes wrong the value is that of Python's ``math`` unless said otherwise.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fractions import Fraction

INF = math.inf
NAN = math.nan
SMALLEST_NORMAL = 2.2250738585072014e-308
LARGEST = 1.7976931348623157e308
SPLIT = 134217729.0  # 2**27 + 1, Veltkamp's constant: halves the digits of a number


def divide(x: float, y: float) -> float:
    """x / y; a zero divisor gives a signed infinity, or NaN for 0 / 0."""
    if y == 0.0:
        if x == 0.0 or x != x:
            return NAN
        return math.copysign(INF, x) * math.copysign(1.0, y)
    return x / y


def power(x: float, y: float) -> float:
    """x ** y as C's pow: NaN for a negative base with a fractional exponent."""
    try:
        return math.pow(x, y)
    except OverflowError:
        return -INF if x < 0.0 and _is_odd(y) else INF
    except ValueError:
        if x == 0.0:
            return math.copysign(INF, x) if _is_odd(y) else INF
        return NAN


def _is_odd(y: float) -> bool:
    return math.isfinite(y) and math.fmod(y, 2.0) in (1.0, -1.0)


def exp(x: float) -> float:
    """e ** x; infinity where it overflows."""
    try:
        return math.exp(x)
    except OverflowError:
        return INF


def expm1(x: float) -> float:
    """e ** x - 1 without cancellation near 0; infinity where it overflows."""
    try:
        return math.expm1(x)
    except OverflowError:
        return INF


def log(x: float) -> float:
    """Natural logarithm: -inf at 0, NaN below."""
    if x > 0.0:
        return math.log(x)
    return -INF if x == 0.0 else NAN


def log2(x: float) -> float:
    """Logarithm to base 2: -inf at 0, NaN below."""
    if x > 0.0:
        return math.log2(x)
    return -INF if x == 0.0 else NAN


def log10(x: float) -> float:
    """Logarithm to base 10: -inf at 0, NaN below."""
    if x > 0.0:
        return math.log10(x)
    return -INF if x == 0.0 else NAN


def log1p(x: float) -> float:
    """log(1 + x) without cancellation near 0: -inf at -1, NaN below."""
    if x > -1.0:
        return math.log1p(x)
    return -INF if x == -1.0 else NAN


def sqrt(x: float) -> float:
    """Square root; NaN below 0."""
    return math.sqrt(x) if x >= 0.0 else NAN


def cbrt(x: float) -> float:
    """Real cube root, nearly correctly rounded: a series about a number whose cube is exact."""
    if x == 0.0 or x - x != 0.0:
        return x
    mantissa, exponent = math.frexp(abs(x))
    thirds = -(-exponent // 3)
    mantissa = math.ldexp(mantissa, exponent - 3 * thirds)
    start = math.floor(math.pow(mantissa, 1.0 / 3.0) * 65536.0 + 0.5) / 65536.0
    cube = start * start * start
    d = (mantissa - cube) / cube
    series = d * (1.0 / 3.0 - d * (1.0 / 9.0 - d * (5.0 / 81.0 - d * (10.0 / 243.0))))
    root = start + start * series
    return math.copysign(math.ldexp(root, thirds), x)


def sin(x: float) -> float:
    """Sine; NaN at infinity."""
    return math.sin(x) if x - x == 0.0 else NAN


def cos(x: float) -> float:
    """Cosine; NaN at infinity."""
    return math.cos(x) if x - x == 0.0 else NAN


def tan(x: float) -> float:
    """Tangent; NaN at infinity."""
    return math.tan(x) if x - x == 0.0 else NAN


def asin(x: float) -> float:
    """Arc sine in radians; NaN outside [-1, 1]."""
    return math.asin(x) if -1.0 <= x <= 1.0 else NAN


def acos(x: float) -> float:
    """Arc cosine in radians; NaN outside [-1, 1]."""
    return math.acos(x) if -1.0 <= x <= 1.0 else NAN


def atan(x: float) -> float:
    """Arc tangent in radians."""
    return math.atan(x)


def atan2(y: float, x: float) -> float:
    """Angle of the point (x, y) in radians, in [-pi, pi]."""
    return math.atan2(y, x)


def sinh(x: float) -> float:
    """Hyperbolic sine; a signed infinity where it overflows."""
    try:
        return math.sinh(x)
    except OverflowError:
        return math.copysign(INF, x)


def cosh(x: float) -> float:
    """Hyperbolic cosine; infinity where it overflows."""
    try:
        return math.cosh(x)
    except OverflowError:
        return INF


def tanh(x: float) -> float:
    """Hyperbolic tangent."""
    return math.tanh(x)


def asinh(x: float) -> float:
    """Inverse hyperbolic sine."""
    return math.asinh(x)


def acosh(x: float) -> float:
    """Inverse hyperbolic cosine; NaN below 1."""
    return math.acosh(x) if x >= 1.0 else NAN


def atanh(x: float) -> float:
    """Inverse hyperbolic tangent: a signed infinity at -1 and 1, NaN outside."""
    if -1.0 < x < 1.0:
        return math.atanh(x)
    return math.copysign(INF, x) if abs(x) == 1.0 else NAN


def hypot(*xs: float) -> float:
    """Square root of the sum of squares."""
    return math.hypot(*xs)


def over_norm(p: float, *xs: float) -> float:
    """p / hypot(*xs), also where hypot overflows; 0 / 0 and a single inf / inf are 0 and 1.

    Those are the gradients of hypot, p being one of the xs.
    """
    return _over_power(p, 1, xs)


def over_squares(p: float, *xs: float) -> float:
    """p / (x0**2 + x1**2 + …), also where the squares overflow or underflow."""
    return _over_power(p, 2, xs)


def _over_power(p: float, power: int, xs: tuple[float, ...]) -> float:
    """p / hypot(*xs) ** power for a power of 1 or 2."""
    length = math.hypot(*xs)
    if 1e-140 < length < 1e140:
        return p / (length if power == 1 else math.fsum([s for x in xs for s in exact_square(x)]))
    if p != p or any(x != x for x in xs):
        return NAN
    infinite = len([x for x in xs if math.isinf(x)])
    if infinite > 0 and math.isinf(p) and power == 1:
        return math.copysign(1.0, p) if infinite == 1 else NAN
    if infinite > 0:
        return 0.0
    if length == 0.0:
        return 0.0 if p == 0.0 and power == 1 else divide(p, 0.0)
    exponent = max([math.frexp(x)[1] for x in xs if x != 0.0])
    mantissa, p_exponent = math.frexp(p)
    quotient = _over_power(mantissa, power, tuple([math.ldexp(x, -exponent) for x in xs]))
    return ldexp(quotient, float(p_exponent - power * exponent))


def halves(x: Any) -> tuple[Any, Any]:
    """A number of moderate size as the sum of two with half as many bits each."""
    big = SPLIT * x
    high = big - (big - x)
    return high, x - high


def exact_square(x: Any) -> tuple[Any, Any]:
    """x**2 as a number of at most 53 bits and a remainder, for x of moderate size."""
    high, low = halves(x)
    return high * high, low * (high + x)


def less(x: float, y: float) -> float:
    """1.0 if x < y, else 0.0."""
    return 1.0 if x < y else 0.0


def less_equal(x: float, y: float) -> float:
    """1.0 if x <= y, else 0.0."""
    return 1.0 if x <= y else 0.0


def equal(x: float, y: float) -> float:
    """1.0 if x == y, else 0.0."""
    return 1.0 if x == y else 0.0


def not_equal(x: float, y: float) -> float:
    """1.0 if x != y, else 0.0."""
    return 1.0 if x != y else 0.0


def gather(index: float, *table: float) -> float:
    """The element of a table at an index."""
    return table[int(index)]


def maximum(x: float, y: float) -> float:
    """The larger; NaN if either is NaN; 0.0 is larger than -0.0 (IEEE 754-2019 maximum)."""
    if x > y or x != x:
        return x
    if y > x or y != y:
        return y
    return y if math.copysign(1.0, x) < 0.0 else x


def minimum(x: float, y: float) -> float:
    """The smaller; NaN if either is NaN; -0.0 is smaller than 0.0 (IEEE 754-2019 minimum)."""
    if x < y or x != x:
        return x
    if y < x or y != y:
        return y
    return x if math.copysign(1.0, x) < 0.0 else y


def copysign(x: float, y: float) -> float:
    """The magnitude of x with the sign of y."""
    return math.copysign(x, y)


def floor(x: float) -> float:
    """The largest whole number not above x, as a float."""
    return math.copysign(float(math.floor(x)), x) if x - x == 0.0 else x


def round_half_even(x: float, digits: float) -> float:
    """x rounded to a number of decimals, halves to even, as Python's round; NaN if not whole."""
    if x - x != 0.0:
        return x
    try:
        return math.copysign(round(x, _whole(digits)), x)
    except OverflowError:  # 1.7e308 to hundreds of digits before the point
        return math.copysign(INF, x)
    except ValueError:
        return NAN


def _whole(x: float) -> int:
    """A whole number as an int, its size limited to what can matter.

    Raises:
        ValueError: if it is not whole.
    """
    if x != x or (math.isfinite(x) and x != math.floor(x)):
        raise ValueError(f"{x} is not whole")
    return int(max(-5000.0, min(x, 5000.0)))


def fmod(x: float, y: float) -> float:
    """The remainder of x / y with the sign of x; NaN for y = 0 or infinite x."""
    return NAN if y == 0.0 or math.isinf(x) else math.fmod(x, y)


def remainder(x: float, y: float) -> float:
    """x - n y for the whole n nearest to x / y; NaN for y = 0 or infinite x."""
    return NAN if y == 0.0 or math.isinf(x) else math.remainder(x, y)


def ldexp(x: float, exponent: float) -> float:
    """x times 2 ** exponent for a whole exponent, else NaN; a signed infinity on overflow."""
    try:
        return math.ldexp(x, _whole(exponent))
    except OverflowError:
        return math.copysign(INF, x)
    except ValueError:
        return NAN


def fma(x: float, y: float, z: float) -> float:
    """x * y + z rounded once."""
    if not (math.isfinite(x) and math.isfinite(y)) or x == 0.0 or y == 0.0:
        return x * y + z
    if not math.isfinite(z):
        return z
    from fractions import Fraction

    return _round_fraction(Fraction(x) * Fraction(y) + Fraction(z))


def _round_fraction(exact: Fraction) -> float:
    try:
        return float(exact)
    except OverflowError:
        return INF if exact > 0 else -INF


def fsum(*xs: float) -> float:
    """The sum rounded once, whatever the order."""
    try:
        return math.fsum(xs)
    except (OverflowError, ValueError):  # a partial sum overflows, or infinities of both signs
        if all(math.isfinite(x) for x in xs):
            from fractions import Fraction

            return _round_fraction(sum([Fraction(x) for x in xs], Fraction(0)))
        return sum([x for x in xs if not math.isfinite(x)])
