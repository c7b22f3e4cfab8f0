"""What to write instead: advice for a value that would leave the graph, from where it would."""

from __future__ import annotations

import ast
import dis
import functools
import linecache
import re
import sysconfig
import types
from typing import Any, Final

from chainrule.annotations import line_of, users_frame
from chainrule.rewriting.decisions import RUNTIME, TRUTHS

_HOLDS_FLOATS: Final = (
    "the array holds floats; make it np.zeros(3, dtype=object), or"
    " chainrule.array(np.zeros(3)), or use a list"
)
_MAKES_FLOATS: Final = (
    "an array of floats can't hold it; leave the dtype out, or use chainrule.array"
)
_RANDOM: Final = (
    "a random draw can't depend on it; draw a standard number and transform that, as in"
    " mean + deviation * random.gauss(0, 1)"
)
_CHOICES: Final = (
    "a random choice can't depend on it; compare one random number with the running sums of the"
    " weights"
)
_QUADRATURE: Final = (
    "scipy integrates floats; write the integral as a sum (np.polynomial.legendre.leggauss gives"
    " points and weights), or give it its derivative with chainrule.custom_gradient"
)
_FUNCTIONS: Final = "use the functions of chainrule.math (trunc for int) in place of Python's"
_COMPARE: Final = "compare x itself, as in x > 0: comparisons are followed"


def users_place() -> str:
    """``file:line`` of the user's running code; within a library, that too."""
    inner = users_frame()
    own: types.FrameType | None = inner
    while own is not None and _of_library(own):
        own = own.f_back
    if own is None or own is inner:
        return line_of(inner)
    name = inner.f_globals.get("__name__", "a library")
    return f"{line_of(own)} (in {name}, {line_of(inner)})"


def on_float() -> str:
    """What to write in place of what made a float of a node."""
    frame = users_frame()
    if _of_library(frame):
        return _on_library(frame)
    position, instructions = _instructions(frame)
    name = instructions[position].opname
    if name in ("STORE_SUBSCR", "STORE_SLICE"):
        return _HOLDS_FLOATS
    if name == "BINARY_MODULO" or (name == "BINARY_OP" and instructions[position].argrepr == "%"):
        return "text can't hold it; write '%f' % x.data"
    return _on_call(_source(frame, instructions[position]))


def on_data() -> str | None:
    """What to write in place of reading the data of a traced node, if that can be told."""
    frame = users_frame()
    if _of_library(frame):
        return None
    position, instructions = _instructions(frame)
    for instruction in instructions[position + 1 : position + 12]:
        name = instruction.opname
        if name == "COMPARE_OP" or name.startswith("POP_JUMP") or name in ("TO_BOOL", "UNARY_NOT"):
            return _COMPARE
        if instruction.argval in TRUTHS:  # which rewritten functions compare it with
            return _COMPARE
        if not name.startswith(("LOAD_", "CACHE", "PUSH_NULL", "BINARY_", "UNARY_", "COPY")) and (
            not str(instruction.argval).startswith(RUNTIME)
        ):
            return None
    return None


def _on_library(frame: types.FrameType) -> str:
    module = str(frame.f_globals.get("__name__", ""))
    if module == "random":
        return _CHOICES if "choice" in frame.f_code.co_name else _RANDOM
    if module.startswith("scipy.integrate"):
        return _QUADRATURE
    package = module.split(".")[0]
    if package == "numpy":
        return _MAKES_FLOATS
    return (
        f"{package} computes with floats; write it as operations on nodes, or give it its"
        " derivative with chainrule.custom_gradient"
    )


_CALLS: Final[tuple[tuple[str, str], ...]] = (
    (r"\bchoices?$", _CHOICES),
    (r"\brandom\.|\brng\.|default_rng|\.(normal|uniform|gauss|poisson|exponential)$", _RANDOM),
    (r"\.(fill|put|itemset|copyto|place)$", _HOLDS_FLOATS),
    (r"\.(astype|(as|asany)?array|full|float64|float32|fromiter)$", _MAKES_FLOATS),
    (r"\.format$", "text can't hold it; write its number, x.data"),
    (r"^float$", "leave float() out: a node is used like a number, by chainrule.math too"),
)


def _on_call(source: str) -> str:
    """Advice by what is called."""
    called = _called(source)
    function = re.search(r"^(?:c?math|m)\.(\w+)$", called)
    if function is not None:
        from chainrule import math

        name = function[1]
        if name in math.__all__:
            return f"use chainrule.math.{name} in place of Python's"
        return f"chainrule.math has no {name}; write it with the functions that are there"
    for pattern, advice in _CALLS:
        if re.search(pattern, called):
            return advice
    return _FUNCTIONS


def _called(source: str) -> str:
    """The function of a call, as text; of a line that is no expression, of its first call."""
    try:
        tree = ast.parse(source.strip(), mode="eval").body
    except SyntaxError:
        first = re.search(r"[\w.]+(?=\()", source)
        return first[0] if first else ""
    call = next((node for node in ast.walk(tree) if isinstance(node, ast.Call)), None)
    return ast.unparse(call.func) if call is not None else ""


@functools.cache
def _libraries() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def _of_library(frame: types.FrameType) -> bool:
    """Whether the code is Python's own or of an installed package."""
    return frame.f_code.co_filename.startswith((*_libraries(), "<frozen "))


def _instructions(frame: types.FrameType) -> tuple[int, list[dis.Instruction]]:
    """The instructions of a frame's code, and which of them is running."""
    found = list(dis.get_instructions(frame.f_code))
    running = [i for i, instruction in enumerate(found) if instruction.offset <= frame.f_lasti]
    return (running[-1] if running else 0), found


def _source(frame: types.FrameType, instruction: dis.Instruction) -> str:
    """The source of an instruction; of its whole line where Python does not say more."""
    positions: Any = getattr(instruction, "positions", None)
    first = last = frame.f_lineno
    start = end = None
    if positions is not None and positions.lineno is not None:
        first, last = positions.lineno, positions.end_lineno
        start, end = positions.col_offset, positions.end_col_offset
    lines = [
        linecache.getline(frame.f_code.co_filename, number, frame.f_globals).encode()
        for number in range(first, last + 1)
    ]
    if end is not None:  # counted in bytes
        lines[-1] = lines[-1][:end]
        lines[0] = lines[0][start:]
    return b" ".join(lines).decode(errors="replace")
