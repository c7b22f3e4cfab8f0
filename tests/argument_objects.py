"""Objects to pass as arguments, and numbers for what is seen of them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any

import optree


class Plain:
    """An object with attributes."""

    def __init__(self, value: Any = 1.0) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Plain({self.value!r})"


class Slotted:
    """An object with slots, one of them private."""

    __slots__ = ("__value",)

    def __init__(self, value: Any = 1.0) -> None:
        self.__value = value

    def __repr__(self) -> str:
        return f"Slotted({self.__value!r})"

    def put(self, value: Any) -> None:
        """Change it."""
        self.__value = value


@dataclass
class Changing:
    """A dataclass that can change."""

    value: Any = 1.0


@dataclass(frozen=True)
class Frozen:
    """A dataclass that can't."""

    value: Any = 1.0


class OwnList(list[Any]):
    """A subclass of a list, with an attribute."""

    extra: Any = 0


class OwnDict(dict[Any, Any]):
    """A subclass of a dict."""


class OwnInt(int):
    """A subclass of int, with an attribute."""

    extra: Any = 0


class Color(Enum):
    """Names."""

    RED = 1
    GREEN = 2


class Size(IntEnum):
    """Names that are whole numbers."""

    ONE = 1


class Registered:
    """A tree with metadata."""

    def __init__(self, number: Any, metadata: Any) -> None:
        self.number, self.metadata = number, metadata

    def __repr__(self) -> str:
        return f"Registered({self.metadata!r})"


register: Any = optree.register_pytree_node
register(
    Registered,
    lambda r: ((r.number,), r.metadata),
    lambda metadata, children: Registered(children[0], metadata),
    namespace="chainrule",
)


def code_of(value: Any) -> float:
    """A number for the text of a value."""
    return float(zlib.crc32(repr(value).encode()))


def weighted(values: Any) -> Any:
    """A number that depends on the order."""
    total: Any = 0.0
    for value in values:
        total = 3.0 * total + value
    return total
