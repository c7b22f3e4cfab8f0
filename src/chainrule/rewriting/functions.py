"""Functions of the user's in the form in which they are traced."""

from __future__ import annotations

import ast
import contextlib
import functools
from operator import is_
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType
from typing import Any, Final

from chainrule import forking
from chainrule.tracing import PROGRESS
from chainrule.transforms import Gradient

from .decisions import RUNTIME, TRUTHS, Site
from .picking import UNBOUND
from .runtime import Noting, Runtime
from .source import NoSource, Source, compiled, is_librarys, source_of
from .tree import Form, Rewriter

_MOST_MADE: Final = 1_000
"""Functions of a trace that are kept."""
_MOST: Final = 10_000
"""Functions of which it is kept how they are rewritten."""


class Rewritten:
    """The code of a function, and what becomes of it.

    Args:
        code: of the function.
        values: its global values.
    """

    def __init__(self, code: CodeType, values: dict[str, Any]) -> None:
        self.code = code
        self._lock = forking.lock()
        self._forms: dict[Form, CodeType | None] = {}
        self.harmful = self.harmful_in_loop = ""
        self._sites: dict[str, Site] = {}
        self._runtime = Runtime(self._sites, rewritten)
        self._constants = {RUNTIME: self._runtime, **dict(zip(TRUTHS, (False, True), strict=True))}
        self._source: Source | None = None
        if not is_librarys(code):
            with contextlib.suppress(NoSource):
                self._source = source_of(code, values)

    def function(self, of: FunctionType, pure: bool) -> FunctionType | None:
        """A function of this code as it is traced; None where it stays as it is.

        Args:
            of: the function.
            pure: whether it may be called in vain.
        """
        holder: Any = PROGRESS.recorder or PROGRESS.log
        speculation = None if holder is None else holder.speculation
        logged = PROGRESS.log is not None
        whole = (pure and not logged) or (
            speculation is not None and speculation.is_whole(self._sites)
        )
        doubled = frozenset() if speculation is None else speculation.doubled_among(self._sites)
        looks = speculation is not None and speculation.meets_indices
        form = Form(whole, pure or whole, logged, doubled, looks)
        made_of = {} if speculation is None else speculation.made_of
        given = of, of.__defaults__, of.__kwdefaults__
        known = made_of.get((id(of), form))
        if known is not None and all(map(is_, known[0], given)):
            return known[1]  # type: ignore[no-any-return]
        code = self._form(form)
        if code is None:
            return None
        if speculation is not None and not whole:
            speculation.note_plain(self._sites.values())
        runtime = self._runtime
        if speculation is not None and logged and not PROGRESS.log.reads:
            runtime = speculation.runtimes.get(runtime) or Noting(runtime, PROGRESS.log)
            speculation.runtimes[self._runtime] = runtime
        constants = {**self._constants, RUNTIME: runtime}
        cells = {} if speculation is None else speculation.cells.setdefault(runtime, {})
        for name in set(code.co_freevars) - cells.keys():
            cells[name] = CellType(constants.get(name, UNBOUND))
        own = dict(zip(self.code.co_freevars, of.__closure__ or (), strict=True))
        closure = tuple([own.get(name) or cells[name] for name in code.co_freevars])
        made = FunctionType(code, of.__globals__, of.__name__, of.__defaults__, closure)
        made.__kwdefaults__ = of.__kwdefaults__
        made.__dict__ = of.__dict__
        for name in ("__qualname__", "__doc__", "__module__"):
            setattr(made, name, getattr(of, name))
        if len(made_of) >= _MOST_MADE:  # of functions that are made on the way
            made_of.clear()
        made_of[id(of), form] = given, made
        return made

    def _form(self, form: Form) -> CodeType | None:
        with self._lock:
            if form not in self._forms:
                self._forms[form] = self._made(form)
            return self._forms[form]

    def _made(self, form: Form) -> CodeType | None:
        source = self._source
        if source is None:
            return None
        rewriter = Rewriter(source, self.code, form, self._sites)
        tree = rewriter.function()
        if tree is None:
            return None
        self.harmful, self.harmful_in_loop = rewriter.harmful, rewriter.harmful_in_loop
        around = (*self.code.co_freevars, *self._constants, *rewriter.cells)
        return compiled(source, ast.fix_missing_locations(tree), self.code, around)


_LOCK: Final = forking.lock()
_KNOWN: Final[dict[int, Rewritten]] = {}  # by the id of code: hashing code is slow


def _known(function: FunctionType) -> Rewritten:
    code = function.__code__
    found = _KNOWN.get(id(code))
    if found is None:
        found = Rewritten(code, function.__globals__)
        with _LOCK:
            if len(_KNOWN) >= _MOST:
                _KNOWN.clear()
            _KNOWN[id(code)] = found
    return found


def rewritten(function: Any, pure: bool, in_loop: bool = False) -> Any:
    """What is called in the place of a function while it is traced.

    Args:
        function: what is to be called.
        pure: whether it may be in vain.
        in_loop: whether that is because it stands for all iterations of a loop.

    Returns:
        The function itself where it is not the user's; None if it may have an effect and must not.
    """
    kind = type(function)
    if kind is BuiltinFunctionType:
        return None if pure else function
    if kind is FunctionType:
        known = _known(function)
        other = known.function(function, pure)
        if pure:
            why = known.harmful_in_loop if in_loop else known.harmful
            return other if other is not None and not why else None
        return function if other is None else other
    if kind is MethodType and type(function.__func__) is FunctionType:
        other = rewritten(function.__func__, pure, in_loop)
        return None if other is None else MethodType(other, function.__self__)
    if str(kind.__module__).startswith("chainrule."):
        return derivative_of(function, in_loop) if pure else function
    if kind is not type and type(called := _called(kind)) is FunctionType:
        other = rewritten(called, pure, in_loop)
        if other is not called:
            return None if other is None else MethodType(other, function)
    if pure:
        return None
    if kind is functools.partial:
        inner = rewritten(function.func, False)
        if inner is not function.func:
            return functools.partial(inner, *function.args, **function.keywords)
    return function


def derivative_of(function: Any, in_loop: bool) -> Any:
    """A gradient that may be in vain, of a function that may; None where that is not known."""
    if type(function) is not Gradient or function.has_aux or _is_deep():
        return None
    inner = rewritten(function.function, True, in_loop)
    return None if inner is None else function.around(inner)


def _is_deep() -> bool:
    """Whether a derivative is taken inside another one that the user's function takes.

    Loops with such a one are nested, mostly, and can't run for all lanes: a trace that follows a
    run in plain numbers records them with less.
    """
    recorder: Any = PROGRESS.recorder
    whole = 1 + (recorder is not None and recorder.recorded.derives)
    return PROGRESS.log is None and len(PROGRESS.names) > whole


def _called(kind: type) -> Any:
    """What is called where an object of a class is."""
    return next((x.__dict__["__call__"] for x in kind.__mro__ if "__call__" in x.__dict__), None)
