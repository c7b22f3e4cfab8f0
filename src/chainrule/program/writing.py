"""Programs as lists, dictionaries, texts and numbers, which a file can hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from chainrule.rules import Operation

from .form import (
    IS_VALUE,
    Array,
    Compute,
    Index,
    Last,
    Loop,
    Operand,
    Program,
    ProgramError,
    Segment,
    Slice,
    Statement,
    Table,
    parts,
)


def content_of(program: Program) -> dict[str, Any]:
    """A program as what JSON can hold; see :mod:`chainrule.program.reading` for the way back.

    Raises:
        ProgramError: if it has operations of a user's.
    """
    return Writer().program(program)


class Writer:
    """Names values, and numbers loops, segments, arrays, index tables and notes."""

    def __init__(self) -> None:
        self._arrays: dict[Array, int] = {}
        self._tables: dict[Table, int] = {}
        self._values: dict[Statement, str] = {}
        self._loops: dict[Loop, int] = {}
        self._segments: dict[Segment, int] = {}
        self._notes: dict[tuple[Any, ...], int] = {}
        self._parts: dict[str, Callable[[Any], Any]] = {
            "Array": self._array,
            "Index": self._index,
            "Operand": self._operand,
            "Segment": self._segments.__getitem__,
            "bool": bool,
            "int": int,
            "Diagonal | None": lambda x: x and [*x],
        }

    def program(self, program: Program) -> dict[str, Any]:
        """What is written of a program."""
        self._array(program.inputs)
        body = self._body(program.body)
        outputs: list[Any] = [
            [self._array(x.array), x.start, x.size] if isinstance(x, Slice) else self._operand(x)
            for x in program.outputs
        ]
        return {
            "arrays": [self._described(array) for array in self._arrays],
            "tables": [self.numbers(table.numbers) for table in self._tables],
            "notes": [*self._notes],
            "body": body,
            "outputs": outputs,
            "guards": program.guards,
        }

    # What stands for people, and what only a file needs

    def name(self, thing: Array | Loop | Segment) -> str:
        """The name of a thing."""
        return thing.name

    def note(self, x: Statement) -> dict[str, int]:
        """The number of what is known of a statement, if anything is."""
        if x.note is None:
            return {}
        note = (x.note.name, x.note.groups, x.note.line)
        return {"note": self._notes.setdefault(note, len(self._notes))}

    def number(self, x: float) -> Any:
        """A number."""
        return x if x - x == 0.0 else repr(x)

    def numbers(self, numbers: NDArray[Any]) -> Any:
        """The numbers of a table."""
        return [self.number(x) for x in numbers.tolist()]

    def operation(self, operation: Operation) -> Any:
        """An operation.

        Raises:
            ProgramError: if it is a user's.
        """
        if not operation.builtin:
            raise ProgramError(
                f"a program with {operation.name}, an operation of a user's, can't be"
                " written: it is a Python function"
            )
        return operation.name

    # What a program is made of

    def _described(self, array: Array) -> dict[str, Any]:
        found: dict[str, Any] = {"kind": array.kind, "size": array.size, "name": self.name(array)}
        if array.data is not None:
            found["data"] = self.numbers(array.data)
        if str(array.start) != "0.0":
            found["start"] = array.start
        return found

    def _array(self, array: Array) -> int:
        return self._arrays.setdefault(array, len(self._arrays))

    def _operand(self, x: Operand) -> Any:
        if isinstance(x, Statement):
            return self._values[x]
        return self.number(float(x))

    def _index(self, index: Index) -> Any:
        if index.is_fixed:
            return index.offset
        return {
            "offset": index.offset,
            "strides": [[self._loops[loop], stride] for loop, stride in index.strides],
            "tables": [
                [self._tables.setdefault(table, len(self._tables)), self._index(inner)]
                for table, inner in index.tables
            ],
        }

    def _body(self, body: Sequence[Statement]) -> list[dict[str, Any]]:
        return [self._statement(x) for x in body]

    def _statement(self, x: Statement) -> dict[str, Any]:
        found: dict[str, Any] = {"do": type(x).__name__.lower(), **self.note(x)}
        if isinstance(x, Compute):
            found["operation"] = self.operation(x.operation)
            found["operands"] = [self._operand(y) for y in x.operands]
        elif isinstance(x, Loop):
            found.update(name=self.name(x), trips=self._index(x.trips))
            found["initial"] = [self._operand(carry.initial) for carry in x.carries]
            self._loops[x] = len(self._loops)
            for carry in x.carries:
                self._define(carry)
            found["body"] = self._body(x.body)
            found["next"] = [self._operand(carry.next) for carry in x.carries]
        elif isinstance(x, Last):
            found.update(loop=self._loops[x.loop], carry=x.loop.carries.index(x.carry))
        elif isinstance(x, Segment):
            self._segments[x] = len(self._segments)
            found.update(name=self.name(x), body=self._body(x.body))
        else:
            made_of = parts(type(x)).items()
            found.update({name: self._parts[kind](getattr(x, name)) for name, kind in made_of})
        self._define(x)
        return found

    def _define(self, x: Statement) -> None:
        if isinstance(x, IS_VALUE):
            self._values[x] = f"%{len(self._values)}"
