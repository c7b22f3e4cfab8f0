"""Arguments as a function gets them: arrays read-only, lists and dicts as copies of its own.

So it is under every transformation, eager or compiled: what a function did to its arguments would
be done once for a trace, once for each lane, or to copies, and never as often as its caller thinks.
A copy that was changed is therefore an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

import numpy

from chainrule import trees
from chainrule.engine import ENGINE
from chainrule.tracing import PROGRESS

_SIMPLE = trees.PLAIN | {int, bool, str, type(None)}


def called(
    function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], name: str
) -> Any:
    """The result of a function that is handed some arguments.

    Args:
        function: the function.
        args: the positional arguments, as the caller gave them.
        kwargs: the others.
        name: what to call the function in a message.

    Raises:
        TypeError: if it changes one of them.
    """
    return _handed_over(form_of(function), args, kwargs, name)


def _handed_over(
    function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], name: str
) -> Any:
    """The same, of the function in the form in which it runs."""
    if not kwargs and _SIMPLE.issuperset(map(type, args)):
        return function(*args)
    copies: list[_Copy] = []
    given = [_handed(arg, i, copies) for i, arg in enumerate(args)]
    named = kwargs and {key: _handed(arg, key, copies) for key, arg in kwargs.items()}
    result = function(*given, **named)
    for own in copies:
        own.check(name)
    return result


def form_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function in the form in which it runs: another one where a trace records it."""
    recorder = PROGRESS.recorder or PROGRESS.log
    return function if recorder is None else recorder.form_of(function)


def _handed(tree: Any, place: int | str, copies: list[_Copy]) -> Any:
    """An argument as a function gets it."""
    if _is_simple(tree):
        return tree
    if isinstance(tree, numpy.ndarray):
        return handed_array(tree)
    if type(tree) is list and all(map(_is_simple, tree)):
        copies.append(_Copy([*tree], [*tree], None, place))
        return copies[-1].tree
    leaves, structure = trees.leaves_of(tree)
    if structure.is_leaf():  # another object
        return tree
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, numpy.ndarray):
            leaves[i] = handed_array(leaf)
    copies.append(_Copy(trees.unflatten(structure, leaves), leaves, structure, place))
    return copies[-1].tree


def _is_simple(x: Any) -> bool:
    """Whether it is something that never changes, or a tuple of this."""
    return type(x) in _SIMPLE or (type(x) is tuple and _SIMPLE.issuperset(map(type, x)))


def handed_array(array: Any) -> Any:
    """An array read-only; one of no axes is a number."""
    if array.ndim == 0 and array.dtype.kind in "fiubO":
        return float(array) if array.dtype.kind == "f" else array.item()
    if not array.flags.writeable:
        return array
    own = array.view()
    own.flags.writeable = False
    return own


class _Copy:
    """A list, dict or other tree that a function was handed.

    Args:
        tree: the copy.
        leaves: what it holds.
        structure: how; None for a list of what never changes.
        place: which argument it is.
    """

    def __init__(self, tree: Any, leaves: list[Any], structure: Any, place: int | str) -> None:
        self.tree = tree
        self._leaves = leaves
        self._structure = structure
        self._place = place

    def check(self, function: str) -> None:
        """Raise TypeError if it is no longer as it was."""
        if self._structure is None:
            if len(self.tree) == len(self._leaves) and all(map(is_, self.tree, self._leaves)):
                return
            self._leaves, self._structure = trees.leaves_of(self._leaves)
        leaves, structure = trees.leaves_of(self.tree)
        if structure == self._structure and (
            all(map(is_, leaves, self._leaves)) or all(map(_same, leaves, self._leaves))
        ):
            return
        which = self._place + 1 if isinstance(self._place, int) else self._place
        raise TypeError(
            f"{function} has changed argument {which}, of which it had a copy: lists and dicts that"
            " are arguments must stay as they are; make a list(...) or dict(...) of your own, and"
            " return it if it is a result"
        )


def _same(x: Any, y: Any) -> bool:
    """Whether it is the same leaf, or one that taking a tree apart has made anew."""
    if x is y:
        return True
    if type(x) is not type(y):
        return False
    if isinstance(x, numpy.ndarray):
        return x.shape == y.shape and all(map(_same, x.ravel().tolist(), y.ravel().tolist()))
    return isinstance(x, (float, int)) and (x == y or (x != x and y != y))


if ENGINE is not None:
    ENGINE.set_handover(
        _handed_over, lambda name, place, tree, kept: _Copy(tree, kept, None, place).check(name)
    )
    _handed_over = ENGINE.handed_over
