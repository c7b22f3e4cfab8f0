"""From a graph of nodes to a picture in the DOT language."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import graphviz

from chainrule.drawing.render import FORMATS, check_format, render_dot, write_atomically
from chainrule.drawing.selection import depths, fold_path, require_node
from chainrule.drawing.style import (
    NumberFormat,
    colour,
    largest,
    plain_text,
    record_text,
    symbol,
)
from chainrule.node import Node
from chainrule.tracebacks import boundary

Direction = Literal["LR", "RL", "TB", "BT"]


class GraphDrawing(graphviz.Digraph):  # type: ignore[misc]
    """A picture of a graph: a ``graphviz.Digraph`` that needs no Graphviz on the machine.

    ``source`` is its text in the DOT language. In Jupyter it shows itself.
    """

    def __repr__(self) -> str:
        return "<GraphDrawing: the last line of a Jupyter cell, or .save('graph.svg')>"

    @boundary
    def pipe(
        self, format: str | None = None, encoding: str | None = None, **options: Any
    ) -> bytes | str:
        """The rendered picture as bytes, or text if an encoding is given.

        Raises:
            ValueError: for an unknown format.
        """
        data = render_dot(self.source, check_format(format or self.format))
        return data.decode(encoding) if encoding else data

    @boundary
    def save(
        self, filename: str | os.PathLike[str] | None = None, directory: str | None = None, **_: Any
    ) -> str:
        """Write the picture in the format of the ending, or the DOT source for ``.gv``, ``.dot``.

        Nothing is left behind where that fails.

        Returns:
            The path written.

        Raises:
            ValueError: for an unknown ending.
            OSError: if the file can't be written.
        """
        path = Path(directory or "", filename or f"graph.{self.format}")
        ending = path.suffix.lower().lstrip(".")
        if ending in ("gv", "dot"):
            data = self.source.encode()
        elif ending in FORMATS:
            data = render_dot(self.source, ending)
        else:
            raise ValueError(
                f"{path.name!r} should end in one of .{', .'.join(FORMATS)}, .gv, .dot"
            )
        write_atomically(path, data)
        return str(path)

    @boundary
    def render(
        self,
        filename: str | os.PathLike[str] | None = None,
        directory: str | None = None,
        view: bool = False,
        cleanup: bool = False,
        format: str | None = None,
        **_: Any,
    ) -> str:
        """Write source and picture as ``graphviz`` does: ``filename`` and ``filename.format``.

        Returns:
            The path of the picture.

        Raises:
            ValueError: for an unknown format.
            OSError: if a file can't be written.
        """
        ending = check_format(format or self.format)
        source = Path(directory or "", filename or "graph.gv")
        picture = source.with_name(f"{source.name}.{ending}")
        write_atomically(picture, render_dot(self.source, ending))
        if not cleanup:
            write_atomically(source, self.source.encode())
        if view:
            self._view(str(picture), format=ending, quiet=False)
        return str(picture)


@boundary
def draw_graph(
    root: Node,
    *,
    format: str = "svg",
    direction: Direction = "LR",
    data_format: str = ".3f",
    grad_format: str = ".4f",
    color: bool = False,
    local_grads: bool = False,
    max_depth: int | None = None,
    fold: bool | str | Iterable[str] = False,
    max_nodes: int = 1000,
) -> GraphDrawing:
    """Draw the graph below a node.

    A box for each node with its name, value and gradient; between a node and its parents a small
    juncture with the operation's symbol. Groups are framed.

    Args:
        root: the node to draw; everything it was computed from is drawn.
        format: of the picture: ``svg``, ``png`` or ``pdf``.
        direction: ``LR`` (left to right), ``RL``, ``TB`` (top to bottom) or ``BT``.
        data_format: format specification of the values.
        grad_format: format specification of the gradients.
        color: colour the boxes by gradient: blue positive, red negative, white 0; yellow for NaN
            and infinity.
        local_grads: write ∂node/∂parent on the edges.
        max_depth: draw only nodes at most that many operations below the root.
        fold: draw groups (see :func:`chainrule.group`) as one box: True for all outermost groups,
            or the names of the groups.
        max_nodes: the largest number of boxes to draw.

    Returns:
        The picture; show it in Jupyter, or ``.save("graph.svg")``.

    Raises:
        TypeError: if root is not a node.
        ValueError: for an unknown format, direction or group, a bad number format, a graph with a
            cycle, or more than ``max_nodes`` boxes.
    """
    nodes = require_node(root, "draw_graph").sorted_nodes()
    numbers = NumberFormat(data_format, grad_format)
    if direction not in ("LR", "RL", "TB", "BT"):
        raise ValueError(f"direction is one of LR, RL, TB, BT, not {direction!r}")
    if max_depth is not None and max_depth < 0:
        raise ValueError(f"max_depth is 0 or more, not {max_depth}")
    picture = _Picture(root, nodes, fold, max_depth)
    picture.check_size(max_nodes)
    drawing = GraphDrawing(
        format=check_format(format),
        graph_attr={"rankdir": direction},
        node_attr={"fontname": "Helvetica", "fontsize": "12", "height": "0.3"},
        edge_attr={"fontname": "Helvetica", "fontsize": "10", "arrowsize": "0.7"},
    )
    scale = largest(node.grad for node in picture.shown) if color else None
    _add_boxes(drawing, picture, numbers, scale)
    _add_edges(drawing, picture, numbers if local_grads else None)
    return drawing


class _Picture:
    """Which nodes are drawn as themselves, which in a folded group, which are cut off.

    Every node has a number, its place in topological order with the leaves first, so that the
    same graph gives the same picture.
    """

    def __init__(
        self,
        root: Node,
        nodes: Sequence[Node],
        fold: bool | str | Iterable[str],
        max_depth: int | None,
    ) -> None:
        self.total = len(nodes)
        kept = None if max_depth is None else depths(root, max_depth)
        folded = fold if isinstance(fold, bool) else {fold} if isinstance(fold, str) else set(fold)
        self.number: dict[Node, int] = {}
        self.shown: list[Node] = []
        self.folded: dict[tuple[str, ...], list[Node]] = {}
        self.box: dict[Node, str] = {}
        names: set[str] = set()
        for i, node in enumerate(reversed(nodes)):
            names.update(node.groups)
            if kept is not None and node not in kept:
                continue
            self.number[node] = i
            path = fold_path(node, folded)
            if path is None:
                self.shown.append(node)
                self.box[node] = f"n{i}"
            else:
                members = self.folded.setdefault(path, [])
                members.append(node)
                self.box[node] = f"n{self.number[members[0]]}group"
        unknown = [] if isinstance(folded, bool) else sorted(folded - names)
        if unknown:
            there = ", ".join(sorted(names)) or "none"
            raise ValueError(f"fold: no group {unknown[0]!r} in this graph; there are: {there}")

    def check_size(self, max_nodes: int) -> None:
        """Raise ValueError if there are too many boxes to lay out."""
        boxes = len(self.shown) + len(self.folded)
        if boxes > max_nodes:
            raise ValueError(
                f"a picture of {boxes:,} nodes is too large to read (the limit is {max_nodes:,});"
                " draw the levels below the root with max_depth=5, fold groups with fold=True"
                ' (name them: with chainrule.group("layer 1"): …), or raise max_nodes'
            )


def _add_boxes(
    drawing: GraphDrawing, picture: _Picture, numbers: NumberFormat, scale: float | None
) -> None:
    """The boxes and junctures, each inside the frames of its groups."""
    members: dict[tuple[str, ...], list[Node]] = {}
    for node in picture.shown:
        members.setdefault(node.groups, []).append(node)
    frames = _frames([*members, *[path[:-1] for path in picture.folded]])

    def add(graph: graphviz.Digraph, path: tuple[str, ...]) -> None:
        for node in members.get(path, ()):
            _add_box(graph, picture, node, numbers, scale)
        for folded, nodes in picture.folded.items():
            if folded[:-1] == path:
                _add_folded(graph, picture, folded[-1], nodes, numbers, scale)
        for inner in frames.get(path, ()):
            name = f"cluster_{'/'.join(inner)}"
            with graph.subgraph(name=name) as frame:
                frame.attr(label=plain_text(inner[-1]), color="#999999", fontname="Helvetica")
                frame.attr(style="rounded", fontsize="12")
                add(frame, inner)

    add(drawing, ())


def _frames(paths: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], list[tuple[str, ...]]]:
    """Each group's inner groups, in the order they appear."""
    frames: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for path in paths:
        for i in range(len(path)):
            inner = frames.setdefault(path[:i], [])
            if path[: i + 1] not in inner:
                inner.append(path[: i + 1])
    return frames


