"""Programs with branches, as they are written in plain Python, and the same without.

Each has two functions: one with ``if``, ``while``, ``max`` and ``min``, and one that computes both
sides and picks. The second takes the functions that it calls as ``m``, so that other libraries can
run it too: ``m.scan(step, carry, *columns)`` is a loop over rows, ``m.repeat(step, carry, n)`` one
of n times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule import array
from chainrule.math import atan2, cos, exp, log, sin, sqrt, tan

DT = 1.0 / 252
Inputs = Callable[[np.random.Generator, int], Sequence[Any]]


def walk(x: Any, up: Any, down: Any, noise: Any) -> Any:
    """A walk that is pulled back above 0, and pushed below."""
    for z in noise:
        if x > 0.0:
            x -= down * x
        else:
            x += up
        x += 0.1 * z
    return x


def walk_by_hand(m: Any, x: Any, up: Any, down: Any, noise: Any) -> Any:
    """The same without branches."""

    def step(x: Any, z: Any) -> Any:
        return m.where(x > 0.0, x - down * x, x + up) + 0.1 * z

    return m.scan(step, x, noise)


def knock_out(spot: Any, strike: Any, vol: Any, noise: Any) -> Any:
    """An average-price call that is worth nothing once the price is above a barrier."""
    total = 0.0
    for z in noise:
        spot = spot * exp(0.05 * vol * z - 0.5 * DT * vol * vol)
        if spot > 120.0:
            return 0.0
        total = total + spot
    return max(total / len(noise) - strike, 0.0)


def knock_out_by_hand(m: Any, spot: Any, strike: Any, vol: Any, noise: Any) -> Any:
    """The same without branches."""

    def step(carry: Any, z: Any) -> Any:
        spot, total, out = carry
        spot = spot * m.exp(0.05 * vol * z - 0.5 * DT * vol * vol)
        return spot, total + spot, m.maximum(out, m.where(spot > 120.0, 1.0, 0.0))

    _, total, out = m.scan(step, (spot, 0.0, 0.0), noise)
    return m.where(out > 0.5, 0.0, m.maximum(total / len(noise) - strike, 0.0))


def jump_diffusion(spot: Any, vol: Any, mean: Any, noise: Any, chance: Any, size: Any) -> Any:
    """A call on a price with rare jumps."""
    for z, u, j in zip(noise, chance, size, strict=True):
        spot = spot * exp(0.05 * vol * z - 0.5 * DT * vol * vol)
        if u < 0.02:
            spot = spot * exp(mean + 0.1 * j)
    return max(spot - 100.0, 0.0)


def jump_diffusion_by_hand(
    m: Any, spot: Any, vol: Any, mean: Any, noise: Any, chance: Any, size: Any
) -> Any:
    """The same without branches."""

    def step(spot: Any, z: Any, u: Any, j: Any) -> Any:
        spot = spot * m.exp(0.05 * vol * z - 0.5 * DT * vol * vol)
        return m.where(u < 0.02, spot * m.exp(mean + 0.1 * j), spot)

    return m.maximum(m.scan(step, spot, noise, chance, size) - 100.0, 0.0)


def garch(omega: Any, alpha: Any, beta: Any, gamma: Any, returns: Any) -> Any:
    """The likelihood of a GARCH model whose regime hangs on the variance, and on losses."""
    h, total = 1.0, 0.0
    for r in returns:
        h = omega + alpha * r * r + beta * h
        if r < 0.0:
            h = h + gamma * r * r
        if h > 2.0:
            h = 0.5 * h + 1.0
        elif h < 0.05:
            h = 0.05
        total = total + log(h) + r * r / h
    return 0.5 * total


def garch_by_hand(m: Any, omega: Any, alpha: Any, beta: Any, gamma: Any, returns: Any) -> Any:
    """The same without branches."""

    def step(carry: Any, r: Any) -> Any:
        h, total = carry
        h = omega + alpha * r * r + beta * h
        h = m.where(r < 0.0, h + gamma * r * r, h)
        h = m.where(h > 2.0, 0.5 * h + 1.0, m.where(h < 0.05, 0.05, h))
        return h, total + m.log(h) + r * r / h

    return 0.5 * m.scan(step, (1.0, 0.0), returns)[1]


STEPS = 48


def american(spot: Any, strike: Any, vol: Any) -> Any:
    """An American put in a binomial tree: in each node, is exercise worth more?"""
    up = exp(vol * sqrt(1.0 / STEPS))
    p = (exp(0.05 / STEPS) - 1.0 / up) / (up - 1.0 / up)
    discount = exp(-0.05 / STEPS)
    prices = [spot * up ** (2 * j - STEPS) for j in range(STEPS + 1)]
    values = [max(strike - s, 0.0) for s in prices]
    for n in range(STEPS, 0, -1):
        for j in range(n):
            hold = discount * (p * values[j + 1] + (1.0 - p) * values[j])
            prices[j] = prices[j] * up
            exercise = strike - prices[j]
            if exercise > hold:
                values[j] = exercise
            else:
                values[j] = hold
    return values[0]


def american_in_jax(jax: Any, spot: Any, strike: Any, vol: Any) -> Any:
    """A loop over steps on arrays of one length; what lies beyond the tree is not read."""
    jnp: Any = jax.numpy
    up = jnp.exp(vol * jnp.sqrt(1.0 / STEPS))
    p = (jnp.exp(0.05 / STEPS) - 1.0 / up) / (up - 1.0 / up)
    discount = jnp.exp(-0.05 / STEPS)
    prices = spot * up ** (2.0 * jnp.arange(STEPS + 1) - STEPS)

    def step(carry: Any, _: Any) -> Any:
        prices, values = carry
        hold = discount * (p * jnp.roll(values, -1) + (1.0 - p) * values)
        prices = prices * up
        return (prices, jnp.maximum(strike - prices, hold)), None

    start = prices, jnp.maximum(strike - prices, 0.0)
    return jax.lax.scan(step, start, None, STEPS)[0][1][0]


def american_by_hand(m: Any, spot: Any, strike: Any, vol: Any) -> Any:
    """The same without branches."""
    up = m.exp(vol * m.sqrt(1.0 / STEPS))
    p = (m.exp(0.05 / STEPS) - 1.0 / up) / (up - 1.0 / up)
    discount = m.exp(-0.05 / STEPS)
    prices = m.array([spot * up ** (2 * j - STEPS) for j in range(STEPS + 1)])
    values = m.array_maximum(strike - prices, 0.0)
    for _ in range(STEPS):
        prices = prices[:-1] * up
        hold = discount * (p * values[1:] + (1.0 - p) * values[:-1])
        values = m.array_maximum(strike - prices, hold)
    return values[0]


def bounce(height: Any, kept: Any) -> Any:
    """The height of a ball that bounces."""
    y, v = height, 0.0
    for _ in range(400):
        v = v - 9.81 * 0.01
        y = y + 0.01 * v
        if y < 0.0:
            y = -kept * y
            v = -kept * v
    return y


def bounce_by_hand(m: Any, height: Any, kept: Any) -> Any:
    """The same without branches."""

    def step(carry: Any) -> Any:
        y, v = carry
        v = v - 9.81 * 0.01
        y = y + 0.01 * v
        below = y < 0.0
        return m.where(below, -kept * y, y), m.where(below, -kept * v, v)

    return m.repeat(step, (height, 0.0 * height), 400)[0]


def thermostat(start: Any, power: Any, leak: Any) -> Any:
    """The temperature in a room with a heater that is on below 19 and off above 21 degrees."""
    t, heating = start, 0.0
    for _ in range(300):
        if t < 19.0:
            heating = 1.0
        elif t > 21.0:
            heating = 0.0
        t = t + 0.05 * (heating * power - leak * (t - 5.0))
    return t


def thermostat_by_hand(m: Any, start: Any, power: Any, leak: Any) -> Any:
    """The same without branches."""

    def step(carry: Any) -> Any:
        t, heating = carry
        heating = m.where(t < 19.0, 1.0, m.where(t > 21.0, 0.0, heating))
        return t + 0.05 * (heating * power - leak * (t - 5.0)), heating

    return m.repeat(step, (start, 0.0 * start), 300)[0]


def quickselect(values: Any) -> Any:
    """The median of nine values."""
    k, rest = 4, list(values)
    while True:
        pivot, others = rest[0], rest[1:]
        low = [x for x in others if x < pivot]
        if k == len(low):
            return pivot
        if k < len(low):
            rest = low
        else:
            k, rest = k - len(low) - 1, [x for x in others if not x < pivot]


def quickselect_by_hand(m: Any, values: Any) -> Any:
    """The same without branches."""
    return m.sort(values)[4]


def softmax_loss(weights: Any, inputs: Any, targets: Any) -> Any:
    """The cross-entropy of a softmax that subtracts the largest; targets are 0 or 1."""
    total = 0.0
    for x, t in zip(inputs, targets, strict=True):
        y = [sum(w * a for w, a in zip(row, x, strict=True)) for row in weights]
        largest = max(y)
        z = log(sum(exp(a - largest) for a in y)) + largest
        total = total + sum(b * (z - a) for a, b in zip(y, t, strict=True))
    return total / len(inputs)


def softmax_loss_in_jax(jax: Any, weights: Any, inputs: Any, targets: Any) -> Any:
    """The same on arrays."""
    y = inputs @ weights.T
    z = jax.nn.logsumexp(y, axis=1, keepdims=True)
    return (targets * (z - y)).sum() / len(inputs)


def softmax_loss_by_hand(m: Any, weights: Any, inputs: Any, targets: Any) -> Any:
    """The same without branches."""

    def step(total: Any, x: Any, t: Any) -> Any:
        y = [sum(w * a for w, a in zip(row, x, strict=True)) for row in weights]
        largest = y[0]
        for a in y[1:]:
            largest = m.maximum(largest, a)
        z = m.log(sum(m.exp(a - largest) for a in y)) + largest
        return total + sum(b * (z - a) for a, b in zip(y, t, strict=True))

    return m.scan(step, 0.0, inputs, targets) / len(inputs)


def heston(spot: Any, v: Any, kappa: Any, xi: Any, z1: Any, z2: Any) -> Any:
    """A call in Heston's model, its variance cut off at 0."""
    dt = 1.0 / 52
    for a, b in zip(z1, z2, strict=True):
        root = sqrt(max(v, 0.0) * dt)
        spot = spot * exp(root * a - 0.5 * root * root)
        v = v + kappa * (0.04 - max(v, 0.0)) * dt + xi * root * (0.8 * b - 0.6 * a)
    return max(spot - 100.0, 0.0)


