"""Branches that hold at a single point, or swallow a derivative: what differentiation can't see.

``if strike == forward: …`` takes a branch that holds at one point only, and the derivative there is
that branch's. No method that follows the program can know better, but it can say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from chainrule import rules
from chainrule.annotations import ACTIVE, users_line, warn_at_users_line
from chainrule.node import Node
from chainrule.tracing import PROGRESS

MAX_VISITED = 10_000
"""The nodes that are searched for an input; where there are more, nothing is said."""


class BranchWarning(RuntimeWarning):
    """A derivative is that of a branch which holds at a single point."""


class Noted:
    """What has been noted inside :func:`noting`.

    Attributes:
        equalities: the lines at which an ``==`` of values held that have a derivative.
        comparisons: both sides of every comparison, and its line.
    """

    def __init__(self) -> None:
        self.equalities: list[str] = []
        self.comparisons: list[tuple[list[Node], str]] = []


_noted: Final[ContextVar[Noted | None]] = ContextVar("chainrule_noted", default=None)


@contextmanager
def noting() -> Iterator[Noted]:
    """Note what comparisons do inside the ``with`` block."""
    noted = Noted()
    token = _noted.set(noted)
    ACTIVE.enter()
    try:
        yield noted
    finally:
        ACTIVE.leave()
        _noted.reset(token)


def note_comparison(sides: Sequence[Any], held: bool, level: int) -> None:
    """Note a comparison of values from a level on that gave a bool, and whether an == held."""
    noted = _noted.get()
    if noted is not None:
        nodes = [side for side in sides if isinstance(side, Node)]
        noted.comparisons.append((nodes, users_line()))
    if held:
        note_equality(sides, level)


def note_equality(sides: Sequence[Any], level: int) -> str | None:
    """Warn that an == held, if one of its sides has a derivative by an input of a level.

    Returns:
        the line; None if there is nothing to say, or it has been said.
    """
    line = users_line()
    if line in PROGRESS.shortcuts or not has_derivative(sides, level):
        return None
    PROGRESS.shortcuts.append(line)
    noted = _noted.get()
    if noted is not None:
        noted.equalities.append(line)
    warn_at_users_line(
        f"values that depend on what is differentiated by are equal at {line}: the derivative is"
        " that of a branch that holds at this point only",
        BranchWarning,
    )
    return line


def has_derivative(sides: Sequence[Any], level: int, inputs: frozenset[int] | None = None) -> bool:
    """Whether one of two compared values has a derivative by an input.

    Args:
        sides: the values.
        level: nodes below it are constants.
        inputs: the ids of the inputs; None for all of the level.
    """
    if sides[0] is sides[1]:
        return False
    if any(isinstance(side, float) and math.isinf(side) for side in sides):
        return False
    stack = [side for side in sides if isinstance(side, Node)]
    seen: set[int] = set()
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        if inputs is not None and id(node) in inputs:
            return True
        if node._level < level:
            continue
        seen.add(id(node))
        if len(seen) > MAX_VISITED:
            return False
        operands = _differentiable(node)
        if operands is None:
            if inputs is None:
                return True
            continue
        stack.extend(operands)
    return False


def _differentiable(node: Node) -> list[Node] | None:
    """The operands by which a node has a derivative; None for an input."""
    operation = node._operation
    operands = node.operands
    if operation is None:
        return None if not operands else list(node._parents)
    if operation is rules.identity and operands[0]._level < node._level:
        return None
    kept = [i for i, x in enumerate(operands) if isinstance(x, Node) and not operation.ignores(i)]
    if operation in _PICKING:
        values = [x._number if isinstance(x, Node) else x for x in operands]
        grads = operation.local_grads_at(kept, node._number, values)
        kept = [i for i, grad in zip(kept, grads, strict=True) if grad != 0.0]
    return [operands[i] for i in kept]


_PICKING: Final = (rules.relu, rules.maximum, rules.minimum, rules.where, rules.gather)


def swallowed(
    inputs: Sequence[Node], outputs: Sequence[Any], comparisons: Sequence[tuple[list[Node], str]]
) -> list[tuple[int, list[str]]]:
    """The inputs that results depend on by steps alone, with the lines of these steps.

    Args:
        inputs: the inputs of a transformation.
        outputs: its results.
        comparisons: both sides of what was compared on the way, and the lines.
    """
    smooth = _below([y for y in outputs if isinstance(y, Node)], smooth=True)
    every = _below([y for y in outputs if isinstance(y, Node)], smooth=False)
    flat = [i for i, x in enumerate(inputs) if id(x) not in smooth]
    lines: dict[int, dict[str, None]] = {i: {} for i in flat}
    for sides, line in comparisons if flat else ():
        below = _below(sides, smooth=False)
        for i in flat:
            if id(inputs[i]) in below:
                lines[i][line] = None
    for node in every.values() if flat else ():
        operation = node._operation
        if operation is None or operation is rules.stop_gradient:
            continue
        steps = [
            x for k, x in enumerate(node.operands) if isinstance(x, Node) and operation.ignores(k)
        ]
        if steps:
            below = _below(steps, smooth=False)
            for i in flat:
                if id(inputs[i]) in below:
                    lines[i][node.line or operation.name] = None
    return [(i, list(found)) for i, found in lines.items() if found]


def _below(roots: Sequence[Node], smooth: bool) -> dict[int, Node]:
    """The nodes that some depend on, by id: at all, or with a derivative."""
    found: dict[int, Node] = {}
    stack = list(roots)
    while stack:
        node = stack.pop()
        if id(node) in found:
            continue
        found[id(node)] = node
        operation = node._operation
        for i, x in enumerate(node.operands):
            if isinstance(x, Node) and not (smooth and operation and operation.ignores(i)):
                stack.append(x)
    return found


def warn_swallowed(what: str, found: Sequence[tuple[int, list[str]]]) -> None:
    """Warn of what :func:`swallowed` has found."""
    for number, lines in found:
        warn_at_users_line(
            f"{what}: number {number} of the arguments matters only through comparisons and"
            f" rounding ({', '.join(lines)}), so that its derivative is 0",
            BranchWarning,
        )
