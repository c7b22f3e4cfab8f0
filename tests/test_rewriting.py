# ruff: noqa: C419, D101, D102, D103, SIM108, F821
"""Rewritten functions mean what they say, whatever is computed of both sides."""

from __future__ import annotations

import functools
import linecache
import re
import statistics
import sys
import traceback
import types
import warnings
from collections.abc import Callable
from struct import pack
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import compile, value_and_grad, vmap
from chainrule.jit.function import Stats
from chainrule.math import exp, sqrt, where
from chainrule.rewriting import speculation
from chainrule.rewriting.source import NoSource, source_of

POINTS: Any = np.random.default_rng(5).normal(size=(48, 3)) * 1.5
POINTS[:6] = [[0.0, 0.0, 0.0], [1, 1, 1], [-1, 1, 0], [-0.0, 0.0, 1], [2, -2, 0], [0.5, 0.5, -0.5]]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides of each branch are computed from its second time on."""
    monkeypatch.setattr(speculation, "FEW", 1)


def bits(x: Any) -> Any:
    return "nan" if x != x else pack("d", float(x))


def agrees(f: Callable[..., Any], *, both: bool | None = True, **options: Any) -> Stats:
    """See that compiled values are the eager ones on floats, and gradients those of the graph.

    Args:
        f: of three numbers.
        both: whether some branch computes both its sides; None if it does not matter.
        options: of compile.
    """
    derived = value_and_grad(f, (0, 1, 2))
    compiled = compile(vmap(derived), **options)
    for rows in (POINTS, POINTS[::-1]):
        values, slopes = compiled(*np.ascontiguousarray(rows.T))
        for i, row in enumerate(rows.tolist()):
            assert bits(values[i]) == bits(f(*row)), (row, values[i], f(*row))
            wanted = derived(*row)[1]
            found = [slope[i] for slope in slopes]
            assert np.allclose(found, wanted, rtol=1e-12, atol=1e-12, equal_nan=True), row
    stats: Stats = compiled.stats()
    if both is not None:
        assert any(x.both for x in stats.branches) == both, stats.branches
    return stats


# What is converted


def clamped(x: Any, y: Any, z: Any) -> Any:
    total = 0.0
    for k in range(6):
        v = max(x * k - y, 0)
        total += min(v, z, 1.0) + abs(y)
    return total + (x if x > y else y * z) + (1.0 if 0 < x < 1 and not y > 0 else z)


def walk(x: Any, y: Any, z: Any) -> Any:
    v = 0.0
    for k in range(9):
        if v > 0.25:
            v -= x * 0.5
            step = y
        elif v < -1:
            v = v * v
            step = -z
        else:
            v += y * 0.3 + k * 0.01
            step = x
        v = v + 0.1 * step
    return v


def left_early(x: Any, y: Any, z: Any) -> Any:
    total = 0.0
    for k in range(9):
        total = total + x * k
        if total > 2:
            return y * total
        if total < -3:
            if z > 0:
                return z
            total = total + 1.0
    return total * z


def broken(x: Any, y: Any, z: Any) -> Any:
    total, seen = 0.0, 0
    for k in range(7):
        for j in range(3):
            total = total + x * (j - 1) + 0.1 * k
            if total > 1:
                seen += 1
                break
            if total < y:
                total = 0.5 * z
                continue
            total = total - 0.01
        if seen > 4:
            break
    return total * (seen + 1) + k


def newton(x: Any, y: Any, z: Any) -> Any:
    a = abs(x) + 0.5
    root = a
    while abs(root * root - a) > 1e-9:
        root = 0.5 * (root + a / root)
    for _ in range(50):
        new = root - (root * root * root - abs(y) - 1) / (3 * root * root)
        if abs(new - root) < 1e-12:
            break
        root = new
    return root + z


def both_leave(x: Any, y: Any, z: Any) -> Any:
    total = x
    for k in range(5):
        if total > k:
            total = total - y
            continue
        if total < -k:
            break
        total = total + z
        continue
    if total > 0:
        return total
    if total < -1:
        return -total
    return y


def states(x: Any, y: Any, z: Any) -> Any:
    up, count = False, 0
    high = low = x
    for k in range(8):
        v = [x, y, z][k % 3] * (k + 1) * 0.3
        if v > high:
            high, up, count = v, True, count + 1
        elif up and v < low:
            low, up = v, False
    return high * count - low + (1.0 if up else 2.0)


def relu(v: Any, slope: float = 0.0) -> Any:
    if v > 0:
        return v
    return slope * v


def helped(x: Any, y: Any, z: Any) -> Any:
    total = 0.0
    for k in range(6):
        if x * k > y:
            total = total + relu(z - k, slope=0.1) * relu(x)
        total = relu(total - y)
    return total


class Base:
    def scaled(self, v: Any) -> Any:
        return v * 0.5 if v > 1 else v


class Model(Base):
    def __init__(self, rate: float) -> None:
        self.__rate = rate

    def scaled(self, v: Any) -> Any:
        return super().scaled(v) if v > 0 else self.__rate * v

    def __call__(self, v: Any, w: Any) -> Any:
        for _ in range(4):
            if v > w:
                v = self.scaled(v - w)
            else:
                v = v + self.__rate
        return v


def of_objects(x: Any, y: Any, z: Any) -> Any:
    return Model(0.25)(x, y) * Model.scaled(Model(0.5), z)


def searched(x: Any, y: Any, z: Any) -> Any:
    values = [x, y, z, x - y]
    if any(v > 1 for v in values) and not all(v > -1 for v in values):
        return x
    return y if all([v < 1 for v in values]) or any([x > 0, y > 0]) else z


def ties(x: Any, y: Any, z: Any) -> Any:
    nan = float("nan")
    return max(x, y) + min([y, z, x]) + max(nan if x > 2 else x, y) + sorted([x, y, z])[1]


def elements(x: Any, y: Any, z: Any) -> Any:
    values = [x, y, z, x - y]
    rows = np.array([[x, y], [z, x]])
    for k in range(3):
        for j in range(3):
            if values[j] > values[j + 1]:
                values[j], values[j + 1] = values[j + 1], values[j]
                rows[k % 2, 1] *= 0.5
            elif values[j] < -1:
                values[k] += 0.5
                if values[k] > z:
                    rows[0, k % 2] = values[k]
    return values[0] + 2 * values[1] - values[3] * rows.sum()


def distance(x: Any, y: Any, z: Any) -> Any:
    one, other = [x, y, z, x * y, 0.5], [y, z, 0.25, x]
    row = list(range(len(other) + 1))
    for i, u in enumerate(one):
        after = [i + 1]
        for j, v in enumerate(other):
            cost = 0 if abs(u - v) < 0.5 else 1
            after.append(min(row[j + 1] + 1, after[j] + 1, row[j] + cost))
        row = after
    return row[-1] * x + max(row[2], 2, row[1]) * y


def by_keys(x: Any, y: Any, z: Any) -> Any:
    largest = max([x, y, z], key=abs)
    least = min(x, y, z, 0.5, key=lambda v: v * v - y)
    return largest + 2.0 * least + (x if x > y else z)


def pairs_of(a: Any, b: Any) -> Any:
    return zip(a, b, strict=True)


def paired(x: Any, y: Any, z: Any) -> Any:
    total, values, others = 0.0, [x, y, z], [y, z, x]
    for k in range(4):
        if x * k > y:
            for i, (a, b) in enumerate(zip(values, others, strict=True)):
                total = total + a * b * i
        elif z < total:
            for a in reversed(values):
                total = 0.5 * total + a
            for a, b in pairs_of(values, others):
                total = total - 0.25 * a / (1.0 + b * b)
    return total


def some_go_on(x: Any, y: Any, z: Any) -> Any:
    total = x
    for k in range(4):
        for j in range(3):
            if y > j + k - 1:
                total = total + x
                continue
            if total > 2:
                break
            total = total + 0.5
            if total < -1:
                return total - y
        if z > k * 0.5:
            continue
        if total < 0:
            break
        total = total + 1
    return total * z


CONVERTED = [
    *(elements, clamped, walk, left_early, broken, newton, both_leave, states, helped, of_objects),
    *(searched, ties, distance, by_keys, paired, some_go_on),
]


@pytest.mark.parametrize("f", CONVERTED)
def test_both_sides_are_computed(f: Callable[..., Any]) -> None:
    """Values are the same to the last bit, on few paths."""
    stats = agrees(f)
    assert stats.traces <= 3, stats
    branches = [x for x in stats.branches if x.kind != "comparison"]  # sorted looks for NaN
    assert all(x.both or x.why == "it has few paths" for x in branches), branches


@pytest.mark.parametrize("f", CONVERTED)
def test_turned_off(f: Callable[..., Any]) -> None:
    """Each is a guard again."""
    if f in (newton, walk, left_early, broken, states, helped):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            agrees(f, both=False, rewrite=False, max_traces=3)


def test_others_leave_after_some() -> None:
    """By an exit outside of any branch, after which a loop would go on for some."""

    def counted(x: Any, y: Any, z: Any) -> Any:
        n, total = 0, x
        for k in range(6):
            for j in range(4):
                if y > j * 0.5 - 0.5:
                    total = total + z
                    continue
                n += 1
                break
            if z > k * 0.2:
                total = total * 0.75
                continue
            return total * x + n
        return total + n

    agrees(counted, both=None)


def test_single_points_follow_too() -> None:
    """The same trace holds for calls one by one."""
    compiled = compile(walk)
    for row in POINTS.tolist():
        assert bits(compiled(*row)) == bits(walk(*row))
    assert compiled.stats().traces == 1


# What is left


def sum_in_order(values: Any) -> Any:
    """As ``sum`` of nodes; that of floats is another one from Python 3.12 on."""
    total = 0.0
    for value in values:
        total = total + value
    return total


def appended(x: Any, y: Any, z: Any) -> Any:
    log = []
    for k in range(4):
        if x * k > y:
            log.append(x)
    return sum_in_order(log) + z


def raised(x: Any, y: Any, z: Any) -> Any:
    total = z
    for k in range(4):
        try:
            if x > k:
                raise ValueError
            total = total + 1.0
        except ValueError:
            total = total * y
    return total


def divided(x: Any, y: Any, z: Any) -> Any:
    total = 0.0
    for k in range(4):
        if x > k - 1:
            total = total + 6 / k if k else y
        else:
            total = total - z / (k + 1)
    return total


def not_divided(x: Any, y: Any, z: Any) -> Any:
    total = 0.0
    for k in range(3):
        try:
            if x > k - 1:
                total = total + 1 / k
            else:
                total = total - z
        except ZeroDivisionError:
            total = total + y
    return total


def helper_raises(v: Any, k: int) -> Any:
    return v * (1 / k)


def raises_below(x: Any, y: Any, z: Any) -> Any:
    total = 0.0
    for k in range(3):
        try:
            total = total + (helper_raises(y, k) if x > 0 else z)
        except ZeroDivisionError:
            total = total - x
        finally:
            total = total * 0.5
    return total


def counted(x: Any, y: Any, z: Any) -> Any:
    class Counter:
        calls = 0

        @property
        def rate(self) -> float:
            self.calls += 1
            return 0.5

    counter = Counter()
    total = 0.0
    for k in range(4):
        total = total + (counter.rate * x if y > k - 2 else z)
    return total + counter.calls


def keyed(x: Any, y: Any, z: Any) -> Any:
    seen = []

    def key(v: Any) -> Any:
        seen.append(v)
        return v

    best = max([1, 2], key=key) if x > 0 else 0
    return y * best + len(seen) + z


def consumed(x: Any, y: Any, z: Any) -> Any:
    numbers = iter(range(10))
    total = z
    for _ in range(4):
        if x > y:
            total = total + next(numbers)
        x = x - 0.5
    return total + next(numbers)


def generated(x: Any, y: Any, z: Any) -> Any:
    def values() -> Any:
        for k in range(4):
            if x > k - 1:
                yield y
            else:
                yield z

    return sum_in_order(values())


def in_place(x: Any, y: Any, z: Any) -> Any:
    values = [1.0]
    for k in range(3):
        if x > k - 1:
            values += [y]
    return sum_in_order(values) * z


def texts(x: Any, y: Any, z: Any) -> Any:
    name = "a"
    for k in range(3):
        if x > k - 1:
            name = "b"
        else:
            name = name + "c"
    return {"a": x, "b": y}.get(name, z)


def unbound(x: Any, y: Any, z: Any) -> Any:
    for k in range(3):
        if x > k - 1:
            found = y * k
    try:
        return found
    except UnboundLocalError:
        return z


def without_any(x: Any, y: Any, z: Any) -> Any:
    n = 0 if x > y else 2
    try:
        z = z * (1.0 / n)
    except ZeroDivisionError:
        z = z + 7.0
    try:
        z = z + 3.5 % n
    except ZeroDivisionError:
        z = z + 11.0
    try:
        return z + 0.0 ** (n - 1)
    except ZeroDivisionError:
        return z * 13.0


def globals_of(x: Any, y: Any, z: Any) -> Any:
    global LATEST
    LATEST = z
    for k in range(3):
        if x > k - 1:
            LATEST = LATEST + y
    return LATEST


LATEST: Any = 0.0
LEFT = [
    *(appended, raised, counted, consumed, generated, in_place),
    *(globals_of, raises_below, not_divided),
]


@pytest.mark.parametrize("f", LEFT)
def test_effects_are_those_of_the_side_taken(f: Callable[..., Any]) -> None:
    """Where a side may have an effect it is a guard, and says why."""
    stats = agrees(f, both=None)
    assert all(x.both or x.why for x in stats.branches)
    assert not all(x.both for x in stats.branches) or not stats.branches


def kind_of_a_pick(x: Any, y: Any, z: Any) -> Any:
    n = 0
    for k in range(4):
        n = n + (1 if x > k - 2 else 0)
    return y * (1.0 if isinstance(max(n, 2), int) else 2.0) + z


def text_of_a_pick(x: Any, y: Any, z: Any) -> Any:
    return y * len(f"{1 if x > 0 else 12}") + z


def texts_of_numbers(x: Any, y: Any, z: Any) -> Any:
    n = (1.0 if y > 0 else 12.5), (1 if x > 0 else 20)
    last = len(str([n[1] + 1]))
    return y * len("%s and %s" % n) + z * len("{} {}".format(*n)) + last  # noqa: UP031


def interleaved(x: Any, y: Any, z: Any) -> Any:
    seen = []

    def values() -> Any:
        for v in (x, y, z):
            seen.append(1)
            yield v

    def key(v: Any) -> Any:
        seen.append(2)
        return -v

    found = max(values(), key=key)
    return found + min([x, y], key=lambda v: (v > 0, v)) + seen[1] + 4 * seen[2]


PICKED = [kind_of_a_pick, text_of_a_pick, texts_of_numbers, interleaved]


@pytest.mark.parametrize("f", [divided, keyed, texts, unbound, without_any, *PICKED])
def test_meaning_is_kept(f: Callable[..., Any]) -> None:
    """Whatever is converted."""
    agrees(f, both=None)


# Functions of all kinds


def make(scale: float) -> Callable[..., Any]:
    calls = 0

    def inner(x: Any, y: Any, z: Any = 2.0, *rest: Any, factor: float = 3.0, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        total = scale * z
        for v in (x, y, *rest, *more.values()):
            if v > 0:
                total = total + v * factor
            else:
                total = total - v
        return total

    def outer(x: Any, y: Any, z: Any) -> Any:
        a = inner(x, y)
        b = inner(x, y, z, z - 1, factor=0.5, w=y)
        return a + b * inner(*[x, y], **{"z": z})

    return outer


def test_a_guard_that_is_inside_a_side_too() -> None:
    """Paths are told apart by all guards, also where one of them is given up for both sides."""

    def clipped(x: Any) -> Any:
        if x < -1.5:
            x = x * 0.5
        return x

    def f(x: Any, y: Any, z: Any) -> Any:
        clipped(x)
        v = x if y > 2.0 else clipped(x)
        if z > x:
            return 3.0 * v
        return 4.0 * v

    g = compile(f)
    for point in [(0.3, -0.5, -1.6), (-0.9, 0.9, 1.4), (-1.9, 3.0, 1.4), (-1.9, 1.0, -2.0)]:
        assert g(*point) == f(*point)


def test_any_whose_comparison_is_a_bool() -> None:
    """A comparison that is known to be wanted as a bool is one inside ``any`` too."""

    def f(x: Any, y: Any) -> Any:
        n, found = 0, []
        while any(a > y for a in (x, 0.25)) and n < 4:
            n, y = n + 1, y + 0.5
            known = x > y
            if known is True:
                x = x - 0.125
            found.append(known)
        return x + y + found.count(True)

    g = compile(f)
    for point in [(1.7, 0.5), (0.1, 0.2), (-1.0, 2.0), (3.0, 0.5)]:
        assert g(*point) == f(*point)


def test_closures_and_arguments() -> None:
    """Cells, defaults, stars and keywords."""
    stats = agrees(make(0.75))
    assert stats.traces == 1


def recursive(x: Any, y: Any, z: Any, depth: int = 5) -> Any:
    if depth == 0:
        return z
    return recursive(x - 0.5 if x > 0 else x + y, y, z * 0.9, depth - 1) + x


def endless(x: Any, y: Any, z: Any) -> Any:
    return z if x < 1 else endless(x * 0.5, y, z + y)


def doubled(x: Any, y: Any, z: Any, depth: int = 40) -> Any:
    if depth == 0:
        return z
    return doubled(x - 0.1, y, z, depth - 1) if x > y else doubled(x, y, z * 1.1, depth - 1)


@pytest.mark.parametrize("f", [recursive, endless, doubled])
def test_recursion(f: Callable[..., Any]) -> None:
    """One that calls itself in a side is not followed into both."""
    agrees(f, both=None)


def kept(x: Any) -> Any:
    return x * 0.9 if x > 0.5 else x + 0.3


class Shrinking:
    """Something that is called."""

    factor = 0.5

    def __call__(self, x: Any) -> Any:
        return x * self.factor if x > 0 else x

    def grown(self, x: Any) -> Any:
        return x if x > 1 else x + self.factor


def several_at_one_place(x: Any, y: Any, z: Any) -> Any:
    shrinking = Shrinking()
    by: Any = lambda scale: lambda v: v * scale if v > 0 else v  # noqa: E731
    functions: list[Any] = [
        kept,
        abs,
        kept,
        shrinking,
        Shrinking(),
        shrinking.grown,
        by(2.0),
        by(3.0),
    ]
    pairs: list[Any] = [kept, max, min, functools.partial(max, 0.25), max]
    for f in [*functions, *functions[::-1]]:
        x = f(x) * 0.5
    for f in pairs:
        y = f(y, z) if f is not kept else f(y)
    return x + y + sum_in_order([f(z) for f in functions[:4]])


def test_a_call_of_its_own_in_a_side_while_it_runs() -> None:
    def halved(x: Any, again: bool) -> Any:
        y = (halved(x * 0.5, False) if x > 0.2 else x) if again else x
        if y > 0.3:  # first asked in a side, then outside of it
            y = y * 3 + 1
        return y

    def f(a: Any, b: Any, c: Any) -> Any:
        y = halved(a, True)
        if b > 0:
            y = y + 10
        else:
            y = y - 5 * b
        if c > 0.5:
            y = y * 2
        return y

    agrees(f)
    compiled = compile(f)
    for row in POINTS.tolist():
        assert compiled(*row) == f(*row)


def test_a_place_may_call_several_functions() -> None:
    """One after the other, of any kind: it knows the first of them alone."""
    agrees(several_at_one_place)


def scaled(x: Any, scale: float = 1.0, *, shift: float = 0.0) -> Any:
    return x * scale if x > 0.5 else x + shift


def test_defaults_may_change_on_the_way() -> None:
    def f(x: Any, y: Any, z: Any) -> Any:
        total = 0.0
        for k in range(4):
            total = total + scaled(x) + scaled(total) * y
            scaled.__defaults__ = (1.0 + k,)
            scaled.__kwdefaults__ = {"shift": 0.5 * k}
        scaled.__defaults__ = (1.0,)
        scaled.__kwdefaults__ = {"shift": 0.0}
        return total + z

    agrees(f)


def stepped(x: Any) -> Any:
    if x > 0.5:
        return x * 0.9
    return x + 0.3


def test_what_is_called_changes_with_what_is_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that has been called with a plain number may compute both sides after that."""
    monkeypatch.setattr(speculation, "FEW", 4)

    def f(x: Any, y: Any, z: Any) -> Any:
        for k in range(6):
            y = stepped(1.0 if k == 0 else x)
            x = stepped(x * y) if x < 2.0 else y
        return x + z

    assert agrees(f).traces == 1


