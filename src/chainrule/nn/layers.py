"""Neuron, Layer and MLP: the fully connected network, written as scalars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.keywords import with_nearest_names
from chainrule.leaves import leaves
from chainrule.node import Node
from chainrule.tracebacks import boundary
from chainrule.tracing import PROGRESS

from ._choices import count
from .activations import Activation, activation, name_of
from .grouping import are_grouped, grouped
from .initialization import Initialization, Seed, generator, initialization
from .module import Module


class Neuron(Module):
    """activation(w0 x0 + w1 x1 + … + b).

    A number that is put in the place of a weight or of the bias, such as 0.0 for one that is
    pruned, stays what it is: it is no parameter.

    Args:
        weights: the first values of the weights.
        activation: its name, or a function.

    Raises:
        TypeError: if a weight is no number, or the activation neither text nor a function.
        ValueError: if there are no weights, or no such activation.
    """

    @with_nearest_names
    def __init__(self, weights: Sequence[float], activation: str | Activation = "tanh") -> None:
        if not len(weights):
            raise ValueError("Neuron: there are no weights")
        self.weights: list[Any] = leaves(weights, "w" if are_grouped() else None)
        self.bias: Any = Node(0.0, name="b")
        self.activation = activation
        self.uses = _function(activation)

    @boundary
    def __call__(self, x: Any) -> Any:
        """The output for a list of inputs.

        Raises:
            ValueError: if their number is another.
        """
        if not hasattr(x, "__len__"):
            raise _one_number(f"a neuron of {len(self.weights)} inputs")
        if len(x) != len(self.weights):
            raise ValueError(f"a neuron of {len(self.weights)} inputs was given {len(x)}")
        total: Any = self.bias
        for weight, value in zip(self.weights, x, strict=True):
            total = total + weight * value
        return self.uses(total)

    def __repr__(self) -> str:
        return f"Neuron({len(self.weights)}, {name_of(self.activation)})"


class Layer(Module):
    """Neurons that share their inputs.

    Args:
        n_in: how many inputs.
        n_out: how many neurons.
        activation: its name, or a function.
        initialization: "glorot", "he", "uniform", or a function of a generator and the numbers of
            inputs and outputs that gives the weights, a row for each neuron. By default what suits
            the activation. Biases begin at 0.
        seed: a whole number, or a generator of NumPy.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if a number is not positive or a name unknown.
    """

    @with_nearest_names
    def __init__(
        self,
        n_in: int,
        n_out: int,
        activation: str | Activation = "tanh",
        initialization: str | Initialization | None = None,
        seed: Seed = None,
    ) -> None:
        n_in, n_out = count("Layer: n_in", n_in), count("Layer: n_out", n_out)
        _function(activation)
        draw = _initialization(initialization, name_of(activation))
        rows = draw(generator(seed), n_in, n_out)
        if len(rows) != n_out or any(len(row) != n_in for row in rows):
            raise ValueError(f"the initialization has to give {n_out} rows of {n_in} weights")
        self.neurons: list[Neuron] = []
        for i, row in enumerate(rows):
            with grouped(f"neuron {i}"):
                self.neurons.append(Neuron(row, activation))

    @boundary
    def __call__(self, x: Any) -> list[Any]:
        """The outputs for a list of inputs."""
        totals = None if are_grouped() else self._totals(x)
        if totals is not None:
            return [neuron.uses(y) for neuron, y in zip(self.neurons, totals, strict=True)]
        outputs = []
        for i, neuron in enumerate(self.neurons):
            with grouped(f"neuron {i}"):
                outputs.append(neuron(x))
        return outputs

    def _totals(self, x: Any) -> list[Any] | None:
        """What the activations are of, where a trace takes it as one; else None."""
        recorder: Any = PROGRESS.recorder
        if recorder is None or any(type(neuron) is not Neuron for neuron in self.neurons):
            return None
        rows = [neuron.weights for neuron in self.neurons]
        if not hasattr(x, "__len__") or any(len(row) != len(x) for row in rows):
            return None
        found = recorder.loop("weighted_sums", rows, [n.bias for n in self.neurons], x)
        return None if found is None else found[0]

    def __repr__(self) -> str:
        first = self.neurons[0]
        return f"Layer({len(first.weights)}, {len(self.neurons)}, {name_of(first.activation)})"


class MLP(Module):
    """A fully connected network.

    In pictures its layers, and in these its neurons, are groups that fold.

    The last layer has no activation: its outputs are numbers as they come, for the losses here.

    Args:
        n_in: how many inputs.
        sizes: how many neurons the layers have, the last being the outputs.
        activation: of all layers but the last: its name, or a function.
        initialization: of all layers: see :class:`Layer`.
        seed: a whole number, or a generator of NumPy.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if there is no layer, a number is not positive or a name unknown.
    """

    @with_nearest_names
    def __init__(
        self,
        n_in: int,
        sizes: Sequence[int],
        activation: str | Activation = "tanh",
        initialization: str | Initialization | None = None,
        seed: Seed = None,
    ) -> None:
        if not isinstance(sizes, Sequence) or not sizes:
            raise ValueError(
                f"MLP: sizes is a list such as [16, 16, 1], the last one the outputs, not {sizes!r}"
            )
        random = generator(seed)
        self.layers: list[Layer] = []
        width = count("MLP: n_in", n_in)
        self.n_in = width
        self.activation = activation
        _function(activation)
        for i, size in enumerate(sizes):
            size = count("MLP: a size", size)
            own = activation if i < len(sizes) - 1 else "identity"
            with grouped(_name_of_layer(i, len(sizes))):
                self.layers.append(Layer(width, size, own, initialization, random))
            width = size
        self.sizes = [len(layer.neurons) for layer in self.layers]

    @boundary
    def __call__(self, x: Any) -> Any:
        """The output for a list of inputs; a list if there are several outputs.

        A network of one input takes a plain number too.
        """
        values = x
        if not hasattr(x, "__len__"):
            if self.n_in > 1:
                raise _one_number(f"a network of {self.n_in} inputs")
            values = [x]
        for i, layer in enumerate(self.layers):
            with grouped(_name_of_layer(i, len(self.layers))):
                values = layer(values)
        return values[0] if len(values) == 1 else values

    def __repr__(self) -> str:
        return f"MLP({self.n_in}, {self.sizes}, {name_of(self.activation)})"


def _one_number(what: str) -> TypeError:
    return TypeError(
        f"{what} was given a single number; it takes a list of them, and X a row of them for each"
        " sample: for one sample [[1.0, 2.0]]"
    )


def _name_of_layer(i: int, count: int) -> str:
    return "output" if i == count - 1 else f"layer {i + 1}"


_function = activation
_initialization = initialization
