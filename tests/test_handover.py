"""What functions are handed under transformations: read-only arrays, and copies."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from argument_objects import Registered

import chainrule as cr
from chainrule import Node, grad, hessian, jacobian, vmap


def _write_array(x: Any, a: Any, d: Any) -> Any:
    a[0] = 5.0
    return x


def _add_to_array(x: Any, a: Any, d: Any) -> Any:
    a += 1.0
    return x


def _write_inner(x: Any, a: Any, d: Any) -> Any:
    d["inner"][0][...] = 1.0
    return x


def _append(x: Any, a: Any, d: Any) -> Any:
    d["list"].append(x)
    return x


def _replace(x: Any, a: Any, d: Any) -> Any:
    d["list"][0] = 2.0 * x
    return x


def _pop(x: Any, a: Any, d: Any) -> Any:
    d.pop("list")
    return x


def _change_registered(x: Any, a: Any, d: Any) -> Any:
    d["registered"].number = 3.0 * x
    return x


WRITES = [_write_array, _add_to_array, _write_inner, _append, _replace, _pop, _change_registered]
CALLS: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "compiled": cr.compile,
    "checked": lambda f: cr.compile(f, check=True),
    "compiled gradient": lambda f: cr.compile(grad(f)),
    "compiled by all": lambda f: cr.compile(grad(f, argnums=(0, 1))),
    "compiled lanes": lambda f: cr.compile(vmap(f, in_axes=(0, None, None))),
    "grad": grad,
    "grad by the array": lambda f: grad(f, argnums=(0, 1)),
    "jacobian": jacobian,
    "hessian": hessian,
    "jvp": lambda f: lambda x, a, d: cr.jvp(lambda a: f(x, a, d), (a,), (a,)),
    "vjp": lambda f: lambda x, a, d: cr.vjp(lambda a: f(x, a, d), a),
    "vmap": lambda f: vmap(f, in_axes=(0, None, None)),
    "vmap over all": lambda f: vmap(f, in_axes=(0, 0, None)),
    "custom gradient": lambda f: cr.custom_gradient(lambda x, a, d: (f(x, a, d), lambda g: g)),
    "gradient of lanes": lambda f: grad(vmap(f, in_axes=(0, None, None), reduce="sum"), 1),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize("eagerly", [False, True])
def test_arguments_stay_as_they_are(how: str, write: Any, eagerly: bool) -> None:
    """Arrays are read-only, and a changed list or dict is an error; the caller's are untouched."""
    if how in ("jvp", "vjp") and write is not _write_array:
        return  # the others are not its arguments
    lanes = "lanes" in how or "vmap" in how
    x = np.array([1.0, 2.0]) if lanes else 1.0
    rows = np.arange(4.0).reshape(2, 2) if how == "vmap over all" else np.arange(2.0)
    d = {"list": [1.0], "inner": (np.arange(3.0),), "registered": Registered(1.0, "m")}
    before = repr((x, rows, {key: repr(value) for key, value in d.items()}))
    call = CALLS[how](write)
    with (
        cr.detect_anomaly() if eagerly else nullcontext(),
        pytest.raises((TypeError, ValueError), match=r"read-only|has changed arg"),
    ):
        call(x, rows, d)
    assert repr((x, rows, {key: repr(value) for key, value in d.items()})) == before
    assert d["registered"].number == 1.0  # type: ignore[attr-defined]
    assert rows.flags.writeable


FLAT: dict[str, Callable[[list[Any]], object]] = {
    "longer": lambda a: a.append(1.0),
    "shorter": lambda a: a.pop(),
    "other": lambda a: a.__setitem__(0, 2.0 * a[0]),
    "other order": lambda a: a.reverse(),
}


