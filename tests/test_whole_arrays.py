"""Large array arguments of compiled functions, whose nodes are made only when they are wanted."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy
import pytest
from numpy.testing import assert_allclose

from chainrule import compile, grad, lax, take, value_and_grad, vmap
from chainrule import math as cm
from chainrule.jit import inputs

SIZE = 12


@pytest.fixture(autouse=True)
def _small_arrays_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MANY", 3)


def scanned(x: Any) -> Any:
    """The end of a recurrence over rows, and a sum of what it leaves."""

    def step(c: Any, z: Any) -> Any:
        z = z.sum() if isinstance(z, numpy.ndarray) else z
        return 0.5 * c + cm.sin(z), c * z

    last, left = lax.scan(step, 0.3, x)
    return last + left.sum()


USES: list[Callable[[Any], Any]] = [
    lambda x: x[3] * x[-1] + x[3],
    lambda x: sum([x[i] * x[i - 1] for i in range(len(x))]),
    lambda x: sum(y * y for y in x),
    lambda x: scanned(x),
    lambda x: scanned(x[::-1]) - scanned(x[2:9]),
    lambda x: scanned(x[::3]) + scanned(x.reshape(4, 3)) + scanned(x.reshape(4, 3).T),
    lambda x: scanned(x.reshape(6, 2)[:, 1]) + x.reshape(6, 2)[2, 1],
    lambda x: scanned(x[[3, 1, 2, 7, 5]]) + scanned(x[numpy.arange(0, 10, 2)]),
    lambda x: lax.fori_loop(1, 11, lambda i, c: c * x[i] + x[i - 1] * x[11 - i], 0.1),
    lambda x: lax.fori_loop(0, 4, lambda i, c: c + (x.reshape(4, 3)[i] ** 2).sum(), 0.1),
    lambda x: lax.fori_loop(0, 9, lambda i, c: c + take(x, i) * c, 0.1),
    lambda x: lax.scan(lambda c, k: (c + x[k] * c, None), 0.2, numpy.array([5, 0, 11, -2, 3]))[0],
    lambda x: lax.scan(lambda c, z: (c + scanned(x) * z, None), 0.2, x)[0],
    lambda x: numpy.sum(x * x) + numpy.max(x) + numpy.asarray(x)[2],
    lambda x: numpy.asarray(x)[2] * 2.0 if numpy.asarray(x)[1] > 0.1 else x[0],
    lambda x: numpy.concatenate([x, x[:4]])[1:14:2].sum() + numpy.stack([x, x]).sum(),
    lambda x: x @ x + x.T.dot(x) + x.mean(),
    lambda x: x[x > 0.2].sum() + numpy.sort(x)[3] + numpy.array([x, 2.0 * x])[1, 4],
    lambda x: grad(scanned)(x).sum() + grad(lambda y: scanned(y) * x[2])(x[1:8])[3],
    lambda x: numpy.flip(x)[2] * x.copy()[1] * x.ravel()[3] * x.tolist()[4] * x.flat[5],
    lambda x: (x[2:5] * x[4:7]).sum() + x[..., 1] + x[None, 3][0] + float(len(x) + x.size),
]


@pytest.mark.parametrize("use", range(len(USES)))
def test_uses(use: int) -> None:
    """However they are read, values and gradients are eager's; at a point and over lanes."""
    f = USES[use]
    x = numpy.random.default_rng(use).uniform(-1.0, 1.0, (5, SIZE))
    transforms: list[Any] = [lambda f: f, value_and_grad]
    for transform in transforms:
        expected = [transform(f)(row) for row in x]
        _same(compile(transform(f))(x[0]), expected[0])
        found = compile(vmap(transform(f)))(x)
        lanes = found if isinstance(found, tuple) else (found,)
        wanted = [*zip(*expected, strict=True)] if isinstance(expected[0], tuple) else [expected]
        for one, other in zip(lanes, wanted, strict=True):
            assert_allclose(one, numpy.array(other), rtol=1e-10)


def _same(found: Any, expected: Any) -> None:
    if isinstance(expected, tuple):
        for one, other in zip(found, expected, strict=True):
            _same(one, other)
    else:
        assert_allclose(found, numpy.asarray(expected, dtype=float), rtol=1e-10)


def test_indices() -> None:
    """Integer arrays are whole as well, as rows of a loop and as what is looked up."""

    def f(x: Any, k: Any) -> Any:
        first = lax.scan(lambda c, i: (c + x[i] * (1.0 + 0.1 * i), None), 0.1, k)[0]
        return first + lax.fori_loop(0, 6, lambda j, c: c + 0.5 * k[j] * c, 0.1) + x[k[2]]

    random = Random(0)
    x = numpy.linspace(0.0, 1.0, SIZE)
    for _ in range(3):
        k = numpy.array([random.randrange(-SIZE, SIZE) for _ in range(7)])
        assert compile(f)(x, k) == pytest.approx(f(x, k))
        assert_allclose(compile(grad(f))(x, k), grad(f)(x, k))


def test_wholes_beside_each_other() -> None:
    """Several, of which some are read by name, and one of which a part is."""

    def f(a: Any, x: Any, w: Any) -> Any:
        hidden = lax.map(lambda row: cm.tanh((row * x[:3]).sum() + a), w)
        return scanned(x) * a + hidden.sum() + x[5]

    given = 0.3, numpy.linspace(-1.0, 1.0, SIZE), numpy.arange(12.0).reshape(4, 3) / 9.0
    expected = value_and_grad(f, argnums=(0, 1, 2))(*given)
    found = compile(value_and_grad(f, argnums=(0, 1, 2)))(*given)
    assert found[0] == pytest.approx(expected[0])
    for one, other in zip(found[1], expected[1], strict=True):
        assert_allclose(one, other)


def test_read_only() -> None:
    """An argument can't be changed, read or not."""

    def f(x: Any) -> Any:
        x[2] = 1.0
        return x[2]

    with pytest.raises(ValueError, match="read-only"):
        compile(f)(numpy.ones(SIZE))
    with pytest.raises(IndexError):
        compile(lambda x: x[SIZE])(numpy.ones(SIZE))


def test_attributes() -> None:
    """Those that it has are there at first sight, and it says so of others as arrays do."""
    runs = []

    def f(x: Any) -> Any:
        runs.append(type(x))
        try:
            values = x.tolist()
        except TypeError:
            values = [x[0]]
        return sum(values) + (0.0 if hasattr(x, "nothing") else 1.0)

    assert compile(f)(numpy.ones(SIZE)) == SIZE + 1.0
    assert len(runs) == 1
    runs.clear()
    assert compile(lambda x: 2.0 * getattr(x, "nothing", x[1]))(numpy.ones(SIZE)) == 2.0


def test_size_of_traces() -> None:
    """What nobody asks for has no row: the recording is as long for any length."""
    rows = []
    for size in (50, 5_000):
        kept: list[int] = []

        def f(x: Any, kept: list[int] = kept) -> Any:
            from chainrule.tracing import PROGRESS

            result = scanned_end(x)
            recorder: Any = PROGRESS.recorder
            kept.append(len(recorder.recorded._recording))
            return result

        assert compile(f)(numpy.linspace(0.0, 1.0, size)) == pytest.approx(
            scanned_end(numpy.linspace(0.0, 1.0, size))
        )
        rows.append(kept[0])
    assert rows[0] == rows[1]


def scanned_end(x: Any) -> Any:
    """The end of a recurrence."""
    return lax.scan(lambda c, z: (0.5 * c + cm.sin(z), None), 0.3, x)[0]
