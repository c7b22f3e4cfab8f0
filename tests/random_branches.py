"""Random programs full of branches, as people write them: Python source in real files.

Nested ``if``, conditional expressions, ``max``, ``min``, ``any``, ``all``, ``sorted``, ``abs``,
chained comparisons, ``and`` and ``or`` of values and of conditions, early ``return``, ``break``,
``continue``, loops that end by a condition, gradients; and in branches what must not happen unless
the branch is taken: lists, dicts and attributes that change, ``nonlocal``, generators, exceptions,
prints, names that are not there on one side or are of another type, built-ins that are something
else.
Arithmetic is ``+ - * /`` and ``sqrt``, so that values are the same to the last bit however the
program runs.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

HEADER = '''\
"""A random program; see random_branches.py."""

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial, reduce, wraps

import chainrule as cr
from chainrule.math import maximum, minimum, sqrt, where

LOG = []
COUNT = 0
SCALE = 0.75
TABLE = [0.5, -1.25, 2.0, 0.0, 3.5]
STEPS = (1, 2, 0)


class Stop(Exception):
    pass


class State:
    total = 0.5

    def __init__(self, p, q):
        self.p, self.q, self.seen = p, q, []

    def __lt__(self, other):
        return self.p < other.p

    def __bool__(self):
        return bool(self.p > self.q)

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


@dataclass
class Ball:
    p: float
    hits: int = 0
    log: list = field(default_factory=list)

    def step(self, v):
        self.p = self.p + v
        if self.p < 0:
            self.p, self.hits = -0.5 * self.p, self.hits + 1
            self.log.append(self.p)
        return self.p

    @property
    def level(self):
        return self.p

    @level.setter
    def level(self, v):
        self.p = v if v < 1 else 1.0


def doubled(f):
    @wraps(f)
    def other(*args, **options):
        v = f(*args, **options)
        return v if v > 0 else 0.5 * v

    return other


@doubled
def spread(*values, scale=0.5, **more):
    t = 0.0
    for v in (*values, *more.values()):
        t = 0.5 * t + v if v > scale else t - scale * v
    return t


@contextmanager
def noted(what):
    LOG.append(what)
    try:
        yield what
    except Stop:
        LOG.append("stop")
'''
"""What every program begins with."""

HELPERS = (
    """\
def h1(a, b):
    if a > b:
        c = a - b
    else:
        c = b - 0.5 * a
    return c
""",
    """\
def h1(a, b):
    c = b
    if a > 0:
        c = a
        if b > a:
            c = 0.5 * (a + b)
    elif a < -1:
        return a
    return c / (1.0 + c * c)
""",
    """\
def h1(a, b):
    for k in range(3):
        if a > b:
            break
        a = a + 0.4
    else:
        a = -a
    return a
""",
    """\
def h1(a, b=0.5):
    if a > 0.0:
        return sqrt(a)
    return b
""",
    """\
def h1(a, b):
    if a > b:
        a, b = b, a
    return a - 0.25 * b
""",
    """\
def h1(a, b, n=0):
    return a if a > b or n > 2 else h1(a + 1.0, b, n + 1) if a < b else 0.5 * a
""",
    """\
def h1(a, b, n=1):
    c = (h1(0.5 * a, b, 0) if a > 0 else a) if n else a
    if c > b:
        c = 2.0 * c - b
    return c
