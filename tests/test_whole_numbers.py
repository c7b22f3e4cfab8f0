"""Whole numbers in compiled code: as Python's ints, or an error; never rounded."""

from __future__ import annotations

import functools
import math
import operator
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.math as cm

LIMIT = 2**53

BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "/": operator.truediv,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "**": operator.pow,
    "quotient": lambda a, b: divmod(a, b)[0],
    "remainder": lambda a, b: divmod(a, b)[1],
    "max": max,
    "min": min,
}
UNARY: dict[str, Callable[[Any], Any]] = {
    "-": operator.neg,
    "+": operator.pos,
    "abs": abs,
    "~": operator.invert,
    "round": round,
}
BITS = {"&", "|", "^"}


def compiled(f: Callable[..., Any]) -> Callable[[list[int]], Any]:
    """A function of a point of whole numbers, compiled."""
    machine = cr.compile(lambda ks: f(*[ks[i] for i in range(len(ks))]))
    return lambda point: machine(np.array(point))


def outcome(f: Callable[..., Any], arguments: list[Any]) -> Any:
    """What it gives, or the kind of error."""
    try:
        return f(*arguments)
    except (ArithmeticError, ValueError, TypeError) as error:
        return type(error)


EDGES = [0, 1, -1, 2, -2, 3, 7, -8, 10, 63, 64, -65, 1000, 2**31, -(2**31) - 1, 2**40 + 3]
EDGES += [2**52 + 1, LIMIT - 1, 1 - LIMIT, LIMIT, -LIMIT]


def same(found: Any, expected: Any, *operands: int) -> bool:
    """Equal, or an error where something is not exact; 4 units for the quotients of powers."""
    if found is OverflowError:
        whole = [*operands, LIMIT if isinstance(expected, type) else expected]
        return bool(max(map(abs, whole)) >= LIMIT - 2)
    if isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=2**-50)
    return bool(found == expected)


@pytest.mark.parametrize("symbol", BINARY)
def test_operators_at_the_edges(symbol: str) -> None:
    """Each operator on data, data and a constant, and the other way round."""
    f = BINARY[symbol]
    for b in EDGES:
        if symbol in ("<<", "**") and b > 2000:
            continue
        right = compiled(lambda k, b=b: f(k, b))
        left = compiled(lambda k, b=b: f(b, k))
        both = compiled(f)
        for a in EDGES:
            found = outcome(right, [[a]])
            assert same(found, outcome(f, [a, b]), a, b), (a, symbol, b, found)
            if symbol in ("<<", "**") and a > 2000:
                continue
            power = 2 ** min(max(a, 0), 60) if symbol == "<<" else 0  # on the way
            expected = outcome(f, [b, a])
            found = outcome(left, [[a]])
            assert same(found, expected, a, b, power), (b, symbol, a, found)
            if symbol not in BITS:
                found = outcome(both, [[b, a]])
                assert same(found, expected, a, b, power), (b, symbol, a, found, "both data")


@pytest.mark.parametrize("symbol", UNARY)
def test_unary_operators(symbol: str) -> None:
    """As on ints."""
    f = UNARY[symbol]
    g = compiled(f)
    for a in EDGES:
        assert same(outcome(g, [[a]]), f(a), a)


