"""Statements with the loops around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from chainrule.program.form import Loop, Segment, Statement

Path: TypeAlias = tuple[Loop, ...]
"""Loops, one in another, the outermost first."""


def paths(body: Sequence[Statement], path: Path = ()) -> Iterator[tuple[Statement, Path]]:
    """All statements of a body and of the bodies in it, with the loops around them."""
    for statement in body:
        yield statement, path
        if isinstance(statement, Loop):
            yield from paths(statement.body, (*path, statement))
        elif isinstance(statement, Segment):
            yield from paths(statement.body, path)
