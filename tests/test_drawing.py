"""Pictures: what is on them, how they are cut, folded and rendered, and bad input."""

from __future__ import annotations

import itertools
import re
import shutil
from pathlib import Path
from typing import Any

import graphviz
import numpy as np
import pytest

from chainrule import Node, draw_graph, group, trace
from chainrule.drawing import render
from chainrule.drawing.graph import GraphDrawing
from chainrule.math import maximum, where

BOX = re.compile(r"^\s*(n\d+) \[label=\"(.*?)\" shape=record", re.MULTILINE)
JUNCTURE = re.compile(r"^\s*(n\d+)op \[label=(\"[^\"]*\"|\w+) margin", re.MULTILINE)
EDGE = re.compile(r"^\s*(\w+) -> (\w+)", re.MULTILINE)


def dense_unit(*names: str | None) -> tuple[Node, dict[str, Node]]:
    """The seed's unit, backpropagated."""
    w0, w1, b, x = [
        Node(value, name=name)
        for value, name in itertools.zip_longest((-1, 2, 4, 2), names, fillvalue=None)
        if value is not None
    ]
    z = w0 * x + w1 * x + b
    y: Node = z.relu()
    y.backward()
    return y, {"w0": w0, "w1": w1, "b": b, "x": x, "z": z}


def network() -> tuple[Node, Node]:
    """A 2-2-1 network in nested groups, and its input."""
    x = Node(0.5, name="x")
    values: list[Node] = [x, Node(-1.0)]
    for layer, size in ((1, 2), (2, 1)):
        with group(f"layer {layer}"):
            outputs = []
            for i in range(size):
                with group(f"neuron {i}"):
                    total = Node(0.1 * i)
                    for value in values:
                        total = total + Node(0.3, name="w") * value
                    outputs.append(total.tanh())
            values = outputs
    values[0].backward()
    return values[0], x


def seeds_trace(root: Any) -> Any:
    """The seed's own function, as a user would paste it."""
    nodes = set()
    edges = set()

    def build(v: Any) -> None:
        if v not in nodes:
            nodes.add(v)
            for parent in v._parents:
                edges.add((parent, v))
                build(parent)

    build(root)
    return nodes, edges


def seeds_draw_graph(root: Any) -> graphviz.Digraph:
    """The seed's own function, as a user would paste it."""
    dot = graphviz.Digraph(format="svg", graph_attr={"rankdir": "LR"})
    nodes, edges = seeds_trace(root)
    for n in nodes:
        uid = str(id(n))
        dot.node(name=uid, label=f"data={n.data:.3f} | grad={n.grad:.4f}", shape="record")
        if len(n._parents) > 0:
            dot.node(name=uid + str(n), label=str(n))
            dot.edge(uid + str(n), uid)
    for child, v in edges:
        dot.edge(str(id(child)), str(id(v)) + str(v))
    return dot


def labelled_edges(source: str) -> list[tuple[str, str]]:
    """The edges of a DOT source as pairs of labels, sorted."""
    text = source.replace('"', "")
    labels = dict(
        re.findall(r"^\s*(\S.*?) \[label=(.*?)(?: (?:shape|margin|tooltip)=.*)?\]$", text, re.M)
    )
    edges = re.findall(r"^\s*(.+?) -> (.+?)$", text, re.M)
    return sorted((labels[tail], labels[head]) for tail, head in edges)


def test_seeds_functions_work_on_our_nodes() -> None:
    """The pasted functions find the same graph and draw the same labels and edges as ours."""
    y, _ = dense_unit()
    assert seeds_trace(y) == trace(y)
    ours, theirs = labelled_edges(draw_graph(y).source), labelled_edges(seeds_draw_graph(y).source)
    assert ours == theirs
    assert ("data=6.000 | grad=1.0000", "relu") in ours
    assert len(ours) == 14


