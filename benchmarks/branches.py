"""Programs with branches, as they are written: paths, time to compile, and time of a call.

Each is measured as it is written, with its branches computed on both sides by hand, on plain floats
and in JAX, each in a process of its own::

    python benchmarks/branches.py
    python benchmarks/branches.py walk CNN --seconds 0.5

Values of a run are compared with those of plain Python, and gradients with ``value_and_grad`` on
nodes. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from branch_programs import PROGRAMS, Program

import chainrule as cr
from chainrule import math as cm

HERE = Path(__file__).resolve().parent
WAYS = ("branches", "by hand", "python", "jax")
TIMEOUT_S = 600
CHECKED = 8
"""So many lanes are compared with plain Python."""
TOLERANCE = 1e-8


def plain_functions() -> Any:
    """What programs without branches call, as loops of Python."""

    def scan(step: Any, carry: Any, *columns: Any) -> Any:
        for row in zip(*columns, strict=True):
            carry = step(carry, *row)
        return carry

    def repeat(step: Any, carry: Any, count: int) -> Any:
        for _ in range(count):
            carry = step(carry)
        return carry

    names = ("where", "maximum", "minimum", "exp", "log", "sqrt", "sin", "cos", "tan", "atan2")
    found = {name: getattr(cm, name) for name in names}
    found |= {"array": cr.array, "array_maximum": np.maximum, "sort": np.sort}
    return SimpleNamespace(scan=scan, repeat=repeat, **found)


def jax_functions() -> Any:
    """The same of JAX."""
    jax: Any = import_module("jax")
    jax.config.update("jax_enable_x64", True)
    jnp: Any = jax.numpy
    lax: Any = jax.lax

    def as_floats(carry: Any) -> Any:
        return jax.tree.map(lambda x: jnp.asarray(x, float), carry)

    def scan(step: Any, carry: Any, *columns: Any) -> Any:
        return lax.scan(lambda c, row: (step(c, *row), None), as_floats(carry), columns)[0]

    def repeat(step: Any, carry: Any, count: int) -> Any:
        return lax.scan(lambda c, _: (step(c), None), as_floats(carry), None, count)[0]

    names = ("where", "maximum", "minimum", "exp", "log", "sqrt", "sin", "cos", "tan", "sort")
    found = {name: getattr(jnp, name) for name in names}
    found |= {"array": jnp.array, "array_maximum": jnp.maximum, "atan2": jnp.arctan2}
    return SimpleNamespace(scan=scan, repeat=repeat, **found)


def made(program: Program, way: str) -> tuple[Any, Any]:
    """A function of arrays of lanes, and what tells of its compilation."""
    axes = [None] * program.shared + [0] * (len(arguments(program)) - program.shared)
    if way == "jax":
        functions = jax_functions()
        jax: Any = import_module("jax")

        def in_jax(*x: Any) -> Any:
            if program.in_jax is not None:
                return program.in_jax(jax, *x)
            return program.by_hand(functions, *x)

        compiled = jax.jit(jax.vmap(jax.value_and_grad(in_jax, program.by), axes))
        return lambda *x: jax.block_until_ready(descended(compiled, program.steps)(*x)), None
    functions = plain_functions()
    if way == "branches":
        f = program.branching
    else:

        def f(*x: Any) -> Any:
            return program.by_hand(functions, *x)

    found = cr.compile(cr.vmap(cr.value_and_grad(f, program.by), tuple(axes)))
    return descended(found, program.steps), found.stats


def descended(derived: Any, steps: int) -> Any:
    """Value and gradient after some steps of gradient descent by the first argument."""

    def descend(x: Any, *rest: Any) -> Any:
        for _ in range(steps - 1):
            x = x - 0.1 * derived(x, *rest)[1][0]
        return derived(x, *rest)

    return descend if steps > 1 else derived


def arguments(program: Program) -> Any:
    """The arguments: of lanes after those that all share."""
    return program.inputs(np.random.default_rng(1), program.lanes)


def lane(program: Program, args: Any, k: int) -> list[Any]:
    """The arguments of one lane, as plain Python has them."""
    each = [x if i < program.shared else x[k] for i, x in enumerate(args)]
    return [float(x) if np.ndim(x) == 0 else x for x in each]


def plain_python(program: Program, args: Any, seconds: float) -> dict[str, Any]:
    """The time of the values alone on plain floats, for all lanes."""
    count, taken = 0, 0.0
    while count < program.lanes and taken < seconds:
        one = [x.tolist() if np.ndim(x) == 1 else x for x in lane(program, args, count)]
        start = time.perf_counter()
        program.branching(*one)
        taken += time.perf_counter() - start
        count += 1
    return {"call": taken / count * program.lanes * program.steps}


def difference(program: Program, args: Any, result: Any) -> float:
    """The largest relative difference from plain Python, and from gradients on nodes."""
    values, slopes = result
    worst = 0.0
    for k in range(min(CHECKED, program.lanes)):
        one = lane(program, args, k)
        derived = cr.value_and_grad(program.branching, program.by)
        value, gradient = descended(derived, program.steps)(*one)
        pairs = [(values[k], value)]
        if program.steps == 1:
            pairs.append((values[k], program.branching(*one)))
        pairs += [(slope[k], g) for slope, g in zip(slopes, gradient, strict=True)]
        for found, expected in pairs:
            scale = 1.0 + np.max(np.abs(np.asarray(expected, float)))
            worst = max(worst, float(np.max(np.abs(np.asarray(found - expected, float)))) / scale)
    return worst


def measured(name: str, way: str, seconds: float) -> dict[str, Any]:
    """What one way of running a program takes, in seconds."""
    program = PROGRAMS[name]
    args = arguments(program)
    if way == "python":
        return plain_python(program, args, seconds)
    if way == "jax":
        import_module("jax")
    warnings.simplefilter("ignore")
    cr.compile(lambda x: x * 2.0)(1.0)  # start what it starts once
    start = time.perf_counter()
    function, stats = made(program, way)
    result = function(*args)
    found: dict[str, Any] = {"first": time.perf_counter() - start}
    calls: list[float] = []
    while len(calls) < 3 or (sum(calls) < seconds and len(calls) < 200):
        start = time.perf_counter()
        result = function(*args)
        calls.append(time.perf_counter() - start)
    found["call"] = sorted(calls)[len(calls) // 2]
    found["difference"] = difference(program, args, result)
    if stats is not None:
        branches = getattr(stats(), "branches", ())
        found["paths"] = stats().traces
        found["both"] = sum(branch.both for branch in branches)
        found["sites"] = len(branches)
    return found


def in_process(name: str, way: str, seconds: float) -> dict[str, Any] | str:
    """What a fresh process measures, or why it does not."""
    command = [sys.executable, __file__, name, "--way", way, "--seconds", str(seconds)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"more than {TIMEOUT_S} s"
    if done.returncode != 0:
        error = done.stderr.strip().splitlines()[-1]
        return "not installed" if "No module named" in error else error
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if not found.get("difference", 0.0) <= TOLERANCE:
        return f"wrong by {found['difference']:.1e}"
    return found


def duration(seconds: float) -> str:
    """A time with its unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def cell(found: dict[str, Any] | str, key: str) -> str:
    """A time of a table, or why there is none."""
    if isinstance(found, str):
        return found if key == "call" else "–"
    return duration(found[key]) if key in found else "–"


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=", ".join(PROGRAMS))
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each is run")
    parser.add_argument("--way", choices=WAYS, help="only this, in this process, as JSON")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=WAYS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(measured(args.programs[0], args.way, args.seconds)))
        return
    print(
        "| program | lanes | paths | both sides | first, by hand, JAX | a call, by hand, × |",
        end="",
    )
    print(" JAX | plain Python, values alone |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in args.programs or PROGRAMS:
        found = {way: in_process(name, way, args.seconds) for way in args.ways}
        nothing: dict[str, Any] = {}
        own, hand, python, jax = (found.get(way, nothing) for way in WAYS)
        ratio, told = "–", ("–", "–")
        if isinstance(own, dict) and isinstance(hand, dict) and own and hand:
            ratio = f"{own['call'] / hand['call']:.2f}"
        if isinstance(own, dict) and own:
            told = str(own["paths"]), f"{own['both']} of {own['sites']}"
        firsts = ", ".join(cell(x, "first") for x in (own, hand, jax))
        calls = ", ".join(cell(x, "call") for x in (own, hand))
        print(f"| {name} | {PROGRAMS[name].lanes:,} | {told[0]} | {told[1]} | {firsts}", end="")
        print(f" | {calls}, {ratio} | {cell(jax, 'call')} | {cell(python, 'call')} |", flush=True)


if __name__ == "__main__":
    main()
