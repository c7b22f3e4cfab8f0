"""A kernel: a tape as machine code, and its calls."""

from __future__ import annotations

import ctypes
import functools
import marshal
import os
import struct
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.compiler import cache, driver
from chainrule.compiler.callback import (
    EVERY_LANE,
    CallbackTable,
    Errors,
    collected_errors,
    operation_named,
    raise_first,
)
from chainrule.compiler.driver import Call, Code
from chainrule.compiler.layout import BLOCK, SLOT
from chainrule.compiler.lower import Program, TapeLike, lower
from chainrule.compiler.machine import Machine, machine
from chainrule.compiler.transfer import Segment
from chainrule.compiler.vector_math import provide

CHUNK: Final = 1024  # lanes that are added up at a time
WORTH_A_THREAD: Final = 2_000_000  # values times lanes below which one thread is faster
LONG_TAPE: Final = 10_000  # values of a tape that is worth a second thread for compiling
_CHUNK_BLOCKS: Final = CHUNK // BLOCK

Regular = tuple[int, int, int, int]
"""Inputs or outputs that lie regularly: address, count, strides from one to the next and from lane
to lane, in bytes."""


class Result(NamedTuple):
    """What a call for lanes gives, apart from the outputs in memory.

    Args:
        status: for each lane 0, or 1 plus the number of the first guard that failed; None if there
            are no guards.
        sums: the outputs that are added up over the lanes; None if there are none.
    """

    status: NDArray[np.int32] | None
    sums: NDArray[np.float64] | None


class _Loaded:
    """Machine code of a tape in memory."""

    def __init__(
        self, tape: TapeLike, uniform: list[bool], lanes: bool, careful: bool, target: Machine
    ) -> None:
        self.program, objects = _compiled(tape, uniform, lanes, careful, target)
        provide(self.program.functions, target.width if lanes else 1, target)
        self.engine = target.load(objects)
        address = self.engine.get_function_address
        self.prologue = _table([address(f"u{i}") for i in range(self.program.prologue)])
        self.pieces = _table([address(f"p{i}") for i in range(self.program.pieces)])


def _compiled(
    tape: TapeLike, uniform: list[bool], lanes: bool, careful: bool, target: Machine
) -> tuple[Program, list[bytes]]:
    """The program of a tape and its object code, from the cache if it is there."""
    key = ""
    if cache.is_on():
        what = (lanes, careful, uniform, tape.n_inputs, tape.operations, tape.operands)
        more = (list(tape.constants.items()), list(tape.user), tape.outputs, tape.guards)
        whole = marshal.dumps((what, more), 2)  # a version without references to earlier parts
        key = cache.name_of(b"tape", repr(target).encode(), whole)
        entry = cache.get(key)
        if entry is not None:
            return Program(**entry[0]), entry[1]
    modules = _Modules(target, len(tape.operations) > LONG_TAPE)
    program = lower(tape, uniform, lanes, target, careful, modules.take)
    objects = modules.objects()
    if key:
        cache.put(key, (vars(program), objects))
    return program, objects


class _Modules:
    """Modules on the way to object code.

    Args:
        target: what to compile for.
        ahead: whether another thread compiles modules while the next ones are written.
    """

    def __init__(self, target: Machine, ahead: bool) -> None:
        self.target = target
        self.ahead = ahead
        self.texts: dict[int, str] = {}  # of those that nobody has begun to compile
        self.futures: list[Future[bytes]] = []

    def take(self, text: str) -> None:
        """Compile a module, soon or later."""
        number = len(self.texts) if not self.ahead else len(self.futures)
        self.texts[number] = text
        if self.ahead:
            self.futures.append(_executor().submit(self._compile, number))

    def _compile(self, number: int) -> bytes:
        return self.target.compile(self.texts.pop(number), 0)

    def objects(self) -> list[bytes]:
        """The object code of all modules, in order."""
        if not self.ahead:
            return [self._compile(number) for number in sorted(self.texts)]
        return [
            self._compile(number) if future.cancel() else future.result()
            for number, future in enumerate(self.futures)
        ]


def _table(numbers: Sequence[int]) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)


def _bits(number: float) -> int:
    """The bits of a float64 as a whole number."""
    bits: int = struct.unpack("<q", struct.pack("<d", number))[0]
    return bits


