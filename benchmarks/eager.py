"""Time and memory of building a graph and backpropagating, against other libraries.

Measures ``a = tanh(a * x + y)`` for 30,000 and 300,000 operations, with Python's garbage collector
as it is and paused, every library in fresh processes that take turns. Prints Markdown tables::

    python benchmarks/eager.py
    python benchmarks/eager.py --quick --plot eager.png --json eager.json

See benchmarks/README.md for what each number includes. Needs Linux or macOS.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from eager_peers import OPERATIONS_PER_STEP, PEERS, A, X, Y

HERE = Path(__file__).resolve().parent
SIZES = (30_000, 300_000)
TOLERANCE = 1e-10
TIMEOUT_S = 900
AXIS_START_NS = 10.0


@dataclass
class Cell:
    """The measurements of one peer at one size with the garbage collector on or paused."""

    peer: str
    operations: int
    gc_paused: bool
    build_ns: list[int] = field(default_factory=list)
    backward_ns: list[int] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    problem: str = ""

    def build(self) -> float:
        """Median ns per operation of building."""
        return median(self.build_ns) / self.operations

    def backward(self) -> float:
        """Median ns per operation of backward."""
        return median(self.backward_ns) / self.operations

    def sums(self) -> list[float]:
        """Building plus backward of every run, in ns per operation."""
        runs = zip(self.build_ns, self.backward_ns, strict=True)
        return [(build + backward) / self.operations for build, backward in runs]

    def total(self) -> float:
        """Median ns per operation of building plus backward."""
        return median(self.sums())

    def bytes_per_operation(self) -> float:
        """Median growth of the process's peak memory, per operation."""
        return median(self.memory) / self.operations


def expected(steps: int) -> tuple[float, float, float]:
    """The result on plain floats, with the derivatives carried forward by hand."""
    a, by_x, by_y = A, 0.0, 0.0
    for _ in range(steps):
        following = math.tanh(a * X + Y)
        slope = 1.0 - following * following
        by_x = slope * (a + X * by_x)
        by_y = slope * (1.0 + X * by_y)
        a = following
    return a, by_x, by_y


def build_limit(folder: Path) -> str:
    """Compile limit.c into a folder; the reason why it can't be, or nothing."""
    command = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc -shared")
    if shutil.which(command[0]) is None:
        command[0] = "cc"
    if shutil.which(command[0]) is None:
        return "no C compiler found"
    include = "-I" + sysconfig.get_path("include")
    target = folder / ("limit" + sysconfig.get_config_var("EXT_SUFFIX"))
    command += ["-O3", "-fPIC", include, str(HERE / "limit.c"), "-o", str(target), "-lm"]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if compiled.returncode == 0 else f"limit.c does not compile: {compiled.stderr}"


def installed_version(name: str) -> str | None:
    """The version of a peer's package, with how chainrule runs; None if it is not installed."""
    distribution = PEERS[name].distribution
    if distribution is None:
        return "–"
    try:
        number = version(distribution)
    except PackageNotFoundError:
        return None
    if name != "chainrule":
        return number
    code = "import chainrule; print(chainrule.build_info()['compiled'])"
    answer = subprocess.check_output([sys.executable, "-c", code], text=True)
    return f"{number}, {'compiled' if answer.strip() == 'True' else 'plain Python'}"


