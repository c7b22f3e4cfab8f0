"""The networks that networks.py measures, in the words of each library.

Run as a script it measures one library in this process and prints JSON; networks.py does that, in a
fresh process for every measurement::

    python networks_peers.py step chainrule small --seconds 2
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

SGD_RATE = 0.01
ADAM_RATE = 0.01
BATCH = 64
EPOCHS = 40
CHECKED_STEPS = 5


@dataclass(frozen=True)
class Network:
    """Sizes of a network, and how many samples a step has."""

    widths: tuple[int, ...]
    samples: int
    classes: bool

    @property
    def title(self) -> str:
        """Sizes and samples in words."""
        return f"{'-'.join(map(str, self.widths))} on {self.samples}"


NETWORKS = {
    "small": Network((2, 16, 16, 1), 100, False),
    "digits": Network((64, 32, 10), 64, True),
    "mnist": Network((784, 128, 10), 128, True),
}


def data_of(network: Network) -> tuple[Any, Any]:
    """Inputs and targets of one step."""
    random = np.random.default_rng(6)
    inputs = random.uniform(-1.0, 1.0, (network.samples, network.widths[0]))
    if network.classes:
        return inputs, random.integers(0, network.widths[-1], network.samples)
    return inputs, np.sin(3.0 * inputs[:, 0]) * inputs[:, 1]


def first_weights(widths: Sequence[int], seed: int = 5) -> list[Any]:
    """Weights, a row for each neuron, and biases, in turn."""
    random = np.random.default_rng(seed)
    arrays: list[Any] = []
    for n_in, n_out in pairwise(widths):
        arrays.append(random.normal(0.0, math.sqrt(1.0 / n_in), (n_out, n_in)))
        arrays.append(np.zeros(n_out))
    return arrays


class NumPy:
    """Backpropagation by hand."""

    def __init__(self, network: Network, inputs: Any, targets: Any, adam: bool = False) -> None:
        self.network = network
        self.inputs, self.targets = inputs, targets
        self.weights = first_weights(network.widths)
        self.adam = [(np.zeros_like(w), np.zeros_like(w)) for w in self.weights] if adam else None
        self.count = 0

    def outputs(self, inputs: Any) -> tuple[Any, list[Any]]:
        """Outputs and the values of all layers before."""
        values = [inputs]
        layers = len(self.weights) // 2
        for i in range(layers):
            x = values[-1] @ self.weights[2 * i].T + self.weights[2 * i + 1]
            if i == layers - 1:
                return x, values
            values.append(np.maximum(x, 0.0) if self.network.classes else np.tanh(x))
        raise AssertionError

    def step(self, index: Any = None) -> None:
        """Loss, gradients, update."""
        x = self.inputs if index is None else self.inputs[index]
        y = self.targets if index is None else self.targets[index]
        outputs, values = self.outputs(x)
        if self.network.classes:
            shifted = outputs - outputs.max(axis=1, keepdims=True)
            bar = np.exp(shifted)
            total = bar.sum(axis=1, keepdims=True)
            rows = np.arange(len(y))
            self.loss = np.mean(np.log(total[:, 0]) - shifted[rows, y])
            bar /= total
            bar[rows, y] -= 1.0
            bar /= len(y)
        else:
            error = outputs - y[:, None]
            self.loss = np.mean(error * error)
            bar = error * (2.0 / len(y))
        gradients: list[Any] = []
        for i in reversed(range(len(values))):
            gradients[:0] = [bar.T @ values[i], bar.sum(axis=0)]
            if i:
                slope = values[i] > 0 if self.network.classes else 1.0 - values[i] ** 2
                bar = (bar @ self.weights[2 * i]) * slope
        self.update(gradients)

    def update(self, gradients: list[Any]) -> None:
        """Gradient descent or Adam."""
        if self.adam is None:
            for weight, gradient in zip(self.weights, gradients, strict=True):
                weight -= SGD_RATE * gradient
            return
        self.count += 1
        scale = ADAM_RATE / (1.0 - 0.9**self.count)
        root = math.sqrt(1.0 - 0.999**self.count)
        for weight, g, (mean, square) in zip(self.weights, gradients, self.adam, strict=True):
            mean *= 0.9
            mean += 0.1 * g
            square *= 0.999
            square += 0.001 * g * g
            weight -= scale * mean / (np.sqrt(square) / root + 1e-8)

    def predicted(self, inputs: Any) -> Any:
        """The outputs."""
        return self.outputs(inputs)[0]


class Jax:
    """JAX: one compiled step."""

    def __init__(self, network: Network, inputs: Any, targets: Any, adam: bool = False) -> None:
        jax: Any = import_module("jax")
        jax.config.update("jax_enable_x64", True)
        jnp: Any = import_module("jax.numpy")
        self.weights = [jnp.asarray(w) for w in first_weights(network.widths)]
        self.inputs, self.targets = jnp.asarray(inputs), jnp.asarray(targets)
        self.jnp, self.jax = jnp, jax

        def outputs(weights: Any, x: Any) -> Any:
            for i in range(0, len(weights) - 2, 2):
                x = x @ weights[i].T + weights[i + 1]
                x = jnp.maximum(x, 0.0) if network.classes else jnp.tanh(x)
            return x @ weights[-2].T + weights[-1]

        def loss(weights: Any, x: Any, y: Any) -> Any:
            z = outputs(weights, x)
            if network.classes:
                return jnp.mean(jax.nn.logsumexp(z, axis=1) - z[jnp.arange(len(y)), y])
            return jnp.mean((z[:, 0] - y) ** 2)

        def step(weights: Any, state: Any, x: Any, y: Any) -> Any:
            value, gradients = jax.value_and_grad(loss)(weights, x, y)
            if not adam:
                moved = [w - SGD_RATE * g for w, g in zip(weights, gradients, strict=True)]
                return value, moved, state
            count, means, squares = state
            count = count + 1
            means = [0.9 * m + 0.1 * g for m, g in zip(means, gradients, strict=True)]
            squares = [0.999 * s + 0.001 * g * g for s, g in zip(squares, gradients, strict=True)]
            root = jnp.sqrt(1.0 - 0.999**count)
            moved = [
                w - ADAM_RATE / (1.0 - 0.9**count) * m / (jnp.sqrt(s) / root + 1e-8)
                for w, m, s in zip(weights, means, squares, strict=True)
            ]
            return value, moved, (count, means, squares)

        zeros = [jnp.zeros_like(w) for w in self.weights]
        self.state: Any = (0.0, zeros, zeros)
        self.compiled = jax.jit(step)
        self.predict = jax.jit(outputs)

    def step(self, index: Any = None) -> None:
        """Loss, gradients, update."""
        x = self.inputs if index is None else self.inputs[index]
        y = self.targets if index is None else self.targets[index]
        result = self.compiled(self.weights, self.state, x, y)
        self.loss, self.weights, self.state = self.jax.block_until_ready(result)

    def predicted(self, inputs: Any) -> Any:
        """The outputs."""
        return np.asarray(self.predict(self.weights, inputs))


class Torch:
    """PyTorch: a module, its optimizer, and the usual loop."""

    def __init__(self, network: Network, inputs: Any, targets: Any, adam: bool = False) -> None:
        torch: Any = import_module("torch")
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        self.torch, self.network = torch, network
        layers: list[Any] = []
        for n_in, n_out in pairwise(network.widths):
            layers += [torch.nn.Linear(n_in, n_out)]
            layers += [torch.nn.ReLU() if network.classes else torch.nn.Tanh()]
        self.model = torch.nn.Sequential(*layers[:-1])
        with torch.no_grad():
            given = first_weights(network.widths)
            for parameter, weight in zip(self.model.parameters(), given, strict=True):
                parameter.copy_(torch.from_numpy(weight))
        self.inputs, self.targets = torch.from_numpy(inputs), torch.from_numpy(targets)
        if adam:
            self.optimizer = torch.optim.Adam(self.model.parameters(), ADAM_RATE)
        else:
            self.optimizer = torch.optim.SGD(self.model.parameters(), SGD_RATE)

    def step(self, index: Any = None) -> None:
        """Loss, gradients, update."""
        functional = self.torch.nn.functional
        x = self.inputs if index is None else self.inputs[index]
        y = self.targets if index is None else self.targets[index]
        self.optimizer.zero_grad()
        z = self.model(x)
        self.loss = (
            functional.cross_entropy(z, y)
            if self.network.classes
            else functional.mse_loss(z[:, 0], y)
        )
        self.loss.backward()
        self.optimizer.step()

    @property
    def weights(self) -> list[Any]:
        """Weights and biases."""
        return [parameter.detach().numpy() for parameter in self.model.parameters()]

    def predicted(self, inputs: Any) -> Any:
        """The outputs."""
        with self.torch.no_grad():
            return self.model(self.torch.from_numpy(inputs)).numpy()


class ScikitLearn:
    """scikit-learn's MLP, a step by ``partial_fit``."""

    def __init__(self, network: Network, inputs: Any, targets: Any, adam: bool = False) -> None:
        kinds: Any = import_module("sklearn.neural_network")
        self.network, self.inputs, self.targets = network, inputs, targets
        halved = 1.0 if network.classes else 2.0  # its squared error is half of ours
        kind = kinds.MLPClassifier if network.classes else kinds.MLPRegressor
        self.model = kind(
            hidden_layer_sizes=network.widths[1:-1], alpha=0.0,
            activation="relu" if network.classes else "tanh",
            solver="adam" if adam else "sgd", momentum=0.0, shuffle=False,
            learning_rate_init=ADAM_RATE if adam else SGD_RATE * halved,
            batch_size=len(inputs) if not adam else BATCH,
        )  # fmt: skip
        self.options = {"classes": np.arange(network.widths[-1])} if network.classes else {}
        self.model.partial_fit(inputs, targets, **self.options)
        weights = first_weights(network.widths)
        for own, weight in zip(self.model.coefs_, weights[::2], strict=True):
            own[...] = weight.T
        for own, weight in zip(self.model.intercepts_, weights[1::2], strict=True):
            own[...] = weight

    def step(self, index: Any = None) -> None:
        """Loss, gradients, update."""
        x = self.inputs if index is None else self.inputs[index]
        y = self.targets if index is None else self.targets[index]
        self.model.partial_fit(x, y, **self.options)

    @property
    def weights(self) -> list[Any]:
        """Weights and biases in turn."""
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return [array for weight, bias in pairs for array in (weight.T, bias)]

    def predicted(self, inputs: Any) -> Any:
        """Probabilities."""
        return self.model.predict_proba(inputs)


