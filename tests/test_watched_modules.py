"""What an operation reads from modules is watched, whatever ways lead there."""

from __future__ import annotations

import random
import types
from typing import Any

import pytest

from chainrule import Operation
from chainrule.jit.captures import Watch


@pytest.mark.parametrize("seed", range(200))
def test_every_module_that_an_operation_reads_is_watched(seed: int) -> None:
    """A hundred modules behind twenty functions: a change of any is noticed."""
    drawn = random.Random(seed)
    held: dict[str, Any] = {}
    modules = [types.ModuleType(f"own{i}") for i in range(100)]
    for i, module in enumerate(modules):
        module.K = 1.5  # type: ignore[attr-defined]
        held[f"{drawn.choice('abxyz')}_module{i}"] = module
    names = list(held)
    drawn.shuffle(names)
    functions = [f"{drawn.choice('abkxyz')}_function{i}" for i in range(20)]
    for i, name in enumerate(functions):
        calls = "".join(f" * {other}()" for other in functions[i + 1 : i + 3])
        reads = "".join(f" * {module}.K" for module in names[i::20])
        exec(f"def {name}(): return 1.0{calls}{reads}", held)
    slope = eval(f"lambda y, x: {functions[0]}()", held)
    operation = Operation("read", lambda x: x, [slope])
    watch = Watch(lambda x: operation(x), [], [], [operation])
    for module in modules:
        assert not watch.changed()
        module.K = 2.0  # type: ignore[attr-defined]
        assert watch.changed()
        module.K = 1.5  # type: ignore[attr-defined]
