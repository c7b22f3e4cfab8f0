"""A sequence without most iterations of the runs that are known in it.

What is found in a shortened sequence is found in the whole one: it is long enough that each choice
falls as it would there, and the iterations left out are like the two at either side of the hole.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy

from chainrule.program.nests import Numbers, distinct

from .repeats import Ints

ENDS: Final = 3
"""So many iterations are kept of each end of a run: choices look at no more."""

SHARE: Final = 0.5
"""The largest share of a sequence that is worth it."""


class Iterations(NamedTuple):
    """The iterations of loops, one loop's after another's.

    Attributes:
        trips: of each loop.
        starts: where its iterations begin.
        firsts: for each iteration where its items begin among those of all loops.
        ahead: how far the rows of an iteration are from those of these items; None where none is.
    """

    trips: Numbers
    starts: Numbers
    firsts: Numbers
    ahead: Numbers | None


class Shortened:
    """A sequence without most iterations of runs.

    Args:
        tokens: the sequence.
        runs: for each the first place, the number of iterations and how long each is; in other
            order than after those around them they are left as they are.

    Attributes:
        places: of what is kept.
    """

    def __init__(self, tokens: Ints, runs: Numbers) -> None:
        kept = numpy.ones(len(tokens), dtype=bool)
        holes = []
        for first, trips, size in runs[(runs[:, 1] > 2 * ENDS + 1) & (runs[:, 2] > 1)].tolist():
            second, end = first + size, first + trips * size
            if not kept[first]:
                continue  # in a hole
            if (tokens[second : end - size] == tokens[second + size : end]).all():
                holes.append((second + ENDS * size, end - ENDS * size, size))
                kept[slice(*holes[-1][:2])] = False
        if numpy.count_nonzero(kept) > SHARE * len(tokens):
            kept[:] = True
            holes = []
        self.places = numpy.flatnonzero(kept)
        begins, ends, self._sizes = numpy.array(holes, dtype=numpy.int64).reshape(-1, 3).T
        self._holes = begins
        self._times = (ends - begins) // self._sizes
        self._at = numpy.searchsorted(self.places, begins)  # before these there are holes
        self._spans = self._at - numpy.searchsorted(self.places, begins - self._sizes)

    def __len__(self) -> int:
        return len(self.places)

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return not len(self._at)

    def left_out(self, begins: Numbers, seconds: Numbers, ends: Numbers) -> Numbers:
        """How many iterations of some repetitions are left out.

        Args:
            begins: where they begin in the whole sequence,
            seconds: where their second iterations do,
            ends: and where they end.
        """
        found = numpy.zeros_like(begins)
        if self.whole:
            return found
        holes = self._holes
        for size in distinct(seconds - begins).tolist():
            some = numpy.flatnonzero(self._sizes % size == 0)
            before = numpy.append(0, numpy.cumsum((self._times * self._sizes)[some] // size))
            i, j = (numpy.searchsorted(holes[some], x) for x in (begins, ends))
            found += (seconds - begins == size) * (before[j] - before[i])
        return found

    def iterations(
        self, firsts: Numbers, lengths: Numbers, steps: Numbers, children: Numbers
    ) -> Iterations | None:
        """The iterations of loops over the whole sequence; None if a hole is in none of them.

        The places are changed to be those in the first of the iterations that a hole is in.

        Args:
            firsts: where each loop's items begin among those of all loops,
            lengths: how many there are,
            steps: and in one iteration.
            children: the items.
        """
        trips = lengths // steps
        starts = numpy.cumsum(trips) - trips
        within = numpy.arange(trips.sum()) - numpy.repeat(starts, trips)
        each = numpy.repeat(steps, trips)
        begins = numpy.repeat(firsts, trips) + each * within
        if self.whole:
            return Iterations(trips, starts, begins, None)
        n, count = len(self.places), len(firsts)
        first, last = numpy.arange(n + count), numpy.arange(n + count)  # the places in an item
        first[n:], last[n:] = children[firsts], children[firsts + lengths - 1]
        while (first >= n).any() or (last >= n).any():
            first, last = first[first], last[last]
        parent = numpy.full(n + count, -1)
        parent[children] = numpy.arange(len(children))  # of the last loop that has taken an item
        loops = numpy.repeat(numpy.arange(count), trips)
        begin, end = first[children[begins]], last[children[begins + each - 1]] + 1
        order = loops * (n + 1) + begin
        groups: list[list[int]] = []
        items, left = self._at.copy(), numpy.arange(len(self._at))
        while len(left):
            place = parent[items]
            if (place < 0).any():
                return None
            loop = numpy.searchsorted(firsts, place, side="right") - 1
            number = numpy.searchsorted(begins, place, side="right") - 1
            until = begin[number] + self._spans[left]
            beyond = numpy.searchsorted(order, loop * (n + 1) + until)
            fits = end[beyond - 1] == until
            columns = (number, -beyond, self._times[left], self._sizes[left], self._at[left], until)
            groups += numpy.stack(columns, axis=1)[fits].tolist()
            items, left = n + loop[~fits], left[~fits]
        for _, _, times, size, hole, beyond in groups:
            self.places[hole:beyond] -= times * size
        found = _repeated(sorted(groups, reverse=True), 0, len(begins))
        if found is None:
            return None
        numbers, ahead = found
        trips = numpy.bincount(loops[numbers], minlength=count)
        return Iterations(trips, numpy.cumsum(trips) - trips, begins[numbers], ahead)


def _repeated(groups: list[list[int]], begin: int, end: int) -> tuple[Numbers, Numbers] | None:
    """The iterations from one to before another, some of them again and again.

    Args:
        groups: of iterations that follow one another, in the end of the list the first, before
            those in it: its first, the negative of what is after it, how often it is repeated, and
            how far the rows are ahead each time. Those in the range are taken from the list.
        begin: the first.
        end: what is after them.

    Returns:
        The numbers of the iterations, and how far their rows are ahead; None if groups overlap.
    """
    whole = begin, -end
    parts = []
    while groups and groups[-1][0] < end:
        first, until, times, size = groups.pop()[:4]
        if first < begin or -until > end or (first, until) == whole:
            return None
        inner = _repeated(groups, first, -until)
        if inner is None:
            return None
        numbers, ahead = inner
        again = ahead + size * numpy.arange(times + 1)[:, None]
        parts += [_plain(begin, first), (numpy.tile(numbers, times + 1), again.ravel())]
        begin = -until
    numbers, ahead = map(numpy.concatenate, zip(*parts, _plain(begin, end), strict=True))
    return numbers, ahead


def _plain(begin: int, end: int) -> tuple[Numbers, Numbers]:
    return numpy.arange(begin, end), numpy.zeros(end - begin, dtype=numpy.int64)
