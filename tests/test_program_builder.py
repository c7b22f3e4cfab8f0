"""What the builder makes simpler stays what it was, to the last bit; and where it puts things."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence

import pytest
from expand import rebuilt
from random_forms import PICKS, ROUGH, SMOOTH, SPECIAL_NUMBERS, bits, random_inputs, random_program

import chainrule
from chainrule import rules
from chainrule.passes.going_on import going_on
from chainrule.program.builder import Builder
from chainrule.program.form import (
    CONSTANT,
    INPUT,
    READS,
    SUMS,
    VALUES,
    WRITES,
    Array,
    Compute,
    Derive,
    Enter,
    Guard,
    Index,
    Leave,
    Load,
    Loop,
    Operand,
    Program,
    ProgramError,
    Segment,
    Slice,
    Statement,
    Store,
    statements,
)
from chainrule.program.interpreter import interpret
from chainrule.program.verifier import verify
from chainrule.rules import Operation

INF, NAN = math.inf, math.nan
NUMBERS = (0.0, -0.0, 1.0, -1.0, 2.0, -0.5, 3.0, 0.1, -4.0, INF, -INF, NAN, 5e-324, -1e308)
ALL = (*SMOOTH, *PICKS, *ROUGH)


def _forms(x: Statement, y: Statement) -> Iterator[tuple[list[Statement], Operand]]:
    """What an operand can be, as the last of some statements: all that simplifications look at."""
    yield [], x
    yield [], y
    for number in NUMBERS:
        yield [], number
    negated = Compute(rules.negative, (x,))
    yield [negated], negated
    for comparison in (rules.equal, rules.not_equal):
        pairs: list[tuple[Operand, Operand]] = [(x, 0.0), (-0.0, y), (x, 1.0), (x, y)]
        for operands in pairs:
            compared = Compute(comparison, operands)
            yield [compared], compared


def _programs(operation: Operation, count: int) -> Iterator[Program]:
    """An operation on operands of all forms, not simplified."""
    rng = random.Random(operation.name)
    array = Array(INPUT, 2, "x")
    x, y = Load(array, Index(0)), Load(array, Index(1))
    forms = list(_forms(x, y))
    choices = [*itertools.product(forms, repeat=count)]
    if len(choices) > 300:
        choices = rng.sample(choices, 300)
    for choice in choices:
        before = [statement for made, _ in choice for statement in made]
        value = Compute(operation, [operand for _, operand in choice])
        # The second shows whether it is the first.
        again = Compute(operation, [operand for _, operand in choice])
        yield Program(array, [x, y, *dict.fromkeys(before), value, again], [value, again])


def _inputs(rng: random.Random) -> list[list[float]]:
    return [[rng.choice(NUMBERS), rng.choice(NUMBERS)] for _ in range(12)] + [[0.0, -0.0]]


def _can_be(operation: Operation, program: Program) -> bool:
    """Whether an operation is used as it may be."""
    value = program.outputs[0]
    assert isinstance(value, Statement)
    if operation is rules.message:  # what is reached by no means has a global gradient of 0
        return value.operands[0] != 0.0 or repr(value.operands[1]) == "0.0"
    return operation is not rules.gather or value.operands[0] in (0.0, 1.0)


SOME = [operation for operation in rules.OPERATIONS.values() if not operation.variadic]


@pytest.mark.parametrize("operation", [*SOME, rules.gather, rules.fsum], ids=lambda x: x.name)
def test_every_simplification(operation: Operation) -> None:
    """Of an operation on constants, negated and compared values, and the same value twice."""
    rng = random.Random(operation.name)
    count = 3 if operation.variadic else len(operation.local_grads)
    for program in _programs(operation, count):
        if not _can_be(operation, program):
            continue
        before = len(program.body)
        simple = rebuilt(program)
        assert len(program.body) == before
        verify(simple)
        final = going_on(program, 0)
        for inputs in _inputs(rng):
            expected = interpret(program, inputs)
            found = interpret(simple, inputs)
            if operation is rules.message:
                _check_message(program, found[0], expected[0])
                continue
            assert bits(found[0]) == bits(expected[0]), f"{program}\n{simple}\n{inputs}"
            found = interpret(final, inputs)
            if operation in (rules.power, rules.power_term):
                _check_near(found[0], expected[0], f"{program}\n{final}\n{inputs}")
            else:
                assert bits(found[0]) == bits(expected[0]), f"{program}\n{final}\n{inputs}"


def _check_message(program: Program, found: Sequence[float], expected: Sequence[float]) -> None:
    value = program.outputs[0]
    assert isinstance(value, Statement)
    if value.operands[0] == 0.0:  # nothing is sent, whatever the sign of 0
        assert found == [0.0, 0.0]
        assert expected == [0.0, 0.0]
    else:
        assert bits(found) == bits(expected)


def _check_near(found: Sequence[float], expected: Sequence[float], what: str) -> None:
    """Powers as products round once more for each product."""
    for x, y in zip(found, expected, strict=True):
        if math.isfinite(x) and math.isfinite(y):
            assert abs(x - y) <= 4 * math.ulp(y), what
            assert math.copysign(1.0, x) == math.copysign(1.0, y), what
        else:
            assert bits([x]) == bits([y]), what


@pytest.mark.parametrize("seed", range(150))
def test_random_programs(seed: int) -> None:
    """Whole programs, with loops, are the same simplified, and simplified twice."""
    special = [*NUMBERS, *SPECIAL_NUMBERS]
    program = random_program(seed, ALL, special, guards=seed % 3 == 0)
    simple = rebuilt(program)
    verify(simple)
    again = rebuilt(simple)
    verify(again)
    assert _size(again) <= _size(simple) <= _size(program)
    for number in range(3):
        inputs = random_inputs(number, program, special=True)
        outputs, guard = interpret(program, inputs)
        for other in (simple, again):
            found, found_guard = interpret(other, inputs)
            assert bits(found) == bits(outputs)
            assert found_guard == guard


@pytest.mark.parametrize("seed", range(60))
def test_random_programs_with_segments(seed: int) -> None:
    """Segments, and what is derived of them, stay well-formed."""
    program = random_program(seed, segments=True)
    simple = rebuilt(program)
    verify(simple)
    verify(rebuilt(simple))
    derives = [isinstance(x, Derive) for x in statements(simple.body)]
    assert sum(derives) <= sum(isinstance(x, Derive) for x in statements(program.body))


def _size(program: Program) -> int:
    return len([*statements(program.body)])


def _kinds(body: Sequence[Statement]) -> list[str]:
    return [type(x).__name__ for x in body]


def _operations(program: Program) -> list[str]:
    return [x.operation.name for x in statements(program.body) if isinstance(x, Compute)]


# Sharing


def test_equal_values_are_one() -> None:
    """Of operations that commute in either order; of others in one."""
    b = Builder(2, final=True)
    x, y = b.input(0), b.input(1)
    assert b.input(0) is x
    for operation in (rules.add, rules.multiply, rules.equal, rules.not_equal):
        assert b.compute(operation, (x, y)) is b.compute(operation, (y, x))
    for operation in (rules.subtract, rules.divide, rules.less, rules.maximum):
        assert b.compute(operation, (x, y)) is b.compute(operation, (x, y))
        assert b.compute(operation, (x, y)) is not b.compute(operation, (y, x))


def test_what_is_differentiated_is_not_shared() -> None:
    """Gradients have the terms that the user's program has; elements are loaded once."""
    b = Builder(1)
    x = b.input(0)
    assert b.input(0) is x
    assert b.compute(rules.exp, (x,)) is not b.compute(rules.exp, (x,))


