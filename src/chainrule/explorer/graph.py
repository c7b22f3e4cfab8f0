"""The columns of a page: what it knows of every node, and what it can compute."""

from __future__ import annotations

import linecache
import os
from array import array
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from chainrule import rules
from chainrule.annotations import FILES_OF_CELLS, Decision
from chainrule.backpropagation import _check_fresh, gradients
from chainrule.drawing.style import printable, symbol
from chainrule.explorer.folding import fold
from chainrule.explorer.formulas import Form, form_of, operand_names, value
from chainrule.explorer.variables import variables
from chainrule.node import Node, _values
from chainrule.rules import Operation, described

LEAF = -1
MOST_FORMS = 200  # then exponents are no longer put into formulas
LONGEST_NAME = 200  # letters


class Graph:
    """A graph in evaluation order, operands before what is computed from them, in columns.

    Args:
        nodes: the graph in topological order, root first.
        names: groups whose inside is left out.
        decisions: comparisons that the program made. What they compare and the graph does not hold
            is computed in the page too, after the root, and not shown.

    Attributes:
        nodes: what is shown.
        compared: what the decisions need besides.

    Raises:
        ValueError: if a leaf's data was changed after an operation had used it, or there is no
            group of a name.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        names: Collection[str] = (),
        decisions: Sequence[Decision] = (),
    ) -> None:
        for node in nodes:
            _check_fresh(node)
        self._whole = nodes
        self._is_checked = False
        kept, self.folded = fold(nodes, names) if names else (nodes, {})
        self.nodes = kept[::-1]
        self.index = {node: i for i, node in enumerate(self.nodes)}
        self.forms: list[dict[str, Any]] = []  # of each kind of operation
        self.codes: list[str | None] = []
        self.kind = array("i")  # which form, or LEAF
        self.start = array("i", [0])  # where a node's operands begin
        self.operand = array("i")  # nodes from 0 up, constants from -1 down
        self.constant = array("d")
        self.value = array("d")
        self.local = array("d")  # by operand
        self._known: dict[Any, int] = {}
        self._unverified: list[Form | None] = []
        for node in self.nodes:
            self._add(node)
        self.compared: list[Node] = []
        self.decisions = self._decided(decisions)

    def _decided(self, decisions: Sequence[Decision]) -> list[tuple[str, int, int, bool, str]]:
        """The comparisons in which the graph has a part: operation, operands, outcome, line."""
        concerned = dict.fromkeys(self.nodes, True)  # whether a node depends on the graph's
        found = []
        for decision in decisions:
            sides = [side for side in (decision.a, decision.b) if isinstance(side, Node)]
            above = _new_below(sides, concerned)
            for node in above:
                concerned[node] = any(concerned[parent] for parent in node._parents)
            if any(concerned[side] for side in sides):
                for node in _new_below(sides, self.index):
                    self.index[node] = len(self.start) - 1
                    self._add(node)
                    self.compared.append(node)
                a, b = (
                    self.index[side] if isinstance(side, Node) else self._constant(side)
                    for side in (decision.a, decision.b)
                )
                line = _with_source(decision.line)
                found.append((decision.operation.name, a, b, decision.outcome, line))
        return found

    def _constant(self, number: float) -> int:
        """Where a constant is kept, as operands say it."""
        self.constant.append(number)
        return -len(self.constant)

    def _add(self, node: Node) -> None:
        self.value.append(node._number)
        output = self.folded.get(node)
        operands = node.operands if output is None else output.operands
        if not operands:
            self.kind.append(LEAF)
            self.start.append(len(self.operand))
            return
        self.kind.append(self._kind_of(node, operands))
        found = iter(self._locals(node) if output is None else output.local)
        for operand in operands:
            if isinstance(operand, Node):
                self.operand.append(self.index[operand])
                self.local.append(next(found))
            else:
                self.operand.append(self._constant(operand))
                self.local.append(0.0)
        self.start.append(len(self.operand))

    def _locals(self, node: Node) -> Sequence[float]:
        """The local gradients by the parents; NaN where a user's function fails but is not needed.

        Raises:
            Exception: what a function that is needed raised.
        """
        try:
            return node.local_grads()
        except Exception:
            if not self._is_checked:
                gradients(self._whole, 1.0)  # the nodes' own stay as they are
                self._is_checked = True
            return [float("nan")] * len(node._parents)

    def _kind_of(self, node: Node, operands: Sequence[Any]) -> int:
        output = self.folded.get(node)
        operation = node.operation if output is None else None
        text = output.group if output is not None else symbol(node) if operation is None else ""
        constants: tuple[Any, ...] = (None,) * len(operands)
        if operation is rules.power and len(self.forms) < MOST_FORMS:  # 3 · a², not 3 · a^(3 − 1)
            constants = tuple(None if isinstance(x, Node) else x for x in operands)
        key = (operation if operation is not None else (type(node), text), constants)
        kind = self._known.get(key)
        if kind is None:
            kind = self._known[key] = len(self.forms)
            form = None
            if operation is not None and operation.pull_back is None:  # that is Python's to compute
                form = form_of(operation, len(operands), constants)
            self.codes.append(None if form is None else form.code)
            own = operation is not None and not operation.builtin
            self._unverified.append(form if own and self.codes[kind] is not None else None)
            self.forms.append(_described(operation, text, len(operands), form))
        unverified = self._unverified[kind]
        if unverified is not None and not _agrees(unverified, node, self._locals(node), operands):
            self.codes[kind] = self._unverified[kind] = None
        return kind

    def operands(self, node: int) -> array[int]:
        """What a node is computed from: nodes from 0 up, constants from -1 down."""
        return self.operand[self.start[node] : self.start[node + 1]]

    def shape(self, node: int) -> tuple[int, ...]:
        """What is alike in nodes of the same operation, with constants in the same places."""
        return self.kind[node], *(operand < 0 for operand in self.operands(node))

    def names(self) -> dict[int, str]:
        """The names of nodes: those given to them, else the variables of the program."""
        nodes = [*self.nodes, *self.compared]
        given = {i: node.name for i, node in enumerate(nodes) if node.name is not None}
        found = variables(nodes) | given
        return {i: short_name(printable(name)) for i, name in sorted(found.items())}

    def lines(self) -> tuple[list[str], dict[int, int]]:
        """The lines of code that made nodes, with their text, and which node is of which."""
        sources: dict[str, int] = {}
        found = {}
        for i, node in enumerate(self.nodes):
            if node.line is not None:
                found[i] = sources.setdefault(node.line, len(sources))
        return [_with_source(line) for line in sources], found


def _new_below(roots: Sequence[Node], known: Mapping[Node, object]) -> list[Node]:
    """What roots are computed from as far as it is not known, in the order it was made."""
    found = {root for root in roots if root not in known}
    waiting = list(found)
    while waiting:
        for parent in waiting.pop()._parents:
            if parent not in known and parent not in found:
                found.add(parent)
                waiting.append(parent)
    return sorted(found, key=lambda node: node._serial)


def _described(
    operation: Operation | None, text: str, count: int, form: Form | None
) -> dict[str, Any]:
    """What the page says of an operation."""
    if operation is None or form is None:
        pulls = operation is not None and operation.pull_back is not None
        name = short_name(printable(text if operation is None else operation.name))
        return {
            "name": name,
            "symbol": name,
            "operands": operand_names(count),
            "formulas": ["pull-back of 1" if pulls else ""] * count,
            "picks": [0] * count,
        }
    return {
        "name": short_name(printable(operation.name)),
        "symbol": short_name(printable(operation.symbol)),
        "operands": operand_names(count),
        "formulas": list(form.formulas),
        "picks": [int(operation.ignores(i) or operation.picks) for i in range(count)],
    }


def _agrees(form: Form, node: Node, local_grads: Sequence[float], operands: Sequence[Any]) -> bool:
    """Whether the formulas found for a user's operation give its numbers here."""
    names = dict(zip(operand_names(len(operands)), _values(operands), strict=True))
    assert form.value is not None
    if not _close(value(form.value, names), node._number):
        return False
    names["y"] = node._number
    positions = [i for i, operand in enumerate(operands) if isinstance(operand, Node)]
    for i, local in zip(positions, local_grads, strict=True):
        grad = form.grads[i]
        if grad is None or not _close(value(grad, names), local):
            return False
    return True


def _close(x: float, y: float) -> bool:
    return x == y or (x != x and y != y) or abs(x - y) <= 1e-12 * abs(y)


def _with_source(line: str) -> str:
    """Where a line of code is, a file from the working folder on, with the text there."""
    cell, _, number = line.partition(", line ")
    file = FILES_OF_CELLS.get(cell)
    if file is None:
        file, _, number = line.rpartition(":")
    source = ""
    if number.isdigit():
        with suppress(ValueError):  # no file has that name
            source = linecache.getline(file, int(number)).strip()
    # A page that others get does not name the folders of its author.
    with suppress(OSError):
        line = line.removeprefix(os.getcwd() + os.sep)
    if os.path.isabs(line):
        line = os.path.basename(line)
    return printable(f"{line}  {source}" if source else line)


def short_name(name: str) -> str:
    """A name as long as a person would read."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def check_root(root: object) -> None:
    """Raise TypeError for anything but a node."""
    if not isinstance(root, Node):
        raise TypeError(f"explore takes a Node, not {described(root)}")
