"""Loops and branches as functions: eager, compiled, and as loops written by hand."""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable, Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from numpy.testing import assert_allclose
from random_loops import INDICES, INPUTS, Source
from test_loop_programs import rolling

from chainrule import (
    Node,
    array,
    compile,
    grad,
    hessian,
    hvp,
    jvp,
    lax,
    segment_sum,
    take,
    value_and_grad,
    vjp,
    vmap,
)
from chainrule import math as cm
from chainrule.trees import map_leaves

COUNT = int(os.environ.get("CHAINRULE_LOOPS", "40"))
FIRST = int(os.environ.get("CHAINRULE_FIRST", "0"))
LANES = 3


def _rows(xs: Any, length: int | None) -> list[Any]:
    """The rows of a tree of arrays, one after another."""
    if xs is None:
        return [None] * (length or 0)
    if isinstance(xs, tuple):
        return [*zip(*[_rows(x, None) for x in xs], strict=True)]
    return list(xs)


def _stacked(ys: list[Any]) -> Any:
    if isinstance(ys[0], tuple):
        return tuple(_stacked([*column]) for column in zip(*ys, strict=True))
    return None if ys[0] is None else array(ys)


def by_hand() -> Any:
    """The functions of lax as they would be written in a test."""

    def scan(
        f: Any,
        init: Any,
        xs: Any,
        length: int | None = None,
        reverse: bool = False,
        checkpoint: Any = None,
    ) -> Any:
        rows = _rows(xs, length)
        ys = []
        for x in reversed(rows) if reverse else rows:
            init, y = f(init, x)
            ys.append(y)
        return init, _stacked(ys[::-1] if reverse else ys)

    def fori_loop(lower: int, upper: int, f: Any, value: Any, checkpoint: Any = None) -> Any:
        for i in range(lower, upper):
            value = f(i, value)
        return value

    def while_loop(condition: Any, f: Any, value: Any) -> Any:
        while condition(value):
            value = f(value)
        return value

    def cond(pred: Any, true: Any, false: Any, *operands: Any) -> Any:
        return true(*operands) if pred else false(*operands)

    def mapped(f: Any, in_axes: Any, reduce: Any) -> Any:
        def over_lanes(x: Any, y: Any) -> Any:
            results = array([f(x[i], y if in_axes[1] is None else y[i]) for i in range(len(x))])
            total = results if reduce is None else sum(results)
            return total / len(x) if reduce == "mean" else total

        return over_lanes

    return SimpleNamespace(
        scan=scan, fori_loop=fori_loop, while_loop=while_loop, cond=cond, vmap=mapped,
        map=lambda f, xs: array([f(x) for x in xs]), part=lambda f: f,
    )  # fmt: skip


def by_library() -> Any:
    """Those of the library; each part is compiled once."""
    parts = functools.cache(compile)
    return SimpleNamespace(
        **{name: getattr(lax, name) for name in lax.__all__}, vmap=vmap, part=parts
    )


def program(seed: int) -> tuple[str, Callable[..., Any]]:
    """A random program, its source first."""
    random = Random(seed)
    source = Source(random, random.randint(1, 3)).program()
    used = ("sin", "tanh", "exp", "log", "where", "maximum")
    names: dict[str, Any] = {name: getattr(cm, name) for name in used}
    names |= {"array": array, "numpy": numpy, "take": take, "segment_sum": segment_sum}
    names["floor"] = math.floor
    exec(source, names)
    return source, names["program"]


