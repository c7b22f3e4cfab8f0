"""A recorded training run: loss, weights and gradients at every step."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence

from chainrule.node import Node
from chainrule.rules import described, to_float
from chainrule.tracebacks import boundary


class Recording:
    """What a training run did, step by step, for :func:`~chainrule.explore` to replay.

    Call :meth:`record` once a step, after ``backward`` and before the weights move. With
    :func:`chainrule.nn.fit`, let a callback do that after each epoch.

    Args:
        weights: the leaves to follow; by default the named leaves of the first loss recorded, or
            all its leaves if none has a name.

    Raises:
        TypeError: if a weight is not a node.
        ValueError: if a weight is the result of an operation.
    """

    @boundary
    def __init__(self, weights: Iterable[Node] | None = None) -> None:
        self.weights: list[Node] = [] if weights is None else _leaves(weights)
        self.losses = array("d")
        self.values: list[array[float]] = []  # by step, of all weights
        self.grads: list[array[float]] = []

    @boundary
    def record(self, loss: Node | float) -> None:
        """Keep the loss, and every weight's value and gradient, as they are now.

        Raises:
            TypeError: if the loss is not a node, nor a number where the weights are known.
        """
        if not self.weights:
            if not isinstance(loss, Node):
                raise TypeError(
                    f"record takes the loss, a Node, not {described(loss)};"
                    " for a number, say which weights: Recording(model.parameters())"
                )
            leaves = [node for node in reversed(loss.sorted_nodes()) if not node._parents]
            self.weights = [leaf for leaf in leaves if leaf.name is not None] or leaves
        self.losses.append(loss.data if isinstance(loss, Node) else to_float(loss, "record"))
        self.values.append(array("d", [weight.data for weight in self.weights]))
        self.grads.append(array("d", [weight.grad for weight in self.weights]))

    def __len__(self) -> int:
        return len(self.losses)

    def kept(self, limit: int) -> Sequence[int]:
        """The steps a page shows: all, or evenly spaced ones with the first and the last."""
        count = len(self)
        if count <= limit:
            return range(count)
        return sorted({math.floor(i * (count - 1) / (limit - 1)) for i in range(limit)})


def _leaves(weights: Iterable[Node]) -> list[Node]:
    found = list(weights)
    for weight in found:
        if not isinstance(weight, Node):
            raise TypeError(f"the weights of a recording are nodes, not {type(weight).__name__}")
        if weight._parents:
            raise ValueError(f"the weights of a recording are leaves, not {weight!r}")
    return found
