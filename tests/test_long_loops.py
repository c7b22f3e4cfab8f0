# ruff: noqa: D103
"""Long loops of a user's function, of which one iteration is traced: eager and compiled agree.

``python tests/test_long_loops.py 1000 SEED`` checks so many random programs.
"""

from __future__ import annotations

import os
from functools import reduce
from typing import Any

import numpy as np
import pytest
from long_loops import Program, program
from test_loop_programs import check_many

import chainrule as cr
from chainrule import math as cm
from chainrule.engine import COMPILED
from chainrule.rewriting import once

PROGRAMS = int(os.environ.get("CHAINRULE_LONG", "60" if COMPILED else "10"))
POINTS = np.random.default_rng(3).normal(size=(3, 9))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All loops are long that are of four iterations or more."""
    monkeypatch.setattr(once, "LIMIT", 0)


def flat(derivatives: Any) -> list[Any]:
    """Value, gradient and, if it is there, the Hessian."""
    (value, gradient), *more = derivatives
    return [value, gradient, *more]


def differences(program: Program) -> list[str]:
    """What is not right, in words; the Hessian at a point for odd seeds, over lanes for others."""
    f = program.function
    found: list[str] = []

    def of_array(p: Any) -> Any:
        return f(p[0], p[1], p[2], p[3:])

    def check(what: str, actual: Any, wanted: Any, tolerance: float) -> None:
        if not np.allclose(actual, wanted, rtol=tolerance, atol=tolerance, equal_nan=True):
            found.append(f"{what}: {actual} instead of {wanted}")

    def first(p: Any) -> Any:
        return (cr.value_and_grad(of_array)(p),)

    def second(p: Any) -> Any:
        return cr.value_and_grad(of_array)(p), cr.hessian(of_array)(p)

    at_a_point, over_lanes = (second, first) if program.seed % 2 else (first, second)
    value, compiled = cr.compile(of_array), cr.compile(at_a_point)
    columns = flat(cr.compile(cr.vmap(over_lanes))(POINTS))
    for k, p in enumerate(POINTS):
        wanted = flat(second(p))
        check("eager", wanted[0], of_array(p), 1e-14)
        check("value", value(p), wanted[0], 1e-12)
        names = "value", "gradient", "Hessian"
        for name, own, expected in zip(names, flat(compiled(p)), wanted, strict=False):
            check(f"{name} at a point", own, expected, 1e-9)
        for name, column, expected in zip(names, columns, wanted, strict=False):
            check(f"{name} of lanes", column[k], expected, 1e-9)
    return found


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_programs(seed: int) -> None:
    """Of random programs, all derivatives are the eager ones."""
    made = program(seed)
    assert not differences(made), made.source


# Which loops are traced once, and why others are not


def over_a_range(x: Any) -> Any:
    total = 0
    for k in range(len(x)):
        total = total + x[k] * k / (k + 1)
    return total


def in_another(x: Any) -> Any:
    total = 0.0
    for a in x:
        power, inner = 1.0, 0.0
        for b in x:
            inner = inner + b * power
            power = power * a
        total = total + inner * inner
    return total


def by_several(x: Any) -> Any:
    total = x[0] * 0.0
    for k, (a, b) in enumerate(zip(x, reversed([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), strict=True)):
        total = total * 0.5 + (a * b if k % 2 == 0 else a - b)
    return total + k + b


def appending(x: Any) -> Any:
    found, both = [], []
    for k, a in enumerate(x):
        found.append((k, a * a))
        both += [a + 1.0, 2.0 * a]
    return sum(k * a for k, a in found) + both[2] * both[-1]


def with_lists_of_its_own(x: Any) -> Any:
    state = [x[0], 0.0]
    for a in x:
        terms = [a]
        terms.append(a * 2.0)
        terms[0] = terms[0] + 1.0
        state = [state[1] * 0.5 + terms[0], state[0] + terms[1]]
    return state[0] * state[1]


def by_indices(x: Any) -> Any:
    total = 0.0
    for i, j in [(0, 1), (2, 4), (5, 5), (3, 0)]:
        total = total + x[i] * x[j]
    return total


def left_by_a_plain_bool(x: Any, stop: bool = False) -> Any:
    total = 0.0
    for a in x:
        total = total + a * a
        if stop:
            break
    return total


def of_functions(x: Any) -> Any:
    def both(a: Any) -> Any:
        terms = []
        for b in (a, 2.0 * a):
            terms.append(cm.sin(b))
        return terms[0] * terms[1]

    total = 0.0
    for a in x:
        total = total + both(a) + reduce(cm.maximum, [a, 0.1, 0.5 * a])
    return total


def assigned_in_some(x: Any) -> Any:
    total, last = 0.0, x[0]
    for k, a in enumerate(x):
        total = total + a
        if k % 3 == 1:
            last = a * a
    return total * last


def with_names_of_comprehensions(x: Any) -> Any:
    total = 0.0
    for a in x:
        terms = [a * b for b in (1.0, 2.0)]
        for b in terms:
            total = total + b * sum(c * b for c in terms)
        total = total + (lambda terms: terms * a)(total) * 0.1
    return total


def without_a_value_at_first(x: Any) -> Any:
    total = 0.0
    for a in x:
        for k in range(2):
            b = a * k
        total = total + a * b + k
    return total * b


def assigning_elements(x: Any) -> Any:
    state = [[x[0], 0.0], [1, x[1]]]
    same = state[0]
    for a in x:
        for i in range(2):
            state[i][0], state[i][1] = state[i][1] * 0.5 + a, state[i][0]
        same[1] += state[1][0] * a
        if a > 0.2:
            state[1][1] = a
    return state[0][0] * state[0][1] + state[1][0] * same[1]


def with_copies(x: Any) -> Any:
    state = [x[0], x[1]]
    for a in x:
        before = list(state)
        before[0] = before[0] * 0.5
        for i in range(2):
            state[i] = before[1 - i] + a
    return state[0] * state[1]


def extending(x: Any) -> Any:
    found, pairs = [x[0]], []
    for a in x:
        both = [a, 2.0 * a]
        for i in range(2):
            both[i] = both[i] * x[i]
            pairs += [[both[i], a] for _ in range(2)]
        found += both
        found += (a * a,)
    return sum(k * a for k, a in enumerate(found)) + sum(a * b for a, b in pairs) * len(pairs)


def of_comprehensions(x: Any) -> Any:
    squares = [a * a for a in x]
    rows = [[a * b + k * b for b in squares] for k, (a, _) in enumerate(zip(x, X, strict=True))]
    picked = [squares[i] * squares[j] for i, j in [(0, 1), (2, 4), (5, 5), (3, 0)]]
    found = []
    for a in x:
        found += [cm.sin(a * b) for b in picked]
    return sum(found) + sum(sum(row) for row in rows) + len(squares)


def summing(x: Any) -> Any:
    first = sum(cm.sin(v) * k for k, v in enumerate(x))
    second = sum([v * w for v, w in zip(x[1:], x[:5], strict=True)], x[0])
    return first * second + sum(x[i] * x[i - 1] for i in range(6))


def summing_by_two(x: Any) -> Any:
    return sum(v * w + x[k] for v in x for k, w in enumerate((1.0, x[2])))


def summing_in_a_loop(x: Any) -> Any:
    total = 0.0
    for w in x:
        total = total * w + sum(w * v for v in x)
    return total


def summing_sums(x: Any) -> Any:
    return sum(v * sum(cm.cos(w * v) for w in x) for v in x)


ONCE = (
    *(over_a_range, in_another, by_several, appending, with_lists_of_its_own, by_indices),
    *(left_by_a_plain_bool, of_functions, assigned_in_some, with_names_of_comprehensions),
    *(without_a_value_at_first, assigning_elements, with_copies, extending, of_comprehensions),
    *(summing, summing_by_two, summing_in_a_loop, summing_sums),
)


def counting(x: Any) -> Any:
    total, n = 0.0, 0
    for a in x:
        total = total + a
        n += 1
    return total / n


def stepping(x: Any) -> Any:
    total, t = 0.0, 0.0
    for a in x:
        total = total + a * t
        t = t + 0.1
    return total * t


def storing(x: Any) -> Any:
    found = [0.0] * 6
    for k, a in enumerate(x):
        found[k] = a * a
    return sum(found)


def left(x: Any) -> Any:
    total = 0.0
    for a in x:
        if total > 1.0:
            break
        total = total + a * a
    return total


def left_by_one_of_its_calls(x: Any) -> Any:
    return left_by_a_plain_bool(x) + left_by_a_plain_bool(x, True) * 0.5


def asked_after(x: Any) -> Any:
    total = 0.0
    for a in x:
        total = total + a * a
    if total > 1.0:
        return total
    return -total


def reading_what_it_appends(x: Any) -> Any:
    found = [x[0]]
    for a in x:
        found.append(found[-1] * 0.5 + a)
    return found[-1]


def of_another_kind(x: Any) -> Any:
    before, total = None, 0.0
    for a in x:
        total = total + (a if before is None else a * before)
        before = a
    return total


def having_an_effect(x: Any) -> Any:
    seen = {}
    total = 0.0
    for k, a in enumerate(x):
        seen[k] = a
        total = total + a
    return total * len(seen)


def assigning_by_two_names(x: Any) -> Any:
    first = second = [x[0], x[1]]
    for a in x:
        first[0] = a
        second = [second[1], second[0] * 0.5]
    return first[0] + second[0] * second[1]


def reading_before_it_has_a_value(x: Any) -> Any:
    total = 0.0
    for k, a in enumerate(x):
        total = total + (before if k > 0 else a)  # type: ignore[has-type]  # noqa: F821
        before = total * a  # noqa: F841
    return total


def summing_with_an_effect(x: Any) -> Any:
    seen: dict[int, Any] = {}
    return sum(seen.setdefault(k, v) for k, v in enumerate(x)) * len(seen)


def by_its_index(x: Any) -> Any:
    total = 0.0
    for k in range(1, 6):
        for a in x[:k]:
            total = total + a
    return total


def noted(a: Any) -> Any:
    NOTED.append(1.0)
    return a


def of_comprehensions_with_an_effect(x: Any) -> Any:
    found = [noted(a) * a for a in x]
    return sum(found) + len(NOTED) * 0.0


PLAIN = {
    counting: "a variable changes that is no number with fractions",
    stepping: "a variable changes that is no number with fractions",
    storing: "an element is assigned",
    left: "a comparison is asked for its truth",
    left_by_one_of_its_calls: "an iteration may be left",
    asked_after: "a comparison asks for what it computes",
    reading_what_it_appends: "something is appended to a list in another way",
    of_another_kind: "a variable changes its structure",
    having_an_effect: "an element is assigned",
    assigning_by_two_names: "it assigns elements of a list that it hands on as well",
    reading_before_it_has_a_value: "a value that it computes is asked for",
    of_comprehensions_with_an_effect: "something is appended to a list in another way",
    summing_with_an_effect: "setdefault may have an effect",
}
NOTED: list[float] = []
X = np.array([0.3, -1.2, 0.7, 0.4, 1.5, -0.6])


def loops_of(f: Any) -> list[Any]:
    """What was done with the loops of a function, whose derivatives are the eager ones."""

    def derived(x: Any) -> Any:
        return cr.value_and_grad(f)(x), cr.hessian(f)(x)

    compiled = cr.compile(derived)
    for x in (X, X[::-1].copy()):
        (y, slope), bend = compiled(x)
        (wanted, slopes), bends = derived(x)
        np.testing.assert_allclose(y, wanted, rtol=1e-14)
        np.testing.assert_allclose(slope, slopes, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(bend, bends, rtol=1e-12, atol=1e-14)
    return [x for x in compiled.stats().branches if x.kind in ("for", "sum")]


@pytest.mark.parametrize("f", ONCE)
def test_loops_that_are_traced_once(f: Any) -> None:
    """One iteration of them stands for all."""
    loops = loops_of(f)
    assert loops
    assert all(x.both for x in loops), loops


@pytest.mark.parametrize("f", PLAIN)
def test_loops_whose_iterations_are_all_recorded(f: Any) -> None:
    """And why it is so."""
    (loop,) = loops_of(f)
    assert not loop.both
    assert loop.why.startswith(PLAIN[f]), loop.why


def test_a_loop_that_the_index_of_another_makes_of_other_lengths() -> None:
    """That one is a plain one."""
    assert not all(x.both for x in loops_of(by_its_index))


def test_loops_are_plain_where_nothing_is_rewritten() -> None:
    """With ``rewrite=False``."""
    compiled = cr.compile(over_a_range, rewrite=False)
    np.testing.assert_allclose(compiled(X), over_a_range(X), rtol=1e-14)
    assert not compiled.stats().branches


def test_short_loops_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long ones are those of many operations, whatever the number of iterations."""
    monkeypatch.setattr(once, "LIMIT", 10_000)
    for count, long in ((100, False), (10_000, True)):
        compiled = cr.compile(over_a_range)
        x = np.linspace(-1.0, 1.0, count)
        np.testing.assert_allclose(compiled(x), over_a_range(x), rtol=1e-12)
        assert [x.both for x in compiled.stats().branches] == [True] * long


