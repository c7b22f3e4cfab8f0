"""Calls with plain arguments: what goes straight to the code gives what the function does."""

import functools
import gc
import itertools
import math
import os
import pickle
import sys
import threading
from collections import namedtuple
from random import Random
from typing import Any

import numpy as np
import pytest
from threads import run_in_threads

import chainrule as cr
import chainrule.math as crmath
from chainrule import Node, trees
from chainrule.engine import ENGINE
from chainrule.jit import small
from chainrule.tracebacks import SWITCH

of_the_engine = pytest.mark.skipif(ENGINE is None, reason="of the engine")


def collected(x: Any) -> list[Any]:
    """The numbers of a tree, in order; what else is in it as a number too."""
    if isinstance(x, (tuple, list)):
        return [number for part in x for number in collected(part)]
    return [x if isinstance(x, float) else 0.5 * len(str(x))]


def mixed(*args: Any) -> Any:
    """A function of trees with a branch, whose result has a tuple and a list."""
    total: Any = 1.0
    for i, x in enumerate(numbers_of(args)):
        total = total * (0.5 + i) + x * x
        if x > 0.5:
            total = total - x
    return total, [total * 2.0, (total,)]


def numbers_of(x: Any) -> list[Any]:
    """The numbers and nodes of a tree; the length of the text for anything else."""
    if isinstance(x, (tuple, list)):
        return [number for part in x for number in numbers_of(part)]
    return [x if isinstance(x, (float, Node)) else 0.5 * len(str(x))]


def random_tree(rng: Random, depth: int = 2) -> Any:
    """A tree of floats and static values."""
    kind = rng.randrange(8)
    if depth and kind < 2:
        parts = [random_tree(rng, depth - 1) for _ in range(rng.randrange(4))]
        return tuple(parts) if kind else parts
    if kind == 2:
        return rng.choice([True, None, 3, "text", b"bytes", 10**30, False, 0, 1])
    return rng.choice([float, np.float64])(rng.uniform(-1.0, 2.0))


def other_numbers(x: Any, rng: Random) -> Any:
    """The same tree with other floats."""
    if isinstance(x, (tuple, list)):
        return type(x)([other_numbers(part, rng) for part in x])
    return type(x)(rng.uniform(-1.0, 2.0)) if isinstance(x, float) else x


class Counted(cr.compile(math.sqrt).__class__):  # type: ignore[misc]
    """A compiled function that counts the calls that take the general way."""

    general = 0

    def _general(self, args: Any, kwargs: Any) -> Any:
        self.general += 1
        return super()._general(args, kwargs)


@pytest.mark.parametrize("seed", range(60))
def test_random_trees(seed: int) -> None:
    """Any trees in any order, those known in between; all are counted."""
    rng = Random(seed)
    f = Counted(mixed)
    kinds = [tuple(random_tree(rng) for _ in range(rng.randrange(1, 4))) for _ in range(4)]
    for count in range(1, 60):
        args = other_numbers(rng.choice(kinds), rng)
        found, expected = f(*args), mixed(*args)
        assert str(type(found[1])) == str(type(expected[1]))
        assert found == pytest.approx(expected[0]) if found is expected else True
        assert collected(found) == pytest.approx(collected(expected), rel=1e-14)
        assert [type(x) for x in collected(found)] == [float] * 3
        assert f.stats().calls == count


@of_the_engine
def test_what_goes_straight() -> None:
    """The second call of a kind does, also on another path, in a tree, with a static value."""
    f = Counted(mixed)
    kinds: list[Any] = [(0.2, "a"), (0.7, "a"), ((0.2, [0.3]), 1.0), (0.2, 7), (0.2, None)]
    for args in kinds:
        f(*args)
        before = f.general
        for _ in range(3):
            f(*args)
            f(*other_numbers(args, Random(0)))
        assert f.general - before <= 2  # paths that are new
    others: list[Any] = [(0.2, True), (0.2, "b"), (0.2, 7.5), (0.2,)]
    for args in others:
        before = f.general
        f(*args)
        assert f.general == before + 1


Pair = namedtuple("Pair", "x y")


@pytest.mark.parametrize(
    ("tree", "depth"),
    [
        (1.0, 0),
        ([], 1),
        ((1.0, [2.0, (3, None)], ()), 3),
        (({}, {1: 2.0, 2: 3.0}), None),  # as many leaves as it looks
        ([{"x": 1.0}], None),
        ((Pair(1.0, 2.0),), None),
        ([(), {}], None),
    ],
)
def test_how_deep_lists_and_tuples_are(tree: Any, depth: int | None) -> None:
    """Where there is nothing else in a tree."""
    assert trees.depth_of(tree, trees.leaves_of(tree)[1]) == depth


