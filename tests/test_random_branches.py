"""Random programs full of branches: on floats, on nodes, and compiled, for points and over lanes.

``python tests/test_random_branches.py 10000`` checks so many; ``CHAINRULE_BRANCHES=500`` does in
the tests. A failure names the seed of its program: ``python tests/test_random_branches.py 1 SEED``.

Values are the same to the last bit, and gradients but for the order of sums. What changes inside a
call (lists, attributes, generators, exceptions) is part of its value; what a function prints it
prints when it is traced, and then just what the path prints that is traced.
"""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest
from random_branches import BranchProgram, branch_program
from test_loop_programs import check_many, rolling

import chainrule as cr
from chainrule.engine import COMPILED

PROGRAMS = int(os.environ.get("CHAINRULE_BRANCHES", "60" if COMPILED else "10"))
EVERY = (0, 1, 2)
BEGIN = "run\n"


def bits(x: Any) -> Any:
    """A number so that only the same one is equal; all NaN are."""
    x = float(x)
    return "nan" if x != x else pack("d", x)


class _Check:
    """What runs of a program give, and how they differ."""

    def __init__(self, program: BranchProgram, folder: Path) -> None:
        self.program = program
        self.module = program.module(folder)
        self.f = self.module.f
        self.found: list[str] = []

    def ran(self, function: Any, *args: Any) -> tuple[Any, list[str]]:
        """A result, or the type of an exception, and what each run has printed."""
        printed = io.StringIO()
        with redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                result: Any = function(*args)
            except Exception as error:
                result = type(error)
                self.error = error
        return result, printed.getvalue().split(BEGIN)[1:]

    def differs(self, what: str, found: Any, wanted: Any) -> None:
        self.found.append(f"{what}: {found} instead of {wanted}")

    def check(self, what: str, found: Any, wanted: Any) -> None:
        """A pair of value and gradient, or an exception."""
        if isinstance(found, type) or isinstance(wanted, type):
            if found is not wanted:
                error = f" ({self.error})" if isinstance(found, type) else ""
                self.differs(what, f"{found}{error}", wanted)
            return
        (value, slopes), (y, gradient) = found, wanted
        if bits(value) != bits(y):
            self.differs(what, value, y)
        size = max(1.0, *(abs(g) for g in gradient if abs(g) < 1e300), 1.0)
        if not np.allclose(slopes, gradient, rtol=1e-9, atol=1e-12 * size, equal_nan=True):
            self.differs(f"{what}, gradient", np.asarray(slopes).tolist(), gradient)

    def check_printed(self, what: str, found: list[str], wanted: list[str]) -> None:
        """Each run has printed what one of the paths does; one that was given up, its beginning."""
        for text in found:
            if not any(path.startswith(text) for path in wanted):
                self.differs(f"{what}, printed", text, wanted)

    def all(self) -> list[str]:
        """Look at all of it."""
        points, seed = self.program.points, self.program.seed
        derived = cr.value_and_grad(self.f, EVERY)
        eager, paths = [], []
        for point in points:
            on_floats, wanted = self.ran(self.f, *point)
            found, printed = self.ran(derived, *point)
            what = f"eagerly at {point}"
            if isinstance(found, type) or isinstance(on_floats, type):
                self.check(what, found, on_floats)
            elif bits(found[0]) != bits(on_floats):
                self.differs(what, found[0], on_floats)
            if printed != wanted:
                self.differs(f"{what}, printed", printed, wanted)
            eager.append(found)
            paths += printed
        if self.found:
            return self.found
        most = 2 if seed % 7 == 0 else 1000
        with rolling(seed):
            compiled = cr.compile(derived, max_traces=most)
            for point, wanted in zip(points, eager, strict=True):
                found, printed = self.ran(compiled, *point)
                self.check(f"compiled at {point}", found, wanted)
                self.check_printed(f"compiled at {point}", printed, paths)
            self.lanes(eager, paths, most)
            if seed % 5 == 0:
                self.inside(eager)
        return self.found

    def lanes(self, eager: list[Any], paths: list[str], most: int) -> None:
        """Over lanes, twice: in another order, and so many that vectors are filled."""
        good = [k for k, found in enumerate(eager) if not isinstance(found, type)]
        if not good:
            return
        derived = cr.vmap(cr.value_and_grad(self.f, EVERY))
        compiled = cr.compile(derived, max_traces=most)
        alone = cr.compile(cr.vmap(self.f), max_traces=most)
        for places in (good[: len(good) // 2 + 1], good[::-1] * 2):
            columns = np.array([self.program.points[k] for k in places]).T
            found, printed = self.ran(compiled, *columns)
            what = f"lanes {places}"
            if isinstance(found, type):
                self.differs(what, f"{found} ({self.error})", "values")
                return
            values, slopes = found
            for lane, k in enumerate(places):
                pair = values[lane], [slope[lane] for slope in slopes]
                self.check(f"{what}, {self.program.points[k]}", pair, eager[k])
            self.check_printed(what, printed, paths)
            if self.program.seed % 3 == 0:
                values, _ = self.ran(alone, *columns)
                wanted = [bits(eager[k][0]) for k in places]
                if isinstance(values, type) or [*map(bits, values)] != wanted:
                    self.differs(f"{what}, values", values, [eager[k][0] for k in places])

    def inside(self, eager: list[Any]) -> None:
        """As a transformation inside of a compiled function."""
        f = self.f

        def outer(x: Any, y: Any, z: Any) -> Any:
            value, (a, b, c) = cr.value_and_grad(f, EVERY)(x, y, z)
            return value, (a, b, c)

        compiled = cr.compile(outer)
        for point, wanted in [*zip(self.program.points, eager, strict=True)][:4]:
            found, _ = self.ran(compiled, *point)
            self.check(f"inside, at {point}", found, wanted)


def differences(program: BranchProgram, folder: Path) -> list[str]:
    """What is not right, in words."""
    return _Check(program, folder).all()


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_random_branches(seed: int, tmp_path: Path) -> None:
    """Floats, nodes, and compiled code agree."""
    program = branch_program(seed)
    assert not differences(program, tmp_path), program.source


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        check_many("branches", branch_program, lambda p: differences(p, Path(temporary)))
