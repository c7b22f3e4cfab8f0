"""A function of one sample that is evaluated again and again: other parameters, other batches.

A compiled function lays its arguments out at each call and gives nodes back. Training calls one
function thousands of times and wants numbers: the samples stay where they are, the parameters lie
in one array, a batch is an array of sample numbers, and a step is one run of the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy
from numpy.typing import NDArray

from chainrule import forking, trees
from chainrule.backends.llvm.threads import thread_count
from chainrule.handover import form_of
from chainrule.leaves import data_of, set_data
from chainrule.node import Node
from chainrule.tracebacks import warn
from chainrule.tracing import NotCompilable

from .arguments import Packed, leaf_of
from .lane_call import LaneCall, sums_of_one_path
from .paths import Paths, Prefix, TooManyTraces, taking_paths
from .trace import Restart, Trace
from .traced_function import TracedFunction

Array = NDArray[numpy.float64]
T = TypeVar("T")


class SampleFunction(TracedFunction):
    """A function of one sample as machine code, with parameters that it uses from outside.

    Args:
        function: of a sample, that is of one row of each array.
        samples: arrays whose first axis runs over the samples; a session's are of the same kind.
        parameters: the leaf nodes whose values change from run to run.
        gradient: whether the result is one number, wanted with its gradient by the parameters.
        max_traces: the paths through the function that may be recorded.

    Attributes:
        added: what a step adds up over the samples: one tuple, as equal ones take long to compare.

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
        self.added = (True,) * (1 + len(self.parameters))
        self._lock = forking.lock()
        self._warned = False
        _, structure = trees.leaves_of(tuple(samples))
        super().__init__(
            function,
            structure,
            [leaf_of(array, 0, False) for array in samples],
            True,
            max_traces,
            self.parameters,
            len(self.parameters) if gradient else 0,
        )

    def __repr__(self) -> str:
        return "the function of a sample"

    def at_point(self, arguments: Any) -> Any:
        """The result for a sample."""
        return form_of(self._function)(*arguments)

    def warn_of_draws(self, generator: str) -> None:
        """Warn once."""
        if not self._warned:
            self._warned = True
            warn(
                f"the model drew random numbers ({generator}) while it was traced: from then on"
                " they are the same for all samples; with compile=False it draws for each"
            )

    def warn_of_paths(self, count: int, line: str) -> None:
        """Warn."""
        warn(f"{self!r} {taking_paths(count, line)}")

    def record(
        self, paths: Paths, packed: Packed, lane: int, prefix: Prefix, answers: bool = False
    ) -> Trace:
        """Run the function on nodes."""
        trace = super().record(paths, packed, lane, prefix, answers)
        if self.gradient and not trace.layout.is_number:
            raise TypeError(
                f"a loss is one number for each sample; this one gave {trace.layout}: add up, or"
                " take the mean"
            )
        _check_apart(trace.captured[len(self.parameters) :], self.parameters)
        return trace

    def set_parameters(self, values: Array) -> None:
        """Give the parameters values, so that what is recorded next goes by them."""
        with self._lock:
            set_data(self.parameters, values, zero_grad=False)


def _check_apart(others: Sequence[Node], parameters: Sequence[Node]) -> None:
    """Raise ValueError if one of some other nodes was computed from parameters.

    Its value would stay what it is while the parameters change.
    """
    known = set(parameters) if others else set()
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
        self.values: Array = data_of(program.parameters)
        self._threads = threads or thread_count()
        self._frozen: Array = numpy.empty(0)
        self._captured: Sequence[Node] = program.parameters
        self._packed = self._laid_out(self.samples)
        self._places = tuple(
            self._packed.places
        )  # the same at each step, so that a kernel knows it
        self._run(lambda paths: None)

    def _laid_out(self, samples: Sequence[Any]) -> Packed:
        """The inputs of some samples."""
        packed = Packed(self.program.leaves, samples)
        packed.add(self.values)
        packed.add(self._frozen)
        return packed

    def _run(self, run: Callable[[Paths], T]) -> T:
        """What comes of a run, once nothing has to be recorded anew.

        Raises:
            NotCompilable: if there are too many paths through the function.
        """
        program = self.program
        while True:
            try:
                paths = program.paths
                paths.at((), self._packed)
                if paths.captured is not self._captured:
                    self._captured = paths.captured
                    frozen = paths.captured[len(self.values) :]
                    self._frozen = numpy.array([node._number for node in frozen])
                    self._packed = self._laid_out(self.samples)
                    self._places = tuple(self._packed.places)
                return run(paths)
            except Restart:
                continue
            except TooManyTraces:
                raise NotCompilable(
                    f"it takes more than {program.max_traces} paths (comparisons with other"
                    " outcomes); where(condition, a, b), maximum and minimum of chainrule.math"
                    " choose without one"
                ) from None

    def step(self, index: Any = None, total: float | None = None) -> tuple[float, Array]:
        """The mean of the loss over samples and its gradient by the parameters.

        Args:
            index: the numbers of the samples, an int64 array; by default all.
            total: what to divide the sum by, if not the number of samples.

        Raises:
            NotCompilable: if there are too many paths through the function.
        """
        count = self.size if index is None else len(index)
        paths = self.program.paths
        sums = None
        if paths.captured is self._captured:
            sums = sums_of_one_path(
                paths, self._places, (), count, self.program.added, self._threads, index
            )
        if sums is None:
            chosen = slice(None) if index is None else index
            samples = [array[chosen] for array in self.samples]
            self.program.set_parameters(self.values)
            sums = self._run(
                lambda paths: LaneCall(
                    paths, self._laid_out(samples), count, (), self._threads
                ).run(self.program.added)
            )
        sums /= float(total or count)
        return float(sums[0]), sums[1:]

    def evaluate(self) -> Array:
        """The result for each sample: an array (samples, numbers of the result).

        Raises:
            NotCompilable: if there are too many paths through the function.
        """
        if self.program.paths.traces > 1:
            self.program.set_parameters(self.values)
        return self._run(self._evaluated)

    def _evaluated(self, paths: Paths) -> Array:
        assert self.program.layout is not None
        width = self.program.layout.size
        call = LaneCall(paths, self._packed, self.size, [(width,)], self._threads)
        call.run()
        array: Array = call.arrays[0]
        return array

    def mean(self, total: float | None = None) -> float:
        """The mean over the samples of a function with one number as result."""
        return math.fsum(self.evaluate()[:, 0].tolist()) / (total or self.size)
