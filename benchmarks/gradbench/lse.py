"""The logarithm of a sum of exponentials, safe for large numbers, and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from compiled_cases.common import Array

from gradbench.common import Problem
from gradbench.tensors import value_and_grad


def data(size: int) -> tuple[Array]:
    """Numbers between 0 and 1."""
    return (np.random.default_rng(1).random(size),)


def loops(cr: Any, cm: Any) -> Callable[..., Any]:
    """As sums over numbers."""

    def log_sum_exp(x: Any) -> Any:
        largest = np.max(x)
        return largest + cm.log(sum(cm.exp(v - largest) for v in x))

    gradient: Callable[..., Any] = cr.value_and_grad(log_sum_exp)
    return gradient


def arrays(jax: Any, np: Any) -> Callable[..., Any]:
    """On arrays."""

    def log_sum_exp(x: Any) -> Any:
        largest = np.max(x)
        return largest + np.log(np.exp(x - largest).sum())

    gradient: Callable[..., Any] = jax.value_and_grad(log_sum_exp)
    return gradient


def tensors(torch: Any) -> Callable[..., Any]:
    """On tensors."""

    def log_sum_exp(x: Any) -> Any:
        largest = x.max()
        return largest + torch.log(torch.exp(x - largest).sum())

    return value_and_grad(torch, log_sum_exp)


def by_hand(x: Array) -> tuple[Any, Array]:
    """The gradient is the share of each exponential."""
    largest = x.max()
    powers = np.exp(x - largest)
    total = powers.sum()
    return largest + np.log(total), powers / total


CASE = Problem(
    title="log-sum-exp, value and gradient",
    data=data,
    loops=loops,
    arrays=arrays,
    tensors=tensors,
    by_hand=by_hand,
    sizes=(1_000, 10_000, 100_000),
    size_name="numbers",
).case()
