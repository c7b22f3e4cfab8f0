"""Loop distribution: sums that several statements of a loop add to get loops of their own.

Where neighbouring iterations add to the same element they have to run one after the other. Kept in
an array, what is added can be computed for some iterations at a time, and then be added likewise:
first what one of the statements adds, then the next one. The order of those is such that each
element gets the same terms in the same order as before.
"""

from __future__ import annotations

from collections import defaultdict

from chainrule.program.form import (
    VALUES,
    Add,
    Array,
    Compute,
    Index,
    Load,
    Loop,
    Program,
    Statement,
    Store,
)
from chainrule.program.nests import substituted

LONG = 64
"""Iterations of loops for which that pays."""


def distribute(program: Program) -> None:
    """Distribute the loops of a program's body that hang together in such sums alone, in place."""
    body: list[Statement] = []
    for x in program.body:
        body.append(x)
        if isinstance(x, Loop) and x.trips.is_fixed and x.trips.offset >= LONG and not x.carries:
            body += _added_after(x)
    program.body[:] = body


def _added_after(loop: Loop) -> list[Loop]:
    """Loops that add what a loop then keeps in arrays; none if it stays as it is."""
    read, written = set(), set()
    adds: dict[Array, list[Add]] = defaultdict(list)
    for x in loop.body:
        if isinstance(x, (Load, Store)) and x.index.tables:
            return []  # nothing is gained
        if isinstance(x, Add):
            adds[x.array].append(x)
        elif isinstance(x, Store):
            written.add(x.array)
        elif isinstance(x, Load):
            read.add(x.array)
        elif not isinstance(x, Compute):
            return []
    shared = [found for found in adds.values() if len(found) > 1]
    if not shared or read.intersection(written.union(adds)) or not all(map(_advance, shared)):
        return []
    after = []
    for found in shared:
        step = found[0].index.strides[0][1]
        found.sort(key=lambda x: -step * x.index.offset)  # the first term of an element comes first
        after += [_adding(loop, x) for x in found]
    return after


def _advance(adds: list[Add]) -> bool:
    """Whether statements go through an array by the same steps."""
    strides = {x.index.strides for x in adds}
    return len(strides) == 1 and [stride != 0 for _, stride in strides.pop()] == [True]


def _adding(loop: Loop, x: Add) -> Loop:
    """A loop for what a statement adds, which the loop that it stands in keeps instead."""
    kept = Array(VALUES, loop.trips.offset, "terms")
    added = Loop(loop.trips)
    here, there = Index(0, ((loop, 1),)), Index(0, ((added, 1),))
    loop.body[loop.body.index(x)] = Store(kept, here, x.value)
    term = Load(kept, there)
    added.body += [term, Add(x.array, substituted(x.index, {loop: there}), term)]
    return added
