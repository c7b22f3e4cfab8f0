"""Loops of a single point whose iterations hang on each other in few values: some at a time.

The loop becomes two: one whose iterations are several of the program's, on vectors, and one for the
rest. Loops in it run for all of these iterations at once. Each value is the same to the last bit,
as functions of vectors give in each lane what those of numbers give. Sums are added in order, and
chains of other values are computed for one iteration after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Final, NamedTuple

from chainrule import rules
from chainrule.program.form import (
    Add,
    Carry,
    Compute,
    Last,
    Load,
    Loop,
    Operand,
    Statement,
    Store,
    statements,
)

from .chains import Chain, Step, in_order, is_call
from .in_common import InCommon
from .independence import are_independent, has_strips, stride_of
from .vector_math import INSTRUCTIONS, called_back

MOST_VECTORS: Final = 4
"""Vectors that are computed side by side: what half of the registers hold, of a product's sums."""

BESIDE_CALLS: Final = 2
"""The same where functions are called: while those of two run, the sum before gets its terms."""

SIMPLE: Final = 16
"""Statements of a loop of which that many are computed side by side."""


class Sum(NamedTuple):
    """A carry that terms are added to, or subtracted from, one after the other.

    Attributes:
        carry: the carry.
        steps: instructions with what they add.
        statements: what computes the sum.
    """

    carry: Carry
    steps: list[tuple[str, Operand]]
    statements: set[Statement]


class HandedOn(NamedTuple):
    """When iterations hand all on that they get, and add nothing to elements.

    Attributes:
        ones, zeros: values that are 1 then, and 0.
        needed: what computes these, in order.
        after: the carry from which each carry gets its value.
    """

    ones: list[Operand]
    zeros: list[Operand]
    needed: list[Statement]
    after: dict[Carry, Carry]


