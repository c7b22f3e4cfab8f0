"""What the estimators minimise: the mean loss of a batch and the penalty of its weights.

The numbers are those of scikit-learn's networks: Σ wᵢ lossᵢ / Σ wᵢ + α/2 Σ weight² / Σ wᵢ, sums
over the samples of a batch with their sample weights wᵢ (1 without); biases have no penalty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy
from numpy.typing import NDArray

from chainrule.leaves import data_of, set_data

from .evaluation import steps_of
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
        parameters: the network's nodes.
        values: their values, in order; to be changed in place.
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
        if len(samples) > 2:
            self._weights = balanced(samples[2])
            alpha *= float(self._weights.max() / samples[2].max())  # for which their scale counts
            arrays.append(self._weights)
        self.parameters = model.parameters()
        self._steps = steps_of(model, function, arrays, self.parameters, None)
        self.values: Array = self._steps.values
        self.values[:] = data_of(self.parameters)
        self._decay: Array | None = None  # the factor of the penalty for each parameter
        if alpha:
            biases = {id(neuron.bias) for layer in model.layers for neuron in layer.neurons}
            decays = [0.0 if id(node) in biases else alpha for node in self.parameters]
            self._decay = numpy.array(decays)
            self._pull: Array = numpy.empty(len(decays))
        # The losses here are means over the outputs, and whole squares.
        self._factor = float(outputs) if loss != "log_loss" else 1.0
        self._shown = 1.0
        if loss == "squared_error":
            self._factor *= 0.5
            self._shown = 1.0 / outputs

    def __call__(self, index: Any = None) -> Evaluation | None:
        """The objective on a batch; None where all its samples have the weight 0.

        Args:
            index: the numbers of the samples, an int64 array; by default all.
        """
        if self._weights is None:
            total = self.size if index is None else len(index)
        else:
            total = float((self._weights if index is None else self._weights[index]).sum())
            if not total:
                return None
        mean, gradient = self._steps.step(index, total / self._factor)
        if self._decay is None:
            return Evaluation(mean * self._shown, mean, gradient)
        pull = self._pull
        numpy.multiply(self.values, self._decay, out=pull)
        penalty = 0.5 / total * float(numpy.vdot(pull, self.values))
        pull *= 1.0 / total
        gradient += pull
        return Evaluation(mean * self._shown + penalty, mean + penalty, gradient)

    def mean_loss(self) -> float:
        """The loss on all samples, as it is shown."""
        found = self()
        assert found is not None  # not all weights of samples are 0
        return found.loss

    def give_back(self) -> None:
        """Set the network's nodes to the values, and their gradients to 0."""
        set_data(self.parameters, self.values)
