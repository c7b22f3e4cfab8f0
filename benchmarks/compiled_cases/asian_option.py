"""An arithmetic Asian call option by Monte Carlo: value and four gradients of every path.

The price of the underlying takes ``steps`` steps; the option pays what its mean lies above the
strike. Three cases: the option itself, one with very many steps, and one that is worth nothing as
soon as the price is above a barrier.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiled_cases.common import Array

SPOT, STRIKE, RATE, VOLATILITY, YEARS = 100.0, 100.0, 0.05, 0.2, 1.0
PARAMETERS = (SPOT, STRIKE, RATE, VOLATILITY)
BARRIER = 110.0
SEED = 7


@dataclass(frozen=True)
class Option:
    """One of the cases.

    Args:
        paths: how many.
        knock_out: whether there is the barrier.
    """

    paths: int
    knock_out: bool = False

    def normals(self, steps: int) -> Array:
        """The random numbers, a row for each path."""
        return np.random.default_rng(SEED).standard_normal((self.paths, steps))

    def units(self, steps: int) -> int:
        """Operations of all paths together."""
        return self.paths * operations(steps)


def operations(steps: int) -> int:
    """Operations of one path of the plain option as written: six a step, and fifteen."""
    return 6 * steps + 15


PLAIN = Option(paths=8192)
LONG = Option(paths=8)
KNOCK_OUT = Option(paths=8192, knock_out=True)
