"""Vector functions: every operation of the table on the lanes of a register, and on one number.

The primitives of the table are written by hand (see formulas), and what is faster or more accurate
that way; all other functions are what the value of the row says. An operation that comes to none of
these is computed by Python.

``path`` says how each operation is computed. A function for vectors of 8 lanes is called
``cr.exp.8.8e``: the operation, the number of lanes, and the machine's tag. The function of the same
name for 1 lane gives the same result to the last bit: it uses the function for vectors, wherever
more than + - * / and square roots is involved.
"""

from __future__ import annotations

import ctypes
import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from typing import Any, Final

from chainrule import forking, rules
from chainrule.backends.llvm import cache, callback, elements, guards
from chainrule.backends.llvm.assembly import Module
from chainrule.backends.llvm.formulas import FORMULAS, SWEEPS, Formula
from chainrule.backends.llvm.instructions import width_of
from chainrule.backends.llvm.machine import Machine, libmvec
from chainrule.backends.llvm.vectors import Function, Vector
from chainrule.expressions import Expression, formula
from chainrule.rules import OPERATIONS, Operation

INSTRUCTIONS: Final = {
    "add": "fadd",
    "subtract": "fsub",
    "multiply": "fmul",
    "divide": "fdiv",
    "negative": "fsub",  # -0.0 - x: LLVM's fneg takes long to compile for vectors
}
"""Operations that are one instruction."""

INTRINSICS: Final = {
    "sqrt": "sqrt",
    "absolute": "fabs",
    "floor": "floor",
    "ceil": "ceil",
    "trunc": "trunc",
    "copysign": "copysign",
    "fma": "fma",
    "round_to_whole": "roundeven",  # round(x, 0)
}
"""Operations that are one of LLVM's own functions, exact by IEEE 754."""

_OF_ONE: Final = (
    *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "cbrt", "sin", "cos", "tan"),
    *("asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc"),
)
_OF_TWO: Final = {
    "atan2": "atan2",
    "power": "pow",
    "hypot2": "hypot",  # hypot of two numbers
    "c_fmod": "fmod",
    "remainder": "remainder",
}
LIBRARY: Final = {**dict(zip(_OF_ONE, _OF_ONE, strict=True)), **_OF_TWO}
"""Operations that are a function of C's library: libmvec's, if it has it, else libm's."""


def path(operation: str, machine: Machine) -> str:
    """How an operation is computed.

    Returns:
        "instruction", "formula" (of other operations), "libmvec", "libm", "memory" (a table that is
        read), or "Python", where no other way is as accurate.
    """
    row = OPERATIONS[operation]
    if operation in INSTRUCTIONS or operation in INTRINSICS or copies(row):
        return "instruction"
    if called_back(row):
        return "Python"
    if operation in LIBRARY:
        found = machine.variant and hasattr(libmvec(), _vector_name(operation, machine))
        return "libmvec" if found else "libm"
    return "memory" if operation == "gather" else "formula"


_IN_MEMORY: Final[dict[str, Callable[[Function], Vector]]] = {
    **SWEEPS,
    "callback": callback.call_user,
}

_OPERATORS: Final[dict[str, Formula]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "negative": operator.neg,
}
_BY_HAND: Final = frozenset([*INSTRUCTIONS, *INTRINSICS, *LIBRARY, *FORMULAS, *SWEEPS, "gather"])
_SHORT: Final = ("where", "less", "less_equal", "equal", "not_equal", "maximum", "minimum")


@functools.cache
def expression(operation: Operation) -> Expression | None:
    """What the function of an operation is made from: its value, as the row says it.

    None of an operation that is written by hand, is the user's, or needs Python.
    """
    if not operation.builtin or operation.name in _BY_HAND:
        return None
    found = formula(operation)
    if found is None or not all(_has_function(x) for x in found.in_order()):
        return None
    return found


