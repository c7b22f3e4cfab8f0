"""Fusion: loops that run as often become one, where one reads what the other has just stored.

Tangents pushed forward through a loop are computed by a second one, which reads what the first has
kept; in one loop nothing has to be kept. An iteration of the second must not need what later
iterations of the first store: that is looked up in all iterations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy

from chainrule.program import nests
from chainrule.program.elements import apart
from chainrule.program.form import (
    BY_VALUE,
    READS,
    SUMS,
    WRITES,
    Array,
    Compute,
    Guard,
    Index,
    Load,
    Loop,
    Operand,
    Program,
    Statement,
    Store,
    statements,
)
from chainrule.program.nests import Path, paths, substituted

FURTHEST = 200
"""How many statements may stand between two loops."""
NEAR = 4
"""What an iteration and as many before it have stored can be handed on in registers."""


def fuse(program: Program) -> bool:
    """Fuse loops of a program without segments and carries, in place; gives whether it did."""
    return _fuse_in(program.body, ())


def _fuse_in(body: list[Statement], around: Path) -> bool:
    """Fuse loops of a body, then loops in these."""
    found = False
    loops = [statement for statement in body if isinstance(statement, Loop)]
    if len(loops) > 1:
        items = [_Item(statement) for statement in body]
        place = 0
        while place < len(items):
            if isinstance(items[place].statement, Loop):
                for before in _loops_before(items, place):
                    if _fused(items, before, place, around):
                        found = True
                        place -= 1
                        break
            place += 1
        body[:] = [item.statement for item in items]
        loops = [statement for statement in body if isinstance(statement, Loop)]
    for loop in loops:
        found |= _fuse_in(loop.body, (*around, loop))
    return found


class _Item:
    """A statement of a body, with what it and the statements in it use and do.

    Attributes:
        statement: the statement.
        operands: what it uses.
        reads: the arrays that it reads.
        writes: the arrays that it writes to.
        sums: those of them that are of sums.
        guards: whether it asks guards.
        raises: whether it computes what may raise where it does not run otherwise.
    """

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.operands: set[Operand] = set()
        self.reads: set[Array] = set()
        self.writes: set[Array] = set()
        self.guards = False
        self.raises = False
        for x in statements([statement]):
            self.operands.update(x.operands)
            if isinstance(x, READS):
                self.reads.add(x.array)
            elif isinstance(x, WRITES):
                self.writes.add(x.array)
            elif isinstance(x, Guard):
                self.guards = True
            elif isinstance(x, Compute):
                self.raises |= x.operation.can_raise
        self.sums = {array for array in self.writes if array.kind == SUMS}

    def needs(self, other: _Item) -> bool:
        """Whether it must come after another one that stands before it."""
        return (
            other.statement in self.operands
            or not self.reads.isdisjoint(other.writes)
            or not self.sums.isdisjoint(other.sums)
        )


def _loops_before(items: Sequence[_Item], place: int) -> Iterator[int]:
    """The places of loops before one, the nearest first, from which it reads."""
    loop = items[place]
    for before in range(place - 1, max(place - FURTHEST, 0) - 1, -1):
        other = items[before]
        if isinstance(other.statement, Loop) and loop.reads & other.writes:
            yield before


def _fused(items: list[_Item], before: int, place: int, around: Path) -> bool:
    """Make two loops of a body one, at the place of the first, if that can be done."""
    first, second = items[before], items[place]
    assert isinstance(first.statement, Loop)
    assert isinstance(second.statement, Loop)
    marked = bool(first.statement.checkpoints), bool(second.statement.checkpoints)
    if marked[0] != marked[1] or not _run_alike(first.statement, second.statement, around):
        return False
    moving = _moving(items, before, place)
    if moving is None or not _fits(first.statement, second.statement, around):
        return False
    _join(first.statement, second.statement)
    staying = [item for item in items[before + 1 : place] if item not in moving]
    items[before : place + 1] = [*moving, _Item(first.statement), *staying]
    return True


def _moving(items: Sequence[_Item], before: int, place: int) -> list[_Item] | None:
    """What stands between two loops and has to come before both; None if it can't."""
    first, second = items[before], items[place]
    moving: list[_Item] = []
    for item in reversed(items[before + 1 : place]):
        if second.needs(item) or any(other.needs(item) for other in moving):
            if item.needs(first):
                return None
            moving.insert(0, item)
    earlier = [second, *moving]
    if any(item.guards for item in earlier):
        return None
    asked = any(item.guards for item in items[before:place])
    return None if asked and any(item.raises for item in earlier) else moving


def _run_alike(first: Loop, second: Loop, around: Path) -> bool:
    """Whether two loops always have as many iterations."""
    a, b = first.trips, second.trips
    if a.is_fixed and b.is_fixed:
        return a.offset == b.offset
    return numpy.array_equal(nests.numbers(a, around), nests.numbers(b, around))


def _fits(first: Loop, second: Loop, around: Path) -> bool:
    """Whether the second loop never reads ahead of the first, and sometimes close behind it.

    Where iterations run again, it reads checkpoints of those before, and else of the same one.
    """
    before, after = [
        [(x, path) for x, path in paths([loop]) if isinstance(x, (*READS, *WRITES))]
        for loop in (first, second)
    ]
    asked = {x.array for x, _ in before if isinstance(x, WRITES)} & {x.array for x, _ in after}
    accesses = [(x, path) for x, path in (*before, *after) if x.array in asked]
    if any(isinstance(x, BY_VALUE) for x, _ in accesses):
        return False
    start: dict[Loop, Index] = {}
    if all(apart([(x, path) for x, path in accesses if x.array is y], around) for y in asked):
        start, around = dict.fromkeys(around, Index()), ()  # then the first of each stands for all
    trips = nests.numbers(substituted(first.trips, start), around)
    width = int(trips.max(initial=0)) + 1
    clock = nests.scaled(nests.instance(around), width)
    last = {x: numpy.full(x.size, -1, dtype=numpy.int64) for x in asked}
    for x, inner in before:
        if isinstance(x, Store) and x.array in last:
            path = *around, *inner
            times = nests.numbers(nests.added(clock, Index(0, ((first, 1),))), path)
            places = nests.numbers(substituted(x.index, start), path)
            last[x.array][places] = numpy.maximum(last[x.array][places], times)  # times ascend
    is_near = False
    handed = {*first.checkpoints, *second.checkpoints}
    for x, inner in after:
        if isinstance(x, (Load, Store)) and x.array in last:  # sums keep the order of their terms
            path = *around, *inner
            times = nests.numbers(nests.added(clock, Index(0, ((second, 1),))), path)
            stored = last[x.array][nests.numbers(substituted(x.index, start), path)]
            if (stored > times).any():
                return False
            behind = (stored >= 0) & (stored < times)
            if first.checkpoints and (behind if x.array not in handed else stored == times).any():
                return False
            near = (stored >= 0) & (times - stored <= NEAR)
            is_near |= isinstance(x, Load) and bool(near.any())
    return is_near


def _join(first: Loop, second: Loop) -> None:
    """Put the body of the second loop after that of the first."""
    replaced = {second: Index(0, ((first, 1),))}
    for x, _ in paths(second.body):
        if isinstance(x, (*READS, *WRITES)):
            x.index = substituted(x.index, replaced)
        elif isinstance(x, Loop):
            x.trips = substituted(x.trips, replaced)
    first.body.extend(second.body)
    first.checkpoints.extend(second.checkpoints)
