"""compile: operations that it does not know, and what they read from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest

import chainrule as cr
from chainrule import Operation, grad, hessian, vmap
from chainrule import math as cm
from chainrule.backends.llvm.vector_math import called_back

FACTOR = 2.0
FACTORS = {"k": 2.0}


def _factor() -> float:
    return FACTOR


class Doubling:
    """Its method is the value of an operation."""

    def __init__(self) -> None:
        self.k = 2.0

    def __call__(self, x: float) -> float:
        """The value."""
        return self.k * x

    def value(self, x: float) -> float:
        """The value."""
        return self.k * x


DOUBLING = Doubling()
OPERATIONS = {
    "global": Operation("f", lambda x: FACTOR * x, [lambda y, x: FACTOR]),
    "dict": Operation("f", lambda x: FACTORS["k"] * x, [lambda y, x: FACTORS["k"]]),
    "function": Operation("f", lambda x: _factor() * x, [lambda y, x: _factor()]),
    "method": Operation("f", DOUBLING.value, [lambda y, x: DOUBLING.k]),
    "object": Operation("f", DOUBLING, [lambda y, x: DOUBLING.k]),
    "several": Operation("f", lambda x: FACTOR * x, lambda y, *xs: [FACTOR for _ in xs]),
    "partial": Operation("f", partial(lambda d, x: d["k"] * x, FACTORS), [lambda y, x: _factor()]),
}


@pytest.fixture
def factors() -> Iterator[Callable[[float], None]]:
    """Sets what the operations read."""

    def put(k: float) -> None:
        global FACTOR
        FACTOR = FACTORS["k"] = DOUBLING.k = k

    put(2.0)
    yield put
    put(2.0)


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_an_operation_reads_is_live(name: str, factors: Callable[[float], None]) -> None:
    """Its value and its gradient go by the same numbers."""
    operation = OPERATIONS[name]
    both = cr.compile(cr.value_and_grad(lambda x: operation(x) + 1.0))
    slope = cr.compile(grad(lambda x: operation(x) + 1.0))
    lanes = cr.compile(vmap(cr.value_and_grad(lambda x: operation(x) if x > 0 else -operation(x))))
    for k in (2.0, 5.0, 2.0, 7.0):
        factors(k)
        assert both(3.0) == (3.0 * k + 1.0, k)
        assert slope(3.0) == k
        assert [array.tolist() for array in lanes(np.array([1.0, -1.0]))] == [[k, k], [k, -k]]


def test_an_operation_that_hides_what_it_reads() -> None:
    """It runs eagerly."""
    numbers = (float(i) for i in range(9))
    operation = Operation("f", lambda x: x + 0.0 * (numbers is None), [lambda y, x: 1.0])
    f = cr.compile(grad(lambda x: operation(x) * 2.0))
    with pytest.warns(RuntimeWarning, match="the operation f reads generator .* can't be seen"):
        assert f(1.0) == 2.0


def test_a_row_of_the_table_alone_compiles() -> None:
    """With its derivatives, on lanes and with guards on it; in Python what is no expression."""
    row = cr.rules._row
    cube = row("test_cube", lambda x: x * x * x, [lambda y, x: 3.0 * x * x])
    root = row("test_root", lambda x: cm.hypot(x, 1.0) - x, [lambda y, x: x / (y + x) - 1.0])
    total = row("test_total", lambda *xs: sum(xs), lambda y, *xs: [1.0] * len(xs))
    assert [called_back(operation) for operation in (cube, root, total)] == [False, False, True]
    try:
        f = hessian(
            lambda x: cube(x[0]) * total(*x) if cube(x[1]) > 1.0 else cm.exp(cube(root(x[0])))
        )
        for x in (np.array([0.5, 2.0]), np.array([0.5, 0.1])):
            assert cr.compile(f)(x) == pytest.approx(f(x), rel=1e-14)
        g = vmap(cr.value_and_grad(lambda x: cube(x) if total(x, x) > 1.0 else x))
        for one, other in zip(cr.compile(g)(np.arange(9.0)), g(np.arange(9.0)), strict=True):
            assert one.tolist() == other.tolist()
    finally:
        for name in ("test_cube", "test_root", "test_total"):
            del cr.rules.OPERATIONS[name]
