"""The program that eager.py measures, written for each library, and the measurement of one.

The program is ``a = tanh(a * x + y)`` repeated, and the gradient of the last ``a`` by ``x`` and
``y``. A peer is a pair of functions: ``build(steps)`` runs the program, and ``backward(graph)``
gives the value and the two derivatives.

Run as a script it measures one peer in this process and prints JSON; eager.py does that, in a
fresh process for every measurement::

    python eager_peers.py chainrule --operations 30000 --runs 5
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

# At the fixed point a = 1/2 the factor x (1 - a**2) that a step puts on the gradient is -1: it
# neither vanishes nor explodes over 100,000 steps. (A gradient that has underflowed to 0 would
# flatter a library that skips zeros.)
A = 0.4
X = -4.0 / 3.0
Y = math.atanh(0.5) + 2.0 / 3.0

OPERATIONS_PER_STEP = 3
WARM_UP_STEPS = 100
STACK_BYTES = 512 * 2**20


class Result(NamedTuple):
    """The value of the last ``a`` and its derivatives; None for what a peer does not compute."""

    value: float
    by_x: float
    by_y: float | None


Build = Callable[[int], Any]
Backward = Callable[[Any], Result]


@dataclass(frozen=True)
class Peer:
    """A library and the program in its own words.

    Args:
        label: its name in tables.
        distribution: the package to install; None if the peer is part of this benchmark.
        load: imports the library and gives build and backward.
        recursive: whether it needs a deep stack.
        not_measured: why it is listed but can't be measured, if so.
    """

    label: str
    distribution: str | None
    load: Callable[[], tuple[Build, Backward]]
    recursive: bool = False
    not_measured: str = ""


def with_methods(node: Callable[[float], Any]) -> tuple[Build, Backward]:
    """The program for classes in the style of micrograd: operators, ``tanh()``, ``backward()``."""

    def build(steps: int) -> Any:
        a, x, y = node(A), node(X), node(Y)
        for _ in range(steps):
            a = (a * x + y).tanh()
        return a, x, y

    def backward(graph: Any) -> Result:
        a, x, y = graph
        a.backward()
        return Result(a.data, x.grad, y.grad)

    return build, backward


def load_chainrule() -> tuple[Build, Backward]:
    """chainrule's nodes."""
    return with_methods(import_module("chainrule").Node)


def function_of(steps: int) -> Callable[[Any, Any, Any], Any]:
    """The program as a function, for transformations, which build a graph and drop it again."""

    def program(a: Any, x: Any, y: Any) -> Any:
        for _ in range(steps):
            a = (a * x + y).tanh()
        return a

    return program


def load_grad() -> tuple[Build, Backward]:
    """chainrule's value_and_grad of a function of numbers, which builds and backpropagates."""
    value_and_grad = import_module("chainrule").value_and_grad

    def backward(program: Any) -> Result:
        value, (_, by_x, by_y) = value_and_grad(program, argnums=(0, 1, 2))(A, X, Y)
        return Result(value, by_x, by_y)

    return function_of, backward


def load_jvp() -> tuple[Build, Backward]:
    """chainrule's jvp of a function of numbers: the derivative by x alone."""
    jvp = import_module("chainrule").jvp

    def backward(program: Any) -> Result:
        value, by_x = jvp(program, (A, X, Y), (0.0, 1.0, 0.0))
        return Result(value, by_x, None)

    return function_of, backward


def load_vjp() -> tuple[Build, Backward]:
    """chainrule's vjp of a function of numbers, whose pull-back can be called again and again."""
    vjp = import_module("chainrule").vjp

    def backward(program: Any) -> Result:
        value, pull_back = vjp(program, A, X, Y)
        _, by_x, by_y = pull_back(1.0)
        return Result(value, by_x, by_y)

    return function_of, backward


def load_limit() -> tuple[Build, Backward]:
    """limit.c, which eager.py has compiled and put on the path."""
    return with_methods(import_module("limit").Node)


