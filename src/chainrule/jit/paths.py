"""The traces of a function, and which of them each lane follows.

Every comparison that a traced program asks is a guard, unless those before it decide it: no path
contradicts itself. The outcomes so far, a prefix, decide which guard comes next; a trace is
recorded for a prefix and goes on as its own values decide. Where a guard of its kernel fails for a
lane, that lane belongs to the prefix that ends with the other outcome.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from chainrule import forking
from chainrule.backends.llvm.addresses import address_of
from chainrule.backends.llvm.kernel import Kernel, reduce_lanes
from chainrule.debugging import Shown
from chainrule.node import Node
from chainrule.passes.going_on import going_on
from chainrule.program.form import Program

from .small import Step, pattern_of_result
from .trace import Trace

SOON = 16
"""Traces that are recorded at once; another path waits until that pays."""
MOST_SPENT = 1000
"""Paths of which it is known how long runs took that went without a trace."""

LONG = 20_000
"""Instructions of a call during which other threads may go on."""

Prefix = tuple[bool, ...]
Segments = list[tuple[int, int, int, int]]
Eager = Callable[[int], Sequence[float]]
"""Gives the outputs for a lane by running the function itself."""


class TooManyTraces(Exception):
    """There are more paths through a function than it may record."""


class NotYet(Exception):
    """It does not pay yet to compile the path that a call takes.

    Args:
        paths: the traces.
        prefix: the path.
    """

    def __init__(self, paths: Paths, prefix: Prefix) -> None:
        super().__init__()
        self.paths = paths
        self.prefix = prefix


class Path:
    """A trace from a prefix on: its kernels, and what follows where a guard fails.

    Args:
        trace: the trace.
        prefix: the outcomes that are known to hold.
        uniform: for each of the trace's inputs whether all lanes share it; None without lanes.

    Attributes:
        guarded: whether a guard is left.
    """

    def __init__(self, trace: Trace, prefix: Prefix, uniform: Sequence[bool] | None) -> None:
        self.trace = trace
        trace.lanes = uniform is not None
        self.prefix = prefix
        self._uniform = uniform
        self._lock = forking.lock()
        self._kernels: list[tuple[tuple[bool, ...], Kernel]] = []
        self.guarded = len(trace.path) > len(prefix)

    @forking.computed_once
    def program(self) -> Program:
        """The trace's program without the guards of the prefix."""
        return going_on(self.trace.program, len(self.prefix))

    @forking.computed_once
    def constant(self) -> list[float] | None:
        """The outputs, if no input decides them."""
        if self.guarded or any(isinstance(x, Shown) for x in self.trace.operations):
            return None
        if self.trace.constant is not None:
            return self.trace.constant
        numbers = [x for x in self.program.outputs if isinstance(x, float)]
        return numbers if len(numbers) == len(self.program.outputs) else None

    def kernel(self, reduce: tuple[bool, ...] = ()) -> Kernel:
        """The machine code, compiled at its first use."""
        found = self._compiled(reduce)
        if found is None:
            with self._lock:
                found = self._compiled(reduce)
                if found is None:
                    lanes = self._uniform is not None
                    uniform = self._uniform if self._uniform is not None else ()
                    found = Kernel(self.program, uniform, lanes, reduce)
                    self._kernels.append((reduce, found))
        return found

    def _compiled(self, reduce: tuple[bool, ...]) -> Kernel | None:
        """The machine code that is there; a key that may be very long is not hashed each time."""
        for known, kernel in self._kernels:
            if known is reduce or known == reduce:
                return kernel
        return None

    @forking.computed_once
    def step(self) -> Any:
        """The code of a single point for plain calls; None if it can't be called by address."""
        kernel = self.kernel()
        if kernel.bare is None:
            return None
        trace = self.trace
        result = pattern_of_result(trace.layout)
        return Step(
            *(*kernel.bare, trace.program.inputs.size, trace.n_outputs),
            *(kernel.work > LONG, result, kernel),
        )

    def leads_to(self, status: int, path: Path) -> None:
        """Note what goes on where a guard fails, for plain calls."""
        step = self.__dict__.get("step")
        if step is not None and step.following.get(status) is not path.step is not None:
            step.following[status] = path.step

    @property
    def compile_seconds(self) -> float:
        """The time spent on machine code."""
        return sum(kernel.compile_seconds for _, kernel in self._kernels)

    def after(self, status: int) -> Prefix:
        """The prefix of a lane for which the kernel's guard number ``status - 1`` failed."""
        number = status - 1
        return (*self.trace.path[:number], not self.trace.path[number])


