"""The problems of GradBench give what the derivatives written by hand give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SIZES = {"hello": 3, "lse": 40, "llsq": 16, "ode": 1, "kmeans": 3, "gmm": 2, "ba": 12}
NESTED = {"saddle": 1, "particle": 0}


@pytest.mark.parametrize("name", [*SIZES, *NESTED])
def test_problems(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled, twice, they are right."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from compiled_cases.common import Setting, difference
    from compiled_peers import CASES

    case: Any = CASES[name]
    size = {**SIZES, **NESTED}[name]
    program = case.peers["chainrule"].load(Setting(size, 1))()
    expected = case.expected(size)
    for _ in range(2):
        assert difference(program.arrays(program.run()), expected) < 1e-9
