"""Writing functions in LLVM's assembly language."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from chainrule.backends.llvm.layout import BLOCK
from chainrule.backends.llvm.machine import ir


class Procedure:
    """A function under construction.

    Types are those of llvmlite, or letters: p an address, i a whole number, b a truth value, d a
    float64.

    Args:
        module: the module it is written to, of llvmlite.
        name: its name.
        result: the type of its result, None for no result.
        parameters: the types of its parameters.

    Attributes:
        ir: llvmlite's module of that name.
        b: llvmlite's builder, which appends instructions.
        args: the values of the parameters.
    """

    def __init__(self, module: Any, name: str, result: Any, parameters: Sequence[Any]) -> None:
        self.ir: Any = ir()
        self.module = module
        self.void = self.ir.VoidType()
        self.bit = self.ir.IntType(1)
        self.byte = self.ir.IntType(8)
        self.i32 = self.ir.IntType(32)
        self.i64 = self.ir.IntType(64)
        self.double = self.ir.DoubleType()
        self.pointer = self.ir.PointerType()
        self.function = self.declare(name, result, parameters)
        self.args: Any = self.function.args
        self.b: Any = self.ir.IRBuilder(self.function.append_basic_block())

    def declare(self, name: str, result: Any, parameters: Sequence[Any]) -> Any:
        """A function of the module by name."""
        known = self.module.globals.get(name)
        if known is not None:
            return known
        letters = {"p": self.pointer, "i": self.i64, "b": self.bit, "d": self.double}
        result, *types = [
            letters[x] if isinstance(x, str) else x for x in (result or self.void, *parameters)
        ]
        return self.ir.Function(self.module, self.ir.FunctionType(result, types), name)

    # Constants and vectors

    def number(self, value: int) -> Any:
        """A whole number."""
        return self.ir.Constant(self.i64, value)

    def vector_type(self, scalar: Any, width: int = BLOCK) -> Any:
        """The type of vectors."""
        return self.ir.VectorType(scalar, width)

    def constant(self, kind: Any, value: Any) -> Any:
        """A constant; the same number in all places of a vector, unless a list is given."""
        if isinstance(kind, self.ir.VectorType) and not isinstance(value, list):
            value = [value] * kind.count
        return self.ir.Constant(kind, value)

    def undefined(self, kind: Any) -> Any:
        """A value that does not matter."""
        return self.ir.Constant(kind, self.ir.Undefined)

    def splat(self, scalar: Any, width: int = BLOCK) -> Any:
        """A vector of equal numbers."""
        kind = self.vector_type(scalar.type, width)
        one = self.b.insert_element(self.undefined(kind), scalar, self.ir.Constant(self.i32, 0))
        return self.shuffle(one, one, [0] * width)

    def shuffle(self, x: Any, y: Any, order: list[int]) -> Any:
        """The vector of some elements of x, followed by those of y."""
        mask = self.ir.Constant(self.vector_type(self.i32, len(order)), order)
        return self.b.shuffle_vector(x, y, mask)

    def element(self, vector: Any, place: int) -> Any:
        """One element of a vector."""
        return self.b.extract_element(vector, self.ir.Constant(self.i32, place))

    def vector_of(self, elements: Sequence[Any]) -> Any:
        """A vector of some numbers."""
        vector = self.undefined(self.vector_type(elements[0].type, len(elements)))
        for place, x in enumerate(elements):
            vector = self.b.insert_element(vector, x, self.ir.Constant(self.i32, place))
        return vector

    def any(self, bits: Any) -> Any:
        """Whether one of the bits is set."""
        name = f"llvm.vector.reduce.or.v{bits.type.count}i1"
        return self.b.call(self.declare(name, self.bit, [bits.type]), [bits])

    # Memory

    def at(self, address: Any, offset: Any) -> Any:
        """An address some bytes further."""
        if isinstance(offset, int):
            offset = self.number(offset)
        return self.b.gep(address, [offset], source_etype=self.byte)

    def load(self, kind: Any, address: Any, offset: Any = 0, align: int = 8) -> Any:
        """The value at an address."""
        return self.b.load(self.at(address, offset), typ=kind, align=align)

    def store(self, value: Any, address: Any, offset: Any = 0, align: int = 8) -> None:
        """Put a value at an address."""
        self.b.store(value, self.at(address, offset), align=align)

    def field(self, table: Any, which: int) -> Any:
        """A number of a table."""
        return self.load(self.i64, table, 8 * which)

    def address(self, table: Any, which: int) -> Any:
        """An address in a table."""
        return self.load(self.pointer, table, 8 * which)

    def local(self, kind: Any, size: Any = None, align: int = 8) -> Any:
        """Space on the stack, until the function returns; not to be used in a loop."""
        space = self.b.alloca(kind, size)
        space.align = align
        space.type = self.pointer  # llvmlite would print the type of what it points to
        return space

    # Control

    def call_address(self, address: Any, given: Sequence[Any]) -> None:
        """Call a function without a result at an address."""
        kind = self.ir.FunctionType(self.void, [x.type for x in given])
        self.b.call(_Callee(address, kind), given)

    @contextmanager
    def loop(self, count: Any, start: Any = 0, step: int = 1) -> Iterator[Any]:
        """A loop over start, start + step, … below count; gives the index."""
        i, _, body, after = self._begin_loop(count, start, [])
        self.b.position_at_end(body)
        yield i
        self._end_loop(i, step, after)

    def fold(
        self, count: Any, start: Sequence[Any], body: Callable[[Any, list[Any]], list[Any]]
    ) -> list[Any]:
        """A loop over 0, 1, … below count that carries values on.

        Args:
            count: the number of rounds.
            start: the values at first.
            body: gets the index and the values, gives the next ones.
        """
        i, state, inside, after = self._begin_loop(count, 0, start)
        self.b.position_at_end(inside)
        following = body(i, state)
        for x, new in zip(state, following, strict=True):
            x.add_incoming(new, self.b.block)
        self._end_loop(i, 1, after)
        return state

    def _begin_loop(
        self, count: Any, start: Any, carried: Sequence[Any]
    ) -> tuple[Any, list[Any], Any, Any]:
        b = self.b
        before = b.block
        test = b.append_basic_block()
        body = b.append_basic_block()
        after = b.append_basic_block()
        b.branch(test)
        b.position_at_end(test)
        i = b.phi(self.i64)
        i.add_incoming(self.number(start) if isinstance(start, int) else start, before)
        state = [b.phi(x.type) for x in carried]
        for phi, x in zip(state, carried, strict=True):
            phi.add_incoming(x, before)
        b.cbranch(b.icmp_signed("<", i, count), body, after)
        return i, state, body, after

    def _end_loop(self, i: Any, step: int, after: Any) -> None:
        i.add_incoming(self.b.add(i, self.number(step)), self.b.block)
        self.b.branch(i.parent)
        self.b.position_at_end(after)

    def choose(self, *cases: tuple[Any, Callable[[], Any]], default: Callable[[], Any]) -> None:
        """Run the first of some cases whose condition is true."""
        if not cases:
            default()
            return
        (condition, run), *others = cases
        with self.b.if_else(condition) as (then, otherwise):
            with then:
                run()
            with otherwise:
                self.choose(*others, default=default)


class _Callee:
    """The address of a function, as llvmlite's builder wants it."""

    def __init__(self, address: Any, function_type: Any) -> None:
        self.address = address
        self.function_type = function_type
        self.type = address.type
        self.attributes: set[str] = set()

    def get_reference(self) -> str:
        """How LLVM's assembly language names it."""
        reference: str = self.address.get_reference()
        return reference