def check(seed: int) -> None:
    """Compare a program with itself: eager, compiled, and with loops by hand."""
    source, function = program(seed)
    generator = numpy.random.default_rng(seed)
    a, x = generator.uniform(-1, 1), generator.uniform(-1, 1, INPUTS)
    given = (generator.uniform(-1, 1), generator.uniform(-1, 1, INPUTS))

    k = generator.integers(-INPUTS, INPUTS, INDICES)

    library = by_library()

    def f(a: Any, x: Any, k: Any) -> Any:
        return function(library, a, x, k)

    def reference(a: Any, x: Any, k: Any) -> Any:
        return function(by_hand(), a, x, k)

    def tangents(f: Any) -> Any:
        return lambda a, x, k: jvp(lambda a, x: f(a, x, k), (a, x), given)

    def second(f: Any) -> Any:
        return lambda a, x, k: hvp(lambda a, x: f(a, x, k), (a, x), given)

    def gradient(f: Any) -> Any:
        return value_and_grad(f, argnums=(0, 1))

    transforms: list[Any] = [lambda f: f, gradient, tangents, second]
    for transform in transforms:
        expected = transform(reference)(a, x, k)
        _same(transform(f)(a, x, k), expected, source)
        _same(compile(transform(f))(a, x, k), expected, source)
    many = (generator.uniform(-1, 1, LANES), generator.uniform(-1, 1, (LANES, INPUTS)))
    mapped = vmap(gradient(reference), in_axes=(0, 0, None))(*many, k)
    _same(compile(vmap(gradient(f), in_axes=(0, 0, None)))(*many, k), mapped, source)


def _same(found: Any, expected: Any, source: str) -> None:
    map_leaves(lambda x: x, found)
    for x, y in zip(_numbers(found), _numbers(expected), strict=True):
        assert_allclose(x, y, rtol=1e-7, atol=1e-9, err_msg=source)


def _numbers(tree: Any) -> Iterator[Any]:
    if isinstance(tree, tuple):
        for item in tree:
            yield from _numbers(item)
    else:
        yield numpy.asarray(tree, dtype=float)


ONCE_WRONG = (95001795,)
"""A number from outside a loop, copied there by a loop in it."""


@pytest.mark.parametrize("seed", [*range(FIRST, FIRST + COUNT), *ONCE_WRONG])
def test_random_programs(seed: int) -> None:
    """Eager and compiled they are the loops by hand, to second order; odd seeds force rolling."""
    with rolling(seed):
        check(seed)


def total(a: Any, x: Any) -> Any:
    """A scan with a carry of two, over an argument."""

    def step(carry: Any, z: Any) -> Any:
        level, summed = carry
        level = 0.9 * level + cm.sin(a * z)
        return (level, summed + level), level

    (_, summed), levels = lax.scan(step, (a, 0.0), x)
    return summed + levels[-1]


@pytest.mark.parametrize("transform", [lambda f: f, lambda f: grad(f, argnums=(0, 1)), hessian])
def test_size_of_code(transform: Any) -> None:
    """The program is the same, however long the loop runs."""
    sizes = []
    for length in (300, 3000) if transform is not hessian else (50, 150):
        compiled = compile(transform(total if transform is not hessian else fixed))
        x = numpy.linspace(0.0, 1.0, length)
        compiled(0.5, x)
        sizes.append(compiled.stats().nodes)
    assert sizes[0] == sizes[1] < 150


