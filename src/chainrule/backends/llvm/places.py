"""Where the values of a program are kept while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from chainrule.program.form import (
    CONSTANT,
    Array,
    Carry,
    Compute,
    Gather,
    Guard,
    Last,
    Load,
    Loop,
    Operand,
    Program,
    Slice,
    Statement,
    statements,
)
from chainrule.rules import Operation

from .guards import RELATIONS
from .pieces import Nest, Piece, Unit
from .vector_math import copies


class Place:
    """What is known of a value, or of a number in memory, while code is written.

    Attributes:
        home: the unit that computes it; None for what lies in memory from the start.
        reader: the last unit that reads its slot, of those beside its home; None if none does.
        kept: whether its slot is read later than that.
        slot: offset in the workspace, -1 for none.
        array: the array of whose elements it is one.
        register: LLVM's name for it.
        since: the moment when it was put into the register.
        address: LLVM's name for the address of the slot.
        addressed: the function in which that holds.
    """

    __slots__ = (
        "address",
        "addressed",
        "array",
        "home",
        "kept",
        "reader",
        "register",
        "since",
        "slot",
    )

    def __init__(self, home: Unit | None, slot: int = -1, array: Array | None = None) -> None:
        self.home = home
        self.reader: Unit | None = None
        self.kept = False
        self.slot = slot
        self.array = array
        self.register = ""
        self.since = 0
        self.address = ""
        self.addressed = 0


class Places:
    """The places of all values.

    Args:
        program: the program.
        parts: it, cut into pieces.
        arrays: offsets of the arrays in the workspace.
        step: bytes of a slot.
        kept: values that are read after all parts have run.

    Attributes:
        of: the places.
        same: what is equal to another value or to a number.
        carries: those of each loop that are not the same as something else.
        asked: comparisons that only guards ask for: no value is made of them.
        dying: for units the values that are read for the last time in them.
    """

    def __init__(
        self,
        program: Program,
        parts: Sequence[Nest],
        arrays: dict[Array, int],
        step: int,
        kept: Iterable[Operand],
    ) -> None:
        self._arrays = arrays
        self._step = step
        self.of: dict[Statement, Place] = {}
        self.carries: dict[Loop, list[Carry]] = {}
        self.same: dict[Statement, Operand] = {}
        self.asked = _only_asked(program)
        for part in parts:
            self._nest(part)
        for x in kept:
            place = self.find(x)
            if place is not None:
                place.kept = True
        self.dying: dict[Unit, list[Place]] = {}
        for place in self.of.values():
            if place.reader is not None and not place.kept:
                self.dying.setdefault(place.reader, []).append(place)

    def find(self, x: Operand) -> Place | None:
        """The place of a value; None for a number."""
        x = self.same.get(x, x) if self.same else x  # type: ignore[arg-type]
        return self.of[x] if isinstance(x, Statement) else None

    def _nest(self, nest: Nest) -> None:
        loop = nest.loop
        if loop is not None:
            self._find_carries(loop)
            for carry in self.carries[loop]:
                self._use([carry.initial], nest)
                place = self.of[carry] = Place(nest)
                place.reader = nest
        for part in nest.parts:
            if isinstance(part, Nest):
                self._nest(part)
            else:
                self._body(part.body, part)
        if loop is not None:
            self._use([carry.next for carry in self.carries[loop]], nest)

    def _find_carries(self, loop: Loop) -> None:
        """Find carries that do not change, or are the same as others."""
        known: dict[Any, Carry] = {}
        kept = []
        for carry in loop.carries:
            initial = self.same.get(carry.initial, carry.initial)  # type: ignore[arg-type]
            first = known.setdefault((_key(initial), _key(carry.next)), carry)
            if carry.next is carry:
                self.same[carry] = initial
            elif first is not carry:
                self.same[carry] = self.same.get(first, first)  # that may not change
            else:
                kept.append(carry)
        self.carries[loop] = kept

    def _body(self, body: Sequence[Statement], piece: Piece) -> None:
        of = self.of
        for statement in body:
            if type(statement) is Compute:
                if statement in self.asked:
                    continue
                if copies(statement.operation):
                    self._alias(statement, statement.operands[0])
                    continue
                self._use(statement.operands, piece)
                of[statement] = Place(piece)
            elif isinstance(statement, Loop):
                self._find_carries(statement)
                for carry in self.carries[statement]:
                    self._use([carry.initial], piece)
                    of[carry] = Place(piece)
                self._body(statement.body, piece)
                self._use([carry.next for carry in self.carries[statement]], piece)
            elif isinstance(statement, Load):
                self._load(statement, piece)
            elif isinstance(statement, Gather):
                self._use(statement.operands, piece)
                of[statement] = Place(piece)
            elif isinstance(statement, Last):
                self._alias(statement, statement.carry)
            elif isinstance(statement, Guard):
                self._use(compared(statement.condition, self.asked), piece)
            else:
                self._use(statement.operands, piece)

    def _alias(self, statement: Statement, x: Operand) -> None:
        self.same[statement] = self.same.get(x, x) if isinstance(x, Statement) else x

    def _load(self, load: Load, piece: Piece) -> None:
        """What has a fixed index is read where it is used."""
        if not load.index.is_fixed:
            self.of[load] = Place(piece)
        elif load.array.kind == CONSTANT:
            assert load.array.data is not None
            at = load.index.offset
            runs = 0 <= at < load.array.size  # else it stands where nothing runs
            self.same[load] = float(load.array.data[at]) if runs else 0.0
        else:
            slot = self._arrays[load.array] + load.index.offset * self._step
            self.of[load] = Place(None, slot, load.array)

    def _use(self, operands: Iterable[Operand], unit: Unit) -> None:
        of = self.of
        for x in operands:
            if self.same:
                x = self.same.get(x, x)  # type: ignore[arg-type]
            if not isinstance(x, Statement):
                continue
            place = of[x]
            home = place.home
            if home is unit or home is None:
                continue
            reader: Unit | None = unit
            while reader is not None and reader.outer is not home.outer:
                reader = reader.outer
            if reader is None or (reader is home and isinstance(reader, Piece)):
                place.kept = True  # of another part of the program
            else:
                place.reader = reader


def compared(condition: Operand, asked: Any) -> Sequence[Operand]:
    """The values that a guard on a condition compares."""
    if isinstance(condition, Compute) and condition in asked:
        return condition.operands
    return (condition, 0.0)


def _key(x: Operand) -> Any:
    return (x.hex(), "number") if isinstance(x, float) else x


def _is_comparison(operation: Operation) -> bool:
    return operation.builtin and operation.name in RELATIONS


def _only_asked(program: Program) -> set[Statement]:
    """Comparisons that only guards ask for."""
    found: set[Any] = set()
    if not program.guards:
        return found
    for statement in statements(program.body):
        if isinstance(statement, Guard):
            found.add(statement.condition)
    found = {x for x in found if isinstance(x, Compute) and _is_comparison(x.operation)}
    if found:
        for statement in statements(program.body):
            if not isinstance(statement, Guard):
                found.difference_update(statement.operands)
            if isinstance(statement, Loop):
                found.difference_update([carry.next for carry in statement.carries])
        found.difference_update([x for x in program.outputs if not isinstance(x, Slice)])
    return found
