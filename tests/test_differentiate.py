"""Derivatives of programs with loops, by statements, against those of the graph of a run."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
import recorded_programs
import smooth_programs
import test_zeros
import transformed_programs
from expand import rebuilt
from random_forms import PICKS, ROUGH, SMOOTH, random_inputs, random_program
from recorded_programs import recorded
from rolled_programs import (
    Function,
    View,
    add,
    each,
    function_of,
    grad,
    jacobian,
    load,
    on_nodes,
    program,
    push,
    room,
    store,
)

import chainrule as cr
from chainrule import Node, rules
from chainrule import math as cm
from chainrule.differentiation import Linearization, fresh_input
from chainrule.jit.sites import PlainSites
from chainrule.jit.trace import Recorder
from chainrule.passes import differentiate, gradients, roll
from chainrule.passes.differentiate import Untraceable
from chainrule.passes.flat import flat
from chainrule.passes.roll import rolled
from chainrule.program.builder import Builder
from chainrule.program.form import SUMS, Derive, Index, Loop, Program, Slice, Table, statements
from chainrule.program.interpreter import interpret
from chainrule.program.verifier import verify
from chainrule.rules import Operation
from chainrule.tracing import recording


@pytest.fixture(autouse=True)
def short_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops in short recordings too."""
    monkeypatch.setattr(roll, "SHORT", 0)
    monkeypatch.setattr(roll, "SHARE", 0.0)


def differentiated(p: Program) -> Program:
    """A program without transformations; the one given stays as it is."""
    return differentiate.differentiated(rebuilt(p))


def with_gradients(p: Program, places: Sequence[int]) -> Program:
    """A program that gives gradients as well; the one given stays as it is."""
    return gradients.with_gradients(rebuilt(p), places)


def outputs(p: Program, xs: Sequence[float]) -> list[float]:
    """What a program gives; it is verified."""
    verify(p)
    found, failed = interpret(p, xs)
    assert failed is None
    return found


def numbers(values: Sequence[Any]) -> list[float]:
    """Values of nodes and numbers."""
    return [x.data if isinstance(x, Node) else x for x in values]


def assert_close(found: Sequence[float], expected: Any, relative: float = 1e-9) -> None:
    """The same to rounding; NaN and infinities too."""
    wanted = np.ravel(np.array(expected, dtype=float))
    finite = wanted[np.isfinite(wanted)]
    scale = float(np.abs(finite).max(initial=1e-3))
    np.testing.assert_allclose(found, wanted, rtol=relative, atol=relative * 1e-2 * scale)


# Random programs


@pytest.mark.parametrize("seed", range(150))
def test_random_transformations(seed: int) -> None:
    """Segments in loops and in one another, pulled back and pushed forward, given some or all."""
    operations = (*SMOOTH, *PICKS, *ROUGH) if seed % 3 == 0 else (*SMOOTH, *PICKS)
    p = random_program(seed, operations, segments=True)
    d = differentiated(p)
    assert not any(isinstance(x, Derive) for x in statements(d.body))
    for k in range(3):
        xs = random_inputs(seed + k, p, special=k == 2)
        assert_close(outputs(d, xs), numbers(on_nodes(p)([Node(x) for x in xs])), 1e-7)


@pytest.mark.parametrize("seed", range(100))
def test_random_gradients(seed: int) -> None:
    """The gradients of all outputs, also of what pulls back and pushes forward itself."""
    operations = (*SMOOTH, *PICKS, *ROUGH) if seed % 3 == 0 else (*SMOOTH, *PICKS)
    p = random_program(seed, operations, segments=seed % 2 == 0, size=4)
    p.outputs = [*p.outputs[:5], *[Slice(x.array, x.start, min(x.size, 4)) for x in _slices(p)]]
    places = [2, 0] if seed % 5 else [0, 1, 2, 3]
    d = with_gradients(p, places)
    for k in range(3):
        xs = random_inputs(seed + k, p, special=k == 2)
        assert_close(outputs(d, xs), with_gradients_of_run(p, places, xs), 1e-7)


