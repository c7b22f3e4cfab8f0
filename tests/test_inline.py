"""Users' operations that are compiled as what their value is made of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from chainrule import math as cm
from chainrule.backends.llvm.kernel import Kernel
from chainrule.passes.going_on import going_on
from chainrule.program.builder import Builder
from chainrule.program.form import Compute, Program
from chainrule.program.interpreter import interpret
from chainrule.rules import Operation

SCALE = 3.0
calls: list[float] = []


def helper(x: Any) -> Any:
    """A function that only computes."""
    return SCALE * x + math.pi


def swish(x: Any) -> Any:
    """Calls others and has a division by what is positive."""
    half = 0.5 * helper(x)
    return x / (1.0 + cm.exp(-x)) + half


def polynomial(x: Any) -> Any:
    """A loop."""
    total = 0.0 * x
    for k in range(4):
        total = total * x + float(k)
    return abs(total)


def by_number(x: Any, n: Any) -> Any:
    """Looks at a number."""
    return x * x if n == 2.0 else x + n


def reciprocal(x: Any) -> Any:
    """Raises at 0."""
    return 1.0 / x


def root(x: Any) -> Any:
    """Complex below 0."""
    return x**0.5


def branching(x: Any) -> Any:
    """Looks at its operand."""
    return x if x > 1.0 else 2.0 * x


def catching(x: Any) -> Any:
    """Does something else where symbols fail."""
    try:
        return math.sin(x)
    except TypeError:
        return x


def counting(x: Any) -> Any:
    """Leaves something behind."""
    calls.append(x)
    return x * 2.0


def remembering(x: Any, seen: Any = calls) -> Any:
    """The same by way of a default."""
    seen.append(x)
    return x * 2.0


def storing(x: Any) -> Any:
    """Sets a global name."""
    global SCALE
    SCALE = 3.0
    return x * SCALE


def by_type(x: Any) -> Any:
    """Another function of floats than of symbols."""
    return x * 2.0 if isinstance(x, float) else x


def noting(x: Any) -> Any:
    """Writes to an attribute of a function."""
    helper.seen.append(x)  # type: ignore[attr-defined]
    return x * 2.0


helper.seen = []  # type: ignore[attr-defined]


def close(x: Any) -> Any:
    """Calls a function that leaves something behind."""
    return counting(x) + 1.0


def program_of(value: Any, *numbers: float) -> Program:
    """One operation on an input and numbers."""
    operation = Operation(value.__name__, value, [lambda y, *xs: 1.0] * (1 + len(numbers)))
    builder = Builder(1, final=True)
    return builder.finish([builder.compute(operation, (builder.input(0), *numbers))])


def users(program: Program) -> list[str]:
    """The users' operations of a program."""
    return [
        x.operation.name for x in program.body if isinstance(x, Compute) and not x.operation.builtin
    ]


@pytest.mark.parametrize("value", [helper, swish, polynomial, cm.sinh])
def test_values_are_written_out(value: Any) -> None:
    """And are what Python gives."""
    if isinstance(value, Operation):
        inner = value
        program = program_of(lambda x: inner(x))
    else:
        program = program_of(value)
    program = going_on(program, 0)
    assert not users(program)
    kernel = Kernel(program, [], lanes=False)
    for x in (0.3, -2.0, 0.0):
        out = np.zeros(1)
        assert kernel.call(np.array([x]).ctypes.data, out.ctypes.data) == 0
        assert out[0] == pytest.approx(value(x), rel=1e-15)
        assert interpret(program, [x])[0] == [value(x)]


def test_plain_numbers_may_be_looked_at() -> None:
    """They are part of what is compiled."""
    for n in (2.0, 3.0):
        program = going_on(program_of(by_number, n), 0)
        assert not users(program)
        assert interpret(program, [5.0])[0] == [by_number(5.0, n)]


@pytest.mark.parametrize(
    "value",
    [
        *(reciprocal, root, branching, catching, counting, remembering),
        *(storing, by_type, close, noting, math.sin),
    ],
)
def test_others_are_called(value: Any) -> None:
    """Where Python does more than compute, or raises, or decides."""
    program = program_of(value)
    before = len(calls)
    assert users(going_on(program, 0)) == users(program)
    assert len(calls) == before
    kernel = Kernel(program, [], lanes=False)
    out = np.zeros(1)
    assert kernel.call(np.array([0.25]).ctypes.data, out.ctypes.data) == 0
    assert out[0] == value(0.25)


def test_errors_stay() -> None:
    """A division by 0 raises, as in Python."""
    kernel = Kernel(program_of(reciprocal), [], lanes=False)
    with pytest.raises(ZeroDivisionError):
        kernel.call(np.zeros(1).ctypes.data, np.zeros(1).ctypes.data)
