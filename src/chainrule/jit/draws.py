"""Random draws while a function is traced: their numbers become constants of the compiled code."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from chainrule.leaves import are_leaves
from chainrule.node import Node

from .references import is_atom, references

MAX_OBJECTS = 2000
"""How many objects a function refers to are searched for generators."""


class Draws:
    """Notices draws between :meth:`begin` and :meth:`made`.

    Seen are Python's and NumPy's global generators, and those that the function refers to.

    Args:
        function: what is going to be traced.
    """

    def __init__(self, function: Any) -> None:
        self._own = [
            (f"a {type(generator).__name__}", _state_of(generator))
            for generator in _generators(function)
        ]
        self._states: list[tuple[str, Callable[[], Any], Any]] = []

    def begin(self) -> None:
        """Note the states."""
        watched = [("random", random.getstate), *self._own]
        numpys = sys.modules.get("numpy.random")
        if numpys is not None:
            watched.append(("np.random", lambda: _plain(numpys.get_state(legacy=False))))
        self._states = [(name, state, state()) for name, state in watched]

    def made(self) -> str | None:
        """What has drawn, None if nothing has."""
        return next((name for name, state, before in self._states if state() != before), None)


def _generators(function: Any) -> list[Any]:
    """The generators that a function refers to."""
    found: list[Any] = []
    seen: dict[int, Any] = {}
    todo = deque([function])
    while todo and len(seen) < MAX_OBJECTS:
        holder = todo.popleft()
        if type(holder) is Node or id(holder) in seen or is_atom(holder):
            continue
        seen[id(holder)] = holder
        if type(holder) is list and are_leaves(holder):
            continue
        if _state_of(holder) is not None:
            found.append(holder)
        else:
            todo.extend(part for _, part in references(holder))
    return found


def _state_of(value: Any) -> Any:
    """A function that gives the state of a generator; None for anything else."""
    if isinstance(value, random.Random):
        return None if isinstance(value, random.SystemRandom) else value.getstate
    numpys = sys.modules.get("numpy.random")
    if numpys is None:
        return None
    if isinstance(value, numpys.Generator):
        return lambda: _plain(value.bit_generator.state)
    if isinstance(value, numpys.RandomState):
        return lambda: _plain(value.get_state(legacy=False))
    return None


def _plain(state: Any) -> Any:
    """A state with the bytes of its arrays, so that two can be compared."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    return state.tobytes() if hasattr(state, "tobytes") else state
