"""Compiled loops whose iterations run again in the reverse pass, and arrays that are contracted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from numpy.testing import assert_allclose
from test_lax import check
from test_loop_programs import rolling

from chainrule import (
    checkpointing,
    compile,
    grad,
    hessian,
    jacrev,
    jvp,
    lax,
    math,
    value_and_grad,
    vmap,
)
from chainrule.backends.llvm import contraction
from chainrule.backends.llvm.kernel import Kernel
from chainrule.checkpointing import Plan
from chainrule.math import sin
from chainrule.program.verifier import verify

WAYS: list[Any] = [1, 2, 3, 7, 1000, "binomial", ("binomial", 1), ("binomial", 9)]


def end(a: Any, x: Any, checkpoint: Any = None) -> Any:
    """A loop with a number and an array as carries, another one in it, and something left."""

    def step(carry: Any, z: Any) -> Any:
        level, u = carry
        inner = lax.fori_loop(
            0, 5, lambda i, v: v - 0.1 * sin(a * v + i), level, checkpoint=checkpoint
        )
        u = numpy.append(u[1:], 0.5 * u[0] * inner + z)
        return (0.9 * inner + 0.1 * u.sum(), u), inner * z

    (level, u), left = lax.scan(step, (a, x[:3]), x, checkpoint=checkpoint)
    return level + (u * u).sum() + 0.1 * left.sum()


@pytest.mark.parametrize("length", [4, 5, 12, 23])
def test_values_and_derivatives(length: int) -> None:
    """However often iterations run again, all is as without, to second order and over lanes."""
    x = numpy.linspace(-1.0, 1.0, length)
    transforms: list[Callable[..., Any]] = [
        lambda f: f,
        lambda f: grad(f, argnums=(0, 1)),
        lambda f: lambda a, x, way: jvp(lambda a: f(a, x, way), (a,), (1.0,)),
    ]
    if length in (5, 12):  # with iterations left over and without
        transforms += [hessian, lambda f: grad(grad(f))]
    for transform in transforms:
        expected = transform(end)(0.7, x, None)
        compiled = compile(transform(end))
        for way in WAYS:
            for found, known in zip(_leaves(compiled(0.7, x, way)), _leaves(expected), strict=True):
                assert_allclose(found, known, rtol=1e-10, atol=1e-13, err_msg=str(way))
    lanes = numpy.linspace(0.3, 0.9, 11)
    mapped = compile(vmap(grad(end), in_axes=(0, None, None)))
    for way in WAYS:
        assert_allclose(mapped(lanes, x, way), [grad(end)(a, x) for a in lanes], rtol=1e-10)


@pytest.mark.parametrize("way", WAYS)
def test_reverse_passes_in_a_loop(way: Any) -> None:
    """Where reverse passes through one are iterations of a loop, each has what it adds up."""
    for length in (5, 12):
        x = numpy.linspace(-1.0, 1.0, length)
        expected = jacrev(grad(end, 1), 1)(0.7, x)
        with rolling(True):
            compiled = compile(jacrev(grad(end, 1), 1))
            assert_allclose(compiled(0.7, x, way), expected, rtol=1e-10, atol=1e-13)
        for program in compiled.programs():
            verify(program)


def _leaves(tree: Any) -> list[Any]:
    return [y for x in tree for y in _leaves(x)] if isinstance(tree, tuple) else [tree]


@pytest.mark.parametrize("seed", range(12))
def test_random_programs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every loop runs again, and every array is contracted that can be, all is the same."""
    monkeypatch.setattr(contraction, "LEAST", 0)
    monkeypatch.setattr(checkpointing, "LONG", 4)
    monkeypatch.setattr(checkpointing, "USUAL", range(2, 4))
    with rolling(seed % 2 == 1):
        check(1000 + seed)


