"""From the DOT language to a file that people can look at.

A Graphviz on the machine is used where there is one; else the program that the package
graphviz-pure brings. That one writes no PDF, so a PDF is made from its SVG by svglib.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

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


def render_dot(source: str, format: str) -> bytes:
    """Lay out a graph in the DOT language and draw it.

    Raises:
        RuntimeError: if the program that draws is missing or fails.
    """
    system = shutil.which("dot")
    if system is not None:
        return _run([system, f"-T{format}"], source)
    program = _packaged_program()
    if format == "pdf":
        return _pdf(program, source)
    return _run([program, f"-T{format}"], source)


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


def _pdf(program: str, source: str) -> bytes:
    """A PDF of lines and letters; of pixels, if a letter is not in PDF's built-in fonts."""
    try:
        source.encode("latin-1")
    except UnicodeEncodeError:
        return _pdf_of_pixels(_run([program, "-Tpng", "-Gdpi=200"], source))
    from reportlab.graphics import renderPDF
    from svglib.svglib import svg2rlg

    drawing = svg2rlg(io.BytesIO(_run([program, "-Tsvg"], source)))
    return bytes(renderPDF.drawToString(drawing))


def _pdf_of_pixels(png: bytes) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(out, format="PDF", resolution=200.0)
    return out.getvalue()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OSError: if it can't be written, naming the path.
    """
    if path.is_dir():
        raise IsADirectoryError(f"can't write {path}: it is a folder")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"can't write {path}: there is no folder {path.parent}")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
