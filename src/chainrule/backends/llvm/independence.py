"""Whether iterations of a loop may run side by side: each statement for some of them at a time.

What an iteration writes no other one of them reads, and elements that several add to get the same
terms in the same order.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import TypeAlias

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
)
from chainrule.program.nests import Path, paths

from .uniform import bounds
from .vector_math import INSTRUCTIONS, INTRINSICS, is_pure

Access: TypeAlias = tuple["Load | Store", Path]
"""What reads or writes an element, and the loops around it in the body."""


def are_independent(loop: Loop, body: Sequence[Statement]) -> bool:
    """Whether each statement of a loop's body can run for some iterations at a time."""
    accesses: dict[Array, list[Access]] = defaultdict(list)
    for x, path in paths(body):
        if isinstance(x, Compute):
            name = x.operation.name
            known = name in INSTRUCTIONS or name in INTRINSICS or is_pure(name)
            if not x.operation.builtin or not known or name == "hypot":
                return False
        elif isinstance(x, (Load, Store)):
            accesses[x.array].append((x, path))
        elif isinstance(x, Loop):
            if loop in x.trips.loops():
                return False
        elif not isinstance(x, Last):
            return False
    return all(_are_apart(loop, found) for found in accesses.values())


def stride_of(index: Index, loop: Loop) -> int | None:
    """How much further the element of the next iteration is; None if that varies."""
    if any(loop in inner.loops() for _, inner in index.tables):
        return None
    return sum([stride for other, stride in index.strides if other is loop])


def _are_apart(loop: Loop, accesses: Sequence[Access]) -> bool:
    """Whether iterations may run side by side as far as one array goes."""
    kinds = {type(x) for x, _ in accesses}
    if len(kinds) == 1 and Add not in kinds:
        return True  # each element is stored once
    if _are_private(loop, accesses):
        return True
    ranges = [(type(x), *bounds(x.index)) for x, _ in accesses]
    for (kind, first, last), (other, other_first, other_last) in combinations(ranges, 2):
        meet = first <= other_last and other_first <= last
        if meet and not (kind is other and kind is not Add):
            return False
    return all(_keeps_order(loop, x.index, path) for x, path in accesses if isinstance(x, Add))


def _are_private(loop: Loop, accesses: Sequence[Access]) -> bool:
    """Whether each iteration has elements of its own."""
    strides = {stride_of(x.index, loop) for x, _ in accesses}
    stride = strides.pop()
    around = {_around(x.index, loop, path) for x, path in accesses}
    if strides or not stride or len(around) > 1:
        return False
    own = [_own(x.index, path) for x, path in accesses]
    ranges = [bounds(index) for index in own]
    first, last = min([x for x, _ in ranges]), max([x for _, x in ranges])
    if last - first < abs(stride):
        return True
    if any(index.tables for index in own):
        return False
    apart = math.gcd(
        *[index.offset - own[0].offset for index in own],
        *[step for index in own for _, step in index.strides],
    )
    return abs(stride) * (bounds(loop.trips)[1] - 1) < apart


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
