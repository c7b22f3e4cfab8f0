"""Stores that are needed: of the elements of arrays only those are stored that somebody reads.

A loop keeps what every iteration computes. Once values are handed on in carries, often only what
the last iteration has stored is read: then it is stored after the loop. Where every n-th element
is left, they move together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Final

import numpy

from chainrule.program import nests
from chainrule.program.elements import Mask, accessed
from chainrule.program.form import (
    BY_VALUE,
    SUMS,
    VALUES,
    Array,
    Carry,
    Compute,
    Gather,
    Index,
    Last,
    Load,
    Loop,
    Program,
    Scatter,
    Slice,
    Statement,
    Store,
    statements,
)
from chainrule.program.live import without_dead

from .jam import split

LATE: Final = 0.75  # part of a loop's iterations before those whose stores are read
LARGEST: Final = 1 << 24  # elements of an array, or instances of a store, that are looked at


def without_unread(program: Program) -> Program:
    """The program without stores of what nobody reads; it is changed in place.

    Args:
        program: without segments.
    """
    unread = _Unread(program)
    if not all(mask.all() for mask in unread.read.values()):
        unread.drop(program.body, ())
        lasts = [x for x in statements(program.body) if isinstance(x, Last)]
        unread.split(program.body, (), lasts)
        without_dead(program)
    accesses: dict[Array, list[Load | Store]] = defaultdict(list)
    for x in statements(program.body):
        if isinstance(x, BY_VALUE):
            unread.read.pop(x.array, None)
    for x in statements(program.body):
        if isinstance(x, (Load, Store)) and x.array in unread.read:
            accesses[x.array].append(x)
    for array, found in accesses.items():
        _move_together(array, found)
    return program


class _Unread:
    """What nobody reads.

    Attributes:
        read: which elements are read, of the arrays that are stored to in loops and are no outputs.
    """

    def __init__(self, program: Program) -> None:
        self.read: dict[Array, Mask] = {}
        self._loops: dict[Array, set[Loop]] = defaultdict(set)  # in which it is read
        reads: list[tuple[Load | Gather | Scatter, nests.Path]] = []
        for x, path in nests.paths(program.body):
            if isinstance(x, (Load, *BY_VALUE)):
                reads.append((x, path))
                self._loops[x.array].update(path)
            elif isinstance(x, Store) and path and _can_be_looked_at(x.array):
                self.read.setdefault(x.array, numpy.zeros(x.array.size, dtype=numpy.bool_))
        for output in program.outputs:
            if isinstance(output, Slice):
                self.read.pop(output.array, None)
        for x, path in reads:
            mask = self.read.get(x.array)
            if mask is not None:
                if x.index.is_fixed or nests.count(path) <= LARGEST:
                    accessed(x, path).mark(mask)
                else:
                    del self.read[x.array]

    def drop(self, body: list[Statement], path: nests.Path) -> list[Statement]:
        """Take stores out of a body; gives what is to stand after the loop it belongs to."""
        kept: list[Statement] = []
        after: list[Statement] = []
        for x in body:
            kept.append(x)
            if isinstance(x, Loop):
                kept += self.drop(x.body, (*path, x))
            elif isinstance(x, Store) and self._is_looked_at(x, path):
                wanted = self._wanted(x, path)
                if not wanted.any():
                    kept.pop()
                elif type(x) is Store and not wanted.all() and self._can_wait(x, path, wanted):
                    kept.pop()
                    after += _stored_after(path[-1], x)
        body[:] = kept
        return after

    def _is_looked_at(self, store: Store, path: nests.Path) -> bool:
        return bool(path) and store.array in self.read and 0 < nests.count(path) <= LARGEST

    def _wanted(self, store: Store, path: nests.Path) -> Mask:
        """Whether what each instance stores is read."""
        return accessed(store, path).all_in(self.read[store.array])

    def split(self, body: list[Statement], path: nests.Path, lasts: list[Last]) -> None:
        """Let stores of which only the last iterations are read begin with these."""
        new: list[Statement] = []
        for x in body:
            new.append(x)
            if isinstance(x, Loop):
                self.split(x.body, (*path, x), lasts)
                begins = self._begins(x, (*path, x))
                if begins:
                    new.pop()
                    parts = split(x, min(begins.values()), lasts)
                    first = parts[0]
                    assert isinstance(first, Loop)
                    first.body = [y for k, y in enumerate(first.body) if k not in begins]
                    new += parts
        body[:] = new

    def _begins(self, loop: Loop, path: nests.Path) -> dict[int, int]:
        """Iterations with which stores may begin, by their place, where that is late."""
        if not loop.trips.is_fixed or any(
            not isinstance(x, (Compute, Load, Store, Last)) for x in loop.body
        ):
            return {}
        trips = loop.trips.offset
        begins = {}
        for place, x in enumerate(loop.body):
            if isinstance(x, Store) and self._is_looked_at(x, path):
                wanted = self._wanted(x, path).reshape(-1, trips).any(axis=0)
                begin = int(wanted.argmax())
                if begin >= LATE * trips:
                    begins[place] = begin
        return begins

    def _can_wait(self, store: Store, path: nests.Path, wanted: Mask) -> bool:
        """Whether it may stand after its loop: only its last iteration is read, and after it."""
        return (
            path[-1] not in self._loops[store.array]
            and _always_runs(path)
            and not _before_last(wanted, path).any()
        )


def _can_be_looked_at(array: Array) -> bool:
    return array.kind in (VALUES, SUMS) and array.size <= LARGEST


def _always_runs(path: nests.Path) -> bool:
    """Whether the innermost loop has an iteration each time."""
    return bool((nests.numbers(path[-1].trips, path[:-1]) > 0).all())


def _before_last(wanted: Mask, path: nests.Path) -> Mask:
    """Of instances those in which the innermost loop is not in its last iteration."""
    trips = path[-1].trips
    if trips.is_fixed:
        return wanted.reshape(-1, trips.offset)[:, :-1]
    left = nests.added(trips, Index(-1, ((path[-1], -1),)))
    return wanted[nests.numbers(left, path) > 0]


def _stored_after(loop: Loop, store: Store) -> list[Statement]:
    """Statements that store what a loop's last iteration has stored so far."""
    carry = next((x for x in loop.carries if x.next is store.value), None)
    if carry is None:
        carry = Carry(0.0)
        carry.next = store.value
        loop.carries.append(carry)
    last = Last(loop, carry)
    index = nests.substituted(store.index, {loop: loop.trips.plus(-1)})
    new = Store(store.array, index, last)
    last.note = new.note = store.note
    return [last, new]


def _move_together(array: Array, accesses: list[Load | Store]) -> None:
    """Let a smaller array take the place of one of which only every n-th element is used."""
    if any(x.index.tables for x in accesses):
        return
    first = accesses[0].index.offset
    step = math.gcd(
        *[x.index.offset - first for x in accesses],
        *[stride for x in accesses for _, stride in x.index.strides],
    )
    if step < 2:
        return
    start = first % step
    smaller = array.like(-(-(array.size - start) // step))
    for x in accesses:
        strides = tuple([(loop, stride // step) for loop, stride in x.index.strides])
        x.array, x.index = smaller, Index((x.index.offset - start) // step, strides)
