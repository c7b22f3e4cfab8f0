"""Copying and pickling of graphs of any depth, without recursion.

Python copies and pickles an object by recursing into what it holds, which ends at a depth of some
hundred. Here a node hands over all its ancestors first, oldest first, so that each finds its
parents done.
"""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Collection
from typing import Any

from chainrule.annotations import Annotation
from chainrule.backpropagation import is_stale
from chainrule.engine import ENGINE
from chainrule.node import Node, apply
from chainrule.rules import Operation
from chainrule.traced import followed, leaving
from chainrule.whole import WholeNode

_local = threading.local()


def _new(
    kind: type[Node],
    operation: Operation | None,
    operands: tuple[Any, ...],
    numbers: tuple[float, float, bool],
    annotation: Annotation | None,
) -> Node:
    """A node of a class, operation and operands, with its numbers: value, gradient, staleness."""
    if operation is not None:
        node = apply(operation, operands)
        if kind is WholeNode and not isinstance(node, WholeNode):
            node = WholeNode(operation, node._number, node._a, node._b, node._rest)
    elif kind is Node:
        node = Node(0.0, operands)
    else:
        node = kind.__new__(kind)
        Node.__init__(node, 0.0, operands)
    node._number, node._grad, stale = numbers
    if stale:
        node._serial = -1  # older than any operand, so that backward looks at the values
    node._annotation = annotation
    return node


def _parts(
    node: Node,
) -> tuple[type[Node], Operation | None, tuple[float, float, bool], Annotation | None]:
    numbers = (node._number, node._grad, is_stale(node))
    return type(node), node._operation, numbers, node._annotation


def _state(node: Node) -> dict[str, Any]:
    """What a user's subclass keeps in the instance dict and in slots."""
    kind = type(node)
    if node._operation is not None or kind is Node:
        return {}
    state = dict(getattr(node, "__dict__", {}))
    for base in kind.__mro__:
        slots = () if base is Node else base.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            private = slot.startswith("__") and not slot.endswith("__")
            name = f"_{base.__name__.lstrip('_')}{slot}" if private else slot
            if name not in ("__dict__", "__weakref__") and hasattr(node, name):
                state[name] = getattr(node, name)
    return state


def _set_state(node: Node, state: dict[str, Any]) -> None:
    for name, value in state.items():
        setattr(node, name, value)


def _stays(node: Node) -> bool:
    """Whether a copy is the node itself: for a traced value, as for the number it stands for.

    Raises:
        TracedValueError: for a node from outside inside ``compile``, whose copy would be frozen.
    """
    if node._level > 0:
        return True
    if followed(node):
        raise leaving(node, "copying")
    return False


def copy_node(node: Node) -> Node:
    """A new node with the same value, gradient, attributes and parents."""
    if _stays(node):
        return node
    kind, operation, numbers, annotation = _parts(node)
    twin = _new(kind, operation, node.operands, numbers, annotation)
    _set_state(twin, _state(node))
    return twin


def deepcopy_node(root: Node, memo: dict[int, Any]) -> Node:
    """A copy of the whole graph below a node; ``memo`` keeps what is shared shared."""
    if _stays(root):
        return root
    nodes = _not_done(root, memo)
    for node in nodes:
        twin = None if ENGINE is None else ENGINE.copy_of(node, memo)
        if twin is not None:
            memo[id(node)] = twin
            continue
        operands = tuple([memo[id(x)] if isinstance(x, Node) else x for x in node.operands])
        kind, operation, numbers, annotation = _parts(node)
        memo[id(node)] = _new(kind, operation, operands, numbers, annotation)
    for node in nodes:  # attributes come last: they may hold nodes of this very graph
        state = _state(node)
        if state:
            _set_state(memo[id(node)], copy.deepcopy(state, memo))
    copied: Node = memo[id(root)]
    return copied


class _Dump:
    """One run of a pickler, with the nodes that it has pickled.

    It is pickled before every node, and then known to that pickler. A pickler that asks how to
    pickle it again is another one. What is thought of as pickled decides only which ancestors are
    handed over beforehand, that is the depth of the recursion, never what comes back.
    """

    def __init__(self) -> None:
        self.pickled: set[int] = set()
        self.known = False

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.known:
            self.known = True
            return bool, ()
        other = _Dump()
        _local.dump = weakref.ref(other)
        return bool, (other,)


class _Ancestors:
    """The ancestors of a node that are not yet pickled, oldest first, when they are asked for."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def __reduce__(self) -> tuple[Any, ...]:
        return bool, (_not_done(self.node, _this_dump().pickled)[:-1],)


def _this_dump() -> _Dump:
    """The run of the pickler that is at work in this thread, as far as is known."""
    reference = getattr(_local, "dump", None)
    dump: _Dump | None = None if reference is None else reference()
    if dump is None:
        dump = _Dump()
        _local.dump = weakref.ref(dump)  # it lives as long as the pickler that knows it
    return dump


def _not_done(root: Node, done: Collection[int]) -> list[Node]:
    """A node and its ancestors whose ids are not among those done, parents before children."""
    if not done or (len(done) == 1 and id(root) in done):
        return root.sorted_nodes()[::-1]
    order: list[Node] = []
    ordered: set[int] = set()
    opened: set[int] = set()
    stack = [root]
    while stack:
        node = stack[-1]
        key = id(node)
        waiting = [
            parent
            for parent in node._parents
            if id(parent) not in ordered and (id(parent) not in done or parent is root)
        ]
        if key in ordered or not waiting:
            stack.pop()
            if key not in ordered:
                ordered.add(key)
                order.append(node)
        elif key in opened:
            raise ValueError("the graph has a cycle: a node is its own ancestor")
        else:
            opened.add(key)
            stack.extend(waiting)
    return order


def reduce_node(node: Node) -> tuple[Any, ...]:
    """For ``__reduce_ex__``: how to make the node again from its parents."""
    if followed(node):
        raise leaving(node, "pickling")
    dump = _this_dump()
    older = None
    if not dump.pickled.issuperset([id(parent) for parent in node._parents]):
        older = _Ancestors(node)
    dump.pickled.add(id(node))
    kind, operation, numbers, annotation = _parts(node)
    parts = (dump, older, kind, operation, node.operands, numbers, annotation)
    state = _state(node)
    if not state:
        return _unpickled, parts
    return _unpickled, parts, state, None, None, _set_state


def _unpickled(dump: object, older: object, *parts: Any) -> Node:
    return _new(*parts)
