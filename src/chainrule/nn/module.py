"""Module: what has parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy

from chainrule.backpropagation import zero_grad
from chainrule.node import Node


class Module(ABC):
    """Something with parameters: leaf nodes in its attributes, in any nesting of containers.

    A subclass keeps leaf nodes, other modules, and lists, tuples, dicts and arrays of these in its
    attributes, in any way, and says in ``__call__`` what it computes.
    """

    @abstractmethod
    def __call__(self, *args: Any) -> Any:
        """What the module computes."""

    def named_parameters(self) -> Iterator[tuple[str, Node]]:
        """The parameters with the way to them, such as ``layers.0.neurons.2.bias``.

        A node that occurs twice, a shared weight, is one parameter, under its first name.
        """
        return _found(self)

    def parameters(self) -> list[Node]:
        """The parameters, in a fixed order."""
        return [node for _, node in _found(self)]

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to 0."""
        zero_grad(self.parameters())

    def __repr__(self) -> str:
        """Class and number of parameters."""
        return f"{type(self).__name__}({len(self.parameters())} parameters)"


def _found(root: Module) -> Iterator[tuple[str, Node]]:
    """The leaf nodes below a module with their names, without recursion, each once."""
    seen: set[int] = set()
    stack: list[tuple[str, Any]] = [("", root)]
    while stack:
        name, value = stack.pop()
        if isinstance(value, Node):
            if id(value) not in seen and not value.operands:
                seen.add(id(value))
                yield name, value
            continue
        parts = _parts(value)
        if not parts or id(value) in seen:
            continue
        seen.add(id(value))
        prefix = f"{name}." if name else ""
        stack.extend((f"{prefix}{key}", part) for key, part in reversed(parts))


def _parts(value: Any) -> list[tuple[str, Any]]:
    """What a module or container holds, by name."""
    if isinstance(value, Module):
        return [(key, part) for key, part in vars(value).items() if _may_hold(part)]
    if isinstance(value, dict):
        return [(str(key), part) for key, part in value.items()]
    if isinstance(value, (list, tuple)):
        return [(str(i), part) for i, part in enumerate(value)]
    if isinstance(value, numpy.ndarray) and value.dtype == object:
        return [(str(i), part) for i, part in enumerate(value.tolist())]
    return []


def _may_hold(value: Any) -> bool:
    return isinstance(value, (Node, Module, dict, list, tuple, numpy.ndarray))
