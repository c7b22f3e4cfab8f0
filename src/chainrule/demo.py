"""The demonstration that ``chainrule demo`` runs: gradients checked, then a network that learns."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from chainrule import Node, build_info, group, zero_grad
from chainrule.data import electron_mobility
from chainrule.drawing import draw_graph

Network = list[list[list[Node]]]
"""Layers of neurons of weights, the last of each neuron its bias."""


def run(folder: Path, steps: int) -> None:
    """Show a dense unit with checked gradients, fit a network, and leave pictures in a folder.

    Raises:
        ModuleNotFoundError: if matplotlib or tqdm is not installed.
        OSError: if the folder can't be written.
    """
    import matplotlib
    import tqdm  # noqa: F401  before any work is done

    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    info = build_info()
    engine = "compiled" if info["compiled"] else f"plain Python {info['reason']}"
    print(f"chainrule {info['version']}, engine: {engine}\n")
    pictures = [dense_unit(folder), *fit_network(folder, steps)]
    print("\nPictures:")
    for picture in pictures:
        print(f"  {picture}")


def dense_unit(folder: Path) -> Path:
    """Backpropagate through relu(w0 x + w1 x + b), compare with differences, draw."""
    names = ("w0", "w1", "b", "x")
    point = (-1.0, 2.0, 4.0, 2.0)

    def unit(w0: Node, w1: Node, b: Node, x: Node) -> Node:
        total: Node = w0 * x + w1 * x + b
        return total.relu()

    leaves = [Node(value, name=name) for name, value in zip(names, point, strict=True)]
    y = unit(*leaves)
    y.backward()
    print("A dense unit: y = relu(w0·x + w1·x + b)")
    print(f"  y = {y.data:g}")
    print("  gradient   backpropagated   numerical")
    for i, leaf in enumerate(leaves):
        numerical = _central_difference(unit, point, i)
        agrees = "ok" if abs(leaf.grad - numerical) < 1e-6 else "WRONG"
        print(f"  ∂y/∂{leaf.name:<6} {leaf.grad:14.6f} {numerical:11.6f}   {agrees}")
    return Path(draw_graph(y, color=True, local_grads=True).save(folder / "dense-unit.svg"))


def _central_difference(
    f: Callable[..., Node], point: Sequence[float], i: int, h: float = 1e-6
) -> float:
    """(f(x + h) - f(x - h)) / 2h by the i-th argument."""

    def shifted(by: float) -> float:
        return f(*[Node(x + by * (j == i)) for j, x in enumerate(point)]).data

    return (shifted(h) - shifted(-h)) / (2 * h)


def fit_network(folder: Path, steps: int) -> list[Path]:
    """Fit a 1-8-1 network to measured data by Adam, every weight and every sum a node."""
    from tqdm import tqdm

    densities, mobilities = electron_mobility()
    xs, ys = _standardized(densities), _standardized(mobilities)
    network = _new_network([1, 8, 1], random.Random(0))
    weights = [weight for layer in network for neuron in layer for weight in neuron]
    print(
        f"\nA network of {len(weights)} weights learns {len(xs)} measurements:"
        " electron mobility against log density (NIST)"
    )
    losses = []
    step = adam(weights, 0.02)
    progress = tqdm(range(steps), desc="  training", unit="step")
    for _ in progress:
        loss = _mean_squared_error(network, xs, ys)
        zero_grad(weights)
        loss.backward()
        step()
        losses.append(loss.data)
        progress.set_postfix(loss=f"{loss.data:.2e}", refresh=False)
    explained = 100 * (1 - losses[-1])  # the targets have variance 1
    print(
        f"  {len(loss.sorted_nodes()):,} nodes a step; explains {explained:.2f} % of the variance"
    )
    loss = _mean_squared_error(network, xs[:1], ys[:1])
    loss.backward()
    drawn = draw_graph(loss, color=True, fold=[f"neuron {i}" for i in range(1, 9)])
    return [
        _plot(folder / "fit.png", network, densities, mobilities, losses),
        Path(drawn.save(folder / "network.svg")),
    ]


def _standardized(values: Sequence[float]) -> list[float]:
    mean = sum(values) / len(values)
    deviation = (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5
    return [(v - mean) / deviation for v in values]


def _new_network(sizes: Sequence[int], rng: random.Random) -> Network:
    """Weights drawn evenly from ±sqrt(3 / inputs), biases 0."""
    return [
        [
            [Node(rng.uniform(-1, 1) * (3 / inputs) ** 0.5, name=f"w{i}") for i in range(inputs)]
            + [Node(rng.uniform(-1, 1), name="b")]
            for _ in range(outputs)
        ]
        for inputs, outputs in pairwise(sizes)
    ]


def _output(network: Network, x: float) -> Node:
    values: list[Node] = [Node(x, name="x")]
    for depth, layer in enumerate(network, start=1):
        last = depth == len(network)
        outputs = []
        for i, (*weights, bias) in enumerate(layer, start=1):
            with group("output" if last else f"neuron {i}"):
                total = bias
                for weight, value in zip(weights, values, strict=True):
                    total = total + weight * value
                outputs.append(total if last else total.tanh())
        values = outputs
    return values[0]


def _mean_squared_error(network: Network, xs: Sequence[float], ys: Sequence[float]) -> Node:
    errors = [(_output(network, x) - y) ** 2 for x, y in zip(xs, ys, strict=True)]
    total = errors[0]
    for error in errors[1:]:
        total = total + error
    mean: Node = total / len(errors)
    return mean


def adam(weights: Sequence[Node], rate: float) -> Callable[[], None]:
    """A function that takes one step of Adam (Kingma and Ba, 2015) by the weights' gradients."""
    means = [0.0] * len(weights)
    squares = [0.0] * len(weights)
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        for i, weight in enumerate(weights):
            means[i] = 0.9 * means[i] + 0.1 * weight.grad
            squares[i] = 0.999 * squares[i] + 0.001 * weight.grad**2
            mean = means[i] / (1 - 0.9**count)
            square = squares[i] / (1 - 0.999**count)
            weight.data -= rate * mean / (square**0.5 + 1e-8)

    return step


def _plot(
    path: Path,
    network: Network,
    densities: Sequence[float],
    mobilities: Sequence[float],
    losses: Sequence[float],
) -> Path:
    import matplotlib.pyplot as plt
    import numpy as np

    fine = np.linspace(min(densities), max(densities), 200)
    curve = [_output(network, x).data for x in (fine - np.mean(densities)) / np.std(densities)]
    figure, (fit, learning) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    fit.plot(densities, mobilities, "o", color="0.3", markersize=4, label="measured")
    fit.plot(fine, np.array(curve) * np.std(mobilities) + np.mean(mobilities), label="network")
    fit.set(xlabel="log(density)", ylabel="electron mobility", title="Fit")
    fit.legend()
    learning.semilogy(losses)
    learning.set(xlabel="step", ylabel="mean squared error", title="Learning")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
