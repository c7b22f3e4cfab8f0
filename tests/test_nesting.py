"""Transformations within transformations, what may not leave them, and what they leave behind."""

from __future__ import annotations

import contextlib
import copy
import gc
import itertools
import math
import pickle
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from memory import blocks_in_use

from chainrule import (
    Node,
    TracedValueError,
    compile,
    custom_gradient,
    grad,
    hessian,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    stop_gradient,
    value_and_grad,
    vjp,
    vmap,
)
from chainrule import math as cm
from chainrule.tracing import PROGRESS

# The derivative of a function of one number at a number, by each transformation
D: dict[str, Callable[..., Any]] = {
    "grad": lambda f, x: grad(f)(x),
    "jvp": lambda f, x: jvp(f, (x,), (1.0,))[1],
    "vjp": lambda f, x: vjp(f, x)[1](1.0)[0],
    "jacfwd": lambda f, x: jacfwd(f)(x),
    "jacrev": lambda f, x: jacrev(f)(x),
}
PAIRS = list(itertools.product(D, repeat=2))


@pytest.fixture(autouse=True)
def _nothing_in_progress() -> Iterator[None]:
    """Whatever a test did, no transformation is left open."""
    yield
    assert not PROGRESS.names


# Perturbation confusion: the cases of Siskind and Pearlmutter, and others of their kind


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
def test_perturbations_are_not_confused(outer: str, inner: str) -> None:
    """d/dx (x · d/dy (x + y)) = 1, and its like: each derivative is by its own variable."""
    dx, dy = D[outer], D[inner]
    cases: list[tuple[Any, float]] = [
        (dx(lambda x: x * dy(lambda y: x + y, 1.0), 1.0), 1.0),
        (dx(lambda x: x * dy(lambda y: x * y, 2.0), 3.0), 6.0),
        (dx(lambda x: x * dy(lambda y: y, 2.0), 3.0), 1.0),
        (dx(lambda x: dy(lambda y: x, 2.0), 3.0), 0.0),
        (dx(lambda x: dy(lambda y: x * y * y, x), 3.0), 12.0),  # 2x²
        (dx(lambda x: dy(lambda y: x * y * y, stop_gradient(x)), 3.0), 6.0),
        (dx(lambda x: dy(lambda y: stop_gradient(x) * y * y, x), 3.0), 6.0),
        (dx(lambda x: dy(lambda y: y**3, x) + dy(lambda y: x * y, x), 2.0), 13.0),
        (dx(lambda x: dy(lambda x: x**3, x * x), 2.0), 96.0),  # the same name: (3x⁴)' = 12x³
        (dx(lambda x: x * dy(lambda y: dx(lambda z: x * y * z, 5.0) * y, 2.0), 3.0), 24.0),
        (dx(lambda x: dy(lambda y: dx(lambda z: x * y * z * z, y), x), 3.0), 24.0),
    ]
    for found, expected in cases:
        assert type(found) is float
        assert found == expected


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
def test_closures_over_variables_of_all_levels(outer: str, inner: str) -> None:
    """A function made inside one derivative and used in another."""
    made: list[Any] = []

    def f(x: Any) -> Any:
        made.append(lambda y: x * y * y)
        return D[inner](made[-1], x) + made[-1](2.0)  # 2x² + 4x

    assert D[outer](f, 3.0) == 16.0
    assert D[outer](lambda x: D[inner](f, x), 3.0) == 4.0


def test_a_function_is_no_result() -> None:
    """The curried case of Manzyuk and others is refused: write out the arguments."""

    def shifted(u: Any) -> Any:
        return lambda f: lambda x: f(x + u)

    with pytest.raises(TypeError, match=r"jvp: the function's result holds function <function"):
        jvp(shifted, (0.0,), (1.0,))

    def derivative(f: Any) -> Callable[[Any], Any]:
        return lambda x: jvp(lambda u: shifted(u)(f)(x), (0.0,), (1.0,))[1]

    assert derivative(derivative(cm.exp))(1.0) == pytest.approx(math.e, rel=1e-15)