def heston_by_hand(m: Any, spot: Any, v: Any, kappa: Any, xi: Any, z1: Any, z2: Any) -> Any:
    """The same without branches."""
    dt = 1.0 / 52

    def step(carry: Any, a: Any, b: Any) -> Any:
        spot, v = carry
        held = m.where(v > 0.0, v, 1.0)  # the root of 0 has no slope
        root = m.where(v > 0.0, m.sqrt(held * dt), 0.0)
        spot = spot * m.exp(root * a - 0.5 * root * root)
        v = v + kappa * (0.04 - m.maximum(v, 0.0)) * dt + xi * root * (0.8 * b - 0.6 * a)
        return spot, v

    return m.maximum(m.scan(step, (spot, v), z1, z2)[0] - 100.0, 0.0)


def warping(xs: Any, ys: Any) -> Any:
    """The distance of two series by dynamic time warping."""
    before = [0.0] + [1e9] * len(ys)
    for x in xs:
        row = [1e9]
        for j, y in enumerate(ys):
            row.append((x - y) * (x - y) + min(before[j], before[j + 1], row[j]))
        before = row
    return before[-1]


def table_in_jax(jax: Any, cell: Any, first: Any, xs: Any, ys: Any, edge: Any) -> Any:
    """The last entry of a table: a cell is made of x, y, and those before it, above, and left."""
    jnp: Any = jax.numpy

    def row(before: Any, given: Any) -> Any:
        x, left = given

        def entry(left: Any, column: Any) -> Any:
            y, corner, above = column
            found = cell(x, y, corner, above, left)
            return found, found

        entries = jax.lax.scan(entry, left, (ys, before[:-1], before[1:]))[1]
        return jnp.concatenate([left[None], entries]), None

    return jax.lax.scan(row, first, (xs, edge))[0][-1]


