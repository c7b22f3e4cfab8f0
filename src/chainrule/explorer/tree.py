"""Which box is in which: the groups of a graph, and parts of those that are too large to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chainrule.node import Node

WHOLE = 300
"""Up to so many nodes a page shows everything; no group is cut into parts."""
FEW = 48
"""The most boxes in a group, where it is cut into parts."""


@dataclass
class Group:
    """A named set of boxes: nodes by their numbers, and groups."""

    name: str
    boxes: list[int | Group] = field(default_factory=list)
    size: int = 0  # nodes inside, at any depth
    part: bool = False  # of a larger group, not one of the user's

    def __hash__(self) -> int:
        return id(self)


def tree_of(nodes: Sequence[Node]) -> Group:
    """The groups of nodes in evaluation order; the outermost one is the graph itself."""
    whole = Group("")
    by_path: dict[tuple[str, ...], Group] = {(): whole}
    for i, node in enumerate(nodes):
        path = node.groups
        for depth in range(1, len(path) + 1):
            if path[:depth] not in by_path:
                by_path[path[:depth]] = Group(path[depth - 1])
                by_path[path[: depth - 1]].boxes.append(by_path[path[:depth]])
        by_path[path].boxes.append(i)
        for depth in range(len(path) + 1):
            by_path[path[:depth]].size += 1
    if len(nodes) > WHOLE:
        for group in by_path.values():
            _cut(group)
    return whole


def _cut(group: Group) -> None:
    """Put the boxes of a group that is too large into parts, so that none has more than FEW.

    Parts are stretches of the order of evaluation: no part depends on a later one, unless the
    user's groups do.
    """
    count = len(group.boxes)
    if count <= FEW:
        return
    size = 1  # of a part: the least power of FEW that leaves FEW of them
    while size * FEW < count:
        size *= FEW
    parts = -(-count // size)
    cuts = [round(i * count / parts) for i in range(parts + 1)]
    boxes = group.boxes
    group.boxes = []
    for i in range(parts):
        inner = boxes[cuts[i] : cuts[i + 1]]
        nodes = sum(1 if isinstance(box, int) else box.size for box in inner)
        part = Group(f"part {i + 1} of {parts}", inner, nodes, part=True)
        _cut(part)
        group.boxes.append(part)
