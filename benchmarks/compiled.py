"""Time to compile and to run programs and their derivatives, against other libraries.

The cases have letters, those of GradBench names; each library in fresh processes that take turns,
held to one or two processors. Prints Markdown tables::

    python benchmarks/compiled.py
    python benchmarks/compiled.py a c --quick
    python benchmarks/compiled.py lse kmeans gmm
    python benchmarks/compiled.py --plot compiled.png --json compiled.json

See benchmarks/README.md for what each case is and what each number includes. Needs Linux or macOS,
and a C compiler for the rows that say C.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from compiled_cases.common import Peer
from compiled_cases.libraries import STARTS
from compiled_peers import CASES
from eager import conditions

HERE = Path(__file__).resolve().parent
TOLERANCE = 1e-8
TIMEOUT_S = 900
BASE = "chainrule"


@dataclass
class Cell:
    """The measurements of one peer in one case, size and number of threads."""

    case: str
    peer: str
    size: int
    threads: int
    version: str = ""
    start_ns: list[int] = field(default_factory=list)
    first_ns: list[int] = field(default_factory=list)
    runs_ns: list[int] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    stats: dict[str, Any] = field(default_factory=dict)
    problem: str = ""

    def described(self) -> Peer:
        """The peer."""
        return CASES[self.case].peers[self.peer]

    def first(self) -> float:
        """Median ns from the library's start to the first result."""
        return median(self.first_ns)

    def run(self) -> float:
        """Median ns of a run after the first."""
        return median(self.runs_ns)

    def spread(self) -> tuple[float, float]:
        """What nine in ten of the runs lie between, in ns."""
        low, high = np.percentile(self.runs_ns, (5, 95))
        return float(low), float(high)

    def compile(self) -> float:
        """What the first result took longer than a run, in ns."""
        return max(0.0, self.first() - self.run())


@contextmanager
def held_to_processors(count: int) -> Iterator[dict[str, str]]:
    """Processes started inside run on so many processors; gives their environment.

    Raises:
        ValueError: if the machine has fewer.
    """
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(count),
        "OPENBLAS_NUM_THREADS": str(count),
        "MKL_NUM_THREADS": str(count),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}",
    }
    environment.pop("CHAINRULE_CACHE", None)  # compiling is measured
    if not hasattr(os, "sched_setaffinity"):
        yield environment
        return
    before = os.sched_getaffinity(0)
    if len(before) < count:
        raise ValueError(f"{count} processors wanted, {len(before)} there")
    os.sched_setaffinity(0, sorted(before)[-count:])
    try:
        yield environment
    finally:
        os.sched_setaffinity(0, before)


def measure(cell: Cell, seconds: float) -> None:
    """Add what one fresh process measures to a cell, or the problem that it met."""
    command = [sys.executable, str(HERE / "compiled_peers.py"), cell.case, cell.peer]
    command += ["--size", str(cell.size), "--threads", str(cell.threads)]
    command += ["--seconds", str(seconds)]
    try:
        with tempfile.TemporaryDirectory() as folder, held_to_processors(cell.threads) as env:
            done = subprocess.run(
                command, capture_output=True, text=True, env=env, cwd=folder, timeout=TIMEOUT_S,
                check=False,
            )  # fmt: skip
    except subprocess.TimeoutExpired:
        cell.problem = f"took more than {TIMEOUT_S} s"
        return
    except ValueError as error:
        cell.problem = str(error)
        return
    if done.returncode != 0:
        last_lines = done.stderr.strip().splitlines()[-1:]
        cell.problem = f"failed ({done.returncode}): {''.join(last_lines)}"
        return
    measured = json.loads(done.stdout.splitlines()[-1])
    if not measured["difference"] <= TOLERANCE:
        cell.problem = f"wrong result, by {measured['difference']:.1e} of it"
        return
    cell.version = measured["version"]
    cell.start_ns.append(measured["start_ns"])
    cell.first_ns.append(measured["first_ns"])
    cell.runs_ns += measured["runs_ns"]
    cell.memory.append(measured["memory"])
    cell.stats = measured["stats"]


