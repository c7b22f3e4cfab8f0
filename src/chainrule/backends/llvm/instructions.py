"""Instructions of LLVM's assembly language, appended to the blocks of a function."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final

VOID: Final = "void"
BIT: Final = "i1"
POINTER: Final = "ptr"

_RELATIONS: Final = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_UNLIKELY: Final = ", !prof !0"
BRANCH_WEIGHTS: Final = '!0 = !{!"branch_weights", i32 1, i32 99}'
"""Stands in a module of which a branch says that it is hardly ever taken."""


class Value:
    """A value of a function, or a constant.

    Args:
        type: its type, as LLVM writes it.
        name: what LLVM calls it.
    """

    __slots__ = ("name", "type")

    def __init__(self, type: str, name: str) -> None:
        self.type = type
        self.name = name

    def __str__(self) -> str:
        return f"{self.type} {self.name}"


class Phi(Value):
    """A value that depends on the block that control comes from."""

    __slots__ = ("_incoming",)

    def __init__(self, type: str, name: str) -> None:
        super().__init__(type, name)
        self._incoming: list[str] = []

    def add_incoming(self, value: Value, block: Block) -> None:
        """Say which value it has coming from a block."""
        self._incoming.append(f"[ {value.name}, %{block.label} ]")

    def instruction(self) -> str:
        """What it is written as, once all blocks are known."""
        return f"{self.name} = phi {self.type} {', '.join(self._incoming)}"


class Block:
    """A block of a function: its instructions, and whether the last one leaves it."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.phis: list[Phi] = []
        self.lines: list[str] = []
        self.is_terminated = False

    def text(self) -> str:
        """The block."""
        return "\n".join([f"{self.label}:", *[x.instruction() for x in self.phis], *self.lines])


class Callee:
    """A function that can be called.

    Args:
        name: what LLVM calls it: a symbol, or the value of its address.
        result: the type of its result.
        parameters: the types of its parameters.
    """

    def __init__(self, name: str, result: str, parameters: Sequence[str]) -> None:
        self.name = name
        self.result = result
        self.parameters = parameters

    def declaration(self) -> str:
        """How a module says that it is defined elsewhere."""
        return f"declare {self.result} {self.name}({', '.join(self.parameters)})"


def vector_type(scalar: str, width: int) -> str:
    """The type of vectors."""
    return f"<{width} x {scalar}>"


def width_of(kind: str) -> int:
    """How many numbers a vector of a type has; 1 if it is no vector."""
    return int(kind[1 : kind.index(" ")]) if kind.startswith("<") else 1


def _scalar_of(kind: str) -> str:
    """The type of the numbers of a vector."""
    return kind[kind.index(" x ") + 3 : -1]


def constant(kind: str, value: float | list[int] | None) -> Value:
    """A constant; the same number in all places of a vector, unless a list is given."""
    if not kind.startswith("<"):
        return Value(kind, _literal(kind, value))
    scalar = _scalar_of(kind)
    numbers = value if isinstance(value, list) else [value] * width_of(kind)
    parts = ", ".join([f"{scalar} {_literal(scalar, x)}" for x in numbers])
    return Value(kind, f"<{parts}>")


def _literal(kind: str, value: object) -> str:
    if value is None:
        return "null"
    if kind == "double":
        return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    return str(value)


def _of_bits(kind: str) -> str:
    return vector_type(BIT, width_of(kind)) if kind.startswith("<") else BIT


def _binary(instruction: str) -> Callable[[Builder, Value, Value], Value]:
    def append(self: Builder, x: Value, y: Value) -> Value:
        return self.append(x.type, f"{instruction} {x}, {y.name}")

    return append


def _cast(instruction: str) -> Callable[[Builder, Value, str], Value]:
    def append(self: Builder, x: Value, kind: str) -> Value:
        return self.append(kind, f"{instruction} {x} to {kind}")

    return append


