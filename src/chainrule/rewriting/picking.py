"""The one of two values of any kind that a condition picks."""

from __future__ import annotations

from typing import Any, Final

import numpy

from chainrule.comparing import ConditionNode, negated
from chainrule.jit.indices import IndexNode
from chainrule.node import Node
from chainrule.picks import chosen, chosen_whole
from chainrule.whole import LARGEST_WHOLE, WholeNode

from .known import Known


class Unbound:
    """What stands for a variable that has no value, or none that could be picked."""

    def __repr__(self) -> str:
        return "<no value>"


UNBOUND: Final[Any] = Unbound()


def pick(condition: Any, first: Any, second: Any) -> Any:
    """The one of two values that a condition picks; UNBOUND where none could be."""
    if first is second:
        return first
    first, second = [x.traced() if isinstance(x, Known) else x for x in (first, second)]
    kinds = type(first), type(second)
    if kinds[0] is kinds[1]:
        if kinds[0] is tuple:
            if len(first) != len(second):
                return UNBOUND
            parts = [pick(condition, x, y) for x, y in zip(first, second, strict=True)]
            return UNBOUND if any(x is UNBOUND for x in parts) else tuple(parts)
        if kinds[0] in (str, bytes, int, float, bool) and repr(first) == repr(second):
            return first
    if _is_truth(first) and _is_truth(second):
        return _truth(condition, first, second)
    if _is_whole(first) and _is_whole(second):
        return chosen_whole(condition, first, second, IndexNode.of)
    if not (_is_picked(first) and _is_picked(second)):
        return UNBOUND
    return chosen(condition, first, second)


def _truth(condition: Any, first: Any, second: Any) -> Any:
    """The one of two truth values that a condition picks."""
    if isinstance(second, bool):
        return negated(condition) | first if second else condition & first
    if isinstance(first, bool):
        return condition | second if first else negated(condition) & second
    return (condition & first) | (negated(condition) & second)


def _is_truth(x: object) -> bool:
    return isinstance(x, (bool, ConditionNode))


def _is_whole(x: Any) -> bool:
    return isinstance(x, IndexNode) or (type(x) is int and abs(x) <= LARGEST_WHOLE)


def _is_picked(x: Any) -> bool:
    """Whether it is a number, with fractions, that ``where`` may pick."""
    if isinstance(x, Node):
        return not isinstance(x, WholeNode)
    if type(x) is int:
        return abs(x) <= LARGEST_WHOLE
    return type(x) is float or type(x) is numpy.float64
