"""The Asian option with an adjoint written by hand, in NumPy and in C."""

from __future__ import annotations

import ctypes
import math
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from compiled_cases.asian_option import BARRIER, PARAMETERS, YEARS, Option
from compiled_cases.common import Array, Build, Program, Setting

SOURCE = Path(__file__).resolve().parent.parent / "adjoint.c"
# No fast-math and no contraction, like the others; errno would keep exp out of vectors.
FLAGS = ["-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fopenmp"]
PATHS_AT_ONCE = 256  # what NumPy works on stays in the processor's cache


def adjoint(option: Option, normals: Array) -> Array:
    """The value and the gradient by spot, strike, rate and volatility: five rows of paths."""
    spot, strike, rate, vol = PARAMETERS
    paths, steps = normals.shape
    dt = YEARS / steps
    drift, scale = (rate - 0.5 * vol * vol) * dt, vol * math.sqrt(dt)
    discount = math.exp(-rate * YEARS)
    z = np.ascontiguousarray(normals.T)
    growth = np.exp(drift + scale * z)
    prices = np.empty_like(growth)
    s = np.full(paths, spot)
    for i in range(steps):
        s = np.multiply(s, growth[i], out=prices[i])
    excess = prices.sum(axis=0) / steps - strike
    paid = excess > 0.0
    if option.knock_out:
        paid &= prices.max(axis=0) <= BARRIER
    value = np.where(paid, discount * excess, 0.0)

    share = np.where(paid, discount / steps, 0.0)
    s_bar, drift_bar, scale_bar = np.zeros((3, paths))
    for i in reversed(range(steps)):
        s_bar += share
        exponent_bar = s_bar * prices[i]
        drift_bar += exponent_bar
        exponent_bar *= z[i]
        scale_bar += exponent_bar
        s_bar *= growth[i]
    by_rate = drift_bar * dt - YEARS * value
    by_vol = scale_bar * math.sqrt(dt) - drift_bar * vol * dt
    return np.stack([value, s_bar, np.where(paid, -discount, 0.0), by_rate, by_vol])


def expected(option: Option) -> Callable[[int], list[Array]]:
    """The right results, by a number of steps."""
    return lambda steps: list(adjoint(option, option.normals(steps)))


def load_numpy(option: Option) -> Callable[[Setting], Build]:
    """NumPy: some paths at a time, threads sharing them."""

    def load(setting: Setting) -> Build:
        normals = option.normals(setting.size)
        parts = range(0, option.paths, PATHS_AT_ONCE)
        pool = ThreadPoolExecutor(setting.threads)

        def part(first: int) -> Array:
            return adjoint(option, normals[first : first + PATHS_AT_ONCE])

        def run() -> Any:
            each = map(part, parts) if setting.threads == 1 else pool.map(part, parts)
            return np.concatenate(list(each), axis=1)

        return lambda: Program(run, list)

    return load


def load_c(option: Option) -> Callable[[Setting], Build]:
    """adjoint.c, compiled into the working directory."""

    def load(setting: Setting) -> Build:
        steps, threads = setting
        normals = option.normals(steps)
        parameters = np.array([*PARAMETERS, YEARS, BARRIER])

        def build() -> Program:
            library = Path("adjoint.so").resolve()
            command = ["cc", *FLAGS, "-shared", "-fPIC", str(SOURCE), "-o", str(library)]
            subprocess.run([*command, "-lm"], check=True)
            function = ctypes.CDLL(str(library)).adjoint
            array, number = np.ctypeslib.ndpointer(np.float64, flags="C"), ctypes.c_long
            function.argtypes = [
                array, ctypes.c_int, array, number, number, ctypes.c_int, array, array
            ]  # fmt: skip

            def run() -> Any:
                value, gradient = np.empty(option.paths), np.empty((4, option.paths))
                if function(
                    parameters, option.knock_out, normals, option.paths, steps, threads,
                    value, gradient,
                ):  # fmt: skip
                    raise MemoryError
                return value, *gradient

            return Program(run)

        return build

    return load
