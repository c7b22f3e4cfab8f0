"""What every operation of the table should give: its value and local gradients, by mpmath.

The formulas are the textbook's, evaluated with 60 digits, and know nothing of the package's. Handed
floats they give either an mpmath number, exact for all purposes, or a float where a convention
decides: at infinities, signed zeros, kinks, poles and the ends of domains. The conventions:

- Values at such points are those of C99 (Annex F) and NumPy: log(0) is -inf, hypot(inf, 0) inf,
  sqrt(-0.0) is -0.0, atan2(0.0, -0.0) pi. Outside the domain the value is NaN.
- Gradients there are the limit from within the domain, NaN where there is none; outside the domain
  NaN. -0.0 counts as 0.0 where only numbers from 0 up are in the domain.
- Kinks: relu'(0) = abs'(0) = 0, and so hypot'(0, 0) = (0, 0); max and min of equal values give each
  1/2; what is constant but for jumps (floor, sign, step, ...) has derivative 0 everywhere. x ** 0
  has derivative 0 by x, and 0 ** n with n >= 0 by n.
- A remainder has derivative 1 by its first operand everywhere.
- NaN among the operands gives NaN, unless the result does not depend on that operand.

``inputs`` are random draws that go where functions are difficult; ``edges`` are the difficult
points themselves.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Any

import mpmath
import numpy as np

mp = mpmath.MPContext()
mp.dps = 60

INF = math.inf
NAN = math.nan
TINY = 5e-324  # the smallest subnormal
SMALL = 2.2250738585072014e-308  # the smallest normal number
LARGEST_SUBNORMAL = math.nextafter(SMALL, 0.0)
MAX = 1.7976931348623157e308

Exact = Callable[..., Any]
Draw = Callable[[Random], float]


@dataclass(frozen=True)
class Reference:
    """How an operation is judged.

    Args:
        value: the value, a function of the operands.
        grads: the local gradients by each operand, functions of the operands; None for an operand
            that is a plain number. One function of the position and the operands if variadic.
        inputs: a random tuple of operands.
        edges: tuples of operands at the edges.
        through_value: positions whose gradient is computed from the value, so that it may underflow
            or overflow where the value itself does.
        ordinary: random operands around which the function is smooth and far from any edge.
    """

    value: Exact
    grads: tuple[Exact | None, ...] | Exact
    inputs: Callable[[Random], tuple[float, ...]]
    edges: Sequence[tuple[float, ...]]
    through_value: tuple[int, ...] = ()
    ordinary: Callable[[Random], tuple[float, ...]] | None = None

    def grad(self, position: int) -> Exact | None:
        """The local gradient by the operand at a position; None for a plain number."""
        if callable(self.grads):
            return functools.partial(self.grads, position)
        return self.grads[position]


# Random numbers that are difficult


def uniform(low: float, high: float) -> Draw:
    """Uniform in an interval."""
    return lambda rng: rng.uniform(low, high)


def magnitudes(low: float = -1074.0, high: float = 1024.0) -> Draw:
    """Positive numbers, uniform in their logarithm to base 2."""

    def draw(rng: Random) -> float:
        return max(TINY, min(MAX, mpf_to_float(mp.mpf(2) ** rng.uniform(low, high))))

    return draw


def signed(draw: Draw) -> Draw:
    """With a random sign."""
    return lambda rng: draw(rng) * rng.choice((-1.0, 1.0))


def near(*points: float) -> Draw:
    """Close to one of some points: a few floats away, or a relative 1e-17 to 0.1."""

    def draw(rng: Random) -> float:
        point = rng.choice(points)
        if rng.random() < 0.3:
            for _ in range(rng.randrange(4)):
                point = math.nextafter(point, rng.choice((-INF, INF)))
            return point
        return point + rng.choice((-1.0, 1.0)) * (abs(point) or 1.0) * math.pow(
            10, rng.uniform(-17, -1)
        )

    return draw


def one_of(*draws: Draw) -> Draw:
    """One of some draws."""
    return lambda rng: rng.choice(draws)(rng)


def limited(draw: Draw, low: float, high: float) -> Draw:
    """Brought into an interval."""
    return lambda rng: min(max(draw(rng), low), high)


def each(*draws: Draw) -> Callable[[Random], tuple[float, ...]]:
    """Operands drawn independently."""
    return lambda rng: tuple(draw(rng) for draw in draws)


def either(*draws: Callable[[Random], tuple[float, ...]]) -> Callable[[Random], tuple[float, ...]]:
    """The operands of one of some draws."""
    return lambda rng: rng.choice(draws)(rng)


ANY = one_of(signed(magnitudes()), signed(magnitudes(-60, 60)), uniform(-10, 10))
MODERATE = one_of(signed(magnitudes(-30, 30)), uniform(-10, 10))

# Edges

POSITIVE_EDGES = (
    *(0.0, TINY, LARGEST_SUBNORMAL, SMALL, math.nextafter(1.0, 0.0), 1.0),
    *(math.nextafter(1.0, 2.0), 0.5, 2.0, 3.0, 1e-9, 1e9, MAX, INF),
)
EDGES = (*POSITIVE_EDGES, *(-x for x in POSITIVE_EDGES), NAN)
PAIR_EDGES = (
    *(0.0, TINY, SMALL, 0.5, 1.0, math.nextafter(1.0, 2.0), 2.0, 3.0, MAX, INF),
    *(-0.0, -TINY, -0.5, -1.0, -2.0, -3.0, -MAX, -INF, NAN),
)
TRIPLE_EDGES = (0.0, -0.0, TINY, 1.0, -1.0, math.nextafter(1.0, 2.0), -3.0, MAX, -MAX, INF, NAN)


def tuples(edges: Iterable[float], count: int) -> list[tuple[float, ...]]:
    """All tuples of a number of edges."""
    return list(itertools.product(edges, repeat=count))


# Tools of the references


def mpf_to_float(x: Any) -> float:
    """The nearest float, infinity where it overflows."""
    try:
        return float(x)
    except OverflowError:
        return INF if x > 0 else -INF


def exactly(x: Fraction) -> Any:
    """An mpmath number for a fraction."""
    return mp.mpf(x.numerator) / x.denominator


def fraction(x: Any) -> Fraction:
    """The fraction equal to a float or mpmath number."""
    if isinstance(x, float):
        return Fraction(x)
    mantissa, exponent = mp.frexp(x)
    digits = int(mp.ldexp(mantissa, 4000))
    return Fraction(digits) * Fraction(2) ** (int(exponent) - 4000)


def finite(xs: Iterable[float]) -> bool:
    """Whether all are finite."""
    return all(math.isfinite(x) for x in xs)


def same(a: float, b: float) -> bool:
    """Whether two floats are the same bits, any NaN being like any other."""
    return (a != a and b != b) or (a == b and math.copysign(1.0, a) == math.copysign(1.0, b))


def numpy_at_edges(numpy_function: Callable[..., Any], exact: Exact) -> Exact:
    """A value: NumPy's where an operand is zero or not finite, else exact."""

    def value(*xs: float) -> Any:
        if finite(xs) and all(xs):
            return exact(*map(mp.mpf, xs))
        with np.errstate(all="ignore"):
            return float(numpy_function(*map(np.float64, xs)))

    return value


