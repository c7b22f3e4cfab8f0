"""Functions that are pure for certain, with the numbers that they read.

A pure function gives the same for the same arguments and the same numbers in its closure, defaults
and globals, and does nothing else. Which ones are is said by what they are made of: names of their
own, numbers, lists and tuples, and calls of other pure functions. All else is taken for impure.
"""

from __future__ import annotations

import ast
import builtins
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, Final, NoReturn

import chainrule
from chainrule import forking, lax, transforms
from chainrule import math as numbers
from chainrule.jit.references import globals_of
from chainrule.transforms import Gradient

from .nodes import walk
from .source import NoSource, is_librarys, source_of

_FRESH: Final = ("len", "list", "range", "sorted")
"""Builtins whose results nothing else refers to."""
_BUILTINS: Final = (
    *(*_FRESH, "abs", "all", "any", "enumerate", "map", "max", "min", "pow", "reversed", "sum"),
    *("tuple", "zip", "ArithmeticError", "ValueError", "ZeroDivisionError"),
)
_TRANSFORMS: Final = (
    *("grad", "value_and_grad", "hessian", "hvp", "jacfwd", "jacobian", "jacrev", "jvp", "vjp"),
)
_NUMBERS: Final = frozenset([*numbers.__all__, *vars(math)]) - {"prod"}
"""Functions of these modules that give a number, or else an error."""
_MODULES: Final = (chainrule, numbers, lax, math)

_KINDS: Final = (
    *(ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Compare, ast.Constant, ast.Name),
    *(ast.NamedExpr, ast.Tuple, ast.List, ast.Call, ast.keyword, ast.Starred, ast.Attribute),
    *(ast.Subscript, ast.Slice, ast.Lambda, ast.ListComp, ast.GeneratorExp, ast.comprehension),
    *(ast.arguments, ast.arg, ast.Return, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.If),
    *(ast.For, ast.While, ast.Break, ast.Continue, ast.Pass, ast.Expr, ast.FunctionDef, ast.Raise),
)
_builtins: Final = attrgetter("__builtins__")
_SCALARS: Final = frozenset([float, int, bool, type(None)])
_DATA: Final = _SCALARS | {list, tuple}
_MOST: Final = 1_000
"""Codes of which it is kept what they use."""
_DEEPEST: Final = 30
"""Functions that may call one another."""


class Impure(Exception):
    """A function is not pure for certain; says why."""


@cache
def _known() -> dict[int, Any]:
    """What may be called, by id."""
    of_math = [vars(math)[name] for name in vars(math) if name[0] != "_"]
    found = [
        *(getattr(builtins, name) for name in _BUILTINS),
        *(getattr(transforms, name) for name in _TRANSFORMS),
        *(getattr(lax, name) for name in lax.__all__),
        *(getattr(numbers, name) for name in numbers.__all__),
        *of_math,
    ]
    return {id(x): x for x in found if callable(x)}


@dataclass(frozen=True, eq=False)
class Uses:
    """What a code uses from outside.

    Attributes:
        code: the code.
        impure: why it may not be pure; "" where it is.
        globals: the names of global values and builtins.
        chains: by name, the attributes of attributes that are read of it.
        modules: what was found to be a module whose attributes are pure, by its name.
    """

    code: CodeType
    impure: str = ""
    globals: tuple[str, ...] = ()
    chains: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    modules: dict[str, ModuleType] = field(default_factory=dict)

    @forking.computed_once
    def names(self) -> tuple[str, ...]:
        """Those of the values from outside, in order: of cells, globals, and defaults at last."""
        return *self.code.co_freevars, *self.globals, *[""] * self.code.co_argcount


_LOCK: Final = forking.lock()
_USES: Final[dict[int, Uses]] = {}  # by the id of code


