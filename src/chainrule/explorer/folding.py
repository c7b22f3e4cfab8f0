"""Groups whose inside is left out of a page, so that a very large graph fits.

What a folded group computes for the nodes outside is kept: each of its outputs becomes one node
whose operands are what flows into the group, with the derivatives through the inside as its local
gradients.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from chainrule.backpropagation import messages
from chainrule.drawing.selection import fold_path
from chainrule.node import Node


class Output(NamedTuple):
    """A node that a folded group computes for others: from what, and with which derivatives."""

    group: str
    operands: list[Node]
    local: list[float]


def fold(nodes: Sequence[Node], names: Collection[str]) -> tuple[list[Node], dict[Node, Output]]:
    """The nodes, root first, without the inside of some groups, and the outputs of these.

    Raises:
        ValueError: if there is no group of a name.
    """
    known = {name for node in nodes for name in node.groups}
    for name in names:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise ValueError(f"fold: no group {name!r} in this graph; there are: {there}")
    wanted = set(names)
    inside = {node: path for node in nodes if (path := fold_path(node, wanted)) is not None}
    seen = {nodes[0]} if nodes[0] in inside else set()
    for node in nodes:
        path = inside.get(node)
        seen.update(parent for parent in node._parents if inside.get(parent, path) != path)
    rank = {node: i for i, node in enumerate(nodes)}
    outputs = {
        node: _output(node, inside, seen, rank)
        for node in nodes
        if node in inside and node in seen and node._parents
    }
    return [node for node in nodes if node not in inside or node in seen], outputs


def _output(
    root: Node, inside: dict[Node, tuple[str, ...]], seen: set[Node], rank: dict[Node, int]
) -> Output:
    """Backpropagate from an output to what flows into its group, or to other outputs of it."""
    grads = {root: 1.0}  # of what messages reach
    known = {root}
    operands: list[Node] = []
    waiting = [(rank[root], root)]
    heapify(waiting)
    while waiting:
        node = heappop(waiting)[1]
        if node is not root and (node not in inside or node in seen):
            operands.append(node)
            continue
        for parent in node._parents:
            if parent not in known:
                known.add(parent)
                heappush(waiting, (rank[parent], parent))
        if node in grads:
            for parent, sent in _sent(node, grads[node]):
                grads[parent] = grads.get(parent, 0.0) + sent
    return Output(inside[root][-1], operands, [grads.get(operand, 0.0) for operand in operands])


def _sent(node: Node, grad: float) -> list[tuple[Node, float]]:
    """What a node sends; a pull-back is asked for what it makes of 1, as pictures show it."""
    if node._operation is not None and node._operation.pull_back is not None:
        pairs = zip(node._parents, node.local_grads(), strict=True)
        return [(parent, grad * local) for parent, local in pairs]
    return [(parent, sent) for parent, _, sent in messages(node, [grad])]
