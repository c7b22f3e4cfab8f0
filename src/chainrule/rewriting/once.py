"""Loops of which one iteration is traced, for all.

The first iteration of a loop runs as it stands, and shows how long the loop is. A long one begins
anew: its body runs once, on nodes that stand for the variables and rows of any iteration, as the
side of a branch does that may be in vain. Where that can't be, the loop is a plain one.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from math import prod
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import numpy

from chainrule import rules, trees
from chainrule.carries import leaves_of
from chainrule.jit.loops import Iteration, like
from chainrule.jit.whole import LARGEST
from chainrule.node import Node
from chainrule.tracing import PROGRESS
from chainrule.whole import WholeNode

from .decisions import LoopSite, Site
from .known import Known
from .picking import UNBOUND
from .reading import parts_of, plainly, row
from .stored import Stored, holds_one

if TYPE_CHECKING:
    from .speculation import Speculation

LIMIT: Final = 100_000
"""Operations of all iterations up to which a loop is a plain one."""

SHORT: Final = 5_000
"""The same in a sparse Jacobian: one iteration for all makes a call faster too."""
FORWARD: Final = 4
"""How many times as many it is for a Jacobian forwards, of which all make a call faster."""

FIXED: Final = (int, float, bool, str, bytes, type(None))
"""Kinds of values that never change."""
_NUMBERS: Final = trees.PLAIN | frozenset(FIXED)
_DIVIDE: Final = (rules.divide, rules.floor_divide, rules.mod)
_LARGE: Final = 1.7e308
_INEXACT: Final = "a whole number is not exact as a node"
_HIDES: Final = "a pattern of derivatives is asked for"


class Plain:
    """A loop whose iterations are all recorded.

    Args:
        items: what it goes through.
    """

    __slots__ = ("items",)
    once = first = False

    def __init__(self, items: Any) -> None:
        self.items = items

    def exit(self) -> None:
        """Leave it, or one of its iterations."""


class Learned(NamedTuple):
    """What the first iteration of a loop has shown of its variables.

    Attributes:
        numeric: which leaves of what it reads of them become nodes.
        kept: how many nodes there are in those that are only used afterwards.
    """

    numeric: frozenset[int]
    kept: int


class Loop:
    """A loop of which one iteration may be traced.

    Args:
        speculation: of the trace.
        site: the place.
        source: what it goes through.
        values: what its variables stand for before it.
        lists: the lists to which it appends.
        roots: by what it names the lists whose elements it assigns.
        known: what is known of its variables; None for what is known of the place.

    Attributes:
        items: what runs: all iterations, or one for them.
        once: whether it is one.
        first: whether the first iteration runs, plainly.
        carried: what stands for the variables that an iteration reads.
        last: what the loop's own variable is in the end.
    """

    stores = follows = is_period = False
    asks = True  # whether all iterations may be asked what holds but for errors

    def __init__(
        self,
        speculation: Speculation,
        site: LoopSite,
        source: Any,
        values: Sequence[Any],
        lists: Sequence[Any],
        roots: Sequence[Any],
        known: Learned | None = None,
    ) -> None:
        self.site = site
        self._speculation = speculation
        self._source = source
        self._before = values
        self.trips = self._count()
        self._lists = [x for x in lists if type(x) is list]
        self._lengths = [*map(len, self._lists)]
        self._held = {  # the lists that are names' values
            x: y
            for x, y in zip(site.names, values, strict=True)
            if type(y) is list and x in site.lists
        }
        self._stored = Stored(roots)
        unbound = [x for x, y in zip(site.names, values, strict=True) if y is UNBOUND]
        self._read = site.read.difference(unbound)  # else what an iteration reads is its own
        self.once, self.first = False, True
        self.carried: tuple[Any, ...] = ()
        self._known = speculation.learned(site) if known is None else known
        if self._known is not None and self._hides(self._known):
            self.refuse(_HIDES)
        if self._known is None:
            self._asked = speculation.asked
            self._since = Node(0.0)
            self._made = speculation.inputs_made
        else:
            self._begin(self._known)

    def _count(self) -> int:
        """How many iterations there are."""
        return len(self._source)

    @property
    def items(self) -> Iterator[Any]:
        """What runs."""
        if not self.once:
            for x in plainly(self._source):
                yield x
                if self.once:
                    break
        if self.once:
            yield self._row

    @property
    def last(self) -> Any:
        """What the loop's own variable is in the end."""
        for x in plainly(self._source):
            last = x
        return last

    # The first iteration

    def measure(self, *values: Any) -> None:
        """End the first iteration: decide whether one is to be traced."""
        self.first = False
        speculation = self._speculation
        count = Node(0.0)._serial - self._since._serial - 1
        count -= speculation.inputs_made - self._made
        around = [] if self.site.kind == "sum" else [x.trips for x in speculation.loops]
        size = count * self.trips * prod(around)  # short sums are faster term by term
        innermost = next(reversed(PROGRESS.names.values()))
        limit = LIMIT * FORWARD if innermost == "jacfwd" else LIMIT
        if size <= min(limit, SHORT if PROGRESS.structural else limit) or not count:
            speculation.note_short(self.site)
            return
        found = self._learn(values)
        if not isinstance(found, str) and self._hides(found):
            found = _HIDES
        if isinstance(found, str):
            if size <= LIMIT:
                speculation.note_short(self.site)
            else:
                speculation.leave_plain(self.site, found)
            return
        if self.site.stores or speculation.asked != self._asked:
            speculation.begin_anew(self.site, found, size)
            return
        for x, length in zip(self._lists, self._lengths, strict=True):
            del x[length:]
        speculation.learn(self.site, found)
        self._begin(found)

    def _learn(self, values: Sequence[Any]) -> Learned | str:
        """What the first iteration shows; a text if it shows that all must be recorded."""
        before, structure = leaves_of(self._of(self._before, read=True))
        after, other = leaves_of(self._of(values, read=True))
        if structure != other or self._stored.is_grown():
            return "a variable changes its structure"
        before, after = [*before, *self._stored.before], [*after, *self._stored.now()]
        if not all(are_rows(x) for x in self._of(self._before, read=True)):
            return "a variable holds numbers in something else than lists, tuples and arrays"
        numeric = set()
        for i, (x, y) in enumerate(zip(before, after, strict=True)):
            if kind_of(x) is None and same(x, y):
                continue
            if kind_of(y) is None or kind_of(y) != kind_of(x, plain=True):
                return "a variable changes that is no number with fractions, or a plain one"
            numeric.add(i)
        kept = leaves_of(self._of(values, read=False))[0]
        return Learned(frozenset(numeric), sum(map(size_of, kept)))

    def _hides(self, found: Learned) -> bool:
        """Whether a pattern of derivatives is asked for that one iteration does not show.

        It does where each hands nothing on, and the pattern is that of a Jacobian of the function.
        """
        if not PROGRESS.structural:
            return False
        speculation = self._speculation
        alone = [*PROGRESS.names][-2:] == [PROGRESS.recorded_level, PROGRESS.structural]
        around = speculation.loops or speculation.recorder.recorded.repeated
        return not alone or bool(around or found.numeric or found.kept)

    def _of(self, values: Sequence[Any], read: bool) -> tuple[Any, ...]:
        """The values of the variables that an iteration reads, or of the others."""
        return tuple(
            [
                x
                for x, name in zip(values, self.site.names, strict=True)
                if (name in self._read) is read and name not in self._held
            ]
        )

    def _by_name(self, names: Iterable[str], read: Any, others: Any) -> tuple[Any, ...]:
        """The values of variables: those that an iteration reads, and those of the others."""
        one, other = iter(read), iter(others)
        return tuple(
            [
                self._held[x] if x in self._held else next(one if x in self._read else other)
                for x in names
            ]
        )

    # The iteration for all

    def _begin(self, known: Learned) -> None:
        speculation = self._speculation
        self.once, self.first = True, False
        self._known = known
        leaves, self._structure = leaves_of(self._of(self._before, read=True))
        self._own = len(leaves)  # those of variables, before elements of lists
        self._leaves = leaves = [*leaves, *self._stored.now()]
        self._numeric = sorted(known.numeric)
        initial: list[Any] = []
        for i in self._numeric:
            if i >= len(leaves) or kind_of(leaves[i], plain=True) is None:
                speculation.leave_plain(self.site, "a variable is of several kinds")
                speculation.refuse([self.site], "a variable is of several kinds")
            if type(leaves[i]) is int and abs(leaves[i]) > LARGEST:
                speculation.leave_plain(self.site, _INEXACT)
                speculation.refuse([self.site], _INEXACT)
            initial += _numbers(leaves[i])
        self._has_ints = any(type(leaves[i]) is int for i in self._numeric)
        self.fresh: dict[int, Any] = {}
        self._seen: dict[int, Any] = {}  # what does not hold the lists to which it appends
        self.left: dict[int, tuple[Any, list[Any]]] = {}
        self.began = Node(0.0)._serial
        speculation.open(self)
        carries, derived = [*initial, *[0.0] * known.kept], PROGRESS.structural > 0
        self._iteration = Iteration(speculation.recorder, self.trips, carries, derived=derived)
        nodes = self._iteration.carries
        first = zip(nodes, initial, strict=False)
        self._first = {id(x) for x, y in first if not isinstance(y, Node)}
        self._prepare()
        self._check_stored()
        names = [x for x in self.site.names if x in self.site.read]
        placed = self._placed(nodes, last=False)
        self.carried = self._by_name(names, placed, repeat(UNBOUND))
        self._begins()

    def _prepare(self) -> None:
        """Look at what variables are before it."""

    def _begins(self) -> None:
        """Let what it goes through stand for any iteration's."""
        for x in parts_of(self._source):
            self.check_read(x)
        self._row = row(self._source, self)
        for x in parts_of_row(self._row):
            x.node()  # for loops in it, which begin after it

    def _of_leaves(self, last: bool) -> list[Any]:
        """What variables are that are no nodes: in an iteration, or after the last one."""
        return [*self._leaves]

    def _stays(self, i: int, x: Any, y: Any) -> bool:
        """Whether such a variable is after an iteration what it has to be.

        Args:
            i: its place.
            x: what it was before the loop.
            y: what it is.
        """
        return same(x, y)

    def column(self, values: Any, which: Any = None) -> Node:
        """What stands for one of some numbers or nodes, see :meth:`Iteration.column`."""
        if self._speculation.loops[-1] is not self:
            why = "its index is used in a loop in it"
            if self.follows:  # it stands for some iterations only
                self.refuse_here(why)
            self._speculation.refuse_loop(self.site, why)
        if values.dtype == object and not self._iteration.reads(values):
            self.refuse_here("what it has made itself is looked up by its index")
        node = self._iteration.column(values, which)
        if values.dtype != object:
            self._first.add(id(node))
        return node

    def refuse_here(self, why: str) -> NoReturn:
        """Give up the innermost loop."""
        self._speculation.refuse([self.site], why)

    def _check_stored(self) -> None:
        """See that no variable that is handed on holds a list whose elements it assigns."""
        lists = self._stored.owners([i - self._own for i in self._numeric if i >= self._own])
        if holds_one(self._of(self._before, read=True), lists):
            self.refuse("it assigns elements of a list that it hands on as well")
        around = self._speculation.loops[-2:-1]
        if not all(loop.owns(x) for loop in around for x in lists):
            self.refuse("an element is assigned")

    def owns(self, x: Any) -> bool:
        """Whether elements of something may be assigned."""
        return id(x) in self.fresh or x in self._stored

    def _placed(self, nodes: Sequence[Any], last: bool) -> Any:
        """Its variables, with nodes for their numbers; lists get them as their elements.

        Args:
            nodes: these.
            last: whether they are those after the last iteration.
        """
        new = self._of_leaves(last)
        start = 0
        for i in self._numeric:
            new[i] = _like(self._leaves[i], nodes, start)
            start += new[i].size if isinstance(new[i], numpy.ndarray) else 1
        self._stored.put(new[self._own :])
        return self._structure.unflatten(new[: self._own])

    def leave(self, *values: Any) -> tuple[Any, ...]:
        """End the iteration; gives what the variables are after the loop."""
        speculation = self._speculation
        speculation.check_innermost(self)
        after, structure = leaves_of(self._of(values, read=True))
        if structure != self._structure or self._stored.is_grown():
            self.refuse("a variable changes its structure")
        after += self._stored.now()
        seen: set[int] = set()
        rows = [*self._of(values, read=True), *self._of(values, read=False)]
        if not all(are_rows(x, self.fresh, seen) for x in rows):
            self.refuse("a variable is a list that it has not made")
        numbers: list[Any] = []
        numeric = set(self._numeric)
        for i, (x, y) in enumerate(zip(self._leaves, after, strict=True)):
            if i not in numeric:
                if not self._stays(i, x, y):
                    self.refuse(
                        "a variable changes that is no number with fractions, or a plain one"
                    )
                continue
            if kind_of(y) is None or kind_of(y) != kind_of(x, plain=True):
                self.refuse("a variable becomes something of another kind")
            numbers += _numbers(y)
        count = len(numbers)
        kept, kept_structure = leaves_of(self._of(values, read=False))
        for y in kept:
            if kind_of(y) is not None:
                numbers += _numbers(y)
            elif not isinstance(y, (Known, *FIXED)) and y is not UNBOUND:
                self.refuse("a variable is used after it that is no number with fractions")
        if len(numbers) != len(self._iteration.carries):
            self.refuse("a variable is of several kinds")
        left, leaves = self._left(seen)
        given = [x for _, some, _ in left for x in some]
        self._check_arrays([*[after[i] for i in self._numeric], *kept, *given])
        self._check_plain([*numbers, *leaves])
        first = Node(0.0)._serial
        results = self._results(numbers, leaves)
        speculation.close(self, first)
        read = self._placed(results, last=True)
        new = kept_structure.unflatten(_filled(kept, results, count, -1, self)[0])
        self._put(left, results[len(numbers) :])
        return self._by_name(self.site.names, read, new)

    def _results(self, after: Sequence[Any], leaves: Sequence[Any]) -> list[Node]:
        """End the iteration; gives what comes of all.

        Args:
            after: the next carries.
            leaves: what it leaves.
        """
        return self._iteration.end(after, leaves)

    def _check_plain(self, values: Sequence[Any]) -> None:
        """See that nothing raises an exception for plain numbers of the first iteration.

        There variables may be what they are before the loop, and of two floats Python asks more
        than of nodes.
        """
        plain = self._first
        found: dict[int, Node] = {}
        waiting = [x for x in values if isinstance(x, Node)] if plain else []
        for x in waiting:
            if id(x) not in found and x._serial > self.began:
                found[id(x)] = x
                waiting += [y for y in x.operands if isinstance(y, Node)]
        for x in sorted(found.values(), key=lambda x: x._serial):
            if x.operands and all(not isinstance(y, Node) or id(y) in plain for y in x.operands):
                plain.add(id(x))
                second = x.operands[-1]
                divisor = second._number if isinstance(second, Node) else second
                raises = not divisor if x._operation in _DIVIDE else abs(x._number) > _LARGE
                if x._operation in (*_DIVIDE, rules.power) and (raises or x._number != x._number):
                    self.refuse("an exception is raised for plain numbers")
                if self._has_ints and x._number == 0.0 and math.copysign(1.0, x._number) < 0.0:
                    self.refuse(_INEXACT)  # ints have no -0.0

    def _left(self, seen: set[int]) -> tuple[list[Any], list[Any]]:
        """What the iteration appends, by list: its leaves and their structure; and the numbers."""
        found = []
        numbers: list[Any] = []
        for owner, rows in self.left.values():
            if not all(are_rows(x, self.fresh, seen) for x in rows):
                self.refuse("a list is appended that it has not made, or twice")
            leaves, structure = leaves_of(rows)
            for x in leaves:
                if kind_of(x) is not None:
                    numbers += _numbers(x)
                elif not isinstance(x, (Known, *FIXED)):
                    self.refuse("something is appended that is no number with fractions")
            found.append((owner, leaves, structure))
        return found, numbers

    def _check_arrays(self, values: Sequence[Any]) -> None:
        """See that arrays are new, and no two are parts of one: what comes of it are copies."""
        inside = self._iteration.inside
        arrays: list[Any] = []
        for x in values:
            if isinstance(x, numpy.ndarray):
                if any(numpy.may_share_memory(x, y) for y in arrays):
                    self.refuse("an array is used twice after it")
                if not any(self._is_made(y, inside) for y in x.ravel().tolist()):
                    self.refuse("an array is used after it that it has not made")
                arrays.append(x)

    def _is_made(self, x: Any, inside: set[int]) -> bool:
        """Whether a number is computed in the iteration, and not only picked."""
        if not isinstance(x, Node) or x._serial <= self.began or id(x) in inside:
            return False
        return x._operation is not rules.where or all(
            self._is_made(y, inside) for y in x.operands[1:]
        )

    def _put(self, left: list[Any], results: Sequence[Any]) -> None:
        """Append what all iterations have left."""
        if not left:
            return
        start = 0
        made: list[tuple[Any, list[Any]]] = [(owner, []) for owner, _, _ in left]
        flat = len(left) == 1 and left[0][2].num_nodes == len(left[0][1]) + 1
        if flat and all(kind_of(x) == () for x in left[0][1]):  # nodes alone, as they come
            made[0][1].extend(results[: self.trips * len(left[0][1])])
        else:
            for k in range(self.trips):
                for (_, leaves, structure), (_, all_rows) in zip(left, made, strict=True):
                    new, start = _filled(leaves, results, start, k, self)
                    all_rows += structure.unflatten(new)
        for owner, all_rows in made:
            if type(owner) is list and not self._speculation.uncertain:
                owner += all_rows
                continue
            for x in all_rows:
                self._speculation.append(owner, x)

    def ends_by(self, site: Site, condition: Any) -> bool:
        """Take a condition, if it is the one by which the loop ends; gives whether."""
        return False

    def exit(self) -> None:
        """See that it may be left here, or an iteration."""
        if self.once:
            self.refuse("an iteration may be left")

    def refuse(self, why: str) -> NoReturn:
        """Give up this trace for one in which all iterations are recorded."""
        self._speculation.refuse([self.site], why)

    # As the side of a branch

    def store(self, owner: Any, index: Any, value: Any) -> None:
        """Assign an element of what the iteration has made."""
        if not self.owns(owner):
            self.refuse("an element is assigned")
        owner[index] = value

    def undone(self) -> list[Any]:
        """Take back what has been done."""
        self._stored.put(self._leaves[self._own :])
        return []

    def append(self, owner: Any, x: Any) -> None:
        """Append to a list: to one from outside it is left for later."""
        if id(owner) in self.fresh:
            owner.append(x)
            return
        if not any(owner is known for known in self._lists):
            self.refuse("something is appended to a list in another way than by its name")
        self.left.setdefault(id(owner), (owner, []))[1].append(x)

    def check_read(self, x: Any) -> None:
        """See that what is read holds none of the lists to which it appends."""
        waiting = [x] if self._lists else []
        for y in waiting:
            if not isinstance(y, (list, tuple, dict, numpy.ndarray)):
                continue
            if any(y is z for z in self._lists):
                self.refuse("a list is read to which it appends")
            if id(y) in self._seen or id(y) in self.fresh:
                continue
            self._seen[id(y)] = y
            if isinstance(y, dict):
                waiting += y.values()
            elif not isinstance(y, numpy.ndarray):
                waiting += _parts_of(y)
            elif type(y) is numpy.ndarray and y.dtype == object:
                waiting += y.ravel().tolist()


