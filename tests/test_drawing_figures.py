"""Figures for teaching: frames of a backward pass, TikZ, themes, formulas on the arrows."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from explorer_graphs import dense_unit, network
from PIL import Image

import chainrule.math as m
from chainrule import Node, backward_frames, draw_graph
from chainrule.drawing import Frames
from chainrule.drawing.formulas import local_formula
from chainrule.drawing.render import render_dot


def shown_grads(source: str) -> dict[str, str]:
    """The gradients on the boxes of a picture."""
    found = re.findall(r"^\s*(n\d+) \[label=\"[^\"]*?grad=([^\"]*)\"", source, re.MULTILINE)
    return {box: text.strip() for box, text in found}


def test_frames_are_the_steps_of_a_backward_pass() -> None:
    """Gradients appear as messages arrive, at the end they are backward's; nodes stay alone."""
    y = dense_unit()
    frames = backward_frames(y)
    order = y.sorted_nodes()[::-1]
    assert [node.grad for node in order] == [0.0] * 10
    operations = [node for node in order if node._parents]
    assert len(frames) == len(operations) + 2
    known = [sum(1 for text in shown_grads(f.source).values() if text) for f in frames]
    assert known == [1, 2, 4, 6, 8, 10, 10]
    y.backward()
    last = shown_grads(frames[-1].source)
    assert [last[f"n{i}"] for i in range(10)] == [f"{node.grad:.4f}" for node in order]
    assert "+= 0.9975 × 1.5000" in frames[-2].source
    lit = [re.findall(r'label="(\+= [^"]*)".*fontcolor="#b54708"', f.source) for f in frames]
    assert [len(texts) for texts in lit] == [0, 1, 2, 2, 2, 2, 0]


def test_frames_have_one_size() -> None:
    """Nothing moves from frame to frame, whatever the lengths of the numbers."""
    x = Node(1.5, name="x")
    y = m.exp(m.exp(x) * 1e-5) * x * 1e5 + x * x
    places = []
    for frame in backward_frames(y):
        layout = json.loads(render_dot(frame.source, "json"))
        places.append([layout["bb"], [item["pos"] for item in layout["objects"]]])
    assert all(place == places[0] for place in places)


def test_frames_of_what_is_not_picked() -> None:
    """It is sent nothing: at the end its gradient is 0."""
    a, b = Node(1.0, name="a"), Node(2.0, name="b")
    y = m.where(a > b, a * 3.0, b)
    frames = backward_frames(y)
    assert sum("+= " in line for line in frames[-1].source.splitlines()) == 1
    assert sorted(shown_grads(frames[-1].source).values()) == [
        "0.0000",
        "0.0000",
        "1.0000",
        "1.0000",
    ]


def test_gif_and_numbered_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GIF has all frames; other endings give a file for each."""
    frames = backward_frames(Node(2.0, name="x") * 3.0)
    assert isinstance(frames[:2], Frames)
    assert frames.save(tmp_path / "a.gif", seconds=0.5) == [str(tmp_path / "a.gif")]
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 3  # type: ignore[attr-defined]
        assert picture.info["duration"] == 500
    paths = frames.save(tmp_path / "step.svg")
    assert [Path(path).name for path in paths] == ["step-1.svg", "step-2.svg", "step-3.svg"]
    with pytest.raises(ValueError, match=r"'a.bmp' should end|step-1|should end"):
        frames.save(tmp_path / "a.bmp")
    with pytest.raises(ValueError, match="seconds is a number above 0, not 0"):
        frames.save(tmp_path / "a.gif", seconds=0)
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'chainrule\[gif\]'"):
        frames.save(tmp_path / "b.gif")
    assert not (tmp_path / "b.gif").exists()


def test_bad_frames() -> None:
    """Errors say what is accepted."""
    y = dense_unit()
    with pytest.raises(TypeError, match="backward_frames takes a Node, not int"):
        backward_frames(1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="direction is one of"):
        backward_frames(y, direction="up")
    with pytest.raises(ValueError, match="fontsize is a number"):
        backward_frames(y, fontsize=0)
    with pytest.raises(ValueError, match="theme is one of light, dark, blackboard, not 'neon'"):
        backward_frames(y, theme="neon")
    with pytest.raises(ValueError, match="too large to read"):
        backward_frames(network())


def test_themes() -> None:
    """Letters, lines and paper have the theme's colours; light ones are as without it."""
    y = dense_unit()
    y.backward()
    assert draw_graph(y, color=True, theme="light").source == draw_graph(y, color=True).source
    dark = draw_graph(y, color=True, theme="dark")
    assert 'bgcolor="#0d1117"' in dark.source
    assert 'fontcolor="#e6edf3"' in dark.source
    png = dark.pipe("png")
    assert isinstance(png, bytes)
    assert Image.open(io.BytesIO(png)).convert("RGB").getpixel((1, 1)) == (13, 17, 23)
    with pytest.raises(ValueError, match="theme is one of"):
        draw_graph(y, theme="neon")


def test_formulas_on_arrows() -> None:
    """In names, and in numbers where there are none."""
    y = dense_unit()
    order = y.sorted_nodes()[::-1]
    found = {
        (node.operation.name if node.operation else "", at): local_formula(node, at)
        for node in order
        for at in range(len(node._parents))
    }
    assert found["tanh", 0] == "1 − y²"
    assert found["multiply", 0] in ("x0", "x1")
    z = Node(2.0, name="z")
    assert local_formula(z**3.0, 0) == "3 · z²"
    assert local_formula(z * Node(-4.0), 0) == "−4"
    assert local_formula((z + 1.0) / Node(-4.0), 1) == "−(−0.75) / (−4)"
    source = draw_graph(y, local_grads="formulas").source
    assert "x0 = 1.5000" in source
    assert "1 − y² = 0.9975" in source
    with pytest.raises(ValueError, match='local_grads is True, False or "formulas"'):
        draw_graph(y, local_grads="formula")  # type: ignore[arg-type]


@pytest.mark.parametrize("direction", ["LR", "TB"])
def test_tikz(tmp_path: Path, direction: str) -> None:
    """Every box is a node with a name, every arrow goes between two; names are escaped."""
    y = network((2, 2, 1)) * Node(1.0, name=r"50% of a_1 & {b} \n #^~")
    drawing = draw_graph(y, color=True, local_grads=True, direction=direction)  # type: ignore[arg-type]
    text = Path(drawing.save(tmp_path / "graph.tex")).read_text(encoding="utf-8")
    boxes = re.findall(r"\\node\[[^]]*\] \((\w+)\) at \([\d.,e+-]+\) \{", text)
    arrows = re.findall(r"\\draw\[edge\] \((\w+)\) \.\. .* \.\. \((\w+)\);", text)
    nodes = y.sorted_nodes()
    operations = [node for node in nodes if node._parents]
    assert len(boxes) == len(nodes) + len(operations)
    assert len(arrows) == sum(len(node._parents) for node in nodes) + len(operations)
    assert {name for arrow in arrows for name in arrow} <= set(boxes)
    assert r"50\% of a\_1 \& \{b\} \textbackslash{}n \#\textasciicircum{}\textasciitilde{}" in text
    assert text.count(r"\draw[group]") == 6
    assert ("horizontal" in text) == (direction == "TB")
    depth = 0
    for char in re.sub(r"\\[{}]", "", text):
        depth += {"{": 1, "}": -1}.get(char, 0)
        assert depth >= 0
    assert depth == 0
