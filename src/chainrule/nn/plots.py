"""Pictures of training and of networks, with matplotlib.

Each function draws into the axes it is given, or into new ones, and returns them.
"""

from __future__ import annotations

from typing import Any

import numpy

from chainrule.node import Node
from chainrule.tracebacks import boundary

from .evaluation import predict
from .history import History
from .layers import MLP
from .samples import refuse_masked

FINE = 200
MOST_DRAWN = 24
"""Neurons of a layer that are drawn; of a larger one the first and last of them."""


@boundary
def plot_loss(history: History, ax: Any = None, seconds: bool = False) -> Any:
    """The loss of each epoch, and on the validation data, against the epoch or the seconds."""
    ax = _axes(ax)
    xs = history.seconds if seconds else range(1, len(history.loss) + 1)
    ax.plot(xs, history.loss, label="training")
    if history.validation_loss:
        ax.plot(xs, history.validation_loss, label="validation")
        best = history.best_epoch
        ax.plot(xs[best], history.validation_loss[best], "o", color="C1", label="best")
        ax.legend()
    losses = history.loss + history.validation_loss
    if losses and min(losses) > 0:
        ax.set_yscale("log")
    ax.set(xlabel="seconds" if seconds else "epoch", ylabel="loss")
    return ax


@boundary
def plot_fit(model: Any, X: Any, y: Any, ax: Any = None) -> Any:
    """Data of one input, and the curve that a model has learned.

    Raises:
        ValueError: if samples have more than one input or target.
    """
    refuse_masked("X", X)
    refuse_masked("y", y)
    inputs, targets = numpy.asarray(X, float), numpy.asarray(y, float)
    flat, heights = inputs.ravel(), targets.ravel()
    if flat.size != len(inputs) or heights.size != len(targets):
        raise ValueError(
            f"plot_fit takes one input and one target for each sample, not arrays of shape"
            f" {inputs.shape} and {targets.shape}"
        )
    ax = _axes(ax)
    fine = numpy.linspace(flat.min(), flat.max(), FINE)
    curve = predict(model, fine.reshape((-1, *inputs.shape[1:])))
    ax.plot(flat, heights, ".", color="0.6", markersize=4, label="data")
    ax.plot(fine, curve, color="C1", linewidth=2, label="model")
    ax.set(xlabel="x", ylabel="y")
    ax.legend()
    return ax


@boundary
def plot_regions(model: Any, X: Any, y: Any, ax: Any = None) -> Any:
    """Samples of two inputs, coloured by class, over the regions where a model decides for each.

    A model of one output decides by its sign, one of several by the largest.

    Raises:
        ValueError: if samples do not have two inputs.
    """
    refuse_masked("X", X)
    refuse_masked("y", y)
    inputs = numpy.asarray(X, float)
    if inputs.ndim != 2 or inputs.shape[1] != 2:
        raise ValueError(f"plot_regions takes samples of two inputs, not of shape {inputs.shape}")
    ax = _axes(ax)
    low, high = inputs.min(axis=0), inputs.max(axis=0)
    margin = 0.1 * (high - low)
    across, up = (
        numpy.linspace(a, b, FINE) for a, b in zip(low - margin, high + margin, strict=True)
    )
    grid = numpy.stack(numpy.meshgrid(across, up), axis=-1)
    outputs = predict(model, grid.reshape(-1, 2))
    if outputs.ndim == 1:
        share = 1.0 / (1.0 + numpy.exp(-numpy.clip(outputs, -30, 30)))
        levels = numpy.linspace(0, 1, 11)
        ax.contourf(across, up, share.reshape(FINE, FINE), levels, cmap="RdBu_r", alpha=0.4)
        ax.contour(across, up, outputs.reshape(FINE, FINE), [0.0], colors="0.2")
        colors = "RdBu_r"
    else:
        n = outputs.shape[1]
        regions = outputs.argmax(axis=1).reshape(FINE, FINE)
        levels = numpy.arange(-0.5, n)
        ax.contourf(across, up, regions, levels, cmap="tab10", vmin=0, vmax=9, alpha=0.35)
        colors = "tab10"
    limits = {"vmin": 0, "vmax": 9} if colors == "tab10" else {}
    ax.scatter(
        *inputs.T, c=numpy.asarray(y), cmap=colors, edgecolors="k", linewidths=0.5, s=20, **limits
    )
    ax.set(xlabel="x0", ylabel="x1")
    return ax


