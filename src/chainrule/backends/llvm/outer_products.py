"""Outer products: gradients of matrices that are added up over lanes, many blocks at a time.

The gradient of a layer's weights at a lane is an outer product, of what comes to its outputs with
its inputs; asked for is the sum over the lanes. Added up block by block, each element of the sum
would go through memory once for each block:

    for i in range(m):                          for i in range(m):
        for j in range(n):                          rows[i] = g[i]
            w'[n i + j] = g[i] * x[j]           w' = the outer product of rows and x

The factors of some blocks are kept instead, and the sums formed from them in registers (see
:mod:`.tiles`). They have the same terms in the same order, so they are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from chainrule import rules
from chainrule.program.form import (
    INPUT,
    READS,
    SUMS,
    VALUES,
    WRITES,
    Array,
    Carry,
    Compute,
    Index,
    Last,
    Load,
    Loop,
    Operand,
    Program,
    Slice,
    Statement,
    Store,
    statements,
)
from chainrule.program.nests import bounds

LEAST: Final = 64
"""Elements of an outer product that is worth it."""


@dataclass(eq=False, repr=False, slots=True)
class OuterProduct(Statement):
    """Adds the outer product of two vectors to sums over the lanes, once a block is computed.

    Element ``first + i * row_stride + j * column_stride`` of the array gets ``rows[i]`` times
    ``columns[at + j * step]``.

    Attributes:
        array: of which nothing but sums over the lanes is asked.
        rows: the elements of one factor; if it is conditional, followed by as many conditions:
            where one is 0, the product is 0, whatever the other factor.
        row_count: how many they are.
        columns: holds the elements of the other factor, ``column_count`` of them.
    """

    array: Array
    first: int
    row_stride: int
    column_stride: int
    rows: Array
    row_count: int
    conditional: bool
    columns: Array
    at: int
    step: int
    column_count: int


def take_out_products(program: Program, reduce: Sequence[bool]) -> bool:
    """Take outer products out of the loops of a program, in place; whether there are any.

    Args:
        program: for lanes, with carries, without segments.
        reduce: for each output whether it is added up over the lanes.
    """
    every = [*statements(program.body)]
    if any(isinstance(x, Loop) and x.checkpoints for x in every):
        return False
    sums = _sums(program, every, reduce)
    found: list[Statement] = []
    for outer in program.body if sums else ():
        if isinstance(outer, Loop) and _runs(outer):
            for inner in [x for x in outer.body if isinstance(x, Loop) and _runs(x)]:
                found += _taken_out(outer, inner, sums)
    program.body += found
    return bool(found)


def _sums(program: Program, every: Sequence[Statement], reduce: Sequence[bool]) -> set[Array]:
    """The arrays of which nothing but sums over the lanes is asked."""
    found: set[Array] = set()
    others = {x.array for x in every if isinstance(x, READS)}
    place = 0
    for output in program.outputs:
        size = output.size if isinstance(output, Slice) else 1
        if isinstance(output, Slice):
            array = output.array
            added = array.kind == VALUES and all(reduce[place : place + size])
            (found if added and array not in found else others).add(array)
            for x in every if added else ():
                if isinstance(x, WRITES) and x.array is array:
                    low, high = bounds(x.index)
                    if low < output.start or high >= output.start + size:
                        others.add(array)
        place += size
    return found - others


def _runs(loop: Loop) -> bool:
    return loop.trips.is_fixed and loop.trips.offset > 0


def _taken_out(outer: Loop, inner: Loop, sums: set[Array]) -> list[Statement]:
    """The outer products of two nested loops, which go from there."""
    found: list[Statement] = []
    for store in inner.body:
        if type(store) is Store and store.array in sums:
            factors = _factors(store, outer, inner)
            if factors is not None:
                product, kept = _product(store, outer, inner, *factors)
                found.append(product)
                place = outer.body.index(inner)
                outer.body[place:place] = kept
                inner.body = [x for x in inner.body if x is not store]
    if found:
        _leave_out_unused(outer, inner)
    return found


_Factors: TypeAlias = "tuple[Operand, Operand | None, Load]"
"""The factor that is the same in the inner loop, its condition, and the other one."""


def _factors(store: Store, outer: Loop, inner: Loop) -> _Factors | None:
    """The factors of what is stored; None if it is no element of an outer product."""
    if not _is_regular(store.index, {outer, inner}):
        return None
    if outer.trips.offset * inner.trips.offset < LEAST:
        return None
    value = _resolved(store.value, inner)
    if not isinstance(value, Compute) or value not in inner.body:
        return None
    condition: Operand | None = None
    operands = [_resolved(x, inner) for x in value.operands]
    if value.operation is rules.message:
        condition, *operands = operands
    elif value.operation is not rules.multiply:
        return None
    inside = {*inner.body, *inner.carries}
    for row, column in (operands, operands[::-1]):
        if (
            isinstance(column, Load)
            and column in inside
            and _is_regular(column.index, {inner})
            and column.array.kind in (INPUT, VALUES, SUMS)
            and not any(x in inside for x in (row, condition))
        ):
            return row, condition, column
    return None


def _is_regular(index: Index, loops: set[Loop]) -> bool:
    """Whether an index goes on by some step with each iteration of these loops, and of no other."""
    return not index.tables and {loop for loop, _ in index.strides} == loops


def _resolved(x: Operand, inner: Loop) -> Operand:
    """A value, or what it is the same as in all iterations of a loop."""
    while isinstance(x, Carry) and x in inner.carries and x.next is x:
        x = x.initial
    return x


def _product(
    store: Store, outer: Loop, inner: Loop, row: Operand, condition: Operand | None, column: Load
) -> tuple[OuterProduct, list[Statement]]:
    """An outer product, and what keeps the factor of its rows."""
    count = outer.trips.offset
    rows = Array(VALUES, count if condition is None else 2 * count, "rows")
    kept: list[Statement] = []
    if condition is not None:
        kept.append(Store(rows, Index(count, ((outer, 1),)), condition))
        row = Compute(rules.where, [condition, row, 0.0])
        kept.append(row)
    kept.append(Store(rows, Index(0, ((outer, 1),)), row))
    strides, steps = dict(store.index.strides), dict(column.index.strides)
    product = OuterProduct(
        store.array,
        store.index.offset,
        strides[outer],
        strides[inner],
        rows,
        count,
        condition is not None,
        column.array,
        column.index.offset,
        steps[inner],
        inner.trips.offset,
    )
    return product, kept


def _leave_out_unused(outer: Loop, inner: Loop) -> None:
    """Leave out of an inner loop what nothing needs any more; all of it, if it does nothing."""
    used = {carry.next for carry in inner.carries}
    left: list[Statement] = []
    for x in reversed(inner.body):
        if not isinstance(x, (Compute, Load)) or x in used:
            left.append(x)
            used.update([y for z in statements([x]) for y in z.operands])
            used.update([c.next for z in statements([x]) if isinstance(z, Loop) for c in z.carries])
    inner.body = left[::-1]
    lasts = [x for x in statements(outer.body) if isinstance(x, Last) and x.loop is inner]
    values: dict[Operand, Operand] = {x: _resolved(x.carry.next, inner) for x in lasts}
    if left or any(x in inner.carries for x in values.values()):
        return
    outer.body = [x for x in outer.body if x is not inner and x not in values]
    for x in statements(outer.body):
        if not isinstance(x, Loop):
            x.replace(values)
    for loop in [outer, *[x for x in statements(outer.body) if isinstance(x, Loop)]]:
        for carry in loop.carries:
            carry.next = values.get(carry.next, carry.next)
            if loop is not outer:
                carry.initial = values.get(carry.initial, carry.initial)
