"""What rewritten functions call."""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable, Sequence
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final

import numpy

from chainrule import picks, sorting
from chainrule.comparing import ConditionNode, InvertedNode, negated
from chainrule.jit.indices import TracedArray, taken
from chainrule.node import Node
from chainrule.tracing import PROGRESS
from chainrule.transforms import Gradient

from . import lookups, values
from .decisions import LoopSite, Site
from .exits import Exit
from .known import Known, holds_known, looked_up
from .log import Writer
from .once import Loop, Plain, summed
from .picking import UNBOUND
from .reading import THROUGH, Through, is_long, plainly
from .speculation import OTHERWISE, THEN, Both, One, Speculation, current
from .turns import PLAIN, Doubled, Followed, Noted, Turns

_PICKS: Final[dict[Any, Any]] = {
    builtins.all: picks.all_of,
    builtins.any: picks.any_of,
    builtins.max: picks.max_of,
    builtins.min: picks.min_of,
    builtins.sorted: sorting.sorted_of,
    numpy.take: taken,
    **lookups.ROUNDING,
}
_FUNCTIONS: Final = (BuiltinFunctionType, FunctionType, type(numpy.take))
_ASKING: Final = frozenset(map(id, (isinstance, type, str, repr, format)))
"""What gives the kind of a number, or a text that tells it."""


def _is_format(function: Any) -> bool:
    """Whether it is ``format`` of a text."""
    return (
        type(function) is BuiltinFunctionType
        and type(function.__self__) is str
        and function.__name__ == "format"
    )


class Search:
    """``any`` or ``all`` of what a generator gives, or what is called by that name.

    Args:
        site: the place; None for something else.
        function: what is called.

    Attributes:
        moves: whether it takes something from what it goes through.
    """

    def __init__(self, site: Site | None, function: Any) -> None:
        self._site = site
        self._function = function
        self.moves = False

    def __call__(self, values: Any) -> Any:
        """What is found."""
        found = current()
        if found is None or self._site is None:
            return self._function(values)
        return found.search(self._site, self._function is builtins.any, values, self.moves)


