"""The ``chainrule`` command."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType

from chainrule import Node, build_info, record_lines
from chainrule.drawing import draw_graph
from chainrule.drawing.render import FORMATS
from chainrule.tracebacks import keep_users_frames, users_frames

FAILED = 1
"""Exit status where the user's program raised an exception."""

WRONG = 2
"""Exit status where the request was wrong."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, that of shells."""


class UsageError(ValueError):
    """What the user asked for can't be done; the message says why and what to write instead."""


class ProgramError(Exception):
    """The user's program raised an exception, the cause; its traceback is the program's own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after ``chainrule``; by default those of the process.

    Returns:
        The exit status: 0; 1 where the user's program raised an exception, whose traceback is then
        shown as Python shows it; that of the program if it called ``sys.exit`` with one; 2 where
        the request was wrong, which one line says; 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except ProgramError as failure:
        return _shown(failure.__cause__)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (UsageError, OSError, RuntimeError) as error:
        print(f"chainrule: {error}", file=sys.stderr)
        return WRONG
    return 0


def _shown(error: BaseException | None) -> int:
    """Show an exception of the user's program as Python does; gives the exit status."""
    assert error is not None
    sys.excepthook(type(error), error, error.__traceback__)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED


@contextmanager
def _reading_the_graph() -> Iterator[None]:
    """Tell errors of the user's functions, which a graph may call, from errors about the graph.

    Raises:
        ProgramError: for an exception that has frames which are not of this package.
        UsageError: for another that says what is wrong with the graph.
    """
    try:
        yield
    except BaseException as error:
        if users_frames(error.__traceback__) is not None:
            keep_users_frames(error)
            raise ProgramError from error
        if isinstance(error, (ValueError, TypeError, RuntimeError)):
            raise UsageError(error) from error
        raise


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

    demo = commands.add_parser("demo", help="gradients checked, code compiled, data learnt")
    demo.add_argument("-o", "--output", type=Path, default=Path("chainrule-demo"), metavar="FOLDER")
    demo.add_argument("--steps", type=int, default=3000, help="steps of training (3000)")
    demo.set_defaults(run=_demo)
    return parser


def _draw(options: argparse.Namespace) -> None:
    file, name = _target(options.target)
    node = _node_of(file, name)
    with _reading_the_graph():
        if options.backward:
            node.backward()
        drawing = draw_graph(
            node,
            color=options.color,
            local_grads=options.local_grads,
            direction=options.direction,
            max_depth=options.max_depth,
            fold=options.fold_all or options.fold or False,
        )
    try:
        print(drawing.save(options.output or Path(f"{name}.svg")))
    except ValueError as error:
        raise UsageError(error) from error


def _explore(options: argparse.Namespace) -> None:
    from chainrule.explorer import explore

    file, name = _target(options.target)
    with record_lines() if options.lines else nullcontext() as lines:
        node = _node_of(file, name)
    with _reading_the_graph():
        page = explore(node, title=options.title or node.name or name, lines=lines)
    path = Path(options.output or f"{name}.html")
    try:
        page.save(path)
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
    """Run a file and take the node of that name.

    Raises:
        ProgramError: if the program raises an exception.
        SystemExit: if it ends itself with another exit status than 0.
        UsageError: if there is no such file or node.
    """
    if not file.is_file():
        raise UsageError(f"there is no file {file}")
    values = _run(file)
    value = values.get(name)
    if isinstance(value, Node):
        return value
    nodes = [key for key, other in values.items() if isinstance(other, Node)]
    there = ", ".join(difflib.get_close_matches(name, nodes, 5, 0.0) or ["none"])
    what = "nothing" if name not in values else f"a {type(value).__name__}, not a node"
    raise UsageError(f"{name} is {what} in {file}; its nodes are: {there}")


def _run(file: Path) -> dict[str, object]:
    """Run a file as Python does; gives its global names."""
    source = file.read_bytes()
    path = os.path.abspath(file)
    module = ModuleType("__main__")
    module.__file__ = path
    sys.argv = [str(file)]
    sys.path.insert(0, str(file.parent.resolve()))
    own = sys.modules["__main__"]
    sys.modules["__main__"] = module
    try:
        exec(compile(source, path, "exec", dont_inherit=True), vars(module))
    except SystemExit as end:
        if end.code:
            raise
    except BaseException as error:
        keep_users_frames(error)
        raise ProgramError from error
    finally:
        sys.modules["__main__"] = own
    return vars(module)


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
