"""The loops around the code of a tape: they are the same for all tapes, and compiled once.

``run`` works through the lanes of a call, block by block: it loads the inputs of eight lanes into
the workspace, calls the pieces, evaluates the guards, and stores or adds up the outputs. ``call``
does the same for a single point. What they work on stands in tables of 64-bit numbers, with the
fields below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from chainrule.backends.llvm.assembly import Procedure
from chainrule.backends.llvm.layout import BLOCK, HANDLE, POSITIONS, SLOT
from chainrule.backends.llvm.machine import ir
from chainrule.backends.llvm.transfer import Segment, write_load, write_store

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
    CAREFUL_PROLOGUE: Final = 4
    CAREFUL_PIECES: Final = 5  # 0 as long as there are none
    GUARDS: Final = 6
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
    SUMS: Final = 17  # offset of the sums of a unit, one after the other, followed by as many slots
    SUM_COUNT: Final = 18
    ADDED: Final = 19  # address of pairs (offset of a value, that of the sum it is added to)
    ADDED_COUNT: Final = 20
    FIELDS: Final = 21


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
    SUMS: Final = 10  # address of the sums of each unit
    CAREFUL: Final = 11  # counts the blocks that needed the careful code
    FIELDS: Final = 12


class Guard:
    """Fields of a guard, a comparison of two values.

    It fails where ((a < b) & LESS | (a == b) & EQUAL) ^ FLIP; these are 0 or 255.
    """

    PIECES: Final = 0  # pieces that must have run
    A: Final = 1  # offset of the value
    B: Final = 2
    NUMBER: Final = 3
    LESS: Final = 4
    EQUAL: Final = 5
    FLIP: Final = 6
    FIELDS: Final = 7


def lanes_driver(width: int) -> str:
    """The module with ``run``, in LLVM's assembly language.

    Args:
        width: how many lanes a piece computes at a time.
    """
    module = ir().Module(name="lanes")
    load_segment = write_load(module)
    store_segment = write_store(module)
    run_pieces = _write_run_pieces(module, width)
    _Run(Procedure(module, "run", "i", "pppi"), width, load_segment, store_segment, run_pieces)
    return str(module)


def point_driver() -> str:
    """The module with ``call``, in LLVM's assembly language."""
    module = ir().Module(name="point")
    _write_call(Procedure(module, "call", "i", "ppp"))
    return str(module)


def _run_piece(f: Procedure, piece: Any, workspace: Any, width: int) -> None:
    """Run a piece on all lanes of a block."""
    for offset in range(0, SLOT, 8 * width):
        f.call_address(piece, [f.at(workspace, offset)])


def _pieces_and_guards(
    f: Procedure,
    code: Any,
    pieces: Any,
    evaluate: Callable[[Any], None],
    run: Callable[[Any], None],
) -> None:
    """Run all pieces, and evaluate each guard as soon as it is known."""
    b = f.b
    guards = f.address(code, Code.GUARDS)
    guard_count = f.field(code, Code.GUARD_COUNT)
    count = f.field(code, Code.PIECE_COUNT)
    done = f.local(f.i64)
    b.store(f.number(0), done)
    with f.loop(b.add(count, f.number(1))) as p:
        test = b.append_basic_block()
        compare = b.append_basic_block()
        ready = b.append_basic_block()
        go_on = b.append_basic_block()
        b.branch(test)
        b.position_at_end(test)
        k = b.load(done, typ=f.i64)
        b.cbranch(b.icmp_signed("<", k, guard_count), compare, go_on)
        b.position_at_end(compare)
        row = f.at(guards, b.mul(k, f.number(8 * Guard.FIELDS)))
        b.cbranch(b.icmp_signed("<=", f.field(row, Guard.PIECES), p), ready, go_on)
        b.position_at_end(ready)
        evaluate(row)
        b.store(b.add(k, f.number(1)), done)
        b.branch(test)
        b.position_at_end(go_on)
        with b.if_then(b.icmp_signed("<", p, count)):
            run(f.load(f.pointer, pieces, b.shl(p, f.number(3))))


