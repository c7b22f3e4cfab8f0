"""Truncated power series in several variables, at 40 digits: derivatives to any order at once.

Nothing here knows the rules of the package. A function is known by its own series at a point, from
textbook recurrences, and compositions, products and quotients are those of polynomials. Beside each
coefficient stands what it would come to if no term cancelled another; rounding errors of floats
grow with that.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from mpmath import mp

ORDER = 5
LARGEST = 1e6
"""A coefficient or a size beyond it makes a point ill-conditioned."""
MARGIN = 1e-2
"""How far from a kink, or the place where a comparison changes, a point has to be."""

mp.dps = 40


class SingularError(ArithmeticError):
    """There is no power series at this point, or floats could not follow it."""


Exponents = tuple[int, ...]


@cache
def exponents(variables: int) -> tuple[Exponents, ...]:
    """All exponents of total degree up to the order, by degree."""
    every = itertools.product(range(ORDER + 1), repeat=variables)
    return tuple(sorted((e for e in every if sum(e) <= ORDER), key=lambda e: (sum(e), e)))


@cache
def products(variables: int) -> tuple[tuple[int, int, int], ...]:
    """Places (i, j, k) with term i times term j a part of term k."""
    place = {e: i for i, e in enumerate(exponents(variables))}
    found = []
    for a, i in place.items():
        for b, j in place.items():
            k = place.get(tuple(x + y for x, y in zip(a, b, strict=True)))
            if k is not None:
                found.append((i, j, k))
    return tuple(found)


class Series:
    """A polynomial in the distances from a point.

    Attributes:
        terms: the coefficients, in the order of :func:`exponents`.
        sizes: the coefficients without cancellation.
        constant: whether nothing depends on a variable, by structure: what a relu that is off
            gives, and all that is computed from such values alone.
    """

    def __init__(
        self, variables: int, terms: list[Any], sizes: list[float], constant: bool = False
    ) -> None:
        self.variables = variables
        self.terms = terms
        self.sizes = sizes
        self.constant = constant

    @property
    def value(self) -> Any:
        """The function's value at the point."""
        return self.terms[0]

    def derivative(self, directions: Sequence[Sequence[float]]) -> tuple[Any, float]:
        """The derivative along some directions, one after another, and its size."""
        place = {e: i for i, e in enumerate(exponents(self.variables))}
        total, size = mp.mpf(0), 0.0
        for path in itertools.product(range(self.variables), repeat=len(directions)):
            weight = mp.mpf(1)
            for axis, direction in zip(path, directions, strict=True):
                weight *= mp.mpf(direction[axis])
            if weight:
                exponent = tuple(path.count(axis) for axis in range(self.variables))
                k = place[exponent]
                factor = weight * math.prod(map(math.factorial, exponent))
                total += factor * self.terms[k]
                size += abs(float(factor)) * self.sizes[k]
        return total, size

    def __add__(self, other: Any) -> Any:
        other = self.like(other)
        if not isinstance(other, Series):
            return other
        return self.made(
            [x + y for x, y in zip(self.terms, other.terms, strict=True)],
            [x + y for x, y in zip(self.sizes, other.sizes, strict=True)],
            self.constant and other.constant,
        )

    def __mul__(self, other: Any) -> Any:
        other = self.like(other)
        if not isinstance(other, Series):
            return other
        terms, sizes = [mp.mpf(0)] * len(self.terms), [0.0] * len(self.terms)
        for i, j, k in products(self.variables):
            if self.terms[i] and other.terms[j]:
                terms[k] += self.terms[i] * other.terms[j]
            sizes[k] += self.sizes[i] * other.sizes[j]
        return self.made(terms, sizes, self.constant and other.constant)

    def __neg__(self) -> Series:
        return self.made([-x for x in self.terms], self.sizes, self.constant)

    def __sub__(self, other: Any) -> Any:
        return self + -self.like(other)

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return self * reciprocal(self.like(other))

    def __rtruediv__(self, other: Any) -> Any:
        return reciprocal(self) * other

    def __pow__(self, n: Any) -> Any:
        if isinstance(n, (Series, Undefined)):
            return power(self, n)
        if n == 0:
            return self * 0.0 + 1.0
        if n == int(n) and n > 0:
            result: Any = self
            for _ in range(int(n) - 1):
                result = result * self
            return result
        if n == int(n):
            return reciprocal(self**-n)
        return real_power(self, n)

    def __rpow__(self, base: float) -> Any:
        return power(self.like(base), self)

    def __abs__(self) -> Series:
        return self if self > 0.0 else -self

    def __gt__(self, other: Any) -> bool:
        difference = self.value - (other.value if isinstance(other, Series) else other)
        if abs(difference) < MARGIN:
            raise SingularError("too near to a comparison's edge")
        return bool(difference > 0)

    def __lt__(self, other: Any) -> bool:
        return not self > other

    __ge__ = __gt__
    __le__ = __lt__

    def like(self, other: Any) -> Any:
        """A number as a series; a series, or what is undefined, as it is."""
        if isinstance(other, (Series, Undefined)):
            return other
        rest = len(self.terms) - 1
        number = mp.mpf(other)
        return self.made([number] + [mp.mpf(0)] * rest, [abs(float(other))] + [0.0] * rest, True)

    def made(self, terms: list[Any], sizes: list[float], constant: bool) -> Series:
        """Another series of the same variables."""
        return Series(self.variables, terms, sizes, constant)

    def good(self) -> bool:
        """Whether floats can follow it."""
        return max(self.sizes) < LARGEST


