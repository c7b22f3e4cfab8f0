"""Newton's method, with as many iterations as each point needs, and derivatives through them.

Where on its orbit is a planet at a given time? Kepler's equation says so: with the time as an
angle, the mean anomaly, x solves

    mean_anomaly = x - eccentricity * sin(x)

A `while` loop improves x until the step is small, which takes one iteration for some points and
seven for others. Compiled, each lane goes around the loop as often as its own numbers ask.

The derivatives of x by the eccentricity are taken through the loop, operation by operation. The
implicit function theorem gives them from the equation alone, and the table compares the two. Each
iteration squares the error of x. Its derivative is one iteration behind, and the second derivative
two: with a tolerance that is good enough for x they may still be far off. This is mathematics and
true of any tool. Where derivatives are wanted, let the loop go on until they have arrived as well.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

import chainrule
from chainrule.math import cos, sin

TOLERANCES = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12)


def solve(eccentricity: float, mean_anomaly: float, tolerance: float) -> tuple[float, int]:
    """The solution of Kepler's equation, and the iterations it took."""
    x = mean_anomaly + 0.85 * eccentricity
    step = 1.0
    iterations = 0
    while abs(step) > tolerance:
        step = (x - eccentricity * sin(x) - mean_anomaly) / (1.0 - eccentricity * cos(x))
        x = x - step
        iterations += 1
    return x, iterations


def solution(eccentricity: float, mean_anomaly: float, tolerance: float) -> float:
    """The solution alone."""
    return solve(eccentricity, mean_anomaly, tolerance)[0]


def through_loop(eccentricity: float, mean_anomaly: float, tolerance: float) -> dict[str, float]:
    """The solution, its derivatives by the eccentricity, and the iterations."""
    point = (eccentricity, mean_anomaly, tolerance)
    x, iterations = solve(*point)
    return {
        "x": x,
        "dx": chainrule.grad(solution)(*point),
        "d2x": chainrule.hessian(solution)(*point),
        "iterations": float(iterations),
    }


solve_all = chainrule.compile(chainrule.vmap(through_loop, in_axes=(0, 0, None)))


def implicit(eccentricity: Any, x: Any) -> dict[str, Any]:
    """The same derivatives at a solution, from the equation differentiated once and twice."""
    slope = 1.0 - eccentricity * np.cos(x)
    dx = np.sin(x) / slope
    d2x = dx * (2.0 * np.cos(x) - eccentricity * np.sin(x) * dx) / slope
    return {"x": x, "dx": dx, "d2x": d2x}


def draw(path: Path, eccentricities: Any, anomalies: Any, found: dict[str, Any]) -> None:
    """Maps of the iterations and of the derivatives."""
    shape = (len(anomalies), len(eccentricities))
    grids = {name: values.reshape(shape) for name, values in found.items()}
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    levels = np.arange(0.5, found["iterations"].max() + 1.0)
    image = left.contourf(eccentricities, anomalies, grids["iterations"], levels)
    figure.colorbar(image, ax=left, ticks=levels[1:] - 0.5)
    image = middle.pcolormesh(eccentricities, anomalies, grids["dx"])
    figure.colorbar(image, ax=middle)
    limit = np.abs(found["d2x"]).max()
    norm = SymLogNorm(1.0, vmin=-limit, vmax=limit)
    image = right.pcolormesh(eccentricities, anomalies, grids["d2x"], norm=norm, cmap="RdBu_r")
    figure.colorbar(image, ax=right)
    for axes, title in ((left, "iterations"), (middle, "dx / de"), (right, "d²x / de²")):
        axes.set(title=title, xlabel="eccentricity e", ylabel="mean anomaly")
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Solve, compare and draw."""
    parser = argparse.ArgumentParser(description="Derivatives through Newton's method.")
    parser.add_argument("--size", type=int, default=500, help="points each way (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("pictures"), help="where to draw")
    options = parser.parse_args(arguments)
    eccentricities = np.linspace(0.0, 0.9, options.size)
    anomalies = np.linspace(0.0, np.pi, options.size)
    e, m = (grid.ravel() for grid in np.meshgrid(eccentricities, anomalies))

    runs = []
    for tolerance in TOLERANCES:
        found = solve_all(e, m, tolerance)
        runs.append((tolerance, found, solve_all.stats().traces))
    exact = implicit(e, found["x"])

    print(f"{e.size:,} points; largest error, relative to the largest value")
    print("  tolerance   iterations   traces so far         x     dx/de   d²x/de²")
    for tolerance, found, traces in runs:
        low, high = (int(f(found["iterations"])) for f in (np.min, np.max))
        errors = [np.abs(found[k] - exact[k]).max() / np.abs(exact[k]).max() for k in exact]
        cells = "".join(f"{error:10.0e}" for error in errors)
        print(f"  {tolerance:9.0e} {low:7} to {high} {traces:13}   {cells}")
    print(times(e, m))

    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "newton.png"
    draw(path, eccentricities, anomalies, found)
    print(f"\nThe picture: {path}")


def times(e: Any, m: Any) -> str:
    """How long a point takes with all its derivatives, compiled and as plain Python on nodes."""
    start = time.perf_counter()
    solve_all(e, m, TOLERANCES[-1])
    compiled = (time.perf_counter() - start) / e.size
    few = np.linspace(0, e.size - 1, 20).astype(int)
    start = time.perf_counter()
    for i in few:
        through_loop(float(e[i]), float(m[i]), TOLERANCES[-1])
    eager = (time.perf_counter() - start) / len(few)
    stats = solve_all.stats()
    return (
        f"{stats.traces} traces, recorded and compiled in"
        f" {stats.trace_seconds + stats.compile_seconds:.2f} s;"
        f" then {compiled * 1e9:,.0f} ns a point, eagerly {eager * 1e6:,.0f} µs"
    )


if __name__ == "__main__":
    main()
