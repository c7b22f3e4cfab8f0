"""Loops that end by a condition, in loops: compiled they are what Python does, in few traces."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from random import Random
from typing import Any

import numpy
import pytest
from numpy.testing import assert_allclose

import chainrule.math as cm
from chainrule import compile, debug_print, grad, hessian, jvp, lax, value_and_grad, vmap
from chainrule.carries import EndlessError

COUNT = int(os.environ.get("CHAINRULE_LOOPS", "15"))
FIRST = int(os.environ.get("CHAINRULE_FIRST", "0"))


def by_hand(condition: Any, body: Any, value: Any, **kwargs: Any) -> Any:
    """The loop as Python has it."""
    while condition(value):
        value = body(value)
    return value


class Source:
    """Writes a function of two numbers with loops in loops, two or three deep."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._names = 0
        self.lines = ["def function(loop, a, b):"]

    def _new(self) -> str:
        self._names += 1
        return f"v{self._names}"

    def _say(self, depth: int, line: str) -> None:
        self.lines.append("    " * depth + line)

    def _term(self, names: list[str]) -> str:
        """A number between -1 and 1."""
        p, q, r = (self._random.choice(names) for _ in range(3))
        return self._random.choice(
            [
                f"cm.sin({p} + {q})",
                f"cm.tanh({p} * {q})",
                f"cm.tanh(cm.where({p} < {q}, {r}, 0.5 * {p}))",
                f"cm.tanh(cm.sqrt(cm.where({p} > 0.0, {p}, 1.0)))",
                f"cm.exp(-abs({p}))",
                f"cm.tanh(grad(lambda t: cm.sin(t * {q} + {r}))({p}))",
            ]
        )

    def body(self, depth: int, names: list[str], deeper: int) -> str:
        """Statements; gives the name of a number between -2 and 2."""
        names = [*names]
        kinds = [self._while, self._while, self._slope, self._cond, self._scan, self._fori]
        for _ in range(self._random.randint(1, 2)):
            if deeper and self._random.random() < 0.8:
                found = self._random.choice(kinds)(depth, names, deeper - 1)
            else:
                found = self._new()
                self._say(depth, f"{found} = {self._term(names)}")
            names.append(found)
        found = self._new()
        self._say(depth, f"{found} = {self._term(names[-3:])} + 0.5 * {self._term(names)}")
        return found

    def _while(self, depth: int, names: list[str], deeper: int) -> str:
        """A loop of 0 to 20 iterations."""
        random = self._random
        f, c, s, x, found = (self._new() for _ in range(5))
        rate, least = random.choice([0.5, 0.8]), random.choice(["0.02", "0.1 * abs(b) + 0.01"])
        self._say(depth, f"def {f}({s}):")
        self._say(depth + 1, f"{x}, k, n = {s}")
        inner = self.body(depth + 1, [*names, x, "k"], deeper)
        term = self._term([*names, inner, x])
        given = f"{rate} * {x} * (1.0 - 0.2 * {inner} * {term}), k + 0.1 * {inner}, n + 1.0"
        self._say(depth + 1, f"return {given}")
        self._say(depth, f"def {c}({s}):")
        self._say(depth + 1, f"{x}, k, n = {s}")
        also = random.choice(["", "", f" & ({self._term(names)} < 0.8 + 0.0 * k)"])
        size = random.choice([f"abs({x})", f"{x} * {x}"])
        most = random.choice([3.0, 20.0])
        self._say(depth + 1, f"return (({size} > {least}){also}) & (n < {most})")
        first = f"{self._random.choice(names)}, 0.1 * b, 0.0"
        self._say(depth, f"{found} = loop({c}, {f}, ({first}))")
        self._say(depth, f"{found} = {found}[0] + cm.sin({found}[1] - 0.01 * {found}[2])")
        return found

    def _slope(self, depth: int, names: list[str], deeper: int) -> str:
        """The derivative of something with a loop in it."""
        f, x, found = (self._new() for _ in range(3))
        self._say(depth, f"def {f}({x}):")
        inner = self.body(depth + 1, [*names, x], deeper)
        self._say(depth + 1, f"return {inner} + 0.3 * {x}")
        self._say(depth, f"{found} = cm.tanh(grad({f})({self._random.choice(names)}))")
        return found

    def _cond(self, depth: int, names: list[str], deeper: int) -> str:
        sides = [self._new(), self._new()]
        for side in sides:
            self._say(depth, f"def {side}():")
            self._say(depth + 1, f"return {self.body(depth + 1, names, deeper)}")
        found = self._new()
        low, high = self._term(names), self._term(names)
        self._say(depth, f"{found} = lax.cond({low} < {high}, {', '.join(sides)})")
        return found

    def _scan(self, depth: int, names: list[str], deeper: int) -> str:
        f, c, z, found = (self._new() for _ in range(4))
        self._say(depth, f"def {f}({c}, {z}):")
        inner = self.body(depth + 1, [*names, c, z], deeper)
        self._say(depth + 1, f"return 0.5 * {c} + {inner}, {inner}")
        rows = f"numpy.linspace(-0.5, 1.0, {self._random.choice([3, 6])})"
        self._say(depth, f"{found} = lax.scan({f}, {self._random.choice(names)}, {rows})")
        self._say(depth, f"{found} = cm.tanh({found}[0] + {found}[1].sum())")
        return found

    def _fori(self, depth: int, names: list[str], deeper: int) -> str:
        f, i, c, found = (self._new() for _ in range(4))
        self._say(depth, f"def {f}({i}, {c}):")
        inner = self.body(depth + 1, [*names, c, f"(0.1 * {i})"], deeper)
        self._say(depth + 1, f"return cm.sin({c} + {inner})")
        first = self._random.choice(names)
        self._say(depth, f"{found} = lax.fori_loop(0, 5, {f}, {first})")
        return found