def test_zeros_are_two_and_nans_are_one() -> None:
    """A constant 0.0 is not -0.0."""
    b = Builder(1, final=True)
    x = b.input(0)
    assert b.compute(rules.multiply, (x, 0.0)) is not b.compute(rules.multiply, (x, -0.0))
    assert b.compute(rules.multiply, (x, NAN)) is b.compute(rules.multiply, (x, -NAN))


def test_operations_of_users_are_told_apart() -> None:
    """By what they are, not by name; they are computed once, and for constants at once."""
    one, other = [chainrule.Operation("f", lambda x: x, [lambda y, x: 1.0]) for _ in range(2)]
    b = Builder(1, final=True)
    x = b.input(0)
    assert b.compute(one, (x,)) is b.compute(one, (x,))
    assert b.compute(one, (x,)) is not b.compute(other, (x,))
    assert b.compute(one, (2.0,)) == 2.0


def test_values_of_a_loop_are_not_known_after_it() -> None:
    """Nor in another loop."""
    b = Builder(4)
    out = Array(VALUES, 8, "v")
    for start in (0, 4):
        with b.loop(4) as loop:
            i = Index(0, ((loop, 1),))
            b.store(out, i.plus(start), b.compute(rules.exp, (b.load(b.inputs, i),)))
    program = b.finish([Slice(out, 0, 8)])
    verify(program)
    assert _operations(program) == ["exp", "exp"]


