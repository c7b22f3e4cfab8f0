"""Random programs with loops: eager, compiled, over lanes, and by second-order power series.

``python tests/test_loop_programs.py 10000`` checks so many; ``CHAINRULE_LOOPS=500`` does in the
tests. A failure names the seed of its program: ``python tests/test_loop_programs.py 1 SEED``.

Programs so small are compiled without loops by themselves; of every other seed all loops stay that
there are, down to the smallest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from loop_programs import LoopProgram, loop_program
from second_order import FUNCTIONS, Second, second_variables

import chainrule as cr
from chainrule import math as crmath
from chainrule.engine import COMPILED
from chainrule.passes import grammar, nest, roll

PROGRAMS = int(os.environ.get("CHAINRULE_LOOPS", "60" if COMPILED else "10"))
TOLERANCE = 1e-8


LIMITS = ((roll, "SHORT"), (roll, "SHARE"), (grammar, "WORTH"), (nest, "UNROLLED"))
LOOPS = ((0, 0.0, 8, 24), (0, 0.0, 1, 0))
"""What the limits are where loops stay: if they save something, and always."""
CHAOTIC = 1e6
"""Second derivatives that make what is rounded visible."""


@contextmanager
def rolling(seed: int) -> Iterator[None]:
    """Loops as the seed says: few, or all."""
    usual = [getattr(module, name) for module, name in LIMITS]
    chosen = LOOPS[seed // 2 % 2] if seed % 2 else usual
    try:
        for (module, name), limit in zip(LIMITS, chosen, strict=True):
            setattr(module, name, limit)
        yield
    finally:
        for (module, name), limit in zip(LIMITS, usual, strict=True):
            setattr(module, name, limit)


def differences(program: LoopProgram) -> list[str]:
    """What is not right, in words."""
    with rolling(program.seed):
        return _differences(program)


def _differences(program: LoopProgram) -> list[str]:
    f = program.function({name: getattr(crmath, name) for name in FUNCTIONS})
    g = program.function(FUNCTIONS)
    every = (0, 1, 2)
    of_first = cr.compile(cr.value_and_grad(f, argnums=every))
    of_second = cr.compile(cr.hessian(lambda p: f(p[0], p[1], p[2])))
    product = cr.compile(lambda p, d: cr.hvp(lambda q: f(q[0], q[1], q[2]), (p,), (d,)))
    points = []
    expected = []
    for point in program.points:
        series = _expected(g, point)
        if not np.abs(series[2]).max() >= CHAOTIC:
            points.append(point)
            expected.append(series)
    if not points:
        return []
    found: list[str] = []

    def check(what: str, actual: Any, wanted: Any) -> None:
        if not np.allclose(actual, wanted, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
            found.append(f"{what}: {actual} instead of {wanted}")

    for point, (value, gradient, hessian) in zip(points[:4], expected, strict=False):
        check("eager gradient", cr.grad(f, argnums=every)(*point), gradient)
        y, slopes = of_first(*point)
        check("compiled value", y, value)
        check("compiled gradient", slopes, gradient)
        p = np.array(point)
        check("compiled Hessian", of_second(p), hessian)
        d = np.array([0.3, -1.2, 0.7])
        check("compiled hvp", product(p, d), hessian @ d)
    point = points[0]
    check(
        "eager Hessian", cr.hessian(lambda p: f(p[0], p[1], p[2]))(np.array(point)), expected[0][2]
    )
    lanes = cr.compile(cr.vmap(cr.value_and_grad(f, argnums=every)))
    values, slopes = lanes(*np.array(points).T)
    check("values of lanes", values, [value for value, _, _ in expected])
    check("gradients of lanes", np.array(slopes).T, [gradient for _, gradient, _ in expected])
    return found


def _expected(g: Any, point: Any) -> tuple[float, Any, Any]:
    y = g(*second_variables(*point))
    if isinstance(y, Second):
        return y.value, y.gradient, y.hessian
    return float(y), np.zeros(3), np.zeros((3, 3))


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_loop_programs(seed: int) -> None:
    """Eager, compiled and over lanes it is what the series say."""
    program = loop_program(seed)
    assert not differences(program), program.source


def main() -> None:
    """Check many programs."""
    count, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    wrong = 0
    for seed in range(first, first + count):
        program = loop_program(seed)
        try:
            found = differences(program)
        except Exception as error:
            found = [f"{type(error).__name__}: {error}"]
        if found:
            wrong += 1
            print(f"seed {seed}\n{program.source}")
            print("\n".join(found))
    print(f"{count} programs with loops: {wrong} of them wrong")


if __name__ == "__main__":
    main()
