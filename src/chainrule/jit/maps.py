"""Sparse Jacobians of loops whose iterations have been differentiated, each by what it reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from chainrule.array_elements import objects
from chainrule.backpropagation import topological
from chainrule.differentiation import followed, places_among, plus
from chainrule.node import Node
from chainrule.passes.stretches import UNKNOWN, Unrolled
from chainrule.program.nests import Numbers
from chainrule.sparse import Entries

from .loops import Column, Map
from .recorded import IndicesWanted, Recorded


class LinearizationOfMaps:
    """The linearization of a function whose outputs are what loops leave, and others.

    Args:
        recorded: the recording.
        inputs: as for a linearization.
        outputs: likewise.
        level: likewise.
        maps: the loops.
        others: gives the linearization of outputs that are none of theirs, None if there is none.

    Raises:
        Unrolled: if something depends on the loops in another way: they must be plain ones.
    """

    live = True
    reverse_only = False
    stray = None

    def __init__(
        self,
        recorded: Recorded,
        inputs: Sequence[Node],
        outputs: Sequence[Any],
        level: int,
        maps: Sequence[Map],
        others: Any,
    ) -> None:
        self._recorded = recorded
        self._level = level
        self._maps = maps
        self._inputs = [*inputs]
        self._n_outputs = len(outputs)
        results = [x for loop in maps for x in loop.results]
        places = places_among(results, [*outputs]).astype(numpy.int64)
        starts = numpy.cumsum([0, *[len(loop.results) for loop in maps]])
        self._loops = numpy.searchsorted(starts, places, side="right") - 1  # -1 for others
        self._places = places - starts[self._loops]
        self._rest: Any = None
        self._is_open = False  # whether entries may belong to the level
        self._gives = recorded.gives(level)
        rest = [outputs[row] for row in numpy.flatnonzero(places < 0).tolist()]
        own = [rest[k] for k in followed(rest, level)]
        if own:
            if any(x._operation is UNKNOWN for x in topological(own, level)):
                raise Unrolled("something is computed of its results")
            self._rest = others(rest)
            if self._rest is None:
                raise Unrolled("something else has to be differentiated in another way")

    def closed(self, values: Sequence[Any]) -> list[Any]:
        """Values after the level is closed; those of loops belong to the trace."""
        return self._rest.closed(values) if self._is_open else [*values]

    def sparse_entries(self, symmetric: bool) -> Entries:
        """The entries that are not 0 by structure.

        Raises:
            Unrolled: if an iteration reads what is no input.
            IndicesWanted: if it looks up what only a call knows.
        """
        if symmetric:
            raise Unrolled("it is in the gradient of something")
        if self._recorded.looks_up:
            raise IndicesWanted("a look-up in a sparse derivative")
        parts = [self._rest_entries()]
        for number, loop in enumerate(self._maps):
            rows = numpy.flatnonzero(self._loops == number)
            trips, leaves = numpy.divmod(self._places[rows], loop.n_leaves)
            by_leaf = [(rows[own], trips[own]) for own in map(leaves.__eq__, range(loop.n_leaves))]
            read = {id(slope.by): slope.by for slope in loop.slopes}
            columns_of = {key: self._columns(by) for key, by in read.items()}
            for slope in loop.slopes:
                own, at = by_leaf[slope.leaf]
                columns, values = columns_of[id(slope.by)], self._values(slope.slope, at)
                found = columns[at] if len(columns) > 1 else numpy.broadcast_to(columns, len(at))
                if (columns < 0).any():
                    kept = found >= 0
                    own, found, values = own[kept], found[kept], values[kept]
                parts.append((own, found, values))
        parts.sort(key=lambda part: int(part[1][0]) if len(part[1]) else -1)
        return self._entries(*_interleaved(parts, self._n_outputs))

    def _values(self, slope: Any, trips: Numbers) -> Any:
        """A derivative in some iterations: nodes and numbers, or operands of the recording."""
        if isinstance(slope, (list, numpy.ndarray)):
            return (objects(slope) if isinstance(slope, list) else slope)[trips]
        if self._gives:
            return numpy.full(len(trips), self._recorded.record(float(slope)))
        return numpy.full(len(trips), slope, dtype=object)

    def _rest_entries(self) -> tuple[Numbers, Numbers, Any]:
        """Rows, columns and values of the entries that are not those of loops."""
        if self._rest is None:
            nothing = numpy.zeros(0, dtype=numpy.int64)
            return nothing, nothing, nothing if self._gives else objects([])
        found = self._rest.sparse_entries(False)
        values = found.values
        if self._gives:
            values = self._recorded.operands_of(self._rest.closed(values.tolist()))
        else:
            self._is_open = bool(followed(values.tolist(), self._level))
        return numpy.flatnonzero(self._loops < 0)[found.rows], found.indices, values

    def _columns(self, by: Any) -> Numbers:
        """By which inputs a derivative is taken in the iterations; -1 for a constant."""
        nodes = by.values.tolist() if isinstance(by, Column) else [by]
        columns: Numbers = places_among(self._inputs, nodes).astype(numpy.int64)
        constants = [nodes[k] for k in numpy.flatnonzero(columns < 0).tolist()]
        if followed(constants, self._level):
            raise Unrolled("it reads what has been computed")
        if isinstance(by, Column) and by.which is not None:
            columns = columns[by.which]
        return columns

    def _entries(self, rows: Numbers, columns: Numbers, values: Any) -> Entries:
        """The entries in order; those for the same place are added."""
        keys = rows * len(self._inputs) + columns
        if (keys[1:] < keys[:-1]).any():
            order = numpy.argsort(keys, kind="stable")  # of runs; terms are added in their order
            keys, rows, columns, values = keys[order], rows[order], columns[order], values[order]
        again = keys[1:] == keys[:-1]
        if again.any():
            first = numpy.append(True, ~again)
            group = numpy.cumsum(first) - 1
            rows, columns, values = rows[first], columns[first], self._sums(values, group)
        counts = numpy.bincount(rows, minlength=self._n_outputs)
        return Entries(counts, columns, values, symmetric=False, in_order=True)

    def _sums(self, values: Any, group: Numbers) -> Any:
        """The sums of the values in each group, which follow each other."""
        first = numpy.append(True, group[1:] != group[:-1])
        several = numpy.bincount(group)[group] > 1
        terms = values[several].tolist()
        if self._gives:
            terms = self._recorded.nodes_of(values[several])
        sums: list[Any] = []
        for term, begins in zip(terms, first[several].tolist(), strict=True):
            if begins:
                sums.append(term)
            else:
                sums[-1] = plus(sums[-1], term)
        found = values[first]
        found[several[first]] = self._recorded.operands_of(sums) if self._gives else objects(sums)
        return found


def _interleaved(
    parts: Sequence[tuple[Numbers, Numbers, Any]], n_rows: int
) -> tuple[Numbers, Numbers, Any]:
    """Rows, columns and values of entries, row by row: in a row, part by part.

    Args:
        parts: likewise; the rows of each grow.
        n_rows: how many rows there are.
    """
    different = {id(rows): rows for rows, _, _ in parts}
    count_of = {key: numpy.bincount(x, minlength=n_rows) for key, x in different.items()}
    counts = [count_of[id(rows)] for rows, _, _ in parts]
    total = sum(counts[1:], counts[0])
    at = numpy.cumsum(total) - total
    columns = numpy.empty(int(total.sum()), dtype=numpy.int64)
    values = numpy.empty(len(columns), dtype=parts[0][2].dtype)
    for count, (rows, own, entries) in zip(counts, parts, strict=True):
        places = at[rows]
        if count.max(initial=0) > 1:
            places += numpy.arange(len(rows)) - (numpy.cumsum(count) - count)[rows]
        columns[places], values[places] = own, entries
        at += count
    return numpy.repeat(numpy.arange(n_rows), total), columns, values
