"""Formulas on vectors: arithmetic of Python's operators that writes LLVM's assembly language.

A Function is a function under construction, a Vector one of its values. ``2.0 * x + 1.0`` with a
Vector x appends the instructions to its function. A comparison gives a Mask, for ``select``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .assembly import Module, Procedure
from .instructions import vector_type
from .layout import SLOT


class Mask:
    """A truth value in each lane."""

    def __init__(self, function: Function, value: Any) -> None:
        self.function = function
        self.value = value

    def __and__(self, other: Mask) -> Mask:
        return Mask(self.function, self.function.b.and_(self.value, other.value))

    def __or__(self, other: Mask) -> Mask:
        return Mask(self.function, self.function.b.or_(self.value, other.value))

    def __xor__(self, other: Mask) -> Mask:
        return Mask(self.function, self.function.b.xor(self.value, other.value))

    def __invert__(self) -> Mask:
        return Mask(self.function, self.function.b.not_(self.value))

    def select(self, yes: Vector | float, no: Vector | float) -> Vector:
        """The one where true, the other elsewhere."""
        f = self.function
        return Vector(f, f.b.select(self.value, f.vector(yes).value, f.vector(no).value))


class Vector:
    """A float64 in each lane."""

    def __init__(self, function: Function, value: Any) -> None:
        self.function = function
        self.value = value

    def _binary(self, instruction: str, x: Vector | float, y: Vector | float) -> Vector:
        f = self.function
        make = getattr(f.b, instruction)
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
        return Vector(self.function, self.function.b.fneg(self.value))

    def __abs__(self) -> Vector:
        return self.function.intrinsic("fabs", self)

    def _compare(self, relation: str, other: Vector | float) -> Mask:
        f = self.function
        return Mask(f, f.b.fcmp(relation, self.value, f.vector(other).value))

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
        bits = f.b.bitcast(self.value, f.integers)
        return Mask(f, f.b.icmp("<", bits, f.constant(f.integers, 0)))


class Function(Procedure):
    """A function of vectors under construction.

    Args:
        module: the module it is written to.
        name: its name.
        width: the number of lanes; 1 for numbers instead of vectors.
        fused: whether x * y + z is one instruction.
        types: the types of its result and its parameters: v a vector, and the letters of
            Procedure.
        name_of: gives the name of another vector function, by operation and width.
    """

    def __init__(
        self,
        module: Module,
        name: str,
        width: int,
        fused: bool,
        types: str,
        name_of: Callable[[str, int], str],
    ) -> None:
        self.width = width
        self.fused = fused
        self.name_of = name_of
        self.type = self._widened("double")
        self.integers = self._widened("i64")
        self.step = SLOT if width > 1 else 8  # bytes from one operand in memory to the next
        result, *parameters = [self.type if letter == "v" else letter for letter in types]
        super().__init__(module, name, result, parameters)

    def _widened(self, scalar: str) -> str:
        return vector_type(scalar, self.width) if self.width > 1 else scalar

    def vectors(self) -> list[Vector]:
        """The parameters, all of which are vectors."""
        return [Vector(self, x) for x in self.args]

    def vector(self, x: Vector | float) -> Vector:
        """A Vector; of equal numbers, if a number is given."""
        return x if isinstance(x, Vector) else Vector(self, self.constant(self.type, x))

    def intrinsic(self, name: str, *operands: Vector | float) -> Vector:
        """One of LLVM's own functions."""
        kind = f"v{self.width}f64" if self.width > 1 else "f64"
        return self._called(f"llvm.{name}.{kind}", operands)

    def call(self, operation: str, *operands: Vector | float) -> Vector:
        """Another vector function."""
        return self._called(self.name_of(operation, self.width), operands)

    def _called(self, name: str, operands: Sequence[Vector | float]) -> Vector:
        function = self.declare(name, self.type, [self.type] * len(operands))
        return Vector(self, self.b.call(function, [self.vector(x).value for x in operands]))

    def lanes(self, x: Any) -> list[Any]:
        """The numbers in the lanes."""
        if self.width == 1:
            return [x]
        return [self.element(x, lane) for lane in range(self.width)]

    def from_lanes(self, numbers: Sequence[Any]) -> Vector:
        """A vector of numbers."""
        return Vector(self, numbers[0] if self.width == 1 else self.vector_of(numbers))

    def lane_by_lane(self, name: str, *operands: Vector) -> Vector:
        """A C function of doubles, called for each lane."""
        function = self.declare(name, "d", "d" * len(operands))
        lanes = zip(*[self.lanes(x.value) for x in operands], strict=True)
        return self.from_lanes([self.b.call(function, given) for given in lanes])

    def if_any(self, mask: Mask, yes: Callable[[], Vector], no: Vector) -> Vector:
        """The one vector if the mask is true in any lane, else the other."""
        b = self.b
        condition = mask.value if self.width == 1 else self.any(mask.value)
        before = b.block
        with b.if_then(condition, likely=False):
            value = yes().value
            inside = b.block
        result = b.phi(self.type)
        result.add_incoming(no.value, before)
        result.add_incoming(value, inside)
        return Vector(self, result)

    def operand(self, slots: Any, offset: Any = 0) -> Vector:
        """An operand in memory."""
        return Vector(self, self.load(self.type, slots, offset, align=8 * self.width))

    def sweep(
        self, first: int, start: list[float], step: Callable[[Vector, list[Vector]], list[Vector]]
    ) -> list[Vector]:
        """Go through operands in memory; the parameters are their address and number.

        Args:
            first: number of the operand to begin with.
            start: the state at first.
            step: gets an operand and the state, gives the next state.
        """
        slots = self.at(self.args[0], first * self.step)

        def body(i: Any, values: list[Any]) -> list[Any]:
            x = self.operand(slots, self.b.mul(i, self.number(self.step)))
            return [y.value for y in step(x, [Vector(self, y) for y in values])]

        count = self.b.sub(self.args[1], self.number(first))
        state = self.fold(count, [self.vector(x).value for x in start], body)
        return [Vector(self, x) for x in state]

    def give(self, result: Vector) -> None:
        """End the function with its result."""
        self.b.ret(result.value)
