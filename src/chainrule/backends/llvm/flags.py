"""Flags: values that are surely 0 or 1. Loops hand them on as truth values, not as numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from chainrule import rules
from chainrule.program.form import Compute, Last, Loop, Operand, Statement

JOINS: Final = {rules.maximum: "or", rules.minimum: "and", rules.multiply: "and"}
"""What gives a flag of two flags, as an instruction on truth values."""


def is_flag(x: Operand, known: set[Statement]) -> bool:
    """Whether an operand is surely 0 or 1.

    Args:
        x: the operand.
        known: statements that give flags, comparisons aside.
    """
    if isinstance(x, float):
        return x in (0.0, 1.0) and math.copysign(1.0, x) > 0.0
    return x in known or (isinstance(x, Compute) and x.operation in rules.COMPARISONS)


def flags(body: Sequence[Statement], known: set[Statement] | None = None) -> set[Statement]:
    """The statements that give flags, and the carries that are some; comparisons aside.

    Args:
        body: statements.
        known: flags from before, to which theirs are added.
    """
    known = set() if known is None else known
    for x in body:
        if isinstance(x, Compute):
            picks = x.operation is rules.where
            joins = picks or x.operation in JOINS
            if joins and all(is_flag(y, known) for y in x.operands[picks:]):
                known.add(x)
        elif isinstance(x, Loop):
            carried = {carry for carry in x.carries if is_flag(carry.initial, known)}
            while True:  # what holds if it held in the iteration before
                inside = flags(x.body, known | carried)
                others = {carry for carry in carried if not is_flag(carry.next, inside)}
                if not others:
                    break
                carried -= others
            known |= inside
        elif isinstance(x, Last) and x.carry in known:
            known.add(x)
    return known
