"""What traces have asked: those with the same outcomes so far must ask the same next.

All traces of a function are one tree: outcomes lead from question to question. If a run asks
another question where an earlier one had asked one after the same outcomes, guards of the two
kernels do not fit together: lanes that go over from one to the other take paths that no run took.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from chainrule.program.recording import Row

if TYPE_CHECKING:
    from .trace import Trace


class Form(NamedTuple):
    """What decides the rows of a trace.

    Attributes:
        segments: whether transformations are segments.
        wholes: whether arrays are whole.
        follows: whether it follows a run in plain numbers, so that the place of a question in the
            run is known.
    """

    segments: bool
    wholes: bool
    follows: bool


OPERATION: Final = 0xFF
"""The bits of a question that say how it compares."""


def question(row: int, value: int | float, row_of: Callable[[int], tuple[int, Any, Any]]) -> int:
    """A question as a number, which is hardly ever that of another one.

    Args:
        row: of the condition, in the recording.
        value: the condition as a numbered value.
        row_of: gives the operation of a value, and its operands.
    """
    if isinstance(value, float):
        return row << 24
    code, a, b = row_of(value)
    compared = hash((_operand(a, row_of), _operand(b, row_of)))
    return row << 24 | (compared & 0xFFFF) << 8 | code & OPERATION


def placed(position: int) -> int:
    """A question, but for how it compares, by how many were asked before it."""
    return position << 8


def _operand(x: Any, row_of: Callable[[int], tuple[int, Any, Any]]) -> Any:
    """What tells an operand from others: a number, or an operation and a number that it takes."""
    if type(x) is not int:
        return x
    code, a, b = row_of(x)
    if code == Row.USER:  # a look-up: the element that the run has found is not that of others
        return code
    number = a if type(a) is float else b
    return (code, number) if type(number) is float else code


class Asked:
    """The questions of the traces so far."""

    def __init__(self) -> None:
        self._traces: list[tuple[tuple[bool, ...], array[int], Form]] = []

    def agrees(self, trace: Trace, forced: tuple[bool, ...]) -> bool:
        """Whether a trace has asked what others did, up to where it parts from them; notes it.

        Args:
            trace: the trace.
            forced: the outcomes that its first questions had to have.
        """
        path, questions, form = trace.path, trace.questions, trace.form
        shared = len(forced)
        if path[:shared] != forced:
            return False
        for other, asked, other_form in reversed(self._traces):
            if form.follows != other_form.follows:
                return False
            if other[: shared - 1] == forced[:-1] and len(other) >= shared:
                while path[shared - 1 : shared] == other[shared - 1 : shared] != ():
                    shared += 1
                one, two = questions[:shared], asked[:shared]
                if form != other_form and not form.follows:  # the rows are others
                    one, two = (array("q", [x & OPERATION for x in y]) for y in (one, two))
                if one != two:
                    return False
                break  # it agrees with all that part from this one earlier
        self._traces.append((path, questions, form))
        return True
