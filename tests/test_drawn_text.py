"""Whatever a user names is text where it is drawn: in pictures, tooltips, the explorer's page."""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chainrule import Node, Operation, Recording, draw_graph, explore, group, record_lines
from chainrule.drawing.style import printable
from chainrule.explorer.graph import short_name

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"
HARMLESS = "name"
NASTY = [
    "",
    " ",
    "  two   spaces  ",
    "<lambda>",
    "<b>",
    '<<table href="javascript:alert(1)"><tr><td>x</td></tr></table>>',
    "<<i>x</i>>",
    "</text><script>alert(1)</script>",
    "</svg>",
    "]]>",
    "<!--",
    "-->",
    "<![CDATA[",
    "<?xml?>",
    "&lt;b&gt;",
    "&amp;lt;",
    "&#60;b&#62;",
    "&alpha;",
    "&nosuch;",
    "&",
    "\\",
    "x\\",
    "\\\\",
    "\\N",
    "\\G\\T\\H\\E\\L",
    "\\l\\r\\n",
    "\\\\N",
    '\\"',
    '"',
    '" URL="javascript:alert(1)',
    '"] evil [label="',
    "'",
    "{x|y}",
    "<port>x",
    "a|b",
    "}{",
    "\\{",
    "a/b",
    "n0",
    "node",
    "graph",
    "cluster0",
    "strict",
    "1.5",
    "//c",
    "/* c */",
    "# c",
    ";",
    "a -> b",
    "%s %d %1",
    "$x ${y}",
    "fontname=Comic",
    "__proto__",
    "constructor",
    "\x00",
    "a\x00b",
    "\x1b[31m",
    "\x7f",
    "\x85",
    "two\nlines",
    "tab\tform\fcr\rvt\v",
    "\u2028\u2029",
    "\ufeff",
    "\ufffe\uffff",
    "\ud800",
    "\udfff x",
    "\ud83d\ude42",
    "\U0001f642",
    "\u202eevil",
    "a\u0301\u0301",
    "\xa0",
    "x" * 3000,
    "C:\\new\\table",
]
PIECES = [text for text in NASTY if len(text) < 100]
texts = (
    st.text(st.characters(), max_size=12)
    | st.lists(st.sampled_from(PIECES) | st.text(st.characters(), max_size=3), max_size=4).map(
        "".join
    )
    | st.text("\\<>&#;{}|\"'NGnlr \n\x00/-", max_size=12)
)


class Own(Node):
    """An operation of a user's, that calls itself as it likes."""

    said = ""

    def _local_grad(self, parent: Node) -> float:
        return 1.0

    def __str__(self) -> str:
        return self.said


def graph_of(name: str) -> Node:
    """A graph in which everything that can be named is named so."""
    Own.said = name
    operation = Operation(name or "?", lambda x: 2.0 * x, [lambda y, x: 2.0])
    values: dict[str, Any] = {"Node": Node, "name": name}
    with record_lines(), group("outer"), group(name or "?"):
        x = Node(1.0, name=name)
        exec(compile("y = Node(2.0, name=name)", _file_name(name), "exec"), values)
        z: Node = operation(x) + Own(3.0, (values["y"],))
    z.name = name
    return z


def _file_name(name: str) -> str:
    """A file name, which has no NUL."""
    return name.replace("\0", "") + ".py"


def squeezed(text: str | None) -> str:
    """Text without spaces, which Graphviz drops at some places."""
    return re.sub(r"\s", "", text or "")


def shape_of(root: ElementTree.Element) -> Counter[tuple[str, ...]]:
    """The elements of a picture but its texts, each with the names of its attributes."""
    return Counter((e.tag, *sorted(e.keys())) for e in root.iter() if e.tag != f"{SVG}text")


def parsed(drawing: Any) -> ElementTree.Element:
    """A picture's SVG."""
    return ElementTree.fromstring(drawing.pipe("svg"))


def check_picture(name: str, folded: bool = False) -> None:
    """The picture is that of a harmless name, with this one in its place."""
    root = parsed(draw_graph(graph_of(name), fold=(name or "?") if folded else False))
    plain = parsed(draw_graph(graph_of(HARMLESS), fold=HARMLESS if folded else False))
    assert shape_of(root) == shape_of(plain)
    shown = squeezed(printable(name))
    # An empty group can't be made; its name is "?".
    wanted = Counter(
        squeezed(shown if text.text == HARMLESS else text.text) for text in plain.iter(f"{SVG}text")
    )
    found = Counter(squeezed(text.text) for text in root.iter(f"{SVG}text"))
    if not name:
        wanted["?"] += found["?"]
    wanted[""] = found[""] = 0  # a text of spaces may be left out
    if shown:
        assert found == wanted
    tips = [squeezed(e.get(f"{XLINK}title")) for e in root.iter(f"{SVG}a")]
    assert len(tips) == len(list(plain.iter(f"{SVG}a")))
    if folded:
        assert f"{shown or ('' if name else '?')}:5nodes,folded" in tips
    else:
        assert sum(f"at{squeezed(printable(_file_name(name)))}:1" in tip for tip in tips) == 1
    assert not [e for e in root.iter() if e.get(f"{XLINK}href") or e.get("href")]
    titles = {e.text for e in root.iter(f"{SVG}title")}
    assert all(re.fullmatch(r"%\d|n\d\w*|cluster\d|n\d\w*->n\d\w*|\d", t or "%0") for t in titles)


