"""What is in a graph: its nodes and edges, and how a picture cuts and folds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chainrule.node import Node
from chainrule.tracebacks import boundary


@boundary
def trace(root: Node) -> tuple[set[Node], set[tuple[Node, Node]]]:
    """The nodes below a root, itself included, and the edges ``(parent, child)`` between them.

    Raises:
        TypeError: if root is not a node.
        ValueError: if the graph has a cycle.
    """
    nodes = require_node(root, "trace").sorted_nodes()
    return set(nodes), {(parent, node) for node in nodes for parent in node._parents}


def require_node(root: object, what: str) -> Node:
    """The argument itself, if it is a node.

    Raises:
        TypeError: if it is anything else.
    """
    if isinstance(root, Node):
        return root
    hint = ""
    if isinstance(root, (list, tuple)) or type(root).__module__ == "numpy":
        hint = "; take one of its elements, or their sum"
    elif isinstance(root, (int, float)):
        hint = "; a plain number does not remember how it was computed"
    raise TypeError(f"{what} takes a Node, not {type(root).__name__}{hint}")


def require_roots(root: Node | Iterable[Node]) -> list[Node]:
    """The nodes to draw: one, or those in a list, a tuple, an array, each once.

    Raises:
        TypeError: if anything in there is not a node.
        ValueError: if there is none.
    """
    if isinstance(root, Node):
        return [root]
    if isinstance(root, (str, bytes, dict)) or not isinstance(root, Iterable):
        require_node(root, "draw_graph")
    found: dict[Node, None] = {}
    for node in root.ravel() if hasattr(root, "ravel") else root:
        found[require_node(node, "draw_graph, in a list,")] = None
    if not found:
        raise ValueError("there is no node in the list to draw")
    return list(found)


def sorted_below(roots: Sequence[Node]) -> list[Node]:
    """All nodes below some roots in topological order, operands last.

    Raises:
        ValueError: if the graph has a cycle.
    """
    found: dict[Node, None] = {}  # operands first
    for root in roots:
        found.update(dict.fromkeys(reversed(root.sorted_nodes())))
    return list(reversed(found))


def depths(roots: Sequence[Node], deepest: int) -> dict[Node, int]:
    """The nodes at most ``deepest`` operations below a root, each with the least distance."""
    found = dict.fromkeys(roots, 0)
    level = list(roots)
    for depth in range(1, deepest + 1):
        below: list[Node] = []
        for node in level:
            for parent in node._parents:
                if parent not in found:
                    found[parent] = depth
                    below.append(parent)
        if not below:  # the graph ends above the deepest level asked for
            break
        level = below
    return found


def fold_path(node: Node, fold: bool | set[str]) -> tuple[str, ...] | None:
    """The groups down to the outermost one that is folded around a node, or None."""
    groups = node.groups
    if isinstance(fold, bool):
        return groups[:1] if fold and groups else None
    for i, name in enumerate(groups):
        if name in fold:
            return groups[: i + 1]
    return None
