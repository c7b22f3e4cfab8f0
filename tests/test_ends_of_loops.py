"""Loops that end by a condition, inside loops over lanes or elements that are traced once.

More random programs: ``python tests/test_ends_of_loops.py COUNT FIRST``.
"""

from __future__ import annotations

import linecache
import sys
import warnings
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import math as cm

STEPS = [
    "x = x * 0.5 if x > 2.0 else 0.8 * x",
    "x = 0.7 * x",
    "x = 0.9 * x - 0.01",
    "x = max(0.6 * x, x - 3.0)",
    "x = x / (1.0 + 0.1 * x)",
]
SUMS = ["s += x * r", "s = 0.9 * s + cm.sin(x)", "s += abs(x - r)", "s = max(s, x)", "n += 1"]
LEAVES = ["if s > 5.0: break", "if x < 0.2: return s * r", "if s < x: continue", "if n > 25: break"]
FORMS = {
    "vmap": """
def whole(xs, r):
    return sum(cr.vmap(f, in_axes=(0, None))(xs, r)) / r
""",
    "reduce": """
def whole(xs, r):
    return cr.vmap(f, in_axes=(0, None), reduce="sum")(xs, r) * r
""",
    "for": """
def whole(xs, r):
    t = 0.0
    for x in xs:
        t = t + cm.sin(f(x, r))
    return t
""",
    "carried": """
def whole(xs, r):
    t = 0.0
    for x in xs:
        t = 0.5 * t + 0.1 * f(x + 0.01 * abs(t), r)
    return t
""",
}


def program(seed: int) -> tuple[str, str]:
    """The source of a function of numbers and one number, and its form."""
    random = Random(seed)
    body = [random.choice(STEPS), random.choice(SUMS)]
    if random.random() < 0.6:
        body.insert(random.randint(1, 2), random.choice(LEAVES))
    if random.random() < 0.3:
        body.append(f"if x > r: {random.choice(SUMS)}")
    condition = random.choice(["x > 1.0", "x > r", "x > 1.0 and s < 8.0", "not x < 0.5"])
    lines = ["def f(x, r):", "    s, n = 0.0, 0", f"    while {condition}:"]
    lines += [f"        {line}" for line in body]
    if random.random() < 0.3:
        lines += ["    y = x + 1.0", "    while y > 1.1:", "        y = 0.6 * y + 0.3 * r"]
        lines += ["    s = s + y"]
    lines.append(f"    return {random.choice(['s + x * n', 'x * r + n', 's * x + r'])}")
    form = random.choice([*FORMS])
    return "\n".join(lines) + "\n" + FORMS[form], form


def function_of(source: str, name: str) -> Callable[..., Any]:
    """What a source defines, with its lines where they are looked for."""
    linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    scope: dict[str, Any] = {"cr": cr, "cm": cm}
    exec(compile(source, name, "exec"), scope)
    found: Callable[..., Any] = scope["whole"]
    return found


def points(seed: int, count: int) -> list[Any]:
    """Numbers of which some end at once, some late, in any order."""
    rng = np.random.default_rng(seed)
    some = rng.uniform(0.3, 40.0, count)
    early = np.concatenate([[0.4], some[1:]])
    late = some.copy()
    late[count // 2] = 1e5
    return [early, some, late, np.full(count, 0.9), rng.permutation(late)]


def difference(seed: int) -> str:
    """Where a random program gives other numbers compiled; "" for nowhere."""
    source, form = program(seed)
    whole = function_of(source, f"<ends {seed}>")
    count = Random(seed).choice([9, 60])
    for g in (
        cr.value_and_grad(whole, argnums=(0, 1)),
        cr.jacfwd(cr.grad(whole, argnums=1), argnums=1),
    ):
        compiled = cr.compile(g)
        for k, xs in enumerate(points(seed, count)):
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                expected, found = [
                    np.concatenate([np.ravel(x) for x in cr.trees.leaves_of(call(xs, 0.7))[0]])
                    for call in (g, compiled)
                ]
            if not np.allclose(found, expected, rtol=1e-9, atol=1e-9, equal_nan=True):
                return f"seed {seed}, {form}, numbers {k}:\n{source}"
    return ""


@pytest.mark.parametrize("seed", range(11))
def test_random_programs(seed: int) -> None:
    """Values and derivatives to second order, for numbers with other trip counts in turn."""
    assert not difference(seed)


HALVED = """
def f(x, r):
    n = 0
    while x > 1.0:
        x = x / 2 if x > 2 else 0.9 * x
        n += 1
    return x * n * r
"""


@pytest.mark.parametrize("form", [*FORMS])
def test_one_path(form: str) -> None:
    """However early the first lane ends, one stands for all; of elements, if it is late."""
    whole = function_of(HALVED + FORMS[form], f"<halved {form}>")
    xs = np.random.default_rng(0).uniform(1.0, 900.0, 500)
    xs[0] = 1.5 if "vmap(" in FORMS[form] else 400.0
    compiled = cr.compile(cr.value_and_grad(whole))
    value, slopes = compiled(xs, 1.0)
    expected = cr.value_and_grad(whole)(xs, 1.0)
    assert value == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(slopes, expected[1], rtol=1e-12)
    stats = compiled.stats()
    assert stats.traces == 1
    assert stats.nodes < 400


LEFT = """
def f(x, r):
    for k in range(40):
        x = x * 0.9
        if x < 1.0:
            return x * r
    return x + r
"""


@pytest.mark.parametrize("form", [*FORMS])
@pytest.mark.parametrize("lanes", [9, 500])
def test_left_early(form: str, lanes: int) -> None:
    """A loop that ends by itself is not asked for its end in one that is traced once."""
    whole = function_of(LEFT + FORMS[form], f"<left {form}>")
    xs = np.random.default_rng(0).uniform(0.5, 90.0, lanes)
    compiled = cr.compile(cr.value_and_grad(whole))
    value, slopes = compiled(xs, 1.0)
    expected = cr.value_and_grad(whole)(xs, 1.0)
    assert value == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(slopes, expected[1], rtol=1e-12)
    assert compiled.stats().traces == 1
    assert compiled.stats().nodes < 600


if __name__ == "__main__":
    many, first = int(sys.argv[1]), int(sys.argv[2])
    wrong = [found for k in range(first, first + many) if (found := difference(k))]
    print(*wrong, sep="\n")
    sys.exit(bool(wrong))
