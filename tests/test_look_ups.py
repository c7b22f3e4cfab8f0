"""Look-ups in tables by numbers of the run: random programs, eager and compiled, and their costs.

``python tests/test_look_ups.py COUNT FIRST`` tries more of them.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from math import floor
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import math
from chainrule.passes import roll
from chainrule.program.form import BY_VALUE, statements

Step = Callable[["State"], None]


class State:
    """The values of a run so far.

    Args:
        table: a vector of numbers.
        grid: a matrix of them.
        indices: whole numbers.
        x: a number.
    """

    def __init__(self, table: Any, grid: Any, indices: Any, x: Any) -> None:
        self.tables: list[Any] = [table, grid]
        self.indices = list(indices)
        self.numbers = [x, x * x]


class Maker:
    """Makes random programs: lists of steps."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def index(self, length: int) -> Callable[[State], Any]:
        """A whole number that is an index of so many elements."""
        rng = self.rng
        a, b, shift, back = rng.randrange(4), rng.randrange(4), rng.randrange(9), rng.random() < 0.3
        kind = rng.choice(["plain", "sum", "value", "looked up"])

        def of(state: State) -> Any:
            indices = state.indices
            k = indices[a % len(indices)]
            if kind == "sum":
                k = (k + 2 * indices[b % len(indices)] + shift) % length
            elif kind == "value":
                k = floor(abs(state.numbers[-1]) * 3.0 + shift) % length
            elif kind == "looked up":
                k = cr.take([(shift + 3 * i) % length for i in range(4)], k % 4)
            else:
                k = (k + shift) % length
            return k - length if back else k

        return of

    def number(self) -> Callable[[State], Any]:
        """A number, often one that was looked up."""
        rng = self.rng
        kind = rng.choice(["last", "any", "table", "table", "row", "column", "element", "list"])
        k, j, place = self.index(5), self.index(3), rng.randrange(3)

        def of(state: State) -> Any:
            table, grid = state.tables
            if kind == "table":
                return cr.take(table, k(state))
            if kind == "row":
                return cr.take(grid, k(state))[place]
            if kind == "column":
                return cr.take(np.asarray(grid).T, j(state))[place]
            if kind == "element":
                return cr.take(cr.take(grid, k(state)), j(state))
            if kind == "list":
                return cr.take([state.numbers[-1], 0.5, *table], j(state))
            return state.numbers[-1] if kind == "last" else state.numbers[place % 2]

        return of

    def step(self, depth: int) -> Step:
        """One step of a program."""
        rng = self.rng
        kinds = ["value", "value", "index", "tables"] + ["loop", "derivative"] * (depth < 2)
        kind = rng.choice(kinds)
        if kind == "loop":
            return self.loop(depth)
        if kind == "derivative":
            return self.derivative()
        a, b, k = self.number(), self.number(), self.index(4)
        how = rng.randrange(4)

        def run(state: State) -> None:
            x, y = a(state), b(state)
            if kind == "index":
                state.indices.append(k(state))
            elif kind == "tables":
                table, grid = state.tables
                state.tables = [
                    [e * 0.5 + math.sin(x) for e in table],
                    np.asarray(grid) * math.tanh(y) + x,
                ]
            else:
                found = (x * y, math.sin(x) + y, math.tanh(x - y), math.where(x > y, x, y * y))
                state.numbers.append(math.tanh(found[how]))

        return run

    def loop(self, depth: int) -> Step:
        """A loop; its iterations are counted in an index."""
        rng = self.rng
        trips = rng.choice([2, 3, 7, 40]) if depth == 0 else rng.choice([1, 2, 5])
        body = [self.step(depth + 1) for _ in range(rng.randint(1, 3))]
        k, x = self.index(5), self.number()

        def run(state: State) -> None:
            first = state.indices[0]
            for i in range(trips):
                state.indices[0] = (first + i) % 4
                for step in body:
                    step(state)
                del state.indices[6:]
                found = cr.take(state.tables[0], k(state)) * x(state)
                state.numbers.append(math.sin(found + state.numbers[-1]))
            state.indices[0] = first

        return run

    def derivative(self) -> Step:
        """A derivative of a look-up, by what the elements are made of or by them."""
        k, x, forward = self.index(5), self.number(), self.rng.random() < 0.4

        def run(state: State) -> None:
            table = list(state.tables[0])
            index, number = k(state), x(state)

            def inner(y: Any) -> Any:
                return math.sin(cr.take([e * y for e in table], index)) * y

            if forward:
                found = cr.jvp(inner, (number,), (1.0,))[1]
            else:
                found = cr.grad(inner)(number)
            state.numbers.append(math.tanh(found))

        return run

    def program(self) -> Callable[..., Any]:
        """A function of a table, a grid, indices and a number."""
        steps = [self.step(0) for _ in range(self.rng.randint(2, 5))]

        def run(table: Any, grid: Any, indices: Any, x: Any) -> Any:
            state = State(table, grid, indices, x)
            for step in steps:
                step(state)
            return sum(state.numbers[-3:], start=0.0)

        return run