def with_gradients_of_run(p: Program, places: Sequence[int], xs: Sequence[float]) -> list[float]:
    """What with_gradients is to give, from the graph of a run."""
    inputs = [fresh_input(Node(x), 0) for x in xs]
    values = on_nodes(p)(inputs)
    graph = Linearization(inputs, values, 0)
    expected = [*values]
    for row in range(len(values)):
        pulled = graph.pull_back([1.0 if row == i else None for i in range(len(values))])
        expected += [pulled[place] for place in places]
    return numbers(expected)


def _slices(p: Program) -> list[Slice]:
    return [x for x in p.outputs[5:] if isinstance(x, Slice)][:2]


# Recorded programs

SMALL: dict[str, tuple[Callable[[Any], Any], int]] = {
    "cholesky": (lambda x: recorded_programs.cholesky(x, 4)[-1], 16),
    "lstm": (lambda x: recorded_programs.lstm(x, 2, 3)[-1], 38),
    "nbody": (lambda x: recorded_programs.nbody(x, 3, 3)[-1], 21),
    "soft_dtw": (lambda x: recorded_programs.soft_dtw(x, 4)[-1], 8),
    "heston": (lambda x: recorded_programs.heston(x, 4)[-1], 14),
    "binomial_tree": (lambda x: recorded_programs.binomial_tree(x, 7)[0] ** 2, 2),
    "garch": (lambda x: recorded_programs.garch(x, 12)[-1], 3),
    "lorenz": (lambda x: recorded_programs.lorenz(x, 20)[-1], 3),
    "asian": (lambda x: recorded_programs.asian(x, 10)[-1], 12),
    "rosenbrock": (lambda x: recorded_programs.rosenbrock(x, 8)[-1], 8),
    "fibonacci": (lambda x: recorded_programs.fibonacci(x, 12)[-1], 2),
}


def rolled_of(f: Callable[[Any], Any], xs: Sequence[float]) -> Program:
    """The program of a run, with loops."""
    rows, operands, _ = recorded(f, xs)
    return rolled(rows, operands)


@pytest.mark.parametrize("name", SMALL)
def test_rolled_programs(name: str) -> None:
    """Gradient, Hessian and its product with a vector, of programs as they are recorded."""
    f, n = SMALL[name]
    random = Random(1)
    xs = [random.uniform(0.1, 1.0) for _ in range(n)]
    p = rolled_of(f, xs)
    g = function_of(p)
    expected = cr.grad(f)(xs)
    assert_close(outputs(differentiated(program(grad(g, n), n, n)), xs), expected)
    assert_close(outputs(with_gradients(p, range(n)), xs)[1:], expected)
    rows, operands, _ = recorded(f, xs)
    assert_close(outputs(with_gradients(flat(rows, operands), range(n)), xs)[1:], expected)
    whole = cr.hessian(f)(xs)
    for in_loop in (True, False) if n < 9 else (True,):
        second = program(jacobian(grad(g, n), n, n, in_loop), n, n * n)
        assert_close(outputs(differentiated(second), xs), whole)
    product = program(push(grad(g, n), n, n, lambda b, i: 0.5), n, n)
    assert_close(outputs(differentiated(product), xs), cr.hvp(f, (xs,), ([0.5] * n,)))


def _last(f: Any, size: tuple[int, ...], x: Any) -> Any:
    return f(x, *size)[-1]


@pytest.mark.parametrize(
    ("f", "sizes"),
    [
        (recorded_programs.cholesky, ((14,), (20,))),
        (recorded_programs.lstm, ((6, 10), (6, 15))),
        (recorded_programs.garch, ((50,), (80,))),
        (recorded_programs.nbody, ((3, 10), (3, 15))),
    ],
)
def test_size_does_not_follow_the_run(f: Any, sizes: Sequence[tuple[int, ...]]) -> None:
    """Derivatives of loops have as many statements, however often these run."""
    found = []
    for size in sizes:
        xs = [0.5 + 0.01 * i for i in range(700)]
        p = rolled_of(functools.partial(_last, f, size), xs)
        found.append([sum(1 for _ in statements(q.body)) for q in (p, with_gradients(p, range(3)))])
    assert found[0] == found[1]


# Recorded transformations


