"""Linear interpolation in a table: the sum of squares, with its gradient by the table."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np

from compiled_cases.common import Array, Build, Case, Peer, Program, Setting

LANES = 8_192


def data(size: int) -> tuple[Array, Array]:
    """The table, and where to look it up."""
    rng = np.random.default_rng(12)
    return np.sin(np.linspace(0.0, 7.0, size)), rng.uniform(0.0, size - 1.001, LANES)


def by_numpy(table: Array, x: Array) -> list[Array]:
    """The sum, and its gradient by the table, added up by bincount."""
    k = np.floor(x).astype(np.int64)
    w = x - k
    y = table[k] * (1.0 - w) + table[k + 1] * w
    slopes = np.bincount(k, 2.0 * y * (1.0 - w), len(table))
    slopes += np.bincount(k + 1, 2.0 * y * w, len(table))
    return [np.array([np.sum(y * y)]), slopes]


def expected(size: int) -> list[Array]:
    """The right results."""
    return by_numpy(*data(size))


def load_numpy(setting: Setting) -> Build:
    """NumPy, the adjoint by hand."""
    table, x = data(setting.size)
    return lambda: Program(lambda: by_numpy(table, x))


def load_chainrule(setting: Setting) -> Build:
    """chainrule: one point, over lanes."""
    chainrule: Any = import_module("chainrule")
    table, x = data(setting.size)

    def square(table: Any, x: Any) -> Any:
        k = math.floor(x)
        w = x - k
        y = table[k] * (1.0 - w) + table[k + 1] * w
        return y * y

    def build() -> Program:
        total = chainrule.vmap(square, in_axes=(None, 0), reduce="sum")
        compiled = chainrule.compile(chainrule.value_and_grad(total), threads=setting.threads)
        return Program(lambda: compiled(table, x), stats=compiled.stats)

    return build


def load_jax(setting: Setting) -> Build:
    """JAX: arrays."""
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    table, x = map(jnp.asarray, data(setting.size))

    def total(table: Any, x: Any) -> Any:
        k = jnp.floor(x).astype(jnp.int64)
        w = x - k
        y = table[k] * (1.0 - w) + table[k + 1] * w
        return jnp.sum(y * y)

    def build() -> Program:
        compiled = jax.jit(jax.value_and_grad(total))
        return Program(lambda: jax.block_until_ready(compiled(table, x)))

    return build


CASE = Case(
    title="Linear interpolation in a table, 8,192 lanes, value and gradient by the table",
    expected=expected,
    peers={
        "chainrule": Peer("chainrule", "chainrule", load_chainrule),
        "numpy": Peer("NumPy, adjoint by hand", "numpy", load_numpy),
        "jax": Peer("JAX", "jax", load_jax),
    },
    size_name="elements",
    sizes=(10_000,),
    unit="look-up",
    units=lambda size: 2 * LANES,
)
