"""fit: compiled and eager agree, runs repeat, and whatever ends it the model is usable."""

from __future__ import annotations

import _thread
import builtins
import math
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import Node, nn
from chainrule import math as cm
from chainrule.engine import COMPILED
from chainrule.jit.indices import take
from chainrule.jit.session import SampleFunction, Session

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 2))
TARGETS: dict[str, Any] = {
    "mean_squared_error": np.sin(X[:, 0]) + X[:, 1],
    "huber": np.sin(X[:, 0]) + X[:, 1],
    "hinge": np.where(X[:, 0] > X[:, 1], 1, -1),
    "binary_cross_entropy": X[:, 0] > X[:, 1],
    "cross_entropy": (X[:, 0] > 0) + 1 * (X[:, 1] > 0),
    "poisson": np.floor(np.exp(X[:, 0])),
}


def weights(model: nn.Module) -> list[float]:
    """The data of its parameters."""
    return [p.data for p in model.parameters()]


def trained(**options: Any) -> tuple[nn.MLP, nn.History]:
    """A small network after a little training."""
    loss = options.pop("loss", "mean_squared_error")
    model = nn.MLP(2, [4, 3 if loss == "cross_entropy" else 1], "tanh", seed=1)
    given: dict[str, Any] = {"epochs": 4, "batch_size": 16, "learning_rate": 0.05, **options}
    if isinstance(given.get("optimizer"), nn.Optimizer):
        del given["learning_rate"]
    y = given.pop("y", TARGETS[loss] if isinstance(loss, str) else TARGETS["huber"])
    return model, nn.fit(model, X, y, loss=loss, **given)


