"""Transformations in a trace: what is recorded of them, and what they come to meanwhile."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import numpy as np
import pytest
from transformed_programs import program

import chainrule as cr
from chainrule.differentiation import fresh_input, numeric_passes
from chainrule.jit import segments
from chainrule.jit.segments import MOST_COLOURS, coloured
from chainrule.jit.sites import PlainSites
from chainrule.jit.trace import Recorder
from chainrule.node import Node
from chainrule.program.recording import Row
from chainrule.tracing import recording

POINTS = ((0.5, -0.75, 1.25), (0.0, 0.0, 0.0), (-1.5, 2.0, 0.25))


def run(function: Any, point: Any) -> tuple[list[float], Any]:
    """The values of a run of a function that is recorded, and the recording."""
    recorder = Recorder((), PlainSites(), segments=True)
    with recording(recorder) as level:
        inputs = [fresh_input(x, level) for x in point]
        recorder.begin(inputs, level, ())
        outputs = function(inputs)
        rows = recorder.recorded._recording
        rows.in_order([recorder.recorded.record(y) for y in outputs])
        return [y._number if isinstance(y, Node) else y for y in outputs], rows


@pytest.mark.parametrize("seed", range(150))
def test_values_meanwhile(seed: int) -> None:
    """The values are those of the function outside of a trace; the rows are in order."""
    function = program(seed)
    for point in POINTS:
        found, rows = run(function, point)
        for x, y in zip(found, function(list(point)), strict=True):
            assert math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-9) or (x != x and y != y)
        check_marks(rows)


def check_marks(rows: Any) -> None:
    """Brackets that nest, with their inputs first and their outputs last; derivatives in full."""
    open_: list[int] = []
    sizes: dict[int, list[int]] = {}
    around: dict[int, list[int]] = {}
    before = -1
    expected = 0  # results to come
    for code, left, right in zip(rows.codes, rows.left, rows.right, strict=True):
        assert (expected > 0) == (code == Row.RESULT)
        if code == Row.BEGIN:
            open_.append(left)
            sizes[left] = [0, 0]
            around[left] = open_[:-1]
        elif code == Row.ENTER:
            assert before in (Row.BEGIN, Row.ENTER)
            assert sizes[open_[-1]][0] == right
            sizes[open_[-1]][0] += 1
        elif code == Row.LEAVE:
            assert sizes[open_[-1]][1] == right
            sizes[open_[-1]][1] += 1
        elif code == Row.END:
            assert before == Row.LEAVE
            assert open_.pop() == left
        elif code in (Row.PULL, Row.PUSH):
            assert open_[: len(around[left])] == around[left]
            expected = results = sizes[left][1 if code == Row.PUSH else 0]
        elif code == Row.RESULT:
            assert left == results - expected
            expected -= 1
        if before == Row.LEAVE:
            assert code in (Row.LEAVE, Row.END)
        if before == Row.GIVE:
            assert code in (Row.GIVE, Row.PULL, Row.PUSH)
        before = code
    assert not open_
    assert not expected


@pytest.mark.parametrize("seed", range(150))
def test_compiled(seed: int) -> None:
    """The derivatives of the segments, by the program: the same as eagerly, at zeros too."""
    function = program(seed)
    compiled = cr.compile(lambda *xs: function(xs))
    for point in POINTS:
        for x, y in zip(compiled(*point), function(list(point)), strict=True):
            assert math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-9) or (x != x and y != y)


def newton(x: Any, steps: int = 40) -> Any:
    """Minimizes a function by its derivatives, as far as these say."""

    def f(z: Any) -> Any:
        return cr.math.cosh(z - 0.5) + 0.1 * z * z

    for _ in range(steps):
        slope, bend = cr.grad(f)(x), cr.grad(cr.grad(f))(x)
        if abs(slope) < 1e-9:
            break
        x = x - slope / bend if bend > 1.05 else x - 0.5 * slope
    return x


def test_guards_on_derivatives() -> None:
    """Branches that hang on derivatives, in a loop and by lane; differentiated around, too."""
    points = [0.1, 2.0, -3.0, 0.5, 4.0]
    compiled, lanes = cr.compile(newton), cr.compile(cr.vmap(newton))
    slopes = cr.compile(cr.value_and_grad(newton))
    for x in points:
        assert math.isclose(compiled(x), newton(x), rel_tol=1e-12)
        for found, right in zip(slopes(x), cr.value_and_grad(newton)(x), strict=True):
            assert math.isclose(found, right, rel_tol=1e-9, abs_tol=1e-9)
    np.testing.assert_allclose(lanes(np.array(points)), [newton(x) for x in points], rtol=1e-12)


def test_segments_that_are_nodes() -> None:
    """Sparse matrices and custom gradients around, inside and beside others."""

    @cr.custom_gradient
    def square(x: Any) -> Any:
        return x * x, lambda g: g * 2.0 * x

    def f(x: Any, y: Any) -> Any:
        def inner(a: Any) -> Any:
            return square(a) * y + cr.grad(lambda b: b * b * b * a)(y)

        def outer(a: Any) -> Any:
            return cr.grad(inner)(a) * a + cr.grad(lambda b: cr.math.sin(b) * a)(a)

        return cr.value_and_grad(outer)(x)

    def matrix(z: Any) -> Any:
        def g(z: Any) -> Any:
            return cr.grad(lambda a: a[0] * a[0] * z[1] + cr.math.exp(a[1]))(z)[0] * z[2]

        return cr.hessian(g, sparse=True)(z)

    for x, y in ((0.5, 1.5), (0.0, -2.0)):
        for found, right in zip(cr.compile(f)(x, y), f(x, y), strict=True):
            assert math.isclose(found, right, rel_tol=1e-12)
    z = np.array([0.5, 1.5, -1.0])
    np.testing.assert_allclose(cr.compile(matrix)(z).toarray(), matrix(z).toarray(), rtol=1e-12)


def test_what_is_pulled_back_after_its_surroundings() -> None:
    """A segment that stands in another one is not used once that is closed: nodes are."""
    kept: list[Any] = []

    def inner(x: Any) -> Any:
        value, pull_back = cr.vjp(lambda a: a * a * x, x)
        kept.append(pull_back)
        return value

    def f(x: Any) -> Any:
        kept.clear()
        slope = cr.grad(inner)(x)
        return slope + cr.stop_gradient(kept[0](3.0)[0])

    assert cr.compile(f)(1.5) == 3.0 * 1.5**2 + 3.0 * (2.0 * 1.5 * 1.5)


def test_what_is_left_inside_raises() -> None:
    """A value inside of a transformation is lost with it, unless it is among its results."""
    kept: list[Any] = []

    def inner(x: Any) -> Any:
        square = x * x
        kept.append(square)
        return square * x, square

    def f(x: Any, result: int) -> Any:
        kept.clear()
        slope, square = cr.grad(inner, has_aux=True)(x)
        return slope + (square, kept[0], cr.grad(lambda a: a * square)(x))[result]

    compiled = cr.compile(f)
    assert compiled(2.0, 0) == compiled(2.0, 1) == compiled(2.0, 2) == 16.0

    def without(x: Any) -> Any:
        kept.clear()
        return cr.grad(lambda a: inner(a)[0])(x) + kept[0]

    with pytest.raises(cr.TracedValueError):
        cr.compile(without)(2.0)


def test_results_that_are_derivatives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their numbers are not computed while they are recorded, if they decide nothing."""
    passes: list[bool] = []

    def noted(*args: Any, **named: Any) -> Any:
        passes.append(not named.get("structure", False))
        return numeric_passes(*args, **named)

    monkeypatch.setattr(segments, "numeric_passes", noted)
    compiled = [cr.compile(cr.value_and_grad(lambda x: x * x * x)), cr.compile(cr.jacrev(list))]
    assert compiled[0](2.0) == (8.0, 12.0)
    assert np.array_equal(compiled[1]([2.0, 3.0]), np.eye(2))
    assert not any(passes)
    slope = cr.grad(lambda x: x * x * x)
    assert cr.compile(lambda x: slope(x) if slope(x) > x else 0.0)(2.0) == 12.0
    assert cr.compile(cr.grad(lambda x: slope(x) * x if slope(x) > x else x))(2.0) == 36.0
    assert any(passes)