class Undefined:
    """What a function gives where it has no series; a picking operation may leave it aside."""

    def _same(self, *_: object) -> Undefined:
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __neg__ = _same
    __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __abs__ = _same

    def __gt__(self, other: object) -> bool:
        raise SingularError("a comparison of what is undefined")

    __lt__ = __ge__ = __le__ = __gt__


UNDEFINED = Undefined()


def variables_at(point: Sequence[float]) -> list[Series]:
    """The variables themselves, at a point."""
    n = len(point)
    found = []
    for axis, x in enumerate(point):
        unit = tuple(int(i == axis) for i in range(n))
        terms = [mp.mpf(int(e == unit)) for e in exponents(n)]
        terms[0] = mp.mpf(x)
        found.append(Series(n, terms, [abs(float(c)) for c in terms]))
    return found


# Series of one variable, as lists: coefficients of (x - a)**k


def integral(first: Any, slope: Sequence[Any]) -> list[Any]:
    """The series with this derivative."""
    return [first, *[c / (k + 1) for k, c in enumerate(slope[:ORDER])]]


def product(u: Sequence[Any], v: Sequence[Any]) -> list[Any]:
    """The product of two series."""
    return [sum((u[i] * v[k - i] for i in range(k + 1)), mp.mpf(0)) for k in range(ORDER + 1)]


def to_power(u: Sequence[Any], p: Any) -> list[Any]:
    """A series to a real power (Miller's recurrence)."""
    result = [mp.power(u[0], p)]
    for k in range(1, ORDER + 1):
        terms = [(p * i - (k - i)) * u[i] * result[k - i] for i in range(1, k + 1)]
        result.append(sum(terms, mp.mpf(0)) / (k * u[0]))
    return result


def polynomial(*terms: Any) -> list[Any]:
    """A polynomial's coefficients, filled up."""
    return [mp.mpf(c) for c in terms] + [mp.mpf(0)] * (ORDER + 1 - len(terms))


def power_terms(a: Any, p: Any) -> list[Any]:
    """Of x**p."""
    return to_power(polynomial(a, 1), p)


def exp_terms(a: Any) -> list[Any]:
    """Of exp."""
    return [mp.exp(a) / mp.factorial(k) for k in range(ORDER + 1)]


def log_terms(a: Any) -> list[Any]:
    """Of log."""
    return integral(mp.log(a), power_terms(a, mp.mpf(-1)))


