"""Loops that end by a condition, of which iterations are traced once for others.

In a trace that follows a run in plain numbers, iterations that meet the same, one after the other,
are one loop of the recording: the first of a kind is recorded as it stands, and shows which
variables are nodes; of those that follow one is traced for all. Where that can't be, the iterations
are plain ones.

In other traces stretches of the iterations run for all lanes, whatever their number is: those after
the loop's end leave its variables as they are, as in :mod:`chainrule.jit.whiles`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from chainrule.carries import EndlessError, leaves_of
from chainrule.jit.branches import may_raise
from chainrule.jit.loops import LEAST
from chainrule.jit.whiles import FIRST, Numbers
from chainrule.node import Node

from .decisions import LoopSite, Site
from .known import Known
from .log import NUMBERS, Reader, Writer
from .once import FIXED, Learned, Loop, are_rows, kind_of, same, size_of
from .picking import UNBOUND

if TYPE_CHECKING:
    from .speculation import Speculation


MOST: Final = 1_000_000
"""Iterations after which a loop is taken to be endless."""
MOST_ALONE: Final = 4
"""Iterations that may show which variables are nodes."""


class Turns:
    """The iterations of a plain loop.

    Attributes:
        active: whether something is to be done between them.
        once: whether one stands for several.
    """

    active = once = False

    def turn(self, *values: Any) -> tuple[Any, ...]:
        """Begin an iteration; gives what its variables are in it.

        Args:
            values: what they are.
        """
        return values

    def end(self) -> None:
        """End the loop."""

    def exit(self) -> None:
        """See that it may be left here."""


PLAIN: Final = Turns()


class Noted(Turns):
    """The iterations of a loop that are noted.

    Args:
        log: where.
        site: the loop.
    """

    active = True

    def __init__(self, log: Writer, site: LoopSite) -> None:
        self._log = log
        self._run = log.begin(site)
        read = tuple([name in site.read for name in site.names])
        self.turn = functools.partial(log.turn, self._run, read)  # type: ignore[method-assign]

    def end(self) -> None:
        """End the loop."""
        self._log.end(self._run)


class Open(NamedTuple):
    """Iterations that stand for others, while they run.

    Attributes:
        stretch: they.
        stop: the place of the first one after them.
        after: that after the others.
    """

    stretch: Stretch
    stop: int
    after: int


class Followed(Turns):
    """The iterations of a loop that follow what was noted.

    Where several repeat what they meet, one after the other, these stand together for all: a
    period, in which iterations that are alike stand for others in turn.

    Args:
        log: what was noted.
        site: the loop.
        periods: the same, for what is known of its periods.
        lists: the lists to which it appends.
    """

    active = True

    def __init__(
        self, log: Reader, site: LoopSite, periods: LoopSite, lists: Sequence[Any]
    ) -> None:
        self._log = log
        self._site = site
        self._periods = periods
        self._lists = lists
        self._speculation = log.speculation
        self._run = log.begin(site)
        self._around = log.events, log.at
        self._place = 0  # of the next iteration
        self._open: list[Open] = []
        # By where they end, some that show what variables are.
        self._shows: dict[int, list[tuple[Any, list[Any], Any]]] = {}

    @property
    def once(self) -> bool:  # type: ignore[override]
        """Whether an iteration stands for several."""
        return bool(self._open)

    def turn(self, *values: Any) -> tuple[Any, ...]:
        """Begin an iteration, or several alike."""
        while self._open and self._open[-1].stop == self._place:
            stretch, _, self._place = self._open.pop()
            values = stretch.leave(*values)
        run, i = self._run, self._place
        for key, before, structure in self._shows.pop(i, ()):
            read, kept = self._of(values, read=True), self._of(values, read=False)
            self._speculation.stretches[key] = _learned(before, structure, read, kept)
        if i >= len(run.events):
            self._log.refuse()
        self._log.events, self._log.at = run.events[i], 0
        if not self._open and self._speculation.may_stretch(self._periods):
            values = self._begun(i, *run.period(i), values)
        stop = self._open[-1].stop if self._open else len(run.kinds) - 1
        values = self._begun(i, 1, min(run.alike(i), stop - i), values)
        self._place = i + 1
        return values

    def _begun(self, i: int, size: int, count: int, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Begin a stretch, if what is known of its variables lets it; gives what these are in it.

        Args:
            i: the place of its first iteration.
            size: how many iterations stand for others.
            count: for how many times as many.
            values: what its variables are.
        """
        run, speculation = self._run, self._speculation
        site = self._periods if self._open or size > 1 else self._site
        if count < LEAST or not speculation.may_stretch(site):
            return values
        leaves, structure = leaves_of(self._of(values, read=True))
        if len(leaves) != len(run.values[i]):
            self._log.refuse()
        kinds = *run.kinds[i : i + size], structure
        key = self._site, *kinds, tuple(map(_kind, leaves))
        known = speculation.stretches.get(key)
        if known is None:
            self._shows.setdefault(i + size, []).append((key, leaves, structure))
            return values
        series = run.values[i : i + size * count + 1 : size]
        for j, x in enumerate(leaves):
            if isinstance(x, Known):
                if not all(same(numbers[j], series[0][j]) for numbers in series):
                    return values  # it changes in the period, and from one to the next
                x.node()  # for those in it, which begin after it
        stretch = Stretch(speculation, site, values, self._lists, known, series)
        stretch.is_period = site is self._periods
        if size > 1:
            self._shows.clear()  # what is met in it are others
        self._open.append(Open(stretch, i + size, i + size * count))
        speculation.learn(self._site, True)
        carried = iter(stretch.carried)
        pairs = zip(values, site.names, strict=True)
        return tuple([next(carried) if name in site.read else x for x, name in pairs])

    def end(self) -> None:
        """End the loop."""
        self._log.events, self._log.at = self._around

    def exit(self) -> None:
        """See that it may be left here."""
        if self._open:
            self._open[-1].stretch.refuse("an iteration is left that stands for others")

    def _of(self, values: Sequence[Any], read: bool) -> tuple[Any, ...]:
        """The values of the variables that an iteration reads, or of the others."""
        site = self._site
        pairs = zip(values, site.names, strict=True)
        return tuple([x for x, name in pairs if (name in site.read) is read])


