"""Machine code in a process with much memory, and what happens where LLVM fails."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest

import chainrule
from chainrule import compile, grad, math, nn, value_and_grad, vmap
from chainrule.backends.llvm import machine as machine_module
from chainrule.backends.llvm.machine import Machine
from chainrule.tracing import NotCompilable

PATHS = os.pathsep.join([str(Path(__file__).parent), str(Path(chainrule.__file__).parents[1])])

# Maps address space that is never touched, in pieces, before and between kernels of all kinds.
MAPPED = """
import mmap, sys
import numpy as np
from chainrule import compile, math, value_and_grad, vmap

held = []
size = int(sys.argv[1]) << 30
rng = np.random.default_rng(int(sys.argv[2]))

def fill():
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    held.append(mmap.mmap(-1, size, flags=flags, prot=mmap.PROT_READ))
    held.append([np.empty(int(n)) for n in rng.integers(1, 1 << 20, 20)])

def stepping(count, factor):
    def f(x):
        for i in range(count):
            x = 0.3 * (factor * math.sin(x) + math.exp(-x * x) + x) + math.hypot(x, 0.1) * 0.1
            if x > 0.3 + 0.01 * i:
                x = x - 0.25
        return x
    return value_and_grad(f)

fill()
for round in range(3):
    f = stepping(int(rng.integers(20, 60)), float(rng.random()))
    x = rng.random(20) * 3.0
    expected = [f(number) for number in x.tolist()]
    found = np.transpose(compile(vmap(f))(x))
    assert np.allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert np.allclose(compile(f)(x[0]), expected[0], rtol=1e-9, atol=1e-12)
    fill()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="LLVM's older linker there")
@pytest.mark.parametrize("gigabytes", [2, 8, 16])
@pytest.mark.parametrize("seed", range(3))
def test_much_memory_is_mapped(gigabytes: int, seed: int) -> None:
    """Code and constants of one object lie side by side, however little room is left between."""
    subprocess.run(
        [sys.executable, "-c", MAPPED, str(gigabytes), str(seed)],
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": PATHS},
    )


# Failures of LLVM


def of_llvmlite(function: Any) -> Any:
    """The function, as if it stood in llvmlite."""
    return FunctionType(function.__code__, {"__name__": "llvmlite.binding.stand_in"})


@of_llvmlite
def error(*arguments: Any, **more: Any) -> Any:
    """What llvmlite does where LLVM reports an error."""
    raise RuntimeError("out of order")


@of_llvmlite
def refusal(*arguments: Any, **more: Any) -> Any:
    """What llvmlite says where the system lets no memory be executed."""
    raise OSError(13, "cannot allocate executable memory")


def garbage(*arguments: Any, **more: Any) -> bytes:
    """Object code that is none."""
    return b"\x7fELF garbage"


LLVM = machine_module.binding()
STAGES: dict[str, tuple[Any, str, Any]] = {
    "machine": (machine_module, "_machine", error),
    "parse": (LLVM, "parse_assembly", error),
    "generator": (Machine, "target_machine", error),
    "emit": (LLVM.TargetMachine, "emit_object", error),
    "object": (LLVM.TargetMachine, "emit_object", garbage),
    "permission": (LLVM, "check_jit_execution", refusal),
    "linker": (LLVM, "create_lljit_compiler", error),
    "link": (LLVM.JITLibraryBuilder, "link", error),
}
"""What can fail between the text and the loaded code."""


@pytest.fixture(params=STAGES)
def broken(request: pytest.FixtureRequest) -> Callable[[pytest.MonkeyPatch], None]:
    """Lets LLVM fail at a stage."""
    compile(math.exp)(1.0)  # what all functions share is there
    compile(vmap(math.exp))(np.ones(2))

    def breaks(patch: pytest.MonkeyPatch) -> None:
        machine_module._local.__dict__.pop("generators", None)
        machine_module._linker.cache_clear()
        patch.setattr(*STAGES[request.param])

    return breaks


def smooth(x: Any) -> Any:
    """A function without branches."""
    return math.sin(x) * x


def branching(x: Any) -> Any:
    """A function of two paths."""
    return math.exp(x) if x > 1.0 else math.sin(x)


