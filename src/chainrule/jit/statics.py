"""Static values: what the key of a compiled function keeps of arguments that are no numbers.

Two values have one key only if a program can't tell them apart: by type, the sign of a zero, the
order of what they hold. An object that can change is known by what it holds at each call, so that
one that has changed compiles anew.
"""

from __future__ import annotations

import struct
import threading
import types
from collections.abc import Callable, Hashable, Sequence
from enum import Enum
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy
import optree

from chainrule import trees
from chainrule.node import Node
from chainrule.rules import Operation, described

from .references import of_library, slots_of, wraps

MAX_PARTS: Final = 100_000
"""How many parts of a static value are looked at."""

EXACT: Final = frozenset([int, bool, str, bytes, type(None)])
"""Types whose values type and == tell apart."""

_BY_IDENTITY: Final = (
    *(Node, type, Enum, types.FunctionType, types.ModuleType, types.WrapperDescriptorType),
    *(types.MethodDescriptorType, numpy.ufunc, numpy.dtype, Operation),
    *(type(threading.Lock()), type(threading.RLock())),
)
_NODES: Final = frozenset([Node])
_POINTER: Final = struct.calcsize("P")


def exactly(value: Any) -> Hashable:
    """What is equal for another value only if the two can't be told apart.

    Raises:
        TypeError: if whether the value has changed can't be seen.
    """
    if type(value) in EXACT:
        return type(value), value
    if isinstance(value, (numpy.integer, numpy.bool_)):
        return type(value), value.item()
    return State(value)