class Stretch(Loop):
    """Iterations of which one is traced.

    Args:
        speculation: of the trace.
        site: the loop.
        values: what its variables stand for.
        lists: the lists to which it appends.
        known: which of them are nodes.
        series: the leaves of what iterations read, of each and of the one that follows.
    """

    follows = True

    def __init__(
        self,
        speculation: Speculation,
        site: LoopSite,
        values: Sequence[Any],
        lists: Sequence[Any],
        known: Learned,
        series: Sequence[Sequence[Any]],
    ) -> None:
        self._series = series
        super().__init__(speculation, site, (), values, lists, (), known)

    def _count(self) -> int:
        """How many iterations there are."""
        return len(self._series) - 1

    def _begins(self) -> None:
        """It goes through nothing."""

    def _prepare(self) -> None:
        """Let plain numbers that change be known."""
        self._iteration.expand()
        self._changing: dict[int, list[Any]] = {}
        for i, x in enumerate(self._leaves):
            if i in self._known.numeric:
                continue
            values = [leaves[i] for leaves in self._series] if type(x) in NUMBERS else []
            if values and not same(x, values[0]):
                self.refuse("a number is not what it was")
            if not all(same(x, y) for y in values):
                self._changing[i] = values

    def _of_leaves(self, last: bool) -> list[Any]:
        leaves = [*self._leaves]
        for i, values in self._changing.items():
            leaves[i] = values[-1] if last else Known(values[:-1], self)
        return leaves

    def _stays(self, i: int, x: Any, y: Any) -> bool:
        """Whether a plain variable becomes what it was to become."""
        values = self._changing.get(i)
        if values is None:
            return same(x, y)
        after = y.values if isinstance(y, Known) and y.loop is self else [y] * self.trips
        return all(map(same, after, values[1:]))

    def leave(self, *values: Any) -> tuple[Any, ...]:
        """End the iteration; gives what the variables are after the loop: their lists are new."""
        found = super().leave(*values)
        pairs = zip(found, self.site.names, strict=True)
        self._speculation.note_made([x for x, name in pairs if name not in self._held])
        return found


