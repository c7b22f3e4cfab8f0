"""Sparse Jacobians of loops: one iteration is traced, and differentiated, for all."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import compile, jacobian
from chainrule import math as cm
from chainrule.rewriting import once

COUNT = 9
I = np.random.default_rng(1).integers(0, 5, COUNT).tolist()  # noqa: E741
J = [(i + k % 3) % 5 for k, i in enumerate(I)]  # some are those of I
PAIRS = [*zip(I, J, strict=True)]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All loops are long that are of four iterations or more."""
    monkeypatch.setattr(once, "LIMIT", 0)


def _term(random: Random) -> Callable[[Any, Any, Any, Any], Any]:
    """What an iteration may leave, of two rows, a number and a row that all share."""
    terms: list[Callable[[Any, Any, Any, Any], Any]] = [
        lambda p, q, w, s: p[0] * q[1] - w,
        lambda p, q, w, s: cm.sin(p[1]) * w + q[0],
        lambda p, q, w, s: cm.where(w > 0.0, p[1] * p[1], q[0]),
        lambda p, q, w, s: cm.maximum(p[0], q[0]) * cm.floor(2.0 * w),
        lambda p, q, w, s: np.maximum(p[0] * w, 0.0) + cm.relu(q[1]),
        lambda p, q, w, s: abs(q[1]) ** 1.5 / (1.0 + s[0] * s[0]),
        lambda p, q, w, s: p[1],
        lambda p, q, w, s: p[0] - q[0],
        lambda p, q, w, s: cr.stop_gradient(p[0]) * q[1],
        lambda p, q, w, s: w * 0.5,
        lambda p, q, w, s: s[1] * 3.0,
        lambda p, q, w, s: sum([p[k] * q[k] for k in range(2)]) * w,
        lambda p, q, w, s: cm.exp(-(p[0] ** 2)) * s[0] * q[0] * 0.0,
        lambda p, q, w, s: 1.0 / q[0] - cm.sqrt(w * w + p[1] ** 2),
    ]
    return random.choice(terms)


def _of_loop(random: Random) -> tuple[Callable[..., Any], bool]:
    """A function of a table, numbers and a row, most of whose results a loop leaves.

    Returns:
        it, and whether it has branches.
    """
    terms = [_term(random) for _ in range(random.randint(1, 3))]
    how = random.choice(["append", "range", "zip", "two loops", "if"])
    after = random.choice(["", "", "turned", "twice", "others", "mixed", "sum", "constants"])
    before = random.choice(["", "", "", "computed", "floats", "carry"])

    def f(table: Any, ws: Any, s: Any) -> Any:
        rows = [[x[0], x[1]] for x in table]
        if before == "computed":
            rows[2] = [rows[2][0] * 2.0, rows[2][1]]
        if before == "floats":
            rows[3] = [0.5, rows[3][1]]
        found: list[Any] = []
        more: list[Any] = []
        total = 0.0
        if how == "zip":
            for (i, j), w in zip(PAIRS, ws, strict=True):
                for term in terms:
                    found.append(term(rows[i], rows[j], w, s))
        elif how == "range":
            for k in range(COUNT):
                p, q = rows[I[k]], rows[J[k]]
                found += [terms[0](p, q, ws[k], s), terms[-1](p, q, ws[k], s)]
        elif how == "append":
            for k, (i, j) in enumerate(PAIRS):
                found.append(terms[0](rows[i], table[j], ws[k], s))
                more.append(terms[-1](table[j], rows[i], ws[k], s))
        elif how == "if":
            for k, (i, j) in enumerate(PAIRS):
                picked = ws[k]
                if picked > 0.1:
                    picked = picked * table[i, 0]
                found.append(terms[0](rows[i], rows[j], picked, s))
        else:
            for k, (i, j) in enumerate(PAIRS):
                if before == "carry":
                    total = total * 0.5 + ws[k]
                for term in terms:
                    found.append(term(rows[i], rows[j], ws[k], s))
            if how == "two loops":
                for w in ws:
                    more.append(1.0 - w * w)
        found += more
        if before == "carry":
            found.append(total)
        if after == "turned":
            return found[::-1]
        if after == "twice":
            return [*found, *found[2:5]]
        if after == "others":
            return [*found, *[1.0 - w * w * table[1, 0] for w in ws], s[0]]
        if after == "mixed":
            return [x for y, w in zip(found, ws, strict=False) for x in (w * w, y)]
        if after == "sum":
            return [*found, found[0] * ws[1]]
        if after == "constants":
            return [2.0, *found, 3.0]
        return found

    return f, how == "if"


def _check(f: Callable[..., Any], argnums: Any, seed: int, picks: bool = False) -> Any:
    """Compile a sparse Jacobian, and compare it with the eager one at some points."""
    rng = np.random.default_rng(seed)
    derivative = jacobian(f, argnums=argnums, sparse=True)
    dense = jacobian(f, argnums=argnums)
    compiled = compile(derivative)
    for point in range(3):
        args = rng.normal(size=(5, 2)), rng.normal(size=COUNT), rng.normal(size=2)
        if point == 2:
            args[1][::2] = 0.0
        found, right = compiled(*args), derivative(*args)
        assert found.shape == right.shape
        if not picks:  # a pattern is that of both sides
            assert found.indptr.tolist() == right.indptr.tolist()
            assert found.indices.tolist() == right.indices.tolist()
            np.testing.assert_allclose(found.data, right.data, rtol=1e-12, atol=1e-14)
        blocks = dense(*args)
        blocks = [x for y in blocks for x in y] if isinstance(argnums, tuple) else blocks
        n = len(blocks) // found.shape[0]
        rows = [
            np.concatenate([np.ravel(x) for x in blocks[n * k : n * (k + 1)]])
            for k in range(found.shape[0])
        ]
        np.testing.assert_allclose(found.toarray(), rows, rtol=1e-12, atol=1e-14)
    return compiled


