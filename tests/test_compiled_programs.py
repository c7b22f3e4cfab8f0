"""Compiled equals eager equals mpmath, over random programs with branches, loops and kinks.

Values of + - * /, square roots and comparisons must agree to the last bit. In others, compiled
functions may differ by units in the last place; what these come to in the result shows from eager
runs with noise of some units in each operation.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import dual_numbers
import numpy as np
import optree
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from random_programs import SIMPLIFIED, SPECIAL, TEMPLATES, Program, points, program

import chainrule as cr
from chainrule import math as crmath
from chainrule import rules
from chainrule.engine import COMPILED

LANES = 4
FEW_UNITS = 4e-15
"""A relative difference that needs no explanation: 18 units in the last place."""
NOISE_RUNS = 4
NEGLIGIBLE = 1e-290

# Each run of the tests, with the engine compiled and plain, has programs of its own: 2,500 in all.
# Of 1,000 programs, 30 use an operation, and no fewer than 12; 300 have a while loop, or elif.
OFFSET = 0 if COMPILED else 2**32
PROGRAMS = int(os.environ.get("CHAINRULE_TEST_PROGRAMS", 1000 if COMPILED else 250))


def examples(count: int) -> settings:
    """Hypothesis' settings for so many programs, the same ones in each run."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def functions() -> dict[str, Any]:
    """What programs call, on floats and nodes."""
    found: dict[str, Any] = dict(rules.OPERATIONS)
    found.update({name: getattr(crmath, name) for name in crmath.__all__})
    found.update(t=crmath.tanh, abs=abs)
    return found


FUNCTIONS = functions()
DUAL_FUNCTIONS = dual_numbers.functions()


def with_derivatives(f: Callable[..., Any], made: Program, second: bool) -> Callable[..., Any]:
    """The function that gives value, gradient and perhaps second derivatives."""
    argnums: Any = 0 if made.as_array else tuple(range(made.inputs))
    first = cr.value_and_grad(f, argnums=argnums)
    if not second:
        return first
    hessian = cr.hessian(f, argnums=argnums)
    return lambda *args: (first(*args), hessian(*args))


def flat(tree: Any) -> list[float]:
    """All numbers of a result: the value, the gradient, the second derivatives."""
    leaves = optree.tree_leaves(tree)
    return [float(x) for leaf in leaves for x in np.ravel(leaf)]


def eager(f: Callable[..., Any], made: Program, table: Sequence[Sequence[float]]) -> list[Any]:
    """The results at some points; None where Python itself raises, for plain numbers."""
    results: list[Any] = []
    for row in table:
        try:
            results.append(flat(f(np.array(row)) if made.as_array else f(*row)))
        except ZeroDivisionError:
            results.append(None)
    return results


def compiled(f: Callable[..., Any], made: Program, table: Sequence[Sequence[float]]) -> Any:
    """The results in lanes, a row for each, and the compiled function."""
    call = cr.compile(cr.vmap(f))
    columns = np.array(table)
    result = call(columns) if made.as_array else call(*columns.T)
    leaves = optree.tree_leaves(result)
    rows = np.concatenate([np.reshape(leaf, (len(table), -1)) for leaf in leaves], axis=1)
    return rows, call


def bits(x: float) -> bytes:
    """A float64 as bytes; NaN is one value."""
    return struct.pack("<d", x if x == x else math.nan)


def same(x: float, y: float) -> bool:
    """Whether they are equal, or both NaN."""
    return x == y or (x != x and y != y)


def near(x: float, y: float) -> bool:
    """Whether they are equal but for a few units in the last place."""
    return same(x, y) or abs(x - y) <= FEW_UNITS * abs(y) + NEGLIGIBLE


class Noise:
    """What errors of some units in the last place of each operation come to, at one point.

    Args:
        made: the program.
        second: whether second derivatives are among the results.
        row: the point.
    """

    def __init__(self, made: Program, second: bool, row: Sequence[float]) -> None:
        self.random = Random(made.source)
        noisy = with_derivatives(made.function(FUNCTIONS, self.disturbed), made, second)
        self.runs: list[Any] = [eager(noisy, made, [row])[0] for _ in range(NOISE_RUNS)]

    def disturbed(self, x: Any) -> Any:
        """A number some units larger or smaller."""
        units = self.random.choice((-1, 1)) * self.random.randint(4, 8)
        return x * (1.0 + units * 2.0**-52)

    def explains(self, k: int, found: float, expected: float, slack: float = 0.0) -> bool:
        """Whether noise makes as large a difference in result k, or leaves nothing to compare.

        The latter is so where a branch, a kink or a pole is so near that it decides what comes out.
        """
        values: list[float] = [math.nan if run is None else run[k] for run in self.runs]
        if any(math.isfinite(value) != math.isfinite(expected) for value in values):
            return True
        spread = max(abs(value - expected) for value in values)
        if spread > 1e-7 * abs(expected) + 1e-100:
            return True
        return abs(found - expected) <= 4.0 * spread + FEW_UNITS * abs(expected) + slack


