"""What a walk of the engine in C must not leave behind."""

from collections.abc import Iterable

from chainrule import Node


def unmarked(nodes: Iterable[Node]) -> bool:
    """Whether no walk has left a mark on any of them; the engine in Python makes none."""
    return all(getattr(node, "_pending", 0) == 0 for node in nodes)
