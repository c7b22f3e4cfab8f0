"""Roots, fixed points and minima against high precision, in every mode and to third order."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random
from typing import Any, cast

import mpmath
import numpy
import pytest
from numpy.testing import assert_allclose

from chainrule import (
    Node,
    compile,
    fixed_point,
    grad,
    hessian,
    jacobian,
    jvp,
    minimize_scalar,
    root,
    value_and_grad,
    vjp,
    vmap,
)
from chainrule import math as cm

Equation = Callable[[Any, Any, Any, Any], Any]

ROOTS: list[Equation] = [  # rising in x, with one root between -20 and 20
    lambda m, x, p, q: x - p * m.sin(x) * 0.3 - q,
    lambda m, x, p, q: m.exp(0.3 * x) * (1 + p * p) - 2 - q,
    lambda m, x, p, q: x * x * x + (1 + p * p) * x - q * 5,
    lambda m, x, p, q: m.atan(x - p) + 0.2 * x - 0.5 * m.cos(q),
    lambda m, x, p, q: m.tanh(p * p * x + x) + x * 0.1 - 0.1 * q,
]
POINTS: list[Equation] = [  # what contracts
    lambda m, x, p, q: 0.5 * m.cos(x * p) + 0.3 * q,
    lambda m, x, p, q: m.exp(-x * x) * 0.3 * p + q,
    lambda m, x, p, q: 0.5 * (x + (2 + p) / x) + 0.1 * q / (1 + x * x),
]
MINIMA: list[Equation] = [  # with one minimum between -20 and 20
    lambda m, x, p, q: (x - p) ** 2 + m.exp(0.2 * q * x),
    lambda m, x, p, q: m.cosh(0.3 * (x - q)) + p * 0.1 * x,
    lambda m, x, p, q: m.log(1 + m.exp(x - p)) - 0.3 * x + 0.02 * (x - q) ** 2,
]

ORDERS = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3)]


def _solution(kind: str, equation: Equation, start: str) -> Callable[[Any, Any], Any]:
    """A solution as a function of the equation's parameters."""
    if kind == "root":
        at: dict[str, Any] = {"x0": 0.5} if start == "x0" else {"bracket": (-20.0, 20.0)}
        return lambda p, q: root(lambda x: equation(cm, x, p, q), **at)
    if kind == "fixed_point":
        return lambda p, q: fixed_point(lambda x: equation(cm, x, p, q), 0.8)
    at = {"x0": 0.5} if start == "x0" else {"bounds": (-20, 20)}
    return lambda p, q: minimize_scalar(lambda x: equation(cm, x, p, q), **at)


def _exact(kind: str, equation: Equation, near: float) -> Callable[[Any, Any], Any]:
    """The same in high precision."""

    def solved(p: Any, q: Any) -> Any:
        def zero(x: Any) -> Any:
            if kind == "root":
                return equation(mpmath.mp, x, p, q)
            if kind == "fixed_point":
                return equation(mpmath.mp, x, p, q) - x
            return mpmath.diff(lambda x: equation(mpmath.mp, x, p, q), x)

        return mpmath.findroot(zero, near, tol=1e-60)

    return solved


def _derived(f: Any, order: tuple[int, int]) -> Any:
    for argument, times in enumerate(order):
        for _ in range(times):
            f = grad(f, argnums=argument)
    return f


CASES = [
    (kind, i, start)
    for kind, equations, starts in [
        ("root", ROOTS, ["bracket"]),
        ("fixed_point", POINTS, ["x0"]),
        ("minimize_scalar", MINIMA, ["bounds", "x0"]),
    ]
    for i in range(len(equations))
    for start in starts
] + [("root", 2, "x0"), ("root", 4, "x0")]


