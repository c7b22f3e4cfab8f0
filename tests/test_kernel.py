"""Machine code against the operations' own values: every operation, layout of memory and machine.

What is made of + - * / and square roots must come out bit for bit; other values within 4 units in
the last place of eager ones. A value must not depend on its lane, the number of lanes, the threads,
or whether it is computed as a single point.
"""

from __future__ import annotations

import itertools
import math
import os
import platform
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from references import REFERENCES

from chainrule.backends.llvm import machine as machine_module
from chainrule.backends.llvm.formulas import SWEEPS
from chainrule.backends.llvm.kernel import Kernel, Regular, Result, reduce_lanes
from chainrule.backends.llvm.machine import Machine, machine
from chainrule.backends.llvm.vector_math import called_back, path
from chainrule.program.form import (
    INPUT,
    Array,
    Compute,
    Guard,
    Index,
    Load,
    Operand,
    Program,
    Statement,
)
from chainrule.rules import OPERATIONS, Operation

Floats = NDArray[np.float64]

NAN = math.nan
INF = math.inf
EXACT = {name for name, row in OPERATIONS.items() if row.ulps <= 0.5 and name not in SWEEPS}
SPECIAL = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    2.0,
    -3.0,
    INF,
    -INF,
    NAN,
    5e-324,
    -1e-310,
    1e300,
    -745.5,
    710,
)


class Draft:
    """A program under construction, as a list of operations."""

    def __init__(self, n_inputs: int) -> None:
        self.operations: list[str] = []
        self.operands: list[tuple[int, ...]] = []
        self.constants: dict[int, float] = {}
        self.user: dict[str, Operation] = {}
        self.n_inputs = n_inputs
        self.outputs: list[int] = []
        self.guards: list[tuple[int, bool]] = []
        for number in range(n_inputs):
            self.add("input", number)

    def add(self, operation: str, *operands: int) -> int:
        """Append an operation."""
        self.operations.append(operation)
        self.operands.append(operands)
        return len(self.operations) - 1

    def constant(self, number: float) -> int:
        """Append a constant."""
        value = self.add("constant")
        self.constants[value] = number
        return value

    def values(self, point: Sequence[float]) -> list[float]:
        """All values at a point, computed eagerly."""
        values: list[float] = []
        for i, (name, operands) in enumerate(zip(self.operations, self.operands, strict=True)):
            if name == "input":
                values.append(point[operands[0]])
            elif name == "constant":
                values.append(float(self.constants[i]))
            else:
                operation = self.user.get(name) or OPERATIONS[name]
                values.append(operation.evaluate([values[a] for a in operands]))
        return values

    def program(self) -> Program:
        """The program, as it is: nothing is shared or folded."""
        inputs = Array(INPUT, self.n_inputs, "x")
        body: list[Statement] = []
        values: list[Operand] = []
        guards = list(enumerate(self.guards))
        for i, (name, operands) in enumerate(zip(self.operations, self.operands, strict=True)):
            if name == "constant":
                values.append(float(self.constants[i]))
            else:
                statement: Statement
                if name == "input":
                    statement = Load(inputs, Index(operands[0]))
                else:
                    operation = self.user.get(name) or OPERATIONS[name]
                    statement = Compute(operation, [values[a] for a in operands])
                body.append(statement)
                values.append(statement)
            while guards and guards[0][1][0] <= i:  # as soon as it and those before are known
                number, (value, outcome) = guards.pop(0)
                body.append(Guard(values[value], outcome, Index(number)))
        program = Program(inputs, body, [values[value] for value in self.outputs])
        program.guards = len(self.guards)
        return program


def compiled(
    draft: Draft, uniform: Sequence[bool], lanes: bool = True, reduce: Sequence[bool] = ()
) -> Kernel:
    """The kernel of a draft."""
    return Kernel(draft.program(), uniform, lanes, reduce)


def status_of(result: Any, lanes: int) -> Any:
    """The status of each lane: none has failed where there is none."""
    return np.zeros(lanes, dtype=int) if result.status is None else result.status


def run_rows(kernel: Kernel, points: Floats, threads: int = 1) -> tuple[Floats, Result]:
    """Outputs (lanes, outputs) for inputs (lanes, inputs)."""
    points = np.ascontiguousarray(points, dtype=np.float64)
    lanes, count = points.shape
    stored = [k for k, added in enumerate(kernel.reduce) if not added]
    out = np.full((lanes, len(stored)), 7.25)
    result = kernel.run(
        [(points.ctypes.data, count, 8, 8 * count)],
        [(out.ctypes.data, len(stored), 8, 8 * len(stored))],
        lanes,
        threads=threads,
    )
    return out, result


