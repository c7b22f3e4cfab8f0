"""Time and memory of recording a graph, beside those of building it; the stages of compile.

Run it with ``python benchmarks/recording.py``. First ``a = tanh(a * x + y)``, as in eager.py, with
and without lines: nanoseconds a node for building and for recording, and bytes a node of the
recording, what it holds and the most it ever held. Then a program with a branch in each step, with
its derivatives: milliseconds of the run, of recording it, of making the program, and of the kernel.
Each figure is the median of several runs of processor time, and the least of them.
"""

from __future__ import annotations

import argparse
import gc
import time
import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from random import Random
from statistics import median
from typing import Any, TypeVar

from chainrule import Node, build_info, record_lines, value_and_grad
from chainrule import math as cm
from chainrule.backends.llvm.kernel import Kernel
from chainrule.differentiation import fresh_input
from chainrule.jit.recorded import Recorded
from chainrule.jit.sites import PlainSites
from chainrule.jit.trace import Recorder
from chainrule.passes.going_on import going_on
from chainrule.program.form import Program
from chainrule.program.recording import Recording
from chainrule.tracing import recording

T = TypeVar("T")


def chain(x: Node, y: Node, operations: int) -> Node:
    """The graph that eager.py builds."""
    a = Node(0.5)
    for _ in range(operations // 3):
        a = cm.tanh(a * x + y)
    return a


def timed(function: Callable[..., T], *args: Any) -> tuple[T, int]:
    """The result of a function and the processor time that it took, in nanoseconds."""
    start = time.process_time_ns()
    result = function(*args)
    return result, time.process_time_ns() - start


def shown(times: list[int], unit: float) -> str:
    """Median and least of some times."""
    return f"{median(times) / unit:.1f} ({min(times) / unit:.1f})"


def measure_nodes(operations: int, lines: bool, runs: int) -> None:
    """Print a row of the table of nodes."""
    building: list[int] = []
    taking: list[int] = []
    for _ in range(runs):
        context: AbstractContextManager[object] = record_lines() if lines else nullcontext()
        with context:
            x, y = Node(0.7), Node(0.1)
            root, spent = timed(chain, x, y, operations)
            building.append(spent)
        recorded = Recording([x, y], 0)
        _, spent = timed(recorded.record, root)
        taking.append(spent)
    count = len(recorded)
    del recorded
    gc.collect()
    tracemalloc.start()
    recorded = Recording([x, y], 0)
    recorded.record(root)
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(
        f"| {operations:,} | {'yes' if lines else 'no'} | {shown(building, count)}"
        f" | {shown(taking, count)} | {held / count:.1f} | {most / count:.1f} |",
        flush=True,
    )


def walk(inputs: list[Any], steps: int) -> Any:
    """Truncated Euler steps of a price and its variance, with a branch in each."""
    s, v, k, theta, xi, rho = inputs[:6]
    for i in range(steps):
        z1, z2 = inputs[6 + 2 * i], inputs[7 + 2 * i]
        positive = v if v > 0.0 else 0.0 * v
        w = rho * z1 + (1.0 - rho * rho) * z2
        s = s * cm.exp((0.02 - 0.5 * positive) * 0.02 + cm.sqrt(positive) * 0.14 * z1)
        v = v + k * (theta - positive) * 0.02 + xi * cm.sqrt(positive) * 0.14 * w
    return s


def whole_program(recorded: Recorded, outputs: list[Any]) -> Program:
    """The program of a recording."""
    return recorded.program(recorded.operands(outputs, recorded.operands_of(outputs)), False, False)


def kernel(program: Program) -> Kernel:
    """Its machine code, for a single point."""
    return Kernel(going_on(program, 0), (), lanes=False)


def measure_stages(steps: int, derivatives: bool, runs: int) -> None:
    """Print a row of the table of stages."""
    random = Random(0)
    point = [1.0, 0.04, 1.0, 0.04, 0.1, -0.7] + [random.gauss(0.0, 1.0) for _ in range(2 * steps)]
    times: dict[str, list[int]] = {"run": [], "record": [], "program": [], "kernel": []}

    def function(inputs: list[Any]) -> list[Any]:
        if not derivatives:
            return [walk(inputs, steps)]
        value, grads = value_and_grad(lambda inputs: walk(inputs, steps))(inputs)
        return [value, *grads]

    gc.disable()  # as while a function is traced
    for _ in range(runs):
        recorder = Recorder((), PlainSites())
        with recording(recorder) as level:
            inputs = [fresh_input(x, level) for x in point]
            recorder.begin(inputs, level, ())
            outputs, spent = timed(function, inputs)
            times["run"].append(spent)
            recorded = Recording(inputs, level)
            spent = sum([timed(recorded.record, y)[1] for y in outputs])
            times["record"].append(spent)
            program, both = timed(whole_program, Recorded(inputs, level), outputs)
            times["program"].append(both - spent)
            times["kernel"].append(timed(kernel, program)[1])
        rows, values = len(recorded), len(program.body)
        del inputs, outputs, recorded, program, recorder
        gc.collect()
    gc.enable()
    cells = " | ".join(shown(each, 1e6) for each in times.values())
    print(f"| {'yes' if derivatives else 'no'} | {rows:,} | {values:,} | {cells} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=7, help="how often each is measured")
    parser.add_argument("--steps", type=int, default=400, help="of the program with branches")
    arguments = parser.parse_args()
    print(build_info(), "\n")
    print("| operations | lines | building, ns a node | recording, ns a node | bytes | at most |")
    print("| --- | --- | --- | --- | --- | --- |")
    for operations in (30_000, 300_000, 3_000_000):
        for lines in (False, True):
            measure_nodes(operations, lines, arguments.runs)
    print("\n| derivatives | rows | statements | run, ms | record | program | kernel |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for derivatives in (False, True):
        measure_stages(arguments.steps, derivatives, arguments.runs)


if __name__ == "__main__":
    main()
