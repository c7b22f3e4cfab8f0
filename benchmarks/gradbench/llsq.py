"""Least squares of a polynomial through a step, and its gradient by 128 coefficients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from compiled_cases.common import Array

from gradbench.common import Problem
from gradbench.tensors import value_and_grad

COEFFICIENTS = 128


def data(size: int) -> tuple[Array, Array]:
    """The coefficients, and the places of the points."""
    return np.random.default_rng(2).random(COEFFICIENTS), np.linspace(-1.0, 1.0, size)


def loops(cr: Any, cm: Any) -> Callable[..., Any]:
    """A loop over points, and one over powers."""

    def half_squares(x: Any, places: Any) -> Any:
        total = 0.0
        for t in places:
            residual = cm.sign(t)
            power = 1.0
            for c in x:
                residual = residual - c * power
                power = power * t
            total = total + residual * residual
        return total / 2.0

    gradient: Callable[..., Any] = cr.value_and_grad(half_squares)
    return gradient


def arrays(jax: Any, np: Any) -> Callable[..., Any]:
    """A product with the matrix of powers."""

    def half_squares(x: Any, places: Any) -> Any:
        powers = np.power(places[:, None], np.arange(len(x)))
        return ((np.sign(places) - powers @ x) ** 2).sum() / 2.0

    gradient: Callable[..., Any] = jax.value_and_grad(half_squares)
    return gradient


def tensors(torch: Any) -> Callable[..., Any]:
    """A product with the matrix of powers."""

    def half_squares(x: Any, places: Any) -> Any:
        powers = places[:, None] ** torch.arange(len(x))
        return ((torch.sign(places) - powers @ x) ** 2).sum() / 2.0

    return value_and_grad(torch, half_squares)


def by_hand(x: Array, places: Array) -> tuple[Any, Array]:
    """The residuals, sent back through the matrix of powers."""
    powers = np.vander(places, len(x), increasing=True)
    residuals = np.sign(places) - powers @ x
    return residuals @ residuals / 2.0, -residuals @ powers


CASE = Problem(
    title=f"least squares by {COEFFICIENTS} coefficients, value and gradient",
    data=data,
    loops=loops,
    arrays=arrays,
    tensors=tensors,
    by_hand=by_hand,
    sizes=(64, 1_024, 16_392),
    size_name="points",
).case()
