"""Python's picks on nodes, without a branch: what ``max``, ``min``, ``any`` and ``all`` do.

They give what Python gives: of equal operands the first, and of NaN what its comparisons make of
it. All that a derivative sends goes to the operand that is picked.
"""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable, Iterable
from typing import Any

from chainrule import rules
from chainrule.comparing import ConditionNode
from chainrule.node import Node, apply
from chainrule.whole import LARGEST_WHOLE, WholeNode


def max_of(*args: Any, **options: Any) -> Any:
    """``max`` of Python."""
    return _extreme(builtins.max, args, options, lambda x, found: x > found)


def min_of(*args: Any, **options: Any) -> Any:
    """``min`` of Python."""
    return _extreme(builtins.min, args, options, lambda x, found: x < found)


def _extreme(
    builtin: Callable[..., Any],
    args: tuple[Any, ...],
    options: dict[str, Any],
    better: Callable[[Any, Any], Any],
) -> Any:
    if not args or not {"key"}.issuperset(options):
        return builtin(*args, **options)
    values: list[Any] = []
    keys: list[Any] = []
    key = options.get("key")
    for x in args if len(args) > 1 else args[0]:
        values.append(x)
        keys.append(x if key is None else key(x))
    if _is_numeric(values) and (key is None or _is_numeric(keys)):
        pick = chosen
    elif key is None and _is_whole(values):
        traced: Any = next(type(x) for x in values if type(x) is not int)
        pick = functools.partial(chosen_whole, of=traced.standing_for)
    elif key is None or not values:
        return builtin(values)
    else:
        return values[builtin(range(len(values)), key=keys.__getitem__)]
    found, best = values[0], keys[0]
    for x, its in zip(values[1:], keys[1:], strict=True):
        condition = better(its, best)
        found = pick(condition, x, found)
        best = found if key is None else chosen(condition, its, best)
    return found


def _is_whole(values: Iterable[Any]) -> bool:
    """Whether all are whole numbers that floats can be, and some are those of a trace."""
    kinds = set(map(type, values))
    traced = [kind for kind in kinds if hasattr(kind, "standing_for")]
    return (
        bool(traced)
        and kinds.issubset([*traced, int])
        and not any(type(x) is int and abs(x) > LARGEST_WHOLE for x in values)
    )


def chosen_whole(condition: Any, first: Any, second: Any, of: Callable[[Any, Any], Any]) -> Any:
    """The one of two whole numbers that a condition picks.

    Args:
        condition: picks the first.
        first: a whole number.
        second: another one.
        of: gives what stands for a node that is one, with a bound of its absolute value or None.
    """
    if not isinstance(condition, ConditionNode):
        return first if condition else second
    bounds = [abs(x) if type(x) is int else x._bound for x in (first, second)]
    return of(chosen(condition, first, second), None if None in bounds else max(bounds))


def _is_numeric(values: Iterable[Any]) -> bool:
    """Whether all are nodes, or numbers that floats can be, and some are nodes."""
    kinds = set(map(type, values))
    nodes = [x for x in kinds if issubclass(x, Node) and not issubclass(x, WholeNode)]
    return (
        bool(nodes)
        and kinds.issubset([*nodes, float, int])
        and not (int in kinds and any(type(x) is int and abs(x) > LARGEST_WHOLE for x in values))
    )


def chosen(condition: Any, first: Any, second: Any) -> Any:
    """The one of two numbers that a condition picks."""
    if not isinstance(condition, ConditionNode):
        return first if condition else second
    condition.asked = True
    return apply(rules.where, (condition, _number(first), _number(second)))


def _number(x: Any) -> Any:
    return x if isinstance(x, Node) else float(x)


def any_of(values: Iterable[Any]) -> Any:
    """``any`` of Python, without a branch where the values are there already."""
    return _searched(values, builtins.any, True, lambda x, found: found | x)


def all_of(values: Iterable[Any]) -> Any:
    """``all`` of Python, without a branch where the values are there already."""
    return _searched(values, builtins.all, False, lambda x, found: found & x)


def _searched(
    values: Iterable[Any],
    builtin: Callable[[Iterable[Any]], bool],
    wanted: bool,
    combined: Callable[[Any, Any], Any],
) -> Any:
    """Whether a truth value is among some."""
    if not isinstance(values, (list, tuple)):
        return builtin(values)
    found: Any = None
    for x in values:
        if isinstance(x, ConditionNode):
            found = x if found is None else combined(x, found)
        elif bool(x) is wanted:
            return wanted
    return (not wanted) if found is None else found
