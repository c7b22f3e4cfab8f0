"""Long loops that end by a condition: iterations that meet the same outcomes are traced once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.math as cm
from chainrule.rewriting import log, speculation, turns


@pytest.fixture(autouse=True)
def short_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops count as long from a few iterations on."""
    monkeypatch.setattr(speculation, "LONG_TRACE", 0)
    monkeypatch.setattr(speculation, "LONG_PATH", 5)


def oscillator(x: Any, y: Any) -> Any:
    """Plain numbers that change, and a condition of them."""
    t, v = 0.0, y
    while t < 0.5:
        x, v = x + 0.01 * v, v - 0.01 * (x + 0.1 * v) + 0.001 * cm.sin(t)
        t += 0.01
    return x * x + v * y


def newton(x: Any, y: Any) -> Any:
    """Left by a return, from an iteration that counts."""
    k, z = 0, x * 3.0
    while True:
        change = (z * z - x) / (2.0 * z)
        if abs(change) < 1e-9:
            return z + k * y
        z = z - 0.2 * change
        k += 1


def adaptive(x: Any, y: Any) -> Any:
    """Iterations of several kinds, some cut short, that append to a list."""
    t, h, found = 0.0, 0.1, []
    while t < 4.0:
        slope = -x * y
        error = abs(h * (slope + (x + h * slope) * y) / 2.0)
        if error > 1e-4:
            h = h * 0.5
            continue
        x = x + h * (slope - (x + h * slope) * y) / 2.0
        t = t + h
        found.append(x)
        if error < 1e-5:
            h = h * 1.5
    return x + sum(found) / len(found)


def descent(x: Any, y: Any) -> Any:
    """Derivatives in the body, a loop in what is differentiated, lists that are handed on."""

    def lowest(function: Any, start: Any) -> Any:
        place, count = [*start], 0
        value, slopes = function(place)
        while cm.sqrt(sum(s * s for s in slopes)) > 0.05:
            if count == 6:
                count = 0
                continue
            place = [a - 0.2 * s for a, s in zip(place, slopes, strict=True)]
            count += 1
            value, slopes = function(place)
        return place, value

    def inner(p: Any) -> Any:
        return lowest(
            cr.value_and_grad(lambda q: (q[0] - p[0]) ** 2 + cm.sqrt(1.0 + q[0] ** 2)), [y]
        )[0][0]

    def outer(p: Any) -> Any:
        return (p[0] - x) ** 2 + inner(p) * p[0]

    (place, *_), value = lowest(cr.value_and_grad(outer), [x + 1.0])
    return place + value


def swapped(x: Any, y: Any) -> Any:
    """Variables that change places, alias others, stay what they are, or become numbers."""
    first, second, old, zero, n = x, y, x, -0.0, 0
    while n < 40 and first < 50.0:
        first, second = second, first * 1.01 + old * 0.1 + zero
        old = old if n % 7 else second
        n += 1
    return first - second * old + n


def unbound(x: Any, y: Any) -> Any:
    """A variable without a value at first, and one of the last iteration."""
    n = 0
    while n < 30:
        if n > 10:
            y = y + last * 0.01  # type: ignore[has-type]  # noqa: F821
        last = x * n
        n += 1
    return last + y


def staged(x: Any, y: Any) -> Any:
    """Periods of iterations, with a step that grows from one to the next, which they append."""
    step, streak, found, size = 1e-3, 0, [], x
    while abs(x - y) > 0.2:
        if streak == 5:
            step, streak, size = 1.25 * step, 0, x * step
            continue
        x = x - step * (x - y)
        found.append(x * step)
        found.append(step)
        streak += 1
    return x * x + sum(found) + step * size


def counted(x: Any, y: Any) -> Any:
    """Periods in which a number counts, with a loop in them that reads it."""
    n = 0
    while n < 60:
        k, z = 0, x
        while k < 6:
            z, k = z * 0.9 + 0.001 * n * y, k + 1
        n += 1
        if n % 6 == 0:
            x = x + 0.1 * z
            continue
        x = x * 0.99 + 0.01 * z
    return x + y * n


FUNCTIONS = [oscillator, newton, adaptive, descent, swapped, unbound, staged, counted]
POINTS = [(2.0, 0.5), (1.9, 0.55), (0.7, 1.3), (2.0, 0.5), (4.0, 0.2)]


def branches_of(compiled: Any) -> list[Any]:
    """What was done with its loops that end by a condition."""
    return [x for x in compiled.stats().branches if x.kind == "while"]


