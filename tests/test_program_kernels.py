"""Machine code of programs with loops, against the reference interpreter."""

from __future__ import annotations

import marshal
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from random_forms import (
    PICKS,
    PLAIN_NUMBERS,
    ROUGH,
    SMOOTH,
    SPECIAL_NUMBERS,
    bits,
    random_inputs,
    random_program,
)

from chainrule import rules
from chainrule.annotations import Annotation
from chainrule.backends.llvm import pool
from chainrule.backends.llvm.addresses import address_of
from chainrule.backends.llvm.kernel import Kernel, Result, reduce_lanes
from chainrule.backends.llvm.lowering import _stored_as_outputs
from chainrule.backends.llvm.machine import machine
from chainrule.backends.llvm.objects import canonical
from chainrule.program.builder import Builder
from chainrule.program.form import (
    CONSTANT,
    SUMS,
    VALUES,
    WRITES,
    Array,
    Compute,
    Index,
    Load,
    Operand,
    Program,
    Slice,
    Statement,
    Table,
    statements,
)
from chainrule.program.interpreter import interpret
from chainrule.program.verifier import verify
from chainrule.rules import Operation

Floats = NDArray[np.float64]

EXACT = (
    *(rules.add, rules.subtract, rules.multiply, rules.add, rules.multiply, rules.divide),
    *(rules.negative, rules.sqrt, rules.relu, rules.absolute, rules.maximum, rules.minimum),
    *(rules.where, rules.less, rules.equal, rules.gather, rules.azmul),
)
"""Operations that are as eager ones to the last bit, whatever they are given."""

MACHINES = {
    "host": ("", ""),
    "avx2": ("haswell", ""),
    "sse2": ("x86-64", "none"),
}


def exact_program(seed: int) -> Program:
    """A random program of exact operations."""
    program = random_program(seed, EXACT, (*PLAIN_NUMBERS, *SPECIAL_NUMBERS), guards=True)
    # what keeps values bounded is not exact
    for statement in statements(program.body):
        if isinstance(statement, Compute) and statement.operation in (rules.tanh, rules.sin):
            statement.operation = rules.relu
    return program


def points_for(program: Program, seed: int, lanes: int) -> Floats:
    """Inputs for some lanes."""
    rows = [random_inputs(seed + lane, program, lane % 3 == 0) for lane in range(lanes)]
    return np.array(rows, dtype=np.float64).reshape(lanes, program.inputs.size)


def run(
    kernel: Kernel,
    points: Floats,
    uniform: Sequence[bool] = (),
    index: Sequence[int] | None = None,
    threads: int = 1,
    materialize: bool = False,
) -> tuple[Floats, Result]:
    """Outputs (lanes, outputs) for inputs (lanes, inputs)."""
    lanes, count = points.shape
    stored = len(kernel.reduce) if materialize else kernel.reduce.count(False)
    out = np.full((lanes, stored), 7.25)
    segments = [(points.ctypes.data, count, 8, 8 * count)]
    if any(uniform):
        segments = [
            (points[:, k:].ctypes.data, 1, 8, 0 if same else 8 * count)
            for k, same in enumerate(uniform)
        ]
    result = kernel.run(
        segments,
        [(out.ctypes.data, stored, 8, 8 * stored)],
        lanes,
        None if index is None else np.array(index, dtype=np.int64),
        threads,
        materialize,
    )
    return out, result


def call(kernel: Kernel, point: Floats) -> tuple[int, Floats]:
    """Status and outputs at a point."""
    given = np.ascontiguousarray(point)
    count = len(kernel.reduce)
    around = np.full(count + 32, 7.25)
    out = around[16 : 16 + count]
    status = kernel.call(given.ctypes.data, out.ctypes.data)
    assert (around[:16] == 7.25).all()
    assert (around[16 + count :] == 7.25).all()
    return status, out


def expected_of(program: Program, points: Floats) -> list[tuple[int, list[str]]]:
    """Status and outputs of each lane, by the interpreter."""
    found = []
    for point in points.tolist():
        outputs, failed = interpret(program, point)
        found.append((0 if failed is None else failed + 1, bits(outputs)))
    return found


def status_of(result: Result, lane: int) -> int:
    """The status of a lane."""
    return 0 if result.status is None else int(result.status[lane])