def with_segments(f: Callable[[Any], Any], xs: Sequence[float], loops: bool = False) -> Program:
    """The program of a run, in which transformations are segments, with loops or without."""
    recorder = Recorder((), PlainSites(), segments=True)
    with recording(recorder) as level:
        inputs = [fresh_input(x, level) for x in xs]
        recorder.begin(inputs, level, ())
        values = f(inputs)
        rows = recorder.recorded._recording
        operands = rows.in_order([recorder.recorded.record(y) for y in values])
        return rolled(rows, operands) if loops else flat(rows, operands)


@pytest.mark.parametrize("seed", range(150))
def test_recorded_transformations(seed: int) -> None:
    """Transformations inside each other, in a run at other numbers than they are recorded at."""
    f = transformed_programs.program(seed)
    d = differentiated(with_segments(f, (0.5, -0.75, 1.25)))
    for xs in ((0.5, -0.75, 1.25), (0.0, 0.0, 0.0), (-1.5, 2.0, 0.25)):
        assert_close(outputs(d, xs), numbers(f([*xs])))


def _loss(w: Any, data: Any) -> Any:
    return sum([(cm.tanh(w[0] * a + w[1]) - cm.relu(0.3 * a)) ** 2 for a in data])


def _descent(x: Any) -> Any:
    w, data = x[:2], x[3:]
    for _ in range(6):
        w = [a - x[2] * b for a, b in zip(w, cr.grad(_loss)(w, data), strict=True)]
    return _loss(w, data)


def _newton(x: Any) -> Any:
    def f(z: Any) -> Any:
        terms = [cm.sin(z[0] * a) * z[1] + z[1] * z[1] * a for a in x[3:]]
        return sum(terms) + z[0] * z[0]

    z = x[:2]
    for _ in range(4):
        g, h = cr.grad(f)(z), cr.hessian(f)(z)
        d = h[0][0] * h[1][1] - h[0][1] * h[1][0]
        z = [
            z[0] - (h[1][1] * g[0] - h[0][1] * g[1]) / d * x[2],
            z[1] - (h[0][0] * g[1] - h[1][0] * g[0]) / d * x[2],
        ]
    return z[0] + z[1]


def _pushed_through_steps(x: Any) -> Any:
    def f(a: Any, b: Any) -> Any:
        for c in [*x[3:]] * 5:
            a = cm.sin(a * b + c)
        return a

    return cr.jvp(f, (x[0], x[1]), (1.0, x[2]))[1]


def _curvature(x: Any) -> Any:
    def f(z: Any) -> Any:
        terms = [100.0 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in pairwise(z)]
        return sum(terms)

    return sum(cr.hvp(f, (x[:5],), (x[5:],)))


@pytest.mark.parametrize("f", [_descent, _newton, _pushed_through_steps, _curvature])
def test_rolled_transformations(f: Callable[[Any], Any]) -> None:
    """Transformations in loops, of loops, with loops around; and their gradients."""
    xs = [0.4, 0.3, 0.05, -0.2, 0.7, 0.1, 0.55, -0.6, 0.35, 0.25]
    p = with_segments(lambda xs: [f(xs)], xs, loops=True)
    assert any(isinstance(x, Loop) for x in statements(p.body))
    assert_close(outputs(differentiated(p), xs), f(xs))
    d = with_gradients(p, range(10))
    for at in (xs, [0.0 if i in (0, 4) else x for i, x in enumerate(xs)]):
        assert_close(outputs(d, at), [f(at), *cr.grad(f)(at)])


def _at_first(f: Callable[[Any], Any], xs: Any) -> list[Any]:
    return [f(xs[0])]


@pytest.mark.parametrize("way", test_zeros.WAYS)
def test_zeros_by_recorded_transformations(way: str) -> None:
    """What is 0, infinite or not picked, differentiated in one way, or two in turn."""
    for case in [*test_zeros.SMOOTH, *test_zeros.NOT_PICKED]:
        f = test_zeros.derivative(case.f, case.order, way, "eager")
        p = with_segments(functools.partial(_at_first, f), [case.x])
        (found,) = outputs(differentiated(p), [case.x])
        case.check(found)


# Zeros and kinks


