# mypy: disable-error-code="no-untyped-call"
"""Loops that end by a condition: eager and compiled agree, where iterations are traced for others.

``python tests/test_while_loops_random.py 1000 SEED`` checks so many random programs. Each is made
of pieces: what stands before a loop, in it, and after it. One compiled function sees several data
in a row, so that its paths share what they begin with.
"""

from __future__ import annotations

import linecache
import os
import re
from contextlib import ExitStack
from random import Random
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import pytest
from test_long_loops_random import (
    BEFORE,
    NEAR,
    PIECES,
    Program,
    _agree,
    _compare,
    _is_clear,
    _ran,
    _split,
)
from test_loop_programs import check_many

import chainrule as cr
from chainrule.engine import COMPILED
from chainrule.rewriting import once, speculation

PROGRAMS = int(os.environ.get("CHAINRULE_WHILES", "20" if COMPILED else "5"))

MORE: Final = """\
def halved(a, most=9):
    k = 0
    while a > 0.3 and k < most:
        a = a * 0.5
        k += 1
    return a + 0.01 * k


def lowered(a):
    k = 0
    while a > 0.3:
        if k > 9:
            return a - 0.1
        a = a * 0.5
        k += 1
    return a + 0.01 * k


def root(a):
    t, k = 1.0 + a * a, 0
    while abs(t * t - a * a - 1.0) > 1e-12:
        t, k = 0.5 * (t + (a * a + 1.0) / t), k + 1
        if k > 7:
            break
    return t


def first_above(values, least):
    k = 0
    while k < len(values):
        if values[k] > least:
            return values[k]
        k += 1
    return least


def goes_on(a, least=0.04):
    return a > least


def falls(a):
    k = 0
    while True:
        k += 1
        if k > 30:
            break
        if a < 0.1:
            break
        a = a * 0.8
    return a


def slope(a):
    return cr.grad(lambda t: cm.sin(t) * root(t))(a)


def descended(a, steps=5):
    t, k = a, 0
    while k < steps:
        t = t - 0.1 * cr.grad(lambda u: (u - a * a) ** 2 + 0.1 * u)(t)
        k += 1
    return t


"""

SETUP: Final = """\
    s = 0.1 * x
    n1 = n
    vals = [x, y, x * y, x + 1.0, y - 0.5, 0.3 * x, x - y, y * y][:n]
    rows = [[v, v * 2.0] for v in vals]
    outer = [x, y]
    held = []
    box = Box(vals)
    q = np.array([x, y, x * y, x - 0.1])
"""

