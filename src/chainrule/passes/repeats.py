"""Where pairs of numbers in a sequence have stood before, and repetitions; in C as well."""

from __future__ import annotations

import numpy
from numpy.typing import NDArray

from chainrule.engine import ENGINE
from chainrule.program.nests import Numbers

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


def repetitions(
    tokens: Ints, sizes: Numbers, back: Ints, m: int, worth: int
) -> tuple[Numbers, Numbers, Numbers]:
    """Repetitions with a period from m to 2 m - 1: where they begin, lengths and periods.

    Args:
        tokens: the sequence.
        sizes: how many rows each token stands for.
        back: how far back the same m tokens stood last.
        m: a power of two.
        worth: they save as many rows, or a period has half as many.
    """
    if ENGINE is not None:
        packed = ENGINE.repetitions(tokens, sizes, back, m, worth)
        first, count, distance = numpy.frombuffer(packed, numpy.int64).reshape(-1, 3).T
        return first, count, distance
    ends = numpy.append(numpy.flatnonzero(back[1:] != back[:-1]) + 1, len(back))
    starts = numpy.append(0, ends[:-1])
    periods = back[starts].astype(numpy.int64)
    found = (periods >= m) & (periods < 2 * m) & (ends - starts + m - 1 >= periods)
    starts, periods = starts[found] - periods[found], periods[found]
    lengths = ends[found] + m - 1 - starts
    before = numpy.append(0, numpy.cumsum(sizes[tokens]))
    size = before[starts + periods] - before[starts]
    chosen = ((lengths // periods - 1) * size >= worth) | (2 * size >= worth)
    return starts[chosen], lengths[chosen], periods[chosen]
