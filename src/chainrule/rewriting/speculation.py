"""Both sides of a branch in a trace: what runs, and what is picked of what it leaves.

While a side runs that may not be taken, nothing may happen that could be seen if it is not: no
guard is asked, nothing unknown is called, nothing is raised. Where it would, the branch is refused:
the trace starts anew with a guard in its place.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from types import CellType, FrameType, FunctionType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy

from chainrule.annotations import line_of, users_frame
from chainrule.comparing import ConditionNode, negated
from chainrule.jit.branches import may_raise
from chainrule.jit.indices import IndexNode, OutsideTableError
from chainrule.jit.inputs import Inputs
from chainrule.node import Node
from chainrule.passes.stretches import UNKNOWN
from chainrule.tracing import PROGRESS

from . import lookups
from .decisions import FEW, IN_LIBRARY, Changed, Decisions, LoopSite, Refused, Site
from .exits import Exit
from .known import Known, applied, holds_known
from .once import Loop, Plain
from .picking import UNBOUND, pick
from .reading import is_read, plainly
from .values import MAKING, is_value, why_not_of

if TYPE_CHECKING:
    from chainrule.jit.trace import Recorder

LONG: Final = 1_000
"""Operations beyond which the sides of a branch are long."""

LONG_PATH: Final = 100
"""Iterations of loops that end by a condition after which a trace may be a long one."""
LONG_TRACE: Final = 10_000
"""Operations of a long trace."""

PATIENCE: Final = 20
"""As often a loop may have been a short one in a trace before it is taken for one that is."""
_IN_LISTS: Final = (enumerate, len, list, reversed, sum, tuple, zip)
"""What does with plain numbers in lists what operators do."""


class One:
    """A branch of which one side runs.

    Args:
        then: whether it is the first.
    """

    __slots__ = ("otherwise", "then")
    both = False

    def __init__(self, then: bool) -> None:
        self.then = then
        self.otherwise = not then

    def flip(self) -> None:
        """Go to the other side: there is none."""

    def picked(self, first: Any, _: None, second: Any) -> Any:
        """The value of the side that has run."""
        return first if self.then else second

    def joined(self, first: Any, second: Any) -> Any:
        """The value of ``and`` or ``or``."""
        return second if self.then else first


THEN: Final = One(True)
OTHERWISE: Final = One(False)


class Both:
    """A branch both of whose sides run, one after the other.

    Args:
        speculation: of the trace.
        site: the place.
        condition: of the first side.
    """

    __slots__ = (
        *("_condition", "_first", "_inverse", "_since", "_speculation", "_stored"),
        *("first", "site"),
    )
    both = then = otherwise = True
    follows = False

    def __init__(self, speculation: Speculation, site: Site, condition: Any) -> None:
        self._speculation = speculation
        self._condition = condition
        self._inverse: Any = None
        self._stored: list[tuple[Any, Any, Any]] = []  # what holds elements, where, and the old one
        self._first: list[tuple[Any, Any, Any]] = []  # the same, with what the first side stores
        self._since = Node(0.0)
        self.site = site
        self.first = True
        speculation.sides.append(self)

    @property
    def holds(self) -> Any:
        """The condition of the side that runs."""
        if self.first:
            return self._condition
        if self._inverse is None:
            self._inverse = negated(self._condition)
        return self._inverse

    def end(self, values: Sequence[Any] = ()) -> None:
        """Go on after it, with values that it gives."""
        self._end()
        self._check(values)

    def flip(self) -> None:
        """Go to the second side."""
        self._speculation.check_innermost(self)
        self._first = self.undone()
        self.first = False

    def store(self, owner: Any, index: Any, value: Any) -> None:
        """Assign an element of a list or array."""
        old = owner[index]
        owner[index] = value  # an array may be read-only
        self._stored.append((owner, index, old))

    @property
    def stores(self) -> bool:
        """Whether it has assigned elements."""
        return bool(self._stored or self._first)

    def undone(self) -> list[tuple[Any, Any, Any]]:
        """Take back what the side has assigned; gives that."""
        new = [(owner, index, owner[index]) for owner, index, _ in self._stored]
        for owner, index, old in reversed(self._stored):
            owner[index] = old
        self._stored = []
        return new

    def picked(self, first: Any, _: None, second: Any) -> Any:
        """The value that the condition picks."""
        self._end()
        found = self._pick(first, second)
        if found is UNBOUND:
            self._speculation.refuse([self.site], "its sides give values of other kinds")
        return found

    def merged(self, first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
        """What variables are after the branch, by what they are after each side."""
        self._end()
        found = [self._pick(x, y) for x, y in zip(first, second, strict=True)]
        if any(x is UNBOUND for x in found):
            self._speculation.dropped.append(self.site)
        return found

    def joined(self, first: Any, second: Any) -> Any:
        """The value of ``and`` or ``or``, whose second part has run."""
        self._end()
        if not isinstance(second, (bool, ConditionNode)):
            self._speculation.refuse([self.site], "a part is no comparison")
        self._check([second])
        return pick(self._condition, second, first)

    def _end(self) -> None:
        speculation = self._speculation
        speculation.check_innermost(self)
        if not self.stores:
            speculation.sides.pop()
            return
        found: dict[Any, list[Any]] = {}
        for place, stored in enumerate((self._first, self.undone())):
            for owner, index, value in stored:
                known = found.setdefault(_place(owner, index), [owner, index, *[owner[index]] * 2])
                known[2 + place] = value
        picked = [(*x[:2], self._pick(*x[2:])) for x in found.values()]
        if any(value is UNBOUND for _, _, value in picked):
            speculation.refuse([self.site], "its sides assign elements of other kinds")
        speculation.sides.pop()
        for owner, index, value in picked:
            if speculation.sides:
                speculation.sides[-1].store(owner, index, value)
            else:
                owner[index] = value

    def _pick(self, first: Any, second: Any) -> Any:
        if first is second:
            return first
        self._check([first, second])
        found = pick(self._condition, first, second)
        self._speculation.note_pick([self.site], first, second, found)
        return found

    def _check(self, values: Sequence[Any]) -> None:
        if Node(0.0)._serial - self._since._serial > LONG:
            self._speculation.long(self.site)
        if any(may_raise(x, self._since) for x in values):
            self._speculation.refuse([self.site], "a look-up in it may fail")


def _is_around_trace(frame: FrameType, asking: FrameType) -> bool:
    """Whether a frame around another one has called for the trace: no code of the user's asks."""
    found: FrameType | None = asking
    while found is not None and found is not frame:
        if found.f_code.co_name == "_run" and found.f_globals["__name__"] == "chainrule.jit.trace":
            return True
        found = found.f_back
    return False


