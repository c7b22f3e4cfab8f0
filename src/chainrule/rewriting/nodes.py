"""Parts of syntax trees: as of the module ast, in less time."""

from __future__ import annotations

import ast
from functools import cache
from typing import Any, Final

_MARKS: Final = frozenset(["ctx", "op", "ops"])
"""Fields that say what a node is: their nodes have no parts and no place."""


@cache
def _fields(kind: Any) -> tuple[str, ...]:
    return tuple([name for name in kind._fields if name not in _MARKS])


def children(node: ast.AST) -> list[ast.AST]:
    """What a node consists of, in order, without operators and contexts."""
    found: list[ast.AST] = []
    parts = vars(node)
    kind: Any = type(node)
    for name in _fields(kind):
        x = parts.get(name)
        if isinstance(x, ast.AST):
            found.append(x)
        elif type(x) is list:
            found += [y for y in x if isinstance(y, ast.AST)]
    return found


def walk(root: ast.AST) -> list[ast.AST]:
    """A node and all in it, the outer ones first, without operators and contexts."""
    found = [root]
    for node in found:
        found += children(node)
    return found
