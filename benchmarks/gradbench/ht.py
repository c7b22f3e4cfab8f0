"""Hand tracking: how far the vertices of a hand are from their places, its Jacobian by the pose.

Bones turn along the fingers, each after the one before; vertices follow several bones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from compiled_cases.common import Array

from gradbench.common import Problem

BONES = 21
PARENTS = [-1, *((0 if bone % 4 == 1 else bone - 1) for bone in range(1, BONES))]
ANGLE_OF = [3, *range(6, 5 + BONES)]
"""Where in the pose the angle of each bone stands; the first three numbers move the hand."""
POSE = 5 + BONES
OFFSETS = np.random.default_rng(6).normal(size=(BONES, 3))
"""Where each bone begins, as seen from the one before."""
TINY = 1e-30  # of the complex steps


def data(size: int) -> tuple[Array, ...]:
    """The pose, the weights of the bones for each vertex, the vertices, and their places."""
    rng = np.random.default_rng(7)
    weights = rng.random((size, BONES)) ** 8
    vertices, targets = rng.normal(size=(size, 3)), rng.normal(size=(size, 3))
    pose = rng.normal(0.0, 0.3, POSE)
    return pose, weights / weights.sum(axis=1, keepdims=True), vertices, targets


def loops(cr: Any, cm: Any) -> Callable[..., Any]:
    """Loops over bones, vertices, rows and columns."""
    three = range(3)

    def bones(pose: Any) -> Any:
        turns: list[Any] = []
        places: list[Any] = []
        for parent, k, offset in zip(PARENTS, ANGLE_OF, OFFSETS, strict=True):
            s, c = cm.sin(pose[k]), cm.cos(pose[k])
            turn = [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]
            if parent < 0:
                turns.append(turn)
                places.append([pose[i] + offset[i] for i in three])
                continue
            above, place = turns[parent], places[parent]
            turns.append(
                [[sum(above[i][j] * turn[j][k] for j in three) for k in three] for i in three]
            )
            places.append([place[i] + sum(above[i][j] * offset[j] for j in three) for i in three])
        return turns, places

    def residuals(pose: Any, weights: Any, vertices: Any, targets: Any) -> Any:
        turns, places = bones(pose)
        found = []
        for shares, vertex, target in zip(weights, vertices, targets, strict=True):
            away = list(target)
            for share, turn, place in zip(shares, turns, places, strict=True):
                for i in three:
                    moved = place[i] + sum(turn[i][j] * vertex[j] for j in three)
                    away[i] = away[i] - share * moved
            found += away
        return np.array(found)

    return cr.jacfwd(residuals)  # type: ignore[no-any-return]


def arrays(jax: Any, np: Any) -> Callable[..., Any]:
    """A loop over bones, arrays of bones and vertices."""

    def residuals(pose: Any, weights: Any, vertices: Any, targets: Any) -> Any:
        turns: list[Any] = []
        places: list[Any] = []
        for parent, k, offset in zip(PARENTS, ANGLE_OF, OFFSETS, strict=True):
            s, c = np.sin(pose[k]), np.cos(pose[k])
            turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
            above = turns[parent] if parent >= 0 else None
            turns.append(turn if above is None else above @ turn)
            places.append(pose[:3] + offset if above is None else places[parent] + above @ offset)
        turned = np.einsum("vb,bij,vj->vi", weights, np.stack(turns), vertices)
        return (targets - turned - weights @ np.stack(places)).ravel()

    return jax.jacfwd(residuals)  # type: ignore[no-any-return]


def tensors(torch: Any) -> Callable[..., Any]:
    """A loop over bones, tensors of bones and vertices."""
    offsets = torch.from_numpy(OFFSETS)

    def residuals(pose: Any, weights: Any, vertices: Any, targets: Any) -> Any:
        turns: list[Any] = []
        places: list[Any] = []
        sin, cos = torch.sin(pose), torch.cos(pose)
        zero, one = torch.zeros_like(sin[0]), torch.ones_like(sin[0])
        for parent, k, offset in zip(PARENTS, ANGLE_OF, offsets, strict=True):
            s, c = sin[k], cos[k]
            turn = torch.stack([c, -s, zero, s, c, zero, zero, zero, one]).reshape(3, 3)
            above = turns[parent] if parent >= 0 else None
            turns.append(turn if above is None else above @ turn)
            places.append(pose[:3] + offset if above is None else places[parent] + above @ offset)
        turned = torch.einsum("vb,bij,vj->vi", weights, torch.stack(turns), vertices)
        return (targets - turned - weights @ torch.stack(places)).ravel()

    return torch.func.jacfwd(residuals)  # type: ignore[no-any-return]


def by_hand(pose: Array, weights: Array, vertices: Array, targets: Array) -> Array:
    """Complex steps, all columns side by side, through the bones; the rest is linear in these."""
    poses = pose + 1j * TINY * np.eye(POSE)
    turns: list[Any] = []
    places: list[Any] = []
    for parent, k, offset in zip(PARENTS, ANGLE_OF, OFFSETS, strict=True):
        turn = np.zeros((POSE, 3, 3), dtype=complex)
        turn[:, 0, 0] = turn[:, 1, 1] = np.cos(poses[:, k])
        turn[:, 1, 0] = np.sin(poses[:, k])
        turn[:, 0, 1] = -turn[:, 1, 0]
        turn[:, 2, 2] = 1.0
        above = turns[parent] if parent >= 0 else None
        turns.append(turn if above is None else above @ turn)
        places.append(poses[:, :3] + offset if above is None else places[parent] + above @ offset)
    of_turns, of_places = (np.stack(x).imag / TINY for x in (turns, places))  # by bone and number
    blends = weights[:, :, None] * vertices[:, None, :]
    turned = np.tensordot(blends, of_turns, ((1, 2), (0, 3)))
    moved: Array = turned + np.tensordot(weights, of_places, (1, 0))  # vertex, number, coordinate
    return -moved.transpose(0, 2, 1).reshape(-1, POSE)


CASE = Problem(
    title="hand tracking, Jacobian",
    data=data,
    loops=loops,
    arrays=arrays,
    tensors=tensors,
    by_hand=by_hand,
    sizes=(100, 544, 10_000),
    size_name="vertices",
).case()
