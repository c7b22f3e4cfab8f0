"""The two passes over a graph: its topological order, and backpropagation along it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final

from mypy_extensions import i64

from chainrule import ieee
from chainrule.annotations import detecting_anomaly
from chainrule.engine import COMPILED
from chainrule.forking import take_around_forks
from chainrule.node import _STATE, Node, _values
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
    to_float,
)
from chainrule.text import equation

_WRITING: Final = threading.RLock()  # marks and gradients on nodes are of one pass at a time
_NOTHING: Final = -0.0  # the gradient of a node that no message has reached
take_around_forks(lambda: _WRITING)


class _Walk:
    """Both passes over a graph, and what was seen on the way."""

    def __init__(self) -> None:
        self.count: i64 = 0  # nodes
        self.runs_python = False  # an operation does, which may raise or let another thread run
        self.oldest: i64 = _STATE.last_set  # the least serial of an operation
        self.leaves: i64 = 0
        self.open = False  # it has parents of a level outside
        self.sent = False  # the gradients
        self.nodes: list[Node] = []  # in topological order, if the gradients were not sent


def sorted_nodes(root: Node) -> list[Node]:
    """The graph below a node, root first, parents after children: see Node.sorted_nodes."""
    return _walk([root], 0, False, False, 0.0).nodes


def topological(roots: Sequence[Node], level: i64) -> list[Node]:
    """The nodes of a level, or a deeper one, that some roots depend on: parents before children.

    What the first roots depend on comes first.
    """
    starts = [root for root in reversed(roots) if root._level >= level]
    if not starts:
        return []
    nodes = _walk(starts, level, False, False, 0.0).nodes
    nodes.reverse()
    return nodes


def backward(root: Node, seed: float) -> None:
    """Set the gradients of all nodes below a root: see Node.backward."""
    in_place = COMPILED and not detecting_anomaly()
    walk = _walk([root], 0, in_place, False, seed)
    if walk.sent:
        return
    if walk.oldest < _STATE.last_set:
        for node in walk.nodes:
            _check_fresh(node)
    if in_place and not walk.runs_python:
        _walk([root], 0, True, True, seed)
    else:
        _backward_apart(walk.nodes, seed)


def send_gradients(root: Node, inputs: Sequence[Node]) -> bool:
    """Set the gradients of the inputs of a transformation, if its graph is all there is.

    So it is if everything that the root depends on is of its level, and computed from the inputs
    alone by operations of the table: nobody else can see these nodes.
    """
    walk = _walk([root], root._level, not detecting_anomaly(), True, 1.0, inputs)
    return walk.sent


def _walk(
    roots: Sequence[Node],
    level: i64,
    send: bool,
    checked: bool,
    seed: float,
    inputs: Sequence[Node] | None = None,
) -> _Walk:
    """Kahn's algorithm: count the edges to every node, then follow those of nodes with none left.

    Sends the gradients of a single root along if asked to and if nothing in it can fail: no Python
    runs, and no data was set since, or it was checked that the values have remained. Else it gives
    the order. The counts are marks on the nodes, all 0 again at the end.

    Args:
        roots: where it starts.
        level: of the nodes that it visits, or of the outermost of them.
        send: whether to send gradients.
        checked: whether the values are known to be those of the operands.
        seed: the gradient of the root.
        inputs: where it must end; nothing is sent if it ends anywhere else.
    """
    walk = _Walk()
    with _WRITING:
        try:
            for root in roots:
                root._pending += 1
                if root._pending == 1:
                    _count_edges(root, level, walk)
            closed = True
            if inputs is not None:
                visited = 0
                for x in inputs:
                    if x._pending != 0:
                        visited += 1
                closed = visited == walk.leaves and not walk.open
            unchanged = checked or walk.oldest >= _STATE.last_set
            walk.sent = send and unchanged and closed and not walk.runs_python
            for root in roots:
                _follow_edges(root, level, walk, seed)
            if not walk.sent and len(walk.nodes) < walk.count:
                raise ValueError("the graph has a cycle: a node is its own ancestor")
        except BaseException:
            for root in roots:
                _unmark(root)
            raise
    return walk


def _count_edges(root: Node, level: i64, walk: _Walk) -> None:
    """The first pass: mark every node with the number of edges to it, roots with 1 more.

    Like the second, it goes on with a parent it has just come to, which is still at hand; only the
    others go on a list.
    """
    waiting: list[Node] = []
    node = root
    while True:
        walk.count += 1
        operation = node._operation
        if operation is not None or node._rest is not None:
            if operation is None or not operation.native:
                walk.runs_python = True
            if node._serial < walk.oldest:
                walk.oldest = node._serial
        else:
            walk.leaves += 1
        following: Node | None = None
        a = node._a
        if a is not None:
            if a._level < level:
                walk.open = True
            else:
                if a._pending == 0:
                    following = a
                a._pending += 1
        b = node._b
        if b is not None:
            if b._level < level:
                walk.open = True
            else:
                if b._pending == 0:
                    if following is not None:
                        waiting.append(following)
                    following = b
                b._pending += 1
        rest = node._rest
        if isinstance(rest, tuple):
            for operand in rest:
                if isinstance(operand, Node):
                    if operand._level < level:
                        walk.open = True
                        continue
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


def _follow_edges(root: Node, level: i64, walk: _Walk, seed: float) -> None:
    """The second pass: send each node's gradient to its parents, or put the node on the list.

    Edges into a cycle are never all followed: it and what lies below are left out.
    """
    send = walk.sent
    nodes = walk.nodes
    ready: list[Node] = []
    if not _is_last_edge(root, send):
        return
    if send:
        root._grad += seed + 0.0
    node = root
    while True:
        following: Node | None = None
        a = node._a
        if a is not None and a._level >= level and _is_last_edge(a, send):
            following = a
        b = node._b
        if b is not None and b._level >= level and _is_last_edge(b, send):
            if following is not None:
                ready.append(following)
            following = b
        rest = node._rest
        if isinstance(rest, tuple):
            for operand in rest:
                if (
                    isinstance(operand, Node)
                    and operand._level >= level
                    and _is_last_edge(operand, send)
                ):
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
    """Follow an edge to a node. At the first one, before it is sent anything, clear its gradient.

    To tell the first from the others, the edges left are counted as a negative number.
    """
    left = parent._pending
    if left > 0:
        left = -left
        if send and parent._operation is not None:
            parent._grad = _NOTHING
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

    Where the value can't be computed again, in a user's own class, setting is enough.
    """
    a = node._a
    b = node._b
    fresh = (a is None or a._serial <= node._serial) and (b is None or b._serial <= node._serial)
    rest = node._rest
    if isinstance(rest, tuple):
        for operand in rest:
            if isinstance(operand, Node) and operand._serial > node._serial:
                fresh = False
    operation = node._operation
    if fresh or operation is None:
        return not fresh
    if operation.pull_back is not None and not isinstance(node.operands[0], Node):
        return True  # a number, whatever it was computed from
    value = operation.evaluate(_values(node.operands))
    return value != node._number and (value == value or node._number == node._number)