def test_boxes_junctures_and_direction() -> None:
    """Record boxes with value and gradient, a juncture per operation, left to right."""
    y, _ = dense_unit()
    drawing = draw_graph(y)
    assert isinstance(drawing, graphviz.Digraph)
    labels = sorted(label for _, label in BOX.findall(drawing.source))
    assert labels == sorted(
        f"data={data} | grad={grad}"
        for data, grad in [
            ("-1.000", "2.0000"),
            ("2.000", "2.0000"),
            ("4.000", "1.0000"),
            ("2.000", "1.0000"),
            ("-2.000", "1.0000"),
            ("4.000", "1.0000"),
            ("2.000", "1.0000"),
            ("6.000", "1.0000"),
            ("6.000", "1.0000"),
        ]
    )
    assert sorted(symbol for _, symbol in JUNCTURE.findall(drawing.source)) == sorted(
        ['"*"', '"*"', '"+"', '"+"', "relu"]
    )
    assert "rankdir=LR" in drawing.source
    assert "rankdir=TB" in draw_graph(y, direction="TB").source


def test_source_is_deterministic() -> None:
    """Two graphs built alike give the same text."""
    assert draw_graph(dense_unit("a", "b")[0]).source == draw_graph(dense_unit("a", "b")[0]).source
    assert (
        draw_graph(network()[0], color=True).source == draw_graph(network()[0], color=True).source
    )


def test_names_and_number_formats() -> None:
    """A name stands first, and numbers are written as asked."""
    y, _ = dense_unit("w0")
    source = draw_graph(y, data_format=".1e", grad_format="+g").source
    assert "w0 | data=-1.0e+00 | grad=+2" in source


@pytest.mark.parametrize(
    "name", ['a"b', "{x|y}", "<script>", "back\\slash", "two\nlines", "🙂 ω", ""]
)
def test_any_name_can_be_drawn(name: str) -> None:
    """Characters that mean something to Graphviz are shown as they are."""
    x = Node(1.0, name=name)
    svg = draw_graph(x * 2).pipe("svg", encoding="utf-8")
    assert isinstance(svg, str)
    assert "<script>" not in svg
    text = re.sub(r"&#(\d+);", lambda m: chr(int(m[1])), svg)
    for escaped, plain in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        text = text.replace(escaped, plain)
    assert name.replace("\n", " ").replace(" ", "") in text.replace("\xa0", "").replace(" ", "")


def test_symbols_with_constants() -> None:
    """Constants are part of the operation's label."""
    x = Node(2.0)
    for node, symbol in [
        (x**2, "** 2"),
        (3 / x, "3 /"),
        (x - 0.5, "- 0.5"),
        (maximum(x, 0), "maximum(·, 0)"),
        (where(x > 1, x, 0), "where(1, ·, 0)"),
    ]:
        assert str(node) == symbol
        assert f'label="{symbol}"' in draw_graph(node).source


def test_users_classes_are_drawn() -> None:
    """A user's subclass shows what it says of itself, or else its class."""

    class Plain(Node):
        def _local_grad(self, parent: Node) -> float:
            return 1.0

    class Named(Plain):
        def __str__(self) -> str:
            return "my op"

    x = Node(1.0)
    assert 'label="my op"' in draw_graph(Named(2.0, (x,))).source
    assert "label=Plain" in draw_graph(Plain(2.0, (x,))).source


def test_each_operand_has_an_arrow() -> None:
    """x * x has two arrows from x, each with its own local gradient; ``trace`` has one edge."""
    x = Node(3.0)
    y = x * x
    source = draw_graph(y, local_grads=True).source
    assert sorted(EDGE.findall(source)) == [("n0", "n1op"), ("n0", "n1op"), ("n1op", "n1")]
    assert re.findall(r"label=(\S+)\]", source) == ["3.0000", "3.0000"]
    assert len(trace(y)[1]) == 1
    difference = draw_graph(x - x, local_grads=True).source
    assert re.findall(r"label=\"?(-?1\S+?)\"?\]", difference) == ["1.0000", "-1.0000"]


def test_arrows_of_folded_groups() -> None:
    """From and to a folded group one arrow a box, or one for each local gradient."""
    with group("g"):
        x = Node(2.0) * 3
        y = Node(5.0) * 7
    z = x * y
    source = draw_graph(z, fold=True).source
    assert sorted(EDGE.findall(source)) == [("n0group", "n4op"), ("n4op", "n4")]
    source = draw_graph(z, fold=True, local_grads=True).source
    assert sorted(re.findall(r"label=(\S+)\]", source)) == ["35.0000", "6.0000"]
    with group("h"):
        w = z * z + z
    assert EDGE.findall(draw_graph(w, fold="h").source).count(("n4", "n5group")) == 1


