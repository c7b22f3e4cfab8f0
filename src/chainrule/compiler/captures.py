"""What a compiled function uses from outside, and whether it is still the same."""

from __future__ import annotations

import operator
import types
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy

from chainrule.node import Node

MAX_DEPTH = 8
"""How deep containers and objects are searched for the captured nodes."""


class Watch:
    """Notices when a function is bound to other nodes than those that its trace captured.

    Watched are the function's closure cells and the globals it names, and the way from them through
    lists, tuples, dicts and attributes to each captured node.

    Args:
        function: the function that was traced.
        captured: the nodes from outside that it used.
    """

    def __init__(self, function: Any, captured: Sequence[Node]) -> None:
        self._looks: list[tuple[Callable[[], Any], Any]] = []
        wanted = set(captured)
        seen: set[int] = set()
        for look, value in _roots(function, set()):
            found = self._search(value, wanted, seen, MAX_DEPTH) if wanted else False
            if found or isinstance(value, (Node, types.FunctionType)):
                self._looks.append((look, value))

    @property
    def nothing(self) -> bool:
        """Whether there is nothing that could change."""
        return not self._looks

    def changed(self) -> bool:
        """Whether something that leads to a captured node is another object now."""
        for look, value in self._looks:
            try:
                if look() is not value:
                    return True
            except (KeyError, IndexError, AttributeError, ValueError):
                return True
        return False

    def _search(self, value: Any, wanted: set[Node], seen: set[int], depth: int) -> bool:
        """Whether a value leads to a captured node; the ways to them are watched."""
        if isinstance(value, Node):
            return value in wanted
        if depth == 0 or id(value) in seen or isinstance(value, (str, bytes, type)):
            return False
        seen.add(id(value))
        found = False
        for look, part in _parts(value):
            if self._search(part, wanted, seen, depth - 1):
                self._looks.append((look, part))
                found = True
        return found


def _roots(function: Any, seen: set[int]) -> Iterator[tuple[Callable[[], Any], Any]]:
    """What a function refers to: closure cells, globals it names, the object it is bound to."""
    if id(function) in seen:
        return
    seen.add(id(function))
    if isinstance(function, types.MethodType):
        yield partial(getattr, function, "__self__"), function.__self__
        yield from _roots(function.__func__, seen)
        return
    if not isinstance(function, types.FunctionType):
        inner = getattr(function, "function", None) or getattr(function, "func", None)
        if inner is not None and callable(inner):
            yield from _roots(inner, seen)
        elif hasattr(function, "__dict__"):
            yield partial(_same, function), function
        return
    for cell in function.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:
            continue
        yield partial(getattr, cell, "cell_contents"), value
        if callable(value):
            yield from _roots(value, seen)
    names = function.__globals__
    for name in _names(function.__code__):
        if name in names:
            value = names[name]
            if isinstance(value, types.ModuleType):
                continue
            yield partial(operator.getitem, names, name), value
            if callable(value) and not isinstance(value, type):
                yield from _roots(value, seen)
    for value in function.__defaults__ or ():
        yield partial(_same, value), value


def _same(value: Any) -> Any:
    return value


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _parts(value: Any) -> Iterator[tuple[Callable[[], Any], Any]]:
    """What an object holds, each with a way to look at it again."""
    if isinstance(value, (list, tuple)):
        for i, part in enumerate(value):
            yield partial(operator.getitem, value, i), part
    elif isinstance(value, dict):
        for key, part in value.items():
            yield partial(operator.getitem, value, key), part
    elif isinstance(value, numpy.ndarray):
        if value.dtype == object:
            for i in range(value.size):
                yield partial(operator.getitem, value.flat, i), value.flat[i]
    elif isinstance(value, (types.ModuleType, types.FunctionType, types.BuiltinFunctionType)):
        return
    else:
        held = getattr(value, "__dict__", None)
        if isinstance(held, dict):
            for key, part in held.items():
                yield partial(operator.getitem, held, key), part
