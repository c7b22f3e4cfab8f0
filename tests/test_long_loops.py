"""Long loops of a user's function, of which one iteration is traced: eager and compiled agree.

``python tests/test_long_loops.py 1000 SEED`` checks so many random programs.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from long_loops import Program, program
from test_loop_programs import check_many

import chainrule as cr
from chainrule.engine import COMPILED
from chainrule.rewriting import once

PROGRAMS = int(os.environ.get("CHAINRULE_LONG", "60" if COMPILED else "10"))
POINTS = np.random.default_rng(3).normal(size=(3, 9))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All loops are long that are of four iterations or more."""
    monkeypatch.setattr(once, "LIMIT", 0)


def differences(program: Program) -> list[str]:
    """What is not right, in words."""
    f = program.function
    found: list[str] = []

    def of_array(p: Any) -> Any:
        return f(p[0], p[1], p[2], p[3:])

    def check(what: str, actual: Any, wanted: Any, tolerance: float) -> None:
        if not np.allclose(actual, wanted, rtol=tolerance, atol=tolerance, equal_nan=True):
            found.append(f"{what}: {actual} instead of {wanted}")

    def derivatives(p: Any) -> Any:
        return cr.value_and_grad(of_array)(p), cr.hessian(of_array)(p)

    compiled, lanes = cr.compile(derivatives), cr.compile(cr.vmap(derivatives))
    value = cr.compile(of_array)
    (ys, slopes), bends = lanes(POINTS)
    for k, p in enumerate(POINTS):
        (y, slope), bend = derivatives(p)
        check("eager", y, of_array(p), 1e-14)
        check("value", value(p), y, 1e-12)
        (own, own_slope), own_bend = compiled(p)
        for name, actual, wanted in (
            *(
                ("with gradient", own, y),
                ("gradient", own_slope, slope),
                ("Hessian", own_bend, bend),
            ),
            *(("of lanes", ys[k], y), ("gradient of lanes", slopes[k], slope)),
            ("Hessian of lanes", bends[k], bend),
        ):
            check(name, actual, wanted, 1e-9)
    return found


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_programs(seed: int) -> None:
    """Of random programs, all derivatives are the eager ones."""
    made = program(seed)
    assert not differences(made), made.source


if __name__ == "__main__":
    once.LIMIT = 0  # type: ignore[misc]
    check_many("long loops", program, differences)
