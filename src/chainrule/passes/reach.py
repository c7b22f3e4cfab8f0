"""Which statements the messages of a pass come to, by structure: in which of their instances.

Where messages always come, no condition is needed. That is found by assuming it of all instances,
and taking it back where one gets no message even so, until nothing changes. An instance gets
messages only from others that the pass has come to before, so what is left is true.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias, cast

import numpy

from chainrule.passes.region import Region
from chainrule.program import nests
from chainrule.program.elements import Access, Elements, Mask, apart
from chainrule.program.form import BY_VALUE, READS, WRITES, Array, Leave, Loop, Statement
from chainrule.program.nests import Numbers

Instances: TypeAlias = "bool | Mask"
"""Which instances of a statement: all, none, or those that are true."""

PATIENCE = 12
"""How often what is assumed is taken back bit by bit; after that, for whole statements.

That comes sooner where as much is taken back each time, and too much would be left.
"""


class Reach:
    """What a pass through a region reaches.

    Args:
        region: the region.
        starts: the inputs (forward) or outputs that changes come to: in which instances.
        forward: whether tangents are pushed forward, or cotangents pulled back.
        exact: whether nothing comes to other instances of the starts.

    Attributes:
        some: the statements that messages come to.
        always: those in whose every instance one comes, whatever the values are.
        separate: arrays of which different instances of the region access the same element.
        gates: values by which alone a pass backwards goes on: see :meth:`_gates`.
    """

    def __init__(
        self, region: Region, starts: Mapping[Statement, Instances], forward: bool, exact: bool
    ) -> None:
        self.region = region
        self.forward = forward
        self._elements: dict[Access, Elements] = {}
        self._covers: dict[Array, tuple[list[Instances], Mask]] = {}
        self._senders = WRITES if forward else READS
        self._receivers = READS if forward else WRITES
        self.separate = {array for array in region.accesses if self._is_shared(array)}
        self.some = self._reached(starts)
        self.gates = set() if forward else self._gates(starts)
        self._given_up: set[Statement] = set()
        self._steps = self._way()
        self._certain = self._reached_certainly(starts)
        self.always = {x for x, instances in self._certain.items() if instances is True}
        vague = self._unsure()
        if not exact:
            vague.update(starts)
        self._vague = self._reached(vague) if vague else vague

    def loops(self, ends: Iterable[Statement]) -> set[Loop]:
        """The loops around what is reached, and around the ends of the pass."""
        paths = self.region.paths
        found: set[Loop] = set()
        for group in (self.some, ends):
            for statement in group:
                if statement in paths:
                    found.update(paths[statement])
        return found

    def is_flagged(self, array: Array) -> bool:
        """Whether a message comes to some only of the elements that are asked for."""
        for x in self.region.accesses[array]:
            if isinstance(x, self._receivers) and x in self.some and x not in self.always:
                return True
        return False

    def mask(self, array: Array) -> Mask | None:
        """The elements that messages come to; None where values decide that."""
        senders = [x for x in self._sending(array) if x in self.some]
        by_value = any(isinstance(x, BY_VALUE) for x in senders)
        if by_value or array in self.separate or any(x in self._vague for x in senders):
            return None
        return self._covered(array, self._certain)

    def is_covered(self, array: Array) -> bool:
        """Whether all elements that are loaded are stored, by the same instance of the region."""
        accesses = self.region.accesses[array]
        stored = numpy.zeros(array.size, dtype=numpy.bool_)
        for x in accesses:
            if isinstance(x, WRITES):
                self._at(x).mark(stored)
        loaded = [x for x in accesses if isinstance(x, READS)]
        return array not in self.separate and all(self._at(x).all_in(stored).all() for x in loaded)

    def _reached(self, starts: Iterable[Statement]) -> set[Statement]:
        """What messages come to at all."""
        region = self.region
        found = set(starts)
        arrays: set[Array] = set()
        size = -1
        while size != len(arrays):
            size = len(arrays)
            for statement in region.order if self.forward else reversed(region.order):
                is_receiver = isinstance(statement, self._receivers)
                if is_receiver and statement in region.sources and _array(statement) in arrays:
                    found.add(statement)
                self._send(statement, found)
                if isinstance(statement, self._senders) and statement in found:
                    arrays.add(statement.array)
            if not region.paths:
                break
        return found

    def _gates(self, starts: Iterable[Statement]) -> set[Statement]:
        """Values such that nothing else waits to send messages when a pass backwards is there.

        A condition of what has come to one is a condition of all that follows, so that it is enough
        to ask it at the end.
        """
        region = self.region
        ahead = len([*starts])
        waiting: set[Statement] = set()
        found: set[Statement] = set()
        for x in reversed(region.order):
            if x in region.paths or (isinstance(x, (*READS, *WRITES)) and x in self.some):
                break
            if isinstance(x, Leave):
                if x in self.some:
                    ahead -= 1
                    if isinstance(x.value, Statement) and x.value in self.some:
                        waiting.add(x.value)
            elif x in waiting:
                waiting.remove(x)
                if not waiting and not ahead:
                    found.add(x)
                waiting.update([y for _, y, _ in region.sources[x]])
        return found

    def _reached_certainly(
        self, starts: Mapping[Statement, Instances]
    ) -> dict[Statement, Instances]:
        """In which instances messages come to statements, whatever the values are."""
        assumed: dict[Statement, Instances] = dict.fromkeys(self.some, True)
        patience = PATIENCE
        taken: list[tuple[Statement, int]] = []
        while True:
            found = self._follow(starts, assumed)
            changed = [
                x
                for accesses in self.region.accesses.values()
                for x in accesses
                if isinstance(x, self._senders)
                and not _same(found.get(x, False), assumed.get(x, False))
            ]
            if not changed:
                return found
            patience -= 1
            before, taken = taken, [(x, self._count(x, assumed)) for x in changed]
            taken = [(x, count - self._count(x, found)) for x, count in taken]
            hopeless = taken == before and all(
                self._count(x, found) > count * patience for x, count in taken
            )
            if patience < 0 or hopeless:
                self._given_up.update(changed)
                for x in changed:
                    found[x] = False
            assumed = found

    def _count(self, x: Statement, instances: Mapping[Statement, Instances]) -> int:
        """In how many instances of a statement."""
        some = instances.get(x, False)
        if isinstance(some, bool):
            return nests.count(self.region.loops_around(x)) if some else 0
        return int(numpy.count_nonzero(some))

    def _follow(
        self, starts: Mapping[Statement, Instances], assumed: Mapping[Statement, Instances]
    ) -> dict[Statement, Instances]:
        """In which instances messages come to statements, if they do to those assumed."""
        found = {x: y if isinstance(y, bool) else _plain(y) for x, y in starts.items()}
        covered: dict[Array, Mask] = {}
        for x, array, others in self._steps:
            if array is not None:
                if array not in covered:
                    covered[array] = self._covered(array, assumed)
                found[x] = _plain(self._at(cast(Access, x)).all_in(covered[array]))
            if self.forward:
                for y in others:
                    if y in found:
                        found[x] = _either(found.get(x, False), self._inside(found[y], y, x))
            elif x in found:
                for y in others:
                    found[y] = _either(found.get(y, False), self._outside(found[x], x, y))
            if x in self._given_up:
                found[x] = False
        return found

    def _way(self) -> list[tuple[Statement, Array | None, list[Statement]]]:
        """What is reached, in order: with the array it receives from, and what it is linked to."""
        region, sources = self.region, self.region.sources
        found: list[tuple[Statement, Array | None, list[Statement]]] = []
        for x in region.order if self.forward else reversed(region.order):
            if x not in self.some:
                continue
            array = x.array if isinstance(x, self._receivers) else None
            if isinstance(x, Leave) and not self.forward:
                value = x.value
                others = [value] if isinstance(value, Statement) and value in sources else []
            else:
                others = [
                    y
                    for _, y, certain in sources.get(x, ())
                    if certain or (not self.forward and y in self.gates)
                ]
            found.append((x, None if array in self.separate else array, others))
        return found

    def _covered(self, array: Array, instances: Mapping[Statement, Instances]) -> Mask:
        """The elements that messages are sent to by some instances."""
        senders = [x for x in self._sending(array) if not isinstance(x, BY_VALUE)]
        sending = [instances.get(x, False) for x in senders]
        before, result = self._covers.get(array, (None, None))
        if before is not None and result is not None and all(map(_same, before, sending)):
            return result
        result = numpy.zeros(array.size, dtype=numpy.bool_)
        for x, some in zip(senders, sending, strict=True):
            if some is not False:
                self._at(x).mark(result, None if some is True else some)
        self._covers[array] = sending, result
        return result

    def _inside(self, instances: Instances, outer: Statement, inner: Statement) -> Instances:
        """The instances of a statement in loops whose values from outside are some."""
        if isinstance(instances, bool) or self._are_alike(outer, inner):
            return instances
        each = self._each(outer, inner)
        if each is not None:
            return _plain(numpy.repeat(instances, each))
        return _plain(instances[self._outer_instances(outer, inner)])

    def _outside(self, instances: Instances, inner: Statement, outer: Statement) -> Instances:
        """The instances of a statement in which some of one in loops are."""
        if instances is False or self._are_alike(outer, inner):
            return instances
        if instances is True and self.region.always_runs(inner, outer):
            return True
        each = self._each(outer, inner)
        if each is not None and instances is not True:
            return _plain(numpy.any(instances.reshape(-1, each), axis=1))
        numbers = self._outer_instances(outer, inner)
        if instances is not True:
            numbers = numbers[instances]
        count = nests.count(self.region.loops_around(outer))
        return _plain(numpy.bincount(numbers, minlength=count) > 0)

    def _are_alike(self, x: Statement, y: Statement) -> bool:
        return self.region.paths.get(x, ()) == self.region.paths.get(y, ())

    def _each(self, outer: Statement, inner: Statement) -> int | None:
        """How many instances of a statement in loops each of one outside has, if that is known."""
        path = self.region.paths.get(inner, ())
        loops = path[len(self.region.paths.get(outer, ())) :]
        known = all(loop.trips.is_fixed and loop.trips.offset > 0 for loop in loops)
        return nests.count(loops) if known else None

    def _outer_instances(self, outer: Statement, inner: Statement) -> Numbers:
        number = nests.instance(self.region.loops_around(outer))
        return self.region.numbers(number, inner)

    def _unsure(self) -> set[Statement]:
        """What messages come to perhaps: by operands or elements that are picked, or shared."""
        found = set(self._given_up)
        for array, accesses in self.region.accesses.items():
            picked = any(isinstance(x, BY_VALUE) and x in self.some for x in self._sending(array))
            unknown = picked or array in self.separate
            for y in accesses:
                receives = isinstance(y, self._receivers) and (unknown or isinstance(y, BY_VALUE))
                if receives and y in self.some and y not in self.always:
                    found.add(y)
        for statement in self.region.order:
            for _, source, certain in self.region.sources.get(statement, ()):
                reached = statement in self.some and source in self.some
                if not certain and reached and source not in self.gates:
                    found.add(statement if self.forward else source)
        return found

    def _send(self, statement: Statement, found: set[Statement]) -> None:
        """Go on from a statement that is reached, or to it."""
        region = self.region
        if self.forward:
            if any(x in found for _, x, _ in region.sources.get(statement, ())):
                found.add(statement)
        elif statement in found:
            if isinstance(statement, Leave):
                if isinstance(statement.value, Statement) and statement.value in region.sources:
                    found.add(statement.value)
                return
            found.update([x for _, x, _ in region.sources[statement]])

    def _sending(self, array: Array) -> list[Access]:
        return [x for x in self.region.accesses[array] if isinstance(x, self._senders)]

    def _at(self, x: Access) -> Elements:
        """The elements that a statement accesses."""
        found = self._elements.get(x)
        if found is None:
            found = self._elements[x] = self.region.elements(x)
        return found

    def _is_shared(self, array: Array) -> bool:
        """Whether two instances of the region access the same element."""
        around, paths = self.region.around, self.region.paths
        if apart([(x, paths.get(x, ())) for x in self.region.accesses[array]], around):
            return False
        instance = nests.instance(around)
        owner = numpy.full(array.size, -1, dtype=numpy.int64)
        found = []
        for x in self.region.accesses[array]:
            rows, which = self._at(x).listed(array.size)
            numbers = self.region.numbers(instance, x)
            owners = numpy.zeros((len(rows), 1), dtype=numpy.int64)
            owners[which, 0] = numbers
            if (owners[which, 0] != numbers).any():
                return True
            owner[rows] = owners
            found.append((rows, owners))
        return any(bool((owner[rows] != owners).any()) for rows, owners in found)


def _array(x: Statement) -> Array:
    return cast(Access, x).array


def _same(a: Instances, b: Instances) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return numpy.array_equal(a, b)


def _plain(instances: Mask) -> Instances:
    """All or none as such."""
    if instances.all():
        return True
    return instances.reshape(-1) if instances.any() else False


def _either(a: Instances, b: Instances) -> Instances:
    if a is True or b is True:
        return True
    if isinstance(a, bool):
        return b
    return a if isinstance(b, bool) else _plain(a | b)
