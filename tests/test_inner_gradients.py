"""Gradients that compiled functions take in runs that no trace follows: compiled on their own."""

from __future__ import annotations

import copy
import importlib.util
import pickle
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule
import chainrule.math as cm
from chainrule import compile, grad, value_and_grad
from chainrule.jit import inner_gradients
from chainrule.jit.function import Options
from chainrule.jit.inner_gradients import InnerGradients
from chainrule.rewriting import pure
from chainrule.tracing import PROGRESS

SCALE = 1.5
POINTS = [[0.25 + 0.5 * k, 1.5 - 0.125 * k] for k in range(9)]

HEAD = """
import math
import random
import numpy as np
import chainrule
import chainrule.math as cm
from chainrule import grad, lax, value_and_grad

SCALE, FACTOR, LOG, COUNTER = 1.5, 0.75, [], [0]

class Box:
    value = 1.0

    def noted(self, x):
        LOG.append("called")
        return x

    def __getitem__(self, i):
        LOG.append(i)
        return 1.0

BOX = Box()

def noting(x):
    LOG.append("noted")
    return x

def helper(x, c):
    return cm.sin(x) * c + SCALE

def twice(x):
    return 2.0 * x * FACTOR
"""
"""Of the modules whose functions are differentiated."""

PURE = {
    "lists": """
def make(c, cs):
    def f(x):
        return x[0] * cs[0] + x[1] * x[1] * cs[1] * c

    return f
""",
    "branches": """
def make(c, cs):
    def f(x):
        if x[0] * c > cs[0]:
            return x[0] * x[1]
        return x[0] - x[1] if c > 1.0 else x[0] * c

    return f
""",
    "loops": """
def make(c, cs):
    def f(x):
        total, k = 0.0, 0
        while total * total < 30.0 + abs(c):
            total += x[0] * x[0] + 0.25 * c * c
            k = k + 1
        return total * x[1] / k

    return f
""",
    "functions": """
def make(c, cs):
    def inner(y, z):
        return helper(y, c) * z + math.sqrt(2.0)

    return lambda x: grad(inner)(x[0], x[1]) + sum(helper(y, cs[1]) for y in x)
""",
    "default": """
def make(c, cs):
    def f(x, c = c, g = helper):
        return g(x[0], c) + x[1]

    return f
""",
    "gradient": """
def make(c, cs):
    slope = value_and_grad(lambda y: helper(y, c) * cs[0])
    return lambda x: slope(x[0])[0] * slope(x[1])[1]
""",
    "own_lists": """
def make(c, cs):
    def f(x):
        found = []
        table = [0.0] * 3
        for k in range(3):
            found.append(x[k % 2] * c)
            table[k] = found[k] * cs[k % 2]
        found += [1.0]
        return sum(found) + max(table) * table[1]

    return f
""",
    "lax": """
def make(c, cs):
    return lambda x: lax.fori_loop(0, 5, lambda i, y: y * c + x[1], x[0])
""",
    "kinds": """
def make(c, cs):
    def f(x):
        if c < -1.5:
            return 2
        if c < -1.0:
            return x[0] > 0.0
        return x[0] * c if c < 1.0 else x[0] * x[0] > 4.0

    return f
""",
    "other kinds": """
def make(c, cs):
    p, q = (c, abs) if c > 0.0 else (abs, c)
    chosen = cs if c > 1.0 else c if c > 0.0 else None
    return lambda x: x[0] * x[1] if chosen is None or [p, q] is None else x[0]
""",
    "modules": """
def make(c, cs):
    return lambda x: chainrule.grad(lambda y: chainrule.math.exp(y * c) * y)(x[0]) * x[1] * math.pi
""",
    "text": """
def make(c, cs):
    def f(x):
        'A text.'
        if x[0] > 3.0:
            raise ValueError("too large")
        return x[0] * c * x[1]

    return f
""",
}

