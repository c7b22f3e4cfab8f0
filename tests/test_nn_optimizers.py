"""Optimizers against their formulas, schedules, clipping, and bad input."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import Node, nn, zero_grad

GRADIENTS = np.random.default_rng(3).normal(size=(6, 4))
START = np.array([1.0, -2.0, 0.5, 3.0])


def moved(optimizer: nn.Optimizer) -> Any:
    """The parameters after some steps with given gradients."""
    values = START.copy()
    for gradient in GRADIENTS:
        optimizer.update(values, gradient.copy())
    return values


def by_sgd(rate: float, momentum: float, nesterov: bool, decay: float) -> Any:
    """The same by the formulas."""
    values, velocity = START.copy(), np.zeros(4)
    for gradient in GRADIENTS:
        g = gradient + decay * values
        velocity = momentum * velocity + g
        values = values - rate * (g + momentum * velocity if nesterov else velocity)
    return values


def by_adam(rate: float, decay: float, decoupled: bool) -> Any:
    """The same by the formulas of the papers."""
    values, mean, square = START.copy(), np.zeros(4), np.zeros(4)
    for t, gradient in enumerate(GRADIENTS, start=1):
        g = gradient if decoupled else gradient + decay * values
        mean = 0.9 * mean + 0.1 * g
        square = 0.999 * square + 0.001 * g * g
        step = mean / (1 - 0.9**t) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
        values = values - rate * step - (rate * decay * values if decoupled else 0.0)
    return values


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd(momentum: float, nesterov: bool, decay: float) -> None:
    """With momentum, Nesterov's, and weight decay."""
    optimizer = nn.SGD(0.1, momentum=momentum, nesterov=nesterov, weight_decay=decay)
    assert np.allclose(moved(optimizer), by_sgd(0.1, momentum, nesterov, decay), rtol=1e-13)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_and_adamw(decay: float) -> None:
    """With weight decay in the gradient and beside it."""
    adam, adamw = nn.Adam(0.01, weight_decay=decay), nn.AdamW(0.01, weight_decay=decay)
    assert np.allclose(moved(adam), by_adam(0.01, decay, False), rtol=1e-12)
    assert np.allclose(moved(adamw), by_adam(0.01, decay, True), rtol=1e-12)


def test_clipping() -> None:
    """A gradient that is too long is shortened, elements that are too large are cut."""
    values = np.zeros(2)
    nn.SGD(1.0, clip_norm=1.0).update(values, np.array([3.0, -4.0]))
    assert np.allclose(values, [-0.6, 0.8])
    values = np.zeros(2)
    nn.SGD(1.0, clip_norm=10.0).update(values, np.array([3.0, -4.0]))
    assert values.tolist() == [-3.0, 4.0]
    values = np.zeros(2)
    nn.SGD(1.0, clip_value=3.5).update(values, np.array([3.0, -4.0]))
    assert values.tolist() == [-3.0, 3.5]


@pytest.mark.parametrize("size", [1e-320, 1e-300, 1e-160, 1e-10, 1e100, 1e155, 1e200, 1.7e308])
@pytest.mark.parametrize("longest", [1e-300, 1e-5, 1.0, 1e200])
def test_clipping_of_gradients_of_any_size(size: float, longest: float) -> None:
    """Also of such whose square overflows, or is rounded to 0; the direction stays."""
    values = np.zeros(3)
    nn.SGD(1.0, clip_norm=longest).update(values, size * np.array([0.6, -0.8, 0.0]))
    expected = min(size, longest) * np.array([-0.6, 0.8, 0.0])
    assert values == pytest.approx(expected, rel=1e-3 if size == 1e-320 else 1e-14, abs=0.0)


def test_clipping_of_many_large_elements() -> None:
    """The norm itself is infinite."""
    values = np.zeros(400)
    nn.SGD(1.0, clip_norm=2.0).update(values, np.full(400, -1.7e308))
    assert values == pytest.approx(np.full(400, 0.1), rel=1e-14)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_clipping_hides_no_gradient_that_is_none(bad: float) -> None:
    """What is NaN or infinite stays so."""
    values = np.zeros(2)
    nn.SGD(1.0, clip_norm=1.0).update(values, np.array([bad, 0.5]))
    assert not math.isfinite(values[0])
    nn.SGD(1.0, clip_norm=1.0).update(values, np.zeros(2))
    assert values[1] == -0.5


def test_a_state_that_is_restored() -> None:
    """Steps after it are those after the copy was made."""
    for make in (lambda: nn.SGD(0.1), lambda: nn.SGD(0.1, momentum=0.5), nn.Adam, nn.AdamW):
        optimizer: nn.Optimizer = make()
        new = optimizer.state()
        first = moved(optimizer)
        state = optimizer.state()
        second = moved(optimizer)
        optimizer.restore(state)
        assert optimizer.steps == len(GRADIENTS)
        assert np.array_equal(moved(optimizer), second)
        optimizer.restore(new)
        assert optimizer.steps == 0
        assert np.array_equal(moved(optimizer), first)


