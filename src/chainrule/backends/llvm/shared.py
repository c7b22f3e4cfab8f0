"""Code that programs share: those whose text is the same but for numbers.

Paths through a function often differ in trip counts, and with them in sizes and places of arrays,
or in constants. The numbers of a program are marked in its text. Where two texts are the same
without them, the numbers that differ become parameters, which the code reads from a table that lies
before the other numbers of a program: what comes after that needs such a table, but no code.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chainrule import forking

MOST_VERSIONS: Final = 4  # of one text; in the last one each number is a parameter of its own
MOST_NUMBERS: Final = 20_000  # marked ones of a text that is shared

Functions = Mapping[str, int]
"""The addresses of functions; they stay as long as it."""

Made = tuple[Functions, list[bytes]]
"""Functions, and their object code if it is to be kept."""

_SEPARATOR: Final = ","
_MARKED = re.compile("#([^#]*)#")
_ENTRY = "{\ne:\n"  # where a function begins


def marked(number: int) -> str:
    """A whole number in a text."""
    return f"#{int(number)}#"


def marked_float(number: float, width: int) -> str:
    """A float in a text; with a width larger than 1, a vector of it."""
    bits = f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
    return f"#{bits}#" if width == 1 else f"#{width} {bits}#"


def plain(text: str) -> str:
    """A text with its numbers written out."""
    return _MARKED.sub(_literal, text)


def _literal(found: re.Match[str]) -> str:
    return _written(found[1])


def _written(number: str) -> str:
    _, _, bits = number.partition(" ")
    return f"splat(double {bits})" if bits else number


class SharedCode:
    """The code of some programs, by their texts.

    Attributes:
        reused: how many programs needed no code of their own.
    """

    def __init__(self) -> None:
        self.reused = 0
        self._texts: dict[bytes, _Text] = {}
        self._lock = forking.lock()

    def functions(
        self,
        texts: Sequence[str],
        load: Callable[[Sequence[str]], Made],
    ) -> tuple[Made, NDArray[np.int64]]:
        """The functions of a program, and the parameters that they are to be given.

        Args:
            texts: of its modules, with marks.
            load: compiles texts without marks.
        """
        numbers: list[str] = []
        digest = blake2b()
        for text in texts:
            parts = _MARKED.split(text)
            numbers += parts[1::2]
            # Whether it is a vector, and of how many, is part of the text.
            kinds = "".join([_kind(x) for x in parts[1::2]])
            digest.update(repr((kinds, parts[::2])).encode())
        if len(numbers) > MOST_NUMBERS:
            return load([plain(text) for text in texts]), np.empty(0, np.int64)
        with self._lock:
            known = self._texts.setdefault(digest.digest(), _Text())
            found = known.known(numbers)
            if found is not None:
                self.reused += 1
                return found
            return known.made(texts, numbers, load)


def _kind(number: str) -> str:
    width, _, bits = number.partition(" ")
    return width + " " if bits else "x" if number.startswith("0x") else "i"


class _Text:
    """A text without its numbers, and the code for it.

    The first code has all numbers in it. The next has parameters for those that have differed:
    where several were the same each time, one for all.
    """

    def __init__(self) -> None:
        self._seen: list[str] = []  # the numbers of programs that code was made for
        self._versions: list[_Version] = []

    def known(self, numbers: list[str]) -> tuple[Made, NDArray[np.int64]] | None:
        """Code and parameters for some numbers, if there is code for them."""
        for version in reversed(self._versions):
            table = version.table(numbers)
            if table is not None:
                return version.made, table
        return None

    def made(
        self,
        texts: Sequence[str],
        numbers: list[str],
        load: Callable[[Sequence[str]], Made],
    ) -> tuple[Made, NDArray[np.int64]]:
        """New code and its parameters."""
        self._seen.append(_SEPARATOR.join(numbers))
        columns: dict[tuple[str, ...], int] = {}
        places: list[int] = []
        all_differ = len(self._versions) == MOST_VERSIONS - 1
        seen = [x.split(_SEPARATOR) for x in self._seen] if numbers else []
        for k, column in enumerate(zip(*seen, strict=True)):
            if all_differ:
                places.append(k)
            elif all(x == column[0] for x in column):
                places.append(-1)
            else:
                places.append(columns.setdefault(column, len(columns)))
        version = _Version(numbers, places)
        version.made = load(_written_with(texts, places))
        self._versions.append(version)
        table = version.table(numbers)
        assert table is not None
        return version.made, table


class _Version:
    """Code with parameters for some of the numbers of a text.

    Args:
        numbers: those of the program that it is made for.
        places: which parameter each number is; -1 for one that stands in the code.

    Attributes:
        made: the code.
    """

    made: Made

    def __init__(self, numbers: list[str], places: list[int]) -> None:
        self._count = 1 + max(places, default=-1)
        self._whole = "" if self._count else _SEPARATOR.join(numbers)
        self._own = [*zip(numbers, places, strict=True)] if self._count else []

    def table(self, numbers: Sequence[str]) -> NDArray[np.int64] | None:
        """The parameters for some numbers; None if it can't be told to compute with these."""
        if not self._count:
            return np.empty(0, np.int64) if _SEPARATOR.join(numbers) == self._whole else None
        table = [""] * self._count
        for number, (own, place) in zip(numbers, self._own, strict=True):
            if place < 0:
                if number != own:
                    return None
            elif not table[place]:
                table[place] = number
            elif table[place] != number:
                return None
        # The last one comes first: the table ends where the other numbers begin.
        return np.array([_whole(x) for x in reversed(table)], np.int64)


def _written_with(texts: Sequence[str], places: Sequence[int]) -> list[str]:
    """Texts without marks, in which functions read the parameters."""
    left = iter(places)
    return [_ENTRY.join([_body(x, left) for x in text.split(_ENTRY)]) for text in texts]


def _body(text: str, places: Iterator[int]) -> str:
    """The body of a function, with the lines that read its parameters before."""
    used: dict[str, str] = {}

    def name(found: re.Match[str]) -> str:
        place = next(places)
        if place < 0:
            return _written(found[1])
        width, _, bits = found[1].partition(" ")
        if bits:
            known = f"%p{place}w{width}"
            used.setdefault(known, _vector(known, place, int(width)))
            return known
        kind = "double" if found[1].startswith("0x") else "i64"
        known = f"%p{place}{kind[0]}"
        used.setdefault(known, _number(known, place, kind))
        return known

    body = _MARKED.sub(name, text)
    return "".join(used.values()) + body


def _number(name: str, place: int, kind: str) -> str:
    """Lines that read a parameter."""
    return (
        f"{name}a = getelementptr inbounds i8,ptr %d,i64 {-8 * (place + 1)}\n"
        f"{name} = load {kind},ptr {name}a,align 8\n"
    )


def _vector(name: str, place: int, width: int) -> str:
    kind = f"<{width} x double>"
    return (
        _number(f"{name}n", place, "double")
        + f"{name}i = insertelement {kind} poison,double {name}n,i32 0\n"
        + f"{name} = shufflevector {kind} {name}i,{kind} poison,<{width} x i32> zeroinitializer\n"
    )


def _whole(number: str) -> int:
    """A parameter, as the 64 bits of it."""
    _, _, bits = number.rpartition(" ")
    if bits.startswith("0x"):
        return int(struct.unpack("<q", int(bits, 16).to_bytes(8, "little"))[0])
    return int(bits)
