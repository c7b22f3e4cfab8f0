"""Array contraction: an array of which each iteration of a loop has a part of its own is that part.

What an iteration stores and no other one reads, the next may overwrite: memory then follows the
iteration, not the loop, and stays in the processor's cache.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from chainrule.program.form import (
    BY_VALUE,
    READS,
    SUMS,
    VALUES,
    WRITES,
    Array,
    Gather,
    Index,
    Load,
    Loop,
    Program,
    Scatter,
    Slice,
    Store,
    statements,
)
from chainrule.program.nests import Path, bounds, paths

from .first_terms import Zero
from .independence import are_independent, has_strips, stride_of
from .layout import SLOT
from .outer_products import OuterProduct

LEAST: Final = 1 << 17
"""Bytes of all arrays below which they are in the cache anyway."""

Access = tuple["Load | Gather | Store | Scatter", Path]


def contract(program: Program, lanes: bool) -> None:
    """Contract arrays of a program, in place: from here on elements may be stored again.

    Args:
        program: the program, which nothing but code is made of any more.
        lanes: whether it runs over lanes. Else iterations of a loop may run side by side, if they
            are independent and no strips; they then need parts of their own.
    """
    accesses: dict[Array, list[Access]] = defaultdict(list)
    for x, path in paths(program.body):
        if isinstance(x, (*READS, *WRITES)):
            accesses[x.array].append((x, path))
    step = SLOT if lanes else 8
    outputs = {x.array for x in program.outputs if isinstance(x, Slice)}
    for x in program.body:  # read when all has run, too
        if isinstance(x, OuterProduct):
            outputs |= {x.rows, x.columns}
    if step * sum([x.size for x in accesses if x.kind in (VALUES, SUMS)]) < LEAST:
        return
    in_order = {
        x: lanes or bool(x.checkpoints) or has_strips(x.body) or not are_independent(x, x.body)
        for x in statements(program.body)
        if isinstance(x, Loop)
    }
    for array, found in accesses.items():
        if array.kind in (VALUES, SUMS) and array not in outputs:
            _contract(array, found, in_order)


def _contract(array: Array, accesses: Sequence[Access], in_order: Mapping[Loop, bool]) -> None:
    """Contract an array as far as can be: by the outermost loops around all that uses it.

    Args:
        array: the array.
        accesses: all that reads it or writes to it.
        in_order: whether the iterations of loops run one after the other.
    """
    within: Loop | None = None
    part = array.like(array.size)
    for loops in zip(*[path for _, path in accesses], strict=False):
        loop = loops[0]
        if any(x is not loop for x in loops) or not in_order[loop]:
            break
        found = _part(accesses, loop)
        if found is None:
            break
        first, part.size = found
        for x, _ in accesses:
            x.array, x.index = part, _within(x.index, loop).plus(-first)
        within = loop
    if within is not None and array.kind == SUMS:
        within.body.insert(0, Zero(part))


def _part(accesses: Sequence[Access], loop: Loop) -> tuple[int, int] | None:
    """Where the part of an iteration begins, and its size; None if iterations share elements."""
    strides = {stride_of(x.index, loop) for x, _ in accesses}
    stride = strides.pop()
    if strides or not stride:
        return None
    lows, highs = [], []
    for x, _ in accesses:
        low, high = bounds(_within(x.index, loop))
        if low <= high:  # else it never runs
            lows.append(low)
            highs.append(high + (x.size - 1 if isinstance(x, BY_VALUE) else 0))
    if not lows:
        return None
    first, size = min(lows), max(highs) - min(lows) + 1
    return (first, size) if size <= abs(stride) else None


def _within(index: Index, loop: Loop) -> Index:
    """An index in the first iteration of a loop."""
    return index._replace(strides=tuple([x for x in index.strides if x[0] is not loop]))