def warping_in_jax(jax: Any, xs: Any, ys: Any) -> Any:
    """Two loops, one in the other."""
    jnp: Any = jax.numpy

    def cell(x: Any, y: Any, corner: Any, above: Any, left: Any) -> Any:
        return (x - y) * (x - y) + jnp.minimum(jnp.minimum(corner, above), left)

    first = jnp.full(len(ys) + 1, 1e9).at[0].set(0.0)
    return table_in_jax(jax, cell, first, xs, ys, jnp.full(len(xs), 1e9))


def edits_in_jax(jax: Any, insert: Any, remove: Any, scale: Any, xs: Any, ys: Any) -> Any:
    """Likewise."""
    jnp: Any = jax.numpy

    def cell(x: Any, y: Any, corner: Any, above: Any, left: Any) -> Any:
        change = jnp.minimum(scale * jnp.abs(x - y), 2.0)
        return jnp.minimum(corner + change, jnp.minimum(above + remove, left + insert))

    first = jnp.arange(len(ys) + 1.0) * insert
    return table_in_jax(jax, cell, first, xs, ys, (jnp.arange(len(xs)) + 1.0) * remove)


def warping_by_hand(m: Any, xs: Any, ys: Any) -> Any:
    """The same without branches."""
    before = [0.0] + [1e9] * len(ys)
    for i in range(len(xs)):
        row = [1e9]
        for j in range(len(ys)):
            d = xs[i] - ys[j]
            row.append(d * d + m.minimum(m.minimum(before[j], before[j + 1]), row[j]))
        before = row
    return before[-1]