LOOPS: Final[list[Any]] = [
    # (before the loop, the loop, what brings it to its end, its whole numbers, its numbers)
    ("d# = abs(x) + 1.0", "while d# > 0.05:", "d# = d# * 0.8", [], ["d#"]),
    ("d# = x * x + 1.0", "while 0.05 < d#:", "d# *= 0.75", [], ["d#"]),
    ("d# = x * x + 1.0", "while not (d# < 0.05 or d# != d#):", "d# *= 0.75", [], ["d#"]),
    ("d# = x * x + 1.0", "while 0.05 < d# < 90.0:", "d# *= 0.75", [], ["d#"]),
    ("d# = 0.0", "while d# < 3.0 + x:", "d# = d# + 0.25", [], ["d#"]),
    ("d# = 0.0\nk# = 0", "while d# < x + 2.0:", "d# = d# + 0.25\nk# += 1", ["k#"], []),
    ("k# = 0", "while k# < 12:", "k# += 1", ["k#"], []),
    ("k# = 2 * n", "while k#:", "k# -= 1", ["k#"], []),
    ("k# = 0", "while True:", "if k# > 11:\n    break\nk# += 1", ["k#"], []),
    (
        "d# = abs(x) + 1.0\nk# = 0",
        "while True:",
        "k# += 1\nd# = d# * 0.8\nif d# < 0.05:\n    break",
        ["k#"],
        ["d#"],
    ),
    ("d# = abs(x)\nk# = 0", "while d# > 0.02 and k# < 9:", "d# *= 0.7\nk# += 1", ["k#"], ["d#"]),
    ("d# = abs(x)\nk# = 0", "while d# > 0.02 or k# < 9:", "d# *= 0.7\nk# += 1", ["k#"], ["d#"]),
    ("d# = abs(x)\nk# = 0", "while k# < 15 and d# > 0.02:", "d# *= 0.7\nk# += 1", ["k#"], ["d#"]),
    (
        "d# = abs(x)\nk# = 0",
        "while k# < 5 or not (d# < 0.02 or k# > 20):",
        "d# *= 0.7\nk# += 1",
        ["k#"],
        ["d#"],
    ),
    (
        "d# = abs(x)\nk# = 0",
        "while (d# > 0.02 if y > 0.5 else k# < 11):",
        "d# *= 0.7\nk# += 1",
        ["k#"],
        ["d#"],
    ),
    ("d# = abs(x) + 0.5\ng# = True", "while g#:", "d# *= 0.7\ng# = d# > 0.04", [], ["d#"]),
    ("d# = abs(x) + 0.5\ng# = False", "while not g#:", "d# *= 0.7\ng# = d# < 0.04", [], ["d#"]),
    ("d# = x * x + 0.5", "while goes_on(d#):", "d# = d# * 0.8", [], ["d#"]),
    ("d# = x * x + 0.5", "while goes_on(d#, least=0.1 * n):", "d# = d# * 0.8", [], ["d#"]),
    (
        "d# = abs(x) + 1.0\ne# = y * y",
        "while max(d#, e#) > 0.1:",
        "d# *= 0.8\ne# *= 0.7",
        [],
        ["d#", "e#"],
    ),
    (
        "d# = abs(x) + 1.0\ne# = y * y",
        "while d# * d# + e# > 0.1:",
        "d# *= 0.8\ne# *= 0.7",
        [],
        ["d#", "e#"],
    ),
    (
        "d# = abs(x) + 1.0\ne# = y * y + 1.0",
        "while min(d#, e#) > 0.1:",
        "d#, e# = e# * 0.8, d# * 0.8",
        [],
        ["d#", "e#"],
    ),
    ("d# = abs(x) + 1.0\nk# = 0", "while cm.exp(d#) > 1.2:", "d# *= 0.8\nk# += 2", ["k#"], ["d#"]),
    ("d# = np.array([x, y, 1.0])", "while (d# * d#).sum() > 0.1:", "d# = d# * 0.8", [], ["d#[0]"]),
    (
        "d# = [abs(x) + 0.5, y]",
        "while d#[0] > 0.1:",
        "d# = [d#[0] * 0.8, d#[1] + 0.1]",
        [],
        ["d#[1]"],
    ),
    (
        "d# = (abs(x) + 0.5, 0)",
        "while d#[0] > 0.1:",
        "d# = (d#[0] * 0.8, d#[1] + 1)",
        ["d#[1]"],
        ["d#[0]"],
    ),
    ("d# = [abs(x) + 0.5]", "while d#[-1] > 0.1:", "d#.append(d#[-1] * 0.8)", [], ["d#[-1]"]),
    ("d# = []\ne# = x", "while len(d#) < 9:", "d#.append(e#)\ne# = e# * 0.9", [], ["e#"]),
    ("d# = vals[:]", "while d#:", "e# = d#.pop()", [], ["e#"]),
    ("d# = vals + vals", "while len(d#) > 1:", "e#, *d# = d#", [], ["e#"]),
    (
        "d# = x\ne# = 99.0",
        "while abs(d# - e#) > 1e-9:",
        "e# = d#\nd# = 0.3 * cm.cos(d#) + 0.1 * y",
        [],
        ["d#", "e#"],
    ),
    (
        "d# = 1.0 + x * x\nk# = 0",
        "while d# > 0.1 and (k# < 6 or y > 0.5):",
        "d# *= 0.8\nk# += 1",
        ["k#"],
        ["d#"],
    ),
    ("d# = 1.0\nk# = 0", "while d# > 0.1 * abs(y) + 0.02:", "d# *= 0.8\nk# += 1", ["k#"], ["d#"]),
    (
        "d# = 4.0\ne# = 0.0",
        "while d# - e# > 1e-3:",
        "if (d# + e#) * 0.5 > abs(x):\n    d# = (d# + e#) * 0.5\nelse:\n    e# = (d# + e#) * 0.5",
        [],
        ["d#", "e#"],
    ),
    (
        "d# = abs(x) + 2.0\nk# = 0",
        "while d# > 0.5:",
        "k# = (k# + 1) % 3\nd# = d# - (0.1 if k# else 0.3)",
        ["k#"],
        ["d#"],
    ),
    (
        "d# = abs(x) + 2.0\nk# = 0",
        "while d# > 0.5:",
        "k# += 1\nif k# % 4 == 0:\n    d# = d# - 0.5\nelse:\n    d# = d# * 0.95",
        ["k#"],
        ["d#"],
    ),
    ("d# = x\nk# = 40", "while d# != 0.0 and k# > 0:", "d# = d# - 0.25\nk# -= 1", ["k#"], ["d#"]),
    (
        "k# = 37 + n",
        "while k# != 1 and k# < 999:",
        "k# = 3 * k# + 1 if k# % 2 else k# // 2",
        ["k#"],
        [],
    ),
    ("d# = iter(range(14))\nk# = 0", "while k# < 12:", "k# = next(d#)", ["k#"], []),
    (
        "d# = -0.0\nk# = 0",
        "while k# < 9:",
        "d# = d# * -1.0\nk# += 1",
        ["k#"],
        ["d#", "(1.0 if str(d#) == '0.0' else 2.0)"],
    ),
    ("d# = 1.0\nk# = 0", "while k# < 9:", "d# = d# * 1e60\nk# += 1", ["k#"], ["1.0 / (1.0 + d#)"]),
    (
        "d# = 1e300\nk# = 0",
        "while k# < 9:",
        "d# = d# * 1e3\nk# += 1",
        ["k#"],
        ["(0.0 if d# == math.inf else 1.0)"],
    ),
    (
        "d# = math.inf\nk# = 0",
        "while k# < 9:",
        "d# = d# - d#\nk# += 1",
        ["k#"],
        ["(0.0 if d# != d# else 1.0)"],
    ),
    ("d# = True\nk# = 0", "while k# < 9:", "d# = not d#\nk# += 1", ["k#"], ["(x if d# else y)"]),
    ("d# = 0\nk# = 0", "while k# < 9:", "d#, k# = k#, k# + 1", ["k#", "d#"], []),
    ("d# = 'a'\nk# = 0", "while k# < 9:", "d# = 'abcde'[k# % 5]\nk# += 1", ["k#"], ["TABLE[d#]"]),
    ("d# = x\ne# = d#\nk# = 0", "while k# < 9:", "d# = d# * 0.9\nk# += 1", ["k#"], ["e#", "d#"]),
    ("d# = x\ne# = y\nk# = 0", "while k# < 9:", "d#, e# = e#, d#\nk# += 1", ["k#"], ["e#", "d#"]),
    (
        "d# = x\nk# = 0",
        "while k# < 9:",
        "if d# > 0.4:\n    d# = d# - 0.3\n    k# += 1\nelse:\n    d# = d# + 0.5\n    k# += 2",
        ["k#"],
        ["d#"],
    ),
    ("k# = np.int64(0)", "while k# < 9:", "k# = k# + 1", ["k#"], []),
    ("k# = 0.0", "while k# < 9:", "k# = k# + 1", [], ["k#"]),
    ("d# = np.float64(2.0)", "while d# > 0.1:", "d# = d# * 0.8", [], ["d#"]),
    ("d# = abs(x) + 1.0", "while d# > 0.1:", "e# = d#\nd# = d# * 0.8", [], ["e#"]),
    (
        "d# = abs(x) + 1.0\ne# = None",
        "while d# > 0.1:",
        "e# = d# if e# is None else e# * 0.5 + d#\nd# = d# * 0.8",
        [],
        ["e#"],
    ),
]