class Program:
    """A random program on whole numbers: a list of steps, each on earlier values."""

    def __init__(self, seed: int) -> None:
        choose = random.Random(seed)
        self.steps: list[tuple[str, Any, Any]] = []
        for number in range(3, 3 + choose.randint(1, 8)):
            symbol = choose.choice([*BINARY, "+", "*", "*", "%", "%", "if", "bool"])
            a = choose.randrange(number)
            constant = choose.random() < 0.5 or symbol in BITS
            b = choose.choice([0, 1, 2, 3, 5, 10, 255, 2**20, 10**9 + 7]) if constant else None
            if symbol in ("<<", ">>", "**") and constant:
                b = choose.choice([0, 1, 2, 3, 10])
            self.steps.append((symbol, a, b if constant else -1 - choose.randrange(number)))

    def __call__(self, *point: Any) -> Any:
        """The last value; works on ints and on traced numbers."""
        values: list[Any] = [*point]
        for symbol, a, b in self.steps:
            x, y = values[a], values[-b - 1] if b < 0 else b
            if symbol == "if":
                values.append(x + 1 if x > y else y * 2)
            elif symbol == "bool":
                values.append(x * 3 if x != 0 else y)
            elif symbol in BITS and not isinstance(y, int):
                values.append(BINARY[symbol](x, 6))
            elif symbol == "/":
                values.append(x // (y * y + 1))
            elif symbol in ("<<", "**"):
                values.append(BINARY[symbol](x % 100, y % 20))
            else:
                values.append(BINARY[symbol](x, y))
        return values[-1] + 0 * sum(values)  # the error of every step is seen

    def largest(self, point: list[int]) -> int:
        """The largest absolute value on the way."""
        seen = [abs(k) for k in point]

        class Seen(int):
            """Notes what it comes to."""

        def noting(f: Callable[..., int]) -> Callable[..., Any]:
            def method(self: Any, *others: Any) -> Any:
                result = f(int(self), *[int(x) for x in others])
                seen.extend(abs(int(x)) for x in (result, *others))
                return Seen(result)

            return method

        names = ["add", "sub", "mul", "floordiv", "mod", "pow", "lshift", "rshift", "xor"]
        for name in [*names, "and", "or"]:
            f = getattr(operator, name if name in names else name + "_")
            setattr(Seen, f"__{name}__", noting(f))
            setattr(Seen, f"__r{name}__", noting(lambda a, b, f=f: f(b, a)))
        outcome(self, [Seen(k) for k in point])
        return max(seen)


def test_random_programs_equal_python() -> None:
    """At single points and over lanes, with branches; an error only where it is not exact."""
    choose = random.Random(1)
    equal = refused = 0
    for seed in range(250):
        program = Program(seed)
        machine = compiled(program)
        lanes = cr.compile(cr.vmap(program))
        points = [
            [
                choose.choice([choose.randint(-20, 20), choose.randint(-(10**9), 10**9)]),
                choose.randint(-20, 20),
                choose.randint(0, 5),
            ]
            for _ in range(6)
        ]
        exact = []
        for point in points:
            expected = outcome(program, point)
            found = outcome(machine, [point])
            if found is OverflowError:
                assert expected is OverflowError or program.largest(point) >= LIMIT, (seed, point)
                refused += 1
                continue
            assert found == expected, (seed, point, program.steps)
            equal += 1
            if not isinstance(found, type):
                exact.append(point)
        if exact:
            columns = [np.array(column) for column in zip(*exact, strict=True)]
            assert lanes(*columns).tolist() == [program(*point) for point in exact], seed
    assert equal > 1000
    assert refused > 20


def test_the_example_of_rounding() -> None:
    """k * k * k % 10: exact, or an error that names the line; never the digits of a rounded one."""

    def f(k: Any) -> Any:
        return k * k * k % 10

    lanes = cr.compile(cr.vmap(f))
    small = np.arange(-200_000, 200_000, 7919)
    assert lanes(small).tolist() == [f(int(k)) for k in small]
    line = f.__code__.co_firstlineno + 1
    with pytest.raises(OverflowError, match=rf"test_whole_numbers\.py:{line} .*2\*\*53"):
        lanes(np.array([3, 987_654_321, 4]))
    assert lanes(small).tolist() == [f(int(k)) for k in small]


def test_division_by_zero_in_one_lane() -> None:
    """As on ints, whatever the lanes before; the others can be computed again."""
    programs: list[Callable[[Any, Any], Any]] = [
        lambda k, j: k // j,
        lambda k, j: k % j,
        lambda k, j: k / j,
        lambda k, j: divmod(k, j)[1],
        lambda k, j: 7 // j,
        lambda k, j: 7 % j,
        lambda k, j: j**-1,
    ]
    for f in programs:
        lanes = cr.compile(cr.vmap(f))
        k, j = np.array([7, -7, 9]), np.array([2, 3, -4])
        expected = [f(int(a), int(b)) for a, b in zip(k, j, strict=True)]
        assert lanes(k, j) == pytest.approx(expected, rel=1e-15)
        with pytest.raises(ZeroDivisionError):
            lanes(k, np.array([2, 0, -4]))
        assert lanes(k, j) == pytest.approx(expected, rel=1e-15)


def test_constants_that_are_no_floats() -> None:
    """A plain whole number that would be rounded is refused as well."""
    for f in (
        lambda k: k + (2**53 + 1),
        lambda k: (2**53 + 1) - k,
        lambda k: k * (2**60 + 1),
        lambda k: k % (2**64 - 1),
        lambda k: k * 10**400,
    ):
        with pytest.raises(OverflowError, match=r"2\*\*53"):
            compiled(f)([5])
    assert compiled(lambda k: k % 2**60)([5]) == 5


def test_with_floats_they_are_floats() -> None:
    """The advice of the error: no check, no error, and a gradient by the float."""
    f = cr.compile(lambda x, ks: (1.0 * ks[0]) ** 4 * x)
    assert f(2.0, np.array([10**9])) == 2e36
    slope = cr.compile(cr.grad(lambda x, ks: x ** ks[0] + ks[1] * x))
    assert slope(3.0, np.array([2, 5])) == 11.0


def test_comparisons_count() -> None:
    """Bools are whole numbers."""
    f = compiled(lambda k, j: (k + (j > 2)) * 2 + (True + k) + (k + np.bool_(1)))
    for point in ([3, 1], [3, 5]):
        k, j = point
        assert f(point) == (k + (j > 2)) * 2 + (1 + k) + (k + 1)


def test_gathers_by_computed_indices() -> None:
    """Arithmetic of every kind gives indices."""
    table = np.arange(100.0) ** 2

    def f(t: Any, k: Any) -> Any:
        return t[(k << 1 | 1) ^ 3] + t[divmod(k, 7)[1]] + t[k**2 % 50]

    found = cr.compile(cr.vmap(f, in_axes=(None, 0)))(table, np.arange(40))
    assert found.tolist() == [f(table, k) for k in range(40)]


def test_bits_of_two_numbers_that_are_data() -> None:
    """An error with advice, and the advice works."""
    with pytest.raises(TypeError, match=r"both data .* int\(k\)"):
        compiled(lambda a, b: a & b)([6, 3])
    f = compiled(lambda a, b: (a & int(b)) + (a | int(b)) * 100 + (a ^ int(b)) * 10_000)
    for a in (-9, 0, 6, 77):
        for b in (-3, 0, 5, 12):
            assert f([a, b]) == (a & b) + (a | b) * 100 + (a ^ b) * 10_000


def test_wrong_kinds() -> None:
    """TypeError as on ints."""
    for f in (
        lambda k: k & 1.0,
        lambda k: 1.5 | k,
        lambda k: k << 2.0,
        lambda k: k >> "1",
        lambda k: 2.0 ^ k,
    ):
        with pytest.raises(TypeError):
            compiled(f)([3])
    with pytest.raises(ValueError, match="negative shift count"):
        compiled(lambda k: 1 << k)([-3])


def test_a_key_of_a_dict() -> None:
    """As a key it is the number itself, with a path for each."""
    prices = {1: 10.0, 3: 30.0}
    f = compiled(lambda k: prices.get(k, 0.0) * 1.0)
    assert [f([k]) for k in (1, 2, 3)] == [10.0, 0.0, 30.0]
    f = compiled(lambda k: 1.0 if k in {1, 3} else 0.0)
    assert [f([k]) for k in (1, 2, 3)] == [1.0, 0.0, 1.0]
    f = compiled(lambda k, j: float(len({k, j})))
    assert [f([3, j]) for j in (3, 4)] == [1.0, 2.0]
    f = compiled(lambda k: prices.get(int(k), 0.0) * 1.0)
    assert [f([k]) for k in (1, 2, 3)] == [10.0, 0.0, 30.0]


def test_modular_powers() -> None:
    """pow with three arguments."""
    f = compiled(lambda k: pow(k, 13, 1009))
    for k in (-5, 0, 3, 123_456):
        assert f([k]) == pow(k, 13, 1009)
    assert math.isclose(compiled(lambda k: k**-2)([4]), 4**-2)


ON_ARRAYS: list[Callable[[Any, Any], Any]] = [
    lambda a, b: np.mod(a, b),
    lambda a, b: a // b + a % b,
    lambda a, b: divmod(a, b)[0] - divmod(100, b)[1],
    lambda a, b: np.bitwise_and(a, 6) + (a & 6) + (6 | a) + (a ^ np.array([1, 2, 3, 4])),
    lambda a, b: (a << 2) + np.left_shift(a, 3) + (a << np.array([1, 2, 3, 4])),
    lambda a, b: (a[0] & np.array([1, 2])) + (np.array([8, 9]) >> a[3]) + (np.array([8, 9]) | a[1]),
    lambda a, b: np.array([a.sum(), np.prod(b), np.max(a), a @ b, np.cumsum(a)[2]]) * 3,
    lambda a, b: a**2 + np.power(a, 3) + np.square(a) + np.abs(a) + ~a + np.invert(a),
    lambda a, b: np.sort(a) * 2 + np.sign(a) - (-a % 5) + (10 - a),
    lambda a, b: a / b + a.mean(),
]


@pytest.mark.parametrize("number", range(len(ON_ARRAYS)))
def test_arrays_of_whole_numbers(number: int) -> None:
    """NumPy's functions and operators on them."""
    f = ON_ARRAYS[number]
    a, b = np.array([5, -7, 12, 3]), np.array([3, 2, -5, 7])
    assert cr.compile(f)(a, b).tolist() == f(a, b).tolist()


ZEROS: list[Callable[[Any], Any]] = [
    math.floor,
    math.ceil,
    math.trunc,
    round,
    lambda x: -math.trunc(x),
    lambda x: math.trunc(x) * -3,
    lambda x: -3 * math.trunc(x),
    lambda x: math.ceil(x) // -3,
    lambda x: round(x) % -3,
    lambda x: math.ceil(x) + round(x),
]
ZEROS_OF_FLOATS: list[Callable[[Any], Any]] = [
    lambda x: round(x, 0),
    lambda x: round(x, 2),
    lambda x: cm.trunc(x),
    lambda x: cm.modf(x)[1],
]


@pytest.mark.parametrize("rewritten", [True, False])
@pytest.mark.parametrize("number", range(len(ZEROS) + len(ZEROS_OF_FLOATS)))
def test_signs_of_zero(number: int, rewritten: bool) -> None:
    """Ints have no -0.0; floats do: on nodes, in derivatives and in machine code as on numbers."""
    f = (ZEROS + ZEROS_OF_FLOATS)[number]

    def one(x: Any) -> Any:
        return cm.copysign(x + 1.0, f(x)) if rewritten else by_call(x)

    by_call = functools.partial(lambda x: cm.copysign(x + 1.0, f(x)))
    compiled, gradient = cr.compile(one), cr.compile(cr.value_and_grad(one))
    for x in (0.0, -0.0, 0.3, -0.3, 0.004, -0.004, -1.5, 2.5):
        expected = math.copysign(x + 1.0, f(x))
        assert one(cr.Node(x)).data == compiled(x) == expected, x
        assert gradient(x)[0] == cr.vmap(one)(np.array([x]))[0] == expected, x


@pytest.mark.parametrize("function", [np.floor, np.ceil, np.trunc, np.rint, np.fix, np.round])
def test_signs_of_zero_in_arrays(function: Callable[[Any], Any]) -> None:
    """NumPy's functions of arrays give floats."""
    x = np.array([0.0, -0.0, 0.3, -0.3, -1.5, 2.5])
    expected = np.copysign(1.0, function(x)).tolist()

    def signs(x: Any) -> Any:
        return np.copysign(1.0, function(x))

    for found in (cr.compile(signs)(x), cr.jvp(signs, (x,), (x,))[0], cr.vmap(signs)(x)):
        assert np.asarray(found).tolist() == expected
