"""compile: objects that change between calls, as arguments, and what may not change them."""

from __future__ import annotations

import array
import copy
import ctypes
import operator
import random
from collections import Counter
from collections.abc import Callable
from functools import cached_property, lru_cache, partial
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.sparse
from argument_objects import (
    Changing,
    Frozen,
    OwnDict,
    OwnInt,
    OwnList,
    Plain,
    Registered,
    Slotted,
    code_of,
)

import chainrule as cr
from chainrule import Node, grad, nn


def _set(name: str, value: Any) -> Callable[[Any], None]:
    return lambda x: setattr(x, name, value)


def _item(key: Any, value: Any) -> Callable[[Any], None]:
    return lambda x: x.__setitem__(key, value)


def _deeper(x: Any) -> None:
    x.value[0]["k"].value = 7.0


def _odd() -> OwnInt:
    number = OwnInt(3)
    number.extra = 5
    return number


MUTATIONS: dict[str, tuple[Any, Callable[[Any], None]]] = {
    "attribute": (Plain(2.0), _set("value", 3.0)),
    "new attribute": (Plain(2.0), _set("other", 3.0)),
    "deep": (Plain([{"k": Plain(2.0)}]), _deeper),
    "slot": (Slotted(2), lambda x: x.put(5)),
    "dataclass": (Changing(2), _set("value", 2.0)),
    "in a frozen one": (Frozen([1.0]), lambda x: x.value.append(2.0)),
    "set": ({1, 2}, lambda x: x.add(3)),
    "bytearray": (bytearray(b"ab"), _item(0, 99)),
    "array": (array.array("d", [1.0, 2.0]), _item(0, 5.0)),
    "list subclass": (OwnList([1.0, 2.0]), _item(0, 5.0)),
    "its attribute": (OwnList([1.0]), _set("extra", 5.0)),
    "dict subclass": (OwnDict(a=1.0), _item("b", 5.0)),
    "int subclass": (_odd(), _set("extra", 6)),
    "counter": (Counter("aab"), lambda x: x.update("b")),
    "array in it": (Plain(np.array([1.0, 2.0])), lambda x: x.value.__setitem__(0, 5.0)),
    "mask": (np.array([True, False]), _item(0, False)),
    "mask in it": (Plain(np.array([True, False])), lambda x: x.value.__setitem__(0, False)),
    "number's sign": (Plain(0.0), _set("value", -0.0)),
    "type": (Plain(1), _set("value", True)),
    "metadata": (Registered(2.0, [1]), lambda x: x.metadata.append(2)),
    "partial": (partial(code_of, [1]), lambda x: x.args[0].append(2)),
    "bound method": (Plain([1]).value.append, lambda x: x.__self__.append(2)),
    "iterator": (iter([1, 2]), next),
    "random numbers": (random.Random(1), lambda x: x.random()),
    "NumPy's": (np.random.default_rng(1), lambda x: x.random()),
}


def _seen(value: Any) -> float:
    """A number for all that can be seen of a value, without changing it."""
    if isinstance(value, random.Random):
        return code_of(value.getstate())
    if isinstance(value, np.random.Generator):
        return code_of(value.bit_generator.state)
    if isinstance(value, partial):
        return code_of(value.args)
    if isinstance(value, Registered):
        return code_of(value.metadata)
    if hasattr(value, "__next__"):
        return code_of(value.__reduce__())
    held = getattr(value, "__dict__", {})
    inner = [_seen(x) for x in held.values() if hasattr(x, "__dict__")]
    text = [repr(value), repr(held), *inner]
    if hasattr(value, "__self__"):
        text = [repr(value.__self__)]
    return code_of(text)


@pytest.mark.parametrize("name", MUTATIONS)
@pytest.mark.parametrize("outer", [lambda f: f, grad])
def test_an_object_that_has_changed_compiles_anew(name: str, outer: Any) -> None:
    """The number that a function reads from it is the one of the call."""
    value, mutate = (
        MUTATIONS[name] if name in ("iterator", "bound method") else copy.deepcopy(MUTATIONS[name])
    )
    eager = outer(lambda x, v: x * x * _seen(v) if x > 0.0 else x * _seen(v))
    f = cr.compile(eager)
    assert f(1.5, value) == eager(1.5, value)
    mutate(value)
    assert f(1.5, value) == eager(1.5, value)
    assert f(-1.5, value) == eager(-1.5, value)  # another path
    assert f(1.5, value) == eager(1.5, value)


def test_another_path_sees_the_objects_of_its_call() -> None:
    """Not those of the call that was compiled first, which may have changed since."""
    f = cr.compile(lambda x, v: x * 2.0 if x > 0 else x * len(v))
    first: set[int] = {1, 2}
    assert f(1.0, first) == 2.0
    first.add(3)
    assert f(-1.0, {1, 2}) == -2.0
    mask = np.array([True, True])
    g = cr.compile(lambda x, m: x if x > 0 else x * float(m.sum()))
    assert g(1.0, mask) == 1.0
    mask[0] = False
    assert g(-1.0, np.array([True, True])) == -2.0
    assert g(-1.0, mask) == -1.0


