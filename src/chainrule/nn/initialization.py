"""First values of weights, from a seed.

A function here draws the weights of a layer, an array (outputs, inputs), from a generator of NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy
from numpy.typing import NDArray

from ._choices import chosen

Weights = NDArray[numpy.float64]
Initialization = Callable[[numpy.random.Generator, int, int], Any]
Seed = int | numpy.random.Generator | None


def glorot(random: numpy.random.Generator, n_in: int, n_out: int) -> Weights:
    """Uniform within ±√(6 / (inputs + outputs)) (Glorot and Bengio, 2010): for tanh, sigmoid."""
    limit = math.sqrt(6.0 / (n_in + n_out))
    return random.uniform(-limit, limit, (n_out, n_in))


def he(random: numpy.random.Generator, n_in: int, n_out: int) -> Weights:
    """Normal with variance 2 / inputs (He et al., 2015): for relu and its relatives."""
    return random.normal(0.0, math.sqrt(2.0 / n_in), (n_out, n_in))


def uniform(random: numpy.random.Generator, n_in: int, n_out: int) -> Weights:
    """Uniform in [-1, 1]."""
    return random.uniform(-1.0, 1.0, (n_out, n_in))


INITIALIZATIONS: Final[dict[str, Initialization]] = {
    "glorot": glorot,
    "he": he,
    "uniform": uniform,
}
_OF_ACTIVATION: Final = dict.fromkeys(
    ("relu", "leaky_relu", "elu", "silu", "gelu", "softplus"), "he"
)


def initialization(choice: str | Initialization | None, activation: str) -> Initialization:
    """The function of a name, or the function itself; for None what suits the activation.

    Raises:
        TypeError: if it is neither text nor a function.
        ValueError: if there is no such name.
    """
    if choice is None:
        choice = _OF_ACTIVATION.get(activation, "glorot")
    return choice if callable(choice) else chosen("initialization", choice, INITIALIZATIONS)


def generator(seed: Seed) -> numpy.random.Generator:
    """A generator of a seed; a generator itself goes on where it is.

    Raises:
        TypeError: if it is neither a whole number nor a generator nor None.
    """
    if isinstance(seed, numpy.random.Generator):
        return seed
    if seed is not None and (isinstance(seed, bool) or not hasattr(seed, "__index__")):
        raise TypeError(
            f"a seed is a whole number or a generator of NumPy, not {type(seed).__name__}"
        )
    return numpy.random.default_rng(seed)
