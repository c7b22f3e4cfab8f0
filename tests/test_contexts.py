"""What new nodes take from the contexts that are open where they are made, and from no others."""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from threads import run_in_threads

import chainrule as cr
from chainrule import Node, detect_anomaly, domain_errors, group, record_lines
from chainrule import math as cm
from chainrule.annotations import ACTIVE, _Active
from chainrule.comparing import ConditionNode
from chainrule.rules import less
from chainrule.tracing import PROGRESS


class Slow(int):
    """A number that lets other threads run whenever it is added to: a count that is in danger."""

    def __add__(self, other: int) -> Slow:
        total = int(self) + other
        time.sleep(1e-4)
        return Slow(total)


@pytest.mark.usefixtures("frequent_switches")
def test_contexts_are_counted_in_threads() -> None:
    """Of the reference and of the engine: as many as are open, none in the end."""
    reference = _Active()
    reference.contexts = Slow()
    for active, times in ((reference, 30), (ACTIVE, 20_000)):
        before = active.contexts
        for change, after in ((active.enter, 3 * times), (active.leave, 0)):

            def work(change: Callable[[], None] = change, times: int = times) -> None:
                for _ in range(times):
                    change()

            run_in_threads(work, work, work)
            assert active.contexts == before + after


@pytest.mark.usefixtures("frequent_switches")
def test_contexts_of_other_threads_do_not_matter() -> None:
    """Each kind of context, opened and closed in threads while others make nodes."""
    before = ACTIVE.contexts

    def grouped() -> None:
        x = Node(0.5)
        for i in range(200):
            with group(f"g{i % 3}"):
                assert (x * 2).groups == (f"g{i % 3}",)
            assert (1 / (x * 0)).line is None

    def recorded() -> None:
        x = Node(0.5)
        for _ in range(200):
            with record_lines():
                y = x * x
            assert y.groups == ()
            assert y.line is not None
            assert (x + 1).line is None

    def checked() -> None:
        x = Node(0.0)
        for context, error in ((detect_anomaly, FloatingPointError), (domain_errors, ValueError)):
            for _ in range(100):
                with context(), pytest.raises(error):
                    cm.log(x)
                assert cm.log(x).data == -math.inf

    def traced() -> None:
        for i in range(10):
            f = cr.compile(lambda x, i=i: cm.where(x > i, x * i, x + i))
            assert f(3.5) == (3.5 * i if i < 3.5 else 3.5 + i)

    def plain() -> None:
        x = Node(0.5)
        for _ in range(2000):
            y = x * 2 + 1
            assert (y._level, y._annotation, y.data) == (0, None, 2.0)

    run_in_threads(grouped, recorded, checked, traced, plain)
    assert ACTIVE.contexts == before


def test_tasks_have_contexts_of_their_own() -> None:
    """A task of asyncio starts with what is open, and what it opens stays there."""
    x = Node(1.0)

    async def task(name: str, turns: int) -> None:
        with group(name), record_lines() if turns % 2 else nullcontext():
            for _ in range(turns):
                await asyncio.sleep(0)
                y = x * 2
                assert y.groups == ("outer", name)
                assert (y.line is not None) == (turns % 2 == 1)

    async def both() -> None:
        with group("outer"):
            tasks = [asyncio.create_task(task(f"task {i}", 5 + i)) for i in range(4)]
            await asyncio.sleep(0)
            assert (x * 2).groups == ("outer",)
            await asyncio.gather(*tasks)

    asyncio.run(both())
    assert (x * 2).groups == ()


def test_what_outlives_a_context() -> None:
    """A copy of the variables does; it says nothing where no such context is open any more."""
    x = Node(0.0)
    with group("gone"), detect_anomaly(), domain_errors():
        copied = contextvars.copy_context()
    assert copied.run(lambda: 1 / x)._annotation is None
    with record_lines():
        assert copied.run(lambda: 1 / x).groups == ()


def test_nodes_of_a_trace_are_of_its_level() -> None:
    """Also those that depend on no input, of all numbers of operands; in that thread alone."""
    outside = Node(2.0)
    levels: list[int] = []
    elsewhere: list[Node] = []

    class Own(Node):
        def __init__(self, parent: Node) -> None:
            super().__init__(1.0, (parent,))

        def _local_grad(self, parent: Node) -> float:
            return 0.0

    def f(x: Any) -> Any:
        made = [Node(1.0), Node(1), outside * outside, -outside, outside * 2.0, cm.exp(outside)]
        made += [cm.fsum([outside, outside, outside]), cm.floor(outside), Own(outside)]
        levels.append(PROGRESS.recorded_level)
        levels.extend(node._level for node in made)
        run_in_threads(lambda: elsewhere.extend([Node(1.0), outside * 2.0]))
        return x * made[2]

    assert cr.compile(f)(3.0) == 12.0
    assert levels[0] > 0
    assert set(levels) == {levels[0]}
    assert [node._level for node in elsewhere] == [0, 0]
    assert outside._level == (outside * 2.0)._level == 0


def test_a_comparison_knows_whether_it_was_used() -> None:
    """By an operation of one operand or several, first or last; not by what is outside a trace."""
    uses: tuple[Callable[[Any], Any], ...] = (
        lambda c: c * 2.0,
        lambda c: 1 - c,
        lambda c: c * c,
        lambda c: cm.exp(c),
        lambda c: cm.fsum([1.0, Node(1.0), c]),
        lambda c: cm.where(c, Node(1.0), 2.0),
    )
    found: list[tuple[bool, bool]] = []

    def f(x: Any) -> Any:
        for use in uses:
            condition = x > 1.0
            before = condition.asked
            use(condition)
            found.append((before, condition.asked))
        return x

    assert cr.compile(f)(3.0) == 3.0
    assert found == [(False, True)] * len(uses)
    outside = ConditionNode(less, 1.0, Node(1.0), None, 3.0)
    outside * 2.0
    assert (outside.asked, outside.escaped) == (False, False)


def test_marks_of_comparisons_are_apart() -> None:
    """Each is a bool of its own, and the node is what it was."""
    x = Node(1.0)
    condition = ConditionNode(less, 1.0, x, None, 3.0)
    for asked, escaped in ((True, False), (True, True), (False, True), (False, False)):
        condition.asked, condition.escaped = asked, escaped
        assert (condition.asked, condition.escaped) == (asked, escaped)
    assert condition.operands == (x, 3.0)
    other = ConditionNode(less, 1.0, x, None, 3.0)
    other.asked = True
    assert condition.asked is False