class Micrograd:
    """micrograd's scalars, with a tanh in its own style, as it has none."""

    def __init__(self, network: Network, inputs: Any, targets: Any, adam: bool = False) -> None:
        if network.classes:
            raise NotImplementedError("micrograd has no logarithm")
        self.value: Any = import_module("micrograd.engine").Value
        self.inputs, self.targets = inputs.tolist(), targets.tolist()
        self.leaves = [
            np.vectorize(self.value, otypes=[object])(w) for w in first_weights(network.widths)
        ]

    def tanh(self, x: Any) -> Any:
        """The hyperbolic tangent."""
        out = self.value(math.tanh(x.data), (x,), "tanh")

        def backward() -> None:
            x.grad += (1.0 - out.data**2) * out.grad

        out._backward = backward
        return out

    def output(self, values: list[Any]) -> Any:
        """The output for a sample."""
        layers = list(zip(self.leaves[::2], self.leaves[1::2], strict=True))
        for i, (rows, biases) in enumerate(layers):
            sums = [
                sum((w * x for w, x in zip(row, values, strict=True)), bias)
                for row, bias in zip(rows, biases, strict=True)
            ]
            values = sums if i == len(layers) - 1 else [self.tanh(x) for x in sums]
        return values[0]

    def step(self, index: Any = None) -> None:
        """Loss, gradients, update."""
        every = [leaf for array in self.leaves for leaf in array.flat]
        for leaf in every:
            leaf.grad = 0.0
        pairs = zip(self.inputs, self.targets, strict=True)
        loss = sum((self.output(x) - y) ** 2 for x, y in pairs) * (1.0 / len(self.inputs))
        loss.backward()
        for leaf in every:
            leaf.data -= SGD_RATE * leaf.grad

    @property
    def weights(self) -> list[Any]:
        """Weights and biases in turn."""
        return [np.vectorize(lambda leaf: leaf.data)(array) for array in self.leaves]


