"""What is done at each place of a function where it branches: both sides at once, or a guard."""

from __future__ import annotations

from collections.abc import Iterable
from types import CodeType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

if TYPE_CHECKING:
    from .carried import Handed

RUNTIME: Final = "_chainrule"
"""The name by which rewritten functions call the runtime."""
TRUTHS: Final = (f"{RUNTIME}_false", f"{RUNTIME}_true")
"""Their names for False and True: of the user's own ``is True`` more is thought."""
TEST: Final = f"{RUNTIME}_test"
"""How their names of what is only compared with these begin."""
FEW: Final = 4
"""As often a branch may be asked in one trace before both of its sides are computed."""

IN_LIBRARY: Final = "it is in a library"
"""Why a comparison is a guard that no code of the user's asks for."""


class Site:
    """A place where a function branches.

    Args:
        place: the file and the line.
        kind: what stands there: "if", "while", "a if c else b", "and", "or", "any", "all",
            "assert", "case" or "if of a comprehension"; "index" for what finds or takes one.
        eager: whether both sides are computed at once; else as soon as there are many paths.
        why: why that can't be; "" where it may.

    Attributes:
        events: its outcomes, False and True, as a run notes them.
    """

    __slots__ = ("eager", "events", "kind", "place", "why")

    def __init__(self, place: str, kind: str, eager: bool, why: str) -> None:
        self.place = place
        self.kind = kind
        self.eager = eager
        self.why = why
        self.events = (self, False), (self, True)


class LoopSite(Site):
    """A loop of which one iteration may be traced for all, or for those that do the same.

    Args:
        place: the file and the line.
        kind: "for", "while" or "sum".
        handed: the variables that its iterations hand on.
    """

    __slots__ = ("lists", "names", "read", "stores")

    def __init__(self, place: str, kind: str, handed: Handed) -> None:
        super().__init__(place, kind, False, "")
        self.names = handed.names
        self.read = handed.read
        self.lists = handed.lists
        self.stores = handed.stores


class Branch(NamedTuple):
    """What was done where the function branches, or goes through a long loop.

    Attributes:
        line: the file and the line.
        kind: what stands there: "if", "while", "a if c else b", "and", "or", "any", "all",
            "assert", "case", "if of a comprehension"; "comparison" for what asks otherwise; "for"
            and "sum"; "index" where only Python's own number will do.
        both: whether both sides are computed, and one picked; else it is a guard, a path each. Of a
            loop, whether one iteration is traced for all.
        why: why it is not so.
    """

    line: str
    kind: str
    both: bool
    why: str


class Refused(BaseException):
    """Both sides of a branch can't be computed: the trace starts anew."""


class Changed(BaseException):
    """More branches compute both sides from now on: the traces start anew."""


