"""What iterations hand on: carries that others, numbers or values from outside take the place of.

More random programs: ``python tests/test_handed_on.py COUNT FIRST``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import lax
from chainrule import math as cm

NEXT = [
    *("{a}", "{b}", *3 * ["{a} + {b}"], "{a} - {b}", "0.7 * {a}", "{a} * {b}", "0.0", "1.0"),
    *(*3 * ["cm.sin(q)"], "p", "q", "p * q", "{a} + cm.sin(q)", "-{a}", "{a} + 1.0"),
]
FIRST = ["p", "p", "q", "0.0", "0.0", "1.0", "cm.sin(p)"]
WAYS: dict[str, Callable[..., Any]] = {
    "gradient": cr.grad,
    "hessian": cr.hessian,
    "reverse over reverse": lambda f: cr.jacrev(cr.grad(f)),
    "reverse over forward": lambda f: cr.jacrev(cr.jacfwd(f)),
    "forward over reverse": lambda f: cr.jacfwd(cr.grad(f)),
    "one of the second": lambda f: cr.grad(lambda x: cr.grad(f)(x)[0]),
    "third": lambda f: cr.grad(lambda x: sum(cr.grad(lambda y: cr.grad(f)(y)[0])(x))),
}


def program(seed: int) -> str:
    """The source of a function of two numbers, with a loop of a few carries."""
    random = Random(seed)
    names = ["a", "b", "c"][: random.choice([1, 2, 2, 3])]

    def chosen(texts: list[str]) -> str:
        return random.choice(texts).format(a=random.choice(names), b=random.choice(names))

    carries = ", ".join(names)
    after = ", ".join(chosen(NEXT) for _ in names)
    inner = f"lax.fori_loop(0, 2, lambda j, t: t + {random.choice(names)}, {names[0]})"
    if random.random() < 0.25:
        after = ", ".join([inner, *after.split(", ")[1:]]) if "(" not in after else after
    first = ", ".join(chosen(FIRST) for _ in names)
    terms = [f"{k + 1.0} * {x} * {random.choice(names)}" for k, x in enumerate(names)]
    total = " + ".join(terms) if random.random() < 0.5 else random.choice(names)
    return "\n".join(
        [
            "def f(x):",
            "    p, q = x",
            "    def body(i, carry):",
            f"        {carries}, = carry",
            f"        return {after},",
            f"    {carries}, = lax.fori_loop(0, {random.choice([1, 2, 4, 7])}, body, ({first},))",
            f"    return {random.choice(['cm.sin({})', '({}) ** 2'])}".format(total),
        ]
    )


def difference(seed: int) -> str:
    """Where a random program gives other numbers compiled; "" for nowhere."""
    source = program(seed)
    scope: dict[str, Any] = {"cm": cm, "lax": lax}
    exec(source, scope)
    x = np.array([0.3, -1.2])
    for name, way in WAYS.items():
        expected = np.ravel(way(scope["f"])(x))
        found = np.ravel(cr.compile(way(scope["f"]))(x))
        size = 1.0 + np.max(np.abs(expected))
        if not np.allclose(found, expected, rtol=1e-9, atol=1e-10 * size, equal_nan=True):
            return f"seed {seed}, {name}: {found} for {expected}\n{source}"
    return ""


@pytest.mark.parametrize("seed", range(30))
def test_random_programs(seed: int) -> None:
    """Derivatives to third order."""
    assert not difference(seed)


def test_messages_that_never_come() -> None:
    """A sum without any term is 0: it is not what is handed on elsewhere."""

    def f(x: Any) -> Any:
        def body(_: Any, carry: Any) -> Any:
            return carry[0] + carry[1], cm.sin(x[1])

        return lax.fori_loop(0, 4, body, (0.0, x[0]))[0] ** 2

    x = np.array([0.3, -1.2])
    np.testing.assert_allclose(cr.compile(cr.hessian(f))(x), cr.hessian(f)(x), rtol=1e-12)


if __name__ == "__main__":
    many, first = int(sys.argv[1]), int(sys.argv[2])
    wrong = [found for k in range(first, first + many) if (found := difference(k))]
    print(*wrong or ["none wrong"], sep="\n")
    sys.exit(bool(wrong))
