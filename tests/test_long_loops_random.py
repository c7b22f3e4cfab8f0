# mypy: disable-error-code="no-untyped-call"
"""What people write in loops: eager and compiled agree, where one iteration is traced for all.

``python tests/test_long_loops_random.py 1000 SEED`` checks so many random programs. Each is made of
pieces: what stands before a loop, in it, and after it. Some can't be traced once; then, too, they
are what they are eagerly.
"""

from __future__ import annotations

import linecache
import os
import re
import warnings
from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple

import numpy as np
import pytest
from test_loop_programs import check_many

import chainrule as cr
from chainrule.engine import COMPILED
from chainrule.rewriting import once

PROGRAMS = int(os.environ.get("CHAINRULE_LONG", "40" if COMPILED else "10"))

BEFORE: Final = """\
import math
import random
from collections import namedtuple
from dataclasses import dataclass
from functools import partial, reduce
import numpy as np
import chainrule as cr
from chainrule import math as cm

FLOATS = [0.5, -1.25, 2.0, 0.75, -0.3, 1.1, 0.0, -0.0]
INTS = [3, 1, 0, -2, 5, 4, 1, 2]
HUGE = [2**60 + 1, 3, 2**62, 5, 7, 11]
BOOLS = [True, False, True, True, False, True]
MIXED = [1, 0.5, True, 2, -1.5, 3]
PAIRS = [(0, 2), (3, 1), (5, 5), (2, 0), (4, 1), (1, 3)]
NAMED = [("a", 0.5), ("b", 1.5), ("a", -0.5), ("c", 2.0), ("b", 1.0)]
TABLE = {"a": 1.5, "b": -0.5, "c": 0.25, "d": 3.0, "e": 1.0}
GRID = np.arange(24.0).reshape(6, 4) / 7.0
BYTES = np.array([200, 100, 250, 30, 7, 9], dtype=np.uint8)
SMALL = np.array([0.1, 0.2, 0.3, 0.7, 0.9, 1.3], dtype=np.float32)
WHOLE = np.array([3, 1, -2, 5, 0, 4])
MASK = np.array([True, False, True, True, False, True])
SPECIAL = [1.0, float("inf"), 0.0, -0.0, float("nan"), 2.0]
Pair = namedtuple("Pair", "first second")


@dataclass
class Point:
    u: float
    v: float = 0.5

    def __add__(self, other):
        return Point(self.u + other.u, self.v + other.v)


class Box:
    def __init__(self, values):
        self.values = values
        self.count = 0
        self.total = 0.0

    def __getitem__(self, i):
        self.count += 1
        return self.values[i]

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return iter(self.values)

    def add(self, value):
        self.total = self.total + value
        return self.total

    def look(self, i):
        return self.values[i]


def twice(a, by=2.0):
    return a * by


def clipped(a, low=-0.2):
    if a < low:
        return low + 0.1 * a
    return a


def both(a, b):
    return a + b, a - 0.5 * b


def terms(a, b):
    found = []
    for i in range(2):
        found.append(a * (i + 1) - b)
    return found


def put(held, a):
    held.append(a)
    return a * 0.5


def kept(a, held=None):
    held = [] if held is None else held
    held.append(a)
    return held[0] * len(held)


def push(held, a):
    held[0] = held[0] * 0.5 + a
    return held[0]


def pushed(held, a):
    for j in range(4):
        held[0] = held[0] * 0.5 + a * j
    return held[0]


def kind(a):
    return 1.0 if isinstance(a, int) else 2.0 if isinstance(a, float) else 3.0


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

HEADERS: Final = [
    # (the loop, its whole numbers, its numbers, its rows)
    ("for k# in range(n):", ["k#"], [], []),
    ("for k# in range(1, n):", ["k#"], [], []),
    ("for k# in range(n - 1, -1, -1):", ["k#"], [], []),
    ("for k# in range(0, 2 * n, 2):", ["k#"], [], []),
    ("for k# in range(-2, n - 2):", ["k#"], [], []),
    ("for k# in reversed(range(n)):", ["k#"], [], []),
    ("for _ in range(n):", [], [], []),
    ("for v# in vals:", [], ["v#"], []),
    ("for v# in p:", [], ["v#"], []),
    ("for v# in p[:n]:", [], ["v#"], []),
    ("for v# in p.tolist()[1:]:", [], ["v#"], []),
    ("for v# in FLOATS:", [], ["v#"], []),
    ("for v# in tuple(vals):", [], ["v#"], []),
    ("for v# in reversed(vals):", [], ["v#"], []),
    ("for v# in [w * 2.0 for w in vals]:", [], ["v#"], []),
    ("for v# in (w * 2.0 for w in vals):", [], ["v#"], []),
    ("for v# in map(twice, vals):", [], ["v#"], []),
    ("for v# in iter(vals):", [], ["v#"], []),
    ("for v# in box:", [], ["v#"], []),
    ("for v# in SPECIAL:", [], ["v#"], []),
    ("for v# in MIXED:", [], ["v#"], []),
    ("for v# in SMALL:", [], ["v#"], []),
    ("for v# in GRID[:, 1]:", [], ["v#"], []),
    ("for c# in INTS:", ["c#"], [], []),
    ("for c# in BYTES:", [], ["c#"], []),
    ("for c# in WHOLE:", ["c#"], [], []),
    ("for c# in BOOLS:", [], ["c#"], []),
    ("for c# in HUGE:", [], ["c# * 1e-18"], []),
    ("for k#, v# in enumerate(vals):", ["k#"], ["v#"], []),
    ("for k#, v# in enumerate(p, 1):", ["k#"], ["v#"], []),
    ("for k#, v# in enumerate(FLOATS, start=n):", ["k#"], ["v#"], []),
    ("for k#, v# in zip(range(n), vals):", ["k#"], ["v#"], []),
    ("for k#, v# in zip(INTS, p):", ["k#"], ["v#"], []),
    ("for v#, w# in zip(vals, vals[1:]):", [], ["v#", "w#"], []),
    ("for v#, w# in zip(p, FLOATS):", [], ["v#", "w#"], []),
    ("for k#, (v#, w#) in enumerate(zip(vals, FLOATS)):", ["k#"], ["v#", "w#"], []),
    ("for (a#, b#), v# in zip(PAIRS, vals):", ["a#", "b#"], ["v#"], []),
    ("for a#, b# in PAIRS:", ["a#", "b#"], [], []),
    ("for t#, v# in NAMED:", [], ["v#", "TABLE[t#]"], []),
    ("for t#, v# in TABLE.items():", [], ["v#", "TABLE[t#]"], []),
    ("for t# in TABLE:", [], ["TABLE[t#]"], []),
    ("for t# in 'abcab':", [], ["TABLE[t#]"], []),
    ("for r# in rows:", [], ["r#[0]", "r#[-1]"], ["r#"]),
    ("for r# in GRID:", [], ["r#[0]", "r#.sum()"], []),
    ("for k#, r# in enumerate(rows):", ["k#"], ["r#[1]"], ["r#"]),
    ("for a#, *r# in rows:", [], ["a#", "r#[0]"], []),
    ("for v# in [Point(x, y), Point(y), Point(x), Point(y, y)]:", [], ["v#.u", "v#.v"], []),
    ("for v# in [Pair(x, y), Pair(y, 1.0), Pair(x, x), Pair(y, y)]:", [], ["v#.first"], []),
]

PIECES: Final = [
    # (before the loop, in it, after it)
    ("", "s = s + R * R", ""),
    ("", "s += R", ""),
    ("", "s = s + I * R", ""),
    ("", "s = 0.5 * s + R / (2 + I * I)", ""),
    ("a# = 0", "a# = a# + R", "s = s + a#"),
    ("a# = 0.0", "a# += R * 0.5", "s = s + a#"),
    ("a# = 1.0", "a# = a# * 0.5", "s = s + a#"),
    ("a# = 1.0", "a# = a# * 0.5\ns = s + a# * R", "s = s + (x if isinstance(a#, float) else y)"),
    ("a# = 1.0", "a# = a# * 0.5\ns = s + R", "s = s + len(str(a#))"),
    ("a# = 0", "a# += 1", "s = s + a# * x"),
    ("a# = 0", "a# += 1\ns = s + a# * R", ""),
    ("a# = 0", "a# += I", "s = s + a# * x"),
    ("a# = 1", "a# = a# * 7 % 101\ns = s + R * a#", "s = s + FLOATS[a# % 8]"),
    ("a# = 2**70", "a# += 1\ns = s + R", "s = s + a# % 1000"),
    ("a# = None", "a# = R if a# is None else a# + R", "s = s + (1.0 if a# is None else a#)"),
    ("a# = None", "if a# is None:\n    a# = R", "s = s + (1.0 if a# is None else a#)"),
    ("a# = True", "a# = a# and R > -9.0", "s = s + (1.0 if a# else 2.0)"),
    ("a# = False", "a# = R > 0.2", "s = s + (x if a# else y)"),
    ("a# = ''", "a# += 'b'\ns = s + R", "s = s + len(a#)"),
    ("a# = ()", "a# = (*a#, R)", "s = s + sum(a#)"),
    ("a# = x\nb# = y", "a#, b# = b#, a# * 0.5 + R", "s = s + a# - b#"),
    ("a# = 0\nb# = 1", "a#, b# = b#, a# + b#\ns = s + R", "s = s + a# - b#"),
    ("a# = (x, y)", "a# = (a#[1], a#[0] * 0.5 + R)", "s = s + a#[0]"),
    ("a# = [x, y]", "a# = [a#[1], a#[0] * 0.5 + R]", "s = s + a#[0] * len(a#)"),
    ("a# = [x, y]\nb# = a#", "a# = [a#[1], a#[0] + R]", "b#[0] = y\ns = s + a#[0] + b#[0]"),
    ("a# = {'u': x, 'b': y}", "a# = {'u': a#['b'] + R, 'b': x}", "s = s + a#['u'] * len(a#)"),
    ("a# = {}", "a#[I] = R", "s = s + sum(a#.values()) + len(a#)"),
    ("a# = {'u': x}", "a#['u'] = a#['u'] * 0.5 + R", "s = s + a#['u']"),
    ("a# = {'u': x}", "s = s + a#.get('u') * R + a#.get('w', 0.5)", ""),
    ("a# = np.zeros(3)", "a# = a# + np.array([R, R, 1.0])", "s = s + a#.sum()"),
    ("a# = np.array([x, y])", "a# = a# * 0.5 + R", "s = s + a#[0] * a#[1]"),
    ("a# = np.array([x, y])", "a# += R", "s = s + a#[0] * a#[1]"),
    ("a# = np.array([x, y])\nb# = a#", "a# = a# * 0.5", "b#[0] = x\ns = s + a#.sum() + b#.sum()"),
    ("a# = np.zeros(3)", "a# += 1.5\ns = s + a#[I % 3] * R", "s = s + a#.sum()"),
    ("a# = [0.0] * 3", "a#[I % 3] += R", "s = s + a#[0] * a#[1] + a#[2]"),
    ("a# = [x] * 3", "a#[I % 3] = R", "s = s + a#[0] * a#[1] + a#[2]"),
    ("a# = [x]", "a#[-1] = a#[-1] * 0.5 + R", "s = s + a#[0]"),
    ("a# = [[0.0] * 2 for _ in range(2)]", "a#[I % 2][1] += R", "s = s + a#[0][1] - a#[1][1]"),
    ("a# = np.array([x, y, x])", "a#[I % 3] = R", "s = s + a#[0] * a#[1] + a#[2]"),
    ("a# = []", "a#.append(R)", "s = s + sum(a#) * len(a#)"),
    (
        "a# = []",
        "a#.append(I)\ns = s + R",
        "s = s + sum(a#) * len(a#) + FLOATS[a#[-1] % 8] if a# else s",
    ),
    ("a# = []", "a# += [R, I]", "s = s + sum(a#) * len(a#)"),
    ("a# = []", "a#.append((R, [I, R]))", "s = s + sum([u * v[0] + v[1] for u, v in a#])"),
    ("a# = [x]", "a#.append(a#[-1] * 0.5 + R)", "s = s + a#[-1]"),
    ("a# = []", "a#.append(R)\ns = s + len(a#) * R", ""),
    ("a# = []", "a#.append(R)\ns = s + len(a#.copy()) * x", ""),
    ("a# = []", "a#.append(1.0)\ns = s + a#.count(1.0) * R", ""),
    ("a# = []\nb# = a#", "a#.append(R)\ns = s + len(b#) * x", ""),
    (
        "a# = []\nb# = a#",
        "a#.append(R)\nb#.append(y)",
        "s = s + sum([u * k for k, u in enumerate(a#)])",
    ),
    ("a# = []\nb# = (a#, 1)", "a#.append(R)\ns = s + sum([len(u) for u in b#[:1]]) * x", ""),
    ("a# = []\nb# = [a#]", "b#[0].append(R)", "s = s + sum(a#)"),
    ("a# = []", "a#.extend([R, x])", "s = s + sum(a#)"),
    ("a# = [x, y]", "a#.append(R)\ns = s + a#.pop(0)", "s = s + sum(a#)"),
    ("a# = []", "a#.insert(0, R)", "s = s + sum([u * k for k, u in enumerate(a#)])"),
    (
        "a# = []",
        "a#.append(outer)\ns = s + R",
        "outer[0] = 3.0 * y\ns = s + sum([u[0] for u in a#])",
    ),
    (
        "a# = []\nb# = []",
        "c# = [R]\na#.append(c#)\nb#.append(c#)",
        "if a#:\n    a#[0][0] = 2.0 * x\ns = s + sum([u[0] for u in b#])",
    ),
    ("a# = []", "c# = [R]\na#.append(c#)\nc#.append(x)", "s = s + sum([u[0] * u[1] for u in a#])"),
    ("a# = []", "c# = [R, I]\nc#[0] = c#[0] * x\na#.append(c#[0])", "s = s + sum(a#)"),
    ("a# = []", "a#.append(q)\ns = s + R", "q[0] = 5.0 * x\ns = s + sum([u[0] for u in a#])"),
    ("a# = []", "a#.append('p%s' % I)\ns = s + R", "s = s + len(set(a#))"),
    ("a# = []", "a#.append(str(I))\ns = s + R", "s = s + len(set(a#))"),
    ("a# = []", "a#.append(f'{I}')\ns = s + R", "s = s + len(set(a#))"),
    (
        "a# = []",
        "a#.append(I % 2 == 0)\ns = s + R",
        "s = s + sum([1 for u in a# if u is True]) * x",
    ),
    ("a# = []", "a#.append(R > 0.3)\ns = s + R", "s = s + sum([x if u else y for u in a#])"),
    ("a# = []", "a#.append(None)\ns = s + R", "s = s + len(a#) + (x if None in a# else y)"),
    ("a# = []", "a#.append(lambda u: u * R)", "s = s + sum([f(x) for f in a#])"),
    ("a# = []", "b# = R\na#.append(lambda u: u * b#)", "s = s + sum([f(x) for f in a#])"),
    ("a# = []", "a#.append(lambda u, b=R: u * b)", "s = s + sum([f(x) for f in a#])"),
    ("a# = []", "a#.append(lambda u, b=I: u * b)\ns = s + R", "s = s + sum([f(x) for f in a#])"),
    ("a# = []", "a#.append(partial(twice, by=R))", "s = s + sum([f(x) for f in a#])"),
    ("a# = []", "a#.append(Point(R, I))", "s = s + sum([u.u * u.v for u in a#])"),
    ("a# = []", "a#.append(Pair(R, I))", "s = s + sum([u.first * u.second for u in a#])"),
    ("a# = []", "a#.append({'u': R, 'b': I})", "s = s + sum([u['u'] * u['b'] for u in a#])"),
    ("a# = []", "a#.append(np.array([R, x]))", "s = s + sum([u[0] * u[1] for u in a#])"),
    ("", "put(held, R)", ""),
    ("", "s = s + put(held, R)", "s = s + sum(held) * len(held)"),
    ("", "s = s + put(held, R) * len(held)", ""),
    ("", "s = s + kept(R) + kept(R, [x])", ""),
    ("", "s = s + sum(terms(R, R))", ""),
    ("", "s = s + twice(R) + twice(R, by=I)", ""),
    ("", "s = s + clipped(R) + clipped(R, low=0.1)", ""),
    ("", "b#, c# = both(R, R)\ns = s + b# * c#", "s = s + 0.1"),
    ("", "b# = R * R\ns = s + b#", "try:\n    s = s + b#\nexcept NameError:\n    s = s - 1.0"),
    ("b# = y", "b# = R\ns = s + x", "s = s + b#"),
    ("b# = y", "s = s + b# * R\nb# = R", "s = s + b#"),
    ("b# = y", "if I % 3 == 1:\n    b# = R\ns = s + b#", "s = s + b#"),
    ("b# = y", "if R > 0.3:\n    b# = R\ns = s + b#", "s = s + b#"),
    (
        "",
        "if I == 2:\n    b# = R\ns = s + R",
        "try:\n    s = s + b#\nexcept NameError:\n    s = s - 1.0",
    ),
    ("", "if I > 1:\n    s = s + R\nelif I == 0:\n    s = s * 0.5\nelse:\n    s = s - R", ""),
    ("", "s = s + (R if I % 2 == 0 else R * 0.5)", ""),
    ("", "s = s + (R if I % 2 else R * 0.5)", ""),
    ("", "s = s + (R if R > 0.1 else -R)", ""),
    ("", "s = s + max(R, 0.1) * min(R, R)", ""),
    ("", "s = s + max(I, 2) * R", ""),
    ("", "s = s + (I and R)", ""),
    ("", "s = s + (I or R)", ""),
    ("", "s = s + R * (I > 1 and I < 3)", ""),
    ("", "s = s + R * (0 < I < 3)", ""),
    ("", "s = s + (x if not I else R)", ""),
    ("", "if I == 1:\n    continue\ns = s + R", ""),
    ("", "if R > 0.9:\n    continue\ns = s + R", ""),
    ("", "if I == 3:\n    break\ns = s + R", ""),
    ("", "if R > 5.0:\n    return s * 2.0\ns = s + R", ""),
    ("", "s = s + R * vals[I % len(vals)]", ""),
    ("", "s = s + R * p[I % 8] * p[-1 - I % 3]", ""),
    ("", "s = s + vals[n - 1 - I % n] * R", ""),
    ("", "s = s + vals[I - 1] * R if I < n else s", ""),
    ("", "s = s + FLOATS[I // 2 % 4] * R", ""),
    ("", "s = s + GRID[I % 6, 1] * R + GRID[I % 6][2] + GRID[0, I % 4]", ""),
    ("", "s = s + GRID[:, I % 4].sum() * R + GRID[I % 6].sum()", ""),
    ("", "s = s + GRID[I % 6, I % 4] * R", ""),
    ("", "s = s + p[:I % 5].sum() * R", ""),
    ("", "s = s + sum(vals[I % 3 :]) * R", ""),
    ("", "s = s + BYTES[I % 6] * BYTES[I % 6] * R", ""),
    ("", "s = s + SMALL[I % 6] * SMALL[I % 6] * R", ""),
    ("", "s = s + WHOLE[I % 6] * WHOLE[I % 6] * R", ""),
    ("", "s = s + INTS[I % 8] * R + FLOATS[INTS[I % 8]]", ""),
    ("", "s = s + (R if MASK[I % 6] else x)", ""),
    ("", "s = s + (R if BOOLS[I % 6] else x)", ""),
    ("", "s = s + PAIRS[I % 6][1] * R + sum(PAIRS[I % 6])", ""),
    ("", "s = s + rows[I % len(rows)][1] * R", ""),
    ("", "b# = rows[I % len(rows)]\nb#.append(R)", "s = s + sum([sum(r) for r in rows])"),
    ("", "b# = rows[I % len(rows)]\nb#[0] = R", "s = s + sum([sum(r) for r in rows])"),
    ("", "s = s + box[I % len(box)] * R", "s = s + box.count"),
    ("", "s = s + box.look(I % len(box)) * R", ""),
    ("", "box.add(R)", "s = s + box.total"),
    ("", "s = s + box.add(R)", "s = s + box.total"),
    ("", "box.count += 1\ns = s + R", "s = s + box.count * x"),
    ("", "box.total = box.total + R", "s = s + box.total"),
    ("", "s = s + NAMED[I % 5][1] * R + TABLE[NAMED[I % 5][0]]", ""),
    ("", "s = s + TABLE['abcde'[I % 5]] * R", ""),
    ("", "s = s + R * (1.0 if I in (1, 3) else 2.0)", ""),
    ("", "s = s + R * {0: 1.0, 1: 2.0}.get(I, 3.0)", ""),
    ("", "s = s + R * (isinstance(I, int) + 1.0)", ""),
    ("", "s = s + kind(I) * R", ""),
    ("", "s = s + R ** I + x ** (I % 4)", ""),
    ("", "s = s + R * 0.5 ** I + R * 2 ** (I % 5)", ""),
    ("", "s = s + R / (1 + I % 5) + R * (I / 3)", ""),
    ("", "s = s + R / (I - 2)", ""),
    ("", "s = s + R * (1 / (I - 2))", ""),
    ("", "s = s + R * (1.0 / (1.0 + I))", ""),
    ("", "s = s + R * (I // 2) + R * (I % 3) - R * (-I % 3) + abs(I)", ""),
    ("", "s = s + R * sum(divmod(I, 3)) + (I << 1) + (I & 3)", ""),
    ("", "s = s + cm.atan2(-I * x, -1.0) + R", ""),
    ("", "s = s + cm.atan2(I * (I - 7) * x, -1.0) + R", ""),
    ("", "s = s + cm.copysign(R, -I) + cm.copysign(1.0, I // -7)", ""),
    ("", "s = s + cm.atan2(R * 0.0, -1.0)", ""),
    ("", "s = s + float(I) * R + int(I) + round(I / 3)", ""),
    ("", "s = s + math.sin(I) * R + math.factorial(I % 5)", ""),
    ("", "s = s + cm.sin(R) * cm.exp(-I * I * 0.1)", ""),
    ("", "s = s + math.sqrt(1.0 - 0.3 * I) * R", ""),
    ("", "s = s + cm.log(R * R + 0.1) + cm.sqrt(R * R + I * I)", ""),
    ("", "s = s + R * np.arange(I % 4).sum()", ""),
    ("", "s = s + R * np.full(3, I).sum() + np.array([I, R]).sum()", ""),
    ("", "s = s + np.dot(q, q) * R + np.sum(q[:2] * I)", ""),
    ("", "s = s + sum([R * j for j in range(3)])", ""),
    ("", "s = s + sum(w * R for w in vals)", ""),
    ("", "s = s + sum([w for w in vals if w > R])", ""),
    ("", "s = s + sum([vals[j] * R for j in range(I % 4) if j < n])", ""),
    ("", "s = s + sum([s * 0.1 for s in vals]) + R", ""),
    ("b# = x", "s = s + sum([b# * w for b# in vals for w in (1.0, R)])", "s = s + b#"),
    ("", "s = s + R * any(w > 0.2 for w in vals) + R * all([w > I for w in vals])", ""),
    ("", "s = s + sorted([R, x, y])[1] + reduce(lambda u, w: u * 0.5 + w, vals, R)", ""),
    ("", "s = s + sum([u * w for u, w in zip(vals, FLOATS)]) * R", ""),
    ("", "s = s + (lambda u: u * R)(x)", ""),
    ("b# = x\nf# = lambda: b# * 2.0", "s = s + f#() + R\nb# = R", "s = s + f#()"),
    ("b# = x\ndef f#(u):\n    return u * b#", "s = s + f#(R)\nb# = b# * 0.5", "s = s + f#(x)"),
    (
        "b# = x\ndef f#(u):\n    nonlocal b#\n    b# = b# + u\n    return b#",
        "s = s + f#(R)",
        "s = s + b#",
    ),
    (
        "b# = [0]\ndef f#(u):\n    b#[0] += 1\n    return u * b#[0]",
        "s = s + f#(R)",
        "s = s + b#[0]",
    ),
    (
        "b# = []\ndef f#(u):\n    b#.append(u)\n    return u",
        "s = s + f#(R)",
        "s = s + sum(b#) * len(b#)",
    ),
    ("f# = lambda u: u * s", "s = s * 0.5 + f#(R) * 0.1", ""),
    (
        "",
        "f# = lambda u: u * R\ns = s + f#(y)",
        "try:\n    s = s + f#(x)\nexcept NameError:\n    s = s - 1.0",
    ),
    ("", "def f#(u, w=I):\n    return u * w + R\ns = s + f#(y)", ""),
    ("b# = iter(FLOATS * 4)", "s = s + next(b#) * R", "s = s + sum(b#)"),
    ("b# = iter(vals)", "s = s + next(b#, 0.5) * R", ""),
    ("b# = (w * 2.0 for w in vals)", "s = s + R * (x if I in b# else y)", "s = s + sum(b#)"),
    ("b# = random.Random(3)", "s = s + b#.random() * R", ""),
    ("b# = np.random.default_rng(3)", "s = s + b#.normal() * R", ""),
    (
        "b# = None",
        "b# = zip([R, x], [y, I])\ns = s + R",
        "s = s + sum([u * w for u, w in b#]) if b# else s",
    ),
    ("b# = None", "b# = (u * R for u in [R, x])\ns = s + R", "s = s + sum(b#) if b# else s"),
    ("b# = Point(x, y)", "b# = b# + Point(R, 0.1)", "s = s + b#.u * b#.v"),
    ("b# = Point(x, y)", "b#.u = b#.u * 0.5 + R", "s = s + b#.u * b#.v"),
    ("b# = Pair(x, y)", "b# = Pair(b#.second, b#.first * 0.5 + R)", "s = s + b#.first"),
    ("b# = Pair(x, y)", "s = s + b#.first * R", ""),
    ("", "try:\n    s = s + vals[I] * R\nexcept IndexError:\n    s = s - 0.5", ""),
    ("", "s = s + vals[I] * R", ""),
    ("", "del b#\ns = s + R", ""),
    ("b# = x", "b# = R\ndel b#\ns = s + R", ""),
    ("", "assert I < 100\ns = s + R", ""),
    ("", "s = s + cr.grad(lambda t: t * t * R)(R)", ""),
    ("", "s = s + cr.grad(lambda t: cm.sin(t) * I)(R)", ""),
    ("", "s = s + cr.jvp(lambda t: t * t * R, (x,), (1.0,))[1]", ""),
    ("", "s = s + cr.vmap(lambda t: t * R + I)(np.array([1.0, 2.0])).sum()", ""),
    ("", "if (b# := R) > 0.2:\n    s = s + b#", ""),
    ("", "n1 = n1 - 1\ns = s + R * (n1 > 2)", "s = s + n1"),
    ("b# = 0.0", "b# = max(b#, R)", "s = s + b#"),
    ("b# = vals[0] if vals else x", "b# = R if R < b# else b#", "s = s + b#"),
    ("b# = -1", "if R > 0.1:\n    b# = I\ns = s + R", "s = s + b# * x"),
    ("b# = -1\nc# = -9.0", "if R > c#:\n    c# = R\n    b# = I", "s = s + b# * x"),
    ("b# = float('inf')", "b# = min(b#, R)\ns = s + R", "s = s + b#"),
    ("b# = float('nan')", "b# = R if b# != b# else b# * 0.5 + R\ns = s + R", "s = s + b#"),
    ("b# = x", "while b# > 9.0:\n    b# = b# * 0.5\ns = s + b# * R", ""),
    ("b# = I0", "while b# > 0:\n    b# -= 1\n    s = s + R", ""),
    ("", "b# = I % 4\nwhile b# > 0:\n    b# -= 1\n    s = s + R * b#", ""),
    ("", "s = s + R * (1.0 if s is x else 2.0)", ""),
    ("", "print('seen', end='')\ns = s + R", ""),
    ("b# = [1.0]", "b# = b# * 1\ns = s + R * b#[0]", "s = s + len(b#)"),
    ("b# = [x, y]", "b#[0], b#[1] = b#[1], b#[0] * 0.5\ns = s + b#[0] * R", "s = s + b#[1]"),
    ("b# = [x, y]", "b# = b#[1:] + [b#[0] * 0.5 + R]", "s = s + b#[0]"),
    ("b# = 1", "b# = -b#\ns = s + b# * R", "s = s + b#"),
    ("b# = 1.0", "b# = -b#\ns = s + b# * R", "s = s + cm.sqrt(b# * b#)"),
    ("b# = 1.0", "b# = b# / (I + 1.0)\ns = s + b# * R", "s = s + math.exp(b#)"),
    ("b# = 1.0", "b# = b# * 1e-200\ns = s + R / (b# + 1.0)", "s = s + 1.0 / (1.0 + b#)"),
    ("b# = 1.0", "b# = b# * 1e-200\ns = s + R * (1.0 / b#)", ""),
    ("b# = 10.0", "b# = b# ** 3\ns = s + R", "s = s + 1.0 / b#"),
]

STORED: Final = [
    # (before the loop, in it, after it)
    ("a# = [x, y]", "a#[0] = a#[0] * 0.5 + R", "s = s + a#[0] * a#[1]"),
    ("a# = [x, 0.0]", "a#[0], a#[1] = a#[1] * 0.5 + R, a#[0]", "s = s + a#[0] * a#[1]"),
    ("a# = [x, y]", "a#[0] = R\na#[1] = a#[0] * a#[1] * 0.5", "s = s + a#[0] * a#[1]"),
    ("a# = [1.0, 2]", "a#[0] *= R\na#[1] += R", "s = s + a#[0] * a#[1]"),
    ("a# = [1, 2]", "a#[0] = a#[0] + 1\ns = s + R * a#[0]", "s = s + FLOATS[a#[0] % 8]"),
    ("a# = [0, x]", "a#[0] = a#[0] + R", "s = s + a#[0]"),
    ("a# = [0, x]", "s = s + 1.0 / (a#[0] + 2) * R\na#[0] = R", "s = s + a#[0]"),
    ("a# = [0.0]", "s = s + R / a#[0] if I > 9 else s + R\na#[0] = R", ""),
    ("a# = [1.0]", "a#[0] = a#[0] * 0.5\ns = s + R", "s = s + len(str(a#[0]))"),
    ("a# = [x]", "a#[0] = R", "s = s + (x if isinstance(a#[0], float) else y)"),
    ("a# = [None, x]", "a#[0] = R if a#[0] is None else a#[0] + R", "s = s + (a#[0] or 1.0)"),
    ("a# = [False, x]", "a#[0] = R > 0.2", "s = s + (x if a#[0] else y)"),
    ("a# = [x, y]", "if R > 0.3:\n    a#[0] = R", "s = s + a#[0]"),
    ("a# = [x, y]", "if I == 1:\n    a#[0] = R\nelse:\n    a#[1] = s", "s = s + a#[0] * a#[1]"),
    ("a# = [x, y]\nb# = a#", "a#[0] = R + 0.5 * b#[0]\ns = s + b#[0]", "s = s + b#[0] + a#[1]"),
    ("a# = [x, y]\nb# = [a#, a#]", "b#[0][1] = b#[1][1] * 0.5 + R", "s = s + a#[1] * b#[0][0]"),
    ("a# = [x, y]\nb# = [a#, [x]]", "a#[1] = R\nb#[1][0] = b#[0][1] * 0.5", "s = s + b#[1][0]"),
    (
        "a# = [x, y]\nb# = (a#, x)",
        "a#[0] = R\nb# = (b#[0], R + b#[0][0])",
        "s = s + b#[0][0] * b#[1]",
    ),
    ("a# = [x, y]\nb# = (a#, x)", "b#[0][0] = R * 0.5 + b#[0][0]", "s = s + b#[0][0] * a#[0]"),
    ("a# = [x, y]\nb# = []", "a#[0] = R\nb#.append(a#)", "s = s + sum([u[0] for u in b#])"),
    ("a# = [x, y]\nb# = []", "a#[0] = R\nb#.append(list(a#))", "s = s + sum([u[0] for u in b#])"),
    ("a# = [x, y]\nb# = []", "a#[0] = R\nb#.append(a#[:])", "s = s + sum([u[0] for u in b#])"),
    ("a# = []\nb# = [a#]", "a#.append(R)\nb#[0][0] = x", "s = s + sum(a#)"),
    ("a# = [x]\nb# = a#", "a#.append(R)\nb#[0] = b#[0] + R", "s = s + sum(a#)"),
    ("a# = [x, y]", "a#[0] = R\nb# = a#", "if n > 0:\n    b#[1] = x\ns = s + a#[0] * a#[1]"),
    ("a# = [x, y]\nb# = None", "a#[0] = R\nb# = a#", "if b#:\n    b#[1] = x\ns = s + a#[1]"),
    ("a# = [x, y]", "b# = list(a#)\nb#[0] = b#[0] * R\ns = s + b#[0]", "s = s + a#[0]"),
    ("a# = [x, y]", "b# = a#.copy()\nb#[0] = b#[0] * R\ns = s + b#[0]", "s = s + a#[0]"),
    ("a# = [x, y]", "b# = a#\nb#[0] = b#[0] * 0.5 + R", "s = s + a#[0]"),
    ("a# = [x, y]", "a#[0] = R\na# = [a#[1], x]", "s = s + a#[0] * a#[1]"),
    ("a# = [x, y]", "a# = [a#[1], R]\na#[0] = a#[0] * 0.5 + x", "s = s + a#[0] * a#[1]"),
    ("a# = [[x], [y]]", "a#[0] = [R]", "s = s + a#[0][0]"),
    ("a# = [[x], [y]]", "a#[0], a#[1] = a#[1], a#[0]\na#[0][0] = R", "s = s + a#[0][0] - a#[1][0]"),
    ("a# = [[x], [y]]", "a#[0] = a#[1]\na#[1][0] = R", "s = s + a#[0][0] - a#[1][0]"),
    ("a# = [x, y]", "a#[0] = R\ns = s + len(a#) * sum(a#)", "s = s + a#[0]"),
    ("a# = [x, y]", "for u# in a#:\n    a#[0] = u# * R\n    s = s + u#", "s = s + a#[0]"),
    (
        "a# = [x, y]",
        "for u#, w# in enumerate(a#):\n    a#[u#] = w# * 0.5 + R",
        "s = s + a#[0] * a#[1]",
    ),
    ("a# = [x, y]\nf# = lambda: a#[0]", "a#[0] = R\ns = s + f#()", "s = s + f#()"),
    ("a# = [x, y]", "s = s + push(a#, R)", "s = s + a#[0]"),
    ("a# = [x, y]", "a#[1] = x\ns = s + push(a#, R)", "s = s + a#[0]"),
    ("a# = [x, y]", "s = s + pushed(a#, R)", "s = s + a#[0]"),
    ("a# = [x, y]", "a#[1] = x\ns = s + pushed(a#, R)", "s = s + a#[0]"),
    ("a# = [x, y]\nb# = a#", "a#[0] = R\nb# = [b#[1], b#[0] * 0.5 + x]", "s = s + b#[0] * a#[0]"),
    ("a# = [x, y]\nb# = [a#]", "a#[0] = R\nb# = [[b#[0][1], b#[0][0]]]", "s = s + b#[0][0]"),
    ("a# = [[x], [y]]", "a#[1][0] = R\ns = s + push(a#[I % 2], R)", "s = s + a#[0][0]"),
    ("a# = [[x], [y]]", "a#[1][0] = R\ns = s + a#[I % 2][0] * R", "s = s + a#[0][0]"),
    ("a# = [x, y, 1.0]", "a#[0] = R\ns = s + a#[I % 3] * R", "s = s + a#[0]"),
    ("a# = [x, y, 1.0]", "a#[0] = R\ns = s + a#[1 + I % 2] * R", "s = s + a#[0]"),
    ("a# = [x, y]", "a#[0] = I\ns = s + R * a#[0]", "s = s + a#[0]"),
    ("a# = {'u': [x, y]}", "a#['u'][0] = R + a#['u'][1]", "s = s + a#['u'][0]"),
    ("a# = [{'u': x}]", "a#[0]['u'] = R + a#[0]['u']", "s = s + a#[0]['u']"),
    ("a# = [q * 1.0, q]", "a#[0] = a#[0] * 0.5 + R", "s = s + a#[0].sum() + a#[1][1]"),
    (
        "a# = [q * 1.0, q]",
        "a#[0] = a#[1] * 1.0\na#[1] = a#[0] * R",
        "s = s + a#[0][1] + a#[1].sum()",
    ),
    ("a# = [q, q]", "a#[0] = a#[1]\ns = s + R", "q[0] = 3.0 * x\ns = s + a#[0][0]"),
    ("a# = [np.array([x, y]), 0.0]", "a#[0][1] = a#[0][1] * 0.5 + R", "s = s + a#[0].sum()"),
    (
        "a# = [[x, 0.0], [y, 1]]",
        "for i# in range(2):\n    for j# in range(2):\n        a#[i#][j#] = a#[i#][j#] * 0.5 + R",
        "s = s + a#[0][1] * a#[1][1] - a#[1][0]",
    ),
    (
        "a# = [[x, y], [y, x]]",
        "for i# in range(2):\n    b# = a#[i#]\n    a#[i#] = [b#[1], b#[0] * 0.5 + R]",
        "s = s + a#[0][1] * a#[1][1]",
    ),
    (
        "a# = [x, y, x, y]",
        "for i# in range(4):\n    a#[i#] = a#[i#] * 0.5 + R * a#[i# - 1]",
        "s = s + a#[0] * a#[1] - a#[3]",
    ),
    (
        "a# = [x, y, x, y]\nc# = list(a#)",
        "for i# in range(4):\n    c#[i#] = a#[i#] * 0.5 + R\na#, c# = c#, a#",
        "s = s + a#[0] * a#[1] - c#[3]",
    ),
    (
        "a# = [x, y, x, y]",
        "b# = [0.1 * u for u in a#]\nfor i# in range(4):\n    b#[i#] = b#[i#] + R\na# = b#",
        "s = s + a#[0] * a#[1] - a#[3]",
    ),
    ("a# = []", "b# = [R, I]\na# += b#", "s = s + sum(a#) * len(a#)"),
    ("a# = [x]", "b# = [R, x]\na# += b#\nb#[0] = y\na# += b#", "s = s + sum(a#) * len(a#)"),
    ("a# = [x]", "a# += (R, y)\na# += [u * R for u in vals[:2]]", "s = s + a#[-1] * a#[-2]"),
    ("a# = []", "a# += [[R, x]]\na# += [[u, R] for u in (x, y)]", "s = s + a#[1][0] * a#[-1][1]"),
    ("a# = []", "b# = [R, x]\na# += [b#]\na# += [b#]", "s = s + len(a#) * x"),
    (
        "a# = []",
        "b# = [[R], [x]]\na# += b#\na# += b#",
        "if a#:\n    a#[0][0] = y\ns = s + a#[2][0]",
    ),
    ("a# = []", "a# += [R]\na#.append(x)\na# += [y] * 2", "s = s + sum(a#) * len(a#)"),
    ("a# = [x]", "a# += a#\ns = s + R", "s = s + len(a#)"),
    ("a# = [x, y]", "a# += outer\ns = s + R", "outer[0] = R\ns = s + sum(a#) * len(a#)"),
    ("a# = []", "a# += vals\ns = s + R", "s = s + sum(a#) * len(a#)"),
    ("a# = []", "a# += q\ns = s + R", "s = s + sum(a#) * len(a#)"),
    ("a# = []\nb# = a#", "a# += [R] * 2\ns = s + len(b#) * x", "s = s + sum(b#)"),
    ("a# = []\nb# = a#", "c# = [R, x]\na# += c#\nb# += c#", "s = s + sum(a#) * len(a#)"),
    ("a# = []", "b# = [R]\nif I > 2:\n    a# += b#\ns = s + R", "s = s + sum(a#) * len(a#)"),
    ("a# = []", "b# = [R]\nfor j# in range(2):\n    a# += b#\n    b# += [x]", "s = s + sum(a#)"),
    ("a# = []", "c# = []\nfor j# in range(2):\n    c# += [R, j#]\na# += c#", "s = s + sum(a#)"),
    ("a# = []", "a# += zip([R], [x])\ns = s + R", "s = s + len(a#)"),
    ("a# = []", "a# += (R * u for u in (x, y))", "s = s + sum(a#)"),
    ("a# = np.zeros(2)", "b# = [R, x]\na# += b#", "s = s + sum(a#)"),
    ("a# = np.array([x, y])", "b# = [R, x]\na# += b#", "s = s + sum(a#)"),
    ("a# = ()", "b# = (R, x)\na# += b#", "s = s + sum(a#)"),
    ("a# = 'u'", "b# = 'w'\na# += b#\ns = s + R", "s = s + len(a#)"),
    ("a# = []\nb# = []", "b# = [R]\na# += b#", "if b#:\n    b#[0] = x\ns = s + sum(a#) + sum(b#)"),
    ("", "vals[0] = R * 0.5", "s = s + sum(vals)"),
    ("", "vals[-1] = vals[0] * 0.3 + R", "s = s + sum(vals)"),
    ("", "rows[0][1] = R * 0.5", "s = s + sum([sum(r) for r in rows])"),
    ("", "rows[0][1] = R * 0.5\ns = s + rows[I % len(rows)][0]", "s = s + rows[0][1]"),
    ("", "outer[0] = outer[1] * 0.5 + R", "s = s + outer[0]"),
    ("", "for j# in range(2):\n    b# = R * j#\ns = s + b#", ""),
    ("", "for j# in range(2):\n    b# = [R, j#]\ns = s + b#[0] * j#", "s = s + x"),
    (
        "",
        "for j# in range(2):\n    b# = R * j#\ns = s + b#",
        "try:\n    s = s + b# * j#\nexcept NameError:\n    s = s - 1.0",
    ),
    (
        "",
        "for j# in range(I % 3):\n    b# = R\ns = s + R",
        "try:\n    s = s + b# * j#\nexcept NameError:\n    s = s - 1.0",
    ),
    ("", "if I > 2:\n    s = s + b#\nb# = R", ""),
    ("", "s = s + (b# if I > 2 else x)\nb# = R", ""),
    ("b# = x", "s = s + (b# if I > 2 else x)\nb# = R", "s = s + b#"),
    ("", "if R > 0.2:\n    b# = R\n    s = s + b#\nelse:\n    b# = x", "s = s + x"),
    ("", "s = s + sum([u# * R for u# in (x, y)])\nfor u# in (x, R):\n    s = s + u#", ""),
    ("u# = x", "for u# in (x, R):\n    s = s + u#\ns = s + sum(u# for u# in (x, y))", "s = s + u#"),
    ("", "s = s + [u# for u# in (x, R)][1]\nu# = R\ns = s + u#", ""),
    ("u# = y", "s = s + sum([u# * w# for w# in (x, R)])\nu# = R", "s = s + u#"),
    ("u# = (x, y)", "s = s + sum([u# * R for u# in u#])\nu# = (R, u#[0])", "s = s + u#[0]"),
    ("u# = y", "s = s + sum([(u# := w# * 0.5) for w# in (x, R)]) + u#", "s = s + u#"),
    ("u# = y", "s = s + sum([u# * (u# := w# * 0.5) for w# in (x, R)])", "s = s + u#"),
    ("u# = y", "f# = lambda w#: w# * u#\nu# = R\ns = s + f#(x)", "s = s + u#"),
    ("u# = y\nf# = lambda u#: u# * 2.0", "u# = R\ns = s + f#(x)", "s = s + f#(y)"),
    ("", "for u#, w# in zip(vals[:2], (R, y)):\n    s = s + u# * w#", ""),
    ("", "for (u#, w#), o# in zip(((x, R), (R, y)), (1.0, I)):\n    s = s + u# * w# * o#", ""),
    ("", "for i#, (u#, w#) in enumerate([(x, R), (R, y)]):\n    s = s + u# * w# * i#", "s = s + y"),
    (
        "",
        "c# = [R, x]\nfor u#, w# in zip(c#, rows[0]):\n    for i# in range(2):\n"
        "        c#[i#] = c#[i#] - u# * w#\ns = s + c#[0] * c#[1]",
        "",
    ),
    ("", "c# = list(p)\nc#[I % 4] = R\ns = s + c#[0] * c#[1]", ""),
    ("", "c# = list(p)\nc#[1] = R\ns = s + c#[0] * c#[1]", ""),
]
"""What assigns elements of lists, or has names that comprehensions and other loops have too."""

ROW_PIECES: Final = [
    ("", "T.append(R)", "s = s + sum([len(r) for r in rows]) * x"),
    ("", "T[0] = R", "s = s + sum([r[0] for r in rows])"),
    ("", "s = s + (R if T is rows[1 % len(rows)] else x)", ""),
    ("", "for o# in rows:\n    if o# is not T:\n        s = s + o#[0] * T[0]", ""),
    ("", "for o# in rows:\n    if o# is T:\n        continue\n    s = s + o#[0] * T[0]", ""),
    ("", "for o# in rows:\n    if o# != T:\n        s = s + o#[0] * T[0]", ""),
    (
        "b# = None",
        "b# = T\ns = s + R",
        "if b#:\n    b#[0] = 7.0 * x\ns = s + sum([r[0] for r in rows])",
    ),
    ("b# = []", "b#.append(T)\ns = s + R", "rows[0][0] = 7.0 * x\ns = s + sum([r[0] for r in b#])"),
    ("", "s = s + rows.index(T) * R", ""),
    ("", "s = s + len(T) * R + sum(T)", ""),
]
TERMS: Final = [
    *("R", "R * R", "I * R", "R / (2 + I * I)", "x - R", "I", "R > 0.2", "0.5", "[R][0]"),
    *("R if I % 2 else x", "R if R > 0.1 else -R", "(I > 1) * R", "max(R, 0.1) * R", "abs(R)"),
    *(
        "clipped(R, low=0.1)",
        "twice(R, by=I)",
        "both(R, R)[1]",
        "put(held, R)",
        "cr.grad(twice)(R)",
    ),
    *("vals[I % len(vals)] * R", "vals[I - 1] * R", "FLOATS[I] * R", "q[I % 4] * R", "p[I % 8]"),
    *("R * sum(w * R for w in vals)", "sum([w * R for w in p if w > 0.1])", "sum(q) * R"),
    *("R * sum(u * w for u in vals for w in FLOATS)", "(lambda u: u * R)(x)", "box.add(R)"),
    *("GRID[I % 6, 1] * R", "R * any(w > R for w in vals)", "sum(terms(R, x), R)", "int(R) * x"),
]
"""What is summed up."""
TOTALS: Final = [
    *("s = s + sum(T)", "s = s + sum([T])", "s = sum((T), s)", "s = s * 0.5 + sum((T), 0.0) * R"),
    *("if sum(T) > 0.5:\n    s = s + sum(T)", "s = s + (sum(T) if R > 0.1 else sum([T]))"),
    *("while s < 1.0:\n    s = s + 0.7 + abs(sum(T))", "s = s + sum(T) * sum(T)"),
    "s = s + cr.grad(lambda x: sum(T) * x)(y)",
]
"""What is done with sums of comprehensions."""
OF_ANOTHER: Final = [
    "g(x, y, p, n) + g(y, 0.5, p, n)",
    "g(x, y, p, n) + g(y, 0.5, p, n)",
    "cr.jvp(lambda u, v: g(u, y, v, n), (x, p), (0.5, p * 0.1))[1]",
    "cr.grad(g)(x, y, p, n) + cr.grad(g, 1)(x, 0.3, p, n)",
    "cr.jacfwd(lambda u: cr.math.sin(g(u[0], u[1], p, n)))(np.array([x, y])).sum()",
    "sum(cr.jacfwd(lambda u: np.array([g(u, y, p, n), g(y, u, p, n)]))(x))",
]
"""What a function is, by another."""
AFTER_TARGET: Final = "try:\n    s = s + {} * x\nexcept NameError:\n    s = s - 2.0"


class Program(NamedTuple):
    """A program.

    Attributes:
        seed: of it.
        source: its text.
        function: of two numbers, an array of eight, and how many there are of some things.
    """

    seed: int
    source: str
    function: Callable[..., Any]


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
        self.rows: list[str] = []

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
        forms = (name, name, name, "({} + 1)", "({} - 1)", "(2 * {} + 1)", "({} // 2)", "(n - {})")
        return choice(forms).format(name)

    def real(self) -> str:
        """An expression of numbers."""
        choice = self.random.choice
        name = choice(self.reals + self.reals[2:])
        return choice((name, name, name, f"({name} * 0.7)", f"(x - {name})", f"cm.sin({name})"))

    def block(self, text: str, depth: int) -> None:
        """Add lines."""
        self.lines += ["    " * depth + line for line in text.split("\n") if line]

    def total(self, depth: int) -> None:
        """A sum of what a comprehension gives."""
        random = self.random
        parts = _split(random.choice(TOTALS), "T")
        text = self.fill(parts[0])
        for part in parts[1:]:
            text += self.comprehension() + self.fill(part)
        self.block(text, depth)

    def comprehension(self) -> str:
        """What a comprehension gives, by one ``for`` or two."""
        random = self.random
        outside = self.wholes, self.reals, self.rows
        clauses = []
        for _ in range(random.choice((1, 1, 1, 2))):
            self.count += 1
            header, *names = random.choice(HEADERS[:10] + HEADERS)
            clauses.append(header.replace("#", str(self.count)).rstrip(":"))
            wholes, reals, _ = [[x.replace("#", str(self.count)) for x in some] for some in names]
            self.wholes, self.reals = [*self.wholes, *wholes], [*self.reals, *reals * 2]
        if random.random() < 0.1:
            clauses.append(self.fill("if I % 3 != 1"))
        text = " ".join([self.fill(random.choice(TERMS)), *clauses])
        self.wholes, self.reals, self.rows = outside
        return text

    def loop(self, depth: int) -> None:
        """A loop, with what stands before and after it."""
        random = self.random
        self.count += 1
        number = str(self.count)
        text, *names = random.choice(HEADERS[:10] + HEADERS)
        own = [[x.replace("#", number) for x in some] for some in names]
        outside = self.wholes, self.reals, self.rows
        pieces = [
            random.choice(STORED if random.random() < 0.4 else PIECES)
            for _ in range(random.randint(1, 3))
        ]
        if own[2] and random.random() < 0.7:
            pieces.append(random.choice(ROW_PIECES))
        made = []
        for piece in pieces:
            self.count += 1
            made.append([part.replace("#", str(self.count)) for part in piece])
        inner = depth == 1 and random.random() < 0.25
        for before, _, _ in made:
            self.block(self.fill(before), depth)
        self.block(text.replace("#", number), depth)
        self.wholes = [*self.wholes, *own[0]]
        self.reals = [*self.reals, *own[1]]
        self.rows = [*self.rows, *own[2]]
        for i, (_, inside, _) in enumerate(made):
            if inner and i == len(made) - 1:
                self.loop(depth + 1)
            if own[2]:
                inside = random.choice(own[2]).join(_split(inside, "T"))
            self.block(self.fill(inside), depth + 1)
        if random.random() < 0.1:
            self.total(depth + 1)
        self.wholes, self.reals, self.rows = outside
        for _, _, after in made:
            self.block(self.fill(after), depth)
        if random.random() < 0.4 and own[0] + own[1]:
            self.block(AFTER_TARGET.format(random.choice(own[0] + own[1])), depth)


def _split(text: str, mark: str) -> list[str]:
    """The parts of a text between a word."""
    return re.split(rf"(?<![A-Za-z0-9_'.]){mark}(?![A-Za-z0-9_'])", text)


def program(seed: int) -> Program:
    """The program of a seed."""
    random = Random(seed)
    writer = Writer(random)
    for _ in range(random.choice((1, 1, 2))):
        random.choice((writer.loop, writer.loop, writer.total))(1)
    helper = random.random() < 0.25
    lines = [
        *(["def f(x, y, p, n):"] if not helper else ["def g(x, y, p, n):"]),
        SETUP.rstrip("\n"),
        *writer.lines,
        "    return s",
    ]
    if helper:
        lines += ["", "", "def f(x, y, p, n):", "    return " + random.choice(OF_ANOTHER)]
    source = "\n".join(lines) + "\n"
    text = BEFORE + source
    name = f"<long loop {seed}>"
    linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
    values: dict[str, Any] = {"__name__": __name__}
    exec(compile(text, name, "exec"), values)
    return Program(seed, source, values["f"])


POINTS: Final = (
    (0.7, -0.4, np.array([0.3, -0.2, 0.9, 0.0, 1.4, -1.1, 0.5, 0.25])),
    (0.0, 1.3, np.array([-0.3, 0.2, -0.9, 1.0, 0.4, 1.1, 0.0, 2.25])),
)

NEAR: Final = 1.0 + 1e-14
LARGE: Final = 1e6
"""Second derivatives that make what is rounded visible."""


def _ran(function: Callable[..., Any], *args: Any) -> Any:
    """What a function gives; the type of an exception if it raises one."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return function(*args)
        except Exception as error:
            return type(error)


