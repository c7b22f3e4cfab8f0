"""The interpreter, against the same written in Python; and what it raises."""

from __future__ import annotations

import math
import random

import numpy
import pytest

import chainrule
from chainrule import rules
from chainrule.program.builder import Builder
from chainrule.program.form import (
    CONSTANT,
    INPUT,
    SUMS,
    VALUES,
    Add,
    Array,
    Carry,
    Compute,
    Enter,
    Guard,
    Index,
    Last,
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
    Table,
)
from chainrule.program.interpreter import interpret


def _of(
    *body: Statement, outputs: list[Operand | Slice] | None = None, inputs: Array | None = None
) -> Program:
    return Program(inputs or Array(INPUT, 0, "x"), [*body], outputs or [])


def test_all_kinds_of_outputs() -> None:
    """Values, numbers, and parts of arrays of each kind."""
    x = Array(INPUT, 3, "x")
    table = Array(CONSTANT, 2, "c", numpy.array([5.0, -0.0]))
    sums, values = Array(SUMS, 3, "d"), Array(VALUES, 3, "v")
    first = Load(x, Index(1))
    body = [
        first,
        Add(sums, Index(1), first),
        Add(sums, Index(1), 1.0),
        Store(values, Index(2), 7.0),
    ]
    outputs: list[Operand | Slice] = [
        first,
        4.0,
        Slice(x, 1, 2),
        Slice(table, 0, 2),
        Slice(sums, 0, 3),
        Slice(values, 2, 1),
    ]
    found, guard = interpret(_of(*body, outputs=outputs, inputs=x), [1.0, 2.0, 3.0])
    assert guard is None
    assert found == [2.0, 4.0, 2.0, 3.0, 5.0, -0.0, 0.0, 3.0, 0.0, 7.0]
    assert math.copysign(1.0, found[5]) == -1.0


def test_cholesky() -> None:
    """Triangular in two indices, against NumPy."""
    n = 5
    rng = numpy.random.default_rng(0)
    square = rng.normal(size=(n, n))
    square = square @ square.T + n * numpy.eye(n)
    b = Builder(n * n)
    lower = Array(VALUES, n * n, "lower")
    rest = Array(VALUES, n * n * (n + 1), "rest")
    with b.loop(n) as i:
        with b.loop(Index(0, ((i, 1),))) as j:
            at = Index(0, ((i, n * (n + 1)), (j, n + 1)))
            b.store(rest, at, b.load(b.inputs, Index(0, ((i, n), (j, 1)))))
            with b.loop(Index(0, ((j, 1),))) as k:
                one = b.load(lower, Index(0, ((i, n), (k, 1))))
                other = b.load(lower, Index(0, ((j, n), (k, 1))))
                here = Index(*at[:1], (*at.strides, (k, 1)))
                product = b.compute(rules.multiply, (one, other))
                b.store(
                    rest, here.plus(1), b.compute(rules.subtract, (b.load(rest, here), product))
                )
            left = b.load(rest, Index(0, ((i, n * (n + 1)), (j, n + 2))))
            below = b.compute(rules.divide, (left, b.load(lower, Index(0, ((j, n + 1),)))))
            b.store(lower, Index(0, ((i, n), (j, 1))), below)
        square_of_row = Array(VALUES, n * (n + 1), "squares")
        start = Index(0, ((i, n + 1),))
        b.store(square_of_row, start, b.load(b.inputs, Index(0, ((i, n + 1),))))
        with b.loop(Index(0, ((i, 1),))) as j:
            x = b.load(lower, Index(0, ((i, n), (j, 1))))
            here = Index(0, ((i, n + 1), (j, 1)))
            less = b.compute(
                rules.subtract, (b.load(square_of_row, here), b.compute(rules.multiply, (x, x)))
            )
            b.store(square_of_row, here.plus(1), less)
        root = b.compute(rules.sqrt, (b.load(square_of_row, Index(0, ((i, n + 2),))),))
        b.store(lower, Index(0, ((i, n + 1),)), root)
    rows = [Slice(lower, n * row, row + 1) for row in range(n)]
    found, _ = interpret(b.finish([*rows]), square.ravel().tolist())
    expected = numpy.linalg.cholesky(square)
    assert found == pytest.approx([expected[i, j] for i in range(n) for j in range(i + 1)])


def test_carries_change_together() -> None:
    """Fibonacci's numbers by two carries, of which each takes what the other was."""
    loop = Loop(Index(10))
    a, b = Carry(0.0), Carry(1.0)
    total = Compute(rules.add, (a, b))
    loop.carries, loop.body = [a, b], [total]
    a.next, b.next = b, total
    last = Last(loop, a)
    assert interpret(_of(loop, last, outputs=[last]), []) == ([55.0], None)
    loop.trips = Index()
    assert interpret(_of(loop, last, outputs=[last]), []) == ([0.0], None)


def test_carries_of_nested_loops() -> None:
    """An inner carry begins anew in each iteration of the outer loop."""
    outer, inner = Loop(Index(3)), Loop(Index(4))
    total = Carry(0.0)
    x = Carry(1.0)
    twice = Compute(rules.multiply, (x, 2.0))
    inner.carries, inner.body = [x], [twice]
    x.next = twice
    last = Last(inner, x)
    added = Compute(rules.add, (total, last))
    outer.carries, outer.body = [total], [inner, last, added]
    total.next = added
    result = Last(outer, total)
    assert interpret(_of(outer, result, outputs=[result]), []) == ([48.0], None)


