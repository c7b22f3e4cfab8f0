"""Plain numbers in loops that are traced once: there they are nodes, of which Python asks more.

A division of two floats by 0.0 raises an exception, one of nodes gives infinity. Which values of an
iteration are plain numbers in a plain loop is seen by what they are computed of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy

from chainrule import rules
from chainrule.jit.iterations import LoopIndex
from chainrule.node import Node
from chainrule.whole import WholeNode

_RAISING: Final = (rules.divide, rules.floor_divide, rules.mod, rules.power)
"""What raises an exception for some floats."""


class PlainNumbers:
    """Which nodes of an iteration may be plain numbers, in some iteration.

    Args:
        known: what stands for plain numbers in the loops that are open and what comes of others, by
            id, with all these numbers where they are known.
        since: the number of a node; those that are older are nodes in plain loops too.
        carries: what stands for what one iteration hands to the next.
        first: whether what the first iteration is handed are plain numbers.
        after: what it hands on.
        others: what else it computes.
    """

    def __init__(
        self,
        known: Mapping[int, tuple[Node, Any]],
        since: int,
        carries: Sequence[Node],
        first: Sequence[bool],
        after: Sequence[Any],
        others: Sequence[Any],
    ) -> None:
        self._known = known
        self._since = since
        self._found: dict[int, bool] = {id(x): plain for x, plain in zip(carries, first, strict=True)}
        own = set(self._found)
        nodes = self._inside([*after, *others])
        changed = True
        while changed:
            changed = False
            for x in nodes:
                if id(x) not in own:
                    self._found[id(x)] = self._is_plain(x)
            for x, y in zip(carries, after, strict=True):
                if not self._found[id(x)] and self.holds(y):
                    self._found[id(x)] = changed = True
        self._nodes = nodes

    def _inside(self, roots: Sequence[Any]) -> list[Node]:
        """What values are computed of, in order."""
        found: dict[int, Node] = {}
        waiting = [x for x in roots if isinstance(x, Node)]
        for x in waiting:
            if id(x) in found or x._serial < self._since:
                continue
            found[id(x)] = x
            if id(x) not in self._known and not isinstance(x, WholeNode):
                waiting += [y for y in x.operands if isinstance(y, Node)]
        return sorted(found.values(), key=lambda x: x._serial)

    def holds(self, x: Any) -> bool:
        """Whether something may be a plain number."""
        if not isinstance(x, Node) or isinstance(x, WholeNode) or id(x) in self._known:
            return True
        return self._found.get(id(x), False)

    def _is_plain(self, x: Node) -> bool:
        if isinstance(x, WholeNode) or id(x) in self._known:
            return True
        return bool(x.operands) and all(map(self.holds, x.operands))

    def may_raise(self) -> bool:
        """Whether an operation may raise an exception that is none of nodes."""
        return any(
            x._operation in _RAISING and all(map(self.holds, x.operands)) and not self._is_safe(x)
            for x in self._nodes
        )

    def _is_safe(self, x: Node) -> bool:
        first, second = x.operands
        if x._operation is not rules.power:
            return bool(self._least(second))
        numbers = self._numbers(first)
        if isinstance(second, Node) or numbers is None:
            return False
        with numpy.errstate(all="ignore"):
            return bool(numpy.isfinite(numpy.power(numbers, second)).all())

    def _least(self, x: Any) -> Any:
        """The least absolute value of a number; 0 where it is not known."""
        numbers = self._numbers(x)
        return 0 if numbers is None else abs(numbers).min(initial=1.0)

    def _numbers(self, x: Any) -> Any:
        """All numbers that something is, as floats; None where they are not known."""
        if not isinstance(x, Node):
            return numpy.array([float(x)])
        if isinstance(x, LoopIndex):
            return x._numbers.astype(numpy.float64)
        return self._known[id(x)][1] if id(x) in self._known else None