def _numbers(result: Any) -> Any:
    value, (a, b, c) = result
    return [float(value), float(a), float(b), *np.asarray(c, float).tolist()]


def differences(program: Program) -> list[str]:
    """What is not right, in words."""
    f = program.function
    found: list[str] = []
    derived = cr.value_and_grad(f, (0, 1, 2))
    compiled, value = cr.compile(derived), cr.compile(f)
    lanes = cr.compile(cr.vmap(derived, (0, 0, 0, None)))
    lengths = (6, 5, 1) if program.seed % 2 else (7,)
    for n in lengths:
        rows = []
        for x, y, p in POINTS:
            wanted = _ran(derived, x, y, p, n)
            rows.append(wanted)
            if not _is_clear(wanted, _ran(derived, x * NEAR, y * NEAR, p * NEAR, n)):
                return []
            actual = _ran(compiled, x, y, p, n)
            _compare(f"at {x}, {y}, {n}", actual, wanted, found)
            plain = _ran(f, x, y, p, n)
            if _agree(plain, wanted):
                own = _ran(value, x, y, p, n)
                if isinstance(own, type) or not np.isclose(own, plain, rtol=1e-11, atol=1e-13):
                    found.append(f"value at {x}, {y}, {n}: {own} instead of {plain}")
        if program.seed % 4 == 0 and not any(isinstance(x, type) for x in rows):
            actual = _ran(lanes, *map(np.array, zip(*POINTS, strict=True)), n)
            for k, wanted in enumerate(rows):
                one = actual
                if not isinstance(actual, type):
                    one = actual[0][k], tuple([slope[k] for slope in actual[1]])
                _compare(f"lane {k}, {n}", one, wanted, found)
    if program.seed % 5 == 0:
        of = lambda x: f(x, *POINTS[0][1:], lengths[0])  # noqa: E731
        wanted = _ran(cr.grad(cr.grad(of)), 0.7)
        actual = _ran(cr.compile(cr.grad(cr.grad(of))), 0.7)
        if isinstance(wanted, type) or isinstance(actual, type):
            if wanted is not actual:
                found.append(f"second derivative: {actual} instead of {wanted}")
        elif abs(wanted) < LARGE and not np.allclose(
            actual, wanted, rtol=1e-8, atol=1e-9, equal_nan=True
        ):
            found.append(f"second derivative: {actual} instead of {wanted}")
    return found