class Doubled(Turns):
    """The iterations of a loop that lanes leave one by one: a stretch, each twice as long.

    Before each there is one that runs alone, for which a guard asks whether the loop goes on; the
    first ones show which variables are nodes.

    Args:
        speculation: of the trace.
        site: the loop, all of whose variables an iteration reads.
        condition: the place of its condition.
        lists: the lists to which it appends.
    """

    active = True

    def __init__(
        self, speculation: Speculation, site: LoopSite, condition: Site, lists: Sequence[Any]
    ) -> None:
        self._speculation = speculation
        self._site = site
        self._condition = condition
        self._lists = lists
        self._alone = 0
        self._size, self._done = FIRST, 0
        self._before: tuple[list[Any], Any] | None = None
        self._known: Learned | None = None
        self._stretch: Until | None = None

    @property
    def once(self) -> bool:  # type: ignore[override]
        """Whether an iteration stands for several."""
        return self._stretch is not None

    def turn(self, *values: Any) -> tuple[Any, ...]:
        """Begin an iteration, or several."""
        if self._stretch is not None:
            values = self._stretch.leave(*values)
            self._stretch, self._known = None, None
            self._done, self._size = self._done + self._size, 2 * self._size
        elif self._before is not None:
            self._known = _learned(*self._before, values, ())
        if self._known is None:
            if self._alone == MOST_ALONE:
                self._speculation.refuse([self._site], "a variable changes that is no number")
            self._alone += 1
            self._before = leaves_of(values)
            return values
        self._alone, self._before = 0, None
        self._stretch = Until(
            *(self._speculation, self._site, values, self._lists, self._known),
            *(self._condition, self._size, self._done),
        )
        self._speculation.learn(self._site, True)
        return self._stretch.carried

    def exit(self) -> None:
        """See that it may be left here."""
        if self._stretch is not None:
            self._stretch.refuse("an iteration is left that stands for others")


class Until(Loop):
    """Iterations of which one is traced, those after the loop's end among them.

    Args:
        speculation: of the trace.
        site: the loop.
        values: what its variables stand for.
        lists: the lists to which it appends.
        known: which of them are nodes.
        condition: the place of its condition.
        size: how many iterations there are.
        done: how many were before them.
    """

    asks = False

    def __init__(
        self,
        speculation: Speculation,
        site: LoopSite,
        values: Sequence[Any],
        lists: Sequence[Any],
        known: Learned,
        condition: Site,
        size: int,
        done: int,
    ) -> None:
        self._condition = condition
        self._size, self._done = size, done
        self._goes_on: Any = None
        recorded = speculation.recorder.recorded
        self._around, recorded.repeated = recorded.repeated, True
        super().__init__(speculation, site, (), values, lists, (), known)

    def _count(self) -> int:
        """How many iterations there are."""
        return self._size

    def _begins(self) -> None:
        """It goes through nothing."""

    def ends_by(self, site: Site, condition: Any) -> bool:
        """Take the loop's condition."""
        if site is not self._condition or self._goes_on is not None:
            return False
        self._goes_on = condition
        condition.asked = True
        return True

    def _results(self, after: Sequence[Any], leaves: Sequence[Any]) -> list[Node]:
        """End the iteration; those after the loop's end change nothing."""
        goes_on, iteration = self._goes_on, self._iteration
        if goes_on is None or leaves or not iteration.carries:
            self.refuse("its condition is none by a variable, or it appends to a list")
        if any(may_raise(x, iteration.carries[0]) for x in (goes_on, *after)):
            self.refuse("a look-up in it may fail")
        if iteration.failed:
            self.refuse("a loop in it has a bound")
        if self._done > MOST:
            self.refuse("it does not seem to end")
        recorded = self._speculation.recorder.recorded
        recorded.repeated = self._around
        numbers = Numbers(iteration, goes_on, after, recorded, self._give_up)
        try:
            last = numbers.after(self._size, self._done)
        except EndlessError:
            self.refuse("it does not end")
        return iteration.end_where(goes_on, after, last)

    def _give_up(self) -> NoReturn:
        self.refuse("what it computes is not known while it is traced")


def _kind(x: Any) -> Any:
    """What tells nodes from plain numbers and from anything else."""
    return type(x) if kind_of(x) is None else kind_of(x)


def _learned(
    before: list[Any], structure: Any, read: Sequence[Any], kept: Sequence[Any]
) -> Learned | None:
    """What an iteration has shown of its variables; None where it can't stand for others."""
    after, other = leaves_of(read)
    if structure != other or not are_rows(read) or any(x is UNBOUND for x in before):
        return None
    numeric = set()
    for i, (x, y) in enumerate(zip(before, after, strict=True)):
        if x is y:
            continue
        if kind_of(x) is None and type(x) in FIXED and type(x) is type(y):
            continue
        if kind_of(y) is None or kind_of(x) != kind_of(y):
            return None
        numeric.add(i)
    return Learned(frozenset(numeric), sum(map(size_of, leaves_of(kept)[0])))
