"""A thousand unknowns, each tied to its neighbours: sparse derivatives of the chained Rosenbrock.

    f(x) = sum of 100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2

The matrix of second derivatives has a diagonal and its two neighbours; everything else is zero. The
graph of the computation knows that, since it knows which result depends on which number. With
`sparse=True` only these entries are computed, and come as a `scipy.sparse` array.

`scipy.optimize.minimize` takes value and gradient as one compiled function, and the sparse matrix as
another. The same problem as a sum of squares goes to `least_squares` with a sparse Jacobian.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import least_squares, minimize

import chainrule


def residuals(x: Any) -> Any:
    """The numbers whose squares are added up."""
    bends = [10.0 * (after - before * before) for before, after in zip(x[:-1], x[1:], strict=True)]
    return np.array([*bends, *(1.0 - before for before in x[:-1])])


def rosenbrock(x: Any) -> Any:
    """The chained Rosenbrock function."""
    return sum(r * r for r in residuals(x))


def main(arguments: Sequence[str] | None = None) -> None:
    """Minimize, print and draw."""
    parser = argparse.ArgumentParser(description="Sparse derivatives.")
    parser.add_argument("--size", type=int, default=1000, help="unknowns (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("pictures"), help="where to draw")
    options = parser.parse_args(arguments)
    n = options.size
    x = np.linspace(-1.2, 1, n)
    x = np.where(np.arange(n) % 2 == 0, -1.2, 1.0)
    vg = chainrule.compile(chainrule.value_and_grad(rosenbrock))
    h = chainrule.compile(chainrule.hessian(rosenbrock, sparse=True))
    j = chainrule.compile(chainrule.jacobian(residuals, sparse=True))
    r = chainrule.compile(residuals)
    for f in (vg, h, j, r):
        for _ in range(3):
            t = time.perf_counter()
            f(x)
            print(f, time.perf_counter() - t)
        print(f.stats())
    print(repr(h(x)))
    for m in ("Newton-CG", "trust-constr"):
        t = time.perf_counter()
        q = minimize(vg, x, jac=True, hess=h, method=m)
        print(
            m, q.fun, q.nit, q.nfev, q.nhev, abs(q.x - 1).max(), time.perf_counter() - t, q.message
        )
    t = time.perf_counter()
    q = least_squares(r, x, jac=j, method="trf", tr_solver="lsmr")
    print(q.cost, q.nfev, abs(q.x - 1).max(), time.perf_counter() - t)


if __name__ == "__main__":
    main()
