"""Values of a segment as its derivative needs them: in scope, loaded, or computed again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chainrule import rules
from chainrule.passes.again import Again
from chainrule.passes.region import Region
from chainrule.program import nests
from chainrule.program.builder import Builder
from chainrule.program.form import (
    VALUES,
    Array,
    Compute,
    Enter,
    Gather,
    Index,
    Load,
    Loop,
    Operand,
    Statement,
)
from chainrule.program.nests import substituted

CHEAP = frozenset(
    [
        *(rules.add, rules.subtract, rules.multiply, rules.negative, rules.absolute),
        *(
            *rules.COMPARISONS,
            rules.where,
            rules.message,
            rules.maximum,
            rules.minimum,
            rules.relu,
            rules.step,
            rules.greater,
            rules.sign,
        ),
    ]
)
"""Operations that cost no more than a load."""
MOST = 2
"""As many of them are computed again rather than kept."""


class Primal:
    """The values of a region, where statements of its derivative are built.

    Args:
        builder: makes the statements.
        region: the region, which has run.
        iterations: of its loops, in the loops of the derivative that stand for them.

    Attributes:
        passes: the loops in each of whose iterations the derivative goes through the region.
    """

    def __init__(self, builder: Builder, region: Region, iterations: Mapping[Loop, Index]) -> None:
        self._builder = builder
        self._region = region
        self._iterations = iterations
        self.passes = region.passes(builder.loops)
        self._indices: dict[Index, Index] = {}
        self._to_keep: set[Statement] = set()
        self._again: list[Again] = []  # of loops that are open, the innermost last

    def expect(self, values: Iterable[Statement]) -> None:
        """Prepare for values that will be asked for: those that cost much will be kept."""
        for x in values:
            if isinstance(x, Compute) and x.operation not in CHEAP:
                self._to_keep.add(x)

    def index(self, index: Index) -> Index:
        """An index of the region for the same iterations in the derivative."""
        if index.is_fixed:
            return index
        found = self._indices.get(index)
        if found is None:
            found = self._indices[index] = substituted(index, self._iterations)
        return found

    def run_again(self, loop: Loop) -> None:
        """Build the iteration of a loop again: the derivative is in one that stands for it."""
        outer = self._again[-1] if self._again else None
        again = Again(self._builder, self._region, loop, self, outer, self._iterations)
        self._again.append(again)

    def left(self, loop: Loop) -> None:
        """A loop is over: what was known of its indices holds no more."""
        self._indices.clear()
        if self._again and self._again[-1].of is loop:
            self._again.pop()

    def place(self, array: Array, index: Index) -> tuple[Array, Index]:
        """The element in the place of one of the region, by its index in the derivative."""
        return self._again[-1].place(array, index) if self._again else (array, index)

    def value(self, x: Operand) -> Operand:
        """An operand of a statement of the region."""
        if not isinstance(x, Statement) or x not in self._region.paths:
            return x
        stored = self._region.stored
        if isinstance(x, Load):
            return self._loaded(x.array, x.index)
        if isinstance(x, Enter):
            return self.value(x.value)
        if isinstance(x, Gather):
            index, place = self.index(x.index), self.value(x.place)
            array, index = self.place(x.array, index)
            return self._builder.gather(array, index, x.size, place)
        assert isinstance(x, Compute)
        again = next((y for y in reversed(self._again) if x in y.values), None)
        if again is not None and again.has_at_hand(x):
            return again.values[x]
        if x not in stored:
            if x not in self._to_keep and self._cost(x) <= MOST:
                return self._builder.compute(x.operation, [self.value(y) for y in x.operands])
            if again is not None:
                return self._builder.load(*again.kept(x, self._iterations))
            stored[x] = self._kept(x)
        return self._loaded(*stored[x])

    def _loaded(self, array: Array, index: Index) -> Operand:
        return self._builder.load(*self.place(array, self.index(index)))

    def _cost(self, x: Operand, most: int = MOST) -> int:
        """How many cheap operations it takes to compute a value again; more than most for more."""
        if not isinstance(x, Statement) or x not in self._region.paths:
            return 0
        if isinstance(x, Load) or x in self._region.stored or x in self._to_keep:
            return 0
        if isinstance(x, Enter):
            return self._cost(x.value, most)
        if isinstance(x, Gather):
            return self._cost(x.place, most) + 1
        assert isinstance(x, Compute)
        if most == 0 or x.operation not in CHEAP:
            return most + 1
        cost = 1
        for y in x.operands:
            cost += self._cost(y, most - cost)
            if cost > most:
                break
        return cost

    def _kept(self, x: Statement) -> tuple[Array, Index]:
        """Keep a value in an array where it is computed."""
        loops = self._region.loops_around(x)
        array, index = Array(VALUES, nests.count(loops), "kept"), nests.instance(loops)
        self._builder.keep(loops[-1], x, array, index)
        return array, index
