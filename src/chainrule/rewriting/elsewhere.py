"""Why a comparison is a guard where no branch of a rewritten function asks for it."""

from __future__ import annotations

import dis
from types import CodeType, FrameType
from typing import Any, Final

from .decisions import IN_LIBRARY, RUNTIME
from .source import NoSource, is_librarys, source_of

_GENERATOR: Final = 0x20 | 0x80 | 0x200  # what stops on the way, asynchronous or not
_INLINE: Final = ("<listcomp>", "<setcomp>", "<dictcomp>")
_CALLED: Final = "what is called there asks for its truth"
_NOT_CALLED: Final = (
    "its function looks at its own variables, or is called by code that is not rewritten"
)
_ASKS: Final = {
    "CALL": _CALLED,
    "PRECALL": _CALLED,
    "CONTAINS": "`in` asks for its truth",
    "COMPARE": "a comparison of lists, arrays or objects asks for its truth",
    "FOR_ITER": "what a loop goes through asks for its truth",
    "BINARY": "an operator there asks for its truth",
}
"""What instructions do, by how their names begin."""
_OWN: Final = {
    "found_by_guards": "a whole number is an index or a count there",
    "compared": "only a bool will do for it (`is True`, `match`, a key, an index)",
    "part": "a part is no comparison",
    "sorted_of": "sorted asks for an order, or whether there is NaN",
}
"""What functions of the library ask for."""


def why_at(frame: FrameType, asking: FrameType, rewrite: bool) -> str:
    """Why a comparison is a guard.

    Args:
        frame: where the user's code has arrived.
        asking: the innermost frame, of the library.
        rewrite: whether functions are rewritten at all.
    """
    if not rewrite:
        return "rewrite=False"
    if is_librarys(frame.f_code):
        return IN_LIBRARY
    around = frame
    while around.f_code.co_name in _INLINE and around.f_back is not None:
        around = around.f_back
    names = (*frame.f_code.co_freevars, *around.f_code.co_freevars, *around.f_code.co_varnames)
    if any(name.startswith(RUNTIME) for name in names):
        return _what_asks(frame, asking) or "its truth is asked"
    why = _why_not_rewritten(around.f_code, around.f_globals)
    if why:
        return why
    why = _what_asks(frame, asking)  # as it is where nothing is rewritten of a function
    return why if why not in ("", _CALLED) else _NOT_CALLED


def _what_asks(frame: FrameType, asking: FrameType) -> str:
    """What a function of the library, or the instruction that a frame has arrived at, does."""
    found: FrameType | None = asking
    while found is not None and found is not frame:
        if found.f_code.co_name in _OWN:
            return _OWN[found.f_code.co_name]
        found = found.f_back
    code, at = frame.f_code.co_code, frame.f_lasti
    while dis.opname[code[at]] == "CACHE":  # behind a call that goes on
        at -= 2
    name = dis.opname[code[at]]
    return next((why for kind, why in _ASKS.items() if name.startswith(kind)), "")


def _why_not_rewritten(code: CodeType, values: dict[str, Any]) -> str:
    if code.co_flags & _GENERATOR:
        return "it is in a generator"
    try:
        source_of(code, values)
    except NoSource:
        return "its source is not found"
    return ""