def sin_terms(a: Any) -> list[Any]:
    """Of sin: each derivative is the function a quarter turn on."""
    return [mp.sin(a + k * mp.pi / 2) / mp.factorial(k) for k in range(ORDER + 1)]


def cos_terms(a: Any) -> list[Any]:
    """Of cos."""
    return sin_terms(a + mp.pi / 2)


def sinh_terms(a: Any) -> list[Any]:
    """Of sinh."""
    return [(mp.sinh, mp.cosh)[k % 2](a) / mp.factorial(k) for k in range(ORDER + 1)]


def cosh_terms(a: Any) -> list[Any]:
    """Of cosh."""
    return [(mp.cosh, mp.sinh)[k % 2](a) / mp.factorial(k) for k in range(ORDER + 1)]


def quotient(u: Sequence[Any], v: Sequence[Any]) -> list[Any]:
    """Of one series by another."""
    return product(u, to_power(v, mp.mpf(-1)))


def sigmoid_terms(a: Any) -> list[Any]:
    """Of 1 / (1 + exp(-x))."""
    below = [c * (-1) ** k for k, c in enumerate(exp_terms(-a))]
    below[0] += 1
    return to_power(below, mp.mpf(-1))


def gaussian_terms(a: Any, sharpness: Any) -> list[Any]:
    """Of exp(-s x**2): y' = -2 s x y."""
    y = [mp.exp(-sharpness * a * a)]
    for k in range(ORDER):
        before = y[k - 1] if k else mp.mpf(0)
        y.append(-2 * sharpness * (a * y[k] + before) / (k + 1))
    return y


def angle_slope(a: Any) -> list[Any]:
    """Of 1 / (1 + x**2)."""
    return to_power(polynomial(1 + a * a, 2 * a, 1), mp.mpf(-1))


def lgamma_terms(a: Any) -> list[Any]:
    """Of the logarithm of gamma: polygamma functions."""
    return [mp.loggamma(a)] + [mp.psi(k - 1, a) / mp.factorial(k) for k in range(1, ORDER + 1)]


def scaled(terms: Sequence[Any], factor: Any) -> list[Any]:
    """All coefficients times a number."""
    return [factor * c for c in terms]


def root_of(a: Any, *terms: Any) -> list[Any]:
    """Of 1 / sqrt of a polynomial given by its coefficients at a."""
    return to_power(polynomial(*terms), mp.mpf(-0.5))


# Functions of series

Terms = Callable[[Any], Sequence[Any]]
Domain = Callable[[Any], bool]


def compose(x: Any, terms_at: Terms, domain: Domain = mp.isfinite, closed: Any = None) -> Any:
    """A function of a series, by its coefficients at the value.

    Args:
        x: a series, or what is undefined.
        terms_at: gives the coefficients.
        domain: whether a value is well inside the function's domain.
        closed: the function itself, for values on the edge that depend on no variable.
    """
    if isinstance(x, Undefined):
        return x
    if x.constant and closed is not None and not domain(x.value):
        value = closed(x.value)
        return UNDEFINED if value is None else x.like(value)
    if not domain(x.value):
        return UNDEFINED
    c = terms_at(x.value)
    if x.constant:
        return x.like(c[0])
    inner = x.made([mp.mpf(0), *x.terms[1:]], [0.0, *x.sizes[1:]], False)
    # A coefficient that happens to vanish is a sum of terms that do not.
    majorants = list(itertools.accumulate((abs(float(term)) for term in c), max))
    result: Any = x.like(c[ORDER])
    result.sizes[0] = majorants[ORDER]
    for k in range(ORDER - 1, -1, -1):
        result = result * inner
        result.terms[0] += c[k]
        result.sizes[0] += majorants[k]
    result.constant = False
    return result if result.good() else UNDEFINED


def _root(a: Any) -> Any:
    return mp.sqrt(a) if a >= 0 else None


def _positive(a: Any) -> bool:
    return bool(a > 0.1)


