"""The derivative of a recorded program, built as a graph of its own.

A :class:`Linearization` is the graph between the inputs and the outputs of a function. Pulling
cotangents back through it (reverse mode) or pushing tangents forward multiplies local gradients
along the way, as :func:`chainrule.backpropagation.backward` does with plain numbers; here they may
be nodes, so that the result can be drawn, compiled, and differentiated again.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Any

from mypy_extensions import i64

from chainrule import rules
from chainrule.annotations import detecting_anomaly
from chainrule.node import BinaryOpNode, Node, OperationNode, apply, equation
from chainrule.rules import Operation, to_float
from chainrule.tracing import PROGRESS, has_ended


def topological(roots: Sequence[Node], level: i64) -> list[Node]:
    """The nodes of a level, or a deeper one, that some roots depend on: parents before children."""
    order: list[Node] = []
    counts: dict[int, i64] = {}  # by id: 0 while its parents are awaited, 1 when it is in order
    stack: list[Node] = [root for root in reversed(roots) if root._level >= level]
    while stack:
        node = stack[-1]
        key = id(node)
        state = counts.get(key, -1)
        if state >= 0:
            stack.pop()
            if state == 0:
                counts[key] = 1
                order.append(node)
            continue
        counts[key] = 0
        b = node._b
        if b is not None and b._level >= level and counts.get(id(b), -1) < 0:
            stack.append(b)
        a = node._a
        if a is not None and a._level >= level and counts.get(id(a), -1) < 0:
            stack.append(a)
        rest = node._rest
        if isinstance(rest, tuple):
            for operand in reversed(rest):
                if (
                    isinstance(operand, Node)
                    and operand._level >= level
                    and counts.get(id(operand), -1) < 0
                ):
                    stack.append(operand)
    return order


def fresh_input(value: object, level: i64) -> Node:
    """A new node for an input of a transformation: of a number, or standing for a node."""
    if isinstance(value, Node):
        node: Node = OperationNode(rules.identity, value._number, value, None, None)
    else:
        assert isinstance(value, float)
        node = Node(value)
    node._level = level
    return node


def release(inputs: Sequence[Node], values: Sequence[Any], level: i64) -> list[Any]:
    """Close a level: its nodes take the level of what they depend on outside of it.

    The nodes that stood for others at its inputs drop out of the graph, and what depends on no node
    from outside becomes a constant in it. Gives the values after that.
    """
    floor: i64 = 0  # what a trace records stays in the trace
    if PROGRESS.recorder is not None:
        floor = PROGRESS.recorded_level
    stood_for: dict[int, Node] = {}  # by id
    for x in inputs:
        if x._a is not None:
            stood_for[id(x)] = x._a
    fixed: set[int] = set()  # ids of those that depend on no node from outside
    for node in topological([v for v in values if isinstance(v, Node)], level):
        if id(node) in stood_for:
            node._level = max(floor, stood_for[id(node)]._level)
            continue
        outer = floor
        moving = False
        operands: list[Any] = []
        for operand in node.operands:
            if isinstance(operand, Node):
                if id(operand) not in fixed:
                    moving = True
                    operand = stood_for.get(id(operand), operand)
                    outer = max(outer, operand._level)
                elif node._operation is not None:
                    operand = operand._number
            operands.append(operand)
        if moving:
            node._level = outer
            _set_operands(node, operands)
        else:
            fixed.add(id(node))
    released: list[Any] = []
    for v in values:
        if isinstance(v, Node):
            v = v._number if id(v) in fixed else stood_for.get(id(v), v)
        released.append(v)
    return released


def _set_operands(node: Node, operands: list[Any]) -> None:
    """Give a node other operands, as many as it has."""
    if isinstance(node._rest, tuple):
        node._rest = tuple(operands)
        return
    first = operands[0]
    node._a = first if isinstance(first, Node) else None
    if not isinstance(first, Node):
        node._rest = first
    if len(operands) > 1:
        second = operands[1]
        node._b = second if isinstance(second, Node) else None
        if not isinstance(second, Node):
            node._rest = second


class Linearization:
    """The graph between inputs and outputs, with the local gradients along it.

    Args:
        inputs: the input nodes, made by :func:`fresh_input`.
        outputs: what was computed from them: nodes, and numbers that do not depend on them.
        level: the level of the transformation.
        outside: nodes from outside to differentiate by as well; they follow the inputs.
    """

    def __init__(
        self,
        inputs: Sequence[Node],
        outputs: Sequence[Any],
        level: i64,
        outside: Sequence[Node] = (),
    ) -> None:
        self.inputs = [*inputs, *outside]
        self.outputs = list(outputs)
        self.order = topological([y for y in outputs if isinstance(y, Node)], level)
        self.index: dict[int, i64] = {}  # by id
        self.positions: list[list[int]] = []  # by node: which of its operands are in the graph
        self.sources: list[list[Node]] = []  # and these operands
        self.live = bool(outside)  # whether it depends on nodes that outlive the transformation
        self.stray: Node | None = None  # a value of a transformation that has ended
        self._locals: dict[int, list[Any]] = {}  # by id
        self._input_set = {id(x) for x in self.inputs}
        given = {id(x) for x in inputs}
        also = {id(x) for x in outside}
        for x in inputs:
            if x._operation is not None:
                self.live = True
        for y in outputs:
            if isinstance(y, Node) and has_ended(y._level):
                self.stray = y
        number: i64 = 0
        for node in self.order:
            self.index[id(node)] = number
            number += 1
            positions: list[int] = []
            sources: list[Node] = []
            self.positions.append(positions)
            self.sources.append(sources)
            if id(node) in given:
                continue
            operation = node._operation
            for i, operand in enumerate(node.operands):
                if isinstance(operand, Node):
                    if operand._level < level and id(operand) not in also:
                        self.live = True
                        if operand._level > 0 and has_ended(operand._level):
                            self.stray = operand
                    elif operation is None or not operation.ignores(i):
                        positions.append(i)
                        sources.append(operand)

    def local_grads(self, node: Node, positions: list[int]) -> list[Any]:
        """The local gradients of a node by its operands in the graph: nodes if it is live."""
        found = self._locals.get(id(node))
        if found is not None:
            return found
        operation = node._operation
        if operation is None:
            raise TypeError(
                f"{type(node).__name__} gives its local gradients as numbers, which can't be"
                " followed by a transformation; define an Operation instead"
            )
        if self.live:
            grads = operation.local_grads_at(positions, node, node.operands)
        else:
            values = [x._number if isinstance(x, Node) else x for x in node.operands]
            grads = operation.local_grads_at(positions, node._number, values)
        for i, grad in enumerate(grads):
            if type(grad) is not float and not isinstance(grad, Node):
                what = f"a local gradient of {operation.name}"
                grads[i] = to_float(grad, what, "must be a real number")
        self._locals[id(node)] = grads
        return grads

    def all_local_grads(self) -> list[Any]:
        """The local gradients of all nodes in order."""
        grads: list[Any] = []
        for node, positions in zip(self.order, self.positions, strict=True):
            if positions:
                grads.extend(self.local_grads(node, positions))
        return grads

    def set_local_grads(self, grads: Sequence[Any]) -> None:
        """Put others in their place: what they have become when the level was closed."""
        start: i64 = 0
        for node, positions in zip(self.order, self.positions, strict=True):
            if positions:
                self._locals[id(node)] = list(grads[start : start + len(positions)])
                start += len(positions)

    def pull_back(self, cotangents: Sequence[Any]) -> list[Any]:
        """∂(sum of outputs times cotangents)/∂input, for each input: numbers or nodes."""
        grads: dict[int, Any] = {}
        anomaly = detecting_anomaly()
        last: i64 = -1
        for y, cotangent in zip(self.outputs, cotangents, strict=True):
            if isinstance(y, Node) and id(y) in self.index:
                _accumulate(grads, y, cotangent)
                last = max(last, self.index[id(y)])
        while last >= 0:
            node = self.order[last]
            positions = self.positions[last]
            sources = self.sources[last]
            last -= 1
            if not positions:
                continue
            adjoint = grads.pop(id(node), 0.0)
            if isinstance(adjoint, float) and adjoint == 0.0:
                continue
            locals_ = self.local_grads(node, positions)
            for source, i, local in zip(sources, positions, locals_, strict=True):
                sent = message(node._operation, i, adjoint, local)
                if anomaly:
                    _check_finite(sent, node, adjoint, local)
                _accumulate(grads, source, sent)
        return [grads.get(id(x), 0.0) for x in self.inputs]

    def pull_back_one(self, y: Any) -> dict[int, Any]:
        """The gradient of one output by the inputs it depends on, by their ids.

        Visits only what the output depends on.

        What depends by structure stays in it, if only with the value 0.
        """
        grads: dict[int, Any] = {}
        anomaly = detecting_anomaly()
        if not isinstance(y, Node) or id(y) not in self.index:
            return grads
        grads[id(y)] = 1.0
        heap: list[int] = [-self.index[id(y)]]
        found: dict[int, Any] = {}
        while heap:
            number = -heapq.heappop(heap)
            node = self.order[number]
            positions = self.positions[number]
            adjoint = grads[id(node)]
            if not positions:
                if id(node) in self._input_set:
                    found[id(node)] = adjoint
                continue
            sources = self.sources[number]
            locals_ = self.local_grads(node, positions)
            for source, i, local in zip(sources, positions, locals_, strict=True):
                if id(source) not in grads:
                    heapq.heappush(heap, -self.index[id(source)])
                sent = message(node._operation, i, adjoint, local)
                if anomaly:
                    _check_finite(sent, node, adjoint, local)
                _accumulate(grads, source, sent)
        return found

    def push_forward(self, tangents: Sequence[Any]) -> list[Any]:
        """The change of each output for a change of the inputs: numbers or nodes."""
        changes: dict[int, Any] = {}
        anomaly = detecting_anomaly()
        for x, tangent in zip(self.inputs, tangents, strict=True):
            changes[id(x)] = tangent
        for number, node in enumerate(self.order):
            moving = False
            for source in self.sources[number]:
                if not _is_zero(changes.get(id(source), 0.0)):
                    moving = True
            if not moving:
                continue
            total: Any = 0.0
            positions = self.positions[number]
            locals_ = self.local_grads(node, positions)
            for source, i, local in zip(self.sources[number], positions, locals_, strict=True):
                change = changes.get(id(source), 0.0)
                if not _is_zero(change):
                    moved = message(node._operation, i, change, local)
                    if anomaly:
                        _check_finite(moved, node, change, local)
                    total = plus(total, moved)
            changes[id(node)] = total
        return [changes.get(id(y), 0.0) if isinstance(y, Node) else 0.0 for y in self.outputs]


def _is_zero(x: Any) -> bool:
    return isinstance(x, float) and x == 0.0


def _check_finite(product: Any, node: Node, change: Any, local: Any) -> None:
    """Raise FloatingPointError for a derivative that is not finite; nodes have said so before."""
    if isinstance(product, float) and not math.isfinite(product):
        place = "" if node.line is None else f" at {node.line}"
        raise FloatingPointError(
            f"derivative {product} at {equation(node)}{place}:"
            f" {change} times local gradient {local}"
        )


def _accumulate(grads: dict[int, Any], node: Node, message: Any) -> None:
    sum_so_far = grads.get(id(node))
    grads[id(node)] = message if sum_so_far is None else plus(sum_so_far, message)


def plus(x: Any, y: Any) -> Any:
    """x + y of numbers or nodes; 0.0 adds nothing."""
    if isinstance(x, float):
        if x == 0.0:
            return y
    elif isinstance(x, Node) and isinstance(y, Node):
        return BinaryOpNode(x, y, "+")
    if isinstance(y, float) and y == 0.0:
        return x
    return x + y


def message(operation: Operation | None, position: int, global_grad: Any, local_grad: Any) -> Any:
    """What a node sends to an operand: its global gradient times a local gradient.

    A global gradient of 0 sends 0; so does a local one where the operation stops it.
    """
    if operation is None or not operation.stops(position):
        return times(global_grad, local_grad)
    if isinstance(local_grad, float):
        return 0.0 if local_grad == 0.0 else times(global_grad, local_grad)
    if isinstance(global_grad, float) and global_grad - global_grad == 0.0:
        return times(global_grad, local_grad)
    # Where the operation picks, the local gradient is 1 or 0.
    picks = operation is not rules.azmul
    product = global_grad if picks else times(global_grad, local_grad)
    return apply(rules.where, (local_grad, product, 0.0))


def times(global_grad: Any, local_grad: Any) -> Any:
    """A global gradient times a local gradient, numbers or nodes; a global 0 gives 0."""
    if isinstance(global_grad, float):
        if global_grad == 1.0:
            return local_grad
        if global_grad == 0.0:
            return 0.0
        return global_grad * local_grad
    if isinstance(local_grad, float):
        if local_grad == 1.0:
            return global_grad
        if local_grad == -1.0:
            return -global_grad
        if local_grad - local_grad == 0.0:  # finite: 0 times it is 0
            return global_grad * local_grad
    return apply(rules.azmul, (global_grad, local_grad))
