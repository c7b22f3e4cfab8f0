"""Tables that a function knows, looked up as Python does it: ``table[i]``, eager and compiled.

``python tests/test_tables.py COUNT FIRST`` runs so many random programs from a seed on.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from random import Random
from typing import Any, Final

import numpy as np
import pytest

import chainrule as cr
import chainrule.math as cm
from chainrule import lax

WAVE: Final = np.sin(np.arange(12.0))
GRID: Final = np.cos(np.arange(24.0)).reshape(4, 6)
ENTRIES: Final = [0.3, -1.2, 0.8, 2.0, -0.1, 0.6]
ROWS: Final = GRID.tolist()
RAGGED: Final = [[1.0, 2.0, 3.0], [0.5, -0.5], [0.1, 0.2, 0.3, 0.4]]
COUNTS: Final = [2, 0, 3, 1]
WHOLE: Final = np.array([3, 1, 0, 2, 5, 4])
MASK: Final = np.array([True, False, False, True, True, False])
HALF: Final = WAVE.astype(np.float32)
MODEL: Final = {"wave": WAVE, "by_number": {0: 1.5, 1: -2.5, 2: 0.5}}
X: Final = np.array([0.7, 1.3, -0.4, 0.9])
INDEX: Final = np.array([0, 1, 2, 1])


class Curve:
    """An object that has a table, and gives elements in its own way."""

    table = WAVE

    def __getitem__(self, i: int) -> float:
        return 0.5 * i


CURVE: Final = Curve()

ONE_TRACE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "array": lambda x, i: WAVE[i] * x,
    "from the end": lambda x, i: WAVE[-i - 1] * x,
    "list": lambda x, i: ENTRIES[i] * x,
    "of a grid": lambda x, i: GRID[i, 3] * x + GRID[i][2] + GRID[2][i],
    "row": lambda x, i: GRID[i].sum() * x,
    "row by a slice": lambda x, i: GRID[i, 1:4].sum() * x + GRID[i, :].max(),
    "column": lambda x, i: GRID[:, i].sum() * x,
    "of rows": lambda x, i: ROWS[i][3] * x + ROWS[2][i],
    "of one row of several lengths": lambda x, i: RAGGED[0][i] * x,
    "whole numbers": lambda x, i: WHOLE[i] * x + COUNTS[i] / 2,
    "one by another": lambda x, i: WAVE[WHOLE[i]] * x,
    "of a model": lambda x, i: MODEL["wave"][i] * x,
    "of an object": lambda x, i: CURVE.table[i + 1] * x,
    "mask": lambda x, i: x * x if MASK[i] else 2.0 * x,
    "masked": lambda x, i: np.where(MASK[i], x, 2.0 * x),
    "branch": lambda x, i: x * x if WAVE[i] > 0.5 else -x,
    "larger": lambda x, i: max(WAVE[i], x),
    "nodes": lambda x, i: [x, 2.0 * x, x * x][i] * x,
    "rows of nodes": lambda x, i: [[x, 1.0], [2.0, x], [3.0, 4.0]][i][i % 2] * x,
    "named on the way": lambda x, i: WAVE[(j := i + 1)] * x + j,
    "comprehension": lambda x, i: sum([WAVE[i + k] * x for k in range(3)]),
    "product": lambda x, i: GRID[i] @ GRID[2] * x,
    "exponent": lambda x, i: x ** COUNTS[i],
    "NumPy's take": lambda x, i: np.take(WAVE, i) * x,
}
"""Programs that are the same for each index."""

EACH: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "rows of several lengths": lambda x, i: RAGGED[i][0] * x,
    "a list's row": lambda x, i: sum(ROWS[i]) * x,
    "other numbers": lambda x, i: float(HALF[i]) * x,
    "dict": lambda x, i: MODEL["by_number"][i] * x,
    "text": lambda x, i: x * ("abcb"[i] == "b"),
    "an object's own way": lambda x, i: CURVE[i] * x,
    "range": lambda x, i: sum(x**k for k in range(COUNTS[i])),
    "kind": lambda x, i: x if isinstance(WAVE[i], float) else 2.0 * x,
    "kind of an entry": lambda x, i: x if type(ENTRIES[i]) is float else 2.0 * x,
    "in a text": lambda x, i: x * len(f"{WAVE[i]:.2f}"),
    "of a text": lambda x, i: x * len(str(COUNTS[i])),
    "part": lambda x, i: WAVE[i : i + 3].sum() * x,
    "list of both kinds": lambda x, i: [1, 2.5, 3][i] * x,
    "None": lambda x, i: x if [None, 1.0, 2.0][i] is None else 2.0 * x,
}
"""Programs for which Python's own number is needed."""


