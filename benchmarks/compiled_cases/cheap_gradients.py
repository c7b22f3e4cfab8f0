"""What a gradient costs beside its function: three loops written by hand, one point at a time.

The rows of these tables are the function with its gradient, and the function alone.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from compiled_cases.common import Array, Build, Case, Peer, Program, Setting

Function = Callable[[Any, Any], Any]


def sum_of_sines(x: Any, functions: Any) -> Any:
    """The sum of sin(x[i])."""
    total = 0.0
    for i in range(len(x)):
        total = total + functions.sin(x[i])
    return total


def matrix_product(x: Any, functions: Any) -> Any:
    """The sum of the squares of the elements of the product of the two halves of x, square."""
    n = round((len(x) / 2) ** 0.5)
    total = 0.0
    for i in range(n):
        for j in range(n):
            element = 0.0
            for k in range(n):
                element = element + x[i * n + k] * x[n * n + k * n + j]
            total = total + element * element
    return total


def recurrence(x: Any, functions: Any) -> Any:
    """A state that each number drives a step on."""
    state = 0.5
    for i in range(len(x)):
        state = functions.tanh(0.9 * state + x[i] * (1.0 - state * state))
    return state


def sines_gradient(x: Array) -> Array:
    """cos(x)."""
    return np.cos(x)


def product_gradient(x: Array) -> Array:
    """By matrices."""
    n = round((len(x) / 2) ** 0.5)
    a, b = x.reshape(2, n, n)
    return np.concatenate([(2 * (a @ b) @ b.T).ravel(), (2 * a.T @ (a @ b)).ravel()])


def recurrence_gradient(x: Array) -> Array:
    """The chain rule by hand, backwards."""
    states = [0.5]
    for number in x:
        s = states[-1]
        states.append(np.tanh(0.9 * s + number * (1.0 - s * s)))
    gradient, adjoint = np.zeros_like(x), 1.0
    for i in range(len(x) - 1, -1, -1):
        s, y = states[i], states[i + 1]
        adjoint *= 1.0 - y * y
        gradient[i] = adjoint * (1.0 - s * s)
        adjoint *= 0.9 - 2.0 * x[i] * s
    return gradient


def point(size: int) -> Array:
    """Where it is evaluated."""
    return np.random.default_rng(9).uniform(-0.9, 0.9, size)


def case(title: str, function: Function, gradient: Callable[[Array], Array], size: int) -> Case:
    """A case of one function."""

    def expected(size: int) -> list[Array]:
        x = point(size)
        return [np.array([function(x, np)]), gradient(x)]

    def load(with_gradient: bool) -> Callable[[Setting], Build]:
        def loaded(setting: Setting) -> Build:
            chainrule: Any = import_module("chainrule")
            cm: Any = import_module("chainrule.math")
            x = point(setting.size)

            def build() -> Program:
                def f(x: Any) -> Any:
                    return function(x, cm)

                wanted = chainrule.value_and_grad(f) if with_gradient else f
                compiled = chainrule.compile(wanted, threads=setting.threads)

                def arrays(result: Any) -> list[Array]:
                    value, slopes = result if with_gradient else (result, gradient(x))
                    return [np.array([value]), np.asarray(slopes)]

                return Program(lambda: compiled(x), arrays, compiled.stats)

            return build

        return loaded

    return Case(
        title=f"{title}, value and gradient beside the value alone",
        expected=expected,
        peers={
            "chainrule": Peer("chainrule, value and gradient", "chainrule", load(True)),
            "chainrule_value": Peer("chainrule, value alone", "chainrule", load(False)),
        },
        size_name="numbers",
        sizes=(size,),
        unit="number",
        units=lambda size: size,
    )


SINES_CASE = case("Sum of sines", sum_of_sines, sines_gradient, 1_000)
PRODUCT_CASE = case("Product of matrices", matrix_product, product_gradient, 2 * 32 * 32)
RECURRENCE_CASE = case("Recurrence", recurrence, recurrence_gradient, 1_000)