def call(kernel: Kernel, point: Sequence[float]) -> tuple[int, Floats]:
    """Status and outputs at a point."""
    given = np.array(point, dtype=np.float64)
    out = np.full(len(kernel.reduce), 7.25)
    return kernel.call(given.ctypes.data, out.ctypes.data), out


def same_bits(a: Floats, b: Floats) -> bool:
    """Whether two arrays are equal to the last bit; all NaNs are the same."""
    return bool(
        np.array_equal(np.isnan(a), np.isnan(b))
        and np.array_equal(np.where(np.isnan(a), 0.0, a), np.where(np.isnan(b), 0.0, b))
        and np.array_equal(np.signbit(a) & ~np.isnan(a), np.signbit(b) & ~np.isnan(b))
    )


def units(result: float, expected: float) -> float:
    """The difference in units in the last place; infinite between different special values."""
    if result != result or expected != expected:
        return 0.0 if result != result and expected != expected else INF
    if result == expected:
        return 0.0 if math.copysign(1.0, result) == math.copysign(1.0, expected) else INF
    if math.isinf(result) or math.isinf(expected):
        return INF
    return abs(result - expected) / math.ulp(max(abs(expected), 2.0**-1022))


MACHINES = {
    "host": ("", ""),
    "avx2": ("haswell", ""),
    "sse2": ("x86-64", ""),
    "no vector mathematics": ("", "none"),
    "narrow vector mathematics": ("", "sse"),
}


@pytest.fixture(params=MACHINES)
def any_machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """This machine, or a weaker one that it can simulate."""
    cpu, vector_math = MACHINES[request.param]
    if cpu and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("not an x86 machine")
    if cpu == "haswell" and machine().width < 4:
        pytest.skip("a machine without AVX2")
    monkeypatch.setenv("CHAINRULE_CPU", cpu)
    monkeypatch.setenv("CHAINRULE_VECTOR_MATH", vector_math)
    return str(request.param)


# Every operation


def operands_of(name: str, draws: int) -> dict[int, list[tuple[float, ...]]]:
    """Operands of an operation, by their number: edges, special numbers and random draws."""
    found: list[tuple[float, ...]] = []
    reference = REFERENCES.get(name)
    if reference is not None:
        rng = Random(zlib.crc32(name.encode()))
        found = [*reference.edges, *[reference.inputs(rng) for _ in range(draws)]]
        arity = len(found[0])
    else:
        arity = len(OPERATIONS[name].local_grads)
    if not OPERATIONS[name].variadic and OPERATIONS[name].native and arity <= 2:
        found += itertools.product(SPECIAL, repeat=arity)
    by_count: dict[int, list[tuple[float, ...]]] = {}
    for operands in found:
        by_count.setdefault(len(operands), []).append(operands)
    return by_count


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.usefixtures("any_machine")
def test_operation(name: str) -> None:
    """Within 4 units of the eager value, or equal to it; the same in a lane and by itself."""
    operation = OPERATIONS[name]
    if name == "gather":
        pytest.skip("has tests of its own")
    for count, points in operands_of(name, 200 if operation.native else 10).items():
        draft = Draft(count)
        draft.outputs = [draft.add(name, *range(count))]
        lanes = compiled(draft, [False] * count)
        single = compiled(draft, [], lanes=False)
        values, _ = run_rows(lanes, np.array(points, dtype=np.float64).reshape(len(points), count))
        for point, value in zip(points, values[:, 0], strict=True):
            expected = operation.evaluate(point)
            if name in EXACT:
                assert units(value, expected) == 0.0, point
            else:
                assert units(value, expected) <= 4.0, (point, value, expected)
            status, alone = call(single, point)
            assert status == 0
            assert same_bits(alone, np.array([value])), point


def test_round_to_decimals() -> None:
    """Also to a number of decimals that is not 0."""
    draft = Draft(1)
    digits = draft.constant(2.0)
    draft.outputs = [draft.add("round", 0, digits), draft.add("round", 0, draft.constant(0.0))]
    points = np.array([[2.675], [0.125], [-0.004], [2.5], [-0.5]])
    values, _ = run_rows(compiled(draft, [False]), points)
    assert values.tolist() == [[round(x, 2), round(x, 0)] for x in points[:, 0].tolist()]


# Random programs

BINARY = ("add", "subtract", "multiply", "divide", "maximum", "less", "azmul", "atan2", "power")
UNARY = ("negative", "exp", "sqrt", "sin", "relu", "absolute", "tanh", "stop_gradient", "floor")


