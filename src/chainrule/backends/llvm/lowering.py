"""From a program to LLVM's assembly language.

The functions get the address of a workspace, in which each value that another function reads has a
slot; slots are used again after the last function that reads them. Arrays lie there too, an element
a slot. They also get the addresses of tables and of the status of the lanes, and the iterations of
the loops around. Functions with guards tell whether guards have failed in all lanes: then nothing
goes on.

In code that LLVM does not optimize, only + - * / are instructions, loads and stores aside.
Everything else is a call of a vector function (see vector_math), because LLVM's fast instruction
selection translates just these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import inf
from typing import Final, NamedTuple

import numpy as np

from chainrule.program.elements import Mask
from chainrule.program.form import (
    CONSTANT,
    READS,
    SUMS,
    VALUES,
    WRITES,
    Add,
    Array,
    Compute,
    Load,
    Loop,
    Operand,
    Program,
    Scatter,
    Slice,
    Statement,
    Store,
    statements,
)
from chainrule.program.nests import bounds
from chainrule.rules import Operation

from .callback import FALLBACKS
from .data import Data
from .first_terms import Zero, first_terms
from .flags import flags
from .idle import idle
from .layout import BLOCK, HEADER_SLOTS, SLOT
from .machine import Machine
from .modules import Module, Text
from .outer_products import OuterProduct
from .pieces import calls_early, cut, mean, nests, work
from .places import Places
from .tiles import GROUP
from .uniform import SameInputs, split
from .values import Setting
from .vector_math import called_back, copies, takes_memory
from .workspace import Memory
from .writer import Writer

FEW: Final = 3
"""So often an element is read or written of an array that lies among the outputs."""


class Request(NamedTuple):
    """What to compile.

    Args:
        program: the program.
        uniform: for each input whether it is the same for all lanes.
        lanes: whether to compute blocks of lanes, else a single point.
        reduce: for each output whether it is added up over the lanes.
        machine: what to compile for.
    """

    program: Program
    uniform: Mask
    lanes: bool
    reduce: Sequence[bool]
    machine: Machine


@dataclass(eq=False, repr=False)
class Code:
    """What the code of a program consists of, and where the workspace holds what.

    Offsets are in bytes from the start of the workspace.

    Args:
        prologue: whether there is a function ``prologue``, which computes what is the same for all
            lanes.
        main: whether there is a function ``main``, which computes the rest.
        size: bytes of the workspace.
        constants: offsets and numbers to put there.
        inputs: offset of the first input; the others follow, a slot each.
        same: offset of the first input as a number, the same for all lanes; the others follow.
        spread: inputs that the code reads from their slots even if they are the same for all lanes,
            or those of the only point: the first of some, and their number.
        outputs: offsets of the outputs that are not added up; negative for those that the code
            stores where the caller wants them.
        sums: offset of the first sum of an output over the lanes; the others follow, and then as
            many slots for the driver.
        sum_count: number of these sums.
        scattered: offset of sums that all lanes share, 8 bytes each.
        scattered_slots: how many slots they fill.
        order: of the sums of outputs, where they stand among both kinds; empty for in order.
        width: lanes of its vectors.
        added: offsets of values that the driver adds up, each with that of its sum. The other sums
            are formed by ``main``.
        guards: whether there are guards.
        functions: the vector functions it calls, with the lanes of their vectors.
        calls_back: whether it may call Python.
        work: instructions of a run, about.
        sum_runs: the first of some sums that are added to block by block, and their number.
        kept: the factors of outer products, see :class:`~.tiles.KeptFields`.
        products: the outer products, see :class:`~.tiles.ProductFields`.
        parameters: how many numbers stand before the others, see :class:`~.shared.SharedCode`.
    """

    prologue: bool
    main: bool
    size: int
    constants: list[tuple[int, float]]
    inputs: int
    same: int
    spread: list[tuple[int, int]]
    outputs: list[int]
    sums: int
    sum_count: int
    scattered: int
    scattered_slots: int
    order: list[int]
    width: int
    added: list[tuple[int, int]]
    guards: bool
    functions: list[tuple[str, int]]
    calls_back: bool
    work: float
    sum_runs: list[tuple[int, int]]
    kept: list[tuple[int, ...]]
    products: list[tuple[int, ...]]
    parameters: int = 0

    @property
    def row(self) -> int:
        """How many numbers the sums of some lanes are."""
        return self.sum_count + BLOCK * self.scattered_slots


def operations_of(program: Program) -> list[Operation]:
    """The operations that its code may call back for, in the order of their numbers."""
    found: dict[Operation, None] = {}
    for statement in statements(program.body):
        if type(statement) is Compute and called_back(statement.operation):
            found[statement.operation] = None
    return list(found)


def lower(request: Request, take: Callable[[Text], None]) -> tuple[Code, Data]:
    """Code for a program, and the numbers that it reads.

    Args:
        request: what to compile.
        take: gets the modules, each as soon as it is written.
    """
    return _Lowering(request, take).lower()


class _Lowering:
    """What is decided about a program before its functions are written."""

    def __init__(self, request: Request, take: Callable[[Text], None]) -> None:
        program, machine, lanes = request.program, request.machine, request.lanes
        self._products = [x for x in program.body if isinstance(x, OuterProduct)]
        if self._products:
            body = [x for x in program.body if not isinstance(x, OuterProduct)]
            program = Program(program.inputs, body, program.outputs, program.guards)
        self._program, self._lanes = program, lanes
        self._together = 1 if lanes else machine.width  # iterations of maps
        self._memory = Memory(SLOT if lanes else 8, HEADER_SLOTS)
        bodies = split(program, request.uniform) if lanes else ([], program.body)
        multiplied = {x.array for x in self._products}
        if any(isinstance(x, WRITES) and x.array in multiplied for x in statements(bodies[0])):
            bodies = [], program.body  # all that comes to these sums comes in each block
        self._uniform = set(bodies[0])
        self._arrays: dict[Array, int] = {}
        self._results = {} if lanes else _stored_as_outputs(program)
        self._sums: dict[Operand | Array, list[int]] = {}
        self._outputs: list[Operand | Slice] = []
        self._added: list[tuple[Operand | Slice, int]] = []
        scattered = self._find_scattered(request.reduce)
        # Lanes add one after the other to what they share, on all machines in the same order.
        self._width = (BLOCK if scattered else machine.width) if lanes else 1
        self._modules = [Module(self._width, machine, level, take) for level in (0, 2)]
        count = sum([x.size for x in scattered])
        self._sum_count = sum(request.reduce) - count
        self._sums_at = self._memory.take(2 * self._sum_count)
        self._scattered_slots = -(-count // BLOCK)
        self._scattered_at = self._memory.take(self._scattered_slots)
        self._shared: set[Array] = set()
        self._order: list[int] = []
        self._sort_outputs(request.reduce, scattered)
        self._scratch = self._survey()
        self._same_at = self._memory.take(-(-program.inputs.size // BLOCK) if lanes else 0)
        # A single point has what it begins with in one place; straight code reads it from slots.
        in_place = not lanes and any(isinstance(x, Loop) for x in program.body)
        uniform = request.uniform if lanes else np.full(program.inputs.size * in_place, True)
        self._same = SameInputs(program, uniform, self._products)
        self._left = dict.fromkeys(self._own_sums())
        self._first_terms: set[Statement] = set()
        self._parts = [cut(calls_early(self._zeroed(body, body is bodies[1]))) for body in bodies]

    def lower(self) -> tuple[Code, Data]:
        """Write the functions."""
        program, memory = self._program, self._memory
        kept = [x for x in self._outputs if not isinstance(x, Slice)]
        kept += [x for x, _ in self._added if not isinstance(x, Slice)]
        places = Places(program, self._parts, self._arrays, memory.step, kept)
        data = Data()
        numbers = {operation: k for k, operation in enumerate(operations_of(program))}
        found = flags(program.body)
        only_added = self._only_added()
        setting = Setting(
            places=places,
            memory=memory,
            arrays=self._arrays,
            results=self._results,
            data=data,
            same=self._same.indices,
            lanes=self._lanes,
            shared=self._shared,
            scratch=self._scratch,
            modules=self._modules,
            sums=self._sums,
            numbers=numbers,
            together=self._together,
            flags=found,
            first_terms=self._first_terms,
            only_added=only_added,
            idle=idle(
                program,
                found,
                {y for x in self._products for y in (x.rows, x.columns)},
                lambda x: x.array in only_added and x not in self._first_terms,
                {nest.loop for part in self._parts for nest in nests(part)},
            ),
        )
        writer = Writer(setting)
        prologue, main = self._parts
        if prologue.parts:
            writer.part(prologue, "prologue")
        if main.parts:
            writer.part(main, "main")
        for module in self._modules:
            module.finish()
        functions = self._modules[0].functions | self._modules[1].functions

        def offsets(x: Operand | Slice) -> Sequence[int]:
            if isinstance(x, Slice):
                if x.array.kind == CONSTANT:
                    assert x.array.data is not None
                    given = x.array.data[x.start : x.start + x.size]
                    return [memory.number(float(number)).slot for number in given]
                if x.array in self._results:
                    return range(-8 * x.size, 0, 8)  # they are there: see _runs_of
                first = self._arrays[x.array] + x.start * memory.step
                return range(first, first + x.size * memory.step, memory.step)
            place = places.find(x)
            if place is None:
                number = places.same.get(x, x) if isinstance(x, Statement) else x
                assert isinstance(number, float)
                place = memory.number(number)
            return [place.slot]

        outputs = [*chain.from_iterable(map(offsets, self._outputs))]
        added = [
            (offset, first + k * memory.step)
            for x, first in self._added
            for k, offset in enumerate(offsets(x))
        ]
        sum_runs, factors, products = self._outer_products()
        code = Code(
            prologue=bool(prologue.parts),
            main=bool(main.parts),
            size=memory.size,
            constants=memory.constants,
            inputs=self._arrays[program.inputs],
            same=self._same_at,
            spread=self._same.spread(),
            outputs=outputs,
            sums=self._sums_at,
            sum_count=self._sum_count,
            scattered=self._scattered_at,
            scattered_slots=self._scattered_slots,
            order=self._order if self._scattered_slots else [],
            width=self._width,
            added=added,
            guards=program.guards > 0,
            functions=sorted(functions),
            calls_back=bool(numbers) or any(name in FALLBACKS for name, _ in functions),
            work=work(program.body)
            + sum([2 * x.row_count * x.column_count for x in self._products]),
            sum_runs=sum_runs,
            kept=factors,
            products=products,
        )
        return code, data

    def _outer_products(
        self,
    ) -> tuple[list[tuple[int, int]], list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Other sums than those of outer products, the factors of these, and these, as in Code."""
        memory, arrays = self._memory, self._arrays
        is_plain = np.full(self._sum_count, True)
        kept: dict[tuple[int, ...], int] = {}

        def buffer(array: Array, at: int, step: int, count: int) -> int:
            factor = (arrays[array] + at * SLOT, step * SLOT, count)
            if factor not in kept:
                kept[factor] = memory.take(1 + count * GROUP)
            return kept[factor]

        products: list[tuple[int, ...]] = []
        for x in self._products:
            assert x.array in self._sums
            n = x.row_count
            first = (arrays[x.array] - self._sums_at) // SLOT + x.first
            i, j = np.ogrid[:n, : x.column_count]
            is_plain[first + i * x.row_stride + j * x.column_stride] = False
            conditions = buffer(x.rows, n, 1, n) if x.conditional else 0
            columns = buffer(x.columns, x.at, x.step, x.column_count)
            rows = buffer(x.rows, 0, 1, n)
            strides = x.row_stride, x.column_stride
            products.append((rows, n, columns, x.column_count, conditions, first, *strides))
        ends = np.flatnonzero(np.diff(is_plain, prepend=False, append=False)).reshape(-1, 2)
        runs = [(int(first), int(end - first)) for first, end in ends]
        return runs, [(*factor, at) for factor, at in kept.items()], products

    def _survey(self) -> int:
        """Give all arrays their place, and room to operands; gives the place of the latter."""
        program, memory = self._program, self._memory
        arrays = self._arrays
        arrays[program.inputs] = memory.take(program.inputs.size)
        most = 0
        for statement in statements(program.body):
            if type(statement) is Compute:
                if len(statement.operands) > most and takes_memory(statement.operation):
                    most = len(statement.operands)
            elif isinstance(statement, (*READS, *WRITES)):
                self._place(statement.array)
        for output in program.outputs:
            if isinstance(output, Slice):
                self._place(output.array)
        return memory.take(most)

    def _place(self, array: Array) -> None:
        if array not in self._arrays and array not in self._results and array.kind != CONSTANT:
            self._arrays[array] = self._memory.take(array.size)

    def _in_memory(self) -> list[Array]:
        """The arrays in the workspace and among the outputs."""
        return [*self._arrays, *self._results]

    def _only_added(self) -> set[Array]:
        """The SUMS arrays that are 0 before each is added to."""
        found = {x for x in self._in_memory() if x.kind == SUMS and str(x.start) == "0.0"}
        for x in statements(self._program.body):
            if isinstance(x, Store) and not isinstance(x, Add):
                found.discard(x.array)
        return found

    def _own_sums(self) -> list[Array]:
        """The SUMS arrays that begin at 0 for each block, and for no iteration of a loop."""
        parts = {x.array for x in statements(self._program.body) if isinstance(x, Zero)}
        own = [x for x in self._in_memory() if x.kind == SUMS and x not in self._sums]
        return [x for x in own if x not in parts]

    def _zeroed(self, body: list[Statement], last: bool) -> list[Statement]:
        """A body with SUMS arrays set to 0 before they are used; the last one has all the rest."""
        left = self._left
        result: list[Statement] = []
        for statement in body:
            for inner in statements([statement]):
                if isinstance(inner, (*READS, *WRITES)) and inner.array in left:
                    del left[inner.array]
                    result.append(Zero(inner.array))
            result.append(statement)
        if last:
            result.extend([Zero(array) for array in left])
        self._first_terms |= first_terms(result)
        return result

    def _find_scattered(self, reduce: Sequence[bool]) -> list[Slice]:
        """Sums over all lanes to which only scatters add: one array for all lanes will do."""
        found = []
        place = 0
        for output in self._program.outputs:
            size = output.size if isinstance(output, Slice) else 1
            if isinstance(output, Slice) and all(reduce[place : place + size]):
                writes = [
                    x
                    for x in statements(self._program.body)
                    if isinstance(x, WRITES) and x.array is output.array
                ]
                only = writes and all(isinstance(x, Scatter) for x in writes)
                only = only and not any(x.array is output.array for x in self._products)
                if only and self._can_be_sums(output):
                    found.append(output)
            place += size
        return found

    def _sort_outputs(self, reduce: Sequence[bool], scattered: Sequence[Slice]) -> None:
        """Tell outputs that are stored, that are added up as they come, and others."""
        step = self._memory.step
        place = 0
        at = self._sums_at
        shared = 0
        for output in self._program.outputs:
            size = output.size if isinstance(output, Slice) else 1
            added = reduce[place : place + size]
            place += size
            if output in scattered:
                assert isinstance(output, Slice)
                first = self._scattered_at + 8 * shared
                self._arrays[output.array] = first - 8 * output.start
                self._sums[output.array] = [first]
                self._shared.add(output.array)
                self._order += range(self._sum_count + shared, self._sum_count + shared + size)
                shared += size
                continue
            first = len(self._order) - shared
            self._order += range(first, first + sum(added))
            if not any(added):
                self._outputs.append(output)
            elif not isinstance(output, Slice):
                if self._is_written(output):
                    self._sums.setdefault(output, []).append(at)
                else:
                    self._added.append((output, at))
                at += step
            elif all(added) and self._can_be_sums(output):
                # Each element is the sum of those of all blocks.
                self._arrays[output.array] = at - output.start * step
                self._sums[output.array] = [at]
                at += size * step
            else:
                for k in range(size):
                    part = Slice(output.array, output.start + k, 1)
                    if added[k]:
                        self._added.append((part, at))
                        at += step
                    else:
                        self._outputs.append(part)

    def _can_be_sums(self, part: Slice) -> bool:
        """Whether a part is all that is stored to an array, and read by nobody else."""
        array = part.array
        if array.kind not in (VALUES, SUMS):
            return False
        if sum([isinstance(x, Slice) and x.array is array for x in self._program.outputs]) > 1:
            return False
        for top in self._program.body:
            for x in statements([top]):
                if isinstance(x, READS) and x.array is array:
                    return False
                if isinstance(x, WRITES) and x.array is array:
                    low, high = bounds(x.index)
                    high += x.size - 1 if isinstance(x, Scatter) else 0
                    if low < part.start or high >= part.start + part.size or top in self._uniform:
                        return False
        return True

    def _is_written(self, output: Operand) -> bool:
        """Whether the code that computes it for a block can add it up."""
        return (
            type(output) is Compute and output not in self._uniform and not copies(output.operation)
        )