def test_what_differs_is_told_apart() -> None:
    """1, True and 1.0, texts, longer tuples, named ones, subclasses."""
    pair = namedtuple("pair", "a b")

    class Number(float):
        """Of a class of the user's."""

    def told(x: Any, y: Any) -> Any:
        kinds: list[type] = [int, bool, str, bytes, tuple]
        return x * (kinds.index(type(y)) + 2 if type(y) in kinds else 1.0) + len(str(y))

    f = cr.compile(told)
    kinds = [1, True, "1", "one", b"one", (7, 8), (7, 8, 9), 10**20, 10**21, -1, 0, False, None]
    for _ in range(3):
        for y in kinds:
            expected = told(0.5, y)
            assert f(0.5, y) == expected
            assert f(np.float64(0.5), y) == expected
            assert f(Number(0.5), y) == expected
    g = cr.compile(lambda p: p[0] * (3.0 if hasattr(p, "a") else 2.0))
    for p in [(1.0, 2.0), pair(1.0, 2.0), [1.0, 2.0]] * 3:
        assert g(p) == (3.0 if isinstance(p, pair) else 2.0)


def test_contexts_and_transformations() -> None:
    """Where something is open that concerns values, the function itself runs."""
    f = cr.compile(lambda x: crmath.log(x) * 2.0)
    for _ in range(3):
        assert f(1.5) == pytest.approx(2.0 * math.log(1.5))
    with cr.domain_errors(), pytest.raises(ValueError, match="log"):
        f(-1.0)
    assert math.isnan(f(-1.0))
    seen = []

    @cr.compile
    def h(x: Any) -> Any:
        seen.append(x)
        return x * 3.0

    h(1.0), h(1.0)
    assert len(seen) == 1
    assert cr.grad(lambda x: x * h(2.0))(5.0) == 6.0
    assert len(seen) == 2  # plainly
    with cr.detect_anomaly():
        h(2.0)
    assert len(seen) == 3
    assert cr.grad(h)(5.0) == 3.0


def test_what_is_captured_later() -> None:
    """A node on a path that comes later makes every result a node, as on the general way."""
    weight = Node(3.0)
    f = cr.compile(lambda x: x * weight if x > 1.0 else x)
    assert [f(0.5), f(0.25)] == [0.5, 0.25]
    for x in (2.0, 3.0):
        assert f(x).data == 3.0 * x
    weight.data = 4.0
    assert f(2.0).data == 8.0
    assert float(getattr(f(0.5), "data", f(0.5))) == 0.5


def helper(x: Any) -> Any:
    """Replaced below."""
    return x * 2.0


def test_another_function_under_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noticed at the next call, and so is the first one when it comes back."""
    f = cr.compile(lambda x: helper(x) + 1.0)
    first = helper
    for _ in range(3):
        assert f(3.0) == 7.0
        monkeypatch.setattr(sys.modules[__name__], "helper", lambda x: x * 5.0)
        assert [f(3.0), f(3.0)] == [16.0, 16.0]
        monkeypatch.setattr(sys.modules[__name__], "helper", first)
        assert [f(3.0), f(3.0)] == [7.0, 7.0]
    monkeypatch.delattr(sys.modules[__name__], "helper")
    with pytest.raises(NameError):
        f(3.0)


def test_check_never_goes_straight() -> None:
    """With check, each call is compared."""
    state = [1.0]
    f = cr.compile(lambda x: x * state[0], check=True)
    assert [f(2.0), f(2.0)] == [2.0, 2.0]
    state[0] = 3.0
    with pytest.raises(cr.CompileError):
        f(2.0)


@pytest.mark.parametrize("call", ["f(1.0, 2.0, 3.0)", "f()", "f('x')", "f(1.0, z=2.0)", "f([])"])
def test_tracebacks(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error after plain calls is shown at the user's lines."""
    monkeypatch.delenv(SWITCH, raising=False)
    f = cr.compile(lambda x, y=2.0: x * y)
    assert [f(1.0), f(1.0)] == [2.0, 2.0]
    with pytest.raises(TypeError) as caught:
        eval(call, {"f": f})
    names = [entry.frame.f_globals.get("__name__") for entry in caught.traceback]
    assert not any(str(name).startswith("chainrule") for name in names)


