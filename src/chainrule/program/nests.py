"""Nested loops: their iterations in order, and indices as numbers over all of them.

An *instance* of a statement is one time that it runs; instances are numbered from 0 in the order in
which they run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy
from numpy.typing import NDArray

from .form import Index, Loop, ProgramError, Segment, Statement, Table

Numbers: TypeAlias = NDArray[numpy.int64]
Path: TypeAlias = tuple[Loop, ...]
"""Loops, one in another, the outermost first."""


def paths(body: Sequence[Statement], path: Path = ()) -> Iterator[tuple[Statement, Path]]:
    """All statements of a body and of the bodies in it, in order, with the loops around them."""
    for statement in body:
        yield statement, path
        if isinstance(statement, Loop):
            yield from paths(statement.body, (*path, statement))
        elif isinstance(statement, Segment):
            yield from paths(statement.body, path)


def added(a: Index, b: Index) -> Index:
    """The sum of two indices."""
    strides = dict(a.strides)
    for loop, stride in b.strides:
        strides[loop] = strides.get(loop, 0) + stride
    kept = tuple([(loop, stride) for loop, stride in strides.items() if stride])
    return Index(a.offset + b.offset, kept, a.tables + b.tables)


def scaled(index: Index, factor: int) -> Index:
    """An index times a number."""
    if factor == 1:
        return index
    if factor == 0:
        return Index()
    return Index(
        index.offset * factor,
        tuple([(loop, stride * factor) for loop, stride in index.strides]),
        tuple([(Table(table.numbers * factor), inner) for table, inner in index.tables]),
    )


def substituted(index: Index, replacements: Mapping[Loop, Index]) -> Index:
    """An index with the iterations of some loops replaced by indices."""
    if not any(loop in replacements for loop in index.loops()):
        return index
    result = Index(index.offset)
    for loop, stride in index.strides:
        result = added(result, scaled(replacements.get(loop, Index(0, ((loop, 1),))), stride))
    tables = []
    for table, inner in index.tables:
        at = substituted(inner, replacements)
        if at.is_fixed and 0 <= at.offset < len(table.numbers):
            result = result.plus(int(table.numbers[at.offset]))
        else:
            tables.append((table, at))
    return result._replace(tables=(*result.tables, *tables))


def bounds(index: Index) -> tuple[int, int]:
    """The least and the largest number that an index may be; turned round if it is never asked."""
    low = high = index.offset
    for loop, stride in index.strides:
        last = bounds(loop.trips)[1] - 1
        if last < 0:
            return 1, 0
        low += min(0, stride * last)
        high += max(0, stride * last)
    for table, inner in index.tables:
        first, last = bounds(inner)
        numbers = table.numbers[max(first, 0) : last + 1]
        if not len(numbers):
            return 1, 0
        low += int(numbers.min())
        high += int(numbers.max())
    return low, high


def iterations(loops: Sequence[Loop]) -> dict[Loop, Numbers]:
    """The iterations of each of some nested loops, in all instances of the innermost body.

    Args:
        loops: the outermost first. Trip counts depend on no other loops.

    Raises:
        ProgramError: if a trip count is negative or depends on another loop.
    """
    found: dict[Loop, Numbers] = {}
    count = 1
    for loop in loops:
        if not found and loop.trips.is_fixed and loop.trips.offset >= 0:
            count = loop.trips.offset
            found[loop] = numpy.arange(count, dtype=numpy.int64)
            continue
        trips = _trips(loop, found, count)
        for outer in found:
            found[outer] = numpy.repeat(found[outer], trips)
        ends = numpy.cumsum(trips)
        count = int(ends[-1]) if len(ends) else 0
        found[loop] = numpy.arange(count, dtype=numpy.int64) - numpy.repeat(ends - trips, trips)
    return found


def count(loops: Sequence[Loop]) -> int:
    """The number of instances of what stands in nested loops; see :func:`iterations`."""
    product = 1
    varying = []
    for place, loop in enumerate(loops):
        if loop.trips.is_fixed and not _asked(loop, loops[place + 1 :]):
            product *= int(_trips(loop, {}, 1)[0])
        else:
            varying.append(loop)
    if not varying or product == 0:
        return product
    found = iterations(varying[:-1])
    length = len(found[varying[-2]]) if len(varying) > 1 else 1
    return product * int(_trips(varying[-1], found, length).sum())


def distinct(items: Any) -> Any:
    """The different numbers among some, in order.

    They are counted: without being sorted where they are near each other, else because NumPy loads
    all that it has for masked arrays where nothing is.
    """
    items = numpy.asarray(items)
    if items.size and items.dtype.kind == "i":
        low = int(items.min())
        if int(items.max()) - low <= items.size:
            found = numpy.flatnonzero(numpy.bincount(items.ravel() - low))
            return (found + low).astype(items.dtype)
    return numpy.unique(items, return_counts=True)[0]


def unique(index: Index, loops: Sequence[Loop]) -> tuple[Numbers, Numbers]:
    """The different numbers that an index is in nested loops, and which it is each time."""
    found, which = numpy.unique(numbers(index, loops), return_inverse=True)
    return found, which.reshape(-1)


def numbers(index: Index, loops: Sequence[Loop]) -> Numbers:
    """An index as a number for each instance of what stands in nested loops.

    Args:
        index: depends on these loops only.
        loops: the outermost first.
    """
    even = _even(index, loops)
    if even is not None:
        return even
    found = iterations(loops)
    length = len(found[loops[-1]]) if loops else 1
    return _evaluated(index, found, length)


def _even(index: Index, loops: Sequence[Loop]) -> Numbers | None:
    """An index of strides for each instance of what stands in loops of known trip counts."""
    if index.tables:
        return None
    strides = dict(index.strides)
    found = numpy.array(index.offset)
    for loop in loops:
        if not loop.trips.is_fixed or loop.trips.offset < 0:
            return None
        trips = numpy.arange(loop.trips.offset)
        found = numpy.add.outer(found, strides.pop(loop, 0) * trips)
    return None if strides else found.reshape(-1)


class Nests:
    """Nested loops that stay as they are: the iterations of each nest are found once."""

    def __init__(self) -> None:
        self._found: dict[Path, tuple[dict[Loop, Numbers], int]] = {}

    def numbers(self, index: Index, loops: Path) -> Numbers:
        """As :func:`numbers`."""
        even = _even(index, loops)
        if even is not None:
            return even
        known = self._found.get(loops)
        if known is None:
            found = iterations(loops)
            known = self._found[loops] = found, len(found[loops[-1]]) if loops else 1
        return _evaluated(index, *known)


def instance(loops: Sequence[Loop]) -> Index:
    """The number of the instance of what stands in nested loops, as an index.

    It has strides where trip counts do not vary, else tables of how many instances are before.
    """
    total = Index()
    if count(loops) == 0:
        return total
    for depth, loop in enumerate(loops):
        total = added(total, _before(loops[: depth + 1], loops[depth + 1 :], loop))
    return total


def _before(around: Sequence[Loop], inside: Sequence[Loop], loop: Loop) -> Index:
    """How many instances come before an iteration of a loop, of those with the same outer ones.

    Args:
        around: the loops around its body, it included.
        inside: those in it, around what is counted.
        loop: the loop, last of ``around``.
    """
    varying = [outer for outer in around if _asked(outer, inside)]
    if not varying:
        return Index(0, ((loop, count(inside)),))
    needed = _closure({loop, *varying}, around)
    nest = [outer for outer in around if outer in needed]
    if varying == [loop]:  # the same in each run of the loop: the longest has it all
        longest = numbers(loop.trips, nest[:-1]).max(initial=0)
        nest = [loop]
        found = {loop: numpy.arange(longest, dtype=numpy.int64)}
    else:
        found = iterations(nest)
    each = _counts(inside, found, len(found[loop]))
    before = numpy.cumsum(each) - each
    first = numpy.where(found[loop] == 0, _range(before), 0)
    before -= before[numpy.maximum.accumulate(first)]
    at = Index(0, ((loop, 1),)) if nest == [loop] else instance(nest)
    return Index(0, (), ((Table(before), at),))


def _counts(inside: Sequence[Loop], outer: dict[Loop, Numbers], length: int) -> Numbers:
    """How many instances nested loops have, for each iteration of loops around them."""
    found = dict(outer)
    parents = _range(numpy.empty(length))
    product = numpy.ones(length, dtype=numpy.int64)
    for place, loop in enumerate(inside):
        trips = _trips(loop, found, len(parents))
        asked = _asked(loop, inside[place + 1 :])
        times = trips if asked else (trips > 0).astype(numpy.int64)
        if not asked:
            product = product * trips
        for other in found:
            found[other] = numpy.repeat(found[other], times)
        parents, product = numpy.repeat(parents, times), numpy.repeat(product, times)
        ends = numpy.cumsum(times)
        found[loop] = _range(parents) - numpy.repeat(ends - times, times)
    sums = numpy.zeros(length, dtype=numpy.int64)
    numpy.add.at(sums, parents, product)
    return sums


def _closure(wanted: set[Loop], loops: Sequence[Loop]) -> set[Loop]:
    """Some of nested loops, all that their trip counts hang on, and those that may have no trips.

    Where these have none, indices in them may be anything.
    """
    needed = set(wanted)
    for depth, loop in reversed([*enumerate(loops)]):
        varies = loop not in needed and not loop.trips.is_fixed
        if varies and numbers(loop.trips, loops[:depth]).min(initial=1) < 1:
            needed.add(loop)
        if loop in needed:
            needed |= loop.trips.loops()
    return needed


def _asked(loop: Loop, inside: Sequence[Loop]) -> bool:
    """Whether trip counts of some loops hang on a loop."""
    return any(loop in other.trips.loops() for other in inside)


def _range(like: NDArray[numpy.generic]) -> Numbers:
    return numpy.arange(len(like), dtype=numpy.int64)


def _trips(loop: Loop, found: Mapping[Loop, Numbers], length: int) -> Numbers:
    """The trip counts of a loop."""
    trips = _evaluated(loop.trips, found, length)
    if (trips < 0).any():
        raise ProgramError(f"a loop of {trips.min()} iterations")
    return trips


def _evaluated(index: Index, found: Mapping[Loop, Numbers], length: int) -> Numbers:
    """An index for each of some iterations of loops."""
    result: Any = index.offset
    for loop, stride in index.strides:
        if loop not in found:
            raise ProgramError("an index depends on a loop that is not around it")
        result = result + (stride * found[loop] if stride != 1 else found[loop])
    if not index.strides:
        result = numpy.full(length, result, dtype=numpy.int64)
    for table, inner in index.tables:
        places = _evaluated(inner, found, length)
        size = len(table.numbers)
        wrong = (places < 0) | (places >= size)
        if wrong.any():
            raise ProgramError(f"read of [{places[wrong][0]}] of an index table of {size}")
        result = result + table.numbers[places]
    return cast(Numbers, result)