@pytest.mark.parametrize("by", [0, (0, 1), None])
def test_size_of_look_ups(by: Any) -> None:
    """What is looked up by the index of a loop takes the same code, however long it runs."""

    def f(a: Any, x: Any) -> Any:
        n = len(x)

        def body(i: Any, total: Any) -> Any:
            steps = x[i] - x[i - 1] + x[n - 1 - i] * x[-i] + x[(2 * i + 1) % n] + x[i // 2]
            return total + a * steps * i

        return lax.fori_loop(1, n, body, 0.0)

    sizes = []
    for length in (300, 3000):
        x = numpy.sin(numpy.arange(float(length)))
        compiled = compile(f if by is None else grad(f, argnums=by))
        found = compiled(0.3, x)
        if length == 300:
            expected = (f if by is None else grad(f, argnums=by))(0.3, x)
            _same(found, expected, "")
        sizes.append(compiled.stats().nodes)
    assert max(sizes) < 200


def fixed(a: Any, x: Any) -> Any:
    """The same of one number only."""
    return total(a, numpy.linspace(0.0, 1.0, len(x)))


@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 40])
@pytest.mark.parametrize("reverse", [False, True])
def test_lengths(length: int, reverse: bool) -> None:
    """Loops of no iteration and of few."""

    def f(a: Any, x: Any) -> Any:
        return lax.scan(lambda c, z: (0.5 * c + a * z, (c, z * a)), a, x, reverse=reverse)

    x = numpy.arange(1.0, length + 1.0)
    rows, carry = [], 2.0
    for z in x[::-1] if reverse else x:
        rows.append((carry, 2.0 * z))
        carry = 0.5 * carry + 2.0 * z
    rows = rows[::-1] if reverse else rows
    for function in (f, compile(f)):
        end, (carries, scaled) = function(2.0, x)
        assert end == pytest.approx(carry)
        assert carries.tolist() == pytest.approx([row[0] for row in rows])
        assert scaled.tolist() == pytest.approx([row[1] for row in rows])


def _traced(function: Any, *args: Any) -> Any:
    """The value of a compiled function, which must be that of the function itself."""
    compiled = compile(function)
    for given in args:
        assert compiled(*given) == pytest.approx(function(*given), rel=1e-12)
    return compiled


def test_bodies_that_differ() -> None:
    """What can't stand for all iterations is a plain loop; the result is the same."""
    kept: list[Any] = []
    data = [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]

    def branches(a: Any) -> Any:
        return lax.fori_loop(0, 6, lambda i, c: c + a if c < 3.0 * a else 0.5 * c, 1.0)

    def asks_for_result(a: Any) -> Any:
        end = lax.fori_loop(0, 6, lambda i, c: c * a, 1.0)
        return end if end > 2.0 else -end

    def looks_up_a_list(a: Any) -> Any:
        return lax.fori_loop(0, 6, lambda i, c: c + data[i] * a, 0.0)

    def ranges(a: Any) -> Any:
        return lax.fori_loop(0, 6, lambda i, c: c + sum(a * k for k in range(i)), 0.0)

    def keeps_a_value(a: Any) -> Any:
        kept.clear()

        def step(i: Any, c: Any) -> Any:
            kept.append(c)
            return c * a

        return lax.fori_loop(0, 6, step, 1.0) + kept[-1]

    def derives_outside(a: Any) -> Any:
        kept.clear()

        def step(i: Any, c: Any) -> Any:
            kept.append(vjp(lambda x: x * x * a, c)[1])
            return c * a

        return lax.fori_loop(0, 6, step, 1.0) + kept[0](1.0)[0]

    def counts_whole_numbers(a: Any) -> Any:
        return lax.scan(lambda c, z: ((c[0] + 1, c[1] + a * data[c[0]]), None), (0, 0.0), None, 6)[
            0
        ][1]

    def derives_constants(a: Any) -> Any:
        def scaled(t: Any) -> Any:
            return lax.fori_loop(0, 6, lambda i, c: 0.5 * c * t, t)

        value, slope = jvp(scaled, (0.5,), (1.0,))
        return a * a * slope + value + grad(scaled)(2.0)

    for function in (
        *(branches, asks_for_result, looks_up_a_list, ranges, counts_whole_numbers),
        derives_constants,
    ):
        _traced(function, (0.7,), (1.3,), (0.2,), (2.0,))
        _traced(grad(function), (0.7,), (1.3,), (0.2,), (2.0,))
    for function in (keeps_a_value, derives_outside):
        compiled = compile(function)
        found = compiled(1.3)
        assert found == pytest.approx(function(1.3))


