"""The loops around the code of a tape: they are the same for all tapes, and compiled once.

``run`` works through the lanes of a call, block by block: it loads the inputs of eight lanes into
the workspace, each input in a slot of its own (which transposes rows of a matrix), calls the
pieces, evaluates the guards, and stores or adds up the outputs. ``call`` does the same for a single
point. What they work on stands in tables of 64-bit numbers, with the names below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from chainrule.compiler.layout import BLOCK, HANDLE, POSITIONS, SLOT

ON_STACK: Final = 32768  # bytes of the largest workspace of a single point that is on the stack
DONE: Final = -1  # result of run: no unit is left
CAREFUL: Final = -1  # result of call: the careful code must compute it
NO_MEMORY: Final = -2  # result of call


class Code:
    """Fields of the table that describes a kernel."""

    PROLOGUE: Final = 0  # address of the addresses of the pieces
    PROLOGUE_COUNT: Final = 1
    PIECES: Final = 2
    PIECE_COUNT: Final = 3
    CAREFUL_PROLOGUE: Final = 4  # 0 as long as there is none
    CAREFUL_PIECES: Final = 5
    GUARDS: Final = 6  # address of rows of GUARD_FIELDS numbers
    GUARD_COUNT: Final = 7
    OUTPUTS: Final = 8  # address of the offsets of the outputs
    OUTPUT_COUNT: Final = 9
    INPUT_OFFSET: Final = 10
    INPUT_COUNT: Final = 11
    SIZE: Final = 12  # of the workspace
    HANDLE: Final = 13
    WATCH: Final = 14  # 1: NaN among the outputs needs the careful code; 2: also where guards fail
    CONSTANTS: Final = 15  # address of pairs (offset, number)
    CONSTANT_COUNT: Final = 16
    FIELDS: Final = 17


class Call:
    """Fields of the table that describes one call of a kernel for lanes."""

    INPUTS: Final = 0  # address of the segments of the inputs
    INPUT_SEGMENTS: Final = 1
    OUTPUTS: Final = 2  # address of the segments of the outputs
    OUTPUT_SEGMENTS: Final = 3
    LANES: Final = 4
    INDEX: Final = 5  # address of the numbers of the lanes, 0: all in order
    STATUS: Final = 6  # address of the status of the lanes, 0: nobody asks
    NEXT: Final = 7  # the next unit that no thread has taken yet
    UNITS: Final = 8
    UNIT_BLOCKS: Final = 9  # blocks in a unit
    REDUCED: Final = 10  # address of the offsets of the outputs that are added up
    REDUCED_COUNT: Final = 11
    SUMS: Final = 12  # address of the sums of each unit
    CAREFUL: Final = 13  # counts the blocks that needed the careful code
    FIELDS: Final = 14


class Segment:
    """Fields of a segment: a run of inputs or outputs that lie regularly in memory."""

    ADDRESS: Final = 0
    COUNT: Final = 1
    ELEMENT_STRIDE: Final = 2
    LANE_STRIDE: Final = 3
    FIRST: Final = 4  # number of the first input or output
    FIELDS: Final = 5


class Guard:
    """Fields of a guard."""

    PIECES: Final = 0  # pieces that must have run
    OFFSET: Final = 1
    NUMBER: Final = 2
    EXPECTED: Final = 3  # the bits of 0.0 or 1.0
    FIELDS: Final = 4


def lanes_driver(width: int) -> str:
    """The module with ``run``, in LLVM's assembly language.

    Args:
        width: how many lanes a piece computes at a time.
    """
    from llvmlite import ir

    driver = _Driver(ir, width)
    driver.write_run()
    return str(driver.module)


def point_driver() -> str:
    """The module with ``call``, in LLVM's assembly language."""
    from llvmlite import ir

    driver = _Driver(ir, 1)
    driver.write_call()
    return str(driver.module)


