"""What pictures look like: numbers, roots, fonts, sizes, and PDF of lines and letters."""

from __future__ import annotations

import itertools
import math
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule import Node, draw_graph, group
from chainrule.drawing.attributes import KNOWN

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def _without_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    """These are about the packaged program, and hold where Graphviz is installed too."""
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "dot" else which(name))


def unit(name: str = "x") -> Node:
    """A small graph."""
    x = Node(3.0, name=name)
    y: Node = (x * x + 1).tanh()
    return y


def size(png: bytes | str) -> tuple[int, int]:
    """Width and height of a PNG."""
    assert isinstance(png, bytes)
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def contents(pdf: bytes | str) -> str:
    """A PDF's drawing operations, its references checked."""
    assert isinstance(pdf, bytes)
    start = int(re.findall(rb"startxref\n(\d+)\n%%EOF\n$", pdf)[0])
    table = pdf[start:].split(b"\n")
    assert table[0] == b"xref"
    for number, entry in enumerate(table[3 : 2 + int(table[1].split()[1])], start=1):
        assert pdf[int(entry[:10]) :].startswith(b"%d 0 obj\n" % number)
    (stream,) = re.findall(rb"/FlateDecode /Length \d+ >>\nstream\n(.*?)\nendstream", pdf, re.S)
    return zlib.decompress(stream).decode("latin-1")


def words(pdf: bytes | str) -> list[str]:
    """The texts in a PDF, letters of the font Symbol by their codes."""
    lines = re.findall(r"BT .*? ET", contents(pdf))
    return [
        "".join(bytes.fromhex(run).decode("cp1252") for run in re.findall("<(.*?)>", line))
        for line in lines
    ]


# Numbers


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("exponent", [*range(-320, 309, 7), *range(-9, 12)])
def test_numbers_adapt(sign: float, exponent: int) -> None:
    """A number is shown to at least a digit, within 13 letters; the seed's format where it fits."""
    for digits in (1.0, 4.9996, 9.99996):
        x = sign * float(f"{digits}e{exponent}")
        if not math.isfinite(x):
            continue
        node = Node(x)
        node.grad = x
        label = re.findall(r"data=(\S+) \| grad=(\S+?)\"", draw_graph(node).source)[0]
        for text, spec, least in zip(label, (".3f", ".4f"), (1e-3, 1e-4), strict=True):
            assert abs(float(text) - x) <= 0.5 * max(abs(x), 5e-324)
            assert len(text) <= 13
            if least <= abs(x) < 1e6:
                assert text == f"{x:{spec}}"


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.0, "data=0.000 | grad=0.0000"),
        (2.0, "data=2.000 | grad=2.0000"),
        (1e-7, "data=1e-07 | grad=1e-07"),
        (1e12, "data=1e+12 | grad=1e+12"),
        (5e-4, "data=0.0005 | grad=0.0005"),
        (math.inf, "data=inf | grad=inf"),
        (math.nan, "data=nan | grad=nan"),
    ],
)
def test_numbers(x: float, text: str) -> None:
    """Some of them."""
    node = Node(x)
    node.grad = x
    assert text in draw_graph(node).source
    assert (
        f"data={x:.1e} | grad={x:+g}"
        in draw_graph(node, data_format=".1e", grad_format="+g").source
    )


