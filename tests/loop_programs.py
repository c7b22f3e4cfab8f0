"""Random programs with loops as people write them, as Python source.

Nested and triangular loops, ``while``, ``break`` and ``continue``, by counters and by values;
variables that are overwritten, that live from before a loop to after it, lists that are read at a
distance or changed in place. The source runs on anything that knows arithmetic, comparisons and the
functions it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

VARIABLES = ("x", "y", "z")
UNARY = ("sin({})", "tanh({})", "exp(-({}) * ({}))", "sqrt(1.5 + ({}))", "cos({})", "-({})")


@dataclass
class LoopProgram:
    """A program of three numbers with one number as result.

    Attributes:
        seed: what it was made from.
        source: the definition of ``f``.
        points: arguments for which it was not made to do anything special.
    """

    seed: int
    source: str
    points: list[tuple[float, float, float]]

    def function(self, functions: Mapping[str, Any]) -> Callable[..., Any]:
        """The function, using these functions."""
        scope: dict[str, Any] = dict(functions)
        exec(compile(self.source, f"<loops {self.seed}>", "exec"), scope)
        found: Callable[..., Any] = scope["f"]
        return found


def loop_program(seed: int) -> LoopProgram:
    """The program of a seed."""
    random = Random(seed)
    writer = _Writer(random)
    writer.body(1, random.randint(3, 6), [])
    names = [*writer.numbers, "h[-1]", "sum(h)"]
    result = " + ".join(random.sample(names, min(len(names), 3)))
    lines = ["def f(x, y, z):", "    h = [x, y * z, x - z]", "    u, v = x, 1.0", *writer.lines]
    lines.append(f"    return {result}")
    points = [tuple(random.uniform(-1.0, 1.0) for _ in VARIABLES) for _ in range(11)]
    return LoopProgram(seed, "\n".join(lines) + "\n", points)  # type: ignore[arg-type]


class _Writer:
    """Writes statements; what it writes keeps numbers of moderate size and ends."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.lines: list[str] = []
        self.numbers = [*VARIABLES, "u", "v"]
        self.loops = 0
        self.cost = 1  # how often the innermost open body runs, at most

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def body(self, depth: int, count: int, counters: list[str]) -> None:
        """Some statements."""
        for _ in range(count):
            kind = self.random.random()
            if kind < 0.40 or depth > 4:
                self.assignment(depth, counters)
            elif kind < 0.52:
                self.list_change(depth, counters)
            elif kind < 0.62:
                self.branch(depth, counters)
            elif self.cost < 200:
                self.loop(depth, counters)
            else:
                self.assignment(depth, counters)

    def assignment(self, depth: int, counters: list[str]) -> None:
        name = self.random.choice(["u", "v", "w", self.random.choice(VARIABLES)])
        if name == "w" and name not in self.numbers and depth > 1:
            name = "u"
        operator = self.random.choice(["=", "=", "+="]) if name in self.numbers else "="
        factor = "0.1 * " if operator == "+=" else ""
        self.line(depth, f"{name} {operator} {factor}{self.expression(counters)}")
        if name not in self.numbers:
            self.numbers.append(name)

    def list_change(self, depth: int, counters: list[str]) -> None:
        if self.random.random() < 0.5:
            self.line(depth, f"h.append({self.expression(counters)})")
        else:
            self.line(depth, f"h[{self.place(counters)}] = {self.expression(counters)}")

    def place(self, counters: list[str]) -> str:
        """An index into h, which has three elements at least."""
        if counters and self.random.random() < 0.6:
            counter = self.random.choice(counters)
            return self.random.choice(
                [f"{counter} % 3", f"-1 - {counter} % 3", f"-({counter} % 2) - 1"]
            )
        return self.random.choice(["0", "1", "-1", "-2", "-3"])

    def operand(self, counters: list[str]) -> str:
        kind = self.random.random()
        if kind < 0.15 and counters:
            return f"0.1 * {self.random.choice(counters)}"
        if kind < 0.35:
            return f"h[{self.place(counters)}]"
        if kind < 0.45:
            return repr(round(self.random.uniform(-1.5, 1.5), 2))
        return self.random.choice(self.numbers)

    def expression(self, counters: list[str]) -> str:
        """An expression between -2 and 2 or so."""
        a, b = self.operand(counters), self.operand(counters)
        inner = self.random.choice(
            [f"{a} * {b}", f"{a} + {b}", f"{a} - {b}", f"{a} / (1.5 + {b} * {b})", a]
        )
        shape = self.random.choice(UNARY)
        if shape.startswith("sqrt"):
            return f"sqrt(1.5 + tanh({inner}))"
        if shape.startswith("-"):
            return f"-tanh({inner})"
        return shape.format(*[inner] * shape.count("{}"))

    def condition(self, counters: list[str]) -> str:
        if counters and self.random.random() < 0.4:
            counter = self.random.choice(counters)
            return self.random.choice(
                [f"{counter} == 2", f"{counter} % 2 == 1", f"{counter} > 3", f"{counter} < 2"]
            )
        a = self.random.choice(self.numbers)
        return f"{a} {self.random.choice('<>')} {round(self.random.uniform(-0.9, 0.9), 3)}"

    def branch(self, depth: int, counters: list[str]) -> None:
        self.line(depth, f"if {self.condition(counters)}:")
        self.assignment(depth + 1, counters)
        if self.random.random() < 0.5:
            self.line(depth, "else:")
            self.assignment(depth + 1, counters)

    def loop(self, depth: int, counters: list[str]) -> None:
        counter = f"i{self.loops}"
        self.loops += 1
        trips = self.random.choice([2, 3, 4, 6, 9])
        before = self.cost
        self.cost *= trips
        kind = self.random.random()
        if kind < 0.25 and counters:
            self.line(depth, f"for {counter} in range({self.random.choice(counters)} + 1):")
        elif kind < 0.40:
            name = self.random.choice(["u", "v"])
            self.line(depth, f"{counter} = 0")
            bound = round(self.random.uniform(-0.5, 0.9), 3)
            self.line(depth, f"while {name} < {bound} and {counter} < {trips}:")
            self.line(depth + 1, f"{counter} += 1")
            self.line(depth + 1, f"{name} = 0.7 * {name} + 0.3 + 0.05 * {self.operand(counters)}")
        else:
            start = self.random.choice(["", "1, "])
            self.line(depth, f"for {counter} in range({start}{trips}):")
        inner = [*counters, counter]
        for part in range(2):
            self.body(depth + 1, self.random.randint(1, 2), inner)
            if part == 0 and self.random.random() < 0.35:
                self.line(depth + 1, f"if {self.condition(inner)}:")
                self.line(depth + 2, self.random.choice(["break", "continue"]))
        self.cost = before
