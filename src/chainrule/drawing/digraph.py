"""The picture that ``draw_graph`` makes: a ``graphviz.Digraph`` that draws itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import graphviz

from chainrule.comparing import is_truth
from chainrule.drawing.attributes import KNOWN, check_attribute
from chainrule.drawing.render import FORMATS, check_fonts, check_format, render_dot
from chainrule.files import write_atomically
from chainrule.tracebacks import boundary


class GraphDrawing(graphviz.Digraph):  # type: ignore[misc]
    """A picture of a graph: a ``graphviz.Digraph`` that needs no Graphviz on the machine.

    ``source`` is its text in the DOT language. In Jupyter it shows itself.
    """

    def __repr__(self) -> str:
        return "<GraphDrawing: the last line of a Jupyter cell, or .save('graph.svg')>"

    @boundary
    def attr(
        self, kw: str | None = None, _attributes: Mapping[str, Any] | None = None, **attrs: Any
    ) -> None:
        """Set attributes of the graph, of every node or of every edge, drawn already or not.

        Args:
            kw: ``"graph"`` (None too), ``"node"`` or ``"edge"``.
            _attributes: the attributes as a dict.
            attrs: the attributes, as ``fontname="Courier"``.

        Raises:
            ValueError: for anything but these three, an attribute that Graphviz does not know, and
                one that each box or arrow has of its own.
        """
        kind = "graph" if kw is None else kw.lower()
        if kind not in KNOWN:
            raise ValueError(f"attr sets attributes of graph, node or edge, not {kw!r}")
        target = {"graph": self.graph_attr, "node": self.node_attr, "edge": self.edge_attr}[kind]
        values = {**(_attributes or {}), **attrs}
        for name in values:
            check_attribute(kind, name)
        for name, value in values.items():
            if value is not None:
                target[name] = str(value).lower() if is_truth(value) else str(value)

    @boundary
    def pipe(
        self,
        format: str | None = None,
        encoding: str | None = None,
        *,
        dpi: float | None = None,
        transparent: bool | None = None,
        engine: str | None = None,
        quiet: bool = False,
    ) -> bytes | str:
        """The rendered picture as bytes, or text if an encoding is given.

        Args:
            format: ``svg``, ``png`` or ``pdf``.
            encoding: of the text wanted, None for bytes.
            dpi: pixels an inch of a PNG.
            transparent: whether there is no white behind the picture.
            engine: the layout: ``dot``, or another of Graphviz's.
            quiet: as with ``graphviz``; nothing is printed in any case.

        Raises:
            ValueError: for an unknown format or engine, or what can't be drawn in that format.
        """
        data = self._drawn(check_format(format or self.format), dpi, transparent, engine)
        return data.decode(encoding) if encoding else data

    @boundary
    def save(
        self,
        filename: str | os.PathLike[str] | None = None,
        directory: str | os.PathLike[str] | None = None,
        *,
        dpi: float | None = None,
        transparent: bool | None = None,
        skip_existing: bool | None = False,
    ) -> str:
        """Write the picture in the format of the ending.

        ``.tex`` is TikZ for LaTeX; ``.gv`` and ``.dot`` are the source. Nothing is left behind
        where that fails.

        Args:
            filename: the file, by default ``graph.svg``.
            directory: the folder.
            dpi: pixels an inch of a PNG.
            transparent: whether there is no white behind the picture.
            skip_existing: whether a file that is there already stays as it is.

        Returns:
            The path written.

        Raises:
            ValueError: for an unknown ending, or what can't be drawn in that format.
            OSError: if the file can't be written.
        """
        path = Path(
            directory or self.directory or "",
            filename or Path(self.filename).with_suffix(f".{self.format}"),
        )
        ending = path.suffix.lower().lstrip(".")
        if ending in ("gv", "dot"):
            data = self.source.encode()
        elif ending in (*FORMATS, "tex"):
            data = self._drawn(ending, dpi, transparent)
        else:
            raise ValueError(
                f"{path.name!r} should end in one of .{', .'.join(FORMATS)}, .tex, .gv, .dot"
            )
        if not (skip_existing and path.exists()):
            write_atomically(path, data)
        return str(path)

    @boundary
    def render(
        self,
        filename: str | os.PathLike[str] | None = None,
        directory: str | os.PathLike[str] | None = None,
        view: bool = False,
        cleanup: bool = False,
        format: str | None = None,
        *,
        dpi: float | None = None,
        transparent: bool | None = None,
        engine: str | None = None,
        quiet: bool = False,
        quiet_view: bool = False,
    ) -> str:
        """Write source and picture as ``graphviz`` does: ``filename`` and ``filename.format``.

        Args:
            filename: of the source.
            directory: the folder.
            view: whether to open the picture in the system's viewer.
            cleanup: whether to leave the source out.
            format: ``svg``, ``png`` or ``pdf``.
            dpi: pixels an inch of a PNG.
            transparent: whether there is no white behind the picture.
            engine: the layout: ``dot``, or another of Graphviz's.
            quiet: as with ``graphviz``; nothing is printed in any case.
            quiet_view: open the viewer, whose messages are not shown.

        Returns:
            The path of the picture.

        Raises:
            ValueError: for an unknown format or engine, or what can't be drawn in that format.
            OSError: if a file can't be written.
        """
        ending = check_format(format or self.format)
        source = Path(directory or self.directory or "", filename or self.filename)
        picture = source.with_name(f"{source.name}.{ending}")
        write_atomically(picture, self._drawn(ending, dpi, transparent, engine))
        if not cleanup:
            write_atomically(source, self.source.encode())
        if view or quiet_view:
            self._view(str(picture), format=ending, quiet=quiet_view)
        return str(picture)

    def _drawn(
        self,
        format: str,
        dpi: float | None = None,
        transparent: bool | None = None,
        engine: str | None = None,
    ) -> bytes:
        """The picture; an inch of SVG and PDF is always 72 points."""
        engine = engine or self.engine
        if engine not in graphviz.ENGINES:
            known = ", ".join(sorted(graphviz.ENGINES))
            raise ValueError(f"engine is one of {known}, not {engine!r}")
        drawing = self.copy()
        set_options(drawing, dpi, transparent)
        if format != "png":
            for name in ("dpi", "resolution"):
                drawing.graph_attr.pop(name, None)
        for attributes in (self.graph_attr, self.node_attr, self.edge_attr):
            check_fonts(format, attributes.get("fontname", ""))
        return render_dot(drawing.source, format, engine)


def set_options(drawing: GraphDrawing, dpi: float | None, transparent: bool | None) -> None:
    """Write the options of a picture's pixels and background into its source.

    Raises:
        ValueError: if dpi is not above 0.
    """
    if dpi is not None:
        if isinstance(dpi, bool) or not isinstance(dpi, Real) or not 0 < dpi < 10_000:
            raise ValueError(f"dpi is a number of pixels an inch, such as 300, not {dpi!r}")
        drawing.attr(dpi=f"{float(dpi):.10g}")
    if transparent is not None:
        drawing.graph_attr["bgcolor"] = "transparent" if transparent else "white"
