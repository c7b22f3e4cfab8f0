"""Copying elements of an array to another, in loops."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy

from chainrule.program.builder import Builder
from chainrule.program.form import Array, Index
from chainrule.program.nests import Numbers

from .domain import Domain, Indices
from .nest import ROOT, split

_FEW = 8
"""So many elements are copied one by one."""


def copy_elements(
    builder: Builder,
    indices: Indices,
    source: Array,
    elements: Numbers,
    target: Array,
    places: Numbers,
) -> None:
    """Store elements of one array in places of another; the order in which does not matter."""
    order = numpy.argsort(places, kind="stable")
    elements, places = elements[order].astype(numpy.int64), places[order].astype(numpy.int64)
    for first, end in _stretches(elements, places):
        _copy(builder, indices, source, elements[first:end], target, places[first:end])


def copy_columns(
    builder: Builder,
    indices: Indices,
    columns: Sequence[tuple[Array, Numbers, Numbers]],
    target: Array,
) -> None:
    """Store columns in an array: of each its array, its elements there and their places.

    Those of one length are copied in one loop if they lie at even distances, and their places at
    the same ones.
    """
    even: dict[tuple[int, int], list[tuple[Array, Numbers, Numbers]]] = {}
    for column in columns:
        _, elements, places = column
        steps = numpy.diff(elements), numpy.diff(places)
        if len(places) < _FEW or any((x != x[0]).any() for x in steps):
            copy_elements(builder, indices, column[0], elements, target, places)
        else:
            even.setdefault((len(places), int(steps[1][0])), []).append(column)
    for (count, _), alike in even.items():
        domain = Domain(ROOT, numpy.full(1, count))
        with builder.loop(indices.index(ROOT, domain.trips)) as loop:
            domain.loop = loop
            for source, elements, places in alike:
                value = builder.load(source, indices.index(domain, elements))
                builder.store(target, indices.index(domain, places), value)


def _copy(
    builder: Builder,
    indices: Indices,
    source: Array,
    elements: Numbers,
    target: Array,
    places: Numbers,
) -> None:
    """Copy in one loop, or two if it runs through a table."""
    count = len(elements)
    if count < _FEW:
        for element, place in zip(elements.tolist(), places.tolist(), strict=True):
            builder.store(target, Index(place), builder.load(source, Index(element)))
        return
    domain = Domain(ROOT, numpy.full(1, count))
    trips = None
    for numbers in (places, elements):
        if trips is None and domain.affine(numbers) is None:
            trips = split(numbers, domain)
    if trips is not None:
        domain = Domain(Domain(ROOT, trips[0]), trips[1])
    with ExitStack() as stack:
        for each in domain.chain:
            trips_of = indices.index(each.parent or ROOT, each.trips)
            each.loop = stack.enter_context(builder.loop(trips_of))
        value = builder.load(source, indices.index(domain, elements))
        builder.store(target, indices.index(domain, places), value)


def _stretches(elements: Numbers, places: Numbers) -> list[tuple[int, int]]:
    """The first and end of stretches in which both advance evenly, if these are few."""
    count = len(elements)
    even = (numpy.diff(elements, 2) == 0) & (numpy.diff(places, 2) == 0)
    breaks = numpy.flatnonzero(~even) + 2
    if len(breaks) > _FEW:
        return [(0, count)]
    starts = [0]
    for place in breaks.tolist():
        if place - starts[-1] > 1:
            starts.append(place)
    return [*zip(starts, [*starts[1:], count], strict=True)]
