"""Loops that end by a condition, and branches in loops: compiled they are what Python does."""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random
from typing import Any

import numpy
import pytest
from numpy.testing import assert_allclose

from chainrule import Operation, compile, grad, hessian, jvp, lax, value_and_grad, vjp, vmap
from chainrule import math as cm
from chainrule.carries import EndlessError

COUNT = int(os.environ.get("CHAINRULE_LOOPS", "20"))
FIRST = int(os.environ.get("CHAINRULE_FIRST", "0"))


def by_hand(condition: Any, body: Any, value: Any, **kwargs: Any) -> Any:
    """The loop as Python has it."""
    while condition(value):
        value = body(value)
    return value


def generated(seed: int) -> Callable[[Any, Any, Any], Any]:
    """A function of two numbers with a loop of 0 to 40 iterations, given the loop."""
    random = Random(seed)
    names = ["x", "s", "a", "b"]

    def term() -> str:
        p, q, r = (random.choice(names) for _ in range(3))
        return random.choice(
            [
                f"cm.sin({p} + {q})",
                f"cm.tanh({p} * {q})",
                f"cm.tanh(cm.where({p} < {q}, {r}, 0.5 * {p}))",
                f"cm.sin(cm.maximum({p}, 0.3 * {q}))",
                f"cm.tanh(cm.sqrt(cm.where({p} > 0.0, {p}, 1.0)))",
                f"cm.exp(-abs({p}))",
                f"cm.tanh(grad(lambda t: cm.sin(t * {q} + {r}))({p}))",
            ]
        )

    rate = random.choice([0.5, 0.8, 0.97])
    size = random.choice(["abs(x)", "x * x", "abs(x) + 0.0 * s"])
    least = random.choice(["0.01", "0.1 * abs(b) + 0.01", "0.003"])
    also = random.choice(["", "", " & (s < 4.0)", " | (s < 0.5)"])
    x = f"{rate} * x * (1.0 - 0.2 * {term()} * {term()})"
    if random.random() < 0.3:
        x = f"cm.where(s < b, {x}, 0.5 * x)"
    s = f"s + 0.1 + 0.3 * abs({term()}) * {term()}"
    if also:
        s = f"s + 0.1 + 0.2 * abs({term()})"
    lines = [
        "def function(loop, a, b):",
        "    def goes_on(state):\n        x, s, n = state",
        f"        return (({size} > {least}){also}) & (n < {random.choice([3.0, 40.0])})",
        f"    def body(state):\n        x, s, n = state\n        return {x}, {s}, n + 1.0",
        f"    first = {random.choice(['a', '3.0 * a', 'a + b'])}, 0.1 * b, 0.0",
        "    x, s, _ = loop(goes_on, body, first)",
        "    return x + cm.sin(s)" if random.random() < 0.8 else "    return s if x < b else -s",
    ]
    space: dict[str, Any] = {"cm": cm, "grad": grad}
    exec("\n".join(lines), space)
    function: Callable[[Any, Any, Any], Any] = space["function"]
    return function


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_random_loops(seed: int) -> None:
    """Values and derivatives to second order, at a point and over lanes of different lengths."""
    lanes = numpy.random.default_rng(seed).uniform(-2.0, 2.0, (2, 7))
    compare(generated(seed), lanes, rtol=1e-7, atol=1e-9)


def compare(function: Callable[[Any, Any, Any], Any], lanes: Any, **close: float) -> None:
    """See that a function of two numbers, given how loops run, is compiled what it is in Python.

    Args:
        function: it.
        lanes: the numbers, a row for each argument.
        close: how close results are to be.
    """

    def f(a: Any, b: Any) -> Any:
        return function(lax.while_loop, a, b)

    def reference(a: Any, b: Any) -> Any:
        return function(by_hand, a, b)

    def forward(f: Any) -> Any:
        return lambda a, b: jvp(f, (a, b), (0.3, -0.7))[1]

    def both(f: Any) -> Any:
        return value_and_grad(f, argnums=(0, 1))

    transforms: list[Any] = [lambda f: f, both, forward, lambda f: hessian(f, argnums=(0, 1))]
    for transform in transforms:
        points = [transform(reference)(*point) for point in lanes.T.tolist()]
        once = compile(transform(f))
        for point, expected in zip(lanes.T.tolist()[:3], points, strict=False):
            _same(once(*point), expected, **close)
        found = compile(vmap(transform(f)))(*lanes)
        _same(found, vmap(transform(reference))(*lanes), **close)


