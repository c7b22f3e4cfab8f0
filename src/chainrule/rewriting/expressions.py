"""The rewritten expressions of a function.

What they call is in :mod:`.runtime`, under the name ``_chainrule``. Every new node of a tree has
the place of the one that it stands for, so that lines stay what they are.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any, Final, TypeVar

from chainrule.annotations import line_text

from .decisions import RUNTIME, TEST, TRUTHS, Site
from .harmless import own, why_not
from .nodes import children, walk
from .source import Source
from .wholes import Wholes

T = TypeVar("T", bound=ast.AST)
_ITEM: Final = "it says how many items there are"
_LOOKING: Final = (ast.In, ast.NotIn, ast.Eq, ast.NotEq)
"""Comparisons that look into lists and their like."""


class Expressions:
    """Rewrites expressions of a function.

    Args:
        source: of the function.
        code: of the function.
        checked: whether what is used may be in vain.
        logged: whether a run in plain numbers is noted or followed.
        looks: whether any index may be a whole number of the trace.
        sites: the places where it branches.

    Attributes:
        cells: the names of variables that know what is called in the place of a function.
    """

    def __init__(
        self,
        source: Source,
        code: CodeType,
        checked: bool,
        logged: bool,
        looks: bool,
        sites: dict[str, Site],
    ) -> None:
        self._source = source
        self._code = code
        self._checked = checked
        self._logged = logged
        self._looks = looks
        self._sites = sites
        self._count = 0
        self.cells: list[str] = []
        self._in_iterable = 0
        self._sources: dict[int, tuple[str, bool]] = {}  # what loops go through, by id
        body = source.tree.body
        self._outside = frozenset(
            name
            for node in own(body if isinstance(body, list) else [body])
            if isinstance(node, (ast.Global, ast.Nonlocal))
            for name in node.names
        )
        self._wholes = Wholes(body if isinstance(body, list) else [body], code, self._outside)

    def _expression(self, node: ast.expr) -> ast.expr:
        method = getattr(self, f"_of_{type(node).__name__}", None)
        made: ast.expr = self._parts(node) if method is None else method(node)
        if id(node) not in self._sources:
            return made
        loop, whole = self._sources[id(node)]
        name = (
            node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        )
        fresh = isinstance(node, ast.GeneratorExp) or name in ("zip", "enumerate", "reversed")
        return self._call(node, "source", named(loop), made, *map(ast.Constant, (whole, fresh)))

    def _parts(self, node: Any) -> Any:
        """The same with other parts."""
        made = copy.copy(node)
        for name, value in ast.iter_fields(node):
            several = isinstance(value, list)
            setattr(made, name, [*map(self._part, value)] if several else self._part(value))
        return made

    def _part(self, x: Any) -> Any:
        if isinstance(x, ast.expr):
            return self._expression(x)
        return self._parts(x) if isinstance(x, ast.keyword) else x

    def _of_Lambda(self, node: ast.Lambda) -> ast.expr:
        return node

    def _of_FormattedValue(self, node: ast.FormattedValue) -> Any:
        made = self._parts(node)
        made.value = self._call(node.value, "shown", made.value)
        return made

    def _of_BinOp(self, node: ast.BinOp) -> Any:
        made = self._parts(node)
        left = node.left
        if isinstance(left, ast.Constant) and isinstance(left.value, str):  # a text with places
            made.right = self._call(node.right, "shown", made.right)
        return made

    def _comprehension(self, node: Any) -> Any:
        made = copy.copy(node)
        made.generators = []
        for generator in node.generators:
            other = copy.copy(generator)
            self._in_iterable += 1
            other.iter = self._expression(generator.iter)
            self._in_iterable -= 1
            other.ifs = [self._asked(x, "if of a comprehension", _ITEM) for x in generator.ifs]
            made.generators.append(other)
        for name in ("elt", "key", "value"):
            if hasattr(node, name):
                setattr(made, name, self._expression(getattr(node, name)))
        if self._checked and isinstance(node, ast.ListComp):
            return self._call(node, "new", made)
        return made

    _of_ListComp = _of_SetComp = _of_DictComp = _of_GeneratorExp = _comprehension

    def _of_Name(self, node: ast.Name) -> ast.expr:
        if not self._checked or not isinstance(node.ctx, ast.Load) or node.id.startswith(RUNTIME):
            return node
        return self._call(node, "value", node)

    def _of_List(self, node: ast.List) -> Any:
        made = self._parts(node)
        return self._call(node, "new", made) if self._checked else made

    def _of_Attribute(self, node: ast.Attribute) -> Any:
        if not self._checked or not isinstance(node.ctx, ast.Load):
            return self._parts(node)
        return self._call(node, "value", self._member(node))

    def _member(self, node: ast.Attribute) -> ast.expr:
        """An attribute, of whose owner nothing is used but this."""
        whole = node.value
        if isinstance(whole, ast.Attribute):
            whole = self._member(whole)
        elif not isinstance(whole, ast.Name):
            whole = self._expression(whole)
        return self._call(node, "attribute", whole, ast.Constant(self._mangled(node.attr)))

    def _of_Subscript(self, node: ast.Subscript) -> ast.expr:
        if isinstance(node.ctx, ast.Load) and self._looks_up(node):
            return self._element(node)
        made = self._parts(node)
        if not self._checked or not isinstance(node.ctx, ast.Load):
            return made  # type: ignore[no-any-return]
        if any(isinstance(x, (ast.Slice, ast.Starred)) for x in walk(node.slice)):
            return self._call(node, "value", made)
        return self._call(node, "item", made.value, made.slice)

    def _looks_up(self, node: ast.Subscript) -> bool:
        """Whether an element may be looked up by a whole number of the trace."""
        if not self._looks:
            return id(node) in self._wholes.elements and not _has_slice(node)
        if isinstance(node.slice, ast.Slice):
            return False
        return any(isinstance(x, ast.Name) for key in _chain(node)[1] for x in walk(key))

    def _element(self, node: ast.Subscript) -> ast.expr:
        """Such an element."""
        owner, keys = _chain(node)
        site = self._site(node, "index", True, "")
        made = self._expression(owner), *map(self._key, keys)
        return self._call(node, "element", site, *made)

    def _key(self, node: ast.expr) -> ast.expr:
        if isinstance(node, ast.Slice):
            parts = (node.lower, node.upper, node.step)
            given = [ast.Constant(None) if x is None else self._expression(x) for x in parts]
            return self._call(node, "slice", *given)
        if isinstance(node, ast.Tuple):
            return ast.copy_location(ast.Tuple([*map(self._key, node.elts)], ast.Load()), node)
        return self._expression(node)

    def _of_Starred(self, node: ast.Starred) -> Any:
        made = self._parts(node)
        if self._checked and isinstance(node.ctx, ast.Load):
            made.value = self._call(node, "starred", made.value)
        return made

    def _mangled(self, name: str) -> str:
        """A name as it is in the class around the function."""
        around = self._source.class_name.lstrip("_")
        if not around or not name.startswith("__") or name.endswith("__"):
            return name
        return f"_{around}{name}"

    def _of_Call(self, node: ast.Call) -> ast.expr:
        made: ast.Call = self._parts(node)
        made.func = node.func
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "super":
            return made
        if id(node) in self._wholes.calls:
            stays = self._wholes.calls[id(node)]
            known = [ast.Tuple([*map(named, x)], ast.Load()) for x in stays]
            site = self._site(node, "index", True, "")
            whole = self._call(node, "whole", site, made.func, made.args[0], *known)
            return self._call(node, "made", whole) if self._checked else whole
        if isinstance(node.func, ast.Attribute) and self._checked:
            made.func = self._member(node.func)
        elif not name:
            made.func = self._expression(node.func)
        if name in ("any", "all") and len(node.args) == 1 and not self._why_here():
            (given,) = node.args
            if (
                isinstance(given, ast.GeneratorExp)
                and not why_not([given], self._outside)
                and not any(isinstance(x, ast.NamedExpr) for x in walk(given))
            ):
                site = self._site(node, name, True, "")
                m = self._new()
                made.args = [self._in_vain(given, m)]
                search = self._call(node.func, "search", site, made.func)
                made.func = self._begun(node.func, m, search)
                return made
        if self._checked:
            made.func = self._call(node.func, "call", made.func)
            return self._call(node, "made", made)
        made.func = self._callee(node.func, made.func)
        return made

    def _callee(self, node: ast.AST, function: ast.expr) -> ast.expr:
        """What is called in the place of a function: of the first one it is known after that."""
        first, again = function, function
        if not isinstance(function, ast.Name):
            if self._in_iterable:
                return self._call(node, "call", function)
            name = self._new()
            first, again = self._begun(node, name, function), named(name)
        known, other = cells = self._new(), self._new()
        self.cells += cells
        asked = self._call(node, "call", again, *map(ast.Constant, cells))
        return placed(ast.IfExp(is_(first, known), named(other), asked), node)

    def _of_IfExp(self, node: ast.IfExp) -> Any:
        why = why_not([node.body, node.orelse], self._outside) or self._why_here()
        site = self._site(node, "a if c else b", True, why)
        if why:
            made = self._parts(node)
            made.test = self._truth(made.test, "truth", site)
            return made

        def both(test: ast.expr) -> ast.expr:
            m = self._new()
            first, second = self._in_vain(node.body), self._in_vain(node.orelse)
            begun = self._begun(node, m, self._call(node, "split", site, test))
            return self._call_on(
                node,
                begun,
                "picked",
                self._if_so(node.body, m, "then", first),
                self._call_of(node, m, "flip"),
                self._if_so(node.orelse, m, "otherwise", second),
            )

        sides = [lambda: self._expression(node.body), lambda: self._expression(node.orelse)]
        return self._by(self._new(TEST), self._expression(node.test), sides, both)

    def _of_BoolOp(self, node: ast.BoolOp) -> Any:
        kind = "and" if isinstance(node.op, ast.And) else "or"
        rest: ast.expr = node.values[-1]
        if len(node.values) > 2:
            rest = ast.copy_location(ast.BoolOp(node.op, node.values[1:]), node.values[1])
        if self._in_iterable:  # no name can be assigned there
            return self._parts(node)
        site = self._site(node, kind, True, why_not([rest], self._outside))

        def both(first: ast.expr) -> ast.expr:
            m, kept = self._new(), self._new()
            first = self._begun(node, kept, first)
            begun = self._begun(node, m, self._call(node, "part", site, first, ends))
            second = self._if_so(rest, m, "then", self._in_vain(rest))
            return self._call_on(node, begun, "joined", placed(named(kept), node), second)

        ends = named(TRUTHS[kind == "or"])
        sides: list[Callable[[], ast.expr]] = [lambda: self._expression(rest), lambda: ends]
        sides = sides if kind == "and" else sides[::-1]
        return self._by(self._new(), self._expression(node.values[0]), sides, both)

    def _of_UnaryOp(self, node: ast.UnaryOp) -> Any:
        if not isinstance(node.op, ast.Not):
            return self._parts(node)
        return self._truth(self._expression(node.operand), "negation")

    def _truth(self, test: ast.expr, name: str, *args: ast.expr) -> ast.expr:
        """What ``truth`` or ``negation`` says of a test."""
        first, second = map(named, TRUTHS if name == "negation" else TRUTHS[::-1])
        sides = [lambda: first, lambda: second]
        return self._by(self._new(TEST), test, sides, lambda x: self._call(test, name, *args, x))

    def _by(
        self,
        name: str,
        test: ast.expr,
        sides: Sequence[Callable[[], ast.expr]],
        otherwise: Callable[[ast.expr], ast.expr],
    ) -> ast.expr:
        """An expression by what a test gives: True, False, or something else, which is handed on.

        What may be in vain, and is slow anyway, is for the last alone, and not written twice.
        """
        if self._checked or self._logged or self._in_iterable:
            return otherwise(test)
        begun = self._begun(test, name, test)
        by_false = ast.IfExp(is_(named(name), TRUTHS[0]), sides[1](), otherwise(named(name)))
        return placed(ast.IfExp(is_(begun, TRUTHS[1]), sides[0](), by_false), test)

    def _of_Compare(self, node: ast.Compare) -> Any:
        if len(node.ops) == 1 or self._why_here():
            made = self._parts(node)
            if self._checked:
                made.comparators = [
                    self._call(y, "contents", x)
                    if not isinstance(y, ast.Constant) and isinstance(op, _LOOKING)
                    else x
                    for op, x, y in zip(node.ops, made.comparators, node.comparators, strict=True)
                ]
            return made
        left, parts = node.left, []
        for i, (op, right) in enumerate(zip(node.ops, node.comparators, strict=True)):
            following = right
            if i < len(node.ops) - 1 and not isinstance(right, (ast.Name, ast.Constant)):
                name = self._new()
                following = ast.copy_location(named(name), right)
                right = ast.copy_location(ast.NamedExpr(named(name, ast.Store()), right), right)
            parts.append(ast.copy_location(ast.Compare(left, [op], [right]), node))
            left = following
        return self._of_BoolOp(ast.copy_location(ast.BoolOp(ast.And(), [*parts]), node))

    def _asked(self, test: ast.expr, kind: str, why: str) -> ast.expr:
        """What is asked for its truth, where only one side runs."""
        site = self._site(test, kind, False, why)
        return self._truth(self._expression(test), "truth", site)

    def _why_here(self) -> str:
        return "it stands in what a comprehension goes through" if self._in_iterable else ""

    def _in_vain(self, node: ast.expr, loop: str = "") -> ast.expr:
        """An expression that may run in vain, of a loop or not."""
        checked, self._checked = self._checked, True
        made = self._source_of(node, loop)
        self._checked = checked
        return made

    def _through(self, node: ast.expr) -> ast.expr:
        """What a loop goes through."""
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("enumerate", "reversed", "zip")
            and not any(isinstance(x, ast.Starred) for x in node.args)
            and all(x.arg for x in node.keywords)
        ):
            made = copy.copy(node)
            made.args = [self._through(x) for x in node.args]
            made.keywords = [self._part(x) for x in node.keywords]
            made.func = self._attribute(node, "through")
            made.args.insert(0, node.func)
            return made
        return self._expression(node)

    def _source_of(self, node: ast.expr, loop: str) -> ast.expr:
        """What a loop goes through: if it may be left, nothing that others go through too."""
        waiting: list[ast.expr] = [node] if loop else []
        for x in waiting:
            self._sources[id(x)] = loop, x is node
            if isinstance(x, ast.Call):
                waiting += [y.value if isinstance(y, ast.Starred) else y for y in x.args]
            elif isinstance(x, ast.GeneratorExp):
                waiting += [y.iter for y in x.generators]
        return self._expression(node)

    # Parts

    def _site(self, node: Any, kind: str, eager: bool, why: str) -> ast.expr:
        """What names a place where the function branches."""
        name = f"{kind} {self._place(node)}"
        self._sites.setdefault(name, Site(line_text(self._code, node.lineno), kind, eager, why))
        return placed(ast.Constant(name), node)

    def _place(self, node: Any) -> str:
        """Where it stands."""
        line = line_text(self._code, node.lineno)
        return f"{line}:{node.col_offset}-{node.end_lineno}:{node.end_col_offset}"

    def _new(self, kind: str = RUNTIME) -> str:
        """A new name of the function."""
        self._count += 1
        return f"{kind}_{self._count}"

    def _attribute(self, node: ast.AST, name: str) -> ast.expr:
        return ast.copy_location(ast.Attribute(named(RUNTIME), name, ast.Load()), node)

    def _call(self, node: ast.AST, name: str, *args: ast.expr) -> ast.expr:
        """A call of the runtime, in the place of a node."""
        return placed(ast.Call(self._attribute(node, name), [*args], []), node)

    def _call_on(self, node: ast.AST, owner: ast.expr, name: str, *args: ast.expr) -> ast.expr:
        return placed(ast.Call(ast.Attribute(owner, name, ast.Load()), [*args], []), node)

    def _call_of(self, node: ast.AST, owner: str, name: str, *args: ast.expr) -> ast.expr:
        return self._call_on(node, named(owner), name, *args)

    def _do(self, node: ast.AST, name: str, *args: ast.expr) -> ast.stmt:
        return placed(ast.Expr(self._call(node, name, *args)), node)

    def _do_of(self, node: ast.AST, owner: str, name: str, *args: ast.expr) -> ast.stmt:
        return placed(ast.Expr(self._call_of(node, owner, name, *args)), node)

    def _begun(self, node: ast.AST, name: str, value: ast.expr) -> ast.expr:
        return placed(ast.NamedExpr(named(name, ast.Store()), value), node)

    def _if_so(self, node: ast.AST, owner: str, name: str, value: ast.expr) -> ast.expr:
        """A value where one side of a branch runs, else None."""
        test = ast.Attribute(named(owner), name, ast.Load())
        return placed(ast.IfExp(test, value, ast.Constant(None)), node)

    def _assign(self, node: ast.AST, name: str, value: ast.expr) -> ast.stmt:
        return placed(ast.Assign([named(name, ast.Store())], value), node)

    def _when(self, node: ast.AST, owner: str, name: str, body: list[ast.stmt]) -> ast.stmt:
        test = ast.Attribute(named(owner), name, ast.Load())
        return placed(ast.If(test, body or [ast.Pass()], []), node)

    def _tuple(self, names: list[str], context: ast.expr_context) -> ast.expr:
        return ast.Tuple([named(name, context) for name in names], context)


def is_(x: ast.expr, name: str) -> ast.expr:
    """Whether something is what a variable is."""
    return ast.Compare(x, [ast.Is()], [named(name)])


def named(name: str, context: ast.expr_context | None = None) -> ast.Name:
    """A variable."""
    return ast.Name(name, ast.Load() if context is None else context)


def placed(made: T, node: ast.AST) -> T:
    """A new node, and what is new in it, in the place of another one."""
    ast.copy_location(made, node)
    waiting: list[ast.AST] = [made]
    for x in waiting:
        for child in children(x):
            if "lineno" not in child._attributes:
                waiting.append(child)
            elif not hasattr(child, "lineno"):
                waiting.append(ast.copy_location(child, node))
    return made


def _chain(node: ast.Subscript) -> tuple[ast.expr, list[ast.expr]]:
    """What an element is of, and the keys that lead to it, one after the other."""
    owner, keys = node.value, [node.slice]
    while isinstance(owner, ast.Subscript) and not _has_slice(owner):
        keys.insert(0, owner.slice)
        owner = owner.value
    return owner, keys


def _has_slice(node: ast.Subscript) -> bool:
    keys = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return any(isinstance(key, ast.Slice) for key in keys)
