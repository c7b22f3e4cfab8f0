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
from functools import lru_cache
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from chainrule import forking
from chainrule.engine import ENGINE
from chainrule.tracebacks import boundary

if TYPE_CHECKING:
    from contextlib import _GeneratorContextManager  # it is a decorator too

    from chainrule.node import Node
    from chainrule.rules import Operation


class Annotation:
    """Name, enclosing groups (outermost first) and line of code of a node; never changed.

    Args:
        name: the name, or None.
        groups: the names of the groups.
        place: the line as text; or the code that ran and the offset of its instruction, from which
            the line is told when somebody asks for it; or None.
    """

    __slots__ = ("_line", "groups", "name", "place")

    def __init__(
        self, name: str | None, groups: tuple[str, ...], place: str | tuple[CodeType, int] | None
    ) -> None:
        self.name = name
        self.groups = groups
        self.place = place
        self._line = None if isinstance(place, tuple) else place

    @property
    def line(self) -> str | None:
        """The line of code, as :func:`line_of` says it; None where it was not recorded."""
        if self._line is None and isinstance(self.place, tuple):
            code, offset = self.place
            self._line = line_text(code, _line_number(code, offset))
        return self._line

    def named(self, name: str | None) -> Annotation:
        """The same with another name."""
        return Annotation(name, self.groups, self.place)

    def __reduce__(self) -> tuple[Any, ...]:
        return Annotation, (self.name, self.groups, self.line)


class Decision(NamedTuple):
    """A comparison of plain nodes, or of one with a number, that was a bool in Python."""

    operation: Operation
    a: Node | float
    b: Node | float
    outcome: bool
    line: str


class Lines:
    """What :func:`record_lines` noted besides the lines of nodes.

    Attributes:
        decisions: the comparisons in order, of which an ``if`` or a ``while`` may have been one;
            the first ``MOST_DECISIONS`` of them.
    """

    def __init__(self) -> None:
        self.decisions: list[Decision] = []

    def __repr__(self) -> str:
        return f"<lines of a program, with {len(self.decisions):,} comparisons>"

    def note(self, operation: Operation, a: Node | float, b: Node | float, outcome: bool) -> None:
        """Keep a comparison made at the line that runs."""
        if len(self.decisions) < MOST_DECISIONS:
            self.decisions.append(Decision(operation, a, b, outcome, users_line()))


class _Active:
    """How many contexts that concern new nodes or comparisons are open, in all threads."""

    def __init__(self) -> None:
        self.contexts = 0
        self._setting: dict[ContextVar[Any] | None, int] = {}
        self._lock = forking.lock()

    def enter(self, variable: ContextVar[Any] | None = None) -> None:
        """Count one more, which sets a context variable or none."""
        self._count(variable, 1)

    def leave(self, variable: ContextVar[Any] | None = None) -> None:
        """Count one less, with the same variable."""
        self._count(variable, -1)

    def _count(self, variable: ContextVar[Any] | None, step: int) -> None:
        with self._lock:
            self.contexts += step
            self._setting[variable] = self._setting.get(variable, 0) + step

    def get(self, variable: ContextVar[Any]) -> Any:
        """The value of a variable; None where no context is open that sets it."""
        return variable.get() if self._setting.get(variable) else None


ACTIVE: Final[Any] = _Active() if ENGINE is None else ENGINE.ACTIVE
_groups: Final[ContextVar[Annotation | None]] = ContextVar("chainrule_groups", default=None)
_anomaly: Final[ContextVar[bool]] = ContextVar("chainrule_anomaly", default=False)
_lines: Final[ContextVar[bool]] = ContextVar("chainrule_lines", default=False)
_noting: Final[ContextVar[Lines | None]] = ContextVar("chainrule_noting", default=None)
FILES_OF_CELLS: Final[dict[str, str]] = {}
"""Under which names a notebook compiled the cells whose lines were asked for."""
MOST_DECISIONS: Final = 10_000
_PACKAGE: Final = os.path.dirname(os.path.abspath(__file__)) + os.sep


@boundary
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
    return _grouped(str.__str__(name))


@contextmanager
def _grouped(name: str) -> Iterator[None]:
    outer = _groups.get()
    token = _groups.set(_of_groups((*outer.groups, name) if outer else (name,)))
    ACTIVE.enter(_groups)
    try:
        yield
    finally:
        ACTIVE.leave(_groups)
        _groups.reset(token)


@lru_cache(maxsize=1024)
def _of_groups(groups: tuple[str, ...]) -> Annotation:
    """What nodes in groups carry: the same each time, as a layer opens its groups at each call."""
    return Annotation(None, groups, None)


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """Raise FloatingPointError at the first value or gradient that is not finite.

    Inside the ``with`` block every operation and every backward pass is checked; the message names
    the operation and the line of the user's code that made it.
    """
    token = _anomaly.set(True)
    ACTIVE.enter(_anomaly)
    try:
        yield
    finally:
        ACTIVE.leave(_anomaly)
        _anomaly.reset(token)


@contextmanager
def record_lines() -> Iterator[Lines]:
    """Remember the line of the user's code that made each node inside the ``with`` block.

    ``node.line`` gives it; pictures and the explorer show it where the pointer is. What the block
    gets notes the comparisons of nodes, for ``explore(root, lines=…)``.
    """
    lines = Lines()
    token, noting = _lines.set(True), _noting.set(lines)
    ACTIVE.enter(_lines)
    try:
        yield lines
    finally:
        ACTIVE.leave(_lines)
        _noting.reset(noting)
        _lines.reset(token)


def note_decision(operation: Operation, a: Node | float, b: Node | float, outcome: bool) -> None:
    """Keep a comparison where lines are recorded."""
    lines = _noting.get()
    if lines is not None:
        lines.note(operation, a, b, outcome)


def detecting_anomaly() -> bool:
    """Whether the caller is inside :func:`detect_anomaly`."""
    return bool(ACTIVE.get(_anomaly))


def new_annotation(name: str | None) -> Annotation | None:
    """What to attach to a node made here and now; None if there is nothing to say."""
    shared: Annotation | None = ACTIVE.get(_groups)
    place = here() if ACTIVE.get(_anomaly) or ACTIVE.get(_lines) else None
    if name is None and place is None:
        return shared
    return Annotation(name, shared.groups if shared else (), place)


def here() -> tuple[CodeType, int]:
    """The innermost running code outside this package, and the offset of its instruction."""
    frame = users_frame()
    return frame.f_code, frame.f_lasti


def users_line() -> str:
    """``file:line`` of the innermost running code outside this package."""
    return line_of(users_frame())


def line_of(frame: FrameType) -> str:
    """``file:line`` of running code; in a notebook ``cell In[3], line 4``, as tracebacks say it."""
    return line_text(frame.f_code, frame.f_lineno)


def line_text(code: CodeType, number: int | None) -> str:
    """``file:line`` of a line of code, as :func:`line_of` says it."""
    file = code.co_filename
    cell = _cell(file) if "IPython" in sys.modules else None
    return f"{file}:{number}" if cell is None else f"{cell}, line {number}"


def _line_number(code: CodeType, offset: int) -> int | None:
    """The line of an instruction; None for one of no line."""
    for start, end, line in code.co_lines():
        if start <= offset < end:
            return line
    return code.co_firstlineno  # it has not begun


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
    return not sys._getframe(2).f_code.co_filename.startswith(_PACKAGE)


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
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return frame


if ENGINE is not None:
    ENGINE.set_context_hooks(
        groups=_groups, anomaly=_anomaly, lines=_lines, annotation=Annotation, package=_PACKAGE
    )
    users_frame = ENGINE.users_frame
