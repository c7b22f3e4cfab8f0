"""custom_gradient: functions with a derivative of the user's own."""

from __future__ import annotations

import copy
import gc
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import (
    Node,
    TracedValueError,
    check_grads,
    compile,
    custom_gradient,
    detect_anomaly,
    draw_graph,
    explore,
    grad,
    hessian,
    hvp,
    jacfwd,
    jacobian,
    jvp,
    stop_gradient,
    value_and_grad,
    vjp,
    vmap,
)
from chainrule import math as cm
from chainrule.node import Node as PlainNode
from chainrule.tracing import PROGRESS


@custom_gradient
def log1pexp(x: Any) -> Any:
    """log(1 + exp(x)), whose derivative does not overflow."""
    e = cm.exp(x)
    return cm.log(1 + e), lambda g: g * (1 - 1 / (1 + e))


@custom_gradient
def tripled(x: Any) -> Any:
    """x, with another derivative than its own."""
    return x, lambda g: 3 * g


@custom_gradient
def clipped(x: Any) -> Any:
    """x², with a derivative that looks at values."""
    return x * x, lambda g: 2 * x * g if x > 0 else 0 * g


@custom_gradient
def product(x: Any, n: int, y: Any) -> Any:
    """x y n, of which n is a whole number."""
    total = sum(x * y for _ in range(n))
    return total, lambda g: (g * y * n, 0.0, g * x * n)


@custom_gradient
def polar(point: Any) -> Any:
    """Radius and angle of a point in a dict, as a tree."""
    x, y = point["x"], point["y"]
    r = cm.hypot(x, y)

    def pull_back(g: Any) -> Any:
        by_r, (by_angle,) = g["r"], g["angle"]
        return {
            "x": by_r * x / r - by_angle * y / (r * r),
            "y": by_r * y / r + by_angle * x / (r * r),
        }

    return {"r": r, "angle": [cm.atan2(y, x)]}, pull_back


@custom_gradient
def scaled(x: Any, factor: Any) -> Any:
    """An array times a number."""
    return x * factor, lambda g: (g * factor, np.sum(g * x))


def test_numbers_in_numbers_out() -> None:
    """Called on numbers it is the function."""
    assert log1pexp(0.5) == math.log(1 + math.exp(0.5))
    assert type(log1pexp(0.5)) is float
    assert product(2.0, 3, 5.0) == 30.0
    assert polar({"x": 3.0, "y": 4.0})["r"] == 5.0
    assert scaled(np.array([1.0, 2.0]), 3.0).tolist() == [3.0, 6.0]
    function: Any = log1pexp
    assert function.__name__ == "log1pexp"
    assert repr(log1pexp) == "custom_gradient(log1pexp)"


def test_the_users_derivative_is_used() -> None:
    """In every transformation and in plain backpropagation."""
    assert tripled(2.0) == 2.0
    for derivative in (
        grad(tripled)(2.0),
        jacobian(tripled)(2.0),
        jacobian(lambda x: [tripled(x)] * 3)(2.0)[2],
        vjp(tripled, 2.0)[1](1.0)[0],
        vmap(grad(tripled))(np.array([2.0]))[0],
    ):
        assert derivative == 3.0
    x = Node(2.0)
    y = tripled(x) * tripled(x)
    y.backward()
    assert (y.data, x.grad) == (4.0, 12.0)
    assert grad(log1pexp)(1000.0) == 1.0
    assert math.isnan(grad(lambda x: cm.log(1 + cm.exp(x)))(1000.0))  # what it is good for