def _check_fresh(node: Node) -> None:
    """Raise ValueError if the node is stale."""
    if not is_stale(node):
        return
    user = type(node).__name__ if node._operation is None else node._operation.name
    for operand in node.operands:
        if isinstance(operand, Node) and operand._serial > node._serial:
            raise ValueError(
                f"the data of {operand!r} was changed after {user} had used it;"
                " compute the result again, then call backward"
            )


def _send(node: Node) -> None:
    """Add this node's global gradient times its local gradients to its parents' gradients.

    What was not picked is sent nothing, and sends nothing: -0.0 marks a gradient that no message
    has reached. Messages are never -0.0, nor are their sums with it, as 0.0 is added to them.
    The branches, and _slope, are typed twins of the rules of the most frequent operations.
    """
    operation = node._operation
    if operation is None:
        return
    g = node._grad
    if g == 0.0 and ieee.copysign(1.0, g) < 0.0:
        node._grad = 0.0
        return
    a = node._a
    b = node._b
    code = operation.code
    if code >= CODE_NEGATIVE:
        if a is not None:
            slope = _slope(code, node._number, a._number)
            if code != CODE_RELU or slope != 0.0:
                a._grad += g * slope + 0.0
    elif code == CODE_ADD:
        if a is not None:
            a._grad += g
        if b is not None:
            b._grad += g
    elif code == CODE_MULTIPLY:
        u = a._number if a is not None else _constant(node)
        v = b._number if b is not None else _constant(node)
        if a is not None:
            a._grad += g * v + 0.0
        if b is not None:
            b._grad += g * u + 0.0
    elif code == CODE_SUBTRACT:
        if a is not None:
            a._grad += g
        if b is not None:
            b._grad += 0.0 - g
    elif code == CODE_DIVIDE:
        v = b._number if b is not None else _constant(node)
        if a is not None:
            a._grad += g * ieee.divide(1.0, v) + 0.0
        if b is not None:
            b._grad += g * -ieee.divide(node._number, v) + 0.0
    elif code == CODE_POWER:
        u = a._number if a is not None else _constant(node)
        v = b._number if b is not None else _constant(node)
        if a is not None:
            a._grad += g * ieee.power_term(v, u, v, 1.0) + 0.0
        if b is not None:
            b._grad += g * ieee.power_term(ieee.log(u), u, v, 0.0) + 0.0
    else:
        for parent, _, sent in messages(node, [g]):
            parent._grad += sent + 0.0