def check(f: Callable[[Any, Any], Any]) -> int:
    """Value and gradient, lanes and eager; gives how often the value has been traced."""
    points = [*zip(X.tolist(), INDEX.tolist(), strict=True)]
    lanes = cr.compile(cr.vmap(f))
    np.testing.assert_allclose(lanes(X, INDEX), [f(x, i) for x, i in points], rtol=1e-13)
    slopes = cr.compile(cr.vmap(cr.grad(f)))
    np.testing.assert_allclose(
        slopes(X, INDEX), [cr.grad(f)(x, i) for x, i in points], rtol=1e-13, atol=1e-15
    )
    return lanes.stats().traces


@pytest.mark.parametrize("name", ONE_TRACE)
def test_one_trace_for_all_indices(name: str) -> None:
    """It is looked up when the code runs."""
    assert check(ONE_TRACE[name]) == 1


@pytest.mark.parametrize("name", EACH)
def test_each_index_by_itself(name: str) -> None:
    """The index becomes part of the trace, and the result is right."""
    check(EACH[name])


MANY: Final = np.random.default_rng(0).integers(0, 12, 200)


def by_loop(x: Any, many: Any) -> Any:
    """Elements in a loop."""
    total = 0.0
    for k in many:
        total = total * 0.9 + WAVE[k] * x
    return total


def copied(x: Any, many: Any) -> Any:
    """What an array looks up is a copy, which may change."""
    found = WAVE[many]
    found[0] = 7.0
    found = found * x
    return found.sum() + WAVE[many].sum()


def part_of_a_copy(x: Any, many: Any) -> Any:
    """A row is a view."""
    grid = GRID.copy()
    row = grid[many[0] % 4]
    row[0] = 7.0
    return grid.sum() * x


BY_ARRAYS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "elements": lambda x, many: (WAVE[many] * x).sum(),
    "shifted": lambda x, many: (WAVE[-many - 1] * x).sum(),
    "rows": lambda x, many: (GRID[many % 4] * x).sum(axis=1).max(),
    "of rows": lambda x, many: (GRID[many % 4, 2] * x + GRID[many % 4, 1:3].sum(axis=1)).sum(),
    "columns": lambda x, many: (GRID[1:3, many % 6] * x).sum(),
    "pairs": lambda x, many: (GRID[many % 4, many % 6] * x).sum(),
    "shape": lambda x, many: (GRID[many.reshape(20, 10) % 4][:, :, 2] ** 2 * x).sum(),
    "of an argument": lambda x, many: (np.array([x, x * x, 1.0])[many % 3]).sum(),
    "whole numbers": lambda x, many: (WAVE[WHOLE[many % 6]] * x).sum(),
    "mask": lambda x, many: np.where(MASK[many % 6], x, 2.0 * x).sum(),
    "few": lambda x, many: (WAVE[many[:3]] * x).sum(),
    "none": lambda x, many: (WAVE[many[:0]] * x).sum() + x,
    "list": lambda x, many: (WAVE[[many[0], many[1]]] * x).sum(),
    "as a list": lambda x, many: (WAVE[many.tolist()] * x).sum(),
    "NumPy's take": lambda x, many: (
        (np.take(WAVE, many) + np.take(GRID, many % 4, 0)[:, 1]).sum() * x
    ),
    "other numbers": lambda x, many: (HALF[many].astype(float) * x).sum(),
    "asks each": lambda x, many: sum(x * float(v) if v > 0 else 0.0 for v in WAVE[many]),
    "generator": lambda x, many: sum(WAVE[k] for k in many) * x,
    "loop": by_loop,
    "copy": copied,
    "view": part_of_a_copy,
}


