"""Moving inputs to their slots and outputs from them, for a block of eight lanes.

A segment is a run of inputs or outputs that lie regularly in memory. Two arrangements are fast:
lanes side by side (columns), and the numbers of a lane side by side (rows), which are transposed
eight by eight in registers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from chainrule.backends.llvm.assembly import Module, Procedure
from chainrule.backends.llvm.layout import BLOCK, SLOT

_SLOT_SHIFT: Final = 6  # 2**6 bytes


class SegmentFields:
    """Fields of a segment."""

    ADDRESS: Final = 0
    COUNT: Final = 1
    ELEMENT_STRIDE: Final = 2  # bytes
    LANE_STRIDE: Final = 3
    FIRST: Final = 4  # number of the first input or output
    FIELDS: Final = 5


class _Transfer:
    """What loading and storing share.

    Args:
        f: the function, with the segment as its first parameter.
        numbers: the address of the eight lanes' numbers.
        slot: gives the address of the slot of an input or output.
    """

    def __init__(self, f: Procedure, numbers: Any, slot: Callable[[Any], Any]) -> None:
        self.f = f
        self.numbers = numbers
        self.slot = slot
        segment = f.args[0]
        self.doubles = f.vector_type(f.double)
        self.base = f.address(segment, SegmentFields.ADDRESS)
        self.count = f.field(segment, SegmentFields.COUNT)
        self.element_stride = f.field(segment, SegmentFields.ELEMENT_STRIDE)
        self.lane_stride = f.field(segment, SegmentFields.LANE_STRIDE)
        self.first = f.field(segment, SegmentFields.FIRST)

    def has(self, stride: Any, value: int) -> Any:
        """Whether a stride has a value."""
        return self.f.b.icmp("==", stride, self.f.number(value))

    def whole(self, by_blocks: Any) -> Any:
        """How many elements, the first ones, are moved as whole blocks of eight."""
        b = self.f.b
        return b.select(by_blocks, b.and_(self.count, self.f.number(-BLOCK)), self.f.number(0))

    def slot_of(self, k: Any, more: int = 0) -> Any:
        """The slot of element k + more of the segment."""
        b = self.f.b
        return self.slot(b.add(b.add(self.first, k), self.f.number(more)))

    def column(self, k: Any) -> Any:
        """The address of element k in the first of consecutive lanes."""
        f = self.f
        lane = f.b.mul(f.load(f.i64, self.numbers), self.lane_stride)
        return f.at(f.at(self.base, lane), f.b.mul(k, self.element_stride))

    def row(self, lane: Any) -> Any:
        """The address of the segment in a lane, given its place in the block times 8."""
        f = self.f
        return f.at(self.base, f.b.mul(f.load(f.i64, self.numbers, lane), self.lane_stride))

    def rows(self) -> list[Any]:
        """The addresses of the segment in the eight lanes."""
        return [self.row(8 * lane) for lane in range(BLOCK)]


def write_load_same(module: Module) -> None:
    """Write a function that loads a segment of inputs that are the same for all lanes.

    It takes the segment, and where the number of the first input goes.
    """
    f = Procedure(module, "load_same", None, "pp")
    segment, same = f.args
    base = f.address(segment, SegmentFields.ADDRESS)
    stride = f.field(segment, SegmentFields.ELEMENT_STRIDE)
    count = f.field(segment, SegmentFields.COUNT)
    to = f.at(same, f.b.shl(f.field(segment, SegmentFields.FIRST), f.number(3)))
    with f.b.if_else(f.b.icmp("==", stride, f.number(8))) as (side_by_side, apart):
        with side_by_side:
            copy = f.declare("llvm.memcpy.p0.p0.i64", None, "ppib")
            f.b.call(copy, [to, base, f.b.shl(count, f.number(3)), f.constant(f.bit, 0)])
        with apart, f.loop(count) as k:
            x = f.load(f.double, base, f.b.mul(k, stride))
            f.store(x, to, f.b.shl(k, f.number(3)))
    f.b.ret_void()


def write_spread(module: Module) -> None:
    """Write a function that puts inputs that are the same for all lanes into slots.

    It takes pairs of the first input of some and their number, the number of pairs, where the
    numbers are, and the first input's slot.
    """
    f = Procedure(module, "spread", None, "pipp")
    runs, count, same, slots = f.args
    with f.loop(count) as r:
        run = f.at(runs, f.b.shl(r, f.number(4)))
        first = f.field(run, 0)
        with f.loop(f.b.add(first, f.field(run, 1)), first) as k:
            x = f.load(f.double, same, f.b.shl(k, f.number(3)))
            f.store(f.splat(x), slots, f.b.shl(k, f.number(_SLOT_SHIFT)), align=SLOT)
    f.b.ret_void()


def write_load(module: Module) -> None:
    """Write a function that loads a segment of the inputs.

    It takes the segment, the first input's slot, the lanes' numbers, and whether those are
    consecutive.
    """
    f = Procedure(module, "load_segment", None, "pppb")
    _, slots, numbers, consecutive = f.args
    t = _Transfer(f, numbers, lambda k: f.at(slots, f.b.shl(k, f.number(_SLOT_SHIFT))))

    with f.b.if_else(f.b.and_(consecutive, t.has(t.lane_stride, 8))) as (in_columns, in_rows):
        with in_columns, f.loop(t.count) as k:
            f.store(f.load(t.doubles, t.column(k)), t.slot_of(k), align=SLOT)
        with in_rows:
            rows = t.rows()
            whole = t.whole(t.has(t.element_stride, 8))
            with f.loop(whole, step=BLOCK) as k:
                offset = f.b.shl(k, f.number(3))
                read = [f.load(t.doubles, row, offset) for row in rows]
                for i, column in enumerate(_transposed(f, read)):
                    f.store(column, t.slot_of(k, i), align=SLOT)
            with f.loop(t.count, whole) as k:
                offset = f.b.mul(k, t.element_stride)
                column = f.vector_of([f.load(f.double, row, offset) for row in rows])
                f.store(column, t.slot_of(k), align=SLOT)
    f.b.ret_void()


def write_store(module: Module) -> None:
    """Write a function that stores a segment of the outputs.

    It takes the segment, the workspace, the offsets of the outputs, the lanes' numbers, whether
    those are consecutive, and how many of the lanes are valid.
    """
    f = Procedure(module, "store_segment", None, "ppppbi")
    _, workspace, offsets, numbers, consecutive, valid = f.args
    t = _Transfer(
        f, numbers, lambda k: f.at(workspace, f.load(f.i64, offsets, f.b.shl(k, f.number(3))))
    )

    with f.b.if_else(f.b.and_(consecutive, t.has(t.lane_stride, 8))) as (in_columns, in_rows):
        with in_columns, f.loop(t.count) as k:
            f.store(f.load(t.doubles, t.slot_of(k), align=SLOT), t.column(k))
        with in_rows:
            full = f.b.icmp("==", valid, f.number(BLOCK))
            whole = t.whole(f.b.and_(full, t.has(t.element_stride, 8)))
            rows = t.rows()
            with f.loop(whole, step=BLOCK) as k:
                read = [f.load(t.doubles, t.slot_of(k, i), align=SLOT) for i in range(BLOCK)]
                for row, values in zip(rows, _transposed(f, read), strict=True):
                    f.store(values, row, f.b.shl(k, f.number(3)))
            with f.loop(valid) as lane:
                place = f.b.shl(lane, f.number(3))
                row = t.row(place)
                with f.loop(t.count, whole) as k:
                    x = f.load(f.double, t.slot_of(k), place)
                    f.store(x, row, f.b.mul(k, t.element_stride))
    f.b.ret_void()


def _transposed(f: Procedure, rows: list[Any]) -> list[Any]:
    """Eight vectors of eight numbers, transposed, by shuffles that the processor has.

    First pairs of numbers are made of two rows; pairs of pairs, and those of these, are picked.
    """
    columns: list[Any] = [None] * BLOCK
    for odd in (0, 1):
        every_other = [
            f.shuffle(a, b, _PAIRS[odd]) for a, b in zip(rows[::2], rows[1::2], strict=True)
        ]
        for low in (0, 1):
            a = f.shuffle(every_other[0], every_other[1], _PICKED[low])
            b = f.shuffle(every_other[2], every_other[3], _PICKED[low])
            for high in (0, 1):
                columns[4 * high + 2 * low + odd] = f.shuffle(a, b, _PICKED[high])
    return columns


_PAIRS: Final = [[0, 8, 2, 10, 4, 12, 6, 14], [1, 9, 3, 11, 5, 13, 7, 15]]
_PICKED: Final = [[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]]
