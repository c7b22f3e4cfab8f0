"""The rewritten syntax tree of a function: its statements."""

from __future__ import annotations

import ast
import copy
from types import CodeType
from typing import Any, Final, NamedTuple

from chainrule.annotations import line_text
from chainrule.jit.loops import LEAST

from .carried import NOTHING, handed, why_not_once
from .decisions import RUNTIME, TRUTHS, LoopSite, Site
from .expressions import is_, named, placed
from .harmless import (
    EXITS,
    SCOPES,
    appended,
    assigned,
    exits,
    is_added,
    own,
    parts_of,
    stored,
    why_not,
)
from .leaving import Leaving, leaves
from .nodes import walk
from .source import Source
from .sums import Sums

_LOOKS: Final = frozenset(["locals", "vars", "dir", "eval", "exec", "globals", "breakpoint"])
_UNUSUAL: Final = (ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFor, ast.AsyncWith)


class Form(NamedTuple):
    """A form in which a function runs.

    Attributes:
        whole: whether branches by statements may run both their sides.
        checked: whether what is used may be in vain.
        logged: whether a run in plain numbers is noted or followed.
        doubled: names of the conditions of loops stretches of which are traced once.
        looks: whether any index may be a whole number of the trace.
    """

    whole: bool
    checked: bool
    logged: bool
    doubled: frozenset[str] = frozenset()
    looks: bool = False


