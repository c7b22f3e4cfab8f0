"""Sorting where a trace records: by comparing and exchanging neighbours, without a branch.

Which element comes where is picked by comparisons of the run, so that one trace holds for all
orders. Elements that are equal stay in theirs, as wherever Python and NumPy sort.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any, Final

from chainrule.comparing import negated
from chainrule.node import Node
from chainrule.picks import chosen
from chainrule.tracing import PROGRESS
from chainrule.whole import WholeNode

LONGEST: Final = 64
"""Longer lists are sorted by branches: there are half as many comparisons as its length squared."""

Exchange = Callable[[Any, Any], Any]
"""Whether two neighbours must change places."""


def exchanged(columns: list[list[Any]], exchange: Exchange) -> None:
    """Sort lists of one length in place, all as the first demands."""
    keys = columns[0]
    for end in range(len(keys) - 1, 0, -1):
        for i in range(end):
            swap = exchange(keys[i], keys[i + 1])
            for column in columns:
                a, b = column[i], column[i + 1]
                column[i], column[i + 1] = chosen(swap, b, a), chosen(swap, a, b)


def with_nan_last(a: Any, b: Any) -> Any:
    """Whether NumPy puts b before a, which stands before it."""
    return negated(a <= b) & (b == b)


def sorted_of(values: Iterable[Any], /, *, key: Any = None, reverse: Any = False) -> Any:
    """``sorted`` of Python.

    Where there is a NaN, what it gives hangs on the way it goes: that way is gone, by branches.
    """
    items = list(values)
    keys = items if key is None else [key(x) for x in items]
    columns = [list(keys)] if key is None else [list(keys), items]
    picks = 1 < len(items) <= LONGEST and _are_traced(keys) and _are_numbers(items)
    if picks and reduce(lambda so_far, x: so_far & (x == x), keys, True):
        exchanged(columns, (lambda a, b: a < b) if reverse else (lambda a, b: b < a))
        return columns[-1]
    order = builtins.sorted(range(len(items)), key=keys.__getitem__, reverse=reverse)
    return [items[i] for i in order]


def _are_traced(keys: list[Any]) -> bool:
    return PROGRESS.recorder is not None and _are_numbers(keys) and any(_is_node(x) for x in keys)


def _are_numbers(values: list[Any]) -> bool:
    return all(_is_node(x) or type(x) is float for x in values)


def _is_node(x: Any) -> bool:
    return isinstance(x, Node) and not isinstance(x, WholeNode)
