"""What a run in plain numbers has met: outcomes of branches, and iterations of loops.

A trace that follows it knows the outcomes of its guards before it knows what they compare, and
which iterations of a loop do the same, so that one can be traced for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import numpy

from chainrule.carries import leaves_of
from chainrule.engine import ENGINE
from chainrule.jit.loops import LEAST
from chainrule.node import Node

if TYPE_CHECKING:
    from .decisions import Decisions, LoopSite, Site
    from .speculation import Speculation

EACH: Final = 100
MOST_RECORDED: Final = 300_000
"""Operations that a plain loop may record."""
MOST: Final = 2_000_000
"""Branches beyond which nothing is followed: of an endless loop, noting them takes its time."""
MOST_FORMS: Final = 1_000
"""Functions of which it is kept what is called in their place."""
LONGEST: Final = 64
"""Iterations that are looked for as a period."""
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

    __slots__ = ("_found", "around", "events", "kinds", "number", "site", "values")

    def __init__(self, site: LoopSite, around: list[Event]) -> None:
        self.site = site
        self.around = around
        self.values: list[list[Any]] = []
        self.events: list[list[Event]] = []
        self.kinds: list[int] = []
        self.number = -1
        self._found: dict[int, tuple[int, int]] = {}

    def alike(self, first: int) -> int:
        """How many iterations from one on meet the same; the last one, which ends it, apart."""
        return min(self._repeats(first, 1) + 1, len(self.kinds) - 1 - first)

    def period(self, first: int) -> tuple[int, int]:
        """How many iterations from one on are met again and again, and how often; or 1, and 0.

        There are more of them than of those that meet the same.
        """
        kinds, stop = self.kinds, len(self.kinds) - 1
        for size in range(self.alike(first) + 1, min(LONGEST, (stop - first) // LEAST) + 1):
            if kinds[first] != kinds[first + size]:
                continue
            count = min(self._repeats(first, size) // size + 1, (stop - first) // size)
            if count >= LEAST:
                return size, count
        return 1, 0

    def _repeats(self, first: int, size: int) -> int:
        """How many iterations from one on meet what those so many later do, one after the other.

        What was found from an earlier one on is not walked through again.
        """
        begin, end = self._found.get(size, (0, 0))
        if not begin <= first < end:
            kinds, end = self.kinds, first
            while end + size < len(kinds) and kinds[end] == kinds[end + size]:
                end += 1
            self._found[size] = first, end
        return end - first


class Notes:
    """What a run in plain numbers has met so far.

    This class is the reference; the C engine has a twin.

    Args:
        most: the branches beyond which it is taken to be endless.

    Attributes:
        events: what has been met where it runs: in an iteration, or outside of loops.
    """

    def __init__(self, most: int) -> None:
        self.events: list[Event] = []
        self._left = most
        self._numbers: dict[Any, int] = {}
        self._first: dict[int, list[Event]] = {}  # of iterations that meet no loop, by kind

    def met(self, site: Site, outcome: bool) -> None:
        """Note the outcome of a branch.

        Raises:
            RuntimeError: if there are so many that a loop must be endless.
        """
        self._left -= 1
        if self._left < 0:
            raise RuntimeError
        self.events.append(site.events[outcome])

    def truth(self, sites: Any, otherwise: Any, name: str, condition: Any) -> bool:
        """The truth of what a branch is by, noted.

        Args:
            sites: the branches by their names.
            otherwise: gives it, called with the name and the condition, for what is no bool.
            name: which branch it is.
            condition: what it is by.
        """
        if type(condition) is not bool:
            outcome: bool = otherwise(name, condition)
            return outcome
        self.met(sites[name], condition)
        return condition

    def turn(self, run: Run, read: Sequence[bool], *values: Any) -> tuple[Any, ...]:
        """Note that an iteration begins.

        Args:
            run: the loop.
            read: which of its variables an iteration reads.
            values: what they all are, which it gives.
        """
        self.close(run)
        run.values.append(plain_leaves([*compress(values, read)]))
        self.events = []
        run.events.append(self.events)
        return values

    def close(self, run: Run) -> None:
        """Note that an iteration has ended, if one has begun."""
        if len(run.events) == len(run.kinds):
            return
        events = run.events[-1]
        key = tuple([x.number if isinstance(x, Run) else x for x in events])
        kind = self.number(key)
        run.kinds.append(kind)
        if not any(isinstance(x, Run) for x in events):
            run.events[-1] = self._first.setdefault(kind, events)

    def number(self, key: Any) -> int:
        """A number that is the same for what is equal."""
        return self._numbers.setdefault(key, len(self._numbers))


def plain_leaves(values: Sequence[Any]) -> list[Any]:
    """The plain numbers that some variables hold, of each leaf; None for what is none."""
    return [x if type(x) in NUMBERS else None for x in leaves_of(values)[0]]


if ENGINE is not None:
    ENGINE.set_notes(Run, numpy.float64, numpy.ndarray, plain_leaves)
    Notes = ENGINE.Notes  # type: ignore[misc]


class Writer(Notes):
    """Notes what a run in plain numbers meets.

    Args:
        speculation: for the functions that run.
        rewritten: gives what is called in the place of a function of the user's, see
            :func:`~.functions.rewritten`.
        decisions: of the function.
    """

    reads = False

    def __init__(
        self, speculation: Speculation, rewritten: Callable[..., Any], decisions: Decisions
    ) -> None:
        super().__init__(MOST)
        self.decisions = decisions
        self.speculation = speculation
        self._rewritten = rewritten
        self._forms: dict[int, tuple[FunctionType, Any, Any, Any]] = {}

    def form_of(self, function: Any, *_: Any) -> Any:
        """What is called in the place of a function of the user's."""
        if type(function) is not FunctionType:
            return self._rewritten(function, False)
        defaults, named = function.__defaults__, function.__kwdefaults__
        found = self._forms.get(id(function))
        if found is None or not (
            found[0] is function and found[1] is defaults and found[2] is named
        ):
            if len(self._forms) >= MOST_FORMS:
                self._forms.clear()
            found = function, defaults, named, self._rewritten(function, False)
            self._forms[id(function)] = found
        return found[3]

    def finish(self) -> list[Event]:
        """Let go of the functions; gives what has been met."""
        self._forms.clear()
        speculation = self.speculation
        for made in (speculation.made_of, speculation.cells, speculation.runtimes):
            made.clear()
        return self.events

    def begin(self, site: LoopSite) -> Run:
        """Note that a loop begins."""
        found = Run(site, self.events)
        self.events.append(found)
        return found

    def end(self, run: Run) -> None:
        """Note that a loop has ended."""
        self.close(run)
        run.number = self.number((run.site, *run.kinds))
        self.events = run.around


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
        self.speculation.refuse_periods("it does something else than the run")
        self.speculation.give_up()
        self.decisions.follow_nothing()
