"""Zeros and infinities inside a derivative: right, or NaN; and nothing to what was not picked.

Each line of a table is differentiated in every way, eager, compiled and in lanes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, nan
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.engine import COMPILED
from chainrule.math import (
    atan,
    clip,
    exp,
    expm1,
    fabs,
    floor,
    hypot,
    log,
    logsumexp,
    maximum,
    minimum,
    relu,
    sigmoid,
    sign,
    sin,
    sqrt,
    stop_gradient,
    tanh,
    where,
)

Function = Callable[..., Any]

# How to differentiate once


def _jvp(f: Function) -> Function:
    return lambda x: cr.jvp(f, (x,), (1.0,))[1]


def _vjp(f: Function) -> Function:
    return lambda x: cr.vjp(f, x)[1](1.0)[0]


WAYS: dict[str, tuple[Function, ...]] = {
    "grad": (cr.grad,),
    "jvp": (_jvp,),
    "vjp": (_vjp,),
    "jacfwd": (cr.jacfwd,),
    "jacrev": (cr.jacrev,),
    "jvp of grad": (cr.grad, _jvp),
    "grad of jvp": (_jvp, cr.grad),
    "vjp of jacfwd": (cr.jacfwd, _vjp),
}


def _lanes(f: Function) -> Function:
    call = cr.compile(cr.vmap(f))

    def at(x: float) -> Any:
        both = call(np.array([x, 1.25, x]))
        assert both[0] == both[2] or (both[0] != both[0] and both[2] != both[2])
        return both[0]

    return at


ENGINES: dict[str, Callable[[Function], Function]] = {
    "eager": lambda f: f,
    "compiled": cr.compile,
    **({"lanes": _lanes} if COMPILED else {}),  # what differs in lanes is no matter of the engine
}


def derivative(f: Function, order: int, way: str, engine: str) -> Function:
    """The derivative of some order, differentiating in one way, or two in turn."""
    steps = WAYS[way]
    for k in range(order):
        f = steps[k % len(steps)](f)
    return ENGINES[engine](f)


def by_backward(f: Function, order: int, way: str, engine: str, x: float) -> float:
    """The same, but the last time by ``backward``."""
    leaf = cr.Node(x)
    result = derivative(f, order - 1, way, "compiled" if engine == "compiled" else "eager")(leaf)
    if isinstance(result, cr.Node):
        result.backward()
    return leaf.grad


@dataclass(frozen=True)
class Case:
    """A derivative at a point.

    Attributes:
        name: what the function is, in words of Python.
        f: a function of one number.
        x: the point.
        order: of the derivative.
        expected: its value.
        or_nan: whether NaN is right as well.
    """

    name: str
    f: Function = field(repr=False)
    x: float
    order: int
    expected: float
    or_nan: bool = False

    def check(self, found: Any) -> None:
        """Raise unless it is right."""
        value = float(found)
        if self.or_nan and value != value:
            return
        assert value == pytest.approx(self.expected, rel=1e-12, abs=1e-13, nan_ok=True), self


def _horner(x: Any) -> Any:
    return (((2 * x - 1) * x + 3) * x - 4) * x + 1


def _polynomial(*coefficients: float) -> Function:
    def f(x: Any) -> Any:
        y = coefficients[0]
        for c in coefficients[1:]:
            y = y * x + c
        return y

    return f


SMOOTH = [
    Case("sin(x)*x*x", lambda x: sin(x) * x * x, 0.0, 3, 6.0),
    Case("sin(x)*x*x", lambda x: sin(x) * x * x, 0.0, 5, -20.0),
    Case("Horner", _horner, 0.0, 3, -6.0),
    Case("Horner", _horner, 0.0, 4, 48.0),
    Case("Horner from 0", _polynomial(0.0, 1.0, 0.0, -1.0, 2.0), 0.0, 3, 6.0),
    Case("(x-1)*(x-1)*x", lambda x: (x - 1) * (x - 1) * x, 1.0, 3, 6.0),
    Case("expm1(x)*x", lambda x: expm1(x) * x, 0.0, 3, 3.0),
    Case("x/(1+x*x)", lambda x: x / (1 + x * x), 0.0, 3, -6.0),
    Case("x/(1+x*x)", lambda x: x / (1 + x * x), 0.0, 5, 120.0),
    Case("x*x*exp(-x*x)", lambda x: x * x * exp(-x * x), 1.0, 4, 36.0 / math.e),
    Case("x*x*exp(-x*x)", lambda x: x * x * exp(-x * x), 0.0, 4, -24.0),
    Case("tanh(x)*x", lambda x: tanh(x) * x, 0.0, 4, -8.0),
    Case("sigmoid(x)*x", lambda x: sigmoid(x) * x, 0.0, 4, -0.5),
    Case("atan(x)**2", lambda x: atan(x) ** 2, 0.0, 4, -16.0),
    Case("log(x)*x", lambda x: log(x) * x, 1.0, 3, -1.0),
    Case("x**3", lambda x: x**3, 0.0, 3, 6.0),
    Case("x**2", lambda x: x**2, 0.0, 4, 0.0),
    Case("x*0.0*x*x", lambda x: x * 0.0 * x * x, 2.0, 3, 0.0),
    Case("(x-x)*x*x + x**3", lambda x: (x - x) * x * x + x**3, 0.0, 3, 6.0),
    Case("hypot(x, 1)*x", lambda x: hypot(x, 1.0) * x, 0.0, 3, 3.0),
    Case("0/x + x", lambda x: 0.0 / x + x, 2.0, 2, 0.0),
]
"""An inner value, or an inner derivative, is 0."""


NOT_PICKED = [
    *[
        case
        for x in (-1.0, 0.0)
        for order in (1, 2, 3)
        for case in (
            Case("where(x > 0, sqrt(x), 0)", lambda x: where(x > 0, sqrt(x), 0.0), x, order, 0.0),
            Case("where(x > 0, log(x), 0)", lambda x: where(x > 0, log(x), 0.0), x, order, 0.0),
            Case("where(x > 0, x**.5, 0)", lambda x: where(x > 0, x**0.5, 0.0), x, order, 0.0),
            Case("where(x > 0, 1/x, 2.)", lambda x: where(x > 0, 1 / x, 2.0), x, order, 0.0),
            Case(
                "where(x <= 0, 2., sqrt(x)*x)",
                lambda x: where(x <= 0, 2.0, sqrt(x) * x),
                x,
                order,
                0.0,
            ),
            Case("sqrt(x) if x > 0 else 0", lambda x: sqrt(x) if x > 0 else 0.0 * x, x, order, 0.0),
            Case("stop_gradient(sqrt(x))", lambda x: stop_gradient(sqrt(x)) + 0 * x, x, order, 0.0),
            Case("sign(log(x))", lambda x: sign(log(x * x)) + 0.0 * x, x, order, 0.0),
            Case("floor(sqrt(x * x))", lambda x: floor(sqrt(x * x)) + 0.0 * x, x, order, 0.0),
        )
    ],
    *[
        case
        for order in (1, 2, 3)
        for case in (
            Case("sqrt(maximum(v, 0.))", lambda v: sqrt(maximum(v, 0.0)), -1.0, order, 0.0),
            Case("sqrt(maximum(0., v))", lambda v: sqrt(maximum(0.0, v)), -1.0, order, 0.0),
            Case("sqrt(-minimum(-v, 0.))", lambda v: sqrt(-minimum(-v, 0.0)), -1.0, order, 0.0),
            Case("sqrt(relu(v))", lambda v: sqrt(relu(v)), -1.0, order, 0.0),
            Case("sqrt(clip(v, 0., 2.))", lambda v: sqrt(clip(v, 0.0, 2.0)), -1.0, order, 0.0),
            Case("log(clip(v, 0., 2.))", lambda v: log(clip(v, 0.0, 2.0)), -1.0, order, 0.0),
            Case("relu(v) ** 0.5", lambda v: relu(v) ** 0.5, -1.0, order, 0.0),
            Case("relu(v) ** -1", lambda v: relu(v) ** -1.0, -1.0, order, 0.0),
            Case("relu(v**.5 - 1)", lambda v: relu(v**0.5 - 1.0), 0.0, order, 0.0),
            Case("maximum(sqrt(v), 1.)", lambda v: maximum(sqrt(v), 1.0), 0.0, order, 0.0),
            Case("minimum(-sqrt(v), -1.)", lambda v: minimum(-sqrt(v), -1.0), 0.0, order, 0.0),
            Case("relu(sqrt(v))", lambda v: relu(sqrt(v)), 0.0, order, 0.0),
            Case("abs(sqrt(v))", lambda v: abs(sqrt(v)), 0.0, order, 0.0),
            Case("fabs(sqrt(v))", lambda v: fabs(sqrt(v)), 0.0, order, 0.0),
            Case("where(v > 0, v, sqrt(-v))", lambda v: where(v > 0, v, sqrt(-v)), 2.0, 2, 0.0),
            Case("sin(v)/v, 1 at 0", lambda v: where(v != 0, sin(v) / v, 1.0), 0.0, order, 0.0),
            Case(
                "where(v > 0, where(v > 1, log(v - 1), sqrt(v)), v)",
                lambda v: where(v > 0, where(v > 1, log(v - 1), sqrt(v)), v),
                -1.0,
                order,
                1.0 if order == 1 else 0.0,
            ),
            Case(
                "sqrt(maximum(v, 0.)) * v + v",
                lambda v: sqrt(maximum(v, 0.0)) * v + v,
                -1.0,
                order,
                1.0 if order == 1 else 0.0,
            ),
        )
    ],
]
"""What was not picked gets nothing, of whatever order the derivative is."""

SINGULAR = [
    Case("sqrt(max(v, 0*v))", lambda v: sqrt(max(v, 0.0 * v)), -1.0, 1, 0.0, True),
    Case("1/(1/x)", lambda x: 1 / (1 / x), 0.0, 1, 1.0, True),
    Case("1/(1/x)", lambda x: 1 / (1 / x), 0.0, 2, 0.0, True),
    Case("x*(1/x)", lambda x: x * (1 / x), 0.0, 1, nan, True),
    Case("atan(1/x)", lambda x: atan(1 / x), 0.0, 1, -1.0, True),
    Case("atan(1/x)", lambda x: atan(1 / x), 0.0, 2, 0.0, True),
    Case("exp(-1/x)", lambda x: exp(-1 / x), 0.0, 1, nan, True),
    Case("exp(log(x))", lambda x: exp(log(x)), 0.0, 1, 1.0, True),
    Case("exp(log(x))", lambda x: exp(log(x)), 0.0, 2, 0.0, True),
    Case("sqrt(x)*sqrt(x)", lambda x: sqrt(x) * sqrt(x), 0.0, 1, 1.0, True),
    Case("sqrt(x)**2", lambda x: sqrt(x) ** 2, 0.0, 1, 1.0, True),
    Case("sqrt(x)**2", lambda x: sqrt(x) ** 2, 0.0, 2, 0.0, True),
    Case("sqrt(x*x)", lambda x: sqrt(x * x), 0.0, 1, nan, True),
    Case("sqrt(x**4)", lambda x: sqrt(x**4), 0.0, 1, 0.0, True),
    Case("sqrt(x**4)", lambda x: sqrt(x**4), 0.0, 2, 2.0, True),
    Case("tanh(log(x))", lambda x: tanh(log(x)), 0.0, 1, 0.0, True),
    Case("tanh(1/x)", lambda x: tanh(1 / (x * x)), 0.0, 1, 0.0, True),
    Case("sigmoid(log(x))", lambda x: sigmoid(log(x)), 0.0, 1, 1.0, True),
    Case("(x**.5)**2", lambda x: (x**0.5) ** 2, 0.0, 1, 1.0, True),
    Case("hypot(x, 0*x)**2", lambda x: hypot(x, 0.0 * x) ** 2, 0.0, 2, 2.0, True),
    Case("0*sqrt(x)", lambda x: 0.0 * sqrt(x), 0.0, 1, nan),
    Case("sqrt(x)-sqrt(x)", lambda x: (lambda y: y - y)(sqrt(x)), 0.0, 1, nan),
    Case("sqrt(0*x)", lambda x: sqrt(0.0 * x), 1.0, 1, nan),
    Case("log(x-x)", lambda x: log(x - x), 1.0, 1, nan),
]
"""There is no derivative that the chain rule could know: NaN where it is not right by chance."""

NOT_A_NUMBER = [
    Case("maximum(x, nan)", lambda x: maximum(x, nan * x), 1.0, 1, nan),
    Case("minimum(nan, x)", lambda x: minimum(nan, x), 1.0, 1, nan),
    Case("relu(nan)", relu, nan, 1, nan),
    Case("abs(nan)", abs, nan, 1, nan),
    Case("clip(nan)", lambda x: clip(x, 0.0, 1.0), nan, 1, nan),
    Case("relu(x * nan)", lambda x: relu(x * nan), 1.0, 1, nan),
]
"""NaN is passed on."""

KINKS = [
    Case("relu", relu, 0.0, 1, 0.0),
    Case("relu", relu, 0.0, 2, 0.0),
    Case("abs", abs, 0.0, 1, 0.0),
    Case("abs", abs, 0.0, 2, 0.0),
    Case("maximum(x, 0.)", lambda x: maximum(x, 0.0), 0.0, 1, 0.5),
    Case("minimum(x, 0.)", lambda x: minimum(0.0, x), 0.0, 1, 0.5),
    Case("maximum(x, x)", lambda x: maximum(x, x), 3.0, 1, 1.0),
    Case("maximum(x*x, x)", lambda x: maximum(x * x, x), 1.0, 1, 1.5),
    Case("maximum(x*x, x)", lambda x: maximum(x * x, x), 1.0, 2, 1.0),
    Case("clip at a bound", lambda x: clip(x, 0.0, 1.0), 1.0, 1, 0.5),
    Case("max(x, 2x)", lambda x: max(x, 2 * x), 0.0, 1, 1.0),
    Case("max(2x, x)", lambda x: max(2 * x, x), 0.0, 1, 2.0),
    Case("min(x*x, x)", lambda x: min(x * x, x), 0.0, 1, 0.0),
    Case("sorted", lambda x: sorted([3 * x, x])[0], 0.0, 1, 3.0),
]
"""The subgradients that the guide promises."""

CASES = [*SMOOTH, *NOT_PICKED, *SINGULAR, *NOT_A_NUMBER, *KINKS]


def _ids(case: Case) -> str:
    return f"{case.name} at {case.x}, order {case.order}"


@pytest.mark.parametrize("case", CASES, ids=_ids)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_way_is_right(case: Case, engine: str) -> None:
    """Each of the ways, and ``backward`` as the last step of each."""
    for way in WAYS:
        if case.order == 1 and len(WAYS[way]) > 1:
            continue
        case.check(derivative(case.f, case.order, way, engine)(case.x))
        if engine != "lanes":
            case.check(by_backward(case.f, case.order, way, engine, case.x))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", [case for case in CASES if case.order == 2], ids=_ids)
def test_second_derivatives(case: Case, engine: str) -> None:
    """By ``hessian``, ``hvp`` and both Jacobians of each other."""
    for second in (
        cr.hessian(case.f),
        lambda x: cr.hvp(case.f, (x,), (1.0,)),
        cr.jacfwd(cr.jacrev(case.f)),
        cr.jacrev(cr.jacfwd(case.f)),
    ):
        case.check(ENGINES[engine](second)(case.x))


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_the_derivative_of_a_hessian_vector_product(engine: str) -> None:
    """``hvp`` inside ``grad`` and ``jvp``."""

    def f(x: Any) -> Any:
        return cr.hvp(lambda t: expm1(t) * t, (x,), (1.0,))

    for way in ("grad", "jvp", "vjp", "jacfwd", "jacrev"):
        assert derivative(f, 1, way, engine)(0.0) == pytest.approx(3.0)


# Functions of several numbers

SECOND: dict[str, Callable[[Function], Function]] = {
    "hessian": lambda f: cr.hessian(f, argnums=(0, 1)),
    "jacfwd(jacrev)": lambda f: cr.jacfwd(cr.jacrev(f, argnums=(0, 1)), argnums=(0, 1)),
    "jacrev(jacfwd)": lambda f: cr.jacrev(cr.jacfwd(f, argnums=(0, 1)), argnums=(0, 1)),
    "jacfwd(jacfwd)": lambda f: cr.jacfwd(cr.jacfwd(f, argnums=(0, 1)), argnums=(0, 1)),
    "jacrev(grad)": lambda f: cr.jacrev(cr.grad(f, argnums=(0, 1)), argnums=(0, 1)),
}


def _compiled(engine: str, f: Function) -> Function:
    if engine == "lanes":
        call = cr.compile(cr.vmap(f))
        return lambda *xs: _first_lane(call(*[np.array([x, 0.75]) for x in xs]))
    return ENGINES[engine](f)


def _first_lane(tree: Any) -> Any:
    return tuple(map(_first_lane, tree)) if isinstance(tree, tuple) else float(tree[0])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("way", SECOND)
def test_the_hessian_of_a_squared_distance(way: str, engine: str) -> None:
    """At the origin it is twice the identity, or not known."""
    found = _compiled(engine, SECOND[way](lambda x, y: hypot(x, y) ** 2))(0.0, 0.0)
    for row, expected in zip(found, ((2.0, 0.0), (0.0, 2.0)), strict=True):
        for entry, right in zip(row, expected, strict=True):
            assert math.isnan(entry) or entry == right


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("way", SECOND)
def test_the_mixed_derivative_of_a_power_at_zero(way: str, engine: str) -> None:
    """d²(x**y)/dx dy is 1 + log(x), which goes to -inf, in whichever order."""
    found = _compiled(engine, SECOND[way](lambda x, y: x**y))(0.0, 1.0)
    for entry in (found[0][1], found[1][0]):
        assert math.isnan(entry) or entry == -inf
    assert math.isnan(found[0][0]) or found[0][0] == 0.0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("count", [2, 3, 4])
def test_logsumexp_of_nothing_but_minus_infinity(count: int, engine: str) -> None:
    """Its weights are not known; equal shares would be right by symmetry."""
    f = cr.grad(lambda *xs: logsumexp(xs), argnums=tuple(range(count)))
    if engine == "lanes":
        call = cr.compile(cr.vmap(f))
        found = [x[0] for x in call(*[np.array([-inf, 1.0])] * count)]
    else:
        found = list(ENGINES[engine](f)(*[-inf] * count))
    assert all(math.isnan(x) or x == 1 / count for x in found), found


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("of", [cr.jacfwd, cr.jacrev, cr.grad, cr.jacobian])
def test_a_basis_vector_is_no_message(of: Any, engine: str) -> None:
    """The columns of an infinite slope beside it, and zeros of basis vectors, do not meet."""
    f = _compiled(engine, of(lambda x, y: sqrt(x) * y, argnums=(0, 1)))
    assert f(0.0, 2.0) == (inf, 0.0)
    assert _compiled(engine, of(lambda x, y: sqrt(x) * y, argnums=1))(0.0, 2.0) == 0.0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("of", [cr.jacfwd, cr.jacrev, cr.jacobian])
def test_an_output_without_cotangent_is_no_message(of: Any, engine: str) -> None:
    """Rows of several results do not disturb one another."""
    f = _compiled(engine, of(lambda x, y: (sqrt(x), x * y), argnums=(0, 1)))
    assert f(0.0, 2.0) == ((inf, 0.0), (2.0, 0.0))


@pytest.mark.parametrize("engine", ENGINES)
def test_zeros_that_a_user_hands_in_are_numbers(engine: str) -> None:
    """0 times an infinite slope is NaN."""
    assert math.isnan(_compiled(engine, lambda x: cr.jvp(sqrt, (x,), (0.0,))[1])(0.0))
    assert math.isnan(_compiled(engine, lambda x: cr.vjp(sqrt, x)[1](0.0)[0])(0.0))
    assert math.isnan(_compiled(engine, lambda x, t: cr.jvp(sqrt, (x,), (t,))[1])(0.0, 0.0))
    assert math.isnan(_compiled(engine, lambda x, t: cr.vjp(sqrt, x)[1](t)[0])(0.0, 0.0))
    assert math.isnan(_compiled(engine, cr.grad(lambda x, c: c * sqrt(x)))(0.0, 0.0))


def test_a_seed_of_zero_is_a_number() -> None:
    """``backward(0.0)`` too."""
    x = cr.Node(0.0)
    sqrt(x).backward(0.0)
    assert math.isnan(x.grad)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("x", [-1.0, 0.0, 2.0])
def test_entries_of_a_table_that_are_not_read_get_nothing(engine: str, x: float) -> None:
    """``where`` over arrays, and an index into an array of nodes."""
    table = np.array([0.0, 4.0, x])
    index = np.array([1])
    pick = ENGINES[engine](cr.grad(lambda t, i: np.sqrt(t)[i[0]]))
    assert pick(table, index).tolist() == [0.0, 0.25, 0.0]


# Powers whose exponent is a node


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("n", [0, 1, 2, 3])
@pytest.mark.parametrize("more", [0, 1, 2])
def test_powers_with_a_node_as_exponent(n: int, more: int, way: str, engine: str) -> None:
    """Of order n + more at 0, by the base: n! and then 0."""
    if n + more == 0:
        return
    f = _by_first(n + more, way)
    expected = float(math.factorial(n)) if more == 0 else 0.0
    found = _compiled(engine, f)(0.0, float(n))
    assert found == expected
    if engine == "eager":
        base, exponent = cr.Node(0.0), cr.Node(float(n))
        result = f(base, exponent)
        assert (result.data if isinstance(result, cr.Node) else result) == expected


def _by_first(order: int, way: str) -> Function:
    """The derivative of x ** n by x."""

    def f(x: Any, n: Any) -> Any:
        g: Function = lambda t: t**n  # noqa: E731
        for k in range(order):
            g = WAYS[way][k % len(WAYS[way])](g)
        return g(x)

    return f


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("of", [cr.grad, cr.jacfwd, cr.jacrev, cr.jacobian])
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("order", [0, 1, 2, 3, 4, 5])
def test_powers_differentiated_by_both(order: int, n: int, of: Any, engine: str) -> None:
    """The slopes by the base, then by the exponent too, which is infinite at 0 or not known."""

    def both(g: Function) -> Function:
        derivatives: Function = of(g, argnums=(0, 1))
        return derivatives

    def first(g: Function) -> Function:
        return lambda x, m: both(g)(x, m)[0]

    f: Function = lambda x, m: x**m  # noqa: E731
    for _ in range(order):
        f = first(f)
    by_base, by_exponent = _compiled(engine, both(f))(0.0, float(n))
    assert by_base == (math.factorial(n) if order + 1 == n else 0.0)
    if order < n:
        assert math.isnan(by_exponent) or by_exponent == 0.0
    elif order == n:
        assert math.isnan(by_exponent) or by_exponent == -inf
    else:
        assert not math.isfinite(by_exponent)