class Runtime:
    """What the code of a function calls.

    Args:
        sites: where it branches.
        rewritten: gives what is called in the place of a function, which may be in vain.
    """

    UNBOUND = UNBOUND
    NameError = NameError

    def __init__(self, sites: dict[str, Site], rewritten: Callable[..., Any]) -> None:
        self._sites = sites
        self._rewritten = rewritten

    # Branches

    def split(self, site: str, condition: Any) -> One | Both:
        """What runs of a branch."""
        found, traced = _traced(condition)
        if found is None:
            outcome, log = bool(condition), PROGRESS.log
            if log is not None and not log.decisions.are_both(self._sites[site]):
                log.met(self._sites[site], outcome)
            return THEN if outcome else OTHERWISE
        return found.split(self._sites[site], traced)

    def truth(self, site: str, condition: Any) -> bool:
        """The truth of what a branch is by, of which one side runs."""
        found, traced = _traced(condition)
        if found is not None:
            return found.outcome(self._sites[site], traced)
        outcome = bool(condition)
        if PROGRESS.log is not None:
            PROGRESS.log.met(self._sites[site], outcome)
        elif (found := current()) is not None:
            found.follow_if_long(self._sites[site])
        return outcome

    def frame(self) -> Exit:
        """The end of the function that begins."""
        return Exit(current())

    def caught(self) -> None:
        """An exception has been caught."""
        found = current()
        if found is not None:
            found.check_caught()

    def part(self, site: str, first: Any, ends: bool) -> One | Both:
        """What runs of ``and``, which False ends, or ``or``, which True does."""
        if isinstance(first, ConditionNode):
            return self.split(site, negated(first) if ends else first)
        return self.split(site, bool(first) is not ends)

    def negation(self, x: Any) -> Any:
        """``not`` of something."""
        found, traced = _traced(x)
        return not x if found is None else negated(traced)

    def shown(self, x: Any) -> Any:
        """What a text tells."""
        found = current()
        if found is not None and found.loops:
            found.refuse_here("a text is made")
        if found is not None and (found.picks or found.wholes):
            return found.asks(lambda x: x, x)
        return x

    # What may be in vain

    def value(self, x: Any) -> Any:
        """A variable."""
        if type(x) in values.SCALARS:
            return x
        found = _uncertain()
        if found is not None:
            if not values.is_value(x):
                found.refuse_here(f"{type(x).__name__} is used")
            for loop in found.loops:
                loop.check_read(x)
        return x

    def item(self, owner: Any, key: Any) -> Any:
        """An element."""
        found = _uncertain()
        if found is not None and found.loops and holds_known(key):
            return self.value(looked_up(owner, key))
        return self.value(owner[key])

    def element(self, site: str, owner: Any, *keys: Any) -> Any:
        """An element by a key, or an element of that by the next one."""
        found = current()
        if found is not None:
            keys = lookups.as_arrays(keys)
        while found is not None and lookups.are_whole(keys):
            place = self._sites[site]
            count = len(keys) if lookups.are_scalars(keys) else 1
            element = found.looked_up(place, owner, keys[:count])
            if element is not None:
                owner, keys = element, keys[count:]
                continue
            if isinstance(owner, TracedArray):
                whole = lookups.are_all(keys, owner.ndim)
                if whole or found.keeps(place):
                    element = functools.reduce(self.item, keys, owner)
                    found.note_row(place, owner, element)
                    return element
            owner, keys = self.item(owner, lookups.plainly(owner, keys[0])), keys[1:]
        return functools.reduce(self.item, keys, owner)

    slice = staticmethod(slice)

    def whole(
        self, site: str, function: Any, x: Any, known: Sequence[Any], floats: Sequence[Any]
    ) -> Any:
        """What ``int`` gives where the result only counts and looks up.

        Args:
            site: the place.
            function: what has its name.
            x: the number.
            known: what has the names of other functions of Python's.
            floats: what must have fractions.
        """
        found = current()
        if found is not None and lookups.may_stay(x, known, floats):
            index = found.truncated(self._sites[site], x)
            if index is not None:
                return index
        return self.call(function)(x)

    def new(self, x: Any) -> Any:
        """A list or its like that has just been made."""
        found = _uncertain()
        if found is not None and found.loops:
            found.loops[-1].fresh[id(x)] = x
        return x

    def append(self, owner: Any, x: Any) -> None:
        """Append to what is a list, mostly."""
        found = _uncertain()
        if found is None:
            owner.append(x)
        else:
            found.append(owner, x)

    def extended(self, owner: Any, new: Any) -> Any:
        """What ``+=`` gives."""
        found = _uncertain()
        if found is None or type(owner) is not list or type(new) not in (list, tuple):
            owner = self.changing(self.value(owner))
            owner += new
            return owner
        for x in [*new]:
            found.append(owner, x)
        return owner

    def made(self, x: Any) -> Any:
        """What a call gives: an iterator over values, just made, has no effect either."""
        if type(x) in values.SCALARS:
            return x
        found = _uncertain()
        if found is not None and x is not found.fresh:
            return self.value(x)
        return x

    def contents(self, x: Any) -> Any:
        """What something is compared with, which may be a list or its like."""
        found = _uncertain()
        if found is not None and not values.holds_values(x):
            found.refuse_here("an element may run code where it is compared")
        return x

    def starred(self, x: Any) -> Any:
        """What is handed over one by one."""
        found = _uncertain()
        if found is not None and isinstance(x, (list, tuple)) and not all(map(values.is_value, x)):
            found.refuse_here("an argument may run code")
        return x

    def attribute(self, x: Any, name: str) -> Any:
        """An attribute."""
        found = _uncertain()
        if found is not None:
            for loop in found.loops:
                loop.check_read(x)
            if isinstance(x, Known):
                found.refuse_here("an attribute of its index is read")
            reads = values.read_by(x, name)
            if isinstance(reads, property):
                return self.call(reads.fget)(x)
            if reads is not None:
                found.refuse_here(f"the attribute {name} may run code")
        return getattr(x, name)

    def changing(self, x: Any) -> Any:
        """What ``+=`` and its kin begin with."""
        found = _uncertain()
        if found is not None and values.may_change(x):
            found.refuse_here(f"{type(x).__name__} is changed")
        return x

    def store(self, value: Any, owner: Any, index: Any) -> None:
        """Assign an element."""
        found = _uncertain()
        if found is None:
            owner[index] = value
        else:
            found.store(owner, index, value)

    # Loops

    def loop(
        self, site: str, source: Any, variables: Any, lists: Any, roots: Any, plain: str = ""
    ) -> Plain | Loop:
        """What runs of a loop.

        Args:
            site: the place.
            source: what it goes through.
            variables: what its variables stand for.
            lists: the lists to which it appends.
            roots: by what it names the lists whose elements it assigns.
            plain: the variable of the code that is to know that it always is a plain one.
        """
        found, place = current() if is_long(source) else None, self._sites[site]
        if found is None:
            return Plain(plainly(source))
        assert isinstance(place, LoopSite)
        if not found.is_plain(place):
            return found.loop(place, source, variables, lists, roots)
        if plain:
            found.cells[self][plain].cell_contents = True
        return Plain(plainly(source))

    def listed(self, site: str, source: Any, plain: Any, checked: Any) -> list[Any]:
        """What a comprehension gives.

        Args:
            site: the place.
            source: what it goes through.
            plain: gives the elements for some items.
            checked: the same where these may stand for others.
        """
        made: list[Any] = []
        loop = self.loop(site, source, (), (made,), ()) if is_long(source) else Plain(source)
        if isinstance(loop, Plain):
            return plain(loop.items)  # type: ignore[no-any-return]
        items = iter(loop.items)
        for x in items:
            if loop.once:
                self.append(made, *checked((x,)))
                loop.leave()
                continue
            made += plain((x,))
            loop.measure()
            if not loop.once:
                made += plain(items)
        return made

    def total(
        self, site: str, function: Any, called: Any, source: Any, start: Any, *ways: Any
    ) -> Any:
        """A sum of what a comprehension gives.

        Args:
            site: the place.
            function: what has the name of ``sum``.
            called: what is called in its place.
            source: what the comprehension goes through.
            start: what the sum begins with, if that is said.
            ways: what gives, of anything to go through, what the comprehension does: where it may
                not be in vain, if it is not always, and where it may.
        """
        found, place = current() if is_long(source) else None, self._sites[site]
        assert isinstance(place, LoopSite)
        if found is None or function is not builtins.sum or found.is_plain(place):
            return called(ways[0](plainly(source)), *start)
        return summed(found.loop(place, source, start or (0,), (), ()), called, start, ways)

    def through(self, function: Any, *args: Any, **options: Any) -> Any:
        """What a loop goes through by a call, made where it is known how."""
        if not any(function is x for x in THROUGH):
            return self.call(function)(*map(plainly, args), **options)
        if args and is_long(args[0]) and current() is not None:
            return Through(function, args, options)
        return function(*map(plainly, args), **options)

    def turns(self, site: str, lists: Any) -> Turns:
        """The iterations of a loop that ends by a condition.

        Args:
            site: the place.
            lists: the lists to which it appends.
        """
        log, place = PROGRESS.log, self._sites[site]
        assert isinstance(place, LoopSite)
        if log is None:
            found, name = current(), site.removeprefix("turns")
            condition, place = self._sites[f"while{name}"], self._sites[f"until{name}"]
            assert isinstance(place, LoopSite)
            if found is None or not found.may_double(condition, place):
                return PLAIN
            return Doubled(found, place, condition, lists)
        if not log.reads:
            return Noted(log, place)
        periods = self._sites[site.replace("turns", "periods", 1)]
        assert isinstance(periods, LoopSite)
        return Followed(log, place, periods, lists)

    def watched(self, x: Any) -> Any:
        """What a loop goes through, of a trace that follows a run: it may be too long for that."""
        log = PROGRESS.log
        return log.watched(x) if log is not None and log.reads else x

    # Loops that may be left

    def source(self, loop: Exit | Search, x: Any, whole: bool, fresh: bool) -> Any:
        """What a loop goes through, which may be left, or a part of it.

        Args:
            loop: its end.
            x: this.
            whole: whether it is not a part.
            fresh: whether nothing else can go through it.
        """
        if hasattr(type(x), "__next__"):
            loop.moves |= not fresh
        elif isinstance(x, (list, tuple)):
            loop.moves |= any(hasattr(type(y), "__next__") for y in x)
        elif whole and not values.may_go_on(x):
            loop.moves = True
        return x

    # Calls

    def search(self, site: str, function: Any) -> Search:
        """What is called in the place of ``any`` or ``all`` of what a generator gives."""
        known = function is builtins.any or function is builtins.all
        return Search(
            self._sites[site] if known else None, function if known else self.call(function)
        )

    def call(self, function: Any, known: str = "", other: str = "") -> Any:
        """What is called in the place of something.

        Args:
            function: this.
            known: the variable of the code that is to know it, where all lanes always call it.
            other: that for what is called in its place.
        """
        kind, found = type(function), current()
        if kind is Gradient and (found is None or not found.uncertain):
            return function
        target = _PICKS.get(function, function) if kind in _FUNCTIONS else function
        if found is None:
            if PROGRESS.log is None:
                return self._rewritten(target, False)
            found = PROGRESS.log.speculation
        if found.uncertain:
            if type(target) is Gradient:
                made = self._rewritten(target, True, found.sides[-1:] == found.loops[-1:])
                if made is not None:
                    return functools.partial(found.derived, made)
            elif values.is_pure(target):
                return functools.partial(found.pure, target)
            if target is functools.reduce:
                return self.reduced
            made = self._rewritten(target, True, found.sides[-1:] == found.loops[-1:])
            if made is None:
                name = getattr(target, "__name__", type(target).__name__)
                found.refuse_here(f"{name} may have an effect")
            return made
        if id(function) in _ASKING or _is_format(function):  # its arguments may be picks
            return functools.partial(found.asks, function)
        made = self._rewritten(target, False)
        always = made is function or (kind is FunctionType and found.may_know(function))
        if kind is BuiltinFunctionType:  # methods are made for each call
            always = isinstance(function.__self__, ModuleType)
        if known and always:
            found.note_called(self, known, other, (function, made))
        return made

    def reduced(self, function: Any, values: Any, *first: Any) -> Any:
        """What ``reduce`` gives where it may be in vain."""
        return functools.reduce(self.call(function), self.value(values), *first)


class Noting(Runtime):
    """The same in a run in plain numbers that is noted.

    Args:
        runtime: that of the code.
        log: where it is noted.
    """

    def __init__(self, runtime: Runtime, log: Writer) -> None:
        super().__init__(runtime._sites, log.form_of)
        truth = functools.partial(log.truth, self._sites, super().truth)
        self.truth = truth  # type: ignore[method-assign]


def _uncertain() -> Speculation | None:
    recorder: Any = PROGRESS.recorder
    if recorder is None:
        return None
    found: Speculation = recorder.speculation
    return found if found.partial or found.sides else None  # asked often: without further calls


def _traced(x: Any) -> tuple[Speculation | None, Any]:
    """What a node says as a truth value, and the trace; None for the latter where there is none."""
    if type(x) is Known and len(set(map(bool, x.values))) > 1:
        x = x.truth()
    if isinstance(x, Node) and not isinstance(x, InvertedNode):
        found = current()
        if found is not None:
            traced = x if isinstance(x, ConditionNode) else x != 0.0
            if isinstance(traced, ConditionNode):
                return found, traced
    return None, None