def _same(found: Any, expected: Any, rtol: float = 1e-7, atol: float = 1e-9) -> None:
    if isinstance(expected, tuple):
        for one, other in zip(found, expected, strict=True):
            _same(one, other, rtol, atol)
    else:
        assert_allclose(found, expected, rtol=rtol, atol=atol)


def decay(loop: Any, x: Any, rate: Any = 0.99) -> Any:
    """What is left of x in the end, and the sum of it before."""
    return loop(lambda s: s[0] > 1e-3, lambda s: (s[0] * rate, s[1] + s[0] ** 2), (x, 0.0))[1]


def test_many_lengths() -> None:
    """Lanes of 0 to 1,000 iterations take few paths."""
    x = numpy.append(numpy.exp(numpy.linspace(-8.0, 3.0, 200)), [0.0, -1.0])
    compiled = compile(vmap(grad(lambda x: decay(lax.while_loop, x))))
    assert_allclose(compiled(x), vmap(grad(lambda x: decay(by_hand, x)))(x), rtol=1e-12)
    assert compiled.stats().traces < 10
    assert compiled.stats().nodes < 2_000


def test_results_that_are_asked() -> None:
    """A branch by what a loop has computed, and a second loop that begins with it."""

    def f(loop: Any, x: Any) -> Any:
        y = decay(loop, x, 0.9)
        y = y if y > 3.0 else 2.0 * y
        return decay(loop, y, 0.95) + y

    x = numpy.linspace(0.01, 3.0, 31)
    found = compile(vmap(grad(lambda x: f(lax.while_loop, x))))(x)
    assert_allclose(found, vmap(grad(lambda x: f(by_hand, x)))(x), rtol=1e-12)


def test_in_other_loops() -> None:
    """In a scan, a loop and a derivative; after a scan whose results it takes."""

    def f(loop: Any, x: Any, rows: Any) -> Any:
        def step(c: Any, z: Any) -> Any:
            return 0.5 * decay(loop, c * z, 0.8), grad(lambda c: decay(loop, c, 0.9))(c)

        last, left = lax.scan(step, x, rows)
        outer = loop(
            lambda v: v[0] > 0.1, lambda v: (0.5 * v[0], v[1] + decay(loop, v[0], 0.7)), (x, 0.0)
        )
        return decay(loop, last, 0.9) + left.sum() + outer[1]

    rows = numpy.linspace(0.5, 1.5, 6)
    for x in (0.3, 1.7):
        expected = value_and_grad(lambda x: f(by_hand, x, rows))(x)
        assert value_and_grad(lambda x: f(lax.while_loop, x, rows))(x) == pytest.approx(expected)
        found = compile(value_and_grad(lambda x, rows: f(lax.while_loop, x, rows)))(x, rows)
        assert found == pytest.approx(expected)


ONE_TO_THREE = numpy.arange(1.0, 4.0)
BODIES: list[tuple[Any, Any, Any]] = [  # a condition, a body, the first value of a
    (lambda s: s[1] < 12, lambda s: (s[0] * 0.9, s[1] + 1), lambda a: (a, 0)),  # a counter
    (lambda s: bool(s < 4.0), lambda s: s * 1.3 + 0.1, lambda a: a),  # a guard
    (lambda s: s < 9.0, lambda s: s * 1.3 if s < 3.0 else s + 1.0, lambda a: a),  # a branch in it
    (lambda s: s[0] < 9.0, lambda s: (s[0] * 1.3 + 0.1, 1.0), lambda a: (a, 0.0)),  # a constant
    (lambda s: numpy.sum(s * s) > 0.1, lambda s: s[::-1] * 0.8, lambda a: a * ONE_TO_THREE),
    (lambda s: s["x"] < 9.0, lambda s: {"x": s["x"] * 2.0}, lambda a: {"x": a}),
    (lambda s: cm.where(s < 9.0, 1.0, 0.0), lambda s: s * 2.0, lambda a: a),  # a number says it
    (lambda s: s < 9.0, lambda s: grad(lambda y: y**3)(s) + 1.0, lambda a: a),
    (lambda s: s != 8.0, lambda s: cm.minimum(s * 2.0, 8.0), lambda a: a),
    (lambda s: s < 9.0, lambda s: s * math_of(s), lambda a: a),
]


