"""Activation functions, by name or any function of a number or node.

At 0 all have their derivative but two, which have none there: relu's is taken as 0 and leaky_relu's
as 0.01, those of the negative side, as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from chainrule import math

from ._choices import chosen

Activation = Callable[[Any], Any]


def identity(x: Any) -> Any:
    """The value x itself."""
    return x


def leaky_relu(x: Any) -> Any:
    """The value x where it is positive, a hundredth of it elsewhere."""
    return math.where(x > 0, x, 0.01 * x)


def elu(x: Any) -> Any:
    """The value x where it is positive, exp(x) - 1 elsewhere."""
    positive = x > 0
    return math.where(positive, x, math.expm1(math.where(positive, 0.0, x)))  # never overflows


def silu(x: Any) -> Any:
    """The value x times its sigmoid (also called swish)."""
    return x * math.sigmoid(x)


def gelu(x: Any) -> Any:
    """The value x times the normal distribution function at x."""
    return x * math.norm_cdf(x)


ACTIVATIONS: Final[dict[str, Activation]] = {
    "identity": identity,
    "relu": math.relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "silu": silu,
    "gelu": gelu,
    "tanh": math.tanh,
    "sigmoid": math.sigmoid,
    "softplus": math.softplus,
}


def activation(choice: str | Activation) -> Activation:
    """The function of a name, or the function itself.

    Raises:
        TypeError: if it is neither text nor a function.
        ValueError: if there is no such name.
    """
    return choice if callable(choice) else chosen("activation", choice, ACTIVATIONS)


def name_of(choice: str | Activation) -> str:
    """The name of an activation; of one of the user's own, that of the function."""
    if isinstance(choice, str):
        return choice
    for name, function in ACTIVATIONS.items():
        if function is choice:
            return name
    return getattr(choice, "__name__", type(choice).__name__)
