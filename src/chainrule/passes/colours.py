"""Diagonals of Jacobians: many inputs move at once, and what moves with which is known by structure.

The colour of an input is its number modulo a period. No output depends on two inputs of a colour, so
the changes by all inputs of a colour are one number for each value. In a loop through the inputs
each iteration meets the colours in turn; counted from a phase that moves on as the loop does, they
are always the same. Then each statement has changes by certain colours only, in every iteration.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from chainrule.passes.region import Region
from chainrule.program import nests
from chainrule.program.form import (
    Array,
    Compute,
    Diagonal,
    Enter,
    Index,
    Leave,
    Load,
    Loop,
    Statement,
    Store,
)
from chainrule.program.nests import Path

_Place: TypeAlias = "Array | str"
"""An array; or what the inputs of a region are numbered as, or its outputs."""
_INPUTS, _OUTPUTS = "inputs", "outputs"


def coloured(region: Region, diagonal: Diagonal) -> Coloured | None:
    """The statements of a region that a diagonal asks for, once for each colour that comes to them.

    Args:
        region: the region, in no loop.
        diagonal: of its matrix.

    Returns:
        None where colours do not move on as loops do.
    """
    if region.around:
        return None
    phases = _Phases(region, diagonal)
    return Coloured(region, diagonal, phases.shifts) if phases.agree() else None


class Coloured(Region):
    """Copies of statements of a region, each for the change of its value by one colour.

    Args:
        region: the region.
        diagonal: what is asked for.
        shifts: how the colours of what a statement accesses are counted from its phase.

    Attributes:
        moving: the inputs of the colour that they are copied for.
    """

    def __init__(self, region: Region, diagonal: Diagonal, shifts: Mapping[Statement, int]) -> None:
        self.segment = region.segment
        self.around = region.around
        self.paths = {}
        self.order = []
        self.sources = {}
        self.enters = []
        self.leaves = []
        self.accesses = {}
        self.moving: list[Statement] = []
        self._always_run = {}
        self._region = region
        self._period = diagonal.period
        self._shifts = shifts
        self._origins: dict[Statement, Statement] = {}
        self._copies: dict[tuple[Statement, int], Statement] = {}
        self._arrays: dict[tuple[Array, int], Array] = {}
        self._asked = self._find_asked(diagonal.shift)
        for x in region.order:
            for colour in sorted(self._asked.get(x, ())):
                self._copy(x, colour)
        self.bodies = {loop: [*self._copied(body)] for loop, body in region.bodies.items()}

    def origin(self, x: Statement) -> Statement:
        """The statement that one is a copy of."""
        return self._origins[x]

    def _find_asked(self, shift: int) -> dict[Statement, set[int]]:
        """By which colours the change of each statement is asked for."""
        region, shifts, period = self._region, self._shifts, self._period
        asked: dict[Statement, set[int]] = defaultdict(set)
        known: set[tuple[Array, int]] = set()
        waiting = [(x, (shifts[x] + shift) % period) for x in region.leaves]
        while waiting:
            x, colour = waiting.pop()
            if colour in asked[x]:
                continue
            asked[x].add(colour)
            if isinstance(x, Leave):
                if x.value in region.sources:
                    waiting.append((x.value, colour))  # type: ignore[arg-type]
            elif isinstance(x, Load):
                element = x.array, (colour - shifts[x]) % period
                if element not in known:
                    known.add(element)
                    for y in region.accesses[x.array]:
                        if isinstance(y, Store):
                            waiting.append((y, (element[1] + shifts[y]) % period))
            else:
                waiting += [(y, colour) for _, y, _ in region.sources.get(x, ())]
        return asked

    def _copy(self, x: Statement, colour: int) -> None:
        """Copy a statement for a colour, unless its change is surely none."""
        found = [
            (position, self._copies[y, colour], certain)
            for position, y, certain in self._region.sources.get(x, ())
            if (y, colour) in self._copies
        ]
        copy: Statement
        if isinstance(x, Enter) and x.segment is self.segment:
            if colour != self._shifts[x]:
                return
            copy = Enter(x.segment, x.place, x.value)
            self.enters.append(copy)
            self.moving.append(copy)
        elif isinstance(x, Load):
            copy = Load(self._array(x, colour), x.index)
        elif isinstance(x, Store):
            value = found[0][1] if found else 0.0
            copy = type(x)(self._array(x, colour), x.index, value)
        elif isinstance(x, Leave):
            copy = Leave(x.segment, x.place, self._copies.get((x.value, colour), 0.0))  # type: ignore[arg-type]
            self.leaves.append(copy)
        elif not found:
            return
        elif isinstance(x, Enter):
            copy = Enter(x.segment, x.place, found[0][1])
        else:
            assert isinstance(x, Compute)
            copy = Compute(x.operation, x.operands)
        copy.note = x.note
        self._copies[x, colour] = copy
        self._origins[copy] = x
        self.order.append(copy)
        if x in self._region.paths:
            self.paths[copy] = self._region.paths[x]
        if isinstance(copy, (Load, Store)):
            self.accesses.setdefault(copy.array, []).append(copy)
        if found or isinstance(copy, Load) or (isinstance(copy, Enter) and copy in self.moving):
            self.sources[copy] = found

    def _array(self, x: Load | Store, colour: int) -> Array:
        """The array of what stands for changes by a colour."""
        key = x.array, (colour - self._shifts[x]) % self._period
        found = self._arrays.get(key)
        if found is None:
            found = self._arrays[key] = Array(x.array.kind, x.array.size, x.array.name)
        return found

    def _copied(self, body: list[Statement]) -> Iterator[Statement]:
        for x in body:
            if isinstance(x, Loop):
                yield x
            for colour in sorted(self._asked.get(x, ())):
                if (x, colour) in self._copies:
                    yield self._copies[x, colour]


class _Phases:
    """How fast colours move on: with each loop, and along each array.

    Attributes:
        shifts: for each access, the colour at the phase of an element less that of the iteration;
            for outputs, likewise of the diagonal that has the shift 0.
    """

    def __init__(self, region: Region, diagonal: Diagonal) -> None:
        self._region = region
        self._period = diagonal.period
        self._loops: dict[Loop, int] = {}
        self._along: dict[_Place, int] = {_INPUTS: 1, _OUTPUTS: diagonal.stride}
        self.shifts: dict[Statement, int] = {}
        self._needed = self._find_needed()
        self._accesses = [*self._find_accesses()]

    def _find_needed(self) -> set[Statement]:
        """The statements whose values make the outputs."""
        region = self._region
        needed: set[Statement] = set(region.leaves)
        waiting: list[Statement] = [*region.leaves]
        arrays: set[Array] = set()
        while waiting:
            x = waiting.pop()
            found = [y for _, y, _ in region.sources.get(x, ())]
            if isinstance(x, Leave) and x.value in region.sources:
                found = [x.value]  # type: ignore[list-item]
            if isinstance(x, Load) and x.array not in arrays:
                arrays.add(x.array)
                found = [y for y in region.accesses[x.array] if isinstance(y, Store)]
            for y in found:
                if y not in needed:
                    needed.add(y)
                    waiting.append(y)
        return needed

    def _find_accesses(self) -> Iterator[tuple[Statement, Index, _Place]]:
        for x in self._region.order:
            if x not in self._needed:
                continue
            if isinstance(x, (Load, Store)):
                yield x, x.index, x.array
            elif isinstance(x, Leave):
                yield x, x.place, _OUTPUTS
            elif isinstance(x, Enter) and x.segment is self._region.segment:
                yield x, x.place, _INPUTS

    def agree(self) -> bool:
        """Whether the colours of what each statement reads and writes are always the same."""
        known = -1
        while known != len(self._loops) + len(self._along):
            known = len(self._loops) + len(self._along)
            for _, index, place in self._accesses:
                self._follow(index, place)
        paths = self._region.paths
        for x, index, place in self._accesses:
            path = paths.get(x, ())
            places = nests.numbers(index, path) * self._along.get(place, 0)
            shifts = (places - nests.numbers(self._phase(path), path)) % self._period
            if len(shifts) and (shifts != shifts[0]).any():
                return False
            self.shifts[x] = int(shifts[0]) if len(shifts) else 0
        return all(
            not any(self._loops.get(loop) for loop in paths.get(x, ())[len(paths.get(y, ())) :])
            for x in self._needed
            for _, y, _ in self._region.sources.get(x, ())
        )

    def _follow(self, index: Index, place: _Place) -> None:
        """Go on from an array to the loops through it, or the other way round."""
        strides = [(loop, stride) for loop, stride in index.strides if stride]
        along = self._along.get(place)
        if along is not None:
            for loop, stride in strides:
                self._loops.setdefault(loop, along * stride % self._period)
            return
        if not strides or any(loop not in self._loops for loop, _ in strides):
            return
        for step in range(self._period):
            if all((step * x - self._loops[loop]) % self._period == 0 for loop, x in strides):
                self._along[place] = step
                return

    def _phase(self, path: Path) -> Index:
        return Index(0, tuple([(loop, self._loops[loop]) for loop in path if loop in self._loops]))