def _uses(function: FunctionType) -> Uses:
    """What a function uses from outside.

    Raises:
        Impure: if it does something that may not be pure.
    """
    code = function.__code__
    found = _USES.get(id(code))
    if found is None:
        try:
            found = _Scan(code, function.__globals__).uses
        except (Impure, NoSource) as error:
            found = Uses(code, str(error))
        with _LOCK:
            if len(_USES) >= _MOST:
                _USES.clear()
            _USES[id(code)] = found
    if found.impure:
        raise Impure(found.impure)
    return found


class _Scan:
    """Looks at all that is in the source of a function.

    Raises:
        Impure: if something there may not be pure.
        NoSource: if it is not found.
    """

    def __init__(self, code: CodeType, values: dict[str, Any]) -> None:
        if is_librarys(code):
            raise NoSource("it is a library's")
        tree = source_of(code, values).tree
        names = _globals(code)
        self._outside = frozenset([*names, *code.co_freevars])
        body = [tree.body] if isinstance(tree, ast.Lambda) else tree.body
        self._nodes = [node for part in body for node in walk(part)]
        self._values = self._bound([x.arg for x in walk(tree.args) if isinstance(x, ast.arg)])
        both = self._outside & self._values.keys()
        if both:
            raise Impure(f"{min(both)} is a name of its own and of others")
        self._chains: dict[str, set[tuple[str, ...]]] = {}
        self._done: set[int] = set()  # ids of nodes that have been looked at with others
        for node in self._nodes:
            if id(node) not in self._done:
                self._look(node)
        chains = {name: tuple(sorted(found)) for name, found in self._chains.items()}
        self.uses = Uses(code, "", names, chains)

    def _bound(self, parameters: Sequence[str]) -> dict[str, list[ast.AST | None]]:
        """What names are bound to, in the function or in those in it; None for what may be any."""
        found: dict[str, list[ast.AST | None]] = {name: [None] for name in parameters}
        for node in self._nodes:
            pairs: list[tuple[ast.AST, ast.AST | None]] = []
            if isinstance(node, ast.Assign):
                pairs = [(target, node.value) for target in node.targets]
            elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)):
                pairs = [(node.target, node.value)]
            elif isinstance(node, (ast.For, ast.comprehension)):
                pairs = [(node.target, None)]
            elif isinstance(node, ast.FunctionDef):
                found.setdefault(node.name, []).append(None)
            elif isinstance(node, ast.arg):
                found.setdefault(node.arg, []).append(None)
            for target, value in pairs:
                self._bind(target, value, found)
        return found

    def _bind(
        self, target: ast.AST, value: ast.AST | None, found: dict[str, list[ast.AST | None]]
    ) -> None:
        if isinstance(target, ast.Name):
            found.setdefault(target.id, []).append(value)
        elif isinstance(target, (ast.Tuple, ast.List)):
            given = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
            paired = len(given) == len(target.elts) and not any(
                isinstance(x, ast.Starred) for x in [*given, *target.elts]
            )
            for i, part in enumerate(target.elts):
                self._bind(part, given[i] if paired else None, found)
        elif isinstance(target, ast.Starred):
            self._bind(target.value, None, found)

    def _look(self, node: ast.AST) -> None:
        if not isinstance(node, _KINDS):
            self._refuse(node, f"there is {type(node).__name__}")
        if isinstance(node, ast.Attribute):
            self._look_at_attribute(node)
        elif isinstance(node, ast.Constant):
            if type(node.value) not in _SCALARS:
                self._refuse(node, f"there is {node.value!r}")
        elif isinstance(node, ast.Compare):
            self._look_at_comparison(node)
        elif isinstance(node, ast.AugAssign):
            self._check_changed(node, node.target, isinstance(node.op, (ast.Add, ast.Mult)))
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.For, ast.comprehension)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                self._look_at_target(target)
        elif isinstance(node, ast.Expr):
            self._look_at_statement(node)
        elif isinstance(node, ast.Raise):
            self._look_at_raise(node)
        elif isinstance(node, ast.keyword) and node.arg is None:
            self._refuse(node, "there are keywords in a dict")

    def _look_at_attribute(self, node: ast.Attribute) -> None:
        """Attributes are read of modules."""
        chain: list[str] = []
        base: ast.expr = node
        while isinstance(base, ast.Attribute):
            self._done.add(id(base))
            chain.append(base.attr)
            base = base.value
        named = isinstance(base, ast.Name) and base.id in self._outside
        if not named or not isinstance(node.ctx, ast.Load):
            self._refuse(node, f"there is an attribute {node.attr}")
        assert isinstance(base, ast.Name)
        self._done.add(id(base))
        self._chains.setdefault(base.id, set()).add(tuple(reversed(chain)))

    def _look_at_comparison(self, node: ast.Compare) -> None:
        for op, x in zip(node.ops, node.comparators, strict=True):
            none = isinstance(x, ast.Constant) and x.value is None
            if isinstance(op, (ast.In, ast.NotIn)) or (
                isinstance(op, (ast.Is, ast.IsNot)) and not none
            ):
                self._refuse(node, "it is asked which object something is")

    def _look_at_target(self, target: ast.expr) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            for part in target.elts:
                self._look_at_target(part)
        elif isinstance(target, ast.Starred):
            self._look_at_target(target.value)
        else:
            self._check_changed(target, target, False)

    def _look_at_statement(self, node: ast.Expr) -> None:
        """An expression that is a statement: a text, or something that is appended to a list."""
        value = node.value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            self._done.add(id(value))
        elif (
            isinstance(value, ast.Call)
            and isinstance(value.func, ast.Attribute)
            and value.func.attr == "append"
            and isinstance(value.func.value, ast.Name)
        ):
            self._check_changed(node, value.func.value, True)
            self._done.add(id(value.func))

    def _look_at_raise(self, node: ast.Raise) -> None:
        """An exception with a text."""
        for x in walk(node):
            if isinstance(x, ast.Constant) and isinstance(x.value, str):
                self._done.add(id(x))

    def _check_changed(self, node: ast.AST, target: ast.AST, lists: bool) -> None:
        """Raise Impure if what changes may be of others.

        Args:
            node: where it is.
            target: a name; or an element of what has a name.
            lists: whether a list that the name stands for would change.
        """
        if isinstance(target, ast.Subscript):
            target, lists = target.value, True
        if not isinstance(target, ast.Name):
            self._refuse(node, "something without a name is changed")
        if lists and not all(map(self._is_fresh, self._values.get(target.id, [None]))):
            self._refuse(node, f"{target.id} may be of others")

    def _is_fresh(self, value: ast.AST | None) -> bool:
        """Whether nothing else refers to the value of an expression, or it never changes."""
        if isinstance(value, ast.IfExp):
            return self._is_fresh(value.body) and self._is_fresh(value.orelse)
        if isinstance(value, ast.Call):
            of = value.func
            if isinstance(of, ast.Attribute):
                return of.attr in _NUMBERS
            return isinstance(of, ast.Name) and of.id in _FRESH and of.id in self._outside
        fresh = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.Compare, ast.List, ast.ListComp)
        return isinstance(value, (*fresh, ast.Tuple))

    def _refuse(self, node: ast.AST, why: str) -> NoReturn:
        raise Impure(f"{why} (line {getattr(node, 'lineno', '?')})")