def messages(node: Node, cotangents: list[float]) -> list[tuple[Node, float, float]]:
    """What a node sends: parents, local gradients, messages; nothing to those it has not picked.

    Args:
        node: the node.
        cotangents: its global gradient; those of the results of a pull-back.
    """
    operation = node._operation
    operands = node.operands
    if operation is not None and operation.pull_back is not None:
        pulled = operation.pull_back(cotangents, operands[1:])
        return [
            (operand, math.nan, _number(sent))
            for operand, sent in zip(operands[1:], pulled, strict=True)
            if isinstance(operand, Node)
        ]
    g = cotangents[0]
    if operation is None:
        pairs = zip(node._parents, node.local_grads(), strict=True)
        return [(parent, local, g * local) for parent, local in pairs]
    positions = [
        i
        for i, operand in enumerate(operands)
        if isinstance(operand, Node) and not operation.ignores(i)
    ]
    values = _values(operands)
    found: list[tuple[Node, float, float]] = []
    locals_ = operation.local_grads_at(positions, node._number, values)
    for i, local in zip(positions, locals_, strict=True):
        if not isinstance(local, float):
            what = f"a local gradient of {operation.name}"
            local = to_float(local, what, "must be a real number")
        if not operation.picks or operation.deciding(local, values) != 0.0:
            found.append((operands[i], local, g * local))
    return found


def _number(x: Any) -> float:
    """The number of a node or number."""
    return x._number if isinstance(x, Node) else to_float(x, "a pulled back cotangent")


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
    if not isinstance(constant, float):
        raise TypeError(f"{node!r} lacks an operand; make operations with operators and functions")
    return constant


def _backward_apart(order: list[Node], seed: float) -> None:
    """Backpropagate with the gradients kept apart from the nodes until all are known.

    Slower than in place, but a user's code may run and raise in the middle, and two threads may do
    this on one graph.
    """
    grads = gradients(order, seed)
    with _WRITING:
        for node in order:
            g = grads.get(id(node), 0.0)
            leaf = node._operation is None and node._rest is None
            node._grad = node._grad + g if leaf else g


def gradients(order: Sequence[Node], seed: float) -> dict[int, float]:
    """The gradients of what messages reach, by the ids of the nodes: the first is the root."""
    anomaly = detecting_anomaly()
    grads: dict[int, float] = {id(order[0]): seed + 0.0}
    results: dict[int, list[float]] = {}  # by node with several results: the gradients of these
    for node in order:
        if node._operation is None and node._rest is None:
            continue
        cotangents = results.get(id(node))
        if cotangents is None:
            if id(node) not in grads:
                continue
            cotangents = [grads[id(node)]]
        part = None if node._operation is None else node._operation.result_of
        if part is not None:
            place, count = part
            results.setdefault(id(node._b), [0.0] * count)[place] = cotangents[0]
            continue
        for parent, local, sent in messages(node, cotangents):
            total = grads.get(id(parent), 0.0) + sent
            if anomaly and not math.isfinite(total):
                raise FloatingPointError(
                    f"gradient {total} of {parent!r} from {_origin(node)}: global gradient"
                    f" {cotangents[0]} times local gradient {local}"
                )
            grads[id(parent)] = total
    return grads


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
