"""Layers that training traces as one: losses and weights are those of the sums term by term."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import lax, nn
from chainrule.backends.llvm.outer_products import OuterProduct, take_out_products
from chainrule.jit import products
from chainrule.leaves import leaves
from chainrule.passes.promote import promoted
from chainrule.program.form import Program, statements


class Network(nn.Module):
    """Two layers of a user's own, called in some way."""

    def __init__(self, call: Callable[[Any, Any], Any], activation: Any = "tanh") -> None:
        self.first = nn.Layer(6, 5, activation, seed=1)
        self.second = nn.Layer(5, 1, "identity", seed=2)
        self.call = call

    def __call__(self, x: Any) -> Any:
        """The output."""
        return self.call(self, x)


def network(call: Callable[[Any, Any], Any], activation: Any = "tanh") -> Any:
    """Makes a network of the user's."""
    return lambda: Network(call, activation)


def kinked(x: Any) -> Any:
    """An activation with a branch."""
    return x * x if x > 0 else 0.5 * x


def by_outcome(x: Any) -> Any:
    """An activation that asks for an outcome."""
    return [x, x * x][int(bool(x > 0.1))]


def pruned() -> nn.MLP:
    """A network with numbers in the place of weights."""
    model = nn.MLP(6, [5, 4, 1], seed=3)
    model.layers[0].neurons[2].weights[1] = 0.0
    model.layers[1].neurons[1].bias = 0.5
    return model


def shared() -> nn.Module:
    """A network whose neurons share a weight."""
    model = Network(lambda self, x: self.second(self.first(x))[0])
    model.first.neurons[3].weights[2] = model.first.neurons[0].weights[0]
    return model


def frozen() -> nn.Module:
    """A network one of whose layers is no parameter."""
    fixed = nn.Layer(5, 5, "relu", seed=4)
    return Network(lambda self, x: self.second(fixed(self.first(x)))[0])


def turned() -> nn.Module:
    """A network with its neurons, and the weights of the one after it, in another order."""
    model = Network(lambda self, x: self.second(self.first(x))[0])
    model.first.neurons.reverse()
    model.second.neurons[0].weights.reverse()
    return model


class Doubled(nn.Neuron):
    """A neuron that computes something else."""

    def __call__(self, x: Any) -> Any:
        """Twice the output."""
        return 2.0 * super().__call__(x)


def with_own_neuron() -> nn.Module:
    """A network with a neuron of the user's own kind."""
    model = Network(lambda self, x: self.second(self.first(x))[0])
    model.first.neurons[1] = Doubled([0.3, -0.7, 0.2, 1.0, -0.4, 0.6])
    return model


def in_scan(self: Any, x: Any) -> Any:
    """A layer in the body of a loop."""
    hidden, _ = lax.scan(lambda h, z: (np.array(self.first([*h, z])), None), np.zeros(5), x)
    return self.second(hidden)[0]


def by_derivative(self: Any, x: Any) -> Any:
    """The output and its derivative, by an input that the layer depends on."""
    slope = cr.grad(lambda z: self.second(self.first([z, *x[1:]]))[0])(x[0])
    return self.second(self.first(x))[0] + slope


def beside(self: Any, x: Any) -> Any:
    """The derivative of something beside which layers are computed that do not depend on it."""
    slope = cr.grad(lambda z: np.sin(z) * self.second(self.first(x))[0])(x[0])
    return self.second(self.first(x))[0] + slope


def twice(self: Any, x: Any) -> Any:
    """A layer called again, with what it does to its inputs and what it gave."""
    hidden = self.first(x)
    again = self.first([*hidden, hidden[0] * x[1]])
    return self.second([a + b for a, b in zip(hidden, again, strict=True)])[0]


def plain(self: Any, x: Any) -> Any:
    """One layer after another."""
    return self.second(self.first(x))[0]


def of_numbers(self: Any, x: Any) -> Any:
    """A layer of numbers that are no inputs, beside one of inputs."""
    return self.second(self.first(np.arange(6.0)))[0] + self.second(self.first(x[::-1]))[0]


MODELS: dict[str, tuple[Callable[[], Any], int]] = {
    "relu": (lambda: nn.MLP(6, [5, 4, 1], "relu", seed=0), 3),
    "tanh": (lambda: nn.MLP(6, [8, 1], "tanh", seed=0), 2),
    "plain": (network(plain), 2),
    "twice": (network(twice), 3),
    "numbers": (network(of_numbers), 4),
    "kinked": (network(plain, kinked), 2),
    "by outcome": (network(plain, by_outcome), 1),
    "pruned": (pruned, 1),
    "shared": (shared, 1),
    "frozen": (frozen, 3),
    "turned": (turned, 0),
    "own neuron": (with_own_neuron, 1),
    "scan": (network(in_scan), 1),
    "derivative": (network(by_derivative), 2),
    "beside": (network(beside), 2),
}
"""Models, and how many layers at least are traced as one."""

