"""A character-level transformer of scalars and lists learns names, then invents some.

Embedding, causal attention with four heads, RMS normalisation, a multilayer perceptron and Adam:
loops over lists of numbers, nothing else. The same functions run eagerly on floats and nodes, and
compiled, a name a lane.

What makes it hard to compile once: names have different lengths, and tokens look up rows of a
table. Here the tokens are an array of whole numbers, so that a look-up is a gather at run time
with the token as data; and the names of a batch have one length, so that there is one kernel for
each length that occurs, and none for each name. The weights are one flat array, an argument, and
their gradient is one too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from chainrule import Node, compile, nn, take, value_and_grad, vmap
from chainrule.math import dot, exp, maximum, relu, stop_gradient


class Shape(NamedTuple):
    """The sizes of a transformer."""

    letters: int
    longest: int
    width: int = 16
    heads: int = 4
    layers: int = 1


Matrix = list[list[Any]]


class Weights:
    """The numbers of a flat array, handed out as matrices in a fixed order."""

    def __init__(self, shape: Shape, flat: Any) -> None:
        numbers = iter(list(flat))
        width = shape.width

        def matrix(rows: int, columns: int) -> Matrix:
            return [[next(numbers) for _ in range(columns)] for _ in range(rows)]

        self.tokens = matrix(shape.letters, width)
        self.positions = matrix(shape.longest, width)
        self.layers = [
            {
                "query": matrix(width, width),
                "key": matrix(width, width),
                "value": matrix(width, width),
                "out": matrix(width, width),
                "up": matrix(4 * width, width),
                "down": matrix(width, 4 * width),
            }
            for _ in range(shape.layers)
        ]
        self.head = matrix(shape.letters, width)


def count_of(shape: Shape) -> int:
    """How many weights there are."""
    width = shape.width
    return width * (2 * shape.letters + shape.longest) + shape.layers * 12 * width * width


def times(matrix: Matrix, x: list[Any]) -> list[Any]:
    """A matrix times a vector."""
    return [dot(row, x) for row in matrix]


def plus(x: list[Any], y: list[Any]) -> list[Any]:
    """The sum of two vectors."""
    return [a + b for a, b in zip(x, y, strict=True)]


def normalised(x: list[Any]) -> list[Any]:
    """A vector scaled so that the mean square of its elements is 1."""
    scale = (dot(x, x) / len(x) + 1e-5) ** -0.5
    return [scale * a for a in x]


def softmax(xs: list[Any]) -> list[Any]:
    """Shares that add up to 1."""
    largest = stop_gradient(reduce(maximum, xs))
    powers = [exp(x - largest) for x in xs]
    total = sum(powers[1:], powers[0])
    return [p / total for p in powers]


def outputs(shape: Shape, flat: Any, tokens: Any) -> Iterator[list[Any]]:
    """For each token of a name the logits of the one that follows."""
    weights = Weights(shape, flat)
    size = shape.width // shape.heads
    keys: list[list[list[Any]]] = [[] for _ in weights.layers]
    values: list[list[list[Any]]] = [[] for _ in weights.layers]
    for position, token in enumerate(tokens):
        x = normalised(plus(list(take(weights.tokens, token)), weights.positions[position]))
        for layer, past_keys, past_values in zip(weights.layers, keys, values, strict=True):
            y = normalised(x)
            query = times(layer["query"], y)
            past_keys.append(times(layer["key"], y))
            past_values.append(times(layer["value"], y))
            gathered: list[Any] = []
            for head in range(shape.heads):
                own = slice(head * size, (head + 1) * size)
                scores = [dot(query[own], key[own]) * size**-0.5 for key in past_keys]
                shares = softmax(scores)
                columns = zip(*[value[own] for value in past_values], strict=True)
                gathered.extend(dot(shares, column) for column in columns)
            x = plus(x, times(layer["out"], gathered))
            hidden = [relu(a) for a in times(layer["up"], normalised(x))]
            x = plus(x, times(layer["down"], hidden))
        yield times(weights.head, x)


def losses(shape: Shape) -> Any:
    """The loss of a name: the mean cross-entropy of its letters, its end included."""

    def loss(flat: Any, tokens: Any) -> Any:
        terms = [
            nn.cross_entropy(logits, following)
            for logits, following in zip(outputs(shape, flat, tokens[:-1]), tokens[1:], strict=True)
        ]
        return sum(terms[1:], terms[0]) / len(terms)

    return loss


def eager_step(shape: Shape, flat: Any, batch: Any) -> tuple[float, Any]:
    """The mean loss of some names and its gradient, on nodes."""
    weights = [Node(value) for value in flat]
    loss = losses(shape)
    mean = sum(loss(weights, tokens) for tokens in batch.tolist()) / len(batch)
    mean.backward()
    return mean.data, np.array([weight.grad for weight in weights])


class Names:
    """Names as arrays of tokens, by length; 0 is the token before the first and after the last."""

    def __init__(self, names: Sequence[str]) -> None:
        if not names:
            raise SystemExit("there are no names of these lengths")
        self.letters = "." + "".join(sorted(set("".join(names))))
        number = {letter: i for i, letter in enumerate(self.letters)}
        rows: dict[int, list[list[int]]] = {}
        for name in names:
            rows.setdefault(len(name), []).append([0, *(number[c] for c in name), 0])
        self.by_length = {n: np.array(rows[n]) for n in sorted(rows)}
        counts = np.array([len(table) for table in self.by_length.values()])
        self.shares = counts / counts.sum()

    def batch(self, random: np.random.Generator, size: int) -> Any:
        """Names of one length; a length comes as often as it occurs."""
        length = random.choice(list(self.by_length), p=self.shares)
        table = self.by_length[int(length)]
        return table[random.integers(len(table), size=size)]


def list_of_names(file: Path | None, shortest: int, longest: int) -> list[str]:
    """Names from a file, one a line, or the first names of the package ``names``."""
    if file is not None:
        lines = file.read_text().split()
    else:
        import names

        paths = [Path(names.FILES[f"first:{kind}"]) for kind in ("female", "male")]
        lines = [line.split()[0] for path in paths for line in path.read_text().splitlines()]
    found = {line.lower() for line in lines if line.isalpha()}
    return sorted(name for name in found if shortest <= len(name) <= longest)


def invented(
    next_logits: Any, flat: Any, letters: str, longest: int, random: np.random.Generator
) -> str:
    """A name, letter by letter from the probabilities of the network."""
    tokens = [0]
    while len(tokens) <= longest:
        logits = np.array(next_logits(flat, np.array(tokens))) / 0.7  # a little less random
        shares = np.exp(logits - logits.max())
        token = int(random.choice(len(letters), p=shares / shares.sum()))
        if token == 0:
            break
        tokens.append(token)
    return "".join(letters[token] for token in tokens[1:])


def main(arguments: Sequence[str] | None = None) -> None:
    """Train eagerly for a few steps and compiled for many; invent names both ways."""
    parser = argparse.ArgumentParser(description="A transformer of scalars learns names.")
    parser.add_argument("--names", type=Path, help="a file with a name a line")
    parser.add_argument("--steps", type=int, default=2000, help="compiled steps (%(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="names a step (%(default)s)")
    parser.add_argument("--width", type=int, default=16, help="of an embedding (%(default)s)")
    parser.add_argument("--shortest", type=int, default=3, help="letters (%(default)s)")
    parser.add_argument("--longest", type=int, default=8, help="letters (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("pictures"), help="where to draw")
    options = parser.parse_args(arguments)

    names = Names(list_of_names(options.names, options.shortest, options.longest))
    shape = Shape(len(names.letters), options.longest + 1, options.width)
    random = np.random.default_rng(0)
    flat = random.normal(0.0, 0.08, count_of(shape))
    print(f"{sum(map(len, names.by_length.values())):,} names, {len(flat):,} weights")

    by_name = value_and_grad(vmap(losses(shape), in_axes=(None, 0), reduce="mean"))
    compiled = compile(by_name)

    # One step, eagerly and compiled
    few = names.by_length[min(names.by_length)][:2]
    start = time.perf_counter()
    eager_loss, eager_gradient = eager_step(shape, flat, few)
    eager = (time.perf_counter() - start) / few.size
    loss, gradient = compiled(flat, few)
    difference = np.max(np.abs(gradient - eager_gradient)) / np.max(np.abs(gradient))
    print(f"eager and compiled gradients differ by {difference:.0e}, losses by", end=" ")
    print(f"{abs(loss - eager_loss):.0e}")

    # Training
    optimizer = nn.Adam(nn.Cosine(0.01, options.steps))
    curve, seconds = [], []
    start = time.perf_counter()
    for _ in range(options.steps):
        batch = names.batch(random, options.batch)
        begin = time.perf_counter()
        loss, gradient = compiled(flat, batch)
        optimizer.update(flat, gradient)
        seconds.append((time.perf_counter() - begin) / batch.size)
        curve.append(loss)
    stats = compiled.stats()
    spent = stats.trace_seconds + stats.compile_seconds
    print(
        f"{options.steps:,} steps of {options.batch} names in {time.perf_counter() - start:.1f} s,"
    )
    print(f"  of which {spent:.1f} s for {stats.plans} kernels, one for each length")
    faster = eager / np.median(seconds)
    print(f"  a letter: {eager * 1e3:.1f} ms eagerly,", end=" ")
    print(f"{np.median(seconds) * 1e6:.1f} µs compiled: {faster:,.0f} times faster")
    tail = max(options.steps // 20, 1)
    print(f"  loss {np.mean(curve[:tail]):.3f} at first, {np.mean(curve[-tail:]):.3f} at last")

    # Invention
    def next_logits(flat: Any, tokens: Any) -> list[Any]:
        *_, last = outputs(shape, flat, tokens)
        return last

    fast = compile(next_logits)
    for title, function, number in (("eager", next_logits, 2), ("compiled", fast, 20)):
        draws = np.random.default_rng(1)
        found = [
            invented(function, flat, names.letters, options.longest, draws) for _ in range(number)
        ]
        print(f"{title}: {' '.join(found)}")

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    ax.plot(curve, alpha=0.3)
    smooth = np.convolve(curve, np.ones(tail) / tail, mode="valid")
    ax.plot(np.arange(len(smooth)) + tail // 2, smooth)
    ax.set(xlabel="step", ylabel="cross-entropy of a letter")
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "transformer.png"
    figure.savefig(path, dpi=100)
    print(f"The picture: {path}")


if __name__ == "__main__":
    main()