def test_a_format_is_text_too() -> None:
    """What a format fills with can be anything that means something to Graphviz."""
    svg = draw_graph(Node(1.0), data_format="|>6.1f", grad_format="{<6.1f").pipe("svg")
    texts = [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert texts == ["data=|||1.0", "grad=0.0{{{"]


def test_values_alone() -> None:
    """Without gradients there are none anywhere."""
    with group("g"):
        y = unit() * 2
    for options in ({}, {"fold": True}):
        source = draw_graph(y, grads=False, **options).source  # type: ignore[arg-type]
        assert "grad" not in source
    assert "data=3.000" in draw_graph(y, grads=False).source


# Roots


def test_several_roots() -> None:
    """Everything below each, once; a list, a tuple, an array, a generator."""
    x = Node(2.0, name="x")
    shared = x * x
    roots = [shared + 1, shared.tanh(), x]
    pictures = [
        draw_graph(roots).source,
        draw_graph(tuple(roots)).source,
        draw_graph(np.array(roots)).source,
        draw_graph(np.array([roots, roots])).source,
        draw_graph(node for node in roots).source,
    ]
    assert len(set(pictures)) == 1
    assert len(re.findall("shape=record", pictures[0])) == 4
    assert draw_graph([roots[0]]).source == draw_graph(roots[0]).source
    assert draw_graph(roots[::-1]).source.count("shape=record") == 4
    cut = draw_graph(roots[:2], max_depth=1).source
    assert cut.count("shape=record") == 3
    assert cut.count("…") == 1


def test_no_roots() -> None:
    """An error for none, and for what is not a node."""
    with pytest.raises(ValueError, match="no node in the list"):
        draw_graph([])
    for roots in ([Node(1.0), 2.0], {"a": Node(1.0)}, "xy", 3.0, [[Node(1.0)]]):
        with pytest.raises(TypeError, match="takes a Node, not"):
            draw_graph(roots)  # type: ignore[arg-type]


# Options


def test_dpi() -> None:
    """Pixels grow with it, wherever it is said; SVG and PDF are what they are without."""
    y = unit()
    plain = size(draw_graph(y).pipe("png"))
    drawing = draw_graph(y)
    drawing.attr(dpi=288)
    for double in (
        draw_graph(y, dpi=288).pipe("png"),
        draw_graph(y).pipe("png", dpi=np.int64(288)),  # type: ignore[arg-type]
        drawing.pipe("png"),
    ):
        for a, b in zip(size(double), plain, strict=True):
            assert b * 3 - 3 <= a <= b * 3 + 3
    for format in ("svg", "pdf"):
        assert (
            drawing.pipe(format) == draw_graph(y).pipe(format, dpi=7) == draw_graph(y).pipe(format)
        )
    for bad in (0, -1, math.nan, "300", True, np.True_):
        with pytest.raises(ValueError, match="dpi is a number of pixels an inch"):
            draw_graph(y, dpi=bad)  # type: ignore[arg-type]


def test_transparent(tmp_path: Path) -> None:
    """Nothing white behind the picture, in each format, wherever it is said."""
    y = unit()
    drawing = draw_graph(y)
    drawing.attr(bgcolor="transparent")
    pictures = [draw_graph(y, transparent=True), drawing]
    for picture in pictures:
        svg = picture.pipe("svg", encoding="utf-8")
        assert 'fill="white"' not in svg
        assert " rg -4.00" not in contents(picture.pipe("pdf"))
    white = draw_graph(y)
    assert 'fill="white"' in white.pipe("svg", encoding="utf-8")
    assert " rg -4.00" in contents(white.pipe("pdf"))
    path = white.save(tmp_path / "t.svg", transparent=True)
    assert Path(path).read_bytes() == pictures[0].pipe("svg")
    assert 'fill="white"' in pictures[0].pipe("svg", encoding="utf-8", transparent=False)
    assert white.pipe("png") != white.pipe("png", transparent=True) == pictures[0].pipe("png")


def test_fonts() -> None:
    """All text is in the font asked for: boxes, junctures, edges, frames."""
    with group("frame"):
        y = unit()
    drawing = draw_graph(y, local_grads=True)
    drawing.attr("node", fontname="Courier", fontcolor="red")
    drawing.attr("edge", fontname="Courier")
    drawing.attr(fontname="Courier")
    for picture in (drawing, draw_graph(y, local_grads=True, fontname="Courier")):
        root = ElementTree.fromstring(picture.pipe("svg"))
        families = {text.get("font-family") for text in root.iter(f"{SVG}text")}
        assert families == {"Courier,monospace"}
    assert 'fill="red"' in drawing.pipe("svg", encoding="utf-8")
    large = draw_graph(y, fontsize=24).pipe("svg", encoding="utf-8")
    assert set(re.findall(r'font-size="([\d.]+)"', str(large))) == {"24.00"}
    for bad in (0, -3):
        with pytest.raises(ValueError, match="fontsize is a number of points above 0"):
            draw_graph(y, fontsize=bad)


def test_fonts_that_are_not_there() -> None:
    """Another font is the viewer's in SVG, and refused where letters would be others."""
    for name in ("Comic Sans", "Courier-Bold"):
        drawing = draw_graph(unit(), fontname=name)
        assert name.split("-")[0] in str(drawing.pipe("svg", encoding="utf-8"))
        for format in ("png", "pdf"):
            with pytest.raises(
                ValueError, match=f"need an installed Graphviz for the font '{name}'"
            ):
                drawing.pipe(format)
    for name in ("Helvetica", "Times", "Times-Roman", "courier", "Arial"):
        draw_graph(unit(), fontname=name).pipe("pdf")
        draw_graph(unit(), fontname=name).pipe("png")


def test_attributes_hold_for_what_is_drawn_already() -> None:
    """``attr`` after drawing is as before it; engine and graph attributes too."""
    y = unit()
    drawing = draw_graph(y)
    drawing.attr("node", color="blue", penwidth=2.5)
    drawing.attr("edge", {"color": "green"}, headclip=np.True_)
    drawing.attr("graph", rankdir="TB", labelloc="t")
    svg = drawing.pipe("svg", encoding="utf-8")
    assert 'stroke="black"' not in svg
    assert 'stroke="green"' in svg
    assert 'stroke-width="2.5"' in svg
    assert "headclip=true" in drawing.source
    drawing = draw_graph(y)
    assert drawing.pipe("svg", engine="circo") != drawing.pipe("svg")
    drawing.engine = "circo"
    assert drawing.pipe("svg") == draw_graph(y).pipe("svg", engine="circo")
    with pytest.raises(ValueError, match="engine is one of"):
        drawing.pipe("svg", engine="dots")


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (None, "dpy", "no attribute 'dpy' of a graph; do you mean dpi"),
        (None, "transparent", 'write bgcolor="transparent"'),
        ("node", "colour", "no attribute 'colour' of a node; do you mean color"),
        ("edge", "arrowsise", "do you mean arrowsize"),
        ("node", "shape", "each node has a shape of its own"),
        ("node", "label", "each node has a label of its own"),
        ("edge", "label", "each edge has a label of its own"),
        ("cluster", "color", "attr sets attributes of graph, node or edge, not 'cluster'"),
    ],
)
def test_attributes_without_effect_are_refused(kind: str | None, name: str, message: str) -> None:
    """An attribute that would do nothing is an error, and nothing is changed."""
    drawing = draw_graph(unit())
    before = drawing.source
    with pytest.raises(ValueError, match=message):
        drawing.attr(kind, {"fontname": "Courier", name: "1"})
    assert drawing.source == before


