"""A tape's code in memory, with what the driver needs to run it."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from chainrule import forking
from chainrule.backends.llvm.callback import CallbackTable, operation_named
from chainrule.backends.llvm.layout import BLOCK, SLOT
from chainrule.backends.llvm.vector_math import provide
from chainrule.compiler.driver import Code
from chainrule.compiler.lower import Program
from chainrule.compiler.objects import Order, object_code

Table = NDArray[np.int64]
Workspace = tuple[int, NDArray[np.uint8]]
"""The address of a workspace, and the memory it lies in."""


class Variant:
    """A tape's machine code: the fast code, and the careful code when it is needed.

    Args:
        order: what to compile.

    Attributes:
        program: what the code consists of.
        compile_seconds: how long compiling took.
        address: that of the driver's table for this code; the table changes when the careful code
            is compiled.
    """

    def __init__(self, order: Order) -> None:
        start = time.perf_counter()
        self._order = order
        self._lock = forking.lock()
        self._fast = _Loaded(order, careful=False)
        self._careful: _Loaded | None = None
        self._pool: list[Workspace] = []
        self.program = program = self._fast.program
        self.callbacks: CallbackTable | None = None
        if program.callbacks:
            user = order.tape.user
            operations = [operation_named(name, user) for name in program.callbacks]
            self.callbacks = CallbackTable(operations)
        self._guards = _table(
            field
            for number, (ready, a, b, less, equal, flip) in enumerate(program.guards)
            for field in (ready, a, b, number, 255 * less, 255 * equal, 255 * flip)
        )
        self._outputs = _table(program.outputs)
        self._added = _table(field for row in program.added for field in row)
        self._constants = _table(
            field for offset, number in program.constants for field in (offset, _bits(number))
        )
        self._code = self._describe()
        self.address: int = self._code.ctypes.data
        self._only_careful = self._code  # until there is such code
        self.compile_seconds = time.perf_counter() - start

    def _describe(self) -> Table:
        """The table that describes the code to the driver."""
        program = self.program
        code = np.zeros(Code.FIELDS, dtype=np.int64)
        self._fast.enter(code, Code.PROLOGUE, Code.PIECES)
        code[Code.PROLOGUE_COUNT] = program.prologue
        code[Code.PIECE_COUNT] = program.pieces
        code[Code.GUARDS] = self._guards.ctypes.data
        code[Code.GUARD_COUNT] = len(program.guards)
        code[Code.OUTPUTS] = self._outputs.ctypes.data
        code[Code.OUTPUT_COUNT] = len(program.outputs)
        code[Code.INPUT_OFFSET] = program.input_offset
        code[Code.INPUT_COUNT] = self._order.tape.n_inputs
        code[Code.SIZE] = program.size
        code[Code.HANDLE] = 0 if self.callbacks is None else self.callbacks.handle
        code[Code.WATCH] = (2 if program.watch_all else 1) if program.watch else 0
        code[Code.CONSTANTS] = self._constants.ctypes.data
        code[Code.CONSTANT_COUNT] = len(program.constants)
        code[Code.SUMS] = program.sums
        code[Code.SUM_COUNT] = program.sum_count
        code[Code.ADDED] = self._added.ctypes.data
        code[Code.ADDED_COUNT] = len(program.added)
        return code

    def compile_careful(self) -> int:
        """See to it that there is careful code, which asks for the conditions of all messages.

        Returns:
            the address of the driver's table for that code alone.
        """
        with self._lock:
            if self._careful is None:
                start = time.perf_counter()
                careful = _Loaded(self._order, careful=True)
                assert careful.program.size == self.program.size
                assert careful.program.pieces == self.program.pieces
                alone = self._code.copy()
                careful.enter(alone, Code.PROLOGUE, Code.PIECES)
                alone[Code.WATCH] = 0
                self._only_careful = alone
                careful.enter(self._code, Code.CAREFUL_PROLOGUE, Code.CAREFUL_PIECES)
                self._careful = (
                    careful  # last: a child may be forked, or an interrupt come, between
                )
                self.compile_seconds += time.perf_counter() - start
        address: int = self._only_careful.ctypes.data
        return address

    def prefer_careful(self) -> None:
        """Use the careful code from now on, without trying the fast one."""
        if self._careful is not None:
            self.address = self._only_careful.ctypes.data

    def take_workspace(self) -> Workspace:
        """A workspace that nobody uses, with the constants in it."""
        try:
            return self._pool.pop()
        except IndexError:
            pass
        memory = np.empty(self.program.size + SLOT, dtype=np.uint8)
        address = -(-memory.ctypes.data // SLOT) * SLOT
        start = address - memory.ctypes.data
        slots = memory[start : start + self.program.size].view(np.float64).reshape(-1, BLOCK)
        offsets, numbers = zip(*self.program.constants, strict=True)
        slots[np.array(offsets) // SLOT] = np.array(numbers)[:, np.newaxis]
        return address, memory

    def give_back(self, workspace: Workspace) -> None:
        """Keep a workspace for the next one who needs it."""
        self._pool.append(workspace)


class _Loaded:
    """Machine code in memory; it stays as long as this object."""

    def __init__(self, order: Order, careful: bool) -> None:
        machine = order.machine
        self.program: Program
        self.program, objects = object_code(order, careful)
        imports = provide(self.program.functions, machine.width if order.lanes else 1, machine)
        prologue = [f"u{i}" for i in range(self.program.prologue)]
        pieces = [f"p{i}" for i in range(self.program.pieces)]
        self._code = machine.load(objects, [*prologue, *pieces], imports)
        self.prologue = _table([self._code[name] for name in prologue])
        self.pieces = _table([self._code[name] for name in pieces])

    def enter(self, code: Table, prologue: int, pieces: int) -> None:
        """Put the addresses of the pieces into fields of the driver's table."""
        code[prologue] = self.prologue.ctypes.data
        code[pieces] = self.pieces.ctypes.data  # last: other threads look at it


def _table(numbers: Iterable[int] | Sequence[int]) -> Table:
    return np.array(list(numbers), dtype=np.int64)


def _bits(number: float) -> int:
    """The bits of a float64 as a whole number."""
    bits: int = struct.unpack("<q", struct.pack("<d", number))[0]
    return bits
