"""From a tape to object code: compiled, or kept from an earlier process."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields
from typing import Any, Final

from chainrule.backends.llvm import cache
from chainrule.backends.llvm.machine import Machine
from chainrule.backends.llvm.threads import executor
from chainrule.compiler.lower import Program, TapeLike, lower

LONG_TAPE: Final = 10_000  # values of a tape that is worth a second thread for compiling


@dataclass(frozen=True)
class Order:
    """What to compile.

    Args:
        tape: the program.
        uniform: for each input whether it is the same for all lanes.
        lanes: whether to compute blocks of lanes, else a single point.
        reduce: for each output whether it is added up over the lanes.
        machine: what to compile for.
    """

    tape: TapeLike
    uniform: Sequence[bool]
    lanes: bool
    reduce: Sequence[bool]
    machine: Machine


def object_code(order: Order, careful: bool) -> tuple[Program, list[bytes]]:
    """The program of a tape and its object code.

    Args:
        order: what to compile.
        careful: whether the conditions of all messages are asked.
    """
    name = _name(order, careful) if cache.is_on() else ""
    entry = cache.get(name) if name else None
    if entry is not None:
        return Program(**entry[0]), entry[1]
    modules = _Modules(order.machine, len(order.tape.operations) > LONG_TAPE)
    program = lower(
        order.tape, order.uniform, order.lanes, order.reduce, order.machine, careful, modules.take
    )
    objects = modules.objects()
    if name:
        description = {field.name: getattr(program, field.name) for field in fields(program)}
        cache.put(name, (description, objects))
    return program, objects


def _name(order: Order, careful: bool) -> str:
    """The name in the cache: all that determines the code."""
    tape = order.tape
    flags = (order.lanes, careful, list(order.uniform), list(order.reduce))
    values = (tape.n_inputs, tape.operations, tape.operands, list(tape.constants.items()))
    whole = (flags, values, list(tape.user), tape.outputs, tape.guards)
    version = 2  # of marshal's format: without references, which depend on more than the values
    return cache.name_of(b"tape", repr(order.machine).encode(), marshal.dumps(whole, version))


def shared_function(machine: Machine, name: str, write: Callable[[], str]) -> int:
    """A function that all kernels use; it stays for the life of the process.

    Args:
        machine: what to compile for.
        name: its name.
        write: gives its module, in LLVM's assembly language.

    Returns:
        its address.
    """
    key = cache.name_of(b"shared", repr((machine, name)).encode())
    entry = cache.get(key)
    if entry is None:
        entry = {}, [machine.compile(write(), 2)]
        cache.put(key, entry)
    code = machine.load(entry[1], [name], {})
    _loaded.append(code)
    return code[name]


_loaded: list[Any] = []


class _Modules:
    """Modules on the way to object code.

    Args:
        machine: what to compile for.
        ahead: whether another thread compiles modules while the next ones are written.
    """

    def __init__(self, machine: Machine, ahead: bool) -> None:
        self.machine = machine
        self.ahead = ahead
        self.texts: dict[int, str] = {}  # of those that nobody has begun to compile
        self.futures: list[Future[bytes]] = []

    def take(self, text: str) -> None:
        """Compile a module, soon or later."""
        number = len(self.futures) if self.ahead else len(self.texts)
        self.texts[number] = text
        if self.ahead:
            self.futures.append(executor().submit(self._compile, number))

    def _compile(self, number: int) -> bytes:
        return self.machine.compile(self.texts.pop(number), 0)

    def objects(self) -> list[bytes]:
        """The object code of all modules, in order."""
        if not self.ahead:
            return [self._compile(number) for number in sorted(self.texts)]
        return [
            self._compile(number) if future.cancel() else future.result()
            for number, future in enumerate(self.futures)
        ]
