"""Every operation of the table against mpmath: its value, its local gradients, their derivatives.

The tests go through the table, so that a new operation is tested as soon as it has a reference in
references.py, and fails until it has one. An error is counted in units in the last place,
``math.ulp(max(|reference|, 2**-1022))``. What is under the smallest normal number, 2**-1022, may be
flushed to zero: an absolute error of up to 2**-1022 is accepted where the reference is smaller. A
gradient that is computed from the value (``through_value``) inherits that of the value: if the
value is under 2**-1022, the gradient may be off by as large a part of it as 2**-1022 is of the
value; if the value overflows, the gradient may.
"""

import math
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from references import INF, REFERENCES, SMALL, Reference, mp, same

from chainrule import Node
from chainrule.rules import OPERATIONS, Operation

DRAWS = 1000
OVERFLOW = mp.mpf(2) ** 1024

every_operation = pytest.mark.parametrize("name", OPERATIONS)


def operands_of(name: str, draws: int = DRAWS) -> Iterator[tuple[float, ...]]:
    """The edges of an operation and random operands, the same at every run."""
    reference = REFERENCES[name]
    yield from reference.edges
    rng = Random(zlib.crc32(name.encode()))
    for _ in range(draws):
        yield reference.inputs(rng)


def ordinary_operands(name: str, draws: int) -> Iterator[tuple[float, ...]]:
    """Random operands around which an operation is smooth."""
    draw = REFERENCES[name].ordinary
    assert draw is not None, f"{name} needs ordinary operands in references.py"
    rng = Random(zlib.crc32(name.encode()))
    for _ in range(draws):
        yield draw(rng)


def error(result: float, expected: Any) -> float:
    """The error in units in the last place; infinite where one is NaN, 0 or infinite by itself."""
    expected = mp.mpf(expected)
    if mp.isnan(expected) or result != result:
        return 0.0 if mp.isnan(expected) and result != result else INF
    if mp.isinf(expected) or expected == 0:
        return 0.0 if result == expected else INF
    if math.isinf(result):
        if abs(expected) >= OVERFLOW and (expected > 0) == (result > 0):
            return 0.0
        return float(min(abs(OVERFLOW * mp.sign(result) - expected) / 2**971, mp.mpf(2) ** 1000))
    difference = abs(result - expected)
    if abs(expected) < SMALL and difference <= SMALL:
        return 0.0
    size = float(max(min(abs(expected), OVERFLOW * (1 - mp.mpf(2) ** -53)), SMALL))
    return float(min(difference / math.ulp(size), mp.mpf(2) ** 1000))


def inherited(result: float, expected: Any, value: Any) -> bool:
    """Whether the error of a gradient is that of a value that underflows or overflows."""
    expected, value = mp.mpf(expected), mp.mpf(value)
    if abs(value) >= OVERFLOW:
        return math.isinf(result) and (result > 0) == (expected > 0)
    if 0 < abs(value) < SMALL and math.isfinite(result) and mp.isfinite(expected):
        return bool(abs(result - expected) <= abs(expected) * SMALL / abs(value))
    return False


def value_error(operation: Operation, reference: Reference, operands: tuple[float, ...]) -> float:
    """The error of a value; the sign of a zero counts where the reference is a float."""
    result = operation.value(*operands)
    expected = reference.value(*operands)
    if isinstance(expected, float) and expected == 0.0:
        return 0.0 if same(result, expected) else INF
    return error(result, expected)


def grad_error(
    operation: Operation, reference: Reference, position: int, operands: tuple[float, ...]
) -> float:
    """The error of a local gradient."""
    exact = reference.grad(position)
    assert exact is not None
    result = operation.local_grad(position, operation.value(*operands), operands)
    expected = exact(*operands)
    if position in reference.through_value and inherited(
        result, expected, reference.value(*operands)
    ):
        return 0.0
    return error(result, expected)


@every_operation
def test_has_a_reference(name: str) -> None:
    """A new operation needs one."""
    assert name in REFERENCES, f"write a reference for {name} in tests/references.py"


