"""Which loops of a function may be traced once, by the syntax tree, and what their iterations hand on."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import NamedTuple

from .harmless import EXITS, SCOPES, appended, assigned, own, why_not


class Handed(NamedTuple):
    """The variables of a loop that count beyond one of its iterations.

    Attributes:
        names: all of these that it assigns.
        read: those of them whose value from before is read in an iteration.
        lists: what iterations append to, and do nothing else with.
        target: whether what the loop assigns by itself is read after it.
        stores: whether elements are assigned.
    """

    names: list[str]
    read: frozenset[str]
    lists: list[str]
    target: bool
    stores: bool


def why_not_once(node: ast.For, outside: frozenset[str]) -> str:
    """Why a loop can't be traced once, by its syntax; "" if it may be.

    Args:
        node: the loop.
        outside: the names that belong to others than the function.
    """
    if node.orelse:
        return "it has an else"
    if any(isinstance(x, EXITS) for x in own(node.body)):
        return "an iteration may be left"
    head = ast.copy_location(ast.For(node.target, ast.Constant(0), [], []), node)
    return why_not([head, *node.body], outside, appends=True)


def handed(node: ast.For, function: ast.AST) -> Handed:
    """What the iterations of a loop in a function hand on."""
    lists = _lists(node.body)
    read = _Reads(set(assigned([node.target])))
    read.statements(node.body)
    inside = assigned(node.body)
    after = _read_after(node, function)
    kept = [x for x in inside if x not in lists and (x in read.found or x in after)]
    stores = any(isinstance(x, ast.Subscript) and isinstance(x.ctx, ast.Store) for x in ast.walk(node))
    return Handed(
        kept,
        frozenset(kept) & read.found,
        sorted(lists),
        not after.isdisjoint(set(assigned([node.target])) - set(inside)),
        stores,
    )


def _lists(body: list[ast.stmt]) -> frozenset[str]:
    """The names that are only appended to."""
    found: set[str] = set()
    others: set[str] = set()
    waiting: list[ast.AST] = [*body]
    for node in waiting:
        said = appended(node)
        if said is not None:
            found.add(said[0])
            waiting += said[1]
        elif isinstance(node, ast.Name):
            others.add(node.id)
        else:
            waiting += ast.iter_child_nodes(node)
    return frozenset(found - others)


def _read_after(loop: ast.For, function: ast.AST) -> set[str]:
    """The names that are read after a loop, or in a function that may run then."""
    found: set[str] = set()
    end = (loop.end_lineno or 0, loop.end_col_offset or 0)
    own_names = {id(x) for x in ast.walk(loop)}
    waiting: list[tuple[ast.AST, bool]] = [(function, False)]
    while waiting:
        node, again = waiting.pop()
        if node is loop:
            continue
        if isinstance(node, (ast.For, ast.While, *SCOPES)) and node is not function:
            inside = any(x is loop for x in ast.walk(node))
            again |= inside or isinstance(node, SCOPES)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            if again or (node.lineno, node.col_offset) >= end:
                found.add(node.id)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            if again or (node.lineno, node.col_offset) >= end:
                found.add(node.target.id)
        waiting += [(x, again) for x in ast.iter_child_nodes(node)]
    for node in ast.walk(loop):  # what runs later, but is written in it
        if isinstance(node, SCOPES) and id(node) in own_names:
            found |= {x.id for x in ast.walk(node) if isinstance(x, ast.Name)}
    return found


class _Reads:
    """Which names may be read before they are assigned.

    Args:
        bound: those that are assigned.

    Attributes:
        found: the others that are read.
    """

    def __init__(self, bound: set[str]) -> None:
        self._bound = bound
        self.found: set[str] = set()

    def statements(self, nodes: Iterable[ast.stmt]) -> None:
        """Go through statements."""
        for node in nodes:
            self._statement(node)

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.If):
            self._read(node.test)
            before = set(self._bound)
            self.statements(node.body)
            after, self._bound = self._bound, before
            self.statements(node.orelse)
            self._bound &= after
            return
        if isinstance(node, (ast.For, ast.While)):
            self._read(node.iter if isinstance(node, ast.For) else node.test)
            before = set(self._bound)
            if isinstance(node, ast.For):
                self._assign([node.target])
            self.statements(node.body)
            self._bound = set(before)
            self.statements(node.orelse)
            self._bound = before
            return
        if isinstance(node, ast.AugAssign):
            if isinstance(node.target, ast.Name) and node.target.id not in self._bound:
                self.found.add(node.target.id)
            self._read(node.target)
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            if node.value is not None:
                self._read(node.value)
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                self._read(target)
            if node.value is not None:
                self._assign(targets)
            return
        self._read(node)

    def _read(self, root: ast.AST) -> None:
        for node in ast.walk(root):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
                if node.id not in self._bound:
                    self.found.add(node.id)

    def _assign(self, targets: Iterable[ast.AST]) -> None:
        self._bound.update(assigned(targets))
