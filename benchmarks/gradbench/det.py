"""The determinant by expansion along rows, n! products, and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from compiled_cases.common import Array

from gradbench.common import Problem
from gradbench.tensors import value_and_grad


def data(size: int) -> tuple[Array]:
    """A matrix."""
    return (np.random.default_rng(8).normal(0.0, 1.0, (size, size)),)


def loops(cr: Any, cm: Any) -> Callable[..., Any]:
    """A recursion."""

    def determinant(a: Any, row: int = 0, columns: Any = None) -> Any:
        columns = tuple(range(len(a))) if columns is None else columns
        if len(columns) == 1:
            return a[row, columns[0]]
        total = 0.0
        for k, column in enumerate(columns):
            minor = determinant(a, row + 1, columns[:k] + columns[k + 1 :])
            total = total + (a[row, column] * minor if k % 2 == 0 else -a[row, column] * minor)
        return total

    gradient: Callable[..., Any] = cr.value_and_grad(determinant)
    return gradient


def signs_and_others(size: int) -> tuple[Any, Any]:
    """The sign of each column, and the columns beside it."""
    others = [[column for column in range(size) if column != k] for k in range(size)]
    return (-1.0) ** np.arange(size), np.array(others)


def arrays(jax: Any, np: Any) -> Callable[..., Any]:
    """The minors of all columns side by side, in one array."""

    def determinant(a: Any) -> Any:
        if a.shape[-1] == 1:
            return a[..., 0, 0]
        signs, others = signs_and_others(a.shape[-1])
        minors = np.moveaxis(a[..., 1:, others], -2, -3)
        return (signs * a[..., 0, :] * determinant(minors)).sum(axis=-1)

    gradient: Callable[..., Any] = jax.value_and_grad(determinant)
    return gradient


def tensors(torch: Any) -> Callable[..., Any]:
    """The minors of all columns side by side, in one tensor."""

    def determinant(a: Any) -> Any:
        if a.shape[-1] == 1:
            return a[..., 0, 0]
        signs, others = map(torch.from_numpy, signs_and_others(a.shape[-1]))
        minors = a[..., 1:, others].movedim(-2, -3)
        return (signs * a[..., 0, :] * determinant(minors)).sum(dim=-1)

    return value_and_grad(torch, determinant)


def by_hand(a: Array) -> tuple[Any, Array]:
    """The gradient is the determinant times the transposed inverse."""
    value = np.linalg.det(a)
    return value, value * np.linalg.inv(a).T


CASE = Problem(
    title="determinant by recursion, value and gradient",
    data=data,
    loops=loops,
    arrays=arrays,
    tensors=tensors,
    by_hand=by_hand,
    sizes=(6, 8, 9),
    size_name="rows",
).case()
