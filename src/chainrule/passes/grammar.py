"""Finding repetitions: a sequence of tokens becomes loops and nests of loops.

The shortest period that repeats becomes a loop first, then the search goes on in the shortened
sequence, in which a loop is one item whatever its trip count. So what repeats with inner loops of
different lengths is found as well. Where a body that is known as a loop stands alone, it is that
loop with one trip.

Periods are proposed by distances. Between a power of two, m, and twice that, the shortest period is
how far back the same m items in a row stood last: were they nearer, a shorter period would repeat.
A sequence without repetitions costs a few passes, as its longer stretches soon stand only once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy
from numpy.typing import NDArray

from chainrule.program.nests import Numbers, distinct

from .repeats import Ints, named_pairs, repetitions
from .shortened import Iterations, Shortened
from .stretches import NO_RUNS

WORTH = 8
"""A loop is made where it saves as many rows, or its body has half as many."""

LARGE = 256
"""A body of so many items is large."""


class Grammar:
    """A sequence of items: tokens, and loops over items.

    Args:
        tokens: the sequence.
        loose: for each token one that stands for all that may be different in the first iterations
            of a loop.
        brackets: the tokens that open and close a bracket, -1 for none. A loop has both ends of a
            bracket in its body, or neither.
        operands: for each operand the rows that are read by the rows that the tokens stand for,
            negative for anything else.
        runs: of iterations that are known, see :class:`~.stretches.Stretch`; most of these are left
            out where it is searched.

    Attributes:
        tokens: the tokens of the items; those of loops have a body in ``bodies``.
        items: their numbers: a place in the given sequence, or ``length + number`` for a loop.
        length: of the given sequence.
        bodies: of the loops, by token: the tokens of an iteration.
        sizes: how many rows are to be written for each token.
        iterations: those of the loops.
    """

    iterations: Iterations

    def __init__(
        self,
        tokens: Ints,
        loose: Ints,
        brackets: tuple[int, int],
        operands: Sequence[Ints],
        runs: Numbers = NO_RUNS,
    ) -> None:
        self._first_loop = int(tokens.max(initial=-1)) + 1
        self._operands = operands
        self._brackets = brackets
        self._loose = loose.tolist()[: self._first_loop]
        if not self._find(tokens, Shortened(tokens, runs)):
            del self._loose[self._first_loop :]
            self._find(tokens, Shortened(tokens, NO_RUNS))

    def _find(self, tokens: Ints, short: Shortened) -> bool:
        """Find all loops; gives whether each hole of a shortened sequence is in one of them."""
        self._short = short
        self.length = len(short)
        self.tokens = tokens[short.places]
        self.items = numpy.arange(self.length)
        self.bodies: dict[int, tuple[int, ...]] = {}
        self.sizes = [1] * self._first_loop
        # where items begin, and the end
        self._rows: Numbers = numpy.append(short.places, len(tokens))
        self._tokens_of: dict[tuple[int, ...], int] = {}
        self._known: dict[tuple[int, ...], list[tuple[int, ...]]] = {}  # bodies by sorted tokens
        self._firsts = _Growing()  # of loops: where their items begin in the children
        self._lengths = _Growing()  # of loops: how many items
        self._steps = _Growing()  # of loops: and in one iteration
        self._children = _Growing()
        self._loose_of: dict[tuple[int, ...], int] = {}
        while self._reduce_once():
            pass
        firsts, lengths, children = self.contents()
        iterations = short.iterations(firsts, lengths, self._steps.numbers, children)
        if iterations is None:
            return False
        self.iterations = iterations
        for items in (self.items, children) if len(tokens) > self.length else ():
            inner = items >= self.length
            items[inner] += len(tokens) - self.length
            items[~inner] = short.places[items[~inner]]
        self.length = len(tokens)
        return True

    @property
    def written(self) -> int:
        """How many rows are to be written."""
        return int(numpy.asarray(self.sizes)[self.tokens].sum())

    def contents(self) -> tuple[Numbers, Numbers, Numbers]:
        """Where each loop's items begin among those of all loops, how many there are, and all."""
        return self._firsts.numbers, self._lengths.numbers, self._children.numbers

    # The search

    def _reduce_once(self) -> bool:
        count, names, back = named_pairs(self.tokens, 0)
        m = 1
        while m <= len(self.tokens) // 2 and count < len(names):
            if self._collapse(names, back, m):
                return True
            count, names, back = named_pairs(names, m)
            m *= 2
        return False

    def _collapse(self, names: Ints, back: Ints, m: int) -> bool:
        """Make loops of periods from m to 2 m - 1.

        Args:
            names: of m items in a row each.
            back: how far back the same m items stood last.
            m: a power of two.
        """
        sizes = numpy.asarray(self.sizes)
        starts, lengths, periods = repetitions(self.tokens, sizes, back, m, WORTH)
        if not len(starts):
            return False
        found = []
        taken = _without_overlaps(starts, lengths, periods)
        starts, lengths, periods = starts[taken], lengths[taken], periods[taken]
        for period in distinct(periods).tolist():
            chosen = periods == period
            found += self._aligned(starts[chosen], lengths[chosen], period, names, m)
        where = numpy.concatenate([numpy.zeros(0, dtype=numpy.int64), *[x[0] for x in found]])
        if not len(where):
            return False
        order = numpy.argsort(where)
        sizes = numpy.concatenate([numbers[1] for numbers in found])[order]
        tokens = numpy.concatenate([numbers[2] for numbers in found])[order]
        self._replace(where[order], sizes, tokens)
        self._merge()
        for token in distinct(tokens).tolist():
            if len(self.bodies[token]) > 1:
                self._absorb(token)
                self._absorb_before(token)
        return True

    def _aligned(
        self, starts: Numbers, lengths: Numbers, period: int, names: Ints, m: int
    ) -> list[tuple[Numbers, Numbers, Numbers]]:
        """Choose where iterations begin: starts, numbers of items and tokens of loops.

        Runs with the same items in another rotation become loops with the same body.
        """
        rows = [self._rows[x] for x in (starts, starts + period, starts + lengths)]
        whole = lengths + period * self._short.left_out(*rows)
        places = starts[:, None] + numpy.arange(period)
        grams = names[places].astype(numpy.int64) << 32
        grams |= names[places + (period - m)]
        classes, which = numpy.unique(grams.min(axis=1), return_inverse=True)
        found = []
        for number in range(len(classes)):
            members = numpy.flatnonzero(which == number)
            longest = members[numpy.argmax(whole[members])]
            phase = self._phase(int(starts[longest]), int(lengths[longest]), period)
            if phase is None:
                continue
            first = starts[longest] + phase
            token = self._token(tuple(self.tokens[first : first + period].tolist()))
            phases = numpy.argmax(grams[members] == grams[longest, phase], axis=1)
            trips = (lengths[members] - phases) // period
            some = trips > 0
            at = starts[members][some] + phases[some]
            found.append((at, trips[some] * period, numpy.full(len(at), token)))
        return found

    def _phase(self, start: int, length: int, period: int) -> int | None:
        """Which item of a run begins an iteration, from 0; None if no loop can be made."""
        tokens = self.tokens[start : start + 2 * period]
        free = length % period
        trips = length // period
        last = free if trips < 3 else period - 1
        allowed = numpy.arange(min(last, period - 1) + 1)
        if self._brackets[0] >= 0:
            depth = numpy.cumsum(
                (tokens == self._brackets[0]).astype(int) - (tokens == self._brackets[1])
            )
            depth = numpy.concatenate([[0], depth])
            if depth[period] != 0:
                return None
            allowed = allowed[depth[allowed] == depth[:period].min()]
        if len(allowed) > 1:
            known = self._known.get(tuple(sorted(tokens[:period].tolist())), [])
            if len(allowed) * period > LARGE**2:
                known = []
            for body in known:
                for phase in allowed.tolist():
                    if tuple(tokens[phase : phase + period].tolist()) == body:
                        return int(phase)
            crossing = self._crossing(start, min(length, 3 * period), period, allowed)
            # The last iteration of a loop is more often like the others than the first one.
            cost = crossing + 2 * (allowed > free)
            if free and trips > 2:
                cost += self._strange(start, length, period)[numpy.minimum(allowed, free)]
            allowed = allowed[numpy.lexsort((-allowed, cost))]
        return int(allowed[0]) if len(allowed) else None

    def _crossing(self, start: int, length: int, period: int, phases: Numbers) -> Numbers:
        """How many values cross from an iteration to the next, for each phase."""
        rows = self._rows[start : start + length + 1]
        first, end = int(rows[0]), int(rows[-1])
        places = distinct(numpy.append(rows[period + phases], rows[[period, 2 * period]])) - first
        begins = numpy.zeros(end - first, dtype=numpy.int32)
        begins[places[places < len(begins)]] = 1
        part = numpy.cumsum(begins, dtype=numpy.int32)  # between which of the places a row is
        made, used = [], []
        for column in self._operands:
            read = (column[first:end] - first).view(numpy.uint32)
            read[read >= len(part)] = len(part) - 1  # what is read from elsewhere, as if at the end
            crossing = numpy.flatnonzero(part[read] < part)
            made.append(read[crossing])
            used.append(part[crossing])
        values, which = numpy.unique(numpy.concatenate(made), return_inverse=True)
        last_use = numpy.zeros(len(values), dtype=numpy.int64)
        numpy.maximum.at(last_use, which, numpy.concatenate(used))
        changes = numpy.bincount(part[values], minlength=len(places))
        changes[: len(places)] -= numpy.bincount(last_use, minlength=len(places) + 1)[: len(places)]
        alive = numpy.cumsum(changes)  # made before a place, and used at it or after
        found = alive[numpy.searchsorted(places, rows[period + phases] - first)]
        if length >= 3 * period and rows[2 * period] - rows[period] != rows[period] - first:
            # In a triangle later iterations have more: what an iteration adds is no sign.
            step = alive[numpy.searchsorted(places, rows[[period, 2 * period]] - first)]
            growth = int(step[1] - step[0])
            found = found - numpy.maximum(growth, 0) * phases // period
        return found

    def _strange(self, start: int, length: int, period: int) -> Numbers:
        """How many operands at the ends of a run are not as those of other iterations.

        Tokens may agree by chance before the first and after the last iteration. Given for each
        phase up to the number of items that no phase can take.
        """
        free = length % period
        found = numpy.zeros(free + 1, dtype=numpy.int64)
        items = numpy.arange(free)
        for first, step in ((start, period), (start + length - free, -period)):
            rows = [self._rows[first + i * step + items] for i in range(3)]
            ends = [self._rows[first + i * step + items + 1] for i in range(3)]
            plain = numpy.logical_and.reduce([b - a == 1 for a, b in zip(rows, ends, strict=True)])
            wrong = numpy.zeros(free, dtype=numpy.int64)
            for column in self._operands:
                read = [column[x].astype(numpy.int64) for x in rows]
                # What the first iteration reads from before the loop is no sign.
                there = plain & (read[0] >= (self._rows[start] if step > 0 else 0))
                wrong += there & (read[0] - 2 * read[1] + read[2] != 0)
            # With a later phase fewer of the first items are taken, and more of the last ones.
            found += (
                numpy.append(numpy.cumsum(wrong[::-1])[::-1], 0)
                if step > 0
                else (numpy.append(0, numpy.cumsum(wrong)))
            )
        return found

    # Changes of the sequence

    def _token(self, body: tuple[int, ...]) -> int:
        """The token of the loop with a body."""
        token = self._tokens_of.get(body)
        if token is None:
            token = self._tokens_of[body] = len(self.sizes)
            self.sizes.append(sum([self.sizes[x] for x in body]))
            self.bodies[token] = body
            loose = tuple([self._loose[x] for x in body])
            self._loose.append(self._loose_of.setdefault(loose, token))
            self._known.setdefault(tuple(sorted(body)), []).append(body)
        return token

    def _replace(self, starts: Numbers, lengths: Numbers, tokens: Numbers) -> None:
        """Let stretches of items become loops; they do not overlap and are in order."""
        marks = numpy.zeros(len(self.tokens) + 1, dtype=numpy.int8)
        marks[starts] += 1
        marks[starts + lengths] -= 1
        inside = numpy.cumsum(marks[:-1], dtype=numpy.int8).astype(bool)
        steps = numpy.asarray([len(self.bodies[token]) for token in tokens.tolist()])
        numbers = self._loops(self.items[inside], lengths, steps)
        kept = ~inside
        kept[starts] = True
        self.tokens[starts] = tokens
        self.items[starts] = numbers
        self._keep(kept)

    def _keep(self, kept: NDArray[numpy.bool_]) -> None:
        """Keep some items; they stand for those after them that go, too."""
        self.tokens, self.items = self.tokens[kept], self.items[kept]
        self._rows = numpy.append(self._rows[:-1][kept], self._rows[-1])

    def _loops(self, children: Numbers, lengths: Numbers, steps: Numbers) -> Numbers:
        """Items for loops over items that stand one loop's after another's."""
        numbers = self.length + len(self._firsts.numbers) + numpy.arange(len(lengths))
        self._firsts.extend(len(self._children.numbers) + numpy.cumsum(lengths) - lengths)
        self._lengths.extend(lengths)
        self._steps.extend(steps)
        self._children.extend(children)
        return numbers

    def _merge(self) -> None:
        """Let loops with the same body that follow one another be one."""
        tokens = self.tokens
        loops = tokens >= self._first_loop
        near = numpy.flatnonzero(loops[1:] & loops[:-1])
        first, second = tokens[near], tokens[near + 1]
        loose, sizes = numpy.asarray(self._loose), numpy.asarray(self.sizes)
        same = (first == second) | ((loose[first] == loose[second]) & (sizes[first] > 1))
        joints = near[same]  # between two that become one
        if not len(joints):
            return
        apart = numpy.diff(joints) > 1
        starts = joints[numpy.append(True, apart)]
        ends = joints[numpy.append(apart, True)] + 2
        members = numpy.repeat(starts, ends - starts) + _within(ends - starts)
        merged = self.items[members] - self.length
        firsts, lengths, children = self.contents()
        each = lengths[merged]
        places = numpy.repeat(firsts[merged], each) + _within(each)
        counts = numpy.add.reduceat(each, numpy.cumsum(ends - starts) - (ends - starts))
        steps = self._steps.numbers[self.items[starts] - self.length]
        numbers = self._loops(children[places], counts, steps)
        kept = numpy.ones(len(tokens), dtype=bool)
        kept[joints + 1] = False
        self.items[starts] = numbers
        tokens[starts] = tokens[ends - 1]
        self._keep(kept)

    def _absorb(self, token: int) -> None:
        """Let the body of a loop where it stands alone be that loop with one trip."""
        body = self.bodies[token]
        n = len(self.tokens) - len(body) + 1
        places = numpy.flatnonzero(self.tokens[: max(n, 0)] == body[0])
        for ahead, other in enumerate(body[1:], 1):
            if not len(places):
                return
            places = places[self.tokens[places + ahead] == other]
        if not len(places):
            return
        if (numpy.diff(places) < len(body)).any():
            apart, end = [], -1
            for place in places.tolist():
                if place >= end:
                    apart.append(place)
                    end = place + len(body)
            places = numpy.asarray(apart)
        lengths = numpy.full(len(places), len(body))
        self._replace(places, lengths, numpy.full(len(places), token))
        self._merge()

    def _absorb_before(self, token: int) -> None:
        """Let iterations before a loop that are only loosely the same belong to it."""
        body = self.bodies[token]
        while True:
            places = numpy.flatnonzero(self.tokens == token)
            counts = self._alike_before(places, body)
            if not counts.any():
                return
            ends = numpy.repeat(places, counts)
            places = numpy.sort(ends - len(body) * (1 + _within(counts)))
            lengths = numpy.full(len(places), len(body))
            self._replace(places, lengths, numpy.full(len(places), token))
            self._merge()

    def _alike_before(self, places: Numbers, body: Sequence[int]) -> Numbers:
        """How many bodies that are loosely the same stand before each place, after the last one."""
        loose = numpy.asarray(self._loose)
        most = (numpy.diff(places, prepend=-1) - 1) // len(body)
        counts = numpy.zeros_like(places)
        going_on, step = numpy.flatnonzero(most), 1
        while len(going_on):
            before = counts[going_on, None] + numpy.arange(1, step + 1)
            begins = places[going_on, None] - len(body) * before
            alike = before <= most[going_on, None]
            for ahead, other in enumerate(body):
                alike[alike] = loose[self.tokens[begins[alike] + ahead]] == loose[other]
            found = numpy.logical_and.accumulate(alike, axis=1).sum(axis=1)
            counts[going_on] += found
            going_on, step = going_on[found == step], 2 * step
        return counts


