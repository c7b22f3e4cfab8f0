"""Strip-mining: eight iterations of a loop at a time, whose elements lie side by side in memory.

    for i in range(n):                      for a in range(n / 8):
        for j in range(m):                      for b in range(8):
            v[m*i + j] = x[j] * w[i]                for j in range(m):
            s[j] += v[m*i + j]                          v[8*m*a + 8*j + b] = x[j] * w[8*a + b]
                                                        part[8*j + b] += v[8*m*a + 8*j + b]
                                            for j in range(m):
                                                s[j] += part[8*j] + ... + part[8*j + 7]

The loop of eight is a map with vectors for all that is in it. Sums of messages that the iterations
share become eight, one for each iteration of a strip, whatever vectors the machine has: their order
hangs on the program alone. All other numbers are the same to the last bit.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy
from numpy.typing import NDArray

from chainrule import rules
from chainrule.program import nests
from chainrule.program.form import (
    CONSTANT,
    INPUT,
    SUMS,
    VALUES,
    Add,
    Array,
    Carry,
    Compute,
    Index,
    Last,
    Load,
    Loop,
    Operand,
    Program,
    Slice,
    Statement,
    Store,
    Table,
    statements,
)
from chainrule.program.nests import Path, bounds

from .first_terms import Zero
from .in_common import InCommon
from .independence import are_independent, extent, stride_of
from .maps import Sum, as_map, sum_of

STRIP: Final = 8
"""Iterations side by side, on all machines."""

LEAST: Final = 64
"""Iterations of a loop that is worth it."""

MOST: Final = 1 << 24
"""Iterations of a loop of which each strip is looked at."""

MOST_COPIED: Final = 256
"""Elements for each iteration of a strip that are copied: all of them stay in the cache."""

ALWAYS = False
"""Whether to mine loops for which it does not pay, too: tests do."""

Access = tuple["Load | Store", Path]


def strip_mine(program: Program, apart: Collection[Loop] = ()) -> None:
    """Mine the loops of a program for a single point in strips, in place, where it pays.

    From here on a loop may stand in its body that runs no more than eight times.

    Args:
        program: with carries, without segments.
        apart: loops that stay as they are, with all that is in them.
    """
    outputs = {x.array for x in program.outputs if isinstance(x, Slice)}
    lasts: dict[Carry, list[Last]] = defaultdict(list)
    accesses: dict[Array, list[Access]] = defaultdict(list)
    for x, path in nests.paths(program.body):
        if isinstance(x, (Load, Store)):
            accesses[x.array].append((x, path))
        elif isinstance(x, Last):
            lasts[x.carry].append(x)
    found = _candidates(program.body, apart)
    layouts: dict[Array, _Layout] = {}
    while found:
        layouts = {
            array: layout
            for array, users in accesses.items()
            if array not in outputs and (layout := _Layout.of(array, users, found)) is not None
        }
        good = {x: strips for x, strips in found.items() if ALWAYS or strips.pay(layouts)}
        if len(good) == len(found):
            break
        found = good
    if found:
        for layout in layouts.values():
            layout.apply()
        _replace(program.body, found, lasts)


def _candidates(body: Sequence[Statement], apart: Collection[Loop]) -> dict[Loop, _Strips]:
    """The outermost loops that can be mined."""
    found: dict[Loop, _Strips] = {}
    for x in body:
        if isinstance(x, Loop) and x not in apart:
            strips = _Strips.of(x)
            found.update(_candidates(x.body, apart) if strips is None else {x: strips})
    return found


class _Copied(NamedTuple):
    """What reads elements of an input in a loop.

    Args:
        load: it.
        first: the first element that an iteration reads.
        own: how much further each one is.
        size: how many there are.
    """

    load: Load
    first: Index
    own: Index
    size: int


class _Strips:
    """A loop in strips.

    Attributes:
        loop: the loop.
        outer, inner: the loops that it becomes.
        starts: the first iteration of each strip.
        trips: how many each has: the first or the last one may be shorter.
        sums: its carries that are sums; None for those that are the same in all iterations.
        shared: what adds to elements that iterations share, by array.
        copied: what reads elements of inputs that lie apart, and each several times.
    """

    def __init__(self, loop: Loop, sums: dict[Carry, Sum | None], shared: list[Add]) -> None:
        self.loop = loop
        self.sums = sums
        self.shared: dict[Array, list[Add]] = defaultdict(list)
        for x in shared:
            self.shared[x.array].append(x)
        strides = [
            stride_of(x.index, loop)
            for x in statements(loop.body)
            if isinstance(x, (Load, Store)) and x.array.kind != INPUT
        ]
        backwards = sum([x is not None and x < 0 for x in strides]) > sum(
            [x is not None and x > 0 for x in strides]
        )
        count = loop.trips.offset
        strips = -(-count // STRIP)
        self.trips = numpy.full(strips, STRIP, dtype=numpy.int64)
        self.trips[0 if backwards else -1] -= strips * STRIP - count
        self.starts = numpy.cumsum(self.trips) - self.trips
        self.outer = Loop(Index(strips))
        self.inner = Loop(self.at(self.trips))
        self.inner.side_by_side = True
        self.copied = [*self._copied()]
        for part in (self.outer, self.inner):
            part.name, part.note = loop.name, loop.note

    @staticmethod
    def of(loop: Loop) -> _Strips | None:
        """A loop in strips; None if it can't be."""
        if not loop.trips.is_fixed or not LEAST <= loop.trips.offset <= MOST or loop.checkpoints:
            return None
        every = [*statements(loop.body)]
        if not all(isinstance(x, (Compute, Load, Store, Loop, Last)) for x in every):
            return None
        uses: Counter[Statement] = Counter()
        for x in every:
            uses.update([y for y in x.operands if isinstance(y, Statement)])
            if isinstance(x, Loop):
                uses.update([y.next for y in x.carries if isinstance(y.next, Statement)])
        uses.update([x.next for x in loop.carries if isinstance(x.next, Statement)])
        sums: dict[Carry, Sum | None] = {}
        for carry in loop.carries:
            if carry.next is carry:
                sums[carry] = None
                continue
            sums[carry] = found = sum_of(carry, uses, set(loop.body))
            if found is None:
                return None
        # What is read of them is complete: no iteration adds to these elements.
        adds = [x for x in every if isinstance(x, Add) and x.array.is_of_messages]
        shared = [x for x in adds if stride_of(x.index, loop) == 0]
        if not are_independent(loop, loop.body, shared):
            return None
        return _Strips(loop, sums, shared)

    def at(self, numbers: NDArray[numpy.int64]) -> Index:
        """A number for each strip, as an index."""
        steps = numpy.diff(numbers)
        step = int(steps[0]) if len(steps) else 0
        if (steps == step).all():
            return Index(int(numbers[0]), ((self.outer, step),) if step else ())
        return Index(0, (), ((Table(numbers), Index(0, ((self.outer, 1),))),))

    def pay(self, layouts: Mapping[Array, _Layout]) -> bool:
        """Whether vectors take much less time than one iteration after the other.

        Args:
            layouts: the arrays whose elements will lie side by side.
        """
        one_by_one = together = 0
        adds_up = bool(self.shared) or bool(self._added())
        gains = adds_up
        copied = {x.load for x in self.copied}
        for x, path in nests.paths(self.loop.body):
            times = nests.count(path)
            one_by_one += STRIP * times
            together += times
            if isinstance(x, (Load, Store)) and x.array not in self.shared and x not in copied:
                if x.array in layouts:
                    gains = True
                elif stride_of(x.index, self.loop) not in (-1, 0, 1):
                    together += 2 * STRIP * times
        parts = sum([high - low + 1 for low, high in map(_range, self.shared.values())])
        enough = 4 * STRIP * STRIP * parts <= one_by_one * self.loop.trips.offset
        pays = gains and enough and 2 * together < one_by_one
        return pays and (adds_up or not self._shares_vectors())

    def _shares_vectors(self) -> bool:
        """Whether the loop as it is has more iterations side by side than a strip.

        What these have in common is computed once for all of them.
        """
        loops = [self.loop, *[x for x in statements(self.loop.body) if isinstance(x, Loop)]]
        carries = {x: [y for y in x.carries if y.next is not y] for x in loops}
        found = as_map(self.loop, carries, {}, STRIP)
        return found is not None and found.vectors(
            STRIP, InCommon(self.loop, carries, lambda x: x)
        ) != [1]

    def _added(self) -> list[Carry]:
        """The carries that are sums of messages."""
        return [x for x, found in self.sums.items() if found is not None and x.messages]

    def loops(self, lasts: Mapping[Carry, Sequence[Last]]) -> list[Statement]:
        """What stands for the loop.

        Args:
            lasts: the last values of carries.
        """
        copies = self._copies()
        iteration = self._iteration(self.inner)
        for x in statements(self.loop.body):
            if isinstance(x, (Load, Store)):
                x.index = nests.substituted(x.index, {self.loop: iteration})
        before: list[Statement] = []
        after: list[Statement] = []
        for array, adds in self.shared.items():
            before.append(Zero(_shared(array, adds, self.inner, after)))
        body = self.loop.body
        ends: list[Statement] = []
        added = self._added()
        parts = Array(SUMS, STRIP * len(added), "parts")
        summed = Loop(Index(STRIP))  # adds the parts of all sums up
        if added:
            before.append(Zero(parts))
            after.append(summed)
        for carry, found in self.sums.items():
            if found is not None and carry.messages:
                first = STRIP * len(summed.carries)
                body = [x for x in body if x not in found.statements]
                for instruction, term in found.steps:
                    if instruction == "fsub":
                        term = Compute(rules.negative, [term])
                        body.append(term)
                    body.append(Add(parts, Index(first, ((self.inner, 1),)), term))
                loop, total = summed, Carry(carry.initial)
                part = Load(parts, Index(first, ((summed, 1),)))
                total.next = following = Compute(rules.add, [total, part])
                summed.carries.append(total)
                summed.body += [part, following]
            else:
                loop, total = self.outer, Carry(carry.initial)
                self.inner.carries.append(carry)
                self.outer.carries.append(total)
                carry.initial = total.next = total
                if found is not None:
                    total.next = last = Last(self.inner, carry)
                    ends.append(last)
            for last in lasts.get(carry, ()):
                last.loop, last.carry = loop, total
        self.inner.body = body
        self.outer.body = [*copies, self.inner, *ends]
        return [*before, self.outer, *after]

    def _iteration(self, lane: Loop) -> Index:
        """The iteration of the loop that a lane of a strip is."""
        return nests.added(self.at(self.starts), Index(0, ((lane, 1),)))

    def _copied(self) -> Iterator[_Copied]:
        """What reads elements of inputs that lie apart, and each several times."""
        for x, path in nests.paths(self.loop.body):
            if not isinstance(x, Load) or x.array.kind not in (INPUT, CONSTANT) or x.index.tables:
                continue
            inside = tuple([y for y in x.index.strides if y[0] in path])
            around = tuple([y for y in x.index.strides if y[0] not in path])
            if (
                stride_of(x.index, self.loop) in (-1, 0, 1)
                or not inside
                or not all(loop.trips.is_fixed for loop in path)
            ):
                continue
            low, high = bounds(Index(0, inside))
            size = high - low + 1
            if 0 < 2 * size <= nests.count(path) and size <= MOST_COPIED:
                first = Index(x.index.offset + low, around)
                yield _Copied(x, first, Index(-low, inside), size)

    def _copies(self) -> list[Statement]:
        """Copy what is read several times, so that it lies side by side; gives what does so.

        Each strip writes to the same elements, as only code may.
        """
        arrays: dict[tuple[Array, Index, int], Array] = {}
        loops: list[Statement] = []
        for x, first, own, size in self.copied:
            key = x.array, first, size
            copy = arrays.get(key)
            if copy is None:
                copy = arrays[key] = Array(VALUES, STRIP * size, "copy")
                lane, each = Loop(self.inner.trips), Loop(Index(size))
                lane.side_by_side = True
                lane.body.append(each)
                index = nests.substituted(first, {self.loop: self._iteration(lane)})
                read = Load(x.array, nests.added(index, Index(0, ((each, 1),))))
                write = Store(copy, Index(0, ((each, STRIP), (lane, 1))), read)
                each.body += [read, write]
                loops.append(lane)
            x.array, x.index = (
                copy,
                nests.added(nests.scaled(own, STRIP), Index(0, ((self.inner, 1),))),
            )
        return loops


