"""The iterations of a body in nested loops, and whole numbers of them as indices.

An *instance* is one time that a body runs; instances are numbered from 0 in the order in which they
run.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy

from chainrule.forking import computed_once
from chainrule.program.form import Index, Loop, Table
from chainrule.program.nests import Numbers

_FEW = 256
"""Numbers that are looked at before all are."""


class Affine(NamedTuple):
    """offset + the sum of strides times iterations, the outermost loop's first."""

    offset: int
    strides: tuple[int, ...]


class Domain:
    """The instances of a body.

    Args:
        parent: of the body around; None for that of the program.
        trips: of the loop, for each instance of the body around.

    Attributes:
        count: the number of instances.
        up: for each instance that of the body around.
        iterations: of each loop around, the outermost first, for each instance.
        shape: the trip counts of these loops where none of them varies, else None.
        longest: the largest trip counts of these loops.
        loop: the loop in the program, once there is one.
    """

    def __init__(self, parent: Domain | None, trips: Numbers) -> None:
        self.parent = parent
        self.trips = trips
        self.loop: Loop | None = None
        self.chain: tuple[Domain, ...] = () if parent is None else (*parent.chain, self)
        if parent is None:
            self.count = 1
            self.iterations: list[Numbers] = []
            self.shape: tuple[int, ...] | None = ()
            self.longest: tuple[int, ...] = ()
            return
        ends = numpy.cumsum(trips)
        self.count = int(ends[-1]) if len(ends) else 0
        each = trips.min(initial=0) if not len(trips) else trips.min()
        longest = int(trips.max(initial=0))
        if each == longest:
            times: Numbers | int = longest  # sooner repeated
            last = numpy.tile(numpy.arange(longest), parent.count)
        else:
            times = trips
            last = numpy.arange(self.count) - numpy.repeat(ends - trips, trips)
        self.up = numpy.repeat(numpy.arange(parent.count), times)
        self.iterations = [numpy.repeat(x, times) for x in parent.iterations] + [last]
        regular = parent.shape is not None and each == longest
        self.shape = (*parent.shape, longest) if regular else None  # type: ignore[misc]
        self.longest = (*parent.longest, longest)

    @property
    def loops(self) -> list[Loop]:
        """The loops around, the outermost first."""
        return [domain.loop for domain in self.chain if domain.loop is not None]

    def instances_of(self, other: Domain) -> Numbers | None:
        """For each instance that of a body around or of this one; None if it is not around."""
        if other is self:
            return self.instances
        if len(other.chain) >= len(self.chain) or self.chain[: len(other.chain)] != other.chain:
            return None
        if not other.chain:
            return numpy.zeros(self.count, dtype=numpy.int64)
        result = self.up
        domain = self.parent
        while domain is not other:
            assert domain is not None
            result = domain.up[result]
            domain = domain.parent
        return result

    @computed_once
    def instances(self) -> Numbers:
        """The numbers of all instances."""
        return numpy.arange(self.count)

    def has(self, iterations: list[Numbers]) -> bool:
        """Whether any of some iterations, numbers for each loop around, is one of its instances."""
        instances = numpy.zeros(len(iterations[0]), dtype=numpy.int64)
        there = numpy.ones(len(instances), dtype=bool)
        for domain, numbers in zip(self.chain, iterations, strict=True):
            trips = domain.trips[instances]
            there &= (numbers >= 0) & (numbers < trips)
            if not there.any():
                return False
            first = numpy.cumsum(domain.trips) - domain.trips
            instances = numpy.where(there, first[instances] + numbers, 0)
        return True

    # Affine numbers

    @computed_once
    def _steps(self) -> list[tuple[int, int] | None]:
        """For each loop two instances that differ in its iteration, and in none further out."""
        return self._steps_among(None)

    def _steps_among(self, places: Numbers | None) -> list[tuple[int, int] | None]:
        found: list[tuple[int, int] | None] = []
        count = self.count if places is None else len(places)
        same = numpy.ones(max(count - 1, 0), dtype=bool)
        for iterations in self.iterations:
            if places is not None:
                iterations = iterations[places]
            other = iterations[1:] != iterations[:-1]
            at = int(numpy.argmax(same & other)) if len(other) else 0
            there = len(other) > 0 and bool(same[at] and other[at])
            found.append((at, at + 1) if there else None)
            same = same & ~other
        return found

    def affine(self, numbers: Numbers, places: Numbers | None = None) -> Affine | None:
        """Numbers of instances as an affine function of the iterations, or None.

        Args:
            numbers: of all instances, or of those in ``places``.
            places: some instances, ascending, or None for all.
        """
        return self._fitted(numbers, places, (0,) * len(self.chain))

    def guess(
        self, numbers: Numbers, places: Numbers | None, prefer: tuple[int, ...]
    ) -> Affine | None:
        """As ``affine`` for some instances; a stride that they do not tell is the preferred one."""
        found = self._fitted(numbers, places, prefer)
        return found or self._fitted(numbers, places, (0,) * len(self.chain))

    def _fitted(
        self, numbers: Numbers, places: Numbers | None, prefer: tuple[int, ...]
    ) -> Affine | None:
        if not len(numbers):
            return Affine(0, prefer)
        strides = [*prefer]

        def change(loop: int, a: int, b: int) -> int:
            if places is not None:
                a, b = int(places[a]), int(places[b])
            return int(self.iterations[loop][b]) - int(self.iterations[loop][a])

        steps = self._steps if places is None else self._steps_among(places)
        for loop, step in reversed([*enumerate(steps)]):
            if step is None:
                continue
            strides[loop] = 0
            rest = int(numbers[step[1]]) - int(numbers[step[0]])
            rest -= sum([x * change(i, *step) for i, x in enumerate(strides) if x])
            strides[loop], left = divmod(rest, change(loop, *step))
            if left:
                return None
        found = Affine(0, tuple(strides))
        some = slice(_FEW) if places is None else places[:_FEW]
        for given, where in ((numbers[:_FEW], some), (numbers, places)):
            values = self.values(found._replace(offset=0), where)
            found = found._replace(offset=int(given[0]) - int(values[0]))
            values += found.offset
            if (given != values).any():  # most that are not affine show it soon
                return None
        return found

    def values(self, affine: Affine, places: Numbers | slice | None = None) -> Numbers:
        """An affine function for all instances, or those in some places."""
        some = slice(None) if places is None else places
        result = numpy.full(len(self.instances[some]), affine.offset, dtype=numpy.int64)
        for stride, iterations in zip(affine.strides, self.iterations, strict=True):
            if stride:
                result += iterations[some] if stride == 1 else stride * iterations[some]
        return result