@of_the_engine
def test_many_numbers() -> None:
    """More than there is room for on the stack."""
    f = Counted(lambda xs: [x * 2.0 for x in xs])
    xs = [float(i) for i in range(300)]
    f(xs)
    before = f.general
    assert f(xs) == [2.0 * x for x in xs]
    assert f.general == before


def test_arrays_in_results() -> None:
    """What is no tuple or list of numbers is made in Python, anew each time."""
    f = cr.compile(lambda x: {"a": np.array([x, x * x]), "b": (x > 1.0)})
    for x in (0.5, 2.0, 0.5, 2.0):
        found = f(x)
        assert found["a"].tolist() == [x, x * x]
        assert found["b"] is (x > 1.0)
        found["a"][0] = 7.0


def weighted(x: Any, parts: Any) -> Any:
    """A branch, a number and arrays of some shapes."""
    (a, b), scale = parts
    y = x * scale if a.sum() > 0.0 else x + a.sum()
    return y.sum(), [y, (2.0 * b, a[0] * y[:1])], np.array(b.sum())


def arrays_of(rng: Random, sizes: Any = (3, 4)) -> Any:
    """Arguments of it."""
    numbers = np.array([rng.uniform(-1.0, 1.0) for _ in range(40)])
    n, m = sizes
    return numbers[:n].copy(), ([numbers[n : n + m], numbers[20:26].reshape(2, 3)], numbers[0])


def assert_equal(found: Any, expected: Any) -> None:
    """The same trees, of the same types, and arrays that can be changed."""
    assert type(found) is type(expected) or {type(found), type(expected)} == {float, np.float64}
    if isinstance(expected, (tuple, list)):
        for x, y in zip(found, expected, strict=True):
            assert_equal(x, y)
        return
    assert np.shape(found) == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-14)
    if isinstance(found, np.ndarray):
        found[...] = 7.0


@pytest.mark.parametrize("seed", range(10))
def test_arrays(seed: int) -> None:
    """They go straight in and out on all paths; those laid out otherwise take the general way."""
    rng = Random(seed)
    f = Counted(weighted)
    for sizes in [(3, 4), (5, 2)]:
        x, ([a, b], scale) = arrays_of(rng, sizes)
        for sign in (1.0, -1.0, 1.0):
            f(x, ([sign * abs(a), b], scale))
    before = f.general
    for _ in range(20):
        args = arrays_of(rng, rng.choice([(3, 4), (5, 2)]))
        kept = pickle.dumps(args)
        results = f(*args), f(*args)
        for found in results:  # each its own
            assert_equal(found, weighted(*args))
        assert pickle.dumps(args) == kept
    assert f.general == before or ENGINE is None
    x, ([a, b], scale) = arrays_of(rng)
    others = [
        (x[::-1], ([a, b], scale)),
        (x, ([a, np.asfortranarray(b)], scale)),
        (x, ([a.astype(">f8"), b], scale)),
        (x, ([a.astype(np.float32), b], scale)),
        (x, ([a, np.broadcast_to(1.5, (2, 3))], scale)),
        (x.view(type("Own", (np.ndarray,), {})), ([a, b], scale)),
    ]
    for k, args in enumerate(others, 1):
        (first, second), scale = args[1]
        plain = [np.asarray(part, np.float64) for part in (args[0], first, second)]
        assert_equal(f(*args), weighted(plain[0], (plain[1:], scale)))
        assert f.general == before + k or ENGINE is None
    a.flags.writeable = False
    assert_equal(f(x, ([a, b], scale)), weighted(x, ([a, b], scale)))
    unaligned = np.frombuffer(b"." + x.tobytes(), np.uint8)[1:].view(np.float64)
    assert_equal(f(unaligned, ([a, b], scale)), weighted(x, ([a, b], scale)))


