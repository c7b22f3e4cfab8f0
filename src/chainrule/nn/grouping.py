"""Whether networks gather the nodes of layers and neurons under names, for pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Final

from chainrule.annotations import group

_on: Final[ContextVar[bool]] = ContextVar("chainrule_nn_groups", default=True)


@contextmanager
def ungrouped() -> Iterator[None]:
    """Build networks' nodes without groups and names: faster, for graphs that nobody draws."""
    token = _on.set(False)
    try:
        yield
    finally:
        _on.reset(token)


def are_grouped() -> bool:
    """Whether groups are on."""
    return _on.get()


def grouped(name: str) -> AbstractContextManager[None]:
    """A group of that name, unless groups are off."""
    return group(name) if _on.get() else nullcontext()
