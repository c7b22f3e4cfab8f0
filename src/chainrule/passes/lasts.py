"""First and last values of loops: what a recurrence begins with, and what is read of it afterwards.

Often only the last value is read outside of the loop. Such values get written rows of their own,
which stand before and after the loop. So the array in which the loop's values stand is read by the
loop alone, and may become a register.
"""

from __future__ import annotations

import numpy

from chainrule.program.nests import Numbers, distinct
from chainrule.program.recording import are_rows

from .domain import Domain
from .nest import ROOT, Nest, Written
from .repeats import Ints


class Lasts:
    """The last values of loops that are read outside of them.

    Args:
        nest: its operands are changed.

    Attributes:
        after: for each body of a loop the rows that come after the loop.
        before: likewise, before it.
    """

    def __init__(self, nest: Nest) -> None:
        self.after: dict[Domain, list[Written]] = {}
        self.before: dict[Domain, list[Written]] = {}
        self._nest = nest
        self._last_of: dict[int, Written] = {}
        for written in [*nest.written]:
            written.operands = [
                self._begun(written.domain, self.of(written.domain, x)) for x in written.operands
            ]

    def _begun(self, domain: Domain, operands: Ints) -> Ints:
        """An operand of a recurrence, with a row of its own for what each run begins with.

        So the array of the recurrence, too, is read by the loop alone.
        """
        if not domain.chain or operands[0] < 0 or domain.trips.min() < 1:
            return operands
        beside = self._nest.beside(operands)
        if beside >= 0 and self._nest.written[beside].domain is domain:
            return operands
        last = domain.iterations[-1]
        if len(last) > 1 and last[1] and len({*self._nest.owner[operands[:2]].tolist()}) == 1:
            return operands  # the second iteration reads the same row as the first one
        owners = self._nest.owner[operands]
        first = last == 0
        owner = int(owners[first][0])
        if owner < 0 or (owners[first] != owner).any() or (owners[~first] == owner).any():
            return operands
        chain = self._nest.written[owner].domain.chain
        around = domain.chain[:-1]
        if first.all() or domain in chain or chain == around[: len(chain)]:
            return operands  # which may stand in the array of the recurrence by itself
        assert domain.parent is not None
        begun = self.of(domain.parent, operands[first])
        found = operands.copy()
        found[first] = self._added(domain.parent, begun, self.before, domain)
        return found

    def of(self, domain: Domain, operands: Ints) -> Ints:
        """An operand, as a last value if it is one.

        Args:
            domain: of what reads it.
            operands: what the instances read.
        """
        nest = self._nest
        while operands[0] >= 0:
            owner = int(nest.owner[operands[0]])
            if owner < 0:
                return operands
            source = nest.written[owner]
            inner = source.domain
            if not inner.chain or inner in domain.chain or inner.longest[-1] < 2:
                return operands
            if len(operands) > 1 and (nest.owner[operands] != owner).any():
                return operands
            if inner.trips.min() < 1:
                return operands
            instances = nest.instance[operands]
            around = inner.up[instances]
            if (inner.iterations[-1][instances] != inner.trips[around] - 1).any():
                return operands
            operands = self._row(source).rows[around].astype(numpy.int32)
        return operands

    def of_outputs(self, operands: Ints) -> Ints:
        """Outputs, with last values for those of a written row that all are."""
        result = operands.copy()
        values = numpy.flatnonzero(are_rows(operands))
        owners = self._nest.owner[operands[values]]
        for owner in distinct(owners[owners >= 0]).tolist():
            places = values[owners == owner]
            result[places] = self.of(ROOT, operands[places])
        return result

    def _row(self, source: Written) -> Written:
        """The written row of the last values of another one."""
        last = self._last_of.get(source.number)
        if last is None:
            inner = source.domain
            assert inner.parent is not None
            ends = source.rows[numpy.cumsum(inner.trips) - 1].astype(numpy.int32)
            self._added(inner.parent, ends, self.after, inner)
            last = self._last_of[source.number] = self._nest.written[-1]
        return last

    def _added(
        self, domain: Domain, operands: Ints, to: dict[Domain, list[Written]], loop: Domain
    ) -> Numbers:
        """A new written row that is the same as an operand, beside a loop; gives its rows."""
        added = self._nest.add(domain, operands)
        to.setdefault(loop, []).append(added)
        return added.rows
