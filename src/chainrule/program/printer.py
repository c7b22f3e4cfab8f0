"""Programs to read.

Values are ``%0``, ``%1`` and so on, one operation a line. An element of an array stands as it is
where it is used, since it never changes once it is read. Loops look like Python's. At the right
stands what is known of the user's code: the line, the name of the node, its groups.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy

from chainrule import rules
from chainrule.annotations import Annotation

from .form import (
    BY_VALUE,
    CONSTANT,
    INPUT,
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
    Last,
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
    Table,
    statements,
)

SHOWN = 6
"""How many numbers of a table are shown."""
WIDEST = 72
"""The column at which notes begin at the latest."""

_KINDS = {INPUT: "input", CONSTANT: "table", VALUES: "values", SUMS: "sums"}


def text(program: Program) -> str:
    """The program to read."""
    return _Printer(program).text()


class _Printer:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._lines: list[tuple[str, str]] = []  # with their notes
        self._values: dict[Statement, str] = {}
        self._put_in: set[Statement] = set()  # operations that stand where their value goes
        self._names: dict[Any, str] = {}  # of arrays, index tables and segments
        self._taken: set[str] = set()
        self._loops: list[tuple[Loop, str]] = []
        self._uses = Counter(_used(program))
        self._arrays: dict[Array, None] = {program.inputs: None}
        self._tables: dict[Table, None] = {}

    def text(self) -> str:
        program = self._program
        self._name(program.inputs, program.inputs.name or "x")
        self._body(program.body, "")
        outputs = ", ".join([self._output(x) for x in program.outputs])
        self._lines.append((f"return {outputs}".rstrip(), ""))
        return "\n".join([*map(self._declared, self._arrays), *self._index_tables(), *self._all()])

    def _all(self) -> list[str]:
        width = max([len(line) for line, note in self._lines if note], default=0)
        width = min(width, WIDEST)
        return [f"{line:{width}s}  # {note}" if note else line for line, note in self._lines]

    # What there is

    def _declared(self, array: Array) -> str:
        line = f"{_KINDS[array.kind]} {self._name(array, array.name)}[{array.size}]"
        if str(array.start) != "0.0":
            return f"{line} = {array.start}"
        return line if array.data is None else f"{line} = {_shortened(array.data)}"

    def _index_tables(self) -> list[str]:
        return [
            f"numbers {name}[{len(table.numbers)}] = {_shortened(table.numbers)}"
            for table, name in ((table, self._name(table, "n")) for table in self._tables)
        ]

    def _name(self, thing: Array | Table | Segment, wish: str) -> str:
        """The name of an array, table or segment, which is no other's."""
        found = self._names.get(thing)
        if found is None:
            wish = re.sub(r"\W+", "_", wish)
            wish = wish or {CONSTANT: "c", SUMS: "d"}.get(getattr(thing, "kind", ""), "v")
            found, count = wish, 1
            while found in self._taken:
                count += 1
                found = f"{wish}{'_' if wish[-1].isdigit() else ''}{count}"
            self._taken.add(found)
            self._names[thing] = found
        return found

    # Statements

    def _body(self, body: Sequence[Statement], indent: str) -> None:
        own = {x for x in body if isinstance(x, Compute) and self._uses[x] == 1}
        for taker in body:
            if isinstance(taker, (Store, Scatter, Leave, Guard)):
                self._put_in.update(own.intersection(taker.operands))
        for statement in body:
            if statement in self._put_in or isinstance(statement, (Load, Last)):
                continue
            if isinstance(statement, Loop):
                self._loop(statement, indent)
            elif isinstance(statement, Segment):
                self._line(f"{indent}segment {self._segment(statement)}:", statement)
                self._body(statement.body, indent + "    ")
            else:
                self._line(indent + self._statement(statement), statement)

    def _line(self, line: str, statement: Statement) -> None:
        note = _note(statement.note)
        for value in statement.operands:
            if not note and value in self._put_in:
                note = _note(value.note)
        self._lines.append((line, note))

    def _loop(self, loop: Loop, indent: str) -> None:
        for carry in loop.carries:
            self._line(f"{indent}{self._new(carry)} = {self._operand(carry.initial)}", carry)
        name = self._loop_name(loop)
        self._line(f"{indent}for {name} in range({self._index(loop.trips)}):", loop)
        self._loops.append((loop, name))
        inner = indent + "    "
        self._body(loop.body, inner)
        if loop.carries:
            carried = ", ".join(self._values[carry] for carry in loop.carries)
            following = ", ".join([self._operand(carry.next) for carry in loop.carries])
            self._line(f"{inner}{carried} = {following}", loop)
        self._loops.pop()

    def _loop_name(self, loop: Loop) -> str:
        taken = {name for _, name in self._loops} | self._taken
        letters = [loop.name, *"ijklmpqrs"] if loop.name else [*"ijklmpqrs"]
        free = [name for name in letters if name not in taken]
        return free[0] if free else f"i{len(self._loops)}"

    def _statement(self, x: Statement) -> str:
        if isinstance(x, Compute):
            operation = self._operation(x)
            return f"{self._new(x)} = {operation}"
        if isinstance(x, Store):
            sign = "+=" if isinstance(x, Add) else "="
            return f"{self._element(x.array, x.index)} {sign} {self._operand(x.value)}"
        if isinstance(x, BY_VALUE):
            self._arrays.setdefault(x.array)
            end = self._index(x.index.plus(x.size))
            name = self._name(x.array, x.array.name)
            of = f"{name}[{self._index(x.index)}:{end}][{self._operand(x.place)}]"
            if isinstance(x, Gather):
                return f"{self._new(x)} = {of}"
            return f"{of} += {self._operand(x.value)}"
        if isinstance(x, Guard):
            outcome = "true" if x.outcome else "false"
            number = self._index(x.number)
            return f"guard {number}: {self._operand(x.condition)} is {outcome}"
        if isinstance(x, Enter):
            value = self._operand(x.value)
            return f"{self._new(x)} = {value} as input {self._index(x.place)}"
        if isinstance(x, Leave):
            return f"output {self._index(x.place)} = {self._operand(x.value)}"
        if isinstance(x, Derive):
            given = self._element(x.given, x.given_at)
            results = self._element(x.results, x.results_at)
            if x.diagonal is not None:
                period, stride, shift = x.diagonal
                which = f"by inputs {stride}*k + {shift} modulo {period} of outputs k"
                return f"{results}, … = diagonal of {self._segment(x.segment)} {which}"
            way = "push forward through" if x.forward else "pull back through"
            return f"{results}, … = {way} {self._segment(x.segment)} {given}, …"
        return f"{self._new(x)} = {type(x).__name__.lower()}"

    def _segment(self, segment: Segment) -> str:
        return self._name(segment, segment.name or "segment")

    # What they are made of

    def _new(self, value: Statement) -> str:
        return self._values.setdefault(value, f"%{len(self._values)}")

    def _operand(self, x: Operand) -> str:
        if not isinstance(x, Statement):
            return repr(float(x))
        if isinstance(x, Load):
            return self._element(x.array, x.index)
        if isinstance(x, Last):
            return self._new(x.carry)
        if isinstance(x, Compute) and x in self._put_in:
            return self._operation(x)
        return self._new(x)

    def _operation(self, x: Compute) -> str:
        symbol = x.operation.symbol
        shown = [self._operand(y) for y in x.operands]
        if x.operation is rules.negative:
            return f"-{shown[0]}"
        if len(shown) == 2 and not symbol.isidentifier():
            return f"{shown[0]} {symbol} {shown[1]}"
        return f"{symbol}({', '.join(shown)})"

    def _output(self, output: Operand | Slice) -> str:
        if not isinstance(output, Slice):
            return self._operand(output)
        if output.size == 1:
            return self._element(output.array, Index(output.start))
        self._arrays.setdefault(output.array)
        name = self._name(output.array, output.array.name)
        return f"{name}[{output.start}:{output.start + output.size}]"

    def _element(self, array: Array, index: Index) -> str:
        self._arrays.setdefault(array)
        return f"{self._name(array, array.name)}[{self._index(index)}]"

    def _index(self, index: Index) -> str:
        names = dict(self._loops)
        terms = []
        for table, inner in index.tables:
            self._tables.setdefault(table)
            terms.append(f"{self._name(table, 'n')}[{self._index(inner)}]")
        for loop, stride in index.strides:
            name = names.get(loop, "?")
            size = name if abs(stride) == 1 else f"{abs(stride)}*{name}"
            terms.append(size if stride > 0 else f"-{size}")
        if index.offset or not terms:
            terms.append(str(index.offset))
        terms.sort(key=lambda term: term.startswith("-"))
        return re.sub(r"\+ -", "- ", " + ".join(terms))


def _used(program: Program) -> Iterable[Operand | Slice]:
    """What statements and outputs use, each as often as it is used; numbers too."""
    for statement in statements(program.body):
        yield from statement.operands
        if isinstance(statement, Loop):
            for carry in statement.carries:
                yield carry.next
    yield from program.outputs


def _note(note: Annotation | None) -> str:
    """What is known of the user's code: file and line, name, groups."""
    if note is None:
        return ""
    line = note.line
    place = "" if line is None else re.split(r"[/\\]", line)[-1]
    groups = f"in {' / '.join(note.groups)}" if note.groups else ""
    return "  ".join([part for part in (place, note.name, groups) if part])


def _shortened(numbers: numpy.typing.NDArray[Any]) -> str:
    """The numbers of a table, or the first and the last ones."""
    if len(numbers) <= SHOWN:
        return ", ".join(map(repr, numbers.tolist()))
    first = ", ".join(map(repr, numbers[: SHOWN - 2].tolist()))
    return f"{first}, …, {numbers[-1].item()!r}"