def _nonzero(a: Any) -> bool:
    return bool(abs(a) > 0.2)


def _inside(a: Any) -> bool:
    return bool(abs(a) < 0.8)


def reciprocal(x: Any) -> Any:
    """1 / x."""
    return compose(x, lambda a: power_terms(a, mp.mpf(-1)), _nonzero)


def power(x: Any, y: Any) -> Any:
    """x ** y; a number as exponent, or both series."""
    if isinstance(x, Undefined) or isinstance(y, Undefined):
        return UNDEFINED
    if not isinstance(y, Series):
        return x**y
    if not isinstance(x, Series):
        x = y.like(x)
    return exp(y * log(x))


def real_power(x: Any, p: float) -> Any:
    """x ** p for a number that is not whole."""
    return compose(
        x,
        lambda a: power_terms(a, mp.mpf(p)),
        _positive,
        lambda a: mp.power(a, p) if a > 0 or (a == 0 and p > 0) else None,
    )


def atan2(y: Any, x: Any) -> Any:
    """The angle of (x, y): from whichever quotient is small."""
    if isinstance(x, Undefined) or isinstance(y, Undefined):
        return UNDEFINED
    x = x if isinstance(x, Series) else y.like(x)
    y = x.like(y)
    u, v = abs(x.value), abs(y.value)
    if max(u, v) < 0.2 or (y.value == 0 and x.value < 0):
        return UNDEFINED  # the angle's own sign there is that of a zero
    angle = atan(y / x) if u >= v else -atan(x / y)
    if isinstance(angle, Undefined):
        return angle
    result: Series = angle + (mp.atan2(y.value, x.value) - angle.value)
    return result


def hypot(*xs: Any) -> Any:
    """The root of the sum of squares."""
    return sqrt(sum((x * x for x in xs), 0.0))


def logsumexp(xs: Iterable[Any]) -> Any:
    """log of the sum of exp."""
    return log(sum((exp(x) for x in xs), 0.0))


def where(condition: bool, x: Any, y: Any) -> Any:
    """The one or the other."""
    return x if condition else y


def maximum(x: Any, y: Any) -> Any:
    """The larger one."""
    if isinstance(x, Undefined) or isinstance(y, Undefined):
        return UNDEFINED
    if not isinstance(x, Series):
        x = y.like(x)
    return x if x > y else x.like(y)


def minimum(x: Any, y: Any) -> Any:
    """The smaller one."""
    return -maximum(-x, -y)


def relu(x: Any) -> Any:
    """The positive part."""
    return maximum(x, 0.0)


def _is_tan(a: Any) -> bool:
    return bool(abs(mp.cos(a)) > 0.3)


def _function(
    terms_at: Terms, domain: Domain = mp.isfinite, closed: Any = None
) -> Callable[[Any], Any]:
    return lambda x: compose(x, terms_at, domain, closed)


