"""Sums of outer products over the lanes of a group of blocks, tile by tile.

The factors of each block are copied to buffers, in which the blocks of an element lie side by side.
A tile of the sums stays in registers while it goes through the blocks of a group.
"""

from __future__ import annotations

from typing import Any, Final

from .assembly import Module, Procedure
from .layout import BLOCK, SLOT
from .sums import added_up

GROUP: Final = 16
"""Blocks of a group."""

SIDES: Final = {8: 4, 4: 2, 2: 2}
"""Rows and columns of a tile, by the width of vectors: all of it has to fit into registers."""

_SLOT_SHIFT: Final = 6
_ELEMENT: Final = GROUP * SLOT  # bytes from one element to the next in a buffer


class KeptFields:
    """Fields of a factor that is kept.

    Its buffer begins with a slot that tells whether all its elements are finite: it holds the sums
    of each minus itself.
    """

    SOURCE: Final = 0  # offset of the first element in the workspace
    STEP: Final = 1  # bytes to the next one
    COUNT: Final = 2
    BUFFER: Final = 3  # offset
    FIELDS: Final = 4


class ProductFields:
    """Fields of an outer product: offsets of buffers, and where its sums lie among all."""

    ROWS: Final = 0
    ROW_COUNT: Final = 1
    COLUMNS: Final = 2
    COLUMN_COUNT: Final = 3
    CONDITIONS: Final = 4  # 0 for none
    FIRST: Final = 5
    ROW_STRIDE: Final = 6
    COLUMN_STRIDE: Final = 7
    FIELDS: Final = 8


def write_keep(module: Module) -> None:
    """Write a function that copies the factors of a block to their buffers, 0 in invalid lanes.

    It takes the workspace, the table of factors, their number, which block of the group it is, and
    how many of its lanes are valid.
    """
    f = Procedure(module, "keep", None, "ppiii")
    b = f.b
    workspace, table, count, block, valid = f.args
    kind = f.vector_type(f.double)
    zero = f.constant(kind, 0.0)
    lanes = f.constant(f.vector_type(f.i64), list(range(BLOCK)))
    is_valid = b.icmp("<", lanes, f.splat(valid))
    with f.loop(count) as k:
        row = f.at(table, b.mul(k, f.number(8 * KeptFields.FIELDS)))
        source = f.at(workspace, f.field(row, KeptFields.SOURCE))
        step = f.field(row, KeptFields.STEP)
        buffer = f.at(workspace, f.field(row, KeptFields.BUFFER))
        elements = f.at(f.at(buffer, SLOT), b.shl(block, f.number(_SLOT_SHIFT)))
        is_first = b.icmp("==", block, f.number(0))
        before = b.select(is_first, zero, f.load(kind, buffer, align=SLOT))

        def copied(e: Any, state: list[Any]) -> list[Any]:
            x = f.load(kind, source, b.mul(e, step), align=SLOT)
            x = b.select(is_valid, x, zero)
            f.store(x, elements, b.mul(e, f.number(_ELEMENT)), align=SLOT)
            return [b.fadd(state[0], b.fsub(x, x))]

        (differences,) = f.fold(f.field(row, KeptFields.COUNT), [before], copied)
        f.store(differences, buffer, align=SLOT)
    b.ret_void()


def write_add_products(module: Module, width: int) -> None:
    """Write a function that adds the outer products of a group of blocks to the sums of the unit.

    It takes the workspace, the table of products, their number, the sums, where the results go, how
    many blocks there are, and whether they are the first and the last ones of the unit: after the
    last ones each sum over the lanes becomes a result.

    Args:
        module: where it is written to.
        width: lanes of the machine's vectors.
    """
    f = Procedure(module, "add_products", None, "ppippibb")
    table, count = f.args[1:3]
    with f.loop(count) as k:
        row = f.at(table, f.b.mul(k, f.number(8 * ProductFields.FIELDS)))
        _Product(f, row, SIDES[width]).write()
    f.b.ret_void()


