# ruff: noqa: B023, F821, RUF017, UP031, UP032
# mypy: disable-error-code="no-untyped-call, has-type, arg-type"
"""Loops of which one iteration hardly stands for all: compiled they are what they are eagerly."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

import chainrule as cr
from chainrule import math as cm
from chainrule.rewriting import once

BYTES: Final = np.array([200, 100, 250, 30, 7], dtype=np.uint8)
HALVES: Final = np.array([0.1, 0.2, 0.3, 0.7, 0.9], dtype=np.float32)
WHOLE: Final = np.array([2**40, 2, 3, 2**61, 5])
WORDS: Final = ["a", "b", "a", "c", "b"]

Loop = Callable[[Any], Any]
LOOPS: list[Loop] = []


def loop(f: Loop) -> Loop:
    """Add one to the tests."""
    LOOPS.append(f)
    return f


# Lists that are read by their methods, by other names, or in something else


@loop
def copied(x: Any) -> Any:
    """A list that is read by a method."""
    out: list[Any] = []
    s = 0.0 * x
    for k in range(6):
        out.append(k * x)
        s = s + len(out.copy()) * x
    return s


@loop
def counted(x: Any) -> Any:
    """The same with another method."""
    out: list[Any] = []
    s = 0.0 * x
    for _ in range(6):
        out.append(1.0)
        s = s + out.count(1.0) * x
    return s


@loop
def counted_by_another_name(x: Any) -> Any:
    """The same by the method's own name."""
    out: list[Any] = []
    count = out.count
    s = 0.0 * x
    for _ in range(6):
        s = s + x + count(3)
        out.append(3)
    return s


@loop
def read_in_a_list(x: Any) -> Any:
    """A list that is read as a part of another."""
    out: list[Any] = []
    both = [out, [x]]
    s = 0.0 * x
    for k in range(6):
        out.append(k * x)
        s = s + sum([len(part) for part in both]) * x
    return s


@loop
def read_as_a_whole(x: Any) -> Any:
    """The same by one call."""
    out: list[Any] = []
    both = [out, [x]]
    s = 0.0 * x
    for _ in range(6):
        s = s + len(sum(both, [])) * x
        out.append(x)
    return s


@loop
def read_from_a_tuple(x: Any) -> Any:
    """The same by a comparison."""
    out: list[Any] = []
    pair = (out, 1)
    s = 0.0 * x
    for _ in range(6):
        s = s + (x if pair == ([], 1) else 2.0 * x)
        out.append(1)
    return s


@loop
def read_by_an_attribute(x: Any) -> Any:
    """The same by an object."""

    class Held:
        values: Any = None

    Held.values = out = []
    s = 0.0 * x
    for _ in range(6):
        out.append(x)
        s = s + len(Held.values) * x + Held.values.count(0.0)
    return s


@loop
def read_by_a_closure(x: Any) -> Any:
    """The same by a function."""
    out: list[Any] = []

    def count() -> int:
        return len(out)

    s = 0.0 * x
    for _ in range(6):
        s = s + count() * x
        out.append(x)
    return s


@loop
def read_by_zip(x: Any) -> Any:
    """The same by an inner loop."""
    out: list[Any] = []
    s = 0.0 * x
    for _ in range(6):
        for a, b in zip(out, [x, 2.0 * x], strict=False):
            s = s + a * b
        out.append(x + len([*out]))
    return s


# Lists that are rows, or made elsewhere


@loop
def rows_appended(x: Any) -> Any:
    """What the loop goes through is changed."""
    rows = [[x * i] for i in range(5)]
    for row in rows:
        row.append(x * 2.0)
    return sum([sum(row) * len(row) for row in rows])


@loop
def rows_assigned(x: Any) -> Any:
    """The same, elements."""
    rows = [[x * i, x] for i in range(5)]
    for row in rows:
        row[0] = x * 3.0
    return sum([row[0] * row[1] for row in rows])


