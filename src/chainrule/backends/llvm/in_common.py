"""What the iterations of a map have in common, and what they need only where a message is sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from chainrule import rules
from chainrule.program.form import (
    Add,
    Carry,
    Compute,
    Load,
    Loop,
    Operand,
    Statement,
    Store,
    statements,
)

from .independence import stride_of
from .vector_math import called_back, copies

WORTH_A_JUMP: Final = 3
"""Statements that are rather jumped over than computed in vain."""


_SIGNED: Final = (rules.negative, rules.add, rules.subtract)


class InCommon:
    """What the iterations of a loop have in common.

    Args:
        loop: a loop that is computed several iterations at a time.
        carries: of all loops those that change, each another way.
        resolved: gives the value or number that a value is the same as.
    """

    def __init__(
        self,
        loop: Loop,
        carries: Mapping[Loop, list[Carry]],
        resolved: Callable[[Operand], Operand],
    ) -> None:
        self._resolved = resolved
        self._same: set[Statement] = set()
        self._users: dict[Operand, set[Statement]] = defaultdict(set)
        every = [loop, *statements(loop.body)]
        loops = [x for x in every if isinstance(x, Loop)]
        self._inside = {*every, *[carry for x in loops for carry in x.carries]}
        for x in every:
            if isinstance(x, Loop):
                for carry in carries[x]:
                    self._users[resolved(carry.next)].add(carry)
                    self._users[resolved(carry.initial)].add(carry)
            elif isinstance(x, Load):
                if stride_of(x.index, loop) == 0:
                    self._same.add(x)
            elif not isinstance(x, Compute) or not copies(x.operation):
                for y in x.operands:
                    self._users[resolved(y)].add(x)
                if isinstance(x, Compute) and all(self.has(y) for y in x.operands):
                    self._same.add(x)

    def has(self, x: Operand) -> bool:
        """Whether an operand is the same in all iterations of a vector."""
        x = self._resolved(x)
        return not isinstance(x, Statement) or x in self._same or x not in self._inside

    def for_messages(self, body: Sequence[Statement]) -> dict[Statement, list[Statement]]:
        """Messages that are sent for all iterations or none, with what nothing else needs.

        What one needs holds no other one of them.

        Args:
            body: that of a loop in the loop.
        """
        stored = {x.array for x in statements(body) if isinstance(x, Store)}
        found: dict[Statement, list[Statement]] = {}
        waiting: set[Statement] = set()
        for x in reversed(body):
            is_message = isinstance(x, Compute) and x.operation is rules.message
            if not is_message or x in waiting or self.has(x) or not self.has(x.operands[0]):
                continue
            needed = {x}
            before: list[Statement] = []
            for y in reversed(body[: body.index(x)]):
                can_wait = isinstance(y, Compute) or (isinstance(y, Load) and y.array not in stored)
                if can_wait and not self.has(y) and y in self._users and self._users[y] <= needed:
                    needed.add(y)
                    before.insert(0, y)
            if len(before) >= WORTH_A_JUMP:
                found[x] = before
                waiting.update(before)
        return found


def needed_flag(
    loop: Loop,
    carries: Mapping[Loop, list[Carry]],
    resolved: Callable[[Operand], Operand],
    may_add_zero: Callable[[Add], bool],
) -> Operand | None:
    """A flag without which a loop does nothing: where it is 0, it adds zeros to sums, and no more.

    Args:
        loop: a loop in a loop.
        carries: of all loops those that change, each another way.
        resolved: gives what a value is the same as.
        may_add_zero: whether a zero changes nothing where it is added.
    """
    body = [*statements(loop.body)]
    computed = [x for x in body if isinstance(x, Compute)]
    adds = [x for x in body if isinstance(x, Add)]
    if (
        not adds
        or not all(isinstance(x, (Compute, Load, Add, Loop)) for x in body)
        or any(carries[x] for x in (loop, *body) if isinstance(x, Loop))
        or any(called_back(x.operation) for x in computed)
        or not all(may_add_zero(x) for x in adds)
    ):
        return None
    asked = [resolved(x.operands[0]) for x in computed if x.operation is rules.message]
    inside = set(body)
    for flag in dict.fromkeys([x for x in asked if isinstance(x, Statement) and x not in inside]):
        zeros: set[Operand] = {flag}
        for x in computed:
            if _is_zero(x, [y == 0.0 or y in zeros for y in map(resolved, x.operands)]):
                zeros.add(x)
        if zeros.issuperset([resolved(x.value) for x in adds]):
            return flag
    return None


def _is_zero(x: Compute, zeros: Sequence[bool]) -> bool:
    """Whether a value is 0.0 or -0.0 where those of its operands are of which that is said."""
    if x.operation is rules.message:
        return zeros[0]
    if x.operation is rules.where:
        return zeros[0] and zeros[2]
    return x.operation in _SIGNED and all(zeros)