@pytest.mark.parametrize("mode", ["vjp", "jvp"])
def test_pulling_back_elsewhere(mode: str) -> None:
    """What vjp returns works inside, around and after other transformations."""

    def slope(f: Any, x: Any, seed: Any) -> Any:
        if mode == "jvp":
            return jvp(f, (x,), (seed,))[1]
        return vjp(f, x)[1](seed)[0]

    assert grad(lambda x: slope(lambda y: x * y * y, 2.0, x))(3.0) == 24.0  # 4x²
    assert grad(lambda x: slope(lambda y: x * y * y, x, x))(3.0) == 54.0  # 2x³
    kept: list[Any] = []

    def f(x: Any) -> Any:
        value, pull_back = vjp(lambda y: x * y * y, x)
        kept.append(pull_back)
        return grad(lambda z: pull_back(z)[0] * z * x)(x) + value  # 2x² · 2z · x at x, + x³

    assert grad(f)(2.0) == 16 * 8 + 12.0
    outside = vjp(lambda y: y**3, 2.0)[1]
    assert outside(2.0) == (24.0,)
    assert grad(lambda c: outside(c * c)[0])(3.0) == 72.0
    assert outside(1.0) == (12.0,)
    (late,) = kept[0](1.0)  # the transformation it depends on has ended
    with pytest.raises(TracedValueError, match=r"outside the transformation .* ended"):
        _ = late.data


def test_loops_and_recursion_with_derivatives() -> None:
    """A derivative in each round, by the variable of the round."""

    def f(x: Any) -> Any:
        for _ in range(3):
            x = grad(lambda y, x=x: y * y * x)(x)  # 2x²
        return x  # 2 (2 (2x²)²)² = 128 x⁸

    assert f(2.0) == 128 * 2.0**8
    assert grad(f)(2.0) == 1024 * 2.0**7
    assert grad(grad(f))(0.5) == 7168 * 0.5**6

    def tower(n: int, x: Any) -> Any:
        """The derivative of (the derivative of (... times x) times x)."""
        return x * x if n == 0 else grad(lambda y: x * tower(n - 1, y))(x)

    # tower(n, x) = x · tower(n - 1)'(x): x², 2x², 4x², ...
    assert [tower(n, 3.0) for n in range(6)] == [9.0 * 2**n for n in range(6)]


def test_very_deep_nesting() -> None:
    """Thirty levels; each is its own."""

    def nested(n: int, total: Any) -> Any:
        return total if n == 0 else grad(lambda x: x * nested(n - 1, total + x))(1.0)

    def by_hand(n: int) -> list[float]:
        """nested(n, t) = a + b t: the derivative of x (a + b (t + x)) at 1."""
        a, b = 0.0, 1.0
        for _ in range(n):
            a, b = a + 2 * b, b
        return [a, b]

    for n in (1, 2, 5, 30):
        a, b = by_hand(n)
        assert nested(n, 0.5) == a + 0.5 * b


# A minimax problem: gradient descent inside gradient descent


def test_minimax() -> None:
    """min over x of max over y: the outer gradient goes through all the steps of the inner loop."""
    a = np.array([[1.0, 0.5], [-0.3, 0.8]])
    rate, steps = 0.2, 60

    def payoff(x: Any, y: Any) -> Any:
        """Convex in x, concave in y, with the saddle at ((0.2, -0.1), aᵀ (0.2, -0.1) / 2)."""
        dx, dy = (x[0] - 0.2, x[1] + 0.1), (y[0], y[1])
        mixed = sum(x[i] * a[i, j] * y[j] for i in range(2) for j in range(2))
        return dx[0] ** 2 + dx[1] ** 2 - dy[0] ** 2 - dy[1] ** 2 + mixed

    def best_answer(x: Any) -> Any:
        y = [0.0, 0.0]
        for _ in range(steps):
            slope = grad(payoff, 1)(x, y)
            y = [v + rate * s for v, s in zip(y, slope, strict=True)]
        return y

    def worst_case(x: Any) -> Any:
        return payoff(x, best_answer(x))

    # The inner steps are y <- (1 - 2 rate) y + rate aᵀx, so that y = c aᵀx.
    c = (1 - (1 - 2 * rate) ** steps) / 2
    x = np.array([0.7, -0.4])
    value = payoff(x, c * a.T @ x)
    slope = 2 * (x - [0.2, -0.1]) + (2 * c - 2 * c * c) * a @ a.T @ x
    found_value, found = value_and_grad(worst_case)(x)
    assert found_value == pytest.approx(value, rel=1e-13)
    assert found == pytest.approx(slope, rel=1e-13)
    assert hessian(worst_case)(x) == pytest.approx(
        2 * np.eye(2) + (2 * c - 2 * c * c) * a @ a.T, rel=1e-12
    )
    for _ in range(60):
        x = x - 0.2 * grad(worst_case)(x)
    optimum = np.linalg.solve(2 * np.eye(2) + a @ a.T / 2, [0.4, -0.2])
    assert x == pytest.approx(optimum, abs=1e-10)


