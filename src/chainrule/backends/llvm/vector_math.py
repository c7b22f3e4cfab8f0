"""Vector functions: every operation of the table on the lanes of a register, and on one number.

The primitives of the table are written here, and what is faster or more accurate by hand; all other
functions are what the value of the row says. An operation that comes to none of these is computed
by Python.

``path`` says how each operation is computed. A function for vectors of 8 lanes is called
``cr.exp.8.8e``: the operation, the number of lanes, and the machine's tag. The function of the same
name for 1 lane gives the same result to the last bit: it uses the function for vectors, wherever
more than + - * / and square roots is involved.
"""

from __future__ import annotations

import ctypes
import functools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from typing import Any, Final

from chainrule import forking, ieee, rules, special
from chainrule.backends.llvm import cache, callback, guards
from chainrule.backends.llvm.machine import Machine, ir, libmvec
from chainrule.backends.llvm.vectors import Function, Mask, Vector
from chainrule.expressions import Expression, formula
from chainrule.rules import OPERATIONS, TWO_OVER_SQRT_PI, Operation

Formula = Callable[..., Vector]

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

LIBRARY: Final = {
    "exp": "exp",
    "exp2": "exp2",
    "expm1": "expm1",
    "log": "log",
    "log2": "log2",
    "log10": "log10",
    "log1p": "log1p",
    "cbrt": "cbrt",
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "asin": "asin",
    "acos": "acos",
    "atan": "atan",
    "atan2": "atan2",
    "sinh": "sinh",
    "cosh": "cosh",
    "tanh": "tanh",
    "asinh": "asinh",
    "acosh": "acosh",
    "atanh": "atanh",
    "erf": "erf",
    "erfc": "erfc",
    "power": "pow",
    "hypot2": "hypot",  # hypot of two numbers
    "c_fmod": "fmod",
    "remainder": "remainder",
}
"""Operations that are a function of C's library: libmvec's, if it has it, else libm's."""

_TWO_OPERANDS: Final = ("atan2", "power", "hypot2", "c_fmod", "remainder")


def less(a: Vector, b: Vector) -> Vector:
    """1.0 if a < b, else 0.0."""
    return (a < b).select(1.0, 0.0)


def less_equal(a: Vector, b: Vector) -> Vector:
    """1.0 if a <= b, else 0.0."""
    return (a <= b).select(1.0, 0.0)


def equal(a: Vector, b: Vector) -> Vector:
    """1.0 if a == b, else 0.0."""
    return a.equals(b).select(1.0, 0.0)


def not_equal(a: Vector, b: Vector) -> Vector:
    """1.0 if a != b, else 0.0."""
    return a.differs(b).select(1.0, 0.0)


def where(condition: Vector, a: Vector, b: Vector) -> Vector:
    """A where the condition is true."""
    return condition.differs(0.0).select(a, b)


def maximum(a: Vector, b: Vector) -> Vector:
    """The larger, NaN if either is."""
    return a.function.intrinsic("maximum", a, b)


def minimum(a: Vector, b: Vector) -> Vector:
    """The smaller, NaN if either is."""
    return a.function.intrinsic("minimum", a, b)


def fmod(a: Vector, b: Vector) -> Vector:
    """The remainder with the sign of a."""
    return a.function.call("c_fmod", a, b)


def ldexp(x: Vector, n: Vector) -> Vector:
    """x * 2**n for a whole n, else NaN."""
    f = x.function
    whole = f.intrinsic("floor", n).equals(n)
    clamped = f.intrinsic("minnum", f.intrinsic("maxnum", n, -5000.0), 5000.0)
    function = f.declare("ldexp", "d", ["d", f.i32])
    lanes = zip(f.lanes(x.value), f.lanes(clamped.value), strict=True)
    scaled = f.from_lanes([f.b.call(function, [y, f.b.fptosi(k, f.i32)]) for y, k in lanes])
    return x.is_finite().select(whole.select(scaled, ieee.NAN), whole.select(x, ieee.NAN))