def test_guards_of_lanes() -> None:
    """Lanes that leave a loop at different iterations take paths of their own."""

    def f(a: Any, x: Any) -> Any:
        return lax.scan(lambda c, z: (c + z if c < a else c * 0.5, c), 0.1, x)[0]

    x = numpy.random.default_rng(0).uniform(0.0, 1.0, (40, 8))
    a = numpy.linspace(0.1, 4.0, 40)
    found = compile(vmap(grad(f, argnums=(0, 1))))(a, x)
    expected = vmap(grad(f, argnums=(0, 1)))(a, x)
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other, rtol=1e-12)


def test_while_over_lanes() -> None:
    """Each lane has its own number of iterations, in reverse too."""

    def root(a: Any) -> Any:
        return lax.while_loop(lambda x: abs(x * x - a) > 1e-12, lambda x: 0.5 * (x + a / x), a)

    a = numpy.array([0.3, 2.0, 30.0, 1e4, 2.0])
    assert_allclose(compile(vmap(grad(root)))(a), 0.5 / numpy.sqrt(a), rtol=1e-9)


def test_nodes_from_outside() -> None:
    """Weights that a body uses get gradients by backward, compiled and with checkpoints."""
    x = numpy.linspace(0.1, 1.0, 9)
    found = []
    for checkpoint in (None, 1, 4, 100, "binomial", ("binomial", 1), ("binomial", 3)):
        w = Node(0.3)

        def f(a: Any, w: Node = w, checkpoint: Any = checkpoint) -> Any:
            def step(c: Any, z: Any) -> Any:
                return c * cm.sin(w * w + z) + a, w * c

            end, left = lax.scan(step, a, x, checkpoint=checkpoint)
            return end + left.sum()

        a = Node(0.7)
        f(a).backward()
        found.append((a.grad, w.grad))
        w.grad = 0.0
        compile(f)(0.7).backward()
        assert w.grad == pytest.approx(found[0][1])
    for one in found[1:]:
        assert one == pytest.approx(found[0])


@pytest.mark.parametrize("checkpoint", [None, 1, 3, "binomial", ("binomial", 1)])
def test_variables_that_change(checkpoint: Any) -> None:
    """Iterations run again with the variables around their function as they were, or it is said."""
    scale = 1.0

    def f(a: float, by: Any) -> Any:
        total: Any = 0.0
        for k in range(3):
            w = by(a * (k + 1.0))

            def scaled(c: Any, w: Any = None) -> Any:
                return (c * cm.sin(a + k)) if w is None else c * w  # noqa: B023

            def step(c: Any, _: Any) -> Any:
                return scaled(c, w) + a * 0.1 * k, scaled(c)  # noqa: B023

            def following(i: Any, c: Any) -> Any:
                return step(c, None)[0]

            end, left = lax.scan(step, a, None, 10, checkpoint=checkpoint)
            last = lax.fori_loop(0, 10, following, a, checkpoint=checkpoint)
            total = total + end + left.sum() + last
        w = total * total
        return w

    exact = sum(c * f(0.7 + c * 1e-6, cm.sin) for c in (1.0, -1.0)) / 2e-6
    assert grad(f)(0.7, cm.sin) == pytest.approx(exact, rel=1e-6)
    if checkpoint is not None:
        kept = [1.0]

        def changed(a: Any) -> Any:
            kept[0] = scale
            end = lax.scan(lambda c, _: (c * kept[0], None), a, None, 9, checkpoint=checkpoint)[0]
            kept[0] = 2.0
            return end * end

        with pytest.raises(RuntimeError, match="on nothing that changes"):
            grad(changed)(0.7)

        def other_way(a: Any, how: Callable[[Any, Any], Any]) -> Any:
            kept[0] = a[1]
            end = lax.scan(lambda c, _: (c * kept[0], None), a[0], None, 9, checkpoint=checkpoint)
            kept[0] = how(a[1], a[2])
            return end[0] * kept[0]

        for how in (lambda b, c: c, lambda b, c: c * 1.0, lambda b, c: b * b):
            with pytest.raises(RuntimeError, match="on nothing that changes"):
                grad(other_way)(numpy.array([0.7, 1.0, 1.0]), how)
        found = grad(other_way)(numpy.array([0.7, 1.0, 1.0]), lambda b, c: b)
        assert found == pytest.approx([1.0, 7.0, 0.0])