@st.composite
def drafts(draw: st.DrawFn, exact: bool = False) -> Draft:
    """A random program of three inputs."""
    draft = Draft(3)
    for number in draw(st.lists(st.sampled_from(SPECIAL), max_size=2)):
        draft.constant(number)
    for _ in range(draw(st.integers(1, 40))):
        names = [n for n in (*BINARY, *UNARY, "where", "hypot") if not exact or n in EXACT]
        name = draw(st.sampled_from(names))
        arity = {"where": 3, "hypot": 3}.get(name, 2 if name in BINARY else 1)
        last = len(draft.operations) - 1
        recent = st.integers(max(0, last - 8), last) | st.integers(0, last)
        draft.add(name, *[draw(recent) for _ in range(arity)])
    last = len(draft.operations) - 1
    draft.outputs = draw(st.lists(st.integers(0, last), min_size=1, max_size=4))
    for value, name in enumerate(draft.operations):
        if name == "less" and draw(st.booleans()):
            draft.guards.append((value, draw(st.booleans())))
    return draft


def points_for(seed: int, lanes: int, inputs: int = 3) -> Floats:
    """Random points with some special numbers."""
    rng = Random(seed)
    numbers = [
        rng.choice(SPECIAL) if rng.random() < 0.2 else rng.gauss(0.0, 2.0)
        for _ in range(lanes * inputs)
    ]
    return np.array(numbers, dtype=np.float64).reshape(lanes, inputs)


@given(drafts(exact=True), st.integers(1, 20), st.integers(0, 10**9))
@settings(deadline=None, max_examples=150)
def test_exact_programs_are_bit_for_bit_eager(draft: Draft, lanes: int, seed: int) -> None:
    """Values and guards of programs without transcendental functions."""
    points = points_for(seed, lanes)
    values, result = run_rows(compiled(draft, [False] * 3), points)
    single = compiled(draft, [], lanes=False)
    for lane in range(lanes):
        eager = draft.values(points[lane].tolist())
        failed = [k for k, (v, held) in enumerate(draft.guards) if (eager[v] == 1.0) != held]
        status = 1 + failed[0] if failed else 0
        assert status_of(result, lanes)[lane] == status
        found, alone = call(single, points[lane].tolist())
        assert found == status
        if not failed:
            expected = np.array([eager[v] for v in draft.outputs])
            assert same_bits(values[lane], expected)
            assert same_bits(alone, expected)


@given(drafts(), st.lists(st.booleans(), min_size=3, max_size=3), st.integers(0, 10**9))
@settings(deadline=None, max_examples=100)
def test_a_value_depends_on_nothing_but_its_inputs(
    draft: Draft, uniform: list[bool], seed: int
) -> None:
    """Not on its lane, on the number of lanes, on what is uniform, on being computed alone."""
    points = points_for(seed, 19)
    points[:, uniform] = points[0, uniform]
    kernel = compiled(draft, [False] * 3)
    values, result = run_rows(kernel, points)
    single = compiled(draft, [], lanes=False)
    held = status_of(result, 19) == 0
    for lane in range(19):
        alone, _ = run_rows(kernel, points[lane : lane + 1])
        status, scalar = call(single, points[lane].tolist())
        assert (status == 0) == held[lane]
        if held[lane]:
            assert same_bits(alone[0], values[lane])
            assert same_bits(scalar, values[lane])
    columns = np.ascontiguousarray(points.T)
    out = np.empty((len(draft.outputs), 19))
    inputs = [(columns[k].ctypes.data, 1, 8, 0 if uniform[k] else 8) for k in range(3)]
    shared = compiled(draft, uniform).run(
        inputs, [(out.ctypes.data, len(draft.outputs), 19 * 8, 8)], 19
    )
    assert (status_of(shared, 19) == status_of(result, 19)).all()
    assert same_bits(out.T[held], values[held])