def test_further_derivatives() -> None:
    """Those of the user's derivative, to any order and in any nesting."""
    check_grads(log1pexp, (0.7,), order=3, modes=["rev"])
    check_grads(lambda p: polar(p), ({"x": 0.3, "y": 0.4},), order=2, modes=["rev"])
    check_grads(scaled, (np.array([[0.3, 0.4]]), 2.0), order=2, modes=["rev"])
    check_grads(lambda x, y: product(x, 3, y), (0.3, 0.4), order=2, modes=["rev"])
    check_grads(lambda x: log1pexp(log1pexp(x) * x) ** 2, (0.7,), order=3, modes=["rev"])
    assert grad(grad(tripled))(2.0) == 0.0
    assert grad(grad(lambda x: tripled(x) * tripled(x)))(2.0) == 18.0
    assert hessian(lambda x: clipped(x) ** 2)(2.0) == 48.0
    assert grad(lambda x: grad(lambda y: clipped(y) * x)(x))(2.0) == 8.0


def test_values_can_be_looked_at_in_the_derivative() -> None:
    """At each call, whatever is in progress; also long after."""
    for x, first, second in ((2.0, 4.0, 2.0), (-2.0, 0.0, 0.0)):
        assert grad(clipped)(x) == first
        assert grad(grad(clipped))(x) == second
        leaf = Node(x)
        value, slope = value_and_grad(lambda t: clipped(t) * 1.5)(leaf)
        assert not PROGRESS.names
        for root, expected in ((value, 1.5 * first), (slope, 1.5 * second)):
            if isinstance(root, Node):
                leaf.grad = 0.0
                root.backward()
                assert leaf.grad == expected


def test_several_arguments() -> None:
    """A cotangent for each, numbers included; whole numbers stay whole."""
    assert grad(lambda x, y: product(x, 4, y), (0, 1))(2.0, 3.0) == (12.0, 8.0)
    x, y = Node(2.0), Node(3.0)
    product(x, 4, y).backward()
    assert (x.grad, y.grad) == (12.0, 8.0)
    x.grad = 0.0
    product(x, 4, 3.0).backward()
    assert x.grad == 12.0
    x.grad = 0.0
    product(x, 4, x).backward()
    assert x.grad == 16.0


def test_trees_and_arrays() -> None:
    """Results of several numbers, each with its own row."""
    found = jacobian(polar)({"x": 3.0, "y": 4.0})
    assert found["r"] == pytest.approx({"x": 0.6, "y": 0.8})
    assert found["angle"][0] == pytest.approx({"x": -0.16, "y": 0.12})
    point = {"x": Node(3.0), "y": 4.0}
    result = polar(point)
    assert result["r"].data == 5.0
    (result["r"] * result["angle"][0]).backward()
    angle = math.atan2(4.0, 3.0)
    assert point["x"].grad == pytest.approx(0.6 * angle - 0.16 * 5)  # type: ignore[attr-defined]
    xs = np.array([[Node(1.0), 2.0]], dtype=object)
    factor = Node(3.0)
    total = scaled(xs, factor)
    assert total.shape == (1, 2)
    (total[0, 0] * total[0, 1]).backward()  # 3 x · 6
    assert (xs[0, 0].grad, factor.grad) == (18.0, 12.0)


def test_arguments_are_those_of_the_call() -> None:
    """An array that is changed afterwards does not change the derivative."""
    xs = np.array([1.0, 2.0])
    factor = Node(3.0)
    total = scaled(xs, factor)
    xs[:] = 100.0
    (total[0] + total[1]).backward()
    assert factor.grad == 3.0


def test_constants_and_results_that_are_arguments() -> None:
    """A result that is a number, and one that is the argument itself."""
    constant = custom_gradient(lambda x: (5.0, lambda g: 7 * g))
    assert grad(constant)(2.0) == 7.0
    x = Node(2.0)
    constant(x).backward()
    assert x.grad == 7.0
    assert tripled(x) is not x
    assert grad(lambda x: tripled(x) + x)(2.0) == 4.0
    nothing = custom_gradient(lambda x: ([], lambda g: 0.0))
    assert nothing(x) == []


