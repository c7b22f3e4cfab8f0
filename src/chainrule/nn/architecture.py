"""What a network is apart from its numbers: as JSON, and back."""

from __future__ import annotations

from typing import Any

from .activations import ACTIVATIONS, name_of
from .layers import MLP, Layer, Neuron


def architecture(model: object) -> dict[str, Any] | None:
    """Kind and sizes of an MLP, for JSON.

    None for another module, one with an activation of the user's own, or an MLP that was changed
    after it was made so that its sizes no longer say what it computes.
    """
    if type(model) is not MLP or not _is_known(model.activation):
        return None
    width = model.n_in
    nodes: set[int] = set()
    expected = 0
    for i, layer in enumerate(model.layers):
        own = name_of(model.activation) if i < len(model.layers) - 1 else "identity"
        if type(layer) is not Layer or not layer.neurons:
            return None
        for neuron in layer.neurons:
            if type(neuron) is not Neuron or len(neuron.weights) != width:
                return None
            if not _is_known(neuron.activation) or neuron.uses != ACTIVATIONS[own]:
                return None
            leaves = [*neuron.weights, neuron.bias]
            nodes.update(id(node) for node in leaves if not node.operands)
            expected += len(leaves)
        width = len(layer.neurons)
    if len(nodes) != expected:  # shared weights
        return None
    sizes = [len(layer.neurons) for layer in model.layers]
    return {
        "kind": "MLP",
        "n_in": model.n_in,
        "sizes": sizes,
        "activation": name_of(model.activation),
    }


def built(description: Any) -> MLP:
    """A network of an architecture.

    Raises:
        ValueError: if it describes none.
    """
    if not isinstance(description, dict) or description.get("kind") != "MLP":
        raise ValueError(f"this is no architecture of a network: {description!r}")
    n_in, sizes = description.get("n_in"), description.get("sizes")
    if not isinstance(sizes, list) or len(sizes) == 0:
        raise ValueError(f"the sizes of a network are a list of whole numbers, not {sizes!r}")
    try:
        return MLP(n_in, sizes, description.get("activation"), seed=0)  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(str(error)) from None


def _is_known(activation: Any) -> bool:
    function = ACTIVATIONS.get(activation) if isinstance(activation, str) else activation
    return any(function is known for known in ACTIVATIONS.values())
