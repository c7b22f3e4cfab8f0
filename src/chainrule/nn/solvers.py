"""The solvers of the estimators, step for step those of scikit-learn's networks.

They differ from the optimizers here in small things: the velocity of "sgd" holds the learning
rates of its steps, which change, and "adam" adds epsilon before it corrects the mean of squares.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy
from scipy.optimize import minimize

from .objective import Array, Objective
from .optimizers import Adam, AdamW, Optimizer
from .schedules import Schedule, schedule

STOCHASTIC: Final = ("sgd", "adam", "adamw")
SOLVERS: Final = ("lbfgs", *STOCHASTIC)
RATES: Final = ("constant", "invscaling", "adaptive")
SMALLEST_RATE: Final = 1e-6
"""At which "adaptive" gives up."""


class FallingRate:
    """A schedule of which a share is used.

    Args:
        rate: a number, or a schedule.
    """

    def __init__(self, rate: float | Schedule) -> None:
        self.whole = schedule(rate)
        self.share = 1.0

    def __call__(self, step: int) -> float:
        """The rate at a step."""
        return self.whole(step) * self.share


class MomentumSGD(Optimizer):
    """Gradient descent with a velocity that holds the rates, and rates that fall.

    Args:
        learning_rate: a number, or a schedule.
        momentum: what is left of the velocity after a step, from 0 to 1.
        nesterov: look ahead along it.
        kind: "constant"; "invscaling", by the samples seen; "adaptive", where learning stalls.
        power: the exponent of "invscaling".
    """

    default_rate = 0.001
    _changing = ("_velocity",)  # the rate falls between epochs

    def __init__(
        self, learning_rate: Any, *, momentum: float, nesterov: bool, kind: str, power: float
    ) -> None:
        self._falling = FallingRate(learning_rate)
        super().__init__(self._falling)
        self.momentum = momentum
        self.nesterov = nesterov
        self.kind = kind
        self.power = power

    def after_epoch(self, seen: int) -> None:
        """Note how many samples there have been."""
        if self.kind == "invscaling":
            self._falling.share = 1.0 / (seen + 1) ** self.power

    def goes_on_slower(self) -> bool:
        """Where learning stalls: whether a smaller rate is tried."""
        if self.kind != "adaptive" or self.rate <= SMALLEST_RATE:
            return False
        self._falling.share /= 5.0
        return True

    def _start(self, size: int) -> None:
        self._velocity = numpy.zeros(size)

    def _move(self, values: Array, gradient: Array, rate: float) -> None:
        velocity = self._velocity
        gradient *= rate
        velocity *= self.momentum
        velocity -= gradient
        if self.nesterov:
            values += self.momentum * velocity
            values -= gradient
        else:
            values += velocity


class UncorrectedAdam(Adam):
    """Adam whose epsilon is added to the root of the mean of squares as it is.

    Kingma and Ba (2015) give this form at the end of their section 2.
    """

    _changing = Adam._changing

    def __init__(self, learning_rate: Any, *, betas: tuple[float, float], epsilon: float) -> None:
        super().__init__(learning_rate, betas=betas, epsilon=epsilon)
        self._added = epsilon

    def _move(self, values: Array, gradient: Array, rate: float) -> None:
        # Adam adds epsilon to the corrected root: what makes that epsilon before the correction.
        self.epsilon = self._added / math.sqrt(1.0 - self.betas[1] ** (self.steps + 1))
        super()._move(values, gradient, rate)


def new_optimizer(settings: Any) -> Optimizer:
    """The optimizer for an estimator's parameters."""
    rate = settings.learning_rate_init
    betas = settings.beta_1, settings.beta_2
    if settings.solver == "sgd":
        return MomentumSGD(
            rate,
            momentum=settings.momentum,
            nesterov=settings.nesterovs_momentum,
            kind=settings.learning_rate,
            power=settings.power_t,
        )
    if settings.solver == "adamw":
        return AdamW(rate, betas=betas, epsilon=settings.epsilon, weight_decay=settings.alpha)
    return UncorrectedAdam(rate, betas=betas, epsilon=settings.epsilon)


def lbfgs(
    objective: Objective, max_iter: int, max_fun: int, tol: float
) -> tuple[float, int, str | None]:
    """Minimise over all samples by SciPy's L-BFGS-B; the values are those of the minimum then.

    Args:
        objective: to be minimised, from its values on.
        max_iter: the most iterations.
        max_fun: the most evaluations.
        tol: the largest element of the gradient that counts as 0.

    Returns:
        The loss as it is shown, how many iterations there were, and why they ended if not at a
        minimum.
    """

    def at(point: Array) -> tuple[float, Array]:
        objective.values[:] = point
        found = objective()
        assert found is not None  # not all weights of samples are 0
        return found.objective, found.gradient

    result = minimize(
        at,
        objective.values.copy(),
        method="L-BFGS-B",
        jac=True,
        options={"maxiter": max_iter, "maxfun": max_fun, "gtol": tol},
    )
    objective.values[:] = result.x
    why = None if result.status == 0 else str(result.message)
    return objective.mean_loss(), min(int(result.nit), max_iter), why
