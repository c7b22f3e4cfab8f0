"""Last values of loops: what is read outside of a loop is often only what its last iteration gave.

Such a value gets a written row of its own, which stands after the loop. So the array in which the
loop's values stand is read by the loop alone, and may become a register.
"""

from __future__ import annotations

import numpy

from .domain import Domain
from .nest import ROOT, Nest, Written
from .repeats import Ints


class Lasts:
    """The last values of loops that are read outside of them.

    Args:
        nest: its operands are changed.

    Attributes:
        after: for each body of a loop the rows that come after the loop.
    """

    def __init__(self, nest: Nest) -> None:
        self.after: dict[Domain, list[Written]] = {}
        self._nest = nest
        self._last_of: dict[int, Written] = {}
        for written in [*nest.written]:
            written.operands = [self.of(written.domain, x) for x in written.operands]

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
        values = numpy.flatnonzero(operands >= 0)
        owners = self._nest.owner[operands[values]]
        for owner in numpy.unique(owners[owners >= 0]).tolist():
            places = values[owners == owner]
            result[places] = self.of(ROOT, operands[places])
        return result

    def _row(self, source: Written) -> Written:
        """The written row of the last values of another one."""
        last = self._last_of.get(source.number)
        if last is None:
            nest, inner = self._nest, source.domain
            assert inner.parent is not None
            count = inner.parent.count
            last = Written(len(nest.owner) + numpy.arange(count))
            last.domain = inner.parent
            last.number = len(nest.written)
            last.operands = [source.rows[numpy.cumsum(inner.trips) - 1].astype(numpy.int32)]
            nest.written.append(last)
            nest.owner = numpy.append(nest.owner, numpy.full(count, last.number, numpy.int32))
            nest.instance = numpy.append(nest.instance, numpy.arange(count, dtype=numpy.int32))
            self._last_of[source.number] = last
            self.after.setdefault(inner, []).append(last)
        return last