@every_operation
def test_value(name: str) -> None:
    """Values are right to a few units in the last place, and exactly right at edges."""
    operation, reference = OPERATIONS[name], REFERENCES[name]
    for operands in operands_of(name):
        off = value_error(operation, reference, operands)
        assert off <= operation.ulps, (
            f"{name}{operands} = {operation.value(*operands)!r}, not {reference.value(*operands)}:"
            f" {off:.3g} units in the last place"
        )


@every_operation
def test_local_grads(name: str) -> None:
    """Local gradients are right to 4 units in the last place, and exactly right at edges."""
    operation, reference = OPERATIONS[name], REFERENCES[name]
    for operands in operands_of(name):
        for position in range(len(operands)):
            exact = reference.grad(position)
            if exact is None:
                continue
            off = grad_error(operation, reference, position, operands)
            assert off <= 4.0, (
                f"gradient {position} of {name}{operands} ="
                f" {operation.local_grad(position, operation.value(*operands), operands)!r},"
                f" not {exact(*operands)}: {off:.3g} units in the last place"
            )


@every_operation
def test_reference(name: str) -> None:
    """The gradients in references.py are the derivatives of the values there."""
    reference = REFERENCES[name]
    for operands in ordinary_operands(name, 5):
        for position in range(len(operands)):
            exact = reference.grad(position)
            if exact is not None and name != "stop_gradient":
                slope = derivative(reference.value, operands, position)
                assert mp.almosteq(slope, exact(*operands), 1e-25, 1e-25), (operands, position)


@every_operation
def test_number_and_node_agree(name: str) -> None:
    """f(float) is a float and f(Node).data the same float, whichever operands are nodes."""
    operation, reference = OPERATIONS[name], REFERENCES[name]
    for operands in operands_of(name, 200):
        result = operation(*operands)
        assert type(result) is float, operands
        assert same(result, float(operation.value(*operands))), operands
        free = [i for i in range(len(operands)) if reference.grad(i) is not None]
        for nodes in (free, free[:1], free[-1:]) if free else ():
            mixed = [Node(x) if i in nodes else x for i, x in enumerate(operands)]
            node = operation(*mixed)
            assert isinstance(node, Node)
            assert same(node.data, result), mixed


@every_operation
def test_local_grads_of_nodes(name: str) -> None:
    """Local gradients handed nodes have the value they have handed floats, to the bit."""
    operation = OPERATIONS[name]
    for operands in operands_of(name, 200):
        nodes = as_nodes(name, operands)
        y = operation(*nodes)
        for position in range(len(operands)):
            if REFERENCES[name].grad(position) is not None:
                result = operation.local_grad(position, y, nodes)
                expected = operation.local_grad(position, operation.value(*operands), operands)
                number = result.data if isinstance(result, Node) else float(result)
                assert same(number, float(expected)), (operands, position)


@every_operation
def test_second_derivatives(name: str) -> None:
    """Local gradients of nodes can be differentiated again."""
    operation, reference = OPERATIONS[name], REFERENCES[name]
    for operands in ordinary_operands(name, 20):
        for position in range(len(operands)):
            exact = reference.grad(position)
            if exact is None:
                continue
            nodes = as_nodes(name, operands)
            result = operation.local_grad(position, operation(*nodes), nodes)
            if isinstance(result, Node):
                result.backward()
            for i, node in enumerate(nodes):
                if isinstance(node, Node):
                    expected = 0.0
                    if name != "stop_gradient":
                        expected = float(derivative(exact, operands, i))
                    assert node.grad == pytest.approx(expected, rel=1e-9, abs=1e-12), (
                        f"{name}{operands} by operands {position} and {i}"
                    )


def as_nodes(name: str, operands: tuple[float, ...]) -> list[Any]:
    """The operands as nodes, but for those that must be plain numbers."""
    reference = REFERENCES[name]
    return [x if reference.grad(i) is None else Node(x) for i, x in enumerate(operands)]


def derivative(function: Callable[..., Any], operands: tuple[float, ...], position: int) -> Any:
    """The derivative of a function of numbers by one of them, by mpmath's differences."""
    before, after = operands[:position], operands[position + 1 :]
    return mp.diff(lambda x: function(*before, x, *after), mp.mpf(operands[position]))
