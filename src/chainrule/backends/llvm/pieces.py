"""Cutting a program into functions.

A piece is a function of some hundred instructions: LLVM's compile time is linear in their number,
and its stack small. A loop is part of a piece if it is not long; then LLVM optimizes the piece.
A long loop becomes a function that calls others, the pieces of its body.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from chainrule.program.form import (
    BY_VALUE,
    Carry,
    Compute,
    Guard,
    Index,
    Load,
    Loop,
    Operand,
    Statement,
    Store,
    statements,
)

from .vector_math import INSTRUCTIONS, INTRINSICS, is_pure

PIECE_COST: Final = 400  # instructions of a piece, about
CALL_COST: Final = 3
BY_VALUE_COST: Final = 5
LOOP_COST: Final = 5
WHOLE_LOOP: Final = 1500  # instructions of a loop that is not cut
WHOLE_STRIP: Final = 3000  # the same where its pieces would be no map
BESIDE_LOOP: Final = 60  # instructions in a piece before or after its loops
OPTIMIZED: Final = 6000  # instructions of all pieces that are optimized, the first ones


class Piece:
    """Statements that become one function.

    Attributes:
        body: the statements.
        cost: the number of instructions, about.
        straight: the number of those since the last loop in it, or since its start.
        optimized: whether LLVM is to optimize it.
        outer: what it is a part of.
    """

    __slots__ = ("body", "cost", "optimized", "outer", "straight")

    def __init__(self, outer: Nest) -> None:
        self.outer = outer
        self.body: list[Statement] = []
        self.cost = 0
        self.straight = 0
        self.optimized = False

    def takes(self, cost: int, is_loop: bool) -> bool:
        """Whether there is room for a statement."""
        if is_loop:
            return self.straight <= BESIDE_LOOP and self.cost + cost <= WHOLE_LOOP
        return (self.straight if self.optimized else self.cost) + cost <= (
            BESIDE_LOOP if self.optimized else PIECE_COST
        )


class Nest:
    """A long loop, or a whole part of the program: it becomes a function that calls its parts.

    Attributes:
        loop: None for a part of the program.
        parts: what is called, in order.
        outer: what it is a part of, None for a part of the program.
    """

    __slots__ = ("loop", "outer", "parts")

    def __init__(self, loop: Loop | None = None, outer: Nest | None = None) -> None:
        self.loop = loop
        self.outer = outer
        self.parts: list[Unit] = []

    @property
    def loops(self) -> list[Loop]:
        """The loops around its parts, the outermost first."""
        outer = [] if self.outer is None else self.outer.loops
        return outer if self.loop is None else [*outer, self.loop]


Unit: TypeAlias = "Piece | Nest"


def nests(nest: Nest) -> Iterator[Nest]:
    """A nest and those in it."""
    yield nest
    for part in nest.parts:
        if isinstance(part, Nest):
            yield from nests(part)


def cut(body: Sequence[Statement]) -> Nest:
    """Cut a part of a program into pieces."""
    cutter = _Cutter()
    nest = Nest()
    cutter.cut(body, nest)
    return nest


class _Cutter:
    def __init__(self) -> None:
        self._left = OPTIMIZED
        self._costs: dict[Loop, int] = {}

    def cut(self, body: Sequence[Statement], nest: Nest) -> None:
        """Fill a nest with the pieces of its body."""
        parts = nest.parts
        piece: Piece | None = None
        for statement in body:
            if type(statement) is Compute:  # nearly all of a long program
                cost, is_loop = _compute_cost(statement), False
            else:
                cost, is_loop = self._cost(statement), isinstance(statement, Loop)
                if isinstance(statement, Loop) and cost > _largest(statement):
                    inner = Nest(statement, nest)
                    self.cut(statement.body, inner)
                    parts.append(inner)
                    piece = None
                    continue
            if piece is None or not piece.takes(cost, is_loop):
                piece = Piece(nest)
                parts.append(piece)
            piece.body.append(statement)
            piece.cost += cost
            piece.straight += cost
            if isinstance(statement, BY_VALUE) and not piece.optimized and self._left > 0:
                piece.optimized = True  # where it becomes a few instructions
                piece.straight = 0
                self._left -= piece.cost
            if is_loop:
                piece.straight = 0
                if self._left > 0:
                    piece.optimized = True
                self._left -= cost

    def _cost(self, statement: Statement) -> int:
        if isinstance(statement, Compute):
            return _compute_cost(statement)
        if isinstance(statement, Loop):
            cost = self._costs.get(statement)
            if cost is None:
                cost = sum([self._cost(x) for x in statement.body]) + LOOP_COST
                cost += len(statement.carries)
                self._costs[statement] = cost
            return cost
        if isinstance(statement, (Load, Carry)):
            return 1
        if isinstance(statement, BY_VALUE):
            return BY_VALUE_COST
        return CALL_COST if isinstance(statement, (Guard, Store)) else 0


def _largest(loop: Loop) -> int:
    """Instructions above which a loop is cut."""
    strips = loop.side_by_side or any(isinstance(x, Loop) and x.side_by_side for x in loop.body)
    return WHOLE_STRIP if strips else WHOLE_LOOP


def _compute_cost(statement: Compute) -> int:
    name = statement.operation.name
    if name in INSTRUCTIONS or name in INTRINSICS:
        return 1
    return CALL_COST + 2 * len(statement.operands)


def calls_early(body: Sequence[Statement]) -> list[Statement]:
    """A body in which functions of a value that is not needed any more come right after it.

    The processor computes them beside what follows. Where they stood, what waits for their results
    would keep it from looking further ahead. As many values are to be kept as before.
    """
    last: dict[Statement, Statement] = {}
    for x in body:
        for operand in x.operands if not isinstance(x, Loop) else _used_in(x):
            if isinstance(operand, Statement):
                last[operand] = x
    after: dict[Statement, list[Statement]] = {}
    here = set(body)
    for x in body:
        if type(x) is Compute and len(x.operands) == 1 and _is_plain_call(x):
            (operand,) = x.operands
            if isinstance(operand, Compute) and operand in here and last[operand] is x:
                after.setdefault(operand, []).append(x)
    if not after:
        return list(body)
    moved = {x for found in after.values() for x in found}
    result: list[Statement] = []
    for x in body:
        if x not in moved:
            waiting = [x]
            for y in waiting:
                result.append(y)
                waiting += after.get(y, ())
    return result


def _used_in(loop: Loop) -> Iterator[Operand]:
    """What a loop uses."""
    for x in statements([loop]):
        yield from x.operands
        if isinstance(x, Loop):
            yield from [carry.next for carry in x.carries]


def _is_plain_call(x: Compute) -> bool:
    """Whether it calls a function that has no other effect."""
    name = x.operation.name
    return x.operation.builtin and name not in INSTRUCTIONS and is_pure(name)


def work(body: Sequence[Statement]) -> float:
    """The number of instructions of a run, about."""
    total = 0.0
    for statement in body:
        if type(statement) is Compute:
            total += _compute_cost(statement)
        elif isinstance(statement, Loop):
            total += mean(statement.trips) * (work(statement.body) + LOOP_COST)
        else:
            total += BY_VALUE_COST if isinstance(statement, BY_VALUE) else CALL_COST
    return total


def mean(index: Index) -> float:
    """What an index is on average, about."""
    result = float(index.offset)
    for loop, stride in index.strides:
        result += stride * mean(loop.trips) / 2
    for table, _ in index.tables:
        result += float(table.numbers.mean()) if len(table.numbers) else 0.0
    return result
