"""Expressions of symbols: what the functions of the table's rows give, run on symbols for numbers.

A local gradient is a Python function written with the operations of the table. From its expression
come the program that the engine runs in its place, and the formulas of the explorer. The value of
a row that is no primitive is such an expression, too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from chainrule import rules
from chainrule.rules import Operation


class Expression:
    """An operation applied to expressions, a symbol or a number."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, operation: Operation | None, operands: Sequence[Expression] = (), text: str = ""
    ) -> None:
        self.operation = operation
        self.operands = tuple(operands)
        self.text = text  # of a symbol, or the repr of a number

    def _apply(self, operation: Operation, operands: Sequence[object]) -> Expression:
        """What a call of an operation asks of an operand that is not a number."""
        operation.check_arity(len(operands))
        return Expression(operation, [as_expression(operand) for operand in operands])

    def __add__(self, other: object) -> Expression:
        return rules.add(self, other)  # type: ignore[no-any-return]

    def __radd__(self, other: object) -> Expression:
        return rules.add(other, self)  # type: ignore[no-any-return]

    def __sub__(self, other: object) -> Expression:
        return rules.subtract(self, other)  # type: ignore[no-any-return]

    def __rsub__(self, other: object) -> Expression:
        return rules.subtract(other, self)  # type: ignore[no-any-return]

    def __mul__(self, other: object) -> Expression:
        return rules.multiply(self, other)  # type: ignore[no-any-return]

    def __rmul__(self, other: object) -> Expression:
        return rules.multiply(other, self)  # type: ignore[no-any-return]

    def __truediv__(self, other: object) -> Expression:
        return rules.divide(self, other)  # type: ignore[no-any-return]

    def __rtruediv__(self, other: object) -> Expression:
        return rules.divide(other, self)  # type: ignore[no-any-return]

    def __pow__(self, other: object) -> Expression:
        return rules.power(self, other)  # type: ignore[no-any-return]

    def __rpow__(self, other: object) -> Expression:
        return rules.power(other, self)  # type: ignore[no-any-return]

    def __neg__(self) -> Expression:
        return rules.negative(self)  # type: ignore[no-any-return]

    def __abs__(self) -> Expression:
        return rules.absolute(self)  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        raise TypeError("an expression has no value to compare")

    def __bool__(self) -> bool:
        raise TypeError("an expression is neither true nor false")

    def is_number(self, number: float | None = None) -> bool:
        """Whether it is a number, or that one."""
        if self.operation is not None:
            return False
        try:
            return float(self.text) == number or number is None
        except ValueError:  # a symbol
            return False

    def in_order(self) -> list[Expression]:
        """The expressions in it, each once and after its operands; itself last."""
        found: dict[int, Expression] = {}
        waiting = [self]
        while waiting:
            last = waiting[-1]
            missing = [x for x in last.operands if id(x) not in found]
            if missing and id(last) not in found:
                waiting.extend(missing)
            else:
                waiting.pop()
                found[id(last)] = last
        return list(found.values())

    def listing(self) -> list[tuple[str, tuple[int, ...]]]:
        """The expressions in it, in order: what each is, and the places of its operands."""
        order = self.in_order()
        places = {id(x): place for place, x in enumerate(order)}
        return [
            (
                x.operation.name if x.operation else x.text,
                tuple([places[id(y)] for y in x.operands]),
            )
            for x in order
        ]

    def same_as(self, other: Expression) -> bool:
        """Whether both are written alike."""
        return (
            self.operation is other.operation
            and self.text == other.text
            and len(self.operands) == len(other.operands)
            and all(a.same_as(b) for a, b in zip(self.operands, other.operands, strict=True))
        )


def as_expression(x: object) -> Expression:
    """An expression as it is, a number as one."""
    if isinstance(x, Expression):
        return x
    return Expression(None, text=repr(rules.to_float(x, "a formula")))


def symbol(name: str) -> Expression:
    """A variable."""
    return Expression(None, text=name)


@functools.cache
def formula(operation: Operation) -> Expression | None:
    """The value of a row of the table as an expression of x0, x1 and so on.

    None of a primitive, whose value is a function of floats, and of any number of operands.
    """
    if operation.variadic:
        return None
    operands = [symbol(f"x{i}") for i in range(len(operation.local_grads))]
    try:
        found = as_expression(operation.value(*operands))
    except Exception:  # whatever a function of floats says of symbols
        return None
    return None if found.operation is operation else found


_PYTHON = {
    "add": "{} + {}",
    "subtract": "{} - {}",
    "multiply": "{} * {}",
    "negative": "-{}",
    "absolute": "abs({})",
    "where": "{1} if {0} else {2}",
    "less": "1.0 if {} < {} else 0.0",
    "less_equal": "1.0 if {} <= {} else 0.0",
    "equal": "1.0 if {} == {} else 0.0",
    "not_equal": "1.0 if {} != {} else 0.0",
}


def function_of_floats(value: Expression, count: int) -> Callable[[Sequence[float]], float]:
    """A function of a sequence of floats that computes a formula without calling operations."""
    scope: dict[str, object] = {}
    lines = [f"def function(xs):\n    {''.join(f'x{i}, ' for i in range(count))} = map(float, xs)"]
    for place, (name, operands) in enumerate(value.listing()):
        if name in _PYTHON:
            text = _PYTHON[name].format(*[f"t{i}" for i in operands])
        elif operands:
            scope[name] = rules.OPERATIONS[name].evaluate
            text = f"{name}(({''.join(f't{i}, ' for i in operands)}))"
        else:
            text = name if name.startswith("x") else f"float({name!r})"
        lines.append(f"    t{place} = {text}")
    exec("\n".join([*lines, f"    return t{place}"]), scope)
    return scope["function"]  # type: ignore[return-value]


Step = float | int | tuple[str, int]
"""A number, the place of an operand (-1 for the value), or an operation of so many operands."""


def programs(operation: Operation) -> tuple[list[Step] | None, ...]:
    """The local gradients in postfix form; None where an operand must be a plain number.

    None at all of an operation of any number of operands.
    """
    if operation.variadic:
        return ()
    y, xs = symbol("y"), [symbol(f"x{i}") for i in range(len(operation.local_grads))]
    places = {x.text: i for i, x in enumerate([y, *xs], -1)}
    return tuple(
        None if rule is None else _postfix(as_expression(rule(y, *xs)), places)
        for rule in operation.local_grads
    )


MOST_STEPS = 1000


def value_program(operation: Operation) -> list[Step] | None:
    """The value in postfix form; None of a primitive, and if that is too long."""
    found = formula(operation)
    if found is None:
        return None
    sizes: dict[int, int] = {}
    for x in found.in_order():
        sizes[id(x)] = 1 + sum([sizes[id(y)] for y in x.operands])
    if sizes[id(found)] > MOST_STEPS:
        return None
    return _postfix(found, {f"x{i}": i for i in range(len(operation.local_grads))})


def _postfix(expression: Expression, places: dict[str, int]) -> list[Step]:
    """The operands' steps, then the operation."""
    steps: list[Step] = []
    _append(expression, places, steps)
    return steps


def _append(x: Expression, places: dict[str, int], steps: list[Step]) -> None:
    if x.operation is None:
        place = places.get(x.text)
        steps.append(float(x.text) if place is None else place)
        return
    for operand in x.operands:
        _append(operand, places, steps)
    steps.append((x.operation.name, len(x.operands)))
