"""Calls from compiled code back to Python, and reading tables: functions that work on memory."""

from __future__ import annotations

import ctypes
import functools
import threading
import weakref
from typing import Any, Final

from chainrule.compiler.layout import HANDLE, POSITIONS
from chainrule.compiler.machine import binding
from chainrule.compiler.vectors import Function, Vector
from chainrule.rules import OPERATIONS, Operation

PYTHON: Final = "cr.python"  # the symbol of the function below
FALLBACKS: Final = ("over_norm", "over_squares", "fsum")  # computed by Python in odd cases
EVERY_LANE: Final = -2  # position of what is computed once for all lanes

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
_handles = threading.Lock()
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


def operation_named(name: str, user: dict[str, Operation]) -> Operation:
    """An operation of the user's or of the table."""
    return user[name] if name in user else OPERATIONS[name]


def take_errors() -> list[tuple[int, BaseException]]:
    """The exceptions in callbacks of this thread since the last time, with the lanes' positions."""
    errors: list[tuple[int, BaseException]] = getattr(_local, "errors", [])
    _local.errors = []
    return errors


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
                if not hasattr(_local, "errors"):
                    _local.errors = []
                _local.errors.append((EVERY_LANE if same else positions[lane], error))


@functools.cache
def register() -> Any:
    """Make the function known to compiled code."""
    function = _CALLBACK(_python)
    binding().add_symbol(PYTHON, ctypes.cast(function, ctypes.c_void_p).value)
    return function


def write_callback(ir: Any, module: Any, name: str, width: int) -> None:
    """Write the function that computes an operation in Python.

    It takes the workspace, the number of the operation, the address of the operands' slots, their
    number, and whether the value is the same for all lanes.
    """
    i64, pointer = ir.IntType(64), ir.PointerType()
    vector = ir.VectorType(ir.DoubleType(), width) if width > 1 else ir.DoubleType()
    function = ir.Function(module, ir.FunctionType(vector, [pointer, i64, pointer, i64, i64]), name)
    b = ir.IRBuilder(function.append_basic_block())
    result = b.alloca(vector)
    result.type = pointer
    result.align = 8 * width
    b.call(_python_in(ir, module), [*function.args, ir.Constant(i64, width), result])
    b.ret(b.load(result, typ=vector, align=8 * width))


def call_python(f: Function, operation: str) -> Vector:
    """Write a call of Python for an operation of the table, in a function on memory."""
    b = f.builder
    with b.goto_entry_block():
        result = b.alloca(f.type)
    result.type = f.pointer
    result.align = 8 * f.width
    slots, count = f.function.args
    number = f.number(-1 - FALLBACKS.index(operation))
    nowhere = f.ir.Constant(f.pointer, None)
    given = [nowhere, number, slots, count, f.number(0), f.number(f.width), result]
    b.call(_python_in(f.ir, f.module), given)
    return f.load(result)


def _python_in(ir: Any, module: Any) -> Any:
    """The function of Python, in a module."""
    register()
    known = module.globals.get(PYTHON)
    if known is not None:
        return known
    i64, pointer = ir.IntType(64), ir.PointerType()
    parameters = [pointer, i64, pointer, i64, i64, i64, pointer]
    return ir.Function(module, ir.FunctionType(ir.VoidType(), parameters), PYTHON)


def write_gather(ir: Any, module: Any, name: str, width: int) -> None:
    """Write the function that reads a table.

    It takes the index, the address of the table's slots and their number. An index outside is taken
    as 0: a guard has failed there.
    """
    i64, pointer, double = ir.IntType(64), ir.PointerType(), ir.DoubleType()
    vector = ir.VectorType(double, width) if width > 1 else double
    function = ir.Function(module, ir.FunctionType(vector, [vector, pointer, i64]), name)
    b = ir.IRBuilder(function.append_basic_block())
    index, table, count = function.args
    end = b.sitofp(count, double)
    step = 64 if width > 1 else 8
    result = ir.Constant(vector, ir.Undefined)
    for lane in range(width):
        place = ir.Constant(ir.IntType(32), lane)
        x = b.extract_element(index, place) if width > 1 else index
        inside = b.and_(
            b.fcmp_ordered(">=", x, ir.Constant(double, 0.0)), b.fcmp_ordered("<", x, end)
        )
        k = b.fptosi(b.select(inside, x, ir.Constant(double, 0.0)), i64)
        offset = b.add(b.mul(k, ir.Constant(i64, step)), ir.Constant(i64, 8 * lane))
        y = b.load(b.gep(table, [offset], source_etype=ir.IntType(8)), typ=double, align=8)
        result = b.insert_element(result, y, place) if width > 1 else y
    b.ret(result)
