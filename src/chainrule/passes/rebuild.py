"""Programs built again, statement by statement: what passes that change some of them start from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from chainrule.program.builder import Builder
from chainrule.program.form import (
    Add,
    Array,
    Compute,
    Derive,
    Enter,
    Gather,
    Guard,
    Index,
    Leave,
    Load,
    Loop,
    Operand,
    Program,
    Scatter,
    Segment,
    Slice,
    Statement,
    Store,
    parts,
)


class Rebuilding:
    """Builds the statements of a program with another builder.

    Args:
        program: the program; it stays as it is.
        builder: has the same inputs.

    Attributes:
        values: the new values, by the old ones.
        loops: the new loops, by the old ones; None for one that runs once.
        segments: the new segments, by the old ones.
        arrays: the new arrays, by the old ones, where they are others.
    """

    def __init__(self, program: Program, builder: Builder) -> None:
        self.program = program
        self.builder = builder
        self.values: dict[Statement, Operand] = {}
        self.loops: dict[Loop, Loop | None] = {}
        self.segments: dict[Segment, Segment] = {}
        self.arrays: dict[Array, Array] = {}

    def finished(self) -> Program:
        """The whole program, built again."""
        self.body(self.program.body)
        outputs: list[Operand | Slice] = []
        for output in self.program.outputs:
            if isinstance(output, Slice):
                outputs.append(output._replace(array=self.array(output.array)))
            else:
                outputs.append(self.value(output))
        return self.builder.finish(outputs)

    def value(self, x: Operand) -> Operand:
        """The new value of an old one."""
        return self.values[x] if isinstance(x, Statement) else x

    def array(self, array: Array) -> Array:
        """The new array in the place of an old one."""
        return self.arrays.get(array, array)

    def index(self, index: Index) -> Index:
        """An index, by the new loops."""
        if index.is_fixed:
            return index
        strides = tuple([(new, by) for loop, by in index.strides if (new := self.loops[loop])])
        tables = tuple([(table, self.index(inner)) for table, inner in index.tables])
        return Index(index.offset, strides, tables)

    def body(self, body: Sequence[Statement]) -> None:
        """Build the statements of a body."""
        for statement in body:
            self.builder.note = statement.note
            self.statement(statement)

    def element(self, array: Array, index: Index, user: Statement) -> tuple[Array, Index]:
        """The new element in the place of an old one that a statement uses."""
        return self.array(array), self.index(index)

    def statement(self, statement: Statement) -> None:
        """Build a statement."""
        if isinstance(statement, Compute):
            operands = [self.value(x) for x in statement.operands]
            self.values[statement] = self.builder.compute(statement.operation, operands)
        elif isinstance(statement, Loop):
            self.loop(statement)
        elif isinstance(statement, Segment):
            with self.builder.segment(statement.name) as new:
                self.segments[statement] = new
                self.body(statement.body)
        else:
            build = _BUILD.get(type(statement))
            if build is None:
                raise TypeError(f"{type(statement).__name__} is not for programs that are rebuilt")
            value = build(self.builder, *self._parts(statement))
            if value is not None:
                self.values[statement] = value

    def _parts(self, x: Statement) -> Iterator[Any]:
        """What the new statement is made of in the place of an old one."""
        array: Array | None = None
        for name, kind in parts(type(x)).items():
            part = getattr(x, name)
            if kind == "Array":
                array = part  # its index comes next
            elif kind == "Index" and array is not None:
                yield from self.element(array, part, x)
                array = None
            elif kind == "Index":
                yield self.index(part)
            elif kind == "Operand":
                yield self.value(part)
            elif kind == "Segment":
                yield self.segments[part]
            else:
                yield part

    def loop(self, loop: Loop) -> None:
        """Build a loop; of one that runs once, what is in it."""
        assert not loop.carries, "carries come in at the end"
        trips = self.index(loop.trips)
        if trips == Index(1):
            self.loops[loop] = None
            self.body(loop.body)
            return
        with self.builder.loop(trips) as new:
            new.name = loop.name
            new.checkpoints = [self.element(x, Index(), loop)[0] for x in loop.checkpoints]
            self.loops[loop] = new
            self.body(loop.body)


_BUILD: Final[dict[type[Statement], Callable[..., Operand | None]]] = {
    Load: Builder.load,
    Store: Builder.store,
    Add: Builder.add,
    Gather: Builder.gather,
    Scatter: Builder.scatter,
    Guard: Builder.guard,
    Enter: Builder.enter,
    Leave: Builder.leave,
    Derive: Builder.derive,
}
"""How statements are built of their parts."""
