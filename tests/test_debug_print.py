"""debug_print: compiled code prints what eager code does."""

import contextlib
import io
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from threads import run_in_threads

import chainrule as cr
import chainrule.math as crmath
from chainrule import Node, debug_print
from chainrule.tracebacks import SWITCH


def printed(function: Callable[..., Any], *args: Any) -> list[str]:
    """The lines that a call prints."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        function(*args)
    return text.getvalue().splitlines()


def random_function(rng: Random, calls: list[int]) -> Callable[[Any], Any]:
    """A function with prints in branches and loops, that shows numbers, texts, arrays and trees."""
    steps = [(rng.randrange(5), rng.uniform(-0.5, 1.5), rng.randrange(1, 5)) for _ in range(6)]

    def function(x: Any) -> Any:
        calls.append(1)
        y = x
        for number, (kind, bound, trips) in enumerate(steps):
            if kind == 0:
                debug_print("step {} is {:.9g}, {name}", number, y, name="named")
            elif kind == 1:
                if y > bound:
                    debug_print(f"{number}: above {{}} by {{by:.7f}}", bound, by=y - bound)
                    y = y - 0.25
                else:
                    debug_print(f"{number}: below")
                    y = y + 0.5 * x
            elif kind == 2:
                for i in range(trips):
                    y = crmath.sin(y) + 0.125
                    debug_print("{}.{}: {:.8f}", number, i, y)
            elif kind == 3:
                pair = np.array([1.0, 0.0]) * crmath.sin(y)
                debug_print(f"{number}: {{0[0].shape}} {{0[1][a]:.9g}}", (pair, {"a": y}))
            else:
                y = y * y - 0.5
        debug_print("ends with {:.9g}", y)
        return y

    return function


@pytest.mark.parametrize("kind", ["point", "gradient", "hessian", "node", "lanes", "sum"])
@pytest.mark.parametrize("seed", range(15))
def test_random_functions(seed: int, kind: str) -> None:
    """At each call, also where branches come up that are not recorded yet; never while traced."""
    rng = Random(seed)
    calls: list[int] = []
    f = random_function(rng, calls)
    made: dict[str, Callable[..., Any]] = {
        "gradient": cr.value_and_grad(f),
        "hessian": cr.grad(cr.grad(f)),
        "lanes": cr.vmap(cr.value_and_grad(f)),
        "sum": cr.value_and_grad(cr.vmap(f, reduce="sum")),
    }
    g = cr.compile(made.get(kind, f))
    for _ in range(8):
        x: Any = rng.uniform(-1.0, 2.0)
        if kind == "node":
            x = Node(x)
        if kind in ("lanes", "sum"):
            points = [rng.uniform(-1.0, 2.0) for _ in range(11)]
            found = printed(g, np.array(points))
            assert sorted(found) == sorted(line for p in points for line in printed(f, p))
        else:
            assert printed(g, x) == printed(f, x)
    before = len(calls)
    assert printed(g, x if kind not in ("lanes", "sum") else np.array(points))
    assert len(calls) == before  # compiled code did


def test_lanes_in_order() -> None:
    """What a lane prints stays together, and lanes of one path come in order."""

    def f(x: Any) -> Any:
        debug_print("first {:.3f}", x)
        debug_print("second {:.3f}", x + 1.0)
        return x

    points = np.linspace(0.0, 1.0, 29)
    expected = [line for p in points.tolist() for line in printed(f, p)]
    assert printed(cr.compile(cr.vmap(f), threads=2), points) == expected


def test_a_loop_stays_a_loop() -> None:
    """Prints do not unroll it."""

    def f(x: Any) -> Any:
        for _ in range(1000):
            x = crmath.sin(x) + 0.25
            debug_print("{:.10f}", x)
        return x

    g = cr.compile(cr.value_and_grad(f))
    assert printed(g, 0.5) == printed(f, 0.5)
    assert printed(g, 0.75) == printed(f, 0.75)
    assert g.stats().nodes < 50


def test_equal_lines() -> None:
    """Each comes as often as it is called, in a loop that does not change it as well."""

    def f(x: Any) -> Any:
        for _ in range(3):
            debug_print("{:.3f}", x)
        debug_print("{:.3f}", x)
        return x

    assert printed(cr.compile(f), 0.5) == ["0.500"] * 4 == printed(f, 0.5)


def test_without_values() -> None:
    """A text alone is printed at each call too, on a path whose result is a constant as well."""

    def f(x: Any) -> Any:
        debug_print("called")
        if x > 0.0:
            return 1.0
        debug_print("{} of {}", 1, "two")
        return x

    g = cr.compile(f)
    for x in (-1.0, 1.0, -1.0, 1.0, 1.0):
        assert printed(g, x) == printed(f, x)
    lanes = cr.compile(cr.vmap(f))
    for _ in range(2):
        assert sorted(printed(lanes, np.array([1.0, -1.0]))) == ["1 of two", "called", "called"]


def test_derivatives() -> None:
    """They are those without it, of a value whose gradient would be NaN as well."""

    def plain(x: Any) -> Any:
        return x * x

    def shown(x: Any) -> Any:
        debug_print("{:.3f}", crmath.sqrt(x))
        return x * x

    for make in (cr.grad, cr.hessian, cr.jacfwd, lambda f: cr.grad(cr.grad(f))):
        for x in (0.0, 2.0):
            text = io.StringIO()
            with contextlib.redirect_stdout(text):
                found = [make(shown)(x), cr.compile(make(shown))(x)]
            assert found == [make(plain)(x)] * 2
            assert set(text.getvalue().splitlines()) == {f"{x**0.5:.3f}"}


def test_captured_nodes() -> None:
    """They are shown as they are now."""
    weight = Node(2.0)

    def f(x: Any) -> Any:
        debug_print("{:.2f}", weight)
        return x * weight

    g = cr.compile(f)
    assert printed(g, 1.0) == ["2.00"]
    weight.data = 3.0
    assert printed(g, 1.0) == ["3.00"]


def test_a_raising_format() -> None:
    """Errors in the format come where it is used, traced or not; of the numbers, at the call."""
    bad: list[tuple[Callable[[Any], None], type[Exception]]] = [
        (lambda x: debug_print("{} {}", x), IndexError),
        (lambda x: debug_print("{y}", x), KeyError),
        (lambda x: debug_print("{:d}", x), ValueError),
        (lambda x: debug_print(x, x), TypeError),
    ]
    for show, error in bad:

        def f(x: Any, show: Any = show) -> Any:
            show(x)
            return x * 2.0

        for g in (f, cr.grad(f), cr.compile(f), cr.compile(cr.grad(f))):
            with pytest.raises(error):
                g(1.0)


def test_tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They show the user's line."""
    monkeypatch.delenv(SWITCH, raising=False)
    with pytest.raises(IndexError) as caught:
        debug_print("{}")
    frames = [entry.frame.f_globals["__name__"] for entry in caught.traceback]
    assert frames == [__name__]


