"""Moving inputs to their slots and outputs from them, for a block of eight lanes.

A segment is a run of inputs or outputs that lie regularly in memory. Two arrangements are fast:
lanes side by side (columns), and the numbers of a lane side by side (rows), which are transposed
eight by eight in registers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from chainrule.backends.llvm.assembly import Procedure
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
        self.whole = f.b.and_(self.count, f.number(-BLOCK))  # elements in whole blocks

    def has(self, stride: Any, value: int) -> Any:
        """Whether a stride has a value."""
        return self.f.b.icmp_signed("==", stride, self.f.number(value))

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


def write_load(module: Any) -> Any:
    """Write a function that loads a segment of the inputs.

    It takes the segment, the first input's slot, the lanes' numbers, and whether those are
    consecutive.
    """
    f = Procedure(module, "load_segment", None, "pppb")
    _, slots, numbers, consecutive = f.args
    t = _Transfer(f, numbers, lambda k: f.at(slots, f.b.shl(k, f.number(_SLOT_SHIFT))))

    def columns() -> None:
        with f.loop(t.count) as k:
            f.store(f.load(t.doubles, t.column(k)), t.slot_of(k), align=SLOT)

    def whole_rows() -> None:
        rows = t.rows()
        with f.loop(t.whole, step=BLOCK) as k:
            offset = f.b.shl(k, f.number(3))
            read = [f.load(t.doubles, row, offset) for row in rows]
            for i, column in enumerate(_transposed(f, read)):
                f.store(column, t.slot_of(k, i), align=SLOT)
        strided(t.whole)

    def strided(start: Any) -> None:
        rows = t.rows()
        with f.loop(t.count, start) as k:
            offset = f.b.mul(k, t.element_stride)
            column = f.vector_of([f.load(f.double, row, offset) for row in rows])
            f.store(column, t.slot_of(k), align=SLOT)

    f.choose(
        (f.b.and_(consecutive, t.has(t.lane_stride, 8)), columns),
        (t.has(t.element_stride, 8), whole_rows),
        default=lambda: strided(0),
    )
    f.b.ret_void()
    return f.function


def write_store(module: Any) -> Any:
    """Write a function that stores a segment of the outputs.

    It takes the segment, the workspace, the offsets of the outputs, the lanes' numbers, whether
    those are consecutive, and how many of the lanes are valid.
    """
    f = Procedure(module, "store_segment", None, "ppppbi")
    _, workspace, offsets, numbers, consecutive, valid = f.args
    t = _Transfer(
        f, numbers, lambda k: f.at(workspace, f.load(f.i64, offsets, f.b.shl(k, f.number(3))))
    )

    def columns() -> None:
        with f.loop(t.count) as k:
            f.store(f.load(t.doubles, t.slot_of(k), align=SLOT), t.column(k))

    def whole_rows() -> None:
        rows = t.rows()
        with f.loop(t.whole, step=BLOCK) as k:
            read = [f.load(t.doubles, t.slot_of(k, i), align=SLOT) for i in range(BLOCK)]
            for row, values in zip(rows, _transposed(f, read), strict=True):
                f.store(values, row, f.b.shl(k, f.number(3)))
        strided(t.whole)

    def strided(start: Any) -> None:
        with f.loop(valid) as lane:
            place = f.b.shl(lane, f.number(3))
            row = t.row(place)
            with f.loop(t.count, start) as k:
                x = f.load(f.double, t.slot_of(k), place)
                f.store(x, row, f.b.mul(k, t.element_stride))

    full = f.b.icmp_signed("==", valid, f.number(BLOCK))
    f.choose(
        (f.b.and_(consecutive, t.has(t.lane_stride, 8)), columns),
        (f.b.and_(full, t.has(t.element_stride, 8)), whole_rows),
        default=lambda: strided(0),
    )
    f.b.ret_void()
    return f.function


def _transposed(f: Procedure, rows: list[Any]) -> list[Any]:
    """Eight vectors of eight numbers, transposed: blocks off the diagonal are swapped."""
    for half in (4, 2, 1):
        keep = [j if (j // half) % 2 == 0 else j - half + BLOCK for j in range(BLOCK)]
        move = [j + half if (j // half) % 2 == 0 else j + BLOCK for j in range(BLOCK)]
        new = list(rows)
        for i in range(BLOCK):
            if (i // half) % 2 == 0:
                new[i] = f.shuffle(rows[i], rows[i + half], keep)
                new[i + half] = f.shuffle(rows[i], rows[i + half], move)
        rows = new
    return rows