class _Growing:
    """Numbers to which others are added at the end.

    Attributes:
        numbers: those so far.
    """

    def __init__(self) -> None:
        self._room = numpy.empty(0, dtype=numpy.int64)
        self.numbers: Numbers = self._room

    def extend(self, numbers: Numbers) -> None:
        """Add numbers."""
        count = len(self.numbers)
        end = count + len(numbers)
        if end > len(self._room):
            self._room = numpy.empty(end + end // 2, dtype=numpy.int64)
            self._room[:count] = self.numbers
        self._room[count:end] = numbers
        self.numbers = self._room[:end]


def _without_overlaps(starts: Numbers, lengths: Numbers, periods: Numbers) -> Numbers:
    """Which of some stretches to take, so that none overlap: of short periods, then long ones."""
    ends = starts + lengths
    if (starts[1:] >= ends[:-1]).all():
        return numpy.arange(len(starts))
    taken = numpy.zeros(int(ends.max(initial=0)), dtype=bool)
    chosen = []
    for number in numpy.lexsort((starts, -lengths, periods)).tolist():
        stretch = taken[starts[number] : ends[number]]
        if not stretch.any():
            stretch[:] = True
            chosen.append(number)
    return numpy.sort(numpy.asarray(chosen, dtype=numpy.int64))


def _within(lengths: Numbers) -> Numbers:
    """0, 1, ... for each of some lengths, one after another."""
    ends = numpy.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return numpy.arange(total) - numpy.repeat(ends - lengths, lengths)