class Model:
    """Has compiled methods that read attributes."""

    rate: ClassVar[float] = 1.0

    def __init__(self) -> None:
        self.scale = 2.0
        self.weights = {"a": Node(3.0)}
        self.seen: list[Any] = []
        self.flag = False

    @cr.compile
    def value(self, x: Any) -> Any:
        """Reads numbers and nodes."""
        return self.scale * self.rate * x * self.weights["a"]

    @cr.compile
    def counting(self, x: Any) -> Any:
        """Changes the object."""
        self.flag = not self.flag
        return x if self.flag else 2.0 * x

    @cr.compile
    def keeping(self, x: Any) -> Any:
        """Keeps a traced value."""
        self.seen.append(x)
        return x

    @cached_property
    def squared(self) -> float:
        """Computed once."""
        return self.scale * self.scale

    @cr.compile
    def lazy(self, x: Any) -> Any:
        """Reads a cached property."""
        return self.squared * x


def test_self_is_an_argument() -> None:
    """Of a compiled method: its numbers are those of the call, its nodes are live."""
    model = Model()
    assert model.value(1.0).data == 6.0
    model.scale = 5.0
    assert model.value(1.0).data == 15.0
    model.weights["a"].data = 4.0
    assert model.value(1.0).data == 20.0
    model.weights["a"] = Node(1.0)
    assert model.value(1.0).data == 5.0
    model.rate = 3.0  # type: ignore[misc]
    assert model.value(1.0).data == 15.0
    other = copy.deepcopy(model)
    other.weights["a"].data = 2.0
    assert (other.value(1.0).data, model.value(1.0).data) == (30.0, 15.0)
    assert (model.lazy(1.0), model.lazy(2.0)) == (25.0, 50.0)
    model.scale = 1.0
    del model.squared
    assert model.lazy(1.0) == 1.0


def test_functions_and_models_as_arguments() -> None:
    """A function of an object is known by the object too; a model's weights are live."""
    scaled = Plain(2.0)
    slope = grad(Scaling(scaled).times)
    f = cr.compile(lambda g, x: g(x) * x)
    for value in (2.0, 5.0):
        scaled.value = value
        assert f(slope, 3.0) == 3.0 * value
    model = nn.MLP(2, [3, 1])
    g = cr.compile(lambda m, x: m(x))
    x = np.array([0.5, -1.0])
    for _ in range(2):
        assert _value(g(model, x)) == pytest.approx(_value(model(x)), rel=1e-14)
        model.parameters()[0].data += 1.0
    assert g.stats().plans == 1
    cached = [lru_cache(partial(operator.mul, k)) for k in (2.0, 3.0)]
    both = [_cached(k) for k in (2.0, 3.0)]
    square = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(lambda x: x * x)
    apply = cr.compile(lambda x, g: x * g(2.0))
    for functions, expected in ((cached, [4.0, 6.0]), (both, [4.0, 6.0]), ([square], [4.0])):
        for function, value in zip(functions, expected, strict=True):
            assert apply(1.0, function) == value
    matrix = scipy.sparse.csr_array(np.array([[1.0, 2.0], [0.0, 0.0]]))
    h = cr.compile(lambda x, a: x * float(a.sum()))
    for value in (1.0, 4.0):
        matrix.data[0] = value
        assert h(2.0, matrix) == 2.0 * (value + 2.0)


def _cached(k: float) -> Any:
    @lru_cache
    def times(x: float) -> float:
        return k * x

    return times


class Scaling:
    """Has a method that reads an object."""

    def __init__(self, scaled: Plain) -> None:
        self.scaled = scaled

    def times(self, x: Any) -> Any:
        """Scales."""
        return self.scaled.value * x


def _value(result: Any) -> float:
    return float(result.data if isinstance(result, Node) else result[0].data)


def test_a_traced_function_may_not_change_objects() -> None:
    """It would do so when it is traced, and not in each call."""
    model = Model()
    for method in (model.counting, model.keeping):
        for _ in range(2):
            with pytest.raises(TypeError, match=r"the function has changed Model .* not in each"):
                method(1.0)
    rng = random.Random(0)
    with pytest.raises(TypeError, match=r"the function has changed Random .* return what is new"):
        cr.compile(lambda x, r: x * r.random())(1.0, rng)
    generator = np.random.default_rng(0)
    with pytest.raises(TypeError, match="the function has changed Generator"):
        cr.compile(lambda x, r: x * r.normal())(1.0, generator)
    with pytest.raises(TypeError, match="the function has changed set"):
        cr.compile(lambda x, s: s.add(1) or x)(1.0, {2})


def test_what_hides_its_state_is_refused() -> None:
    """With what to do instead."""
    f = cr.compile(lambda x, v: x)
    with open(__file__) as file:
        for value in ((i for i in range(3)), file, Plain(memoryview(b"a"))):
            with pytest.raises(TypeError, match=r"changed can't be seen.*register_pytree_node\("):
                f(1.0, value)
    with pytest.raises(TypeError, match=r"as it holds memoryview"):
        f(1.0, Plain(memoryview(b"a")))
    with pytest.raises(TypeError, match=r"holds more than 100,000 parts"):
        f(1.0, Plain([(i,) for i in range(100_001)]))
    deep: Any = None
    for _ in range(5000):
        deep = Plain(deep)
    assert f(1.0, deep) == 1.0
    around = Plain()
    around.value = around
    assert f(1.0, around) == 1.0
