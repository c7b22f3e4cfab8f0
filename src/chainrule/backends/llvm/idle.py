"""Iterations in vain: those of a loop after the end that a condition in it sets.

Such a loop has a fixed number of iterations, in each of which a value tells whether it counts;
where it does not, all that iterations hand on stays as it is. A loop like that ends early: once a
value is 0 in all lanes, the iterations that are left would do what the last one has done. And one
that goes through the same iterations backwards begins late: with little is left of an iteration in
which the value is 0, that is all that is done until it is not.

What is left of an iteration is found by computing with 0 in the place of the value, to the last
bit: of 0 times what may be anything, say, nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from chainrule import rules
from chainrule.program.form import (
    READS,
    WRITES,
    Add,
    Array,
    Carry,
    Compute,
    Gather,
    Guard,
    Last,
    Load,
    Loop,
    Operand,
    Program,
    Scatter,
    Statement,
    Store,
    statements,
)
from chainrule.program.nests import Path, paths
from chainrule.program.simplify import SIMPLIFICATIONS, key
from chainrule.rules import Operation

from .flags import JOINS, is_flag
from .left_out import Reads
from .vector_math import INSTRUCTIONS, called_back

LEAST: Final = 4
"""Iterations of a loop for which it is looked, and what one computes."""
MOST: Final = 4
"""Values of a loop that are tried."""
PAYS: Final = 2
"""So many times as much is computed in an iteration as is left of it where it is in vain."""
EXACT: Final = {rules.where, rules.message, rules.azmul, *rules.COMPARISONS, *JOINS}
"""What gives the same to the last bit here and in machine code, beside instructions."""


class Ends(NamedTuple):
    """How a loop may end early.

    Attributes:
        goes_on: a value of the body; iterations after one in which it is 0 in all lanes would do
            what that one has done.
        filled: the stores whose elements are read of these iterations too.
    """

    goes_on: Statement
    filled: list[Store]


class Begins(NamedTuple):
    """How a loop may begin late.

    Attributes:
        goes_on: a value of the body that no carry has part in.
        asked: what computes it, in order.
        left: what is computed where it is 0.
        following: what carries then become.
    """

    goes_on: Statement
    asked: list[Statement]
    left: list[Statement]
    following: dict[Carry, Operand]


class Ending(NamedTuple):
    """How the code of a loop that ends early is written.

    Attributes:
        counts: writes whether an iteration has counted.
        fills: whether something is stored for those that are left out.
        fill: writes that, for one of them.
    """

    counts: Callable[[], str]
    fills: bool
    fill: Callable[[], None]


class Idle(NamedTuple):
    """Which loops need not run all their iterations."""

    ends: dict[Loop, Ends]
    begins: dict[Loop, Begins]


def idle(
    program: Program,
    flags: Collection[Statement],
    read: Collection[Array],
    may_add_zero: Callable[[Add | Scatter], bool],
    cut: Collection[Loop | None],
) -> Idle:
    """Find the loops that may end early or begin late.

    Args:
        program: the program, as it is lowered.
        flags: values that are 0 or 1, comparisons aside.
        read: arrays that are read after the program has run, outputs aside.
        may_add_zero: whether 0.0 changes nothing where it is added.
        cut: loops that are no part of a function.
    """
    found = Idle({}, {})
    known = set(flags)
    ending: dict[Loop, tuple[Path, Compute]] = {}
    beginning: dict[Loop, Begins] = {}
    every = [(x, path) for x, path in paths(program.body) if isinstance(x, Loop)]
    for loop, path in every:
        if loop.carries and _is_long(loop):
            goes_on = _goes_on(loop, known)
            if goes_on is not None:
                ending[loop] = path, goes_on
                continue
            begins = _begins(loop, known, may_add_zero)
            if begins is not None:
                beginning[loop] = begins
    if not ending:
        return found
    full = _followed(ending, [program.body, *[x.body for x, _ in every]])
    stored = {x.array for loop in full for x in statements(loop.body) if isinstance(x, Store)}
    for loop, begins in beginning.items():
        is_full = any(isinstance(x, Load) and x.array in stored for x in begins.asked)
        if loop not in cut and not is_full:
            found.begins[loop] = begins
    reads = Reads(program, read, beginning)
    for loop, (path, goes_on) in ending.items():
        if loop not in full and loop not in cut:
            filled = reads.filled(loop, path, goes_on)
            if filled is not None:
                found.ends[loop] = Ends(goes_on, filled)
    return found


def _followed(
    ending: Mapping[Loop, tuple[Path, Compute]], bodies: Sequence[Sequence[Statement]]
) -> set[Loop]:
    """Stretches of iterations that longer ones follow: all of their iterations count.

    A guard that says so comes after a stretch like that, if that is not known anyway.

    Args:
        ending: loops that may end early.
        bodies: of all loops, and the program's.
    """
    found = set()
    for loop, (_, goes_on) in ending.items():
        for carry in loop.carries:
            first = carry.initial
            if isinstance(first, Last) and first.loop in ending:
                before = first.loop
                same = ending[before][1].operation is goes_on.operation
                if same and before.trips.offset < loop.trips.offset:
                    found.add(before)
    for body in bodies:
        last: Loop | None = None
        for x in body:
            if isinstance(x, Loop):
                last = x if x in ending else None
            elif isinstance(x, Guard) and x.outcome and last is not None:
                asked = x.condition
                if isinstance(asked, Compute) and asked.operation is ending[last][1].operation:
                    found.add(last)
    return found


def _is_long(loop: Loop) -> bool:
    return loop.trips.is_fixed and loop.trips.offset >= LEAST and not loop.side_by_side


# Loops that end early


def _goes_on(loop: Loop, flags: set[Statement]) -> Compute | None:
    """A value without which all iterations do the same; None if there is none."""
    body = set(loop.body)
    tried: dict[Compute, None] = {}
    for carry in loop.carries:
        x = carry.next
        if isinstance(x, Compute) and x.operation is rules.where and x in body:
            condition = x.operands[0]
            if isinstance(condition, Compute) and condition in body:
                tried[condition] = None
    if not tried or len(loop.body) < LEAST or not _repeats(loop):
        return None
    for goes_on in [*tried][:MOST]:
        if _is_still(loop, goes_on, flags):
            return goes_on
    return None


def _repeats(loop: Loop) -> bool:
    """Whether what an iteration does hangs on nothing but its carries."""
    every = [*statements(loop.body)]
    written = {x.array for x in every if isinstance(x, WRITES)}
    for x in every:
        if isinstance(x, Compute):
            if called_back(x.operation):
                return False
        elif isinstance(x, READS):
            if x.array in written or loop in x.index.loops():
                return False
        elif isinstance(x, Loop):
            if loop in x.trips.loops():
                return False
        elif not isinstance(x, (Guard, Last)) and type(x) is not Store:
            return False
    return True


def _is_still(loop: Loop, goes_on: Statement, flags: set[Statement]) -> bool:
    """Whether an iteration without a value changes nothing that the next one uses."""
    left = _Left(flags, {goes_on: 0.0})
    left.computes(loop.body)
    changing = [x for x in loop.carries if left.of(x.next) is not x]
    if len(changing) == len(loop.carries):
        return False
    if changing:
        used = {y for x in statements(loop.body) for y in _uses(x)}
        inside = {*statements(loop.body), *changing}
        if any(x in used or left.of(x.next) in inside for x in changing):
            return False
    return True


def _uses(x: Statement) -> Iterable[Operand]:
    """What a statement uses, and what a loop hands on."""
    if isinstance(x, Loop):
        return [*x.operands, *[carry.next for carry in x.carries]]
    return x.operands


# Loops that begin late


def _begins(
    loop: Loop, flags: set[Statement], may_add_zero: Callable[[Add | Scatter], bool]
) -> Begins | None:
    """How a loop may begin late; None if it may not."""
    tried: dict[Statement, None] = {}
    for x in loop.body:
        if isinstance(x, Compute) and x.operation is rules.equal:
            value, zero = x.operands
            if zero == 0.0 and isinstance(value, (Compute, Load)):
                tried[value] = None
    every = [*statements(loop.body)] if tried else []
    body = set(loop.body)
    cost = sum([isinstance(x, Compute) for x in every])
    if cost < LEAST or any(isinstance(x, Compute) and called_back(x.operation) for x in every):
        return None
    written = {x.array for x in every if isinstance(x, WRITES)}
    for goes_on in [x for x in tried if x in body][:MOST]:
        slices = _Slices(loop, body, written)
        if not slices.add(goes_on) or slices.carries:
            continue
        left = _Left(flags, _without(goes_on, loop.body, flags))
        left.computes(loop.body)
        if not all(_is_nothing(x, left, may_add_zero) for x in loop.body):
            continue
        following = {x: left.of(x.next) for x in loop.carries}
        rest = _Slices(loop, body | left.new, written)
        if not all(map(rest.add, following.values())):
            continue
        if PAYS * (len(slices.found) + len(rest.found)) > cost:
            continue
        return Begins(goes_on, slices.found, rest.found, following)
    return None


def _without(
    goes_on: Statement, body: Sequence[Statement], flags: set[Statement]
) -> dict[Operand, Operand]:
    """What is known where a value is 0.0 or -0.0."""
    if goes_on in flags or (
        isinstance(goes_on, Compute) and goes_on.operation in rules.COMPARISONS
    ):
        return {goes_on: 0.0}
    known: dict[Operand, Operand] = {}
    for x in body:
        if isinstance(x, Compute) and x.operation in rules.COMPARISONS and goes_on in x.operands:
            operands = [0.0 if y is goes_on else y for y in x.operands]
            numbers = [y for y in operands if isinstance(y, float)]
            if len(numbers) == len(operands):
                known[x] = x.operation.evaluate(numbers)
    return known


def _is_nothing(x: Statement, left: _Left, may_add_zero: Callable[[Add | Scatter], bool]) -> bool:
    """Whether a statement does nothing but computing."""
    if isinstance(x, (Compute, Load, Gather, Last)):
        return True
    if isinstance(x, (Add, Scatter)):
        return left.of(x.value) == 0.0 and may_add_zero(x)
    return isinstance(x, Loop) and all(_is_nothing(y, left, may_add_zero) for y in x.body)


class _Slices:
    """What computes some values in an iteration, in order.

    Args:
        loop: the loop.
        body: its statements.
        written: the arrays that it writes to.

    Attributes:
        found: the statements: those of the body, and others that are not in it.
        carries: the carries of the loop that are used.
    """

    def __init__(self, loop: Loop, body: Collection[Statement], written: Collection[Array]) -> None:
        self.found: list[Statement] = []
        self.carries: set[Carry] = set()
        self._of = set(loop.carries)
        self._body = body
        self._written = written
        self._known: set[Operand] = set()

    def add(self, x: Operand) -> bool:
        """Add what computes a value; whether it is little, and may be computed at any time."""
        if not isinstance(x, Statement) or x in self._known:
            return True
        self._known.add(x)
        if x in self._of:
            assert isinstance(x, Carry)
            self.carries.add(x)
            return True
        if x not in self._body:
            return True
        if isinstance(x, (Load, Gather)):
            if x.array in self._written:
                return False
        elif not isinstance(x, Compute):
            return False
        if len(self.found) > 20 * MOST or not all(map(self.add, x.operands)):
            return False
        self.found.append(x)
        return True


# What is left


class _Left:
    """What is left of statements where some values are known.

    Args:
        flags: values that are 0 or 1, comparisons aside; new ones are added.
        known: the values, by what they stand for.

    Attributes:
        new: those that are none of the program's.
    """

    def __init__(self, flags: set[Statement], known: dict[Operand, Operand]) -> None:
        self._flags = flags
        self._known = known
        self._computed: dict[object, Operand] = {}
        self.new: set[Statement] = set()

    def of(self, x: Operand) -> Operand:
        """What a value is."""
        return self._known.get(x, x)

    def computes(self, body: Sequence[Statement]) -> None:
        """Find what values are."""
        known = self._known
        for x in body:
            if type(x) is Compute:
                if x not in known and not known.keys().isdisjoint(x.operands):
                    known[x] = self._value(x.operation, tuple(map(self.of, x.operands)))
            elif isinstance(x, Last):
                if x.carry in known:
                    known[x] = known[x.carry]
            elif isinstance(x, Loop):
                self._loop(x)

    def _loop(self, loop: Loop) -> None:
        """Find what values are in a loop whose carries may stay what they are at first."""
        if not (loop.trips.is_fixed and loop.trips.offset > 0):
            return
        before = dict(self._known)
        first = {x: self.of(x.initial) for x in loop.carries}
        stays: dict[Operand, Operand] = {x: y for x, y in first.items() if isinstance(y, float)}
        while True:
            self._known.update(stays)
            self.computes(loop.body)
            others = [
                x for x in loop.carries if x in stays and key(self.of(x.next)) != key(stays[x])
            ]
            if not others:
                return
            for x in others:
                del stays[x]
            self._known.clear()
            self._known.update(before)

    def _value(self, operation: Operation, operands: tuple[Operand, ...]) -> Operand:
        """The value of an operation, simplified."""
        exact = operation in EXACT or operation.name in INSTRUCTIONS
        if exact and all(isinstance(x, float) for x in operands):
            return operation.evaluate([x for x in operands if isinstance(x, float)])
        found = self._simplified(operation, operands)
        if found is not None:
            return found
        name = operation, *map(key, operands)
        if name not in self._computed:
            new = self._computed[name] = Compute(operation, operands)
            self.new.add(new)
            picks = operation is rules.where
            if (picks or operation in JOINS) and all(map(self._is_flag, operands[picks:])):
                self._flags.add(new)
        return self._computed[name]

    def _is_flag(self, x: Operand) -> bool:
        return is_flag(x, self._flags)

    def _simplified(self, operation: Operation, operands: tuple[Operand, ...]) -> Operand | None:
        simplification = SIMPLIFICATIONS.get(operation)
        if simplification is not None:
            found: Operand | None = simplification(self._value, *operands)
            if found is not None:
                return found
        if operation is rules.where:
            condition, *sides = operands
            return condition if sides == [1.0, 0.0] and self._is_flag(condition) else None
        if operation in JOINS and all(map(self._is_flag, operands)):
            x, y = operands if isinstance(operands[1], float) else operands[::-1]
            if isinstance(y, float):
                absorbing = 1.0 if JOINS[operation] == "or" else 0.0
                return absorbing if y == absorbing else x
        if operation is rules.add and 0.0 in operands:  # to a sum that is never -0.0
            (x,) = [x for x in operands if x != 0.0]
            if isinstance(x, Compute) and x.operation is rules.add and 0.0 in x.operands:
                return x
        return None
