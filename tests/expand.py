"""A program with loops as one without: each iteration written out, arrays dissolved into values."""

from __future__ import annotations

from chainrule import rules
from chainrule.program.builder import Builder
from chainrule.program.form import (
    CONSTANT,
    INPUT,
    SUMS,
    Add,
    Array,
    Derive,
    Index,
    Last,
    Load,
    Loop,
    Operand,
    Program,
    ProgramError,
    Slice,
    Statement,
    Store,
    statements,
)

from chainrule.passes.rebuild import Rebuilding


def expanded(program: Program) -> Program:
    """The program without loops.

    Only what goes in and out of ``Derive`` still lies in arrays. Outputs that are parts of arrays
    become values one by one.
    """
    return _Expansion(program).finished()


class _Expansion(Rebuilding):
    def __init__(self, program: Program) -> None:
        super().__init__(program, Builder(program.inputs.size))
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
        result = self.builder.finish(outputs)
        result.guards = self.program.guards
        return result

    def statement(self, x: Statement) -> None:
        """Keep the elements of arrays as values."""
        if isinstance(x, Load):
            self.values[x] = self._element(x.array, self._place(x.index))
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

    def _element(self, array: Array, place: int) -> Operand:
        if array.kind == INPUT:
            return self.builder.input(place)
        if array.kind == CONSTANT or array in self._kept:
            return self.builder.load(array, Index(place))
        found = self._elements.get((array, place), 0.0 if array.kind == SUMS else None)
        if found is None:
            raise ProgramError(f"read of {array.name}[{place}], which is not stored yet")
        return found
