"""The derivative of a recorded program, built as a graph of its own.

A :class:`Linearization` is the graph between the inputs and the outputs of a function. Pulling
cotangents back through it (reverse mode) or pushing tangents forward multiplies local gradients
along the way, as :func:`chainrule.backpropagation.backward` does with plain numbers; here they may
be nodes, so that the result can be drawn, compiled, and differentiated again.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import compress
from typing import Any

import numpy

from chainrule import rules
from chainrule.annotations import detecting_anomaly
from chainrule.backpropagation import send_gradients, topological
from chainrule.domain import raising_domain_errors
from chainrule.engine import ENGINE
from chainrule.node import BinaryOpNode, Node, OperationNode, apply
from chainrule.operation import Operation
from chainrule.rules import to_float
from chainrule.sparse import Entries
from chainrule.text import equation
from chainrule.tracing import PROGRESS, NoForwardMode, has_ended
from chainrule.trees import array_of


def fresh_input(value: object, level: int) -> Node:
    """A new node for an input of a transformation: of a number, or standing for a node."""
    if isinstance(value, Node):
        node: Node = OperationNode(rules.identity, value._number, value, None, None)
    else:
        assert isinstance(value, float)
        node = Node(value)
    node._level = level
    return node


def fresh_inputs(values: list[Any], level: int) -> list[Node]:
    """The same for several."""
    return [fresh_input(value, level) for value in values]


def are_current(values: list[Any], open_levels: Mapping[int, Any]) -> bool:
    """Whether no node among some values belongs to a transformation that has ended.

    Args:
        values: the values.
        open_levels: the levels that are open in this thread.
    """
    levels = {x._level for x in values if isinstance(x, Node)}
    return all(level <= 0 or level in open_levels for level in levels)


def met(values: list[Any]) -> tuple[set[int], int]:
    """The levels of the nodes among some values, and the largest of their serial numbers or -1."""
    nodes = [x for x in values if isinstance(x, Node)]
    return {x._level for x in nodes}, max([x._serial for x in nodes], default=-1)


def followed(values: list[Any], level: int) -> list[int]:
    """Where nodes of a level or a higher one stand among some values."""
    return [k for k, x in enumerate(values) if isinstance(x, Node) and x._level >= level]


def places_among(nodes: list[Node], values: list[Any]) -> Any:
    """The place of each value among some nodes, which are different, as int32; -1 for others."""
    places = {id(x): place for place, x in enumerate(nodes)}
    return numpy.array([places.get(id(x), -1) for x in values], dtype=numpy.int32)


def release(inputs: list[Node], values: list[Any], level: int) -> list[Any]:
    """Close a level: its nodes take the level of what they depend on outside of it.

    The nodes that stood for others at its inputs drop out of the graph, and what depends on no node
    from outside becomes a constant in it. Gives the values after that.
    """
    floor = 0  # what a trace records stays in the trace
    if PROGRESS.recorder is not None:
        floor = PROGRESS.recorded_level
    stood_for: dict[int, Node] = {}  # by id
    for x in inputs:
        if x._a is not None:
            stood_for[id(x)] = x._a
    fixed: set[int] = set()  # the ids of those that depend on no node from outside
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
            node._replace(operands)
        else:
            fixed.add(id(node))
    released: list[Any] = []
    for v in values:
        if isinstance(v, Node):
            v = v._number if id(v) in fixed else stood_for.get(id(v), v)
        released.append(v)
    return released


def gradient_at(
    form: Any,
    args: Sequence[Any],
    place: Any,
    name: str,
    level: int,
    open_levels: Mapping[int, Any],
    keep: Any,
) -> Any:
    """The gradient of a function of a few numbers, in one: there is nothing like it in Python.

    Args:
        form: the function, in the form in which it runs.
        args: its arguments.
        place: which of them it is differentiated by.
        name: what to call the transformation in a message.
        level: of the inputs.
        open_levels: the levels that are open in this thread.
        keep: whether what has run is kept as it is.

    Returns:
        The value and the gradient; where there is more to it, the layout of the argument, the
        inputs, and what the function gives for them; None, and nothing has run, where the
        arguments are others.
    """
    return None


def closed_gradient(
    output: Any, inputs: list[Node], level: int, open_levels: Mapping[int, Any]
) -> list[Any] | None:
    """The gradient of one output, and then its value, after the level is closed.

    None where that takes a linearization: the engine in C can do without where all operations are
    of the table, this one where all is numbers besides.

    Args:
        output: what was computed.
        inputs: from these.
        level: the level of the transformation.
        open_levels: the open ones, among which are those of nodes from outside.
    """
    recorder: Any = PROGRESS.recorder
    if recorder is not None and recorder.recorded.unknown:
        return None  # numbers may stand for what is not known
    if isinstance(output, Node) and output._level == level and send_gradients(output, inputs):
        return [*[x._grad for x in inputs], output._number]
    return None


_NEVER = "never"  # the condition of what was not picked, where a pattern is wanted


class _Sums:
    """What has come to the nodes so far, by their numbers: global gradients, or tangents.

    What was not picked gets nothing. Where that hangs on values that are computed anew at each call
    of a trace, the sum is 0 and comes with a condition: a number that is 0 where nothing has come.
    """

    def __init__(self) -> None:
        self.values: dict[int, Any] = {}
        self.conditions: dict[int, Any] = {}  # of those that have one
        self._combined: dict[tuple[int, int], Node] = {}

    def add(self, number: int, value: Any, condition: Any) -> None:
        """Add a message to what has come to a node."""
        if number not in self.values:
            self.values[number] = value
            if condition is not None:
                self.conditions[number] = condition
            return
        self.values[number] = plus(self.values[number], value)
        before = self.conditions.get(number)
        if before is None or before is condition or condition is _NEVER:
            return
        if condition is None:
            del self.conditions[number]
        elif before is _NEVER:
            self.conditions[number] = condition
        else:
            self.conditions[number] = self._either(before, condition)

    def total(self, number: int) -> Any:
        """What has come to a node in the end: 0.0 for nothing, never -0.0 where that is known."""
        value = self.values.get(number, 0.0)
        condition = self.conditions.get(number)
        conditional = condition is not None and condition is not _NEVER
        return value + 0.0 if isinstance(value, float) or conditional else value

    def _either(self, x: Any, y: Any) -> Any:
        """The condition that one of two holds; the same two give the same node."""
        key = (id(x), id(y))
        found = self._combined.get(key)
        if found is None:
            found = self._combined[key] = apply(rules.where, (x, 1.0, y))
        return found


def linearization(inputs: Sequence[Node], outputs: Sequence[Any], level: int) -> Any:
    """The linearization of a function: of numbers in C, where these are all that is wanted."""
    if ENGINE is not None:
        passes = ENGINE.linearization([*inputs], [*outputs], level, _computed_local_grads)
        if passes is not None:
            return LinearizationOfNumbers(inputs, outputs, level, passes)
    return Linearization(inputs, outputs, level)


def numeric_passes(
    inputs: Sequence[Node], outputs: Sequence[Any], level: int, structure: bool = False
) -> tuple[LinearizationOfNumbers | Linearization | None, bool] | None:
    """The linearization of a function at the numbers that its nodes have, whatever outlives it.

    Args:
        inputs: as for a linearization.
        outputs: likewise.
        level: likewise.
        structure: whether all that is asked for is whether there is one.

    Returns:
        it, or None for the structure alone, and whether nodes outlive the transformation; None
        where an operation has a pull-back, or a value of a transformation that has ended is used.
    """
    if ENGINE is None:
        graph = Linearization(inputs, outputs, level)
        live = graph.live
        graph.live, graph.numeric = False, True
        return None if graph.pulls or graph.stray is not None else (graph, live)
    levels: set[int] = set()
    passes = ENGINE.linearization(
        [*inputs], [*outputs], level, partial(_numeric_local_grads, level), levels, structure
    )
    if passes is None or any(map(has_ended, levels)):
        return None
    live = bool(levels) or any(x._operation is not None for x in inputs)
    return None if structure else LinearizationOfNumbers(inputs, outputs, level, passes), live


def push_tangents(
    inputs: Sequence[Node], outputs: Sequence[Any], level: int, tangents: Sequence[Any]
) -> list[Any] | None:
    """The change of each output for a change of the inputs, where that takes no linearization.

    So it is if all is numbers, and the operations are of the table; else None.
    """
    if ENGINE is None:
        return None
    pushed: list[Any] | None = ENGINE.push_tangents([*inputs], [*outputs], level, [*tangents])
    return pushed


class Linearization:
    """The graph between inputs and outputs, with the local gradients along it.

    Args:
        inputs: the input nodes, made by :func:`fresh_input`.
        outputs: what was computed from them: nodes, and numbers that do not depend on them.
        level: the level of the transformation.
        outside: nodes from outside to differentiate by as well; they follow the inputs.
        through: nodes from outside that depend on these alone and are followed to them, in order.

    Attributes:
        order: the nodes in between, parents before children; elsewhere they go by their number.
        positions: by node, which of its operands are in the graph and count.
        sources: by node, the numbers of these operands.
        live: whether it depends on nodes that outlive the transformation.
        stray: a value of a transformation that has ended, if there is one.
        is_closed: whether the level is closed.
        numeric: whether all nodes are taken as numbers, also those that outlive the transformation.
        pulls: whether operations in it have a pull-back in place of local gradients.
        reverse_only: whether some of these can't push tangents forward.
    """

    def __init__(
        self,
        inputs: Sequence[Node],
        outputs: Sequence[Any],
        level: int,
        outside: Sequence[Node] = (),
        through: Sequence[Node] = (),
    ) -> None:
        between = topological([y for y in outputs if isinstance(y, Node)], level)
        self.level = level
        self.inputs = [*inputs, *outside]
        self.outputs = list(outputs)
        self.order = [*outside, *through, *between]
        self.positions: list[list[int]] = []
        self.sources: list[list[int]] = []
        self.live = bool(outside)
        self.stray: Node | None = None
        self.pulls = False
        self.reverse_only = False
        self._picks = False
        self.is_closed = False
        self.numeric = False
        self._locals: list[list[Any] | None] = [None] * len(self.order)
        self._index = dict(zip(map(id, self.order), range(len(self.order)), strict=True))
        self._places: dict[int, int] = {}  # of the inputs, by number, once they are asked for
        if any(x._operation is not None for x in inputs):
            self.live = True
        for y in outputs:
            if isinstance(y, Node) and has_ended(y._level):
                self.stray = y
        if ENGINE is not None and not outside:
            self._find_edges_in_c(between)
        else:
            self._find_edges({id(x) for x in (*outside, *through)})

    def _find_edges(self, also: set[int]) -> None:
        """Find the positions and sources; ``also`` are the ids of nodes from outside."""
        index = self._index
        ends = {id(x) for x in self.inputs}
        for node in self.order:
            positions: list[int] = []
            sources: list[int] = []
            self.positions.append(positions)
            self.sources.append(sources)
            if id(node) in ends:
                continue
            operation = node._operation
            if operation is not None:
                self._note(operation)
            for i, operand in enumerate(node.operands):
                if isinstance(operand, Node):
                    if operand._level < self.level and id(operand) not in also:
                        self.live = True
                        if operand._level > 0 and has_ended(operand._level):
                            self.stray = operand
                    elif operation is None or not operation.ignores(i):
                        positions.append(i)
                        sources.append(index[id(operand)])

    def _note(self, operation: Operation) -> None:
        """Note what is special about an operation in it."""
        self._picks |= operation.picks
        if operation.pull_back is not None:
            self.pulls = True
            self.reverse_only |= operation.push_forward is None

    def _find_edges_in_c(self, between: list[Node]) -> None:
        """The same, without nodes from outside."""
        found = ENGINE.edges(between, self.inputs, self.level)
        self.positions, self.sources, others, from_outside, self._picks = found
        for number in others:  # of users' operations
            operation = self.order[number]._operation
            if operation is not None:
                self._note(operation)
                counting = [not operation.ignores(i) for i in self.positions[number]]
                self.positions[number] = [*compress(self.positions[number], counting)]
                self.sources[number] = [*compress(self.sources[number], counting)]
        if from_outside:
            self.live = True
        for level, operand in from_outside.items():
            if has_ended(level):
                self.stray = operand

    def _numbers(self, nodes: Sequence[Any]) -> list[int]:
        """The numbers of some nodes, -1 for what is not in the graph."""
        return [self._index.get(id(x), -1) if isinstance(x, Node) else -1 for x in nodes]

    def local_grads(self, number: int) -> list[Any]:
        """The local gradients of a node by its operands in the graph: nodes if it is live."""
        found = self._locals[number]
        if found is not None:
            return found
        grads = _local_grads(self.order[number], self.positions[number], self.live)
        if self.is_closed or self.numeric:
            grads = [self._followed(grad) for grad in grads]
        self._locals[number] = grads
        return grads

    def closed(self, values: Sequence[Any]) -> list[Any]:
        """Values after the level is closed: nodes if they outlive it, else numbers."""
        if self.live:
            return release(self.inputs, [*values], self.level)
        return as_numbers(values, self.level)

    def kept(self, values: Sequence[Any]) -> list[Any]:
        """Like :meth:`closed`; the passes can be used after that as well."""
        edges = [
            (number, len(positions))
            for number, positions in enumerate(self.positions)
            if positions and not self._pulls_back(number)
        ]
        locals_ = [grad for number, _ in edges for grad in self.local_grads(number)]
        closed = self.closed([*values, *locals_])
        self.is_closed = True
        start = len(values)
        for number, count in edges:
            self._locals[number] = closed[start : start + count]
            start += count
        return closed[: len(values)]

    def keep(self) -> None:
        """Compute all local gradients."""
        for number, positions in enumerate(self.positions):
            if positions and not self._pulls_back(number):
                self.local_grads(number)

    def _followed(self, x: Any) -> Any:
        """An operand or local gradient; the number of a node that nothing follows any more."""
        if isinstance(x, Node) and (not self.live or (self.is_closed and x._level >= self.level)):
            return x._number
        return x

    def _pulls_back(self, number: int) -> bool:
        operation = self.order[number]._operation
        return operation is not None and operation.pull_back is not None

    def pull_back(self, cotangents: Sequence[Any]) -> list[Any]:
        """∂(sum of outputs times cotangents)/∂input, for each input: numbers or nodes.

        None is no cotangent; what it alone would reach gets no message, while 0.0 is a number.
        """
        if self._is_plain():
            return self._sent(self.outputs, cotangents, self.inputs, ENGINE.send_back)
        sums = _Sums()
        results: dict[int, list[Any]] = {}
        last = -1
        for number, cotangent in zip(self._numbers(self.outputs), cotangents, strict=True):
            if number >= 0 and cotangent is not None:
                sums.add(number, cotangent, None)
                last = max(last, number)
        for number in range(last, -1, -1):
            if number in sums.values:
                self._send_back(number, sums, results)
        return [sums.total(number) for number in self._numbers(self.inputs)]

    def jacobian(self, forward: bool) -> Any:
        """The matrix of the derivatives of all outputs by all inputs, after the level is closed."""
        n_in, n_out = len(self.inputs), len(self.outputs)
        if forward:
            columns = [self.push_forward(_unit(i, n_in)) for i in range(n_in)]
            entries = [column[k] for k in range(n_out) for column in columns]
        else:
            entries = [x for k in range(n_out) for x in self.pull_back(_unit(k, n_out))]
        return array_of(self.closed(entries), (n_out, n_in))

    def sparse_rows(self) -> list[dict[int, Any]]:
        """The gradient of each output by the inputs it depends on, by their places."""
        return [self.pull_back_one(y) for y in self.outputs]

    def sparse_entries(self, symmetric: bool) -> Entries:
        """The same, as a sparse matrix has them; those above its diagonal may be those below."""
        return Entries.of(self.sparse_rows(), symmetric)

    def pull_back_one(self, y: Any) -> dict[int, Any]:
        """The gradient of one output by the inputs it depends on, visiting only what it does.

        What it depends on stays in it, if only with the value 0. The keys are the places of the
        inputs.
        """
        (root,) = self._numbers([y])
        if root < 0:
            return {}
        sums = _Sums()
        results: dict[int, list[Any]] = {}
        sums.add(root, 1.0, None)
        if not self._places:
            for place, number in enumerate(self._numbers(self.inputs)):
                self._places[number] = place
        places = self._places
        found: dict[int, Any] = {}
        seen: set[int] = {root}
        heap: list[int] = [-root]
        while heap:
            number = -heapq.heappop(heap)
            if number in places:  # all that comes to it has come
                found[places[number]] = sums.total(number)
            for source in self.sources[number]:
                if source not in seen:
                    seen.add(source)
                    heapq.heappush(heap, -source)
            if number in sums.values:
                self._send_back(number, sums, results)
        return found

    def _send_back(self, number: int, sums: _Sums, results: dict[int, list[Any]]) -> None:
        """Send the messages of a node; ``results`` holds what comes to one with several results."""
        positions = self.positions[number]
        if not positions:
            return
        node = self.order[number]
        operation = node._operation
        sources = self.sources[number]
        adjoint = sums.values[number]
        condition = sums.conditions.get(number)
        if operation is not None and operation.pull_back is not None:
            cotangents = results.get(number)
            operands = tuple([self._followed(x) for x in node.operands[1:]])
            pulled = operation.pull_back([adjoint] if cotangents is None else cotangents, operands)
            for source, i in zip(sources, positions, strict=True):
                sent = pulled[i - 1]
                if sent is None:
                    continue
                if detecting_anomaly():
                    first = adjoint if cotangents is None else cotangents[0]
                    _check_finite(sent, node, first, math.nan)
                if condition is not None:
                    reached = 0.0 if condition is _NEVER else condition
                    sent = rules.where(reached, sent, 0.0)
                sums.add(source, sent, condition)
        elif operation is not None and operation.result_of is not None:
            if sources[0] not in results:
                results[sources[0]] = [None] * self._n_results(sources[0])
            results[sources[0]][operation.result_of] = adjoint
            sums.add(sources[0], 0.0, condition)
        else:
            locals_ = self.local_grads(number)
            for source, local in zip(sources, locals_, strict=True):
                self._send(sums, source, node, local, adjoint, condition)

    def _n_results(self, number: int) -> int:
        operation = self.order[number]._operation
        return 1 if operation is None else operation.n_results

    def push_forward(self, tangents: Sequence[Any]) -> list[Any]:
        """The change of each output for a change of the inputs: numbers or nodes.

        None is no change, while 0.0 is a number.

        Raises:
            NoForwardMode: if a change comes to an operation with a pull-back.
        """
        if self._is_plain():
            return self._sent(self.inputs, tangents, self.outputs, ENGINE.send_forward)
        sums = _Sums()
        results: dict[int, Sequence[Any]] = {}
        for number, tangent in zip(self._numbers(self.inputs), tangents, strict=True):
            if number >= 0 and tangent is not None:
                sums.add(number, tangent, None)
        for number, sources in enumerate(self.sources):
            moving = False
            for source in sources:
                if source in sums.values:
                    moving = True
            if not moving:
                continue
            node = self.order[number]
            operation = node._operation
            if operation is not None and operation.pull_back is not None:
                results[number] = changes = self._pushed(number, operation, sums)
                if len(changes) > 1:
                    sums.add(number, 0.0, None)  # it moves; what, say its results
                elif changes[0] is not None:
                    sums.add(number, changes[0], None)
                continue
            if operation is not None and operation.result_of is not None and sources[0] in results:
                change = results[sources[0]][operation.result_of]
                if change is not None:
                    sums.add(number, change, None)
                continue
            for source, local in zip(sources, self.local_grads(number), strict=True):
                if source in sums.values:
                    change = sums.values[source]
                    self._send(sums, number, node, local, change, sums.conditions.get(source))
        return [sums.total(number) for number in self._numbers(self.outputs)]

    def _pushed(self, number: int, operation: Operation, sums: _Sums) -> Sequence[Any]:
        """How the results of an operation with a pull-back change.

        Raises:
            NoForwardMode: if it can't tell.
        """
        if operation.push_forward is None:
            raise NoForwardMode(
                f"{operation.name} has a derivative for reverse mode alone, as custom_gradient"
                " takes it; use grad, vjp or jacrev in place of jvp or jacfwd"
            )
        operands = tuple([self._followed(x) for x in self.order[number].operands[1:]])
        tangents: list[Any] = [None] * len(operands)
        for source, i in zip(self.sources[number], self.positions[number], strict=True):
            tangents[i - 1] = sums.values.get(source)
        return operation.push_forward(tangents, operands)

    def _is_plain(self) -> bool:
        """Whether C can take the passes: no message has a condition, and none is looked at."""
        recorded = PROGRESS.recorder is not None or PROGRESS.structural
        odd = self.pulls or (self._picks and recorded) or not self.live
        return ENGINE is not None and not (odd or detecting_anomaly() or raising_domain_errors())

    def _sent(
        self, starts: Sequence[Any], changes: Sequence[Any], ends: Sequence[Any], send: Any
    ) -> list[Any]:
        """What comes to some nodes of changes of others, by a pass of the engine in C."""
        sums: list[Any] = [None] * len(self.order)
        for number, change in zip(self._numbers(starts), changes, strict=True):
            if number >= 0 and change is not None:
                before = sums[number]
                sums[number] = change if before is None else plus(before, change)
        send(self.order, self.positions, self.sources, self._locals, sums, self.local_grads)
        totals = [0.0 if number < 0 else sums[number] for number in self._numbers(ends)]
        return [0.0 if x is None else x + 0.0 if isinstance(x, float) else x for x in totals]

    def _send(
        self, sums: _Sums, to: int, node: Node, local: Any, change: Any, condition: Any
    ) -> None:
        """Add a change times a local gradient to a sum, unless the operand is not picked."""
        operation = node._operation
        picking = False
        if operation is not None and operation.picks:
            decider = self._followed(operation.deciding(local, node.operands))
            if not _is_computed_anew(decider):
                if (decider._number if isinstance(decider, Node) else decider) == 0.0:
                    if not PROGRESS.structural:
                        return
                    condition = _NEVER
            elif condition is None:
                condition = decider
                picking = decider is local
            elif decider is not condition and condition is not _NEVER:
                condition = apply(rules.where, (condition, decider, 0.0))
        if condition is None or (_is_finite(local) and condition is not _NEVER):  # 0 times it is 0
            sent = times(change, local)
        elif picking and isinstance(change, float) and change == 1.0:
            sent = local
        elif isinstance(change, Node) or isinstance(local, Node):
            sent = apply(rules.message, (0.0 if condition is _NEVER else condition, change, local))
        else:
            sent = 0.0
        if detecting_anomaly():
            _check_finite(sent, node, change, local)
        sums.add(to, sent, condition)


class LinearizationOfNumbers:
    """A linearization of a graph that depends on no node from outside, with its passes in C.

    The Python class takes over where cotangents, tangents or local gradients are nodes, and where
    what comes to a node is to be looked at. What the two have in common is documented there.
    """

    live = False
    stray = None
    reverse_only = False

    def __init__(
        self, inputs: Sequence[Node], outputs: Sequence[Any], level: int, passes: Any
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.level = level
        self._passes = passes
        self._of_nodes: Linearization | None = None

    def _reference(self) -> Linearization:
        if self._of_nodes is None:
            self._of_nodes = Linearization(self.inputs, self.outputs, self.level)
        return self._of_nodes

    def closed(self, values: Sequence[Any]) -> list[Any]:
        """Numbers in the place of the nodes of the level."""
        return as_numbers(values, self.level)

    def kept(self, values: Sequence[Any]) -> list[Any]:
        """The same, with the local gradients computed."""
        try:
            self.keep()
        except _NodesWanted:
            return self._reference().kept(values)
        return as_numbers(values, self.level)

    def keep(self) -> None:
        """Compute all local gradients."""
        self._passes.compute_local_grads()

    def pull_back(self, cotangents: Sequence[Any]) -> list[Any]:
        """Reverse mode."""
        return self._passed("pull_back", cotangents)  # type: ignore[no-any-return]

    def push_forward(self, tangents: Sequence[Any]) -> list[Any]:
        """Forward mode."""
        return self._passed("push_forward", tangents)  # type: ignore[no-any-return]

    def jacobian(self, forward: bool) -> Any:
        """The matrix."""
        matrix = self._passed("jacobian", forward)
        if isinstance(matrix, bytearray):
            entries = numpy.frombuffer(matrix, numpy.float64)
            return entries.reshape(len(self.outputs), len(self.inputs))
        return matrix

    def sparse_rows(self) -> list[dict[int, Any]]:
        """What of it is not 0 by the structure of the graph."""
        return self._passed("sparse_rows")  # type: ignore[no-any-return]

    def sparse_entries(self, symmetric: bool) -> Entries:
        """The same, as a sparse matrix has them; those above its diagonal may be those below."""
        return Entries.of(self.sparse_rows(), symmetric)

    def _passed(self, name: str, *args: Any) -> Any:
        """What a pass in C gives, or the Python class where that must take over."""
        if not detecting_anomaly():
            try:
                passed = getattr(self._passes, name)(*args)
            except _NodesWanted:
                passed = NotImplemented
            if passed is not NotImplemented:
                return passed
        return getattr(self._reference(), name)(*args)


class _NodesWanted(Exception):
    """Raised where a local gradient is a node, as a user's can be, and C would take a number."""


