"""Training that explodes is an error, whatever the optimizer; training that works is none."""

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import math as cm
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


# The optimizer


def all_of(optimizer: Any) -> dict[str, Any]:
    """What steps change of an optimizer, as lists."""
    kept = {k: v.tolist() for k, v in vars(optimizer).items() if isinstance(v, np.ndarray)}
    return {"steps": optimizer.steps, **{k: v for k, v in kept.items() if "scratch" not in k}}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("compiled", [True, False])
def test_the_optimizer_goes_back_with_the_weights(name: str, compiled: bool) -> None:
    """As it was at the start of the epoch; training then goes on as if nothing had happened."""
    options: dict[str, Any] = {"batch_size": 40, "compile": compiled, "seed": 5}
    ends = []
    for diverging in (False, True):
        model, optimizer = nn.MLP(3, [6, 1], "tanh", seed=1), OPTIMIZERS[name](0.01)
        nn.fit(model, X, Y, epochs=2, optimizer=optimizer, **options)
        if diverging:
            before = weights(model), all_of(optimizer)
            optimizer.schedule = lambda step: 1e80
            with pytest.raises(nn.DivergenceError, match="Model and optimizer are as they were"):
                nn.fit(model, X, Y, epochs=3, optimizer=optimizer, **options)
            assert (weights(model), all_of(optimizer)) == before
        optimizer.schedule = 0.001
        nn.fit(model, X, Y, epochs=2, optimizer=optimizer, **options)
        ends.append([*weights(model), all_of(optimizer)])
    assert ends[0] == ends[1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_that_diverged_at_once_is_as_new(name: str) -> None:
    """Its next training is that of another one."""
    model, optimizer = nn.MLP(3, [4, 1], "relu", seed=1), OPTIMIZERS[name](1e80)
    with pytest.raises(nn.DivergenceError):
        nn.fit(model, X, Y, optimizer=optimizer)
    optimizer.schedule = 0.01
    other = nn.MLP(3, [4, 1], "relu", seed=1)
    one = nn.fit(model, X, Y, optimizer=optimizer, epochs=2)
    two = nn.fit(other, X, Y, optimizer=OPTIMIZERS[name](0.01), epochs=2)
    assert weights(model) == weights(other)
    assert one.loss == two.loss


def exhaust(call: Callable[[], None]) -> None:
    """Call it two thousand times."""
    for _ in range(2000):
        call()


class Heavy(nn.Optimizer):
    """An optimizer of one's own, with an array and a number of its own."""

    default_rate = 0.1

    def _start(self, size: int) -> None:
        self.sums = np.zeros(size)
        self.largest = 0.0

    def _move(self, values: Any, gradient: Any, rate: float) -> None:
        self.sums += gradient
        self.largest = max(self.largest, float(np.abs(gradient).max()))
        values -= rate * self.sums


def test_an_optimizer_of_ones_own_goes_back() -> None:
    """Arrays and numbers, without its doing anything for it."""
    model, optimizer = nn.MLP(1, [1], seed=0), Heavy(0.01)
    data = np.linspace(-1.0, 1.0, 20)
    nn.fit(model, data, data, optimizer=optimizer, epochs=3)
    before = all_of(optimizer), optimizer.largest
    optimizer.schedule = 1e9
    with pytest.raises(nn.DivergenceError, match="epoch 0"):
        nn.fit(model, data, data, optimizer=optimizer, epochs=9, batch_size=2)
    assert (all_of(optimizer), optimizer.largest) == before


class Nested(nn.Optimizer):
    """An optimizer of one's own, with its state in containers."""

    default_rate = 0.1

    def _start(self, size: int) -> None:
        self.sums: dict[str, Any] = {"gradients": [np.zeros(size)], "lengths": []}

    def _move(self, values: Any, gradient: Any, rate: float) -> None:
        self.sums["gradients"][0] += gradient
        self.sums["lengths"].append(float(gradient @ gradient))
        values -= rate * self.sums["gradients"][0]


def test_a_state_in_containers_goes_back() -> None:
    """What changes in lists and dicts, in any nesting, too."""
    model, optimizer = nn.MLP(1, [1], seed=0), Nested(0.01)
    data = np.linspace(-1.0, 1.0, 20)
    nn.fit(model, data, data, optimizer=optimizer, epochs=3)
    before = repr(optimizer.sums)
    optimizer.schedule = 1e9
    with pytest.raises(nn.DivergenceError, match="epoch 0"):
        nn.fit(model, data, data, optimizer=optimizer, epochs=9, batch_size=2)
    assert repr(optimizer.sums) == before


@pytest.mark.parametrize("calls", [1, 500])
@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov"])
def test_the_advice_can_be_followed(name: str, calls: int) -> None:
    """The first loss that is too large may be that of the weights that the epoch began with."""
    model, optimizer = nn.MLP(1, [1], seed=0), OPTIMIZERS[name](1.2 if name == "sgd" else 12.0)
    data = np.linspace(-1.0, 1.0, 20)

    def call() -> None:
        nn.fit(model, data, data, optimizer=optimizer, epochs=500 // calls, batch_size=20)

    with pytest.raises(nn.DivergenceError, match="were at the start of the epoch before"):
        exhaust(call)
    assert np.mean((nn.predict(model, data) - data) ** 2) <= 1e5
    optimizer.schedule = 0.1
    history = nn.fit(model, data, data, optimizer=optimizer, epochs=1000, batch_size=20)
    assert history.loss[-1] < 1e-6


def test_going_back_to_the_start_of_training() -> None:
    """Where neither this epoch nor the one before began with a sound loss."""
    model, optimizer = nn.MLP(1, [1], seed=0), nn.SGD(0.1, momentum=0.9)
    data = np.linspace(-1.0, 1.0, 20)
    before = weights(model)
    first = nn.predict(model, data)
    nn.fit(model, data, data, optimizer=optimizer, epochs=5)
    with pytest.raises(nn.DivergenceError, match="were at the start of training"):
        nn.fit(model, data, first, optimizer=optimizer, loss=lambda p, t: 1e12 * (p - t) ** 2)
    assert weights(model) == before
    assert optimizer.steps == 0


def test_copies_of_an_optimizer_begin_a_training() -> None:
    """They and pickles hold no weights of places to go back to."""
    model, optimizer = nn.MLP(1, [1], seed=0), nn.Adam()
    data = np.linspace(-1.0, 1.0, 20)
    nn.fit(model, data, data, optimizer=optimizer, epochs=2)
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert (optimizer.course is not None, other.course) == (True, None)
        assert all_of(other) == all_of(optimizer)
        nn.fit(model, data, data, optimizer=other, epochs=2)


# Several calls are one training


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov"])
def test_an_explosion_over_several_calls_is_noticed(name: str, scale: float) -> None:
    """What counts is the loss of the weights that training began with."""
    model, optimizer = nn.MLP(1, [1], seed=0), OPTIMIZERS[name](1.2 if name == "sgd" else 12.0)
    data = np.linspace(-1.0, 1.0, 20)
    losses: list[float] = []

    def call() -> None:
        history = nn.fit(model, data, scale * data, optimizer=optimizer, epochs=1, batch_size=20)
        losses.extend(history.loss)

    with pytest.raises(nn.DivergenceError):
        exhaust(call)
    assert len(losses) > 2
    assert max(losses) <= 1e5 * max(1.0, losses[0])
    assert all(math.isfinite(value) for value in weights(model))


def test_other_data_are_judged_by_what_the_first_weights_give_for_them() -> None:
    """Chunks whose targets are a million times as large, in turn with others."""
    model, optimizer = nn.MLP(3, [4, 1], seed=0), nn.Adam(0.001)
    for scale in (1.0, 1e6, 1.0, 1e7):
        history = nn.fit(model, X, scale * Y, optimizer=optimizer, epochs=3)
    assert history.loss[-1] > 1e12


def test_weights_set_between_calls_begin_a_training() -> None:
    """They may be far worse than those before."""
    model, optimizer = nn.MLP(1, [1], seed=0), nn.SGD(0.01)
    data = np.linspace(-1.0, 1.0, 20)
    nn.fit(model, data, data, optimizer=optimizer, epochs=300)
    model.parameters()[0].data = 1e6
    history = nn.fit(model, data, data, optimizer=optimizer, epochs=3)
    assert history.loss[0] > 1e10
    optimizer.reset()
    assert nn.fit(model, data, data, optimizer=optimizer, epochs=1).loss[0] > 1e9


# What the error says


def test_a_loss_that_is_nan_before_the_first_step() -> None:
    """The learning rate has had no influence."""
    model = nn.MLP(1, [1], seed=0)
    with pytest.raises(nn.DivergenceError, match=r"loss is nan at step 0 .* before the first") as e:
        nn.fit(model, [1.0], [1.0], loss=lambda p, t: cm.log(-1.0 - p * p))
    assert "learning rate" not in str(e.value)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_a_gradient_whose_square_is_infinite(name: str) -> None:
    """It would keep its weight where it is for ever: no step of Adam would be another than 0."""
    model = nn.MLP(1, [1], seed=0)
    before = weights(model)
    with pytest.raises(nn.DivergenceError, match="the square of a gradient infinite"):
        nn.fit(model, [1e160], [0.0], loss=lambda p, t: cm.tanh(1e-160 * p) * 1.0 + p * 1e-5,
               optimizer=OPTIMIZERS[name](0.001), epochs=3)  # fmt: skip
    assert weights(model) == before


def test_a_divergence_in_a_callback_is_another_ones() -> None:
    """The model has the weights of the last step."""
    model, other = nn.MLP(3, [4, 1], seed=0), nn.MLP(3, [4, 1], seed=0)

    def fail(history: nn.History, model: Any) -> None:
        nn.fit(nn.MLP(3, [4, 1], seed=0), X, Y, optimizer=nn.SGD(1e80))

    with pytest.raises(nn.DivergenceError):
        nn.fit(model, X, Y, epochs=3, callbacks=[fail])
    nn.fit(other, X, Y, epochs=1)
    assert weights(model) == weights(other)


@pytest.mark.parametrize("value", [1.7e308, -1.7e308])
def test_a_sum_over_batches_that_is_infinite(value: float) -> None:
    """Though each of their losses is finite."""
    model = nn.MLP(1, [1], seed=0)
    with pytest.raises(nn.DivergenceError, match=r"the loss is -?inf at step 8"):
        nn.fit(model, np.ones(8), np.ones(8), loss=lambda p, t: 0.0 * p + value, batch_size=1)