def problem_of(peer: Peer) -> str:
    """Why a peer can't be measured, or nothing."""
    if peer.not_measured:
        return f"not measured: {peer.not_measured}"
    try:
        version(peer.distribution or BASE)
    except PackageNotFoundError:
        return "not installed" if peer.distribution else ""
    return ""


def cells_of(letters: list[str], args: argparse.Namespace) -> list[Cell]:
    """What is to be measured, in the order of the tables."""
    cells = []
    for letter in letters:
        case = CASES[letter]
        for size in case.sizes[:1] if args.quick else case.sizes:
            for threads in case.threads:
                for name, peer in case.peers.items():
                    wanted = not args.peers or name in args.peers
                    quick = args.peers or not (peer.slow and args.skip_slow)
                    fits = peer.largest is None or size <= peer.largest
                    if wanted and quick and fits:
                        problem = problem_of(peer)
                        cells.append(Cell(letter, name, size, threads, problem=problem))
    return cells


def measure_all(cells: list[Cell], rounds: int, seconds: float) -> Iterator[tuple[int, Cell]]:
    """Measure every cell in each round, the peers taking turns; yields what was just measured."""
    for turn in range(rounds):
        for cell in cells:
            if not cell.problem and not (cell.described().slow and turn > 0):
                measure(cell, seconds)
                yield turn, cell