def sparse_function(random: Random, size: int, outputs: int) -> Any:
    """A function of few numbers for each of its results: neighbours, strangers, or all."""
    picks = [
        sorted(random.sample(range(size), random.choice((1, 2, 2, 3)))) for _ in range(outputs)
    ]
    if random.random() < 0.3:
        picks[random.randrange(outputs)] = list(range(size))
    kinds = [random.randrange(5) for _ in range(outputs)]

    def f(x: Any) -> Any:
        results = []
        for pick, kind in zip(picks, kinds, strict=True):
            y = x[pick[0]] * 1.0
            for k in pick[1:]:
                z = x[k]
                if kind == 0:
                    y = y * z
                elif kind == 1:
                    y = y + cr.math.sin(z) * y
                elif kind == 2:
                    y = cr.math.maximum(y, z * z)
                elif kind == 3:
                    y = cr.math.where(z > 0.0, y * z, y)
                else:
                    y = y + z
            results.append(y)
        return results

    return f


@pytest.mark.parametrize("seed", range(40))
def test_sparse_matrices(seed: int) -> None:
    """The pattern is that of eager code, entries are dense ones; also with values beside them."""
    random = Random(seed)
    size, outputs = random.choice(((5, 5), (30, 30), (45, 7), (7, 45)))
    f = sparse_function(random, size, outputs)

    def total(x: Any) -> Any:
        return sum(y * y for y in f(x)) if seed % 2 else sum(f(x))

    def all_of_it(x: Any) -> Any:
        slope = cr.jacobian(lambda x: np.array(f(x)), sparse=True)(x)
        return slope, cr.grad(total)(x), cr.hessian(total, sparse=True)(x)

    compiled = cr.compile(all_of_it)
    for _ in range(3):
        x = np.array([random.choice((0.0, random.gauss(0.0, 1.0))) for _ in range(size)])
        found, expected = compiled(x), all_of_it(x)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-12, atol=1e-12)
        for mine, right in ((found[0], expected[0]), (found[2], expected[2])):
            assert (mine.indptr.tolist(), mine.indices.tolist()) == (
                right.indptr.tolist(),
                right.indices.tolist(),
            )
            np.testing.assert_allclose(mine.data, right.data, rtol=1e-12, atol=1e-12)


