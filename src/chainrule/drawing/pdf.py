"""PDF from Graphviz's layout, with no other library: lines, curves and letters, not pixels.

The letters are those of the fonts that every PDF viewer brings, Helvetica, Times and Courier for
Latin ones and Symbol for Greek and mathematics. A picture with others is embedded as pixels.

References: Graphviz, "xdot", the drawing operations of the JSON output; ISO 32000-1, 8 and 9 and
annex D.5 (the encoding of Symbol).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import Any

DPI = 200  # of a picture of pixels

_MARGIN = 4.0  # points around the layout, as Graphviz leaves
_FONTS = {
    "arial": "Helvetica",
    "courier": "Courier",
    "helvetica": "Helvetica",
    "times": "Times-Roman",
    "times-roman": "Times-Roman",
}
_SYMBOL = {
    char: code
    for start, chars in [
        (0x41, "ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ"),
        (0x61, "αβχδεφγηιϕκλμνοπθρστυϖωξψζ"),
        (0xA2, "′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…"),
        (0xC0, "ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇"),
        (0xD5, "∏√⋅¬∧∨⇔⇐⇑⇒⇓◊"),
    ]
    for code, char in enumerate(chars, start)
} | {"∀": 0x22, "∃": 0x24, "∗": 0x2A, "−": 0x2D, "∴": 0x5C, "⊥": 0x5E, "∼": 0x7E}
_SYMBOL |= {"∑": 0xE5, "∫": 0xF2}
_SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉"
_DASHES = {"solid": "[] 0 d", "dashed": "[6 3] 0 d", "dotted": "[1 3] 0 d"}


def base_font(name: str) -> str:
    """The name in PDF of a font whose widths the packaged program knows and that needs no file.

    Raises:
        ValueError: if it is none of these.
    """
    found = _FONTS.get(name.lower())
    if found is None:
        raise ValueError(
            f"PNG and PDF need an installed Graphviz for the font {name!r}; without one there are"
            " Helvetica, Times and Courier, and SVG shows any font that its viewer has"
        )
    return found


def of_layout(layout: bytes) -> bytes | None:
    """A PDF of Graphviz's layout in JSON; None if it has letters that no built-in font has.

    Raises:
        ValueError: for what only Graphviz can draw: gradients, images, unknown fonts, other sizes.
    """
    graph = json.loads(layout)
    for name in ("size", "rotate", "landscape", "viewport", "page"):
        if name in graph:
            raise ValueError(f"PDF needs an installed Graphviz for the attribute {name!r}; or SVG")
    left, bottom, right, top = map(float, graph["bb"].split(","))
    fonts: list[str] = []
    drawn = [f"1 0 0 1 {_MARGIN - left:.2f} {_MARGIN - bottom:.2f} cm"]
    for part in (graph, *graph.get("objects", ()), *graph.get("edges", ())):
        for key in ("_draw_", "_hdraw_", "_tdraw_", "_ldraw_", "_hldraw_", "_tldraw_"):
            if part is graph and key == "_draw_":
                drawn += _background(part, right - left, top - bottom)
            elif part.get(key):
                lines = _drawn(part[key], fonts)
                if lines is None:
                    return None
                drawn += ["q", *lines, "Q"]
    resources = " ".join(f"/{font} {_font(font)}" for font in fonts)
    return _document(
        f"<< /Font << {resources} >> >>",
        "\n".join(drawn).encode("latin-1"),
        right - left + 2 * _MARGIN,
        top - bottom + 2 * _MARGIN,
    )


def of_jpeg(jpeg: bytes) -> bytes:
    """A PDF of one picture, which says its own size."""
    at = 2
    while jpeg[at + 1] not in (0xC0, 0xC1, 0xC2):  # start of frame
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    height, width = (int.from_bytes(jpeg[at + i : at + i + 2], "big") for i in (5, 7))
    image = _stream(
        f"/Type /XObject /Subtype /Image /Width {width} /Height {height}"
        " /ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /DCTDecode",
        jpeg,
    )
    across, up = width * 72 / DPI, height * 72 / DPI
    content = f"{across:.2f} 0 0 {up:.2f} 0 0 cm /Picture Do".encode()
    return _document("<< /XObject << /Picture 5 0 R >> >>", content, across, up, image)


def _background(graph: dict[str, Any], width: float, height: float) -> list[str]:
    """The colour behind everything, which reaches into the margin."""
    colours = [_solid(op) for op in graph.get("_draw_", ()) if op["op"] == "C"]
    if not colours or _is_clear(colours[-1]) or graph.get("bgcolor") == "transparent":
        return []
    corner = f"{-_MARGIN:.2f} {-_MARGIN:.2f} {width + 2 * _MARGIN:.2f} {height + 2 * _MARGIN:.2f}"
    return [f"q {_colour(colours[-1])} rg {corner} re f Q"]


def _drawn(operations: Iterable[dict[str, Any]], fonts: list[str]) -> list[str] | None:
    """The drawing operations in PDF's language; None if a letter is in no built-in font."""
    lines: list[str] = []
    size, face, pen = 14.0, "Times-Roman", "0 0 0"
    clear = {"c": False, "C": False}
    for op in operations:
        kind = op["op"]
        if kind in "cC":
            clear[kind] = _is_clear(_solid(op))
            colour = _colour(op["color"])
            pen = colour if kind == "c" else pen
            lines.append(f"{colour} {'RG' if kind == 'c' else 'rg'}")
        elif kind == "F":
            size, face = op["size"], base_font(op["face"])
        elif kind == "S":
            style = op["style"]
            if style.startswith("setlinewidth("):
                lines.append(f"{float(style[13:-1]):.2f} w")
            else:
                lines.append(_DASHES.get(style, ""))
        elif kind == "T":
            text = _text(op["text"], face, size, fonts)
            if text is None:
                return None
            x, y = op["pt"]
            x -= {"l": 0.0, "c": 0.5, "r": 1.0}[op["align"]] * op["width"]
            lines.append(f"q {pen} rg BT {x:.2f} {y:.2f} Td {text} ET Q")
        elif kind in "eEpPLbB":
            stroke, fill = not clear["c"], kind in "EPB" and not clear["C"]
            close = kind not in "Lb"
            paint = {(True, True): "B", (True, False): "S", (False, True): "f"}.get((stroke, fill))
            lines += [*_path(op), "h" if close else "", paint or "n"]
        elif kind == "I":
            raise ValueError("PDF needs an installed Graphviz for images; or SVG")
    return lines


