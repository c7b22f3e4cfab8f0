"""A call over lanes, each by the trace that it follows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy

from chainrule import trees
from chainrule.backends.llvm.addresses import address_of
from chainrule.backends.llvm.kernel import Regular, reduce_lanes
from chainrule.backends.llvm.pool import empty
from chainrule.debugging import printing_at_the_end

from .arguments import Packed
from .paths import Path, Paths, Prefix

if TYPE_CHECKING:
    from .eager_lanes import EagerLanes

TOGETHER = 1024
"""Lanes whose results are kept before they are put into arrays."""


class LaneCall:
    """The lanes of a call, and their outputs.

    Args:
        paths: the traces.
        packed: the inputs.
        lanes: how many there are.
        shapes: of the arrays for the outputs that are not added up, at one lane: one for each
            leaf of the result.
        threads: how many to use.
        eager: runs the function itself for few lanes that go a path of their own; by default each
            path is recorded.

    Attributes:
        arrays: these arrays, the lanes along their first axis.
    """

    def __init__(
        self,
        paths: Paths,
        packed: Packed,
        lanes: int,
        shapes: Sequence[trees.Shape],
        threads: int,
        eager: EagerLanes | None = None,
    ) -> None:
        self.arrays = [empty((lanes, *shape)) for shape in shapes]
        self._paths = paths
        self._packed = packed
        self._lanes = lanes
        self._threads = threads
        self._eager = eager
        self._rest: list[tuple[Prefix, Any]] = []  # lanes that no trace is recorded for

    def run(self, added: tuple[bool, ...] = ()) -> Any:
        """Compute all lanes; gives the sums of the outputs that are added up.

        The sums do not depend on the number of threads, nor on how many traces the lanes follow.

        Args:
            added: for each output whether it is added up; empty if none is.
        """
        if not added:
            self._run_each()
            return None
        sums = sums_of_one_path(
            self._paths, self._packed.places, self._places(), self._lanes, added, self._threads
        )
        if sums is not None:
            return sums
        every = LaneCall(
            self._paths, self._packed, self._lanes, [(len(added),)], self._threads, self._eager
        )
        every._run_each(added)
        table, which = every.arrays[0], numpy.array(added)
        self._fill(slice(None), table[:, ~which])
        return reduce_lanes(numpy.ascontiguousarray(table[:, which].T))

    def _places(self) -> list[Regular]:
        """Where the outputs go."""
        lanes = self._lanes
        return [
            (address_of(array), size // lanes, 8, 8 * (size // lanes))
            for array in self.arrays
            if (size := array.size)
        ]

    def _fill(self, lanes: Any, numbers: Any) -> None:
        """Set the outputs of some lanes: a row of numbers for each lane."""
        start = 0
        for array in self.arrays:
            rows = array.reshape(self._lanes, array.size // self._lanes)
            stop = start + rows.shape[1]
            rows[lanes] = numbers[..., start:stop]
            start = stop

    def _run_each(self, added: tuple[bool, ...] = ()) -> None:
        """Store all outputs, by the code that adds up some of them otherwise."""
        self._follow([((), None)], added)
        while self._rest and not self._run_eagerly():
            rest, self._rest = self._rest, []
            self._follow(rest, added)

    def _follow(self, pending: list[tuple[Prefix, Any]], added: tuple[bool, ...]) -> None:
        """The same for lanes on some paths; those for which no trace pays are left."""
        places = self._places()
        while pending:
            prefix, index = pending.pop()
            if index is not None and not self._pays(prefix, index):
                self._rest.append((prefix, index))
                continue
            path = self._paths.at(prefix, self._packed, 0 if index is None else int(index[0]))
            if path.constant is not None:
                self._fill(slice(None) if index is None else index, numpy.array(path.constant))
                continue
            count = self._lanes if index is None else len(index)
            status, _ = path.kernel(added).run(
                self._packed.places, places, count, index, self._threads, materialize=True
            )
            failed = () if status is None else numpy.flatnonzero(status)
            if index is not None:
                self._paths.followed(count, count - len(failed))
            if len(failed):
                assert status is not None
                lanes = failed if index is None else index[failed]
                pending.extend(self._regrouped(path, status[failed], lanes))

    def _pays(self, prefix: Prefix, lanes: Any) -> bool:
        """Whether to record a path for some lanes."""
        return self._eager is None or self._paths.pays(prefix, len(lanes))

    def _run_eagerly(self) -> bool:
        """Compute the lanes that are left one after another; gives whether that went well.

        Python's numbers refuse what machine code computes, 1.0 / 0.0 say.
        """
        if self._eager is None:
            return False
        lanes = numpy.concatenate([index for _, index in self._rest])
        start = time.thread_time()
        try:
            with printing_at_the_end(self._paths.refused):
                for first in range(0, len(lanes), TOGETHER):
                    some = lanes[first : first + TOGETHER]
                    self._fill(some, numpy.array(self._eager.outputs(self._packed.values, some)))
        except Exception:
            if self._paths.refused:
                raise
            self._eager = None
            return False
        seconds = (time.thread_time() - start) / len(lanes)
        for prefix, index in self._rest:
            self._paths.ran_eagerly(prefix, seconds * len(index), len(index))
        self._rest.clear()
        return True

    def _regrouped(self, path: Path, codes: Any, lanes: Any) -> list[tuple[Prefix, Any]]:
        """The lanes that left a trace, by the prefix they follow; constant ones are filled in."""
        order = numpy.argsort(codes, kind="stable")
        codes, lanes = codes[order], lanes[order]
        starts = numpy.flatnonzero(numpy.diff(codes, prepend=codes[0] - 1))
        groups = numpy.split(lanes, starts[1:])
        pending: list[tuple[Prefix, Any]] = []
        constant: list[list[float]] = []
        constant_groups: list[Any] = []
        for code, group in zip(codes[starts].tolist(), groups, strict=True):
            prefix = path.after(code)
            if self._pays(prefix, group):
                following = self._paths.at(prefix, self._packed, int(group[0]), path.prefix)
                if following.constant is not None:
                    self._paths.followed(len(group), len(group))
                    constant.append(following.constant)
                    constant_groups.append(group)
                    continue
            pending.append((prefix, group))
        if constant:
            lengths = [len(group) for group in constant_groups]
            rows = numpy.repeat(numpy.array(constant), lengths, axis=0)
            self._fill(numpy.concatenate(constant_groups), rows)
        return pending


def sums_of_one_path(
    paths: Paths,
    inputs: Sequence[Regular],
    outputs: Sequence[Regular],
    lanes: int,
    added: tuple[bool, ...],
    threads: int,
    index: Any = None,
) -> Any:
    """The sums over lanes if all follow the only trace, else None."""
    path = paths.known(())
    if path is None or path.constant is not None or paths.traces > 1:
        return None
    status, sums = path.kernel(added).run(inputs, outputs, lanes, index, threads)
    return sums if status is None else None
