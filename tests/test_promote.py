"""Promotion: what iterations hand on in carries instead of arrays."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from random_forms import (
    PICKS,
    PLAIN_NUMBERS,
    ROUGH,
    SMOOTH,
    SPECIAL_NUMBERS,
    bits,
    random_inputs,
    random_program,
)
from test_program_kernels import exact_program

from chainrule import rules
from chainrule.backends.llvm.kernel import Kernel
from chainrule.passes.promote import promoted
from chainrule.program.builder import Builder
from chainrule.program.form import (
    SUMS,
    VALUES,
    Array,
    Carry,
    Index,
    Load,
    Loop,
    Operand,
    Program,
    Slice,
    Store,
    Table,
    statements,
)
from chainrule.program.interpreter import interpret
from chainrule.program.nests import added
from chainrule.program.verifier import verify


def arrays_of(program: Program) -> set[str]:
    """The names of the arrays that a program writes to."""
    return {x.array.name for x in statements(program.body) if isinstance(x, Store)}


def same(program: Program, numbers: list[float]) -> Program:
    """The promoted program, if it gives the same to the last bit."""
    result = promoted(program)
    verify(result)
    expected, found = interpret(program, numbers), interpret(result, numbers)
    assert expected[1] == found[1]
    assert bits(expected[0]) == bits(found[0])
    return result


@pytest.mark.parametrize("seed", range(200))
def test_programs(seed: int) -> None:
    """Random programs, ordinary and special numbers."""
    program = random_program(
        seed,
        (*SMOOTH, *PICKS, *ROUGH),
        SPECIAL_NUMBERS if seed % 3 == 0 else PLAIN_NUMBERS,
        guards=seed % 2 == 0,
    )
    same(program, random_inputs(seed, program))
    same(program, random_inputs(seed + 1000, program, special=True))


@pytest.mark.parametrize("seed", range(200, 230))
@pytest.mark.parametrize("cut", [False, True])
def test_code(seed: int, cut: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Machine code of promoted programs is that of the programs."""
    if cut:
        monkeypatch.setattr("chainrule.backends.llvm.pieces.WHOLE_LOOP", 20)
        monkeypatch.setattr("chainrule.backends.llvm.pieces.PIECE_COST", 9)
    program = exact_program(seed)
    numbers = np.array(random_inputs(seed, program))
    results = []
    for each in (program, promoted(program)):
        kernel = Kernel(each, [], lanes=False)
        out = np.zeros(len(kernel.reduce))
        status = kernel.call(numbers.ctypes.data, out.ctypes.data)
        results.append((status, bits(out.tolist())))
    assert results[0] == results[1]


def recurrence(distance: int, steps: int) -> Program:
    """Each element is the sum of the one before and the one at a distance."""
    builder = Builder(distance)
    array = Array(VALUES, steps + distance, "x")
    for k in range(distance):
        builder.store(array, Index(k), builder.input(k))
    with builder.loop(steps) as loop:
        i = Index(0, ((loop, 1),))
        terms = builder.load(array, i), builder.load(array, i.plus(distance - 1))
        builder.store(array, i.plus(distance), builder.compute(rules.add, terms))
    return builder.finish([builder.load(array, Index(steps + distance - 1))])


@pytest.mark.parametrize("distance", [1, 2, 3, 4])
def test_recurrences_need_no_array(distance: int) -> None:
    """Elements of some iterations before are in carries; that after the loop is the last one."""
    result = same(recurrence(distance, 9), [float(k + 1) for k in range(distance)])
    assert not arrays_of(result)


def test_recurrences_over_more_iterations_stay() -> None:
    """Of a loop that may end before what it hands on would be read, too."""
    assert arrays_of(same(recurrence(5, 9), [1.0, 2.0, 3.0, 4.0, 5.0]))
    assert arrays_of(same(recurrence(3, 2), [1.0, 2.0, 3.0]))


def several_recurrences(wide: int, again: int) -> Program:
    """Elements side by side, each computed from the one of the iteration before."""
    builder = Builder(wide)
    array = Array(VALUES, 8 * wide, "x")
    factors = Table(np.arange(7 * wide) % wide)
    for k in range(wide):
        builder.store(array, Index(k), builder.input(k))
    with builder.loop(7) as around, builder.loop(wide) as loop:
        index = Index(0, ((around, again * wide), (loop, 1)))
        at = Index(0, ((around, wide), (loop, 1)))
        factor = builder.load(builder.inputs, Index(0, (), ((factors, at),)))
        terms = builder.load(array, index), builder.load(builder.inputs, Index(0, ((loop, 1),)))
        product = builder.compute(rules.multiply, (builder.compute(rules.add, terms), factor))
        builder.store(array, at.plus(wide), product)
    return builder.finish([builder.load(array, Index(7 * wide + k)) for k in range(wide)])


