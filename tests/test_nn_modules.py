"""Modules, layers, activations, first weights and losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import Node, check_grads, compile, draw_graph, grad, jvp, nn, vmap
from chainrule.nn.losses import loss as loss_named


class Polynomial(nn.Module):
    """A user's module: coefficients in a list, a scale beside it."""

    def __init__(self) -> None:
        self.coefficients = [Node(1.0), Node(-2.0), Node(0.5)]
        self.parts = {"scale": Node(3.0), "other": (Node(4.0), "text")}
        self.table = np.array([[Node(5.0)], [Node(6.0)]])
        self.again = self.coefficients[0]
        self.result = self.coefficients[0] * 2.0  # not a leaf

    def __call__(self, x: Any) -> Any:
        """A polynomial of x."""
        a, b, c = self.coefficients
        return self.parts["scale"] * (a + x * (b + x * c))


def test_parameters_are_found_once_in_order() -> None:
    """In attributes, lists, dicts, tuples and arrays; shared ones once, no results."""
    names = [name for name, _ in Polynomial().named_parameters()]
    assert names == [
        "coefficients.0", "coefficients.1", "coefficients.2", "parts.scale", "parts.other.0",
        "table.0.0", "table.1.0",
    ]  # fmt: skip


def test_names_and_groups_of_a_network() -> None:
    """A parameter is known by its place, a node by its layer and neuron."""
    model = nn.MLP(2, [3, 1], seed=0)
    named = dict(model.named_parameters())
    assert list(named)[:4] == [
        "layers.0.neurons.0.weights.0", "layers.0.neurons.0.weights.1", "layers.0.neurons.0.bias",
        "layers.0.neurons.1.weights.0",
    ]  # fmt: skip
    assert len(named) == len(model.parameters()) == 3 * 3 + 4
    assert named["layers.0.neurons.1.weights.0"].groups == ("layer 1", "neuron 1")
    assert model([0.5, 1.0]).groups == ("output", "neuron 0")


def test_a_picture_folds_by_layer() -> None:
    """A box for each layer is left."""
    y = nn.MLP(2, [3, 4, 1], seed=0)([Node(1.0, name="x0"), Node(2.0, name="x1")])
    source = draw_graph(y, fold=True).source
    assert all(name in source for name in ("layer 1", "layer 2", "output"))
    assert source.count("\n") < 30


def test_without_groups() -> None:
    """Nodes of no group, and the same numbers."""
    model = nn.MLP(2, [3, 1], seed=0)
    with nn.ungrouped():
        y = model([0.5, 1.0])
    assert y.groups == ()
    assert y.data == model([0.5, 1.0]).data


def test_reprs() -> None:
    """What a network is can be read."""
    model = nn.MLP(2, [3, 1], "relu")
    assert repr(model) == "MLP(2, [3, 1], relu)"
    assert repr(model.layers[0]) == "Layer(2, 3, relu)"
    assert repr(model.layers[1].neurons[0]) == "Neuron(3, identity)"
    assert repr(Polynomial()) == "Polynomial(7 parameters)"
    assert repr(nn.MLP(1, [1, 1], lambda x: x)) == "MLP(1, [1, 1], <lambda>)"


def test_a_network_computes_what_it_says() -> None:
    """Against NumPy; a list of several outputs, a number of one; a number as the only input."""
    model = nn.MLP(3, [4, 2], "tanh", seed=5)
    x = np.array([0.1, -0.7, 2.0])
    hidden, output = (
        np.array([[w.data for w in neuron.weights] for neuron in layer.neurons])
        for layer in model.layers
    )
    got = [y.data for y in model(x.tolist())]
    assert np.allclose(got, output @ np.tanh(hidden @ x), rtol=1e-14)
    narrow = nn.MLP(1, [2, 1])
    assert narrow(0.5).data == narrow([0.5]).data


def test_zero_grad() -> None:
    """All gradients are 0 again."""
    model = nn.MLP(2, [2, 1], seed=0)
    model([1.0, 2.0]).backward()
    assert any(p.grad for p in model.parameters())
    model.zero_grad()
    assert not any(p.grad for p in model.parameters())


@pytest.mark.parametrize("name", nn.ACTIVATIONS)
def test_activations(name: str) -> None:
    """Each has the right derivative, and the same value on numbers and on nodes."""
    function = nn.ACTIVATIONS[name]
    for x in (-2.3, -0.1, 0.4, 3.0):
        check_grads(function, (x,), order=1)
        assert function(Node(x)).data == function(x)
    assert isinstance(nn.MLP(2, [2, 1], name, seed=0)([1.0, 2.0]), Node)
    extreme = grad(function)(-800.0), grad(function)(800.0)
    assert all(math.isfinite(slope) for slope in extreme)