@pytest.mark.parametrize("loss", TARGETS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_eager_gives_the_same_numbers(loss: str, optimizer: str) -> None:
    """The same up to rounding, losses and weights."""
    one, fast = trained(loss=loss, optimizer=optimizer, validation=0.25, epochs=3)
    two, slow = trained(loss=loss, optimizer=optimizer, validation=0.25, epochs=3, compile=False)
    assert weights(one) == pytest.approx(weights(two), rel=1e-9, abs=1e-11)
    assert fast.loss == pytest.approx(slow.loss, rel=1e-11)
    assert fast.validation_loss == pytest.approx(slow.validation_loss, rel=1e-11)
    assert fast.steps == slow.steps == 6
    assert fast.loss[-1] < fast.loss[0]


def test_runs_repeat_bit_for_bit() -> None:
    """One seed, one result, with any number of threads; another seed, another."""
    first, second, third, fourth = (
        weights(trained(seed=seed, threads=threads)[0])
        for seed, threads in ((3, None), (3, 1), (3, 2), (4, None))
    )
    assert first == second == third != fourth


def test_many_samples_repeat_bit_for_bit_on_threads() -> None:
    """Enough work that several threads really share it."""
    inputs = RANDOM.normal(size=(20_000, 2))
    results = []
    for threads in (1, 2, 5):
        model = nn.MLP(2, [8, 1], seed=0)
        nn.fit(model, inputs, inputs[:, 0] ** 2, epochs=1, batch_size=10_000, threads=threads)
        results.append(weights(model))
    assert results[0] == results[1] == results[2]


class Kinked(nn.Module):
    """A module with an if on values: samples follow different paths."""

    def __init__(self) -> None:
        self.a, self.b, self.unused = Node(0.5), Node(-0.25), Node(7.0)

    def __call__(self, x: Any) -> Any:
        """Another slope on each side of a threshold."""
        if x[0] * self.a > x[1]:
            return self.a * x[0] + self.b
        return self.b * x[1] * x[1]


def test_branches_and_unused_parameters() -> None:
    """Each sample follows its own path, also as the weights move; what is unused stays."""
    results = []
    for compiled in (True, False):
        model = Kinked()
        nn.fit(
            model, X, X[:, 0], epochs=10, optimizer="sgd", learning_rate=0.3, compile=compiled,
            batch_size=8,
        )  # fmt: skip
        results.append(weights(model))
    assert results[0] == pytest.approx(results[1], rel=1e-10)
    assert results[0][2] == 7.0
    one, two = Kinked(), Kinked()
    assert nn.predict(one, X) == pytest.approx(nn.predict(two, X, compile=False), rel=1e-14)


class Embedding(nn.Module):
    """A module whose inputs are whole numbers that look up a table."""

    def __init__(self) -> None:
        self.table = [[Node(0.1 * i), Node(-0.1 * i)] for i in range(5)]

    def __call__(self, tokens: Any) -> Any:
        """The sum over the tokens of what the table says."""
        rows = [take(self.table, token) for token in tokens]
        return sum(row[0] * row[1] for row in rows)


def test_whole_numbers_look_up() -> None:
    """A column of whole numbers is an index at run time, compiled once."""
    tokens = np.array([[0, 4], [3, 3], [1, 2], [2, 0]])
    goals = np.array([1.0, -1.0, 0.5, 2.0])
    results = []
    for compiled in (True, False):
        model = Embedding()
        nn.fit(model, tokens, goals, epochs=5, batch_size=2, optimizer="sgd", compile=compiled)
        results.append(weights(model))
    assert results[0] == pytest.approx(results[1], rel=1e-10)


def test_whole_numbers_here_and_others_there() -> None:
    """Validation data with fractions are not cut to whole numbers."""
    whole = np.arange(8).reshape(4, 2)
    model = nn.MLP(2, [1], seed=0)
    held_out = np.array([[0.5, 1.5]]), np.array([0.25])
    history = nn.fit(model, whole, [1, 2, 3, 4], epochs=2, validation=held_out)
    error = (nn.predict(model, held_out[0])[0] - 0.25) ** 2
    assert history.validation_loss[-1] == pytest.approx(error, rel=1e-12)


def test_programs_are_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ones used last stay; together they do not grow without end."""
    from chainrule.nn import evaluation

    monkeypatch.setattr(evaluation, "KEPT", 3)
    for width in range(1, 7):
        nn.predict(nn.MLP(2, [width, 1], seed=0), X)
    assert len(evaluation._programs) == 3
    monkeypatch.setattr(evaluation, "KEPT_VALUES", 1)
    nn.predict(nn.MLP(2, [9, 1], seed=0), X)
    assert len(evaluation._programs) == 1


def test_frozen_nodes_stay() -> None:
    """A node that is no parameter of the model is used as it is."""
    offset = Node(2.0)
    model = nn.MLP(2, [3, 1], seed=0)

    def shifted(prediction: Any, target: Any) -> Any:
        return (prediction + offset - target) ** 2

    history = nn.fit(model, X, X[:, 0], loss=shifted, epochs=30, learning_rate=0.05)
    assert history.loss[-1] < 0.3 * history.loss[0]
    assert (offset.data, offset.grad) == (2.0, 0.0)


def test_what_was_computed_from_parameters_before_is_an_error() -> None:
    """It would not change with them."""
    model = nn.MLP(2, [1], seed=0)
    penalty = sum(p * p for p in model.parameters())
    with pytest.raises(ValueError, match="was computed from parameters before"):
        nn.fit(model, X, X[:, 0], loss=lambda p, t: (p - t) ** 2 + penalty)


def test_weights_of_samples() -> None:
    """A weight of 2 is a sample given twice, one of 0 is none."""
    given = np.ones(40)
    given[:10], given[10:20] = 2.0, 0.0
    repeated = np.concatenate([X[:10], X[:10], X[20:]])
    y = X[:, 0] * X[:, 1]
    again = np.concatenate([y[:10], y[:10], y[20:]])
    results = []
    for inputs, targets, options in (
        (X, y, {"sample_weight": given}),
        (X, y, {"sample_weight": given, "compile": False}),
        (repeated, again, {}),
    ):
        model = nn.MLP(2, [4, 1], seed=1)
        history = nn.fit(model, inputs, targets, epochs=5, batch_size=40, **options)
        results.append([*weights(model), *history.loss])
    assert results[0] == pytest.approx(results[1], rel=1e-11)
    assert results[0] == pytest.approx(results[2], rel=1e-11)


def test_batches() -> None:
    """All samples take part, the last batch is what is left; without shuffling runs are alike."""
    _, history = trained(batch_size=15, epochs=2)
    assert history.steps == 6
    one = trained(shuffle=False, seed=1)[0]
    two = trained(shuffle=False, seed=2)[0]
    assert weights(one) == weights(two)
    assert trained(batch_size=None)[1].steps == 8  # 32 and 8 samples, four times
    assert trained(batch_size=40)[1].steps == 4


def test_early_stopping_goes_back_to_the_best_weights() -> None:
    """The validation loss is as it was in the best epoch."""
    held_out = RANDOM.normal(size=(30, 2))
    goal = RANDOM.normal(size=30)
    model, history = trained(validation=(held_out, goal), patience=3, epochs=500, learning_rate=0.1)
    assert history.stopped == "patience"
    assert len(history.loss) == history.best_epoch + 4
    now = np.mean((nn.predict(model, held_out) - goal) ** 2)
    assert now == pytest.approx(min(history.validation_loss), rel=1e-12)


def test_callbacks() -> None:
    """They see the model as it is, and can stop the training."""
    seen: list[float] = []

    def watch(history: nn.History, model: nn.Module) -> bool:
        seen.append(model.parameters()[0].data)
        return len(history.loss) == 3

    model, history = trained(callbacks=[watch], epochs=50)
    assert history.stopped == "callback"
    assert len(seen) == len(set(seen)) == 3
    assert seen[-1] == weights(model)[0]


def test_interrupted_training_leaves_a_usable_model() -> None:
    """Ctrl-C is noted, and the model has the weights of the last step."""

    def interrupt(history: nn.History, model: nn.Module) -> None:
        if len(history.loss) == 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted after 6 steps"):
        model, history = trained(callbacks=[interrupt])
    assert history.stopped == "interrupted"
    assert weights(model) == weights(trained(epochs=2)[0])
    nn.fit(model, X, X[:, 0], epochs=1)


def test_a_real_interrupt() -> None:
    """At any moment, also in the middle of a step."""
    for delay in (0.01, 0.03, 0.07):
        model = nn.MLP(2, [4, 1], "tanh", seed=1)
        timer = threading.Timer(delay, _thread.interrupt_main)

        def begin(history: nn.History, model: nn.Module, timer: Any = timer) -> None:
            if len(history.loss) == 1:
                timer.start()

        with pytest.warns(UserWarning, match="interrupted"):
            history = nn.fit(
                model, X, TARGETS["huber"], epochs=10**7, batch_size=8, callbacks=[begin]
            )
        assert history.stopped == "interrupted"
        assert np.isfinite(nn.predict(model, X)).all()
        assert weights(model) != weights(nn.MLP(2, [4, 1], "tanh", seed=1))


def test_an_error_in_a_callback_leaves_a_usable_model() -> None:
    """It is raised, and the weights are those of the last step."""

    def fail(history: nn.History, model: nn.Module) -> None:
        if len(history.loss) == 2:
            raise OSError("disk full")

    for patience in (None, 1):
        model = nn.MLP(2, [4, 1], "tanh", seed=1)
        with pytest.raises(OSError, match="disk full"):
            nn.fit(model, X, TARGETS["huber"], epochs=4, batch_size=16, learning_rate=0.05,
                   callbacks=[fail], validation=(X[:3], [9.0, -9.0, 9.0]),
                   patience=patience)  # fmt: skip
        assert weights(model) == weights(trained(epochs=2)[0])


@pytest.mark.parametrize("compiled", [True, False])
def test_divergence_is_said_with_its_step(compiled: bool) -> None:
    """A learning rate that is too large is an error; the model is finite."""
    model = nn.MLP(2, [1], seed=0)
    with pytest.raises(nn.DivergenceError, match=r"diverged: .* step \d+ \(epoch \d+\).* was 50"):
        nn.fit(model, X, X[:, 0], optimizer="sgd", learning_rate=50.0, epochs=200, compile=compiled)
    assert all(math.isfinite(value) for value in weights(model))


def test_a_first_loss_that_is_infinite() -> None:
    """It is noticed in the first step."""
    model = nn.MLP(2, [1], seed=0)
    with pytest.raises(nn.DivergenceError, match="the loss is inf at step 0"):
        nn.fit(model, X, X[:, 0], loss=lambda p, t: cm.exp(800.0 + 0.0 * p))


def test_too_many_paths_go_on_eagerly() -> None:
    """With one warning, and the same numbers."""
    w = Node(0.3)

    def f(x: Any) -> Any:
        if x > w:
            return w * x
        return w - x

    program = SampleFunction(f, [X[:, 0]], [w], max_traces=1)
    with pytest.raises(Exception, match="more than 1 paths"):
        Session(program, [X[:, 0]]).step()


def test_history_reads_well() -> None:
    """One line that says how it went."""
    _, history = trained(validation=0.25)
    assert repr(history).startswith("History(4 epochs, loss 0.")
    assert repr(history).endswith("stopped by epochs)")
    assert len(history.seconds) == 4
    assert history.seconds == sorted(history.seconds)


def test_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    """There when asked for, with the loss; else nothing is printed."""
    trained(progress=False)
    trained()
    assert capsys.readouterr() == ("", "")
    trained(progress=True, validation=0.25)
    shown = capsys.readouterr().err
    assert "4/4" in shown
    assert "validation" in shown


def test_progress_without_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for, it is an error that says what to install; by default it is left out."""
    real = builtins.__import__

    def missing(name: str, *args: Any) -> Any:
        if name.startswith("tqdm"):
            raise ModuleNotFoundError(name=name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ModuleNotFoundError, match="pip install 'chainrule"):
        trained(progress=True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    trained(epochs=1)


def test_gradients_are_zero_and_networks_are_apart() -> None:
    """Networks of one architecture share code, not weights."""
    first, _ = trained()
    second = nn.MLP(2, [4, 1], "tanh", seed=9)
    before = weights(second)
    again, _ = trained()
    assert weights(first) == weights(again)
    assert weights(second) == before
    assert not any(p.grad for p in first.parameters())
    assert nn.predict(first, X).tolist() != nn.predict(second, X).tolist()


def test_a_network_that_was_changed_by_hand() -> None:
    """Shared weights, another activation: what is compiled is the network as it is."""
    for change in ("shared", "activation", "width"):
        results = []
        for compiled in (True, False):
            model = nn.MLP(2, [2, 2, 1], "tanh", seed=4)
            if change == "shared":
                model.layers[1] = model.layers[0]
            elif change == "activation":
                model.layers[0].neurons[1] = nn.Neuron([0.5, 0.25], "sigmoid")
            else:
                model.layers[0] = nn.Layer(2, 2, "relu", seed=8)
            nn.fit(model, X, X[:, 0], epochs=2, batch_size=40, compile=compiled)
            results.append([*weights(model), *nn.predict(model, X, compile=compiled)])
        assert results[0] == pytest.approx(results[1], rel=1e-9)


def test_predictions() -> None:
    """One output or several, numbers or rows; the code is kept, the weights are read."""
    model = nn.MLP(2, [4, 3], "relu", seed=0)
    predictor = nn.Predictor(model)
    first = predictor(X)
    assert first.shape == (40, 3)
    assert first == pytest.approx(nn.predict(model, X, compile=False), rel=1e-13)
    for p in model.parameters():
        p.data *= 2.0
    assert predictor(X) == pytest.approx(nn.predict(model, X, compile=False), rel=1e-13)
    narrow = nn.MLP(1, [2, 1], seed=0)
    assert nn.predict(narrow, [0.5, 1.0]).shape == (2,)
    assert nn.predict(lambda x: 2.0 * x[0] + x[1], X) == pytest.approx(2 * X[:, 0] + X[:, 1])


@pytest.mark.skipif(not COMPILED, reason="slow on the plain engine")
def test_digits_sized_network_agrees_with_numpy() -> None:
    """64-32-10 on a batch: value and gradient by hand."""
    model = nn.MLP(64, [32, 10], "relu", seed=0)
    inputs = RANDOM.normal(size=(50, 64))
    labels = RANDOM.integers(0, 10, 50)
    parameters = model.parameters()
    program = SampleFunction(
        lambda x, y: nn.cross_entropy(model(x), y), [inputs, labels], parameters
    )
    loss, gradient = Session(program, [inputs, labels]).step()
    (a, b) = (
        np.array([[w.data for w in neuron.weights] for neuron in layer.neurons])
        for layer in model.layers
    )
    hidden = np.maximum(inputs @ a.T, 0.0)
    logits = hidden @ b.T
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    assert loss == pytest.approx(-np.mean(np.log(shares[np.arange(50), labels])), rel=1e-12)
    bar = shares.copy()
    bar[np.arange(50), labels] -= 1.0
    bar /= 50
    hidden_bar = (bar @ b) * (hidden > 0)
    rows = [
        np.column_stack([hidden_bar.T @ inputs, hidden_bar.sum(axis=0)]),
        np.column_stack([bar.T @ hidden, bar.sum(axis=0)]),
    ]
    expected = np.concatenate([row.ravel() for row in rows])
    assert gradient == pytest.approx(expected, rel=1e-9, abs=1e-13)


NAN = X.copy()
NAN[3, 1] = math.nan
INFINITE = X.copy()
INFINITE[0, 0] = math.inf
Y = X[:, 0]
MODEL = nn.MLP(2, [2, 1], seed=0)
THREE = nn.MLP(2, [3], seed=0)


class Empty(nn.Module):
    """A module without parameters."""

    def __call__(self, x: Any) -> Any:
        """The input."""
        return x


BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: nn.fit(MODEL, X[:, :1], Y), ValueError, "a neuron of 2 inputs was given 1"),
    (lambda: nn.fit(MODEL, X, Y[:-1]), ValueError, "X has 40 samples and y has 39"),
    (
        lambda: nn.fit(MODEL, NAN, Y),
        ValueError,
        r"X holds nan at \[3, 1\]; the data must be finite",
    ),
    (lambda: nn.fit(MODEL, INFINITE, Y), ValueError, r"X holds inf at \[0, 0\]"),
    (lambda: nn.fit(MODEL, X, NAN[:, 1]), ValueError, r"y holds nan at \[3\]"),
    (lambda: nn.fit(MODEL, X[:0], Y[:0]), ValueError, r"X is empty: its shape is \(0, 2\)"),
    (lambda: nn.fit(MODEL, 3.0, Y), ValueError, "X is a single number"),
    (lambda: nn.fit(MODEL, [["a", "b"]], [1.0]), TypeError, "X is an array of <U1, not of numbers"),
    (lambda: nn.fit(MODEL, [[{}, 1.0]], [1.0]), TypeError, "X holds {}, which is no number"),
    (lambda: nn.fit(MODEL, X * 1j, Y), TypeError, "X is an array of complex128"),
    (lambda: nn.fit(MODEL, X, Y, batch_size=41), ValueError, "batch_size is 41, but there are 40"),
    (lambda: nn.fit(MODEL, X, Y, batch_size=0), ValueError, "batch_size is a whole number from 1"),
    (lambda: nn.fit(MODEL, X, Y, epochs=0), ValueError, "epochs is a whole number from 1 up"),
    (lambda: nn.fit(MODEL, X, Y, epochs=1.5), TypeError, "epochs is a whole number, not float"),  # type: ignore[arg-type]
    (lambda: nn.fit(MODEL, X, Y, patience=0), ValueError, "patience is a whole number from 1"),
    (lambda: nn.fit(MODEL, X, Y, threads=0), ValueError, "threads is a whole number from 1"),
    (lambda: nn.fit(MODEL, X, Y, seed=1.5), TypeError, "a seed is a whole number or a generator"),  # type: ignore[arg-type]
    (lambda: nn.fit(MODEL, X, Y, optimizer="adma"), ValueError, "did you mean adam or adamw?"),
    (lambda: nn.fit(MODEL, X, Y, optimizer=nn.SGD), TypeError, "optimizer is given by name"),  # type: ignore[arg-type]
    (lambda: nn.fit(MODEL, X, Y, optimizer=nn.SGD(), learning_rate=1), ValueError, "its own learn"),
    (lambda: nn.fit(MODEL, X, Y, loss="mse"), ValueError, "there is no loss 'mse'"),
    (lambda: nn.fit(MODEL, X, Y, learning_rate=-1), ValueError, "learning rate is a number above"),
    (lambda: nn.fit(abs, X, Y), TypeError, "fit trains a Module, not builtin_function"),  # type: ignore[arg-type]
    (lambda: nn.fit(Empty(), X, Y), ValueError, r"Empty\(0 parameters\) has no parameters"),
    (lambda: nn.fit(MODEL, X, Y, loss="hinge"), ValueError, "hinge takes targets -1 and 1, not"),
    (lambda: nn.fit(MODEL, X, 5 * Y, loss="binary_cross_entropy"), ValueError, "targets 0 and 1"),
    (lambda: nn.fit(MODEL, X, Y, loss="poisson"), ValueError, "poisson takes targets from 0 up"),
    (lambda: nn.fit(THREE, X, Y, loss="cross_entropy"), ValueError, "labels that are whole"),
    (lambda: nn.fit(THREE, X, [3] * 40, loss="cross_entropy"), ValueError, "labels are 0 to 2"),
    (lambda: nn.fit(THREE, X, [-1] * 40, loss="cross_entropy"), ValueError, "labels are -1 to -1"),
    (lambda: nn.fit(THREE, X, X, loss="cross_entropy"), ValueError, "one label for each sample"),
    (lambda: nn.fit(MODEL, X, [0] * 40, loss="cross_entropy"), TypeError, "binary_cross_entropy"),
    (lambda: nn.fit(THREE, X, X), ValueError, "3 outputs are compared with 2 targets"),
    (lambda: nn.fit(THREE, X, Y), ValueError, "3 outputs are compared with 1 targets"),
    (lambda: nn.fit(THREE, X, Y, loss=lambda p, t: p), TypeError, "a loss is one number for each"),
    (lambda: nn.fit(THREE, X, Y, loss=lambda p, t: p, compile=False), TypeError, "one number"),
    (lambda: nn.fit(MODEL, X, Y, loss=lambda p, t: "x"), TypeError, "'x'"),
    (lambda: nn.fit(MODEL, X, Y, validation=1.5), ValueError, "a part between 0 and 1, not 1.5"),
    (lambda: nn.fit(MODEL, X, Y, validation=0.001), ValueError, "leaves none on one side"),
    (lambda: nn.fit(MODEL, X, Y, validation=(X,)), ValueError, r"validation is a pair \(X, y\)"),  # type: ignore[arg-type]
    (lambda: nn.fit(MODEL, X, Y, validation=X), ValueError, "between 0 and 1, not ndarray$"),  # type: ignore[arg-type]
    (lambda: nn.fit(MODEL, X, Y, validation=(X[:, :1], Y)), ValueError, "validation data's X has"),
    (lambda: nn.fit(MODEL, X, Y, validation=(NAN, Y)), ValueError, "holds nan"),
    (lambda: nn.fit(MODEL, X, Y, sample_weight=[1.0]), ValueError, r"has the shape \(1,\)"),
    (lambda: nn.fit(MODEL, X, Y, sample_weight=-Y * Y), ValueError, "numbers from 0 up"),
    (lambda: nn.fit(MODEL, X, Y, sample_weight=0 * Y), ValueError, "not all of them 0"),
    (lambda: nn.predict(MODEL, NAN), ValueError, "X holds nan"),
    (lambda: nn.predict(MODEL, X[:, :1]), ValueError, "a neuron of 2 inputs was given 1"),
    (lambda: nn.Predictor(3), TypeError, "Predictor takes a model, not int"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD)
def test_bad_input(call: Any, kind: type[Exception], message: str) -> None:
    """An error that says what was given and what is accepted; the model stays as it was."""
    before = weights(MODEL), weights(THREE)
    with pytest.raises(kind, match=message):
        call()
    assert (weights(MODEL), weights(THREE)) == before