@pytest.mark.parametrize("wide", [2, 3, 4])
def test_several_recurrences_need_no_array(wide: int) -> None:
    """Short loops in a loop that hands on what they store are written out."""
    numbers = [0.5 + k for k in range(wide)]
    assert not arrays_of(same(several_recurrences(wide, 1), numbers))
    program = same(several_recurrences(wide, 0), numbers)  # each reads what was there before
    assert len([x for x in statements(program.body) if isinstance(x, Loop)]) == 2


def test_long_recurrences_side_by_side_stay() -> None:
    """Loops of many iterations are no statements."""
    assert arrays_of(same(several_recurrences(9, 1), [0.5 + k for k in range(9)]))


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("kind", [VALUES, SUMS])
def test_what_the_first_iteration_stores_itself(kind: str, runs: int) -> None:
    """Nothing can be handed on to it: the element that it reads is not there before the loop."""
    builder = Builder(runs)
    array = Array(kind, 4 * runs, "x")
    put = builder.store if kind == VALUES else builder.add
    with builder.loop(runs) as outer:
        run = Index(0, ((outer, 4),))
        value = builder.load(builder.inputs, Index(0, ((outer, 1),)))
        with builder.loop(2) as loop:
            put(array, added(run, Index(2, ((loop, 1),))), value)
            before = builder.load(array, added(run, Index(2, ((loop, -1),))))
            put(array, added(run, Index(1, ((loop, -1),))), builder.compute(rules.sin, (before,)))
    program = builder.finish([Slice(array, 0, 4 * runs)])
    verify(program)
    same(program, [float(k + 1) for k in range(runs)])


def test_carries_that_do_not_change() -> None:
    """Others that follow them have the same value: in code, too."""
    builder = Builder(2, final=True)
    a, b, c = Carry(builder.input(0)), Carry(builder.input(0)), Carry(builder.input(1))
    with builder.loop(4) as loop:
        for carry in (a, b, c):
            builder.carry(carry)
        a.next = b.next = a
        c.next = builder.compute(rules.add, (c, builder.compute(rules.sin, (b,))))
    outputs = [builder.last(loop, carry) for carry in (a, b, c)]
    program = builder.finish([builder.compute(rules.exp, (x,)) for x in outputs])
    verify(program)
    kernel = Kernel(program, [], lanes=False)
    numbers, out = np.array([0.7, 0.2]), np.zeros(3)
    assert kernel.call(numbers.ctypes.data, out.ctypes.data) == 0
    np.testing.assert_allclose(out, interpret(program, numbers.tolist())[0], rtol=1e-14)


def test_sums_of_several_loops() -> None:
    """A sum that goes on from loop to loop needs no array."""
    builder = Builder(3)
    array = Array(SUMS, 1, "total")
    for trips in (3, 0, 4):
        with builder.loop(trips) as outer, builder.loop(Index(1, ((outer, 1),))) as loop:
            x = builder.load(builder.inputs, Index(0, ((loop, 0),)))
            builder.add(array, Index(), builder.compute(rules.multiply, (x, x)))
        builder.add(array, Index(), builder.input(1))
    result = same(builder.finish([builder.load(array, Index())]), [0.1, 0.7, 0.3])
    assert not arrays_of(result)


def test_sums_that_the_loop_itself_reads() -> None:
    """What is complete with a loop's last iteration can be read there: not once it is over."""
    b = Builder(2)
    sums, values = Array(SUMS, 2, "s"), Array(VALUES, 2, "v")
    b.add(sums, Index(1), b.input(0))
    with b.loop(2) as i:
        b.add(sums, Index(0), b.load(b.inputs, Index(0, ((i, 1),))))
        b.store(values, Index(0, ((i, 1),)), b.load(sums, Index(1, ((i, -1),))))
    program = b.finish([Slice(values, 0, 2)])
    verify(program)
    same(program, [1.5, 2.0])


