"""The weights of the estimators as arrays: ``coefs_`` and ``intercepts_`` of the network."""

from __future__ import annotations

from typing import Any

import numpy

from chainrule.node import Node

from .layers import MLP
from .objective import Array


class LayerWeights:
    """What has a fitted network ``model_`` and gives its weights by layer."""

    model_: MLP

    @property
    def coefs_(self) -> tuple[Array, ...]:
        """The weights of each layer, an array (inputs, outputs), to be read or set as a whole."""
        return self._by_layer(lambda neuron: [_number(w) for w in neuron.weights])

    @coefs_.setter
    def coefs_(self, arrays: Any) -> None:
        for layer, array in zip(self._layers(), self._fitting("coefs_", arrays), strict=True):
            for neuron, column in zip(layer.neurons, array.T.tolist(), strict=True):
                for i, value in enumerate(column):
                    if isinstance(neuron.weights[i], Node):
                        neuron.weights[i].data = value
                    else:
                        neuron.weights[i] = value

    @property
    def intercepts_(self) -> tuple[Array, ...]:
        """The biases of each layer, to be read or set as a whole."""
        return self._by_layer(lambda neuron: _number(neuron.bias))

    @intercepts_.setter
    def intercepts_(self, arrays: Any) -> None:
        for layer, array in zip(self._layers(), self._fitting("intercepts_", arrays), strict=True):
            for neuron, value in zip(layer.neurons, array.tolist(), strict=True):
                if isinstance(neuron.bias, Node):
                    neuron.bias.data = value
                else:
                    neuron.bias = value

    def _layers(self) -> Any:
        if "model_" not in vars(self):
            raise AttributeError(
                f"this {type(self).__name__} has no weights before it is fitted: call fit first"
            )
        return self.model_.layers

    def _by_layer(self, numbers: Any) -> tuple[Array, ...]:
        arrays = []
        for layer in self._layers():
            array = numpy.array([numbers(neuron) for neuron in layer.neurons], numpy.float64).T
            array.flags.writeable = False  # it is a copy: what is written there changes nothing
            arrays.append(array)
        return tuple(arrays)

    def _fitting(self, name: str, arrays: Any) -> list[Array]:
        """Arrays of the shapes of an attribute.

        Raises:
            ValueError: if they have others, or hold NaN or infinity.
        """
        wanted = [array.shape for array in getattr(self, name)]
        given = [numpy.array(array, numpy.float64) for array in arrays]
        if [array.shape for array in given] != wanted:
            raise ValueError(
                f"{name} are arrays of the shapes {wanted}, not {[array.shape for array in given]}"
            )
        if not all(numpy.isfinite(array).all() for array in given):
            raise ValueError(f"{name} hold NaN or infinity; weights are finite numbers")
        return given


def _number(weight: Any) -> float:
    return float(weight.data if isinstance(weight, Node) else weight)