def test_learning_the_rate_of_descent() -> None:
    """The derivative of the result of gradient descent by its step and its start."""

    def descend(rate: Any, start: Any) -> Any:
        x = start
        for _ in range(10):
            x = x - rate * grad(lambda t: 1.5 * t * t)(x)  # x (1 - 3 rate)
        return x

    by_rate, by_start = grad(descend, (0, 1))(0.1, 2.0)
    assert descend(0.1, 2.0) == pytest.approx(2 * 0.7**10, rel=1e-14)
    assert by_rate == pytest.approx(2 * 10 * 0.7**9 * -3, rel=1e-14)
    assert by_start == pytest.approx(0.7**10, rel=1e-14)


def test_newton_with_exact_derivatives() -> None:
    """Until it has converged, and the derivative of the root by a parameter."""

    def root(a: Any) -> Any:
        """Of x³ = a."""
        x = a
        while abs(x**3 - a) > 1e-13:
            value, slope = value_and_grad(lambda t: t**3 - a)(x)
            x = x - value / slope
        return x

    assert root(2.0) == pytest.approx(2 ** (1 / 3), rel=1e-14)
    assert grad(root)(2.0) == pytest.approx(2 ** (-2 / 3) / 3, rel=1e-12)
    assert grad(grad(root))(2.0) == pytest.approx(-2 * 2 ** (-5 / 3) / 9, rel=1e-10)


def test_forward_over_reverse_over_forward() -> None:
    """Third derivatives along three directions, by every order of modes."""

    def f(x: Any) -> Any:
        return cm.exp(x[0] * x[1]) * cm.sin(x[2]) + x[0] ** 3 * x[2]

    x = np.array([0.3, 0.7, 1.1])
    u, v, w = np.array([1.0, 0.5, -0.2]), np.array([0.3, -1.0, 2.0]), np.array([-0.7, 0.2, 0.4])

    def along(f: Callable[..., Any], direction: Any, mode: str) -> Callable[..., Any]:
        if mode == "jvp":
            return lambda x: jvp(f, (x,), (direction,))[1]
        if mode == "grad":
            return lambda x: np.dot(grad(f)(x), direction)
        return lambda x: np.dot(vjp(f, x)[1](1.0)[0], direction)

    expected = along(along(along(f, u, "jvp"), v, "jvp"), w, "jvp")(x)
    exact = np.einsum("ijk,i,j,k", jacobian(hessian(f))(x), u, v, w)
    assert expected == pytest.approx(exact, rel=1e-13)
    for modes in itertools.product(["jvp", "grad", "vjp"], repeat=3):
        g: Any = f
        for direction, mode in zip([u, v, w], modes, strict=True):
            g = along(g, direction, mode)
        assert g(x) == pytest.approx(exact, rel=1e-12), modes
    assert np.dot(w, hvp(along(f, u, "jvp"), (x,), (v,))) == pytest.approx(exact, rel=1e-12)


# Comparisons inside are of values


