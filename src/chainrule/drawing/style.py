"""Labels and colours of a picture."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import graphviz

from chainrule.node import Node

_POSITIVE = (33, 102, 172)  # blue and red of ColorBrewer's RdBu, told apart by the colour-blind
_NEGATIVE = (178, 24, 43)
_NOT_FINITE = "#ffd92f"


@dataclass(frozen=True)
class NumberFormat:
    """Format specifications of the two numbers on a node."""

    data: str
    grad: str

    def __post_init__(self) -> None:
        for spec in (self.data, self.grad):
            try:
                format(1.0, spec)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"a number format is a format specification such as '.3f', not {spec!r}"
                ) from error

    def label(self, node: Node) -> str:
        """The text of a node's box: name if it has one, value, gradient."""
        name = "" if node.name is None else f"{record_text(node.name)} | "
        return f"{name}data={node.data:{self.data}} | grad={node.grad:{self.grad}}"


def symbol(node: Node) -> str:
    """The text of an operation: its symbol, or what a user's own class says of itself."""
    kind = type(node)
    if kind.__str__ is Node.__str__ and kind.__repr__ is Node.__repr__:
        return kind.__name__
    return str(node)


def plain_text(text: str) -> str:
    """Text as a label that is shown as it is."""
    return str(graphviz.escape(text.replace("\n", " ")))


def record_text(text: str) -> str:
    """Text as a field of a record label, where braces, bars and angle brackets have a meaning."""
    return re.sub(r"([\\{}|<>])", r"\\\1", text.replace("\n", " "))


def largest(grads: Iterable[float]) -> float:
    """The largest finite magnitude, 0 for none."""
    return max((abs(grad) for grad in grads if math.isfinite(grad)), default=0.0)


def colour(grad: float, scale: float) -> str:
    """White for 0, towards blue for positive and red for negative; yellow for NaN and infinity."""
    if not math.isfinite(grad):
        return _NOT_FINITE
    strength = 0.75 * math.sqrt(abs(grad) / scale) if scale > 0.0 else 0.0
    hue = _POSITIVE if grad > 0.0 else _NEGATIVE
    return "#" + "".join(f"{round(255 + (part - 255) * strength):02x}" for part in hue)
