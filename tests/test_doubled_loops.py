"""Long loops that lanes leave one by one: of their iterations stretches are traced once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.math as cm
from chainrule.rewriting import speculation, turns


@pytest.fixture(autouse=True)
def stretches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Loops count as long from a few iterations on; the lengths of stretches that were traced."""
    monkeypatch.setattr(speculation, "LONG_TRACE", 0)
    monkeypatch.setattr(speculation, "LONG_PATH", 5)
    found: list[int] = []
    results = turns.Until._results

    def noted(self: Any, *args: Any) -> Any:
        found.append(self.trips)
        return results(self, *args)

    monkeypatch.setattr(turns.Until, "_results", noted)
    return found


def decay(x: Any, y: Any) -> Any:
    """A plain number becomes one with a derivative in the first iteration."""
    total = 0.0
    while x > y:
        x = x * 0.9
        total = total + cm.sin(x) * y
    return total + x


def kept(x: Any, y: Any) -> Any:
    """A variable that is only used after the loop: the last iteration alone counts."""
    last = x
    while x > y:
        last = x * x
        x = x - 0.05 * last - 0.01
    return last + x


def rows(x: Any, y: Any) -> Any:
    """Lists of numbers, which iterations make anew."""
    v = [x, x * 2.0, 0.0]
    while v[0] > y:
        v = [v[0] * 0.9, v[1] - v[0] * 0.1, v[2] + v[0] * v[1]]
    return v[1] + v[2]


def branches(x: Any, y: Any) -> Any:
    """Both sides of a branch in it are computed; a division by what is 0 after the end."""
    total = 0.0
    while x > y:
        x = x * 0.9 - 0.001
        if x > 1.0:  # noqa: SIM108
            total = total + x / (x - y)
        else:
            total = total - cm.sqrt(x - y + 0.5)
    return total


def loops(x: Any, y: Any) -> Any:
    """A loop in it."""
    total = 0.0
    while x > y:
        t = x
        for _ in range(3):
            t = t * 0.9 + total * 0.001
        x = x - 0.05 * t - 0.01
        total = total + x
    return total


def two(x: Any, y: Any) -> Any:
    """Two conditions, and another loop after it, of what it computes."""
    z = x
    while x > y and z > 0.01:
        x, z = x * 0.95, z * 0.9
    while z < x:
        z = z * 1.1 + 0.001
    return x * z


def pushed(x: Any, y: Any) -> Any:
    """A gradient in it, which a branch may take in vain."""
    v = 0.0
    while x > y:
        if v < -0.5:
            v = v + 0.01 * cr.grad(lambda p: cm.sqrt(p * p + y))(x)
        v = v - 0.02 * cr.grad(lambda p: p * p + y * p)(x)
        x = x + 0.05 * v - 0.01
    return x * v


FUNCTIONS = [decay, kept, rows, branches, loops, two, pushed]
POINTS = [(5.0, 0.1), (0.3, 0.1), (0.05, 0.1), (40.0, 0.07), (0.11, 0.1)]


@pytest.mark.parametrize("f", FUNCTIONS)
def test_values_and_derivatives(f: Callable[..., Any], stretches: list[int]) -> None:
    """They are those of the function, of whatever length its loop is."""
    derived = cr.value_and_grad(f, argnums=(0, 1))
    for points in (POINTS, POINTS[::-1]):
        compiled = cr.compile(derived)
        for point in points:
            value, slopes = compiled(*point)
            expected, wanted = derived(*point)
            assert value == pytest.approx(expected, rel=1e-13)
            assert slopes == pytest.approx(wanted, rel=1e-10)
    assert {8, 16} <= {*stretches}


@pytest.mark.parametrize("f", [decay, pushed])
def test_values_alone(f: Callable[..., Any], stretches: list[int]) -> None:
    """Of values too, whatever is derived in the loop, points far apart take few paths."""
    compiled = cr.compile(f)
    for x in np.geomspace(0.2, 40.0, 25).tolist():
        assert compiled(x, 0.1) == pytest.approx(f(x, 0.1), rel=1e-12)
    assert {8, 16} <= {*stretches}
    assert compiled.stats().traces < 8


@pytest.mark.parametrize("f", FUNCTIONS)
def test_lanes(f: Callable[..., Any], stretches: list[int]) -> None:
    """Each leaves the loop where its own values end it."""
    derived = cr.value_and_grad(f, argnums=(0, 1))
    points = np.array(POINTS * 2)
    values, slopes = cr.compile(cr.vmap(derived))(points[:, 0], points[:, 1])
    wanted = [derived(*point) for point in points.tolist()]
    assert values == pytest.approx(np.array([x for x, _ in wanted]), rel=1e-13)
    assert np.transpose(slopes) == pytest.approx(np.array([x for _, x in wanted]), rel=1e-10)
    assert stretches


def test_second_derivatives(stretches: list[int]) -> None:
    """They go through stretches, too."""
    second = cr.grad(cr.grad(decay))
    compiled = cr.compile(second)
    for point in POINTS:
        assert compiled(*point) == pytest.approx(second(*point), rel=1e-9, abs=1e-12)
    assert stretches


def test_what_is_not_known_is_left_as_it_was(stretches: list[int]) -> None:
    """A counter, a list that grows and an exception: iterations are traced one by one."""

    def counted(x: Any) -> Any:
        n = 0
        while x > 0.1:
            x = x * 0.9
            n += 1
        return x + n

    def grown(x: Any) -> Any:
        found = []
        while x > 0.1:
            x = x * 0.9
            found.append(x)
        return sum(found)

    def looked_up(x: Any) -> Any:
        table = np.linspace(0.0, 1.0, 60)
        while x > 1.0:
            x = x - 1.0 - cr.take(table, cm.floor(x))
        return x

    for f, points in ((counted, (5.0, 0.2, 0.05)), (grown, (5.0, 1.0)), (looked_up, (50.0, 7.5))):
        compiled, derived = cr.compile(cr.value_and_grad(f)), cr.value_and_grad(f)
        for x in points:
            assert compiled(x) == pytest.approx(derived(x), rel=1e-13)


def test_where_lanes_have_left_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in each iteration of a loop that can't be traced in stretches: all that was before."""
    looked: list[int] = []

    class Sites(list[Any]):
        def __iter__(self) -> Any:
            looked.append(len(self))
            return super().__iter__()

    double = speculation.Speculation.double_if_long

    def noted(self: Any, count: int, sites: Any) -> None:
        double(self, count, Sites(sites))

    monkeypatch.setattr(speculation.Speculation, "double_if_long", noted)

    def f(x: Any) -> Any:
        n = 0
        while x > 0.1:
            x = x - 0.01
            n += 1
        return x + n

    assert cr.compile(f)(2.0) == pytest.approx(f(2.0), rel=1e-13)
    assert sum(looked) < 200


def test_an_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up."""
    monkeypatch.setattr(turns, "MOST", 1_000)
    monkeypatch.setattr("chainrule.jit.trace.MAX_GUARDS", 1_000)

    def f(x: Any) -> Any:
        while x > 0.0:
            x = x * 1.0 + 0.001
        return x

    with pytest.raises(cr.CompileError, match="does its loop end"):
        cr.compile(f)(1.0)


def test_a_loop_that_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one that does not end."""
    monkeypatch.setattr("chainrule.jit.trace.MAX_GUARDS", 1_000)

    def f(x: Any) -> Any:
        while x > 0.0:
            x = x * 0.5 + 0.5
        return x

    with pytest.raises(cr.CompileError, match="does its loop end"):
        cr.compile(f)(3.0)