class _Driver:
    """Writes the module."""

    def __init__(self, ir: Any, width: int) -> None:
        self.ir = ir
        self.width = width
        self.module = ir.Module(name="driver")
        self.i64 = ir.IntType(64)
        self.i32 = ir.IntType(32)
        self.bit = ir.IntType(1)
        self.double = ir.DoubleType()
        self.pointer = ir.PointerType()
        self.doubles = ir.VectorType(self.double, BLOCK)
        self.integers = ir.VectorType(self.i64, BLOCK)
        self.bits = ir.VectorType(self.bit, BLOCK)
        self.piece_type = ir.FunctionType(ir.VoidType(), [self.pointer])
        self.load_segment: Any = None
        self.store_segment: Any = None
        self.run_pieces: Any = None
        self.any_bit = self._intrinsic("llvm.vector.reduce.or.v8i1", self.bit, [self.bits])

    # Small things

    def number(self, value: int) -> Any:
        return self.ir.Constant(self.i64, value)

    def splat(self, b: Any, scalar: Any) -> Any:
        """A vector of eight equal numbers."""
        ir = self.ir
        vector = ir.VectorType(scalar.type, BLOCK)
        one = b.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(self.i32, 0))
        zeros = ir.Constant(ir.VectorType(self.i32, BLOCK), None)
        return b.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)

    def at(self, b: Any, address: Any, offset: Any) -> Any:
        """An address some bytes further."""
        if isinstance(offset, int):
            offset = self.number(offset)
        return b.gep(address, [offset], source_etype=self.ir.IntType(8))

    def load(self, b: Any, kind: Any, address: Any, offset: Any = 0, align: int = 8) -> Any:
        return b.load(self.at(b, address, offset), typ=kind, align=align)

    def store(self, b: Any, value: Any, address: Any, offset: Any = 0, align: int = 8) -> None:
        b.store(value, self.at(b, address, offset), align=align)

    def field(self, b: Any, table: Any, which: int) -> Any:
        return self.load(b, self.i64, table, 8 * which)

    def address(self, b: Any, table: Any, which: int) -> Any:
        return self.load(b, self.pointer, table, 8 * which)

    def local(self, b: Any, kind: Any, size: Any = None, align: int = 8) -> Any:
        """Space on the stack."""
        space = b.alloca(kind, size)
        space.align = align
        space.type = self.pointer  # llvmlite would print the type of what it points to
        return space

    def _intrinsic(self, name: str, result: Any, parameters: list[Any]) -> Any:
        return self.ir.Function(self.module, self.ir.FunctionType(result, parameters), name)

    def _function(self, name: str, result: Any, parameters: list[Any]) -> tuple[Any, Any]:
        ir = self.ir
        function = ir.Function(self.module, ir.FunctionType(result, parameters), name)
        return function, ir.IRBuilder(function.append_basic_block())

    @contextmanager
    def loop(self, b: Any, count: Any, start: Any = 0, step: int = 1) -> Iterator[Any]:
        """A loop over start, start + step, … below count; gives the index."""
        if isinstance(start, int):
            start = self.number(start)
        before = b.block
        test = b.append_basic_block()
        body = b.append_basic_block()
        after = b.append_basic_block()
        b.branch(test)
        b.position_at_end(test)
        i = b.phi(self.i64)
        i.add_incoming(start, before)
        b.cbranch(b.icmp_signed("<", i, count), body, after)
        b.position_at_end(body)
        yield i
        i.add_incoming(b.add(i, self.number(step)), b.block)
        b.branch(test)
        b.position_at_end(after)

    def choose(self, b: Any, condition: Any, yes: Callable[[], Any], no: Callable[[], Any]) -> None:
        """Run the one or the other."""
        with b.if_else(condition) as (then, otherwise):
            with then:
                yes()
            with otherwise:
                no()

    # Inputs and outputs

    def _each_element(self, b: Any, segment: Any, start: Any, visit: Callable[..., None]) -> None:
        """Visit (slot number, address of the element in lane 0) from element ``start`` on."""
        base = self.address(b, segment, Segment.ADDRESS)
        stride = self.field(b, segment, Segment.ELEMENT_STRIDE)
        first = self.field(b, segment, Segment.FIRST)
        with self.loop(b, self.field(b, segment, Segment.COUNT), start) as k:
            visit(b.add(first, k), self.at(b, base, b.mul(k, stride)))

    def _transpose(self, b: Any, rows: list[Any]) -> list[Any]:
        """Eight vectors of eight numbers, transposed."""
        ir = self.ir

        def shuffled(x: Any, y: Any, order: list[int]) -> Any:
            mask = ir.Constant(ir.VectorType(self.i32, BLOCK), order)
            return b.shuffle_vector(x, y, mask)

        for half in (4, 2, 1):
            low = [i + (i // half) * half for i in range(BLOCK // 2)]
            # Swap the off-diagonal blocks of size half
            keep = [j if (j // half) % 2 == 0 else j - half + BLOCK for j in range(BLOCK)]
            move = [j + half if (j // half) % 2 == 0 else j + BLOCK for j in range(BLOCK)]
            new = list(rows)
            for i in low:
                new[i] = shuffled(rows[i], rows[i + half], keep)
                new[i + half] = shuffled(rows[i], rows[i + half], move)
            rows = new
        return rows

    def _rows(self, b: Any, segment: Any, numbers: Any) -> list[Any]:
        """The address of the segment in each of the eight lanes."""
        base = self.address(b, segment, Segment.ADDRESS)
        stride = self.field(b, segment, Segment.LANE_STRIDE)
        return [
            self.at(b, base, b.mul(self.load(b, self.i64, numbers, 8 * lane), stride))
            for lane in range(BLOCK)
        ]

    def _load_segment(self) -> Any:
        """Load one segment of the inputs: (segment, first slot, lane numbers, consecutive)."""
        function, b = self._function(
            "load_segment",
            self.ir.VoidType(),
            [self.pointer, self.pointer, self.pointer, self.bit],
        )
        segment, slots, numbers, consecutive = function.args
        element_stride = self.field(b, segment, Segment.ELEMENT_STRIDE)
        lane_stride = self.field(b, segment, Segment.LANE_STRIDE)
        columns = b.and_(consecutive, b.icmp_signed("==", lane_stride, self.number(8)))
        rows = b.icmp_signed("==", element_stride, self.number(8))

        def slot(k: Any) -> Any:
            return self.at(b, slots, b.shl(k, self.number(6)))

        def load_columns() -> None:
            first = b.shl(self.load(b, self.i64, numbers), self.number(3))

            def visit(k: Any, address: Any) -> None:
                column = self.load(b, self.doubles, address, first)
                b.store(column, slot(k), align=SLOT)

            self._each_element(b, segment, 0, visit)

        def load_strided(lanes: list[Any], start: Any) -> None:
            first = self.field(b, segment, Segment.FIRST)
            with self.loop(b, self.field(b, segment, Segment.COUNT), start) as k:
                column = self.ir.Constant(self.doubles, self.ir.Undefined)
                offset = b.mul(k, element_stride)
                for lane, row in enumerate(lanes):
                    x = self.load(b, self.double, row, offset)
                    column = b.insert_element(column, x, self.ir.Constant(self.i32, lane))
                b.store(column, slot(b.add(first, k)), align=SLOT)

        def load_rows() -> None:
            lanes = self._rows(b, segment, numbers)
            first = self.field(b, segment, Segment.FIRST)
            whole = b.and_(self.field(b, segment, Segment.COUNT), self.number(-BLOCK))
            with self.loop(b, whole, 0, BLOCK) as k:
                offset = b.shl(k, self.number(3))
                read = [self.load(b, self.doubles, row, offset) for row in lanes]
                for i, column in enumerate(self._transpose(b, read)):
                    place = slot(b.add(b.add(first, k), self.number(i)))
                    b.store(column, place, align=SLOT)
            load_strided(lanes, whole)

        self.choose(
            b,
            columns,
            load_columns,
            lambda: self.choose(
                b, rows, load_rows, lambda: load_strided(self._rows(b, segment, numbers), 0)
            ),
        )
        b.ret_void()
        return function

    def _store_segment(self) -> Any:
        """Store one segment: (segment, workspace, offsets, lane numbers, consecutive, valid)."""
        function, b = self._function(
            "store_segment",
            self.ir.VoidType(),
            [self.pointer, self.pointer, self.pointer, self.pointer, self.bit, self.i64],
        )
        segment, workspace, offsets, numbers, consecutive, valid = function.args
        element_stride = self.field(b, segment, Segment.ELEMENT_STRIDE)
        lane_stride = self.field(b, segment, Segment.LANE_STRIDE)
        columns = b.and_(consecutive, b.icmp_signed("==", lane_stride, self.number(8)))
        rows = b.and_(
            b.icmp_signed("==", valid, self.number(BLOCK)),
            b.icmp_signed("==", element_stride, self.number(8)),
        )

        def slot(k: Any) -> Any:
            return self.at(b, workspace, self.load(b, self.i64, offsets, b.shl(k, self.number(3))))

        def store_columns() -> None:
            first = b.shl(self.load(b, self.i64, numbers), self.number(3))

            def visit(k: Any, address: Any) -> None:
                self.store(b, b.load(slot(k), typ=self.doubles, align=SLOT), address, first)

            self._each_element(b, segment, 0, visit)

        def store_strided(start: Any) -> None:
            base = self.address(b, segment, Segment.ADDRESS)
            first = self.field(b, segment, Segment.FIRST)
            with self.loop(b, valid) as lane:
                in_bytes = b.shl(lane, self.number(3))
                row = self.at(
                    b, base, b.mul(self.load(b, self.i64, numbers, in_bytes), lane_stride)
                )
                with self.loop(b, self.field(b, segment, Segment.COUNT), start) as k:
                    x = self.load(b, self.double, slot(b.add(first, k)), in_bytes)
                    self.store(b, x, row, b.mul(k, element_stride))

        def store_rows() -> None:
            lanes = self._rows(b, segment, numbers)
            first = self.field(b, segment, Segment.FIRST)
            whole = b.and_(self.field(b, segment, Segment.COUNT), self.number(-BLOCK))
            with self.loop(b, whole, 0, BLOCK) as k:
                read = [
                    b.load(
                        slot(b.add(b.add(first, k), self.number(i))), typ=self.doubles, align=SLOT
                    )
                    for i in range(BLOCK)
                ]
                for row, values in zip(lanes, self._transpose(b, read), strict=True):
                    self.store(b, values, row, b.shl(k, self.number(3)))
            store_strided(whole)

        self.choose(
            b,
            columns,
            store_columns,
            lambda: self.choose(b, rows, store_rows, lambda: store_strided(0)),
        )
        b.ret_void()
        return function

    # Running the code

    def _run_pieces(self) -> Any:
        """Run pieces and evaluate guards: (code, addresses, count, workspace, status, stop).

        The status, eight 64-bit numbers, becomes the number of the first guard that fails in each
        lane, or stays -1. If ``stop``, no piece is run after guards have failed in all lanes.
        """
        ir = self.ir
        function, b = self._function(
            "run_pieces",
            ir.VoidType(),
            [self.pointer, self.pointer, self.i64, self.pointer, self.pointer, self.bit],
        )
        code, pieces, count, workspace, status, stop = function.args
        none = ir.Constant(self.integers, [-1] * BLOCK)
        leave = b.append_basic_block()

        def evaluate(row: Any) -> None:
            offset = self.field(b, row, Guard.OFFSET)
            value = self.load(b, self.doubles, workspace, offset, align=SLOT)
            expected = self.splat(b, self.load(b, self.double, row, 8 * Guard.EXPECTED))
            number = self.splat(b, self.field(b, row, Guard.NUMBER))
            before = b.load(status, typ=self.integers, align=SLOT)
            fails = b.and_(
                b.fcmp_unordered("!=", value, expected), b.icmp_signed("==", before, none)
            )
            b.store(b.select(fails, number, before), status, align=SLOT)
            holds = b.call(
                self.any_bit,
                [b.icmp_signed("==", b.load(status, typ=self.integers, align=SLOT), none)],
            )
            on = b.append_basic_block()
            b.cbranch(b.and_(stop, b.not_(holds)), leave, on)
            b.position_at_end(on)

        def run(piece: Any) -> None:
            for offset in range(0, SLOT, 8 * self.width):
                b.call(self._callee(piece), [self.at(b, workspace, offset)])

        self._pieces_and_guards(b, code, pieces, count, evaluate, run)
        b.branch(leave)
        b.position_at_end(leave)
        b.ret_void()
        return function

    def _pieces_and_guards(
        self,
        b: Any,
        code: Any,
        pieces: Any,
        count: Any,
        evaluate: Callable[[Any], None],
        run: Callable[[Any], None],
    ) -> None:
        """Run all pieces, and evaluate each guard as soon as it is known."""
        guards = self.address(b, code, Code.GUARDS)
        guard_count = self.field(b, code, Code.GUARD_COUNT)
        done = self.local(b, self.i64)
        b.store(self.number(0), done)
        with self.loop(b, b.add(count, self.number(1))) as p:
            test = b.append_basic_block()
            compare = b.append_basic_block()
            ready = b.append_basic_block()
            go_on = b.append_basic_block()
            b.branch(test)
            b.position_at_end(test)
            k = b.load(done, typ=self.i64)
            b.cbranch(b.icmp_signed("<", k, guard_count), compare, go_on)
            b.position_at_end(compare)
            row = self.at(b, guards, b.mul(k, self.number(8 * Guard.FIELDS)))
            b.cbranch(b.icmp_signed("<=", self.field(b, row, Guard.PIECES), p), ready, go_on)
            b.position_at_end(ready)
            evaluate(row)
            b.store(b.add(k, self.number(1)), done)
            b.branch(test)
            b.position_at_end(go_on)
            with b.if_then(b.icmp_signed("<", p, count)):
                run(self.load(b, self.pointer, pieces, b.shl(p, self.number(3))))

    def _callee(self, piece: Any) -> Any:
        return _FunctionAddress(piece, self.piece_type)

    def _run_prologue(self, b: Any, code: Any, which: int, workspace: Any) -> None:
        pieces = self.address(b, code, which)
        with self.loop(b, self.field(b, code, Code.PROLOGUE_COUNT)) as p:
            piece = self.load(b, self.pointer, pieces, b.shl(p, self.number(3)))
            for offset in range(0, SLOT, 8 * self.width):
                b.call(self._callee(piece), [self.at(b, workspace, offset)])

    def write_run(self) -> None:
        """Work through units: (code, call, workspace, unit to begin with or -1).

        Returns DONE when no unit is left, or a unit that must be done again with careful code.
        """
        ir = self.ir
        self.load_segment = self._load_segment()
        self.store_segment = self._store_segment()
        self.run_pieces = self._run_pieces()
        function, b = self._function(
            "run", self.i64, [self.pointer, self.pointer, self.pointer, self.i64]
        )
        code, call, workspace, resume = function.args
        numbers = self.local(b, self.integers, align=SLOT)
        status = self.local(b, self.integers, align=SLOT)
        again = self.local(b, self.bit)  # whether the careful prologue has run
        b.store(ir.Constant(self.bit, 0), again)
        seen = self.local(b, self.bits)
        lanes = self.field(b, call, Call.LANES)
        index = self.field(b, call, Call.INDEX)
        status_out = self.field(b, call, Call.STATUS)
        slots = self.at(b, workspace, self.field(b, code, Code.INPUT_OFFSET))
        watch = self.field(b, code, Code.WATCH)
        unit_blocks = self.field(b, call, Call.UNIT_BLOCKS)
        segments = self.address(b, call, Call.INPUTS)
        segment_count = self.field(b, call, Call.INPUT_SEGMENTS)
        segment_size = self.number(8 * Segment.FIELDS)
        reduced = self.address(b, call, Call.REDUCED)
        reduced_count = self.field(b, call, Call.REDUCED_COUNT)
        sums = self.at(b, workspace, self.field(b, code, Code.SIZE))
        piece_count = self.field(b, code, Code.PIECE_COUNT)
        outputs = self.address(b, code, Code.OUTPUTS)
        steps = ir.Constant(self.integers, list(range(BLOCK)))
        none = ir.Constant(self.integers, [-1] * BLOCK)

        def each_segment(uniform: bool, consecutive: Any) -> None:
            with self.loop(b, segment_count) as s:
                segment = self.at(b, segments, b.mul(s, segment_size))
                stride = self.field(b, segment, Segment.LANE_STRIDE)
                wanted = b.icmp_signed("==" if uniform else "!=", stride, self.number(0))
                with b.if_then(wanted):
                    b.call(self.load_segment, [segment, slots, numbers, consecutive])

        b.store(ir.Constant(self.integers, None), numbers, align=SLOT)
        each_segment(True, ir.Constant(self.bit, 0))
        self.store(
            b,
            self.splat(b, self.field(b, code, Code.HANDLE)),
            workspace,
            HANDLE * SLOT,
            align=SLOT,
        )
        self.store(b, none, workspace, POSITIONS * SLOT, align=SLOT)
        self._run_prologue(b, code, Code.PROLOGUE, workspace)

        next_unit = b.append_basic_block()
        take = b.append_basic_block()
        work = b.append_basic_block()
        finished = b.append_basic_block()
        start = b.block
        b.cbranch(b.icmp_signed(">=", resume, self.number(0)), work, take)
        b.position_at_end(next_unit)
        b.branch(take)
        b.position_at_end(take)
        taken = b.atomic_rmw("add", self.at(b, call, 8 * Call.NEXT), self.number(1), "monotonic")
        b.cbranch(b.icmp_signed("<", taken, self.field(b, call, Call.UNITS)), work, finished)
        b.position_at_end(finished)
        b.ret(self.number(DONE))
        b.position_at_end(work)
        unit = b.phi(self.i64)
        unit.add_incoming(resume, start)
        unit.add_incoming(taken, take)

        with self.loop(b, reduced_count) as r:
            zeros = ir.Constant(self.doubles, [0.0] * BLOCK)
            self.store(b, zeros, sums, b.shl(r, self.number(6)), align=SLOT)
        first_block = b.mul(unit, unit_blocks)
        last_lane = b.sub(lanes, self.number(1))
        with self.loop(b, unit_blocks) as k:
            first = b.shl(b.add(first_block, k), self.number(3))
            with b.if_then(b.icmp_signed("<", first, lanes)):
                left = b.sub(lanes, first)
                full = b.icmp_signed(">=", left, self.number(BLOCK))
                valid = b.select(full, self.number(BLOCK), left)
                positions = b.add(self.splat(b, first), steps)
                is_valid = b.icmp_signed("<", positions, self.splat(b, lanes))
                held = b.select(is_valid, positions, self.splat(b, last_lane))
                b.store(held, numbers, align=SLOT)
                marked = b.select(is_valid, positions, none)
                self.store(b, marked, workspace, POSITIONS * SLOT, align=SLOT)
                with b.if_then(b.icmp_signed("!=", index, self.number(0))):
                    table = b.inttoptr(index, self.pointer)
                    for lane in range(BLOCK):
                        place = b.shl(self.load(b, self.i64, numbers, 8 * lane), self.number(3))
                        self.store(b, self.load(b, self.i64, table, place), numbers, 8 * lane)
                consecutive = b.and_(full, b.icmp_signed("==", index, self.number(0)))
                each_segment(False, consecutive)
                b.store(none, status, align=SLOT)
                stop = b.icmp_signed("!=", watch, self.number(2))
                b.call(
                    self.run_pieces,
                    [
                        code,
                        self.address(b, code, Code.PIECES),
                        piece_count,
                        workspace,
                        status,
                        stop,
                    ],
                )
                with b.if_then(b.icmp_signed("!=", watch, self.number(0))):
                    self._watch(
                        b, code, call, workspace, status, is_valid, unit, watch, again, seen
                    )
                found = b.load(status, typ=self.integers, align=SLOT)
                with b.if_then(b.icmp_signed("!=", status_out, self.number(0))):
                    table = b.inttoptr(status_out, self.pointer)
                    with self.loop(b, valid) as lane:
                        guard = self.load(b, self.i64, status, b.shl(lane, self.number(3)))
                        self.store(
                            b,
                            b.trunc(b.add(guard, self.number(1)), self.i32),
                            table,
                            b.shl(b.add(first, lane), self.number(2)),
                            align=4,
                        )
                with b.if_then(b.call(self.any_bit, [b.icmp_signed("==", found, none)])):
                    out = self.address(b, call, Call.OUTPUTS)
                    with self.loop(b, self.field(b, call, Call.OUTPUT_SEGMENTS)) as s:
                        segment = self.at(b, out, b.mul(s, segment_size))
                        b.call(
                            self.store_segment,
                            [segment, workspace, outputs, numbers, consecutive, valid],
                        )
                with self.loop(b, reduced_count) as r:
                    offset = self.load(b, self.i64, reduced, b.shl(r, self.number(3)))
                    value = self.load(b, self.doubles, workspace, offset, align=SLOT)
                    place = b.shl(r, self.number(6))
                    total = self.load(b, self.doubles, sums, place, align=SLOT)
                    zeros = ir.Constant(self.doubles, [0.0] * BLOCK)
                    total = b.fadd(total, b.select(is_valid, value, zeros))
                    self.store(b, total, sums, place, align=SLOT)
        all_sums = self.address(b, call, Call.SUMS)
        first_sum = b.mul(unit, reduced_count)
        with self.loop(b, reduced_count) as r:
            place = b.shl(r, self.number(6))
            parts = [
                self.load(b, self.double, sums, b.add(place, self.number(8 * lane)))
                for lane in range(BLOCK)
            ]
            while len(parts) > 1:
                half = len(parts) // 2
                parts = [b.fadd(x, y) for x, y in zip(parts[:half], parts[half:], strict=True)]
            self.store(b, parts[0], all_sums, b.shl(b.add(first_sum, r), self.number(3)))
        b.branch(next_unit)

    def _watch(
        self,
        b: Any,
        code: Any,
        call: Any,
        workspace: Any,
        status: Any,
        is_valid: Any,
        unit: Any,
        watch: Any,
        again: Any,
        seen: Any,
    ) -> None:
        """Run the careful code if an output is NaN; return the unit if there is none yet."""
        ir = self.ir
        none = ir.Constant(self.integers, [-1] * BLOCK)
        outputs = self.address(b, code, Code.OUTPUTS)
        b.store(ir.Constant(self.bits, [0] * BLOCK), seen)
        with self.loop(b, self.field(b, code, Code.OUTPUT_COUNT)) as k:
            offset = self.load(b, self.i64, outputs, b.shl(k, self.number(3)))
            value = self.load(b, self.doubles, workspace, offset, align=SLOT)
            is_nan = b.fcmp_unordered("uno", value, value)
            b.store(b.or_(b.load(seen, typ=self.bits), is_nan), seen)
        held = b.icmp_signed("==", b.load(status, typ=self.integers, align=SLOT), none)
        everywhere = self.splat(b, b.icmp_signed("==", watch, self.number(2)))
        matters = b.and_(is_valid, b.or_(held, everywhere))
        with b.if_then(b.call(self.any_bit, [b.and_(b.load(seen, typ=self.bits), matters)])):
            careful = self.field(b, code, Code.CAREFUL_PIECES)
            with b.if_then(b.icmp_signed("==", careful, self.number(0))):
                b.ret(unit)
                b.position_at_end(b.append_basic_block())
                b.unreachable()
            with b.if_then(b.not_(b.load(again, typ=self.bit))):
                self._run_prologue(b, code, Code.CAREFUL_PROLOGUE, workspace)
                b.store(ir.Constant(self.bit, 1), again)
            b.atomic_rmw("add", self.at(b, call, 8 * Call.CAREFUL), self.number(1), "monotonic")
            b.store(none, status, align=SLOT)
            b.call(
                self.run_pieces,
                [
                    code,
                    b.inttoptr(careful, self.pointer),
                    self.field(b, code, Code.PIECE_COUNT),
                    workspace,
                    status,
                    ir.Constant(self.bit, 1),
                ],
            )

    def write_call(self) -> None:
        """Compute a single point: (code, inputs, outputs).

        Returns 0, the number of the first guard that fails plus 1, or one of the results above.
        """
        ir = self.ir
        function, b = self._function("call", self.i64, [self.pointer, self.pointer, self.pointer])
        malloc = self._intrinsic("malloc", self.pointer, [self.i64])
        free = self._intrinsic("free", ir.VoidType(), [self.pointer])
        code, inputs, outputs = function.args
        size = self.field(b, code, Code.SIZE)
        result = self.local(b, self.i64)
        workspace_at = self.local(b, self.pointer)
        b.store(self.number(0), result)
        small = b.icmp_signed("<=", size, self.number(ON_STACK))

        def on_stack() -> None:
            b.store(self.local(b, ir.IntType(8), size, align=16), workspace_at)

        self.choose(b, small, on_stack, lambda: b.store(b.call(malloc, [size]), workspace_at))
        workspace = b.load(workspace_at, typ=self.pointer)
        with b.if_then(b.icmp_signed("==", b.ptrtoint(workspace, self.i64), self.number(0))):
            b.ret(self.number(NO_MEMORY))
        self.store(b, self.number(0), workspace, 8 * POSITIONS)
        self.store(b, self.field(b, code, Code.HANDLE), workspace, 8 * HANDLE)
        constants = self.address(b, code, Code.CONSTANTS)
        with self.loop(b, self.field(b, code, Code.CONSTANT_COUNT)) as k:
            row = self.at(b, constants, b.shl(k, self.number(4)))
            x = self.load(b, self.double, row, 8)
            self.store(b, x, workspace, self.load(b, self.i64, row))
        first = self.at(b, workspace, self.field(b, code, Code.INPUT_OFFSET))
        with self.loop(b, self.field(b, code, Code.INPUT_COUNT)) as k:
            offset = b.shl(k, self.number(3))
            self.store(b, self.load(b, self.double, inputs, offset), first, offset)
        watch = self.field(b, code, Code.WATCH)
        stop = b.icmp_signed("!=", watch, self.number(2))
        leave = b.append_basic_block()
        computed = b.append_basic_block()

        def evaluate(row: Any) -> None:
            value = self.load(b, self.double, workspace, self.field(b, row, Guard.OFFSET))
            expected = self.load(b, self.double, row, 8 * Guard.EXPECTED)
            none_yet = b.icmp_signed("==", b.load(result, typ=self.i64), self.number(0))
            fails = b.and_(b.fcmp_unordered("!=", value, expected), none_yet)
            with b.if_then(fails):
                number = self.field(b, row, Guard.NUMBER)
                b.store(b.add(number, self.number(1)), result)
            on = b.append_basic_block()
            b.cbranch(b.and_(stop, fails), leave, on)
            b.position_at_end(on)

        self._pieces_and_guards(
            b,
            code,
            self.address(b, code, Code.PIECES),
            self.field(b, code, Code.PIECE_COUNT),
            evaluate,
            lambda piece: b.call(self._callee(piece), [workspace]),
        )
        b.branch(computed)
        b.position_at_end(computed)
        offsets = self.address(b, code, Code.OUTPUTS)
        watched = b.icmp_signed("!=", watch, self.number(0))
        with self.loop(b, self.field(b, code, Code.OUTPUT_COUNT)) as k:
            offset = b.shl(k, self.number(3))
            value = self.load(b, self.double, workspace, self.load(b, self.i64, offsets, offset))
            self.store(b, value, outputs, offset)
            with b.if_then(b.and_(watched, b.fcmp_unordered("uno", value, value))):
                b.store(self.number(CAREFUL), result)
        b.branch(leave)
        b.position_at_end(leave)
        with b.if_then(b.not_(small)):
            b.call(free, [workspace])
        b.ret(b.load(result, typ=self.i64))


class _FunctionAddress:
    """A loaded address of a function, as llvmlite's builder wants the callee."""

    def __init__(self, pointer: Any, function_type: Any) -> None:
        self.pointer = pointer
        self.function_type = function_type
        self.type = pointer.type
        self.attributes: set[str] = set()

    def get_reference(self) -> str:
        reference: str = self.pointer.get_reference()
        return reference
