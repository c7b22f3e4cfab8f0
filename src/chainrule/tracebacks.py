"""Tracebacks and warnings that speak of the user's program: without the frames of this package.

What a public function raises shows the lines of the user that led there and, if the error is in a
function of the user's, the lines in it; what lies between is left out. Where the environment
variable ``CHAINRULE_TRACEBACKS`` is ``full``, everything stays.
"""

from __future__ import annotations

import builtins
import functools
import os
import sys
import warnings
from collections.abc import Callable
from types import FunctionType, TracebackType
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

SWITCH: Final = "CHAINRULE_TRACEBACKS"
_PACKAGE: Final = __name__.partition(".")[0]
_GROUP: Final[Any] = getattr(builtins, "BaseExceptionGroup", ())  # of Python 3.11 and later
KEPT_APART: Final = sys.version_info < (3, 11)
"""Whether a bare raise brings the old traceback back."""


def boundary(function: Callable[P, R]) -> Callable[P, R]:
    """A public function whose errors come without the frames of the package, as a decorator."""

    @functools.wraps(function)
    def public(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            keep_users_frames(error)
            if KEPT_APART:
                raise error
            raise

    return public


def boundaries(kind: type[R]) -> type[R]:
    """A class whose public methods, operators and settable properties are boundaries."""
    for name, member in list(vars(kind).items()):
        if isinstance(member, FunctionType) and (name[0] != "_" or name.endswith("__")):
            setattr(kind, name, boundary(member))
        elif isinstance(member, property) and member.fget and member.fset:
            bounded = property(boundary(member.fget), boundary(member.fset))
            bounded.__set_name__(kind, name)  # type: ignore[attr-defined]
            setattr(kind, name, bounded)
    return kind


def keep_users_frames(error: BaseException) -> None:
    """Take the frames of the package out of an error's traceback, and out of its causes'.

    To be followed by a bare ``raise``, which adds none.
    """
    if os.environ.get(SWITCH) == "full":
        return
    try:
        seen: dict[int, BaseException] = {}  # by id; kept, so that no two have one id
        waiting: list[BaseException | None] = [error]
        while waiting:
            found = waiting.pop()
            if found is None or id(found) in seen:
                continue
            seen[id(found)] = found
            found.__traceback__ = users_frames(found.__traceback__)
            waiting += [found.__cause__, found.__context__]
            if isinstance(found, _GROUP):  # others may call anything of theirs "exceptions"
                waiting += found.exceptions
    except RecursionError:
        pass  # there was no room for it at this depth; a boundary further out will do it


def users_frames(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of the package; None if no others are left."""
    kept: list[TracebackType] = []
    while traceback is not None:
        if not _is_own(traceback.tb_frame.f_globals):
            kept.append(traceback)
        traceback = traceback.tb_next
    following: TracebackType | None = None
    for entry in reversed(kept):
        # An interrupt may fall on an instruction of no line, for which a traceback has -1.
        line: int | None = entry.tb_lineno
        number = -1 if line is None else line
        following = TracebackType(following, entry.tb_frame, entry.tb_lasti, number)
    return following


def warn(message: str, category: type[Warning] = RuntimeWarning) -> None:
    """Warn at the innermost line outside of the package, as the user knows it."""
    level = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_own(frame.f_globals):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


def _is_own(values: dict[str, Any]) -> bool:
    """Whether the global values of a frame are those of a module of the package."""
    name = values.get("__name__")
    return isinstance(name, str) and (name == _PACKAGE or name.startswith(f"{_PACKAGE}."))