@pytest.mark.parametrize(("kind", "i", "start"), CASES)
def test_against_high_precision(kind: str, i: int, start: str) -> None:
    """Values and derivatives to third order, eagerly, and compiled for lanes."""
    equation = {"root": ROOTS, "fixed_point": POINTS, "minimize_scalar": MINIMA}[kind][i]
    random = Random(f"{kind} {i}")
    points = [(random.uniform(0.2, 1.2), random.uniform(-1.0, 1.0)) for _ in range(2)]
    f = _solution(kind, equation, start)
    with mpmath.workdps(80):
        for p, q in points:
            exact = _exact(kind, equation, f(p, q))
            for order in ORDERS if i == 0 else ORDERS[:6]:
                wanted = float(mpmath.diff(exact, (p, q), order)) if any(order) else exact(p, q)
                assert_allclose(_derived(f, order)(p, q), float(wanted), rtol=1e-9, atol=1e-9)
    columns = numpy.array(points).T
    compiled = compile(vmap(value_and_grad(f, argnums=(0, 1))))
    eager = [value_and_grad(f, argnums=(0, 1))(p, q) for p, q in points]
    for found, wanted in zip(
        [compiled(*columns)[0], *compiled(*columns)[1]],
        numpy.array([(y, *slopes) for y, slopes in eager]).T,
        strict=True,
    ):
        assert_allclose(found, wanted, rtol=1e-11, atol=1e-11)


def test_derivatives_of_compiled_functions() -> None:
    """Those taken inside, outside, and both."""
    f = _solution("root", ROOTS[2], "bracket")
    p, q = 0.7, 0.3
    for inner, outer in itertools.product(range(3), repeat=2):
        compiled = compile(_derived(f, (inner, 0)))
        wanted = _derived(f, (inner, outer))(p, q)
        assert_allclose(_derived(compiled, (0, outer))(p, q), wanted, rtol=1e-9)


def test_every_mode() -> None:
    """Forward, reverse, all at once, and backward."""
    f = _solution("root", ROOTS[0], "bracket")
    slopes = [grad(f, argnums=k)(0.7, 0.3) for k in (0, 1)]
    assert_allclose(jvp(f, (0.7, 0.3), (2.0, -1.0))[1], 2.0 * slopes[0] - slopes[1])
    assert_allclose(vjp(f, 0.7, 0.3)[1](1.0), slopes)
    g = lambda v: f(v[0], v[1])  # noqa: E731
    assert_allclose(jacobian(g)(numpy.array([0.7, 0.3])), slopes)
    second = hessian(g)(numpy.array([0.7, 0.3]))
    assert_allclose(second[0][1], _derived(f, (1, 1))(0.7, 0.3))
    p, q = Node(0.7), Node(0.3)
    x = f(p, q)
    x.backward()
    assert_allclose([p.grad, q.grad], slopes)


def test_lanes_share_paths() -> None:
    """Whatever number of iterations each needs; where there is no derivative a lane has NaN."""
    f = compile(vmap(grad(lambda a: root(lambda x: abs(x - a) * (x - a), bracket=(-1.0, 1e6)))))
    slopes = f(numpy.geomspace(1e-3, 1e5, 500))
    assert numpy.all(numpy.isnan(slopes) | (abs(slopes - 1.0) < 0.1))
    g = compile(vmap(grad(lambda a: root(lambda x: x**3 - a, bracket=(0.0, 1e3)))))
    points = numpy.geomspace(1e-3, 1e5, 500)
    assert_allclose(g(points), points ** (-2 / 3) / 3, rtol=1e-9)
    assert g.stats().traces <= 3


def test_nested() -> None:
    """A root whose function holds a minimum."""

    def f(p: Any) -> Any:
        def gap(x: Any) -> Any:
            return minimize_scalar(lambda y: (y - x * x) ** 2 + 0.5 * p * y, 1.0) - p

        return root(gap, bracket=(0.0, 10.0))  # x² - p / 4 = p

    for order in range(3):
        wanted = mpmath.diff(lambda p: mpmath.sqrt(1.25 * p), 2.0, order)
        assert_allclose(_derived(f, (order,))(2.0), float(wanted), rtol=1e-7)  # type: ignore[arg-type]


def test_bounds_move() -> None:
    """A minimum at a bound is the bound, with its gradient."""
    low = Node(1.0)
    x = minimize_scalar(lambda x: x * x, bounds=(low, 3.0))
    assert x is low
    assert minimize_scalar(lambda x: -x, bounds=(0.0, 3.0)) == 3.0
    assert grad(lambda a: 2.0 * minimize_scalar(lambda x: x * x, bounds=(a, 3.0)))(1.0) == 2.0


@pytest.mark.parametrize("mode", [lambda f: f, compile])
def test_bounds_where_the_slope_is_zero(mode: Callable[..., Any]) -> None:
    """What is next to a bound tells a minimum there from a maximum."""
    assert (
        abs(
            mode(lambda p: minimize_scalar(lambda x: cm.cos(p * x), bounds=(0.0, 6.0)))(1.0) - cm.pi
        )
        < 1e-11
    )
    assert mode(lambda p: minimize_scalar(lambda x: -p * x * x, bounds=(0.0, 1.0)))(1.0) == 1.0
    assert mode(lambda p: minimize_scalar(lambda x: -p * x * x, bounds=(-1.0, 0.0)))(1.0) == -1.0
    assert mode(lambda p: minimize_scalar(lambda x: p * x * x, bounds=(-1.0, 0.0)))(1.0) == 0.0
    assert mode(lambda p: minimize_scalar(lambda x: p * x * x, bounds=(0.0, 1.0)))(1.0) == 0.0
    assert mode(lambda p: minimize_scalar(lambda x: p + 0.0 * x, bounds=(2.0, 3.0)))(1.0) == 2.0


@pytest.mark.parametrize("mode", [lambda f: f, compile])
@pytest.mark.parametrize(
    "f",
    [
        lambda p: root(lambda x: p + 0.0 * x, 0.0),
        lambda p: root(lambda x: x - p * 2e300, 1.0),
        lambda p: root(lambda x: cm.exp(x) - 100.0 * p, 1.0),  # a secant back from far is short
        lambda p: fixed_point(lambda x: cm.exp(p * x), 1.0),
    ],
)
def test_no_solution_that_is_none(mode: Callable[..., Any], f: Callable[[Any], Any]) -> None:
    """A short step alone doesn't make a solution, nor does infinity."""
    with pytest.raises(RuntimeError, match="has not converged"):
        mode(f)(1.0)


def test_starts() -> None:
    """From any start there is a root or an error, whatever the scale."""

    def functions(scale: float, end: float) -> Any:
        yield lambda x: scale * (cm.exp(x) - cm.exp(end)), end
        yield lambda x: scale * (x**9 - end), end ** (1 / 9)
        yield lambda x: scale * cm.atan(x - end), end

    random = Random(5)
    found = 0
    for _ in range(100):
        x0, end = random.gauss(0.0, 3.0), random.uniform(1.0, 5.0)
        for f, wanted in functions(10.0 ** random.randint(-290, 290), end):
            try:
                x = root(f, x0)
            except (RuntimeError, OverflowError):
                continue
            assert abs(x - wanted) < 1e-10
            found += 1
    assert found > 50


def test_no_zero_where_numbers_are_coarse() -> None:
    """Short steps uphill are none to a zero."""
    random = Random(4)
    for _ in range(100):
        at = random.gauss(0.0, 1.0) * 1e12

        def f(x: Any, at: float = at) -> Any:
            return 1.0 + (x - at) * (x - at)

        with pytest.raises(RuntimeError, match="has not converged"):
            root(f, at + random.gauss(0.0, 1.0) * 10.0 ** random.randint(-3, 3))


def test_tolerance() -> None:
    """A jump in a bracket is found as closely as the tolerance says."""
    random = Random(3)
    for _ in range(50):
        jump, xtol = random.uniform(0.0, 3.0), 10.0 ** random.uniform(-12.0, -1.0)
        scales = random.uniform(0.1, 1.0), random.uniform(0.1, 1.0)

        def f(x: Any, jump: float = jump, scales: tuple[float, float] = scales) -> Any:
            return cm.where(x < jump, -scales[0], scales[1])

        assert abs(root(f, bracket=(0.0, 3.0), xtol=xtol) - jump) <= 1.001 * xtol


