"""Three problems of GradBench as plain loops over numbers: LSTM, hand tracking, a determinant.

The expected derivatives come from NumPy: by complex steps, which lose no digits, and for the
determinant from its inverse. Sizes are those of GradBench's smaller data sets; the data are random.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from compiled_cases.common import Array, Build, Case, Peer, Program, Setting

STEP = 1e-30  # of the complex steps

# LSTM: a recurrent network with two layers of one weight a unit and gate

LAYERS, UNITS = 2, 14
LSTM_SIZES = [2 * LAYERS * 4 * UNITS, 3 * UNITS]


def lstm_data(length: int) -> tuple[Array, Array, Array]:
    """Weights, the first state (hidden and cell of each layer), and the sequence."""
    rng = np.random.default_rng(5)
    weights = rng.normal(0.0, 0.4, sum(LSTM_SIZES))
    state = rng.normal(0.0, 0.4, (LAYERS, 2, UNITS))
    sequence = (rng.random((length, UNITS)) < 0.4).astype(np.float64)
    return weights, state, sequence


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) of complex arrays."""
    return 1.0 / (1.0 + np.exp(-x))


def lstm_by_numpy(weights: Any, state: Array, sequence: Array) -> Any:
    """The loss for rows of weights."""
    gates = weights[:, : LSTM_SIZES[0]].reshape(-1, LAYERS, 2, 4, UNITS)
    extra = weights[:, LSTM_SIZES[0] :].reshape(-1, 3, UNITS)
    hidden = [np.broadcast_to(h, (len(weights), UNITS)).astype(complex) for h, _ in state]
    cell = [np.broadcast_to(c, (len(weights), UNITS)).astype(complex) for _, c in state]
    total: Any = 0.0
    for now, following in itertools.pairwise(sequence):
        x = now * extra[:, 0]
        for k in range(LAYERS):
            w, b = gates[:, k, 0], gates[:, k, 1]
            forget = sigmoid(x * w[:, 0] + b[:, 0])
            entry = sigmoid(hidden[k] * w[:, 1] + b[:, 1])
            exit_ = sigmoid(x * w[:, 2] + b[:, 2])
            change = np.tanh(hidden[k] * w[:, 3] + b[:, 3])
            cell[k] = cell[k] * forget + entry * change
            hidden[k] = exit_ * np.tanh(cell[k])
            x = hidden[k]
        guess = x * extra[:, 1] + extra[:, 2]
        norm = np.log(np.exp(guess).sum(axis=1) + 2.0)
        total = total + ((guess - norm[:, None]) * following).sum(axis=1)
    return -total / (len(sequence) - 1)


def lstm_expected(length: int) -> list[Array]:
    """The loss and its gradient."""
    weights, state, sequence = lstm_data(length)
    rows = weights + 1j * STEP * np.eye(len(weights))
    losses = lstm_by_numpy(rows, state, sequence)
    return [losses[:1].real, losses.imag / STEP]


def load_lstm(setting: Setting) -> Build:
    """chainrule: plain loops."""
    chainrule: Any = import_module("chainrule")
    cm: Any = import_module("chainrule.math")
    weights, first_state, sequence = lstm_data(setting.size)

    def loss(weights: Any, state: Any, sequence: Any) -> Any:
        gates = weights[: LSTM_SIZES[0]].reshape(LAYERS, 2, 4, UNITS)
        extra = weights[LSTM_SIZES[0] :].reshape(3, UNITS)
        hidden = [list(state[k, 0]) for k in range(LAYERS)]
        cell = [list(state[k, 1]) for k in range(LAYERS)]
        total = 0.0
        for t in range(len(sequence) - 1):
            x = [sequence[t, u] * extra[0, u] for u in range(UNITS)]
            for k in range(LAYERS):
                w, b = gates[k]
                for u in range(UNITS):
                    forget = cm.sigmoid(x[u] * w[0, u] + b[0, u])
                    entry = cm.sigmoid(hidden[k][u] * w[1, u] + b[1, u])
                    exit_ = cm.sigmoid(x[u] * w[2, u] + b[2, u])
                    change = cm.tanh(hidden[k][u] * w[3, u] + b[3, u])
                    cell[k][u] = cell[k][u] * forget + entry * change
                    hidden[k][u] = exit_ * cm.tanh(cell[k][u])
                x = list(hidden[k])
            guess = [x[u] * extra[1, u] + extra[2, u] for u in range(UNITS)]
            norm = cm.log(sum(cm.exp(g) for g in guess) + 2.0)
            total = total + sum((guess[u] - norm) * sequence[t + 1, u] for u in range(UNITS))
        return -total / (len(sequence) - 1)

    def build() -> Program:
        compiled = chainrule.compile(chainrule.value_and_grad(loss), threads=setting.threads)
        return Program(lambda: compiled(weights, first_state, sequence), stats=compiled.stats)

    return build


