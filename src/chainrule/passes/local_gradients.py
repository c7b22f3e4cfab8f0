"""Local gradients of operations as formulas, from which statements are built.

The functions of an operation's row are run once on symbols; what they compute is kept as a list of
steps, for any operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from chainrule.expressions import Expression, as_expression, symbol
from chainrule.program.form import Operand, Statement
from chainrule.rules import Operation

Term: TypeAlias = "float | int"
"""A number; the place of a step; or -1 for the value and -2 - i for the operand at i."""

Compute: TypeAlias = Callable[[Operation, Sequence[Operand]], Operand]


class Untraceable(Exception):
    """A derivative that can't be built as statements: it has to be taken of a run."""


class Formulas:
    """The local gradients of an operation.

    Args:
        steps: operations on terms, each on earlier ones.
        results: by operand, its local gradient; None where that is to be a plain number.
    """

    def __init__(
        self, steps: list[tuple[Operation, tuple[Term, ...]]], results: list[Term | None]
    ) -> None:
        self.steps = steps
        self.results = results
        self._needs: dict[int, frozenset[int]] = {}

    def needs(self, name: str, position: int) -> frozenset[int]:
        """What the local gradient by an operand is computed from: -1 and -2 - i as above."""
        found = self._needs.get(position)
        if found is None:
            places: set[int] = set()
            waiting = [self.result(name, position)]
            seen: set[Term] = set()
            while waiting:
                term = waiting.pop()
                if isinstance(term, float) or term in seen:
                    continue
                seen.add(term)
                if term < 0:
                    places.add(term)
                else:
                    waiting.extend(self.steps[term][1])
            found = self._needs[position] = frozenset(places)
        return found

    def result(self, name: str, position: int) -> Term:
        """The local gradient by an operand.

        Raises:
            Untraceable: if that operand must be a plain number.
        """
        found = self.results[position]
        if found is None:
            raise Untraceable(f"operand {position + 1} of {name} must be a number, not a node")
        return found


class LocalGradients:
    """The formulas of all operations that a pass meets."""

    def __init__(self) -> None:
        self._found: dict[object, Formulas] = {}

    def of(self, operation: Operation, operands: Sequence[Operand]) -> Formulas:
        """The formulas of an operation for such operands.

        Raises:
            Untraceable: if its local gradients are not written with operations.
        """
        key: object
        if operation.builtin:
            key = (operation, len(operands))
        else:  # a function of the user's may look at numbers
            key = (operation, tuple([None if isinstance(x, Statement) else x for x in operands]))
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = _traced(operation, operands)
        return found


def _traced(operation: Operation, operands: Sequence[Operand]) -> Formulas:
    if operation.pull_back is not None or operation.result_of is not None:
        raise Untraceable(f"{operation.name} has a derivative for a run alone")
    value = symbol("value")
    symbols: list[Expression | float] = []
    places = {id(value): -1}
    for i, x in enumerate(operands):
        if isinstance(x, float) and not operation.builtin:
            symbols.append(x)
        else:
            operand = symbol(f"operand {i}")
            places[id(operand)] = -2 - i
            symbols.append(operand)
    positions = list(range(len(operands)))
    if not operation.variadic:
        positions = [i for i in positions if operation.local_grads[i] is not None]
    try:
        grads = operation.local_grads_at(positions, value, symbols)
        expressions = [as_expression(grad) for grad in grads]
    except Exception as error:  # whatever a user's function raises on symbols
        raise Untraceable(f"the local gradients of {operation.name}: {error}") from error
    steps: list[tuple[Operation, tuple[Term, ...]]] = []
    results: list[Term | None] = [None] * len(operands)
    for i, expression in zip(positions, expressions, strict=True):
        results[i] = _term(expression, steps, places)
    return Formulas(steps, results)


def _term(
    expression: Expression,
    steps: list[tuple[Operation, tuple[Term, ...]]],
    places: dict[int, int],
) -> Term:
    """The term of an expression, whose steps are added; what is used twice is one step."""
    for x in expression.in_order():
        if x.operation is not None and id(x) not in places:
            steps.append((x.operation, tuple([_known(y, places) for y in x.operands])))
            places[id(x)] = len(steps) - 1
    return _known(expression, places)


def _known(expression: Expression, places: dict[int, int]) -> Term:
    place = places.get(id(expression))
    return float(expression.text) if place is None else place


class Instantiation:
    """The local gradients of one statement, built as they are asked for.

    Args:
        formulas: those of its operation.
        known: gives its value (-1) and its operands (-2 - i).
        compute: makes a value of an operation.
    """

    def __init__(
        self, formulas: Formulas, known: Callable[[int], Operand], compute: Compute
    ) -> None:
        self._steps = formulas.steps
        self._known = known
        self._compute = compute
        self._built: dict[int, Operand] = {}

    def build(self, term: Term) -> Operand:
        """The value of a term."""
        if isinstance(term, float):
            return term
        if term < 0:
            return self._known(term)
        waiting = [term]
        while waiting:
            step = waiting[-1]
            operation, terms = self._steps[step]
            missing = [
                t for t in terms if not isinstance(t, float) and t >= 0 and t not in self._built
            ]
            if missing:
                waiting.extend(missing)
                continue
            waiting.pop()
            operands = [
                self._built[t] if not isinstance(t, float) and t >= 0 else self.build(t)
                for t in terms
            ]
            self._built[step] = self._compute(operation, operands)
        return self._built[term]