def check(seed: int) -> None:
    """Eager and compiled, values and derivatives of two orders, single points and lanes."""
    rng = np.random.default_rng(seed)
    f = Maker(seed).program()
    compiled = cr.compile(cr.value_and_grad(f, argnums=(0, 1, 3)))

    def second(table: Any, grid: Any, indices: Any, x: Any) -> Any:
        by_table, by_x = cr.grad(f, argnums=(0, 3))(table, grid, indices, x)
        return sum(np.asarray(by_table) * np.arange(1.0, 6.0)) + by_x * by_x

    twice = cr.compile(cr.grad(second, argnums=(0, 3)))
    lanes = cr.compile(
        cr.value_and_grad(cr.vmap(f, in_axes=(None, None, 0, 0), reduce="sum"), argnums=(0, 1, 3))
    )
    points = [
        (rng.uniform(-2, 2, 5), rng.uniform(-2, 2, (5, 3)), rng.integers(0, 4, 4), rng.normal())
        for _ in range(3)
    ]
    for table, grid, indices, x in points:
        given = table, grid, indices, float(x)
        expected, gradients = cr.value_and_grad(f, argnums=(0, 1, 3))(*given)
        assert expected == f(*given)
        value, found = compiled(*given)
        assert_close([value, *found], [expected, *gradients])
        assert_close(twice(*given), cr.grad(second, argnums=(0, 3))(*given))
    table, grid = points[0][:2]
    count = 11
    many = rng.integers(0, 4, (count, 4)), rng.normal(size=count)
    total, by = lanes(table, grid, *many)
    each = [
        cr.value_and_grad(f, argnums=(0, 1, 3))(table, grid, i, x)
        for i, x in zip(many[0], many[1].tolist(), strict=True)
    ]
    assert_close([total], [sum(value for value, _ in each)])
    assert_close(by[:2], [sum(np.asarray(grads[i]) for _, grads in each) for i in (0, 1)])
    assert_close(by[2], [grads[2] for _, grads in each])


def assert_close(found: Any, expected: Any) -> None:
    """Equal but for rounding, which some programs make larger."""
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8 * (1.0 + np.abs(b).max()))


@pytest.mark.parametrize("seed", range(24))
def test_random_programs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the eager run; odd ones with all loops rolled."""
    if seed % 2:
        monkeypatch.setattr(roll, "SHORT", 0)
        monkeypatch.setattr(roll, "SHARE", -1e9)
    check(seed)


if __name__ == "__main__":
    for number in range(int(sys.argv[2]), int(sys.argv[2]) + int(sys.argv[1])):
        roll.SHORT, roll.SHARE = (0, -1e9) if number % 2 else (256, 0.25)  # type: ignore[misc]
        try:
            check(number)
        except Exception as error:
            print(number, type(error).__name__, str(error)[:300].replace("\n", " "), flush=True)
