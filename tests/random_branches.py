"""Random programs full of branches, as people write them: Python source in real files.

Nested ``if``, conditional expressions, ``max``, ``min``, ``any``, ``all``, ``sorted``, ``abs``, chained
comparisons, ``and`` and ``or`` of values and of conditions, early ``return``, ``break``, ``continue``, loops
that end by a condition; and in branches what must not happen unless the branch is taken: lists, dicts
and attributes that change, ``nonlocal``, generators, exceptions, prints, names that are not there on one
side or are of another type, built-ins that are something else. Arithmetic is ``+ - * /`` and ``sqrt``, so
that values are the same to the last bit however the program runs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

HEADER = '''\
"""A random program; see random_branches.py."""

from chainrule.math import maximum, minimum, sqrt, where

LOG = []
COUNT = 0
SCALE = 0.75
TABLE = [0.5, -1.25, 2.0, 0.0, 3.5]
STEPS = (1, 2, 0)


class Stop(Exception):
    pass


class State:
    def __init__(self, p, q):
        self.p, self.q, self.seen = p, q, []

    def push(self, v, limit=1.0):
        if v > limit:
            self.p = limit
            return self.p
        self.q = self.q * 0.5 + v
        return self.q

    @property
    def best(self):
        return self.p if self.p > self.q else self.q


def note(what):
    global COUNT
    COUNT += 1
    LOG.append(what)
    print(what)
    return 1.0


def capped(v, cap=1.5):
    if v > cap:
        return cap
    if v < -cap:
        return -cap
    return v


def first_above(values, level):
    for i, v in enumerate(values):
        if v > level:
            return i
    return -1


def checked(v):
    if not -2.0 < v < 2.0:
        raise Stop("outside")
    return 0.5 * v


def remembered(v, seen=[]):
    seen.append(len(seen) % 3)
    return v if v > 0.25 else 0.25 - v


def halves(v, w):
    k = 0
    while v > 0.2 and w < 3.0 and k < 4:
        v, w, k = 0.5 * v, w + 1.0, k + 1
        yield v if v > w else w


def picked(c, a, b):
    return a if c else b
'''
"""What every program begins with."""

HELPERS = (
    "def h1(a, b):\n    if a > b:\n        c = a - b\n    else:\n        c = b - 0.5 * a\n    return c\n",
    "def h1(a, b):\n    c = b\n    if a > 0:\n        c = a\n        if b > a:\n            c = 0.5 * (a + b)\n"
    "    elif a < -1:\n        return a\n    return c / (1.0 + c * c)\n",
    "def h1(a, b):\n    for k in range(3):\n        if a > b:\n            break\n        a = a + 0.4\n"
    "    else:\n        a = -a\n    return a\n",
    "def h1(a, b):\n    return max(a, b) if a * b > 0 else min(a, b)\n",
    "def h1(a, b=0.5):\n    if a > 0.0:\n        return sqrt(a)\n    return b\n",
    "def h1(a, b):\n    if a > b:\n        a, b = b, a\n    return a - 0.25 * b\n",
    "def h1(a, b, n=0):\n    return a if a > b or n > 2 else h1(a + 1.0, b, n + 1) if a < b else 0.5 * a\n",
    "h1 = lambda a, b: a - b if a > b else b\n",
)
SHADOWS = (
    "max = lambda a, b: a + 0.5 * b",
    "abs = lambda a: 0.5 * a",
    "min = maximum",
    "any = lambda values: 1 if len(list(values)) > 1 else 0",
    "from chainrule.math import maximum as max, minimum as min",
)
"""Names of built-ins that are something else, for the module or inside the function."""

CAUGHT = (
    "(Stop, ZeroDivisionError, UnboundLocalError, KeyError, IndexError, AssertionError, TypeError)"
)


@dataclass
class BranchProgram:
    """A program of three numbers with one number as result, unless it raises.

    Attributes:
        seed: what it was made from.
        source: the module that defines ``f``.
        points: arguments, with ties, infinities and NaN among them.
    """

    seed: int
    source: str
    points: list[tuple[float, float, float]]

    @property
    def body(self) -> str:
        """The source without what all have."""
        return self.source.removeprefix(HEADER)

    def module(self, folder: Path) -> Any:
        """The module, imported from a file in a folder."""
        path = folder / f"branches_{self.seed}.py"
        path.write_text(self.source)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def branch_program(seed: int) -> BranchProgram:
    """The program of a seed."""
    random = Random(seed)
    return BranchProgram(seed, _Writer(random).source(), _points(random))


def _points(random: Random) -> list[tuple[float, float, float]]:
    def number() -> float:
        return round(random.uniform(-2.0, 2.0), random.choice([1, 3]))

    points = [(number(), number(), number()) for _ in range(5)]
    a, b, c = points[0]
    points += [(a, a, b), (0.0, -0.0, c), (1.0, 0.0, -1.0), (a, -a, a)]
    odd = [float("inf"), float("-inf"), float("nan"), float("nan"), 1e300]
    for _ in range(2):
        point = [number(), number(), number()]
        point[random.randrange(3)] = random.choice(odd)
        points.append((point[0], point[1], point[2]))
    return points


class _Writer:
    """Writes the source of a program; loops in it end, and its numbers stay moderate."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.lines: list[str] = []
        self.numbers = ["x", "y", "z", "u", "v"]
        self.counters: list[str] = []
        self.names = 0
        self.inside = 0  # loops
        self.left = random.choice([6, 10, 14, 20])

    def source(self) -> str:
        """A whole module."""
        random = self.random
        start = ["u, v = x, 0.5", "L = [x, y, 0.25]", "D = {'a': y, 'b': 1.0}", "o = State(z, x)"]
        start += ["n, m, s = 1, None, 'ab'", "P = (y, z)"]
        if random.random() < 0.12:
            start.append(random.choice(SHADOWS))
        self.bumps = random.random() < 0.25  # then u is a cell
        if self.bumps:
            start += [
                "def bump(a):",
                "    nonlocal u",
                "    if a > u:",
                "        u = 0.5 * (a + u)",
            ]
            start += ["        return True", "    return False"]
        self.body(1, random.randint(3, 6))
        sums = [
            "u",
            "v",
            "0.5 * L[-1]",
            "L[0]",
            "o.p",
            "o.q",
            "o.best",
            "D['a']",
            "len(L)",
            "n",
            "P[0]",
        ]
        sums += ["(0.0 if m is None else m)", "len(s)", "len(o.seen)", "D.get('c', 0.125)", "x"]
        result = " + ".join(random.sample(sums, random.randint(3, 7)))
        top = [HEADER, *random.sample(HELPERS, 1)]
        if random.random() < 0.06:
            top.append(random.choice(SHADOWS) + "\n")
        start.insert(0, "print('run')")
        lines = ["    " + line for line in start] + self.lines + [f"    return {result}"]
        if random.random() < 0.2:  # the function is made by another one
            lines = ["    " + line for line in ["def f(x, y, z):", *lines, "return f"]]
            lines = ["def made(scale, table):", *lines, "f = made(0.5, [1.0, 2.0])"]
            lines = [line.replace("SCALE", "scale") for line in lines]
        else:
            lines = ["def f(x, y, z):", *lines]
        return "\n".join(top) + "\n\n" + "\n".join(lines) + "\n"

    def line(self, depth: int, text: str) -> None:
        """A statement, which may have several lines."""
        self.lines += ["    " * depth + part for part in text.split("\n")]

    def body(self, depth: int, count: int) -> None:
        """Some statements."""
        before = len(self.lines)
        for _ in range(count):
            self.left -= 1
            kind = self.random.random()
            if kind < 0.25 or self.left < 0 or depth > 5:
                self.assignment(depth)
            elif kind < 0.55:
                self.branch(depth)
            elif kind < 0.67:
                self.effect(depth)
            elif kind < 0.77:
                self.leave(depth)
            elif kind < 0.84:
                self.caught(depth)
            elif kind < 0.88:
                self.special(depth)
            elif self.inside < 2:
                self.loop(depth)
            else:
                self.assignment(depth)
        assert len(self.lines) > before

    # Statements

    def assignment(self, depth: int) -> None:
        random = self.random
        name = random.choice(["u", "v", "u", "v", "x", "y", "w"])
        kind = random.random()
        if kind < 0.12:
            self.line(depth, f"u, v = {self.expression()}, {self.expression()}")
        elif kind < 0.2:
            self.line(
                depth, f"{random.choice('uv')} {random.choice(['+=', '-=', '*='])} {self.small()}"
            )
        elif kind < 0.25:
            self.line(depth, f"u = v = {self.expression()}")
        elif kind < 0.3:
            self.line(depth, f"m = {random.choice(['None', self.expression()])}")
        elif kind < 0.34:
            self.line(
                depth, f"n = {random.choice(['n + 1', '2', '0', 'len(L)', 'int(n > 1)', '2.5'])}"
            )
        elif kind < 0.37:
            self.line(
                depth,
                f"P = {random.choice(['(v, u)', '(P[1], P[0])', 'tuple(L[:2])', '(u,) + P[1:]'])}",
            )
        else:
            self.line(depth, f"{name} = {self.expression()}")
            if name not in self.numbers:
                if depth == 1:
                    self.numbers.append(name)
                else:  # not there on the other side
                    self.line(depth, f"u = u + 0.25 * {name}")

    def branch(self, depth: int) -> None:
        random = self.random
        condition = self.condition()
        self.line(depth, f"if {condition}:")
        self.body(depth + 1, random.randint(1, 2))
        if random.random() < 0.25:
            self.line(depth, f"elif {self.condition()}:")
            self.body(depth + 1, 1)
        if random.random() < 0.5:
            self.line(depth, "else:")
            self.body(depth + 1, random.randint(1, 2))
        elif random.random() < 0.2:
            name = f"t{self.names}"
            self.names += 1
            self.lines[-1:] = [
                self.lines[-1],
                "    " * (depth + 1) + f"{name} = {self.expression()}",
            ]
            self.line(depth, f"try:\n    v = 0.5 * {name}\nexcept NameError:\n    v = 0.25 - v")

    def effect(self, depth: int) -> None:
        """A change of something else than a local name."""
        e, random = self.expression(), self.random
        ways = [
            f"L.append({e})",
            f"L[{random.randrange(3)}] = {e}",
            f"L += [{e}, 0.5]",
            "L.reverse()",
        ]
        ways += [f"o.p = {e}", f"o.q += {self.small()}", f"u = o.push({e})", "o.seen.append(n)"]
        ways += [f"D['a'] = {e}", f"D['c'] = {e}", f"v = D.pop('b', {e})", "D.update(a=u)"]
        ways += ["note('in')", "note('a') and note('b')", "print('here')", "s += 'c'"]
        ways += [f"bump({e})"] * self.bumps
        ways += [f"for g in halves({e}, v):\n    v = 0.5 * v + 0.25 * g", f"v = remembered({e})"]
        ways += [
            "L = L[::-1]",
            "L = sorted(L)",
            "L.sort()",
            "o = State(u, v)",
            "M = L\nM.append(u)",
        ]
        ways += [f"v = next(halves({e}, u), 0.5)", "L.insert(1, v)", "del L[2:]\nL.append(0.5)"]
        self.line(depth, random.choice(ways))

    def leave(self, depth: int) -> None:
        """Out of a loop or of the function, by a condition."""
        random = self.random
        ways = [
            f"return {self.expression()}",
            "return 0.25",
            f"return u if u > v else {self.operand()}",
        ]
        if self.inside:
            ways += [
                "break",
                "continue",
                "break",
                "continue",
                f"u = {self.expression()}\n    break",
            ]
        self.line(depth, f"if {self.condition()}:")
        if random.random() < 0.4:
            self.assignment(depth + 1)
        self.line(depth, f"    {random.choice(ways)}")

    def caught(self, depth: int) -> None:
        """Something that may raise, in a branch or not."""
        random = self.random
        e = self.expression()
        ways = [
            f"v = checked({e})",
            f"v = 0.5 * D[{random.choice(['KEY', repr('c')])}]".replace("KEY", "'b'"),
        ]
        ways += [f"assert {self.condition()}, 'low'\n    v = {e}", "v = L[n]", "u = 0.5 * L[3]"]
        ways += [f"if {self.condition()}:\n        raise Stop\n    v = {e}", "v = u * (1.0 / n)"]
        ways += ["u = u + m", f"if {self.condition()}:\n        del P\n    u = 0.5 * P[0]"]
        self.line(depth, f"try:\n    {random.choice(ways)}\nexcept {CAUGHT}:")
        self.line(depth, f"    {random.choice(['v = 0.5', 'u = 0.25 * v', 'pass'])}")
        if "del P" in self.lines[-3]:
            self.line(depth, "P = (u, v)")
        if random.random() < 0.3:
            self.line(depth, f"finally:\n    u = 0.75 * u")

    def special(self, depth: int) -> None:
        """Syntax that is rare."""
        c, e, random = self.condition(), self.expression(), self.random
        ways = [f"if (w := {e}) > 0.1:\n    u = w\nelse:\n    v = 0.5 * w"]
        ways += [
            f"v = (lambda a: a if {c} else {e})(u)",
            f"u = [a if a > 0 else -0.5 * a for a in L][0]",
        ]
        ways += [
            f"match n:\n    case 1 if {c}:\n        u = {e}\n    case 2:\n        v = 0.5\n    case _:\n        u = v"
        ]
        ways += [
            f"def g(a=u):\n    if a > v:\n        return a\n    return v\nif {c}:\n    v = {e}\nu = g() + 0.5 * g(v)"
        ]
        ways += [
            f"n = 0 if {c} else 2\nif n != 0:\n    v = v / n",
            f"T = L if {c} else [u, v]\nT.append(0.5)",
        ]
        ways += [
            f"k = 1 if {c} else 0\nu = TABLE[k] * 0.5 + u * STEPS[k]",
            f"s = 'x' if {c} else 'yz'\nu = u / len(s)",
        ]
        ways += [f"if -1.0 < {self.name()} < 3.0:\n    v = 0.5 * TABLE[int({self.name()} > 0)]"]
        ways += [
            "if -2.5 < u < 2.5:\n    v = 0.5 * TABLE[int(u)] + 0.5 * v",
            f"q = {c}\nu = 0.5 * u + q\nif q:\n    v = {e}",
        ]
        ways += [f"if {c}:\n    F = lambda a: 0.5 * a\nelse:\n    F = capped\nv = F({e})"]
        ways += [
            f"if {c}: pass\nelse: u = {e}",
            f"v = picked({c}, {e}, v)",
            f"try:\n    if {c}:\n        u = {e}\nfinally:\n    v = 0.5 * v",
        ]
        ways += ["if u != 0.0:\n    v = 0.125 / u"]
        ways += [
            f"u = -u if {c} else u\nv = (v if v > 0 else 0) + (1 if {c} else 0.5)",
            f"n += 1 if {c} else 2",
        ]
        ways += [
            f"if {c}:\n    u = u\n    v, u = u, {e}",
            f"u = {{True: u, False: 0.5 * v}}[{self.simple()}]",
        ]
        ways += [f"u = (0.5 * u, {e})[{self.simple()}]", f"r = u > v\nif r is True:\n    u = {e}"]
        self.line(depth, random.choice(ways))

    def loop(self, depth: int) -> None:
        random = self.random
        counter = f"i{self.names}"
        self.names += 1
        kind = random.random()
        if kind < 0.55:
            self.line(
                depth, f"for {counter} in range({random.choice(['2', '3', '5', 'int(n)', '12'])}):"
            )
        elif kind < 0.7:
            self.line(
                depth,
                f"for {counter}, w in enumerate({random.choice(['L[:3]', 'list(L)[:4]', 'TABLE', 'P'])}):",
            )
        else:
            self.line(
                depth,
                f"{counter} = 0\nwhile ({self.condition()}) and {counter} < {random.choice([2, 4, 9])}:",
            )
            self.line(depth, f"    {counter} += 1")
        self.inside += 1
        numbers = list(self.numbers)
        self.counters.append(counter)
        self.body(depth + 1, random.randint(1, 3))
        if random.random() < 0.5:
            self.leave(depth + 1)
        self.counters.pop()
        self.numbers = numbers
        self.inside -= 1
        if random.random() < 0.15:
            self.line(depth, f"else:\n    v = {self.expression()}")

    # Expressions

    def name(self) -> str:
        return self.random.choice(self.numbers)

    def operand(self) -> str:
        random = self.random
        kind = random.random()
        if kind < 0.1:
            return random.choice(["L[0]", "L[-1]", "L[1]"])
        if kind < 0.2:
            return random.choice(["o.p", "o.q", "D['a']", "P[0]", "o.best", "SCALE"])
        if kind < 0.25 and self.counters:
            return f"(0.25 * {random.choice(self.counters)})"
        if kind < 0.35:
            return repr(random.choice([0.0, 1.0, 0.5, -1.5, 2, 1, -0.0, 0.1]))
        return self.name()

    def small(self) -> str:
        return self.random.choice(["0.5", f"0.25 * {self.name()} / (1.0 + u * u)", "0.125"])

    def simple(self) -> str:
        """One comparison."""
        compare = self.random.choice(["<", "<=", ">", ">=", ">", "<", "==", "!="])
        return f"{self.name()} {compare} {self.operand()}"

    def condition(self) -> str:
        random = self.random
        kind = random.random()
        if kind < 0.55:
            return self.simple()
        if kind < 0.63:
            return f"{self.operand()} < {self.name()} <= {self.operand()}"
        if kind < 0.75:
            return f"{self.simple()} {random.choice(['and', 'or'])} {random.choice(['', 'not '])}{self.simple()}"
        if kind < 0.79:
            return f"not ({self.simple()})"
        if kind < 0.83:
            return f"({self.simple()}) {random.choice('&|')} ({self.simple()})"
        if kind < 0.88:
            gen = random.choice(["L", "(u, v, 0.5)", "P"])
            return f"{random.choice(['any', 'all'])}(a > {self.operand()} for a in {gen})"
        if kind < 0.91:
            return random.choice(
                ["n > 1", "m is None", "len(L) > 3", "s == 'ab'", "o.seen", "'c' in D", "n % 2"]
            )
        if kind < 0.94:
            return random.choice(
                ["bump(v)"] * self.bumps
                + ["o.push(u) > 0.5", "remembered(v) > 0.5", "(note('c') and u > v)"]
            )
        if kind < 0.96:
            return random.choice([self.name(), f"not {self.name()}"])
        if kind < 0.98:
            return f"first_above(L, {self.operand()}) > 0"
        return f"({self.simple()} if {self.simple()} else {self.simple()})"

    def expression(self) -> str:
        """A number of moderate size."""
        random = self.random
        a, b = self.operand(), self.operand()
        kind = random.random()
        if kind < 0.14:
            picks = [
                "max({a}, {b})",
                "min({a}, {b})",
                "max(u, {a}, {b})",
                "min(L)",
                "max(L)",
                "max([{a}, v])",
            ]
            picks += [
                "max({a}, 0.0)",
                "max(0, {a})",
                "min(1, {a})",
                "max(min({a}, 1.0), -1.0)",
                "max(a * 0.5 for a in L)",
            ]
            picks += [
                "max(L, key=abs)",
                "min([], default={a})",
                "maximum({a}, {b})",
                "minimum({a}, {b})",
            ]
            return random.choice(picks).format(a=a, b=b)
        if kind < 0.24:
            return f"({a} if {self.condition()} else {b})"
        if kind < 0.28:
            return f"({a} if {self.simple()} else {b} if {self.simple()} else {self.operand()})"
        if kind < 0.34:
            picks = [
                "sorted([{a}, {b}, u])[1]",
                "sorted(L)[0]",
                "sorted((u, {a}), reverse=True)[0]",
            ]
            picks += [
                "sorted([{a}, v], key=abs)[-1]",
                "abs({a})",
                "abs({a} - {b})",
                "sorted([{a}, {b}, u, v, x])[2]",
            ]
            return random.choice(picks).format(a=a, b=b)
        if kind < 0.38:
            return f"({a} {random.choice(['and', 'or'])} {b})"
        if kind < 0.43:
            c = f"h1({a}, {b})" if random.random() < 0.6 else f"capped({a})"
            return c
        if kind < 0.46:
            return f"where({self.simple()}, {a}, {b})"
        if kind < 0.49:
            return f"sum(1 for a in L if a > {a}) * 0.25"
        if kind < 0.51:
            return f"(0.5 * {a} + ({self.simple()}))"
        inner = random.choice(
            ["{a} - {b}", "0.5 * ({a} + {b})", "{a} / (1.0 + {b} * {b})", "sqrt(abs({a}))"]
        )
        inner = random.choice(
            [
                inner,
                inner,
                "{a} * {b} / (1.0 + {a} * {a})",
                "sqrt({a} * {a} + 0.5)",
                "0.75 * {a}",
                "-{a}",
            ]
        )
        return f"({inner})".format(a=a, b=b)
