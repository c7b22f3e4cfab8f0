"""Training that explodes is an error, whatever the optimizer; training that works is none."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import nn

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(200, 3))
Y = np.sin(X[:, 0]) + X[:, 1] ** 2
SIDES = (X[:, 0] > 0).astype(float)

OPTIMIZERS: dict[str, Callable[[float], nn.Optimizer]] = {
    "sgd": lambda rate: nn.SGD(rate),
    "momentum": lambda rate: nn.SGD(rate, momentum=0.9),
    "nesterov": lambda rate: nn.SGD(rate, momentum=0.9, nesterov=True),
    "adam": lambda rate: nn.Adam(rate),
    "adamw": lambda rate: nn.AdamW(rate),
}


def weights(model: Any) -> list[float]:
    """The parameters."""
    return [node.data for node in model.parameters()]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_divergence_is_noticed_for_every_optimizer(
    name: str, compiled: bool, weighted: bool
) -> None:
    """The model has the weights from the start of the epoch."""
    model = nn.MLP(3, [16, 16, 1], "relu", seed=1)
    before = weights(model)
    with pytest.raises(nn.DivergenceError, match=r"diverged: the loss is .* at step 7 \(epoch 0\)"):
        nn.fit(
            model,
            X,
            1000 * Y if name in ("sgd", "momentum", "nesterov") else Y,
            optimizer=OPTIMIZERS[name](0.05 if "adam" not in name else 10.0),
            epochs=20,
            sample_weight=np.full(200, 3.0) if weighted else None,
            compile=compiled,
        )
    assert weights(model) == before


def test_a_slow_explosion_keeps_what_was_before() -> None:
    """An epoch is judged by its mean; the weights of the epoch before are kept."""
    model = nn.MLP(1, [1], seed=0)
    data = np.linspace(-1.0, 1.0, 20)
    with pytest.raises(nn.DivergenceError, match=r"epoch [1-9]\d*") as caught:
        nn.fit(model, data, data, optimizer="sgd", learning_rate=1.2, epochs=500, batch_size=20)
    assert "learning rate was 1.2" in str(caught.value)
    assert all(abs(value) < 1e6 and math.isfinite(value) for value in weights(model))


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1, 1.0])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_training_that_gets_along_is_no_divergence(name: str, rate: float, activation: str) -> None:
    """Losses may rise, even steeply, and come back."""
    for loss, targets in (("huber", Y), ("binary_cross_entropy", SIDES)):
        model = nn.MLP(3, [16, 16, 1], activation, seed=1)
        nn.fit(model, X, targets, optimizer=OPTIMIZERS[name](rate), epochs=20, loss=loss)


def test_large_losses_are_none() -> None:
    """What counts is growth: targets in the millions have losses of 1e13."""
    model = nn.MLP(3, [4, 1], seed=0)
    history = nn.fit(model, X, 1e7 * Y, epochs=5)
    assert history.loss[0] > 1e13


def test_going_on_from_a_loss_of_almost_nothing_is_none() -> None:
    """A small step away from it is a large multiple of it."""
    model = nn.MLP(1, [1], seed=0)
    model.parameters()[0].data = 2.000001
    data = np.linspace(-1.0, 1.0, 20)
    history = nn.fit(model, data, 2.0 * data, learning_rate=0.5, epochs=20, batch_size=20)
    assert max(history.loss) > 1e6 * history.loss[0]


def test_a_loss_that_falls_without_bound_is_none() -> None:
    """It falls."""
    model = nn.MLP(1, [1], seed=0)
    nn.fit(
        model,
        np.ones(8),
        np.ones(8),
        loss=lambda prediction, target: -1e6 * prediction,
        learning_rate=1.0,
        epochs=20,
    )
