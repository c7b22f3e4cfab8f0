"""Loops and branches as functions: eager, compiled, and as loops written by hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from numpy.testing import assert_allclose
from random_loops import INPUTS, Source
from test_loop_programs import rolling

from chainrule import array, compile, grad, hvp, jvp, lax, value_and_grad, vmap
from chainrule import math as cm
from chainrule.trees import map_leaves

COUNT = int(os.environ.get("CHAINRULE_LOOPS", "60"))
FIRST = int(os.environ.get("CHAINRULE_FIRST", "0"))
LANES = 3


def _rows(xs: Any, length: int | None) -> list[Any]:
    """The rows of a tree of arrays, one after another."""
    if xs is None:
        return [None] * (length or 0)
    if isinstance(xs, tuple):
        return [*zip(*[_rows(x, None) for x in xs], strict=True)]
    return [row if isinstance(row, numpy.ndarray) else row for row in xs]


def _stacked(ys: list[Any]) -> Any:
    if isinstance(ys[0], tuple):
        return tuple(_stacked([*column]) for column in zip(*ys, strict=True))
    return None if ys[0] is None else array([y for y in ys])


def by_hand() -> Any:
    """The functions of lax as they would be written in a test."""

    def scan(f: Any, init: Any, xs: Any, length: int | None = None, reverse: bool = False) -> Any:
        rows = _rows(xs, length)
        ys = []
        for x in reversed(rows) if reverse else rows:
            init, y = f(init, x)
            ys.append(y)
        return init, _stacked(ys[::-1] if reverse else ys)

    def fori_loop(lower: int, upper: int, f: Any, value: Any) -> Any:
        for i in range(lower, upper):
            value = f(i, value)
        return value

    def while_loop(condition: Any, f: Any, value: Any) -> Any:
        while condition(value):
            value = f(value)
        return value

    def cond(pred: Any, true: Any, false: Any, *operands: Any) -> Any:
        return true(*operands) if pred else false(*operands)

    return SimpleNamespace(
        scan=scan, fori_loop=fori_loop, while_loop=while_loop, cond=cond,
        map=lambda f, xs: array([f(x) for x in xs]),
    )  # fmt: skip


def program(seed: int) -> tuple[str, Callable[..., Any]]:
    """A random program, its source first."""
    random = Random(seed)
    source = Source(random, random.randint(1, 3)).program()
    names: dict[str, Any] = {name: getattr(cm, name) for name in ("sin", "tanh", "exp", "where")}
    names |= {"maximum": cm.maximum, "array": array, "numpy": numpy}
    exec(source, names)
    return source, names["program"]


def check(seed: int) -> None:
    """Compare a program with itself: eager, compiled, and with loops by hand."""
    source, function = program(seed)
    generator = numpy.random.default_rng(seed)
    a, x = generator.uniform(-1, 1), generator.uniform(-1, 1, INPUTS)
    given = (generator.uniform(-1, 1), generator.uniform(-1, 1, INPUTS))

    def f(a: Any, x: Any) -> Any:
        return function(lax, a, x)

    def reference(a: Any, x: Any) -> Any:
        return function(by_hand(), a, x)

    def tangents(f: Any) -> Any:
        return lambda a, x: jvp(f, (a, x), given)

    def second(f: Any) -> Any:
        return lambda a, x: hvp(f, (a, x), given)

    def gradient(f: Any) -> Any:
        return value_and_grad(f, argnums=(0, 1))

    for transform in (lambda f: f, gradient, tangents, second):
        expected = transform(reference)(a, x)
        _same(transform(f)(a, x), expected, source)
        _same(compile(transform(f))(a, x), expected, source)
    many = (generator.uniform(-1, 1, LANES), generator.uniform(-1, 1, (LANES, INPUTS)))
    mapped = vmap(gradient(reference))(*many)
    _same(compile(vmap(gradient(f)))(*many), mapped, source)


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


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_random_programs(seed: int) -> None:
    """Eager and compiled they are the loops by hand, to second order; odd seeds force rolling."""
    with rolling(seed):
        check(seed)


if __name__ == "__main__":
    for seed in range(int(sys.argv[2]), int(sys.argv[2]) + int(sys.argv[1])):
        try:
            with rolling(seed):
                check(seed)
        except Exception as error:
            print(seed, type(error).__name__, str(error)[:300])
            if len(sys.argv) > 3:
                raise