def constant(number: float) -> Exact:
    """A gradient that is the same everywhere."""
    return lambda *xs: number


Conventions = Sequence[tuple[float, float, float]]


def unary(
    value: Exact,
    grad: Exact,
    inputs: Draw,
    *,
    ordinary: Draw,
    at: Conventions = (),
    domain: tuple[float, float] = (-INF, INF),
    edges: Sequence[float] = (),
    through_value: bool = False,
) -> Reference:
    """A function of one operand.

    Args:
        value: of a number inside the domain, in mpmath.
        grad: its derivative.
        inputs: random numbers.
        ordinary: random numbers far from any edge.
        at: points where a convention decides: the point, the value, the gradient.
        domain: outside it, and for NaN, value and gradient are NaN.
        edges: more points to test.
        through_value: see Reference.
    """

    def expected(x: float, index: int, exact: Exact) -> Any:
        for convention in at:
            if same(x, convention[0]):
                return convention[index]
        if not domain[0] <= x <= domain[1]:
            return NAN
        return exact(mp.mpf(x))

    points = [*EDGES, *edges, *(convention[0] for convention in at)]
    points += [math.nextafter(x, toward) for x in edges for toward in (-INF, INF)]
    points += [math.nextafter(x, toward) for x in domain for toward in (-INF, INF)]
    return Reference(
        lambda x: expected(x, 1, value),
        (lambda x: expected(x, 2, grad),),
        lambda rng: (inputs(rng),),
        [(x,) for x in points],
        (0,) if through_value else (),
        lambda rng: (ordinary(rng),),
    )


def jumps(value: Exact) -> Reference:
    """A function of one operand with derivative 0: of floats, exactly."""
    halves = near(*(k + 0.5 for k in range(-5, 6)), *map(float, range(-5, 6)), 2.0**52)
    return Reference(
        lambda x: value(float(x)),
        (constant(0.0),),
        each(one_of(ANY, halves)),
        [(x,) for x in (*EDGES, 2.5, -2.5, 2.0**52 + 0.5, 2.0**53)],
        (),
        each(uniform(1.1, 1.4)),
    )


# Arithmetic


def divide_grad_a(a: float, b: float) -> Any:
    """1 / b."""
    if a != a:
        return 1.0 / b if b else math.copysign(INF, b)
    return math.copysign(INF, b) if b == 0.0 else 1 / mp.mpf(b)


def divide_grad_b(a: float, b: float) -> Any:
    """-a / b**2."""
    if a != a or b != b or (a == 0.0 and b == 0.0) or (math.isinf(a) and math.isinf(b)):
        return NAN
    if b == 0.0 or math.isinf(a):
        return math.copysign(INF, -a)
    return 0.0 if math.isinf(b) else -mp.mpf(a) / mp.mpf(b) ** 2


def azmul(a: Any, b: Any) -> Any:
    """a * b, but 0 for 0 times infinity; the order counts."""
    return 0.0 if a == 0.0 and mp.isinf(b) else product(a, b)


def product(a: Any, b: Any) -> Any:
    """a * b."""
    return mp.mpf(a) * b if mp.isfinite(a) and mp.isfinite(b) and a and b else a * b


def total(*xs: float) -> Any:
    """The exact sum, of infinities as IEEE 754 has it."""
    if finite(xs):
        return exactly(sum(map(fraction, xs), Fraction(0)))
    return float(sum(x for x in xs if not math.isfinite(x)))


def fused(a: float, b: float, c: float) -> Any:
    """a * b + c."""
    if finite((a, b, c)) and a and b:
        exact = fraction(a) * fraction(b) + fraction(c)
        return exactly(exact) if exact else 0.0
    return c if finite((a, b)) and not math.isfinite(c) else a * b + c


def whole(x: float) -> bool:
    """Whether x is a whole number."""
    return math.isfinite(x) and x == math.floor(x)


def odd(x: float) -> bool:
    """Whether x is an odd whole number."""
    return whole(x) and int(x) % 2 == 1


def real_power(x: float, n: Any) -> Any:
    """x**n for finite x that is not 0 and finite n, an int if x is negative."""
    magnitude = mp.exp(n * mp.log(abs(mp.mpf(x))))
    return -magnitude if x < 0 and n % 2 == 1 else magnitude


def power(x: float, n: float) -> Any:
    """x**n as C's pow."""
    if n == 0.0 or x == 1.0:
        return 1.0
    if x != x or n != n:
        return NAN
    if finite((x, n)) and x != 0.0:
        return NAN if x < 0.0 and not whole(n) else real_power(x, int(n) if whole(n) else n)
    if math.isinf(n):
        return 1.0 if x == -1.0 else INF if (abs(x) > 1.0) == (n > 0.0) else 0.0
    magnitude = INF if (x == 0.0) == (n < 0.0) else 0.0
    return math.copysign(magnitude, x) if odd(n) else magnitude


def power_grad_x(x: float, n: float) -> Any:
    """n x**(n - 1)."""
    return power_term(n, x, n, 1.0)


def power_grad_n(x: float, n: float) -> Any:
    """x**n log(x)."""
    if x != x or x < 0.0:
        return NAN
    if x == 0.0:
        if n > 0.0:
            return 0.0
        if n == 0.0:
            return -INF
        return -INF * math.copysign(1.0, x) if odd(n) else -INF if n < 0.0 else NAN
    if x == 1.0:
        return 0.0
    if n != n:
        return NAN
    if math.isinf(x):
        return 0.0 if n < 0.0 else INF
    if math.isinf(n):
        return 0.0 if (n > 0.0) == (x < 1.0) else math.copysign(INF, x - 1.0)
    return power(x, n) * mp.log(mp.mpf(x))