@of_the_engine
@pytest.mark.parametrize("size", [0, 1, 2, 7, 63, 64, 65, 4095, 5000, 140_000])
def test_sizes_of_arrays(size: int) -> None:
    """From none to what fills huge pages; alone, and with others."""
    x = np.linspace(0.5, 1.0, size)
    functions: list[Any] = [
        lambda x: x * 2.0,
        lambda x: (x * 2.0).sum(),
        lambda x: (x.reshape(1, -1, 1) * 2.0, 1.0),
        lambda x: {"a": x * 2.0, "b": [1.0, x[:1]]},
        lambda x: [x * 2.0, x * 3.0, x.sum() * np.ones(3)],
    ]
    for function in functions:
        f = Counted(function)
        for n in range(3):
            found, expected = f(x + n), function(x + n)
            layout = cr.trees.flatten(expected, "")[1]
            assert str(cr.trees.flatten(found, "")[1]) == str(layout)
            for y, z in zip(*[cr.trees.leaves_of(t)[0] for t in (found, expected)], strict=True):
                np.testing.assert_allclose(y, z, rtol=1e-12)
        assert f.general == 1
    x = x[:5000]
    g = Counted(lambda *xs: sum(xs[1:], xs[0] * 2.0))
    xs = [x + n for n in range(12)]  # more than there is room for on the stack
    for _ in range(3):
        np.testing.assert_allclose(g(*xs), sum(xs[1:], xs[0] * 2.0), rtol=1e-14, atol=1e-14)
    assert g.general == 1


@of_the_engine
def test_an_array_that_is_left_alone() -> None:
    """A small part of the outputs does not keep the memory of all."""
    f = cr.compile(lambda x: (x * 2.0, x[:3] * 3.0))
    for n in (100, 5000):
        x = np.linspace(0.0, 1.0, n)
        f(x)
        for _ in range(3):
            large, few = f(x)
            assert few.base is None
            assert large.base is None if n == 100 else large.base.size == n + 3
            assert np.array_equal(large, x * 2.0)
            assert np.array_equal(few, x[:3] * 3.0)


@of_the_engine
def test_errors_in_looks_and_results() -> None:
    """They come to the caller, and nothing stays broken."""
    f = cr.compile(mixed)
    f(0.2)
    step = f._small[0].first
    base = getattr(step, "following", {})
    base[1] = "no step"
    if ENGINE is not None:
        assert f(0.9)[0] == mixed(0.9)[0]


@of_the_engine
@pytest.mark.parametrize("seed", range(20))
def test_steps(seed: int) -> None:
    """They lead to the numbers that the general way gives, or give none."""
    rng = Random(seed)
    f = cr.compile(mixed)
    args = tuple(random_tree(rng) for _ in range(2))
    if not any(isinstance(x, float) for x in collected(args)) or all(
        not isinstance(x, (float, np.float64, tuple, list)) for x in args
    ):
        args = (*args, 0.5)
    f(*args)
    (plan,) = f._plans.values()
    if plan.small is None:
        return
    path: Any = plan.paths.known(())
    kernel: Any = path.kernel()
    pattern = small.pattern_of_result(path.trace.layout)
    step = ENGINE.Step(
        *kernel.bare, plan.n_inputs, path.trace.n_outputs, seed % 2 == 0, *pattern, kernel
    )
    state = [1]
    call = ENGINE.SmallCall(plan._pattern, step, ((state.__getitem__, (0,), state[0]),), None, plan)
    holder = Holder([call])
    for _ in range(10):
        other = other_numbers(args, rng)
        found = holder(*other)
        if found is not None:
            assert found == f._general(other, {})
    assert holder(*args) == f._general(args, {})
    assert holder(*args, 1.0) is None
    state[0] = 2
    assert holder(*args) is None


class Holder(small.Dispatch):
    """Calls of certain kinds alone."""

    def __init__(self, calls: list[Any]) -> None:
        super().__init__()
        self._small.extend(calls)

    def _general(self, args: Any, kwargs: Any) -> Any:
        return None


@of_the_engine
def test_wrong_parts() -> None:
    """What can't be is refused by the engine, without a crash."""
    f = cr.compile(lambda x, y: (x, y))
    f(1.0, 2.0)
    step = f._small[0].first
    for args in itertools.product(
        [(float,), (float, 1.5), (float, object()), [float, float], None],
        [step, None],
        [(), (1,), ((len,),), ((len, 1, 2),)],
        [None],
    ):
        with pytest.raises((TypeError, ValueError)):
            ENGINE.SmallCall(*args, None)
    array = ENGINE.Array((2,))
    steps: list[Any] = [
        (),
        (0, 0, -1, 1, False, None, float, None),
        (0, 0, 1, 2, False, None, float, None),
        (0, 0, 1, 1, False, None, "x", None),
        (0, 0, 1, 1, False, None, (None,), None),
        (0, 0, 1, 2, False, None, array, None),
        (0, 0, 1, 1, False, np.empty, array, None),
        (0, 0, 2**62, 2**62, False, None, len, None),
        (0, 0, 1, 1, False, np.empty, (ENGINE.Array((2**59,)),) * 100, None),
    ]
    for args in steps:
        with pytest.raises((TypeError, ValueError)):
            ENGINE.Step(*args)
    shapes: list[Any] = [(-1,), (2**62,), (2**40, 2**40), (1.5,), ("a",), (2**80,), [2], None]
    for shape in shapes:
        with pytest.raises((TypeError, ValueError, OverflowError)):
            ENGINE.Array(shape)
    deep: Any = float
    for _ in range(100_000):
        deep = (deep,)
    with pytest.raises((RecursionError, ValueError)):
        ENGINE.SmallCall((deep,), step, (), None, None)