def _has_function(x: Expression) -> bool:
    """Whether it is computed without operands in memory."""
    if x.operation is None:
        return True
    if x.operation.name in _BY_HAND:
        return not takes_memory(x.operation) or _is_hypot(x)
    return expression(x.operation) is not None


def _is_hypot(x: Expression) -> bool:
    return x.operation is rules.hypot and len(x.operands) == 2


def _computed(f: Function, expression: Expression, operands: Sequence[Vector]) -> Vector:
    """The vector that an expression stands for."""
    found: dict[int, Vector] = {}
    for x in expression.in_order():
        if x.operation is not None:
            found[id(x)] = _applied(f, x, [found[id(y)] for y in x.operands])
        else:
            found[id(x)] = (
                operands[int(x.text[1:])] if x.text[0] == "x" else f.vector(float(x.text))
            )
    return found[id(expression)]


def _applied(f: Function, x: Expression, operands: Sequence[Vector]) -> Vector:
    assert x.operation is not None
    name = x.operation.name
    if name in _OPERATORS:
        return _OPERATORS[name](*operands)
    if name in INTRINSICS:
        return f.intrinsic(INTRINSICS[name], *operands)
    if name in _SHORT:
        return FORMULAS[name](*operands)
    inner = expression(x.operation)
    if inner is not None:
        return _computed(f, inner, operands)
    return f.call("hypot2" if _is_hypot(x) else name, *operands)


def copies(operation: Operation) -> bool:
    """Whether the value is the operand."""
    found = expression(operation)
    return found is not None and found.operation is None


def is_short(name: str) -> bool:
    """Whether a function is better than a call of it, in code that LLVM optimizes."""
    if name in _SHORT or name in guards.FUNCTIONS or name in elements.PARAMETERS:
        return True
    found = expression(OPERATIONS[name]) if name in OPERATIONS else None
    if found is None:
        return False
    inner = [x.operation for x in found.in_order() if x.operation is not None]
    return all(x.name in INSTRUCTIONS or x.name in INTRINSICS or is_short(x.name) for x in inner)


def is_pure(name: str) -> bool:
    """Whether a value depends on nothing but the operands, and computing it changes nothing."""
    if name in FORMULAS or name in LIBRARY:
        return True
    return name in OPERATIONS and expression(OPERATIONS[name]) is not None


def called_back(operation: Operation) -> bool:
    """Whether Python computes an operation."""
    if not operation.builtin:
        return True
    return operation.name not in _BY_HAND and expression(operation) is None


def takes_memory(operation: Operation) -> bool:
    """Whether its function gets operands in memory."""
    return operation.name in SWEEPS or operation.name == "gather" or called_back(operation)


_lock = forking.lock()
_addresses: dict[str, int] = {}
_loaded: list[Any] = []  # kept, as their code is in use until the process ends


def symbol(operation: str, width: int, machine: Machine) -> str:
    """The name of a vector function."""
    return f"cr.{operation}.{width}.{machine.tag}"


def provide(operations: Iterable[str], width: int, machine: Machine) -> dict[str, int]:
    """The addresses of the vector functions of some operations, by the names of the functions."""
    found = {}
    with _lock:
        for operation in operations:
            name = symbol(operation, width, machine)
            if name not in _addresses:
                _addresses[name] = _address(name, operation, width, machine)
            found[name] = _addresses[name]
    return found


def _address(name: str, operation: str, width: int, machine: Machine) -> int:
    """The address of a vector function: libmvec's, or one that is compiled or kept in the cache."""
    direct = _library_function(operation, width, machine)
    if direct:
        return direct

    def made() -> cache.Entry:
        text, needed = function_text(operation, width, machine)
        return {"needed": needed}, [machine.compile(text, 2)]

    row = expression(OPERATIONS[operation]) if operation in OPERATIONS else None
    what = machine, operation, width, [] if row is None else row.listing()
    description, objects = cache.kept(made, b"function", repr(what).encode())
    imports = callback.imports()
    for other, lanes in description["needed"]:
        imports.update(provide([other], lanes, machine))
    code = machine.load(objects, [name], imports)
    _loaded.append(code)
    return code[name]


