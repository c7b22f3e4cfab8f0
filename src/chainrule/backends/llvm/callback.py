"""Calls from compiled code back to Python."""

from __future__ import annotations

import ctypes
import functools
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from chainrule import forking
from chainrule.backends.llvm.layout import HANDLE, POSITIONS
from chainrule.backends.llvm.vectors import Function, Vector
from chainrule.debugging import Printed
from chainrule.rules import OPERATIONS, Operation

PYTHON: Final = "cr.python"  # the symbol of the function below
FALLBACKS: Final = ("over_norm", "over_squares", "fsum")  # computed by Python in odd cases
EVERY_LANE: Final = -1  # position of what is computed once for all lanes

Errors = list[tuple[int, BaseException]]
"""Exceptions in callbacks, with the positions of the lanes."""

_CALLBACK: Final = ctypes.CFUNCTYPE(
    None,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_void_p,
)

_local = threading.local()
_handles = forking.lock()
_operations: weakref.WeakValueDictionary[int, CallbackTable] = weakref.WeakValueDictionary()
_next_handle = 1


class CallbackTable:
    """The operations that a kernel calls back for.

    Attributes:
        handle: the number by which compiled code names it.
    """

    def __init__(self, operations: list[Operation]) -> None:
        global _next_handle
        self.operations = operations
        with _handles:
            self.handle = _next_handle
            _next_handle += 1
            _operations[self.handle] = self


@contextmanager
def collected_errors() -> Iterator[Errors]:
    """Collect the exceptions in callbacks of this thread; a callback may do so in its turn."""
    outer = getattr(_local, "errors", None)
    errors: Errors = []
    _local.errors = errors
    try:
        yield errors
    finally:
        _local.errors = outer


def raise_first(errors: Errors, held: Callable[[int], bool]) -> None:
    """Raise the exception of the first lane whose guards hold, if there is one.

    What the lanes before it have to print is printed.

    Args:
        errors: what was collected.
        held: whether the guards of the lane at a position hold; for EVERY_LANE, those of any lane.
    """
    for _, error in errors:
        if not isinstance(error, (Exception, Printed)):
            raise error  # the user interrupts
    for position, error in sorted(errors, key=_place):
        if held(position):
            if not isinstance(error, Printed):
                raise error
            print(error)


def _place(item: tuple[int, BaseException]) -> tuple[int, float]:
    """The order in which exceptions are raised: by lanes, what is to be printed first."""
    position, error = item
    return position, error.number if isinstance(error, Printed) else float("inf")


def _python(
    workspace: int,
    number: int,
    operands: int,
    count: int,
    same: int,
    width: int,
    result: int,
) -> None:
    """Compute an operation for each lane; where it raises, the value is NaN."""
    step = 8 if width > 1 else 1
    slot = 8 * step
    positions: Any = [0] * width
    if number < 0:
        operation = OPERATIONS[FALLBACKS[-1 - number]]
    else:
        positions = (ctypes.c_int64 * width).from_address(workspace + POSITIONS * slot)
        handle = ctypes.c_int64.from_address(workspace + HANDLE * slot).value
        operation = _operations[handle].operations[number]
    values = (ctypes.c_double * width).from_address(result)
    given = (ctypes.c_double * (count * step)).from_address(operands)
    for lane in range(width):
        if same and lane:
            values[lane] = values[0]
        elif same or positions[lane] >= 0:
            try:
                values[lane] = operation.evaluate([given[k * step + lane] for k in range(count)])
            except BaseException as error:
                values[lane] = float("nan")
                _local.errors.append((EVERY_LANE if same else positions[lane], error))


@functools.cache
def _function() -> Any:
    return _CALLBACK(_python)


def imports() -> dict[str, int]:
    """The address of the function, by the symbol that compiled code calls."""
    return {PYTHON: ctypes.cast(_function(), ctypes.c_void_p).value or 0}


def call_user(f: Function) -> Vector:
    """Compute an operation of a kernel's table in Python.

    The parameters are the workspace, the number of the operation, the address of the operands'
    slots, their number, and whether the value is the same for all lanes.
    """
    return _call_python(f, f.args)


def call_python(f: Function, operation: str) -> Vector:
    """Compute an operation of FALLBACKS in Python; the parameters are the operands in memory."""
    slots, count = f.args
    number = f.number(-1 - FALLBACKS.index(operation))
    return _call_python(f, [f.constant(f.pointer, None), number, slots, count, f.number(0)])


def _call_python(f: Function, given: Sequence[Any]) -> Vector:
    result = f.local(f.type, align=8 * f.width)
    f.b.call(f.declare(PYTHON, None, "pipiiip"), [*given, f.number(f.width), result])
    return f.operand(result)