def exp_down(x: Vector) -> Vector:
    """exp(x) for x <= 0, to 0.7 units in the last place: libmvec's 3 units would be doubled below.

    x = k log(2) + r with a whole k; exp(r) by its Taylor series, in two halves.
    """
    f, b = x.function, x.function.b
    x = f.intrinsic("maximum", x, -1100.0)
    shifted = multiply_add(x, _INV_LOG_2, _ROUNDING)
    k = shifted - _ROUNDING
    r = multiply_add(k, -_LOG_2_LOW, multiply_add(k, -_LOG_2_HIGH, x))
    square = r * r
    even = f.vector(1.0 / math.factorial(12))
    odd = f.vector(1.0 / math.factorial(13))
    for n in range(10, 0, -2):
        even = multiply_add(even, square, 1.0 / math.factorial(n))
        odd = multiply_add(odd, square, 1.0 / math.factorial(n + 1))
    e = 1.0 + multiply_add(square, multiply_add(r, odd, even), r)
    whole = b.sub(b.bitcast(shifted.value, f.integers), f.constant(f.integers, _ROUNDING_BITS))
    half = b.ashr(whole, f.constant(f.integers, 1))  # 2**k may be no normal number
    for part in (half, b.sub(whole, half)):
        exponent = b.add(part, f.constant(f.integers, 1023))
        power = b.shl(exponent, f.constant(f.integers, 52))
        e = e * Vector(f, b.bitcast(power, f.type))
    return e


_INV_LOG_2: Final = 1.4426950408889634
_LOG_2_HIGH: Final = 0.6931471803691238  # its last 32 bits are 0: its products with k are exact
_LOG_2_LOW: Final = 1.9082149292705877e-10
_ROUNDING: Final = 1.5 * 2.0**52  # added to a number, it leaves the nearest whole one
_ROUNDING_BITS: Final = 0x4338000000000000


def sech2(x: Vector) -> Vector:
    """1 - tanh(x)**2."""
    e = exp_down(-2.0 * abs(x))
    return 4.0 * e / (1.0 + e * (2.0 + e))


def sigmoid(x: Vector) -> Vector:
    """1 / (1 + exp(-x))."""
    e = exp_down(-abs(x))
    return (x >= 0.0).select(1.0, e) / (1.0 + e)


def softplus(x: Vector) -> Vector:
    """log(1 + exp(x))."""
    return (x <= 0.0).select(0.0, x) + x.function.call("log1p", exp_down(-abs(x)))


def multiply_add(x: Vector, y: Vector | float, z: Vector | float) -> Vector:
    """x * y + z, rounded once where the machine can: for errors that do not matter."""
    f = x.function
    return f.intrinsic("fma", x, y, z) if f.fused else x * y + z


def exact_square(x: Vector) -> tuple[Vector, Vector]:
    """x**2 in two parts, for x of moderate size."""
    if x.function.fused:
        square = x * x
        return square, x.function.intrinsic("fma", x, x, -square)
    big = ieee.SPLIT * x
    high = big - (big - x)
    low = x - high
    return high * high, low * (high + x)


def product_error(x: Vector, c: float, product: Vector) -> Vector:
    """x * c - product, exactly, for a product of moderate size."""
    if x.function.fused:
        return x.function.intrinsic("fma", x, c, -product)
    big = ieee.SPLIT * x
    high = big - (big - x)
    low = x - high
    c_big = ieee.SPLIT * c
    c_high = c_big - (c_big - c)
    c_low = c - c_high
    return ((high * c_high - product) + high * c_low + low * c_high) + low * c_low


def small_expm1(x: Vector) -> Vector:
    """exp(x) - 1 for |x| < 1e-4, to 1e-17."""
    return multiply_add(x * x, multiply_add(x, 1.0 / 6.0, 0.5), x)


def gaussian(x: Vector) -> Vector:
    """exp(-x**2)."""
    high, low = exact_square(x)
    near = abs(x) < 100.0
    e = exp_down(near.select(-high, -x * x))
    return near.select(e + e * small_expm1(-low), e)


