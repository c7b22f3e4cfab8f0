"""The table in C beside rules.py: the same bits, of values and of local gradients.

The reference is Python alone: inside the local gradients, the operations of the table are replaced
by their values. Where the engine is not built, what stands for it here
are the functions themselves, and only the calls of operations are tested.
"""

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, cast

import numpy as np
import pytest
from references import EDGES, REFERENCES

from chainrule import Node, rules
from chainrule.engine import ENGINE
from chainrule.expressions import formula, function_of_floats
from chainrule.node import OperationNode
from chainrule.rules import OPERATIONS, Operation

SLOW = ("gamma", "lgamma", "polygamma")  # by mpmath, in Python
ROWS = [name for name, operation in OPERATIONS.items() if ENGINE is None or operation.code]
"""Operations that the engine has a row for; it treats others like a user's."""
DRAWS = 3000 if ENGINE is not None else 100
SEVERAL = (1, 2, 3, 5, 16, 17, 40)
LEAST = {"over_norm": 2, "over_squares": 2, "gather": 2}

every_operation = pytest.mark.parametrize("name", OPERATIONS)
every_native = pytest.mark.parametrize("name", [name for name in ROWS if name not in SLOW])


def bits(x: float) -> int:
    """The bits of a float; the same for every NaN."""
    number: int = struct.unpack("<Q", struct.pack("<d", x))[0]
    return number if x == x else -1


def hexadecimal(numbers: tuple[float, ...]) -> str:
    """Floats to the last bit, for messages."""
    return ", ".join(x.hex() for x in numbers)


def anything(rng: Random) -> float:
    """Any float: of any bits, an edge, a whole number, one of moderate size."""
    kind = rng.randrange(5)
    if kind == 0:
        number: float = struct.unpack("<d", rng.randbytes(8))[0]
        return number
    if kind == 1:
        return rng.choice(EDGES)
    if kind == 2:
        return float(rng.randint(-20, 20)) * rng.choice((0.5, 1.0))
    if kind == 3:
        return math.ldexp(rng.uniform(-1.0, 1.0), rng.randint(-1080, 1024))
    return rng.uniform(-10.0, 10.0)


