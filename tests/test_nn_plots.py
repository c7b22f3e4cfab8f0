"""Pictures of training and of networks hold what they should."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from chainrule import nn

X = np.random.default_rng(0).normal(size=(30, 2))
HISTORY = nn.History([3.0, 2.0, 1.0], [3.5, 2.0, 2.5], [0.1, 0.2, 0.3], 30, 1)


def axes() -> Any:
    """New axes, without a window."""
    return Figure().subplots()


def test_loss() -> None:
    """A curve for each loss, the best epoch marked; on a logarithmic scale where it can be."""
    ax = nn.plot_loss(HISTORY, axes())
    training, validation, best = ax.get_lines()
    assert training.get_xydata().tolist() == [[1, 3.0], [2, 2.0], [3, 1.0]]
    assert validation.get_ydata().tolist() == [3.5, 2.0, 2.5]
    assert best.get_xydata().tolist() == [[2, 2.0]]
    assert ax.get_yscale() == "log"
    plain = nn.plot_loss(nn.History([0.5, 0.0], [], [1.0, 2.0], 2, 1), axes(), seconds=True)
    assert plain.get_lines()[0].get_xdata().tolist() == [1.0, 2.0]
    assert plain.get_yscale() == "linear"


@pytest.mark.parametrize("shape", [(30,), (30, 1)])
def test_fit(shape: tuple[int, ...]) -> None:
    """The data and the curve."""
    x = X[:, 0].reshape(shape)
    model = nn.MLP(1, [3, 1], seed=0)
    data, curve = nn.plot_fit(model, x, X[:, 1], axes()).get_lines()
    assert data.get_xdata().tolist() == X[:, 0].tolist()
    at = curve.get_xdata()[7]
    assert curve.get_ydata()[7] == pytest.approx(model(float(at)).data)


@pytest.mark.parametrize("outputs", [1, 3])
def test_regions(outputs: int) -> None:
    """The samples over the regions."""
    ax = nn.plot_regions(
        nn.MLP(2, [3, outputs], seed=0), X, np.arange(30) % max(outputs, 2), axes()
    )
    assert len(ax.collections[-1].get_offsets()) == 30
    assert len(ax.collections) > 1


def test_network() -> None:
    """A line for each weight, coloured by its gradient or value; large layers are cut."""
    model = nn.MLP(2, [3, 1], seed=0)
    for gradients in (True, False):
        model.zero_grad()
        model([1.0, 2.0]).backward()
        lines = nn.plot_network(model, axes(), gradients).collections[0]
        assert isinstance(lines, LineCollection)
        numbers = lines.get_array()
        assert numbers is not None
        wanted = [
            w.grad if gradients else w.data
            for layer in model.layers
            for neuron in layer.neurons
            for w in neuron.weights
        ]
        assert numbers.tolist() == wanted
    large = nn.plot_network(nn.MLP(64, [30, 1], seed=0), axes())
    numbers = large.collections[0].get_array()
    assert numbers is not None
    assert len(numbers) == 24 * 24 + 24


def test_new_axes() -> None:
    """Without axes there are new ones."""
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    ax = nn.plot_loss(HISTORY)
    assert ax.figure.axes == [ax]
    plt.close(ax.figure)


BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: nn.plot_fit(nn.MLP(2, [1]), X, X[:, 0]), ValueError, "plot_fit takes one input"),
    (lambda: nn.plot_regions(nn.MLP(1, [1]), X[:, :1], X[:, 0]), ValueError, "of two inputs"),
    (lambda: nn.plot_network(3), TypeError, "plot_network draws an MLP, not int"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD)
def test_bad_input(call: Any, kind: type[Exception], message: str) -> None:
    """An error that says what was given and what is accepted."""
    with pytest.raises(kind, match=message):
        call()