def test_sums_are_those_of_python() -> None:
    """Of another function of that name; their errors; and what begins with something else."""

    def product(x: Any) -> Any:
        sum = cm.prod
        return sum(v + 1.0 for v in x)

    def outside(x: Any) -> Any:
        return sum(x[i] * x[i + 1] for i in range(6))

    def words(x: Any) -> Any:
        return sum((v for v in x), "")

    def lists(x: Any) -> Any:
        return sum(([v, 2.0 * v] for v in x), [])[3]  # noqa: RUF017

    for f in (product, lists):
        np.testing.assert_allclose(cr.compile(cr.grad(f))(X), cr.grad(f)(X), rtol=1e-14)
    for f in (outside, words):
        with pytest.raises((IndexError, TypeError)) as expected:
            f(X)
        with pytest.raises(expected.type) as found:
            cr.compile(f)(X)
        assert f is outside or str(found.value) == str(expected.value)


def test_short_sums_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """As loops are; the largest element of a long array is found without nodes as well."""
    monkeypatch.setattr(once, "LIMIT", 40_000)

    def f(x: Any) -> Any:
        largest = np.max(x)
        return largest + cm.log(sum(cm.exp(v - largest) for v in x)) * x.min()

    for count, long in ((1_000, False), (30_000, True)):
        x = np.random.default_rng(2).normal(size=count)
        compiled = cr.compile(cr.value_and_grad(f))
        for some in (x, x[::-1].copy()):
            (y, slope), (wanted, slopes) = compiled(some), cr.value_and_grad(f)(some)
            np.testing.assert_allclose(y, wanted, rtol=1e-12)
            np.testing.assert_allclose(slope, slopes, rtol=1e-11, atol=1e-15)
        assert [x.both for x in compiled.stats().branches] == [True] * long