def load_lstm_jax(setting: Setting) -> Build:
    """JAX: a scan over the sequence, arrays of units."""
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    weights, first_state, sequence = map(jnp.asarray, lstm_data(setting.size))

    def loss(weights: Any, state: Any, sequence: Any) -> Any:
        gates = weights[: LSTM_SIZES[0]].reshape(LAYERS, 2, 4, UNITS)
        extra = weights[LSTM_SIZES[0] :].reshape(3, UNITS)

        def step(state: Any, pair: Any) -> Any:
            now, following = pair
            x, states = now * extra[0], []
            for k in range(LAYERS):
                (w, b), (hidden, cell) = gates[k], state[k]
                forget = jax.nn.sigmoid(x * w[0] + b[0])
                entry = jax.nn.sigmoid(hidden * w[1] + b[1])
                exit_ = jax.nn.sigmoid(x * w[2] + b[2])
                cell = cell * forget + entry * jnp.tanh(hidden * w[3] + b[3])
                x = exit_ * jnp.tanh(cell)
                states.append(jnp.stack([x, cell]))
            guess = x * extra[1] + extra[2]
            norm = jnp.log(jnp.exp(guess).sum() + 2.0)
            return jnp.stack(states), ((guess - norm) * following).sum()

        _, terms = jax.lax.scan(step, state, (sequence[:-1], sequence[1:]))
        return -terms.sum() / (len(sequence) - 1)

    def build() -> Program:
        run = jax.jit(jax.value_and_grad(loss))
        return Program(lambda: jax.block_until_ready(run(weights, first_state, sequence)))

    return build


# Hand tracking: vertices follow bones, whose poses are products along the fingers

BONES, ANGLES = 21, 26


def hand_data(vertices: int) -> dict[str, Any]:
    """A hand, where its vertices should be, and the pose."""
    rng = np.random.default_rng(6)
    parents = [-1, *[(0 if bone % 4 == 1 else bone - 1) for bone in range(1, BONES)]]
    weights = rng.random((vertices, BONES)) ** 8
    return {
        "parents": parents,
        "offsets": rng.normal(0.0, 1.0, (BONES, 3)),
        "vertices": rng.normal(0.0, 1.0, (vertices, 3)),
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "targets": rng.normal(0.0, 1.0, (vertices, 3)),
        "pose": rng.normal(0.0, 0.3, ANGLES),
    }


def hand_by_numpy(pose: Any, data: dict[str, Any]) -> Any:
    """The residuals for rows of poses."""
    sin, cos = np.sin(pose), np.cos(pose)
    zero, one = np.zeros_like(pose[:, 0]), np.ones_like(pose[:, 0])
    turns: list[Any] = []
    places: list[Any] = []
    for bone, parent in enumerate(data["parents"]):
        k = 6 + (bone - 1) if bone else 3
        s, c = sin[:, k], cos[:, k]
        turn = np.stack([c, -s, zero, s, c, zero, zero, zero, one], 1).reshape(-1, 3, 3)
        if parent < 0:
            turns.append(turn)
            places.append(pose[:, :3] + data["offsets"][bone])
        else:
            moved = np.einsum("nij,j->ni", turns[parent], data["offsets"][bone])
            turns.append(np.einsum("nij,njk->nik", turns[parent], turn))
            places.append(places[parent] + moved)
    every, at = np.stack(turns, 1), np.stack(places, 1)
    skinned = np.einsum("vb,nbij,vj->nvi", data["weights"], every, data["vertices"])
    skinned = skinned + np.einsum("vb,nbi->nvi", data["weights"], at)
    return (data["targets"] - skinned).reshape(len(pose), -1)


def hand_expected(vertices: int) -> list[Array]:
    """The Jacobian of the residuals by the pose."""
    data = hand_data(vertices)
    rows = data["pose"] + 1j * STEP * np.eye(ANGLES)
    return [(hand_by_numpy(rows, data).imag / STEP).T.ravel()]