IMPURE = {
    "counter": """
def make(c, cs):
    def f(x):
        COUNTER[0] += 1
        LOG.append(COUNTER[0])
        return x[0] * c

    return f
""",
    "element": """
def make(c, cs):
    def f(x):
        COUNTER[0] = COUNTER[0] + 1
        return x[0] * c * (1.0 + COUNTER[0] % 7)

    return f
""",
    "nonlocal": """
def make(c, cs):
    count = 0.0

    def f(x):
        nonlocal count
        count += 1.0
        return x[0] * count

    return f
""",
    "global": """
def make(c, cs):
    def f(x):
        global TOTAL
        TOTAL = c
        return x[0] * c

    return f
""",
    "print": """
def make(c, cs):
    def f(x):
        print("here", c)
        return x[0] * c

    return f
""",
    "random": """
def make(c, cs):
    return lambda x: x[0] * random.random()
""",
    "alias": """
def make(c, cs):
    def f(x):
        other = LOG
        other += ["alias"]
        return x[0] * c

    return f
""",
    "aliased_element": """
def make(c, cs):
    rows = [COUNTER, cs]

    def f(x):
        for row in rows:
            row[0] = row[0] + 1
        return x[0] * c

    return f
""",
    "fresh_name": """
def make(c, cs):
    def f(x):
        own = [0.0]
        if c > 0.0:
            own = COUNTER
        own[0] = own[0] + 1
        return x[0] * c

    return f
""",
    "sum": """
def make(c, cs):
    def f(x):
        own = sum([], LOG)
        own += ["sum"]
        return x[0] * c

    return f
""",
    "attribute": """
def make(c, cs):
    def f(x):
        BOX.value = BOX.value + 1.0
        return x[0] * BOX.value

    return f
""",
    "method": """
def make(c, cs):
    return lambda x: BOX.noted(x[0]) * c
""",
    "bound_method": """
def make(c, cs):
    noted = BOX.noted
    return lambda x: noted(x[0]) * c
""",
    "object": """
def make(c, cs):
    return lambda x: x[0] * BOX[0] * c
""",
    "callee": """
def make(c, cs):
    return lambda x: noting(x[0]) * c
""",
    "deep_callee": """
def make(c, cs):
    def between(y):
        return noting(y)

    return lambda x: grad(between)(x[0]) * x[1] * c
""",
    "callee_in_list": """
def make(c, cs):
    inside = [noting]
    return lambda x: inside[0](x[0]) * c
""",
    "default": """
def make(c, cs):
    def f(x, log = LOG, note = noting):
        return note(x[0]) * len(log)

    return f
""",
    "keyword_default": """
def make(c, cs):
    def f(x, *, note = noting):
        return note(x[0]) * c

    return f
""",
    "gradient": """
def make(c, cs):
    slope = grad(noting)
    return lambda x: slope(x[0]) * x[0] * c
""",
    "kind": """
def make(c, cs):
    return lambda x: x[0] * 2.0 if isinstance(c, float) else x[0]
""",
    "identity": """
def make(c, cs):
    a, b = cs, cs
    return lambda x: x[0] * 2.0 if a is b else x[0]
""",
    "membership": """
def make(c, cs):
    nan = math.nan
    values = [nan, c]
    return lambda x: x[0] * 2.0 if nan in values else x[0]
""",
    "comprehension": """
def make(c, cs):
    return lambda x: sum([y * len([LOG.append(1)]) for y in x])
""",
    "generator": """
def make(c, cs):
    left = iter(range(10**6))
    return lambda x: x[0] * next(left)
""",
    "zip": """
def make(c, cs):
    left = enumerate(range(10**6))

    def f(x):
        for k, _ in left:
            return x[0] * k
        return x[1]

    return f
""",
    "text": """
def make(c, cs):
    return lambda x: x[0] * len(f"{c}")
""",
    "try": """
def make(c, cs):
    def f(x):
        try:
            return x[0] / c
        except ZeroDivisionError:
            LOG.append("zero")
            return x[1]

    return f
""",
    "node": """
def make(c, cs):
    node = chainrule.Node(c)
    return lambda x: x[0] * node.data
""",
    "import": """
def make(c, cs):
    def f(x):
        import random

        return x[0] * random.random()

    return f
""",
    "class": """
def make(c, cs):
    def f(x):
        class Own:
            LOG.append("made")

        return x[0] * c

    return f
""",
    "delete": """
def make(c, cs):
    def f(x):
        LOG.append(1)
        del LOG[0]
        return x[0] * c

    return f
""",
    "named_expression": """
def make(c, cs):
    def f(x):
        if own := COUNTER:
            own[0] += 1
        return x[0] * c

    return f
""",
    "builtin": """
def make(c, cs):
    list = noting

    def f(x):
        return list(x)[0] * c

    return f
""",
    "own_copy": """
def make(c, cs):
    list = max

    def f(x):
        own = list(COUNTER, [-1])
        own[0] = own[0] + 1
        return x[0] * c

    return f
""",
    "nested": """
def make(c, cs):
    def f(x):
        def inner(y):
            LOG.append("inner")
            return y * y

        return grad(inner)(x[0]) * x[1]

    return f
""",
    "operation": """
def make(c, cs):
    def value(x):
        LOG.append("value")
        return 2.0 * x

    double = chainrule.Operation("double", value, lambda y, x: [2.0])
    return lambda x: double(x[0]) * c
""",
    "custom": """
def make(c, cs):
    @chainrule.custom_gradient
    def own(x):
        LOG.append("own")
        return x * c, lambda g: g * 5.0

    return lambda x: own(x[0])
""",
    "debug": """
def make(c, cs):
    def f(x):
        chainrule.debug_print("{}", c)
        return x[0] * c

    return f
""",
    "recursive": """
def make(c, cs):
    def f(x, k=2):
        return x[0] if k == 0 else f([x[0] * c], k - 1)

    return f
""",
    "own and others'": """
def make(c, cs):
    def f(x):
        inner = lambda math: math.append(2.0) or 1.0
        return x[0] * math.sqrt(2.0) * (inner(cs) if c > 1.5 else 1.0)

    return f
""",
    "product": """
def make(c, cs):
    def f(x):
        own = math.prod([], start=LOG)
        own += ["prod"]
        return x[0] * c

    return f
""",
    "shadowed": """
def make(c, cs):
    def f(x):
        math = cm
        return math.sin(x[0]) * c

    return f
""",
    "numpy": """
def make(c, cs):
    return lambda x: x[0] * np.random.rand()
""",
}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile after few calls."""
    monkeypatch.setattr(inner_gradients, "LEAST", 2)
    monkeypatch.setattr(inner_gradients, "SECONDS", 0.0)
    monkeypatch.setattr(inner_gradients, "QUICK", 0.0)
    monkeypatch.setattr(inner_gradients, "TRIED", 10**6)
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


def outcome(function: Callable[..., Any], *args: Any) -> Any:
    """What a call gives, or raises."""
    try:
        return function(*args)
    except Exception as error:
        return type(error), str(error)


def assert_same(found: Any, expected: Any) -> None:
    """Raise unless two results are the same, to rounding."""
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


def loaded(folder: Path, text: str) -> Any:
    """A module of that text, after HEAD."""
    file = folder / "functions.py"
    file.write_text(HEAD + text)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(module: Any, asked: bool, points: Any = POINTS) -> Any:
    """Gradients in a run that no trace follows, of functions that the module makes.

    Args:
        module: its ``make`` takes a number, and a list of two that changes.
        asked: whether they may be compiled on their own.
        points: where.

    Returns:
        what they give, what the functions have changed, and whether some are compiled.
    """
    random.seed(1)
    np.random.seed(1)
    draws = random.Random(2)
    found = []
    held = [0.5, -0.25]
    with untraced() as inner:
        PROGRESS.inner = inner if asked else None
        slope = value_and_grad(module.make(0.5, held))
        for k in range(18):
            if k % 2 == 0:
                transform = grad if k % 3 == 0 else value_and_grad
                slope = transform(module.make(draws.uniform(-2.0, 2.0), held))
            if k % 5 == 4:
                module.FACTOR, module.SCALE = draws.random(), draws.random()
                held[k % 2] = draws.uniform(-1.0, 1.0)
            x = points[k % len(points)]
            found.append(outcome(slope, x))
        compiled = bool(inner.compiled)
    state = module.LOG, module.COUNTER, module.BOX.value, module.FACTOR, held
    return found, (*state, random.random(), np.random.rand()), compiled


def check(folder: Path, text: str, compiled: bool, points: Any = POINTS) -> None:
    """Compare gradients of a text's functions with the eager ones, and their effects."""
    expected, state, _ = run(loaded(folder, text), False, points)
    found, own_state, is_compiled = run(loaded(folder, text), True, points)
    for x, y in zip(found, expected, strict=True):
        assert_same(x, y)
    assert own_state == state, text
    assert is_compiled is compiled, text


