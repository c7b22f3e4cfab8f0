"""Rolling: the loops of programs found again in what a run has recorded."""

from __future__ import annotations

import signal
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import numpy
import pytest
from expand import rebuilt
from loop_programs import FUNCTIONS, loop_program
from recorded_programs import PROGRAMS, recorded
from test_segments import POINTS, run
from transformed_programs import program as transformed_program

import chainrule as cr
from chainrule import Node
from chainrule import math as cm
from chainrule.passes import grammar, nest, repeats, roll, shortened
from chainrule.passes.differentiate import differentiated
from chainrule.passes.domain import Domain, Indices
from chainrule.passes.flat import flat
from chainrule.passes.grammar import Grammar
from chainrule.passes.nest import ROOT
from chainrule.passes.repeats import named_pairs, repetitions
from chainrule.passes.roll import rolled
from chainrule.passes.rows import Rows
from chainrule.program import nests
from chainrule.program.form import Index, Load, Loop, Program, Store, statements
from chainrule.program.interpreter import interpret
from chainrule.program.verifier import verify


def bits(numbers: Sequence[float]) -> list[bytes]:
    """Floats to compare to the last bit."""
    return [struct.pack("d", x) for x in numbers]


def written(program: Program) -> int:
    """How many statements there are."""
    return len([*statements(program.body)])


@pytest.fixture(params=[(8, 24), (1, 0)], ids=["usual", "eager"])
def rolling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rolls whatever can be, as usual and down to the smallest loop."""
    monkeypatch.setattr(roll, "SHORT", 0)
    monkeypatch.setattr(roll, "SHARE", 0.0)
    monkeypatch.setattr(grammar, "WORTH", request.param[0])
    monkeypatch.setattr(nest, "UNROLLED", request.param[1])


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Skip over what runs for too long."""

    def give_up(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# Programs


WRITTEN = {
    **{"nbody": 96, "cholesky": 32, "soft_dtw": 54, "lstm": 48, "network": 47, "heston": 46},
    **{"fourier": 376, "binomial_tree": 33, "garch": 37, "lorenz": 30, "asian": 27, "outer": 17},
    **{"pairs": 6, "rosenbrock": 15, "matrix_product": 12, "fibonacci": 10},
}
"""How many statements each program has at most."""


WITHOUT_TABLES = {
    *("asian", "binomial_tree", "fibonacci", "lorenz", "matrix_product", "outer"),
    *("rosenbrock", "soft_dtw", "lstm", "network"),
}
"""Programs whose indices are all affine."""


def indices(program: Program) -> Iterator[Index]:
    """Where a program reads and writes, and how often loops run."""
    for statement in statements(program.body):
        if isinstance(statement, (Load, Store)):
            yield statement.index
        elif isinstance(statement, Loop):
            yield statement.trips


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name: str) -> None:
    """They are short, and give what was recorded to the last bit."""
    function, n_inputs = PROGRAMS[name]
    random = Random(1)
    numbers = [random.uniform(-1.0, 1.0) for _ in range(n_inputs)]
    recording, outputs, values = recorded(function, numbers)
    program = rolled(recording, outputs)
    verify(program)
    found, failed = interpret(program, numbers)
    assert failed is None
    assert bits(found) == bits(values)
    assert written(program) <= WRITTEN[name]
    if name in WITHOUT_TABLES:
        assert not any(index.tables for index in indices(program))


@pytest.mark.parametrize("weighted", [False, True])
def test_strangers_among_iterations(weighted: bool) -> None:
    """A product and a sum after each sum of products are no iteration of its loop."""
    n = 12

    def function(x: Any) -> Any:
        total = 0.0
        for i in range(n):
            for j in range(n):
                element = 0.0
                for k in range(n):
                    element = element + x[i * n + k] * x[n * n + k * n + j]
                total = total + element * (x[i] if weighted else element)
        return total

    numbers = [Random(k).uniform(-1.0, 1.0) for k in range(2 * n * n)]
    recording, outputs, values = recorded(function, numbers)
    program = rolled(recording, outputs)
    verify(program)
    assert bits(interpret(program, numbers)[0]) == bits(values)
    loops = [x for x in statements(program.body) if isinstance(x, Loop)]
    innermost = {x for x in loops if not any(isinstance(y, Loop) for y in x.body)}
    assert any(x.trips == Index(n) for x in innermost)
    for index in indices(program):
        assert not any(innermost & inner.loops() for _, inner in index.tables)


