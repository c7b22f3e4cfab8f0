"""A barrier option by Monte Carlo: an `if` in the loop, gradients along each path, and a warning.

An up-and-out call pays like a call, unless the share has touched the barrier before. The share is
followed step by step, and an `if` ends the path where it crosses. Compiled, each lane (a path of the
simulation) takes the branch that its own numbers take.

The gradient of every path is exact: it is the derivative of what the program computed. Whether its
mean is the derivative of the *price* is another question. That needs a payoff without jumps, and a
knock-out is a jump: a path just below the barrier is paid in full, one just above gets nothing. If
the spot rises a little, some paths are newly knocked out, and no path's own derivative knows of it.
So `jumping` below gives the right price and wrong Greeks, whatever the number of paths, and so does
every tool that differentiates along paths.

The cure is mathematics. Between two dates the logarithm of the share is a Brownian bridge, whose
probability to touch the barrier is known. `bridged` pays each path by its probability of having
survived. The mean is the price with a barrier that is watched at all times; and as a path nears the
barrier its pay falls to zero: no jump, right Greeks.

Both are compared with the closed formula: it is for a barrier watched at all times, and one that is
watched at the end of each step only is like one a little further away (Broadie, Glasserman, Kou: A
continuity correction for discrete barrier options, Mathematical Finance 7, 1997).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import chainrule
from chainrule.math import exp, expm1, log, norm_cdf, sqrt

STRIKE, BARRIER, MATURITY = 100.0, 130.0, 1.0
MARKET = {"spot": 100.0, "volatility": 0.2, "rate": 0.03}
NAMES = {"spot": "delta", "volatility": "vega", "rate": "rho"}

Market = dict[str, float]


def jumping(market: Market, normals: Any) -> float:
    """What a path pays, of which the barrier is watched at the end of each step only."""
    drift, scale = step_of(market, len(normals))
    x = log(market["spot"])
    for z in normals:
        x = x + drift + scale * z
        if x >= log(BARRIER):
            return 0.0
    return paid_at_end(market, x)


def bridged(market: Market, normals: Any) -> float:
    """What a path pays times the probability that it did not touch the barrier between the steps."""
    drift, scale = step_of(market, len(normals))
    x = log(market["spot"])
    surviving = 1.0
    for z in normals:
        below = log(BARRIER) - x
        x = x + drift + scale * z
        if x >= log(BARRIER):
            return 0.0
        surviving = surviving * -expm1(-2.0 * below * (log(BARRIER) - x) / (scale * scale))
    return surviving * paid_at_end(market, x)


def step_of(market: Market, steps: int) -> tuple[float, float]:
    """Mean and standard deviation of a step of the share's logarithm."""
    volatility, step = market["volatility"], MATURITY / steps
    return (market["rate"] - 0.5 * volatility * volatility) * step, volatility * sqrt(step)


def paid_at_end(market: Market, x: float) -> float:
    """The call's payment, as of today."""
    share: float = exp(x)
    if share <= STRIKE:
        return 0.0
    value: float = exp(-market["rate"] * MATURITY) * (share - STRIKE)
    return value


def closed_formula(market: Market, barrier: float) -> float:
    """Price of an up-and-out call whose barrier is watched at all times, by reflection."""
    spot, volatility, rate = market["spot"], market["volatility"], market["rate"]
    deviation = volatility * sqrt(MATURITY)
    weight = 2.0 * rate / (volatility * volatility)

    def between(start: float) -> float:
        """Value of a call that pays only between strike and barrier, for a share at ``start``."""

        def d1(level: float) -> float:
            distance: float = log(start / level) + rate * MATURITY
            return distance / deviation + 0.5 * deviation

        low, high = d1(STRIKE), d1(barrier)
        share = start * (norm_cdf(low) - norm_cdf(high))
        cash = norm_cdf(low - deviation) - norm_cdf(high - deviation)
        value: float = share - STRIKE * exp(-rate * MATURITY) * cash
        return value

    mirrored = (spot / barrier) ** (1.0 - weight) * between(barrier * barrier / spot)
    return between(spot) - mirrored


