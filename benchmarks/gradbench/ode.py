"""A chain of differential equations by Runge-Kutta steps: the end, and its last unknown's gradient.

Few steps reach the last unknown from the first: most of its gradient is 0, as in GradBench.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from compiled_cases.common import Array

from gradbench.common import Problem

UNKNOWNS = 1_000
END = 2.0


def data(size: int) -> tuple[Array, int]:
    """The coefficients, and the number of steps."""
    return np.random.default_rng(3).random(UNKNOWNS), size


def loops(cr: Any, cm: Any) -> Callable[..., Any]:
    """Loops over steps and unknowns."""

    def slopes(x: Any, y: Any) -> list[Any]:
        return [x[0], *(x[i] * y[i - 1] for i in range(1, len(x)))]

    def end(x: Any, steps: int) -> Any:
        h = END / steps
        n = range(len(x))
        y = [0.0 for _ in n]
        for _ in range(steps):
            k1 = slopes(x, y)
            k2 = slopes(x, [y[i] + h / 2.0 * k1[i] for i in n])
            k3 = slopes(x, [y[i] + h / 2.0 * k2[i] for i in n])
            k4 = slopes(x, [y[i] + h * k3[i] for i in n])
            y = [y[i] + h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]) for i in n]
        return y[-1], np.array(y)

    gradient: Callable[..., Any] = cr.grad(end, has_aux=True)
    return gradient


def arrays(jax: Any, np: Any) -> Callable[..., Any]:
    """A scan over the steps, arrays of unknowns."""

    def end(x: Any, steps: int) -> Any:
        h = END / steps

        def slopes(y: Any) -> Any:
            return x * np.concatenate([np.ones(1), y[:-1]])

        def step(y: Any, _: None) -> Any:
            k1 = slopes(y)
            k2 = slopes(y + h / 2.0 * k1)
            k3 = slopes(y + h / 2.0 * k2)
            k4 = slopes(y + h * k3)
            return y + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4), None

        y, _ = jax.lax.scan(step, np.zeros(len(x)), None, length=steps)
        return y[-1], y

    gradient: Callable[..., Any] = jax.grad(end, has_aux=True)
    return gradient


def tensors(torch: Any) -> Callable[..., Any]:
    """A loop over the steps, tensors of unknowns."""

    def derivative(x: Any, steps: int) -> Any:
        x = x.detach().requires_grad_()
        h = END / steps
        one = torch.ones(1, dtype=x.dtype)

        def slopes(y: Any) -> Any:
            return x * torch.cat([one, y[:-1]])

        y = torch.zeros_like(x)
        for _ in range(steps):
            k1 = slopes(y)
            k2 = slopes(y + h / 2.0 * k1)
            k3 = slopes(y + h / 2.0 * k2)
            k4 = slopes(y + h * k3)
            y = y + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
        return torch.autograd.grad(y[-1], x)[0], y.detach()

    return derivative


def by_hand(x: Array, steps: int) -> tuple[Array, Array]:
    """The steps backwards, from the values kept at each of their four stages."""
    h = END / steps
    parts = (h / 2.0, h / 2.0, h)
    weights = h / 6.0 * np.array([1.0, 2.0, 2.0, 1.0])
    y = np.zeros(len(x))
    stages = np.ones((steps, 4, len(x)))  # what x is multiplied by
    for t in range(steps):
        k = np.zeros((4, len(x)))
        for s in range(4):
            at = y if s == 0 else y + parts[s - 1] * k[s - 1]
            stages[t, s, 1:] = at[:-1]
            k[s] = x * stages[t, s]
        y = y + weights @ k
    adjoint = np.zeros(len(x))
    adjoint[-1] = 1.0
    gradient = np.zeros(len(x))
    for t in reversed(range(steps)):
        of_k = weights[:, None] * adjoint
        for s in reversed(range(4)):
            gradient += of_k[s] * stages[t, s]
            back = np.append(of_k[s][1:] * x[1:], 0.0)
            adjoint = adjoint + back
            if s:
                of_k[s - 1] += parts[s - 1] * back
    return gradient, y


CASE = Problem(
    title=f"{UNKNOWNS:,} differential equations by Runge-Kutta steps",
    data=data,
    loops=loops,
    arrays=arrays,
    tensors=tensors,
    by_hand=by_hand,
    sizes=(1, 10, 100),
    size_name="steps",
    results=lambda found: [np.asarray(found[0]), np.array(found[1])],
).case()
