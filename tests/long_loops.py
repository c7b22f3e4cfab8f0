# ruff: noqa: D102
"""Random programs with ``for`` loops of which one iteration may be traced, as Python source.

They go through ranges, lists, arrays, lists of tuples, and these by ``enumerate``, ``zip`` and
``reversed``, also in comprehensions; hand on numbers, lists and tuples, to other iterations and to
what comes after; append to lists from outside and of their own, call functions, branch, and use the
index of a loop as a number and to look up. Some do what one iteration can't stand for.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable
from functools import reduce
from random import Random
from typing import Any, NamedTuple

import chainrule as cr
from chainrule import math as cm

BEFORE = """\
SEEN = []
WEIGHTS = [0.5, -1.25, 2.0, 0.75, -0.3, 1.1]
PAIRS = [(0, 2), (3, 1), (5, 5), (2, 0), (4, 1), (1, 3)]
ROWS = [[0.1, 0.2], [0.3, -0.4], [0.5, 0.6], [-0.7, 0.8], [0.9, 1.0], [1.1, 0.0]]


def helped(a, b):
    terms = []
    for k in range(2):
        terms.append(a * (k + 1) - b)
    return terms[0] * terms[1]


def clipped(a, low):
    if a < low:
        return low + 0.1 * a
    return a


def noted(a):
    SEEN.append(1.0)
    return a + 0.0 * len(SEEN)


def pair(a, b):
    return a + b, a - 0.5 * b