@pytest.fixture(params=MACHINES)
def any_machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine, or a weaker one that it can simulate."""
    cpu, vector_math = MACHINES[request.param]
    if cpu and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("not an x86 machine")
    if cpu == "haswell" and machine().width < 4:
        pytest.skip("a machine without AVX2")
    monkeypatch.setenv("CHAINRULE_CPU", cpu)
    monkeypatch.setenv("CHAINRULE_VECTOR_MATH", vector_math)


def check(program: Program, seed: int) -> None:
    """Compare all ways to run a program with the interpreter, to the last bit."""
    verify(program)
    rng = Random(seed)
    points = points_for(program, seed, 11)
    uniform = [rng.random() < 0.5 for _ in range(program.inputs.size)]
    points[:, uniform] = points[0, uniform]
    expected = expected_of(program, points)
    single = Kernel(program, [], lanes=False)
    for point, (status, outputs) in zip(points, expected, strict=True):
        found, values = call(single, point)
        assert found == status
        if not status:
            assert bits(values.tolist()) == outputs
    for same in ([False] * len(uniform), uniform):
        kernel = Kernel(program, same)
        values, result = run(kernel, points, same)
        chosen = rng.sample(range(11), rng.randint(1, 11))
        some, of_some = run(kernel, points, same, chosen)
        for lane, (status, outputs) in enumerate(expected):
            assert status_of(result, lane) == status
            if not status:
                assert bits(values[lane].tolist()) == outputs
        for place, lane in enumerate(chosen):
            assert status_of(of_some, place) == expected[lane][0]
            if not expected[lane][0]:
                assert bits(some[lane].tolist()) == expected[lane][1]
    check_sums(program, points, uniform, rng)


def check_sums(program: Program, points: Floats, uniform: list[bool], rng: Random) -> None:
    """Sums over the lanes are those of the stored outputs."""
    count = sum([x.size if isinstance(x, Slice) else 1 for x in program.outputs])
    reduce = [rng.random() < 0.5 for _ in range(count)]
    kernel = Kernel(program, uniform, reduce=reduce)
    some, result = run(kernel, points, uniform)
    every, _ = run(kernel, points, uniform, materialize=True)
    if result.status is not None and result.status.any():
        return
    sums = reduce_lanes(np.ascontiguousarray(every[:, reduce].T))
    if result.sums is not None:
        assert bits(result.sums.tolist()) == bits(sums.tolist())
    stored = every[:, [not added for added in reduce]]
    assert [bits(row) for row in some.tolist()] == [bits(row) for row in stored.tolist()]


@pytest.mark.parametrize("seed", range(60))
def test_programs(seed: int) -> None:
    """Random programs, in all ways."""
    check(exact_program(seed), seed)


@pytest.mark.parametrize("optimized", [0, 10**9])
@pytest.mark.parametrize("seed", range(72, 92))
def test_programs_cut_into_pieces(
    seed: int, optimized: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if all loops were long: values pass from function to function."""
    limits = {"PIECE_COST": 9, "WHOLE_LOOP": 25, "BESIDE_LOOP": 4, "OPTIMIZED": optimized}
    for name, limit in limits.items():
        monkeypatch.setattr(f"chainrule.backends.llvm.pieces.{name}", limit)
    check(exact_program(seed), seed)


def with_whole_arrays(program: Program, rng: Random) -> Program:
    """Let arrays be outputs as a whole, some of them twice, or once more in part."""
    outputs = list(program.outputs)
    arrays = {x.array for x in statements(program.body) if isinstance(x, WRITES)}
    written = {x.array for x in outputs if isinstance(x, Slice)}
    for array in sorted([x for x in arrays if x.kind == SUMS], key=lambda x: x.size):
        if array not in written or rng.random() < 0.2:
            outputs.insert(rng.randint(0, len(outputs)), Slice(array, 0, array.size))
    return Program(program.inputs, program.body, outputs, program.guards)


@pytest.mark.usefixtures("any_machine")
@pytest.mark.parametrize("seed", range(92, 152))
def test_whole_arrays_as_outputs(seed: int) -> None:
    """They may lie where the caller wants the outputs."""
    rng = Random(seed)
    check(with_whole_arrays(exact_program(seed), rng), seed)


def test_whole_arrays_lie_among_the_outputs() -> None:
    """The test above would pass without; not those that a value without a load is read from."""
    sizes: list[set[int]] = [set(), set()]
    for seed in range(92, 152):
        program = with_whole_arrays(exact_program(seed), Random(seed))
        found = _stored_as_outputs(program)
        for x in program.outputs:
            if isinstance(x, Slice) and x.array.kind == SUMS:
                sizes[x.array in found].add(x.size)
    assert all(len(x) > 3 for x in sizes), sizes