def operands_of(name: str) -> Iterator[tuple[float, ...]]:
    """Edges, draws where the function is difficult, and anything; the same at every run."""
    rng = Random(zlib.crc32(name.encode()))
    reference, operation = REFERENCES[name], OPERATIONS[name]
    yield from reference.edges
    for _ in range(DRAWS // 10 if name in SLOW else DRAWS):
        yield reference.inputs(rng)
    if name in SLOW:
        return
    for _ in range(DRAWS):
        count = rng.choice(SEVERAL) if operation.variadic else len(operation.local_grads)
        count = max(count, LEAST.get(name, 1))
        xs = tuple(anything(rng) for _ in range(count))
        if name == "gather":  # from the end, too, and not whole
            xs = (rng.uniform(1 - count, count - 1), *xs[1:])
        if name == "round":
            xs = (xs[0], rng.choice((xs[1], float(rng.randint(-330, 330)))))
        yield xs


def value(name: str, xs: tuple[float, ...]) -> float:
    """The engine's value."""
    if ENGINE is None or name not in ROWS:
        return float(OPERATIONS[name].value(*xs))
    found: float = ENGINE.value(name, *xs)
    return found


def local_gradient(name: str, position: int, y: float, xs: tuple[float, ...]) -> list[float]:
    """The engine's local gradient: as it is computed, and by the program."""
    if ENGINE is None:
        return [OPERATIONS[name].local_grad(position, y, xs)]
    functions = (ENGINE.local_gradient, ENGINE.local_gradient_by_program)
    return [function(name, position, y, *xs) for function in functions]


@pytest.fixture
def python_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions of floats for the operations in rules.py."""
    for attribute, operation in list(vars(rules).items()):
        if isinstance(operation, Operation):
            monkeypatch.setattr(rules, attribute, operation.value)


def reference_gradients(operation: Operation, y: float, xs: tuple[float, ...]) -> list[Any]:
    """The local gradients by Python; None where an operand must be a number."""
    if operation.variadic:
        grads: Callable[..., Any] | None = operation.local_grads[0]
        assert grads is not None
        return list(grads(y, *xs))
    return [None if grad is None else grad(y, *xs) for grad in operation.local_grads]


@every_operation
def test_values_have_the_same_bits(name: str) -> None:
    """What nodes get is what the Python function gives, and so is what a call gives."""
    operation = OPERATIONS[name]
    for xs in operands_of(name):
        expected = operation.value(*xs)
        for found in (value(name, xs), operation(*xs), operation.evaluate(xs)):
            assert bits(found) == bits(expected), (
                f"{name}({hexadecimal(xs)}) = {found.hex()}, in Python {expected.hex()}"
            )


@pytest.mark.parametrize(
    "name", [name for name, row in OPERATIONS.items() if formula(row) is not None]
)
def test_expressions_of_floats_have_the_same_bits(name: str) -> None:
    """What computes them without calls of operations, where there is no engine."""
    operation = OPERATIONS[name]
    value = formula(operation)
    assert value is not None
    function = function_of_floats(value, len(operation.local_grads))
    for xs in operands_of(name):
        assert bits(function(xs)) == bits(operation.value(*xs)), xs


@every_native
def test_local_gradients_have_the_same_bits(name: str, python_alone: None) -> None:
    """Local gradients are those of rules.py on floats."""
    operation = OPERATIONS[name]
    for xs in operands_of(name):
        y = operation.value(*xs)
        for i, expected in enumerate(reference_gradients(operation, y, xs)):
            if expected is None:
                continue
            for found in local_gradient(name, i, y, xs):
                assert bits(found) == bits(expected), (
                    f"gradient {i} of {name}({hexadecimal(xs)}) = {found.hex()},"
                    f" in Python {expected.hex()}"
                )


def test_rows_that_run_python() -> None:
    """All rows of the engine are native, but for those of mpmath."""
    if ENGINE is None:
        assert not any(operation.native or operation.code for operation in OPERATIONS.values())
    else:
        codes = [OPERATIONS[name].code for name in ROWS]
        assert sorted(codes) == list(range(1, len(codes) + 1))
        assert [name for name in ROWS if not OPERATIONS[name].native] == list(SLOW)


def test_first_codes() -> None:
    """The codes that the engine's header names."""
    if ENGINE is not None:
        first = "add subtract multiply divide power negative relu tanh exp log sqrt sin cos"
        assert [OPERATIONS[name].code for name in first.split()] == list(range(1, 14))


def test_users_operations_have_no_row() -> None:
    """Even under the name of one that has."""
    operation = Operation("exp", lambda x: 2.0 * x, [lambda y, x: 2.0])
    assert operation.code == 0
    assert not operation.native
    assert operation(3.0) == 6.0


@pytest.mark.parametrize(
    ("index", "error"),
    [(2.0, IndexError), (-3.0, IndexError), (math.nan, ValueError), (math.inf, OverflowError)],
)
def test_an_index_that_is_none(index: float, error: type[Exception]) -> None:
    """It is Python's error, whoever looks the table up."""
    for look_up in (lambda: value("gather", (index, 1.0, 2.0)), lambda: rules.gather(index, 1, 2)):
        with pytest.raises(error):
            look_up()


@pytest.mark.parametrize("x", [1, True, 1.0, -2])
def test_numbers_that_are_no_floats(x: float) -> None:
    """An int is taken for the float that it is equal to."""
    assert rules.tanh(x) == math.tanh(x)
    assert rules.atan2(x, 2) == math.atan2(x, 2)


@pytest.mark.parametrize("index", [-0.5, 0.0, -0.0, 0.5, -1.0])
def test_an_index_into_an_empty_table(index: float) -> None:
    """There is no element, at whichever index."""
    for look_up in (lambda: value("gather", (index,)), lambda: rules.gather(index)):
        with pytest.raises(IndexError):
            look_up()


def test_what_is_handed_over_is_checked() -> None:
    """Operands that must be numbers; classes of what is no node."""
    if ENGINE is None:
        return
    x, made = Node(2.0), cast(Any, OperationNode)
    for operation in (rules.ldexp, rules.round_half_even):
        assert made(operation, 1.0, x, None, 2.0).operands == (x, 2.0)
        with pytest.raises(TypeError):
            made(operation, 1.0, x, x, None)
        with pytest.raises(TypeError):
            made(operation, 1.0, None, x, 2.0)
    with pytest.raises(TypeError):
        ENGINE.set_context_hooks(condition=int)
    with pytest.raises(TypeError):
        ENGINE.set_whole(int)


def test_a_program_that_shrinks_while_it_is_read() -> None:
    """It is read as it was given."""
    if ENGINE is None:
        return

    class Two:
        """The number of operands."""

        def __index__(self) -> int:
            steps.clear()
            return 2

    steps: list[Any] = [0, 0, ("add", Two()), "no step"]
    with pytest.raises(ValueError, match="'no step'"):
        ENGINE.register(rules.stop_gradient, (steps,))
    assert steps == []


def test_elements_are_read_of_arrays_only() -> None:
    """The class that goes straight to NumPy's function, without an array."""
    if ENGINE is None:
        return
    ENGINE.set_array_type(np.ndarray)
    with pytest.raises(AttributeError):
        ENGINE.ElementReader()[0]