def _range(adds: Sequence[Add]) -> tuple[int, int]:
    """The first and the last of the elements that are added to."""
    lows, highs = zip(*[bounds(x.index) for x in adds], strict=True)
    return min(lows), max(highs)


def _shared(array: Array, adds: Sequence[Add], lane: Loop, after: list[Statement]) -> Array:
    """Let each iteration of a strip add to elements of its own, and add these up afterwards."""
    low, high = _range(adds)
    parts = Array(SUMS, STRIP * (high - low + 1), "parts")
    for x in adds:
        own = nests.scaled(x.index.plus(-low), STRIP)
        x.array, x.index = parts, nests.added(own, Index(0, ((lane, 1),)))
    each = Loop(Index(high - low + 1))
    values: list[Operand] = [Load(parts, Index(k, ((each, STRIP),))) for k in range(STRIP)]
    each.body += [x for x in values if isinstance(x, Load)]
    while len(values) > 1:
        values = [Compute(rules.add, values[k : k + 2]) for k in range(0, len(values), 2)]
        each.body += [x for x in values if isinstance(x, Compute)]
    each.body.append(Add(array, Index(low, ((each, 1),)), values[0]))
    after.append(each)
    return parts


class _Layout:
    """An array in which the elements of a strip's iterations lie side by side.

    Args:
        array: the array.
        size: its size then.
        indices: the new index of each access.
    """

    def __init__(self, array: Array, size: int, indices: dict[Load | Store, Index]) -> None:
        self.array = array.like(size)
        self.indices = indices

    def apply(self) -> None:
        """Change all accesses."""
        for x, index in self.indices.items():
            x.array, x.index = self.array, index

    @staticmethod
    def of(
        array: Array, accesses: Sequence[Access], found: Mapping[Loop, _Strips]
    ) -> _Layout | None:
        """The layout of an array; None if it stays as it is.

        Elements are those of iterations, further apart than 1: those of one iteration lie in
        between, or whole loops further away.
        """
        if array.kind not in (VALUES, SUMS):
            return None
        indices: dict[Load | Store, Index] = {}
        kinds: set[tuple[int, int]] = set()
        for x, path in accesses:
            strips = next((found[loop] for loop in path if loop in found), None)
            stride = None if strips is None else stride_of(x.index, strips.loop)
            if strips is None or not stride or abs(stride) == 1 or x.array in strips.shared:
                return None
            kinds.add((abs(stride), strips.loop.trips.offset))
            index = _side_by_side(x.index, path, strips, stride)
            if index is None or len(kinds) > 1:
                return None
            indices[x] = index
        stride, count = kinds.pop()
        strip = STRIP * stride * -(-count // STRIP)
        return _Layout(array, strip * -(-array.size // (stride * count)), indices)


def _side_by_side(index: Index, path: Path, strips: _Strips, stride: int) -> Index | None:
    """An index in the new layout; None if it is no element of an iteration."""
    loop, count, size = strips.loop, strips.loop.trips.offset, abs(stride)
    whole = size * count  # from each element to that of the same iteration in another loop
    inside = [x for x in index.strides if abs(x[1]) < size and x[0] is not loop]
    around = [x for x in index.strides if x[1] % whole == 0]
    own = Index(0, tuple(inside), index.tables)
    low, high = extent(own, path[path.index(loop) + 1 :])
    first, rest = divmod(index.offset + low, size)
    runs, first = divmod(first, count)
    if (
        low > high
        or len(inside) + len(around) + 1 < len(index.strides)
        or rest + high - low >= size
        or first != (0 if stride > 0 else count - 1)
    ):
        return None
    step = 1 if stride > 0 else -1
    strip, lane = numpy.divmod(first + step * strips.starts, STRIP)
    last = lane + step * (strips.trips - 1)
    if last.min() < 0 or last.max() >= STRIP:
        return None
    new = nests.added(strips.at(STRIP * size * strip + lane), Index(0, ((strips.inner, step),)))
    new = nests.added(new, nests.scaled(own.plus(rest - low), STRIP))
    length = STRIP * size * len(strips.starts)
    far = Index(runs * length, tuple([(x, by // whole * length) for x, by in around]))
    return nests.added(new, far)


def _replace(
    body: list[Statement],
    found: Mapping[Loop, _Strips],
    lasts: Mapping[Carry, Sequence[Last]],
) -> None:
    """Put strips in the place of loops."""
    new: list[Statement] = []
    for x in body:
        if isinstance(x, Loop):
            if x in found:
                new += found[x].loops(lasts)
                continue
            _replace(x.body, found, lasts)
        new.append(x)
    body[:] = new