@pytest.mark.usefixtures("any_machine")
def test_a_long_program_is_cut_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that pass from piece to piece, with and without a prologue."""
    functions: list[int] = []

    def counting(self: Machine, text: str, *arguments: Any) -> bytes:
        functions.append(text.count("\ndefine"))
        return original(self, text, *arguments)

    original = Machine.compile
    monkeypatch.setattr(Machine, "compile", counting)
    rng = Random(5)
    draft = Draft(6)
    for _ in range(6000):
        last = len(draft.operations) - 1
        name = rng.choice(("add", "subtract", "multiply", "divide", "sqrt", "maximum", "azmul"))
        a = rng.randrange(max(0, last - 30), last + 1)
        b = rng.randrange(0, last + 1)
        draft.add(name, *((a,) if name == "sqrt" else (a, b)))
        if rng.random() < 0.02:
            draft.guards.append((draft.add("less", a, b), True))
    draft.outputs = [rng.randrange(6, len(draft.operations)) for _ in range(50)]
    points = points_for(1, 21, 6)
    for uniform in ([False] * 6, [True, True, True, True, True, False]):
        points[:, uniform] = points[0, uniform]
        functions.clear()
        kernel = compiled(draft, uniform)
        assert sum(functions) > 40
        out = np.empty((21, 50))
        result = kernel.run(
            [(points[:, k:].ctypes.data, 1, 8, 0 if uniform[k] else 48) for k in range(6)],
            [(out.ctypes.data, 50, 8, 400)],
            21,
        )
        single = compiled(draft, [], lanes=False)
        for lane in range(21):
            eager = draft.values(points[lane].tolist())
            failed = [k for k, (v, held) in enumerate(draft.guards) if (eager[v] == 1.0) != held]
            status, alone = call(single, points[lane].tolist())
            assert status_of(result, 21)[lane] == status == (1 + failed[0] if failed else 0)
            if not failed:
                expected = np.array([eager[v] for v in draft.outputs])
                assert same_bits(out[lane], expected)
                assert same_bits(alone, expected)


# Layouts of memory


def sums_and_differences(count: int) -> Draft:
    """count inputs; the outputs are the inputs in reverse, doubled."""
    draft = Draft(count)
    draft.outputs = [draft.add("add", k, k) for k in reversed(range(count))]
    return draft


@pytest.mark.parametrize("lanes", [1, 2, 7, 8, 9, 16, 23, 1030])
@pytest.mark.parametrize("count", [1, 3, 8, 19])
@pytest.mark.usefixtures("any_machine")
def test_layouts(lanes: int, count: int) -> None:
    """Inputs and outputs in all orders, all lanes or some."""
    kernel = compiled(sums_and_differences(count), [False] * count)
    points = np.arange(lanes * count, dtype=np.float64).reshape(lanes, count)
    expected = 2.0 * points[:, ::-1]
    wide = np.zeros((lanes, 2 * count))
    wide[:, ::2] = points
    layouts: list[tuple[Floats, Floats]] = [
        (points, np.zeros((lanes, count))),
        (np.asfortranarray(points), np.zeros((lanes, count), order="F")),
        (wide[:, ::2], np.zeros((lanes, 2 * count))[:, ::2]),
        (points[::-1].copy()[::-1], np.zeros((lanes, count))[::-1]),
        (points[:, ::-1].copy()[:, ::-1], np.zeros((lanes, count))[:, ::-1]),
        (np.repeat(points, 3, axis=0)[::3], np.zeros((3 * lanes, count))[::3]),
    ]
    for (given_in, _), (_, out) in itertools.product(layouts, layouts):
        out[:] = 0.0
        kernel.run([segment(given_in)], [segment(out)], lanes)
        assert np.array_equal(out, expected)
        out[:] = 0.0
        chosen = np.arange(lanes - 1, -1, -3)
        kernel.run([segment(given_in)], [segment(out)], 0, index=chosen)
        assert np.array_equal(out[chosen], expected[chosen])
        assert not np.delete(out, chosen, axis=0).any()


def segment(array: Floats) -> Regular:
    """The segment of an array (lanes, numbers)."""
    return array.ctypes.data, array.shape[1], array.strides[1], array.strides[0]


def test_several_segments() -> None:
    """Inputs and outputs from several arrays; inputs and constants as outputs."""
    draft = Draft(4)
    draft.outputs = [draft.add("subtract", 0, 1), draft.add("subtract", 2, 3), 1, 1]
    draft.outputs.append(draft.constant(2.5))
    a, b = np.arange(40.0).reshape(20, 2), np.arange(20.0) ** 2
    shared = np.array([3.0])
    x, y = np.empty((20, 3)), np.empty((2, 20))
    compiled(draft, [False, False, True, False]).run(
        [segment(a), (shared.ctypes.data, 1, 8, 0), (b.ctypes.data, 1, 8, 8)],
        [segment(x), segment(y.T)],
        20,
    )
    assert (x[:, 0] == a[:, 0] - a[:, 1]).all()
    assert (x[:, 1] == 3.0 - b).all()
    assert (x[:, 2] == a[:, 1]).all()
    assert (y[0] == a[:, 1]).all()
    assert (y[1] == 2.5).all()


def test_segments_must_cover_everything() -> None:
    """Too few are an error."""
    kernel = compiled(sums_and_differences(3), [False] * 3)
    a = np.zeros((4, 3))
    with pytest.raises(ValueError, match="2 of 3"):
        kernel.run([segment(a[:, :2])], [segment(a)], 4)
    with pytest.raises(ValueError, match="2 of 3"):
        kernel.run([segment(a)], [segment(a[:, :2])], 4)


def test_no_lanes() -> None:
    """No lanes at all."""
    draft = sums_and_differences(2)
    draft.guards = [(draft.add("less", 0, 1), True)]
    a = np.zeros((0, 2))
    result = compiled(draft, [False] * 2, reduce=[True, True]).run([segment(a)], [], 0)
    assert result.status is None
    assert result.sums is not None
    assert result.sums.tolist() == [0.0, 0.0]


# Sums over lanes


@pytest.mark.parametrize("lanes", [1, 8, 9, 1023, 1024, 1025, 5000])
@pytest.mark.usefixtures("any_machine")
def test_sums(lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same to the last bit with several threads and from stored values."""
    monkeypatch.setattr("chainrule.backends.llvm.kernel.WORTH_A_THREAD", 0)
    draft = Draft(2)
    draft.outputs = [draft.add("multiply", 0, 1), draft.add("exp", 0), draft.add("divide", 1, 0)]
    kernel = compiled(draft, [False] * 2, reduce=[True, False, True])
    points = np.random.default_rng(lanes).standard_normal((lanes, 2))
    _, one = run_rows(kernel, points)
    monkeypatch.setattr("chainrule.backends.llvm.kernel.SUMS_AT_ONCE", 33)  # of two chunks
    _, two = run_rows(kernel, points, threads=3)
    _, few = run_rows(kernel, points)
    every = np.empty((3, lanes))
    result = kernel.run([segment(points)], [segment(every.T)], lanes, materialize=True)
    assert result.sums is None
    sums = reduce_lanes(every)
    assert one.sums is not None
    assert two.sums is not None
    assert few.sums is not None
    assert same_bits(few.sums, sums[[0, 2]])
    assert same_bits(one.sums, sums[[0, 2]])
    assert same_bits(two.sums, sums[[0, 2]])
    exact = [math.fsum(row) for row in every]
    scale = np.abs(every).sum(axis=1)
    assert (np.abs(sums - exact) <= 1e-13 * scale).all()