class PlainNode:
    """The baseline: a node as one would first write it, in plain Python classes."""

    def __init__(self, data: float, parents: tuple[PlainNode, ...] = ()) -> None:
        self.data = data
        self.grad = 0.0
        self._parents = parents

    def __add__(self, other: PlainNode) -> PlainNode:
        return PlainAdd(self.data + other.data, (self, other))

    def __mul__(self, other: PlainNode) -> PlainNode:
        return PlainMultiply(self.data * other.data, (self, other))

    def tanh(self) -> PlainNode:
        """Hyperbolic tangent."""
        return PlainTanh(math.tanh(self.data), (self,))

    def _local_grad(self, parent: PlainNode) -> float:
        raise NotImplementedError

    def sorted_nodes(self) -> list[PlainNode]:
        """Topological order, root first, by depth-first search."""
        order: list[PlainNode] = []
        visited: set[PlainNode] = set()
        stack = [(self, False)]
        while stack:
            node, parents_done = stack.pop()
            if parents_done:
                order.append(node)
            elif node not in visited:
                visited.add(node)
                stack.append((node, True))
                stack.extend((parent, False) for parent in node._parents)
        return order[::-1]

    def backward(self) -> None:
        """Set the gradients of all nodes below."""
        self.grad = 1.0
        for node in self.sorted_nodes():
            for parent in node._parents:
                parent.grad += node.grad * node._local_grad(parent)


class PlainAdd(PlainNode):
    """A sum."""

    def _local_grad(self, parent: PlainNode) -> float:
        return 1.0


class PlainMultiply(PlainNode):
    """A product."""

    def _local_grad(self, parent: PlainNode) -> float:
        x, y = self._parents
        return y.data if parent is x else x.data


class PlainTanh(PlainNode):
    """A hyperbolic tangent."""

    def _local_grad(self, parent: PlainNode) -> float:
        return 1.0 - self.data**2


def load_plain() -> tuple[Build, Backward]:
    """The plain Python classes above."""
    return with_methods(PlainNode)


def load_micrograd() -> tuple[Build, Backward]:
    """micrograd, which has no tanh: added here in its own style, a closure for each node."""
    value: Any = import_module("micrograd.engine").Value

    def tanh(self: Any) -> Any:
        out = value(math.tanh(self.data), (self,), "tanh")

        def _backward() -> None:
            self.grad += (1 - out.data**2) * out.grad

        out._backward = _backward
        return out

    value.tanh = tanh
    return with_methods(value)


def load_autograd() -> tuple[Build, Backward]:
    """HIPS autograd: ``autograd.grad`` in its two halves, make_vjp and the call of the vjp."""
    tanh: Any = import_module("autograd.numpy").tanh
    make_vjp: Any = import_module("autograd.differential_operators").make_vjp

    def build(steps: int) -> Any:
        def program(x: Any, y: Any) -> Any:
            a = A
            for _ in range(steps):
                a = tanh(a * x + y)
            return a

        return make_vjp(program, (0, 1))(X, Y)

    def backward(graph: Any) -> Result:
        vjp, value = graph
        by_x, by_y = vjp(1.0)
        return Result(float(value), float(by_x), float(by_y))

    return build, backward


def load_torch() -> tuple[Build, Backward]:
    """PyTorch: tensors of one float64."""
    torch: Any = import_module("torch")

    def build(steps: int) -> Any:
        a = torch.tensor(A, dtype=torch.float64)
        x = torch.tensor(X, dtype=torch.float64, requires_grad=True)
        y = torch.tensor(Y, dtype=torch.float64, requires_grad=True)
        for _ in range(steps):
            a = torch.tanh(a * x + y)
        return a, x, y

    def backward(graph: Any) -> Result:
        a, x, y = graph
        a.backward()
        return Result(a.item(), x.grad.item(), y.grad.item())

    return build, backward


def load_casadi() -> tuple[Build, Backward]:
    """CasADi SX: backward is the expression of the gradient, its Function, and one call of it."""
    casadi: Any = import_module("casadi")

    def build(steps: int) -> Any:
        x, y = casadi.SX.sym("x"), casadi.SX.sym("y")
        a = casadi.SX(A)
        for _ in range(steps):
            a = casadi.tanh(a * x + y)
        return a, x, y

    def backward(graph: Any) -> Result:
        a, x, y = graph
        gradient = casadi.gradient(a, casadi.vertcat(x, y))
        value, by = casadi.Function("program", [x, y], [a, gradient])(X, Y)
        return Result(float(value), float(by[0]), float(by[1]))

    return build, backward


