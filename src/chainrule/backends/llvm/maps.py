"""Loops of a single point whose iterations hang on each other in few values: some at a time.

The loop becomes two: one whose iterations are several of the program's, on vectors, and one for the
rest. Loops in it run for all of these iterations at once. Each value is the same to the last bit,
as functions of vectors give in each lane what those of numbers give. Sums are added in order, and
what hands other values on is computed for one iteration after the other, between what comes before
and after it on vectors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from chainrule import rules
from chainrule.program.form import (
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

from .independence import are_independent, stride_of
from .vector_math import INSTRUCTIONS, INTRINSICS, is_short


class Sum(NamedTuple):
    """A carry that terms are added to, or subtracted from, one after the other."""

    carry: Carry
    steps: list[tuple[str, Operand]]  # instructions with what they add


class Map(NamedTuple):
    """A loop that can be computed several iterations at a time.

    Attributes:
        loop: the loop.
        sums: for its carries the sums; None for those that are handed on one after the other.
        early: what is computed on vectors before carries are handed on.
        chain: what hands them on: it is computed for one iteration after the other.
        late: what is computed on vectors afterwards.
    """

    loop: Loop
    sums: dict[Carry, Sum | None]
    early: list[Statement]
    chain: list[Compute]
    late: list[Statement]

    @property
    def body(self) -> list[Statement]:
        """All that is computed on vectors."""
        return self.early + self.late


def as_map(
    loop: Loop,
    carries: Mapping[Loop, list[Carry]],
    same: Mapping[Statement, Operand],
    width: int,
) -> Map | None:
    """A loop as a map, if it is one for which vectors pay.

    Args:
        loop: the loop.
        carries: of all loops those that change, each another way.
        same: what values are the same as.
        width: how many iterations at a time.
    """
    if loop.trips.is_fixed and loop.trips.offset < width:
        return None
    inner = [x for x in statements(loop.body) if isinstance(x, Loop)]
    used: list[Operand] = [y for x in statements(loop.body) for y in x.operands]
    used += [carry.next for x in (loop, *inner) for carry in carries[x]]
    resolved = [same.get(x, x) for x in used if isinstance(x, Statement)]
    uses = Counter([x for x in resolved if isinstance(x, Statement)])
    found = {carry: _sum(carry, uses, set(loop.body)) for carry in carries[loop]}
    added = {x for terms in found.values() if terms is not None for x in terms[1]}
    body = [x for x in loop.body if x not in added]
    sums = {carry: None if terms is None else terms[0] for carry, terms in found.items()}
    handed_on = [carry for carry, terms in sums.items() if terms is None]
    split = _split(body, handed_on, carries, same) if handed_on else (body, [], [])
    if split is None or (handed_on and not _is_worth_it(loop, body, split[1])):
        return None
    if not handed_on and not _pays(loop, body, inner, carries, same, width):
        return None
    return Map(loop, sums, *split) if are_independent(loop, body) else None


def _split(
    body: Sequence[Statement],
    handed_on: Sequence[Carry],
    carries: Mapping[Loop, list[Carry]],
    same: Mapping[Statement, Operand],
) -> tuple[list[Statement], list[Compute], list[Statement]] | None:
    """What comes before, hands on, and comes after carries; None if that can't be told apart."""
    following = {same.get(carry.next, carry.next) for carry in handed_on}  # type: ignore[arg-type]
    dependent: set[Operand] = {*handed_on}
    last = -1
    for place, x in enumerate(body):
        parts = [*statements([x])]
        own = [carry for y in parts if isinstance(y, Loop) for carry in carries[y]]
        if any(carry in following for carry in own):
            return None
        used = [y for part in parts for y in part.operands]
        used += [y for carry in own for y in (carry.initial, carry.next)]
        if any(same.get(y, y) in dependent for y in used):  # type: ignore[arg-type]
            dependent.update(parts, own)
        if x in following:
            last = place
    chain: list[Compute] = []
    for x in body[last::-1] if last >= 0 else ():
        if x in following and x in dependent:
            if not isinstance(x, Compute) or _is_call(x):
                return None
            chain.insert(0, x)
            following.update([same.get(y, y) for y in x.operands])  # type: ignore[arg-type]
        elif isinstance(x, Loop) and x in dependent and following.intersection(carries[x]):
            return None
    early: list[Statement] = []
    late: list[Statement] = []
    waiting: set[Array] = set()  # what is stored later than it stands
    for x in body[: last + 1]:
        accesses = [y.array for y in statements([x]) if isinstance(y, (Load, Store))]
        if x in dependent:
            if x not in chain:
                late.append(x)
                waiting.update(accesses)
        elif waiting.intersection(accesses):
            return None
        else:
            early.append(x)
    return early, chain, [*late, *body[last + 1 :]]


