"""Hares and lynxes: the parameters of a differential equation, found from measured data.

Hares breed and are eaten, lynxes eat and die:

    hares'  = growth * hares - capture * hares * lynxes
    lynxes' = gain * hares * lynxes - death * lynxes

The equation is solved by a Runge-Kutta loop in plain Python, from the first year to the last. Its
four parameters and the two numbers of animals at the start are fitted to what the Hudson's Bay
Company bought in furs, by `scipy.optimize.least_squares`. The Jacobian that it asks for is the
derivative of the whole loop, compiled.

The logarithms are compared, as twice as many is as much an error as half as many; and the
logarithms of the parameters are what is fitted, as none of them is negative.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import least_squares

import chainrule

NAMES = ("growth", "capture", "gain", "death", "hares in 1900", "lynxes in 1900")
START = np.log([1.0, 0.05, 0.05, 1.0, 30.0, 4.0])

# Furs in thousands, 1900 to 1920: the books of the Hudson's Bay Company, as listed in Peter Howard,
# Modeling Basics, Texas A&M University 2009.
YEARS = np.arange(1900, 1921)
HARES = [30.0, 47.2, 70.2, 77.4, 36.3, 20.6, 18.1, 21.4, 22.0, 25.4, 27.1]
HARES += [40.3, 57.0, 76.6, 52.3, 19.5, 11.2, 7.6, 14.6, 16.2, 24.7]
LYNXES = [4.0, 6.1, 9.8, 35.2, 59.4, 41.7, 19.0, 13.0, 8.3, 9.1, 7.4]
LYNXES += [8.0, 12.3, 19.5, 45.7, 51.1, 29.7, 15.8, 9.7, 10.1, 8.6]
FURS = np.array([HARES, LYNXES]).T

State = tuple[float, float]


def slope(state: State, parameters: Sequence[float]) -> State:
    """How fast hares and lynxes increase, per year."""
    hares, lynxes = state
    growth, capture, gain, death = parameters
    return hares * (growth - capture * lynxes), lynxes * (gain * hares - death)


def runge_kutta(state: State, parameters: Sequence[float], step: float) -> State:
    """The state a step later, by the classic method of fourth order."""

    def moved(slopes: State, by: float) -> State:
        return state[0] + by * slopes[0], state[1] + by * slopes[1]

    k1 = slope(state, parameters)
    k2 = slope(moved(k1, step / 2), parameters)
    k3 = slope(moved(k2, step / 2), parameters)
    k4 = slope(moved(k3, step), parameters)
    mean = [(a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(k1, k2, k3, k4, strict=True)]
    return moved((mean[0], mean[1]), step)


def populations(logarithms: Any, steps: int) -> Any:
    """Hares and lynxes, a row for each time and ``steps`` of them in a year."""
    *parameters, hares, lynxes = np.exp(logarithms)
    states = [(hares, lynxes)]
    for _ in range(steps * (len(YEARS) - 1)):
        states.append(runge_kutta(states[-1], parameters, 1.0 / steps))
    return np.array(states)


@chainrule.compile
def residuals(logarithms: Any, furs: Any, steps: int) -> Any:
    """By how much the logarithms of solution and furs differ, year by year."""
    return (np.log(populations(logarithms, steps)[::steps]) - np.log(furs)).ravel()


@chainrule.compile
def jacobian(logarithms: Any, furs: Any, steps: int) -> Any:
    """The derivative of the residuals by the logarithms of the parameters."""
    return chainrule.jacobian(residuals)(logarithms, furs, steps)


def fit(furs: Any, steps: int, function: Any = residuals, derivative: Any = jacobian) -> Any:
    """SciPy's result: ``x`` has the logarithms of the parameters."""
    return least_squares(function, START, derivative, method="lm", args=(furs, steps))


def standard_errors(fitted: Any) -> Any:
    """Of the logarithms, from the Jacobian at the solution."""
    residual_variance = 2.0 * fitted.cost / (FURS.size - len(START))
    return np.sqrt(np.diag(np.linalg.inv(fitted.jac.T @ fitted.jac)) * residual_variance)


def draw(path: Path, logarithms: Any, steps: int) -> None:
    """The furs and the solution: over the years, and one against the other."""
    states = populations(logarithms, steps)
    times = YEARS[0] + np.arange(len(states)) / steps
    figure = Figure(figsize=(10, 4), layout="constrained")
    years, plane = figure.subplots(1, 2, width_ratios=[3, 2])
    for k, (name, color) in enumerate({"hares": "tab:blue", "lynxes": "tab:orange"}.items()):
        years.plot(times, states[:, k], color=color, label=name)
        years.plot(YEARS, FURS[:, k], "o", ms=4, color=color)
    years.set(xlabel="year", ylabel="furs, thousands", xticks=YEARS[::5])
    years.legend()
    plane.plot(*states.T, color="black", lw=1)
    plane.plot(*FURS.T, "o", ms=4, color="tab:gray")
    plane.set(xlabel="hares", ylabel="lynxes")
    figure.suptitle("Furs bought by the Hudson's Bay Company, and Lotka and Volterra's equation")
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, print and draw."""
    parser = argparse.ArgumentParser(description="Calibration of a differential equation.")
    parser.add_argument("--size", type=int, default=10, help="steps in a year (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("pictures"), help="where to draw")
    options = parser.parse_args(arguments)

    ways = {
        "first time, compiling": (residuals, jacobian),
        "compiled": (residuals, jacobian),
        "compiled, differences": (residuals, "2-point"),
        "plain Python, differences": (residuals.function, "2-point"),
    }
    print("least_squares                 seconds        cost")
    for title, way in ways.items():
        start = time.perf_counter()
        fitted = fit(FURS, options.size, *way)
        seconds = time.perf_counter() - start
        print(f"  {title:25} {seconds:9.4f} {fitted.cost:11.6f}")
    fitted = fit(FURS, options.size)
    stats = jacobian.stats()
    print(
        f"The Jacobian: {stats.nodes:,} statements, recorded in {stats.trace_seconds:.2f} s and"
        f" compiled in {stats.compile_seconds:.2f} s.\n"
    )
    print("                       fit   standard error")
    for name, x, error in zip(NAMES, fitted.x, standard_errors(fitted), strict=True):
        print(f"  {name:14} {np.exp(x):9.5f} {100 * error:14.1f} %")

    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "lotka_volterra.png"
    draw(path, fitted.x, options.size)
    print(f"\nThe picture: {path}")


if __name__ == "__main__":
    main()