def test_numbers_give_numbers() -> None:
    """Without nodes there are none."""
    assert type(root(lambda x: x * x - 2.0, 1)) is float
    assert abs(fixed_point(cm.cos, 1.0) - 0.7390851332151607) < 1e-15
    assert abs(minimize_scalar(lambda x: (x - 2.0) ** 2, -50.0) - 2.0) < 1e-12
    assert root(lambda x: x, bracket=(0.0, 1.0)) == 0.0
    assert root(lambda x: x - 1.0, bracket=[0.0, 1.0]) == 1.0
    assert root(lambda x: 1.0 - x, bracket=(0.0, 1.0)) == 1.0
    # Newton's steps alone leave: the slope is small outside
    assert abs(root(lambda x: cm.atan(x - 1.0), bracket=(-1e3, 1e4)) - 1.0) < 1e-12


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: root(cast(Any, 3.0), 1.0), TypeError, "root takes a function, not float 3.0"),
        (lambda: root(cm.cos), ValueError, r"either a start, x0, or bracket=\(low, high\)"),
        (lambda: root(cm.cos, 1.0, bracket=(0, 1)), ValueError, "either a start"),
        (lambda: root(cm.cos, bracket=(0, 1)), ValueError, r"f\(0\) is 1 and f\(1\) is 0.540302"),
        (lambda: root(cm.cos, bracket=(2, 1)), ValueError, r"low < high, not \(2, 1\)"),
        (
            lambda: root(cm.cos, bracket=cast(Any, 2.0)),
            TypeError,
            r"bracket as a pair \(low, high\)",
        ),
        (lambda: root(cm.cos, bracket=(0, "1")), TypeError, "takes as bracket a number"),
        (lambda: root(lambda x: [x], 1.0), TypeError, "a function that gives a number"),
        (lambda: root(lambda x: x * x + 1.0, 0.3), RuntimeError, "root has not converged in 100"),
        (lambda: root(lambda x: cm.nan, 0.3), RuntimeError, "root has not converged"),
        (lambda: root(lambda x: cm.nan, bracket=(0, 1)), ValueError, r"f\(0\) is nan"),
        (lambda: root(cm.cos, 1.0, xtol=-1.0), ValueError, "xtol must be a number from 0 on"),
        (lambda: root(cm.cos, 1.0, max_iterations=0), ValueError, "a whole number from 1 on"),
        (lambda: cast(Any, root)(cm.cos, 1.0, maxiter=5), TypeError, "max_iterations"),
        (lambda: fixed_point(lambda x: x + 1.0, 0.0), RuntimeError, "fixed_point has not"),
        (lambda: minimize_scalar(lambda x: x, 0.0), RuntimeError, "minimize_scalar has not"),
        (lambda: minimize_scalar(cm.cos), ValueError, "either a start, x0, or bounds"),
        (
            lambda: grad(lambda a: root(lambda x: a * (x - 1.0) ** 3, bracket=(0.0, 2.0)))(1.0),
            ValueError,
            "root: what was found, 1, has no derivative, .*: 0 / 0 should",
        ),
        (
            lambda: grad(lambda a: minimize_scalar(lambda x: abs(x - a), bounds=(0.0, 2.0)))(1.0),
            ValueError,
            "minimize_scalar: what was found, 1, has no derivative",
        ),
        (
            lambda: grad(
                lambda a: minimize_scalar(lambda x: abs(x - a) + (x - a) ** 2, bounds=(0.0, 3.0))
            )(1.1),
            ValueError,
            "minimize_scalar: what was found, 1.1, has no derivative",
        ),
        (
            lambda: root(lambda x: 1.0 / (x - 1.1), bracket=(0.0, 3.0)),
            ValueError,
            "root: at 1.1 the function changes its sign through a pole, not a zero",
        ),
    ],
)
def test_bad_input(call: Callable[[], Any], error: type[Exception], words: str) -> None:
    """Each says what was given."""
    with pytest.raises(error, match=words):
        call()
