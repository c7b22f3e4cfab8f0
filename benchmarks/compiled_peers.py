"""The cases that compiled.py measures, and the measurement of one peer in one.

Run as a script it measures one peer in this process and prints JSON; compiled.py does that, in a
fresh process for every measurement::

    python compiled_peers.py a jax_scan --size 252 --threads 1 --seconds 2
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from typing import Any

from compiled_cases import (
    asian,
    black_scholes,
    cheap_gradients,
    look_up,
    network,
    new_controls,
    product,
    rosenbrock,
    small,
)
from compiled_cases.common import Case, Peer, Setting, difference
from compiled_cases.libraries import STARTS
from eager_peers import peak_memory, reset_peak_memory
from gradbench import ba, det, gmm, hello, ht, kmeans, llsq, lse, lstm, ode, particle, saddle

CASES = {
    "a": asian.CASE,
    "b": asian.LONG_CASE,
    "c": asian.KNOCK_OUT_CASE,
    "d": black_scholes.CASE,
    "e": rosenbrock.CASE,
    "f": small.CASE,
    "g": network.CASE,
    "k": cheap_gradients.SINES_CASE,
    "l": cheap_gradients.PRODUCT_CASE,
    "m": cheap_gradients.RECURRENCE_CASE,
    "n": look_up.CASE,
    "o": asian.MEMORY_CASE,
    "p": product.CASE,
    "q": new_controls.CASE,
    "hello": hello.CASE,
    "saddle": saddle.CASE,
    "particle": particle.CASE,
    "det": det.CASE,
    "lse": lse.CASE,
    "llsq": llsq.CASE,
    "ode": ode.CASE,
    "kmeans": kmeans.CASE,
    "gmm": gmm.CASE,
    "lstm": lstm.CASE,
    "ba": ba.CASE,
    "ht": ht.CASE,
}
WARM_UP_RUNS = 2
FEWEST_RUNS, MOST_RUNS = 3, 1_000


def version_of(peer: Peer) -> str:
    """The version of a peer's package, with how chainrule's engine runs."""
    if peer.distribution is None:
        return "–"
    number = version(peer.distribution)
    if peer.distribution != "chainrule":
        return number
    info: Any = import_module("chainrule").build_info()
    return f"{number}, {'compiled' if info['compiled'] else 'plain Python'}"


def measure(case: Case, peer: Peer, setting: Setting, seconds: float) -> dict[str, Any]:
    """Times in ns of start, first result and later runs, and how far the results are from right.

    The first result includes all that follows the library's start and the making of the inputs:
    tracing, compiling, and one run. The memory, in bytes, is what the process's peak grew by
    meanwhile. Runs go on for so many seconds.
    """
    start = time.perf_counter_ns()
    if peer.distribution in STARTS:
        STARTS[peer.distribution](setting.threads)
    start_ns = time.perf_counter_ns() - start
    build = peer.load(setting)
    reset_peak_memory()
    before = peak_memory()
    start = time.perf_counter_ns()
    program = build()
    results = program.run()
    first_ns = time.perf_counter_ns() - start
    memory = peak_memory() - before
    right = case.expected(setting.size)
    first_difference = difference(program.arrays(results), right)

    for _ in range(WARM_UP_RUNS if first_ns < 1e9 * seconds else 0):
        results = program.run()
    runs_ns: list[int] = []
    while len(runs_ns) < FEWEST_RUNS or (len(runs_ns) < MOST_RUNS and sum(runs_ns) < 1e9 * seconds):
        start = time.perf_counter_ns()
        results = program.run()
        runs_ns.append(time.perf_counter_ns() - start)
    return {
        "version": version_of(peer),
        "start_ns": start_ns,
        "first_ns": first_ns,
        "runs_ns": runs_ns,
        "memory": memory,
        "difference": max(first_difference, difference(program.arrays(results), right)),
        "stats": asdict(program.stats()) if program.stats else {},
    }


def main() -> None:
    """Measure one peer and print JSON."""
    parser = argparse.ArgumentParser(description="Measure one peer in this process.")
    parser.add_argument("case", choices=CASES)
    parser.add_argument("peer")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args()
    case = CASES[args.case]
    setting = Setting(args.size, args.threads)
    measured = measure(case, case.peers[args.peer], setting, args.seconds)
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