def test_colours() -> None:
    """No two items of a group have the same colour; chains and bands need few."""
    band = [[i, i + 1, i + 2] for i in range(50)]
    groups: list[list[int]] = [[] for _ in range(52)]
    for item, own in enumerate(band):
        for group in own:
            groups[group].append(item)
    colours = coloured(band, len(groups))
    assert colours is not None
    assert max(colours) == 2
    for items in groups:
        assert len({colours[item] for item in items}) == len(items)
    assert coloured([[], [0]], 1) == [-1, 0]
    assert coloured([[0]] * (MOST_COLOURS + 1), 1) is None


def _asking(x: Any, y: Any) -> Any:
    """Second derivatives that decide how the function goes on."""

    def slope(a: Any) -> Any:
        return cr.grad(lambda b: cr.math.sin(b) * b * y)(a)

    curvature = cr.grad(slope)(x)
    total = cr.math.where(curvature > 0.0, x, y) + cr.math.copysign(1.0, curvature)
    for _ in range(3):
        if curvature > 0.1:
            total = total + curvature
        curvature = curvature - 0.3 + cr.grad(slope)(total)
    if curvature < -1e6:
        raise ValueError("never")
    return total * max(curvature, 0.0)


def _steps(x: Any, y: Any) -> Any:
    """Newton's method until it has converged, in a derivative."""

    def root(a: Any) -> Any:
        z = a * 0.0 + 1.0
        while True:
            residual, slope = cr.value_and_grad(lambda z: z * z * z - a * a - 1.0)(z)
            step = residual / slope
            z = z - step
            if abs(step) < 1e-9:
                return z

    return cr.value_and_grad(lambda a: cr.grad(root)(a) * y)(x)


def _refusing(x: Any, y: Any) -> Any:
    """An error where a number is none."""
    curvature = cr.grad(cr.grad(lambda a: a**3.0 * y))(x)
    return x * [1.0, 2.0][int(curvature < 0.0)] + cr.math.floor(curvature)


@pytest.mark.parametrize("function", [_asking, _steps, _refusing])
def test_questions_about_second_derivatives(function: Any) -> None:
    """Where a run asks for what an outer transformation gives, it is what it is eagerly."""
    compiled = cr.compile(function)
    lanes = cr.compile(cr.vmap(function))
    points = np.array([(0.5, 1.5), (-0.7, 0.2), (1.9, -1.1), (0.1, 0.4)])
    expected = [function(*map(float, point)) for point in points]
    for point, right in zip(points, expected, strict=True):
        before = compiled.stats().traces
        assert np.allclose(compiled(*map(float, point)), right, rtol=1e-12)
        assert compiled.stats().traces <= before + 1  # none with outcomes of unknown values
    assert np.allclose(np.array(lanes(*points.T)).T, expected, rtol=1e-12)


def test_nothing_is_derived_that_nobody_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of second derivatives are the kernel's affair."""

    def made(*arguments: Any) -> Any:
        raise AssertionError("derivatives of nodes")

    monkeypatch.setattr(segments, "Linearization", made)
    x = np.linspace(0.1, 1.0, 5)

    def f(x: Any) -> Any:
        return sum(cr.math.exp(a * b) for a, b in zip(x[1:], x[:-1], strict=True))

    gradient, product = cr.compile(lambda x, v: cr.jvp(cr.grad(f), (x,), (v,)))(x, x)
    assert np.allclose(gradient, cr.grad(f)(x), rtol=1e-12)
    assert np.allclose(product, cr.hvp(f, (x,), (x,)), rtol=1e-12)
