"""Ctrl-C at any moment of tracing, compiling and running leaves nothing locked or half done."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, wait
from pathlib import Path

import pytest

import chainrule
from chainrule import math, rules
from chainrule.backends.llvm import threads
from chainrule.backends.llvm.machine import binding, machine

PATHS = os.pathsep.join([str(Path(__file__).parent), str(Path(chainrule.__file__).parents[1])])

INTERRUPTED = """
import faulthandler, os, random, signal, sys, threading, time
import numpy as np
import chainrule.backends.llvm.objects as objects
from chainrule import Node, compile, grad, math, value_and_grad, vmap

faulthandler.dump_traceback_later(240, exit=True)
random.seed(int(sys.argv[1]))
x8 = np.linspace(0.0, 1.0, 8)

def stepping(count, factor):
    def f(x):
        for _ in range(count):
            x = math.sin(x) * factor + x * 0.5 + math.tanh(x)
            if x > 3.0:
                x = x - 1.0
        return x
    return f

def shoot(delay, done):
    if not done.wait(delay):
        os.kill(os.getpid(), signal.SIGINT)

for _ in range(12):
    count, factor = random.choice([3, 30, 200]), random.random() * 0.9
    objects.LONG = random.choice([0, 10_000])  # 0: other threads compile, too
    f = stepping(count, factor)
    point, lanes = compile(value_and_grad(f)), compile(vmap(grad(f)), threads=2)
    done = threading.Event()
    shooter = threading.Thread(target=shoot, args=(random.random() * 0.001 * count, done))
    for attempt in range(2):  # the interrupt may come late
        try:
            if not attempt:
                shooter.start()
                for _ in range(3):
                    point(0.3)
                    lanes(x8)
            done.set()
            shooter.join()
        except KeyboardInterrupt:
            pass
    assert np.allclose(point(0.3), value_and_grad(f)(0.3), rtol=1e-9)
    assert np.allclose(lanes(x8), [grad(f)(x) for x in x8.tolist()], rtol=1e-9)
    assert not point.stats().eager
    assert not lanes.stats().eager
    other = stepping(5, factor)
    found = []
    thread = threading.Thread(target=lambda: found.append(compile(grad(other))(0.3)))
    thread.start()
    thread.join(60)
    assert found, "another thread waits for ever"
    assert np.isclose(found[0], grad(other)(0.3), rtol=1e-9)
    x = Node(1.0)
    math.exp(x * x).backward()
    assert np.isclose(x.grad, 2.0 * np.e)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs the signals of POSIX")
@pytest.mark.parametrize("seed", range(2))
def test_what_was_interrupted_works_afterwards(seed: int) -> None:
    """The same functions, others in another thread, and backward passes."""
    subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(seed)],
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": PATHS},
    )


@pytest.mark.parametrize("raised", [KeyboardInterrupt, TimeoutError, RuntimeError, ValueError])
def test_a_signal_leaves_llvm_to_the_others(
    raised: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its handler raises; also one that falls just after llvmlite has taken its lock."""
    target = machine()
    lock = sys.modules["llvmlite.binding.ffi"].lib._lock

    def interrupted() -> None:
        lock.__enter__()
        raise raised("from a handler")

    monkeypatch.setattr(binding(), "create_context", interrupted)
    with pytest.raises(raised, match="from a handler"):
        target.compile("", 0)
    assert not lock._lock._is_owned()


@pytest.mark.skipif(os.name != "posix", reason="needs the signals of POSIX")
def test_a_timeout_while_llvm_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the call, and the function is compiled at the next one."""
    f = chainrule.compile(lambda x: math.exp(math.sin(x)))
    library = sys.modules["llvmlite.binding.ffi"].lib
    emit = library.LLVMPY_TargetMachineEmitToMemory

    def late(number: int, frame: object) -> None:
        raise TimeoutError("too late")

    def slow(*arguments: object) -> object:
        signal.raise_signal(signal.SIGALRM)
        return emit(*arguments)

    monkeypatch.setenv("CHAINRULE_CACHE", "")
    before = signal.signal(signal.SIGALRM, late)
    try:
        with monkeypatch.context() as patch:
            patch.setitem(library._fntab, "LLVMPY_TargetMachineEmitToMemory", slow)
            with pytest.raises(TimeoutError, match="too late"):
                f(0.5)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert f(0.5) == pytest.approx(math.exp(math.sin(0.5)))
    assert not f.stats().eager


def test_an_interrupt_waits_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """They work on memory that goes once a call has ended."""
    waiting = [KeyboardInterrupt, KeyboardInterrupt]
    begun = threading.Event()
    ended = []

    def interrupted(futures: Iterable[Future[None]]) -> object:
        if waiting:
            raise waiting.pop()
        return wait(futures)

    def work() -> None:
        if threading.current_thread() is threading.main_thread():
            begun.wait(60)
        else:
            begun.set()
            time.sleep(0.1)
        ended.append(True)

    monkeypatch.setattr(concurrent.futures, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        threads.together(2, work)
    assert len(ended) == 2


def test_an_interrupt_where_python_computes_an_odd_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the call, instead of giving NaN."""
    f = chainrule.compile(lambda x: math.fsum([1e100, x, -1e100]))
    assert f(1.0) == 1.0

    class Interrupted:
        times = 0

        def evaluate(self, operands: list[float]) -> float:
            self.times += 1
            if self.times == 1:
                raise KeyboardInterrupt
            return rules.fsum.evaluate(operands)

    fsum = Interrupted()
    monkeypatch.setitem(rules.OPERATIONS, "fsum", fsum)
    with pytest.raises(KeyboardInterrupt):
        f(2.0)
    assert f(2.0) == 2.0
