"""The workspace of a program under construction."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from .layout import BLOCK, SLOT
from .places import Place


class Memory:
    """The workspace under construction.

    Attributes:
        step: bytes of a slot.
        size: bytes.
        constants: numbers in it, with their offsets.
    """

    def __init__(self, step: int, header: int) -> None:
        self.step = step
        self.size = header * step
        self.constants: list[tuple[int, float]] = []
        self._free: list[int] = []
        self._known: dict[bytes, Place] = {}

    def take(self, count: int) -> int:
        """The offset of some slots that nobody has used.

        Many begin with a line of the cache: a vector in two lines takes twice as long.
        """
        if count >= BLOCK:
            self.size = -(-self.size // SLOT) * SLOT
        offset = self.size
        self.size += count * self.step
        return offset

    def slot(self) -> int:
        """The offset of a slot."""
        return self._free.pop() if self._free else self.take(1)

    def give_back(self, places: Iterable[Place]) -> None:
        """Let the slots of some places be used again."""
        self._free.extend([place.slot for place in places])

    def keep_all(self) -> None:
        """Let no slot be used again that is in use so far."""
        self._free.clear()

    def number(self, x: float) -> Place:
        """The place of a number."""
        bits = struct.pack("<d", x)
        place = self._known.get(bits)
        if place is None:
            place = self._known[bits] = Place(None, self.take(1))
            self.constants.append((place.slot, x))
        return place
