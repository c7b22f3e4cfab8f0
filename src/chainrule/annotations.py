"""What a node can carry besides its number: a name, a group, the line that made it.

Few nodes have any of these, so that they live in one shared record outside the node.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import i64

if TYPE_CHECKING:
    from contextlib import _GeneratorContextManager  # it is a decorator too


class Annotation:
    """Name, enclosing groups (outermost first) and line of code of a node; never changed."""

    def __init__(self, name: str | None, groups: tuple[str, ...], line: str | None) -> None:
        self.name = name
        self.groups = groups
        self.line = line

    def __reduce__(self) -> tuple[Any, ...]:
        return Annotation, (self.name, self.groups, self.line)


class _Active:
    """How many contexts that concern new nodes are open, in all threads."""

    def __init__(self) -> None:
        self.contexts: i64 = 0


ACTIVE: Final = _Active()
_groups: Final[ContextVar[Annotation | None]] = ContextVar("chainrule_groups", default=None)
_anomaly: Final[ContextVar[bool]] = ContextVar("chainrule_anomaly", default=False)
_lines: Final[ContextVar[bool]] = ContextVar("chainrule_lines", default=False)
FILES_OF_CELLS: Final[dict[str, str]] = {}
"""Under which names a notebook compiled the cells whose lines were asked for."""
_PACKAGE: Final = os.path.dirname(os.path.abspath(__file__)) + os.sep


def group(name: str) -> _GeneratorContextManager[None]:
    """Gather the nodes made inside a ``with`` block under a name; pictures can fold them.

    Blocks nest: a node belongs to all the groups that are open where it is made.

    Raises:
        TypeError: if the name is not text.
        ValueError: if it is empty.
    """
    if not isinstance(name, str):
        raise TypeError(f"group takes a name, not {type(name).__name__}")
    if not name:
        raise ValueError("group takes a name that is not empty")
    return _grouped(name)


@contextmanager
def _grouped(name: str) -> Iterator[None]:
    outer = _groups.get()
    token = _groups.set(Annotation(None, (outer.groups if outer else ()) + (name,), None))
    ACTIVE.contexts += 1
    try:
        yield
    finally:
        ACTIVE.contexts -= 1
        _groups.reset(token)


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """Raise FloatingPointError at the first value or gradient that is not finite.

    Inside the ``with`` block every operation and every backward pass is checked; the message names
    the operation and the line of the user's code that made it. Costs about two microseconds a node.
    """
    token = _anomaly.set(True)
    ACTIVE.contexts += 1
    try:
        yield
    finally:
        ACTIVE.contexts -= 1
        _anomaly.reset(token)


@contextmanager
def record_lines() -> Iterator[None]:
    """Remember the line of the user's code that made each node inside the ``with`` block.

    ``node.line`` gives it; pictures and the explorer show it where the pointer is. Costs about two
    microseconds a node.
    """
    token = _lines.set(True)
    ACTIVE.contexts += 1
    try:
        yield
    finally:
        ACTIVE.contexts -= 1
        _lines.reset(token)


def detecting_anomaly() -> bool:
    """Whether the caller is inside :func:`detect_anomaly`."""
    return ACTIVE.contexts > 0 and _anomaly.get()


def new_annotation(name: str | None) -> Annotation | None:
    """What to attach to a node made here and now; None if there is nothing to say."""
    shared = _groups.get()
    line = users_line() if _anomaly.get() or _lines.get() else None
    if name is None and line is None:
        return shared
    return Annotation(name, shared.groups if shared else (), line)


def users_line() -> str:
    """``file:line`` of the innermost running code outside this package."""
    return line_of(users_frame())


def line_of(frame: FrameType) -> str:
    """``file:line`` of running code; in a notebook ``cell In[3], line 4``, as tracebacks say it."""
    file = frame.f_code.co_filename
    cell = _cell(file) if "IPython" in sys.modules else None
    return f"{file}:{frame.f_lineno}" if cell is None else f"{cell}, line {frame.f_lineno}"


def _cell(file: str) -> str | None:
    """What IPython calls the cell that it compiled under the name of a file; None for a file."""
    shell: Any = getattr(sys.modules["IPython"], "get_ipython", lambda: None)()
    name = getattr(getattr(shell, "compile", None), "format_code_name", None)
    found = None if name is None else name(file)
    if found is None:
        return None
    cell = f"{found[0].lower()} {found[1]}"
    FILES_OF_CELLS[cell] = file
    return cell


def asked_by_user() -> bool:
    """Whether the method of the engine that asks this was called from outside this package."""
    frame = sys._getframe()
    if __file__.endswith(".py"):  # compiled, the engine's functions have no frames
        frame = frame.f_back.f_back  # type: ignore[union-attr, assignment]
    return not frame.f_code.co_filename.startswith(_PACKAGE)


def warn_at_users_line(message: str, category: type[Warning]) -> None:
    """Warn of something in the innermost running code outside this package."""
    frame = users_frame()
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno or 0,  # an instruction may be of no line
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def users_frame() -> FrameType:
    """The frame of the innermost running code outside this package."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return frame
