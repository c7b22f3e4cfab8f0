"""Which statements the messages of a pass come to, by structure: in some instances, or in all.

Where messages always come, no condition is needed. That is found by assuming it of all statements,
and taking it back where an instance gets no message even so, until nothing changes. An instance
gets messages only from others that the pass has come to before, so what is left is true.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy
from numpy.typing import NDArray

from chainrule.passes.region import Region
from chainrule.program import nests
from chainrule.program.form import Array, Leave, Load, Loop, Statement, Store
from chainrule.program.nests import Numbers

Elements = NDArray[numpy.bool_]


class Reach:
    """What a pass through a region reaches.

    Args:
        region: the region.
        starts: the inputs (forward) or outputs that changes come to; whether to all instances.
        forward: whether tangents are pushed forward, or cotangents pulled back.

    Attributes:
        some: the statements that messages come to.
        always: those in whose every instance one comes, whatever the values are.
        separate: arrays of which different instances of the region access the same element.
    """

    def __init__(self, region: Region, starts: Mapping[Statement, bool], forward: bool) -> None:
        self.region = region
        self.forward = forward
        self._elements: dict[Load | Store, Numbers] = {}
        self._senders = Store if forward else Load
        self._receivers = Load if forward else Store
        self.separate = {array for array in region.accesses if self._is_shared(array)}
        self.some = self._reached(starts)
        certain = [statement for statement, always in starts.items() if always]
        always, before = self.some, -1
        while before != len(always):
            before = len(always)
            always = self._reached_always(certain, always)
        self.always = always

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

    def mask(self, array: Array) -> Elements | None:
        """The elements that messages come to; None where values decide that."""
        senders = [x for x in self._sending(array) if x in self.some]
        if array in self.separate or not all(x in self.always for x in senders):
            return None
        return self._accessed(array, senders)

    def is_covered(self, array: Array) -> bool:
        """Whether all elements that are loaded are stored, by the same instance of the region."""
        accesses = self.region.accesses[array]
        stored = self._accessed(array, [x for x in accesses if isinstance(x, Store)])
        loaded = [x for x in accesses if isinstance(x, Load)]
        return array not in self.separate and all(stored[self._at(x)].all() for x in loaded)

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
                self._send(statement, found, False)
                if isinstance(statement, self._senders) and statement in found:
                    arrays.add(statement.array)
            if not region.paths:
                break
        return found

    def _reached_always(
        self, starts: Iterable[Statement], assumed: set[Statement]
    ) -> set[Statement]:
        """What messages always come to if they do to what is assumed."""
        region = self.region
        found = set(starts)
        covered: dict[Array, Elements] = {}
        for statement in region.order if self.forward else reversed(region.order):
            if isinstance(statement, self._receivers) and statement in assumed:
                array = statement.array
                if array not in covered:
                    covered[array] = self._accessed(
                        array, [x for x in self._sending(array) if x in assumed]
                    )
                if array not in self.separate and covered[array][self._at(statement)].all():
                    found.add(statement)
            self._send(statement, found, True)
        return found

    def _send(self, statement: Statement, found: set[Statement], always: bool) -> None:
        """Go on from a statement that is reached, or to it."""
        region = self.region
        if self.forward:
            for _, x, certain in region.sources.get(statement, ()):
                if x in found and (certain or not always):
                    found.add(statement)
        elif statement in found:
            if isinstance(statement, Leave):
                y = statement.value
                if not isinstance(y, Statement) or y not in region.sources:
                    return
                if not always or region.always_runs(statement, y):
                    found.add(y)
                return
            for _, x, certain in region.sources[statement]:
                if not always or (certain and region.always_runs(statement, x)):
                    found.add(x)

    def _sending(self, array: Array) -> list[Load | Store]:
        return [x for x in self.region.accesses[array] if isinstance(x, self._senders)]

    def _at(self, x: Load | Store) -> Numbers:
        """The elements that a statement accesses."""
        found = self._elements.get(x)
        if found is None:
            found = self._elements[x] = self.region.numbers(x.index, x)
        return found

    def _accessed(self, array: Array, accesses: Iterable[Load | Store]) -> Elements:
        result = numpy.zeros(array.size, dtype=numpy.bool_)
        for x in accesses:
            result[self._at(x)] = True
        return result

    def _is_shared(self, array: Array) -> bool:
        """Whether two instances of the region access the same element."""
        around = self.region.around
        if not around:
            return False
        instance = nests.instance(around)
        owner = numpy.full(array.size, -1, dtype=numpy.int64)
        accesses = self.region.accesses[array]
        owners = [self.region.numbers(instance, x) for x in accesses]
        for x, numbers in zip(accesses, owners, strict=True):
            owner[self._at(x)] = numbers
        found = zip(accesses, owners, strict=True)
        return any(bool((owner[self._at(x)] != numbers).any()) for x, numbers in found)


def _array(x: Statement) -> Array:
    assert isinstance(x, (Load, Store))
    return x.array
