"""Random programs against an independent derivative: dual numbers in mpmath, at 60 digits.

The reference knows nothing of the rules of the package. It takes the operands that the program had
as exact, so that rounding of values is judged node by node, and derivatives apart from it.
"""

import math
import operator
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import unmarked
from references import REFERENCES, exact, mp

from chainrule import Node, Operation, rules
from chainrule.backpropagation import gradients

same = Operation("same", lambda x: x, (lambda y, x: 1.0,))

SYMBOLS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": operator.pow,
    "mod": operator.mod,
    "floor_divide": operator.floordiv,
}
STEPS = {"floor", "ceil", "trunc", "round", "floor_divide", "mod", "fmod", "remainder"}
DULL = {
    name
    for name, row in rules.OPERATIONS.items()
    if all(row.ignores(i) or grad is None for i, grad in enumerate(row.local_grads))
} - {"stop_gradient"}
"""Operations whose derivatives are 0."""


# Random programs


@dataclass
class Dual:
    """The reference's side of a node: its derivatives by the leaves, in mpmath.

    ``size`` holds what ``slope`` would be if no term cancelled another, and ``depth`` the longest
    path to a leaf: the rounding errors to be expected grow with both.
    """

    slope: dict[int, Any]
    size: dict[int, float]
    depth: int


class Program:
    """A graph that grows by random operations, with its dual numbers beside it."""

    def __init__(self, seed: int, leaves: int, operations: int) -> None:
        self.random = random.Random(seed)
        self.nodes: list[Node] = []
        self.duals: list[Dual] = []
        self.used: set[int] = set()
        self.leaves = leaves
        for i in range(leaves):
            self.nodes.append(Node(self.random.choice((-1, 1)) * self.random.uniform(0.1, 3.0)))
            self.duals.append(Dual({i: mp.mpf(1)}, {i: 1.0}, 0))
        while len(self.nodes) < leaves + operations:
            self.grow()

    def grow(self) -> None:
        """Add one operation, unless its value or a derivative is out of bounds."""
        name = self.random.choice(list(rules.OPERATIONS))
        if name in DULL and self.random.random() < 0.7:
            return
        operands = self.operands(name)
        places = [x for x in operands if isinstance(x, int)]
        if not places:
            return
        values = [self.nodes[x].data if isinstance(x, int) else x for x in operands]
        if name in ("atan2", "copysign") and 0.0 in values:
            return  # mpmath has no negative zero
        try:
            value, locals_ = exact(name, *map(mp.mpf, values))
        except (ValueError, ZeroDivisionError, IndexError):  # outside the domain
            return
        if not _in_bounds(value, 1e4) or not all(_in_bounds(d, 1e6) for d in locals_):
            return
        node = self.call(name, operands)
        if name in STEPS and abs(node.data - value) > 0.01 * abs(value) + 1e-9:
            return  # rounded across the step: Python's own % and // do that
        assert abs(node.data - value) <= 1e-14 * abs(value) + 1e-300, (name, values)
        dual = Dual({}, {}, 1 + max(self.duals[place].depth for place in places))
        for operand, local in zip(operands, locals_, strict=True):
            if isinstance(operand, int):
                parent = self.duals[operand]
                magnitude = abs(float(local))
                for leaf, slope in parent.slope.items():
                    dual.slope[leaf] = dual.slope.get(leaf, 0) + local * slope
                    dual.size[leaf] = dual.size.get(leaf, 0.0) + magnitude * parent.size[leaf]
        if all(size < 1e30 for size in dual.size.values()):
            self.used.update(places)
            self.nodes.append(node)
            self.duals.append(dual)

    def operands(self, name: str) -> list[int | float]:
        """Places of nodes, new ones more often, and some constants, as floats."""
        arity = len(rules.OPERATIONS[name].local_grads)
        if rules.OPERATIONS[name].variadic:
            arity = self.random.randint(1, 6)
        operands: list[int | float] = []
        for _ in range(arity):
            if operands and self.random.random() < 0.1:
                operands.append(operands[-1])
            elif self.random.random() < 0.15:
                operands.append(self.random.choice((0.5, 2.0, 3.0, -1.0, 1.7, 0.1, -2.5)))
            else:
                recent = self.random.random() < 0.6
                first = max(0, len(self.nodes) - 8) if recent else 0
                operands.append(self.random.randrange(first, len(self.nodes)))
        reference = REFERENCES[name]
        for i in range(arity):
            if reference.grad(i) is None or (i == 0 and rules.OPERATIONS[name].looks_up):
                draw = reference.ordinary
                assert draw is not None
                operands[i] = draw(self.random)[i]
        return operands

    def call(self, name: str, operands: Sequence[int | float]) -> Node:
        """Apply the operation, by its operator or by the table's function."""
        given = [self.nodes[x] if isinstance(x, int) else x for x in operands]
        function: Callable[..., Any] = rules.OPERATIONS[name]
        if name in SYMBOLS and self.random.random() < 0.7:
            function = SYMBOLS[name]
        node = function(*given)
        assert isinstance(node, Node)
        assert list(node.operands) == given
        return node

    def root(self) -> tuple[Node, Dual]:
        """The sum of all that nothing else used, so that the whole graph is below."""
        total, dual = self.nodes[0], self.duals[0]
        for i, node in enumerate(self.nodes):
            if i and i not in self.used:
                total = total + node
                dual = Dual(
                    {k: dual.slope.get(k, 0) + self.duals[i].slope.get(k, 0) for k in self.leaf()},
                    {
                        k: dual.size.get(k, 0.0) + self.duals[i].size.get(k, 0.0)
                        for k in self.leaf()
                    },
                    1 + max(dual.depth, self.duals[i].depth),
                )
        return total, dual

    def leaf(self) -> range:
        """The places of the leaves."""
        return range(self.leaves)