@pytest.mark.parametrize("carries", [1, 2, 3, 5])
def test_binomial_schedule(carries: int) -> None:
    """No iteration runs more often than the bound says, and no more carries are kept than said."""
    for length in (1, 2, 3, 7, 20, 45):
        runs = [0] * length

        def step(c: Any, k: Any, runs: list[int] = runs) -> Any:
            runs[int(k._number if isinstance(k, Node) else k)] += 1
            return c * 1.01 + 0.1 * k, None

        def f(c: Any, length: int = length, step: Any = step) -> Any:
            xs = numpy.arange(float(length))
            return lax.scan(step, c, xs, checkpoint=("binomial", carries))[0]

        assert grad(f)(1.0) == pytest.approx(1.01**length)
        repetitions = 0
        while math.comb(carries + repetitions, carries) < length:
            repetitions += 1
        assert max(runs) <= repetitions + 2


def test_loops_one_after_another() -> None:
    """A body is traced once after other loops too, if what it asks does not hang on these."""
    runs: list[int] = []

    def f(x: Any, k: Any) -> Any:
        def looked_up(i: Any, total: Any) -> Any:
            runs.append(1)
            return total + take(x, k[0] + i) * total

        first = lax.fori_loop(0, 20, looked_up, 0.5)
        return lax.fori_loop(0, 20, looked_up, first)

    x, k = numpy.sin(numpy.arange(30.0)), numpy.array([3])
    compiled = compile(value_and_grad(f))
    found = compiled(x, k)
    assert len(runs) == 2
    _same(found, value_and_grad(f)(x, k), "")
    with pytest.raises(IndexError, match="index 30 is outside"):
        compiled(x, k + 9)

    def of_results(x: Any, k: Any) -> Any:
        levels = lax.map(lambda z: 4.0 * z, x)
        return lax.scan(lambda c, z: (c + take(x, math.floor(z)), None), 0.0, levels)[0]

    x = numpy.linspace(0.0, 3.5, 15)
    _same(compile(value_and_grad(of_results))(x, k), value_and_grad(of_results)(x, k), "")


