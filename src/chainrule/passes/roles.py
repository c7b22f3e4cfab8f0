"""Roles of rows: rows that do the same to what comes from elsewhere are no iterations of a loop.

A vector that is scaled, and after it the products of a matrix and this vector, are all products: by
what they do they are one loop. But what the first of them read comes from other rows, and where the
loop is split so that it fits what is around, hardly an index is affine.
"""

from __future__ import annotations

import numpy
from numpy.typing import NDArray

from .domain import Domain
from .nest import Nest
from .repeats import Ints
from .rows import Rows

FEW = 256
"""What is mixed in fewer than one of so many rows is left as it is."""


def mixed(nest: Nest, rows: Rows) -> list[int]:
    """A row of each written one that reads rows of several kinds, and not by the iteration.

    In a recurrence the first iteration of some loop reads elsewhere, or the last one does: that is
    as it should be.
    """
    found = []
    for written in nest.written:
        if FEW * len(written.rows) < len(rows):
            continue
        for operand in written.operands:
            if operand[0] < 0 or not _differ(rows.kinds(operand)):
                continue
            if not _by_iteration(nest.owner[operand], written.domain):
                found.append(int(written.rows[0]))
                break
    return found


def _differ(kinds: Ints) -> bool:
    return bool((kinds != kinds[:1]).any())


def _by_iteration(owners: Ints, domain: Domain) -> bool:
    """Whether the first or last iteration of a loop tells which row is read."""
    for inner, iteration in zip(domain.chain, domain.iterations, strict=True):
        if 2 * numpy.count_nonzero(inner.trips > 1) < len(inner.trips):
            continue  # hardly a loop
        instances = domain.instances_of(inner)
        assert instances is not None
        end: NDArray[numpy.bool_]
        for end in (iteration == 0, iteration == inner.trips[inner.up[instances]] - 1):
            if not _differ(owners[end]) and not _differ(owners[~end]):
                return True
    return False
