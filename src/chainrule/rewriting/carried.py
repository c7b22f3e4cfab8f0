"""Which loops may be traced once, by the syntax tree, and what their iterations hand on."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from .harmless import EXITS, SCOPES, appended, assigned, exits, is_added, own, why_not
from .nodes import children, walk

_AT_ONCE: Final = frozenset(
    ["all", "any", "dict", "list", "max", "min", "set", "sorted", "sum", "tuple"]
)
"""What goes through a generator where it is called."""
_COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Handed(NamedTuple):
    """The variables of a loop that count beyond one of its iterations.

    Attributes:
        names: all of these that it assigns.
        read: those of them whose value from before is read in an iteration.
        lists: what iterations append to, and do nothing else with; some are among the names too, as
            they may be numbers.
        target: whether what the loop assigns by itself is read after it.
        stores: whether elements are assigned.
        roots: the names by which elements are assigned, of lists that no iteration replaces.
    """

    names: list[str]
    read: frozenset[str]
    lists: list[str]
    target: bool
    stores: bool
    roots: list[str]


NOTHING: Final = Handed([], frozenset(), [], False, False, [])
"""Of the elements of a comprehension."""


def why_not_once(node: ast.For, outside: frozenset[str], lanes: bool) -> str:
    """Why a loop can't be traced once, by its syntax; "" if it may be.

    Args:
        node: the loop.
        outside: the names that belong to others than the function.
        lanes: whether some lanes may leave a loop before others.
    """
    if node.orelse:
        return "it has an else"
    if any(isinstance(x, (ast.Subscript, ast.Attribute)) for x in walk(node.target)):
        return "it assigns elements by itself"
    if lanes and any(isinstance(x, EXITS) for x in own(node.body)):
        return "an iteration may be left"
    head = ast.copy_location(ast.For(node.target, ast.Constant(0), [], []), node)
    return why_not([head, *node.body], outside, appends=True)


def handed(node: ast.For | ast.While, function: Any) -> Handed:
    """What the iterations of a loop in a function hand on."""
    target = set(assigned([node.target])) if isinstance(node, ast.For) else set()
    test = [] if isinstance(node, ast.For) else [node.test]
    lists, others = _lists([*test, *node.body])
    reads = _Reads(set(target))
    for x in test:
        reads.read(x)
    reads.statements(node.body)
    inside = assigned(node.body)
    later = _read_later(function)
    read = reads.found | later | (set(inside) - reads.bound)  # or it may stay what it was
    after = later | _read_after(node, function)
    kept = [x for x in inside if x not in lists and (x in reads.found or x in after)]
    stores = [
        x for x in walk(node) if isinstance(x, ast.Subscript) and isinstance(x.ctx, ast.Store)
    ]
    return Handed(
        kept,
        frozenset(kept) & read,
        sorted(lists | others),
        not after.isdisjoint(target - set(inside)),
        bool(stores),
        sorted({_root(x) for x in stores} - {"", *assigned([node])}),
    )


def _root(node: ast.expr) -> str:
    """The name of what an element is in; "" if it has none."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _lists(body: list[Any]) -> tuple[frozenset[str], frozenset[str]]:
    """The names that are only appended to, and those to which something is only added."""
    found: set[str] = set()
    added: set[str] = set()
    others: set[str] = set()
    waiting: list[ast.AST] = [*body]
    for node in waiting:
        said = appended(node)
        if said is not None:
            found.add(said[0])
            waiting += said[1]
        elif is_added(node):
            added.add(node.target.id)
            waiting.append(node.value)
        elif isinstance(node, ast.Name):
            others.add(node.id)
        else:
            waiting += children(node)
    return frozenset(found - others), frozenset(added - found - others)


def _read_after(loop: ast.For | ast.While, function: Any) -> set[str]:
    """The names that may be read after a loop before they are assigned."""
    reads = _Reads(set())
    if not _follow(loop, function.body, reads):
        reads.found |= {x.id for x in walk(function) if isinstance(x, ast.Name)}
    return reads.found


