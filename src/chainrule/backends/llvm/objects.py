"""From a program to machine code: compiled, kept from earlier, or shared with another."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from chainrule.program.form import (
    BY_VALUE,
    Add,
    Array,
    Compute,
    Gather,
    Guard,
    Index,
    Last,
    Load,
    Loop,
    Program,
    Slice,
    Statement,
    Store,
    Table,
    statements,
)
from chainrule.rules import Operation

from . import cache
from .lowering import Code, Request, lower
from .machine import Machine
from .modules import Text
from .shared import Functions, SharedCode, plain
from .threads import executor
from .vector_math import function_text

if TYPE_CHECKING:
    from concurrent.futures import Future

LONG: Final = 10_000  # statements of a program that is worth a second thread for compiling
MOST_UNROLLED: Final = 600  # lines of a module whose loops are written out several times in a row


def machine_code(
    request: Request, load: Callable[[Code, list[bytes]], Functions], shared: SharedCode | None
) -> tuple[Code, NDArray[np.uint8], Functions]:
    """The code of a program, the numbers that it reads, and its functions.

    Args:
        request: what to compile.
        load: puts object code into memory.
        shared: the code of programs that may be like this one.
    """
    name = _name(request) if cache.is_on() else ""
    entry = cache.get(name) if name else None
    if entry is not None:
        description, (numbers, *kept) = entry
        code = Code(**description)
        return code, np.frombuffer(numbers, np.uint8), load(code, kept)
    count = sum(1 for _ in statements(request.program.body))
    modules = _Modules(request.machine, not request.lanes, count > LONG)
    code, data = lower(request, modules.take)
    memory = data.memory()
    objects: list[bytes] = []

    def compiled(texts: Sequence[str]) -> Functions:
        objects.extend(modules.objects(texts))
        return load(code, objects)

    if shared is None or modules.ahead:
        functions = compiled([])
    else:
        functions, table = shared.functions(modules.marked(), compiled)
        code.parameters = len(table)
        memory = np.concatenate([table.view(np.uint8), memory])
    if name and objects:
        cache.put(name, (asdict(code), [memory.tobytes(), *objects]))
    return code, memory, functions


def shared_function(
    machine: Machine,
    name: str,
    write: Callable[[], Sequence[tuple[str, int]]],
    kind: object = None,
) -> int:
    """A function that all kernels use; it stays for the life of the process.

    Args:
        machine: what to compile for.
        name: its name.
        write: gives its modules, in LLVM's assembly language, each with how much to optimize it.
        kind: tells functions of one name apart.

    Returns:
        its address.
    """
    key = cache.name_of(b"shared", repr((machine, name, kind)).encode())
    entry = cache.get(key)
    if entry is None:
        entry = {}, [machine.compile(*module) for module in write()]
        cache.put(key, entry)
    code = machine.load(entry[1], [name], {})
    _loaded.append(code)
    return code[name]


_loaded: list[Any] = []


class _Modules:
    """Modules on the way to object code.

    Args:
        machine: what to compile for.
        unrolls: whether loops of short code are written out several times.
        ahead: whether another thread compiles modules while the next ones are written.
    """

    def __init__(self, machine: Machine, unrolls: bool, ahead: bool) -> None:
        self.machine = machine
        self.unrolls = unrolls
        self.ahead = ahead
        self.texts: dict[int, Text] = {}  # of those that nobody has begun to compile
        self.futures: list[Future[bytes]] = []

    def take(self, text: Text) -> None:
        """Compile a module, soon or later."""
        number = len(self.futures) if self.ahead else len(self.texts)
        self.texts[number] = text
        if self.ahead:
            self.futures.append(executor().submit(self._compile, number))

    def _compile(self, number: int) -> bytes:
        return self._compiled(self.texts.pop(number))

    def _compiled(self, text: Text) -> bytes:
        lines = plain(text.text)
        if not text.level:
            return self.machine.compile(lines, 0)
        parts = [
            function_text(operation, width, self.machine, inline=True)[0]
            for operation, width in text.inlined
        ]
        # Vectors keep the processor busy without; and much code takes long to compile.
        unroll = self.unrolls and text.text.count("\n") <= MOST_UNROLLED
        return self.machine.compile(lines, text.level, parts, unroll)

    def marked(self) -> list[str]:
        """The texts of all modules, in order."""
        return [self.texts[number].text for number in sorted(self.texts)]

    def objects(self, texts: Sequence[str]) -> list[bytes]:
        """The object code of all modules, in order.

        Args:
            texts: what to compile instead of theirs, if anything.
        """
        if not self.ahead:
            modules = [self.texts[number] for number in sorted(self.texts)]
            if texts:
                modules = [x._replace(text=y) for x, y in zip(modules, texts, strict=True)]
            return [self._compiled(text) for text in modules]
        return [
            self._compile(number) if future.cancel() else future.result()
            for number, future in enumerate(self.futures)
        ]


def _name(request: Request) -> str:
    """The name in the cache: all that determines the code."""
    flags = (request.lanes, list(request.uniform), list(request.reduce))
    whole = (flags, canonical(request.program))
    version = 2  # of marshal's format: without references, which depend on more than the values
    return cache.name_of(b"program", repr(request.machine).encode(), marshal.dumps(whole, version))


def canonical(program: Program) -> list[Any]:
    """A program as numbers and text: the same for programs that have the same code."""
    return _Canonical().program(program)


class _Canonical:
    """Numbers what it meets in the order in which it does."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}  # of values, loops, arrays, tables, users' operations
        self._rows: list[Any] = []

    def program(self, program: Program) -> list[Any]:
        """What is written of a program."""
        self._array(program.inputs)
        self._body(program.body)
        outputs = [
            (self._array(x.array), x.start, x.size) if isinstance(x, Slice) else self._operand(x)
            for x in program.outputs
        ]
        return [self._rows, outputs, program.guards]

    def _new(self, thing: Any) -> int:
        number = self._numbers[thing] = len(self._numbers)
        return number

    def _operand(self, x: Any) -> Any:
        return self._numbers[x] if isinstance(x, Statement) else float(x)

    def _operation(self, operation: Operation) -> Any:
        if operation.builtin:
            return operation.name
        return self._numbers[operation] if operation in self._numbers else self._new(operation)

    def _array(self, array: Array) -> int:
        number = self._numbers.get(array)
        if number is None:
            number = self._new(array)
            data = None if array.data is None else np.asarray(array.data, np.float64).tobytes()
            self._rows.append(("array", array.kind, array.size, data))
        return number

    def _table(self, table: Table) -> int:
        number = self._numbers.get(table)
        if number is None:
            number = self._new(table)
            self._rows.append(("table", np.asarray(table.numbers, np.int64).tobytes()))
        return number

    def _index(self, index: Index) -> Any:
        if index.is_fixed:
            return index.offset
        return (
            index.offset,
            [(self._numbers[loop], stride) for loop, stride in index.strides],
            [(self._table(table), self._index(inner)) for table, inner in index.tables],
        )

    def _body(self, body: Sequence[Statement]) -> None:
        rows = self._rows
        for statement in body:
            if isinstance(statement, Compute):
                operands = [self._operand(x) for x in statement.operands]
                rows.append((self._operation(statement.operation), operands))
                self._new(statement)
            elif isinstance(statement, Loop):
                self._new(statement)
                initial = [self._operand(carry.initial) for carry in statement.carries]
                for carry in statement.carries:
                    self._new(carry)
                rows.append(("loop", self._index(statement.trips), initial))
                self._body(statement.body)
                rows.append(("end", [self._operand(carry.next) for carry in statement.carries]))
            elif isinstance(statement, Load):
                rows.append(("load", self._array(statement.array), self._index(statement.index)))
                self._new(statement)
            elif isinstance(statement, Store):
                kind = "+=" if isinstance(statement, Add) else "="
                element = self._array(statement.array), self._index(statement.index)
                rows.append((kind, *element, self._operand(statement.value)))
            elif isinstance(statement, BY_VALUE):
                kind = "gather" if isinstance(statement, Gather) else "scatter"
                first = self._array(statement.array), self._index(statement.index)
                operands = [self._operand(x) for x in statement.operands]
                rows.append((kind, *first, statement.size, operands))
                self._new(statement)
            elif isinstance(statement, Last):
                rows.append(("last", self._operand(statement.carry)))
                self._new(statement)
            else:
                assert isinstance(statement, Guard), statement
                condition = self._operand(statement.condition)
                rows.append(("?", condition, statement.outcome, self._index(statement.number)))
