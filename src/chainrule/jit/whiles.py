"""Loops that end by a condition, in a trace: stretches of iterations, each traced once.

Of a stretch all iterations run; those after the loop's end leave its value as it is. After each a
guard asks whether the loop has ended, and where it has not, a stretch of twice the length follows.
So lanes that need 3, 30 and 3,000 iterations take ten paths, not 3,000. The guards need values that
a loop has computed: the trace computes them by what it has recorded of an iteration, in numbers.

Where that can't be, and in other loops, where guards can't ask, loops have bounds: see
:mod:`~.bounds`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy

from chainrule.annotations import users_line
from chainrule.carries import Carry, EndlessError, flattened, leaves_of
from chainrule.comparing import ConditionNode
from chainrule.node import Node
from chainrule.passes.stretches import UNKNOWN
from chainrule.program.recording import LOOKUP
from chainrule.rules import Operation

from .bounds import CountsWanted
from .indices import IndexNode
from .loops import Iteration, like
from .recorded import Recorded, ValuesWanted
from .segments import ORIGIN

if TYPE_CHECKING:
    from .trace import Recorder

FIRST: Final = 8
"""The iterations of the first stretch."""
RARELY: Final = 256
"""After so many iterations it is looked whether one that has NaN changes nothing."""


def traced_while(
    recorder: Recorder,
    condition: Callable[[Any], Any],
    body: Callable[[Any], Any],
    init: Any,
    carry: Carry,
    most: int,
) -> tuple[Any] | None:
    """The value after a loop, in a tuple.

    Args:
        recorder: of the trace.
        condition: says whether to go on.
        body: from a value to the next one.
        init: the first value.
        carry: what is known of it.
        most: the iterations after which the loop is taken to be endless.

    Returns:
        None where it must be a plain loop.

    Raises:
        EndlessError: if it does not end.
        Plain: if the trace must start anew with plain loops.
        CountsWanted: if it must with bounds for loops, or with others.
    """
    line = users_line()
    if recorder.iterations or recorder.bounds.active:
        if not carry.is_numeric() or line in recorder.bounds.constant:
            return None
        return _bounded(recorder, condition, body, init, carry, most, line)
    recorded = recorder.recorded
    values: Sequence[Any] = flattened(leaves_of(init)[0])
    nodes = [x for x in values if isinstance(x, Node)]
    unknown = any(map(recorded.is_unknown, nodes))
    if most < FIRST or not carry.is_numeric() or not nodes or unknown:
        return None
    size, done = FIRST, 0

    def give_up() -> NoReturn:
        recorder.bounds.most[line] = most
        raise CountsWanted(line)

    while True:
        if done >= most:
            raise EndlessError(None, most)
        size = min(size, most - done)
        iteration = Iteration(recorder, size, values)
        around, recorded.repeated = recorded.repeated, True
        try:
            goes_on, after = _recorded(iteration, condition, body, init, carry)
        except TypeError:  # perhaps as it looks up by a number
            if not any(map(_is_index, leaves_of(init)[0])):
                raise
            give_up()
        recorded.repeated = around
        if iteration.asks_guards and recorded.looks_up:
            give_up()
        if iteration.asks_guards:
            iteration.make_plain("while")
        numbers = Numbers(iteration, goes_on, after, recorded, give_up)
        last = numbers.after(size, done)
        values = iteration.end_where(goes_on, after, last)
        state = like(init, values)
        if not condition(state):
            return (state,)
        done += size
        size *= 2


def _bounded(
    recorder: Recorder,
    condition: Callable[[Any], Any],
    body: Callable[[Any], Any],
    init: Any,
    carry: Carry,
    most: int,
    line: str,
) -> tuple[Any]:
    """The same where loops have bounds, see :mod:`~.bounds`."""
    bound = recorder.bounds.bound(line, most)
    recorder.speculation.before_guard()
    leaves = leaves_of(init)[0]
    known = recorder.given(line)
    iteration = Iteration(recorder, bound, flattened(leaves))
    iteration.masked = True
    indexed = line in recorder.bounds.indexed
    try:
        goes_on, after = _recorded(iteration, condition, body, init, carry, indexed)
    except TypeError:  # perhaps as it looks up by a number
        if indexed or not any(map(_is_index, leaves)):
            raise
        recorder.bounds.indexed.add(line)
        raise CountsWanted(line) from None
    if not iteration.depends_on([goes_on, *after]):
        recorder.bounds.constant.add(line)
        raise CountsWanted(line)
    state = _state(init, iteration.end_where(goes_on, after, known), indexed)
    if iteration.may_raise:
        iteration.make_plain("while")
    recorder.presumes = True
    still = condition(state)
    recorder.presumes = False
    if isinstance(still, ConditionNode):
        still.asked = True
        recorder.note_failed(line, still)
    elif still:
        raise CountsWanted(line, outgrown=True)
    return (state,)


def _recorded(
    iteration: Iteration,
    condition: Callable[[Any], Any],
    body: Callable[[Any], Any],
    init: Any,
    carry: Carry,
    indexed: bool = False,
) -> tuple[Node, list[Any]]:
    """Whether an iteration counts, and the next carries if it does."""
    state = _state(init, iteration.carries, indexed)
    goes_on = condition(state)
    noted = {**iteration.failed}
    leaves = carry.check(body(state))
    pairs = zip(leaves_of(state)[0], leaves, strict=True)
    if indexed and any(_is_index(x) and not _is_index(y) for x, y in pairs):
        iteration.make_plain("while")
    if not isinstance(goes_on, ConditionNode) or (iteration.masked and iteration.asks_guards):
        iteration.make_plain("while")
    goes_on.asked = True
    iteration.count_failed(noted, goes_on)
    return goes_on, flattened(leaves)


def _state(init: Any, nodes: Sequence[Node], indexed: bool) -> Any:
    """A value like the first one, of nodes.

    Args:
        init: the first one.
        nodes: they.
        indexed: whether its whole numbers are indices.
    """
    state = like(init, nodes)
    if not indexed:
        return state
    leaves, structure = leaves_of(state)
    pairs = zip(leaves, leaves_of(init)[0], strict=True)
    return structure.unflatten([IndexNode.of(x) if _is_index(y) else x for x, y in pairs])


def _is_index(leaf: Any) -> bool:
    """Whether a leaf is a whole number that may look up."""
    return isinstance(leaf, (int, numpy.integer, IndexNode)) and not isinstance(leaf, bool)


class Numbers:
    """The iterations of a loop in numbers, by the nodes of one.

    Args:
        iteration: the one that is recorded.
        goes_on: whether the loop goes on; else the iteration does not count.
        after: the next carries, numbers and nodes.
        recorded: what is recorded.
        give_up: called if something in it is not known in other iterations.

    Raises:
        ValuesWanted: if it is, in a trace with all values.
    """

    def __init__(
        self,
        iteration: Iteration,
        goes_on: Node,
        after: Sequence[Any],
        recorded: Recorded,
        give_up: Callable[[], NoReturn],
    ) -> None:
        self._state = [x._number for x in iteration.carries]
        self._values = [*self._state]
        place = {id(x): i for i, x in enumerate(iteration.carries)}  # of nodes among the values
        inside: dict[int, Node] = {}
        waiting = [goes_on, *[x for x in after if isinstance(x, Node)]]
        for x in waiting:
            if id(x) in place or id(x) in inside:
                continue
            if iteration.is_outside(x):
                if recorded.is_unknown(x):
                    give_up()
                place[id(x)] = self._kept(x._number)
            elif x._operation is ORIGIN:
                raise ValuesWanted
            elif x._operation is None or _hangs_on_more(x._operation):
                give_up()
            else:
                inside[id(x)] = x
                waiting += [y for y in x.operands if isinstance(y, Node)]

        def placed(x: Any) -> int:
            return place[id(x)] if isinstance(x, Node) else self._kept(x)

        self._rows: list[tuple[Callable[[Any], float], list[int], int]] = []
        for x in sorted(inside.values(), key=lambda x: x._serial):
            operands = [placed(y) for y in x.operands]
            place[id(x)] = self._kept(x._number)
            assert x._operation is not None
            self._rows.append((x._operation.evaluate, operands, place[id(x)]))
        self._goes_on = placed(goes_on)
        self._after = [placed(x) for x in after]

    def _kept(self, number: float) -> int:
        """A place for a number among the values."""
        self._values.append(number)
        return len(self._values) - 1

    def after(self, size: int, done: int) -> list[float]:
        """The carries after some iterations.

        Args:
            size: how many iterations there are.
            done: how many were before them.

        Raises:
            EndlessError: if one changes nothing.
        """
        values, state = self._values, self._state
        for count in range(done, done + size):
            values[: len(state)] = state
            for evaluate, operands, place in self._rows:
                values[place] = evaluate([values[i] for i in operands])
            if not values[self._goes_on]:
                break
            new = [values[i] for i in self._after]
            same = new == state or count % RARELY == 0  # NaN is not what it was
            if same and [*map(repr, new)] == [*map(repr, state)]:  # which tells zeros apart
                raise EndlessError(count + 1, 0)
            state = new
        return state


def _hangs_on_more(operation: Operation) -> bool:
    """Whether an operation has another value than that of its operands, or may not run in vain."""
    return operation in (UNKNOWN, LOOKUP) or operation.can_raise