def math_of(s: Any) -> Any:
    """Not defined for what a loop ends with: what runs in vain must not be seen."""
    return 1.5 + cm.sqrt(9.0 - s) * 0.1


@pytest.mark.parametrize("case", range(len(BODIES)))
@pytest.mark.parametrize("a", [0.7, 20.0])
def test_kinds_of_loops(case: int, a: float) -> None:
    """Those that can be traced once, and those that can't."""
    condition, body, first = BODIES[case]

    def f(loop: Any) -> Any:
        def of(a: Any) -> Any:
            end = loop(condition, body, first(a))
            while isinstance(end, (tuple, dict)):
                end = end[0] if isinstance(end, tuple) else end["x"]
            return numpy.sum(end * end)

        return of

    expected = value_and_grad(f(by_hand))(a)
    assert compile(value_and_grad(f(lax.while_loop)))(a) == pytest.approx(expected, nan_ok=True)
    lanes = numpy.array([a, 0.3, 1.1])
    found = compile(vmap(grad(f(lax.while_loop))))(lanes)
    assert_allclose(found, vmap(grad(f(by_hand)))(lanes), rtol=1e-10)


@pytest.mark.parametrize("a", [0.3, 1.7])
def test_steps_by_derivatives(a: float) -> None:
    """How far a loop goes hangs on derivatives, also where it is differentiated itself."""

    def lowered(a: Any, b: Any) -> Any:
        slope = grad(lambda t: cm.cosh(t - a) + 0.5 * b * t * t)
        return lax.while_loop(lambda x: x > a, lambda x: x - 0.02 * slope(x), 2.0 * b + a)

    for function in (lowered, grad(lowered), grad(lowered, 1), grad(grad(lowered))):
        compiled = compile(function)
        assert_allclose(compiled(a, 0.8), function(a, 0.8), rtol=1e-10)
        assert compiled.stats().traces == 1, "the numbers that the trace has are the right ones"


def test_endless() -> None:
    """A loop that does not end is said, at a point and for a lane, and its bound is exact."""
    grow = compile(
        vmap(lambda x: lax.while_loop(lambda s: s < 100.0, lambda s: s * 1.5, x, max_iterations=20))
    )
    assert_allclose(grow(numpy.array([0.1, 50.0])), [0.1 * 1.5**18, 112.5])
    with pytest.raises(RuntimeError, match="after 20 iterations"):
        grow(numpy.array([1.0, 0.03]))
    stays = compile(lambda x: lax.while_loop(lambda s: s < 9.0, lambda s: s * s, x))
    assert stays(2.0) == 16.0
    with pytest.raises(EndlessError, match="left its value as it was"):
        stays(1.0)
    with pytest.raises(EndlessError, match="left its value as it was"):
        stays(0.5)
    assert stays(3.0) == 9.0


ENDLESS: list[tuple[Callable[[Any], Any], Callable[[Any], Any], int]] = [
    (lambda s: s > 0.0, lambda s: s + 1.0, 1_000),  # traced once
    (lambda s: s > 0.0, lambda s: s + (1.0 if s > 2.0 else 3.0), 100),  # a guard in each iteration
    (lambda s: True, lambda s: s + 1.0, 100),
]