class State:
    """All that an object holds, as it is now: to compare.

    Nodes, functions, classes and modules in it are known by identity.

    Args:
        value: the object.
        cached: whether what its cached properties have computed belongs to it.

    Raises:
        TypeError: if something in it hides what it holds.
    """

    __slots__ = ("_hash", "_kept", "_tokens")

    def __init__(self, value: Any, cached: bool = True) -> None:
        self._kept: list[Any] = []  # so that no two objects have one id
        self._tokens = tuple(_tokens(value, self._kept, cached))
        self._hash = hash(self._tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and other._tokens == self._tokens

    def __hash__(self) -> int:
        return self._hash

    def holds_traced(self) -> bool:
        """Whether a value of a trace or transformation is in it."""
        return any(isinstance(x, Node) and x._level for x in self._kept)


def _tokens(value: Any, kept: list[Any], cached: bool) -> list[Any]:
    """A value in prefix form: for each part its kind, its own data, then its parts in order."""
    tokens: list[Any] = []
    numbers: dict[int, int] = {}  # of the objects seen, by id
    todo = [value]
    while todo:
        x = todo.pop()
        kind = type(x)
        if kind in EXACT:
            tokens += (kind, x)
            continue
        if kind is float:
            tokens += (kind, struct.pack("d", x))
            continue
        kept.append(x)
        if isinstance(x, _BY_IDENTITY):
            tokens += ("same", id(x))
            continue
        number = len(numbers)
        first = numbers.setdefault(id(x), number)
        if first < number:
            tokens += ("again", first)
            continue
        parts = _parts(x, tokens, value, cached)
        tokens.append(len(parts))
        if len(parts) > 1 and set(map(type, parts)) == _NODES:  # a layer's weights, say
            tokens += map(id, parts)
            kept += parts
        else:
            todo += reversed(parts)
        if len(kept) > MAX_PARTS:
            raise TypeError(
                f"compile: {described(value)} holds more than {MAX_PARTS:,} parts, all of which"
                f" would have to be looked at in each call; {_ADVICE}"
            )
    return tokens


_ADVICE: Final = (
    "pass its numbers as arguments, or register its class, which makes them arguments:"
    ' optree.register_pytree_node(Class, flatten, unflatten, namespace="chainrule")'
)


def _parts(x: Any, tokens: list[Any], whole: Any, cached: bool) -> Sequence[Any]:
    """What an object holds; its kind and data go to the tokens."""
    kind: Any = type(x)
    if kind in (list, tuple, set, frozenset):  # a set in its order, which a loop over it shows
        tokens.append(kind)
        return list(x)
    if kind is dict:
        tokens.append(kind)
        return [part for item in x.items() for part in item]
    if kind is complex:
        tokens += (kind, struct.pack("dd", x.real, x.imag))
        return ()
    if (kind is numpy.ndarray or isinstance(x, numpy.generic)) and not x.dtype.hasobject:
        fields = x.dtype.names and repr(x.dtype)
        tokens += (id(kind), x.dtype.str, fields, x.shape, x.tobytes())
        return ()
    if kind is numpy.ndarray and x.dtype.kind == "O":
        tokens += (kind, "O", x.shape)
        return x.ravel().tolist()  # type: ignore[no-any-return]
    if kind is types.MethodType:
        tokens.append(kind)
        return [x.__func__, x.__self__]
    if kind is types.BuiltinFunctionType:
        tokens += (kind, x.__name__)
        return [x.__self__]
    if wraps(x):
        tokens += ("wraps", id(x))
        return [x.function]
    tokens += ("object", id(kind))
    if kind.__module__.startswith("scipy.sparse"):  # which keep notes of themselves
        return [v for v in vars(x).values() if isinstance(v, (numpy.ndarray, tuple, dict))]
    hides, slots = _anatomy(kind)
    parts: list[Any] = []
    for name, value in getattr(x, "__dict__", _NOTHING).items():
        if cached or not isinstance(getattr(kind, name, None), cached_property):
            parts += (name, value)
    if hides:
        return [*parts, *_as_pickled(x, tokens, whole)]
    for name in slots:
        if hasattr(x, name):
            parts += (name, getattr(x, name))
    return parts


_NOTHING: Final[dict[str, Any]] = {}


@lru_cache(maxsize=1000)
def _anatomy(kind: type) -> tuple[bool, list[str]]:
    """Whether objects of a class may hold more than their attributes, and those in slots.

    So may those of classes written in C, and a library's may hold what it has kept for itself.
    """
    slots = [name for base in kind.__mro__ for name in slots_of(base)]
    size = object.__basicsize__ + _POINTER * len(slots)
    size += _POINTER * ((kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0))
    ours = kind.__module__.startswith("chainrule.")
    hides = (of_library(kind) and not ours) or kind.__basicsize__ > size or kind.__itemsize__ > 0
    return hides, slots


def _as_pickled(x: Any, tokens: list[Any], whole: Any) -> list[Any]:
    """What an object is made of as pickle sees it.

    Raises:
        TypeError: if it can't be seen.
    """
    try:
        reduced = x.__reduce_ex__(2)
    except Exception:
        if callable(x):  # a function in another language
            tokens.append(id(x))
            return []
        inside = "" if x is whole else f", as it holds {described(x)}"
        raise TypeError(
            f"compile: whether {described(whole)} has changed can't be seen{inside}; {_ADVICE}"
        ) from None
    if isinstance(reduced, str):  # the name under which pickle would look for it
        tokens.append(id(x))
        return []
    return [
        list(part) if i in (3, 4) and part is not None else part for i, part in enumerate(reduced)
    ]


class Order:
    """What equal structures of arguments may differ in: order and types of keys, exact metadata.

    ``optree`` takes dicts whose keys are in another order, or 1 for True, as one structure; but a
    function that goes through them sees a difference.

    Args:
        args, kwargs: the structures of positional and keyword arguments.
        given: positional arguments of this structure.
    """

    def __init__(self, args: Any, kwargs: Any, given: tuple[Any, ...]) -> None:
        self._args = _looks(args) if trees.depth_of(given, args) is None else None
        self._kwargs = _looks(kwargs)
        if len(kwargs.children()) == 0:
            self._kwargs = None

    def of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
        """The order and metadata of some arguments of this structure."""
        if self._args is None and self._kwargs is None:
            return None
        found: list[Hashable] = []
        if self._args is not None:
            self._args(args, found)
        if self._kwargs is not None:
            self._kwargs(kwargs, found)
        return tuple(found)


_Look = Callable[[Any, list[Hashable]], None]


def _looks(structure: Any) -> _Look | None:
    """A function that notes what a tree of a structure shows beyond it; None if that is nothing."""
    if structure.is_leaf():
        return None
    if structure.num_nodes == structure.num_leaves + 1 and structure.kind in SEQUENCES:
        return None
    inner = [_looks(child) for child in structure.children()]
    if structure.kind in _DICTS:
        return _look_at_dict(dict(zip(structure.entries(), inner, strict=True)))
    if structure.kind == optree.PyTreeKind.CUSTOM:
        return _look_at_custom(inner)
    below = [(i, look) for i, look in enumerate(inner) if look is not None]
    if not below:
        return None

    def look_at_sequence(tree: Any, found: list[Hashable]) -> None:
        for i, look in below:
            look(tree[i], found)

    return look_at_sequence


SEQUENCES: Final = (optree.PyTreeKind.LIST, optree.PyTreeKind.TUPLE)
_DICTS: Final = (
    optree.PyTreeKind.DICT,
    optree.PyTreeKind.ORDEREDDICT,
    optree.PyTreeKind.DEFAULTDICT,
)


def _look_at_dict(inner: dict[Any, _Look | None]) -> _Look:
    below = [(key, look) for key, look in inner.items() if look is not None]

    def look(tree: Any, found: list[Hashable]) -> None:
        found.append(tuple([key if type(key) is str else exactly(key) for key in tree]))
        for key, part in below:
            part(tree[key], found)

    return look


def _look_at_custom(inner: Sequence[_Look | None]) -> _Look:
    def look(tree: Any, found: list[Hashable]) -> None:
        children, metadata, *_ = optree.tree_flatten_one_level(
            tree, none_is_leaf=True, namespace="chainrule"
        )
        found.append(exactly(metadata))
        for child, part in zip(children, inner, strict=True):
            if part is not None:
                part(child, found)

    return look
