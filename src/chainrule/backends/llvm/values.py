"""Writes values and elements of arrays in LLVM's assembly language."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from chainrule import rules
from chainrule.program.form import (
    CONSTANT,
    INPUT,
    Array,
    Compute,
    Gather,
    Index,
    Loop,
    Operand,
    Scatter,
    Statement,
)

from .data import Data
from .flags import JOINS
from .formulas import SWEEPS
from .idle import Idle
from .layout import RESULTS
from .modules import Module
from .places import Place, Places
from .shared import marked, marked_float
from .vector_math import INSTRUCTIONS, INTRINSICS, called_back
from .workspace import Memory


@dataclass(frozen=True)
class Setting:
    """What is decided about a program before its functions are written.

    Args:
        places: where values are kept.
        memory: the workspace.
        arrays: offsets of the arrays in the workspace.
        results: offsets among the outputs of the arrays that lie there instead.
        data: the numbers that the code reads.
        same: indices of inputs that are read as numbers, the same for all lanes.
        lanes: whether there are lanes; a single point's inputs are read where the caller has them.
        shared: sums that are one array for all lanes.
        scratch: offset of the slots for operands in memory.
        modules: get the functions that LLVM is not to optimize, and the others.
        sums: offsets of the sums that values are added to, and arrays that are sums themselves.
        numbers: of the operations that Python computes.
        together: how many iterations of maps to compute at a time.
        flags: statements that give flags.
        first_terms: what adds to elements that need not be loaded, as they are 0.
        only_added: arrays that begin at 0 and that all is added to, one term after the other.
        idle: loops that need not run all their iterations.
    """

    places: Places
    memory: Memory
    arrays: Mapping[Array, int]
    results: Mapping[Array, int]
    data: Data
    same: Container[Index | Gather]
    lanes: bool
    shared: Container[Array]
    scratch: int
    modules: Sequence[Module]
    sums: Mapping[Operand | Array, list[int]]
    numbers: Mapping[rules.Operation, int]
    together: int
    flags: set[Statement]
    first_terms: set[Statement]
    only_added: set[Array]
    idle: Idle


class ValueWriter:
    """Writes lines of a function that give values.

    Attributes:
        module: the module that is written to.
    """

    def __init__(self, setting: Setting) -> None:
        self.module = module = setting.modules[0]
        self._places = setting.places
        self._memory = setting.memory
        self._arrays = setting.arrays
        self._results = setting.results
        self._data = setting.data
        self._same = setting.same
        self._shared = setting.shared
        self._lanes = setting.lanes
        self._scratch = setting.scratch
        self._numbers = setting.numbers
        self._flags = setting.flags
        self._type = module.type
        self._truths = self._type.replace("double", "i1")
        self._width = module.width
        self._tail = f",align {8 * module.width}"
        self._uniform = False  # whether this is the prologue
        self._moment = 0  # counts functions and calls: what has a slot is then loaded again
        self._region = 0  # counts functions and ends of loops: registers are not known after them
        self._number = 0  # of LLVM's next value
        self._lines: list[str] = []
        self._entry = 0  # the line with which the function begins
        self._has_results = False  # whether it knows where the outputs are
        self._counters: dict[Loop, str] = {}
        self._keys: list[object] = []  # what memory of the function consists of

    def _new(self) -> str:
        """LLVM's name of the value that the line just written gives."""
        self._number += 1
        return f"%{self._number - 1}"

    def line(self, text: str) -> str:
        """Write what gives a value; gives LLVM's name of it."""
        self._lines.append(text)
        return self._new()

    def append(self, text: str) -> None:
        """Write what gives no value."""
        self._lines.append(text)

    def resolved(self, x: Operand) -> Operand:
        """The value or number that a value is the same as."""
        return self._places.same.get(x, x)  # type: ignore[arg-type]

    # Arrays

    def _index(self, index: Index, step: int = 1, start: int = 0) -> str:
        """LLVM's name of a whole number: an index times a step, and some more."""
        lines = self._lines
        constant = start + index.offset * step
        terms = []
        for loop, stride in index.strides:
            lines.append(f"mul nsw i64 {self._counters[loop]},{marked(stride * step)}")
            terms.append(self._new())
        for table, inner in index.tables:
            place, size = self._data.indices(table)
            at = self._index(inner, size, place)
            lines.append(f"getelementptr inbounds i8,ptr %d,i64 {at}")
            lines.append(f"load i{8 * size},ptr {self._new()},align {size}")
            number = self._new()
            if size == 4:
                lines.append(f"sext i32 {number} to i64")
                number = self._new()
            if step != 1:
                lines.append(f"mul nsw i64 {number},{step}")
                number = self._new()
            terms.append(number)
        if not terms:
            return marked(constant)
        total = terms[0]
        for term in terms[1:]:
            lines.append(f"add nsw i64 {total},{term}")
            total = self._new()
        if constant:
            lines.append(f"add nsw i64 {total},{marked(constant)}")
            total = self._new()
        return total

    def element(self, array: Array, index: Index) -> str:
        """LLVM's name of the address of an element."""
        if array.kind == CONSTANT:
            at = self._index(index, 8, self._data.constants(array))
            return self.line(f"getelementptr inbounds i8,ptr %d,i64 {at}")
        if array.kind == INPUT and not self._lanes:
            return self.line(f"getelementptr inbounds double,ptr %u,i64 {self._index(index)}")
        if array in self._results:
            at = self._index(index, 8, self._results[array])
            return self.line(f"getelementptr inbounds i8,ptr {self._outputs()},i64 {at}")
        step = 8 if array in self._shared else self._memory.step
        at = self._index(index, step, self._arrays[array])
        self._lines.append(f"getelementptr inbounds i8,ptr %w,i64 {at}")
        return self._new()

    def _outputs(self) -> str:
        """LLVM's name of the address of the outputs of a single point."""
        if not self._has_results:
            self._has_results = True
            field = f"getelementptr inbounds i8,ptr %w,i64 {8 * RESULTS}"
            self._lines[self._entry] += f"\n%oa = {field}\n%o = load ptr,ptr %oa,align 8"
        return "%o"

    def load(self, array: Array, index: Index) -> str:
        """LLVM's name of an element, loaded."""
        lines = self._lines
        if array.kind == CONSTANT:
            return self._splat(self.line(f"load double,ptr {self.element(array, index)},align 8"))
        if array.kind == INPUT and index in self._same:
            address = self.line(f"getelementptr inbounds double,ptr %u,i64 {self._index(index)}")
            return self._splat(self.line(f"load double,ptr {address},align 8"))
        address = self.element(array, index)
        lines.append(f"load {self._type},ptr {address}{self._tail}{self.scopes(array)}")
        return self._new()

    def _splat(self, number: str) -> str:
        """LLVM's name of the vector of equal numbers."""
        if self._width == 1:
            return number
        kind = self._type
        zeros = f"<{self._width} x i32> zeroinitializer"
        self._lines.append(f"insertelement {kind} poison,double {number},i32 0")
        self._lines.append(f"shufflevector {kind} {self._new()},{kind} poison,{zeros}")
        return self._new()

    def scopes(self, key: object) -> str:
        """What tells LLVM what a load or store does not overlap."""
        if not self._keys or key not in self._keys:
            return ""
        return self.module.scopes(key, [x for x in self._keys if x is not key])

    # Values

    def operand(self, x: Operand) -> str:
        """LLVM's name of a value or number, loaded if need be."""
        if self._places.same:
            x = self._places.same.get(x, x)  # type: ignore[arg-type]
        if isinstance(x, Statement):
            place = self._places.of[x]
        elif self.module.optimizes:
            return marked_float(x, self._width)
        else:
            place = self._memory.number(x)
        if place.slot >= 0 and place.since != self._moment:
            address = self._address(place)
            scopes = self.scopes(place.array or "values") if self._keys else ""
            self._lines.append(f"load {self._type},ptr {address}{self._tail}{scopes}")
            place.register = self._new()
            place.since = self._moment
        return place.register

    def _store(self, register: str, place: Place) -> None:
        address = self._address(place)
        scopes = self.scopes("values") if self._keys else ""
        self._lines.append(f"store {self._type} {register},ptr {address}{self._tail}{scopes}")

    def _address(self, place: Place) -> str:
        """LLVM's name of the address of a slot."""
        if self.module.optimizes:  # it will see that two addresses are the same
            return self._address_of(place.slot)
        if place.addressed != self._region:
            place.address = self._address_of(place.slot)
            place.addressed = self._region
        return place.address

    def _address_of(self, offset: int) -> str:
        self._lines.append(f"getelementptr inbounds i8,ptr %w,i64 {marked(offset)}")
        return self._new()

    def _compute(self, statement: Compute) -> None:
        """Write what computes a value: LLVM's next one."""
        operation = statement.operation
        operands = statement.operands
        name = operation.name if operation.builtin else ""
        if statement in self._flags and operation in JOINS and self.module.optimizes:
            parts = ",".join([self.truth(self.operand(x)) for x in operands])
            self.append(self.number(self.line(f"{JOINS[operation]} {self._truths} {parts}")))
            return
        instruction = INSTRUCTIONS.get(name)
        if instruction is not None:
            if len(operands) == 2:
                x, y = self.operand(operands[0]), self.operand(operands[1])
            elif self.module.optimizes:
                self._lines.append(f"fneg {self._type} {self.operand(operands[0])}")
                return
            else:
                x, y = self.operand(-0.0), self.operand(operands[0])
            self._lines.append(f"{instruction} {self._type} {x},{y}")
        elif name == "round" and operands[1] == 0.0:
            self._call("round_to_whole", operands[:1])
        elif name == "hypot" and len(operands) == 2:
            self._call("hypot2", operands)
        elif name == "gather":
            self._gather(operands)
        elif name in SWEEPS:
            self._call_in_memory(name, operands)
        elif called_back(operation):
            self._call_back(operation, operands)
        else:
            self._call(name, operands)

    def truth(self, flag: str) -> str:
        """LLVM's name of the truth value that a flag stands for."""
        return self.line(f"fcmp une {self._type} {flag},zeroinitializer")

    def number(self, truth: str) -> str:
        """What gives the flag of a truth value."""
        one = "1.0" if self._width == 1 else "splat(double 1.0)"
        return f"select {self._truths} {truth},{self._type} {one},{self._type} zeroinitializer"

    def _call(self, name: str, operands: Sequence[Operand]) -> None:
        """Write a call of a function of vectors."""
        kind = self._type
        given = ",".join([f"{kind} {self.operand(x)}" for x in operands])
        function = self.module.function(name, ",".join([kind] * len(operands)))
        self._lines.append(f"call {kind} {function}({given})")
        if name not in INTRINSICS and not self.module.optimizes:
            self._moment += 1

    def _call_in_memory(self, name: str, operands: Sequence[Operand]) -> None:
        """Write a call of a function that gets operands in consecutive slots."""
        address = self._address_of(self._line_up(operands))
        function = self.module.function(name, "ptr,i64")
        self._lines.append(f"call {self._type} {function}(ptr {address},i64 {len(operands)})")
        self._moment += 1

    def _call_back(self, operation: rules.Operation, operands: Sequence[Operand]) -> None:
        """Write a call of Python."""
        address = self._address_of(self._line_up(operands))
        function = self.module.function("callback", "ptr,i64,ptr,i64,i64")
        self._lines.append(
            f"call {self._type} {function}(ptr %w,i64 {self._numbers[operation]},"
            f"ptr {address},i64 {len(operands)},i64 {int(self._uniform)})"
        )
        self._moment += 1

    def _gather(self, operands: Sequence[Operand]) -> None:
        index, *table = operands
        numbers = [self._places.same.get(x, x) for x in table]  # type: ignore[arg-type]
        if all(isinstance(x, float) for x in numbers):
            name, step = "gather_numbers", 8
            at = self._data.numbers(numbers)  # type: ignore[arg-type]
            address = self.line(f"getelementptr inbounds i8,ptr %d,i64 {marked(at)}")
        else:
            name = "gather"
            offset, step = self._spaced(table) or (self._copied(table), self._memory.step)
            address = self._address_of(offset)
        x = self.operand(index)
        function = self.module.function(name, f"{self._type},ptr,i64,i64")
        given = f"{self._type} {x},ptr {address},i64 {marked(len(table))},i64 {marked(step)}"
        self._lines.append(f"call {self._type} {function}({given})")
        self._moment += 1

    def gather(self, x: Gather) -> str:
        """LLVM's name of one of some elements."""
        place = self.operand(x.place)
        name = "gather_numbers" if x.array.kind == CONSTANT or x in self._same else "gather"
        if x in self._same:
            first = self.line(f"getelementptr inbounds double,ptr %u,i64 {self._index(x.index)}")
        else:
            first = self.element(x.array, x.index)
        step = 8 if name == "gather_numbers" else self._memory.step
        given = f"{self._type} {place},ptr {first},i64 {marked(x.size)},i64 {step}"
        function = self.module.function(name, f"{self._type},ptr,i64,i64")
        return self._called(f"call {self._type} {function}({given})")

    def scatter(self, x: Scatter) -> None:
        """Write what adds to one of some elements."""
        kind = self._type
        place, value = self.operand(x.place), self.operand(x.value)
        first = f"ptr {self.element(x.array, x.index)},i64 {marked(x.size)}"
        kinds = f"{kind},{kind},ptr,i64"
        if x.array in self._shared:
            name, rest, more = "scatter_shared", "ptr %w", "ptr"
        else:
            name, rest, more = "scatter", f"i64 {self._memory.step}", "i64"
        given = f"{kind} {place},{kind} {value},{first},{rest}"
        function = self.module.function(name, f"{kinds},{more}")
        self._called(f"call {kind} {function}({given})")

    def _called(self, line: str) -> str:
        """Write a call; LLVM's name of what it gives."""
        register = self.line(line)
        self._moment += 1
        return register

    def _line_up(self, values: Sequence[Operand]) -> int:
        """The offset of consecutive slots with some values, where they are or copied."""
        found = self._spaced(values)
        if found is not None and found[1] == self._memory.step:
            return found[0]
        return self._copied(values)

    def _spaced(self, values: Sequence[Operand]) -> tuple[int, int] | None:
        """The offset of evenly spaced slots with some values, and of one from the one before."""
        places = [self._places.find(x) for x in values]
        slots = [-1 if place is None else place.slot for place in places]
        if not slots or min(slots) < 0:
            return None
        step = slots[1] - slots[0] if len(slots) > 1 else self._memory.step
        even = all(following - slot == step for slot, following in pairwise(slots))
        return (slots[0], step) if even else None

    def _copied(self, values: Sequence[Operand]) -> int:
        """The offset of consecutive slots that some values are copied to."""
        for k, x in enumerate(values):
            register = self.operand(x)
            address = self._address_of(self._scratch + k * self._memory.step)
            self._lines.append(f"store {self._type} {register},ptr {address}{self._tail}")
        return self._scratch