def _add_box(
    graph: graphviz.Digraph,
    picture: _Picture,
    node: Node,
    numbers: NumberFormat,
    scale: float | None,
) -> None:
    box = picture.box[node]
    line = "" if node.line is None else f" at {node.line}"
    style = {} if scale is None else {"style": "filled", "fillcolor": colour(node.grad, scale)}
    graph.node(
        box,
        label=numbers.label(node),
        shape="record",
        tooltip=plain_text(f"data={node.data!r} grad={node.grad!r}{line}"),
        **style,
    )
    if node._parents:
        graph.node(f"{box}op", label=plain_text(symbol(node)), width="0.3", margin="0.05,0.02")


def _add_folded(
    graph: graphviz.Digraph,
    picture: _Picture,
    name: str,
    nodes: list[Node],
    numbers: NumberFormat,
    scale: float | None,
) -> None:
    grad = largest(node.grad for node in nodes)
    style = "rounded,filled" if scale is not None else "rounded"
    graph.node(
        picture.box[nodes[0]],
        label=f"{record_text(name)} | {len(nodes):,} nodes | max abs grad={grad:{numbers.grad}}",
        shape="Mrecord",
        style=style,
        fillcolor="#eeeeee" if scale is not None else "",
        tooltip=plain_text(f"{name}: {len(nodes)} nodes, folded"),
    )


