# ruff: noqa: D103
"""Walks through syntax trees: as those of the module ast."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import chainrule
from chainrule.rewriting.nodes import children, walk

MARKS = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)
EVERYTHING = """
@d
async def f(a, /, b: int = 1, *c, d=2, **e) -> int:
    global g
    with a as (b, *c), d: await x
    async for i in y: pass
    try: raise X from y
    except (A, B) as z: del z[1:2, 3]
    finally: return {**a, 'b': 1}, {1, 2}, f'{a!r:{b}}', lambda x=1: not x
    match a:
        case {'x': 1, **r} | [_, *q] | C(p, k=None) if a < b <= c: yield
    a[b].c += [x for x in y if z for w in x] and (u := 1) or -v
"""


def without_marks(nodes: Iterable[ast.AST]) -> list[ast.AST]:
    return [x for x in nodes if not isinstance(x, MARKS)]


def trees() -> Iterator[ast.Module]:
    yield ast.parse(EVERYTHING)
    for file in sorted(Path(chainrule.__file__).parent.rglob("*.py"))[:40]:
        yield ast.parse(file.read_text(encoding="utf-8"))


def test_walks_find_what_those_of_ast_find_but_operators() -> None:
    for tree in trees():
        nodes = list(ast.walk(tree))
        assert walk(tree) == without_marks(nodes)
        for node in nodes:
            assert children(node) == without_marks(ast.iter_child_nodes(node))


def test_nodes_that_are_made_may_lack_parts() -> None:
    bare = ast.Return()
    assert children(bare) == []
    assert walk(ast.Assign([ast.Name("x")], ast.Constant(1)))[1:]