def edits(insert: Any, remove: Any, scale: Any, xs: Any, ys: Any) -> Any:
    """An edit distance of series of numbers: a replacement costs what they differ by, at most 2."""
    before = [j * insert for j in range(len(ys) + 1)]
    for i, x in enumerate(xs):
        row = [(i + 1) * remove]
        for j, y in enumerate(ys):
            change = min(scale * abs(x - y), 2.0)
            row.append(min(before[j] + change, before[j + 1] + remove, row[j] + insert))
        before = row
    return before[-1]


def edits_by_hand(m: Any, insert: Any, remove: Any, scale: Any, xs: Any, ys: Any) -> Any:
    """The same without branches."""
    before = [j * insert for j in range(len(ys) + 1)]
    for i in range(len(xs)):
        row = [(i + 1) * remove]
        for j in range(len(ys)):
            change = m.minimum(scale * abs(xs[i] - ys[j]), 2.0)
            gap = m.minimum(before[j + 1] + remove, row[j] + insert)
            row.append(m.minimum(before[j] + change, gap))
        before = row
    return before[-1]


def convolved(kernel: Any, image: Any) -> Any:
    """Sums of a kernel of three by three times each piece of an image."""
    return [
        [(image[i : i + 3, j : j + 3] * kernel).sum() for j in range(image.shape[1] - 2)]
        for i in range(image.shape[0] - 2)
    ]


