"""Loops that end by a condition, in loops: compiled they are what Python does, in few traces."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from random import Random
from typing import Any

import numpy
import pytest
from numpy.testing import assert_allclose
from test_whiles import by_hand, compare

import chainrule.math as cm
from chainrule import (
    Operation,
    compile,
    debug_print,
    grad,
    lax,
    take,
    value_and_grad,
    vmap,
)
from chainrule.carries import EndlessError

COUNT = int(os.environ.get("CHAINRULE_LOOPS", "15"))
FIRST = int(os.environ.get("CHAINRULE_FIRST", "0"))


class Source:
    """Writes a function of two numbers with loops in loops, two or three deep."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._names = 0
        self.lines = ["def function(loop, a, b):"]

    def _new(self) -> str:
        self._names += 1
        return f"v{self._names}"

    def _say(self, depth: int, line: str) -> None:
        self.lines.append("    " * depth + line)

    def _term(self, names: list[str]) -> str:
        """A number between -1 and 1."""
        p, q, r = (self._random.choice(names) for _ in range(3))
        return self._random.choice(
            [
                f"cm.sin({p} + {q})",
                f"cm.tanh({p} * {q})",
                f"cm.tanh(cm.where({p} < {q}, {r}, 0.5 * {p}))",
                f"cm.tanh(cm.sqrt(cm.where({p} > 0.0, {p}, 1.0)))",
                f"cm.exp(-abs({p}))",
                f"cm.tanh(grad(lambda t: cm.sin(t * {q} + {r}))({p}))",
            ]
        )

    def body(self, depth: int, names: list[str], deeper: int) -> str:
        """Statements; gives the name of a number between -2 and 2."""
        names = [*names]
        kinds = [self._while, self._while, self._slope, self._cond, self._scan, self._fori]
        kinds += [self._search]
        for _ in range(self._random.randint(1, 2)):
            if deeper and self._random.random() < 0.8:
                found = self._random.choice(kinds)(depth, names, deeper - 1)
            else:
                found = self._new()
                self._say(depth, f"{found} = {self._term(names)}")
            names.append(found)
        found = self._new()
        self._say(depth, f"{found} = {self._term(names[-3:])} + 0.5 * {self._term(names)}")
        return found

    def _while(self, depth: int, names: list[str], deeper: int) -> str:
        """A loop of 0 to 20 iterations."""
        random = self._random
        f, c, s, x, found = (self._new() for _ in range(5))
        rate, least = random.choice([0.5, 0.8]), random.choice(["0.02", "0.1 * abs(b) + 0.01"])
        self._say(depth, f"def {f}({s}):")
        self._say(depth + 1, f"{x}, k, n = {s}")
        inner = self.body(depth + 1, [*names, x, "k"], deeper)
        term = self._term([*names, inner, x])
        given = f"{rate} * {x} * (1.0 - 0.2 * {inner} * {term}), k + 0.1 * {inner}, n + 1.0"
        self._say(depth + 1, f"return {given}")
        self._say(depth, f"def {c}({s}):")
        self._say(depth + 1, f"{x}, k, n = {s}")
        also = random.choice(["", "", f" & ({self._term(names)} < 0.8 + 0.0 * k)"])
        size = random.choice([f"abs({x})", f"{x} * {x}"])
        most = random.choice([3.0, 20.0])
        self._say(depth + 1, f"return (({size} > {least}){also}) & (n < {most})")
        first = f"{self._random.choice(names)}, 0.1 * b, 0.0"
        self._say(depth, f"{found} = loop({c}, {f}, ({first}))")
        self._say(depth, f"{found} = {found}[0] + cm.sin({found}[1] - 0.01 * {found}[2])")
        return found

    def _search(self, depth: int, names: list[str], deeper: int) -> str:
        """Where a number stands in a table, found by going there, and what the table has there."""
        x, i, found = (self._new() for _ in range(3))
        self._say(depth, f"{x} = {self._term(names)}")
        self._say(depth, f"{i} = loop(lambda i: take(TABLE, i) < {x}, lambda i: i + 1, 0)")
        self._say(depth, f"{found} = {x} * take(TABLE, {i} - 1) + take(TABLE, {i}) * 0.3")
        return found

    def _slope(self, depth: int, names: list[str], deeper: int) -> str:
        """The derivative of something with a loop in it."""
        f, x, found = (self._new() for _ in range(3))
        self._say(depth, f"def {f}({x}):")
        inner = self.body(depth + 1, [*names, x], deeper)
        self._say(depth + 1, f"return {inner} + 0.3 * {x}")
        self._say(depth, f"{found} = cm.tanh(grad({f})({self._random.choice(names)}))")
        return found

    def _cond(self, depth: int, names: list[str], deeper: int) -> str:
        sides = [self._new(), self._new()]
        for side in sides:
            self._say(depth, f"def {side}():")
            self._say(depth + 1, f"return {self.body(depth + 1, names, deeper)}")
        found = self._new()
        low, high = self._term(names), self._term(names)
        self._say(depth, f"{found} = lax.cond({low} < {high}, {', '.join(sides)})")
        return found

    def _scan(self, depth: int, names: list[str], deeper: int) -> str:
        f, c, z, found = (self._new() for _ in range(4))
        self._say(depth, f"def {f}({c}, {z}):")
        inner = self.body(depth + 1, [*names, c, z], deeper)
        self._say(depth + 1, f"return 0.5 * {c} + {inner}, {inner}")
        rows = f"numpy.linspace(-0.5, 1.0, {self._random.choice([3, 6])})"
        self._say(depth, f"{found} = lax.scan({f}, {self._random.choice(names)}, {rows})")
        self._say(depth, f"{found} = cm.tanh({found}[0] + {found}[1].sum())")
        return found

    def _fori(self, depth: int, names: list[str], deeper: int) -> str:
        f, i, c, found = (self._new() for _ in range(4))
        self._say(depth, f"def {f}({i}, {c}):")
        inner = self.body(depth + 1, [*names, c, f"(0.1 * {i})"], deeper)
        self._say(depth + 1, f"return cm.sin({c} + {inner})")
        first = self._random.choice(names)
        self._say(depth, f"{found} = lax.fori_loop(0, 5, {f}, {first})")
        return found


