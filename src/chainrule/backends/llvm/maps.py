"""Loops of a single point whose iterations hang on each other in sums alone: some at a time.

The loop becomes two: one whose iterations are several of the program's, on vectors, and one for the
rest. Loops in it run for all of these iterations at once. Each value is the same to the last bit,
as functions of vectors give in each lane what those of numbers give, and sums are added in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from chainrule import rules
from chainrule.program.form import (
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


class Map:
    """A loop that can be computed several iterations at a time.

    Attributes:
        loop: the loop.
        sums: its carries.
        body: what is computed on vectors.
    """

    def __init__(self, loop: Loop, sums: list[Sum], body: list[Statement]) -> None:
        self.loop = loop
        self.sums = sums
        self.body = body


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
    sums = [_sum(carry, uses, set(loop.body)) for carry in carries[loop]]
    added: set[Statement] = set()
    for found in sums:
        if found is None:
            return None
        added |= found[1]
    body = [x for x in loop.body if x not in added]
    if not _pays(loop, body, inner, carries, same, width) or not are_independent(loop, body):
        return None
    return Map(loop, [found[0] for found in sums if found is not None], body)


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
