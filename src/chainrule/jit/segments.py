"""Transformations in a trace: what they derive is recorded, not traced through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import attrgetter, is_
from typing import Any

import numpy

from chainrule.array_elements import objects
from chainrule.differentiation import (
    Linearization,
    LinearizationOfNumbers,
    as_numbers,
    followed,
    fresh_input,
    numeric_passes,
    places_among,
    release,
)
from chainrule.engine import ENGINE
from chainrule.node import Node, apply
from chainrule.operation import Operation
from chainrule.passes.differentiate import Untraceable
from chainrule.passes.stretches import Unrolled
from chainrule.program.form import Diagonal
from chainrule.program.nests import distinct
from chainrule.sparse import Entries
from chainrule.tracing import PROGRESS
from chainrule.trees import array_of

from .maps import LinearizationOfMaps
from .recorded import IndicesWanted, Recorded, ValuesWanted

MOST_COLOURS = 40
"""Passes beyond which the entries of a sparse matrix are derived one by one."""


ORIGIN = Operation("origin", lambda *xs: 0.0, lambda _, *xs: [math.nan] * len(xs))
"""Of nodes that something depends on, in some way."""
ORIGIN.unknown = ORIGIN.builtin = True  # no user's operation


class RecordedLinearization:
    """The linearization of a function in a trace, as a segment of the recording.

    What is pulled back or pushed forward through it comes from the recording, which does not follow
    the graph of a result any further. The numbers that the results have at the moment come from a
    pass of numbers. Where another transformation is open inside the trace, which may follow them,
    it is not known how they depend on its inputs: what that gives is NaN. A trace that comes to ask
    for such a value is recorded anew with all values, and the results stand for nodes that
    :class:`Linearization` makes.

    Args:
        recorded: the recording.
        began: a node that was made just before the inputs.
        inputs: as for a linearization.
        outputs: likewise.
        level: likewise.
        numbers: the linearization of numbers, None where its results are those of the trace, whose
            numbers nobody asks for.
        nodes: that of nodes, where all values are known and other transformations follow results.
    """

    live = True
    reverse_only = False
    stray = None

    def __init__(
        self,
        recorded: Recorded,
        began: Node,
        inputs: list[Node],
        outputs: Sequence[Any],
        level: int,
        numbers: LinearizationOfNumbers | Linearization | None,
        nodes: Linearization | None = None,
    ) -> None:
        self._recorded = recorded
        self._inputs = inputs
        self._outputs = outputs
        self._level = level
        self._found = numbers
        self._segment = recorded.segment(began, inputs, outputs)
        self._around = PROGRESS.names.keys() - {level}
        self._nodes = nodes
        self._is_closed = False
        self._waiting: list[Node] = []  # results that stand for nodes of the level
        self._floor = PROGRESS.recorded_level

    @property
    def _numbers(self) -> LinearizationOfNumbers | Linearization:
        """The linearization of numbers."""
        if self._found is None:
            found = numeric_passes(self._inputs, self._outputs, self._level)
            if found is None or self._is_closed:
                raise ValuesWanted
            self._found = found[0]
        assert self._found is not None
        return self._found

    def closed(self, values: Sequence[Any]) -> list[Any]:
        """Values after the level is closed."""
        if self._recorded.keeps or self._is_followed():
            return self._released(values)
        stood_for = [*map(attrgetter("_a"), self._inputs)]
        if type(None) in set(map(type, stood_for)):
            return self._released(values)
        self._is_closed = True  # nobody follows what is behind the values, which have their rows
        found = [*values]
        own = followed(found, self._level)
        inputs = places_among(self._inputs, [found[k] for k in own]).tolist()
        for k, place in zip(own, inputs, strict=True):
            if place >= 0:
                found[k] = stood_for[place]
            else:
                found[k]._level = self._floor  # it belongs to the trace from now on
        return found

    def _released(self, values: Sequence[Any]) -> list[Any]:
        """The same where other transformations follow the graph of the values."""
        waiting, self._waiting = self._waiting, []
        stood_for = [result._a for result in waiting]
        released: list[Any] = release(self._inputs, [*values, *stood_for], self._level)
        floor = self._floor
        for result, shadow in zip(waiting, released[len(values) :], strict=True):
            if not isinstance(shadow, Node):
                shadow = fresh_input(shadow, floor)
            result._replace([shadow])
            result._level = max(floor, shadow._level)
        self._is_closed = True
        return released[: len(values)]

    def kept(self, values: Sequence[Any]) -> list[Any]:
        """Like :meth:`closed`; the passes can be used after that as well."""
        self._numbers.keep()
        self._recorded.keeps = True
        nodes = self._of_nodes() if self._has_values() else None
        closed = self._released(values)
        if nodes is not None:
            nodes.is_closed = True
        return closed

    def pull_back(self, cotangents: Sequence[Any]) -> list[Any]:
        """Reverse mode."""
        return self._derived(False, cotangents)

    def gradient(self) -> Any:
        """Of a single output, as operands of the recording where the trace gives it; else None."""
        recorded = self._recorded
        if not recorded.gives(self._level) or not recorded.loops or self._is_closed:
            return None
        return recorded.pulled_in_bulk(self._segment, 1.0, len(self._inputs))

    def push_forward(self, tangents: Sequence[Any]) -> list[Any]:
        """Forward mode."""
        return self._derived(True, tangents)

    def jacobian(self, forward: bool) -> Any:
        """The matrix."""
        n_in, n_out = len(self._inputs), len(self._outputs)
        given = n_in if forward else n_out
        rows = numpy.empty((given, n_in + n_out - given), dtype=object)
        for k in range(given):
            unit = [1.0 if i == k else None for i in range(given)]
            rows[k] = objects(self._derived(forward, unit))
        matrix = rows.T if forward else rows
        return array_of(self.closed(matrix.ravel().tolist()), (n_out, n_in))

    def sparse_entries(self, symmetric: bool) -> Entries:
        """The entries that are not 0 by structure.

        Inputs that no output depends on both of are differentiated by at the same time, or outputs
        that depend on no common input: what comes of each is not mixed with the others'. Where
        this takes many passes, each output is differentiated on its own.
        """
        if self._recorded.looks_up:
            raise IndicesWanted("a look-up in a sparse derivative")
        inside = [loop for loop in self._recorded.loops if loop.level >= self._level]
        if any(symmetric or loop.mixes for loop in inside):
            raise Unrolled
        found = self._of_gradient(symmetric) or self._numbers.sparse_entries(symmetric)
        apart = not PROGRESS.names.keys() >= self._around
        if not apart and not self._is_followed():
            period = found.period(MOST_COLOURS)
            entries = (
                self._by_colours(found)
                if period is None or 2 * period > len(self._inputs)
                else self._on_diagonals(found, period)
            )
            if entries is not None:
                return found.put(entries)
        return self._of_nodes().sparse_entries(symmetric)

    def _of_gradient(self, symmetric: bool) -> Entries | None:
        """The pattern of a gradient's derivatives; None if no gradient is what is differentiated.

        Raises:
            ValuesWanted: if what is differentiated depends on a gradient in another way.
        """
        gradient = self._recorded.gradients.pop(self._level, None)
        if gradient is None:
            return None
        nodes, inputs, starts, places = gradient
        if len(nodes) != len(self._outputs) or not all(map(is_, nodes, self._outputs)):
            row_of = {id(x): row for row, x in enumerate(nodes)}
            if not all(id(y) in row_of for y in self._outputs):
                raise ValuesWanted
            rows = [row_of[id(y)] for y in self._outputs]
            places = numpy.concatenate([places[starts[row] : starts[row + 1]] for row in rows])
            starts = numpy.cumsum([0, *numpy.diff(starts)[rows]])
        columns = {id(x): place for place, x in enumerate(self._inputs)}
        column_of = numpy.array([columns.get(id(x), -1) for x in inputs], dtype=numpy.int64)
        trace = PROGRESS.recorded_level
        for x, column in zip(inputs, column_of.tolist(), strict=True):
            if column < 0 and isinstance(x, Node) and x._level > trace:
                raise ValuesWanted
        found, counts = column_of[places], numpy.diff(starts)
        kept = found >= 0
        if not kept.all() or len(set(map(id, inputs))) < len(inputs):
            rows = numpy.repeat(numpy.arange(len(counts)), counts)[kept]
            pairs = numpy.unique(numpy.stack([rows, found[kept]]), axis=1)
            counts, found = numpy.bincount(pairs[0], minlength=len(counts)), pairs[1]
        return Entries(counts, found, numpy.full(len(found), math.nan, dtype=object), symmetric)

    def _interactions(self, given: Sequence[Any]) -> tuple[Any, Any] | None:
        """On which inputs what is pulled back to each depends, if only a pattern is asked for.

        Returns:
            where the places of each begin, and the places; None where values are needed.
        """
        around = max(self._around, default=0)
        asked = PROGRESS.structural == around and around not in self._recorded.gradients
        if ENGINE is None or not asked or self._recorded.values or self._is_closed:
            return None
        if any(isinstance(x, Node) for x in given):
            return None
        constant = PROGRESS.recorded_level
        found = ENGINE.interactions(self._inputs, self._outputs, self._level, constant)
        return found and tuple([numpy.frombuffer(x, numpy.int32) for x in found])

    def _on_diagonals(self, found: Entries, period: int) -> Any:
        """The entries, from one diagonal after another."""
        rows, values, stride = found.rows, found.values, found.step % period
        shifts = (found.indices - stride * rows) % period
        entries = values.copy()
        for shift in distinct(shifts[found.own]).tolist():
            places = numpy.flatnonzero(found.own & (shifts == shift))
            which = Diagonal(period, stride, shift)
            numbers = values[places].tolist()
            entries[places] = self._recorded.diagonal(self._segment, which, rows[places], numbers)
        return entries

    def _by_colours(self, found: Entries) -> Any:
        """The entries, from as few passes as may be; None if these are many."""
        rows: list[list[int]] = [[] for _ in self._outputs]
        columns: list[list[int]] = [[] for _ in self._inputs]
        for i, j in zip(found.rows.tolist(), found.indices.tolist(), strict=True):
            rows[i].append(j)
            columns[j].append(i)
        by_input, by_output = coloured(columns, len(rows)), coloured(rows, len(columns))
        if by_input is None and by_output is None:
            return None
        forward = by_output is None or (
            by_input is not None and max(by_input, default=0) <= max(by_output, default=0)
        )
        colours = by_input if forward else by_output
        assert colours is not None
        count = max(colours, default=-1) + 1
        passed = [
            self._derived(forward, [1.0 if colour == k else None for colour in colours])
            for k in range(count)
        ]
        if forward:
            entries = [passed[colours[j]][i] for i, row in enumerate(rows) for j in row]
        else:
            entries = [passed[colours[i]][j] for i, row in enumerate(rows) for j in row]
        return numpy.array(entries, dtype=object)

    def _is_followed(self) -> bool:
        """Whether another transformation may follow results, or iterations in numbers."""
        return self._recorded.is_followed(self._level)

    def _has_values(self) -> bool:
        """Whether all values of the trace have to be known, or the pattern of a sparse matrix."""
        return self._recorded.values or PROGRESS.structural > 0

    def _of_nodes(self) -> Linearization:
        if self._nodes is None:
            if self._is_closed or self._recorded.unknown:
                raise ValuesWanted
            self._nodes = Linearization(self._inputs, self._outputs, self._level)
        if self._is_closed:
            self._nodes.keep()
        return self._nodes

    def _derived(self, forward: bool, given: Sequence[Any]) -> list[Any]:
        if not PROGRESS.names.keys() >= self._around:  # the segment is part of another one
            _refuse_look_ups(self._recorded)
            return _passed(self._of_nodes(), forward, given)
        followed = self._is_followed()
        wanted = PROGRESS.structural and followed and not forward
        pattern = self._interactions(given) if wanted else None
        results: list[Any]
        origin: list[Any] = []
        if followed and pattern is None and self._has_values():
            results = _passed(self._of_nodes(), forward, given)
        elif self._found is None and pattern is None:
            self._recorded.unknown = True
            results = [math.nan] * len(self._outputs if forward else self._inputs)
        else:
            results = _passed(self._numbers, forward, as_numbers(given, 0))
            self._recorded.unknown |= followed
            if followed and pattern is None:
                origin = [x for x in (*self._outputs, *given) if isinstance(x, Node)]
        if origin:
            shadow = apply(ORIGIN, origin)
            nodes = self._recorded.derived(self._segment, forward, given, [shadow] * len(results))
            for node, number in zip(nodes, results, strict=True):
                node._number = number
        else:
            nodes = self._recorded.derived(self._segment, forward, given, results)
        if pattern is not None:
            around = max(self._around)
            for node in nodes:
                node._level = around
            inputs = [x.operands[0] if x.operands else None for x in self._inputs]
            self._recorded.gradients[around] = (nodes, inputs, *pattern)
        for node in nodes:
            if node._a is None:
                continue
            if self._is_closed:
                node._level = max(self._floor, node._a._level)
            else:
                self._waiting.append(node)
        return nodes


def coloured(members: Sequence[Sequence[int]], groups: int) -> list[int] | None:
    """A colour for each item, so that no two items of a group have the same; -1 for no group.

    Args:
        members: of each item, the groups it is in.
        groups: how many there are.

    Returns:
        None if it takes too many.
    """
    colours = [-1] * len(members)
    taken = [0] * groups  # by group, the colours of its items, as bits
    for item, own in enumerate(members):
        if own:
            others = 0
            for group in own:
                others |= taken[group]
            free = ~others & (others + 1)
            colours[item] = free.bit_length() - 1
            if colours[item] >= MOST_COLOURS:
                return None
            for group in own:
                taken[group] |= free
    return colours


def _passed(graph: Any, forward: bool, given: Sequence[Any]) -> list[Any]:
    passed: list[Any] = graph.push_forward(given) if forward else graph.pull_back(given)
    return passed


def _refuse_look_ups(recorded: Recorded) -> None:
    """Raise Untraceable where derivatives are to be nodes, and tables are looked up.

    Then look-ups are recorded anew, as operations of all elements.
    """
    if recorded.looks_up:
        raise Untraceable("a look-up in a derivative of nodes")


def recorded_linearization(
    recorded: Recorded, began: Node, inputs: list[Node], outputs: Sequence[Any], level: int
) -> Any:
    """The linearization of a function in a trace; None where it must be one of nodes.

    So it is where an operation has a pull-back; and where nothing outlives the transformation, or
    nothing comes from its inputs.
    """
    if all(not isinstance(y, Node) or y._level < level for y in outputs):
        return None
    if recorded.maps.get(level):

        def others(outputs: Sequence[Any]) -> Any:
            found = recorded_linearization(recorded, began, inputs, outputs, level)
            return found if isinstance(found, RecordedLinearization) else None

        maps = recorded.maps.pop(level)
        return LinearizationOfMaps(recorded, inputs, outputs, level, maps, others)
    found: tuple[LinearizationOfNumbers | Linearization | None, bool] | None
    followed, nodes = recorded.is_followed(level), None
    if followed and recorded.values:
        nodes = Linearization(inputs, outputs, level)
        found = None if nodes.pulls or nodes.stray is not None else (None, nodes.live)
    else:
        unasked = recorded.derives and not recorded.values and not followed
        found = numeric_passes(inputs, outputs, level, structure=unasked)
    if found is None:
        if recorded.unknown:
            raise ValuesWanted
        _refuse_look_ups(recorded)
        return None
    numbers, live = found
    if not live and level not in recorded.gradients:
        if any(loop.level >= level for loop in recorded.loops):
            raise Unrolled  # of constants: its values are not known, and will not be
        if recorded.unknown:
            raise ValuesWanted
        return numbers  # None if these are not asked for: the caller makes its own
    return RecordedLinearization(recorded, began, inputs, outputs, level, numbers, nodes)
