"""Formulas of the rules table, as text to read and as JavaScript to run.

A rule run on symbols gives an :class:`Expression`, from which both the text of a page and its
arithmetic are made: there is no second list of derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chainrule import rules
from chainrule.explorer.javascript import javascript
from chainrule.expressions import Expression, as_expression, symbol
from chainrule.rules import Operation

MAX_ARITY = 64
"""With more operands, an operation is not computed in the page, only shown."""


def operand_names(count: int) -> list[str]:
    """What the operands of an operation are called: x; a and b; up to d; x0, x1 and so on."""
    if count == 1:
        return ["x"]
    return list("abcd"[:count]) if count <= 4 else [f"x{i}" for i in range(count)]


def local_grads(operation: Operation, count: int) -> list[Expression | None]:
    """The local gradients of an operation of so many operands, of symbols y and the operands.

    None where an operand must be a plain number.
    """
    y, xs = symbol("y"), [symbol(name) for name in operand_names(count)]
    if operation.variadic:
        found = operation.local_grads_at(list(range(count)), y, xs)
        return [as_expression(grad) for grad in found]
    operation.check_arity(count)
    return [
        None if rule is None else as_expression(operation.local_grad(i, y, xs))
        for i, rule in enumerate(operation.local_grads)
    ]


def value(expression: Expression, values: dict[str, float]) -> float:
    """An expression's number, of those of its symbols."""
    operation = expression.operation
    if operation is None:
        text = expression.text
        return values[text] if text in values else float(text)
    return operation.evaluate([value(operand, values) for operand in expression.operands])


# Text to read. Some operations exist only as parts of local gradients, in a form that does not
# cancel or overflow; a reader is shown the textbook's form.

Reading = Callable[..., Any]

TEXTBOOK: dict[str, Reading] = {
    "azmul": lambda a, b: a * b,
    "message": lambda reached, a, b: a * b,
    "gaussian": lambda x: rules.exp(-(x**2.0)),
    "nonnegative": lambda x: x,
    "over_norm": lambda p, *xs: rules.divide(p, rules.hypot(*xs)),
    "over_squares": lambda p, *xs: rules.divide(p, _sum([x**2.0 for x in xs])),
    "power_term": lambda c, x, n, k: c * rules.power(x, n - k),
    "sech2": lambda x: 1.0 - rules.tanh(x) ** 2.0,
}

_PHRASES = {
    "equal": "1 if {0} = {1}, else 0",
    "greater": "1 if {0} > {1}, ½ if {0} = {1}, else 0",
    "less": "1 if {0} < {1}, else 0",
    "less_equal": "1 if {0} ≤ {1}, else 0",
    "not_equal": "1 if {0} ≠ {1}, else 0",
    "step": "1 if {0} > 0, else 0",
    "absolute": "|{0}|",
    "floor": "⌊{0}⌋",
    "ceil": "⌈{0}⌉",
    "floor_divide": "⌊{0} / {1}⌋",
}
_CONSTANTS = {
    repr(rules.LOG_2): "log 2",
    repr(rules.INV_LOG_2): "(1/log 2)",
    repr(rules.INV_LOG_10): "(1/log 10)",
    repr(rules.TWO_OVER_SQRT_PI): "2/√π",
    repr(-rules.TWO_OVER_SQRT_PI): "−2/√π",
}
_SIGNS = {
    "add": (" + ", 1),
    "subtract": (" − ", 1),
    "multiply": (" · ", 2),
    "divide": (" / ", 2),
    "power": ("^", 4),
}
_ATOM = 5
_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def _sum(terms: Sequence[Any]) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def textbook(expression: Expression, own: Expression | None = None) -> Expression:
    """An expression in the form that textbooks have; ``own`` is what y stands for."""
    if expression.operation is None:
        return expression
    operands = [textbook(operand, own) for operand in expression.operands]
    name = expression.operation.name
    reading = TEXTBOOK.get(name) if expression.operation.builtin else None
    if reading is not None and (own is None or own.operation is not expression.operation):
        found = textbook(as_expression(reading(*operands)), own)
    else:
        found = _simplified(Expression(expression.operation, operands))
    return symbol("y") if own is not None and found.same_as(own) else found


def _simplified(expression: Expression) -> Expression:
    """Without terms 0 and factors and exponents 1, which only the general form needs."""
    operation = expression.operation
    if operation is None or len(expression.operands) != 2:
        return expression
    name = operation.name
    a, b = expression.operands
    if name in ("add", "subtract") and a.is_number() and b.is_number():
        return as_expression(operation(float(a.text), float(b.text)))
    if name == "multiply":
        if a.is_number(1.0):
            return b
        if b.is_number(1.0):
            return a
        if a.same_as(b):
            return Expression(rules.power, [a, as_expression(2.0)])
        if a.operation is rules.multiply and a.operands[1].same_as(b):
            square = Expression(rules.power, [b, as_expression(2.0)])
            return Expression(rules.multiply, [a.operands[0], square])
    if (name in ("add", "subtract") and b.is_number(0.0)) or (name == "power" and b.is_number(1.0)):
        return a
    return expression


