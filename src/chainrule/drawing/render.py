"""From the DOT language to a file that people can look at.

A Graphviz on the machine is used where there is one; else the program that the package
graphviz-pure brings. That one writes no PDF: :mod:`chainrule.drawing.pdf` makes it of the layout.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from chainrule.drawing import pdf, tikz

FORMATS = ("svg", "png", "pdf")

_PATIENCE = 15.0  # seconds for one layout; 1,000 boxes of a network take half a second


def check_format(name: str) -> str:
    """The format itself, if it is one that can be rendered.

    Raises:
        ValueError: if it is not.
    """
    if name not in FORMATS:
        raise ValueError(f"format is one of {', '.join(FORMATS)}, not {name!r}")
    return name


def check_fonts(format: str, name: str) -> None:
    """Raise ValueError for a font that the packaged program does not have.

    In SVG any font can be named; it is the viewer's.
    """
    if name and format != "svg" and shutil.which("dot") is None:
        pdf.base_font(name)


def render_dot(source: str, format: str, engine: str = "dot") -> bytes:
    """Lay out a graph in the DOT language and draw it; as ``json`` the layout, ``tex`` TikZ.

    Raises:
        RuntimeError: if the program that draws is missing or fails.
        ValueError: for a PDF without Graphviz of what only Graphviz can draw.
    """
    program = shutil.which("dot")
    layout = [] if engine == "dot" else [f"-K{engine}"]  # dot leaves it to the graph's attribute
    if program is None:
        program = _packaged_program()
    if format == "tex":
        return tikz.of_layout(_run([program, "-Tjson", *layout], source))
    if format == "pdf" and shutil.which("dot") is None:
        picture = pdf.of_layout(_run([program, "-Tjson", *layout], source))
        if picture is not None:
            return picture
        return pdf.of_jpeg(_run([program, "-Tjpg", f"-Gdpi={pdf.DPI}", *layout], source))
    data = _run([program, f"-T{format}", *layout], source)
    return _fluid(data) if format == "svg" else data


def _fluid(svg: bytes) -> bytes:
    """An SVG of its natural size, and of a page's width where that is less."""
    return re.sub(rb"<svg ", b'<svg style="max-width:100%;height:auto" ', svg, count=1)


def _packaged_program() -> str:
    """The path of the program that graphviz-pure installed."""
    try:
        distribution = metadata.distribution("graphviz-pure")
    except metadata.PackageNotFoundError:
        raise RuntimeError(
            "no program to draw with: pip install graphviz-pure, or install Graphviz"
        ) from None
    for file in distribution.files or ():
        if file.stem == "graphviz-pure" and file.suffix in ("", ".exe"):
            return str(Path(str(distribution.locate_file(file))).resolve())
    found = shutil.which("graphviz-pure")
    if found is None:
        raise RuntimeError("graphviz-pure is installed without its program: install it again")
    return found


def _run(command: list[str], source: str) -> bytes:
    """Lay out with curved edges; where that takes long, with straight ones."""
    straight = [*command, "-Gsplines=line", "-Gnslimit=1", "-Gmclimit=0.3"]
    for attempt in (command, straight):
        try:
            return _run_for(_PATIENCE, attempt, source)
        except subprocess.TimeoutExpired:
            continue
    raise RuntimeError(
        f"laying out the graph took more than {2 * _PATIENCE:.0f} seconds, as it does where edges"
        " span hundreds of levels; draw the levels below the root with max_depth=5, or fold groups"
        " with fold=True"
    )


def _run_for(seconds: float, command: list[str], source: str) -> bytes:
    process = subprocess.run(
        command, input=source.encode(), capture_output=True, check=False, timeout=seconds
    )
    if process.returncode != 0:
        raise RuntimeError(
            f"{Path(command[0]).name} failed to draw the graph:"
            f" {process.stderr.decode(errors='replace').strip()}"
        )
    return process.stdout