def test_what_is_asked_of_plain_numbers_in_its_first_iteration() -> None:
    """Of floats Python raises exceptions that it does not raise of nodes."""

    def f(x: Any, first: int) -> Any:
        ratio, total = first, 0.0
        for a in x:
            total = total + a * (2.0 / ratio)
            ratio = 1.0 + a * a
        return total

    compiled = cr.compile(lambda x, first: f(x, 2) + f(x, first))
    with pytest.raises(ZeroDivisionError):
        f(X, 0)
    with pytest.raises(ZeroDivisionError):
        compiled(X, 0)


def test_loops_in_one_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were long by its iterations alone, and are short again."""
    monkeypatch.setattr(once, "LIMIT", 10_000)

    def f(w: Any) -> Any:
        total = 0.0
        for i in range(1_000):
            found = []
            for j in range(8):
                found.append(w[j] * (0.001 * i) + w[8 + j])
            inner = 0.0
            for j in range(8):
                inner = inner + cm.exp(found[j])
            total = total + cm.log(inner) - found[i % 8]
        return total

    check_plain(f, "its index is used in a loop in it")


def test_loops_that_are_others_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code for each of them would be long."""
    monkeypatch.setattr(once, "LIMIT", 100)

    def f(w: Any) -> Any:
        total, count = w[0], 0
        total, count = w[0], 0
        while count < 40:
            count += 1
            inner = 0.0
            for t in np.linspace(0.0, 1.0, 50).tolist():
                inner = inner + cm.sin(w[1] * t + total * w[2] * count)
            total = total + 0.0001 * inner
        return total

    check_plain(f, "it runs often, and is another one then")


