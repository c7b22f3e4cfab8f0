"""Writes the functions of a program in LLVM's assembly language."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from chainrule.program.form import (
    READS,
    WRITES,
    Add,
    Array,
    Carry,
    Compute,
    Gather,
    Guard,
    Index,
    Last,
    Load,
    Loop,
    Operand,
    Scatter,
    Statement,
    Store,
    statements,
)

from .first_terms import Zero
from .idle import Ending
from .modules import Module
from .pieces import Nest, Piece
from .places import Place, compared
from .shared import marked, marked_float
from .values import Setting, ValueWriter

if TYPE_CHECKING:
    from .idle import Begins, Ends
    from .maps import Map

MOST_SCOPES: Final = 30  # arrays of a function that LLVM is told about


class Writer(ValueWriter):
    """Writes functions."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._modules = setting.modules
        self._sums = setting.sums
        self._together = setting.together
        self.first_terms = setting.first_terms
        self._only_added = setting.only_added
        self.idle = setting.idle
        # Vectors on the stack that lie in two lines of the cache would take several times as long.
        widest = max(self._width, self._together)
        self._aligned = f" alignstack({8 * widest})" if widest > 2 else ""
        self._functions = 0  # that are called by others
        self._label = 0  # counts loops and guards of a function
        self._block = ""

    def part(self, nest: Nest, name: str) -> None:
        """Write the prologue, or the rest."""
        self._uniform = name == "prologue"
        if len(nest.parts) == 1 and isinstance(nest.parts[0], Piece):
            self._piece(nest.parts[0], name)
        else:
            self._nest(nest, name)
        if self._uniform:
            self._memory.keep_all()

    # Functions

    def _nest(self, nest: Nest, name: str) -> bool:
        """Write a function that calls others; whether it may tell to stop."""
        loop = nest.loop
        memory, of = self._memory, self._places.of
        if loop is not None:
            for carry in self._places.carries[loop]:
                of[carry].slot = memory.slot()
        called: list[tuple[str, bool]] = []
        for part in nest.parts:
            inner = f"f{self._functions}"
            self._functions += 1
            if isinstance(part, Nest):
                called.append((inner, self._nest(part, inner)))
            else:
                called.append((inner, self._piece(part, inner)))
            memory.give_back(self._places.dying.get(part, ()))
        stops = any(stop for _, stop in called)
        around = [] if nest.outer is None else nest.outer.loops
        self._begin(name, around, stops, self._modules[0])
        if loop is None:
            self._calls(called, around)
        else:
            self._outer_loop(loop, called, around)
        self._end(stops)
        self.module.cost += 4 * len(called)
        return stops

    def _outer_loop(
        self, loop: Loop, called: Sequence[tuple[str, bool]], around: Sequence[Loop]
    ) -> None:
        of = self._places.of
        carries = [of[carry] for carry in self._places.carries[loop]]
        self._copy([carry.initial for carry in self._places.carries[loop]], carries)
        with self._loop(loop):
            self._calls(called, [*around, loop])
            self._copy([carry.next for carry in self._places.carries[loop]], carries)

    def _copy(self, values: Sequence[Operand], places: Sequence[Place]) -> None:
        """Store values in slots, once all are read."""
        registers = [self.operand(x) for x in values]
        for register, place in zip(registers, places, strict=True):
            self._store(register, place)

    def _calls(self, called: Sequence[tuple[str, bool]], loops: Sequence[Loop]) -> None:
        """Call functions, as long as none says to stop."""
        given = ",".join(
            ["ptr %w,ptr %d,ptr %s,ptr %u", *[f"i64 {self._counters[x]}" for x in loops]]
        )
        kinds = ",".join(["ptr,ptr,ptr,ptr", *["i64"] * len(loops)])
        for name, stops in called:
            result = "i1" if stops else "void"
            self.module.declare(name, result, kinds)
            self._lines.append(f"call {result} @{name}({given})")
            self._moment += 1
            if stops:
                self._stop_if(self._new())

    def _piece(self, piece: Piece, name: str) -> bool:
        """Write a function of statements; whether it may tell to stop."""
        stops = any(isinstance(x, Guard) for x in statements(piece.body))
        around = piece.outer.loops
        self._begin(name, around, stops, self._modules[piece.optimized])
        if piece.optimized:
            self._keys = self._memory_of(piece)
        self._body(piece.body)
        self._end(stops)
        self.module.cost += piece.cost
        return stops

    def _memory_of(self, piece: Piece) -> list[object]:
        found: dict[object, None] = {"values": None}
        for statement in statements(piece.body):
            if isinstance(statement, (*READS, *WRITES, Zero)):
                found[statement.array] = None
            for x in statement.operands:
                place = self._places.of.get(x) if isinstance(x, Statement) else None
                if place is not None and place.array is not None:
                    found[place.array] = None
        return list(found)[:MOST_SCOPES]

    def _begin(self, name: str, around: Sequence[Loop], stops: bool, module: Module) -> None:
        module.begin(name)
        self.module = module
        self._lines = module.lines
        self._moment += 1
        self._region += 1
        self._number = self._label = 0
        self._block = "e"
        self._keys = []
        self._entry = len(self._lines)
        self._has_results = False
        self._counters = {loop: f"%i{k}" for k, loop in enumerate(around)}
        counters = "".join([f",i64 %i{k}" for k in range(len(around))])
        self._lines.append(
            f"define {'i1' if stops else 'void'} @{name}"
            f"(ptr noalias %w,ptr noalias %d,ptr noalias %s,ptr noalias %u{counters})"
            f"nounwind{self._aligned}{{\ne:"
        )

    def _end(self, stops: bool) -> None:
        self._lines.append("ret i1 false\nstop:\nret i1 true}" if stops else "ret void}")

    def _stop_if(self, condition: str) -> None:
        label = f"g{self._label}"
        self._label += 1
        self._lines.append(f"br i1 {condition},label %stop,label %{label}\n{label}:")
        self._block = label

    # Statements

    def _body(self, body: Sequence[Statement]) -> None:
        asked, same, of = self._places.asked, self._places.same, self._places.of
        for statement in body:
            if type(statement) is Compute:
                if statement not in asked and statement not in same:
                    self._compute(statement)
                    register = self._new()
                    self._keep(of[statement], register)
                    if statement in self._sums:
                        self._add_to_sums(register, self._sums[statement])
            elif isinstance(statement, Loop):
                self._inner_loop(statement)
            elif isinstance(statement, Load):
                if statement not in same and of[statement].home is not None:
                    register = self.load(statement.array, statement.index)
                    self._keep(of[statement], register)
            elif isinstance(statement, Gather):
                self._keep(of[statement], self.gather(statement))
            elif isinstance(statement, Store):
                self._write(statement)
            elif isinstance(statement, Scatter):
                self.scatter(statement)
            elif isinstance(statement, Guard):
                self._guard(statement)
            elif isinstance(statement, Last):
                pass  # the carry itself
            else:
                assert isinstance(statement, Zero), statement
                for first, count in statement.ranges:
                    if count:
                        self._zero(statement.array, first, count)

    def _keep(self, place: Place, register: str) -> None:
        """Note where a value is; put it into a slot if others read it."""
        place.register = register
        place.since = self._moment
        if place.kept or place.reader is not None:
            place.slot = self._memory.slot()
            self._store(register, place)

    def _inner_loop(self, loop: Loop) -> None:
        """Write a loop with its body."""
        of = self._places.of
        kept = self._places.carries[loop]
        carries = [of[carry] for carry in kept]
        initial = [self.operand(carry.initial) for carry in kept]
        truths = [k for k, x in enumerate(kept) if x in self._flags and self.module.optimizes]
        start = "0"
        begins = self.idle.begins.get(loop)
        if begins is not None:

            def counts() -> str:
                self._slice(begins.asked)
                return self._in_any(begins.goes_on)

            def following_of(begins: Begins) -> list[str]:
                self._slice(begins.left)
                return [self.operand(begins.following[carry]) for carry in kept]

            start, initial = self.begin_late(
                loop, initial, carries, counts, lambda: following_of(begins)
            )
        found = None
        left = True  # whether iterations are left for after the map
        if self._together > 1 and self.module.optimizes and not loop.checkpoints:
            from .maps import as_map  # here, as code over lanes and without loops has no maps

            found = as_map(loop, self._places.carries, self._places.same, self._together)
        if found is not None:
            left = start != "0" or not loop.trips.is_fixed
            left = left or loop.trips.offset % self._together != 0
            start, initial = self._map_loop(found, start, initial, carries)
        if left:
            together, self._together = self._together, 1 if found is not None else self._together
            for k in truths:
                initial[k] = self.truth(initial[k])
            ends = self.idle.ends.get(loop) if found is None else None
            ending = None if ends is None else self._ending(ends)
            with self._loop(
                loop, initial, carries, start, truths=truths, ending=ending
            ) as following:
                self._body(loop.body)
                following += [self.operand(carry.next) for carry in kept]
                for k in truths:
                    following[k] = self.truth(following[k])
            self._together = together
        for place in carries:  # the last values
            self._keep(place, place.register)

    def begin_late(
        self,
        loop: Loop,
        initial: Sequence[str],
        carries: Sequence[Place],
        counts: Callable[[], str],
        left: Callable[[], list[str]],
        kind: str = "",
    ) -> tuple[str, list[str]]:
        """Write what is left of first iterations; gives the first that counts, and the carries.

        Args:
            loop: the loop.
            initial: what its carries begin with.
            carries: their places.
            counts: writes whether an iteration counts.
            left: writes what is left of one that does not; gives the carries after it.
            kind: their type.
        """
        exit = f"x{self._label}"
        with self._loop(loop, initial, carries, kind=kind) as following:
            start = self._counters[loop]
            condition, here = counts(), f"r{self._label}"
            self._label += 1
            self._lines.append(f"br i1 {condition},label %{exit},label %{here}\n{here}:")
            self._block = here
            following += left()
        return start, [place.register for place in carries]

    def _slice(self, body: Sequence[Statement]) -> None:
        """Write some values."""
        of = self._places.of
        for x in body:
            if isinstance(x, Compute) and x not in of and x not in self._places.same:
                of[x] = Place(None)  # one that is not the program's
        self._body(body)

    def _in_any(self, x: Operand) -> str:
        """LLVM's name of whether a flag is 1 in any lane."""
        truth = self.truth(self.operand(x))
        if self._width == 1:
            return truth
        bits = self.line(f"bitcast {self._truths} {truth} to i{self._width}")
        return self.line(f"icmp ne i{self._width} {bits},0")

    def _end_early(self, loop: Loop, ending: Ending, following: str, trips: str) -> str:
        """Write what is left to do once no iteration counts; gives LLVM's name of the next one."""
        counts, here = ending.counts(), self._block
        label, counter = self._label, self._counters[loop]
        self._label += 1
        self._lines.append(f"br i1 {counts},label %c{label},label %e{label}\ne{label}:")
        self._block = f"e{label}"
        if ending.fills:
            with self._loop(loop, start=following, end=trips):
                ending.fill()
            self._counters[loop] = counter
        self._lines.append(f"br label %c{label}\nc{label}:")
        end, self._block = self._block, f"c{label}"
        return self.line(f"phi i64[{following},%{here}],[{trips},%{end}]")

    def _ending(self, ends: Ends) -> Ending:
        def fill() -> None:
            for store in ends.filled:
                self._write(store)

        return Ending(lambda: self._in_any(ends.goes_on), bool(ends.filled), fill)

    def _map_loop(
        self, found: Map, start: str, initial: list[str], carries: Sequence[Place]
    ) -> tuple[str, list[str]]:
        """Write most iterations of a map; gives that to go on with, and the carries there."""
        from .in_common import InCommon
        from .map_writer import MapWriter

        trips = self._index(found.loop.trips)
        common = InCommon(found.loop, self.carries, self.resolved)
        flag = found.goes_on_by(self.resolved, self.may_add_zero)
        flags = [] if flag is None else [carries[self.carries[found.loop].index(flag)]]
        for vectors in found.vectors(self._together, common):
            step = vectors * self._together
            if start == "0":
                end = self.line(f"and i64 {trips},{-step}")
            else:
                whole = self.line(f"and i64 {self.line(f'sub i64 {trips},{start}')},{-step}")
                end = self.line(f"add i64 {start},{whole}")
            with self._loop(
                found.loop, initial, carries, start, end, step, flags=flags
            ) as following:
                written = MapWriter(self, found, common, self._together, vectors, flag)
                following += written.write([place.register for place in carries])
            start, initial = end, [place.register for place in carries]
        return start, initial

    def may_add_zero(self, add: Add) -> bool:
        """Whether 0.0 changes nothing where it is added: a sum from 0.0 on is never -0.0."""
        return add.array in self._only_added and add not in self.first_terms

    @property
    def carries(self) -> Mapping[Loop, list[Carry]]:
        """The carries of loops that change, each another way."""
        return self._places.carries

    def first_of(
        self,
        cases: Sequence[tuple[str, Callable[[], list[str]]]],
        default: Callable[[], list[str]],
        kinds: Sequence[str],
    ) -> list[str]:
        """Write the first of some cases whose condition is true; gives the values of that one.

        Args:
            cases: conditions, and what writes values.
            default: writes those for no case.
            kinds: types of the values.
        """
        label = self._label
        self._label += 1
        come: list[tuple[list[str], str]] = []
        for k, (condition, write) in enumerate(cases):
            here, there = f"t{label}.{k}", f"o{label}.{k}"
            self._lines.append(f"br i1 {condition},label %{here},label %{there}\n{here}:")
            self._block = here
            come.append((write(), self._block))
            self._lines.append(f"br label %j{label}\n{there}:")
            self._block = there
        come.append((default(), self._block))
        self._lines.append(f"br label %j{label}\nj{label}:")
        self._block = f"j{label}"
        self._moment += 1  # what was loaded in one of them is not there after it
        return [
            self.line(f"phi {kind} " + ",".join([f"[{x[k]},%{block}]" for x, block in come]))
            for k, kind in enumerate(kinds)
        ]

    @contextmanager
    def inner_loop(
        self,
        loop: Loop,
        initial: Sequence[str],
        kind: str,
        start: str,
        ending: Ending | None,
    ) -> Iterator[tuple[list[str], list[str]]]:
        """Write a loop in a map; gives LLVM's names of its carries, and takes what they are next.

        Args:
            loop: the loop.
            initial: what the carries begin with.
            kind: their type.
            start: the first iteration.
            ending: how it may end early.
        """
        carries = [Place(None) for _ in initial]
        with self._loop(loop, initial, carries, start, kind=kind, ending=ending) as following:
            yield [place.register for place in carries], following

    @contextmanager
    def _loop(
        self,
        loop: Loop,
        initial: Sequence[str] = (),
        carries: Sequence[Place] = (),
        start: str = "0",
        end: str = "",
        step: int = 1,
        kind: str = "",
        truths: Sequence[int] = (),
        flags: Sequence[Place] = (),
        ending: Ending | None = None,
    ) -> Iterator[list[str]]:
        """Write a loop; inside its body is written, and what carries are next is given.

        It ends where one of some flags among its carries is 0.
        """
        lines = self._lines
        trips = end or self._index(loop.trips)
        before, label = self._block, self._label
        self._label += 1
        lines.append(f"br label %h{label}\nh{label}:")
        head = len(lines)
        lines += [""] * (1 + len(carries))  # written when it is known what follows
        counter = self._new()
        for place in carries:
            place.register = self._new()
            place.since = self._moment
        for k in truths:
            carries[k].register = self.line(self.number(carries[k].register))
        goes_on = self.line(f"icmp slt i64 {counter},{trips}")
        for place in flags:
            goes_on = self.line(f"and i1 {goes_on},{self.truth(place.register)}")
        lines.append(f"br i1 {goes_on},label %b{label},label %x{label}\nb{label}:")
        self._block = f"b{label}"
        self._counters[loop] = counter
        following: list[str] = []
        yield following
        next_one = self.line(f"add nuw nsw i64 {counter},{step}")
        if ending is not None:
            next_one = self._end_early(loop, ending, next_one, trips)
        lines[head] = f"phi i64[{start},%{before}],[{next_one},%{self._block}]"
        for k, (first, then) in enumerate(zip(initial, following, strict=True), 1):
            of = self._truths if k - 1 in truths else kind or self._type
            lines[head + k] = f"phi {of}[{first},%{before}],[{then},%{self._block}]"
        lines.append(f"br label %h{label}\nx{label}:")
        self._block = f"x{label}"
        self._moment += 1  # what was loaded in the body is not there after it
        self._region += 1
        del self._counters[loop]

    def _guard(self, guard: Guard) -> None:
        condition = guard.condition
        operands = compared(condition, self._places.asked)
        relation = "not_equal"
        if condition in self._places.asked:
            assert isinstance(condition, Compute)
            relation = condition.operation.name
        x, y = [self.operand(operand) for operand in operands]
        kind = self._type
        name = self.module.function(f"guard_{relation}", f"ptr,{kind},{kind},i64,i64", "i1")
        number = self._index(guard.number)
        self._lines.append(
            f"call i1 {name}(ptr %s,{kind} {x},{kind} {y},i64 {number},i64 {marked(guard.outcome)})"
        )
        if not self.module.optimizes:
            self._moment += 1
        self._stop_if(self._new())

    def _write(self, store: Store) -> None:
        value = self.operand(store.value)
        address = self.element(store.array, store.index)
        tail = f"{self._tail}{self.scopes(store.array)}"
        if isinstance(store, Add) or store.array in self._sums:
            before = "zeroinitializer"
            if store not in self.first_terms:
                before = self.line(f"load {self._type},ptr {address}{tail}")
            value = self.line(f"fadd {self._type} {before},{value}")
        self._lines.append(f"store {self._type} {value},ptr {address}{tail}")

    def _zero(self, array: Array, first: int, count: int) -> None:
        """Set elements of an array to what they are at first."""
        step = self._memory.step
        if self._width * 8 == step and str(array.start) == "0.0":
            self.module.declare("llvm.memset.p0.i64", "void", "ptr,i8,i64,i1")
            address = self.element(array, Index(first))
            self._lines.append(
                f"call void @llvm.memset.p0.i64(ptr align 8 {address},i8 0,"
                f"i64 {marked(count * step)},i1 false)"
            )
            self._moment += 1
            return
        loop = Loop(Index(count))
        with self._loop(loop):
            address = self.element(array, Index(first, ((loop, 1),)))
            number = marked_float(array.start, self._width)
            self._lines.append(f"store {self._type} {number},ptr {address}{self._tail}")

    def _add_to_sums(self, register: str, sums: Sequence[int]) -> None:
        """Add a value to some sums."""
        for offset in sums:
            address = self._address_of(offset)
            self._lines.append(f"load {self._type},ptr {address}{self._tail}")
            self._lines.append(f"fadd {self._type} {self._new()},{register}")
            total = self._new()
            self._lines.append(f"store {self._type} {total},ptr {address}{self._tail}")
