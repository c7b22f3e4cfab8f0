"""Calls of operations on numbers and nodes: in C what they are by way of Python.

``rules.called`` is the reference, and what C leaves to Python.
"""

import gc
import math
import sys
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from references import REFERENCES

import chainrule as cr
from chainrule import Node, rules
from chainrule.rules import OPERATIONS, Operation, called
from chainrule.tracebacks import SWITCH

every_operation = pytest.mark.parametrize("name", OPERATIONS)


def forms_of(x: float, rng: Random) -> Any:
    """A number as a user may hand it over: a float, an int, NumPy's, a node."""
    forms: list[Callable[[float], Any]] = [float, Node, Node, Node, np.float64]
    if x == math.floor(x):
        forms.append(int)
    return rng.choice(forms)(x)


def description(x: Any) -> Any:
    """What can be told of a result."""
    if not isinstance(x, Node):
        return type(x), float(x).hex()
    operands = [id(o) if isinstance(o, Node) else (type(o), o.hex()) for o in x.operands]
    return type(x), x.operation, x.data.hex(), x.grad, operands, x._level, x.name, x.groups


def outcome(function: Callable[..., Any], *args: Any) -> Any:
    """A result, or an error, as something to compare."""
    try:
        return description(function(*args))
    except Exception as error:
        return type(error), str(error)


@every_operation
def test_numbers_and_nodes(name: str) -> None:
    """Of any mixture, the class, the operands and the bits are those of the reference."""
    operation = OPERATIONS[name]
    rng = Random(name)
    draw = REFERENCES[name].ordinary
    assert draw is not None
    for _ in range(40):
        operands = [forms_of(x, rng) for x in draw(rng)]
        assert outcome(operation, *operands) == outcome(called, operation, *operands)


@every_operation
def test_what_cannot_be(name: str) -> None:
    """Errors are those of the reference: of types, counts, sizes."""
    operation = OPERATIONS[name]
    draw = REFERENCES[name].ordinary
    assert draw is not None
    numbers = list(draw(Random(name)))
    node = Node(1.5)
    for bad in ("2", None, 10**400, 1j, [node], np.array([1.0, 2.0])):
        for i in range(len(numbers)):
            for others in (numbers, [Node(x) for x in numbers]):
                operands = [*others[:i], bad, *others[i + 1 :]]
                assert outcome(operation, *operands) == outcome(called, operation, *operands)
    for operands in ([], [node] * 7, [1.0] * 7, [node] * len(numbers)):
        assert outcome(operation, *operands) == outcome(called, operation, *operands)


@every_operation
def test_nothing_is_kept(name: str) -> None:
    """A call holds on to nothing, whatever comes of it."""
    operation = OPERATIONS[name]
    draw = REFERENCES[name].ordinary
    assert draw is not None
    numbers = list(draw(Random(name)))
    node, text = Node(1.5), "no number"
    held = [operation, node, text]
    gc.collect()  # what earlier tests have left
    before = [sys.getrefcount(x) for x in held]
    for _ in range(10):
        for first in (node, text, 1.5, 2):
            outcome(operation, *numbers[:-1], first)
            outcome(operation, first, *numbers[1:])
            outcome(operation, *[first] * len(numbers))
            outcome(operation, *[first] * 9)
    gc.collect()
    assert [sys.getrefcount(x) for x in held] == before


def test_keywords() -> None:
    """An operation has none."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'x'"):
        rules.exp(x=1.0)  # type: ignore[call-arg]


@pytest.mark.parametrize("operands", [("2",), (None,), (1.0, 2.0), (10**400,), ()])
def test_tracebacks(operands: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """An error is shown at the user's line."""
    monkeypatch.delenv(SWITCH, raising=False)
    with pytest.raises((TypeError, ValueError)) as caught:
        rules.exp(*operands)
    frames = [entry.frame.f_globals["__name__"] for entry in caught.traceback]
    assert frames == [__name__]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: rules.log(-1.0), ValueError),
        (lambda: rules.log(Node(-1.0)), ValueError),
        (lambda: rules.exp(1000.0), OverflowError),
        (lambda: rules.divide(1.0, 0), ZeroDivisionError),
        (lambda: rules.divide(1.0, Node(0.0)), ZeroDivisionError),
        (lambda: rules.fsum(math.inf, -math.inf, Node(1.0)), ValueError),
    ],
)
def test_domain_errors(call: Callable[[], Any], error: type[Exception]) -> None:
    """Numbers raise in domain_errors(), only there, and only where Python does."""
    call()
    with cr.domain_errors():
        assert rules.exp(1.0) == math.e
        assert rules.exp(math.inf) == math.inf
        with pytest.raises(error):
            call()
    call()


def test_classes_of_users() -> None:
    """What a user's subclass does with an operation is its own."""

    class Noted(Node):
        def _apply(self, operation: Operation, operands: Any) -> Any:
            return operation.name, operands

    noted, plain = Noted(2.0), Node(3.0)
    assert rules.exp(noted) == ("exp", (noted,))
    assert rules.atan2(1.0, noted) == ("atan2", (1.0, noted))
    assert isinstance(rules.multiply(plain, noted), Node)  # the first is asked


def test_operations_of_users() -> None:
    """They are called with what the user hands over, and their errors are the user's."""
    double = Operation("double", lambda x: 2.0 * x, [lambda y, x: 2.0])
    node = double(Node(3.0))
    assert node.data == 6.0
    assert node.operation is double
    assert double(np.float64(3.0)) == 6.0
    odd = Operation("odd", lambda x: [][0], [lambda y, x: 1.0])
    with pytest.raises(IndexError):
        odd(Node(1.0))


def test_a_subclass_of_operation() -> None:
    """It may have a call of its own."""

    class Loud(Operation):
        def __call__(self, *operands: Any) -> Any:
            return "loud", super().__call__(*operands)

    assert Loud("loud", lambda x: x, [lambda y, x: 1.0])(2.0) == ("loud", 2.0)


def test_many_operands() -> None:
    """More than fit on the stack."""
    nodes = [Node(float(i)) for i in range(100)]
    total = rules.fsum(*nodes, 0.5)
    assert total.data == 4950.5
    assert total.operands == (*nodes, 0.5)
    total.backward()
    assert [node.grad for node in nodes] == [1.0] * 100
    assert rules.hypot(*[3.0] * 100) == math.hypot(*[3.0] * 100)