def _in_bounds(x: Any, limit: float) -> bool:
    return x is None or (not isinstance(x, mp.mpc) and bool(mp.isfinite(x)) and abs(x) < limit)


def _tolerance(dual: Dual) -> float:
    """A few units in the last place, and what as many random errors as a path is long come to."""
    return 1e-15 * (2.0 + math.sqrt(dual.depth))


programs = st.builds(
    Program,
    seed=st.integers(0, 2**32 - 1),
    leaves=st.integers(1, 6),
    operations=st.one_of(st.integers(1, 40), st.integers(40, 400)),
)
example_count = settings(max_examples=200, deadline=None, derandomize=True, database=None)


@example_count
@given(programs)
def test_gradients(program: Program) -> None:
    """Every leaf's gradient, to the rounding errors of the terms it is the sum of."""
    root, dual = program.root()
    root.backward()
    for i in program.leaf():
        slope, size = dual.slope.get(i, mp.mpf(0)), dual.size.get(i, 0.0)
        assert abs(program.nodes[i].grad - slope) <= _tolerance(dual) * size + 1e-290


@example_count
@given(programs)
def test_sorted_nodes_is_a_topological_order(program: Program) -> None:
    """Root first, each node once, parents after children, and all of the graph."""
    root, _ = program.root()
    order = root.sorted_nodes()
    place = {node: i for i, node in enumerate(order)}
    assert order[0] is root
    assert len(place) == len(order)
    assert all(place[node] < place[parent] for node in order for parent in node._parents)
    assert place.keys() >= set(program.nodes[1:])
    assert unmarked(order)


@example_count
@given(programs)
def test_both_ways_to_backpropagate_agree(program: Program) -> None:
    """In place, below a user's operation, and in the reference: the same bits, and twice."""
    root, _ = program.root()
    order = root.sorted_nodes()
    found = gradients(order, 1.0)
    results = [[found.get(id(node), 0.0).hex() for node in order]]
    for top in (root, same(root), root):
        for i in program.leaf():
            program.nodes[i].grad = 0.0
        top.backward()
        results.append([node.grad.hex() for node in order])
    assert results[0] == results[1] == results[2] == results[3]


@pytest.mark.parametrize("name", rules.OPERATIONS)
def test_programs_reach_every_operation(name: str) -> None:
    """No operation of the table is left out by the bounds."""
    assert any(name == node.operation.name for node in _sample() if node.operation is not None)


_sampled: list[Node] = []


def _sample() -> list[Node]:
    if not _sampled:
        for seed in range(20):
            _sampled.extend(Program(seed, 4, 200).nodes)
    return _sampled


def test_the_reference_can_fail() -> None:
    """A derivative that is wrong by a part in 10 billion is found."""
    program = Program(1, 3, 100)
    root, dual = program.root()
    root.backward()
    x = max(program.leaf(), key=lambda i: abs(dual.slope.get(i, 0)))
    wrong = program.nodes[x].grad * (1 + 1e-10)
    assert math.isfinite(wrong)
    assert abs(wrong - dual.slope[x]) > _tolerance(dual) * dual.size[x]