def norm_pdf(x: Vector) -> Vector:
    """Density of the standard normal distribution."""
    high, low = exact_square(x)
    near = abs(x) < 100.0
    e = exp_down(near.select(-0.5 * high, -x * x))
    factor = small_expm1(-0.5 * low) + special.INV_SQRT_2PI_ERROR
    return near.select(special.INV_SQRT_2PI * (e + e * factor), e)


def norm_cdf(x: Vector) -> Vector:
    """Distribution function of the standard normal."""
    f = x.function
    near = abs(x) < 100.0
    t = -x * special.SQRT_HALF
    error = -product_error(x, special.SQRT_HALF, -t) - x * special.SQRT_HALF_ERROR
    tail = f.call("erfc", near.select(t, -x))
    slope = -TWO_OVER_SQRT_PI * exp_down(-t * t)  # a few digits are enough
    return 0.5 * near.select(tail + slope * error, tail)


def _is_odd(x: Vector) -> Mask:
    """Whether it is an odd whole number."""
    return (x - 2.0 * x.function.intrinsic("floor", 0.5 * x)).equals(1.0)


def power_term(c: Vector, x: Vector, n: Vector, k: Vector) -> Vector:
    """c * x ** (n - k): see ieee.power_term."""
    f = x.function
    base = abs(x)
    exponent = n - k
    magnitude = f.call("power", base, exponent)
    whole = n.is_finite() & f.intrinsic("floor", n).equals(n)
    special_case = x.equals(0.0) | ~(c.is_finite() & x.is_finite() & n.is_finite())
    result = c * magnitude

    extreme = ~special_case & ~((magnitude >= ieee.SMALLEST_NORMAL) & (magnitude <= ieee.LARGEST))

    def by_halves() -> Vector:
        half = f.call("power", base, 0.5 * exponent)
        return extreme.select(c * half * half, result)

    ordinary = f.if_any(extreme, by_halves, result)
    shift = exponent - n
    error = (n - (exponent - shift)) - (k + shift)
    inexact = ~special_case & error.differs(0.0) & ordinary.is_finite()

    def corrected() -> Vector:
        return inexact.select(ordinary + ordinary * (error * f.call("log", base)), ordinary)

    ordinary = f.if_any(inexact, corrected, ordinary)
    value = special_case.select(magnitude.equals(0.0).select(0.0, result), ordinary)
    negative = x.sign_bit() & whole & (_is_odd(n) ^ _is_odd(k))
    value = negative.select(-value, value)
    undefined = c.is_nan() | ((x < 0.0) & ~whole)
    return c.equals(0.0).select(0.0, undefined.select(ieee.NAN, value))


FORMULAS: Final[dict[str, Formula]] = {
    "less": less,
    "less_equal": less_equal,
    "equal": equal,
    "not_equal": not_equal,
    "where": where,
    "maximum": maximum,
    "minimum": minimum,
    "fmod": fmod,
    "ldexp": ldexp,
    "sech2": sech2,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "gaussian": gaussian,
    "norm_pdf": norm_pdf,
    "norm_cdf": norm_cdf,
    "power_term": power_term,
}
"""Operations that are written with others."""


def hypot(f: Function) -> Vector:
    """Square root of the sum of squares of any number of operands, scaled to avoid overflow."""
    largest = _largest(f, 0)
    not_a_number, infinite = f.sweep(
        0,
        [0.0, 0.0],
        lambda x, state: [
            x.is_nan().select(x, state[0]),
            x.is_infinite().select(abs(x), state[1]),
        ],
    )
    big = largest > 1e140
    small = largest < 1e-140
    factor = big.select(2.0**-600, small.select(2.0**600, 1.0))
    back = big.select(2.0**600, small.select(2.0**-600, 1.0))
    root = f.intrinsic("sqrt", _sum_of_squares(f, 0, factor)) * back
    return infinite.differs(0.0).select(infinite, not_a_number.is_nan().select(not_a_number, root))


def over_norm(f: Function) -> Vector:
    """The first operand over the hypot of the others."""
    return _over(f, "over_norm", lambda squares: f.intrinsic("sqrt", squares))


def over_squares(f: Function) -> Vector:
    """The first operand over the sum of the squares of the others."""
    return _over(f, "over_squares", lambda squares: squares)


