"""The two passes over a graph: its topological order, and backpropagation along it.

The reference, and what runs where there is no engine in C, whose twins take the places of some of
these functions at the end.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final

from chainrule.annotations import detecting_anomaly
from chainrule.engine import ENGINE
from chainrule.forking import take_around_forks
from chainrule.node import _STATE, Node, _values
from chainrule.rules import to_float
from chainrule.text import equation
from chainrule.tracebacks import boundary

_WRITING: Final = threading.RLock()  # gradients on nodes are of one pass at a time
take_around_forks(lambda: _WRITING)

Message = tuple[Node, float, float]
"""A parent, the local gradient by it, and what it is sent."""


def sorted_nodes(root: Node) -> list[Node]:
    """The graph below a node, root first, parents after children: see Node.sorted_nodes."""
    return _ordered([root], 0)


def topological(roots: Sequence[Node], level: int) -> list[Node]:
    """The nodes of a level, or a deeper one, that some roots depend on: parents before children.

    What the first roots depend on comes first.
    """
    return _ordered([root for root in reversed(roots) if root._level >= level], level)[::-1]


def _ordered(roots: Sequence[Node], level: int) -> list[Node]:
    """Kahn's algorithm: count the edges to every node, then follow those of nodes with none left.

    Edges into a cycle are never all followed: it and what lies below are left out.
    """
    edges = _count_edges(roots, level)
    order: list[Node] = []
    for root in roots:
        edges[id(root)] -= 1
        ready = [] if edges[id(root)] else [root]
        while ready:
            node = ready.pop()
            order.append(node)
            for parent in _parents(node, level):
                edges[id(parent)] -= 1
                if not edges[id(parent)]:
                    ready.append(parent)
    if len(order) < len(edges):
        raise ValueError("the graph has a cycle: a node is its own ancestor")
    return order


def _count_edges(roots: Sequence[Node], level: int) -> dict[int, int]:
    """How many edges lead to each node, by the ids of the nodes; to roots 1 more."""
    edges: dict[int, int] = {}
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        before = edges.get(id(node), 0)
        edges[id(node)] = before + 1
        if not before:
            waiting.extend(_parents(node, level))
    return edges


def _parents(node: Node, level: int) -> list[Node]:
    """The parents of a level or a deeper one."""
    return [x for x in node.operands if isinstance(x, Node) and x._level >= level]


def is_stale(node: Node) -> bool:
    """Whether an operand's data was set since, and the node's value would now be another."""
    if node._serial >= _STATE.last_set:
        return False
    newer = any(isinstance(x, Node) and x._serial > node._serial for x in node.operands)
    return newer and _has_other_value(node)


def _has_other_value(node: Node) -> bool:
    """Whether a node's operation would now give another value.

    Where the value can't be computed again, in a user's own class, it counts as another.
    """
    operation = node._operation
    operands = node.operands
    if operation is None:
        return True
    if operation.pull_back is not None and not isinstance(operands[0], Node):
        return True  # a number, whatever it was computed from
    value = operation.evaluate(_values(operands))
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


def backward(root: Node, seed: float) -> None:
    """Set the gradients of all nodes below a root: see Node.backward.

    The gradients are kept apart from the nodes until all are known: a user's code may run and raise
    in the middle, and two threads may do this on one graph.
    """
    order = sorted_nodes(root)
    for node in order:
        _check_fresh(node)
    arrived: dict[int, list[float]] = {id(node): [] for node in order if _is_leaf(node)}
    grads = gradients(order, seed, arrived)
    with _WRITING:
        for node in order:
            if id(node) not in arrived:
                node._grad = grads.get(id(node), 0.0)
                continue
            for message in arrived[id(node)]:
                node._grad += message


def send_gradients(root: Node, inputs: Sequence[Node]) -> bool:
    """Set the gradients of the inputs of a transformation, if its graph is all there is.

    So it is if everything that the root depends on is of its level, and computed from the inputs
    alone by operations of the table: nobody else can see these nodes.
    """
    order = topological([root], root._level)[::-1]
    known = {id(x) for x in inputs}
    for node in order:
        if _is_leaf(node):
            closed = id(node) in known
        else:
            native = node._operation is not None and node._operation.builtin
            closed = native and all(x._level >= root._level for x in node._parents)
        if not closed:
            return False
    if detecting_anomaly():
        return False
    grads = gradients(order, 1.0)
    for x in inputs:
        x._grad = grads.get(id(x), 0.0)
    return True


def _is_leaf(node: Node) -> bool:
    return node._operation is None and node._rest is None


def gradients(
    order: Sequence[Node], seed: float, arrived: dict[int, list[float]] | None = None
) -> dict[int, float]:
    """The gradients of what messages reach, by the ids of the nodes: the first is the root.

    Args:
        order: the graph in topological order.
        seed: the gradient of the root.
        arrived: by the ids of the leaves, gets the messages to each, which are added to what it
            holds one by one, as where a pass goes on in the nodes.
    """
    anomaly = detecting_anomaly()
    grads: dict[int, float] = {id(order[0]): seed + 0.0}
    if arrived is not None and id(order[0]) in arrived:
        arrived[id(order[0])].append(seed + 0.0)
    results: dict[int, list[float | None]] = {}
    for node in order:
        g = grads.get(id(node))
        for parent, local, sent in _sent_by(node, g, results):
            total = grads.get(id(parent), 0.0) + sent
            if anomaly and not math.isfinite(total):
                _raise_anomaly(node, parent, results, g, local, total)
            grads[id(parent)] = total
            if arrived is not None and id(parent) in arrived:
                arrived[id(parent)].append(sent + 0.0)
    return grads


def _sent_by(node: Node, g: float | None, results: dict[int, list[float | None]]) -> list[Message]:
    """What a node sends, given its gradient, None where it has not been reached.

    Args:
        node: the node.
        g: its global gradient.
        results: of the nodes with several results, by id, the gradients of these.
    """
    if _is_leaf(node):
        return []
    cotangents = results.get(id(node))
    if cotangents is None:
        if g is None:
            return []
        cotangents = [g]
    place = None if node._operation is None else node._operation.result_of
    if place is None:
        return messages(node, cotangents)
    whole = node._b
    assert whole is not None
    assert whole._operation is not None
    if id(whole) not in results:
        results[id(whole)] = [None] * whole._operation.n_results
    results[id(whole)][place] = cotangents[0]
    return []


def _raise_anomaly(
    node: Node,
    parent: Node,
    results: dict[int, list[float | None]],
    g: float | None,
    local: float,
    total: float,
) -> None:
    (g, *_) = results.get(id(node), [g])
    raise FloatingPointError(
        f"gradient {total} of {parent!r} from {_origin(node)}: global gradient"
        f" {g} times local gradient {local}"
    )


def _origin(node: Node) -> str:
    what = type(node).__name__ if node._operation is None else equation(node)
    return what if node.line is None else f"{what} at {node.line}"


def messages(node: Node, cotangents: list[float | None]) -> list[Message]:
    """What a node sends to its parents: nothing to those it has not picked.

    Args:
        node: the node.
        cotangents: its global gradient; those of the results of a pull-back, None for what has not
            been reached.
    """
    operation = node._operation
    operands = node.operands
    if operation is not None and operation.pull_back is not None:
        pulled = operation.pull_back(cotangents, _values(operands)[1:])
        return [
            (operand, math.nan, _number(sent))
            for operand, sent in zip(operands[1:], pulled, strict=True)
            if isinstance(operand, Node) and sent is not None
        ]
    (g,) = cotangents
    assert g is not None
    if operation is None:
        pairs = zip(node._parents, node.local_grads(), strict=True)
        return [(parent, local, g * local) for parent, local in pairs]
    positions = [
        i
        for i, operand in enumerate(operands)
        if isinstance(operand, Node) and not operation.ignores(i)
    ]
    values = _values(operands)
    found: list[Message] = []
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


@boundary
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


if ENGINE is not None:
    sorted_nodes = ENGINE.sorted_nodes
    topological = ENGINE.topological
    is_stale = ENGINE.is_stale
    backward = ENGINE.backward
    send_gradients = ENGINE.send_gradients