class Chainrule:
    """chainrule: an MLP and ``fit``, an epoch a step."""

    def __init__(self, network: Network, inputs: Any, targets: Any, adam: bool = False) -> None:
        nn: Any = import_module("chainrule.nn")
        self.nn, self.inputs, self.targets = nn, inputs, targets
        self.model = nn.MLP(
            network.widths[0], network.widths[1:], "relu" if network.classes else "tanh", seed=0
        )
        weights = first_weights(network.widths)
        for layer, rows, biases in zip(self.model.layers, weights[::2], weights[1::2], strict=True):
            for neuron, row, bias in zip(layer.neurons, rows, biases, strict=True):
                neuron.bias.data = bias
                for node, value in zip(neuron.weights, row, strict=True):
                    node.data = value
        self.loss_name = "cross_entropy" if network.classes else "mean_squared_error"
        self.optimizer = nn.Adam(ADAM_RATE) if adam else nn.SGD(SGD_RATE)

    def steps(self, count: int) -> list[int]:
        """Nanoseconds of so many steps."""
        history = self.nn.fit(
            self.model, self.inputs, self.targets, loss=self.loss_name, optimizer=self.optimizer,
            epochs=count, batch_size=len(self.inputs), progress=False, threads=1,
        )  # fmt: skip
        return [round(1e9 * s) for s in np.diff([0.0, *history.seconds])]

    @property
    def weights(self) -> list[Any]:
        """Weights and biases in turn."""
        arrays: list[Any] = []
        for layer in self.model.layers:
            arrays.append(np.array([[w.data for w in n.weights] for n in layer.neurons]))
            arrays.append(np.array([n.bias.data for n in layer.neurons]))
        return arrays


