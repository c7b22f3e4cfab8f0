"""Sums of one term: arrays of sums that can hold values as well."""

from __future__ import annotations

import numpy

from chainrule.program import nests
from chainrule.program.form import BY_VALUE, SUMS, Add, Array, Load, Program, Slice
from chainrule.program.nests import Path, paths


def sums_of_one_term(program: Program) -> list[Array]:
    """The SUMS arrays of which each element that is read is added to once, and none more often.

    Args:
        program: without segments.
    """
    added: dict[Array, list[tuple[Add, Path]]] = {}
    read: dict[Array, list[tuple[Load, Path]]] = {}
    by_value: set[Array] = set()
    for statement, path in paths(program.body):
        if isinstance(statement, Add):
            added.setdefault(statement.array, []).append((statement, path))
        elif isinstance(statement, BY_VALUE):
            by_value.add(statement.array)
        elif isinstance(statement, Load) and statement.array.kind == SUMS:
            read.setdefault(statement.array, []).append((statement, path))
    slices: dict[Array, list[Slice]] = {}
    for output in program.outputs:
        if isinstance(output, Slice):
            slices.setdefault(output.array, []).append(output)
    found = []
    for array, terms in added.items():
        if array in by_value:
            continue
        counts = numpy.zeros(array.size, dtype=numpy.int64)
        for term, path in terms:
            counts += numpy.bincount(nests.numbers(term.index, path), minlength=array.size)
        if counts.max(initial=0) > 1:
            continue
        elements = [nests.numbers(x.index, path) for x, path in read.get(array, ())]
        elements += [numpy.arange(x.start, x.start + x.size) for x in slices.get(array, ())]
        if all((counts[places] == 1).all() for places in elements):
            found.append(array)
    return found
