"""The syntax tree of a function, where its source is found for certain.

The tree that is found by file, line and name is compiled as it is, and must give the very code of
the function: so nothing is taken for the source that is not (a file that has changed, another
lambda on the line, code that something else has rewritten).
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import copy
import linecache
import os
from collections.abc import Iterator
from functools import reduce
from operator import or_
from types import CodeType
from typing import Any, Final, NamedTuple

from chainrule import forking

from .nodes import children

MOST_LINES: Final = 20_000
"""The lines beyond which a file is not read."""

_FUTURE: Final = reduce(
    or_, [getattr(__future__, name).compiler_flag for name in __future__.all_feature_names]
)
_NESTED: Final = 0x10
_OWN_FLAGS: Final = ~(_NESTED | _FUTURE)

Function = ast.FunctionDef | ast.Lambda

_OTHERS: Final = tuple(
    os.path.join(os.path.dirname(os.path.realpath(file)), "")
    for file in (os.path.dirname(__file__), os.__file__)
)
_PACKAGES: Final = {"site-packages", "dist-packages"}
"""Where no functions of the user's are."""


class Source(NamedTuple):
    """Where a function is written.

    Attributes:
        tree: its own, of which nothing may be changed.
        class_name: the class around it, whose name is part of private names; "" for none.
        imported: the names that the module imports: calls of their attributes are other code.
    """

    tree: Function
    class_name: str
    imported: tuple[str, ...]


class NoSource(Exception):
    """The source of a function is not found, or not for certain."""


def source_of(code: CodeType, values: dict[str, Any]) -> Source:
    """The source of a function by its code.

    Args:
        code: of the function.
        values: its global values.

    Raises:
        NoSource: if it is not certain; says why.
    """
    file = _parsed(code.co_filename, values)
    for source in _functions(file, code.co_firstlineno, code.co_name):
        try:
            found = compiled(source, source.tree, code, code.co_freevars)
        except (SyntaxError, ValueError):
            continue
        if _key(found) == _key(code):
            return source
    raise NoSource("its source is not found")


def compiled(source: Source, tree: Function, code: CodeType, around: tuple[str, ...]) -> CodeType:
    """The code of a tree in the place of a function.

    Args:
        source: of the function.
        tree: its own, or one made of it, in which all have a place.
        code: of the function.
        around: the names of the functions around it that it may use.
    """
    inner: Any = _bare(tree)
    if isinstance(tree, ast.Lambda):
        inner = ast.copy_location(ast.Expr(inner), tree)
    module = ast.parse(f"def around({', '.join(around)}):\n    pass")
    outer: Any = module.body[0]
    if source.imported:
        names = [ast.copy_location(ast.alias(name), tree) for name in source.imported]
        module.body.insert(0, ast.copy_location(ast.Import(names), tree))
    place, name = outer.body, source.class_name or getattr(tree, "name", "")
    if source.class_name:
        place[:] = ast.parse(f"class {source.class_name}:\n    pass").body
        outer = place[0]
    outer.body[:] = [inner]
    if name and name not in around:  # it is no variable of a function around it
        place.insert(0, ast.copy_location(ast.Global([name]), tree))
    flags = code.co_flags & _FUTURE
    whole = compile(module, code.co_filename, "exec", flags, dont_inherit=True)
    found = _inner(whole, 2 + bool(source.class_name))
    if hasattr(code, "co_qualname"):
        found = found.replace(co_qualname=code.co_qualname)
    return found


def _inner(code: CodeType, depth: int) -> CodeType:
    for _ in range(depth):
        code = next(x for x in code.co_consts if isinstance(x, CodeType))
    return code


def _bare(tree: Any) -> Any:
    """A function without what is evaluated outside of it."""
    bare = copy.copy(tree)
    arguments = bare.args = copy.copy(tree.args)
    arguments.defaults = []
    arguments.kw_defaults = [None] * len(arguments.kwonlyargs)
    for kind in ("posonlyargs", "args", "kwonlyargs"):
        setattr(arguments, kind, [_unannotated(x) for x in getattr(arguments, kind)])
    for kind in ("vararg", "kwarg"):
        one = getattr(arguments, kind)
        setattr(arguments, kind, None if one is None else _unannotated(one))
    if isinstance(tree, ast.FunctionDef):
        bare.decorator_list, bare.returns = [], None
    return bare


def _unannotated(argument: ast.arg) -> ast.arg:
    return ast.copy_location(ast.arg(argument.arg), argument)


def _key(code: CodeType) -> tuple[Any, ...]:
    """What makes the code of a function, but for where it stands."""
    return (
        code.co_code,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        code.co_flags & _OWN_FLAGS,
        tuple(map(_constant_key, code.co_consts)),
    )


def _constant_key(x: object) -> Any:
    if isinstance(x, CodeType):
        return (x.co_name, *_key(x))
    if isinstance(x, tuple):
        return tuple(map(_constant_key, x))
    if isinstance(x, frozenset):
        return frozenset(map(_constant_key, x))
    text = x.rpartition("<locals>.")[2] if isinstance(x, str) else repr(x)  # a qualified name
    return type(x), text


def is_librarys(code: CodeType) -> bool:
    """Whether functions of a code are not the user's: they always run as they are."""
    file = os.path.realpath(code.co_filename)
    return file.startswith(_OTHERS) or not _PACKAGES.isdisjoint(file.split(os.sep))


class _File(NamedTuple):
    """A file, read and parsed; see Source."""

    lines: list[str]
    module: ast.Module
    imported: tuple[str, ...]


_LOCK: Final = forking.lock()
_FILES: Final[dict[str, _File]] = {}


def _parsed(file: str, values: dict[str, Any]) -> _File:
    linecache.checkcache(file)
    lines = linecache.getlines(file, values)
    with _LOCK:
        known = _FILES.get(file)
        if known is not None and known.lines is lines:
            return known
    module = ast.Module([], [])
    if lines and len(lines) <= MOST_LINES:
        with contextlib.suppress(SyntaxError, ValueError, RecursionError):
            module = ast.parse("".join(lines))
    found = _File(lines, module, tuple(sorted(_imported(module))))
    with _LOCK:
        _FILES[file] = found
    return found


def _functions(file: _File, line: int, name: str) -> Iterator[Source]:
    """The functions of a name that begin in a line, the first one last."""
    waiting: list[tuple[ast.AST, str]] = [(file.module, "")]
    while waiting:
        node, around = waiting.pop()
        if isinstance(node, ast.ClassDef):
            around = node.name
        elif isinstance(node, ast.Lambda):
            if name == "<lambda>" and node.lineno == line:
                yield Source(node, around, file.imported)
        elif (
            isinstance(node, ast.FunctionDef)
            and node.name == name
            and _first_line(node) == line
            and not getattr(node, "type_params", ())
        ):
            yield Source(node, around, file.imported)
        waiting += [
            (child, around)
            for child in children(node)
            if _first_line(child) <= line <= getattr(child, "end_lineno", line)
        ]


def _first_line(node: ast.AST) -> int:
    """Where a node begins, with its decorators; 0 if it does not say."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([getattr(node, "lineno", 0), *[x.lineno for x in decorators]])


def _imported(module: ast.Module) -> set[str]:
    """The names that a module imports, functions and classes aside."""
    names = set()
    waiting: list[ast.AST] = [module]
    for node in waiting:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {x.asname or x.name.partition(".")[0] for x in node.names} - {"*"}
        elif isinstance(node, (ast.stmt, ast.Module, ast.excepthandler)) and not isinstance(
            node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        ):
            waiting += children(node)
    return names
