"""A recurrent network that guesses the next character: its loss, and the gradient by all weights.

Each of the two layers is an LSTM with one weight a unit and gate.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from compiled_cases.common import Array

from gradbench.common import Problem
from gradbench.tensors import value_and_grad

LAYERS, UNITS = 2, 14
GATES = LAYERS * 2 * 4 * UNITS
EXTRA = 3 * UNITS


def data(size: int) -> tuple[Array, Array, Array]:
    """The weights, the first state (hidden and cell of each layer), and the sequence."""
    rng = np.random.default_rng(5)
    weights = rng.normal(0.0, 0.4, GATES + EXTRA)
    state = rng.normal(0.0, 0.4, (LAYERS, 2, UNITS))
    return weights, state, (rng.random((size, UNITS)) < 0.4).astype(np.float64)


def parts(weights: Any) -> tuple[Any, Any]:
    """Weights and biases by layer and gate; what scales inputs, and what scales and moves guesses.

    The gates are forget, entry, exit and change.
    """
    return weights[:GATES].reshape(LAYERS, 2, 4, UNITS), weights[GATES:].reshape(3, UNITS)


def loops(cr: Any, cm: Any) -> Callable[..., Any]:
    """Loops over characters, layers and units."""
    units = range(UNITS)

    def loss(weights: Any, state: Any, sequence: Any) -> Any:
        gates, extra = parts(weights)
        hidden = [list(state[k, 0]) for k in range(LAYERS)]
        cell = [list(state[k, 1]) for k in range(LAYERS)]
        total = 0.0
        for t in range(len(sequence) - 1):
            x = [sequence[t, u] * extra[0, u] for u in units]
            for k in range(LAYERS):
                w, b = gates[k]
                for u in units:
                    forget = cm.sigmoid(x[u] * w[0, u] + b[0, u])
                    entry = cm.sigmoid(hidden[k][u] * w[1, u] + b[1, u])
                    exit_ = cm.sigmoid(x[u] * w[2, u] + b[2, u])
                    change = cm.tanh(hidden[k][u] * w[3, u] + b[3, u])
                    cell[k][u] = cell[k][u] * forget + entry * change
                    hidden[k][u] = exit_ * cm.tanh(cell[k][u])
                x = list(hidden[k])
            guess = [x[u] * extra[1, u] + extra[2, u] for u in units]
            norm = cm.log(sum(cm.exp(g) for g in guess) + 2.0)
            total = total + sum((guess[u] - norm) * sequence[t + 1, u] for u in units)
        return -total / (len(sequence) - 1)

    gradient: Callable[..., Any] = cr.value_and_grad(loss)
    return gradient


def arrays(jax: Any, np: Any) -> Callable[..., Any]:
    """A scan over the characters, arrays of units."""

    def loss(weights: Any, state: Any, sequence: Any) -> Any:
        gates, extra = parts(weights)

        def step(state: Any, pair: Any) -> Any:
            now, following = pair
            x, states = now * extra[0], []
            for k in range(LAYERS):
                (w, b), (hidden, cell) = gates[k], state[k]
                forget = jax.nn.sigmoid(x * w[0] + b[0])
                entry = jax.nn.sigmoid(hidden * w[1] + b[1])
                exit_ = jax.nn.sigmoid(x * w[2] + b[2])
                cell = cell * forget + entry * np.tanh(hidden * w[3] + b[3])
                x = exit_ * np.tanh(cell)
                states.append(np.stack([x, cell]))
            guess = x * extra[1] + extra[2]
            norm = np.log(np.exp(guess).sum() + 2.0)
            return np.stack(states), ((guess - norm) * following).sum()

        _, terms = jax.lax.scan(step, state, (sequence[:-1], sequence[1:]))
        return -terms.sum() / (len(sequence) - 1)

    gradient: Callable[..., Any] = jax.value_and_grad(loss)
    return gradient


def tensors(torch: Any) -> Callable[..., Any]:
    """A loop over the characters, tensors of units."""

    def loss(weights: Any, state: Any, sequence: Any) -> Any:
        gates, extra = parts(weights)
        hidden, cell = list(state[:, 0]), list(state[:, 1])
        guesses = []
        for x in sequence[:-1] * extra[0]:
            for k in range(LAYERS):
                w, b = gates[k]
                before = torch.stack([x, hidden[k], x, hidden[k]]) * w + b
                forget, entry, exit_ = torch.sigmoid(before[:3])
                cell[k] = cell[k] * forget + entry * torch.tanh(before[3])
                x = hidden[k] = exit_ * torch.tanh(cell[k])
            guesses.append(x * extra[1] + extra[2])
        guess = torch.stack(guesses)
        norm = torch.log(torch.exp(guess).sum(dim=1, keepdim=True) + 2.0)
        return -((guess - norm) * sequence[1:]).sum() / (len(sequence) - 1)

    return value_and_grad(torch, loss)


def by_hand(weights: Array, state: Array, sequence: Array) -> tuple[Any, Array]:
    """The steps backwards, from what is kept of each layer."""
    gates, extra = parts(weights)
    hidden, cell = state[:, 0].copy(), state[:, 1].copy()
    kept: list[Any] = []
    loss = 0.0
    scale = -1.0 / (len(sequence) - 1)
    for now, following in pairwise(sequence):
        x = now * extra[0]
        layers = []
        for k in range(LAYERS):
            given = np.stack([x, hidden[k], x, hidden[k]])
            before = given * gates[k, 0] + gates[k, 1]
            opened = 1.0 / (1.0 + np.exp(-before))
            opened[3] = np.tanh(before[3])
            old, cell[k] = cell[k].copy(), cell[k] * opened[0] + opened[1] * opened[3]
            squashed = np.tanh(cell[k])
            x = hidden[k] = opened[2] * squashed
            layers.append((given, opened, old, squashed))
        guess = x * extra[1] + extra[2]
        powers = np.exp(guess)
        norm = powers.sum() + 2.0
        loss += scale * ((guess - np.log(norm)) @ following)
        of_guess = scale * (following - following.sum() * powers / norm)
        kept.append((now, layers, x.copy(), of_guess))
    of_gates, of_extra = np.zeros_like(gates), np.zeros_like(extra)
    of_hidden, of_cell = np.zeros((LAYERS, UNITS)), np.zeros((LAYERS, UNITS))
    for now, layers, last, of_guess in reversed(kept):
        of_extra[1] += of_guess * last
        of_extra[2] += of_guess
        of_x = of_guess * extra[1]
        for k in reversed(range(LAYERS)):
            given, opened, old, squashed = layers[k]
            forget, entry, exit_, change = opened
            out = of_hidden[k] + of_x
            mine = of_cell[k] + out * exit_ * (1.0 - squashed * squashed)
            slopes = opened * (1.0 - opened)
            slopes[3] = 1.0 - change * change
            of_before = np.stack([mine * old, mine * change, out * squashed, mine * entry]) * slopes
            of_gates[k, 0] += of_before * given
            of_gates[k, 1] += of_before
            back = of_before * gates[k, 0]
            of_x, of_hidden[k] = back[0] + back[2], back[1] + back[3]
            of_cell[k] = mine * forget
        of_extra[0] += of_x * now
    return loss, np.concatenate([of_gates.ravel(), of_extra.ravel()])


CASE = Problem(
    title=f"LSTM of {LAYERS} layers, loss and gradient",
    data=data,
    loops=loops,
    arrays=arrays,
    tensors=tensors,
    by_hand=by_hand,
    sizes=(100, 1_024, 4_096),
    size_name="characters",
).case()
