"""A backward pass as pictures, one for each step: for slides, or as a GIF."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

from chainrule.backpropagation import Message, messages
from chainrule.drawing.digraph import GraphDrawing
from chainrule.drawing.graph import Picture, picture_of
from chainrule.drawing.render import render_dot
from chainrule.drawing.selection import require_node
from chainrule.drawing.style import NumberFormat, Theme, largest, theme_of
from chainrule.files import write_atomically
from chainrule.node import Node
from chainrule.tracebacks import boundary

MOST_BOXES = 200
GIF_DPI = 120


class Frames(Sequence[GraphDrawing]):
    """Pictures of one size that follow each other; ``.save("backward.gif")``."""

    def __init__(self, drawings: Sequence[GraphDrawing]) -> None:
        self._drawings = list(drawings)

    def __repr__(self) -> str:
        return f"<{len(self)} frames: .save('backward.gif'), or .save('step.svg') for each>"

    def __len__(self) -> int:
        return len(self._drawings)

    def __iter__(self) -> Iterator[GraphDrawing]:
        return iter(self._drawings)

    @overload
    def __getitem__(self, at: int) -> GraphDrawing: ...
    @overload
    def __getitem__(self, at: slice) -> Frames: ...
    def __getitem__(self, at: int | slice) -> GraphDrawing | Frames:
        return Frames(self._drawings[at]) if isinstance(at, slice) else self._drawings[at]

    @boundary
    def save(
        self, path: str | os.PathLike[str], *, seconds: float = 1.2, dpi: float | None = None
    ) -> list[str]:
        """Write a GIF, or a file for each frame: ``step-1.svg``, ``step-2.svg``, ….

        Args:
            path: ending in ``.gif``, or as ``GraphDrawing.save`` takes it.
            seconds: for which a GIF shows each frame; the last one is shown three times as long.
            dpi: pixels an inch of GIF and PNG.

        Returns:
            The paths written.

        Raises:
            ImportError: if a GIF is wanted and Pillow is not installed.
            ValueError: for an unknown ending, or seconds that are not above 0.
            OSError: if a file can't be written.
        """
        target = Path(path)
        if target.suffix.lower() != ".gif":
            digits = len(str(len(self)))
            numbered = [
                target.with_name(f"{target.stem}-{i:0{digits}d}{target.suffix}")
                for i in range(1, len(self) + 1)
            ]
            pairs = zip(self, numbered, strict=True)
            return [drawing.save(place, dpi=dpi) for drawing, place in pairs]
        if not seconds > 0.0:
            raise ValueError(f"seconds is a number above 0, not {seconds!r}")
        write_atomically(target, self._gif(seconds, dpi or GIF_DPI))
        return [str(target)]

    def _gif(self, seconds: float, dpi: float) -> bytes:
        try:
            from PIL import Image
        except ImportError:
            raise ImportError(
                "a GIF needs the package pillow: pip install 'chainrule[gif]'"
            ) from None
        pictures = []
        for drawing in self:
            png = drawing.pipe("png", dpi=dpi)
            assert isinstance(png, bytes)
            pictures.append(Image.open(io.BytesIO(png)).convert("RGB"))
        palette = pictures[-1].quantize(256)  # the last one has all the colours
        plain = Image.Dither.NONE
        still = [picture.quantize(palette=palette, dither=plain) for picture in pictures]
        found = io.BytesIO()
        times = [round(1000 * seconds)] * (len(still) - 1) + [round(3000 * seconds)]
        still[0].save(found, "GIF", save_all=True, append_images=still[1:], duration=times, loop=0)
        return found.getvalue()


@boundary
def backward_frames(
    root: Node,
    *,
    color: bool = True,
    direction: str = "LR",
    data_format: str | None = None,
    grad_format: str | None = None,
    fontname: str = "Helvetica",
    fontsize: float = 12,
    theme: str = "light",
) -> Frames:
    """The pictures of a backward pass: the root's gradient 1, then each message, then all.

    A node that sends is outlined, with what it sends on its arrows. The gradients that nodes hold
    are neither read nor changed.

    Args:
        root: the node to go back from.
        color: colour the boxes by gradient.
        direction: ``LR`` (left to right), ``RL``, ``TB`` (top to bottom) or ``BT``.
        data_format: format specification of the values; None as in ``draw_graph``.
        grad_format: of the gradients.
        fontname: of all text.
        fontsize: of the boxes, in points.
        theme: ``light``, ``dark`` or ``blackboard``.

    Raises:
        TypeError: if root is not a node.
        ValueError: for a bad option, or a graph with a cycle or more nodes than can be read.
    """
    nodes = require_node(root, "backward_frames").sorted_nodes()
    if direction not in ("LR", "RL", "TB", "BT"):
        raise ValueError(f"direction is one of LR, RL, TB, BT, not {direction!r}")
    if not fontsize > 0:
        raise ValueError(f"fontsize is a number of points above 0, not {fontsize!r}")
    numbers = NumberFormat(data_format, grad_format)
    picture = Picture([root], nodes, False, None)
    picture.check_size(MOST_BOXES)
    colours = theme_of(theme)
    moments = list(_moments(nodes))
    scale = largest(grad for grad in moments[-1][1].values()) if color else None
    sent: dict[tuple[int, int], str] = {}
    for sender, grads, terms in moments:
        for at, (_, local, message) in terms.items():
            assert sender is not None
            text = f"{numbers.grad_text(grads[sender])} × {numbers.grad_text(local)}"
            pulls = sender._operation is not None and sender._operation.pull_back is not None
            sent[id(sender), at] = f"+= {numbers.grad_text(message) if pulls else text}"

    def drawn(sender: Node | None, grads: dict[Node, float], lit: bool) -> GraphDrawing:
        def edge(node: Node, at: int) -> dict[str, str]:
            label = sent.get((id(node), at))
            if label is None:
                return {}
            if lit or node is not sender:
                return {"label": label, "fontcolor": "transparent"}
            return {"label": label, "fontcolor": colours.message, **_lit(colours, "back")}

        drawing = picture_of(
            picture,
            replace(numbers, grad_of=grads.get),
            colours,
            scale,
            edge,
            direction,
            fontname,
            fontsize,
        )
        if sender is not None:
            drawing.node(picture.box[sender], **_lit(colours))
        return drawing

    widest = _widest(numbers, [grads for _, grads, _ in moments])
    sizes = _sizes(drawn(None, widest, True).source)
    frames = []
    for sender, grads, _ in moments:
        drawing = drawn(sender, grads, False)
        for box, (width, height) in sizes.items():
            drawing.node(box, width=width, height=height, fixedsize="true")
        frames.append(drawing)
    return Frames(frames)


Moment = tuple[Node | None, dict[Node, float], dict[int, Message]]


def _moments(nodes: Sequence[Node]) -> Iterator[Moment]:
    """Who sends, the gradients after that as far as there are any, and what goes to each parent."""
    grads = {nodes[0]: 1.0}
    yield None, dict(grads), {}
    for node in nodes:
        if node._parents and node in grads:
            sent = messages(node, [grads[node]])
            for parent, _, message in sent:
                grads[parent] = grads.get(parent, 0.0) + message
            yield node, dict(grads), _by_parent(node, sent)
    yield None, {node: grads.get(node, 0.0) for node in nodes}, {}


def _by_parent(node: Node, sent: Sequence[Message]) -> dict[int, Message]:
    """The messages by the places of the parents; to those not picked there are none."""
    found = {}
    waiting = list(sent)
    for at, parent in enumerate(node._parents):
        if waiting and waiting[0][0] is parent:
            found[at] = waiting.pop(0)
    return found


def _lit(theme: Theme, direction: str | None = None) -> dict[str, str]:
    found = {"color": theme.message, "penwidth": "2.5"}
    return found if direction is None else found | {"dir": direction}


def _widest(numbers: NumberFormat, moments: Sequence[dict[Node, float]]) -> dict[Node, float]:
    """For each node the gradient that takes most room."""
    found: dict[Node, float] = {}
    for grads in moments:
        for node, grad in grads.items():
            text = numbers.grad_text(grad)
            if node not in found or len(text) > len(numbers.grad_text(found[node])):
                found[node] = grad
    return found


def _sizes(source: str) -> dict[str, tuple[str, str]]:
    """The boxes' widths and heights in inches, as Graphviz lays them out."""
    layout = json.loads(render_dot(source, "json"))
    return {
        box["name"]: (box["width"], box["height"])
        for box in layout["objects"]
        if box.get("shape") == "record"
    }