def test_elements_that_several_iterations_add_to() -> None:
    """They stay in memory, where each addition finds the one before."""
    builder = Builder(3)
    array = Array(SUMS, 3, "sums")
    with builder.loop(2), builder.loop(3) as loop:
        i = Index(0, ((loop, 1),))
        builder.add(array, i, builder.load(builder.inputs, i))
    result = same(builder.finish([Slice(array, 0, 3)]), [0.1, 0.7, 0.3])
    assert arrays_of(result) == {"sums"}


def test_what_is_read_later_is_kept() -> None:
    """Arrays that other loops read, beside the carries."""
    builder = Builder(1)
    array = Array(VALUES, 6, "x")
    builder.store(array, Index(), builder.input(0))
    with builder.loop(5) as loop:
        i = Index(0, ((loop, 1),))
        x = builder.compute(rules.sin, (builder.load(array, i),))
        builder.store(array, i.plus(1), x)
    total = Array(SUMS, 1, "total")
    with builder.loop(6) as loop:
        builder.add(total, Index(), builder.load(array, Index(5, ((loop, -1),))))
    result = same(builder.finish([builder.load(total, Index())]), [0.3])
    assert arrays_of(result) == {"x"}
    first = next(x for x in result.body if isinstance(x, Loop))
    assert not any(isinstance(x, Load) for x in first.body)


def test_copies() -> None:
    """An array of another's elements, in order, is the other; also of inputs, and of copies."""
    builder = Builder(6)
    first, second, third = (
        Array(VALUES, size, name) for size, name in ((6, "a"), (8, "b"), (6, "c"))
    )
    with builder.loop(6) as loop:
        at = Index(0, ((loop, 1),))
        builder.store(first, at, builder.load(builder.inputs, at))
    with builder.loop(6) as loop:
        at = Index(5, ((loop, -1),))
        builder.store(second, at.plus(2), builder.load(first, at))
    with builder.loop(6) as loop:
        at = Index(0, ((loop, 1),))
        x = builder.load(second, at.plus(2))
        builder.store(third, at, builder.compute(rules.sin, (x,)))
    program = builder.finish([Slice(second, 3, 4), Slice(third, 0, 6)])
    assert arrays_of(same(program, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])) == {"c"}


def test_what_is_not_only_a_copy_stays() -> None:
    """In another order, of two arrays, or of values as well."""
    builder = Builder(6)
    names = ["reversed", "mixed", "partly", "shifted"]
    arrays = {name: Array(VALUES, 7, name) for name in names}
    with builder.loop(6) as loop:
        at, back = Index(0, ((loop, 1),)), Index(5, ((loop, -1),))
        x = builder.load(builder.inputs, at)
        for name, index in (("reversed", back), ("mixed", at), ("partly", at), ("shifted", at)):
            builder.store(arrays[name], index, x)
    for name in ("reversed", "mixed"):
        builder.store(arrays[name], Index(6), builder.load(arrays["partly"], Index(2)))
    for name, x in (("partly", builder.compute(rules.sin, (builder.input(0),))), ("shifted", 1.0)):
        builder.store(arrays[name], Index(6), x)
    program = builder.finish([Slice(arrays[name], 0, 7) for name in names])
    assert arrays_of(same(program, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])) == set(names)


def test_reached_conditions() -> None:
    """A condition that is handed on unchanged is one value."""
    builder = Builder(2)
    flags = Array(SUMS, 8, "reached")
    start: Operand = builder.compute(rules.less, (builder.input(0), builder.input(1)))
    builder.add(flags, Index(7), start)
    with builder.loop(7) as loop:
        at = Index(7, ((loop, -1),))
        is_set = builder.compute(rules.not_equal, (builder.load(flags, at), 0.0))
        builder.add(flags, at.plus(-1), is_set)
    program = builder.finish([builder.load(flags, Index(0))])
    for numbers in ([1.0, 2.0], [2.0, 1.0]):
        assert not arrays_of(same(program, numbers))