def duration(ns: float) -> str:
    """A time with three digits and its unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}" if ns < 1000 * size else f"{ns / size:,.0f} {unit}"
    return f"{ns:.3g} ns"


def caption(cell: Cell) -> str:
    """What a table shows."""
    case = CASES[cell.case]
    threads = "1 thread" if cell.threads == 1 else f"{cell.threads} threads"
    return f"{cell.case}. {case.title}; {cell.size:,} {case.size_name}, {threads}"


def table(cells: list[Cell]) -> str:
    """A Markdown table of cells of one case, size and number of threads."""
    case = CASES[cells[0].case]
    base = next((c.run() for c in cells if c.peer == BASE and not c.problem), None)
    lines = [
        f"| library | version | first result | compile | run (90 % of runs) | ns per {case.unit}"
        " | × chainrule |" + " memory |" * case.shows_memory,
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |" + " ---: |" * case.shows_memory,
    ]
    for cell in cells:
        label = f"| {cell.described().label} |"
        if cell.problem:
            lines.append(f"{label} – | {cell.problem} | | | | |")
            continue
        ratio = f"{cell.run() / base:,.2f}" if base else "–"
        lines.append(
            f"{label} {cell.version} | {duration(cell.first())} | {duration(cell.compile())}"
            f" | {duration(cell.run())}"
            f" ({' – '.join(map(duration, cell.spread()))})"
            f" | {cell.run() / case.units(cell.size):,.3g} | {ratio} |"
            + f" {median(cell.memory) / 1e6:,.0f} MB |"
            * case.shows_memory
        )
    return "\n".join(lines)


def told(cells: list[Cell]) -> str:
    """What the compiled functions of a table tell of themselves."""
    lines = []
    for cell in cells:
        if cell.stats and not cell.problem:
            facts = ", ".join(
                f"{key.replace('_', ' ')} {value:.3g}"
                if isinstance(value, float)
                else f"{key.replace('_', ' ')} {value:,}"
                for key, value in cell.stats.items()
                if isinstance(value, (int, float)) and value is not False
            )
            lines.append(f"{cell.described().label}: {facts}")
    return "\n\n".join(lines)


def growth(letter: str, cells: list[Cell]) -> str:
    """A Markdown table of the time to compile, by the length of the program."""
    case = CASES[letter]
    assert case.nodes is not None
    shown = [c for c in cells if c.case == letter and not c.problem]
    names = list(dict.fromkeys(cell.peer for cell in shown))
    labels = [case.peers[name].label for name in names]
    lines = [
        f"| {case.size_name} | operations | {' | '.join(labels)} |",
        f"| ---: | ---: | {' | '.join('---:' for _ in names)} |",
    ]
    for size in case.sizes:
        here = {cell.peer: cell for cell in shown if cell.size == size}
        nodes = case.nodes(size)
        each = []
        for name in names:
            time = here[name].compile() if name in here else None
            each.append("–" if time is None else duration(time))
            if name == BASE and time is not None:
                each[-1] += f", {duration(time / nodes)} an operation"
        lines.append(f"| {size:,} | {nodes:,} | {' | '.join(each)} |")
    return "\n".join(lines)


def groups(cells: list[Cell]) -> list[list[Cell]]:
    """The cells by case, size and threads."""
    keys = list(dict.fromkeys((cell.case, cell.size, cell.threads) for cell in cells))
    return [[c for c in cells if (c.case, c.size, c.threads) == key] for key in keys]


def starts(cells: list[Cell]) -> str:
    """A Markdown table of the time to import the libraries and start them."""
    lines = ["| library | start (range) |", "| --- | ---: |"]
    names = [cell.described().distribution for cell in cells if cell.start_ns]
    for name in dict.fromkeys(name for name in names if name in STARTS):
        here = [c for c in cells if c.described().distribution == name]
        times = [time for cell in here for time in cell.start_ns]
        spread = f"({duration(min(times))} – {duration(max(times))})"
        lines.append(f"| {name} | {duration(median(times))} {spread} |")
    return "\n".join(lines)


def report(cells: list[Cell]) -> str:
    """All tables."""
    parts = []
    for group in groups(cells):
        parts += [f"**{caption(group[0])}**", table(group), told(group)]
    for letter in dict.fromkeys(cell.case for cell in cells):
        sizes = {cell.size for cell in cells if cell.case == letter}
        if CASES[letter].nodes is not None and len(sizes) > 1:
            parts += [f"**{letter}. Time to compile, by length**", growth(letter, cells)]
    parts += ["**Start: import, and a first trivial function**", starts(cells)]
    return "\n\n".join(part for part in parts if part)


def plot(cells: list[Cell], target: str) -> None:
    """Write a chart: a panel for each table, or the curve where there are many sizes."""
    import_module("matplotlib").use("Agg")
    pyplot: Any = import_module("matplotlib.pyplot")
    curves = [
        letter
        for letter in dict.fromkeys(cell.case for cell in cells)
        if CASES[letter].nodes is not None
    ]
    tables = [group for group in groups(cells) if group[0].case not in curves]
    columns = 2
    rows = -(-(len(tables) + len(curves)) // columns)
    figure, panels = pyplot.subplots(
        rows, columns, figsize=(13, 3.2 * rows), squeeze=False, layout="constrained"
    )
    axes = list(panels.flat)
    for panel, group in zip(axes, tables, strict=False):
        draw_table(panel, group)
    for panel, letter in zip(axes[len(tables) :], curves, strict=False):
        draw_curve(panel, letter, [cell for cell in cells if cell.case == letter])
    for panel in axes[len(tables) + len(curves) :]:
        panel.axis("off")
    figure.savefig(target, dpi=120)


def draw_table(panel: Any, group: list[Cell]) -> None:
    """The times of one table: of a run, and hollow of the first result."""
    shown = [cell for cell in group if not cell.problem][::-1]
    heights = range(len(shown))
    runs = [cell.run() / 1e6 for cell in shown]
    spread = [
        [max(0.0, cell.run() - cell.spread()[0]) / 1e6 for cell in shown],
        [max(0.0, cell.spread()[1] - cell.run()) / 1e6 for cell in shown],
    ]
    firsts = [cell.first() / 1e6 for cell in shown]
    panel.errorbar(runs, heights, xerr=spread, fmt="o", color="#2171b5", label="run")
    panel.plot(firsts, heights, "o", color="#2171b5", mfc="none", label="first result")
    panel.set_xscale("log")
    panel.set_ylim(-0.5, len(shown) - 0.5)
    panel.set_yticks(heights, [cell.described().label for cell in shown], fontsize=8)
    panel.grid(axis="x", alpha=0.3)
    panel.set_title(caption(group[0]).replace("; ", "\n"), fontsize=9)
    panel.set_xlabel("ms (log scale)", fontsize=8)
    panel.legend(fontsize=7)


def draw_curve(panel: Any, letter: str, cells: list[Cell]) -> None:
    """The time to compile by the length of the program."""
    case = CASES[letter]
    assert case.nodes is not None
    for name, peer in case.peers.items():
        shown = [cell for cell in cells if cell.peer == name and not cell.problem]
        lengths = [case.nodes(cell.size) for cell in shown]
        if shown:
            seconds = [cell.compile() / 1e9 for cell in shown]
            panel.plot(lengths, seconds, marker="o", label=peer.label)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_title(f"{letter}. {case.title}\ntime to compile", fontsize=9)
    panel.set_xlabel("operations", fontsize=8)
    panel.set_ylabel("s", fontsize=8)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    described = "; ".join(f"{letter}: {case.title}" for letter, case in CASES.items())
    parser = argparse.ArgumentParser(
        description="Time to compile and to run programs and their derivatives, against other"
        " libraries.",
        epilog=f"The cases are {described}.",
    )
    parser.add_argument(
        "cases", nargs="*", metavar="CASE", help=f"which of: {', '.join(CASES)} (default: all)"
    )
    parser.add_argument(
        "--peers", nargs="+", metavar="PEER", help="only these, by their names in compiled_cases"
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each peer (default: 3)")
    parser.add_argument(
        "--seconds", type=float, default=2.0,
        help="of runs in a turn, at least three runs (default: 2)",
    )  # fmt: skip
    parser.add_argument(
        "--skip-slow", "--skip-unrolled", action="store_true",
        help="leave out what takes a minute to compile, such as JAX with the loop unrolled",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true",
        help="1 round of half a second at the smallest size, nothing slow: for trying things out",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write the raw numbers")
    parser.add_argument("--plot", metavar="FILE", help="draw a chart (with matplotlib)")
    args = parser.parse_args()
    unknown = [letter for letter in args.cases if letter not in CASES]
    if unknown:
        parser.error(f"no case {unknown[0]!r}; there are {', '.join(CASES)}")
    known = {name for case in CASES.values() for name in case.peers}
    strange = [name for name in args.peers or [] if name not in known]
    if strange:
        parser.error(f"no peer {strange[0]!r}; there are {', '.join(sorted(known))}")
    if args.quick:
        args.rounds, args.seconds, args.skip_slow = 1, 0.5, True
    if args.rounds < 1 or args.seconds <= 0.0:
        parser.error("--rounds is at least 1 and --seconds more than 0")
    return args


def main() -> None:
    """Measure, and print the tables."""
    args = parse_arguments()
    cells = cells_of(args.cases or list(CASES), args)
    for turn, cell in measure_all(cells, args.rounds, args.seconds):
        outcome = cell.problem or f"first {duration(cell.first())}, run {duration(cell.run())}"
        print(f"round {turn + 1}: {caption(cell)}: {cell.peer}: {outcome}", file=sys.stderr)

    setting = conditions(args.rounds)
    print(f"{setting['python']}, {setting['processor']}, {setting['cores']} cores;", end=" ")
    print(f"medians of {args.rounds} rounds\n")
    print(report(cells))
    if args.json:
        raw = {"conditions": setting, "cells": [asdict(cell) for cell in cells]}
        Path(args.json).write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    if args.plot:
        plot(cells, args.plot)


if __name__ == "__main__":
    main()