Rows = list[tuple[int, float, float]]
"""Paths, mean, standard error."""


def draw(path: Path, deltas: dict[str, tuple[Rows, float]]) -> None:
    """The deltas with twice their standard errors by the number of paths, and the right ones."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for (name, (rows, right)), color in zip(deltas.items(), ("tab:red", "tab:blue"), strict=True):
        paths, means, errors = (np.array(column) for column in zip(*rows, strict=True))
        label = f"{name}: along the paths"
        axes.errorbar(paths, means, 2 * errors, fmt="o", ms=4, color=color, label=label)
        axes.axhline(right, color=color, lw=1, ls="--", label=f"{name}: closed formula")
    axes.set(xscale="log", xlabel="paths", ylabel="delta, ± 2 standard errors", ylim=(-0.1, 0.5))
    axes.set_title("Delta of an up-and-out call")
    axes.legend(ncols=2, loc="lower right")
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, compare and draw."""
    parser = argparse.ArgumentParser(description="Greeks of a barrier option by Monte Carlo.")
    parser.add_argument("--size", type=int, default=262_144, help="paths at most (%(default)s)")
    parser.add_argument("--steps", type=int, default=50, help="steps of a path (%(default)s)")
    parser.add_argument(
        "--output", type=Path, default=Path("pictures"), help="folder of the picture"
    )
    options = parser.parse_args(arguments)
    normals = np.random.default_rng(1).standard_normal((options.size, options.steps))
    sizes = sorted({max(options.size // 4**k, 2) for k in range(5)})
    gap = 0.5826 * MARKET["volatility"] * (MATURITY / options.steps) ** 0.5  # -zeta(1/2)/sqrt(2 pi)
    barriers = {jumping: BARRIER * np.exp(gap), bridged: BARRIER}

    deltas: dict[str, tuple[Rows, float]] = {}
    for payoff, barrier in barriers.items():
        name = payoff.__name__
        of_path = chainrule.value_and_grad(payoff)
        of_paths = chainrule.compile(chainrule.vmap(of_path, in_axes=(None, 0)))
        right = by_name(*chainrule.value_and_grad(closed_formula)(MARKET, barrier))
        print(f"{name + ':':10} paths" + "".join(f"{greek:>21}" for greek in right))
        rows: Rows = []
        for size in sizes:
            found = by_name(*of_paths(MARKET, normals[:size]))
            cells = {greek: estimate(values) for greek, values in found.items()}
            rows.append((size, *cells["delta"]))
            print(f"{size:16,}" + "".join(f"{mean:12.4f} ± {e:.4f}" for mean, e in cells.values()))
        print(
            f"{'closed formula':>16}" + "".join(f"{value:12.4f}{'':9}" for value in right.values())
        )
        print(f"{times(of_path, of_paths, normals)}\n")
        deltas[name] = rows, right["delta"]

    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "barrier.png"
    draw(path, deltas)
    print(f"The picture: {path}")


def by_name(value: Any, gradient: Any) -> dict[str, Any]:
    """The price and its Greeks under their names on a trading desk."""
    return {"price": value} | {NAMES[name]: slope for name, slope in gradient.items()}


def estimate(values: Any) -> tuple[float, float]:
    """Mean and standard error."""
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


def times(of_path: Any, of_paths: Any, normals: Any) -> str:
    """How long a path takes, compiled and as plain Python on nodes."""
    start = time.perf_counter()
    of_paths(MARKET, normals)
    compiled = (time.perf_counter() - start) / len(normals)
    few = normals[:100]
    start = time.perf_counter()
    for path in few:
        of_path(MARKET, path)
    eager = (time.perf_counter() - start) / len(few)
    stats = of_paths.stats()
    spent = stats.trace_seconds + stats.compile_seconds
    return (
        f"{stats.traces} paths through the code, recorded and compiled in {spent:.2f} s; after that"
        f" {compiled * 1e6:.2f} µs a path, as plain Python {eager * 1e6:,.0f} µs"
    )


if __name__ == "__main__":
    main()
