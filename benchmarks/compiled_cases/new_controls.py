"""The particle of GradBench from controls that are new in each call: loops of other lengths."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from gradbench import particle
from gradbench.descent import SMALL

from compiled_cases.common import Array, Build, Case, Peer, Program, Setting

AT_ONCE = 10
"""New controls in a run; after them comes one that is the same in all."""
STEP = 0.004


def functional(cr: Any, cm: Any) -> Callable[..., Any]:
    """The same as :func:`gradbench.particle.loops`, by loops that are functions."""

    def potential(position: Any, w: Any) -> Any:
        x, y = position
        near = cm.sqrt((x - 10.0) * (x - 10.0) + (y - 10.0 + w) * (y - 10.0 + w))
        far = cm.sqrt((x - 10.0) * (x - 10.0) + y * y)
        return 1.0 / near + 1.0 / far

    def squared_miss(w: Any) -> Any:
        def ahead(state: Any) -> Any:
            x, y, across, down = state
            slopes = cr.grad(potential)([x, y], w)
            x, y = x + particle.STEP * across, y + particle.STEP * down
            pushed = across - particle.STEP * slopes[0], down - particle.STEP * slopes[1]
            return x, y, cm.where(y > 0.0, pushed[0], across), cm.where(y > 0.0, pushed[1], down)

        first = (0.0, 8.0, 0.75, 0.0)
        x, y, across, down = cr.lax.while_loop(lambda state: state[1] > 0.0, ahead, first)
        crossing = x - y / down * across
        return crossing * crossing

    value_and_slope = cr.value_and_grad(squared_miss)

    def tried(state: Any) -> Any:
        x, value, slope, step, streak, _ = state
        ahead = x - step * slope
        near = abs(x - ahead) <= SMALL
        new_value, new_slope = value_and_slope(ahead)
        better = (new_value < value) & ~near
        return (
            cm.where(better, ahead, x),
            cm.where(better, new_value, value),
            cm.where(better, new_slope, slope),
            cm.where(better | near, step, 0.5 * step),
            cm.where(better, streak + 1.0, 0.0),
            cm.where(near | (abs(cm.where(better, new_slope, slope)) <= SMALL), 1.0, 0.0),
        )

    def one_step(state: Any) -> Any:
        x, value, slope, step, _, ended = state
        grown = (x, value, slope, 2.0 * step, 0.0, ended)
        return cr.lax.cond(state[4] == 10.0, lambda: grown, lambda: tried(state))

    def control(w: Any) -> Any:
        value, slope = value_and_slope(w)
        ended = cm.where(abs(slope) <= SMALL, 1.0, 0.0)
        first = (w, value, slope, 1e-5, 0.0, ended)
        return cr.lax.while_loop(lambda state: state[5] == 0.0, one_step, first)[0]

    return control


def _repeated(call: Callable[[float], Any]) -> Callable[[], Any]:
    """A run: some new controls, and the one of which the result is known."""
    new = (STEP * k for k in itertools.count(1))

    def run() -> Any:
        for w in itertools.islice(new, AT_ONCE):
            call(0.2 + w % 0.8)
        return call(0.2)

    return run


def _load(loops: Callable[..., Any]) -> Callable[[Setting], Build]:
    """chainrule, with loops of a kind."""

    def load(setting: Setting) -> Build:
        chainrule: Any = import_module("chainrule")
        import_module("chainrule.lax")
        control = loops(chainrule, import_module("chainrule.math"))

        def build() -> Program:
            compiled = chainrule.compile(control, threads=setting.threads)
            return Program(_repeated(compiled), stats=compiled.stats)

        return build

    return load


def load_jax(setting: Setting) -> Build:
    """JAX: loops of its own."""
    jax: Any = import_module("jax")
    control = particle.arrays(jax, import_module("jax.numpy"))

    def build() -> Program:
        compiled = jax.jit(control)
        return Program(_repeated(lambda w: jax.block_until_ready(compiled(w))))

    return build


def load_by_hand(setting: Setting) -> Build:
    """Plain numbers, the derivative carried along by hand."""
    return lambda: Program(_repeated(particle.by_hand))


def expected(size: int) -> list[Array]:
    """The right result of the control that comes again."""
    return [np.array([particle.by_hand(0.2)])]


CASE = Case(
    title="the control of GradBench's particle from ever new controls",
    expected=expected,
    peers={
        "chainrule": Peer("chainrule, plain loops", "chainrule", _load(particle.loops)),
        "lax": Peer("chainrule, lax.while_loop", "chainrule", _load(functional)),
        "python": Peer("Python by hand", None, load_by_hand),
        "jax": Peer("JAX, arrays", "jax", load_jax),
    },
    size_name="controls in a run",
    sizes=(AT_ONCE + 1,),
    unit="control",
    units=lambda size: size,
)
