"""All Greeks of a call option, of first and second order, over a grid of strikes and maturities.

The price is written for one option, in scalars. `value_and_grad` and `hessian` differentiate it by
whatever the market is, here a dictionary, so that a Greek is found under the names of what it is a
derivative by. `vmap` runs over the options, and `compile` turns all of it into one piece of machine
code, in which the price and its derivatives share what they have in common.

The closed formulas beside it are there to check; nothing else needs them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.special import ndtr

import chainrule
from chainrule.math import exp, log, norm_cdf, sqrt

Market = dict[str, Any]  # numbers, or arrays with one number for each option
MARKET: Market = {"spot": 100.0, "volatility": 0.2, "rate": 0.03}


def call_price(market: Market, strike: float) -> float:
    """Black and Scholes' price of a European call."""
    spot, volatility, rate, maturity = (
        market[name] for name in ("spot", "volatility", "rate", "maturity")
    )
    deviation = volatility * sqrt(maturity)
    d1 = (log(spot / strike) + rate * maturity) / deviation + 0.5 * deviation
    price: float = spot * norm_cdf(d1) - strike * exp(-rate * maturity) * norm_cdf(d1 - deviation)
    return price


def greeks(market: Market, strike: float) -> dict[str, float]:
    """The price of one option and its derivatives, under their names on a trading desk."""
    price, first = chainrule.value_and_grad(call_price)(market, strike)
    second = chainrule.hessian(call_price)(market, strike)
    return {
        "price": price,
        "delta": first["spot"],
        "vega": first["volatility"],
        "theta": -first["maturity"],
        "rho": first["rate"],
        "gamma": second["spot"]["spot"],
        "vanna": second["spot"]["volatility"],
        "volga": second["volatility"]["volatility"],
        "charm": -second["spot"]["maturity"],
    }


# The strike and the maturity differ from option to option; the rest of the market is shared.
AXES = ({"spot": None, "volatility": None, "rate": None, "maturity": 0}, 0)
greeks_of_all = chainrule.compile(chainrule.vmap(greeks, in_axes=AXES))


def closed_formulas(market: Market, strike: Any) -> dict[str, Any]:
    """The same from the textbook, derived by hand."""
    spot, volatility, rate, maturity = (
        market[name] for name in ("spot", "volatility", "rate", "maturity")
    )
    root = np.sqrt(maturity)
    d1 = (np.log(spot / strike) + (rate + volatility**2 / 2) * maturity) / (volatility * root)
    d2 = d1 - volatility * root
    density = np.exp(-(d1**2) / 2) / np.sqrt(2 * np.pi)
    paid = strike * np.exp(-rate * maturity)  # the strike as of today
    return {
        "price": spot * ndtr(d1) - paid * ndtr(d2),
        "delta": ndtr(d1),
        "vega": spot * density * root,
        "theta": -spot * density * volatility / (2 * root) - rate * paid * ndtr(d2),
        "rho": maturity * paid * ndtr(d2),
        "gamma": density / (spot * volatility * root),
        "vanna": -density * d2 / volatility,
        "volga": spot * density * root * d1 * d2 / volatility,
        "charm": -density * (rate / (volatility * root) - d2 / (2 * maturity)),
    }


def draw(path: Path, strikes: Any, maturities: Any, found: dict[str, Any]) -> None:
    """One heat map for each Greek."""
    figure = Figure(figsize=(11, 9), layout="constrained")
    for axes, (name, values) in zip(figure.subplots(3, 3).flat, found.items(), strict=True):
        largest = np.abs(values).max()
        signed = values.min() < 0 < values.max()
        image = axes.pcolormesh(
            strikes,
            maturities,
            values,
            cmap="RdBu_r" if signed else "viridis",
            vmin=-largest if signed else None,
            vmax=largest if signed else None,
            rasterized=True,
        )
        axes.set(title=name, xlabel="strike", ylabel="maturity in years")
        axes.label_outer()
        figure.colorbar(image, ax=axes)
    figure.suptitle("A call on a share at 100 (volatility 20 %, rate 3 %)")
    figure.savefig(path, dpi=80)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute, compare and draw."""
    parser = argparse.ArgumentParser(description="Greeks of calls over a grid.")
    parser.add_argument(
        "--size", type=int, default=400, help="strikes, and maturities (%(default)s)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("pictures"), help="folder of the picture"
    )
    options = parser.parse_args(arguments)

    strikes = np.linspace(60.0, 150.0, options.size)
    maturities = np.linspace(0.1, 2.0, options.size)
    strike, maturity = (grid.ravel() for grid in np.meshgrid(strikes, maturities))
    market = MARKET | {"maturity": maturity}

    seconds = []
    for _ in range(5):  # the first call compiles
        start = time.perf_counter()
        found = greeks_of_all(market, strike)
        seconds.append(time.perf_counter() - start)
    expected = closed_formulas(market, strike)

    print(f"{strike.size:,} options, 9 numbers each")
    print(f"  first call  {seconds[0] * 1e3:8.1f} ms, compiling included")
    print(f"  later calls {min(seconds) * 1e3:8.1f} ms", end="")
    print(f", {min(seconds) / strike.size * 1e9:.0f} ns for each option\n")
    print("           largest value   largest difference from the closed formula")
    for name, values in found.items():
        difference = np.abs(values - expected[name]).max()
        print(f"  {name:6} {np.abs(values).max():16.6f}   {difference:.1e}")

    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "black_scholes.png"
    shape = (options.size, options.size)
    draw(path, strikes, maturities, {name: grid.reshape(shape) for name, grid in found.items()})
    print(f"\nThe picture: {path}")


if __name__ == "__main__":
    main()