def generated(seed: int) -> Callable[[Any, Any, Any], Any]:
    """A function of two numbers, given how loops run."""
    source = Source(Random(seed))
    result = source.body(1, ["a", "b"], 3)
    asked = Random(seed).random() < 0.3
    last = f"{result} if {result} < a + b else 2.0 * {result}" if asked else result
    lines = [*source.lines, f"    return {last}"]
    space: dict[str, Any] = {"cm": cm, "grad": grad, "lax": lax, "numpy": numpy, "take": take}
    space["TABLE"] = numpy.append(numpy.linspace(-2.0, 1.5, 9), 9.0)  # it ends beyond all terms
    exec("\n".join(lines), space)
    function: Callable[[Any, Any, Any], Any] = space["function"]
    return function


def check(seed: int) -> None:
    """Values and derivatives to second order, at a point and over lanes of different lengths."""
    lanes = numpy.random.default_rng(seed).uniform(-1.5, 1.5, (2, 7))
    compare(generated(seed), lanes, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_random(seed: int) -> None:
    """Random programs."""
    check(seed)


def root(loop: Any, y: Any, least: float = 1e-12) -> Any:
    """The square root of a positive number."""
    return loop(lambda z: abs(z * z - y) > least * y, lambda z: 0.5 * (z + y / z), y)


def lowest(loop: Any, a: Any) -> Any:
    """Where a function with a loop in it is smallest, by its derivative."""

    def height(x: Any) -> Any:
        return root(loop, (x - a) ** 2 + 1.0) + 0.1 * x

    def step(state: Any) -> Any:
        x, _ = state
        slope = grad(height)(x)
        return x - 0.5 * slope, slope

    return loop(lambda state: abs(state[1]) > 1e-9, step, (a + 1.0, 1.0))[0]


@pytest.mark.parametrize("transform", [lambda f: f, grad, lambda f: grad(grad(f))])
def test_one_trace(transform: Any) -> None:
    """A loop whose iterations differentiate a loop is traced once for all numbers of iterations."""
    compiled = compile(transform(lambda a: lowest(lax.while_loop, a)))
    reference = transform(lambda a: lowest(by_hand, a))
    for a in (0.5, -20.0, 3.0, 200.0, 0.0, 7.5, -1.0):
        assert_allclose(compiled(a), reference(a), rtol=1e-7, atol=1e-9)
    assert compiled.stats().traces == 1
    lanes = numpy.linspace(-50.0, 50.0, 37)
    found = compile(vmap(transform(lambda a: lowest(lax.while_loop, a))))
    expected = [reference(a) for a in lanes.tolist()]
    assert_allclose(found(lanes), expected, rtol=1e-7, atol=1e-9)
    assert found.stats().traces == 1


def test_outgrown() -> None:
    """A loop that takes more iterations than any before it, by much: it is traced anew."""

    def f(loop: Any, a: Any, least: Any) -> Any:
        def step(c: Any, z: Any) -> Any:
            x, n = loop(lambda s: s[0] > least, lambda s: (0.9 * s[0], s[1] + 1.0), (c * z, 0.0))
            return c + x, n

        return lax.scan(step, a, numpy.linspace(0.5, 2.0, 9))[1]

    compiled = compile(lambda a, least: f(lax.while_loop, a, least))
    for least in (0.5, 0.4, 1e-3, 1e-2, 1e-60, 2.0):
        assert compiled(1.0, least).tolist() == f(by_hand, 1.0, least).tolist()
    assert compiled.stats().traces == 1
    lanes = numpy.geomspace(1e-100, 1.0, 23)
    found = compile(vmap(lambda least: f(lax.while_loop, 1.0, least)))(lanes)
    assert_allclose(found, [f(by_hand, 1.0, least) for least in lanes.tolist()])


def test_endless() -> None:
    """A loop in a loop that does not end is said; one that nobody asks for is not."""

    def f(x: Any, most: int | None = 50) -> Any:
        def step(c: Any, z: Any) -> Any:
            inner = lax.while_loop(lambda s: s > 1.0, lambda s: s - c, z, max_iterations=most)
            return c, inner

        return lax.scan(step, x, numpy.arange(1.0, 9.0))[1].sum()

    compiled = compile(f)
    assert compiled(0.5) == f(0.5)
    for x in (0.1, 0.0):
        with pytest.raises(EndlessError) as eager:
            f(x)
        with pytest.raises(EndlessError) as found:
            compiled(x)
        assert str(found.value) == str(eager.value)
    assert compiled(0.25) == f(0.25)

    def chosen(c: Any, z: Any) -> Any:
        def shrunk() -> Any:
            return lax.while_loop(lambda s: s > 1.0, lambda s: s * z, 10.0, max_iterations=300)

        return c + lax.cond(z < 0.95, shrunk, lambda: 0.5), c

    def otherwise(c: Any, z: Any) -> Any:
        def shrunk() -> Any:
            return lax.while_loop(lambda s: s > 1.0, lambda s: s * z, 10.0, max_iterations=300)

        return c + lax.cond(z >= 0.95, lambda: 0.5, shrunk), c

    rows = numpy.linspace(0.5, 2.0, 9)
    for step in (chosen, otherwise):
        compiled = compile(lambda a, step=step: lax.scan(step, a, rows)[0])
        assert compiled(1.0) == lax.scan(step, 1.0, rows)[0]
        assert compiled.stats().traces == 1


def test_in_vain_after_the_end() -> None:
    """What ends a loop is no number with which one in it ends."""

    def f(loop: Any, a: Any) -> Any:
        def step(s: Any) -> Any:
            x, total = s
            return x - 1.0, total + loop(lambda z: z < 1e6, lambda z: z * (1.0 + x), a)

        return loop(lambda s: s[0] > 0.5, step, (a, 0.0))[1]

    compiled = compile(lambda a: f(lax.while_loop, a))
    for a in (3.0, 7.0, 12.0):  # at the end x is 0
        assert compiled(a) == f(by_hand, a)
    assert compiled.stats().traces == 1


def test_results_that_are_asked() -> None:
    """Branches by what loops have computed do not make these plain ones."""

    def f(loop: Any, x: Any) -> Any:
        y, left = lax.scan(lambda c, z: (root(loop, c * z + 1.0), c), x, numpy.arange(1.0, 9.0))
        y = y if y > 3.5 else 2.0 * y
        z = loop(lambda s: s[0] > 0.1, lambda s: (0.5 * s[0], s[1] + root(loop, s[0])), (y, 0.0))
        return z[1] if z[1] > 5.0 or left[5] > 3.0 else z[0]

    compiled = compile(value_and_grad(lambda x: f(lax.while_loop, x)))
    for x in (0.3, 2.0, 9.0, 100.0):
        assert_allclose(compiled(x), value_and_grad(lambda x: f(by_hand, x))(x), rtol=1e-9)
    assert compiled.stats().nodes < 600

    def g(x: Any, rows: Any) -> Any:
        end = lax.scan(lambda c, z: (0.9 * c + z, None), x, rows)[0]
        return end if end > 1.0 else -end

    sizes = set()
    for length in (50, 5_000):
        compiled = compile(g)
        rows = numpy.linspace(-1.0, 1.0, length)
        for x in (0.3, 5.0):
            assert compiled(x, rows) == pytest.approx(g(x, rows))
        sizes.add(compiled.stats().nodes)
    assert len(sizes) == 1, "it grows with the length"


def test_constant() -> None:
    """A loop in which no input has a part does not make others plain."""

    def f(loop: Any, a: Any) -> Any:
        def step(c: Any, z: Any) -> Any:
            n = loop(lambda n: n < 9.5, lambda n: n + 1.0, 0.0)
            x = loop(lambda s: s[0] < 40.0, lambda s: (s[0] + a, s[1] * 0.9), (0.0, 1.0))[1]
            return c + n * root(loop, c * z + 1.0) + x, c

        return lax.scan(step, a, numpy.linspace(0.5, 3.0, 9))[0]

    compiled = compile(value_and_grad(lambda a: f(lax.while_loop, a)))
    for a in (1.0, 7.0, 0.3):
        assert_allclose(compiled(a), value_and_grad(lambda a: f(by_hand, a))(a), rtol=1e-9)
    assert compiled.stats().traces == 1
    assert compiled.stats().nodes < 300


def test_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A run in numbers, which shows how long loops are, prints nothing."""

    def f(a: Any) -> Any:
        def step(c: Any, z: Any) -> Any:
            return root(lax.while_loop, c + z), c

        end = lax.scan(step, a, numpy.arange(1.0, 9.0))[0]
        debug_print("{}", end)
        return end

    compiled = compile(f)
    for a in (1.0, 1e9):
        assert compiled(a) == f(a)
    assert len(capsys.readouterr().out.split()) == 4


def _counted(loop: Any, x: Any) -> Any:
    """How often a number is to be multiplied by 0.8 to be below 1."""
    return loop(lambda s: s[0] > 1.0, lambda s: (s[0] * 0.8, s[1] + 1.0), (x, 0.0))[1]


def _in_vain(loop: Any, a: Any, halved: Any) -> Any:
    def step(c: Any, z: Any) -> Any:
        return loop(lambda s: s > 0.9, lambda s: halved(s) + 0.1, c * z), c

    return lax.scan(step, a, numpy.linspace(0.5, 9.0, 12))[0]


def _not_in_a_loop(loop: Any, a: Any, halved: Any) -> Any:
    counts = lax.map(lambda z: _counted(loop, a * z), numpy.linspace(0.5, 9.0, 12))
    return counts.sum() + loop(lambda s: s > 0.9, lambda s: halved(s) + 0.1, a)


def _by_what_is_not_computed(loop: Any, a: Any, halved: Any) -> Any:
    def step(c: Any, z: Any) -> Any:
        x = loop(lambda s: s > 1.0, lambda s: s * 0.8, c * z)
        return halved(2.0 - x) + 2.0 * c, x

    return lax.scan(step, a, numpy.linspace(0.5, 3.0, 8))[0]


@pytest.mark.parametrize("f", [_in_vain, _not_in_a_loop, _by_what_is_not_computed])
def test_what_may_raise(f: Any) -> None:
    """An operation that may raise does not run in vain, nor by what is not computed yet."""
    halved = Operation("halved", lambda x: x / 2.0 if x > 0.4 else _raise(), [lambda y, x: 0.5])
    compiled = compile(lambda a: f(lax.while_loop, a, halved))
    for a in (3.0, 0.1, 30.0, 1e9):
        assert compiled(a) == pytest.approx(f(by_hand, a, halved))


def test_looked_up() -> None:
    """An element at a place that a loop has found."""
    table = numpy.arange(40.0)

    def f(loop: Any, a: Any) -> Any:
        def step(c: Any, z: Any) -> Any:
            n = _counted(loop, c * z)
            return 0.5 * c + take(table, round(35.0 - n)), n

        return lax.scan(step, a, numpy.linspace(0.5, 3.0, 8))[0]

    compiled = compile(lambda a: f(lax.while_loop, a))
    for a in (1.0, 5.0, 30.0):
        assert compiled(a) == pytest.approx(f(by_hand, a))


def _searched(loop: Any, table: Any, xs: Any) -> Any:
    """Interpolation, by a search from the beginning."""

    def step(total: Any, x: Any) -> Any:
        i = loop(lambda i: take(table, i) < x, lambda i: i + 1, 1)
        low, high = take(table, i - 1), take(table, i)
        return total + (x - low) / (high - low) * take(table, -i), i

    return lax.scan(step, 0.0, xs)


def test_searched() -> None:
    """Loops that look up by a counter are traced once, and so are their derivatives."""
    table, random = numpy.linspace(0.0, 2.0, 30) ** 2, numpy.random.default_rng(0)
    rows = random.uniform(0.01, 3.9, (5, 40))
    compiled = compile(grad(lambda table, xs: _searched(lax.while_loop, table, xs)[0]))
    places = compile(lambda table, xs: _searched(lax.while_loop, table, xs)[1])
    for xs in rows:
        expected = grad(lambda table, xs=xs: _searched(by_hand, table, xs)[0])(table)
        assert_allclose(compiled(table, xs), expected, rtol=1e-9, atol=1e-12)
        assert places(table, xs).tolist() == _searched(by_hand, table, xs)[1].tolist()
    assert compiled.stats().traces == 1
    lanes = compile(vmap(lambda xs: _searched(lax.while_loop, table, xs)[0]))
    assert_allclose(lanes(rows), [_searched(by_hand, table, xs)[0] for xs in rows])
    assert lanes.stats().traces == 1


def test_outside() -> None:
    """An index that is outside is said, if a loop really comes to it, and only then."""
    table = numpy.linspace(0.0, 2.0, 30) ** 2
    compiled = compile(lambda xs: _searched(lax.while_loop, table, xs)[0])
    for last in (3.0, 4.5, 1.0):
        xs = numpy.append(numpy.linspace(0.1, 3.9, 10), last)
        if last > table[-1]:
            with pytest.raises(IndexError):
                compiled(xs)
        else:
            assert compiled(xs) == pytest.approx(_searched(by_hand, table, xs)[0])

    def ended(loop: Any, a: Any, bounds: Any) -> Any:
        """The last element is looked up in the last iteration that counts."""

        def body(s: Any) -> Any:
            return s[0] + 1, s[1] + take(table, s[0])

        def step(c: Any, k: Any) -> Any:
            return c + loop(lambda s: s[0] < k, body, (k - 3, c))[1], c

        return lax.scan(step, a, bounds)[0]

    ends = numpy.array([30, 4, 9, 30, 12])
    compiled = compile(lambda a, ends: ended(lax.while_loop, a, ends))
    assert compiled(0.3, ends) == pytest.approx(ended(by_hand, 0.3, ends))
    assert compiled.stats().nodes < 100
    with pytest.raises(IndexError):
        compiled(0.3, ends + 1)
    assert compiled(0.3, ends - 1) == pytest.approx(ended(by_hand, 0.3, ends - 1))

    def not_taken(a: Any, xs: Any, places: Any) -> Any:
        def step(c: Any, row: Any) -> Any:
            x, k = row
            return lax.cond(x > 0.0, lambda: c + take(table, k) * a, lambda: 0.5 * c), c

        return lax.scan(step, a, (xs, places))[0]

    xs, places = numpy.array([1.0, -1.0, 2.0, -3.0, 0.5]), numpy.array([3, 99, -30, -31, 29])
    compiled = compile(value_and_grad(not_taken))
    others = numpy.array([40, 3, -50, 5, 77])
    for rows in ((xs, places), (-xs, others), (xs[::-1], places[::-1])):
        assert_allclose(compiled(0.7, *rows), value_and_grad(not_taken)(0.7, *rows))
    assert compiled.stats().traces == 1
    with pytest.raises(IndexError):
        compiled(0.7, abs(xs), places)


def _raise() -> float:
    raise ArithmeticError("computed in vain")


if __name__ == "__main__":
    wrong = False
    for number in range(int(sys.argv[2]), int(sys.argv[2]) + int(sys.argv[1])):
        try:
            check(number)
        except Exception as problem:
            wrong = True
            print(number, type(problem).__name__, str(problem)[:300])
            if len(sys.argv) > 3:
                raise
    sys.exit(wrong)
