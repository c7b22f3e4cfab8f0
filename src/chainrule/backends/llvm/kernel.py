"""A kernel: a program as machine code, and its calls."""

from __future__ import annotations

import ctypes
import functools
from array import array
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule import forking
from chainrule.debugging import Printed
from chainrule.engine import ENGINE
from chainrule.program.elements import Mask
from chainrule.program.form import Loop, Program, Slice

from . import driver
from .addresses import address_of
from .callback import EVERY_LANE, Errors, collected_errors, raise_first
from .driver import CallFields
from .layout import BLOCK
from .loaded import Loaded
from .lowering import Request
from .machine import Machine, machine
from .objects import shared_function
from .outer_products import OuterProduct, take_out_products
from .shared import Functions, SharedCode
from .threads import together

CHUNK: Final = 1024  # lanes that are added up at a time
WORTH_A_THREAD: Final = 2_000_000  # instructions times lanes below which one thread is faster
SUMS_AT_ONCE: Final = 1 << 26  # bytes of the sums of chunks before they are added up
LARGEST_CHUNK: Final = 1 << 17

Regular = tuple[int, int, int, int]
"""Inputs or outputs that lie regularly: address, count, strides from one to the next and from lane
to lane, in bytes."""


class Result(NamedTuple):
    """What a call for lanes gives, apart from the outputs in memory.

    Args:
        status: for each lane 0, or 1 plus the number of the first guard that failed; None if none
            failed in any.
        sums: the outputs that are added up over the lanes; None if there are none.
    """

    status: NDArray[np.int32] | None
    sums: NDArray[np.float64] | None


