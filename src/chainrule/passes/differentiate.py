"""Differentiation of programs: transformations become plain statements.

A transformation of a function that was recorded is a segment, which holds what the function did,
and statements that pull cotangents back through it or push tangents forward. These become the
statements of a derivative, innermost segments first: of loops, loops. What comes of it is a program
of the same form, so that derivatives of any order are taken in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy

from chainrule.passes.derivative import Ends
from chainrule.passes.local_gradients import LocalGradients, Untraceable
from chainrule.passes.paths import Path, paths
from chainrule.passes.pull import pull_back
from chainrule.passes.push import push_forward
from chainrule.passes.rebuild import Rebuilding
from chainrule.passes.region import Region
from chainrule.program import nests
from chainrule.program.builder import Builder
from chainrule.program.form import (
    CONSTANT,
    SUMS,
    Array,
    Derive,
    Enter,
    Leave,
    Program,
    Segment,
    Statement,
    Store,
)

__all__ = ["Untraceable", "differentiated"]


def differentiated(program: Program, final: bool = False) -> Program:
    """A program without segments, in which transformations are plain statements.

    Args:
        program: the program; it stays as it is.
        final: whether nothing will be differentiated any more: see Builder.

    Raises:
        Untraceable: if local gradients are not written with operations, as a user's can be.
    """
    given = _Given(program)
    if given.derives:
        builder = Builder(program.inputs.size)
        program = _Differentiation(program, builder, given).finished()
    return _Opening(program, Builder(program.inputs.size, final)).finished()


class _Given:
    """What is given to the transformations of a program.

    Attributes:
        derives: they.
        numbers: of arrays in which the same number is stored everywhere, that number.
        masks: of those that are given only in part, 1 for elements that are.
    """

    def __init__(self, program: Program) -> None:
        self.derives: list[Derive] = []
        self.numbers: dict[Array, float] = {}
        self.masks: dict[Array, Array] = {}
        self._paths: dict[Statement, Path] = {}
        self._ends: dict[Segment, list[Enter | Leave]] = {}
        self._is_given: dict[Derive, dict[Enter | Leave, bool]] = {}
        stores: dict[Array, list[Store]] = {}
        for statement, path in paths(program.body):
            if path:
                self._paths[statement] = path
            if isinstance(statement, Derive):
                self.derives.append(statement)
                stores.setdefault(statement.given, [])
            elif isinstance(statement, (Enter, Leave)):
                self._ends.setdefault(statement.segment, []).append(statement)
        if not self.derives:
            return
        for statement, _ in paths(program.body):
            if isinstance(statement, Store) and statement.array in stores:
                stores[statement.array].append(statement)
        self._stored = {array: self._elements(array, found) for array, found in stores.items()}
        for array, found in stores.items():
            numbers = [x.value for x in found if isinstance(x.value, float)]
            if found and len(numbers) == len(found) and len({*map(repr, numbers)}) == 1:
                self.numbers[array] = numbers[0]
        for derive in self.derives:
            self._find(derive)

    def _elements(self, array: Array, stores: Sequence[Store]) -> numpy.ndarray:
        stored = numpy.zeros(array.size, dtype=numpy.bool_)
        for x in stores:
            stored[nests.numbers(x.index, self._paths.get(x, ()))] = True
        return stored

    def _find(self, derive: Derive) -> None:
        """Find which of the ends of a transformation are given something."""
        stored = self._stored[derive.given]
        wanted = Enter if derive.forward else Leave
        around = self._paths.get(derive, ())
        outside = len(self._paths.get(derive.segment, ()))
        found = self._is_given[derive] = {}
        for end in self._ends.get(derive.segment, ()):
            if not isinstance(end, wanted):
                continue
            path = around + self._paths.get(end, ())[outside:]
            at = nests.added(derive.given_at, end.place)
            asked = stored[nests.numbers(at, path) if path else at.offset]
            if asked.all():
                found[end] = True
            elif asked.any():
                found[end] = False
                data = stored.astype(numpy.float64)
                self.masks[derive.given] = Array(CONSTANT, len(data), "given", data)

    def ends(self, derive: Derive) -> dict[Enter | Leave, Array | None]:
        """The ends of a transformation that are given something, with masks."""
        mask = self.masks.get(derive.given)
        return {x: None if always else mask for x, always in self._is_given[derive].items()}


class _Differentiation(Rebuilding):
    """Builds a program again, with derivatives in the place of transformations."""

    def __init__(self, program: Program, builder: Builder, given: _Given) -> None:
        super().__init__(program, builder)
        self._given = given
        self._local_gradients = LocalGradients()
        self._around: dict[Segment, Path] = {}
        self._regions: dict[Segment, Region] = {}
        self._leaves: dict[Leave, Leave] = {}
        for array in given.masks:  # elements that nothing stores are asked for
            self.arrays[array] = Array(SUMS, array.size, array.name)

    def segment(self, segment: Segment) -> None:
        self._around[segment] = tuple(self.builder.loops)
        super().segment(segment)

    def leave(self, leave: Leave) -> None:
        segment = self.segments[leave.segment]
        value = self.value(leave.value)
        self._leaves[leave] = self.builder.leave(segment, self.index(leave.place), value)

    def derive(self, derive: Derive) -> None:
        segment = derive.segment
        region = self._regions.get(segment)
        if region is None:
            new, around = self.segments[segment], self._around[segment]
            region = self._regions[segment] = Region(new, around, self._local_gradients)
        masks: dict[Statement, Array | None] = {}
        for end, mask in self._given.ends(derive).items():
            if isinstance(end, Leave):
                masks[self._leaves[end]] = mask
            else:
                entered = self.values[end]
                assert isinstance(entered, Enter)
                masks[entered] = mask
        ends = Ends(
            derive.forward,
            self.array(derive.given),
            self.index(derive.given_at),
            self.array(derive.results),
            self.index(derive.results_at),
            self._given.numbers.get(derive.given),
            masks,
        )
        pass_through = push_forward if derive.forward else pull_back
        pass_through(self.builder, region, self._local_gradients, ends)


class _Opening(Rebuilding):
    """Builds a program again without segments."""

    def segment(self, segment: Segment) -> None:
        self.body(segment.body)

    def enter(self, enter: Enter) -> None:
        self.values[enter] = self.value(enter.value)

    def leave(self, leave: Leave) -> None:
        pass
