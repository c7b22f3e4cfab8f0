"""Training small networks, against other libraries: a step, time to an accuracy, a transformer.

Each library in fresh processes that take turns, held to one processor, float64. Prints Markdown
tables::

    python benchmarks/networks.py
    python benchmarks/networks.py step --quick
    python benchmarks/networks.py --plot networks.png --json networks.json

See benchmarks/README.md. Needs Linux or macOS.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from compiled import held_to_processors
from eager import conditions
from networks_peers import NETWORKS, PEERS

HERE = Path(__file__).resolve().parent
TOLERANCE = 1e-9
GOALS = (0.95, 0.97)
SEEDS = 5
TRANSFORMERS = {
    "chainrule": "chainrule",
    "torch": "PyTorch, tensors of all names and heads",
    "nodes": "chainrule, eager",
    "plain": "plain Python classes",
}
Results = dict[str, list[dict[str, Any]]]


def measured(*words: str) -> dict[str, Any]:
    """What one fresh process measures, or the problem it met."""
    command = [sys.executable, str(HERE / "networks_peers.py"), *words]
    with held_to_processors(1) as environment:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        return {"problem": (done.stderr.strip().splitlines() or ["failed"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def duration(ns: float) -> str:
    """A time in the unit that fits."""
    for unit, size in (("µs", 1e3), ("ms", 1e6)):
        if ns < 1000 * size:
            return f"{ns / size:,.3g} {unit}" if ns < 100 * size else f"{ns / size:,.0f} {unit}"
    return f"{ns / 1e9:,.3g} s"


def rounds_of(what: str, library: str, rounds: int, *options: str) -> list[dict[str, Any]]:
    """Several measurements of a library."""
    found = [measured(what, library, *options) for _ in range(rounds)]
    print(what, library, *options[:1], found[0].get("problem", ""), file=sys.stderr)
    return found


def steps_table(results: dict[str, Results]) -> str:
    """Median, spread and ratio of the time of a step."""
    lines = []
    for name, by_library in results.items():
        lines += [f"**{NETWORKS[name].title}**: one step (loss, gradients, update)", ""]
        lines += [
            "| library | step | 5–95 % | × | first 5 steps |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        base = median(t for r in by_library["chainrule"] for t in r["steps_ns"])
        for library, found in by_library.items():
            label = PEERS[library][0]
            problem = next((r["problem"] for r in found if "problem" in r), "")
            if not problem and max(r["difference"] for r in found) > TOLERANCE:
                problem = "wrong weights"
            if problem:
                lines.append(f"| {label} | – | | | {problem} |")
                continue
            times = [t for r in found for t in r["steps_ns"]]
            low, high = np.percentile(times, (5, 95))
            first = median(r["first_ns"] for r in found)
            lines.append(
                f"| {label} {found[0]['version']} | {duration(median(times))} |"
                f" {duration(low)}–{duration(high)} | {median(times) / base:.2g} |"
                f" {duration(first)} |"
            )
        lines.append("")
    return "\n".join(lines)


def reached(curve: list[tuple[float, float]], goal: float) -> float:
    """Seconds until an accuracy is reached, inf if it is not."""
    return next((seconds for seconds, right in curve if right >= goal), np.inf)


def accuracy_table(results: Results) -> str:
    """Seconds to accuracies on held-out digits."""
    lines = ["**Digits, 64-32-10**: seconds from the data to an accuracy on held-out digits", ""]
    lines += [
        f"| library | {' | '.join(f'{goal:.0%}' for goal in GOALS)} | best | all epochs |",
        "| --- |" + " ---: |" * (len(GOALS) + 2),
    ]
    for library, found in results.items():
        if any("problem" in r for r in found):
            lines.append(f"| {PEERS[library][0]} | {found[0].get('problem')} |")
            continue
        curves = [r["curve"] for r in found]
        times = [f"{median(reached(curve, goal) for curve in curves):.2f}" for goal in GOALS]
        best = median(max(right for _, right in curve) for curve in curves)
        whole = median(curve[-1][0] for curve in curves)
        lines.append(f"| {PEERS[library][0]} | {' | '.join(times)} | {best:.1%} | {whole:.2f} s |")
    return "\n".join(lines) + "\n"


def transformer_table(results: Results, names: int, length: int) -> str:
    """The time of a training step of the transformer for each name."""
    lines = [
        f"**Transformer**: a training step on names of {length} letters, {names} at a time (eager"
        " and plain classes 2 at a time), time for each name",
        "",
        "| | for each name | × | first step |",
        "| --- | ---: | ---: | ---: |",
    ]
    right = results["chainrule"][0]
    base = 0.0
    for library, found in results.items():
        if any("problem" in r for r in found):
            lines.append(f"| {TRANSFORMERS[library]} | – | | {found[0].get('problem')} |")
            continue
        size = names if library in ("chainrule", "torch") else 2
        each = median(t for r in found for t in r["steps_ns"]) / size
        base = base or each
        if size == names:
            gap = np.max(np.abs(np.subtract(found[0]["gradient"], right["gradient"])))
            if gap > TOLERANCE:
                lines.append(f"| {TRANSFORMERS[library]} | – | | wrong by {gap:.0e} |")
                continue
        first = duration(median(r["first_ns"] for r in found))
        lines.append(
            f"| {TRANSFORMERS[library]} | {duration(each)} | {each / base:,.3g} | {first} |"
        )
    return "\n".join(lines) + "\n"


def plot(results: Results, path: str) -> None:
    """Held-out accuracy against seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    ax = figure.subplots()
    for library, found in results.items():
        curves = [r["curve"] for r in found if "curve" in r]
        if not curves:
            continue
        seconds = np.median([[s for s, _ in curve] for curve in curves], axis=0)
        right = np.median([[a for _, a in curve] for curve in curves], axis=0)
        wide = 2.5 if library == "chainrule" else 1.2
        ax.plot(seconds, right, label=PEERS[library][0], linewidth=wide)
    ax.axhline(0.97, color="0.7", linestyle=":")
    ax.set(xlabel="seconds, compiling included", ylabel="accuracy on held-out digits")
    ax.set(xscale="log", ylim=(0.85, 0.99))
    ax.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description="Measure the training of small networks.")
    kinds = ("step", "accuracy", "transformer")
    parser.add_argument("what", nargs="*", help=f"some of {', '.join(kinds)}; by default all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of steps in each process")
    parser.add_argument("--quick", action="store_true", help="one round, half a second")
    parser.add_argument("--plot", help="file for the curve of accuracy")
    parser.add_argument("--json", help="file for the raw measurements")
    args = parser.parse_args()
    wrong = [word for word in args.what if word not in kinds]
    if wrong:
        parser.error(f"there is no {wrong[0]!r}; there are {', '.join(kinds)}")
    rounds, seconds = (1, "0.5") if args.quick else (args.rounds, str(args.seconds))
    what = args.what or kinds
    raw: dict[str, Any] = {"conditions": conditions(rounds)}
    setting = raw["conditions"]
    print(f"{setting['python']}, {setting['processor']}, one of {setting['cores']} cores\n")
    if "step" in what:
        raw["step"] = {
            name: {
                library: rounds_of("step", library, rounds, name, "--seconds", seconds)
                for library in PEERS
                if library != "micrograd" or not network.classes
            }
            for name, network in NETWORKS.items()
        }
        print(steps_table(raw["step"]))
    if "accuracy" in what:
        seeds = 1 if args.quick else SEEDS
        raw["accuracy"] = {
            library: [measured("accuracy", library, "--seed", str(seed)) for seed in range(seeds)]
            for library in PEERS
            if library != "micrograd"
        }
        print(accuracy_table(raw["accuracy"]))
        if args.plot:
            plot(raw["accuracy"], args.plot)
    if "transformer" in what:
        names, length = 32, 6
        raw["transformer"] = {}
        for library in TRANSFORMERS:
            size = names if library in ("chainrule", "torch") else 2
            raw["transformer"][library] = rounds_of(
                "transformer", library, 1 if args.quick else 2,
                "--names", str(size), "--length", str(length), "--seconds", seconds,
            )  # fmt: skip
        print(transformer_table(raw["transformer"], names, length))
    if args.json:
        Path(args.json).write_text(json.dumps(raw) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
