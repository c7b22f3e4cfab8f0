"""From a graph of nodes to a picture in the DOT language."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import graphviz

from chainrule.comparing import is_truth
from chainrule.drawing.digraph import GraphDrawing, set_options
from chainrule.drawing.formulas import local_formula
from chainrule.drawing.render import check_format
from chainrule.drawing.selection import depths, fold_path, require_roots, sorted_below
from chainrule.drawing.style import (
    THEMES,
    NumberFormat,
    Theme,
    as_hex,
    colour,
    label_text,
    largest,
    symbol,
    theme_of,
    tooltip_text,
)
from chainrule.node import Node
from chainrule.tracebacks import boundary

__all__ = ["GraphDrawing", "draw_graph"]

Direction = Literal["LR", "RL", "TB", "BT"]


@boundary
def draw_graph(
    root: Node | Iterable[Node],
    *,
    format: str = "svg",
    direction: Direction = "LR",
    data_format: str | None = None,
    grad_format: str | None = None,
    grads: bool = True,
    color: bool = False,
    local_grads: bool | Literal["formulas"] = False,
    max_depth: int | None = None,
    fold: bool | str | Iterable[str] = False,
    max_nodes: int = 1000,
    dpi: float | None = None,
    transparent: bool = False,
    fontname: str = "Helvetica",
    fontsize: float = 12,
    theme: str = "light",
) -> GraphDrawing:
    """Draw the graph below a node, or below several.

    A box for each node with its name, value and gradient; between a node and its parents a small
    juncture with the operation's symbol. Groups are framed.

    Args:
        root: the node to draw, or a list, tuple or array of several; everything they were computed
            from is drawn.
        format: of the picture: ``svg``, ``png`` or ``pdf``.
        direction: ``LR`` (left to right), ``RL``, ``TB`` (top to bottom) or ``BT``.
        data_format: format specification of the values; None for three decimals, or four
            significant digits where these do not fit the number.
        grad_format: format specification of the gradients; None for four decimals, or the same.
        grads: whether boxes show gradients; False for values alone.
        color: colour the boxes by gradient: blue positive, red negative, white 0; yellow for NaN
            and infinity.
        local_grads: write ∂node/∂parent on the edges, of which there is one for each operand;
            with ``"formulas"`` how it is computed, too.
        max_depth: draw only nodes at most that many operations below the root.
        fold: draw groups (see :func:`chainrule.group`) as one box: True for all outermost groups,
            or the names of the groups.
        max_nodes: the largest number of boxes to draw.
        dpi: pixels an inch of a PNG; None for 96.
        transparent: leave out the white behind the picture.
        fontname: of all text. SVG shows any font that its viewer has, PNG and PDF any that an
            installed Graphviz finds, without one Helvetica, Times or Courier.
        fontsize: of the boxes, in points; what is on frames and edges goes with it.
        theme: ``light``, ``dark`` or ``blackboard``.

    Returns:
        The picture; show it in Jupyter, or ``.save("graph.svg")``.

    Raises:
        TypeError: if root is not a node, nor nodes.
        ValueError: for an unknown format, direction, theme or group, a bad number format or dpi,
            no root, a graph with a cycle, or more than ``max_nodes`` boxes.
    """
    roots = require_roots(root)
    nodes = sorted_below(roots)
    numbers = NumberFormat(data_format, grad_format, grads)
    if direction not in ("LR", "RL", "TB", "BT"):
        raise ValueError(f"direction is one of LR, RL, TB, BT, not {direction!r}")
    if max_depth is not None and max_depth < 0:
        raise ValueError(f"max_depth is 0 or more, not {max_depth}")
    picture = Picture(roots, nodes, fold, max_depth)
    picture.check_size(max_nodes)
    if not fontsize > 0:
        raise ValueError(f"fontsize is a number of points above 0, not {fontsize!r}")
    if isinstance(local_grads, str) and local_grads != "formulas":
        raise ValueError(f'local_grads is True, False or "formulas", not {local_grads!r}')
    colours = theme_of(theme)
    scale = largest(node.grad for node in picture.shown) if color else None
    edges = _no_label if not local_grads else _local_labels(numbers, local_grads == "formulas")
    drawing = picture_of(picture, numbers, colours, scale, edges, direction, fontname, fontsize)
    drawing.format = check_format(format)
    set_options(drawing, dpi, transparent or None)
    return drawing


EdgeStyle = Callable[[Node, int], dict[str, str]]
"""What an arrow to a node from one of its operands looks like."""


def picture_of(
    picture: Picture,
    numbers: NumberFormat,
    theme: Theme,
    scale: float | None,
    edges: EdgeStyle,
    direction: str = "LR",
    fontname: str = "Helvetica",
    fontsize: float = 12,
) -> GraphDrawing:
    """The drawing of a picture; ``scale`` is of its colours, None for none."""
    font = {"fontname": fontname, "fontsize": f"{fontsize:g}"}
    small = f"{fontsize / 1.2:g}"
    ink: dict[str, str] = {}
    if theme != THEMES["light"]:
        ink = {"color": theme.line, "fontcolor": theme.ink}
    drawing = GraphDrawing(
        filename="graph.gv",
        graph_attr={"rankdir": direction, "color": "#999999", "style": "rounded", **font, **ink},
        node_attr={**font, "height": "0.3", **ink},
        edge_attr={**font, "fontsize": small, "arrowsize": "0.7", **ink},
    )
    if ink:
        drawing.graph_attr["bgcolor"] = as_hex(theme.paper)
    _add_boxes(drawing, picture, numbers, scale, theme)
    _add_edges(drawing, picture, edges)
    return drawing


def _no_label(node: Node, at: int) -> dict[str, str]:
    return {}


def _local_labels(numbers: NumberFormat, formulas: bool) -> EdgeStyle:
    """Local gradients on the arrows; a pull-back has none, it shows what it makes of 1."""

    def label(node: Node, at: int) -> dict[str, str]:
        pulls = node._operation is not None and node._operation.pull_back is not None
        local = node.local_grads()[at]
        text = numbers.grad_text(local)
        if pulls:
            text = f"pull-back of 1: {text}"
        elif formulas:
            written = local_formula(node, at)
            if written and written.replace("−", "-") != f"{local:.4g}":
                text = f"{label_text(written)} = {text}"
        return {"label": text}

    return label


class Picture:
    """Which nodes are drawn as themselves, which in a folded group, which are cut off.

    Every node has a number, its place in topological order with the leaves first, so that the
    same graph gives the same picture.
    """

    def __init__(
        self,
        roots: Sequence[Node],
        nodes: Sequence[Node],
        fold: bool | str | Iterable[str],
        max_depth: int | None,
    ) -> None:
        self.total = len(nodes)
        kept = None if max_depth is None else depths(roots, max_depth)
        if is_truth(fold):
            fold = bool(fold)
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
    drawing: GraphDrawing,
    picture: Picture,
    numbers: NumberFormat,
    scale: float | None,
    theme: Theme,
) -> None:
    """The boxes and junctures, each inside the frames of its groups."""
    members: dict[tuple[str, ...], list[Node]] = {}
    for node in picture.shown:
        members.setdefault(node.groups, []).append(node)
    frames = _frames([*members, *[path[:-1] for path in picture.folded]])
    number = itertools.count()

    def add(graph: graphviz.Digraph, path: tuple[str, ...]) -> None:
        for node in members.get(path, ()):
            _add_box(graph, picture, node, numbers, scale, theme)
        for folded, nodes in picture.folded.items():
            if folded[:-1] == path:
                _add_folded(graph, picture, folded[-1], nodes, numbers, scale, theme)
        for inner in frames.get(path, ()):
            with graph.subgraph(name=f"cluster{next(number)}") as frame:
                frame.attr(label=label_text(inner[-1]), tooltip=tooltip_text(inner[-1]))
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
    picture: Picture,
    node: Node,
    numbers: NumberFormat,
    scale: float | None,
    theme: Theme,
) -> None:
    box = picture.box[node]
    style = {}
    if scale is not None:
        style = {"style": "filled", "fillcolor": colour(numbers.grad_of(node), scale, theme)}
    graph.node(
        box,
        label=numbers.label(node),
        shape="record",
        tooltip=numbers.tooltip(node),
        **style,
    )
    if node._parents:
        graph.node(f"{box}op", label=label_text(symbol(node)), width="0.3", margin="0.05,0.02")


def _add_folded(
    graph: graphviz.Digraph,
    picture: Picture,
    name: str,
    nodes: list[Node],
    numbers: NumberFormat,
    scale: float | None,
    theme: Theme,
) -> None:
    label = f"{label_text(name)} | {len(nodes):,} nodes"
    if numbers.grads:
        label += f" | max abs grad={numbers.grad_text(largest(node.grad for node in nodes))}"
    folded = "#eeeeee" if theme == THEMES["light"] else as_hex(theme.paper)
    style = "rounded,filled" if scale is not None else "rounded"
    graph.node(
        picture.box[nodes[0]],
        label=label,
        shape="Mrecord",
        style=style,
        fillcolor=folded if scale is not None else "",
        tooltip=tooltip_text(f"{name}: {len(nodes)} nodes, folded"),
    )


def _add_edges(drawing: GraphDrawing, picture: Picture, edges: EdgeStyle) -> None:
    """From operands to a node's juncture and on to the node.

    Every operand has its edge, so that ``x * x`` has two from x; of those that begin or end in a
    folded group and bear no number only one is drawn between two boxes.
    """
    drawn: set[tuple[str, str]] = set()
    shown = set(picture.shown)
    for node in picture.number:
        parents = node._parents
        if not parents:
            continue
        box = picture.box[node]
        head = f"{box}op" if node in shown else box
        if node in shown:
            drawing.edge(head, box)
        cut = False
        for at, parent in enumerate(parents):
            style = edges(node, at) if node in shown else {}
            tail = picture.box.get(parent)
            if tail is None:
                cut = True
            elif tail != head and ((tail, head) not in drawn or style):
                drawing.edge(tail, head, style.pop("label", None), **style)
                if node not in shown or parent not in shown:
                    drawn.add((tail, head))
        if cut and (f"{box}cut", head) not in drawn:
            drawn.add((f"{box}cut", head))
            drawing.node(f"{box}cut", label="…", shape="plaintext", tooltip="cut at max_depth")
            drawing.edge(f"{box}cut", head)
