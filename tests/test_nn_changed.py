"""Networks that were changed by hand: numbers in the place of weights, and further nodes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule import Node, nn
from chainrule.nn import evaluation

X = np.random.default_rng(0).normal(size=(24, 3))
Y = X[:, 0] - X[:, 1] * X[:, 2]


def network(activation: str = "tanh") -> nn.MLP:
    """A small network, always the same."""
    return nn.MLP(3, [4, 3, 1], activation, seed=1)


def unit(model: nn.MLP, layer: int = 0, neuron: int = 0) -> Any:
    """One of its neurons."""
    return model.layers[layer].neurons[neuron]


def prune_one(model: nn.MLP) -> None:
    """The first weight is 0."""
    unit(model).weights[0] = 0.0


def prune_by_whole_numbers(model: nn.MLP) -> None:
    """Weights and a bias are whole numbers."""
    unit(model).weights[1:] = [0, 1]
    unit(model, 2).bias = -2


def prune_by_numpy(model: nn.MLP) -> None:
    """A whole list is an array of numbers; single weights are numbers of NumPy."""
    unit(model, 1, 2).weights = np.array([0.5, 0.0, -0.25, -0.0])
    unit(model).bias = np.float64(0.125)


def prune_small(model: nn.MLP) -> None:
    """Whatever is small, as pruning by magnitude does; nothing is left of one neuron."""
    for layer in model.layers:
        for neuron in layer.neurons:
            pruned: Any = [w if abs(w.data) > 0.4 else 0.0 for w in neuron.weights]
            neuron.weights = pruned
    unit(model, 0, 1).weights = [0.0, 0.0, 0.0]
    unit(model, 0, 1).bias = 0.0


def freeze_a_layer(model: nn.MLP) -> None:
    """A layer whose weights are numbers, as they were."""
    for neuron in model.layers[1].neurons:
        frozen: Any = tuple(w.data for w in neuron.weights)
        neuron.weights = frozen


PRUNINGS: list[Callable[[nn.MLP], None]] = [
    prune_one,
    prune_by_whole_numbers,
    prune_by_numpy,
    prune_small,
    freeze_a_layer,
]


def numbers(model: nn.MLP) -> list[float | None]:
    """What stands in the place of each weight: None for a node, else the number."""
    return [
        None if isinstance(weight, Node) else float(weight)
        for layer in model.layers
        for neuron in layer.neurons
        for weight in [*neuron.weights, neuron.bias]
    ]


@pytest.mark.parametrize("prune", PRUNINGS)
@pytest.mark.parametrize("activation", ["tanh", "elu"])
def test_numbers_among_the_weights_stay(
    prune: Callable[[nn.MLP], None], activation: str, tmp_path: Path
) -> None:
    """They are trained around, compiled and eagerly; saved, and loaded as the numbers they are."""
    results = []
    for compiled in (True, False):
        model = network(activation)
        prune(model)
        before = numbers(model)
        known = model.parameters()
        assert len(known) == before.count(None) < 16 + 15 + 4
        first = [node.data for node in known]
        history = nn.fit(model, X, Y, epochs=3, batch_size=8, compile=compiled)
        assert numbers(model) == before
        if prune is not prune_small:  # where neurons are cut off, what leads to them stays
            moved = [node.data != value for node, value in zip(known, first, strict=True)]
            assert all(moved)
        values = nn.predict(model, X, compile=compiled)
        assert values == pytest.approx([_output(model, row) for row in X], rel=1e-12)
        results.append([*history.loss, *[node.data for node in known], *values])
    assert results[0] == pytest.approx(results[1], rel=1e-9)
    again = nn.load(nn.save(model, tmp_path / "a"))
    assert [str(x) for x in numbers(again)] == [str(x) for x in numbers(model)]
    assert [node.data for node in again.parameters()] == [node.data for node in known]
    assert np.array_equal(nn.predict(again, X), nn.predict(model, X))
    other = network(activation)
    prune(other)
    nn.load_weights(other, tmp_path / "a")
    assert np.array_equal(nn.predict(other, X), nn.predict(model, X))


def _output(model: nn.MLP, row: Any) -> float:
    output = model(row.tolist())
    return output.data if isinstance(output, Node) else float(output)


def test_numbers_that_change_are_seen() -> None:
    """A kept predictor reads them as it reads the weights; alike networks share their code."""
    model = network()
    predictor = nn.Predictor(model)
    predictor(X)
    kept = len(evaluation._programs)
    for value in (0.0, 0.5, -0.0, 0.5):
        unit(model).weights[2] = value
        assert np.array_equal(predictor(X), nn.predict(model, X))
        assert predictor(X) == pytest.approx(nn.predict(model, X, compile=False), rel=1e-12)
    unit(model).weights[2] = Node(0.5)
    assert predictor(X) == pytest.approx(nn.predict(model, X, compile=False), rel=1e-12)
    assert len(evaluation._programs) <= kept + 3


def test_weights_of_another_pruning_are_refused(tmp_path: Path) -> None:
    """Which weights there are belongs to the model."""
    whole, pruned = network(), network()
    prune_one(pruned)
    path = nn.save(whole, tmp_path / "a")
    with pytest.raises(nn.SavedFileError, match=r"it has no layers.0.neurons.0.weights.1, "):
        nn.load_weights(pruned, path)
    nn.save(pruned, path)
    with pytest.raises(nn.SavedFileError, match=r"the model has no layers.0.neurons.0.weights.1"):
        nn.load_weights(whole, path)


@pytest.mark.parametrize(
    "value", [np.float32(0.1), 1 + 0j, "0.0", None, np.array([0.0]), 10**400], ids=type
)
def test_what_is_no_plain_number_is_run_as_it_is(value: Any, tmp_path: Path) -> None:
    """Nothing is taken for a number that computes otherwise; what can be computed is."""
    model = network()
    unit(model).weights[0] = value
    path = nn.save(model, tmp_path / "a")
    with pytest.raises(nn.SavedFileError, match="no architecture; make the model and use load_we"):
        nn.load(path)
    if isinstance(value, np.float32):
        assert nn.predict(model, X) == pytest.approx(nn.predict(model, X, compile=False), rel=1e-5)
    else:
        with pytest.raises((TypeError, ValueError, OverflowError)):
            nn.predict(model, X)


def extra_on_the_network(model: Any) -> None:
    """A scale, say for the loss."""
    model.scale = Node(2.0)


def extra_on_a_layer(model: Any) -> None:
    """A list of nodes on a layer."""
    model.layers[1].more = [Node(2.0), Node(3.0)]


def extra_on_a_neuron(model: Any) -> None:
    """An array of nodes on a neuron."""
    model.layers[0].neurons[3].more = np.array([Node(2.0), Node(3.0)])


@pytest.mark.parametrize("extend", [extra_on_the_network, extra_on_a_layer, extra_on_a_neuron])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_further_nodes_are_parameters(
    extend: Callable[[Any], None], optimizer: str, tmp_path: Path
) -> None:
    """What the loss does not use stays, the rest is trained as without; all is saved."""
    results = []
    for compiled, more in ((True, True), (False, True), (True, False)):
        model = network()
        if more:
            extend(model)
        nn.fit(model, X, Y, epochs=3, batch_size=8, optimizer=optimizer, compile=compiled)
        named = dict(model.named_parameters())
        added = [node.data for name, node in named.items() if "more" in name or name == "scale"]
        assert added == ([] if not more else [2.0, 3.0][: len(added)] or None)
        rest = [node.data for name, node in named.items() if "more" not in name and name != "scale"]
        results.append([*rest, *nn.predict(model, X, compile=compiled)])
        if more:
            path = nn.save(model, tmp_path / "a")
            with pytest.raises(nn.SavedFileError, match="no architecture; make the model and use"):
                nn.load(path)
            other = network()
            extend(other)
            for node in other.parameters():
                node.data = 0.0
            nn.load_weights(other, path)
            assert [node.data for node in other.parameters()] == [n.data for n in named.values()]
    assert results[0] == pytest.approx(results[1], rel=1e-9)
    assert results[0] == pytest.approx(results[2], rel=1e-12)


def test_a_further_node_that_the_loss_uses_is_trained() -> None:
    """As any parameter."""
    results = []
    for compiled in (True, False):
        model: Any = network()
        model.scale = Node(1.0)

        def scaled(prediction: Any, target: Any, model: Any = model) -> Any:
            return (model.scale * prediction - target) ** 2

        nn.fit(model, X, Y, loss=scaled, epochs=3, compile=compiled)
        assert model.scale.data != 1.0
        results.append([node.data for node in model.parameters()])
    assert results[0] == pytest.approx(results[1], rel=1e-9)


def test_parameters_in_another_order() -> None:
    """An attribute that is set anew comes last; no weight gets the value of another."""
    results = []
    for compiled in (True, False):
        model = network()
        first: Any = unit(model)
        weights = first.weights
        del first.weights
        first.weights = weights
        assert model.parameters()[0] is first.bias
        nn.fit(model, X, Y, epochs=2, compile=compiled)
        results.append([*[p.data for p in model.parameters()], *nn.predict(model, X, compiled)])
    assert results[0] == pytest.approx(results[1], rel=1e-9)


def test_a_pruned_network_is_copied_and_drawn() -> None:
    """Copies are pruned too, and a picture shows a weight without gradient."""
    model = network()
    prune_small(model)
    twin = copy.deepcopy(model)
    assert numbers(twin) == numbers(model)
    assert np.array_equal(nn.predict(twin, X), nn.predict(model, X))
    output: Any = model(X[0].tolist())
    output.backward()
    for gradients in (True, False):
        (lines, *_) = nn.plot_network(model, gradients=gradients).collections
        shown = lines.get_array().tolist()
        assert len(shown) == 12 + 12 + 3
        assert shown[3] == shown[4] == shown[5] == 0.0  # of the neuron of which nothing is left
        assert any(shown)


def test_a_network_with_other_layers_is_drawn() -> None:
    """As it is now, not as it was made."""
    model = network()
    model.layers.append(nn.Layer(1, 2, "identity", seed=0))
    model.n_in = 9
    (lines, *_) = nn.plot_network(model, gradients=False).collections
    assert len(lines.get_array()) == 12 + 12 + 3 + 2