def _failing(f: Procedure, row: Any, x: Any, y: Any) -> Any:
    """A byte that is not 0 if a guard fails, for a block with a bit for each lane."""
    b = f.b
    to_byte = b.bitcast if isinstance(x.type, f.ir.VectorType) else b.sext
    less = to_byte(b.fcmp_ordered("<", x, y), f.byte)
    equal = to_byte(b.fcmp_ordered("==", x, y), f.byte)
    less = b.and_(less, b.trunc(f.field(row, Guard.LESS), f.byte))
    equal = b.and_(equal, b.trunc(f.field(row, Guard.EQUAL), f.byte))
    return b.xor(b.or_(less, equal), b.trunc(f.field(row, Guard.FLIP), f.byte))


def _write_run_pieces(module: Any, width: int) -> Any:
    """Write a function that runs pieces and evaluates guards.

    It takes the kernel, the addresses of the pieces, the workspace, the address of the status, and
    whether to stop when guards have failed in all lanes. The status, eight 64-bit numbers, becomes
    the number of the first guard that fails in each lane, or stays -1.
    """
    f = Procedure(module, "run_pieces", None, "ppppb")
    code, pieces, workspace, status, stop = f.args
    b = f.b
    doubles, integers = f.vector_type(f.double), f.vector_type(f.i64)
    none = f.constant(integers, -1)
    leave = b.append_basic_block()

    def evaluate(row: Any) -> None:
        x = f.load(doubles, workspace, f.field(row, Guard.A), align=SLOT)
        y = f.load(doubles, workspace, f.field(row, Guard.B), align=SLOT)
        byte = _failing(f, row, x, y)
        some = b.append_basic_block()
        on = b.append_basic_block()
        b.cbranch(b.icmp_unsigned("!=", byte, f.constant(f.byte, 0)), some, on)
        b.position_at_end(some)
        before = f.load(integers, status, align=SLOT)
        first = b.and_(b.bitcast(byte, f.vector_type(f.bit)), b.icmp_signed("==", before, none))
        after = b.select(first, f.splat(f.field(row, Guard.NUMBER)), before)
        f.store(after, status, align=SLOT)
        hopeless = b.not_(f.any(b.icmp_signed("==", after, none)))
        b.cbranch(b.and_(stop, hopeless), leave, on)
        b.position_at_end(on)

    _pieces_and_guards(
        f, code, pieces, evaluate, lambda piece: _run_piece(f, piece, workspace, width)
    )
    b.branch(leave)
    b.position_at_end(leave)
    b.ret_void()
    return f.function


