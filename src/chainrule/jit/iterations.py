"""Indices of loops whose body is traced once: what they look up is a column of the loop."""

from __future__ import annotations

from operator import add, floordiv, mod, mul, sub
from typing import TYPE_CHECKING, Any

import numpy

from chainrule import rules
from chainrule.node import Node
from chainrule.program.nests import Numbers

from .indices import IndexNode

if TYPE_CHECKING:
    from .loops import Iteration


class LoopIndex(IndexNode):
    """A whole number that is known for each iteration of a loop."""

    _numbers: Numbers
    _iteration: Iteration

    @staticmethod
    def at(node: Node, numbers: Numbers, iteration: Iteration) -> LoopIndex:
        """The index that has the value of a node, of some numbers that of the iteration."""
        index = LoopIndex(rules.identity, node._number, node, None, None)
        index._bound = int(abs(numbers).max())
        index._numbers = numbers
        index._iteration = iteration
        return index

    def __index__(self) -> int:
        """It has another one in each iteration: these become parts of the trace, one by one."""
        self._iteration.unroll()

    def columns(self, rows: Any) -> list[Any] | None:
        """The elements of a row, that of the iteration; None where they can't be columns.

        Raises:
            IndexError: if there is no row for some iteration.
        """
        numbers = self._numbers
        wrong = (numbers < -len(rows)) | (numbers >= len(rows))
        if wrong.any():
            raise IndexError(f"index {numbers[wrong][0]} is outside a table of {len(rows)}")
        read = rows[numbers].reshape(len(numbers), -1)
        if not self._iteration.reads(read):
            return None
        return [self._iteration.column(read[:, j]) for j in range(read.shape[1])]

    def _with(self, other: Any, symbol: str, swapped: bool) -> Any:
        """The result of an operator, known for each iteration if both operands are."""
        result = super()._with(other, symbol, swapped)
        if isinstance(other, LoopIndex):
            other = other._numbers if other._iteration is self._iteration else None
        if not isinstance(result, IndexNode) or not isinstance(other, (int, numpy.ndarray)):
            return result
        pair = (other, self._numbers) if swapped else (self._numbers, other)
        return LoopIndex.at(result, _ON_NUMBERS[symbol](*pair), self._iteration)


_ON_NUMBERS = {"+": add, "-": sub, "*": mul, "//": floordiv, "%": mod}
