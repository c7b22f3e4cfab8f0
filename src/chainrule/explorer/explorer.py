"""``explore``: a graph as a page to walk through."""

from __future__ import annotations

import html
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from chainrule.annotations import Lines
from chainrule.explorer.graph import Graph, check_root
from chainrule.explorer.page import page
from chainrule.explorer.recording import Recording
from chainrule.explorer.training import TrainingSet
from chainrule.files import write_atomically
from chainrule.keywords import with_nearest_names
from chainrule.node import Node
from chainrule.tracebacks import boundary


class Explorer:
    """A page that shows a graph; the last line of a Jupyter cell, or ``.save("page.html")``.

    Args:
        html: the page, which needs no other file.
    """

    def __init__(self, html: str) -> None:
        self.html = html

    def __repr__(self) -> str:
        return "<Explorer: the last line of a Jupyter cell, or .save('page.html')>"

    def _repr_html_(self) -> str:
        """The page in a frame of its own, for Jupyter."""
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" sandbox="allow-scripts allow-modals"'
            ' title="Explorer of a computational graph"'
            ' style="width: 100%; height: 640px; border: 1px solid #8888"></iframe>'
        )

    @boundary
    def save(self, path: str | os.PathLike[str]) -> str:
        """Write the page to a file, whole or not at all.

        Returns:
            The path written.

        Raises:
            ValueError: if the path does not end in ``.html`` or ``.htm``.
            OSError: if the file can't be written.
        """
        target = Path(path)
        if target.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"{target.name!r} should end in .html")
        write_atomically(target, self.html.encode())
        return str(target)


@with_nearest_names
def explore(
    root: Node,
    path: str | os.PathLike[str] | None = None,
    *,
    title: str | None = None,
    fold: str | Iterable[str] = (),
    history: Recording | None = None,
    lines: Lines | None = None,
    training: TrainingSet | None = None,
    max_nodes: int = 1_000_000,
) -> Explorer:
    """A page in which to walk through a graph and its backpropagation, node by node.

    The page is one file that needs no network and no server. It shows the derivatives of ``root``;
    the gradients kept on the nodes are neither read nor changed.

    Args:
        root: the node to explore; everything it was computed from is in the page.
        path: where to save the page, ending in ``.html``; None to save it later or show it in
            Jupyter.
        title: of the page, by default the root's name.
        fold: names of groups whose inside is left out of the page, where there is too much: each
            of a group's results is then one node, with its derivatives by what flows into it.
        history: a recorded training run to replay.
        lines: what ``with record_lines() as lines`` noted. The page then says so where changed
            leaves would make an ``if`` of the program go the other way.
        training: points to train on inside the page.
        max_nodes: the most nodes to write.

    Returns:
        The page.

    Raises:
        TypeError: if root is not a node, history not a Recording, lines not what ``record_lines``
            gives, or training not a TrainingSet.
        ValueError: for a graph with a cycle, with more than ``max_nodes`` nodes, or with a leaf
            whose data was changed after an operation had used it; for an unknown group, an empty
            history, a training set of other nodes, or a path that does not end in ``.html``.
        OSError: if the file can't be written.
    """
    check_root(root)
    if history is not None and not isinstance(history, Recording):
        raise TypeError(f"history is a chainrule.Recording, not {type(history).__name__}")
    if history is not None and not len(history):
        raise ValueError("the history is empty; call history.record(loss) at every step")
    if lines is not None and not isinstance(lines, Lines):
        raise TypeError(
            f"lines are what record_lines gives (with record_lines() as lines: …),"
            f" not {type(lines).__name__}"
        )
    if training is not None and not isinstance(training, TrainingSet):
        raise TypeError(f"training is a TrainingSet, not {type(training).__name__}")
    if title is not None and not isinstance(title, str):
        raise TypeError(f"title is text, not {type(title).__name__}")
    root.data  # noqa: B018  raises inside a transformation
    nodes = root.sorted_nodes()
    names = {fold} if isinstance(fold, str) else set(fold)
    if not names:
        _check_size(nodes, max_nodes)
    graph = Graph(nodes, names, () if lines is None else lines.decisions)
    _check_size(graph.nodes, max_nodes)
    found = Explorer(page(graph, title, history, training))
    if path is not None:
        found.save(path)
    return found


def _check_size(nodes: Sequence[Node], max_nodes: int) -> None:
    """Raise ValueError for more nodes than a page can hold, saying where they are."""
    if len(nodes) <= max_nodes:
        return
    sizes = Counter(node.groups[0] for node in nodes if node.groups)
    if sizes:
        what = "leave the inside of groups out, the largest being " + ", ".join(
            f'fold="{name}" ({size:,} nodes)' for name, size in sizes.most_common(3)
        )
    else:
        what = (
            'name its parts (with chainrule.group("layer 1"): …) and leave their inside out'
            ' with fold=["layer 1"]'
        )
    raise ValueError(
        f"a page of {len(nodes):,} nodes is too large for a browser (the limit is {max_nodes:,});"
        f" {what}; explore a node nearer to the leaves; or raise max_nodes"
    )