def test_comparisons_are_of_values() -> None:
    """As in the program on plain numbers, == between traced values included."""

    def f(x: Any, y: Any) -> Any:
        assert x == 2.0
        assert x == y  # two nodes, one value
        assert bool(x != y) is False
        assert x <= y
        assert x >= y
        assert not x < y
        assert not x > y
        assert 1 < x < 3
        assert x + 0 == y * 1
        assert x != y + 1
        assert x in [5.0, y]
        assert [0.0, y].index(x) == 1
        assert isinstance(x == y, bool)
        assert isinstance(x < np.float64(3), bool)
        return x * y

    assert grad(f, (0, 1))(2.0, 2.0) == (2.0, 2.0)
    assert grad(lambda x: grad(lambda y: f(x, y))(x))(2.0) == 1.0  # values of two levels
    outside = Node(2.0)
    assert grad(lambda x: x * x if x == outside else x)(2.0) == 4.0
    assert grad(lambda x: x * x if outside == x else x)(2.0) == 4.0
    same_value = Node(2.0)
    assert grad(lambda x: x if outside == same_value else x * x)(2.0) == 4.0  # plain: identity
    nan = math.nan
    assert grad(lambda x: x if x == x else 2 * x)(nan) == 2.0
    assert grad(lambda x: x if x != x else 2 * x)(nan) == 1.0


def test_sorting_and_choosing() -> None:
    """Python's own functions that compare; the gradient goes to what was chosen."""
    xs = [3.0, 1.0, 2.0, 1.0]
    weights = [10.0, 20.0, 30.0, 40.0]

    def ranked(xs: Any) -> Any:
        return sum(w * x for w, x in zip(weights, sorted(xs), strict=True))

    assert grad(ranked)(xs) == [40.0, 10.0, 30.0, 20.0]
    assert grad(ranked)(np.array(xs)).tolist() == [40.0, 10.0, 30.0, 20.0]
    assert grad(lambda xs: sorted(xs, reverse=True)[0] * 2)(xs) == [2.0, 0.0, 0.0, 0.0]
    assert grad(lambda xs: max(xs) - min(xs))(xs) == [1.0, -1.0, 0.0, 0.0]
    assert grad(lambda xs: max(xs, key=lambda x: -x))(xs) == [0.0, 1.0, 0.0, 0.0]
    assert grad(lambda xs: sum(x for x in xs if x > 1.5))(xs) == [1.0, 0.0, 1.0, 0.0]
    assert grad(lambda xs: np.max(xs) + np.sort(xs)[1])(np.array([3.0, 1.0, 2.0])).tolist() == [
        1.0,
        0.0,
        1.0,
    ]
    shares = grad(lambda xs: np.maximum(xs[0], xs[1]))(np.array([1.0, 1.0]))
    assert sum(shares) == 1.0


# What may not leave


LEAVING: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "data": (lambda x: x.data, TracedValueError, r"reading the data of a traced value at {line}"),
    "data of a result": (
        lambda x: (x * x + 1).data,
        TracedValueError,
        r"reading the data .*{line}",
    ),
    "setting data": (
        lambda x: setattr(x, "data", 1.0),
        (TracedValueError, ValueError),  # type: ignore[dict-item]
        r"setting the data of a traced value at {line}|is the result of an operation",
    ),
    "float": (lambda x: float(x), TracedValueError, r"float\(\) of a traced value at {line}"),
    "array of floats": (
        lambda x: np.array([x], dtype=float),
        TracedValueError,
        r"float\(\) of a traced value at {line}",
    ),
    "into an array": (
        lambda x: np.zeros(2).__setitem__(0, x),
        (TypeError, ValueError),  # type: ignore[dict-item]
        r"float\(\) of a traced value at {line}|setting an array element",
    ),
    "math": (lambda x: math.sin(x), TracedValueError, r"float\(\) of a traced value at {line}"),
    "complex": (lambda x: complex(x), TypeError, r"a node is real"),
    "range": (lambda x: range(x), TypeError, r"'\w*Node' object cannot be interpreted as an int"),
    "index": (
        lambda x: [1, 2][x],
        TypeError,
        r"list indices must be integers or slices, not \w*No",
    ),
    "backward": (
        lambda x: (x * x).backward(),
        TracedValueError,
        r"backward from a traced value at {line}: .*; use grad or value_and_grad",
    ),
    "backward from the input": (
        lambda x: x.backward(),
        TracedValueError,
        r"backward from a traced value at {line}",
    ),
}
TAKING: dict[str, Callable[[Any], Any]] = {
    "grad": lambda f: grad(f)(2.0),
    "grad of a node": lambda f: grad(f)(Node(2.0)),
    "value_and_grad": lambda f: value_and_grad(f)(2.0),
    "jvp": lambda f: jvp(f, (2.0,), (1.0,)),
    "vjp": lambda f: vjp(f, 2.0),
    "jacobian": lambda f: jacobian(f)(2.0),
    "hessian": lambda f: hessian(f)(2.0),
    "hvp": lambda f: hvp(f, (2.0,), (1.0,)),
    "grad of vmap": lambda f: grad(vmap(f, reduce="sum"))(np.ones(2)),
}