def power_term(c: float, x: float, n: float, k: float) -> Any:
    """c x**(n - k); 0 for c = 0, and where a power of 0 meets an infinite c."""
    if c == 0.0:
        return 0.0
    if c != c or n != n or (x != x and n != k):
        return NAN
    if x < 0.0 and not whole(n):
        return NAN
    if finite((c, x, n)) and x != 0.0:
        return c * real_power(x, int(n) - int(k) if whole(n) else mp.mpf(n) - k)
    result = mpf_to_float(power(abs(x), n - k))
    if result == 0.0 or (x == 0.0 and n == k and math.isinf(c)):
        return 0.0
    negative = math.copysign(1.0, x) < 0.0 and whole(n) and (int(n) - int(k)) % 2 == 1
    return -c * result if negative else c * result


def scaled_term(c: float, factor: Any, x: float, n: float, k: float) -> Any:
    """C times a factor times x**(n - k), for finite operands."""
    term = power_term(1.0, x, n, k)
    return 0.0 if (c == 0.0 and not mp.isnan(factor)) or factor == 0 else c * factor * term


def modulo(a: float, b: float) -> Any:
    """Python's a % b."""
    if finite((a, b)) and b != 0.0:
        exact = fraction(a) - fraction(b) * math.floor(fraction(a) / fraction(b))
        return exactly(exact) if exact else math.copysign(0.0, b)
    with np.errstate(all="ignore"):
        return float(np.remainder(np.float64(a), np.float64(b)))


def modulo_grad_b(a: float, b: float) -> Any:
    """-floor(a / b); by 0 its limit."""
    if a != a or b != b or (a == 0.0 and b == 0.0) or (math.isinf(a) and b != 0.0):
        return NAN
    if b == 0.0:
        return -math.copysign(INF, a) * math.copysign(1.0, b)
    if math.isinf(b):
        return 1.0 if a and (a > 0.0) != (b > 0.0) else 0.0
    return mp.mpf(-math.floor(fraction(a) / fraction(b)))


def floored(a: float, b: float) -> Any:
    """Python's a // b."""
    if finite((a, b)) and b != 0.0:
        quotient = math.floor(fraction(a) / fraction(b))
        return mp.mpf(quotient) if quotient else math.copysign(0.0, a) * math.copysign(1.0, b)
    with np.errstate(all="ignore"):
        return float(np.floor_divide(np.float64(a), np.float64(b)))


def remaindered(rounding: Callable[[Fraction], int]) -> tuple[Exact, Exact]:
    """The value a - b rounding(a / b) with the sign of a zero that of a, and the gradient by b."""

    def value(a: float, b: float) -> Any:
        if a != a or b != b or math.isinf(a) or b == 0.0:
            return NAN
        if math.isinf(b):
            return a
        exact = fraction(a) - fraction(b) * rounding(fraction(a) / fraction(b))
        return exactly(exact) if exact else math.copysign(0.0, a)

    def grad_b(a: float, b: float) -> Any:
        if a != a or b != b or math.isinf(a) or b == 0.0:
            return NAN
        return 0.0 if math.isinf(b) else mp.mpf(-rounding(fraction(a) / fraction(b)))

    return value, grad_b


def ldexp(x: float, n: float) -> Any:
    """x 2**n, n whole."""
    if not whole(n):
        return NAN
    return mp.mpf(x) * mp.mpf(2) ** int(n) if math.isfinite(x) and x else x


def round_to(x: float, digits: float) -> Any:
    """Rounded to decimals, halves to even."""
    if not math.isfinite(x):
        return x
    if not whole(digits):
        return NAN
    exact = round(fraction(x), int(digits))
    return exactly(Fraction(exact)) if exact else math.copysign(0.0, x)


# Lengths and angles


def squares(xs: Sequence[float]) -> Any:
    """x0**2 + x1**2 + …."""
    return mp.fsum(mp.mpf(x) ** 2 for x in xs)


def hypot(*xs: float) -> Any:
    """Length; infinite if an operand is, even beside NaN."""
    if any(map(math.isinf, xs)):
        return INF
    return mp.sqrt(squares(xs)) if finite(xs) else NAN


def hypot_grad(i: int, *xs: float) -> Any:
    """xi / hypot."""
    return over_norm(xs[i], *xs)


def over_norm(p: float, *xs: float) -> Any:
    """P / hypot(*xs) as the gradient of hypot: 0 / 0 is 0, one infinity over itself 1."""
    if any(x != x for x in (p, *xs)):
        return NAN
    infinite = sum(map(math.isinf, xs))
    if math.isinf(p):
        return [p, math.copysign(1.0, p), NAN][min(infinite, 2)]
    if infinite or p == 0.0:
        return 0.0
    if not any(xs):
        return math.copysign(INF, p)
    return p / mp.sqrt(squares(xs))


def over_squares(p: float, *xs: float) -> Any:
    """P / (x0**2 + x1**2 + …)."""
    if any(x != x for x in (p, *xs)):
        return NAN
    if any(map(math.isinf, xs)):
        return 0.0
    if not any(xs):
        return math.copysign(INF, p) if p else NAN
    return p if math.isinf(p) else p / squares(xs)


def over_norm_grad(i: int, p: float, *xs: float) -> Any:
    """1 / hypot, -p xi / hypot**3."""
    if i == 0:
        return over_norm(1.0, *xs)
    return -azmul(over_norm(p, *xs), over_squares(xs[i - 1], *xs))


def over_squares_grad(i: int, p: float, *xs: float) -> Any:
    """1 / hypot**2, -2 p xi / hypot**4."""
    if i == 0:
        return over_squares(1.0, *xs)
    return -2 * azmul(over_squares(p, *xs), over_squares(xs[i - 1], *xs))


def atan2_grad_y(y: float, x: float) -> Any:
    """X / (x**2 + y**2)."""
    return over_squares(x, x, y)


def atan2_grad_x(y: float, x: float) -> Any:
    """-y / (x**2 + y**2)."""
    return over_squares(-y, x, y)


def sinc_grad(x: Any) -> Any:
    """(cos(pi x) - sinc(x)) / x."""
    if abs(x) < 1e-10:
        return -(mp.pi**2) * x / 3 + mp.pi**4 * x**3 / 30
    return (mp.cospi(x) - mp.sincpi(x)) / x


# Kinks


def greater(a: float, b: float) -> Any:
    """1 where a > b, 1/2 where they are equal, 0 where a < b."""
    if a != a or b != b:
        return NAN
    return 0.5 if a == b else float(a > b)


def signum(x: float) -> float:
    """-1, 0, 1 or NaN."""
    return x if x != x else float(x > 0.0) - float(x < 0.0)