def measure(cell: Cell, runs: int, path: Path) -> None:
    """Add the runs of one fresh process to a cell, or the problem that it met."""
    command = [sys.executable, str(HERE / "eager_peers.py"), cell.peer]
    command += ["--operations", str(cell.operations), "--runs", str(runs)]
    command += ["--pause-gc"] if cell.gc_paused else []
    paths = [str(path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        cell.problem = f"took more than {TIMEOUT_S} s"
        return
    if done.returncode != 0:
        last_lines = done.stderr.strip().splitlines()[-1:]
        cell.problem = f"failed ({done.returncode}): {''.join(last_lines)}"
        return
    measured = json.loads(done.stdout)
    right = expected(cell.operations // OPERATIONS_PER_STEP)
    for result in measured["results"]:
        pairs = zip(result, right, strict=True)
        if not all(x is None or math.isclose(x, y, rel_tol=TOLERANCE) for x, y in pairs):
            cell.problem = f"wrong result {result}, not {list(right)}"
            return
    cell.build_ns += measured["build_ns"]
    cell.backward_ns += measured["backward_ns"]
    cell.memory.append(measured["memory"])


def measure_all(
    cells: list[Cell], runs: dict[int, int], rounds: int, path: Path
) -> Iterator[tuple[int, Cell]]:
    """Measure every cell in each round, the peers taking turns; yields what was just measured."""
    for turn in range(rounds):
        for cell in cells:
            share = len(range(turn, runs[cell.operations], rounds))
            if share and not cell.problem:
                measure(cell, share, path)
                yield turn, cell


def caption(operations: int, gc_paused: bool) -> str:
    """What a table or a panel shows."""
    return f"{operations:,} operations, garbage collector {'paused' if gc_paused else 'on'}"


def table(cells: list[Cell], versions: dict[str, str]) -> str:
    """A Markdown table of cells of one size and mode."""
    lines = [
        "| library | version | build | backward | sum (range) | × chainrule | bytes |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    base = next((c.total() for c in cells if c.peer == "chainrule" and not c.problem), None)
    for cell in cells:
        label = f"| {PEERS[cell.peer].label} | {versions[cell.peer]} |"
        if cell.problem:
            lines.append(f"{label} {cell.problem} | | | | |")
            continue
        sums = cell.sums()
        ratio = f"{cell.total() / base:,.2f}" if base else "–"
        lines.append(
            f"{label} {cell.build():,.0f} | {cell.backward():,.0f}"
            f" | {cell.total():,.0f} ({min(sums):,.0f}–{max(sums):,.0f})"
            f" | {ratio} | {cell.bytes_per_operation():,.0f} |"
        )
    return "\n".join(lines)


def groups(cells: list[Cell]) -> list[list[Cell]]:
    """The cells by size and mode."""
    keys = sorted({(cell.operations, cell.gc_paused) for cell in cells})
    return [[c for c in cells if (c.operations, c.gc_paused) == key] for key in keys]


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def conditions(rounds: int) -> dict[str, Any]:
    """Where and how the measurement was made."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "rounds": rounds,
    }


def plot(cells: list[Cell], target: str) -> None:
    """Write a bar chart, a panel for each size and bars for the garbage collector's modes."""
    import_module("matplotlib").use("Agg")
    pyplot: Any = import_module("matplotlib.pyplot")
    sizes = sorted({cell.operations for cell in cells})
    names = sorted(
        {cell.peer for cell in cells if not cell.problem},
        key=lambda name: max(c.total() for c in cells if c.peer == name and not c.problem),
        reverse=True,
    )
    modes = sorted({cell.gc_paused for cell in cells})
    height = 0.8 / len(modes)
    figure, panels = pyplot.subplots(
        1, len(sizes), figsize=(5.5 * len(sizes) + 2, 0.55 * len(names) + 1.6), sharey=True,
        sharex=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for panel, operations in zip(panels[0], sizes, strict=True):
        for mode in modes:
            drawn = {
                c.peer: c
                for c in cells
                if (c.operations, c.gc_paused) == (operations, mode) and not c.problem
            }
            shown = [drawn[name] for name in names if name in drawn]
            totals = [cell.total() for cell in shown]
            below = [cell.total() - min(cell.sums()) for cell in shown]
            above = [max(cell.sums()) - cell.total() for cell in shown]
            offset = (modes.index(mode) - (len(modes) - 1) / 2) * height
            heights = [names.index(cell.peer) - offset for cell in shown]
            panel.barh(
                heights,
                totals,
                height=height,
                xerr=[below, above],
                color="#9ecae1" if mode else "#2171b5",
                ecolor="#636363",
                label=f"garbage collector {'paused' if mode else 'on'}",
            )
            for y, total in zip(heights, totals, strict=True):
                panel.text(
                    1.15 * AXIS_START_NS, y, f"{total:,.0f}", va="center", fontsize=8,
                    color="black" if mode else "white",
                )  # fmt: skip
        panel.set_xscale("log")
        panel.set_xlim(left=AXIS_START_NS)
        panel.set_yticks(range(len(names)), [PEERS[name].label for name in names])
        panel.set_title(f"{operations:,} operations")
        panel.set_xlabel("build + backward, ns per operation (log scale)")
    panels[0][0].legend(loc="upper right", fontsize=8)
    figure.savefig(target, dpi=150)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Time and memory of building a graph and backpropagating, against other"
        " libraries."
    )
    parser.add_argument(
        "--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER",
        help=f"which of: {', '.join(PEERS)} (default: all)",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="turns of each peer (default: 3)")
    parser.add_argument(
        "--runs", type=int, default=15,
        help="runs at 30,000 operations, over all rounds; a third as many at 300,000 (default: 15)",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true",
        help="3 runs in 1 round at 30,000 operations, garbage collector on",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write the raw numbers")
    parser.add_argument("--plot", metavar="FILE", help="draw a bar chart (with matplotlib)")
    args = parser.parse_args()
    if args.quick:
        args.runs, args.rounds = 3, 1
    if args.rounds < 1 or args.runs < 3:
        parser.error("--rounds is at least 1 and --runs at least 3")
    return args


def main() -> None:
    """Measure, and print the tables."""
    args = parse_arguments()
    sizes = SIZES[:1] if args.quick else SIZES
    modes = (False,) if args.quick else (False, True)
    runs = dict(zip(SIZES, (args.runs, args.runs // 3), strict=True))
    versions = {name: installed_version(name) for name in args.peers}
    cells = [Cell(peer, size, mode) for size in sizes for mode in modes for peer in args.peers]
    with tempfile.TemporaryDirectory() as folder:
        problems = {"limit": build_limit(Path(folder))} if "limit" in args.peers else {}
        for name in args.peers:
            if PEERS[name].not_measured:
                problems[name] = f"not measured: {PEERS[name].not_measured}"
            elif versions[name] is None:
                problems[name] = "not installed"
        for cell in cells:
            cell.problem = problems.get(cell.peer, "")
        for turn, cell in measure_all(cells, runs, args.rounds, Path(folder)):
            outcome = cell.problem or f"{cell.total():,.0f} ns"
            where = caption(cell.operations, cell.gc_paused)
            print(f"round {turn + 1}: {where}: {cell.peer}: {outcome}", file=sys.stderr)

    setting = conditions(args.rounds)
    print(f"{setting['python']}, {setting['processor']}, {setting['cores']} cores;", end=" ")
    print("ns per operation, medians; bytes of peak memory per operation")
    for group in groups(cells):
        count = runs[group[0].operations]
        print(f"\n**{caption(group[0].operations, group[0].gc_paused)}** ({count} runs)\n")
        print(table(group, {name: number or "–" for name, number in versions.items()}))
    if args.json:
        raw = {"conditions": setting, "versions": versions, "cells": [asdict(c) for c in cells]}
        Path(args.json).write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    if args.plot:
        plot(cells, args.plot)


if __name__ == "__main__":
    main()
