"""Where values stand that are read in other iterations, or after their loop: in which arrays.

Written rows whose values are read by the same operand share an array. Its elements are laid out so
that what reads them is affine: the values of the row with the most instances stand by its
iterations; then an operand that reads them and others tells where the others belong, as what a
recurrence begins with belongs before its first value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy

from chainrule.program.form import VALUES, Array, Index
from chainrule.program.nests import Numbers, distinct

from .domain import Affine, Domain, Indices
from .nest import ROOT, Nest, Written
from .repeats import Ints

_ROOMY = 8
"""An array may have so many times the elements that it needs."""

_COPIES = 16
"""A value may be stored as often in one array."""

_FACTORS = (1, 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
"""By which coordinates become one number, modulo 2 ** 64."""


@dataclass(eq=False, repr=False)
class Read:
    """An operand that is read from an array.

    Attributes:
        domain: the instances of what reads.
        operands: what they read.
        owners: the written rows of these, -1 for inputs, one of each.
        which: these, for each instance; None if there is only one.
        array, index: where; filled in by ``place``.
    """

    domain: Domain
    operands: Ints
    owners: list[int]
    which: Ints | None
    array: Array | None = None
    index: Index = field(default_factory=Index)
    fits: list[Affine] | None = None


@dataclass(eq=False, repr=False)
class Kept:
    """Values that are stored in an array.

    Attributes:
        owner: their written row, -1 for inputs.
        instances: which of its values, None for all; of inputs their numbers.
        coordinates: where they stand.
        places: their elements, once known.
        before: inputs may be stored just before the loop of this domain, one each time.
    """

    owner: int
    instances: Numbers | None
    coordinates: list[Numbers]
    places: Numbers = field(default_factory=lambda: numpy.zeros(0, dtype=numpy.int64))
    before: Domain | None = None


class Shared:
    """An array and what is stored there.

    Args:
        members: the written rows that have all their values in it.
        reads: the operands that read it.

    Attributes:
        array: the array.
        kept: what is stored.
        homes: of written rows, and -1 for inputs, where each value can be read.
    """

    def __init__(self, nest: Nest, members: list[Written], reads: list[Read], name: str) -> None:
        self._nest = nest
        self._members = {member.number: member for member in members}
        self.reads = reads
        self.homes: dict[int, Kept] = {}  # of members
        self._keys = numpy.zeros(0, dtype=numpy.uint64)  # of the coordinates in use, sorted
        self._rows = numpy.zeros(0, dtype=numpy.int64)  # whose values stand there
        self.kept: list[Kept] = []
        by_count = sorted(members, key=lambda x: (x.domain.count, len(x.domain.chain), -x.number))
        self._seed = by_count[-1].domain if members else ROOT
        self._dimensions = max(len(self._seed.chain), 1)
        if self._seed is ROOT:
            for number, member in enumerate(sorted(members, key=lambda x: int(x.rows[0]))):
                self._keep(member.number, None, [numpy.full(1, number)], member.rows)
        else:
            seed = by_count[-1].number
            self.kept.append(Kept(seed, None, list(self._seed.iterations)))
            self.homes[seed] = self.kept[0]
        self._spread()
        self._number()
        self.array = Array(VALUES, self.size, name)

    # Coordinates

    def _keep(
        self, owner: int, instances: Numbers | None, coordinates: list[Numbers], rows: Numbers
    ) -> bool:
        """Let values stand somewhere, unless others stand there."""
        keys = numpy.zeros(len(rows), dtype=numpy.uint64)
        for factor, numbers in zip(_factors(len(coordinates)), coordinates, strict=True):
            keys += numbers.astype(numpy.uint64) * factor
        order = numpy.argsort(keys, kind="stable")
        sorted_keys, sorted_rows = keys[order], rows[order]
        equal = sorted_keys[1:] == sorted_keys[:-1]
        if (equal & (sorted_rows[1:] != sorted_rows[:-1])).any():
            return False
        if self._taken_by_seed(coordinates):
            return False
        at = numpy.searchsorted(self._keys, sorted_keys)
        inside = at < len(self._keys)
        there = numpy.zeros(len(keys), dtype=bool)
        there[inside] = self._keys[at[inside]] == sorted_keys[inside]
        if (self._rows[at[there]] != sorted_rows[there]).any():
            return False
        new = ~there
        new[1:] &= ~equal
        if not new.any():
            return True
        if owner in self._members and there.any():
            return False
        if owner not in self._members:
            chosen = numpy.sort(order[new])
            if instances is None:
                if len(chosen) < len(rows):
                    return False
            else:
                instances = instances[chosen]
            coordinates = [numbers[chosen] for numbers in coordinates]
        self._keys = numpy.insert(self._keys, at[new], sorted_keys[new])
        self._rows = numpy.insert(self._rows, at[new], sorted_rows[new])
        kept = Kept(owner, instances, coordinates)
        self.kept.append(kept)
        if owner in self._members:
            self.homes[owner] = kept
        return True

    def _taken_by_seed(self, coordinates: list[Numbers]) -> bool:
        """Whether some coordinates are iterations of the first row, whose values stand there."""
        return bool(self._seed.chain) and self._seed.has(coordinates)

    def _spread(self) -> None:
        """Let operands tell where else values belong, while any does."""
        waiting = [read for read in self.reads if read.which is not None]
        progress = True
        while progress and waiting:
            progress = False
            for read in list(waiting):
                if self._spread_from(read):
                    waiting.remove(read)
                    progress = True

    def _spread_from(self, read: Read) -> bool:
        """Place what an operand reads; whether its elements are affine then."""
        assert read.which is not None
        instance = self._nest.instance[read.operands]
        known = numpy.zeros(len(read.operands), dtype=bool)
        coordinates = [
            numpy.zeros(len(read.operands), dtype=numpy.int64) for _ in range(self._dimensions)
        ]
        for owner in read.owners:
            home = self.homes.get(owner)
            if home is None:
                continue
            chosen = read.which == owner
            known |= chosen
            for numbers, of_home in zip(coordinates, home.coordinates, strict=True):
                numbers[chosen] = of_home[instance[chosen]]
        places = None if known.all() else numpy.flatnonzero(known)
        if not known.any():
            return False
        fits = []
        for axis, numbers in enumerate(coordinates):
            prefer = self._preferred(read.domain, axis)
            found = numbers if places is None else numbers[places]
            fit = read.domain.guess(found, places, prefer)
            if fit is None:
                return False
            fits.append(fit)
        guessed = [read.domain.values(fit) for fit in fits]
        for owner in read.owners:
            if owner in self.homes:
                continue
            chosen = numpy.flatnonzero(read.which == owner)
            at = [numbers[chosen] for numbers in guessed]
            if not self._place(owner, instance[chosen].astype(numpy.int64), at):
                return False
            if owner < 0:
                self._note_beginning(read.domain, chosen)
        read.fits = fits
        return True

    def _note_beginning(self, domain: Domain, chosen: Numbers) -> None:
        """Note if the inputs that were placed last are what the first iterations of a loop read."""
        kept = self.kept[-1]
        if kept.owner >= 0 or not domain.chain or len(kept.coordinates[0]) != len(chosen):
            return
        assert domain.parent is not None
        first = domain.iterations[-1][chosen] == 0
        alone = all(read.domain is domain for read in self.reads if -1 in read.owners)
        if alone and len(chosen) == domain.parent.count and first.all():
            kept.before = domain  # else another loop, perhaps an earlier one, reads them too

    def _preferred(self, domain: Domain, axis: int) -> tuple[int, ...]:
        """The strides of loops of which nothing else tells: iterations stand side by side."""
        if axis >= len(self._seed.chain):
            return (0,) * len(domain.chain)
        prefer = [int(inner is self._seed.chain[axis]) for inner in domain.chain]
        if axis == self._dimensions - 1 and domain.chain[-1] not in self._seed.chain:
            prefer[-1] = 1
        return tuple(prefer)

    def _place(self, owner: int, instances: Numbers, coordinates: list[Numbers]) -> bool:
        """Place values of a written row or inputs, so that all of that row's have a place."""
        if owner < 0:
            rows = instances + self._nest.n_rows
            return self._keep(owner, instances, coordinates, rows)
        written = self._nest.written[owner]
        if written.domain is ROOT:
            different = {*zip(*[x.tolist() for x in coordinates], strict=True)}
            if len(different) > (1 if owner in self._members else _COPIES):
                return False
            return all(
                self._keep(owner, None, [numpy.full(1, x) for x in each], written.rows)
                for each in sorted(different)
            )
        order = numpy.argsort(instances, kind="stable")
        instances = instances[order]
        new = numpy.concatenate([[True], instances[1:] != instances[:-1]])
        if not (new.all() or all(_same_again(x[order], new) for x in coordinates)):
            return False
        instances = instances[new]
        everywhere = []
        for axis, numbers in enumerate(coordinates):
            numbers = numbers[order][new]
            prefer = self._preferred(written.domain, axis)
            fit = written.domain.guess(numbers, instances, prefer)
            if fit is None:
                return False
            everywhere.append(written.domain.values(fit))
        return self._keep(owner, None, everywhere, written.rows)

    # Elements

    def _number(self) -> None:
        """Give all coordinates their elements, and the rest elements after these."""
        lowest = [min([int(x.coordinates[i].min()) for x in self.kept] or [0]) for i in self._axes]
        highest = [
            max([int(x.coordinates[i].max()) for x in self.kept] or [-1]) for i in self._axes
        ]
        extents = [high - low + 1 for low, high in zip(lowest, highest, strict=True)]
        needed = sum(len(x.coordinates[0]) for x in self.kept)
        self.size = 1
        factors = [0] * self._dimensions
        for axis in reversed(self._axes):
            factors[axis] = self.size
            self.size *= extents[axis]
        self._offset = -sum(f * low for f, low in zip(factors, lowest, strict=True))
        self._factors_of = factors
        if self.size > _ROOMY * needed + 64:
            self.size = 0
            self.kept, self.homes = [], {}
            for read in self.reads:
                read.fits = None
        for kept in self.kept:
            kept.places = self._offset + sum(  # type: ignore[assignment]
                f * x for f, x in zip(factors, kept.coordinates, strict=True)
            )
        for number, member in self._members.items():
            if number not in self.homes:
                self._append(number, member.domain)
        for read in self.reads:
            if read.fits is None:
                for owner in read.owners:
                    if owner >= 0 and owner not in self.homes:
                        self._append(owner, self._nest.written[owner].domain)
        numbers = [
            self._nest.instance[
                read.operands[read.which == -1] if read.which is not None else read.operands
            ]
            for read in self.reads
            if read.fits is None and -1 in read.owners
        ]
        if numbers:
            inputs = distinct(numpy.concatenate(numbers)).astype(numpy.int64)
            kept = Kept(-1, inputs, [], self.size + numpy.arange(len(inputs)))
            self.kept.append(kept)
            self.homes[-1] = kept
            self.size += len(inputs)

    @property
    def _axes(self) -> range:
        return range(self._dimensions)

    def _append(self, owner: int, domain: Domain) -> None:
        """Let all values of a written row stand after all others."""
        size = 1
        places = numpy.zeros(domain.count, dtype=numpy.int64)
        for length, iterations in zip(
            reversed(domain.longest), reversed(domain.iterations), strict=True
        ):
            places += size * iterations
            size *= length
        if size > _ROOMY * domain.count + 64:
            places, size = domain.instances, domain.count
        kept = Kept(owner, None, [], self.size + places)
        self.kept.append(kept)
        self.homes[owner] = kept
        self.size += size

    def find(self, read: Read, indices: Indices) -> None:
        """Fill in where an operand is read; its loops are there."""
        read.array = self.array
        if read.fits is not None:
            offset, strides = self._offset, [0] * len(read.domain.chain)
            for factor, fit in zip(self._factors_of, read.fits, strict=True):
                offset += factor * fit.offset
                strides = [s + factor * x for s, x in zip(strides, fit.strides, strict=True)]
            read.index = indices.affine(read.domain, Affine(offset, tuple(strides)))
            return
        read.index = indices.index(read.domain, self.places(read))

    def places(self, read: Read) -> Numbers:
        """The elements that an operand reads, by where each value has its home."""
        instance = self._nest.instance[read.operands]
        places = numpy.empty(len(instance), dtype=numpy.int64)
        for owner in read.owners:
            home = self.homes[owner]
            chosen = slice(None) if read.which is None else read.which == owner
            if owner < 0:
                assert home.instances is not None
                found = numpy.searchsorted(home.instances, instance[chosen])
                places[chosen] = home.places[found]
            else:
                places[chosen] = home.places[instance[chosen]]
        return places


