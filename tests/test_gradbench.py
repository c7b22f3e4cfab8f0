"""The problems of GradBench give what the derivatives written by hand give."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

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
