"""Local gradients as a textbook writes them, in the names and numbers of the graph."""

from __future__ import annotations

import re

from chainrule.explorer.formulas import form_of, operand_names
from chainrule.node import Node

_WORDS = re.compile(r"[a-z]\d*(?![\w(])", re.ASCII)


def local_formula(node: Node, at: int) -> str:
    """The local gradient of a node by one of its nodes: ``x0`` for w0 of ``w0 * x0``; "" if none.

    Values without a name are written as numbers.
    """
    operation = node._operation
    if operation is None or operation.pull_back is not None:
        return ""
    operands = node.operands
    constants = [None if isinstance(x, Node) else x for x in operands]
    formula = form_of(operation, len(operands), constants).formulas[_place(node, at)]
    called = dict(zip(operand_names(len(operands)), operands, strict=True)) | {"y": node}

    def put(match: re.Match[str]) -> str:
        value = called.get(match[0])
        if value is None:
            return match[0]
        if isinstance(value, Node) and value.name is not None:
            return value.name
        number = f"{value.data if isinstance(value, Node) else value:.4g}".replace("-", "−")
        return number if match[0] == formula or number[0] != "−" else f"({number})"

    return _WORDS.sub(put, formula)


def _place(node: Node, at: int) -> int:
    """Where among all operands the node's operand of a number stands."""
    return [i for i, x in enumerate(node.operands) if isinstance(x, Node)][at]