def names_read(root: ast.AST) -> set[str]:
    """The names that a part of a function reads: not those of its comprehensions and lambdas."""
    found: set[str] = set()
    waiting = [root]
    for node in waiting:
        inner: list[ast.AST] = []
        own_names: set[str] = set()
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Store):
                found.add(node.id)
        elif isinstance(node, _COMPREHENSIONS):
            targets = [x.target for x in node.generators]
            own_names = set(assigned(targets))
            waiting.append(node.generators[0].iter)  # outside its scope
            inner = [x for x in _children(node) if x is not node.generators[0].iter]
        elif isinstance(node, ast.Lambda):
            own_names = {x.arg for x in walk(node.args) if isinstance(x, ast.arg)}
            waiting += [x for x in (*node.args.defaults, *node.args.kw_defaults) if x is not None]
            inner = [node.body]
        else:
            waiting += children(node)
        for x in inner:
            found |= names_read(x) - own_names
    return found


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a comprehension."""
    for x in children(node):
        if isinstance(x, ast.comprehension):
            yield from children(x)
        else:
            yield x


def _read_later(function: Any) -> set[str]:
    """The names that are read where it may be at another time than it stands."""
    found: set[str] = set()
    nodes = [*walk(function)]
    for node in nodes:
        if node is function or not _runs_later(node, nodes):
            continue
        if isinstance(node, (ast.Lambda, ast.GeneratorExp)):
            found |= names_read(node) | set(assigned([node]))
        else:
            found |= {x.id for x in walk(node) if isinstance(x, ast.Name)}
    return found


def _runs_later(node: ast.AST, others: Iterable[ast.AST]) -> bool:
    """Whether a part of a function may run later than where it stands."""
    if not isinstance(node, ast.GeneratorExp):
        return isinstance(node, SCOPES)
    return not any(
        isinstance(x, ast.Call)
        and isinstance(x.func, ast.Name)
        and x.func.id in _AT_ONCE
        and x.args[:1] == [node]
        for x in others
    )


def _follow(loop: ast.For | ast.While, block: list[ast.stmt], reads: _Reads) -> bool:
    """Note what is read after a loop in a block; gives whether it is there, and all is noted."""
    for i, node in enumerate(block):
        if node is not loop:
            parts = [x for x in (getattr(node, name, []) for name in ("body", "orelse")) if x]
            within = [_follow(loop, part, reads) for part in parts]
            if isinstance(node, (*SCOPES, ast.Try, ast.With)) or True not in within:
                continue
            if isinstance(node, (ast.For, ast.While)):
                bound = set(reads.bound)
                reads.statements([node])  # its next iteration
                reads.bound = bound
        bound = set(reads.bound)
        reads.statements(block[i + 1 :])
        if exits(block[i + 1 :]):
            reads.bound = bound
        return True
    return False


class _Reads:
    """Which names may be read before they are assigned.

    Args:
        bound: those that are assigned.

    Attributes:
        bound: those that have been assigned for certain.
        found: the others that are read.
    """

    def __init__(self, bound: set[str]) -> None:
        self.bound = bound
        self.found: set[str] = set()

    def statements(self, nodes: Iterable[ast.stmt]) -> None:
        """Go through statements."""
        for node in nodes:
            self._statement(node)

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.If):
            self.read(node.test)
            before = set(self.bound)
            self.statements(node.body)
            after, self.bound = self.bound, before
            self.statements(node.orelse)
            self.bound &= after
            return
        if isinstance(node, (ast.For, ast.While)):
            self.read(node.iter if isinstance(node, ast.For) else node.test)
            before = set(self.bound)
            if isinstance(node, ast.For):
                self._assign([node.target])
            self.statements(node.body)
            self.bound = set(before)
            self.statements(node.orelse)
            self.bound = before
            return
        if isinstance(node, ast.AugAssign):
            if isinstance(node.target, ast.Name) and node.target.id not in self.bound:
                self.found.add(node.target.id)
            self.read(node.target)
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            if node.value is not None:
                self.read(node.value)
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                self.read(target)
            if node.value is not None:
                self._assign(targets)
            return
        self.read(node)

    def read(self, root: ast.AST) -> None:
        """Note what a part reads."""
        self.found |= names_read(root) - self.bound

    def _assign(self, targets: Iterable[ast.AST]) -> None:
        self.bound.update(assigned(targets))
