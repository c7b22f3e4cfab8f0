"""Rows as a nest of loops: each row that is written, with all the rows that it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy
from numpy.typing import NDArray

from chainrule.program.nests import Numbers

from .domain import Domain
from .grammar import Grammar
from .repeats import Ints
from .rows import Rows

APART = 1 << 40
"""Between the numbers of values of different written rows."""

FEWEST = 8
"""A loop is made two where it has so many runs of iterations."""

UNROLLED = 24
"""A loop of always the same few trips is not worth it where these are so many rows."""


class Written:
    """A row that is written once.

    Args:
        rows: the rows it stands for, in the order of their instances.

    Attributes:
        domain: its instances.
        number: its place among all written rows, in order.
        operands: for each operand what the instances read; see :class:`Rows`.
    """

    __slots__ = ("domain", "number", "operands", "rows")

    def __init__(self, rows: Numbers) -> None:
        self.rows = rows
        self.domain: Domain = ROOT
        self.number = -1
        self.operands: list[Ints] = []


class Repeated:
    """A loop.

    Args:
        trips: for each of its instances.
        body: what an iteration does.
    """

    __slots__ = ("body", "domains", "trips")

    def __init__(self, trips: Numbers, body: list[Written | Repeated]) -> None:
        self.trips = trips
        self.body = body
        self.domains: list[Domain] = []  # of its body, and of one around it where it is split


ROOT = Domain(None, numpy.ones(1, dtype=numpy.int64))


class Nest:
    """The rows of a recording in loops.

    Attributes:
        body: of the program.
        written: the written rows, in order.
        owner: which written row each row and input belongs to, -1 for inputs. Numbers that an
            operand reads besides values count as inputs after the others.
        instance: and which instance it is; of an input its number.
        n_rows: the number of rows.
    """

    def __init__(self, rows: Rows, grammar: Grammar) -> None:
        self._children = grammar.contents()[2]
        self._grammar = grammar
        self._rows = rows
        self.body: list[Written | Repeated] = []
        for token, item in zip(grammar.tokens.tolist(), grammar.items, strict=True):
            self.body += self._nodes(token, item.reshape(1), None)
        self.written = [*_written(self.body)]
        self.n_rows, self.n_inputs = len(rows), rows.n_inputs
        size = len(rows) + rows.n_inputs
        for written in self.written:
            written.operands = rows.operands(written.rows)
            if len(written.rows) > 1:
                for i, operand in enumerate(written.operands):
                    constant = operand < 0
                    if constant[0] != constant[-1] or (constant != constant[0]).any():
                        numbers, which = rows.numbers
                        size = len(rows) + rows.n_inputs + len(numbers)
                        at = len(rows) + rows.n_inputs + which[~operand[constant]]
                        written.operands[i] = operand.copy()
                        written.operands[i][constant] = at
        self.owner = numpy.full(size, -1, dtype=numpy.int32)
        self.instance = numpy.empty(size, dtype=numpy.int32)
        self.instance[len(rows) :] = numpy.arange(size - len(rows))
        for number, written in enumerate(self.written):
            written.number = number
            if len(written.rows) == 1:
                row = int(written.rows[0])
                self.owner[row], self.instance[row] = number, 0
            else:
                self.owner[written.rows] = number
                self.instance[written.rows] = numpy.arange(len(written.rows))
        self._set_domains(self.body, ROOT)

    def _nodes(self, token: int, items: Numbers, ahead: Numbers | None) -> list[Written | Repeated]:
        """What a token stands for.

        Args:
            token: it.
            items: its instances.
            ahead: how far the rows of each are from those of the item; None where none is.
        """
        body = self._grammar.bodies.get(token)
        if body is None:
            return [Written(items if ahead is None else items + ahead)]
        iterations = self._grammar.iterations
        loops = items - self._grammar.length
        trips = iterations.trips[loops]
        starts = iterations.starts[loops]
        some: slice | Numbers
        if len(loops) == 1:
            some = slice(int(starts[0]), int(starts[0] + trips[0]))
        else:
            ends = numpy.cumsum(trips)
            some = numpy.repeat(starts - (ends - trips), trips) + numpy.arange(ends[-1])
        firsts = iterations.firsts[some]
        if iterations.ahead is not None:
            inner = iterations.ahead[some]
            ahead = inner if ahead is None else inner + numpy.repeat(ahead, trips)
        longest = int(trips.max())
        if longest == 0:
            return []
        small = longest == 1 or longest * self._grammar.sizes[token] <= UNROLLED
        unrolled = small and bool((trips == longest).all())
        nodes: list[Written | Repeated] = []
        for iteration in range(longest if unrolled else 1):
            each = slice(iteration, None, longest if unrolled else 1)
            begins, beyond = firsts[each], None if ahead is None else ahead[each]
            for place, token in enumerate(body):
                nodes += self._nodes(token, self._children[begins + place], beyond)
        if unrolled or not nodes:
            return nodes
        return [self._apart(Repeated(trips, nodes))]

    def _apart(self, loop: Repeated) -> Repeated:
        """A loop, made two if after some iterations there is always one that reads elsewhere.

        ``t = t + e * e`` does the same as ``e = e + x[i] * y[j]`` in the loop before it.
        """
        nodes = [node for node in loop.body if isinstance(node, Written)]
        if len(nodes) < len(loop.body) or loop.trips.sum() < FEWEST:
            return loop
        for node in nodes:
            for numbers in self._rows.operands(node.rows):
                runs = _runs_and_strangers(numbers, loop.trips)
                if runs is not None:
                    outer_trips, trips, strangers = runs
                    usual = [Written(node.rows[~strangers]) for node in nodes]
                    others = [Written(node.rows[strangers]) for node in nodes]
                    return Repeated(outer_trips, [Repeated(trips, [*usual]), *others])
        return loop

    def _numbered(self, operand: Ints) -> Numbers:
        """Numbers for what an operand reads: those of different written rows are far apart."""
        numbers = self.instance[operand].astype(numpy.int64)
        owners = self.owner[operand]
        if (owners != owners[0]).any():
            numbers += owners.astype(numpy.int64) * APART
        return numbers

    def beside(self, operand: Ints) -> int:
        """The written row whose values an operand reads, one after another; -1 for none."""
        owner = int(self.owner[operand[0]]) if operand[0] >= 0 else -1
        if owner < 0:
            return -1
        rows = self.written[owner].rows
        if len(rows) != len(operand) or rows[-1] != operand[-1]:
            return -1
        return owner if (rows == operand).all() else -1

    def _set_domains(self, body: Sequence[Written | Repeated], domain: Domain) -> None:
        for node in body:
            if isinstance(node, Written):
                node.domain = domain
                continue
            node.domains = self._domains(node, domain)
            self._set_domains(node.body, node.domains[-1])

    def _domains(self, loop: Repeated, around: Domain) -> list[Domain]:
        """The instances of a loop's body; of those around it too where it is split.

        A loop that runs through several indices at once becomes loops in loops: ``x[i] * y[j]`` for
        all i and j, and sums one after another. An operand that is affine between jumps tells; best
        one that reads what the loop itself computes.
        """
        domain = Domain(around, loop.trips)
        inside = {node.number for node in loop.body if isinstance(node, Written)}
        own: list[Ints | None] = []
        others: list[Ints] = []
        for node in loop.body:
            if not isinstance(node, Written):
                continue
            for operand in node.operands:
                if operand[0] < 0:
                    continue
                if self.beside(operand) in inside:  # of the same iteration: it tells of no loops
                    if (len(domain.chain) > 1 or len(operand) < 2) and all(
                        x is not None for x in own
                    ):
                        own.append(None)
                elif not _evenly(self.instance[operand], domain):
                    (own if int(self.owner[operand[-1]]) in inside else others).append(operand)
        found: list[Numbers] = []
        operands = [x if x is None else self._numbered(x) for x in own + others]
        while True:
            runs = None
            for numbers in operands:
                if numbers is not None and domain.affine(numbers) is None:
                    runs = split(numbers, domain)
                if runs is not None:
                    break
            if runs is None:
                break
            outer_trips, trips = runs
            starts = numpy.cumsum(trips) - trips
            operands = [starts if numbers is None else numbers[starts] for numbers in operands]
            domain = Domain(around, outer_trips)
            found.append(trips)
        domains = [domain]
        for trips in reversed(found):
            domains.append(Domain(domains[-1], trips))
        return domains


def _evenly(numbers: Ints, domain: Domain) -> bool:
    """Whether numbers are affine in the only loop around: seen at once."""
    step = numpy.diff(numbers) if len(domain.chain) == 1 else numbers[:0]
    return len(step) > 0 and bool((step == step[0]).all())


def split(numbers: Numbers, domain: Domain) -> tuple[Numbers, Numbers] | None:
    """The trip counts of two loops in which numbers are affine in the inner one."""
    if not len(domain.trips) or len(numbers) < 4:
        return None
    step = numpy.diff(numbers)
    begins = numpy.zeros(len(numbers), dtype=bool)
    first = domain.iterations[-1] == 0
    begins[first] = True
    # The stride is the most frequent step, and what follows another one begins a run.
    inside = ~first[1:]
    if not inside.any():
        return None
    values, counts = numpy.unique(step[inside], return_counts=True)
    stride = values[numpy.argmax(counts)]
    begins[1:] |= step != stride
    # What a sum begins with is of another row than its values: it begins their run.
    alone = begins[:-1] & begins[1:] & (numpy.abs(step) > APART // 2)
    begins[1:] &= ~(alone & ~first[1:])
    starts = numpy.flatnonzero(begins)
    if 2 * len(starts) > len(numbers) or len(starts) == int(numpy.count_nonzero(first)):
        return None
    trips = numpy.diff(numpy.append(starts, len(numbers)))
    outer_trips = numpy.bincount(domain.up[starts], minlength=len(domain.trips))
    outer = Domain(domain.parent, outer_trips)
    # Only where the runs are regular: of one length, or by an affine function. Two runs of
    # other lengths are no loops, but the first iterations and the others.
    if (trips != trips[0]).any() and (outer_trips.max() < 3 or outer.affine(trips) is None):
        return None
    return outer_trips, trips


def _runs_and_strangers(
    numbers: Ints, trips: Numbers
) -> tuple[Numbers, Numbers, NDArray[numpy.bool_]] | None:
    """Runs of numbers that grow evenly, where after each there is one number that does not.

    Args:
        numbers: of all iterations of a loop.
        trips: of the loop, for each of its instances.

    Returns:
        How many runs there are in each instance, their lengths, and which numbers stand alone.
    """
    if (numbers < 0).any():
        return None
    step = numpy.diff(numbers)
    values, counts = numpy.unique(step, return_counts=True)
    begins = numpy.append(True, step != values[numpy.argmax(counts)])
    ends = numpy.cumsum(trips)
    begins[ends[:-1][ends[:-1] < len(numbers)]] = True
    starts = numpy.flatnonzero(begins)
    lengths = numpy.diff(numpy.append(starts, len(numbers)))
    if len(starts) % 2 or len(starts) < FEWEST or 2 * len(starts) > len(numbers):
        return None
    if (lengths[1::2] != 1).any() or (lengths[::2] == 1).any():
        return None
    outer_trips = numpy.bincount(
        numpy.searchsorted(ends, starts[::2], side="right"), minlength=len(trips)
    )
    if ((outer_trips > 0) != (trips > 0)).any() or (
        numpy.add.reduceat(lengths, 2 * (numpy.cumsum(outer_trips) - outer_trips)[outer_trips > 0])
        != trips[trips > 0]
    ).any():
        return None
    strangers = numpy.zeros(len(numbers), dtype=numpy.bool_)
    strangers[starts[1::2]] = True
    return outer_trips, lengths[::2], strangers


def first_row(node: Written | Repeated) -> int:
    """The first row of a loop."""
    while isinstance(node, Repeated):
        node = node.body[0]
    return int(node.rows[0])


def _written(body: Sequence[Written | Repeated]) -> Iterator[Written]:
    for node in body:
        if isinstance(node, Written):
            yield node
        else:
            yield from _written(node.body)
