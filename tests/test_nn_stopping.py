"""What ends training, what it goes back to, and weights that callbacks set."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import Node, nn
from chainrule import math as cm

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 2))
Y = np.sin(X[:, 0]) + X[:, 1]


def weights(model: nn.Module) -> list[float]:
    """The data of its parameters."""
    return [p.data for p in model.parameters()]


def network() -> nn.MLP:
    """A small one, always the same."""
    return nn.MLP(2, [4, 1], "tanh", seed=1)


# Callbacks that stop

TRUE: dict[str, Any] = {
    "bool": True,
    "NumPy": np.True_,
    "an array of no dimension": np.array(True),
    "a whole number": 1,
    "a comparison of nodes": Node(2.0) > 1.0,
}
FALSE: dict[str, Any] = {
    "nothing": None,
    "bool": False,
    "NumPy": np.False_,
    "an array of no dimension": np.array(False),
    "a number": 0.0,
    "a comparison of nodes": Node(2.0) < 1.0,
}


@pytest.mark.parametrize("answer", TRUE.values(), ids=TRUE)
def test_what_is_true_stops(answer: Any) -> None:
    """Whatever kind of truth it is, and whichever callback says it."""
    nothing: nn.training.Callback = lambda history, model: None  # noqa: E731
    callbacks = [nothing, lambda history, model: answer, nothing]
    history = nn.fit(network(), X, Y, epochs=9, callbacks=callbacks)
    assert (history.stopped, len(history.loss)) == ("callback", 1)


@pytest.mark.parametrize("answer", FALSE.values(), ids=FALSE)
def test_what_is_false_goes_on(answer: Any) -> None:
    """As nothing does."""
    history = nn.fit(network(), X, Y, epochs=3, callbacks=[lambda history, model: answer])
    assert (history.stopped, len(history.loss)) == ("epochs", 3)


def test_an_answer_of_no_truth_is_an_error() -> None:
    """An array of several elements is neither true nor false."""
    with pytest.raises(TypeError, match=r"returns True to stop .* this one returned ndarray"):
        nn.fit(network(), X, Y, callbacks=[lambda history, model: np.array([True, False])])


# Callbacks that set weights


@pytest.mark.parametrize("compiled", [True, False])
def test_weights_set_in_a_callback_stay(compiled: bool) -> None:
    """The next step goes on from them: as in a loop of one's own."""

    def pruned(history: nn.History, model: Any) -> None:
        for node in model.parameters()[:3]:
            node.data = 0.25

    model = network()
    options: dict[str, Any] = {"batch_size": 40, "compile": compiled}
    nn.fit(model, X, Y, optimizer=nn.SGD(0.1), epochs=4, callbacks=[pruned], **options)
    assert weights(model)[:3] == [0.25] * 3
    other = network()
    for _ in range(4):
        nn.fit(other, X, Y, optimizer=nn.SGD(0.1), epochs=1, **options)
        pruned(nn.History(), other)
    assert weights(model) == weights(other)


def test_weights_set_where_training_stops_stay() -> None:
    """By the callback that stops it, or one after it."""

    def stop(history: nn.History, model: nn.Module) -> bool:
        model.parameters()[0].data = 5.0
        return True

    def also(history: nn.History, model: nn.Module) -> None:
        model.parameters()[1].data = 6.0

    model = network()
    nn.fit(model, X, Y, epochs=5, callbacks=[stop, also])
    assert weights(model)[:2] == [5.0, 6.0]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.filterwarnings("ignore:training was interrupted")
def test_weights_set_before_an_error_in_a_callback_stay(error: type[BaseException]) -> None:
    """As those of the last step do."""

    def fail(history: nn.History, model: nn.Module) -> None:
        model.parameters()[0].data = 5.0
        raise error

    model, other = network(), network()
    with contextlib.suppress(OSError):
        nn.fit(model, X, Y, epochs=5, callbacks=[fail])
    nn.fit(other, X, Y, epochs=1)
    assert weights(model) == [5.0, *weights(other)[1:]]