@pytest.mark.parametrize("seed", range(20))
def test_tables_of_inner_loops(seed: int) -> None:
    """A table of what outer loops only add to has its numbers once."""
    random = numpy.random.default_rng(seed)
    outer = Domain(ROOT, numpy.array([7]))
    rows = Domain(outer, numpy.full(7, 5))
    trips = random.integers(1, 6, 5)
    columns = Domain(rows, numpy.tile(trips, 7))
    for domain in columns.chain:
        domain.loop = Loop(Index())
    for domain in columns.chain:
        assert domain.loop is not None
        domain.loop.trips = Indices().index(domain.parent or ROOT, domain.trips)
    own = random.integers(0, 1000, trips.sum())
    numbers = (own + int(random.integers(0, 3)) * numpy.arange(7)[:, None]).ravel()
    index = Indices().index(columns, numbers)
    assert (nests.numbers(index, tuple(columns.loops)) == numbers).all()
    assert max(len(table.numbers) for table, _ in index.tables) <= len(own)


@pytest.mark.parametrize("seed", range(20))
def test_tables_of_ragged_loops(seed: int) -> None:
    """Loops that run as often on the whole as even ones do have tables of their own."""
    random = Random(seed)
    for _ in range(50):
        domain: Domain = ROOT
        for depth in range(3):
            first, step = random.choice([(3, 0), (2, 0), (0, 2), (0, 1)][: 4 if depth == 1 else 2])
            last = domain.iterations[-1] if domain.chain else numpy.zeros(1, dtype=numpy.int64)
            domain = Domain(domain, numpy.maximum(first + step * last, 0))
            domain.loop = Loop(Indices().index(domain.parent or ROOT, domain.trips))
        period = max(1, domain.count // random.randint(1, 4))
        own = numpy.array([random.randint(-9, 9) for _ in range(period)])
        instances = numpy.arange(domain.count)
        numbers = own[instances % period] + random.randint(-2, 2) * (instances // period)
        index = Indices().index(domain, numbers)
        if domain.count:
            assert (nests.numbers(index, tuple(domain.loops)) == numbers).all()


def scaled(x: list[Any], _: Any) -> list[Any]:
    """A vector times the sum of its squares."""
    scale = cm.dot(x, x)
    return [scale * a for a in x]


PRODUCTS: list[Callable[..., list[Any]]] = [
    lambda x, matrix: [sum([a * b for a, b in zip(r, x, strict=True)]) for r in matrix],
    lambda x, matrix: [cm.dot(row, x) for row in matrix],
]
"""A matrix times a vector."""


OTHERS: list[Callable[..., list[Any]]] = [
    scaled,
    lambda x, matrix: [a - b for a, b in zip(x, matrix[0], strict=True)],
    lambda x, matrix: [a + b for a, b in zip(x, matrix[-1], strict=True)],
    lambda x, _: [a * a for a in x],
    lambda x, _: [cm.exp(-a) for a in x],
]
"""What else becomes of a vector."""


@pytest.mark.parametrize("seed", range(20))
def test_roles(seed: int) -> None:
    """Neighbours that do the same to what comes from elsewhere are no iterations of one loop."""
    random = Random(seed)
    n = random.randint(26, 34)
    steps = random.sample(OTHERS, 4)
    for place in (1, 3, 5):
        steps.insert(place, random.choice(PRODUCTS))

    def function(x: Any) -> Any:
        vector = x[:n]
        matrix = [x[(i + 1) * n : (i + 2) * n] for i in range(n)]
        for step in steps:
            vector = step(vector, matrix)
        return vector

    numbers = [random.uniform(-0.1, 0.1) for _ in range(n * (n + 1))]
    recording, outputs, values = recorded(function, numbers)

    program = rolled(recording, outputs)
    verify(program)
    assert bits(interpret(program, numbers)[0]) == bits(values)
    assert not any(index.tables for index in indices(program))


@pytest.mark.usefixtures("rolling")
@pytest.mark.parametrize("seed", range(60))
def test_loop_programs(seed: int) -> None:
    """Nested loops that break and continue, overwritten variables, triangular bounds, branches."""
    source = loop_program(seed, derivatives=False)
    point = source.points[0]
    recording, outputs, values = recorded(lambda x: source.function(FUNCTIONS)(*x), point)
    program = rolled(recording, outputs)
    verify(program)
    found, failed = interpret(program, point)
    assert failed is None
    assert bits(found) == bits(values)


@pytest.mark.usefixtures("rolling")
@pytest.mark.parametrize("seed", range(20))
def test_guards(seed: int) -> None:
    """A guard that fails has the number that it has in the recording."""
    source = loop_program(seed, derivatives=False)
    recording, outputs, _ = recorded(lambda x: source.function(FUNCTIONS)(*x), source.points[0])
    plain, loops = flat(recording, outputs), rolled(recording, outputs)
    assert plain.guards == loops.guards
    for point in source.points[1:]:
        found, failed = interpret(loops, point)
        expected, expected_failed = interpret(plain, point)
        assert failed == expected_failed
        assert bits(found) == bits(expected)


# Outputs


@pytest.mark.usefixtures("rolling")
@pytest.mark.parametrize("seed", range(30))
def test_outputs(seed: int) -> None:
    """Any outputs, in any order."""
    random = Random(seed)

    def function(x: Sequence[Node]) -> list[Any]:
        found: list[Any] = [*x, 1.5]
        for step in (1, 3):
            values = [x[0]]
            for i in range(random.randint(1, 30)):
                values.append(cm.sin(values[-1] * x[(step * i) % len(x)]))
            found += values
            pairs = [a * b for a in values for b in values[: random.randint(1, 9)]]
            found += pairs
        size = random.randint(1, 2 * len(found))
        kind = random.randrange(4)
        if kind == 0:
            return [random.choice(found) for _ in range(size)]
        if kind == 1:
            return found[:: random.choice([1, 2, -1])]
        if kind == 2:
            return random.choice([pairs[::-1], random.sample(pairs, len(pairs)), pairs + values])
        start = random.randrange(len(found))
        return found[start : start + size]

    numbers = [random.uniform(-1.0, 1.0) for _ in range(6)]
    recording, outputs, values = recorded(function, numbers)
    program = rolled(recording, outputs)
    verify(program)
    assert bits(interpret(program, numbers)[0]) == bits(values)


@pytest.mark.usefixtures("rolling")
@pytest.mark.parametrize(
    "table",
    [
        [0.0, -0.0, float("nan"), 0.0, -0.0, 2.0, float("inf"), -0.0, 0.0, 0.0] * 3,
        [0.0, -0.0] * 15,
    ],
)
def test_constants(table: list[float]) -> None:
    """Zeros of both signs and numbers that are none are told apart."""
    recording, outputs, values = recorded(lambda x: [x[0] * c for c in table], [1.5])
    program = rolled(recording, outputs)
    assert any(isinstance(x, Loop) for x in program.body)
    assert bits(interpret(program, [1.5])[0]) == bits(values)


@pytest.mark.usefixtures("rolling")
def test_empty_loops() -> None:
    """Loops that do not run in the first iteration, and last values of those that do."""

    def function(x: Sequence[Node]) -> list[Any]:
        lasts: list[Any] = []
        for i in range(12):
            a = cm.tanh(x[i])
            inner = [cm.sin(a * x[k]) for k in range(i)]
            lasts += inner[-1:]
            lasts.append(cm.cos(cm.exp(a)))
        return [cm.cos(y) for y in lasts[1::2]] + [cm.sin(y) for y in lasts]

    numbers = [0.1 * i for i in range(12)]
    recording, outputs, values = recorded(function, numbers)
    program = rolled(recording, outputs)
    verify(program)
    assert bits(interpret(program, numbers)[0]) == bits(values)


@pytest.mark.usefixtures("rolling")
@pytest.mark.parametrize("n", [3, 4, 5, 6, 7])
def test_recursion(n: int) -> None:
    """A determinant along its first row: loops that never run where a call ends the recursion."""

    def determinant(x: Sequence[Any], row: int, columns: tuple[int, ...]) -> Any:
        if len(columns) == 1:
            return x[n * row + columns[0]]
        total: Any = 0.0
        for k, column in enumerate(columns):
            minor = determinant(x, row + 1, columns[:k] + columns[k + 1 :])
            a = x[n * row + column]
            total = total + (a * minor if k % 2 == 0 else -a * minor)
        return total

    random = Random(n)
    numbers = [random.uniform(-1.0, 1.0) for _ in range(n * n)]
    recording, outputs, values = recorded(lambda x: determinant(x, 0, tuple(range(n))), numbers)
    program = rolled(recording, outputs)
    verify(program)
    assert bits(interpret(program, numbers)[0]) == bits(values)


# Segments


def descent(x: Sequence[Any]) -> list[Any]:
    """Gradient descent."""
    p = [*x]
    for _ in range(12):
        g = cr.grad(lambda q: sum((q[i + 1] - q[i] ** 2) ** 2 + (1 - q[i]) ** 2 for i in range(2)))(
            p
        )
        p = [a - 0.01 * b for a, b in zip(p, g, strict=True)]
    return p


def newton(x: Sequence[Any]) -> list[Any]:
    """Newton's method, with a value beside the derivative."""
    y = x[0]
    for _ in range(15):
        value, slope = cr.value_and_grad(lambda t: cm.exp(t) * t - x[1] * x[1])(y)
        y = y - 0.1 * value / (3.0 + cm.tanh(slope))
    return [y]


def forces(x: Sequence[Any]) -> list[Any]:
    """Gradients in two loops, of functions that read what changes."""
    position, velocity = [*x], [*x]
    for _ in range(8):
        for i in range(3):
            others = [p for j, p in enumerate(position) if j != i]
            f = cr.grad(lambda a: sum((a - p) ** 2 * cm.tanh(a) for p in others))  # noqa: B023
            velocity[i] = velocity[i] - 0.01 * f(position[i])
        position = [a + 0.01 * b for a, b in zip(position, velocity, strict=True)]
    return position


def nested(x: Sequence[Any]) -> list[Any]:
    """Gradients of gradients."""
    y = x[0]
    for _ in range(12):
        y = y - 0.1 * cr.grad(lambda t: cr.grad(lambda s: cm.sin(s * t) * x[1])(t) * t)(y)
    return [y]


def loop_inside(x: Sequence[Any]) -> list[Any]:
    """The gradient of a loop, in a loop."""

    def f(t: Any) -> Any:
        s = t
        for _ in range(20):
            s = cm.sin(s * t) + x[1]
        return s

    y = x[0]
    for _ in range(10):
        y = y - 0.1 * cr.grad(f)(y)
    return [y]


def pushes(x: Sequence[Any]) -> list[Any]:
    """Tangents, pushed forward."""
    y = x[0]
    for _ in range(12):
        y, change = cr.jvp(lambda t: cm.sin(t) * x[1], (y,), (x[2],))
        y = y + change
    return [y]


def pulls(x: Sequence[Any]) -> list[Any]:
    """Many cotangents for one run."""
    y, pull = cr.vjp(lambda t: cm.sin(t) * x[1], x[0])
    for _ in range(12):
        y = y + pull(y * 0.1)[0]
    return [y]


def later(x: Sequence[Any]) -> list[Any]:
    """Cotangents pulled back through what other iterations have run."""
    runs = [cr.vjp(lambda t: cm.sin(t) * x[1], x[0] + 0.1 * i) for i in range(12)]
    return [pull(y)[0] for y, pull in reversed(runs)]


def behind(x: Sequence[Any]) -> list[Any]:
    """Cotangents pulled back through what the iteration before has run."""
    y, pull = cr.vjp(lambda t: cm.sin(t) * x[1], x[0])
    for _ in range(12):
        before = pull
        y, pull = cr.vjp(lambda t: cm.sin(t) * x[1], y)
        y = y + before(y)[0]
    return [y]


def triangular(x: Sequence[Any]) -> list[Any]:
    """Gradients of more and more terms."""
    return [
        cr.grad(lambda t: sum(cm.sin(t * x[j % 3]) for j in range(i)))(x[0])  # noqa: B023
        for i in range(1, 10)
    ]


LOOPS_OF_SEGMENTS = (
    descent, newton, forces, nested, loop_inside, pushes, pulls, later, behind, triangular
)  # fmt: skip


def check_derivatives(function: Callable[..., Any], point: Sequence[float]) -> Program:
    """Rolled and then differentiated it gives what it gives without loops."""
    values, recording = run(function, point)
    _, recording, outputs = _recorded(function, point)
    expected, _ = interpret(differentiated(flat(recording, outputs)), point)
    program = rolled(recording, outputs)
    verify(program)
    found, failed = interpret(differentiated(rebuilt(program)), point)
    assert failed is None
    numpy.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    numpy.testing.assert_allclose(found, values, rtol=1e-9, atol=1e-12)
    return program


def _recorded(function: Callable[..., Any], point: Sequence[float]) -> tuple[Any, Any, list[int]]:
    found: list[int] = []
    from chainrule.differentiation import fresh_input
    from chainrule.jit.sites import PlainSites
    from chainrule.jit.trace import Recorder
    from chainrule.tracing import recording as begun

    recorder = Recorder((), PlainSites(), segments=True)
    with begun(recorder) as level:
        inputs = [fresh_input(x, level) for x in point]
        recorder.begin(inputs, level, ())
        outputs = function(inputs)
        rows = recorder.recorded._recording
        found = rows.in_order([recorder.recorded.record(y) for y in outputs])
    return outputs, rows, found


@pytest.mark.usefixtures("rolling")
@pytest.mark.parametrize("function", LOOPS_OF_SEGMENTS)
def test_loops_of_segments(function: Callable[..., Any]) -> None:
    """Transformations in loops stand in loops."""
    program = check_derivatives(function, POINTS[0])
    if function not in (later, behind):
        assert any(isinstance(x, Loop) for x in program.body)


@pytest.mark.usefixtures("rolling")
@pytest.mark.parametrize("seed", range(30))
def test_transformed_programs(seed: int) -> None:
    """Transformations inside each other, with little that repeats."""
    check_derivatives(transformed_program(seed), POINTS[0])


# Where nothing repeats


def test_nothing_repeats() -> None:
    """A program without repetitions stays flat."""
    random = Random(0)

    def function(x: Sequence[Node]) -> Any:
        values: list[Any] = [*x]
        for _ in range(2000):
            f: Any = random.choice(
                [cm.sin, cm.tanh, cm.exp, cm.cos, lambda y: -y, lambda y: 0.5 * y]
            )
            values.append(f(cm.tanh(random.choice(values[-50:])) + random.choice(values)))
        return sum(random.sample(values, 20))

    numbers = [0.1, 0.2]
    recording, outputs, values = recorded(function, numbers)
    program = rolled(recording, outputs)
    assert bits(interpret(program, numbers)[0]) == bits(values)


def test_short() -> None:
    """A short program stays flat."""
    recording, outputs, _ = recorded(lambda x: sum(y * y for y in x), [1.0] * 20)
    assert not any(isinstance(x, Loop) for x in rolled(recording, outputs).body)


@pytest.mark.parametrize("lanes", [False, True])
@pytest.mark.parametrize("repeated", [False, True])
def test_short_bodies(lanes: bool, repeated: bool) -> None:
    """The body of a loop of a single point is rolled where a program of its own stays flat."""
    recording, outputs, _ = recorded(lambda x: [cm.sin(y) * y for y in x], [1.0] * 80)
    program = rolled(recording, outputs, lanes, repeated=repeated)
    assert any(isinstance(x, Loop) for x in program.body) == (repeated and not lanes)


# Sequences


def sequence(random: Random) -> list[int]:
    """Random tokens with loops in loops, and brackets, which are 6 and 7."""

    def body(depth: int) -> list[int]:
        found: list[int] = []
        for _ in range(random.randint(1, 4)):
            if depth < 3 and random.random() < 0.4:
                inner = body(depth + 1)
                if random.random() < 0.3:
                    inner = [6, *inner, 7]
                varied = random.random() < 0.5
                for _ in range(random.randint(2, 6)):
                    found += inner * (random.randint(0, 3) if varied else 1)
            else:
                found += [random.randrange(6) for _ in range(random.randint(1, 4))]
        return found

    return body(0) * random.randint(1, 5)


@pytest.mark.usefixtures("rolling")
@pytest.mark.parametrize("seed", range(100))
def test_sequences(seed: int) -> None:
    """Loops written out are the sequence again."""
    random = Random(seed)
    tokens = numpy.asarray(sequence(random) + sequence(random), dtype=numpy.int32)
    rows = numpy.arange(len(tokens), dtype=numpy.int32)
    operands = [rows - 1, numpy.maximum(rows - random.randint(1, 9), -1)]
    loose = numpy.asarray([0, 0, 2, 3, 3, 3, 6, 7], dtype=numpy.int32)
    found = Grammar(tokens, loose, (6, 7), operands)
    for body in found.bodies.values():
        depth = numpy.cumsum([(token == 6) - (token == 7) for token in body])
        assert depth.min() >= 0
        assert depth[-1] == 0
    firsts, lengths, children = found.contents()

    def expanded(token: int, item: int) -> list[int]:
        body = found.bodies.get(token)
        if body is None:
            assert loose[tokens[item]] == loose[token]
            return [item]
        number = item - found.length
        first, length = int(firsts[number]), int(lengths[number])
        assert length % len(body) == 0
        result = []
        for place, child in enumerate(children[first : first + length].tolist()):
            result += expanded(body[place % len(body)], child)
        return result

    result = []
    for token, item in zip(found.tokens.tolist(), found.items.tolist(), strict=True):
        result += expanded(token, item)
    assert result == rows.tolist()


def sequence_with_runs(random: Random) -> tuple[list[int], list[tuple[int, int, int]]]:
    """Tokens in loops in loops, and runs: those around others first."""

    def body(depth: int) -> tuple[list[int], list[tuple[int, int, int]]]:
        tokens: list[int] = []
        runs = []
        for _ in range(random.randint(1, 3)):
            if depth and random.random() < 0.8:
                inner, some = body(depth - 1)
                trips, size = random.choice([2, 11, 13]), len(inner)
                runs.append((len(tokens), trips, size))
                for k in range(trips):
                    runs += [(len(tokens) + k * size + i, n, length) for i, n, length in some]
                tokens += inner * trips
            else:
                tokens += [random.randrange(6) for _ in range(random.randint(1, 6))]
        return tokens, runs

    return body(3)


def written_out(made: Grammar, token: int, item: int, ahead: int = 0) -> list[tuple[int, int]]:
    """The tokens and rows of an item."""
    body = made.bodies.get(token)
    if body is None:
        return [(token, item + ahead)]
    _, _, children = made.contents()
    trips, starts, firsts, far = made.iterations
    result = []
    start = int(starts[item - made.length])
    for k in range(start, start + int(trips[item - made.length])):
        child = children[firsts[k] : firsts[k] + len(body)].tolist()
        beyond = ahead if far is None else ahead + int(far[k])
        for pair in zip(body, child, strict=True):
            result += written_out(made, *pair, beyond)
    return result


def test_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found without most iterations of runs are the loops of the whole sequence."""
    left_out = alike = 0
    monkeypatch.setattr(shortened, "SHARE", 1.0)
    for seed in range(200):
        random = Random(seed)
        tokens, runs = sequence_with_runs(random)
        for _ in range(seed % 3):  # so that some are none
            tokens[random.randrange(len(tokens))] = 6
        sequence = numpy.asarray(tokens, dtype=numpy.int32)
        rows = numpy.arange(len(tokens), dtype=numpy.int32)
        loose = numpy.arange(8, dtype=numpy.int32)
        known = numpy.asarray(runs, dtype=numpy.int64).reshape(-1, 3)
        whole = Grammar(sequence, loose, (-1, -1), [rows - 1])
        found = Grammar(sequence, loose, (-1, -1), [rows - 1], known)
        for made in whole, found:
            pairs = zip(made.tokens.tolist(), made.items.tolist(), strict=True)
            written = [row for pair in pairs for row in written_out(made, *pair)]
            assert written == [*zip(tokens, rows.tolist(), strict=True)]
        left_out += found.iterations.ahead is not None
        alike += found.written == whole.written
    assert left_out > 100
    assert alike > 180


@pytest.mark.usefixtures("rolling")
@pytest.mark.parametrize("seed", range(20))
def test_order(seed: int) -> None:
    """The rows run in the order in which they were recorded, and each once."""
    source = loop_program(seed, derivatives=False)
    recording, _, _ = recorded(lambda x: source.function(FUNCTIONS)(*x), source.points[0])
    rows = Rows(recording)
    found = nest.Nest(rows, Grammar(rows.tokens, rows.loose, (-1, -1), rows.columns))
    counts: dict[Any, int] = {}
    order: list[int] = []

    def write(body: Sequence[Any]) -> None:
        for node in body:
            number = counts.get(node, 0)
            counts[node] = number + 1
            if isinstance(node, nest.Written):
                order.append(int(node.rows[number]))
                continue
            for _ in range(int(node.trips[number])):
                write(node.body)

    write(found.body)
    assert order == [*range(len(rows))]


@pytest.mark.parametrize("seed", range(20))
def test_named_pairs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine and the reference say the same."""
    random = numpy.random.default_rng(seed)
    numbers = random.integers(0, 2 + 50 * seed, 1 + 300 * seed).astype(numpy.int32)
    for ahead in (0, 1, 2, 8):
        found = named_pairs(numbers, ahead)
        with monkeypatch.context() as patch:
            patch.setattr(repeats, "ENGINE", None)
            expected = named_pairs(numbers, ahead)
        assert found[0] == expected[0]
        assert found[1].tolist() == expected[1].tolist()
        assert found[2].tolist() == expected[2].tolist()


@pytest.mark.parametrize("seed", range(60))
def test_repetitions(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine and the reference say the same."""
    random = numpy.random.default_rng(seed)
    kinds = 1 + seed % 3
    parts = [
        numpy.tile(random.integers(0, kinds, random.integers(1, 8)), random.integers(1, 9))
        for _ in range(random.integers(1, 6))
    ]
    tokens = numpy.concatenate(parts).astype(numpy.int32)
    sizes = random.integers(1, 6, kinds)
    _, names, back = named_pairs(tokens, 0)
    m = 1
    while m <= len(tokens):
        found = repetitions(tokens, sizes, back, m, 8)
        with monkeypatch.context() as patch:
            patch.setattr(repeats, "ENGINE", None)
            expected = repetitions(tokens, sizes, back, m, 8)
        assert [x.tolist() for x in found] == [x.tolist() for x in expected]
        _, names, back = named_pairs(names, m)
        m *= 2


@pytest.mark.usefixtures("rolling")
@pytest.mark.parametrize("seed", range(40))
def test_loops_one_after_another(seed: int) -> None:
    """Lists that begin with an input, a number or a value, read by several later loops."""
    random = Random(seed)
    size = random.randint(8, 14)

    def function(x: Sequence[Any]) -> list[Any]:
        lists: list[list[Any]] = [[*x]]
        for _ in range(random.randint(2, 6)):
            a, b = random.choice(lists), random.choice(lists)
            first = random.choice([[x[0]], [x[1]], [0.5], [0.0], [a[0]], [cm.sin(b[1])]])
            shift = len(first)
            kind = random.randrange(4)
            if kind == 0:
                found = [*first, *(x[i] * a[i - 1] for i in range(shift, size))]
            elif kind == 1:
                found = [0.0 + 0.5 * a[i] for i in range(size)]
            elif kind == 2:
                found = [a[i] + 2.0 * b[i] for i in range(size)]
            else:
                found = [*first]
                for i in range(1, size):
                    found.append(cm.tanh(found[i - 1]) * b[i])
            lists.append(found)
        return [y for found in lists[1:] for y in found]

    numbers = [random.uniform(-1.0, 1.0) for _ in range(size)]
    recording, outputs, values = recorded(function, numbers)
    program = rolled(recording, outputs)
    verify(program)
    assert bits(interpret(program, numbers)[0]) == bits(values)
