"""Domain errors as Python's ``math`` raises them, on request."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from chainrule.annotations import ACTIVE, users_line
from chainrule.engine import ENGINE
from chainrule.tracing import PROGRESS, NotCompilable

_raising: Final[ContextVar[bool]] = ContextVar("chainrule_domain_errors", default=False)
if ENGINE is not None:
    ENGINE.set_context_hooks(raising=_raising)


@contextmanager
def domain_errors() -> Iterator[None]:
    """Raise where Python's operators and ``math`` would: ``log(-1)``, ``1 / 0``, ``exp(1000)``.

    Elsewhere nodes and :mod:`chainrule.math` follow IEEE 754, nothing raises on a value, and ``try:
    log(x) except ValueError`` never comes to its second half. Inside the ``with`` block values
    raise; derivatives don't (the slope of ``sqrt`` at 0 is infinite). Compiled functions run
    eagerly in it.

    Raises:
        NotCompilable: where ``compile`` traces, which then runs the function eagerly.
    """
    if PROGRESS.recorder is not None:
        raise NotCompilable("domain_errors() raises on values, which a recorded program does not")
    token = _raising.set(True)
    ACTIVE.enter(_raising)
    try:
        yield
    finally:
        ACTIVE.leave(_raising)
        _raising.reset(token)


@contextmanager
def without_domain_errors() -> Iterator[None]:
    """Follow IEEE 754 again, for what is not a value of the user's program."""
    token = _raising.set(False)
    try:
        yield
    finally:
        _raising.reset(token)


def raising_domain_errors() -> bool:
    """Whether the caller is inside :func:`domain_errors`."""
    return bool(ACTIVE.get(_raising))


def check_domain(name: str, operands: Sequence[float]) -> None:
    """Raise what Python raises for an operation whose value is not finite.

    Raises:
        ValueError: outside the domain.
        ZeroDivisionError: for a divisor of 0.
        OverflowError: if the result is too large.
    """
    function = _PYTHON.get(name) or getattr(math, name, None)
    if function is None:
        return
    try:
        function(*operands)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        shown = ", ".join(f"{x:.6g}" for x in operands)
        raise type(error)(f"{error.args[-1]}: {name}({shown}) at {users_line()}") from None


def _power(x: float, y: float) -> float:
    result = x**y
    if isinstance(result, complex):
        raise ValueError("math domain error")
    return float(result)


_PYTHON: Final[dict[str, Callable[..., Any]]] = {
    "divide": operator.truediv,
    "mod": operator.mod,
    "floor_divide": operator.floordiv,
    "power": _power,
    "round": lambda x, digits: round(x, int(digits)) if digits else round(x),
    "ldexp": lambda x, n: math.ldexp(x, int(n)),
    "fsum": lambda *xs: math.fsum(xs),
}