class _Run:
    """Writes ``run``, which works through units of blocks.

    It takes the kernel, the call, the workspace, and the unit to begin with, or -1. It returns DONE
    when no unit is left, or the number of a unit that must be done again with careful code.
    """

    def __init__(
        self, f: Procedure, width: int, load_segment: Any, store_segment: Any, run_pieces: Any
    ) -> None:
        self.f = f
        self.width = width
        self.load_segment = load_segment
        self.store_segment = store_segment
        self.run_pieces = run_pieces
        self.code, self.call, self.workspace, resume = f.args
        self.doubles, self.integers = f.vector_type(f.double), f.vector_type(f.i64)
        self.none = f.constant(self.integers, -1)
        self.zeros = f.constant(self.doubles, 0.0)
        self.numbers = f.local(self.integers, align=SLOT)  # of the lanes of the block
        self.status = f.local(self.integers, align=SLOT)
        self.again = f.local(f.bit)  # whether the careful prologue has run
        self.pieces = f.local(f.pointer)  # what the unit is computed with
        self.watching = f.local(f.bit)  # whether NaN needs other code than that
        self.seen = f.local(f.bit)  # whether there was one
        self.lanes = f.field(self.call, Call.LANES)
        self.index = f.field(self.call, Call.INDEX)
        self.slots = f.at(self.workspace, f.field(self.code, Code.INPUT_OFFSET))
        self.watch = f.field(self.code, Code.WATCH)
        self.outputs = f.address(self.code, Code.OUTPUTS)
        self.sum_count = f.field(self.code, Code.SUM_COUNT)
        self.sums = f.at(self.workspace, f.field(self.code, Code.SUMS))  # of the unit
        self.kept = f.at(self.sums, self._slot(self.sum_count))  # those of full blocks
        self.adds = f.b.icmp_signed(">", self.sum_count, f.number(0))
        self._begin()
        self._units(resume)

    def _slot(self, k: Any) -> Any:
        """The offset of slot k."""
        return self.f.b.shl(k, self.f.number(6))

    def _begin(self) -> None:
        """Load what is the same for all lanes, and run the prologue."""
        f = self.f
        f.store(f.constant(f.bit, 0), self.again)
        f.store(f.constant(self.integers, 0), self.numbers, align=SLOT)
        self._load_inputs(True, f.constant(f.bit, 0))
        handle = f.splat(f.field(self.code, Code.HANDLE))
        f.store(handle, self.workspace, HANDLE * SLOT, align=SLOT)
        f.store(self.none, self.workspace, POSITIONS * SLOT, align=SLOT)
        self._prologue(Code.PROLOGUE)

    def _load_inputs(self, uniform: bool, consecutive: Any) -> None:
        f, b = self.f, self.f.b
        segments = f.address(self.call, Call.INPUTS)
        with f.loop(f.field(self.call, Call.INPUT_SEGMENTS)) as s:
            segment = f.at(segments, b.mul(s, f.number(8 * Segment.FIELDS)))
            stride = f.field(segment, Segment.LANE_STRIDE)
            wanted = b.icmp_signed("==" if uniform else "!=", stride, f.number(0))
            with b.if_then(wanted):
                b.call(self.load_segment, [segment, self.slots, self.numbers, consecutive])

    def _prologue(self, which: int) -> None:
        f = self.f
        pieces = f.address(self.code, which)
        with f.loop(f.field(self.code, Code.PROLOGUE_COUNT)) as p:
            piece = f.load(f.pointer, pieces, f.b.shl(p, f.number(3)))
            _run_piece(f, piece, self.workspace, self.width)

    def _units(self, resume: Any) -> None:
        """Take units until none is left."""
        f, b = self.f, self.f.b
        next_unit = b.append_basic_block()
        work = b.append_basic_block()
        finished = b.append_basic_block()
        start = b.block
        b.cbranch(b.icmp_signed(">=", resume, f.number(0)), work, next_unit)
        b.position_at_end(next_unit)
        counter = f.at(self.call, 8 * Call.NEXT)
        taken = b.atomic_rmw("add", counter, f.number(1), "monotonic")
        b.cbranch(b.icmp_signed("<", taken, f.field(self.call, Call.UNITS)), work, finished)
        b.position_at_end(finished)
        b.ret(f.number(DONE))
        b.position_at_end(work)
        unit = b.phi(f.i64)
        unit.add_incoming(resume, start)
        unit.add_incoming(taken, next_unit)
        f.store(f.address(self.code, Code.PIECES), self.pieces)
        f.store(b.icmp_signed("!=", self.watch, f.number(0)), self.watching)
        begin = b.append_basic_block()
        b.branch(begin)
        b.position_at_end(begin)
        f.store(f.constant(f.bit, 0), self.seen)
        with f.loop(self.sum_count) as r:
            f.store(self.zeros, self.sums, self._slot(r), align=SLOT)
        unit_blocks = f.field(self.call, Call.UNIT_BLOCKS)
        first_block = b.mul(unit, unit_blocks)
        with f.loop(unit_blocks) as k:
            first = b.shl(b.add(first_block, k), f.number(3))
            with b.if_then(b.icmp_signed("<", first, self.lanes)):
                self._block(unit, first)
        with b.if_then(b.and_(self.adds, f.load(f.bit, self.watching))):
            nan = f.any(self._nan(self.sum_count, lambda r: f.at(self.sums, self._slot(r))))
            with b.if_then(b.or_(nan, f.load(f.bit, self.seen)), likely=False):
                f.store(self._careful_pieces(unit, unit_blocks), self.pieces)
                f.store(f.constant(f.bit, 0), self.watching)
                b.branch(begin)
        self._add_up(unit)
        b.branch(next_unit)

    def _block(self, unit: Any, first: Any) -> None:
        """Compute a block of lanes, from position ``first`` on."""
        f, b = self.f, self.f.b
        left = b.sub(self.lanes, first)
        full = b.icmp_signed(">=", left, f.number(BLOCK))
        valid = b.select(full, f.number(BLOCK), left)
        steps = f.constant(self.integers, list(range(BLOCK)))
        positions = b.add(f.splat(first), steps)
        is_valid = b.icmp_signed("<", positions, f.splat(self.lanes))
        consecutive = self._number_lanes(positions, is_valid, full)
        self._load_inputs(False, consecutive)
        f.store(self.none, self.status, align=SLOT)
        partial = b.and_(self.adds, b.not_(full))
        with b.if_then(partial):
            self._keep_sums()
        watching = f.load(f.bit, self.watching)
        everywhere = b.and_(watching, b.icmp_signed("==", self.watch, f.number(2)))
        self._run_pieces(f.load(f.pointer, self.pieces), b.not_(everywhere))
        with b.if_then(watching):
            self._look_for_nan(unit, is_valid, everywhere)
        self._report(first, valid)
        held = b.icmp_signed("==", f.load(self.integers, self.status, align=SLOT), self.none)
        with b.if_then(f.any(held)):
            self._store_outputs(consecutive, valid)
        self._add()
        with b.if_then(partial):
            self._add_valid(is_valid)

    def _keep_sums(self) -> None:
        """Put the sums aside, and begin others at 0."""
        f = self.f
        with f.loop(self.sum_count) as r:
            total = f.load(self.doubles, self.sums, self._slot(r), align=SLOT)
            f.store(total, self.kept, self._slot(r), align=SLOT)
            f.store(self.zeros, self.sums, self._slot(r), align=SLOT)

    def _add(self) -> None:
        """Add what the pieces have not added to the sums."""
        f, b = self.f, self.f.b
        rows = f.address(self.code, Code.ADDED)
        with f.loop(f.field(self.code, Code.ADDED_COUNT)) as k:
            row = f.at(rows, b.shl(k, f.number(4)))
            value = f.load(self.doubles, self.workspace, f.field(row, 0), align=SLOT)
            place = f.at(self.workspace, f.field(row, 1))
            f.store(b.fadd(f.load(self.doubles, place, align=SLOT), value), place, align=SLOT)

    def _add_valid(self, is_valid: Any) -> None:
        """Add the valid lanes of a partial block to the sums that were put aside."""
        f, b = self.f, self.f.b
        with f.loop(self.sum_count) as r:
            total = f.load(self.doubles, self.sums, self._slot(r), align=SLOT)
            kept = f.load(self.doubles, self.kept, self._slot(r), align=SLOT)
            total = b.fadd(kept, b.select(is_valid, total, self.zeros))
            f.store(total, self.sums, self._slot(r), align=SLOT)

    def _number_lanes(self, positions: Any, is_valid: Any, full: Any) -> Any:
        """Find the numbers of the lanes; gives whether they are consecutive."""
        f, b = self.f, self.f.b
        marked = b.select(is_valid, positions, self.none)
        f.store(marked, self.workspace, POSITIONS * SLOT, align=SLOT)
        last = f.splat(b.sub(self.lanes, f.number(1)))  # fills the block
        f.store(b.select(is_valid, positions, last), self.numbers, align=SLOT)
        in_order = b.icmp_signed("==", self.index, f.number(0))
        with b.if_then(b.not_(in_order)):
            index = b.inttoptr(self.index, f.pointer)
            for lane in range(0, SLOT, 8):
                place = b.shl(f.load(f.i64, self.numbers, lane), f.number(3))
                f.store(f.load(f.i64, index, place), self.numbers, lane)
        return b.and_(full, in_order)

    def _run_pieces(self, pieces: Any, stop: Any) -> None:
        given = [self.code, pieces, self.workspace, self.status, stop]
        self.f.b.call(self.run_pieces, given)

    def _nan(self, count: Any, place: Callable[[Any], Any]) -> Any:
        """In which lanes there is a NaN at some addresses."""
        f, b = self.f, self.f.b

        def look(k: Any, seen: list[Any]) -> list[Any]:
            value = f.load(self.doubles, place(k), align=SLOT)
            return [b.or_(seen[0], b.fcmp_unordered("uno", value, value))]

        return f.fold(count, [f.constant(f.vector_type(f.bit), 0)], look)[0]

    def _look_for_nan(self, unit: Any, is_valid: Any, everywhere: Any) -> None:
        """Run the careful code if an output is NaN where guards hold, or everywhere."""
        f, b = self.f, self.f.b

        def place(k: Any) -> Any:
            return f.at(self.workspace, f.load(f.i64, self.outputs, b.shl(k, f.number(3))))

        nan = self._nan(f.field(self.code, Code.OUTPUT_COUNT), place)
        held = b.icmp_signed("==", f.load(self.integers, self.status, align=SLOT), self.none)
        matters = b.and_(is_valid, b.or_(held, f.splat(everywhere)))
        some = f.any(b.and_(nan, matters))
        with b.if_then(b.and_(some, self.adds), likely=False):
            f.store(f.constant(f.bit, 1), self.seen)  # the whole unit must be done again
        with b.if_then(b.and_(some, b.not_(self.adds)), likely=False):
            pieces = self._careful_pieces(unit, f.number(1))
            f.store(self.none, self.status, align=SLOT)
            self._run_pieces(pieces, f.constant(f.bit, 1))

    def _careful_pieces(self, unit: Any, blocks: Any) -> Any:
        """The careful code, for some blocks; if there is none yet, return the unit."""
        f, b = self.f, self.f.b
        careful = f.address(self.code, Code.CAREFUL_PIECES)
        go_on = b.append_basic_block()
        give_up = b.append_basic_block()
        missing = b.icmp_signed("==", b.ptrtoint(careful, f.i64), f.number(0))
        b.cbranch(missing, give_up, go_on)
        b.position_at_end(give_up)
        b.ret(unit)
        b.position_at_end(go_on)
        with b.if_then(b.not_(f.load(f.bit, self.again))):
            self._prologue(Code.CAREFUL_PROLOGUE)
            f.store(f.constant(f.bit, 1), self.again)
        b.atomic_rmw("add", f.at(self.call, 8 * Call.CAREFUL), blocks, "monotonic")
        return careful

    def _report(self, first: Any, valid: Any) -> None:
        """Store the status of the lanes."""
        f, b = self.f, self.f.b
        address = f.field(self.call, Call.STATUS)
        with b.if_then(b.icmp_signed("!=", address, f.number(0))):
            table = b.inttoptr(address, f.pointer)
            with f.loop(valid) as lane:
                guard = f.load(f.i64, self.status, b.shl(lane, f.number(3)))
                status = b.trunc(b.add(guard, f.number(1)), f.i32)
                f.store(status, table, b.shl(b.add(first, lane), f.number(2)), align=4)

    def _store_outputs(self, consecutive: Any, valid: Any) -> None:
        f, b = self.f, self.f.b
        segments = f.address(self.call, Call.OUTPUTS)
        with f.loop(f.field(self.call, Call.OUTPUT_SEGMENTS)) as s:
            segment = f.at(segments, b.mul(s, f.number(8 * Segment.FIELDS)))
            given = [segment, self.workspace, self.outputs, self.numbers, consecutive, valid]
            b.call(self.store_segment, given)

    def _add_up(self, unit: Any) -> None:
        """Add up the eight sums of each output, in halves."""
        f, b = self.f, self.f.b
        table = f.address(self.call, Call.SUMS)
        first = b.mul(unit, self.sum_count)
        with f.loop(self.sum_count) as r:
            part = f.load(self.doubles, self.sums, self._slot(r), align=SLOT)
            half = BLOCK // 2
            while half:
                low = f.shuffle(part, part, list(range(half)))
                high = f.shuffle(part, part, list(range(half, 2 * half)))
                part = b.fadd(low, high)
                half //= 2
            f.store(f.element(part, 0), table, b.shl(b.add(first, r), f.number(3)))


