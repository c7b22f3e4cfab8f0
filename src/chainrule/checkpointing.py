"""Long loops in reverse mode with less memory: carries are kept now and then, the rest runs again.

A loop keeps its graph, some nodes an operation, until the backward pass has come through it. A
checkpointed one is a single operation of the graph: it keeps carries of the forward pass, and its
backward pass runs the iterations between two of them once more. Two ways are offered, for n
iterations:

- every k-th carry is kept: n / k carries and the graph of k iterations, each run twice; least for k
  about the square root of n;
- with c carries at a time, iterations run again up to r times, where n is at most
  binomial(c + r, c): the binomial schedule of Griewank and Walther, "Algorithm 799: revolve", ACM
  Transactions on Mathematical Software 26 (2000), which none with as many carries undercuts.

Compiled, the loop is written as loops one in another, of which all but the innermost keep the
carries that their iterations begin with, and run them again in the reverse pass.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain, pairwise, product
from types import CellType, FunctionType
from typing import Any, Final, TypeAlias

from chainrule.differentiation import Linearization, fresh_input, fresh_inputs
from chainrule.node import Node, apply
from chainrule.operation import Operation, result_of
from chainrule.rules import described, floor
from chainrule.tracing import PROGRESS, transformation
from chainrule.whole import WholeNode, rounded

Checkpoint: TypeAlias = "int | str | tuple[str, int] | None"

BINOMIAL: Final = "binomial"
REPETITIONS: Final = 3
"""How often an iteration may run again by the binomial schedule, where the carries are not said."""
LONG: Final = 1 << 19
"""Compiled loops of so many iterations run again in any case,"""
USUAL: Final = range(500, 1501)
"""that many at a time."""
DEEPEST: Final = 6
"""So many loops one in another may stand for it in compiled code."""

_REVERSE: Final = frozenset(["grad", "value_and_grad", "jacrev"])

Step: TypeAlias = Callable[[Sequence[Any], Sequence[Any], int], tuple[list[Any], list[Any]]]
"""From the numbers and nodes of a carry and a row, and its place, to the next and what is left."""


class Plan:
    """Which carries a loop keeps.

    Args:
        checkpoint: every how many iterations; "binomial"; or ("binomial", how many at a time).
        loop: what has them, for messages.
        length: the number of iterations.

    Attributes:
        every: the distance of carries that are kept; 0 for the binomial schedule.
        carries: how many are kept at a time by the binomial schedule.

    Raises:
        TypeError, ValueError: if there is no such way.
    """

    def __init__(self, checkpoint: Any, loop: str, length: int) -> None:
        self.every, self.carries = 0, 0
        number = checkpoint
        if isinstance(checkpoint, tuple) and len(checkpoint) == 2 and checkpoint[0] == BINOMIAL:
            number = checkpoint[1]
        elif checkpoint == BINOMIAL:
            number = 1
            while math.comb(number + REPETITIONS, number) < length:
                number += 1
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(
                f"{loop}: checkpoint is a number of iterations, {BINOMIAL!r}, ({BINOMIAL!r}, number"
                f" of carries) or None, not {described(checkpoint)}"
            )
        if number < 1:
            raise ValueError(
                f"{loop}: checkpoint={described(checkpoint)} keeps nothing; give 1 or more"
            )
        if number is checkpoint:
            self.every = number
        else:
            self.carries = number

    def first(self, length: int) -> list[int]:
        """The places whose carries the forward pass keeps, in order."""
        if self.every:
            return list(range(0, length, self.every))
        places, at = [0], 0
        for left in range(self.carries - 1, 0, -1):
            at += advance(length - at, left)
            if at >= length:
                break
            places.append(at)
        return places

    def nest(self, length: int) -> tuple[int, ...]:
        """The same as nested loops: of how many iterations each is, the outermost first.

        All but the innermost keep the carries that their iterations begin with, and run them again.
        The nest may have less iterations than there are, by less than the outermost runs at a time.
        """
        if self.every:
            return (length // self.every, self.every) if self.every < length else (length,)
        nests = [(length,), *[_nest(length, depth) for depth in range(2, DEEPEST + 1)]]
        few = [x for x in nests if sum(x) <= self.carries]
        return few[0] if few else min(nests, key=sum)


def usual_nest(length: int) -> tuple[int, ...]:
    """The nested loops of a compiled loop for which nothing is said.

    What a very long one keeps does not fit into the cache, and takes longer to write and to read
    than to compute again.
    """
    if length < LONG:
        return (length,)
    every = min(USUAL, key=lambda every: (length % every, abs(every - USUAL[len(USUAL) // 2])))
    return length // every, every


def _nest(length: int, depth: int) -> tuple[int, ...]:
    """Nested loops of about as many iterations each, which leave few over."""
    size = max(2, round(length ** (1.0 / depth)))
    inner = [*product(range(max(2, size - 2), size + 3), repeat=min(depth - 1, 3))]
    nests = [(length // math.prod(x) // size ** (depth - 1 - len(x)), *x) for x in inner]
    nests = [x + (size,) * (depth - len(x)) for x in nests if x[0] > 1]
    return min(nests, key=lambda x: sum(x) + length - math.prod(x), default=(length,))


def advance(length: int, carries: int) -> int:
    """After how many of some iterations the next carry is kept, with so many for the rest.

    The iterations before it are pulled back with one carry more than the rest has, so that they are
    split as binomial(carries + r, carries) is by Pascal's rule, r being the least that suffices.
    """
    repetitions = 0
    while math.comb(carries + 1 + repetitions, carries + 1) < length:
        repetitions += 1
    most = math.comb(carries + repetitions, carries + 1)  # with one repetition less
    fewest = length - math.comb(carries + repetitions, carries)
    return max(1, min(length - 1, most), fewest)


def can_be_kept() -> bool:
    """Whether a loop may be one operation: only first derivatives in reverse mode are wanted."""
    names = PROGRESS.names.values()
    alone = len(names) <= 1 and _REVERSE.issuperset(names)
    return alone and PROGRESS.recorder is None and not PROGRESS.structural


class Checkpointed:
    """A loop as an operation.

    Args:
        step: an iteration; takes the carry, what it reads, and its place.
        again: the same, for when variables around it may have changed.
        length: the number of iterations, one at least.
        initial: the first carry.
        columns: what the iterations read, for each number of it.
        plan: which carries are kept.
    """

    def __init__(
        self,
        step: Step,
        again: Step,
        length: int,
        initial: Sequence[Any],
        columns: Sequence[list[Any]],
        plan: Plan,
    ) -> None:
        self.step = step
        self.again = again
        self.length = length
        self.initial = list(initial)
        self.columns = [*columns]
        self.moving = [j for j, x in enumerate(columns) if any(isinstance(y, Node) for y in x)]
        self._plan = plan
        self._first = Node(0.0)._serial  # what is older is from outside
        self._outside: dict[int, Node] = {}

    @property
    def outside(self) -> list[Node]:
        """What the iterations use from outside."""
        return list(self._outside.values())

    def results(self) -> tuple[list[Any], list[list[Any]]] | None:
        """The last carry and what the iterations leave, with a pull-back that runs them again.

        None if that is not enough: where derivatives are followed further. A result with the
        cotangent 0 counts as one that no message reaches.
        """
        state = self.initial
        self._carries = {0: state}
        left: list[list[float]] = []
        self._left = left
        for start, end in pairwise([*self._plan.first(self.length), self.length]):
            state = self._carries[end] = self._advanced(state, start, end, left)
        self._end = Node(0.0)._serial
        n, self.n_left = len(state), len(left[0])
        values: list[Any] = _numbers([*state, *[x for row in left for x in row]])
        operands = [*self.initial]
        for j in self.moving:
            operands += self.columns[j]
        operands += self.outside
        levels = {x._level for x in operands if isinstance(x, Node)}
        if levels - {next(iter(PROGRESS.names), 0)}:
            return None
        if values and levels:
            values = self._nodes(values, operands)
        starts = range(n, len(values) or 1, self.n_left or 1)
        rows = [values[start : start + self.n_left] for start in starts]
        return values[:n], rows[: self.length] if self.n_left else [[]] * self.length

    def _advanced(
        self, state: list[Any], start: int, end: int, left: list[list[float]] | None = None
    ) -> list[Any]:
        """The carry after some iterations, of numbers and nodes as they were; those between go."""
        with transformation("scan") as level:
            for i in range(start, end):
                row = [_alone(x[i], level) for x in self.columns]
                carry = [_alone(x, level) for x in state]
                state, own = (self.again if left is None else self.step)(carry, row, i)
                if left is not None:
                    self._note_outside([*state, *own])
                    left.append(_numbers(own))
            return [_alone(x, level) for x in state]

    def check(self, carry: Sequence[Any], left: Sequence[Any], start: int, end: int) -> None:
        """Look whether some iterations gave what they gave the first time.

        Raises:
            RuntimeError: if they did not; NumPy's functions may differ in rounding.
        """
        left_before = chain.from_iterable(self._left[start:end])
        before = _numbers([*self._carries.get(end, []), *left_before])
        now = _numbers([*(carry if end in self._carries else []), *left])
        scale = max([abs(x) for x in before if math.isfinite(x)], default=0.0)
        for x, y in zip(before, now, strict=True):
            same = math.isclose(x, y, rel_tol=1e-6, abs_tol=1e-6 * scale)
            if not same and (x == x or y == y):
                raise _changed(f"gave {y} where it had given {x}")

    def check_origin(self, found: Sequence[Node], began: int) -> None:
        """Look whether some iterations, run again, depend on nothing that they did not before.

        What they use may be another node of the same value.

        Args:
            found: what they depend on, but for what was known to be used from outside.
            began: the serial number with which they began.

        Raises:
            RuntimeError: if they do.
        """
        if any(x._serial < self._first or self._end < x._serial < began for x in found):
            raise _changed("depends on something else than before")

    def _note_outside(self, values: Sequence[Any]) -> None:
        """Note what values depend on that is older than the loop."""
        self._outside.update({id(x): x for x in self.below(values) if x._serial < self._first})

    def below(self, values: Sequence[Any], level: int | None = None) -> list[Node]:
        """What values depend on, down to what is older than the loop, in the order of its making.

        Args:
            values: numbers and nodes.
            level: if it is given, only nodes of a lower one.
        """
        found: dict[int, Node] = {}
        waiting = [x for x in values if isinstance(x, Node)]
        for node in waiting:
            if id(node) in found:
                continue
            found[id(node)] = node
            if node._serial >= self._first:
                waiting += [x for x in node.operands if isinstance(x, Node)]
        order = sorted(found.values(), key=lambda x: x._serial)
        return [x for x in order if level is None or x._level < level]

    def _nodes(self, values: Sequence[float], operands: Sequence[Any]) -> list[Any]:
        """The results, as nodes that depend on the operands."""
        whole = Operation("scan", lambda y, *xs: y, self._of_ones)
        whole.passes = True
        whole.pull_back = self._pulled
        whole.n_results = len(values)
        together = apply(whole, (values[0], *operands))
        if len(values) == 1:
            return [together]
        return [
            apply(result_of("scan", place), (value, together)) for place, value in enumerate(values)
        ]

    def _of_ones(self, y: Any, *operands: Any) -> list[Any]:
        """What is pulled back of 1, for pictures."""
        ones = [1.0] * (len(self.initial) + self.length * self.n_left)
        return [0.0, *_numbers(self._pulled(ones, _numbers(operands[1:])))]

    def _pulled(self, cotangents: Sequence[Any], operands: Sequence[Any]) -> list[Any]:
        """From cotangents of the results to messages to the operands."""
        pull = _Pull(self, cotangents, operands)
        for place, (start, end) in reversed([*enumerate(pairwise(self._carries))]):
            state = self._carries[start]
            if self._plan.every:
                pull.back(state, start, end)
            else:
                self._split(pull, state, start, end, self._plan.carries - 1 - place)
        return pull.messages()

    def _split(self, pull: _Pull, state: list[Any], start: int, end: int, carries: int) -> None:
        """Pull back through some iterations, from the last to the first, with spare carries."""
        while end - start > 1:
            if carries < 1:
                for last in range(end - 1, start, -1):
                    pull.back(self._advanced(state, start, last), last, last + 1)
                break
            middle = start + advance(end - start, carries)
            self._split(pull, self._advanced(state, start, middle), middle, end, carries - 1)
            end = middle
        pull.back(state, start, start + 1)


class _Pull:
    """A backward pass on its way through a loop: what has come to its operands so far."""

    def __init__(
        self, loop: Checkpointed, cotangents: Sequence[Any], operands: Sequence[Any]
    ) -> None:
        self._loop = loop
        n = len(loop.initial)
        self._state = list(cotangents[:n])
        self._left = cotangents[n:]
        self._columns = [*loop.columns]
        self._to_columns: dict[int, list[Any]] = {}
        for at, j in enumerate(loop.moving):
            self._columns[j] = list(operands[n + at * loop.length : n + (at + 1) * loop.length])
            self._to_columns[j] = [0.0] * loop.length
        self._outside: list[Any] = [0.0] * len(loop.outside)

    def messages(self) -> list[Any]:
        """What has come to the operands."""
        return [*self._state, *chain.from_iterable(self._to_columns.values()), *self._outside]

    def back(self, state: Sequence[Any], start: int, end: int) -> None:
        """Pull back through some iterations, the first of which gets a carry."""
        loop, n = self._loop, len(state)
        given = [[x[i] for x in self._columns] for i in range(start, end)]
        left = self._left[start * loop.n_left : end * loop.n_left]
        cotangents = [x or None for x in (*self._state, *left)]
        began = Node(0.0)._serial
        with transformation("scan") as level:
            inputs = fresh_inputs(_numbers([*state, *chain.from_iterable(given)]), level)
            now: list[Any] = [_as(x, node) for x, node in zip(state, inputs[:n], strict=True)]
            outputs: list[Any] = []
            width = len(self._columns)
            for i in range(start, end):
                at = n + (i - start) * width
                row = zip(given[i - start], inputs[at : at + width], strict=True)
                now, own = loop.again(now, [x if type(x) is int else node for x, node in row], i)
                outputs += own
            loop.check(now, outputs, start, end)
            outputs = [*now, *outputs]
            known = {id(x) for x in loop.outside}
            through = [x for x in loop.below(outputs, level) if id(x) not in known]
            loop.check_origin(through, began)
            graph = Linearization(inputs, outputs, level, loop.outside, through)
            graph.live, graph.numeric = False, True
            messages = graph.closed(graph.pull_back(cotangents))
        self._state = messages[:n]
        for j, column in self._to_columns.items():
            column[start:end] = messages[n + j : n + (end - start) * width : width]
        to_outside = messages[n + (end - start) * width :]
        self._outside = [x + y for x, y in zip(self._outside, to_outside, strict=True)]


def _changed(how: str) -> RuntimeError:
    return RuntimeError(
        f"scan: with checkpoint its function runs again on the way back, and {how}; it is to depend"
        " on its arguments, and on nothing that changes"
    )


def as_it_is(function: Any) -> Any:
    """A function with the variables around it as they are now, also in functions that it calls.

    It may run after they have changed: a loop around it goes on, say.
    """
    return _as_it_is(function, {})


def _as_it_is(value: Any, known: dict[int, Any]) -> Any:
    if isinstance(value, functools.partial):
        fixed = [_as_it_is(x, known) for x in value.args]
        return functools.partial(_as_it_is(value.func, known), *fixed, **value.keywords)
    if type(value) is not FunctionType or str(value.__module__).startswith("chainrule."):
        return value
    if id(value) not in known:
        cells = tuple([CellType() for _ in value.__closure__ or ()])
        copy = FunctionType(
            value.__code__, {**value.__globals__}, value.__name__, value.__defaults__, cells
        )
        copy.__kwdefaults__ = value.__kwdefaults__
        known[id(value)] = copy
        for cell, old in zip(cells, value.__closure__ or (), strict=True):
            with suppress(ValueError):  # it is empty still
                cell.cell_contents = _as_it_is(old.cell_contents, known)
    return known[id(value)]


def _as(value: Any, node: Node) -> Node:
    """A node that is a whole number, and so an index, if a value is one."""
    return rounded(floor, node) if isinstance(value, (int, WholeNode)) else node


def _alone(value: Any, level: int) -> Any:
    """A value as it is, but that no node depends on others: an iteration sees nodes as without."""
    return _as(value, fresh_input(value._number, level)) if isinstance(value, Node) else value


def _numbers(values: Sequence[Any]) -> list[float]:
    return [float(x._number if isinstance(x, Node) else x) for x in values]