exp = _function(exp_terms, lambda a: a < 6)
expm1 = _function(lambda a: [exp_terms(a)[0] - 1, *exp_terms(a)[1:]], lambda a: a < 6)
exp2 = _function(lambda a: product_scaled(exp_terms(a * mp.ln2), mp.ln2), lambda a: a < 6)
log = _function(log_terms, _positive)
log1p = _function(
    lambda a: integral(mp.log1p(a), power_terms(1 + a, mp.mpf(-1))), lambda a: a > -0.9
)
log2 = _function(lambda a: scaled(log_terms(a), 1 / mp.ln2), _positive)
log10 = _function(lambda a: scaled(log_terms(a), 1 / mp.ln10), _positive)
sqrt = _function(lambda a: power_terms(a, mp.mpf(0.5)), _positive, _root)
cbrt = _function(
    lambda a: scaled(
        [c * mp.sign(a) ** k for k, c in enumerate(power_terms(abs(a), mp.mpf(1) / 3))], mp.sign(a)
    ),
    _nonzero,
)
sin = _function(sin_terms)
cos = _function(cos_terms)
tan = _function(lambda a: quotient(sin_terms(a), cos_terms(a)), _is_tan)
sinh = _function(sinh_terms, lambda a: abs(a) < 6)
cosh = _function(cosh_terms, lambda a: abs(a) < 6)
tanh = _function(lambda a: quotient(sinh_terms(a), cosh_terms(a)), lambda a: abs(a) < 20)
asin = _function(lambda a: integral(mp.asin(a), root_of(a, 1 - a * a, -2 * a, -1)), _inside)
acos = _function(
    lambda a: integral(mp.acos(a), scaled(root_of(a, 1 - a * a, -2 * a, -1), -1)), _inside
)
atan = _function(lambda a: integral(mp.atan(a), angle_slope(a)))
asinh = _function(lambda a: integral(mp.asinh(a), root_of(a, 1 + a * a, 2 * a, 1)))
acosh = _function(
    lambda a: integral(mp.acosh(a), root_of(a, a * a - 1, 2 * a, 1)), lambda a: a > 1.2
)
atanh = _function(
    lambda a: integral(mp.atanh(a), to_power(polynomial(1 - a * a, -2 * a, -1), mp.mpf(-1))),
    _inside,
)
sigmoid = _function(sigmoid_terms)
softplus = _function(lambda a: integral(mp.log1p(mp.exp(a)), sigmoid_terms(a)))
erf = _function(
    lambda a: integral(mp.erf(a), scaled(gaussian_terms(a, mp.mpf(1)), 2 / mp.sqrt(mp.pi)))
)
erfc = _function(
    lambda a: integral(mp.erfc(a), scaled(gaussian_terms(a, mp.mpf(1)), -2 / mp.sqrt(mp.pi)))
)
norm_pdf = _function(
    lambda a: scaled(gaussian_terms(a, mp.mpf(0.5)), 1 / mp.sqrt(2 * mp.pi)),
)
norm_cdf = _function(
    lambda a: integral(mp.ncdf(a), scaled(gaussian_terms(a, mp.mpf(0.5)), 1 / mp.sqrt(2 * mp.pi)))
)
lgamma = _function(lgamma_terms, lambda a: a > 0.4)
gamma = _function(lambda a: exponential(lgamma_terms(a)), lambda a: 0.4 < a < 6)


def product_scaled(terms: Sequence[Any], factor: Any) -> list[Any]:
    """The coefficients of f(factor x), from those of f."""
    return [c * factor**k for k, c in enumerate(terms)]


def exponential(u: Sequence[Any]) -> list[Any]:
    """exp of a series: y' = u' y."""
    y = [mp.exp(u[0])]
    for k in range(1, ORDER + 1):
        y.append(sum((i * u[i] * y[k - i] for i in range(1, k + 1)), mp.mpf(0)) / k)
    return y


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": exp,
    "expm1": expm1,
    "exp2": exp2,
    "log": log,
    "log1p": log1p,
    "log2": log2,
    "log10": log10,
    "sqrt": sqrt,
    "cbrt": cbrt,
    "sin": sin,
    "cos": cos,
    "tan": tan,
    "sinh": sinh,
    "cosh": cosh,
    "tanh": tanh,
    "asin": asin,
    "acos": acos,
    "atan": atan,
    "asinh": asinh,
    "acosh": acosh,
    "atanh": atanh,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "erf": erf,
    "erfc": erfc,
    "norm_pdf": norm_pdf,
    "norm_cdf": norm_cdf,
    "lgamma": lgamma,
    "gamma": gamma,
    "atan2": atan2,
    "hypot": hypot,
    "logsumexp": logsumexp,
    "where": where,
    "maximum": maximum,
    "minimum": minimum,
    "relu": relu,
    "pow": power,
    "fma": lambda a, b, c: a * b + c,
    "fsum": lambda xs: sum(xs, 0.0),
    "prod": math.prod,
    "dot": lambda us, vs: sum((u * v for u, v in zip(us, vs, strict=True)), 0.0),
}
