"""The outputs of a rolled program: as few slices of arrays as may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy

from chainrule.program.builder import Builder
from chainrule.program.form import VALUES, Array, Index, Operand, Slice
from chainrule.program.nests import Numbers, distinct
from chainrule.program.recording import IN_BULK, are_rows

from .copies import copy_columns, copy_elements
from .domain import Indices
from .loops import Range
from .nest import ROOT, Nest
from .repeats import Ints

FEW = 8
"""So many outputs or stretches of them are given one by one."""


class Outputs:
    """Where the outputs come from, decided before the loops that compute them are written.

    Values of a written row that lie in an array one after another are a slice of it. Where all
    instances are outputs, the row stores them in an array of the outputs as well; others are
    copied there after all loops.

    Args:
        nest: what computes them.
        operands: they, numbered as in ``Rows``.
        homes: of written rows whose values stand in an array: this, and their elements.
        ranges: likewise of results in bulk.

    Attributes:
        stores: written rows, and where to store their values.
        homeless: written rows that need a place in an array.
    """

    def __init__(
        self,
        nest: Nest,
        operands: Ints,
        homes: Mapping[int, tuple[Array, Numbers]],
        ranges: Sequence[Range],
    ) -> None:
        self.stores: list[tuple[int, Array, Numbers]] = []
        self.homeless: list[int] = []
        self._nest = nest
        self._operands = operands
        self._homes = homes
        self._ranges = ranges
        self._starts = numpy.array([x.first for x in ranges], dtype=numpy.int64)
        self._n_written = len(nest.written)
        self._parts: list[Slice | _Copied | int] = []
        self._owners = self._owners_in_loops()
        changes = numpy.flatnonzero(numpy.diff(self._owners)) + 1
        stretches = [0, *changes.tolist(), len(operands)]
        if len(stretches) > FEW + 1:
            stretches = [0, len(operands)]
        for first, end in pairwise(stretches):
            self._plan(first, end)

    def _owners_in_loops(self) -> Numbers:
        """The written row of each output that is computed in a loop, -1 for others.

        Results in bulk count on after the written rows.
        """
        nest = self._nest
        owners = numpy.full(len(self._operands), -1, dtype=numpy.int64)
        values = are_rows(self._operands)
        owners[values] = nest.owner[self._operands[values]]
        looped = numpy.asarray([*(x.domain is not ROOT for x in nest.written), False])
        owners[~looped[owners]] = -1
        bulk = self._operands >= IN_BULK
        owners[bulk] = self._n_written + self._range_of(self._operands[bulk])
        return owners

    def _range_of(self, operands: Any) -> Any:
        """The range that results in bulk are in."""
        return numpy.searchsorted(self._starts, operands, side="right") - 1

    def _elements(self, owner: int, operands: Ints) -> tuple[Array, Numbers] | None:
        """Where outputs of one owner stand; None if in no array."""
        if owner >= self._n_written:
            found = self._ranges[owner - self._n_written]
            return found.array, found.element + operands.astype(numpy.int64) - found.first
        if owner not in self._homes:
            return None
        array, elements = self._homes[owner]
        return array, elements[self._nest.instance[operands]]

    def _plan(self, first: int, end: int) -> None:
        """Decide for a stretch of outputs."""
        owners = self._owners[first:end]
        if end - first < FEW or (owners == -1).all():
            self._parts += self._operands[first:end].tolist()
            self._find_homes(owners)
            return
        whole = self._slice(first, end)
        if whole is not None:
            self._parts.append(whole)
            return
        part = _Copied(Array(VALUES, end - first, "y"), [])
        for owner in distinct(owners).tolist():
            places = numpy.flatnonzero(owners == owner)
            operands = self._operands[first:end][places]
            if 0 <= owner < self._n_written:
                instances = self._nest.instance[operands]
                count = self._nest.written[owner].domain.count
                if (numpy.bincount(instances, minlength=count) == 1).all():
                    ordered = numpy.empty_like(places)
                    ordered[instances] = places
                    self.stores.append((owner, part.array, ordered))
                    continue
                self._find_homes(numpy.asarray([owner]))
            part.copied.append((owner, operands, places))
        self._parts.append(part)

    def _slice(self, first: int, end: int) -> Slice | None:
        """Outputs that stand in an array one after another already."""
        owner = int(self._owners[first])
        if owner < 0 or (self._owners[first:end] != owner).any():
            return None
        found = self._elements(owner, self._operands[first:end])
        if found is None or (numpy.diff(found[1]) != 1).any():
            return None
        array, places = found
        return Slice(array, int(places[0]), len(places))

    def _find_homes(self, owners: Numbers) -> None:
        for owner in distinct(owners).tolist():
            single = owner < 0 or owner >= self._n_written or owner in self._homes
            if not single and owner not in self.homeless:
                self.homeless.append(owner)

    def write(
        self, builder: Builder, indices: Indices, values: list[Operand], constants: Numbers
    ) -> Iterator[Operand | Slice]:
        """The outputs, after all loops."""

        def single(operand: int) -> Operand:
            if operand < 0:
                return float(constants[~operand])
            if operand >= IN_BULK:
                found = self._ranges[self._range_of(operand)]
                return builder.load(found.array, Index(found.element + operand - found.first))
            owner, instance = int(self._nest.owner[operand]), int(self._nest.instance[operand])
            if owner < 0:
                return builder.input(instance)
            if self._nest.written[owner].domain is ROOT:
                return values[owner]
            array, places = self._homes[owner]
            return builder.load(array, Index(int(places[instance])))

        for part in self._parts:
            if isinstance(part, int):
                yield single(part)
                continue
            if isinstance(part, _Copied):
                columns: list[tuple[Array, Numbers, Numbers]] = []
                for owner, operands, places in part.copied:
                    if owner >= 0:
                        found = self._elements(owner, operands)
                        assert found is not None
                        if owner >= self._n_written:
                            columns.append((*found, places))
                        else:
                            copy_elements(builder, indices, *found, part.array, places)
                        continue
                    inputs = operands >= 0
                    inputs[inputs] = self._nest.owner[operands[inputs]] < 0
                    numbers = operands[inputs].astype(numpy.int64) - self._nest.n_rows
                    to = places[inputs]
                    copy_elements(builder, indices, builder.inputs, numbers, part.array, to)
                    for operand, place in zip(operands[~inputs], places[~inputs], strict=True):
                        builder.store(part.array, Index(int(place)), single(int(operand)))
                copy_columns(builder, indices, columns, part.array)
                part = Slice(part.array, 0, part.array.size)
            yield part


class _Copied:
    """Outputs that are brought together in an array."""

    def __init__(self, array: Array, copied: list[tuple[int, Ints, Numbers]]) -> None:
        self.array = array
        self.copied = copied