def _derivative(f: Function, n: int, order: int, forward: bool) -> Function:
    """Derivatives by all inputs at once, added up, some times."""
    for _ in range(order):
        f = _pushed(f, n) if forward else _pulled(f, n)
    return f


def _pulled(f: Function, n: int) -> Function:
    def total(b: Builder, x: View) -> Any:
        pulled, result = grad(f, n)(b, x), room(b, 1, "total", SUMS)
        with b.loop(n) as i:
            add(b, result, 0, load(b, pulled, each(i)))
        return load(b, result, 0)

    return total


def _pushed(f: Function, n: int) -> Function:
    def total(b: Builder, x: View) -> Any:
        return load(b, push(f, n, 1, lambda b, i: 1.0)(b, x), 0)

    return total


CASES = [*test_zeros.SMOOTH, *test_zeros.NOT_PICKED]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} at {case.x} {case.order}")
def test_zeros_in_loops(case: test_zeros.Case) -> None:
    """What is 0, infinite or not picked inside of a sum over points, by reverse and forward."""
    order = min(case.order, 3)
    points = [case.x, 1.25, case.x, 0.75]

    def at_points(xs: Any) -> Any:
        return sum([case.f(x) for x in xs])

    p = rolled_of(at_points, points)
    expected: Any = at_points
    for _ in range(order):
        expected = (lambda g: lambda xs: sum(cr.grad(g)(xs)))(expected)
    for forward in (False, True):
        d = differentiated(program(_derivative(function_of(p), 4, order, forward), 4))
        assert_close(outputs(d, points), expected(points))


@pytest.mark.parametrize("seed", range(60))
def test_random_smooth_programs(seed: int) -> None:
    """Second derivatives at points where many inner values are 0, summed over the points."""
    made = smooth_programs.smooth_program(seed)
    f = made.function({name: getattr(cm, name) for name in cm.__all__})
    points = [x for point in made.points for x in point]
    n, width = len(points), len(made.points[0])

    def total(xs: Any) -> Any:
        return sum([f(*xs[i : i + width]) for i in range(0, n, width)])

    p = rolled_of(total, points)
    second = program(jacobian(grad(function_of(p), n), n, n, True), n, n * n)
    assert_close(outputs(differentiated(second), points), cr.hessian(total)(points), 1e-6)


# Gradients inside of loops


def _particle(inner: int, outer: int) -> tuple[Function, Callable[[Any], Any]]:
    """A particle that falls along the gradient of a potential, as its start and the step decide.

    Both as a function for programs and of nodes: where it is in the end, after ``outer`` steps
    along the gradient of what it would be after ``inner`` steps along a gradient.
    """

    def potential(b: Builder, x: View) -> Any:
        total = room(b, 1, "u", SUMS)
        with b.loop(2) as i:
            y = b.compute(rules.sin, (load(b, x, each(i)),))
            add(b, total, 0, b.compute(rules.multiply, (y, y)))
        product = b.compute(rules.multiply, (load(b, x, 0), load(b, x, 1)))
        return b.compute(rules.add, (load(b, total, 0), b.compute(rules.relu, (product,))))

    def descended(f: Function, steps: int) -> Function:
        def end(b: Builder, x: View) -> Any:
            path = room(b, 3 * (steps + 1), "path")
            with b.loop(3) as i:
                store(b, path, each(i), load(b, x, each(i)))
            with b.loop(steps) as k:
                here = View(path.array, path.at(each(k, 3)))
                slope = grad(f, 3)(b, here)
                with b.loop(2) as i:
                    step = b.compute(rules.multiply, (load(b, here, 2), load(b, slope, each(i))))
                    to = b.compute(rules.subtract, (load(b, here, each(i)), step))
                    store(b, here, each(i, 1, 3), to)
                store(b, here, 5, load(b, here, 2))
            last = View(path.array, path.at(3 * steps))
            return b.compute(rules.hypot, (load(b, last, 0), load(b, last, 1)))

        return end

    def potential_of(x: Any) -> Any:
        return cm.sin(x[0]) * cm.sin(x[0]) + cm.sin(x[1]) * cm.sin(x[1]) + cm.relu(x[0] * x[1])

    def descended_of(f: Any, steps: int) -> Any:
        def end(x: Any) -> Any:
            x = list(x)
            for _ in range(steps):
                slope = cr.grad(f)(x)
                x = [x[0] - x[2] * slope[0], x[1] - x[2] * slope[1], x[2]]
            return cm.hypot(x[0], x[1])

        return end

    f = descended(potential, inner) if inner else potential
    g = descended_of(potential_of, inner) if inner else potential_of
    return descended(f, outer), descended_of(g, outer)


