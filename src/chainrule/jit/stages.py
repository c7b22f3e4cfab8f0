"""What a compiled function computes, as a function of blocks of numbers; and its derivatives.

A block is an array of the numbers that all lanes share, or one with a row for each lane. The
derivative of such a function for changes that are given is one as well: its program is derived of
each path's, so that it has the same guards, and no path is traced twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy

from chainrule import forking
from chainrule.passes.gradients import with_changes
from chainrule.program.elements import Mask
from chainrule.program.form import Operand, Program, Slice
from chainrule.rewriting.decisions import Decisions
from chainrule.tracing import NotCompilable

from .arguments import Packed
from .lane_call import LaneCall
from .paths import Paths, Prefix, run_point
from .trace import Restart

if TYPE_CHECKING:
    from .plan import Plan


class Block(NamedTuple):
    """A block of inputs or results.

    Attributes:
        size: how many numbers it has, at each lane.
        over_lanes: whether each lane has its own.
    """

    size: int
    over_lanes: bool = False


class StageTrace:
    """A trace of a stage: what paths need of one.

    Args:
        stage: the stage.
        trace: of what it is derived of.
    """

    def __init__(self, stage: Stage, trace: Any) -> None:
        self._stage = stage
        self._trace = trace
        self.path: tuple[bool, ...] = trace.path
        self.split: str = trace.split
        self.operations = trace.operations
        self.constant: list[float] | None = None
        self.n_outputs = stage.n_results
        self.lanes = False
        self.varied = False
        self.size = 0
        self.program_seconds = 0.0

    @forking.computed_once
    def program(self) -> Program:
        """The program."""
        return self._stage.derive(self._trace.program)


class Stage:
    """A function of blocks.

    Args:
        plan: of the compiled function that it belongs to.
        inputs: its blocks; of the plan's arguments, then captured nodes, then changes.
        results: likewise.

    Attributes:
        n_captured: the nodes from outside that it uses.
        captured: their block; None without.
        n_results: the numbers of all results, at each lane.
    """

    def __init__(self, plan: Plan, inputs: Sequence[Block], results: Sequence[Block]) -> None:
        self.plan = plan
        self.inputs = list(inputs)
        self.results = list(results)
        self.n_results = sum(block.size for block in results)
        self.max_traces = plan.max_traces
        self.n_captured = len(plan.paths.captured)
        own = [leaf for leaf in plan.leaves if leaf.kind != "static"]
        self.captured = len(own) if self.n_captured else None
        self._lock = forking.lock()
        self._changed: dict[tuple[Any, ...], Changed] = {}
        self._paths: Paths | None = None
        self._followed: Paths | None = None  # of the plan, when these were begun

    @property
    def paths(self) -> Paths:
        """The traces."""
        if not self.n_captured and not isinstance(self, Changed):
            return self.plan.paths
        with self._lock:
            if self._paths is None or self._followed is not self.plan.paths:
                self._followed = self.plan.paths
                self._paths = Paths(self)
            return self._paths

    @property
    def branches(self) -> Decisions:
        """What is done where it branches."""
        return self.plan.branches

    def derive(self, program: Program) -> Program:
        """The program of a path, from that of what the stage is derived of."""
        return cut(program, self.n_results)

    def record(
        self, paths: Paths, packed: Packed, lane: int, prefix: Prefix, answers: bool = False
    ) -> Any:
        """The trace of a path."""
        followed = self._followed_by(paths)
        return StageTrace(self, followed.at(prefix, packed, lane).trace)

    def _followed_by(self, paths: Paths) -> Paths:
        """The plan's traces, if they still are those that its own are of.

        Raises:
            Restart: if they have been recorded anew.
        """
        followed = self.plan.paths
        if self.paths is not paths or self._followed is not followed:
            raise Restart
        return followed

    def count(self, lanes: int) -> int:
        """The numbers of all results of a call for so many lanes."""
        return sum(block.size * (lanes if block.over_lanes else 1) for block in self.results)

    def warn_of_paths(self, count: int, line: str) -> None:
        """The compiled function has warned of them."""

    def uniform(self, trace: Any) -> Mask | None:
        """For each input whether all lanes share it; None without lanes."""
        if not self.plan.lanes:
            return None
        shared = numpy.array([not block.over_lanes for block in self.inputs], dtype=numpy.bool_)
        return numpy.repeat(shared, [block.size for block in self.inputs])

    def run(self, blocks: Sequence[Any], values: Sequence[Any], lanes: int, of: int) -> list[Any]:
        """The results for blocks of numbers.

        Args:
            blocks: arrays of float64.
            values: the leaves of the plan's arguments, of which the static ones count.
            lanes: how many there are; 0 without.
            of: how many there are in the whole call, of which these are some.

        Raises:
            NotCompilable, TooManyTraces: if it can't be computed.
        """
        packed = Packed((), ())
        packed.values = values
        for array, block in zip(blocks, self.inputs, strict=True):
            packed.add(array, 0 if block.over_lanes else None)
        while True:
            if len(self.plan.paths.captured) != self.n_captured:
                raise NotCompilable("it has come to use other nodes from outside")
            try:
                found = self._run(self.paths, packed, lanes)
                break
            except Restart:
                continue
        vmap = self.plan.owner.vmap
        if vmap is not None and vmap.reduce == "mean":
            found = [array / of for array in found]
        return found

    def _run(self, paths: Paths, packed: Packed, lanes: int) -> list[Any]:
        if not self.plan.lanes:
            _, outputs = run_point(paths, packed, patient=False)
            ends = itertools.accumulate(block.size for block in self.results)
            return numpy.split(outputs, [*ends][:-1]) if self.results else []
        shapes = [(block.size,) for block in self.results if block.over_lanes]
        added: tuple[bool, ...] = ()
        if len(shapes) < len(self.results):
            added = tuple(not block.over_lanes for block in self.results for _ in range(block.size))
        call = LaneCall(paths, packed, lanes, shapes, self.plan.threads)
        sums, arrays = call.run(added), iter(call.arrays)
        found = []
        at = 0
        for block in self.results:
            if block.over_lanes:
                found.append(next(arrays))
            else:
                found.append(sums[at : at + block.size])
                at += block.size
        return found

    def changed(
        self, forward: bool, wanted: tuple[int, ...], given: Any = None, keep: bool = False
    ) -> Changed:
        """The derivative.

        Args:
            forward: whether tangents of inputs are pushed forward, else cotangents pulled back.
            wanted: the blocks of inputs to differentiate by.
            given: for each change whether there is one; None for all.
            keep: whether the results of this function come first.
        """
        key = forward, wanted, None if given is None else given.tobytes(), keep
        with self._lock:
            found = self._changed.get(key)
            if found is None:
                found = self._changed[key] = Changed(self, forward, wanted, given, keep)
            return found


class Changed(Stage):
    """What comes of changes that are given: its last blocks.

    Args:
        before: the function that is differentiated.
        forward: see :meth:`Stage.changed`.
        wanted: likewise.
        given: likewise.
        keep: likewise.

    Attributes:
        changes: the blocks of the changes.
    """

    def __init__(
        self, before: Stage, forward: bool, wanted: tuple[int, ...], given: Any, keep: bool
    ) -> None:
        own = [before.inputs[i] for i in wanted]
        self.changes, results = (own, before.results) if forward else (before.results, own)
        if keep:
            results = [*before.results, *results]
        super().__init__(before.plan, [*before.inputs, *self.changes], results)
        self.before = before
        self.forward = forward
        self.wanted = wanted
        self.keep = keep
        starts = [0, *itertools.accumulate(block.size for block in before.inputs)]
        self._places = [
            place for i in wanted for place in range(starts[i], starts[i] + before.inputs[i].size)
        ]
        count = sum(block.size for block in self.changes)
        self.given: list[bool] = [True] * count if given is None else given.tolist()

    def record(
        self, paths: Paths, packed: Packed, lane: int, prefix: Prefix, answers: bool = False
    ) -> Any:
        """The trace of a path."""
        before = self._followed_by(paths)
        if isinstance(self.before, Changed):
            before = self.before.paths
        return StageTrace(self, before.at(prefix, packed, lane).trace)

    def derive(self, program: Program) -> Program:
        """The program with these changes."""
        program = cut(program, self.before.n_results)
        return with_changes(program, self._places, self.forward, self.given, self.keep)


def cut(program: Program, count: int) -> Program:
    """The program with its first outputs alone; with zeros behind them, if it has fewer.

    So it has fewer on a path that another result comes of, which is left before its end.
    """
    outputs: list[Operand | Slice] = []
    for x in program.outputs:
        size = x.size if isinstance(x, Slice) else 1
        kept = min(size, count)
        count -= kept
        if kept:
            outputs.append(x._replace(size=kept) if isinstance(x, Slice) else x)
    return Program(program.inputs, program.body, [*outputs, *[0.0] * count], program.guards)