def test_lanes_that_fill_a_block_are_not_added() -> None:
    """A sum over one lane is that lane."""
    draft = Draft(1)
    draft.outputs = [draft.add("divide", draft.constant(1.0), 0)]
    kernel = compiled(draft, [False], reduce=[True])
    _, result = run_rows(kernel, np.array([[4.0]]))
    assert result.sums is not None
    assert result.sums.tolist() == [0.25]


# Guards


@pytest.mark.usefixtures("any_machine")
def test_status_is_the_first_guard_that_fails() -> None:
    """In the order of the guards, not in that of their values."""
    draft = Draft(2)
    zero = draft.constant(0.0)
    late = draft.add("exp", draft.add("exp", 1))
    second = draft.add("less", zero, 1)
    first = draft.add("less", zero, draft.add("multiply", 0, late))
    draft.guards = [(first, True), (second, True), (draft.add("equal", 0, 1), False)]
    draft.outputs = [late]
    points = np.array([[a, b] for a in (-1.0, 1.0, NAN) for b in (-1.0, 1.0, NAN)])
    _, result = run_rows(compiled(draft, [False] * 2), points)
    assert result.status is not None
    assert result.status.tolist() == [1, 1, 1, 2, 3, 1, 1, 1, 1]
    single = compiled(draft, [], lanes=False)
    assert [call(single, point)[0] for point in points.tolist()] == result.status.tolist()


def test_guards_on_uniform_values() -> None:
    """A guard may depend on no lane."""
    draft = Draft(1)
    draft.guards = [(draft.add("less", draft.constant(0.0), 0), True)]
    draft.outputs = [draft.constant(1.0)]
    kernel = compiled(draft, [True])
    out = np.empty((3, 1))
    for number, status in ((1.0, 0), (-1.0, 1)):
        x = np.array([number])
        result = kernel.run([(x.ctypes.data, 1, 8, 0)], [segment(out)], 3)
        assert (result.status is None) == (status == 0)
        assert status_of(result, 3).tolist() == [status] * 3


# Messages


@pytest.mark.usefixtures("any_machine")
def test_messages() -> None:
    """What is not reached sends 0."""
    draft = Draft(3)
    sent = draft.add("message", 0, 1, 2)
    draft.outputs = [draft.add("add", sent, sent)]
    rows = [[0, 0.0, INF], [1, -0.0, 2.0], [0, 0.0, NAN], [1, 1.0, INF], [1, NAN, 0.0], [1, 0, INF]]
    rows += [[0, -INF, 0.0], [0, INF, -0.0], [0, NAN, 0.0]]  # where it decides about itself
    points = np.array(rows * 100)
    expected = np.array([[0.0], [-0.0], [0.0], [INF], [NAN], [NAN], [0.0], [0.0], [0.0]] * 100)
    for reduce in ([False], [True]):
        values, result = run_rows(compiled(draft, [False] * 3, reduce=reduce), points)
        if result.sums is not None:
            assert same_bits(result.sums, reduce_lanes(expected.T))
        else:
            assert same_bits(values, expected)
    single = compiled(draft, [], lanes=False)
    for point, value in zip(points[:9].tolist(), expected[:9], strict=True):
        assert same_bits(call(single, point)[1], value)


