"""Bundle adjustment: the sparse Jacobian of all reprojection and weight errors.

An observation sees a point with a camera; a camera is a rotation, a center, a focal length, a
principal point and two distortions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from compiled_cases.common import Array

from gradbench.common import Problem

CAMERAS, CAMERA, POINT = 49, 11, 3
TINY = 1e-30  # of the complex steps


def data(size: int) -> tuple[Any, ...]:
    """Cameras, points, weights; where each observation was seen, and which camera and point."""
    rng = np.random.default_rng(7)
    points = max(1, size // 4)
    cameras = rng.normal(0.0, 0.1, (CAMERAS, CAMERA)) + np.array(
        [0.1, 0.2, -0.1, 0.0, 0.0, -5.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    )
    seen = np.stack([rng.integers(0, CAMERAS, size), rng.integers(0, points, size)], axis=1)
    return (
        cameras,
        rng.normal(size=(points, POINT)),
        rng.random(size),
        rng.normal(size=(size, 2)),
        [(int(i), int(j)) for i, j in seen],
    )


def loops(cr: Any, cm: Any) -> Callable[..., Any]:
    """A loop over observations."""

    def project(camera: Any, point: Any) -> list[Any]:
        r = camera[:3]
        x = [point[i] - camera[3 + i] for i in range(3)]
        angle = cm.sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2])
        c, s = cm.cos(angle), cm.sin(angle)
        w = [r[i] / angle for i in range(3)]
        cross = [
            w[1] * x[2] - w[2] * x[1],
            w[2] * x[0] - w[0] * x[2],
            w[0] * x[1] - w[1] * x[0],
        ]
        along = (w[0] * x[0] + w[1] * x[1] + w[2] * x[2]) * (1.0 - c)
        turned = [x[i] * c + cross[i] * s + w[i] * along for i in range(3)]
        u, v = turned[0] / turned[2], turned[1] / turned[2]
        square = u * u + v * v
        scale = camera[6] * (1.0 + camera[9] * square + camera[10] * square * square)
        return [u * scale + camera[7], v * scale + camera[8]]

    def errors(cameras: Any, points: Any, weights: Any, features: Any, seen: Any) -> list[Any]:
        found = []
        for k, (i, j) in enumerate(seen):
            u, v = project(cameras[i], points[j])
            found += [weights[k] * (u - features[k, 0]), weights[k] * (v - features[k, 1])]
        return found + [1.0 - w * w for w in weights]

    return cr.jacobian(errors, argnums=(0, 1, 2), sparse=True)  # type: ignore[no-any-return]


def errors_of_rows(row: Any) -> Any:
    """Both errors of observations, from cameras, points, weights and features side by side."""
    r, center, focal = row[:, :3], row[:, 3:6], row[:, 6]
    principal, distortion = row[:, 7:9], row[:, 9:11]
    x, weight, feature = row[:, 11:14] - center, row[:, 14], row[:, 15:17]
    angle = np.sqrt((r * r).sum(axis=1))[:, None]
    w = r / angle
    c, s = np.cos(angle), np.sin(angle)
    along = (w * x).sum(axis=1)[:, None] * (1.0 - c)
    turned = x * c + np.cross(w, x) * s + w * along
    flat = turned[:, :2] / turned[:, 2:]
    square = (flat * flat).sum(axis=1)
    scale = focal * (1.0 + distortion[:, 0] * square + distortion[:, 1] * square * square)
    return weight[:, None] * (flat * scale[:, None] + principal - feature)


def tensors(torch: Any) -> Callable[..., Any]:
    """Both errors of all observations, whose sums have the blocks as their gradients."""

    def errors(rows: Any, features: Any) -> Any:
        cameras, points, weights = rows
        r, x = cameras[:, :3], points - cameras[:, 3:6]
        angle = torch.linalg.vector_norm(r, dim=1, keepdim=True)
        w = r / angle
        c, s = torch.cos(angle), torch.sin(angle)
        along = (w * x).sum(dim=1, keepdim=True) * (1.0 - c)
        turned = x * c + torch.linalg.cross(w, x) * s + w * along
        flat = turned[:, :2] / turned[:, 2:]
        square = (flat * flat).sum(dim=1, keepdim=True)
        bent = 1.0 + cameras[:, 9:10] * square + cameras[:, 10:11] * square * square
        seen = flat * cameras[:, 6:7] * bent + cameras[:, 7:9]
        return weights[:, None] * (seen - features)

    def blocks(cameras: Any, points: Any, weights: Any, features: Any, seen: Any) -> Any:
        rows = cameras[seen[:, 0]], points[seen[:, 1]], weights
        given = [x.detach().requires_grad_() for x in rows]
        both = errors(given, features).sum(dim=0)
        found = [torch.autograd.grad(one, given, retain_graph=True) for one in both]
        of_errors = [torch.cat([*x[:2], x[2][:, None]], dim=1) for x in found]
        return torch.stack(of_errors, dim=1), -2.0 * weights

    return blocks


def by_hand(cameras: Array, points: Array, weights: Array, features: Array, seen: Any) -> Any:
    """Complex steps: 15 columns of all observations' blocks; then the products of the Jacobian."""
    i, j = np.array(seen).T
    rows = np.column_stack([cameras[i], points[j], weights, features]).astype(complex)
    blocks = np.empty((len(weights), 2, CAMERA + POINT + 1))
    for column in range(blocks.shape[2]):
        moved = rows.copy()
        moved[:, column] += 1j * TINY
        blocks[:, :, column] = errors_of_rows(moved).imag / TINY
    return blocks, -2.0 * weights


def arrays(jax: Any, np: Any) -> Callable[..., Any]:
    """The blocks of the observations, side by side."""

    def error(camera: Any, point: Any, weight: Any, feature: Any) -> Any:
        r, x = camera[:3], point - camera[3:6]
        angle = np.sqrt((r * r).sum())
        w = r / angle
        c, s = np.cos(angle), np.sin(angle)
        turned = x * c + np.cross(w, x) * s + w * (w @ x * (1.0 - c))
        flat = turned[:2] / turned[2]
        square = (flat * flat).sum()
        scale = camera[6] * (1.0 + camera[9] * square + camera[10] * square * square)
        return weight * (flat * scale + camera[7:9] - feature)

    def blocks(cameras: Any, points: Any, weights: Any, features: Any, seen: Any) -> Any:
        seen = np.array(seen)
        of_row = jax.vmap(jax.jacfwd(error, argnums=(0, 1, 2)))
        found = of_row(cameras[seen[:, 0]], points[seen[:, 1]], weights, features)
        return np.concatenate([found[0], found[1], found[2][..., None]], axis=2), -2.0 * weights

    return blocks


def results(matrix: Any) -> list[Array]:
    """The blocks of the observations, and the slopes of the weights' errors."""
    entries = matrix.sorted_indices().data
    count = matrix.shape[0] // 3
    of_pixels = entries[:-count].reshape(count, 2, -1)
    blocks = np.zeros((count, 2, CAMERA + POINT + 1))
    for k in range(2):  # either error hangs on its own part of the principal point
        blocks[:, k, np.arange(blocks.shape[2]) != 8 - k] = of_pixels[:, k]
    return [blocks.ravel(), entries[-count:]]


CASE = Problem(
    title=f"bundle adjustment with {CAMERAS} cameras, sparse Jacobian",
    data=data,
    loops=loops,
    arrays=arrays,
    tensors=tensors,
    by_hand=by_hand,
    sizes=(100, 1_000, 31_843),
    size_name="observations",
    results=results,
).case()
