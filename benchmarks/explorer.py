"""The explorer: time to write a page, its size, and the time to open it and to use it.

Opening is timed in Chromium without a window, from the beginning of the navigation until the page
has drawn its graph and answers (medians of several runs). "Change" is the time in which a changed
leaf has moved every number; "step" that of one step.

    python benchmarks/explorer.py [--runs 5]
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from chainrule import Node, explore, group

OPENED = """() => {
  const { startTime } = performance.getEntriesByType('navigation')[0];
  return performance.now() - startTime;
}"""
CHANGE = """() => {
  const leaf = graph.kind.indexOf(-1);
  const start = performance.now();
  changeLeaf(leaf, graph.value[leaf] + 0.01);
  return performance.now() - start;
}"""
STEP = """() => {
  const start = performance.now();
  go(walk.step === walk.length ? 0 : walk.step + 1);
  return performance.now() - start;
}"""


def unit() -> Node:
    """A dense unit: 10 nodes."""
    w0, w1, b, x0, x1 = (Node(x) for x in (-0.7, 0.4, 0.3, 1.5, 2.0))
    y: Node = (w0 * x0 + w1 * x1 + b).tanh()
    return y


def network(sizes: tuple[int, ...]) -> Node:
    """The squared error of a network on one sample, in groups of layers and neurons."""
    rng = random.Random(1)
    values: list[Node] = [Node(rng.uniform(-1, 1)) for _ in range(sizes[0])]
    for layer, size in enumerate(sizes[1:], start=1):
        with group(f"layer {layer}"):
            outputs = []
            for i in range(size):
                with group(f"neuron {i + 1}"):
                    total = Node(rng.uniform(-1, 1))
                    for value in values:
                        total = total + Node(rng.gauss(0, 0.3)) * value
                    outputs.append(total.tanh())
            values = outputs
    loss: Node = (values[0] - 0.3) ** 2
    return loss


def chain(count: int) -> Node:
    """Operations in a chain, without groups."""
    x = Node(0.5)
    y = x
    for i in range(count - 1):
        y = y * x if i % 2 else y + 0.1
    return y


def batch(samples: int, sizes: tuple[int, ...]) -> Node:
    """The mean squared error of a network on several samples, in groups of layers."""
    rng = random.Random(1)
    layers = [
        [[Node(rng.gauss(0, 0.3)) for _ in range(before + 1)] for _ in range(size)]
        for before, size in itertools.pairwise(sizes)
    ]
    total = Node(0.0)
    for _ in range(samples):
        values = [Node(rng.uniform(-1, 1)) for _ in range(sizes[0])]
        for number, layer in enumerate(layers, start=1):
            with group(f"layer {number}"):
                sums = [
                    sum((w * x for w, x in zip(ws, values, strict=False)), ws[-1]) for ws in layer
                ]
                values = [value.tanh() for value in sums]
        with group("loss"):
            total = total + (values[0] - 0.3) ** 2
    return total


def measure(browser: Browser, name: str, root: Node, runs: int) -> str:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        path = Path(explore(root).save(Path(folder, "page.html")))
        written = time.perf_counter() - start
        opened, changed, stepped = [], [], []
        for _ in range(runs):
            page = browser.new_page(viewport={"width": 1200, "height": 800})
            page.goto(path.as_uri())
            opened.append(page.evaluate(OPENED))
            changed.append(page.evaluate(CHANGE))
            stepped += [page.evaluate(STEP) for _ in range(5)]
            page.close()
        size = path.stat().st_size
    times = [statistics.median(found) for found in (opened, changed, stepped)]
    shown = " | ".join(f"{milliseconds:,.0f} ms" for milliseconds in times)
    count = len(root.sorted_nodes())
    return f"| {name} | {count:,} | {size / 1000:,.0f} kB | {written:.2f} s | {shown} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    graphs = {
        "dense unit": unit(),
        "2-12-12-1 network": network((2, 12, 12, 1)),
        "network": network((20, 100, 100, 42, 1)),
        "batch of 96": batch(96, (4, 12, 12, 1)),
        "chain without groups": chain(50_000),
    }
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        print("| graph | nodes | file | write | open | change | step |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        for name, root in graphs.items():
            print(measure(browser, name, root, runs))
        browser.close()


if __name__ == "__main__":
    main()
