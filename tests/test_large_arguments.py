"""Large arrays as arguments, whose nodes are made late, where NumPy reads past them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import compile, grad, lax, vmap

SIZE = 300

COPIES: dict[str, Callable[[Any], Any]] = {
    "np.array": np.array,
    "np.asarray": np.asarray,
    "cr.array": cr.array,
    "a part": lambda x: np.array(x[2:]),
    "in a list": lambda x: np.array([x, x])[1],
    "into another": lambda x: np.array([*np.zeros((1, SIZE)), x])[1],
    "method": lambda x: x.copy(),
    "copy": copy.copy,
    "view": lambda x: x.view(np.ndarray),
    "rows": lambda x: np.array(x.reshape(2, SIZE // 2))[1],
}

USES: dict[str, Callable[[Any], Any]] = {
    "itself": lambda y: y,
    "element": lambda y: y[7],
    "product": lambda y: y * y,
    "element of a product": lambda y: (y * y)[7],
    "sum": lambda y: (2.0 * y).sum(),
    "list": lambda y: cr.array([2.0 * v for v in y]),
    "branch": lambda y: y[3] if y[7] > 0.0 else y[4],
    "gradient": lambda y: grad(lambda a: a * y[7])(2.0),
    "map": lambda y: lax.map(lambda i: 2.0 * y[i], np.arange(9)),
    "scan": lambda y: lax.scan(lambda c, v: (c * 0.5 + v, c), 0.0, y)[0],
    "lanes": lambda y: vmap(lambda v: v * v)(y),
    "look-up": lambda y: vmap(lambda i: cr.take(y, i))(np.arange(5)),
    "largest": lambda y: max(y.tolist()),
    "captured by a loop": lambda y: lax.fori_loop(0, 9, lambda i, c: c * y[7], 1.0),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("lanes", [False, True])
def test_what_numpy_copies(way: str, use: str, lanes: bool) -> None:
    """The elements are those of the argument."""

    def f(x: Any) -> Any:
        return USES[use](COPIES[way](x))

    points = np.random.default_rng(0).normal(size=(2, SIZE))
    compiled = compile(vmap(f) if lanes else f)
    found = compiled(points) if lanes else [compiled(x) for x in points]
    for x, y in zip(points, found, strict=True):
        np.testing.assert_allclose(y, f(x), rtol=1e-12)
