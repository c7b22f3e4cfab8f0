"""Loops whose body is traced once: what :mod:`chainrule.lax` does where a trace records.

The body runs on nodes that stand for the carry and the rows of any iteration; they have the values
of the first. What it does is recorded between two marks, as an iteration of a loop. The values
after the loop are not known while the trace goes on: nodes with the value NaN stand for them, which
depend on all that the loop depends on. Where the trace would need to know one, for a guard, it
starts anew, with plain loops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import numpy

from chainrule import rules
from chainrule.annotations import users_line
from chainrule.array_elements import objects
from chainrule.carries import Carry, Columns, Stack, flattened, leaves_of
from chainrule.checkpointing import Plan, usual_nest
from chainrule.differentiation import Linearization, followed, fresh_input, fresh_inputs, met
from chainrule.engine import ENGINE
from chainrule.leaves import distinct
from chainrule.node import Node, OperationNode, apply
from chainrule.passes.stretches import UNKNOWN, LoopOf
from chainrule.program.nests import Numbers
from chainrule.program.recording import ABSENT, KNOWN, Row
from chainrule.tracing import PROGRESS

from .indices import IndexArray, IndexNode, TracedArray
from .inputs import WholeArray
from .iterations import LoopIndex

if TYPE_CHECKING:
    from .trace import Recorder

LEAST: Final = 4
"""The iterations below which a loop is a plain one."""


def traced_once(
    recorder: Recorder,
    body: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    carry: Carry,
    columns: Columns,
    left: Stack,
    reverse: bool,
    plan: Plan | None = None,
) -> tuple[Any, Any] | None:
    """The last carry and what the iterations leave, of a loop that becomes one of the recording.

    Args:
        recorder: of the trace.
        body: from a carry and a row to the next carry and what is left.
        init: the first carry.
        carry: what is known of it.
        columns: what is read.
        left: for what is left.
        reverse: whether the rows are read from the last to the first.
        plan: which carries reverse mode keeps; None for the usual ones.

    Returns:
        None where it must be a plain loop.

    Raises:
        Unrolled: if the trace must start anew with plain loops.
    """
    trips = columns.length
    if trips < LEAST or not carry.is_numeric() or not columns.is_numeric():
        return None
    initial = flattened(leaves_of(init)[0])
    known = recorder.given(users_line())
    iteration = Iteration(recorder, trips, initial, plan)
    row = [iteration.column(values) for values in columns.columns(reverse)]
    state, y = body(like(init, iteration.carries), _like_rows(columns, row))
    after = flattened(carry.check(state))
    leaves = flattened(left.check(y))
    if not left.is_numeric():
        recorder.unroll()
    results = iteration.end(after, leaves, known)
    return (
        like(init, results[: len(after)]),
        _stacked(left, results[len(after) :], trips, reverse),
    )


class Column(NamedTuple):
    """What the iterations of a loop read.

    Attributes:
        values: numbers and nodes.
        which: the places of those that the iterations read; None for one after another.
        nodes: the different nodes among them.
    """

    values: Any
    which: Numbers | None
    nodes: list[Node]

    def at(self, iteration: int) -> Any:
        """What an iteration reads."""
        return self.values[iteration if self.which is None else self.which[iteration]]


class Slope(NamedTuple):
    """A derivative of what the iterations of a loop leave.

    Attributes:
        leaf: of which of the numbers that an iteration leaves.
        by: by what: in each iteration what it reads of a column, or always a node.
        slope: the derivative: in each iteration a node, or always a number; operands of the
            recording where the trace gives them.
    """

    leaf: int
    by: Any
    slope: Any


class Map(NamedTuple):
    """A loop whose iterations depend on inputs alone, and that leaves its derivatives too.

    Attributes:
        results: what the iterations leave, one after another.
        n_leaves: how much each does.
        slopes: the derivatives.
    """

    results: list[Node]
    n_leaves: int
    slopes: list[Slope]


class Failed(NamedTuple):
    """Whether something has failed in the iterations of a loop, so far.

    Attributes:
        carry: what stands for it before the iteration.
        after: the same after it.
    """

    carry: Node
    after: Node


class Iteration:
    """The iteration of a loop that is recorded.

    Args:
        recorder: of the trace.
        trips: the iterations of the loop.
        initial: numbers and nodes, the first carries.
        plan: which carries reverse mode keeps; None for the usual ones.
        derived: whether it leaves its derivatives too, for a sparse matrix of these.

    Attributes:
        carries: nodes that stand for those of any iteration.
        masked: whether what runs may run in vain.
        failed: what may fail in it: loops that may outgrow their bounds, by their lines, look-ups.
    """

    def __init__(
        self,
        recorder: Recorder,
        trips: int,
        initial: Sequence[Any],
        plan: Plan | None = None,
        derived: bool = False,
    ) -> None:
        self._recorder = recorder
        self._derived = derived
        self._recorded = recorded = recorder.recorded
        self._trips = trips
        self._guards, self._printed = len(recorded.guards), recorder.printed
        self._position = recorder.position
        self._around = [x for x in initial if isinstance(x, Node)]
        nest = usual_nest(trips) if plan is None else plan.nest(trips)
        self._level = next(reversed(PROGRESS.names))
        self._loop = LoopOf(trips, nest if initial else (trips,), self._level)
        self._loop.by_column = derived
        self._since = Node(0.0)._serial
        self._number = len(recorded.loops)
        recorded.loops.append(self._loop)
        begins = recorded.record_all(initial)
        recorded.mark(Row.LOOP, self._number)
        self._first_row = recorded.rows
        numbers = [float(x._number if isinstance(x, Node) else x) for x in initial]
        self.carries = fresh_inputs(numbers, self._level)
        self._inside = [*self.carries]
        self._read: dict[int, Column] = {}  # by the node of a column, what it stands for
        self._alone: dict[int, bool] = {}  # by what it leaves, whether all derivatives are
        self._followed: set[int] = set()  # of these, what a transformation follows
        self.masked = False
        self.failed: dict[str, Failed] = {}
        for place, (operand, node) in enumerate(zip(begins, self.carries, strict=True)):
            recorded.mark(Row.CARRY, operand, place, node)
        recorder.iterations.append(self)

    def expand(self) -> None:
        """Let all iterations be rows in the end."""
        self._loop.expands = True

    def column(self, values: Any, which: Numbers | None = None) -> Node:
        """What stands for one of some numbers and nodes, the one of the iteration's place.

        Args:
            values: they.
            which: the places of those that the iterations read; None for one after another.
        """
        numbers, around = None, []
        place = values.place() if self._is_whole(values) else None
        if place is not None:
            column, first = place, values[0]
            around = [first]
        elif values.dtype.kind in "iu":
            column, first, numbers = values.astype(numpy.float64), int(values[0]), values
        else:
            listed = values.tolist()
            column, first = self._recorded.column(listed), listed[0]
            if set(map(type, listed)) == {int}:
                numbers = numpy.array(listed)
            if which is not None:
                column, first = column[which], listed[which[0]]
                numbers = None if numbers is None else numbers[which]
            around = distinct([x for x in listed if isinstance(x, Node)])
        node = fresh_input(float(first._number if isinstance(first, Node) else first), self._level)
        known = not isinstance(first, Node) or not self._recorded.is_unknown(first)
        self._recorded.mark(Row.EACH, len(self._loop.columns), KNOWN if known else ABSENT, node)
        self._loop.columns.append(column)
        self._inside.append(node)
        self._around += around
        if around:
            self._read[id(node)] = Column(values, which, around)
            if max(met(around)[0]) > self._recorder.level:
                self._followed.add(id(node))
        if numbers is not None:
            self._recorder.speculation.meets_indices = True
            return LoopIndex.at(node, numbers.astype(numpy.int64), self)
        return IndexNode.standing_for(node) if isinstance(first, IndexNode) else node

    @property
    def may_fail(self) -> bool:
        """Whether it can be noted that something fails in it."""
        return not (self._derived or (PROGRESS.structural and not self.carries))

    def note_failed(self, what: str, condition: Node) -> None:
        """Note that something has failed if a condition holds.

        Args:
            what: the line of a loop, or OUTSIDE.
            condition: a comparison, or 1.0 or 0.0.
        """
        found = self.failed.get(what)
        if found is None:
            if not self.may_fail:
                self.make_plain("while")
            carry = fresh_input(0.0, self._level)
            place = len(self.carries) + len(self.failed)
            self._recorded.mark(Row.CARRY, self._recorded.record(0.0), place, carry)
            self._inside.append(carry)
            found = Failed(carry, carry)
        after = apply(rules.where, (condition, 1.0, found.after))
        self.failed[what] = found._replace(after=after)

    def count_failed(self, before: dict[str, Failed], condition: Node, holds: bool = True) -> None:
        """Take back what has been noted since, but where a condition holds, or does not.

        Args:
            before: what was noted then.
            condition: the condition.
            holds: which.
        """
        for what, found in self.failed.items():
            old = before[what].after if what in before else found.carry
            if found.after is not old:
                pair = (found.after, old) if holds else (old, found.after)
                after = apply(rules.where, (condition, *pair))
                self.failed[what] = found._replace(after=after)

    def _is_whole(self, values: Any) -> bool:
        """Whether some are a whole array that the loop can read: no other loop is around it."""
        return type(values) is WholeArray and self._recorder.iterations == [self]

    def reads(self, elements: Any) -> bool:
        """Whether an array can be columns: it is older, and the loop the innermost."""
        if self._is_whole(elements):
            return True
        innermost = self._recorder.iterations[-1:] == [self]
        flat = elements.ravel().tolist()
        levels, newest = met(flat)
        if not innermost or max(levels, default=0) > self._level:
            return False
        return newest < self._since or all(
            x._serial < self._since or (not x.operands and self._recorded.is_input(x))
            for x in flat
            if isinstance(x, Node)
        )

    @property
    def inside(self) -> set[int]:
        """The ids of nodes that stand for those of any iteration."""
        return {id(x) for x in self._inside}

    def unroll(self) -> NoReturn:
        """Give up: the trace starts anew with plain loops."""
        self._recorder.unroll()

    def make_plain(self, what: str) -> NoReturn:
        """Give up: the trace starts anew, without loops or branches of a kind being traced once."""
        self._recorder.make_plain(what)

    @property
    def asks_guards(self) -> bool:
        """Whether it has asked guards so far, or shown values."""
        counts = len(self._recorded.guards), self._recorder.printed
        return counts != (self._guards, self._printed)

    @property
    def may_raise(self) -> bool:
        """Whether it may raise an error where an iteration runs in vain, when it has ended."""
        return self._recorded.may_raise(self._first_row)

    def depends_on(self, after: Sequence[Any]) -> list[Node]:
        """The nodes from outside on which it depends, if it ends with some values."""
        return [*self._around, *_from_outside(after, self._inside)]

    def is_outside(self, node: Node) -> bool:
        """Whether a node is the same in all iterations."""
        older = node._serial < self.carries[0]._serial
        return older or node._level == 0 or self._recorded.is_input(node)

    def end_where(
        self, condition: Node, after: Sequence[Any], numbers: Sequence[float] | None
    ) -> list[Node]:
        """The same, where carries stay what they are in iterations in which a condition fails."""
        pairs = zip(after, self.carries, strict=True)
        picked = [apply(rules.where, (condition, x, old)) for x, old in pairs]
        return self.end(picked, [], numbers)

    def end(
        self, after: Sequence[Any], leaves: Sequence[Any], numbers: Sequence[float] | None = None
    ) -> list[Node]:
        """End the iteration; gives nodes for the last carries and what all iterations leave.

        Args:
            after: the next carries.
            leaves: what the iteration leaves.
            numbers: what comes of the loop, if it is known.
        """
        recorder, recorded = self._recorder, self._recorded
        recorder.iterations.pop()
        n_after = len(after)
        after = [*after, *[x.after for x in self.failed.values()]]
        slopes = self._slopes(leaves) if self._derived else []
        left = [*leaves, *[x.slope for x in slopes if isinstance(x.slope, Node)]]
        for code, values in ((Row.NEXT, after), (Row.LEFT, left)):
            for place, operand in enumerate(recorded.record_all(values)):
                recorded.mark(code, operand, place)
        recorded.mark(Row.END_LOOP, self._number)
        recorded.ended += 1
        again = recorder.repeats(self._guards, self._position, self._trips)
        if recorder.printed > self._printed or not again:
            recorder.unroll()
        if self._loop.expands and not after and not leaves:
            return []
        outside = self.depends_on([*after, *leaves])
        above = [outside[k] for k in followed(outside, recorder.level + 1)]
        given = above
        if len(above) < len(outside):
            given = [*above, next(x for x in outside if x._level <= recorder.level)]
        if not given:  # it is constant
            recorder.unroll()
        size = n_after + self._trips * len(leaves)
        if numbers is None or len(numbers) != size:
            numbers = [math.nan] * size
        numbers = [*numbers[:n_after], *[math.nan] * len(self.failed), *numbers[n_after:]]
        if self.carries or self._derived or not (above and PROGRESS.structural):
            self._loop.mixes = bool(above) and not self._derived
            whole = self._result(math.nan, given)
            results = self._results(numbers, whole)
        else:
            results = self._left_apart(leaves)
        places = numpy.arange(len(after), len(after) + self._trips * len(left))
        shape = (len(left), self._trips)
        by_leaf = places.reshape(shape) if self._derived else places.reshape(shape[::-1]).T
        own = [*range(len(after)), *by_leaf[: len(leaves)].T.ravel().tolist()]
        known = [ABSENT] * len(numbers)
        if not self._derived:
            known = [ABSENT if math.isnan(number) else KNOWN for number in numbers]
        recorded.mark_all(Row.RESULT, own, known, results)
        if self._derived:
            others = iter(by_leaf[len(leaves) :])
            entries = [
                x._replace(slope=self._slopes_of_all(x, next(others), slopes))
                if isinstance(x.slope, Node)
                else x
                for x in slopes
            ]
            recorded.maps.setdefault(self._level, []).append(Map(results, len(leaves), entries))
        if self.failed and self.may_raise:  # by what a loop has not computed
            self.make_plain("while")
        for what, condition in zip(self.failed, results[n_after : len(after)], strict=True):
            recorder.note_failed(what, condition)
        return results[:n_after] + results[len(after) :]

    def _slopes_of_all(self, slope: Slope, places: Numbers, slopes: Sequence[Slope]) -> Any:
        """A derivative in all iterations, by its places among the results."""
        recorded = self._recorded
        if not recorded.gives(self._level):
            return recorded.results(places.tolist(), [math.nan] * self._trips)
        if self._recorder.iterations or self._loop.expands or not self._is_alone(slope, slopes):
            return recorded.rows_of_results(places)
        return recorded.results_in_bulk(int(places[0]), len(places))

    def _is_alone(self, slope: Slope, slopes: Sequence[Slope]) -> bool:
        """Whether no other derivative of what it is one of is by the same, in any iteration."""
        alone = self._alone.get(slope.leaf)
        if alone is None:
            read = [x.by for x in slopes if x.leaf == slope.leaf]
            nodes = [x for by in read for x in (by.nodes if isinstance(by, Column) else [by])]
            alone = self._alone[slope.leaf] = len(distinct(nodes)) == len(nodes)
        return alone

    def _slopes(self, leaves: Sequence[Any]) -> list[Slope]:
        """The derivatives of what an iteration leaves by what it reads.

        Raises:
            Unrolled: if these are not such as reverse mode can write.
        """
        inside, pairs = self.inside, []
        read: dict[int, Node] = {}
        for place, leaf in enumerate(leaves):
            for x in _from_outside([leaf], self._inside, derived=True):
                by = self._read.get(id(x), None if id(x) in inside else x)
                if self._is_followed(by):
                    pairs.append((place, x, by))
                    read[id(x)] = x
        graph = Linearization([*read.values()], [*leaves], self._level)
        graph.live = True  # the local gradients depend on the inputs of each call
        if graph.pulls or graph.stray is not None or any(map(_is_unknown, graph.order)):
            self._recorder.unroll()
        units = numpy.eye(len(leaves)).tolist()
        rows = [graph.pull_back([one or None for one in unit]) for unit in units]
        found = [dict(zip(read, row, strict=True)) for row in rows]
        return [Slope(place, by, found[place][id(x)]) for place, x, by in pairs]

    def _is_followed(self, by: Any) -> bool:
        """Whether what an iteration reads depends on inputs of the innermost transformation."""
        if isinstance(by, Column):
            return max(met(by.nodes)[0], default=-1) >= self._level
        return isinstance(by, Node) and by._level >= self._level

    def _left_apart(self, leaves: Sequence[Any]) -> list[Node]:
        """What the iterations of a loop without a carry leave: each depends on what it reads.

        A sparse derivative has its pattern from this.
        """
        by_leaf = []
        for leaf in leaves:
            found = _from_outside([leaf], self._inside, derived=True)
            read = [self._read[id(x)] for x in found if id(x) in self._followed]
            by_leaf.append((read, [x for x in found if id(x) not in self._read]))
        return [
            self._result(math.nan, [*self._inside[:1], *[column.at(i) for column in read], *fixed])
            for i in range(self._trips)
            for read, fixed in by_leaf
        ]

    def _results(self, numbers: Sequence[float], whole: Node) -> list[Node]:
        """What is computed of one node, as different ones."""
        if ENGINE is None:
            return [self._result(number, [whole]) for number in numbers]
        made: list[Node] = ENGINE.operation_nodes(UNKNOWN, [*numbers], whole, self._recorder.level)
        return made

    def _result(self, number: float, given: Sequence[Node]) -> Node:
        """What is computed of something; it belongs to the trace."""
        right, rest = (None, (number, *given)) if len(given) > 1 else (given[0], number)
        node: Node = OperationNode(UNKNOWN, number, None, right, rest)  # nothing is to be checked
        node._level = max(node._level, self._recorder.level)
        return node


def like(tree: Any, nodes: Sequence[Node]) -> Any:
    """A tree like another one, of nodes."""
    leaves, structure = leaves_of(tree)
    shapes = [leaf.shape if isinstance(leaf, numpy.ndarray) else None for leaf in leaves]
    return structure.unflatten(_put(shapes, nodes))


def _is_unknown(node: Node) -> bool:
    return node._operation is not None and node._operation.unknown


def _like_rows(columns: Columns, nodes: Sequence[Node]) -> Any:
    """A row of nodes."""
    shapes = [leaf.shape[1:] or None for leaf in columns.leaves]
    return columns.structure.unflatten(_put(shapes, nodes))


def _put(shapes: Sequence[Any], nodes: Sequence[Node]) -> list[Any]:
    """Leaves of some shapes."""
    leaves: list[Any] = []
    start = 0
    for shape in shapes:
        if shape is None:
            leaves.append(nodes[start])
            start += 1
            continue
        array = objects(nodes[start : start + math.prod(shape)])
        start += array.size
        indices = all(isinstance(x, IndexNode) for x in array.tolist())
        leaves.append(array.reshape(shape).view(IndexArray if indices else TracedArray))
    return leaves


def _stacked(left: Stack, nodes: Sequence[Node], trips: int, reverse: bool) -> Any:
    """The tree of arrays of what the iterations leave, in their order."""
    table = objects(nodes).reshape(trips, -1)
    if reverse:
        table = table[::-1]
    arrays = []
    start = 0
    for kind in left.kinds:
        shape = () if kind == "number" else kind[1]
        size = math.prod(shape)
        part = table[:, start : start + size]
        arrays.append(part.reshape(trips, *shape).view(TracedArray))
        start += size
    return left.structure.unflatten(arrays)


def _from_outside(
    values: Sequence[Any], inner: Sequence[Node], *, derived: bool = False
) -> list[Node]:
    """The nodes that values depend on, and that are older than what stands for an iteration.

    Args:
        values: what is computed in the iteration.
        inner: what stands for it.
        derived: only what derivatives go by; what stands for the iteration is found as well.
    """
    first = min([x._serial for x in inner], default=None)
    found: dict[int, Node] = {}
    seen: set[int] = set() if derived else {id(x) for x in inner}
    waiting = [x for x in values if isinstance(x, Node)]
    for node in waiting:
        if id(node) in seen:
            continue
        seen.add(id(node))
        if first is None or node._serial < first or not node.operands:
            found[id(node)] = node
            continue
        operation = node._operation if derived else None
        for i, x in enumerate(node.operands):
            if isinstance(x, Node) and (operation is None or not operation.ignores(i)):
                waiting.append(x)
    return list(found.values())
