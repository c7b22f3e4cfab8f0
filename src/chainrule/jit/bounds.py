"""How many iterations loops that end by a condition take, inside loops of which one is traced.

There no guard can ask whether such a loop has ended, which is another matter in each iteration
around it. So it has a bound, that of its line: as many iterations run as that, of which those after
its end leave its value as it is. Whether it goes on after them becomes a value of the iteration
around it, and in the end of a guard: where a loop has outgrown its bound, this grows, and all
traces of the function are recorded anew.

Bounds come of a run in plain numbers, which counts the iterations of all loops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy

from chainrule.carries import EndlessError
from chainrule.debugging import unprinted
from chainrule.tracing import PROGRESS, Counts

LEAST_BOUND: Final = 8
"""The smallest bound."""
OUTSIDE: Final = "outside"
"""What fails where an index is outside a table, or a whole number is not exact."""


class CountsWanted(BaseException):
    """A loop in a loop has no bound so far, or has outgrown it; or the value after one is wanted.

    Args:
        line: where the loop stands; None if a value is wanted.
        outgrown: whether it has outgrown its bound.
    """

    def __init__(self, line: str | None, outgrown: bool = False) -> None:
        super().__init__(line)
        self.line = line
        self.outgrown = outgrown


class Bounds:
    """The bounds of the loops of a function, by their lines.

    Attributes:
        active: whether there are any: then no guards ask after iterations whether a loop ended.
        asked: whether guards ask for what comes of loops.
        of: they.
        most: by line, the iterations after which a loop is taken to be endless.
        constant: lines of loops in which no input of the function has a part.
        indexed: lines of loops that look up by whole numbers which they hand on.
    """

    def __init__(self) -> None:
        self.active = self.asked = False
        self.of: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.constant: set[str] = set()
        self.indexed: set[str] = set()

    def bound(self, line: str, most: int) -> int:
        """That of a loop.

        Args:
            line: where it stands.
            most: the iterations after which it is taken to be endless.

        Raises:
            CountsWanted: if it has none.
        """
        self.most[line] = most
        if line not in self.of:
            raise CountsWanted(line)
        return min(self.of[line], most)

    def counted(self, run: Callable[[], Any], wanted: CountsWanted) -> Counts:
        """What a run shows of its loops; bounds are as large as it needs from now on.

        Args:
            run: a run in plain numbers.
            wanted: what has asked for it.

        Returns:
            Nothing of loops that it does not come to.

        Raises:
            EndlessError: if a loop does not end.
        """
        counts = Counts()
        if PROGRESS.recorder is None:
            PROGRESS.counts = counts
            try:
                with unprinted(), numpy.errstate(all="ignore"):
                    run()
            except EndlessError:
                raise
            except Exception:  # plain numbers refuse what machine code computes, 1.0 / 0.0 say
                pass
            finally:
                PROGRESS.counts = None
        line = wanted.line
        if line is None:
            self.asked = True
        else:
            self.active = True
            counts.most.setdefault(line, 0)
        if line is not None and wanted.outgrown:
            before = self.of[line]
            if before >= self.most[line]:
                raise EndlessError(None, self.most[line])
            counts.most[line] = max(counts.most[line], before)
        for line, count in counts.most.items():
            self.of[line] = max(self.of.get(line, LEAST_BOUND), _room(count))
        return counts


def _room(count: int) -> int:
    """A bound for so many iterations: a power of two, for others that need some more."""
    return 1 << (count + count // 4).bit_length()
