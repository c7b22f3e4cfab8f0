"""The control of a charged particle so that it passes the origin: derivatives inside derivatives.

Two charges push the particle, by the gradient of a potential; Euler steps take it to the axis, and
gradient descent finds where the second charge has to be.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

from gradbench.common import Problem
from gradbench.descent import argmin, argmin_of_arrays, argmin_of_tensors

STEP = 0.1


def loops(cr: Any, cm: Any) -> Callable[..., Any]:
    """The force is the gradient of a potential, the descent follows the path's gradient."""

    def potential(position: Any, w: Any) -> Any:
        x, y = position
        near = cm.sqrt((x - 10.0) * (x - 10.0) + (y - 10.0 + w) * (y - 10.0 + w))
        far = cm.sqrt((x - 10.0) * (x - 10.0) + y * y)
        return 1.0 / near + 1.0 / far

    def squared_miss(control: Any) -> Any:
        x, y = 0.0, 8.0
        across, down = 0.75, 0.0
        while True:
            slopes = cr.grad(potential)([x, y], control[0])
            x, y = x + STEP * across, y + STEP * down
            if y <= 0.0:
                crossing = x - y / down * across
                return crossing * crossing
            across, down = across - STEP * slopes[0], down - STEP * slopes[1]

    def control(w: Any) -> Any:
        return argmin(cr.value_and_grad(squared_miss), [w], cm.sqrt)[0]

    return control


def arrays(jax: Any, np: Any) -> Callable[..., Any]:
    """Loops of JAX, which it differentiates forwards only."""

    def potential(position: Any, w: Any) -> Any:
        near = np.sqrt(((position - np.array([10.0, 10.0 - w])) ** 2).sum())
        far = np.sqrt(((position - np.array([10.0, 0.0])) ** 2).sum())
        return 1.0 / near + 1.0 / far

    def squared_miss(control: Any) -> Any:
        def ahead(state: Any) -> Any:
            position, speed = state
            force = -jax.grad(potential)(position, control[0])
            position = position + STEP * speed
            return position, np.where(position[1] > 0.0, speed + STEP * force, speed)

        first = (np.array([0.0, 8.0]), np.array([0.75, 0.0]))
        position, speed = jax.lax.while_loop(lambda state: state[0][1] > 0.0, ahead, first)
        crossing = position[0] - position[1] / speed[1] * speed[0]
        return crossing * crossing

    def control(w: Any) -> Any:
        return argmin_of_arrays(jax, np, squared_miss, np.array([w]))[0]

    return control


def tensors(torch: Any) -> Callable[..., Any]:
    """On tensors; the force keeps its graph, as the gradient of the path is asked for."""

    def potential(position: Any, w: Any) -> Any:
        x, y = position
        near = torch.sqrt((x - 10.0) ** 2 + (y - 10.0 + w) ** 2)
        far = torch.sqrt((x - 10.0) ** 2 + y**2)
        return 1.0 / near + 1.0 / far

    def squared_miss(control: Any) -> Any:
        position = torch.tensor([0.0, 8.0], dtype=control.dtype, requires_grad=True)
        speed = torch.tensor([0.75, 0.0], dtype=control.dtype)
        while True:
            charge = potential(position, control[0])
            (slopes,) = torch.autograd.grad(charge, position, create_graph=True)
            position = position + STEP * speed
            if position[1] <= 0.0:
                crossing = position[0] - position[1] / speed[1] * speed[0]
                return crossing * crossing
            speed = speed - STEP * slopes

    return lambda w: argmin_of_tensors(torch, squared_miss, w.reshape(1))[0]


def by_hand(w: float) -> float:
    """With the force written down, and its derivative carried along by w."""

    def squared_miss(control: Any) -> Any:
        w = control[0]
        x, y, across, down = 0.0, 8.0, 0.75, 0.0
        x_w = y_w = across_w = down_w = 0.0
        while True:
            a, b, c = x - 10.0, y - 10.0 + w, y
            near, far = a * a + b * b, a * a + c * c
            p, q = near**-1.5, far**-1.5
            b_w = y_w + 1.0
            p_w = -3.0 * p / near * (a * x_w + b * b_w)
            q_w = -3.0 * q / far * (a * x_w + c * y_w)
            push_x, push_x_w = a * (p + q), x_w * (p + q) + a * (p_w + q_w)
            push_y, push_y_w = b * p + c * q, b_w * p + b * p_w + y_w * q + c * q_w
            x, x_w = x + STEP * across, x_w + STEP * across_w
            y, y_w = y + STEP * down, y_w + STEP * down_w
            if y <= 0.0:
                time = -y / down
                crossing = x + time * across
                time_w = (-y_w - time * down_w) / down
                return crossing * crossing, [
                    2.0 * crossing * (x_w + time_w * across + time * across_w)
                ]
            across, across_w = across + STEP * push_x, across_w + STEP * push_x_w
            down, down_w = down + STEP * push_y, down_w + STEP * push_y_w

    found: float = argmin(squared_miss, [w], sqrt)[0]
    return found


CASE = Problem(
    title="particle, nested derivatives in a gradient descent",
    data=lambda size: (size / 10.0,),
    loops=loops,
    arrays=arrays,
    tensors=tensors,
    by_hand=by_hand,
    sizes=(0, 5, 10),
    size_name="tenths as the first control",
    slow=("torch",),
).case()
