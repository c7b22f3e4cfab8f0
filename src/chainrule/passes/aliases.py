"""Arrays whose elements are those of others: what is read of them is read where it comes from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container

from chainrule import rules
from chainrule.program.form import (
    SUMS,
    Add,
    Array,
    Compute,
    Index,
    Load,
    Loop,
    Program,
    Slice,
    Store,
    Table,
    statements,
)


class Aliases:
    """Arrays whose elements are those of others.

    Args:
        found: by array the one whose elements it has, and how much further they are there.
        indices: writes indices.
    """

    def __init__(self, found: dict[Array, tuple[Array, int]], indices: Canonical) -> None:
        self._found = found
        self._indices = indices

    def __contains__(self, array: Array) -> bool:
        return array in self._found

    def original(self, array: Array, index: Index) -> tuple[Array, Index]:
        """Where an element comes from."""
        while array in self._found:
            array, shift = self._found[array]
            index = index.plus(shift)
        return array, self._indices.of(index)

    def slice(self, part: Slice) -> Slice:
        """Where a part of an array comes from."""
        array, first = self.original(part.array, Index(part.start))
        return Slice(array, first.offset, part.size)


def aliases(program: Program, indices: Canonical, added: Container[Array] = ()) -> Aliases:
    """Find arrays that nothing is stored to but the elements of another, in order.

    Args:
        program: without segments.
        indices: writes indices.
        added: arrays of outputs that are added up: a 0 that has been added to them makes nothing
            else of a sum that begins with 0.
    """
    sources: dict[Array, set[tuple[Array, int] | None]] = defaultdict(set)
    for x in statements(program.body):
        if isinstance(x, Store):
            sources[x.array].add(_source(x, indices, x.array in added))
    found: dict[Array, tuple[Array, int]] = {}
    for array, from_ in sources.items():
        source = from_.pop() if len(from_) == 1 else None
        if source is not None:
            first = source[0]
            while first in found and first is not array:
                first = found[first][0]
            if first is not array:
                found[array] = source
    return Aliases(found, indices)


def _source(store: Store, indices: Canonical, added: bool) -> tuple[Array, int] | None:
    """The array whose element is stored, and how much further it is there."""
    load = store.value
    if isinstance(load, Compute) and load.operation is rules.add and load.operands[1] == 0.0:
        total = load.operands[0]  # a sum is never -0
        is_sum = isinstance(total, Load) and total.array.kind == SUMS
        load = total if added or is_sum else load
    if isinstance(store, Add) or not isinstance(load, Load):
        return None
    here, there = indices.of(store.index), indices.of(load.index)
    shift = there.offset - here.offset
    return (load.array, shift) if here.plus(shift) == there else None


class Canonical:
    """Writes equal indices in one way."""

    def __init__(self) -> None:
        self._tables: dict[bytes, Table] = {}
        self._loops: dict[Loop, int] = {}

    def of(self, index: Index) -> Index:
        """The index, equal to all that are written alike."""
        if index.is_fixed:
            return index
        strides = [(loop, stride) for loop, stride in index.strides if stride]
        strides.sort(key=lambda x: self._loops.setdefault(x[0], len(self._loops)))
        tables = [
            (self._tables.setdefault(table.numbers.tobytes(), table), self.of(inner))
            for table, inner in index.tables
        ]
        return Index(index.offset, tuple(strides), tuple(tables))
