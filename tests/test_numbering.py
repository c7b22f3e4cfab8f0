"""Value numbering: rows have the same value if and only if they do the same to the same values."""

from __future__ import annotations

import hashlib
import math
import struct
from random import Random
from typing import Any

import numpy
import pytest
import test_recording
from test_recording import MEAN, TRIPLE, bits, grown, run

from chainrule import Node, Operation, rules
from chainrule.node import apply
from chainrule.program import numbering as module
from chainrule.program.numbering import Numbering
from chainrule.program.recording import ABSENT, OPERATION_OF, Recording, Row, given_to


def _reference(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class in Python, whichever engine runs."""
    name = "chainrule.program.numbering_reference"
    return test_recording.in_python(name, str(module.__file__), monkeypatch).Numbering


@pytest.fixture(params=["engine", "reference"])
def kinds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The classes of recordings and numberings, of the engine that runs and of the reference."""
    if request.param == "engine":
        return Recording, Numbering
    return test_recording._reference(monkeypatch), _reference(monkeypatch)


class Names:
    """Names of the values of a recording's rows: what they compute, told in full.

    Args:
        recording: whose rows are named.
        apart: as for a numbering.
    """

    def __init__(self, recording: Any, apart: bool) -> None:
        self.recording = recording
        self.apart = apart
        self.names: list[str | float] = []
        self.of_loops: list[bool] = []
        scopes = [""]
        ended = False
        for row, code in enumerate(recording.codes):
            left, right = recording.left[row], recording.right[row]
            given = [] if code == Row.INPUT else given_to(code, left, right, recording.pool)
            scopes += [str(row)] * (code == Row.BEGIN)
            if code == Row.END:
                scopes.pop()
            ended |= code == Row.END_LOOP
            tainted = any(self.of_loops[x] for x in given if x >= 0)
            self.of_loops.append(tainted or (code in (Row.RESULT, Row.EACH) and ended))
            self.names.append(self.name(row, code, given, scopes[-1]))

    def of(self, operand: int) -> str | float:
        """The name of an operand, or the number that it is."""
        return self.names[operand] if operand >= 0 else self.recording.constants[~operand]

    def name(self, row: int, code: int, given: list[int], scope: str) -> str | float:
        """The name of a row, or the number."""
        user = self.recording.pool[self.recording.left[row]] if code == Row.USER else None
        operation = OPERATION_OF.get(code & ~Row.POOLED)
        operands = [self.of(x) for x in given if x != ABSENT]
        if not self.apart:
            if code in (Row.ENTER, Row.LEAF) or operation in (rules.identity, rules.stop_gradient):
                return operands[0]
            called = operation or (None if user is None else self.recording.operations[user])
            numbers = [x for x in operands if isinstance(x, float)]
            if called is not None and len(numbers) == len(operands):
                return called.evaluate(numbers)
            scope = ""
        elif user is not None:
            return f"row {row}"
        if code != Row.USER and code & ~Row.POOLED >= Row.MARKS:
            return f"row {row}"
        said = [x if isinstance(x, str) else bits(x).hex() for x in operands]
        return hashlib.sha256(" ".join([scope, str((code, user)), *said]).encode()).hexdigest()


def random_rows(kind: Any, rng: Random, inputs: list[Node], level: int) -> Any:
    """A recording of nodes, of which many are equal, with guards, segments and loops among them."""
    recording = kind(inputs, level)
    again = rng.getrandbits(32)
    entered = loops = segments = 0
    for _ in range(6):
        nodes = grown(Random(again + rng.randrange(2)), inputs, 25)
        rows = [recording.record(node) for node in rng.sample(nodes, 8)]
        part = rng.randrange(4)
        if part == 0:
            recording.guard(next(row for row in rows if row >= 0), True)
        elif part == 1:
            recording.mark(Row.BEGIN, segments)
            inputs = [*inputs, apply(rules.identity, [inputs[0]])]
            recording.mark(Row.ENTER, rows[0], entered, inputs[-1])
            grown_inside = grown(Random(again), inputs, 20)
            recording.mark(Row.LEAVE, recording.record(grown_inside[-1]), 0)
            recording.mark(Row.END, segments)
            recording.mark(Row.GIVE, rows[1], 0)
            recording.mark(Row.PULL, segments)
            recording.mark(Row.RESULT, 0)
            segments += 1
        elif part == 2:
            recording.mark(Row.LOOP, loops)
            inputs = [*inputs, apply(rules.exp, [inputs[0]]), apply(rules.exp, [inputs[1]])]
            recording.mark(Row.CARRY, rows[0], 0, inputs[-2])
            recording.mark(Row.EACH, 0, ABSENT, inputs[-1])
            recording.mark(Row.NEXT, recording.record(grown(rng, inputs, 5)[-1]), 0)
            recording.mark(Row.END_LOOP, loops)
            inputs = [*inputs, apply(rules.exp, [inputs[0]])]
            recording.mark(Row.RESULT, 0, ABSENT, inputs[-1])
            loops += 1
    return recording


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("apart", [False, True])
def test_equal_values(seed: int, apart: bool, kinds: tuple[Any, Any]) -> None:
    """Equal names, equal values, and what is computed of constants is one."""
    rng = Random(seed)
    with run(0.5, 1.5, -0.25) as (inputs, level):
        recording = random_rows(kinds[0], rng, inputs, level)
        names = Names(recording, apart)
        numbering = kinds[1](recording, apart)
        values = numpy.frombuffer(numbering.values(len(recording)), dtype=numpy.int32).tolist()
        assert len(values) == len(recording)
        differ = sum(1 for row, value in enumerate(values) if row == value)
        assert kinds[1](recording, apart).values(differ) is not None
        assert kinds[1](recording, apart).values(differ - 1) is None
        firsts: dict[Any, int] = {}
        for row, (name, value) in enumerate(zip(names.names, values, strict=True)):
            if isinstance(name, float):
                assert value < 0
                assert bits(recording.constants[~value]) == bits(name)
                assert bits(numbering.of(row)) == bits(name)
            else:
                assert value == numbering.of(row) == firsts.setdefault(name, row)
            if not apart:
                assert numbering.comes_of_loops(row) == names.of_loops[row]
        assert len(firsts) < len(values)


@pytest.mark.parametrize("seed", range(10))
def test_values_while_rows_come(seed: int, kinds: tuple[Any, Any]) -> None:
    """What was the same is the same when there are more rows; a row says what it computes."""
    rng = Random(seed)
    with run(0.5, 1.5, -0.25) as (inputs, level):
        recording = kinds[0](inputs, level)
        numbering = kinds[1](recording)
        found: list[tuple[int, int | float]] = []
        for node in [*grown(Random(seed + 1), inputs, 900), *grown(Random(seed + 1), inputs, 900)]:
            if rng.random() < 0.25:
                row = recording.record(node)
                found.append((row, numbering.of(row)))
        names = Names(recording, False)
        for row, value in found:
            again = numbering.of(row)
            assert again == value or struct.pack("d", again) == struct.pack("d", value)
            if isinstance(value, float):
                continue
            code, left, right = numbering.row(value)
            assert code == recording.codes[value]
            if not code & Row.POOLED and code < Row.MARKS and code != Row.LEAF:
                given = [recording.left[value], recording.right[value]]
                for operand, shown in zip(given, (left, right), strict=True):
                    if operand == ABSENT:
                        assert shown is None
                    elif isinstance(shown, float):
                        assert bits(shown) == bits(names.of(operand))  # type: ignore[arg-type]
                    else:
                        assert names.names[shown] == names.of(operand)


def test_zeros_have_signs(kinds: tuple[Any, Any]) -> None:
    """Zeros of other signs are other numbers; what a user's operation gives is found too."""
    with run(1.0) as ((x,), level):
        recording = kinds[0]([x], level)
        numbering = kinds[1](recording)
        nodes = [x * 0.0, x * -0.0, x * 0.0, apply(TRIPLE, [Node(2.0)]), apply(MEAN, [x, 0.0])]
        nodes += [apply(MEAN, [x, -0.0]), apply(MEAN, [x, 0.0]), apply(TRIPLE, [x])]
        values = [numbering.of(recording.record(node)) for node in nodes]
        assert values[0] == values[2] != values[1]
        assert values[3] == 6.0
        assert values[4] == values[6] != values[5]
        assert values[7] not in values[:7]
        assert math.copysign(1.0, numbering.of(recording.record(-0.0))) == -1.0


def test_errors(kinds: tuple[Any, Any]) -> None:
    """What is not there, and a user's operation that fails."""
    values = iter([1.0])
    once = Operation("once", lambda x: next(values), [lambda y, x: 1.0])
    with run(1.0) as ((x,), level):
        recording = kinds[0]([x], level)
        numbering = kinds[1](recording)
        for operand in (1, -1):
            with pytest.raises(IndexError):
                numbering.of(operand)
        for ask in (numbering.comes_of_loops, numbering.row):
            with pytest.raises(IndexError):
                ask(3)
        row = recording.record(apply(once, [Node(2.0)]))
        with pytest.raises(StopIteration):
            numbering.of(row)