def memory(transform: Any, steps: int, way: Any, lanes: bool) -> int:
    """The bytes of the workspace of a derivative, over lanes or at a single point."""

    def f(a: Any, steps: int, way: Any) -> Any:
        def step(x: Any, _: Any) -> Any:
            return x - 0.001 * sin(a * x) * sin(x), None

        return lax.scan(step, a, None, steps, checkpoint=way)[0]

    derived = transform(f)
    compiled = compile(vmap(derived, in_axes=(0, None, None)) if lanes else derived)
    compiled(numpy.linspace(0.3, 0.9, 8) if lanes else 0.3, steps, way)
    return Kernel(compiled.programs()[0], [False], lanes)._loaded.code.size


@pytest.mark.parametrize("lanes", [True, False])
@pytest.mark.parametrize("transform", [value_and_grad, hessian, lambda f: grad(grad(f))])
def test_memory(transform: Any, lanes: bool) -> None:
    """It is that of the iterations between two checkpoints, and of these."""
    everything = memory(transform, 40_000, 40_000, lanes)
    assert memory(transform, 40_000, 200, lanes) < everything / 30
    few = memory(transform, 40_000, "binomial", lanes)
    assert few < everything / 100
    assert memory(transform, 160_000, "binomial", lanes) < 3 * few


def test_nests() -> None:
    """All iterations but few are in a nest, which keeps as much as is said or little more."""
    for length in [*range(4, 200), 1000, 12345, 10**6, 10**7]:
        for way in WAYS:
            plan = Plan(way, "scan", length)
            nest = plan.nest(length)
            inside = int(numpy.prod(nest))
            assert 0 <= length - inside < max(2, inside // nest[0])
            if plan.every and plan.every < length:
                assert nest[1:] == (plan.every,)
            if way == "binomial" and length > 1000:
                assert sum(nest) <= plan.carries
                assert len(nest) <= checkpointing.REPETITIONS + 2


def test_long_loops() -> None:
    """What is said of no loop runs again where it is very long."""
    assert checkpointing.usual_nest(10_000) == (10_000,)
    every = checkpointing.usual_nest(10**6)
    assert every == (1000, 1000)
    for length in (checkpointing.LONG, 10**6 + 3, 7919 * 1000 + 1):
        outer, inner = checkpointing.usual_nest(length)
        assert length - outer * inner < inner in checkpointing.USUAL


INDICES = [
    (
        "x",
        "math.floor(4.0 * carry) % 4",
        "0.6 * carry + 0.1 * entry",
    ),  # of a carry
    ("x", "math.floor(4.0 * row) % 4", "0.6 * carry + 0.1 * entry * row"),  # of what is read
    ("x", "math.floor(4.0 * x) + 1", "0.6 * carry + 0.1 * entry"),  # of one from outside
    ("math.floor(3.0 * x)", "carry", "(carry + math.ceil(entry)) % 4"),  # whole itself
    ("math.floor(3.0 * x)", "(carry - 1) // 2", "round(3.0 * x + entry) % 4"),
]


@pytest.mark.parametrize(("first", "index", "after"), INDICES)
def test_indices(first: str, index: str, after: str) -> None:
    """Eagerly what is an index without checkpoints is one with them: forwards and backwards."""

    def loop(x: Any, table: Any, rows: Any, way: Any) -> Any:
        def step(carry: Any, row: Any) -> Any:
            entry = table[eval(index, {"math": math}, {"carry": carry, "row": row, "x": x})]
            given = {"carry": carry, "entry": entry, "row": row, "x": x}
            return eval(after, {"math": math}, given), entry * row * x

        start = eval(first, {"math": math}, {"x": x})
        carry, left = lax.scan(step, start, rows, checkpoint=way)
        return carry * x + (left * left).sum()

    point = 0.41, numpy.array([0.3, 1.1, -0.7, 0.4]), numpy.linspace(-0.9, 1.3, 11)
    gradient = value_and_grad(loop, argnums=(0, 1, 2))
    expected = gradient(*point, None)
    for way in WAYS:
        found = gradient(*point, way)
        for one, other in zip(_leaves(found), _leaves(expected), strict=True):
            assert_allclose(one, other, rtol=1e-12, atol=1e-15, err_msg=str(way))
