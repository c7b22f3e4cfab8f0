r"""TikZ of Graphviz's layout: nodes with names to write on, not lines and letters at places.

The text is a ``tikzpicture`` for ``\input``, in the fonts of its document. It needs
``\usetikzlibrary{shapes.geometric,shapes.multipart}``.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any

_SPECIAL = {char: f"\\{char}" for char in "{}$&#%_"} | {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "−": "$-$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "∂": r"$\partial$",
    "∞": r"$\infty$",
    "√": r"$\surd$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "≠": r"$\neq$",
    "…": r"\dots{}",
    "½": r"$\frac12$",
    **{char: f"$^{i}$" for i, char in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{char: f"$_{i}$" for i, char in enumerate("₀₁₂₃₄₅₆₇₈₉")},
}
_HEAD = r"""% \usepackage{tikz} \usetikzlibrary{shapes.geometric,shapes.multipart}
\begin{tikzpicture}[
  x=1pt, y=1pt, font=\sffamily\footnotesize,
  value/.style={draw, rectangle split, inner sep=4pt},
  operation/.style={draw, ellipse, inner sep=2pt},
  group/.style={draw=gray, rounded corners},
  edge/.style={->},
]"""


def of_layout(layout: bytes) -> bytes:
    """The ``tikzpicture`` of a layout in JSON."""
    graph = json.loads(layout)
    objects = graph.get("objects", [])
    # In a layout from left to right Graphviz writes the fields of a box one below the other.
    side = "" if graph.get("rankdir") in ("LR", "RL") else "rectangle split horizontal, "
    lines = [_HEAD]
    lines += [_frame(item) for item in objects if "bb" in item and "nodes" in item]
    lines += [_node(item, side) for item in objects if "pos" in item]
    names = [item["name"] for item in objects]
    lines += [_edge(item, names) for item in graph.get("edges", [])]
    return "\n".join([*lines, r"\end{tikzpicture}", ""]).encode()


def _frame(item: dict[str, Any]) -> str:
    left, bottom, right, top = (float(x) for x in item["bb"].split(","))
    return (
        rf"  \draw[group] ({left:.4g},{bottom:.4g}) rectangle ({right:.4g},{top:.4g})"
        rf" node[below left] {{{_texts(item)[0]}}};"
    )


def _node(item: dict[str, Any], side: str) -> str:
    x, y = item["pos"].split(",")
    fields = _texts(item)
    filled = item.get("fillcolor", "") if "filled" in item.get("style", "") else ""
    fill = ""
    if re.fullmatch("#[0-9a-f]{6}", filled):
        red, green, blue = (int(filled[i : i + 2], 16) for i in (1, 3, 5))
        fill = f", fill={{rgb,255:red,{red};green,{green};blue,{blue}}}"
    if item.get("shape") in ("record", "Mrecord"):
        parts = "".join(
            field if i == 0 else rf" \nodepart{{{_ORDINALS[i]}}} {field}"
            for i, field in enumerate(fields[: len(_ORDINALS)])
        )
        style = f"value, {side}rectangle split parts={len(fields)}{fill}"
        return rf"  \node[{style}] ({item['name']}) at ({x},{y}) {{{parts}}};"
    style = "operation" if item.get("shape") != "plaintext" else "inner sep=2pt"
    return rf"  \node[{style}{fill}] ({item['name']}) at ({x},{y}) {{{' '.join(fields)}}};"


_ORDINALS = ("one", "two", "three", "four", "five", "six")


def _edge(item: dict[str, Any], names: list[str]) -> str:
    tail, head = names[item["tail"]], names[item["head"]]
    points = [point for point in item["pos"].split() if point[0] not in "es"]
    bends = " .. ".join(
        f"controls ({points[i]}) and ({points[i + 1]}) .. ({points[i + 2]})"
        for i in range(1, len(points) - 4, 3)
    )
    last = f"controls ({points[-3]}) and ({points[-2]}) .. ({head})"
    way = f"({tail}) .. {bends} .. {last}" if bends else f"({tail}) .. {last}"
    label = ""
    if "lp" in item:
        label = rf" \node at ({item['lp']}) {{{_texts(item)[0]}}};"
    return rf"  \draw[edge] {way};{label}"


def _texts(item: dict[str, Any]) -> list[str]:
    """What is written on a thing, in the order of its fields.

    Of its label, in which a backslash is doubled: where the layout says what it draws it cuts off
    the end of texts with backslashes.
    """
    fields = [html.unescape(field) for field in item.get("label", "").split("|")]
    return [_escaped(field.replace("\\\\", "\\").strip()) for field in fields]


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(char, char) for char in text)