def compares(outcome: Callable[[float, float], bool]) -> Reference:
    """A comparison: 1.0 where it holds, else 0.0; it holds for NaN only where it says so."""
    return Reference(
        lambda a, b: 1.0 if outcome(float(a), float(b)) else 0.0,
        (constant(0.0), constant(0.0)),
        CLOSE,
        tuples(PAIR_EDGES, 2),
        ordinary=ORDINARY_2,
    )


def maximum(a: float, b: float) -> float:
    """IEEE 754-2019's maximum: NaN wins, 0.0 is above -0.0."""
    if a != a or b != b:
        return NAN
    return max(a, b, key=lambda x: (x, math.copysign(1.0, x)))


# Special functions


def erfc(x: Any) -> Any:
    """1 - erf(x); mpmath's own cannot go out as far as floats do."""
    return mp.erfc(x) if x < 1000 else mp.mpf(2) ** -3000


def gamma(x: Any) -> Any:
    """Gamma, far out on either side by its limits."""
    if x < -190:
        return -mp.mpf(0) if int(mp.floor(x)) % 2 else mp.mpf(0)
    return mp.gamma(x) if x < 200 else mp.mpf(2) ** 2000


def digamma(x: Any) -> Any:
    """The logarithmic derivative of gamma."""
    return polygamma(0, x)


def polygamma(n: int, x: Any) -> Any:
    """Derivatives of digamma; far on the left by reflection."""
    if x > -20:
        with mp.extradps(30):
            return mp.psi(n, x) if abs(x) > 1e-200 else (-1) ** (n + 1) * mp.fac(n) / x ** (n + 1)
    with mp.extradps(40):
        cotangents = mp.taylor(lambda t: mp.cospi(x + t) / mp.sinpi(x + t), 0, n)
        return (-1) ** n * mp.psi(n, 1 - x) - mp.pi * mp.fac(n) * cotangents[n]


def polygamma_at(n: float, x: float) -> Any:
    """Polygamma with its poles: NaN where the sides differ, at ±0 the limit from that side."""
    if not whole(n) or n < 0.0 or x != x or x == -INF:
        return NAN
    order = int(n)
    if x == INF:
        return INF if order == 0 else 0.0 if order % 2 else -0.0
    if x == 0.0:
        return INF if order % 2 else -math.copysign(INF, x)
    if x < 0.0 and whole(x):
        return INF if order % 2 else NAN
    return polygamma(order, mp.mpf(x))


def log_gamma(x: Any) -> Any:
    """log(|gamma(x)|)."""
    with mp.extradps(40):
        return mp.re(mp.loggamma(x))


def zeros(function: Callable[[Any], Any], *guesses: float) -> tuple[float, ...]:
    """The floats nearest to zeros of a function."""
    return tuple(float(mp.findroot(function, guess)) for guess in guesses)


def off_poles(draw: Draw) -> Draw:
    """Away from negative whole numbers, where a function has no limit."""
    return lambda rng: next(x for x in iter(lambda: draw(rng), None) if x > 0.0 or not whole(x))


GAMMA_ZEROS = zeros(log_gamma, -2.457, -2.7476, -3.143, -3.955, -4.04, -9.7026725400018637)
PSI_ZEROS = zeros(digamma, 1.4616, -0.504, -1.573, -2.61, -10.7, -50.8)
PSI2_ZEROS = zeros(lambda x: polygamma(2, x), -0.5, -1.5, -2.5, -10.5)
POLES = tuple(map(float, range(-6, 1)))
GAMMA_EDGES = (-0.5, -1.5, 171.6, 170.6, -170.5, -178.5, -1e15 + 0.5, -1e9 + 0.3, 1e-301)
NO_LIMIT = tuple((-x, NAN, NAN) for x in (1.0, 2.0, 3.0, 171.0, 1e9, 2.0**60, MAX))
NO_SLOPE = tuple((x, INF, NAN) for x, _, _ in NO_LIMIT)

# The references

SQRT_PI = mp.sqrt(mp.pi)
SQRT_2PI = mp.sqrt(2 * mp.pi)
ODD_AT_ZERO: Conventions = ((0.0, 0.0, 1.0), (-0.0, -0.0, 1.0))  # sin, tanh, …
NO_WAVE: Conventions = ((INF, NAN, NAN), (-INF, NAN, NAN))
ANGLES = near(*(k * math.pi / 2 for k in range(-6, 7)), 710.0 * math.pi, 1e6 * math.pi)
WAVE = one_of(ANY, ANGLES, uniform(-100, 100))
HYPERBOLIC = one_of(ANY, uniform(-30, 30), signed(near(710.4758600739439)), signed(uniform(0, 720)))
UNIT = limited(one_of(ANY, signed(magnitudes(-60, 0)), near(-1.0, 1.0), uniform(-1, 1)), -1, 1)
POSITIVE = one_of(magnitudes(), near(1.0), uniform(0.1, 10))
BELL = one_of(ANY, uniform(-40, 40), uniform(-6, 6))
REMAINDERS = either(
    each(ANY, ANY),
    each(MODERATE, MODERATE),
    lambda rng: (
        (b := MODERATE(rng)) * float(rng.randint(-(10**6), 10**6)) * rng.choice((1.0, 0.5)),
        b,
    ),
)
CLOSE = either(  # two numbers that nearly cancel, or are equal
    lambda rng: ((x := ANY(rng)), near(x)(rng)),
    lambda rng: ((x := ANY(rng)), near(-x)(rng)),
    each(ANY, ANY),
    each(MODERATE, MODERATE),
)
ORDINARY = uniform(0.3, 2.7)
ORDINARY_2 = each(ORDINARY, ORDINARY)


def with_numbers(
    draw: Callable[[Random], tuple[float, ...]], numbers: Sequence[float], position: int
) -> Callable[[Random], tuple[float, ...]]:
    """Operands with a plain number put in at a position."""

    def inputs(rng: Random) -> tuple[float, ...]:
        operands = list(draw(rng))
        operands.insert(position, rng.choice(numbers))
        return tuple(operands)

    return inputs


def looked_up(draw: Draw) -> Callable[[Random], tuple[float, ...]]:
    """A whole number, and a table of one to four numbers that it is an index of."""

    def inputs(rng: Random) -> tuple[float, ...]:
        table = [draw(rng) for _ in range(rng.randint(1, 4))]
        return float(rng.randrange(len(table))), *table

    return inputs


def several(counts: Sequence[int], draw: Draw) -> Callable[[Random], tuple[float, ...]]:
    """A varying number of operands."""
    return lambda rng: tuple(draw(rng) for _ in range(rng.choice(counts)))