PEERS: dict[str, tuple[str, Callable[..., Any]]] = {
    "chainrule": ("chainrule", Chainrule),
    "numpy": ("NumPy by hand", NumPy),
    "jax": ("JAX", Jax),
    "torch": ("PyTorch", Torch),
    "scikit-learn": ("scikit-learn", ScikitLearn),
    "micrograd": ("micrograd", Micrograd),
}


def timed_steps(peer: Any, count: int) -> list[int]:
    """Nanoseconds of so many steps of a library."""
    if hasattr(peer, "steps"):
        found: list[int] = peer.steps(count)
        return found
    times = []
    for _ in range(count):
        start = time.perf_counter_ns()
        peer.step()
        times.append(time.perf_counter_ns() - start)
    return times


def measure_step(library: str, name: str, seconds: float) -> dict[str, Any]:
    """Times of steps, and how far the weights are from NumPy's after the first of them."""
    network = NETWORKS[name]
    inputs, targets = data_of(network)
    start = time.perf_counter_ns()
    peer = PEERS[library][1](network, inputs, targets)
    first = timed_steps(peer, CHECKED_STEPS)
    first_ns = time.perf_counter_ns() - start
    reference = NumPy(network, inputs, targets)
    for _ in range(CHECKED_STEPS):
        reference.step()
    difference = max(
        float(np.max(np.abs(a - b)) / np.max(np.abs(b)))
        for a, b in zip(peer.weights, reference.weights, strict=True)
    )
    count = int(min(max(5, seconds / (min(first) * 1e-9)), 20_000))
    return {
        "first_ns": first_ns,
        "steps_ns": timed_steps(peer, count),
        "difference": difference,
        "version": version("numpy" if library == "numpy" else library),
    }


def digits() -> tuple[Any, Any, Any, Any]:
    """Training inputs, held-out inputs and the labels of both."""
    datasets: Any = import_module("sklearn.datasets")
    selection: Any = import_module("sklearn.model_selection")
    images, labels = datasets.load_digits(return_X_y=True)
    split: tuple[Any, Any, Any, Any] = selection.train_test_split(
        images / 16.0, labels, test_size=0.2, random_state=0, stratify=labels
    )
    return split


