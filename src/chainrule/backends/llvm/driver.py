"""The loops around the code of a program: they are the same for all, and compiled once.

``run`` works through the lanes of a call, block by block: it loads the inputs of eight lanes into
the workspace, calls the program's code, and stores or adds up the outputs. ``call`` does the same
for a single point. What they work on stands in tables of 64-bit numbers, with the fields below.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager
from typing import Any, Final

from .assembly import Module, Procedure
from .layout import BLOCK, HANDLE, POSITIONS, RESULTS, SLOT, STATUS
from .sums import write_add, write_add_up, write_add_valid
from .tiles import GROUP, write_add_products, write_keep
from .transfer import SegmentFields, write_load, write_load_same, write_spread, write_store

ON_STACK: Final = 32768  # bytes of the largest workspace of a single point that is on the stack
NO_MEMORY: Final = -1  # result of call


class CodeFields:
    """Fields of the table that describes a kernel."""

    PROLOGUE: Final = 0  # address, 0 for none
    MAIN: Final = 1
    NUMBERS: Final = 2  # address of the numbers that the code reads
    OUTPUTS: Final = 3  # address of the offsets of the outputs; of a point, those of runs of them
    OUTPUT_COUNT: Final = 4
    INPUT_OFFSET: Final = 5
    SIZE: Final = 6  # of the workspace
    HANDLE: Final = 7
    CONSTANTS: Final = 8  # address of pairs (offset, number)
    CONSTANT_COUNT: Final = 9
    SUMS: Final = 10  # offset of the sums of a unit, one after the other, followed by as many slots
    SUM_COUNT: Final = 11
    ADDED: Final = 12  # address of pairs (offset of a value, that of the sum it is added to)
    ADDED_COUNT: Final = 13
    SAME: Final = 14  # offset of the inputs that are the same for all lanes, as numbers
    SPREAD: Final = 15  # address of pairs (first, count) of inputs of which these go to slots
    SPREAD_COUNT: Final = 16
    SCATTERED: Final = 17  # offset of sums that all lanes share, side by side
    SCATTERED_SLOTS: Final = 18  # how many slots they fill
    SUM_RUNS: Final = 19  # address of pairs (first, count) of sums that are added to block by block
    SUM_RUN_COUNT: Final = 20
    KEPT: Final = 21  # address of the factors of outer products that are kept: see tiles
    KEPT_COUNT: Final = 22
    PRODUCTS: Final = 23  # address of the outer products
    PRODUCT_COUNT: Final = 24
    FIELDS: Final = 25


class CallFields:
    """Fields of the table that describes one call of a kernel for lanes.

    The segments of the inputs follow it, then those of the outputs.
    """

    LANES: Final = 0
    INDEX: Final = 1  # address of the numbers of the lanes, 0: all in order
    STATUS: Final = 2  # address of the status of the lanes, 0: nobody asks
    SUMS: Final = 3  # address of the sums of each unit
    NEXT: Final = 4  # the next unit that no thread has taken yet
    UNITS: Final = 5
    UNIT_BLOCKS: Final = 6  # blocks in a unit
    INPUT_SEGMENTS: Final = 7
    OUTPUT_SEGMENTS: Final = 8
    FAILED: Final = 9  # whether a guard has failed in any lane
    FIELDS: Final = 10


def lanes_driver(
    width: int, stores: bool, sums: bool, products: bool = False
) -> list[tuple[str, int]]:
    """``run`` and what it calls: modules in LLVM's assembly language, and how to optimize them.

    Args:
        width: how many lanes the code computes at a time.
        stores: whether it can store outputs.
        sums: whether it can add outputs up.
        products: whether it can add outer products up.
    """
    called = Module()
    writers = [write_load_same, write_spread, write_load]
    writers += [write_store] * stores + [write_add, write_add_valid, write_add_up] * sums
    for write in writers:
        write(called)
    if products:
        write_keep(called)
        write_add_products(called, width)
    module = Module()
    module.callees.update(called.callees)
    _Run(Procedure(module, "run", None, "ppp"), width, set(called.procedures))
    return [(str(module), 0), (str(called), 2)]  # the others do the work


def point_driver() -> list[tuple[str, int]]:
    """``call``, as ``lanes_driver`` gives ``run``."""
    module = Module()
    _write_call(Procedure(module, "call", "i", "pppp"))
    return [(str(module), 2)]


def _run_code(
    f: Procedure, code: Any, which: int, workspace: Any, same: Any, offsets: range, step: int
) -> None:
    """Run the prologue or the rest, if there is such code, on all lanes of a block."""
    b = f.b
    address = f.address(code, which)
    numbers = f.address(code, CodeFields.NUMBERS)
    with b.if_then(b.icmp("!=", b.ptrtoint(address, f.i64), f.number(0))):
        for offset in offsets:
            status = f.at(workspace, STATUS * step + offset)
            f.call_address(address, [f.at(workspace, offset), numbers, status, same])


class _Run:
    """Writes ``run``, which works through units of blocks until none is left.

    It takes the kernel, the call and the workspace.

    Args:
        f: the function.
        width: how many lanes the code computes at a time.
        functions: what it calls, by name.
    """

    def __init__(self, f: Procedure, width: int, functions: Set[str]) -> None:
        self.f = f
        self.offsets = range(0, SLOT, 8 * width)
        self.functions = functions
        self.code, self.call, self.workspace = f.args
        self.doubles, self.integers = f.vector_type(f.double), f.vector_type(f.i64)
        self.none = f.constant(self.integers, -1)
        self.numbers = f.local(self.integers, align=SLOT)  # of the lanes of the block
        self.lanes = f.field(self.call, CallFields.LANES)
        self.index = f.field(self.call, CallFields.INDEX)
        self.slots = f.at(self.workspace, f.field(self.code, CodeFields.INPUT_OFFSET))
        self.same = f.at(self.workspace, f.field(self.code, CodeFields.SAME))
        self.sum_count = f.field(self.code, CodeFields.SUM_COUNT)
        self.sums = f.at(self.workspace, f.field(self.code, CodeFields.SUMS))  # of the unit
        size = f.b.shl(self.sum_count, f.number(6))
        self.kept = f.at(self.sums, size)  # those of full blocks
        self.scattered = f.at(self.workspace, f.field(self.code, CodeFields.SCATTERED))
        slots = f.field(self.code, CodeFields.SCATTERED_SLOTS)
        self.scattered_size = f.b.shl(slots, f.number(6))
        self._begin()
        self._units()

    def _call(self, name: str, *given: Any) -> None:
        """Call another function, if there is one: else there is nothing for it to do."""
        if name in self.functions:
            self.f.b.call(self.f.module.callees[name], given)

    @contextmanager
    def _sum_runs(self) -> Iterator[tuple[Any, Any]]:
        """The sums that are added to block by block: the first of some, and their number."""
        f = self.f
        table = f.address(self.code, CodeFields.SUM_RUNS)
        with f.loop(f.field(self.code, CodeFields.SUM_RUN_COUNT)) as k:
            run = f.at(table, f.b.shl(k, f.number(4)))
            yield f.field(run, 0), f.field(run, 1)

    def _slot(self, first: Any, of: Any) -> Any:
        return self.f.at(of, self.f.b.shl(first, self.f.number(6)))

    def _zero_sums(self) -> None:
        with self._sum_runs() as (first, count):
            self._zero(self._slot(first, self.sums), self.f.b.shl(count, self.f.number(6)))

    def _zero(self, address: Any, size: Any) -> None:
        f = self.f
        fill = f.declare("llvm.memset.p0.i64", None, ["p", f.byte, "i", "b"])
        zero, no = f.constant(f.byte, 0), f.constant(f.bit, 0)
        f.b.call(fill, [address, zero, size, no])

    def _copy(self, to: Any, source: Any, size: Any) -> None:
        f = self.f
        copy = f.declare("llvm.memcpy.p0.p0.i64", None, "ppib")
        f.b.call(copy, [to, source, size, f.constant(f.bit, 0)])

    def _begin(self) -> None:
        """Load what is the same for all lanes, and run the prologue."""
        f = self.f
        f.store(f.constant(self.integers, 0), self.numbers, align=SLOT)
        self._load_same()
        handle = f.splat(f.field(self.code, CodeFields.HANDLE))
        f.store(handle, self.workspace, HANDLE * SLOT, align=SLOT)
        f.store(self.none, self.workspace, POSITIONS * SLOT, align=SLOT)
        self._run(CodeFields.PROLOGUE)

    def _run(self, which: int) -> None:
        _run_code(self.f, self.code, which, self.workspace, self.same, self.offsets, SLOT)

    def _segment(self, number: Any) -> Any:
        """The address of a segment."""
        f = self.f
        first = f.at(self.call, 8 * CallFields.FIELDS)
        return f.at(first, f.b.mul(number, f.number(8 * SegmentFields.FIELDS)))

    @contextmanager
    def _input_segments(self, same: bool) -> Iterator[Any]:
        """The segments of inputs that are the same for all lanes, or of the others."""
        f, b = self.f, self.f.b
        with f.loop(f.field(self.call, CallFields.INPUT_SEGMENTS)) as s:
            segment = self._segment(s)
            stride = f.field(segment, SegmentFields.LANE_STRIDE)
            with b.if_then(b.icmp("==" if same else "!=", stride, f.number(0))):
                yield segment

    def _load_same(self) -> None:
        """Load the inputs that are the same for all lanes."""
        f = self.f
        with self._input_segments(True) as segment:
            self._call("load_same", segment, self.same)
        given = [
            f.address(self.code, CodeFields.SPREAD),
            f.field(self.code, CodeFields.SPREAD_COUNT),
        ]
        self._call("spread", *given, self.same, self.slots)

    def _units(self) -> None:
        """Take units until none is left."""
        f, b = self.f, self.f.b
        next_unit = b.append_basic_block()
        work = b.append_basic_block()
        finished = b.append_basic_block()
        b.branch(next_unit)
        b.position_at_end(next_unit)
        counter = f.at(self.call, 8 * CallFields.NEXT)
        unit = b.fetch_and_add(counter, f.number(1))
        b.cbranch(b.icmp("<", unit, f.field(self.call, CallFields.UNITS)), work, finished)
        b.position_at_end(finished)
        b.ret_void()
        b.position_at_end(work)
        if "add_up" in self.functions:
            self._zero_sums()
        self._zero(self.scattered, self.scattered_size)
        unit_blocks = f.field(self.call, CallFields.UNIT_BLOCKS)
        first_block = b.mul(unit, unit_blocks)
        sums = b.shl(self.sum_count, f.number(3))
        row = b.mul(unit, b.add(sums, self.scattered_size))
        results = f.at(f.address(self.call, CallFields.SUMS), row)
        with f.loop(unit_blocks) as k:
            first = b.shl(b.add(first_block, k), f.number(3))
            left = b.sub(self.lanes, first)
            with b.if_then(b.icmp(">", left, f.number(0))):
                place = b.and_(k, f.number(GROUP - 1))
                self._block(first, place)
                in_unit = b.sub(unit_blocks, k)
                is_last = b.or_(
                    b.icmp("<=", left, f.number(BLOCK)), b.icmp("==", in_unit, f.number(1))
                )
                self._add_products(k, place, is_last, results)
        if "add_up" in self.functions:
            with self._sum_runs() as (number, count):
                to = f.at(results, b.shl(number, f.number(3)))
                self._call("add_up", self._slot(number, self.sums), count, to)
        self._copy(f.at(results, sums), self.scattered, self.scattered_size)
        b.branch(next_unit)

    def _add_products(self, block: Any, place: Any, is_last: Any, results: Any) -> None:
        """Add outer products to the sums after the last block of a group, or of the unit."""
        if "add_products" not in self.functions:
            return
        f, b = self.f, self.f.b
        with b.if_then(b.or_(is_last, b.icmp("==", place, f.number(GROUP - 1)))):
            products = f.address(self.code, CodeFields.PRODUCTS)
            count = f.field(self.code, CodeFields.PRODUCT_COUNT)
            begins = b.icmp("<", block, f.number(GROUP))
            given = [self.sums, results, b.add(place, f.number(1)), begins, is_last]
            self._call("add_products", self.workspace, products, count, *given)

    def _block(self, first: Any, place: Any) -> None:
        """Compute a block of lanes, from position ``first`` on, by its place in its group."""
        f, b = self.f, self.f.b
        left = b.sub(self.lanes, first)
        full = b.icmp(">=", left, f.number(BLOCK))
        valid = b.select(full, f.number(BLOCK), left)
        steps = f.constant(self.integers, list(range(BLOCK)))
        positions = b.add(f.splat(first), steps)
        is_valid = b.icmp("<", positions, f.splat(self.lanes))
        consecutive = self._number_lanes(positions, is_valid, full)
        with self._input_segments(False) as segment:
            self._call("load_segment", segment, self.slots, self.numbers, consecutive)
        holds = f.constant(self.integers, 0)
        f.store(holds, self.workspace, STATUS * SLOT, align=SLOT)
        with self._last_block(full, valid):
            self._run(CodeFields.MAIN)
            status = f.load(self.integers, self.workspace, STATUS * SLOT, align=SLOT)
            with b.if_then(f.any(b.icmp("!=", status, holds))):  # the table is 0 before
                self._report(first, valid)
            with b.if_then(f.any(b.icmp("==", status, holds))):
                self._store_outputs(consecutive, valid)
            rows = f.address(self.code, CodeFields.ADDED)
            self._call("add", self.workspace, rows, f.field(self.code, CodeFields.ADDED_COUNT))
        kept = f.address(self.code, CodeFields.KEPT)
        count = f.field(self.code, CodeFields.KEPT_COUNT)
        self._call("keep", self.workspace, kept, count, place, valid)

    @contextmanager
    def _last_block(self, full: Any, valid: Any) -> Iterator[None]:
        """Around a block: if it is not full, only its valid lanes are added up."""
        b = self.f.b
        if "add_valid" not in self.functions:
            yield
            return
        with b.if_then(b.not_(full)):
            with self._sum_runs() as (first, count):
                size = b.shl(count, self.f.number(6))
                self._copy(self._slot(first, self.kept), self._slot(first, self.sums), size)
            self._zero_sums()
        yield
        with b.if_then(b.not_(full)), self._sum_runs() as (first, count):
            sums, before = self._slot(first, self.sums), self._slot(first, self.kept)
            self._call("add_valid", sums, before, count, valid)

    def _number_lanes(self, positions: Any, is_valid: Any, full: Any) -> Any:
        """Find the numbers of the lanes; gives whether they are consecutive."""
        f, b = self.f, self.f.b
        marked = b.select(is_valid, positions, self.none)
        f.store(marked, self.workspace, POSITIONS * SLOT, align=SLOT)
        last = f.splat(b.sub(self.lanes, f.number(1)))  # fills the block
        f.store(b.select(is_valid, positions, last), self.numbers, align=SLOT)
        in_order = b.icmp("==", self.index, f.number(0))
        with b.if_then(b.not_(in_order)):
            index = b.inttoptr(self.index, f.pointer)
            with f.loop(f.number(BLOCK)) as lane:
                here = b.shl(lane, f.number(3))
                place = b.shl(f.load(f.i64, self.numbers, here), f.number(3))
                f.store(f.load(f.i64, index, place), self.numbers, here)
        return b.and_(full, in_order)

    def _report(self, first: Any, valid: Any) -> None:
        """Store the status of the lanes."""
        f, b = self.f, self.f.b
        address = f.field(self.call, CallFields.STATUS)
        with b.if_then(b.icmp("!=", address, f.number(0))):
            f.store(f.number(1), self.call, 8 * CallFields.FAILED)
            table = b.inttoptr(address, f.pointer)
            with f.loop(valid) as lane:
                offset = b.add(b.shl(lane, f.number(3)), f.number(STATUS * SLOT))
                status = b.trunc(f.load(f.i64, self.workspace, offset), f.i32)
                f.store(status, table, b.shl(b.add(first, lane), f.number(2)), align=4)

    def _store_outputs(self, consecutive: Any, valid: Any) -> None:
        if "store_segment" not in self.functions:
            return
        f, b = self.f, self.f.b
        outputs = f.address(self.code, CodeFields.OUTPUTS)
        first = f.field(self.call, CallFields.INPUT_SEGMENTS)
        end = b.add(first, f.field(self.call, CallFields.OUTPUT_SEGMENTS))
        with f.loop(end, first) as s:
            given = [self.workspace, outputs, self.numbers, consecutive, valid]
            self._call("store_segment", self._segment(s), *given)


def _write_call(f: Procedure) -> None:
    """Write ``call``, which computes a single point.

    It takes the kernel and the addresses of inputs, outputs and the workspace; where that is 0, it
    makes one. It returns 0, the number of the first guard that fails plus 1, or NO_MEMORY.

    The engine in C has a twin, which need not be compiled first.
    """
    b = f.b
    code, inputs, outputs, given = f.args
    malloc = f.declare("malloc", "p", "i")
    free = f.declare("free", None, "p")
    size = b.add(f.field(code, CodeFields.SIZE), f.number(SLOT))
    memory_at = f.local(f.pointer)
    is_given = b.icmp("!=", b.ptrtoint(given, f.i64), f.number(0))
    small = b.icmp("<=", size, f.number(ON_STACK))
    f.choose(
        (is_given, lambda: f.store(given, memory_at)),
        (small, lambda: f.store(f.local(f.byte, size, align=16), memory_at)),
        default=lambda: f.store(b.call(malloc, [size]), memory_at),
    )
    memory = f.load(f.pointer, memory_at)
    begin = b.ptrtoint(memory, f.i64)
    with b.if_then(b.icmp("==", begin, f.number(0))):
        b.ret(f.number(NO_MEMORY))
    workspace = f.at(memory, b.and_(b.sub(f.number(0), begin), f.number(SLOT - 1)))
    f.store(f.number(0), workspace, 8 * POSITIONS)
    f.store(f.field(code, CodeFields.HANDLE), workspace, 8 * HANDLE)
    f.store(f.number(0), workspace, 8 * STATUS)
    f.store(outputs, workspace, 8 * RESULTS)
    constants = f.address(code, CodeFields.CONSTANTS)
    with f.loop(f.field(code, CodeFields.CONSTANT_COUNT)) as k:
        row = f.at(constants, b.shl(k, f.number(4)))
        f.store(f.load(f.double, row, 8), workspace, f.load(f.i64, row))
    slots = f.at(workspace, f.field(code, CodeFields.INPUT_OFFSET))
    spread = f.address(code, CodeFields.SPREAD)
    with f.loop(f.field(code, CodeFields.SPREAD_COUNT)) as k:
        run = f.at(spread, b.shl(k, f.number(4)))
        first = b.shl(f.load(f.i64, run), f.number(3))
        size = b.shl(f.load(f.i64, run, 8), f.number(3))
        source, to = f.at(inputs, first), f.at(slots, first)
        _copy_numbers(f, source, to, size)
    _run_code(f, code, CodeFields.MAIN, workspace, inputs, range(1), 8)
    result = f.load(f.i64, workspace, 8 * STATUS)
    runs = f.address(code, CodeFields.OUTPUTS)
    holds = b.icmp("==", result, f.number(0))
    count = b.select(holds, f.field(code, CodeFields.OUTPUT_COUNT), f.number(0))
    with f.loop(count) as k:
        run = f.at(runs, b.mul(k, f.number(24)))
        source, to = f.at(workspace, f.load(f.i64, run)), f.at(outputs, f.load(f.i64, run, 8))
        _copy_numbers(f, source, to, f.load(f.i64, run, 16))
    with b.if_then(b.not_(b.or_(is_given, small))):
        b.call(free, [memory])
    b.ret(result)


def _copy_numbers(f: Procedure, source: Any, to: Any, size: Any) -> None:
    """Copy so many bytes of numbers; one or two, as small functions have them, one by one.

    What was stored as numbers is there at once for loads of the same numbers, not of pairs.
    """
    b = f.b
    copy = f.declare("llvm.memcpy.p0.p0.i64", None, "ppib")

    def one(offset: int = 0) -> None:
        f.store(f.load(f.double, source, offset), to, offset)

    def two() -> None:
        for offset in (0, 8):
            one(offset)

    f.choose(
        (b.icmp("==", size, f.number(8)), one),
        (b.icmp("==", size, f.number(16)), two),
        default=lambda: b.call(copy, [to, source, size, f.constant(f.bit, 0)]),
    )
