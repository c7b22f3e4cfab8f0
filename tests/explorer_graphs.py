"""The graphs in which the explorer is looked at and measured."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

from chainrule import Node, Recording, TrainingSet, group, record_lines


def dense_unit() -> Node:
    """A tanh unit of two weights on two inputs."""
    w0, w1, b = Node(-0.7, name="w0"), Node(0.4, name="w1"), Node(0.3, name="b")
    x0, x1 = Node(1.5, name="x0"), Node(2.0, name="x1")
    y: Node = (w0 * x0 + w1 * x1 + b).tanh()
    y.name = "y"
    return y


Layers = list[list[tuple[list[Node], Node]]]


def weights(sizes: tuple[int, ...], spread: float = 0.7, *, named: bool = True) -> Layers:
    """The leaves of a network: by layer and neuron, weights and bias."""
    rng = random.Random(1)
    return [
        [
            (
                [
                    Node(rng.gauss(0, spread), name=f"w{i},{j}" if named else None)
                    for j in range(before)
                ],
                Node(rng.uniform(-1, 1), name=f"b{i}" if named else None),
            )
            for i in range(size)
        ]
        for before, size in itertools.pairwise(sizes)
    ]


def output(layers: Layers, values: list[Node]) -> Node:
    """The network's output, in groups of layers and neurons."""
    for number, layer in enumerate(layers, start=1):
        with group(f"layer {number}"):
            outputs = []
            for i, (ws, total) in enumerate(layer, start=1):
                with group(f"neuron {i}"):
                    for w, value in zip(ws, values, strict=True):
                        total = total + w * value
                    outputs.append(total.tanh())
            values = outputs
    return values[0]


def network(sizes: tuple[int, ...] = (2, 16, 16, 1), spread: float = 0.7) -> Node:
    """The squared error of a network on one sample."""
    values = [Node(0.5 - 0.9 * i, name=f"x{i}") for i in range(sizes[0])]
    with_loss = output(weights(sizes, spread), values)
    with group("loss"):
        loss: Node = (with_loss - 0.3) ** 2
        loss.name = "loss"
    return loss


SAMPLES = [((0.5, -0.4), 1.0), ((-1.0, 0.8), -1.0), ((0.2, 1.5), 1.0)]


def batch(sizes: tuple[int, ...] = (2, 3, 1)) -> Node:
    """The mean squared error of a network on three samples."""
    layers = weights(sizes)
    total = Node(0.0)
    for number, (point, target) in enumerate(SAMPLES, start=1):
        with group(f"sample {number}"):
            values = [Node(x, name=f"x{i}") for i, x in enumerate(point)]
            total = total + (output(layers, values) - target) ** 2
    loss: Node = total / len(SAMPLES)
    loss.name = "loss"
    return loss


def wide_neuron() -> Node:
    """A neuron of sixteen inputs."""
    rng = random.Random(3)
    total = Node(0.1, name="b")
    for i in range(16):
        total = total + Node(rng.gauss(0, 0.5), name=f"w{i}") * Node(
            rng.uniform(-1, 1), name=f"x{i}"
        )
    y: Node = total.tanh()
    y.name = "y"
    return y


def loop(steps: int = 252) -> Node:
    """The price of a share after that many days."""
    rng = random.Random(4)
    rate, volatility = Node(0.02, name="rate"), Node(0.2, name="volatility")
    price = Node(100.0, name="start")
    for _ in range(steps):
        shock = rng.gauss(0, 1) / math.sqrt(steps)
        price = price * (1 + rate / steps + volatility * shock)
    price.name = "price"
    return price


def lost() -> Node:
    """A loss that is not a number: the square root of a little less than 0."""
    layers = weights((2, 3, 1))
    y = output(layers, [Node(0.5, name="x0"), Node(-0.4, name="x1")])
    with group("loss"):
        loss: Node = (y - 1.0).log() + (y * y - y).sqrt()
    loss.name = "loss"
    return loss


def trained() -> tuple[Node, Recording]:
    """A dense unit after thirty steps of training, with their recording."""
    w, b, x = Node(-0.7, name="w"), Node(0.3, name="b"), Node(1.5, name="x")

    def compute() -> Node:
        loss: Node = ((w * x + b).tanh() - 0.5) ** 2
        loss.name = "loss"
        return loss

    recording = Recording([w, b])
    for _ in range(30):
        loss = compute()
        w.grad = b.grad = 0.0
        loss.backward()
        recording.record(loss)
        for weight in (w, b):
            weight.data -= 0.1 * weight.grad
    return compute(), recording


def practised(sizes: tuple[int, ...] = (2, 3, 1)) -> tuple[Node, TrainingSet]:
    """The loss of a network on one point, and points to train on."""
    x = [Node(0.5, name=f"x{i}") for i in range(sizes[0])]
    target = Node(1.0, name="target")
    y = output(weights(sizes), x)
    with group("loss"):
        loss: Node = (y - target) ** 2
        loss.name = "loss"
    rng = random.Random(6)
    rows = [[rng.uniform(-1, 1) for _ in x] for _ in range(12)]
    points = [[*row, 1.0 if sum(row) > 0 else -1.0] for row in rows]
    return loss, TrainingSet(x, target, points, output=y)


def unannotated() -> Node:
    """A script that names nothing, its lines recorded."""
    with record_lines():
        w0, w1 = Node(-0.7), Node(0.4)
        b = Node(0.3)
        x = [Node(1.5), Node(2.0)]
        y = (w0 * x[0] + w1 * x[1] + b).tanh()
        loss: Node = (y - 1) ** 2
    return loss


GRAPHS: dict[str, Callable[[], Node]] = {
    "dense unit": dense_unit,
    "2-3-1 on three samples": batch,
    "2-16-16-1": network,
    "neuron of 16": wide_neuron,
    "loop of 252": loop,
    "NaN": lost,
    "unannotated": unannotated,
}
