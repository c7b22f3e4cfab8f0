"""Unroll and jam: iterations of a loop side by side, with the same results to the last bit."""

from __future__ import annotations

import random

import numpy as np
import pytest
from random_forms import PICKS, PLAIN_NUMBERS, SMOOTH, bits, random_inputs, random_program

from chainrule import rules
from chainrule.passes import jam
from chainrule.passes.jam import jammed
from chainrule.passes.promote import promoted
from chainrule.program.builder import Builder
from chainrule.program.form import (
    SUMS,
    VALUES,
    Array,
    Carry,
    Index,
    Loop,
    Program,
    ProgramError,
    Slice,
    statements,
)
from chainrule.program.interpreter import interpret
from chainrule.program.verifier import verify

SIZE = 60


def loops(program: Program) -> list[Loop]:
    """All loops of a program."""
    return [x for x in statements(program.body) if isinstance(x, Loop)]


def same(program: Program, numbers: list[float]) -> bool:
    """Whether a program has become another one; it must give the same to the last bit."""
    expected = interpret(program, numbers)
    before = [loop.trips for loop in loops(program)]
    result = jammed(program)
    verify(result)
    found = interpret(result, numbers)
    assert expected[1] == found[1]
    assert bits(expected[0]) == bits(found[0])
    return before != [loop.trips for loop in loops(result)]


@pytest.mark.parametrize("seed", range(200))
def test_programs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random programs."""
    monkeypatch.setattr(jam, "WIDTHS", (2, 3))
    program = random_program(seed, (*SMOOTH, *PICKS), PLAIN_NUMBERS, guards=seed % 2 == 0)
    same(promoted(program), random_inputs(seed, program))


def random_nest(seed: int) -> tuple[Program, list[float]]:
    """A loop with inner ones that sum, add to arrays, and hand on."""
    drawn = random.Random(seed)
    while True:
        program, numbers = drawn_nest(drawn), [drawn.uniform(-3.0, 3.0) for _ in range(SIZE)]
        try:
            interpret(program, numbers)
        except ProgramError:  # it adds to what it has read
            continue
        return program, numbers


def drawn_nest(drawn: random.Random) -> Program:
    """Such a program, which may break the rule of sums."""
    builder = Builder(SIZE, final=True)
    sums, values = Array(SUMS, 400, "sums"), Array(VALUES, 400, "values")
    trips, count = drawn.randint(4, 13), drawn.randint(1, 6)
    shift, start = drawn.randint(0, 300), builder.load(builder.inputs, Index(0))
    outer_carry, inner_place = Carry(start), drawn.choice([0, 1])
    with builder.loop(trips) as i:
        is_carried = drawn.random() < 0.7
        if is_carried:
            builder.carry(outer_carry)
        first = builder.load(builder.inputs, Index(1, ((i, drawn.randint(0, 2)),)))
        if is_carried and drawn.random() < 0.3:
            first = builder.compute(rules.multiply, (first, outer_carry))
        if drawn.random() < 0.2:  # of iterations before
            before = builder.load(sums, Index(drawn.randint(160, 200), ((i, drawn.randint(0, 2)),)))
            first = builder.compute(rules.add, (first, before))
        for _ in range(drawn.randint(1, 2)):
            carry = Carry(first if drawn.random() < 0.6 else 1.5)
            with builder.loop(count) as j:
                builder.carry(carry)
                x = builder.load(builder.inputs, Index(2, ((j, 1), (i, drawn.randint(0, 3)))))
                x = builder.compute(rules.multiply, (x, first))
                for _ in range(drawn.choice([0, 1, 1, 2])):
                    strides = (i, drawn.randint(-9, 9)), (j, drawn.randint(-9, 9))
                    builder.add(sums, Index(180, strides), x)
                carry.next = builder.compute(rules.add, (carry, x))
            last = builder.last(j, carry)
        if inner_place and is_carried:
            outer_carry.next = builder.compute(rules.add, (outer_carry, last))
        else:
            outer_carry.next = builder.compute(rules.multiply, (first, 0.5))
        builder.store(values, Index(shift % 100, ((i, drawn.randint(1, 9)),)), last)
        if drawn.random() < 0.5:
            builder.add(sums, Index(7, ((i, drawn.randint(0, 3)),)), last)
    stored = [Slice(sums, 0, 400)]
    found = [builder.last(i, outer_carry)] if is_carried else []
    return builder.finish([*stored, *found])


@pytest.mark.parametrize("seed", range(300))
def test_nests(seed: int) -> None:
    """Random nests of loops."""
    same(*random_nest(seed))


def test_many_are_jammed() -> None:
    """The test above has both, loops that change and loops that must not."""
    changed = [same(*random_nest(seed)) for seed in range(100)]
    assert 20 < sum(changed) < 80


@pytest.mark.parametrize("rows", range(1, 15))
def test_product(rows: int) -> None:
    """A matrix times a vector, its rows some at a time, the rest one by one."""
    builder = Builder(rows * 3 + 3, final=True)
    result = Array(VALUES, rows, "result")
    with builder.loop(rows) as i:
        total = Carry(0.0)
        with builder.loop(3) as j:
            builder.carry(total)
            w = builder.load(builder.inputs, Index(3, ((i, 3), (j, 1))))
            x = builder.load(builder.inputs, Index(0, ((j, 1),)))
            term = builder.compute(rules.multiply, (w, x))
            total.next = builder.compute(rules.add, (total, term))
        builder.store(result, Index(0, ((i, 1),)), builder.last(j, total))
    program = builder.finish([Slice(result, 0, rows)])
    numbers = list(np.random.default_rng(rows).normal(size=rows * 3 + 3))
    assert same(program, numbers) == (rows >= 4)