def _path(op: dict[str, Any]) -> list[str]:
    """A polygon, a line, a Bézier curve or an ellipse, as a path."""
    if op["op"] in "eE":
        x, y, a, b = op["rect"]
        k = 0.5523  # of a quarter of a circle
        quarters = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]
        return [f"{x + a:.2f} {y:.2f} m"] + [
            f"{x + a * (u + k * p):.2f} {y + b * (v + k * q):.2f}"
            f" {x + a * (p + k * u):.2f} {y + b * (q + k * v):.2f}"
            f" {x + a * p:.2f} {y + b * q:.2f} c"
            for u, v, p, q in quarters
        ]
    points = [f"{x:.2f} {y:.2f}" for x, y in op["points"]]
    if op["op"] in "bB":
        curves = [" ".join(points[i : i + 3]) + " c" for i in range(1, len(points), 3)]
        return [f"{points[0]} m", *curves]
    return [f"{points[0]} m", *[f"{point} l" for point in points[1:]]]


def _text(text: str, face: str, size: float, fonts: list[str]) -> str | None:
    """Text as runs of letters of one font; None if a letter is in none."""
    if "\\" in text:  # the layout doubles it and cuts off the end
        return None
    runs: list[tuple[str, bool, bytearray]] = []
    for char in text:
        font, low = face, char in _SUBSCRIPTS
        code = (str(_SUBSCRIPTS.index(char)) if low else char).encode("cp1252", errors="ignore")
        if not code:
            if char not in _SYMBOL:
                return None
            font, code = "Symbol", bytes([_SYMBOL[char]])
        if not runs or runs[-1][:2] != (font, low):
            runs.append((font, low, bytearray()))
        runs[-1][2].extend(code)
    fonts += [font for font in dict.fromkeys(run[0] for run in runs) if font not in fonts]
    return " ".join(
        f"{-0.15 * size * low:g} Ts /{font} {size * (0.65 if low else 1):g} Tf <{code.hex()}> Tj"
        for font, low, code in runs
    )


def _font(font: str) -> str:
    encoding = "" if font == "Symbol" else " /Encoding /WinAnsiEncoding"
    return f"<< /Type /Font /Subtype /Type1 /BaseFont /{font}{encoding} >>"


def _solid(op: dict[str, Any]) -> str:
    """The one colour that an operation sets, as ``#rrggbb`` or ``#rrggbbaa``."""
    if op.get("grad", "none") != "none":
        raise ValueError("PDF needs an installed Graphviz for colours that change; or SVG")
    colour: str = op["color"]
    return colour


def _colour(text: str) -> str:
    """``#rrggbb`` as three numbers from 0 to 1."""
    return " ".join(f"{int(text[i : i + 2], 16) / 255:.3g}" for i in (1, 3, 5))


def _is_clear(colour: str) -> bool:
    """Whether a colour is fully transparent: ``#rrggbb00``."""
    return len(colour) == 9 and colour.endswith("00")


def _stream(entries: str, data: bytes) -> bytes:
    return f"<< {entries} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"


def _document(resources: str, content: bytes, width: float, height: float, *more: bytes) -> bytes:
    """A document of one page; further objects are numbered from 5."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width:.2f} {height:.2f}]"
            f" /Resources {resources} /Contents 4 0 R >>"
        ).encode(),
        _stream("/Filter /FlateDecode", zlib.compress(content)),
        *more,
    ]
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    start, count = len(out), len(objects) + 1
    out += f"xref\n0 {count}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{place:010d} 00000 n \n".encode() for place in places)
    out += f"trailer\n<< /Size {count} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(out)