def formulas(
    operation: Operation,
    grads: Sequence[Expression | None],
    constants: Sequence[float | None],
) -> tuple[str, ...]:
    """The local gradients as a textbook has them, with the operands that are constants put in."""
    names = operand_names(len(grads))
    numbers = {
        name: as_expression(constant)
        for name, constant in zip(names, constants, strict=True)
        if constant is not None
    }
    own = Expression(operation, [numbers.get(name, symbol(name)) for name in names])
    return tuple(
        "" if grad is None else _text(textbook(_with_numbers(grad, numbers), own), 0)
        for grad in grads
    )


def _with_numbers(expression: Expression, numbers: dict[str, Expression]) -> Expression:
    """An expression with numbers in place of symbols."""
    if expression.operation is None:
        return numbers.get(expression.text, expression)
    operands = [_with_numbers(operand, numbers) for operand in expression.operands]
    return Expression(expression.operation, operands)


def as_text(expression: Expression) -> str:
    """An expression as text."""
    return _text(expression, 0)


def _text(expression: Expression, binding: int) -> str:
    """The text of an expression, in brackets where what is around it binds more tightly."""
    text, own = _parts(expression)
    return f"({text})" if own < binding else text


def _parts(expression: Expression) -> tuple[str, int]:
    operation, operands = expression.operation, expression.operands
    if operation is None:
        return _number(expression.text)
    name = operation.name if operation.builtin else ""
    if name == "negative":
        return f"−{_text(operands[0], 2)}", 2
    if name == "power" and operands[1].operation is None:
        exponent = _number(operands[1].text)[0].replace("−", "-")
        if exponent.lstrip("-").isdigit():
            return f"{_text(operands[0], _ATOM)}{exponent.translate(_SUPERSCRIPTS)}", 4
    if name in _SIGNS:
        sign, binding = _SIGNS[name]
        right = binding + (name in ("subtract", "divide", "power"))
        return f"{_text(operands[0], binding)}{sign}{_text(operands[1], right)}", binding
    inner = [_text(operand, 0) for operand in operands]
    if name in _PHRASES:
        atomic = name in ("absolute", "floor", "ceil", "floor_divide")
        return _PHRASES[name].format(*inner), _ATOM if atomic else 0
    if name == "sqrt":
        return f"√{_text(operands[0], _ATOM)}", _ATOM
    return f"{operation.symbol}({', '.join(inner)})", _ATOM


def _number(text: str) -> tuple[str, int]:
    if text in _CONSTANTS:
        return _CONSTANTS[text], 2
    try:
        number = float(text)
    except ValueError:
        return text, _ATOM
    return f"{number:.6g}".replace("-", "−"), 2 if math.copysign(1.0, number) < 0 else _ATOM


@dataclass(frozen=True)
class Form:
    """What a page says and computes of an operation with a number of operands.

    ``code`` is a JavaScript object with the functions ``value(x)`` and ``grads(y, x)``, where x is
    the array of operands; None where the page can't compute it.
    """

    operation: Operation
    formulas: tuple[str, ...]
    code: str | None
    value: Expression | None = None
    grads: tuple[Expression | None, ...] = ()


def form_of(
    operation: Operation, count: int, constants: Sequence[float | None] | None = None
) -> Form:
    """The form of an operation of the table, or of a user's own.

    A user's own is computed by the page if its functions are made of the table's operations alone.
    Constants, where operands are, are put into the formulas to read, not into the code.
    """
    if count > MAX_ARITY:
        return Form(operation, ("",) * count, None)
    xs = [symbol(name) for name in operand_names(count)]
    try:
        found = (
            Expression(operation, xs) if operation.builtin else as_expression(operation.value(*xs))
        )
        grads = local_grads(operation, count)
    except Exception:  # the user's function needs numbers
        return Form(operation, ("",) * count, None)
    texts = formulas(operation, grads, constants or [None] * count)
    names = {name: f"x[{i}]" for i, name in enumerate(operand_names(count))} | {"y": "y"}
    try:
        terms = ["0" if grad is None else javascript(grad, names) for grad in grads]
        code = (
            f"{{value: (x) => {javascript(found, names)}, grads: (y, x) => [{', '.join(terms)}]}}"
        )
    except ValueError:
        return Form(operation, texts, None)
    return Form(operation, texts, code, found, tuple(grads))