USED_AGAIN = {"twice", "derivative", "beside"}
"""Where a value goes to several layers, whose gradients are added up before they come to it."""


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """No program of another test is taken."""
    evaluation: Any = sys.modules["chainrule.nn.evaluation"]
    monkeypatch.setattr(evaluation, "_programs", type(evaluation._programs)())


def trained(
    model: Any, monkeypatch: pytest.MonkeyPatch, least: int, **options: Any
) -> tuple[Any, Any, int]:
    """Losses and weights after some epochs, and how many layers were traced as one."""
    found: list[bool] = []

    def counted(*args: Any) -> Any:
        sums = original(*args)
        found.append(sums is not None)
        return sums

    original = products.weighted_sums
    random = np.random.default_rng(7)
    X = random.normal(size=(20, 6))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
    sys.modules["chainrule.nn.evaluation"]._programs.clear()
    with monkeypatch.context() as patch:
        patch.setattr(products, "LEAST_WEIGHTS", least)
        patch.setattr(products, "FEW", 1)
        patch.setattr(products, "weighted_sums", counted)
        history = nn.fit(
            model, X, y, epochs=6, batch_size=7, learning_rate=0.05, progress=False, threads=1,
            **options,
        )  # fmt: skip
    weights = [node.data for node in model.parameters()]
    return history.loss, weights, sum(found)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("weighted", [False, True])
def test_same_as_term_by_term(name: str, weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with weights of the samples."""
    make, at_least = MODELS[name]
    options: Any = {"sample_weight": np.linspace(0.5, 2.0, 20)} if weighted else {}
    losses, weights, count = trained(make(), monkeypatch, 1, **options)
    expected, there, none = trained(make(), monkeypatch, 10**9, **options)
    if name in USED_AGAIN:
        assert losses == pytest.approx(expected, rel=1e-12)
        assert weights == pytest.approx(there, rel=1e-9, abs=1e-12)
    else:
        assert (losses, weights) == (expected, there)
    assert count >= at_least
    assert none == 0


@pytest.mark.parametrize("name", MODELS)
def test_close_to_eager(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where training does not compile."""
    make, _ = MODELS[name]
    losses, weights, _ = trained(make(), monkeypatch, 1)
    expected, there, _ = trained(make(), monkeypatch, 1, compile=False)
    assert losses == pytest.approx(expected, rel=1e-12)
    assert weights == pytest.approx(there, rel=1e-9, abs=1e-12)


def test_an_error_of_the_model_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised as if nothing were traced as one."""

    def wrong(self: Any, x: Any) -> Any:
        return self.second([*self.first(x), x[0]])[0]

    with pytest.raises(ValueError, match="a neuron of 5 inputs was given 6"):
        trained(Network(wrong), monkeypatch, 1)


def test_inputs_that_are_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients go to what a layer is given, once for each place."""

    class Embedded(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Layer(6, 5, "tanh", seed=1)
            self.given = leaves(np.linspace(-1.0, 1.0, 6))
            self.out = nn.Layer(5, 1, "identity", seed=2)

        def __call__(self, x: Any) -> Any:
            hidden = self.layer(self.given)
            return self.out(self.layer([*hidden, hidden[2]]))[0] + x[0] * self.given[3]

    losses, weights, count = trained(Embedded(), monkeypatch, 1)
    expected, there, _ = trained(Embedded(), monkeypatch, 10**9)
    assert losses == pytest.approx(expected, rel=1e-12)
    assert weights == pytest.approx(there, rel=1e-9)
    assert count >= 2


def program_of(n_in: int, sizes: list[int], activation: str) -> Program:
    """What training makes of a network."""
    X = np.random.default_rng(0).normal(size=(8, n_in))
    y = np.arange(8) % sizes[-1] if sizes[-1] > 1 else X[:, 0]
    loss = "cross_entropy" if sizes[-1] > 1 else "mean_squared_error"
    model = nn.MLP(n_in, sizes, activation, seed=0)
    nn.fit(model, X, y, loss=loss, epochs=1, progress=False, threads=1)
    (kept,) = sys.modules["chainrule.nn.evaluation"]._programs.values()
    program: Program = kept.paths.all()[0].program
    return program


def test_what_is_beside_a_large_layer_is_loops() -> None:
    """Few terms are left, and yet code of them one by one is slower."""
    program = program_of(64, [32, 3], "relu")
    assert sum(1 for _ in statements(program.body)) < 150


@pytest.mark.parametrize("sizes", [[32, 1], [32, 32, 1], [32, 32, 10]])
def test_gradients_of_the_weights_are_outer_products(sizes: list[int]) -> None:
    """They are added up as such, each layer's, also where a bias is read outside of the loops."""
    program = promoted(program_of(64, sizes, "tanh"))
    assert take_out_products(program, [True] * 5000)
    found = [x for x in statements(program.body) if isinstance(x, OuterProduct)]
    assert len(found) == len([size for size in sizes if size > 1])
