"""What iterations of a loop hand on, and the order in which some of them are computed at a time.

Most carries do not hang on themselves: a value of the neighbour, say. Their vectors are those of
the values that are handed on, moved by one lane; these come first. The others, with what leads from
one to the next, are chains: they are computed for one iteration after the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from chainrule import rules
from chainrule.program.form import (
    WRITES,
    Array,
    Carry,
    Compute,
    Load,
    Loop,
    Operand,
    Statement,
    Store,
    statements,
)

from .vector_math import INSTRUCTIONS, INTRINSICS, is_short


@dataclass(eq=False)
class Chain:
    """Carries that hang on each other, with what leads from one iteration to the next.

    Args:
        carries: the carries.
        body: what is computed, in order.
    """

    carries: list[Carry]
    body: list[Compute]

    @property
    def is_scan(self) -> bool:
        """Whether it is the largest or smallest number so far: in any order, to the last bit."""
        if len(self.carries) != 1 or len(self.body) != 1:
            return False
        (x,) = self.body
        used = [y is self.carries[0] for y in x.operands]
        return x.operation in (rules.maximum, rules.minimum) and sum(used) == 1

    @property
    def is_flag(self) -> bool:
        """Whether it is 1 as long as no number was 0: where(flag, number, 0) != 0."""
        if len(self.carries) != 1 or len(self.body) != 2:
            return False
        (carry,), (x, y) = self.carries, self.body
        return (
            (x.operation, y.operation) == (rules.where, rules.not_equal)
            and (x.operands[0], x.operands[2], *y.operands) == (carry, 0.0, x, 0.0)
            and x.operands[1] not in (carry, y)
            and carry.initial in (0.0, 1.0)
        )

    @property
    def is_message(self) -> bool:
        """Whether it is a message, of which each iteration takes a part."""
        if len(self.carries) != 1 or len(self.body) != 1:
            return False
        (x,) = self.body
        used = [y is self.carries[0] for y in x.operands]
        return x.operation is rules.message and used == [False, True, False]


Step: TypeAlias = "Statement | Chain"
"""What is computed for some iterations: a statement, a carry by moving its vector, a chain."""


def in_order(
    body: Sequence[Statement],
    handed_on: Sequence[Carry],
    carries: Mapping[Loop, list[Carry]],
    same: Mapping[Statement, Operand],
) -> list[Step] | None:
    """The steps of a loop's body, each after what it needs; None if a chain has more than numbers.

    Args:
        body: the statements.
        handed_on: the carries of the loop.
        carries: those of loops in it.
        same: what values are the same as.
    """
    if not handed_on:
        return [*body]
    needs = _needs(body, handed_on, carries, same)
    users: dict[Statement, list[Statement]] = defaultdict(list)
    for x, needed in needs.items():
        for y in needed:
            users[y].append(x)
    chains: dict[Statement, Chain] = {}
    for carry in handed_on:
        if carry in chains:
            continue
        members = _reached(carry, needs) & _reached(carry, users)
        if carry in members:
            inside = [x for x in body if x in members]
            computed = [x for x in inside if isinstance(x, Compute) and not is_call(x)]
            if len(computed) < len(inside):
                return None
            chain = Chain([x for x in handed_on if x in members], computed)
            chains.update(dict.fromkeys(members, chain))

    def needed_by(step: Step) -> list[Step]:
        parts = [*step.carries, *step.body] if isinstance(step, Chain) else [step]
        found = [chains.get(x, x) for part in parts for x in needs[part]]
        return [x for x in found if x is not step]

    order: dict[Step, None] = {}
    for first in (*body, *handed_on):
        waiting: list[Step] = [chains.get(first, first)]
        while waiting:
            missing = [x for x in needed_by(waiting[-1]) if x not in order]
            if missing:
                waiting += missing[::-1]
            else:
                order[waiting.pop()] = None
    return [*order]


def _needs(
    body: Sequence[Statement],
    handed_on: Sequence[Carry],
    carries: Mapping[Loop, list[Carry]],
    same: Mapping[Statement, Operand],
) -> dict[Statement, list[Statement]]:
    """What has to come before each statement and carry."""
    owners: dict[Operand, Statement] = {carry: carry for carry in handed_on}
    for x in body:
        for y in statements([x]):
            owners[y] = x
            if isinstance(y, Loop):
                owners.update(dict.fromkeys(carries[y], x))

    def come_from(used: Sequence[Operand], x: Statement) -> list[Statement]:
        found = [owners.get(same.get(y, y)) for y in used]  # type: ignore[arg-type]
        return [y for y in found if y is not None and (y is not x or isinstance(x, Carry))]

    found: dict[Statement, list[Statement]] = {}
    for carry in handed_on:
        found[carry] = come_from([carry.next], carry)
    reads: dict[Array, list[Statement]] = defaultdict(list)
    writes: dict[Array, list[Statement]] = defaultdict(list)
    for x in body:
        found[x] = come_from([*_used(x, carries)], x)
        for y in statements([x]):
            if isinstance(y, (Load, Store)):
                found[x] += writes[y.array]
                found[x] += reads[y.array] if isinstance(y, WRITES) else ()
        for y in statements([x]):
            if isinstance(y, (Load, Store)):
                (writes if isinstance(y, WRITES) else reads)[y.array].append(x)
    return found


def _used(x: Statement, carries: Mapping[Loop, list[Carry]]) -> Iterator[Operand]:
    """What a statement uses, with what is in it."""
    for y in statements([x]):
        yield from y.operands
        if isinstance(y, Loop):
            for carry in carries[y]:
                yield carry.initial
                yield carry.next


def _reached(
    first: Statement, following: Mapping[Statement, Sequence[Statement]]
) -> set[Statement]:
    """What can be reached from a statement, in one step at least."""
    found: set[Statement] = set()
    waiting = [first]
    while waiting:
        for x in following.get(waiting.pop(), ()):
            if x not in found:
                found.add(x)
                waiting.append(x)
    return found


def is_call(x: Compute) -> bool:
    """Whether a function of vectors takes much less time than one for each number."""
    name = x.operation.name
    return name not in INSTRUCTIONS and name not in INTRINSICS and not is_short(name)
