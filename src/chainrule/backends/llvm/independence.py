"""Whether iterations of a loop may run side by side: each statement for some of them at a time.

What an iteration writes no other one of them reads but further down, and elements that several add
to get the same terms in the same order.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import combinations
from typing import Final, NamedTuple

import numpy

from chainrule.program.form import (
    Add,
    Array,
    Compute,
    Index,
    Last,
    Load,
    Loop,
    Statement,
    Store,
    Table,
    statements,
)
from chainrule.program.nests import Path, bounds, count, numbers, paths

from .vector_math import INSTRUCTIONS, INTRINSICS, is_pure

MOST_EXACT: Final = 1 << 14
"""Iterations of nested loops that are looked at one by one."""


class Access(NamedTuple):
    """What reads or writes an element.

    Args:
        statement: it.
        path: the loops around it in the body.
        place: of what it stands in, in the body.
    """

    statement: Load | Store
    path: Path
    place: int


def are_independent(
    loop: Loop, body: Sequence[Statement], besides: Collection[Statement] = ()
) -> bool:
    """Whether each statement of a loop's body can run for some iterations at a time.

    Args:
        loop: the loop.
        body: its statements.
        besides: statements that may be anything.
    """
    accesses: dict[Array, list[Access]] = defaultdict(list)
    for place, top in enumerate(body):
        for x, path in paths([top]):
            if isinstance(x, Compute):
                name = x.operation.name
                known = name in INSTRUCTIONS or name in INTRINSICS or is_pure(name)
                if not x.operation.builtin or not known or name == "hypot":
                    return False
            elif isinstance(x, (Load, Store)):
                if x not in besides:
                    accesses[x.array].append(Access(x, path, place))
            elif isinstance(x, Loop):
                if loop in x.trips.loops():
                    return False
            elif not isinstance(x, Last):
                return False
    return all(_are_apart(loop, found) for found in accesses.values())


def has_strips(body: Sequence[Statement]) -> bool:
    """Whether a loop in a body runs side by side: those around it then do not."""
    return any(isinstance(x, Loop) and x.side_by_side for x in statements(body))


def stride_of(index: Index, loop: Loop) -> int | None:
    """How much further the element of the next iteration is; None if that varies."""
    if any(loop in inner.loops() for _, inner in index.tables):
        return None
    return sum([stride for other, stride in index.strides if other is loop])


def _are_apart(loop: Loop, accesses: Sequence[Access]) -> bool:
    """Whether iterations may run side by side as far as one array goes."""
    reads = [x for x in accesses if isinstance(x.statement, Load)]
    writes = [x for x in accesses if isinstance(x.statement, Store)]
    adds = [x for x in writes if isinstance(x.statement, Add)]
    if not writes or _are_private(loop, accesses):
        return True
    # Copies that each strip makes anew, see .strips.
    if any(x not in adds and loop not in x.statement.index.loops() for x in writes):
        return False
    # What an iteration has written is there for all that stands further down.
    if any(
        x.place >= y.place and _meet(x, y) and not _are_private(loop, [x, y])
        for x in writes
        for y in reads
    ):
        return False
    if _are_private(loop, adds):
        return True
    if any(_meet(x, y) for x, y in combinations(adds, 2)):
        return False
    return all(
        _are_private(loop, [x]) or _keeps_order(loop, x.statement.index, x.path) for x in adds
    )


def _meet(x: Access, y: Access) -> bool:
    """Whether two may access the same element."""
    first, last = bounds(x.statement.index)
    other_first, other_last = bounds(y.statement.index)
    return first <= other_last and other_first <= last


def _are_private(loop: Loop, accesses: Sequence[Access]) -> bool:
    """Whether each iteration has elements of its own."""
    strides = {stride_of(x.statement.index, loop) for x in accesses}
    stride = strides.pop() if strides else None
    around = {_around(x.statement.index, loop, x.path) for x in accesses}
    if strides or not stride or len(around) > 1:
        return False
    own = [_own(x.statement.index, x.path) for x in accesses]
    size, trips = abs(stride), bounds(loop.trips)[1]
    ranges = [
        extent(_near(index, size * trips), x.path)
        for index, x in zip(own, accesses, strict=True)
        if trips > 0
    ]
    if any(
        all((low - start) % (size * trips) + high - low < size for low, high in ranges)
        for start, _ in ranges
    ):
        return True
    starts = [index.offset + sum([int(x.numbers[0]) for x, _ in index.tables]) for index in own]
    apart = math.gcd(
        *[start - starts[0] for start in starts],
        *[step for index in own for _, step in index.strides],
        *[_apart(table) for index in own for table, _ in index.tables],
    )
    return size * (trips - 1) < apart


def extent(index: Index, path: Path) -> tuple[int, int]:
    """The least and the largest number that an index is in nested loops, of triangles exactly.

    Args:
        index: the index.
        path: the loops.
    """
    alone = all(x.loops() <= set(path) for x in (index, *[loop.trips for loop in path]))
    if alone and not all(loop.trips.is_fixed for loop in path) and count(path) <= MOST_EXACT:
        found = numbers(index, path)
        return (int(found.min()), int(found.max())) if len(found) else (1, 0)
    return bounds(index)


def _near(index: Index, whole: int) -> Index:
    """An index without what is a multiple of a number."""
    far = [table for table, _ in index.tables if _apart(table) % whole == 0]
    return Index(
        index.offset + sum([int(table.numbers[0]) for table in far]),
        tuple([x for x in index.strides if x[1] % whole]),
        tuple([x for x in index.tables if x[0] not in far]),
    )


def _apart(table: Table) -> int:
    """A number by a multiple of which all numbers of a table differ."""
    return int(numpy.gcd.reduce(table.numbers - table.numbers[0]))


def _around(index: Index, loop: Loop, path: Path) -> object:
    """The part of an index that is the same in all iterations of a loop."""
    strides = [x for x in index.strides if x[0] is not loop and x[0] not in path]
    tables = [x for x in index.tables if not x[1].loops().intersection(path)]
    return frozenset(strides), frozenset(tables)


def _own(index: Index, path: Path) -> Index:
    """The part of an index that varies within an iteration."""
    strides = tuple([x for x in index.strides if x[0] in path])
    tables = tuple([x for x in index.tables if x[1].loops().intersection(path)])
    return Index(index.offset, strides, tables)


def _keeps_order(loop: Loop, index: Index, path: Path) -> bool:
    """Whether an element still gets its terms in the order of the iterations.

    Without loops around it does, as one iteration after the other adds. In inner loops it does if
    it is the same element in all iterations, and another one in each of those of the inner loops.
    """
    if not path:
        return True
    if loop in index.loops() or any(inner.loops().intersection(path) for _, inner in index.tables):
        return False
    strides = dict(index.strides)
    size = 0
    for stride, inner in sorted([(abs(strides.get(x, 0)), place) for place, x in enumerate(path)]):
        if stride <= size:
            return False
        size += stride * max(bounds(path[inner].trips)[1] - 1, 0)
    return True
