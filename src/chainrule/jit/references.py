"""What a function or an object refers to, and how to look whether it still does."""

from __future__ import annotations

import dis
import functools
import operator
import sys
import types
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy

from chainrule.rules import Operation

Reference = tuple[partial[Any], Any]
"""A way to look at something, and what was seen there."""

_ATOMS = (
    *(int, float, complex, str, bytes, type(None), numpy.generic, types.CodeType),
    *(types.BuiltinFunctionType, Operation),
)
_LIBRARIES = frozenset([*sys.stdlib_module_names, "chainrule", "numpy", "optree", "scipy"])
"""Packages whose functions and classes refer to nothing of the user's."""


@dataclass(eq=False, repr=False)
class Part:
    """A module as one function uses it: only its attributes that the function names."""

    module: types.ModuleType
    names: frozenset[str]


def is_atom(value: Any) -> bool:
    """Whether a value can't refer to a node."""
    return isinstance(value, _ATOMS) or (
        isinstance(value, numpy.ndarray) and value.dtype.kind != "O"
    )


def wraps(value: Any) -> bool:
    """Whether it is a compiled or transformed function, or the like."""
    return type(value).__module__.startswith("chainrule.") and callable(
        getattr(value, "function", None)
    )


def references(value: Any) -> Iterator[Reference]:
    """What an object refers to: elements, attributes, what a function names or has closed over."""
    if isinstance(value, Part):
        held = vars(value.module)
        for name in sorted(value.names & held.keys()):
            yield _in_module(held, name, value.names)
        return
    if isinstance(value, types.ModuleType) and _is_library(value):
        return
    if isinstance(value, types.FunctionType):
        yield from _of_function(value)
        return
    if isinstance(value, type):
        if not of_library(value):
            yield from _items(value.__dict__)
            yield partial(getattr, value, "__bases__"), value.__bases__
        return
    yield from _elements(value)
    yield from _attributes(value)


def _elements(value: Any) -> Iterator[Reference]:
    if isinstance(value, (list, tuple, deque)):
        for i, part in enumerate(value):
            yield partial(operator.getitem, value, i), part
    elif isinstance(value, dict):
        yield from _items(value)
    elif isinstance(value, (set, frozenset)):
        for part in value:
            yield partial(_member, value, part), part
    elif isinstance(value, numpy.ndarray):
        for i in range(value.size):
            yield partial(operator.getitem, value.flat, i), value.flat[i]


def _attributes(value: Any) -> Iterator[Reference]:
    kind = type(value)
    if wraps(value):
        names: tuple[str, ...] = ("function",)
    elif isinstance(value, types.MethodType):
        names = ("__self__", "__func__")
    elif isinstance(value, functools.partial):
        names = ("func", "args", "keywords")
    elif isinstance(value, property):
        names = ("fget",)
    elif isinstance(value, (staticmethod, classmethod)):
        names = ("__func__",)
    else:
        names = tuple(name for base in kind.__mro__ for name in slots_of(base))
        held = getattr(value, "__dict__", None)
        if isinstance(held, dict):
            yield from _items(held)
        if not of_library(kind):
            yield partial(type, value), kind
    for name in names:
        if hasattr(value, name):
            yield partial(getattr, value, name), getattr(value, name)


def _of_function(function: types.FunctionType) -> Iterator[Reference]:
    for name in ("__defaults__", "__kwdefaults__"):
        value = getattr(function, name)
        if value:
            yield partial(getattr, function, name), value
    yield from _items(function.__dict__)
    for cell in function.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:  # it is assigned later
            continue
        yield partial(getattr, cell, "cell_contents"), value
    if of_library(function):
        return
    names = frozenset(_names(function.__code__))
    for name in sorted(globals_of(function.__code__) & function.__globals__.keys()):
        yield _in_module(function.__globals__, name, names)


def _in_module(held: dict[str, Any], name: str, names: frozenset[str]) -> Reference:
    value = held[name]
    if isinstance(value, types.ModuleType):
        if _is_library(value):
            return partial(operator.getitem, held, name), None
        return partial(operator.getitem, held, name), Part(value, names)
    return partial(operator.getitem, held, name), value


def globals_of(code: types.CodeType) -> set[str]:
    """The globals that a function names."""
    found = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= globals_of(constant)
    return found


def _names(code: types.CodeType) -> Iterator[str]:
    """These, and the attributes that it names."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _items(held: Any) -> Iterator[Reference]:
    for key, part in list(held.items()):
        yield partial(operator.getitem, held, key), part


def _member(values: Any, value: Any) -> Any:
    return value if value in values else None


def slots_of(kind: type) -> tuple[str, ...]:
    """The attributes that a class itself keeps in slots."""
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    private = "_" + kind.__name__.lstrip("_")
    return tuple(
        private + name if name.startswith("__") and not name.endswith("__") else name
        for name in names
        if name not in ("__dict__", "__weakref__")
    )


def _is_library(module: types.ModuleType) -> bool:
    return module.__name__.split(".")[0] in _LIBRARIES


def of_library(value: Any) -> bool:
    """Whether a function or class is of a package that refers to nothing of the user's."""
    return (getattr(value, "__module__", None) or "").split(".")[0] in _LIBRARIES