def _parts_of(x: Sequence[Any]) -> Sequence[Any]:
    """What may hold lists of what is in a list or tuple."""
    if set(map(type, x)) == {tuple}:
        x = [*chain.from_iterable(x)]
    return () if _NUMBERS.issuperset(map(type, x)) else x


def summed(
    loop: Plain | Loop, called: Callable[..., Any], start: Sequence[Any], ways: Sequence[Any]
) -> Any:
    """A sum of what a comprehension gives.

    Args:
        loop: through what it goes through.
        called: ``sum``.
        start: what the sum begins with, if that is said.
        ways: what gives, of anything to go through, what the comprehension does: where it may not
            be in vain, if it is not always, and where it may.
    """
    rows, first = iter(loop.items), []
    if isinstance(loop, Plain):
        return called(ways[0](rows), *start)
    for item in rows:
        if loop.once:
            (total,) = loop.carried
            for x in ways[-1]([item]):
                total = total + x
            return loop.leave(total)[0]
        first = [*ways[0]([item])]
        if not all(isinstance(x, (Node, float, int)) for x in (*first, *start)):
            break
        loop.measure(functools.reduce(operator.add, first, *(start or (0,))))
        if not loop.once:
            break
    return called(itertools.chain(first, ways[0](rows)), *start)


