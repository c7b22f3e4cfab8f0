"""Which statements may run although their side of a branch is not taken: by the syntax tree.

They assign names of their function, by expressions that may have no effect. What the names stand
for is looked at when they run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Final, TypeGuard

from .nodes import children, walk

_EXPRESSIONS: Final = (
    *(ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Compare, ast.Constant, ast.Name),
    *(ast.NamedExpr, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.Call, ast.keyword, ast.Starred),
    *(ast.Attribute, ast.Subscript, ast.Slice, ast.Lambda, ast.ListComp, ast.SetComp),
    *(ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.arguments, ast.arg),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context),
)
SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
EXITS: Final = (ast.Return, ast.Break, ast.Continue)
_WHAT: Final[dict[type[ast.AST], str]] = {
    ast.Raise: "an exception is raised",
    ast.Assert: "there is an assert",
    ast.Try: "there is a try",
    ast.With: "there is a with",
    ast.Delete: "a name is deleted",
    ast.Expr: "a call's result is not used",
    ast.Import: "something is imported",
    ast.ImportFrom: "something is imported",
    ast.FunctionDef: "a function is defined",
    ast.ClassDef: "a class is defined",
    ast.JoinedStr: "there is a formatted text",
}


class _Added(ast.AugAssign):
    target: ast.Name


def why_not(nodes: Iterable[ast.AST], outside: frozenset[str], appends: bool = False) -> str:
    """Why statements or expressions may not run in vain; "" if they may.

    Args:
        nodes: the statements.
        outside: the names that belong to others than the function.
        appends: whether they may append to lists, of which it is seen then which these are.
    """
    for node in nodes:
        if appends and any(map(_asks_for_identity, walk(node))):
            return "it is asked whether two are the same"
        found = _why_not(node, outside, appends)
        if found:
            return found
    return ""


def _why_not(node: ast.AST, outside: frozenset[str], appends: bool) -> str:
    if isinstance(node, ast.expr):
        return _of_expression(node, outside)
    if isinstance(node, (ast.Pass, ast.Break, ast.Continue)):
        return ""
    if isinstance(node, ast.Return):
        return "" if node.value is None else _of_expression(node.value, outside)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return ""
    said = appended(node) if appends else None
    if said is not None:
        return why_not(said[1], outside)
    if isinstance(node, ast.Assign):
        return _of_targets(node.targets, outside) or _of_expression(node.value, outside)
    if isinstance(node, ast.AugAssign):
        return _of_targets([node.target], outside) or _of_expression(node.value, outside)
    if isinstance(node, ast.AnnAssign) and node.simple:
        value = "" if node.value is None else _of_expression(node.value, outside)
        return _of_targets([node.target], outside) or value
    if isinstance(node, ast.If):
        parts: list[ast.AST] = [node.test, *node.body, *node.orelse]
        return why_not(parts, outside, appends)
    if isinstance(node, (ast.For, ast.While)):
        head = [node.iter] if isinstance(node, ast.For) else [node.test]
        targets = _of_targets([node.target], outside) if isinstance(node, ast.For) else ""
        return targets or why_not([*head, *node.body, *node.orelse], outside, appends)
    return _said(node)


def _asks_for_identity(node: ast.AST) -> bool:
    """Whether it is asked which object something is, but for what there is only one of."""
    return isinstance(node, ast.Compare) and any(
        isinstance(op, (ast.Is, ast.IsNot)) and not any(isinstance(y, ast.Constant) for y in pair)
        for op, *pair in zip(
            node.ops, [node.left, *node.comparators[:-1]], node.comparators, strict=True
        )
    )


def _of_targets(targets: Iterable[ast.expr], outside: frozenset[str]) -> str:
    for target in targets:
        if len(stored(target)) == len(parts_of(target)):
            continue
        for node in walk(target):
            if isinstance(node, ast.Name):
                if node.id in outside:
                    return _at(node, f"{node.id}, a name of others, is assigned")
            elif isinstance(node, ast.Attribute):
                return _at(node, "an attribute is assigned")
            elif isinstance(node, ast.Subscript):
                return _at(node, "an element is assigned")
    return ""


def appended(node: ast.AST) -> tuple[str, list[ast.expr]] | None:
    """The name of a list and what a statement appends to it, if it does only that."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        call = node.value
        if (
            isinstance(call.func, ast.Attribute)
            and call.func.attr == "append"
            and isinstance(call.func.value, ast.Name)
            and len(call.args) == 1
            and not call.keywords
            and not isinstance(call.args[0], ast.Starred)
        ):
            return call.func.value.id, call.args
    elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
        target, value = node.target, node.value
        if (
            isinstance(target, ast.Name)
            and isinstance(value, ast.List)
            and not any(isinstance(x, ast.Starred) for x in value.elts)
        ):
            return target.id, value.elts
    return None


def is_added(node: ast.AST) -> TypeGuard[_Added]:
    """Whether a statement adds something to a variable: a list gets more elements then."""
    return (
        isinstance(node, ast.AugAssign)
        and isinstance(node.op, ast.Add)
        and isinstance(node.target, ast.Name)
    )


def parts_of(target: ast.expr) -> list[ast.expr]:
    """What a target of an assignment assigns."""
    return target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]


def stored(target: ast.expr) -> list[ast.Subscript]:
    """The elements among these, of names and by indices that are no slices."""
    return [
        x
        for x in parts_of(target)
        if isinstance(x, ast.Subscript)
        and not any(isinstance(y, ast.Slice) for y in walk(x.slice))
        and not _of_expression(x.value, frozenset())
        and not _of_expression(x.slice, frozenset())
    ]


def _of_expression(root: ast.expr, outside: frozenset[str]) -> str:
    for node in walk(root):
        if not isinstance(node, _EXPRESSIONS):
            return _said(node)
        if isinstance(node, ast.comprehension) and node.is_async:
            return _at(root, "it is asynchronous")
        if isinstance(node, ast.NamedExpr) and node.target.id in outside:
            return _at(node, f"{node.target.id}, a name of others, is assigned")
    return ""


def _said(node: ast.AST) -> str:
    return _at(node, _WHAT.get(type(node), f"there is {type(node).__name__}"))


def _at(node: ast.AST, what: str) -> str:
    line = getattr(node, "lineno", None)
    return what if line is None else f"{what} (line {line})"


def own(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The nodes of some trees that belong to the same function.

    Neither what is defined in it nor the variables of comprehensions do.
    """
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.comprehension):
            waiting += [node.iter, *node.ifs]
        elif not isinstance(node, SCOPES):
            waiting += children(node)


def assigned(nodes: Iterable[ast.AST]) -> list[str]:
    """The names that statements assign, in the order of the alphabet."""
    return sorted(
        {x.id for x in own(nodes) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)}
    )


def exits(nodes: Iterable[ast.stmt]) -> set[type[ast.stmt]]:
    """Which of ``return``, ``break`` and ``continue`` statements have that lead out of them."""
    found: set[type[ast.stmt]] = set()
    waiting: list[tuple[ast.AST, bool]] = [(node, False) for node in nodes]
    while waiting:
        node, in_loop = waiting.pop()
        if isinstance(node, ast.Return) or (
            isinstance(node, (ast.Break, ast.Continue)) and not in_loop
        ):
            found.add(type(node))
        if isinstance(node, SCOPES) or not isinstance(node, (ast.stmt, ast.excepthandler)):
            continue
        loop = isinstance(node, (ast.For, ast.While, ast.AsyncFor))
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                inside = in_loop or (loop and name == "body")
                waiting += [(x, inside) for x in value if isinstance(x, ast.AST)]
    return found
