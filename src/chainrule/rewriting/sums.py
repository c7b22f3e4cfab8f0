"""Sums of what comprehensions give: loops of which one iteration may be traced for all."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from typing import Any, Final

from chainrule.annotations import line_text

from .carried import Handed
from .decisions import LoopSite
from .expressions import Expressions, named, placed
from .harmless import why_not
from .nodes import walk

_TOTAL: Final = Handed(["total"], frozenset(["total"]), [], False, False, [])
"""What an iteration hands on."""


class Sums(Expressions):
    """Rewrites expressions of a function, calls of ``sum`` among them."""

    def _of_Call(self, node: ast.Call) -> ast.expr:
        if not self._is_sum(node):
            return super()._of_Call(node)
        items: Any = node.args[0]
        name = f"sum {self._place(node)}"
        self._sites.setdefault(name, LoopSite(line_text(self._code, node.lineno), "sum", _TOTAL))
        called = (
            self._call(node.func, "call", node.func)
            if self._checked
            else self._callee(node.func, node.func)
        )
        source = self._through(items.generators[0].iter)
        start = ast.Tuple([*map(self._expression, node.args[1:])], ast.Load())
        ways = [] if self._checked else [self._way(items, self._expression)]
        ways.append(self._way(items, self._in_vain))
        site = placed(ast.Constant(name), node)
        made = self._call(node, "total", site, node.func, called, source, start, *ways)
        return self._call(node, "made", made) if self._checked else made

    def _is_sum(self, node: ast.Call) -> bool:
        """Whether it is a sum of which one iteration may be traced for all, by its syntax."""
        if not isinstance(node.func, ast.Name) or node.func.id != "sum" or self._logged:
            return False
        if len(node.args) not in (1, 2) or node.keywords or self._in_iterable:
            return False
        items, *start = node.args
        if not isinstance(items, (ast.GeneratorExp, ast.ListComp)) or id(items) in self._sources:
            return False
        if any(x.ifs for x in items.generators) or any(isinstance(x, ast.Starred) for x in start):
            return False
        return not why_not([items], self._outside, appends=True) and not any(
            isinstance(x, ast.NamedExpr) or (isinstance(x, ast.Name) and x.id == "super")
            for x in walk(items)
        )

    def _way(self, items: Any, rewrite: Callable[[ast.expr], ast.expr]) -> ast.expr:
        """A function that gives what a comprehension does, of other things to go through."""
        given = self._new()
        inner, first = copy.copy(items), copy.copy(items.generators[0])
        first.iter = placed(named(given), items)
        inner.generators = [first, *items.generators[1:]]
        arguments = ast.arguments([], [ast.arg(given)], None, [], [], None, [])
        return placed(ast.Lambda(arguments, rewrite(inner)), items)
