"""All traces of a function ask one tree of questions; where they do not, none is relied on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

from chainrule import compile, grad, vmap
from chainrule import math as cm
from chainrule.jit.sites import PlainSites
from chainrule.jit.trace import CompileError
from chainrule.rewriting.decisions import Decisions


def walk(x: Any, steps: int = 9) -> Any:
    """A branch that is asked often, and what hangs on how it came out."""
    y = x
    total = 0.0 * x
    for i in range(steps):
        if y > 0.3:
            y = y - 0.37
            total = total + x * y
        else:
            y = 1.3 * y + 0.1 * i
    if total > 0.5:
        total = cm.sin(total)
    return total


@pytest.fixture
def careful(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Notes whenever a function comes to be traced carefully."""
    noted: list[bool] = []
    real = PlainSites.be_careful

    def be_careful(self: PlainSites) -> None:
        noted.append(self.careful)
        real(self)

    monkeypatch.setattr(PlainSites, "be_careful", be_careful)
    return noted


def test_conversion_that_others_do_not_hear_of(
    careful: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides of branches run from the middle of a trace on: others lose guards."""
    lanes = numpy.linspace(-1.0, 4.0, 60)
    expected = [grad(walk)(x) for x in lanes]
    numpy.testing.assert_allclose(compile(vmap(grad(walk)))(lanes), expected, rtol=1e-13)
    assert not careful
    real = Decisions.convert

    def convert(self: Decisions, sites: Any) -> bool:
        real(self, sites)
        return False  # so that no trace starts anew

    monkeypatch.setattr(Decisions, "convert", convert)
    numpy.testing.assert_allclose(compile(vmap(grad(walk)))(lanes), expected, rtol=1e-13)
    single = compile(walk)
    assert [single(x) for x in lanes] == [walk(x) for x in lanes]
    assert careful == [False, False]


def changing(questions: Callable[[int], list[float]]) -> Callable[[Any], Any]:
    """A function that counts its runs, and compares with other bounds in each."""
    runs = 0

    def f(x: Any) -> Any:
        nonlocal runs
        runs += 1
        total = x
        for bound in questions(runs):
            if bool(x * bound > 1.0):  # a guard in any case
                total = total + cm.sin(bound * x)
        return total

    return f


CHANGES: list[Callable[[int], list[float]]] = [
    lambda run: [2.0, 3.0] if run % 2 else [3.0, 2.0, 5.0],
    lambda run: [2.0, 3.0][run % 2 :],
    lambda run: [2.0] * (run % 2) + [7.0],
]


@pytest.mark.parametrize("questions", CHANGES)
def test_functions_that_change(questions: Callable[[int], list[float]]) -> None:
    """They are refused as soon as lanes part."""
    compiled = compile(vmap(changing(questions)))
    with pytest.raises(CompileError, match=r"asked another question at .*test_asked"):
        compiled(numpy.linspace(-1.0, 1.0, 50))


def test_function_that_changes_once(careful: list[bool]) -> None:
    """One that is steady from then on is traced anew."""
    f = changing(lambda run: [2.0] if run == 1 else [3.0, 5.0])
    lanes = numpy.linspace(-1.0, 1.0, 50)
    found = compile(vmap(f))(lanes)
    assert careful == [False]
    numpy.testing.assert_allclose(found, [f(x) for x in lanes], rtol=1e-14)
