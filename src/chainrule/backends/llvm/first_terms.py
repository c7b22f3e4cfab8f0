"""First terms of sums: where a loop adds to each element of an array first, it stores there.

What it stores need not be 0 before, nor be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from chainrule.program import nests
from chainrule.program.form import (
    READS,
    WRITES,
    Add,
    Array,
    Index,
    Loop,
    Statement,
)
from chainrule.program.nests import Path

ACCESSES: Final = (*READS, *WRITES)


class Zero(Statement):
    """Sets elements of a SUMS array to what they are at first.

    Args:
        array: the array.
    """

    __slots__ = ("array", "ranges")

    def __init__(self, array: Array) -> None:
        super().__init__()
        self.array = array
        self.ranges = [(0, array.size)]  # first elements, and how many


def first_terms(body: Sequence[Statement]) -> set[Statement]:
    """What adds to elements to which nothing else has been added; it need not come from memory.

    What sets the array to 0 leaves these elements out.
    """
    found: set[Statement] = set()
    for place, x in enumerate(body):
        if isinstance(x, Loop):
            found |= first_terms(x.body)
        elif isinstance(x, Zero) and x.array.is_of_messages:
            every = (_accesses(first, x.array) for first in body[place + 1 :])
            accesses = next(filter(None, every), [])
            add, path = accesses[0] if len(accesses) == 1 else (None, ())
            if isinstance(add, Add):
                covered = _covered(add.index, path)
                if covered is not None:
                    found.add(add)
                    first, count = covered
                    x.ranges = [(0, first), (first + count, x.array.size - first - count)]
    return found


def _accesses(first: Statement, array: Array) -> list[tuple[Statement, Path]]:
    """What reads an array or writes to it in a statement, with the loops around."""
    every = nests.paths([first])
    return [(x, path) for x, path in every if isinstance(x, ACCESSES) and x.array is array]


def _covered(index: Index, path: Path) -> tuple[int, int] | None:
    """The first of the elements that loops come to once each, and how many; None if not so."""
    strides = dict(index.strides)
    if index.tables or any(not loop.trips.is_fixed or loop.trips.offset < 1 for loop in path):
        return None
    count, first = 1, index.offset
    for loop in sorted(path, key=lambda x: abs(strides.get(x, 0))):
        stride = strides.pop(loop, 0)
        if abs(stride) != count:
            return None
        first += min(0, stride) * (loop.trips.offset - 1)
        count *= loop.trips.offset
    return None if strides else (first, count)
