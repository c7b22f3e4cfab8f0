"""The two passes over a graph: its topological order, and backpropagation along it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from typing import Any, Final

from mypy_extensions import i64

from chainrule import ieee
from chainrule.annotations import detecting_anomaly, users_line
from chainrule.node import _STATE, COMPILED, Node, _values, equation
from chainrule.rules import (
    CODE_ADD,
    CODE_DIVIDE,
    CODE_EXP,
    CODE_LOG,
    CODE_MULTIPLY,
    CODE_NEGATIVE,
    CODE_POWER,
    CODE_RELU,
    CODE_SIN,
    CODE_SQRT,
    CODE_SUBTRACT,
    CODE_TANH,
)
from chainrule.tracing import TracedValueError

_WRITING: Final = threading.RLock()  # marks and gradients on nodes are of one pass at a time


class _Walk:
    """Both passes over a graph, and what was seen on the way."""

    def __init__(self) -> None:
        self.count: i64 = 0  # nodes
        self.runs_python = False  # an operation does, which may raise or let another thread run
        self.oldest: i64 = _STATE.clock  # the least clock of an operation
        self.sent = False  # the gradients
        self.nodes: list[Node] = []  # in topological order, if the gradients were not sent


def sorted_nodes(root: Node) -> list[Node]:
    """The graph below a node, root first, parents after children: see Node.sorted_nodes."""
    return _walk(root, False, False, 0.0).nodes


def backward(root: Node, seed: float) -> None:
    """Set the gradients of all nodes below a root: see Node.backward."""
    if root._level:
        raise TracedValueError(
            f"backward at {users_line()}: inside a transformation use grad or value_and_grad"
        )
    in_place = COMPILED and not detecting_anomaly()
    walk = _walk(root, in_place, False, seed)
    if walk.sent:
        return
    if walk.oldest < _STATE.clock:
        for node in walk.nodes:
            _check_fresh(node)
    if in_place and not walk.runs_python:
        _walk(root, True, True, seed)
    else:
        _backward_apart(walk.nodes, seed)


def _walk(root: Node, send: bool, checked: bool, seed: float) -> _Walk:
    """Kahn's algorithm: count the edges to every node, then follow those of nodes with none left.

    Sends the gradients along if asked to and if nothing in it can fail: no Python runs, and no
    data was set since, or it was checked that the values have remained. Else it gives the order.
    The counts are marks on the nodes, all 0 again at the end.
    """
    walk = _Walk()
    with _WRITING:
        try:
            _count_edges(root, walk)
            unchanged = checked or walk.oldest >= _STATE.clock
            walk.sent = send and unchanged and not walk.runs_python
            _follow_edges(root, walk, seed)
            if not walk.sent and len(walk.nodes) < walk.count:
                raise ValueError("the graph has a cycle: a node is its own ancestor")
        except BaseException:
            _unmark(root)
            raise
    return walk


def _count_edges(root: Node, walk: _Walk) -> None:
    """The first pass: mark every node with the number of edges to it, the root with 1 more.

    Like the second, it goes on with a parent it has just come to, which is still at hand; only the
    others go on a list.
    """
    waiting: list[Node] = []
    root._pending = 1
    node = root
    while True:
        walk.count += 1
        operation = node._operation
        if operation is not None or node._rest is not None:
            if operation is None or not operation.native:
                walk.runs_python = True
            if node._clock < walk.oldest:
                walk.oldest = node._clock
        following: Node | None = None
        a = node._a
        if a is not None:
            if a._pending == 0:
                following = a
            a._pending += 1
        b = node._b
        if b is not None:
            if b._pending == 0:
                if following is not None:
                    waiting.append(following)
                following = b
            b._pending += 1
        rest = None if node._extra is None else node._rest
        if isinstance(rest, tuple):
            for operand in rest:
                if isinstance(operand, Node):
                    if operand._pending == 0:
                        if following is not None:
                            waiting.append(following)
                        following = operand
                    operand._pending += 1
        if following is None:
            if not waiting:
                return
            following = waiting.pop()
        node = following


def _follow_edges(root: Node, walk: _Walk, seed: float) -> None:
    """The second pass: send each node's gradient to its parents, or put the node on the list.

    Edges into a cycle are never all followed: it and what lies below are left out.
    """
    send = walk.sent
    nodes = walk.nodes
    ready: list[Node] = []
    if not _is_last_edge(root, send):
        return
    if send:
        root._grad += seed
    node = root
    while True:
        following: Node | None = None
        a = node._a
        if a is not None and _is_last_edge(a, send):
            following = a
        b = node._b
        if b is not None and _is_last_edge(b, send):
            if following is not None:
                ready.append(following)
            following = b
        rest = None if node._extra is None else node._rest
        if isinstance(rest, tuple):
            for operand in rest:
                if isinstance(operand, Node) and _is_last_edge(operand, send):
                    if following is not None:
                        ready.append(following)
                    following = operand
        if send:
            _send(node)
        else:
            nodes.append(node)
        if following is None:
            if not ready:
                return
            following = ready.pop()
        node = following


def _is_last_edge(parent: Node, send: bool) -> bool:
    """Follow an edge to a node. At the first one, before it is sent anything, set its gradient 0.

    To tell the first from the others, the edges left are counted as a negative number.
    """
    left = parent._pending
    if left > 0:
        left = -left
        if send and parent._operation is not None:
            parent._grad = 0.0
    left += 1
    parent._pending = left
    return left == 0


def _unmark(root: Node) -> None:
    """Set the marks of a walk that did not end back to 0."""
    seen = {id(root)}
    stack = [root]
    while stack:
        node = stack.pop()
        node._pending = 0
        for parent in node._parents:
            if id(parent) not in seen:
                seen.add(id(parent))
                stack.append(parent)


def is_stale(node: Node) -> bool:
    """Whether an operand's data was set since, and the node's value would now be another.

    The value of a user's own class can't be computed again: there, setting is enough.
    """
    a = node._a
    b = node._b
    fresh = (a is None or a._clock <= node._clock) and (b is None or b._clock <= node._clock)
    rest = node._rest
    if isinstance(rest, tuple):
        for operand in rest:
            if isinstance(operand, Node) and operand._clock > node._clock:
                fresh = False
    operation = node._operation
    if fresh or operation is None:
        return not fresh
    value = operation.evaluate(_values(node.operands))
    return value != node._number and (value == value or node._number == node._number)


def _check_fresh(node: Node) -> None:
    """Raise ValueError if the node is stale."""
    if not is_stale(node):
        return
    user = type(node).__name__ if node._operation is None else node._operation.name
    for operand in node.operands:
        if isinstance(operand, Node) and operand._clock > node._clock:
            raise ValueError(
                f"the data of {operand!r} was changed after {user} had used it;"
                " compute the result again, then call backward"
            )


def _send(node: Node) -> None:
    """Add this node's global gradient times its local gradients to its parents' gradients.

    The branches, and _slope, are typed twins of the rules of the most frequent operations.
    """
    g = node._grad
    operation = node._operation
    if g == 0.0 or operation is None:
        return
    a = node._a
    b = node._b
    code = operation.code
    if code >= CODE_NEGATIVE:
        if a is not None:
            a._grad += g * _slope(code, node._number, a._number)
    elif code == CODE_ADD:
        if a is not None:
            a._grad += g
        if b is not None:
            b._grad += g
    elif code == CODE_MULTIPLY:
        u = a._number if a is not None else _constant(node)
        v = b._number if b is not None else _constant(node)
        if a is not None:
            a._grad += g * v
        if b is not None:
            b._grad += g * u
    elif code == CODE_SUBTRACT:
        if a is not None:
            a._grad += g
        if b is not None:
            b._grad -= g
    elif code == CODE_DIVIDE:
        v = b._number if b is not None else _constant(node)
        if a is not None:
            a._grad += g * ieee.divide(1.0, v)
        if b is not None:
            b._grad += g * -ieee.divide(node._number, v)
    elif code == CODE_POWER:
        u = a._number if a is not None else _constant(node)
        v = b._number if b is not None else _constant(node)
        if a is not None:
            a._grad += g * ieee.power_term(v, u, v, 1.0)
        if b is not None:
            b._grad += g * ieee.power_term(ieee.log(u), u, v, 0.0)
    else:
        for parent, local in zip(node._parents, node.local_grads(), strict=True):
            parent._grad += _message(node, parent, g, local)


def _message(node: Node, parent: Node, g: float, local: float) -> float:
    """A global times a local gradient; where an operation stops it, a local 0 sends 0."""
    message = g * local
    operation = node._operation
    if message != message and local == 0.0 and operation is not None:
        for i, operand in enumerate(node.operands):
            if operand is parent and (operation.ignores(i) or operation.stops(i)):
                return 0.0
    return message


def _slope(code: i64, y: float, x: float) -> float:
    """The local gradient of an operation of one operand that has a code."""
    if code == CODE_TANH:
        return ieee.sech2(x)
    if code == CODE_RELU:
        return ieee.step(x)
    if code == CODE_NEGATIVE:
        return -1.0
    if code == CODE_EXP:
        return y
    if code == CODE_LOG:
        return ieee.divide(1.0, ieee.nonnegative(x))
    if code == CODE_SQRT:
        return ieee.divide(0.5, ieee.nonnegative(y))
    if code == CODE_SIN:
        return ieee.cos(x)
    return -ieee.sin(x)


def _constant(node: Node) -> float:
    constant = node._rest
    assert isinstance(constant, float)
    return constant


def _backward_apart(order: list[Node], seed: float) -> None:
    """Backpropagate with the gradients kept apart from the nodes until all are known.

    Slower than in place, but a user's code may run and raise in the middle, and two threads may do
    this on one graph.
    """
    anomaly = detecting_anomaly()
    grads: dict[Node, float] = {order[0]: seed}
    for node in order:
        g = grads.get(node, 0.0)
        if g == 0.0 or (node._operation is None and node._rest is None):
            continue
        for parent, local in zip(node._parents, node.local_grads(), strict=True):
            message = _message(node, parent, g, local)
            total = grads.get(parent, 0.0) + message
            if anomaly and not math.isfinite(total):
                raise FloatingPointError(
                    f"gradient {total} of {parent!r} from {_origin(node)}: global gradient {g}"
                    f" times local gradient {local}"
                )
            grads[parent] = total
    with _WRITING:
        for node in order:
            g = grads.get(node, 0.0)
            leaf = node._operation is None and node._rest is None
            node._grad = node._grad + g if leaf else g


def _origin(node: Node) -> str:
    what = type(node).__name__ if node._operation is None else equation(node)
    return what if node.line is None else f"{what} at {node.line}"


def zero_grad(nodes: Node | Iterable[Any]) -> None:
    """Set the gradients of nodes to 0: a node, or any nesting of lists, tuples and arrays of them.

    Raises:
        TypeError: if something in it is not a node.
    """
    found: list[Node] = []
    stack: list[Any] = [nodes]
    while stack:
        item = stack.pop()
        if isinstance(item, Node):
            found.append(item)
        elif isinstance(item, Iterable) and not isinstance(item, (str, bytes)):
            stack.extend(item)
        else:
            raise TypeError(f"zero_grad takes nodes, not {type(item).__name__}")
    for node in found:
        node._grad = 0.0