def as_numbers(values: Sequence[Any], level: int) -> list[Any]:
    """Values without the nodes of a level."""
    return [v._number if isinstance(v, Node) and v._level >= level else v for v in values]


def _unit(i: int, n: int) -> list[float | None]:
    """1.0 in one place; the others send no message."""
    unit: list[float | None] = [None] * n
    unit[i] = 1.0
    return unit


def _local_grads(node: Node, positions: list[int], live: bool) -> list[Any]:
    """The local gradients of a node at some positions: nodes if it is live."""
    operation = node._operation
    if operation is None:
        raise TypeError(
            f"{type(node).__name__} gives its local gradients as numbers, which can't be"
            " followed by a transformation; define an Operation instead"
        )
    if live:
        grads = operation.local_grads_at(positions, node, node.operands)
    else:
        values = [x._number if isinstance(x, Node) else x for x in node.operands]
        grads = operation.local_grads_at(positions, node._number, values)
    for i, grad in enumerate(grads):
        if type(grad) is not float and not isinstance(grad, Node):
            what = f"a local gradient of {operation.name}"
            grads[i] = to_float(grad, what, "must be a real number")
    return grads


def _computed_local_grads(node: Node) -> list[Any]:
    """The local gradients of a node that C can't compute, by its operands in order."""
    positions = [i for i, operand in enumerate(node.operands) if isinstance(operand, Node)]
    grads = _local_grads(node, positions, live=False)
    if any(isinstance(grad, Node) for grad in grads):
        raise _NodesWanted
    return grads