@pytest.mark.parametrize("case", LEAVING)
@pytest.mark.parametrize("way", TAKING)
def test_values_do_not_leave(case: str, way: str) -> None:
    """An error that names the line, and nothing is left open."""
    f, error, message = LEAVING[case]
    line = f.__code__.co_firstlineno
    place = rf".*test_nesting\.py:({line}|{line + 1})"
    with pytest.raises(error, match=message.replace("{line}", place)) as caught:
        TAKING[way](f)
    assert not PROGRESS.names
    if error is TracedValueError and "backward" not in case:
        name = "hessian" if way == "hessian" else way.split()[0]
        assert f"inside {name} that would lose its dependence on the inputs" in str(caught.value)
        converted = "float() of" in str(caught.value)
        instead = "chainrule." if converted else "stop_gradient(x) to treat it as constant"
        assert instead in str(caught.value)
    assert grad(lambda x: x * x)(3.0) == 6.0


def test_the_level_is_named() -> None:
    """An outer variable read inside is the outer transformation's."""
    with pytest.raises(TracedValueError, match=r"inside jacobian that would lose"):
        jacobian(lambda x: grad(lambda y: y * x.data)(1.0))(2.0)
    with pytest.raises(TracedValueError, match=r"inside grad that would lose"):
        jacobian(lambda x: grad(lambda y: x * y.data)(1.0))(2.0)


def test_what_can_be_read() -> None:
    """What no transformation follows: nodes from outside, and what stop_gradient gives."""
    w = Node(5.0)

    def f(x: Any) -> Any:
        assert w.data == 5.0
        assert (w * 2).data == 10.0
        w.backward()
        w.data = 6.0
        assert f"{stop_gradient(x):.1f} {stop_gradient(x).data} {x!r}" == "2.0 2.0 <traced node>"
        return x * w.data

    assert grad(f)(2.0) == 6.0
    assert w.grad == 1.0
    assert vmap(lambda x: x * w.data)(np.ones(2)).tolist() == [6.0, 6.0]


def test_copies_of_traced_values() -> None:
    """A copy is the value itself, as for a number; pickled, it would lose its dependence."""
    for derivative in D.values():
        assert derivative(lambda x: copy.deepcopy([x, x * x])[1] * copy.copy(x), 3.0) == 27.0
    with pytest.raises(TracedValueError, match=r"pickling a traced value at .*test_nesting\.py"):
        grad(lambda x: pickle.dumps(x * x))(3.0)
    w = Node(5.0)  # one that no transformation follows is copied as ever
    twin = grad(lambda x: x * copy.deepcopy(w))(3.0)
    assert (twin.data, twin is w) == (5.0, False)


def test_stop_gradient() -> None:
    """The value passes, no derivative does, in any mode or order."""

    def f(x: Any) -> Any:
        return x * stop_gradient(x * x) + stop_gradient(cm.exp(x))

    for name, derivative in D.items():
        assert derivative(f, 3.0) == 9.0, name
        assert derivative(lambda x, d=derivative: d(f, x), 3.0) == 0.0, name
    x = Node(3.0)
    f(x).backward()
    assert x.grad == 9.0
    assert stop_gradient(3.0) == 3.0


# Values that outlive the transformation they belong to, or meet it in another thread


