"""compile: which arguments share code, by value, type and order."""

from __future__ import annotations

import array
import re
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
from argument_objects import (
    Changing,
    Color,
    Frozen,
    OwnDict,
    OwnInt,
    OwnList,
    Plain,
    Registered,
    Size,
    Slotted,
    code_of,
    weighted,
)

import chainrule as cr
from chainrule import Node, jacobian, vmap

NOON = datetime(2020, 1, 1, 12, tzinfo=timezone.utc)
ALIKE: list[tuple[Any, Any]] = [
    (1, True),
    (0, False),
    ((1,), (True,)),
    ({1}, {True}),
    (frozenset({1}), frozenset({1.0})),
    (frozenset({0.0}), frozenset({-0.0})),
    (Frozen(1), Frozen(True)),
    (Frozen(1), Frozen(1.0)),
    (Frozen(0.0), Frozen(-0.0)),
    (Frozen((1, (2,))), Frozen((True, (2,)))),
    (Frozen(np.int64(1)), Frozen(np.int32(1))),
    (Decimal("1.0"), Decimal("1.00")),
    (Fraction(1), 1),
    (
        Frozen(np.zeros(1, dtype=[("a", "f8"), ("b", "f8")])),
        Frozen(np.zeros(1, dtype=[("b", "f8"), ("c", "f8")])),
    ),
    (complex(1.0, 0.0), complex(1.0, -0.0)),
    (range(0), range(1, 1)),
    (1, Size.ONE),
    (NOON, NOON.astimezone(timezone(timedelta(hours=1)))),
    (b"a", bytearray(b"a")),
    ({1: 2.0}, {True: 2.0}),
    ([{1: 2.0}, 3.0], [{1.0: 2.0}, 3.0]),
    (OrderedDict({1: 2.0}), OrderedDict({True: 2.0})),
    (defaultdict(int, {1: 2.0}), defaultdict(int, {True: 2.0})),
    (Registered(2.0, 1), Registered(2.0, True)),
    (Registered(2.0, {1}), Registered(2.0, {True})),
    (OwnList([1]), OwnList([True])),
    (OwnDict(a=1), OwnDict(a=True)),
    (partial(code_of, 1), partial(code_of, True)),
    ({8, 0}, {0, 8}),
    (Counter("ab"), Counter("ba")),
    (array.array("d", [0.0]), array.array("d", [-0.0])),
]


@pytest.mark.parametrize("pair", ALIKE, ids=lambda pair: re.sub(r" at 0x[0-9a-f]+", "", str(pair)))
def test_equal_values_are_told_apart(pair: tuple[Any, Any]) -> None:
    """By type, sign of zero and order, however deep; another one compiles again."""
    f = cr.compile(lambda x, value: x + _shown(value))
    for value in (*pair, *pair):
        assert f(0.5, value) == 0.5 + _shown(value)
    assert f.stats().plans == len({_shown(value) for value in pair})


def _shown(value: Any) -> float:
    """A number for what a function sees of a value, whose numbers may be nodes."""
    if isinstance(value, Registered):
        return code_of(value)
    if type(value) in (dict, list, OrderedDict, defaultdict, tuple):
        items = list(value.items()) if isinstance(value, dict) else list(value)
        return code_of([_shown(item) for item in items])
    return 0.0 if isinstance(value, (Node, float)) else code_of(value)


@pytest.mark.parametrize(
    ("make", "plans"),
    [
        (lambda: Frozen(float("nan")), 1),
        (lambda: {1, 2, 3}, 1),
        (lambda: Plain([1.0, {"a": (2, None)}]), 1),
        (lambda: Slotted(3), 1),
        (lambda: Changing(Changing(2)), 1),
        (lambda: Decimal("1.50"), 1),
        (lambda: np.dtype("f8"), 1),
        (lambda: Color.RED, 1),
        (lambda: code_of, 1),
        (lambda: np.ones(3, dtype=bool), 1),
        (lambda: OwnInt(3), 1),
        (lambda: Plain(threading.Lock()), 4),  # each is another
    ],
)
def test_alike_is_not_compiled_again(make: Callable[[], Any], plans: int) -> None:
    """Values that can't be told apart share the code."""
    f = cr.compile(lambda x, value: x)
    for _ in range(4):
        assert f(0.5, make()) == 0.5
    assert f.stats().plans == plans


# Order


@pytest.mark.parametrize("kind", [dict, OrderedDict, lambda d: defaultdict(float, d)])
@pytest.mark.parametrize("transform", [lambda f: f, cr.value_and_grad, jacobian])
def test_the_order_of_dicts_counts(kind: Any, transform: Any) -> None:
    """Of arguments at any depth, of keyword arguments, and in pairs of them."""
    eager = transform(lambda d: weighted(d.values()))
    f = cr.compile(eager)
    one, other = kind({"a": 1.0, "b": 2.0, "c": 4.0}), kind({"c": 4.0, "a": 1.0, "b": 2.0})
    for d in (one, other, one, other):
        assert f(d) == eager(d)
    inner = transform(lambda x: weighted(x[0]["in"].values()) * weighted(x[0].values() - {0}))
    assert inner.__class__  # built
    deep = transform(lambda x: weighted(x[1][0]["in"].values()))
    g = cr.compile(deep)
    for d in (one, other, one):
        assert g((1.0, [{"in": d}])) == deep((1.0, [{"in": d}]))


