"""From a program to machine code: compiled, kept from earlier, or shared with another."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from chainrule.program.form import Program, Statement, statements
from chainrule.program.writing import Writer
from chainrule.rules import Operation

from . import cache
from .lowering import Code, Request, lower
from .machine import Machine
from .modules import Text
from .shared import Functions, Made, SharedCode, plain
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

    def compiled(texts: Sequence[str]) -> Made:
        objects = modules.objects(texts)
        return load(code, objects), objects if name else []

    if shared is None or modules.ahead:
        functions, objects = compiled([])
    else:
        (functions, objects), table = shared.functions(modules.marked(), compiled)
        code.parameters = len(table)
        memory = np.concatenate([table.view(np.uint8), memory])
    if name:
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

    def made() -> cache.Entry:
        return {}, [machine.compile(*module) for module in write()]

    _, objects = cache.kept(made, b"shared", repr((machine, name, kind)).encode())
    code = machine.load(objects, [name], {})
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
    flags = (request.lanes, request.uniform.tobytes(), list(request.reduce))
    whole = (flags, canonical(request.program))
    version = 2  # of marshal's format: without references, which depend on more than the values
    return cache.name_of(b"program", repr(request.machine).encode(), marshal.dumps(whole, version))


def canonical(program: Program) -> dict[str, Any]:
    """A program as numbers and text: the same for programs that have the same code."""
    return _Canonical().program(program)


class _Canonical(Writer):
    """Leaves out what does not count for the code: names, and what is known of the user's lines."""

    def __init__(self) -> None:
        super().__init__()
        self._users: dict[Operation, int] = {}

    def name(self, thing: Any) -> str:
        return ""

    def note(self, x: Statement) -> dict[str, int]:
        return {}

    def number(self, x: float) -> Any:
        return x

    def numbers(self, numbers: NDArray[Any]) -> Any:
        return numbers.tobytes()

    def operation(self, operation: Operation) -> Any:
        """An operation; those of a user's are told apart, and Python functions."""
        if operation.builtin:
            return operation.name
        return self._users.setdefault(operation, len(self._users))
