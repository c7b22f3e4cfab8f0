"""Dual numbers at 60 digits: they run a program as floats and nodes do, and know its gradient.

They know nothing of the package but the names of its operations; the derivatives are those of
``references.py``. Second derivatives are differences of the gradient at two points
1e-17 to both sides, on the branches taken in the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from references import REFERENCES, exact, mp
from test_random_graphs import STEPS

KINKS = {"relu", "absolute", "maximum", "minimum", "sign", "step", "greater", "copysign", "hypot"}
NEAR = mp.mpf(10) ** -9
STEP = mp.mpf(10) ** -17


class Unclear(Exception):
    """The program comes so near to a branch, kink or pole that rounding decides what it does."""


class Branches:
    """The outcomes of comparisons: recorded in the first run, followed in the others."""

    def __init__(self) -> None:
        self.outcomes: list[bool] = []
        self.followed = -1  # how many have been followed in this run; -1 in the first run

    def decide(self, outcome: bool) -> bool:
        """The outcome of the next comparison."""
        if self.followed < 0:
            self.outcomes.append(outcome)
            return outcome
        self.followed += 1
        return self.outcomes[self.followed - 1]


class Dual:
    """A number with its gradient.

    Args:
        value: the number.
        slope: its derivatives by the inputs.
        branches: where comparisons are decided.
        given: whether it is an input, so that it has no rounding error.
    """

    def __init__(
        self, value: Any, slope: Sequence[Any], branches: Branches, given: bool = False
    ) -> None:
        if not mp.isfinite(value) or abs(value) > 1e30:
            raise Unclear
        self.value = value
        self.slope = slope
        self.branches = branches
        self.given = given

    def __add__(self, other: Any) -> Any:
        return called("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return called("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return called("subtract", self, other)

    def __rsub__(self, other: Any) -> Any:
        return called("subtract", other, self)

    def __mul__(self, other: Any) -> Any:
        return called("multiply", self, other)

    def __rmul__(self, other: Any) -> Any:
        return called("multiply", other, self)

    def __truediv__(self, other: Any) -> Any:
        return called("divide", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return called("divide", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return called("floor_divide", self, other)

    def __mod__(self, other: Any) -> Any:
        return called("mod", self, other)

    def __pow__(self, other: Any) -> Any:
        return called("power", self, other)

    def __rpow__(self, other: Any) -> Any:
        return called("power", other, self)

    def __neg__(self) -> Any:
        return called("negative", self)

    def __abs__(self) -> Any:
        return called("absolute", self)

    def _difference(self, other: Any) -> Any:
        value = other.value if isinstance(other, Dual) else mp.mpf(other)
        clear = self.given and (not isinstance(other, Dual) or other.given)
        difference = self.value - value
        if not clear and other is not self and abs(difference) <= NEAR * (abs(value) + NEAR):
            raise Unclear
        return difference

    def __lt__(self, other: Any) -> bool:
        return self.branches.decide(self._difference(other) < 0)

    def __le__(self, other: Any) -> bool:
        return self.branches.decide(self._difference(other) <= 0)

    def __gt__(self, other: Any) -> bool:
        return self.branches.decide(self._difference(other) > 0)

    def __ge__(self, other: Any) -> bool:
        return self.branches.decide(self._difference(other) >= 0)

    def __eq__(self, other: object) -> bool:
        return self.branches.decide(self._difference(other) == 0)

    def __ne__(self, other: object) -> bool:
        return self.branches.decide(self._difference(other) != 0)

    __hash__ = None  # type: ignore[assignment]


def called(name: str, *operands: Any) -> Any:
    """An operation of the table on dual numbers and plain ones."""
    duals = [x for x in operands if isinstance(x, Dual)]
    values = [x.value if isinstance(x, Dual) else mp.mpf(x) for x in operands]
    try:
        if name in STEPS or name in KINKS:
            _check_clear(name, values)
        value, locals_ = exact(name, *values)
    except (ValueError, ZeroDivisionError, IndexError, TypeError):  # outside the domain
        raise Unclear from None
    if isinstance(value, mp.mpc):
        raise Unclear
    if not duals:
        return value
    size = len(duals[0].slope)
    slope = [mp.mpf(0)] * size
    for operand, local in zip(operands, locals_, strict=True):
        if isinstance(operand, Dual):
            if not mp.isfinite(local):
                raise Unclear
            for i in range(size):
                slope[i] += local * operand.slope[i]
    return Dual(value, slope, duals[0].branches)


def _check_clear(name: str, values: Sequence[Any]) -> None:
    """Raise Unclear where a small error of an operand changes the value or gradient by a jump."""
    here, locals_ = exact(name, *values)
    for i, x in enumerate(values):
        for factor in (1 - NEAR, 1 + NEAR):
            moved = list(values)
            moved[i] = x * factor if x else NEAR * (factor - 1)
            there, moved_locals = exact(name, *moved)
            if abs(there - here) > 1e-6 * (1 + abs(here)):
                raise Unclear
            for before, after in zip(locals_, moved_locals, strict=True):
                if before is not None and abs(before - after) > 1e-6 * (1 + abs(before)):
                    raise Unclear


def _named(name: str) -> Callable[..., Any]:
    return lambda *operands: called(name, *operands)


def _where(condition: bool, a: Any, b: Any) -> Any:
    return a if condition else b


def functions() -> dict[str, Any]:
    """What programs call, on dual numbers."""
    found: dict[str, Any] = {name: _named(name) for name in REFERENCES}
    found["where"] = _where
    found["fsum"] = lambda xs: called("fsum", *xs)
    found["stop_gradient"] = _named("stop_gradient")
    found["t"] = _named("tanh")
    found["abs"] = abs
    found["round"] = _named("round")
    return found


def derivatives(
    function: Callable[..., Any], point: Sequence[float], as_array: bool, second: bool
) -> tuple[Any, list[Any], list[list[Any]]]:
    """Value, gradient and, if wanted, the matrix of second derivatives, of a function on duals.

    Raises:
        Unclear: where rounding errors would decide.
    """
    branches = Branches()

    def at(point: Sequence[Any]) -> Any:
        size = len(point)
        inputs = [
            Dual(x, [mp.mpf(int(i == j)) for j in range(size)], branches, given=True)
            for i, x in enumerate(point)
        ]
        result = function(inputs) if as_array else function(*inputs)
        if isinstance(result, Dual):
            return result
        return Dual(mp.mpf(result), [mp.mpf(0)] * size, branches)

    middle = [mp.mpf(x) for x in point]
    result = at(middle)
    rows: list[list[Any]] = []
    for i in range(len(point) if second else 0):
        sides = []
        for sign in (1, -1):
            branches.followed = 0
            moved = list(middle)
            moved[i] += sign * STEP
            sides.append(at(moved).slope)
        rows.append([(up - down) / (2 * STEP) for up, down in zip(*sides, strict=True)])
    return result.value, list(result.slope), rows
