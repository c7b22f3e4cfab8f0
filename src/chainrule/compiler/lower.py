"""From a tape to LLVM's assembly language, cut into pieces.

A piece is a function of some hundred instructions: LLVM's compile time is linear in their number,
and its stack small. It gets the address of a workspace, in which each value that another piece
reads has a slot; slots are used again after the last piece that reads them. At its start the
workspace holds the position of each lane in the call and the handle of the kernel, for callbacks.

Only + - * / are instructions, loads and stores aside. Everything else is a call of a vector
function (see vector_math), because LLVM's fast instruction selection translates just these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from chainrule.compiler.layout import HEADER_SLOTS, SLOT
from chainrule.compiler.machine import Machine
from chainrule.compiler.vector_math import CALLED_BACK, INSTRUCTIONS, INTRINSICS, SWEEPS
from chainrule.rules import Operation

PIECE_COST: Final = 250  # instructions of a piece, about
CALL_COST: Final = 3
MODULE_PIECES: Final = 64  # pieces compiled at a time: what LLVM needs grows with them

_ALIASES: Final = ("stop_gradient", "identity")
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
        "logical_and",
        "logical_or",
        "logical_not",
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
    """A lowered tape: code, and where the workspace holds what.

    Offsets are in bytes from the start of the workspace.

    Args:
        modules: texts of LLVM's assembly language.
        prologue: number of pieces (``u0``, ``u1``, …) that compute what depends on uniform inputs.
        pieces: number of pieces (``p0``, ``p1``, …) that compute the rest for a block.
        size: bytes of the workspace.
        constants: offsets and numbers to put there.
        input_offset: offset of the first input; the others follow, a slot each.
        outputs: offsets of the outputs.
        guards: for each guard: number of pieces after which it and those before it are known,
            offset, number of the guard, value that the trace relies on.
        functions: the vector functions it calls.
        callbacks: the operations it calls back for, in the order of their numbers.
        watch: whether a NaN among the outputs means that absolute zeros must be spelled out.
        watch_all: whether that holds for lanes whose guards fail, too.
    """

    modules: list[str]
    prologue: int
    pieces: int
    size: int
    constants: list[tuple[int, float]]
    input_offset: int
    outputs: list[int]
    guards: list[tuple[int, int, int, float]]
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
    fast: list[bool]  # an azmul that may be a plain multiplication
    counts: list[int] = field(default_factory=list)  # pieces of the prologue and of the rest


def lower(
    tape: TapeLike,
    uniform: Sequence[bool],
    lanes: bool,
    machine: Machine,
    careful: bool = False,
) -> Program:
    """Code for a tape.

    Args:
        tape: the program, simplified.
        uniform: for each input whether it is the same for all lanes.
        lanes: whether to compute blocks of lanes, else a single point.
        machine: what to compile for.
        careful: spell every absolute zero out. Otherwise 0 * infinity may give NaN, where that NaN
            is bound to reach an output.
    """
    if not lanes:
        uniform = [False] * tape.n_inputs
    plan = _plan(tape, uniform, lanes, careful)
    return _Writer(tape, plan, lanes, machine).write()


def _plan(tape: TapeLike, uniform_inputs: Sequence[bool], lanes: bool, careful: bool) -> _Plan:
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
    for i in range(count):
        operation = operations[i]
        if operation == "constant":
            uniform[i] = lanes
            continue
        if operation == "input":
            uniform[i] = uniform_inputs[operands[i][0]]
            continue
        if operation in _ALIASES:
            resolve[i] = resolve[operands[i][0]]
            continue
        same = lanes
        for a in operands[i]:
            if not uniform[resolve[a]]:
                same = False
                break
        uniform[i] = same
        part = 0 if same else 1
        cost = 1 if operation in INSTRUCTIONS else CALL_COST + 2 * len(operands[i])
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
    for v in tape.outputs:
        forever[resolve[v]] = True
    for v, _ in tape.guards:
        forever[resolve[v]] = True
    fast = _observed(tape, resolve)
    if careful:
        fast = [False] * count
    return _Plan(resolve, uniform, piece, last, forever, fast, counts)


def _observed(tape: TapeLike, resolve: list[int]) -> list[bool]:
    """For each value whether a NaN there is bound to be seen in an output."""
    operations = tape.operations
    observed = [False] * len(operations)
    for v in tape.outputs:
        observed[resolve[v]] = True
    for i in range(len(operations) - 1, -1, -1):
        if observed[i] and operations[i] not in _LAX and operations[i] not in tape.user:
            for a in tape.operands[i] if operations[i] not in ("input", "constant") else ():
                observed[resolve[a]] = True
    return observed


def _guarded(tape: TapeLike, plan: _Plan) -> bool:
    """Whether a guard depends on an absolute zero that is not spelled out."""
    operations = tape.operations
    needed = [False] * len(operations)
    for v, _ in tape.guards:
        needed[plan.resolve[v]] = True
    for i in range(len(operations) - 1, -1, -1):
        if needed[i] and operations[i] not in ("input", "constant"):
            if operations[i] == "azmul" and plan.fast[i]:
                return True
            for a in tape.operands[i]:
                needed[plan.resolve[a]] = True
    return False


class _Writer:
    """Writes the code of one program."""

    def __init__(self, tape: TapeLike, plan: _Plan, lanes: bool, machine: Machine) -> None:
        self.tape = tape
        self.plan = plan
        self.lanes = lanes
        self.width = machine.width if lanes else 1
        self.slot_size = SLOT if lanes else 8
        self.alignment = 8 * self.width
        self.type = f"<{self.width} x double>" if lanes else "double"
        self.suffix = f".{self.width}.{machine.tag}"
        self.functions: set[str] = set()
        self.callbacks: list[str] = []
        self.modules: list[str] = []
        self.lines: list[str] = []
        self.modules_head: list[str] = []
        self.pieces_in_module = MODULE_PIECES  # the first piece begins a module
        self.minus_zero = 0  # offset of the constant -0.0, for negation
        self.declared: dict[str, str] = {}
        self.slots = [-1] * len(tape.operations)  # offset of each value, -1: none
        self.free: list[int] = []
        self.top = HEADER_SLOTS * self.slot_size
        self.scratch = 0

    def write(self) -> Program:
        """The program."""
        tape, plan = self.tape, self.plan
        constants = self._place_constants()
        input_offset = self.top
        self.top += tape.n_inputs * self.slot_size
        for i, operation in enumerate(tape.operations):
            if operation == "input":
                self.slots[i] = input_offset + tape.operands[i][0] * self.slot_size
        most = max(
            [
                len(tape.operands[i])
                for i, operation in enumerate(tape.operations)
                if operation not in ("input", "constant") and self._in_memory(i)
            ],
            default=0,
        )
        self.scratch = self.top
        self.top += most * self.slot_size
        self._write_part(True)
        self.free = []  # what the prologue leaves must stay
        self._write_part(False)
        self._end_module()
        slots = [self.slots[r] for r in plan.resolve]
        guards = []
        needed = 0
        for number, (v, outcome) in enumerate(tape.guards):
            value = plan.resolve[v]
            if not plan.uniform[value]:
                needed = max(needed, plan.piece[value] + 1)
            guards.append((needed, slots[v], number, 1.0 if outcome else 0.0))
        watch = any(
            operation == "azmul" and plan.fast[i] for i, operation in enumerate(tape.operations)
        )
        return Program(
            modules=self.modules,
            prologue=plan.counts[0],
            pieces=plan.counts[1],
            size=self.top,
            constants=constants,
            input_offset=input_offset,
            outputs=[slots[v] for v in tape.outputs],
            guards=guards,
            functions=sorted(self.functions),
            callbacks=self.callbacks,
            watch=watch,
            watch_all=watch and _guarded(tape, plan),
        )

    def _place_constants(self) -> list[tuple[int, float]]:
        constants = []
        for i, number in self.tape.constants.items():
            self.slots[i] = self._new_slot()
            constants.append((self.slots[i], number))
        if "negative" in self.tape.operations:
            self.minus_zero = self._new_slot()
            constants.append((self.minus_zero, -0.0))
        return constants

    def _new_slot(self) -> int:
        slot = self.top
        self.top += self.slot_size
        return slot

    def _called_back(self, i: int) -> bool:
        operation = self.tape.operations[i]
        if operation == "round" and self._to_whole(i):
            return False
        return operation in self.tape.user or operation in CALLED_BACK

    def _in_memory(self, i: int) -> bool:
        """Whether its function gets operands in consecutive slots."""
        operation = self.tape.operations[i]
        if operation in SWEEPS:
            return operation != "hypot" or len(self.tape.operands[i]) != 2
        return operation == "gather" or self._called_back(i)

    def _to_whole(self, i: int) -> bool:
        """Whether a rounding is to no decimals."""
        return self.tape.constants.get(self.tape.operands[i][1]) == 0.0

    # Writing pieces

    def _write_part(self, prologue: bool) -> None:
        """Write the pieces of the prologue or of the rest."""
        operations = self.tape.operations
        operands = self.tape.operands
        resolve = self.plan.resolve
        uniform = self.plan.uniform
        piece_of = self.plan.piece
        last = self.plan.last
        forever = self.plan.forever
        fast = self.plan.fast
        slots = self.slots
        free = self.free
        vector = self.type
        align = self.alignment
        letter = "u" if prologue else "p"
        pieces = self.plan.counts[0 if prologue else 1]
        dying: list[list[int]] = [[] for _ in range(pieces)]
        names = [0] * len(operations)  # LLVM's number of the value
        since = [0] * len(operations)  # when it was put into a register
        now = 0  # counts pieces and calls: what has a slot is loaded again after a call
        piece = -1
        n = 0
        lines = self.lines
        for i in range(len(operations)):
            if piece_of[i] < 0 or uniform[i] != prologue:
                continue
            if piece_of[i] != piece:
                if piece >= 0:
                    self._end_piece(free, dying[piece])
                piece = piece_of[i]
                lines = self._begin_piece(f"{letter}{piece}")
                n = 2
                now += 1
            operation = operations[i]
            given_ids = operands[i]
            if operation == "round" and self._to_whole(i):
                operation = "round_to_whole"
                given_ids = given_ids[:1]
            elif operation == "hypot" and len(given_ids) == 2:
                operation = "hypot2"
            instruction = INSTRUCTIONS.get(operation)
            if instruction is None and operation == "azmul" and fast[i]:
                instruction = "fmul"
            if self._in_memory(i):
                ids = [resolve[a] for a in operands[i]]
                n = self._write_in_memory(i, ids, names, since, now, n)
                now += 1
                names[i] = n - 1
            else:
                registers = []
                for a in given_ids:
                    b = resolve[a]
                    slot = slots[b]
                    if slot >= 0 and since[b] != now:
                        lines.append(
                            f"getelementptr i8,ptr %0,i64 {slot}\n"
                            f"load {vector},ptr %{n},align {align}"
                        )
                        names[b] = n + 1
                        since[b] = now
                        n += 2
                    registers.append(names[b])
                if instruction is not None:
                    if operation == "negative":
                        lines.append(
                            f"getelementptr i8,ptr %0,i64 {self.minus_zero}\n"
                            f"load {vector},ptr %{n},align {align}"
                        )
                        n += 2
                        registers.insert(0, n - 1)
                        lines.append(f"fsub {vector} %{registers[0]},%{registers[1]}")
                    else:
                        lines.append(f"{instruction} {vector} %{registers[0]},%{registers[1]}")
                else:
                    if operation in INTRINSICS:
                        function = self._intrinsic(operation, len(registers))
                    else:
                        function = self._function(operation, len(registers))
                        now += 1
                    given = ",".join([f"{vector} %{register}" for register in registers])
                    lines.append(f"call {vector} {function}({given})")
                names[i] = n
                n += 1
            since[i] = now
            if forever[i] or last[i] >= 0:
                if free:
                    slot = free.pop()
                else:
                    slot = self.top
                    self.top += self.slot_size
                slots[i] = slot
                if not forever[i]:
                    dying[last[i]].append(slot)
                lines.append(
                    f"getelementptr i8,ptr %0,i64 {slot}\n"
                    f"store {vector} %{names[i]},ptr %{n},align {align}"
                )
                n += 1
        if piece >= 0:
            self._end_piece(free, dying[piece])
        self.pieces_in_module = MODULE_PIECES  # the two parts never share a module

    def _write_in_memory(
        self, i: int, ids: list[int], names: list[int], since: list[int], now: int, n: int
    ) -> int:
        """Write a call of a function that gets its operands in consecutive slots.

        Returns the next free number of a value; the one before is that of the result.
        """
        operation = self.tape.operations[i]
        lines = self.lines
        slots = self.slots
        vector = self.type
        step = self.slot_size
        listed = ids[1:] if operation == "gather" else ids
        start = slots[listed[0]] if listed else -1
        in_place = start >= 0 and all(slots[b] == start + k * step for k, b in enumerate(listed))
        if not in_place:
            start = self.scratch
            for k, b in enumerate(listed):
                if slots[b] >= 0 and since[b] != now:
                    lines.append(
                        f"getelementptr i8,ptr %0,i64 {slots[b]}\n"
                        f"load {vector},ptr %{n},align {self.alignment}"
                    )
                    names[b] = n + 1
                    since[b] = now
                    n += 2
                lines.append(
                    f"getelementptr i8,ptr %0,i64 {start + k * step}\n"
                    f"store {vector} %{names[b]},ptr %{n},align {self.alignment}"
                )
                n += 1
        lines.append(f"getelementptr i8,ptr %0,i64 {start}")
        address = n
        n += 1
        count = len(listed)
        if operation == "gather":
            b = ids[0]
            if slots[b] >= 0 and since[b] != now:
                lines.append(
                    f"getelementptr i8,ptr %0,i64 {slots[b]}\n"
                    f"load {vector},ptr %{n},align {self.alignment}"
                )
                names[b] = n + 1
                n += 2
            name = self._declare("gather", f"{vector},ptr,i64")
            lines.append(f"call {vector} {name}({vector} %{names[b]},ptr %{address},i64 {count})")
        elif self._called_back(i):
            if operation not in self.callbacks:
                self.callbacks.append(operation)
            number = self.callbacks.index(operation)
            name = self._declare("callback", "ptr,i64,ptr,i64,i64")
            same = 1 if self.plan.uniform[i] else 0
            lines.append(
                f"call {vector} {name}(ptr %0,i64 {number},ptr %{address},i64 {count},i64 {same})"
            )
        else:
            name = self._declare(operation, "ptr,i64")
            lines.append(f"call {vector} {name}(ptr %{address},i64 {count})")
        return n + 1

    def _function(self, operation: str, arity: int) -> str:
        """LLVM's name of a vector function."""
        name = self.declared.get(operation)
        if name is None:
            name = self._declare(operation, ",".join([self.type] * arity))
        return name

    def _intrinsic(self, operation: str, arity: int) -> str:
        """LLVM's name of one of its own functions."""
        name = self.declared.get(operation)
        if name is None:
            kind = f"v{self.width}f64" if self.lanes else "f64"
            name = f"@llvm.{INTRINSICS[operation]}.{kind}"
            self.declared[operation] = name
            parameters = ",".join([self.type] * arity)
            self.modules_head.append(f"declare {self.type} {name}({parameters})")
        return name

    def _declare(self, operation: str, parameters: str) -> str:
        name = f"@cr.{operation}{self.suffix}"
        if operation not in self.declared:
            self.declared[operation] = name
            self.functions.add(operation)
            self.modules_head.append(f"declare {self.type} {name}({parameters})")
        return name

    def _begin_piece(self, name: str) -> list[str]:
        if self.pieces_in_module >= MODULE_PIECES:
            self._end_module()
            self.modules_head = []
            self.declared = {}
            self.pieces_in_module = 0
        self.pieces_in_module += 1
        self.lines.append(f"define void @{name}(ptr){{")
        return self.lines

    def _end_piece(self, free: list[int], dying: list[int]) -> None:
        self.lines.append("ret void}")
        free.extend(dying)

    def _end_module(self) -> None:
        if self.lines:
            self.modules.append("\n".join(self.modules_head + self.lines))
        self.lines = []
