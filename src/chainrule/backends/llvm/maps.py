"""Loops of a single point whose iterations hang on each other in sums alone: some at a time.

The loop becomes two: one whose iterations are several of the program's, on vectors, and one for the
rest. Each value is the same to the last bit, as functions of vectors give in each lane what those
of numbers give, and sums are added up in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from chainrule import rules
from chainrule.program.form import (
    CONSTANT,
    Add,
    Array,
    Carry,
    Compute,
    Index,
    Load,
    Loop,
    Operand,
    Statement,
    Store,
)
from chainrule.program.nests import substituted

from .uniform import bounds
from .vector_math import INSTRUCTIONS, INTRINSICS, is_pure, is_short

if TYPE_CHECKING:
    from .values import ValueWriter


class Sum(NamedTuple):
    """A carry that terms are added to, or subtracted from, one after the other."""

    carry: Carry
    steps: list[tuple[str, Operand]]  # instructions with what they add


class Map:
    """A loop that can be computed several iterations at a time.

    Attributes:
        loop: the loop.
        sums: its carries.
        body: what is computed on vectors.
    """

    def __init__(self, loop: Loop, sums: list[Sum], body: list[Statement]) -> None:
        self.loop = loop
        self.sums = sums
        self.body = body


def as_map(
    loop: Loop, carries: list[Carry], same: Mapping[Statement, Operand], width: int
) -> Map | None:
    """A loop as a map, if it is one for which vectors pay.

    Args:
        loop: the loop.
        carries: those of its carries that change, each another way.
        same: what values are the same as.
        width: how many iterations at a time.
    """
    if loop.trips.is_fixed and loop.trips.offset < width:
        return None
    used = [same.get(x, x) for y in loop.body for x in y.operands if isinstance(x, Statement)]
    uses = Counter([x for x in used if isinstance(x, Statement)])
    uses.update([carry.next for carry in carries if isinstance(carry.next, Statement)])
    sums = [_sum(carry, uses, set(loop.body)) for carry in carries]
    added: set[Statement] = set()
    for found in sums:
        if found is None:
            return None
        added |= found[1]
    body = [x for x in loop.body if x not in added]
    calls = any(isinstance(x, Compute) and _is_call(x) for x in body)
    tables = any(isinstance(x, (Load, Store)) and _stride(x.index, loop) is None for x in body)
    if (tables or carries) and not calls:
        return None  # it would take as long
    if not _are_independent(loop, body):
        return None
    return Map(loop, [found[0] for found in sums if found is not None], body)


def _sum(
    carry: Carry, uses: Counter[Statement], body: set[Statement]
) -> tuple[Sum, set[Statement]] | None:
    """A carry as a sum, with the statements that add to it."""
    steps: list[tuple[str, Operand]] = []
    statements: set[Statement] = set()
    x = carry.next
    while x is not carry:
        if not isinstance(x, Compute) or x not in body or uses[x] != 1:
            return None
        a, b = x.operands if len(x.operands) == 2 else (None, None)
        if x.operation is rules.add and b is not None and _leads_to(b, carry):
            a, b = b, a
        if x.operation not in (rules.add, rules.subtract) or a is None or b is None:
            return None
        steps.append((INSTRUCTIONS[x.operation.name], b))
        statements.add(x)
        x = a
    if uses[carry] != 1:
        return None
    return Sum(carry, steps[::-1]), statements


def _leads_to(x: Operand, carry: Carry) -> bool:
    """Whether a value is a carry with something added."""
    waiting = [x]
    seen: set[Operand] = set()
    while waiting:
        x = waiting.pop()
        if x is carry:
            return True
        if isinstance(x, Compute) and x.operation in (rules.add, rules.subtract) and x not in seen:
            seen.add(x)
            waiting.extend(x.operands)
    return False


def _is_call(x: Compute) -> bool:
    name = x.operation.name
    return name not in INSTRUCTIONS and name not in INTRINSICS and not is_short(name)


def _are_independent(loop: Loop, body: list[Statement]) -> bool:
    """Whether statements can run for several iterations before the next ones do."""
    accesses: list[Load | Store] = []
    for x in body:
        if isinstance(x, Compute):
            name = x.operation.name
            known = name in INSTRUCTIONS or name in INTRINSICS or is_pure(name)
            if not x.operation.builtin or not known or name == "hypot":
                return False
        elif isinstance(x, (Load, Store)):
            accesses.append(x)
        else:
            return False
    return not _may_meet(accesses)


def _may_meet(accesses: list[Load | Store]) -> bool:
    """Whether a statement may write to an element that another one reads or adds to."""
    written = {x.array for x in accesses if isinstance(x, Store)}
    ranges = [(x, *bounds(x.index)) for x in accesses if x.array in written]
    for number, (x, first, last) in enumerate(ranges):
        for y, other_first, other_last in ranges[:number]:
            apart = x.array is not y.array or last < other_first or other_last < first
            both_store = type(x) is Store and type(y) is Store  # each element once
            if not (apart or both_store or (type(x) is Load and type(y) is Load)):
                return True
    return False


def _stride(index: Index, loop: Loop) -> int | None:
    """How much further the element of the next iteration is; None if that varies."""
    if any(loop in inner.loops() for _, inner in index.tables):
        return None
    return sum([stride for other, stride in index.strides if other is loop])


class MapWriter:
    """Writes the body of a map, on vectors.

    Args:
        writer: writes what is around, and indices.
        width: how many iterations at a time.
    """

    def __init__(self, writer: ValueWriter, found: Map, width: int) -> None:
        self._writer = writer
        self._loop = found.loop
        self._map = found
        self._width = width
        self._type = f"<{width} x double>"
        self._known: dict[Statement, str] = {}
        # The lanes of the iterations: in reverse where most elements lie so.
        accesses = [x for x in found.body if isinstance(x, (Load, Store))]
        strides = [_stride(x.index, found.loop) for x in accesses]
        backwards = strides.count(-1) > strides.count(1)
        self._order = range(width)[::-1] if backwards else range(width)

    def write(self, totals: list[str]) -> list[str]:
        """Write it; gives the sums after it.

        Args:
            totals: LLVM's names of the sums before.
        """
        for statement in self._map.body:
            if isinstance(statement, Compute):
                self._known[statement] = self._compute(statement)
            elif isinstance(statement, Load):
                self._known[statement] = self._load(statement)
            else:
                assert isinstance(statement, Store)
                self._store(statement)
        return [self._add_up(x, total) for x, total in zip(self._map.sums, totals, strict=True)]

    def _line(self, text: str) -> str:
        return self._writer.line(text)

    def _operand(self, x: Operand) -> str:
        """LLVM's name of a vector; of equal numbers if x does not hang on the loop."""
        x = self._writer.resolved(x)
        if isinstance(x, float):
            return f"splat(double {self._writer.operand(x)})"
        if x not in self._known:
            return self._splat(self._writer.operand(x))
        return self._known[x]

    def _splat(self, number: str) -> str:
        one = self._line(f"insertelement {self._type} poison,double {number},i32 0")
        return self._shuffled(one, [0] * self._width)

    def _shuffled(self, vector: str, order: list[int]) -> str:
        places = ",".join([f"i32 {place}" for place in order])
        mask = f"<{self._width} x i32> <{places}>"
        return self._line(f"shufflevector {self._type} {vector},{self._type} poison,{mask}")

    def _compute(self, statement: Compute) -> str:
        name = statement.operation.name
        operands = [self._operand(x) for x in statement.operands]
        if name in INSTRUCTIONS:
            instruction = INSTRUCTIONS[name] if len(operands) == 2 else "fneg"
            return self._line(f"{instruction} {self._type} {','.join(operands)}")
        kinds = ",".join([self._type] * len(operands))
        given = ",".join([f"{self._type} {x}" for x in operands])
        function = self._writer.module.function(name, kinds, width=self._width)
        return self._line(f"call {self._type} {function}({given})")

    def _load(self, load: Load) -> str:
        if _stride(load.index, self._loop) == 0:
            return self._splat(self._writer.load(load.array, load.index))
        addresses, turned = self._addresses(load.array, load.index)
        if len(addresses) == 1:
            return self._read(load.array, addresses[0], turned)
        vector = "poison"
        for lane, address in enumerate(addresses):
            number = self._line(f"load double,ptr {address},align 8{self._scopes(load.array)}")
            vector = self._line(f"insertelement {self._type} {vector},double {number},i32 {lane}")
        return vector

    def _addresses(self, array: Array, index: Index) -> tuple[list[str], bool]:
        """The address of the elements; of each where they lie apart. Whether to turn them round."""
        stride = _stride(index, self._loop)
        if stride in (-1, 1):
            turned = (stride == -1) != (self._order[0] > 0)
            first = index if stride == 1 else index.plus(1 - self._width)
            return [self._writer.element(array, first)], turned
        loop = self._loop
        each = [substituted(index, {loop: Index(k, ((loop, 1),))}) for k in self._order]
        return [self._writer.element(array, x) for x in each], False

    def _scopes(self, array: Array) -> str:
        return "" if array.kind == CONSTANT else self._writer.scopes(array)

    def _read(self, array: Array, address: str, turned: bool) -> str:
        """Elements side by side."""
        vector = self._line(f"load {self._type},ptr {address},align 8{self._scopes(array)}")
        return self._turned(vector) if turned else vector

    def _turned(self, vector: str) -> str:
        return self._shuffled(vector, list(range(self._width))[::-1])

    def _store(self, store: Store) -> None:
        value = self._operand(store.value)
        addresses, turned = self._addresses(store.array, store.index)
        scopes = self._scopes(store.array)
        if len(addresses) == 1:
            if isinstance(store, Add):
                before = self._read(store.array, addresses[0], turned)
                value = self._line(f"fadd {self._type} {before},{value}")
            value = self._turned(value) if turned else value
            self._writer.append(f"store {self._type} {value},ptr {addresses[0]},align 8{scopes}")
            return
        for lane in self._order:  # in the order of the iterations: it may be one element
            number = self._line(f"extractelement {self._type} {value},i32 {lane}")
            if isinstance(store, Add):
                before = self._line(f"load double,ptr {addresses[lane]},align 8{scopes}")
                number = self._line(f"fadd double {before},{number}")
            self._writer.append(f"store double {number},ptr {addresses[lane]},align 8{scopes}")

    def _add_up(self, found: Sum, total: str) -> str:
        """Add the terms of the iterations, one after the other."""
        terms = [(instruction, self._operand(x)) for instruction, x in found.steps]
        for lane in self._order:
            for instruction, vector in terms:
                term = self._line(f"extractelement {self._type} {vector},i32 {lane}")
                total = self._line(f"{instruction} double {total},{term}")
        return total
