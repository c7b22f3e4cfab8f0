"""predict: the same array compiled and eagerly, whatever the outputs are in; no masked numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import Node, NodeArray, math, nn

X = np.random.default_rng(0).normal(size=(5, 2))

W = Node(2.0)
"""A weight of models that are plain functions."""

TABLE = np.array([[Node(1.0), Node(2.0)], [Node(3.0), Node(4.0)]]).view(NodeArray)

OUTPUTS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], list[float]]]] = {
    "a number": (lambda x: W * x[0], lambda x: [2 * x[0]]),
    "a constant": (lambda x: 3, lambda x: [3.0]),
    "a truth value": (lambda x: W * x[0] > x[1], lambda x: [2 * x[0] > x[1]]),
    "a list": (lambda x: [W * x[0], x[1], 1], lambda x: [2 * x[0], x[1], 1]),
    "a list of one": (lambda x: [W * x[0]], lambda x: [2 * x[0]]),
    "a tuple": (lambda x: (x[1], W), lambda x: [x[1], 2]),
    "an empty list": (lambda x: [], lambda x: []),
    "lists in a list": (
        lambda x: [[W * x[0], x[1]], [x[0], W]],
        lambda x: [2 * x[0], x[1], x[0], 2],
    ),
    "lists of several lengths": (
        lambda x: [[W * x[0]], [x[1], [x[0]]], []],
        lambda x: [2 * x[0], x[1], x[0]],
    ),
    "a dict": (
        lambda x: {"b": W * x[0], "a": x[1]},
        lambda x: [x[1], 2 * x[0]],
    ),
    "a dict of lists": (
        lambda x: {"mean": [W * x[0], x[1]], "deviation": (math.exp(x[0]),)},
        lambda x: [np.exp(x[0]), 2 * x[0], x[1]],
    ),
    "a vector": (lambda x: W * np.asarray(x), lambda x: [2 * x[0], 2 * x[1]]),
    "a matrix": (lambda x: TABLE * x[0], lambda x: [k * x[0] for k in (1, 2, 3, 4)]),
    "an array of no axes": (lambda x: np.array(W * x[0]), lambda x: [2 * x[0]]),
    "arrays in a list": (
        lambda x: [TABLE[0] * x[1], np.array([x[0]])],
        lambda x: [x[1], 2 * x[1], x[0]],
    ),
}


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("compiled", [True, False])
def test_outputs(name: str, compiled: bool) -> None:
    """A number for each sample, else a row of all numbers: by place in lists, by sorted keys."""
    model, expected = OUTPUTS[name]
    found = nn.predict(model, X, compile=compiled)
    rows = np.array([expected(x) for x in X], dtype=float)
    number = name in ("a number", "a constant", "a truth value", "an array of no axes")
    wanted = rows[:, 0] if number else rows
    assert found.dtype == np.float64
    assert found.shape == wanted.shape
    assert found == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, "holds NoneType None, not numbers"),
        ("text", "holds str 'text', not numbers"),
        ([1.0, "text"], "holds str 'text', not numbers"),
        ({"a": {"b": None}}, "holds NoneType None, not numbers"),
        (1j, "holds complex 1j, not numbers"),
        (np.ma.MaskedArray([1.0, 2.0], [True, False]), "holds a masked array, not numbers"),
    ],
)
def test_outputs_that_are_no_numbers(output: Any, message: str, compiled: bool) -> None:
    """A TypeError that says what they are."""
    with pytest.raises(TypeError, match=message):
        nn.predict(lambda x: output, X, compile=compiled)


@pytest.mark.parametrize("compiled", [True, False])
def test_outputs_of_several_shapes(compiled: bool) -> None:
    """Samples whose outputs are not alike give no array."""
    with pytest.raises(TypeError, match="must have one structure and shape"):
        nn.predict(lambda x: [x[0]] if x[0] > 0 else [x[0], x[1]], X, compile=compiled)


MASKED = np.ma.MaskedArray(X, mask=[[False, False]] * 4 + [[True, False]])
TARGETS = np.ma.MaskedArray(X[:, 0], mask=[False, True, False, False, False])
MODEL = nn.MLP(2, [1], seed=0)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: nn.predict(MODEL, MASKED), "X"),
        (lambda: nn.predict(MODEL, MASKED, compile=False), "X"),
        (lambda: nn.predict(MODEL, [*MASKED]), "X"),
        (lambda: nn.predict(sum, [[[1.0, 2.0], [3.0, 4.0]], [*MASKED[3:]]]), "X"),
        (lambda: nn.predict(MODEL, [[np.ma.masked, 1.0]]), "X"),
        (lambda: nn.fit(MODEL, MASKED, X[:, 0]), "X"),
        (lambda: nn.fit(MODEL, X, TARGETS), "y"),
        (lambda: nn.fit(MODEL, X, X[:, 0], sample_weight=abs(TARGETS)), "sample_weight"),
        (lambda: nn.fit(MODEL, X, X[:, 0], validation=(MASKED, X[:, 0])), "X"),
        (lambda: nn.fit(MODEL, X, X[:, 0], validation=(X, TARGETS)), "y"),
        (lambda: nn.plot_fit(lambda x: x, TARGETS, X[:, 0]), "X"),
        (lambda: nn.plot_fit(lambda x: x, X[:, 0], TARGETS), "y"),
        (lambda: nn.plot_regions(MODEL, MASKED, X[:, 0]), "X"),
        (lambda: nn.plot_regions(MODEL, X, TARGETS), "y"),
    ],
)
def test_masked_data(call: Callable[[], Any], name: str) -> None:
    """Numbers behind a mask are not taken for data without a word."""
    before = [p.data for p in MODEL.parameters()]
    with pytest.raises(TypeError, match=rf"{name} is a masked array, .*{name}.filled\(value\)"):
        call()
    assert [p.data for p in MODEL.parameters()] == before


def test_masked_arrays_that_mask_nothing() -> None:
    """They are data like any."""
    whole = np.ma.MaskedArray(X)
    assert np.array_equal(nn.predict(MODEL, whole), nn.predict(MODEL, X))
    assert np.array_equal(nn.predict(MODEL, [*whole]), nn.predict(MODEL, X))