@loop
def buckets(x: Any) -> Any:
    """Lists looked up by an index."""
    held: list[list[Any]] = [[x], [2.0 * x], [3.0 * x], [x], [x]]
    for k in range(5):
        bucket = held[k]
        bucket.append(x * k)
    return sum([sum(bucket) * len(bucket) for bucket in held])


@loop
def last_row(x: Any) -> Any:
    """A row that is changed after the loop."""
    rows = [[x * i] for i in range(5)]
    s = 0.0
    for row in rows:
        s = s + row[0]
        last = row
    last.append(9.0 * x)
    row.append(x)
    return s + sum(rows[-1])


@loop
def same_list_again(x: Any) -> Any:
    """One list, many times."""
    zero = [x, x]
    grid = []
    s = 0.0 * x
    for k in range(5):
        s = s + x * k
        grid.append(zero)
    zero[0] = 5.0 * x
    return s + sum([row[0] for row in grid])


@loop
def same_array_again(x: Any) -> Any:
    """One array, many times."""
    zero = np.array([x, x])
    grid = []
    s = 0.0 * x
    for k in range(5):
        s = s + x * k
        grid.append(zero)
    zero[0] = 5.0 * x
    return s + sum([row[0] for row in grid])


@loop
def left_twice(x: Any) -> Any:
    """One list in two."""
    first, second = [], []
    for k in range(5):
        row = [x * k]
        first.append(row)
        second.append(row)
    first[2][0] = 100.0 * x
    return sum([row[0] for row in second])


@loop
def left_twice_in_one(x: Any) -> Any:
    """One list twice in one."""
    out = []
    for k in range(5):
        row = [x * k]
        out.append((row, row))
    out[2][0][0] = 100.0 * x
    return sum([row[1][0] for row in out])


@loop
def left_and_kept(x: Any) -> Any:
    """One list that is left, and stays the value of a variable."""
    out = []
    for k in range(5):
        row = [x * k]
        out.append(row)
    row.append(x)
    row[0] = x
    return sum([sum(row) * len(row) for row in out])


@loop
def two_names(x: Any) -> Any:
    """One list by two names, after the loop."""
    a = b = [x, x]
    for k in range(5):
        t = [a[0] * 0.5, x * k]
        a = b = t
    a[0] = 100.0 * x
    return b[0] + t[0]


@loop
def carried_appended(x: Any) -> Any:
    """A list handed on that another name knows."""
    a = [x, x]
    b = a
    for k in range(5):
        c = a
        a = [c[1], c[0] * 0.5 + k]
        c[0] = x * 9.0
    return a[0] + b[0] + c[0]


# Which object something is, and of what kind


@loop
def others(x: Any) -> Any:
    """All pairs of different bodies."""
    bodies = [[x * i, x + i] for i in range(5)]
    s = 0.0 * x
    for a in bodies:
        for b in bodies:
            if a is not b:
                s = s + 1.0 / (a[0] - b[0]) ** 2
    return s


@loop
def others_continued(x: Any) -> Any:
    """The same with another statement."""
    bodies = [[x * i, x + i] for i in range(5)]
    s = 0.0 * x
    for a in bodies:
        for b in bodies:
            if a is b:
                continue
            s = s + 1.0 / (a[0] - b[0]) ** 2
    return s


@loop
def others_by_value(x: Any) -> Any:
    """The same by ``!=``."""
    bodies = [[x * i, x + i] for i in range(5)]
    s = 0.0 * x
    for a in bodies:
        for b in bodies:
            if a != b:
                s = s + 1.0 / (a[0] - b[0]) ** 2
    return s


@loop
def others_in_a_comprehension(x: Any) -> Any:
    """The same in a comprehension."""
    bodies = [[x * i, x + i] for i in range(5)]
    s = 0.0 * x
    for a in bodies:
        s = s + sum([1.0 / (a[0] - b[0]) for b in bodies if b is not a])
    return s


