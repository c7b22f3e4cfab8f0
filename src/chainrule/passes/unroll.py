"""Unrolling: short loops that read what stands there before they begin become statements.

    for i in range(n):                          for i in range(n):
        for j in range(2):                          x[2*i + 2] = f(x[2*i])
            x[2*i + j + 2] = f(x[2*i + j])          x[2*i + 3] = f(x[2*i + 1])

What the loop around them hands on is then an element for each iteration: promotion makes values of
them.
"""

from __future__ import annotations

from typing import Final

from chainrule.program import nests
from chainrule.program.builder import Builder
from chainrule.program.form import (
    VALUES,
    Compute,
    Index,
    Load,
    Loop,
    Program,
    Store,
    statements,
)

from .rebuild import Rebuilding

LONGEST: Final = 4
"""Iterations of a loop that is unrolled."""
LARGEST: Final = 64
"""Statements that it becomes."""


def unrolled(program: Program) -> Program:
    """The program with such loops unrolled.

    Args:
        program: without segments and carries; it stays as it is.
    """
    loops = [x for x in statements(program.body) if isinstance(x, Loop)]
    found = {x for loop in loops for x in loop.body if isinstance(x, Loop) and _hands_on(x, loop)}
    return _Unrolling(program, found).finished() if found else program


def _hands_on(loop: Loop, around: Loop) -> bool:
    """Whether an iteration reads what the same one has stored in the iteration before around it."""
    trips = loop.trips.offset
    if (
        not loop.trips.is_fixed
        or not 1 < trips <= LONGEST
        or trips * len(loop.body) > LARGEST
        or loop.checkpoints
        or not all(isinstance(x, (Compute, Load, Store)) for x in loop.body)
    ):
        return False
    stored = {(x.array, x.index) for x in loop.body if type(x) is Store and x.array.kind == VALUES}
    for x in loop.body:
        if isinstance(x, Load) and not x.index.tables:
            strides = dict(x.index.strides)
            step = trips * strides.get(loop, 0)
            if step and strides.get(around) == step and (x.array, x.index.plus(step)) in stored:
                return True
    return False


class _Unrolling(Rebuilding):
    def __init__(self, program: Program, found: set[Loop]) -> None:
        super().__init__(program, Builder(program.inputs, program.guards, final=True))
        self._found = found
        self._iterations: dict[Loop, Index] = {}

    def index(self, index: Index) -> Index:
        """An index, in the iterations that are written out."""
        return super().index(nests.substituted(index, self._iterations))

    def loop(self, loop: Loop) -> None:
        """Build a loop, or what each of its iterations does."""
        if loop not in self._found:
            super().loop(loop)
            return
        for iteration in range(loop.trips.offset):
            self._iterations[loop] = Index(iteration)
            self.body(loop.body)