@pytest.mark.parametrize("name", BY_ARRAYS)
def test_by_arrays(name: str) -> None:
    """An array of indices that is an argument."""
    f = BY_ARRAYS[name]
    compiled, slope = cr.compile(f), cr.compile(cr.grad(f))
    for many in (MANY, MANY[::-1]):
        np.testing.assert_allclose(compiled(1.3, many), f(1.3, many), rtol=1e-12)
        np.testing.assert_allclose(slope(1.3, many), cr.grad(f)(1.3, many), rtol=1e-12)


def test_loops_stay_loops() -> None:
    """Arrays and lists that are no arguments are columns of a loop that is traced once."""
    table, entries = np.sin(np.arange(2000.0)), np.cos(np.arange(2000.0)).tolist()

    def f(x: Any) -> Any:
        return lax.fori_loop(0, 1999, lambda i, c: 0.9 * c + table[i + 1] * x + entries[i], 0.0)

    compiled = cr.compile(cr.grad(f))
    np.testing.assert_allclose(compiled(1.3), cr.grad(f)(1.3), rtol=1e-12)
    assert compiled.stats().nodes < 40


def test_many_look_ups_are_one_loop() -> None:
    """The program is of one size, however many there are, and so is its trace."""
    index = np.random.default_rng(1).integers(0, 12, 20_000)
    compiled = cr.compile(cr.grad(BY_ARRAYS["elements"]))
    before = cr.Node(0.0)._serial
    np.testing.assert_allclose(compiled(1.3, index), WAVE[index].sum(), rtol=1e-12)
    assert cr.Node(0.0)._serial - before < 5 * len(index)
    assert compiled.stats().nodes < 40


def in_a_list(x: Any, many: Any) -> Any:
    """Sums by an index, in a list."""
    bins = [0.0] * 12
    for k in many:
        bins[k] += x * x
    return sum(b * b for b in bins)


def in_an_array(x: Any, many: Any) -> Any:
    """The same in an array, where NumPy asks for the indices."""
    bins = cr.array(np.zeros(12))
    for i in range(len(many)):
        bins[many[i]] += x * x
    return (bins**2).sum()


@pytest.mark.parametrize("f", [in_a_list, in_an_array])
def test_indices_of_what_is_assigned(f: Any) -> None:
    """They are part of the code, not found by guards one by one."""
    compiled = cr.compile(cr.value_and_grad(f))
    for many in (MANY, MANY[::-1], MANY % 3):
        np.testing.assert_allclose(compiled(1.3, many), cr.value_and_grad(f)(1.3, many), rtol=1e-12)
    assert compiled.stats().nodes < 1_000
    few = MANY[:9]
    by_lanes = cr.compile(cr.vmap(f))(X, np.stack([few] * 4))
    np.testing.assert_allclose(by_lanes, [f(x, few) for x in X.tolist()], rtol=1e-12)


def test_outside() -> None:
    """The lane is named."""
    lanes = cr.compile(cr.vmap(ONE_TRACE["array"]))
    lanes(X, INDEX)
    with pytest.raises(IndexError, match="index 12 is outside a table of 12, at lane 2"):
        lanes(X, np.array([1, 2, 12, 3]))
    with pytest.raises(IndexError, match="index 99 is outside a table of 12"):
        cr.compile(BY_ARRAYS["elements"])(1.3, np.append(MANY, 99))


def test_lanes_of_arrays_that_can_not_be_looked_up() -> None:
    """It is said what can."""
    lanes = cr.compile(cr.vmap(BY_ARRAYS["other numbers"]))
    with pytest.raises(TypeError, match=r"an array of float32 can't be looked up by an array"):
        lanes(X[:2], np.stack([MANY, MANY]))


# Random programs