@loop
def others_by_a_function(x: Any) -> Any:
    """The same in a function."""
    bodies = [[x * i, x + i] for i in range(5)]

    def force(a: Any, b: Any) -> Any:
        return 0.0 if a is b else 1.0 / (a[0] - b[0])

    s = 0.0 * x
    for a in bodies:
        for b in bodies:
            s = s + force(a, b)
    return s


@loop
def first_node(x: Any) -> Any:
    """A number that is another's."""
    values = [x * i for i in range(5)]
    s = 0.0 * x
    for value in values:
        if value is not values[0]:
            s = s + 1.0 / value
    return s


@loop
def whole_numbers(x: Any) -> Any:
    """The kind of an index."""
    s = 0.0 * x
    for k in range(5):
        s = s + (x * k if isinstance(k, int) else 100.0 * x)
    return s


@loop
def fractions(x: Any) -> Any:
    """The kind of a number in a list."""
    s = 0.0 * x
    for v in [1.0, 2.0, 3.0, 4.0]:
        s = s + (x * v if isinstance(v, float) else 100.0 * x)
    return s


@loop
def kind_after(x: Any) -> Any:
    """The kind of a number after the loop."""
    w, s = 1.0, 0.0
    for _ in range(5):
        w = w * 0.5
        s = s + x * w
    return s if isinstance(w, float) else 100.0 * s


@loop
def kind_by_class(x: Any) -> Any:
    """The same, by its class."""
    w, s = 1.0, 0.0
    for k in range(5):
        w = w * 0.5
        s = s + x * w * (k.__class__ is int)
    return s if w.__class__ is float else 100.0 * s


@loop
def kind_by_attribute(x: Any) -> Any:
    """The same, by what it has."""
    w, s = 1.0, 0.0
    for k in range(5):
        w = w * 0.5
        s = s + x * w + k.real * x + k.numerator
    return s * (w.is_integer() + 1.0) * w.real


@loop
def text_after(x: Any) -> Any:
    """The text of a number after the loop."""
    w, s = 1.0, 0.0
    for _ in range(5):
        w = w * 0.5
        s = s + x * w
    return s * len(str(w)) + len("%s" % w) + len(f"{w}") + len(repr([w]))


@loop
def texts(x: Any) -> Any:
    """The text of an index."""
    out: list[str] = []
    s = 0.0
    for k in range(5):
        s = s + x * k
        out.append("p%s" % k)
    return s * len("".join(out)) + len(set(out)) * x


@loop
def texts_formatted(x: Any) -> Any:
    """The same by format."""
    out: list[str] = []
    s = 0.0
    for k in range(5):
        s = s + x * k
        out.append("p{}".format(k))
    return s * len("".join(out)) + len(set(out)) * x


# Functions that know variables


@loop
def read_later(x: Any) -> Any:
    """A closure over what the loop assigns after its call."""
    s, u = x, 0.0
    g: Any = lambda: s * 2.0  # noqa: E731
    for k in range(6):
        u = u + g()
        s = x * k
    return u + s


@loop
def read_later_by_two(x: Any) -> Any:
    """The same by a function that another calls."""
    s, u = x, 0.0

    def g() -> Any:
        return s * 2.0

    def h() -> Any:
        return g() + 1.0

    for k in range(6):
        u = u + h()
        s = x * k
    return u + s


@loop
def bound_late(x: Any) -> Any:
    """Functions that all know the last values."""
    found: list[Any] = []
    for k in range(6):
        t = x * k
        found.append(lambda u: u * t * k)
    return sum([f(x) for f in found])


@loop
def bound_early(x: Any) -> Any:
    """Functions that know each their own."""
    found: list[Any] = []
    for k in range(6):
        found.append(lambda u, k=k: u * k)
        found.append(lambda u, t=x * k: u * t)
    return sum([f(x) for f in found])


