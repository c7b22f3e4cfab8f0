"""Derivatives of order 1 to 5, taken in every way, against truncated power series.

``python tests/test_series.py 500`` checks so many random programs; ``CHAINRULE_SERIES=500`` does in
the tests. A failure names the seed of its program: ``python tests/test_series.py 1 SEED``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import power_series
import pytest
from mpmath import mp
from power_series import Series
from smooth_programs import SmoothProgram, smooth_program

import chainrule as cr
from chainrule import math as crmath
from chainrule.engine import COMPILED

PROGRAMS = int(os.environ.get("CHAINRULE_SERIES", "40" if COMPILED else "4"))
TOLERANCE = 1e-9
"""Of what a derivative would come to if nothing cancelled."""

ONE_NUMBER: dict[str, Callable[[Any], Any]] = {
    **{name: getattr(mp, name) for name in ("exp", "expm1", "log", "log10", "sqrt", "sin", "cos")},
    **{name: getattr(mp, name) for name in ("tan", "sinh", "cosh", "tanh", "asin", "acos", "atan")},
    **{name: getattr(mp, name) for name in ("asinh", "acosh", "atanh", "erf", "erfc", "gamma")},
    "log1p": lambda x: mp.log(1 + x),
    "log2": lambda x: mp.log(x) / mp.ln2,
    "exp2": lambda x: mp.mpf(2) ** x,
    "cbrt": lambda x: mp.sign(mp.re(x)) * mp.cbrt(abs(x)),
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "softplus": lambda x: mp.log(1 + mp.exp(x)),
    "norm_pdf": mp.npdf,
    "norm_cdf": mp.ncdf,
    "lgamma": mp.loggamma,
}
"""mpmath's functions of one number."""

FUNCTIONS: dict[str, Any] = {name: getattr(crmath, name) for name in crmath.__all__}

Function = Callable[..., Any]
Direction = Sequence[Any]


# Ways to differentiate: each takes a function of numbers and some directions


def _dotted(slopes: Sequence[Any], direction: Direction) -> Any:
    total = slopes[0] * direction[0]
    for slope, d in zip(slopes[1:], direction[1:], strict=True):
        total = total + slope * d
    return total


def _every(xs: Sequence[Any]) -> tuple[int, ...]:
    return tuple(range(len(xs)))


def _by_grad(f: Function, d: Direction) -> Function:
    return lambda *xs: _dotted(cr.grad(f, argnums=_every(xs))(*xs), d)


def _by_value_and_grad(f: Function, d: Direction) -> Function:
    return lambda *xs: _dotted(cr.value_and_grad(f, argnums=_every(xs))(*xs)[1], d)


def _by_jvp(f: Function, d: Direction) -> Function:
    return lambda *xs: cr.jvp(f, xs, tuple(d))[1]


def _by_vjp(f: Function, d: Direction) -> Function:
    return lambda *xs: _dotted(cr.vjp(f, *xs)[1](1.0), d)


def _by_jacfwd(f: Function, d: Direction) -> Function:
    return lambda *xs: _dotted(cr.jacfwd(f, argnums=_every(xs))(*xs), d)


def _by_jacrev(f: Function, d: Direction) -> Function:
    return lambda *xs: _dotted(cr.jacrev(f, argnums=_every(xs))(*xs), d)


def _by_array_grad(f: Function, d: Direction) -> Function:
    of_array = cr.grad(lambda x: f(*x))
    return lambda *xs: _dotted(list(of_array(np.array(xs))), d)


def _by_hvp(f: Function, d: Direction, e: Direction) -> Function:
    def by(*xs: Any) -> Any:
        product = cr.hvp(f, xs, tuple(d))
        return _dotted(product if len(xs) > 1 else (product,), e)

    return by


def _matrix(of: Function) -> Callable[[Function, Direction, Direction], Function]:
    def way(f: Function, d: Direction, e: Direction) -> Function:
        return lambda *xs: _dotted([_dotted(row, e) for row in of(f, _every(xs))(*xs)], d)

    return way


_by_hessian = _matrix(cr.hessian)
_by_fwd_rev = _matrix(lambda f, every: cr.jacfwd(cr.jacrev(f, argnums=every), argnums=every))
_by_rev_fwd = _matrix(lambda f, every: cr.jacrev(cr.jacfwd(f, argnums=every), argnums=every))
_by_jacobian_grad = _matrix(lambda f, every: cr.jacobian(cr.grad(f, every), argnums=every))

