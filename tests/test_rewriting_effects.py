# ruff: noqa: B007, B012, B023, B905, D101, D103, E731, E742, SIM108
# mypy: ignore-errors
"""What branches do in the side that is not taken is not seen, whatever it is that they do.

Each function counts, or adds up, what has been done: were it done in vain, its value would say so.
"""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest
from test_rewriting import POINTS, agrees, at_once  # noqa: F401

from chainrule import compile, vmap
from chainrule.jit.arguments import Packed
from chainrule.jit.trace import Restart


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


def plain_bools(x: Any, y: Any, z: Any) -> Any:
    """With a test for identity comparisons that are stored are bools, and what is made of them."""
    match x > y:
        case True:
            total = x
        case False:
            total = y
    for k in range(3):
        if any(v > k for v in (x, y)):
            total = total + z
        found = x > k or not y > k
        if found or total > 2.0 * z:
            break
    return total


def kept_and_gone_through(x: Any, y: Any, z: Any) -> Any:
    total = z
    for k in range(4):
        if x > k - 2:
            pairs = {0: zip([x, y, z], [1.0, 2.0, 3.0], strict=True)}
            if y > 0:
                for a, b in pairs.get(0, ()):
                    total = total + a * b
            for a, b in pairs.get(0, ()):
                total = 0.5 * total - a * b
    return total


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


def kinds(x: Any, y: Any, z: Any) -> Any:
    n = 2 if x > 0 else 3
    m = 2 if y > 0 else 2.5
    for k in range(3):
        if z > k:
            n += 1
    return isinstance(n, int) + 2 * isinstance(m, int) + 4 * (type(n + 1) is int) + x


def kinds_in_a_side(x: Any, y: Any, z: Any) -> Any:
    n = 2 if x > 0 else 3
    total = z
    for k in range(3):
        if y > k:
            total += 1.0 if isinstance(n, int) else 5.0
    return total


def texts(x: Any, y: Any, z: Any) -> Any:
    n = 2 if x > 0 else 13
    return len(str(n)) + (repr(n) == "2") * y + z


def exact(x: Any, y: Any, z: Any) -> Any:
    return max(10**17 + 1, x) - 10**17 + (min(y, -(10**400)) < z)


FUNCTIONS = [
    exact,
    kinds,
    kinds_in_a_side,
    texts,
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
    kept_and_gone_through,
    plain_bools,
]


@pytest.mark.parametrize("f", FUNCTIONS)
def test_nothing_is_done_in_vain(f: Callable[..., Any]) -> None:
    """Values and gradients are those of the function as it stands."""
    agrees(f, both=None)


def test_traces_given_up_are_not_gone_on_with() -> None:
    """What other threads still run of them is begun anew: their guards are others now."""

    def f(x: Any) -> Any:
        total = 0.0
        for k in range(4):
            if x > k:
                total += x * k
            else:
                total -= x
        return total

    compiled = compile(f)
    compiled(2.5)
    (plan,) = compiled._plans.values()
    old = plan.paths
    for x in (-1.0, 0.5, 1.5, 3.5, 4.5, 5.5):
        assert compiled(x) == f(x)
    plan.paths = type(old)(plan)
    with pytest.raises(Restart):
        old.at((True, False, True), Packed(plan.leaves, [0.5]))
    assert [compiled(x) for x in (-1.0, 2.5)] == [f(-1.0), f(2.5)]


def test_functions_are_let_go() -> None:
    """What the functions that a trace has called are made of is not kept after it."""

    class Held:
        pass

    def made() -> Any:
        held = Held()

        def helper(x: Any, held: Any = held) -> Any:
            return x if x > 1 else 2 * x

        def f(x: Any) -> Any:
            return helper(x) + helper(x - 1)

        assert compile(vmap(f))(POINTS[:, 0])[3] == f(POINTS[3, 0])
        return weakref.ref(held)

    held = made()
    gc.collect()
    assert held() is None


def scaled(x: Any, *, by: float = 2.0) -> Any:
    return x * by if x > 0 else x


def test_defaults_are_those_of_the_trace() -> None:
    """They may have been changed since the last one."""
    assert compile(lambda x: scaled(x))(1.0) == 2.0
    scaled.__kwdefaults__ = {"by": 5.0}
    try:
        assert compile(lambda x: scaled(x) + 0)(1.0) == 5.0
    finally:
        scaled.__kwdefaults__ = {"by": 2.0}