@pytest.mark.parametrize("f", FUNCTIONS)
def test_one_call_after_another(f: Callable[..., Any]) -> None:
    """Whatever path data take, results are the eager ones."""
    derived = cr.value_and_grad(f, argnums=(0, 1))
    compiled = cr.compile(derived)
    for x, y in POINTS:
        found, wanted = compiled(x, y), derived(x, y)
        assert found[0] == pytest.approx(wanted[0], rel=1e-12)
        assert found[1] == pytest.approx(wanted[1], rel=1e-9)
    followed = any(x.both for x in branches_of(compiled))
    assert followed or f is newton  # of which all lanes run the same code, as it is left by an if


@pytest.mark.parametrize("f", FUNCTIONS)
def test_lanes(f: Callable[..., Any]) -> None:
    """Each of many lanes goes its own way."""
    x, y = np.random.default_rng(0).uniform([[0.6], [0.3]], [[4.0], [1.2]], (2, 12))
    derived = cr.value_and_grad(f, argnums=(0, 1))
    value, slopes = cr.compile(cr.vmap(derived))(x, y)
    wanted = [derived(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    np.testing.assert_allclose(value, [v for v, _ in wanted], rtol=1e-12)
    np.testing.assert_allclose(np.transpose(slopes), [s for _, s in wanted], rtol=1e-9)


@pytest.mark.parametrize("f", [oscillator, newton, descent, swapped, staged])
def test_second_derivatives(f: Callable[..., Any]) -> None:
    """Derivatives of derivatives go through the loops too."""
    derived = cr.hessian(f, argnums=(0, 1))
    compiled = cr.compile(derived)
    for x, y in POINTS[:2]:
        np.testing.assert_allclose(compiled(x, y), derived(x, y), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("f", [oscillator, swapped, staged, counted])
def test_programs_are_those_of_plain_traces(
    f: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is compiled does not hang on how it was traced."""
    followed, plain = cr.compile(cr.value_and_grad(f)), cr.compile(cr.value_and_grad(f))
    followed.prepare(2.0, 0.5)
    monkeypatch.setattr(speculation, "LONG_PATH", 1_000_000)
    plain(2.0, 0.5)
    assert any(x.both for x in branches_of(followed))
    assert followed.stats().nodes <= 1.1 * plain.stats().nodes


@pytest.mark.parametrize("derived", [lambda f: f, cr.value_and_grad, cr.hessian])
def test_the_first_result_is_that_of_a_run_in_plain_numbers(derived: Any) -> None:
    """No trace makes it wait; the next call is traced, and those at other points are where it pays.

    Nor does it where it hangs on a node from outside, whose gradient is asked for.
    """
    function = derived(lambda x: descent(x, 0.5))
    compiled = cr.compile(function)
    assert compiled(2.0) == function(2.0)
    assert compiled.stats().traces == 0
    assert compiled(2.0) == pytest.approx(function(2.0), rel=1e-9)
    assert compiled.stats().traces == 1
    for x in (1.9, 1.8, 1.7):
        assert compiled(x) == pytest.approx(function(x), rel=1e-9)
    assert compiled.stats().traces == 1

    def root(x: Any) -> Any:
        while x < 20.0:
            x = x * 1.1
        return (1.0 - x) ** 0.5

    assert np.isnan(cr.compile(root)(2.0))  # complex, of plain numbers

    scale = cr.Node(0.5)
    captured = cr.compile(lambda x: descent(x, scale))
    captured(2.0).backward()
    wanted = cr.grad(descent, argnums=1)(2.0, 0.5)
    assert scale.grad == pytest.approx(wanted, rel=1e-9)


def test_a_run_that_changes_what_it_is_given() -> None:
    """It is refused, by the first call as well."""

    class Box:
        def __init__(self) -> None:
            self.seen: list[Any] = []

    def f(x: Any, box: Any) -> Any:
        while x < 20.0:
            x = x * 1.1
            box.seen.append(x)
        return x

    with pytest.raises(TypeError, match="has changed"):
        cr.compile(f)(2.0, Box())


def test_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Values are shown once."""

    def f(x: Any) -> Any:
        n = 0
        while x < 8.0:
            x = x * 1.1
            cr.debug_print("{}", n)
            n += 1
        return x

    cr.compile(f)(2.0)
    assert capsys.readouterr().out.split() == [str(n) for n in range(15)]


def test_an_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up."""
    monkeypatch.setattr(log, "MOST", 10_000)
    monkeypatch.setattr("chainrule.jit.trace.MAX_GUARDS", 1_000)

    def f(x: Any) -> Any:
        while x > 0.0:
            x = x * 1.0 + 0.001
        return x

    with pytest.raises(cr.CompileError, match="does its loop end"):
        cr.compile(f)(1.0)


def test_exceptions_are_the_functions_own() -> None:
    """One that the run in plain numbers raises is raised by none but the function."""

    def f(x: Any) -> Any:
        n, scale = 30, 1.0
        while n > -5:
            x = x + scale / n
            n -= 1
        return x

    with pytest.raises(ZeroDivisionError):
        cr.compile(f)(1.0)


def test_a_run_that_asks_for_more_than_the_trace() -> None:
    """Where plain numbers decide what nodes do not, nothing is followed.

    The first result is that of plain numbers, others are those of traces.
    """

    def f(x: Any) -> Any:
        n = 0
        while n < 20:
            if isinstance(x, float):
                x = x + 1.0
            x = x * 1.1
            n += 1
        return x

    compiled, traced = cr.compile(f), cr.compile(f, rewrite=False)
    assert compiled(2.0) == f(2.0)
    assert compiled(2.0) == traced(2.0)


def test_exceptions_where_plain_numbers_lead() -> None:
    """A trace that follows plain numbers to an exception begins anew without them."""

    def f(x: Any) -> Any:
        n, root = 0, (x - 10.0) ** 0.5  # complex, or NaN
        if abs(root) > 1.0:
            x = x * {True: 1.0}[isinstance(x, float)]
        while n < 20:
            x = x * 1.1
            n += 1
        while x > 1.0:
            x = x * 0.5 if n else x
            n += 1
        return x

    compiled, traced = cr.compile(f), cr.compile(f, rewrite=False)
    compiled.prepare(2.0)
    assert compiled(2.0) == traced(2.0)


def test_numpys_warnings(recwarn: pytest.WarningsRecorder) -> None:
    """The run in plain numbers gives no warnings, as nodes give none."""

    def f(x: Any) -> Any:
        total = 0.0
        while total < 20.0:
            total = total + x[0]
            held = [total]
            held.append(0.0)
        return total + cm.minimum(1.0 / (x[0] - x[1]), 1.0)

    assert cr.compile(f)(np.array([1.0, 1.0])) == 21.0
    assert not recwarn.list


def test_what_is_large_is_not_kept() -> None:
    """Of each iteration plain numbers alone are kept."""
    numbers: list[Any] = []

    def f(x: Any) -> Any:
        n, table = 0, np.zeros(50)
        while n < 20:
            table = table + 1.0
            x = x * 1.1 + table[0]
            n += 1
        while x > 1.0:
            x = x * 0.5
        return x

    class Noted(log.Writer):
        def turn(self, run: log.Run, read: Any, *values: Any) -> tuple[Any, ...]:
            found = super().turn(run, read, *values)
            numbers.extend(run.values[-1])
            return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chainrule.jit.trace.Writer", Noted)
        found = cr.compile(f)(2.0)
    assert found == pytest.approx(f(2.0))
    assert numbers
    assert not any(isinstance(x, np.ndarray) for x in numbers)


@pytest.mark.parametrize("f", [staged, counted])
def test_a_period_is_traced_once(f: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Iterations that repeat what they meet stand together for others, in turn those in them."""
    made = []
    leave = turns.Stretch.leave

    def noted(stretch: turns.Stretch, *values: Any) -> tuple[Any, ...]:
        made.append((stretch.is_period, stretch.trips))
        return leave(stretch, *values)

    monkeypatch.setattr(turns.Stretch, "leave", noted)
    cr.compile(f).prepare(2.0, 0.5)
    assert max(trips for is_period, trips in made if is_period) > 5
    assert len(made) < 10


def test_a_period_that_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what changes from one to the next is read in a loop in it, iterations stand alone."""
    refused = []
    refuse = speculation.Speculation.refuse

    def f(x: Any, y: Any) -> Any:
        step, streak = 1e-3, 0
        while abs(x - y) > 0.2:
            if streak == 5:
                step, streak = 1.25 * step, 0
                continue
            k, scale = 0, step
            while k < 8:
                x, scale, k = x - 0.1 * scale * (x - y), 0.9 * scale, k + 1
            streak += 1
        return x

    def noted(self: Any, sites: Any, why: str) -> None:
        refused.append(why)
        refuse(self, sites, why)

    monkeypatch.setattr(speculation.Speculation, "refuse", noted)
    compiled = cr.compile(cr.value_and_grad(f))
    compiled.prepare(2.0, 0.5)
    assert compiled(2.0, 0.5)[0] == pytest.approx(f(2.0, 0.5), rel=1e-12)
    assert refused
    assert any(x.both for x in branches_of(compiled))
