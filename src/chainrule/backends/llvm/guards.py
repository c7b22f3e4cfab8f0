"""Guards: functions that note which lanes do not go on, and tell whether none does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .vectors import Function, Mask, Vector

_RELATIONS: Final[dict[str, Callable[[Vector, Vector], Mask]]] = {
    "less": lambda x, y: x < y,
    "less_equal": lambda x, y: x <= y,
    "equal": lambda x, y: x.equals(y),
    "not_equal": lambda x, y: x.differs(y),
}
RELATIONS: Final = frozenset(_RELATIONS)
FUNCTIONS: Final = frozenset([f"guard_{relation}" for relation in RELATIONS])


def write(f: Function, name: str) -> None:
    """Write a function for guards on comparisons.

    Its parameters are the address of the status of the lanes, the values that are compared, the
    number of the guard, and the outcome that it asks for: 0 or 1. The status, a whole number for
    each lane, becomes the number plus 1 where the outcome is another, unless a guard has failed
    there before. The result is whether guards have failed in all lanes.
    """
    b = f.b
    address, x, y, number, outcome = f.args
    relation = _RELATIONS[name.removeprefix("guard_")](Vector(f, x), Vector(f, y))
    wanted = b.icmp("!=", outcome, f.number(0))
    fails = b.xor(relation.value, _all_lanes(f, wanted))
    none = f.constant(f.integers, 0)
    with b.if_then(_any(f, fails), likely=False):
        before = f.load(f.integers, address, align=8 * f.width)
        first = b.and_(fails, b.icmp("==", before, none))
        after = b.select(first, _all_lanes(f, b.add(number, f.number(1))), before)
        f.store(after, address, align=8 * f.width)
        b.ret(b.not_(_any(f, b.icmp("==", after, none))))
    b.ret(f.constant(f.bit, 0))


def _all_lanes(f: Function, scalar: Any) -> Any:
    return scalar if f.width == 1 else f.splat(scalar, f.width)


def _any(f: Function, bits: Any) -> Any:
    return bits if f.width == 1 else f.any(bits)
