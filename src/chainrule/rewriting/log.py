"""What a run in plain numbers has met: outcomes of branches, and iterations of loops.

A trace that follows it knows the outcomes of its guards before it knows what they compare, and
which iterations of a loop do the same, so that one can be traced for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import numpy

from chainrule.carries import leaves_of
from chainrule.node import Node

if TYPE_CHECKING:
    from .decisions import Decisions, LoopSite, Site
    from .speculation import Speculation

EACH: Final = 100
MOST_RECORDED: Final = 300_000
"""Operations that a plain loop may record."""
MOST: Final = 2_000_000
"""Branches beyond which nothing is followed: of an endless loop, noting them takes its time."""
NUMBERS: Final = (int, float, numpy.float64)
"""Kinds of plain numbers."""

Event: TypeAlias = "tuple[Site, bool] | Run"


class Run:
    """A run of a loop.

    Args:
        site: the loop.
        around: what was met before it.

    Attributes:
        site: the loop.
        values: what its variables were at the beginning of each iteration, of each leaf; None for
            what is no plain number, which may be large.
        events: what each iteration has met.
        kinds: a number for each iteration that is the same for those that have met the same.
        number: the same for the whole.
    """

    __slots__ = ("around", "events", "kinds", "number", "site", "values")

    def __init__(self, site: LoopSite, around: list[Event]) -> None:
        self.site = site
        self.around = around
        self.values: list[list[Any]] = []
        self.events: list[list[Event]] = []
        self.kinds: list[int] = []
        self.number = -1

    def alike(self, first: int) -> int:
        """How many iterations from one on meet the same; the last one, which ends it, apart."""
        kinds = self.kinds
        stop = first
        while stop < len(kinds) - 1 and kinds[stop] == kinds[first]:
            stop += 1
        return stop - first


class Writer:
    """Notes what a run in plain numbers meets.

    Args:
        speculation: for the functions that run.
        form_of: gives what is called in the place of a function of the user's.
        decisions: of the function.
    """

    reads = False

    def __init__(
        self, speculation: Speculation, form_of: Callable[[Any], Any], decisions: Decisions
    ) -> None:
        self.decisions = decisions
        self.speculation = speculation
        self.form_of = form_of
        self.events: list[Event] = []
        self._numbers: dict[Any, int] = {}
        self._met = 0

    def met(self, site: Site, outcome: bool) -> None:
        """Note the outcome of a branch.

        Raises:
            RuntimeError: if there are so many that a loop must be endless.
        """
        self._met += 1
        if self._met > MOST:
            raise RuntimeError
        self.events.append((site, outcome))

    def begin(self, site: LoopSite) -> Run:
        """Note that a loop begins."""
        found = Run(site, self.events)
        self.events.append(found)
        return found

    def turn(self, run: Run, values: Sequence[Any]) -> None:
        """Note that an iteration begins.

        Args:
            run: the loop.
            values: what its variables are.
        """
        self._close(run)
        leaves = leaves_of(values)[0]
        run.values.append([x if type(x) in NUMBERS else None for x in leaves])
        self.events = []
        run.events.append(self.events)

    def end(self, run: Run) -> None:
        """Note that a loop has ended."""
        self._close(run)
        run.number = self._number((run.site, *run.kinds))
        self.events = run.around

    def _close(self, run: Run) -> None:
        if len(run.events) > len(run.kinds):
            met = [x.number if isinstance(x, Run) else x for x in run.events[-1]]
            run.kinds.append(self._number(tuple(met)))

    def _number(self, key: Any) -> int:
        return self._numbers.setdefault(key, len(self._numbers))


class Reader:
    """Follows what was noted.

    Args:
        events: all that was met.
        speculation: of the trace.
        decisions: of the function.
    """

    reads = True

    def __init__(self, events: list[Event], speculation: Speculation, decisions: Decisions) -> None:
        self.events = events
        self.speculation = speculation
        self.at = 0
        self.decisions = decisions

    def met(self, site: Site, outcome: bool) -> None:
        """See that a branch has the outcome that was noted."""
        if self.outcome(site) is not outcome:
            self.refuse()

    def outcome(self, site: Site) -> bool:
        """The outcome that was noted next."""
        event = self._next()
        if isinstance(event, Run) or event[0] is not site:
            self.refuse()
        return event[1]

    def begin(self, site: LoopSite) -> Run:
        """The run of a loop that was noted next."""
        event = self._next()
        if not isinstance(event, Run) or event.site is not site:
            self.refuse()
        return event

    def watched(self, items: Iterable[Any]) -> Iterator[Any]:
        """What a loop goes through; one of which a lot is recorded is not to be followed."""
        began = Node(0.0)._serial
        for count, x in enumerate(items):
            if count % EACH == 0 and Node(0.0)._serial - began > MOST_RECORDED:
                self.refuse()
            yield x

    def _next(self) -> Event:
        if self.at >= len(self.events):
            self.refuse()
        self.at += 1
        return self.events[self.at - 1]

    def refuse(self) -> NoReturn:
        """Give up: the trace does something else than the run.

        Raises:
            Refused: always.
        """
        self.speculation.give_up()
        self.decisions.follow_nothing()
