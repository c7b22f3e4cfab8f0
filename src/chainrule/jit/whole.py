"""Arithmetic of whole numbers in a trace, where a float holds each: powers, shifts, bits.

Everything comes down to ``+ - * // %`` of an :class:`~.indices.IndexNode`, which raise where a
result would no longer be exact.
"""

from __future__ import annotations

from typing import Any, Final

from chainrule import rules
from chainrule.node import Node, apply

LARGEST: Final = 2**53
"""Below it a float that is a whole number is exactly what was computed."""

SMALL: Final = 2**31
"""Sums and products of few numbers up to here need no check."""


def exact(number: int) -> int:
    """A plain whole number, if it is a float as well.

    Raises:
        OverflowError: if it is not.
    """
    if abs(number) > LARGEST and (number.bit_length() > 1000 or int(float(number)) != number):
        raise OverflowError(
            f"a whole number of {number.bit_length()} bits meets one of compiled code, where they"
            " are exact below 2**53 only"
        )
    return number


def power(base: Any, exponent: Any, modulus: Any) -> Any:
    """base ** exponent of whole numbers, modulo a third one if there is one.

    Raises:
        OverflowError: if the result, or a remainder's square, is not exact.
        ZeroDivisionError: for a negative power of 0.
    """
    if isinstance(exponent, Node):
        if modulus is not None:
            raise TypeError("pow with a modulus takes a plain exponent in compiled code: int(n)")
        return _power_by_bits(base, exponent)
    if exponent < 0:
        if modulus is not None:
            raise TypeError("pow with a modulus takes no negative exponent in compiled code")
        if base == 0:
            raise ZeroDivisionError("0.0 cannot be raised to a negative power")
        return Node.__pow__(base, int(exponent))
    result: Any = 1 if modulus is None else 1 % modulus
    for bit in f"{int(exponent):b}":
        result = result * result
        if bit == "1":
            result = result * base
        if modulus is not None:
            result = result % modulus
    return result


def _power_by_bits(base: Any, exponent: Any) -> Any:
    """A power whose exponent is known at run time, by its bits."""
    from .indices import checked

    if exponent < 0:
        if base == 0:
            raise ZeroDivisionError("0.0 cannot be raised to a negative power")
        if isinstance(base, Node):
            return Node.__mul__(base, 1.0) ** exponent
        return Node.__rpow__(exponent, base)
    if exponent >= 64:  # right for -1, 0 and 1, and all others are too large
        exponent = 62 + exponent % 2
    result: Any = 1.0
    square: Any = Node.__mul__(base, 1.0) if isinstance(base, Node) else float(base)
    for bit in range(6):  # what is not picked may be infinite
        odd = exponent // 2**bit % 2 == 1
        result = apply(rules.where, (odd, result * square, result))
        square = square * square
    return checked(result, LARGEST)


def shifted_left(number: Any, count: Any) -> Any:
    """number << count.

    Raises:
        ValueError: if the count is negative.
    """
    if count < 0:
        raise ValueError("negative shift count")
    if not isinstance(count, Node):
        return number * 2 ** min(int(count), 900)  # only 0 is still exact then
    return number * power(2, count, None)


def shifted_right(number: Any, count: Any) -> Any:
    """number >> count.

    Raises:
        ValueError: if the count is negative.
    """
    if count < 0:
        raise ValueError("negative shift count")
    if count > 52:
        return number // 2 ** (54 if count > 53 else 53)  # beyond, nothing is left but the sign
    return number // power(2, count, None)


def bits_and(number: Any, mask: Any) -> Any:
    """number & mask, by the runs of ones in a mask that is plain.

    Raises:
        TypeError: if both are known only at run time.
    """
    if isinstance(mask, Node):
        if isinstance(number, Node):
            raise TypeError(
                "& | ^ of two whole numbers that are both data is not compiled; int(k) makes one"
                " plain, with a trace for each value"
            )
        number, mask = mask, number
    mask = int(mask)
    if mask < 0:
        return number - bits_and(number, ~mask)
    total: Any = 0
    start = 0
    while mask >> start:
        length = 0
        while mask >> (start + length) & 1:
            length += 1
        if length:
            total = total + number // 2**start % 2**length * 2**start
        start += length or 1
    return total


def bits_or(number: Any, mask: Any) -> Any:
    """number | mask."""
    return number + (mask - bits_and(number, mask))


def bits_xor(number: Any, mask: Any) -> Any:
    """number ^ mask."""
    common = bits_and(number, mask)
    return number - common + (mask - common)
