"""The problems of GradBench give what the derivatives written by hand give."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.rewriting import once

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SIZES = {
    "hello": 3,
    "saddle": 1,
    "particle": 0,
    "det": 4,
    "lse": 40,
    "llsq": 16,
    "ode": 1,
    "kmeans": 3,
    "gmm": 2,
    "lstm": 7,
    "ba": 12,
    "ht": 5,
}


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The cases of the benchmark."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from compiled_peers import CASES

    return CASES


@pytest.mark.parametrize("name", SIZES)
def test_problems(name: str, cases: dict[str, Any]) -> None:
    """Every installed library is right, twice, chainrule compiled; there are three sizes."""
    from compiled_cases.common import Setting, difference
    from compiled_cases.libraries import STARTS

    case = cases[name]
    expected = case.expected(SIZES[name])
    assert list(case.peers) == ["chainrule", "numpy", "jax", "torch"]
    assert len(case.sizes) == 3
    for peer in case.peers.values():
        if peer.slow or (peer.distribution and find_spec(peer.distribution) is None):
            continue
        if peer.distribution in STARTS:
            STARTS[peer.distribution](1)
        program = peer.load(Setting(SIZES[name], 1))()
        for _ in range(2):
            assert difference(program.arrays(program.run()), expected) < 1e-9, peer.label


@pytest.mark.parametrize(("name", "size"), [("ht", 100), ("lstm", 30)])
def test_their_long_loops_are_traced_once(
    name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outer loops, in which there are others; what these copy from outside is copied once."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(once, "LIMIT", 10_000)
    module = import_module(f"gradbench.{name}")
    compiled, args = cr.compile(module.loops(cr, cr.math)), module.data(size)
    for actual, wanted in zip(flat(compiled(*args)), flat(module.by_hand(*args)), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-9, atol=1e-12)
    assert [x.both for x in compiled.stats().branches if x.kind == "for"].count(True) == 1
    inside = str(compiled.programs()[0]).split("for scan", 1)[1].split("\nfor ", 1)[0]
    assert not re.search(r"change_of_c\d*\[.*\] = change_of_given", inside)


def flat(x: Any) -> list[Any]:
    """Arrays and numbers, or what is in a tuple of these."""
    return [*x] if isinstance(x, tuple) else [x]
