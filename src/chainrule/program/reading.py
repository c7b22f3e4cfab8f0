"""Programs from what a file holds, of which nothing is taken for granted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import numpy

from chainrule.annotations import Annotation
from chainrule.rules import OPERATIONS

from .form import (
    CONSTANT,
    INPUT,
    IS_VALUE,
    SUMS,
    VALUES,
    Add,
    Array,
    Carry,
    Compute,
    Derive,
    Diagonal,
    End,
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
    Table,
    parts,
)

LARGEST: Final = 2**25
"""The most elements of arrays, and the most statements that run, of programs that are read.

Checking them takes memory and time in proportion.
"""
MOST_TERMS: Final = 64
"""The most strides and tables of an index, so that no index can overflow."""

_KINDS: Final[dict[str, type[Statement]]] = {
    kind.__name__.lower(): kind
    for kind in (
        Compute,
        Load,
        Store,
        Add,
        Gather,
        Scatter,
        *(Guard, Loop, Last, Segment, Enter, Leave, Derive),
    )
}
_SPECIAL: Final = {"nan": numpy.nan, "inf": numpy.inf, "-inf": -numpy.inf}
T = TypeVar("T")


def program_of(content: Any) -> Program:
    """The program of what :func:`chainrule.program.writing.content_of` has made.

    The form of each statement is checked, what they do together is left to the verifier.

    Raises:
        ProgramError: if something else is given, or a program too large to be verified.
    """
    return _Reader().program(content)


class _Reader:
    """Finds what names and numbers stand for."""

    def __init__(self) -> None:
        self._arrays: list[Array] = []
        self._tables: list[Table] = []
        self._notes: list[Annotation] = []
        self._values: list[Statement] = []
        self._loops: list[Loop] = []
        self._segments: list[Segment] = []
        self._most: dict[Loop, int] = {}  # the most iterations that a loop can have at a time
        self._runs = 1  # the most times that the open body can run
        self._total = 0  # the most statements that can run
        self._ends: dict[Segment, int] = {}  # the most inputs and outputs in all runs
        self._nested: dict[type[Statement], Callable[[Any], Statement]] = {
            Compute: self._compute,
            Loop: self._loop,
            Last: self._last,
            Segment: self._segment,
        }
        self._parts: dict[str, Callable[[Any], Any]] = {
            "Array": partial(_at, self._arrays, what="array"),
            "Index": self._index,
            "Operand": self._operand,
            "Segment": partial(_at, self._segments, what="segment"),
            "bool": partial(_checked, kind=bool, what="an outcome or a way"),
            "int": self._size,
            "Diagonal | None": lambda x: x and Diagonal(*map(_small, _some(3, x))),
        }

    def program(self, content: dict[str, Any]) -> Program:
        self._arrays += [self._array(x) for x in _field(content, "arrays", list)]
        if not self._arrays or self._arrays[0].kind != INPUT:
            raise ProgramError("its first array is not that of the inputs")
        if sum(array.size for array in self._arrays) > LARGEST:
            raise ProgramError(f"its arrays have more than {LARGEST:,} elements")
        for numbers in _field(content, "tables", list):
            table = [_small(x) for x in _checked(numbers, list, "an index table")]
            self._tables.append(Table(numpy.array(table, dtype=numpy.int64)))
        self._notes = [_note(x) for x in _field(content, "notes", list)]
        body = self._body(_field(content, "body", list))
        outputs: list[Operand | Slice] = []
        for x in _field(content, "outputs", list):
            if isinstance(x, list):
                array, start, size = (_checked(y, int, "an output") for y in _some(3, x))
                outputs.append(Slice(_at(self._arrays, array, "array"), start, size))
            else:
                outputs.append(self._operand(x))
        return Program(self._arrays[0], body, outputs, _field(content, "guards", int))

    def _array(self, x: Any) -> Array:
        kind, size, name = _field(x, "kind", str), _field(x, "size", int), _field(x, "name", str)
        if kind not in (INPUT, CONSTANT, VALUES, SUMS) or size < 0:
            raise ProgramError(f"it has an array of kind {kind!r} and size {size}")
        if kind != CONSTANT:
            start = _real(x["start"]) if "start" in x else 0.0
            if start or (kind != SUMS and "start" in x):
                raise ProgramError(f"it has an array of kind {kind!r} that begins with {start}")
            return Array(kind, size, name, None, start)
        numbers = [_real(y) for y in _field(x, "data", list)]
        return Array(kind, size, name, numpy.array(numbers, dtype=numpy.float64))

    def _operand(self, x: Any) -> Operand:
        if isinstance(x, str) and x.startswith("%"):
            digits = x[1:]
            if digits.isascii() and digits.isdecimal() and len(digits) < 12:
                return _at(self._values, int(digits), "value")
            raise ProgramError(f"{_shown(x)} names no value")
        return _real(x)

    def _index(self, x: Any) -> Index:
        if type(x) is int:
            return Index(_small(x))
        strides = [_some(2, y) for y in _field(x, "strides", list)]
        tables = [_some(2, y) for y in _field(x, "tables", list)]
        if len(strides) + len(tables) > MOST_TERMS:
            raise ProgramError(f"it has an index of {len(strides) + len(tables)} terms")
        return Index(
            _small(_field(x, "offset", int)),
            tuple([(_at(self._loops, y, "loop"), _small(z)) for y, z in strides]),
            tuple([(_at(self._tables, y, "table"), self._index(z)) for y, z in tables]),
        )

    def _body(self, body: list[Any]) -> list[Statement]:
        return [self._statement(x) for x in body]

    def _statement(self, x: Any) -> Statement:
        self._count(self._runs)
        name = _field(x, "do", str)
        kind = _KINDS.get(name)
        if kind is None:
            raise ProgramError(f"it has a statement {_shown(name)}")
        make = self._nested.get(kind)
        if make is not None:
            statement = make(x)
        else:
            made_of = parts(kind).items()
            statement = kind(*[self._parts[part](_field(x, key)) for key, part in made_of])
        if isinstance(statement, End):
            self._ends[statement.segment] += self._runs
        elif isinstance(statement, Derive):
            self._count(self._runs * self._ends[statement.segment])
        if "note" in x:
            statement.note = _at(self._notes, x["note"], "note")
        if isinstance(statement, IS_VALUE):
            self._values.append(statement)
        return statement

    def _compute(self, x: Any) -> Compute:
        name = _field(x, "operation", str)
        operation = OPERATIONS.get(name)
        if operation is None:
            raise ProgramError(f"there is no operation {_shown(name)}")
        return Compute(operation, [self._operand(y) for y in _field(x, "operands", list)])

    def _size(self, x: Any) -> int:
        """How many elements a statement may access; the verifier looks at each."""
        size = _small(x)
        self._count(max(size, 0))
        return size

    def _loop(self, x: Any) -> Loop:
        loop = Loop(self._index(_field(x, "trips")))
        loop.name = _field(x, "name", str)
        loop.carries = [Carry(self._operand(y)) for y in _field(x, "initial", list)]
        self._most[loop] = self._largest(loop.trips)
        runs = self._runs
        self._runs *= max(self._most[loop], 1)
        self._count(self._runs)
        self._loops.append(loop)
        self._values += loop.carries
        loop.body = self._body(_field(x, "body", list))
        following = [self._operand(y) for y in _field(x, "next", list)]
        if len(following) != len(loop.carries):
            raise ProgramError("it has a loop with carries without a next value")
        for carry, value in zip(loop.carries, following, strict=True):
            carry.next = value
        self._runs = runs
        return loop

    def _count(self, runs: int) -> None:
        """Count statements that run."""
        self._total += runs
        if self._total > LARGEST:
            raise ProgramError(f"more than {LARGEST:,} statements of it can run")

    def _largest(self, index: Index) -> int:
        """No less than an index can be."""
        total = index.offset
        for loop, stride in index.strides:
            total += max(stride * (self._most[loop] - 1), 0)
        for table, _ in index.tables:
            total += int(table.numbers.max(initial=0))
        return total

    def _last(self, x: Any) -> Last:
        loop = _at(self._loops, _field(x, "loop", int), "loop")
        return Last(loop, _at(loop.carries, _field(x, "carry", int), "carry"))

    def _segment(self, x: Any) -> Segment:
        segment = Segment(_field(x, "name", str))
        self._segments.append(segment)
        self._ends[segment] = 0
        segment.body = self._body(_field(x, "body", list))
        return segment


def _field(x: Any, key: str, kind: type[Any] = object) -> Any:
    if not isinstance(x, dict):
        raise ProgramError(f"{_shown(x)} stands where something with {key!r} is expected")
    if key not in x:
        raise ProgramError(f"{key!r} is missing in {_shown(x)}")
    return _checked(x[key], kind, repr(key))


def _checked(x: Any, kind: type[Any], what: str) -> Any:
    if not isinstance(x, kind) or (kind is int and isinstance(x, bool)):
        raise ProgramError(f"{what} is {_shown(x)}")
    return x


def _real(x: Any) -> float:
    if isinstance(x, str) and x in _SPECIAL:
        return _SPECIAL[x]
    if isinstance(x, (int, float)) and not isinstance(x, bool):
        return float(x)
    raise ProgramError(f"{_shown(x)} is no number")


def _small(x: Any) -> int:
    """A whole number of an index: small enough for sums of some to be exact."""
    if type(x) is not int or not -(2**31) < x < 2**31:
        raise ProgramError(f"{_shown(x)} is no number of an index")
    return x


def _some(count: int, x: Any) -> list[Any]:
    if not isinstance(x, list) or len(x) != count:
        raise ProgramError(f"{_shown(x)} is not {count} things")
    return x


def _at(things: Sequence[T], place: Any, what: str) -> T:
    if type(place) is not int or not 0 <= place < len(things):
        raise ProgramError(f"there is no {what} {_shown(place)}")
    return things[place]


def _note(x: Any) -> Annotation:
    name, groups, line = _some(3, x)
    texts = [y for y in (name, line) if y is not None]
    if not isinstance(groups, list) or not all(isinstance(y, str) for y in texts + groups):
        raise ProgramError(f"{_shown(x)} is no note")
    return Annotation(name, tuple(groups), line)


def _shown(x: Any) -> str:
    text = repr(x) if not isinstance(x, int) or abs(x) < 10**40 else "a number of many digits"
    return text if len(text) <= 60 else text[:57] + "..."