def test_loops_in_an_iteration_that_read_by_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are found again as they are written, though others would be as short."""
    monkeypatch.setattr(once, "LIMIT", 10_000)
    units = range(14)

    def f(w: Any, x: Any) -> Any:
        hidden, cell, total = [[0.5] * 14, [0.0] * 14], [[0.1] * 14, [0.2] * 14], 0.0
        for a in x:
            given = [a * w[u] for u in units]
            for k in range(2):
                for u in units:
                    forget = cm.sigmoid(given[u] * w[14 + 42 * k + u])
                    change = cm.tanh(hidden[k][u] * w[28 + 42 * k + u] + w[42 + 42 * k + u])
                    cell[k][u] = cell[k][u] * forget + change
                    hidden[k][u] = forget * cm.tanh(cell[k][u])
                given = list(hidden[k])
            total = total + sum(given)
        return total

    rng = np.random.default_rng(2)
    w, x = rng.normal(size=98) * 0.4, rng.normal(size=200)
    compiled = cr.compile(cr.value_and_grad(f))
    (y, slopes), (wanted, wanted_slopes) = compiled(w, x), cr.value_and_grad(f)(w, x)
    np.testing.assert_allclose(y, wanted, rtol=1e-12)
    np.testing.assert_allclose(slopes, wanted_slopes, rtol=1e-9, atol=1e-12)
    assert [x.both for x in compiled.stats().branches if "cell" not in x.why].count(True) == 1
    assert "numbers" not in str(compiled.programs()[0])


def convolved(x: Any, w: Any) -> Any:
    """A convolution: the outer loop's index looks up rows in the inner one."""
    total = 0.0
    for i in range(len(x) - 2):
        for j in range(len(x[0]) - 2):
            found = 0.0
            for a in range(3):
                for b in range(3):
                    found = found + w[a][b] * x[i + a][j + b]
            total = total + cm.tanh(found)
    return total


