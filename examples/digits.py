"""Handwritten digits: 64-32-10 on scikit-learn's 8×8 set, saved, loaded and looked at."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from chainrule import nn


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, save, load and draw."""
    parser = argparse.ArgumentParser(description="A network of 64-32-10 neurons reads digits.")
    parser.add_argument("--size", type=int, default=1797, help="digits at most (%(default)s)")
    parser.add_argument("--epochs", type=int, default=60, help="rounds (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("pictures"), help="where to draw")
    options = parser.parse_args(arguments)

    images, labels = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(
        images[: options.size] / 16.0, labels[: options.size], test_size=0.2, random_state=0,
        stratify=labels[: options.size],
    )  # fmt: skip
    model = nn.MLP(64, [32, 10], "relu", seed=0)
    steps = options.epochs * -(-len(x) // 64)
    history = nn.fit(
        model,
        x,
        y,
        loss="cross_entropy",
        optimizer=nn.AdamW(nn.Cosine(0.01, steps), weight_decay=0.1),
        epochs=options.epochs,
        batch_size=64,
        validation=(x_test, y_test),
    )
    found = nn.predict(model, x_test).argmax(axis=1)
    print(f"{history.steps:,} steps in {history.seconds[-1]:.2f} s, compiling included")
    print(f"{np.mean(found == y_test):.2%} of {len(y_test)} held-out digits are read right")

    with tempfile.TemporaryDirectory() as folder:
        file = nn.save(model, Path(folder) / "digits.safetensors")
        again = nn.load(file)
        same = np.array_equal(nn.predict(again, x_test), nn.predict(model, x_test))
        print(f"saved in {file.stat().st_size:,} bytes; loaded, it predicts the same: {same}")

    figure = Figure(figsize=(14, 4.5), layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=[1, 1.4])
    left, right = parts
    nn.plot_loss(history, left.subplots())
    wrong = np.flatnonzero(found != y_test)
    shown = [*wrong[:12], *np.flatnonzero(found == y_test)][:18]
    for ax, i in zip(right.subplots(3, 6).flat, shown, strict=False):
        ax.imshow(x_test[i].reshape(8, 8), cmap="gray_r")
        ax.set_title(f"{y_test[i]}, read {found[i]}", color="C3" if i in wrong else "k", size=9)
        ax.set_axis_off()
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "digits.png"
    figure.savefig(path, dpi=100)
    print(f"The picture: {path}")


if __name__ == "__main__":
    main()