"""
NUMBERS = ("a", "b", "c")


class Writer:
    """Writes a program.

    Args:
        random: decides.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.lines: list[str] = []
        self.reals: list[list[str]] = [["x", "y", "z", *NUMBERS]]  # that can be read, by block
        self.wholes: list[list[str]] = [[]]
        self.depth = 1
        self.count = 0

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def new(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def real(self) -> str:
        return self.random.choice([x for names in self.reals for x in names])

    def whole(self) -> str:
        names = [x for names in self.wholes for x in names]
        return self.random.choice(names) if names else str(self.random.randint(1, 4))

    def index(self, size: int) -> str:
        """A whole number below a size."""
        pick = self.random.random()
        if pick < 0.6:
            return f"{self.whole()} % {size}"
        return f"({self.whole()} + {self.random.randint(0, 3)}) % {size}"

    def expression(self, depth: int = 2) -> str:
        random = self.random
        if depth == 0 or random.random() < 0.15:
            return random.choice(
                [self.real(), self.real(), self.real(), f"{random.uniform(-1.5, 1.5):.3f}"]
            )
        a, b = self.expression(depth - 1), self.expression(depth - 1)
        k = self.whole()
        return random.choice(
            [
                f"({a} + {b})",
                f"({a} - {b})",
                f"{a} * {b} * 0.5",
                f"tanh({a})",
                f"sin({a} + {b})",
                f"{a} * {k} * 0.25",
                f"{a} / (1.0 + {k} * {k})",
                f"({a} + 0.1 * ({k} % 3))",
                f"v[{self.index(6)}] * {a}",
                f"WEIGHTS[{self.index(6)}] * {a}",
                f"ROWS[{self.index(6)}][{random.randint(0, 1)}] + {a}",
                f"maximum({a}, {b})",
                f"max({a}, {b})",
                f"({a} if {self.condition()} else {b})",
                f"helped({a}, {b}) * 0.1",
                f"clipped({a}, 0.3)" if self.depth > 1 else f"-{a}",
                f"reduce(maximum, [{a}, {b}, {k} * 0.2])",
                f"sum([{a}, {b}]) * 0.5",
                f"sum(w * {a} for w in WEIGHTS[:2])",
                f"{a} ** 2 * 0.3",
                f"noted({a})" if random.random() < 0.1 else f"abs({a})",
                f"float({k}) * {a}" if random.random() < 0.15 else f"{a} * 0.9",
            ]
        )

    def condition(self) -> str:
        pick = self.random.random()
        if pick < 0.4:
            return f"{self.whole()} % 2 == {self.random.randint(0, 1)}"
        if pick < 0.5:
            return f"{self.whole()} > 2"
        return f"{self.expression(1)} {self.random.choice('<>')} {self.random.uniform(-1, 1):.2f}"

    def bounded(self, text: str) -> str:
        return f"tanh({text})" if self.random.random() < 0.5 else f"sin({text})"

    def statements(self, n: int, loops: int) -> None:
        for _ in range(n):
            self.statement(loops)

    def statement(self, loops: int) -> None:
        random = self.random
        pick = random.random()
        if pick < 0.3:
            self.line(f"{random.choice(NUMBERS)} = {self.bounded(self.expression())}")
        elif pick < 0.42:
            sign = random.choice("+-")
            self.line(f"{random.choice(NUMBERS)} {sign}= 0.3 * {self.bounded(self.expression())}")
        elif pick < 0.5:
            name = self.new("t")
            self.line(f"{name} = {self.expression()}")
            self.reals[-1].append(name)
        elif pick < 0.55:
            one, other = random.sample(NUMBERS, 2)
            self.line(f"{one}, {other} = pair(tanh({one}), sin({self.expression(1)}))")
        elif pick < 0.62:
            if not self.wholes[1:]:  # after a loop it would ask for what that has computed
                return
            self.line(f"if {self.condition()}:")
            self.block(1, 0)
            if random.random() < 0.5:
                self.line("else:")
                self.block(1, 0)
        elif pick < 0.68:
            self.line(
                random.choice(
                    [
                        f"found.append({self.expression()})",
                        f"found += [{self.expression(1)}, {self.expression(1)}]",
                    ]
                )
            )
        elif pick < 0.7:
            self.comprehension()
        elif pick < 0.73:
            self.line(
                f"state = [{self.bounded('state[1]')}, state[0] * 0.5 + 0.1 * {self.expression(1)}]"
            )
        elif pick < 0.76:
            name = self.new("own")
            self.line(f"{name} = [{self.expression(1)}]")
            self.line(f"{name}.append({self.expression(1)})")
            if random.random() < 0.5:
                self.line(f"{name}[0] = {self.expression(1)}")
            self.reals[-1].append(f"{name}[{random.randint(0, 1)}]")
        elif pick < 0.78:
            self.line(
                random.choice(
                    [
                        "n += 1",
                        "n = n + 2",
                        "flag = not flag",
                        f"last = {self.whole()}",
                        f"prev = {self.real()}",
                        f"out[{self.index(4)}] = {self.expression(1)}",
                        f"noted({self.real()})",
                    ]
                )
            )
        elif loops:
            self.loop(loops - 1)
        else:
            self.line(f"{random.choice(NUMBERS)} = 0.9 * {self.bounded(self.expression())}")

    def block(self, n: int, loops: int) -> None:
        self.depth += 1
        self.reals.append([])
        self.wholes.append([])
        self.statements(n, loops)
        self.depth -= 1
        self.reals.pop()
        self.wholes.pop()

    def comprehension(self) -> None:
        """A list of as many numbers, or of lists of them."""
        head, wholes, reals, _ = self.head()
        self.reals.append(reals)
        self.wholes.append(wholes)
        element = self.expression()
        if self.random.random() < 0.3:
            name = self.new("r")
            self.reals[-1].append(name)
            element = f"sum([{self.expression()} for {name} in WEIGHTS])"
        self.reals.pop()
        self.wholes.pop()
        if self.random.random() < 0.5:
            self.line(f"found += [{element} for {head}]")
            return
        name = self.new("list")
        self.line(f"{name} = [[{element}, 0.5] for {head}]")
        self.reals[-1].append(f"{name}[{self.random.randint(0, 3)}][0]")

    def head(self) -> tuple[str, list[str], list[str], int]:
        """What a loop goes through, whole numbers and others that it gives, and a size."""
        random = self.random
        k, t, u = self.new("k"), self.new("r"), self.new("r")
        trips = random.choice([4, 5, 6, 6, 7])
        head, wholes, reals = random.choice(
            [
                (f"{k} in range({trips})", [k], []),
                (f"{k} in range(1, {trips + 1})", [k], []),
                (f"{k} in range({2 * trips}, 0, -2)", [k], []),
                (f"{t} in v", [], [t]),
                (f"{t} in WEIGHTS", [], [t]),
                (f"{t} in [x, y, 0.5, z, a, b]", [], [t]),
                (f"{k}, {t} in enumerate(v)", [k], [t]),
                (f"{k}, ({t}, {u}) in enumerate(zip(v, WEIGHTS), start=1)", [k], [t, u]),
                (f"{t}, {k} in zip(reversed(WEIGHTS), range(6))", [k], [t]),
                (f"{k}, {k}b in PAIRS", [k, f"{k}b"], []),
                (f"{t}, {u} in ROWS", [], [t, u]),
                (f"{t} in ROWS", [], [f"{t}[0]", f"{t}[1]"]),
            ]
        )
        return head, wholes, reals, trips

    def loop(self, loops: int) -> None:
        random = self.random
        head, wholes, reals, trips = self.head()
        if loops == 0 and random.random() < 0.1:
            k = self.new("k")
            self.line(f"for {k} in range({self.whole()} % 3):")
            wholes, reals = [k], []
            trips = 0
        else:
            self.line(f"for {head}:")
        self.depth += 1
        self.reals.append(reals)
        self.wholes.append(wholes)
        self.statements(random.randint(1, 3), loops)
        name = random.choice(NUMBERS)
        self.line(f"{name} = {self.bounded(f'{name} + ' + self.expression())}")
        if random.random() < 0.06:
            self.line(
                random.choice(
                    [f"if {self.expression(1)} > 1.7: break", f"if {self.condition()}: continue"]
                )
            )
        self.depth -= 1
        self.reals.pop()
        self.wholes.pop()
        if random.random() < 0.1 and wholes and trips:
            self.line(f"c = c + 0.01 * {wholes[0]}")
        if random.random() < 0.03:
            self.line(f"if {random.choice(NUMBERS)} > 0.2: a = 0.7 * a")


def source(seed: int) -> str:
    """The program of a seed: a function of three numbers and an array of six."""
    writer = Writer(Random(seed))
    writer.line("a, b, c = 0.0, x, 1")
    writer.line(
        "n, flag, last, prev, found, state, out = 0, False, 0, None, [], [x, 0.5], [0.0, y, z, 1.0]"
    )
    while not any("for " in line for line in writer.lines):
        writer.statements(2, 2)
    writer.statements(writer.random.randint(0, 2), 2)
    writer.line(
        "total = sum(f * (0.1 + i % 7 * 0.1) for i, f in enumerate(found)) if found else 0.0"
    )
    writer.line("past = 0.0 if prev is None else prev")
    writer.line(
        "return a + b * c + sin(total) + n * 0.1 + flag * y + last * 0.01 + past"
        " + state[0] * state[1] + out[0] * out[1] + out[3]"
    )
    return BEFORE + "def f(x, y, z, v):\n" + "\n".join(writer.lines) + "\n"


class Program(NamedTuple):
    """A program.

    Attributes:
        seed: what it was made from.
        source: its text.
        function: of three numbers and an array of six.
    """

    seed: int
    source: str
    function: Callable[..., Any]


def program(seed: int) -> Program:
    """The program of a seed."""
    text = source(seed)
    name = f"<long {seed}>"
    linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
    scope: dict[str, Any] = {x: getattr(cm, x) for x in ("sin", "tanh", "maximum", "where")} | {
        "cr": cr,
        "reduce": reduce,
    }
    exec(compile(text, name, "exec"), scope)
    return Program(seed, text, scope["f"])
