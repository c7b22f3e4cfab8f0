"""The classic first exercise: a network learns y = x² from noisy points, one sample an update."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from chainrule import nn


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and draw."""
    parser = argparse.ArgumentParser(description="A network of 1-8-4-1 neurons learns a parabola.")
    parser.add_argument("--size", type=int, default=1500, help="points (%(default)s)")
    parser.add_argument("--epochs", type=int, default=40, help="rounds (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("pictures"), help="where to draw")
    options = parser.parse_args(arguments)

    random = np.random.default_rng(0)
    x = random.uniform(-1.0, 5.0, options.size)
    y = x**2 + random.normal(size=options.size)

    model = nn.MLP(1, [8, 4, 1], "tanh", seed=0)
    optimizer = nn.SGD(nn.Cosine(0.003, options.epochs * options.size))
    history = nn.fit(model, x, y, optimizer=optimizer, epochs=options.epochs, batch_size=1)
    print(f"{history.steps:,} updates, one sample each, in {history.seconds[-1]:.2f} s")
    print(f"mean squared error {history.loss[-1]:.3f}; the noise alone is {np.var(y - x**2):.3f}")
    inner = np.linspace(0.0, 4.0, 41)
    error = np.max(np.abs(nn.predict(model, inner) - inner**2))
    print(f"from 0 to 4 the network is within {error:.2f} of x²")

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    nn.plot_fit(model, x, y, left)
    nn.plot_loss(history, right)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "noisy_quadratic.png"
    figure.savefig(path, dpi=100)
    print(f"The picture: {path}")


if __name__ == "__main__":
    main()