@boundary
def plot_network(model: MLP, ax: Any = None, gradients: bool = True) -> Any:
    """A network with a line for each weight, coloured by its gradient or its value.

    Blue is negative, red positive, the width the size; after ``loss.backward()`` the picture shows
    which weights the loss asks to change. Of layers with many neurons some are left out.

    Raises:
        TypeError: if the model is no MLP.
    """
    from matplotlib.collections import LineCollection

    if not isinstance(model, MLP):
        raise TypeError(f"plot_network draws an MLP, not {type(model).__name__}")
    ax = _axes(ax)
    first = model.layers[0].neurons[0]
    widths = [len(first.weights), *[len(layer.neurons) for layer in model.layers]]
    drawn = [_drawn(width) for width in widths]
    heights = [_heights(rows) for rows in drawn]
    lines, numbers = [], []
    for at, layer in enumerate(model.layers):
        for j, y in heights[at + 1].items():
            for i, x in heights[at].items():
                weight = layer.neurons[j].weights[i]
                lines.append([(at, x), (at + 1, y)])
                numbers.append(_number(weight, gradients))
    sizes = numpy.abs(numbers)
    largest = float(sizes.max()) or 1.0
    collection = LineCollection(
        lines,
        array=numpy.array(numbers),
        cmap="coolwarm",
        linewidths=0.3 + 3.0 * sizes / largest,
        zorder=1,
    )
    collection.set_clim(-largest, largest)
    ax.add_collection(collection)
    for at, (width, rows) in enumerate(zip(widths, heights, strict=True)):
        ax.scatter([at] * len(rows), list(rows.values()), s=90, c="white", edgecolors="k", zorder=2)
        name = "input" if at == 0 else "output" if at == len(widths) - 1 else f"layer {at}"
        ax.text(at, max(rows.values()) + 0.9, f"{name}\n{width}", ha="center", va="bottom")
        if len(rows) < width:
            ax.text(at, 0.0, "⋮", ha="center", va="center", fontsize=16)
    highest = max(max(rows.values()) for rows in heights)
    ax.set(xlim=(-0.4, len(widths) - 0.6), ylim=(-highest - 0.8, highest + 2.5))
    ax.set_axis_off()
    what = "gradient of the weight" if gradients else "weight"
    ax.figure.colorbar(collection, ax=ax, label=what, shrink=0.8)
    return ax


def _number(weight: Any, gradient: bool) -> float:
    """The gradient or the value of a weight; a plain number in its place has no gradient."""
    if isinstance(weight, Node):
        return weight.grad if gradient else weight.data
    return 0.0 if gradient else float(weight)


def _drawn(width: int) -> list[int]:
    """The numbers of the neurons that are drawn."""
    half = MOST_DRAWN // 2
    if width <= MOST_DRAWN:
        return list(range(width))
    return [*range(half), *range(width - half, width)]


def _heights(numbers: list[int]) -> dict[int, float]:
    """The height of each neuron that is drawn, with a gap where some are left out."""
    gap = 2.0 * (numbers[-1] >= len(numbers))
    top = (len(numbers) - 1 + gap) / 2
    return {i: top - k - gap * (i != k) for k, i in enumerate(numbers)}


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"pictures of training need {error.name}: pip install 'chainrule[learn]'",
            name=error.name,
        ) from None
    return plt.subplots(layout="constrained")[1]
