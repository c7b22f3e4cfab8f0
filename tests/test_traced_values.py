"""What a transformation or ``compile`` follows does not leave by hash, text, format or gradient.

And what is left over from one that has ended can't be used any more.
"""

from __future__ import annotations

import logging
import pickle
import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import (
    Node,
    TracedValueError,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    stop_gradient,
    value_and_grad,
    vjp,
    vmap,
)
from chainrule import math as cm

TAKING: dict[str, Callable[[Callable[[Any], Any]], Any]] = {
    "grad": lambda f: grad(f)(2.0),
    "grad of a node": lambda f: grad(f)(Node(2.0)),
    "value_and_grad": lambda f: value_and_grad(f)(2.0),
    "jvp": lambda f: jvp(f, (2.0,), (1.0,)),
    "vjp": lambda f: vjp(f, 2.0),
    "jacobian": lambda f: jacobian(f)(2.0),
    "hessian": lambda f: hessian(f)(2.0),
    "hvp": lambda f: hvp(f, (2.0,), (1.0,)),
    "grad of vmap": lambda f: grad(vmap(f, reduce="sum"))(np.ones(2)),
    "compile": lambda f: cr.compile(f)(2.0),
    "compile with a node": lambda f: cr.compile(f)(Node(2.0)),
    "compile of vmap": lambda f: cr.compile(vmap(f))(np.ones(3)),
    "compile of grad": lambda f: cr.compile(grad(f))(2.0),
    "compile of vmap of grad": lambda f: cr.compile(vmap(grad(f)))(np.ones(3)),
}

MAKING: dict[str, Callable[[Any], Any]] = {
    "input": lambda x: x,
    "result": lambda x: cm.exp(x) * 2,
    "power": lambda x: x**2,
    "several operands": lambda x: cm.fsum([x, 1.0, x]),
}

LEAVING: dict[str, Callable[[Any], Any]] = {
    "data": lambda x: x.data,
    "grad": lambda x: x.grad,
    "set grad": lambda x: setattr(x, "grad", 0.0),
    "local_grads": lambda x: x.local_grads(),
    "hash": lambda x: hash(x),
    "in a set": lambda x: x in {1.0, 2.0},
    "in a dict": lambda x: {2.0: 1.0}.get(x),
    "dict key": lambda x: {x: 1.0},
    "set of it": lambda x: len({x, x}),
    "numeric format": lambda x: f"{x:.1f}",
    "width alone": lambda x: f"{x:>10}",
    "format function": lambda x: format(x, "g"),
    "str.format": lambda x: "{:.3e}".format(x),  # noqa: UP032
    "percent": lambda x: "%f" % x,  # noqa: UP031
    "backward": lambda x: x.backward(),
    "sorted_nodes": lambda x: x.sorted_nodes(),
    "trace": lambda x: cr.trace(x),
    "draw_graph": lambda x: cr.draw_graph(x),
    "pickle": lambda x: pickle.dumps(x),
}


@pytest.mark.parametrize("what", MAKING)
@pytest.mark.parametrize("leave", LEAVING)
@pytest.mark.parametrize("way", TAKING)
def test_values_do_not_leave(way: str, leave: str, what: str) -> None:
    """An error that names the user's line, in every transformation and for every kind of node."""
    function = LEAVING[leave]
    line = function.__code__.co_firstlineno

    def f(x: Any) -> Any:
        function(MAKING[what](x))
        return x * x

    with pytest.raises(TracedValueError, match=rf"test_traced_values\.py:{line}\b"):
        TAKING[way](f)


NUMBER = re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+e[-+]?\d+|inf|nan)")


@pytest.mark.parametrize("what", MAKING)
@pytest.mark.parametrize("way", TAKING)
def test_text_has_no_value(way: str, what: str) -> None:
    """Prints and debuggers get a text that can't be read as a number, whatever the class."""
    texts: list[str] = []

    def f(x: Any) -> Any:
        y = MAKING[what](x)
        texts.extend([str(y), repr(y), f"{y}", f"{y!r}", "%s" % y, f"{[y]}"])  # noqa: UP031
        texts.append(logging.LogRecord("", 0, "", 0, "%s", (y,), None).getMessage())
        return y * y

    TAKING[way](f)
    assert texts
    for text in texts:
        assert re.fullmatch(r"\[?<traced \w+>\]?", text), text
        assert not NUMBER.search(text)


