"""Time and memory of one very deep graph: build, sort, backward, copy, pickle, free.

Run it with ``python benchmarks/deep.py``, or ``--operations 30000000 --no-copies``. Python's
garbage collector is paused, as it should be while millions of objects are made that all live on.
The engine in C keeps to limits, or the program ends with status 1: 84 bytes for a node, 16 more for
each while sorting, and 24 GiB in all.
"""

from __future__ import annotations

import argparse
import copy
import gc
import os
import pickle
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from chainrule import Node, build_info

T = TypeVar("T")
NODE_LIMIT = 84
SORT_LIMIT = 16
MEMORY_LIMIT = 24 * 2**30


def resident() -> int:
    """Bytes of memory the process holds now; where that is not known, the most it ever held."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return peak()


def peak() -> int:
    """The most bytes of memory the process ever held."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else 1024 * size


class Phases:
    """Runs the phases and prints a line for each."""

    def __init__(self, operations: int) -> None:
        self.operations = operations
        print(f"{'phase':<12}{'seconds':>10}{'ns/op':>10}{'bytes/op':>10}   resident, peak (GB)")

    def run(self, name: str, phase: Callable[[], T]) -> tuple[T, float]:
        """The result of a phase, and the bytes an operation that it left in memory."""
        before = resident()
        start = time.perf_counter()
        result = phase()
        seconds = time.perf_counter() - start
        each = (resident() - before) / self.operations
        print(
            f"{name:<12}{seconds:>10.2f}{1e9 * seconds / self.operations:>10.0f}{each:>10.1f}"
            f"   {resident() / 1e9:.2f}, {peak() / 1e9:.2f}",
            flush=True,
        )
        return result, each


def chain(operations: int) -> tuple[list[Any], list[Node]]:
    """The end of a chain ``a = a * x + y``, in a list of one, and its leaves."""
    x, y = Node(0.5), Node(1.0)
    a: Any = Node(2.0)
    for _ in range(operations // 2):
        a = a * x + y
    return [a], [x, y]


def copies(phases: Phases, held: list[Any], operations: int) -> None:
    """Copy and pickle what is held, and free the copies."""
    twin, _ = phases.run("deepcopy", lambda: [copy.deepcopy(held[0])])
    assert twin[0].data == held[0].data
    phases.run("free copy", twin.clear)
    text, _ = phases.run("pickle", lambda: [pickle.dumps(held[0], pickle.HIGHEST_PROTOCOL)])
    print(f"{'':<12}a pickle of {len(text[0]) / operations:.1f} bytes an operation")
    twin, _ = phases.run("unpickle", lambda: [pickle.loads(text.pop())])
    twin[0].backward()
    phases.run("free copy", twin.clear)


def main() -> int:
    """Run all the phases; 1 if a limit was passed."""
    parser = argparse.ArgumentParser(description="Time and memory of one very deep graph.")
    parser.add_argument("--operations", type=int, default=10_000_000, help="default: %(default)s")
    parser.add_argument("--no-copies", action="store_true", help="neither copy nor pickle")
    options = parser.parse_args()
    operations = max(2, options.operations // 2 * 2)
    info = build_info()
    engine = "engine in C" if info["compiled"] else "plain Python"
    print(f"chainrule {info['version']}, {engine}, {info['python']}, {operations:,} operations")
    gc.disable()
    phases = Phases(operations)
    (held, leaves), node_bytes = phases.run("build", lambda: chain(operations))
    order, sort_bytes = phases.run("sort", held[0].sorted_nodes)
    assert len(order) == operations + 3
    del order
    phases.run("backward", held[0].backward)
    assert leaves[1].grad == 2.0
    if not options.no_copies:
        copies(phases, held, operations)
    leaves.clear()
    phases.run("free", held.clear)
    if not info["compiled"]:
        return 0
    kept = node_bytes <= NODE_LIMIT and sort_bytes <= SORT_LIMIT and peak() <= MEMORY_LIMIT
    print(
        f"{node_bytes:.1f} bytes for a node (limit {NODE_LIMIT}), {sort_bytes:.1f} more while"
        f" sorting (limit {SORT_LIMIT}), {peak() / 2**30:.1f} GiB in all (limit"
        f" {MEMORY_LIMIT / 2**30:.0f}): {'kept' if kept else 'PASSED'}"
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
