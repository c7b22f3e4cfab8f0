"""What a run in plain numbers notes, on both engines."""

from __future__ import annotations

import gc
import sys
import weakref
from collections import OrderedDict
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest
from test_recording import in_python

from chainrule import Node
from chainrule.jit.loops import LEAST
from chainrule.rewriting import log
from chainrule.rewriting.carried import Handed
from chainrule.rewriting.decisions import LoopSite, Site

SITES = {name: Site(name, "if", False, "") for name in "abc"}
LOOPS = [LoopSite(name, "while", Handed([], frozenset(), [], False, False, [])) for name in "xy"]


class Pair(NamedTuple):
    """A tree that is no plain tuple."""

    first: Any
    second: Any


def _deep(depth: int) -> Any:
    return [_deep(depth - 1), depth] if depth else ()


VALUES = [
    *(1, 2.5, np.float64(0.5), np.float32(0.5), True, np.True_, None, "text", Node(1.0), -0.0),
    *(np.ones(3), np.array(2.0), [1.0, [2, (3.0, None)]], (), [], Pair(1.0, "a"), {"b": 1, "a": 2}),
    *({1, 2}, OrderedDict(z=1.0, y=[2]), object(), _deep(30), 10**30, float, 1j),
]


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module with the class in Python, whichever engine runs."""
    return in_python("log_reference", str(log.__file__), monkeypatch)


def _noted(module: Any, seed: int) -> Any:
    """What a random run notes, as something to compare."""
    rng, notes = Random(seed), module.Notes(100_000)

    def run(depth: int) -> None:
        loop = module.Run(rng.choice(LOOPS), notes.events)
        notes.events.append(loop)
        count = rng.randrange(4)
        read = tuple([rng.random() < 0.7 for _ in range(count)])
        for _ in range(rng.randrange(6)):
            values = tuple([rng.choice(VALUES) for _ in range(count)])
            given = notes.turn(loop, read, *values)
            assert all(x is y for x, y in zip(given, values, strict=True))
            meet(depth)
        notes.close(loop)
        loop.number = notes.number((loop.site, *loop.kinds))
        notes.events = loop.around

    def meet(depth: int) -> None:
        for _ in range(rng.randrange(3)):
            name, condition = rng.choice("abc"), rng.choice([True, False, np.True_, 0.0, "a"])
            asked.clear()
            found = notes.truth(SITES, otherwise, name, condition)
            assert found is bool(condition)
            assert asked == ([] if type(condition) is bool else [(name, condition)])
            if depth and rng.random() < 0.3:
                run(depth - 1)
        if rng.random() < 0.2:
            notes.met(SITES["a"], rng.random() < 0.5)

    def otherwise(name: str, condition: Any) -> bool:
        asked.append((name, condition))
        return bool(condition)

    def shown(events: list[Any]) -> Any:
        return [
            (x.site.place, x.number, x.kinds, [*map(repr, x.values)], [*map(shown, x.events)])
            if isinstance(x, module.Run)
            else (x[0].place, x[1])
            for x in events
        ]

    asked: list[Any] = []
    for _ in range(5):
        meet(3)
    return shown(notes.events)


def test_both_engines_note_the_same(reference: Any) -> None:
    """Events, numbers of kinds, and plain numbers of leaves."""
    seen = ""
    for seed in range(300):
        found = _noted(log, seed)
        assert found == _noted(reference, seed), seed
        seen += repr(found)
    assert all(text in seen for text in ("np.float64(0.5)", "None", "True", "2.5"))


@pytest.mark.parametrize("which", ["engine", "reference"])
def test_iterations_that_meet_the_same(which: str, reference: Any) -> None:
    """They are of one kind, and what they met is kept once; branches are counted."""
    module = log if which == "engine" else reference
    notes = module.Notes(6)
    run = module.Run(LOOPS[0], notes.events)
    for i in range(4):
        notes.turn(run, (True, False), i, -i)
        notes.met(SITES["a"], i == 2)
    notes.close(run)
    notes.close(run)
    assert run.kinds == [0, 0, 1, 0]
    assert run.values == [[0], [1], [2], [3]]
    assert run.events[0] is run.events[1] is run.events[3]
    notes.met(SITES["a"], True)
    notes.truth(SITES, None, "b", False)
    with pytest.raises(RuntimeError):
        notes.met(SITES["a"], True)
    with pytest.raises(RuntimeError):
        notes.truth(SITES, None, "b", False)
    with pytest.raises(KeyError):
        module.Notes(6).truth(SITES, None, "d", False)


def test_references_are_counted() -> None:
    """Nothing is kept that is let go."""
    text, notes = "".join(["a", " text"]), log.Notes(100)
    before = sys.getrefcount(text), sys.getrefcount(SITES["a"].events[0])
    for _ in range(3):
        run = log.Run(LOOPS[0], notes.events)
        for _ in range(5):
            notes.turn(run, (True, True), [text, 1.0], {text: text})
            notes.truth(SITES, None, "a", False)
        notes.close(run)
    del run, notes
    assert (sys.getrefcount(text), sys.getrefcount(SITES["a"].events[0])) == before


def test_what_was_noted_outlives_the_notes() -> None:
    """The collector, which finds notes in a cycle, leaves alone what is used elsewhere."""

    class Own(log.Notes):
        """As a writer, in a cycle."""

    notes: Any = Own(100)
    notes.itself = notes
    gone = weakref.ref(notes)
    notes.met(SITES["a"], True)
    events = notes.events
    events.append(notes)
    del notes
    gc.collect()
    assert gone() is not None
    del events[-1]
    gc.collect()
    assert gone() is None
    assert events == [SITES["a"].events[True]]
    cyclic: Any = Own(100)
    cyclic.events.append(cyclic)
    gone = weakref.ref(cyclic)
    del cyclic
    gc.collect()
    assert gone() is None


def _alike(kinds: list[Any], first: int) -> int:
    """How many kinds from one on are equal, the last apart, counted one by one."""
    same = [kind == kinds[first] for kind in kinds[first:-1]]
    return same.index(False) if False in same else len(same)


def _period(kinds: list[Any], first: int) -> tuple[int, int]:
    """The shortest period that comes often enough, and how often, looked for from each place."""
    stop = len(kinds) - 1
    for size in range(_alike(kinds, first) + 1, min(log.LONGEST, (stop - first) // LEAST) + 1):
        parts = [kinds[k : k + size] for k in range(first, stop - size + 1, size)]
        count = _alike([*parts, None], 0)
        if count >= LEAST:
            return size, count
    return 1, 0


def _run_of(kinds: list[Any]) -> log.Run:
    run = log.Run(LOOPS[0], [])
    run.kinds = kinds
    return run


@pytest.mark.parametrize("seed", range(300))
def test_what_an_iteration_begins(seed: int) -> None:
    """Asked in any order."""
    rng, kinds = Random(seed), [0]
    while len(kinds) < rng.randrange(60):
        part = [rng.randrange(rng.randrange(1, 4)) for _ in range(rng.randrange(1, 5))]
        kinds += part * rng.randrange(1, 8)
    run, places = _run_of(kinds), [*range(len(kinds))]
    if seed % 3 == 0:
        rng.shuffle(places)
    for first in places:
        assert run.alike(first) == _alike(kinds, first)
        assert run.period(first) == _period(kinds, first)


@pytest.mark.parametrize("size", [1, 3])
def test_each_iteration_is_looked_at_once(size: int) -> None:
    """What is asked of every iteration takes no longer for each in long loops."""
    compared = 0

    class Kind(int):
        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return int(self) == other

        def __ne__(self, other: object) -> bool:
            return not self == other

        __hash__ = int.__hash__

    count = 3000
    run = _run_of([Kind(k % size) for k in range(count)])
    for first in range(count):
        run.alike(first)
        run.period(first)
    assert compared < 12 * count