# Powers and gradients that are stopped


def test_final() -> None:
    """Powers become products, and stopped gradients values, when nothing is differentiated more."""
    for final in (False, True):
        b = Builder(1, final=final)
        x = b.input(0)
        cube = b.compute(rules.power, (x, 3.0))
        stopped = b.compute(rules.stop_gradient, (cube,))
        program = b.finish([b.compute(rules.exp, (stopped,))])
        if not final:
            assert _operations(program) == ["power", "stop_gradient", "exp"]
            program = going_on(program, 0)
        assert _operations(program) == ["multiply", "multiply", "exp"]


def test_a_constant_with_a_derivative_of_its_own() -> None:
    """What custom_gradient makes stays, even of a value that is constant, until it is final."""
    whole = chainrule.Operation("whole", lambda value, *xs: value, lambda y, *xs: [0.0, 1.0])
    whole.passes = True
    b = Builder(1)
    assert isinstance(b.compute(whole, (1.0, b.input(0))), Compute)
    b = Builder(1, final=True)
    assert b.compute(whole, (1.0, b.input(0))) == 1.0


def test_gather_at_a_constant() -> None:
    """Negative places count from the end, as the operation has it."""
    b = Builder(2)
    x, y = b.input(0), b.input(1)
    assert b.compute(rules.gather, (1.0, x, y)) is y
    assert b.compute(rules.gather, (-2.0, x, y)) is x


# Where things stand


def _loop_of(program: Program) -> Loop:
    return next(x for x in program.body if isinstance(x, Loop))


def test_what_is_constant_leaves_loops() -> None:
    """To the innermost loop on which it hangs."""
    b = Builder(10)
    out = Array(VALUES, 12, "v")
    with b.loop(3) as i, b.loop(4) as j:
        fixed = b.compute(rules.exp, (b.input(9),))
        of_row = b.compute(rules.sin, (b.load(b.inputs, Index(0, ((i, 1),))),))
        of_both = b.compute(rules.multiply, (of_row, b.load(b.inputs, Index(0, ((j, 1),)))))
        total = b.compute(rules.add, (b.compute(rules.add, (fixed, of_row)), of_both))
        b.store(out, Index(0, ((i, 4), (j, 1))), total)
    program = b.finish([Slice(out, 0, 12)])
    verify(program)
    assert _kinds(program.body) == ["Load", "Compute", "Loop"]
    row = _loop_of(program)
    assert _kinds(row.body) == ["Load", "Compute", "Compute", "Loop"]


def test_elements_leave_loops_that_write_nothing_to_their_array() -> None:
    """An element stored before the loop is loaded before it; of an array it writes to, in it."""
    b = Builder(4)
    before, within = Array(VALUES, 1, "before"), Array(VALUES, 5, "within")
    b.store(before, Index(), b.input(0))
    b.store(within, Index(), 1.0)
    with b.loop(4) as loop:
        i = Index(0, ((loop, 1),))
        step = b.compute(rules.multiply, (b.load(within, i), b.load(before, Index())))
        b.store(within, i.plus(1), b.compute(rules.add, (step, b.load(within, Index()))))
    program = b.finish([b.load(within, Index(4))])
    verify(program)
    # What is stored in the same body is known, and needs no load.
    assert [str(x.index.offset) for x in program.body if isinstance(x, Load)] == ["0", "4"]
    assert [x.array.name for x in _loop_of(program).body if isinstance(x, Load)] == ["within"]


def test_sums_are_read_where_they_are_complete() -> None:
    """After the loop that adds to them, though the index hangs on a loop around it alone."""
    b = Builder(4)
    sums, out = Array(SUMS, 2, "d"), Array(VALUES, 6, "v")
    with b.loop(2) as i:
        row = Index(0, ((i, 1),))
        with b.loop(4) as j:
            b.add(sums, row, b.load(b.inputs, Index(0, ((j, 1),))))
        with b.loop(3) as k:
            value = b.compute(rules.exp, (b.load(sums, row),))
            b.store(out, Index(0, ((i, 3), (k, 1))), value)
    program = b.finish([Slice(out, 0, 6)])
    verify(program)
    assert _kinds(_loop_of(program).body) == ["Loop", "Load", "Compute", "Loop"]


