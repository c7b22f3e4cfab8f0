"""Operators and backpropagation do exactly what the table says, to the bit.

The engine in C has code of its own for what is frequent. There are two ways through a graph, in
place and, where a user's code runs, with the gradients kept apart; both are run here.
"""

import math
import operator
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from references import EDGES, REFERENCES, TINY, same, whole

from chainrule import Node, Operation
from chainrule.rules import OPERATIONS

same_value = Operation("same_value", lambda x: x, (lambda y, x: 1.0,))
SEEDS = (1.0, -0.1, 1e300, TINY, math.inf, math.nan, 0.0, -0.0)
OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": operator.pow,
    "mod": operator.mod,
    "floor_divide": operator.floordiv,
    "negative": operator.neg,
    "absolute": operator.abs,
    "relu": Node.relu,
    "tanh": Node.tanh,
    "floor": math.floor,
    "ceil": math.ceil,
    "trunc": math.trunc,
    "round": round,
}


def operands_of(name: str) -> Iterator[tuple[float, ...]]:
    """Edges and random operands, at least one."""
    yield from filter(None, REFERENCES[name].edges)
    rng = Random(zlib.crc32(name.encode()))
    for _ in range(50):
        yield REFERENCES[name].inputs(rng)


def arrangements(name: str, operands: tuple[float, ...]) -> Iterator[list[Any]]:
    """All operands nodes that may be; each of two alone a node; one node twice."""
    grads = OPERATIONS[name].local_grads
    numbers = [not OPERATIONS[name].variadic and grad is None for grad in grads]
    if any(numbers):
        yield [x if number else Node(x) for x, number in zip(operands, numbers, strict=True)]
        return
    yield [Node(x) for x in operands]
    if len(operands) == 2:
        yield [Node(operands[0]), operands[1]]
        yield [operands[0], Node(operands[1])]
        twice = Node(operands[0])
        yield [twice, twice]


def backward(root: Node, seed: float) -> None:
    """Backpropagate: in place, where nothing else runs."""
    root.backward(seed)


def backward_apart(root: Node, seed: float) -> None:
    """The same below a user's operation."""
    same_value(root).backward(seed)


def number(x: Any) -> float:
    """The value of a node or number."""
    return x.data if isinstance(x, Node) else float(x)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("propagate", [backward, backward_apart])
def test_backward(name: str, propagate: Callable[[Node, float], None]) -> None:
    """Gradients are the global gradient times the table's local gradient."""
    operation = OPERATIONS[name]
    rng = Random(7)
    for operands in operands_of(name):
        for mixed in arrangements(name, operands):
            values = [number(x) for x in mixed]
            root = operation(*mixed)
            seed = rng.choice((*SEEDS, rng.gauss(0.0, 1.0)))
            propagate(root, seed)
            expected: dict[Node, float] = {}
            for position, operand in enumerate(mixed):
                if isinstance(operand, Node):
                    local = operation.local_grad(position, root.data, values)
                    picked = not operation.picks or operation.deciding(local, values) != 0.0
                    sent = picked and not operation.ignores(position)
                    message = seed * local if sent else 0.0
                    expected[operand] = expected.get(operand, 0.0) + message
            for node, grad in expected.items():
                assert same(node.grad, grad), f"{name}{values}, seed {seed}: {node.grad}, {grad}"


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name: str) -> None:
    """Operators and methods give the values of the table; what is an int in Python is no -0.0."""
    operation = OPERATIONS[name]
    for operands in operands_of(name):
        if name == "round":
            if whole(operands[1]):
                digits = int(operands[1])
                result = round(Node(operands[0]), digits)
                assert same(result.data, operation.value(*operands))
            continue
        for mixed in arrangements(name, operands):
            result = OPERATORS[name](*mixed)
            expected = operation.value(*[number(x) for x in mixed])
            if hasattr(result, "__index__"):
                expected += 0.0
            assert isinstance(result, Node)
            assert same(result.data, expected), mixed


def test_edges_reach_everything() -> None:
    """The edges hold what IEEE 754 is about."""
    assert {math.copysign(1.0, x) for x in EDGES if x == 0.0} == {1.0, -1.0}
    assert any(map(math.isnan, EDGES))
    assert {x for x in EDGES if math.isinf(x)} == {math.inf, -math.inf}
