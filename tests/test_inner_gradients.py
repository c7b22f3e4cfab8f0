"""Gradients that compiled functions take in runs that no trace follows: compiled on their own."""

from __future__ import annotations

import copy
import importlib.util
import math
import pickle
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import chainrule
import chainrule.math as cm
from chainrule import compile, grad, lax, value_and_grad
from chainrule.jit import inner_gradients
from chainrule.jit.function import Options
from chainrule.jit.inner_gradients import InnerGradients
from chainrule.rewriting import pure
from chainrule.tracing import PROGRESS

SCALE = 1.5
COUNTER = [0]
POINTS = [[0.25 + 0.5 * k, 1.5 - 0.125 * k] for k in range(9)]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile after few calls."""
    monkeypatch.setattr(inner_gradients, "LEAST", 2)
    monkeypatch.setattr(inner_gradients, "SECONDS", 0.0)
    monkeypatch.setattr(inner_gradients, "CALLS", 1.5)
    monkeypatch.setattr(inner_gradients, "MOST_LOST", 100.0)


@contextmanager
def untraced() -> Iterator[InnerGradients]:
    """A run of a compiled function that no trace follows."""
    PROGRESS.inner = InnerGradients(Options())
    try:
        yield PROGRESS.inner
    finally:
        PROGRESS.inner = None


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or raises."""
    try:
        return call()
    except Exception as error:
        return type(error), str(error)


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, (list, tuple)):
        assert type(found) is type(expected), (found, expected)
        assert len(found) == len(expected)
        for x, y in zip(found, expected, strict=True):
            assert_same(x, y)
    elif isinstance(expected, np.ndarray):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    elif isinstance(expected, float):
        assert type(found) is float
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-13, nan_ok=True)
    else:
        assert found == expected


def check(make: Callable[..., Any], points: Any = POINTS, compiled: bool = True) -> None:
    """Compare gradients of made functions at points in an untraced run with the eager ones."""
    with untraced() as inner:
        for k, x in enumerate(points):
            for transform in (grad, value_and_grad):
                for c in (0.5 + k, -0.25 * k, k + 1e-3):
                    function = make(c, [c, 2.0 + k])
                    PROGRESS.inner = None
                    expected = outcome(lambda t=transform, f=function, x=x: t(f)(x))
                    PROGRESS.inner = inner
                    found = outcome(lambda t=transform, f=function, x=x: t(f)(x))
                    assert_same(found, expected)
        assert bool(inner.compiled) is compiled, [x.impure for x in pure._USES.values()]


def helper(x: Any, c: Any) -> Any:
    return cm.sin(x) * c + SCALE