def _globals(code: CodeType) -> tuple[str, ...]:
    """The global names that a code and the codes in it read."""
    return tuple(sorted(globals_of(code)))


def read(function: FunctionType) -> tuple[Hashable, list[Any]]:
    """What a pure function reads from outside, now.

    Returns:
        What is the same only where the same code would run, and the numbers that it reads.

    Raises:
        Impure: if it is not pure for certain.
    """
    tokens: list[Hashable] = []
    data: list[Any] = []
    _read_function(function, tokens, data, 0)
    return tuple(tokens), data


def _read_function(
    function: FunctionType, tokens: list[Hashable], data: list[Any], depth: int
) -> None:
    if depth > _DEEPEST:
        raise Impure("its functions call one another")
    uses = _uses(function)
    tokens.append(uses)
    known = _known()
    for name, value in zip(uses.names, _outside(function, uses), strict=False):
        kind = type(value)
        if kind is ModuleType:
            if uses.modules.get(name) is not value:
                _check_module(value, uses, name)
                uses.modules[name] = value
            tokens.append(id(value))
        elif name in uses.chains:
            raise Impure(f"an attribute of {name} is read")
        elif kind in _DATA:
            if kind is not float:
                check_data(value)
            tokens.append(None)
            data.append(value)
        elif kind is FunctionType and id(value) not in known:
            _read_function(value, tokens, data, depth + 1)
        elif id(value) in known and (name not in _FRESH or value is getattr(builtins, name)):
            tokens.append(id(value))
        elif kind is Gradient and type(value.function) is FunctionType:
            argnums = value.argnums if type(value.argnums) is int else tuple(value.argnums)
            tokens += (value.name, argnums, value.has_aux, value.value)
            _read_function(value.function, tokens, data, depth + 1)
        else:
            raise Impure(f"{name} is {kind.__name__}")


