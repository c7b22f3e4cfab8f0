"""A barrier option by Monte Carlo: an `if` in the loop, gradients along each path, and a warning.

An up-and-out call pays like a call, unless the share has touched the barrier before. The share is
followed step by step, and an `if` ends the path where it crosses. Compiled, each lane (a path of
the simulation) takes the branch that its own numbers take: both sides are computed, and one picked.

The gradient of every path is exact: it is the derivative of what the program computed. Whether its
mean is the derivative of the *price* is another question. That needs a payoff without jumps, and a
knock-out is a jump: a path just below the barrier is paid in full, one just above gets nothing. If
the spot rises a little, some paths are newly knocked out, and no path's own derivative knows of it.
So `jumping` below gives the right price and wrong Greeks, whatever the number of paths, and so does
every tool that differentiates along paths. Difference quotients of the mean show it: between two
spots some paths do cross.

The cure is mathematics. Between two dates the logarithm of the share is a Brownian bridge, whose
probability to touch the barrier is known. `bridged` pays each path by its probability of having
survived. The mean is the price with a barrier that is watched at all times, for which there is a
closed formula to compare with. As a path nears the barrier its pay falls to zero: no jump, right
Greeks.
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
GREEKS = {"spot": "delta", "volatility": "vega", "rate": "rho"}

Market = dict[str, float]
Estimate = tuple[float, float]
"""Mean and standard error."""


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
    """What a path pays, times the probability that it touched the barrier at no time between."""
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
    """The call's payment, as of today, for a logarithm of the share."""
    share: float = exp(x)
    if share <= STRIKE:
        return 0.0
    value: float = exp(-market["rate"] * MATURITY) * (share - STRIKE)
    return value


def closed_formula(market: Market) -> float:
    """Price of an up-and-out call whose barrier is watched at all times, by reflection."""
    spot, volatility, rate = market["spot"], market["volatility"], market["rate"]
    deviation: float = volatility * sqrt(MATURITY)

    def below_barrier(start: float) -> float:
        """Value of a call that pays only between strike and barrier, for a share at ``start``."""

        def d1(level: float) -> float:
            distance: float = (log(start / level) + rate * MATURITY) / deviation
            return distance + 0.5 * deviation

        low, high = d1(STRIKE), d1(BARRIER)
        share = start * (norm_cdf(low) - norm_cdf(high))
        cash = norm_cdf(low - deviation) - norm_cdf(high - deviation)
        value: float = share - STRIKE * exp(-rate * MATURITY) * cash
        return value

    mirror: float = (spot / BARRIER) ** (1.0 - 2.0 * rate / (volatility * volatility))
    return below_barrier(spot) - mirror * below_barrier(BARRIER * BARRIER / spot)


def estimate(values: Any) -> Estimate:
    """Mean and standard error of the values of the paths."""
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


def along_paths(of_paths: Any, normals: Any) -> dict[str, Estimate]:
    """The price, and the mean of the gradients of the paths."""
    values, gradients = of_paths(MARKET, normals)
    greeks = {GREEKS[name]: estimate(slopes) for name, slopes in gradients.items()}
    return {"price": estimate(values)} | greeks


def by_differences(prices: Any, normals: Any) -> dict[str, Estimate]:
    """The price, and difference quotients over the same paths."""
    found = {"price": estimate(prices(MARKET, normals))}
    for name, by in {"spot": 1.0, "volatility": 0.005, "rate": 0.005}.items():
        up = prices(MARKET | {name: MARKET[name] + by}, normals)
        down = prices(MARKET | {name: MARKET[name] - by}, normals)
        found[GREEKS[name]] = estimate((up - down) / (2 * by))
    return found


def draw(path: Path, sizes: Sequence[int], deltas: dict[str, list[Estimate]], exact: float) -> None:
    """The deltas with twice their standard errors; of each list the last is by differences."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for (name, estimates), color in zip(deltas.items(), ("tab:red", "tab:blue"), strict=True):
        means, errors = np.array(estimates).T
        label = f"{name}, along the paths"
        axes.errorbar(sizes, means[:-1], 2 * errors[:-1], fmt="o", ms=4, color=color, label=label)
        band = (means[-1] - 2 * errors[-1], means[-1] + 2 * errors[-1])
        axes.axhspan(*band, color=color, alpha=0.25, lw=0, label=f"{name}, by differences")
    axes.axhline(exact, color="black", lw=1, label="closed formula of bridged")
    axes.set(xscale="log", xlabel="paths", ylabel="delta, ± 2 standard errors", ylim=(-0.1, 0.5))
    axes.set_title("Delta of an up-and-out call")
    axes.legend(loc="center right")
    figure.savefig(path, dpi=110)


def row(title: str, estimates: dict[str, Estimate]) -> str:
    """A line of the table."""
    cells = (f"{mean:12.4f} ± {error:.4f}" for mean, error in estimates.values())
    return f"{title:>14}" + "".join(cells)


def times(of_path: Any, of_paths: Any, normals: Any) -> str:
    """How long a path and its gradient take, compiled and as plain Python on nodes."""
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
        f"paths through the code: {stats.traces}, recorded and compiled in {spent:.2f} s;"
        f" then {compiled * 1e6:.2f} µs a path, eagerly {eager * 1e6:,.0f} µs"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, compare and draw."""
    parser = argparse.ArgumentParser(description="Greeks of a barrier option by Monte Carlo.")
    parser.add_argument("--size", type=int, default=262_144, help="paths at most (%(default)s)")
    parser.add_argument("--steps", type=int, default=50, help="steps of a path (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("pictures"), help="where to draw")
    options = parser.parse_args(arguments)
    normals = np.random.default_rng(1).standard_normal((options.size, options.steps))
    sizes = sorted({max(options.size // 4**k, 2) for k in range(5)})

    price, gradient = chainrule.value_and_grad(closed_formula)(MARKET)
    exact = {"price": price} | {GREEKS[name]: slope for name, slope in gradient.items()}
    deltas: dict[str, list[Estimate]] = {}
    for payoff in (jumping, bridged):
        of_path = chainrule.value_and_grad(payoff)
        of_paths = chainrule.compile(chainrule.vmap(of_path, in_axes=(None, 0)))
        prices = chainrule.compile(chainrule.vmap(payoff, in_axes=(None, 0)))
        print(f"{payoff.__name__ + ', paths':>14}" + "".join(f"{greek:>21}" for greek in exact))
        rows = {f"{size:,}": along_paths(of_paths, normals[:size]) for size in sizes}
        rows["by differences"] = by_differences(prices, normals)
        for title, estimates in rows.items():
            print(row(title, estimates))
        if payoff is bridged:
            print(f"{'closed formula':>14}" + "".join(f"{x:12.4f}{'':9}" for x in exact.values()))
        print(f"{times(of_path, of_paths, normals)}\n")
        deltas[payoff.__name__] = [estimates["delta"] for estimates in rows.values()]

    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "barrier.png"
    draw(path, sizes, deltas, exact["delta"])
    print(f"The picture: {path}")


if __name__ == "__main__":
    main()
