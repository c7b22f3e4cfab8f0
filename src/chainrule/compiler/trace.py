"""One run of a function on nodes, with the outcomes of its comparisons."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from chainrule.differentiation import Linearization, fresh_input
from chainrule.node import Node
from chainrule.rules import Operation
from chainrule.tracing import recording
from chainrule.trees import flatten

from .tape import Recording

MAX_GUARDS = 1_000_000
"""The comparisons after which a loop is taken to be endless."""


class CompileError(RuntimeError):
    """A function that can't be compiled; it still runs eagerly."""


class Recorder:
    """The outcomes of the comparisons of a run.

    Args:
        forced: outcomes that the first comparisons must have, whatever the values: the path so far
            of the lanes for which the trace is recorded, as their kernel has found it.
    """

    def __init__(self, forced: Sequence[bool] = ()) -> None:
        self.forced = forced
        self.conditions: list[tuple[Node, bool]] = []
        self.operations: list[Operation] = []  # of the user's

    def uses(self, operation: Operation) -> None:
        """Note that an operation of the user's is in the trace."""
        if not any(operation is known for known in self.operations):
            self.operations.append(operation)

    def guard(self, condition: Node, outcome: bool) -> bool:
        """Note a comparison; gives the outcome with which the program goes on."""
        number = len(self.conditions)
        if number < len(self.forced):
            outcome = self.forced[number]
        if number >= MAX_GUARDS:
            raise CompileError(
                f"the function has made {MAX_GUARDS:,} comparisons in one run; does its loop end?"
            )
        self.conditions.append((condition, outcome))
        return outcome


class Trace:
    """What a run recorded: the tape and the path it took.

    Attributes:
        path: the outcomes of all comparisons.
        layout: the structure of the result.
        recording: the tape, the captured nodes, and which comparisons the tape's guards are.
        operations: the user's that it used.
        n_results: how many of the tape's outputs are the result; the others are its derivatives by
            the nodes among the inputs.
    """

    def __init__(
        self,
        function: Callable[[Sequence[Any]], Any],
        point: Sequence[float],
        make_inputs: Callable[[Sequence[Node]], Any],
        live: Sequence[int],
        forced: Sequence[bool] = (),
        captured: Sequence[Node] = (),
        derivatives: bool = True,
    ) -> None:
        recorder = Recorder(forced)
        with _collector_paused(), recording(recorder) as level:
            inputs = [fresh_input(x, level) for x in point]
            result = function(make_inputs(inputs))
            outputs, self.layout = flatten(result, "compile: the function's result")
            self.n_results = len(outputs)
            recorded = Recording(inputs, outputs, recorder.conditions, level, captured)
            if derivatives and (live or recorded.captured):
                parents = [inputs[i] for i in live]
                outputs = outputs + _derivatives(parents, outputs, recorded.captured, level)
                recorded = Recording(inputs, outputs, recorder.conditions, level, recorded.captured)
        self.recording = recorded
        self.operations = recorder.operations
        self.path = tuple(outcome for _, outcome in recorder.conditions)


def _derivatives(
    live: Sequence[Node], outputs: list[Any], captured: list[Node], level: int
) -> list[Any]:
    """The gradient of each output by the live inputs and the captured nodes, row by row."""
    graph = Linearization(live, outputs, level, captured)
    graph.live = True  # the local gradients depend on the inputs of each call
    rows: list[Any] = []
    for k in range(len(outputs)):
        rows.extend(graph.pull_back([1.0 if i == k else None for i in range(len(outputs))]))
    return rows


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Without the cyclic collector, which would walk a growing graph again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
