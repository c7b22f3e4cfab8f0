"""Writing functions in LLVM's assembly language."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from .instructions import (
    BIT,
    BRANCH_WEIGHTS,
    POINTER,
    VOID,
    Block,
    Builder,
    Callee,
    Phi,
    Value,
    constant,
    vector_type,
    width_of,
)
from .layout import BLOCK

_LETTERS: Final = {"p": POINTER, "i": "i64", "b": BIT, "d": "double"}


class Module:
    """A module under construction: functions, and what they call."""

    def __init__(self) -> None:
        self.callees: dict[str, Callee] = {}
        self.procedures: dict[str, Procedure] = {}

    def __str__(self) -> str:
        others = [x for name, x in self.callees.items() if name not in self.procedures]
        texts = [x.text() for x in self.procedures.values()]
        return "\n".join([*[x.declaration() for x in others], *texts, BRANCH_WEIGHTS])


class Procedure:
    """A function under construction.

    Types are those of LLVM, or letters: p an address, i a whole number, b a truth value, d a
    float64.

    Args:
        module: the module it is written to.
        name: its name.
        result: the type of its result, None for no result.
        parameters: the types of its parameters.

    Attributes:
        b: appends instructions.
        args: the values of the parameters.
        function: what others call.
        linkage: how the linker sees it, in LLVM's words.
        attributes: what LLVM is told of it.
    """

    bit, byte, i32, i64, double, pointer = BIT, "i8", "i32", "i64", "double", POINTER

    def __init__(
        self, module: Module, name: str, result: str | None, parameters: Sequence[str]
    ) -> None:
        self.module = module
        self.function = self.declare(name, result, parameters)
        self.args = [Value(x, f"%p{i}") for i, x in enumerate(self.function.parameters)]
        self.b = Builder()
        self.linkage = self.attributes = ""
        module.procedures[name] = self

    def text(self) -> str:
        """The function."""
        function = self.function
        given = ", ".join(map(str, self.args))
        head = f"define {self.linkage} {function.result} {function.name}({given}) {self.attributes}"
        return "\n".join([f"{head} {{", *[block.text() for block in self.b.blocks], "}"])

    def declare(self, name: str, result: str | None, parameters: Sequence[str]) -> Callee:
        """A function of the module by name."""
        known = self.module.callees.get(name)
        if known is None:
            types = [_LETTERS.get(x, x) for x in (result or VOID, *parameters)]
            known = self.module.callees[name] = Callee(f'@"{name}"', types[0], types[1:])
        return known

    # Constants and vectors

    def number(self, value: int) -> Value:
        """A whole number."""
        return Value("i64", str(value))

    def vector_type(self, scalar: str, width: int = BLOCK) -> str:
        """The type of vectors."""
        return vector_type(scalar, width)

    def constant(self, kind: str, value: float | list[int] | None) -> Value:
        """A constant; the same number in all places of a vector, unless a list is given."""
        return constant(kind, value)

    def splat(self, scalar: Value, width: int = BLOCK) -> Value:
        """A vector of equal numbers."""
        one = self.b.insert_element(Value(vector_type(scalar.type, width), "poison"), scalar, 0)
        return self.shuffle(one, one, [0] * width)

    def shuffle(self, x: Value, y: Value, order: list[int]) -> Value:
        """The vector of some elements of x, followed by those of y."""
        return self.b.shuffle_vector(x, y, order)

    def element(self, vector: Value, place: int) -> Value:
        """One element of a vector."""
        return self.b.extract_element(vector, place)

    def vector_of(self, elements: Sequence[Value]) -> Value:
        """A vector of some numbers."""
        vector = Value(vector_type(elements[0].type, len(elements)), "poison")
        for place, x in enumerate(elements):
            vector = self.b.insert_element(vector, x, place)
        return vector

    def any(self, bits: Value) -> Value:
        """Whether one of the bits is set."""
        name = f"llvm.vector.reduce.or.v{width_of(bits.type)}i1"
        return self.b.call(self.declare(name, BIT, [bits.type]), [bits])

    # Memory

    def at(self, address: Value, offset: Value | int) -> Value:
        """An address some bytes further."""
        if isinstance(offset, int):
            offset = self.number(offset)
        return self.b.gep(address, offset)

    def load(self, kind: str, address: Value, offset: Value | int = 0, align: int = 8) -> Value:
        """The value at an address."""
        return self.b.load(kind, self.at(address, offset), align)

    def store(self, value: Value, address: Value, offset: Value | int = 0, align: int = 8) -> None:
        """Put a value at an address."""
        self.b.store(value, self.at(address, offset), align)

    def field(self, table: Value, which: int) -> Value:
        """A number of a table."""
        return self.load(self.i64, table, 8 * which)

    def address(self, table: Value, which: int) -> Value:
        """An address in a table."""
        return self.load(self.pointer, table, 8 * which)

    def local(self, kind: str, size: Value | None = None, align: int = 8) -> Value:
        """Space on the stack, until the function returns; not to be used in a loop with a size."""
        return self.b.alloca(kind, size, align)

    # Control

    def call_address(self, address: Value, given: Sequence[Value]) -> None:
        """Call a function without a result at an address."""
        self.b.call(Callee(address.name, VOID, []), given)

    @contextmanager
    def loop(self, count: Value, start: Value | int = 0, step: int = 1) -> Iterator[Value]:
        """A loop over start, start + step, … below count; gives the index."""
        i, _, test, after = self._begin_loop(count, start, [])
        yield i
        self._end_loop(i, step, test, after)

    def fold(
        self,
        count: Value,
        start: Sequence[Value],
        body: Callable[[Value, list[Phi]], list[Value]],
    ) -> list[Phi]:
        """A loop over 0, 1, … below count that carries values on.

        Args:
            count: the number of rounds.
            start: the values at first.
            body: gets the index and the values, gives the next ones.
        """
        i, state, test, after = self._begin_loop(count, 0, start)
        following = body(i, state)
        for x, new in zip(state, following, strict=True):
            x.add_incoming(new, self.b.block)
        self._end_loop(i, 1, test, after)
        return state

    def repeat(
        self,
        count: Value,
        start: Sequence[Value],
        body: Callable[[Value, list[Phi]], list[Value]],
    ) -> list[Value]:
        """The same for a count of at least 1: many vectors then stay in their registers."""
        b = self.b
        before, again, after = b.block, b.append_basic_block(), b.append_basic_block()
        b.branch(again)
        b.position_at_end(again)
        i, state = b.phi(self.i64), [b.phi(x.type) for x in start]
        following = [b.add(i, self.number(1)), *body(i, state)]
        for phi, first, then in zip([i, *state], [self.number(0), *start], following, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(then, b.block)
        b.cbranch(b.icmp("<", following[0], count), again, after)
        b.position_at_end(after)
        return following[1:]

    def _begin_loop(
        self, count: Value, start: Value | int, carried: Sequence[Value]
    ) -> tuple[Phi, list[Phi], Block, Block]:
        """Begin a body; gives the index, what is carried, the test, and what comes after."""
        b = self.b
        before = b.block
        test, body, after = [b.append_basic_block() for _ in range(3)]
        b.branch(test)
        b.position_at_end(test)
        i = b.phi("i64")
        i.add_incoming(self.number(start) if isinstance(start, int) else start, before)
        state = [b.phi(x.type) for x in carried]
        for phi, x in zip(state, carried, strict=True):
            phi.add_incoming(x, before)
        b.cbranch(b.icmp("<", i, count), body, after)
        b.position_at_end(body)
        return i, state, test, after

    def _end_loop(self, i: Phi, step: int, test: Block, after: Block) -> None:
        i.add_incoming(self.b.add(i, self.number(step)), self.b.block)
        self.b.branch(test)
        self.b.position_at_end(after)

    def choose(
        self, *cases: tuple[Value, Callable[[], object]], default: Callable[[], object]
    ) -> None:
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