def test_tests_may_be_of_any_kind() -> None:
    """What is no bool decides as in Python, and is given as it is."""
    kinds = [True, False, None, 0, 2, 0.0, "", "a", [], [0], (), np.True_, np.False_, np.float64(3)]

    def f(x: float) -> Any:
        found: list[Any] = []
        for a in kinds:
            found.append([1 if a else 2, not a, 3 if not a else 4])
            found.append([5 if a and kinds else 6, (not a) or 7])
            for b in kinds:
                found += [a and b, a or b, (a or b) and not a, not (a and b)]
                found.append([v for v in (a, b) if v and not (b and a)])
            while a:
                found.append(8)
                break
            if a:
                found.append(9)
            elif not a and b:
                found.append(10)
        seen.append(found)
        return x * len(found)

    seen: list[Any] = []
    compiled: Any = compile(f)
    assert compiled(2.0) == f(2.0)
    traced, eager = ([repr(x) for x in found] for found in (seen[0], seen[-1]))
    assert traced == eager


def test_identity_leaves_other_branches() -> None:
    """What is compared with True itself is a bool, but not what only branches there."""

    def f(x: Any, y: Any, z: Any, flag: bool = True) -> Any:
        x = x * 2.0 if x > y else x
        return x + z if flag is True else x

    assert agrees(f).traces == 1