def test_values_kept_from_an_ended_transformation() -> None:
    """They can't be read, compared or fed to another transformation: that would freeze them."""
    kept: list[Any] = []

    def f(x: Any) -> Any:
        kept.append(x * x)
        return kept[0] * x

    assert grad(f)(2.0) == 12.0
    late = kept[0]
    for use in (
        lambda: late.data,
        lambda: (late + 1).data,
        lambda: float(late),
        lambda: late < 1.0,
        lambda: late == Node(4.0),
        lambda: Node(4.0) > late,
    ):
        with pytest.raises(
            TracedValueError,
            match=r"a traced value at .*test_nesting\.py:\d+: it is used outside the transformation"
            r" it belongs to, which has ended",
        ):
            use()
    with pytest.raises(TracedValueError, match=r"backward from a traced value at .*test_nesting"):
        late.backward()
    stray = r"a value of another transformation, one that has ended or runs in another thread"
    with pytest.raises(
        TracedValueError, match=rf"grad at .*test_nesting.*the function uses {stray}"
    ):
        grad(f)(3.0)  # it would use the square of 2
    for take in (
        lambda: grad(cm.sin)(late),
        lambda: jvp(cm.sin, (1.0,), (late,)),
        lambda: jvp(cm.sin, (late,), (1.0,)),
        lambda: vjp(cm.sin, late),
        lambda: hessian(cm.sin)(late),
        lambda: jacobian(cm.sin, sparse=True)([late]),
    ):
        with pytest.raises(TracedValueError, match=rf" at .*test_nesting\.py:\d+ takes {stray}"):
            take()
    for take in (
        lambda: grad(lambda x: x * late)(3.0),
        lambda: jvp(lambda x: [x, late], (3.0,), (1.0,)),
        lambda: vjp(lambda x: late + 1, 3.0),
        lambda: jacobian(lambda x: np.array([late, x]), sparse=True)(3.0),
        lambda: grad(lambda x: grad(lambda y: y * late)(x))(3.0),
    ):
        with pytest.raises(TracedValueError, match=rf"the function uses {stray}"):
            take()


def test_inputs_kept_from_an_ended_transformation() -> None:
    """The inputs themselves, and what was computed from numbers alone beside nodes."""
    kept: list[Any] = []
    w = Node(5.0)

    def f(x: Any) -> Any:
        kept.extend([x, x * x])
        return kept[1] * x * w

    assert grad(f)(2.0).data == 60.0
    for late in kept:
        with pytest.raises(TracedValueError, match="which has ended"):
            _ = late.data
        with pytest.raises(TracedValueError, match="the function uses a value of another"):
            grad(lambda y, late=late: y * late)(3.0)


def test_other_threads() -> None:
    """Arithmetic is as here; reading, comparing and transforming traced values is not."""
    stray = r"a value of another transformation, one that has ended or runs in another thread"

    def in_threads(work: Callable[[Any, float], Any]) -> Callable[[Any], Any]:
        def f(x: Any) -> Any:
            with ThreadPoolExecutor(2) as pool:
                return sum(pool.map(lambda k: work(x, k), [1.0, 2.0]))

        return f

    assert grad(in_threads(lambda x, k: x * x * k))(3.0) == 18.0
    assert grad(in_threads(lambda x, k: grad(lambda y: y * y * k)(4.0) * x))(3.0) == 24.0
    for work, message in [
        (lambda x, k: x.data, "reading the data of a traced value"),
        (lambda x, k: x if x > k else k, "comparing a traced value"),
        (lambda x, k: x if k == x else k, "comparing a traced value"),
        (lambda x, k: grad(lambda y: y * k)(x), rf"grad at .* takes {stray}"),
        (lambda x, k: grad(lambda y: y * x)(k), rf"the function uses {stray}"),
        (lambda x, k: jvp(cm.sin, (k,), (x,))[1], rf"jvp at .* takes {stray}"),
        (lambda x, k: square(x), rf"custom_gradient at .* takes {stray}"),
    ]:
        for argument in (3.0, Node(3.0)):
            with pytest.raises(TracedValueError, match=message):
                grad(in_threads(work))(argument)
        with pytest.raises(TracedValueError, match=message):
            grad(lambda z: grad(in_threads(work))(z) * z)(3.0)  # noqa: B023


@custom_gradient
def square(x: Any) -> Any:
    """x² with its derivative."""
    return x * x, lambda g: 2 * x * g


