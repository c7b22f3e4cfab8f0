"""Modules of LLVM's assembly language under construction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from .machine import Machine
from .vector_math import INTRINSICS, is_pure, is_short, symbol

MODULE_COST: Final = 6400  # instructions of a module, about


def vector_type(width: int) -> str:
    """LLVM's type of a vector, or of a number."""
    return "double" if width == 1 else f"<{width} x double>"


class Text(NamedTuple):
    """A module as it is handed to LLVM.

    Args:
        text: in LLVM's assembly language.
        level: how much LLVM is to optimize it: 0 or 2.
        inlined: the vector functions whose definitions belong into it, with their lanes.
    """

    text: str
    level: int
    inlined: list[tuple[str, int]]


class Module:
    """Functions that LLVM gets at a time.

    In LLVM's assembly language the values of a function that have no name are numbered in order.

    Args:
        width: lanes of a vector.
        machine: what to compile for.
        level: how much LLVM is to optimize it.
        take: gets the module when it is full, and at the end.

    Attributes:
        lines: of the functions.
        cost: instructions in them, about.
        functions: the vector functions that all its modules call, with their lanes.
    """

    def __init__(
        self, width: int, machine: Machine, level: int, take: Callable[[Text], None]
    ) -> None:
        self.width = width
        self._machine = machine
        self._level = level
        self._take = take
        self.type = vector_type(width)
        self.functions: set[tuple[str, int]] = set()
        self._begin()

    def _begin(self) -> None:
        self.lines: list[str] = []
        self.cost = 0
        self._declarations: list[str] = []
        self._known: dict[str, str] = {}
        self._inlined: list[tuple[str, int]] = []
        self._functions: dict[tuple[str, int], str] = {}
        self._metadata: list[str] = []
        self._scopes: dict[object, int] = {}
        self._lists: dict[str, int] = {}

    @property
    def optimizes(self) -> bool:
        """Whether LLVM optimizes it."""
        return self._level > 0

    def begin(self, name: str) -> None:
        """Make room for a function."""
        if self.cost >= MODULE_COST:
            self.finish()
        self._known[name] = f"@{name}"

    def finish(self) -> None:
        """Hand over what is there."""
        if self.lines:
            metadata = [f"!{number} = {text}" for number, text in enumerate(self._metadata)]
            text = "\n".join([*self._declarations, *self.lines, *metadata])
            self._take(Text(text, self._level, self._inlined))
            self._begin()

    def declare(self, name: str, result: str, parameters: str, attributes: str = "") -> str:
        """The name of a function, declared in the module."""
        if name not in self._known:
            self._known[name] = f"@{name}"
            self._declarations.append(f"declare {result} @{name}({parameters}){attributes}")
        return self._known[name]

    def function(self, operation: str, parameters: str, result: str = "", width: int = 0) -> str:
        """The name of a vector function, declared in the module.

        Args:
            operation: what it computes.
            parameters: their types.
            result: its type, by default that of vectors.
            width: lanes of its vectors, by default as everywhere.
        """
        width = width or self.width
        known = self._functions.get((operation, width))
        if known is None:
            result = result or vector_type(width)
            if operation in INTRINSICS:
                kind = f"v{width}f64" if width > 1 else "f64"
                known = self.declare(f"llvm.{INTRINSICS[operation]}.{kind}", result, parameters)
            else:
                attributes = ""
                if self.optimizes and is_short(operation):
                    self._inlined.append((operation, width))
                else:
                    self.functions.add((operation, width))
                name = symbol(operation, width, self._machine)
                if self.optimizes and is_pure(operation):
                    attributes = " nounwind willreturn memory(none)"
                known = self.declare(name, result, parameters, attributes)
            self._functions[operation, width] = known
        return known

    def scopes(self, own: object, others: Iterable[object]) -> str:
        """What to append to a load or store, so that LLVM knows what it does not overlap.

        Args:
            own: what it is a part of.
            others: all else in the function.
        """
        mine = self._list([own])
        rest = self._list(others)
        return f",!alias.scope !{mine},!noalias !{rest}"

    def _list(self, keys: Iterable[object]) -> int:
        text = ",".join([f"!{self._scope(key)}" for key in keys])
        if text not in self._lists:
            self._lists[text] = self._append(f"!{{{text}}}")
        return self._lists[text]

    def _scope(self, key: object) -> int:
        if not self._metadata:
            self._append("distinct !{!0}")  # what all scopes belong to
        if key not in self._scopes:
            self._scopes[key] = self._append(f"distinct !{{!{len(self._metadata)},!0}}")
        return self._scopes[key]

    def _append(self, text: str) -> int:
        self._metadata.append(text)
        return len(self._metadata) - 1