def test_the_graph_of_one() -> None:
    """A node of the user's name, from the value and the arguments; settled and drawable."""
    x = Node(0.5, name="x")
    y = log1pexp(x)
    assert str(y) == "log1pexp"
    nodes = y.sorted_nodes()
    assert all(node._level == 0 for node in nodes)
    assert [str(node) for node in nodes if node._parents] == ["log1pexp", "log", "1 +", "exp"]
    assert "identity" not in draw_graph(grad(log1pexp)(x)).source
    assert y.data == log1pexp(0.5)
    assert [node for node in nodes if not node._parents] == [x]


def test_zero_stops_before_it() -> None:
    """A global gradient of 0 does not ask the user's derivative; infinities come through."""
    asked: list[float] = []

    @custom_gradient
    def pole(x: Any) -> Any:
        def pull_back(g: Any) -> Any:
            asked.append(1.0)
            return math.inf * g

        return x, pull_back

    assert grad(lambda x: cm.where(x > 0, pole(x), 0.0))(-1.0) == 0.0
    assert asked == []
    assert grad(pole)(1.0) == math.inf
    x = Node(1.0)
    cm.where(x < 0, pole(x), x).backward()
    assert x.grad == 1.0


def test_the_values_own_derivative_is_no_dependence() -> None:
    """Not even for an infinite global gradient, which times 0 would be NaN."""
    for x in (Node(0.5), 0.5):
        slope = grad(lambda x: log1pexp(x) * math.inf)(x)
        assert (slope.data if isinstance(slope, Node) else slope) == math.inf
    leaf = Node(0.5)
    (log1pexp(leaf) * math.inf).backward()
    assert leaf.grad == math.inf
    cut = custom_gradient(lambda x: (x[0] * x[1], lambda g: [g, 0.0]))
    assert jacobian(lambda x: [cut(x)], sparse=True)([2.0, 3.0]).toarray().tolist() == [[1.0, 0.0]]


def test_copies() -> None:
    """Graphs with it can be copied and, for functions of a module, their values kept."""
    x = Node(0.5)
    y, twin = copy.deepcopy((log1pexp(x) * x, x))
    y.backward()
    assert twin.grad == pytest.approx(grad(lambda t: log1pexp(t) * t)(0.5), rel=1e-14)
    assert x.grad == 0.0
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(log1pexp(x))  # holds a function without a name


# Bad input


ODD: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no pair": (lambda x: x, r"returns a pair: the result and a function .*, not \w*Node"),
    "three": (lambda x: (x, abs, abs), r"takes a function that returns a pair"),
    "no function": (lambda x: (x, 2.0), r"takes a function that returns a pair"),
    "a list": (lambda x: [x, abs], r"takes a function that returns a pair: .*not list"),
    "text as result": (lambda x: ("x", abs), r"the result of custom_gradient.* holds str 'x'"),
    "None as result": (lambda x: ({"a": None}, abs), r"result of custom_.* holds NoneType None"),
}


@pytest.mark.parametrize("case", ODD)
def test_functions_that_return_something_else(case: str) -> None:
    """An error at the call, on nodes and in transformations."""
    f, message = ODD[case]
    odd = custom_gradient(f)
    calls: list[Callable[[], Any]] = [
        lambda: odd(Node(2.0)),
        lambda: grad(odd)(2.0),
        lambda: hessian(odd)(2.0),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=message):
            call()
        assert not PROGRESS.names
    if "result" not in case:
        with pytest.raises(TypeError, match="returns a pair"):
            odd(2.0)


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "too few": ((1.0,), ValueError, r"must be like the arguments, \(number, .*, not \(number,\)"),
    "too many": ((1.0, [1.0, 2.0], 3.0), ValueError, r"must be like the arguments"),
    "another structure": ((1.0, (1.0, 2.0)), ValueError, r"like the arguments, \(number, \[num"),
    "another shape": (
        (np.ones(3), [1.0, 2.0]),
        ValueError,
        r"\[number, number\]\), not \(array\(3,\), \[number, number\]\)",
    ),
    "a number": (1.0, ValueError, r"\[number, number\]\), not a number"),
    "text": ("ab", TypeError, r"what the derivative of custom_gradient.* returns holds str 'ab'"),
    "None": ((1.0, None), TypeError, r"returns holds NoneType None"),
    "truth values": ((True, [False, True]), TypeError, r"returns holds bool True"),
}