def test_local_grads_on_edges() -> None:
    """Each arrow into an operation bears the derivative by its tail."""
    x, w = Node(2.0), Node(-3.0)
    source = draw_graph(x * w, local_grads=True).source
    assert sorted(re.findall(r"-> n2op \[label=(.*)\]", source)) == ["-3.0000", "2.0000"]


def test_colours() -> None:
    """Blue for positive, red for negative, white for 0, yellow for what is not finite."""
    p, n, z, bad = Node(1.0), Node(1.0), Node(1.0), Node(1.0)
    root = p * 2 - n * 2 + z * 0 + bad * 1
    root.backward()
    bad.grad = float("nan")
    colours = dict(
        re.findall(r"(n\d+) \[label=.*? fillcolor=\"(#\w+)\"", draw_graph(root, color=True).source)
    )
    drawn = set(colours.values())
    assert "#ffffff" in drawn
    assert "#ffd92f" in drawn
    channels = {tuple(bytes.fromhex(c[1:])) for c in drawn}
    assert any(red < blue for red, _, blue in channels)
    assert any(red > blue > 100 for red, _, blue in channels)
    assert "fillcolor" not in draw_graph(root).source


def test_groups_are_framed_and_folded() -> None:
    """Frames for groups; folding gives one box and one arrow between two boxes."""
    loss, _ = network()
    assert len(re.findall("subgraph", draw_graph(loss).source)) == 5
    folded = draw_graph(loss, fold=True).source
    assert "layer 1 | 16 nodes" in folded
    assert "layer 2 | 8 nodes" in folded
    assert "subgraph" not in folded
    assert draw_graph(loss, fold=np.True_).source == folded  # type: ignore[arg-type]
    unfolded = draw_graph(loss, fold=np.False_).source  # type: ignore[arg-type]
    assert unfolded == draw_graph(loss).source
    edges = EDGE.findall(folded)
    assert len(edges) == len(set(edges)) == 3
    one = draw_graph(loss, fold="layer 1").source
    assert "layer 1 | 16 nodes" in one
    assert len(re.findall("subgraph", one)) == 2
    inner = draw_graph(loss, fold=["neuron 0"]).source
    assert len(re.findall("nodes \\|", inner)) == 2


def test_cut_at_depth() -> None:
    """Only the levels asked for, and a mark where there was more."""
    y, _ = dense_unit()
    assert len(BOX.findall(draw_graph(y, max_depth=0).source)) == 1
    source = draw_graph(y, max_depth=2).source
    assert len(BOX.findall(source)) == 4
    assert source.count("…") == 1
    assert "…" not in draw_graph(y, max_depth=10).source


def test_too_large() -> None:
    """More boxes than can be read: an error that says what to do, and each way works."""
    deep = Node(1.0)
    with group("body"):
        for _ in range(1500):
            deep = deep * 1.5
    with pytest.raises(ValueError, match=r"1,501 nodes is too large.*max_depth.*fold"):
        draw_graph(deep)
    assert len(BOX.findall(draw_graph(deep, max_depth=4).source)) == 5
    assert "1,500 nodes" in draw_graph(deep, fold=True).source
    assert len(BOX.findall(draw_graph(deep, max_nodes=2000).source)) == 1501


def test_formats(tmp_path: Path) -> None:
    """SVG, PNG and PDF by ending, source for .gv; bytes by pipe."""
    y, _ = dense_unit("w0")
    for ending, start in (("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF"), ("gv", b"dig")):
        path = tmp_path / f"unit.{ending}"
        assert draw_graph(y).save(path) == str(path)
        assert path.read_bytes().startswith(start)
    png = draw_graph(y, format="png").pipe()
    assert isinstance(png, bytes)
    assert png.startswith(b"\x89PNG")
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".gv", ".pdf", ".png", ".svg"]


