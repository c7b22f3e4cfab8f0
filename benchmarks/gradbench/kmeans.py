"""A Newton step of k-means: the gradient of the distances over the diagonal of their Hessian."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from compiled_cases.common import Array

from gradbench.common import Problem

POINTS, DIMENSIONS = 1_000, 8


def data(size: int) -> tuple[Array, Array]:
    """The centers, and the points; each center is a point."""
    points = np.random.default_rng(4).random((POINTS, DIMENSIONS))
    return points[-size:].copy(), points


def loops(cr: Any, cm: Any) -> Callable[..., Any]:
    """Loops over points, centers and dimensions."""

    def cost(centers: Any, points: Any) -> Any:
        total = 0.0
        for point in points:
            distances = [
                sum((a - b) * (a - b) for a, b in zip(point, center, strict=True))
                for center in centers
            ]
            total = total + reduce(cm.minimum, distances)
        return total

    def direction(centers: Any, points: Any) -> Any:
        gradient, diagonal = cr.jvp(
            cr.grad(lambda c: cost(c, points)), (centers,), (np.ones(np.shape(centers)),)
        )
        return gradient / diagonal

    return direction


def arrays(jax: Any, np: Any) -> Callable[..., Any]:
    """On arrays."""

    def cost(centers: Any, points: Any) -> Any:
        between = points[:, None, :] - centers[None, :, :]
        return (between * between).sum(axis=2).min(axis=1).sum()

    def direction(centers: Any, points: Any) -> Any:
        gradient, diagonal = jax.jvp(
            jax.grad(lambda c: cost(c, points)), (centers,), (np.ones_like(centers),)
        )
        return gradient / diagonal

    return direction


def tensors(torch: Any) -> Callable[..., Any]:
    """On tensors; the Hessian's product is the gradient of the gradient."""

    def direction(centers: Any, points: Any) -> Any:
        centers = centers.detach().requires_grad_()
        between = points[:, None, :] - centers[None, :, :]
        cost = (between * between).sum(dim=2).amin(dim=1).sum()
        (gradient,) = torch.autograd.grad(cost, centers, create_graph=True)
        (diagonal,) = torch.autograd.grad(gradient.sum(), centers)
        return gradient.detach() / diagonal

    return direction


def by_hand(centers: Array, points: Array) -> Array:
    """How far each center is from the mean of its points."""
    distances = (points**2).sum(axis=1)[:, None] - 2.0 * points @ centers.T
    nearest = (distances + (centers**2).sum(axis=1)).argmin(axis=1)
    mine = nearest[:, None] == np.arange(len(centers))
    counts = mine.sum(axis=0)[:, None]
    means: Array = mine.T.astype(float) @ points / counts
    return centers - means


CASE = Problem(
    title=f"k-means of {POINTS:,} points in {DIMENSIONS} dimensions, a Newton step",
    data=data,
    loops=loops,
    arrays=arrays,
    tensors=tensors,
    by_hand=by_hand,
    sizes=(5, 10, 50),
    size_name="centers",
).case()
