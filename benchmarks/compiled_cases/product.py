"""A product of two matrices inside a formula: Σ tanh(A B)², with its gradient by both."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from compiled_cases.common import Array, Build, Case, Peer, Program, Setting


def data(size: int) -> tuple[Array, Array]:
    """The matrices."""
    rng = np.random.default_rng(15)
    a, b = rng.normal(size=(2, size, size)) / size**0.25
    return a, b


def by_numpy(a: Array, b: Array) -> list[Array]:
    """The sum, and its gradients: three products."""
    y = np.tanh(a @ b)
    bar = 2.0 * y * (1.0 - y * y)
    return [np.array([np.sum(y * y)]), bar @ b.T, a.T @ bar]


def expected(size: int) -> list[Array]:
    """The right results."""
    return [array.ravel() for array in by_numpy(*data(size))]


def load_numpy(setting: Setting) -> Build:
    """NumPy, the adjoint by hand."""
    a, b = data(setting.size)
    return lambda: Program(lambda: by_numpy(a, b))


def total(numpy: Any, a: Any, b: Any) -> Any:
    """The formula."""
    y = numpy.tanh(a @ b)
    return numpy.sum(y * y)


def load_chainrule(setting: Setting) -> Build:
    """chainrule: one point."""
    chainrule: Any = import_module("chainrule")
    a, b = data(setting.size)

    def build() -> Program:
        derivative = chainrule.value_and_grad(lambda a, b: total(np, a, b), argnums=(0, 1))
        compiled = chainrule.compile(derivative, threads=setting.threads)
        return Program(lambda: compiled(a, b), stats=compiled.stats)

    return build


def load_jax(setting: Setting) -> Build:
    """JAX: arrays."""
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    a, b = map(jnp.asarray, data(setting.size))

    def build() -> Program:
        derivative = jax.value_and_grad(lambda a, b: total(jnp, a, b), argnums=(0, 1))
        compiled = jax.jit(derivative)
        return Program(lambda: jax.block_until_ready(compiled(a, b)))

    return build


CASE = Case(
    title="A product of matrices in a formula, value and gradient by both",
    expected=expected,
    peers={
        "chainrule": Peer("chainrule", "chainrule", load_chainrule),
        "numpy": Peer("NumPy, adjoint by hand", "numpy", load_numpy),
        "jax": Peer("JAX", "jax", load_jax),
    },
    size_name="rows",
    sizes=(256,),
    unit="multiplication",
    units=lambda size: 3 * size**3,
)