@pytest.mark.parametrize("by", [0, 1])
@pytest.mark.parametrize("change", FLAT)
@pytest.mark.parametrize("more", [0, 20])
def test_flat_lists_stay_as_they_are(change: str, by: int, more: int) -> None:
    """Also those of numbers alone, few or many; and where it is differentiated by them."""
    given, kept = [1.0, 2.0], [3.0, 4.0] + [5.0] * more
    for place in (0, 1):

        def f(*args: list[Any], place: int = place) -> Any:
            FLAT[change](args[place])
            return args[0][0] * args[1][0]

        with pytest.raises(TypeError, match=rf"grad has changed argument {place + 1}, of which"):
            grad(f, by)(given, kept)
    assert (given, kept) == ([1.0, 2.0], [3.0, 4.0] + [5.0] * more)


def test_the_callers_list_may_change_meanwhile() -> None:
    """By what the function does to it from outside, not through its argument."""
    given = [1.0, 2.0]

    def f(a: list[Any]) -> Any:
        given.append(3.0)
        return a[0] * a[1]

    assert grad(f)(given) == [2.0, 1.0]
    assert given == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("how", ["compiled", "grad", "vmap", "jacobian", "compiled lanes"])
def test_copies_may_be_changed(how: str) -> None:
    """Those that the function made itself."""

    def f(x: Any, a: Any, d: Any) -> Any:
        own, values = a.copy(), dict(d)
        own[0] = 2.0
        values["k"] = [*values["list"], 4.0]
        return x * own[0] + values["k"][1] + own[1]

    x = np.array([1.0, 2.0]) if how in ("vmap", "compiled lanes") else 1.0
    found = CALLS[how](f)(x, np.arange(2.0), {"list": [1.0]})
    assert np.ravel(found)[0] == {"compiled": 7.0, "grad": 2.0, "jacobian": 2.0}.get(how, 7.0)


def test_the_fallback_hands_arguments_over_alike() -> None:
    """A compiled function that runs eagerly does not let its function write."""
    f = cr.compile(lambda x, a: _write_array(x if x > 0 else -x, a, None), max_traces=1)
    g = cr.compile(lambda x, a: x * a[0] if x > 0 else _write_array(x, a, None), max_traces=1)
    a = np.ones(2)
    with pytest.raises(ValueError, match="read-only"):
        f(1.0, a)
    assert g(1.0, a) == 1.0
    with pytest.raises(ValueError, match="read-only"):
        g(-1.0, a)
    assert a.tolist() == [1.0, 1.0]


ZERO_D: list[Any] = [np.array(0.7), np.array(0.7, dtype=np.float32), np.array(2), np.array(True)]


@pytest.mark.parametrize("value", ZERO_D, ids=lambda v: str(v.dtype))
def test_an_array_of_no_axes_is_a_number(value: Any) -> None:
    """Inside, everywhere: eager, compiled, and where a compiled function runs eagerly."""
    kinds: list[type] = []

    def f(x: Any, y: Any) -> Any:
        kinds.append(type(y))
        return x * 2.0 + (y * 1.0 if y > 0 else 0.0)

    expected = 2.0 * 0.5 + float(value)
    assert cr.compile(f)(0.5, value) == pytest.approx(expected)
    assert grad(f)(0.5, value) == 2.0
    assert cr.value_and_grad(f)(0.5, value)[0] == pytest.approx(expected)
    assert vmap(f, in_axes=(0, None))(np.array([0.5]), value) == pytest.approx([expected])
    with cr.detect_anomaly():
        assert cr.compile(f)(0.5, value) == pytest.approx(expected)
    assert not any(issubclass(kind, np.ndarray) for kind in kinds)
    if value.dtype.kind == "f":
        for transformed in (grad(f, 1), jacobian(f, 1), grad(f, (0, 1)), hessian(f, 1)):
            one, other = transformed(0.5, value), cr.compile(transformed)(0.5, value)
            assert repr(one) == repr(other)
        assert not any(issubclass(kind, np.ndarray) for kind in kinds)
        assert issubclass(kinds[-1], Node)
