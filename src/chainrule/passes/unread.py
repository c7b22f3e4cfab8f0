"""What is stored and never read: stores that go, or move behind their loop, and closer elements.

Of a sum that grows in a loop, iteration by iteration, a reverse pass often reads what it was at the
end alone: then one store after the loop is enough. Where the elements that are left of an array are
every n-th ones, they move together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Final

import numpy
from numpy.typing import NDArray

from chainrule.program import nests
from chainrule.program.form import (
    VALUES,
    Array,
    Carry,
    Index,
    Last,
    Load,
    Loop,
    Program,
    Slice,
    Statement,
    Store,
)
from chainrule.program.nests import Path, paths, substituted

LARGEST: Final = 1 << 20  # elements of an array that are looked at one by one


def without_unread(program: Program) -> None:
    """Remove stores of what nothing reads, in place.

    Args:
        program: the finished program, which may have carries.
    """
    stores: dict[Array, list[tuple[Store, Path]]] = defaultdict(list)
    loads: dict[Array, list[tuple[Load, Path]]] = defaultdict(list)
    for x, path in paths(program.body):
        if isinstance(x, Load):
            loads[x.array].append((x, path))
        elif isinstance(x, Store):
            stores[x.array].append((x, path))
    slices = [x for x in program.outputs if isinstance(x, Slice)]
    given = {x.array for x in slices}
    unread: set[Statement] = set()
    late: dict[Loop, list[Store]] = {}
    for array, found in stores.items():
        if array.kind != VALUES or array.size > LARGEST:
            continue
        if array not in given and all(_covers(loads[array], store) for store, _ in found):
            continue
        read = numpy.zeros(array.size, dtype=numpy.bool_)
        for x in slices:
            if x.array is array:
                read[x.start : x.start + x.size] = True
        for load, path in loads[array]:
            read[nests.numbers(load.index, path)] = True
        for store, path in found:
            asked = read[nests.numbers(store.index, path)]
            if not asked.any():
                unread.add(store)
            elif path and _is_last_alone(asked, path):
                unread.add(store)
                late.setdefault(path[-1], []).append(store)
    if unread:
        program.body = _rewritten(program.body, unread, late)
    for array in stores:
        if array.kind == VALUES and array not in given:
            left = [x for x, _ in stores[array] if x not in unread]
            left += [x for stores_of in late.values() for x in stores_of if x.array is array]
            _move_together(array, [*left, *[x for x, _ in loads[array]]])


def _covers(loads: list[tuple[Load, Path]], store: Store) -> bool:
    """Whether loads certainly read all that a statement stores, seen at once."""
    stored = _range(store.index)
    return stored is not None and any(_range(load.index) == stored for load, _ in loads)


def _range(index: Index) -> tuple[int, int, int] | None:
    """The first element, the last one and the step of an index that runs through one loop."""
    if index.tables or len(index.strides) != 1:
        return None
    loop, stride = index.strides[0]
    if not loop.trips.is_fixed or loop.trips.offset < 1:
        return None
    first, last = index.offset, index.offset + stride * (loop.trips.offset - 1)
    return min(first, last), max(first, last), abs(stride)


def _is_last_alone(asked: NDArray[numpy.bool_], path: Path) -> bool:
    """Whether in each run of the innermost loop it is the last iteration alone that is asked."""
    trips = nests.numbers(path[-1].trips, path[:-1])
    if (trips < 1).any():
        return False
    ends = numpy.cumsum(trips) - 1
    return len(ends) < len(asked) and bool(asked[ends].all()) and int(asked.sum()) == len(ends)


def _rewritten(
    body: list[Statement], unread: set[Statement], late: dict[Loop, list[Store]]
) -> list[Statement]:
    """A body without stores, some of which come after their loop."""
    result: list[Statement] = []
    for x in body:
        if x in unread:
            continue
        result.append(x)
        if isinstance(x, Loop):
            x.body = _rewritten(x.body, unread, late)
            for store in late.get(x, ()):
                carry = Carry(0.0)
                carry.next = store.value
                x.carries.append(carry)
                last = Last(x, carry)
                last.note = store.note
                store.value = last
                store.index = substituted(store.index, {x: x.trips.plus(-1)})
                result += [last, store]
    return result


def _move_together(array: Array, accesses: list[Load | Store]) -> None:
    """Let a smaller array take the place of one of which only every n-th element is used."""
    if not accesses or any(x.index.tables for x in accesses):
        return
    first = min(x.index.offset for x in accesses)
    step = math.gcd(
        *[x.index.offset - first for x in accesses],
        *[stride for x in accesses for _, stride in x.index.strides],
    )
    if step < 2:
        return
    start = first % step
    smaller = Array(array.kind, -(-(array.size - start) // step), array.name)
    for x in accesses:
        x.array = smaller
        strides = tuple([(loop, stride // step) for loop, stride in x.index.strides])
        x.index = Index((x.index.offset - start) // step, strides)