@pytest.mark.usefixtures("any_machine")
@pytest.mark.parametrize("seed", range(60, 72))
def test_programs_on_machines(seed: int) -> None:
    """Random programs on other machines."""
    check(exact_program(seed), seed)


@pytest.mark.usefixtures("any_machine")
@pytest.mark.parametrize("seed", range(100, 115))
def test_a_value_depends_on_nothing_but_its_inputs(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on its lane, on being computed alone, nor on how the program is cut."""
    program = random_program(seed, (*SMOOTH, *PICKS, *ROUGH), guards=True)
    points = points_for(program, seed, 19)
    lanes = Kernel(program, [False] * program.inputs.size)
    single = Kernel(program, [], lanes=False)
    monkeypatch.setattr("chainrule.backends.llvm.pieces.OPTIMIZED", 0)
    monkeypatch.setattr("chainrule.backends.llvm.pieces.WHOLE_LOOP", 30)
    cut = Kernel(program, [False] * program.inputs.size)
    values, result = run(lanes, points)
    others, of_others = run(cut, points, threads=2)
    for lane, point in enumerate(points):
        status, alone = call(single, point)
        assert status == status_of(result, lane) == status_of(of_others, lane)
        if not status:
            assert bits(alone.tolist()) == bits(values[lane].tolist())
            assert bits(alone.tolist()) == bits(others[lane].tolist())


@pytest.mark.usefixtures("any_machine")
def test_a_map_in_a_single_point() -> None:
    """LLVM may compute several iterations at a time: to the last bit as one by one."""
    count = 37
    builder = Builder(count)
    found = Array(VALUES, count, "y")
    total = Array(SUMS, 1, "total")
    with builder.loop(count) as loop:
        at = Index(0, ((loop, 1),))
        x = builder.load(builder.inputs, at)
        y: Operand = x
        for operation in (rules.sin, rules.exp, rules.tanh, rules.sigmoid, rules.erf, rules.log1p):
            y = builder.compute(rules.add, (builder.compute(operation, (y,)), x))
        y = builder.compute(rules.power, (builder.compute(rules.absolute, (y,)), x))
        builder.store(found, at, y)
        builder.add(total, Index(), builder.compute(rules.sin, (x,)))
    program = builder.finish([Slice(found, 0, count), builder.load(total, Index())])
    numbers = np.random.default_rng(0).normal(size=(1, count))
    numbers[0, :4] = 0.0, np.inf, np.nan, -np.inf
    status, alone = call(Kernel(program, [], lanes=False), numbers[0])
    assert status == 0
    lanes, _ = run(Kernel(program, [False] * count), numbers)
    assert bits(alone.tolist()) == bits(lanes[0].tolist())
    one = Builder(1)
    single = Kernel(one.finish([as_values(program, one)]), [], lanes=False)
    each = [float(call(single, x)[1][0]) for x in numbers.T]
    assert bits(each) == bits(alone[:-1].tolist())


def as_values(program: Program, builder: Builder) -> Operand:
    """The operations of a program up to a power, on one input."""
    values: dict[object, Operand] = {}
    for x in statements(program.body):
        if isinstance(x, Load):
            values[x] = builder.input(0)
        elif isinstance(x, Compute):
            operands = [values[y] if isinstance(y, Statement) else y for y in x.operands]
            values[x] = builder.compute(x.operation, operands)
            if x.operation is rules.power:
                return values[x]
    raise AssertionError("no power")


def flag_program(seed: int) -> Program:
    """Loops that hand on what is 0 or 1: always, at first only, or nearly, as -0.0."""
    rng = Random(seed)
    builder = Builder(4)
    inputs = [builder.input(k) for k in range(4)]
    operations = (
        *(rules.less, rules.equal, rules.where, rules.where),
        *(rules.maximum, rules.minimum, rules.multiply),
    )
    firsts = [0.0, 1.0, builder.compute(rules.less, inputs[:2])]
    others = [-0.0, 0.5, float("nan"), inputs[2]]
    rare = rng.choice([0.0, 0.05, 0.3])

    def chosen(values: Sequence[Operand]) -> Operand:
        return rng.choice(others if rng.random() < rare else values)

    count, rows, size = rng.randint(2, 4), rng.randint(1, 3), rng.randint(2, 6)
    arrays = [Array(VALUES, rows * size, f"y{k}") for k in range(count)]
    with builder.loop(rows) as outer:
        row = Index(0, ((outer, size),))
        for array in arrays:
            builder.store(array, row, chosen(firsts))
        with builder.loop(size - 1) as inner:
            at = Index(0, ((outer, size), (inner, 1)))
            values = [builder.load(array, at) for array in arrays]
            for _ in range(rng.randint(1, 6)):
                operation = rng.choice(operations)
                compared = operation in rules.COMPARISONS
                given = inputs if compared else values
                operands = [chosen(given) for _ in range(2 + (operation is rules.where))]
                values.append(builder.compute(operation, operands))
            for array in arrays:
                builder.store(array, at.plus(1), chosen(values))
    return builder.finish([Slice(array, 0, array.size) for array in arrays])


@pytest.mark.usefixtures("any_machine")
@pytest.mark.parametrize("seed", range(40))
def test_flags(seed: int) -> None:
    """What loops hand on as truth values, and what they must not."""
    check(flag_program(seed), seed)


@pytest.mark.parametrize("seed", range(120, 160))
def test_smooth_programs(seed: int) -> None:
    """About what eager code gives."""
    program = random_program(seed, SMOOTH)
    points = points_for(program, seed, 3)[1:]
    single = Kernel(program, [], lanes=False)
    for point in points:
        expected, _ = interpret(program, point.tolist())
        np.testing.assert_allclose(call(single, point)[1], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("any_machine")
@pytest.mark.parametrize("lanes", [1, 8, 13, 1030])
def test_sums_of_arrays(lanes: int) -> None:
    """Arrays whose elements are added up over the lanes, read by others or not, uniform or not."""
    builder = Builder(3)
    arrays = [Array(VALUES, 4, name) for name in "abc"]
    with builder.loop(4) as loop:
        at, k = Index(0, ((loop, 1),)), builder.load(builder.inputs, Index(0))
        x = builder.load(builder.inputs, Index(1))
        for array, operands in zip(arrays[:2], ((x, k), (x, x)), strict=True):
            y = builder.compute(rules.multiply, operands)
            builder.store(array, at, builder.compute(rules.add, (y, builder.load(TABLE, at))))
    with builder.loop(4) as loop:  # runs once for all lanes
        at, k = Index(0, ((loop, 1),)), builder.load(builder.inputs, Index(0))
        builder.store(arrays[2], at, builder.compute(rules.add, (k, builder.load(TABLE, at))))
    read = builder.load(arrays[1], Index(2))
    outputs = [Slice(arrays[0], 0, 4), Slice(arrays[1], 0, 4), Slice(arrays[2], 0, 4)]
    program = builder.finish([*outputs, read, Slice(arrays[0], 0, 4), Slice(arrays[0], 1, 2)])
    program = builder.finish([*outputs, read]) if lanes % 2 else program
    points = np.random.default_rng(lanes).normal(size=(lanes, 3))
    points[:, 0] = points[0, 0]
    uniform = [True, False, False]
    count = sum([x.size if isinstance(x, Slice) else 1 for x in program.outputs])
    kernel = Kernel(program, uniform, reduce=[True] * count)
    for _ in range(2):
        _, result = run(kernel, points, uniform)
        every, _ = run(kernel, points, uniform, materialize=True)
        expected = reduce_lanes(np.ascontiguousarray(every.T))
        assert result.sums is not None
        assert bits(result.sums.tolist()) == bits(expected.tolist())


TABLE = Array(CONSTANT, 4, "table", np.array([0.1, -0.2, 0.3, 5.0]))


def test_more_memory_than_there_is() -> None:
    """An error before the machine runs out of it, that says how much and what for."""
    builder = Builder(1)
    builder.note = Annotation(None, (), "model.py:7")
    size = 10**11
    kept = Array(VALUES, size, "kept")
    with builder.loop(size) as loop:
        at = Index(0, ((loop, 1),))
        builder.store(kept, at, builder.compute(rules.exp, (builder.input(0),)))
    total = Array(SUMS, 1, "total")
    with builder.loop(size) as loop:
        builder.add(total, Index(), builder.load(kept, Index(size - 1, ((loop, -1),))))
    program = builder.finish([builder.load(total, Index())])
    message = r"needs 800 GB of memory, .* 100,000,000,000 values that a loop keeps \(model.py:7\)"
    with pytest.raises(MemoryError, match=message):
        call(Kernel(program, [], lanes=False), np.zeros(1))
    with pytest.raises(MemoryError, match=r"needs 6.4 TB of memory"):
        run(Kernel(program, [False]), np.zeros((3, 1)), threads=2)


@pytest.mark.parametrize("lanes", [True, False])
def test_large_workspaces_are_used_again(lanes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the next call, of other code as well; what is in them then has no effect."""
    kept = pool._Pool()
    monkeypatch.setattr(pool, "_POOL", kept)
    monkeypatch.setattr("chainrule.backends.llvm.loaded.LARGE", 1)
    held: list[int] = []
    for seed in range(4):
        program = exact_program(seed)
        points = points_for(program, seed, 20)
        kernel = Kernel(program, [False] * program.inputs.size, lanes=lanes)
        expected = expected_of(program, points)
        for _ in range(2):
            if lanes:
                out, result = run(kernel, points)
                found = [(status_of(result, k), bits(x)) for k, x in enumerate(out.tolist())]
            else:
                found = [(s, bits(x.tolist())) for s, x in (call(kernel, x) for x in points)]
            for got, (status, numbers) in zip(found, expected, strict=True):
                assert got[0] == status
                assert status or got[1] == numbers
            ((memory,),) = kept._kept.values()
            held.append(address_of(memory))
    assert len(set(held)) == 1


def test_large_workspaces_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer threads run, once what is kept has been given back."""
    program = exact_program(3)
    points = points_for(program, 3, 3000)
    kernel = Kernel(program, [False] * program.inputs.size)
    expected, _ = run(kernel, points)
    assert len(kernel._loaded._pool) == 1
    monkeypatch.setattr("chainrule.backends.llvm.kernel.WORTH_A_THREAD", 0)
    monkeypatch.setattr("chainrule.backends.llvm.loaded.LARGE", 1)
    size = kernel._loaded.code.size
    monkeypatch.setattr("chainrule.backends.llvm.loaded.available_memory", lambda: size + 1)
    kernel._loaded._pool.clear()
    found, _ = run(kernel, points, threads=3)
    assert not kernel._loaded._pool
    assert [bits(row) for row in found.tolist()] == [bits(row) for row in expected.tolist()]
    monkeypatch.setattr("chainrule.backends.llvm.loaded.available_memory", lambda: size - 1)
    with pytest.raises(MemoryError):
        run(kernel, points)


KEYS = """
import sys
from chainrule.backends.llvm.objects import canonical
from random_forms import random_program
import hashlib, marshal
for seed in range(20):
    written = marshal.dumps(canonical(random_program(seed, guards=True)), 2)
    print(hashlib.sha256(written).hexdigest())
"""


def test_equal_programs_have_one_key() -> None:
    """In all processes; other programs have others."""
    found = []
    for hash_seed in ("1", "2"):
        paths = os.pathsep.join(sys.path)
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": paths}
        command = [sys.executable, "-c", KEYS]
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
        found.append(done.stdout.split())
    assert found[0] == found[1]
    assert len(set(found[0])) == 20


def test_whatever_changes_the_code_changes_the_key() -> None:
    """One thing after the other."""

    def written(
        kind: str = VALUES,
        size: int = 9,
        trips: int = 4,
        stride: int = 2,
        number: float = 0.0,
        table: Sequence[int] = (0, 1, 2, 3),
        constants: Sequence[float] = (1.0, 2.0, 3.0, 4.0),
        operation: Operation = rules.add,
        outcome: bool = True,
        output: int = 0,
        swapped: bool = False,
    ) -> bytes:
        builder = Builder(2)
        array = Array(kind, size, "a")
        data = builder.table(constants)
        with builder.loop(trips) as loop:
            at = Index(0, ((loop, stride),))
            looked_up = Index(0, (), ((Table(np.array(table)), Index(0, ((loop, 1),))),))
            x = builder.load(data, looked_up)
            y = builder.load(builder.inputs, Index(0))
            z = builder.compute(operation, (y, x) if swapped else (x, y))
            builder.guard(builder.compute(rules.less, (z, number)), outcome, Index(0))
            (builder.store if kind == VALUES else builder.add)(array, at, z)
        program = builder.finish([Slice(array, output, 1)])
        return marshal.dumps(canonical(program), 2)

    changes: list[dict[str, Any]] = [
        *({}, {"kind": SUMS}, {"size": 10}, {"trips": 3}, {"stride": 1}, {"number": -0.0}),
        *({"table": (0, 1, 3, 2)}, {"constants": (1.0, 2.0, 3.0, 5.0)}, {"outcome": False}),
        *({"operation": rules.multiply}, {"output": 1}, {"swapped": True}),
    ]
    assert len({written(**change) for change in changes}) == len(changes)
    assert written() == written()
