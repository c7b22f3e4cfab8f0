"""Unroll and jam: iterations of a loop side by side in the loops that it contains.

Sums such as those of a product of matrices hang on themselves alone: a term has to wait for the one
before. Several of them at a time fill the processor, and what they have in common is loaded once:

    for i in range(n):                      for i in range(0, n, 4):
        for j in range(m):                      for j in range(m):
            sum_i += w[i, j] * x[j]                 sum_i += w[i, j] * x[j]
                                                    ...
                                                    sum_i+3 += w[i+3, j] * x[j]

Each value and each sum is the same to the last bit, as sums keep the order of their terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from chainrule import rules
from chainrule.program import nests
from chainrule.program.form import (
    Add,
    Array,
    Carry,
    Compute,
    Index,
    Last,
    Load,
    Loop,
    Operand,
    Program,
    Statement,
    Store,
    statements,
)

WIDTHS: Final = (4, 5, 6, 3)
"""How many iterations are put side by side: the first number that divides theirs, or the first."""

LARGEST: Final = 12
"""Statements of an inner loop that is worth it."""

CHEAP: Final = {
    *(rules.add, rules.subtract, rules.multiply, rules.negative, rules.where, rules.message),
    *(rules.maximum, rules.minimum, rules.relu, rules.absolute, *rules.COMPARISONS),
}
"""What an inner loop may compute: the time of others is not that of waiting."""


def jammed(program: Program) -> Program:
    """The program with loops jammed; it is changed in place.

    Args:
        program: without segments, with carries.
    """
    lasts = [x for x in statements(program.body) if isinstance(x, Last)]
    _jam_in(program.body, lasts, _can_be_jammed)
    return program


def blocked(program: Program) -> set[Loop]:
    """Compute rows of products of matrices side by side, in place; gives the loops that do.

    Args:
        program: without segments, with carries, for single points.
    """
    lasts = [x for x in statements(program.body) if isinstance(x, Last)]
    return _jam_in(program.body, lasts, _is_product)


def _is_product(loop: Loop) -> bool:
    """Whether each iteration gives the elements of a row, sums of which nothing else is read."""
    row = loop.body[0] if len(loop.body) == 1 else None
    if not isinstance(row, Loop) or loop.trips.offset < WIDTHS[0]:
        return False
    nest = [loop, row, *[x for x in row.body if isinstance(x, Loop)]]
    if len(nest) != 3 or [len(x.carries) for x in nest] != [0, 0, 1] or not _is_simple(nest[2]):
        return False
    every = [*statements(row.body)]
    stored = {x.array for x in every if isinstance(x, Store)}
    return (
        all(x.trips.is_fixed and not x.checkpoints for x in nest)
        and _has_copies(every)
        and not any(
            isinstance(x, Add) or (isinstance(x, Load) and x.array in stored) for x in every
        )
    )


def _has_copies(every: Iterable[Statement]) -> bool:
    """Whether statements can be put side by side."""
    kinds = (Compute, Load, Store, Loop, Last)
    return all(
        isinstance(x, kinds) and not (isinstance(x, Compute) and not x.operation.builtin)
        for x in every
    )


def _jam_in(
    body: list[Statement], lasts: Sequence[Last], pays: Callable[[Loop], bool]
) -> set[Loop]:
    """Jam the loops of a body, and of the bodies in it, for which it may be done and pays.

    Returns:
        the loops that they have become.
    """
    new: list[Statement] = []
    found: set[Loop] = set()
    for x in body:
        if isinstance(x, Loop):
            if pays(x):
                jam = _jam(x, lasts)
                found.update([y for y in jam if isinstance(y, Loop)])
                new += jam
                continue
            found |= _jam_in(x.body, lasts, pays)
        new.append(x)
    body[:] = new
    return found


def _width(loop: Loop) -> int:
    trips = loop.trips.offset
    return next((x for x in WIDTHS if trips % x == 0), WIDTHS[0])


# Whether it pays, and may be done


def _can_be_jammed(loop: Loop) -> bool:
    inner = [x for x in loop.body if isinstance(x, Loop)]
    if not inner or not loop.trips.is_fixed or loop.trips.offset < WIDTHS[0]:
        return False
    if not all(_is_simple(x) and loop not in x.trips.loops() for x in inner):
        return False
    if not _has_copies(statements(loop.body)):
        return False
    places = {y: place for place, x in enumerate(loop.body) for y in _with_carries(x)}
    return _memory_allows(loop, places) and _carries_allow(loop, places)


def _is_simple(loop: Loop) -> bool:
    """Whether an inner loop is worth it."""
    for x in loop.body:
        if isinstance(x, Loop) or (isinstance(x, Compute) and x.operation not in CHEAP):
            return False
    return len(loop.body) <= LARGEST


def _with_carries(x: Statement) -> Iterator[Statement]:
    """A statement, and what is in it."""
    for y in statements([x]):
        yield y
        if isinstance(y, Loop):
            yield from y.carries


def _carries_allow(loop: Loop, places: dict[Statement, int]) -> bool:
    """Whether no statement needs what comes after it in the iteration before."""
    after = {
        carry: places.get(carry.next, -1) if isinstance(carry.next, Statement) else -1
        for carry in loop.carries
    }
    for carry in loop.carries:
        if isinstance(carry.next, Carry) and carry.next in after:  # two iterations before
            return carry.next is carry and len(after) == 1
    for x, place in places.items():
        used = [*x.operands]
        if isinstance(x, Carry):
            used.append(x.next)
        for y in used:
            if isinstance(y, Carry) and y in after:
                come = after[y]
                if come > place or (come == place and isinstance(loop.body[place], Loop)):
                    return False
    return True


def _memory_allows(loop: Loop, places: dict[Statement, int]) -> bool:
    """Whether what is loaded has been stored, and sums keep the order of their terms."""
    stores: dict[Array, list[Store]] = {}
    for x in places:
        if isinstance(x, Store):
            stores.setdefault(x.array, []).append(x)
    for x, place in places.items():
        if isinstance(x, Load) and any(places[y] >= place for y in stores.get(x.array, ())):
            return False
    for found in stores.values():
        adds = [x for x in found if isinstance(x, Add)]
        if len(adds) > 1 or not all(_in_order(x, loop, loop.body[places[x]]) for x in adds):
            return False
    return True


def _in_order(add: Add, loop: Loop, inner: Statement) -> bool:
    """Whether no term of a sum would come before one of an earlier iteration."""
    if not isinstance(inner, Loop):
        return True
    strides = dict(add.index.strides)
    here, there = strides.get(loop, 0), strides.get(inner, 0)
    if {loop, inner} & {x for _, index in add.index.tables for x in index.loops()}:
        return False
    if there == 0:
        return here != 0
    trips = inner.trips.offset if inner.trips.is_fixed else None
    for ahead in range(1, _width(loop)):  # then the other one is `back` iterations earlier
        back, rest = divmod(here * ahead, there)
        if not rest and back > 0 and (trips is None or back < trips):
            return False
    return True


# Doing it


def _jam(loop: Loop, lasts: Sequence[Last]) -> list[Statement]:
    """The loops that stand for one: of several iterations at a time, and of those left over."""
    width = _width(loop)
    whole, rest = divmod(loop.trips.offset, width)
    parts = [(whole, width, 0)]
    if rest:
        parts.append((rest, 1, whole * width))
    return _in_parts(loop, parts, lasts)


def split(loop: Loop, at: int, lasts: Sequence[Last]) -> list[Statement]:
    """The loops that stand for one: of its iterations before some number of them, and of the rest.

    Args:
        loop: without loops in it.
        at: the number.
        lasts: all last values of the program.
    """
    return _in_parts(loop, [(at, 1, 0), (loop.trips.offset - at, 1, at)], lasts)


def _in_parts(
    loop: Loop, parts: Sequence[tuple[int, int, int]], lasts: Sequence[Last]
) -> list[Statement]:
    """Loops of so many iterations, each so many of the loop, from one of them on."""
    result: list[Statement] = []
    initial: dict[Carry, Operand] = {carry: carry.initial for carry in loop.carries}
    for trips, copies, first in parts:
        new, carries = _side_by_side(loop, trips, copies, first, initial)
        result.append(new)
        if first + trips * copies < loop.trips.offset:
            for carry in loop.carries:
                initial[carry] = last = Last(new, carries[carry])
                result.append(last)
    for last in lasts:
        if last.loop is loop:
            last.loop, last.carry = new, carries[last.carry]
    return result


def _side_by_side(
    loop: Loop, trips: int, width: int, first: int, initial: dict[Carry, Operand]
) -> tuple[Loop, dict[Carry, Carry]]:
    """A loop of which each iteration is several of another one, from some iteration on."""
    new = Loop(Index(trips))
    new.name, new.note = loop.name, loop.note
    carries = {carry: Carry(initial[carry]) for carry in loop.carries}
    new.carries = list(carries.values())
    copies = [_Copy(Index(first + k, ((new, width),)), loop) for k in range(width)]
    for carry, at_first in carries.items():
        copies[0].values[carry] = at_first
    for before, copy in pairwise(copies):
        copy.before = before
    for x in loop.body:
        if isinstance(x, Loop):
            new.body.append(_inner(x, copies))
        else:
            new.body += [copy.statement(x) for copy in copies]
    for carry, at_first in carries.items():
        at_first.next = copies[-1].value(carry.next)
    return new, carries


def _inner(loop: Loop, copies: Sequence[_Copy]) -> Loop:
    """An inner loop of all copies."""
    new = Loop(loop.trips)
    new.name, new.note = loop.name, loop.note
    for copy in copies:
        copy.iterations[loop] = Index(0, ((new, 1),))
        copy.loops[loop] = new
        for carry in loop.carries:
            own = copy.values[carry] = Carry(copy.value(carry.initial))
            new.carries.append(own)
    for x in loop.body:
        if isinstance(x, Loop):
            new.body.append(_inner(x, copies))
        else:
            new.body += [copy.statement(x) for copy in copies]
    for copy in copies:
        for carry in loop.carries:
            own_carry = copy.values[carry]
            assert isinstance(own_carry, Carry)
            own_carry.next = copy.value(carry.next)
    return new


class _Copy:
    """One of the iterations that are put side by side.

    Attributes:
        values: its values, by those of the loop.
        iterations: indices of loops.
        loops: the loops that inner ones have become.
        before: the iteration before.
    """

    def __init__(self, iteration: Index, loop: Loop) -> None:
        self.values: dict[Statement, Operand] = {}
        self.iterations = {loop: iteration}
        self.loops: dict[Loop, Loop] = {}
        self.before: _Copy | None = None
        self._carries = set(loop.carries)

    def value(self, x: Operand) -> Operand:
        """Its value in the place of one of the loop, or one from outside of it."""
        if not isinstance(x, Statement):
            return x
        if x in self._carries and x not in self.values:
            assert isinstance(x, Carry)
            assert self.before is not None
            self.values[x] = self.before.value(x.next)
        return self.values.get(x, x)

    def statement(self, x: Statement) -> Statement:
        """Its own copy of a statement."""
        new: Statement
        if isinstance(x, Compute):
            new = Compute(x.operation, [self.value(y) for y in x.operands])
        elif isinstance(x, Load):
            new = Load(x.array, nests.substituted(x.index, self.iterations))
        elif isinstance(x, Store):
            index = nests.substituted(x.index, self.iterations)
            new = type(x)(x.array, index, self.value(x.value))
        else:
            assert isinstance(x, Last)
            carry = self.values[x.carry]
            assert isinstance(carry, Carry)
            new = Last(self.loops[x.loop], carry)
        new.note = x.note
        self.values[x] = new
        return new
