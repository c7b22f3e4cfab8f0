"""Equal values of a run that are made one, where there are many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from recorded_programs import recorded

import chainrule as cr
from chainrule import math as cm
from chainrule import rules
from chainrule.passes import sharing
from chainrule.program.recording import CODE_OF, Row

SPECIAL = (0.0, -0.0, 1.0, -1.0, 1e200, -1e300, 1e-300, math.inf, -math.inf, math.nan)
TOLERANCE = 1e-9


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share whatever can be shared."""
    monkeypatch.setattr(sharing, "FEWEST", 1)
    monkeypatch.setattr(sharing, "WORTH", 1.0)
    monkeypatch.setattr(sharing, "MANY", 1)


def tree(seed: int, inputs: int = 3) -> Callable[[Sequence[Any]], Any]:
    """A function that computes its values again and again: a graph, written out as a tree."""
    random = Random(seed)
    steps: list[tuple[int, list[int]]] = []
    for place in range(inputs, inputs + 7):
        steps.append((random.randrange(9), [random.randrange(place) for _ in range(3)]))

    def value(x: Sequence[Any], place: int) -> Any:
        if place < inputs:
            return x[place]
        kind, (i, j, k) = steps[place - inputs]
        a, b = value(x, i), value(x, j)
        if kind < 3:
            return (a * b, a + b, a - b)[kind]
        if kind < 7:
            return (a / b, cm.exp(a), cm.sin(a) * b, cm.sqrt(b))[kind - 3]
        return cm.where(a > 0.5, b, value(x, k)) if kind == 7 else cm.maximum(a, b)

    last = inputs + len(steps) - 1
    return lambda x: value(x, last) + value(x, last - 1) * value(x, last - 2)


def assert_equal(found: Any, expected: Any) -> None:
    """The same to rounding, infinities and NaN too."""
    found, expected = (np.ravel(np.asarray(y, dtype=float)) for y in (found, expected))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1e-300)
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE * scale)


@pytest.mark.parametrize("seed", range(40))
def test_gradients(seed: int) -> None:
    """Values to the last bit, and gradients; where something is not finite, the same is not."""
    f = tree(seed)
    random = Random(seed)
    compiled = cr.compile(cr.value_and_grad(f))
    lanes = cr.compile(cr.vmap(cr.value_and_grad(f)))
    points = [[random.uniform(-2.0, 2.0) for _ in range(3)] for _ in range(4)]
    for _ in range(6):
        point = [random.uniform(-2.0, 2.0) for _ in range(3)]
        point[random.randrange(3)] = random.choice(SPECIAL)
        points.append(point)
    with np.errstate(all="ignore"):
        expected = [cr.value_and_grad(f)(point) for point in points]
    values, gradients = lanes([np.array(column) for column in zip(*points, strict=True)])
    for lane, (point, (value, gradient)) in enumerate(zip(points, expected, strict=True)):
        found = compiled(point)
        assert_equal(found[0], value)
        assert_equal(found[1], gradient)
        assert_equal(values[lane], value)
        assert_equal([column[lane] for column in gradients], gradient)


@pytest.mark.parametrize("seed", range(40, 60))
def test_second_derivatives(seed: int) -> None:
    """Derivatives of derivatives."""
    f = tree(seed)
    random = Random(seed)
    compiled = cr.compile(cr.hessian(f))
    for _ in range(3):
        point = [random.uniform(0.25, 2.0) for _ in range(3)]
        with np.errstate(all="ignore"):
            assert_equal(compiled(point), cr.hessian(f)(point))


def infinite(x: Any) -> Any:
    """Twice the same product with what can be infinite, and messages of other signs."""
    big = x[0] / x[1]
    return (x[2] * big) * 1.0 + (x[2] * big) * -2.0


def test_infinite_local_gradients() -> None:
    """Two messages 1 and -2 times infinity are NaN, not -1 times infinity."""
    gradient = cr.compile(cr.grad(infinite))
    for point in ([1.0, 2.0, 3.0], [1.0, 0.0, 3.0], [1.0, 2.0, -3.0]):
        assert_equal(gradient(point), cr.grad(infinite)(point))
    assert math.isnan(gradient([1.0, 0.0, 3.0])[2])


def test_results_that_are_replaced() -> None:
    """What is not finite is asked for where it is derived, not only where it leaves."""

    def f(x: Any) -> Any:
        slope = cr.grad(infinite)(x)[2]
        return cm.where(slope < 0.0, 1.0, 2.0)

    compiled = cr.compile(f)
    for point in ([1.0, 2.0, 3.0], [1.0, 0.0, 3.0]):
        assert compiled(point) == f(point)


def test_outcomes_of_what_is_derived() -> None:
    """Branches that hang on a derivative are taken as in an eager run."""

    def f(x: Any) -> Any:
        return 1.0 if cr.grad(infinite)(x)[2] < 0.0 else x[0]

    compiled = cr.compile(f)
    for point in ([1.0, 2.0, 3.0], [2.0, 0.0, 3.0], [-1.0, 0.0, 3.0], [-1.0, 3.0, 3.0]):
        assert compiled(point) == f(point)


def test_a_recursion_is_small() -> None:
    """A determinant by expansion is n! products of 2^n values."""

    def determinant(a: Any, columns: tuple[int, ...]) -> Any:
        row = len(a) - len(columns)
        if len(columns) == 1:
            return a[row][columns[0]]
        total = 0.0
        for k, column in enumerate(columns):
            minor = determinant(a, columns[:k] + columns[k + 1 :])
            total = total + (a[row][column] * minor if k % 2 == 0 else -a[row][column] * minor)
        return total

    whole = tuple(range(6))
    a = np.random.default_rng(1).normal(size=(6, 6))
    recording, _, _ = recorded(
        lambda x: determinant(np.array(x).reshape(6, 6), whole), a.ravel().tolist()
    )
    same = sharing.worth_sharing(recording)
    assert same is not None
    shared = sharing.Sharing(recording, same)
    assert len(shared) < 500 < len(recording) // 5
    products: list[int] = []  # of those that lead to each row
    for row, code in enumerate(shared.codes.tolist()):
        operands = [x for x in (shared.left[row], shared.right[row]) if x >= 0]
        assert code >= Row.MARKS or all(x < row for x in operands)
        known = [products[x] for x in operands if code < Row.MARKS]
        products.append(max(known, default=0) + (code == CODE_OF[rules.multiply]))
    levels = [products[row] for row in np.flatnonzero(shared.codes == CODE_OF[rules.multiply])]
    assert levels == sorted(levels)
    found = cr.compile(cr.value_and_grad(lambda x: determinant(x, whole)))(a)
    assert_equal(found[0], np.linalg.det(a))
    assert_equal(found[1], np.linalg.det(a) * np.linalg.inv(a).T)


def test_more_operands_of_picks_than_rows() -> None:
    """What picks read stands in a pool, at numbers that are no rows."""

    def picks(x: Any, y: Any) -> Any:
        total, above = y, x > y
        for k in range(288):
            total = total + cm.where(above, x, 0.25 * (k % 24))
        return cm.where(above, total, y)

    found = cr.compile(cr.value_and_grad(picks, (0, 1)))(0.5, 0.25)
    value, gradient = cr.value_and_grad(picks, (0, 1))(0.5, 0.25)
    assert_equal(found[0], value)
    assert_equal(found[1], gradient)