def test_many_threads_at_once() -> None:
    """Each has its own transformations; captured nodes may be shared."""
    w = Node(0.5)
    failures: list[Any] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(30):
            x = rng.uniform(0.1, 2.0)
            slope = grad(lambda t: grad(lambda u: cm.sin(u * t) * w)(t))(x)
            exact = 0.5 * (2 * x * -math.sin(x * x) * x + math.cos(x * x))
            if abs(slope.data - exact) > 1e-14 or PROGRESS.names:
                failures.append((seed, x, slope.data, exact))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# Errors of the user's function


@pytest.mark.parametrize("way", TAKING)
@pytest.mark.parametrize("error", [KeyError("mine"), KeyboardInterrupt(), StopIteration()])
def test_errors_of_the_function_come_through(way: str, error: BaseException) -> None:
    """As they are; nothing is left open, and the next call works."""

    def f(x: Any) -> Any:
        raise error

    with pytest.raises(type(error)) as caught:
        TAKING[way](f)
    assert caught.value is error
    assert not PROGRESS.names
    assert TAKING[way](lambda x: x * x) is not None
    with pytest.raises(type(error)):
        grad(lambda x: x * TAKING[way](f))(2.0)
    assert not PROGRESS.names

    def tried(x: Any) -> Any:
        try:
            TAKING[way](f)
        except type(error):
            return x * x * 1.5
        raise AssertionError

    assert grad(tried)(2.0) == 6.0  # an error that the function itself handles


def test_errors_in_other_threads() -> None:
    """They leave that thread clean too."""
    after: list[Any] = []

    def work() -> None:
        with pytest.raises(ZeroDivisionError):
            grad(lambda x: grad(lambda y: 1 / 0)(x))(2.0)
        after.append((list(PROGRESS.names), grad(lambda x: x * x)(3.0)))

    def f(x: Any) -> Any:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert len(PROGRESS.names) == 1
        return x * x

    assert grad(f)(2.0) == 4.0
    assert after == [([], 6.0)]


def test_generators_and_contexts() -> None:
    """A generator that is left half-way does not disturb."""

    def terms(x: Any) -> Any:
        for k in itertools.count():
            yield x**k

    assert grad(lambda x: sum(itertools.islice(terms(x), 4)))(2.0) == 1 + 4 + 12.0


# Size and memory


DEPTH = 100_000