class Builder:
    """Appends instructions to a function, which are called as in LLVM's reference.

    Attributes:
        block: where the next one comes.
        blocks: all, the one that is entered first.
    """

    def __init__(self) -> None:
        self._count = 0  # of values and blocks
        self.blocks: list[Block] = []
        self.block = self.append_basic_block()

    def _next_name(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def append(self, kind: str, instruction: str) -> Value:
        """Append an instruction with a value."""
        value = Value(kind, f"%{self._next_name()}")
        self.block.lines.append(f"{value.name} = {instruction}")
        return value

    def _leave(self, instruction: str) -> None:
        self.block.lines.append(instruction)
        self.block.is_terminated = True

    # Numbers

    add, sub, mul, shl = _binary("add"), _binary("sub"), _binary("mul"), _binary("shl")
    and_, or_, xor, ashr = _binary("and"), _binary("or"), _binary("xor"), _binary("ashr")
    fadd, fsub, fmul, fdiv = _binary("fadd"), _binary("fsub"), _binary("fmul"), _binary("fdiv")
    bitcast, trunc, fptosi = _cast("bitcast"), _cast("trunc"), _cast("fptosi")
    uitofp, ptrtoint, inttoptr = _cast("uitofp"), _cast("ptrtoint"), _cast("inttoptr")

    def fneg(self, x: Value) -> Value:
        """Minus a number."""
        return self.append(x.type, f"fneg {x}")

    def not_(self, x: Value) -> Value:
        """The other truth value."""
        return self.xor(x, constant(x.type, 1))

    def icmp(self, relation: str, x: Value, y: Value) -> Value:
        """Whether a relation holds between whole numbers with signs."""
        sign = "" if relation in ("==", "!=") else "s"
        return self.append(_of_bits(x.type), f"icmp {sign}{_RELATIONS[relation]} {x}, {y.name}")

    def fcmp(self, relation: str, x: Value, y: Value) -> Value:
        """Whether a relation holds between floats; of NaN, only that it is unequal."""
        order = "u" if relation == "!=" else "o"
        return self.append(_of_bits(x.type), f"fcmp {order}{_RELATIONS[relation]} {x}, {y.name}")

    def select(self, condition: Value, yes: Value, no: Value) -> Value:
        """One of two values."""
        return self.append(yes.type, f"select {condition}, {yes}, {no}")

    # Vectors

    def extract_element(self, vector: Value, place: int) -> Value:
        """One element of a vector."""
        kind = _scalar_of(vector.type)
        return self.append(kind, f"extractelement {vector}, i32 {place}")

    def insert_element(self, vector: Value, x: Value, place: int) -> Value:
        """A vector with another element."""
        return self.append(vector.type, f"insertelement {vector}, {x}, i32 {place}")

    def shuffle_vector(self, x: Value, y: Value, order: list[int]) -> Value:
        """The vector of some elements of x, followed by those of y."""
        mask = constant(vector_type("i32", len(order)), order)
        kind = vector_type(_scalar_of(x.type), len(order))
        return self.append(kind, f"shufflevector {x}, {y}, {mask}")

    # Memory

    def gep(self, address: Value, offset: Value) -> Value:
        """An address some bytes further."""
        return self.append(POINTER, f"getelementptr i8, {address}, {offset}")

    def load(self, kind: str, address: Value, align: int) -> Value:
        """What is at an address."""
        return self.append(kind, f"load {kind}, {address}, align {align}")

    def store(self, value: Value, address: Value, align: int) -> None:
        """Put a value at an address."""
        self.block.lines.append(f"store {value}, {address}, align {align}")

    def alloca(self, kind: str, size: Value | None, align: int) -> Value:
        """Space on the stack; of a fixed size it is there from the beginning of the function."""
        count = "" if size is None else f", {size}"
        value = Value(POINTER, f"%{self._next_name()}")
        block = self.blocks[0] if size is None else self.block
        at = 0 if size is None else len(block.lines)
        block.lines.insert(at, f"{value.name} = alloca {kind}{count}, align {align}")
        return value

    def fetch_and_add(self, address: Value, x: Value) -> Value:
        """Add to a number in memory at once, whatever other threads do; gives what it was."""
        return self.append(x.type, f"atomicrmw add {address}, {x} monotonic")

    # Control

    def call(self, function: Callee, given: Sequence[Value]) -> Value:
        """Call a function."""
        call = f"call {function.result} {function.name}({', '.join(map(str, given))})"
        if function.result != VOID:
            return self.append(function.result, call)
        self.block.lines.append(call)
        return Value(VOID, "")

    def ret(self, value: Value) -> None:
        """Return a value."""
        self._leave(f"ret {value}")

    def ret_void(self) -> None:
        """Return."""
        self._leave("ret void")

    def branch(self, block: Block) -> None:
        """Go on in a block."""
        self._leave(f"br label %{block.label}")

    def cbranch(self, condition: Value, yes: Block, no: Block, hint: str = "") -> None:
        """Go on in one of two blocks."""
        self._leave(f"br {condition}, label %{yes.label}, label %{no.label}{hint}")

    def append_basic_block(self) -> Block:
        """A block."""
        block = Block(self._next_name())
        self.blocks.append(block)
        return block

    def position_at_end(self, block: Block) -> None:
        """Let what follows come into a block."""
        self.block = block

    def phi(self, kind: str) -> Phi:
        """A value of the open block."""
        phi = Phi(kind, f"%{self._next_name()}")
        self.block.phis.append(phi)
        return phi

    @contextmanager
    def if_then(self, condition: Value, likely: bool = True) -> Iterator[None]:
        """What is appended inside runs if a condition is true."""
        first, after = self.append_basic_block(), self.append_basic_block()
        self.cbranch(condition, first, after, "" if likely else _UNLIKELY)
        with self._inside(first, after):
            yield
        self.block = after

    @contextmanager
    def if_else(
        self, condition: Value
    ) -> Iterator[tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
        """Two pieces of code, of which one runs."""
        first, second, after = [self.append_basic_block() for _ in range(3)]
        self.cbranch(condition, first, second)
        yield self._inside(first, after), self._inside(second, after)
        self.block = after

    @contextmanager
    def _inside(self, block: Block, after: Block) -> Iterator[None]:
        self.block = block
        yield
        if not self.block.is_terminated:
            self.branch(after)
