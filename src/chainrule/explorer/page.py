"""The page: one file of HTML with its data, style and script inside, that loads nothing.

Its policy forbids everything from outside, and every script but its own. What comes from the user,
names above all, is data that the script shows as text; it is never part of the script.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import sys
from array import array
from string import Template
from typing import Any

from chainrule.drawing.style import printable
from chainrule.explorer.graph import Graph, short_name
from chainrule.explorer.javascript import arithmetic, asset
from chainrule.explorer.layout import OUTSIDE, lay_out
from chainrule.explorer.recording import Recording
from chainrule.explorer.training import TrainingSet
from chainrule.explorer.tree import Group, places, tree_of

NODE_SIZE = (116.0, 56.0)
GROUP_SIZE = (156.0, 64.0)
SCRIPTS = (
    "graph.js",
    "walk.js",
    "findings.js",
    "text.js",
    "arrangement.js",
    "picture.js",
    "names.js",
    "panel.js",
    "training.js",
    "practice.js",
    "explorer.js",
)
HISTORY_STEPS = 2000
Edges = dict[tuple[int, int], None]  # a set in order


def page(
    graph: Graph,
    title: str | None,
    history: Recording | None = None,
    training: TrainingSet | None = None,
) -> str:
    """The HTML of a page.

    Args:
        graph: what is shown.
        title: of the page; None for the root's name.
        history: a training run to replay.
        training: points to train on in the page.
    """
    names = graph.names()
    codes = ",\n".join("null" if code is None else code for code in graph.codes)
    script = "\n".join(
        [
            '"use strict";',
            arithmetic(),
            "// Generated from the table of rules: values and local gradients of the operations.",
            f"const FORMS = [\n{codes}\n];",
            *[asset(name) for name in SCRIPTS],
        ]
    )
    script = _compact(script)
    style = _compact(asset("explorer.css"))
    data = _columns(graph) | _boxes(graph, tree_of(graph, names))
    given = title or names.get(len(graph.nodes) - 1) or "Computational graph"
    title = short_name(printable(given))
    data |= {"title": title, "names": names, "history": _replay(graph, history)}
    data["places"] = {short_name(printable(text)): at for text, at in places(graph).items()}
    data["training"] = None if training is None else training.described(graph.index)
    return Template(asset("page.html")).substitute(
        title=html.escape(title),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        data=as_json(data),
    )


def as_json(data: object) -> str:
    """JSON that can stand in a script element: nothing in it ends the element."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _compact(text: str) -> str:
    """Code without indents, empty lines and lines that are comments."""
    lines = [line.strip() for line in text.splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def packed(column: array[Any]) -> str:
    """A column of numbers as text, every bit kept: its type, and base64 of its bytes.

    Whole numbers take as many bytes as the largest of them needs; the lowest byte comes first.
    """
    if column.typecode == "i":
        most = max(map(abs, (min(column, default=0), max(column, default=0))))
        column = array("b" if most < 1 << 7 else "h" if most < 1 << 15 else "i", column)
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column.typecode + base64.b64encode(column.tobytes()).decode()


def _columns(graph: Graph) -> dict[str, Any]:
    """What is known of every node."""
    sources, lines = graph.lines()
    return {
        "count": len(graph.nodes),
        "decisions": graph.decisions,
        "forms": graph.forms,
        "kind": packed(graph.kind),
        "operand": packed(graph.operand),
        "constant": packed(graph.constant),
        "value": packed(graph.value),
        "local": packed(graph.local),
        "sources": sources,
        "lines": lines,
    }


def _boxes(graph: Graph, tree: Group) -> dict[str, Any]:
    """Groups, and where every box stands in its group; boxes are nodes, then groups."""
    count = len(graph.nodes)
    groups = [tree]
    for group in groups:
        groups += [box for box in group.boxes if isinstance(box, Group)]
    number = {group: count + i for i, group in enumerate(groups)}
    parent = array("i", [-1]) * (count + len(groups))
    for group in groups:
        for box in group.boxes:
            parent[number[box] if isinstance(box, Group) else box] = number[group]
    edges = _edges_by_group(graph, parent)
    column, y = (array("i", [0]) * len(parent) for _ in range(2))
    described: list[Any] = []
    ways: dict[str, int] = {"{}": 0}  # the bends of groups that are alike, once
    for group in groups:
        name = short_name(printable(group.name))
        if group.loop:  # the page shows one trip, between those before it and those after it
            described.append((name, 2, group.size, 0))
            continue
        boxes = sorted(number[box] if isinstance(box, Group) else box for box in group.boxes)
        place = {box: i for i, box in enumerate(boxes)} | {OUTSIDE: OUTSIDE}
        inside, crossing = edges.get(number[group], ({}, {}))
        layout = lay_out(
            tuple(GROUP_SIZE[1] if box >= count else NODE_SIZE[1] for box in boxes),
            *(tuple((place[a], place[b]) for a, b in some) for some in (inside, crossing)),
        )
        for i, box in enumerate(boxes):
            column[box], y[box] = layout.column[i], round(layout.y[i])
        bends = {
            f"{a},{b}": [[at, round(v)] for at, v in points]
            for (a, b), points in layout.bends.items()
        }
        way = ways.setdefault(as_json(bends), len(ways))
        described.append((group.size, way) if group.trip else (name, group.part, group.size, way))
    return {
        "groups": described,
        "ways": [json.loads(way) for way in ways],
        "parent": packed(parent),
        "column": packed(column),
        "y": packed(y),
        "nodeSize": NODE_SIZE,
        "groupSize": GROUP_SIZE,
    }


def _edges_by_group(graph: Graph, parent: array[int]) -> dict[int, tuple[Edges, Edges]]:
    """For each group, the edges between its boxes, and those that come from outside or go there."""
    depth = array("i", [0]) * len(parent)
    for box in range(len(graph.nodes), len(parent)):
        depth[box] = depth[parent[box]] + 1 if parent[box] >= 0 else 0
    for box in range(len(graph.nodes)):
        depth[box] = depth[parent[box]] + 1
    found: dict[int, tuple[Edges, Edges]] = {}

    def edges(group: int) -> tuple[Edges, Edges]:
        return found.setdefault(group, ({}, {}))

    for node in range(len(graph.nodes)):
        for operand in graph.operands(node):
            a, b = operand, node
            if a < 0:
                continue
            while parent[a] != parent[b]:
                if depth[a] >= depth[b]:
                    edges(parent[a])[1][a, OUTSIDE] = None
                    a = parent[a]
                else:
                    edges(parent[b])[1][OUTSIDE, b] = None
                    b = parent[b]
            edges(parent[a])[0][a, b] = None
    return found


def _replay(graph: Graph, history: Recording | None) -> dict[str, Any] | None:
    """A training run as columns; weights that are in the graph by their numbers, others -1."""
    if history is None:
        return None
    steps = history.kept(HISTORY_STEPS)
    values, grads = array("d"), array("d")
    for step in steps:
        values += history.values[step]
        grads += history.grads[step]
    return {
        "steps": list(steps),
        "total": len(history),
        "losses": packed(array("d", [history.losses[step] for step in steps])),
        "weights": [graph.index.get(weight, -1) for weight in history.weights],
        "names": [
            short_name(printable(weight.name or f"weight {i}"))
            for i, weight in enumerate(history.weights)
        ],
        "values": packed(values),
        "grads": packed(grads),
    }