@loop
def kept_function(x: Any) -> Any:
    """One that knows a value of the last iteration."""
    for k in range(6):
        t = x * k
        f: Any = lambda u, t=t: u * t  # noqa: E731
    return f(x)


@loop
def kept_generators(x: Any) -> Any:
    """What is gone through later."""
    for k in range(6):
        t = x * k
        g = (u * 2 for u in [t, t + 1])
        z = zip([t, t + 1], [x, 2 * x], strict=True)
    return sum(g) + sum([a * b for a, b in z])


@loop
def noted(x: Any) -> Any:
    """A function that appends: as often as it is called."""
    out: list[Any] = []

    def add(v: Any) -> Any:
        out.append(v)
        return v

    s = 0.0
    for k in range(5):
        s = s + add(x * k)
    return s * len(out) + sum(out)


@loop
def noted_twice(x: Any) -> Any:
    """The same in two loops, one in another."""
    out: list[Any] = []

    def add(v: Any) -> Any:
        out.append(v)
        return v

    s = 0.0
    for i in range(5):
        for k in range(4):
            s = s + add(x * k * i)
        out.append(s)
    return s * len(out) + sum(out)


@loop
def noted_by_default(x: Any) -> Any:
    """A list that is a default."""

    def add(v: Any, out: list[Any] = []) -> Any:  # noqa: B006
        out.append(v)
        return v + len(out)

    s = 0.0
    for k in range(5):
        s = s + add(x * k)
    return s


# Arrays


@loop
def arrays_of_two_names(x: Any) -> Any:
    """One array by two names, after the loop."""
    a = b = np.array([x, x])
    for k in range(5):
        t = np.array([a[0] * 0.5, x * k])
        a = b = t
    a[0] = 100.0 * x
    return b[0] + t[0]


@loop
def array_from_outside(x: Any) -> Any:
    """One from outside, and a part of it."""
    q = np.array([x, 2 * x])
    s = 0.0 * x
    for k in range(5):
        s = s + x * k
        t, u = q, q[:1]
    q[0] = 100.0 * x
    return t[0] * u[0] + s


@loop
def part_of_an_array(x: Any) -> Any:
    """Parts of one that an iteration makes."""
    s, out = 0.0 * x, []
    for k in range(4):
        t = np.array([x * k, x + k])
        u = t[:1]
        out.append((t, t.reshape(2, 1)))
        s = s + x
    t[0] = 50.0 * x
    out[1][0][0] = 60.0 * x
    return u[0] + s + out[1][1][0, 0]


@loop
def rows_of_an_array(x: Any) -> Any:
    """Rows, which are parts of it."""
    table = np.array([[x, 2 * x], [3 * x, x], [x, x], [x, 5 * x]])
    s, out = 0.0 * x, []
    for k, row in enumerate(table):
        s = s + row[0]
        last = row
        out.append(table[k])
    last[0] = 100.0 * x
    out[0][0] = 9.0 * x
    return table[3, 0] + table[0, 0] + s


@loop
def array_that_stays(x: Any) -> Any:
    """A variable that only seems to change."""
    q = np.array([x, 2 * x])
    r = q
    s = 0.0 * x
    for k in range(5):
        s = s + q[0]
        if k > 10:
            q = q * 2
    r[0] = 100.0 * x
    return q[0] + s


@loop
def arrays_swapped(x: Any) -> Any:
    """Variables that swap their arrays."""
    q, r = np.array([x, 2 * x]), np.array([x, 1.0])
    first = q
    s = 0.0 * x
    for _ in range(6):
        q, r = r, q
        s = s + q[0] * r[1]
    first[0] = 100 * x
    return r[0] + q[0] + s


# Whole numbers that become nodes