class Writer:
    """Writes a random program of look-ups.

    Args:
        seed: of the program.
    """

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.lines: list[str] = []
        self.numbers = ["x"]
        self.indices = ["i", "j"]

    def below(self, length: int) -> str:
        """A whole number that is a place in a table."""
        index = self.rng.choice(self.indices)
        shift = self.rng.randrange(length)
        said = f"({index} + {shift}) % {length}"
        return self.rng.choice(
            [said, said, f"{said} - {length}", f"abs({index} - {shift}) % {length}"]
        )

    def element(self) -> str:
        """An element of a table."""
        return self.rng.choice(
            [
                f"WAVE[{self.below(12)}]",
                f"ENTRIES[{self.below(6)}]",
                f"GRID[{self.below(4)}, {self.below(6)}]",
                f"GRID[{self.below(4)}][{self.below(6)}]",
                f"GRID[{self.rng.randrange(4)}][{self.below(6)}]",
                f"GRID[{self.below(4)}, 1:{self.rng.randrange(2, 6)}].sum()",
                f"(GRID[:, {self.below(6)}] * {self.number()}).max()",
                f"ROWS[{self.below(4)}][{self.rng.randrange(6)}]",
                f"RAGGED[{self.rng.randrange(3)}][{self.below(2)}]",
                f"WAVE[WHOLE[{self.below(6)}]]",
                f"MODEL['wave'][{self.below(12)}]",
                f"[{self.number()}, 0.5, {self.number()}][{self.below(3)}]",
                f"({self.number()} if MASK[{self.below(6)}] else {self.number()})",
                f"WAVE[[{self.below(12)}, 3, {self.below(12)}]].sum()",
                f"sum([WAVE[({self.rng.choice(self.indices)} + k) % 12] for k in range(3)])",
            ]
        )

    def number(self) -> str:
        """A number."""
        return self.rng.choice(self.numbers)

    def statement(self, indent: str) -> None:
        """A statement."""
        rng = self.rng
        kind = rng.choice(["number", "number", "number", "index", "branch", "loop"])
        if kind == "index":
            name = f"k{len(self.indices)}"
            table = rng.choice(
                [f"WHOLE[{self.below(6)}]", f"COUNTS[{self.below(4)}]", self.below(9)]
            )
            self.lines.append(f"{indent}{name} = {table}")
            self.indices.append(name)
            return
        name = f"y{len(self.numbers)}"
        formula = rng.choice(
            ["sin({}) * {}", "{} * {}", "{} + {}", "{} - 0.5 * {}", "tanh({} + {})"]
        )
        said = formula.format(self.element(), self.number())
        if kind == "branch":
            test = rng.choice([f"{self.element()} > {self.number()}", f"{self.below(5)} < 2"])
            said = f"{said} if {test} else {self.number()} * {self.element()}"
        self.lines.append(f"{indent}{name} = {said}")
        if kind == "loop":
            around = [*self.indices]
            self.indices.append("k")
            self.lines.append(f"{indent}for k in range({rng.randrange(1, 5)}):")
            self.lines.append(
                f"{indent}    {name} = 0.5 * {name} + {self.element()} * {self.number()}"
            )
            self.indices = around
        self.numbers.append(name)


def program(seed: int) -> tuple[str, Any]:
    """The source of a function of a number and two whole numbers, and the function."""
    writer = Writer(seed)
    for _ in range(writer.rng.randrange(2, 7)):
        writer.statement("    ")
    body = "\n".join(writer.lines)
    source = f"def f(x, i, j):\n{body}\n    return {' + '.join(writer.numbers)}\n"
    name = f"<tables {seed}>"
    linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    values = {**globals(), "sin": cm.sin, "tanh": cm.tanh}
    exec(compile(source, name, "exec"), values)
    return source, values["f"]


def difference(seed: int) -> str:
    """What is wrong about a random program; "" if nothing is."""
    source, f = program(seed)
    rng = np.random.default_rng(seed)
    x, i, j = rng.normal(size=9), rng.integers(0, 5, 9), rng.integers(0, 5, 9)
    points = [*zip(x.tolist(), i.tolist(), j.tolist(), strict=True)]
    forms: tuple[tuple[str, Any], ...] = (
        ("value", f),
        ("first", cr.grad(f)),
        ("second", cr.grad(cr.grad(f))),
    )
    for name, g in forms:
        expected = np.array([float(g(*point)) for point in points])
        found = cr.compile(cr.vmap(g))(x, i, j)
        if not np.allclose(found, expected, rtol=1e-9, atol=1e-11, equal_nan=True):
            return f"seed {seed}, {name}: {found} for {expected}\n{source}"
    return ""


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed: int) -> None:
    """Values and derivatives to second order, eager and compiled."""
    assert not difference(seed)


if __name__ == "__main__":
    many, first = int(sys.argv[1]), int(sys.argv[2])
    wrong = [found for k in range(first, first + many) if (found := difference(k))]
    print(*wrong or ["none wrong"], sep="\n")
    sys.exit(bool(wrong))
