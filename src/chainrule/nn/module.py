"""Module: what has parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import UserDict, UserList, deque
from collections.abc import Iterator
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy

from chainrule.backpropagation import zero_grad
from chainrule.jit.references import slots_of
from chainrule.leaves import are_leaves, distinct
from chainrule.node import Node


class Module(ABC):
    """Something with parameters: leaf nodes in its attributes, in any nesting of containers.

    A subclass keeps leaf nodes, other modules, and lists, tuples, deques, dicts and arrays of these
    in its attributes, in any way, and says in ``__call__`` what it computes. Sets, which have no
    order, and objects of other classes are not looked into.
    """

    @abstractmethod
    def __call__(self, *args: Any) -> Any:
        """What the module computes."""

    def named_parameters(self) -> Iterator[tuple[str, Node]]:
        """The parameters with the way to them, such as ``layers.0.neurons.2.bias``.

        The order is that of attributes and elements. A node that occurs twice, a shared weight, is
        one parameter, under its first name.

        Raises:
            ValueError: if two parameters have one name, as the keys 1 and "1" of a dict give.
        """
        named: dict[str, Node] = {}
        seen: set[int] = set()
        for way, nodes, numbered in _found(self):
            for i, node in enumerate(nodes):
                name = f"{way}.{i}"[1:] if numbered else way[1:]
                if id(node) in seen:
                    continue
                if name in named:
                    raise ValueError(
                        f"two parameters of {type(self).__name__} have the name {name!r}: keys are"
                        " taken as text and joined by dots; give a key or attribute another name"
                    )
                seen.add(id(node))
                named[name] = node
        return iter(named.items())

    def parameters(self) -> list[Node]:
        """The parameters, in a fixed order."""
        found: list[Node] = []
        for _, nodes, _ in _found(self):
            found += nodes
        return distinct(found)

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to 0."""
        zero_grad(self.parameters())

    def __repr__(self) -> str:
        """Class and number of parameters."""
        return f"{type(self).__name__}({len(self.parameters())} parameters)"


def _found(root: Module) -> Iterator[tuple[str, list[Node], bool]]:
    """The leaf nodes below a module, without recursion, as often as there are ways to them.

    Each time a way, what is there, and whether it is a list, of nothing but leaves, or one node.
    """
    seen: dict[int, Any] = {}  # by id; kept, so that what is made on the way takes no id of these
    stack: list[tuple[str, Any]] = [("", root)]
    while stack:
        way, value = stack.pop()
        if isinstance(value, Node):
            if not value.operands:
                yield way, [value], False
            continue
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if type(value) is list and are_leaves(value):
            yield way, value, True
        else:
            stack.extend(reversed(_parts(value, way)))


def _parts(value: Any, way: str) -> list[tuple[str, Any]]:
    """What a module or container holds, each with the way to it: ``.name`` or ``.number`` more.

    To an element of an array it is one number for each axis, none if it has no axes.
    """
    if isinstance(value, (list, tuple, deque, UserList)):
        return [(f"{way}.{i}", part) for i, part in enumerate(value)]
    if isinstance(value, Module):
        return [(f"{way}.{name}", part) for name, part in _attributes(value)]
    if isinstance(value, (dict, UserDict, MappingProxyType)):
        return [(f"{way}.{key}", part) for key, part in value.items()]
    if isinstance(value, (numpy.ndarray, numpy.void)) and value.dtype.hasobject:
        array = numpy.asarray(value)  # what a masked array hides is there all the same
        if array.dtype.names is not None:
            return [(f"{way}.{field}", array[field]) for field in array.dtype.names]
        return [(".".join([way, *map(str, at)]), part) for at, part in numpy.ndenumerate(array)]
    return []


def _attributes(module: Module) -> list[tuple[str, Any]]:
    """The attributes of a module, those that classes keep in slots first."""
    slots = [name for name in _slots(type(module)) if hasattr(module, name)]
    return [*[(name, getattr(module, name)) for name in slots], *vars(module).items()]


@lru_cache(maxsize=1000)
def _slots(kind: type) -> list[str]:
    return [name for base in reversed(kind.__mro__) for name in slots_of(base)]
