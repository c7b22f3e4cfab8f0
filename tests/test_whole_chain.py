"""Programs with loops through all passes into machine code, against their statements one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from expand import expanded
from random_forms import PICKS, SMOOTH, random_inputs, random_program
from recorded_programs import PROGRAMS, recorded
from test_program_kernels import call, run

import chainrule as cr
from chainrule.backends.llvm.kernel import Kernel
from chainrule.passes.differentiate import differentiated
from chainrule.passes.going_on import going_on
from chainrule.passes.gradients import with_gradients
from chainrule.passes.inline import inlined
from chainrule.passes.promote import promoted
from chainrule.passes.roll import rolled
from chainrule.program.form import Program
from chainrule.program.interpreter import interpret
from chainrule.program.verifier import verify

LANES = 11


def check(
    program: Program,
    expected: Callable[[list[float]], tuple[list[float], int | None]],
    points: Sequence[list[float]],
) -> None:
    """The machine code of a program gives these outputs, or this failed guard."""
    verify(program)
    verify(promoted(inlined(program)))
    wanted = [expected(point) for point in points]
    single = Kernel(program, [], lanes=False)
    lanes = Kernel(program, [False] * program.inputs.size)
    found, result = run(lanes, np.array(points))
    for lane, (point, (outputs, failed)) in enumerate(zip(points, wanted, strict=True)):
        status, output = call(single, np.array(point))
        assert status == (0 if failed is None else failed + 1)
        assert status == (0 if result.status is None else result.status[lane])
        if failed is None:
            np.testing.assert_allclose(output, outputs, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(found[lane], outputs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(60))
def test_gradients(seed: int) -> None:
    """Random programs with their gradients."""
    program = random_program(seed, (*SMOOTH, *PICKS), guards=seed % 3 == 0, size=5)
    places = Random(seed).sample(range(4), 3)
    points = [random_inputs(seed + lane, program) for lane in range(LANES)]
    whole = going_on(with_gradients(program, places), 0)
    straight = with_gradients(expanded(program), places)
    check(whole, lambda point: interpret(straight, point), points)


@pytest.mark.parametrize("seed", range(60, 120))
def test_segments(seed: int) -> None:
    """Random programs in which transformations are."""
    program = random_program(seed, (*SMOOTH, *PICKS), segments=True, size=5)
    points = [random_inputs(seed + lane, program) for lane in range(LANES)]
    straight = differentiated(expanded(program))
    whole = going_on(differentiated(program), 0)
    check(whole, lambda point: interpret(straight, point), points)


@pytest.mark.parametrize("name", PROGRAMS)
def test_recorded_programs(name: str) -> None:
    """Programs as people write them: a value and its gradient."""
    function, n_inputs = PROGRAMS[name]
    random = Random(2)
    points = [[random.uniform(-1.0, 1.0) for _ in range(n_inputs)] for _ in range(3)]
    weights = [random.uniform(-1.0, 1.0) for _ in range(n_inputs + 2000)]

    def loss(x: Any) -> Any:
        y = function(x)
        if not isinstance(y, (list, tuple)):
            return y
        return sum([w * z for w, z in zip(weights, y, strict=False)])

    recording, outputs, _ = recorded(loss, points[0])
    whole = going_on(with_gradients(rolled(recording, outputs), range(n_inputs)), 0)

    def eager(point: list[float]) -> tuple[list[float], None]:
        value, slopes = cr.value_and_grad(loss)(point)
        return [value, *slopes], None

    check(whole, eager, points)
