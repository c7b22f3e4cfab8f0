"""check_grads: derivatives against finite differences."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from chainrule import trees
from chainrule.rules import described
from chainrule.tracebacks import boundary
from chainrule.transforms import check_tuple, jvp, vjp

__all__ = ["check_grads"]


@boundary
def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = ("fwd", "rev"),
    atol: float = 1e-6,
    rtol: float = 1e-4,
    eps: float = 1e-5,
) -> None:
    """Compare derivatives with central differences along a random direction.

    Args:
        f: a function of trees of numbers and arrays.
        args: the point, as a tuple of arguments.
        order: up to which derivative; the second is the derivative of the first, and so on.
        modes: "fwd" (tangents pushed forward), "rev" (cotangents pulled back) or both.
        atol: the difference that is always allowed.
        rtol: the difference that is allowed relative to the derivative.
        eps: the step of the differences.

    Raises:
        AssertionError: if they differ, with both numbers.
        TypeError: if args is not a tuple or list.
        ValueError: if order is less than 1 or a mode unknown.
    """
    if order < 1:
        raise ValueError(f"check_grads: order starts at 1, not {described(order)}")
    for mode in modes:
        if mode not in ("fwd", "rev"):
            raise ValueError(f'check_grads: a mode is "fwd" or "rev", not {described(mode)}')
    check_tuple("check_grads", "arguments", args)
    random_numbers = random.Random(0)
    point, layout = trees.flatten(tuple(args), "check_grads: the tree of arguments")

    def flat(*numbers: Any) -> list[Any]:
        return trees.flatten(f(*layout.unflatten(list(numbers))), "the function's result")[0]

    _check(flat, point, order, modes, (atol, rtol, eps), random_numbers)


def _check(
    f: Callable[..., list[Any]],
    point: list[Any],
    order: int,
    modes: Sequence[str],
    tolerances: tuple[float, float, float],
    random_numbers: random.Random,
    taken: Sequence[str] = (),
) -> None:
    atol, rtol, eps = tolerances
    direction = [random_numbers.gauss(0.0, 1.0) for _ in point]
    high = f(*[x + eps * d for x, d in zip(point, direction, strict=True)])
    low = f(*[x - eps * d for x, d in zip(point, direction, strict=True)])
    slopes = [(a - b) / (2.0 * eps) for a, b in zip(high, low, strict=True)]
    weights = [random_numbers.gauss(0.0, 1.0) for _ in slopes]
    expected = sum(w * s for w, s in zip(weights, slopes, strict=True))

    def forward(*numbers: Any) -> list[Any]:
        return list(jvp(lambda *xs: f(*xs), numbers, tuple(direction))[1])

    def reverse(*numbers: Any) -> list[Any]:
        return list(vjp(lambda *xs: f(*xs), *numbers)[1](list(weights)))

    for mode in modes:
        if mode == "fwd":
            found = sum(w * s for w, s in zip(weights, forward(*point), strict=True))
        else:
            found = sum(d * g for d, g in zip(direction, reverse(*point), strict=True))
        if not abs(found - expected) <= atol + rtol * abs(expected):
            raise AssertionError(
                f"derivative {len(taken) + 1} ({' of '.join([mode, *taken])}) along a direction is"
                f" {found!r}, by central differences {expected!r}; they differ by"
                f" {abs(found - expected):.3g}"
            )
        if order > 1:
            _check(
                forward if mode == "fwd" else reverse,
                point,
                order - 1,
                modes,
                tolerances,
                random_numbers,
                (mode, *taken),
            )
