"""Writes the body of a map in LLVM's assembly language, on vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from chainrule import rules
from chainrule.program.form import (
    CONSTANT,
    Add,
    Array,
    Carry,
    Compute,
    Index,
    Last,
    Load,
    Loop,
    Operand,
    Statement,
    Store,
    statements,
)
from chainrule.program.nests import substituted

from .chains import Chain
from .idle import Ending
from .in_common import InCommon, needed_flag
from .independence import stride_of
from .maps import Map, Sum
from .places import Place
from .shared import marked, marked_float
from .vector_math import INSTRUCTIONS, copies

if TYPE_CHECKING:
    from .writer import Writer


WIDEST: Final = 8
"""The width of vectors of which a factor may be one number in memory."""

ROWS: Final = 3
"""Sums side by side of which such factors pay: with fewer, loads take longer than products."""

_RELATIONS: Final = {
    "less": ("oge", "olt"),
    "less_equal": ("ogt", "ole"),
    "greater": ("ole", "ogt"),
    "greater_equal": ("olt", "oge"),
}
"""When a comparison is 0, and when it is 1: of what is no number it is neither."""


class MapWriter:
    """Writes the body of a map, on vectors.

    Args:
        writer: writes what is around, and indices.
        found: the map.
        common: what its iterations have in common.
        width: how many iterations a vector has.
        vectors: how many vectors to compute side by side.
        flag: without which nothing is done, if there is one.
    """

    def __init__(
        self,
        writer: Writer,
        found: Map,
        common: InCommon,
        width: int,
        vectors: int,
        flag: Carry | None,
    ) -> None:
        self._writer = writer
        self._goes_on_by = flag
        self._loop = found.loop
        self._map = found
        self._width = width
        self._type = f"<{width} x double>"
        self._all_known: list[dict[Operand, str]] = [{} for _ in range(vectors)]
        self._known = self._all_known[0]
        self._first = 0  # iteration of the vector that is computed
        self._stored: dict[tuple[Array, Index], str] = {}  # what has just been stored
        self._common = common
        self._numbers: dict[Operand, str] = {}  # what is the same for all iterations, computed
        self._loads: set[Statement] = set()  # those of an inner loop without stores
        self._apart: list[str] = []  # for each vector a 0, of which LLVM does not know that it is
        # The lanes of the iterations: in reverse where most elements lie so.
        accesses = [x for x in statements(found.body) if isinstance(x, (Load, Store))]
        strides = [stride_of(x.index, found.loop) for x in accesses]
        backwards = strides.count(-1) > strides.count(1)
        self._order = range(width)[::-1] if backwards else range(width)

    def write(self, totals: list[str]) -> list[str]:
        """Write it; gives the sums after it.

        Args:
            totals: LLVM's names of the sums before.
        """
        before = dict(zip(self._map.sums, totals, strict=True))
        flag = self._goes_on_by
        found = None if flag is None else self._map.handed_on(flag, self._writer.resolved)
        if flag is None or found is None:
            return self._steps(before)
        self._body(found.needed)
        bits = [self._is(x, True) for x in found.ones] + [self._is(x, False) for x in found.zeros]
        handed_on = self._line(f"fcmp oeq double {before[flag]},1.0")
        for x in bits:
            handed_on = self._line(f"and i1 {handed_on},{self._in_all(x)}")
        after = [before[found.after[carry]] for carry in before]
        cases = [(handed_on, lambda: after)]
        return self._writer.first_of(cases, lambda: self._steps(before), ["double"] * len(after))

    def _is(self, x: Operand, truth: bool) -> str:
        """In which lanes a value is 1, or 0."""
        if isinstance(x, Compute) and x.operation.name in _RELATIONS:
            relation = _RELATIONS[x.operation.name][truth]
            given = [self._operand(y) for y in x.operands]
        else:
            relation, given = "oeq", [self._operand(x), self._operand(float(truth))]
        return self._line(f"fcmp {relation} {self._type} {','.join(given)}")

    def _steps(self, before: dict[Carry, str]) -> list[str]:
        """Write all; gives the sums after it."""
        following: dict[Carry, str] = {}
        for step in self._map.steps:
            if isinstance(step, Chain):
                handed_on = self._handed_on
                if step.is_scan:
                    handed_on = self._scan
                elif step.is_flag:
                    handed_on = self._flag
                elif step.is_message:
                    handed_on = self._message
                following.update(handed_on(step, {x: before[x] for x in step.carries}))
            elif isinstance(step, Carry):
                following[step] = self._moved(step, self._operand(step.next), before[step])
            else:
                self._body([step])
        for carry, found in self._map.sums.items():
            if found is not None:
                total = before[carry]
                for _ in self._each():
                    total = self._add_up(found, total)
                following[carry] = total
        return [following[carry] for carry in self._map.sums]

    def _each(self) -> Iterator[int]:
        """The vectors side by side, one after the other."""
        for place, known in enumerate(self._all_known):
            self._known, self._first = known, place * self._width
            yield place

    def _moved(self, carry: Carry, following: str, first: str) -> str:
        """Find the vector of a carry from that of the next values; gives the last of these."""
        self._known[carry] = self._one_on(following, first)
        return self._line(f"extractelement {self._type} {following},i32 {self._order[-1]}")

    def _one_on(self, vector: str, first: str) -> str:
        """A vector moved to the next iterations, with a number for the first one."""
        order = list(self._order)
        places = [order[order.index(lane) - 1] for lane in range(self._width)]
        moved = self._shuffled(vector, places)
        return self._line(f"insertelement {self._type} {moved},double {first},i32 {order[0]}")

    def _handed_on(self, chain: Chain, before: dict[Carry, str]) -> dict[Carry, str]:
        """Hand carries on from iteration to iteration; gives what they are next."""
        carries = chain.carries
        now: dict[Operand, str] = dict(before.items())
        lanes: dict[Statement, dict[int, str]] = {x: {} for x in (*carries, *chain.body)}
        for lane in self._order:
            for carry in carries:
                lanes[carry][lane] = now[carry]
            for x in chain.body:
                operands = [self._in_lane(y, lane, now) for y in x.operands]
                lanes[x][lane] = now[x] = self._written(x, operands, "double", 1)
            nexts = [self._in_lane(carry.next, lane, now) for carry in carries]
            now = dict(zip(carries, nexts, strict=True))
        for handed_on, numbers in lanes.items():
            vector = "poison"
            for lane, number in numbers.items():
                vector = self._line(
                    f"insertelement {self._type} {vector},double {number},i32 {lane}"
                )
            self._known[handed_on] = vector
        return {carry: now[carry] for carry in carries}

    def _in_lane(self, x: Operand, lane: int, now: dict[Operand, str]) -> str:
        """LLVM's name of a value in a lane."""
        x = self._writer.resolved(x)
        if x in now:
            return now[x]
        if x not in self._known:
            return self._number(x)
        return self._line(f"extractelement {self._type} {self._known[x]},i32 {lane}")

    def _scan(self, chain: Chain, before: dict[Carry, str]) -> dict[Carry, str]:
        """The largest or smallest number so far, in each lane; gives that of the last one."""
        ((carry, first),), (x,) = before.items(), chain.body
        operands = [self._writer.resolved(y) for y in x.operands]
        (found,) = [self._operand(y) for y in operands if y is not carry]
        every = self._splat(first)

        def from_lane_to_lane() -> list[str]:
            so_far = self._so_far(found, lambda before, now: self._vector(x, [now, before]))
            last = self._line(f"extractelement {self._type} {so_far},i32 {self._order[-1]}")
            return [
                self._vector(x, [every, so_far]),
                self._written(x, [first, last], "double", 1),
            ]

        relation = "olt" if x.operation is rules.maximum else "ogt"
        none_is_more = self._all(relation, found, every)
        self._known[x], last = self._mostly(none_is_more, [every, first], from_lane_to_lane)
        self._known[carry] = self._one_on(self._known[x], first)
        return {carry: last}

    def _mostly(
        self, condition: str, usual: list[str], otherwise: Callable[[], list[str]]
    ) -> list[str]:
        """A vector and a number that need not wait for each other where a condition holds."""
        return self._writer.first_of(
            [(condition, lambda: usual)], otherwise, [self._type, "double"]
        )

    def _so_far(self, found: str, joined: Callable[[str, str], str]) -> str:
        """What joins the numbers of a vector up to each lane, of which one may count twice."""
        order = list(self._order)
        step = 1
        while step < self._width:
            places = [order[max(order.index(lane) - step, 0)] for lane in range(self._width)]
            found = joined(self._shuffled(found, places), found)
            step *= 2
        return found

    def _flag(self, chain: Chain, before: dict[Carry, str]) -> dict[Carry, str]:
        """Whether no number so far was 0."""
        ((carry, first),), (x, following) = before.items(), chain.body
        number = self._operand(x.operands[1])
        zero = self._operand(0.0)
        every = self._splat(first)

        def from_lane_to_lane() -> list[str]:
            found = self._vector(following, [number, zero])
            found = self._so_far(found, lambda before, now: self._vector(x, [before, now, zero]))
            found = self._vector(x, [every, found, zero])
            return [found, self._line(f"extractelement {self._type} {found},i32 {self._order[-1]}")]

        none_is_zero = self._all("une", number, zero)
        found, last = self._mostly(none_is_zero, [every, first], from_lane_to_lane)
        self._known[following] = found
        self._known[carry] = self._one_on(found, first)
        none = self._operand(x.operands[2])  # may be -0.0
        self._known[x] = self._vector(x, [self._known[carry], number, none])
        return {carry: last}

    def _message(self, chain: Chain, before: dict[Carry, str]) -> dict[Carry, str]:
        """A message: mostly all of it goes on, or nothing does."""
        ((carry, first),), (x,) = before.items(), chain.body
        reached, factor = self._operand(x.operands[0]), self._operand(x.operands[2])
        zero, one = self._operand(0.0), self._operand(1.0)
        whole = self._line(
            f"and i1 {self._all('one', reached, zero)},{self._all('oeq', factor, one)}"
        )
        nothing = self._all("oeq", reached, zero)

        def part_by_part() -> list[str]:
            last = self._handed_on(chain, before)[carry]
            return [self._known[x], last]

        cases = [(whole, lambda: [self._splat(first), first]), (nothing, lambda: [zero, "0.0"])]
        kinds = [self._type, "double"]
        self._known[x], last = self._writer.first_of(cases, part_by_part, kinds)
        self._known[carry] = self._one_on(self._known[x], first)
        return {carry: last}

    def _all(self, relation: str, x: str, y: str) -> str:
        """Whether a relation holds in all lanes."""
        return self._in_all(self._line(f"fcmp {relation} {self._type} {x},{y}"))

    def _in_all(self, bits: str) -> str:
        """Whether a condition holds in all lanes."""
        number = self._line(f"bitcast <{self._width} x i1> {bits} to i{self._width}")
        return self._line(f"icmp eq i{self._width} {number},-1")

    def _body(self, body: Sequence[Statement]) -> None:
        for x in body:
            if isinstance(x, Loop):
                self._inner_loop(x)
                continue
            if self._common.has(x) and isinstance(x, (Compute, Load)):
                self._once(x)
                continue
            for _ in self._each():
                if isinstance(x, Compute):
                    if not copies(x.operation):
                        self._known[x] = self._compute(x)
                elif isinstance(x, Load):
                    self._known[x] = self._load(x)
                elif isinstance(x, Store):
                    self._store(x)
                else:
                    assert isinstance(x, Last)  # the carry itself

    def _inner_loop(self, loop: Loop) -> None:
        """A loop that runs as often in all iterations; not at all where it adds only zeros."""
        writer = self._writer
        flag = needed_flag(loop, writer.carries, writer.resolved, writer.may_add_zero)
        if flag is None:
            self._repeated(loop)
            return
        zero = self._operand(0.0)
        needless = "true"
        for _ in self._each():
            none = self._all("oeq", self._operand(flag), zero)
            needless = self._line(f"and i1 {needless},{none}")

        def repeated() -> list[str]:
            self._repeated(loop)
            return []

        writer.first_of([(needless, lambda: [])], repeated, [])

    def _repeated(self, loop: Loop) -> None:
        """A loop that runs as often in all iterations."""
        carries = self._writer.carries[loop]
        initial = [self._operand(carry.initial) for _ in self._each() for carry in carries]
        self._stored.clear()
        stores = any(isinstance(x, Store) for x in statements(loop.body))
        several = len(self._all_known) > 1 and len(carries) >= ROWS
        if self._width == WIDEST and several and not stores:
            position = "load volatile i64,ptr %w,align 8"  # of the only point: see layout
            self._apart = ["0", *[self._line(position) for _ in self._all_known[1:]]]
            self._loads = {x for x in loop.body if isinstance(x, Load)}
        start, initial = self._begin_late(loop, initial)
        inner = self._writer.inner_loop(loop, initial, self._type, start, self._ending(loop))
        with inner as (registers, following):
            self._set(carries, registers)
            self._inner_body(loop.body)
            following += [self._operand(carry.next) for _ in self._each() for carry in carries]
        self._loads = set()
        self._stored.clear()

    def _set(self, carries: Sequence[Carry], registers: Sequence[str]) -> None:
        """Note the carries of an inner loop, those of each vector after another."""
        for k in self._each():
            own = registers[k * len(carries) : (k + 1) * len(carries)]
            self._known.update(zip(carries, own, strict=True))

    def _begin_late(self, loop: Loop, initial: list[str]) -> tuple[str, list[str]]:
        """What is left of the first iterations of an inner loop, if it may begin late."""
        begins = self._writer.idle.begins.get(loop)
        if begins is None:
            return "0", initial
        carries, body = self._writer.carries[loop], set(loop.body)
        places = [Place(None) for _ in initial]

        def counts() -> str:
            self._set(carries, [x.register for x in places])
            self._body(begins.asked)
            return self._in_any(begins.goes_on)

        def left() -> list[str]:
            for x in begins.left:
                if x in body:
                    self._body([x])
                    continue
                assert isinstance(x, Compute)
                for _ in self._each():
                    self._known[x] = self._compute(x)
            after = begins.following
            return [self._operand(after[carry]) for _ in self._each() for carry in carries]

        found = self._writer.begin_late(loop, initial, places, counts, left, self._type)
        self._stored.clear()
        return found

    def _ending(self, loop: Loop) -> Ending | None:
        """How an inner loop ends early, if it may."""
        ends = self._writer.idle.ends.get(loop)
        if ends is None:
            return None

        def fill() -> None:
            for store in ends.filled:
                for _ in self._each():
                    self._store(store)

        return Ending(lambda: self._in_any(ends.goes_on), bool(ends.filled), fill)

    def _in_any(self, flag: Operand) -> str:
        """Whether a flag is 1 in any lane of any vector."""
        zero = self._operand(0.0)
        found = "false"
        for _ in self._each():
            bits = self._line(f"fcmp une {self._type} {self._operand(flag)},{zero}")
            number = self._line(f"bitcast <{self._width} x i1> {bits} to i{self._width}")
            counts = self._line(f"icmp ne i{self._width} {number},0")
            found = self._line(f"or i1 {found},{counts}")
        return found

    def _once(self, x: Compute | Load) -> None:
        """What is the same for all iterations of a vector."""
        if isinstance(x, Load):
            self._numbers[x] = self._writer.load(x.array, x.index)
        elif not copies(x.operation):
            operands = [self._number(y) for y in x.operands]
            self._numbers[x] = self._written(x, operands, "double", 1)

    def _number(self, x: Operand) -> str:
        """LLVM's name of what is the same for all iterations of a vector."""
        x = self._writer.resolved(x)
        return self._numbers[x] if x in self._numbers else self._writer.operand(x)

    def _inner_body(self, body: Sequence[Statement]) -> None:
        """The body of an inner loop; what only a message needs waits for whether it is sent."""
        messages = self._common.for_messages(body)
        waiting = {x for needed in messages.values() for x in needed}
        for x in body:
            if x in messages:
                self._sent(x, messages[x])
            elif x not in waiting:
                self._body([x])

    def _sent(self, message: Statement, needed: Sequence[Statement]) -> None:
        """A message, with what only it needs, if it is sent."""
        reached = self._number(message.operands[0])
        nothing = self._line(f"fcmp oeq double {reached},0.0")
        kept = [*map(dict, self._all_known)]

        def sent() -> list[str]:
            self._body([*needed, message])
            return [self._known[message] for _ in self._each()]

        zeros = [self._operand(0.0) for _ in self._all_known]
        cases = [(nothing, lambda: zeros)]
        vectors = self._writer.first_of(cases, sent, [self._type] * len(zeros))
        self._all_known = kept  # nothing else is known on both ways
        for k in self._each():
            self._known[message] = vectors[k]

    def _line(self, text: str) -> str:
        return self._writer.line(text)

    def _operand(self, x: Operand) -> str:
        """LLVM's name of a vector; of equal numbers if x does not hang on the loop."""
        x = self._writer.resolved(x)
        if isinstance(x, float):
            return marked_float(x, self._width)
        if x not in self._known:
            return self._splat(self._number(x))
        return self._known[x]

    def _splat(self, number: str) -> str:
        one = self._line(f"insertelement {self._type} poison,double {number},i32 0")
        return self._shuffled(one, [0] * self._width)

    def _shuffled(self, vector: str, order: list[int]) -> str:
        places = ",".join([f"i32 {place}" for place in order])
        mask = f"<{self._width} x i32> <{places}>"
        return self._line(f"shufflevector {self._type} {vector},{self._type} poison,{mask}")

    def _compute(self, statement: Compute) -> str:
        write = self._factor if statement.operation is rules.multiply else self._operand
        operands = [write(x) for x in statement.operands]
        return self._vector(statement, operands)

    def _factor(self, x: Operand) -> str:
        """A factor; each vector loads a number that they have in common once more.

        The processor takes it from memory as it multiplies. To spread it to a vector, once for all,
        takes some of them as long as an addition.
        """
        x = self._writer.resolved(x)
        if not (isinstance(x, Load) and x in self._loads and x in self._numbers):
            return self._operand(x)
        apart = self._apart[self._first // self._width]
        address = self._writer.element(x.array, x.index)
        address = self._line(f"getelementptr i8,ptr {address},i64 {apart}")
        return self._splat(self._line(f"load double,ptr {address},align 8"))

    def _vector(self, x: Compute, operands: Sequence[str]) -> str:
        """Write an operation on vectors."""
        return self._written(x, operands, self._type, self._width)

    def _written(self, x: Compute, operands: Sequence[str], kind: str, width: int) -> str:
        """Write an operation on vectors of some width, or on numbers."""
        name = x.operation.name
        if name in INSTRUCTIONS:
            instruction = INSTRUCTIONS[name] if len(operands) == 2 else "fneg"
            return self._line(f"{instruction} {kind} {','.join(operands)}")
        kinds = ",".join([kind] * len(operands))
        given = ",".join([f"{kind} {x}" for x in operands])
        function = self._writer.module.function(name, kinds, width=width)
        return self._line(f"call {kind} {function}({given})")

    def _load(self, load: Load) -> str:
        stride = stride_of(load.index, self._loop)
        before = self._stored.get((load.array, load.index.plus(stride or 0)))
        if before is not None:  # a vector that lies in two that are being stored would have to wait
            return self._one_on(before, self._writer.load(load.array, load.index))
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
        stride = stride_of(index, self._loop)
        if self._first:
            index = substituted(index, {self._loop: Index(self._first, ((self._loop, 1),))})
        if stride in (-1, 1):
            turned = (stride == -1) != (self._order[0] > 0)
            first = index if stride == 1 else index.plus(1 - self._width)
            return [self._writer.element(array, first)], turned
        if stride is not None:
            address = self._writer.element(array, index)
            apart = [marked(8 * stride * k) for k in self._order]
            line = f"getelementptr inbounds i8,ptr {address},i64"
            return [self._line(f"{line} {x}") for x in apart], False
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
        is_first = store in self._writer.first_terms
        if len(addresses) == 1:
            if isinstance(store, Add):
                before = "zeroinitializer"
                if not is_first:
                    before = self._read(store.array, addresses[0], turned)
                value = self._line(f"fadd {self._type} {before},{value}")
            for array, index in [*self._stored]:
                if array is store.array:
                    del self._stored[array, index]
            if len(self._all_known) == 1:
                self._stored[store.array, store.index] = value
            value = self._turned(value) if turned else value
            self._writer.append(f"store {self._type} {value},ptr {addresses[0]},align 8{scopes}")
            return
        if isinstance(store, Add) and stride_of(store.index, self._loop) == 0:
            total = self._line(f"load double,ptr {addresses[0]},align 8{scopes}")
            for lane in self._order:
                number = self._line(f"extractelement {self._type} {value},i32 {lane}")
                total = self._line(f"fadd double {total},{number}")
            self._writer.append(f"store double {total},ptr {addresses[0]},align 8{scopes}")
            return
        for lane in self._order:  # in the order of the iterations: it may be one element
            number = self._line(f"extractelement {self._type} {value},i32 {lane}")
            if isinstance(store, Add):
                before = "0.0"
                if not is_first:
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