@pytest.mark.parametrize("case", WRONG)
def test_derivatives_that_return_something_else(case: str) -> None:
    """An error in differentiation that says what is wanted; nothing has changed."""
    given, error, message = WRONG[case]
    odd = custom_gradient(lambda x, ys: (x * ys[0] * ys[1], lambda g: given))
    x = Node(2.0)
    for call in (
        lambda: odd(x, [3.0, x]).backward(),
        lambda: grad(odd, (0, 1))(2.0, [3.0, 4.0]),
        lambda: grad(grad(odd))(2.0, [3.0, 4.0]),
        lambda: vjp(odd, 2.0, [3.0, 4.0])[1](1.0),
    ):
        with pytest.raises(error, match=message):
            call()
        assert x.grad == 0.0
        assert not PROGRESS.names


def test_one_argument_may_come_bare_or_in_a_tuple() -> None:
    """And one that is a tuple itself is not taken for several."""
    bare = custom_gradient(lambda x: (x * x, lambda g: 2 * x * g))
    packed = custom_gradient(lambda x: (x * x, lambda g: (2 * x * g,)))
    assert grad(bare)(3.0) == grad(packed)(3.0) == 6.0
    pair = custom_gradient(lambda p: (p[0] * p[1], lambda g: (g * p[1], g * p[0])))
    pair_packed = custom_gradient(lambda p: (p[0] * p[1], lambda g: ((g * p[1], g * p[0]),)))
    assert grad(pair)((3.0, 5.0)) == grad(pair_packed)((3.0, 5.0)) == (5.0, 3.0)
    as_list = custom_gradient(lambda p: (p[0] * p[1], lambda g: [g * p[1], g * p[0]]))
    assert grad(as_list)([3.0, 5.0]) == [5.0, 3.0]


def test_nodes_from_outside() -> None:
    """The derivative would miss them: an error, also where only the derivative uses them."""
    w = Node(5.0)
    z = w * 2
    message = (
        r"custom_gradient\(<lambda>\) uses a node that is not one of its arguments, whose gradient"
        r" would be lost; pass it as an argument"
    )
    captures: list[Callable[[Any], Any]] = [
        lambda v: custom_gradient(lambda x: (x * v, lambda g: g)),
        lambda v: custom_gradient(lambda x: (cm.hypot(x, 1.0, v), lambda g: g)),
        lambda v: custom_gradient(lambda x: (v, lambda g: g)),
        lambda v: custom_gradient(lambda x: ([x, v * v], lambda g: g[0])),
    ]
    for capture in captures:
        for node in (w, z):
            with pytest.raises(TypeError, match=message):
                capture(node)(Node(2.0))
            with pytest.raises(TypeError, match=message):
                grad(lambda x: np.sum(capture(node)(x)))(2.0)  # noqa: B023
        for f in (
            lambda a: capture(a)(a),  # noqa: B023
            lambda a: grad(lambda x: np.sum(capture(a)(x)))(2.0),  # noqa: B023
        ):
            with pytest.raises(TypeError, match=message):
                grad(lambda a, f=f: np.sum(f(a)))(3.0)
        with pytest.raises(TypeError, match=message):
            capture(w)(w)  # also one that is an argument as well

    in_derivative = custom_gradient(lambda x: (x * x, lambda g: g * w))
    with pytest.raises(TypeError, match=message):
        grad(in_derivative)(2.0)
    with pytest.raises(TypeError, match=message):
        in_derivative(Node(2.0)).backward()
    assert w.grad == 0.0
    detached = custom_gradient(lambda x: (x * stop_gradient(w), lambda g: 5 * g))
    assert grad(detached)(2.0) == 5.0
    inner = Node(2.0) * 3  # one that the function makes itself is from outside as well
    with pytest.raises(TypeError, match=message):
        custom_gradient(lambda x: (x * PlainNode(2.0), lambda g: g))(inner)


