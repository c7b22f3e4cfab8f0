"""Choosing one of several things by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, TypeVar

import numpy

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
        import difflib

        near = difflib.get_close_matches(name.lower(), choices, 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(choices)}"
        raise ValueError(f"there is no {what} {name!r}; {hint}")
    return found


def named(what: str, value: object, names: Sequence[str]) -> str:
    """One of some names, which has no other form; raises as :func:`chosen` does."""
    if not isinstance(value, str):
        raise TypeError(
            f"{what} is one of {', '.join(names)}, not {type(value).__name__} {value!r}"
        )
    return chosen(what, value, {name: name for name in names})


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


def fraction(what: str, value: Any, whole: bool = False) -> float:
    """A number from 0 up and below 1; also 1 itself if ``whole``.

    Raises:
        TypeError: if it is no number.
        ValueError: if it is another.
    """
    number = _real(what, value)
    if not (0.0 <= number < 1.0 or (whole and number == 1.0)):
        raise ValueError(
            f"{what} is a number from 0 {'to' if whole else 'up and below'} 1, not {value}"
        )
    return number


def flag(what: str, value: Any) -> bool:
    """A truth value, Python's or NumPy's.

    Raises:
        TypeError: if it is none, such as the text "False", which counts as true.
    """
    if not isinstance(value, (bool, numpy.bool_)):
        raise TypeError(f"{what} is True or False, not {type(value).__name__} {value!r}")
    return bool(value)


def _real(what: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):  # NumPy's numbers are Real too
        raise TypeError(f"{what} is a number, not {type(value).__name__}")
    return float(value)


def _number(what: str, value: Any, low: float, closed: bool) -> float:
    number = _real(what, value)
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