@pytest.mark.parametrize("name", NASTY)
def test_nasty_names_in_pictures(name: str) -> None:
    """Every name of a list of nasty ones, in every place and every format."""
    check_picture(name)
    check_picture(name, folded=True)
    drawing = draw_graph(graph_of(name), local_grads=True)
    for format in ("png", "pdf"):
        assert drawing.pipe(format)
    assert drawing.source.encode()


@settings(max_examples=250, deadline=None)
@given(texts)
@example("\\" * 7)
def test_any_name_in_pictures(name: str) -> None:
    """Any text at all, lone surrogates and control characters included."""
    check_picture(name)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(texts.filter(bool), min_size=1, max_size=3), min_size=1, max_size=4))
@example([["a/b"], ["a", "b"], ["a", "b/c"], ["a/b", "c"]])
@example([["a", "b"], ["a"], ["b"], ["b", "a"]])
def test_each_group_has_its_own_frame(paths: list[list[str]]) -> None:
    """As many frames as groups, with the nodes in them, whatever they are called."""
    total = Node(0.0)
    for path in paths:
        contexts = [group(name) for name in path]
        for context in contexts:
            context.__enter__()
        total = total + Node(1.0)
        for context in reversed(contexts):
            context.__exit__(None, None, None)
    groups = {tuple(path[:i]) for path in paths for i in range(1, len(path) + 1)}
    source = draw_graph(total).source
    frames = re.findall(r"subgraph (\S+) {", source)
    assert len(frames) == len(set(frames)) == len(groups)
    assert all(re.fullmatch(r"cluster\d+", frame) for frame in frames)
    labels = Counter(squeezed(printable(path[-1])) for path in groups)
    root = parsed(draw_graph(total, grads=False, data_format="0>3.0f"))
    found = Counter(squeezed(text.text) for text in root.iter(f"{SVG}text"))
    for label, count in labels.items():
        assert not label or found[label] >= count


class Tags(HTMLParser):
    """The tags of a page with their attributes, and the JSON in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[Any] = []
        self.data = ""
        self.title = ""
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """An element begins."""
        known = [(key, value) for key, value in attrs if "sha256" not in (value or "")]
        self.tags.append((tag, known))
        self._inside = "data" if ("id", "data") in attrs else tag

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        self.tags.append(tag)
        self._inside = ""

    def handle_comment(self, data: str) -> None:
        """Nobody writes any."""
        self.tags.append("comment")

    def handle_data(self, data: str) -> None:
        """Text."""
        if self._inside == "data":
            self.data += data
        if self._inside == "title":
            self.title += data


PLAIN = Tags(explore(graph_of(HARMLESS), title=HARMLESS).html).tags


def check_page(name: str) -> None:
    """The page has the tags of a harmless one, and the name as data."""
    root = graph_of(name)
    history = Recording(node for node in root.sorted_nodes() if not node._parents)
    history.record(root)
    shown = explore(root, title=name or "?", history=history)
    page = Tags(shown.html)
    assert shown.html.encode().decode() == shown.html
    assert page.tags == PLAIN
    assert shown._repr_html_().count("<") == 2
    text = short_name(printable(name))
    file = printable(_file_name(name))
    file = os.path.basename(file) if os.path.isabs(file) else file
    data = json.loads(page.data)
    assert data["title"] == page.title == (text or "?")
    assert set(data["names"].values()) == {text}
    assert {short_name(form["name"]) for form in data["forms"]} >= {text, text or "?"}
    assert {name for name, *_ in data["groups"]} == {"", "outer", text or "?"}
    assert any(source.startswith(file) for source in data["sources"])
    assert set(data["history"]["names"]) <= {text, "weight 0", "weight 1"}
    assert not set(re.findall("[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\ud800-\udfff]", str(data)))


@pytest.mark.parametrize("name", NASTY)
def test_nasty_names_in_the_page(name: str) -> None:
    """Every name of the list, in every place."""
    check_page(name)


@settings(max_examples=100, deadline=None)
@given(texts)
def test_any_name_in_the_page(name: str) -> None:
    """Any text at all."""
    check_page(name)


def test_what_is_replaced() -> None:
    """A mark in place of what can't be shown, a space for a line's end; the rest is kept."""
    assert printable("a\x00b\ud800c\x1b\x7f\x9f\ufffe") == "a\ufffdb\ufffdc\ufffd\ufffd\ufffd\ufffd"
    assert printable("a\nb\tc\r\fd\x85") == "a b c  d "
    kept = "äλ學🙂\u2028\u202e\xa0\ufeff\\<&>"
    assert printable(kept) == kept
