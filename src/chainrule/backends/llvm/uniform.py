"""What is the same for all lanes: it is computed once for a call, before the blocks of lanes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy

from chainrule.program.elements import Mask
from chainrule.program.form import (
    INPUT,
    READS,
    WRITES,
    Array,
    Compute,
    Gather,
    Guard,
    Index,
    Last,
    Loop,
    Operand,
    Program,
    Slice,
    Statement,
    statements,
)
from chainrule.program.nests import bounds

from .outer_products import OuterProduct


def split(program: Program, uniform: Mask) -> tuple[list[Statement], list[Statement]]:
    """The program's body as two: what is the same for all lanes, and the rest.

    A loop goes as a whole: to the rest if anything in it is not the same, or is a guard.

    Args:
        program: the program.
        uniform: for each input whether it is the same for all lanes.
    """
    if not uniform.any():
        return [], program.body
    before: set[Array] | None = None
    search = _Search(uniform)
    while before != search.arrays:  # a loop may read what is stored further down
        before = set(search.arrays)
        search.body(program.body)
    varying = search.varying
    return (
        [x for x in program.body if x not in varying],
        [x for x in program.body if x in varying],
    )


class _Search:
    """What is known so far not to be the same for all lanes: statements, and arrays."""

    def __init__(self, uniform: Mask) -> None:
        self.varying: set[Statement] = set()
        self.arrays: set[Array] = set()
        self._changes = numpy.flatnonzero(numpy.diff(~uniform, prepend=False, append=False))

    def body(self, body: Sequence[Statement]) -> bool:
        """Go through statements; whether some of them vary."""
        varying = self.varying
        found = False
        for statement in body:
            if type(statement) is Compute:
                differs = False
                for x in statement.operands:
                    if x in varying:
                        differs = True
                        break
            elif isinstance(statement, Loop):
                differs = self._loop(statement)
            else:
                differs = self._differs(statement)
            if differs:
                varying.add(statement)
                found = True
        return found

    def _loop(self, loop: Loop) -> bool:
        changed = True
        while changed:  # an iteration hands on to the next
            differs = self.body(loop.body)
            changed = False
            for carry in loop.carries:
                if carry not in self.varying and self._vary(carry.initial, carry.next):
                    self.varying.add(carry)
                    changed = True
        if differs or any(carry in self.varying for carry in loop.carries):
            self._all(loop)
            return True
        return False

    def _all(self, loop: Loop) -> None:
        """A loop that varies does so as a whole."""
        self.varying.update(loop.body, loop.carries)
        for statement in loop.body:
            if isinstance(statement, WRITES):
                self.arrays.add(statement.array)
            elif isinstance(statement, Loop):
                self._all(statement)

    def _differs(self, statement: Statement) -> bool:
        if isinstance(statement, READS):
            size = 1
            if isinstance(statement, Gather):
                size = statement.size
                if self._vary(statement.place):
                    return True
            if statement.array.kind == INPUT:
                return self._inputs_differ(statement.index, size)
            return statement.array in self.arrays
        if isinstance(statement, WRITES):
            if statement.array in self.arrays or self._vary(*statement.operands):
                self.arrays.add(statement.array)
                return True
            return False
        if isinstance(statement, Last):
            return statement.carry in self.varying
        return isinstance(statement, Guard) or self._vary(*statement.operands)

    def _vary(self, *operands: Operand) -> bool:
        return any(x in self.varying for x in operands)

    def _inputs_differ(self, index: Index, size: int) -> bool:
        low, high = bounds(index)
        if low > high:
            return False
        first, last = numpy.searchsorted(self._changes, (low, high + size - 1), "right")
        return bool(first % 2 or last > first)


class SameInputs:
    """Which loads and gathers of inputs read numbers that are the same for all lanes.

    Elements with a fixed index are read from slots, as all values of straight code are.

    Args:
        program: the program.
        uniform: for each input whether it is the same for all lanes; empty for none.
        products: what is added up over the lanes: its factors are read from slots, too.

    Attributes:
        indices: the indices of such loads, and gathers.
    """

    def __init__(
        self, program: Program, uniform: Mask, products: Sequence[OuterProduct] = ()
    ) -> None:
        self.indices: set[Index | Gather] = set()
        size = program.inputs.size
        same = numpy.zeros(size, numpy.bool_)
        same[: len(uniform)] = uniform
        self._in_slots = ~same
        for x in statements(program.body) if same.any() else ():
            if isinstance(x, READS) and x.array is program.inputs:
                low, high = bounds(x.index)
                gathers = isinstance(x, Gather)
                part = slice(max(low, 0), high + (x.size if isinstance(x, Gather) else 1))
                if (x.index.is_fixed and not gathers) or not same[part].all():
                    self._in_slots[part] = True
                else:
                    self.indices.add(x if isinstance(x, Gather) else x.index)
        for output in program.outputs:
            if isinstance(output, Slice) and output.array is program.inputs:
                self._in_slots[output.start : output.start + output.size] = True
        for product in products:
            if product.columns is program.inputs:
                last = product.at + product.step * (product.column_count - 1)
                self._in_slots[min(product.at, last) : max(product.at, last) + 1] = True

    def spread(self) -> list[tuple[int, int]]:
        """The inputs that are read from slots: the first of some side by side, and their number."""
        changes = numpy.flatnonzero(numpy.diff(self._in_slots, prepend=False, append=False))
        return [(int(first), int(end - first)) for first, end in changes.reshape(-1, 2)]
