"""Paths that differ in trip counts, sizes or constants share code, and nothing else changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import math as cm
from chainrule.backends.llvm import cache, shared
from chainrule.backends.llvm.machine import Machine
from chainrule.backends.llvm.shared import MOST_VERSIONS, SharedCode
from chainrule.jit import paths
from chainrule.passes import roll

COUNT = int(os.environ.get("CHAINRULE_LOOPS", "8"))
FIRST = int(os.environ.get("CHAINRULE_FIRST", "0"))


@pytest.fixture(autouse=True)
def every_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """All paths are compiled, with loops wherever there are any."""
    monkeypatch.setattr(paths.Paths, "pays", lambda self, prefix, runs=1: True)
    monkeypatch.setattr(paths, "FEW", 0)
    monkeypatch.setattr(paths, "TRIED", 1000)
    monkeypatch.setattr(paths, "MANY", 1000)
    monkeypatch.setattr(roll, "VARIED", (4, 0.1))


def generated(seed: int) -> Callable[[Any, Any], Any]:
    """A function with loops that end by its arguments, after up to some 30 iterations."""
    random = Random(seed)
    names = ["x", "s", "a", "b"]

    def term() -> str:
        p, q, r = (random.choice(names) for _ in range(3))
        return random.choice(
            [
                f"cm.sin({p} + {q})",
                f"cm.tanh({p} * {q})",
                f"0.5 * {p} - 0.25 * {q} / (1.0 + {r} * {r})",
                f"cm.where({p} < {q}, {r}, 0.5 * {p})",
                f"{p} * 0.9 + k * 0.01",
            ]
        )

    def assigned(indent: str, count: int) -> list[str]:
        return [f"{indent}{random.choice(names[1:])} = {term()}" for _ in range(count)]

    lines = ["def f(x, n):", "    s, a, b, k, kept = x, 0.5 * x, 0.1, 0, []", "    while k < n:"]
    lines += assigned("        ", random.randrange(1, 4))
    if random.random() < 0.5:
        lines += [f"        for _ in range({random.randrange(2, 5)}):"]
        lines += assigned("            ", random.randrange(1, 3))
    lines += ["        kept.append(s)", "        k += 1"]
    if random.random() < 0.6:
        limit = round(random.uniform(0.2, 2.0), 3)
        lines += [f"        if a * a > {limit} + 0.0 * k:", "            break"]
    if random.random() < 0.4:
        lines += ["    for y in kept[::-1]:", f"        b = {term()} + 0.1 * y"]
    if random.random() < 0.4:
        lines += ["    if k < 5:", "        return s * k"]
    lines += [f"    return s + a * b + {random.choice(['k', '1.0', 'kept[0] * kept[-1]'])}"]
    scope: dict[str, Any] = {"cm": cm}
    exec("\n".join(lines), scope)
    found: Callable[[Any, Any], Any] = scope["f"]
    return found


def of_order(f: Callable[..., Any], order: int) -> Any:
    """The function, its gradient or Hessian at each lane."""
    made: list[Callable[..., Any]] = [f, cr.value_and_grad(f), cr.hessian(f)]
    return cr.vmap(made[order])


def numbers(result: Any) -> Any:
    """A result as one array."""
    results = result if isinstance(result, tuple) else (result,)
    return np.concatenate([np.ravel(x) for x in results])


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
@pytest.mark.parametrize("order", [0, 1, 2])
def test_sharing_changes_nothing(seed: int, order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit; and it is what runs eagerly, nearly."""
    f = of_order(generated(seed), order)
    rng = np.random.default_rng(seed)
    x, n = rng.normal(size=40), rng.integers(1, 30, size=40) + 0.5
    lanes = cr.compile(f)
    found = numbers(lanes(x, n))
    np.testing.assert_allclose(found, numbers(f(x, n)), rtol=1e-9, atol=1e-11)
    point = cr.compile(f.function)
    for k in range(0, 40, 3):
        alone = numbers(point(x[k], n[k]))
        np.testing.assert_allclose(alone, numbers(f(x[k : k + 1], n[k : k + 1])), 1e-9, 1e-11)
    for call in (lanes, point):
        assert call.stats().kernels <= call.stats().traces

    monkeypatch.setattr(
        SharedCode,
        "functions",
        lambda self, texts, load: (load([*map(shared.plain, texts)]), np.empty(0, np.int64)),
    )
    plain = cr.compile(f)
    assert numbers(plain(x, n)).tobytes() == found.tobytes()
    assert plain.stats().kernels >= lanes.stats().kernels


def recurrence(x: Any, n: Any) -> Any:
    """As many iterations as n says, and sums that need all of them once more."""
    s, k, kept = x, 0, []
    while k < n:
        s = cm.sin(s) + 0.5 * x
        kept.append(s)
        k += 1
    for y in kept[::-1]:
        s = s * 0.9 + y * x
    return s * k