def test_the_order_of_keywords_counts() -> None:
    """They come as a dict."""
    f = cr.compile(lambda x, **named: x * weighted(named.values()))
    assert f(1.0, a=1.0, b=2.0) == 5.0
    assert f(1.0, b=2.0, a=1.0) == 7.0
    assert f(1.0, a=1.0, b=2.0) == 5.0


class Ordered:
    """Holds nodes in attributes."""

    def __init__(self) -> None:
        self.a, self.b = Node(1.0), Node(2.0)


def _reorder_dict(d: Any) -> None:
    d["a"] = d.pop("a")


def _reorder_attributes(x: Any) -> None:
    a = x.a
    del x.a
    x.a = a


def _reorder_set(values: Any) -> None:
    nodes = list(values)
    values.clear()
    values.update(reversed(nodes))


@pytest.mark.parametrize(
    ("holder", "values", "reorder"),
    [
        ({"a": Node(1.0), "b": Node(2.0)}, lambda d: d.values(), _reorder_dict),
        (OrderedDict(a=Node(1.0), b=Node(2.0)), lambda d: d.values(), lambda d: d.move_to_end("a")),
        (Ordered(), lambda x: vars(x).values(), _reorder_attributes),
        ([Node(1.0), Node(2.0)], list, lambda values: values.reverse()),
        (deque([Node(1.0), Node(2.0)]), list, lambda values: values.rotate()),
        ({Node(float(i)) for i in range(9)}, list, _reorder_set),
    ],
    ids=["dict", "OrderedDict", "attributes", "list", "deque", "set"],
)
def test_the_order_of_captured_nodes_counts(holder: Any, values: Any, reorder: Any) -> None:
    """Where a function uses them from outside."""

    def f(x: Any) -> Any:
        return x * weighted(values(holder))

    compiled = cr.compile(f)
    assert compiled(1.0).data == f(1.0).data
    reorder(holder)
    assert compiled(1.0).data == f(1.0).data


@pytest.mark.parametrize(
    "value", [np.ma.masked_less([1.0, 2.0], 1.5), np.ones((1, 2)).view(np.matrix)]
)
def test_arrays_with_another_arithmetic_are_refused(value: Any) -> None:
    """A mask would be ignored, and a matrix's product become one of elements."""
    with pytest.raises(TypeError, match=r"counts otherwise than an array of nodes would; pass"):
        cr.compile(lambda x: (x * x.T).sum())(value)
    masked = np.ma.masked_less([1.0, 2.0], 1.5)
    with pytest.raises(TypeError, match=r"lanes of a masked array would lose the mask"):
        vmap(lambda x: x)(masked)
    with pytest.raises(TypeError, match=r"counts otherwise|lanes of a masked array"):
        cr.compile(vmap(lambda x: x))(masked)


# Lanes


def test_lanes_of_objects() -> None:
    """Arrays run eagerly, with a warning that says so; numbers and nodes are compiled."""
    ragged = np.empty(2, dtype=object)
    ragged[:] = [np.ones(2), np.ones(3)]
    with pytest.warns(RuntimeWarning, match="may hold something else in each lane, here ndarray"):
        assert cr.compile(vmap(lambda x: x.sum()))(ragged).tolist() == [2.0, 3.0]
    kinds = cr.compile(vmap(lambda x: float(isinstance(x, int))))
    with pytest.warns(RuntimeWarning, match=r"an object array over the lanes; convert it with .as"):
        assert kinds(np.array([1.0, 2], dtype=object)).tolist() == [0.0, 1.0]


CHANGES: list[Callable[[list[Any]], object]] = [
    lambda pairs: pairs.append((1, 1)),
    lambda pairs: pairs.pop(),
    lambda pairs: pairs.reverse(),
    lambda pairs: pairs.__setitem__(0, (2, 5)),
    lambda pairs: pairs.__setitem__(0, (True, 0)),
    lambda pairs: pairs.__setitem__(1, [1, 0]),
    lambda pairs: pairs[-1].__setitem__(0, 2),
    lambda pairs: pairs.__setitem__(slice(None), pairs[:2]),
]


@pytest.mark.parametrize("change", CHANGES)
def test_lists_of_static_values_that_change_between_calls(
    change: Callable[[list[Any]], object],
) -> None:
    """The objects are compared with those of the last call, where they can't change themselves."""

    def chosen(x: Any, pairs: Any) -> Any:
        return [x[int(i)] * (2.0 if i is True else 3.0) + k for i, k in pairs]

    compiled = cr.compile(chosen)
    x = np.arange(1.0, 4.0)
    pairs: list[Any] = [(1, 0), (2, 1), (0, 3), [1, 4]]
    for _ in range(3):
        assert compiled(x, pairs) == chosen(x, pairs)
    change(pairs)
    for _ in range(3):
        assert compiled(x, pairs) == chosen(x, pairs)
    assert compiled(x, list(pairs)) == chosen(x, pairs)


@pytest.mark.parametrize("first", [[1, 2], (1, 2), [(3, 4)]])
def test_nothing_in_the_place_of_static_values(first: Any) -> None:
    """An empty sequence is not one of which nothing is known yet."""

    def total(places: Any, x: Any) -> Any:
        return x * (1.0 + len(places)) if places else -x

    compiled = cr.compile(total)
    for places in (first, type(first)(), first, type(first)()):
        assert compiled(places, 2.5) == total(places, 2.5)