def programs(exact: bool) -> Any:
    """A strategy for programs, with a seed for other choices."""
    return st.builds(
        lambda seed, statements: (program(seed + OFFSET, statements, exact), seed),
        st.integers(0, 2**32 - 1),
        st.integers(1, 5),
    )


@examples(PROGRAMS)
@given(programs(exact=True))
def test_arithmetic_is_eager_to_the_last_bit(drawn: tuple[Program, int]) -> None:
    """Values; first and second derivatives nearly. Lanes on several branches, special numbers."""
    made, seed = drawn
    second = seed % 3 == 0
    f = made.function(FUNCTIONS)
    all_of_f = with_derivatives(f, made, second)
    table = points(seed, made.inputs, LANES)
    expected = eager(all_of_f, made, table)
    table = [row for row, result in zip(table, expected, strict=True) if result is not None]
    expected = [result for result in expected if result is not None]
    assume(expected)
    found, call = compiled(all_of_f, made, table)
    event(f"{min(call.stats().traces, 5)} traces")
    for row, mine, eagers in zip(table, found.tolist(), expected, strict=True):
        assert bits(mine[0]) == bits(eagers[0]), (row, mine[0], eagers[0])
        check_within_units(made, second, row, mine, eagers)  # terms come in another order
    if seed % 4 == 0:
        check_a_single_point(f, made, table[0], found[0, 0])


def check_a_single_point(
    f: Callable[..., Any], made: Program, row: Sequence[float], lane: float
) -> None:
    """Without lanes, and on plain floats, the value is the lane's to the last bit."""
    point = [np.array(row)] if made.as_array else row
    assert bits(cr.compile(f)(*point)) == bits(lane)
    try:
        plain = f(list(row)) if made.as_array else f(*row)
    except ZeroDivisionError:
        return
    assert bits(float(plain)) == bits(lane)


def check_within_units(
    made: Program,
    second: bool,
    row: Sequence[float],
    found: Sequence[float],
    expected: Sequence[float],
    slack: Sequence[float] | None = None,
) -> None:
    """A result differs by no more than rounding errors explain; NaN and infinities not at all."""
    if all(map(near, found, expected)):
        return
    noise = Noise(made, second, row)
    if slack is None:  # messages that nearly cancel are added up in another order
        near_row = [max(abs(x), 1e-3) if math.isfinite(x) else 1.0 for x in row]
        sizes = typical_sizes(near_row, expected, second)
        slack = [2.0**-51 * size if math.isfinite(size) else 0.0 for size in sizes]
    for k, (x, y) in enumerate(zip(found, expected, strict=True)):
        if not near(x, y):
            assert noise.explains(k, x, y, slack[k]), (row, k, found, expected, noise.runs)


@examples(PROGRAMS)
@given(programs(exact=False))
def test_all_operations_are_eager_within_units(drawn: tuple[Program, int]) -> None:
    """NaN and infinities come out the same, everything else as near as rounding lets it.

    Of most programs some results are compared with mpmath, too.
    """
    made, seed = drawn
    second = seed % 3 == 0
    all_of_f = with_derivatives(made.function(FUNCTIONS), made, second)
    plain = points(seed, made.inputs, 3, special=0.0) if seed % 7 < 4 else []
    table = plain + points(seed, made.inputs, LANES, special=0.1)
    results = eager(all_of_f, made, table)
    kept = [k for k, result in enumerate(results) if result is not None]
    assume(kept)
    found, call = compiled(all_of_f, made, [table[k] for k in kept])
    event(f"{min(call.stats().traces, 5)} traces")
    for k, mine in zip(kept, found.tolist(), strict=True):
        check_within_units(made, second, table[k], mine, results[k])
        if k < len(plain):
            check_with_mpmath(made, second, table[k], mine)


def check_with_mpmath(
    made: Program, second: bool, row: Sequence[float], found: Sequence[float]
) -> None:
    """A result is that of dual numbers at 50 digits, which know nothing of the rules."""
    f = made.function(DUAL_FUNCTIONS)
    try:
        value, slope, rows = dual_numbers.derivatives(f, row, made.as_array, second)
    except dual_numbers.Unclear:
        return
    event("compared with mpmath")
    expected = [float(x) for x in (value, *slope, *[x for row in rows for x in row])]
    slack = [FEW_UNITS * size for size in typical_sizes(row, expected, second)]
    check_within_units(made, second, row, found, expected, slack)


