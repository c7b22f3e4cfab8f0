"""Transformations in a trace: what is recorded of them, and what they come to meanwhile."""

from __future__ import annotations

import math
from typing import Any

import pytest
from transformed_programs import program

import chainrule as cr
from chainrule.compiler.recording import (
    BEGIN,
    END,
    ENTER,
    GIVE,
    LEAVE,
    PULL,
    PUSH,
    RESULT,
)
from chainrule.compiler.sites import PlainSites
from chainrule.compiler.trace import Recorder
from chainrule.differentiation import fresh_input
from chainrule.node import Node
from chainrule.tracing import recording

POINTS = ((0.5, -0.75, 1.25), (0.0, 0.0, 0.0), (-1.5, 2.0, 0.25))


def run(function: Any, point: Any) -> tuple[list[float], Any]:
    """The values of a run of a function that is recorded, and the recording."""
    recorder = Recorder((), PlainSites(), segments=True)
    with recording(recorder) as level:
        inputs = [fresh_input(x, level) for x in point]
        recorder.begin(inputs, level, ())
        outputs = function(inputs)
        rows = recorder.recorded._recording
        rows.in_order([recorder.recorded.record(y) for y in outputs])
        return [y._number if isinstance(y, Node) else y for y in outputs], rows


@pytest.mark.parametrize("seed", range(150))
def test_values_meanwhile(seed: int) -> None:
    """The values are those of the function outside of a trace; the rows are in order."""
    function = program(seed)
    for point in POINTS:
        found, rows = run(function, point)
        for x, y in zip(found, function(list(point)), strict=True):
            assert math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-9) or (x != x and y != y)
        check_marks(rows)


def check_marks(rows: Any) -> None:
    """Brackets that nest, with their inputs first and their outputs last; derivatives in full."""
    open_: list[int] = []
    sizes: dict[int, list[int]] = {}
    around: dict[int, list[int]] = {}
    before = -1
    expected = 0  # results to come
    for code, left, right in zip(rows.codes, rows.left, rows.right, strict=True):
        assert (expected > 0) == (code == RESULT)
        if code == BEGIN:
            open_.append(left)
            sizes[left] = [0, 0]
            around[left] = open_[:-1]
        elif code == ENTER:
            assert before in (BEGIN, ENTER)
            assert sizes[open_[-1]][0] == right
            sizes[open_[-1]][0] += 1
        elif code == LEAVE:
            assert sizes[open_[-1]][1] == right
            sizes[open_[-1]][1] += 1
        elif code == END:
            assert before == LEAVE
            assert open_.pop() == left
        elif code in (PULL, PUSH):
            assert open_[: len(around[left])] == around[left]
            expected = results = sizes[left][1 if code == PUSH else 0]
        elif code == RESULT:
            assert left == results - expected
            expected -= 1
        if before == LEAVE:
            assert code in (LEAVE, END)
        if before == GIVE:
            assert code in (GIVE, PULL, PUSH)
        before = code
    assert not open_
    assert not expected


@pytest.mark.parametrize("seed", range(150))
def test_compiled(seed: int) -> None:
    """The derivatives of the segments, by the program: the same as eagerly, at zeros too."""
    function = program(seed)
    compiled = cr.compile(lambda *xs: function(xs))
    for point in POINTS:
        for x, y in zip(compiled(*point), function(list(point)), strict=True):
            assert math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-9) or (x != x and y != y)
