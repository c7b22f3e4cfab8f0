"""Iterations that a loop leaves out, as it ends early: who reads what they would have stored.

A loop that goes through the same iterations backwards, and begins late, does not read that of those
which are in vain. That both mean the same iterations is found by matching their conditions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from chainrule.program.form import (
    CONSTANT,
    INPUT,
    READS,
    WRITES,
    Array,
    Carry,
    Compute,
    Gather,
    Index,
    Load,
    Loop,
    Operand,
    Program,
    Slice,
    Statement,
    Store,
)
from chainrule.program.nests import Path, bounds, paths
from chainrule.program.simplify import key

if TYPE_CHECKING:
    from .idle import Begins


class Reads:
    """What reads elements of arrays.

    Args:
        program: the program.
        read: arrays that are read after it has run, outputs aside.
        begins: its loops that might begin late.
    """

    def __init__(
        self, program: Program, read: Collection[Array], begins: Mapping[Loop, Begins]
    ) -> None:
        self._begins = begins
        self._reads: dict[Array, list[tuple[Load | Gather, Path]]] = defaultdict(list)
        self._stores: dict[Array, list[tuple[Statement, Path]]] = defaultdict(list)
        for x, path in paths(program.body):
            if isinstance(x, READS):
                self._reads[x.array].append((x, path))
            elif isinstance(x, WRITES):
                self._stores[x.array].append((x, path))
        self._rows: dict[tuple[Path, Path], Rows | None] = {}
        self._outputs = {*read, *[x.array for x in program.outputs if isinstance(x, Slice)]}

    def filled(self, loop: Loop, path: Path, goes_on: Statement) -> list[Store] | None:
        """The stores of a loop whose elements are read of iterations that it leaves out.

        Args:
            loop: the loop.
            path: the loops around it.
            goes_on: the value that ends it.

        Returns:
            None where that is none of the loop itself, but of one in it.
        """
        top = set(loop.body)
        filled = []
        for x, inner in paths(loop.body, (*path, loop)):
            if not isinstance(x, Store) or loop not in x.index.loops():
                continue
            if self._is_read(x, inner, loop, goes_on):
                if x not in top:
                    return None
                filled.append(x)
        return filled

    def _is_read(self, store: Store, path: Path, loop: Loop, goes_on: Statement) -> bool:
        if store.array in self._outputs or store.array.kind in (INPUT, CONSTANT):
            return True
        low, high = bounds(store.index)
        for x, around in self._reads[store.array]:
            first, last = bounds(x.index)
            if isinstance(x, Gather):
                return True
            if last < low or first > high:
                continue
            depth = path.index(loop)
            if len(around) <= depth or around[depth] not in self._begins:
                return True
            if not self._is_left_out(store, path, x, around, depth, goes_on):
                return True
        return False

    def _is_left_out(
        self, store: Store, path: Path, load: Load, around: Path, depth: int, goes_on: Statement
    ) -> bool:
        """Whether a load in a loop that begins late reads what iterations that count have stored.

        Where an iteration does not count, what it reads makes no difference, whatever it is.

        Args:
            store: in a loop that ends early.
            path: the loops around it.
            load: reads such elements.
            around: the loops around it.
            depth: the place of both loops among those around.
            goes_on: the value that ends the one.
        """
        begins = self._begins[around[depth]]
        if load in begins.asked or load in begins.left:
            return False
        name = path[: depth + 1], around[: depth + 1]
        if name not in self._rows:
            rows = Rows(*name)
            same = self._are_the_same(begins.goes_on, goes_on, rows)
            self._rows[name] = rows if same and rows.are_known else None
        found = self._rows[name]
        if found is None:
            return False
        return found.come_before(store.index, load.index)

    def _are_the_same(self, x: Operand, y: Operand, rows: Rows) -> bool:
        """Whether a value of a loop that begins late is that of one that ends early."""
        if x is y:
            return not isinstance(x, Statement) or not rows.is_inside(x)
        if isinstance(x, float) or isinstance(y, float):
            return key(x) == key(y)
        if isinstance(x, Load):
            if isinstance(y, Load):
                return x.array is y.array and rows.meet(y.index, x.index)
            stores = [z for z, _ in self._stores[x.array] if isinstance(z, Store)]
            if isinstance(y, Carry):
                return self._is_handed_on(x, y, stores, rows)
            return any(z.value is y and rows.meet(z.index, x.index) for z in stores)
        if isinstance(x, Compute) and isinstance(y, Compute) and x.operation is y.operation:
            if (x, y) not in rows.same:
                pairs = zip(x.operands, y.operands, strict=True)
                rows.same[x, y] = all(self._are_the_same(a, b, rows) for a, b in pairs)
            return rows.same[x, y]
        return False

    def _is_handed_on(self, x: Load, carry: Carry, stores: Sequence[Store], rows: Rows) -> bool:
        """Whether a load reads what a carry was in that iteration."""
        if carry not in rows.ends.carries:
            return False
        for store in stores:
            if store.value is carry.next and rows.ends in store.index.loops():
                before = rows.before(store.index)
                first = before._replace(
                    strides=tuple([y for y in before.strides if y[0] is not rows.ends])
                )
                begun = [y for y in stores if y.index == first]
                if any(y.value is carry.initial for y in begun) and rows.meet(before, x.index):
                    return True
        return False


class Rows:
    """How iterations of a loop that begins late are those of one that ends early.

    Args:
        path: the loop that ends early, after those around it.
        around: the loop that begins late, after those around it.

    Attributes:
        ends: the loop that ends early.
        same: whether two values, one of the other loop and one of this, are known to be the same.
    """

    def __init__(self, path: Path, around: Path) -> None:
        self._path = path
        self._around = around
        self.ends = path[-1]
        self.same: dict[tuple[Statement, Statement], bool] = {}
        self._turns: list[int | None] = [
            1 if x is y else None for x, y in zip(path, around, strict=True)
        ]

    @property
    def are_known(self) -> bool:
        """Whether it is known which iterations of the one are which of the other."""
        return None not in self._turns

    def is_inside(self, x: Statement) -> bool:
        """Whether a value may be another one in each iteration."""
        return any(x in loop.carries or x in loop.body for loop in (self.ends, self._around[-1]))

    def before(self, index: Index) -> Index:
        """An index in the iteration before."""
        return index.plus(-dict(index.strides).get(self.ends, 0))

    def meet(self, index: Index, other: Index) -> bool:
        """Whether two indices are the same in the same iterations.

        Args:
            index: of the loop that ends early.
            other: of the one that begins late.
        """
        found = self._distance(index, other)
        return found is not None and found == (0, 0, {}, {})

    def _distance(
        self, index: Index, other: Index
    ) -> tuple[int, int, dict[Loop, int], dict[Loop, int]] | None:
        """How far an index is from another; None where that is not known.

        Returns:
            The least and the greatest distance, and the strides of loops that are in those of this
            one, for both.
        """
        if index.tables or other.tables:
            return None
        strides, others = dict(index.strides), dict(other.strides)
        offset = other.offset - index.offset
        for place, (x, y) in enumerate(zip(self._path, self._around, strict=True)):
            a, b = strides.pop(x, 0), others.pop(y, 0)
            turn = self._turns[place]
            if turn is None:
                if not a or abs(a) != abs(b) or x.trips != y.trips or not x.trips.is_fixed:
                    return None
                turn = self._turns[place] = 1 if a == b else -1
            if b != turn * a:
                return None
            if turn < 0:
                offset -= a * (x.trips.offset - 1)
        low, high = _span(others)
        return offset + low, offset + high, strides, others

    def come_before(self, index: Index, other: Index) -> bool:
        """Whether an element was written in the same iteration or before.

        Args:
            index: where it is written.
            other: where it is read.
        """
        found = self._distance(index, other)
        stride = dict(index.strides).get(self.ends, 0)
        if found is None or not stride:
            return False
        least, greatest, strides, _ = found
        low, high = _span(strides)  # of an iteration's elements
        if high - low >= abs(stride):
            return False
        if stride < 0:
            least, greatest, low, high = -greatest, -least, -high, -low
        if greatest >= low + abs(stride):
            return False
        if least >= low:
            return True
        back = -((least - low) // abs(stride))
        # Iterations before the first one: elements that no other one of these loops has written.
        size = abs(stride) * (self.ends.trips.offset + back)
        outer = dict(index.strides)
        for loop in sorted(self._path[:-1], key=lambda x: abs(outer.get(x, 0))):
            step = abs(outer.get(loop, 0))
            if step:
                if step < size or not loop.trips.is_fixed:
                    return False
                size = step * loop.trips.offset
        return True


def _span(strides: Mapping[Loop, int]) -> tuple[int, int]:
    """The least and greatest that loops add to an index."""
    return bounds(Index(0, tuple(strides.items())))
