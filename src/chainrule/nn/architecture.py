"""What a network is apart from its parameters: as JSON, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from chainrule.leaves import are_leaves, are_same
from chainrule.node import Node
from chainrule.rules import described

from .activations import ACTIVATIONS, name_of
from .layers import MLP, Layer, Neuron

Place = tuple[int, int, int]
"""Of a weight: the numbers of the layer, of the neuron, and among its weights, the bias last."""

LARGEST_WHOLE: Final = 2**53  # up to here every whole number is a float


def architecture(model: object, found: Sequence[Node] | None = None) -> dict[str, Any] | None:
    """Kind and sizes of an MLP, and the numbers in the place of weights, for JSON.

    None for another module, one with an activation of the user's own, or an MLP that was changed
    after it was made so that this does not say what it computes, or what its parameters are.

    Args:
        model: the model.
        found: its parameters, if they are known.
    """
    if type(model) is not MLP or not _is_known(model.activation):
        return None
    width = model.n_in
    parameters: list[Node] = []
    numbers: list[list[Any]] = []
    for i, layer in enumerate(model.layers):
        own = name_of(model.activation) if i < len(model.layers) - 1 else "identity"
        if type(layer) is not Layer or not layer.neurons:
            return None
        for j, neuron in enumerate(layer.neurons):
            if type(neuron) is not Neuron or len(neuron.weights) != width:
                return None
            if not _is_known(neuron.activation) or neuron.uses != ACTIVATIONS[own]:
                return None
            weights = [*neuron.weights, neuron.bias]
            if are_leaves(weights):
                parameters += weights
                continue
            for k, weight in enumerate(weights):
                if type(weight) is Node:
                    parameters.append(weight)
                elif _is_plain(weight):
                    numbers.append([i, j, k, float(weight)])
                else:
                    return None
        width = len(layer.neurons)
    if found is None:
        found = model.parameters()
    # There are fewer where some are shared or computed, and more where some were added.
    if not are_same([*found], parameters):
        return None
    description: dict[str, Any] = {
        "kind": "MLP",
        "n_in": model.n_in,
        "sizes": [len(layer.neurons) for layer in model.layers],
        "activation": name_of(model.activation),
    }
    if numbers:
        description["numbers"] = numbers
    return description


def built(description: Any, n_parameters: int | None = None) -> MLP:
    """A network of an architecture.

    Args:
        description: what :func:`architecture` gave, or anything that a file holds.
        n_parameters: how many parameters it has to have; by default any number.

    Raises:
        ValueError: if it describes none, or one with another number of parameters; this is known
            before anything is made.
    """
    if not isinstance(description, dict) or description.get("kind") != "MLP":
        raise ValueError(f"this is no architecture of a network: {described(description)}")
    n_in: Any = description.get("n_in")
    sizes, activation = description.get("sizes"), description.get("activation")
    if not _is_size(n_in):
        raise ValueError(f"n_in is a whole number from 1 up, not {described(n_in)}")
    if not isinstance(sizes, list) or not sizes or not all(map(_is_size, sizes)):
        raise ValueError(
            f"the sizes of a network are a list of whole numbers from 1 up, not {described(sizes)}"
        )
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ValueError(f"there is no activation {described(activation)}")
    numbers = dict(_numbers(description.get("numbers", []), [n_in, *sizes]))
    widths = [n_in, *sizes[:-1]]
    total = sum(size * (width + 1) for size, width in zip(sizes, widths, strict=True))
    if n_parameters is not None and total - len(numbers) != n_parameters:
        raise ValueError(
            f"the architecture has {total - len(numbers)} parameters, and there are {n_parameters}"
        )
    model = MLP(n_in, sizes, activation, seed=0)
    for (i, j, k), value in numbers.items():
        neuron = model.layers[i].neurons[j]
        if k < len(neuron.weights):
            neuron.weights[k] = value
        else:
            neuron.bias = value
    return model


def _numbers(entries: Any, widths: list[int]) -> Iterator[tuple[Place, float]]:
    """The numbers in the place of weights by their places, checked."""
    if not isinstance(entries, list):
        raise ValueError(f"numbers is a list of places and values, not {described(entries)}")
    last: Place = (-1, -1, -1)
    for entry in entries:
        if not isinstance(entry, list) or [type(x) for x in entry] != [int, int, int, float]:
            raise ValueError(f"a number is given with its place, not as {described(entry)}")
        i, j, k, value = entry
        inside = 0 <= i < len(widths) - 1 and 0 <= j < widths[i + 1] and 0 <= k <= widths[i]
        if not inside or (i, j, k) <= last:
            raise ValueError(f"there is no such place for a number in a network: {entry}")
        last = i, j, k
        yield last, value


def _is_plain(weight: Any) -> bool:
    """Whether it is a number that computes as a float does."""
    if type(weight) is int:
        return abs(weight) <= LARGEST_WHOLE
    return isinstance(weight, float)


def _is_size(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LARGEST_WHOLE


def _is_known(activation: Any) -> bool:
    function = ACTIVATIONS.get(activation) if isinstance(activation, str) else activation
    return any(function is known for known in ACTIVATIONS.values())