def test_text_names_operation_name_and_line() -> None:
    """What a person needs to find it."""
    seen: list[str] = []

    def f(x: Any) -> Any:
        with cr.record_lines():
            y = cm.exp(x)
        y.name = "growth"
        seen.extend([str(x), str(y)])
        return y

    line = f.__code__.co_firstlineno + 2
    grad(f)(1.0)
    assert seen == ["<traced node>", f"<traced exp 'growth', line {line}>"]


def test_captured_nodes_in_a_trace() -> None:
    """A weight that a compiled function uses is an input: nothing of it may be frozen either."""
    w = Node(3.0, name="w")
    for leave in LEAVING.values():
        if leave.__code__.co_names[:1] == ("hash",) or leave in (
            LEAVING["in a set"],
            LEAVING["in a dict"],
            LEAVING["dict key"],
            LEAVING["set of it"],
        ):
            continue
        with pytest.raises(TracedValueError):
            cr.compile(lambda x, leave=leave: leave(w) or x * w)(2.0)
    state = {w: 0.5}  # between plain nodes, hash is identity
    f = cr.compile(lambda x: x * w * state[w])
    assert f(2.0).data == 3.0
    seen: list[str] = []
    cr.compile(lambda x: seen.append(f"{w}") or x * w)(2.0)  # type: ignore[func-returns-value]
    assert set(seen) == {"<traced node 'w'>"}
    assert f"{w}" == "Node(data=3.0, grad=0.0, name='w')"


def test_stop_gradient_is_the_way_in() -> None:
    """Where nothing is recorded, what stop_gradient gives can be read."""

    def f(x: Any) -> Any:
        stopped = stop_gradient(x * 2)
        assert stopped.data == 4.0
        assert f"{stopped:.2f}" == "4.00"
        assert "4.0" in f"{stopped}"
        return x * stopped.data

    assert grad(f)(2.0) == 4.0
    assert jvp(f, (2.0,), (1.0,))[1] == 4.0
    assert grad(lambda y: grad(f)(2.0) * y)(1.0) == 4.0
    for compiled in (cr.compile(f), cr.compile(grad(f))):
        with pytest.raises(TracedValueError, match="reading the data of"):
            compiled(2.0)
    with pytest.raises(TracedValueError, match="reading the data of"):
        cr.compile(vmap(f))(np.ones(2) * 2)
    kept: list[Any] = []
    grad(lambda x: kept.append(stop_gradient(x)) or x)(2.0)  # type: ignore[func-returns-value]
    with pytest.raises(TracedValueError, match="has ended"):
        _ = kept[0].data


# What is left over

FILLING: dict[str, Callable[[Callable[[Any], Any]], Any]] = {
    name: TAKING[name] for name in TAKING if name != "grad of a node"
}

USING: dict[str, Callable[[Any], Any]] = {
    "data": lambda late: late.data,
    "sum": lambda late: (late + Node(1.0)).data,
    "backward": lambda late: (Node(1.0) * late).backward(),
    "comparison": lambda late: late > 1.0,
    "comparison with a node": lambda late: Node(1.0) <= late,
    "equality": lambda late: late == 2.0,
    "hash": lambda late: hash(late),
    "format": lambda late: f"{late:.1f}",
    "grad": lambda late: late.grad,
    "drawing": lambda late: cr.draw_graph(late * 2),
    "grad of it": lambda late: grad(cm.sin)(late),
    "tangent": lambda late: jvp(cm.sin, (1.0,), (late,)),
    "in grad": lambda late: grad(lambda x: x * late)(3.0),
    "in grad, the result": lambda late: grad(lambda x: late)(3.0),
    "in grad, compared": lambda late: grad(lambda x: x if x > late else 2 * x)(3.0),
    "in jvp": lambda late: jvp(lambda x: x + late * 2, (3.0,), (1.0,)),
    "in vjp": lambda late: vjp(lambda x: late - x, 3.0),
    "in hessian": lambda late: hessian(lambda x: x * x * late)(3.0),
    "in sparse jacobian": lambda late: jacobian(lambda x: x * late, sparse=True)(np.ones(2)),
    "two deep": lambda late: grad(lambda x: grad(lambda y: y * x * late)(x))(3.0),
    "outside of an inner one": lambda late: grad(lambda x: late * grad(cm.sin)(x))(3.0),
    "in compile": lambda late: cr.compile(lambda x: x * late)(3.0),
    "in compile, the result": lambda late: cr.compile(lambda x: [x, late])(3.0),
    "in compile, compared": lambda late: cr.compile(lambda x: x if x > late else -x)(3.0),
    "in compile, compared alone": lambda late: cr.compile(lambda x: x if late > 1 else -x)(3.0),
    "in compile of vmap": lambda late: cr.compile(vmap(lambda x: x * late))(np.ones(2)),
    "in compile of grad": lambda late: cr.compile(grad(lambda x: x * late))(3.0),
    "in grad in compile": lambda late: cr.compile(lambda x: grad(lambda y: y * x * late)(x))(3.0),
    "argument of compile": lambda late: cr.compile(lambda x: x * 2)(late),
    "in an array argument": lambda late: cr.compile(lambda x: x * 2)(np.array([late, 1.0])),
    "custom gradient": lambda late: cr.custom_gradient(lambda x: (x * x, lambda g: g))(late),
    "in a custom gradient": lambda late: grad(
        cr.custom_gradient(lambda x: (x * stop_gradient(late), lambda g: g))
    )(2.0),
    "deep": lambda late: grad(lambda x: x * (sum([late] * 50) + 1) ** 2)(3.0),
}


