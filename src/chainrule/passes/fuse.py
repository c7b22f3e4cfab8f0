"""Fusion: loops that run as often become one, where one reads what the other has just stored.

Tangents pushed forward through a loop are computed by a second one, which reads what the first has
kept; in one loop nothing has to be kept. An iteration of the second must not need what later
iterations of the first store: that is looked up in all iterations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy

from chainrule.program import nests
from chainrule.program.elements import Access, apart, lie_apart
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
from chainrule.program.nests import Numbers, Path, paths, substituted

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

    Where iterations run again, it reads checkpoints of those before, and else of the same one. What
    each iteration has for itself is looked up in one.
    """
    before, after = [
        [(x, path) for x, path in paths([loop]) if isinstance(x, (*READS, *WRITES))]
        for loop in (first, second)
    ]
    asked = {x.array for x, _ in before if isinstance(x, WRITES)} & {x.array for x, _ in after}
    accesses = [(x, path) for x, path in (*before, *after) if x.array in asked]
    if any(isinstance(x, BY_VALUE) for x, _ in accesses):
        return False
    own = {y for y in asked if _has_rooms(y, before, after, (*around, first), second)}
    alone = dict.fromkeys((*around, first, second), Index())
    start: dict[Loop, Index] = {}
    if all(apart([(x, path) for x, path in accesses if x.array is y], around) for y in asked):
        start, around = dict.fromkeys(around, Index()), ()  # then the first of each stands for all
    if not around and any(_begins_ahead(y, before, after, start) for y in asked - own):
        return False
    trips = nests.numbers(substituted(first.trips, start), around)
    width = int(trips.max(initial=0)) + 1
    clock = nests.scaled(nests.instance(around), width)

    def met(x: Load | Store, inner: Path) -> tuple[Numbers, Numbers]:
        """The elements that something accesses, and when."""
        if x.array in own:
            places = nests.numbers(substituted(x.index, alone), inner[1:])
            return places, numpy.zeros(len(places), dtype=numpy.int64)
        path = *around, *inner
        times = nests.numbers(nests.added(clock, Index(0, ((inner[0], 1),))), path)
        return nests.numbers(substituted(x.index, start), path), times

    last = {x: numpy.full(x.size, -1, dtype=numpy.int64) for x in asked}
    for x, inner in before:
        if isinstance(x, Store) and x.array in last:
            places, times = met(x, inner)
            last[x.array][places] = numpy.maximum(last[x.array][places], times)  # times ascend
    is_near = False
    handed = {*first.checkpoints, *second.checkpoints}
    for x, inner in after:
        if isinstance(x, (Load, Store)) and x.array in last:  # sums keep the order of their terms
            places, times = met(x, inner)
            stored = last[x.array][places]
            if (stored > times).any():
                return False
            behind = (stored >= 0) & (stored < times)
            if first.checkpoints and (behind if x.array not in handed else stored == times).any():
                return False
            near = (stored >= 0) & (times - stored <= NEAR)
            is_near |= isinstance(x, Load) and bool(near.any())
    return is_near


def _has_rooms(
    array: Array,
    before: Sequence[tuple[Access, Path]],
    after: Sequence[tuple[Access, Path]],
    around: Path,
    second: Loop,
) -> bool:
    """Whether iterations of two loops access elements of their own, the same in either loop.

    Args:
        array: whose elements.
        before: what accesses arrays in the first loop, and its path.
        after: the same in the second one.
        around: the loops around them, and the first one.
        second: the other one.
    """
    as_first = {second: Index(0, ((around[-1], 1),))}
    accesses = [(x, path) for x, path in (*before, *after) if x.array is array]
    return lie_apart([(substituted(x.index, as_first), path[1:]) for x, path in accesses], around)


def _begins_ahead(
    array: Array,
    before: Sequence[tuple[Access, Path]],
    after: Sequence[tuple[Access, Path]],
    start: Mapping[Loop, Index],
) -> bool:
    """Whether the first iteration of a loop already reads what later ones of another store.

    So it is where a loop runs the other way. It is only seen where each iteration of the other
    stores elements of its own.

    Args:
        array: that it reads.
        before: what accesses arrays in the other loop, and its path.
        after: the same in the loop.
        start: of loops around them, their first iterations.
    """
    stores = [(x.index, path) for x, path in before if isinstance(x, Store) and x.array is array]
    reads = [(x.index, path) for x, path in after if x.array is array]
    if not stores or not all(loop.trips.is_fixed for _, path in reads for loop in path):
        return False
    loop = stores[0][1][0]
    stride = dict(stores[0][0].strides).get(loop, 0)
    if stride <= 0 or not lie_apart([(index, path[1:]) for index, path in stores], (loop,)):
        return False

    def places(accesses: Sequence[tuple[Index, Path]]) -> Numbers:
        """The elements of the first iteration."""
        found = [
            nests.numbers(substituted(index, {**start, path[0]: Index()}), path[1:])
            for index, path in accesses
        ]
        return numpy.concatenate(found)

    own, read = places(stores), places(reads)
    low = own.min(initial=array.size)
    times, rest = numpy.divmod(read - low, stride)
    later = (times > 0) & (times < loop.trips.offset)
    return bool(later.any()) and bool(numpy.isin(rest[later], own - low).any())


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