""",
    "def h1(a, b):\n    return max(a, b) if a * b > 0 else min(a, b)\n",
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

RESULTS = (
    *(
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
        "x",
    ),
    *("b.p", "b.hits", "len(b.log)", "o.total", "State.total", "len(LOG)"),
    *("(0.0 if m is None else m)", "len(s)", "len(o.seen)", "D.get('c', 0.125)"),
)

# $e is an expression, $c a condition, $q a comparison, $s a small number, $x a name,
# $a, $b and $d are operands.

ASSIGNMENTS = (
    *("u, v = $e, $a", "u += $s", "v -= $s", "v *= $s", "u = v = $e", "m = None", "m = $e"),
    *("n = n + 1", "n = 2", "n = 0", "n = len(L)", "n = int(n > 1)", "n = 2.5"),
    *("P = (v, u)", "P = (P[1], P[0])", "P = tuple(L[:2])", "P = (u,) + P[1:]"),
)
EFFECTS = (
    *("L.append($e)", "L[0] = $e", "L[1] = $e", "L[-1] = $e", "L += [$e, 0.5]", "L.reverse()"),
    *("o.p = $e", "o.q += $s", "u = o.push($e)", "o.seen.append(n)", "o = State(u, v)"),
    *("D['a'] = $e", "D['c'] = $e", "v = D.pop('b', $e)", "D.update(a=u)"),
    *("note('in')", "note('a') and note('b')", "print('here')", "s += 'c'"),
    *("L = L[::-1]", "L = sorted(L)", "L.sort()", "M = L\nM.append(u)", "L.insert(1, v)"),
    *("v = next(halves($e, u), 0.5)", "del L[2:]\nL.append(0.5)", "v = remembered($e)"),
    "for g in halves($e, v):\n    v = 0.5 * v + 0.25 * g",
    *(
        "L.extend([$e, v])",
        "L[1:2] = [$e]",
        "L[0], L[1] = L[1], L[0]",
        "L[0] += $s",
        "u = b.step($e)",
    ),
    *(
        "b.level = $e",
        "State.total = 0.5 * u",
        "o.total = $e",
        "b = replace(b, p=$e)",
        "b = Ball(u)",
    ),
    *("D[n] = $e", "D.setdefault('c', $e)", "E = {'k': u}\nE['k'] = $e\nu = E['k']", "P += (u,)"),
    "A = [$e]\nA.append(v)\nfor i, (a, w) in enumerate(zip(A, L)):\n"
    "    v = 0.5 * v + a * w / (i + 1.0 + w * w)",
    "for a in reversed(L[:3]):\n    v = 0.5 * v + 0.25 * a",
    *("v = 0.25 * cr.grad(lambda a: note('d') * a * a)($e)", "v = cr.grad(remembered)($e)"),
    "with noted('w'):\n    if $c:\n        raise Stop\n    v = $e",
)
RISKS = (
    *("v = checked($e)", "v = 0.5 * D['b']", "v = 0.5 * D['c']", "v = L[n]", "u = 0.5 * L[3]"),
    *("assert $c, 'low'\n    v = $e", "if $c:\n        raise Stop\n    v = $e", "u = u + m"),
    "v = 0.5 * cr.grad(checked)($e)",
    *("v = u * (1.0 / n)", "if $c:\n        del P\n    u = 0.5 * P[0]"),
)
SPECIAL = (
    "if (w := $e) > 0.1:\n    u = w\nelse:\n    v = 0.5 * w",
    "v = (lambda a: a if $c else $e)(u)",
    "u = [a if a > 0 else -0.5 * a for a in L][0]",
    "match n:\n    case 1 if $c:\n        u = $e\n    case 2:\n        v = 0.5\n    case _:\n"
    "        u = v",
    "def g(a=u):\n    if a > v:\n        return a\n    return v\nif $c:\n    v = $e\n"
    "u = g() + 0.5 * g(v)",
    "n = 0 if $c else 2\nif n != 0:\n    v = v / n",
    "T = L if $c else [u, v]\nT.append(0.5)",
    "k = 1 if $c else 0\nu = TABLE[k] * 0.5 + u * STEPS[k]",
    "s = 'x' if $c else 'yz'\nu = u / len(s)",
    "if -1.0 < $x < 3.0:\n    v = 0.5 * TABLE[int($x > 0)]",
    "if -2.5 < u < 2.5:\n    v = 0.5 * TABLE[int(u)] + 0.5 * v",
    "q = $c\nu = 0.5 * u + q\nif q:\n    v = $e",
    "if $c:\n    F = lambda a: 0.5 * a\nelse:\n    F = capped\nv = F($e)",
    "if $c: pass\nelse: u = $e",
    "v = picked($c, $e, v)",
    "try:\n    if $c:\n        u = $e\nfinally:\n    v = 0.5 * v",
    "if u != 0.0:\n    v = 0.125 / u",
    "u = -u if $c else u\nv = (v if v > 0 else 0) + (1 if $c else 0.5)",
    "n += 1 if $c else 2",
    "if $c:\n    u = u\n    v, u = u, $e",
    "u = {True: u, False: 0.5 * v}[$q]",
    "u = (0.5 * u, $e)[$q]",
    "r = u > v\nif r is True:\n    u = $e",
    "w = u\nif $c:\n    w = $e\n    u = w if w > u else v",
    "if $c:\n    u, L[0] = $e, u",
    "k = 1 if $c else 12\ns = f'{k}'",
    "k = 1 if $c else 20\ns = '%d and %s' % (k, k + 1)\nv = 0.5 * v + len('{:>4}'.format(k))",
    "k = max(1 if $c else 2, n)\nv = 0.5 * v + isinstance(k, int) + (type(k) is int)",
    "n = max(n, 1) if $c else min(n, 2, len(L))\nu = 0.5 * u + n",
    "n = sum([1 if a > $a else 0 for a in (u, v, x)])\nu = u / (1 + max(n, 2))\nn = min(n, 1)",
    "c = [a for a in (u, v, $a) if a > $b]\nu = 0.25 * sum(c) if c else v",
    "u = 0.5 * sum(map(capped, (u, $a, v)))",
    "v = reduce(lambda a, b: a if a > b else 0.5 * b, [u, v, $a])",
    "v = partial(picked, $q, b=$e)(v)",
    "match $q:\n    case True:\n        u = $e\n    case False:\n        v = 0.5",
    "v = 0.5 * v + ($a in [u, v, 0.5])",
    "a, *w = [u, $e, v]\nif a > $b:\n    a, w[0] = w[0], a\nu = a - 0.5 * w[0]",
    "T = [[u, v], [$a, $b]]\np = max(range(2), key=lambda i: abs(T[i][0]))\n"
    "T[0], T[p] = T[p], T[0]\nu = T[0][0] + 0.5 * T[0][1]",
    "if o < State(u, v):\n    u = $e\nif o:\n    v = 0.5 * v",
    "w = 0\nfor a in (u, v, $a):\n    if a > 0.5:\n        w = w + 1\n        continue\n"
    "    w = max(w - 1, 0)\n"
    "u = 0.5 * u + w",
)
PICKS = (
    *("max($a, $b)", "min($a, $b)", "max(u, $a, $b)", "min(L)", "max(L)", "max([$a, v])"),
    *("max($a, 0.0)", "max(0, $a)", "min(1, $a)", "max(min($a, 1.0), -1.0)", "max(L, key=abs)"),
    *("max(a * 0.5 for a in L)", "min([], default=$a)", "maximum($a, $b)", "minimum($a, $b)"),
    *("sorted([$a, $b, u])[1]", "sorted(L)[0]", "sorted((u, $a), reverse=True)[0]", "abs($a)"),
    *("sorted([$a, v], key=abs)[-1]", "abs($a - $b)", "sorted([$a, $b, u, v, x])[2]"),
    *("($a if $c else $b)", "($a if $c else $b)", "($a if $q else $b if $q else $d)") * 3,
    *("($a and $b)", "($a or $b)", "h1($a, $b)", "h1($a, $b)", "capped($a)", "where($q, $a, $b)"),
    *("max(u, $a, key=abs)", "min(L, key=lambda a: a * a - $b)", "spread($a, $b)", "b.level"),
    *("spread(*L[:2], scale=$a)", "spread($a, **{'q': $b})", "reduce(max, [u, $a, $b])"),
    *("sum(1 for a in L if a > $a) * 0.25", "(0.5 * $a + ($q))"),
    *("cr.grad(capped)($a)", "cr.grad(lambda a: a * a if a > $b else -a)($a)"),
    *("cr.value_and_grad(lambda a: max(a, $b))($a)[1]", "sum(cr.grad(max)([u, $a]))"),
)
SMOOTH = (
    *("($a - $b)", "0.5 * ($a + $b)", "$a / (1.0 + $b * $b)", "sqrt(abs($a))") * 2,
    *("$a * $b / (1.0 + $a * $a)", "sqrt($a * $a + 0.5)", "(0.75 * $a)", "(-$a)"),
)
CONDITIONS = (
    *["$q"] * 22,
    *("$a < $x <= $b", "$q and $q", "$q or $q", "$q and not $q", "$q or not $q") * 2,
    *("not ($q)", "not ($q)", "($q) & ($q)", "($q) | ($q)", "($q if $q else $q)", "$x", "not $x"),
    *("any(a > $a for a in L)", "all(a > $a for a in (u, v, 0.5))", "any(a < $a for a in P)"),
    *("n > 1", "m is None", "len(L) > 3", "s == 'ab'", "o.seen", "'c' in D", "n % 2"),
    *("o.push(u) > 0.5", "remembered(v) > 0.5", "(note('c') and u > v)", "first_above(L, $a) > 0"),
)

CAUGHT = "Stop, ZeroDivisionError, NameError, LookupError, AssertionError, TypeError"


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
        assert spec is not None
        assert spec.loader is not None
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
        self.bumps = random.random() < 0.25  # then u is a cell

    def source(self) -> str:
        """A whole module."""
        random = self.random
        start = [
            "print('run')",
            "LOG.clear()",
            "State.total = 0.5",
            "u, v = x, 0.5",
            "L = [x, y, 0.25]",
            "D = {'a': y, 'b': 1.0}",
        ]
        start += ["o, b = State(z, x), Ball(y)", "n, m, s = 1, None, 'ab'", "P = (y, z)"]
        if random.random() < 0.12:
            start.append(random.choice(SHADOWS))
        if self.bumps:
            start += [
                "def bump(a):",
                "    nonlocal u",
                "    if a > u:",
                "        u = 0.5 * (a + u)",
            ]
            start += ["        return True", "    return False"]
        self.body(1, random.randint(3, 6))
        result = " + ".join(random.sample(RESULTS, random.randint(3, 7)))
        top = [HEADER, random.choice(HELPERS)]
        if random.random() < 0.06:
            top.append(random.choice(SHADOWS) + "\n")
        lines = ["    " + line for line in start] + self.lines + [f"    return {result}"]
        if random.random() < 0.2:  # the function is made by another one
            lines = ["    " + line for line in ["def f(x, y, z):", *lines, "return f"]]
            lines = ["def made(scale, table):", *lines, "f = made(0.5, [1.0, 2.0])"]
            lines = [line.replace("SCALE", "scale") for line in lines]
        else:
            lines = ["def f(x, y, z):", *lines]
        return "\n".join(top) + "\n\n" + "\n".join(lines) + "\n"

    def filled(self, template: str) -> str:
        """A template with what its letters stand for; the same for the same letter, but for $q."""
        known: dict[str, str] = {}
        of = {"e": self.expression, "c": self.condition, "q": self.comparison, "s": self.small}
        of |= {"x": self.name, "a": self.operand, "b": self.operand, "d": self.operand}

        def written(match: re.Match[str]) -> str:
            letter = match[1]
            if letter not in known or letter == "q":
                known[letter] = of[letter]()
            return known[letter]

        return re.sub(r"\$(\w)", written, template)

    def line(self, depth: int, template: str) -> None:
        """A statement, which may have several lines."""
        self.lines += ["    " * depth + part for part in self.filled(template).split("\n")]

    def body(self, depth: int, count: int) -> None:
        """Some statements."""
        for _ in range(count):
            self.left -= 1
            kind = self.random.random()
            if kind < 0.25 or self.left < 0 or depth > 5:
                self.assignment(depth)
            elif kind < 0.55:
                self.branch(depth)
            elif kind < 0.67:
                self.line(depth, self.random.choice(EFFECTS + ("bump($e)",) * self.bumps))
            elif kind < 0.77:
                self.leave(depth)
            elif kind < 0.84:
                self.caught(depth)
            elif kind < 0.88:
                self.line(depth, self.random.choice(SPECIAL))
            elif self.inside < 2:
                self.loop(depth)
            else:
                self.assignment(depth)

    # Statements

    def assignment(self, depth: int) -> None:
        random = self.random
        if random.random() < 0.37:
            self.line(depth, random.choice(ASSIGNMENTS))
            return
        name = random.choice(["u", "v", "u", "v", "x", "y", "w"])
        self.line(depth, f"{name} = $e")
        if name in self.numbers:
            return
        if depth == 1:
            self.numbers.append(name)
        else:  # not there on the other side
            self.line(depth, f"u = u + 0.25 * {name}")

    def branch(self, depth: int) -> None:
        random = self.random
        self.line(depth, "if $c:")
        self.body(depth + 1, random.randint(1, 2))
        if random.random() < 0.25:
            self.line(depth, "elif $c:")
            self.body(depth + 1, 1)
        if random.random() < 0.5:
            self.line(depth, "else:")
            self.body(depth + 1, random.randint(1, 2))
        elif random.random() < 0.2:  # a name that is there on one side
            name = self.new("t")
            self.line(depth, f"    {name} = $e")
            self.line(depth, f"try:\n    v = 0.5 * {name}\nexcept NameError:\n    v = 0.25 - v")

    def leave(self, depth: int) -> None:
        """Out of a loop or of the function, by a condition."""
        ways = ["return $e", "return 0.25", "return u if u > v else $a"]
        if self.inside:
            ways += ["break", "continue", "break", "continue", "u = $e\n    break"]
        self.line(depth, "if $c:")
        if self.random.random() < 0.4:
            self.assignment(depth + 1)
        self.line(depth, f"    {self.random.choice(ways)}")

    def caught(self, depth: int) -> None:
        """Something that may raise, in a branch or not."""
        way = self.random.choice(RISKS)
        self.line(depth, f"try:\n    {way}\nexcept ({CAUGHT}):")
        self.line(depth, f"    {self.random.choice(['v = 0.5', 'u = 0.25 * v', 'pass'])}")
        if "del P" in way:
            self.line(depth, "P = (u, v)")
        elif self.random.random() < 0.3:
            self.line(depth, "finally:\n    u = 0.75 * u")

    def loop(self, depth: int) -> None:
        random = self.random
        counter = self.new("i")
        kind = random.random()
        if kind < 0.55:
            self.line(
                depth, f"for {counter} in range({random.choice(['2', '3', '5', 'int(n)', '12'])}):"
            )
        elif kind < 0.7:
            rows = random.choice(["L[:3]", "list(L)[:4]", "TABLE", "P"])
            self.line(depth, f"for {counter}, w in enumerate({rows}):")
        else:
            most = random.choice([2, 4, 9])
            self.line(depth, f"{counter} = 0\nwhile ($c) and {counter} < {most}:")
            self.line(depth, f"    {counter} += 1")
        self.inside += 1
        numbers = list(self.numbers)
        self.counters.append(counter)
        if random.random() < 0.2:  # some end an iteration, and others the loop
            self.leave(depth + 1)
            self.line(depth, "    u = u + 0.25 * v")
        self.body(depth + 1, random.randint(1, 3))
        if random.random() < 0.5:
            self.leave(depth + 1)
        elif random.random() < 0.1:
            self.line(depth, f"    {random.choice(['break', 'return u', 'continue'])}")
        self.counters.pop()
        self.numbers = numbers
        self.inside -= 1
        if random.random() < 0.15:
            self.line(depth, "else:\n    v = $e")

    def new(self, letter: str) -> str:
        """A name that is new."""
        self.names += 1
        return f"{letter}{self.names}"

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
        return self.filled(self.random.choice(["0.5", "0.25 * $x / (1.0 + u * u)", "0.125"]))

    def comparison(self) -> str:
        compare = self.random.choice(["<", "<=", ">", ">=", ">", "<", "==", "!="])
        return f"{self.name()} {compare} {self.operand()}"

    def condition(self) -> str:
        if self.bumps and self.random.random() < 0.05:
            return "bump(v)"
        return self.filled(self.random.choice(CONDITIONS))

    def expression(self) -> str:
        """A number of moderate size."""
        return self.filled(self.random.choice(PICKS if self.random.random() < 0.5 else SMOOTH))
