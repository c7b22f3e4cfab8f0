"""The numbers that code reads: tables of indices and constants, in one stretch of memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chainrule.program.form import Array, Table

_ALIGNMENT: Final = 64


class Data:
    """Tables one after the other.

    The same tables in the same order lie at the same places, in whatever process.
    """

    def __init__(self) -> None:
        self.size = 0
        self._parts: list[tuple[int, NDArray[Any]]] = []
        self._places: dict[Any, tuple[int, int]] = {}

    def indices(self, table: Table) -> tuple[int, int]:
        """Where a table of indices lies, in bytes, and the bytes of a number: 4 or 8."""
        found = self._places.get(table)
        if found is None:
            numbers = table.numbers
            limit = 2**31 - 1
            small = not len(numbers) or (numbers.min() >= -limit and numbers.max() <= limit)
            numbers = numbers.astype(np.int32 if small else np.int64)
            found = self._places[table] = self._add(numbers), numbers.itemsize
        return found

    def constants(self, array: Array) -> int:
        """Where a CONSTANT array lies, in bytes."""
        found = self._places.get(array)
        if found is None:
            assert array.data is not None
            found = self._places[array] = self._add(np.asarray(array.data, np.float64)), 8
        return found[0]

    def numbers(self, numbers: Sequence[float]) -> int:
        """Where some numbers lie, in bytes."""
        found = np.array(numbers, dtype=np.float64)
        key = found.tobytes()
        if key not in self._places:
            self._places[key] = self._add(found), 8
        return self._places[key][0]

    def _add(self, numbers: NDArray[Any]) -> int:
        place = self.size
        self._parts.append((place, numbers))
        self.size = place + -(-numbers.nbytes // _ALIGNMENT) * _ALIGNMENT
        return place

    def memory(self) -> NDArray[np.uint8]:
        """All of them."""
        memory = np.zeros(self.size, dtype=np.uint8)
        for place, numbers in self._parts:
            memory[place : place + numbers.nbytes] = numbers.view(np.uint8)
        return memory