def _takes(owner: Any, index: Any) -> bool:
    """Whether an element can be assigned, and taken back."""
    if type(owner) is list:
        return type(index) is int and -len(owner) <= index < len(owner)
    if not isinstance(owner, numpy.ndarray) or owner.dtype != object or not is_value(owner):
        return False
    key = index if type(index) is tuple else (index,)
    return all(type(x) is int for x in key) and len(key) == owner.ndim


def _place(owner: Any, index: Any) -> tuple[int, int]:
    """Where an element stands, by whatever index, or in whatever view of an array, it is meant."""
    if type(owner) is list:
        return id(owner), index % len(owner)
    key = index if type(index) is tuple else (index,)
    start = owner.__array_interface__["data"][0]
    steps = zip(key, owner.shape, owner.strides, strict=True)
    return 0, start + sum(i % size * stride for i, size, stride in steps)


class Speculation:
    """The branches of a trace whose sides are both computed.

    Args:
        recorder: of the trace; None of a run in plain numbers.
        decisions: what is done at each place.

    Attributes:
        recorder: of the trace.
        sides: the branches that are open, and loops of which one iteration is traced, the outermost
            first.
        loops: these loops alone.
        exits: the ends of functions, loops and iterations that run, the outermost first.
        partial: whether some lanes have left one of these before others.
        failed: whether the trace has been given up.
        used: whether anything has run that may be in vain.
        dropped: the branches after which a variable has no value, as none could be picked.
        picks: nodes that have been picked of plain numbers, by their ids, and where.
        wholes: whole numbers that stay in the trace, likewise.
        meets_indices: whether whole numbers of the trace are known to the functions that are called
            from now on, which look up elements by them.
        made_of: the functions that are called in the place of others, by these.
        fresh: the iterator that a call has made last.
        cells: the variables of functions by which these know what they call, by their runtimes.
        runtimes: those that note what a run meets, by those of the code.
        stretches: what iterations of loops have shown of their variables.
        keeps_notes: whether another trace may follow the same run, as only periods are given up.
    """

    def __init__(self, recorder: Recorder | None, decisions: Decisions) -> None:
        self.recorder: Any = recorder
        self._decisions = decisions
        self._counts: dict[Site, int] = {}
        self._often: list[Site] = []  # those asked twice, until both of their sides are wanted
        self.sides: list[Any] = []
        self.loops: list[Loop] = []
        self._short: dict[Site, int] = {}
        self._turns = 0
        self._ended: list[tuple[Site, int, int]] = []  # loops, and the nodes that came of them
        self.exits: list[Exit] = []
        self.partial = False
        self.failed = False
        self.used = False
        self.dropped: list[Site] = []
        self.picks: dict[int, tuple[Node, Sequence[Site]]] = {}
        self.wholes: dict[int, tuple[Node, Sequence[Site]]] = {}
        self._computed: dict[int, Node] = {}  # what comes of inputs
        self._rows: dict[Any, tuple[Any, Any, list[Site]]] = {}  # arrays that give parts
        self.has_indices = False  # whether whole numbers stay in the trace
        self.meets_indices = False
        self.made_of: dict[Any, Any] = {}
        self.cells: dict[Any, dict[str, CellType]] = {}
        self.runtimes: dict[Any, Any] = {}
        self.stretches: dict[Any, Any] = {}
        self.keeps_notes = False
        self._defaults: dict[int, tuple[FunctionType, Any, Any]] = {}
        self.fresh: Any = None
        self._began = Node(0.0)._serial
        self._ends = 0
        self._ends_asked: dict[int, tuple[Site, int]] = {}  # by the guard, in loops traced once
        self._asking = False
        self._at_site = False

    def is_whole(self, sites: dict[str, Site]) -> bool:
        """Whether some of the branches compute both sides that do not from the beginning."""
        return self._decisions.are_any_converted(sites)

    def doubled_among(self, sites: dict[str, Site]) -> frozenset[str]:
        """The names of conditions of loops stretches of which are traced once."""
        decisions = self._decisions
        if not decisions.doubled:
            return frozenset()
        return frozenset([name for name, site in sites.items() if decisions.is_doubled(site)])

    def double_if_long(self, count: int, sites: Sequence[Site]) -> None:
        """Begin anew where a loop is long that lanes leave one by one, with stretches of it.

        Args:
            count: its iterations so far.
            sites: where lanes have left it.
        """
        decisions = self._decisions
        if (
            count > LONG_PATH
            and Node(0.0)._serial - self._began > LONG_TRACE
            and sites
            and sites[0].kind == "while"
            and sites[0] not in decisions.doubled
            and not (decisions.suspended or self.recorder.forced or PROGRESS.log is not None)
            and self.recorder.loops
            and all(x is sites[0] for x in sites)  # last, as there are ever more of them
        ):
            decisions.doubled[sites[0]] = None
            self.failed = True
            raise Changed

    def may_double(self, condition: Site, loop: LoopSite) -> bool:
        """Whether stretches of a loop may be traced once here."""
        decisions = self._decisions
        if self.partial or self.sides or not self.recorder.loops:
            return False
        if not decisions.is_doubled(condition):
            return False
        decisions.doubled[condition] = loop
        return True

    def note_plain(self, sites: Iterable[Site]) -> None:
        """Note the branches of a function of which one side runs for this trace."""
        self._decisions.plain.update(sites)

    def may_know(self, function: FunctionType) -> bool:
        """Whether code may know a function from here on: its defaults must stay as they are."""
        defaults, named = function.__defaults__, function.__kwdefaults__
        if not defaults and not named:
            return True
        self._defaults.setdefault(id(function), (function, defaults, named and dict(named)))
        return self._decisions.steady

    def note_called(self, cells: Any, known: str, other: str, pair: tuple[Any, Any]) -> None:
        """Let code know what it calls in the place of something, if it does not know another."""
        found = self.cells[cells]
        if found[known].cell_contents is UNBOUND:
            found[known].cell_contents, found[other].cell_contents = pair

    @property
    def uncertain(self) -> bool:
        """Whether what runs may be in vain."""
        return self.partial or bool(self.sides)

    def cut(self, depth: int) -> None:
        """Forget the exits from a depth on."""
        del self.exits[depth:]
        if self.partial:
            self.partial = any(not isinstance(x.left, bool) for x in self.exits)

    def all_have_left(self, exit_: Exit, bounded: bool, count: int) -> Any:
        """Whether all lanes have left a loop, by a guard; its condition where that is not asked.

        Of a loop that ends by itself it is asked where the lanes of the trace have; of each path
        alike. In a loop traced once it is asked where that is so in all iterations of this.
        """
        left = exit_.left
        others = any(not isinstance(x.left, bool) for x in self.exits if x is not exit_)
        recorder = self.recorder
        if bounded:
            if others or self.sides or recorder.iterations:
                return left
            self._ends += 1
            key = (*recorder.recorded.guards, self._ends)
            if not self._decisions.ends.setdefault(key, left._number != 0.0):
                return left
        elif others or not self._asks_in_loops():
            self.refuse_here("a loop in it ends by a condition")
        elif recorder.iterations:
            if count < self._decisions.turns.get(exit_.sites[0], 0):
                return left
            self._ends_asked[len(recorder.recorded.guards)] = exit_.sites[0], count
        left.asked = True
        self._asking = self._at_site = True
        outcome = recorder.guard(left, left._number != 0.0)
        self._asking = self._at_site = False
        exit_.left = outcome
        self.cut(len(self.exits))
        return outcome

    def split(self, site: Site, condition: Any) -> One | Both:
        """What runs of a branch by a traced condition, or a bool where these are plain."""
        if not isinstance(condition, ConditionNode):
            return THEN if condition else OTHERWISE
        decisions = self._decisions
        was_asked = site in decisions.asked
        decisions.asked[site] = None
        both = decisions.are_both(site)
        if not both and self.uncertain and decisions.may_be_both(site):
            both = decisions.convert([site])
            if was_asked or site in decisions.plain:  # it may be a guard of paths, or of this one
                self.failed = True
                raise Changed
        if both:
            condition.asked = True
            decided = self.recorder.decided(condition)
            if decided is not None:
                return THEN if decided else OTHERWISE
            if sum(x.site is site for x in self.sides) > 1:
                self.refuse([site], "it is inside a side of its own")
            self.used = True
            return Both(self, site, condition)
        return THEN if self.outcome(site, condition) else OTHERWISE

    def outcome(self, site: Site, condition: Any) -> bool:
        """The outcome of a traced condition, by a guard."""
        if self.loops and self.loops[-1].ends_by(site, condition):
            return True
        decisions = self._decisions
        decisions.asked[site] = None
        guards = self.recorder.recorded.guards
        before = len(guards)
        condition.asked = True
        if PROGRESS.log is None:
            self.follow_if_long(site)
        log = PROGRESS.log
        wanted = condition._number != 0.0 if log is None else log.outcome(site)
        self._at_site = True
        try:
            outcome: bool = self.recorder.guard(condition, wanted)
            if log is not None and outcome is not wanted:
                log.refuse()
        finally:
            self._at_site = False
        if len(guards) > before and log is None:
            count = self._counts[site] = self._counts.get(site, 0) + 1
            if count == 2:
                self._often.append(site)
            if count > FEW and self._often and not decisions.suspended:
                often, self._often = self._often, []
                if decisions.convert(often):
                    self.failed = True
                    raise Changed
        return outcome

    def follow_if_long(self, site: Site) -> None:
        """Begin anew where a loop is long, with a run in plain numbers that the trace follows."""
        decisions = self._decisions
        if site.kind != "while" or decisions.follows is not None:
            return
        self._turns += 1
        if (
            self._turns > LONG_PATH
            and not (decisions.suspended or self.used or self.recorder.forced)
            and Node(0.0)._serial - self._began > LONG_TRACE
        ):
            decisions.follows = self.failed = True
            raise Changed

    def search(self, site: Site, wanted: bool, values: Iterable[Any], moves: bool) -> Any:
        """Whether a truth value is among those that a generator gives: ``any`` or ``all``.

        Where it hangs on traced values whether the search goes on, it does in vain for some: that
        may not be where it moves on what others go through.
        """
        found: Any = None
        side: Any = None
        for x in values:
            if isinstance(x, ConditionNode):
                if side is not None:
                    side.end([x])
                found = x if found is None else (found | x if wanted else found & x)
                side = self.split(site, negated(found) if wanted else found)
                if side.both:
                    if moves:
                        self.refuse([site], "what it goes through is used up")
                    continue
                if not side.then:
                    return wanted
                found = side = None
            elif bool(x) is wanted:
                found = wanted
                break
        if side is not None:
            side.end()
        return (not wanted) if found is None else found

    def pure(self, function: Any, *args: Any, **options: Any) -> Any:
        """What a function gives that has no effect of its own: its arguments must have none."""
        given = (*args, *options.values())
        owner = getattr(function, "__self__", None)
        for loop in self.loops if type(owner) is list else ():
            loop.check_read(owner)
        if self.loops and any(isinstance(x, Known) for x in given):
            if not any(isinstance(x, Node) for x in given):
                return applied(function, args, options)
            args = tuple([x.node() if isinstance(x, Known) else x for x in args])
        elif self.loops and function not in _IN_LISTS and any(map(holds_known, given)):
            self.refuse_here("a list holds its index")
        why = why_not_of(function, args, options)
        if why:
            self.refuse_here(why)
        if function is isinstance:
            return self.asks(function, *args, **options)
        made = function(*args, **options)
        self.fresh = made if any(function is x for x in MAKING) else None
        if self.loops and (function is list or (type(owner) is list and type(made) is list)):
            self.loops[-1].fresh[id(made)] = made  # a copy
        return made

    def note_pick(self, sites: Sequence[Site], first: Any, second: Any, found: Any) -> None:
        """Note a pick of numbers whose kind may be asked for: a node does not tell it."""
        if type(found) is tuple and type(first) is type(second) is tuple:
            for parts in zip(first, second, found, strict=True):
                self.note_pick(sites, *parts)
        elif isinstance(found, IndexNode) or (
            isinstance(found, Node) and not isinstance(first, Node) and not isinstance(second, Node)
        ):
            self.picks[id(found)] = found, sites

    def asks(self, function: Any, *args: Any, **options: Any) -> Any:
        """What a function gives that asks for kinds or texts: of plain numbers by the branch."""
        if self.loops and any(isinstance(x, Node) for x in args):
            self.refuse_here("the kind of a number is asked for")
        waiting: list[tuple[Any, bool]] = [(x, False) for x in (*args, *options.values())]
        seen: set[int] = set()
        for x, whole in waiting:  # whether it is part of a whole number
            if id(x) in self.picks:
                self.refuse(self.picks[id(x)][1], "the kind of what it gives is asked for")
            if id(x) in seen:
                continue
            seen.add(id(x))
            if isinstance(x, IndexNode) or (whole and isinstance(x, Node)):
                waiting += [(y, True) for y in x.operands]
            elif isinstance(x, Node):
                sites = self._sites_of(x)
                if sites:
                    self.refuse(sites, "the kind of what comes of it is asked for")
            elif isinstance(x, (list, tuple)):
                waiting += [(y, False) for y in x]
            elif isinstance(x, numpy.ndarray) and x.dtype == object:
                waiting += [(y, False) for y in x.flat]
        if function in (isinstance, type) and args and lookups.is_pythons(args[0]):
            args = 0, *args[1:]
        return function(*args, **options)

    def _sites_of(self, x: Node) -> list[Site]:
        """The places of which a number comes that Python computes of plain numbers alone."""
        sites: list[Site] = []
        seen: set[int] = set()
        waiting: list[Any] = [x] if self.picks or self.wholes else []
        while waiting:
            y = waiting.pop()
            if not isinstance(y, Node) or id(y) in seen:
                continue
            seen.add(id(y))
            known = self.picks.get(id(y)) or self.wholes.get(id(y))
            if known is not None:
                sites += known[1]
            elif not y.operands or id(y) in self._computed:
                self._computed[id(x)] = x
                return []
            else:
                waiting += y.operands
        return sites

    def truncated(self, site: Site, x: Node) -> Any:
        """The whole part of a number; None where it is to be found by guards."""
        found = lookups.truncated(x) if self.keeps(site) else None
        if found is not None:
            self.wholes[id(found)] = found, [site]
        return found

    def looked_up(self, site: Site, owner: Any, keys: Sequence[Any]) -> Any:
        """What whole numbers look up in a table of numbers; None where Python does."""
        found = lookups.looked_up(owner, keys) if self.keeps(site) else None
        for x in found.flat if isinstance(found, numpy.ndarray) else [found]:
            if isinstance(x, Node):
                self.picks[id(x)] = x, [site]
        if not any(map(lookups.holds_array, keys)):
            self.note_row(site, owner, found)
        return found

    def note_row(self, site: Site, owner: Any, found: Any) -> None:
        """Note part of an array, which is a copy: neither may be changed, as it would be a view."""
        if isinstance(found, numpy.ndarray):
            found.flags.writeable = False
            place = owner.ctypes.data, owner.shape, owner.strides, owner.dtype
            if place not in self._rows:
                self._rows[place] = owner, owner.copy(), []
            self._rows[place][2].append(site)

    def keeps(self, site: Site) -> bool:
        """Whether whole numbers of a place stay in the trace."""
        if not self._decisions.is_once(site):
            return False
        self._decisions.indices[site] = None
        self.has_indices = True
        return True

    def check_innermost(self, side: Both | Loop) -> None:
        """See that a branch is the one that was opened last: none was left by an exception."""
        if not self.sides or self.sides[-1] is not side:
            self.refuse([x.site for x in (*self.sides, side)], "an exception is raised")

    def may_have_raised(self, error: Exception) -> bool:
        """Whether an exception may come of what is done in another way than by Python."""
        return self.used or (self.has_indices and not isinstance(error, OutsideTableError))

    def fail(self, error: Exception) -> bool:
        """Give up this trace because of an exception; gives whether that may be of its branches."""
        self.give_up()
        if self.refuse_loops("an exception is raised"):
            return True
        if self.sides:
            self._decisions.refuse([self.sides[-1].site], "an exception is raised")
        elif self.dropped and isinstance(error, NameError):
            why = "a variable has no value, or not a number, on one side"
            self._decisions.refuse(self.dropped, why)
        else:
            return False
        return True

    def check_none_left(self) -> None:
        """See that no branch is open, and none has been given up: at the end of a trace."""
        for function, defaults, named in self._defaults.values() if self._decisions.steady else ():
            if function.__defaults__ is not defaults or function.__kwdefaults__ != named:
                self._decisions.steady = False
                self.failed = True
                raise Changed
        if self.failed:
            raise Refused
        if self.sides:
            self.refuse_here("an exception is raised")
        for owner, before, sites in self._rows.values():
            if owner.tobytes() != before.tobytes():
                self.refuse(sites, "an array is changed that gives a part of it")

    def check_caught(self) -> None:
        """See that no branch is open where an exception has been caught: it came of one then."""
        if self.uncertain:
            self.refuse_here("an exception is raised")
        if self.dropped:
            self.refuse(self.dropped, "a variable has no value, or not a number, on one side")

    def before_guard(self) -> None:
        """See that a guard may be asked."""
        if self.uncertain and not self._asking:
            if self.follows and not self.partial and all(x.follows for x in self.sides):
                return
            self.refuse_here("a comparison is asked for its truth")

    def _asks_in_loops(self) -> bool:
        """Whether what runs does in all iterations of the loops around it, which may be asked."""
        only_loops = len(self.sides) == len(self.loops)
        return only_loops and all(x.asks and not x.follows for x in self.loops)

    def end_later(self, guard: int) -> None:
        """Begin anew if a guard that has another outcome in some iterations is of a loop's end.

        Args:
            guard: its number.

        Raises:
            Changed: if so.
        """
        if guard in self._ends_asked:
            site, count = self._ends_asked[guard]
            if count <= LONG_PATH:
                self._decisions.turns[site] = 4 * count
                self.failed = True
                raise Changed

    def holds(self, condition: Any) -> bool:
        """Whether a condition does without which an exception is raised: of any iteration."""
        before = self._asking
        self._asking = before or (not self.partial and self._asks_in_loops())
        try:
            return bool(condition)
        finally:
            self._asking = before

    @property
    def follows(self) -> bool:
        """Whether the outcome of a guard is known from a run in plain numbers."""
        return self._at_site and PROGRESS.log is not None

    def note_guard(self) -> None:
        """Note a guard that no branch of a rewritten function has asked."""
        if self._at_site:
            return
        asking = sys._getframe(1)
        frame = users_frame()
        code, instruction = frame.f_code, frame.f_lasti
        decisions = self._decisions
        if not decisions.knows(code, instruction):
            why = IN_LIBRARY
            if not _is_around_trace(frame, asking):
                from .elsewhere import why_at  # here, as most functions have no such guards

                why = why_at(frame, asking, decisions.rewrite)
            decisions.note(code, instruction, line_of(frame), why)

    def refuse_here(self, why: str) -> NoReturn:
        """Give up what may run in vain at the moment."""
        if self.sides:
            self.refuse([self.sides[-1].site], why)
        self.refuse([site for x in self.exits if x.partial for site in x.sites], why)

    def refuse(self, sites: Sequence[Site], why: str) -> NoReturn:
        """Give up this trace for one with guards.

        Raises:
            Refused: always.
        """
        if not self.loops or not self.refuse_loops(why):
            self._decisions.refuse(sites, why)
        self.give_up()
        raise Refused

    def give_up(self) -> None:
        """Take back what has been done in vain."""
        self.failed = True
        for side in reversed(self.sides):
            side.undone()

    def store(self, owner: Any, index: Any, value: Any) -> None:
        """Assign an element where that may be in vain."""
        if self.partial or not _takes(owner, index):
            self.refuse_here("an element is assigned")
        self.sides[-1].store(owner, index, value)

    # Loops

    def loop(
        self,
        site: LoopSite,
        source: Any,
        values: Sequence[Any],
        lists: Sequence[Any],
        roots: Sequence[Any],
    ) -> Plain | Loop:
        """What runs of a loop.

        Args:
            site: the place.
            source: what it goes through.
            values: what its variables stand for.
            lists: the lists to which it appends.
            roots: by what it names the lists whose elements it assigns.
        """
        if not is_read(source) or self.partial or (self.sides and self.sides[-1] not in self.loops):
            return Plain(plainly(source))
        return Loop(self, site, source, values, lists, roots)

    def is_plain(self, site: LoopSite) -> bool:
        """Whether a loop is a plain one from here on."""
        return (
            self._short.get(site, 0) >= PATIENCE
            or PROGRESS.log is not None
            or not self.recorder.loops
            or not self._decisions.is_once(site)
        )

    def may_stretch(self, site: LoopSite) -> bool:
        """Whether an iteration of a loop may stand for several."""
        inside = self.partial or any(not x.follows for x in self.sides)
        return bool(not inside and self.recorder.loops and self._decisions.is_once(site))

    def derived(self, function: Any, *args: Any, **options: Any) -> Any:
        """What a gradient gives that may be in vain: its lists are new."""
        found = function(*args, **options)
        self.note_made([found])
        return found

    def note_made(self, values: Sequence[Any]) -> None:
        """Note that lists are new, in an iteration that stands for others."""
        waiting = [*values] if self.loops else []
        for x in waiting:
            if isinstance(x, list):
                self.loops[-1].fresh[id(x)] = x
            if isinstance(x, (list, tuple)):
                waiting += x

    @property
    def asked(self) -> tuple[int, int]:
        """How many guards have been asked, and values shown."""
        return len(self.recorder.recorded.guards), self.recorder.printed

    @property
    def inputs_made(self) -> int:
        """How many nodes of inputs have been made: they are no operations."""
        inputs = self.recorder.inputs
        return inputs.made if isinstance(inputs, Inputs) else len(inputs)

    def note_short(self, site: Site) -> None:
        """Note that a loop has been a short one."""
        self._short[site] = self._short.get(site, 0) + 1

    def learned(self, site: Site) -> Any:
        """What is known of the variables of a long loop; None for another one."""
        return self._decisions.long.get(site)

    def learn(self, site: Site, found: Any) -> None:
        """Note that a loop is long, and what is known of its variables."""
        self._decisions.long[site] = found

    def leave_plain(self, site: Site, why: str) -> None:
        """Note why all iterations of a long loop are recorded."""
        self._decisions.long[site] = None
        self._decisions.refuse([site], why)

    def begin_anew(self, site: Site, found: Any, size: int) -> None:
        """Give up this trace for one with a long loop traced once, if that does not cost more.

        Args:
            site: the loop.
            found: what is known of its variables.
            size: how many operations it has.
        """
        if Node(0.0)._serial - self._began > max(LONG, 2 * size):
            return
        self.learn(site, found)
        self.failed = True
        raise Changed

    def open(self, loop: Loop) -> None:
        """Begin the iteration of a loop that stands for all."""
        self.used = True
        self.sides.append(loop)
        self.loops.append(loop)

    def close(self, loop: Loop, first: int) -> None:
        """End it.

        Args:
            loop: the loop.
            first: the number of a node from which on nodes stand for what comes of it.
        """
        self.sides.pop()
        self.loops.pop()
        self._ended.append((loop.site, first, Node(0.0)._serial))

    def append(self, owner: Any, x: Any) -> None:
        """Append to a list."""
        if not self.uncertain:
            owner.append(x)
        elif type(owner) is not list or self.partial or self.sides[-1] not in self.loops:
            self.refuse_here("a list is changed")
        else:
            self.sides[-1].append(owner, x)

    def check_loops(self, different: int) -> None:
        """See that loops that run often in the trace do the same then: else code is long.

        Args:
            different: how many different loops the trace has.

        Raises:
            Refused: if not.
        """
        times = Counter(site for site, _, _ in self._ended)
        found = [site for site, count in times.items() if count > PATIENCE]
        if found and different > PATIENCE:
            self._decisions.refuse(found, "it runs often, and is another one then")
            raise Refused

    def refuse_loops(self, why: str) -> bool:
        """Record all iterations of the innermost loop that is open, else of all; gives whether.

        Of loops that are open periods are given up first.
        """
        found: list[Site] = [x.site for x in self.loops if x.is_period]
        self.keeps_notes = bool(found)
        if self.loops:
            found = found or [self.loops[-1].site]
        else:
            found = [site for site, _, _ in self._ended]
        self._decisions.refuse(found, why)
        return bool(found)

    def refuse_loop(self, site: Site, why: str) -> NoReturn:
        """Give up this trace for one that records all iterations of a loop, not of those in it.

        Raises:
            Refused: always.
        """
        self._decisions.refuse([site], why)
        self.give_up()
        raise Refused

    def refuse_periods(self, why: str) -> None:
        """Give up this trace for one without the periods that are open, if any are.

        Raises:
            Refused: if so.
        """
        if any(x.is_period for x in self.loops):
            self.refuse([], why)

    def check_known(self, x: Node) -> None:
        """See that a value that a guard asks for is not that of a loop in the user's function."""
        found = self._loops_of([x])
        if found:
            self.refuse(found, "a comparison asks for what it computes")

    def _loops_of(self, values: Sequence[Any]) -> list[Site]:
        """The loops on whose results values hang."""
        seen: set[int] = set()
        found: list[Site] = []
        waiting = [x for x in values if isinstance(x, Node)]
        for x in waiting:
            if id(x) in seen:
                continue
            seen.add(id(x))
            if x._operation is UNKNOWN:
                found += [site for site, a, b in self._ended if a < x._serial < b]
            waiting += [y for y in x.operands if isinstance(y, Node)]
        return found

    def long(self, site: Site) -> None:
        """Let a branch with long sides be a guard, as long as it is not asked often."""
        if self._decisions.postpone(site):
            self.failed = True
            raise Changed


def current() -> Speculation | None:
    """That of the trace that is being recorded."""
    recorder: Any = PROGRESS.recorder
    return None if recorder is None else recorder.speculation