def typical_sizes(row: Sequence[float], result: Sequence[float], second: bool) -> list[float]:
    """How large the terms are that a derivative is the sum of, by the dimension: y / x, y / x**2.

    They may cancel, and leave their rounding errors.
    """
    value, slope = abs(result[0]), [abs(g) for g in result[1 : 1 + len(row)]]
    first = [value / abs(x) + g for x, g in zip(row, slope, strict=True)]
    sizes = [value, *first]
    if second:
        sizes += [sum(first) / min(abs(x), abs(y)) for x in row for y in row]
    return sizes


@pytest.mark.parametrize("text", SIMPLIFIED)
def test_simplifications_are_exact(text: str) -> None:
    """To the sign of a zero, for all pairs of special numbers; gradients as eager ones."""
    f = eval("lambda a, b: " + text.format(a="a", b="b") + " + 0.0 * b * 0.0")
    g = eval("lambda a, b: " + text.format(a="a", b="b"))
    pairs = [(a, b) for a in SPECIAL for b in SPECIAL]
    a, b = np.array(pairs).T
    values = cr.compile(cr.vmap(g))(a, b)
    _, slopes = cr.compile(cr.vmap(cr.value_and_grad(f, argnums=(0, 1))))(a, b)
    for i, point in enumerate(pairs):
        y = g(*map(cr.Node, point))
        assert bits(values[i]) == bits(y.data if isinstance(y, cr.Node) else y), point
        expected = cr.grad(f, argnums=(0, 1))(*point)
        assert all(map(same, [slope[i] for slope in slopes], expected)), point


@pytest.mark.parametrize("n", [-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 2, 3])
def test_powers(n: float) -> None:
    """Small whole ones are products: within two units, with derivatives, at all special numbers."""
    f = cr.value_and_grad(lambda x: x**n)
    x = [*SPECIAL, 1.1, -1.7, 7.3, 1e-200]
    values, slopes = cr.compile(cr.vmap(f))(np.array(x))
    second = cr.compile(cr.vmap(cr.hessian(lambda x: x**n)))(np.array(x))
    for i, point in enumerate(x):
        value, slope = f(point)
        assert values[i] == pytest.approx(value, rel=5e-16, abs=0.0, nan_ok=True), point
        assert slopes[i] == pytest.approx(slope, rel=5e-16, abs=0.0, nan_ok=True), point
        curvature = cr.hessian(lambda x: x**n)(point)
        assert second[i] == pytest.approx(curvature, rel=1e-15, abs=0.0, nan_ok=True), point


def test_programs_use_every_operation() -> None:
    """All of the table that programs call by name."""
    named: set[str] = set()
    for seed in range(600):
        named |= program(seed, 5, exact=False).names
    assert named == set(TEMPLATES)


def test_a_small_error_is_found() -> None:
    """A result that is wrong by a part in 10 billion is not taken for a rounding error."""
    found = missed = 0
    for seed in range(60):
        made = program(seed, 4, exact=False)
        table = points(seed, made.inputs, 1, special=0.0)
        f = with_derivatives(made.function(FUNCTIONS), made, second=True)
        right = eager(f, made, table)[0]
        for k, x in enumerate(right):
            wrong = list(right)
            wrong[k] = x * (1.0 + 1e-10)
            if math.isfinite(x) and x != 0.0:
                try:
                    check_within_units(made, True, table[0], wrong, right)
                    missed += 1
                except AssertionError:
                    found += 1
    assert found > 150
    assert missed < 0.02 * found  # what rounding errors make worse than that


def where_twice(x: Any) -> Any:
    """A chain of two roots that is not taken for x < 0."""
    return crmath.where(x > 0.0, crmath.sqrt(crmath.sqrt(x)), 0.0)


GUARDED: dict[str, Callable[[Any], Any]] = {
    "roots": where_twice,
    "square of roots": lambda x: where_twice(x) ** 2,
    "exp of roots": lambda x: crmath.exp(where_twice(x) * x),
    "x log x": lambda x: crmath.where(x > 0.0, x * crmath.log(x), 0.0),
    "sinc": lambda x: crmath.where(x != 0.0, crmath.sin(x) / x, 1.0),
    "bump": lambda x: crmath.where(x > 0.0, crmath.exp(-1.0 / x), 0.0),
    "taken both ways": lambda x: crmath.where(x > 0.0, crmath.log(x), x) ** 3,
}


@pytest.mark.parametrize("x", [0.0, -1.0, 1.0])
@pytest.mark.parametrize("name", GUARDED)
def test_what_where_leaves_out_is_0_in_every_derivative(name: str, x: float) -> None:
    """Its own derivatives are infinite or NaN; of the third order too, eager and compiled."""
    f = GUARDED[name]
    for _ in range(4):
        y = f(cr.Node(x))  # plain floats raise for 1 / 0
        expected = y.data if isinstance(y, cr.Node) else y
        assert math.isfinite(expected)
        found = cr.compile(f)(x)
        assert math.isfinite(found)
        assert found == pytest.approx(expected, rel=1e-13, abs=1e-15)
        f = cr.grad(f)