def test_an_error_of_an_operation() -> None:
    """What was printed before it in other lanes is printed; the error comes."""

    def value(x: float) -> float:
        if x > 2.0:
            raise ValueError("too large")
        return x

    operation = cr.Operation("limited", value, [lambda y, x: 1.0])

    def f(x: Any) -> Any:
        debug_print("{:.1f}", x)
        return operation(x)

    g = cr.compile(cr.vmap(f))
    assert printed(g, np.array([1.0, 2.0])) == ["1.0", "2.0"]
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(ValueError, match="too large"):
        g(np.array([1.0, 3.0, 2.0]))
    assert text.getvalue().splitlines()[0] == "1.0"


@pytest.mark.parametrize("over_lanes", [False, True])
def test_a_run_that_is_begun_again(over_lanes: bool) -> None:
    """Where plain numbers raise, 1.0 / 0.0 say, compiled code runs instead: it alone prints."""

    def f(x: Any) -> Any:
        for k in range(40):
            if x < k + 1:
                cr.debug_print("{} {}", k, x)
                return 1.0 / (x - k)
        return x

    g: Any = cr.compile(cr.vmap(f) if over_lanes else f, rewrite=False)
    points = [k + 0.5 * (k < 25) for k in range(30)]
    if over_lanes:
        lines = printed(g, np.array(points))
    else:
        lines = [line for x in points for line in printed(g, x)]
    assert sorted(lines) == sorted(f"{k} {x}" for k, x in enumerate(points))
    assert over_lanes or g.stats().traces < 30


def test_threads() -> None:
    """Each call prints its own."""

    def f(x: Any) -> Any:
        debug_print("{:.6f}", x)
        return x

    g = cr.compile(f)
    points = [i / 64 for i in range(64)]

    def calls() -> None:
        for _ in range(4):
            for x in points:
                g(x)

    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        run_in_threads(*[calls] * 4)
    counted = [text.getvalue().count(f"{x:.6f}") for x in points]
    assert counted == [16] * 64