def measure_accuracy(library: str, seed: int) -> dict[str, Any]:
    """Held-out accuracy after each epoch of Adam, and the seconds till then without the measuring.

    Making the network and compiling count, importing the library does not.
    """
    x, x_test, y, y_test = digits()
    network = Network((64, 32, 10), BATCH, True)
    warm = Network((3, 2, 3), 9, True)
    PEERS[library][1](warm, np.zeros((9, 3)), np.arange(9) % 3, True)  # imports
    curve: list[tuple[float, float]] = []
    apart = 0.0
    start = time.perf_counter()

    def note(outputs: Callable[[], Any]) -> None:
        nonlocal apart
        began = time.perf_counter()
        right = float(np.mean(outputs().argmax(axis=1) == y_test))
        curve.append((began - start - apart, right))
        apart += time.perf_counter() - began

    peer = PEERS[library][1](network, x, y, True)
    if isinstance(peer, Chainrule):
        predictor = peer.nn.Predictor(peer.model)
        peer.nn.fit(
            peer.model, x, y, loss="cross_entropy", optimizer=peer.optimizer, epochs=EPOCHS,
            batch_size=BATCH, seed=seed, progress=False, threads=1,
            callbacks=[lambda history, model: note(lambda: predictor(x_test))],
        )  # fmt: skip
    else:
        random = np.random.default_rng(seed)
        for _ in range(EPOCHS):
            order = random.permutation(len(x))
            for begin in range(0, len(x), BATCH):
                peer.step(order[begin : begin + BATCH])
            note(lambda: peer.predicted(x_test))
    return {"curve": curve}


# The transformer of examples/transformer.py, on plain Python classes and on tensors


class Value:
    """A scalar of plain Python: the value, its operands and the local gradients."""

    __slots__ = ("data", "grad", "local", "parents")

    def __init__(self, data: float, parents: tuple[Any, ...] = (), local: Any = ()) -> None:
        self.data, self.grad = data, 0.0
        self.parents, self.local = parents, local

    def __add__(self, other: Any) -> Value:
        if not isinstance(other, Value):
            return Value(self.data + other, (self,), (1.0,))
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other: Any) -> Value:
        if not isinstance(other, Value):
            return Value(self.data * other, (self,), (other,))
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, other: float) -> Value:
        return Value(self.data**other, (self,), (other * self.data ** (other - 1),))

    __radd__, __rmul__ = __add__, __mul__

    def __sub__(self, other: Any) -> Value:
        return self.__add__(other * -1.0)

    def __truediv__(self, other: Any) -> Value:
        return self.__mul__(other**-1.0)

    def exp(self) -> Value:
        """The exponential."""
        y = math.exp(self.data)
        return Value(y, (self,), (y,))

    def log(self) -> Value:
        """The logarithm."""
        return Value(math.log(self.data), (self,), (1.0 / self.data,))

    def relu(self) -> Value:
        """The positive part."""
        return Value(max(self.data, 0.0), (self,), (float(self.data > 0),))

    def backward(self) -> None:
        """Gradients of all operands."""
        order: list[Value] = []
        seen: set[Value] = set()
        stack = [(self, False)]
        while stack:
            node, done = stack.pop()
            if done:
                order.append(node)
            elif node not in seen:
                seen.add(node)
                stack.append((node, True))
                stack.extend((parent, False) for parent in node.parents)
        self.grad = 1.0
        for node in reversed(order):
            for parent, local in zip(node.parents, node.local, strict=True):
                parent.grad += local * node.grad


