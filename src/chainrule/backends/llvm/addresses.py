"""Where the numbers of an array lie."""

from __future__ import annotations

import ctypes
from typing import Any, Final

_BYTE: Final = ctypes.c_char


def address_of(array: Any) -> int:
    """The address of an array's first number."""
    try:
        return ctypes.addressof(_BYTE.from_buffer(array))  # a third of the time of the other way
    except (TypeError, ValueError, BufferError):  # read-only, or not in one piece
        address: int = array.__array_interface__["data"][0]
        return address
