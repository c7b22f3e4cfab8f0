"""Recordings: the rows of a run's graph, on both engines."""

from __future__ import annotations

import _testcapi  # type: ignore[import-not-found]
import gc
import importlib.util
import math
import struct
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any

import numpy
import pytest

from chainrule import Node, Operation, engine, grad, group, rules
from chainrule import math as cm
from chainrule.annotations import record_lines
from chainrule.differentiation import fresh_input, fresh_inputs
from chainrule.jit.recorded import Recorded
from chainrule.node import apply
from chainrule.program import recording as module
from chainrule.program.recording import ABSENT, OPERATION_OF, Recording, Row, given_to
from chainrule.rules import OPERATIONS
from chainrule.tracing import TracedValueError, recording


def in_python(name: str, file: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module as it is where there is no engine in C, whichever runs."""
    monkeypatch.setattr(engine, "ENGINE", None)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


def _reference(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class in Python, whichever engine runs; it takes the serial numbers of new nodes."""
    reference = in_python("recording_reference", str(module.__file__), monkeypatch)
    vars(reference)["_SERIALS"] = iter(lambda: Node(0.0)._serial, None)
    return reference.Recording


@pytest.fixture(params=["engine", "reference"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class of recordings, of the engine that runs and of the reference."""
    return Recording if request.param == "engine" else _reference(monkeypatch)


class Recorder:
    """Lets comparisons be nodes, and answers what they are."""

    pulls = False

    def compared(self, condition: Any) -> Any:
        """The condition."""
        return condition

    def guard(self, condition: Any, outcome: bool) -> bool:
        """The outcome."""
        return outcome

    def takes(self, what: str) -> bool:
        """No: comparisons of arrays are bools."""
        return False

    def form_of(self, function: Any) -> Any:
        """Itself."""
        return function

    def uses(self, operation: Any) -> None:
        """Nothing."""

    def loop(self, *args: Any) -> None:
        """None: loops are plain."""

    def linearization(self, began: Any, inputs: Any, outputs: Any, level: int) -> None:
        """None: derivatives are nodes."""


@contextmanager
def run(*numbers: float) -> Iterator[tuple[list[Node], int]]:
    """A run of a function on nodes: its inputs and its level."""
    with recording(Recorder()) as level:
        yield [fresh_input(number, level) for number in numbers], level


TRIPLE = Operation("triple", lambda x: 3.0 * x, [lambda y, x: 3.0])
MEAN = Operation("mean", lambda *xs: sum(xs) / len(xs), lambda y, *xs: [1.0 / len(xs)] * len(xs))


def grown(rng: Random, nodes: list[Node], count: int) -> list[Node]:
    """Nodes of random operations of the table, of a user's, and leaves, made from others."""
    names = sorted(set(OPERATIONS) - {"gamma", "lgamma", "polygamma"})
    nodes = list(nodes)
    for _ in range(count):
        kind = rng.random()
        if kind < 0.03:
            nodes.append(Node(rng.gauss(0.0, 1.0)))
        elif kind < 0.1:
            operation = rng.choice([TRIPLE, MEAN])
            given = rng.choices(nodes, k=1 if operation is TRIPLE else rng.randint(1, 4))
            nodes.append(apply(operation, given))
        else:
            operation = OPERATIONS[rng.choice(names)]
            size = rng.randint(2, 5) if operation.variadic else len(operation.local_grads)
            operands: list[Any] = [
                rng.choice(nodes) if rng.random() < 0.75 else rng.gauss(0.0, 1.0)
                for _ in range(size)
            ]
            for i, local_grad in enumerate(operation.local_grads):
                if local_grad is None:
                    operands[i] = float(rng.randint(-2, 3))
            if operation is rules.power_term:
                operands[2] = float(rng.randint(-2, 3))
            if operation is rules.gather:
                operands[0] = float(rng.randrange(size - 1))
            if not any(isinstance(x, Node) for x in operands):
                operands[-1 if operation is rules.gather else 0] = rng.choice(nodes)
            nodes.append(apply(operation, operands))
    return nodes


def bits(number: float) -> bytes:
    """What tells floats apart."""
    return struct.pack("d", math.nan if number != number else number)


def evaluated(recorded: Any, inputs: list[float]) -> list[float]:
    """The values of the rows, computed one after the other; guards have the value NaN."""
    values: list[float] = []
    constants = recorded.constants

    def value(operand: int) -> float:
        return values[operand] if operand >= 0 else constants[~operand]

    for row, code in enumerate(recorded.codes):
        left = recorded.left[row]
        if code == Row.INPUT:
            values.append(inputs[left])
        elif code == Row.LEAF:
            values.append(value(left))
        elif code == Row.GUARD:
            assert (value(left) != 0.0) == bool(recorded.right[row])
            values.append(math.nan)
        else:
            user = recorded.operations[recorded.pool[left]] if code == Row.USER else None
            operation = user or OPERATION_OF[code & ~Row.POOLED]
            given = given_to(code, left, recorded.right[row], recorded.pool)
            values.append(operation.evaluate([value(x) for x in given]))
    return values


def arrays(recorded: Any) -> list[Any]:
    """All that a recording holds, with floats as bits."""
    names = ("codes", "left", "right", "notes", "pool")
    return [
        *[getattr(recorded, name).tolist() for name in names],
        [bits(x) for x in recorded.constants],
        [id(x) for x in recorded.captured],
        [id(x) for x in recorded.operations],
        [id(x) for x in recorded.annotations],
    ]


@pytest.mark.parametrize("seed", range(40))
def test_both_engines_record_the_same_and_what_was_computed(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random graphs, a root after another, with guards; evaluated, rows give the values."""
    rng = Random(seed)
    outside = [Node(rng.gauss(0.0, 1.0)) for _ in range(3)]
    with run(*[rng.gauss(0.0, 1.0) for _ in range(3)]) as (inputs, level):
        known = outside[:1] if seed % 2 else []
        found = Recording(inputs, level, known)
        reference = _reference(monkeypatch)(inputs, level, known)
        nodes = [*inputs, *outside]
        rows: dict[int, Node] = {}
        for _ in range(rng.randint(1, 6)):
            with group("part") if rng.random() < 0.3 else record_lines():
                nodes = grown(rng, nodes, rng.choice([3, 30, 300]))
            for node in rng.choices(nodes, k=rng.randint(1, 4)):
                row = found.record(node)
                assert row == reference.record(node)
                rows[row] = node
                if rng.random() < 0.5 and row >= 0:
                    found.guard(row, node._number != 0.0)
                    reference.guard(row, node._number != 0.0)
            if rng.random() < 0.3:
                moved = reference.in_order(list(rows))
                assert found.in_order(list(rows)) == moved
                rows = dict(zip(moved, rows.values(), strict=True))
            assert arrays(found) == arrays(reference)
            assert str(found) == str(reference)
            assert len(found) == len(reference)
            given = [x._number for x in [*inputs, *found.captured]]
            values = evaluated(found, given)
            for row, node in rows.items():
                assert bits(values[row]) == bits(node._number)


def test_notes_begin_with_the_first_row(kind: Any) -> None:
    """Where only the first of many rows has an annotation, and nothing came before it."""
    recorded = kind([], 0)
    node: Any = Node(2.0, name="first")
    for _ in range(3000):
        node = node * 1.0
    assert recorded.record(node) == 3000
    assert recorded.notes.tolist() == [0] + 3000 * [-1]
    assert recorded.left.tolist() == [-1, *range(3000)]


def test_codes_are_those_of_the_operations(kind: Any) -> None:
    """Of every operation of the table, whatever it is applied to."""
    with run(0.5) as ((x,), level):
        recorded = kind([x], level)
        for code, operation in OPERATION_OF.items():
            count = 2 if operation.variadic else len(operation.local_grads)
            numbers = [1.0 if grad is None else x for grad in operation.local_grads[:count]]
            row = recorded.record(apply(operation, numbers if len(numbers) == count else [x, x]))
            assert recorded.codes[row] & ~Row.POOLED == code
            assert (recorded.codes[row] & Row.POOLED != 0) == (count > 2)


def test_rows_in_the_order_in_which_the_nodes_were_made(kind: Any) -> None:
    """Inputs, captured nodes, then all others and the guards; what follows fits."""
    w = Node(5.0)
    with run(2.0, 3.0) as ((x, y), level):
        recorded = kind([x, y], level)
        nodes = [cm.sin(x), x * y]
        nodes.append(nodes[1] < 7.0)
        row = recorded.record(nodes[2])
        recorded.guard(row, True)
        nodes += [nodes[0] + 1.0, w * nodes[0], cm.exp(y)]
        rows = [recorded.record(node) for node in (nodes[4], nodes[3], nodes[5])]
        assert rows == [7, 8, 9]
        assert recorded.in_order(rows) == [8, 7, 9]
        lines = [
            *("%0 = input 0", "%1 = input 1", "%2 = input 2", "%3 = sin(%0)", "%4 = %0 * %1"),
            *("%5 = %4 < 7.0", "guard %5 is true", "%7 = %3 + 1.0", "%8 = %2 * %3", "%9 = exp(%1)"),
        ]
        assert str(recorded).split("\n") == lines
        assert [recorded.record(node) for node in nodes] == [3, 4, 5, 7, 8, 9]
        assert recorded.record(w) == 2
        assert recorded.record(nodes[5] / nodes[0]) == 10
        assert recorded.captured == [w]


def test_results_without_nodes(kind: Any) -> None:
    """They stand where they were marked; nodes made later stand for them, several for one."""
    with run(2.0) as ((x,), level):
        recorded = kind([x], level)
        y, z = cm.sin(x), cm.cos(x)
        late = recorded.record(z)
        recorded.mark(Row.PUSH, 0)
        first = recorded.mark_results(numpy.array([5, 7], dtype=numpy.int32))
        assert first == late + 2
        again = [Node(0.0) for _ in range(3)]
        for node, row in zip(again, [first + 1, first + 1, 0], strict=True):
            node._level = level
            recorded.stand_for(row, node)
        total = again[0] * again[1] + again[2]
        given = numpy.frombuffer(recorded.record_all([y, total, 0.5, again[0]]), dtype="int64")
        placed = numpy.append(given, first)
        assert recorded.in_order(placed) is placed
        assert placed.tolist() == [1, 7, -1, 5, 4]
        lines = [
            *("%0 = input 0", "%1 = sin(%0)", "%2 = cos(%0)", "%3 = push 0", "%4 = result 5"),
            *("%5 = result 7", "%6 = %5 * %5", "%7 = %6 + %0"),
        ]
        assert str(recorded).split("\n") == lines
        with pytest.raises(ValueError, match="none that was just made"):
            recorded.stand_for(first, total)
        with pytest.raises(ValueError, match="there is no row 8"):
            recorded.stand_for(8, Node(0.0))
        with pytest.raises(TypeError, match="is a node"):
            recorded.stand_for(0, 0.0)


@pytest.mark.parametrize("seed", range(10))
def test_order_of_all_rows_and_guards(seed: int, kind: Any) -> None:
    """Rows go by serial numbers, and a guard comes after what was made before it was asked."""
    rng = Random(seed)
    with run(1.0, 2.0) as (inputs, level):
        recorded = kind(inputs, level)
        nodes: list[Node] = list(inputs)
        guards: list[tuple[int, int]] = []  # the row asked, and the last serial before
        for _ in range(10):
            nodes = grown(rng, nodes, 20)
            condition = recorded.record(rng.choice(nodes))
            if condition >= 0:
                guards.append((condition, Node(0.0)._serial))
                recorded.guard(condition, bool(seed % 2))
        for node in rng.sample(nodes, len(nodes)):
            recorded.record(node)
        size = len(recorded)
        moved = recorded.in_order([row for row, _ in guards])
        assert recorded.in_order(range(size)) == list(range(size))
        serials = {recorded.record(node): node._serial for node in nodes}
        assert len(recorded) == size
        places = sorted(serials)
        assert [serials[row] for row in places] == sorted(serials.values())
        asked = [row for row in range(size) if recorded.codes[row] == Row.GUARD]
        assert [recorded.left[row] for row in asked] == moved
        assert all(recorded.right[row] == seed % 2 for row in asked)
        for row, (_, serial) in zip(asked, guards, strict=True):
            assert all((place < row) == (serials[place] < serial) for place in places)


@pytest.mark.parametrize("answer", [True, False])
def test_guards_of_rows_that_move(answer: bool, kind: Any) -> None:
    """Their conditions move with them, their answers are none of the rows."""
    with run() as ((), level):
        recorded = kind((), level)
        early, late = Node(1.0), Node(float(answer))
        recorded.guard(recorded.record(late), answer)
        assert recorded.record(early) == 2
        assert recorded.in_order([0, 2]) == [1, 0]
        said = "true" if answer else "false"
        assert str(recorded) == f"%0 = 1.0\n%1 = {float(answer)}\nguard %1 is {said}"


@pytest.mark.parametrize("gap", [1, 100, 10_000])
def test_nodes_far_apart(gap: int, kind: Any) -> None:
    """Others are made in between, and gone: in neighbouring pages, or with empty ones between."""
    with run(1.0, 2.0) as ((x, y), level):
        recorded = kind([x, y], level)
        nodes: list[Node] = [x]
        for _ in range(30):
            for _ in range(gap):
                cm.sin(x)  # made, and gone
            nodes.append(nodes[-1] * y)
        assert recorded.record(nodes[-1]) == 31
        assert [recorded.record(node) for node in nodes[1:]] == list(range(2, 32))
        assert recorded.in_order([31]) == [31]


def test_old_and_new_nodes_are_recorded_together(kind: Any) -> None:
    """They are few in a long range."""
    with run(1.0) as ((x,), level):
        recorded = kind([x], level)
        early = [x + float(i) for i in range(5)]
        for _ in range(1000):
            cm.sin(x)
        late = sum(early, 0.0 * x)
        assert recorded.record(late) == 11
        assert [recorded.record(node) for node in early] == [1, 2, 3, 4, 5]


def test_what_is_older_than_the_inputs_is_a_constant(kind: Any) -> None:
    """It can't depend on them."""
    with run() as ((), level):
        before = Node(3.0) * 2.0
        x = fresh_input(1.0, level)
        recorded = kind([x], level)
        assert recorded.record(before) == -1
        assert recorded.record(before + x) == 1
        assert recorded.constants.tolist() == [6.0, 6.0]
        assert str(recorded) == "%0 = input 0\n%1 = 6.0 + %0"
        assert recorded.captured == []


def test_without_inputs(kind: Any) -> None:
    """What follows depends on captured nodes alone."""
    w = Node(2.0)
    with run() as ((), level):
        recorded = kind((), level)
        y = w * Node(3.0)
        assert recorded.record(y) == 2
        assert recorded.record(w) == 0
        assert str(recorded) == "%0 = input 0\n%1 = 3.0\n%2 = %0 * %1"
        assert recorded.captured == [w]


def test_inputs_of_a_lower_level_and_a_whole_graph(kind: Any) -> None:
    """At level 0 nothing is from outside; inputs may be of any level, and are kept."""
    x, y = Node(2.0), Node(3.0)
    recorded = kind([x], 0)
    assert recorded.record(x * cm.exp(x + 1.0)) == 3
    assert recorded.record(x) == 0
    with run(1.0) as ((z,), level):
        recorded = kind([y, z], level)
        del y
        gc.collect()
        assert recorded.record(Node(3.0) * z) == 3
        assert recorded.captured == []


def test_captured_nodes_are_kept_and_looked_up_by_identity(kind: Any) -> None:
    """Thousands of them, some of them known before."""
    with run(1.0) as ((x,), level):
        recorded = kind([x], level)
        for i in range(2000):
            stop = cm.stop_gradient(float(i))
            assert stop == i
            recorded.record(x * 1.0)
    outside = [Node(float(i)) for i in range(2000)]
    with run(1.0) as ((x,), level):
        recorded = kind([x], level, outside[:10])
        for i, node in enumerate(outside):
            recorded.record(node * x)
            assert recorded.record(node) == (i + 1 if i < 10 else 2 * i - 9 + 10)
        assert all(a is b for a, b in zip(recorded.captured, outside, strict=True))
        numbers = [recorded.left[recorded.record(node)] for node in outside]
        assert numbers == list(range(1, 2001))


def test_views(kind: Any) -> None:
    """Read-only, without copies; nothing moves under them."""
    with run(1.0) as ((x,), level):
        recorded = kind([x], level)
        assert (
            recorded.notes.tolist() == recorded.constants.tolist() == recorded.pool.tolist() == []
        )
        recorded.record(cm.hypot(x, x * 2.0, 3.0))
        expected = {
            "codes": "H",
            "left": "i",
            "right": "i",
            "notes": "i",
            "constants": "d",
            "pool": "i",
        }
        for name, form in expected.items():
            view = getattr(recorded, name)
            assert isinstance(view, memoryview)
            assert (view.format, view.ndim, view.readonly) == (form, 1, True)
        array = numpy.asarray(recorded.codes)
        assert array.dtype == numpy.uint16
        assert array.tolist() == recorded.codes.tolist()
        with pytest.raises(BufferError):
            recorded.record(cm.sin(x))
        with pytest.raises(BufferError):
            recorded.guard(0, True)
        assert recorded.record(x) == 0
        assert len(recorded) == 3
        assert array.tolist() == recorded.codes.tolist()
        del array
        for name in ("constants", "pool"):
            view = getattr(recorded, name)
            with pytest.raises(BufferError):
                recorded.record(cm.hypot(cm.sin(x), x, 2.0))
            assert len(recorded) == 3
            view.release()
        assert recorded.record(cm.hypot(cm.sin(x), x, 2.0)) == 4
        view = recorded.left
        del recorded
        assert view.tolist()[0] == 0


class Mine(Node):
    """A user's own node."""

    def __init__(self, x: Node) -> None:
        super().__init__(x._number, (x,))

    def _local_grad(self, parent: Node) -> float:
        return 1.0


def test_users_subclasses(kind: Any) -> None:
    """A leaf is a leaf; with parents it is refused, and leaves nothing behind."""

    class Leaf(Node):
        """A leaf."""

    with run(1.0) as ((x,), level):
        recorded = kind([x], level)
        before = cm.sin(x)
        with pytest.raises(TypeError, match=r"^Mine can't be compiled: its value is computed in"):
            recorded.record(before * Mine(before) + 1.0)
        assert len(recorded) == 1
        assert recorded.record(before) == 1
        assert recorded.record(Leaf(2.0) * x) == 3
        assert str(recorded).endswith("%2 = 2.0\n%3 = %2 * %0")


def test_what_a_recording_refuses(kind: Any) -> None:
    """What is no node, and guards on what is no row."""
    with run(1.0) as ((x,), level):
        recorded = kind([x], level)
        for wrong in (None, 1, "x", [x]):
            with pytest.raises(TypeError, match="a recording takes nodes and floats, not "):
                recorded.record(wrong)
        for row in (-1, 1):
            with pytest.raises(ValueError, match=f"the condition of a guard is a row, not {row}"):
                recorded.guard(row, True)
        assert len(recorded) == 1


def test_marks(kind: Any) -> None:
    """Rows that concern segments, where nodes stand or after them, in place of theirs or new."""
    with run(0.5, 2.0) as ((x, y), level):
        recorded = kind([x, y], level)
        began, entered = Node(0.0), fresh_input(x, level)
        inside = cm.sin(entered) * y
        assert recorded.record(cm.exp(entered)) == 3
        assert recorded.mark(Row.ENTER, 0, 0, entered) == 2  # what was an identity
        assert recorded.mark(Row.BEGIN, 0, ABSENT, began) == 4
        left = recorded.record(inside)
        assert [recorded.mark(Row.LEAVE, left, 0), recorded.mark(Row.END, 0)] == [7, 8]
        assert [recorded.mark(Row.GIVE, recorded.record(1.0), 0), recorded.mark(Row.PULL, 0)] == [
            9,
            10,
        ]
        result = Node(1.0)
        result._level = level
        assert recorded.mark(Row.RESULT, 0, ABSENT, result) == 11
        (last,) = recorded.in_order([recorded.record(result + x)])
        assert str(recorded).splitlines() == [
            "%0 = input 0",
            "%1 = input 1",
            "%2 = begin 0",
            "%3 = enter 0 %0",
            "%4 = sin(%3)",
            "%5 = %4 * %1",
            "%6 = exp(%3)",
            "%7 = leave 0 %5",
            "%8 = end 0",
            "%9 = give 0 1.0",
            "%10 = pull 0",
            "%11 = result 0",
            "%12 = %11 + %0",
        ]
        assert last == 12


def test_marks_that_are_refused(kind: Any) -> None:
    """Other codes, rows that are not there, what is no node or too old."""
    older = Node(1.0)
    with run(0.5) as ((x,), level):
        recorded = kind([x], level)
        for code in (0, 1, Row.INPUT, Row.GUARD, Row.USER):
            with pytest.raises(ValueError, match=f"no mark is {code}"):
                recorded.mark(code, 0)
        with pytest.raises(ValueError, match="there is no row 1"):
            recorded.mark(Row.ENTER, 1, 0)
        with pytest.raises(ValueError, match="a mark is not older than the inputs"):
            recorded.mark(Row.BEGIN, 0, ABSENT, older)
        with pytest.raises(TypeError, match="a mark stands where a node does"):
            recorded.mark(Row.BEGIN, 0, ABSENT, 1.0)
        for rights, nodes in (([], [x]), ([0], []), ([0, 0], None)):
            with pytest.raises(ValueError, match="there are not as many of each"):
                recorded.mark_all(Row.ENTER, [0], rights, nodes)
        with pytest.raises(ValueError, match="a mark is not older than the inputs"):
            recorded.mark_all(Row.RESULT, [0], [0], [older])
        with pytest.raises(ValueError, match="there is no row 1"):
            recorded.mark_all(Row.LEAVE, [1], [0])
        assert len(recorded) == 1


def test_several_marks(kind: Any) -> None:
    """They are as one after another."""
    with run(0.5) as ((x,), level):
        recorded, other = kind([x], level), kind([x], level)
        results = fresh_inputs([1.0, 2.0, 3.0], level)
        for i, node in enumerate(results):
            recorded.mark(Row.RESULT, 2 * i, -i, node)
        recorded.mark(Row.GIVE, 1, 7)
        recorded.mark(Row.GIVE, 0, 8)
        other.mark_all(Row.RESULT, [0, 2, 4], [0, -1, -2], results)
        other.mark_all(Row.GIVE, [1, 0], [7, 8])
        for rows in (recorded, other):
            rows.in_order()
        assert str(recorded) == str(other)
        assert len(other) == 6


def test_values_of_ended_transformations() -> None:
    """As often as they are used."""
    kept: list[Any] = []

    def keeping(x: Any) -> Any:
        kept.append(x * 2.0)
        return x

    grad(keeping)(1.0)
    with run(1.0) as ((x,), level):
        recorded = Recorded([x], level)
        with pytest.raises(TracedValueError, match="the function uses a value of another"):
            recorded.record(x * kept[0])
        with pytest.raises(TracedValueError, match="the function uses a value of another"):
            recorded.record(x * kept[0])
        with pytest.raises(TracedValueError, match="the result is a value of another"):
            recorded.operands([kept[0]], numpy.array([0]))


def test_nodes_need_not_stay_alive(kind: Any) -> None:
    """New ones where others were in memory are others."""
    with run(1.0) as ((x,), level):
        recorded = kind([x], level)
        expected = []
        for i in range(500):
            expected.append(recorded.record(cm.sin(x) * float(i)))
        assert expected == [2 * i + 2 for i in range(500)]
        assert recorded.left[expected[-1]] == expected[-1] - 1


# What concerns the engine in C, which is asked where it runs.


def long_chain(x: Node, count: int) -> Node:
    """A chain of so many operations, half of them with a constant."""
    y = x
    for _ in range(count // 4):
        y = cm.tanh(y * 1.01) + x * 0.5
    return y


def test_memory_of_a_recording() -> None:
    """At most 32 bytes a node, at any time."""
    with run(0.5) as ((x,), level):
        y = long_chain(x, 100_000)
        gc.collect()
        tracemalloc.start()
        recorded = Recording([x], level)
        recorded.record(y)
        now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(recorded) > 100_000
        most = 32.0 if engine.ENGINE is not None else 200.0
        assert now / len(recorded) < most
        assert peak / len(recorded) < most


def failing(make: Callable[[], Any], after: int) -> bool:
    """Run something that gets no memory after some allocations; whether it came to an end even so.

    The engine in Python gets all that it wants: a MemoryError may leave any code half-way there.
    """
    if engine.ENGINE is not None:
        _testcapi.set_nomemory(after, after + 1)
    try:
        make()
    except MemoryError:
        return False
    finally:
        _testcapi.remove_mem_hooks()
    return True


def test_out_of_memory() -> None:
    """MemoryError at any allocation, in any call; the next goes on as if nothing had been."""
    outside = [Node(float(i)) for i in range(40)]
    with run(0.5, 0.25) as (inputs, level):
        rng = Random(0)
        nodes = grown(rng, [*inputs, *outside], 600)
        with group("part"):
            nodes = grown(rng, nodes, 30)
        nodes = nodes[::20]  # the others come with them
        expected = Recording(inputs, level)
        rows = [expected.record(node) for node in nodes]
        expected.guard(5, True)
        made: list[Any] = []
        after = 0
        while not failing(lambda: made.append(Recording(inputs, level)), after):
            after += 1
        recorded = made[0]
        for node, row in zip(nodes, rows, strict=True):
            after = 0
            while not failing(partial(recorded.record, node), after):
                after += 1
            assert recorded.record(node) == row
        after = 0
        while not failing(partial(recorded.guard, 5, True), after):
            after += 1
        after = 0
        while not failing(lambda: made.__setitem__(0, recorded.in_order(rows)), after):
            after += 1
        assert made[0] == expected.in_order(rows)
        assert made[0] != rows
        assert str(recorded) == str(expected)


def test_inputs_that_come_later(kind: Any) -> None:
    """Inputs get rows when they are asked for; captured nodes count on after all of them."""
    weight = Node(3.0)
    with run() as (_, level):
        made = kind(7, level, [weight])
        assert made.n_inputs == 8
        [late] = [fresh_input(0.5, level)]
        product = late * weight
        made.enter_inputs(4, [late])
        root = made.record(product)
        first, *others = (fresh_input(x, level) for x in (1.0, 2.0))
        made.enter_inputs(0, [first, *others])
        total = made.record(first + product)
        root, total = made.in_order([root, total])
        assert [made.row(row)[:2] for row in range(4)] == [
            (Row.INPUT, 7),
            (Row.INPUT, 4),
            (Row.INPUT, 0),
            (Row.INPUT, 1),
        ]
        assert made.row(root)[1:] == (1, 0)
        assert made.row(total)[1:] == (2, root)
        assert made.n_inputs == 8
        for number, nodes in ((6, [first, late]), (-1, [first])):
            with pytest.raises(ValueError, match="not so many inputs"):
                made.enter_inputs(number, nodes)
        with pytest.raises(TypeError):
            made.enter_inputs(0, [1.0])
