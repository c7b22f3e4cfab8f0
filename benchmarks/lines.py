"""What each context costs a node: recorded lines, groups, a trace's level, in time and in memory.

Builds ``a = tanh(a * x + y)`` in one loop, ``a = a * 0.5 + y - 0.25`` with constants, and the first
in a function that is called for each step, in each context. Prints a Markdown table of nanoseconds,
the least of several runs, and bytes a node::

    python benchmarks/lines.py
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from chainrule import Node, build_info, detect_anomaly, group, record_lines
from chainrule.tracing import recording

STEPS = 3_000
RUNS = 60


def loop(x: Any, y: Any, steps: int) -> Any:
    """Three operations a step, of nodes."""
    a = x
    for _ in range(steps):
        a = (a * x + y).tanh()
    return a


def constants(x: Any, y: Any, steps: int) -> Any:
    """Three operations a step, two of them with a constant."""
    a = x
    for _ in range(steps):
        a = a * 0.5 + y - 0.25
    return a


def step(a: Any, x: Any, y: Any) -> Any:
    """Of the third program."""
    return (a * x + y).tanh()


def calls(x: Any, y: Any, steps: int) -> Any:
    """Three operations a step, in a function."""
    a = x
    for _ in range(steps):
        a = step(a, x, y)
    return a


class Silent:
    """Records nothing."""

    pulls = False

    def form_of(self, function: Any) -> Any:
        """The function itself."""
        return function

    def compared(self, condition: Any) -> Any:
        """Goes on with the condition."""
        return condition

    def guard(self, condition: Any, outcome: bool) -> bool:
        """Goes on with the outcome."""
        return outcome

    def takes(self, what: str) -> bool:
        """No: comparisons of arrays are bools."""
        return False

    def uses(self, operation: Any) -> None:
        """Notes nothing."""

    def loop(self, *args: Any) -> None:
        """None: loops are plain."""

    def linearization(self, began: Any, inputs: Any, outputs: Any, level: int) -> None:
        """None: derivatives are nodes."""


@contextmanager
def groups_and_lines() -> Iterator[None]:
    """Both."""
    with ExitStack() as stack:
        stack.enter_context(group("outer"))
        stack.enter_context(record_lines())
        yield


CONTEXTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "none": ExitStack,
    "a trace": lambda: recording(Silent()),
    "a group": lambda: group("outer"),
    "lines": record_lines,
    "lines in a group": groups_and_lines,
    "anomalies": detect_anomaly,
}


def seconds(program: Callable[..., Any]) -> float:
    """The time of one run, with the garbage collector paused."""
    x, y = Node(0.5), Node(0.25)
    gc.disable()
    start = time.perf_counter()
    root = program(x, y, STEPS)
    end = time.perf_counter()
    gc.enable()
    del root
    return end - start


def memory(program: Callable[..., Any]) -> int:
    """What the nodes of one run take, in bytes."""
    x, y = Node(0.5), Node(0.25)
    program(x, y, 10)
    tracemalloc.start()
    spare = program(x, y, 3_000)  # more than the engine keeps of freed nodes
    before = tracemalloc.get_traced_memory()[0]
    root = program(x, y, STEPS)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del root, spare
    return after - before


def main() -> None:
    """Measure and print."""
    programs = (loop, constants, calls)
    nodes = 3 * STEPS
    least = {(name, program): float("inf") for name in CONTEXTS for program in programs}
    for _ in range(RUNS):  # in turns, so that a slow moment meets all
        for name, context in CONTEXTS.items():
            for program in programs:
                with context():
                    least[name, program] = min(least[name, program], seconds(program))
    print(f"Engine: {'C' if build_info()['compiled'] else 'Python'}. ns (and bytes) a node.\n")
    print("| context | " + " | ".join(program.__name__ for program in programs) + " |")
    print("| --- |" + " ---: |" * len(programs))
    for name, context in CONTEXTS.items():
        cells = []
        for program in programs:
            with context():
                size = memory(program) / nodes
            cells.append(f"{least[name, program] / nodes * 1e9:.0f} ({size:.0f})")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
