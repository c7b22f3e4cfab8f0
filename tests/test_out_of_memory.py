"""Memory that runs out, at every single allocation of whatever is done with nodes.

Each case runs in a child process in which, for every n, all allocations of Python from the n-th on
fail, and in another round only the n-th. It succeeds or raises MemoryError, and afterwards a pass
over the same graph is right: no mark is left on a node, no gradient half sent.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest
from node_cases import CASES, ERRORS, HALF, Action, Pool, polynomial, raising

import chainrule as cr
from chainrule.backpropagation import send_gradients
from chainrule.differentiation import Linearization, closed_gradient, fresh_input, release
from chainrule.tracing import PROGRESS, transformation

COMPILED = cr.build_info()["compiled"]
PARTS = 6
MOST = 400
"""Beyond so many allocations not each is tried, but growing steps."""
HELD = 5_000
"""Nodes that are made before, so that the next are not taken from those once freed."""

OF_PYTHON = (
    "error return without exception set",
    "<function ",
    "<functools.",
    "import of module",
)
"""What Python itself says where it has no memory for an error that it raises or looks up."""


@contextlib.contextmanager
def level_of(*numbers: float) -> Iterator[tuple[list[cr.Node], int]]:
    """The inputs of a transformation, and its level."""
    with transformation("grad") as level:
        yield [fresh_input(number, level) for number in numbers], level


def sent(pool: Pool) -> object:
    """The gradient of numbers, in place."""
    with level_of(0.75, 0.5) as (inputs, level):
        y = polynomial(*inputs)
        assert level
        return send_gradients(y, inputs), [x._grad for x in inputs]


def closed(pool: Pool) -> object:
    """The gradient of nodes, and the level closed."""
    with level_of(0.75) as (inputs, level):
        y = polynomial(inputs[0], pool.y)
        return closed_gradient(y, inputs, level, PROGRESS.names)


def gradient(pool: Pool) -> object:
    """A gradient by a list, with a node from outside."""
    return cr.grad(lambda a, y: polynomial(a[0], y) * a[1])([0.75, 0.5], pool.y)


def pulled(pool: Pool) -> object:
    """Backwards through a graph of numbers, with users' operations in it."""
    with level_of(0.75, 0.5) as (inputs, level):
        y = polynomial(*inputs) + HALF(inputs[0])
        return Linearization(inputs, [y, inputs[0] * 2.0], level).pull_back([1.0, None])


def pulled_of_nodes(pool: Pool) -> object:
    """The same where derivatives are nodes, that outlive the level."""
    with level_of(0.75) as (inputs, level):
        y = polynomial(inputs[0], pool.y)
        found = Linearization(inputs, [y], level).pull_back([1.0])
        return release(inputs, [y, *found], level)


def pushed(pool: Pool) -> object:
    """Forwards."""
    with level_of(0.75, 0.5) as (inputs, level):
        y = polynomial(*inputs)
        return Linearization(inputs, [y, 2.0], level).push_forward([1.0, None])


def second(pool: Pool) -> object:
    """A level within a level."""
    with level_of(0.75) as ([x], outer), level_of(0.5) as (inputs, level):
        y = polynomial(inputs[0], x)
        found = release(inputs, Linearization(inputs, [y], level).pull_back([1.0]), level)
        return Linearization([x], found, outer).pull_back([1.0])


ACTIONS: dict[str, Action] = {
    **{f.__name__: f for f in (sent, closed, gradient, pulled, pulled_of_nodes, pushed, second)},
    **CASES,
    **{f"error: {name}": raising(kind, action) for name, (kind, action) in ERRORS.items()},
}


def expected() -> list[float]:
    """The gradients of a pass over a new graph, by which the others are judged."""
    x, y = cr.Node(0.75), cr.Node(0.5)
    root = polynomial(x, y)
    root.backward()
    return [node.grad for node in root.sorted_nodes()]


def damage(pool: Pool, gradients: list[float]) -> str:
    """What is wrong with the graph: marks that are left, an order or gradients that differ."""
    known = [node for node in vars(pool).values() if isinstance(node, cr.Node)]
    if any(getattr(node, "_pending", 0) for node in known):
        return "marks are left"
    pool.x.grad = pool.y.grad = 0.0
    try:
        pool.root.backward()
        order = pool.root.sorted_nodes()
    except Exception as error:
        return repr(error)
    return "" if [node.grad for node in order] == gradients else "gradients differ"


def starts() -> Iterator[int]:
    """Which allocation fails: each of the first, then ever fewer."""
    n = 0
    while True:
        yield n
        n += 1 + max(0, n - MOST) // 10


def run_out(name: str, pool: Pool, gradients: list[float]) -> str:
    """Let memory run out at each allocation of a case: "" or what went wrong."""
    from _testcapi import remove_mem_hooks, set_nomemory  # type: ignore[import-not-found]

    action = ACTIONS[name]
    last = 0
    for once in (False, True):
        action(pool)
        for n in starts():
            held = [cr.Node(1.0) for _ in range(HELD)] if COMPILED else []
            failed = False
            set_nomemory(n, n + 1 if once else 0)
            try:
                action(pool)
            except MemoryError:
                failed = True
            except (SystemError, pickle.PicklingError) as error:
                remove_mem_hooks()
                if not any(text in str(error) for text in OF_PYTHON):
                    return f"{name}, {n}: {error!r}"
                failed = True
            except BaseException as error:
                remove_mem_hooks()
                return f"{name}, {n}: {error!r}"
            finally:
                remove_mem_hooks()
            del held
            wrong = damage(pool, gradients)
            if wrong:
                return f"{name}, {n}: {wrong}"
            if not failed and (not once or n > last):
                last = n
                break
    return ""


def run_part(part: int) -> None:
    """The cases of a part: one line each, before it runs, so that a crash says where."""
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None  # a finalizer that has no memory can't raise
    pool = Pool()
    gradients = expected()
    for name in list(ACTIONS)[part::PARTS]:
        print(name, flush=True)
        problem = run_out(name, pool, gradients)
        if problem:
            print(f"wrong: {problem}", flush=True)
            pool = Pool()
    print("end")


@pytest.mark.skipif(
    importlib.util.find_spec("_testcapi") is None,
    reason="this Python lacks _testcapi, which lets memory run out",
)
@pytest.mark.parametrize("part", range(PARTS))
def test_memory_runs_out(part: int) -> None:
    """Everything succeeds or raises MemoryError, and leaves the graph as it was."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", __file__, str(part)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"{lines[-1:]} {done.stderr[-3000:]}"
    assert lines[-1] == "end"
    wrong = [line for line in lines if line.startswith("wrong")]
    assert not wrong, "\n".join(wrong)


if __name__ == "__main__":
    run_part(int(sys.argv[1]))
