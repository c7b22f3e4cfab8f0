"""The chained Rosenbrock function: value, gradient and sparse Hessian at one point.

The Hessian has three diagonals. This is the objective with which CasADi's users ask about the time
to the first result.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from compiled_cases.casadi_buffer import in_place
from compiled_cases.common import Array, Build, Case, Peer, Program, Setting

SEED = 3
DIAGONALS = (-1, 0, 1)


def point(size: int) -> Array:
    """Where it is evaluated."""
    return np.random.default_rng(SEED).uniform(0.5, 1.5, size)


def by_hand(x: Array) -> tuple[float, Array, Array, Array]:
    """The value, the gradient, and the diagonal and the one beside it of the Hessian."""
    here, following = x[:-1], x[1:]
    gap, rest = following - here * here, 1.0 - here
    gradient, diagonal = np.zeros_like(x), np.zeros_like(x)
    gradient[:-1] = -400.0 * here * gap - 2.0 * rest
    gradient[1:] += 200.0 * gap
    diagonal[:-1] = 1200.0 * here * here - 400.0 * following + 2.0
    diagonal[1:] += 200.0
    return float(np.sum(100.0 * gap * gap + rest * rest)), gradient, diagonal, -400.0 * here


def expected(size: int) -> list[Array]:
    """The value, the gradient and the three diagonals of the Hessian."""
    value, gradient, diagonal, beside = by_hand(point(size))
    return [np.array([value]), gradient, beside, diagonal, beside]


def with_diagonals(value: Any, gradient: Any, hessian: Any) -> list[Array]:
    """The same of results with a Hessian of SciPy, which may have nothing off its diagonals."""
    rows, columns = hessian.nonzero()
    if np.any(np.abs(rows - columns) > 1):
        raise ValueError("the Hessian has elements off the three diagonals")
    diagonals = [np.asarray(hessian.diagonal(k), dtype=np.float64) for k in DIAGONALS]
    return [np.array([float(value)]), np.asarray(gradient).ravel(), *diagonals]


def load_chainrule(setting: Setting) -> Build:
    """chainrule: scalars in a Python loop."""
    chainrule: Any = import_module("chainrule")
    import_module("scipy.sparse")  # which chainrule imports when it needs it
    x = point(setting.size)

    def rosenbrock(x: Any) -> Any:
        total = 0.0
        for i in range(len(x) - 1):
            gap = x[i + 1] - x[i] * x[i]
            rest = 1.0 - x[i]
            total = total + 100.0 * gap * gap + rest * rest
        return total

    def all_of(x: Any) -> Any:
        value, gradient = chainrule.value_and_grad(rosenbrock)(x)
        return value, gradient, chainrule.hessian(rosenbrock, sparse=True)(x)

    def build() -> Program:
        compiled = chainrule.compile(all_of)
        return Program(lambda: compiled(x), lambda got: with_diagonals(*got), compiled.stats)

    return build


def load_casadi(kind: str, flags: str = "") -> Callable[[Setting], Build]:
    """CasADi: its virtual machine if there are no flags for a C compiler, else C code.

    A graph of scalars (SX) or of vectors (MX).
    """
    jit = {"jit": True, "compiler": "shell", "jit_options": {"flags": flags.split()}}

    def load(setting: Setting) -> Build:
        casadi: Any = import_module("casadi")
        csc_array: Any = import_module("scipy.sparse").csc_array
        size = setting.size
        inputs = [point(size)]

        def build() -> Program:
            x = getattr(casadi, kind).sym("x", size)
            gap, rest = x[1:] - x[:-1] ** 2, 1.0 - x[:-1]
            value = casadi.sum1(100.0 * gap**2 + rest**2)
            hessian, gradient = casadi.hessian(value, x)
            results = [value, gradient, hessian]
            function = casadi.Function("all_of", [x], results, jit if flags else {})
            outputs = [np.empty(result.nnz()) for result in results]
            columns, rows = hessian.sparsity().get_ccs()

            def arrays(results: Any) -> list[Array]:
                value, gradient, data = results
                return with_diagonals(value[0], gradient, csc_array((data, rows, columns)))

            return Program(in_place(function, inputs, outputs), arrays)

        return build

    return load


def load_numpy(setting: Setting) -> Build:
    """NumPy: the derivatives by hand."""
    sparse: Any = import_module("scipy.sparse")
    x = point(setting.size)

    def run() -> Any:
        value, gradient, diagonal, beside = by_hand(x)
        return value, gradient, sparse.diags_array([beside, diagonal, beside], offsets=DIAGONALS)

    return lambda: Program(run, lambda got: with_diagonals(*got))


CASE = Case(
    title="Chained Rosenbrock function, value, gradient and sparse Hessian",
    expected=expected,
    peers={
        "chainrule": Peer("chainrule", "chainrule", load_chainrule),
        "numpy": Peer("NumPy, derivatives by hand", "numpy", load_numpy),
        "casadi_mx": Peer("CasADi MX, virtual machine", "casadi", load_casadi("MX")),
        "casadi_mx_jit": Peer(
            "CasADi MX, C code with -O3", "casadi", load_casadi("MX", "-O3 -march=native")
        ),
        "casadi_sx": Peer("CasADi SX, virtual machine", "casadi", load_casadi("SX")),
        # For 10,000 variables the C compiler needs more than five minutes (with -O0 one).
        "casadi_sx_jit": Peer(
            "CasADi SX, C code with -O1",
            "casadi",
            load_casadi("SX", "-O1"),
            largest=1_000,
            slow=True,
        ),
    },
    size_name="variables",
    sizes=(100, 1_000, 10_000),
    unit="variable",
    units=lambda size: size,
)
