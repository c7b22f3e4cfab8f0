"""What stands in a segment, as the passes through it need it."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.passes.local_gradients import LocalGradients
from chainrule.program import nests
from chainrule.program.elements import Access, Elements, accessed
from chainrule.program.form import (
    READS,
    VALUES,
    WRITES,
    Array,
    Compute,
    Derive,
    Enter,
    Guard,
    Index,
    Leave,
    Loop,
    Operand,
    Scatter,
    Segment,
    Statement,
    Store,
)
from chainrule.program.nests import Numbers, Path

Source = tuple[int, Statement, bool]
"""Of an operand: its position, its value, and whether it is picked whatever the values are."""


class Region:
    """The statements of a segment that has been built, with the segments in it opened.

    Args:
        segment: the segment; transformations in it are plain statements by now.
        around: the loops around it.
        local_gradients: the formulas of the pass.

    Attributes:
        bodies: the statements of each loop in it, and of itself by None.
        paths: the loops in it around a statement, for those that stand in any.
        order: all statements that are not loops.
        sources: the operands that messages go to or come from; empty for what reads an array.
        enters: its inputs.
        leaves: its outputs.
        accesses: all that reads or writes the arrays that depend on the inputs.
        stored: where values of loops can be loaded from afterwards.
    """

    def __init__(self, segment: Segment, around: Path, local_gradients: LocalGradients) -> None:
        self.segment = segment
        self.around = around
        self.bodies: dict[Loop | None, list[Statement]] = {None: []}
        self.paths: dict[Statement, Path] = {}
        self.order: list[Statement] = []
        self.sources: dict[Operand, list[Source]] = {}
        self.enters: list[Enter] = []
        self.leaves: list[Leave] = []
        self.accesses: dict[Array, list[Access]] = {}
        self.stored: dict[Statement, tuple[Array, Index]] = {}
        self._local_gradients = local_gradients
        self._nests = nests.Nests()
        self._always_run: dict[Loop, bool] = {}
        self._open(segment.body, (), self.bodies[None])
        self._find_sources()

    def passes(self, loops: Sequence[Loop]) -> Path:
        """Of the loops around a derivative those in each of whose iterations it comes through.

        All of them, where how often one runs hangs on others.
        """
        own = tuple(loops[len(self.around) :])
        return tuple(loops) if any(x.trips.loops() - {*own} for x in own) else own

    def _open(self, body: Sequence[Statement], path: Path, opened: list[Statement]) -> None:
        for statement in body:
            if isinstance(statement, Segment):
                self._open(statement.body, path, opened)
                continue
            assert not isinstance(statement, Derive), "the innermost come first"
            opened.append(statement)
            if path:
                self.paths[statement] = path
            if isinstance(statement, Loop):
                inner = self.bodies[statement] = []
                self._open(statement.body, (*path, statement), inner)
                continue
            self.order.append(statement)
            if isinstance(statement, Enter) and statement.segment is self.segment:
                self.enters.append(statement)
            elif isinstance(statement, Leave) and statement.segment is self.segment:
                self.leaves.append(statement)
            elif isinstance(statement, Store) and statement.array.kind == VALUES:
                value = statement.value
                if path and isinstance(value, Statement) and self.paths.get(value) == path:
                    self.stored[value] = (statement.array, statement.index)

    def _find_sources(self) -> None:
        """Find what depends on the inputs; an iteration reads what the ones before have stored."""
        sources = self.sources
        for enter in self.enters:
            sources[enter] = []
        arrays: set[Array] = set()
        size = -1
        while size != len(arrays):
            size = len(arrays)
            for statement in self.order:
                if isinstance(statement, READS):
                    if statement.array in arrays:
                        sources[statement] = []
                elif not isinstance(statement, (Leave, Guard)):
                    self._find_sources_of(statement)
                    if isinstance(statement, WRITES) and statement in sources:
                        arrays.add(statement.array)
            if not self.paths:
                break
        for statement in self.order:
            if isinstance(statement, (*READS, *WRITES)) and statement.array in arrays:
                self.accesses.setdefault(statement.array, []).append(statement)

    def _find_sources_of(self, statement: Statement) -> None:
        """Note the operands of a statement that depend on the inputs."""
        found: list[Source] = []
        for position, x in enumerate(statement.operands):
            if x not in self.sources or (position == 0 and isinstance(statement, Scatter)):
                continue
            assert isinstance(x, Statement)
            certain = True
            if isinstance(statement, Compute):
                operation = statement.operation
                if operation.ignores(position):
                    continue
                if operation.picks:
                    decider = self._decider(statement, position)
                    if decider == 0.0:
                        continue
                    certain = decider is not None
            found.append((position, x, certain))
        if found:
            self.sources[statement] = found

    def _decider(self, statement: Compute, position: int) -> float | None:
        """What decides whether an operand is picked, where that is a number."""
        operation, operands = statement.operation, statement.operands
        formulas = self._local_gradients.of(operation, operands)
        decider = operation.deciding(formulas.result(operation.name, position), operands)
        return decider if isinstance(decider, float) else None

    def origin(self, x: Statement) -> Statement:
        """The statement whose value the change of one is of."""
        return x

    def loops_around(self, x: Statement) -> Path:
        """All loops around a statement, those around the segment included."""
        return self.around + self.paths.get(x, ())

    def numbers(self, index: Index, x: Statement) -> Numbers:
        """An index in all instances of a statement."""
        return self._nests.numbers(index, self.loops_around(x))

    def elements(self, x: Access) -> Elements:
        """The elements of an array that a statement accesses, in all its instances."""
        return accessed(x, self.loops_around(x), self._nests.numbers)

    def always_runs(self, x: Statement, around: Statement) -> bool:
        """Whether x runs at least once for each instance of a statement in a body around it."""
        loops = self.paths.get(x, ())[len(self.paths.get(around, ())) :]
        return all(self._runs_always(loop) for loop in loops)

    def _runs_always(self, loop: Loop) -> bool:
        found = self._always_run.get(loop)
        if found is None:
            found = bool((self.numbers(loop.trips, loop) > 0).all())
            self._always_run[loop] = found
        return found