def test_settings_may_change_between_steps() -> None:
    """The learning rate, as a number or a schedule, and momentum where there was none."""
    optimizer = nn.SGD(1.0)
    values = np.zeros(2)
    optimizer.update(values, np.ones(2))
    optimizer.schedule = 0.5
    assert (optimizer.rate, repr(optimizer)) == (0.5, "SGD(0.5)")
    optimizer.momentum = 0.5
    optimizer.update(values, np.ones(2))
    optimizer.schedule = lambda step: 0.1 * step
    optimizer.update(values, np.ones(2))
    assert values == pytest.approx(np.full(2, -1.0 - 0.5 - 0.2 * 1.5))
    with pytest.raises(ValueError, match="a learning rate is a number above 0"):
        optimizer.schedule = -1.0
    assert optimizer.rate == pytest.approx(0.3)


def test_nodes_in_a_loop_of_ones_own() -> None:
    """An optimizer moves any list of leaf nodes."""
    weights = [Node(3.0), Node(-1.0)]
    optimizer = nn.Adam(nn.Cosine(0.1, 800))
    for _ in range(800):
        loss = (weights[0] - 1.0) ** 2 + (weights[1] * weights[0] - 2.0) ** 2
        zero_grad(weights)
        loss.backward()
        optimizer.step(weights)
    assert [w.data for w in weights] == pytest.approx([1.0, 2.0], abs=1e-2)
    assert optimizer.steps == 800


def test_schedules() -> None:
    """Their rates at some steps."""
    assert [nn.Constant(0.3)(s) for s in (0, 1000)] == [0.3, 0.3]
    assert [nn.Step(1.0, 10, 0.5)(s) for s in (0, 9, 10, 25)] == [1.0, 1.0, 0.5, 0.25]
    cosine = nn.Cosine(1.0, 100, final=0.1)
    assert [cosine(s) for s in (0, 50, 100, 500)] == pytest.approx([1.0, 0.55, 0.1, 0.1])
    warm = nn.WarmUp(4, nn.Cosine(1.0, 100))
    assert [warm(s) for s in (0, 3, 4, 54)] == pytest.approx([0.25, 1.0, 1.0, 0.5])
    assert nn.WarmUp(2, 0.5)(7) == 0.5
    optimizer = nn.SGD(nn.Step(1.0, 1, 0.5))
    values = np.zeros(1)
    for _ in range(3):
        optimizer.update(values, np.ones(1))
    assert values[0] == -(1.0 + 0.5 + 0.25)
    assert optimizer.rate == 0.125
    assert nn.SGD(lambda step: 1.0 / (1 + step)).rate == 1.0


def test_reprs() -> None:
    """Rates can be read."""
    assert repr(nn.SGD(0.5)) == "SGD(0.5)"
    assert repr(nn.AdamW()) == "AdamW(0.001)"


def test_state_belongs_to_its_parameters() -> None:
    """Another number of parameters is an error, until it is reset."""
    optimizer = nn.Adam()
    optimizer.update(np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match="keeps its state for 3 parameters, not 2"):
        optimizer.update(np.zeros(2), np.ones(2))
    optimizer.reset()
    optimizer.update(np.zeros(2), np.ones(2))
    assert optimizer.steps == 1


BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: nn.SGD(0.0), ValueError, "a learning rate is a number above 0, not 0.0"),
    (lambda: nn.SGD(-0.1), ValueError, "a learning rate is a number above 0"),
    (lambda: nn.SGD(math.nan), ValueError, "a learning rate is a number above 0, not nan"),
    (lambda: nn.SGD("fast"), TypeError, "a learning rate is a number, not str"),  # type: ignore[arg-type]
    (lambda: nn.SGD(momentum=1.0), ValueError, "momentum is below 1"),
    (lambda: nn.SGD(nesterov=True), ValueError, "nesterov needs a momentum"),
    (lambda: nn.SGD(weight_decay=-1.0), ValueError, "weight_decay is a number from 0"),
    (lambda: nn.Adam(betas=(0.9,)), ValueError, "betas are two numbers, not 1"),  # type: ignore[arg-type]
    (lambda: nn.Adam(betas=(0.9, 1.5)), ValueError, "a beta is below 1"),
    (lambda: nn.Adam(epsilon=0.0), ValueError, "epsilon is a number above 0"),
    (lambda: nn.Adam(clip_norm=0.0), ValueError, "clip_norm is a number above 0"),
    (lambda: nn.Cosine(0.1, 0), ValueError, "steps is a whole number from 1 up, not 0"),
    (lambda: nn.WarmUp(True, 0.1), TypeError, "steps is a whole number, not bool"),
    (lambda: nn.Step(0.1, 5, 0.0), ValueError, "factor is a number above 0"),
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD)
def test_bad_input(call: Any, kind: type[Exception], message: str) -> None:
    """An error that says what was given and what is accepted."""
    with pytest.raises(kind, match=message):
        call()
