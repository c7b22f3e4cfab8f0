"""Iterations that run again in a reverse pass, so that what they compute need not be kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from chainrule.passes.rebuild import Rebuilding
from chainrule.passes.region import Region
from chainrule.program import nests
from chainrule.program.builder import Builder
from chainrule.program.form import (
    VALUES,
    WRITES,
    Array,
    Enter,
    Guard,
    Index,
    Leave,
    Loop,
    Operand,
    Program,
    Statement,
    statements,
)
from chainrule.program.nests import substituted

if TYPE_CHECKING:
    from chainrule.passes.primal import Primal


class Again(Rebuilding):
    """An iteration of a loop of a region, built once more where the derivative needs its values.

    What it stores has arrays of its own, but for checkpoints: these are there. Of loops around the
    derivative alone, each iteration has a part of these arrays.

    Args:
        builder: makes the statements; open is the loop that stands for this one.
        region: the region.
        loop: its loop.
        primal: gives what the iteration uses from around it.
        outer: the iteration of a loop around that runs again.
        iterations: of the region's loops around, in the derivative.

    Attributes:
        of: the loop.
    """

    def __init__(
        self,
        builder: Builder,
        region: Region,
        loop: Loop,
        primal: Primal,
        outer: Again | None,
        iterations: Mapping[Loop, Index],
    ) -> None:
        body = region.bodies[loop]
        super().__init__(Program(builder.inputs, body, []), builder)
        self.of = loop
        self._region, self._primal, self._outer = region, primal, outer
        self._around = tuple(builder.loops)
        self._depth = builder.depth
        self._iterations = dict(iterations)
        self._kept: dict[Statement, tuple[Array, Index]] = {}
        self._there = {*loop.checkpoints}
        self._inner: dict[Loop, Loop] = {}
        passes = nests.count(primal.passes)
        self._pass = nests.instance(primal.passes)
        for x in statements(body):
            if isinstance(x, WRITES) and x.array not in self._there:
                self.arrays[x.array] = x.array.like(passes * x.array.size)
        self.body(body)

    def array(self, array: Array) -> Array:
        """The array in the place of another one."""
        found = self.arrays.get(array)
        if found is None:
            return array if self._outer is None else self._outer.array(array)
        return found

    def place(self, array: Array, index: Index) -> tuple[Array, Index]:
        """The element in the place of another one, by its index in the derivative."""
        if array in self.arrays:
            return self.arrays[array], nests.added(index, nests.scaled(self._pass, array.size))
        return (array, index) if self._outer is None else self._outer.place(array, index)

    def element(self, array: Array, index: Index, user: Statement) -> tuple[Array, Index]:
        """The new element in the place of an old one."""
        return self.place(array, self.index(index))

    def value(self, x: Operand) -> Operand:
        """A value of the iteration, or of what is around it."""
        found = self.values.get(x) if isinstance(x, Statement) else x
        return self._primal.value(x) if found is None else found

    def index(self, index: Index) -> Index:
        """An index, in the iteration."""
        return substituted(index, self._iterations)

    def statement(self, statement: Statement) -> None:
        """Build a statement, if it computes something."""
        if isinstance(statement, Enter):
            self.values[statement] = self.value(statement.value)
        elif isinstance(statement, WRITES) and statement.array in self._there:
            pass
        elif not isinstance(statement, (Guard, Leave)):
            super().statement(statement)

    def loop(self, loop: Loop) -> None:
        """Build a loop."""
        with self.builder.loop(self.index(loop.trips)) as new:
            new.name = loop.name
            new.checkpoints = [self.array(x) for x in loop.checkpoints]
            self._inner[loop] = new
            self._iterations[loop] = Index(0, ((new, 1),))
            self.body(self._region.bodies[loop])

    def has_at_hand(self, x: Statement) -> bool:
        """Whether a value of the iteration is in scope in all that comes after it."""
        value = self.values[x]
        return not isinstance(value, Statement) or self.builder.depth_of(value) <= self._depth

    def kept(self, x: Statement, iterations: Mapping[Loop, Index]) -> tuple[Array, Index]:
        """Where a value of loops in the iteration is kept.

        Args:
            x: the value in the region.
            iterations: of the region's loops, in the derivative.
        """
        if x not in self._kept:
            value, path = self.values[x], self._region.paths[x]
            inner = path[path.index(self.of) + 1 :]
            new = [self._inner[loop] for loop in inner]
            loops = (*self._around, *new)
            array, at = Array(VALUES, nests.count(loops), "kept"), nests.instance(loops)
            assert isinstance(value, Statement)
            self.builder.keep(new[-1], value, array, at)
            back = {a: Index(0, ((b, 1),)) for a, b in zip(new, inner, strict=True)}
            self._kept[x] = array, substituted(at, back)
        array, at = self._kept[x]
        return array, substituted(at, iterations)
