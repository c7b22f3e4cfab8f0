"""The square of a number, and its derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradbench.common import Problem
from gradbench.tensors import value_and_grad


def square(x: Any) -> Any:
    """x times x."""
    return x * x


def loops(cr: Any, cm: Any) -> Callable[..., Any]:
    """Of a number."""
    return cr.value_and_grad(square)  # type: ignore[no-any-return]


CASE = Problem(
    title="hello, the derivative of a square",
    data=lambda size: (float(size),),
    loops=loops,
    arrays=loops,
    tensors=lambda torch: value_and_grad(torch, square),
    by_hand=lambda x: (x * x, 2.0 * x),
    sizes=(3, 30, 300),
    size_name="as the number",
).case()