def comprehended(x: Any, y: Any, z: Any) -> Any:
    rows = [[(v if v > w else w) for w in (y, z)] for v in (x, y) if v is not None]
    table = {k: max(row) for k, row in enumerate(rows)}
    total = sum_in_order((t * t if t > 0 else -t) for t in table.values())
    return total + sum_in_order([a if (b := a * 2) > 1 else b for a in [x, z]]) + b


def walrus(x: Any, y: Any, z: Any) -> Any:
    total = 0.0
    for k in range(4):
        if (v := x * k - y) > 0:
            total = total + v
        elif (w := v * v) > 1:
            total = total - w
    return total + v * z


def nested_functions(x: Any, y: Any, z: Any) -> Any:
    total = 0.0
    for k in range(4):
        shift = y * k
        f: Any = lambda v: v - shift if v > shift else shift  # noqa: B023, E731

        def g(v: Any) -> Any:
            return f(v) * 2.0 if v > 0 else f(-v)  # noqa: B023

        if x > 0:
            total = total + g(x)
        else:
            total = total + f(z)
        del f
    return total


def shadowed(x: Any, y: Any, z: Any) -> Any:
    def max(a: Any, b: Any) -> Any:
        return a - b

    min: Any = lambda *values: values[0] * 2.0  # noqa: E731
    return max(x, y) + min(y, z) + (x if abs(z) > 1 else y)


