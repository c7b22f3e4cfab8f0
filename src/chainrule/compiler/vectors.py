"""Formulas on vectors: arithmetic of Python's operators that writes LLVM's assembly language.

A Function is a function under construction, a Vector one of its values. ``2.0 * x + 1.0`` with a
Vector x appends the instructions to its function. A comparison gives a Mask, for ``select``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

SLOT: Final = 64  # bytes from one operand to the next in memory, for lanes


class Mask:
    """A truth value in each lane."""

    def __init__(self, function: Function, value: Any) -> None:
        self.function = function
        self.value = value

    def __and__(self, other: Mask) -> Mask:
        return Mask(self.function, self.function.builder.and_(self.value, other.value))

    def __or__(self, other: Mask) -> Mask:
        return Mask(self.function, self.function.builder.or_(self.value, other.value))

    def __xor__(self, other: Mask) -> Mask:
        return Mask(self.function, self.function.builder.xor(self.value, other.value))

    def __invert__(self) -> Mask:
        return Mask(self.function, self.function.builder.not_(self.value))

    def select(self, yes: Vector | float, no: Vector | float) -> Vector:
        """The one where true, the other elsewhere."""
        f = self.function
        return Vector(f, f.builder.select(self.value, f.vector(yes).value, f.vector(no).value))


class Vector:
    """A float64 in each lane."""

    def __init__(self, function: Function, value: Any) -> None:
        self.function = function
        self.value = value

    def _binary(self, instruction: str, x: Vector | float, y: Vector | float) -> Vector:
        f = self.function
        make = getattr(f.builder, instruction)
        return Vector(f, make(f.vector(x).value, f.vector(y).value))

    def __add__(self, other: Vector | float) -> Vector:
        return self._binary("fadd", self, other)

    def __radd__(self, other: float) -> Vector:
        return self._binary("fadd", other, self)

    def __sub__(self, other: Vector | float) -> Vector:
        return self._binary("fsub", self, other)

    def __rsub__(self, other: float) -> Vector:
        return self._binary("fsub", other, self)

    def __mul__(self, other: Vector | float) -> Vector:
        return self._binary("fmul", self, other)

    def __rmul__(self, other: float) -> Vector:
        return self._binary("fmul", other, self)

    def __truediv__(self, other: Vector | float) -> Vector:
        return self._binary("fdiv", self, other)

    def __rtruediv__(self, other: float) -> Vector:
        return self._binary("fdiv", other, self)

    def __neg__(self) -> Vector:
        return Vector(self.function, self.function.builder.fneg(self.value))

    def __abs__(self) -> Vector:
        return self.function.intrinsic("fabs", self)

    def _compare(self, relation: str, other: Vector | float) -> Mask:
        f = self.function
        compare = f.builder.fcmp_unordered if relation == "!=" else f.builder.fcmp_ordered
        return Mask(f, compare(relation, self.value, f.vector(other).value))

    def __lt__(self, other: Vector | float) -> Mask:
        return self._compare("<", other)

    def __le__(self, other: Vector | float) -> Mask:
        return self._compare("<=", other)

    def __gt__(self, other: Vector | float) -> Mask:
        return self._compare(">", other)

    def __ge__(self, other: Vector | float) -> Mask:
        return self._compare(">=", other)

    def equals(self, other: Vector | float) -> Mask:
        """Whether it is equal to the other; false for NaN."""
        return self._compare("==", other)

    def differs(self, other: Vector | float) -> Mask:
        """Whether it is not equal to the other; true for NaN."""
        return self._compare("!=", other)

    def is_nan(self) -> Mask:
        """Whether it is NaN."""
        return self.differs(self)

    def is_finite(self) -> Mask:
        """Whether it is neither NaN nor infinite."""
        return (self - self).equals(0.0)

    def is_infinite(self) -> Mask:
        """Whether it is infinite."""
        return abs(self).equals(float("inf"))

    def sign_bit(self) -> Mask:
        """Whether its sign is negative, that of -0.0 included."""
        f = self.function
        bits = f.builder.bitcast(self.value, f.integers)
        return Mask(f, f.builder.icmp_signed("<", bits, f.ir.Constant(f.integers, f.zero)))


class Function:
    """A function under construction.

    Args:
        ir: llvmlite's module of that name.
        module: the module it is written to.
        name: its name.
        width: the number of lanes; 1 for numbers instead of vectors.
        arity: number of vectors it takes, or -1: the address of consecutive slots and their number.
        name_of: gives the name of another vector function, by operation and width.
    """

    def __init__(
        self,
        ir: Any,
        module: Any,
        name: str,
        width: int,
        arity: int,
        name_of: Callable[[str, int], str],
    ) -> None:
        self.ir = ir
        self.module = module
        self.width = width
        self.name_of = name_of
        self.i32 = ir.IntType(32)
        self.i64 = ir.IntType(64)
        self.double = ir.DoubleType()
        self.pointer = ir.PointerType()
        self.step = SLOT if width > 1 else 8
        if width > 1:
            self.type = ir.VectorType(self.double, width)
            self.integers = ir.VectorType(self.i64, width)
            self.bits = ir.VectorType(ir.IntType(1), width)
            self.zero: Any = [0] * width
        else:
            self.type, self.integers, self.bits = self.double, self.i64, ir.IntType(1)
            self.zero = 0
        given = [self.pointer, self.i64] if arity < 0 else [self.type] * arity
        self.function = self.declare(name, self.type, given)
        self.builder = ir.IRBuilder(self.function.append_basic_block())
        self.operands = [Vector(self, x) for x in self.function.args] if arity >= 0 else []

    def declare(self, name: str, result: Any, parameters: list[Any]) -> Any:
        """A function of the module by name."""
        known = self.module.globals.get(name)
        if known is not None:
            return known
        return self.ir.Function(self.module, self.ir.FunctionType(result, parameters), name)

    def number(self, value: int) -> Any:
        """A whole number, as LLVM's constant."""
        return self.ir.Constant(self.i64, value)

    def vector(self, x: Vector | float) -> Vector:
        """A Vector; of equal numbers, if a number is given."""
        if isinstance(x, Vector):
            return x
        value = [x] * self.width if self.width > 1 else x
        return Vector(self, self.ir.Constant(self.type, value))

    def intrinsic(self, name: str, *operands: Vector | float) -> Vector:
        """One of LLVM's own functions."""
        kind = f"v{self.width}f64" if self.width > 1 else "f64"
        function = self.declare(f"llvm.{name}.{kind}", self.type, [self.type] * len(operands))
        values = [self.vector(x).value for x in operands]
        return Vector(self, self.builder.call(function, values))

    def call(self, operation: str, *operands: Vector | float) -> Vector:
        """Another vector function."""
        name = self.name_of(operation, self.width)
        function = self.declare(name, self.type, [self.type] * len(operands))
        values = [self.vector(x).value for x in operands]
        return Vector(self, self.builder.call(function, values))

    def lane(self, x: Vector, lane: int) -> Any:
        """The number in one lane."""
        if self.width == 1:
            return x.value
        return self.builder.extract_element(x.value, self.ir.Constant(self.i32, lane))

    def from_lanes(self, numbers: list[Any]) -> Vector:
        """A vector of numbers."""
        if self.width == 1:
            return Vector(self, numbers[0])
        value = self.ir.Constant(self.type, self.ir.Undefined)
        for lane, number in enumerate(numbers):
            value = self.builder.insert_element(value, number, self.ir.Constant(self.i32, lane))
        return Vector(self, value)

    def lane_by_lane(self, name: str, *operands: Vector) -> Vector:
        """A C function of doubles, called for each lane."""
        function = self.declare(name, self.double, [self.double] * len(operands))
        return self.from_lanes(
            [
                self.builder.call(function, [self.lane(x, lane) for x in operands])
                for lane in range(self.width)
            ]
        )

    def if_any(self, mask: Mask, yes: Callable[[], Vector], no: Vector) -> Vector:
        """The one vector if the mask is true in any lane, else the other."""
        b = self.builder
        condition = mask.value
        if self.width > 1:
            reduce = self.declare(
                f"llvm.vector.reduce.or.v{self.width}i1", self.ir.IntType(1), [self.bits]
            )
            condition = b.call(reduce, [condition])
        before = b.block
        with b.if_then(condition, likely=False):
            value = yes().value
            inside = b.block
        result = b.phi(self.type)
        result.add_incoming(no.value, before)
        result.add_incoming(value, inside)
        return Vector(self, result)

    def at(self, address: Any, offset: Any) -> Any:
        """An address some bytes further."""
        if isinstance(offset, int):
            offset = self.number(offset)
        return self.builder.gep(address, [offset], source_etype=self.ir.IntType(8))

    def load(self, address: Any, offset: Any = 0) -> Vector:
        """The vector at an address."""
        place = self.at(address, offset)
        return Vector(self, self.builder.load(place, typ=self.type, align=8 * self.width))

    def sweep(
        self, first: int, start: list[float], step: Callable[[Vector, list[Vector]], list[Vector]]
    ) -> list[Vector]:
        """Go through the slots given to a function of arity -1.

        Args:
            first: number of the slot to begin with.
            start: the state at first.
            step: gets an operand and the state, gives the next state.
        """
        b = self.builder
        slots, count = self.function.args
        before = b.block
        test = b.append_basic_block()
        body = b.append_basic_block()
        after = b.append_basic_block()
        b.branch(test)
        b.position_at_end(test)
        i = b.phi(self.i64)
        i.add_incoming(self.number(first), before)
        state = [b.phi(self.type) for _ in start]
        for x, number in zip(state, start, strict=True):
            x.add_incoming(self.vector(number).value, before)
        b.cbranch(b.icmp_signed("<", i, count), body, after)
        b.position_at_end(body)
        x = self.load(slots, b.mul(i, self.number(self.step)))
        following = step(x, [Vector(self, y) for y in state])
        for y, new in zip(state, following, strict=True):
            y.add_incoming(new.value, b.block)
        i.add_incoming(b.add(i, self.number(1)), b.block)
        b.branch(test)
        b.position_at_end(after)
        return [Vector(self, y) for y in state]

    def give(self, result: Vector) -> None:
        """End the function with its result."""
        self.builder.ret(result.value)
