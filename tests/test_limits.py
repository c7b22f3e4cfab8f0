"""At singular inner values a derivative is the limit of its neighbours', or NaN, or infinite.

Random chains of functions whose inner values are 0 or infinite, so that the chain rule meets 0
times infinity. ``CHAINRULE_CHAINS=5000`` runs more of them.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from mpmath import mp
from test_zeros import ENGINES, WAYS, derivative

from chainrule import math as crmath
from chainrule.engine import COMPILED

CHAINS = int(os.environ.get("CHAINRULE_CHAINS", "300" if COMPILED else "60"))

STEPS = (
    *("1 / {a}", "1 / {a}", "{a} * {a}", "sqrt({a})", "log({a})", "exp({a})", "{a} ** 2"),
    *("{a} ** 0.5", "{a} ** 1.5", "{a} ** -1", "{a} ** -2", "{a} * x", "{a} / x", "x / {a}"),
    *(
        "{a} + x",
        "{a} - x",
        "0.0 * {a}",
        "{a} - {a}",
        "1 - {a}",
        "-{a}",
        "2 * {a}",
        "{a} * sqrt(x)",
    ),
    *("atan({a})", "tanh({a})", "sigmoid({a})", "softplus({a})", "erf({a})", "exp(-{a})"),
    *("log1p({a})", "expm1({a})", "sin({a})", "asinh({a})", "hypot({a}, x)", "hypot({a}, {a})"),
    *("{a} / (1 + {a})", "{a} / (1 + {a} * {a})", "norm_cdf({a})", "cbrt({a})", "hypot({a}, 1.0)"),
    *("atan2({a}, x)", "atan2(x, {a})", "fma({a}, x, {a})", "acosh(1 + {a})", "asin({a})"),
)
POINTS = (0.0, 0.0, 1.0, -1.0)

REAL: dict[str, Any] = {
    **{name: getattr(mp, name) for name in ("exp", "log", "sqrt", "sin", "atan", "tanh", "asinh")},
    **{name: getattr(mp, name) for name in ("erf", "expm1", "atan2", "acosh", "asin")},
    "log1p": lambda x: mp.log(1 + x),
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "softplus": lambda x: mp.log(1 + mp.exp(x)),
    "norm_cdf": mp.ncdf,
    "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
    "hypot": lambda x, y: mp.sqrt(x * x + y * y),
    "fma": lambda a, b, c: a * b + c,
}
"""The functions on real numbers of many digits."""


def chain(seed: int) -> tuple[str, float, int]:
    """A function of x as text, a point, and an order."""
    random = Random(f"chain {seed}")
    text = "x"
    for _ in range(random.randint(2, 4)):
        text = f"({random.choice(STEPS).format(a=text)})"
    return text, random.choice(POINTS), random.choice((1, 1, 2))


def function(text: str, scope: dict[str, Any]) -> Callable[[Any], Any]:
    """The function of the text."""
    found: Callable[[Any], Any] = eval(f"lambda x: {text}", dict(scope))
    return found


def neighbours(text: str, x: float, order: int) -> list[Any]:
    """The derivative a little to the left and to the right of a point, where it is real."""
    found = []
    with mp.workdps(120):
        f = function(text, REAL)
        for side in (-1, 1):
            near = mp.mpf(x) + side * mp.mpf(10) ** -20
            try:
                value = mp.diff(f, near, order, h=mp.mpf(10) ** -50)
            except (ArithmeticError, ValueError, TypeError, AttributeError):  # not real there
                continue
            if mp.im(value) == 0 and mp.isfinite(value):
                found.append(mp.re(value))
    return found


def agrees(found: float, limits: list[Any]) -> bool:
    """Whether it is NaN, infinite where a neighbour is huge, or between theirs (at a kink)."""
    if math.isnan(found) or not limits:
        return True
    if math.isinf(found):
        return any(abs(limit) > 1e6 for limit in limits)
    slack = 1e-6 * (1 + abs(found))
    between = min(limits) - slack <= found <= max(limits) + slack
    return bool(between and max(map(abs, limits)) < 1e6)


def problems_of(seed: int, engines: tuple[str, ...]) -> list[str]:
    """What is wrong with a chain, by way and engine."""
    text, x, order = chain(seed)
    f = function(text, {name: getattr(crmath, name) for name in crmath.__all__})
    limits: list[Any] | None = None
    problems = []
    for engine in engines:
        for way in WAYS:
            if order == 1 and len(WAYS[way]) > 1:
                continue
            try:
                found = float(derivative(f, order, way, engine)(x))
            except ZeroDivisionError:  # plain floats, where nothing depends on x
                continue
            if math.isnan(found):
                continue
            limits = neighbours(text, x, order) if limits is None else limits
            if not agrees(found, limits):
                shown = [mp.nstr(limit, 8) for limit in limits]
                problems.append(
                    f"seed {seed}: {text} at {x}, {order}, {way} {engine}: {found}, {shown}"
                )
    return problems


@pytest.mark.parametrize("first", range(0, CHAINS, 30))
def test_chains(first: int) -> None:
    """No finite number stands where the neighbours have another."""
    engines = tuple(ENGINES) if first % 60 == 0 else ("eager",)
    problems = []
    for seed in range(first, first + 30):
        problems += problems_of(seed, engines)
    assert not problems, "\n".join(problems[:5])


if __name__ == "__main__":
    wrong = 0
    for number in range(int(sys.argv[1])):
        lines = problems_of(number, ("eager",))
        wrong += bool(lines)
        for line in lines[:1]:
            print(line, flush=True)
    print(wrong, "wrong")