def test_known_attributes_are_words() -> None:
    """The table has each once."""
    for kind, names in KNOWN.items():
        assert len(names.split()) == len(set(names.split())), kind


@pytest.mark.parametrize("option", ["dpy", "renderer", "formatter", "raise_if_result_exists"])
def test_options_that_are_not_there(option: str, tmp_path: Path) -> None:
    """No method swallows an option."""
    drawing: Any = draw_graph(unit())
    for call in (drawing.pipe, drawing.save, drawing.render):
        with pytest.raises(TypeError, match=option):
            call(**{option: 1})
    assert not list(tmp_path.iterdir())


def test_where_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that ``graphviz`` keeps on a drawing are used."""
    monkeypatch.chdir(tmp_path)
    drawing = draw_graph(unit())
    assert drawing.save() == "graph.svg"
    assert drawing.render() == "graph.gv.svg"
    (tmp_path / "out").mkdir()
    drawing.directory, drawing.filename, drawing.format = "out", "unit.gv", "png"
    assert drawing.save() == str(Path("out", "unit.png"))
    assert drawing.render(cleanup=True) == str(Path("out", "unit.gv.png"))
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    assert found == {"graph.svg", "graph.gv", "graph.gv.svg", "out/unit.png", "out/unit.gv.png"}


def test_save_keeps_a_file_on_request(tmp_path: Path) -> None:
    """``skip_existing`` of ``graphviz`` works."""
    path = tmp_path / "g.gv"
    path.write_text("mine")
    draw_graph(unit()).save(path, skip_existing=True)
    assert path.read_text() == "mine"


def test_svg_fits_a_page() -> None:
    """Its natural size, and no wider than where it is shown."""
    svg = draw_graph(unit()).pipe("svg")
    root = ElementTree.fromstring(svg)
    assert root.get("style") == "max-width:100%;height:auto"
    assert root.get("viewBox")
    assert root.get("width")


# PDF


def test_pdf_has_letters() -> None:
    """Latin, Greek and mathematical letters, and indices, are letters of fonts, not pixels."""
    name = "αβγ Ω ∂L/∂w ≤ ∞ é – σ² θ₁₂"
    with group("λ"):
        y = unit(name)
    pdf = draw_graph(y, color=True, local_grads=True).pipe("pdf")
    assert "abg W \xb6L/\xb6w £ ¥ é – s² q12" in words(pdf)
    assert {"data=3.000", "grad=0.0000", "tanh", "+ 1", "3.0000"} <= set(words(pdf))
    assert isinstance(pdf, bytes)
    assert b"/Image" not in pdf
    assert set(re.findall(rb"/BaseFont /(\w+)", pdf)) == {b"Helvetica", b"Symbol"}


def test_pictures_need_no_other_library() -> None:
    """Drawing in every format loads the package graphviz and nothing else from outside."""
    program = """