class Registry:
    def method(self, x: Any, y: Any, z: Any) -> Any:
        return x if x > y else z

    @staticmethod
    def static(x: Any, y: Any, z: Any) -> Any:
        return x if x > y else z

    @classmethod
    def of_class(cls, x: Any, y: Any, z: Any) -> Any:
        return cls.static(x, y, z) if x > 0 else y


def tripled(f: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(f)
    def other(*args: Any) -> Any:
        return 3.0 * f(*args) if args[0] > 0 else f(*args)

    return other


@tripled
@tripled
def decorated(x: Any, y: Any, z: Any) -> Any:
    """With a docstring."""
    return x if x > y else z


FUNCTIONS: list[Callable[..., Any]] = [
    *(comprehended, walrus, nested_functions, shadowed, decorated, Registry().method),
    *(Registry.static, Registry.of_class, functools.partial(make(2.0), z=1.0)),
    functools.partial(make(2.0)),
]
ONE, OTHER = (lambda x, y, z: x if x > y else z), (lambda x, y, z: y if x > y else x * z)
CHAIN = lambda x, y, z: (lambda v: v if v > z else -v)(x if x > 0 else y)  # noqa: E731


@pytest.mark.parametrize("f", [*FUNCTIONS[:8], FUNCTIONS[9], ONE, OTHER, CHAIN])
def test_functions_of_all_kinds(f: Callable[..., Any]) -> None:
    """Comprehensions, methods, lambdas on one line, decorators, names that shadow built-ins."""
    assert agrees(f).traces <= 2


def stepped_on(x: Any, y: Any) -> Any:
    v, s = 0.04 + 0.01 * x, 1.0
    for k in range(8):
        if v + s > k * 0.2:
            s = s * (1 + 0.3 * max(v, 0) + 0.05 * y)
        v = v - 0.02 * (k % 3) * y
    return s


def custom(x: Any, y: Any) -> Any:
    return cr.custom_gradient(lambda a, b: (stepped_on(a, b), lambda g: (g * b, g * a)))(x, y)


HANDED: dict[str, Callable[..., Any]] = {
    "grad": lambda x, y: cr.grad(stepped_on)(x, y),
    "hessian": lambda x, y: cr.hessian(stepped_on)(x, y),
    "jvp": lambda x, y: cr.jvp(stepped_on, (x, y), (1.0, 0.5))[1],
    "vjp": lambda x, y: cr.vjp(stepped_on, x, y)[1](1.0)[1],
    "hvp": lambda x, y: cr.hvp(stepped_on, (x, y), (1.0, 0.5))[0],
    "vmap": lambda x, y: vmap(stepped_on)(np.array([x, y]), np.array([y, y]))[0],
    "scan": lambda x, y: cr.lax.scan(lambda c, a: (stepped_on(c, a), c), x, np.ones(5) * 0.1)[0],
    "fori_loop": lambda x, y: cr.lax.fori_loop(0, 3, lambda i, c: stepped_on(c, y), x),
    "map": lambda x, y: cr.lax.map(lambda c: stepped_on(c, y), np.array([x, y]))[0],
    "root": lambda x, y: cr.root(lambda u: u + 0.1 * stepped_on(u, y) - x, x),
    "compile": lambda x, y: compile(stepped_on)(x, y),
    "custom_gradient": custom,
    "a method": lambda x, y: cr.jvp(Handed(x).stepped, (y,), (1.0,))[1],
}


class Handed:
    def __init__(self, x: Any) -> None:
        self.x = x

    def stepped(self, y: Any) -> Any:
        return stepped_on(self.x, y)


@pytest.mark.parametrize("name", HANDED)
def test_functions_that_are_handed_over(name: str) -> None:
    """Transformations, loops, solvers and compiled functions run them as a trace does."""
    f = HANDED[name]
    compiled = compile(vmap(f))
    xs, ys = np.ascontiguousarray(POINTS[:, :2].T)
    found = compiled(xs, ys)
    for value, x, y in zip(found, xs.tolist(), ys.tolist(), strict=True):
        assert np.isclose(value, f(x, y), rtol=1e-9, atol=1e-12, equal_nan=True)
    stats = compiled.stats()
    assert stats.traces == 1
    assert [x.both for x in stats.branches if x.kind != "comparison"] == [True]
    off = compile(f, rewrite=False)
    off(*POINTS[8, :2].tolist())
    assert not any(x.both for x in off.stats().branches)


SOURCE = """
def f(x, y, z):
    total = 0.0
    for k in range(4):
        if x > k - 1:
            total = total + y
        else:
            total = total - z
    return total
"""


def test_code_without_source_is_left() -> None:
    """And stays what it is; with a source that is another one, too."""
    values: dict[str, Any] = {}
    exec(SOURCE, values)
    agrees(values["f"], both=False)
    values = {}
    exec(__builtins_compile__(SOURCE, "<changed>", "exec"), values)
    lines = SOURCE.replace("total - z", "total + z").splitlines(keepends=True)
    linecache.cache["<changed>"] = (len(SOURCE), None, lines, "<changed>")
    agrees(values["f"], both=False)
    linecache.cache["<changed>"] = (len(SOURCE), None, SOURCE.splitlines(True), "<changed>")
    with pytest.raises(NoSource):
        source_of(values["f"].__code__.replace(co_code=ONE.__code__.co_code), {})
    assert source_of(values["f"].__code__, {}).tree.lineno == 2


__builtins_compile__ = (
    __builtins__["compile"] if isinstance(__builtins__, dict) else __builtins__.compile
)


def test_eager_code_is_never_rewritten() -> None:
    """What runs eagerly runs the function itself."""
    seen: list[types.CodeType] = []

    def f(x: Any) -> Any:
        seen.append(sys._getframe().f_code)
        return x if x > 0 else -x

    compiled = compile(f)
    compiled(1.0)
    assert f.__code__ not in seen
    cr.grad(f)(1.0)
    assert seen[-1] is f.__code__


def test_lines_and_tracebacks() -> None:
    """They are those of the source."""

    def failing(x: Any) -> Any:
        total = 0.0
        for k in range(5):
            if x > k:
                total = total + x
            else:
                total = total - x
        return float(total if x > 0 else 1.0) + missing  # type: ignore[name-defined]

    first = failing.__code__.co_firstlineno
    with pytest.raises(TypeError) as caught:
        compile(failing)(np.float64(2.5))
    entries = traceback.extract_tb(caught.value.__traceback__)
    assert ("failing", first + 7) in [(x.name, x.lineno) for x in entries if x.filename == __file__]

    def lined(x: Any) -> Any:
        for k in range(5):
            if x > k:
                x = x - 0.5
            else:
                x = exp(x)
        return x

    compiled = compile(lined)
    compiled(1.5)
    (branch,) = compiled.stats().branches
    assert re.fullmatch(rf".*test_rewriting\.py:{lined.__code__.co_firstlineno + 2}", branch.line)
    lines = {int(x) for x in re.findall(r"test_rewriting\.py:(\d+)", compiled.tape())}
    assert lines <= {lined.__code__.co_firstlineno + k for k in range(1, 6)}


def test_an_error_of_some_calls_leaves_the_branches() -> None:
    """One that the function raises itself for some numbers."""

    def checked(x: Any, y: Any) -> Any:
        total = y
        for k in range(5):
            total = total - 1.0 if total > k else total + x
        if y < 0:
            raise ValueError("negative")
        return total

    compiled = compile(checked)
    for _ in range(2):
        with pytest.raises(ValueError, match="negative"):
            compiled(1.0, -1.0)
        assert compiled(1.0, 3.0) == checked(1.0, 3.0)
    assert [x.both for x in compiled.stats().branches] == [True, False]


def in_a_generator(x: Any, y: Any) -> Any:
    def values() -> Any:
        yield x if x > y else y

    return next(values())


class Ordered:
    def __init__(self, x: Any) -> None:
        self.x = x

    def __lt__(self, other: Any) -> bool:
        return bool(self.x < other.x)


def of_operators(x: Any, y: Any) -> Any:
    return x if Ordered(x) < Ordered(y) else y


def without_source(x: Any, y: Any) -> Any:
    values: dict[str, Any] = {}
    exec("def f(x, y):\n    return x if x > y else y", values)
    return values["f"](x, y)


def sorted_in_place(x: Any, y: Any) -> Any:
    values = [x, y]
    values.sort()
    return values[0]


def matched(x: Any, y: Any) -> Any:
    match 1:
        case 1 if x > y:
            return x
    return y


def matched_truth(x: Any, y: Any) -> Any:
    match x > y:
        case True:
            return x
    return y


def indexed(x: Any, y: Any) -> Any:
    return [x, y][1 if x > y else 0]


REASONS = [
    (in_a_generator, "comparison", "it is in a generator"),
    (of_operators, "comparison", "called by code that is not rewritten"),
    (without_source, "comparison", "its source is not found"),
    (sorted_in_place, "comparison", "what is called there asks"),
    (matched, "case", "one of several cases"),
    (matched_truth, "comparison", "only a bool will do"),
    (indexed, "comparison", "an index"),
    (lambda x, y: len([v for v in (x, y) if v > 0]), "if of a comprehension", "how many items"),
    (lambda x, y: (x > y and print()) or y, "and", "print may have an effect"),
    (lambda x, y: statistics.median([x, y, 0.5]), "comparison", "it is in a library"),
    (lambda x, y: x in [y, 0.5], "comparison", "`in` asks"),
    (lambda x, y: (x and y) + 1.0, "comparison", "a part is no comparison"),
    (lambda x, y: (x, y) < (y, x), "comparison", "a comparison of lists"),
    (lambda x, y: sorted([x, y])[0], "comparison", "sorted asks"),
]


@pytest.mark.parametrize(("f", "kind", "why"), REASONS)
def test_every_guard_is_said(f: Callable[..., Any], kind: str, why: str) -> None:
    """Of each guard of a trace there is the line, and a reason."""
    compiled = compile(f)
    for x, y in ((2.0, 1.0), (2.0, 3.0), (0.5, -1.0)):
        assert compiled(x, y) == f(x, y)
    found = [(x.kind, x.why) for x in compiled.stats().branches if not x.both]
    assert any(x[0] == kind and why in x[1] for x in found), found
    plain = compile(f, rewrite=False)
    plain(2.0, 1.0)
    assert {x.why for x in plain.stats().branches} == {"rewrite=False"}


def test_guards_of_the_library_are_said() -> None:
    """Not what stands around the call that traces."""
    compiled = compile(cr.nn.cross_entropy)
    compiled(np.array([0.3, 0.2]), np.array(1))
    assert [x.why for x in compiled.stats().branches] == ["it is in a library"]


def test_what_is_done_is_said() -> None:
    """By line, with the reason."""

    def f(x: Any, y: Any) -> Any:
        if x > 100:
            return y
        log = []
        for k in range(4):
            if x > k:
                log.append(y)
            y = y if y > x else x * where(y > 0, y, sqrt(2.0))
        return y + len(log)

    compiled = compile(f)
    compiled(2.5, 1.0)
    first = f.__code__.co_firstlineno
    found = [
        (int(x.line.rpartition(":")[2]) - first, x.kind, x.both) for x in compiled.stats().branches
    ]
    assert found == [(1, "if", False), (5, "if", False), (7, "a if c else b", True)]
    few, appends, _ = compiled.stats().branches
    assert compile(f).stats().branches == ()
    assert "line" in few.why or "few paths" in few.why
    assert f"line {first + 6}" in appends.why
    assert compile(f, rewrite=False).options.rewrite is False