def cnn(kernel: Any, dense: Any, image: Any) -> Any:
    """A convolution, the largest of each four, and a dense unit."""
    out = convolved(kernel, image)
    total = 0.0
    for i in range(0, len(out), 2):
        for j in range(0, len(out[0]), 2):
            largest = max(out[i][j], out[i][j + 1], out[i + 1][j], out[i + 1][j + 1])
            if largest > 0.0:
                total = total + dense[i // 2, j // 2] * largest
    return (total - 1.0) ** 2


def cnn_amax(kernel: Any, dense: Any, image: Any) -> Any:
    """The same with NumPy's maximum of a window."""
    out = array(convolved(kernel, image))
    total = 0.0
    for i in range(0, out.shape[0], 2):
        for j in range(0, out.shape[1], 2):
            total = total + dense[i // 2, j // 2] * max(np.amax(out[i : i + 2, j : j + 2]), 0.0)
    return (total - 1.0) ** 2


def cnn_in_jax(jax: Any, kernel: Any, dense: Any, image: Any) -> Any:
    """The same on arrays."""
    jnp: Any = jax.numpy
    out = jax.scipy.signal.correlate(image, kernel, mode="valid")
    rows, columns = dense.shape
    largest = out.reshape(rows, 2, columns, 2).max((1, 3))
    return ((dense * jnp.maximum(largest, 0.0)).sum() - 1.0) ** 2


def cnn_by_hand(m: Any, kernel: Any, dense: Any, image: Any) -> Any:
    """The same without branches."""
    out = convolved(kernel, image)
    total = 0.0
    for i in range(0, len(out), 2):
        for j in range(0, len(out[0]), 2):
            above, below = m.maximum(out[i][j], out[i][j + 1]), out[i + 1][j]
            largest = m.maximum(m.maximum(above, below), out[i + 1][j + 1])
            total = total + dense[i // 2, j // 2] * m.maximum(largest, 0.0)
    return (total - 1.0) ** 2


def implicit(y: Any, rate: Any, load: Any) -> Any:
    """Implicit Euler steps of y' = load - rate y³, each by Newton's method."""
    for _ in range(50):
        old = y
        change = 1.0
        while abs(change) > 1e-12:
            change = (y - old - 0.1 * (load - rate * y**3)) / (1.0 + 0.3 * rate * y * y)
            y = y - change
    return y


def implicit_by_hand(m: Any, y: Any, rate: Any, load: Any) -> Any:
    """The same without branches."""

    def step(y: Any) -> Any:
        old = y
        for _ in range(8):
            y = y - (y - old - 0.1 * (load - rate * y**3)) / (1.0 + 0.3 * rate * y * y)
        return y

    return m.repeat(step, y, 50)


FLATTENING = 1.0 / 298.257223563
EQUATOR = 6378137.0


def vincenty(lat1: Any, lon1: Any, lat2: Any, lon2: Any) -> Any:
    """The distance of two points on the globe by Vincenty's formula, until it converges."""
    f = FLATTENING
    u1, u2 = (1 - f) * tan(lat1), (1 - f) * tan(lat2)
    c1, c2 = 1 / sqrt(1 + u1 * u1), 1 / sqrt(1 + u2 * u2)
    s1, s2 = u1 * c1, u2 * c2
    lam = lon2 - lon1
    before = lam + 1.0
    while abs(lam - before) > 1e-12:
        before = lam
        a, b = c2 * sin(lam), c1 * s2 - s1 * c2 * cos(lam)
        sin_s, cos_s = sqrt(a * a + b * b), s1 * s2 + c1 * c2 * cos(lam)
        sigma = atan2(sin_s, cos_s)
        sin_a = c1 * c2 * sin(lam) / sin_s
        cos2 = 1 - sin_a * sin_a
        mid = cos_s - 2 * s1 * s2 / cos2
        c = f / 16 * cos2 * (4 + f * (4 - 3 * cos2))
        inner = mid + c * cos_s * (2 * mid * mid - 1)
        lam = lon2 - lon1 + (1 - c) * f * sin_a * (sigma + c * sin_s * inner)
    return EQUATOR * (1 - f) * sigma * (1 + cos2 * f / 2)


def vincenty_by_hand(m: Any, lat1: Any, lon1: Any, lat2: Any, lon2: Any) -> Any:
    """The same without branches."""
    f = FLATTENING
    u1, u2 = (1 - f) * m.tan(lat1), (1 - f) * m.tan(lat2)
    c1, c2 = 1 / m.sqrt(1 + u1 * u1), 1 / m.sqrt(1 + u2 * u2)
    s1, s2 = u1 * c1, u2 * c2

    def step(carry: Any) -> Any:
        lam, before, sigma, cos2 = carry
        go_on = abs(lam - before) > 1e-12
        a, b = c2 * m.sin(lam), c1 * s2 - s1 * c2 * m.cos(lam)
        sin_s, cos_s = m.sqrt(a * a + b * b), s1 * s2 + c1 * c2 * m.cos(lam)
        new_sigma = m.atan2(sin_s, cos_s)
        sin_a = c1 * c2 * m.sin(lam) / sin_s
        new_cos2 = 1 - sin_a * sin_a
        mid = cos_s - 2 * s1 * s2 / new_cos2
        c = f / 16 * new_cos2 * (4 + f * (4 - 3 * new_cos2))
        inner = mid + c * cos_s * (2 * mid * mid - 1)
        new = lon2 - lon1 + (1 - c) * f * sin_a * (new_sigma + c * sin_s * inner)
        return (
            m.where(go_on, new, lam),
            m.where(go_on, lam, before),
            m.where(go_on, new_sigma, sigma),
            m.where(go_on, new_cos2, cos2),
        )

    lam = lon2 - lon1
    _, _, sigma, cos2 = m.repeat(step, (lam, lam + 1.0, 0.0 * lam, 0.0 * lam), 20)
    return EQUATOR * (1 - f) * sigma * (1 + cos2 * f / 2)


@dataclass
class Program:
    """A program, twice, and what it runs on.

    Attributes:
        branching: as it is written with branches.
        by_hand: without.
        lanes: how many points.
        inputs: makes arguments of so many lanes; those that all share come first.
        shared: how many all lanes share.
        by: the arguments by which it is differentiated.
        in_jax: without branches as one writes it in JAX, which comes first of its arguments; by
            default the one by hand.
        steps: how many steps of gradient descent by the first argument a call takes.
    """

    branching: Callable[..., Any]
    by_hand: Callable[..., Any]
    lanes: int
    inputs: Inputs
    shared: int
    by: tuple[int, ...] = field(default=(0, 1, 2))
    in_jax: Callable[..., Any] | None = None
    steps: int = 1


def _normal(*shape: int) -> Callable[[np.random.Generator, int], Any]:
    return lambda random, lanes: random.normal(size=(lanes, *shape))


def _between(low: float, high: float, *shape: int) -> Callable[[np.random.Generator, int], Any]:
    return lambda random, lanes: random.uniform(low, high, size=(lanes, *shape))


def _inputs(*parts: Any) -> Inputs:
    """Numbers that all lanes share, and what makes numbers for each."""
    return lambda random, lanes: [x(random, lanes) if callable(x) else x for x in parts]


def _classes(random: np.random.Generator, lanes: int) -> Any:
    return np.eye(3)[random.integers(0, 3, 40)][None]


def _softmax(steps: int) -> Program:
    inputs = _inputs(_normal(3, 5), _normal(40, 5), _classes)
    given = softmax_loss, softmax_loss_by_hand, 1, inputs, 0, (0,), softmax_loss_in_jax
    return Program(*given, steps)


def _network(branching: Callable[..., Any]) -> Program:
    inputs = _inputs(_normal(3, 3), _normal(4, 4), _normal(10, 10))
    return Program(branching, cnn_by_hand, 64, inputs, 0, (0, 1), cnn_in_jax)


PROGRAMS = {
    "walk": Program(walk, walk_by_hand, 8192, _inputs(0.1, 0.05, 0.2, _normal(252)), 3),
    "knock-out": Program(
        knock_out, knock_out_by_hand, 8192, _inputs(100.0, 100.0, 0.2, _normal(252)), 3
    ),
    "jump diffusion": Program(
        jump_diffusion,
        jump_diffusion_by_hand,
        8192,
        _inputs(100.0, 0.2, -0.1, _normal(100), _between(0.0, 1.0, 100), _normal(100)),
        3,
    ),
    "regime GARCH": Program(
        garch, garch_by_hand, 512, _inputs(0.05, 0.1, 0.8, 0.1, _normal(250)), 4, (0, 1, 2, 3)
    ),
    "American option": Program(
        american,
        american_by_hand,
        256,
        _inputs(_between(80, 120), _between(80, 120), _between(0.1, 0.4)),
        0,
        in_jax=american_in_jax,
    ),
    "bouncing ball": Program(
        bounce, bounce_by_hand, 1024, _inputs(_between(1.0, 2.0), _between(0.6, 0.9)), 0, (0, 1)
    ),
    "thermostat": Program(
        thermostat,
        thermostat_by_hand,
        1024,
        _inputs(_between(10.0, 25.0), _between(8.0, 14.0), _between(0.3, 0.5)),
        0,
    ),
    "quickselect": Program(quickselect, quickselect_by_hand, 1024, _inputs(_normal(9)), 0, (0,)),
    "stable softmax": _softmax(1),
    "softmax, 200 steps": _softmax(200),
    "Heston": Program(
        heston,
        heston_by_hand,
        2048,
        _inputs(100.0, 0.04, 1.5, 0.5, _normal(52), _normal(52)),
        4,
        (0, 1, 2, 3),
    ),
    "time warping": Program(
        warping, warping_by_hand, 64, _inputs(_normal(20), _normal(20)), 0, (0, 1), warping_in_jax
    ),
    "edit distance": Program(
        edits,
        edits_by_hand,
        64,
        _inputs(1.0, 1.1, 0.9, _normal(16), _normal(16)),
        3,
        in_jax=edits_in_jax,
    ),
    "CNN": _network(cnn),
    "CNN, amax": _network(cnn_amax),
    "implicit steps": Program(
        implicit,
        implicit_by_hand,
        256,
        _inputs(_between(0.5, 2.0), _between(0.5, 3.0), _between(-1.0, 1.0)),
        0,
    ),
    "geodesics": Program(
        vincenty,
        vincenty_by_hand,
        256,
        _inputs(_between(-1.2, 1.2), _between(-1, 0), _between(-1.2, 1.2), _between(0.2, 1)),
        0,
        (0, 1, 2, 3),
    ),
}
