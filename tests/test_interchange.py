"""Sums that get nests of their own, and rows side by side: the same numbers to the last bit."""

from __future__ import annotations

import random
from math import prod

import pytest
from random_forms import PLAIN_NUMBERS, SMOOTH, bits, random_inputs, random_program

from chainrule import rules
from chainrule.passes import interchange, jam
from chainrule.passes.interchange import interchanged
from chainrule.passes.jam import blocked
from chainrule.passes.promote import promoted
from chainrule.program.builder import Builder
from chainrule.program.form import (
    SUMS,
    VALUES,
    Array,
    Index,
    Loop,
    Operand,
    Program,
    Slice,
    statements,
)
from chainrule.program.interpreter import interpret
from chainrule.program.verifier import verify


@pytest.fixture(autouse=True)
def _small_nests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small nests are worth it, and tiles are small."""
    monkeypatch.setattr(interchange, "LEAST", 1)
    monkeypatch.setattr(interchange, "ROW", 1)
    monkeypatch.setattr(interchange, "TILE", 2)
    monkeypatch.setattr(jam, "WIDTHS", (2, 3))


def random_nest(drawn: random.Random) -> Program:
    """A nest of loops that adds to some sums what it computes of arrays, forwards or backwards."""
    trips = [drawn.randint(1, 5) for _ in range(drawn.choice((3, 3, 3, 4)))]
    size = prod(trips)
    b = Builder(2 * size)
    sums = [Array(SUMS, 2 * size, f"s{k}", None, drawn.choice((0.0, -0.0))) for k in range(2)]
    stored = Array(VALUES, size, "stored")
    loops: list[Loop] = []

    def index(first: int, some: list[int]) -> Index:
        step, strides = 1, []
        for k in some:
            back = drawn.random() < 0.5
            first += step * (trips[k] - 1) if back else 0
            strides.append((loops[k], -step if back else step))
            step *= trips[k]
        return Index(first, tuple(strides))

    def chosen(depth: int) -> list[int]:
        some = [k for k in range(depth) if drawn.random() < 0.7]
        drawn.shuffle(some)
        return some

    def term(depth: int, values: list[Operand]) -> Operand:
        x = b.load(b.inputs, index(drawn.choice((0, size)), chosen(depth)))
        y = drawn.choice([*values, b.load(b.inputs, index(0, chosen(depth))), 0.5])
        return b.compute(drawn.choice((rules.multiply, rules.multiply, rules.subtract)), (x, y))

    def level(depth: int, values: list[Operand]) -> None:
        if depth == len(trips):
            for _ in range(drawn.randint(1, 4)):  # some add to the same elements
                at = index(drawn.choice((0, size, size // 2)), chosen(depth))
                b.add(drawn.choice(sums), at, term(depth, values))
            return
        with b.loop(trips[depth]) as loop:
            loops.append(loop)
            own = [*values]
            if drawn.random() < 0.5:
                own.append(term(depth + 1, values))
            level(depth + 1, own)
            if depth == len(trips) - 2 and drawn.random() < 0.3:
                kept = term(depth + 1, own)
                b.store(stored, index(0, [*range(depth + 1)]), kept)

    level(0, [])
    results = Array(VALUES, 4 * size, "results")
    for k, array in enumerate(sums):
        with b.loop(2 * size) as copied:
            value = b.load(array, Index(0, ((copied, 1),)))
            b.store(results, Index(2 * k * size, ((copied, 1),)), value)
    return b.finish([Slice(results, 0, results.size)])


def product(sizes: tuple[int, int, int], reads: bool) -> Program:
    """A product of matrices whose elements are read in the nest."""
    n, m, terms = sizes
    b = Builder(n * terms + terms * m)
    total, results = Array(SUMS, n * m, "total", None, -0.0), Array(VALUES, n * m, "results")
    with b.loop(n) as i, b.loop(m) as j:
        place = Index(0, ((i, m), (j, 1)))
        with b.loop(terms) as k:
            left = b.load(b.inputs, Index(0, ((i, terms), (k, 1))))
            right = b.load(b.inputs, Index(n * terms, ((k, m), (j, 1))))
            b.add(total, place, b.compute(rules.multiply, (left, right)))
        if reads:
            b.store(results, place, b.compute(rules.tanh, (b.load(total, place),)))
    return b.finish([Slice(results if reads else total, 0, n * m)])


def same(p: Program, numbers: list[float]) -> bool:
    """Whether a program has become another one; it must give the same to the last bit."""
    verify(p)
    expected, status = interpret(p, numbers)
    found = interchanged(p)
    verify(found)
    assert interpret(p, numbers)[1] == status
    assert bits(interpret(found, numbers)[0]) == bits(expected)
    for before in (p, found):
        rows = promoted(before)
        blocked(rows)
        verify(rows)
        assert bits(interpret(rows, numbers)[0]) == bits(expected)
    return found is not p


def test_random_nests() -> None:
    """Many are changed."""
    changed = 0
    for seed in range(300):
        drawn = random.Random(seed)
        p = random_nest(drawn)
        changed += same(p, [drawn.choice((-0.0, drawn.gauss(0, 2))) for _ in range(p.inputs.size)])
    assert changed > 100


@pytest.mark.parametrize("seed", range(150))
def test_programs(seed: int) -> None:
    """Random programs of all kinds."""
    program = random_program(seed, SMOOTH, PLAIN_NUMBERS, guards=seed % 2 == 0)
    same(program, random_inputs(seed, program))


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("sizes", [(4, 6, 3), (5, 7, 2), (1, 4, 4), (6, 1, 5), (3, 3, 1)])
def test_products(sizes: tuple[int, int, int], reads: bool) -> None:
    """Rows are computed side by side, a tile after another."""
    p = product(sizes, reads)
    drawn = random.Random(str(sizes))
    numbers = [drawn.choice((0.0, -0.0, drawn.gauss(0, 1))) for _ in range(p.inputs.size)]
    same(p, numbers)
    rows = promoted(interchanged(p))
    assert bool(blocked(rows)) == (sizes[0] > 1)
    if min(sizes) > 2:
        assert any(len(x.carries) == 2 for x in statements(rows.body) if isinstance(x, Loop))
