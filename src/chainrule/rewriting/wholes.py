"""Which calls of ``int`` stay in the trace: those whose results only count and look up.

Python's ``int`` gives one of its own numbers, which takes a path for each value. By the syntax tree
it is seen where the result goes: into indices, arithmetic and comparisons, an index of a trace does
what Python's number does; into anything else, such as calls and texts, goes the number itself.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from types import CodeType
from typing import Final, NamedTuple

from .harmless import SCOPES
from .nodes import children, walk

_KEEPS: Final = (ast.Add, ast.Sub, ast.Mult)
"""Operators that give a whole number for two, and else one with fractions."""
_PICKS: Final = ("min", "max", "abs")
_FINDS: Final = frozenset(
    ["floor", "ceil", "trunc", "int", "round", "searchsorted", "argmax", "argmin", "argsort"]
)
"""Functions that give whole numbers."""


class Whole(NamedTuple):
    """What a call of ``int`` must find to stay in the trace.

    Attributes:
        builtins: names that must be those of Python's functions.
        floats: arguments that must have fractions.
    """

    builtins: tuple[str, ...]
    floats: tuple[str, ...]


class Wholes:
    """Looks where whole numbers go in a function.

    Args:
        body: of the function.
        code: of the function.
        outside: the names that belong to others.

    Attributes:
        calls: the calls of ``int`` that may stay in the trace, by the ids of their nodes.
        elements: the ids of elements that may be looked up by a whole number of the trace.
    """

    def __init__(self, body: Iterable[ast.AST], code: CodeType, outside: frozenset[str]) -> None:
        self.calls: dict[int, Whole] = {}
        self.elements: set[int] = set()
        if not _FINDS.intersection(code.co_names):
            return
        self._parents: dict[int, ast.AST] = {}
        self._names: dict[str, list[ast.Name]] = {}
        self._shared: set[str] = {*outside}  # names that other functions see
        self._bound: set[str] = set()  # names that are bound in other ways than by assignments
        found: list[ast.Call] = []
        waiting: list[tuple[ast.AST, bool]] = [(node, False) for node in body]
        for node, nested in waiting:
            nested = nested or isinstance(node, SCOPES)
            for child in children(node):
                self._parents[id(child)] = node
                waiting.append((child, nested))
            if isinstance(node, ast.Name):
                self._names.setdefault(node.id, []).append(node)
                if nested:
                    self._shared.add(node.id)
            elif isinstance(node, ast.Call) and not nested and _is_int(node):
                found.append(node)
            for field in ("name", "rest", "asname"):  # of handlers, patterns, definitions, imports
                if isinstance(value := getattr(node, field, None), str):
                    self._bound.add(value)
        self._arguments = {*code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]}
        self._locals = {*code.co_varnames, *code.co_cellvars}
        for call in found:
            self._builtins: set[str] = {"int"}
            self._floats: set[str] = set()
            self._seen: set[str] = set()
            if self._stays(call):
                self.calls[id(call)] = Whole((*sorted(self._builtins),), (*sorted(self._floats),))
        wholes = self._wholes()
        for node, _ in waiting:
            if isinstance(node, ast.Subscript) and any(
                _name_of(x) in wholes for x in walk(node.slice)
            ):
                self.elements.add(id(node))

    def _wholes(self) -> set[str]:
        """What gives whole numbers: functions, and the names that are assigned what they give."""
        found: set[str] = {*_FINDS}
        count = 0
        while count != len(found):
            count = len(found)
            for name, uses in self._names.items():
                values = [x for use in uses if (x := self._stated(use)) is not None]
                if any(_name_of(x) in found for value in values for x in walk(value)):
                    found.add(name)
        return found

    def _stated(self, use: ast.Name) -> ast.expr | None:
        """What the statement assigns that assigns a name, alone or among others."""
        node: ast.AST | None = use
        while isinstance(use.ctx, ast.Store) and isinstance(node, (ast.Name, ast.Tuple)):
            node = self._parents.get(id(node))
        return getattr(node, "value", None)

    # Where a number goes

    def _stays(self, node: ast.AST) -> bool:
        """Whether a whole number in the place of a node goes only where one of a trace may."""
        parent = self._parents.get(id(node))
        if isinstance(parent, ast.Expr):
            return True
        if isinstance(parent, ast.Subscript):
            return node is parent.slice and isinstance(parent.ctx, ast.Load)
        if isinstance(parent, ast.Tuple):
            return self._stays_in(parent, node)
        if isinstance(parent, ast.BinOp):
            return self._stays_by(parent.op, parent.left, parent.right, node) or (
                isinstance(parent.op, ast.Div)
            )
        if isinstance(parent, ast.UnaryOp):
            return isinstance(parent.op, (ast.USub, ast.UAdd)) and self._stays(parent)
        if isinstance(parent, ast.Compare):
            kinds = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
            return all(isinstance(op, kinds) for op in parent.ops)
        if isinstance(parent, ast.IfExp):
            return node is not parent.test and self._stays(parent)
        if isinstance(parent, ast.Call):
            return self._stays_called(parent)
        if isinstance(parent, ast.Assign):
            return all(isinstance(x, ast.Name) and self._stays_named(x.id) for x in parent.targets)
        if isinstance(parent, ast.AnnAssign):
            return isinstance(parent.target, ast.Name) and self._stays_named(parent.target.id)
        if isinstance(parent, ast.AugAssign) and isinstance(parent.target, ast.Name):
            target = parent.target
            return isinstance(parent.op, _KEEPS) and (
                self._stays_named(target.id) or self._has_fractions(target)
            )
        return False

    def _stays_in(self, parent: ast.Tuple, node: ast.AST) -> bool:
        """The same in a tuple: an index, or what several names are assigned."""
        around = self._parents.get(id(parent))
        if isinstance(around, ast.Subscript):
            return self._stays(parent)
        if not isinstance(around, ast.Assign) or any(
            isinstance(x, ast.Starred) for x in parent.elts
        ):
            return False
        place = next(i for i, x in enumerate(parent.elts) if x is node)
        for target in around.targets:
            if not isinstance(target, ast.Tuple) or len(target.elts) != len(parent.elts):
                return False
            name = target.elts[place]
            if not isinstance(name, ast.Name) or not self._stays_named(name.id):
                return False
        return True

    def _stays_by(self, op: ast.operator, left: ast.expr, right: ast.expr, node: ast.AST) -> bool:
        """The same for an operand of an operator."""
        parent = self._parents[id(node)]
        other = right if node is left else left
        if isinstance(op, _KEEPS):
            if self._has_fractions(other, assumed=False) or self._stays(parent):
                return True
            return self._has_fractions(other)
        if isinstance(op, (ast.FloorDiv, ast.Mod)):
            return node is left and self._stays(parent)
        if isinstance(op, (ast.Pow, ast.RShift, ast.BitAnd)):
            plain = isinstance(right, ast.Constant) and type(right.value) is int
            return plain and node is left and self._stays(parent)
        return False

    def _stays_called(self, call: ast.Call) -> bool:
        """The same for an argument of a call."""
        name = _name_of(call.func)
        if not isinstance(call.func, ast.Name) or call.keywords or name in self._locals:
            return False
        if name == "range" or (name in _PICKS and self._stays(call)):
            self._builtins.add(name)
            return True
        return False

    def _stays_named(self, name: str) -> bool:
        """The same for what a name is assigned."""
        if name in self._seen:
            return True
        if name in self._shared or name not in self._locals:
            return False
        self._seen.add(name)
        return all(
            isinstance(use.ctx, ast.Store) or (isinstance(use.ctx, ast.Load) and self._stays(use))
            for use in self._names[name]
            if not self._is_changed(use)
        ) and all(self._stays_changed(use) for use in self._names[name] if self._is_changed(use))

    def _is_changed(self, use: ast.Name) -> bool:
        """Whether it is changed by ``+=`` or its like."""
        parent = self._parents.get(id(use))
        return isinstance(parent, ast.AugAssign) and parent.target is use

    def _stays_changed(self, use: ast.Name) -> bool:
        """Whether that leaves a whole number what it may be."""
        parent = self._parents[id(use)]
        assert isinstance(parent, ast.AugAssign)
        return isinstance(parent.op, (*_KEEPS, ast.Div, ast.FloorDiv, ast.Mod))

    # What has fractions

    def _has_fractions(
        self, node: ast.expr, assumed: bool = True, among: frozenset[str] = frozenset()
    ) -> bool:
        """Whether something is certainly a number with fractions.

        Args:
            node: this.
            assumed: whether an argument is to be one, which is noted.
            among: names that are being looked at.
        """
        if isinstance(node, ast.Constant):
            return type(node.value) is float
        if isinstance(node, ast.UnaryOp):
            return isinstance(node.op, (ast.USub, ast.UAdd)) and self._has_fractions(
                node.operand, assumed, among
            )
        if isinstance(node, ast.BinOp):
            if isinstance(node.op, ast.Div):
                return True
            return isinstance(node.op, _KEEPS) and (
                self._has_fractions(node.left, assumed, among)
                or self._has_fractions(node.right, assumed, among)
            )
        if not isinstance(node, ast.Name):
            return False
        name = node.id
        stored = [use for use in self._names[name] if isinstance(use.ctx, ast.Store)]
        if name in self._shared or name in self._bound or name not in self._locals:
            return False
        if any(isinstance(use.ctx, ast.Del) for use in self._names[name]):
            return False
        if not stored:
            if assumed and name in self._arguments:
                self._floats.add(name)
            return assumed and name in self._arguments
        if name in among:
            return True
        if name in self._arguments:
            return False
        values = [self._assigned(use) for use in stored if not self._is_changed(use)]
        return all(
            value is not None and self._has_fractions(value, assumed, among | {name})
            for value in values
        )

    def _assigned(self, use: ast.Name) -> ast.expr | None:
        """What a name is assigned; None for no assignment, or one of something in it."""
        parent = self._parents.get(id(use))
        if isinstance(parent, (ast.Assign, ast.AnnAssign)) and use is not parent.value:
            return parent.value
        if isinstance(parent, ast.Tuple):
            around = self._parents.get(id(parent))
            value = around.value if isinstance(around, ast.Assign) else None
            if parent is not value and isinstance(value, ast.Tuple):
                place = next(i for i, x in enumerate(parent.elts) if x is use)
                starred = any(isinstance(x, ast.Starred) for x in (*parent.elts, *value.elts))
                if not starred and len(value.elts) == len(parent.elts):
                    return value.elts[place]
        return None


def _name_of(node: ast.AST) -> str:
    """The name of something, or of an attribute."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _is_int(call: ast.Call) -> bool:
    """Whether it is a call of ``int`` with one plain argument."""
    if not isinstance(call.func, ast.Name) or call.func.id != "int":
        return False
    return len(call.args) == 1 and not call.keywords and not isinstance(call.args[0], ast.Starred)