def _stored_as_outputs(program: Program) -> dict[Array, int]:
    """Arrays that lie among the outputs of a single point, with their offsets there.

    They are outputs as a whole, and once. An element is read or written a few times only, as the
    outputs need not begin with a line of the cache. None is a value in a slot: see Places.
    """
    found: dict[Array, int] = {}
    times = Counter([x.array for x in program.outputs if isinstance(x, Slice)])
    place = 0
    for x in program.outputs:
        if isinstance(x, Slice):
            whole = x.start == 0 and x.size == x.array.size
            if whole and x.array.kind in (VALUES, SUMS) and times[x.array] == 1:
                found[x.array] = 8 * place
        place += x.size if isinstance(x, Slice) else 1
    if found:
        accesses = dict.fromkeys(found, 0.0)
        _count_accesses(program.body, 1.0, accesses)
        for array, count in accesses.items():
            if count > FEW * array.size:
                del found[array]
    return found


def _count_accesses(body: Sequence[Statement], times: float, counts: dict[Array, float]) -> None:
    """Count how often elements of arrays are read or written; infinite if one is read in a slot."""
    for x in body:
        if isinstance(x, Loop):
            _count_accesses(x.body, times * mean(x.trips), counts)
        elif isinstance(x, (*READS, *WRITES)) and x.array in counts:
            counts[x.array] += inf if isinstance(x, Load) and x.index.is_fixed else times
