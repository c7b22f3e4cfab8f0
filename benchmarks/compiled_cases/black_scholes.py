"""The price of a call option by Black and Scholes with all first and second derivatives.

A million points, each with its own spot, strike, rate, volatility and years. Where a library gives
only what is different of the 25 second derivatives, its program computes 15.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import numpy as np

from compiled_cases.casadi_buffer import in_place
from compiled_cases.common import Array, Build, Case, Peer, Program, Setting

VARIABLES = 5
BY_ALL = tuple(range(VARIABLES))
UPPER = [(i, j) for i in BY_ALL for j in BY_ALL if i <= j]
SEED = 11
# Points at a time, for what is worked on to stay in the processor's cache: the best of some tried.
NUMPY_BLOCK, JAX_BLOCK, TORCH_BLOCK = 4_096, 10_000, 50_000
JIT = {"jit": True, "compiler": "shell", "jit_options": {"flags": ["-O3", "-march=native"]}}


def points(size: int) -> Array:
    """The inputs: rows of spots, strikes, rates, volatilities and years."""
    low, high = np.array([[80.0, 80.0, 0.01, 0.1, 0.25], [120.0, 120.0, 0.06, 0.5, 2.0]])
    unit = np.random.default_rng(SEED).random((VARIABLES, size))
    return np.ascontiguousarray(low[:, None] + (high - low)[:, None] * unit)


def unfolded(different: list[Array]) -> list[Array]:
    """Price, gradient and all second derivatives, from those that are different."""
    second = dict(zip(UPPER, different[1 + VARIABLES :], strict=True))
    whole = [second[min(i, j), max(i, j)] for i in BY_ALL for j in BY_ALL]
    return [*different[: 1 + VARIABLES], *whole]


def by_hand(inputs: Array) -> Array:
    """The closed forms: rows of the price, the gradient and the 15 second derivatives."""
    erf: Any = import_module("scipy.special").erf
    spot, strike, rate, vol, years = inputs
    root = np.sqrt(years)
    spread = vol * root
    d1 = (np.log(spot / strike) + (rate + 0.5 * vol * vol) * years) / spread
    d2 = d1 - spread
    density1, density2 = (np.exp(-0.5 * d * d) / math.sqrt(2.0 * math.pi) for d in (d1, d2))
    below1, below2 = (0.5 + 0.5 * erf(d / math.sqrt(2.0)) for d in (d1, d2))
    discount = np.exp(-rate * years)
    paid = strike * discount
    by_spot, by_strike, by_rate = 1.0 / (spot * spread), -1.0 / (strike * spread), root / vol
    by_vol1, by_vol2 = -d2 / vol, -d1 / vol
    by_years1 = (rate + 0.5 * vol * vol) / spread - 0.5 * d1 / years
    by_years2 = by_years1 - 0.5 * vol / root
    dense1, dense2 = spot * density1, paid * density2
    vega = dense1 * root
    decay = 0.5 * dense1 * vol / root
    return np.stack([
        spot * below1 - paid * below2,
        # the gradient
        below1, -discount * below2, years * paid * below2, vega, decay + rate * paid * below2,
        # by spot and each
        density1 * by_spot, density1 * by_strike, density1 * by_rate, density1 * by_vol1,
        density1 * by_years1,
        # by strike and each
        -discount * density2 * by_strike, discount * (years * below2 - density2 * by_rate),
        -discount * density2 * by_vol2, discount * (rate * below2 - density2 * by_years2),
        # by rate and each
        years * (dense2 * by_rate - years * paid * below2), years * dense2 * by_vol2,
        paid * below2 * (1.0 - rate * years) + years * dense2 * by_years2,
        # by volatility and each
        -vega * d1 * by_vol1, vega * (0.5 / years - d1 * by_years1),
        # by years twice
        -decay * (d1 * by_years1 + 0.5 / years)
        + rate * (dense2 * by_years2 - rate * paid * below2),
    ])  # fmt: skip


def expected(size: int) -> list[Array]:
    """The right results."""
    return unfolded(list(by_hand(points(size))))


def price(functions: Any) -> Callable[..., Any]:
    """The program, with a library's log, sqrt, exp and erf."""

    def call(spot: Any, strike: Any, rate: Any, vol: Any, years: Any) -> Any:
        spread = vol * functions.sqrt(years)
        d1 = (functions.log(spot / strike) + (rate + 0.5 * vol * vol) * years) / spread
        d2 = d1 - spread
        below1 = 0.5 + 0.5 * functions.erf(d1 * math.sqrt(0.5))
        below2 = 0.5 + 0.5 * functions.erf(d2 * math.sqrt(0.5))
        return spot * below1 - strike * functions.exp(-rate * years) * below2

    return call


def load_chainrule(setting: Setting) -> Build:
    """chainrule: the transformations, of one point, mapped."""
    chainrule: Any = import_module("chainrule")
    call = price(import_module("chainrule.math"))
    inputs = points(setting.size)

    def all_of(*point: Any) -> Any:
        value, gradient = chainrule.value_and_grad(call, argnums=BY_ALL)(*point)
        return value, gradient, chainrule.hessian(call, argnums=BY_ALL)(*point)

    def build() -> Program:
        compiled = chainrule.compile(chainrule.vmap(all_of), threads=setting.threads)
        return Program(lambda: compiled(*inputs), stats=compiled.stats)

    return build