ONCE: dict[str, Callable[[Function, Direction], Function]] = {
    "grad": _by_grad,
    "jvp": _by_jvp,
    "vjp": _by_vjp,
    "value_and_grad": _by_value_and_grad,
    "jacfwd": _by_jacfwd,
    "jacrev": _by_jacrev,
    "grad of an array": _by_array_grad,
}
TWICE: dict[str, Callable[[Function, Direction, Direction], Function]] = {
    "hvp": _by_hvp,
    "hessian": _by_hessian,
    "jacfwd(jacrev)": _by_fwd_rev,
    "jacrev(jacfwd)": _by_rev_fwd,
    "jacobian(grad)": _by_jacobian_grad,
}
PURE = ("grad", "jvp", "vjp")
"""Ways that are nested in themselves, too."""


def ways(random: Random, order: int) -> list[str]:
    """Names of ways that together give a derivative of this order, innermost first."""
    kind = random.random()
    if kind < 0.3:
        return [random.choice(PURE)] * order
    if kind < 0.5:
        pair = random.sample(PURE, 2)
        return [pair[i % 2] for i in range(order)]
    found: list[str] = []
    left = order
    while left:
        name = random.choice([*ONCE, *TWICE] if left > 1 else list(ONCE))
        found.append(name)
        left -= 2 if name in TWICE else 1
    return found


def nested(f: Function, names: Sequence[str], directions: Sequence[Direction]) -> Function:
    """The derivative along the directions, as a function of the point."""
    rest = list(directions)
    for name in names:
        if name in TWICE:
            f = TWICE[name](f, rest.pop(0), rest.pop(0))
        else:
            f = ONCE[name](f, rest.pop(0))
    return f


# Programs


class Check:
    """One program: its derivatives along random directions, each in a way of its own.

    Args:
        seed: of the program, the ways and the directions.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(f"ways {seed}")
        self.seed = seed
        self.program: SmoothProgram = smooth_program(seed)
        self.f = self.program.function(FUNCTIONS)
        self.variables = len(self.program.points[0])
        self.ways = [ways(self.random, order) for order in range(1, power_series.ORDER + 1)]
        self.directions = [
            [self.direction() for _ in self.program.points] for _ in range(power_series.ORDER)
        ]
        self.problems: list[str] = []

    def direction(self) -> list[float]:
        """A unit vector, zeros and ones, or anything."""
        kind = self.random.random()
        if kind < 0.4:
            axis = self.random.randrange(self.variables)
            return [float(i == axis) for i in range(self.variables)]
        return [
            self.random.choice((1.0, -1.0, 0.5, 0.0, 2.0))
            if kind < 0.8
            else self.random.uniform(-1, 1)
            for _ in range(self.variables)
        ]

    def along(self, lane: int, order: int) -> list[list[float]]:
        """The directions of a lane."""
        return [self.directions[k][lane] for k in range(order)]

    def compare(self, how: str, order: int, lane: int, found: Any, directions: Any) -> None:
        """Note a difference."""
        series: Series = self.program.series[lane]
        expected, size = series.derivative(directions)
        if not abs(float(found) - expected) <= TOLERANCE * size + 1e-12:
            self.problems.append(
                f"seed {self.seed}, order {order} by {' of '.join(self.ways[order - 1][::-1])},"
                f" {how}, at {self.program.points[lane]} along {directions}:"
                f" {float(found)!r} for {float(expected)!r}\n{self.program.source}"
            )

    def run(self) -> list[str]:
        """All derivatives in all engines; the differences."""
        self.eager()
        self.backward(compiled=False)
        kind = self.seed % 3
        if kind == 0:
            self.compiled()
        elif kind == 1:
            self.backward(compiled=True)
        else:
            self.lanes()
        return self.problems

    def eager(self) -> None:
        """Each order at each point; on plain numbers."""
        for order, names in enumerate(self.ways, 1):
            for lane, point in enumerate(self.program.points):
                directions = self.along(lane, order)
                found = nested(self.f, names, directions)(*point)
                self.compare("eager", order, lane, found, directions)

    def backward(self, compiled: bool) -> None:
        """The last derivative by ``backward`` on the graph of the one before."""
        for order, names in enumerate(self.ways, 1):
            before = names[:-1] if names[-1] not in TWICE else [*names[:-1], "grad"]
            lane = order % len(self.program.points)
            directions = self.along(lane, order - 1)
            f = nested(self.f, before, directions)
            if compiled:
                f = cr.compile(f)
            leaves = [cr.Node(x) for x in self.program.points[lane]]
            result = f(*leaves)
            if isinstance(result, cr.Node):  # a number depends on nothing
                result.backward()
            for axis, leaf in enumerate(leaves):
                unit = [float(i == axis) for i in range(self.variables)]
                how = "backward of compiled" if compiled else "backward"
                self.compare(how, order, lane, leaf.grad, [*directions, unit])

    def compiled(self) -> None:
        """All orders in one compiled function, called at each point."""
        along = [self.along(0, order) for order in range(1, len(self.ways) + 1)]
        everything = [nested(self.f, *pair) for pair in zip(self.ways, along, strict=True)]
        call = cr.compile(lambda *xs: tuple(f(*xs) for f in everything))
        for lane, point in enumerate(self.program.points):
            for order, found in enumerate(call(*point), 1):
                self.compare("compiled", order, lane, found, along[order - 1])

    def lanes(self) -> None:
        """All orders in compiled lanes, points and directions being arguments."""

        def everything(xs: Any, directions: Any) -> Any:
            return tuple(
                nested(self.f, names, directions[:order])(*xs)
                for order, names in enumerate(self.ways, 1)
            )

        directions = np.array(self.directions).swapaxes(0, 1)
        results = cr.compile(cr.vmap(everything))(np.array(self.program.points), directions)
        for order, found in enumerate(results, 1):
            for lane in range(len(self.program.points)):
                self.compare("lanes", order, lane, found[lane], self.along(lane, order))


@pytest.mark.parametrize("first", range(0, PROGRAMS, 10))
def test_derivatives_of_random_programs(first: int) -> None:
    """No derivative of ten programs differs from the power series'."""
    problems: list[str] = []
    for seed in range(first, min(first + 10, PROGRAMS)):
        problems += Check(seed).run()
    assert not problems, f"{len(problems)} wrong\n" + "\n".join(problems[:3])