@pytest.mark.parametrize("seed", range(100))
def test_stores_that_are_left(seed: int) -> None:
    """Of the elements that loops store, some are read: after them, in them, by the next one."""
    drawn = np.random.default_rng(seed)
    trips, inner = (int(x) for x in drawn.integers(1, 5, 2))
    builder = Builder(4, final=True)
    values = Array(VALUES, 100, "values")
    with builder.loop(trips) as i, builder.loop(inner) as j:
        x = builder.load(builder.inputs, Index(0, ((j, 1),)))
        at = Index(0, ((i, inner), (j, 1)))
        builder.store(values, at, builder.compute(rules.multiply, (x, 3.0)))
        if drawn.random() < 0.3:  # what it has stored itself, not as the same index
            numbers = np.arange(100, dtype=np.int64)
            same_element = Index(0, (), ((Table(numbers), at),))
            inside = builder.compute(rules.add, (builder.load(values, same_element), 1.0))
            builder.store(values, at.plus(50), inside)
    outputs: list[Operand] = []
    for place in drawn.permutation(trips * inner)[: drawn.integers(0, 3)].tolist():
        outputs.append(builder.load(values, Index(place)))
    if drawn.random() < 0.5:
        with builder.loop(trips) as i:
            last = builder.load(values, Index(inner - 1, ((i, inner),)))
            builder.add(sums := Array(SUMS, 1, "sums"), Index(), last)
        outputs.append(builder.load(sums, Index()))
    same(builder.finish(outputs), drawn.normal(size=4).tolist())


def last_ones(seed: int) -> Program:
    """Recurrences in rows of an array of sums, of each of which the last elements are read."""
    rng = Random(seed)
    rows, trips, distance = rng.randint(1, 4), rng.randint(5, 20), rng.randint(1, 3)
    read, inside = rng.choice([1, 1, 2, 3, trips]), rng.random() < 0.5
    row = trips + distance
    builder = Builder(24, final=True)
    sums = Array(SUMS, rows * row, "sums")
    found = Array(VALUES, rows * (read + 1), "found")
    with builder.loop(rows) as i:
        with builder.loop(trips) as k:
            at = Index(0, ((i, row), (k, 1)))
            x = builder.load(builder.inputs, Index(0, ((i, 1), (k, 1))))
            before = builder.load(sums, at.plus(rng.randint(0, distance - 1)))
            operation = rng.choice([rules.add, rules.subtract, rules.multiply, rules.minimum])
            y = builder.compute(operation, (before, x))
            for _ in range(rng.choice([1, 1, 1, 2])):
                builder.add(sums, at.plus(distance), y)
        builder.store(found, Index(0, ((i, read + 1),)), 2.0)
        if inside:
            copied(builder, sums, found, i, row, read)
    if not inside:
        with builder.loop(rows) as j:
            copied(builder, sums, found, j, row, read)
    return builder.finish([Slice(found, 0, found.size)])


def copied(builder: Builder, sums: Array, found: Array, i: Loop, row: int, read: int) -> None:
    """Copy the last elements of a row."""
    with builder.loop(read) as k:
        x = builder.load(sums, Index(row - read, ((i, row), (k, 1))))
        builder.store(found, Index(1, ((i, read + 1), (k, 1))), x)


@pytest.mark.parametrize("seed", range(150))
def test_last_elements(seed: int) -> None:
    """Only what is read of them is kept; -0 added to 0 is 0."""
    program = last_ones(seed)
    verify(program)
    drawn = np.random.default_rng(seed)
    numbers = drawn.choice([1.5, -2.0, 0.0, -0.0, math.inf, math.nan, 0.25], 24).tolist()
    same(program, numbers)


def test_few_elements_are_kept() -> None:
    """The test above would pass without."""
    late = stored = 0
    for seed in range(150):
        program = promoted(last_ones(seed))
        kinds = {x.array.kind for x in statements(program.body) if isinstance(x, Store)}
        stored += SUMS not in kinds
        late += sum(isinstance(x, Loop) for x in statements(program.body)) > 3
    assert stored > 40
    assert late > 40


@pytest.mark.parametrize("trips", [0, 1, 4])
def test_only_the_last_element_is_stored(trips: int) -> None:
    """After the loop, if it has an iteration."""
    builder = Builder(5, final=True)
    values, given = Array(VALUES, 6, "values"), Array(VALUES, 1, "given")
    builder.store(values, Index(0), builder.input(0))
    with builder.loop(trips) as i:
        x = builder.load(builder.inputs, Index(1, ((i, 1),)))
        builder.store(values, Index(1, ((i, 1),)), builder.compute(rules.multiply, (x, x)))
    with builder.loop(1) as j:
        read = builder.load(values, Index(trips, ((j, 1),)))
        builder.store(given, Index(0, ((j, 1),)), builder.compute(rules.multiply, (read, 3.0)))
    result = same(builder.finish([Slice(given, 0, 1)]), [1.0, 2.0, 3.0, 4.0, 5.0])
    in_loops = [x for loop in result.body if isinstance(loop, Loop) for x in loop.body]
    assert trips < 2 or not any(isinstance(x, Store) and x.array is values for x in in_loops)
