"""A program with loops as one without: each iteration written out, arrays dissolved into values."""

from __future__ import annotations

from chainrule import rules
from chainrule.passes.rebuild import Rebuilding
from chainrule.program.builder import Builder
from chainrule.program.form import (
    CONSTANT,
    INPUT,
    SUMS,
    Add,
    Array,
    Derive,
    Gather,
    Index,
    Last,
    Load,
    Loop,
    Operand,
    Program,
    ProgramError,
    Scatter,
    Slice,
    Statement,
    Store,
    statements,
)


def expanded(program: Program) -> Program:
    """The program without loops.

    Only what goes in and out of ``Derive`` still lies in arrays. Outputs that are parts of arrays
    become values one by one.
    """
    return _Expansion(program).finished()


def rebuilt(program: Program) -> Program:
    """The program with constants folded, and loops left by what is constant.

    Args:
        program: one without carries; it stays as it is, but shares its arrays with the result.
    """
    return Rebuilding(program, Builder(program.inputs, program.guards)).finished()


class _Expansion(Rebuilding):
    def __init__(self, program: Program) -> None:
        super().__init__(program, Builder(program.inputs, program.guards))
        self._iteration: dict[Loop, int] = {}
        self._elements: dict[tuple[Array, int], Operand] = {}
        derives = [x for x in statements(program.body) if isinstance(x, Derive)]
        self._kept = {array for x in derives for array in (x.given, x.results)}

    def finished(self) -> Program:
        """The whole program, without loops."""
        self.body(self.program.body)
        outputs: list[Operand | Slice] = []
        for x in self.program.outputs:
            if isinstance(x, Slice):
                outputs += [self._element(x.array, x.start + i) for i in range(x.size)]
            else:
                outputs.append(self.value(x))
        return self.builder.finish(outputs)

    def statement(self, x: Statement) -> None:
        """Keep the elements of arrays as values."""
        if isinstance(x, Load):
            self.values[x] = self._element(x.array, self._place(x.index))
        elif isinstance(x, Gather):
            first, *others = [self._element(x.array, at) for at in self._range(x)]
            for k, other in enumerate(others, 1):
                first = self._picked(x, k, other, first)
            self.values[x] = first
        elif isinstance(x, Scatter):
            for k, at in enumerate(self._range(x)):
                before = self._element(x.array, at)
                total = self.builder.compute(rules.add, (before, self.value(x.value)))
                if k:
                    self._elements[x.array, at] = self._picked(x, k, total, before)
                else:
                    self._elements[x.array, at] = self._picked_first(x, total, before)
        elif isinstance(x, Add):
            place = x.array, self._place(x.index)
            terms = self._elements.get(place, 0.0), self.value(x.value)
            self._elements[place] = self.builder.compute(rules.add, terms)
        elif isinstance(x, Store) and x.array not in self._kept:
            self._elements[x.array, self._place(x.index)] = self.value(x.value)
        elif isinstance(x, Last):
            self.values[x] = self.value(x.carry)
        else:
            super().statement(x)

    def loop(self, loop: Loop) -> None:
        """Go through the body as often as it runs."""
        carried = [self.value(carry.initial) for carry in loop.carries]
        for iteration in range(self._place(loop.trips)):
            self._iteration[loop] = iteration
            self.values.update(zip(loop.carries, carried, strict=True))
            self.body(loop.body)
            carried = [self.value(carry.next) for carry in loop.carries]
        self.values.update(zip(loop.carries, carried, strict=True))

    def index(self, index: Index) -> Index:
        """Its number now."""
        return Index(self._place(index))

    def _place(self, index: Index) -> int:
        place = index.offset
        for loop, stride in index.strides:
            place += stride * self._iteration[loop]
        for table, inner in index.tables:
            place += int(table.numbers[self._place(inner)])
        return place

    def _picked(self, x: Gather | Scatter, k: int, if_so: Operand, if_not: Operand) -> Operand:
        """One thing if a statement accesses a certain element, not its first one, else another."""
        compute = self.builder.compute
        whole = compute(rules.floor, (self.value(x.place),))
        return compute(rules.where, (compute(rules.equal, (whole, float(k))), if_so, if_not))

    def _picked_first(self, x: Scatter, if_so: Operand, if_not: Operand) -> Operand:
        for k in range(1, x.size):
            if_so = self._picked(x, k, if_not, if_so)
        return if_so

    def _range(self, x: Gather | Scatter) -> range:
        first = self._place(x.index)
        return range(first, first + x.size)

    def _element(self, array: Array, place: int) -> Operand:
        if array.kind == INPUT:
            return self.builder.input(place)
        if array.kind == CONSTANT or array in self._kept:
            return self.builder.load(array, Index(place))
        found = self._elements.get((array, place), 0.0 if array.kind == SUMS else None)
        if found is None:
            raise ProgramError(f"read of {array.name}[{place}], which is not stored yet")
        return found
