"""chainrule.math: on numbers and nodes alike, right, and in agreement with Python's math."""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from references import (
    ANY,
    EDGES,
    INF,
    MODERATE,
    NAN,
    PAIR_EDGES,
    REFERENCES,
    mp,
    one_of,
    same,
    uniform,
)

from chainrule import Node
from chainrule import math as cm
from chainrule.rules import Operation

# Functions made of several operations, against mpmath


@dataclass(frozen=True)
class Composite:
    """A function of several numbers, how mpmath computes it, and random operands.

    ``scale``, a function of the operands, is the size that units in the last place are counted of,
    where the function subtracts what nearly cancels; otherwise the result is.
    """

    function: Callable[..., Any]
    exact: Callable[..., Any]
    inputs: Callable[[Random], Sequence[float]]
    scale: Callable[..., float] | None = None


def draws(count: int, low: float = -10.0, high: float = 10.0) -> Callable[[Random], list[float]]:
    """Uniform random numbers."""
    return lambda rng: [rng.uniform(low, high) for _ in range(count)]


def halves(xs: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """The first and second half."""
    return xs[: len(xs) // 2], xs[len(xs) // 2 :]


def exact_dot(*xs: Any) -> Any:
    """Sum of products."""
    return mp.fsum(x * y for x, y in zip(*halves(xs), strict=True))


def spread(rng: Random) -> list[float]:
    """A few numbers that exp makes overflow and underflow."""
    size = rng.choice((1.0, 30.0, 1000.0))
    return [rng.uniform(-size, size) for _ in range(rng.randint(1, 6))]


COMPOSITES = {
    "log": Composite(cm.log, lambda x, b: mp.log(x) / mp.log(b), draws(2, 0.05, 20.0)),
    "digamma": Composite(cm.digamma, lambda x: mp.psi(0, x), draws(1, 0.1, 30.0)),
    "degrees": Composite(cm.degrees, mp.degrees, draws(1)),
    "radians": Composite(cm.radians, mp.radians, draws(1)),
    "modf": Composite(
        lambda x: cm.modf(x)[0], lambda x: x - mp.sign(x) * mp.floor(abs(x)), draws(1)
    ),
    "fsum": Composite(lambda *xs: cm.fsum(xs), lambda *xs: mp.fsum(xs), draws(5)),
    "prod": Composite(lambda *xs: cm.prod(xs), lambda *xs: mp.fprod(xs), draws(4)),
    "dot": Composite(
        lambda *xs: cm.dot(*halves(xs)),
        exact_dot,
        draws(6),
        lambda *xs: sum(abs(x * y) for x, y in zip(*halves(xs), strict=True)),
    ),
    "dist": Composite(
        lambda *xs: cm.dist(*halves(xs)),
        lambda *xs: mp.sqrt(mp.fsum((x - y) ** 2 for x, y in zip(*halves(xs), strict=True))),
        draws(6),
    ),
    "logsumexp": Composite(
        lambda *xs: cm.logsumexp(xs),
        lambda *xs: mp.log(mp.fsum(map(mp.exp, xs))),
        spread,
        lambda *xs: max(1.0, *map(abs, xs)),
    ),
    "clip": Composite(
        lambda x: cm.clip(x, -5.0, 5.0), lambda x: min(max(x, mp.mpf(-5)), mp.mpf(5)), draws(1)
    ),
    "where": Composite(
        lambda x, y: cm.where(x > 0.0, x * y, y), lambda x, y: x * y if x > 0 else y, draws(2)
    ),
}


def close(result: float, expected: Any, ulps: float, size: float) -> bool:
    """Whether the error is at most some units in the last place of the size or the result."""
    allowed = ulps * math.ulp(max(abs(float(expected)), size, 2.0**-1022))
    return bool(abs(result - expected) <= allowed)


def points(name: str, count: int) -> list[list[float]]:
    """Random operands of a composite function, the same at every run."""
    rng = Random(zlib.crc32(name.encode()))
    return [list(COMPOSITES[name].inputs(rng)) for _ in range(count)]


@pytest.mark.parametrize("name", COMPOSITES)
def test_composite(name: str) -> None:
    """Values, gradients, and the same value to the bit on numbers."""
    composite = COMPOSITES[name]
    for operands in points(name, 200):
        nodes = [Node(x) for x in operands]
        node = composite.function(*nodes)
        number = composite.function(*operands)
        assert type(number) is float
        assert same(node.data, number), operands
        size = composite.scale(*operands) if composite.scale else 0.0
        exact = list(map(mp.mpf, operands))
        assert close(number, composite.exact(*exact), 4.0, size), operands
        node.backward()
        for i, x in enumerate(exact):
            before, after = exact[:i], exact[i + 1 :]
            slope = mp.diff(lambda t, b=before, a=after: composite.exact(*b, t, *a), x)
            steepest = 1.0 if name == "logsumexp" else 0.0
            assert close(nodes[i].grad, slope, 8.0, steepest), (operands, i, float(slope))


@pytest.mark.parametrize("name", COMPOSITES)
def test_composite_some_nodes(name: str) -> None:
    """With a number in place of some nodes, the same value."""
    composite = COMPOSITES[name]
    for operands in points(name, 20):
        for i in range(len(operands)):
            mixed = [Node(x) if i == j else x for j, x in enumerate(operands)]
            assert same(composite.function(*mixed).data, composite.function(*operands))


@pytest.mark.parametrize("x", [*EDGES, 2.5, -2.5, 1e300])
def test_composite_at_edges(x: float) -> None:
    """f(Node).data is f(float) at edges as well."""
    unary: list[Callable[[Any], Any]] = [
        cm.digamma,
        cm.degrees,
        cm.radians,
        lambda t: cm.modf(t)[0],
        lambda t: cm.modf(t)[1],
        lambda t: cm.fsum([t, 1.0, -1.0]),
        lambda t: cm.prod([t, 2.0]),
        lambda t: cm.dot([t, 1.0], [2.0, t]),
        lambda t: cm.dist([t, 1.0], [2.0, t]),
        lambda t: cm.logsumexp([t, 1.0]),
        lambda t: cm.logsumexp([1.0, t]),
        lambda t: cm.clip(t, -1.0, 1.0),
        lambda t: cm.where(t > 0.0, t, -1.0),
        lambda t: cm.log(t, 2.0),
        lambda t: cm.log(2.0, t),
    ]
    for i, function in enumerate(unary):
        number = function(x)
        assert type(number) is float
        assert same(function(Node(x)).data, number), i


def test_log_of_base() -> None:
    """Infinite and undefined logarithms follow IEEE 754."""
    assert cm.log(8.0, 2.0) == 3.0
    assert cm.log(0.0, 10.0) == -INF
    assert cm.log(2.0, 1.0) == INF
    assert cm.isnan(cm.log(1.0, 1.0))
    assert cm.isnan(cm.log(-1.0, 2.0))


@pytest.mark.parametrize(
    ("x", "fraction", "whole"),
    [(2.5, 0.5, 2.0), (-2.5, -0.5, -2.0), (-3.0, -0.0, -3.0), (-0.0, -0.0, -0.0), (INF, 0.0, INF)],
)
def test_modf(x: float, fraction: float, whole: float) -> None:
    """Both parts have the sign of x."""
    for argument in (x, Node(x)):
        parts = [part.data if isinstance(part, Node) else part for part in cm.modf(argument)]
        assert same(parts[0], fraction)
        assert same(parts[1], whole)


def test_prod() -> None:
    """The empty product, a start, and a factor of 0."""
    assert cm.prod([]) == 1.0
    assert type(cm.prod([])) is float
    assert cm.prod([2, 3], start=5) == 30.0
    x, y, z = Node(2.0), Node(0.0), Node(3.0)
    cm.prod([x, y, z]).backward()
    assert (x.grad, y.grad, z.grad) == (0.0, 6.0, 0.0)


def test_dot_and_dist() -> None:
    """Nothing at all, one length, and the gradient of a distance of 0."""
    assert same(cm.dot([], []), 0.0)
    assert same(cm.dist([], []), 0.0)
    assert cm.sumprod is cm.dot
    for function in (cm.dot, cm.dist):
        with pytest.raises(ValueError, match="2 and 1"):
            function([1.0, 2.0], [3.0])
    x, y = Node(1.0), Node(2.0)
    cm.dist([x, y], [1.0, 2.0]).backward()
    assert (x.grad, y.grad) == (0.0, 0.0)


def test_logsumexp() -> None:
    """Far out, of one, of none, of infinities, of equals."""
    assert cm.logsumexp([1000.0, 1000.0]) == pytest.approx(1000.0 + math.log(2.0), rel=1e-15)
    assert cm.logsumexp([-1000.0]) == -1000.0
    assert cm.logsumexp([]) == -INF
    assert cm.logsumexp([-INF, -INF]) == -INF
    assert cm.logsumexp([-INF, 3.0]) == 3.0
    assert cm.logsumexp([INF, 3.0, -INF]) == INF
    assert cm.isnan(cm.logsumexp([NAN, 3.0]))
    assert cm.isnan(cm.logsumexp([3.0, NAN]))
    xs = [Node(7.0) for _ in range(4)]
    cm.logsumexp(xs).backward()
    assert [x.grad for x in xs] == [0.25] * 4
    x, y = Node(-INF), Node(3.0)
    cm.logsumexp([x, y]).backward()
    assert (x.grad, y.grad) == (0.0, 1.0)


def test_clip() -> None:
    """Inside, outside, at a limit, and limits the wrong way round."""
    for x, value, grad in [(0.5, 0.5, 1.0), (2.0, 1.0, 0.0), (-2.0, 0.0, 0.0), (1.0, 1.0, 0.5)]:
        node = Node(x)
        result = cm.clip(node, 0.0, 1.0)
        result.backward()
        assert (result.data, node.grad) == (value, grad)
    low, high = Node(0.0), Node(1.0)
    cm.clip(2.0, low, high).backward()
    assert (low.grad, high.grad) == (0.0, 1.0)
    assert cm.isnan(cm.clip(NAN, 0.0, 1.0))
    with pytest.raises(ValueError, match="low <= high"):
        cm.clip(0.5, 1.0, 0.0)


def test_where() -> None:
    """The branch not taken sends no gradient, not even NaN, into what it was computed from."""
    x = Node(-1.0)
    cm.where(x > 0.0, cm.sqrt(x), 0.0).backward()
    assert x.grad == 0.0
    a, b = Node(2.0), Node(3.0)
    result = cm.where(True, a, b)
    result.backward()
    assert (result.data, a.grad, b.grad) == (2.0, 1.0, 0.0)
    with pytest.raises(TypeError, match="comparison"):
        cm.where(1.0, a, b)  # type: ignore[arg-type]


# Agreement with Python's math

# Units in the last place by which Python, whose cbrt and gamma are rougher, may differ
ROUNDED_OTHERWISE = {"cbrt": 4.0, "exp2": 1.0, "gamma": 20.0}
ARITIES = {"atan2": 2, "copysign": 2, "fmod": 2, "remainder": 2, "pow": 2, "hypot": 2, "fma": 3}
OF_LISTS = {"dist", "fsum", "prod", "sumprod"}
OTHERWISE_TESTED = {"isclose", "ldexp", "lgamma", "modf"}
OF_WHOLE_NUMBERS = {"comb", "factorial", "gcd", "isqrt", "lcm", "perm"}
ALIKE = [
    name
    for name in cm.__all__
    if callable(getattr(math, name, None))
    and name not in OF_LISTS | OTHERWISE_TESTED | OF_WHOLE_NUMBERS
]


def quietly(function: Callable[..., Any], *xs: Any) -> Any:
    """The result, None where Python raises."""
    try:
        return function(*xs)
    except (ValueError, OverflowError):
        return None


@pytest.mark.parametrize("name", ALIKE)
def test_agrees_with_python(name: str) -> None:
    """The value of Python's math where that does not raise."""
    arity = ARITIES.get(name, 1)
    rng = Random(zlib.crc32(name.encode()))
    draw = one_of(ANY, MODERATE, uniform(-1, 1))
    random = [[draw(rng) for _ in range(arity)] for _ in range(1000)]
    edges = [[x] for x in EDGES] if arity == 1 else [[x, y] for x in PAIR_EDGES for y in PAIR_EDGES]
    for xs in [*random, *[edge + [1.5] * (arity - len(edge)) for edge in edges]]:
        expected = quietly(getattr(math, name), *xs)
        if expected is not None:
            result = getattr(cm, name)(*xs)
            ulps = ROUNDED_OTHERWISE.get(name, 0.0)
            alike = same(float(result), float(expected)) or (
                ulps > 0.0 and close(result, mp.mpf(expected), ulps, 0.0)
            )
            assert alike or (result == expected == 0.0 and isinstance(expected, int)), xs


def test_agrees_with_python_on_lists() -> None:
    """Sums, products and distances."""
    rng = Random(5)
    for _ in range(300):
        xs = [MODERATE(rng) for _ in range(rng.randint(0, 6))]
        ys = [MODERATE(rng) for _ in xs]
        assert same(cm.fsum(xs), math.fsum(xs))
        assert same(cm.prod(xs), float(math.prod(xs)))
        assert same(cm.hypot(*xs), math.hypot(*xs))
        assert close(cm.dist(xs, ys), mp.mpf(math.dist(xs, ys)), 1.0, 0.0)


@pytest.mark.parametrize("x", EDGES)
def test_agrees_with_python_otherwise(x: float) -> None:
    """Those with arguments or results of their own kind."""
    for other in PAIR_EDGES:
        assert cm.isclose(x, other) == math.isclose(x, other)
        assert cm.isclose(Node(x), other, rel_tol=0.5, abs_tol=1.0) == math.isclose(
            x, other, rel_tol=0.5, abs_tol=1.0
        )
    for exponent in (0, 3, -1074, 2000):
        expected = quietly(math.ldexp, x, exponent)
        assert expected is None or same(cm.ldexp(x, exponent), expected)
    assert all(map(same, cm.modf(x), math.modf(x)))
    lgamma = quietly(math.lgamma, x)
    assert lgamma is None or same(cm.lgamma(x), lgamma) or close(cm.lgamma(x), lgamma, 8.0, 1.0)
    assert cm.isnan(Node(x)) == math.isnan(x)
    assert cm.isinf(Node(x)) == math.isinf(x)
    assert cm.isfinite(Node(x)) == math.isfinite(x)


def test_everything_is_tested() -> None:
    """A public name is an operation of the table with a reference, or tested here by name."""
    constants = {"e", "inf", "nan", "pi", "tau"}
    here = {*COMPOSITES, "sumprod", "isclose", "isfinite", "isinf", "isnan"}
    assert all(getattr(cm, name) is getattr(math, name) for name in OF_WHOLE_NUMBERS)
    for name in set(cm.__all__) - constants - here - OF_WHOLE_NUMBERS:
        operation = getattr(cm, name)
        assert isinstance(operation, Operation)
        assert operation.name in REFERENCES, name
    for name in constants:
        assert same(getattr(cm, name), getattr(math, name))