def test_nothing_is_kept() -> None:
    """Neither arguments nor results, on any way."""
    f = cr.compile(mixed)
    array = np.array([0.25, 0.5])
    held = [0.3, 0.7, "".join(["te", "xt"]), [0.1, 0.2], 10**30, array]
    kinds = [(held[0],), (held[1],), (held[0], held[2]), (held[3],), (held[4], held[0]), (len,)]
    f_of_arrays = cr.compile(lambda x, y: (x * y, [x.sum()]))

    def calls() -> None:
        for args in kinds:
            f(*args)
            with pytest.raises(TypeError):
                f(*args, wrong=1.0)
        f_of_arrays(array, array[1:]), f_of_arrays(array, 0.5), f_of_arrays(array[:1], array)

    for _ in range(3):
        calls()
    gc.collect()
    before = [sys.getrefcount(x) for x in held]
    for _ in range(20):
        calls()
    gc.collect()
    assert [sys.getrefcount(x) for x in held] == before


@of_the_engine
@pytest.mark.filterwarnings("ignore:.*was compiled")
def test_it_goes_with_its_code() -> None:
    """A compiled function is freed with all that plain calls are made of."""
    gc.collect()
    kinds = () if ENGINE is None else (ENGINE.Step, ENGINE.SmallCall)
    before = sum(type(x) in kinds for x in gc.get_objects())
    for _ in range(5):
        f = cr.compile(lambda x, n: x * n if x > 0.0 else -x)
        for n in range(40):
            f(1.0, n), f(-1.0, n), f(1.0, n)
    assert len(f._small) == small.MAX_SMALL
    del f
    gc.collect()
    assert sum(type(x) in kinds for x in gc.get_objects()) == before


@pytest.mark.usefixtures("frequent_switches")
def test_threads() -> None:
    """New kinds, paths and functions under the name come up while others call."""
    f = cr.compile(mixed)

    def work(i: int) -> None:
        rng = Random(i)
        for _ in range(300):
            args = (rng.uniform(-1.0, 2.0), rng.choice(["a", 2, None, (0.3,)]))
            assert collected(f(*args)) == pytest.approx(collected(mixed(*args)), rel=1e-14)

    run_in_threads(*[functools.partial(work, i) for i in range(6)])
    assert f.stats().calls == 1800


def test_other_threads_go_on() -> None:
    """While a long call runs, another thread does."""

    def long(x: Any) -> Any:
        for _ in range(200_000):
            x = crmath.sin(x) + 1.0
        return x

    f = cr.compile(long)
    f(0.5)
    ticks: list[int] = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(1)
            done.wait(1e-4)

    thread = threading.Thread(target=tick)
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(100.0)  # only who lets go of the lock lets others on
    try:
        before = len(ticks)
        for _ in range(20):
            f(0.5)
        after = len(ticks)
    finally:
        sys.setswitchinterval(interval)
        done.set()
        thread.join()
    assert after > before


def test_copies() -> None:
    """A copy and a pickle begin anew; a fork goes on."""
    f = cr.compile(helper)
    f(1.0), f(1.0)
    for g in (pickle.loads(pickle.dumps(f)), f.__copy__()):
        assert (g(2.0), g.stats().calls) == (4.0, 1)
    if hasattr(os, "fork"):
        child = os.fork()
        if child == 0:
            os._exit(
                0
                if f(4.0) == 8.0
                and f(
                    4.0,
                )
                == 8.0
                else 1
            )
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_methods_and_keywords() -> None:
    """Keywords take the general way and mean the same."""

    class Model:
        scale = 3.0

        @cr.compile
        def scaled(self, x: Any, y: float = 2.0) -> Any:
            return self.scale * x * y

    model = Model()
    for _ in range(3):
        assert model.scaled(2.0) == 12.0
        assert model.scaled(2.0, y=1.0) == 6.0
    model.scale = 4.0
    assert model.scaled(2.0) == 16.0