def _outside(function: FunctionType, uses: Uses) -> list[Any]:
    """The values from outside, in the order of their names: cells, globals, defaults."""
    values = function.__globals__
    try:
        found = [cell.cell_contents for cell in function.__closure__ or ()]
        for name in uses.globals:
            found.append(values[name] if name in values else _builtins(function)[name])
    except (KeyError, ValueError):
        raise Impure("a name has no value") from None
    if function.__kwdefaults__:
        raise Impure("it has defaults of keywords")
    return [*found, *function.__defaults__] if function.__defaults__ else found


def _check_module(module: ModuleType, uses: Uses, name: str) -> None:
    """Raise Impure unless what is read of a module is known to be pure."""
    for chain in uses.chains.get(name, ()):
        value: Any = module
        for attribute in chain:
            if not any(value is x for x in _MODULES):
                raise Impure(f"an attribute of {value!r} is read")
            value = getattr(value, attribute, None)
        if id(value) not in _known() and type(value) is not float:
            raise Impure(f"{'.'.join(chain)} of {name} may not be pure")


def check_data(value: Any) -> None:
    """Raise Impure if something is not made of plain numbers, in lists and tuples."""
    kind = type(value)
    if kind is list or kind is tuple:
        if not _SCALARS.issuperset(map(type, value)):
            for x in value:
                check_data(x)
    elif kind not in _SCALARS:
        raise Impure(f"there is {kind.__name__} among its numbers")


def maker(function: FunctionType) -> Callable[[Iterator[Any]], FunctionType]:
    """What makes a function like a pure one, that reads other numbers.

    It is called with these numbers, in the order of :func:`read`, and keeps none of those that the
    function reads.
    """
    uses = _uses(function)
    code, name = function.__code__, function.__name__
    around = {key: function.__globals__.get(key) for key in ("__name__", "__loader__", "__spec__")}
    around["__builtins__"] = _builtins(function)
    names = uses.names
    parts = [_maker_of(value) for value in _outside(function, uses)]
    n_cells, n_names = len(code.co_freevars), len(code.co_freevars) + len(uses.globals)

    def make(data: Iterator[Any]) -> FunctionType:
        values = [part(data) for part in parts]
        held = dict(zip(names[n_cells:n_names], values[n_cells:n_names], strict=True))
        cells = tuple(map(CellType, values[:n_cells]))
        return FunctionType(code, {**around, **held}, name, tuple(values[n_names:]) or None, cells)

    return make


def _maker_of(value: Any) -> Callable[[Iterator[Any]], Any]:
    kind = type(value)
    if kind in _DATA:
        return next
    if kind is FunctionType and id(value) not in _known():
        return maker(value)
    if kind is Gradient:
        make, given = maker(value.function), (value.argnums, value.has_aux, value.value)
        return lambda data: Gradient(make(data), *given)
    return lambda data: value
