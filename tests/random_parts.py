"""Random compositions of parts: functions that may be compiled, in formulas that are derived.

A composition is the same function whether its parts are compiled or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from transformed_programs import expression

import chainrule as cr
from chainrule import Node
from chainrule import math as cm

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]

LANES = 5
INPUTS = 3
COORDINATES = (0.0, 1.0, -0.5, 0.3, -1.2, 2.0)


@dataclass
class Composition:
    """A function of three numbers, and the nodes that its parts use from outside."""

    function: Callable[[Sequence[Any]], Any]
    captured: list[Node]
    text: str


KINDS = ("number", "tree", "lanes", "lanes", "total", "outside", "table", "gradient")


def composition(
    random: Random, wrap: Wrap, depth: int = 1, kinds: Sequence[str] = KINDS
) -> Composition:
    """A random composition, of parts made by ``wrap``; the same for the same state of ``random``.

    Args:
        random: draws it.
        wrap: ``compile``, or what leaves a function as it is.
        depth: of parts in parts.
        kinds: of parts.
    """
    captured: list[Node] = []
    texts: list[str] = []
    parts = [
        _part(random, wrap, depth, kinds, captured, texts) for _ in range(random.choice((1, 1, 2)))
    ]
    outer = expression(random, 0, 3)
    how = random.randrange(4)

    def function(xs: Sequence[Any]) -> Any:
        values = list(xs)
        for part in parts:
            values += part(values)
        if how == 3:
            return values[-1]
        total = outer(values[::-1])
        if how == 0:
            total = total + cm.log(1.5 + values[-1] * values[-1])
        elif how == 1:
            total = total * values[-1] + cm.sin(values[-1])
        else:
            total = total + sum(k * value for k, value in enumerate(values[INPUTS:]))
        return total

    return Composition(function, captured, "; ".join(texts))


def _part(
    random: Random,
    wrap: Wrap,
    depth: int,
    kinds: Sequence[str],
    captured: list[Node],
    texts: list[str],
) -> Callable[[list[Any]], list[Any]]:
    """From some values to those of a part."""
    kind = random.choice(kinds)
    inner = expression(random, random.choice((0, 0, 1)), 4)
    other = expression(random, 0, 3)
    if depth and random.random() < 0.3:
        nested = _part(random, wrap, depth - 1, kinds, captured, texts)
        below = inner

        def inner(xs: Sequence[Any]) -> Any:
            return below([*xs, *nested(list(xs))])

    texts.append(kind)
    if kind == "number":
        number = wrap(lambda x, y: inner([x, y, x * y]))
        return lambda xs: [number(xs[-1], xs[0])]
    if kind == "tree":

        def of_tree(tree: Any) -> Any:
            a, b = tree["a"], tree["b"]
            return [inner([a, *b]), np.array([other([b[0], b[1], a]), a * b[1]])]

        whole = wrap(of_tree)
        place = random.randrange(2)

        def taken(xs: list[Any]) -> list[Any]:
            first, rest = whole({"a": xs[-1], "b": np.array([xs[0], xs[1]])})
            return [first, rest[place]]

        return taken
    if kind == "outside":
        weights = [Node(random.choice(COORDINATES)) for _ in range(2)]
        captured += weights
        outside = wrap(lambda x: [inner([x, *weights]), weights[0] * x])
        return lambda xs: [sum(outside(xs[-1]))]
    if kind == "table":
        places = np.array([random.randrange(3) for _ in range(4)])
        table = wrap(lambda t, i: sum(inner([t[i[k]], t[i[k + 1]], t[0]]) for k in range(3)))
        return lambda xs: [table(np.array(xs[:3]), places)]
    if kind == "gradient":
        slope = wrap(cr.grad(lambda x, y: inner([x, y, 0.5 * x])))
        return lambda xs: [slope(xs[-1], xs[1])]
    if kind == "total":
        rows = np.random.default_rng(random.randrange(1000)).normal(size=LANES)
        reduce: Any = random.choice(("sum", "mean"))
        moving = random.random() < 0.5
        total = wrap(
            cr.vmap(lambda w, row: inner([w[0], w[1], row]), in_axes=(None, 0), reduce=reduce)
        )
        return lambda xs: [total(np.array([xs[-1], xs[1]]), rows * xs[0] if moving else rows)]
    return _lanes(random, wrap, inner, other, texts)


def _lanes(
    random: Random,
    wrap: Wrap,
    inner: Callable[[Sequence[Any]], Any],
    other: Callable[[Sequence[Any]], Any],
    texts: list[str],
) -> Callable[[list[Any]], list[Any]]:
    """A part over lanes, which are numbers or depend on the values."""
    rng = np.random.default_rng(random.randrange(1000))
    numbers = np.where(rng.random((2, LANES)) < 0.2, 0.0, rng.normal(size=(2, LANES)))
    axis = random.randrange(2)
    reduce: Any = random.choice((None, "sum", "mean"))
    moving = random.random() < 0.5
    rows = numbers.T if axis == 0 else numbers
    texts.append(f"{reduce} axis {axis} moving {moving}")

    def at_lane(w: Any, row: Any) -> Any:
        return [inner([w[0], row[0], row[1]]), other([row[1], w[1], row[0]]) * w[0]]

    part = wrap(cr.vmap(at_lane, in_axes=(None, axis), reduce=reduce))
    place = random.randrange(LANES)

    def of_values(xs: list[Any]) -> list[Any]:
        own: Any = rows
        if moving:
            own = rows.astype(object)
            own[0, 0] = xs[-1]
            own[1, 1] = own[1, 1] + xs[1]
        first, second = part(np.array([xs[0], xs[-1]]), own)
        if reduce is None:
            return [first[place], sum(second)]
        return [first, second]

    return of_values