def hand_residuals(cm: Any, data: dict[str, Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The poses of the bones, and the residuals of a vertex, as plain loops."""
    three = range(3)

    def bones(pose: Any) -> tuple[list[Any], list[Any]]:
        turns: list[Any] = []
        places: list[Any] = []
        for bone, parent in enumerate(data["parents"]):
            angle = pose[6 + (bone - 1) if bone else 3]
            s, c = cm.sin(angle), cm.cos(angle)
            turn = [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]
            offset = data["offsets"][bone]
            if parent < 0:
                turns.append(turn)
                places.append([pose[i] + offset[i] for i in three])
                continue
            above = turns[parent]
            turns.append(
                [[sum(above[i][j] * turn[j][k] for j in three) for k in three] for i in three]
            )
            places.append(
                [places[parent][i] + sum(above[i][j] * offset[j] for j in three) for i in three]
            )
        return turns, places

    def residual(bones: Any, weights: Any, vertex: Any, target: Any) -> list[Any]:
        found = [target[i] for i in three]
        for bone, (turn, place) in enumerate(zip(*bones, strict=True)):
            for i in three:
                moved = place[i] + sum(turn[i][j] * vertex[j] for j in three)
                found[i] = found[i] - weights[bone] * moved
        return found

    return bones, residual


def load_hand(setting: Setting) -> Build:
    """chainrule: plain loops over vertices and bones."""
    chainrule: Any = import_module("chainrule")
    data = hand_data(setting.size)
    bones, residual = hand_residuals(import_module("chainrule.math"), data)

    def residuals(pose: Any, weights: Any, vertices: Any, targets: Any) -> Array:
        found = bones(pose)
        rows = zip(weights, vertices, targets, strict=True)
        return np.array([residual(found, w, v, t) for w, v, t in rows])

    given = data["pose"], data["weights"], data["vertices"], data["targets"]

    def build() -> Program:
        compiled = chainrule.compile(chainrule.jacfwd(residuals), threads=setting.threads)
        return Program(lambda: compiled(*given), lambda rows: [rows.ravel()], compiled.stats)

    return build


def load_hand_vmap(setting: Setting) -> Build:
    """chainrule: a lane for each vertex."""
    chainrule: Any = import_module("chainrule")
    data = hand_data(setting.size)
    bones, residual = hand_residuals(import_module("chainrule.math"), data)

    def residuals(pose: Any, weights: Any, vertex: Any, target: Any) -> list[Any]:
        found: list[Any] = residual(bones(pose), weights, vertex, target)
        return found

    given = data["pose"], data["weights"], data["vertices"], data["targets"]

    def build() -> Program:
        mapped = chainrule.vmap(chainrule.jacfwd(residuals), in_axes=(None, 0, 0, 0))
        compiled = chainrule.compile(mapped, threads=setting.threads)
        return Program(
            lambda: compiled(*given),
            lambda rows: [np.stack(rows, axis=1).ravel()],
            compiled.stats,
        )

    return build


def load_hand_jax(setting: Setting) -> Build:
    """JAX: arrays of bones and vertices."""
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    data = hand_data(setting.size)
    pose = jnp.asarray(data["pose"])

    def residuals(pose: Any) -> Any:
        turns: list[Any] = []
        places: list[Any] = []
        for bone, parent in enumerate(data["parents"]):
            angle = pose[6 + (bone - 1) if bone else 3]
            s, c = jnp.sin(angle), jnp.cos(angle)
            turn = jnp.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
            above = turns[parent] if parent >= 0 else None
            turns.append(turn if above is None else above @ turn)
            offset = data["offsets"][bone]
            places.append(pose[:3] + offset if above is None else places[parent] + above @ offset)
        every, at = jnp.stack(turns), jnp.stack(places)
        skinned = jnp.einsum("vb,bij,vj->vi", data["weights"], every, data["vertices"])
        return (data["targets"] - skinned - data["weights"] @ at).ravel()

    def build() -> Program:
        run = jax.jit(jax.jacfwd(residuals))
        return Program(lambda: jax.block_until_ready(run(pose)))

    return build


# The determinant by expansion along the first row: n! products


def matrix(size: int) -> Array:
    """A matrix."""
    return np.random.default_rng(8).normal(0.0, 1.0, (size, size))


def determinant_expected(size: int) -> list[Array]:
    """The determinant and its gradient."""
    a = matrix(size)
    value = np.linalg.det(a)
    return [np.array([value]), (value * np.linalg.inv(a).T).ravel()]


def load_determinant(setting: Setting) -> Build:
    """chainrule: a recursion."""
    chainrule: Any = import_module("chainrule")
    a = matrix(setting.size)

    def determinant(a: Any, row: int = 0, columns: Any = None) -> Any:
        columns = tuple(range(len(a))) if columns is None else columns
        if len(columns) == 1:
            return a[row, columns[0]]
        total = 0.0
        for k, column in enumerate(columns):
            minor = determinant(a, row + 1, columns[:k] + columns[k + 1 :])
            total = total + (a[row, column] * minor if k % 2 == 0 else -a[row, column] * minor)
        return total

    def build() -> Program:
        compiled = chainrule.compile(chainrule.value_and_grad(determinant))
        return Program(lambda: compiled(a), stats=compiled.stats)

    return build


LSTM_CASE = Case(
    title="LSTM of GradBench as plain loops, loss and gradient",
    expected=lstm_expected,
    peers={
        "chainrule": Peer("chainrule, plain loops", "chainrule", load_lstm),
        "jax": Peer("JAX, scan over arrays", "jax", load_lstm_jax),
    },
    size_name="characters",
    sizes=(100, 1_024),
    unit="character",
    units=lambda size: size,
)

HAND_CASE = Case(
    title="Hand tracking of GradBench as plain loops, Jacobian",
    expected=hand_expected,
    peers={
        "chainrule": Peer("chainrule, plain loops", "chainrule", load_hand),
        "chainrule_vmap": Peer("chainrule, vmap over vertices", "chainrule", load_hand_vmap),
        "jax": Peer("JAX, arrays", "jax", load_hand_jax),
    },
    size_name="vertices",
    sizes=(100, 544),
    unit="vertex",
    units=lambda size: size,
)

DETERMINANT_CASE = Case(
    title="Determinant of GradBench by recursion, value and gradient",
    expected=determinant_expected,
    peers={"chainrule": Peer("chainrule, plain recursion", "chainrule", load_determinant)},
    size_name="rows",
    sizes=(6, 8, 9),
    unit="matrix",
    units=lambda size: 1,
)
