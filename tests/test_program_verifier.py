"""The verifier: it lets well-formed programs pass, and finds what the interpreter stumbles over."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy
import pytest
from random_forms import random_inputs, random_program

from chainrule import rules
from chainrule.annotations import Annotation
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
    Derive,
    Enter,
    Guard,
    Index,
    Last,
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
    statements,
)
from chainrule.program.interpreter import interpret
from chainrule.program.nests import count
from chainrule.program.verifier import verify


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("kind", ["plain", "guards", "segments"])
def test_random_programs_are_well_formed(seed: int, kind: str) -> None:
    """What the other tests start from."""
    verify(random_program(seed, guards=kind == "guards", segments=kind == "segments"))


def _bodies(body: list[Statement]) -> list[list[Statement]]:
    found = [body]
    for x in body:
        if isinstance(x, (Loop, Segment)):
            found += _bodies(x.body)
    return found


def _break(rng: random.Random, program: Program) -> None:
    """Change something, which often breaks a rule."""
    body = rng.choice([body for body in _bodies(program.body) if body])
    everything = [*statements(program.body)]
    place = rng.randrange(len(body))
    x = body[place]
    kind = rng.randrange(9)
    if kind == 0:
        del body[place]
    elif kind == 1:
        body.insert(rng.randrange(len(body)), body.pop(place))
    elif kind == 2:
        rng.choice(_bodies(program.body)).append(body.pop(place))
    elif kind == 3 and isinstance(x, Compute):
        operands: list[Operand] = [*x.operands]
        operands[rng.randrange(len(operands))] = rng.choice(everything)
        body[place] = changed = Compute(x.operation, operands)
        for user in everything:
            _replace(user, x, changed)
        program.outputs = [changed if y is x else y for y in program.outputs]
    elif kind == 4 and isinstance(x, (Load, Store)):
        x.index = _other(rng, x.index)
    elif kind == 5 and isinstance(x, Loop):
        x.trips = _other(rng, x.trips)
    elif kind == 6 and isinstance(x, (Load, Store)):
        x.array.size = max(0, x.array.size + rng.choice([-1, -1, 1]))
    elif kind == 7 and isinstance(x, (Load, Store)) and x.array.kind in (VALUES, SUMS):
        x.array.kind = rng.choice([VALUES, SUMS])
    elif kind == 8 and isinstance(x, Store):
        body.append(type(x)(x.array, _other(rng, x.index), x.value))


def _replace(user: Statement, old: Statement, new: Statement) -> None:
    if isinstance(user, Compute):
        user._operands = tuple([new if y is old else y for y in user.operands])
    elif isinstance(user, Store) and user.value is old:
        user.value = new
    elif isinstance(user, Guard) and user.condition is old:
        user.condition = new


def _other(rng: random.Random, index: Index) -> Index:
    if index.strides and rng.random() < 0.5:
        loop, stride = index.strides[0]
        return index._replace(strides=((loop, stride + 1), *index.strides[1:]))
    return index.plus(rng.choice([-1, 1]))


def _all_run(body: list[Statement], loops: list[Loop]) -> bool:
    """Whether all loops have iterations."""
    for x in body:
        if isinstance(x, Loop) and not (count([*loops, x]) and _all_run(x.body, [*loops, x])):
            return False
    return True


def _error(f: Callable[[], object]) -> ProgramError | None:
    try:
        f()
    except ProgramError as error:
        return error
    return None


def test_broken_programs() -> None:
    """What fails in a run is found before, and what is found does fail, if all of it runs."""
    broken = 0
    for seed in range(1200):
        program = random_program(seed, size=4)
        rng = random.Random(seed)
        _break(rng, program)
        inputs = random_inputs(seed, program)
        failed = _error(lambda: interpret(program, inputs))  # noqa: B023
        found = _error(lambda: verify(program))  # noqa: B023
        if failed is not None:
            broken += 1
            assert found is not None, f"seed {seed}: {failed}"
        elif found is not None:
            assert not _all_run(program.body, []), f"seed {seed}: {found}"
    assert broken > 250


def _inputs() -> tuple[Array, Load]:
    x = Array(INPUT, 2, "x")
    return x, Load(x, Index())


def _of_segment(**changes: object) -> Program:
    """A segment with one input and output, differentiated once."""
    b = Builder(1)
    given, results = Array(VALUES, 1, "given"), Array(VALUES, 1, "results")
    with b.segment() as segment:
        entered = b.enter(segment, Index(), b.input(0))
        b.leave(segment, Index(), b.compute(rules.exp, (entered,)))
    b.store(given, Index(), 1.0)
    b.derive(segment, False, given, Index(), results, Index())
    program = b.finish([b.load(results, Index())])
    for statement in statements(program.body):
        for name, value in changes.items():
            kind, _, attribute = name.partition("_")
            if type(statement).__name__ == kind:
                setattr(statement, attribute, value)
    return program


def _value_of_a_loop() -> Program:
    x, first = _inputs()
    loop = Loop(Index(2))
    inner = Compute(rules.exp, (first,))
    loop.body = [inner]
    return Program(x, [first, loop], [inner])


def _statement_twice() -> Program:
    x, first = _inputs()
    return Program(x, [first, first], [first])


def _of(*body: Statement, outputs: list[Operand | Slice] | None = None) -> Program:
    return Program(Array(INPUT, 2, "x"), [*body], outputs or [])


def _index_of_another_loop() -> Program:
    one, other = Loop(Index(2)), Loop(Index(2))
    one.body = [Store(Array(VALUES, 2, "v"), Index(0, ((other, 1),)), 1.0)]
    return _of(one, other)


def _trips_of_itself() -> Program:
    loop = Loop(Index(2))
    loop.trips = Index(2, ((loop, 1),))
    return _of(loop)


def _last_inside() -> Program:
    loop = Loop(Index(2))
    carry = Carry(1.0)
    loop.carries, loop.body = [carry], [Last(loop, carry)]
    return _of(loop)


def _carry_from_outside() -> Program:
    loop, other = Loop(Index(2)), Loop(Index(2))
    carry = Carry(1.0)
    inner = Compute(rules.exp, (carry,))
    loop.body, loop.carries, carry.next = [inner], [carry], inner
    other.body = [Compute(rules.exp, (carry,))]
    return _of(loop, other)


def _carry_of_a_value_after_the_loop() -> Program:
    loop = Loop(Index(2))
    carry = Carry(1.0)
    after = Compute(rules.exp, (1.0,))
    loop.carries, carry.next = [carry], after
    return _of(loop, after)


def _carry_and_derive() -> Program:
    program = _of_segment()
    loop = Loop(Index(2))
    loop.carries = [Carry(1.0)]
    program.body.append(loop)
    return program


def _read_in_an_earlier_iteration() -> Program:
    """Element i + 1 is read in iteration i, and stored in the next."""
    v = Array(VALUES, 4, "v")
    loop = Loop(Index(3))
    i = Index(0, ((loop, 1),))
    loop.body = [Load(v, i), Store(v, i, 1.0)]
    return _of(loop)


def _sum_read_too_early() -> Program:
    """A sum is read in each iteration, and added to in each."""
    d = Array(SUMS, 1, "d")
    loop = Loop(Index(3))
    loop.body = [Add(d, Index(), 1.0), Load(d, Index())]
    return _of(loop)


def _guards(first: int, second: int, guards: int = 2) -> Program:
    program = _of(Guard(1.0, True, Index(first)), Guard(1.0, True, Index(second)))
    program.guards = guards
    return program


def _guards_in_a_loop() -> Program:
    """Two guards in each iteration, numbered as if the loop asked one of them first each time."""
    loop = Loop(Index(2))
    loop.body = [Guard(1.0, True, Index(2 * k, ((loop, 1),))) for k in range(2)]
    program = _of(loop)
    program.guards = 4
    return program


def _derive_first() -> Program:
    program = _of_segment()
    program.body.sort(key=lambda x: isinstance(x, Segment))
    return program


def _derive_in_the_segment() -> Program:
    segment = Segment()
    given, results = Array(VALUES, 1), Array(VALUES, 1)
    segment.body = [Derive(segment, False, given, Index(), results, Index())]
    return _of(segment)


def _given_after() -> Program:
    program = _of_segment()
    program.body.sort(key=lambda x: isinstance(x, Store))
    return program


def _outside_its_segment() -> Program:
    program = _of_segment()
    segment = next(x for x in program.body if isinstance(x, Segment))
    program.body.append(segment.body.pop())
    return program


def _entered_twice() -> Program:
    segment, loop = Segment(), Loop(Index(2))
    loop.body = [Enter(segment, Index(), 1.0)]
    segment.body = [loop]
    return _of(segment)


def _enters_its_own() -> Program:
    segment = Segment()
    inner = Compute(rules.exp, (1.0,))
    segment.body = [inner, Enter(segment, Index(), inner)]
    return _of(segment)


def _noted() -> Program:
    program = _of(Load(Array(VALUES, 1, "v"), Index(1)))
    program.body[0].note = Annotation(None, (), "walk.py:7")
    return program


X = Array(INPUT, 2, "x")
MALFORMED: list[tuple[Callable[[], Program], str]] = [
    (_value_of_a_loop, "an output uses Compute exp before it is there, or outside of its loop"),
    (_statement_twice, "Load stands in two places"),
    (lambda: _of(Compute(rules.exp, (2,))), "uses a int, which is no value"),
    (lambda: _of(Compute(rules.exp, (Guard(1.0, True, Index()),))), "uses a Guard"),
    (lambda: _of(Compute(rules.exp, (1.0, 1.0))), "exp takes 1 operand, not 2"),
    (lambda: _of(Compute(rules.fsum, ())), "Compute fsum without operands"),
    (lambda: _of(Carry(1.0)), "Carry can't stand in a body"),
    (lambda: _of(Load(Array(INPUT, 2, "y"), Index())), r"takes y\[2\], not the program's"),
    (lambda: _of(Load(Array("other", 2, "y"), Index())), "takes no other array"),
    (lambda: Program(Array(VALUES, 1), [], []), "the array of inputs is of kind values"),
    (lambda: _of(Store(X, Index(), 1.0)), r"Store takes no input array, x\[2\]"),
    (lambda: _of(Add(Array(VALUES, 2, "v"), Index(), 1.0)), "Add takes no values array"),
    (lambda: _of(Store(Array(SUMS, 2, "d"), Index(), 1.0)), "Store takes no sums array"),
    (lambda: _of(Load(Array(CONSTANT, 2, "c"), Index())), "is not a table"),
    (lambda: _of(Load(Array(CONSTANT, 2, "c", numpy.zeros(3)), Index())), "is not a table"),
    (lambda: _of(Load(Array(VALUES, -1, "v"), Index())), "of a negative size"),
    (lambda: _of(outputs=[Slice(Array(SUMS, 3, "d"), 1, 3)]), r"outputs 1 and on of d\[3\]"),
    (lambda: _of(outputs=[Slice(Array(VALUES, 3, "v"), 1, 1)]), r"v\[3\] at 1, which is not st"),
    (_index_of_another_loop, "the index of Store depends on a loop that is not around it"),
    (_trips_of_itself, "a trip count depends on a loop that is not around it"),
    (_last_inside, "Last of a loop that has not run here"),
    (_carry_from_outside, "uses Carry before it is there, or outside of its loop"),
    (_carry_of_a_value_after_the_loop, "a carry uses Compute exp before it is there"),
    (_carry_and_derive, "carries in a program with Derive"),
    (_read_in_an_earlier_iteration, r"read of v\[4\] at 0 before it is stored"),
    (_sum_read_too_early, r"read of d\[1\] at 0 before it is added to after that"),
    (lambda: _guards(1, 0), "not numbered in the order"),
    (lambda: _guards(0, 0), "not numbered in the order"),
    (lambda: _guards(0, 2), "guard 2 of a program of 2 guards"),
    (lambda: _guards(-1, 1), "guard -1 of a program of 2 guards"),
    (_guards_in_a_loop, "not numbered in the order"),
    (_derive_first, "Derive of a segment that has not run here"),
    (_derive_in_the_segment, "Derive of a segment that has not run here"),
    (_given_after, r"read of given\[1\] at 0 before it is stored"),
    (lambda: _of_segment(Derive_given_at=Index(1)), r"element 1 of given\[1\]"),
    (lambda: _of_segment(Derive_results_at=Index(-1)), r"element -1 of results\[1\]"),
    (lambda: _of_segment(Load_array=Array(VALUES, 1, "w")), r"read of w\[1\] at 0, which is not"),
    (lambda: _of_segment(Enter_place=Index(-1)), "Enter of place -1"),
    (_outside_its_segment, "Leave outside the body of its segment"),
    (_entered_twice, "Enter of place 0, twice"),
    (_enters_its_own, "Enter of a value that its own segment computes"),
    (_noted, r"Load at walk.py:7 takes element 1 of v\[1\]"),
]


@pytest.mark.parametrize("place", range(len(MALFORMED)))
def test_malformed(place: int) -> None:
    """Each rule has an error of its own."""
    make, message = MALFORMED[place]
    with pytest.raises(ProgramError, match=message):
        verify(make())


def test_well_formed() -> None:
    """The programs that the malformed ones come from."""
    verify(_of_segment())
    verify(_guards(0, 1))
    verify(_guards(3, 5, guards=6))  # others have been decided


def test_tables_of_indices() -> None:
    """A table of an index has a number for each iteration."""
    loop = Loop(Index(3))
    at = Index(0, (), ((Table(numpy.array([0, 1])), Index(0, ((loop, 1),))),))
    loop.body = [Store(Array(VALUES, 2, "v"), at, 1.0)]
    with pytest.raises(ProgramError, match=r"read of \[2\] of an index table of 2"):
        verify(_of(loop))