def test_another_call() -> None:
    """A method of a subclass, or one put in later, takes the place of the class's own."""

    class Called(small.Dispatch):
        def _general(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return args, kwargs

    class Around(Called):
        def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
            return "around", super().__call__(*args, **kwargs)

    def other(self: Any, *args: Any, **kwargs: Any) -> Any:
        return "other", (args, kwargs)

    called, around, given = Called(), Around(), ((1.0, "a"), {"y": 2.0})
    for _ in range(2):
        assert called(1.0, "a", y=2.0) == called.__call__(1.0, "a", y=2.0) == given
        assert called() == called(*(), **{}) == ((), {})
        assert around(1.0, "a", y=2.0) == ("around", given)
        Called.__call__ = other  # type: ignore[method-assign]
        assert called(1.0, "a", y=2.0) == ("other", given)
        assert called(1.0) == ("other", ((1.0,), {}))
        assert around(1.0, "a", y=2.0) == ("around", ("other", given))
        del Called.__call__


def told_by_lanes(x: Any, parts: Any) -> Any:
    """Of one lane: what the parts are, and in which order, counts."""
    total, weight = x * 0.0, 1.0
    waiting: list[Any] = [parts]
    while waiting:
        part = waiting.pop(0)
        weight += 0.75
        if isinstance(part, (tuple, list)):
            waiting += part
            weight += 0.125 if isinstance(part, list) else 0.25
        elif isinstance(part, dict):
            waiting += [*map(len, part), *part.values()]
        elif isinstance(part, np.ndarray):
            waiting += part.ravel().tolist()
        elif isinstance(part, (float, Node)):
            total = total + weight * part * x
        else:
            total = total + weight * len(str(type(part))) + sum(str(part).encode())
    return total


def random_parts(rng: Random, depth: int = 2) -> Any:
    """A tree of floats, arrays and static values for all lanes."""
    kind = rng.randrange(10)
    if depth and kind < 3:
        parts = [random_parts(rng, depth - 1) for _ in range(rng.randrange(4))]
        if kind == 0:
            names = rng.sample(["a", "bb", "ccc", "dddd"], len(parts))
            return dict(zip(names, parts, strict=True))
        return tuple(parts) if kind == 1 else parts
    if kind == 3:
        return rng.choice([True, 1, None, "text", 0, False, 2])
    if kind == 4:
        array = np.arange(rng.choice([2.0, 6.0]))
        return rng.choice([array, array[::2], array.reshape(2, -1).T, array.astype(np.float32)])
    return rng.choice([float, np.float64])(rng.uniform(-1.0, 2.0))


def other_parts(x: Any, rng: Random) -> Any:
    """The same with other numbers, whole ones too; a dict perhaps in another order."""
    if type(x) is int:
        return rng.randrange(3)
    if isinstance(x, dict):
        items = [(key, other_parts(part, rng)) for key, part in x.items()]
        return dict(rng.sample(items, len(items)))
    if isinstance(x, np.ndarray):
        return x + 1
    if isinstance(x, (tuple, list)):
        return type(x)([other_parts(part, rng) for part in x])
    return other_numbers(x, rng)


@pytest.mark.filterwarnings("ignore:.*was compiled")
@pytest.mark.parametrize("reduce", [None, "sum"])
@pytest.mark.parametrize("seed", range(20))
def test_random_trees_over_lanes(seed: int, reduce: Any) -> None:
    """Any trees besides the lanes, in any order, with what differs only a little between."""
    rng = Random(seed)
    f = cr.compile(cr.vmap(told_by_lanes, in_axes=(0, None), reduce=reduce))
    kinds = [random_parts(rng) for _ in range(4)]
    table = np.linspace(0.5, 2.0, 30).reshape(10, 3)
    for _ in range(40):
        parts = other_parts(rng.choice(kinds), rng)
        x = rng.choice([table[:, 1], table[3:7, 0], np.ascontiguousarray(table[:, 2])])
        expected = np.array([told_by_lanes(v, parts) for v in x.tolist()])
        found = f(x, parts)
        np.testing.assert_allclose(found, expected.sum() if reduce else expected, rtol=1e-12)
