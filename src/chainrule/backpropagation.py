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


class _Order:
    """A graph in topological order, with what was seen on the way."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.runs_python = False  # an operation does, which may raise or let another thread run
        self.oldest: i64 = _STATE.clock  # the least clock of an operation


def sorted_nodes(root: Node) -> list[Node]:
    """The graph below a node, root first, parents after children: see Node.sorted_nodes."""
    return _order(root).nodes


def _order(root: Node) -> _Order:
    """Kahn's algorithm: first count the edges to every node, then take those with none left.

    The counts are marks on the nodes, all 0 again at the end. The list of the nodes found serves
    as the result and as the stack of nodes that are ready: the order grows from its left end, the
    stack from its right; together they never hold more nodes than were found.
    """
    order = _Order()
    with _WRITING:
        nodes = [root]
        try:
            root._pending = 1
            found: i64 = 0
            while found < len(nodes):
                node = nodes[found]
                found += 1
                operation = node._operation
                if operation is not None or node._rest is not None:
                    if operation is None or not operation.native:
                        order.runs_python = True
                    if node._clock < order.oldest:
                        order.oldest = node._clock
                a = node._a
                if a is not None:
                    if a._pending == 0:
                        nodes.append(a)
                    a._pending += 1
                b = node._b
                if b is not None:
                    if b._pending == 0:
                        nodes.append(b)
                    b._pending += 1
                rest = node._rest
                if isinstance(rest, tuple):
                    for operand in rest:
                        if isinstance(operand, Node):
                            if operand._pending == 0:
                                nodes.append(operand)
                            operand._pending += 1
            top: i64 = found
            done: i64 = 0
            root._pending -= 1
            if root._pending == 0:
                top -= 1
                nodes[top] = root
            while top < found:
                node = nodes[top]
                top += 1
                nodes[done] = node
                done += 1
                a = node._a
                if a is not None:
                    a._pending -= 1
                    if a._pending == 0:
                        top -= 1
                        nodes[top] = a
                b = node._b
                if b is not None:
                    b._pending -= 1
                    if b._pending == 0:
                        top -= 1
                        nodes[top] = b
                rest = node._rest
                if isinstance(rest, tuple):
                    for operand in rest:
                        if isinstance(operand, Node):
                            operand._pending -= 1
                            if operand._pending == 0:
                                top -= 1
                                nodes[top] = operand
            if done < found:
                raise ValueError("the graph has a cycle: a node is its own ancestor")
            order.nodes = nodes
            return order
        except BaseException:
            _unmark(root, nodes)
            raise


def _unmark(root: Node, nodes: list[Node]) -> None:
    """Set the marks of a sort that did not end back to 0."""
    stack = [root, *nodes]
    while stack:
        node = stack.pop()
        node._pending = 0
        for parent in node._parents:
            if parent._pending:
                parent._pending = 0
                stack.append(parent)


def backward(root: Node, seed: float) -> None:
    """Set the gradients of all nodes below a root: see Node.backward."""
    if root._level:
        raise TracedValueError(
            f"backward at {users_line()}: inside a transformation use grad or value_and_grad"
        )
    order = _order(root)
    if order.oldest < _STATE.clock:
        for node in order.nodes:
            _check_fresh(node)
    if order.runs_python or not COMPILED or detecting_anomaly():
        _backward_apart(order.nodes, seed)
        return
    with _WRITING:
        for node in order.nodes:
            if node._operation is not None:
                node._grad = 0.0
        root._grad += seed
        for node in order.nodes:
            _send(node)


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
    return value != node._data and (value == value or node._data == node._data)


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
            a._grad += g * _slope(code, node._data, a._data)
    elif code == CODE_ADD:
        if a is not None:
            a._grad += g
        if b is not None:
            b._grad += g
    elif code == CODE_MULTIPLY:
        u = a._data if a is not None else _constant(node)
        v = b._data if b is not None else _constant(node)
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
        v = b._data if b is not None else _constant(node)
        if a is not None:
            a._grad += g * ieee.divide(1.0, v)
        if b is not None:
            b._grad += g * -ieee.divide(node._data, v)
    elif code == CODE_POWER:
        u = a._data if a is not None else _constant(node)
        v = b._data if b is not None else _constant(node)
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
