"""One small function of ten operations, called from Python very many times.

A run is a thousand calls, and a process makes up to a thousand runs. Each call takes the result of
the one before, so every library hands on numbers of its own kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from compiled_cases.common import Array, Build, Case, Peer, Program, Setting

START, Y = 0.4, 0.3


def small(functions: Any) -> Callable[[Any, Any], Any]:
    """The program, with a library's exp and sin."""

    def call(x: Any, y: Any) -> Any:
        r = x * x + y * y
        return functions.exp(-r) * functions.sin(x + y) + 0.5 * r

    return call


def expected(calls: int) -> list[Array]:
    """The result of the last call."""
    x, call = START, small(math)
    for _ in range(calls):
        x = call(x, Y)
    return [np.array([x])]


def repeated(call: Callable[[Any, Any], Any], x: Any, y: Any, calls: int) -> Callable[[], Any]:
    """A run of calls."""

    def run() -> Any:
        result = x
        for _ in range(calls):
            result = call(result, y)
        return result

    return run


def load_chainrule(setting: Setting) -> Build:
    """chainrule on floats."""
    chainrule: Any = import_module("chainrule")
    call = small(import_module("chainrule.math"))

    def build() -> Program:
        compiled = chainrule.compile(call)
        return Program(repeated(compiled, START, Y, setting.size), stats=compiled.stats)

    return build


def load_python(setting: Setting) -> Build:
    """Python's floats, nothing compiled."""
    return lambda: Program(repeated(small(math), START, Y, setting.size))


def load_jax(setting: Setting) -> Build:
    """JAX, which hands on arrays of its own."""
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    x, y = jnp.asarray(START), jnp.asarray(Y)

    def build() -> Program:
        run = repeated(jax.jit(small(jnp)), x, y, setting.size)
        return Program(lambda: jax.block_until_ready(run()))

    return build


def load_torch(setting: Setting) -> Build:
    """PyTorch on tensors of one number, nothing compiled."""
    torch: Any = import_module("torch")
    x, y = torch.tensor(START, dtype=torch.float64), torch.tensor(Y, dtype=torch.float64)
    return lambda: Program(repeated(small(torch), x, y, setting.size))


def load_casadi(setting: Setting) -> Build:
    """CasADi's virtual machine, which hands on matrices of its own."""
    casadi: Any = import_module("casadi")
    start, end = casadi.DM(START), casadi.DM(Y)

    def build() -> Program:
        x, y = casadi.SX.sym("x"), casadi.SX.sym("y")
        function = casadi.Function("small", [x, y], [small(casadi)(x, y)])
        return Program(repeated(function, start, end, setting.size), lambda got: [np.array(got)[0]])

    return build


def load_casadi_buffer(setting: Setting) -> Build:
    """CasADi's virtual machine, in place: the result is written where the input is read."""
    casadi: Any = import_module("casadi")
    point = np.empty(2)

    def build() -> Program:
        x = casadi.SX.sym("x", 2)
        function = casadi.Function("small", [x], [small(casadi)(x[0], x[1])])
        buffer, evaluate = function.buffer()
        buffer.set_arg(0, point.data)
        buffer.set_res(0, point[:1].data)

        def run() -> Any:
            assert buffer  # kept for evaluate
            point[:] = START, Y
            for _ in range(setting.size):
                evaluate()
            return point[0]

        return Program(run)

    return build


CASE = Case(
    title="A function of ten operations, called from Python",
    expected=expected,
    peers={
        "chainrule": Peer("chainrule", "chainrule", load_chainrule),
        "python": Peer("Python's floats", None, load_python),
        "jax": Peer("JAX", "jax", load_jax),
        "torch": Peer("PyTorch", "torch", load_torch),
        "casadi": Peer("CasADi, a call", "casadi", load_casadi),
        "casadi_buffer": Peer("CasADi, in place", "casadi", load_casadi_buffer),
    },
    size_name="calls",
    sizes=(1_000,),
    unit="call",
    units=lambda size: size,
)
