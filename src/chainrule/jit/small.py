"""Calls with plain arguments, with as little as possible around the machine code.

A small function is called millions of times. Arguments that are floats, tuples and lists of them,
and plain static values are therefore compared with a pattern, their numbers go straight to the
code of the first step, and where one of its guards fails, to that of the step which goes on there.
What fits no pattern takes the general way, as every call does where there is no engine in C:
``_engine/dispatch.c`` is what compares and calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy

from chainrule import trees
from chainrule.engine import ENGINE
from chainrule.tracebacks import keep_users_frames
from chainrule.tracing import PROGRESS

from .statics import EXACT

if TYPE_CHECKING:
    from .arguments import Leaf

SLOT: Final = float
"""What stands for a number in a pattern."""
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
    ENGINE.set_dispatch_hooks(PROGRESS, numpy.float64)


def pattern_of_arguments(structure: Any, leaves: Sequence[Leaf]) -> Any:
    """The pattern of positional arguments; None if they are not plain.

    Args:
        structure: of positional and keyword arguments.
        leaves: what the key keeps of each leaf.
    """
    parts = []
    for leaf in leaves:
        if leaf.kind == "number":
            parts.append(SLOT)
        elif leaf.is_exact:
            parts.append(leaf.value[1])
        else:
            return None
    args, kwargs = trees.unflatten(structure, parts)
    return args if not kwargs and _is_plain(args) else None


def pattern_of_result(layout: trees.Layout) -> Any:
    """The pattern of a result, or the function that makes it of a list of numbers."""
    if not layout.truths and all(shape is None for shape in layout.shapes):
        tree = trees.unflatten(layout.structure, [SLOT] * len(layout.shapes))
        if _is_plain(tree):
            return tree
    return layout.unflatten


def _is_plain(tree: Any, depth: int = 0) -> bool:
    """Whether a tree is made of tuples and lists alone."""
    if type(tree) in (tuple, list):
        return depth < MAX_DEPTH and all(_is_plain(part, depth + 1) for part in tree)
    return tree is SLOT or type(tree) in EXACT
