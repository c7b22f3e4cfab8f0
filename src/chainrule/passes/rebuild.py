"""A program through a builder once more, which simplifies it. Other passes derive from this."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.program.builder import Builder
from chainrule.program.form import (
    INPUT,
    Add,
    Compute,
    Derive,
    Enter,
    Guard,
    Index,
    Leave,
    Load,
    Loop,
    Operand,
    Program,
    ProgramError,
    Segment,
    Slice,
    Statement,
    Store,
)
from chainrule.program.nests import substituted


def rebuilt(program: Program, final: bool = False) -> Program:
    """The program with equal values shared, constants folded, loops left by what is constant.

    Args:
        program: one without carries; it stays as it is, but shares its arrays with the result.
        final: whether nothing will be differentiated any more; see :class:`Builder`.
    """
    return Rebuild(program, final).result()


class Rebuild:
    """Goes through a program and makes another one.

    Attributes:
        program: the program that there is.
        builder: makes the other one.
        values: what stands for the values there are.
        segments: what stands for the segments there are.
    """

    def __init__(self, program: Program, final: bool = False) -> None:
        self.program = program
        self.builder = Builder(program.inputs.size, final)
        self.builder.inputs.name = program.inputs.name
        self.values: dict[Statement, Operand] = {}
        self.segments: dict[Segment, Segment] = {}
        self._iterations: dict[Loop, Index] = {}

    def result(self) -> Program:
        """The other program."""
        self.body(self.program.body)
        outputs = [y for x in self.program.outputs for y in self.output(x)]
        result = self.builder.finish(outputs)
        result.guards = self.program.guards
        return result

    def output(self, x: Operand | Slice) -> Sequence[Operand | Slice]:
        """What stands for an output."""
        return [x if isinstance(x, Slice) else self.operand(x)]

    def body(self, body: Sequence[Statement]) -> None:
        """Go through statements."""
        for statement in body:
            self.builder.note = statement.note
            self.statement(statement)

    def statement(self, x: Statement) -> None:
        """Go through a statement."""
        builder = self.builder
        if isinstance(x, Compute):
            operands = [self.operand(y) for y in x.operands]
            self.values[x] = builder.compute(x.operation, operands)
        elif isinstance(x, Load):
            array = builder.inputs if x.array.kind == INPUT else x.array
            self.values[x] = builder.load(array, self.index(x.index))
        elif isinstance(x, Add):
            builder.add(x.array, self.index(x.index), self.operand(x.value))
        elif isinstance(x, Store):
            builder.store(x.array, self.index(x.index), self.operand(x.value))
        elif isinstance(x, Loop):
            self.loop(x)
        elif isinstance(x, Guard):
            builder.guard(self.operand(x.condition), x.outcome, self.index(x.number))
        elif isinstance(x, Segment):
            with builder.segment(x.name) as segment:
                self.segments[x] = segment
                self.body(x.body)
        elif isinstance(x, Enter):
            segment, place = self.segments[x.segment], self.index(x.place)
            self.values[x] = builder.enter(segment, place, self.operand(x.value))
        elif isinstance(x, Leave):
            segment, place = self.segments[x.segment], self.index(x.place)
            builder.leave(segment, place, self.operand(x.value))
        elif isinstance(x, Derive):
            segment = self.segments[x.segment]
            given_at, results_at = self.index(x.given_at), self.index(x.results_at)
            builder.derive(segment, x.forward, x.given, given_at, x.results, results_at)
        else:
            raise ProgramError(f"{type(x).__name__} in a program that is to be rebuilt")

    def loop(self, loop: Loop) -> None:
        """Go through a loop."""
        if loop.carries:
            raise ProgramError("carries in a program that is to be rebuilt")
        with self.builder.loop(self.index(loop.trips)) as new:
            new.name = loop.name
            self._iterations[loop] = Index(0, ((new, 1),))
            self.body(loop.body)

    def operand(self, x: Operand) -> Operand:
        """What stands for an operand."""
        return self.values[x] if isinstance(x, Statement) else x

    def index(self, index: Index) -> Index:
        """An index in the loops of the other program."""
        return substituted(index, self._iterations)
