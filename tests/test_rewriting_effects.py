# ruff: noqa: B007, B012, B023, B905, D101, D103, E731, E742, SIM108
# mypy: ignore-errors
"""What branches do in the side that is not taken is not seen, whatever it is that they do.

Each function counts, or adds up, what has been done: were it done in vain, its value would say so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest
from test_rewriting import agrees, at_once  # noqa: F401


def counted_from_both_ends(x: Any, y: Any, z: Any) -> Any:
    a = [x, y, z]
    t = 0.0
    for k in range(4):
        if x + k > 1.5:
            a[-1] = x * 2 + k
        else:
            a[2] = y * 3 - k
        t = t + a[2] * (k + 1)
    return t + a[0]


def seen_in_a_view(x: Any, y: Any, z: Any) -> Any:
    m = np.array([[x, y], [z, x]], dtype=object)
    v = m[0]
    t = 0.0
    for k in range(4):
        if x + k > 1.5:
            m[0, 1] = x * 2 + k
        else:
            v[1] = y * 3 - k
        t = t + m[0, 1] * (k + 1)
    return t


def into_an_array(x: Any, y: Any, z: Any) -> Any:
    b = np.array([x, y, z], dtype=object)
    a = np.array([1.0 * x, x, y], dtype=object)
    t = 0.0
    for k in range(4):
        if x + k > 1.5:
            s = np.add(a, a, out=b)[0]
        else:
            s = x
        t = t + s + b[1]
    return t


def into_a_third_argument(x: Any, y: Any, z: Any) -> Any:
    b = np.array([x, y, z], dtype=object)
    a = np.array([1.0 * x, x, y], dtype=object)
    t = 0.0
    for k in range(4):
        if x + k > 1.5:
            s = np.multiply(a, 2.0, b)[0]
        else:
            s = x
        t = t + s + b[1]
    return t


def sums_into(x: Any, y: Any, z: Any) -> Any:
    b = np.array([1.0, 2, 3])
    a = np.array([1.0, 0.5, 0.25])
    t = 0.0
    for k in range(4):
        if x + k > 1.5:
            s = np.cumsum(a, out=b)[0]
        else:
            s = x
        t = t + s + b[1]
    return t


def method_into(x: Any, y: Any, z: Any) -> Any:
    b = np.zeros(())
    a = np.array([1.0, 0.5, 0.25])
    t = 0.0
    for k in range(4):
        if x + k > 1.5:
            s = a.sum(out=b) * 1.0
        else:
            s = x
        t = t + s + float(b)
    return t


COUNT = [0]


def bump(a, b):
    COUNT[0] += 1
    return a + b


uf = np.frompyfunc(bump, 2, 1)


def of_a_python_function(x: Any, y: Any, z: Any) -> Any:
    COUNT[0] = 0
    t = 0.0
    for k in range(4):
        if x + k > 1.5:
            s = uf(x, 1.0)
        else:
            s = x
        t = t + s
    return t + COUNT[0]


def reduced(x: Any, y: Any, z: Any) -> Any:
    COUNT[0] = 0
    t = 0.0
    for k in range(4):
        if x + k > 1.5:
            s = reduce(bump, [x, y, z])
        else:
            s = x
        t = t + s
    return t + COUNT[0]


def loaded_before(x: Any, y: Any, z: Any) -> Any:
    a = [x, y, z]
    t = 0.0

    def h(k):
        a[0] = a[0] * 3
        return 1.0 + k

    for k in range(4):
        if x + k > 1.5:
            t = t + y
        a[0] += h(k)
    return t + a[0]


def index_before_value(x: Any, y: Any, z: Any) -> Any:
    a = [x, y, z]
    t = 0.0
    for k in range(3):
        if x + k > 1.5:
            t = t + y
        n = 0
        a[n := n + 1] += n * x
    return t + a[0] + a[1] * 2


def goes_on_by_hand(x: Any, y: Any, z: Any) -> Any:
    it = iter([1.0, 2.0, 3.0, 4.0])
    for v in it:
        if x * v > 1.2:
            break
    r = 0.0
    for w in it:
        r += w * y
    return r


def goes_on(x: Any, y: Any, z: Any) -> Any:
    it = iter([1.0, 2.0, 3.0, 4.0, 5.0])
    s = 0.0
    for v in it:
        s += v * x
        if s > 1.2:
            break
    return s + sum(it) * y


def goes_on_counted(x: Any, y: Any, z: Any) -> Any:
    it = iter([1.0, 2.0, 3.0, 4.0, 5.0])
    s = 0.0
    for i, v in enumerate(it):
        s += v * x
        if s > 1.2:
            break
    return s + sum(it) * y


def generated(x: Any, y: Any, z: Any) -> Any:
    LOG = []

    def g():
        for i in range(4):
            LOG.append(i)
            yield i + 1.0

    s = 0.0
    for v in g():
        s += v * x
        if s > 1.2:
            break
    return s + len(LOG) * y


def generated_here(x: Any, y: Any, z: Any) -> Any:
    s = 0.0
    L = []

    def add(i):
        L.append(i)
        return i + 1.0

    for v in (add(i) for i in range(5)):
        s += v * x
        if s > 1.2:
            break
    return s + len(L) * y


def mapped(x: Any, y: Any, z: Any) -> Any:
    L = []

    def add(i):
        L.append(i)
        return i + 1.0

    s = 0.0
    for v in map(add, range(5)):
        s += v * x
        if s > 1.2:
            break
    return s + len(L) * y


def left_inside(x: Any, y: Any, z: Any) -> Any:
    it = iter([1.0, 2.0, 3.0, 4.0, 5.0])

    def first():
        s = 0.0
        for v in it:
            s += v * x
            if s > 1.2:
                return s
        return s

    return first() + sum(it) * y


def starred(x: Any, y: Any, z: Any) -> Any:
    its = [iter([1.0, 2.0, 3.0])]
    t = 0.0
    for k in range(4):
        if x + k > 1.5:
            s = sum(*its)
        else:
            s = x
        t = t + s
    return t


def starred_pairs(x: Any, y: Any, z: Any) -> Any:
    its = [iter([1.0, 2.0, 3.0, 4.0, 5.0] * 4), iter([1.0, 2.0, 3.0] * 4)]
    t = 0.0
    for k in range(4):
        if x + k > 1.5:
            s = [a * b for a, b in zip(*its)][:1]
            s = s[0] if s else 0.0
        else:
            s = x
        t = t + s
    return t


class O:
    n = 0

    def __init__(self, v):
        self.v = v

    def __add__(self, o):
        O.n += 1
        return self.v + o

    def __radd__(self, o):
        O.n += 1
        return self.v + o

    def __lt__(self, o):
        O.n += 1
        return self.v < o.v

    def __gt__(self, o):
        O.n += 1
        return self.v > o.v

    def __eq__(self, o):
        O.n += 1
        return False

    __hash__ = None


def objects_added(x: Any, y: Any, z: Any) -> Any:
    O.n = 0
    os = [O(1.0), O(2.0)]
    t = 0.0
    for k in range(4):
        s = sum(os) if x + k > 1.5 else x
        t = t + s
    return t + O.n


def objects_sought(x: Any, y: Any, z: Any) -> Any:
    O.n = 0
    os = [O(1.0), O(2.0)]
    t = 0.0
    for k in range(4):
        s = (1.0 if 3 in os else 2.0) if x + k > 1.5 else x
        t = t + s
    return t + O.n


def objects_compared(x: Any, y: Any, z: Any) -> Any:
    O.n = 0
    os = [O(1.0), O(2.0)]
    ps = [O(1.0), O(2.0)]
    t = 0.0
    for k in range(4):
        s = (1.0 if ps == os else 2.0) if x + k > 1.5 else x
        t = t + s
    return t + O.n


def objects_ordered(x: Any, y: Any, z: Any) -> Any:
    O.n = 0
    os = [O(1.0), O(2.0)]
    t = 0.0
    for k in range(4):
        s = max(os).v if x + k > 1.5 else x
        t = t + s
    return t + O.n


def suppressed(x: Any, y: Any, z: Any) -> Any:
    t = 0.0
    for k in range(3):
        if x + k > 1:
            kind = None
        else:
            kind = 2.0
        with contextlib.suppress(Exception):
            t = t + y * kind
    return t


def ended_in_finally(x: Any, y: Any, z: Any) -> Any:
    t = 0.0
    for k in range(3):
        if x + k > 1:
            kind = None
        else:
            kind = 2.0
        try:
            t = t + y * kind
        finally:
            continue
    return t


def closed_over(x: Any, y: Any, z: Any) -> Any:
    g = None
    t = 0.0
    for k in range(4):
        v = x * k + y
        if k == 0:
            g = lambda: v
        t += v
        if t > 1.0:
            break
    return t + g() * 2


def closed_over_by_def(x: Any, y: Any, z: Any) -> Any:
    t = 0.0
    for k in range(4):
        v = x * k + y
        if k == 0:

            def g():
                return v

        t += v
        if t > 1.0:
            break
    return t + g() * 2


def sought(x: Any, y: Any, z: Any) -> Any:
    values = iter([1.0, 2.0, 3.0, 4.0])
    found = any(x < v for v in values)
    return sum(values) * y + found


def sought_by_number(x: Any, y: Any, z: Any) -> Any:
    n = 0
    found = any((n := n + 1) and v > 0.3 for v in (x, y, z))
    return n * x + found * y


def exact(x: Any, y: Any, z: Any) -> Any:
    return max(10**17 + 1, x) - 10**17 + (min(y, -(10**400)) < z)


FUNCTIONS = [
    exact,
    sought,
    sought_by_number,
    counted_from_both_ends,
    seen_in_a_view,
    into_an_array,
    into_a_third_argument,
    sums_into,
    method_into,
    of_a_python_function,
    reduced,
    loaded_before,
    index_before_value,
    goes_on_by_hand,
    goes_on,
    goes_on_counted,
    generated,
    generated_here,
    mapped,
    left_inside,
    starred,
    starred_pairs,
    objects_added,
    objects_sought,
    objects_compared,
    objects_ordered,
    suppressed,
    ended_in_finally,
    closed_over,
    closed_over_by_def,
]


@pytest.mark.parametrize("f", FUNCTIONS)
def test_nothing_is_done_in_vain(f: Callable[..., Any]) -> None:
    """Values and gradients are those of the function as it stands."""
    agrees(f, both=None)
