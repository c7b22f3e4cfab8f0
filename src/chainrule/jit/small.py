"""Calls with plain arguments, with as little as possible around the machine code.

A small function is called millions of times. Arguments that are floats, arrays of them, tuples and
lists of these, and plain static values are therefore compared with a pattern, their numbers go
straight to the code of the first step, and where one of its guards fails, to that of the step which
goes on there.
What fits no pattern takes the general way, as every call does where there is no engine in C:
``_engine/dispatch.c`` is what compares and calls.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy

from chainrule import trees
from chainrule.backends.llvm import pool
from chainrule.engine import ENGINE
from chainrule.tracebacks import keep_users_frames

if TYPE_CHECKING:
    from .arguments import Leaf

SLOT: Final = float
"""What stands for a number in a pattern; for an array it is the engine's Array of its shape."""
MAX_DEPTH: Final = 16
"""Of tuples and lists in a pattern."""
MAX_SMALL: Final = 16
"""Kinds of plain arguments that a compiled function knows at a time."""


class _Dispatch:
    """What a compiled function is called by.

    Attributes:
        calls: how often it was called.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._small: list[Any] = []  # of the engine's SmallCall

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """The result for these arguments."""
        try:
            return self._general(args, kwargs)
        except BaseException as error:  # not a boundary, which costs a call
            keep_users_frames(error)
            raise

    def _general(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result, whatever the arguments are."""
        raise NotImplementedError


if ENGINE is None or TYPE_CHECKING:
    Dispatch = _Dispatch
else:
    Dispatch = ENGINE.Dispatch
    ENGINE.set_dispatch_hooks(numpy.float64, numpy.ndarray, getattr, operator.getitem)


def pattern_of_arguments(structure: Any, leaves: Sequence[Leaf]) -> Any:
    """The pattern of positional arguments; None if they are not plain.

    Args:
        structure: theirs.
        leaves: what the key keeps of each leaf.
    """
    parts: dict[int, Any] = {}
    for leaf in {id(leaf): leaf for leaf in leaves}.values():
        if leaf.kind == "number":
            parts[id(leaf)] = SLOT
        elif leaf.kind == "array" and ENGINE is not None:
            parts[id(leaf)] = ENGINE.Array(leaf.shape)
        elif leaf.is_exact:
            parts[id(leaf)] = leaf.value[1]
        else:
            return None
    return _plain(structure, [*map(parts.__getitem__, map(id, leaves))])


def pattern_of_result(layout: trees.Layout) -> tuple[Any, Any]:
    """What makes an array of the outputs, None if that need not be; and the pattern of a result.

    Where there is no pattern, the function that makes it of the array or a list of numbers.
    """
    empty = None
    if any(shape is not None for shape in layout.shapes):
        empty = numpy.empty if 8 * layout.size < pool.SMALLEST else pool.empty
    if not layout.truths:
        slots = [SLOT if shape is None else ENGINE.Array(shape) for shape in layout.shapes]
        pattern = _plain(layout.structure, slots)
        if pattern is not None:
            return empty, pattern
    return empty, layout.unflatten if empty is None else layout.unflatten_numbers


def _plain(structure: Any, parts: Sequence[Any]) -> Any:
    """A tree with some leaves; None if it is not made of these, tuples and lists alone."""
    tree = trees.unflatten(structure, parts)
    depth = trees.depth_of(tree, structure)
    return None if depth is None or depth > MAX_DEPTH else tree
