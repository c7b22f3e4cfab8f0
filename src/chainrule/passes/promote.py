"""Promotion: elements of arrays become values that iterations hand on.

An array is memory that all iterations of a loop, and the reverse pass, see. Where only the next
iterations read what one has stored, a carry does; where a loop only adds to an element, the sum is
a carry until it is complete; and what is read after a loop of what its last iteration has stored is
the last value of a carry. Arrays that nobody reads any more go.

Each sum has the same terms in the same order as before.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy

from chainrule import rules
from chainrule.program import nests
from chainrule.program.builder import Builder
from chainrule.program.elements import Elements, Mask, meet
from chainrule.program.form import (
    READS,
    SUMS,
    VALUES,
    Add,
    Array,
    Carry,
    Compute,
    Gather,
    Index,
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

from .aliases import Aliases, Canonical, aliases
from .kept import without_unread
from .rebuild import Rebuilding
from .single_terms import stored_once
from .unroll import unrolled

FARTHEST: Final = 4  # iterations over which a value is handed on
LARGEST: Final = 1 << 24  # elements of an array that are looked at


def promoted(program: Program, reduce: Sequence[bool] = ()) -> Program:
    """The program with carries, as the last pass before code.

    Args:
        program: without segments; it stays as it is.
        reduce: for each output whether it is added up over lanes, from 0 on; by default none is.
    """
    loops = [x for x in statements(program.body) if isinstance(x, Loop)]
    if not loops or any(loop.carries for loop in loops):
        return program
    program = unrolled(program)
    indices = Canonical()
    same_elements = aliases(program, indices, _added_up(program, reduce))
    outputs = [same_elements.slice(x) if isinstance(x, Slice) else x for x in program.outputs]
    same = Program(program.inputs, program.body, outputs, program.guards)
    return stored_once(without_unread(_Promotion(same, indices, same_elements).finished()))


def _added_up(program: Program, reduce: Sequence[bool]) -> set[Array]:
    """The arrays that nothing reads but outputs that are added up."""
    found: set[Array] = set()
    others = {x.array for x in statements(program.body) if isinstance(x, READS)}
    place = 0
    for output in program.outputs if any(reduce) else ():
        size = 1
        if isinstance(output, Slice):
            size = output.size
            (found if all(reduce[place : place + size]) else others).add(output.array)
        place += size
    return found - others


class Group:
    """The statements that write to the same element of an array.

    Attributes:
        array: the array.
        index: the element.
        place: the loop in whose body the element is the same; None for the program's body.
        left: how many of the statements are still to come in a run of that body.
        count: how many there are.
        value: the element so far.
        plain: whether all of them stand in that body itself.
        summed: whether the sum is kept as a value until it is complete.
        flags: whether what is added is one number, 0 or 1.
    """

    def __init__(self, array: Array, index: Index, place: Loop | None) -> None:
        self.array = array
        self.index = index
        self.place = place
        self.count = 0
        self.left = 0
        self.value: Operand = 0.0
        self.plain = True
        self.summed = False
        self.flags = False

    @property
    def is_followed(self) -> bool:
        """Whether its value is known when the body is over."""
        return self.summed if self.array.kind == SUMS else self.plain


class Recurrence:
    """An element that iterations of a loop hand on to the next ones.

    Attributes:
        group: what writes it, in the body of the loop.
        stride: of the loop, in the index.
        distance: how many iterations later it is read at most.
    """

    def __init__(self, group: Group, stride: int, distance: int) -> None:
        self.group = group
        self.stride = stride
        self.distance = distance
        self.carries: list[Carry] = []


class _Promotion(Rebuilding):
    def __init__(self, program: Program, indices: Canonical, same_elements: Aliases) -> None:
        super().__init__(program, Builder(program.inputs, program.guards, final=True))
        self._indices = indices
        self._nests = nests.Nests()
        self._aliases = same_elements
        self._around: dict[Statement, nests.Path] = {}
        self._groups: dict[tuple[Array, Index], Group] = {}
        self._of: dict[Statement, Group] = {}
        self._stores: dict[Array, list[tuple[Store, nests.Path]]] = defaultdict(list)
        self._at: dict[Loop | None, list[Group]] = defaultdict(list)  # by their place
        self._in: dict[Loop, list[Group]] = defaultdict(list)  # that are added to somewhere in it
        self._read: dict[tuple[Loop, Array], list[Load]] = defaultdict(list)  # somewhere in it
        self._written: dict[Array, Mask] = {}  # elements of SUMS arrays
        self._known: dict[tuple[Array, Index], Operand] = {}  # in the open loops
        self._flags: set[Carry] = set()
        self._by_value: set[tuple[Loop, Array]] = set()  # read so somewhere in the loop
        self._scattered: set[Array] = set()
        self._recurrences: dict[Loop, list[Recurrence]] = defaultdict(list)
        for statement, around in nests.paths(program.body):
            self._survey(statement, around)
        self._find_sums()
        for x in statements(program.body):
            if isinstance(x, Load):
                self._find_recurrence(x)

    def finished(self) -> Program:
        """The whole program, built again."""
        self._open(None)
        return super().finished()

    # What there is

    def _survey(self, x: Statement, around: nests.Path) -> None:
        self._around[x] = around
        if isinstance(x, Load) and x.array.kind == SUMS:
            for loop in around:
                self._read[loop, x.array].append(x)
        elif isinstance(x, Gather):
            array, _ = self._aliases.original(x.array, x.index)
            self._by_value.update([(loop, array) for loop in around])
        elif isinstance(x, Scatter):
            self._scattered.add(x.array)
        elif isinstance(x, Store) and x.array not in self._aliases:
            self._join(x, around)

    def _join(self, store: Store, around: nests.Path) -> None:
        """Put a statement into its group."""
        index = self._indices.of(store.index)
        group = self._groups.get((store.array, index))
        if group is None:
            asked = index.loops()
            place = next((loop for loop in reversed(around) if loop in asked), None)
            group = self._groups[store.array, index] = Group(store.array, index, place)
            self._at[place].append(group)
        group.count += 1
        group.plain = group.plain and group.place is (around[-1] if around else None)
        group.flags = group.count == 1 and group.plain and self._is_flag(store.value)
        self._of[store] = group
        self._stores[store.array].append((store, around))
        for loop in reversed(around):
            if loop is group.place:
                break
            if group not in self._in[loop]:
                self._in[loop].append(group)

    def _find_sums(self) -> None:
        """Find arrays of which no two groups write to the same element."""
        groups: dict[Array, list[Group]] = defaultdict(list)
        for group in self._groups.values():
            if group.array.kind == SUMS:
                groups[group.array].append(group)
        early = self._read_early()
        for array, found in groups.items():
            if array.size > LARGEST or array in early or array in self._scattered:
                continue
            written = numpy.zeros(array.size, dtype=numpy.bool_)
            written_at = [self._elements(x.index, self._inside(x.place)) for x in found]
            if all(elements.mark_once(written) for elements in written_at):
                self._written[array] = written
                for group in found:
                    group.summed = True

    def _read_early(self) -> set[Array]:
        """Arrays of which a loop reads an element that it has added to: the sum must be there."""
        found: set[Array] = set()
        for loop, groups in self._in.items():
            found.update([x.array for x in groups if (loop, x.array) in self._by_value])
            sums: dict[tuple[Array, Loop | None], list[Group]] = defaultdict(list)
            for group in groups:
                if (loop, group.array) in self._read:
                    sums[group.array, group.place].append(group)
            for (array, place), added in sums.items():
                around = self._inside(place)
                reads = [(x.index, self._around[x][len(around) :]) for x in self._read[loop, array]]
                if meet(reads, [(x.index, ()) for x in added], around):
                    found.add(array)
        return found

    def _inside(self, place: Loop | None) -> nests.Path:
        """The loops around a body, by its loop."""
        return () if place is None else (*self._around[place], place)

    def _elements(self, index: Index, path: nests.Path) -> Elements:
        return Elements(index, path, 1, self._nests.numbers)

    def _find_recurrence(self, load: Load) -> None:
        """Whether earlier iterations of the innermost loop that it hangs on have stored it."""
        array, index = self._aliases.original(load.array, load.index)
        if array.kind not in (VALUES, SUMS):
            return
        asked = index.loops()
        loop = next((x for x in reversed(self._around[load]) if x in asked), None)
        stride = dict(index.strides).get(loop, 0) if loop is not None else 0
        if loop is None or not stride or any(loop in x.loops() for _, x in index.tables):
            return
        for distance in range(1, FARTHEST + 1):
            group = self._groups.get((array, index.plus(distance * stride)))
            if group is not None and group.place is loop:
                if self._is_known(loop, group, stride, distance, load):
                    self._hand_on(loop, group, stride, distance)
                return

    def _is_known(self, loop: Loop, group: Group, stride: int, distance: int, load: Load) -> bool:
        """Whether what the first iterations read is there when the loop begins."""
        if not group.is_followed or self._least(loop) < distance:
            return False
        around = self._around[load]
        if any(self._least(x) < 1 for x in around[around.index(loop) + 1 :]):
            return False  # maybe nothing is read
        outer = self._around[loop]
        stored = [
            (store.index, path[len(outer) :])
            for store, path in self._stores[group.array]
            if loop in path and self._of[store] is not group
        ]
        begin = nests.substituted(group.index, {loop: Index()})
        begins = [(begin.plus(-x * stride), ()) for x in range(1, distance + 1)]
        return not stored or not meet(begins, stored, outer)

    def _hand_on(self, loop: Loop, group: Group, stride: int, distance: int) -> None:
        for recurrence in self._recurrences[loop]:
            if recurrence.group is group:
                recurrence.distance = max(recurrence.distance, distance)
                return
        self._recurrences[loop].append(Recurrence(group, stride, distance))

    def _least(self, loop: Loop) -> int:
        """The least trip count of a loop."""
        if loop.trips.is_fixed:
            return loop.trips.offset
        return int(self._nests.numbers(loop.trips, self._around[loop]).min(initial=FARTHEST))

    # Building

    def _open(self, loop: Loop | None) -> None:
        """Begin a run of a body."""
        for group in self._at[loop]:
            group.left = group.count
            group.value = group.array.start

    def statement(self, statement: Statement) -> None:
        """Build a statement."""
        if isinstance(statement, Store) and statement.array in self._aliases:
            return
        if isinstance(statement, Load) and statement.array.kind in (VALUES, SUMS):
            self.values[statement] = self._load(statement.array, statement.index)
        elif isinstance(statement, Store) and statement in self._of:
            self._store(statement, self._of[statement])
        else:
            super().statement(statement)
            if isinstance(statement, Compute) and statement.operation is rules.not_equal:
                x, zero = [self.value(operand) for operand in statement.operands]
                if zero == 0.0 and self._is_flag(x):
                    self.values[statement] = x

    def element(self, array: Array, index: Index, user: Statement) -> tuple[Array, Index]:
        """The element where it comes from."""
        return super().element(*self._aliases.original(array, index), user)

    def _load(self, array: Array, index: Index) -> Operand:
        array, index = self._aliases.original(array, index)
        known = self._known.get((array, index))
        if known is not None:
            return known
        written = self._written.get(array)
        exists = index.is_fixed and 0 <= index.offset < array.size
        if exists and written is not None and not written[index.offset]:
            return array.start
        return self.builder.load(self.array(array), self.index(index))

    def _store(self, store: Store, group: Group) -> None:
        """Keep what is stored; put a sum into its array when it is complete."""
        group.left -= 1
        value = self.value(store.value)
        if not isinstance(store, Add):
            group.value = value
            super().statement(store)
        elif not group.summed:
            super().statement(store)
            return
        else:
            group.value = self._added(group.value, value)
            if group.left == 0 and self._depth_of(group) == self.builder.depth:
                self._complete(group)

    def _depth_of(self, group: Group) -> int:
        """How many loops are around the body that a group belongs to, with its own."""
        return 0 if group.place is None else len(self._around[group.place]) + 1

    def _complete(self, group: Group) -> None:
        index = self.index(group.index)
        self.builder.add(group.array, index, group.value)
        self.builder.know(group.array, index, group.value)

    def _added(self, total: Operand, value: Operand) -> Operand:
        if total == 0.0 and isinstance(total, float) and self._is_flag(value):
            return value
        return self.builder.compute(rules.add, (total, value))

    def _is_flag(self, x: Operand) -> bool:
        """Whether it is surely 0 or 1."""
        if isinstance(x, float):
            return x in (0.0, 1.0) and math.copysign(1.0, x) > 0.0
        if isinstance(x, Compute):
            if x.operation is rules.where:
                return all(self._is_flag(y) for y in x.operands[1:])
            return x.operation in rules.COMPARISONS
        return x in self._flags

    def loop(self, loop: Loop) -> None:
        """Build a loop with carries."""
        recurrences = self._recurrences[loop]
        for recurrence in recurrences:
            self._begin(loop, recurrence)
        sums = [group for group in self._in[loop] if group.summed]
        totals = [Carry(group.value) for group in sums]
        for carry, group in zip(totals, sums, strict=True):
            carry.messages = group.array.is_of_messages
        stored = []
        if self._least(loop) > 0:
            stored = [group for group in self._at[loop] if group.is_followed]
        lasts = [Carry(0.0) for _ in stored]
        self._open(loop)
        before, self._known = self._known, dict(self._known)
        with self.builder.loop(self.index(loop.trips)) as new:
            new.name, new.checkpoints = loop.name, loop.checkpoints
            self.loops[loop] = new
            for recurrence in recurrences:
                group = recurrence.group
                for distance, carry in enumerate(recurrence.carries, 1):
                    self.builder.carry(carry)
                    at = group.index.plus(-distance * recurrence.stride)
                    self._known[group.array, at] = carry
            for group, carry in zip(sums, totals, strict=True):
                self.builder.carry(carry)
                group.value = carry
            self.body(loop.body)
            for recurrence in recurrences:
                following = recurrence.group.value
                for carry in recurrence.carries:
                    carry.next, following = following, carry
            for group, carry in zip(sums, totals, strict=True):
                carry.next = group.value
            for group, carry in zip(stored, lasts, strict=True):
                self.builder.carry(carry)
                carry.next = group.value
        self._known = before
        for group, carry in zip(sums, totals, strict=True):
            group.value = self.builder.last(new, carry)
            if group.left == 0 and self._depth_of(group) == self.builder.depth:
                self._complete(group)
        for group, carry in zip(stored, lasts, strict=True):
            at = nests.substituted(group.index, {loop: loop.trips.plus(-1)})
            last = self.builder.last(new, carry)
            self._known[group.array, self._indices.of(at)] = last

    def _begin(self, loop: Loop, recurrence: Recurrence) -> None:
        """Make the carries of a recurrence."""
        group = recurrence.group
        recurrence.carries = []
        for distance in range(1, recurrence.distance + 1):
            at = group.index.plus(-distance * recurrence.stride)
            at = nests.substituted(at, {loop: Index()})
            written = self._written.get(group.array)
            initial: Operand = group.array.start
            if written is None or self._elements(at, self._around[loop]).any_in(written):
                initial = self._load(group.array, at)
            carry = Carry(initial)
            recurrence.carries.append(carry)
            if group.flags and self._is_flag(initial):
                self._flags.add(carry)
