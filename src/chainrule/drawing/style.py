"""Labels and colours of a picture."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from chainrule.node import Node

_FITTING = {"data": (".3f", 1e-3), "grad": (".4f", 1e-4)}
"""The format of a number that fits it, and the least magnitude that does."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Theme:
    """The colours of a picture: of letters and lines, of frames, of what is behind everything.

    Gradients go from the colour of the paper to ``positive`` or ``negative``.
    """

    ink: str
    line: str
    paper: Colour = (255, 255, 255)
    positive: Colour = (33, 102, 172)  # blue and red of ColorBrewer's RdBu, told apart by the
    negative: Colour = (178, 24, 43)  # colour-blind
    not_finite: str = "#ffd92f"
    message: str = "#b54708"


THEMES: Final = {
    "light": Theme("#000000", "#999999"),
    "dark": Theme(
        "#e6edf3", "#6e7681", (13, 17, 23), (47, 110, 181), (181, 60, 75), "#8a7300", "#ffa657"
    ),
    "blackboard": Theme(
        "#f4f1e6", "#8fa89a", (30, 58, 47), (58, 122, 176), (176, 74, 82), "#9a8200", "#ffd27f"
    ),
}


def theme_of(name: str) -> Theme:
    """The theme of a name.

    Raises:
        ValueError: if there is none.
    """
    if name not in THEMES:
        raise ValueError(f"theme is one of {', '.join(THEMES)}, not {name!r}")
    return THEMES[name]


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
    grad_of: Callable[[Node], float | None] = attrgetter("grad")  # None where it is not yet known

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
        known = self.grad_of(node)
        text = " " if known is None else self.grad_text(known)
        grad = f" | grad={text}" if self.grads else ""
        return f"{name}data={self.data_text(node.data)}{grad}"

    def tooltip(self, node: Node) -> str:
        """What shows where the pointer is: all digits, and the line of the program."""
        grad = f" grad={self.grad_of(node)!r}" if self.grads else ""
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


def colour(grad: float | None, scale: float, theme: Theme) -> str:
    """The paper's for 0 and what is not known, towards blue for positive, red for negative.

    Yellow for NaN and infinity.
    """
    if grad is not None and not math.isfinite(grad):
        return theme.not_finite
    strength = 0.75 * math.sqrt(abs(grad) / scale) if grad and scale > 0.0 else 0.0
    hue = theme.negative if grad is not None and grad < 0.0 else theme.positive
    parts = zip(theme.paper, hue, strict=True)
    return "#" + "".join(f"{round(paper + (part - paper) * strength):02x}" for paper, part in parts)


def as_hex(colour: Colour) -> str:
    """A colour as Graphviz writes it."""
    return "#" + "".join(f"{part:02x}" for part in colour)
