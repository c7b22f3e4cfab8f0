"""A regression on measured data, beside scikit-learn's own network and a straight line.

The diabetes set has 442 patients, ten measurements each, and the progression of the disease a year
later. It is small and noisy: a linear model is hard to beat, and a network that is let go beyond
that only learns the noise. Both networks have the same settings and predict the same; pipelines,
cross-validation and grid search are scikit-learn's.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from chainrule.nn import estimators


def pipeline(regressor: Any) -> Any:
    """A regressor on scaled inputs and targets."""
    scaled = make_pipeline(StandardScaler(), regressor)
    return TransformedTargetRegressor(scaled, transformer=StandardScaler())


def main(arguments: Sequence[str] | None = None) -> None:
    """Cross-validate and draw."""
    parser = argparse.ArgumentParser(description="Networks predict the progression of diabetes.")
    parser.add_argument("--size", type=int, default=442, help="patients at most (%(default)s)")
    parser.add_argument("--epochs", type=int, default=60, help="rounds (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("pictures"), help="where to draw")
    options = parser.parse_args(arguments)
    x, y = load_diabetes(return_X_y=True)
    x, y = x[: options.size], y[: options.size]
    warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is chosen

    settings: dict[str, Any] = {
        "hidden_layer_sizes": (16,),
        "activation": "tanh",
        "learning_rate_init": 0.003,
        "batch_size": 32,
        "max_iter": options.epochs,
        "alpha": 1.0,
        "random_state": 0,
    }
    models = {
        "chainrule": pipeline(estimators.MLPRegressor(**settings)),
        "scikit-learn": pipeline(TheirRegressor(**settings)),
        "straight line": pipeline(LinearRegression()),
    }
    folds = KFold(5, shuffle=True, random_state=0)
    predictions = {}
    print(f"{'':14} error   R²      seconds for five folds")
    for name, model in models.items():
        start = time.perf_counter()
        predictions[name] = cross_val_predict(model, x, y, cv=folds)
        seconds = time.perf_counter() - start
        error = np.sqrt(np.mean((predictions[name] - y) ** 2))
        share = 1.0 - np.mean((predictions[name] - y) ** 2) / np.var(y)
        print(f"{name:14} {error:5.1f}   {share:.3f}   {seconds:.2f}")

    grid = {"regressor__mlpregressor__alpha": [0.01, 0.1, 1.0, 10.0]}
    search = GridSearchCV(models["chainrule"], grid, cv=folds).fit(x, y)
    print(f"the best of {grid}: {search.best_params_}, R² {search.best_score_:.3f}")

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for ax, name in zip(figure.subplots(1, 2, sharey=True), predictions, strict=False):
        ax.plot(y, predictions[name], ".", alpha=0.6)
        ax.plot([y.min(), y.max()], [y.min(), y.max()], color="0.5")
        ax.set(title=name, xlabel="measured progression", ylabel="predicted, held out")
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "diabetes.png"
    figure.savefig(path, dpi=100)
    print(f"The picture: {path}")


if __name__ == "__main__":
    main()