@pytest.mark.parametrize("use", USING)
@pytest.mark.parametrize("fill", FILLING)
def test_leftovers_are_not_constants(fill: str, use: str) -> None:
    """A value of a transformation that has ended raises wherever it is used."""
    for make in (lambda x: x, lambda x: x * 2 + 1, lambda x: stop_gradient(x)):
        kept: list[Any] = []

        def f(x: Any, kept: list[Any] = kept, make: Callable[[Any], Any] = make) -> Any:
            kept.append(make(x))
            return x * x

        FILLING[fill](f)
        late = next(x for x in kept if isinstance(x, Node) and x._level)
        with pytest.raises((TracedValueError, TypeError), match=r"ended|one of its arguments"):
            USING[use](late)


def read(result: Any) -> None:
    """Read the last node; inside a transformation a compiled function is the function itself."""
    for y in np.ravel(result)[::-1]:
        if isinstance(y, Node):
            _ = y.data


@pytest.mark.parametrize("use", USING)
def test_leftovers_of_an_inner_one(use: str) -> None:
    """The same while an outer transformation still runs, and in another one."""

    def outer(x: Any) -> Any:
        kept: list[Any] = []
        grad(lambda y: kept.append(y * x) or y * x)(1.0)  # type: ignore[func-returns-value]
        with pytest.raises((TracedValueError, TypeError), match=r"ended|one of its arguments"):
            read(USING[use](kept[0]))
        return x * x

    assert grad(outer)(3.0) == 6.0


def test_used_by_the_outer_one() -> None:
    """A value of an inner transformation that the outer one goes on with."""
    for way in ("grad", "jvp", "vjp", "jacobian", "hessian", "compile", "compile of grad"):
        kept: list[Any] = []

        def f(x: Any, kept: list[Any] = kept) -> Any:
            grad(lambda y: kept.append(y * y) or y * x)(x)  # type: ignore[func-returns-value]
            return x * kept[-1]

        with pytest.raises(TracedValueError, match="one that has ended"):
            TAKING[way](f)


def test_kept_from_the_call_before() -> None:
    """A cache that lives from call to call: the second call would use the first one's number."""
    for transform in (grad, value_and_grad, jacobian, hessian):
        cache: list[Any] = []

        def f(x: Any, cache: list[Any] = cache) -> Any:
            if not cache:
                cache.append(x * x)
            return cache[0] * x

        assert transform(f)(2.0) is not None
        with pytest.raises(TracedValueError, match="one that has ended"):
            transform(f)(3.0)


def test_of_another_thread() -> None:
    """A value of a transformation in progress belongs to its thread."""
    errors: list[str] = []

    def f(x: Any) -> Any:
        def work() -> None:
            for use in USING.values():
                try:
                    use(x * 1.0)
                except TypeError as error:
                    errors.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return x * x

    assert grad(f)(2.0) == 4.0
    assert len(errors) == len(USING)


def test_values_of_outer_levels_are_no_leftovers() -> None:
    """What is still in progress can be used at any depth."""

    def f(x: Any) -> Any:
        def g(y: Any) -> Any:
            def h(z: Any) -> Any:
                return x * y * z * z

            return grad(h)(y) * x

        return grad(g)(x) + jvp(lambda z: z * x, (x,), (x,))[1]

    # h' = 2 x y z, at z = y: 2 x y²; g = 2 x² y², g' = 4 x² y, at y = x: 4 x³; and x²
    assert grad(f)(2.0) == 12 * 4.0 + 4.0
    assert cr.compile(grad(f))(2.0) == 12 * 4.0 + 4.0