class Kernel:
    """A tape compiled to machine code.

    Args:
        tape: the program, simplified.
        uniform: for each input whether it is the same for all lanes.
        lanes: whether it computes many lanes with ``run``, or a single point with ``call``.
        reduce: for each output whether ``run`` adds it up over the lanes; by default none.

    Attributes:
        compile_seconds: how long compiling took.
    """

    def __init__(
        self,
        tape: TapeLike,
        uniform: Sequence[bool],
        lanes: bool = True,
        reduce: Sequence[bool] = (),
    ) -> None:
        start = time.perf_counter()
        self._tape = tape
        self._uniform = list(uniform)
        self._lanes = lanes
        self._machine = machine()
        self._lock = threading.Lock()
        self._careful: _Loaded | None = None
        self._prefer_careful = False
        self._pool: list[tuple[int, NDArray[np.uint8]]] = []
        self._values = len(tape.operations)
        self.reduce = list(reduce) or [False] * len(tape.outputs)
        self._loaded = _Loaded(tape, self._uniform, lanes, False, self._machine)
        self._program = program = self._loaded.program
        self._callbacks: CallbackTable | None = None
        if program.callbacks:
            self._callbacks = CallbackTable(
                [operation_named(name, tape.user) for name in program.callbacks]
            )
        self._run: Any = _lanes_driver(self._machine) if lanes else None
        self._call: Any = None if lanes else _point_driver(self._machine)
        self._guards = _table(
            [
                field
                for number, (ready, a, b, less, equal, flip) in enumerate(program.guards)
                for field in (ready, a, b, number, 255 * less, 255 * equal, 255 * flip)
            ]
        )
        self._outputs = _table(program.outputs)
        self._outputs_address = self._outputs.ctypes.data
        self._constants = _table(
            [field for offset, number in program.constants for field in (offset, _bits(number))]
        )
        self._code = self._describe()
        reduced = [o for o, added in zip(program.outputs, self.reduce, strict=True) if added]
        self._reduced = _table(reduced)
        self._stored = [k for k, added in enumerate(self.reduce) if not added]
        self._stored_offsets = _table([program.outputs[k] for k in self._stored])
        self._stored_address = self._stored_offsets.ctypes.data
        self._reduced_count = len(reduced)
        self._reduced_address = self._reduced.ctypes.data
        self._code_address = self._code.ctypes.data
        self._careful_address = 0
        self.compile_seconds = time.perf_counter() - start

    def _describe(self) -> NDArray[np.int64]:
        """The table that describes the kernel to the driver."""
        program = self._program
        code = np.zeros(Code.FIELDS, dtype=np.int64)
        code[Code.PROLOGUE] = self._loaded.prologue.ctypes.data
        code[Code.PROLOGUE_COUNT] = program.prologue
        code[Code.PIECES] = self._loaded.pieces.ctypes.data
        code[Code.PIECE_COUNT] = program.pieces
        code[Code.GUARDS] = self._guards.ctypes.data
        code[Code.GUARD_COUNT] = len(program.guards)
        code[Code.OUTPUTS] = self._outputs.ctypes.data
        code[Code.OUTPUT_COUNT] = len(program.outputs)
        code[Code.INPUT_OFFSET] = program.input_offset
        code[Code.INPUT_COUNT] = self._tape.n_inputs
        code[Code.SIZE] = program.size
        code[Code.HANDLE] = 0 if self._callbacks is None else self._callbacks.handle
        code[Code.WATCH] = (2 if program.watch_all else 1) if program.watch else 0
        code[Code.CONSTANTS] = self._constants.ctypes.data
        code[Code.CONSTANT_COUNT] = len(program.constants)
        return code

    def _compile_careful(self) -> None:
        """Compile the code with absolute zeros spelled out, at its first use."""
        with self._lock:
            if self._careful is not None:
                return
            loaded = _Loaded(self._tape, self._uniform, self._lanes, True, self._machine)
            assert loaded.program.size == self._program.size
            assert loaded.program.pieces == self._program.pieces
            only_careful = self._code.copy()
            only_careful[Code.PROLOGUE] = loaded.prologue.ctypes.data
            only_careful[Code.PIECES] = loaded.pieces.ctypes.data
            only_careful[Code.WATCH] = 0
            self._careful_code = only_careful
            self._careful_address = only_careful.ctypes.data
            self._code[Code.CAREFUL_PROLOGUE] = loaded.prologue.ctypes.data
            self._careful = loaded
            self._code[Code.CAREFUL_PIECES] = loaded.pieces.ctypes.data  # last: others look at it

    # A single point

    def call(self, inputs: int, outputs: int) -> int:
        """Compute a single point.

        Args:
            inputs: address of the inputs.
            outputs: address for the outputs.

        Returns:
            0, or 1 plus the number of the first guard that failed: then the outputs mean nothing.
        """
        if self._callbacks is not None:
            return self._call_with_callbacks(inputs, outputs)
        status: int = self._call(self._code_address, inputs, outputs)
        if status < 0:
            status = self._call_carefully(status, inputs, outputs)
        return status

    def _call_carefully(self, status: int, inputs: int, outputs: int) -> int:
        if status == driver.NO_MEMORY:
            raise MemoryError("no memory for the workspace of a compiled function")
        self._compile_careful()
        again: int = self._call(self._careful_address, inputs, outputs)
        if again == driver.NO_MEMORY:
            raise MemoryError("no memory for the workspace of a compiled function")
        return again

    def _call_with_callbacks(self, inputs: int, outputs: int) -> int:
        with collected_errors() as errors:
            status: int = self._call(self._code_address, inputs, outputs)
            if status < 0:
                errors.clear()
                status = self._call_carefully(status, inputs, outputs)
        raise_first(errors, lambda position: status == 0)
        return status

    # Lanes

    def run(
        self,
        inputs: Sequence[Regular],
        outputs: Sequence[Regular],
        lanes: int,
        index: NDArray[np.int64] | None = None,
        threads: int = 1,
        materialize: bool = False,
    ) -> Result:
        """Compute many lanes.

        Args:
            inputs: where the inputs lie: segments that cover all of them in order.
            outputs: the same for the outputs that are not added up.
            lanes: the number of lanes.
            index: numbers of the lanes to compute, by default all in order. Inputs and outputs of
                a lane lie at its number.
            threads: the most threads to use.
            materialize: store all outputs, also those that are otherwise added up.
        """
        index_address = 0
        if index is not None:
            index = np.ascontiguousarray(index, dtype=np.int64)
            index_address = index.ctypes.data
            lanes = len(index)
        program = self._program
        count = 0 if materialize else self._reduced_count
        units, unit_blocks = _units(lanes, count > 0, threads)
        table = array("q", _EMPTY_CALL)
        _add_segments(table, inputs, self._tape.n_inputs)
        input_rows = len(inputs)
        if count == 0:
            _add_segments(table, outputs, len(program.outputs))
        else:
            self._add_stored_segments(table, outputs)
        output_rows = (len(table) - Call.FIELDS) // Segment.FIELDS - input_rows
        address = table.buffer_info()[0]
        table[Call.INPUTS] = address + 8 * Call.FIELDS
        table[Call.INPUT_SEGMENTS] = input_rows
        table[Call.OUTPUTS] = address + 8 * (Call.FIELDS + input_rows * Segment.FIELDS)
        table[Call.OUTPUT_SEGMENTS] = output_rows
        table[Call.LANES] = lanes
        table[Call.INDEX] = index_address
        table[Call.UNITS] = units
        table[Call.UNIT_BLOCKS] = unit_blocks
        status = None
        if program.guards:
            status = np.zeros(lanes, dtype=np.int32)
            table[Call.STATUS] = status.ctypes.data
        sums = None
        if count:
            sums = np.zeros((units, count))
            table[Call.REDUCED] = self._reduced_address
            table[Call.REDUCED_COUNT] = count
            table[Call.SUMS] = sums.ctypes.data
            table[Call.WATCHED] = self._stored_address
            table[Call.WATCHED_COUNT] = len(self._stored)
        else:
            table[Call.WATCHED] = self._outputs_address
            table[Call.WATCHED_COUNT] = len(program.outputs)
        code = self._code_address
        if self._prefer_careful:
            code = self._careful_address
        workers = threads if self._values * lanes >= WORTH_A_THREAD else 1
        if workers > 1:
            errors = self._work_together(code, address, min(workers, units))
        else:
            errors = self._work(code, address)
        if table[Call.CAREFUL] * 8 * BLOCK > lanes:
            self._prefer_careful = True
        if errors:
            raise_first(errors, lambda position: _held(status, position))
        return Result(status, None if sums is None else _sum_units(sums))

    def _add_stored_segments(self, table: array[int], outputs: Sequence[Regular]) -> None:
        """Add the segments of the outputs that are not added up, in parts where those interrupt."""
        stored = self._stored
        place = 0
        for address, count, element_stride, lane_stride in outputs:
            part = stored[place : place + count]
            place += count
            while part:
                run = 1
                while run < len(part) and part[run] == part[run - 1] + 1:
                    run += 1
                table.extend((address, run, element_stride, lane_stride, part[0]))
                address += run * element_stride
                part = part[run:]
        _check_covered(place, len(stored))

    def _work_together(self, code: int, call: int, workers: int) -> Errors:
        """Work through the units with several threads."""
        pool = _executor()
        futures = [pool.submit(self._work, code, call) for _ in range(workers - 1)]
        try:
            errors = self._work(code, call)
        finally:  # those that work on the tables must end; those that wait have nothing to do
            others = [future for future in futures if not future.cancel()]
            wait(others)
        for future in others:
            errors.extend(future.result())
        return errors

    def _work(self, code: int, call: int) -> Errors:
        """Work through units until none is left; gives the errors in callbacks."""
        try:
            workspace = self._pool.pop()
        except IndexError:
            workspace = self._new_workspace()
        if self._callbacks is None:
            self._work_in(workspace[0], code, call)
            self._pool.append(workspace)
            return []
        with collected_errors() as errors:
            self._work_in(workspace[0], code, call)
        self._pool.append(workspace)
        return errors

    def _work_in(self, workspace: int, code: int, call: int) -> None:
        unit = self._run(code, call, workspace, -1)
        while unit != driver.DONE:
            self._compile_careful()
            unit = self._run(code, call, workspace, unit)

    def _new_workspace(self) -> tuple[int, NDArray[np.uint8]]:
        """A workspace with the constants in it: its address, and the memory it lies in."""
        size = self._program.size + SLOT * self._reduced_count
        memory = np.empty(size + SLOT, dtype=np.uint8)
        address = -(-memory.ctypes.data // SLOT) * SLOT
        start = address - memory.ctypes.data
        slots = memory[start : start + self._program.size].view(np.float64).reshape(-1, BLOCK)
        offsets, numbers = zip(*self._program.constants, strict=True)
        slots[np.array(offsets) // SLOT] = np.array(numbers)[:, np.newaxis]
        return address, memory

    def reduce_lanes(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add up outputs over the lanes, to the last bit as ``run`` does.

        Args:
            values: an array (outputs, lanes).
        """
        return reduce_lanes(values)


def reduce_lanes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add up each row: in chunks of 1024, in a chunk in eight interleaved sums."""
    rows, lanes = values.shape
    units = max(1, -(-lanes // CHUNK))
    padded = np.zeros((rows, units * CHUNK))
    padded[:, :lanes] = values
    blocks = padded.reshape(rows, units, _CHUNK_BLOCKS, BLOCK)
    with np.errstate(all="ignore"):
        parts = np.zeros((rows, units, BLOCK))
        for k in range(_CHUNK_BLOCKS):
            parts += blocks[:, :, k]
        while parts.shape[2] > 1:
            half = parts.shape[2] // 2
            parts = parts[:, :, :half] + parts[:, :, half:]
    return _sum_units(parts[:, :, 0].T)


def _sum_units(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add up the sums of the chunks, in order."""
    total: NDArray[np.float64]
    if len(sums) == 1:
        total = sums[0]
        return total
    total = np.zeros(sums.shape[1])
    with np.errstate(all="ignore"):
        for row in sums:
            total += row
    return total


def _units(lanes: int, reduced: bool, threads: int) -> tuple[int, int]:
    """Number of the pieces of work that threads take, and their size in blocks."""
    blocks = -(-lanes // BLOCK)
    size = _CHUNK_BLOCKS
    if not reduced and threads > 1:
        size = min(size, max(1, blocks // (4 * threads)))
    return -(-blocks // size), size


def _add_segments(table: array[int], given: Sequence[Regular], total: int) -> None:
    """Add segments, which must cover all inputs or outputs, to the driver's table."""
    place = 0
    for address, count, element_stride, lane_stride in given:
        table.extend((address, count, element_stride, lane_stride, place))
        place += count
    _check_covered(place, total)


def _check_covered(count: int, total: int) -> None:
    if count != total:
        raise ValueError(f"the segments cover {count} of {total} inputs or outputs")


def _held(status: NDArray[np.int32] | None, position: int) -> bool:
    """Whether the guards of a lane hold, or those of any lane."""
    if status is None:
        return True
    return bool((status == 0).any() if position == EVERY_LANE else status[position] == 0)


@functools.cache
def _executor() -> ThreadPoolExecutor:
    """The threads that all kernels share."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="chainrule")


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_executor.cache_clear)


@functools.cache
def _lanes_driver(target: Machine) -> Any:
    """The driver's function ``run``."""
    pointer = ctypes.c_void_p
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, pointer, pointer, pointer, ctypes.c_int64)
    return kind(_driver_address(target, "run", lambda: driver.lanes_driver(target.width)))


@functools.cache
def _point_driver(target: Machine) -> Any:
    """The driver's function ``call``."""
    pointer = ctypes.c_void_p
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, pointer, pointer, pointer)
    return kind(_driver_address(target, "call", driver.point_driver))


def _driver_address(target: Machine, name: str, write: Callable[[], str]) -> int:
    """The address of a function of the driver, which is compiled or kept in the cache."""
    key = cache.name_of(b"driver", repr((target, name)).encode())
    entry = cache.get(key)
    if entry is None:
        entry = {}, [target.compile(write(), 2)]
        cache.put(key, entry)
    engine = target.load(entry[1])
    _engines.append(engine)
    address: int = engine.get_function_address(name)
    return address


_engines: list[Any] = []  # kept, as their code is in use until the process ends
_EMPTY_CALL: Final = [0] * Call.FIELDS