@pytest.mark.parametrize("order", [0, 1, 2])
def test_trip_counts_share(order: int) -> None:
    """Of 60 paths those of short runs aside, all run by the code of a few."""
    f = of_order(recurrence, order)
    compiled = cr.compile(f)
    n = np.random.default_rng(order).permutation(60) + 20.5
    x = np.linspace(-1.0, 1.0, 60)
    np.testing.assert_allclose(numbers(compiled(x, n)), numbers(f(x, n)), rtol=1e-9, atol=1e-11)
    stats = compiled.stats()
    assert stats.traces >= 60
    assert stats.kernels <= 2 * MOST_VERSIONS  # the first trace has all guards


@pytest.mark.skipif(os.name != "posix", reason="the cache needs the permissions of POSIX")
def test_what_is_shared_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that is compiled again finds the code of all paths in the cache."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    n = np.random.default_rng(0).permutation(30) + 2.5
    x = np.linspace(-1.0, 1.0, 30)
    f = of_order(recurrence, 1)
    first = numbers(cr.compile(f)(x, n))
    texts: list[str] = []
    monkeypatch.setattr(Machine, "compile", lambda self, text, *rest: texts.append(text))
    again = numbers(cr.compile(f)(x, n))
    assert not texts
    np.testing.assert_array_equal(first, again)


def test_constants_share() -> None:
    """Paths that differ in constants and in the outcome of a comparison alone."""

    def f(x: Any) -> Any:
        for k in range(20):
            if x < k:
                return cm.exp(0.1 * x) * (k + 0.25) - (k * 3.5 + 1.0)
        return x

    compiled = cr.compile(cr.vmap(cr.value_and_grad(f)), rewrite=False)
    x = np.random.default_rng(1).permutation(20) - 0.5
    for found, expected in zip(compiled(x), cr.vmap(cr.value_and_grad(f))(x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert compiled.stats().traces >= 20
    assert compiled.stats().kernels <= MOST_VERSIONS + 2


def texts(*values: tuple[int, int, float]) -> list[list[str]]:
    """Modules that are the same but for numbers."""
    return [
        [
            f"define void @a{{\ne:\nx {shared.marked(a)}\ny {shared.marked(b)}}}\n"
            f"define void @b{{\ne:\nz {shared.marked(a)}, {shared.marked_float(c, 4)}}}"
        ]
        for a, b, c in values
    ]


def sharing() -> tuple[SharedCode, list[str], Callable[..., list[tuple[int, list[int]]]]]:
    """Some shared code, what is compiled for it, and the code's number and table for numbers."""
    made: list[str] = []
    code = SharedCode()

    def load(given: Any) -> tuple[dict[str, int], list[bytes]]:
        made.extend(given)
        return {"a": len(made)}, []

    def tables(*values: tuple[int, int, float]) -> list[tuple[int, list[int]]]:
        found = [code.functions(text, load) for text in texts(*values)]
        return [(functions["a"], table.tolist()) for (functions, _), table in found]

    return code, made, tables


def test_numbers_that_go_together_no_more() -> None:
    """One parameter stands for several numbers as long as they are the same."""
    _, made, tables = sharing()
    assert tables((1, 1, 0.5), (2, 2, 0.5), (3, 3, 0.5)) == [(1, []), (2, [2]), (2, [3])]
    assert tables((3, 4, 0.5), (4, 3, 0.5)) == [(3, [4, 3]), (3, [3, 4])]
    assert len(made) == 3


def test_what_becomes_a_parameter() -> None:
    """Numbers that differ, one for those that go together; later texts need no code."""
    code, made, tables = sharing()
    assert tables((7, 8, 0.5), (7, 8, 0.5)) == [(1, []), (1, [])]
    assert tables((9, 8, 0.5), (11, 8, 0.5)) == [(2, [9]), (2, [11])]
    assert "#" not in "".join(made)
    assert made[1].count("= load i64,ptr %p0ia") == 2  # in each of the functions
    assert "y 8" in made[1]
    assert tables((7, 8, 0.5)) == [(2, [7])]
    bits = np.array([0.25]).view(np.int64).item()
    assert tables((12, 8, 0.25)) == [(3, [bits, 12])]  # the last parameter comes first
    assert made[2].count("<4 x i32> zeroinitializer") == 1
    assert tables((12, 13, 0.25)) == [(4, [bits, 12, 13, 12])]
    assert tables((1, 2, 0.25)) == [(4, [bits, 1, 2, 1])]
    assert code.reused == 4
    assert len(made) == MOST_VERSIONS