@pytest.mark.parametrize("live", [False, True], ids=["number", "node"])
def test_deep_graphs(live: bool) -> None:
    """A chain of 100,000 operations: nothing recurses."""
    assert sys.getrecursionlimit() <= 1000

    def chain(x: Any, n: int = DEPTH // 2) -> Any:
        y = x
        for _ in range(n):
            y = 0.5 * (y + x)
        return y

    def shorter(x: Any) -> Any:
        return chain(x, 5_000)

    def first(y: Any) -> float:
        return y.data if isinstance(y, Node) else float(y)

    x: Any = Node(3.0) if live else 3.0
    for found in (
        grad(chain)(x),
        jvp(chain, (x,), (1.0,))[1],
        vjp(shorter, x)[1](1.0)[0],
        jacobian(shorter)(x),
        jacobian(shorter, sparse=True)(3.0)[0, 0],
    ):
        assert first(found) == pytest.approx(1.0, rel=1e-12)
    assert value_and_grad(chain)(x)[0] == 3.0


def test_deep_second_derivatives() -> None:
    """Also of derivatives, by nodes and mixed."""

    def chain(x: Any) -> Any:
        y = x
        for _ in range(DEPTH // 10):
            y = y + 1e-5 * x * x
        return y

    exact = 2e-5 * (DEPTH // 10)
    assert grad(grad(chain))(1.0) == pytest.approx(exact, rel=1e-10)
    assert hvp(chain, (1.0,), (1.0,)) == pytest.approx(exact, rel=1e-10)
    assert hessian(chain, sparse=True)(1.0)[0, 0] == pytest.approx(exact, rel=1e-10)
    x = Node(1.0)
    grad(chain)(x).backward()
    assert x.grad == pytest.approx(exact, rel=1e-10)


def test_wide_graphs() -> None:
    """Many numbers."""
    n = 20_000
    found = grad(lambda xs: sum(x * x for x in xs))(np.arange(n, dtype=float))
    assert (found == 2.0 * np.arange(n)).all()


KEEPING: dict[str, Callable[[], Any]] = {
    "grad": lambda: grad(lambda x: cm.sin(x) * x)(0.5),
    "grad of a node": lambda: grad(lambda x: cm.sin(x) * x)(Node(0.5)),
    "value_and_grad with aux": lambda: value_and_grad(lambda x: (x * x, [x]), has_aux=True)(0.5),
    "grad of grad": lambda: grad(grad(lambda x: cm.sin(x) * x))(0.5),
    "jvp": lambda: jvp(lambda x: [cm.sin(x) * x], (0.5,), (Node(1.0),)),
    "vjp": lambda: vjp(lambda x: cm.sin(x) * x, Node(0.5))[1](1.0),
    "sparse": lambda: hessian(lambda x: x[0] ** 2 * x[1], sparse=True)([Node(0.5), 0.7]),
    "vmap": lambda: vmap(grad(lambda x: x * x))(np.ones(3)),
    "custom_gradient": lambda: grad(lambda x: square(x) * x)(Node(0.5)),
    "custom_gradient backward": lambda: square(Node(0.5)).backward(),
    "custom_gradient twice": lambda: grad(grad(lambda x: square(x) * x))(0.5),
}


@pytest.mark.parametrize("name", KEEPING)
def test_no_cycles(name: str) -> None:
    """Graphs are freed as soon as nobody holds them, without the cyclic collector."""
    KEEPING[name]()  # what is loaded and cached at the first call
    gc.collect()
    enabled, flags = gc.isenabled(), gc.get_debug()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        result = KEEPING[name]()
        del result
        gc.collect()
        # Plain nodes, which the collector does not know, are only found by what refers to them.
        found = [*gc.garbage, *gc.get_referents(*gc.garbage)]
        kept = [x for x in found if isinstance(x, Node) or "Linearization" in repr(type(x))]
    finally:
        gc.set_debug(flags)
        gc.garbage.clear()
        if enabled:
            gc.enable()
    assert kept == []


def test_gradients_of_gradients_at_a_number_in_a_trace() -> None:
    """They are constants of it, and no number stands for what is not known."""

    def f(x: Any) -> Any:
        return grad(lambda a: a * grad(lambda b: 2.0 * b)(a))(x)

    assert compile(lambda x: f(x) + f(0.5) * x)(0.7) == 2.0 + 2.0 * 0.7


def test_what_depends_on_nothing_from_outside_is_a_number() -> None:
    """A gradient of what uses a node from outside is of numbers where they do not depend on it."""

    def outer(w: Any) -> Any:
        (by_x, by_y), by_z = grad(lambda p, z: w - p[0] * p[0] + w * p[1] * z * z, argnums=(0, 1))(
            [0.0, 2.0], 3.0
        )
        assert type(by_x) is float
        assert math.copysign(1.0, by_x) == 1.0
        value, slope = value_and_grad(lambda p: [w, p[0] * p[0] + p[1]][1])([3.0, w])
        assert type(slope[1]) is float
        (alone,) = grad(lambda p: w - p[0] * p[0])([0.0])
        assert type(alone) is float
        assert math.copysign(1.0, alone) == 1.0
        return by_y + by_z * w + value + slope[0]

    assert value_and_grad(outer)(5.0) == (45.0 + 12.0 * 25.0 + 14.0 + 6.0, 9.0 + 24.0 * 5.0 + 1.0)


def test_cycles_would_be_noticed() -> None:
    """The test above can fail: a node in a cycle is found."""
    KEEPING["cycle"] = _cycle
    try:
        with pytest.raises(AssertionError):
            test_no_cycles("cycle")
    finally:
        del KEEPING["cycle"]


def _cycle() -> list[Any]:
    held: list[Any] = [Node(1.0)]
    held.append(held)
    return held


def test_errors_free_their_graph() -> None:
    """Once the error is gone, so is the graph."""

    def fail(times: int) -> int:
        for _ in range(times):
            with contextlib.suppress(TypeError):
                grad(lambda x: [x * k for k in range(1000)])(2.0)
        return blocks_in_use()

    before = fail(3)
    assert fail(3) < before + 500
