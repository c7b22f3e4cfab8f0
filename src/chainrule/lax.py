"""Loops and branches as functions, under JAX's names: ``from chainrule import lax``.

Eagerly they are plain Python loops. Under :func:`chainrule.compile` the body of a loop is traced
once, whatever its length, where a plain loop is recorded iteration by iteration; where that is not
possible, they are plain loops again. All are differentiable in every mode and to any order, also
:func:`while_loop` in reverse.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy

from chainrule.annotations import users_line
from chainrule.carries import (
    Carry,
    Columns,
    EndlessError,
    Stack,
    flattened,
    leaves_of,
    values_in,
    whole_number,
)
from chainrule.checkpointing import Checkpoint, Checkpointed, Plan, as_it_is, can_be_kept
from chainrule.handover import called
from chainrule.keywords import with_nearest_names
from chainrule.node import Node
from chainrule.rules import described
from chainrule.tracing import PROGRESS
from chainrule.trees import is_number

__all__ = ["cond", "fori_loop", "map", "scan", "while_loop"]

MOST_ITERATIONS: Final = 10_000_000
"""The iterations of a while_loop after which it is taken to be endless, if it says no number,"""
MOST_TRACED: Final = 1_000_000
"""where compile traces it,"""
MOST_RECORDED: Final = 100_000
"""and where its iterations are recorded one by one."""


@with_nearest_names
def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    *,
    checkpoint: Checkpoint = None,
) -> tuple[Any, Any]:
    """A loop over the rows of arrays that hands on a carry and stacks what its iterations leave.

    As this, for arrays in any trees::

        def scan(f, init, xs):
            carry, ys = init, []
            for x in xs:
                carry, y = f(carry, x)
                ys.append(y)
            return carry, numpy.stack(ys)

    Args:
        f: from the carry and what is read to the next carry and what is left.
        init: the first carry: a tree of numbers, nodes and arrays. It keeps structure and shapes.
        xs: a tree of arrays of one length, read along their first axes; None to read nothing.
        length: the number of iterations, where xs does not say it.
        reverse: begin with the last row; what is left stands in the order of xs all the same.
        unroll: as in JAX; here it changes nothing.
        checkpoint: what reverse mode keeps of a long loop: each k-th carry for a whole number k,
            ``"binomial"`` or ``("binomial", carries)`` for the schedule of
            :mod:`chainrule.checkpointing`, everything for None. The iterations between run again;
            eagerly in first derivatives, as those of higher order keep everything. Compiled, a
            loop of very many iterations runs again for None too.

    Returns:
        The last carry, and a tree of arrays.

    Raises:
        TypeError: if the carry changes its structure or a leaf its kind, xs holds something else
            than arrays, or f does not return a pair.
        ValueError: if lengths differ.
    """
    _check_function("scan", f)
    columns = Columns(xs, length, "scan")
    return _scanned("scan", functools.partial(_pair, f), init, columns, reverse, checkpoint)


def _scanned(
    name: str,
    step: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    columns: Columns,
    reverse: bool,
    checkpoint: Checkpoint,
) -> tuple[Any, Any]:
    """The results of a scan, whose name messages say."""
    carry = Carry(init, name)
    left = Stack(name)
    plan = None if checkpoint is None else Plan(checkpoint, name, columns.length)
    if columns.length == 0:
        left.append(step(init, columns.a_row())[1])
        left.rows.clear()
        return init, left.stacked()
    found = _traced_once("scan", step, init, carry, columns, left, reverse, plan)
    if found is not None:
        return found[0], found[1]
    if plan is not None and can_be_kept() and carry.is_numeric() and columns.is_numeric():
        found = _checkpointed(step, init, carry, columns, left, reverse, plan)
        if found is not None:
            return found[0], found[1]
    order = range(columns.length)
    state = init
    counts = PROGRESS.counts
    if counts is not None:
        counts.depth += 1
    for i in reversed(order) if reverse else order:
        state, y = step(state, columns.row(i))
        carry.check(state)
        left.append(y)
    if counts is not None:
        counts.depth -= 1
        rows = left.rows if left.is_numeric() else []
        counts.note(users_line(), _as_numbers([*leaves_of(state)[0], *itertools.chain(*rows)]))
    return state, left.stacked(reverse)


@with_nearest_names
def fori_loop(
    lower: int,
    upper: int,
    body_fun: Callable[[Any, Any], Any],
    init_val: Any,
    *,
    unroll: int | bool | None = None,
    checkpoint: Checkpoint = None,
) -> Any:
    """The value after ``for i in range(lower, upper): value = body_fun(i, value)``.

    Args:
        lower: a whole number, the first i.
        upper: a whole number, which i does not reach.
        body_fun: from i and the value to the next one.
        init_val: the first value, a tree as in :func:`scan`.
        unroll: as in JAX; here it changes nothing.
        checkpoint: what reverse mode keeps, as for :func:`scan`.

    Raises:
        TypeError: if a bound is no whole number, or the value changes its structure.
    """
    _check_function("fori_loop", body_fun)
    first = whole_number(lower, "fori_loop: the lower bound")
    end = whole_number(upper, "fori_loop: the upper bound")

    columns = Columns(numpy.arange(first, max(first, end)), None, "fori_loop")
    if not columns.length:
        Carry(init_val, "fori_loop")
        return init_val
    step = functools.partial(_following, body_fun)
    return _scanned("fori_loop", step, init_val, columns, False, checkpoint)[0]


@with_nearest_names
def while_loop(
    cond_fun: Callable[[Any], Any],
    body_fun: Callable[[Any], Any],
    init_val: Any,
    *,
    max_iterations: int | None = None,
) -> Any:
    """The value after ``while cond_fun(value): value = body_fun(value)``.

    Derivatives are those of the iterations that ran. Compiled, the function is traced a few times,
    whatever the number of iterations, which is another one for each lane; see the guide to loops.

    Args:
        cond_fun: says whether to go on.
        body_fun: from a value to the next one.
        init_val: the first value, a tree as in :func:`scan`.
        max_iterations: after so many it is taken to be endless; by default 10,000,000, but
            1,000,000 where ``compile`` traces it, 100,000 where it records iterations one by one.

    Raises:
        TypeError: if the value changes its structure, or cond_fun gives no truth value.
        RuntimeError: if the loop does not end: the value stays the same, or is still to go on after
            ``max_iterations``.
    """
    _check_function("while_loop", cond_fun)
    _check_function("while_loop", body_fun)
    most, traced, recorded = MOST_ITERATIONS, MOST_TRACED, MOST_RECORDED
    if max_iterations is not None:
        most = traced = recorded = whole_number(max_iterations, "while_loop: max_iterations")
    carry = Carry(init_val, "while_loop")
    value = init_val

    def goes_on(value: Any) -> Any:
        return called(cond_fun, (value,), {}, "while_loop: the condition")

    def after(value: Any) -> Any:
        return called(body_fun, (value,), {}, "while_loop: the function")

    found = _traced_once("while", goes_on, after, value, carry, traced)
    if found is not None:
        return found[0]
    numbers = _numbers(leaves_of(value)[0])
    counts = PROGRESS.counts
    if counts is not None:
        counts.depth += 1
    count = 0
    while _truth(goes_on(value), "while_loop"):
        if count >= most or (count >= recorded and any(type(x) is _Same for x in numbers)):
            raise EndlessError(None, count)
        value = after(value)
        before, numbers = numbers, _numbers(carry.check(value))
        count += 1
        if numbers == before:
            raise EndlessError(count, most)
    if counts is not None:
        counts.depth -= 1
        counts.note(users_line(), _as_numbers(leaves_of(value)[0]), count)
    return value


@with_nearest_names
def cond(
    pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any
) -> Any:
    """``true_fun(*operands)`` if ``pred`` holds, else ``false_fun(*operands)``.

    Only one of the two runs, as with ``if``; compiled, each is a path of its own. In a loop whose
    body is traced once, both are computed, and what the other one gives is dropped.

    Args:
        pred: a truth value, or a comparison of nodes.
        true_fun: called if it holds.
        false_fun: called if not.
        operands: what they take.

    Raises:
        TypeError: if pred is no truth value or number, or the functions can't be called.
    """
    _check_function("cond", true_fun)
    _check_function("cond", false_fun)

    def given_by(function: Any) -> Any:
        return called(function, operands, {}, "cond: the function")

    branches = [functools.partial(given_by, function) for function in (true_fun, false_fun)]
    found = _traced_once("cond", pred, *branches)
    if found is not None:
        return found[0]
    return given_by(true_fun if _truth(pred, "cond") else false_fun)


@with_nearest_names
def map(f: Callable[[Any], Any], xs: Any, *, batch_size: int | None = None) -> Any:
    """What a function gives for each row of arrays, stacked.

    Args:
        f: from a row to a tree of numbers, nodes and arrays.
        xs: a tree of arrays of one length, read along their first axes.
        batch_size: as in JAX; here it changes nothing.

    Raises:
        TypeError, ValueError: as for :func:`scan`.
    """
    _check_function("map", f)

    def step(_: Any, x: Any) -> tuple[Any, Any]:
        return (), called(f, (x,), {}, "map: the function")

    return _scanned("map", step, (), Columns(xs, None, "map"), False, None)[1]


def _checkpointed(
    body: Any,
    init: Any,
    carry: Carry,
    columns: Columns,
    left: Stack,
    reverse: bool,
    plan: Plan,
) -> tuple[Any, Any] | None:
    """The results of a scan that keeps some of its carries; None where it must keep all."""

    def iteration(
        body: Any, state: Sequence[Any], row: Sequence[Any], i: int
    ) -> tuple[list[Any], list[Any]]:
        after, y = body(carry.of(state), columns.of(row))
        return flattened(carry.check(after)), flattened(left.check(y))

    step, again = (functools.partial(iteration, x) for x in (body, as_it_is(body)))

    leaves = leaves_of(init)[0]
    if any(isinstance(leaf, int) for leaf in leaves):  # which may be an index
        return None
    initial = flattened(leaves)
    read = [x.tolist() for x in columns.columns(reverse)]
    results = Checkpointed(step, again, columns.length, initial, read, plan).results()
    if results is None or not left.is_numeric():
        return None
    state, rows = results
    for row in rows:
        left.put(row)
    return carry.of(state), left.stacked(reverse)


def _traced_once(*loop: Any) -> Any:
    """The results of a loop or branch that a trace records once; None for a plain one."""
    return None if PROGRESS.recorder is None else PROGRESS.recorder.loop(*loop)


def _as_numbers(leaves: Sequence[Any]) -> list[float]:
    """The numbers in leaves."""
    return [float(x._number if isinstance(x, Node) else x) for x in values_in(leaves)]


def _check_function(loop: str, f: Any) -> None:
    if not callable(f):
        raise TypeError(f"{loop} takes a function, not {described(f)}")


def _following(f: Any, value: Any, i: Any) -> tuple[Any, Any]:
    """The next value of a fori_loop, as a scan has it."""
    return called(f, (i, value), {}, "fori_loop: the function"), ()


def _pair(f: Any, carry: Any, x: Any) -> tuple[Any, Any]:
    """What the function of a scan returns.

    Raises:
        TypeError: if it is no pair.
    """
    pair = called(f, (carry, x), {}, "scan: the function")
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise TypeError(
            f"scan takes a function that returns a pair (carry, what it leaves), not"
            f" {described(pair)}"
        )
    return pair


def _truth(x: Any, loop: str) -> bool:
    """A condition as a truth value.

    Raises:
        TypeError: if it has none.
    """
    if not isinstance(x, Node):  # of others None is no answer, and a text says nothing
        one = isinstance(x, numpy.ndarray) and x.size == 1
        if not one and not is_number(x) and not isinstance(x, (bool, numpy.bool_)):
            raise TypeError(f"{loop} takes a condition, not {described(x)}")
    return bool(x)


def _numbers(leaves: Any) -> list[Any]:
    """What tells a value from another one: numbers, and nodes that a trace follows."""
    found: list[Any] = []
    for leaf in leaves:
        for x in leaf.ravel().tolist() if hasattr(leaf, "ravel") else [leaf]:
            if isinstance(x, Node) and PROGRESS.recorder is not None:
                found.append(_Same(x))
                continue
            number = x._number if isinstance(x, Node) else x
            found.append(number if number and number == number else repr(number))  # -0.0 and NaN
    return found


class _Same:
    """A node that is equal to itself only, whatever its value."""

    __slots__ = ("node",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, node: Node) -> None:
        self.node = node

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.node is self.node