@pytest.mark.parametrize("name", PURE)
def test_gradients_are_those_of_the_function(name: str, tmp_path: Path) -> None:
    """Whatever numbers they read."""
    check(tmp_path, PURE[name], True)


@pytest.mark.parametrize("name", IMPURE)
def test_functions_that_are_not_pure_for_certain_run_eagerly(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of their effects is had as often."""
    check(tmp_path, IMPURE[name], False)
    printed = capsys.readouterr().out
    assert printed[: len(printed) // 2] * 2 == printed


def test_arguments_may_be_numbers_or_arrays(tmp_path: Path) -> None:
    """Also tuples, and whole numbers."""
    each = "def make(c, cs):\n    return lambda x: sum(y * y * c for y in x)"
    check(tmp_path, each, True, [np.array([1.0 + k, 2.0]) for k in range(6)])
    check(tmp_path, each, True, [(1.0 + k, 2) for k in range(6)])
    number = "def make(c, cs):\n    return lambda x: x * x * c + cs[1]"
    check(tmp_path, number, True, [0.5 * k for k in range(8)])


def test_by_several_arguments_and_with_others() -> None:
    """A whole number among the others is part of the code."""

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


def scaled(x: Any, c: Any) -> Any:
    """What a test puts another function in the place of."""
    return x * c * SCALE


def test_numbers_that_change_are_read_in_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the closure and of globals, whose kinds may change too."""
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


def test_what_is_read_is_told_apart() -> None:
    """Where the same code would not do."""

    def made(p: Any, q: Any) -> Any:
        return lambda x: [p, q][0]

    kinds = [1.0, abs, max, scaled, grad(scaled), value_and_grad(scaled), grad(scaled, 1)]
    keys = [pure.read(made(p, q))[0] for p in kinds for q in kinds]
    assert len(set(keys)) == len(keys)
    assert pure.read(made(1.0, [2, None])) == (keys[0], [1.0, [2, None]])


def test_functions_that_change_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one that is not pure takes the place of one that is."""
    slope = grad(lambda x: scaled(x, 2.0))
    with untraced() as inner:
        for _ in range(8):
            assert slope(0.5) == 2.0 * SCALE
        assert inner.compiled
        monkeypatch.setattr(f"{__name__}.scaled", lambda x, c: x * c * c)
        for _ in range(8):
            assert slope(0.5) == 4.0
        calls = []

        def noted(x: Any, c: Any) -> Any:
            calls.append(1)
            return x * c

        monkeypatch.setattr(f"{__name__}.scaled", noted)
        for _ in range(8):
            assert slope(0.5) == 2.0
        assert len(calls) == 8


def test_nodes_and_others_are_left_to_the_function() -> None:
    """What is no tree of plain numbers, given or read."""
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
    """Its arguments are nodes there."""
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


def test_infinite_results_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are computed again by the function, which may raise."""
    monkeypatch.setattr(inner_gradients, "MOST_LOST", 0.0)
    with untraced() as inner:
        for k in range(5000):
            assert grad(lambda x: x * x * 1e200)(1e200 + k) == float("inf")
        (tally,) = inner._tallies.values()
        assert tally.eager
        assert inner.compiled[0].calls < 5000


def test_what_is_slower_compiled_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """And in a run that has nothing else it is no more asked."""
    monkeypatch.setattr(inner_gradients, "TRIED", 20)
    with untraced() as inner:
        for k in range(300):
            assert grad(lambda x: x * SCALE)(float(k)) == SCALE
            (tally,) = inner._tallies.values()
            tally._mean = 0.0  # seconds that it takes eagerly
        assert tally.eager
        assert inner.compiled[0].calls < 50
        assert PROGRESS.inner is None  # in this run


def test_quick_ones_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at what one reads takes longer."""
    monkeypatch.setattr(inner_gradients, "QUICK", 1.0)
    with untraced() as inner:
        for k in range(8):
            assert grad(lambda x: x * SCALE)(float(k)) == SCALE
        assert not inner.compiled


def test_an_argument_that_is_not_there_or_counted_from_the_last_one() -> None:
    """The numbers that are read are never taken for an argument."""

    def f(x: Any, y: Any) -> Any:
        return x * x * y * SCALE

    with untraced() as inner:
        for _ in range(8):
            assert grad(f, argnums=-1)(2.0, 3.0) == 4.0 * SCALE
            assert grad(f, argnums=(0, -1))(2.0, 3.0) == (12.0 * SCALE, 4.0 * SCALE)
            with pytest.raises(ValueError, match="argnums=1"):
                grad(lambda x: x * SCALE, argnums=1)(2.0)
        assert not inner.compiled


def test_where_contexts_are_open_it_is_left_to_the_function() -> None:
    """They see each operation."""
    slope = grad(lambda x: x * SCALE)
    with untraced() as inner, chainrule.detect_anomaly():
        for k in range(8):
            assert slope(float(k)) == SCALE
        assert not inner.compiled


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
    """Compare with what it is eagerly."""
    for c in inputs:
        assert_same(function(c), lowest(c, []))


@pytest.mark.filterwarnings("ignore:.*paths")
def test_a_compiled_function_that_no_trace_follows() -> None:
    """Its runs beyond one path are by the gradient's machine code."""
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
def test_lanes_that_no_trace_follows() -> None:
    """One after another, by the gradient's machine code."""
    found = compile(chainrule.vmap(lambda c: lowest(c, [])[1]), max_traces=1)
    for k in range(4):
        points = np.linspace(0.5, 11.0, 12) + 0.01 * k
        expected = [lowest(c, [])[1] for c in points.tolist()]
        np.testing.assert_allclose(found(points), expected, rtol=1e-12)
    assert found.stats().gradients == 1


@pytest.mark.filterwarnings("ignore:.*eagerly")
def test_functions_that_can_not_be_compiled() -> None:
    """Here as it opens a context that is not for traces."""

    def refused(c: Any) -> Any:
        with chainrule.domain_errors():
            c = cm.sqrt(c) ** 2
        return lowest(c, [])

    found = compile(refused)
    for k in range(12):
        assert_same(found(0.5 + 0.37 * k), refused(0.5 + 0.37 * k))
    assert found.stats().eager
    assert found.stats().gradients == 1


@pytest.mark.filterwarnings("ignore:.*paths")
def test_traced_runs_have_none() -> None:
    """Nothing is compiled on its own there."""
    found = compile(lambda c: lowest(c, []))
    run_many(found, [0.5 + 0.01 * k for k in range(3)])
    assert found.stats().gradients == 0


@pytest.mark.filterwarnings("ignore:.*paths")
def test_it_pickles_as_before() -> None:
    """Without machine code."""
    other = compile(lowest, max_traces=1)
    for k in range(30):
        other(0.5 + 0.37 * k, [])
    assert other.stats().gradients == 1
    again = pickle.loads(pickle.dumps(other))
    assert_same(again(1.25, []), lowest(1.25, []))


@pytest.mark.filterwarnings("ignore:.*paths")
def test_several_threads_compile_together() -> None:
    """One machine code is made, or some in vain."""
    found = compile(lambda c: lowest(c, []), max_traces=1)
    run_many(found, [0.5, 0.87])
    errors: list[BaseException] = []

    def work(start: float) -> None:
        try:
            run_many(found, [start + 0.37 * k for k in range(2, 40)])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(0.5 + 0.01 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert found.stats().gradients == 1


@pytest.mark.filterwarnings("ignore:.*paths")
def test_an_error_is_that_of_the_function() -> None:
    """It is raised by the function itself."""

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
        """A number."""
        return self.random.choice(self.names)

    def number(self, depth: int = 2) -> str:
        """An expression of numbers."""
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
        """Statements that do more than to compute."""
        self.effects += 1
        return self.random.choice(
            [
                ["LOG.append(1)"],
                ["COUNTER[0] += 1"],
                ["print('effect')"],
                ["q = COUNTER", "q[0] = q[0] + 1"],
                ["q = noting(1.0)"],
                ["q = [LOG][0]", "q.append(2)"],
                ["q = random.random()", "LOG.append(q)"],
                ["for q in [LOG]:", "    q += [3]"],
                ["q = LOG if a > 0.0 else []", "q += [4]"],
                ["vs[0] = vs[0] + 0.5"],
                ["other = vs", "other[1] = other[1] * 0.5"],
                ["q = list(map(noting, vs))"],
                ["note = [noting]", "q = note[0](1.0)"],
                ["global FACTOR", "FACTOR = FACTOR * 1.01"],
            ]
        )

    def lines(self) -> list[str]:
        """Statements that compute numbers."""
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

    def text(self) -> str:
        """A function that makes one."""
        lines = self.lines()
        if self.random.random() < 0.4:
            lines[:0] = self.effect()
        lines.append(f"return {self.number()} + 0.0 * x[0]")
        body = "\n".join(f"        {line}" for line in lines)
        return f"def make(a, vs):\n    def f(x):\n{body}\n    return f"


@pytest.mark.parametrize("seed", range(40))
def test_random_functions(seed: int, tmp_path: Path) -> None:
    """Pure ones are compiled, others not; all give what they did, and do what they did."""
    writer = Writer(seed)
    text = writer.text()
    check(tmp_path, text, writer.effects == 0)