@pytest.mark.parametrize(("condition", "body", "most"), ENDLESS)
def test_endless_when_traced(
    condition: Any, body: Any, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trace gives up earlier, unless the loop says how long it may be; plain numbers do not."""
    monkeypatch.setattr(lax, "MOST_TRACED", 1_000)
    monkeypatch.setattr(lax, "MOST_RECORDED", 100)
    monkeypatch.setattr(lax, "MOST_ITERATIONS", 5_000)

    def loop(x: Any, **bound: int) -> Any:
        return lax.while_loop(condition, body, x, **bound)

    for bounds, x, found in ({}, 1.0, most), ({"max_iterations": 2_000}, 1.0, 2_000):
        with pytest.raises(EndlessError, match=f"after {found:,} iterations"):
            compile(lambda x, bounds=bounds: loop(x, **bounds))(x)
    for function in (loop, grad(loop), compile(lambda x: x + loop(1.0))):
        with pytest.raises(EndlessError, match="after 5,000 iterations"):
            function(1.0)


def test_bits() -> None:
    """Values are eager's to the last bit."""

    def f(x: Any) -> Any:
        return lax.while_loop(
            lambda s: abs(s * s - x) > 1e-15 * x, lambda s: 0.5 * (s + x / s), 0.3 * x + 1.0
        )

    x = numpy.random.default_rng(0).uniform(1.0, 100.0, 50)
    eager = [f(y) for y in x.tolist()] if all(_ends(y) for y in x.tolist()) else None
    if eager is not None:
        assert compile(vmap(f))(x).tolist() == eager


def _ends(x: float) -> bool:
    s = 0.3 * x + 1.0
    for _ in range(100):
        if not abs(s * s - x) > 1e-15 * x:
            return True
        s = 0.5 * (s + x / s)
    return False


def test_pulled_back_later() -> None:
    """A vjp whose function runs the loop before it is known what is pulled back."""

    def f(loop: Any, x: Any) -> Any:
        y, pull = vjp(lambda x: decay(loop, x, 0.9), x)
        return pull(y)[0]

    for x in (0.2, 2.0):
        assert compile(lambda x: f(lax.while_loop, x))(x) == pytest.approx(f(by_hand, x))


BRANCHES: list[tuple[Any, Any]] = [
    (lambda c, z: cm.sin(c) + z, lambda c, z: 0.5 * c * z),
    (lambda c, z: cm.sqrt(c - 0.5), lambda c, z: cm.sqrt(0.5 - c) * z),  # each where it is defined
    (lambda c, z: c, lambda c, z: 0.25),
    (lambda c, z: c * 2.0 if z > 0.0 else c, lambda c, z: z),  # a guard in it
    (lambda c, z: lax.cond(z > 0.0, lambda: c, lambda: z), lambda c, z: c * z),
    (lambda c, z: _half(c), lambda c, z: z * c),  # what may raise must not run in vain
    (lambda c, z: decay(lax.while_loop, c, 0.7), lambda c, z: z + c),
]
_half: Any = Operation("half", lambda x: 0.5 * x if x > 0.5 else _raise(), [lambda y, x: 0.5])


def _raise() -> float:
    raise ArithmeticError("computed in vain")


@pytest.mark.parametrize("case", range(len(BRANCHES)))
def test_branches_in_loops(case: int) -> None:
    """In a scan, `cond` picks another function in each iteration; only one is seen."""
    if_so, if_not = BRANCHES[case]

    def f(a: Any, x: Any) -> Any:
        def step(c: Any, z: Any) -> Any:
            c = lax.cond(c > 0.5, if_so, if_not, c, z)
            return c, c * a

        last, left = lax.scan(step, a, x)
        return last + left.sum()

    generator = numpy.random.default_rng(case)
    a, x = generator.uniform(0.1, 1.0, 6), generator.uniform(-1.0, 1.0, (6, 9))
    both = value_and_grad(f, argnums=(0, 1))
    compiled = compile(both)
    for one, row in zip(a.tolist(), x, strict=True):
        found, expected = compiled(one, row), both(one, row)
        assert found[0] == pytest.approx(expected[0], nan_ok=True)
        _same(found[1], expected[1])
    _same(compile(vmap(both))(a, x), vmap(both)(a, x))
