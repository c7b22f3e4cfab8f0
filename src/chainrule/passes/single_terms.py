"""Arrays that are simpler than they stand: sums of one term, and the same number everywhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy

from chainrule import rules
from chainrule.program.elements import accessed
from chainrule.program.form import (
    BY_VALUE,
    SUMS,
    VALUES,
    Add,
    Array,
    Compute,
    Gather,
    Load,
    Loop,
    Operand,
    Program,
    Scatter,
    Slice,
    Statement,
    Store,
    statements,
)
from chainrule.program.nests import Nests, Path, paths


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
    numbers = Nests().numbers
    for array, terms in added.items():
        there = numpy.zeros(array.size, dtype=numpy.bool_)
        if array in by_value or not all(
            accessed(x, path, numbers).mark_once(there) for x, path in terms
        ):
            continue
        loaded = [accessed(x, path, numbers) for x, path in read.get(array, ())]
        outputs = [there[x.start : x.start + x.size] for x in slices.get(array, ())]
        if all(x.all() for x in outputs) and all(x.all_in(there).all() for x in loaded):
            found.append(array)
    return found


def stored_once(program: Program) -> Program:
    """The program with sums of one term stored instead of added up; it is changed in place."""
    new = {x: Array(VALUES, x.size, x.name) for x in sums_of_one_term(program)}
    if new:
        program.body = _with_stores(program.body, new)
        program.outputs = [
            x._replace(array=new[x.array]) if isinstance(x, Slice) and x.array in new else x
            for x in program.outputs
        ]
    return program


def _with_stores(body: Sequence[Statement], new: Mapping[Array, Array]) -> list[Statement]:
    result: list[Statement] = []
    for x in body:
        if isinstance(x, Loop):
            x.body = _with_stores(x.body, new)
        elif isinstance(x, (Load, Add)) and x.array in new:
            if isinstance(x, Add) and str(x.array.start) == "0.0" and not _is_sum(x.value):
                value = Compute(rules.add, (0.0, x.value))  # which is 0 where the value is -0
                value.note = x.note
                result.append(value)
                x.value = value
            x = accessing(x, new[x.array])
        result.append(x)
    return result


def accessing(x: Load | Store | Gather | Scatter, array: Array) -> Statement:
    """A statement that reads or writes, with another array in the place of its own."""
    if not isinstance(x, Store):
        x.array = array
        return x
    new = (Add if array.kind == SUMS else Store)(array, x.index, x.value)
    new.note = x.note
    return new


def _is_sum(x: Operand) -> bool:
    """Whether it is a sum that begins with 0."""
    return isinstance(x, Compute) and x.operation is rules.add and repr(x.operands[0]) == "0.0"


def arrays_of_one_number(program: Program, single: Collection[Array]) -> dict[Array, float]:
    """The arrays in whose every element the same number is stored, and these numbers.

    That may be a number that iterations hand on from one to the next.

    Args:
        program: without segments or derivatives.
        single: the SUMS arrays whose elements that are read have one term each.
    """
    numbers: dict[Array, set[str]] = {}
    sources: dict[Array, set[Array]] = {}
    varying: set[Array] = set()
    for x in statements(program.body):
        if isinstance(x, Scatter):
            varying.add(x.array)
        if not isinstance(x, Store) or x.array in varying:
            continue
        if x.array.kind == SUMS and x.array not in single:
            varying.add(x.array)
        elif isinstance(x.value, float):
            numbers.setdefault(x.array, set()).add(repr(x.value))
        elif isinstance(x.value, Load) and x.value.array.kind in (VALUES, SUMS):
            other = x.value.array
            sources.setdefault(x.array, set()).add(other)
            if other.kind == SUMS and other not in single:  # perhaps without any term
                numbers.setdefault(other, set()).add(repr(other.start))
        else:
            varying.add(x.array)
    size = -1
    while size != len(varying) + sum(map(len, numbers.values())):
        size = len(varying) + sum(map(len, numbers.values()))
        for array, others in sources.items():
            for other in others:
                numbers.setdefault(array, set()).update(numbers.get(other, ()))
                if other in varying:
                    varying.add(array)
    single_numbers = {x: found for x, found in numbers.items() if len(found) == 1}
    return {x: float(*found) for x, found in single_numbers.items() if x not in varying}