class _Product:
    """Writes the sums of an outer product.

    Args:
        f: the function.
        row: of the table.
        side: rows and columns of a tile.
    """

    def __init__(self, f: Procedure, row: Any, side: int) -> None:
        self.f, self.side = f, side
        b = f.b
        workspace, _, _, sums, results, self.blocks, begins, self.ends = f.args
        self.kind = f.vector_type(f.double)
        self.zero = f.constant(self.kind, 0.0)
        self.rows = f.at(workspace, f.field(row, ProductFields.ROWS))
        self.columns = f.at(workspace, f.field(row, ProductFields.COLUMNS))
        self.conditions = f.at(workspace, f.field(row, ProductFields.CONDITIONS))
        self.is_conditional = b.icmp("!=", f.field(row, ProductFields.CONDITIONS), f.number(0))
        self.row_count = f.field(row, ProductFields.ROW_COUNT)
        self.column_count = f.field(row, ProductFields.COLUMN_COUNT)
        first = f.field(row, ProductFields.FIRST)
        self.row_stride = f.field(row, ProductFields.ROW_STRIDE)
        self.column_stride = f.field(row, ProductFields.COLUMN_STRIDE)
        self.sums = f.at(sums, b.shl(first, f.number(_SLOT_SHIFT)))
        self.results = f.at(results, b.shl(first, f.number(3)))
        # At first each sum is 0: read from one place.
        zeros = f.local(self.kind, align=SLOT)
        f.store(self.zero, zeros, align=SLOT)
        self.before = b.select(begins, zeros, self.sums)
        self.step_before = b.select(begins, f.number(0), f.number(SLOT))

    def write(self) -> None:
        """Write it: by tiles, unless a factor that is not finite asks for conditions."""
        f, b = self.f, self.f.b
        differences = f.load(self.kind, self.columns, align=SLOT)
        some = f.any(b.fcmp("!=", differences, self.zero))
        with b.if_else(b.and_(self.is_conditional, some)) as (one_by_one, in_tiles):
            with one_by_one, f.loop(self.column_count) as j, f.loop(self.row_count) as i:
                self._tile([i], [j], conditional=True)
            rows = f.loop(self.row_count, step=self.side)
            with in_tiles, rows as i, f.loop(self.column_count, step=self.side) as j:
                self._tile(self._some(i, self.row_count), self._some(j, self.column_count))

    def _some(self, first: Any, count: Any) -> list[Any]:
        """The rows or columns of a tile; what is beyond the last one is that once more."""
        b, last = self.f.b, self.f.b.sub(count, self.f.number(1))
        found = [b.add(first, self.f.number(k)) for k in range(self.side)]
        return [b.select(b.icmp("<", x, last), x, last) for x in found]

    def _tile(self, rows: list[Any], columns: list[Any], conditional: bool = False) -> None:
        """A tile: each sum is read before one is written, as some may be one twice."""
        f, b = self.f, self.f.b
        ways = [(r, c) for r in range(len(rows)) for c in range(len(columns))]
        downs = [b.mul(i, self.row_stride) for i in rows]
        overs = [b.mul(j, self.column_stride) for j in columns]

        def places(first: Any, step: Any) -> list[Any]:
            """The addresses of the sums from that of the first one on."""
            heads = [f.at(first, b.mul(x, step)) for x in downs]
            offsets = [b.mul(x, step) for x in overs]
            return [f.at(heads[r], offsets[c]) for r, c in ways]

        before = places(self.before, self.step_before)
        start = [f.load(self.kind, x, align=SLOT) for x in before]
        left = [self._element(self.rows, i) for i in rows]
        right = [self._element(self.columns, j) for j in columns]
        conditions = [self._element(self.conditions, i) for i in rows] if conditional else []

        def added(block: Any, sums: list[Any]) -> list[Any]:
            at = b.shl(block, f.number(_SLOT_SHIFT))
            xs, ys, holds = [
                [f.load(self.kind, x, at, align=SLOT) for x in given]
                for given in (left, right, conditions)
            ]
            terms = [b.fmul(xs[r], ys[c]) for r, c in ways]
            if conditional:
                bits = [b.fcmp("!=", x, self.zero) for x in holds]
                terms = [
                    b.select(bits[r], x, self.zero) for (r, _), x in zip(ways, terms, strict=True)
                ]
            return [b.fadd(total, term) for total, term in zip(sums, terms, strict=True)]

        sums = f.repeat(self.blocks, start, added)
        with b.if_else(self.ends) as (last, others):
            with last:
                results = places(self.results, f.number(8))
                for first in range(0, len(ways), len(columns)):
                    totals = added_up(f, sums[first : first + len(columns)])
                    for k in range(len(columns)):
                        f.store(f.element(totals, k), results[first + k])
            with others:
                for to, total in zip(places(self.sums, f.number(SLOT)), sums, strict=True):
                    f.store(total, to, align=SLOT)

    def _element(self, buffer: Any, i: Any) -> Any:
        """The address of an element of a factor, in the first block."""
        f = self.f
        return f.at(f.at(buffer, SLOT), f.b.mul(i, f.number(_ELEMENT)))