class Decisions:
    """What is done at each place, for all traces of a function.

    Attributes:
        asked: the places that have branched by traced values, in order.
        plain: the places in functions that have run in the form that takes one side of each ``if``.
        long: the loops that are long, with what is known of their variables.
        indices: the places where whole numbers have stayed in a trace.
        ends: whether the end of a loop is asked after some iterations, by what came before.
        turns: the iterations of a loop before which its end is not asked where it is in one that is
            traced once, as that had not come yet in all iterations of this.
        suspended: whether all are guards for the moment.
        follows: whether a trace follows a run in plain numbers; None if it may.
        steady: whether the defaults of functions stay as they are during a trace.
        rewrite: whether functions run from rewritten trees at all; else all are guards for good.
        doubled: conditions of long loops of which both sides are computed: of the iterations
            stretches are traced once, each twice as long as the one before. With these loops, as
            soon as they have run so.
    """

    def __init__(self) -> None:
        self.rewrite = True
        self.asked: dict[Site, None] = {}
        self.plain: set[Site] = set()
        self.long: dict[Site, Any] = {}
        self.indices: dict[Site, None] = {}
        self.ends: dict[Any, bool] = {}
        self.turns: dict[Site, int] = {}
        self.suspended = False
        self.follows: bool | None = None
        self.steady = True
        self.doubled: dict[Site, LoopSite | None] = {}
        self._both: set[Site] = set()
        self._guards: dict[Site, str] = {}  # and why they are
        self._later: set[Site] = set()
        self._elsewhere: dict[tuple[int, int], tuple[CodeType, Branch]] = {}  # by the id of code

    def are_both(self, site: Site) -> bool:
        """Whether both sides of a branch are computed."""
        if self.suspended:
            return False
        return site in self._both or (
            site.eager and site not in self._later and self.may_be_both(site)
        )

    def are_any_converted(self, sites: dict[str, Site]) -> bool:
        """Whether some of these compute both sides that do not from the beginning."""
        return not (not self._both or self.suspended or self._both.isdisjoint([*sites.values()]))

    def is_doubled(self, condition: Site) -> bool:
        """Whether stretches of the iterations of a loop are traced once, as far as is known."""
        if condition not in self.doubled or condition not in self._both or self.suspended:
            return False
        loop = self.doubled[condition]
        return loop is None or self.is_once(loop)

    def may_be_both(self, site: Site) -> bool:
        """Whether it is possible, as far as is known."""
        return not site.why and site not in self._guards

    def is_once(self, site: Site) -> bool:
        """Whether one iteration of a loop may be traced for all, as far as is known."""
        return not self.suspended and self.may_be_both(site)

    def refuse(self, sites: Iterable[Site], why: str) -> None:
        """Make guards of branches for good."""
        for site in sites:
            self._guards.setdefault(site, why)
            self._both.discard(site)
            if site in self.long:  # loops in it may have been long by its iterations alone
                self.long = {x: None for x in self.long if not self.may_be_both(x)}

    def follow_nothing(self) -> NoReturn:
        """Let no trace follow a run in plain numbers.

        Raises:
            Refused: always.
        """
        self.follows = False
        raise Refused

    def refuse_all(self, why: str) -> bool:
        """Make guards of all; gives whether some were not."""
        found = [site for site in self.asked if self.are_both(site)]
        found += [site for site in (*self.long, *self.indices) if self.is_once(site)]
        self.refuse(found, why)
        return bool(found)

    def postpone(self, site: Site) -> bool:
        """Make a guard of a branch until it is asked often; gives whether it is not already."""
        if site in self._both:
            return False
        self._later.add(site)
        return True

    def convert(self, sites: Iterable[Site]) -> bool:
        """Compute both sides of branches from now on, where that may be; gives whether some are.

        Loops that end by a condition stay guards where traces follow a run in plain numbers, which
        shows how often they go round.
        """
        found = [x for x in sites if self.may_be_both(x) and not self.are_both(x)]
        if self.follows:
            found = [x for x in found if x.kind != "while"]
        self._both.update(found)
        return bool(found)

    def knows(self, code: CodeType, instruction: int) -> bool:
        """Whether it is noted that a comparison is a guard where no branch stands."""
        return (id(code), instruction) in self._elsewhere

    def note(self, code: CodeType, instruction: int, line: str, why: str) -> None:
        """Note that."""
        branch = Branch(line, "comparison", False, why)
        self._elsewhere[id(code), instruction] = code, branch

    def branches(self) -> list[Branch]:
        """What was done, by place."""
        once = {site.place for site in self.long if site.kind == "while" and self.is_once(site)}
        sites = [
            Branch(site.place, site.kind, both, "" if both else self._why(site))
            for site in self.asked
            for both in [self.are_both(site)]
            if site.kind != "while" or site.place not in once
        ]
        loops = [
            Branch(site.place, site.kind, once, "" if once else self._why(site))
            for site in self.long
            for once in [self.is_once(site)]
        ]
        indices = [
            Branch(site.place, site.kind, False, self._why(site))
            for site in self.indices
            if not self.may_be_both(site)
        ]
        return [*sites, *loops, *indices, *(branch for _, branch in self._elsewhere.values())]

    def _why(self, site: Site) -> str:
        return site.why or self._guards.get(site, "it has few paths")
