"""A small data set on which a page trains a network, point by point and step by step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chainrule.node import Node
from chainrule.rules import described, to_float
from chainrule.tracebacks import boundary

MOST_POINTS = 500


class TrainingSet:
    """Points to train on inside the page of :func:`~chainrule.explore`.

    The graph is the loss of one point. For every point the page puts its numbers into the leaves
    ``inputs`` and ``target``; all other leaves are weights, which move against the mean gradient.

    Args:
        inputs: the leaves that hold a point's coordinates.
        target: the leaf that holds what the network should give for it.
        points: a row for each point: its coordinates, then its target.
        output: the node that is what the network gives; the page draws it over the inputs.

    Raises:
        TypeError: if inputs, target or output is no node.
        ValueError: if an input or the target is no leaf or there twice; for no input, no point or
            too many; if a row has not one number for each input and one for the target.
    """

    @boundary
    def __init__(
        self,
        inputs: Iterable[Node],
        target: Node,
        points: Iterable[Sequence[float]],
        *,
        output: Node | None = None,
    ) -> None:
        self.inputs = list(inputs)
        self.target = target
        self.output = output
        self.points = [[to_float(x, "TrainingSet") for x in point] for point in points]
        for node in (*self.inputs, target, *([] if output is None else [output])):
            if not isinstance(node, Node):
                raise TypeError(f"a training set takes nodes, not {described(node)}")
        leaves = [*self.inputs, target]
        for leaf in leaves:
            if leaf._parents:
                raise ValueError(f"inputs and target are leaves, not {leaf!r}")
        if not self.inputs or len({id(leaf) for leaf in leaves}) < len(leaves):
            raise ValueError("a training set has one leaf for each input and one for the target")
        if not 0 < len(self.points) <= MOST_POINTS:
            raise ValueError(f"a page trains on 1 to {MOST_POINTS} points, not {len(self.points)}")
        for point in self.points:
            if len(point) != len(leaves) or not all(map(math.isfinite, point)):
                raise ValueError(
                    f"each point is {len(leaves)} finite numbers, its inputs and its target,"
                    f" not {point!r}"
                )

    def described(self, index: Mapping[Node, int]) -> dict[str, Any]:
        """What the page is told, nodes by their places in the graph.

        Raises:
            ValueError: if a node of the training set is not in the graph.
        """
        for node in (*self.inputs, self.target, *([] if self.output is None else [self.output])):
            if node not in index:
                raise ValueError(f"{node!r} of the training set is not in the graph")
        return {
            "inputs": [index[node] for node in self.inputs],
            "target": index[self.target],
            "output": None if self.output is None else index[self.output],
            "points": self.points,
        }
