"""A child is forked while other threads of its parent compile, trace, and run backward passes."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import chainrule
from chainrule.jit.trace import TRACED_ONCE

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

SOURCES = Path(chainrule.__file__).parent
PATHS = os.pathsep.join([str(Path(__file__).parent), str(SOURCES.parent)])

CHILDREN = """
import faulthandler, gc, os, random, sys, threading, time
import numpy as np
from chainrule import Node, compile, grad, math, value_and_grad, vmap

random.seed(int(sys.argv[1]))
stop = False
x8 = np.linspace(0.0, 1.0, 8)

def stepping(count, factor):
    def f(x):
        for _ in range(count):
            x = math.sin(x) * factor + x * 0.5 + math.tanh(x)
            if x > 3.0:
                x = x - 1.0
        return x
    return f

def right(compiled, function, x):
    expected = [function(number) for number in x.tolist()]
    return np.allclose(np.transpose(compiled(x)), expected, rtol=1e-9)

shared = compile(vmap(value_and_grad(stepping(40, 0.25))))
long = compile(value_and_grad(stepping(900, 0.125)))  # so long that other threads compile it
leaf = Node(0.5)
root = stepping(300, 0.25)(leaf)

def compiling():
    while not stop:
        f = compile(vmap(value_and_grad(stepping(random.randrange(1, 80), random.random()))))
        f(x8)
        del f
        gc.collect()

def sharing():
    shared(x8)
    long(0.3)

def passing():
    while not stop:
        root.backward()

def eager():
    a = Node(2.0)
    (a * a + math.exp(a)).backward()
    assert abs(a.grad - (4.0 + np.exp(2.0))) < 1e-12
    gc.collect()
    other = Node(0.5)
    stepping(300, 0.25)(other).backward()
    leaf.grad = 0.0
    root.backward()
    assert leaf.grad == other.grad

def compiled():
    f = value_and_grad(stepping(30, 0.75))
    assert right(compile(vmap(f), threads=2), f, x8)

def continued():
    assert right(shared, value_and_grad(stepping(40, 0.25)), x8)
    assert np.allclose(long(0.3), value_and_grad(stepping(900, 0.125))(0.3), rtol=1e-9)

threads = [threading.Thread(target=work, daemon=True) for work in (compiling, sharing, passing)]
for thread in threads:
    thread.start()
failed = []
for work in (eager, compiled, continued, eager, compiled, continued):
    time.sleep(random.random() * 0.1)
    child = os.fork()
    if not child:
        faulthandler.dump_traceback_later(30, exit=True)
        work()
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(work.__name__)
stop = True
for thread in threads:
    thread.join()
eager(), compiled(), continued()
assert not failed, failed
"""


@pytest.mark.parametrize("seed", range(3))
def test_children_compute(seed: int) -> None:
    """Eagerly, compiled anew, and with functions that another thread was compiling."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILDREN, str(seed)],
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": PATHS},
    )


HOLDING = """
import os, signal, sys, threading
from chainrule import forking
from chainrule.backpropagation import _WRITING as passes
from chainrule.backends.llvm import machine

kind = sys.argv[1]
llvm = machine.binding().ffi.lib._lock
held = threading.Event()
forked = threading.Event()
whole = []

def hold():
    if kind == "of the package":
        with lock:
            held.set()
            forked.wait()
    else:
        with {"of LLVM": llvm, "of imports": machine._importing, "of passes": passes}[kind]:
            whole.append(False)
            held.set()
            forked.wait(0.3)  # the fork waits
            whole.append(True)

lock = forking.lock()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child:
    forked.set()
    assert os.waitpid(child, 0)[1] == 0
else:
    signal.alarm(20)
    assert whole in ([], [False, True])
for each in (lock, llvm, machine._importing, passes):
    with each:
        pass
os._exit(0)
"""


@pytest.mark.parametrize("kind", ["of the package", "of LLVM", "of imports", "of passes"])
def test_locks_are_free_in_a_child(kind: str) -> None:
    """Whoever held them; those around a fork guard nothing half changed."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HOLDING, kind],
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": PATHS},
    )


INSIDE = """
import os
from chainrule import compile, math, vmap
import numpy as np

children = []

def f(x):
    if not children:
        children.append(os.fork())
    return math.exp(x)

assert compile(f)(0.5) == math.exp(0.5)  # the locks that this thread holds are its child's, too
if children[0]:
    assert os.waitpid(children[0], 0)[1] == 0
assert (compile(vmap(f))(np.zeros(3)) == 1.0).all()
os._exit(0)
"""


def test_a_traced_function_forks() -> None:
    """Parent and child both go on."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", INSIDE],
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": PATHS},
    )


def test_every_lock_is_known_to_forks() -> None:
    """Those that are made elsewhere are taken around forks; properties of functools have one."""
    assert not [p for p in SOURCES.rglob("*.py") if re.search(r"@.*cached_property", p.read_text())]
    made = {
        f"{path.relative_to(SOURCES)}:{name}"
        for path in SOURCES.rglob("*.py")
        for name in re.findall(r"(\w+)[^=\n]* = threading\.R?Lock\(\)", path.read_text())
    }
    assert made == {
        "forking.py:made",
        "backpropagation.py:_WRITING",
        "node.py:_SETTING",
        "backends/llvm/machine.py:_importing",
        "backends/llvm/pool.py:self",  # nobody waits for it
    }


IMPORTED = """
import os, sys
from chainrule import compile
compile(lambda x: x * x)
child = os.fork()
if child == 0:
    for name in {names!r}:
        assert name in sys.modules, name
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def test_modules_are_imported_before_forks() -> None:
    """All that compiled functions import when they need it."""
    names = set()
    for room in ("jit", "passes", "backends", "program", "rewriting"):
        for path in (SOURCES / room).rglob("*.py"):
            package = ["chainrule", *path.relative_to(SOURCES).parts[:-1]]
            tree = ast.parse(path.read_text())
            functions = [x for x in ast.walk(tree) if isinstance(x, ast.FunctionDef)]
            for x in [y for function in functions for y in ast.walk(function)]:
                if isinstance(x, ast.ImportFrom) and x.level < 2:
                    above = package if x.level else []
                    module = [*above, *(x.module or "").split(".")]
                    inside = [[*module, y.name] for y in x.names]
                    for name in [module, *inside]:
                        path = SOURCES.joinpath(*name[1:])
                        if name is module or path.with_suffix(".py").exists():
                            names.add(".".join(name))
    names = {name for name in names if name.startswith("chainrule.")}
    names |= {f"chainrule.jit.{module}" for module, _ in TRACED_ONCE.values()}
    assert "chainrule.passes.repetitions" in names
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORTED.format(names=sorted(names))],
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": PATHS},
    )


FREEING = """
import os, threading
from chainrule import Node

class Finalized(Node):
    def __init__(self, x, finalize):
        super().__init__(x)
        self.finalize = finalize
    def __del__(self):
        self.finalize()

inside, go_on = threading.Event(), threading.Event()

def finalize():
    inside.set()
    go_on.wait()

def freeing():
    y = Finalized(1.0, finalize) * 2.0
    del y

thread = threading.Thread(target=freeing)
thread.start()
inside.wait()
child = os.fork()
if not child:
    freed = []
    y = Finalized(1.0, lambda: freed.append(True)) * 2.0
    del y
    os._exit(0 if freed else 1)
failed = os.waitpid(child, 0)[1]
go_on.set()
thread.join()
assert not failed
"""


def test_children_free_nodes_that_another_thread_was_freeing() -> None:
    """Of a parent whose thread stands in a finalizer."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FREEING],
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": PATHS},
    )
