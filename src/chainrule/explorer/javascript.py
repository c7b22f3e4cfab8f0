"""The arithmetic of a page: JavaScript for the table's operations.

Values of operations are functions of an object A under their names: the primitives are written in
arithmetic.js, the others follow from the table.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from importlib import resources

from chainrule.expressions import Expression, formula
from chainrule.rules import OPERATIONS, Operation

ARITHMETIC = "arithmetic.js"
_OPERATORS = {"add": "+", "subtract": "-", "multiply": "*"}


def javascript(expression: Expression, names: dict[str, str]) -> str:
    """An expression in JavaScript; ``names`` says how the symbols are written there.

    Raises:
        ValueError: if an operation of the user's is in it.
    """
    operation = expression.operation
    if operation is None:
        text = expression.text
        if text in names:
            return names[text]
        number = float(text)
        if not math.isfinite(number):
            return "NaN" if number != number else "Infinity" if number > 0 else "(-Infinity)"
        return f"({text})" if text.startswith("-") else text
    if OPERATIONS.get(operation.name) is not operation:
        raise ValueError(f"{operation.name} is no operation of the table")
    if operation.name not in _written() and formula(operation) is None:
        raise ValueError(f"{operation.name} is computed by Python")
    return _call(operation, [javascript(operand, names) for operand in expression.operands])


def _call(operation: Operation, inner: Sequence[str]) -> str:
    """The value of an operation in JavaScript."""
    if operation.name in _OPERATORS:
        return f"({inner[0]} {_OPERATORS[operation.name]} {inner[1]})"
    if operation.name == "negative":
        return f"(-{inner[0]})"
    return f"A.{operation.name}({', '.join(inner)})"


def asset(name: str) -> str:
    """The text of a file that belongs to the page."""
    folder = resources.files(__package__).joinpath("assets")
    return folder.joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _written() -> frozenset[str]:
    """The functions that arithmetic.js has."""
    text = asset(ARITHMETIC)
    return frozenset(re.findall(r"^    (\w+)[:,]", text[text.rindex("  return {") :], re.MULTILINE))


def arithmetic() -> str:
    """The JavaScript that computes the values of the table's operations."""
    rows = [row for row in OPERATIONS.values() if row.name not in _written()]
    found = [(row, formula(row)) for row in rows]
    return "\n".join(
        [asset(ARITHMETIC), *[_definition(row, value) for row, value in found if value is not None]]
    )


def _definition(operation: Operation, value: Expression) -> str:
    """The function for an operation whose value is an expression of others."""
    operands = [f"x{i}" for i in range(len(operation.local_grads))]
    names = {name: name for name in operands}
    lines: list[str] = []
    found: dict[int, str] = {}
    for x in value.in_order():
        if x.operation is None:
            found[id(x)] = javascript(x, names)
        else:
            name = found[id(x)] = f"t{len(lines)}"
            inner = [found[id(operand)] for operand in x.operands]
            lines.append(f"const {name} = {_call(x.operation, inner)};")
    body = " ".join([*lines, f"return {found[id(value)]};"])
    return f"A.{operation.name} = ({', '.join(operands)}) => {{ {body} }};"