@pytest.mark.parametrize(("value", "place"), [(3.0, "the epoch"), (1e9, "the epoch before")])
def test_an_epoch_that_diverges_goes_back_to_weights_set_in_a_callback(
    value: float, place: str
) -> None:
    """They are what that epoch began with; unless they are what is wrong."""

    def change(history: nn.History, model: nn.Module) -> None:
        model.parameters()[-1].data = value
        optimizer.schedule = 1e50

    model, optimizer = network(), nn.Adam()
    before = weights(model)
    with pytest.raises(nn.DivergenceError, match=rf"epoch 1.* at the start of {place}$"):
        nn.fit(model, X, Y, epochs=5, callbacks=[change], optimizer=optimizer)
    assert (weights(model)[-1] == 3.0) == (value == 3.0)
    assert (weights(model) == before) == (value != 3.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_refused(value: float) -> None:
    """With their name; the model has those of the last step."""

    def spoil(history: nn.History, model: nn.Module) -> None:
        model.parameters()[2].data = value

    model, other = network(), network()
    with pytest.raises(ValueError, match=rf"set layers.0.neurons.0.bias to {value}"):
        nn.fit(model, X, Y, epochs=2, callbacks=[spoil])
    nn.fit(other, X, Y, epochs=1)
    assert weights(model) == weights(other)


def test_large_weights_are_numbers() -> None:
    """Also such that the sum of their squares is infinite."""

    def enlarge(history: nn.History, model: nn.Module) -> None:
        model.parameters()[0].data = 1e200

    model = nn.MLP(1, [1], seed=0)
    nn.fit(model, np.zeros(4), np.zeros(4), epochs=3, callbacks=[enlarge], optimizer="sgd")
    assert weights(model)[0] == 1e200


CHANGES: dict[str, Callable[[Any], None]] = {
    "another node": lambda model: model.layers[0].neurons[0].weights.__setitem__(0, Node(0.0)),
    "a node more": lambda model: setattr(model, "scale", Node(1.0)),
    "a layer less": lambda model: model.layers.pop(),
    "a layer less, of no numbers": lambda model: setattr(
        model.layers.pop().neurons[0].bias, "data", math.nan
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("epoch", [0, 2])
def test_other_parameters_are_refused(change: Callable[[Any], None], epoch: int) -> None:
    """Nodes put in by a callback would not be trained."""

    def replace(history: nn.History, model: nn.Module) -> None:
        if len(history.loss) == epoch + 1:
            change(model)

    with pytest.raises(ValueError, match=r"out of .* \(node.data = 0.0\), .* calls of fit$"):
        nn.fit(network(), X, Y, epochs=4, callbacks=[replace])


# The best epoch


class Scripted(nn.Module):
    """A model whose loss on its one sample is told in advance, by the number of the epoch."""

    def __init__(self) -> None:
        self.epoch = Node(0.0)

    def __call__(self, x: Any) -> Any:
        """The number of the epoch."""
        return self.epoch * x


def judged(scores: list[float], **options: Any) -> tuple[Any, nn.History]:
    """A training with certain validation losses; the weight at the end is epoch + 1."""
    table = np.array([math.nan, *scores])

    def loss(prediction: Any, target: Any) -> Any:
        if target:  # training: the weight grows by 1 each epoch
            return -1.0 * prediction
        return sum(cm.where(abs(prediction - i) < 0.5, table[i], 0.0) for i in range(1, len(table)))

    model = Scripted()
    history = nn.fit(
        model, [1.0], [1.0], loss=loss, optimizer=nn.SGD(1.0), epochs=len(scores),
        validation=([1.0], [0.0]), **options,
    )  # fmt: skip
    assert history.validation_loss == scores[: len(history.validation_loss)]
    return model, history


@pytest.mark.parametrize("min_delta", [0.0, 0.3, 100.0])
def test_the_best_epoch_is_the_lowest(min_delta: float) -> None:
    """However little it is better; patience goes back to it."""
    scores = [5.0, 4.9, 4.8, 4.75, 4.77, 4.76]
    model, history = judged(scores, min_delta=min_delta, patience=10)
    assert history.best_epoch == 3
    assert weights(model) == [4.0]
    assert judged(scores, min_delta=min_delta)[1].best_epoch == 3


def test_patience_counts_from_the_last_epoch_that_was_enough_better() -> None:
    """Small steps add up: what counts is the distance from that epoch."""
    scores = [5.0, 4.9, 4.8, 4.7, 4.65, 4.6, 4.59, 4.0]
    model, history = judged(scores, min_delta=0.25, patience=3)  # 4.7 counts, 4.6 does not
    assert (history.stopped, len(history.loss), history.best_epoch) == ("patience", 7, 6)
    assert weights(model) == [7.0]
    assert len(judged(scores, min_delta=0.35, patience=3)[1].loss) == 4
    assert judged([3.0, 3.0, 3.0, 3.0], patience=2)[1].best_epoch == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("epoch", [0, 2])
def test_a_validation_loss_that_is_no_number(value: float, epoch: int) -> None:
    """It is a divergence: no epoch could be better than it."""
    scores = [3.0, 2.0, 1.0, 0.5]
    scores[epoch] = value
    message = rf"loss on the validation data is {value} at step {epoch + 1} \(epoch {epoch}\)"
    with pytest.raises(nn.DivergenceError, match=message):
        judged(scores, patience=2)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_model_that_has_no_value_for_held_out_samples(compiled: bool) -> None:
    """The message says so, and the model is as it was."""
    model = nn.MLP(1, [1], seed=0)
    model.parameters()[0].data = 1.0

    def loss(prediction: Any, target: Any) -> Any:
        return (cm.log(prediction) - target) ** 2

    with pytest.raises(nn.DivergenceError, match="if the model and the loss are defined for them"):
        nn.fit(
            model, [1.0, 2.0], [0.1, 0.7], loss=loss, validation=([-3.0], [0.0]), patience=3,
            compile=compiled,
        )  # fmt: skip
    assert weights(model) == [1.0, 0.0]


# Weights of samples


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("scale", [1e-320, 2.0**-1074, 1e-300, 1e307, 2.0**1020])
def test_only_the_ratios_of_weights_count(scale: float, compiled: bool) -> None:
    """Neither the sums of large ones overflow nor do small ones lose their digits."""
    given = RANDOM.integers(0, 4, 40).astype(float)
    results = []
    for factor in (1.0, scale):
        model = network()
        history = nn.fit(
            model, X, Y, sample_weight=factor * given, epochs=3, batch_size=7, validation=0.25,
            compile=compiled,
        )  # fmt: skip
        results.append([*weights(model), *history.loss, *history.validation_loss])
    assert results[0] == pytest.approx(results[1], rel=1e-3 if scale == 1e-320 else 1e-12)


def test_weights_as_they_are_give_the_same_bits() -> None:
    """They are scaled by a power of two."""
    given = RANDOM.uniform(0.1, 3.0, 40)
    results = []
    for factor in (1.0, 2.0**-7, 2.0**900):
        model = network()
        nn.fit(model, X, Y, sample_weight=factor * given, epochs=3, batch_size=7)
        results.append(weights(model))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("side", ["trains on", "holds out"])
@pytest.mark.parametrize("compiled", [True, False])
def test_a_part_of_weight_0(side: str, compiled: bool) -> None:
    """Samples of which none counts can neither be trained nor validated on."""
    given = np.zeros(40)
    order = np.random.default_rng(0).permutation(40)
    given[order[:10] if side == "trains on" else order[10:]] = 1.0
    model = network()
    before = weights(model)
    count = 30 if side == "trains on" else 10
    message = rf"validation=0.25 {side} {count} samples, each of which has the weight 0; .*\(X, y\)"
    with pytest.raises(ValueError, match=message):
        nn.fit(
            model, X, Y, sample_weight=given, validation=0.25, patience=2, seed=0, compile=compiled
        )
    assert weights(model) == before
    nn.fit(model, X, Y, sample_weight=given, epochs=1, validation=(X, Y), compile=compiled)


def test_a_pair_may_be_a_list() -> None:
    """The same as a tuple."""
    losses = [
        nn.fit(network(), X, Y, epochs=2, validation=pair).validation_loss
        for pair in ((X, Y), [X, Y])
    ]
    assert losses[0] == losses[1]


def test_a_part_given_by_a_number_of_numpy() -> None:
    """As by Python's."""
    results = []
    for part in (0.25, np.float32(0.25), np.float64(0.25)):
        model = network()
        nn.fit(model, X, Y, epochs=1, validation=part)  # type: ignore[arg-type]
        results.append(weights(model))
    assert results[0] == results[1] == results[2]
