"""Loop interchange: sums that a nest of loops adds side by side get nests of their own.

The reverse pass of a product of matrices adds to two sums in each iteration, one of which the
innermost loop does not complete, and reads one factor across its rows. Apart, each sum is complete
after its own innermost loops, and the loop around these goes along the rows of all that it reads:

    for i, j, k:                         for k, j, i:
        a'[i, k] += c'[i, j] * b[k, j]       b'[k, j] += c'[i, j] * a[i, k]
        b'[k, j] += c'[i, j] * a[i, k]   for i, k, j:
                                             a'[i, k] += c'[i, j] * turned[j, k]

Each sum has the same terms in the same order, as the loops that it does not hang on stay in theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from math import prod
from typing import Final

from chainrule.program.builder import Builder
from chainrule.program.form import (
    VALUES,
    WRITES,
    Add,
    Array,
    Compute,
    Index,
    Load,
    Loop,
    Operand,
    Program,
    Scatter,
    Statement,
    Store,
    statements,
)
from chainrule.program.nests import added, bounds, scaled, substituted

from .jam import CHEAP
from .rebuild import Rebuilding

LEAST: Final = 1 << 15
"""Iterations of a nest for which it pays."""
TILE: Final = 32
"""Iterations along rows for which all sums are completed first: what they read stays cached."""
ROW: Final = 8
"""Iterations of a loop along rows, and how often what is turned for it must be read."""


def interchanged(program: Program) -> Program:
    """The program with such nests apart.

    Args:
        program: without segments and carries, for single points; it stays as it is.
    """
    found = {x: nest for x in program.body if isinstance(x, Loop) and (nest := _nest(x))}
    return _Interchange(program, found).finished() if found else program


class _Nest:
    """A nest of loops.

    Attributes:
        loops: the outermost first.
        before: sums of the innermost body that get nests of their own, before what is left,
        after: and others, after it.
        backwards: the loops that go through what they access from the end.
    """

    def __init__(self, loops: list[Loop], before: list[Add], after: list[Add]) -> None:
        self.loops = loops
        self.before, self.after = before, after
        self.apart = [*before, *after]
        body = [x for x in loops[-1].body if isinstance(x, (Load, Add))]
        steps = [step for x in body for step in x.index.strides]
        self.backwards = {loop for loop, step in steps if step < 0}

    def place(self, loops: Sequence[Loop]) -> Index:
        """The number of an iteration of some of its loops, in the order of what these access."""
        found = Index()
        for loop in loops:
            step = self.turned(loop, Index(0, ((loop, 1),)))
            found = added(scaled(found, loop.trips.offset), step)
        return found

    def turned(self, loop: Loop, place: Index) -> Index:
        """The iteration of a loop that is at a place from where what it accesses begins."""
        if loop in self.backwards:
            return scaled(place, -1).plus(loop.trips.offset - 1)
        return place

    def order(self, add: Add) -> list[Loop]:
        """The loops as they suit a sum: those of its elements, one along rows last, then others."""
        own = [loop for loop in self.loops if loop in add.index.loops()]
        loads = [x for x in _needed(self.loops[-1].body, add) if isinstance(x, Load)]

        def unfit(loop: Loop) -> tuple[int, int, int]:
            across = sum(abs(dict(x.index.strides).get(loop, 0)) > 1 for x in loads)
            return across, abs(dict(add.index.strides)[loop]), -loop.trips.offset

        last = min(own, key=unfit)
        return [x for x in own if x is not last] + [last] + [x for x in self.loops if x not in own]


def _nest(root: Loop) -> _Nest | None:
    """A loop as a nest of which sums get their own nests; None if it stays as it is."""
    loops = [root]
    while inner := [x for x in loops[-1].body if isinstance(x, Loop)]:
        if len(inner) > 1:
            return None
        loops += inner
    fixed = all(x.trips.is_fixed and x.trips.offset > 0 and not x.checkpoints for x in loops)
    if len(loops) < 3 or not fixed or prod(x.trips.offset for x in loops) < LEAST:
        return None
    every = [x for x in statements([root]) if not isinstance(x, Loop)]
    if not all(isinstance(x, (Load, Compute, *WRITES)) for x in every):
        return None
    loaded = {x.array for x in every if isinstance(x, Load)}
    writes = [x for x in every if isinstance(x, WRITES)]
    written = {x.array for x in writes}
    before, after = [], []
    for x in loops[-1].body:
        if not isinstance(x, Add) or not _is_sum(x, loops, written):
            continue
        if any(_may_meet(x, y) for y in writes if y is not x):
            continue
        used = {y for z in (x, *_needed(loops[-1].body, x)) for y in z.operands}
        around = [y for loop in loops[:-1] for y in loop.body if y in used]
        if all(isinstance(y, Load) and _is_there(y, written) for y in around):
            before.append(x)
        elif x.array not in loaded:
            after.append(x)
    return _Nest(loops, before, after) if before or after else None


def _is_there(x: Load, written: set[Array]) -> bool:
    """Whether what is loaded is there before a nest, and told by strides."""
    return not x.index.tables and x.array not in written


def _is_sum(add: Add, loops: Sequence[Loop], written: set[Array]) -> bool:
    """Whether it is a sum over some of the loops, of little that nothing in the nest writes."""
    own = add.index.loops()
    if add.index.tables or not own or own.issuperset(loops):
        return False
    if max(x.trips.offset for x in own) < ROW:
        return False
    for x in _needed(loops[-1].body, add):
        if isinstance(x, Load) and not _is_there(x, written):
            return False
        if isinstance(x, Compute) and x.operation not in CHEAP:
            return False
    return True


def _may_meet(a: Store | Scatter, b: Store | Scatter) -> bool:
    """Whether two statements may write to the same element."""
    if a.array is not b.array:
        return False
    if not (isinstance(a, Store) and isinstance(b, Store)):
        return True
    (first, last), (low, high) = bounds(a.index), bounds(b.index)
    return first <= high and low <= last


def _needed(body: Sequence[Statement], add: Add) -> list[Statement]:
    """The statements of a body from which the term of a sum is computed, in order."""
    found: set[Operand] = {add.value}
    needed = []
    for x in reversed(body):
        if x in found:
            needed.append(x)
            found.update(x.operands)
    return needed[::-1]


class _Interchange(Rebuilding):
    """Builds a program with nests apart."""

    def __init__(self, program: Program, found: dict[Loop, _Nest]) -> None:
        super().__init__(program, Builder(program.inputs, program.guards, final=True))
        self._nests = found
        self._gone: set[Statement] = set()
        self._kept: dict[Statement, tuple[Array, Index]] = {}  # values around innermost bodies
        for nest in found.values():
            self._plan(nest)

    def _plan(self, nest: _Nest) -> None:
        """What goes from where it stands, and what has to be kept for it."""
        self._gone.update(nest.apart)
        innermost = nest.loops[-1]
        if not any(isinstance(x, WRITES) and x not in self._gone for x in innermost.body):
            self._gone.add(innermost)
        written = {x.array for x in statements([nest.loops[0]]) if isinstance(x, WRITES)}
        inner = {x for add in nest.apart for x in _needed(nest.loops[-1].body, add)}
        used = {y for x in (*inner, *nest.apart) for y in x.operands}
        for depth, loop in enumerate(nest.loops[:-1], 1):
            for x in loop.body:
                if x not in used:
                    continue
                if isinstance(x, Load) and _is_there(x, written):
                    self._kept[x] = x.array, x.index
                else:
                    size = prod(y.trips.offset for y in nest.loops[:depth])
                    self._kept[x] = Array(VALUES, size, "kept"), nest.place(nest.loops[:depth])

    def statement(self, statement: Statement) -> None:
        """Build a statement; what it computes may be kept."""
        if statement in self._gone:
            return
        super().statement(statement)
        kept = self._kept.get(statement)
        if kept is not None and not (isinstance(statement, Load) and statement.array is kept[0]):
            self.builder.store(kept[0], self.index(kept[1]), self.value(statement))

    def loop(self, loop: Loop) -> None:
        """Build a loop, and what is apart of it."""
        nest = self._nests.get(loop)
        if nest is None:
            super().loop(loop)
            return
        for add in nest.before:
            self._separate(nest, add)
        super().loop(loop)
        for add in nest.after:
            self._separate(nest, add)

    def _separate(self, nest: _Nest, add: Add) -> None:
        """Write the nest of a sum, a tile of rows after another."""
        order = nest.order(add)
        row = order[len(add.index.loops()) - 1]
        needed = _needed(nest.loops[-1].body, add)
        reads: dict[Statement, tuple[Array, Index]] = {
            x: (x.array, x.index) for x in needed if isinstance(x, Load)
        }
        used = {y for x in (*needed, add) for y in x.operands}
        reads.update({x: self._kept[x] for x in used if x in self._kept})
        for x, (array, index) in reads.items():
            asked = [y for y in order if y in index.loops() and y is not row]
            size = prod(y.trips.offset for y in (*asked, row))
            across = abs(dict(index.strides).get(row, 0)) > 1
            if across and ROW * size <= prod(y.trips.offset for y in order):
                reads[x] = self._turned(nest, array, index, [*asked, row])
        tiles, rest = divmod(row.trips.offset, TILE)
        if tiles < 2:
            tiles, rest = 0, row.trips.offset
        own = add.index.loops()
        for count, size in ((tiles, TILE), (1, rest)):
            if not count * size:
                continue
            with ExitStack() as stack:
                place = Index(tiles * TILE if size == rest and count == 1 else 0)
                if count > 1:
                    tile = stack.enter_context(self.builder.loop(Index(count)))
                    place = Index(0, ((tile, TILE),))
                at = {}
                for x in order:
                    trips = Index(size) if x is row else x.trips
                    step = Index(0, ((stack.enter_context(self.builder.loop(trips)), 1),))
                    step = added(place, step) if x is row else step
                    at[x] = nest.turned(x, step) if x in own else step
                self._term(add, needed, reads, at)

    def _term(
        self,
        add: Add,
        needed: Sequence[Statement],
        reads: Mapping[Statement, tuple[Array, Index]],
        at: Mapping[Loop, Index],
    ) -> None:
        """Add a term of a sum, at some iterations of the old loops."""
        new: dict[Operand, Operand] = {}
        for x, (array, index) in reads.items():
            new[x] = self.builder.load(array, substituted(index, at))
        for x in needed:
            if isinstance(x, Compute):
                operands = [new[y] if y in new else self.value(y) for y in x.operands]
                new[x] = self.builder.compute(x.operation, operands)
        value = new[add.value] if add.value in new else self.value(add.value)
        self.builder.add(add.array, substituted(add.index, at), value)

    def _turned(
        self, nest: _Nest, array: Array, index: Index, order: Sequence[Loop]
    ) -> tuple[Array, Index]:
        """A copy of elements in the order of loops; where they lie, by the old loops."""
        copy = Array(VALUES, prod(x.trips.offset for x in order), "turned")
        place = nest.place(order)
        with ExitStack() as stack:
            loops = [stack.enter_context(self.builder.loop(x.trips)) for x in order]
            at = {
                x: nest.turned(x, Index(0, ((loop, 1),)))
                for x, loop in zip(order, loops, strict=True)
            }
            value = self.builder.load(array, substituted(index, at))
            self.builder.store(copy, substituted(place, at), value)
        return copy, place