OTHERS: Final[list[Any]] = [
    # (before the loop, in it, after it)
    ("", "s = s + lowered(R)", ""),
    ("", "s = s + lowered(R) + lowered(x)", ""),
    ("", "s = s + 0.1 * cr.grad(lambda t: t * lowered(t * t))(R)", ""),
    ("", "s = s + 0.1 * cr.grad(lowered)(x + y)", ""),
    ("b# = x", "b# = lowered(b# + 1.0)", "s = s + b#"),
    ("", "s = s + halved(abs(R))", ""),
    ("", "s = s + halved(abs(R), most=I)", ""),
    ("", "s = s + root(R)", ""),
    ("", "s = s + first_above(vals, R)", ""),
    ("", "s = s + falls(abs(R))", ""),
    ("", "s = s + 0.1 * slope(R)", ""),
    ("", "s = s + 0.1 * descended(R)", ""),
    ("", "s = s + 0.1 * cr.grad(lambda t: t * t * R)(x)", ""),
    ("", "s = s + 0.1 * cr.grad(lambda t: cm.sin(t) * y)(R)", ""),
    ("", "s = s + 0.1 * cr.grad(lambda t: t * halved(t * t))(R)", ""),
    ("", "b#, c# = cr.value_and_grad(lambda t: t * t * 0.5 + t * R)(R)\ns = s + b# * c#", ""),
    ("b# = x", "b# = b# - 0.1 * cr.grad(lambda t: (t - y) ** 2 * 0.5)(b#)", "s = s + b#"),
    ("b# = x", "b# = b# - 0.1 * cr.grad(lambda t: max(t - y, 0.1 * t))(b#)", "s = s + b#"),
    (
        "b# = q",
        "b# = b# - 0.1 * cr.grad(lambda t: ((t - y) ** 2).sum())(b#)",
        "s = s + b#.sum()",
    ),
    ("", "s = s + 0.1 * cr.grad(cr.grad(lambda t: t * t * t * R))(R)", ""),
    ("", "if s > 1.5:\n    s = s - 1.0\nelse:\n    s = s + 0.3 * R", ""),
    ("", "if s > 1.5:\n    s = s - 1.0\n    continue\ns = s + abs(R)", ""),
    ("", "if y > 0.5:\n    s = s - 0.1 * R\nelse:\n    s = s + 0.3 * R", ""),
    ("", "if abs(s) > 3.0:\n    break\ns = s + R", ""),
    ("", "if abs(s) > 4.0:\n    return s - x\ns = s + R", ""),
    ("", "if I > 5:\n    return s - x\ns = s + R", ""),
    ("", "if I > 5:\n    break\ns = s + R", ""),
    ("", "if I % 4 == 3:\n    continue\ns = s + R", ""),
    ("b# = 0", "if R > 0.3:\n    b# += 1\ns = s + b# * R", "s = s + b#"),
    ("b# = 0", "if R > 0.3:\n    b# += 1\nelse:\n    b# = 0\ns = s + R", "s = s + b#"),
    ("b# = 0.0", "if R > 0.3:\n    b# += 0.5\nelse:\n    b# *= 0.5\ns = s + R", "s = s + b#"),
    ("b# = True", "if R > 0.3:\n    b# = not b#\ns = s + (R if b# else x)", "s = s + b#"),
    ("b# = None", "if R > 0.3:\n    b# = R", "s = s + (1.0 if b# is None else b#)"),
    (
        "b# = x",
        "if s > 1.0:\n    b# = s\n    continue\ns = s + abs(R) + 0.1",
        "s = s + b#",
    ),
    ("b# = []", "if R > 0.3:\n    b#.append(R)", "s = s + sum(b#) * len(b#)"),
    ("b# = []", "b#.append(R if s > 0.2 else I)\ns = s + R", "s = s + sum(b#)"),
    (
        "b# = [x, y, 0.5]",
        "if b#[0] > b#[1]:\n    b# = [b#[1], b#[0] * 0.9, b#[2]]",
        "s = s + b#[0]",
    ),
    ("b# = [x, y, 0.5]", "b#[I % 3] = b#[(I + 1) % 3] * 0.9", "s = s + b#[0] - b#[1]"),
    (
        "b# = x\nc# = y",
        "if b# > c#:\n    b#, c# = c#, b# * 0.7\nelse:\n    b# = b# + 0.2",
        "s = s + b# - c#",
    ),
    ("b# = x\nc# = y", "b#, c# = c#, 0.5 * b# + 0.3 * c#", "s = s + b# - c#"),
    ("", "b# = 1\nwhile b# < 3:\n    b# += 1\n    s = s + R * b#", ""),
    ("", "b# = abs(R)\nwhile 0.2 < b# < 99.0:\n    b# = b# * 0.5\n    s = s + 0.1 * b#", ""),
    (
        "",
        "b# = abs(R)\nwhile 0.2 < b# < 99.0:\n    b# = b# * 0.5\n"
        "    if b# < 0.3:\n        break\n    s = s + b#",
        "",
    ),
    ("", "for b# in range(3):\n    if R > b#:\n        s = s - 0.1\n    s = s + R", ""),
    ("", "for b# in vals:\n    if b# > R:\n        break\n    s = s + b# * 0.1", ""),
    ("", "for b# in range(12):\n    s = s + 0.01 * b# * R", ""),
    ("", "s = s + sum([R * w for w in vals if w > 0.2])", ""),
    ("", "s = s + max([R, *vals])", ""),
    ("", "s = s + sorted([R, x, 0.4])[1]", ""),
    ("", "s = s + (1.0 if any(w > R for w in vals) else 0.5)", ""),
    ("", "s = s + (R if all(w > -9.0 for w in vals) and R > 0.1 else 0.5)", ""),
    ("", "s = s + cm.where(R > 0.2, R, y)", ""),
    ("", "s = s + cm.maximum(R, 0.3) * 0.5", ""),
    ("", "s = s + cm.sqrt(abs(R) + 0.1) - cm.tanh(R)", ""),
    ("", "s = s + 0.1 * (x + 2.0) ** 2 * cm.exp(-R * R)", ""),
    ("", "s = s % 2.0 + R", ""),
    ("", "s = s + R * q[I % 4]", ""),
    ("", "q = q * 0.9 + 0.1 * R", "s = s + q.sum()"),
    ("", "q = np.roll(q, 1)\ns = s + q[0] * R", "s = s + q[1]"),
    ("", "s = s + cr.lax.fori_loop(0, 6, lambda i, c: c * 0.5 + R, x)", ""),
    (
        "",
        "try:\n    if s > 2.0:\n        raise ValueError\n    s = s + R\n"
        "except ValueError:\n    s = s - 1.5",
        "",
    ),
    ("b# = {'u': x}", "b# = {'u': b#['u'] * 0.9 + 0.1 * R}", "s = s + b#['u']"),
    ("b# = {}", "b#[I % 3] = R", "s = s + sum(b#.values())"),
    ("b# = 0.0", "b# = b# + 1.0\ns = s + R / b#", "s = s + math.sqrt(b#)"),
    ("b# = 1.0", "s = s + R * b#\nb# = b# * 0.5 if R > 0.5 else b# + 0.25", "s = s + b#"),
    ("b# = 3", "b# = b# - 1 if b# > 0 else 3\ns = s + R * b#", "s = s + b#"),
    ("b# = x\nc# = 1.0", "b#, c# = c#, 0.5 * b#\ns = s + b# * R", "s = s + c#"),
    ("", "b# = R\ns = s + b# * 0.5\nb# = 2", "s = s + 0.1"),
    ("b# = x", "s = s + 0.1 * b#\nb# = x if b# is x else R", "s = s + b#"),
    ("b# = 0.0", "b# = b# if R > 0.3 else R", "s = s + b#"),
    ("b# = 2", "b# = b# if R > 0.3 else I", "s = s + b# * x"),
    ("b# = 2", "b# = 1.5 if R > 0.3 else 2", "s = s + b# * x"),
    ("b# = x", "b# = 0.0 * b#", "s = s + b#"),
    ("b# = x", "b# = b# - b#", "s = s + b#"),
    ("b# = 0.0 * x", "b# = -b#", "s = s + (1.0 if str(float(0.0)) else b#)"),
    ("b# = lambda t: t * 0.5", "s = s + b#(R)", ""),
    ("b# = lambda t: t * 0.5", "s = s + b#(R)\nb# = lambda t: t * 0.25 + x", "s = s + b#(y)"),
]
HARD: Final = re.compile(
    r"[^\n]+ if .* else | and | or |not |any\(|all\(|max\(|min\(|sorted|try|del |halved|np\.|lax"
    r"|[{]|'a'|iter|pop|[*]d|f\(|append|0\.05 < d# <|g#|nonlocal|print|box|lambda|def |held|outer"
)
"""What keeps loops from being traced once, mostly."""
PARTS: Final[list[list[Any]]] = [LOOPS, PIECES, OTHERS]
AFTER: Final = "try:\n    s = s + {} * x\nexcept NameError:\n    s = s - 2.0"


