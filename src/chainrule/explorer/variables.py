"""What the program calls a value: the variable that the line of a node puts it in.

Python tells the span of text of the instruction that made a node; the syntax tree of the file tells
whether that text is what an assignment puts in a variable.
"""

from __future__ import annotations

import ast
import functools
import linecache
from collections import Counter
from collections.abc import Sequence
from types import CodeType

from chainrule.node import Node

Span = tuple[int | None, ...]  # first and last line, first and last column

SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉"


def variables(nodes: Sequence[Node]) -> dict[int, str]:
    """The variables of the nodes, by their places, where lines were recorded.

    Values that one variable held one after the other are numbered: y₁, y₂; elements of one list
    y[0], y[1].
    """
    found: dict[int, str] = {}
    for i, node in enumerate(nodes):
        place = None if node._annotation is None else node._annotation.place
        name = _variable(*place) if isinstance(place, tuple) else None
        if name is not None:
            found[i] = name
    count = Counter(found.values())
    seen: Counter[str] = Counter()
    for i, name in found.items():
        if name.endswith("[]"):
            found[i] = f"{name[:-2]}[{seen[name]}]"
        elif count[name] > 1:
            found[i] = name + subscript(seen[name] + 1)
        seen[name] += 1
    return found


def subscript(number: int) -> str:
    """A number in small letters below the line."""
    return str(number).translate(str.maketrans("0123456789", SUBSCRIPTS))


def _variable(code: CodeType, offset: int) -> str | None:
    """What the value of an instruction is put in; None if in nothing, or where that is unknown."""
    positions = getattr(code, "co_positions", None)  # since Python 3.11
    if positions is None:
        return None
    try:
        lines = linecache.getlines(code.co_filename)
    except ValueError:  # no file has that name
        return None
    return _spans("".join(lines)).get(_places(code)[offset // 2])


@functools.lru_cache(maxsize=1000)
def _places(code: CodeType) -> list[Span]:
    return list(code.co_positions())


@functools.lru_cache(maxsize=100)
def _spans(text: str) -> dict[Span, str]:
    """The variables by the spans of what is put in them."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return {}
    found: dict[Span, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                _bind(target, node.value, found)
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            _bind(node.target, node.value, found)
        elif isinstance(node, ast.AugAssign):
            _bind(node.target, node, found)
    return found


def _bind(target: ast.expr, value: ast.expr | ast.stmt, found: dict[Span, str]) -> None:
    """Note that a value is put in a target."""
    if isinstance(target, (ast.Tuple, ast.List)):
        if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts):
            for inner, element in zip(target.elts, value.elts, strict=True):
                _bind(inner, element, found)
        return
    name = _name(target)
    if name is None:
        return
    if isinstance(value, (ast.Tuple, ast.List)):
        for i, element in enumerate(value.elts):
            found[_span(element)] = f"{name}[{i}]"
    elif isinstance(value, ast.ListComp):
        found[_span(value.elt)] = f"{name}[]"
    else:
        found[_span(value)] = name


def _name(target: ast.expr) -> str | None:
    if isinstance(target, ast.Name):
        return target.id
    if isinstance(target, ast.Attribute):
        return target.attr
    inner = _name(target.value) if isinstance(target, ast.Subscript) else None
    return None if inner is None or inner.endswith("[]") else f"{inner}[]"


def _span(node: ast.expr | ast.stmt) -> Span:
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset
