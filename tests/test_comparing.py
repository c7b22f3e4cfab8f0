"""Comparisons are the bools that they are in plain Python, and numbers are numbers."""

from __future__ import annotations

import copy
import itertools
import math
import operator
import pickle
import warnings
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.math as cm
from chainrule import BranchWarning, Node, TracedValueError, domain_errors, grad, vmap
from chainrule.jit import trace

INF, NAN = math.inf, math.nan
POINTS = [-2.5, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, NAN, INF]


def outcome(f: Callable[..., Any], *args: Any) -> Any:
    """The result, or the class of the error."""
    try:
        return f(*args)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return type(error)


def alike(found: Any, expected: Any) -> bool:
    """Whether two outcomes are the same; NaN is NaN."""
    if isinstance(found, type) or isinstance(expected, type):
        return found is expected
    return bool(found == expected) or bool(found != found and expected != expected)


# A comparison made twice is decided once


def test_a_comparison_made_twice_is_decided_once() -> None:
    """The kernel's exp may differ from Python's in the last place: both branches go one way."""

    def costs(x: Any) -> Any:
        level = cm.exp(x)
        fee = 1.0 if level >= 5 else 2.0
        tax = 10.0 if cm.exp(x) >= 5 else 20.0
        rest = 100.0 if not level < 5 else 200.0
        return fee + tax + rest

    at = math.log(5.0)
    near = [at]
    for _ in range(20):
        near = [math.nextafter(near[0], 0.0), *near, math.nextafter(near[-1], 9.0)]
    for start in near:
        compiled = cr.compile(costs)
        assert {compiled(x) for x in (start, *near)} <= {111.0, 222.0}
        assert set(cr.compile(vmap(costs))(np.array([start, *near]))) <= {111.0, 222.0}
        assert compiled.stats().traces <= 2


RELATIONS = [
    ("{a} < {b}", operator.lt),
    ("{a} <= {b}", operator.le),
    ("{a} > {b}", operator.gt),
    ("{a} >= {b}", operator.ge),
    ("{a} == {b}", operator.eq),
    ("{a} != {b}", operator.ne),
]


def repeated(rng: Random) -> tuple[str, Callable[..., Any]]:
    """A program of comparisons of few operands, made again and again in other forms."""
    lines = ["def f(x, y):", "    n = 0.0"]
    names = ["x", "y", "x * y", "-x", "-y", "1.0", "0.5", "-0.5", "0.0", "abs(x)", "(x + y)"]
    chosen = rng.sample(names, 4)
    for k in range(rng.randint(4, 9)):
        conditions = []
        for _ in range(rng.randint(1, 3)):
            a, b = rng.sample(chosen, 2)
            text = rng.choice(RELATIONS)[0].format(a=a, b=b)
            conditions.append(f"(not {text})" if rng.random() < 0.3 else f"({text})")
        joined = rng.choice([" and ", " or ", " & ", " | ", " ^ "]).join(conditions)
        lines.append(f"    n += {2.0**k} if {joined} else 0.0")
    source = "\n".join([*lines, "    return n"])
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    return source, namespace["f"]


@pytest.mark.parametrize("seed", range(60))
def test_repeated_comparisons(seed: int) -> None:
    """Swapped, negated, NaN, combined: each path is one that some values take, and is right."""
    source, f = repeated(Random(seed))
    values = [-1.0, -0.5, 0.0, 0.5, 1.0, 2.0, NAN]
    points = list(itertools.product(values, values))
    Random(seed).shuffle(points)
    compiled = cr.compile(f)
    for x, y in points:
        assert compiled(x, y) == f(x, y), (source, x, y)
    xs, ys = (np.array(column) for column in zip(*points, strict=True))
    lanes = cr.compile(vmap(f))
    assert lanes(xs, ys).tolist() == [f(x, y) for x, y in points], source


def test_outcomes_that_follow_are_no_guards() -> None:
    """What earlier ones decide, NaN respected; nothing else."""

    def guards(f: Callable[..., Any], *args: float) -> int:
        compiled = cr.compile(f)
        compiled(*args)
        return compiled.tape().count("guard")

    def all_of(x: Any, y: Any) -> float:
        return float(x < y) + float(x <= y) + float(y > x) + float(x != y) + float(x == y)

    assert guards(all_of, 1.0, 2.0) == 1
    assert guards(lambda x, y: float(x < y) + float(y <= x), 2.0, 1.0) == 2  # NaN: neither holds
    assert guards(lambda x, y: float(x <= y) + float(y < x), 1.0, 2.0) == 1
    assert guards(lambda x: float(x > 2) + float(x > 1) + float(x == x) + float(-x < 0), 3.0) == 1
    assert guards(lambda x: float(x > 1) + float(x > 2), 3.0) == 2
    assert guards(lambda x: float((x > 1) & (x < 3)) + float(x < 3) + float(x > 1), 2.0) == 1
    assert guards(lambda x: float((x > 1) | (x < 0)) + float(x > 1) + float(x < 0), 0.5) == 1
    assert guards(lambda x: sum(int(x) for _ in range(5)) * 1.0, 2.5) <= 6


def test_a_loop_on_a_decided_comparison_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an error, as one on guards does."""
    monkeypatch.setattr(trace, "MAX_GUARDS", 10_000)

    def endless(x: Any) -> Any:
        while x > 0:
            pass
        return x

    with pytest.raises(cr.CompileError, match="does its loop end"):
        cr.compile(endless)(1.0)


# A comparison is a bool


def _matched(x: Any, y: Any) -> float:
    match (x > 0, y > 0):
        case (True, True):
            return 1.0
        case (True, False):
            return 2.0
        case (False, True):
            return 3.0
        case _:
            return 4.0


def _with_set(x: Any, y: Any) -> float:
    seen = {x > 0, y > 0, True}
    return float(len(seen)) + 10.0 * (False in seen)


TABLE = np.array([3.0, 5.0])
AS_BOOLS: dict[str, Callable[[Any, Any], Any]] = {
    "match": _matched,
    "is True": lambda x, y: 1.0 if (x > y) is True else 2.0,
    "is False": lambda x, y: 1.0 if (x == y) is False else 2.0,
    "in a set": lambda x, y: 1.0 if (x > y) in {True} else 2.0,
    "in a list": lambda x, y: 1.0 if (x > y) in [True, 5] else 2.0,
    "get": lambda x, y: {True: x, False: y}.get(x > y, 7.0),
    "key": lambda x, y: {True: 1.0, False: 2.0}[x <= y],
    "keys of tuples": lambda x, y: {(True, True): 1.0}.get((x > 0, y > 0), 2.0),
    "set": _with_set,
    "index": lambda x, y: [x, y][x > y],
    "index of a string": lambda x, y: float("13"[x > y]),
    "index of an array": lambda x, y: float(TABLE[int(x > y)]),
    "mask of no axes": lambda x, y: TABLE[x > y].sum() + 0.0,
    "array of them as mask": lambda x, y: TABLE[np.array([x > y, x < y])].sum() + 0.0,
    "array of them as numbers": lambda x, y: float(np.array([x > y, x < y]).astype(int).sum()),
    "int": lambda x, y: int(x > y) * 2.0 + int(x == y),
    "float": lambda x, y: float(x > y),
    "bool": lambda x, y: bool(x > y) * 1.0,
    "isinstance": lambda x, y: 1.0 if isinstance(x > y, bool) else 2.0,
    "type": lambda x, y: 1.0 if type(x > y) is bool else 2.0,
    "text": lambda x, y: float(len(f"{x > y}")) + len(str(x < y)) + len(repr(x == y)),
    "percent": lambda x, y: float("%d" % (x > y)),  # noqa: UP031
    "range": lambda x, y: float(len(range(x > y))),
    "sum": lambda x, y: sum([x > y, x > 0, y > 0]) * 1.5,
    "sum as index": lambda x, y: [1.0, 2.0, 4.0, 8.0][sum([x > y, x > 0, y > 0])],
    "sum as number of times": lambda x, y: float(len("ab" * ((x > 0) + (y > 0)))),
    "any and all": lambda x, y: any([x > y, y > 0]) * 1.0 + all([x > 0, y > 0]) * 2.0,
    "arithmetic": lambda x, y: (x > y) * 2.0 - (x > 0) / 4 + (-(y > 0)) * 8 + (x > 0) ** 2 * 16,
    "whole arithmetic": lambda x, y: ((x > y) + 3) // 2 * 1.0 + ((x > 0) + 5) % 3,
    "not": lambda x, y: 1.0 if not x > y else 2.0,
    "~": lambda x, y: ~(x > y) * 1.0,
    "~ asked": lambda x, y: 1.0 if ~(x > y) else 2.0,
    "~ in where": lambda x, y: cm.where(~(x > y), 1.0, 2.0),
    "~~ in where": lambda x, y: cm.where(~~(x > y), 1.0, 2.0),
    "~ and & in where": lambda x, y: cm.where(~(x > y) & (x > 0), 1.0, 2.0),
    "~ and | in where": lambda x, y: cm.where(~(x > y) | ~(x > 0), 1.0, 2.0),
    "~ and ^ in where": lambda x, y: cm.where(~(x > y) ^ (x > 0), 1.0, 2.0),
    "~ and & asked": lambda x, y: 1.0 if ~(x > y) & (x > 0) else 2.0,
    "~ and & as a number": lambda x, y: (~(x > y) & ~(x > 0)) * 1.0,
    "~ and | as a number": lambda x, y: (~(x > y) | (x > 0)) * 1.0,
    "~ and ^ as a number": lambda x, y: (~(x > y) ^ ~(x > 0)) * 1.0,
    "^": lambda x, y: cm.where((x > y) ^ (x > 0), 1.0, 2.0),
    "& of bools": lambda x, y: cm.where(True & (x > y) & (y > 0), 1.0, 2.0),
    "| of NumPy's": lambda x, y: cm.where(np.False_ | (x > y), 1.0, 2.0),
    "& of NumPy's": lambda x, y: cm.where((x > y) & np.True_, 1.0, 2.0),
    "& of whole numbers": lambda x, y: ((x > y) & 3) * 1.0,
    "== of comparisons": lambda x, y: 1.0 if (x > y) == (x > 0) else 2.0,
    "== True": lambda x, y: 1.0 if (x > y) == True else 2.0,  # noqa: E712
    "< of comparisons": lambda x, y: 1.0 if (x > y) < (x > 0) else 2.0,
    "isnan": lambda x, y: cm.where(cm.isnan(x) & ~cm.isnan(y), 1.0, 2.0),
    "isclose": lambda x, y: 1.0 if cm.isclose(x, y) is True else 2.0,
    "sorted": lambda x, y: float(sorted([x > y, x > 0, y > 0])[1]),
    "count": lambda x, y: float([x > y, x > 0].count(True)),
    "asked and an index": lambda x, y: (lambda c: cm.where(c, x, y) + [1.0, 2.0][c])(x > y),
    "the result": lambda x, y: x > y,
    "a tree of results": lambda x, y: (x > y, {"a": (x > 0) & (y > 0), "b": x * 1.0}),
    "a constant result": lambda x, y: (True, x),
}


@pytest.mark.filterwarnings("ignore:Bitwise inversion")
@pytest.mark.parametrize("use", AS_BOOLS)
def test_comparisons_are_bools(use: str) -> None:
    """Compiled as in plain Python: the number, its type where it is a bool, or the error."""
    f = AS_BOOLS[use]
    points = [(x, y) for x in POINTS for y in (-1.0, 0.0, 1.5)]
    compiled = cr.compile(f)
    for point in points:
        expected, found = f(*point), compiled(*point)
        if isinstance(expected, float) or (
            isinstance(expected, int) and type(expected) is not bool
        ):
            assert alike(found, float(expected)), point
        elif point[0] == point[0] or not isinstance(expected, tuple):
            assert found == expected, point
            assert type(found) is type(expected), point
    whole = [point for point in points if point[0] == point[0]]
    xs, ys = (np.array(column) for column in zip(*whole, strict=True))
    lanes, expected = cr.compile(vmap(f))(xs, ys), vmap(f)(xs, ys)
    cr.compile(vmap(f), check=True)(xs, ys)
    if isinstance(expected, np.ndarray):
        assert lanes.dtype == expected.dtype
        assert lanes.tolist() == expected.tolist()


def test_results_that_are_bools() -> None:
    """bool for a point, arrays of bool over lanes, counts where lanes are added up."""
    above = cr.compile(lambda x: x > 0.5)
    assert [above(x) for x in (0.7, 0.2, NAN)] == [True, False, False]
    assert all(type(above(x)) is bool for x in (0.7, 0.2))
    xs = np.array([0.1, 0.7, 0.9])
    for f in (vmap(lambda x: x > 0.5), cr.compile(vmap(lambda x: x > 0.5))):
        assert f(xs).dtype == np.dtype(bool)
        assert f(xs).tolist() == [False, True, True]
    for reduce, total in (("sum", 2.0), ("mean", 2.0 / 3.0)):
        reduced = vmap(lambda x: x > 0.5, reduce=reduce)  # type: ignore[arg-type]
        assert reduced(xs) == cr.compile(reduced)(xs) == total
    assert above(Node(0.7)) is True
    masked = cr.compile(lambda xs: (xs > 0.5, xs))(xs)
    assert masked[0].tolist() == [False, True, True]
    both = cr.compile(lambda x: x > 1 if x < 2 else x)  # a bool on one path, a number on another
    assert (both(0.0), both(1.5), both(3.0)) == (False, True, 3.0)
    with pytest.raises(TypeError, match="holds bool True"):
        grad(lambda x: x > 0)(1.0)


def test_a_comparison_that_is_used_stays_without_a_branch() -> None:
    """where, & and arithmetic ask nothing."""
    f = cr.compile(lambda x, y: cm.where((x > 0) & ~(y > 0), x, y) + (x > y) * 2.0)
    assert f(1.0, -1.0) == 3.0
    assert f(-1.0, 1.0) == 1.0
    assert f.stats().traces == 1
    assert "guard" not in f.tape()


def test_traced_anew_on_another_path() -> None:
    """A comparison that escapes only behind a branch: the paths before are recorded again."""

    def f(x: Any) -> Any:
        total = 0.0
        for k in range(3):
            above = x > k
            total = total + cm.where(above, 1.0, 0.0)
            if x > 10.0 and k == 2:
                total = total + {True: 100.0, False: 200.0}[x > 20.0]
            if x > 5.0:
                total = total + 10.0
        return total

    points = [1.5, 0.5, 7.0, 12.0, 25.0, 2.5, 30.0, 15.0, -1.0]
    one = cr.compile(f)
    assert [one(x) for x in points] == [f(x) for x in points]
    for order in (points, points[::-1]):
        assert cr.compile(vmap(f))(np.array(order)).tolist() == [f(x) for x in order]


def test_code_that_is_made_at_each_run() -> None:
    """Its comparisons are known by their place in the text."""

    def f(x: Any) -> Any:
        return 1.0 if eval("x > 0", {"x": x}) is True else 2.0

    assert [cr.compile(f)(x) for x in (1.0, -1.0)] == [1.0, 2.0]


def test_errors_are_the_users() -> None:
    """One on the way is raised, not hidden by another trace."""

    def f(x: Any) -> Any:
        picks = x > 0
        if x > 1:
            raise KeyError("mine")
        return cm.where(picks, x, 0.0)

    g = cr.compile(f)
    assert g(0.5) == 0.5
    with pytest.raises(KeyError, match="mine"):
        g(2.0)
    assert g(-0.5) == 0.0


# Numbers are numbers

NUMBERS: dict[str, Callable[[Any], Any]] = {
    "if": lambda x: 1.0 if x else 2.0,
    "or": lambda x: x or 5.0,
    "and": lambda x: x and 5.0,
    "not": lambda x: 1.0 if not x else 2.0,
    "any": lambda x: 1.0 if any([x, x - 1.0]) else 2.0,
    "any of an array": lambda x: 1.0 if np.array([x, x], dtype=object).any() else 2.0,
    "int": lambda x: int(x) * 1.0,
    "int of a product": lambda x: [10.0, 20.0, 30.0, 40.0, 50.0][int(x * x) % 5],
    "range": lambda x: float(sum(range(int(x)))),
    "floor": lambda x: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0][math.floor(x)],
    "ceil": lambda x: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0][math.ceil(x)],
    "trunc": lambda x: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0][math.trunc(x)],
    "round": lambda x: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0][round(x)],
    "round to digits": lambda x: round(x, 1) + round(x, 0),
    "range of round": lambda x: float(len(range(round(x)))),
    "sums of whole numbers": lambda x: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0][math.floor(x) + 1],
    "remainders": lambda x: [1.0, 2.0, 3.0, 4.0][(2 * math.floor(x) + 7) % 4],
    "quotients": lambda x: [1.0, 2.0, 3.0, 4.0][math.floor(x) // 2],
    "negative": lambda x: [1.0, 2.0, 3.0, 4.0][-abs(math.ceil(x))],
    "slice": lambda x: sum([1.0, 2.0, 4.0, 8.0, 16.0, 32.0][: math.floor(x)]),
    "times": lambda x: float(len([1] * round(x))),
    "bits": lambda x: (math.floor(x) & 1) * 1.0 + (round(x) | 4) + (math.ceil(x) ^ 5),
    "~": lambda x: ~math.floor(x) * 1.0,
    "by 0": lambda x: math.floor(x) // (round(x) - round(x)) * 1.0,
    "as a number": lambda x: math.floor(x) * 0.5 + x - round(x) / 2,
    "factorial": lambda x: math.factorial(math.floor(x)) * 1.0,
    "gcd": lambda x: cm.gcd(round(x), 6) * 1.0,
    "comb": lambda x: cm.comb(5, math.floor(x)) * 1.0,
    "isqrt": lambda x: cm.isqrt(math.trunc(x)) * 1.0,
    "is_integer": lambda x: 1.0 if x.is_integer() else 2.0,
    "divmod": lambda x: divmod(x, 0.75)[0] + divmod(x, 0.75)[1] + sum(divmod(7.0, x + 0.25)),
    "real": lambda x: x.real + x.imag + x.conjugate(),
}
WAYS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "node": lambda f: lambda x: number(f(Node(x))),
    "grad": lambda f: lambda x: cr.value_and_grad(lambda t: f(t) + 0.0 * t)(x)[0],
    "compiled": cr.compile,
    "compiled grad": lambda f: cr.compile(
        lambda x: cr.value_and_grad(lambda t: f(t) + 0.0 * t)(x)[0]
    ),
    "lanes": lambda f: lambda x: cr.compile(vmap(f))(np.array([1.5, x]))[1],
}


def number(x: Any) -> float:
    """The value of a node or number."""
    return x.data if isinstance(x, Node) else float(x)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("use", NUMBERS)
def test_numbers_are_numbers(use: str, way: str) -> None:
    """On nodes, differentiated and compiled, as on floats."""
    f = NUMBERS[use]
    g = WAYS[way](f)
    for x in [-2.5, -1.0, -0.0, 0.0, 0.3, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.75]:
        if way in ("grad", "compiled grad") and use in ("or", "and") and x == 0.0:
            continue
        expected = outcome(f, x)
        found = outcome(g, x)
        assert alike(found, expected), x


@pytest.mark.parametrize("way", ["node", "grad", "compiled"])
def test_int_of_what_is_no_number(way: str) -> None:
    """Python's errors."""
    g = WAYS[way](lambda x: int(x) * 1.0)
    for x, error in ((NAN, ValueError), (INF, OverflowError), (-INF, OverflowError)):
        with pytest.raises(error):
            g(x)
    for x in (1e17, -1e17, 2.0**60 + 2.0**10, -(2.0**53)):
        assert g(x) == x


def test_no_derivative_is_lost() -> None:
    """Rounding has none; everything else keeps it."""
    table = [2.0, 3.0, 5.0]
    for f in (grad(lambda x: x * table[int(x)]), cr.compile(grad(lambda x: x * table[int(x)]))):
        assert [f(x) for x in (0.5, 1.5, 2.5)] == table
    assert grad(lambda x: x * math.floor(x))(2.5) == 2.0
    assert cr.compile(grad(lambda x: x * (x > 1)))(2.0) == 1.0


def test_whole_numbers_look_up_arrays_without_a_branch() -> None:
    """Arrays of the compiled function, and take."""
    table = np.array([1.0, 2.0, 4.0, 8.0])
    f = cr.compile(lambda t, x: t[math.floor(x)] * x + t[round(x) % 4])
    g = cr.compile(lambda x: cr.take(list(table), math.floor(x)) * x)
    slope = cr.compile(grad(lambda t, x: t[math.floor(x)] * x))
    for x in (0.25, 1.5, 2.25, 3.25):
        assert f(table, x) == table[math.floor(x)] * x + table[round(x) % 4]
        assert g(x) == table[math.floor(x)] * x
        assert slope(table, x).tolist() == [x * (i == math.floor(x)) for i in range(4)]
    assert f.stats().traces == g.stats().traces == 1
    assert cr.take([1.0, 2.0], math.floor(Node(1.5))) == 2.0
    with pytest.raises(IndexError, match="outside a table of 4"):
        f(table, 7.0)
    masked = cr.compile(lambda t, x: t[x > 1].sum())  # a comparison is no index of an array
    assert masked(table, 2.0) == table[np.True_].sum()
    assert masked(table, 0.0) == 0.0


@pytest.mark.parametrize("way", ["node", "grad", "compiled"])
def test_other_numbers_are_no_indices(way: str) -> None:
    """As floats are not."""
    uses: Sequence[Callable[[Any], Any]] = [
        lambda x: [1.0, 2.0][x],
        lambda x: range(x),
        lambda x: [1.0, 2.0][math.floor(x) * 1.0],
        lambda x: [1.0, 2.0][round(x, 0)],
        lambda x: [1.0, 2.0][math.floor(x) / 1],
        lambda x: math.factorial(x),
        lambda x: float(x),
    ]
    for f in uses:
        with pytest.raises(TypeError):
            WAYS[way](f)(1.0)


def test_copies_of_whole_numbers_are_whole() -> None:
    """And so are pickled ones."""
    k = round(Node(2.6)) % 2 + 1
    for copied in (copy.copy(k), copy.deepcopy(k), pickle.loads(pickle.dumps(k))):
        assert [0.0, 1.0, 2.0][copied] == [0.0, 1.0, 2.0][k] == 2.0


def test_after_its_end() -> None:
    """A value of a transformation that has ended gives no number."""
    kept: list[Any] = []
    grad(lambda x: kept.append(x) or x)(2.0)  # type: ignore[func-returns-value]
    for use in (int, bool, lambda x: range(math.floor(x))):
        with pytest.raises(TracedValueError):
            use(kept[0])


# Exactly as Python does

CONSTANTS: list[Any] = [
    2**53 + 1,
    -(2**53) - 1,
    2**53,
    10**400,
    -(10**400),
    Fraction(1, 3),
    Fraction(1, 2),
    Decimal("0.1"),
    Decimal("0.5"),
    Decimal("-1e400"),
    True,
    np.int64(3),
]
NEAR = [
    *[float(c) for c in CONSTANTS if abs(c) < 1e300],
    *[2.0**53 + 2.0, -(2.0**53) - 2.0, 1.7976931348623157e308, INF, -INF, 0.0],
    *[math.nextafter(1 / 3, t) for t in (0.0, 1.0)],
    *[math.nextafter(0.1, t) for t in (0.0, 1.0)],
]


@pytest.mark.parametrize("constant", CONSTANTS, ids=lambda c: f"{type(c).__name__} {str(c)[:8]}")
@pytest.mark.parametrize("relation", [relation for _, relation in RELATIONS])
@pytest.mark.parametrize("swapped", [False, True])
def test_constants_that_are_no_floats(constant: Any, relation: Any, swapped: bool) -> None:
    """Compared exactly, on nodes, differentiated and compiled."""

    def f(x: Any) -> Any:
        return relation(constant, x) if swapped else relation(x, constant)

    asked = cr.compile(lambda x: 1.0 if f(x) else 0.0)
    given = cr.compile(f)
    for x in NEAR:
        expected = bool(f(x))
        assert bool(f(Node(x))) is expected, x
        assert grad(lambda t: t if f(t) else 2.0 * t)(x) == (1.0 if expected else 2.0), x
        assert asked(x) == expected, x
        assert given(x) is expected, x
    if not isinstance(constant, Decimal):  # Python's raises
        assert bool(f(Node(NAN))) is given(NAN) is (relation is operator.ne)


# Branches that hold at a single point


def smile(forward: Any, strike: Any) -> Any:
    """A formula with a limit of its own at the money, of which the derivative is wrong."""
    if forward == strike:
        return 0.5 * forward
    return cm.log(forward / strike) * forward


SHORTCUT = f"test_comparing.py:{smile.__code__.co_firstlineno + 2}"


@pytest.mark.parametrize(
    "take",
    [
        lambda: grad(smile)(1.0, 1.0),
        lambda: grad(smile)(Node(1.0), 1.0),
        lambda: cr.jvp(smile, (1.0, 1.0), (1.0, 0.0)),
        lambda: cr.hessian(smile)(1.0, 1.0),
        lambda: cr.compile(grad(smile))(1.0, 1.0),
        lambda: cr.compile(vmap(grad(smile)))(np.array([2.0, 1.0]), np.ones(2)),
        lambda: grad(lambda x: 1.0 * x if x != 1.0 or x > 9 else 2.0 * x)(1.0),
    ],
)
def test_an_equality_that_holds_is_warned_of(take: Callable[[], Any]) -> None:
    """Once a line, with its place, in a category of its own."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        take()
    assert [w.category for w in caught] == [BranchWarning]
    assert "test_comparing.py" in str(caught[0].message)
    assert caught[0].filename.endswith("test_comparing.py")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", BranchWarning)
        take()


@pytest.mark.parametrize(
    "take",
    [
        lambda: grad(smile)(2.0, 1.0),
        lambda: grad(lambda x, k: x * 2 if k == 3.0 else x)(1.0, 3.0),
        lambda: grad(lambda x: x if math.floor(x) == 1 else 2 * x)(1.5),
        lambda: grad(lambda x: x if cm.sign(x) == 1 else 2 * x)(1.5),
        lambda: grad(lambda x: x if cm.stop_gradient(x) == 1.5 else 2 * x)(1.5),
        lambda: grad(lambda x: x if cm.maximum(x - 3.0, 0.0) == 0 else 2 * x)(1.5),
        lambda: grad(lambda x: x if x == x else 2 * x)(1.5),
        lambda: grad(lambda x: cm.logsumexp([x, -x]))(INF),
        lambda: grad(lambda x: cm.where(x != 0.0, cm.sin(x) / x, 1.0))(0.0),
        lambda: cr.compile(smile)(1.0, 1.0),
        lambda: cr.compile(grad(lambda x, k: x * 2 if k == 3.0 else x))(1.0, 3.0),
        lambda: smile(Node(1.0), 1.0),
    ],
)
def test_other_equalities_are_not(take: Callable[[], Any]) -> None:
    """Those that don't hold, that hold about the point too, or where nothing is differentiated."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        take()


def test_stats_name_the_line() -> None:
    """Of compiled derivatives, and of functions of nodes."""
    for f, args in ((grad(smile), (1.0, 1.0)), (smile, (Node(1.0), 1.0))):
        compiled = cr.compile(f)
        compiled(2.0 if args[0] == 1.0 and f is not smile else Node(2.0), 1.0)
        assert compiled.stats().shortcuts == ()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BranchWarning)
            compiled(*args)
        (line,) = compiled.stats().shortcuts
        assert line.endswith(SHORTCUT)
    plain = cr.compile(smile)
    plain(1.0, 1.0)
    assert plain.stats().shortcuts == ()


@pytest.mark.filterwarnings("ignore::chainrule.BranchWarning")
def test_check_grads_names_the_line() -> None:
    """Of an equality in its error, of steps in a warning."""
    with pytest.raises(AssertionError, match=rf"values were equal at .*{SHORTCUT}"):
        cr.check_grads(smile, (1.0, 1.0))
    cases: Sequence[Callable[[Any, Any], Any]] = [
        lambda x, y: x * round(y),
        lambda x, y: x * (2.0 if y > 1 else 3.0),
        lambda x, y: x * (2.0 if int(y) > 1 else 3.0),
        lambda x, y: x * (y > 1) + math.floor(y),
    ]
    for f in cases:
        line = f.__code__.co_firstlineno
        with pytest.warns(BranchWarning, match=rf"number 1 .*test_comparing\.py:{line}\)"):
            cr.check_grads(f, (1.5, 1.3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cr.check_grads(lambda x, y: x * y if y > 1 else x, (1.5, 1.3))
        cr.check_grads(lambda x, y: x + 0.0, (1.5, 1.3))


# Domain errors

OUTSIDE: list[tuple[Callable[..., Any], Callable[..., Any], tuple[float, ...]]] = [
    *[
        (getattr(cm, name), getattr(math, name), (x,))
        for name in [
            "log",
            "log2",
            "log10",
            "log1p",
            "sqrt",
            "asin",
            "acos",
            "acosh",
            "atanh",
            "gamma",
            "lgamma",
            "sin",
            "cos",
            "tan",
            "exp",
            "exp2",
            "expm1",
            "sinh",
            "cosh",
            "floor",
            "ceil",
            "trunc",
        ]
        if hasattr(math, name)  # exp2 is new in Python 3.11
        for x in (-1.0, -2.0, 0.0, 1.0, 0.5, 2.0, 1000.0, -1000.0, INF, -INF, NAN)
    ],
    *[
        (operation, operation, pair)
        for operation in (
            operator.truediv,
            operator.mod,
            operator.floordiv,
            operator.mul,
            operator.add,
        )
        for pair in ((1.0, 0.0), (0.0, 0.0), (1e308, 1e308), (INF, INF), (3.0, 2.0))
    ],
    *[
        (operator.pow, math.pow, pair)
        for pair in ((-8.0, 0.5), (10.0, 400.0), (2.0, 3.0), (INF, -1.0))
    ],
    *[(cm.fmod, math.fmod, pair) for pair in ((1.0, 0.0), (INF, 1.0), (5.0, 3.0))],
    *[(cm.remainder, math.remainder, pair) for pair in ((1.0, 0.0), (INF, 1.0), (5.0, 3.0))],
    (operator.pow, operator.pow, (0.0, -1.0)),
    (cm.ldexp, lambda x, n: math.ldexp(x, int(n)), (1.0, 5000.0)),
]


@pytest.mark.parametrize("case", range(len(OUTSIDE)))
def test_domain_errors(case: int) -> None:
    """Inside the context nodes raise what Python raises; outside nothing does."""
    ours, pythons, operands = OUTSIDE[case]
    expected = outcome(pythons, *operands)
    nodes = [Node(x) for x in operands]
    if ours is cm.ldexp:
        nodes[1:] = [operands[1]]  # type: ignore[list-item]
    assert isinstance(ours(*nodes), Node)
    with domain_errors():
        found = outcome(lambda: ours(*nodes))
        if ours is not pythons and ours is not operator.pow:  # that of floats may be complex
            assert (outcome(lambda: ours(*operands)) is expected) == isinstance(expected, type)
        traced = outcome(lambda: cr.jvp(lambda x: ours(x, *operands[1:]), operands[:1], (1.0,)))
    if isinstance(expected, type):
        assert found is traced is expected
    else:
        assert isinstance(found, Node)
    assert isinstance(ours(*nodes), Node)


def test_domain_errors_name_the_operation_and_the_line() -> None:
    """And the fallback of a program is reached."""

    def safe(x: Any) -> Any:
        try:
            return cm.log(x)
        except ValueError:
            return 3.0 * x

    assert math.isnan(grad(safe)(-1.0))
    with domain_errors():
        assert grad(safe)(-1.0) == 3.0
        assert cr.compile(grad(safe))(-1.0) == 3.0  # eagerly
        assert safe(Node(-1.0)).data == -3.0
        with pytest.raises(ValueError, match=r"log\(-1\) at .*test_comparing\.py:\d+"):
            cm.log(Node(-1.0))
    with domain_errors(), pytest.raises(ZeroDivisionError):
        1.0 / Node(0.0)


def test_derivatives_raise_no_domain_errors() -> None:
    """They are NaN or infinite as elsewhere."""
    with domain_errors():
        assert grad(cm.sqrt)(0.0) == INF
        assert cr.hessian(cm.sqrt)(0.0) == -INF
        x = Node(0.0)
        y = cm.sqrt(x)
        y.backward()
        assert x.grad == INF
        assert y.local_grads() == (INF,)
        value, pull_back = cr.vjp(cm.sqrt, 0.0)
        assert (value, pull_back(1.0)) == (0.0, (INF,))


def test_domain_errors_inside_a_compiled_function() -> None:
    """It runs eagerly, and says so."""

    def f(x: Any) -> Any:
        with domain_errors():
            try:
                return cm.sqrt(x)
            except ValueError:
                return -1.0

    compiled = cr.compile(f)
    with pytest.warns(RuntimeWarning, match="runs eagerly"):
        assert compiled(-4.0) == -1.0
    assert compiled(4.0) == 2.0


# Programs of comparisons


def made_of_comparisons(rng: Random) -> tuple[str, Callable[..., Any]]:
    """A random program that uses comparisons, and whole numbers, in every way at hand."""
    operands = ["x", "y", "x * y", "(x + y)", "(x - y)", "x * x", "1.0", "0.0", "0.5", "2", "-1.5"]
    known: list[str] = []

    def comparison(depth: int = 0) -> str:
        draw = rng.random()
        if known and draw < 0.2:
            return rng.choice(known)
        if depth < 2 and draw < 0.45:
            a, b = comparison(depth + 1), comparison(depth + 1)
            return rng.choice([f"({a} & {b})", f"({a} | {b})", f"({a} ^ {b})"])
        if depth < 2 and draw < 0.55:
            return (
                rng.choice(["(not {})", "({} == {})", "({} != {})", "({} <= {})"])
                .replace("{}", comparison(depth + 1), 1)
                .replace("{}", comparison(depth + 1))
            )
        a, b = rng.sample(operands, 2)
        return "(" + rng.choice(RELATIONS)[0].format(a=a, b=b) + ")"

    def whole() -> str:
        a = rng.choice(operands[:6])
        forms = ["math.floor({})", "math.ceil({})", "round({})", "math.trunc({})", "int({})"]
        text = rng.choice(forms).format(a)
        extra = rng.choice(["{}", "({} + 1)", "(2 * {})", "({} // 2)", "({} + {c})", "abs({})"])
        return extra.replace("{c}", comparison()).replace("{}", text)

    lines = ["def f(x, y):", "    n = 0.0"]
    for k in range(rng.randint(3, 7)):
        weight = repr(2.0**k)
        c = comparison()
        statement = rng.choice(
            [
                "n += {w} if {c} else 0.0",
                "n += {w} if {c} is True else 0.0",
                "n += {w} if {c} in {True} else 0.0",
                "n += {w} * {c}",
                "n += [0.0, {w}][{c}]",
                "n += {True: {w}, False: -{w}}.get({c}, 99.0)",
                "n += {True: {w}, False: -{w}}[{c}]",
                "n += where({c}, {w}, -{w})",
                "n += where(~{c}, {w}, -{w})",
                "n += where(~{c} & {d}, {w}, -{w})",
                "n += ~{c} * {w}",
                "n += {w} if ~{c} & {d} else 0.0",
                "n += sum([{c}, {d}, {c}]) * {w}",
                "n += [0.0, 1.0, 2.0, 3.0][sum([{c}, {d}, {c}])] * {w}",
                "n += int({c}) * {w}",
                "n += len(str({c})) * {w}",
                "n += len({{c}, {d}}) * {w}",
                "n += {w} if any([{c}, {d}]) else 0.0",
                "n += {w} if all([{c}, {d}]) and not {c} else 0.0",
                "n += TABLE[{whole} % 4] * {w}",
                "n += sum(TABLE[: abs({whole})]) * {w}",
                "n += len(range({whole})) * {w}",
                "n += {whole} * {w}",
                "n += {w} if {whole} == {whole} else 0.0",
                "n += {w} if {whole} % 2 else 0.0",
                "n += {w} if x else x or y or 2.0",
            ]
        )
        if rng.random() < 0.3:
            lines.append(f"    c{k} = {c}")
            c = f"c{k}"
            known.append(c)
        if rng.random() < 0.1:
            lines += [
                f"    match {c}, {comparison()}:",
                f"        case (True, False): n += {weight}",
                f"        case (True, True): n -= {weight}",
            ]
        text = statement.replace("{whole}", whole(), 1).replace("{whole}", whole())
        text = text.replace("{w}", weight).replace("{c}", c).replace("{d}", comparison())
        lines.append("    " + text)
    source = "\n".join([*lines, "    return n"])
    names: dict[str, Any] = {"math": math, "where": cm.where, "TABLE": [1.0, 2.0, 4.0, 8.0]}
    exec(source, names)
    return source, names["f"]


@pytest.mark.filterwarnings("ignore:Bitwise inversion")
@pytest.mark.parametrize("seed", range(150))
def test_random_programs_of_comparisons(seed: int) -> None:
    """Compiled, the first call at any of the points: what plain Python gives."""
    rng = Random(seed)
    source, f = made_of_comparisons(rng)
    values = [-2.0, -1.5, -0.5, 0.0, 0.5, 1.0, 1.75, 2.0]
    points = [(rng.choice(values), rng.choice(values)) for _ in range(25)]
    expected = [outcome(f, *point) for point in points]
    compiled = cr.compile(f)
    for point, wanted in zip(points, expected, strict=True):
        assert alike(outcome(compiled, *point), wanted), (source, point)
    good = [k for k, wanted in enumerate(expected) if not isinstance(wanted, type)]
    if good:
        xs, ys = (np.array([points[k][i] for k in good]) for i in (0, 1))
        found = cr.compile(vmap(f))(xs, ys)
        assert found.tolist() == [float(expected[k]) for k in good], source
    for point, wanted in zip(points[:5], expected, strict=False):
        if not isinstance(wanted, type):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", BranchWarning)
                value, _ = cr.value_and_grad(lambda x, y: f(x, y) + 0.0 * x, (0, 1))(*point)
            assert value == wanted, (source, point)