class Writer:
    """Writes a program.

    Args:
        random: decides.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.count = 0
        self.lines: list[str] = []
        self.wholes: list[str] = []
        self.reals: list[str] = ["x", "y", "s"]
        easy = random.random() < 0.75
        self.loops, self.pieces, self.others = (
            [x for x in some if not (easy and HARD.search("\n".join(x[:3])))] for some in PARTS
        )

    def fill(self, text: str) -> str:
        """A piece with names and expressions for its placeholders."""
        text = text.replace("I0", "n")
        for mark, make in (("I", self.whole), ("R", self.real)):
            parts = _split(text, mark)
            text = parts[0] + "".join([make() + part for part in parts[1:]])
        return text

    def whole(self) -> str:
        """An expression of whole numbers."""
        choice = self.random.choice
        if not self.wholes:
            return str(self.random.randint(1, 3))
        name = choice(self.wholes)
        forms = ("{}", "{}", "{}", "({} + 1)", "({} - 1)", "(2 * {} + 1)", "({} // 2)", "(n - {})")
        return choice(forms).format(name)

    def real(self) -> str:
        """An expression of numbers."""
        choice = self.random.choice
        name = choice(self.reals + self.reals[2:])
        return choice((name, name, f"({name} * 0.7)", f"(x - {name})", f"cm.sin({name})"))

    def block(self, text: str, depth: int) -> None:
        """Add lines."""
        self.lines += ["    " * depth + line for line in text.split("\n") if line]

    def loop(self, depth: int) -> None:
        """A loop, with what stands before and after it."""
        random = self.random
        self.count += 1
        number = str(self.count)
        first, head, drives, wholes, reals = random.choice(self.loops)
        first, head, drives = [part.replace("#", number) for part in (first, head, drives)]
        outside = self.wholes, self.reals
        made = []
        for _ in range(random.randint(1, 3)):
            self.count += 1
            piece = random.choice(self.others if random.random() < 0.7 else self.pieces)
            made.append([part.replace("#", str(self.count)) for part in piece])
        inner = depth == 1 and random.random() < 0.3
        for before, _, _ in made:
            self.block(self.fill(before), depth)
        self.block(first, depth)
        self.block(head, depth)
        early = random.random() < 0.5 or any("continue" in inside for _, inside, _ in made)
        if early:
            self.block(drives, depth + 1)
        if early or "e# =" not in drives or "e# =" in first:
            self.wholes = [*self.wholes, *[x.replace("#", number) for x in wholes]]
            self.reals = [*self.reals, *[x.replace("#", number) for x in reals]]
        for i, (_, inside, _) in enumerate(made):
            if inner and i == len(made) - 1:
                self.loop(depth + 1)
            self.block(self.fill(inside), depth + 1)
        if not early:
            self.block(drives, depth + 1)
        own = [x.replace("#", number) for x in [*wholes, *reals]]
        self.wholes, self.reals = outside
        for _, _, after in made:
            self.block(self.fill(after), depth)
        if random.random() < 0.5 and own:
            self.block(AFTER.format(random.choice(own)), depth)


def program(seed: int) -> Program:
    """The program of a seed."""
    random = Random(seed)
    writer = Writer(random)
    for _ in range(random.choice((1, 1, 1, 2))):
        writer.loop(1)
    form = random.choice((*["plain"] * 8, "twice", "inside", "of it", "closure"))
    name = "f" if form == "plain" else "g"
    lines = [f"def {name}(x, y, p, n):", SETUP.rstrip("\n"), *writer.lines, "    return s"]
    ends = {
        "plain": [],
        "twice": ["    return g(x, y, p, n) + g(y, 0.5, p, n)"],
        "inside": [
            *(
                "    k = 0",
                "    while k < 6:",
                "        x = 0.9 * x + 0.01 * cm.sin(g(x, y, p, n))",
            ),
            *("        k += 1", "    return x"),
        ],
        "of it": [
            *("    t = x", "    e = 9.0", "    while e > 1.0:"),
            "        v, d = cr.value_and_grad(lambda u: cm.tanh(g(u, y, p, n)))(t)",
            *("        t = t - 0.01 * d + 0.001 * v", "        e = e - 1.0 - 0.1 * v * v"),
            "    return t",
        ],
        "closure": [
            *("    def h(a, b=y):", "        k, c = 0, x", "        while k < 6:"),
            *("            c = c * a - 0.1 * b", "            k += 1"),
            "        return c + g(0.5 * a, b, p, n)",
            "    return h(x) + h(0.3, x)",
        ],
    }[form]
    if ends:
        lines += ["", "", "def f(x, y, p, n):", *ends]
    source = "\n".join(lines) + "\n"
    text = BEFORE + MORE + source
    name = f"<while loop {seed}>"
    linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
    values: dict[str, Any] = {"__name__": __name__}
    exec(compile(text, name, "exec"), values)
    return Program(seed, source, values["f"])


ROW: Final = np.array([0.3, -0.2, 0.9, 0.0, 1.4, -1.1, 0.5, 0.25])
POINTS: Final = (
    (0.7, -0.4, ROW),
    (0.72, -0.41, ROW),
    (1.9, 0.6, ROW[::-1].copy()),
    (0.05, 1.3, 0.5 * ROW),
    (-1.3, 0.9, ROW),
)
LARGE: Final = 1e6
"""Second derivatives that make what is rounded visible."""


def differences(program: Program) -> list[str]:
    """What is not right, in words."""
    f = program.function
    found: list[str] = []
    derived = cr.value_and_grad(f, (0, 1, 2))
    compiled, value = cr.compile(derived), cr.compile(f)
    n = 7 if program.seed % 3 else 5
    rows = []
    for x, y, p in POINTS if program.seed % 2 else POINTS[::-1]:
        wanted = _ran(derived, x, y, p, n)
        if not _is_clear(wanted, _ran(derived, x * NEAR, y * NEAR, p * NEAR, n), 1e-10):
            continue
        actual = _ran(compiled, x, y, p, n)
        _compare(f"at {x}, {y}, {n}", actual, wanted, found, 1e-9)
        plain = _ran(f, x, y, p, n)
        if program.seed % 5 == 0 and _agree(plain, wanted):
            own = _ran(value, x, y, p, n)
            if isinstance(own, type) or not np.isclose(
                own, plain, rtol=1e-10, atol=1e-12, equal_nan=True
            ):
                found.append(f"value at {x}, {y}, {n}: {own} instead of {plain}")
        if not isinstance(wanted, type):
            rows.append(((x, y, p), wanted))
    if program.seed % 3 == 0 and len(rows) > 1:
        lanes = cr.compile(cr.vmap(derived, (0, 0, 0, None)))
        actual = _ran(lanes, *map(np.array, zip(*[row for row, _ in rows], strict=True)), n)
        for k, (_, wanted) in enumerate(rows):
            one = actual
            if not isinstance(actual, type):
                one = actual[0][k], tuple([slope[k] for slope in actual[1]])
            _compare(f"lane {k}, {n}", one, wanted, found, 1e-9)
    if program.seed % 4 == 0:
        of = lambda x, y: f(x, y, ROW, n)  # noqa: E731
        second, again = cr.grad(cr.grad(of)), cr.compile(cr.grad(cr.grad(of)))
        for x, y, _ in POINTS[:3]:
            wanted = _ran(second, x, y)
            near = _ran(second, x * NEAR, y * NEAR)
            actual = _ran(again, x, y)
            if isinstance(wanted, type) or isinstance(actual, type):
                if wanted is not actual:
                    found.append(f"second derivative: {actual} instead of {wanted}")
            elif (
                abs(wanted) < LARGE
                and not isinstance(near, type)
                and np.isclose(wanted, near, rtol=1e-9, atol=1e-9)
                and not np.allclose(actual, wanted, rtol=1e-8, atol=1e-8)
            ):
                found.append(f"second derivative: {actual} instead of {wanted}")
    return found


def short(seed: int) -> ExitStack:
    """Let loops be followed however short they are, and others be traced once for some seeds."""
    stack = ExitStack()
    stack.enter_context(patch.object(speculation, "LONG_TRACE", 0))
    stack.enter_context(patch.object(speculation, "LONG_PATH", 1))
    stack.enter_context(patch.object(once, "LIMIT", once.LIMIT if seed % 4 else 0))
    return stack


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_programs(seed: int) -> None:
    """Random programs, with their derivatives, are compiled what they are eagerly."""
    made = program(seed)
    with short(seed):
        assert not differences(made), made.source


if __name__ == "__main__":

    def checked(program: Program) -> list[str]:
        """What is not right, in words."""
        with short(program.seed):
            return differences(program)

    check_many("while loops", program, checked)