@pytest.mark.parametrize("consumer", ["where", "less", "power", "gather", "message"])
def test_messages_where_nan_would_not_be_seen(consumer: str) -> None:
    """Operations that may lose a NaN."""
    draft = Draft(3)
    sent = draft.add("message", 0, 1, 2)
    one = draft.constant(1.0)
    operands = {
        "where": (sent, one, 1),
        "less": (sent, one),
        "power": (one, sent),
        "gather": (sent, one, 1),
        "message": (sent, one, one),
    }[consumer]
    draft.outputs = [draft.add(consumer, *operands)]
    point = [0.0, 0.0, INF]
    expected = draft.values(point)[-1]
    values, _ = run_rows(compiled(draft, [False] * 3), np.array([point]))
    assert values.tolist() == [[expected]]
    assert call(compiled(draft, [], lanes=False), point)[1].tolist() == [expected]


def test_a_message_as_a_condition() -> None:
    """Of other messages."""
    draft = Draft(4)
    condition = draft.add("message", 0, 1, 2)
    sent = draft.add("message", condition, 1, 3)
    kept = draft.add("message", condition, 1, 2)
    draft.outputs = [sent, draft.add("less", kept, draft.constant(1.0))]
    point = [0.0, 0.0, INF, 5.0]
    values, _ = run_rows(compiled(draft, [False] * 4), np.array([point]))
    assert values.tolist() == [[0.0, 1.0]]
    assert call(compiled(draft, [], lanes=False), point)[1].tolist() == [0.0, 1.0]


def test_a_message_before_a_guard() -> None:
    """A guard that would go wrong with NaN."""
    draft = Draft(3)
    sent = draft.add("message", 0, 1, 2)
    draft.outputs = [sent]
    draft.guards = [(draft.add("less", sent, draft.constant(1.0)), True)]
    points = np.array([[0.0, 0.0, INF], [1.0, 2.0, 1.0]])
    values, result = run_rows(compiled(draft, [False] * 3), points)
    assert result.status is not None
    assert result.status.tolist() == [0, 1]
    assert values[0].tolist() == [0.0]
    status, alone = call(compiled(draft, [], lanes=False), [0.0, 0.0, INF])
    assert (status, alone.tolist()) == (0, [0.0])


def test_messages_of_uniform_values() -> None:
    """In the part that is computed once."""
    draft = Draft(4)
    draft.outputs = [draft.add("add", draft.add("message", 0, 1, 2), 3)]
    kernel = compiled(draft, [True, True, True, False])
    shared, x = np.array([0.0, 0.0, INF]), np.arange(20.0)
    out = np.empty((20, 1))
    for _ in range(2):
        kernel.run([(shared.ctypes.data, 3, 8, 0), (x.ctypes.data, 1, 8, 8)], [segment(out)], 20)
        assert np.array_equal(out[:, 0], x)


# Tables


@pytest.mark.usefixtures("any_machine")
def test_gather() -> None:
    """Tables of inputs, values, and both."""
    draft = Draft(5)
    squares = [draft.add("multiply", k, k) for k in range(1, 5)]
    draft.outputs = [
        draft.add("gather", 0, 1, 2, 3, 4),
        draft.add("gather", 0, *squares),
        draft.add("gather", 0, 4, 2, 2, draft.constant(9.0)),
        draft.add("gather", 0, 1, 3, 1, 3),
        draft.add("gather", 0, 4, 3, 2, 1),  # evenly spaced, but the other way round
        draft.add("gather", 0, 2, 2, 2, 2),
    ]
    points = np.random.default_rng(3).standard_normal((40, 5))
    points[:, 0] = np.arange(40) % 4
    for uniform in ([False] * 5, [False, True, True, True, True]):
        out = np.empty((40, 6))
        if uniform[1]:
            points[:, 1:] = points[0, 1:]
        inputs = [
            (points.ctypes.data, 1, 8, 40),
            (points[:, 1:].ctypes.data, 4, 8, 0 if uniform[1] else 40),
        ]
        compiled(draft, uniform).run(inputs, [segment(out)], 40)
        for point, values in zip(points.tolist(), out, strict=True):
            eager = draft.values(point)
            assert values.tolist() == [eager[v] for v in draft.outputs]