@pytest.mark.parametrize(("inner", "outer"), [(0, 4), (2, 3)])
@pytest.mark.parametrize("xs", [(0.4, 0.7, 0.1), (0.5, 0.0, 0.2), (0.3, -0.2, 0.0)])
def test_gradients_in_loops(inner: int, outer: int, xs: tuple[float, ...]) -> None:
    """An optimization by gradients is differentiated itself, and again."""
    f, g = _particle(inner, outer)
    at = list(xs)
    assert_close(outputs(differentiated(program(f, 3)), xs), g(at))
    assert_close(outputs(differentiated(program(grad(f, 3), 3, 3)), xs), cr.grad(g)(at))
    product = program(push(grad(f, 3), 3, 3, lambda b, i: 1.0), 3, 3)
    assert_close(outputs(differentiated(product), xs), cr.hvp(g, (at,), ([1.0] * 3,)))
    pulled = outputs(with_gradients(program(grad(f, 3), 3, 3), range(3)), xs)
    assert_close(pulled, [*cr.grad(g)(at), *np.ravel(cr.hessian(g)(at))])


# Operations of users


def _square_sum(operation: Operation) -> Program:
    b = Builder(5)
    total = room(b, 1, "total", SUMS)
    with b.loop(4) as i:
        x, y = b.load(b.inputs, each(i)), b.load(b.inputs, each(i, 1, 1))
        add(b, total, 0, b.compute(operation, (x, y)))
    return b.finish([load(b, total, 0)])


def test_operations_of_users() -> None:
    """Local gradients that are written with the functions of the library become statements."""
    operation = Operation(
        "softer",
        lambda a, b: math.log1p(math.exp(a)) * b,
        [lambda y, a, b: cm.sigmoid(a) * b, lambda y, a, b: y / b],
    )
    p = _square_sum(operation)
    xs = [0.3, -0.5, 0.7, 1.1, 2.0]

    def f(xs: Any) -> Any:
        return sum([operation(xs[i], xs[i + 1]) for i in range(4)])

    assert_close(outputs(with_gradients(p, range(5)), xs)[1:], cr.grad(f)(xs))
    second = program(jacobian(grad(function_of(p), 5), 5, 5, True), 5, 25)
    assert_close(outputs(differentiated(second), xs), cr.hessian(f)(xs))


@pytest.mark.parametrize(
    "slope",
    [
        lambda y, a, b: 1.0 if a > 0 else 0.5,
        lambda y, a, b: math.exp(a),
        lambda y, a, b: a.data,
        lambda y, a, b: "x",
    ],
)
def test_operations_that_cannot_be_followed(slope: Any) -> None:
    """A local gradient that looks at numbers is for runs only."""
    p = _square_sum(Operation("odd", lambda a, b: a, [slope, lambda y, a, b: 0.0]))
    with pytest.raises(Untraceable, match="odd"):
        with_gradients(p, [0])


def test_local_gradients_may_look_at_constants() -> None:
    """What is a number in the program is one for a user's local gradient."""
    operation = Operation(
        "scaled", lambda a, n: a * n, [lambda y, a, n: n if n > 1 else 1.0 * n, lambda y, a, n: 0.0]
    )
    b = Builder(1)
    total = b.compute(rules.add, [b.compute(operation, (b.input(0), n)) for n in (2.0, 0.5)])
    assert outputs(with_gradients(b.finish([total]), [0]), [3.0]) == [7.5, 2.5]


def test_same_program_each_time() -> None:
    """Nothing hangs on the order of sets."""
    texts = {str(differentiated(random_program(6, segments=True))) for _ in range(3)}
    assert len(texts) == 1


