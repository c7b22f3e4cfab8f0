"""Measured data that comes with the package, for examples."""

from __future__ import annotations

from importlib import resources


def electron_mobility() -> tuple[list[float], list[float]]:
    """Electron mobility in a semiconductor against the logarithm of its density, 37 points.

    Measured by R. Thurber at the US National Institute of Standards and Technology, and published
    in its Statistical Reference Datasets (nonlinear regression, "Thurber"); in the public domain.

    Returns:
        The logarithms of density, and the mobilities.
    """
    text = resources.files(__package__).joinpath("thurber.csv").read_text(encoding="ascii")
    rows = [line.split(",") for line in text.splitlines()[1:]]
    return [float(x) for x, _ in rows], [float(y) for _, y in rows]
