"""Loops whose body is traced once: what :mod:`chainrule.lax` does where a trace records.

The body runs on nodes that stand for the carry and the rows of any iteration; they have the values
of the first. What it does is recorded between two marks, as an iteration of a loop. The values
after the loop are not known while the trace goes on: nodes with the value NaN stand for them, which
depend on all that the loop depends on. Where the trace would need to know one, for a guard, it
starts anew, with plain loops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy

from chainrule.carries import Carry, Columns, Stack, leaves_of
from chainrule.differentiation import fresh_inputs
from chainrule.node import Node, apply
from chainrule.passes.stretches import UNKNOWN, LoopOf
from chainrule.program.recording import (
    ABSENT,
    CARRY,
    EACH,
    END_LOOP,
    LEFT,
    LOOP,
    NEXT,
    RESULT,
)
from chainrule.tracing import PROGRESS

from .indices import IndexArray, IndexNode, TracedArray

if TYPE_CHECKING:
    from .trace import Recorder

LEAST: Final = 4
"""The iterations below which a loop is a plain one."""


def traced_once(
    recorder: Recorder,
    body: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    carry: Carry,
    columns: Columns,
    left: Stack,
    reverse: bool,
) -> tuple[Any, Any] | None:
    """The last carry and what the iterations leave, of a loop that becomes one of the recording.

    Args:
        recorder: of the trace.
        body: from a carry and a row to the next carry and what is left.
        init, carry: the first carry, and what is known of it.
        columns: what is read.
        left: for what is left.
        reverse: whether the rows are read from the last to the first.

    Returns:
        None where it must be a plain loop.

    Raises:
        Unrolled: if the trace must start anew with plain loops.
    """
    trips = columns.length
    read = [rows for rows in map(_flat_rows, columns.leaves) if rows is not None]
    kinds = [kind for kind in carry.kinds if kind != "number" and kind[0] != "array"]
    if trips < LEAST or kinds or len(read) < len(columns.leaves):
        return None
    recorded = recorder.recorded
    initial = _flattened(leaves_of(init)[0])
    rows = numpy.concatenate(read, axis=1) if read else numpy.empty((trips, 0), dtype=object)
    if reverse:
        rows = rows[::-1]
    begins = recorded.record_all(initial)
    loop = LoopOf(trips, [recorded.column(rows[:, j].tolist()) for j in range(rows.shape[1])])
    mark, number = recorded.mark, len(recorded.loops)
    guards, printed = len(recorded.guards), recorder.printed
    mark(LOOP, number)
    recorded.loops.append(loop)
    level = next(reversed(PROGRESS.names))
    inner = fresh_inputs([_number(x) for x in initial], level)
    for place, (operand, node) in enumerate(zip(begins, inner, strict=True)):
        mark(CARRY, operand, place, node)
    own = fresh_inputs([_number(x) for x in rows[0]], level)
    for place, node in enumerate(own):
        mark(EACH, place, ABSENT, node)
    row = [
        IndexNode.standing_for(node) if isinstance(x, (IndexNode, int)) else node
        for node, x in zip(own, rows[0].tolist(), strict=True)
    ]
    state, y = body(_like(init, inner), _like_rows(columns, row))
    after = _flattened(carry.check(state))
    leaves = _flattened(left.append(y))
    for code, values in ((NEXT, after), (LEFT, leaves)):
        for place, operand in enumerate(recorded.record_all(values)):
            mark(code, operand, place)
    mark(END_LOOP, number)
    recorded.ended += 1
    if any(kind != "number" and kind[0] != "array" for kind in left.kinds):
        recorder.unroll()
    if recorder.printed > printed or not recorder.repeats(guards, trips):
        recorder.unroll()
    given = _from_outside([*after, *leaves], [*inner, *own])
    given += [x for x in initial if isinstance(x, Node)]
    if len(PROGRESS.names) > 1 or not given:
        given += [x for x in rows.ravel().tolist() if isinstance(x, Node)]
    given = _concerning(given, recorder)
    if not given:
        recorder.unroll()
    whole = _at_least(apply(UNKNOWN, (math.nan, *given)), recorder)
    results = [
        _at_least(apply(UNKNOWN, (math.nan, whole)), recorder)
        for _ in range(len(after) + trips * len(leaves))
    ]
    for place, node in enumerate(results):
        mark(RESULT, place, ABSENT, node)
    return (
        _like(init, results[: len(after)]),
        _stacked(left, results[len(after) :], trips, reverse),
    )


def _flat_rows(leaf: Any) -> Any:
    """An array with a row for each iteration, None where it holds something else than numbers and nodes."""
    flat = leaf.reshape(len(leaf), -1)
    if leaf.dtype.kind == "f":
        return flat.astype(numpy.float64).astype(object)
    if leaf.dtype.kind in "iu":
        return flat.astype(object)
    kinds = set(map(type, flat.ravel().tolist()))
    if not all(kind is float or issubclass(kind, Node) for kind in kinds):
        return None
    return flat.view(numpy.ndarray)


def _number(x: Any) -> float:
    return float(x._number if isinstance(x, Node) else x)


def _flattened(leaves: Sequence[Any]) -> list[Any]:
    """The numbers and nodes of leaves."""
    values: list[Any] = []
    for leaf in leaves:
        items = leaf.ravel().tolist() if isinstance(leaf, numpy.ndarray) else [leaf]
        values += [x if isinstance(x, Node) else float(x) for x in items]
    return values


def _like(tree: Any, nodes: Sequence[Node]) -> Any:
    """A tree like another one, of nodes."""
    leaves, structure = leaves_of(tree)
    shapes = [leaf.shape if isinstance(leaf, numpy.ndarray) else None for leaf in leaves]
    return structure.unflatten(_put(shapes, nodes))


def _like_rows(columns: Columns, nodes: Sequence[Node]) -> Any:
    """A row of nodes."""
    shapes = [leaf.shape[1:] or None for leaf in columns.leaves]
    return columns.structure.unflatten(_put(shapes, nodes))


def _put(shapes: Sequence[Any], nodes: Sequence[Node]) -> list[Any]:
    """Leaves of some shapes."""
    leaves: list[Any] = []
    start = 0
    for shape in shapes:
        if shape is None:
            leaves.append(nodes[start])
            start += 1
            continue
        array = numpy.empty(math.prod(shape), dtype=object)
        array[:] = nodes[start : start + array.size]
        start += array.size
        indices = all(isinstance(x, IndexNode) for x in array.tolist())
        leaves.append(array.reshape(shape).view(IndexArray if indices else TracedArray))
    return leaves


def _stacked(left: Stack, nodes: Sequence[Node], trips: int, reverse: bool) -> Any:
    """The tree of arrays of what the iterations leave, in their order."""
    table = numpy.empty(len(nodes), dtype=object)
    table[:] = nodes
    table = table.reshape(trips, -1)
    if reverse:
        table = table[::-1]
    arrays = []
    start = 0
    for kind in left.kinds:
        shape = () if kind == "number" else kind[1]
        size = math.prod(shape)
        part = table[:, start : start + size]
        arrays.append(part.reshape(trips, *shape).view(TracedArray))
        start += size
    return left.structure.unflatten(arrays)


def _from_outside(values: Sequence[Any], inner: Sequence[Node]) -> list[Node]:
    """The nodes that values depend on, and that are older than what stands for an iteration."""
    first = min([x._serial for x in inner], default=None)
    found: dict[int, Node] = {}
    seen: set[int] = {id(x) for x in inner}
    waiting = [x for x in values if isinstance(x, Node)]
    for node in waiting:
        if id(node) in seen:
            continue
        seen.add(id(node))
        if first is None or node._serial < first:
            found[id(node)] = node
        else:
            waiting.extend(x for x in node.operands if isinstance(x, Node))
    return list(found.values())


def _concerning(nodes: Sequence[Node], recorder: Recorder) -> list[Node]:
    """Nodes that a transformation in the trace follows, and one of the others, if there are any."""
    followed = [x for x in nodes if x._level > recorder.level]
    return followed + [x for x in nodes if x._level <= recorder.level][:1]


def _at_least(node: Node, recorder: Recorder) -> Node:
    """A node that belongs to the trace."""
    node._level = max(node._level, recorder.level)
    return node