@loop
def minus_zero_first(x: Any) -> Any:
    """A whole number in the first iteration."""
    a, s = 0, 0.0 * x
    for k in range(6):
        s = s + cm.atan2(-a * x, -1.0) + cm.atan2((a // -3) * x, -1.0) + cm.atan2(a * (k - 3), -1.0)
        a = a + x
    return s + a


@loop
def huge_first(x: Any) -> Any:
    """One that is no float."""
    a, s = 2**60 + 1, 0.0 * x
    for _ in range(6):
        s = s + (a % 7) * x
        a = a * 1e-10 + x
    return s + a


@loop
def kind_first(x: Any) -> Any:
    """Its kind."""
    a, s = 0, 0.0 * x
    for _ in range(6):
        s = s + (x if isinstance(a, int) else 2 * x)
        a = a + x
    return s + a


# Numbers that are plain


@loop
def minus_zero(x: Any) -> Any:
    """Whole numbers have no -0."""
    s = 0.0
    for k in range(5):
        s = s + cm.atan2(-k * x, -1.0) + cm.atan2(k * (k - 7) * x, -1.0)
        s = s + cm.atan2((k // -7) * x, -1.0) + cm.atan2((k % -7) * x, -1.0)
        s = s + cm.copysign(x, -k) + cm.copysign(x, 0 * -k) + cm.copysign(1.0, -(k - 1) * 0)
    return s


@loop
def bytes_wrap(x: Any) -> Any:
    """Small whole numbers wrap."""
    s = 0.0 * x
    for k, v in enumerate(BYTES):
        s = s + x * (v + v) + x * (BYTES[k] * BYTES[k])
    return s


@loop
def wholes_wrap(x: Any) -> Any:
    """NumPy's whole numbers wrap too."""
    s = 0.0 * x
    for k in range(5):
        s = s + x * (WHOLE[k] * WHOLE[k] % 1000)
    return s


@loop
def halves_round(x: Any) -> Any:
    """Floats of 32 bits are rounded."""
    s = 0.0 * x
    for k, v in enumerate(HALVES):
        s = s + x * (v * v) + x * (HALVES[k] * HALVES[k])
    return s


@loop
def divided_by_zero(x: Any) -> Any:
    """Plain numbers raise."""
    s = 0.0 * x
    for v in [1.0, 2.0, 0.0, 4.0]:
        s = s + x * cm.exp(-1.0 / v)
    return s


@loop
def divided_by_zero_after(x: Any) -> Any:
    """The same after the loop."""
    w, s = 1.0, 0.0 * x
    for _ in range(5):
        w = w * 1e-200
        s = s + x
    return s + 1.0 / w


@loop
def too_large(x: Any) -> Any:
    """The same for powers."""
    w, s = 10.0, 0.0 * x
    for _ in range(8):
        w = w**3
        s = s + x
    return s + 1.0 / w


@loop
def huge(x: Any) -> Any:
    """Whole numbers are exact."""
    w, s = 1, 0.0 * x
    for k in range(60):
        w = w * 3 + k
        s = s + x
    return s * (w % 1000)


@loop
def huge_powers(x: Any) -> Any:
    """The same by an index."""
    s = 0.0 * x
    for k in range(60):
        s = s + x * (3**k % 1000) + (2**k + 1) % 7 + (k << k) % 11
    return s


@loop
def powers_at_zero(x: Any) -> Any:
    """Exponents are numbers of which a derivative depends."""
    s = 0.0
    for k in range(5):
        s = s + (k + 1) * (x - 0.7) ** k + (-x) ** k
    return s


@loop
def negative_steps(x: Any) -> Any:
    """Division and remainder of negative numbers."""
    s = 0.0 * x
    for k in range(-5, 5):
        q, r = divmod(k, 3)
        s = s + x * q + r * x * 2 + (k // 2) * x * 3 + (k % -4) * x * 4 + abs(k) * x
        s = s + max(k, 1) * x + min(k, 2) * x * 0.1 + round(k / 3) * x + (-k) // 3 + (-7) // (k - 6)
    return s


@loop
def truths(x: Any) -> Any:
    """Counts of what is true."""
    count, s, last = 0, 0.0 * x, None
    for k, v in enumerate([0.1, -0.2, 0.3, 0.4, 0.0]):
        count += v > 0
        last = k % 2 == 0
        s = s + x * v + (k > 2) * x + (not k) * x
    return s * count * (1.0 if last is True else 3.0)


@loop
def words(x: Any) -> Any:
    """What texts look up."""
    table = {"a": x, "b": 2.0 * x, "c": 3.0}
    seen: dict[str, Any] = {}
    s = 0.0 * x
    for word in WORDS:
        s = s + table[word]
        seen[word] = seen.get(word, 0.0) + s
    return sum(seen.values())


@loop
def shared_iterator(x: Any) -> Any:
    """An iterator that two loops go through."""
    values = iter([x, 2.0 * x, 3.0, 4.0, 5.0 * x, 6.0])
    s = 0.0 * x
    for v in values:
        s = s + v * next(values)
    for v in values:
        s = s + v
    return s


@loop
def first_only(x: Any) -> Any:
    """What only the first iteration does."""
    s, first = 0.0 * x, True
    for k in range(6):
        if first:
            s = s + 10.0 * x
            first = False
        s = s + x * k
    return s


@loop
def two_before(x: Any) -> Any:
    """A variable that has no value in the first iterations."""
    s = 0.0 * x
    for k in range(6):
        if k > 1:
            s = s + t
        t: Any = x * k
    return s + t


@loop
def bound_once(x: Any) -> Any:
    """A variable that one iteration binds."""
    s = 0.0 * x
    for k in range(6):
        s = s + x
        if k == 3:
            t = s
    return s + t


@loop
def stored_target(x: Any) -> Any:
    """A loop whose variable is an element."""
    a, s = [0, 1], 0.0
    for a[0] in range(5):
        s = s + a[0] * x
    return s * (a[0] + 1)


@loop
def order_of_keys(x: Any) -> Any:
    """The order of a dict."""
    d, s = {"b": x, "a": 2.0 * x}, 0.0
    for k in range(5):
        s = s + x
        d = {"b": d["a"] * 0.5 + k, "a": d["b"]}
        e = {"u": s, "c": x}
    s = s if next(iter(d)) == "b" else -s
    return s + d["a"] + e["u"] * (3.0 if next(iter(e)) == "u" else 1.0)


@loop
def swapped_elements(x: Any) -> Any:
    """Elements that swap places."""
    a = [x, 2.0 * x, 3.0]
    for k in range(7):
        a[k % 3], a[(k + 1) % 3] = a[(k + 1) % 3], a[k % 3] * 0.5 + x
    return a[0] + 10.0 * a[1] + 100.0 * a[2]


@loop
def left_early(x: Any) -> Any:
    """What is done before the loop is left."""
    out: list[Any] = []
    s = 0.0 * x
    for k in range(9):
        out.append(x)
        if k == 3:
            break
        s = s + x * k
    return s * k + len(out)


@loop
def constants_derived(x: Any) -> Any:
    """A loop in a derivative of constants."""

    def g(t: Any) -> Any:
        for _ in range(4):
            t = 0.1 * t
        return t * t

    return x * cr.grad(g)(0.5) + cr.jvp(g, (0.5,), (1.0,))[1]


def _ran(function: Callable[..., Any], x: float) -> Any:
    """What a function gives, or the type of an exception."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return [*map(float, function(x))]
        except Exception as error:
            return type(error)


@pytest.mark.parametrize("f", LOOPS, ids=lambda f: f.__name__)
def test_loops(f: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Value and derivative, at two points, are the eager ones."""
    monkeypatch.setattr(once, "LIMIT", 0)
    derived = cr.value_and_grad(f)
    compiled = cr.compile(derived)
    for x in (0.7, -1.3):
        found, expected = _ran(compiled, x), _ran(derived, x)
        if isinstance(expected, type):
            assert found is expected
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-12)