def _is_worth_it(loop: Loop, body: Sequence[Statement], chain: Sequence[Compute]) -> bool:
    """Whether enough is left for vectors, beside what is computed one after the other."""
    left = [x for x in statements(body) if isinstance(x, Compute) and x not in chain]
    if any(_is_call(x) for x in left):
        return True
    accesses = [x.index for x in statements(body) if isinstance(x, (Load, Store))]
    if any(stride_of(x, loop) is None for x in accesses):
        return False  # it would take as long
    return is_scan(chain) or len(left) > len(chain)


def is_scan(chain: Sequence[Compute]) -> bool:
    """Whether it is the largest or smallest number so far: in any order, to the last bit."""
    return len(chain) == 1 and chain[0].operation in (rules.maximum, rules.minimum)


def _pays(
    loop: Loop,
    body: list[Statement],
    inner: list[Loop],
    carries: Mapping[Loop, list[Carry]],
    same: Mapping[Statement, Operand],
    width: int,
) -> bool:
    """Whether vectors take less time than one iteration after the other."""
    if any(isinstance(x, Compute) and _is_call(x) for x in body):
        return True
    every = [*statements(body)]
    if not any(isinstance(x, Compute) and _is_call(x) for x in every):
        accesses = [x for x in every if isinstance(x, (Load, Store))]
        if any(stride_of(x.index, loop) is None for x in accesses):
            return False  # it would take as long
        if not inner:
            return not carries[loop]
        if not any(carries[x] for x in inner):
            return False
    return not any(as_map(x, carries, same, width) for x in inner)


def _sum(
    carry: Carry, uses: Counter[Statement], body: set[Statement]
) -> tuple[Sum, set[Statement]] | None:
    """A carry as a sum, with the statements that add to it."""
    steps: list[tuple[str, Operand]] = []
    statements: set[Statement] = set()
    x = carry.next
    while x is not carry:
        if not isinstance(x, Compute) or x not in body or uses[x] != 1:
            return None
        a, b = x.operands if len(x.operands) == 2 else (None, None)
        if x.operation is rules.add and b is not None and _leads_to(b, carry):
            a, b = b, a
        if x.operation not in (rules.add, rules.subtract) or a is None or b is None:
            return None
        steps.append((INSTRUCTIONS[x.operation.name], b))
        statements.add(x)
        x = a
    if uses[carry] != 1:
        return None
    return Sum(carry, steps[::-1]), statements


def _leads_to(x: Operand, carry: Carry) -> bool:
    """Whether a value is a carry with something added."""
    waiting = [x]
    seen: set[Operand] = set()
    while waiting:
        x = waiting.pop()
        if x is carry:
            return True
        if isinstance(x, Compute) and x.operation in (rules.add, rules.subtract) and x not in seen:
            seen.add(x)
            waiting.extend(x.operands)
    return False


def _is_call(x: Compute) -> bool:
    name = x.operation.name
    return name not in INSTRUCTIONS and name not in INTRINSICS and not is_short(name)
