"""Two moons: the loop written out, then the same network with `fit`, and what it has learned."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import make_moons

import chainrule
from chainrule import nn

SIZES = [16, 16, 1]


def by_hand(x: Any, y: Any, steps: int) -> tuple[list[float], float]:
    """Train as one writes it the first time; gives the losses, and the seconds a step."""
    model = nn.MLP(2, SIZES, "tanh", seed=0)
    parameters = model.parameters()
    optimizer = nn.Adam(0.01)
    losses = []
    start = time.perf_counter()
    for _ in range(steps):
        with nn.ungrouped():  # nobody draws these graphs
            loss = sum(
                nn.binary_cross_entropy(model(point), label)
                for point, label in zip(x.tolist(), y.tolist(), strict=True)
            ) / len(x)
        chainrule.zero_grad(parameters)
        loss.backward()
        optimizer.step(parameters)
        losses.append(loss.data)
    return losses, (time.perf_counter() - start) / steps


def main(arguments: Sequence[str] | None = None) -> None:
    """Train twice, compare and draw."""
    parser = argparse.ArgumentParser(description="A network separates two moons.")
    parser.add_argument("--size", type=int, default=200, help="points (%(default)s)")
    parser.add_argument("--epochs", type=int, default=1000, help="rounds (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("pictures"), help="where to draw")
    options = parser.parse_args(arguments)
    x, y = make_moons(options.size, noise=0.15, random_state=0)

    losses, eager = by_hand(x, y, 5)
    model = nn.MLP(2, SIZES, "tanh", seed=0)
    history = nn.fit(
        model,
        x,
        y,
        loss="binary_cross_entropy",
        optimizer=nn.Adam(0.01),
        epochs=options.epochs,
        batch_size=options.size,
    )
    worst = max(abs(a - b) for a, b in zip(losses, history.loss, strict=False))
    print(f"five steps written out, and of fit: losses differ by {worst:.1e}")
    later = (history.seconds[-1] - history.seconds[0]) / max(options.epochs - 1, 1)
    print(f"a step: {eager * 1e3:.1f} ms eagerly, {later * 1e6:.0f} µs compiled")
    right = np.mean((nn.predict(model, x) > 0) == y)
    print(f"loss {history.loss[-1]:.4f}, {right:.1%} of the points on the right side")

    loss: Any = sum(
        nn.binary_cross_entropy(model(point), label)
        for point, label in zip(x[:20].tolist(), y[:20].tolist(), strict=True)
    )
    loss.backward()
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    left, middle, right_axes = figure.subplots(1, 3)
    nn.plot_regions(model, x, y, left)
    nn.plot_loss(history, middle)
    nn.plot_network(model, right_axes)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "two_moons.png"
    figure.savefig(path, dpi=100)
    print(f"The picture: {path}")


if __name__ == "__main__":
    main()