def test_values_from_ended_transformations() -> None:
    """As for the others."""
    kept: list[Any] = []
    grad(lambda x: kept.append(x) or x)(2.0)  # type: ignore[func-returns-value]
    with pytest.raises(TracedValueError, match=r"custom_gradient at .* takes a value of another"):
        log1pexp(kept[0])
    with pytest.raises(TypeError, match="uses a node that is not one of its arguments"):
        custom_gradient(lambda x: (x * kept[0], lambda g: g))(Node(1.0))


def test_reading_values() -> None:
    """Inside a transformation values can't leave; of a plain node the user may, at some risk."""
    read = custom_gradient(lambda x: (x.data * 2.0, lambda g: 2.0 * g))
    with pytest.raises(TracedValueError, match=r"reading the data of .*inside grad"):
        grad(read)(2.0)
    x = Node(2.0)
    y = read(x)
    y.backward()
    assert (y.data, x.grad) == (4.0, 2.0)
    x.data = 3.0  # and y, which is a number to us, can't be computed again
    with pytest.raises(ValueError, match="was changed after"):
        y.backward()


# The pull-back gets the cotangent, not 1


@custom_gradient
def limited(x: Any) -> Any:
    """x, passing back a cotangent limited to [-1, 1]."""
    return x, lambda g: cm.clip(g, -1.0, 1.0)


def test_the_pull_back_gets_the_cotangent() -> None:
    """As it is, so that what it does to it need not be linear."""
    x = Node(1.0)
    (5 * limited(x)).backward()
    assert x.grad == 1.0
    assert grad(lambda x: 5 * limited(x))(1.0) == 1.0
    assert grad(lambda x: 0.5 * limited(x))(1.0) == 0.5
    assert vjp(limited, 1.0)[1](-7.0) == (-1.0,)
    assert vjp(lambda x: 2 * limited(x), 1.0)[1](3.0) == (1.0,)
    assert jacobian(lambda x: 5 * limited(x))(1.0) == 1.0
    lanes = compile(vmap(grad(lambda x, c: c * limited(x))))(np.ones(2), np.array([5.0, 0.5]))
    assert lanes.tolist() == [1.0, 0.5]
    assert compile(grad(lambda x: 5 * limited(x)))(1.0) == 1.0
    # The first derivative is 2 x limited(x) + clip(x²), and so on through the pull-back.
    assert grad(grad(lambda x: x * x * limited(x)))(0.5) == 3.0


@custom_gradient
def three(x: Any, y: Any) -> Any:
    """Three results; the pull-back notes what it is called with."""

    def pull_back(g: Any) -> Any:
        CALLS.append(tuple(g))
        return 2 * g[0] + g[1], 3 * g[2]

    return (x * y, x, y), pull_back


CALLS: list[Any] = []


@pytest.mark.parametrize("way", ["backward", "grad", "vjp", "compiled"])
def test_the_pull_back_runs_once(way: str) -> None:
    """For all results together; what is not reached has the cotangent 0."""

    def both(x: Any, y: Any) -> Any:
        results = three(x, y)
        return 5 * results[0] + 7 * results[2] + 2 * results[0]

    CALLS.clear()
    if way == "backward":
        x, y = Node(2.0), Node(3.0)
        both(x, y).backward()
        found = (x.grad, y.grad)
    elif way == "vjp":
        found = vjp(both, 2.0, 3.0)[1](1.0)
    elif way == "grad":
        found = grad(both, (0, 1))(2.0, 3.0)
    else:
        found = compile(grad(both, (0, 1)))(2.0, 3.0)
    assert found == (14.0, 21.0)
    assert CALLS == [(7.0, 0.0, 7.0)] or way == "compiled"
    assert len(CALLS) == 1