def test_programs_have_zeros_inside() -> None:
    """Inner values are exactly 0 in many programs, and no function is left out."""
    with_zero = 0
    text = ""
    for seed in range(300):
        program = smooth_program(seed, lanes=1)
        text += program.source
        values: list[float] = []
        noted = {
            name: _noting(function, values) if callable(function) else function
            for name, function in FUNCTIONS.items()
        }
        program.function(noted)(*map(cr.Node, program.points[0]))
        with_zero += 0.0 in values
    assert with_zero > 60
    assert all(f"{name}(" in text for name in power_series.FUNCTIONS)


def _noting(function: Function, values: list[float]) -> Function:
    def noting(*args: Any) -> Any:
        values.extend(x.data for x in args if isinstance(x, cr.Node))
        return function(*args)

    return noting


@pytest.mark.parametrize("name", sorted(ONE_NUMBER))
def test_series_are_those_of_mpmath(name: str) -> None:
    """Each function's series against derivatives by differences at many digits."""
    found = 0
    for x in (-1.3, -0.5, 0.0, 0.3, 1.0, 2.5):
        (variable,) = power_series.variables_at([x])
        series = power_series.FUNCTIONS[name](variable)
        if isinstance(series, Series):
            found += 1
            with mp.workdps(60):
                expected = mp.taylor(ONE_NUMBER[name], mp.mpf(x), power_series.ORDER)
            for mine, other in zip(series.terms, expected, strict=True):
                assert abs(mine - other) < 1e-12 * (1 + abs(other))
    assert found


def test_a_wrong_derivative_is_found() -> None:
    """The reference tells derivatives that differ by a part in a million."""
    for seed in range(20):
        check = Check(seed)
        series = check.program.series[0]
        for order in range(1, power_series.ORDER + 1):
            directions = check.along(0, order)
            value, size = series.derivative(directions)
            check.compare("exact", order, 0, float(value), directions)
            assert not check.problems
            if size:
                check.compare("wrong", order, 0, float(value) + 1e-6 * size + 1e-9, directions)
                assert check.problems.pop()


def main() -> None:
    """Check as many programs as the first argument says, from the seed in the second on."""
    count = int(sys.argv[1])
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    programs = wrong = 0
    for seed in range(first, first + count):
        problems = Check(seed).run()
        programs += bool(problems)
        wrong += len(problems)
        for problem in problems[:1]:
            print(problem, flush=True)
    print(f"{count} programs: {programs} with wrong derivatives, {wrong} in all")
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
