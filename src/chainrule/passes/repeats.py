"""Where pairs of numbers in a sequence have stood before; the C engine has a twin."""

from __future__ import annotations

import numpy
from numpy.typing import NDArray

from chainrule.engine import ENGINE

Ints = NDArray[numpy.int32]


def named_pairs(numbers: Ints, ahead: int) -> tuple[int, Ints, Ints]:
    """Give each pair of numbers ``numbers[i], numbers[i + ahead]`` a name.

    Returns:
        How many different pairs there are; the name of each pair, from 0, in the order of their
        first places; and how far back the same pair stood last, 0 for never.
    """
    n = max(len(numbers) - ahead, 0)
    names, back = numpy.empty(n, dtype=numpy.int32), numpy.empty(n, dtype=numpy.int32)
    if ENGINE is not None and n:
        return ENGINE.named_pairs(numbers, ahead, names, back), names, back
    pairs = (numbers[:n].astype(numpy.int64) << 32) | numbers[ahead:].astype(numpy.int64)
    _, first, sorted_names = numpy.unique(pairs, return_index=True, return_inverse=True)
    rank = numpy.empty(len(first), dtype=numpy.int32)
    rank[numpy.argsort(first)] = numpy.arange(len(first))
    names[:] = rank[sorted_names]
    order = numpy.argsort(names, kind="stable")
    same = names[order[1:]] == names[order[:-1]]
    back[:] = 0
    back[order[1:]] = numpy.where(same, order[1:] - order[:-1], 0)
    return len(first), names, back