def load_example() -> Any:
    """The transformer example as a module."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
    return import_module("transformer")


def on_values(example: Any, shape: Any, flat: Any, batch: Any) -> Any:
    """A step on plain classes: the loss and the gradient."""

    def largest(xs: list[Value]) -> float:
        return max(x.data for x in xs)

    example.dot = lambda xs, ys: reduce(
        lambda a, b: a + b, [x * y for x, y in zip(xs, ys, strict=True)]
    )
    example.exp, example.relu = Value.exp, Value.relu
    example.maximum = lambda a, b: a if a.data > b.data else b
    example.stop_gradient = lambda x: x.data
    example.take = lambda table, i: table[i]

    def cross_entropy(logits: list[Value], label: int) -> Value:
        top = largest(logits)
        total = reduce(lambda a, b: a + b, [(x - top).exp() for x in logits])
        return total.log() + top - logits[label]

    example.nn = type("Losses", (), {"cross_entropy": staticmethod(cross_entropy)})
    weights = [Value(x) for x in flat.tolist()]
    loss = example.losses(shape)
    terms = [loss(weights, tokens) for tokens in batch.tolist()]
    mean = reduce(lambda a, b: a + b, terms) * (1.0 / len(batch))
    mean.backward()
    return mean.data, np.array([w.grad for w in weights])


def on_tensors(torch: Any, shape: Any, flat: Any, batch: Any) -> Any:
    """A step in PyTorch's tensors, all names and heads at once: the loss and the gradient."""
    functional = torch.nn.functional
    leaf = torch.from_numpy(flat).requires_grad_()
    width, heads = shape.width, shape.heads
    start = 0

    def matrix(rows: int, columns: int) -> Any:
        nonlocal start
        part = leaf[start : start + rows * columns].view(rows, columns)
        start += rows * columns
        return part

    def normalised(x: Any) -> Any:
        return x * ((x * x).mean(-1, keepdim=True) + 1e-5) ** -0.5

    tokens = torch.from_numpy(batch)
    given, following = tokens[:, :-1], tokens[:, 1:]
    names, length = given.shape
    table, positions = matrix(shape.letters, width), matrix(shape.longest, width)
    x = normalised(table[given] + positions[:length])
    mask = torch.full((length, length), -math.inf).triu(1)
    for _ in range(shape.layers):
        query, key, value, out = (matrix(width, width) for _ in range(4))
        up, down = matrix(4 * width, width), matrix(width, 4 * width)
        y = normalised(x)
        q, k, v = (
            (y @ m.T).view(names, length, heads, width // heads).transpose(1, 2)
            for m in (query, key, value)
        )
        shares = (q @ k.transpose(2, 3) * (width // heads) ** -0.5 + mask).softmax(-1)
        gathered = (shares @ v).transpose(1, 2).reshape(names, length, width)
        x = x + gathered @ out.T
        x = x + functional.relu(normalised(x) @ up.T) @ down.T
    logits = x @ matrix(shape.letters, width).T
    loss = functional.cross_entropy(logits.reshape(-1, shape.letters), following.reshape(-1))
    loss.backward()
    return loss.item(), leaf.grad.numpy()


def measure_transformer(library: str, names: int, length: int, seconds: float) -> dict[str, Any]:
    """Times of a training step on names of one length: loss, gradient, Adam."""
    example = load_example()
    shape = example.Shape(27, 9)
    random = np.random.default_rng(0)
    flat = random.normal(0.0, 0.08, example.count_of(shape))
    batch = random.integers(1, 27, (names, length + 2))
    batch[:, [0, -1]] = 0
    chainrule: Any = import_module("chainrule")
    optimizer = chainrule.nn.Adam(0.01)
    step: Callable[[Any], Any]
    if library == "chainrule":
        loss = chainrule.vmap(example.losses(shape), in_axes=(None, 0), reduce="mean")
        compiled = chainrule.compile(chainrule.value_and_grad(loss), threads=1)
        step = lambda flat: compiled(flat, batch)  # noqa: E731
    elif library == "nodes":
        step = lambda flat: example.eager_step(shape, flat, batch)  # noqa: E731
    elif library == "torch":
        torch: Any = import_module("torch")
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        step = lambda flat: on_tensors(torch, shape, flat, batch)  # noqa: E731
    else:
        step = lambda flat: on_values(example, shape, flat, batch)  # noqa: E731
    start = time.perf_counter_ns()
    value, gradient = step(flat)
    first_ns = time.perf_counter_ns() - start
    result = {"loss": value, "gradient": np.asarray(gradient).tolist()}
    times: list[int] = []
    while len(times) < 3 or (sum(times) < 1e9 * seconds and len(times) < 2000):
        start = time.perf_counter_ns()
        _, gradient = step(flat)
        optimizer.update(flat, gradient)
        times.append(time.perf_counter_ns() - start)
    return {"first_ns": first_ns, "steps_ns": times, **result}


def main() -> None:
    """Measure one library and print JSON."""
    parser = argparse.ArgumentParser(description="Measure one library in this process.")
    parser.add_argument("what", choices=["step", "accuracy", "transformer"])
    parser.add_argument("library")
    parser.add_argument("network", nargs="?", default="small", choices=NETWORKS)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--names", type=int, default=32)
    parser.add_argument("--length", type=int, default=6)
    args = parser.parse_args()
    if args.what == "step":
        found = measure_step(args.library, args.network, args.seconds)
    elif args.what == "accuracy":
        found = measure_accuracy(args.library, args.seed)
    else:
        found = measure_transformer(args.library, args.names, args.length, args.seconds)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
