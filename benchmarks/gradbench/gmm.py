"""The posterior of a mixture of Gaussians, and its gradient.

Each component has a weight, a mean, and a triangular matrix, given by the logarithms of its
diagonal and by what is below it, column by column. Constants of the posterior are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from compiled_cases.common import Array

from gradbench.common import Problem

POINTS, DIMENSIONS = 1_000, 10
BELOW = [(i, j) for j in range(DIMENSIONS) for i in range(j + 1, DIMENSIONS)]
GAMMA, FREEDOM = 1.0, 0


def data(size: int) -> tuple[Array, ...]:
    """Weights, means, diagonals, what is below them, and the points."""
    rng = np.random.default_rng(5)
    return (
        rng.normal(size=size),
        rng.random((size, DIMENSIONS)),
        rng.normal(size=(size, DIMENSIONS)),
        rng.normal(size=(size, len(BELOW))),
        rng.normal(size=(POINTS, DIMENSIONS)),
    )


def loops(cr: Any, cm: Any) -> Callable[..., Any]:
    """Loops over points, components, rows and columns."""
    n = range(DIMENSIONS)

    def log_sum_exp(x: Any) -> Any:
        largest = reduce(cm.maximum, x)
        return largest + cm.log(sum(cm.exp(v - largest) for v in x))

    def triangle(diagonal: Any, below: Any) -> Any:
        matrix = [[cm.exp(diagonal[i]) if i == j else 0.0 for j in n] for i in n]
        for (i, j), value in zip(BELOW, below, strict=True):
            matrix[i][j] = value
        return matrix

    def posterior(alpha: Any, means: Any, diagonals: Any, below: Any, points: Any) -> Any:
        components = range(len(alpha))
        matrices = [triangle(diagonals[k], below[k]) for k in components]
        total = 0.0
        for x in points:
            terms = []
            for k in components:
                away = [x[i] - means[k][i] for i in n]
                rows = [sum(matrices[k][i][j] * away[j] for j in range(i + 1)) for i in n]
                terms.append(alpha[k] + sum(diagonals[k]) - 0.5 * sum(r * r for r in rows))
            total = total + log_sum_exp(terms)
        prior = 0.0
        for k in components:
            squares = sum(a * a for i in n for a in matrices[k][i][: i + 1])
            prior = prior + 0.5 * GAMMA * GAMMA * squares - FREEDOM * sum(diagonals[k])
        return total - len(points) * log_sum_exp(alpha) - prior

    return cr.grad(posterior, argnums=(0, 1, 2, 3))  # type: ignore[no-any-return]


def arrays(jax: Any, np: Any) -> Callable[..., Any]:
    """On arrays."""
    rows, columns = (np.array(x) for x in zip(*BELOW, strict=True))

    def log_sum_exp(x: Any) -> Any:
        largest = x.max(axis=-1)
        return largest + np.log(np.exp(x - largest[..., None]).sum(axis=-1))

    def posterior(alpha: Any, means: Any, diagonals: Any, below: Any, points: Any) -> Any:
        matrices = np.exp(diagonals)[:, :, None] * np.eye(DIMENSIONS)
        matrices = matrices.at[:, rows, columns].set(below)
        away = points[:, None, :] - means
        images = np.einsum("kij,nkj->nki", matrices, away)
        terms = alpha + diagonals.sum(axis=1) - 0.5 * (images**2).sum(axis=2)
        prior = 0.5 * GAMMA**2 * (matrices**2).sum() - FREEDOM * diagonals.sum()
        return log_sum_exp(terms).sum() - len(points) * log_sum_exp(alpha) - prior

    return jax.grad(posterior, argnums=(0, 1, 2, 3))  # type: ignore[no-any-return]


def tensors(torch: Any) -> Callable[..., Any]:
    """On tensors."""
    rows, columns = (torch.tensor(x) for x in zip(*BELOW, strict=True))

    def posterior(alpha: Any, means: Any, diagonals: Any, below: Any, points: Any) -> Any:
        matrices = torch.diag_embed(torch.exp(diagonals))
        matrices[:, rows, columns] = below
        away = points[:, None, :] - means
        images = torch.einsum("kij,nkj->nki", matrices, away)
        terms = alpha + diagonals.sum(dim=1) - 0.5 * (images**2).sum(dim=2)
        prior = 0.5 * GAMMA**2 * (matrices**2).sum() - FREEDOM * diagonals.sum()
        of_points = torch.logsumexp(terms, dim=1).sum()
        return of_points - len(points) * torch.logsumexp(alpha, dim=0) - prior

    def gradient(*given: Any) -> Any:
        parameters = [x.detach().requires_grad_() for x in given[:-1]]
        return torch.autograd.grad(posterior(*parameters, *given[-1:]), parameters)

    return gradient


def by_hand(alpha: Array, means: Array, diagonals: Array, below: Array, points: Array) -> Any:
    """The gradient from the share of each component in each point."""
    rows, columns = (np.array(x) for x in zip(*BELOW, strict=True))
    matrices = np.exp(diagonals)[:, :, None] * np.eye(DIMENSIONS)
    matrices[:, rows, columns] = below
    away = points[:, None, :] - means
    images = np.matmul(away.transpose(1, 0, 2), matrices.transpose(0, 2, 1))  # k, n, i
    terms = (alpha + diagonals.sum(axis=1))[:, None] - 0.5 * (images**2).sum(axis=2)
    powers = np.exp(terms - terms.max(axis=0))
    shares = powers / powers.sum(axis=0)  # k, n
    weights = np.exp(alpha - alpha.max())
    counts = shares.sum(axis=1)
    pulled = shares[:, :, None] * images
    of_matrices = -np.matmul(pulled.transpose(0, 2, 1), away.transpose(1, 0, 2))
    of_matrices -= GAMMA**2 * matrices
    on_diagonal = np.diagonal(of_matrices, axis1=1, axis2=2) * np.exp(diagonals)
    return (
        counts - len(points) * weights / weights.sum(),
        np.einsum("kni,kij->kj", pulled, matrices),
        counts[:, None] + FREEDOM + on_diagonal,
        of_matrices[:, rows, columns],
    )


CASE = Problem(
    title=f"mixture of Gaussians, {POINTS:,} points in {DIMENSIONS} dimensions, gradient",
    data=data,
    loops=loops,
    arrays=arrays,
    tensors=tensors,
    by_hand=by_hand,
    sizes=(5, 10, 25),
    size_name="components",
).case()