def _numeric_local_grads(level: int, node: Node) -> list[float]:
    """Its local gradients by its operands from a level on, as numbers."""
    operation = node._operation
    if operation is not None and operation.unknown:
        return [math.nan] * sum(isinstance(x, Node) and x._level >= level for x in node.operands)
    positions = [
        i for i, x in enumerate(node.operands) if isinstance(x, Node) and x._level >= level
    ]
    return as_numbers(_local_grads(node, positions, live=False), 0)


def _is_computed_anew(x: Any) -> bool:
    """Whether a trace in progress records x, or a pattern is wanted: its value decides nothing."""
    if not isinstance(x, Node) or x._level == 0:
        return False
    recorded = PROGRESS.recorder is not None and x._level >= PROGRESS.recorded_level
    return recorded or PROGRESS.structural > 0


def _is_finite(x: Any) -> bool:
    return isinstance(x, float) and x - x == 0.0


def _check_finite(product: Any, node: Node, change: Any, local: Any) -> None:
    """Raise FloatingPointError for a derivative that is not finite; nodes have said so before."""
    if isinstance(product, float) and not math.isfinite(product):
        place = "" if node.line is None else f" at {node.line}"
        raise FloatingPointError(
            f"derivative {product} at {equation(node)}{place}:"
            f" {change} times local gradient {local}"
        )


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


def times(change: Any, local_grad: Any) -> Any:
    """A global gradient or tangent times a local gradient, numbers or nodes."""
    if isinstance(change, float):
        if change == 1.0:
            return local_grad
    elif isinstance(local_grad, float):
        if local_grad == 1.0:
            return change
        if local_grad == -1.0:
            return -change
    return change * local_grad


if ENGINE is not None:
    fresh_inputs = ENGINE.fresh_inputs
    are_current = ENGINE.are_current
    release = ENGINE.release
    closed_gradient = ENGINE.closed_gradient
    gradient_at = ENGINE.gradient_at
    met = ENGINE.met
    followed = ENGINE.followed

    def places_among(nodes: list[Node], values: list[Any]) -> Any:
        """The same, by the engine."""
        return numpy.frombuffer(ENGINE.places_among(nodes, values), dtype=numpy.int32)