def are_rows(x: Any, fresh: Any = None, seen: set[int] | None = None) -> bool:
    """Whether something holds others in tuples and lists alone, and these are new and different."""
    waiting = [x]
    for y in waiting:
        if isinstance(y, list):
            if fresh is not None and seen is not None and (id(y) not in fresh or id(y) in seen):
                return False
            if seen is not None:
                seen.add(id(y))
            waiting += y
        elif isinstance(y, tuple):
            waiting += y
        elif not leaves_of(y)[1].is_leaf() and y is not None:
            return False
    return True


def kind_of(x: Any, plain: bool = False) -> Any:
    """The shape of nodes, or of plain numbers too; None for something else."""
    if isinstance(x, Node):
        return None if isinstance(x, WholeNode) else ()
    if plain and type(x) in (float, int, numpy.float64):
        return ()
    if isinstance(x, numpy.ndarray) and x.size and x.ndim:
        if plain and x.dtype == numpy.float64:
            return x.shape
        if x.dtype == object and all(kind_of(y, plain) == () for y in x.ravel().tolist()):
            return x.shape
    return None


def size_of(x: Any) -> int:
    """How many nodes there are."""
    if kind_of(x) is None:
        return 0
    return x.size if isinstance(x, numpy.ndarray) else 1


def _filled(
    leaves: Sequence[Any], results: Sequence[Any], start: int, k: int, loop: Loop
) -> tuple[list[Any], int]:
    """Leaves as they are in an iteration, of what comes of the loop from a place on."""
    new: list[Any] = []
    for x in leaves:
        if isinstance(x, Known) and x.loop is loop:
            new.append(x.values[k])
        elif kind_of(x) is None:
            new.append(x)
        else:
            new.append(_like(x, results, start))
            start += size_of(x)
    return new, start


def _like(x: Any, nodes: Sequence[Any], start: int) -> Any:
    """A node, or an array of them, in the place of something numeric."""
    if not isinstance(x, numpy.ndarray):
        return nodes[start]
    return like(x, nodes[start : start + x.size])


def _numbers(x: Any) -> list[Any]:
    values = x.ravel().tolist() if isinstance(x, numpy.ndarray) else [x]
    return [y if isinstance(y, Node) else float(y) for y in values]


def same(x: Any, y: Any) -> bool:
    """Whether a variable is what it was."""
    if x is y:
        return True
    return type(x) is type(y) and type(x) in FIXED and repr(x) == repr(y)


def parts_of_row(x: Any) -> list[Known]:
    """The plain numbers in a row."""
    waiting = [x]
    for y in waiting:
        if isinstance(y, (list, tuple)):
            waiting += y
    return [y for y in waiting if isinstance(y, Known)]
