"""Gradient descent with steps that grow while they help, as GradBench prescribes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SMALL = 1e-5


def argmin(value_and_slopes: Callable[[Any], Any], start: Any, sqrt: Callable[[Any], Any]) -> Any:
    """Where a function of a few numbers is smallest."""
    x = list(start)
    value, slopes = value_and_slopes(x)
    step, streak = 1e-5, 0
    while sqrt(sum(s * s for s in slopes)) > SMALL:
        if streak == 10:
            step, streak = 2.0 * step, 0
            continue
        ahead = [a - step * s for a, s in zip(x, slopes, strict=True)]
        if sqrt(sum((a - b) * (a - b) for a, b in zip(x, ahead, strict=True))) <= SMALL:
            break
        new_value, new_slopes = value_and_slopes(ahead)
        if new_value < value:
            x, value, slopes, streak = ahead, new_value, new_slopes, streak + 1
        else:
            step, streak = step / 2.0, 0
    return x


def argmin_of_arrays(jax: Any, np: Any, function: Callable[[Any], Any], start: Any) -> Any:
    """The same as a loop of JAX, of arrays, with slopes forwards."""

    def slopes_at(x: Any) -> Any:
        return function(x), jax.jacfwd(function)(x)

    def unfinished(state: Any) -> Any:
        return ~state[-1]

    def step(state: Any) -> Any:
        x, value, slopes, size, streak, _ = state
        small = np.sqrt((slopes * slopes).sum()) <= SMALL
        grown = ~small & (streak == 10)
        ahead = x - size * slopes
        near = ~small & ~grown & (np.sqrt(((x - ahead) ** 2).sum()) <= SMALL)
        new_value, new_slopes = slopes_at(ahead)
        tried = ~small & ~grown & ~near
        better = tried & (new_value < value)
        worse = tried & ~better
        return (
            np.where(better, ahead, x),
            np.where(better, new_value, value),
            np.where(better, new_slopes, slopes),
            np.where(grown, 2.0 * size, np.where(worse, size / 2.0, size)),
            np.where(grown | worse, 0, np.where(better, streak + 1, streak)),
            small | near,
        )

    first = (start, *slopes_at(start), 1e-5, 0, False)
    return jax.lax.while_loop(unfinished, step, first)[0]


def argmin_of_tensors(
    torch: Any, function: Callable[[Any], Any], start: Any, create_graph: bool = False
) -> Any:
    """The same of tensors, whose graph is kept where derivatives of the result are asked for."""

    def slopes_at(x: Any) -> Any:
        if not (create_graph and x.requires_grad):
            x = x.detach().requires_grad_()
        value = function(x)
        return x, value, torch.autograd.grad(value, x, create_graph=create_graph)[0]

    x, value, slopes = slopes_at(start)
    step, streak = 1e-5, 0
    while torch.sqrt((slopes * slopes).sum()) > SMALL:
        if streak == 10:
            step, streak = 2.0 * step, 0
            continue
        ahead = x - step * slopes
        if torch.sqrt(((x - ahead) ** 2).sum()) <= SMALL:
            break
        ahead, new_value, new_slopes = slopes_at(ahead)
        if new_value < value:
            x, value, slopes, streak = ahead, new_value, new_slopes, streak + 1
        else:
            step, streak = step / 2.0, 0
    return x if create_graph else x.detach()
