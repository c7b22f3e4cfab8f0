"""What a node is called in text: its operation's symbol, its equation; of a traced one no value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule import rules

if TYPE_CHECKING:
    from chainrule.node import Node


def symbol_of(node: Node) -> str:
    """The symbol of a node's operation, with its constants: ``*``, ``tanh``, ``** 2``, ``1 /``."""
    operation = node._operation
    if operation is None:  # made anew as a leaf
        return type(node).__name__
    operands = node.operands
    constants = [f"{operand:.6g}" if isinstance(operand, float) else "·" for operand in operands]
    if len(node._parents) == len(operands):
        return operation.symbol
    if not operation.symbol.isidentifier() and len(operands) == 2:
        return " ".join([constants[0], operation.symbol, constants[1]]).strip("· ")
    return f"{operation.symbol}({', '.join(constants)})"


def traced_text(node: Node) -> str:
    """What stands for a traced value where text is wanted: ``<traced exp, line 12>``.

    The line is that of the code that made it, where it was recorded.
    """
    operation = node._operation
    what = "node" if operation is None or operation is rules.identity else operation.name
    if node.name is not None:
        what += f" {node.name!r}"
    line = node.line
    if line is not None:
        number = line.rpartition(":")[2]
        what += f", {line}" if number == line else f", line {number}"  # of a cell, or of a file
    return f"<traced {what}>"


def equation(node: Node) -> str:
    """The operation with its numbers put in, ``log(0) = -inf``, for messages."""
    operation = node._operation
    name = type(node).__name__ if operation is None else operation.name
    numbers = [
        operand if isinstance(operand, float) else operand._number for operand in node.operands
    ]
    values = ", ".join([f"{number:.6g}" for number in numbers])
    return f"{name}({values}) = {node._number:.6g}"
