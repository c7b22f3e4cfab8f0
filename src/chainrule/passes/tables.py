"""Tables that are looked up in a rolled program: in which arrays their elements lie."""

from __future__ import annotations

import numpy

from chainrule.program.builder import Builder
from chainrule.program.form import VALUES, Array, Operand
from chainrule.program.nests import Numbers, distinct

from .domain import Indices
from .nest import Nest, Written
from .rows import ELEMENT, LOOKED_UP, Rows


class Tables:
    """The tables of a rolled program.

    Those that one written row looks up, in different iterations, share an array.

    Args:
        builder: of the program.
        rows, nest: what is written.

    Attributes:
        stores: of written rows that are elements, the array and their places there.
    """

    def __init__(self, builder: Builder, rows: Rows, nest: Nest) -> None:
        self.stores: dict[int, tuple[Array, Numbers]] = {}
        self._rows = rows
        self._places = numpy.zeros(len(rows), dtype=numpy.int64)
        self._array_of: dict[int, Array] = {}  # by written row
        elements = rows.of_code(ELEMENT)
        if not len(elements):
            return
        group: dict[int, int] = {x: x for x in distinct(nest.owner[elements]).tolist()}

        def found(x: int) -> int:
            while group[x] != x:
                group[x] = group[group[x]]
                x = group[x]
            return x

        first_owner: dict[int, int] = {}
        for written in nest.written:
            if rows.code(int(written.rows[0])) == LOOKED_UP:
                firsts = distinct(rows.right(written.rows))
                asked = firsts[:, None] + numpy.arange(rows.size(int(written.rows[0])))
                owners = distinct(nest.owner[asked]).tolist()
                first_owner[written.number] = owners[0]
                for other in owners[1:]:
                    group[found(other)] = found(owners[0])
        inside = numpy.ones(len(rows), dtype=bool)  # elements that follow others of their table
        for written in nest.written:
            if written.number in first_owner:
                inside[rows.right(written.rows)] = False
        arrays: dict[int, Array] = {}
        of_elements = numpy.array([found(x) for x in nest.owner[elements].tolist()])
        for leader in distinct(of_elements).tolist():
            own = elements[of_elements == leader]
            operands = rows.columns[0][own]
            self._places[own] = numpy.arange(len(own))
            if (operands < 0).all():
                arrays[leader] = builder.table(rows.constants[~operands].tolist())
            elif (operands >= len(rows)).all() and (
                (numpy.diff(operands) == 1) | ~inside[own][1:]
            ).all():
                arrays[leader] = builder.inputs  # where they lie side by side already
                self._places[own] = operands - len(rows)
            else:
                arrays[leader] = Array(VALUES, len(own), "table")
        for owner in group:
            array = arrays[found(owner)]
            if array.kind == VALUES:
                self.stores[owner] = array, self._places[nest.written[owner].rows]
        for number, owner in first_owner.items():
            self._array_of[number] = arrays[found(owner)]

    def look_up(
        self, builder: Builder, indices: Indices, written: Written, place: Operand
    ) -> Operand:
        """The value of a written row that looks up a table."""
        firsts = self._places[self._rows.right(written.rows)]
        index = indices.index(written.domain, firsts)
        size = self._rows.size(int(written.rows[0]))
        return builder.gather(self._array_of[written.number], index, size, place)
