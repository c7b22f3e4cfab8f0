"""A saddle point by gradient descent inside gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

from gradbench.common import Problem
from gradbench.descent import argmin, argmin_of_arrays, argmin_of_tensors


def f(x: Any, y: Any) -> Any:
    """Smallest by x and largest by y at 0."""
    return (x[0] * x[0] + x[1] * x[1]) - (y[0] * y[0] + y[1] * y[1])


def loops(cr: Any, cm: Any) -> Callable[..., Any]:
    """The function to minimize has a maximization in it."""

    def argmax_y(x: Any, start: Any) -> Any:
        return argmin(cr.value_and_grad(lambda y: -f(x, y)), start, cm.sqrt)

    def saddle(start: Any) -> Any:
        def largest(x: Any) -> Any:
            return f(x, argmax_y(x, start))

        x = argmin(cr.value_and_grad(largest), start, cm.sqrt)
        return x, argmax_y(x, start)

    return saddle


def arrays(jax: Any, np: Any) -> Callable[..., Any]:
    """Loops of JAX, which it differentiates forwards only."""

    def argmax_y(x: Any, start: Any) -> Any:
        return argmin_of_arrays(jax, np, lambda y: -f(x, y), start)

    def saddle(start: Any) -> Any:
        start = np.array(start)
        x = argmin_of_arrays(jax, np, lambda x: f(x, argmax_y(x, start)), start)
        return *x, *argmax_y(x, start)

    return saddle


def tensors(torch: Any) -> Callable[..., Any]:
    """On tensors; the maximization keeps its graph, as the gradient of its result is asked for."""

    def argmax_y(x: Any, start: Any, create_graph: bool = True) -> Any:
        return argmin_of_tensors(torch, lambda y: -f(x, y), start, create_graph)

    def saddle(start: Any) -> Any:
        x = argmin_of_tensors(torch, lambda x: f(x, argmax_y(x, start)), start)
        return *x, *argmax_y(x, start, create_graph=False)

    return saddle


def by_hand(start: Any) -> Any:
    """With the derivatives of f written down; those by y do not depend on x."""

    def y_slopes(x: Any) -> Any:
        return lambda y: (-f(x, y), [2.0 * y[0], 2.0 * y[1]])

    def x_slopes(x: Any) -> Any:
        return f(x, argmin(y_slopes(x), start, sqrt)), [2.0 * x[0], 2.0 * x[1]]

    x = argmin(x_slopes, start, sqrt)
    return x, argmin(y_slopes(x), start, sqrt)


CASE = Problem(
    title="saddle point, gradient descent inside gradient descent",
    data=lambda size: ([float(size), float(size)],),
    loops=loops,
    arrays=arrays,
    tensors=tensors,
    by_hand=by_hand,
    sizes=(1, 2, 10),
    size_name="where it starts",
    slow=("torch",),
).case()