class Paths:
    """All the traces of a function for one kind of arguments.

    Args:
        record: makes the trace of a lane's inputs whose first outcomes are given.
        uniform: says which inputs of a trace all lanes share; None without lanes.
        limit: how many traces may be recorded.

    Attributes:
        captured: the nodes from outside that the traces use; they are inputs after the others.
    """

    def __init__(
        self,
        record: Callable[[Sequence[float], Prefix], Trace],
        uniform: Callable[[Trace], Sequence[bool]] | None,
        limit: int,
    ) -> None:
        self._record = record
        self._uniform = uniform
        self._limit = limit
        self._lock = forking.lock()
        self._paths: dict[Prefix, Path] = {}
        self.captured: Sequence[Node] = ()
        self.traces = 0
        self._seconds = 0.0  # that recording took
        self._spent: dict[Prefix, float] = {}  # seconds that runs without a trace took, by path
        self._run_seconds = 0.0  # that the last of these took
        self._followed = math.inf  # lanes that follow a path to its end, lately

    @property
    def nodes(self) -> int:
        """The statements of all programs."""
        return sum(trace.size for trace in {path.trace for path in self.all()})

    def all(self) -> list[Path]:
        """The paths so far."""
        return list(self._paths.values())

    def known(self, prefix: Prefix) -> Path | None:
        """The path for a prefix, if there is one."""
        return self._paths.get(prefix)

    def at(
        self,
        prefix: Prefix,
        inputs: Callable[[], Sequence[float]],
        root: Prefix = (),
        patient: bool = False,
    ) -> Path:
        """The path for a prefix, recorded with some lane's inputs if there is none yet.

        Args:
            prefix: the outcomes so far.
            inputs: gives the inputs of a lane.
            root: the path on which a guard has failed.
            patient: whether to wait until it pays.

        Raises:
            TooManyTraces: if it would be one too many.
            NotYet: if it does not pay yet.
        """
        found = self._paths.get(prefix)
        if found is not None:
            return found
        with self._lock:
            found = self._paths.get(prefix)
            if found is not None:
                return found
            if self.traces >= self._limit:
                raise TooManyTraces
            if patient and not self.pays(prefix):
                raise NotYet(self, prefix)
            start = time.perf_counter()
            trace = self._record(inputs(), prefix)
            self._seconds += time.perf_counter() - start
            self.traces += 1
            found = self._paths[prefix] = self._path(trace, prefix)
            parent = self._paths.get(root)
            if parent is not None and prefix != root:
                self._prefer_longer(parent, trace)
            return found

    def pays(self, prefix: Prefix, runs: int = 1) -> bool:
        """Whether to record a path for so many runs of the function.

        It is once all runs that took the path last as long as a trace with its code takes; for a
        single one, the longer the more paths there are. Before one has run, a run takes a third of
        a trace.
        """
        if prefix in self._paths or self.traces < SOON:
            return True
        seconds = self._seconds + sum(
            path.compile_seconds + path.trace.program_seconds for path in self.all()
        )
        run_seconds = self._run_seconds or self._seconds / self.traces / 3.0
        saved = min(runs, self._followed) * run_seconds
        return self._spent.get(prefix, 0.0) + saved >= seconds / (
            SOON if runs == 1 else self.traces
        )

    def followed(self, lanes: int) -> None:
        """Note how many of a group of lanes have followed a path to its end."""
        self._followed = lanes if self._followed == math.inf else (self._followed + lanes) / 2.0

    def ran_eagerly(self, prefix: Prefix, seconds: float, runs: int = 1) -> None:
        """Note how long runs took that went without a trace of their path."""
        if len(self._spent) >= MOST_SPENT:
            self._spent.clear()
        self._spent[prefix] = self._spent.get(prefix, 0.0) + seconds
        self._run_seconds = seconds / runs

    def _path(self, trace: Trace, prefix: Prefix) -> Path:
        return Path(trace, prefix, None if self._uniform is None else self._uniform(trace))

    def _prefer_longer(self, parent: Path, trace: Trace) -> None:
        """Try a trace of twice the length first: a lane then needs few traces to find its own.

        Lanes of a loop that ends after 3, 4, … 12 rounds would otherwise run all the shorter
        traces before theirs.
        """
        old = parent.trace.path
        new = trace.path
        if len(new) < 2 * len(old) or not old:
            return
        same = 0
        while same < len(old) and old[same] == new[same]:
            same += 1
        if same < len(old):
            branch = old[: same + 1]
            if branch not in self._paths:
                self._paths[branch] = self._path(parent.trace, branch)
            self._paths[parent.prefix] = self._path(trace, parent.prefix)


def run_point(
    paths: Paths, inputs: Callable[[], Sequence[float]], address: int, patient: bool
) -> tuple[Trace, Any]:
    """Compute a single point; gives the trace that it followed, and the outputs.

    Args:
        paths: the traces.
        inputs: gives the inputs as numbers, for recording.
        address: where the inputs lie, one after another.
        patient: whether a path that is new waits until a trace pays.

    Raises:
        NotYet: if it waits.
    """
    prefix: Prefix = ()
    before: Path | None = None
    status = 0
    while True:
        path = paths.at(prefix, inputs, patient=patient)
        if before is not None:
            before.leads_to(status, path)
        outputs = numpy.empty(path.trace.n_outputs)
        status = path.kernel().call(address, address_of(outputs))
        if status == 0:
            return path.trace, outputs
        before = path
        prefix = path.after(status)