def load_xad() -> tuple[Build, Backward]:
    """XAD: its adjoint tape; build is recording it, backward computing the adjoints."""
    adjoint: Any = import_module("xad.adj_1st")
    tanh: Any = import_module("xad.math").tanh

    def build(steps: int) -> Any:
        tape = adjoint.Tape()
        tape.activate()
        a, x, y = adjoint.Real(A), adjoint.Real(X), adjoint.Real(Y)
        tape.registerInputs([x, y])
        tape.newRecording()
        for _ in range(steps):
            a = tanh(a * x + y)
        tape.registerOutput(a)
        return tape, a, x, y

    def backward(graph: Any) -> Result:
        tape, a, x, y = graph
        a.derivative = 1.0
        tape.computeAdjoints()
        result = Result(a.value, x.derivative, y.derivative)
        tape.deactivate()
        return result

    return build, backward


def load_nothing() -> tuple[Build, Backward]:
    """For a peer that is listed but not measured."""
    raise NotImplementedError


PEERS = {
    "chainrule": Peer("chainrule", "chainrule", load_chainrule),
    "limit": Peer("C extension type (limit.c)", None, load_limit),
    "grad": Peer("chainrule, value_and_grad of numbers", "chainrule", load_grad),
    "jvp": Peer("chainrule, jvp of numbers", "chainrule", load_jvp),
    "vjp": Peer("chainrule, vjp of numbers", "chainrule", load_vjp),
    "plain": Peer("plain Python classes", None, load_plain),
    "micrograd": Peer("micrograd", "micrograd", load_micrograd, recursive=True),
    "autograd": Peer("HIPS autograd", "autograd", load_autograd),
    "torch": Peer("PyTorch, float64 scalars", "torch", load_torch),
    "casadi": Peer("CasADi SX", "casadi", load_casadi),
    "xad": Peer("XAD", "xad", load_xad),
    "aadc": Peer(
        "AADC",
        "aadc",
        load_nothing,
        not_measured="its licence forbids use as a performance baseline and publishing results",
    ),
}


def reset_peak_memory() -> None:
    """Forget the peak so far, of importing, where the system can."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> int:
    """The most memory this process has had, in bytes.

    On Linux not ``ru_maxrss``, as a new process inherits that of the one that started it.
    """
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def measure(peer: Peer, operations: int, runs: int) -> dict[str, Any]:
    """Times of building and backward in ns, the results, and bytes of memory.

    The memory is what the process's peak grew by in the first run. Between runs, outside the
    times, the graph is dropped and garbage collected.
    """
    build, backward = peer.load()
    backward(build(WARM_UP_STEPS))
    steps = operations // OPERATIONS_PER_STEP
    build_ns: list[int] = []
    backward_ns: list[int] = []
    results: list[Result] = []
    reset_peak_memory()
    before = peak_memory()
    memory = 0
    for _ in range(runs):
        gc.collect()
        start = time.perf_counter_ns()
        graph = build(steps)
        built = time.perf_counter_ns()
        result = backward(graph)
        end = time.perf_counter_ns()
        memory = memory or peak_memory() - before
        del graph
        build_ns.append(built - start)
        backward_ns.append(end - built)
        results.append(result)
    return {
        "build_ns": build_ns,
        "backward_ns": backward_ns,
        "results": results,
        "memory": memory,
    }


def with_deep_stack(function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Calls a function that recurses to the depth of the graph."""
    returned: list[dict[str, Any]] = []
    sys.setrecursionlimit(10**8)
    threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=lambda: returned.append(function()))
    thread.start()
    thread.join()
    if not returned:
        raise SystemExit(1)  # the thread has printed its traceback
    return returned[0]


def main() -> None:
    """Measure one peer and print JSON."""
    parser = argparse.ArgumentParser(description="Measure one peer in this process.")
    parser.add_argument("peer", choices=[name for name in PEERS if not PEERS[name].not_measured])
    parser.add_argument("--operations", type=int, required=True)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--pause-gc", action="store_true")
    args = parser.parse_args()
    peer = PEERS[args.peer]
    if args.pause_gc:
        gc.disable()

    def measured() -> dict[str, Any]:
        return measure(peer, args.operations, args.runs)

    print(json.dumps(with_deep_stack(measured) if peer.recursive else measured()))


if __name__ == "__main__":
    main()
