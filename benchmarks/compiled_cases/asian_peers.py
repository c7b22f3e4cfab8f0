"""The Asian option in each library's words."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from compiled_cases.asian_option import BARRIER, PARAMETERS, YEARS, Option
from compiled_cases.casadi_buffer import in_place
from compiled_cases.common import Array, Build, Program, Setting

BY_PARAMETERS = (0, 1, 2, 3)
PER_PATH = (None, None, None, None, 0)
JAX_BLOCK = 512
JAX_STRETCH = 1_000
JIT = {"jit": True, "compiler": "shell", "jit_options": {"flags": ["-O3", "-march=native"]}}


def load_chainrule(
    option: Option, branchless: bool = False, scan: bool = False, checkpoint: Any = None
) -> Callable[[Setting], Build]:
    """chainrule: scalars, a Python loop or a scan; the barrier is an ``if``, or a ``where``."""

    def load(setting: Setting) -> Build:
        chainrule: Any = import_module("chainrule")
        cm: Any = import_module("chainrule.math")
        normals = option.normals(setting.size)
        dt = YEARS / setting.size
        root_dt = math.sqrt(dt)

        def path(spot: Any, strike: Any, rate: Any, vol: Any, normals: Any) -> Any:
            drift = (rate - 0.5 * vol * vol) * dt
            s, total = spot, 0.0
            for z in normals:
                s = s * cm.exp(drift + vol * root_dt * z)
                if option.knock_out and s > BARRIER:
                    return 0.0
                total = total + s
            return cm.exp(-rate * YEARS) * cm.maximum(total / setting.size - strike, 0.0)

        def path_without_if(spot: Any, strike: Any, rate: Any, vol: Any, normals: Any) -> Any:
            drift = (rate - 0.5 * vol * vol) * dt
            s, total, alive = spot, 0.0, 1.0
            for z in normals:
                s = s * cm.exp(drift + vol * root_dt * z)
                alive = cm.where(s > BARRIER, 0.0, alive)
                total = total + s
            payoff = cm.exp(-rate * YEARS) * cm.maximum(total / setting.size - strike, 0.0)
            return cm.where(alive > 0.0, payoff, 0.0)

        def path_by_scan(spot: Any, strike: Any, rate: Any, vol: Any, normals: Any) -> Any:
            drift = (rate - 0.5 * vol * vol) * dt

            def step(carry: Any, z: Any) -> Any:
                s, total = carry
                s = s * cm.exp(drift + vol * root_dt * z)
                return (s, total + s), None

            (_, total), _ = chainrule.lax.scan(step, (spot, 0.0), normals, checkpoint=checkpoint)
            return cm.exp(-rate * YEARS) * cm.maximum(total / setting.size - strike, 0.0)

        def build() -> Program:
            program = path_by_scan if scan else path_without_if if branchless else path
            by_path = chainrule.value_and_grad(program, argnums=BY_PARAMETERS)
            mapped = chainrule.vmap(by_path, in_axes=PER_PATH)
            compiled = chainrule.compile(mapped, threads=setting.threads)
            return Program(lambda: compiled(*PARAMETERS, normals), stats=compiled.stats)

        return build

    return load


def load_jax(option: Option, loop: str) -> Callable[[Setting], Build]:
    """JAX: the barrier as ``where``, the loop in one of four ways.

    ``blocks`` is a scan over some paths at a time, which stay in the processor's cache, on one
    host device for each thread; ``scan`` a scan over all paths; ``checkpoint`` a scan of scans of
    1,000 steps, which run again in reverse mode; ``unrolled`` the Python loop.
    """

    def load(setting: Setting) -> Build:
        jax: Any = import_module("jax")
        jnp: Any = import_module("jax.numpy")
        steps, threads = setting
        everywhere, by_paths = jax.P(), jax.P("paths")
        mesh = jax.make_mesh((threads,), ("paths",))
        normals = jnp.asarray(option.normals(steps))
        if loop == "blocks":
            normals = jax.device_put(normals, jax.NamedSharding(mesh, by_paths))
        parameters = [jnp.asarray(number) for number in PARAMETERS]
        dt = YEARS / steps

        def path(spot: Any, strike: Any, rate: Any, vol: Any, normals: Any) -> Any:
            drift, scale = (rate - 0.5 * vol * vol) * dt, vol * math.sqrt(dt)

            def step(carry: Any, z: Any) -> Any:
                s, total, *alive = carry
                s = s * jnp.exp(drift + scale * z)
                if option.knock_out:
                    alive = [jnp.where(s > BARRIER, 0.0, alive[0])]
                return (s, total + s, *alive), None

            carry = (spot, 0.0, 1.0) if option.knock_out else (spot, 0.0)
            if loop == "unrolled":
                for i in range(steps):
                    carry, _ = step(carry, normals[i])
            elif loop == "checkpoint":
                stretch = jax.checkpoint(functools.partial(jax.lax.scan, step))
                carry, _ = jax.lax.scan(stretch, carry, normals.reshape(-1, JAX_STRETCH))
            else:
                carry, _ = jax.lax.scan(step, carry, normals)
            _, total, *alive = carry
            payoff = jnp.exp(-rate * YEARS) * jnp.maximum(total / steps - strike, 0.0)
            return jnp.where(alive[0] > 0.0, payoff, 0.0) if option.knock_out else payoff

        by_path = jax.value_and_grad(path, argnums=BY_PARAMETERS)

        def blocks(spot: Any, strike: Any, rate: Any, vol: Any, normals: Any) -> Any:
            def each(row: Any) -> Any:
                return by_path(spot, strike, rate, vol, row)

            return jax.lax.map(each, normals, batch_size=JAX_BLOCK)

        def build() -> Program:
            program = jax.vmap(by_path, in_axes=PER_PATH)
            if loop == "blocks":
                program = jax.shard_map(
                    blocks, mesh=mesh, in_specs=(*[everywhere] * 4, by_paths), out_specs=by_paths,
                    check_vma=False,
                )  # fmt: skip
            compiled = jax.jit(program)
            return Program(lambda: jax.block_until_ready(compiled(*parameters, normals)))

        return build

    return load


def load_torch(option: Option) -> Callable[[Setting], Build]:
    """PyTorch: arrays of paths, step by step; parameters repeated for gradients of each path."""

    def load(setting: Setting) -> Build:
        torch: Any = import_module("torch")
        steps = setting.size
        normals = torch.from_numpy(option.normals(steps))
        dt = YEARS / steps

        def run() -> Any:
            parameters = [
                torch.full((option.paths,), number, dtype=torch.float64, requires_grad=True)
                for number in PARAMETERS
            ]
            spot, strike, rate, vol = parameters
            drift, scale = (rate - 0.5 * vol * vol) * dt, vol * math.sqrt(dt)
            s, total = spot, torch.zeros_like(spot)
            for z in normals.t().contiguous().unbind():
                s = s * torch.exp(torch.addcmul(drift, scale, z))
                total = total + s
            value = torch.exp(-rate * YEARS) * torch.relu(total / steps - strike)
            return value.detach(), *torch.autograd.grad(value.sum(), parameters)

        return lambda: Program(run)

    return load


def load_casadi(option: Option, jit: bool = False) -> Callable[[Setting], Build]:
    """CasADi: one path of SX scalars, mapped over paths; its virtual machine, or C code."""

    def load(setting: Setting) -> Build:
        casadi: Any = import_module("casadi")
        steps, threads = setting
        normals = option.normals(steps)
        columns = [np.full(option.paths, number) for number in PARAMETERS]
        dt = YEARS / steps

        def build() -> Program:
            parameters = casadi.SX.sym("parameters", 4)
            spot, strike, rate, vol = casadi.vertsplit(parameters)
            drift, scale = (rate - 0.5 * vol * vol) * dt, vol * math.sqrt(dt)
            each = casadi.SX.sym("normals", steps)
            s, total = spot, casadi.SX(0.0)
            for z in casadi.vertsplit(each):
                s = s * casadi.exp(drift + scale * z)
                total = total + s
            value = casadi.exp(-rate * YEARS) * casadi.fmax(total / steps - strike, 0.0)
            results = [value, casadi.gradient(value, parameters)]
            path = casadi.Function("path", [parameters, each], results, JIT if jit else {})
            kind = ("serial",) if threads == 1 else ("thread", threads)
            mapped = path.map(option.paths, *kind)
            inputs = [np.stack(columns, axis=1), normals]
            outputs = [np.empty(option.paths), np.empty((option.paths, 4))]

            def arrays(results: Any) -> list[Array]:
                value, gradient = results
                return [value, *gradient.T]

            return Program(in_place(mapped, inputs, outputs), arrays)

        return build

    return load
