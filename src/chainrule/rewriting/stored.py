"""Lists whose elements the iterations of a loop assign, where one is traced for all.

They stay the lists that they are, by whatever names: while the iteration runs, their elements are
what stands for those of any iteration, and after it what comes of the loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy

MOST: Final = 10_000
"""Elements beyond which none may be assigned: each is a variable of the loop."""


class Stored:
    """Lists whose elements may be assigned, with all lists and tuples in them.

    Args:
        roots: by what the loop names them.

    Attributes:
        before: the elements that they have had, one list after the other.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self._lists: dict[int, list[Any]] = {}
        self._lengths: list[int] = []
        waiting = [*roots]
        for x in waiting:
            if type(x) is list and id(x) not in self._lists:
                self._lists[id(x)] = x
                self._lengths.append(len(x))
            elif type(x) is not tuple:
                continue
            if len(waiting) + len(x) > MOST:
                self._lists, self._lengths = {}, []
                break
            waiting += x
        self.before = self.now()

    def __contains__(self, x: Any) -> bool:
        return id(x) in self._lists

    def now(self) -> list[Any]:
        """Their elements."""
        return [x for held in self._lists.values() for x in held]

    def is_grown(self) -> bool:
        """Whether some have other lengths than they have had."""
        return self._lengths != [len(x) for x in self._lists.values()]

    def put(self, elements: Sequence[Any]) -> None:
        """Give them elements."""
        start = 0
        for held, length in zip(self._lists.values(), self._lengths, strict=True):
            held[:] = elements[start : start + length]
            start += length

    def owners(self, places: Iterable[int]) -> list[Any]:
        """The lists in which some of the elements are."""
        found = numpy.searchsorted(numpy.cumsum(self._lengths), [*places], side="right")
        lists = [*self._lists.values()]
        return [lists[i] for i in sorted({*found.tolist()})]


def holds_one(values: Iterable[Any], lists: Sequence[Any]) -> bool:
    """Whether one of some lists is among values, or in the lists and tuples among these."""
    waiting = [*values] if lists else []
    known = {id(x) for x in lists}
    for x in waiting:
        if id(x) in known:
            return True
        if isinstance(x, (list, tuple)):
            waiting += x
    return False
