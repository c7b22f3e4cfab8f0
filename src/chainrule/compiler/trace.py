"""A run of a function on nodes, with the outcomes of its comparisons."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from chainrule.annotations import Site, users_site
from chainrule.differentiation import Linearization, fresh_input
from chainrule.node import ConditionNode, Node
from chainrule.tracing import recording
from chainrule.trees import flatten

from .outcomes import Outcomes
from .tape import Recording

MAX_GUARDS = 1_000_000
"""The comparisons after which a loop is taken to be endless."""

MAX_ROUNDS = 20
"""The runs after which all comparisons of a function are plain bools."""


class CompileError(RuntimeError):
    """A function that can't be compiled; it still runs eagerly."""


class Restart(Exception):
    """The traces so far must be recorded anew: what this one has found concerns them too."""


class PlainSites:
    """The lines of the user's code whose comparisons are plain bools, each a guard.

    A comparison is a node, which ``where`` and ``&`` take without a guard. What asks it for its
    truth meets the outcome; ``is True``, ``match``, a key and an index do not ask, and would see a
    node. So where a run leaves a comparison that nobody has asked, its function is run again with
    plain bools at that place.
    """

    def __init__(self) -> None:
        self._sites: set[Site] = set()
        self._rounds = 0

    def __contains__(self, site: Site) -> bool:
        return self._rounds > MAX_ROUNDS or site in self._sites

    def add(self, sites: Iterable[Site]) -> None:
        """Comparisons at these places are plain from now on."""
        self._sites.update(sites)
        self._rounds += 1


class Recorder:
    """The outcomes of the comparisons of a run.

    Args:
        forced: outcomes that the first comparisons must have, whatever the values: the path so far
            of the lanes for which the trace is recorded, as their kernel has found it.
        plain: where comparisons are plain bools.

    Attributes:
        recording: the tape so far.
        guards: the conditions that have been asked, and were not decided by others, as values of
            the tape, with their outcomes.
        shortcuts: the lines at which an ``==`` held that decides a derivative.
    """

    def __init__(self, forced: Sequence[bool], plain: PlainSites) -> None:
        self.forced = forced
        self.guards: list[tuple[int, bool]] = []
        self.shortcuts: list[str] = []
        self._plain = plain
        self._asked = 0
        self._comparisons: list[tuple[ConditionNode, Site]] = []

    def begin(self, inputs: Sequence[Node], level: int, captured: Sequence[Node]) -> None:
        """Start the tape."""
        self.recording = Recording(inputs, level, captured)
        self._outcomes = Outcomes(self.recording.tape)

    def compared(self, condition: ConditionNode) -> Any:
        """What a comparison gives: itself, or its outcome where comparisons are plain."""
        site = users_site()
        if site in self._plain:
            return bool(condition)
        self._comparisons.append((condition, site))
        return condition

    def guard(self, condition: Node, outcome: bool) -> bool:
        """Note a question for a truth value; gives the one with which the program goes on."""
        self._asked += 1
        if self._asked > MAX_GUARDS:
            raise CompileError(
                f"the function has made {MAX_GUARDS:,} comparisons in one run; does its loop end?"
            )
        value = self.recording.value(condition)
        decided = self._outcomes.decided(value)
        if decided is not None:
            return decided
        number = len(self.guards)
        if number < len(self.forced):
            outcome = self.forced[number]
        self._outcomes.note(value, outcome)
        self.guards.append((value, outcome))
        return outcome

    def not_asked(self) -> list[Site]:
        """The places of comparisons that nothing has used, or that were used as an index."""
        return [
            site
            for condition, site in self._comparisons
            if condition.escaped or not condition.asked
        ]


class Trace:
    """What a run recorded: the tape and the path it took.

    Attributes:
        path: the outcomes of the guards.
        layout: the structure of the result.
        recording: the tape and the captured nodes.
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
        plain: PlainSites | None = None,
    ) -> None:
        if plain is None:
            plain = PlainSites()
        while True:
            recorder = Recorder(forced, plain)
            with _collector_paused(), recording(recorder) as level:
                inputs = [fresh_input(x, level) for x in point]
                recorder.begin(inputs, level, captured)
                try:
                    result = function(make_inputs(inputs))
                    outputs, self.layout = flatten(
                        result, "compile: the function's result", truths=True
                    )
                    for y in outputs:
                        if isinstance(y, ConditionNode):
                            y.asked = True
                except Exception:
                    if not recorder.not_asked():
                        raise
                if not recorder.not_asked():
                    self.n_results = len(outputs)
                    recorded = recorder.recording
                    for y in outputs:
                        recorded.value(y)
                    if derivatives and (live or recorded.captured):
                        parents = [inputs[i] for i in live]
                        outputs = outputs + _derivatives(
                            parents, outputs, recorded.captured, level
                        )
                    recorded.close(outputs, recorder.guards)
                    break
            plain.add(recorder.not_asked())
            if forced:
                raise Restart
        self.recording = recorded
        self.path = tuple(outcome for _, outcome in recorder.guards)


def _derivatives(
    live: Sequence[Node], outputs: list[Any], captured: list[Node], level: int
) -> list[Any]:
    """The gradient of each output by the live inputs and the captured nodes, row by row."""
    graph = Linearization(live, outputs, level, captured)
    graph.live = True  # the local gradients depend on the inputs of each call
    rows: list[Any] = []
    for k in range(len(outputs)):
        rows.extend(graph.pull_back([1.0 if i == k else 0.0 for i in range(len(outputs))]))
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
