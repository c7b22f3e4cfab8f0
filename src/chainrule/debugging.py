"""Printing values, in compiled code too."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Final

import numpy

from chainrule import trees
from chainrule.node import Node
from chainrule.operation import Operation
from chainrule.rules import described
from chainrule.tracebacks import boundary
from chainrule.tracing import PROGRESS


class Printed(BaseException):
    """What compiled code has to print: raised by a callback, for the kernel to show.

    Args:
        text: the line.
        number: its place among those of a call, in the order of the program.
    """

    def __init__(self, text: str, number: float) -> None:
        super().__init__(text)
        self.number = number


@boundary
def debug_print(format: str, /, *values: Any, **named: Any) -> None:
    """Print values, as ``print(format.format(*values, **named))`` would with numbers for nodes.

    Where a function is traced, its values are printed by each call of the compiled code: those of
    the lanes one after another, once the code has run; what is the same for all lanes comes once,
    before them. Derivatives are not concerned.

    Args:
        format: text with replacement fields, as for ``str.format``.
        values: numbers, nodes, arrays and trees of them, or anything else.
        named: the same, for fields with a name.

    Raises:
        TypeError: if the format is not text.
        IndexError: if it has more fields than there are values.
        KeyError: if it has a field of another name.
    """
    if not isinstance(format, str):
        raise TypeError(f"debug_print takes a format first, not {described(format)}")
    leaves, structure = trees.leaves_of((values, named))
    parts: list[Any] = []
    nodes: list[Any] = []
    for leaf in leaves:
        if isinstance(leaf, Node):
            parts.append(_Place(None))
            nodes.append(leaf)
        elif isinstance(leaf, numpy.ndarray) and leaf.dtype.kind == "O":
            parts.append(_Place(leaf.shape))
            nodes.extend(leaf.ravel().tolist())
        else:
            parts.append(leaf)
    shown = _shown(format, structure, parts)
    recorder: Any = PROGRESS.recorder
    if recorder is None and PROGRESS.log is not None:
        raise TypeError("what is shown is not noted")  # no trace follows the run
    if recorder is None:
        text = shown.text([x._number if isinstance(x, Node) else x for x in nodes])
        held = _HELD.get()
        show = print if held is None else held.append
        show(text)
        return
    shown.text([0.5] * len(nodes))  # errors in the format, at the line that has it
    # The outcome of a comparison is recorded, and so is what it is made of. It never holds.
    if nodes or recorder.inputs:
        recorder.printed += 1
        bool(shown(*(nodes or recorder.inputs[:1]), float(recorder.printed)) > 0.5)


_HELD: Final[ContextVar[list[str] | None]] = ContextVar("held", default=None)


@contextlib.contextmanager
def printing_at_the_end(always: bool) -> Iterator[None]:
    """Print at the end what is shown inside.

    Args:
        always: whether also where an error ends it; else that is done again, and prints again.
    """
    held: list[str] = []
    before = _HELD.set(held)
    try:
        yield
        always = True
    finally:
        _HELD.reset(before)
        for text in held if always else ():
            print(text)


@contextlib.contextmanager
def unprinted() -> Iterator[None]:
    """Print nothing of what is shown inside."""
    before = _HELD.set([])
    try:
        yield
    finally:
        _HELD.reset(before)


class _Place:
    """Where numbers stand: one, or an array of a shape."""

    def __init__(self, shape: tuple[int, ...] | None) -> None:
        self.shape = shape

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Place) and other.shape == self.shape

    def __hash__(self) -> int:
        return hash(self.shape)


class Shown(Operation):
    """What one debug_print shows, as an operation of the nodes in it and of its number."""

    def __init__(self, format: str, structure: Any, parts: Sequence[Any]) -> None:
        super().__init__("debug_print", self._show, _no_gradients)
        self._format = format
        self._structure = structure
        self._parts = parts

    def text(self, numbers: Sequence[Any]) -> str:
        """The text for the numbers of the nodes, in order."""
        leaves = []
        start = 0
        for part in self._parts:
            if not isinstance(part, _Place):
                leaves.append(part)
                continue
            stop = start + trees.size_of(part.shape)
            own = numbers[start:stop]
            leaves.append(own[0] if part.shape is None else trees.array_of(own, part.shape))
            start = stop
        values, named = trees.unflatten(self._structure, leaves)
        return self._format.format(*values, **named)

    def _show(self, *numbers: float) -> float:
        if PROGRESS.recorder is None:  # it is compiled code that asks
            raise Printed(self.text(numbers), numbers[-1])
        return 0.0


def _no_gradients(y: Any, *numbers: Any) -> list[float]:
    return [0.0] * len(numbers)


def _shown(format: str, structure: Any, parts: Sequence[Any]) -> Shown:
    """The operation for a line: the same each time, so that a loop with it stays a loop."""
    try:
        return _known(format, structure, tuple([(type(part), part) for part in parts]))
    except TypeError:  # something in it has no hash
        return Shown(format, structure, parts)


@functools.lru_cache(maxsize=1000)
def _known(format: str, structure: Any, parts: tuple[tuple[type, Any], ...]) -> Shown:
    return Shown(format, structure, [part for _, part in parts])