SLOPES_AT_ZERO = {
    "identity": 1.0, "relu": 0.0, "leaky_relu": 0.01, "elu": 1.0, "silu": 0.5, "gelu": 0.5,
    "tanh": 1.0, "sigmoid": 0.25, "softplus": 0.5,
}  # fmt: skip


def test_the_slopes_at_zero_are_those_of_all() -> None:
    """No activation is left out."""
    assert SLOPES_AT_ZERO.keys() == nn.ACTIVATIONS.keys()


@pytest.mark.parametrize("name", nn.ACTIVATIONS)
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_the_slope_of_activations_at_zero(name: str, zero: float) -> None:
    """The derivative where there is one, else that of the negative side; in every mode."""
    function = nn.ACTIVATIONS[name]
    slope = SLOPES_AT_ZERO[name]
    node = Node(zero)
    function(node).backward()
    points = np.array([zero, -1.0, 1.0])
    assert (
        node.grad
        == grad(function)(zero)
        == jvp(function, (zero,), (1.0,))[1]
        == compile(grad(function))(zero)
        == vmap(grad(function))(points)[0]
        == compile(vmap(grad(function)))(points)[0]
        == slope
    )
    h = 1e-8
    assert (function(zero) - function(-h)) / h == pytest.approx(slope, abs=1e-7)
    if name not in ("relu", "leaky_relu"):  # whose sides differ
        assert (function(h) - function(zero)) / h == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize("name", nn.ACTIVATIONS)
def test_a_network_whose_sums_are_zero_is_trained_alike(name: str) -> None:
    """Compiled and eager take the same slope at 0, with weights of any kind."""
    results = []
    for compiled in (True, False):
        model = nn.MLP(2, [3, 1], name, seed=2)
        for neuron in model.layers[0].neurons:
            neuron.weights[1].data = -neuron.weights[0].data
        X = np.array([[1.0, 1.0], [-2.0, -2.0], [0.0, 0.0], [1.0, 0.5]])
        nn.fit(model, X, [1.0, 2.0, 3.0, 4.0], epochs=2, optimizer="sgd", compile=compiled)
        results.append([p.data for p in model.parameters()])
    assert results[0] == pytest.approx(results[1], rel=1e-12)


def test_an_activation_of_ones_own() -> None:
    """Any function of a number will do."""
    model = nn.MLP(1, [1, 1], lambda x: x * x, seed=0)
    hidden, output = (layer.neurons[0].weights[0].data for layer in model.layers)
    assert model(3.0).data == pytest.approx(output * (3.0 * hidden) ** 2)


@pytest.mark.parametrize(
    ("name", "variance"), [("glorot", 2.0 / (200 + 300)), ("he", 2.0 / 200), ("uniform", 1.0 / 3)]
)
def test_first_weights(name: str, variance: float) -> None:
    """They have the variance that the initialization says, and come from the seed."""
    weights = nn.INITIALIZATIONS[name](np.random.default_rng(0), 200, 300)
    assert weights.shape == (300, 200)
    assert np.var(weights) == pytest.approx(variance, rel=0.02)
    first, second, third = (
        [p.data for p in nn.MLP(2, [3, 1], initialization=name, seed=seed).parameters()]
        for seed in (7, 7, 8)
    )
    assert first == second != third


def test_first_weights_suit_the_activation() -> None:
    """He for relu and its relatives, Glorot otherwise."""
    relu, same = (nn.Layer(2, 3, "relu", kind, seed=0) for kind in (None, "he"))
    tanh, like = (nn.Layer(2, 3, "tanh", kind, seed=0) for kind in (None, "glorot"))
    for one, other in ((relu, same), (tanh, like)):
        assert [p.data for p in one.parameters()] == [p.data for p in other.parameters()]
    ones = nn.Layer(2, 3, initialization=lambda random, i, o: np.ones((o, i)))
    assert ones.neurons[2].weights[1].data == 1.0