class Outputs:
    """Where the outputs of lanes go: an array for each leaf of the result."""

    def __init__(self, counts: Sequence[int], lanes: int) -> None:
        self.arrays = [numpy.empty((lanes, count)) for count in counts]
        self.lanes = lanes

    @property
    def segments(self) -> Segments:
        """The layout for a kernel."""
        return [
            (address_of(array), array.shape[1], 8, 8 * array.shape[1])
            for array in self.arrays
            if array.size
        ]

    def fill(self, lanes: Any, constants: Any) -> None:
        """Set the outputs of some lanes to numbers: a row of them for each lane."""
        start = 0
        for array in self.arrays:
            stop = start + array.shape[1]
            array[lanes] = constants[..., start:stop]
            start = stop


def run_lanes(
    paths: Paths,
    inputs_of: Callable[[int], Sequence[float]],
    segments: Segments,
    lanes: int,
    outputs: Outputs,
    threads: int,
    reduce: tuple[bool, ...] = (),
    eager: Eager | None = None,
) -> None:
    """Compute all lanes, each by the trace that it follows; few ones by running the function."""
    pending: list[tuple[Prefix, Any]] = [((), None)]
    while pending:
        prefix, index = pending.pop()
        if eager is not None and index is not None and not paths.pays(prefix, len(index)):
            _run_eagerly(paths, prefix, index, outputs, eager)
            continue
        first = 0 if index is None else int(index[0])
        path = paths.at(prefix, lambda lane=first: inputs_of(lane))  # type: ignore[misc]
        if path.constant is not None:
            outputs.fill(slice(None) if index is None else index, numpy.array(path.constant))
            continue
        count = lanes if index is None else len(index)
        kernel = path.kernel(reduce)
        status, _ = kernel.run(segments, outputs.segments, count, index, threads, materialize=True)
        failed = () if status is None else numpy.flatnonzero(status)
        if index is not None:
            paths.followed(count - len(failed))
        if not len(failed):
            continue
        assert status is not None
        codes = status[failed]
        numbers = failed if index is None else index[failed]
        patient = eager is not None
        pending.extend(_regrouped(paths, path, codes, numbers, inputs_of, outputs, patient))


def _run_eagerly(paths: Paths, prefix: Prefix, lanes: Any, outputs: Outputs, eager: Eager) -> None:
    """Compute some lanes one after another."""
    start = time.perf_counter()
    for lane in lanes.tolist():
        outputs.fill([lane], numpy.array([eager(lane)]))
    paths.ran_eagerly(prefix, time.perf_counter() - start, len(lanes))


def _regrouped(
    paths: Paths,
    path: Path,
    codes: Any,
    lanes: Any,
    inputs_of: Callable[[int], Sequence[float]],
    outputs: Outputs,
    patient: bool,
) -> list[tuple[Prefix, Any]]:
    """The lanes that left a trace, by the prefix they follow; constant ones are done at once."""
    order = numpy.argsort(codes, kind="stable")
    codes, lanes = codes[order], lanes[order]
    starts = numpy.flatnonzero(numpy.diff(codes, prepend=codes[0] - 1))
    ends = [*starts[1:].tolist(), len(lanes)]
    groups = [lanes[start:end] for start, end in zip(starts.tolist(), ends, strict=True)]
    pending: list[tuple[Prefix, Any]] = []
    constant: list[list[float]] = []
    constant_groups: list[Any] = []
    for code, group in zip(codes[starts].tolist(), groups, strict=True):
        prefix = path.after(code)
        lane = int(group[0])
        if patient and not paths.pays(prefix, len(group)):
            pending.append((prefix, group))
            continue
        next_path = paths.at(prefix, lambda lane=lane: inputs_of(lane), path.prefix)  # type: ignore[misc]
        if next_path.constant is not None:
            paths.followed(len(group))
            constant.append(next_path.constant)
            constant_groups.append(group)
        else:
            pending.append((prefix, group))
    if constant:
        rows = numpy.repeat(
            numpy.array(constant), [len(group) for group in constant_groups], axis=0
        )
        outputs.fill(numpy.concatenate(constant_groups), rows)
    return pending


def run_reduced(
    paths: Paths,
    inputs_of: Callable[[int], Sequence[float]],
    segments: Segments,
    lanes: int,
    reduce: tuple[bool, ...],
    outputs: Outputs,
    threads: int,
    eager: Eager | None = None,
) -> Any:
    """Compute all lanes and add up some of the outputs; gives the sums of these.

    The sums do not depend on the number of threads, nor on how many traces the lanes follow.
    """
    path = paths.at((), lambda: inputs_of(0))
    if path.constant is None and paths.traces == 1:
        kernel = path.kernel(reduce)
        status, sums = kernel.run(segments, outputs.segments, lanes, threads=threads)
        if status is None or not status.any():
            return sums
    every = Outputs([len(reduce)], lanes)
    run_lanes(paths, inputs_of, segments, lanes, every, threads, reduce, eager)
    table = every.arrays[0]
    columns = [k for k, r in enumerate(reduce) if not r]
    outputs.fill(slice(None), table[:, columns])
    return reduce_lanes(numpy.ascontiguousarray(table[:, [k for k, r in enumerate(reduce) if r]].T))