def _same_again(numbers: Numbers, new: numpy.ndarray) -> bool:
    """Whether numbers only change where something is new."""
    return bool((~(numbers[1:] != numbers[:-1]) | new[1:]).all())


def _factors(count: int) -> Sequence[numpy.uint64]:
    factors = [*_FACTORS]
    while len(factors) < count:
        factors.append(factors[-1] * 0x9E3779B97F4A7C15 % 2**64 | 1)
    return [numpy.uint64(factor) for factor in factors[:count]]


def shared_arrays(nest: Nest, reads: Sequence[Read]) -> list[Shared]:
    """The arrays that some operands read, laid out."""
    group = [*range(len(nest.written))]

    def found(number: int) -> int:
        while group[number] != number:
            group[number] = group[group[number]]
            number = group[number]
        return number

    mains = []
    alone: list[Shared] = []
    for read in reads:
        owners = [nest.written[owner] for owner in read.owners if owner >= 0]
        if not owners:
            alone.append(Shared(nest, [], [read], f"c{len(alone)}"))
            continue
        main = max(owners, key=lambda x: (len(x.domain.chain), x.domain.count))
        mains.append(main)
        for other in owners:
            if other is not main and not _begins(other.domain, main.domain):
                group[found(other.number)] = found(main.number)
    members: dict[int, dict[int, Written]] = {}
    readers: dict[int, list[Read]] = {}
    others = [read for read in reads if max(read.owners) >= 0]
    for read, main in zip(others, mains, strict=True):
        place = found(main.number)
        readers.setdefault(place, []).append(read)
        for owner in read.owners:
            if owner >= 0 and found(owner) == place:
                members.setdefault(place, {})[owner] = nest.written[owner]
    return alone + [
        Shared(nest, list(members[place].values()), readers[place], f"v{number}")
        for number, place in enumerate(readers)
    ]


def _begins(domain: Domain, inner: Domain) -> bool:
    """Whether a body is around another one: its values may be what a recurrence begins with."""
    return len(domain.chain) < len(inner.chain) and inner.chain[: len(domain.chain)] == domain.chain