import sys
before = set(sys.modules)
from chainrule import Node, draw_graph
for format in ("svg", "png", "pdf"):
    draw_graph(Node(1.0) * 2).pipe(format)
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(loaded - set(sys.stdlib_module_names) - {"chainrule"}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['graphviz']"


def test_pdf_is_as_the_svg() -> None:
    """The same size, texts, boxes, ellipses, arrows and colours."""
    with group("g"):
        y = unit() * unit("y")
    y.backward()
    drawing = draw_graph(y, color=True, local_grads=True)
    root = ElementTree.fromstring(drawing.pipe("svg"))
    pdf = drawing.pipe("pdf")
    width, height = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf)[0]  # type: ignore[arg-type]
    assert float(width) == pytest.approx(float(root.get("width", "").removesuffix("pt")), abs=1.5)
    assert float(height) == pytest.approx(float(root.get("height", "").removesuffix("pt")), abs=1.5)
    assert sorted(words(pdf)) == sorted(text.text or "" for text in root.iter(f"{SVG}text"))
    lines = contents(pdf).split("\n")
    ellipses = sum(len(re.findall(r" c$", line)) for line in lines)
    curves = sum(
        (len(re.findall(r"[-\d.]+,[-\d.]+", path.get("d", ""))) - 1) // 3
        for path in root.iter(f"{SVG}path")
    )
    assert ellipses == 4 * len(list(root.iter(f"{SVG}ellipse"))) + curves
    assert (
        sum(line in ("f", "B") for line in lines)
        == sum(
            element.get("fill") not in (None, "none")
            for kind in ("polygon", "ellipse")
            for element in root.iter(f"{SVG}{kind}")
        )
        - 1
    )  # the background


@pytest.mark.parametrize("name", ["学", "🙂", "Ж", "a\\b"])
def test_pdf_of_other_letters(name: str) -> None:
    """A picture with letters that PDF's own fonts lack is one of pixels."""
    pdf = draw_graph(unit(name)).pipe("pdf")
    assert isinstance(pdf, bytes)
    assert b"/DCTDecode" in pdf
    assert "/Picture Do" in contents(pdf)
    across, up = (float(x) for x in re.findall(rb"0 0 ([\d.]+) ([\d.]+)\]", pdf)[0])
    width, height = size(draw_graph(unit(name)).pipe("png", dpi=72))
    assert across == pytest.approx(width, abs=2)
    assert up == pytest.approx(height, abs=2)


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        (None, "size", "2,2", "for the attribute 'size'"),
        (None, "rotate", "90", "for the attribute 'rotate'"),
        (None, "bgcolor", "red:blue", "for colours that change"),
        ("node", "fillcolor", "red:blue", "for colours that change"),
    ],
)
def test_pdf_of_what_only_graphviz_draws(
    kind: str | None, name: str, value: str, message: str
) -> None:
    """Refused, and drawn in SVG."""
    drawing = draw_graph(unit())
    drawing.attr(kind, {name: value})
    if kind == "node":
        drawing.attr("node", style="filled")
    with pytest.raises(ValueError, match=message):
        drawing.pipe("pdf")
    drawing.pipe("svg")


def test_every_option_at_once(tmp_path: Path) -> None:
    """Options do not get in one another's way."""
    with group("a"):
        y = unit()
    for i, (format, direction, fold, grads) in enumerate(
        itertools.product(("svg", "png", "pdf", "gv"), ("LR", "BT"), (True, False), (True, False))
    ):
        drawing = draw_graph(
            [y, y * 2],
            direction=direction,  # type: ignore[arg-type]
            fold=fold,
            grads=grads,
            color=True,
            local_grads=True,
            dpi=120,
            transparent=True,
            fontname="Times-Roman",
            fontsize=9,
        )
        assert Path(drawing.save(tmp_path / f"{i}.{format}")).stat().st_size > 100