def load_jax(setting: Setting) -> Build:
    """JAX: the same transformations, blocks of points; one host device for each thread."""
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")

    class Functions:
        log, sqrt, exp, erf = jnp.log, jnp.sqrt, jnp.exp, jax.scipy.special.erf

    call = price(Functions)
    by_points = jax.P("points")
    mesh = jax.make_mesh((setting.threads,), ("points",))
    place = jax.NamedSharding(mesh, by_points)
    inputs = [jax.device_put(row, place) for row in points(setting.size)]

    def all_of(*point: Any) -> Any:
        value, gradient = jax.value_and_grad(call, argnums=BY_ALL)(*point)
        return value, gradient, jax.hessian(call, argnums=BY_ALL)(*point)

    def blocks(*points: Any) -> Any:
        return jax.lax.map(lambda point: all_of(*point), points, batch_size=JAX_BLOCK)

    def build() -> Program:
        mapped = jax.shard_map(
            blocks, mesh=mesh, in_specs=(by_points,) * VARIABLES, out_specs=by_points,
            check_vma=False,
        )  # fmt: skip
        compiled = jax.jit(mapped)
        return Program(lambda: jax.block_until_ready(compiled(*inputs)))

    return build


def load_torch(setting: Setting) -> Build:
    """PyTorch: blocks of points; the gradient's graph backpropagated once for each variable."""
    torch: Any = import_module("torch")
    size = setting.size
    call = price(torch)
    columns = torch.from_numpy(points(size))

    def block(columns: Any) -> Any:
        inputs = [row.detach().requires_grad_() for row in columns]
        value = call(*inputs)
        gradient = torch.autograd.grad(value.sum(), inputs, create_graph=True)
        second = [
            torch.autograd.grad(gradient[i].sum(), inputs[i:], retain_graph=i < VARIABLES - 1)
            for i in BY_ALL
        ]
        rows = [value, *gradient, *(row for each in second for row in each)]
        return torch.stack([row.detach() for row in rows])

    def run() -> Any:
        results = torch.empty((1 + VARIABLES + len(UPPER), size), dtype=torch.float64)
        for first in range(0, size, TORCH_BLOCK):
            here = slice(first, first + TORCH_BLOCK)
            results[:, here] = block(columns[:, here])
        return results

    return lambda: Program(run, lambda results: unfolded(list(results.numpy())))


def load_casadi(jit: bool) -> Callable[[Setting], Build]:
    """CasADi: one point of SX scalars, mapped; its virtual machine, or C code."""

    def load(setting: Setting) -> Build:
        casadi: Any = import_module("casadi")
        size, threads = setting
        inputs = np.ascontiguousarray(points(size).T)

        def build() -> Program:
            point = casadi.SX.sym("point", VARIABLES)
            value = price(casadi)(*casadi.vertsplit(point))
            second, gradient = casadi.hessian(value, point)
            results = casadi.vertcat(value, gradient, *(second[i, j] for i, j in UPPER))
            function = casadi.Function("each", [point], [results], JIT if jit else {})
            kind = ("serial",) if threads == 1 else ("thread", threads)
            outputs = [np.empty((size, 1 + VARIABLES + len(UPPER)))]
            run = in_place(function.map(size, *kind), [inputs], outputs)
            return Program(run, lambda results: unfolded(list(results[0].T)))

        return build

    return load


def load_numpy(setting: Setting) -> Build:
    """NumPy: the closed forms, some points at a time, threads sharing them."""
    size, threads = setting
    inputs = points(size)
    parts = range(0, size, NUMPY_BLOCK)
    pool = ThreadPoolExecutor(threads)

    def run() -> Any:
        results = np.empty((1 + VARIABLES + len(UPPER), size))

        def part(first: int) -> None:
            here = slice(first, first + NUMPY_BLOCK)
            results[:, here] = by_hand(inputs[:, here])

        list(map(part, parts) if threads == 1 else pool.map(part, parts))
        return results

    return lambda: Program(run, lambda results: unfolded(list(results)))


CASE = Case(
    title="Black–Scholes, price and all first and second derivatives",
    expected=expected,
    peers={
        "chainrule": Peer("chainrule", "chainrule", load_chainrule),
        "numpy": Peer("NumPy, closed forms by hand", "numpy", load_numpy),
        "jax": Peer("JAX", "jax", load_jax),
        "torch": Peer("PyTorch", "torch", load_torch),
        "casadi": Peer("CasADi, virtual machine", "casadi", load_casadi(jit=False)),
        "casadi_jit": Peer("CasADi, C code", "casadi", load_casadi(jit=True)),
    },
    size_name="points",
    sizes=(1_000_000,),
    unit="point",
    units=lambda size: size,
    threads=(1, 2),
)
