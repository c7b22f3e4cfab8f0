"""Dead statements: what no output or guard asks for."""

from __future__ import annotations

from .form import (
    READS,
    WRITES,
    Array,
    Carry,
    Compute,
    Derive,
    Enter,
    Guard,
    Last,
    Leave,
    Loop,
    Program,
    Segment,
    Slice,
    Statement,
)


def without_dead(program: Program) -> Program:
    """The program with only what its outputs and guards need; it is changed in place."""
    needed: set[object] = set()
    for output in program.outputs:
        needed.add(output.array if isinstance(output, Slice) else output)
    needs = _Needs(needed)
    while needs.is_open:
        needs.is_open = False
        needs.of(program.body)
    _keep(program.body, needed)
    return program


class _Needs:
    """What is needed, found backwards.

    An array needs all that writes to it, and a segment that is differentiated its inputs and
    outputs. What a loop reads of its own iterations before makes another round necessary.

    Args:
        needed: statements, and arrays and segments; it grows.

    Attributes:
        is_open: whether something has been passed by that is needed after all.
    """

    def __init__(self, needed: set[object]) -> None:
        self._needed = needed
        self._passed: set[Array] = set()  # arrays of which something that writes was not needed
        self.is_open = True

    def of(self, body: list[Statement]) -> None:
        """Add what the needed statements of a body need."""
        needed = self._needed
        for x in reversed(body):
            if type(x) is Compute:  # nearly all of a long program
                if x in needed:
                    needed.update(x.operands)
            elif isinstance(x, WRITES):
                if x.array in needed:
                    needed.add(x)
                    needed.update(x.operands)
                else:
                    self._passed.add(x.array)
            elif isinstance(x, Loop):
                self._carried(x.carries)
                self.of(x.body)
                if self._carried(x.carries):
                    self.is_open = True
            elif isinstance(x, Segment):
                self.of(x.body)
            elif isinstance(x, Derive):
                if x.results in needed:
                    needed.update((x, x.segment))
                    self._read(x.given)
                else:
                    self._passed.add(x.results)
            elif (
                x in needed
                or isinstance(x, Guard)
                or (isinstance(x, (Enter, Leave)) and x.segment in needed)
            ):
                needed.add(x)
                needed.update(x.operands)
                if isinstance(x, READS):
                    self._read(x.array)
                elif isinstance(x, Last):
                    needed.add(x.carry)

    def _carried(self, carries: list[Carry]) -> bool:
        """Add what needed carries begin with and become; gives whether that was not there."""
        size = len(self._needed)
        for carry in carries:
            if carry in self._needed:
                self._needed.update((carry.initial, carry.next))
        return len(self._needed) > size

    def _read(self, array: Array) -> None:
        if array not in self._needed:
            self._needed.add(array)
            self.is_open = self.is_open or array in self._passed


def _keep(body: list[Statement], needed: set[object]) -> None:
    """Take out what is not needed, and loops and segments without anything in them."""
    kept: list[Statement] = []
    for x in body:
        if isinstance(x, (Loop, Segment)):
            _keep(x.body, needed)
            if isinstance(x, Loop):
                x.carries = [carry for carry in x.carries if carry in needed]
            if x.body or (isinstance(x, Loop) and x.carries):
                kept.append(x)
        elif x in needed:
            kept.append(x)
    body[:] = kept
