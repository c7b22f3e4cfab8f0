"""Random smooth programs as Python source, grown so that none of their points is singular.

Each statement is run on power series at every point before it is taken. Inner values are 0 often:
points and constants are chosen for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import power_series
from power_series import Series, SingularError, Undefined

NUMBERS = ("0.0", "1.0", "-1.0", "0.5", "-0.5", "2.0", "3.0", "-4.0", "0.25", "1.7")
COORDINATES = (0.0, 1.0, -0.5)

STATEMENTS = (
    *("{a} * {b}", "{a} * {b}", "{a} * {a}", "{a} + {b}", "{a} - {b}", "{a} * {b} * {a}"),
    *("{n} * {a}", "{a} + {n}", "{n} - {a}", "{a} - {n}", "-{a}", "{a} / {n}"),
    *("{a} / {b}", "{n} / {a}", "{a} / (1 + {b} * {b})", "{a} / ({n} + {b})"),
    *("{a} ** 2", "{a} ** 3", "{a} ** 4", "{a} ** 5", "{a} ** 1", "{a} ** 0", "{a} ** -1"),
    *("{a} ** -2", "{a} ** 0.5", "{a} ** 1.5", "{a} ** -0.5", "{a} ** 2.5", "{a} ** {b}"),
    *("2.0 ** {a}", "pow({a}, 3)", "pow({a}, {b})", "(1 + {a} * {a}) ** {b}"),
    *("(({n} * {a} - 1) * {a} + {m}) * {a} - {n}", "((2 * {a} - 1) * {a} + 3) * {a} - 4"),
    *("({a} - {n}) * ({a} - {m}) * {b}", "{a} * {a} * exp(-{a} * {a})", "sin({a}) * {a} * {b}"),
    *("{b} * exp({a})", "expm1({a}) * {b}", "{a} * sin({b})", "{a} * cos({b})", "{b} * atan({a})"),
    *("log1p({a}) * {b}", "{a} * tanh({b})", "sin({a}) / (1 + {b} * {b})", "sqrt(1 + {a})"),
    *("exp({a})", "exp(-{a} * {a})", "exp2({a})", "expm1({a})", "log({a})", "log1p({a})"),
    *("log2({a})", "log10({a})", "log(1 + {a} * {a})", "sqrt({a})", "sqrt({a} * {a} + {b} * {b})"),
    *("cbrt({a})", "sin({a})", "cos({a})", "tan({a})", "asin({a})", "acos({a})", "atan({a})"),
    *("atan2({a}, {b})", "atan2({a}, {n})", "atan2({n}, {a})", "hypot({a}, {b})"),
    *("hypot({a}, {n})", "hypot({a}, {b}, {c})", "hypot({a}, {b}) ** 2", "sinh({a})", "cosh({a})"),
    *("tanh({a})", "asinh({a})", "acosh(1.5 + {a})", "atanh({a})", "sigmoid({a})", "softplus({a})"),
    *("erf({a})", "erfc({a})", "norm_cdf({a})", "norm_pdf({a})", "lgamma(1 + {a})"),
    *("gamma(1 + {a})", "fma({a}, {b}, {c})", "fsum([{a}, {b}, {c}])", "prod([{a}, {b}, {c}])"),
    *("dot([{a}, {b}], [{b}, {c}])", "logsumexp([{a}, {b}, {c}])"),
)
"""What is smooth."""

PICKS = (
    *("maximum({a}, {b})", "minimum({a}, {n})", "relu({a}) * {b}", "abs({a}) * {b}"),
    *("max({a}, {b}) * {c}", "min({a}, {b}, {c})", "sorted([{a}, {b}, {c}])[1]"),
    *("({a} * {c} if {a} > {b} else {b})", "where({a} > {b}, {a} * {c}, {b})"),
    *("where({a} > {n}, {b}, log({c}))", "where({a} > {n}, 1 / {c}, {b} * {c})"),
    *("where({a} < {n}, {b} * {c}, sqrt({c} * {c}))", "sqrt(relu({a})) + {b}"),
    *("sqrt(maximum({a}, 0.0)) * {b}", "relu({a}) ** 0.5 + {b}", "where({a} > {n}, {a}, 0.0)"),
    *("where({a} > 0, sqrt({a}), 0.0)", "where({a} > {b}, {c}, hypot({a}, {a}))"),
)
"""What picks one of several smooth pieces, and may leave a singular one aside."""


@dataclass(frozen=True)
class SmoothProgram:
    """A function of some numbers as source, with its power series.

    Attributes:
        source: ``def f(x0, x1, ...)``.
        points: where it is smooth.
        series: its power series at each of the points.
    """

    source: str
    points: list[list[float]]
    series: list[Series]

    def function(self, functions: Mapping[str, Any]) -> Callable[..., Any]:
        """The function, calling those given."""
        scope: dict[str, Any] = dict(functions)
        exec(self.source, scope)
        found: Callable[..., Any] = scope["f"]
        return found


def smooth_program(seed: int, lanes: int = 3) -> SmoothProgram:
    """A random program that has a power series at each of some points."""
    random = Random(seed)
    variables = random.choice((1, 2, 2, 3))
    points = [[_coordinate(random) for _ in range(variables)] for _ in range(lanes)]
    names = [f"x{i}" for i in range(variables)]
    scopes: list[dict[str, Any]] = []
    for point in points:
        series = power_series.variables_at(point)
        scopes.append({**power_series.FUNCTIONS, **dict(zip(names, series, strict=True))})
    lines = [f"def f({', '.join(names)}):"]
    unused = set(names)
    wanted, tries = random.randint(2, 9), 0
    while len(lines) <= wanted and tries < 200:
        tries += 1
        a, b, c = (_recent(random, names) for _ in range(3))
        text = random.choice(PICKS if random.random() < 0.15 else STATEMENTS).format(
            a=a, b=b, c=c, n=random.choice(NUMBERS), m=random.choice(NUMBERS)
        )
        values = [_value(text, scope) for scope in scopes]
        if any(value is None for value in values):
            continue
        name = f"v{len(lines)}"
        for scope, value in zip(scopes, values, strict=True):
            scope[name] = value
        lines.append(f"    {name} = {text}")
        unused = {other for other in unused if other not in text} | {name}
        names.append(name)
    result = " + ".join(sorted(unused | {names[-1]}))
    lines.append(f"    return {result}")
    series = [eval(result, scope) for scope in scopes]
    return SmoothProgram("\n".join(lines) + "\n", points, series)


def _coordinate(random: Random) -> float:
    if random.random() < 0.75:
        return random.choice(COORDINATES)
    return round(random.uniform(-2.0, 2.0), 3)


def _recent(random: Random, names: list[str]) -> str:
    return random.choice(names[-4:] if random.random() < 0.6 else names)


def _value(text: str, scope: dict[str, Any]) -> Series | None:
    """The series of an expression; None where it has none that floats could follow."""
    try:
        value = eval(text, scope)
    except SingularError:
        return None
    found: Series | Undefined = scope["x0"].like(value)
    return None if isinstance(found, Undefined) or not found.good() else found