class Rewriter(Sums):
    """Rewrites the tree of a function.

    Args:
        source: of the function.
        code: of the function.
        form: in which it is to run.
        sites: the places where it branches.

    Attributes:
        harmful: why a call of it must not be in vain; "" where it may be.
        harmful_in_loop: why it must not stand for all iterations of a loop.
    """

    def __init__(self, source: Source, code: CodeType, form: Form, sites: dict[str, Site]) -> None:
        super().__init__(source, code, form.checked, form.logged, form.looks, sites)
        self._whole = form.whole
        self._doubled = form.doubled
        self.harmful = self.harmful_in_loop = ""
        tree = source.tree
        self._bound: set[str] = set(code.co_varnames[: _count_of_arguments(code)])
        self._statements = tree.body if isinstance(tree, ast.FunctionDef) else []
        self._leaving = Leaving(self._statements, self._outside)
        self._frame = ""  # the names of exits: of the function, of loops and their iterations
        self._loops: list[_Exits] = []
        self._turns: set[str] = set()  # loops that go on by themselves
        self._around: list[str] = []  # loops of which one iteration may be traced; "" for others

    def function(self) -> Any:
        """The tree; None where the function stays as it is."""
        code = self._code
        names = {*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars}
        if _LOOKS & names or any(name.startswith(RUNTIME) for name in names):
            return None  # it looks at its own variables
        tree: Any = copy.copy(self._source.tree)
        body = tree.body if isinstance(tree.body, list) else [tree.body]
        if any(isinstance(node, _UNUSUAL) for node in own(body)):
            return None
        self.harmful = why_not(body, self._outside)
        self.harmful_in_loop = why_not(body, self._outside, appends=True)
        if isinstance(tree, ast.Lambda):
            tree.body = self._expression(tree.body)
        else:
            if self._whole and (
                self._leaving.returns or self._leaving.broken or self._leaving.continued
            ):
                self._frame = self._new()
            tree.body = self._block(tree.body)
            if self._frame:
                self._between_ends(tree)
        return tree

    def _between_ends(self, tree: Any) -> None:
        """Let a function begin and end with what lanes have returned."""
        begins = self._assign(tree.body[0], self._frame, self._call(tree.body[0], "frame"))
        place = 1 if ast.get_docstring(tree, clean=False) is not None else 0
        tree.body.insert(place, begins)
        if not leaves(self._statements):
            last = tree.body[-1]
            none = self._call_of(last, self._frame, "returned", ast.Constant(None))
            tree.body.append(placed(ast.Return(none), last))

    # Statements

    def _block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for statement in statements:
            found += self._statement(statement)
        return found

    def _statement(self, node: ast.stmt) -> list[ast.stmt]:
        if isinstance(node, SCOPES):
            self._bound.add(node.name)
            return [node]
        if isinstance(node, ast.If):
            return self._if(node)
        said = appended(node) if self._checked else None
        if said is not None:
            return self._appended(node, *said)
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and self._checked:
            name = node.target.id
            if is_added(node):
                return self._extended(node, name, self._expression(node.value))
            return self._changed(node, name, self._call(node, "value", named(name)))
        if self._checked and isinstance(node, (ast.Assign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            elements = stored(targets[0])
            if len(targets) == 1 and elements and len(elements) == len(parts_of(targets[0])):
                return self._stores(node, elements)
        if (
            isinstance(node, ast.For)
            and not self._logged
            and not why_not_once(node, self._outside, self._frame != "")
        ):
            return self._once(node)
        if isinstance(node, ast.While) and self._is_followed(node):
            return self._followed(node)
        if isinstance(node, (ast.For, ast.While)):
            self._around.append("")
            found = self._loop(node)
            self._around.pop()
            return found
        if self._frame and isinstance(node, EXITS):
            return self._exit(node)
        made: Any = copy.copy(node)
        for name, value in ast.iter_fields(node):
            if isinstance(node, ast.Assert) and name == "test":
                made.test = self._asked(value, "assert", "an exception is raised where it is false")
            elif isinstance(value, ast.expr):
                setattr(made, name, self._expression(value))
            elif isinstance(value, list):
                setattr(made, name, self._list(value))
        if isinstance(made, ast.With):
            return self._with(made)
        if isinstance(node, EXITS) and self._checked:
            left = self._around if isinstance(node, ast.Return) else self._around[-1:]
            if isinstance(node, ast.Continue):
                left = [x for x in left if x not in self._turns]
            return [*[self._do_of(node, loop, "exit") for loop in left if loop], made]
        if isinstance(made, ast.Try):
            if exits(made.finalbody):  # an exception ends there
                made.finalbody.insert(0, self._do(node, "caught"))
            return [made]
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            self._bound.update(assigned([node]))
        elif isinstance(node, ast.Delete):
            self._bound -= {x.id for x in walk(node) if isinstance(x, ast.Name)}
        return [made]

    def _with(self, made: ast.With) -> list[ast.stmt]:
        """A ``with``, after which it is seen whether it has caught an exception."""
        name = self._new()
        made.body.append(self._assign(made, name, ast.Constant(True)))
        caught = ast.If(ast.UnaryOp(ast.Not(), named(name)), [self._do(made, "caught")], [])
        return [self._assign(made, name, ast.Constant(False)), made, placed(caught, made)]

    def _list(self, values: list[Any]) -> list[Any]:
        """The parts of a statement: statements, expressions and what holds some."""
        if values and isinstance(values[0], ast.stmt):
            return self._aside(values)
        found: list[Any] = []
        for value in values:
            if isinstance(value, ast.expr):
                found.append(self._expression(value))
            elif isinstance(value, ast.excepthandler):
                handler: Any = copy.copy(value)
                handler.body = [self._do(value, "caught"), *self._aside(handler.body)]
                if handler.name:
                    self._bound.discard(handler.name)
                found.append(handler)
            elif isinstance(value, ast.withitem):
                item = copy.copy(value)
                item.context_expr = self._expression(value.context_expr)
                found.append(item)
            elif isinstance(value, ast.match_case):
                case = copy.copy(value)
                if value.guard is not None:
                    case.guard = self._asked(value.guard, "case", "it is one of several cases")
                case.body = self._aside(case.body)
                found.append(case)
            else:
                found.append(value)
        return found

    def _aside(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """Statements that may not all run: what they assign may have no value then."""
        bound = set(self._bound)
        found = self._block(statements)
        self._bound &= bound
        return found

    # Loops and exits

    def _loop(self, node: ast.For | ast.While) -> list[ast.stmt]:
        made: Any = copy.copy(node)
        why = self._leaving.why.get(id(node), "")
        if isinstance(node, ast.While):
            site = self._site(node, "while", False, why)
        outer = set(self._bound)
        found: list[ast.stmt] = []
        ends = _Exits("", "", [], [])
        broken, continued = id(node) in self._leaving.broken, id(node) in self._leaving.continued
        inner = ast.Return in exits(node.body) and self._leaving.returns
        body: list[ast.stmt] = []
        if self._frame and (broken or continued or inner):
            names = assigned(node.body)
            ends = _Exits(self._new(), "", self._kept(node, names), names)
            outer_ends = [x.turn or x.loop for x in self._loops if x.loop]
            around = outer_ends[-1] if outer_ends else self._frame
            bounded = ast.Constant(isinstance(node, ast.For))
            found.append(
                self._assign(node, ends.loop, self._call_of(node, around, "inside", bounded))
            )
            body += self._asked_if_over(node, ends, broken, inner)
            if continued:
                ends = ends._replace(turn=self._new())
                body.append(self._assign(node, ends.turn, self._call_of(node, ends.loop, "inside")))
        if isinstance(node, ast.For):
            made.iter = self._source_of(node.iter, ends.loop)
            if self._logged:
                made.iter = self._call(node.iter, "watched", made.iter)
            self._bound.update(assigned([node.target]))
        self._loops.append(ends)
        if isinstance(node, ast.While):
            test = self._expression(node.test)
            if self._frame and broken and not why:
                made.test = ast.copy_location(ast.Constant(True), node.test)
                stop = ast.copy_location(ast.Break(), node.test)
                negated = self._call(node.test, "negation", test)
                body += self._both(node, site, negated, [stop], [], [])
            elif self._may_be_followed(node):  # how often is counted, of plain conditions too
                made.test = self._call(node.test, "truth", site, test)
            else:
                made.test = self._truth(test, "truth", site)
        body += self._block(node.body)
        if ends.turn:
            body += self._settled(node, ends.turn, ends.names)
        self._loops.pop()
        made.body = body
        made.orelse = self._aside(node.orelse)
        found.append(made)
        self._bound &= outer
        if ends.loop:
            found += self._settled(node, ends.loop, ends.kept) if broken else []
            found.append(self._do_of(node, ends.loop, "end"))
        return found

    def _once(self, node: ast.For) -> list[ast.stmt]:
        """A loop of which one iteration may be traced for all."""
        known = handed(node, self._source.tree)
        place = line_text(self._code, node.lineno)
        name = f"for {place}:{node.col_offset}-{node.end_lineno}:{node.end_col_offset}"
        self._sites.setdefault(name, LoopSite(place, "for", known))
        source = self._through(node.iter)
        before, values = self._values(node, known.names)
        more, lists = self._values(node, known.lists)
        others, roots = self._values(node, known.roots)
        loop = self._new()
        site = ast.copy_location(ast.Constant(name), node)
        made = copy.copy(node)
        made.iter = placed(ast.Attribute(named(loop), "items", ast.Load()), node)
        given = [site, source, values, lists, roots]
        if self._checked:
            begun = self._call(node, "loop", *given)
        else:  # a variable knows when it always is a plain one
            self.cells.append(short := self._new())
            begun = self._call(node, "loop", *given, ast.Constant(short))
            is_short = is_(named(short), TRUTHS[1])
            begun = placed(ast.IfExp(is_short, named(TRUTHS[0]), begun), node)
            made.iter = placed(ast.IfExp(named(loop), made.iter, self._expression(node.iter)), node)
        outer = set(self._bound)
        self._bound.update(assigned([node.target]))
        bound = set(self._bound)
        plain = [] if self._checked else self._block(node.body)
        last = self._measured(node, loop, known.names)
        self._bound = bound
        checked, whole = self._checked, self._whole
        self._checked = self._whole = True
        self._around.append(loop)
        body = self._block(node.body)
        self._around.pop()
        self._checked, self._whole = checked, whole
        read = [x for x in known.names if x in known.read]
        begins = self._tuple_of(node, read, ast.Attribute(named(loop), "carried", ast.Load()))
        again, values = self._values(node, known.names)
        left = self._new()
        ends = [*again, self._assign(node, left, self._call_of(node, loop, "leave", *values.elts))]
        if known.target:
            value = ast.Attribute(named(loop), "last", ast.Load())
            ends.append(placed(ast.Assign([node.target], value), node))
        ends += self._tuple_of(node, known.names, named(left))
        if checked:
            made.body = [
                self._when(node, loop, "once", begins),
                *body,
                placed(ast.If(ast.Attribute(named(loop), "once", ast.Load()), ends, last), node),
            ]
        else:
            once = [*begins, *body, *ends]
            made.body = [placed(ast.If(_of(loop, "once"), once, [*plain, *last]), node)]
        self._bound = outer & self._bound
        return [*before, *more, *others, self._assign(node, loop, begun), made]

    def _of_ListComp(self, node: ast.ListComp) -> Any:
        """A list of which one element may be traced for all."""
        if not self._may_be_listed(node):
            return self._comprehension(node)
        (generator,) = node.generators
        place, name = line_text(self._code, node.lineno), f"for {self._place(node)}"
        self._sites.setdefault(name, LoopSite(place, "for", NOTHING))
        source = self._through(generator.iter)
        functions: list[ast.expr] = []
        for self._checked in (False, True):
            items = self._new()
            made = copy.copy(node)
            made.elt = self._expression(node.elt)
            made.generators = [ast.comprehension(generator.target, named(items), [], 0)]
            takes = ast.arguments([], [ast.arg(items)], None, [], [], None, [])
            functions.append(ast.Lambda(takes, made))
        self._checked = False
        return self._call(node, "listed", ast.Constant(name), source, *functions)

    def _may_be_listed(self, node: ast.ListComp) -> bool:
        """Whether one element of a list may be traced for all: not in a loop where one is."""
        first, *others = node.generators
        if others or first.ifs or self._checked or self._logged or self._in_iterable:
            return False
        if _is_short(first.iter) or any(isinstance(x, ast.NamedExpr) for x in walk(node)):
            return False
        added = ast.AugAssign(named("_"), ast.Add(), ast.List([node.elt], ast.Load()))
        loop = ast.For(first.target, first.iter, [added], [])
        return not why_not_once(loop, self._outside, False)

    def _is_followed(self, node: ast.While) -> bool:
        """Whether it is."""
        doubled = self._doubled and f"while {self._place(node)}" in self._doubled
        return bool((self._logged or doubled) and self._may_be_followed(node))

    def _may_be_followed(self, node: ast.While) -> bool:
        """Whether one iteration of a loop may be traced for those that do the same."""
        left = self._frame and any(isinstance(x, EXITS) for x in own(node.body))
        names = any(isinstance(x, ast.NamedExpr) for x in walk(node.test))
        if node.orelse or left or names:
            return False
        return not why_not([node.test, *node.body], self._outside, appends=True)

    def _followed(self, node: ast.While) -> list[ast.stmt]:
        """A loop of which one iteration may be traced for those that do the same."""
        known = handed(node, self._source.tree)
        place = line_text(self._code, node.lineno)
        name = self._place(node)
        for what in ("turns", "periods"):
            self._sites.setdefault(f"{what} {name}", LoopSite(place, "while", known))
        whole = known._replace(read=frozenset(known.names))
        self._sites.setdefault(f"until {name}", LoopSite(place, "while", whole))
        loop = self._new()
        self._turns.add(loop)
        outer = set(self._bound)
        more, lists = self._values(node, known.lists)
        turns = ast.copy_location(ast.Constant(f"turns {name}"), node)
        begun = self._call(node, "turns", turns, lists)
        before, values = self._values(node, known.names)
        turn = self._call_of(node, loop, "turn", *values.elts)
        begins = [*before, *self._tuple_of(node, known.names, turn)]
        if not known.names:
            begins.append(self._do_of(node, loop, "turn"))
        plain = [] if self._checked else self._turn(node)
        self._bound = set(outer)
        checked, self._checked = self._checked, True
        self._around.append(loop)
        once = self._turn(node)
        self._around.pop()
        self._checked = checked
        made = copy.copy(node)
        made.test = ast.copy_location(ast.Constant(True), node.test)
        if not checked:
            test = ast.Attribute(named(loop), "once", ast.Load())
            once = [placed(ast.If(test, once, plain), node)]
        made.body = [self._when(node, loop, "active", begins), *once]
        self._bound = outer
        ends = [self._do_of(node, loop, "end")]
        return [
            *more,
            self._assign(node, loop, begun),
            placed(ast.Try([made], [], [], ends), node),
        ]

    def _turn(self, node: ast.While) -> list[ast.stmt]:
        """An iteration of a loop, which ends it where its condition does not hold."""
        site = self._site(node, "while", False, self._leaving.why.get(id(node), ""))
        test = self._truth(self._expression(node.test), "truth", site)
        stop = ast.copy_location(ast.Break(), node.test)
        stops = placed(ast.If(ast.UnaryOp(ast.Not(), test), [stop], []), node.test)
        return [stops, *self._block(node.body)]

    def _measured(self, node: ast.For, loop: str, names: list[str]) -> list[ast.stmt]:
        """The end of an iteration of a plain loop."""
        before, values = self._values(node, names)
        measured = placed(ast.Expr(self._call_of(node, loop, "measure", *values.elts)), node)
        return [placed(ast.If(_of(loop, "first"), [*before, measured], []), node)]

    def _tuple_of(self, node: ast.AST, names: list[str], value: ast.expr) -> list[ast.stmt]:
        """Statements that give several variables their values."""
        if not names:
            return []
        gives = placed(ast.Assign([self._tuple(names, ast.Store())], value), node)
        return [gives, *[placed(x, node) for x in self._unbound(node, names)]]

    def _appended(self, node: ast.stmt, name: str, values: list[ast.expr]) -> list[ast.stmt]:
        """A list to which something is appended."""
        made = [self._expression(x) for x in values]
        if isinstance(node, ast.Expr):
            return [self._do(node, "append", named(name), *made)]
        return self._extended(node, name, placed(ast.List(made, ast.Load()), node))

    def _extended(self, node: ast.stmt, name: str, new: ast.expr) -> list[ast.stmt]:
        """What may be a list that gets more elements."""
        return [self._assign(node, name, self._call(node, "extended", named(name), new))]

    def _kept(self, node: ast.For | ast.While, names: list[str]) -> list[str]:
        """The variables of a loop that may be used after it."""
        if isinstance(node, ast.For):
            names = sorted({*names, *assigned([node.target])})
        if self._loops:
            return names
        inside = {id(x) for x in own([node])}
        used = {
            x.id for x in walk(self._source.tree) if isinstance(x, ast.Name) and id(x) not in inside
        }
        return [name for name in names if name in used]

    def _asked_if_over(
        self, node: ast.stmt, ends: _Exits, broken: bool, returned: bool
    ) -> list[ast.stmt]:
        """Statements that end a loop where all lanes have left it."""
        asks: list[ast.stmt] = []
        if returned:
            value = ast.Return(ast.Attribute(named(self._frame), "value", ast.Load()))
            test = self._call_of(node, self._frame, "over", named(ends.loop))
            asks.append(placed(ast.If(test, [value], []), node))
        if broken:
            test = self._call_of(node, ends.loop, "over", named(ends.loop))
            asks.append(placed(ast.If(test, [ast.Break()], []), node))
        if not asks:
            return []
        turns = self._call_of(node, ends.loop, "turns")
        return [placed(ast.If(turns, asks, []), node)]

    def _settled(self, node: ast.AST, owner: str, names: list[str]) -> list[ast.stmt]:
        """Statements that give variables what they are where lanes have left before others."""
        if not names:
            return []
        before, values = self._values(node, names)
        settled = self._call_of(node, owner, "settled", *values.elts)
        gives = placed(ast.Assign([self._tuple(names, ast.Store())], settled), node)
        return [self._when(node, owner, "partial", [*before, gives, *self._unbound(node, names)])]

    def _exit(self, node: ast.Return | ast.Break | ast.Continue) -> list[ast.stmt]:
        """An exit that lanes take for which it runs."""
        made = copy.copy(node)
        if isinstance(made, ast.Return):
            value = ast.Constant(None) if made.value is None else self._expression(made.value)
            test = self._call_of(node, self._frame, "leaves", value)
            made.value = ast.Attribute(named(self._frame), "value", ast.Load())
            return [placed(ast.If(test, [placed(made, node)], []), node)]
        ends = self._loops[-1]
        owner = ends.loop if isinstance(node, ast.Break) else ends.turn
        names = ends.kept if isinstance(node, ast.Break) else ends.names
        if not owner:
            return [made]
        before, values = self._values(node, names)
        test = self._call_of(node, owner, "leaves", *values.elts)
        settled = self._settled(node, owner, names) if isinstance(node, ast.Continue) else []
        return [*before, placed(ast.If(test, [*settled, made], []), node)]

    def _nothing_left(self, node: ast.If) -> list[ast.stmt]:
        """What follows a branch both of whose sides leave: nothing, for no lanes are left."""
        kinds = exits([*node.body, *node.orelse])
        made: ast.stmt = ast.Return(ast.Attribute(named(self._frame), "value", ast.Load()))
        owner, settled = self._frame, []
        if kinds & {ast.Break, ast.Continue}:
            ends = self._loops[-1]
            if ast.Continue in kinds:
                owner, made = ends.turn, ast.Continue()
                settled = self._settled(node, owner, ends.names)
            else:
                owner, made = ends.loop, ast.Break()
        return [self._when(node, owner, "certain", [*settled, placed(made, node)])]

    def _stores(
        self, node: ast.Assign | ast.AugAssign, elements: list[ast.Subscript]
    ) -> list[ast.stmt]:
        """Assignments of elements."""
        places = [map(self._expression, (x.value, x.slice)) for x in elements]
        if isinstance(node, ast.AugAssign):
            names = [self._new() for _ in range(3)]
            before = list(map(self._assign, [node, node], names, places[0]))
            owner, index, new = map(named, names)
            old = self._call(node, "value", ast.Subscript(owner, index, ast.Load()))
            change = self._changed(node, new.id, old)
            return [*before, *change, self._do(node, "store", new, owner, index)]
        value = self._expression(node.value)
        names = [self._new() for _ in elements]
        target: Any = copy.copy(node.targets[0])
        if isinstance(target, (ast.Tuple, ast.List)):
            target.elts = [named(name, ast.Store()) for name in names]
        else:
            target = named(names[0], ast.Store())
        gives = placed(ast.Assign([target], value), node)
        stores = zip(names, places, strict=True)
        return [gives, *[self._do(node, "store", named(name), *place) for name, place in stores]]

    def _changed(self, node: ast.AugAssign, name: str, old: ast.expr) -> list[ast.stmt]:
        """``+=`` and its kin, of what a variable is to stand for."""
        made = copy.copy(node)
        made.target, made.value = named(name, ast.Store()), self._expression(node.value)
        return [self._assign(node, name, self._call(node, "changing", old)), placed(made, node)]

    def _if(self, node: ast.If) -> list[ast.stmt]:
        test = self._expression(node.test)
        why = self._leaving.why.get(id(node), "")
        site = self._site(node, "if", False, why)
        if self._checked and not self._frame and exits([*node.body, *node.orelse]):
            why = "an iteration may be left"
        if not why and self._whole:
            names = assigned([*node.body, *node.orelse])
            return self._both(node, site, test, node.body, node.orelse, names)
        made = copy.copy(node)
        before = set(self._bound)
        made.test = self._truth(test, "truth", site)
        made.body = self._block(node.body)
        after, self._bound = self._bound, before
        made.orelse = self._block(node.orelse)
        self._bound = _common(after, node.body, self._bound, node.orelse)
        return [made]

    def _both(
        self,
        node: Any,
        site: ast.expr,
        test: ast.expr,
        body: list[ast.stmt],
        orelse: list[ast.stmt],
        names: list[str],
    ) -> list[ast.stmt]:
        """A branch both of whose sides may run.

        Args:
            node: the branch, or the loop that it ends.
            site: what names its place.
            test: its condition.
            body: the first side.
            orelse: the second.
            names: what they assign.
        """
        before = set(self._bound)
        m, kept = self._new(), self._new()
        found = [self._assign(node, m, self._call(node, "split", site, test))]
        first, values = self._values(node, names)
        found.append(self._when(node, m, "both", [*first, self._assign(node, kept, values)]))
        found.append(self._when(node, m, "then", self._block(body)))
        after, self._bound = self._bound, set(before)
        again, values = self._values(node, names, after)
        swap = ast.Assign(
            [ast.Tuple([self._tuple(names, ast.Store()), named(kept, ast.Store())], ast.Store())],
            ast.Tuple([named(kept), values], ast.Load()),
        )
        flips = [*again, swap, *self._unbound(node, names), self._do_of(node, m, "flip")]
        found.append(self._when(node, m, "both", flips))
        if orelse:
            found.append(self._when(node, m, "otherwise", self._block(orelse)))
        again, values = self._values(node, names)
        self._bound = _common(after, body, self._bound, orelse)
        ends = [self._do_of(node, m, "end")]
        target = self._tuple(names, ast.Store())
        if leaves(orelse) and not leaves(body):
            ends += [ast.Assign([target], named(kept)), *self._unbound(node, names)]
        elif names and not leaves(body):
            merged = self._call_of(node, m, "merged", named(kept), values)
            ends = [*again, ast.Assign([target], merged), *self._unbound(node, names)]
        found.append(self._when(node, m, "both", ends))
        if self._frame and leaves(body) and leaves(orelse):
            found.append(self._when(node, m, "both", self._nothing_left(node)))
        return [placed(x, node) for x in found]

    # Variables that may have no value

    def _values(
        self, node: ast.AST, names: list[str], bound: set[str] | None = None
    ) -> tuple[list[ast.stmt], ast.Tuple]:
        """Statements, and a tuple of what names stand for after these."""
        bound = self._bound if bound is None else bound
        before: list[ast.stmt] = []
        parts: list[ast.expr] = []
        for name in names:
            if name in bound:
                parts.append(named(name))
                continue
            own_name = f"{RUNTIME}_v_{name}"
            none = [self._assign(node, own_name, self._no_value(node))]
            handler = ast.ExceptHandler(self._attribute(node, "NameError"), None, none)
            before.append(ast.Try([self._assign(node, own_name, named(name))], [handler], [], []))
            parts.append(named(own_name))
        return before, ast.Tuple(parts, ast.Load())

    def _unbound(self, node: ast.AST, names: list[str]) -> list[ast.stmt]:
        """Statements by which names that stand for no value have none."""
        return [
            ast.If(
                ast.Compare(named(name), [ast.Is()], [self._no_value(node)]),
                [ast.Delete([named(name, ast.Del())])],
                [],
            )
            for name in names
        ]

    def _no_value(self, node: ast.AST) -> ast.expr:
        return self._attribute(node, "UNBOUND")


class _Exits(NamedTuple):
    """The exits of a loop.

    Attributes:
        loop: the name of what knows who has left it; "" where there is none.
        turn: the same for one of its iterations.
        kept: the variables that count after the loop.
        names: those that count after an iteration.
    """

    loop: str
    turn: str
    kept: list[str]
    names: list[str]


def _count_of_arguments(code: CodeType) -> int:
    more = bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
    return code.co_argcount + code.co_kwonlyargcount + more


def _common(one: set[str], body: list[Any], other: set[str], orelse: list[Any]) -> set[str]:
    """The names that have a value after either side, of those after which it goes on."""
    if body and isinstance(body[-1], (*EXITS, ast.Raise)):
        return other
    if orelse and isinstance(orelse[-1], (*EXITS, ast.Raise)):
        return one
    return one & other


def _is_short(node: ast.expr) -> bool:
    """Whether something has few items, as it is written."""
    if isinstance(node, (ast.Tuple, ast.List)):
        return len(node.elts) < LEAST
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    counts = [isinstance(x, ast.Constant) and x.value in range(LEAST) for x in node.args]
    return node.func.id == "range" and counts == [True]


def _of(loop: str, name: str) -> ast.expr:
    """An attribute of a loop; of a short one it does not hold."""
    return ast.BoolOp(ast.And(), [named(loop), ast.Attribute(named(loop), name, ast.Load())])
