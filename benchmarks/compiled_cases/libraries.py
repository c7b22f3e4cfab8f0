"""Importing the libraries, and the first thing each of them does in a process.

Much of what a library does once in a process it does at its first use. So each is started with
something trivial before a problem is put to it, and the time that takes is reported by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def start_chainrule(threads: int) -> None:
    """Import chainrule and compile a function."""
    chainrule: Any = import_module("chainrule")
    chainrule.compile(chainrule.grad(lambda x: x * x))(2.0)


def start_jax(threads: int) -> None:
    """Import JAX, for double precision, and compile a function."""
    jax: Any = import_module("jax")
    jax.config.update("jax_enable_x64", True)
    jax.jit(jax.grad(lambda x: x * x))(2.0).block_until_ready()


def start_torch(threads: int) -> None:
    """Import PyTorch and differentiate a product."""
    torch: Any = import_module("torch")
    torch.set_num_threads(threads)
    x = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    (x * x).backward()


def start_casadi(threads: int) -> None:
    """Import CasADi and evaluate a gradient."""
    casadi: Any = import_module("casadi")
    x = casadi.SX.sym("x")
    casadi.Function("start", [x], [casadi.gradient(x * x, x)])(2.0)


STARTS: dict[str | None, Callable[[int], None]] = {
    "chainrule": start_chainrule,
    "jax": start_jax,
    "torch": start_torch,
    "casadi": start_casadi,
}