class Kernel:
    """A program compiled to machine code.

    Args:
        program: the program, differentiated; without segments.
        uniform: for each input whether it is the same for all lanes.
        lanes: whether it computes many lanes with ``run``, or a single point with ``call``.
        reduce: for each output whether ``run`` adds it up over the lanes; by default none. A slice
            counts as the outputs in it.
        shared: the code of programs that may be like this one.

    Attributes:
        reduce: for each output whether it is added up.
    """

    def __init__(
        self,
        program: Program,
        uniform: Sequence[bool] | Mask,
        lanes: bool = True,
        reduce: Sequence[bool] = (),
        shared: SharedCode | None = None,
    ) -> None:
        target = machine()
        count = sum([x.size if isinstance(x, Slice) else 1 for x in program.outputs])
        none = [False] * count
        self.reduce = list(reduce) or none
        original = program
        if any(isinstance(x, Loop) for x in program.body):
            program = _with_fast_loops(program, self.reduce, lanes)
        self._n_inputs = program.inputs.size
        same = np.asarray(uniform, dtype=np.bool_)
        self._call: Any = None if lanes else _call_function(target)
        self._loaded = Loaded(Request(program, same, lanes, self.reduce, target), shared)
        self._shared = shared

        def stores_all() -> Request:
            plain = program
            if any(isinstance(x, OuterProduct) for x in program.body):
                plain = _with_fast_loops(original, self.reduce, lanes, adds_products=False)
            return Request(plain, same, lanes, none, target)

        self._stores_all = stores_all
        self._storing: Loaded | None = None if any(self.reduce) else self._loaded
        self._known: tuple[tuple[Regular, ...] | None, list[int]] = None, []
        self._lock = forking.lock()

    @property
    def codes(self) -> list[Functions]:
        """The machine code: other kernels may have the very same."""
        return [self._loaded.functions, (self._storing or self._loaded).functions]

    @property
    def compile_seconds(self) -> float:
        """How long compiling took so far: some code is compiled when it is needed."""
        loaded = {self._loaded, self._storing or self._loaded}
        return sum(code.compile_seconds for code in loaded)

    def call(self, inputs: int, outputs: int) -> int:
        """Compute a single point.

        Args:
            inputs: address of the inputs.
            outputs: address for the outputs.

        Returns:
            0, or 1 plus the number of the first guard that failed: then there are no outputs.
        """
        loaded = self._loaded
        if loaded.is_plain:
            status: int = self._call(loaded.address, inputs, outputs, None)
            if status >= 0:
                return status
        loaded.check_memory(1)
        with collected_errors() as errors, loaded.workspace_of_point() as workspace:
            status = self._call(loaded.address, inputs, outputs, workspace)
        if status == driver.NO_MEMORY:
            raise MemoryError("no memory for the workspace of a compiled function")
        raise_first(errors, lambda position: status == 0)
        return status

    @property
    def bare(self) -> tuple[int, int] | None:
        """The addresses of the driver's ``call`` and of the code's table, to call by address.

        None where a call needs preparation. The code stays as long as this object.
        """
        if self._call is None or not self._loaded.is_plain:
            return None
        return ctypes.cast(self._call, ctypes.c_void_p).value or 0, self._loaded.address

    @property
    def work(self) -> float:
        """Instructions of a run, about."""
        return self._loaded.code.work

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
            inputs: where the inputs lie: segments that cover all of them in order. A tuple is
                looked at once, if it is the same one each time.
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
            index_address = address_of(index)
            lanes = len(index)
        loaded = self._loaded
        if materialize:
            loaded = self._storing or self._loaded_for_storing()
        code = loaded.code
        units, unit_blocks = _units(lanes, loaded.row, threads)
        status = None
        status_address = 0
        if code.guards:
            status = np.zeros(lanes, dtype=np.int32)
            status_address = address_of(status)
        known, segments = self._known
        if inputs is not known:
            segments = _segments(inputs, self._n_inputs)
            if type(inputs) is tuple:
                self._known = inputs, segments
        fields = (lanes, index_address, status_address, 0, 0, units, unit_blocks)  # see CallFields
        counts = len(inputs), len(outputs)
        of_outputs = _segments(outputs, len(code.outputs))
        table = array("q", (*fields, *counts, 0, *segments, *of_outputs))
        workers = min(threads, units) if code.work * lanes >= WORTH_A_THREAD else 1
        if loaded.row:
            errors, total = self._added_up(loaded, table, workers, units)
        else:
            errors, total = self._work_together(loaded, table, loaded.check_memory(workers)), None
        if not table[CallFields.FAILED]:
            status = None
        if errors:
            if not materialize and status is not None:  # who calls does it again
                errors = [x for x in errors if not isinstance(x[1], Printed)]
            raise_first(errors, lambda position: _held(status, position))
        return Result(status, total)

    def _added_up(
        self, loaded: Loaded, table: array[int], workers: int, units: int
    ) -> tuple[Errors, NDArray[np.float64]]:
        """Work through all units, some at a time; gives their sums as well."""
        row = 8 * loaded.row  # bytes of the sums of a unit
        workers = loaded.check_memory(workers, row)
        errors: Errors = []
        if units == 1:
            total = np.empty(loaded.row)
            table[CallFields.SUMS] = address_of(total)
            errors = self._work(loaded, table.buffer_info()[0])
        else:
            at_once = max(1, workers, SUMS_AT_ONCE // row)
            total = np.zeros(loaded.row)
            for first in range(0, units, at_once):
                sums = np.empty((min(at_once, units - first), loaded.row))
                table[CallFields.NEXT] = first
                table[CallFields.UNITS] = min(first + at_once, units)
                table[CallFields.SUMS] = address_of(sums) - first * row
                errors += self._work_together(loaded, table, workers)
                _add_units(sums, total)
        return errors, total[loaded.order]

    def _work_together(self, loaded: Loaded, table: array[int], workers: int) -> Errors:
        """Let some threads work until no unit is left."""
        address, _ = table.buffer_info()
        if workers == 1:
            return self._work(loaded, address)
        found = together(workers, lambda: self._work(loaded, address))
        return [error for errors in found for error in errors]

    def _loaded_for_storing(self) -> Loaded:
        """The code that adds nothing up."""
        if self._storing is None:
            with self._lock:
                if self._storing is None:
                    self._storing = Loaded(self._stores_all(), self._shared)
        return self._storing

    def _work(self, loaded: Loaded, call: int) -> Errors:
        """Work through units until none is left; gives the errors in callbacks."""
        workspace = loaded.take_workspace()
        errors: Errors = []
        if loaded.code.calls_back:
            with collected_errors() as errors:
                loaded.run(loaded.address, call, workspace[0])
        else:
            loaded.run(loaded.address, call, workspace[0])
        loaded.give_back(workspace)
        return errors


def _with_fast_loops(
    program: Program, reduce: Sequence[bool], lanes: bool, adds_products: bool = True
) -> Program:
    """A program with the loops in it made ready for code.

    Args:
        program: the program.
        reduce: for each output whether it is added up over the lanes.
        lanes: whether it is for lanes.
        adds_products: whether outer products are to be added up apart.
    """
    from chainrule.passes.jam import blocked, jammed  # here, as many programs have no loops
    from chainrule.passes.promote import promoted

    from .contraction import contract

    if lanes:
        changed = promoted(program, reduce)
        if changed is not program and adds_products and any(reduce):
            take_out_products(changed, reduce)
        changed = jammed(changed)
    else:
        from chainrule.passes.distribute import distribute
        from chainrule.passes.interchange import interchanged

        from .strips import strip_mine

        changed = promoted(interchanged(program), reduce)
        if changed is not program:
            rows = blocked(changed)
            distribute(changed)
            strip_mine(changed, rows)
    if changed is not program:
        contract(changed, lanes)
    return changed


def reduce_lanes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add up outputs over the lanes, to the last bit as a kernel does.

    That is in chunks of 1024 or more, in a chunk in eight interleaved sums.

    Args:
        values: an array (outputs, lanes).
    """
    rows, lanes = values.shape
    chunk = _chunk(rows)
    units = max(1, -(-lanes // chunk))
    padded = np.zeros((rows, units * chunk))
    padded[:, :lanes] = values
    blocks = padded.reshape(rows, units, chunk // BLOCK, BLOCK)
    with np.errstate(all="ignore"):
        parts = np.zeros((rows, units, BLOCK))
        for k in range(chunk // BLOCK):
            parts += blocks[:, :, k]
        while parts.shape[2] > 1:
            half = parts.shape[2] // 2
            parts = parts[:, :, :half] + parts[:, :, half:]
    sums: NDArray[np.float64] = parts[:, :, 0].T
    if units == 1:
        first: NDArray[np.float64] = sums[0]
        return first
    total = np.zeros(rows)
    _add_units(sums, total)
    return total


def _add_units(sums: NDArray[np.float64], total: NDArray[np.float64]) -> None:
    """Add the sums of the chunks, in order, to what came before."""
    with np.errstate(all="ignore"):
        for row in sums:
            total += row


def _chunk(sums: int) -> int:
    """How many lanes are added up at a time: more where there are more sums than lanes."""
    lanes = CHUNK
    while lanes < sums and lanes < LARGEST_CHUNK:
        lanes *= 2
    return lanes


@functools.lru_cache(maxsize=64)
def _units(lanes: int, sums: int, threads: int) -> tuple[int, int]:
    """Number of the pieces of work that threads take, and their size in blocks."""
    blocks = -(-lanes // BLOCK)
    size = _chunk(sums) // BLOCK
    if not sums and threads > 1:
        size = min(size, max(1, blocks // (4 * threads)))
    return -(-blocks // size), size


def _segments(given: Sequence[Regular], total: int) -> list[int]:
    """Segments, which must cover all inputs or outputs, as the driver reads them."""
    fields: list[int] = []
    place = 0
    for segment in given:
        fields += segment
        fields.append(place)
        place += segment[1]
    if place != total:
        raise ValueError(f"the segments cover {place} of {total} inputs or outputs")
    return fields


def _held(status: NDArray[np.int32] | None, position: int) -> bool:
    """Whether the guards of a lane hold, or those of any lane."""
    if status is None:
        return True
    return bool((status == 0).any() if position == EVERY_LANE else status[position] == 0)


@functools.cache
def _call_function(target: Machine) -> Any:
    """The driver's function ``call``."""
    pointer = ctypes.c_void_p
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[pointer] * 4)
    if ENGINE is not None:  # compiled long ago
        return kind(ENGINE.CALL_POINT)
    return kind(shared_function(target, "call", driver.point_driver))
