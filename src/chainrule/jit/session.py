"""A function of one sample that is evaluated again and again: other parameters, other batches.

A compiled function lays its arguments out at each call and gives nodes back. Training calls one
function thousands of times and wants numbers: the samples stay where they are, the parameters lie
in one array, a batch is an array of sample numbers, and a step is one run of the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from chainrule import forking, trees
from chainrule.backends.llvm.addresses import address_of
from chainrule.node import Node
from chainrule.tracebacks import warn
from chainrule.tracing import NotCompilable

from .arguments import Packed, inputs_to_arguments, leaf_of
from .draws import Draws
from .paths import Outputs, Paths, Prefix, Segments, TooManyTraces, run_lanes, run_reduced
from .plan import thread_count
from .sites import PlainSites
from .trace import Restart, Trace

Array = NDArray[numpy.float64]


class SampleFunction:
    """A function of one sample as machine code, with parameters that it uses from outside.

    Args:
        function: of a sample, that is of one row of each array.
        samples: arrays whose first axis runs over the samples; a session's are of the same kind.
        parameters: the leaf nodes whose values change from run to run.
        gradient: whether the result is one number, wanted with its gradient by the parameters.
        max_traces: the paths through the function that may be recorded.

    Raises:
        NotCompilable: if samples can't be laid out for the machine code.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        samples: Sequence[Any],
        parameters: Sequence[Node],
        gradient: bool = True,
        max_traces: int = 1000,
    ) -> None:
        self._function = function
        self.parameters = list(parameters)
        self.gradient = gradient
        self._max_traces = max_traces
        self._lock = forking.lock()
        self._draws = Draws(function)
        self._warned = False
        self.leaves = [leaf_of(array, 0, False) for array in samples]
        _, structure = trees.leaves_of(tuple(samples))
        self._arguments = inputs_to_arguments(structure, self.leaves, lambda: [None] * len(samples))
        self.n_inputs = sum(leaf.size for leaf in self.leaves)
        self.layout: trees.Layout | None = None
        self.captured: list[Node] = self.parameters
        self._plain = PlainSites()
        self.paths = self._new_paths()

    def _new_paths(self) -> Paths:
        return Paths(self._record, self._uniform, self._max_traces)

    def _uniform(self, trace: Trace) -> list[bool]:
        return [False] * self.n_inputs + [True] * len(trace.captured)

    def _record(self, point: Sequence[float], prefix: Prefix) -> Trace:
        """Run the function on nodes."""
        self._draws.begin()
        try:
            trace = Trace(
                lambda arguments: self._function(*arguments),
                point[: self.n_inputs],
                self._arguments,
                (),
                prefix,
                self.captured,
                len(self.parameters) if self.gradient else 0,
                self._plain,
            )
        except Restart:
            self.paths = self._new_paths()
            raise
        generator = self._draws.made()
        if generator is not None and not self._warned:
            self._warned = True
            warn(
                f"the model drew random numbers ({generator}) while it was traced: from then on"
                " they are the same for all samples; with compile=False it draws for each"
            )
        if self.gradient and not trace.layout.is_number:
            raise TypeError(
                f"a loss is one number for each sample; this one gave {trace.layout}: add up, or"
                " take the mean"
            )
        if self.layout is None:
            self.layout = trace.layout
        elif trace.layout != self.layout:
            raise TypeError(
                "the result must have one structure and shape whatever branch is taken; it was"
                f" {self.layout}, and is {trace.layout} on another path"
            )
        captured = trace.captured
        if len(captured) > len(self.captured):
            first = self.paths.traces == 0
            _check_apart(captured[len(self.captured) :], self.parameters)
            if not first:
                self.paths = self._new_paths()
            self.captured = captured
            if not first:
                raise Restart
        return trace

    def set_parameters(self, values: Array) -> None:
        """Give the parameters values, so that what is recorded next goes by them."""
        with self._lock:
            for node, value in zip(self.parameters, values.tolist(), strict=True):
                node.data = value


def _check_apart(others: Sequence[Node], parameters: Sequence[Node]) -> None:
    """Raise ValueError if one of some other nodes was computed from parameters.

    Its value would stay what it is while the parameters change.
    """
    known = set(parameters)
    for node in others:
        if node.operands and not known.isdisjoint(node.sorted_nodes()):
            raise ValueError(
                f"the function uses {node!r}, which was computed from parameters before; compute"
                " it inside the function, as it changes with them"
            )