def test_columns_of_a_table() -> None:
    """They are read where they are, not copied for each block."""
    draft = Draft(13)
    draft.outputs = [draft.add("gather", 0, *range(1 + k, 13, 3)) for k in range(3)]
    points = np.random.default_rng(3).standard_normal((20, 13))
    points[:, 0] = np.arange(20) % 4
    values, _ = run_rows(compiled(draft, [False] * 13), points)
    rows = np.arange(20), points[:, 0].astype(int)
    assert np.array_equal(values, points[:, 1:].reshape(20, 4, 3)[rows])
    single = compiled(draft, [], lanes=False)
    for point, row in zip(points, values, strict=True):
        assert np.array_equal(call(single, point)[1], row)


def test_an_index_outside_does_no_harm() -> None:
    """Whatever the index is, no memory outside the table is read."""
    draft = Draft(4)
    draft.outputs = [draft.add("gather", 0, 1, 2, 3)]
    wild = [-1.0, 3.0, NAN, INF, -INF, 1e300, 2.0**63, -5e-324, 2.0]
    points = np.array([[x, 1.0, 2.0, 4.0] for x in wild])
    values, _ = run_rows(compiled(draft, [False] * 4), points)
    assert values[-1] == 4.0
    single = compiled(draft, [], lanes=False)
    assert [call(single, p)[1][0] for p in points.tolist()][-1] == 4.0


# Operations in Python


def doubled(x: float) -> float:
    """A user's operation."""
    if x > 10.0:
        raise ZeroDivisionError(f"too large: {x}")
    return 2 * x


def with_user_operation(guarded: bool) -> Draft:
    """2 x + 1, where 2 x is a user's operation, guarded by x < 10 or not."""
    draft = Draft(1)
    draft.user["doubled"] = Operation("doubled", doubled, [lambda y, x: 2.0])
    if guarded:
        draft.guards = [(draft.add("less", 0, draft.constant(10.0)), True)]
    draft.outputs = [draft.add("add", draft.add("doubled", 0), draft.constant(1.0))]
    return draft


@pytest.mark.usefixtures("any_machine")
def test_user_operation() -> None:
    """Values, and exceptions."""
    kernel = compiled(with_user_operation(False), [False])
    values, _ = run_rows(kernel, np.arange(10.0).reshape(10, 1))
    assert values[:, 0].tolist() == [2 * x + 1 for x in range(10)]
    with pytest.raises(ZeroDivisionError, match="too large: 11"):
        run_rows(kernel, np.arange(20.0).reshape(20, 1))
    values, _ = run_rows(kernel, np.arange(10.0).reshape(10, 1))
    assert values[:, 0].tolist() == [2 * x + 1 for x in range(10)]
    single = compiled(with_user_operation(False), [], lanes=False)
    status, alone = call(single, [3.0])
    assert (status, alone.tolist()) == (0, [7.0])
    with pytest.raises(ZeroDivisionError, match="too large: 12"):
        call(single, [12.0])


def test_errors_where_guards_fail_do_not_count() -> None:
    """The lane does not belong to this trace."""
    values, result = run_rows(
        compiled(with_user_operation(True), [False]), np.array([[1.0], [20.0], [2.0]])
    )
    assert result.status is not None
    assert result.status.tolist() == [0, 1, 0]
    assert values[[0, 2], 0].tolist() == [3.0, 5.0]
    assert call(compiled(with_user_operation(True), [], lanes=False), [20.0])[0] == 1


def test_a_uniform_user_operation_is_called_once() -> None:
    """Not for each lane."""
    calls = []

    def counted(x: float) -> float:
        calls.append(x)
        return x

    draft = Draft(1)
    draft.user["counted"] = Operation("counted", counted, [lambda y, x: 1.0])
    draft.outputs = [draft.add("counted", 0)]
    x, out = np.array([5.0]), np.empty((30, 1))
    compiled(draft, [True]).run([(x.ctypes.data, 1, 8, 0)], [segment(out)], 30)
    assert (out == 5.0).all()
    assert set(calls) == {5.0}
    assert len(calls) <= 4  # once a register of the block


def test_errors_in_uniform_user_operations() -> None:
    """Exceptions in the part that is computed once."""
    draft = with_user_operation(False)
    x, out = np.array([50.0]), np.empty((9, 1))
    with pytest.raises(ZeroDivisionError):
        compiled(draft, [True]).run([(x.ctypes.data, 1, 8, 0)], [segment(out)], 9)


def test_errors_of_kernels_in_callbacks() -> None:
    """A callback that runs a kernel with callbacks keeps its own errors."""
    inner = compiled(with_user_operation(False), [], lanes=False)

    def twice(x: float) -> float:
        if x == 0.0:
            raise KeyError("outer")
        return float(call(inner, [x])[1][0])

    draft = Draft(1)
    draft.user["twice"] = Operation("twice", twice, [lambda y, x: 2.0])
    draft.outputs = [draft.add("twice", 0)]
    kernel = compiled(draft, [False])
    values, _ = run_rows(kernel, np.array([[1.0], [2.0]]))
    assert values[:, 0].tolist() == [3.0, 5.0]
    with pytest.raises(KeyError, match="outer"):
        run_rows(kernel, np.array([[0.0], [2.0], [50.0]]))
    with pytest.raises(ZeroDivisionError, match="50"):
        run_rows(kernel, np.array([[1.0], [50.0], [0.0]]))


