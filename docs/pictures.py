"""Draws the pictures of the documentation into docs/images."""

from __future__ import annotations

import random
from pathlib import Path

from chainrule import Node, draw_graph, group, nn

IMAGES = Path(__file__).parent / "images"


def dense_unit() -> Node:
    """A ReLU unit of two weights on one input, backpropagated."""
    w0, w1, b, x = Node(-1, name="w0"), Node(2, name="w1"), Node(4, name="b"), Node(2, name="x")
    y: Node = (w0 * x + w1 * x + b).relu()
    y.backward()
    return y


def network() -> Node:
    """The squared error of a 2-4-1 network with named weights in groups, backpropagated."""
    rng = random.Random(1)
    values: list[Node] = [Node(0.5, name="x0"), Node(-1.0, name="x1")]
    for layer, size in ((1, 4), (2, 1)):
        with group(f"layer {layer}"):
            outputs = []
            for i in range(size):
                with group(f"neuron {i + 1}"):
                    total = Node(rng.uniform(-1, 1), name=f"b{i}")
                    for j, value in enumerate(values):
                        total = total + Node(rng.uniform(-1, 1), name=f"w{i}{j}") * value
                    outputs.append(total.tanh() if layer == 1 else total)
            values = outputs
    loss: Node = (values[0] - 0.3) ** 2
    loss.backward()
    return loss


def folded_network() -> Node:
    """The loss of an MLP on one sample, backpropagated."""
    loss: Node = nn.binary_cross_entropy(nn.MLP(2, [16, 16, 1], seed=0)([0.5, -1.0]), 1.0)
    loss.backward()
    return loss


def main() -> None:
    """Draw them all."""
    IMAGES.mkdir(exist_ok=True)
    draw_graph(dense_unit(), color=True, local_grads=True).save(IMAGES / "dense-unit.svg")
    draw_graph(dense_unit()).save(IMAGES / "plain.svg")
    loss = network()
    draw_graph(loss, color=True).save(IMAGES / "network.svg")
    draw_graph(loss, color=True, fold=True).save(IMAGES / "folded.svg")
    draw_graph(loss, color=True, max_depth=4).save(IMAGES / "depth.svg")
    draw_graph(folded_network(), color=True, fold=True).save(IMAGES / "network-folded.svg")


if __name__ == "__main__":
    main()