def by_lists(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        return x[0] * cs[0] + x[1] * x[1] * cs[1] * c

    return f


def by_branches(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        if x[0] * c > cs[0]:
            return x[0] * x[1]
        return x[0] - x[1] if c > 1.0 else x[0] * c

    return f


def by_loops(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        total, k = 0.0, 0
        while total * total < 30.0 + abs(c):
            total += x[0] * x[0] + 0.25 * c * c
            k = k + 1
        return total * x[1] / k

    return f


def by_functions(c: float, cs: list[float]) -> Any:
    def inner(y: Any, z: Any) -> Any:
        return helper(y, c) * z + math.sqrt(2.0)

    return lambda x: grad(inner)(x[0], x[1]) + sum(helper(y, cs[1]) for y in x)


def by_default(c: float, cs: list[float]) -> Any:
    def f(x: Any, c: Any = c, g: Any = helper) -> Any:
        return g(x[0], c) + x[1]

    return f


def by_gradient(c: float, cs: list[float]) -> Any:
    slope = value_and_grad(lambda y: helper(y, c) * cs[0])
    return lambda x: slope(x[0])[0] * slope(x[1])[1]


def by_own_lists(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        found = []
        table = [0.0] * 3
        for k in range(3):
            found.append(x[k % 2] * c)
            table[k] = found[k] * cs[k % 2]
        found += [1.0]
        return sum(found) + max(table) * table[1]

    return f


def by_lax(c: float, cs: list[float]) -> Any:
    return lambda x: lax.fori_loop(0, 5, lambda i, y: y * c + x[1], x[0])


def by_modules(c: float, cs: list[float]) -> Any:
    return lambda x: chainrule.grad(lambda y: chainrule.math.exp(y * c) * y)(x[0]) * x[1] * math.pi


def by_text(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        """A text."""
        if x[0] > 3.0:
            raise ValueError("too large")
        return x[0] * c * x[1]

    return f


PURE = [
    *(by_lists, by_branches, by_loops, by_functions, by_default, by_gradient, by_own_lists),
    *(by_lax, by_modules, by_text),
]


@pytest.mark.parametrize("make", PURE)
def test_gradients_are_those_of_the_function(make: Any) -> None:
    check(make)


def test_arguments_may_be_numbers_or_arrays() -> None:
    def make(c: float, cs: list[float]) -> Any:
        return lambda x: sum(y * y * c for y in x)

    check(make, [np.array([1.0 + k, 2.0]) for k in range(6)])
    check(make, [(1.0 + k, 2, [3.0])[:2] for k in range(6)])

    def number(c: float, cs: list[float]) -> Any:
        return lambda x: x * x * c + cs[1]

    check(number, [0.5 * k for k in range(8)])


def test_by_several_arguments_and_with_others() -> None:
    def f(x: Any, y: Any, z: Any) -> Any:
        return x * y[0] * SCALE - z * z * y[1]

    both = value_and_grad(f, argnums=(0, 1))
    with untraced() as inner:
        for k in range(8):
            found = both(0.5 * k, [1.0, 2.0 + k], k % 2)
            PROGRESS.inner = None
            assert_same(found, both(0.5 * k, [1.0, 2.0 + k], k % 2))
            PROGRESS.inner = inner
        assert inner.compiled


def test_numbers_that_change_are_read_in_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    held = [1.0]
    slope = grad(lambda x: x * held[0] * SCALE)
    with untraced() as inner:
        for k in range(20):
            held[0] = 0.5 + k
            monkeypatch.setattr(f"{__name__}.SCALE", 2.0 + k % 3)
            assert slope(1.0) == held[0] * SCALE
        assert len(inner.compiled) == 1
        held.append(3.0)
        assert slope(1.0) == held[0] * SCALE
        monkeypatch.setattr(f"{__name__}.SCALE", 3)
        assert slope(1.0) == held[0] * SCALE


def test_functions_that_change_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    slope = grad(lambda x: helper(x, 2.0))
    with untraced() as inner:
        for _ in range(8):
            assert slope(0.5) == pytest.approx(2.0 * math.cos(0.5))
        assert inner.compiled
        monkeypatch.setattr(f"{__name__}.helper", lambda x, c: x * c * c)
        for _ in range(8):
            assert slope(0.5) == 4.0
        calls = []

        def noted(x: Any, c: Any) -> Any:
            calls.append(1)
            return x * c

        monkeypatch.setattr(f"{__name__}.helper", noted)
        for _ in range(8):
            assert slope(0.5) == 2.0
        assert len(calls) == 8


# Functions that are not pure

LOG: list[Any] = []


class Box:
    def __init__(self) -> None:
        self.value = 1.0

    def noted(self, x: Any) -> Any:
        LOG.append("called")
        return x

    def __getitem__(self, i: int) -> float:
        LOG.append(i)
        return 1.0


BOX = Box()


def noting(x: Any) -> Any:
    LOG.append("noted")
    return x


def of_counter(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        COUNTER[0] += 1
        LOG.append(COUNTER[0])
        return x[0] * c

    return f


def of_element(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        COUNTER[0] = COUNTER[0] + 1
        return x[0] * c * (1.0 + COUNTER[0] % 7)

    return f


def of_nonlocal(c: float, cs: list[float]) -> Any:
    count = 0.0

    def f(x: Any) -> Any:
        nonlocal count
        count += 1.0
        return x[0] * count

    return f


def of_global(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        global TOTAL
        TOTAL = c
        return x[0] * c

    return f


def of_print(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        print("here", c)
        return x[0] * c

    return f


def of_random(c: float, cs: list[float]) -> Any:
    return lambda x: x[0] * random.random()


def of_alias(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        other = LOG
        other += ["alias"]
        return x[0] * c

    return f


def of_aliased_element(c: float, cs: list[float]) -> Any:
    rows = [COUNTER, cs]

    def f(x: Any) -> Any:
        for row in rows:
            row[0] = row[0] + 1
        return x[0] * c

    return f


def of_fresh_name(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        own = [0.0]
        if c > 0.0:
            own = COUNTER
        own[0] = own[0] + 1
        return x[0] * c

    return f


def of_sum(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        own = sum([], LOG)  # type: ignore[arg-type]
        own += ["sum"]
        return x[0] * c

    return f


def of_attribute(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        BOX.value = BOX.value + 1.0
        return x[0] * BOX.value

    return f


def of_method(c: float, cs: list[float]) -> Any:
    return lambda x: BOX.noted(x[0]) * c


def of_bound_method(c: float, cs: list[float]) -> Any:
    noted = BOX.noted
    return lambda x: noted(x[0]) * c


def of_object(c: float, cs: list[float]) -> Any:
    return lambda x: x[0] * BOX[0] * c


def of_callee(c: float, cs: list[float]) -> Any:
    return lambda x: noting(x[0]) * c


def of_deep_callee(c: float, cs: list[float]) -> Any:
    def between(y: Any) -> Any:
        return noting(y)

    return lambda x: grad(between)(x[0]) * x[1] * c


def of_callee_in_list(c: float, cs: list[float]) -> Any:
    inside = [noting]
    return lambda x: inside[0](x[0]) * c


def of_default(c: float, cs: list[float]) -> Any:
    def f(x: Any, log: Any = LOG, note: Any = noting) -> Any:
        return note(x[0]) * len(log)

    return f


def of_keyword_default(c: float, cs: list[float]) -> Any:
    def f(x: Any, *, note: Any = noting) -> Any:
        return note(x[0]) * c

    return f


def of_gradient(c: float, cs: list[float]) -> Any:
    slope = grad(noting)
    return lambda x: slope(x[0]) * x[0] * c


def of_kind(c: float, cs: list[float]) -> Any:
    return lambda x: x[0] * 2.0 if isinstance(c, float) else x[0]


def of_identity(c: float, cs: list[float]) -> Any:
    a, b = cs, cs
    return lambda x: x[0] * 2.0 if a is b else x[0]


def of_membership(c: float, cs: list[float]) -> Any:
    nan = math.nan
    values = [nan, c]
    return lambda x: x[0] * 2.0 if nan in values else x[0]


def of_comprehension(c: float, cs: list[float]) -> Any:
    return lambda x: sum([y * len([LOG.append(1)]) for y in x])  # type: ignore[func-returns-value]


def of_generator(c: float, cs: list[float]) -> Any:
    left = iter(range(10**6))
    return lambda x: x[0] * next(left)


def of_zip(c: float, cs: list[float]) -> Any:
    left = enumerate(range(10**6))

    def f(x: Any) -> Any:
        for k, _ in left:
            return x[0] * k
        return x[1]

    return f


def of_text(c: float, cs: list[float]) -> Any:
    return lambda x: x[0] * len(f"{c}")


def of_try(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        try:
            return x[0] / c
        except ZeroDivisionError:
            LOG.append("zero")
            return x[1]

    return f


def of_node(c: float, cs: list[float]) -> Any:
    node = chainrule.Node(c)
    return lambda x: x[0] * node.data


def of_import(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        import random

        return x[0] * random.random()

    return f


def of_class(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        class Own:
            LOG.append("made")

        return x[0] * c

    return f


def of_delete(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        LOG.append(1)
        del LOG[0]
        return x[0] * c

    return f


def of_named_expression(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        if own := COUNTER:
            own[0] += 1
        return x[0] * c

    return f


def of_builtin(c: float, cs: list[float]) -> Any:
    list = noting

    def f(x: Any) -> Any:
        return list(x)[0] * c

    return f


def of_own_copy(c: float, cs: list[float]) -> Any:
    list = max

    def f(x: Any) -> Any:
        own = list(COUNTER, [-1])
        own[0] = own[0] + 1
        return x[0] * c

    return f


def of_nested(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        def inner(y: Any) -> Any:
            LOG.append("inner")
            return y * y

        return grad(inner)(x[0]) * x[1]

    return f


def of_operation(c: float, cs: list[float]) -> Any:
    def value(x: Any) -> Any:
        LOG.append("value")
        return 2.0 * x

    double = chainrule.Operation("double", value, lambda y, x: [2.0])
    return lambda x: double(x[0]) * c


def of_custom(c: float, cs: list[float]) -> Any:
    @chainrule.custom_gradient
    def own(x: Any) -> Any:
        LOG.append("own")
        return x * c, lambda g: g * 5.0

    return lambda x: own(x[0])


def of_debug(c: float, cs: list[float]) -> Any:
    def f(x: Any) -> Any:
        chainrule.debug_print("{}", c)
        return x[0] * c

    return f


def of_numpy(c: float, cs: list[float]) -> Any:
    return lambda x: x[0] * np.random.rand()


IMPURE = [value for name, value in list(globals().items()) if name.startswith("of_")]


@pytest.mark.parametrize("make", IMPURE)
def test_functions_that_are_not_pure_for_certain_run_eagerly(
    make: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(inner: Any) -> Any:
        LOG.clear()
        COUNTER[0] = 0
        BOX.value = 1.0
        random.seed(1)
        np.random.seed(1)
        found = []
        with untraced() as known:
            PROGRESS.inner = known if inner else None
            held = [1.0, 2.0]
            function = make(2.0, held)
            for k in range(12):
                if k % 3 == 0:
                    function = make(k - 6.0, held)
                found.append(outcome(lambda f=function, k=k: value_and_grad(f)([1.0 + k, 2.0])))
            assert not known.compiled
        draws = random.random(), np.random.rand()
        return found, held, [*LOG], [*COUNTER], BOX.value, draws, capsys.readouterr().out

    expected, found = run(False), run(True)
    assert found == expected


def test_a_pure_function_runs_no_more_once_it_is_compiled() -> None:
    """The table of impure functions proves something only if pure ones are compiled there."""
    with untraced() as inner:
        for k in range(12):
            value_and_grad(by_lists(2.0, [k + 1.0, 2.0]))([1.0 + k, 2.0])
        assert len(inner.compiled) == 1
        assert inner.compiled[0].calls > 3


def test_nodes_and_others_are_left_to_the_function() -> None:
    node = chainrule.Node(2.0)
    slope = grad(lambda x, y: x * x * y)
    with untraced() as inner:
        for _ in range(8):
            assert isinstance(slope(3.0, node), chainrule.Node)
        assert not inner.compiled
    closed = grad(lambda x: x * node)
    with untraced() as inner:
        for _ in range(8):
            assert isinstance(closed(3.0), chainrule.Node)
        assert not inner.compiled
    keyed = grad(lambda x, y=1.0: x["a"] * y)
    with untraced() as inner:
        for _ in range(8):
            assert keyed({"a": 2.0}, y=3.0) == {"a": 3.0}
        assert not inner.compiled
    pair = grad(lambda x: (x * x, "text"), has_aux=True)
    with untraced() as inner:
        for _ in range(8):
            assert pair(3.0) == (6.0, "text")
        assert not inner.compiled


def test_inside_of_another_transformation_it_is_not_asked() -> None:
    inner_slope = grad(lambda y: y * y * y)
    with untraced() as inner:
        for _ in range(8):
            assert chainrule.jvp(inner_slope, (2.0,), (1.0,)) == (12.0, 12.0)
        assert not inner.compiled


def test_what_numbers_refuse_is_an_error_as_before() -> None:
    """Machine code gives inf for a division by zero, of which Python makes an error."""
    points = [1.0, 2.0, 3.0, 4.0, 0.0, 5.0]
    with untraced() as inner:
        for c in points:
            slope = grad(lambda x, c=c: x * (1.0 / c))
            if c:
                assert slope(1.0) == 1.0 / c
            else:
                with pytest.raises(ZeroDivisionError):
                    slope(1.0)
        assert inner.compiled


def test_what_does_not_pay_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each number is a kernel of its own here, as it is a whole one."""
    monkeypatch.setattr(inner_gradients, "MOST_LOST", 0.0)
    with untraced() as inner:
        for k in range(400):
            assert grad(lambda x, k=k: x * k)(1.0) == float(k)
        (tally,) = inner._tallies.values()
        assert tally.eager
        assert len(inner.compiled[0]._plans) < 50


# In compiled functions


def lowest(c: Any, steps: list[int]) -> Any:
    """Gradient descent, whose steps no trace knows beforehand."""

    def valley(x: Any) -> Any:
        y = x[0] - c
        while y * y > 9.0:
            y = y / 2.0
        return y * y + 0.25 * (x[1] - SCALE) * (x[1] - SCALE)

    x, slope = [0.0, 0.0], value_and_grad(valley)
    value, slopes = slope(x)
    while slopes[0] * slopes[0] + slopes[1] * slopes[1] > 1e-3:
        x = [a - 0.25 * s for a, s in zip(x, slopes, strict=True)]
        value, slopes = slope(x)
    return x, value


def run_many(function: Any, inputs: Any) -> None:
    for c in inputs:
        assert_same(function(c), lowest(c, []))


@pytest.mark.filterwarnings("ignore:.*paths")
def test_a_compiled_function_that_no_trace_follows() -> None:
    found = compile(lambda c: lowest(c, []), max_traces=1)
    run_many(found, [0.5 + 0.37 * k for k in range(30)])
    stats = found.stats()
    assert stats.gradients == 1
    assert stats.traces == 1
    assert PROGRESS.inner is None
    again = copy.deepcopy(found)
    run_many(again, [0.5, 1.5, 2.5])
    assert again.stats().gradients == 0


@pytest.mark.filterwarnings("ignore:.*paths")
def test_traced_runs_have_none() -> None:
    found = compile(lambda c: lowest(c, []))
    run_many(found, [0.5 + 0.01 * k for k in range(3)])
    assert found.stats().gradients == 0


named = compile(lowest, max_traces=1)


@pytest.mark.filterwarnings("ignore:.*paths")
def test_it_pickles_as_before() -> None:
    other = compile(lowest, max_traces=1)
    for k in range(30):
        other(0.5 + 0.37 * k, [])
    assert other.stats().gradients == 1
    again = pickle.loads(pickle.dumps(other))
    assert_same(again(1.25, []), lowest(1.25, []))


@pytest.mark.filterwarnings("ignore:.*paths")
def test_several_threads_compile_together() -> None:
    found = compile(lambda c: lowest(c, []), max_traces=1)
    errors: list[BaseException] = []

    def work(start: float) -> None:
        try:
            run_many(found, [start + 0.37 * k for k in range(20)])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(0.1 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert found.stats().gradients == 1


@pytest.mark.filterwarnings("ignore:.*paths")
def test_an_error_is_that_of_the_function() -> None:
    def outer(c: Any) -> Any:
        def f(x: Any) -> Any:
            if x > 6.5:
                raise ValueError("too far")
            return x * x + c

        x, slope = 0.0, grad(f)
        while x < c:
            x = x + 0.1 * (slope(x) + 1.0)
        return x

    found = compile(outer, max_traces=1)
    for k in range(30):
        assert_same(found(0.1 * k), outer(0.1 * k))
    assert found.stats().gradients == 1
    with pytest.raises(ValueError, match="too far"):
        found(9.0)
    assert PROGRESS.inner is None
    assert_same(found(3.3), outer(3.3))


# Random functions


class Writer:
    """Writes random functions of Python, with and without effects."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = ["x[0]", "x[1]", "a", "vs[0]", "vs[1]", "FACTOR", "1.25"]
        self.effects = 0

    def atom(self) -> str:
        return self.random.choice(self.names)

    def number(self, depth: int = 2) -> str:
        if depth == 0:
            return self.atom()
        x, y = self.number(depth - 1), self.number(depth - 1)
        return self.random.choice(
            [
                *(f"({x} + {y})", f"({x} - {y})", f"({x} * {y})", f"cm.sin({x})", f"cm.tanh({x})"),
                *(f"({x} / (1.0 + {y} * {y}))", f"({x} if {y} > 0.3 else {y})", f"max({x}, {y})"),
                *(f"twice({x})", f"sum([{x}, {y}])", f"sum(v * {x} for v in vs)", x),
                *(f"grad(lambda z: z * z * {x})({y})", f"len(vs) * {x}", f"abs({x})"),
            ]
        )

    def effect(self) -> list[str]:
        self.effects += 1
        return self.random.choice(
            [
                ["LOG.append(1)"],
                ["COUNT[0] += 1"],
                ["print('effect')"],
                ["q = COUNT", "q[0] = q[0] + 1"],
                ["q = noted(1.0)"],
                ["q = [LOG][0]", "q.append(2)"],
                ["q = random.random()", "LOG.append(q)"],
                ["for q in [LOG]:", "    q += [3]"],
                ["q = LOG if a > 0.0 else []", "q += [4]"],
                ["vs[0] = vs[0] + 0.5"],
                ["other = vs", "other[1] = other[1] * 0.5"],
                ["q = list(map(noted, vs))"],
                ["note = [noted]", "q = note[0](1.0)"],
                ["global FACTOR", "FACTOR = FACTOR * 1.01"],
            ]
        )

    def lines(self) -> list[str]:
        found = []
        for k in range(self.random.randint(1, 4)):
            name = f"n{k}"
            kind = self.random.randrange(5)
            if kind == 0:
                found += [f"{name} = 0.0", f"for i in range({self.random.randint(1, 3)}):"]
                found += [f"    {name} += {self.number()} * i"]
            elif kind == 1:
                found += [f"{name} = {self.number(1)}", f"while {name} * {name} < 2.0:"]
                found += [f"    {name} = 1.5 * abs({name}) + 0.5 + {self.number(1)} * 1e-3"]
            elif kind == 2:
                found += [f"{name} = {self.number(1)}", f"if {self.number(1)} > {self.number(1)}:"]
                found += [f"    {name} = {self.number()}"]
            elif kind == 3:
                found += ["own = []", f"own.append({self.number()})", f"own += [{self.number(1)}]"]
                found += [f"{name} = own[0] * own[1]"]
            else:
                found += [f"{name} = {self.number()}"]
            self.names.append(name)
        return found

    def module(self) -> str:
        lines = self.lines()
        if self.random.random() < 0.4:
            effect = self.effect()
            lines[:0] = effect
        result = self.number()
        return "\n".join(
            [
                "import random",
                "import chainrule.math as cm",
                "from chainrule import grad",
                "FACTOR, LOG, COUNT = 0.75, [], [0]",
                "def noted(x):",
                "    LOG.append('noted')",
                "    return x",
                "def twice(x):",
                "    return 2.0 * x * FACTOR",
                "def make(a, vs):",
                "    def f(x):",
                *[f"        {line}" for line in lines],
                f"        return {result} + 0.0 * x[0]",
                "    return f",
            ]
        )


@pytest.mark.parametrize("seed", range(40))
def test_random_functions(
    seed: int, tmp_path: Any, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    writer = Writer(seed)
    file = tmp_path / f"random_function_{seed}.py"
    file.write_text(writer.module())

    def run(asked: bool) -> Any:
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        random.seed(seed)
        draws = random.Random(seed)
        vs = [0.5, -0.25]
        found = []
        with untraced() as inner:
            PROGRESS.inner = inner if asked else None
            function = module.make(0.5, vs)
            for k in range(14):
                x = [draws.uniform(-2.0, 2.0), draws.uniform(-2.0, 2.0)]
                if k % 2 == 0:
                    function = module.make(draws.uniform(-2.0, 2.0), vs)
                if k % 5 == 4:
                    module.FACTOR = draws.uniform(0.0, 1.0)
                    vs[k % 2] = draws.uniform(-1.0, 1.0)
                found.append(outcome(lambda f=function, x=x: value_and_grad(f)(x)))
            compiled = bool(inner.compiled)
        state = module.FACTOR, [*vs], module.LOG, module.COUNT, random.random()
        return found, state, capsys.readouterr().out, compiled

    expected, found = run(False), run(True)
    for x, y in zip(found[0], expected[0], strict=True):
        assert_same(x, y)
    assert found[1:3] == expected[1:3], writer.module()
    assert found[3] is (writer.effects == 0), writer.module()
