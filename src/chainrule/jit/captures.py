"""What a compiled function uses from outside, and whether it is still the same."""

from __future__ import annotations

import operator
import types
from collections import deque
from collections.abc import Callable, Hashable, Sequence, Sized
from functools import partial
from typing import Any, NamedTuple

from chainrule.node import Node
from chainrule.rules import Operation, described
from chainrule.transforms import Transformed

from .references import Part, Reference, is_atom, references, wraps
from .statics import exactly

MAX_OBJECTS = 200_000
"""How many objects are searched for the captured nodes."""


class Watch:
    """Notices when a function is bound to other nodes than those that its trace captured.

    Watched are all ways from the function, and from the static values among its arguments, to each
    captured node: closure cells, globals, containers, attributes; and the functions that it names.

    Args:
        function: the function that was traced.
        captured: the nodes from outside that it used.
        arguments: the static values with which it was called.
        operations: those of the user's that it used. What they read from elsewhere is watched too:
            their values are computed in each call, but their local gradients were recorded.

    Attributes:
        unseen: the captured nodes to which no way was found.
        hidden: what an operation reads that can't be watched, as the end of a sentence.
    """

    def __init__(
        self,
        function: Any,
        captured: Sequence[Node],
        arguments: Sequence[Any] = (),
        operations: Sequence[Operation] = (),
    ) -> None:
        search = _Search([function, *arguments], deep=bool(captured))
        self._looks = search.functions
        self._sizes: list[tuple[Sized, int]] = []
        self._keys: list[tuple[Any, list[Any]]] = []
        self._read: list[tuple[Callable[[], Any], Hashable]] = []
        self.hidden = ""
        for operation in operations:
            self._watch_reads(operation)
        self.unseen = [node for node in captured if id(node) not in search.ways]
        reached: set[int] = set()
        todo = [id(node) for node in captured if id(node) in search.ways]
        by_holder: dict[int, list[Way]] = {}
        while todo:
            number = todo.pop()
            if number not in reached:
                reached.add(number)
                for way in search.ways[number]:
                    by_holder.setdefault(id(way.holder), []).append(way)
                    todo.append(id(way.holder))
        for ways in by_holder.values():
            self._watch(ways[0].holder, ways)

    def _watch(self, holder: Any, ways: Sequence[Way]) -> None:
        """Look at all that one object refers to on a way to a captured node."""
        if isinstance(holder, (list, tuple)) and len(ways) == len(holder):
            self._looks.append((partial(_unchanged, holder, list(holder)), True))
        else:
            self._looks.extend([(way.look, way.value) for way in ways])
        if isinstance(holder, (list, deque)):
            self._sizes.append((holder, len(holder)))
        elif isinstance(holder, (dict, set)):  # the order counts, a loop goes by it
            self._keys.append((holder, list(holder)))
        elif not isinstance(holder, (types.FunctionType, Part)):
            held = getattr(holder, "__dict__", None)  # a new attribute may hide one of the class
            if isinstance(held, types.MappingProxyType):
                self._sizes.append((held, len(held)))
            elif isinstance(held, dict):
                self._keys.append((held, list(held)))

    def _watch_reads(self, operation: Operation) -> None:
        """Watch what the functions of an operation read: globals, closure cells, defaults."""
        todo: list[Any] = [operation.value, *operation.local_grads]
        seen: dict[int, Any] = {}  # by id; kept, so that no two have one id
        while todo:
            holder = todo.pop()
            if id(holder) in seen:
                continue
            seen[id(holder)] = holder
            if not _is_code(holder):
                self._watch_state(operation, partial(_itself, holder))
                if callable(holder):
                    todo.append(type(holder).__call__)
                continue
            for look, part in references(holder):
                if _is_code(part):
                    self._looks.append((look, part.module if isinstance(part, Part) else part))
                    todo.append(part)
                elif part is not None or not isinstance(look(), types.ModuleType):
                    self._watch_state(operation, look)

    def _watch_state(self, operation: Operation, look: Callable[[], Any]) -> None:
        value = look()
        try:
            self._read.append((look, exactly(value)))
        except TypeError:
            self.hidden = (
                f"the operation {operation.name} reads {described(value)}, whose changes can't be"
                " seen"
            )

    @property
    def nothing(self) -> bool:
        """Whether there is nothing that could change."""
        return not (self._looks or self._read)

    def split(self) -> tuple[tuple[tuple[Any, ...], ...], Callable[[], bool] | None]:
        """What ``changed`` does: looks, and a function where there is more to it.

        A look is a function, its arguments, and what it has to give.
        """
        if self._sizes or self._keys or self._read:
            return (), self.changed
        return tuple([(look.func, look.args, value) for look, value in self._looks]), None

    def changed(self) -> bool:
        """Whether something that leads to a captured node is another object now."""
        try:
            for look, value in self._looks:
                if look() is not value:
                    return True
            for holder, size in self._sizes:
                if len(holder) != size:
                    return True
            for holder, keys in self._keys:
                if not _unchanged(list(holder), keys):
                    return True
            for read, known in self._read:
                if exactly(read()) != known:
                    return True
        except (LookupError, AttributeError, ValueError, TypeError):
            return True
        return False


def _itself(value: Any) -> Any:
    return value


def _unchanged(values: Sequence[Any], seen: Sequence[Any]) -> bool:
    return len(values) == len(seen) and all(map(operator.is_, values, seen))


class Way(NamedTuple):
    """A step on the way to an object.

    Attributes:
        holder: what refers to the next object.
        look: gives it.
        value: what it gave.
    """

    holder: Any
    look: partial[Any]
    value: Any


class _Search:
    """All objects that some objects lead to.

    Args:
        roots: where it starts.
        deep: whether it looks into objects, or only at functions.

    Attributes:
        ways: by the id of an object, the last steps of the ways to it.
        functions: looks from functions at the functions that they name.
    """

    def __init__(self, roots: Sequence[Any], deep: bool) -> None:
        self.ways: dict[int, list[Way]] = {}
        self.functions: list[Reference] = []
        self._kept: list[Any] = []  # so that no two objects have one id
        todo = [root for root in roots if not is_atom(root)]
        self.ways.update({id(root): [] for root in todo})
        while todo and len(self._kept) < MAX_OBJECTS:
            holder = todo.pop()
            if isinstance(holder, Node):
                continue
            self._kept.append(holder)
            code = _is_code(holder)
            if not (deep or code):
                continue
            for look, part in references(holder):
                if is_atom(part):
                    continue
                fixed = isinstance(holder, Transformed)
                if code and not fixed and isinstance(part, types.FunctionType):
                    self.functions.append((look, part))
                if id(part) not in self.ways:
                    self.ways[id(part)] = []
                    todo.append(part)
                value = part.module if isinstance(part, Part) else part
                self.ways[id(part)].append(Way(holder, look, value))


def _is_code(value: Any) -> bool:
    """Whether it is a function, or stands for one."""
    kinds = (types.FunctionType, types.MethodType, partial, Part)
    return isinstance(value, kinds) or wraps(value)
