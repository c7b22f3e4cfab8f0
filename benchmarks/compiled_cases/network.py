"""A small network, 2-16-16-1 with tanh: the gradient of the mean squared error of 100 samples."""

from __future__ import annotations

import math
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np

from compiled_cases.common import Array, Build, Case, Peer, Program, Setting, flat

WIDTHS = (2, 16, 16, 1)
SEED = 5


def weights() -> list[tuple[Array, Array]]:
    """The layers' weights, a row for each neuron, and biases."""
    random = np.random.default_rng(SEED)
    return [
        (random.normal(0.0, 1.0 / math.sqrt(fan_in), (width, fan_in)), random.normal(size=width))
        for fan_in, width in pairwise(WIDTHS)
    ]


def parameters() -> Array:
    """All of them in one array: each layer's weights, then its biases."""
    return joined(weights())


def joined(layers: Any) -> Array:
    """Nested arrays, one after the other."""
    return np.concatenate(flat(layers))


def samples(size: int) -> tuple[Array, Array]:
    """Inputs, a row for each sample, and targets."""
    inputs = np.random.default_rng(SEED + 1).uniform(-1.0, 1.0, (size, WIDTHS[0]))
    return inputs, np.sin(3.0 * inputs[:, 0]) * inputs[:, 1]


def by_hand(layers: list[tuple[Array, Array]], inputs: Array, targets: Array) -> list[Any]:
    """The gradient, layer by layer."""
    values = [inputs]
    for weight, bias in layers[:-1]:
        values.append(np.tanh(values[-1] @ weight.T + bias))
    weight, bias = layers[-1]
    output_bar = (values[-1] @ weight.T + bias - targets[:, None]) * (2.0 / len(targets))
    gradient: list[Any] = []
    for i in reversed(range(len(layers))):
        gradient.append((output_bar.T @ values[i], output_bar.sum(axis=0)))
        if i > 0:
            output_bar = (output_bar @ layers[i][0]) * (1.0 - values[i] * values[i])
    return gradient[::-1]


def expected(size: int) -> list[Array]:
    """The right gradient, in one array."""
    return [joined(by_hand(weights(), *samples(size)))]


def load_chainrule(setting: Setting) -> Build:
    """chainrule: scalars in Python loops; the mean over samples is of ``vmap``."""
    chainrule: Any = import_module("chainrule")
    cm: Any = import_module("chainrule.math")
    inputs, targets = samples(setting.size)
    start = parameters()

    def loss(parameters: Any, inputs: Any, target: Any) -> Any:
        values, at = list(inputs), 0
        for layer, width in enumerate(WIDTHS[1:], start=2):
            fan_in, biases = len(values), at + len(values) * width
            sums = []
            for neuron in range(width):
                total = parameters[biases + neuron]
                for i, value in enumerate(values):
                    total = total + parameters[at + neuron * fan_in + i] * value
                sums.append(total)
            values = sums if layer == len(WIDTHS) else [cm.tanh(total) for total in sums]
            at = biases + width
        return (values[0] - target) ** 2

    def build() -> Program:
        mean = chainrule.vmap(loss, in_axes=(None, 0, 0), reduce="mean")
        compiled = chainrule.compile(chainrule.grad(mean))
        return Program(lambda: compiled(start, inputs, targets), stats=compiled.stats)

    return build


def load_numpy(setting: Setting) -> Build:
    """NumPy: backpropagation by hand."""
    layers, (inputs, targets) = weights(), samples(setting.size)
    return lambda: Program(lambda: by_hand(layers, inputs, targets), lambda got: [joined(got)])


def load_jax(setting: Setting) -> Build:
    """JAX on arrays."""
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    layers, inputs, targets = jax.tree.map(jnp.asarray, (weights(), *samples(setting.size)))

    def loss(layers: Any, inputs: Any, targets: Any) -> Any:
        values = inputs
        for weight, bias in layers[:-1]:
            values = jnp.tanh(values @ weight.T + bias)
        weight, bias = layers[-1]
        return jnp.mean(((values @ weight.T + bias)[:, 0] - targets) ** 2)

    def build() -> Program:
        compiled = jax.jit(jax.grad(loss))
        return Program(
            lambda: jax.block_until_ready(compiled(layers, inputs, targets)),
            lambda got: [joined(got)],
        )

    return build


def load_torch(setting: Setting) -> Build:
    """PyTorch on tensors."""
    torch: Any = import_module("torch")
    inputs, targets = (torch.from_numpy(array) for array in samples(setting.size))
    layers = [[torch.from_numpy(array).requires_grad_() for array in layer] for layer in weights()]
    leaves = [leaf for layer in layers for leaf in layer]

    def run() -> Any:
        values = inputs
        for weight, bias in layers[:-1]:
            values = torch.tanh(torch.nn.functional.linear(values, weight, bias))
        values = torch.nn.functional.linear(values, *layers[-1])
        loss = torch.mean((values[:, 0] - targets) ** 2)
        return torch.autograd.grad(loss, leaves)

    return lambda: Program(run, lambda got: [joined(got)])


def load_micrograd(setting: Setting) -> Build:
    """micrograd's scalars, with a tanh in its own style, as it has none."""
    value: Any = import_module("micrograd.engine").Value
    inputs, targets = samples(setting.size)
    leaves = [value(number) for number in parameters()]

    def tanh(x: Any) -> Any:
        out = value(math.tanh(x.data), (x,), "tanh")

        def backward() -> None:
            x.grad += (1.0 - out.data**2) * out.grad

        out._backward = backward
        return out

    def output(sample: Any) -> Any:
        numbers = iter(leaves)
        values: list[Any] = list(sample)
        for layer, width in enumerate(WIDTHS[1:], start=2):
            rows = [[next(numbers) for _ in values] for _ in range(width)]
            sums = [
                sum((w * x for w, x in zip(row, values, strict=True)), next(numbers))
                for row in rows
            ]
            values = sums if layer == len(WIDTHS) else [tanh(total) for total in sums]
        return values[0]

    def run() -> Any:
        for leaf in leaves:
            leaf.grad = 0.0
        errors = [(output(x) - y) ** 2 for x, y in zip(inputs, targets, strict=True)]
        (sum(errors) * (1.0 / setting.size)).backward()
        return [leaf.grad for leaf in leaves]

    return lambda: Program(run, lambda got: [np.array(got)])


CASE = Case(
    title="A network 2-16-16-1 with tanh, gradient of the mean loss",
    expected=expected,
    peers={
        "chainrule": Peer("chainrule", "chainrule", load_chainrule),
        "numpy": Peer("NumPy, backpropagation by hand", "numpy", load_numpy),
        "jax": Peer("JAX", "jax", load_jax),
        "torch": Peer("PyTorch", "torch", load_torch),
        "micrograd": Peer("micrograd", "micrograd", load_micrograd),
    },
    size_name="samples",
    sizes=(100,),
    unit="sample",
    units=lambda size: size,
)
