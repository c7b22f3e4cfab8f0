"""The ``chainrule`` command."""

from __future__ import annotations

import argparse
import difflib
import runpy
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from chainrule import Node, build_info, record_lines
from chainrule.drawing import draw_graph
from chainrule.drawing.render import FORMATS


class UsageError(ValueError):
    """What the user asked for can't be done; the message says why and what to write instead."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after ``chainrule``; by default those of the process.

    Returns:
        The exit status: 0, or 2 where the request was wrong.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (UsageError, OSError, RuntimeError) as error:
        print(f"chainrule: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chainrule", description="Draw and differentiate scalar Python programs."
    )
    info = build_info()
    engine = "compiled" if info["compiled"] else "plain Python"
    parser.add_argument(
        "--version",
        action="version",
        version=f"chainrule {info['version']} ({engine} engine, {info['python']})",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    draw = commands.add_parser("draw", help="run a file and draw a node it made")
    draw.add_argument("target", metavar="FILE.py:NAME", help="the file and the node's name in it")
    draw.add_argument(
        "-o", "--output", type=Path, help=f"where to: .{', .'.join(FORMATS)} or .gv (NAME.svg)"
    )
    draw.add_argument("--backward", action="store_true", help="backpropagate from the node first")
    draw.add_argument("--color", action="store_true", help="colour boxes by gradient")
    draw.add_argument("--local-grads", action="store_true", help="local gradients on the edges")
    draw.add_argument("--direction", default="LR", choices=("LR", "RL", "TB", "BT"))
    draw.add_argument("--max-depth", type=int, metavar="N", help="only N operations deep")
    draw.add_argument("--fold", action="append", metavar="GROUP", help="draw a group as one box")
    draw.add_argument("--fold-all", action="store_true", help="draw each outermost group as a box")
    draw.set_defaults(run=_draw)

    explore = commands.add_parser("explore", help="run a file and write a page to explore a node")
    explore.add_argument(
        "target", metavar="FILE.py:NAME", help="the file and the node's name in it"
    )
    explore.add_argument("-o", "--output", type=Path, help="where to (NAME.html)")
    explore.add_argument("--open", action="store_true", help="open the page in the browser")
    explore.add_argument(
        "--lines", action="store_true", help="remember the line of the program that made each node"
    )
    explore.add_argument("--title", help="of the page")
    explore.set_defaults(run=_explore)

    demo = commands.add_parser("demo", help="a dense unit, then a network that learns real data")
    demo.add_argument("-o", "--output", type=Path, default=Path("chainrule-demo"), metavar="FOLDER")
    demo.add_argument("--steps", type=int, default=3000, help="steps of training (3000)")
    demo.set_defaults(run=_demo)
    return parser


def _draw(options: argparse.Namespace) -> None:
    file, name = _target(options.target)
    node = _node_of(file, name)
    if options.backward:
        node.backward()
    try:
        drawing = draw_graph(
            node,
            color=options.color,
            local_grads=options.local_grads,
            direction=options.direction,
            max_depth=options.max_depth,
            fold=options.fold_all or options.fold or False,
        )
        print(drawing.save(options.output or Path(f"{name}.svg")))
    except ValueError as error:
        raise UsageError(error) from error


def _explore(options: argparse.Namespace) -> None:
    from chainrule.explorer import explore

    file, name = _target(options.target)
    with record_lines() if options.lines else nullcontext():
        node = _node_of(file, name)
    try:
        path = Path(options.output or f"{name}.html")
        explore(node, path, title=options.title or node.name or name)
    except ValueError as error:
        raise UsageError(error) from error
    print(path)
    if options.open:
        webbrowser.open(path.resolve().as_uri())


def _target(text: str) -> tuple[Path, str]:
    """The file and the name in ``FILE.py:NAME``."""
    file, _, name = text.rpartition(":")
    if not file or not name:
        raise UsageError(f"say which node of which file: FILE.py:NAME, not {text!r}")
    return Path(file), name


def _node_of(file: Path, name: str) -> Node:
    """Run a file as Python does and take the node of that name."""
    if not file.is_file():
        raise UsageError(f"there is no file {file}")
    sys.argv = [str(file)]
    sys.path.insert(0, str(file.parent.resolve()))
    values: dict[str, Any] = runpy.run_path(str(file), run_name="__main__")
    value = values.get(name)
    if isinstance(value, Node):
        return value
    nodes = [key for key, other in values.items() if isinstance(other, Node)]
    there = ", ".join(difflib.get_close_matches(name, nodes, 5, 0.0) or ["none"])
    what = "nothing" if name not in values else f"a {type(value).__name__}, not a node"
    raise UsageError(f"{name} is {what} in {file}; its nodes are: {there}")


def _demo(options: argparse.Namespace) -> None:
    from chainrule.demo import run

    if options.steps < 1:
        raise UsageError(f"--steps is 1 or more, not {options.steps}")
    try:
        run(options.output, options.steps)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the demo plots with {error.name}: pip install 'chainrule[learn]'"
        ) from error
