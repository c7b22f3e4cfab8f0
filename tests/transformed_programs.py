"""Random functions of three numbers that use transformations inside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import math as cm

Function = Callable[[Sequence[Any]], Any]

UNARY: tuple[Callable[[Any], Any], ...] = (
    cm.sin,
    cm.tanh,
    cm.exp,
    cm.relu,
    lambda x: x * x,
    lambda x: -x,
    abs,
)
BINARY: tuple[Callable[[Any, Any], Any], ...] = (
    lambda x, y: x + y,
    lambda x, y: x - y,
    lambda x, y: x * y,
    lambda x, y: x / (2.0 + y * y),
    cm.maximum,
    lambda x, y: cm.where(x > y, x * y, y),
)


def expression(random: Random, depth: int, size: int = 4) -> Function:
    """A function of a list of numbers, with transformations up to a depth."""
    kind = random.random()
    if kind < 0.15 or size == 0:
        place = random.randrange(100)
        return lambda xs: xs[place % len(xs)]
    if kind < 0.2:
        number = random.choice((0.0, 1.0, -0.5, 3.0))
        return lambda xs: number
    if kind < 0.4:
        unary, inner = random.choice(UNARY), expression(random, depth, size - 1)
        return lambda xs: unary(1.0 * inner(xs))
    if kind < 0.7 or depth == 0:
        binary = random.choice(BINARY)
        left, right = [expression(random, depth, size - 1) for _ in range(2)]
        return lambda xs: binary(1.0 * left(xs), 1.0 * right(xs))
    return transformed(random, depth - 1)


def transformed(random: Random, depth: int) -> Function:
    """A function that transforms another one inside: of what it gets, and of what it reads."""
    inner = expression(random, depth)
    point = expression(random, depth, 2)
    other = expression(random, depth, 1)
    weight = expression(random, 0, 1)
    used = random.randrange(3)

    def function(xs: Sequence[Any]) -> Any:
        """Of two arguments of its own, and of all around it."""
        at = 1.0 * point(xs), 1.0 * other(xs)

        def local(a: Any, b: Any) -> Any:
            return inner([a, b, *xs][used:] if used < 2 else [a, b])

        return combined(KINDS[kind](local, at, 1.0 * weight(xs)))

    kind = random.choice(tuple(KINDS))
    return function


def combined(values: Any) -> Any:
    """One number of what a transformation gives."""
    flat = np.ravel(np.array(values, dtype=object)).tolist()
    total = flat[0] * 0.5
    for i, x in enumerate(flat[1:], 2):
        total = total + x * (0.5 + i)
    return total


def _vjp(f: Any, at: Any, w: Any) -> Any:
    value, pull_back = cr.vjp(f, *at)
    return [value, *pull_back(w), *pull_back(1.0)]


def _vjp_inside(f: Any, at: Any, w: Any) -> Any:
    """What is pulled back, differentiated by the cotangent."""
    _, pull_back = cr.vjp(f, *at)
    return cr.grad(lambda c: pull_back(c * c)[0])(w)


KINDS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "grad": lambda f, at, w: cr.grad(f, argnums=(0, 1))(*at),
    "value_and_grad": lambda f, at, w: [*cr.value_and_grad(f)(*at)],
    "aux": lambda f, at, w: [*cr.grad(lambda a, b: (f(a, b), a * w), has_aux=True)(*at)],
    "jvp": lambda f, at, w: [*cr.jvp(f, at, (w, 1.0))],
    "vjp": _vjp,
    "vjp inside": _vjp_inside,
    "hvp": lambda f, at, w: [*cr.hvp(f, at, (1.0, w))],
    "jacrev": lambda f, at, w: [*cr.jacrev(lambda a, b: [f(a, b), a * b], argnums=(0,))(*at)],
    "jacfwd": lambda f, at, w: [*cr.jacfwd(lambda a, b: [f(a, b), a * w], argnums=(1,))(*at)],
    "hessian": lambda f, at, w: cr.hessian(lambda z: f(z[0], z[1]))(np.array(at)),
}


def program(seed: int, depth: int = 2) -> Function:
    """The function of a seed."""
    random = Random(seed)
    first, second = transformed(random, depth), transformed(random, depth)
    return lambda xs: [first(xs), second(xs)]
