"""Where ``return``, ``break`` and ``continue`` lead, of lanes that get there while others do not.

The rest runs for the others. What the lanes that have left compute there is not used: what they
have brought is picked in the end.
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from chainrule.comparing import negated

from .decisions import Site
from .picking import UNBOUND, pick

if TYPE_CHECKING:
    from .speculation import Speculation

FIRST: Final = 8
"""The iterations after which it is first asked whether a loop has ended."""


class Variables(tuple[Any, ...]):
    """What variables stand for where a loop is left."""

    __slots__ = ()


class Exit:
    """The end of a function, of a loop, or of one of its iterations.

    Args:
        speculation: of the trace; None outside of traces.
        around: that around it; None for the end of a function.
        bounded: whether it is the end of a loop that ends by itself.

    Attributes:
        left: the condition of lanes that have got there; False for none, True for all.
        value: what they have brought.
        sites: where they have branched off.
        moves: whether it is of a loop that takes something from what it goes through.
    """

    def __init__(
        self, speculation: Speculation | None, around: Exit | None = None, bounded: bool = True
    ) -> None:
        self._speculation = speculation
        self._around = around
        self._bounded = bounded
        self._count, self._next = -1, FIRST
        self.left: Any = False
        self.value: Any = None
        self.sites: list[Site] = []
        self.moves = False
        self._depth = self._sides = 0
        if speculation is not None:
            if around is not None:
                speculation.cut(around._depth + 1)
            self._sides = len(speculation.sides)
            self._depth = len(speculation.exits)
            speculation.exits.append(self)

    def inside(self, bounded: bool = True) -> Exit:
        """The end of a loop in a function or another loop, or of an iteration of this one."""
        return Exit(self._speculation, self, bounded)

    @property
    def partial(self) -> bool:
        """Whether some lanes have left before others."""
        return self.left is not False

    @property
    def certain(self) -> bool:
        """Whether what runs here does for all lanes that have not left."""
        speculation = self._speculation
        return speculation is None or (
            len(speculation.sides) == self._sides and not self._gone(speculation)
        )

    def _gone(self, speculation: Speculation) -> list[Exit]:
        """The ends inside of it that some lanes have got to, for which it does not run here."""
        inside = speculation.exits[self._depth + 1 :]
        return [x for x in inside if not isinstance(x.left, bool)]

    def leaves(self, *values: Any) -> bool:
        """Let the lanes leave for which this runs; gives whether no others are left.

        Args:
            values: what they bring: a result, or variables.
        """
        value = values[0] if self._around is None else Variables(values)
        self.value = self._picked(value)
        speculation = self._speculation
        if speculation is None:
            return True
        sides, gone = speculation.sides[self._sides :], self._gone(speculation)
        if not sides and not gone:
            self.left = self.partial
            speculation.cut(self._depth + (self._around is not None))
            return True
        before = [site for x in gone for site in x.sites]
        if not sides:  # what it leaves must be harmless, which has been seen of branches alone
            speculation.refuse(before, "all others leave after it")
        self.sites += [x.site for x in sides] + before
        if any(x.stores for x in speculation.sides):
            speculation.refuse(self.sites, "an element is assigned where it is left")
        if any(x.moves for x in speculation.exits[self._depth :]):
            speculation.refuse(self.sites, "what the loop goes through is used up")
        path, *others = [x.holds for x in sides] + [negated(x.left) for x in gone]
        for condition in others:
            path = path & condition
        self.left = left = path if self.left is False else self.left | path
        left.asked = True  # whatever is picked by it
        speculation.partial = True
        return False

    def end(self) -> None:
        """Go on after it."""
        if self._speculation is not None:
            self._speculation.cut(self._depth)

    def settled(self, *values: Any) -> Variables:
        """The variables after it, by what they are for lanes that have not left before."""
        found: Variables = self._picked(Variables(values))
        if self._speculation is not None and any(x is UNBOUND for x in found):
            self._speculation.dropped += self.sites
        return found

    def returned(self, value: Any) -> Any:
        """The result of a function, at whose end those arrive that have not left before."""
        found = self._picked(value)
        self.end()
        return found

    def _picked(self, value: Any) -> Any:
        """What has been brought where lanes have left before, else a value."""
        if self.left is False or self._speculation is None:
            return value
        if self.left is True:
            return self.value
        if isinstance(value, Variables):
            several = Variables(map(pick, repeat(self.left), self.value, value))
            for parts in zip(self.value, value, several, strict=True):
                self._speculation.note_pick(self.sites, *parts)
            return several
        found = pick(self.left, self.value, value)
        self._speculation.note_pick(self.sites, self.value, value, found)
        if found is UNBOUND:
            self._speculation.refuse(self.sites, "the results are of other kinds")
        return found

    def turns(self) -> bool:
        """Begin an iteration of a loop; gives whether it may be asked if it has ended."""
        self._count += 1
        if self._speculation is not None and not self._bounded:
            self._speculation.double_if_long(self._count, self.sites)
        if self._count < self._next:
            return False
        self._next = 2 * self._count + FIRST
        return True

    def over(self, loop: Exit) -> bool:
        """Whether all have left, as a guard says, at the beginning of an iteration of a loop.

        Raises:
            Refused: if that can't be asked here.
        """
        if isinstance(self.left, bool) or self._speculation is None:
            return self.left is True
        self.left = self._speculation.all_have_left(self, loop._bounded, loop._count)
        return self.left is True