def test_guards() -> None:
    """The first that fails ends the run."""
    x = Array(INPUT, 4, "x")
    loop = Loop(Index(4))
    i = Index(0, ((loop, 1),))
    element = Load(x, i)
    positive = Compute(rules.less, (0.0, element))
    loop.body = [element, positive, Guard(positive, True, i.plus(3))]
    program = _of(loop, outputs=[1.0], inputs=x)
    assert interpret(program, [1.0, 2.0, 3.0, 4.0]) == ([1.0], None)
    assert interpret(program, [1.0, 2.0, -3.0, -4.0]) == ([], 5)
    assert interpret(program, [math.nan, 2.0, -3.0, -4.0]) == ([], 3)
    loop.body[-1] = Guard(positive, False, i)
    assert interpret(program, [-1.0, 0.0, 3.0, 4.0]) == ([], 2)


def test_segments_run_in_their_place() -> None:
    """Their inputs are what comes from outside; their values can be used after them."""
    x = Array(INPUT, 1, "x")
    value = Load(x, Index())
    segment = Segment("grad")
    entered = Enter(segment, Index(), value)
    square = Compute(rules.multiply, (entered, entered))
    segment.body = [entered, square, Leave(segment, Index(), square)]
    result = Compute(rules.add, (square, value))
    program = _of(value, segment, result, outputs=[result], inputs=x)
    assert interpret(program, [3.0]) == ([12.0], None)


def test_operations_of_users() -> None:
    """They are called."""
    shifted = chainrule.Operation("shifted", lambda x: x + 1.0, [lambda y, x: 1.0])
    result = Compute(shifted, (2.0,))
    assert interpret(_of(result, outputs=[result]), []) == ([3.0], None)


def test_all_operations() -> None:
    """Each gives what it evaluates to."""
    rng = random.Random(0)
    for operation in rules.OPERATIONS.values():
        if operation is not rules.gather:
            count = 3 if operation.variadic else len(operation.local_grads)
            numbers = [rng.choice([rng.uniform(-2.0, 2.0), 0.0, 2.0]) for _ in range(count)]
            value = Compute(operation, numbers)
            ((found,), _) = interpret(_of(value, outputs=[value]), [])
            assert repr(found) == repr(operation.evaluate(numbers))


def _loop_with(*body: Statement, trips: int = 2) -> Loop:
    loop = Loop(Index(trips))
    loop.body = [*body]
    return loop


def test_errors() -> None:
    """What breaks a rule of arrays, or is not there."""
    v, d, x = Array(VALUES, 2, "v"), Array(SUMS, 2, "d"), Array(INPUT, 2, "x")
    inner = Compute(rules.exp, (1.0,))
    negative = Loop(Index(-1))
    table = Table(numpy.array([0, 1]))
    cases: list[tuple[list[Statement], str]] = [
        ([Load(v, Index(1))], r"read of v\[1\], which is not stored yet"),
        ([Load(v, Index(2))], r"read of v\[2\] of 2 elements"),
        ([Store(v, Index(-1), 1.0)], r"store to v\[-1\] of 2 elements"),
        ([_loop_with(Store(v, Index(1), 1.0))], r"second store to v\[1\]"),
        ([_loop_with(Add(d, Index(), 1.0), Load(d, Index()))], r"addition to d\[0\] after it was"),
        ([Store(d, Index(), 1.0)], "store to d, a sums array"),
        ([Add(v, Index(), 1.0)], "addition to v, a values array"),
        ([Load(x, Index())], "x is not the program's array of inputs"),
        ([Load(Array(CONSTANT, 2, "c", numpy.zeros(1)), Index())], "c is not of 2 numbers"),
        ([_loop_with(inner), Compute(rules.exp, (inner,))], "use of a Compute .* loop is over"),
        ([Compute(rules.exp, (inner,)), inner], "use of a Compute that has not run"),
        ([negative], "a loop of -1 iterations"),
        ([Load(v, Index(0, ((negative, 1),)))], "depends on a loop that is not around it"),
        ([Load(v, Index(0, (), ((table, Index(2)),)))], r"read of \[2\] of an index table of 2"),
        ([Carry(1.0)], "Carry can't stand in a body"),
    ]
    for body, message in cases:
        with pytest.raises(ProgramError, match=message):
            interpret(_of(*body), [])
    with pytest.raises(ProgramError, match=r"read of v\[0\], which is not stored yet"):
        interpret(_of(outputs=[Slice(v, 0, 1)]), [])
    with pytest.raises(ProgramError, match="the program has 2 inputs, not 1"):
        interpret(_of(inputs=x), [1.0])


def test_derivatives_are_to_be_taken_before() -> None:
    """A program that still says what is to be differentiated does not run."""
    b = Builder(1)
    given, results = Array(VALUES, 1), Array(VALUES, 1)
    with b.segment() as segment:
        b.leave(segment, Index(), b.enter(segment, Index(), b.input(0)))
    b.derive(segment, True, given, Index(), results, Index())
    program = b.finish([b.load(results, Index())])
    with pytest.raises(ProgramError, match="has to be differentiated before it runs"):
        interpret(program, [1.0])
