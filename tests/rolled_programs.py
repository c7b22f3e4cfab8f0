"""Programs with loops, built by hand, and their functions on nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from chainrule.differentiation import Linearization, fresh_input
from chainrule.node import Node
from chainrule.passes.rebuild import Rebuilding
from chainrule.program import nests
from chainrule.program.builder import Builder
from chainrule.program.form import (
    CONSTANT,
    SUMS,
    VALUES,
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
    chosen,
)


class View(NamedTuple):
    """Elements of an array, from some place on."""

    array: Array
    first: Index

    def at(self, index: Index | int) -> Index:
        """The index of an element."""
        return nests.added(self.first, Index(index) if isinstance(index, int) else index)


Function = Callable[[Builder, View], Any]
"""Builds a function of numbers in a view: gives an operand, or a view for one of several."""


def each(loop: Loop, stride: int = 1, offset: int = 0) -> Index:
    """An index that goes along with a loop."""
    return Index(offset, ((loop, stride),))


def room(b: Builder, size: int, name: str = "", kind: str = VALUES) -> View:
    """A new array for each iteration of the open loops."""
    loops = b.loops
    array = Array(kind, size * nests.count(loops), name)
    return View(array, nests.scaled(nests.instance(loops), size))


def load(b: Builder, view: View, index: Index | int) -> Operand:
    """An element of a view."""
    return b.load(view.array, view.at(index))


def store(b: Builder, view: View, index: Index | int, value: Operand) -> None:
    """Write an element of a view."""
    b.store(view.array, view.at(index), value)


def add(b: Builder, view: View, index: Index | int, value: Operand) -> None:
    """Add to an element of a view of SUMS."""
    b.add(view.array, view.at(index), value)


def grad(f: Function, size: int) -> Function:
    """The gradient of a function, pulled back."""

    def gradient(b: Builder, x: View) -> View:
        inner, given, results = room(b, size, "x"), room(b, 1, "given"), room(b, size, "gradient")
        with b.segment("grad") as segment:
            with b.loop(size) as i:
                entered = b.enter(segment, each(i), load(b, x, each(i)))
                store(b, inner, each(i), entered)
            b.leave(segment, Index(0), f(b, inner))
        store(b, given, 0, 1.0)
        b.derive(segment, False, given.array, given.first, results.array, results.first)
        return results

    return gradient


def push(f: Function, size: int, count: int, direction: Callable[[Builder, Index], Operand]) -> Any:
    """The change of the numbers that a function gives in a direction, pushed forward."""

    def change(b: Builder, x: View) -> View:
        inner, given, results = room(b, size, "x"), room(b, size, "given"), room(b, count, "change")
        with b.segment("jvp") as segment:
            with b.loop(size) as i:
                entered = b.enter(segment, each(i), load(b, x, each(i)))
                store(b, inner, each(i), entered)
            y = f(b, inner)
            if isinstance(y, View):
                with b.loop(count) as i:
                    b.leave(segment, each(i), load(b, y, each(i)))
            else:
                b.leave(segment, Index(0), y)
        with b.loop(size) as i:
            store(b, given, each(i), direction(b, each(i)))
        b.derive(segment, True, given.array, given.first, results.array, results.first)
        return results

    return change


def jacobian(f: Function, size: int, count: int, rolled: bool) -> Function:
    """All derivatives of the numbers that a function gives, row by row, in a loop or not."""

    def matrix(b: Builder, x: View) -> View:
        inner, results = room(b, size, "x"), room(b, size * count, "matrix")
        with b.segment("jacobian") as segment:
            with b.loop(size) as i:
                entered = b.enter(segment, each(i), load(b, x, each(i)))
                store(b, inner, each(i), entered)
            y = f(b, inner)
            with b.loop(count) as i:
                b.leave(segment, each(i), load(b, y, each(i)))
        given = room(b, count * count, "given")
        if rolled:
            with b.loop(count) as row:
                store(b, given, each(row, count + 1), 1.0)
                at, to = given.at(each(row, count)), results.at(each(row, size))
                b.derive(segment, False, given.array, at, results.array, to)
            return results
        for k in range(count):
            store(b, given, k * (count + 1), 1.0)
            at, to = given.at(k * count), results.at(k * size)
            b.derive(segment, False, given.array, at, results.array, to)
        return results

    return matrix


def program(f: Function, size: int, count: int = 1) -> Program:
    """A program of a function of its inputs."""
    b = Builder(size)
    y = f(b, View(b.inputs, Index()))
    return b.finish([Slice(y.array, y.first.offset, count) if isinstance(y, View) else y])


def on_nodes(program: Program) -> Callable[[Sequence[Any]], list[Any]]:
    """The function that a program computes, of nodes or numbers.

    Transformations in it are taken of the graph of nodes, as they are outside of programs.
    """

    def function(xs: Sequence[Any]) -> list[Any]:
        run = _Run(program, xs)
        run.body(program.body)
        return run.outputs()

    return function


class _Run:
    def __init__(self, program: Program, xs: Sequence[Any]) -> None:
        self.program = program
        self.values: dict[Statement, Any] = {}
        self.iterations: dict[Loop, int] = {}
        self.elements: dict[tuple[Array, int], Any] = {}
        self.entered: dict[Segment, dict[int, Any]] = {}
        self.left: dict[Segment, dict[int, Any]] = {}
        for i, x in enumerate(xs):
            self.elements[program.inputs, i] = x

    def value(self, x: Operand) -> Any:
        return self.values[x] if isinstance(x, Statement) else x

    def number(self, index: Index) -> int:
        total = index.offset
        for loop, stride in index.strides:
            total += stride * self.iterations[loop]
        for table, inner in index.tables:
            total += int(table.numbers[self.number(inner)])
        return total

    def chosen(self, s: Gather | Scatter) -> int:
        place = self.value(s.place)
        number = place.data if isinstance(place, Node) else place
        return self.number(s.index) + chosen(number, s.size)

    def element(self, array: Array, place: int) -> Any:
        if array.kind == CONSTANT:
            assert array.data is not None
            return float(array.data[place])
        if array.kind == SUMS:
            return self.elements.get((array, place), 0.0)
        return self.elements[array, place]

    def body(self, body: Sequence[Statement]) -> None:
        for s in body:
            if isinstance(s, Compute):
                self.values[s] = s.operation(*[self.value(x) for x in s.operands])
            elif isinstance(s, Load):
                self.values[s] = self.element(s.array, self.number(s.index))
            elif isinstance(s, Gather):
                self.values[s] = self.element(s.array, self.chosen(s))
            elif isinstance(s, (Add, Scatter)):
                place = self.number(s.index) if isinstance(s, Add) else self.chosen(s)
                key = (s.array, place)
                value = self.value(s.value)
                self.elements[key] = self.elements[key] + value if key in self.elements else value
            elif isinstance(s, Store):
                self.elements[s.array, self.number(s.index)] = self.value(s.value)
            elif isinstance(s, Loop):
                for k in range(self.number(s.trips)):
                    self.iterations[s] = k
                    self.body(s.body)
            elif isinstance(s, Segment):
                self.entered[s], self.left[s] = {}, {}
                self.body(s.body)
            elif isinstance(s, Enter):
                value = self.value(s.value)
                self.values[s] = fresh_input(value, 0)
                self.entered[s.segment][self.number(s.place)] = self.values[s]
            elif isinstance(s, Leave):
                self.left[s.segment][self.number(s.place)] = self.value(s.value)
            elif isinstance(s, Derive):
                self.derive(s)

    def derive(self, s: Derive) -> None:
        entered, left = self.entered[s.segment], self.left[s.segment]
        graph = Linearization([*entered.values()], [*left.values()], 0)
        given, results = self.number(s.given_at), self.number(s.results_at)
        starts, ends = (entered, left) if s.forward else (left, entered)
        changes = [self.elements.get((s.given, given + place)) for place in starts]
        found = graph.push_forward(changes) if s.forward else graph.pull_back(changes)
        for place, change in zip(ends, found, strict=True):
            self.elements[s.results, results + place] = change

    def outputs(self) -> list[Any]:
        found = []
        for output in self.program.outputs:
            if isinstance(output, Slice):
                found += [self.element(output.array, output.start + k) for k in range(output.size)]
            else:
                found.append(self.value(output))
        return found


class _Embedding(Rebuilding):
    """Builds a program into another one, with elements of a view for its inputs."""

    def __init__(self, program: Program, builder: Builder, x: View) -> None:
        super().__init__(program, builder)
        self._x = x

    def array(self, array: Array) -> Array:
        if array.kind in (VALUES, SUMS) and array not in self.arrays:
            self.arrays[array] = Array(array.kind, array.size, array.name)
        return super().array(array)

    def element(self, array: Array, index: Index, user: Statement) -> tuple[Array, Index]:
        if array is self.program.inputs:
            return self._x.array, nests.added(self._x.first, self.index(index))
        return super().element(array, index, user)

    def statement(self, statement: Statement) -> None:
        if not isinstance(statement, Guard):
            super().statement(statement)


def function_of(program: Program) -> Function:
    """The function that a program computes, for programs that are built: its first output."""

    def function(b: Builder, x: View) -> Operand:
        assert not b.loops
        embedding = _Embedding(program, b, x)
        embedding.body(program.body)
        output = program.outputs[0]
        if isinstance(output, Slice):
            return b.load(embedding.array(output.array), Index(output.start))
        return embedding.value(output)

    return function