def cancelling(rng: Random) -> tuple[float, ...]:
    """Numbers whose sum is far smaller than they are, in random order."""
    xs = [ANY(rng) for _ in range(rng.randint(1, 5))]
    xs += [-near(x)(rng) for x in xs] + [ANY(rng)]
    rng.shuffle(xs)
    return tuple(xs)


def fused_cancelling(rng: Random) -> tuple[float, ...]:
    """A product and a sum that is nearly its negative."""
    a, b = MODERATE(rng), MODERATE(rng)
    return a, b, near(-(a * b))(rng)


def same_size(rng: Random) -> tuple[float, ...]:
    """Two to four numbers of nearly the same, possibly extreme, size."""
    size = rng.uniform(-1073, 1023)
    return tuple(signed(magnitudes(size - 2, size))(rng) for _ in range(rng.randint(2, 4)))


def powers_near_one(rng: Random) -> tuple[float, ...]:
    """Bases near 1 with exponents so large that the power fills the range of floats."""
    x = abs(near(1.0)(rng))
    return x, rng.uniform(-740, 740) / (math.log(x) or 1.0)


def powers_in_range(rng: Random) -> tuple[float, ...]:
    """Any base, and an exponent for which the power is about as large as a float can be."""
    x = magnitudes()(rng)
    return x, rng.uniform(-1.05, 1.05) * 709.0 / (math.log(x) or 1.0)


def whole_powers(rng: Random) -> tuple[float, ...]:
    """Whole exponents, small or so large that n - 1 is rounded, of bases of either sign."""
    if rng.random() < 0.2:
        n = float(2**53 + rng.randint(-5, 5))
        return rng.choice((-1.0, 1.0)) * (1.0 + rng.uniform(-600, 600) / n), n
    return MODERATE(rng), float(rng.randint(-12, 12))


POWERS = either(
    each(magnitudes(), uniform(-3, 3)),
    each(magnitudes(-20, 20), signed(magnitudes(-60, 6))),
    powers_near_one,
    powers_in_range,
    whole_powers,
)
REMAINDER_EDGES = [*tuples(PAIR_EDGES, 2), (1.7e308, 1.1e308), (-1.7e308, 1e308), (1e308, 1e-15)]
FMOD, FMOD_GRAD = remaindered(math.trunc)
REMAINDER, REMAINDER_GRAD = remaindered(round)