@pytest.mark.parametrize("seed", range(80))
def test_random_loops(seed: int) -> None:
    """Entries are those of eager code, whatever the loops leave, and stand where these do."""
    random = Random(seed)
    f, picks = _of_loop(random)
    _check(f, random.choice([0, 1, (0, 1), (0, 1, 2), (2, 0), 2]), seed, picks)


def test_one_iteration_is_differentiated() -> None:
    """However many observations there are, the program has one of them."""

    def f(table: Any, ws: Any) -> Any:
        found = []
        for k, (i, j) in enumerate(pairs):
            found += [ws[k] * (table[i, 0] - table[j, 1]), cm.sin(ws[k]) * table[i, 1]]
        return found + [1.0 - w * w for w in ws]

    sizes = []
    for count in (40, 400):
        rng = np.random.default_rng(count)
        pairs = [*map(tuple, rng.integers(0, 7, (count, 2)).tolist())]
        derivative = jacobian(f, argnums=(0, 1), sparse=True)
        compiled = compile(derivative)
        args = rng.normal(size=(7, 2)), rng.normal(size=count)
        found, right = compiled(*args), derivative(*args)
        assert found.indices.tolist() == right.indices.tolist()
        np.testing.assert_allclose(found.data, right.data, rtol=1e-13)
        branches = compiled.stats().branches
        assert [x.both for x in branches] == [True, True]
        sizes.append(compiled.stats().nodes)
    assert sizes[0] == sizes[1] < 80


@pytest.mark.parametrize("parts", [1, 3, 70])
def test_rows_that_are_looked_up(parts: int) -> None:
    """By indices in any order, of several loops that do the same, or of one that does another."""
    rng = np.random.default_rng(parts)
    indices = rng.integers(0, 7, (parts, COUNT, 2)).tolist()
    indices[-1] = [[k, k] for k in range(COUNT - 2)]

    def f(table: Any, ws: Any) -> Any:
        found = []
        for part in indices:
            for k, (i, j) in enumerate(part):
                found.append(ws[k] * table[i, 0] * cm.sin(table[j, 1]) + ws[i])
        return found

    derivative = jacobian(f, argnums=(0, 1), sparse=True)
    compiled = compile(derivative)
    for _ in range(2):
        args = rng.normal(size=(9, 2)), rng.normal(size=COUNT)
        found, right = compiled(*args), derivative(*args)
        assert found.indptr.tolist() == right.indptr.tolist()
        assert found.indices.tolist() == right.indices.tolist()
        np.testing.assert_allclose(found.data, right.data, rtol=1e-13)
    assert compiled.stats().branches[-1].both


def test_what_a_loop_leaves_is_not_used() -> None:
    """There are no entries then."""

    def f(table: Any, ws: Any) -> Any:
        found = []
        for k, i in enumerate(I):
            found.append(table[i, 0] * ws[k])
        return [1.0, 2.0]

    found = compile(jacobian(f, argnums=(0, 1), sparse=True))(np.ones((5, 2)), np.ones(COUNT))
    assert found.shape == (2, 10 + COUNT)
    assert found.nnz == 0


def test_other_transformations_around() -> None:
    """What else is asked of the entries: they are numbers, lanes, or derived again."""

    def f(x: Any, w: Any) -> Any:
        found = []
        for k, i in enumerate(I):
            found.append(cm.sin(x[i]) * w[k])
        return found

    x, w = np.linspace(0.1, 0.9, 5), np.linspace(-1.0, 1.0, COUNT)

    def entries(x: Any, w: Any) -> Any:
        return jacobian(f, argnums=(0, 1), sparse=True)(x, w).data

    def positive(x: Any, w: Any) -> Any:
        found = entries(x, w)
        return found * 2.0 if found[0] > 0.0 else found

    for function in (
        entries,
        positive,
        cr.jacobian(entries),
        cr.grad(lambda x, w: sum(entries(x, w) ** 2)),
        lambda x, w: cr.hessian(lambda x: sum(f(x, w)), sparse=True)(x).data,
        lambda x, w: cr.jacobian(cr.grad(lambda x: sum(f(x, w))), sparse=True)(x).data,
    ):
        np.testing.assert_allclose(compile(function)(x, w), function(x, w), rtol=1e-13)
    lanes = cr.vmap(entries)
    xs, ws = np.stack([x, x + 1.0]), np.stack([w, w * 2.0])
    np.testing.assert_allclose(compile(lanes)(xs, ws), lanes(xs, ws), rtol=1e-13)


def test_operations_of_ones_own_are_plain() -> None:
    """What pulls back in Python is recorded as it stands in each iteration."""

    @cr.custom_gradient
    def twice(x: Any) -> Any:
        return 2.0 * x, lambda y: 2.0 * y

    def f(x: Any) -> Any:
        found = []
        for i in I:
            found.append(twice(x[i]) * x[0])
        return found

    derivative, x = jacobian(f, sparse=True), np.linspace(0.1, 0.9, 5)
    found, right = compile(derivative)(x), derivative(x)
    assert found.indices.tolist() == right.indices.tolist()
    np.testing.assert_allclose(found.data, right.data, rtol=1e-13)
