"""Which transformations are in progress in this thread.

A node that depends on an input of a transformation carries the transformation's level. Levels are
given out once, in growing order: one that a transformation calls has a larger level than its own,
and a level that is not open in this thread belongs to a transformation that has ended, or to
another thread. An operation's node has the largest level of its operands. Level 0 means an ordinary
node, which no transformation concerns.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from chainrule.annotations import ACTIVE
from chainrule.engine import ENGINE


class TracedValueError(TypeError):
    """A value that a transformation or ``compile`` follows was taken out of the graph."""


class NoForwardMode(TypeError):
    """A tangent came to a function whose derivative its author gave for reverse mode alone."""


class NotCompilable(Exception):
    """What is being traced is right but can't be compiled; the function runs eagerly."""


class Recorder(Protocol):
    """What a trace records besides the graph.

    Attributes:
        pulls: whether it has operations with a pull-back, whose derivative is a user's.
    """

    pulls: bool

    def compared(self, condition: Any) -> Any:
        """What a comparison gives: the condition, or its outcome."""

    def guard(self, condition: Any, outcome: bool) -> bool:
        """Note a question for the truth value of a condition; gives the answer."""

    def takes(self, what: str) -> bool:
        """Whether something is traced that may turn out not to be possible."""

    def form_of(self, function: Any) -> Any:
        """What is called in the place of a function of the user's."""

    def uses(self, operation: Any) -> None:
        """Note that the program uses an operation of the user's."""

    def loop(self, *args: Any) -> Any:
        """The results of a loop or branch that is traced once, in a tuple; None for a plain one.

        The first argument is what it is: "scan", "while", "cond" or "product"; "gradient" for one
        that is the trace's.
        """

    def linearization(self, began: Any, inputs: Any, outputs: Any, level: int) -> Any:
        """The linearization of a function in the trace; None for the one outside of traces.

        Args:
            began: a node that was made just before the inputs.
            inputs: the nodes that a transformation has made for its inputs.
            outputs: what has come of them.
            level: the level of the transformation.
        """


class Counts:
    """What a run in plain numbers shows of its loops, by their lines.

    Attributes:
        most: the iterations of a loop that ends by a condition, the longest time it ran.
        given: of loops in no other one, in their order, the line and the numbers that came of it.
        depth: how many loops are around what runs.
    """

    def __init__(self) -> None:
        self.most: dict[str, int] = {}
        self.given: list[tuple[str, list[float]]] = []
        self.depth = 0

    def note(self, line: str, numbers: list[float], count: int = 0) -> None:
        """Note the end of a loop."""
        if count:
            self.most[line] = max(self.most.get(line, 0), count)
        if not self.depth:
            self.given.append((line, numbers))


class _Progress(threading.local):
    """The transformations in progress in a thread."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}  # of the open ones by level, the outermost first
        self.recorder: Recorder | None = None
        self.recorded_level = 0  # nodes from this level on depend on an input of the trace
        self.log: Any = None  # of a run in numbers that a trace follows, or that is noted
        self.counts: Counts | None = None  # of a run in numbers whose loops are counted
        self.inner: Any = None  # compiles the gradients of a run in numbers that no trace follows
        self.structural = 0  # the level whose derivatives keep what their values have not picked
        self.shortcuts: list[str] = []  # lines where an == held, until the outermost ends


PROGRESS: Final = _Progress()
LEVELS: Final = itertools.count(1)  # of all threads

LEFTOVER: Final = (
    "a value of another transformation, one that has ended or runs in another thread; what it"
    " depended on would be lost"
)
"""For messages: what is used where it can't be followed."""


class transformation:
    """A context that opens a level for a transformation, and gives the level."""

    __slots__ = ("_level", "_name")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> int:
        self._level = open_level(self._name)
        return self._level

    def __exit__(self, *error: object) -> None:
        close_level(self._level)


def open_level(name: str) -> int:
    """Open a level for a transformation, which closes it in the end; for what is called often."""
    level = next(LEVELS)
    PROGRESS.names[level] = name
    _innermost_is(level)
    return level


def close_level(level: int) -> None:
    """Close a level again, whatever happened in it."""
    names = PROGRESS.names
    del names[level]
    if names:
        _innermost_is(next(reversed(names)))
        return
    _innermost_is(0)
    if PROGRESS.shortcuts:
        PROGRESS.shortcuts = []


def _innermost_is(level: int) -> None:
    """Tell the engine which level is the innermost in this thread; 0 for none."""


if ENGINE is not None:
    _innermost_is = ENGINE.set_innermost_level


@contextmanager
def pattern_kept(level: int) -> Iterator[None]:
    """Within a transformation, derivatives depend on all that they do for any values.

    So that a sparse matrix of second derivatives has one pattern, whatever was picked.

    Args:
        level: of the transformation; 0 for one that asks for no pattern.
    """
    outer = PROGRESS.structural
    PROGRESS.structural = level or outer
    try:
        yield
    finally:
        PROGRESS.structural = outer


@contextmanager
def recording(recorder: Recorder, follows: Any = None) -> Iterator[int]:
    """Open a level whose comparisons are recorded as guards; gives the level.

    Args:
        recorder: of the trace.
        follows: what it follows of a run in plain numbers.
    """
    outer, outer_level, log = PROGRESS.recorder, PROGRESS.recorded_level, PROGRESS.log
    with transformation("compile") as level:
        PROGRESS.recorder, PROGRESS.log = recorder, follows
        _record_from(level)
        ACTIVE.enter()
        try:
            yield level
        finally:
            ACTIVE.leave()
            PROGRESS.recorder, PROGRESS.log = outer, log
            _record_from(outer_level)


def _record_from(level: int) -> None:
    """Set from which level on nodes depend on an input of the trace, for both engines."""
    PROGRESS.recorded_level = level
    if ENGINE is not None:
        ENGINE.set_recorded_level(level)


def name_of(level: int) -> str:
    """The transformation at a level, for messages."""
    return PROGRESS.names.get(level, "compile")


def has_ended(level: int) -> bool:
    """Whether a node of this level belongs to no transformation that is open in this thread."""
    return level > 0 and level not in PROGRESS.names
