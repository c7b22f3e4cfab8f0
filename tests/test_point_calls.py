# ruff: noqa: D103
"""The engine's call of machine code for a point is a twin of the driver's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import chainrule.math as cm
from chainrule import Operation, compile, value_and_grad
from chainrule.backends.llvm import kernel
from chainrule.engine import ENGINE


@pytest.fixture(params=["driver", "engine"])
def caller(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Who calls machine code."""
    if request.param == "engine" and ENGINE is None:
        pytest.skip("the engine is Python")
    monkeypatch.setattr(kernel, "ENGINE", ENGINE if request.param == "engine" else None)
    kernel._call_function.cache_clear()
    yield request.param
    kernel._call_function.cache_clear()


def chained(xs: Any) -> Any:
    total = 0.0
    for x, y in itertools.pairwise(xs):
        total = total + cm.sin(x) * y
    return total


# Small workspaces lie on the stack, larger ones do not.
@pytest.mark.parametrize("size", [2, 3, 40, 700, 9000])
def test_values_and_gradients(caller: str, size: int) -> None:
    xs = np.random.default_rng(size).normal(size=size).tolist()
    value, slopes = compile(value_and_grad(chained))(xs)
    wanted, expected = value_and_grad(chained)(xs)
    np.testing.assert_allclose(value, wanted, rtol=1e-12)
    np.testing.assert_allclose(slopes, expected, rtol=1e-12, atol=1e-14)


def test_guards_that_fail_lead_to_other_paths(caller: str) -> None:
    def function(x: float, y: float) -> float:
        if x < y:
            return x * 2.0
        return y * x if x < 10.0 else 7.0

    compiled = compile(function)
    for x, y in [(1.0, 2.0), (3.0, 2.0), (30.0, 2.0), (1.0, 2.0), (3.0, 2.0)]:
        assert compiled(x, y) == function(x, y)


def test_operations_that_python_computes(caller: str) -> None:
    doubled = Operation("doubled", lambda x: 2.0 * x, (lambda y, x: 2.0,))
    compiled = compile(value_and_grad(lambda x: doubled(x) * x))
    assert compiled(3.0) == (18.0, 12.0)


def test_constants_and_inputs_among_results(caller: str) -> None:
    compiled = compile(lambda x, xs: (x, 5.0, xs[1], [x * 0.1, xs[0]]))
    assert compiled(2.0, [3.0, 4.0]) == (2.0, 5.0, 4.0, [0.2, 3.0])
