"""Which transformations are in progress in this thread.

A node that depends on an input of a transformation carries the transformation's level: 1 for the
outermost, 2 for one that it calls, and so on. An operation's node has the largest level of its
operands. Level 0 means an ordinary node, which no transformation concerns.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from chainrule.annotations import ACTIVE


class TracedValueError(TypeError):
    """A value that a transformation or ``compile`` follows was taken out of the graph."""


class NoForwardMode(TypeError):
    """A tangent came to a function whose derivative its author gave for reverse mode alone."""


class NotCompilable(Exception):
    """What is being traced is right but can't be compiled; the function runs eagerly."""


class Recorder(Protocol):
    """What a trace records besides the graph."""

    def guard(self, condition: Any, outcome: bool) -> bool:
        """Note that the program went on with this outcome of a condition."""

    def uses(self, operation: Any) -> None:
        """Note that the program uses an operation of the user's."""


class _Progress(threading.local):
    """The transformations in progress in a thread."""

    def __init__(self) -> None:
        self.names: list[str] = []  # by level, the outermost first
        self.recorder: Recorder | None = None
        self.recorded_level = 0  # nodes from this level on depend on an input of the trace

    @property
    def level(self) -> int:
        return len(self.names)


PROGRESS: Final = _Progress()


@contextmanager
def transformation(name: str) -> Iterator[int]:
    """Open a level for a transformation; gives the level."""
    PROGRESS.names.append(name)
    try:
        yield len(PROGRESS.names)
    finally:
        PROGRESS.names.pop()


@contextmanager
def recording(recorder: Recorder) -> Iterator[int]:
    """Open a level whose comparisons are recorded as guards; gives the level."""
    outer = PROGRESS.recorder, PROGRESS.recorded_level
    with transformation("compile") as level:
        PROGRESS.recorder, PROGRESS.recorded_level = recorder, level
        ACTIVE.contexts += 1
        try:
            yield level
        finally:
            ACTIVE.contexts -= 1
            PROGRESS.recorder, PROGRESS.recorded_level = outer


def name_of(level: int) -> str:
    """The transformation at a level, for messages."""
    names = PROGRESS.names
    return names[level - 1] if 0 < level <= len(names) else "compile"