class Indices:
    """Makes indices; equal tables are one."""

    def __init__(self) -> None:
        self._tables: dict[bytes, Table] = {}

    def table(self, numbers: Numbers) -> Table:
        """A table of whole numbers."""
        numbers = numpy.ascontiguousarray(numbers, dtype=numpy.int64)
        return self._tables.setdefault(numbers.tobytes(), Table(numbers))

    def affine(self, domain: Domain, affine: Affine) -> Index:
        """The index of an affine function of the iterations."""
        strides = tuple(
            [
                (inner.loop, stride)
                for inner, stride in zip(domain.chain, affine.strides, strict=True)
                if stride and inner.loop is not None
            ]
        )
        return Index(affine.offset, strides)

    def index(self, domain: Domain, numbers: Numbers, places: Numbers | None = None) -> Index:
        """Numbers of instances as an index: affine if they are, else with tables.

        Args:
            domain: the instances.
            numbers: of all instances, or of those in ``places``; those of the others may be any.
            places: some instances, ascending, or None for all.
        """
        if places is not None and len(places) == domain.count:
            places = None
        affine = domain.affine(numbers, places)
        if affine is not None:
            return self.affine(domain, affine)
        if places is None and domain.shape is not None:
            return self._rectangular(domain, numbers.reshape(domain.shape))
        return self._nested(domain, numbers, places)

    def gathering(self, domain: Domain, numbers: Numbers) -> Index:
        """The same of all instances, with one table for those that are as far from each other."""
        first = int(numbers[0])
        return self.index(domain, numbers - first).plus(first)

    def _rectangular(self, domain: Domain, numbers: Numbers) -> Index:
        """The index of numbers by the iterations of loops whose trip counts do not vary."""
        strides = []
        for axis, inner in enumerate(domain.chain):
            step = numpy.diff(numbers, axis=axis)
            stride = int(step.flat[0]) if step.size else 0
            if (step == stride).all():
                if stride and inner.loop is not None:
                    strides.append((inner.loop, stride))
                numbers = numbers.take([0], axis=axis)
        place = self._place(domain, numbers.shape)
        return Index(0, tuple(strides), ((self.table(numbers.ravel()), place),))

    def _nested(self, domain: Domain, numbers: Numbers, places: Numbers | None) -> Index:
        """The index of numbers by the iterations of loops whose trip counts vary."""
        assert domain.parent is not None
        assert domain.loop is not None
        last = domain.iterations[-1] if places is None else domain.iterations[-1][places]
        up = domain.up if places is None else domain.up[places]
        # With a stride in the innermost loop, and any numbers in those around.
        same = up[1:] == up[:-1]
        step, apart = numpy.diff(numbers)[same], numpy.diff(last)[same]
        stride = int(step[0]) // int(apart[0]) if len(step) else 0
        if (step == stride * apart).all():
            first = numpy.concatenate([[True], ~same])
            rest = (numbers - stride * last)[first]
            around = self.index(domain.parent, rest, up[first])
            if not stride:
                return around
            return around._replace(strides=(*around.strides, (domain.loop, stride)))
        # By the innermost loop alone.
        table = numpy.zeros(int(last.max()) + 1, dtype=numpy.int64)
        table[last] = numbers
        if (table[last] == numbers).all():
            return Index(0, (), ((self.table(table), Index(0, ((domain.loop, 1),))),))
        whole = numbers
        if places is not None:
            whole = numpy.zeros(domain.count, dtype=numpy.int64)
            whole[places] = numbers
        return self._by_instance(domain, whole)

    def _by_instance(self, domain: Domain, numbers: Numbers) -> Index:
        """The index of any numbers by the instance, without outer loops that only add to them."""
        place = self.instance(domain)
        strides: list[tuple[Loop, int]] = []
        instances = domain.instances
        for outer, iteration in zip(domain.chain, domain.iterations, strict=True):
            period = len(numbers) // outer.longest[-1]
            by_outer = (outer.loop, period)
            instances = instances - period * iteration
            # Loops in it may run as often on the whole, but not in each of its iterations.
            if by_outer not in place.strides or instances.min() < 0 or instances.max() >= period:
                break
            if any(outer.loop in index.loops() for _, index in place.tables):
                break
            step = numpy.diff(numbers.reshape(-1, period), axis=0)
            if len(step) and (step != step[0, 0]).any():
                break
            assert outer.loop is not None
            if len(step) and step[0, 0]:
                strides.append((outer.loop, int(step[0, 0])))
            place = place._replace(strides=tuple(x for x in place.strides if x != by_outer))
            numbers = numbers[:period]
        return Index(0, tuple(strides), ((self.table(numbers), place),))

    def instance(self, domain: Domain) -> Index:
        """The number of the instance."""
        affine = domain.affine(domain.instances)
        if affine is not None:
            return self.affine(domain, affine)
        assert domain.parent is not None
        assert domain.loop is not None
        around = self.index(domain.parent, numpy.cumsum(domain.trips) - domain.trips)
        return around._replace(strides=(*around.strides, (domain.loop, 1)))

    def looked_up(self, domain: Domain, numbers: Numbers) -> tuple[Numbers, Index]:
        """Any numbers of all instances as a table, as small as can be, and where to read it."""
        if domain.shape is not None:
            numbers = numbers.reshape(domain.shape)
            for axis in range(len(domain.chain)):
                first = numbers.take([0], axis=axis)
                if (numbers == first).all():
                    numbers = first
            return numbers.ravel(), self._place(domain, numbers.shape)
        assert domain.loop is not None
        last = domain.iterations[-1]
        table = numpy.zeros(domain.longest[-1], dtype=numpy.int64)
        table[last] = numbers
        if (table[last] == numbers).all():
            return table, Index(0, ((domain.loop, 1),))
        assert domain.parent is not None
        table = numpy.zeros(domain.parent.count, dtype=numpy.int64)
        table[domain.up] = numbers
        if (table[domain.up] == numbers).all():
            return self.looked_up(domain.parent, table)
        return numbers, self.instance(domain)

    @staticmethod
    def _place(domain: Domain, shape: tuple[int, ...]) -> Index:
        """Where an element of an array stands whose axes are the loops; some have length 1."""
        strides = []
        size = 1
        for inner, length in reversed([*zip(domain.chain, shape, strict=True)]):
            if length > 1:
                assert inner.loop is not None
                strides.append((inner.loop, size))
                size *= length
        return Index(0, tuple(reversed(strides)))
