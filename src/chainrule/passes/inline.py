"""Users' operations as the operations of the table that their value is made of.

Code for them calls Python otherwise, for each lane. The value is a Python function of floats; it is
run once on symbols. That must show all that it does: it may only compute, with numbers and the
functions of ``chainrule.math``, and without anything that raises on floats.
"""

from __future__ import annotations

import builtins
import dis
import math
from collections.abc import Callable, Sequence
from types import FunctionType, ModuleType
from typing import Any, Final

import chainrule.math
from chainrule import rules
from chainrule.expressions import Expression, as_expression, symbol
from chainrule.program.builder import Builder
from chainrule.program.form import Operand
from chainrule.rules import Operation

_MODULES: Final = (chainrule.math, math, rules)
_BUILTINS: Final = (abs, enumerate, float, int, len, range, reversed, sum, zip)
_FORBIDDEN: Final = ("STORE_", "DELETE_", "IMPORT_", "MAKE_FUNCTION", "YIELD", "RAISE", "SETUP_")
_ALLOWED: Final = ("STORE_FAST",)
_LOWEST: Final = {"exp": 0.0, "exp2": 0.0, "absolute": 0.0, "relu": 0.0, "sqrt": 0.0, "cosh": 1.0}
"""What the values of operations are not below, if they are numbers."""


class Inlining:
    """Builds users' operations of what their values are made of, where that is known."""

    def __init__(self) -> None:
        self._known: dict[Any, Expression | None] = {}

    def compute(
        self, builder: Builder, operation: Operation, operands: Sequence[Operand]
    ) -> Operand:
        """The value of any operation."""
        body = None if operation.builtin else self._of(operation, operands)
        if body is None:
            return builder.compute(operation, operands)
        built: dict[int, Operand] = {}
        for expression in body.in_order():
            if expression.operation is not None:
                given = [built[id(x)] for x in expression.operands]
                built[id(expression)] = self.compute(builder, expression.operation, given)
            elif expression.text.startswith("operand "):
                built[id(expression)] = operands[int(expression.text[8:])]
            else:
                built[id(expression)] = float(expression.text)
        return built[id(body)]

    def _of(self, operation: Operation, operands: Sequence[Operand]) -> Expression | None:
        """The value as an expression of ``operand 0``, …, or None if that can't be known.

        A function may look at operands that are plain numbers.
        """
        numbers = tuple([x if isinstance(x, float) else None for x in operands])
        key = operation, tuple([None if x is None else x.hex() for x in numbers])
        if key not in self._known:
            self._known[key] = _traced(operation, numbers)
        return self._known[key]


def _traced(operation: Operation, numbers: Sequence[float | None]) -> Expression | None:
    value = operation.value
    if operation.pull_back is not None or operation.result_of is not None:
        return None
    if not only_computes(value):
        return None
    given = [symbol(f"operand {k}") if x is None else x for k, x in enumerate(numbers)]
    try:
        expression = as_expression(value(*given))
        raises = any(_may_raise(x) for x in expression.in_order())
    except Exception:  # whatever a user's function raises on symbols
        return None
    return None if raises else expression


def only_computes(function: Callable[..., Any]) -> bool:
    """Whether a function certainly does nothing but compute a number.

    All that it names are numbers, functions of mathematics, and functions for which that holds.
    """
    return _only_computes(function, set())


def _only_computes(function: Any, seen: set[int]) -> bool:
    if id(function) in seen:
        return True
    seen.add(id(function))
    if isinstance(function, Operation):
        return function.builtin or _only_computes(function.value, seen)
    if getattr(function, "__module__", None) == chainrule.math.__name__:
        return True
    if not isinstance(function, FunctionType):
        return function in _BUILTINS if callable(function) else False
    code = function.__code__
    if getattr(code, "co_exceptiontable", b""):  # try, with
        return False
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if name.startswith(_FORBIDDEN) and not name.startswith(_ALLOWED):
            return False
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    try:
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:  # one that is not set yet
        return False
    named = []
    for name in code.co_names:
        if name in function.__globals__:
            named.append(function.__globals__[name])
        elif hasattr(builtins, name):
            named.append(getattr(builtins, name))
        elif not any(hasattr(module, name) for module in _MODULES):  # an attribute of anything
            return False
    return all(_is_harmless(x, seen) for x in [*defaults, *cells, *named])


def _is_harmless(x: Any, seen: set[int]) -> bool:
    """Whether a function that names this may only compute with it."""
    if isinstance(x, (int, float)):
        return True
    if isinstance(x, tuple):
        return all(_is_harmless(y, seen) for y in x)
    if isinstance(x, ModuleType):
        return x in _MODULES
    return _only_computes(x, seen)


def _may_raise(expression: Expression) -> bool:
    """Whether Python may raise an error where the table gives a number."""
    if expression.operation is rules.divide:
        divisor = expression.operands[1]
        return not (_least(divisor) > 0.0 or (divisor.is_number() and float(divisor.text) != 0.0))
    return expression.operation is rules.power


def _least(x: Expression) -> float:
    """What the value is not below, if it is a number."""
    if x.operation is None:
        return float(x.text) if x.is_number() else -math.inf
    operands = x.operands
    if x.operation is rules.add:
        return _least(operands[0]) + _least(operands[1])
    if x.operation is rules.maximum:
        return max(_least(operands[0]), _least(operands[1]))
    if x.operation is rules.multiply:
        if operands[0] is operands[1]:
            return 0.0
        both = _least(operands[0]), _least(operands[1])
        return both[0] * both[1] if min(both) >= 0.0 else -math.inf
    return _LOWEST.get(x.operation.name, -math.inf) if x.operation.builtin else -math.inf