@pytest.mark.parametrize("kind", [INPUT, CONSTANT, VALUES])
def test_no_load_where_the_element_may_not_exist(kind: str) -> None:
    """In a loop that does not run in the last iteration of the one around it."""
    b = Builder(4)
    array = b.inputs if kind == INPUT else b.table([1.0, 2.0, 3.0, 4.0])
    if kind == VALUES:
        array = Array(VALUES, 5, "w")  # of which one element is never stored
        with b.loop(4) as loop:
            b.store(array, Index(0, ((loop, 1),)), 2.0)
    sums = Array(SUMS, 1, "d")
    with b.loop(4) as i, b.loop(Index(3, ((i, -1),))):
        b.add(sums, Index(), b.load(array, Index(1, ((i, 1),))))
        b.add(sums, Index(), b.load(b.inputs, Index(0, ((i, 1),))))  # this one does
    program = b.finish([Slice(sums, 0, 1)])
    verify(program)
    assert interpret(program, [1.0, 2.0, 3.0, 4.0])[1] is None
    outer = [x for x in program.body if isinstance(x, Loop)][-1]
    assert _kinds(outer.body) == ["Load", "Loop"]


def test_what_can_raise_stays_in_loops_that_may_not_run() -> None:
    """An operation of a user's is called no more often than the program says."""
    called = []
    logged = chainrule.Operation("logged", lambda x: called.append(x) or x, [lambda y, x: 1.0])  # type: ignore[func-returns-value]
    for trips, expected in [(0, 0), (3, 1)]:
        b = Builder(1)
        sums = Array(SUMS, 1, "d")
        with b.loop(trips):
            b.add(sums, Index(), b.compute(logged, (b.input(0),)))
        called.clear()
        interpret(b.finish([Slice(sums, 0, 1)]), [2.0])
        assert len(called) == expected


def test_loops_of_nothing_are_left_out() -> None:
    """Where all of the body is constant."""
    b = Builder(1)
    with b.loop(3):
        value = b.compute(rules.exp, (b.input(0),))
    assert _kinds(b.finish([value]).body) == ["Load", "Compute"]


def test_stored_numbers_and_values_are_known() -> None:
    """Without a load."""
    b = Builder(1)
    array = Array(VALUES, 2, "v")
    b.store(array, Index(), 2.5)
    b.store(array, Index(1), b.input(0))
    assert b.load(array, Index()) == 2.5
    assert b.load(array, Index(1)) is b.input(0)


def test_elements_of_tables() -> None:
    """At a fixed place they are numbers; beyond the table there are none."""
    b = Builder(0)
    table = b.table([1.0, -0.0])
    assert repr(b.load(table, Index(1))) == "-0.0"
    for place in (-1, 2):
        with pytest.raises(ProgramError, match=f"element {place} of a table of 2"):
            b.load(table, Index(place))


# Segments and guards


def test_values_of_nested_segments_can_be_used_after_them() -> None:
    """Also within loops that come later."""
    b = Builder(1)
    with b.segment() as outer:
        x = b.enter(outer, Index(), b.input(0))
        with b.segment() as inner:
            y = b.compute(rules.exp, (b.enter(inner, Index(), x),))
    sums = Array(SUMS, 1, "d")
    with b.loop(3) as loop:
        z = b.compute(rules.sin, (y,))
        b.add(sums, Index(), b.compute(rules.multiply, (z, b.load(b.inputs, Index()))))
    program = b.finish([Slice(sums, 0, 1)])
    verify(program)
    assert loop in program.body
    (found,), _ = interpret(program, [0.5])
    assert found == pytest.approx(3 * math.sin(math.exp(0.5)) * 0.5)


def test_the_input_of_a_segment_is_a_value_of_its_own() -> None:
    """What is computed of it is not what is computed of the same value outside."""
    b = Builder(1, final=True)
    outside = b.compute(rules.exp, (b.input(0),))
    with b.segment() as segment:
        entered = b.enter(segment, Index(), b.input(0))
        inside = b.compute(rules.exp, (entered,))
        constant = b.compute(rules.exp, (b.input(0),))
        b.leave(segment, Index(), inside)
    assert inside is not outside
    assert constant is outside


