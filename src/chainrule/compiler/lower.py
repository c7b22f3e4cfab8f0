"""From a tape to LLVM's assembly language, cut into pieces.

A piece is a function of some hundred instructions: LLVM's compile time is linear in their number,
and its stack small. It gets the address of a workspace, in which each value that another piece
reads has a slot; slots are used again after the last piece that reads them. At its start the
workspace holds the position of each lane in the call and the handle of the kernel, for callbacks.

Only + - * / are instructions, loads and stores aside. Everything else is a call of a vector
function (see vector_math), because LLVM's fast instruction selection translates just these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from chainrule.backends.llvm.layout import HEADER_SLOTS, SLOT
from chainrule.backends.llvm.machine import Machine
from chainrule.backends.llvm.vector_math import (
    ALIASES,
    CALLED_BACK,
    INSTRUCTIONS,
    INTRINSICS,
    SWEEPS,
)
from chainrule.rules import Operation

PIECE_COST: Final = 400  # instructions of a piece, about
CALL_COST: Final = 3
MODULE_PIECES: Final = 16  # pieces compiled at a time, while the next ones are written

COMPARISONS: Final = {  # whether true if less, if equal, and if that is negated
    "less": (True, False, False),
    "less_equal": (True, True, False),
    "equal": (False, True, False),
    "not_equal": (False, True, True),
}
_LAX: Final = frozenset(  # operations whose value may be a number though an operand is NaN
    [
        "power",
        "power_term",
        "hypot",
        "over_norm",
        "over_squares",
        "where",
        "copysign",
        "gather",
        "less",
        "less_equal",
        "equal",
        "not_equal",
        "ldexp",
        "round",
        "fsum",
    ]
)


class TapeLike(Protocol):
    """A program in linear form: see chainrule.compiler.tape."""

    operations: list[str]
    operands: list[tuple[int, ...]]
    constants: dict[int, float]
    user: dict[str, Operation]
    n_inputs: int
    outputs: list[int]
    guards: list[tuple[int, bool]]


@dataclass
class Program:
    """What the code of a tape consists of, and where the workspace holds what.

    Offsets are in bytes from the start of the workspace.

    Args:
        prologue: number of pieces (``u0``, ``u1``, …) that compute what depends on uniform inputs.
        pieces: number of pieces (``p0``, ``p1``, …) that compute the rest for a block.
        size: bytes of the workspace.
        constants: offsets and numbers to put there.
        input_offset: offset of the first input; the others follow, a slot each.
        outputs: offsets of the outputs that are not added up.
        sums: offset of the first sum of an output over the lanes; the others follow, and then as
            many slots for the driver.
        sum_count: number of sums.
        added: offsets of values that the driver adds up, each with that of its sum. The other sums
            are formed by the pieces.
        guards: for each guard: number of pieces after which it and those before it are known,
            offsets of the two values that it compares, and whether it fails where the first is
            less, where they are equal, and whether that is negated.
        functions: the vector functions it calls.
        callbacks: the operations it calls back for, in the order of their numbers.
        watch: whether a NaN among the outputs means that conditions of messages must be asked.
        watch_all: whether that holds for lanes whose guards fail, too.
    """

    prologue: int
    pieces: int
    size: int
    constants: list[tuple[int, float]]
    input_offset: int
    outputs: list[int]
    sums: int
    sum_count: int
    added: list[tuple[int, int]]
    guards: list[tuple[int, int, int, bool, bool, bool]]
    functions: list[str]
    callbacks: list[str]
    watch: bool
    watch_all: bool


@dataclass
class _Plan:
    """What is decided about the values of a tape before any code is written."""

    resolve: list[int]  # the value itself, or the one that it is the same as
    uniform: list[bool]
    piece: list[int]  # number of the piece that computes it, in its part; -1 for none
    last: list[int]  # last piece that reads its slot; -1 if none does
    forever: list[bool]  # its slot is read after the pieces, or in another part
    fast: list[bool]  # a message that may be a plain multiplication, whether it was picked or not
    skipped: list[bool]  # only such messages' conditions need it
    ready: list[int]  # for each guard the number of pieces after which it is evaluated
    sums: dict[int, list[int]]  # numbers of the sums that its piece adds a value to
    counts: list[int] = field(default_factory=list)  # pieces of the prologue and of the rest


def lower(
    tape: TapeLike,
    uniform: Sequence[bool],
    lanes: bool,
    reduce: Sequence[bool],
    machine: Machine,
    careful: bool,
    take_module: Callable[[str], None],
) -> Program:
    """Code for a tape.

    Args:
        tape: the program, simplified.
        uniform: for each input whether it is the same for all lanes.
        lanes: whether to compute blocks of lanes, else a single point.
        reduce: for each output whether it is added up over the lanes.
        machine: what to compile for.
        careful: ask for the conditions of all messages. Otherwise a global gradient of 0 that
            reaches nothing may be multiplied by infinity, where that NaN is bound to reach an
            output.
        take_module: gets the texts of LLVM's assembly language, each as soon as it is written.
    """
    if not lanes:
        uniform = [False] * tape.n_inputs
    plan = _plan(tape, uniform, lanes, reduce, careful)
    return _Writer(tape, plan, lanes, reduce, machine, take_module).write()


def _plan(
    tape: TapeLike,
    uniform_inputs: Sequence[bool],
    lanes: bool,
    reduce: Sequence[bool],
    careful: bool,
) -> _Plan:
    operations = tape.operations
    operands = tape.operands
    count = len(operations)
    resolve = list(range(count))
    uniform = [False] * count
    piece = [-1] * count
    last = [-1] * count
    forever = [False] * count
    costs = [0, 0]
    counts = [0, 0]  # pieces so far
    guard_only = _only_guards(tape)
    for i in range(count):
        operation = operations[i]
        if operation == "constant":
            uniform[i] = lanes
            continue
        if operation == "input":
            uniform[i] = uniform_inputs[operands[i][0]]
            continue
        if operation in ALIASES:
            resolve[i] = resolve[operands[i][0]]
            continue
        same = lanes
        for a in operands[i]:
            if not uniform[resolve[a]]:
                same = False
                break
        uniform[i] = same
        if guard_only[i]:
            continue
        part = 0 if same else 1
        short = operation in INSTRUCTIONS or operation == "message"
        cost = 1 if short else CALL_COST + 2 * len(operands[i])
        if counts[part] == 0 or costs[part] + cost > PIECE_COST:
            counts[part] += 1
            costs[part] = 0
        costs[part] += cost
        here = counts[part] - 1
        piece[i] = here
        for a in operands[i]:
            b = resolve[a]
            if piece[b] < 0:
                continue
            if uniform[b] != same:
                forever[b] = True
            elif piece[b] != here:
                last[b] = here
    sums: dict[int, list[int]] = {}
    number = 0
    for v, added in zip(tape.outputs, reduce, strict=True):
        v = resolve[v]
        if added and piece[v] >= 0 and not uniform[v]:
            sums.setdefault(v, []).append(number)
        else:
            forever[v] = True
        number += added
    ready: list[int] = []
    needed = 0
    guards: list[int] = []
    for v, _ in tape.guards:
        compared = [resolve[a] for a in _compared(tape, resolve[v])]
        guards.extend(compared)
        for b in compared:
            if not uniform[b]:
                needed = max(needed, piece[b] + 1)
        ready.append(needed)
        for b in compared:
            if uniform[b]:
                forever[b] = True
            elif piece[b] >= 0:
                last[b] = max(last[b], needed - 1)
    fast = [False] * count
    if not careful:
        observed = _observed(tape, resolve)
        fast = [observed[i] and operations[i] == "message" for i in range(count)]
    wanted = [*tape.outputs, *guards]
    for i in range(count):
        if operations[i] in tape.user or operations[i] in CALLED_BACK:
            wanted.append(i)  # fast and careful code call back for the same operations
    skipped = [not needed for needed in _needed(tape, resolve, fast, wanted)]
    return _Plan(resolve, uniform, piece, last, forever, fast, skipped, ready, sums, counts)


def _compared(tape: TapeLike, v: int) -> tuple[int, ...]:
    """The values that a guard on a value compares: one that is no comparison, with 1."""
    return tape.operands[v] if tape.operations[v] in COMPARISONS else (v,)


def _only_guards(tape: TapeLike) -> list[bool]:
    """For each value whether it is a comparison that only guards ask for."""
    count = len(tape.operations)
    found = [False] * count
    for v, _ in tape.guards:
        found[v] = tape.operations[v] in COMPARISONS
    for v in tape.outputs:
        found[v] = False
    for i in range(count):
        if tape.operations[i] != "input":
            for a in tape.operands[i]:
                found[a] = False
    return found


def _observed(tape: TapeLike, resolve: list[int]) -> list[bool]:
    """For each value whether a NaN there is bound to be seen in an output."""
    operations = tape.operations
    observed = [False] * len(operations)
    for v in tape.outputs:
        observed[resolve[v]] = True
    for i in range(len(operations) - 1, -1, -1):
        operation = operations[i]
        if not observed[i] or operation in _LAX or operation in tape.user:
            continue
        if operation == "input" or operation == "constant":
            continue
        for position, a in enumerate(tape.operands[i]):
            if operation != "message" or position > 0:
                observed[resolve[a]] = True
    return observed


def _needed(
    tape: TapeLike, resolve: list[int], fast: list[bool], values: Sequence[int]
) -> list[bool]:
    """For each value whether some values depend on it; fast messages ask for no condition."""
    operations = tape.operations
    needed = [False] * len(operations)
    for v in values:
        needed[resolve[v]] = True
    for i in range(len(operations) - 1, -1, -1):
        if needed[i] and operations[i] != "input" and operations[i] != "constant":
            for position, a in enumerate(tape.operands[i]):
                if position > 0 or not fast[i]:
                    needed[resolve[a]] = True
    return needed


def _guarded(tape: TapeLike, plan: _Plan) -> bool:
    """Whether a guard depends on a message whose condition is not asked for."""
    guards = [v for v, _ in tape.guards]
    needed = _needed(tape, plan.resolve, plan.fast, guards)
    return any(needed[i] and plan.fast[i] for i in range(len(needed)))


class _Writer:
    """Writes the code of one program.

    In LLVM's assembly language the values of a function that have no name are numbered in order.
    """

    def __init__(
        self,
        tape: TapeLike,
        plan: _Plan,
        lanes: bool,
        reduce: Sequence[bool],
        machine: Machine,
        take_module: Callable[[str], None],
    ) -> None:
        self.take_module = take_module
        self.reduce = reduce
        count = len(tape.operations)
        self.tape = tape
        self.plan = plan
        self.width = machine.width if lanes else 1
        self.slot_size = SLOT if lanes else 8
        self.type = f"<{self.width} x double>" if lanes else "double"
        self.kind = f"v{self.width}f64" if lanes else "f64"
        self.tail = f",align {8 * self.width}"
        self.suffix = f".{self.width}.{machine.tag}"
        self.functions: set[str] = set()
        self.callbacks: list[str] = []
        self.declarations: list[str] = []  # of the module
        self.declared: dict[str, str] = {}  # in the module: names of functions
        self.lines: list[str] = []  # of the module
        self.pieces_in_module = 0
        self.slots = [-1] * count  # offset of each value, -1: none
        self.top = HEADER_SLOTS * self.slot_size
        self.scratch = 0  # offset of the slots for operands in memory
        self.sums = 0  # offset of the sums
        self.minus_zero = count  # the value -0.0, after those of the tape
        self.one = count + 1  # the value 1.0
        self.number = 0  # of LLVM's next value
        self.piece = 0  # counts pieces
        self.moment = 0  # counts pieces and calls: after a call, what has a slot is loaded again
        self.registers = [0] * (count + 2)  # LLVM's value
        self.since = [0] * (count + 2)  # the moment when it was put into a register
        self.addresses = [0] * (count + 2)  # LLVM's value that is the address of the slot
        self.addressed = [0] * (count + 2)  # the piece in which that holds

    def write(self) -> Program:
        """The program."""
        tape, plan = self.tape, self.plan
        constants = self._place_constants()
        input_offset = self.top
        self.top += tape.n_inputs * self.slot_size
        most = 0
        for i, operation in enumerate(tape.operations):
            if operation == "input":
                self.slots[i] = input_offset + tape.operands[i][0] * self.slot_size
            elif operation != "constant" and self._in_memory(i):
                most = max(most, len(tape.operands[i]))
        self.scratch = self.top
        self.top += most * self.slot_size
        self.sums = self.top
        sum_count = sum(self.reduce)
        self.top += 2 * sum_count * self.slot_size
        self._write_part(True)
        self._write_part(False)
        slots = [self.slots[r] for r in plan.resolve]
        guards = []
        for ready, (v, outcome) in zip(plan.ready, tape.guards, strict=True):
            v = plan.resolve[v]
            compared = _compared(tape, v)
            if len(compared) == 2:
                less, equal, negated = COMPARISONS[tape.operations[v]]
                a, b = slots[compared[0]], slots[compared[1]]
            else:
                less, equal, negated = COMPARISONS["equal"]
                a, b = slots[v], self.slots[self.one]
            guards.append((ready, a, b, less, equal, negated ^ outcome))
        watch = any(plan.fast)
        return Program(
            prologue=plan.counts[0],
            pieces=plan.counts[1],
            size=self.top,
            constants=constants,
            input_offset=input_offset,
            outputs=[
                slots[v] for v, added in zip(tape.outputs, self.reduce, strict=True) if not added
            ],
            sums=self.sums,
            sum_count=sum_count,
            added=self._added(),
            guards=guards,
            functions=sorted(self.functions),
            callbacks=self.callbacks,
            watch=watch,
            watch_all=watch and _guarded(tape, plan),
        )

    def _added(self) -> list[tuple[int, int]]:
        """Values that no piece adds to their sum: inputs, constants, uniform ones."""
        found = []
        number = 0
        for v, added in zip(self.tape.outputs, self.reduce, strict=True):
            v = self.plan.resolve[v]
            if added and v not in self.plan.sums:
                found.append((self.slots[v], self.sums + number * self.slot_size))
            number += added
        return found

    def _place_constants(self) -> list[tuple[int, float]]:
        constants = []
        for i, number in self.tape.constants.items():
            self.slots[i] = self._new_slot()
            constants.append((self.slots[i], number))
        for number in (-0.0, 1.0):
            self.slots.append(self._new_slot())
            constants.append((self.slots[-1], number))
        return constants

    def _new_slot(self) -> int:
        slot = self.top
        self.top += self.slot_size
        return slot

    def _in_memory(self, i: int) -> bool:
        """Whether its function gets operands in consecutive slots."""
        operation = self.tape.operations[i]
        if operation in SWEEPS:
            return operation != "hypot" or len(self.tape.operands[i]) != 2
        return operation == "gather" or self._called_back(i)

    def _called_back(self, i: int) -> bool:
        operation = self.tape.operations[i]
        if operation == "round" and self._to_whole(i):
            return False
        return operation in self.tape.user or operation in CALLED_BACK

    def _to_whole(self, i: int) -> bool:
        """Whether a rounding is to no decimals."""
        return self.tape.constants.get(self.tape.operands[i][1]) == 0.0

    # Modules and pieces

    def _write_part(self, prologue: bool) -> None:
        """Write the pieces of the prologue or of the rest."""
        tape, plan = self.tape, self.plan
        uniform, piece_of, last, forever = plan.uniform, plan.piece, plan.last, plan.forever
        sums, skipped = plan.sums, plan.skipped
        letter = "u" if prologue else "p"
        free: list[int] = []  # slots; what the prologue leaves must stay
        dying: list[list[int]] = [[] for _ in range(plan.counts[0 if prologue else 1])]
        piece = -1
        for i in range(len(tape.operations)):
            if piece_of[i] < 0 or uniform[i] != prologue:
                continue
            if piece_of[i] != piece:
                if piece >= 0:
                    self.lines.append("ret void}")
                    free.extend(dying[piece])
                piece = piece_of[i]
                self._begin_piece(f"{letter}{piece}")
            if not skipped[i]:
                self._write_value(i)
                self.registers[i] = self.number
                self.number += 1
                self.since[i] = self.moment
            if forever[i] or last[i] >= 0:  # also where it is skipped: careful code has one layout
                self.slots[i] = free.pop() if free else self._new_slot()
                if not forever[i]:
                    dying[last[i]].append(self.slots[i])
                if not skipped[i]:
                    self._store(i)
            if i in sums:
                self._add(i, sums[i])
        if piece >= 0:
            self.lines.append("ret void}")
        self._end_module()

    def _begin_piece(self, name: str) -> None:
        if self.pieces_in_module == MODULE_PIECES:
            self._end_module()
        self.pieces_in_module += 1
        self.piece += 1
        self.moment += 1
        self.number = 2  # after the parameter, and the block of the body
        self.lines.append(f"define void @{name}(ptr)nounwind{{")

    def _end_module(self) -> None:
        if self.lines:
            self.take_module("\n".join(self.declarations + self.lines))
        self.lines = []
        self.declarations = []
        self.declared = {}
        self.pieces_in_module = 0

    # Values

    def _write_value(self, i: int) -> None:
        """Write what computes a value; it becomes LLVM's next value."""
        operation = self.tape.operations[i]
        resolve = self.plan.resolve
        instruction = INSTRUCTIONS.get(operation)
        operands = self.tape.operands[i]
        if self.plan.fast[i]:
            instruction = "fmul"
            operands = operands[1:]
        if instruction is not None:
            y = self._register(resolve[operands[-1]])
            x = self._register(resolve[operands[0]] if len(operands) == 2 else self.minus_zero)
            self.lines.append(f"{instruction} {self.type} %{x},%{y}")
        elif self._in_memory(i):
            self._call_in_memory(i)
        else:
            self._call(i)

    def _register(self, v: int) -> int:
        """LLVM's value for a value of the tape, loaded if need be."""
        slot = self.slots[v]
        if slot >= 0 and self.since[v] != self.moment:
            address = self._address(v)
            self.lines.append(f"load {self.type},ptr %{address}{self.tail}")
            self.registers[v] = self.number
            self.number += 1
            self.since[v] = self.moment
        return self.registers[v]

    def _store(self, v: int) -> None:
        address = self._address(v)
        self.lines.append(f"store {self.type} %{self.registers[v]},ptr %{address}{self.tail}")

    def _add(self, v: int, sums: list[int]) -> None:
        """Add a value to some sums."""
        for k in sums:
            address = self._address_of(self.sums + k * self.slot_size)
            self.lines.append(
                f"load {self.type},ptr %{address}{self.tail}\n"
                f"fadd {self.type} %{address + 1},%{self.registers[v]}\n"
                f"store {self.type} %{address + 2},ptr %{address}{self.tail}"
            )
            self.number += 2

    def _address(self, v: int) -> int:
        """LLVM's value for the address of the slot."""
        if self.addressed[v] != self.piece:
            self.addresses[v] = self._address_of(self.slots[v])
            self.addressed[v] = self.piece
        return self.addresses[v]

    def _address_of(self, slot: int) -> int:
        self.lines.append(f"getelementptr i8,ptr %0,i64 {slot}")
        self.number += 1
        return self.number - 1

    def _call(self, i: int) -> None:
        """Write a call of a function of vectors."""
        operation = self.tape.operations[i]
        operands = self.tape.operands[i]
        if operation == "round":
            operation = "round_to_whole"
            operands = operands[:1]
        elif operation == "hypot":
            operation = "hypot2"
        resolve = self.plan.resolve
        given = ",".join([f"{self.type} %{self._register(resolve[a])}" for a in operands])
        name = self.declared.get(operation)
        if name is None:
            name = self._declare(operation, ",".join([self.type] * len(operands)))
        self.lines.append(f"call {self.type} {name}({given})")
        if operation not in INTRINSICS:
            self.moment += 1

    def _call_in_memory(self, i: int) -> None:
        """Write a call of a function that gets operands in consecutive slots."""
        operation = self.tape.operations[i]
        ids = [self.plan.resolve[a] for a in self.tape.operands[i]]
        listed = ids[1:] if operation == "gather" else ids
        address = self._address_of(self._line_up(listed))
        place = f"ptr %{address},i64 {len(listed)}"
        if operation == "gather":
            index = self._register(ids[0])
            name = self._declare("gather", f"{self.type},ptr,i64")
            given = f"{self.type} %{index},{place}"
        elif self._called_back(i):
            if operation not in self.callbacks:
                self.callbacks.append(operation)
            number = self.callbacks.index(operation)
            name = self._declare("callback", "ptr,i64,ptr,i64,i64")
            given = f"ptr %0,i64 {number},{place},i64 {1 if self.plan.uniform[i] else 0}"
        else:
            name = self._declare(operation, "ptr,i64")
            given = place
        self.lines.append(f"call {self.type} {name}({given})")
        self.moment += 1

    def _line_up(self, values: list[int]) -> int:
        """The offset of consecutive slots with some values, where they are or copied."""
        if values:
            start = self.slots[values[0]]
            k = 0
            while k < len(values) and self.slots[values[k]] == start + k * self.slot_size:
                k += 1
            if start >= 0 and k == len(values):
                return start
        for k, v in enumerate(values):
            register = self._register(v)
            address = self._address_of(self.scratch + k * self.slot_size)
            self.lines.append(f"store {self.type} %{register},ptr %{address}{self.tail}")
        return self.scratch

    def _declare(self, operation: str, parameters: str) -> str:
        """LLVM's name of a function, declared in the module."""
        name = self.declared.get(operation)
        if name is None:
            if operation in INTRINSICS:
                name = f"@llvm.{INTRINSICS[operation]}.{self.kind}"
            else:
                name = f"@cr.{operation}{self.suffix}"
                self.functions.add(operation)
            self.declared[operation] = name
            self.declarations.append(f"declare {self.type} {name}({parameters})")
        return name
