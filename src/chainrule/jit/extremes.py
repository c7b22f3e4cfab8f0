"""The largest and the smallest element of a whole array: a loop, of which one iteration is traced.

So they are found without a node for each element.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from chainrule.array_elements import ELEMENTS
from chainrule.node import Node

from .loops import Iteration

if TYPE_CHECKING:
    from .inputs import WholeArray
    from .trace import Recorder

LEAST: Final = 20_000
"""Elements below which an array is gone through as it is."""


def extreme(recorder: Recorder, array: WholeArray, ufunc: Any) -> tuple[Node] | None:
    """What a ufunc reduces a whole array to; None where its nodes are to be made.

    Args:
        recorder: of the trace.
        array: the array.
        ufunc: ``numpy.maximum`` or ``numpy.minimum``.
    """
    if array.ndim != 1 or array.size < LEAST or array.holds_indices() or recorder.iterations:
        return None
    number = float(ufunc.reduce(array.values()))
    if number == 0.0:
        return None  # which zero it is depends on their order
    iteration = Iteration(recorder, array.size - 1, [array[0]])
    x = iteration.column(array[1:])
    (found,) = iteration.end([ELEMENTS[ufunc](iteration.carries[0], x)], [], [number])
    return (found,)
