"""Copying and pickling of graphs of any depth, without recursion.

Python copies and pickles an object by recursing into what it holds, which ends at a depth of some
hundred. Here a node announces all its ancestors, oldest first; each then finds its parents done.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

from chainrule.annotations import Annotation
from chainrule.node import Node, apply
from chainrule.rules import Operation

_local = threading.local()


def _numbers(node: Node) -> tuple[float, float, Annotation | None]:
    return node._data, node._grad, node._annotation


def _restore(node: Node, data: float, grad: float, annotation: Annotation | None) -> Node:
    node._data = data
    node._grad = grad
    node._annotation = annotation
    return node


def _new(
    kind: type[Node], operation: Operation | None, operands: tuple[Any, ...], state: Any
) -> Node:
    """A node of the given class, operation and operands, with ``state`` in its instance dict."""
    if operation is not None:
        return apply(operation, operands)
    if kind is Node:
        return Node(0.0, operands)
    node: Node = kind.__new__(kind)
    Node.__init__(node, 0.0, operands)
    if state:
        node.__dict__.update(state)
    return node


def _state(node: Node) -> Any:
    """What a user's subclass keeps in the instance dict."""
    return getattr(node, "__dict__", None) or None


def copy_node(node: Node) -> Node:
    """A new node with the same value, gradient and parents."""
    return _restore(_new(type(node), node._operation, node.operands, _state(node)), *_numbers(node))


def deepcopy_node(root: Node, memo: dict[int, Any]) -> Node:
    """A copy of the whole graph below a node; ``memo`` keeps what is shared shared."""
    for node in reversed(root.sorted_nodes()):
        if id(node) not in memo:
            operands = tuple([memo[id(x)] if isinstance(x, Node) else x for x in node.operands])
            state = copy.deepcopy(_state(node), memo)
            twin = _new(type(node), node._operation, operands, state)
            memo[id(node)] = _restore(twin, *_numbers(node))
    copied: Node = memo[id(root)]
    return copied


class _Announcement:
    """Tells this thread's pickling which nodes come next, oldest first.

    Pickled just before them. A node that is announced is pickled alone, since its parents have
    been; any other announces its own ancestors first. Which of the two a node does never changes
    what comes back, only the depth of the recursion.
    """

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.next = 0

    def __reduce__(self) -> tuple[Any, ...]:
        _local.announced = self
        return bool, ()

    def expects(self, node: Node) -> bool:
        """Whether the node is still to come; skips those that the pickler knew already."""
        while self.next < len(self.nodes):
            self.next += 1
            if self.nodes[self.next - 1] is node:
                return True
        return False


def reduce_node(node: Node) -> tuple[Callable[..., Node], tuple[Any, ...]]:
    """For ``__reduce_ex__``: how to make the node again from its parents."""
    announced: _Announcement | None = getattr(_local, "announced", None)
    alone = announced is not None and announced.expects(node)
    if announced is not None and announced.next >= len(announced.nodes):
        _local.announced = None
    ancestors: tuple[Any, ...] = ()
    if not alone:
        older = node.sorted_nodes()[:0:-1]
        if any(parent._operation is not None or parent._rest is not None for parent in older):
            ancestors = (_Announcement(older), older)
    parts = (type(node), node._operation, node.operands, _state(node), _numbers(node), ancestors)
    return _unpickled, parts


def _unpickled(
    kind: type[Node],
    operation: Operation | None,
    operands: tuple[Any, ...],
    state: Any,
    numbers: tuple[float, float, Annotation | None],
    ancestors: tuple[Any, ...],
) -> Node:
    return _restore(_new(kind, operation, operands, state), *numbers)
