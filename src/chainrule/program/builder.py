"""Building programs: constants are folded, loops left by what is constant, equal values shared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import numpy

from chainrule import rules
from chainrule.annotations import Annotation
from chainrule.rules import Operation

from . import nests
from .form import (
    CONSTANT,
    INPUT,
    VALUES,
    WRITES,
    Add,
    Array,
    Carry,
    Compute,
    Derive,
    Diagonal,
    Enter,
    Gather,
    Guard,
    Index,
    Last,
    Leave,
    Load,
    Loop,
    Operand,
    Program,
    ProgramError,
    Scatter,
    Segment,
    Slice,
    Statement,
    Store,
    chosen,
)
from .live import without_dead
from .simplify import FINAL_SIMPLIFICATIONS, SIMPLIFICATIONS, key

_Place = TypeVar("_Place", bound=Loop | Segment)


class _Scope:
    """A body under construction.

    Attributes:
        body: its statements so far.
        known: the values in it by what they are.
        written: the arrays that something in it, or in a body in it, has written to.
        depth: how many scopes are around it.
        place: the loop or segment it belongs to; None for the program.
        runs: whether it is known to run each time that the body around it does.
    """

    def __init__(
        self,
        body: list[Statement],
        depth: int,
        place: Loop | Segment | None = None,
        runs: bool = True,
    ) -> None:
        self.body = body
        self.known: dict[Any, Operand] = {}
        self.written: set[Array] = set()
        self.depth = depth
        self.place = place
        self.runs = runs


class Builder:
    """Makes a program, a statement after another.

    Args:
        inputs: the number of inputs, or the INPUT array.
        guards: how many there are at least.
        final: whether nothing will be differentiated any more: then equal values are shared,
            ``stop_gradient`` is dropped, and powers become products.

    Attributes:
        inputs: the INPUT array.
        note: what the statements that follow get as their note.
    """

    def __init__(self, inputs: int | Array, guards: int = 0, *, final: bool = False) -> None:
        self.inputs = Array(INPUT, inputs, "x") if isinstance(inputs, int) else inputs
        self.note: Annotation | None = None
        self._final = final
        self._simplifications = FINAL_SIMPLIFICATIONS if final else SIMPLIFICATIONS
        self._scopes = [_Scope([], 0)]
        self._depths: dict[Statement, int] = {}  # of what does not stand in the program's body
        self._guards = guards

    # Structure

    @property
    def loops(self) -> list[Loop]:
        """The open loops, the outermost first."""
        return [scope.place for scope in self._scopes if isinstance(scope.place, Loop)]

    @property
    def depth(self) -> int:
        """How many loops and segments are open."""
        return len(self._scopes) - 1

    def depth_of(self, value: Statement) -> int:
        """How many loops and segments are around a value."""
        return self._depths.get(value, 0)

    def loop(self, trips: Index | int) -> AbstractContextManager[Loop]:
        """A loop; what is built inside is its body."""
        loop = Loop(Index(trips) if isinstance(trips, int) else trips)
        loop.note = self.note
        return self.opened(loop)

    def segment(self, name: str = "") -> AbstractContextManager[Segment]:
        """A segment; what is built inside is its body."""
        segment = Segment(name)
        segment.note = self.note
        return self.opened(segment)

    @contextmanager
    def opened(self, place: _Place) -> Iterator[_Place]:
        """A loop or segment, which then stands here; what is built inside comes into its body."""
        runs = True
        if isinstance(place, Loop):
            trips = place.trips
            fixed = trips.is_fixed
            runs = trips.offset > 0 if fixed else bool((self._numbers(trips) > 0).all())
        self._scopes.append(_Scope(place.body, len(self._scopes), place, runs))
        try:
            yield place
        finally:
            inner = self._scopes.pop()
        if isinstance(place, Segment):
            self._place(place)
            self._share(inner)
        elif place.body or place.carries:
            self._place(place)

    def _share(self, inner: _Scope) -> None:
        """Let values of a segment that is complete be used after it."""
        outer = self._scopes[-1]
        opened = [inner.body]
        for body in opened:
            for statement in body:
                self._depths[statement] = outer.depth
                if isinstance(statement, Segment):
                    opened.append(statement.body)
        for name, value in inner.known.items():
            outer.known.setdefault(name, value)

    def take(self, statement: Statement) -> None:
        """Let a statement that was built before stand here."""
        self._place(statement)
        if isinstance(statement, Load):
            self._scopes[-1].known.setdefault((statement.array, statement.index), statement)
        elif isinstance(statement, WRITES):
            self._written(statement.array)
            if isinstance(statement, Store) and statement.array.kind == VALUES:
                self._scopes[-1].known[statement.array, statement.index] = statement.value

    def _numbers(self, index: Index) -> nests.Numbers:
        """An index in all instances of the open scope."""
        if index.is_fixed:
            return numpy.array([index.offset])
        return nests.numbers(index, self.loops)

    def _append(self, statement: Statement, scope: _Scope | None = None) -> Any:
        statement.note = self.note
        return self._place(statement, scope)

    def _place(self, statement: Statement, scope: _Scope | None = None) -> Any:
        scope = self._scopes[-1] if scope is None else scope
        scope.body.append(statement)
        if scope.depth:
            self._depths[statement] = scope.depth
        return statement

    def finish(self, outputs: Sequence[Operand | Slice]) -> Program:
        """The program that gives these outputs, without what they do not need."""
        return without_dead(Program(self.inputs, self._scopes[0].body, outputs, self._guards))

    # Arrays

    def input(self, number: int) -> Operand:
        """An input."""
        return self.load(self.inputs, Index(number))

    def load(self, array: Array, index: Index) -> Operand:
        """An element of an array."""
        if array.kind == CONSTANT and index.is_fixed:
            assert array.data is not None
            self._check_place(array, index.offset)
            return float(array.data[index.offset])
        found = self._known((array, index))
        if found is None:
            scope = self._scopes[-1] if len(self._scopes) == 1 else self._outermost(array, index)
            found = scope.known[array, index] = self._append(Load(array, index), scope)
        return found

    def gather(self, array: Array, index: Index, size: int, place: Operand) -> Operand:
        """One of some elements of an array."""
        if isinstance(place, float):
            return self.load(array, index.plus(chosen(place, size)))
        name = (array, index, size, place)
        found = self._known(name)
        if found is None:
            least = self._depths.get(place, 0)
            scope = self._outermost(array, index, size, least)
            found = scope.known[name] = self._append(Gather(array, index, size, place), scope)
        return found

    def _outermost(self, array: Array, index: Index, size: int = 1, least: int = 0) -> _Scope:
        """The outermost scope in which elements are the same, and there."""
        loops = index.loops()
        depth = len(self._scopes) - 1
        while depth > least:
            scope = self._scopes[depth]
            if scope.place in loops or array in scope.written:
                break
            if not scope.runs and not self._exists(array, index, size, depth):
                break
            depth -= 1
        return self._scopes[depth]

    def _exists(self, array: Array, index: Index, size: int, depth: int) -> bool:
        """Whether elements can be read in all iterations of the loops out to a depth."""
        if array.kind not in (INPUT, CONSTANT):
            return False
        loops = [s.place for s in self._scopes[:depth] if isinstance(s.place, Loop)]
        try:
            places = nests.numbers(index, loops)
        except ProgramError:  # a table of the index has not
            return False
        return bool(((places >= 0) & (places + size <= array.size)).all())

    def _check_place(self, array: Array, place: int) -> None:
        if not 0 <= place < array.size:
            raise ProgramError(f"element {place} of a table of {array.size}")

    def store(self, array: Array, index: Index, value: Operand) -> None:
        """Write an element of a VALUES array."""
        self._append(Store(array, index, value))
        self._written(array)
        self._scopes[-1].known[array, index] = value

    def keep(self, loop: Loop, value: Statement, array: Array, index: Index) -> None:
        """Write what a loop that has been built computes to a VALUES array as well."""
        store = Store(array, index, value)
        store.note = value.note
        loop.body.append(store)
        self._written(array)

    def add(self, array: Array, index: Index, value: Operand) -> None:
        """Add to an element of a SUMS array."""
        self._append(Add(array, index, value))
        self._written(array)

    def scatter(
        self, array: Array, index: Index, size: int, place: Operand, value: Operand
    ) -> None:
        """Add to one of some elements of a SUMS array."""
        if isinstance(place, float):
            self.add(array, index.plus(chosen(place, size)), value)
            return
        self._append(Scatter(array, index, size, place, value))
        self._written(array)

    def know(self, array: Array, index: Index, value: Operand) -> None:
        """Take a value instead of loading this element again in the open body."""
        self._scopes[-1].known[array, index] = value

    def carry(self, carry: Carry) -> None:
        """Let the open loop have a carry."""
        loop = self._scopes[-1].place
        assert isinstance(loop, Loop)
        loop.carries.append(carry)
        self._depths[carry] = self.depth

    def last(self, loop: Loop, carry: Carry) -> Operand:
        """What the last iteration of a loop gave to a carry."""
        return self._append(Last(loop, carry))  # type: ignore[no-any-return]

    def _written(self, array: Array) -> None:
        for scope in self._scopes:
            scope.written.add(array)

    def table(self, numbers: Sequence[float], name: str = "") -> Array:
        """A CONSTANT array."""
        return Array(CONSTANT, len(numbers), name, numpy.asarray(numbers, dtype=numpy.float64))

    # Segments

    def enter(self, segment: Segment, place: Index, value: Operand) -> Operand:
        """An input of the open segment."""
        return self._append(Enter(segment, place, value))  # type: ignore[no-any-return]

    def leave(self, segment: Segment, place: Index, value: Operand) -> Leave:
        """An output of the open segment."""
        return self._append(Leave(segment, place, value))  # type: ignore[no-any-return]

    def derive(
        self,
        segment: Segment,
        forward: bool,
        given: Array,
        given_at: Index,
        results: Array,
        results_at: Index,
        diagonal: Diagonal | None = None,
    ) -> None:
        """Pull back or push forward through a segment."""
        self._append(Derive(segment, forward, given, given_at, results, results_at, diagonal))
        self._written(results)

    def guard(self, condition: Operand, outcome: bool, number: Index) -> None:
        """Go on only if a condition has an outcome."""
        self._append(Guard(condition, outcome, number))
        last = self._numbers(number).max(initial=-1)
        self._guards = max(self._guards, int(last) + 1)

    # Values

    def compute(self, operation: Operation, operands: Sequence[Operand]) -> Operand:
        """The value of an operation, simplified."""
        operands = tuple(operands)
        if operation is rules.identity:
            return operands[0]
        if self._final and (operation.passes or operation is rules.stop_gradient):
            return operands[0]
        numbers = [x for x in operands if isinstance(x, float)]
        if len(numbers) == len(operands):
            return operation.evaluate(numbers)
        simplification = self._simplifications.get(operation)
        if simplification is not None:
            simpler = simplification(self.compute, *operands)
            if simpler is not None:
                return simpler
        scope = self._scopes[self._depth(operation, operands) if len(self._scopes) > 1 else 0]
        if not self._final:  # a sum of messages has the terms that the user's program says
            return self._append(Compute(operation, operands), scope)  # type: ignore[no-any-return]
        name = (operation, *([key(x) for x in operands] if numbers else operands))
        known = scope.known
        found = known.get(name)
        if found is None and operation.commutative:
            found = known.get((operation, name[2], name[1]))
        if found is None and operation.can_raise:  # which may stand further out
            found = self._known(name)
        if found is None:
            found = known[name] = self._append(Compute(operation, operands), scope)
        return found

    def _depth(self, operation: Operation, operands: Sequence[Operand]) -> int:
        """Of the outermost scope in which a value can be computed."""
        depths = self._depths
        depth = 0
        for x in operands:
            if x in depths and depths[x] > depth:
                depth = depths[x]
        if operation.can_raise:
            depth = max([depth, *[s.depth for s in self._scopes if not s.runs]])
        return depth

    def _known(self, name: Any) -> Operand | None:
        for scope in reversed(self._scopes):
            found = scope.known.get(name)
            if found is not None:
                return found
        return None