def test_the_user_interrupts_a_callback() -> None:
    """Even where the guards fail."""

    def interrupted(x: float) -> float:
        raise KeyboardInterrupt

    draft = Draft(1)
    draft.user["interrupted"] = Operation("interrupted", interrupted, [lambda y, x: 1.0])
    draft.guards = [(draft.add("less", 0, draft.constant(0.0)), True)]
    draft.outputs = [draft.add("interrupted", 0)]
    with pytest.raises(KeyboardInterrupt):
        run_rows(compiled(draft, [False]), np.array([[1.0], [-1.0]]))


# Threads


def test_threads_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and status."""
    monkeypatch.setattr("chainrule.backends.llvm.kernel.WORTH_A_THREAD", 0)
    draft = Draft(2)
    draft.user["doubled"] = Operation("doubled", lambda x: 2 * x, [lambda y, x: 2.0])
    draft.outputs = [draft.add("sin", draft.add("multiply", 0, 1)), draft.add("doubled", 1)]
    draft.guards = [(draft.add("less", 0, 1), True)]
    kernel = compiled(draft, [False] * 2)
    points = np.random.default_rng(0).standard_normal((3001, 2))
    one, first = run_rows(kernel, points)
    many, second = run_rows(kernel, points, threads=4)
    assert first.status is not None
    assert second.status is not None
    assert (first.status == second.status).all()
    held = first.status == 0
    assert same_bits(one[held], many[held])


def test_errors_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exception of the first lane is raised."""
    monkeypatch.setattr("chainrule.backends.llvm.kernel.WORTH_A_THREAD", 0)
    kernel = compiled(with_user_operation(False), [False])
    points = np.zeros((3000, 1))
    points[[1000, 2900], 0] = [11.0, 12.0]
    with pytest.raises(ZeroDivisionError, match="11"):
        run_rows(kernel, points, threads=4)


def test_a_long_program_is_compiled_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling in another thread gives the same code."""
    draft = Draft(1)
    x = 0
    for k in range(9000):
        x = draft.add("add" if k % 3 else "sin", *([x, 0] if k % 3 else [x]))
    draft.outputs = [x]
    points = np.array([[0.3], [0.4]])
    values, _ = run_rows(compiled(draft, [False]), points)
    monkeypatch.setattr("chainrule.backends.llvm.objects.LONG", 0)
    again, _ = run_rows(compiled(draft, [False]), points)
    assert same_bits(values, again)


FORK = """
import os
import numpy as np
from test_kernel import Draft, compiled, run_rows
import chainrule.backends.llvm.kernel as module

module.WORTH_A_THREAD = 0
draft = Draft(1)
draft.outputs = [draft.add("exp", 0)]
kernel = compiled(draft, [False])
points = np.zeros((5000, 1))
run_rows(kernel, points, threads=2)
child = os.fork()
values, _ = run_rows(kernel, points, threads=2)
assert (values == 1.0).all()
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_threads_in_a_forked_process() -> None:
    """The child has threads of its own."""
    import chainrule

    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(chainrule.__file__).parents[1])])
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK],
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": paths},
    )


# Machines


def test_every_operation_has_a_path() -> None:
    """The table says how each is computed."""
    weak = machine()._replace(variant="")
    for name in OPERATIONS:
        assert path(name, machine()) in {"instruction", "formula", "libmvec", "libm", "memory"} or (
            path(name, machine()) == "Python" and called_back(OPERATIONS[name])
        )
        assert path(name, weak) != "libmvec"
    assert path("add", weak) == "instruction"
    assert path("exp", weak) == "libm"


def test_wrong_vector_mathematics(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not exist."""
    monkeypatch.setenv("CHAINRULE_VECTOR_MATH", "sse9")
    with pytest.raises(ValueError, match="sse9"):
        machine()


def test_without_libmvec(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mathematics lane by lane."""

    def no_library(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", no_library)
    machine_module.libmvec.cache_clear()
    machine_module._machine.cache_clear()
    try:
        assert machine().variant == ""
        draft = Draft(1)
        draft.outputs = [draft.add("exp", 0)]
        values, _ = run_rows(compiled(draft, [False]), np.array([[1.0]]))
        assert units(values[0, 0], math.e) <= 1.0
    finally:
        machine_module.libmvec.cache_clear()
        machine_module._machine.cache_clear()
