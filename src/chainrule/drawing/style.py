"""Labels and colours of a picture."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from chainrule.node import Node

_FITTING = {"data": (".3f", 1e-3), "grad": (".4f", 1e-4)}
"""The format of a number that fits it, and the least magnitude that does."""

_POSITIVE = (33, 102, 172)  # blue and red of ColorBrewer's RdBu, told apart by the colour-blind
_NEGATIVE = (178, 24, 43)
_NOT_FINITE = "#ffd92f"

_LINE_ENDS = re.compile("[\t-\r\x1c-\x1e\x85]")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_REFERENCES = {char: f"&#{ord(char)};" for char in '&"<>{|}'} | {"\\": "&#92;&#92;"}
_SPECIAL = re.compile("|".join(map(re.escape, _REFERENCES)))


@dataclass(frozen=True)
class NumberFormat:
    """Format specifications of the two numbers on a node; None for one that fits the number."""

    data: str | None
    grad: str | None
    grads: bool = True  # whether boxes show the gradient

    def __post_init__(self) -> None:
        for spec in (self.data, self.grad):
            try:
                format(1.0, spec or "")
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"a number format is a format specification such as '.3f', not {spec!r}"
                ) from error

    def data_text(self, data: float) -> str:
        """A value as a label shows it."""
        return _number(data, self.data, "data")

    def grad_text(self, grad: float) -> str:
        """A gradient as a label shows it."""
        return _number(grad, self.grad, "grad")

    def label(self, node: Node) -> str:
        """The text of a node's box: name if it has one, value, gradient."""
        name = "" if node.name is None else f"{label_text(node.name)} | "
        grad = f" | grad={self.grad_text(node.grad)}" if self.grads else ""
        return f"{name}data={self.data_text(node.data)}{grad}"

    def tooltip(self, node: Node) -> str:
        """What shows where the pointer is: all digits, and the line of the program."""
        grad = f" grad={node.grad!r}" if self.grads else ""
        line = "" if node.line is None else f" at {node.line}"
        return tooltip_text(f"data={node.data!r}{grad}{line}")


def _number(x: float, spec: str | None, kind: str) -> str:
    if spec is None:
        spec, least = _FITTING[kind]
        if x != 0.0 and math.isfinite(x) and not least <= abs(x) < 1e6:
            spec = ".4g"
    return label_text(f"{x:{spec}}")


def symbol(node: Node) -> str:
    """The text of an operation: its symbol, or what a user's own class says of itself."""
    kind = type(node)
    if kind.__str__ is Node.__str__ and kind.__repr__ is Node.__repr__:
        return kind.__name__
    return str(node)


def printable(text: str) -> str:
    """Text in which whatever ends a line is a space, and what can't be shown is replaced."""
    return _UNPRINTABLE.sub("\ufffd", _LINE_ENDS.sub(" ", text))


def label_text(text: str) -> str:
    """Text as Graphviz's label, plain or of a record, that is shown as it is.

    What means something to Graphviz anywhere is written as a character reference; these are read
    where a label's own syntax, and HTML's, has been recognised. A backslash is doubled: escapes
    are read once more after that.
    """
    return _SPECIAL.sub(lambda match: _REFERENCES[match[0]], printable(text))


def tooltip_text(text: str) -> str:
    """Text as a tooltip, in which Graphviz reads escapes twice."""
    return label_text(text.replace("\\", "\\\\"))


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