LOSSES: list[tuple[Callable[[Any, Any], Any], Any, Any, float]] = [
    (nn.mean_squared_error, 3.0, 1.0, 4.0),
    (nn.mean_squared_error, [3.0, 0.0], [1.0, 1.0], 2.5),
    (nn.mean_squared_error, 3.0, [1.0], 4.0),
    (nn.huber(), 0.5, 0.0, 0.125),
    (nn.huber(), -3.0, 0.0, 2.5),
    (nn.huber(2.0), [3.0, 0.5], [0.0, 0.0], (4.0 + 0.125) / 2),
    (nn.hinge, 0.25, 1.0, 0.75),
    (nn.hinge, [0.25], -1.0, 1.25),
    (nn.hinge, 2.0, 1.0, 0.0),
    (nn.binary_cross_entropy, 0.7, 1.0, math.log1p(math.exp(-0.7))),
    (nn.binary_cross_entropy, 0.7, 0.0, 0.7 + math.log1p(math.exp(-0.7))),
    (nn.binary_cross_entropy, [0.7, 0.7], [0.0, 1.0], 0.35 + math.log1p(math.exp(-0.7))),
    (nn.binary_cross_entropy, 800.0, 0.0, 800.0),
    (nn.binary_cross_entropy, -800.0, 0.0, 0.0),
    (nn.cross_entropy, [0.0, 0.0, 0.0], 1, math.log(3.0)),
    (nn.cross_entropy, [1000.0, 0.0], 1, 1000.0),
    (nn.cross_entropy, [-1000.0, -1001.0], 0, math.log1p(math.exp(-1.0))),
    (nn.poisson, 0.5, 2.0, math.exp(0.5) - 1.0 + 2.0 * math.log(2.0) - 2.0),
    (nn.poisson, 0.5, 0.0, math.exp(0.5)),
    (nn.poisson, [0.5, 0.0], [0.0, 1.0], 0.5 * math.exp(0.5)),
    (nn.poisson, -800.0, 0.0, 0.0),
]


@pytest.mark.parametrize(("loss", "prediction", "target", "value"), LOSSES)
def test_losses(loss: Any, prediction: Any, target: Any, value: float) -> None:
    """Values and gradients, at extremes too: nothing overflows."""
    several = isinstance(prediction, list)
    assert loss(prediction, target) == pytest.approx(value, rel=1e-14, abs=1e-300)
    slopes = grad(lambda p: loss(list(p) if several else p, target))(
        np.array(prediction) if several else prediction
    )
    assert np.isfinite(slopes).all()
    if abs(np.max(np.abs(prediction))) < 100:
        point = np.array(prediction) if several else prediction
        check_grads(lambda p: loss(list(p) if several else p, target), (point,), order=1)


def test_cross_entropy_with_a_label_that_is_data() -> None:
    """The label is an index that compiled code looks up."""
    logits = np.array([0.3, -1.0, 2.0])
    labels = np.array([2, 0])
    compiled = compile(vmap(lambda z, label: nn.cross_entropy(list(z), label), in_axes=(None, 0)))
    expected = [nn.cross_entropy(logits.tolist(), label) for label in (2, 0)]
    assert np.allclose(compiled(logits, labels), expected, rtol=1e-14)


BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: nn.MLP(2, []), ValueError, r"sizes is a list such as \[16, 16, 1\]"),
    (lambda: nn.MLP(2, 3), ValueError, "sizes is a list"),  # type: ignore[arg-type]
    (lambda: nn.MLP(0, [1]), ValueError, "n_in is a whole number from 1 up, not 0"),
    (lambda: nn.MLP(2, [3.5]), TypeError, "a size is a whole number, not float 3.5"),  # type: ignore[list-item]
    (lambda: nn.MLP(2, [3], "tahn"), ValueError, "no activation 'tahn'; did you mean tanh?"),
    (lambda: nn.MLP(2, [3], "xyz"), ValueError, "there are identity, relu"),
    (lambda: nn.MLP(2, [3], 5), TypeError, "activation is given by name or as a function"),  # type: ignore[arg-type]
    (lambda: nn.MLP(2, [3], initialization="hee"), ValueError, "did you mean he?"),
    (lambda: nn.MLP(2, [3], seed="a"), TypeError, "a seed is a whole number or a generator"),  # type: ignore[arg-type]
    (lambda: nn.MLP(2, [3, 1])([1.0]), ValueError, "a neuron of 2 inputs was given 1"),
    (lambda: nn.Neuron([]), ValueError, "there are no weights"),
    (lambda: nn.Layer(2, 3, initialization=lambda *_: [[1.0]]), ValueError, "3 rows of 2 weights"),
    (lambda: nn.huber(0.0), ValueError, "delta is a number above 0"),
    (lambda: nn.hinge([1.0, 2.0], 1.0), ValueError, "hinge is one number for each sample, not 2"),
    (lambda: nn.cross_entropy(Node(1.0), 0), TypeError, "use binary_cross_entropy"),
    (lambda: nn.mean_squared_error([1.0, 2.0], [1.0]), ValueError, "2 outputs are compared with 1"),
    (lambda: nn.mean_squared_error(1.0, [1.0, 2.0]), ValueError, "one number for each sample"),
    (lambda: loss_named("crossentropy"), ValueError, "did you mean cross_entropy"),
    (lambda: loss_named(3), TypeError, "loss is given by name or as a function"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD)
def test_bad_input(call: Any, kind: type[Exception], message: str) -> None:
    """An error that says what was given and what is accepted."""
    with pytest.raises(kind, match=message):
        call()


def test_module_is_abstract() -> None:
    """A module says what it computes."""
    with pytest.raises(TypeError, match="abstract"):
        nn.Module()  # type: ignore[abstract]