def _write_call(f: Procedure) -> None:
    """Write ``call``, which computes a single point.

    It takes the kernel and the addresses of inputs and outputs. It returns 0, the number of the
    first guard that fails plus 1, CAREFUL or NO_MEMORY.
    """
    b = f.b
    code, inputs, outputs = f.args
    malloc = f.declare("malloc", "p", "i")
    free = f.declare("free", None, "p")
    size = f.field(code, Code.SIZE)
    result = f.local(f.i64)
    b.store(f.number(0), result)
    workspace_at = f.local(f.pointer)
    small = b.icmp_signed("<=", size, f.number(ON_STACK))
    f.choose(
        (small, lambda: b.store(f.local(f.byte, size, align=16), workspace_at)),
        default=lambda: b.store(b.call(malloc, [size]), workspace_at),
    )
    workspace = f.load(f.pointer, workspace_at)
    with b.if_then(b.icmp_signed("==", b.ptrtoint(workspace, f.i64), f.number(0))):
        b.ret(f.number(NO_MEMORY))
    f.store(f.number(0), workspace, 8 * POSITIONS)
    f.store(f.field(code, Code.HANDLE), workspace, 8 * HANDLE)
    constants = f.address(code, Code.CONSTANTS)
    with f.loop(f.field(code, Code.CONSTANT_COUNT)) as k:
        row = f.at(constants, b.shl(k, f.number(4)))
        f.store(f.load(f.double, row, 8), workspace, f.load(f.i64, row))
    first = f.at(workspace, f.field(code, Code.INPUT_OFFSET))
    with f.loop(f.field(code, Code.INPUT_COUNT)) as k:
        offset = b.shl(k, f.number(3))
        f.store(f.load(f.double, inputs, offset), first, offset)
    watch = f.field(code, Code.WATCH)
    stop = b.icmp_signed("!=", watch, f.number(2))
    leave = b.append_basic_block()

    def evaluate(row: Any) -> None:
        x = f.load(f.double, workspace, f.field(row, Guard.A))
        y = f.load(f.double, workspace, f.field(row, Guard.B))
        fails = b.icmp_unsigned("!=", _failing(f, row, x, y), f.constant(f.byte, 0))
        fails = b.and_(fails, b.icmp_signed("==", f.load(f.i64, result), f.number(0)))
        with b.if_then(fails, likely=False):
            b.store(b.add(f.field(row, Guard.NUMBER), f.number(1)), result)
        on = b.append_basic_block()
        b.cbranch(b.and_(stop, fails), leave, on)
        b.position_at_end(on)

    pieces = f.address(code, Code.PIECES)
    _pieces_and_guards(f, code, pieces, evaluate, lambda piece: f.call_address(piece, [workspace]))
    offsets = f.address(code, Code.OUTPUTS)
    watched = b.icmp_signed("!=", watch, f.number(0))
    with f.loop(f.field(code, Code.OUTPUT_COUNT)) as k:
        offset = b.shl(k, f.number(3))
        value = f.load(f.double, workspace, f.load(f.i64, offsets, offset))
        f.store(value, outputs, offset)
        with b.if_then(b.and_(watched, b.fcmp_unordered("uno", value, value)), likely=False):
            b.store(f.number(CAREFUL), result)
    b.branch(leave)
    b.position_at_end(leave)
    with b.if_then(b.not_(small)):
        b.call(free, [workspace])
    b.ret(f.load(f.i64, result))
