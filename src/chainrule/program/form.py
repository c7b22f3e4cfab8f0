"""The program form: statements on numbers, arrays that hold them, and loops.

A program is a list of statements, the body, which run in order. What a statement computes, a value,
can be used by the statements after it in the same body, and inside of these. What another iteration
of a loop reads, or what is read after it, goes through an array. Every element of an array is
written before it is read:

- an ``INPUT`` array holds the inputs;
- a ``CONSTANT`` array, a table of numbers;
- of a ``VALUES`` array each element is stored once, and read after that;
- the elements of a ``SUMS`` array are 0 at first, added to, and not added to any more once they are
  read.

Which element that is, an :class:`Index` tells, the same one in every run; or, of some elements side
by side, a value: that is a gather, and what it becomes in the reverse pass, a scatter-add.

So no statement ever changes what another one has read, and the same statements backwards, with
loads and stores the other way round, are the reverse pass of a program. That holds for the reverse
pass as well, so that derivatives of any order are programs of this form.

Everything holds for one lane. Where lanes are computed together, each has its own values, and all
share loops, indices and tables.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy
from numpy.typing import NDArray

from chainrule.rules import Operation
from chainrule.tracebacks import boundary

if TYPE_CHECKING:
    from chainrule.annotations import Annotation

INPUT: Final = "input"
CONSTANT: Final = "constant"
VALUES: Final = "values"
SUMS: Final = "sums"


class ProgramError(ValueError):
    """Raised where a program breaks a rule of the form."""


@dataclass(eq=False, repr=False, slots=True)
class Array:
    """Numbers that are read by index.

    Attributes:
        kind: INPUT, CONSTANT, VALUES or SUMS.
        size: the number of elements.
        name: for people; need not be the only one of this name.
        data: the elements of a CONSTANT array.
        start: what the elements of a SUMS array are at first: 0, or -0, with which a sum is that of
            its terms to the last bit.
    """

    kind: str
    size: int
    name: str = ""
    data: NDArray[numpy.float64] | None = None
    start: float = 0.0

    @property
    def is_of_messages(self) -> bool:
        """Whether its sums are those of a derivative, whose terms may come in another order.

        Those of the user's program begin with -0.
        """
        return self.kind == SUMS and str(self.start) == "0.0"

    def like(self, size: int) -> Array:
        """A new array of its kind."""
        return Array(self.kind, size, self.name, None, self.start)


@dataclass(eq=False, repr=False, slots=True)
class Table:
    """Whole numbers that are part of an index: the same for all lanes."""

    numbers: NDArray[numpy.int64]


class Index(NamedTuple):
    """Which element: a whole number that depends on the iterations of the loops around.

    It is offset + the sum of stride * iteration over ``strides`` + the sum of table[index] over
    ``tables``. Iterations are counted from 0. Also the trip count of a loop is one.
    """

    offset: int = 0
    strides: tuple[tuple[Loop, int], ...] = ()
    tables: tuple[tuple[Table, Index], ...] = ()

    def plus(self, number: int) -> Index:
        """The index that is larger by a number."""
        return self._replace(offset=self.offset + number)

    @property
    def is_fixed(self) -> bool:
        """Whether it is the same in all iterations."""
        return not self.strides and not self.tables

    def loops(self) -> set[Loop]:
        """The loops it depends on."""
        found = {loop for loop, _ in self.strides}
        for _, index in self.tables:
            found |= index.loops()
        return found


@dataclass(eq=False, repr=False, slots=True)
class Statement:
    """What a program does at one place.

    Attributes:
        note: what the recording tells of it: its line, name and groups; None for nothing.
    """

    note: Annotation | None = field(default=None, init=False)

    @property
    def operands(self) -> Sequence[Operand]:
        """The values and numbers that it uses itself, in order."""
        of = parts(type(self))
        return tuple([getattr(self, part) for part in of if of[part] == "Operand"])

    def replace(self, values: Mapping[Operand, Operand]) -> None:
        """Use other values in the place of some, if it is no loop."""
        for part, kind in parts(type(self)).items():
            if kind == "Operand":
                x = getattr(self, part)
                setattr(self, part, values.get(x, x))


Operand: TypeAlias = "Statement | float"
"""A value, or a number."""


class Compute(Statement):
    """A value: an operation on values and numbers."""

    __slots__ = ("_operands", "operation")

    def __init__(self, operation: Operation, operands: Sequence[Operand]) -> None:
        self.note: Annotation | None = None  # not by super, as there are many
        self.operation = operation
        self._operands = tuple(operands)

    @property
    def operands(self) -> Sequence[Operand]:
        """What the operation takes, in order."""
        return self._operands

    def replace(self, values: Mapping[Operand, Operand]) -> None:
        """Take other operands in the place of some."""
        if not values.keys().isdisjoint(self._operands):
            self._operands = tuple([values.get(x, x) for x in self._operands])


@dataclass(eq=False, repr=False, slots=True)
class Load(Statement):
    """A value: an element of an array."""

    array: Array
    index: Index


@dataclass(eq=False, repr=False, slots=True)
class Store(Statement):
    """Writes an element of a VALUES array."""

    array: Array
    index: Index
    value: Operand


class Add(Store):
    """Adds to an element of a SUMS array."""

    __slots__ = ()


@dataclass(eq=False, repr=False, slots=True)
class Gather(Statement):
    """A value: one of some elements of an array, by a whole number that is a value.

    Attributes:
        array: holds them, side by side.
        index: the first of them.
        size: how many; one at least.
        place: which, counted from 0. If it is none of them, the first one is read: a guard has
            failed there, or will.
    """

    array: Array
    index: Index
    size: int
    place: Operand


@dataclass(eq=False, repr=False, slots=True)
class Scatter(Statement):
    """Adds to one of some elements of a SUMS array; which, is as for :class:`Gather`."""

    array: Array
    index: Index
    size: int
    place: Operand
    value: Operand


READS: Final = (Load, Gather)
"""What reads an array."""
WRITES: Final = (Store, Scatter)
"""What writes to one."""
BY_VALUE: Final = (Gather, Scatter)
"""What accesses an element that only a run tells."""


def chosen(place: float, size: int) -> int:
    """Which of so many elements a place is."""
    return int(place) if 0.0 <= place < size else 0


@dataclass(eq=False, repr=False, slots=True)
class Guard(Statement):
    """The run goes on here only if a condition has the outcome that it had when it was recorded.

    Attributes:
        condition: true if it is not 0.
        outcome: what it must be.
        number: guards are counted in the order in which the program asks.
    """

    condition: Operand
    outcome: bool
    number: Index


@dataclass(eq=False, repr=False, slots=True)
class Loop(Statement):
    """Runs a body some number of times.

    Attributes:
        trips: how many times; may depend on loops around.
        body: the statements.
        carries: what an iteration hands the next in a register instead of an array.
        checkpoints: for a loop whose iterations run again in its reverse pass, the arrays through
            which alone they hand on values: what an iteration reads of them, those before have
            written, and what it reads of others that the loop writes to, it has itself.
        side_by_side: whether all its iterations are to be computed at a time.
    """

    trips: Index
    name: str = ""
    body: list[Statement] = field(default_factory=list)
    carries: list[Carry] = field(default_factory=list)
    checkpoints: list[Array] = field(default_factory=list, init=False)
    side_by_side: bool = field(default=False, init=False)

    @property
    def operands(self) -> Sequence[Operand]:
        """What its carries begin with."""
        return [carry.initial for carry in self.carries]


class Carry(Statement):
    """A value in a loop: at first the initial one, then what the iteration before gave.

    It belongs to ``carries`` of its loop, not to a body. Carries come in at the end, by a pass:
    derivatives are taken of programs without them.

    Attributes:
        initial: the first value.
        next: what an iteration gives.
        messages: whether it is a sum of messages: the order of its terms is free.
    """

    __slots__ = ("initial", "messages", "next")

    def __init__(self, initial: Operand) -> None:
        super().__init__()
        self.initial = initial
        self.next: Operand = initial
        self.messages = False


@dataclass(eq=False, repr=False, slots=True)
class Last(Statement):
    """A value after a loop: what the last iteration gave to a carry."""

    loop: Loop
    carry: Carry


@dataclass(eq=False, repr=False, slots=True)
class Segment(Statement):
    """Statements that a transformation differentiates; they run in their place.

    Its values can be used after it as if its body stood there.

    Attributes:
        name: of the transformation.
        body: the statements.
    """

    name: str = ""
    body: list[Statement] = field(default_factory=list)


@dataclass(eq=False, repr=False, slots=True)
class End(Statement):
    """An end of a segment, in whose body it stands.

    Attributes:
        segment: the segment.
        place: which of the segment's inputs or outputs, counted from 0.
        value: a value or number.
    """

    segment: Segment
    place: Index
    value: Operand


class Enter(End):
    """A value: an input, equal to a value from outside, or to a Load here of what is there."""

    __slots__ = ()


class Leave(End):
    """Names a value of the segment as an output."""

    __slots__ = ()


IS_VALUE: Final = (Compute, Load, Gather, Carry, Last, Enter)
"""What statements use as operands."""


class Diagonal(NamedTuple):
    """Which entries of a matrix a pass forwards gives: for each row one or none.

    Of row ``k`` that in column ``j`` with ``j - stride * k`` equal to ``shift`` modulo the period;
    where there are several, their sum.
    """

    period: int
    stride: int
    shift: int


@dataclass(eq=False, repr=False, slots=True)
class Derive(Statement):
    """Cotangents pulled back, or tangents pushed forward, through a segment that has run.

    Attributes:
        segment: an earlier one, in the same body or one around.
        forward: whether tangents of its inputs are pushed forward to its outputs; else cotangents
            of its outputs are pulled back to its inputs.
        given: VALUES: the cotangents or tangents; elements that nothing stores are no message.
        given_at: where these begin.
        results: VALUES: what comes to the inputs, or the changes of the outputs; 0 for nothing.
        results_at: where these begin.
        diagonal: forward, the entries of the matrix of derivatives that are the results; then
            nothing is given.
    """

    segment: Segment
    forward: bool
    given: Array
    given_at: Index
    results: Array
    results_at: Index
    diagonal: Diagonal | None = None


def parts(kind: type[Statement]) -> dict[str, str]:
    """What statements of a class are made of: their attributes, and the type of each."""
    found = _PARTS.get(kind)
    if found is None:
        found = {part.name: str(part.type) for part in fields(kind) if part.init}
        _PARTS[kind] = found
    return found


_PARTS: Final[dict[type[Statement], dict[str, str]]] = {}


class Slice(NamedTuple):
    """Outputs that lie in an array, one after another."""

    array: Array
    start: int
    size: int


class Program:
    """A program.

    Args:
        inputs: the INPUT array.
        body: the statements.
        outputs: what it gives: values of the body, numbers, and elements of arrays, in order.
        guards: larger than the number of any of its guards.
    """

    def __init__(
        self,
        inputs: Array,
        body: list[Statement],
        outputs: Sequence[Operand | Slice],
        guards: int = 0,
    ) -> None:
        self.inputs = inputs
        self.body = body
        self.outputs = list(outputs)
        self.guards = guards

    def __str__(self) -> str:
        """The program to read."""
        from .printer import text

        return text(self)

    @boundary
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the program to a file, which is complete or not there at all.

        Raises:
            ProgramError: if it has operations of a user's, which are Python functions.
            OSError: if the file can't be written.
        """
        from chainrule.files import write_atomically

        from .files import written

        write_atomically(Path(path), written(self))

    @staticmethod
    @boundary
    def load(path: str | os.PathLike[str]) -> Program:
        """The program of a file.

        Raises:
            ProgramError: if the file can't be read as a program: it is cut off, was altered, comes
                from a later version, or breaks a rule of programs.
            OSError: if there is no such file.
        """
        from .files import read

        with open(path, "rb") as file:
            return read(file.read(), str(path))


_WITH_BODIES: Final = frozenset([Loop, Segment])


def statements(body: Sequence[Statement]) -> Iterator[Statement]:
    """All statements of a body and of the bodies in it, in order, a loop before its body."""
    stack = [iter(body)]
    while stack:
        for statement in stack[-1]:
            yield statement
            if type(statement) in _WITH_BODIES:  # not by isinstance, as there are many
                stack.append(iter(statement.body))  # type: ignore[attr-defined]
                break
        else:
            stack.pop()