POINT = 0.5
LANES = np.array([0.5, 2.0, 0.25])


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (smooth, POINT),
        (branching, POINT),
        (value_and_grad(branching), POINT),
        (vmap(branching), LANES),
        (vmap(grad(smooth)), LANES),
        (vmap(smooth, reduce="sum"), LANES),
    ],
)
def test_where_llvm_fails_functions_run_eagerly(
    function: Any, argument: Any, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One warning says so, the result is right, and afterwards others are compiled again."""
    compiled = compile(function)
    with monkeypatch.context() as patch:
        broken(patch)
        with pytest.warns(RuntimeWarning, match="runs eagerly: LLVM failed") as caught:
            results = [compiled(argument) for _ in range(3)]
        assert len(caught) == 1
    for result in results:
        assert np.array_equal(result, function(argument))
    assert compiled.stats().eager
    again = compile(function)
    assert np.allclose(again(argument), function(argument), rtol=1e-12)
    assert not again.stats().eager


def test_a_failure_on_a_second_path(broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first path has run as machine code before."""
    compiled = compile(branching, rewrite=False)
    assert compiled(0.5) == pytest.approx(branching(0.5), rel=1e-14)
    with monkeypatch.context() as patch:
        broken(patch)
        with pytest.warns(RuntimeWarning, match="runs eagerly: LLVM failed"):
            assert compiled(2.0) == branching(2.0)
    for x in (0.5, 2.0, 0.25):
        assert compiled(x) == pytest.approx(branching(x), rel=1e-14)


@pytest.mark.parametrize("lanes", [False, True])
def test_a_failure_in_careful_code(
    lanes: bool, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is compiled when a value needs it, long after the first call."""

    def f(x: Any) -> Any:
        return math.where(x > 0.0, math.sqrt(x), 0.0)

    gradient = vmap(grad(f)) if lanes else grad(f)
    odd: Any = np.array([0.0, -1.0]) if lanes else 0.0
    plain: Any = np.array([1.0, 4.0]) if lanes else 4.0
    compiled = compile(gradient)
    for _ in range(2):
        assert np.array_equal(compiled(plain), gradient(plain))
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        broken(patch)
        for _ in range(2):
            assert np.array_equal(compiled(odd), gradient(odd))
    for x in (plain, odd):
        assert np.array_equal(compiled(x), gradient(x))


def test_a_failure_in_a_long_function(broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads compile its modules; none of them goes on with what the others lack."""
    monkeypatch.setattr("chainrule.backends.llvm.objects.LONG", 0)

    def long(x: Any) -> Any:
        for _ in range(3000):
            x = x * x - 0.5
        return x

    with monkeypatch.context() as patch:
        broken(patch)
        with pytest.warns(RuntimeWarning, match="runs eagerly: LLVM failed"):
            assert compile(long)(0.25) == long(0.25)
    assert compile(long)(0.25) == long(0.25)


def test_a_failure_whose_frames_are_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module goes before what it lives in, whenever Python looks for cycles."""

    @of_llvmlite
    def failing(*arguments: Any) -> Any:
        error = RuntimeError("out of order")  # a frame of its traceback holds it: a cycle
        raise error

    monkeypatch.setattr(LLVM.TargetMachine, "emit_object", failing)
    for _ in range(30):
        with pytest.raises(NotCompilable, match="out of order"):
            machine_module.machine().compile("define void @f() {\n ret void\n}", 0)
        gc.collect()


def test_training_where_llvm_fails(broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is trained and used eagerly."""
    monkeypatch.setattr("chainrule.nn.evaluation._programs", OrderedDict())  # none is kept
    rng = np.random.default_rng(0)
    X = rng.standard_normal((8, 2))
    models = []
    for fails in (True, False):
        model = nn.MLP(2, [3, 1], seed=1)
        with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if fails:
                broken(patch)
            nn.fit(model, X, X[:, 0], epochs=2)
            prediction = nn.predict(model, X)
        models.append(prediction)
        assert any("LLVM failed" in str(w.message) for w in caught) == fails
    assert np.allclose(models[0], models[1], rtol=1e-9)
