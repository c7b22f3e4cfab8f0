"""What a loop goes through, and what stands for it where one iteration is traced for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy

from chainrule.arrays import NodeArray
from chainrule.jit.indices import IndexArray, TracedArray
from chainrule.jit.inputs import WholeArray
from chainrule.jit.loops import LEAST

from .known import columns_of, stand_in

if TYPE_CHECKING:
    from .once import Loop

THROUGH: Final = (enumerate, reversed, zip)
"""What a loop may go through something else by."""
_ARRAYS: Final = (numpy.ndarray, NodeArray, TracedArray, IndexArray, WholeArray)


class Through:
    """A call of something of THROUGH, before it is made.

    Args:
        function: this.
        args: what it goes through.
        options: its keywords.

    Attributes:
        args: the same.
    """

    def __init__(self, function: Any, args: Sequence[Any], options: dict[str, Any]) -> None:
        self._function = function
        self.args = args
        self._options = options

    def made(self) -> Any:
        """What the call gives."""
        return self._function(*map(plainly, self.args), **self._options)

    def __len__(self) -> int:
        several = self.args if self._function is zip else self.args[:1]
        return min(map(len, several), default=0)

    def row(self, loop: Loop) -> Any:
        """What stands for what an iteration reads."""
        args, options = self.args, self._options
        if self._function is enumerate:
            start = [*args[1:], *options.values()] or [0]
            if len(start) == 1 and type(start[0]) is int:
                count = stand_in(range(start[0], start[0] + loop.trips), loop)
                return count, row(args[0], loop)
        elif self._function is zip:
            if not options.get("strict") or len({*map(len, args)}) == 1:
                return tuple([row(x, loop) for x in args])
        elif len(args) == 1 and type(args[0]) is not Through:
            return row(args[0][::-1], loop)
        return loop.refuse_here("it goes through something in another way")


def parts_of(x: Any) -> list[Any]:
    """What is gone through, also by calls."""
    found = [x]
    for y in found:
        if type(y) is Through:
            found += y.args
    return found


_SIZED: Final = frozenset([range, list, tuple, Through, *_ARRAYS])


def plainly(x: Any) -> Any:
    """What a loop goes through where it is plain."""
    return x.made() if type(x) is Through else x


def is_long(x: Any) -> bool:
    """Whether something has so many items that a loop through it may be long."""
    try:
        return type(x) in _SIZED and len(x) >= LEAST
    except TypeError:  # an array without axes
        return False


def is_read(x: Any) -> bool:
    """Whether a loop may go through something by columns."""
    if isinstance(x, numpy.ndarray):
        return type(x) in _ARRAYS and x.ndim > 0 and (x.dtype == object or x.ndim == 1)
    return type(x) in (range, list, tuple) or (
        type(x) is Through and all(map(is_read, parts_of(x)[1:]))
    )


def row(source: Any, loop: Loop) -> Any:
    """What stands for what an iteration of a loop reads."""
    if type(source) is Through:
        return source.row(loop)
    if isinstance(source, numpy.ndarray) and source.dtype == object:
        return columns_of(source[: loop.trips], loop)
    return stand_in([*source[: loop.trips]], loop)
