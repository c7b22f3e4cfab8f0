"""Random modules: attributes, lists, dicts, arrays of any number of axes, and shared nodes."""

from __future__ import annotations

import math
from collections import UserDict, UserList, deque
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from hypothesis import strategies as st

from chainrule import Node, nn

NODES = 6
"""How many nodes the parts of a module are taken from, so that some are shared."""

KEYS = ["a", "b", "a.b", "b.0", "0", "1", "00", 0, 1, 2.5, None, True, (1, 2), "é", " ", ""]
ATTRIBUTES = ["weights", "bias", "a", "b", "_table", "Größe", "", "a.b"]
LISTS: dict[str, Any] = {"list": list, "tuple": tuple, "deque": deque, "UserList": UserList}
DICTS: dict[str, Any] = {"dict": dict, "UserDict": UserDict, "proxy": MappingProxyType}
LEAVES = [None, "text", 3, 0.5, np.zeros(3), np.array(["text"])]


class Part(nn.Module):
    """A module that holds what it is given."""

    def __init__(self, held: dict[str, Any]) -> None:
        for name, value in held.items():
            setattr(self, name, value)

    def __call__(self, *args: Any) -> Any:
        """Nothing."""
        raise NotImplementedError


class Slotted(Part):
    """One that keeps its attributes in slots, and has a slot that is empty."""

    __slots__ = ("a", "b", "empty", "weights")


Spec = tuple[Any, ...]
"""Kind of a part and what is in it; nodes by their numbers."""


ENDS = ["node", "node", "node", "result", "leaf", "again"]
MODULES = ["Part", "Slotted"]
ARRAYS = ["array", "transposed", "masked", "record"]
DEPTH = 3


@st.composite
def specs(draw: st.DrawFn, depth: int = DEPTH, kinds: tuple[str, ...] = ()) -> Spec:
    """What a module, or with other kinds a part of one, is made of."""
    kind = draw(st.sampled_from(kinds or MODULES))
    if kind in ("node", "result"):
        return kind, draw(st.integers(0, NODES - 1))
    if kind == "leaf":
        return kind, draw(st.integers(0, len(LEAVES) - 1))
    if kind == "again":
        return kind, draw(st.integers(0, 9))
    inner = tuple([*ENDS, *LISTS, *DICTS, *MODULES, *ARRAYS] if depth else ENDS)
    part = specs(depth - 1, inner)
    if kind in LISTS:
        return kind, draw(st.lists(part, max_size=4))
    if kind in ARRAYS:
        shape = draw(st.lists(st.integers(0, 3), max_size=4).filter(lambda x: math.prod(x) <= 8))
        return kind, tuple(shape), [draw(part) for _ in range(math.prod(shape))]
    keys = draw(st.lists(st.sampled_from(KEYS if kind in DICTS else ATTRIBUTES), max_size=4))
    return kind, [(key, draw(part)) for key in dict.fromkeys(keys)]


@dataclass
class Built:
    """A module made of a specification, and what its parameters have to be.

    Attributes:
        nodes: those that the module is made of.
        names: of the parameters, in order; of one that occurs more than once, the first.
        parameters: in order, each once.
        module: the module.
    """

    nodes: list[Node] = field(default_factory=lambda: [Node(float(i + 1)) for i in range(NODES)])
    names: list[str] = field(default_factory=list)
    parameters: list[Node] = field(default_factory=list)
    module: Any = None
    containers: list[Any] = field(default_factory=list)


def built(spec: Spec) -> Built:
    """A module of a specification with nodes of its own."""
    result = Built()
    result.module = _make(spec, (), result)
    return result


def _make(spec: Spec, way: tuple[str, ...], result: Built) -> Any:
    """A part of a module; its nodes are noted as they are made, which is their order."""
    kind = spec[0]
    if kind == "node":
        node = result.nodes[spec[1]]
        if not any(node is known for known in result.parameters):
            result.parameters.append(node)
            result.names.append(".".join(way))
        return node
    if kind == "result":
        return result.nodes[spec[1]] * 2.0
    if kind == "leaf":
        return LEAVES[spec[1]]
    if kind == "again":  # a container that is there already
        return result.containers[spec[1] % len(result.containers)] if result.containers else None
    made = _container(spec, way, result)
    result.containers.append(made)
    return made


def _container(spec: Spec, way: tuple[str, ...], result: Built) -> Any:
    kind = spec[0]
    if kind in LISTS:
        return LISTS[kind]([_make(x, (*way, str(i)), result) for i, x in enumerate(spec[1])])
    if kind in DICTS:
        return DICTS[kind]({key: _make(x, (*way, str(key)), result) for key, x in spec[1]})
    if kind in ("Part", "Slotted"):
        pairs = spec[1]
        if kind == "Slotted":  # first the attributes in slots, in the order of these
            pairs = sorted(pairs, key=lambda pair: _place(pair[0]))
        held = {name: _make(x, (*way, name), result) for name, x in pairs}
        return Part(held) if kind == "Part" else Slotted(held)
    shape, parts = spec[1:]
    array = np.empty(shape, dtype=object)
    inner = (*way, "field") if kind == "record" else way
    for index, x in zip(np.ndindex(*shape), parts, strict=True):
        array[index] = _make(x, (*inner, *map(str, index)), result)
    if kind == "transposed":  # another layout in memory is the same array
        return array.T.copy().T
    if kind == "masked":
        return np.ma.MaskedArray(array, mask=np.arange(array.size).reshape(shape) % 2 == 0)
    if kind == "record":
        record = np.empty(shape, dtype=[("number", float), ("field", object)])
        record["field"] = array
        return record
    return array


def _place(name: str) -> int:
    slots = Slotted.__slots__
    return slots.index(name) if name in slots else len(slots)
