"""Diagonals of Jacobians: many inputs move at once, and structure tells what moves with which.

The colour of an input is its number modulo a period. No output depends on two inputs of a colour:
the changes by all inputs of a colour are one number for each value. In a loop through the inputs
each iteration meets the colours in turn; counted from a phase that moves on as the loop does, they
are always the same. Then each statement has changes by certain colours only, in every iteration.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy

from chainrule.passes.region import Region
from chainrule.program import nests
from chainrule.program.form import (
    READS,
    WRITES,
    Array,
    Compute,
    Diagonal,
    Enter,
    Leave,
    Load,
    Loop,
    Statement,
    Store,
)
from chainrule.program.nests import Numbers, Path

_Place: TypeAlias = "Array | str"
"""An array; or what the inputs of a region are numbered as, or its outputs."""
_INPUTS, _OUTPUTS = "inputs", "outputs"
_KNOWN = (Compute, Load, Store, Enter, Leave)


def coloured(region: Region, diagonal: Diagonal) -> Coloured | None:
    """The statements of a region that a diagonal asks for, once for each colour that comes to them.

    Args:
        region: the region.
        diagonal: of its matrix.

    Returns:
        None where colours do not move on as loops do.
    """
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
        self._nests = nests.Nests()
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
            found = self._arrays[key] = x.array.like(x.array.size)
        return found

    def _copied(self, body: list[Statement]) -> Iterator[Statement]:
        for x in body:
            if isinstance(x, Loop):
                yield x
            for colour in sorted(self._asked.get(x, ())):
                if (x, colour) in self._copies:
                    yield self._copies[x, colour]


class _Phases:
    """From which colour colours are counted: in each iteration, and at each element of arrays.

    Attributes:
        shifts: for each access, the phase of the element less that of the iteration, the same in
            all instances; for outputs, that of the diagonal with the shift 0 takes its place.
    """

    def __init__(self, region: Region, diagonal: Diagonal) -> None:
        self._region = region
        self._period = diagonal.period
        self._needed = self._find_needed()
        self._accesses: list[tuple[Statement, _Place, Numbers]] = []
        sizes: dict[_Place, int] = {}
        for x in region.order:
            if x not in self._needed:
                continue
            if isinstance(x, (Load, Store)):
                place: _Place = x.array
                index, sizes[place] = x.index, x.array.size
            elif isinstance(x, Leave) or (isinstance(x, Enter) and x.segment is region.segment):
                place = _OUTPUTS if isinstance(x, Leave) else _INPUTS
                index = x.place
            else:
                continue
            numbers = region.numbers(index, x)
            self._accesses.append((x, place, numbers))
            sizes[place] = max(sizes.get(place, 0), int(numbers.max(initial=-1)) + 1)
        self._at = {place: numpy.full(size, -1) for place, size in sizes.items()}
        for place, step in ((_INPUTS, 1), (_OUTPUTS, diagonal.stride)):
            if place in sizes:
                self._at[place] = step * numpy.arange(sizes[place]) % self._period
        self._in: dict[Path, Numbers] = {}
        self._in[()] = numpy.zeros(nests.count(region.around), dtype=numpy.int64)
        self.shifts: dict[Statement, int] = {}

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
            if isinstance(x, READS) and x.array not in arrays:
                arrays.add(x.array)
                found = [y for y in region.accesses[x.array] if isinstance(y, WRITES)]
            for y in found:
                if y not in needed:
                    needed.add(y)
                    waiting.append(y)
        return needed

    def agree(self) -> bool:
        """Whether the colours of what each statement reads and writes are always the same."""
        if not all(isinstance(x, _KNOWN) for x in self._needed):
            return False
        while self._find_iterations() or self._find_elements():
            pass
        for x, place, numbers in self._accesses:
            phases = self._in.get(self._path(x))
            if phases is None:
                return False
            shifts = (self._at[place][numbers] - phases) % self._period
            if len(shifts) and (shifts != shifts[0]).any():
                return False
            self.shifts[x] = int(shifts[0]) if len(shifts) else 0
        return all(
            self._path(x) == self._path(y) or self._is_same(self._path(y), self._path(x))
            for x in self._needed
            for _, y, _ in self._region.sources.get(x, ())
        )

    def _path(self, x: Statement) -> Path:
        return self._region.paths.get(x, ())

    def _find_iterations(self) -> bool:
        """Count from where the elements that iterations access do; gives whether some are new."""
        known = len(self._in)
        for x, place, numbers in self._accesses:
            if self._path(x) not in self._in:
                phases = self._at[place][numbers]
                if (phases >= 0).all():
                    self._in[self._path(x)] = phases
        return len(self._in) > known

    def _find_elements(self) -> bool:
        """Count from where an iteration does that accesses elements; gives whether some are new."""
        best: tuple[bool, int, _Place, Numbers, Numbers] | None = None
        for x, place, numbers in self._accesses:
            phases = self._in.get(self._path(x))
            if phases is None:
                continue
            at = self._at[place][numbers]
            known = at >= 0
            if known.all():
                continue
            shift = (at - phases)[known][:1]  # as for elements that are known, if some are
            if best is None or (len(shift) > 0, len(numbers)) > best[:2]:
                found = (phases + (shift[0] if len(shift) else 0)) % self._period
                best = len(shift) > 0, len(numbers), place, numbers[~known], found[~known]
        if best is not None:
            self._at[best[2]][best[3]] = best[4]
        return best is not None

    def _is_same(self, outer: Path, inner: Path) -> bool:
        """Whether iterations of inner loops count from where those around them do."""
        if outer not in self._in or inner not in self._in:
            return False
        around = self._region.around
        numbers = nests.numbers(nests.instance((*around, *outer)), (*around, *inner))
        return bool((self._in[outer][numbers] == self._in[inner]).all())
