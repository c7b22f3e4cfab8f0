"""Random programs with loops as people write them, as Python source.

Nested and triangular loops, ``while``, ``break`` and ``continue``, by counters and by values;
variables that are overwritten, that live from before a loop to after it; lists and NumPy's arrays
that are read at a distance or changed in place; sums that are read while they are summed;
operations with kinks, on and off them; and derivatives taken inside. The source runs on anything
that knows arithmetic, comparisons and the functions it is given.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy

import chainrule as cr
from chainrule import math as crmath

VARIABLES = ("x", "y", "z")
UNARY = ("sin({})", "tanh({})", "exp(-({}) * ({}))", "sqrt(1.5 + tanh({}))", "cos({})", "-tanh({})")
KINKED = ("abs({a})", "relu({a})", "maximum({a}, {b})", "minimum({a}, {b})", "max({a}, {b})")
PICKED = ("where({c}, {a}, {b})", "({a} if {c} else {b})")
TIES = ("abs({a} - {a})", "relu({a} - {a})", "maximum({a}, {a})", "minimum({a}, {a} + 0.0)")
ARRAYS = ("A / (1.0 + A * A) + 0.2 * {a}", "0.6 * A + 0.1 * A[::-1] * {a}", "0.8 * A - 0.1 * {a}")
IN_PLACE = ("A[1:] = 0.9 * A[:-1]", "A += 0.05 * tanh({a})", "A *= 0.5", "A[::2] = A[1] * 0.7")
SUMS = ("0.2 * tanh(sum(h))", "0.3 * A.sum()", "tanh(A @ A)")

_MATH = ("sin", "cos", "exp", "sqrt", "tanh", "maximum", "minimum", "relu", "where")
FUNCTIONS: dict[str, Any] = {name: getattr(crmath, name) for name in _MATH} | {
    "slope": lambda f, x: cr.grad(f)(x),
    "pushed": lambda f, x: cr.jvp(f, (x,), (1.0,)),
    "array": lambda *numbers: numpy.array(numbers, dtype=object),
}
"""What programs call, of the package."""
OPERATIONS = (700, 7000)
"""About how many operations a program runs at most: small ones, and large ones."""


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
        name = f"<loops {self.seed}>"
        lines = self.source.splitlines(keepends=True)  # as of a file: it can be rewritten
        linecache.cache[name] = len(self.source), None, lines, name
        exec(compile(self.source, name, "exec"), scope)
        found: Callable[..., Any] = scope["f"]
        return found


def loop_program(seed: int, large: bool = False, derivatives: bool = True) -> LoopProgram:
    """The program of a seed.

    Args:
        seed: the same one for the same arguments.
        large: whether it may run for long.
        derivatives: whether it may take derivatives.
    """
    random = Random(seed)
    writer = _Writer(random, OPERATIONS[large], derivatives)
    writer.body(1, random.randint(3, 6), [])
    if not writer.loops:
        writer.loop(1, [])
    names = [*writer.numbers, "h[-1]", "sum(h)", "A.sum()", "A[1]"]
    result = " + ".join(random.sample(names, min(len(names), 3)))
    start = ["h = [x, y * z, x - z]", "A = array(x, y, 0.5)", "u, v = x, 1.0"]
    lines = ["def f(x, y, z):", *["    " + line for line in start], *writer.lines]
    lines.append(f"    return {result}")
    points = [tuple(random.uniform(-1.0, 1.0) for _ in VARIABLES) for _ in range(4)]
    a, b, _ = points[0]
    points += [(a, a, b), (0.0, b, -b), (0.0, 0.0, 0.0)]  # where there are ties
    return LoopProgram(seed, "\n".join(lines) + "\n", points)  # type: ignore[arg-type]


class _Writer:
    """Writes statements; what it writes keeps numbers of moderate size and ends."""

    def __init__(self, random: Random, operations: int, derivatives: bool) -> None:
        self.random = random
        self.derivatives = derivatives
        self.lines: list[str] = []
        self.numbers = [*VARIABLES, "u", "v"]
        self.loops = 0
        self.cost = 1  # how often the innermost open body runs, at most
        self.left = operations

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)
        self.left -= 4 * self.cost

    def body(self, depth: int, count: int, counters: list[str]) -> None:
        """Some statements."""
        for _ in range(count):
            kind = self.random.random()
            if kind < 0.35 or depth > 4:
                self.assignment(depth, counters)
            elif kind < 0.45:
                self.list_change(depth, counters)
            elif kind < 0.50:
                self.array_change(depth, counters)
            elif kind < 0.60:
                self.branch(depth, counters)
            elif kind < 0.64 and self.derivatives:
                self.derivative(depth, counters)
            elif self.cost < 200 and 40 * self.cost < self.left:
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
        kind = self.random.random()
        if kind < 0.4:
            self.line(depth, f"h.append({self.expression(counters)})")
        elif kind < 0.8:
            self.line(depth, f"h[{self.place(counters)}] = {self.expression(counters)}")
        else:
            self.line(depth, f"h[{self.place(counters)}] += 0.1 * {self.expression(counters)}")

    def array_change(self, depth: int, counters: list[str]) -> None:
        kind = self.random.random()
        if kind < 0.4:
            self.line(depth, f"A[{self.place(counters)}] = tanh({self.expression(counters)})")
        elif kind < 0.7:
            new = self.random.choice(ARRAYS).format(a=f"tanh({self.operand(counters)})")
            self.line(depth, f"A = {new}")
        else:
            self.line(depth, self.random.choice(IN_PLACE).format(a=self.operand(counters)))

    def derivative(self, depth: int, counters: list[str]) -> None:
        """A derivative of a function that uses what there is, with a loop or without."""
        self.line(depth, "def g(t):")
        if self.random.random() < 0.5:
            self.line(depth + 1, f"for k in range({self.random.choice([2, 3, 5])}):")
            self.line(depth + 2, f"t = {self.expression([*counters, 'k'], 't')} + 0.5 * t")
        self.line(depth + 1, f"return {self.expression(counters, 't')} * t")
        name, at = self.random.choice("uv"), self.random.choice(self.numbers)
        if self.random.random() < 0.5:
            self.line(depth, f"{name} = tanh(slope(g, {at}))")
        else:
            self.line(depth, f"p, q = pushed(g, {at})")
            self.line(depth, f"{name} = tanh(p - 0.5 * q)")

    def place(self, counters: list[str]) -> str:
        """An index into h, which has three elements at least."""
        if counters and self.random.random() < 0.6:
            counter = self.random.choice(counters)
            return self.random.choice(
                [f"{counter} % 3", f"-1 - {counter} % 3", f"-({counter} % 2) - 1"]
            )
        return self.random.choice(["0", "1", "-1", "-2", "-3"])

    def operand(self, counters: list[str], own: str = "") -> str:
        kind = self.random.random()
        if own and kind < 0.4:
            return own
        if kind < 0.15 and counters:
            return f"0.1 * {self.random.choice(counters)}"
        if kind < 0.30:
            return f"h[{self.place(counters)}]"
        if kind < 0.36:
            return f"A[{self.place(counters)}]"
        if kind < 0.40:
            return self.random.choice(SUMS)
        if kind < 0.48:
            return repr(round(self.random.uniform(-1.5, 1.5), 2))
        return self.random.choice(self.numbers)

    def expression(self, counters: list[str], own: str = "") -> str:
        """An expression between -2 and 2 or so."""
        a, b = self.operand(counters, own), self.operand(counters, own)
        kind = self.random.random()
        if kind < 0.12:
            return self.random.choice(KINKED).format(a=a, b=f"tanh({b})")
        if kind < 0.18:
            c = self.condition(counters)
            return self.random.choice(PICKED).format(a=a, b=f"tanh({b})", c=c)
        inner = self.random.choice(
            [f"{a} * {b}", f"{a} + {b}", f"{a} - {b}", f"{a} / (1.5 + {b} * {b})", a]
        )
        if kind < 0.22:
            inner += " + " + self.random.choice(TIES).format(a=a)
        shape = self.random.choice(UNARY)
        return shape.format(*[inner] * shape.count("{}"))

    def condition(self, counters: list[str]) -> str:
        if counters and self.random.random() < 0.4:
            counter = self.random.choice(counters)
            return self.random.choice(
                [f"{counter} == 2", f"{counter} % 2 == 1", f"{counter} > 3", f"{counter} < 2"]
            )
        a = self.random.choice(self.numbers)
        bound = self.random.choice([round(self.random.uniform(-0.9, 0.9), 3), 0.0])
        return f"{a} {self.random.choice('<>')} {bound}"

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
        if 20 * before * trips > self.left:
            trips = 2
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