def _is_clear(one: Any, other: Any, near: float = 1e-11) -> bool:
    """Whether results are the same nearby: they do not show how they are rounded."""
    if isinstance(one, type) or isinstance(other, type):
        return one is other
    return np.allclose(_numbers(one), _numbers(other), rtol=near, atol=near, equal_nan=True)


def _agree(plain: Any, wanted: Any) -> bool:
    """Whether floats give what nodes do: not where float32 or an int wraps or rounds."""
    if isinstance(plain, type) or isinstance(wanted, type):
        return False
    return bool(np.isclose(plain, float(wanted[0]), rtol=1e-12, atol=1e-14))


def _compare(what: str, actual: Any, wanted: Any, found: list[str], atol: float = 1e-10) -> None:
    if isinstance(wanted, type) or isinstance(actual, type):
        if actual is not wanted:
            found.append(f"{what}: {actual} instead of {wanted}")
        return
    if not np.allclose(_numbers(actual), _numbers(wanted), rtol=1e-9, atol=atol, equal_nan=True):
        found.append(f"{what}: {_numbers(actual)} instead of {_numbers(wanted)}")


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_programs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random programs, with their derivatives, are compiled what they are eagerly."""
    monkeypatch.setattr(once, "LIMIT", 0)
    made = program(seed)
    assert not differences(made), made.source


if __name__ == "__main__":
    once.LIMIT = 0  # type: ignore[misc]
    check_many("long loops", program, differences)