class Map(NamedTuple):
    """A loop that can be computed several iterations at a time.

    Attributes:
        loop: the loop.
        sums: for its carries the sums; None for those that are handed on.
        steps: what is computed, in order, but for the sums.
    """

    loop: Loop
    sums: dict[Carry, Sum | None]
    steps: list[Step]

    @property
    def body(self) -> list[Statement]:
        """All that is computed on vectors."""
        return [x for x in self.steps if not isinstance(x, (Chain, Carry))]

    def vectors(self, width: int, common: InCommon) -> list[int]:
        """How many vectors to compute side by side: at first, and of what is left then.

        What they have in common is loaded once, sums of inner loops need not wait, and those of the
        loop itself do not go through memory at each call of a function.

        Args:
            width: how many iterations a vector has.
            common: what is computed once for all of them.
        """
        every = [*statements(self.body)]
        carries = [len(x.carries) for x in every if isinstance(x, Loop)]
        is_simple = not any(isinstance(x, Compute) and is_call(x) for x in every)
        if len(self.body) < len(self.steps) or is_simple != bool(carries):
            return [1]
        pays = len(every) <= SIMPLE
        if is_simple:
            inner = [x.body for x in every if isinstance(x, Loop)]
            pays = pays and max(carries) <= 2
            pays = pays or (max(carries) <= MOST_VECTORS and _are_products(every))
            pays = pays or any(common.for_messages(body) for body in inner)
        else:
            pays = pays and any(self.sums.values())
        most = (MOST_VECTORS if is_simple else BESIDE_CALLS) if pays else 1
        trips = self.loop.trips
        if not trips.is_fixed:
            return [most, 1] if most > 1 else [1]
        sizes = [x for x in (most, most // 2) if 1 < x <= trips.offset // width]
        if sizes and trips.offset % (width * sizes[0]) < width:
            return sizes[:1]
        return [*sizes[:1], 1]

    def goes_on_by(
        self, resolved: Callable[[Operand], Operand], may_add_zero: Callable[[Add], bool]
    ) -> Carry | None:
        """A flag that nothing is done without: where it is 0, the carries are, and stay so.

        All that iterations then send are messages of nothing, which leave sums as they are.

        Args:
            resolved: gives what a value is the same as.
            may_add_zero: whether 0.0 changes nothing where it is added.
        """
        flags = [x for x in self.chains if x.is_flag and x.carries[0].initial == 1.0]
        if len(flags) != 1 or any(self.sums.values()):
            return None
        (flag,) = flags[0].carries
        nothing: set[Operand] = set()  # without it
        for x in self.steps:
            for y in x.body if isinstance(x, Chain) else [x]:
                if not isinstance(y, Compute):
                    continue
                if called_back(y.operation):
                    return None
                given = [resolved(z) for z in y.operands]
                picks = y.operation is rules.where and given[0] is flag and given[2] == 0.0
                if picks or (y.operation is rules.message and given[0] in nothing):
                    nothing.add(y)
        for x in self.steps:
            if isinstance(x, (Compute, Load, Last)) or x is flags[0]:
                continue
            if isinstance(x, (Chain, Carry)):
                carries = x.carries if isinstance(x, Chain) else [x]
                sent = all(_is_message(resolved(carry.next), nothing) for carry in carries)
            elif isinstance(x, Add):
                sent = may_add_zero(x) and _is_message(resolved(x.value), nothing)
            else:
                return None
            if not sent:
                return None
        return flag

    def handed_on(self, flag: Carry, resolved: Callable[[Operand], Operand]) -> HandedOn | None:
        """When iterations hand all on that they get, and add nothing; None if that can't be told.

        Args:
            flag: without which nothing is done; it is 1.
            resolved: gives what a value is the same as.
        """
        after: dict[Operand, Carry] = {flag: flag}
        ones: dict[Operand, None] = {}
        zeros: dict[Operand, None] = {}
        through: list[Operand] = []  # what is not 0 then
        for x in self.steps:
            if isinstance(x, Chain) and x.is_flag:
                through = [x.body[0], resolved(x.body[0].operands[1])]
                ones[through[1]] = None
            elif isinstance(x, Chain) and x.is_message:
                (carry,), (message,) = x.carries, x.body
                reached, _, factor = map(resolved, message.operands)
                if reached not in through:
                    return None
                ones[factor] = None
                after[carry] = after[message] = carry
            elif isinstance(x, Carry):
                if resolved(x.next) not in after:
                    return None
                after[x] = after[resolved(x.next)]
            elif isinstance(x, Add):
                message_of = resolved(x.value)
                assert isinstance(message_of, Compute)
                reached = resolved(message_of.operands[0])
                if not isinstance(reached, Compute) or reached.operation is not rules.where:
                    return None
                asked, other, _ = map(resolved, reached.operands)
                if asked is not flag:
                    return None
                zeros[other] = None
            elif not isinstance(x, (Compute, Load, Last)):
                return None
        needed = self._needed([*ones, *zeros], resolved)
        carries = {x: y for x, y in after.items() if isinstance(x, Carry)}
        return None if needed is None else HandedOn([*ones], [*zeros], needed, carries)

    def _needed(
        self, values: Sequence[Operand], resolved: Callable[[Operand], Operand]
    ) -> list[Statement] | None:
        """What computes some values, in order; None if they hang on what is handed on."""
        body = set(self.body)
        handed_on = {*self.sums, *[y for x in self.chains for y in x.body]}
        needed: set[Operand] = set()
        waiting = [*values]
        while waiting:
            x = waiting.pop()
            if x in handed_on or (x in body and not isinstance(x, (Compute, Load))):
                return None
            if isinstance(x, Statement) and x in body and x not in needed:
                needed.add(x)
                waiting += map(resolved, x.operands)
        return [x for x in self.body if x in needed]

    @property
    def chains(self) -> list[Chain]:
        """What is computed for one iteration after the other."""
        return [x for x in self.steps if isinstance(x, Chain)]


def _is_message(x: Operand, nothing: Container[Operand]) -> bool:
    """Whether a value is a message, of nothing where a flag is 0: then it is 0.0."""
    return isinstance(x, Compute) and x.operation is rules.message and x in nothing


def _are_products(every: Sequence[Statement]) -> bool:
    """Whether loops only add up products: of two numbers each, a few side by side."""
    loops = [x for x in every if isinstance(x, Loop)]
    return all(len(loop.body) <= 4 * len(loop.carries) for loop in loops)


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
    if (loop.trips.is_fixed and loop.trips.offset < width) or has_strips(loop.body):
        return None
    inner = [x for x in statements(loop.body) if isinstance(x, Loop)]
    used: list[Operand] = [y for x in statements(loop.body) for y in x.operands]
    used += [carry.next for x in (loop, *inner) for carry in carries[x]]
    resolved = [same.get(x, x) for x in used if isinstance(x, Statement)]
    uses = Counter([x for x in resolved if isinstance(x, Statement)])
    sums = {carry: sum_of(carry, uses, set(loop.body)) for carry in carries[loop]}
    added = {x for found in sums.values() if found is not None for x in found.statements}
    body = [x for x in loop.body if x not in added]
    handed_on = [carry for carry, terms in sums.items() if terms is None]
    steps = in_order(body, handed_on, carries, same)
    if steps is None:
        return None
    result = Map(loop, sums, steps)
    if result.chains:
        pays = _is_worth_it(result)
    else:
        pays = loop.side_by_side or _pays(result, inner, carries, same, width)
    return result if pays and are_independent(loop, result.body) else None


def _is_worth_it(found: Map) -> bool:
    """Whether enough is left for vectors, beside what is computed one after the other."""
    left = [*statements(found.body)]
    computed = [x for x in left if isinstance(x, Compute)]
    if any(is_call(x) for x in computed):
        return True
    if not _is_regular(found.loop, left):
        return False  # it would take as long
    slow = [x for x in found.chains if not (x.is_scan or x.is_flag or x.is_message)]
    return not slow or len(computed) > sum([len(x.body) for x in slow])


def _is_regular(loop: Loop, body: Sequence[Statement]) -> bool:
    """Whether the elements of iterations are as far apart everywhere."""
    accesses = [x.index for x in body if isinstance(x, (Load, Store))]
    return all(stride_of(x, loop) is not None for x in accesses)


def _pays(
    found: Map,
    inner: list[Loop],
    carries: Mapping[Loop, list[Carry]],
    same: Mapping[Statement, Operand],
    width: int,
) -> bool:
    """Whether vectors take less time than one iteration after the other."""
    if any(isinstance(x, Compute) and is_call(x) for x in found.body):
        return True
    every = [*statements(found.body)]
    maps = [y for y in (as_map(x, carries, same, width) for x in inner) if y is not None]
    if any(isinstance(x, Compute) and is_call(x) for x in every):
        return not maps
    if not _is_regular(found.loop, every) or 4 * _cost(found.loop, every, width) > 3 * width * sum(
        [1 + isinstance(x, Add) for x in every]
    ):
        return False  # it would take as long
    if not inner:
        return not any(found.sums.values())
    return all(
        _cost(found.loop, x.body, width)
        < _cost(x.loop, x.body, width) + 2 * width * sum([y is not None for y in x.sums.values()])
        for x in maps
    )


def _cost(loop: Loop, body: Sequence[Statement], width: int) -> int:
    """What statements cost for some iterations of a loop at a time, about."""
    total = 0
    for x in body:
        total += 1
        if isinstance(x, (Load, Store)):
            stride = stride_of(x.index, loop)
            one_by_one = stride == 0 if isinstance(x, Store) else stride is None
            if one_by_one or stride not in (-1, 0, 1):
                total += 2 * width
    return total


def sum_of(carry: Carry, uses: Counter[Statement], body: set[Statement]) -> Sum | None:
    """A carry as a sum; None if it is none.

    Args:
        carry: the carry.
        uses: how often values are used.
        body: the statements of the loop that it belongs to.
    """
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
    return Sum(carry, steps[::-1], statements)


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