@pytest.mark.parametrize("size", [24, 34])
def test_an_index_that_is_used_in_a_loop_in_it(size: int) -> None:
    """The outer loop is recorded iteration by iteration, not the inner one: code stays short."""
    rng = np.random.default_rng(5)
    x, w = rng.normal(size=(size, size)), rng.normal(size=(3, 3))
    compiled = cr.compile(cr.grad(convolved, argnums=(0, 1)))
    found, expected = compiled(x, w), cr.grad(convolved, argnums=(0, 1))(x, w)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    stats = compiled.stats()
    assert [x.both for x in stats.branches if "is used in a loop" in x.why] == [False]
    assert stats.nodes < 300


def test_nodes_of_inputs_are_no_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not make a loop a long one."""
    monkeypatch.setattr(once, "LIMIT", 40_000)
    x, w = np.sin(np.arange(42.0 * 42.0)).reshape(42, 42), np.ones((3, 3))
    compiled = cr.compile(cr.grad(convolved))
    np.testing.assert_allclose(compiled(x, w), cr.grad(convolved)(x, w), rtol=1e-9, atol=1e-12)
    assert not compiled.stats().branches


def check_plain(f: Any, why: str) -> None:
    """See that loops stay plain, for a reason among others, and code is short."""
    compiled, x = cr.compile(cr.value_and_grad(f)), np.random.default_rng(4).uniform(-1.0, 1.0, 16)
    (y, slopes), (wanted, wanted_slopes) = compiled(x), cr.value_and_grad(f)(x)
    np.testing.assert_allclose(y, wanted, rtol=1e-12)
    np.testing.assert_allclose(slopes, wanted_slopes, rtol=1e-9, atol=1e-12)
    stats = compiled.stats()
    assert why in [x.why for x in stats.branches]
    assert not any(x.both for x in stats.branches)
    assert stats.nodes < 300


if __name__ == "__main__":
    once.LIMIT = 0  # type: ignore[misc]
    check_many("long loops", program, differences)