def _add_edges(drawing: GraphDrawing, picture: _Picture, numbers: NumberFormat | None) -> None:
    """From parents to a node's juncture and on to the node; one edge between two folded groups."""
    drawn: set[tuple[str, str]] = set()

    def edge(tail: str, head: str, label: str = "") -> None:
        if (tail, head) not in drawn:
            drawn.add((tail, head))
            drawing.edge(tail, head, **({"label": label} if label else {}))

    shown = set(picture.shown)
    for node in picture.number:
        parents = node._parents
        if not parents:
            continue
        box = picture.box[node]
        head = f"{box}op" if node in shown else box
        if node in shown:
            edge(head, box)
        labels = [""] * len(parents)
        if numbers is not None and node in shown:
            labels = _local_grad_labels(node, numbers)
        cut = False
        for parent, label in zip(parents, labels, strict=True):
            tail = picture.box.get(parent)
            if tail is None:
                cut = True
            elif tail != head:
                edge(tail, head, label)
        if cut:
            drawing.node(f"{box}cut", label="…", shape="plaintext", tooltip="cut at max_depth")
            edge(f"{box}cut", head)


def _local_grad_labels(node: Node, numbers: NumberFormat) -> list[str]:
    """The local gradients for the edges; those of one parent used twice add up on its one edge."""
    total: dict[Node, float] = {}
    for parent, local in zip(node._parents, node.local_grads(), strict=True):
        total[parent] = total.get(parent, 0.0) + local
    return [f"{total[parent]:{numbers.grad}}" for parent in node._parents]