def test_a_pull_back_that_nothing_reaches_is_not_called() -> None:
    """Because its result was not picked."""
    called: list[float] = []
    noted = custom_gradient(lambda x: (x, lambda g: called.append(g) or g))  # type: ignore[func-returns-value]
    x = Node(2.0)
    cm.where(x > 3, noted(x), x * x).backward()
    assert (x.grad, called) == (4.0, [])
    assert grad(lambda x: cm.maximum(noted(x), 5.0) * x)(2.0) == 5.0
    assert called == []


def test_forward_mode_is_refused() -> None:
    """The derivative is given for reverse mode alone; what can choose does."""
    for call in (
        lambda: jvp(tripled, (2.0,), (1.0,)),
        lambda: jacfwd(tripled)(2.0),
        lambda: jvp(lambda x: three(x, x)[1], (2.0,), (1.0,)),
        lambda: compile(lambda x: jvp(tripled, (x,), (1.0,))[1])(2.0),
    ):
        with pytest.raises(TypeError, match=r"for reverse mode alone.* use grad, vjp or jacrev"):
            call()
    assert jacobian(lambda x: [tripled(x), x, x])(2.0) == [3.0, 1.0, 1.0]


def test_second_derivatives_go_by_reverse_mode() -> None:
    """Hessians and their products."""
    wanted = grad(grad(lambda x: cm.log(1 + cm.exp(x)) * x))(0.7)
    f = lambda x: log1pexp(x) * x  # noqa: E731
    assert hessian(f)(0.7) == pytest.approx(wanted, rel=1e-12)
    assert hvp(f, (0.7,), (2.0,)) == pytest.approx(2.0 * wanted, rel=1e-12)
    assert compile(hessian(f))(0.7) == pytest.approx(wanted, rel=1e-12)
    assert compile(lambda x: hvp(f, (x,), (2.0,)))(0.7) == pytest.approx(2.0 * wanted, rel=1e-12)


def test_nesting_through_vjp_grows_slowly() -> None:
    """A run of the innermost function for each level, not for each path to it."""
    runs: list[int] = []

    def counted(x: Any) -> Any:
        runs.append(1)
        return cm.sin(x)

    def nested(depth: int) -> Any:
        if depth == 0:
            return counted
        inner = nested(depth - 1)

        def f(x: Any) -> Any:
            y, pull_back = vjp(inner, x)
            return y, lambda g: pull_back(g)[0]

        return custom_gradient(f)

    for depth in (2, 4, 8):
        runs.clear()
        assert grad(nested(depth))(0.5) == pytest.approx(math.cos(0.5), rel=1e-15)
        assert len(runs) <= depth * depth


def test_pictures_show_the_pull_back_of_1() -> None:
    """As a local gradient there is none."""
    x = Node(3.0)
    y = limited(x)
    assert y.local_grads() == (0.0, 1.0)
    assert "pull-back of 1: 1.0000" in draw_graph(y, local_grads=True).source
    assert "pull-back of 1" in explore(y).html


def test_other_bad_input() -> None:
    """What is no function, no number, or by name."""
    with pytest.raises(TypeError, match="custom_gradient takes a function, not int 3"):
        custom_gradient(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"an argument of custom_gradient\(log1pexp\) holds str"):
        log1pexp("text")
    with pytest.raises(TypeError, match=r"an argument of .* holds NoneType None"):
        product(Node(2.0), 2, None)
    with pytest.raises(TypeError, match="unexpected keyword argument 'x'"):
        log1pexp(x=2.0)  # type: ignore[call-arg]
    error = ZeroDivisionError("mine")

    def raising(x: Any) -> Any:
        raise error

    def raising_later(x: Any) -> Any:
        return x * x, raising

    calls: list[Callable[[], Any]]
    for f in (raising, raising_later):
        odd = custom_gradient(f)
        calls = [lambda: grad(odd)(2.0), lambda: odd(Node(2.0)).backward()]  # noqa: B023
        for call in calls:
            with pytest.raises(ZeroDivisionError) as caught:
                call()
            assert caught.value is error
            assert not PROGRESS.names


