"""Programs with loops as programs without."""

from __future__ import annotations

import pytest
from expand import expanded
from random_forms import (
    PICKS,
    ROUGH,
    SMOOTH,
    SPECIAL_NUMBERS,
    bits,
    random_inputs,
    random_program,
)

from chainrule import rules
from chainrule.program.builder import Builder
from chainrule.program.form import (
    VALUES,
    Array,
    Carry,
    Compute,
    Derive,
    Guard,
    Index,
    Last,
    Load,
    Loop,
    Program,
    ProgramError,
    Segment,
    Slice,
    Store,
    statements,
)
from chainrule.program.interpreter import interpret
from chainrule.program.verifier import verify

FLAT = (Compute, Load, Guard)


@pytest.mark.parametrize("seed", range(150))
def test_random_programs(seed: int) -> None:
    """Values and guards are the same to the last bit; nothing but operations is left."""
    operations = (*SMOOTH, *PICKS, *ROUGH)
    program = random_program(seed, operations, SPECIAL_NUMBERS, guards=seed % 3 == 0)
    flat = expanded(program)
    verify(flat)
    assert all(isinstance(x, FLAT) for x in flat.body)
    assert all(x.array is flat.inputs for x in flat.body if isinstance(x, Load))
    assert not any(isinstance(x, Slice) for x in flat.outputs)
    for number in range(3):
        inputs = random_inputs(number, program, special=True)
        outputs, guard = interpret(program, inputs)
        found, found_guard = interpret(flat, inputs)
        assert bits(found) == bits(outputs)
        assert found_guard == guard


@pytest.mark.parametrize("seed", range(80))
def test_segments(seed: int) -> None:
    """Each run of a segment is one of its own; only what is given and found lies in arrays."""
    program = random_program(seed, segments=True)
    flat = expanded(program)
    verify(flat)
    kinds = [*statements(flat.body)]
    assert not any(isinstance(x, Loop) for x in kinds)
    derives = [x for x in kinds if isinstance(x, Derive)]
    given = {x.given for x in derives}
    assert {x.array for x in kinds if isinstance(x, Store)} <= given
    assert len({x.segment for x in derives}) <= sum(isinstance(x, Segment) for x in kinds)


def test_carries() -> None:
    """They become the values that they are."""
    b = Builder(1)
    x = b.input(0)
    assert isinstance(x, Load)
    outer = Loop(Index(2))
    inner = Loop(Index(0, ((outer, 1),)))
    total, power = Carry(0.0), Carry(x)
    squared = Compute(rules.multiply, (power, power))
    inner.carries, inner.body = [power], [squared]
    power.next = squared
    last = Last(inner, power)
    added = Compute(rules.add, (total, last))
    outer.carries, outer.body = [total], [inner, last, added]
    total.next = added
    result = Last(outer, total)
    program = Program(b.inputs, [x, outer, result], [result])
    verify(program)
    flat = expanded(program)
    verify(flat)
    assert str(flat).splitlines()[1:] == [
        "%0 = 0.0 + x[0]",
        "%1 = x[0] * x[0]",
        "%2 = %0 + %1",
        "return %2",
    ]
    assert interpret(flat, [3.0]) == interpret(program, [3.0]) == ([12.0], None)


def test_elements_that_are_not_there() -> None:
    """They are an error, not 0."""
    b = Builder(1)
    array = Array(VALUES, 2, "v")
    program = Program(b.inputs, [Store(array, Index(), 1.0)], [Slice(array, 0, 2)])
    with pytest.raises(ProgramError, match=r"read of v\[1\], which is not stored yet"):
        expanded(program)
