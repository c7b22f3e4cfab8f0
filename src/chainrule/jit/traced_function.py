"""A function for arguments of one kind, and how it is traced."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from chainrule import forking, trees
from chainrule.node import Node
from chainrule.program.elements import Mask
from chainrule.rewriting.decisions import Decisions

from .arguments import Leaf, Packed, inputs_to_arguments
from .draws import Draws
from .paths import FEW, Paths, Prefix
from .sites import PlainSites
from .trace import CompileError, Restart, Trace


class TracedFunction:
    """A function for arguments of one kind, of which a trace is recorded for each path.

    Args:
        function: the user's.
        structure: of the arguments.
        leaves: what is known of each of their leaves.
        lanes: whether it runs over lanes.
        max_traces: how many traces may be recorded.
        captured: nodes from outside that are known already.
        by_captured: by how many captured nodes its results are differentiated; None for all.

    Attributes:
        paths: its traces.
        n_inputs: how many inputs it has, captured nodes aside.
        live: the inputs that may be nodes.
        layout: of the result.
        derives: whether it is a transformation, whose derivatives are its results.
        trace_seconds: how long tracing took so far.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        structure: Any,
        leaves: Sequence[Leaf],
        lanes: bool,
        max_traces: int,
        captured: Sequence[Node] = (),
        by_captured: int | None = None,
    ) -> None:
        self.leaves = list(leaves)
        self.structure = structure
        self.lanes = lanes
        self.max_traces = max_traces
        self.live: list[int] = []
        self.n_inputs = 0
        for leaf in [leaf for leaf in leaves if leaf.kind != "static"]:
            if leaf.kind in ("node", "nodes"):
                self.live.extend(range(self.n_inputs, self.n_inputs + leaf.size))
            self.n_inputs += leaf.size
        self.layout: trees.Layout | None = None
        self.derives = False
        self.has_indices = False  # which may be made static
        self.most_results = math.inf  # of which derivatives by nodes are taken one by one
        self.trace_seconds = 0.0
        self._by_captured = by_captured
        self._plain = PlainSites()
        self._draws = Draws(function)
        self._lock = forking.lock()
        self.paths = Paths(self, captured)

    @property
    def branches(self) -> Decisions:
        """What is done where it branches."""
        return self._plain.branches

    def at_point(self, arguments: Any) -> Any:
        """The result for arguments, at one lane."""
        raise NotImplementedError

    def warn_of_draws(self, generator: str) -> None:
        """Say that random numbers were drawn while it was traced."""
        raise NotImplementedError

    def warn_of_paths(self, count: int, line: str) -> None:
        """Say that it takes so many paths, most of which part at a line."""
        raise NotImplementedError

    def uniform(self, trace: Trace) -> Mask | None:
        """For each input of a trace whether all lanes share it; None without lanes."""
        sizes = [*[leaf.size for leaf in self.leaves], len(trace.captured)]
        shared = [*[leaf.axis is None for leaf in self.leaves], True]
        return numpy.repeat(shared, sizes) if self.lanes else None

    def record(
        self, paths: Paths, packed: Packed, lane: int, prefix: Prefix, answers: bool = False
    ) -> Trace:
        """Run the function on nodes.

        Args:
            paths: the traces so far.
            packed: the inputs.
            lane: the lane whose inputs decide.
            prefix: the outcomes that the first guards have.
            answers: whether the first run in plain numbers is enough for now.

        Raises:
            Answered: if there was one.
            Restart: if the traces so far must be recorded anew; ``paths`` are new then.
            CompileError: if the function asks other questions each time.
        """
        with self._lock:  # what all traces go by may change while one is recorded
            if paths is not self.paths:
                raise Restart
            return self._record(paths, packed, lane, prefix, answers)

    def _record(
        self, paths: Paths, packed: Packed, lane: int, prefix: Prefix, answers: bool
    ) -> Trace:
        branches = self.branches
        if paths.traces >= FEW and branches.convert(branches.asked):
            self._begin_anew(paths.captured)
            raise Restart
        self._draws.begin()
        start = time.perf_counter()
        try:
            trace = Trace(
                self.at_point,
                packed.at(lane)[: self.n_inputs],
                lambda x: inputs_to_arguments(x, self.structure, self.leaves, packed.values),
                self.live,
                prefix,
                paths.captured,
                self._by_captured,
                self._plain,
                self.derives,
                self.has_indices,
                self.most_results,
                answers,
            )
        except Restart:
            self._begin_anew(paths.captured)
            raise
        except MemoryError:
            raise MemoryError(
                f"tracing {self!r} ran out of memory; compile the body of the loop, or use"
                " vmap for what is done for many points"
            ) from None
        self.trace_seconds += time.perf_counter() - start
        generator = self._draws.made()
        if generator is not None:  # and may decide what is asked
            self.warn_of_draws(generator)
        elif not paths.asked.agrees(trace, prefix):
            if self.branches.follows:
                self.branches.follows = False
                self._begin_anew(paths.captured)
                raise Restart
            if self._plain.careful:
                raise CompileError(
                    f"{self!r}: a run asked another question at {trace.split or 'its end'} than one"
                    " before it, after the same outcomes: it depends on something that changes"
                    " between runs, or else this is an error of chainrule"
                )
            self._plain.be_careful()
            self._begin_anew(paths.captured)
            raise Restart
        self._check_layout(trace.layout)
        if len(trace.captured) > len(paths.captured):
            if paths.traces:
                self._begin_anew(trace.captured)
                raise Restart
            paths.captured = trace.captured
        trace.captured = paths.captured  # one list of the parameters for all traces
        return trace

    def _begin_anew(self, captured: Sequence[Node]) -> None:
        """Let the traces go."""
        self.paths = Paths(self, captured, self.paths.run_seconds)

    def _check_layout(self, layout: trees.Layout) -> None:
        """Raise TypeError if lanes give different results."""
        if self.layout is None:
            self.layout = layout  # of all lanes; single points may have others
        elif layout is not self.layout and self.lanes and layout != self.layout:
            raise TypeError(
                f"{self!r}: the result must have one structure and shape in all lanes,"
                f" whatever branch they take; it was {self.layout}, and is {layout} on"
                " another path"
            )