def test_pulling_back_later_with_a_captured_weight() -> None:
    """What depends on the inputs alone, beside what depends on a node, is numbers after vjp."""
    weight = Node(3.0)
    squared = custom_gradient(lambda x: (x * x, lambda g: (2 * x * g,)))

    @custom_gradient
    def product(x: Any, y: Any) -> Any:
        return (x * y, x - y), lambda g: (g[0] * y + g[1], g[0] * x - g[1])

    def f(x: Any) -> Any:
        a, b = product(squared(x), 2.0 * x)
        return [a + b * weight, product(x, weight)[0]]

    value, pull_back = vjp(f, 2.0)
    assert [y.data for y in value] == [16.0, 6.0]
    for g in (1.0, 3.0):
        (found,) = pull_back([g, 0.5])
        assert found.data == g * (24.0 + 2 * 3.0) + 1.5
        weight.grad = 0.0
        found.backward()
        assert weight.grad == 2 * g + 0.5


def _backward(f: Callable[[Any], Any]) -> None:
    f(Node(1.0)).backward()


@pytest.mark.parametrize("way", [_backward, lambda f: grad(f)(1.0)], ids=["backward", "grad"])
@pytest.mark.parametrize("count", [1, 2])
def test_anomalies_in_what_is_pulled_back(way: Callable[[Any], Any], count: int) -> None:
    """Named with the gradient that was pulled back, of several results the first one's."""

    @custom_gradient
    def odd(x: Any) -> Any:
        if count == 1:
            return 2 * x, lambda g: (g * math.inf,)
        return (2 * x, 3 * x), lambda g: (g[0] * math.inf,)

    def f(x: Any) -> Any:
        y = odd(x)
        return 3 * y if count == 1 else 3 * y[0] + y[1]

    said = r" inf .*: (global gradient )?3\.0 times local gradient nan"
    with detect_anomaly(), pytest.raises(FloatingPointError, match=said):
        way(f)


def test_graphs_are_freed() -> None:
    """No cycle between a node and its derivative."""
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(x, Node) for x in gc.get_objects())
        for _ in range(100):
            log1pexp(log1pexp(Node(0.5))).backward()
        assert sum(isinstance(x, Node) for x in gc.get_objects()) == before
    finally:
        gc.enable()


@pytest.mark.parametrize("way", ["value", "grad", "hessian", "node", "lanes"])
def test_loops_are_found_through_it(way: str) -> None:
    """The same function is the same operation, wherever it is called; what it derives is kept."""

    def total(xs: Any) -> Any:
        t = 0.0
        for x in xs:
            t = cm.tanh(t) + 0.5 * log1pexp(t * x + x) + tripled(x) * product(t, 2, x)
        return t

    xs = np.sin(np.arange(1.0, 41.0))
    if way == "node":
        nodes, others = np.array([*map(Node, xs)]), [*map(Node, xs)]
        f = compile(total)
        f(nodes).backward()
        total(others).backward()
        found, expected = [[x.grad for x in part] for part in (nodes, others)]
    elif way == "lanes":
        f = compile(vmap(value_and_grad(total)))
        rows = np.stack([xs, 0.5 * xs])
        found, expected = f(rows)[1], vmap(grad(total))(rows)
    else:
        ways: dict[str, Any] = {"value": total, "grad": grad(total), "hessian": hessian(total)}
        changed = ways[way]
        f = compile(changed)
        found, expected = f(xs), changed(xs)
    assert np.allclose(found, expected, rtol=1e-12, atol=1e-14)
    if way in ("value", "grad"):
        assert f.stats().nodes < 200
