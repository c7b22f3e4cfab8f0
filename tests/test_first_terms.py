"""Sums whose first terms are stored."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from random_forms import bits
from test_program_kernels import call

from chainrule import rules
from chainrule.backends.llvm.first_terms import Zero, first_terms
from chainrule.backends.llvm.kernel import Kernel
from chainrule.passes.promote import promoted
from chainrule.program.builder import Builder
from chainrule.program.form import SUMS, Array, Index, Program, Slice
from chainrule.program.interpreter import interpret

SIZE = 40


def drafted(seed: int) -> Program:
    """Loops that add to an array, of which some come to each of its elements once."""
    rng, builder = Random(seed), Builder(SIZE, final=True)
    sums = Array(SUMS, SIZE, "s")
    for _ in range(rng.randint(1, 2)):
        outer, inner = rng.choice([(2, 8), (8, 4), (9, 3), (5, 8), (1, 16)])
        with builder.loop(outer) as a, builder.loop(inner) as b:
            for _ in range(rng.choice([1, 1, 2])):
                by_a, by_b = rng.choice([(inner, 1), (1, outer), (inner, -1), (1, 1), (0, 1)])
                first = rng.randint(0, SIZE - outer * inner) + (inner - 1 if by_b < 0 else 0)
                x = builder.load(builder.inputs, Index(0, ((a, inner), (b, 1))))
                value = builder.compute(rng.choice([rules.negative, rules.absolute]), (x,))
                builder.add(sums, Index(first, ((a, by_a), (b, by_b))), value)
    if rng.random() < 0.3:
        builder.add(sums, Index(rng.randint(0, SIZE - 1)), builder.input(0))
    return builder.finish([Slice(sums, 0, SIZE)])


@pytest.mark.parametrize("seed", range(100))
def test_first_terms(seed: int) -> None:
    """To the last bit what the interpreter gives, also of terms that are -0."""
    numbers = np.random.default_rng(seed).choice([0.0, -0.0, 1.5, -0.3, np.nan], SIZE)
    program = drafted(seed)
    for _ in range(2):  # the program stays as it is
        status, found = call(Kernel(program, [], lanes=False), numbers)
        assert status == 0
        assert bits(found.tolist()) == bits(interpret(program, numbers.tolist())[0])


def test_there_are_first_terms() -> None:
    """The tests above would pass without."""
    found = []
    for seed in range(100):
        program = promoted(drafted(seed))
        assert isinstance(program.outputs[0], Slice)
        zero = Zero(program.outputs[0].array)
        if zero.array.kind == SUMS and first_terms([zero, *program.body]):
            found.append(zero.ranges)
    assert len(found) > 15
    assert sum(any(count for _, count in ranges) for ranges in found) > 10