def _over(f: Function, operation: str, length: Callable[[Vector], Vector]) -> Vector:
    """The first operand over the length of the others; by Python where squares leave the range."""
    quotient = f.operand(f.args[0]) / length(_sum_of_squares(f, 1, f.vector(1.0)))
    largest = _largest(f, 1)
    ordinary = (largest > 1e-140) & (largest < 1e139)
    return f.if_any(~ordinary, lambda: ordinary.select(quotient, by_python(f, operation)), quotient)


def fsum(f: Function) -> Vector:
    """The sum, in twice the precision; by Python where that may not be enough."""

    def add(x: Vector, state: list[Vector]) -> list[Vector]:
        high, low, size = state
        total, error = _two_sum(high, x)
        return [total, low + error, size + abs(x)]

    high, low, size = f.sweep(0, [0.0, 0.0, 0.0], add)
    count = f.from_lanes([f.b.uitofp(f.args[1], f.double)] * f.width)
    total = high + low
    sure = count * count * (2.0**-100 * size) < 2.0**-53 * abs(total)
    return f.if_any(~sure, lambda: sure.select(total, by_python(f, "fsum")), total)


def by_python(f: Function, operation: str) -> Vector:
    """The operation computed by Python, lane by lane, on the operands in memory."""
    return callback.call_python(f, operation)


def _largest(f: Function, first: int) -> Vector:
    """The largest magnitude; NaN does not count."""
    return f.sweep(first, [0.0], lambda x, s: [(abs(x) > s[0]).select(abs(x), s[0])])[0]


def _sum_of_squares(f: Function, first: int, factor: Vector) -> Vector:
    """The sum of the squares of the operands times a factor, in twice the precision."""

    def add(x: Vector, state: list[Vector]) -> list[Vector]:
        square, rest = exact_square(x * factor)
        total, error = _two_sum(state[0], square)
        return [total, state[1] + (error + rest)]

    high, low = f.sweep(first, [0.0, 0.0], add)
    return high + low


def _two_sum(x: Vector, y: Vector) -> tuple[Vector, Vector]:
    """x + y and its rounding error."""
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


SWEEPS: Final[dict[str, Callable[[Function], Vector]]] = {
    "hypot": hypot,
    "over_norm": over_norm,
    "over_squares": over_squares,
    "fsum": fsum,
}
"""Operations on any number of operands, which lie in memory."""


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
    "gather": callback.gather,
    "gather_numbers": callback.gather_numbers,
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
    if name in _SHORT or name in guards.FUNCTIONS:
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
    row = expression(OPERATIONS[operation]) if operation in OPERATIONS else None
    listing = [] if row is None else row.listing()
    key = cache.name_of(b"function", repr((machine, operation, width, listing)).encode())
    entry = cache.get(key)
    if entry is None:
        text, needed = function_text(operation, width, machine)
        entry = {"needed": needed}, [machine.compile(text, 2)]
        cache.put(key, entry)
    description, objects = entry
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

    def name_of(other: str, lanes: int) -> str:
        needed.append((other, lanes))
        return symbol(other, lanes, machine)

    module = ir().Module(name=operation)
    name = symbol(operation, width, machine)
    result = "b" if operation in guards.FUNCTIONS else "v"
    f = Function(module, name, width, machine.fused, result + _parameters(operation), name_of)
    if inline:
        f.function.linkage = "linkonce_odr"
        f.function.attributes.add("alwaysinline")
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
        return "vv" if operation in _TWO_OPERANDS else "v"
    if operation in guards.FUNCTIONS:
        return "pvvii"
    if operation in _IN_MEMORY:
        others = {"gather": "vpii", "gather_numbers": "vpii", "callback": "pipii"}
        return others.get(operation, "pi")
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
    v = "vv" if operation in _TWO_OPERANDS else "v"
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
        order = list(range(2 * parts[0].type.count))
        parts = [f.shuffle(x, y, order) for x, y in zip(parts[::2], parts[1::2], strict=True)]
    return Vector(f, parts[0])
