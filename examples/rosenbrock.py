"""Hundreds of unknowns, each tied to its neighbours: sparse derivatives of a chained function.

    f(x) = sum of 100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2

is Rosenbrock's function, chained. Of its second derivatives only the diagonal and the two beside it
are not zero. The graph of the computation knows that, as it knows what depends on what: with
`sparse=True` these entries alone are computed, and come as a `scipy.sparse` array.

`scipy.optimize.minimize` takes the compiled value and gradient, and the compiled sparse Hessian. As
f is a sum of squares, `least_squares` solves it too, with the sparse Jacobian of what is squared.
The minimum is at x = 1. It is hard to find, since a number finds its place only when the one before
has found its own; the picture shows them do so, one after another.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import least_squares, minimize

import chainrule


def residuals(x: Any) -> Any:
    """What is squared and added up."""
    bends = [10.0 * (after - before * before) for before, after in pairwise(x)]
    return np.array(bends + [1.0 - before for before in x[:-1]])


def rosenbrock(x: Any) -> Any:
    """The chained Rosenbrock function."""
    return sum(r * r for r in residuals(x))


compiled_residuals = chainrule.compile(residuals)
jacobian = chainrule.compile(chainrule.jacobian(residuals, sparse=True))
value_and_gradient = chainrule.compile(chainrule.value_and_grad(rosenbrock))
hessian = chainrule.compile(chainrule.hessian(rosenbrock, sparse=True))


def start(size: int) -> Any:
    """The classic start: -1.2 and 1 by turns."""
    return np.where(np.arange(size) % 2, 1.0, -1.2)


def newton_cg(size: int) -> tuple[Any, list[Any]]:
    """What Newton's method with conjugate gradients finds, and all x on its way."""
    visited = [start(size)]
    found = minimize(
        value_and_gradient,
        visited[0],
        jac=True,
        hess=hessian,
        method="Newton-CG",
        options={"xtol": 1e-9},
        callback=lambda x: visited.append(x.copy()),
    )
    return found, visited


def gauss_newton(size: int) -> Any:
    """What Gauss and Newton's method for sums of squares finds."""
    return least_squares(compiled_residuals, start(size), jacobian, tr_solver="lsmr")


def draw(path: Path, matrix: Any, visited: list[Any]) -> None:
    """Where the Hessian is not zero, and the unknowns by the iterations."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.spy(matrix[:25, :25], markersize=4)
    left.set_title("not zero in the Hessian (first 25)", pad=20)
    image = right.pcolormesh(np.array(visited).T, cmap="RdBu_r", vmin=-1.2, vmax=1.2)
    right.set(title="the unknowns", xlabel="iteration of Newton-CG", ylabel="i")
    right.invert_yaxis()
    figure.colorbar(image, ax=right, label="x[i]")
    figure.savefig(path, dpi=110)


def times(function: Any, x: Any, calls: int = 20) -> tuple[float, float]:
    """Milliseconds of the first call, which compiles, and of the quickest later one."""
    seconds = []
    for _ in range(calls):
        begin = time.perf_counter()
        function(x)
        seconds.append(time.perf_counter() - begin)
    return 1e3 * seconds[0], 1e3 * min(seconds[1:])


def main(arguments: Sequence[str] | None = None) -> None:
    """Differentiate, minimize and draw."""
    parser = argparse.ArgumentParser(description="Sparse derivatives.")
    parser.add_argument("--size", type=int, default=300, help="unknowns (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("pictures"), help="where to draw")
    options = parser.parse_args(arguments)

    x = start(options.size)
    print(f"{options.size:,} unknowns        first call    later ones")
    for title, function in {
        "value and gradient": value_and_gradient,
        "sparse Hessian": hessian,
        "residuals": compiled_residuals,
        "sparse Jacobian": jacobian,
    }.items():
        first, later = times(function, x)
        print(f"  {title:18}{first:9.1f} ms{later:11.3f} ms")
    matrix = hessian(x)
    print(f"The Hessian stores {matrix.nnz:,} of {x.size**2:,} numbers.\n")

    print("                    iterations   seconds   f at the end   largest |x - 1|")
    begin = time.perf_counter()
    found, visited = newton_cg(options.size)
    took = time.perf_counter() - begin
    away = np.abs(found.x - 1.0).max()
    print(f"  minimize Newton-CG{found.nit:9}{took:12.2f}{found.fun:12.0e}{away:16.0e}")
    begin = time.perf_counter()
    found = gauss_newton(options.size)
    took = time.perf_counter() - begin
    away = np.abs(found.x - 1.0).max()
    print(f"  least_squares     {found.njev:9}{took:12.2f}{2.0 * found.cost:12.0e}{away:16.0e}")

    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "rosenbrock.png"
    draw(path, matrix, visited)
    print(f"\nThe picture: {path}")


if __name__ == "__main__":
    main()