def test_guards_are_counted() -> None:
    """In loops by their iterations."""
    b = Builder(6)
    with b.loop(2) as i, b.loop(3) as j:
        at = Index(1, ((i, 3), (j, 1)))
        b.guard(b.load(b.inputs, at.plus(-1)), True, at)
    assert b.finish([]).guards == 7


def test_notes() -> None:
    """Statements carry the note that the builder had where they were made."""
    first, second = (chainrule.annotations.Annotation(name, (), None) for name in "ab")
    b = Builder(2)
    b.note = first
    x = b.input(0)
    with b.loop(2) as loop:
        b.note = second
        b.guard(b.load(b.inputs, Index(0, ((loop, 1),))), True, Index(0, ((loop, 1),)))
    assert isinstance(x, Statement)
    assert (x.note, loop.note) == (first, first)
    assert {y.note for y in loop.body} == {second}


# Dead statements


def _dead(make: Callable[[Builder, Array], None]) -> list[str]:
    """The kinds of statements that are left when nothing of what a function makes is asked for."""
    b = Builder(4)
    make(b, Array(VALUES, 5, "v"))
    return _kinds([*statements(b.finish([b.input(0)]).body)])


def test_what_nothing_asks_for_goes() -> None:
    """Loops and stores with what they hang on; but never a guard."""

    def recurrence(b: Builder, v: Array) -> None:
        b.store(v, Index(), 1.0)
        with b.loop(4) as loop:
            i = Index(0, ((loop, 1),))
            b.store(v, i.plus(1), b.compute(rules.exp, (b.load(v, i),)))

    def guarded(b: Builder, v: Array) -> None:
        with b.loop(4) as loop:
            i = Index(0, ((loop, 1),))
            b.store(v, i, 1.0)
            b.guard(b.compute(rules.less, (b.load(b.inputs, i), 9.0)), True, i)

    def derived(b: Builder, v: Array) -> None:
        with b.segment() as segment:
            b.leave(
                segment, Index(), b.compute(rules.exp, (b.enter(segment, Index(), b.input(1)),))
            )
        b.store(v, Index(), 1.0)
        b.derive(segment, False, v, Index(), Array(VALUES, 1), Index())

    assert _dead(recurrence) == ["Load"]
    assert _dead(guarded) == ["Loop", "Load", "Compute", "Guard", "Load"]
    assert _dead(derived) == ["Load"]


def test_segments_keep_what_their_derivative_needs() -> None:
    """All their inputs and outputs, used or not."""
    b = Builder(2)
    given, results = Array(VALUES, 2, "given"), Array(VALUES, 2, "results")
    with b.segment() as segment:
        x, _ = (b.enter(segment, Index(i), b.input(i)) for i in range(2))
        b.leave(segment, Index(0), b.compute(rules.exp, (x,)))
        b.leave(segment, Index(1), 2.0)
    b.store(given, Index(0), 1.0)
    b.derive(segment, False, given, Index(), results, Index())
    program = b.finish([b.load(results, Index(1))])
    verify(program)
    (segment,) = (x for x in program.body if isinstance(x, Segment))
    assert [type(x) for x in segment.body] == [Enter, Enter, Compute, Leave, Leave]
    assert [x.array for x in program.body if isinstance(x, Store)] == [given]


@pytest.mark.parametrize("seed", range(100))
def test_each_output_alone(seed: int) -> None:
    """A program for some of the outputs gives what the whole one does, and needs no more."""
    program = random_program(seed, guards=seed % 2 == 0)
    inputs = random_inputs(seed, program)
    _, whole_guard = interpret(program, inputs)
    everything = program.outputs
    for place in random.Random(seed).sample(range(len(everything)), 2):
        program.outputs = [everything[place]]
        expected = interpret(program, inputs)[0]
        part = rebuilt(program)
        verify(part)
        found, guard = interpret(part, inputs)
        assert guard == whole_guard
        assert bits(found) == bits(expected)
        read = {x.array for x in statements(part.body) if isinstance(x, READS)}
        read |= {x.array for x in part.outputs if isinstance(x, Slice)}
        assert {x.array for x in statements(part.body) if isinstance(x, WRITES)} <= read
        used = {y for x in statements(part.body) for y in x.operands} | {*part.outputs}
        values = [x for x in statements(part.body) if isinstance(x, (Compute, *READS))]
        assert all(x in used for x in values)
        assert any(isinstance(x, Guard) for x in statements(part.body)) == bool(
            [x for x in statements(program.body) if isinstance(x, Guard)]
        )
