"""The parameters of the estimators: those of scikit-learn's networks."""

from __future__ import annotations

import math
from typing import Any

import numpy
from sklearn.base import BaseEstimator

from ._choices import count, flag, fraction, named, not_negative, positive
from .activations import activation as activation_named
from .schedules import schedule
from .solvers import RATES, SOLVERS


class Parameters(BaseEstimator):  # type: ignore[misc]
    """What classifier and regressor are made with; :class:`MLPClassifier` describes it."""

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: Any = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun

    def _activation(self) -> Any:
        return "sigmoid" if self.activation == "logistic" else self.activation

    def _checked_parameters(self) -> list[int]:
        """The sizes of the hidden layers, after all parameters were checked.

        Raises:
            TypeError: if one is of the wrong kind.
            ValueError: if one has a value that it can't have.
        """
        named("solver", self.solver, SOLVERS)
        named("learning_rate", self.learning_rate, RATES)
        activation_named(self._activation())
        schedule(self.learning_rate_init)
        if not (isinstance(self.batch_size, str) and self.batch_size == "auto"):
            if isinstance(self.batch_size, str):
                raise ValueError(f'batch_size is a whole number or "auto", not {self.batch_size!r}')
            count("batch_size", self.batch_size)
        if not (isinstance(self.n_iter_no_change, float) and self.n_iter_no_change == math.inf):
            count("n_iter_no_change", self.n_iter_no_change)
        for name in ("max_iter", "max_fun"):
            count(name, getattr(self, name))
        for name in ("alpha", "power_t", "tol"):
            not_negative(name, getattr(self, name))
        positive("epsilon", self.epsilon)
        fraction("momentum", self.momentum, whole=True)
        for name in ("beta_1", "beta_2", "validation_fraction"):
            fraction(name, getattr(self, name))
        for name in ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping"):
            flag(name, getattr(self, name))
        if not isinstance(self.verbose, (bool, numpy.bool_)):
            count("verbose", self.verbose, 0)
        hidden = self.hidden_layer_sizes
        return [
            count("a size in hidden_layer_sizes", n)
            for n in (hidden if numpy.iterable(hidden) else [hidden])
        ]