class Session:
    """A program on certain samples.

    Args:
        program: what to run.
        samples: arrays of the kind that the program was made for.
        threads: how many threads it may use; by default as many as compiled functions do.

    Attributes:
        values: the values of the parameters, in order; to be changed in place.
    """

    def __init__(
        self, program: SampleFunction, samples: Sequence[Any], threads: int | None = None
    ) -> None:
        self.program = program
        self.samples = list(samples)
        self.size = len(samples[0])
        self.values: Array = numpy.array([node._number for node in program.parameters])
        self._threads = threads or thread_count()
        self._packed = Packed(program.leaves, self.samples)
        self._all = numpy.arange(self.size)
        self._frozen: Array = numpy.empty(0)
        self._segments: Segments = ()
        self._added = (True,) * (1 + len(self.values))
        self._recorded()

    def _recorded(self) -> Paths:
        """The traces; the first is recorded and the inputs are laid out for all of them."""
        program = self.program
        while True:
            paths = program.paths
            try:
                paths.at((), lambda: self._packed.at(0))
            except Restart:
                continue
            except TooManyTraces:
                raise _too_many(program) from None
            frozen = program.captured[len(program.parameters) :]
            if len(frozen) != len(self._frozen) or not self._segments:
                self._frozen = numpy.array([node._number for node in frozen])
                self._segments = (*self._packed.segments, *self._parameter_segments())
            return paths

    def _parameter_segments(self) -> Segments:
        arrays = [array for array in (self.values, self._frozen) if len(array)]
        return [(address_of(array), len(array), 8, 0) for array in arrays]

    def step(self, index: Any = None, total: float | None = None) -> tuple[float, Array]:
        """The mean of the loss over samples and its gradient by the parameters.

        Args:
            index: the numbers of the samples, an int64 array; by default all.
            total: what to divide the sum by, if not the number of samples.

        Raises:
            NotCompilable: if there are too many paths through the function.
        """
        paths = self.program.paths
        sums = None
        if paths.traces == 1:
            path = paths.at((), list)
            if path.constant is None:
                count = self.size if index is None else len(index)
                kernel = path.kernel(self._added)
                status, sums = kernel.run(self._segments, (), count, index, self._threads)
                if status is not None and status.any():
                    sums = None
        if sums is None:
            sums = self._step_by_paths(self._all if index is None else index)
        sums /= float(total or (self.size if index is None else len(index)))
        return float(sums[0]), sums[1:]

    def _step_by_paths(self, index: Any) -> Array:
        """The sums over samples that follow several paths."""
        batch = Packed(self.program.leaves, [array[index] for array in self.samples])
        self.program.set_parameters(self.values)
        while True:
            paths = self._recorded()
            segments = [*batch.segments, *self._parameter_segments()]
            nothing = Outputs([], len(index))
            try:
                sums: Array = run_reduced(
                    paths, batch.at, segments, len(index), self._added, nothing, self._threads
                )
                return sums
            except Restart:
                continue
            except TooManyTraces:
                raise _too_many(self.program) from None

    def evaluate(self) -> Array:
        """The result for each sample: an array (samples, numbers of the result).

        Raises:
            NotCompilable: if there are too many paths through the function.
        """
        while True:
            paths = self._recorded()
            assert self.program.layout is not None
            outputs = Outputs([self.program.layout.size], self.size)
            if self.program.paths.traces > 1:
                self.program.set_parameters(self.values)
            try:
                run_lanes(paths, self._packed.at, self._segments, self.size, outputs, self._threads)
            except Restart:
                continue
            except TooManyTraces:
                raise _too_many(self.program) from None
            array: Array = outputs.arrays[0]
            return array

    def mean(self, total: float | None = None) -> float:
        """The mean over the samples of a function with one number as result."""
        return math.fsum(self.evaluate()[:, 0].tolist()) / (total or self.size)


def _too_many(program: SampleFunction) -> NotCompilable:
    return NotCompilable(
        f"it takes more than {program._max_traces} paths (comparisons with other outcomes);"
        " where(condition, a, b), maximum and minimum of chainrule.math choose without one"
    )
