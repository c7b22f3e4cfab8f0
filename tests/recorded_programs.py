"""Programs with loops as people write them, recorded: what rolling is tested on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from chainrule import Node
from chainrule import math as cm
from chainrule.differentiation import fresh_input
from chainrule.program.recording import Recording
from chainrule.tracing import recording


class _Comparisons:
    """Records that conditions are asked."""

    def __init__(self) -> None:
        self.rows: Any = None

    def compared(self, condition: Any) -> Any:
        """The condition."""
        return condition

    def guard(self, condition: Any, outcome: bool) -> bool:
        """The outcome."""
        self.rows.guard(self.rows.record(condition), outcome)
        return outcome

    def uses(self, operation: Any) -> None:
        """Nothing."""

    def takes(self, what: str) -> bool:
        """Nothing: comparisons of arrays are plain."""
        return False

    def loop(self, *args: Any) -> Any:
        """Nothing: products are those of their elements."""


def recorded(
    f: Callable[..., Any], numbers: Sequence[float]
) -> tuple[Recording, list[int], list[float]]:
    """A run of a function of a list of nodes.

    Returns:
        The recording, in order, the outputs as operands of it, and their values.
    """
    comparisons: Any = _Comparisons()
    with recording(comparisons) as level:
        inputs = [fresh_input(float(number), level) for number in numbers]
        rows = comparisons.rows = Recording(inputs, level)
        result = f(inputs)
        outputs = list(result) if isinstance(result, (list, tuple)) else [result]
        operands = [rows.record(y if isinstance(y, Node) else float(y)) for y in outputs]
        operands = rows.in_order(operands)
        values = [y._number if isinstance(y, Node) else float(y) for y in outputs]
    return rows, operands, values


class Supply:
    """Hands out inputs in order, in lists of any shape."""

    def __init__(self, inputs: Sequence[Node]) -> None:
        self._inputs = iter(inputs)

    def __call__(self, *shape: int) -> Any:
        """The next inputs."""
        if not shape:
            return next(self._inputs)
        return [self(*shape[1:]) for _ in range(shape[0])]


def nbody(x: Sequence[Node], n: int = 5, steps: int = 60) -> list[Any]:
    """Pairs of bodies: a triangular loop inside a loop over time."""
    take = Supply(x)
    position, velocity, mass = take(n, 3), take(n, 3), take(n)
    for _ in range(steps):
        for i in range(n):
            for j in range(i + 1, n):
                d = [a - b for a, b in zip(position[i], position[j], strict=True)]
                r2 = d[0] * d[0] + d[1] * d[1] + d[2] * d[2] + 0.01
                pull = 0.001 / (r2 * cm.sqrt(r2))
                for k in range(3):
                    velocity[i][k] = velocity[i][k] - d[k] * mass[j] * pull
                    velocity[j][k] = velocity[j][k] + d[k] * mass[i] * pull
        for i in range(n):
            position[i] = [a + 0.001 * b for a, b in zip(position[i], velocity[i], strict=True)]
    return [y for row in position for y in row]


def cholesky(x: Sequence[Node], n: int = 40) -> list[Any]:
    """Triangular in two indices."""
    a: Any = Supply(x)(n, n)
    lower: Any = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(i + 1):
            s = a[i][j] + (10.0 if i == j else 0.0)
            for k in range(j):
                s = s - lower[i][k] * lower[j][k]
            lower[i][j] = cm.sqrt(s) if i == j else s / lower[j][j]
    return [lower[i][j] for i in range(n) for j in range(i + 1)]


def soft_dtw(x: Sequence[Node], n: int = 40) -> list[Any]:
    """Dynamic programming whose borders are constants."""
    take = Supply(x)
    u, v = take(n), take(n)
    cost: Any = [[1e9] * (n + 1) for _ in range(n + 1)]
    cost[0][0] = 0.0
    for i in range(1, n + 1):
        for j in range(1, n + 1):
            near = (cost[i - 1][j], cost[i][j - 1], cost[i - 1][j - 1])
            e = sum(cm.exp(-c) for c in near)
            cost[i][j] = (u[i - 1] - v[j - 1]) ** 2 - cm.log(e)
    return [cost[n][n]]


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + cm.exp(-x))


def lstm(x: Sequence[Node], n: int = 16, steps: int = 24) -> list[Any]:
    """Four products of a matrix and a vector for each step."""
    take = Supply(x)
    weights = {gate: take(n, 2 * n) for gate in "ifog"}
    h: Any = [0.0] * n
    c: Any = [0.0] * n
    for _ in range(steps):
        z = take(n) + h
        g = {
            k: [sum(w * v for w, v in zip(row, z, strict=True)) for row in weights[k]]
            for k in "ifog"
        }
        c = [
            sigmoid(f) * cc + sigmoid(i) * cm.tanh(q)
            for f, cc, i, q in zip(g["f"], c, g["i"], g["g"], strict=True)
        ]
        h = [sigmoid(o) * cm.tanh(cc) for o, cc in zip(g["o"], c, strict=True)]
    return h  # type: ignore[no-any-return]


def network(x: Sequence[Node]) -> list[Any]:
    """Two layers and a softmax."""
    take = Supply(x)
    first, second, v = take(64, 100), take(10, 64), take(100)
    h = [cm.tanh(sum(w * y for w, y in zip(row, v, strict=True))) for row in first]
    m = [cm.exp(sum(w * y for w, y in zip(row, h, strict=True)) * 0.1) for row in second]
    return [cm.log(m[0] / sum(m))]


def heston(x: Sequence[Node], steps: int = 52) -> list[Any]:
    """Truncated Euler steps with a branch in each."""
    take = Supply(x)
    k, theta, xi, rho = take(4)
    s, v = 100.0 + take(), 0.04 + 0.01 * take()
    for _ in range(steps):
        z1, z2 = take(2)
        positive = v if v > -1e9 else Node(0.0)
        w = rho * z1 + (1.0 - rho * rho) * z2
        s = s * cm.exp((0.02 - 0.5 * positive) * 0.02 + cm.exp(positive) * 0.14 * z1 * 0.01)
        v = v + k * (theta - positive) * 0.02 + xi * cm.tanh(positive) * 0.14 * w
    return [s, v]


def fourier(x: Sequence[Node], n: int = 256) -> list[Any]:
    """A recursion."""

    def transform(x: Any) -> Any:
        if len(x) == 1:
            return x
        even, odd = transform(x[0::2]), transform(x[1::2])
        turned = []
        for k, (re, im) in enumerate(odd):
            c, s = math.cos(-2 * math.pi * k / len(x)), math.sin(-2 * math.pi * k / len(x))
            turned.append((c * re - s * im, c * im + s * re))
        pairs = list(zip(even, turned, strict=True))
        return [(a[0] + b[0], a[1] + b[1]) for a, b in pairs] + [
            (a[0] - b[0], a[1] - b[1]) for a, b in pairs
        ]

    take = Supply(x)
    return [part for pair in transform([tuple(take(2)) for _ in range(n)]) for part in pair]


def binomial_tree(x: Sequence[Node], n: int = 60) -> list[Any]:
    """A triangle that shrinks."""
    s, v = 100.0 + x[0], 0.2 + 0.01 * x[1]
    up = cm.exp(v * math.sqrt(1 / n))
    down = 1 / up
    p = (math.exp(0.02 / n) - down) / (up - down)
    held = [100.0 - s * up**k * down ** (n - k) for k in range(n + 1)]
    for i in range(n - 1, -1, -1):
        held = [0.99 * (p * held[k + 1] + (1 - p) * held[k]) for k in range(i + 1)]
    return held


def garch(x: Sequence[Node], n: int = 500) -> list[Any]:
    """A likelihood by recurrence."""
    rng = Random(0)
    w, a, b = (y * y * 0.1 + 0.1 for y in x[:3])
    h: Any = w / (1 - a - b)
    total: Any = 0.0
    for _ in range(n):
        r = rng.gauss(0, 1)
        total = total + cm.log(h) + r * r / h
        h = w + a * (r * r) + b * h
    return [total]


def lorenz(x: Sequence[Node], steps: int = 1000) -> list[Any]:
    """Three variables that are overwritten."""
    a, b, c = x[:3]
    for _ in range(steps):
        da, db, dc = 10.0 * (b - a), a * (28.0 - c) - b, a * b - 8.0 / 3.0 * c
        a, b, c = a + 0.001 * da, b + 0.001 * db, c + 0.001 * dc
    return [a, b, c]


def asian(x: Sequence[Node], steps: int = 252) -> list[Any]:
    """The mean along a path."""
    s, v, total = 100.0 + x[0], 0.2 + 0.01 * x[1], 0.0
    for z in x[2 : 2 + steps]:
        s = s * cm.exp((0.02 - 0.5 * v * v) / steps + v * math.sqrt(1 / steps) * z)
        total = total + s
    return [cm.maximum(total / steps - 100.0, 0.0)]


def outer(x: Sequence[Node], n: int = 40) -> list[Any]:
    """All pairs, row after row, and their sum by columns."""
    table = [[a * b for b in x[n : 2 * n]] for a in x[:n]]
    return [sum(row[j] for row in table) for j in range(n)]


def pairs(x: Sequence[Node], n: int = 40) -> list[Any]:
    """All pairs of a triangle, in one list."""
    return [x[i] * x[j] for i in range(n) for j in range(i)]


def rosenbrock(x: Sequence[Node], n: int = 1000) -> list[Any]:
    """A sum of terms of neighbours."""
    return [sum(100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(n - 1))]


def matrix_product(x: Sequence[Node], n: int = 12) -> list[Any]:
    """Three loops."""
    take = Supply(x)
    a, b = take(n, n), take(n, n)
    return [sum(a[i][k] * b[k][j] for k in range(n)) for i in range(n) for j in range(n)]


def fibonacci(x: Sequence[Node], n: int = 500) -> list[Any]:
    """A carry at distance two."""
    values = list(x[:2])
    for _ in range(n):
        values.append(cm.sin(values[-1] + values[-2]))
    return values[-20:]


PROGRAMS: dict[str, tuple[Callable[..., Any], int]] = {
    f.__name__: (f, n)
    for f, n in (
        (nbody, 35),
        (cholesky, 1600),
        (soft_dtw, 80),
        (lstm, 4 * 16 * 32 + 24 * 16),
        (network, 6400 + 640 + 100),
        (heston, 6 + 104),
        (fourier, 512),
        (binomial_tree, 2),
        (garch, 3),
        (lorenz, 3),
        (asian, 254),
        (outer, 80),
        (pairs, 40),
        (rosenbrock, 1000),
        (matrix_product, 288),
        (fibonacci, 2),
    )
}
"""Programs, with the number of inputs each takes."""