def generated(seed: int) -> Callable[[Any, Any, Any], Any]:
    """A function of two numbers, given how loops run."""
    source = Source(Random(seed))
    result = source.body(1, ["a", "b"], 3)
    asked = Random(seed).random() < 0.3
    last = f"{result} if {result} < a + b else 2.0 * {result}" if asked else result
    lines = [*source.lines, f"    return {last}"]
    space: dict[str, Any] = {"cm": cm, "grad": grad, "lax": lax, "numpy": numpy}
    exec("\n".join(lines), space)
    function: Callable[[Any, Any, Any], Any] = space["function"]
    return function


def check(seed: int) -> None:
    """Values and derivatives to second order, at a point and over lanes of different lengths."""
    function = generated(seed)
    lanes = numpy.random.default_rng(seed).uniform(-1.5, 1.5, (2, 7))

    def f(a: Any, b: Any) -> Any:
        return function(lax.while_loop, a, b)

    def reference(a: Any, b: Any) -> Any:
        return function(by_hand, a, b)

    def both(f: Any) -> Any:
        return value_and_grad(f, argnums=(0, 1))

    def forward(f: Any) -> Any:
        return lambda a, b: jvp(f, (a, b), (0.3, -0.7))[1]

    def second(f: Any) -> Any:
        return hessian(f, argnums=(0, 1))

    for transform in (lambda f: f, both, forward, second):
        points = [transform(reference)(*point) for point in lanes.T.tolist()]
        once = compile(transform(f))
        for point, expected in zip(lanes.T.tolist()[:3], points, strict=False):
            _same(once(*point), expected)
        found = compile(vmap(transform(f)))(*lanes)
        _same(found, vmap(transform(reference))(*lanes))


def _same(found: Any, expected: Any) -> None:
    if isinstance(expected, tuple):
        for one, other in zip(found, expected, strict=True):
            _same(one, other)
    else:
        assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_random(seed: int) -> None:
    """Random programs."""
    check(seed)


if __name__ == "__main__":
    wrong = False
    for number in range(int(sys.argv[2]), int(sys.argv[2]) + int(sys.argv[1])):
        try:
            check(number)
        except Exception as problem:
            wrong = True
            print(number, type(problem).__name__, str(problem)[:300])
            if len(sys.argv) > 3:
                raise
    sys.exit(wrong)