def test_render_as_graphviz_does(tmp_path: Path) -> None:
    """``render`` leaves source and picture, or the picture alone."""
    y, _ = dense_unit()
    assert draw_graph(y).render(tmp_path / "g.gv") == str(tmp_path / "g.gv.svg")
    assert {p.name for p in tmp_path.iterdir()} == {"g.gv", "g.gv.svg"}
    draw_graph(y).render("h.gv", directory=str(tmp_path), cleanup=True, format="png")
    assert (tmp_path / "h.gv.png").exists()
    assert not (tmp_path / "h.gv").exists()


def test_jupyter() -> None:
    """Notebooks get SVG."""
    bundle = draw_graph(dense_unit()[0])._repr_mimebundle_()
    assert bundle["image/svg+xml"].startswith("<?xml")


def test_system_graphviz_is_used_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``dot`` on the path draws; without one the packaged program does."""
    dot = tmp_path / "dot"
    dot.write_text("#!/bin/sh\ncat >/dev/null; printf 'drawn by %s' $1\n")
    dot.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert render.render_dot("digraph {}", "pdf") == b"drawn by -Tpdf"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert render.render_dot("digraph {}", "svg").startswith(b"<?xml")


def test_failing_and_slow_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that fails is quoted; a slow one is tried again with straight edges."""
    dot = tmp_path / "dot"
    dot.write_text("#!/bin/sh\necho no such luck >&2; exit 3\n")
    dot.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(RuntimeError, match="dot failed to draw the graph: no such luck"):
        render.render_dot("digraph {}", "svg")
    monkeypatch.setattr(render, "_PATIENCE", 0.3)
    dot.write_text(
        '#!/bin/sh\ncase "$*" in *splines=line*) echo straight;; *) exec sleep 5;; esac\n'
    )
    assert render.render_dot("digraph {}", "svg") == b"straight\n"
    dot.write_text("#!/bin/sh\nexec sleep 5\n")
    with pytest.raises(RuntimeError, match=r"took more than .* seconds.*max_depth"):
        render.render_dot("digraph {}", "svg")


@pytest.mark.parametrize(
    ("root", "message"),
    [
        (3.0, "takes a Node, not float; a plain number"),
        ([1.0], "a Node, not (list; take one of its elements|float)"),
        (None, "takes a Node, not NoneType"),
        ("y", "takes a Node, not str"),
    ],
)
def test_drawing_something_else(root: Any, message: str) -> None:
    """Only nodes are drawn."""
    for function in (draw_graph, trace):
        with pytest.raises(TypeError, match=message):
            function(root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "bmp"}, "format is one of svg, png, pdf, not 'bmp'"),
        ({"direction": "up"}, "direction is one of LR, RL, TB, BT, not 'up'"),
        ({"data_format": "q"}, "format specification such as '.3f', not 'q'"),
        ({"max_depth": -1}, "max_depth is 0 or more, not -1"),
        ({"fold": "layer 3"}, "no group 'layer 3' in this graph; there are: layer 1, layer 2, neu"),
        ({"fold": ["x"]}, "no group 'x'"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    """Wrong options say what is right."""
    with pytest.raises(ValueError, match=re.escape(message)):
        draw_graph(network()[0], **options)


def test_unwritable_paths(tmp_path: Path) -> None:
    """An error that names the path, and nothing left behind."""
    drawing: GraphDrawing = draw_graph(Node(1.0) * 2)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        drawing.save(tmp_path / "missing" / "g.svg")
    (tmp_path / "d.svg").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        drawing.save(tmp_path / "d.svg")
    with pytest.raises(
        ValueError, match=r"'g.bmp' should end in one of .svg, .png, .pdf, .tex, .gv, .dot"
    ):
        drawing.save(tmp_path / "g.bmp")
    assert [p.name for p in tmp_path.iterdir()] == ["d.svg"]


def test_cycle() -> None:
    """A cycle made by hand is an error, not an endless picture."""
    x = Node(1.0)
    y = x * 2
    x._parents = (y,)
    with pytest.raises(ValueError, match="cycle"):
        draw_graph(y)
    x._parents = ()
    draw_graph(y)
