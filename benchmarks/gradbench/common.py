"""A problem of GradBench as a case: in loops, arrays and tensors, and its derivative by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from compiled_cases.common import Array, Build, Case, Peer, Program, Setting, flat


@dataclass(frozen=True)
class Problem:
    """What is differentiated, and the derivative that is asked for.

    Args:
        title: what is computed.
        data: the arguments for a size, the one differentiated first.
        loops: given ``chainrule`` and ``chainrule.math``, the derivative of a program in loops.
        arrays: given ``jax`` and ``jax.numpy``, the derivative of a program on arrays.
        tensors: given ``torch``, the derivative of a program on tensors.
        by_hand: the derivative from the arguments, derived and written by hand in NumPy.
        sizes: those measured.
        size_name: what the size counts.
        results: a derivative of chainrule as arrays in the order of ``by_hand``.
        slow: the peers that take seconds for a run.
    """

    title: str
    data: Callable[[int], tuple[Any, ...]]
    loops: Callable[[Any, Any], Callable[..., Any]]
    arrays: Callable[[Any, Any], Callable[..., Any]]
    tensors: Callable[[Any], Callable[..., Any]]
    by_hand: Callable[..., Any]
    sizes: tuple[int, ...]
    size_name: str
    results: Callable[[Any], list[Array]] = flat
    slow: tuple[str, ...] = ()

    def case(self) -> Case:
        """The problem as a case of the benchmark."""
        peers = {
            "chainrule": Peer("chainrule, plain loops", "chainrule", self._chainrule),
            "numpy": Peer("NumPy by hand", None, self._by_hand),
            "jax": Peer("JAX, arrays", "jax", self._jax),
            "torch": Peer("PyTorch, tensors", "torch", self._torch, slow="torch" in self.slow),
        }
        return Case(
            title=f"GradBench: {self.title}",
            expected=lambda size: flat(self.by_hand(*self.data(size))),
            peers=peers,
            size_name=self.size_name,
            sizes=self.sizes,
            unit="call",
            units=lambda size: 1,
        )

    def _chainrule(self, setting: Setting) -> Build:
        chainrule: Any = import_module("chainrule")
        derivative = self.loops(chainrule, import_module("chainrule.math"))
        data = self.data(setting.size)

        def build() -> Program:
            compiled = chainrule.compile(derivative, threads=setting.threads)
            return Program(lambda: compiled(*data), self.results, compiled.stats)

        return build

    def _jax(self, setting: Setting) -> Build:
        jax: Any = import_module("jax")
        jnp: Any = import_module("jax.numpy")
        derivative = self.arrays(jax, jnp)
        given = self.data(setting.size)
        static = [k for k, x in enumerate(given) if isinstance(x, int)]
        data = [x if k in static else jnp.asarray(x) for k, x in enumerate(given)]

        def build() -> Program:
            compiled = jax.jit(derivative, static_argnums=static)
            return Program(lambda: jax.block_until_ready(compiled(*data)))

        return build

    def _torch(self, setting: Setting) -> Build:
        torch: Any = import_module("torch")
        derivative = self.tensors(torch)
        given = self.data(setting.size)
        data = [x if isinstance(x, int) else torch.as_tensor(np.asarray(x)) for x in given]
        return lambda: Program(lambda: derivative(*data))

    def _by_hand(self, setting: Setting) -> Build:
        data = self.data(setting.size)
        return lambda: Program(lambda: self.by_hand(*data))
