"""Choosing one of several things by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from numbers import Real
from typing import Any, TypeVar

T = TypeVar("T")


def chosen(what: str, name: object, choices: Mapping[str, T]) -> T:
    """The choice of a name.

    Raises:
        TypeError: if the name is not text.
        ValueError: if nothing has that name; the message gives the nearest names.
    """
    if not isinstance(name, str):
        raise TypeError(
            f"{what} is given by name or as a function, not as {type(name).__name__}; the names"
            f" are {', '.join(choices)}"
        )
    found = choices.get(name)
    if found is None:
        near = difflib.get_close_matches(name.lower(), choices, 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(choices)}"
        raise ValueError(f"there is no {what} {name!r}; {hint}")
    return found


def positive(what: str, value: Any) -> float:
    """A number above 0.

    Raises:
        TypeError: if it is no number.
        ValueError: if it is not above 0 or not finite.
    """
    return _number(what, value, 0.0, False)


def not_negative(what: str, value: Any) -> float:
    """A number from 0 up; raises as :func:`positive` does."""
    return _number(what, value, 0.0, True)


def _number(what: str, value: Any, low: float, closed: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):  # NumPy's numbers are Real too
        raise TypeError(f"{what} is a number, not {type(value).__name__}")
    number = float(value)
    if not (number >= low if closed else number > low) or number == float("inf"):
        raise ValueError(f"{what} is a number {'from' if closed else 'above'} {low:g}, not {value}")
    return number


def count(what: str, value: Any, low: int = 1) -> int:
    """A whole number from ``low`` up.

    Raises:
        TypeError: if it is no whole number.
        ValueError: if it is less.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{what} is a whole number, not {type(value).__name__} {value!r}")
    number = int(value.__index__())
    if number < low:
        raise ValueError(f"{what} is a whole number from {low} up, not {number}")
    return number