# What random programs seldom have


def test_inputs_as_outputs() -> None:
    """Outputs that are inputs, alone and as elements of their array."""
    b = Builder(4)
    p = b.finish([Slice(b.inputs, 1, 2), b.input(3), b.compute(rules.sin, (b.input(2),))])
    xs = [0.5, 1.0, 2.0, 3.0]
    for places in ([0, 2, 3], [3, 1], []):
        expected = with_gradients_of_run(p, places, xs)
        assert_close(outputs(with_gradients(p, places), xs), expected)


def test_conditions_that_cancel() -> None:
    """Two messages with conditions 1 and -1 have come, though the sum of both is 0."""
    b = Builder(1)
    kept, total = room(b, 1, "kept"), room(b, 1, "total", SUMS)
    store(b, kept, 0, b.compute(rules.sqrt, (b.input(0),)))
    shift = b.table([1.0, -1.0])
    with b.loop(2) as i:
        moved = b.compute(rules.add, (load(b, kept, Index(0)), b.load(shift, each(i))))
        add(b, total, 0, b.compute(rules.absolute, (moved,)))
    p = b.finish([load(b, total, 0)])
    for x in (0.0, 0.25):
        expected = cr.grad(lambda xs: on_nodes(p)(xs)[0])([x])
        assert_close(outputs(with_gradients(p, [0]), [x])[1:], expected)
    assert math.isnan(outputs(with_gradients(p, [0]), [0.0])[1])


@pytest.mark.parametrize("forward", [False, True])
def test_values_of_earlier_instances_are_constants(forward: bool) -> None:
    """A segment in a loop reads what the one before has stored, without its derivative by that."""
    b = Builder(5)
    path, out = room(b, 5, "path"), room(b, 4, "out")
    store(b, path, 0, b.input(0))
    only_last = Table(np.array([0, 0, 0, 4]))
    with b.loop(4) as k:
        given, results = room(b, 1, "given"), room(b, 1, "results")
        with b.segment() as segment:
            x = b.enter(segment, Index(0), b.load(b.inputs, each(k, 1, 1)))
            store(b, path, each(k, 1, 1), b.compute(rules.sqrt, (x,)))
            before = load(b, path, each(k))
            total = room(b, 1, "total", SUMS)
            with b.loop(Index(0, (), ((only_last, each(k)),))) as i:
                add(b, total, 0, load(b, path, each(i, 1, 1)))
            y = b.compute(rules.multiply, (x, b.compute(rules.sqrt, (before,))))
            y = b.compute(rules.add, (y, load(b, total, 0)))
            b.leave(segment, Index(0), b.compute(rules.sin, (y,)))
        store(b, given, 0, 1.0)
        b.derive(segment, forward, given.array, given.first, results.array, results.first)
        store(b, out, each(k), load(b, results, 0))
    p = b.finish([Slice(out.array, 0, 4)])
    for xs in ([0.5, 1.0, 2.0, 0.75, -1.0], [0.5, 0.0, 2.0, 0.75, 1.0]):
        expected = numbers(on_nodes(p)([Node(x) for x in xs]))
        assert_close(outputs(differentiated(p), xs), expected)
        whole = with_gradients_of_run(p, range(5), xs)
        assert_close(outputs(with_gradients(p, range(5)), xs), whole)


def test_an_output_before_a_pick() -> None:
    """What comes to an output does not hang on what a later value picks."""
    b = Builder(1)
    given, results = room(b, 2, "given"), room(b, 1, "results")
    with b.segment() as segment:
        x = b.enter(segment, Index(0), b.input(0))
        doubled = b.compute(rules.multiply, (x, 2.0))
        b.leave(segment, Index(1), doubled)
        shifted = b.compute(rules.subtract, (doubled, 3.0))
        b.leave(segment, Index(0), b.compute(rules.relu, (shifted,)))
    for k in range(2):
        store(b, given, k, 1.0)
    b.derive(segment, False, given.array, given.first, results.array, results.first)
    p = differentiated(b.finish([load(b, results, 0)]))
    assert [outputs(p, [x]) for x in (1.0, 2.0)] == [[2.0], [4.0]]