loops: Any = lax  # which takes anything here
BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda: loops.scan(lambda c, x: ((c, c), None), 0.0, None, 3), TypeError, "another structure"),
    (
        lambda: loops.scan(lambda c, x: ({"a": numpy.zeros(2)}, None), {"a": 0.0}, None, 3),
        TypeError,
        r"carry\['a'\] was a number and became an array of shape \(2,\)",
    ),
    (lambda: loops.scan(lambda c, x: ("a", None), 0.0, None, 3), TypeError, "became str 'a'"),
    (lambda: loops.scan(lambda c, x: (c, None), "a", None, 3), TypeError, "carry is str 'a'"),
    (
        lambda: loops.scan(lambda c, x: (c, None), 0.0, (numpy.ones(2), numpy.ones(3))),
        ValueError,
        r"xs\[1\] has length 3, but xs\[0\] has length 2",
    ),
    (lambda: loops.scan(lambda c, x: (c, None), 0.0, numpy.ones(2), 3), ValueError, "the length 3"),
    (lambda: loops.scan(lambda c, x: (c, None), 0.0, 3.0), TypeError, "not an array"),
    (lambda: loops.scan(lambda c, x: (c, None), 0.0), TypeError, "takes a length"),
    (lambda: loops.scan(lambda c, x: (c, None), 0.0, None, -1), ValueError, "negative"),
    (lambda: loops.scan(lambda c, x: (c, None), 0.0, None, 1.5), TypeError, "whole number"),
    (lambda: loops.scan(lambda c, x: c, 0.0, None, 3), TypeError, "pair"),
    (lambda: loops.scan(lambda c, x: (c, "a"), 0.0, None, 3), TypeError, "y is str 'a'"),
    (
        lambda: loops.scan(lambda c, x: (c + 1.0, None if c else c), 0.0, None, 3),
        TypeError,
        "another structure than before",
    ),
    (lambda: loops.scan(None, 0.0, None, 3), TypeError, "takes a function"),
    (lambda: loops.scan(lambda c, x: (c, x), 0.0, None, 3, checkpoint=0), ValueError, "1 or more"),
    (
        lambda: loops.scan(lambda c, x: (c, x), 0.0, None, 3, checkpoint="all"),
        TypeError,
        "binomial",
    ),
    (
        lambda: loops.scan(lambda c, x: (c, x), 0.0, None, 3, checkpoint=("binomial", 0.5)),
        TypeError,
        "binomial",
    ),
    (lambda: loops.while_loop(lambda c: True, lambda c: c, 0.0), RuntimeError, "does not end"),
    (lambda: loops.while_loop(lambda c: c == c, lambda c: c, 2.0), RuntimeError, "does not end"),
    (
        lambda: loops.while_loop(lambda c: c > 0, lambda c: c + 1, 1.0, max_iterations=9),
        RuntimeError,
        "9 iterations",
    ),
    (lambda: loops.while_loop(lambda c: numpy.ones(2), lambda c: c, 1.0), TypeError, "condition"),
    (lambda: loops.while_loop(lambda c: None, lambda c: c, 1.0), TypeError, "condition, not None"),
    (
        lambda: loops.while_loop(lambda c: "c < 1", lambda c: c, 1.0),
        TypeError,
        "condition, not str",
    ),
    (lambda: loops.cond(None, lambda: 1.0, lambda: 2.0), TypeError, "condition, not None"),
    (
        lambda: loops.map(lambda x: x[0], (numpy.ones(4), numpy.ones(5))),
        ValueError,
        r"map: xs\[1\] has length 5, but xs\[0\] has length 4",
    ),
    (
        lambda: loops.map(lambda x: x if x < 2 else numpy.ones(2), numpy.arange(6.0)),
        TypeError,
        r"map: y was a number before and is an array of shape \(2,\)",
    ),
    (lambda: loops.map(lambda x, y: x, numpy.ones(5)), TypeError, "missing 1 required"),
    (lambda: loops.fori_loop(0, 2.5, lambda i, c: c, 1.0), TypeError, "upper bound"),
    (lambda: loops.cond(numpy.ones(2), lambda: 1.0, lambda: 2.0), TypeError, "condition"),
    (lambda: loops.cond(True, 1.0, lambda: 2.0), TypeError, "takes a function"),
    (lambda: loops.scan(lambda c, x: (c, None), 0.0, None, lenght=3), TypeError, "length"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_input(case: int) -> None:
    """What is wrong is said, eagerly and compiled."""
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
    with pytest.raises(error, match=message):
        compile(lambda a: (call(), a)[1])(1.0)


def test_index_outside() -> None:
    """An index that is outside in some iteration raises, also where the first one is not."""

    def f(x: Any) -> Any:
        return lax.fori_loop(0, len(x), lambda i, c: c + x[i + 1], 0.0)

    x = numpy.arange(6.0)
    with pytest.raises(IndexError):
        f(x)
    with pytest.raises(IndexError, match="6"):
        compile(f)(x)


if __name__ == "__main__":
    wrong = False
    for seed in range(int(sys.argv[2]), int(sys.argv[2]) + int(sys.argv[1])):
        try:
            with rolling(seed):
                check(seed)
        except Exception as error:
            wrong = True
            print(seed, type(error).__name__, str(error)[:300])
            if len(sys.argv) > 3:
                raise
    sys.exit(wrong)
