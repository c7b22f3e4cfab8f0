"""Random programs with loops: eager, compiled, over lanes, and by second-order power series.

``python tests/test_loop_programs.py 10000`` checks so many; ``CHAINRULE_LOOPS=500`` does in the
tests. A failure names the seed of its program: ``python tests/test_loop_programs.py 1 SEED``.

Programs so small are compiled without loops by themselves; of every other seed all loops stay that
there are, down to the smallest. One function gives all derivatives, over lanes and at a point. Each
nineteenth may be larger, and each of its derivatives is compiled alone as well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from loop_programs import FUNCTIONS, LoopProgram, loop_program
from second_order import FUNCTIONS as OF_SERIES
from second_order import Second, Unclear, second_variables

import chainrule as cr
from chainrule.engine import COMPILED
from chainrule.passes import grammar, nest, roll
from chainrule.rewriting import once

PROGRAMS = int(os.environ.get("CHAINRULE_LOOPS", "60" if COMPILED else "10"))
TOLERANCE = 1e-8


LIMITS = (
    *((roll, "SHORT"), (roll, "SHARE"), (grammar, "WORTH"), (nest, "UNROLLED")),
    (once, "LIMIT"),
)
LOOPS = ((0, 0.0, 8, 24, 0), (0, 0.0, 1, 0, once.LIMIT))
"""What the limits are where loops stay: if they save something, and always.

For the first, one iteration is traced of all loops that may be.
"""
CHAOTIC = 1e6
"""Second derivatives that make what is rounded visible."""
DETAILED = 19
"""Of as many programs, one is checked in all ways."""
EVERY = (0, 1, 2)
DIRECTION = np.array([0.3, -1.2, 0.7])


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


def made(seed: int) -> LoopProgram:
    """The program of a seed."""
    return loop_program(seed, large=seed % DETAILED == 0)


def differences(program: LoopProgram) -> list[str]:
    """What is not right, in words."""
    g = program.function(OF_SERIES)
    series = [(point, _expected(g, point)) for point in program.points]
    clear = [(point, found) for point, found in series if found is not None]
    if not clear:
        return []
    with rolling(program.seed):
        check = _Check(program, [point for point, _ in clear], [found for _, found in clear])
        check.eagerly()
        check.together()
        if program.seed % DETAILED == 0:
            check.alone()
    return check.found


def _expected(g: Any, point: Any) -> tuple[float, Any, Any] | None:
    """Value, gradient and Hessian, if rounding does not decide them and they are not too large."""
    try:
        y = g(*second_variables(*point))
    except (Unclear, OverflowError):
        return None
    if not isinstance(y, Second):
        return float(y), np.zeros(3), np.zeros((3, 3))
    return (y.value, y.gradient, y.hessian) if np.abs(y.hessian).max() < CHAOTIC else None


class _Check:
    """Looks at a program in several ways, at points where its derivatives are known."""

    def __init__(self, program: LoopProgram, points: Any, expected: Any) -> None:
        f = self.f = program.function(FUNCTIONS)
        self.points = points
        self.seed = program.seed
        self.values, self.gradients, self.hessians = zip(*expected, strict=True)
        self.found: list[str] = []
        self.of_array = lambda p: f(p[0], p[1], p[2])

    def check(self, what: str, actual: Any, wanted: Any) -> None:
        if not np.allclose(actual, wanted, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
            self.found.append(f"{what}: {actual} instead of {wanted}")

    def eagerly(self) -> None:
        """On floats and nodes."""
        for k, point in enumerate(self.points):
            self.check("value of floats", self.f(*point), self.values[k])
            self.check("eager gradient", cr.grad(self.f, EVERY)(*point), self.gradients[k])
        hessian = cr.hessian(self.of_array)(np.array(self.points[0]))
        self.check("eager Hessian", hessian, self.hessians[0])

    def together(self) -> None:
        """One compiled function that gives everything, over lanes and at a point."""
        f = self.of_array

        def derivatives(p: Any, d: Any) -> Any:
            return cr.value_and_grad(f)(p), cr.hessian(f)(p), cr.hvp(f, (p,), (d,))

        (values, gradients), hessians, products = cr.compile(cr.vmap(derivatives, (0, None)))(
            np.array(self.points), DIRECTION
        )
        self.check("values of lanes", values, self.values)
        self.check("gradients of lanes", gradients, self.gradients)
        self.check("Hessians of lanes", hessians, self.hessians)
        self.check("hvp of lanes", products, np.array(self.hessians) @ DIRECTION)
        k = self.seed % len(self.points)
        (value, gradient), hessian, product = cr.compile(derivatives)(
            np.array(self.points[k]), DIRECTION
        )
        self.check("value, with derivatives", value, self.values[k])
        self.check("gradient, with derivatives", gradient, self.gradients[k])
        self.check("Hessian, with derivatives", hessian, self.hessians[k])
        self.check("hvp, with derivatives", product, self.hessians[k] @ DIRECTION)

    def alone(self) -> None:
        """Each derivative compiled by itself."""
        value = cr.compile(self.f)
        first = cr.compile(cr.value_and_grad(self.f, EVERY))
        second = cr.compile(cr.hessian(self.of_array))
        product = cr.compile(lambda p, d: cr.hvp(self.of_array, (p,), (d,)))
        k = self.seed % len(self.points)
        point = self.points[k]
        p = np.array(point)
        self.check("compiled value", value(*point), self.values[k])
        y, slopes = first(*point)
        self.check("value with gradient", y, self.values[k])
        self.check("compiled gradient", slopes, self.gradients[k])
        self.check("compiled Hessian", second(p), self.hessians[k])
        self.check("compiled hvp", product(p, DIRECTION), self.hessians[k] @ DIRECTION)
        lanes = cr.compile(cr.vmap(cr.value_and_grad(self.f, EVERY)))
        values, slopes = lanes(*np.array(self.points).T)
        self.check("values of lanes alone", values, self.values)
        self.check("gradients of lanes alone", np.array(slopes).T, self.gradients)


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_loop_programs(seed: int) -> None:
    """Eager, compiled and over lanes it is what the series say."""
    program = made(seed)
    assert not differences(program), program.source


def test_directional_derivatives_of_what_all_iterations_read() -> None:
    """A tangent reaches sums of shared elements: the loop derived again asks in which instances."""

    def f(x: Any, y: Any, steps: int) -> Any:
        for _ in range(steps):

            def inner(t: Any) -> Any:
                t = cr.math.sin(t) + 0.5 * t
                return cr.math.exp(-(y + x) * (y + x)) * t

            value, slope = cr.jvp(inner, (x,), (1.0,))
            last = cr.math.tanh(value - 0.5 * slope)
        return last

    for seed, steps in ((3, 2), (0, 50)):
        with rolling(seed):
            gradient = cr.compile(cr.grad(f, (0, 1)))(0.9, -0.6, steps)
        np.testing.assert_allclose(gradient, cr.grad(f, (0, 1))(0.9, -0.6, 1), rtol=1e-12)


def check_many(what: str, make: Callable[[int], Any], differences: Callable[[Any], Any]) -> None:
    """Check as many programs as the first argument says, from the seed in the second on."""
    count, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    wrong = 0
    for seed in range(first, first + count):
        program = make(seed)
        try:
            found = differences(program)
        except Exception as error:
            found = [f"{type(error).__name__}: {error}"]
        if found:
            wrong += 1
            print(f"seed {seed}\n{program.source}")
            print("\n".join(found), flush=True)
    print(f"{count} programs with {what}: {wrong} of them wrong")


if __name__ == "__main__":
    check_many("loops", made, differences)
