"""The typed twins of the hottest rules do exactly what the table says, to the bit.

Operators compute their values, and backpropagation its products, in typed code of their own for
some operations. There are two ways through a graph, in place and with the gradients kept apart;
both are run here, whichever of them ``backward`` takes.
"""

import math
import operator
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from references import EDGES, REFERENCES, TINY, same, whole

from chainrule import Node
from chainrule.backpropagation import _backward_apart, _send
from chainrule.rules import OPERATIONS

TWINS = [name for name, operation in OPERATIONS.items() if operation.code]
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
    """Edges and random operands."""
    yield from REFERENCES[name].edges
    rng = Random(zlib.crc32(name.encode()))
    for _ in range(200):
        yield REFERENCES[name].inputs(rng)


def arrangements(operands: tuple[float, ...]) -> Iterator[list[Any]]:
    """All operands nodes; each of two alone a node; one node twice."""
    yield [Node(x) for x in operands]
    if len(operands) == 2:
        yield [Node(operands[0]), operands[1]]
        yield [operands[0], Node(operands[1])]
        twice = Node(operands[0])
        yield [twice, twice]


def send(root: Node, seed: float) -> None:
    """Backpropagate in place through one operation."""
    root.grad = seed + 0.0  # -0.0 is the mark of what no message has reached
    _send(root)


def send_apart(root: Node, seed: float) -> None:
    """Backpropagate through one operation, the gradients kept apart."""
    _backward_apart(root.sorted_nodes(), seed)


def backward(root: Node, seed: float) -> None:
    """Backpropagate as users do."""
    root.backward(seed)


def number(x: Any) -> float:
    """The value of a node or number."""
    return x.data if isinstance(x, Node) else float(x)


def test_there_are_twins() -> None:
    """The operations that have a code."""
    assert set(TWINS) >= {"add", "subtract", "multiply", "divide", "negative", "relu", "tanh"}


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("propagate", [send, send_apart, backward])
def test_backward(name: str, propagate: Callable[[Node, float], None]) -> None:
    """Gradients are the global gradient times the table's local gradient."""
    operation = OPERATIONS[name]
    rng = Random(7)
    for operands in operands_of(name):
        for mixed in arrangements(operands):
            values = [number(x) for x in mixed]
            root = operation(*mixed)
            seed = rng.choice((*SEEDS, rng.gauss(0.0, 1.0)))
            propagate(root, seed)
            expected: dict[Node, float] = {}
            for position, operand in enumerate(mixed):
                if isinstance(operand, Node):
                    local = operation.local_grad(position, operation.value(*values), values)
                    picked = not operation.picks or local != 0.0
                    message = seed * local if picked else 0.0
                    expected[operand] = expected.get(operand, 0.0) + message
            for node, grad in expected.items():
                assert same(node.grad, grad), f"{name}{values}, seed {seed}: {node.grad}, {grad}"


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name: str) -> None:
    """Operators and methods give the values of the table."""
    operation = OPERATIONS[name]
    for operands in operands_of(name):
        if name == "round":
            if whole(operands[1]):
                digits = int(operands[1])
                result = round(Node(operands[0]), digits)
                assert same(result.data, operation.value(*operands))
            continue
        for mixed in arrangements(operands):
            result = OPERATORS[name](*mixed)
            expected = operation.value(*[number(x) for x in mixed])
            assert isinstance(result, Node)
            assert same(result.data, expected), mixed


def test_edges_reach_everything() -> None:
    """The edges hold what IEEE 754 is about."""
    assert {math.copysign(1.0, x) for x in EDGES if x == 0.0} == {1.0, -1.0}
    assert any(map(math.isnan, EDGES))
    assert {x for x in EDGES if math.isinf(x)} == {math.inf, -math.inf}
