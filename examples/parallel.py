"""How sure is a fit? Thousands of them, in several processes.

The calibration of `lotka_volterra.py` is repeated on data that might have been measured as well:
the fitted curve with the errors of other years (a bootstrap of the residuals). The spread of the
results is the uncertainty of the parameters.

joblib sends the work to other processes. Compiled functions go along like any others: as they were
decorated where they are defined, only their names are sent, and each process compiles them once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from lotka_volterra import (
    FURS,
    NAMES,
    YEARS,
    fit,
    jacobian,
    populations,
    residuals,
)
from matplotlib.figure import Figure
from tqdm import tqdm

import chainrule

STEPS = 5  # of the solver in a year

all_populations = chainrule.compile(chainrule.vmap(populations, in_axes=(0, None)))


def resampled(fitted: Any, rng: np.random.Generator) -> Any:
    """Furs that might have been: the fitted ones, with the errors of years drawn at random."""
    errors = fitted.fun.reshape(FURS.shape)
    return FURS * np.exp(errors - errors[rng.integers(len(YEARS), size=len(YEARS))])


def refit(furs: Any, function: Any, derivative: Any) -> Any:
    """The logarithms of the parameters for other data."""
    return fit(furs, STEPS, function, derivative).x


def draw(path: Path, fitted: Any, samples: Any) -> None:
    """The curves of the middle 90 % of the fits."""
    curves = all_populations(samples, STEPS)
    low, high = np.quantile(curves, (0.05, 0.95), axis=0)
    best = populations(fitted.x, STEPS)
    times = YEARS[0] + np.arange(len(best)) / STEPS
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for k, (name, color) in enumerate({"hares": "tab:blue", "lynxes": "tab:orange"}.items()):
        axes.fill_between(times, low[:, k], high[:, k], color=color, alpha=0.3, lw=0)
        axes.plot(times, best[:, k], color=color, label=name)
        axes.plot(YEARS, FURS[:, k], "o", ms=4, color=color)
    axes.set(xlabel="year", ylabel="furs, thousands", xticks=YEARS[::5])
    axes.set_title(f"90 % of {len(samples):,} fits to resampled data")
    axes.legend()
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit many times, print and draw."""
    parser = argparse.ArgumentParser(description="The uncertainty of a fit, by many fits.")
    parser.add_argument("--size", type=int, default=5000, help="fits (%(default)s)")
    parser.add_argument("--jobs", type=int, default=-1, help="processes (one for each core)")
    parser.add_argument("--output", type=Path, default=Path("pictures"), help="where to draw")
    options = parser.parse_args(arguments)

    fitted = fit(FURS, STEPS)
    rng = np.random.default_rng(1)
    data = [resampled(fitted, rng) for _ in range(options.size)]
    first = data[:50]
    start = time.perf_counter()
    for furs in first:
        refit(furs, residuals, jacobian)
    alone = (time.perf_counter() - start) / len(first) * len(data)

    start = time.perf_counter()
    work = (delayed(refit)(furs, residuals, jacobian) for furs in data)
    done = Parallel(options.jobs, return_as="generator", batch_size=50)(work)
    samples = np.array(list(tqdm(done, desc="fits", total=len(data))))
    seconds = time.perf_counter() - start
    processes = effective_n_jobs(options.jobs)
    print(f"{len(data):,} fits in {seconds:.1f} s by {processes} processes, their start included;")
    print(f"one after another in this one it would be {alone:.1f} s\n")

    print("                       fit        90 % of the fits")
    bounds = np.quantile(np.exp(samples), (0.05, 0.95), axis=0).T
    for name, x, (low, high) in zip(NAMES, np.exp(fitted.x), bounds, strict=True):
        print(f"  {name:14} {x:9.5f}   {low:9.5f} to {high:.5f}")

    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "parallel.png"
    draw(path, fitted, samples)
    print(f"\nThe picture: {path}")


if __name__ == "__main__":
    main()
