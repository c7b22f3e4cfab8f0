"""Dead statements: what no output or guard asks for."""

from __future__ import annotations

from collections import defaultdict

from .form import (
    READS,
    WRITES,
    Array,
    Carry,
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
    statements,
)


def without_dead(program: Program) -> Program:
    """The program with only what its outputs and guards need; it is changed in place."""
    needed = _Needed(program.body)
    for output in program.outputs:
        needed.add(output.array if isinstance(output, Slice) else output)
    needed.follow()
    _keep(program.body, needed.found)
    return program


class _Needed:
    """What is needed: statements, and arrays that are read.

    An array needs all that writes to it, and a segment that is differentiated its inputs and
    outputs.

    Attributes:
        found: all that is known to be needed.
    """

    def __init__(self, body: list[Statement]) -> None:
        self.found: set[object] = set()
        self._pending: list[object] = []
        self._sources: dict[Array | Segment, list[Statement]] = defaultdict(list)
        for x in statements(body):
            if isinstance(x, Guard):
                self.add(x)
            elif isinstance(x, WRITES):
                self._sources[x.array].append(x)
            elif isinstance(x, Derive):
                self._sources[x.results].append(x)
            elif isinstance(x, (Enter, Leave)):
                self._sources[x.segment].append(x)

    def add(self, x: object) -> None:
        """Need a statement or an array; numbers are there anyway."""
        if not isinstance(x, float) and x not in self.found:
            self.found.add(x)
            self._pending.append(x)

    def follow(self) -> None:
        """Need what all that is needed needs."""
        while self._pending:
            x = self._pending.pop()
            if isinstance(x, Statement):
                for operand in x.operands:
                    self.add(operand)
            if isinstance(x, (Array, Segment)):
                for source in self._sources[x]:
                    self.add(source)
            elif isinstance(x, READS):
                self.add(x.array)
            elif isinstance(x, Carry):
                self.add(x.initial)
                self.add(x.next)
            elif isinstance(x, Last):
                self.add(x.carry)
            elif isinstance(x, Derive):
                self.add(x.given)
                self.add(x.segment)


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