REFERENCES: dict[str, Reference] = {
    # Arithmetic
    "add": Reference(
        lambda a, b: total(a, b) if a + b else a + b,
        (constant(1.0), constant(1.0)),
        CLOSE,
        tuples(PAIR_EDGES, 2),
        ordinary=ORDINARY_2,
    ),
    "subtract": Reference(
        lambda a, b: total(a, -b) if a - b else a - b,
        (constant(1.0), constant(-1.0)),
        CLOSE,
        tuples(PAIR_EDGES, 2),
        ordinary=ORDINARY_2,
    ),
    "multiply": Reference(
        product,
        (lambda a, b: b, lambda a, b: a),
        each(ANY, ANY),
        tuples(PAIR_EDGES, 2),
        ordinary=ORDINARY_2,
    ),
    "divide": Reference(
        numpy_at_edges(np.divide, lambda a, b: a / b),
        (divide_grad_a, divide_grad_b),
        either(each(ANY, ANY), CLOSE),
        tuples(PAIR_EDGES, 2),
        through_value=(1,),
        ordinary=ORDINARY_2,
    ),
    "azmul": Reference(
        azmul,
        (lambda a, b: b, lambda a, b: a),
        each(ANY, ANY),
        tuples(PAIR_EDGES, 2),
        ordinary=ORDINARY_2,
    ),
    "negative": Reference(
        lambda x: -x,
        (constant(-1.0),),
        each(ANY),
        tuples(EDGES, 1),
        ordinary=each(ORDINARY),
    ),
    "power": Reference(
        power,
        (power_grad_x, power_grad_n),
        POWERS,
        tuples((*PAIR_EDGES, 1 / 3, 1e-300, -1e-300, 2.0**53, 1e15 + 1.0), 2),
        ordinary=ORDINARY_2,
    ),
    "power_term": Reference(
        power_term,
        (
            lambda c, x, n, k: power_term(1.0, x, n, k),
            lambda c, x, n, k: scaled_term(c, mp.mpf(n) - k, x, n, k + 1.0),
            lambda c, x, n, k: scaled_term(
                c, mp.log(x) if 0.0 < x < INF else INF if x == INF else NAN, x, n, k
            ),
            None,
        ),
        with_numbers(
            either(
                each(MODERATE, magnitudes(-20, 20), signed(magnitudes(-20, 6))),
                lambda rng: (MODERATE(rng), *whole_powers(rng)),
                lambda rng: (MODERATE(rng), *powers_in_range(rng)),
            ),
            (0.0, 1.0, 2.0),
            3,
        ),
        [
            (c, x, n, k)
            for c in (0.0, -3.0, 2.0)
            for x, n in tuples((TINY, 0.5, 1.0, 3.0, MAX, -2.0, -0.5), 2)
            for k in (0.0, 1.0, 2.0)
        ],
        ordinary=with_numbers(each(ORDINARY, ORDINARY, ORDINARY), (0.0, 1.0), 3),
    ),
    "mod": Reference(
        modulo,
        (constant(1.0), modulo_grad_b),
        REMAINDERS,
        REMAINDER_EDGES,
        ordinary=each(uniform(1.1, 1.4), uniform(0.45, 0.5)),
    ),
    "fmod": Reference(
        FMOD,
        (constant(1.0), FMOD_GRAD),
        REMAINDERS,
        REMAINDER_EDGES,
        ordinary=each(uniform(1.1, 1.4), uniform(0.45, 0.5)),
    ),
    "remainder": Reference(
        REMAINDER,
        (constant(1.0), REMAINDER_GRAD),
        REMAINDERS,
        REMAINDER_EDGES,
        ordinary=each(uniform(1.1, 1.2), uniform(0.49, 0.5)),
    ),
    "floor_divide": Reference(
        floored,
        (constant(0.0), constant(0.0)),
        REMAINDERS,
        tuples(PAIR_EDGES, 2),
        ordinary=each(uniform(1.1, 1.4), uniform(0.45, 0.5)),
    ),
    "fma": Reference(
        fused,
        (lambda a, b, c: b, lambda a, b, c: a, constant(1.0)),
        either(each(ANY, ANY, ANY), fused_cancelling),
        tuples(TRIPLE_EDGES, 3),
        ordinary=each(ORDINARY, ORDINARY, ORDINARY),
    ),
    "fsum": Reference(
        total,
        lambda i, *xs: 1.0,
        either(several((1, 2, 3, 8), ANY), cancelling),
        [(), *tuples(EDGES, 1), *tuples(PAIR_EDGES, 2), *tuples((MAX, -MAX, 1.0, INF, -INF), 4)],
        ordinary=several((1, 2, 3), ORDINARY),
    ),
    "ldexp": Reference(
        ldexp,
        (lambda x, n: ldexp(1.0, n), None),
        with_numbers(each(ANY), tuple(map(float, range(-2100, 2100, 13))), 1),
        [
            (x, n)
            for x in EDGES
            for n in (0.0, 1.0, -1.0, 1023.0, 1024.0, -1074.0, 9e15, -9e15, 2.5, NAN)
        ],
        ordinary=with_numbers(each(ORDINARY), (-3.0, 5.0), 1),
    ),
    # Exponentials and logarithms
    "exp": unary(
        mp.exp,
        mp.exp,
        one_of(ANY, uniform(-745, 710), near(709.782712893384, -708.3964185322641)),
        at=((INF, INF, INF), (-INF, 0.0, 0.0)),
        edges=(709.782712893384, -708.3964185322641, -745.1332191019411),
        ordinary=ORDINARY,
    ),
    "exp2": unary(
        lambda x: mp.mpf(2) ** x,
        lambda x: mp.mpf(2) ** x * mp.ln2,
        one_of(ANY, uniform(-1075, 1025), near(1024.0, -1022.0)),
        at=((INF, INF, INF), (-INF, 0.0, 0.0)),
        edges=(1024.0, 1024.3, -1022.0, -1074.0, -1075.0),
        through_value=True,
        ordinary=ORDINARY,
    ),
    "expm1": unary(
        mp.expm1,
        mp.exp,
        one_of(ANY, uniform(-40, 1), uniform(-745, 710)),
        at=((INF, INF, INF), (-INF, -1.0, 0.0), *ODD_AT_ZERO),
        edges=(709.782712893384,),
        ordinary=ORDINARY,
    ),
    "log": unary(
        mp.log,
        lambda x: 1 / x,
        POSITIVE,
        at=((0.0, -INF, INF), (-0.0, -INF, INF), (INF, INF, 0.0)),
        domain=(0.0, INF),
        ordinary=ORDINARY,
    ),
    "log2": unary(
        lambda x: mp.log(x) / mp.ln2,
        lambda x: 1 / (x * mp.ln2),
        POSITIVE,
        at=((0.0, -INF, INF), (-0.0, -INF, INF), (INF, INF, 0.0)),
        domain=(0.0, INF),
        ordinary=ORDINARY,
    ),
    "log10": unary(
        mp.log10,
        lambda x: 1 / (x * mp.ln10),
        POSITIVE,
        at=((0.0, -INF, INF), (-0.0, -INF, INF), (INF, INF, 0.0)),
        domain=(0.0, INF),
        ordinary=ORDINARY,
    ),
    "log1p": unary(
        mp.log1p,
        lambda x: 1 / (1 + x),
        limited(one_of(ANY, near(-1.0), uniform(-1, 1)), -1.0, INF),
        at=((-1.0, -INF, INF), (INF, INF, 0.0), *ODD_AT_ZERO),
        domain=(-1.0, INF),
        ordinary=ORDINARY,
    ),
    "sqrt": unary(
        mp.sqrt,
        lambda x: 1 / (2 * mp.sqrt(x)),
        POSITIVE,
        at=((0.0, 0.0, INF), (-0.0, -0.0, INF), (INF, INF, 0.0)),
        domain=(0.0, INF),
        ordinary=ORDINARY,
    ),
    "cbrt": unary(
        lambda x: mp.sign(x) * mp.cbrt(abs(x)),
        lambda x: 1 / (3 * mp.cbrt(abs(x)) ** 2),
        one_of(ANY, uniform(-1, 1)),
        at=((0.0, 0.0, INF), (-0.0, -0.0, INF), (INF, INF, 0.0), (-INF, -INF, 0.0)),
        edges=(8.0, 27.0),
        ordinary=ORDINARY,
    ),
    # Trigonometry
    "sin": unary(mp.sin, mp.cos, WAVE, at=(*NO_WAVE, *ODD_AT_ZERO), ordinary=ORDINARY),
    "cos": unary(mp.cos, lambda x: -mp.sin(x), WAVE, at=NO_WAVE, ordinary=ORDINARY),
    "tan": unary(
        mp.tan,
        lambda x: mp.sec(x) ** 2,
        WAVE,
        at=(*NO_WAVE, *ODD_AT_ZERO),
        ordinary=uniform(0.2, 1.3),
    ),
    "sinc": unary(
        mp.sincpi,
        sinc_grad,
        one_of(signed(magnitudes(-1074, 0)), near(*range(-9, 10)), signed(magnitudes(53, 1024))),
        at=((0.0, 1.0, 0.0), (-0.0, 1.0, 0.0), *NO_WAVE),
        edges=(0.25, 0.5, 0.75, 4.0, 1e15),
        ordinary=uniform(0.3, 1.2),
    ),
    "asin": unary(
        mp.asin,
        lambda x: 1 / mp.sqrt(1 - x**2),
        UNIT,
        at=((1.0, math.pi / 2, INF), (-1.0, -math.pi / 2, INF), *ODD_AT_ZERO),
        domain=(-1.0, 1.0),
        ordinary=uniform(-0.8, 0.8),
    ),
    "acos": unary(
        mp.acos,
        lambda x: -1 / mp.sqrt(1 - x**2),
        UNIT,
        at=((1.0, 0.0, -INF), (-1.0, math.pi, -INF)),
        domain=(-1.0, 1.0),
        ordinary=uniform(-0.8, 0.8),
    ),
    "atan": unary(
        mp.atan,
        lambda x: 1 / (1 + x**2),
        ANY,
        at=((INF, math.pi / 2, 0.0), (-INF, -math.pi / 2, 0.0), *ODD_AT_ZERO),
        edges=(1e154, 1.5e154),
        ordinary=ORDINARY,
    ),
    "atan2": Reference(
        numpy_at_edges(np.arctan2, mp.atan2),
        (atan2_grad_y, atan2_grad_x),
        either(each(ANY, ANY), CLOSE, lambda rng: same_size(rng)[:2]),
        tuples(PAIR_EDGES, 2),
        ordinary=ORDINARY_2,
    ),
    "hypot": Reference(
        hypot,
        hypot_grad,
        either(several((1, 2, 3, 5), ANY), several((2, 3), MODERATE), same_size),
        [*tuples(EDGES, 1), *tuples(PAIR_EDGES, 2), *tuples(TRIPLE_EDGES, 3)],
        ordinary=several((2, 3), ORDINARY),
    ),
    "over_norm": Reference(
        over_norm,
        over_norm_grad,
        either(several((2, 3, 4), MODERATE), lambda rng: (MODERATE(rng), *same_size(rng))),
        [*tuples((0.0, TINY, -1.0, MAX), 2), *tuples((TINY, -1.0, 0.5, MAX), 3)],
        through_value=(1, 2, 3, 4),
        ordinary=several((3,), ORDINARY),
    ),
    "over_squares": Reference(
        over_squares,
        over_squares_grad,
        either(several((2, 3, 4), MODERATE), lambda rng: (MODERATE(rng), *same_size(rng))),
        [*tuples((TINY, -1.0, MAX), 2), *tuples((TINY, -1.0, 0.5, MAX), 3)],
        through_value=(1, 2, 3, 4),
        ordinary=several((3,), ORDINARY),
    ),
    # Hyperbolic functions
    "sinh": unary(
        mp.sinh,
        mp.cosh,
        HYPERBOLIC,
        at=((INF, INF, INF), (-INF, -INF, INF), *ODD_AT_ZERO),
        edges=(710.4758600739439, -710.4758600739439),
        ordinary=ORDINARY,
    ),
    "cosh": unary(
        mp.cosh,
        mp.sinh,
        HYPERBOLIC,
        at=((INF, INF, INF), (-INF, INF, -INF)),
        edges=(710.4758600739439, -710.4758600739439),
        ordinary=ORDINARY,
    ),
    "tanh": unary(
        mp.tanh,
        lambda x: mp.sech(x) ** 2,
        HYPERBOLIC,
        at=((INF, 1.0, 0.0), (-INF, -1.0, 0.0), *ODD_AT_ZERO),
        ordinary=ORDINARY,
    ),
    "sech2": unary(
        lambda x: mp.sech(x) ** 2,
        lambda x: -2 * mp.tanh(x) * mp.sech(x) ** 2,
        HYPERBOLIC,
        at=((INF, 0.0, 0.0), (-INF, 0.0, 0.0)),
        through_value=True,
        ordinary=ORDINARY,
    ),
    "asinh": unary(
        mp.asinh,
        lambda x: 1 / mp.sqrt(1 + x**2),
        one_of(ANY, uniform(-3, 3)),
        at=((INF, INF, 0.0), (-INF, -INF, 0.0), *ODD_AT_ZERO),
        ordinary=ORDINARY,
    ),
    "acosh": unary(
        mp.acosh,
        lambda x: 1 / mp.sqrt(x**2 - 1),
        limited(one_of(magnitudes(0, 1024), near(1.0), uniform(1, 10)), 1.0, MAX),
        at=((1.0, 0.0, INF), (INF, INF, 0.0)),
        domain=(1.0, INF),
        ordinary=uniform(1.3, 4.0),
    ),
    "atanh": unary(
        mp.atanh,
        lambda x: 1 / (1 - x**2),
        UNIT,
        at=((1.0, INF, INF), (-1.0, -INF, INF), *ODD_AT_ZERO),
        domain=(-1.0, 1.0),
        ordinary=uniform(-0.8, 0.8),
    ),
    # Kinks and steps
    "relu": Reference(
        lambda x: x if x > 0.0 or x != x else 0.0,
        (lambda x: x if x != x else float(x > 0.0),),
        each(ANY),
        tuples(EDGES, 1),
        ordinary=each(one_of(ORDINARY, uniform(-2, -1))),
    ),
    "absolute": Reference(
        abs,
        (signum,),
        each(ANY),
        tuples(EDGES, 1),
        ordinary=each(one_of(ORDINARY, uniform(-2, -1))),
    ),
    "maximum": Reference(
        maximum,
        (greater, lambda a, b: greater(b, a)),
        CLOSE,
        tuples(PAIR_EDGES, 2),
        ordinary=ORDINARY_2,
    ),
    "minimum": Reference(
        lambda a, b: -maximum(-a, -b),
        (lambda a, b: greater(b, a), greater),
        CLOSE,
        tuples(PAIR_EDGES, 2),
        ordinary=ORDINARY_2,
    ),
    "copysign": Reference(
        lambda x, s: abs(x) * float(np.copysign(1.0, float(s))),
        (lambda x, s: signum(x) * float(np.copysign(1.0, float(s))), constant(0.0)),
        each(ANY, ANY),
        tuples(PAIR_EDGES, 2),
        ordinary=each(ORDINARY, signed(ORDINARY)),
    ),
    "where": Reference(
        lambda condition, a, b: a if condition else b,
        (None, lambda condition, a, b: condition, lambda condition, a, b: 1.0 - condition),
        with_numbers(each(ANY, ANY), (0.0, 1.0), 0),
        [(condition, *pair) for condition in (0.0, 1.0) for pair in tuples(PAIR_EDGES, 2)],
        ordinary=with_numbers(ORDINARY_2, (0.0, 1.0), 0),
    ),
    "message": Reference(  # what is not reached has a global gradient of 0
        lambda reached, g, d: product(g, d) if reached else 0.0,
        (
            None,
            lambda reached, g, d: d if reached else 0.0,
            lambda reached, g, d: g if reached else 0.0,
        ),
        with_numbers(each(ANY, ANY), (1.0,), 0),
        [
            *[(1.0, *pair) for pair in tuples(PAIR_EDGES, 2)],
            *[(0.0, 0.0, d) for (d,) in tuples(EDGES, 1)],
        ],
        ordinary=with_numbers(ORDINARY_2, (1.0,), 0),
    ),
    "less": compares(lambda a, b: a < b),
    "less_equal": compares(lambda a, b: a <= b),
    "equal": compares(lambda a, b: a == b),
    "not_equal": compares(lambda a, b: a != b),
    "gather": Reference(
        lambda index, *table: table[int(index + 0.5)],
        lambda position, index, *table: 1.0 if position == int(index + 0.5) + 1 else 0.0,
        looked_up(ANY),
        [(float(i), *table) for table in tuples(TRIPLE_EDGES, 2) for i in range(2)],
        ordinary=looked_up(ORDINARY),
    ),
    "identity": Reference(
        lambda x: x,
        (constant(1.0),),
        each(ANY),
        tuples(EDGES, 1),
        ordinary=each(ORDINARY),
    ),
    "nonnegative": Reference(
        lambda x: x if x > 0.0 else 0.0 if x == 0.0 else NAN,
        (constant(1.0),),
        each(ANY),
        tuples(EDGES, 1),
        ordinary=each(ORDINARY),
    ),
    "sign": jumps(lambda x: signum(x) + 0.0),
    "step": jumps(lambda x: x if x != x else float(x > 0.0)),
    "greater": Reference(
        greater,
        (constant(0.0), constant(0.0)),
        CLOSE,
        tuples(PAIR_EDGES, 2),
        ordinary=ORDINARY_2,
    ),
    "floor": jumps(lambda x: float(np.floor(x))),
    "ceil": jumps(lambda x: float(np.ceil(x))),
    "trunc": jumps(lambda x: float(np.trunc(float(x)))),
    "round": Reference(
        round_to,
        (constant(0.0), None),
        with_numbers(
            either(each(ANY), each(MODERATE)), (0.0, 1.0, 2.0, 5.0, 17.0, -2.0, -300.0), 1
        ),
        [
            (x, n)
            for x in (*EDGES, 0.5, 1.5, 2.5, 2.675)
            for n in (0.0, 2.0, -2.0, 400.0, -308.0, 0.5, NAN)
        ],
        ordinary=with_numbers(each(uniform(1.12, 1.14)), (0.0, 1.0), 1),
    ),
    "stop_gradient": jumps(lambda x: x),
    # Activations and special functions
    "sigmoid": unary(
        lambda x: 1 / (1 + mp.exp(-x)),
        lambda x: mp.sech(x / 2) ** 2 / 4,
        HYPERBOLIC,
        at=((INF, 1.0, 0.0), (-INF, 0.0, 0.0)),
        ordinary=ORDINARY,
    ),
    "softplus": unary(
        lambda x: mp.log1p(mp.exp(x)) if x < 1000 else x,
        lambda x: 1 / (1 + mp.exp(-x)),
        HYPERBOLIC,
        at=((INF, INF, 1.0), (-INF, 0.0, 0.0)),
        ordinary=ORDINARY,
    ),
    "erf": unary(
        mp.erf,
        lambda x: 2 / SQRT_PI * mp.exp(-(x**2)),
        BELL,
        at=((INF, 1.0, 0.0), (-INF, -1.0, 0.0), (0.0, 0.0, 2 / SQRT_PI), (-0.0, -0.0, 2 / SQRT_PI)),
        ordinary=ORDINARY,
    ),
    "erfc": unary(
        erfc,
        lambda x: -2 / SQRT_PI * mp.exp(-(x**2)),
        BELL,
        at=((INF, 0.0, 0.0), (-INF, 2.0, 0.0)),
        ordinary=ORDINARY,
    ),
    "gaussian": unary(
        lambda x: mp.exp(-(x**2)),
        lambda x: -2 * x * mp.exp(-(x**2)),
        BELL,
        at=((INF, 0.0, 0.0), (-INF, 0.0, 0.0)),
        edges=(1.2345678901234567e19, -1e99, 26.7, 27.3),
        through_value=True,
        ordinary=ORDINARY,
    ),
    "norm_cdf": unary(
        lambda x: erfc(-x / mp.sqrt(2)) / 2,
        lambda x: mp.exp(-(x**2) / 2) / SQRT_2PI,
        BELL,
        at=((INF, 1.0, 0.0), (-INF, 0.0, 0.0)),
        edges=(1.2345678901234567e19, -1.2345678901234567e19, -1e99, -37.5, -38.5),
        ordinary=ORDINARY,
    ),
    "norm_pdf": unary(
        lambda x: mp.exp(-(x**2) / 2) / SQRT_2PI,
        lambda x: -x * mp.exp(-(x**2) / 2) / SQRT_2PI,
        BELL,
        at=((INF, 0.0, 0.0), (-INF, 0.0, 0.0)),
        edges=(1.2345678901234567e19, -1e99, 37.5, 38.5),
        through_value=True,
        ordinary=ORDINARY,
    ),
    "gamma": unary(
        gamma,
        lambda x: gamma(x) * digamma(x) if x > -190 else mp.mpf(0),
        off_poles(one_of(ANY, uniform(-185, 172), uniform(-5, 5), near(*POLES, *PSI_ZEROS))),
        at=((0.0, INF, -INF), (-0.0, -INF, -INF), (INF, INF, INF), (-INF, NAN, NAN), *NO_LIMIT),
        edges=(*GAMMA_EDGES, *PSI_ZEROS),
        through_value=True,
        ordinary=ORDINARY,
    ),
    "lgamma": unary(
        log_gamma,
        digamma,
        off_poles(
            one_of(ANY, uniform(-185, 172), uniform(-5, 5), near(1.0, 2.0, *GAMMA_ZEROS, *POLES))
        ),
        at=((0.0, INF, -INF), (-0.0, INF, INF), (INF, INF, INF), (-INF, INF, NAN), *NO_SLOPE),
        edges=(*GAMMA_EDGES, *GAMMA_ZEROS, *PSI_ZEROS),
        ordinary=ORDINARY,
    ),
    "polygamma": Reference(
        polygamma_at,
        (None, lambda n, x: polygamma_at(n + 1.0, x)),
        with_numbers(
            each(
                off_poles(
                    one_of(
                        *(ANY, uniform(-30, 30), uniform(-5, 5)),
                        near(*POLES, *PSI_ZEROS, *PSI2_ZEROS),
                    )
                )
            ),
            (0.0, 1.0, 2.0, 3.0),
            0,
        ),
        [
            (n, x)
            for n in (0.0, 1.0, 2.0, 4.0, 0.5, -2.0, NAN, INF)
            for x in (*EDGES, *GAMMA_EDGES, *PSI_ZEROS, *PSI2_ZEROS, -171.0, -1e9, -1e8 + 0.5)
        ],
        ordinary=with_numbers(each(ORDINARY), (0.0, 1.0, 2.0), 0),
    ),
}


def exact(name: str, *operands: Any) -> tuple[Any, list[Any]]:
    """The value of an operation and its local gradients, None for plain numbers.

    Operands are floats, or mpmath's numbers where all digits are to count.
    """
    reference = REFERENCES[name]
    grads = [reference.grad(i) for i in range(len(operands))]
    return reference.value(*operands), [None if grad is None else grad(*operands) for grad in grads]
