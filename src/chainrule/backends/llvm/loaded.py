"""A program's code in memory, with what the driver needs to run it."""

from __future__ import annotations

import ctypes
import functools
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chainrule import forking
from chainrule.program.form import WRITES, Program, statements

from . import pool
from .callback import CallbackTable
from .driver import CodeFields, lanes_driver
from .layout import BLOCK, SLOT
from .lowering import Code, Request, operations_of
from .machine import Machine
from .memory import available_memory, readable
from .objects import machine_code, shared_function
from .shared import Functions, SharedCode
from .vector_math import provide

Table = NDArray[np.int64]
Workspace = tuple[int, NDArray[np.uint8]]
"""The address of a workspace, and the memory it lies in."""

_lock = forking.lock()
_runs: dict[tuple[Machine, int], dict[tuple[bool, ...], Any]] = {}

LARGE: Final = 1 << 25  # bytes of a workspace that is not kept for this code alone


class Loaded:
    """A program's machine code in memory; it stays as long as this object.

    Args:
        request: what to compile.
        shared: the code of programs that may be like it.

    Attributes:
        code: what the code consists of.
        functions: the addresses of its functions.
        compile_seconds: how long compiling took.
        address: that of the driver's table for this code.
        run: the driver's function of that name, for lanes.
        order: where the sums of outputs stand among all.
        row: likewise.
        is_plain: whether a call can do without preparation.
    """

    def __init__(self, request: Request, shared: SharedCode | None = None) -> None:
        start = time.perf_counter()
        machine = request.machine
        self._program = request.program
        self.code, self._numbers, self.functions = machine_code(
            request, functools.partial(_functions, machine), shared
        )
        code = self.code
        self._pool: list[Workspace] = []
        self._callbacks: CallbackTable | None = None
        if code.calls_back:
            self._callbacks = CallbackTable(operations_of(request.program))
        outputs = np.array(code.outputs, dtype=np.int64)
        self._outputs = outputs if request.lanes else _runs_of(outputs)
        self.order = _in_order(code.order)
        self.row = code.row
        self._spread = _table(field for row in code.spread for field in row)
        self._added = _table(field for row in code.added for field in row)
        self._constants = _table(
            field for offset, number in code.constants for field in (offset, _bits(number))
        )
        self._sum_runs = _table(field for row in code.sum_runs for field in row)
        self._kept = _table(field for row in code.kept for field in row)
        self._products = _table(field for row in code.products for field in row)
        self._table = self._describe()
        self.address: int = self._table.ctypes.data
        self.run: Any = None
        if request.lanes:
            wanted = len(code.outputs) > 0, code.sum_count > 0, len(code.products) > 0
            self.run = _run_function(machine, code.width, *wanted)
        self.is_plain = not code.calls_back and code.size < LARGE
        self.compile_seconds = time.perf_counter() - start

    def _describe(self) -> Table:
        """The table that describes the code to the driver."""
        code = self.code
        table = np.zeros(CodeFields.FIELDS, dtype=np.int64)
        table[CodeFields.PROLOGUE] = self.functions["prologue"] if code.prologue else 0
        table[CodeFields.MAIN] = self.functions["main"] if code.main else 0
        table[CodeFields.NUMBERS] = self._numbers.ctypes.data + 8 * code.parameters
        table[CodeFields.OUTPUTS] = self._outputs.ctypes.data
        table[CodeFields.OUTPUT_COUNT] = len(self._outputs)
        table[CodeFields.INPUT_OFFSET] = code.inputs
        table[CodeFields.SIZE] = code.size
        table[CodeFields.HANDLE] = 0 if self._callbacks is None else self._callbacks.handle
        table[CodeFields.CONSTANTS] = self._constants.ctypes.data
        table[CodeFields.CONSTANT_COUNT] = len(code.constants)
        table[CodeFields.SUMS] = code.sums
        table[CodeFields.SUM_COUNT] = code.sum_count
        table[CodeFields.ADDED] = self._added.ctypes.data
        table[CodeFields.ADDED_COUNT] = len(code.added)
        table[CodeFields.SCATTERED] = code.scattered
        table[CodeFields.SCATTERED_SLOTS] = code.scattered_slots
        table[CodeFields.SAME] = code.same
        table[CodeFields.SPREAD] = self._spread.ctypes.data
        table[CodeFields.SPREAD_COUNT] = len(code.spread)
        table[CodeFields.SUM_RUNS] = self._sum_runs.ctypes.data
        table[CodeFields.SUM_RUN_COUNT] = len(code.sum_runs)
        table[CodeFields.KEPT] = self._kept.ctypes.data
        table[CodeFields.KEPT_COUNT] = len(code.kept)
        table[CodeFields.PRODUCTS] = self._products.ctypes.data
        table[CodeFields.PRODUCT_COUNT] = len(code.products)
        return table

    def check_memory(self, workers: int, beside: int = 0) -> int:
        """How many of some threads there is memory for.

        Args:
            workers: the threads.
            beside: bytes that each needs beside its workspace.

        Raises:
            MemoryError: if there is not enough for one.
        """
        size = self.code.size + beside
        if size < LARGE:
            return workers
        available = available_memory()
        if size * workers > available:
            pool.clear()
            available = available_memory()
        if size > available:
            raise MemoryError(
                f"a run of this function needs {readable(size)} of memory"
                f"{largest_array(self._program)}; {readable(available)} are available"
            )
        return max(1, min(workers, available // size))

    def take_workspace(self) -> Workspace:
        """A workspace that nobody uses, with the constants in it."""
        try:
            return self._pool.pop()
        except IndexError:
            pass
        if self.code.size < LARGE:
            memory = np.empty(self.code.size + SLOT, dtype=np.uint8)
            address = -(-memory.ctypes.data // SLOT) * SLOT
        else:
            address, memory = pool.take(self.code.size)
        start = address - memory.ctypes.data
        slots = memory[start : start + self.code.size].view(np.float64).reshape(-1, BLOCK)
        if self.code.constants:
            offsets, numbers = zip(*self.code.constants, strict=True)
            slots[np.array(offsets) // SLOT] = np.array(numbers)[:, np.newaxis]
        return address, memory

    def give_back(self, workspace: Workspace) -> None:
        """Keep a workspace for the next one who needs it."""
        if self.code.size < LARGE:
            self._pool.append(workspace)
        else:
            pool.give_back(workspace[1])

    @contextmanager
    def workspace_of_point(self) -> Iterator[int | None]:
        """The address of a workspace for a single point; None if the driver is to make one."""
        if self.code.size < LARGE:
            yield None
            return
        address, memory = pool.take(self.code.size)
        try:
            yield address
        finally:
            pool.give_back(memory)


def _functions(machine: Machine, code: Code, objects: list[bytes]) -> Functions:
    """Object code, put into memory."""
    imports: dict[str, int] = {}
    for width in {width for _, width in code.functions}:
        wanted = [name for name, lanes in code.functions if lanes == width]
        imports.update(provide(wanted, width, machine))
    names = [name for name in ("prologue", "main") if getattr(code, name)]
    return machine.load(objects, names, imports)


def _run_function(target: Machine, width: int, *wanted: bool) -> Any:
    """The driver's function ``run``, at first only with what is needed: it takes long to compile.

    Args:
        target: what it is compiled for.
        width: how many lanes the code computes at a time.
        wanted: whether it must store outputs, add outputs up, and add outer products up.
    """
    with _lock:
        known = _runs.setdefault((target, width), {})
        for has, run in known.items():
            if all(x <= y for x, y in zip(wanted, has, strict=True)):
                return run
        if known:
            wanted = (True, True, wanted[2])
        pointer = ctypes.c_void_p
        kind = ctypes.CFUNCTYPE(None, pointer, pointer, pointer)
        write = functools.partial(lanes_driver, width, *wanted)
        run = known[wanted] = kind(shared_function(target, "run", write, (width, *wanted)))
        return run


def largest_array(program: Program) -> str:
    """For a message: what most of the memory is for."""
    stores = [x for x in statements(program.body) if isinstance(x, WRITES)]
    if not stores:
        return ""
    largest = max(stores, key=lambda x: x.array.size)
    line = next((x.note.line for x in stores if x.array is largest.array and x.note), None)
    where = f" ({line})" if line else ""
    return f", much of it for {largest.array.size:,} values that a loop keeps{where}"


def _table(numbers: Iterable[int]) -> Table:
    return np.array(list(numbers), dtype=np.int64)


def _runs_of(offsets: Table) -> Table:
    """Rows (offset, that among the outputs, bytes) of outputs of a point that lie side by side.

    Those that its code stores among the outputs itself have none.
    """
    first = np.flatnonzero(np.diff(offsets, prepend=offsets[:1]) != 8)
    sizes = np.diff(first, append=len(offsets))
    rows = np.stack([offsets[first], 8 * first, 8 * sizes], axis=1)
    return np.ascontiguousarray(rows[rows[:, 0] >= 0])


def _in_order(places: Sequence[int]) -> Table | slice:
    """What finds the sums of outputs; a slice, which copies nothing, where they are in order."""
    table = _table(places)
    size = len(table) or None
    return slice(size) if np.array_equal(table, np.arange(len(table))) else table


def _bits(number: float) -> int:
    """The bits of a float64 as a whole number."""
    bits: int = struct.unpack("<q", struct.pack("<d", number))[0]
    return bits