def function_text(
    operation: str, width: int, machine: Machine, inline: bool = False
) -> tuple[str, list[tuple[str, int]]]:
    """A vector function in LLVM's assembly language, and the others that it needs.

    Args:
        operation: what it computes.
        width: the lanes of its vectors.
        machine: what to compile for.
        inline: whether it becomes a part of its callers.
    """
    needed: list[tuple[str, int]] = []
    if operation in elements.PARAMETERS:
        return elements.text(operation, symbol(operation, width, machine), width, inline), needed

    def name_of(other: str, lanes: int) -> str:
        needed.append((other, lanes))
        return symbol(other, lanes, machine)

    module = Module()
    name = symbol(operation, width, machine)
    result = "b" if operation in guards.FUNCTIONS else "v"
    f = Function(module, name, width, machine.fused, result + _parameters(operation), name_of)
    if inline:
        f.linkage, f.attributes = "linkonce_odr", "alwaysinline"
    if operation in guards.FUNCTIONS:
        guards.write(f, operation)
    elif operation in FORMULAS:
        f.give(FORMULAS[operation](*f.vectors()))
    elif operation in LIBRARY:
        f.give(_library_call(f, operation, machine))
    elif operation in _IN_MEMORY:
        f.give(_IN_MEMORY[operation](f))
    else:
        value = expression(OPERATIONS[operation])
        assert value is not None, operation
        f.give(_computed(f, value, f.vectors()))
    return str(module), needed


def _parameters(operation: str) -> str:
    """The types of the parameters of a vector function."""
    if operation in FORMULAS:
        return "v" * len(signature(FORMULAS[operation]).parameters)
    if operation in LIBRARY:
        return "vv" if operation in _OF_TWO else "v"
    if operation in guards.FUNCTIONS:
        return "pvvii"
    if operation in _IN_MEMORY:
        return "pipii" if operation == "callback" else "pi"
    return "v" * len(OPERATIONS[operation].local_grads)


def _library_function(operation: str, width: int, machine: Machine) -> int:
    """The address of libmvec's function, if it is exactly what is wanted, else 0."""
    if operation not in LIBRARY or machine.variant_width != width:
        return 0
    library = libmvec()
    assert library is not None
    found = getattr(library, _vector_name(operation, machine), None)
    if found is None:
        return 0
    return ctypes.cast(found, ctypes.c_void_p).value or 0


def _vector_name(operation: str, machine: Machine) -> str:
    v = "vv" if operation in _OF_TWO else "v"
    return f"_ZGV{machine.variant}N{machine.variant_width}{v}_{LIBRARY[operation]}"


def _library_call(f: Function, operation: str, machine: Machine) -> Vector:
    """A call of libmvec on parts of the vector or on equal numbers; without it, of libm."""
    lanes = machine.variant_width
    if not lanes or not hasattr(libmvec(), _vector_name(operation, machine)):
        return f.lane_by_lane(LIBRARY[operation], *f.vectors())
    vector = f.vector_type(f.double, lanes)
    function = f.declare(f.name_of(operation, lanes), vector, [vector] * len(f.args))
    if f.width == 1:
        return Vector(f, f.element(f.b.call(function, [f.splat(x, lanes) for x in f.args]), 0))
    parts = []
    for start in range(0, f.width, lanes):
        given = [f.shuffle(x, x, list(range(start, start + lanes))) for x in f.args]
        parts.append(f.b.call(function, given))
    while len(parts) > 1:
        order = list(range(2 * width_of(parts[0].type)))
        parts = [f.shuffle(x, y, order) for x, y in zip(parts[::2], parts[1::2], strict=True)]
    return Vector(f, parts[0])
