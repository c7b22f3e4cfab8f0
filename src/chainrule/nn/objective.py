"""What the estimators minimise: the mean loss of a batch and the penalty of its weights.

The numbers are those of scikit-learn's networks: Σ wᵢ lossᵢ / Σ wᵢ + α/2 Σ weight² / Σ wᵢ, sums
over the samples of a batch with their sample weights wᵢ (1 without); biases have no penalty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy
from numpy.typing import NDArray

from .evaluation import set_data, steps_of
from .layers import MLP
from .losses import LOSSES
from .samples import balanced, checked_samples

Array = NDArray[numpy.float64]

LOSS_NAMES: Final = {
    "squared_error": "mean_squared_error",
    "poisson": "poisson",
    "log_loss": "cross_entropy",
    "binary_log_loss": "binary_cross_entropy",
}
"""What scikit-learn calls a loss, and what it is called here."""


class Evaluation(NamedTuple):
    """The objective on a batch.

    Attributes:
        loss: as it is shown, in ``loss_`` and ``loss_curve_``.
        objective: as it is minimised; another number for the squared error of several outputs,
            whose mean is shown while their sum is minimised.
        gradient: of the objective, by each parameter; it may be overwritten.
    """

    loss: float
    objective: float
    gradient: Array


class Objective:
    """The objective of a network on some samples, as machine code.

    Args:
        model: the network.
        loss: the name that scikit-learn has for it.
        samples: inputs and targets, a row for each sample, and weights of the samples if they have
            any. Targets are numbers, or truth values for each class or label.
        alpha: the factor of the penalty.

    Attributes:
        values: the parameters, in order; to be changed in place.
        size: the number of samples.

    Raises:
        ValueError: if the targets are none that the loss knows.
    """

    def __init__(self, model: MLP, loss: str, samples: Sequence[Any], alpha: float) -> None:
        X, targets = samples[:2]
        self.size, outputs = targets.shape
        if loss == "log_loss":
            y = targets.argmax(axis=1)
        else:
            y = targets.astype(numpy.float64)
            if outputs == 1:
                y = y[:, 0]
        function = LOSSES[LOSS_NAMES[loss]]
        arrays = [*checked_samples(X, y, function)]
        self._weights: Any = None
        self._alpha = alpha
        if len(samples) > 2:
            self._weights = balanced(samples[2])
            self._alpha *= float(self._weights.max() / samples[2].max())  # their scale counts here
            arrays.append(self._weights)
        self._parameters = model.parameters()
        self._steps = steps_of(model, function, arrays, self._parameters, None)
        self.values: Array = self._steps.values
        self.values[:] = [node.data for node in self._parameters]
        biases = {id(neuron.bias) for layer in model.layers for neuron in layer.neurons}
        self._decaying: Array = numpy.array(
            [0.0 if id(node) in biases else 1.0 for node in self._parameters]
        )
        # The losses here are means over the outputs, and whole squares.
        self._factor = float(outputs) if loss != "log_loss" else 1.0
        self._shown = 1.0
        if loss == "squared_error":
            self._factor *= 0.5
            self._shown = 1.0 / outputs

    def total(self, index: Any = None) -> float:
        """The weight of the samples of a batch, in the scale that they are balanced to.

        Args:
            index: the numbers of the samples, an int64 array; by default all.
        """
        if self._weights is None:
            return float(self.size if index is None else len(index))
        return float((self._weights if index is None else self._weights[index]).sum())

    def __call__(self, index: Any = None) -> Evaluation:
        """The objective on a batch of a positive total weight."""
        total = self.total(index)
        mean, gradient = self._steps.step(index, total)
        if self._factor != 1.0:
            mean *= self._factor
            gradient *= self._factor
        if not self._alpha:
            return Evaluation(mean * self._shown, mean, gradient)
        weights = self.values * self._decaying
        decay = self._alpha / total
        penalty = 0.5 * decay * float(weights @ weights)
        weights *= decay
        gradient += weights
        return Evaluation(mean * self._shown + penalty, mean + penalty, gradient)

    def give_back(self) -> None:
        """Set the network's nodes to the values, and their gradients to 0."""
        set_data(self._parameters, self.values)
        for node in self._parameters:
            node.grad = 0.0
