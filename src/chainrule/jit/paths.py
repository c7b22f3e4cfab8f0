"""The traces of a function, and which of them each lane follows.

Every comparison that a traced program asks is a guard, unless those before it decide it: no path
contradicts itself. The outcomes so far, a prefix, decide which guard comes next; a trace is
recorded for a prefix and goes on as its own values decide. Where a guard of its kernel fails for a
lane, that lane belongs to the prefix that ends with the other outcome.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy

from chainrule import forking
from chainrule.backends.llvm.addresses import address_of
from chainrule.backends.llvm.kernel import Kernel
from chainrule.backends.llvm.shared import Functions, SharedCode
from chainrule.debugging import Shown
from chainrule.engine import ENGINE
from chainrule.node import Node
from chainrule.passes.going_on import going_on
from chainrule.program.form import Program

from .small import pattern_of_result
from .trace import Trace

if TYPE_CHECKING:
    from .arguments import Packed
    from .traced_function import TracedFunction

SOON = 16
"""Traces that are recorded at once; another path waits until that pays."""
FEW = 4
"""Traces whose programs are made as fast as may be, however much there is to compile."""
MOST_SPENT = 1000
"""Paths of which it is known how long runs took that went without a trace."""

LONG = 20_000
"""Instructions of a call during which other threads may go on."""

Prefix = tuple[bool, ...]


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
        shared: the code of all paths.

    Attributes:
        guarded: whether a guard is left.
    """

    def __init__(
        self,
        trace: Trace,
        prefix: Prefix,
        uniform: Sequence[bool] | None,
        shared: SharedCode,
    ) -> None:
        self.trace = trace
        trace.lanes = uniform is not None
        self.prefix = prefix
        self._uniform = uniform
        self._shared = shared
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
                    found = Kernel(self.program, uniform, lanes, reduce, self._shared)
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
        """The engine's way to a single point for plain calls; None if it can't go there."""
        kernel = self.kernel()
        if kernel.bare is None or ENGINE is None:
            return None
        trace = self.trace
        result = pattern_of_result(trace.layout)
        return ENGINE.Step(
            *(*kernel.bare, trace.program.inputs.size, trace.n_outputs),
            *(kernel.work > LONG, result, kernel),
        )

    def leads_to(self, status: int, path: Path) -> None:
        """Note what goes on where a guard fails, for plain calls."""
        step = self.__dict__.get("step")
        if step is not None and step.following.get(status) is not path.step is not None:
            step.following[status] = path.step

    @property
    def codes(self) -> list[Functions]:
        """The machine code, which other paths may have as well."""
        return [code for _, kernel in self._kernels for code in kernel.codes]

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
        function: what is traced.
        captured: nodes from outside that are known already.

    Attributes:
        captured: the nodes from outside that the traces use; they are inputs after the others.
        traces: how many there are.
    """

    def __init__(self, function: TracedFunction, captured: Sequence[Node] = ()) -> None:
        self._function = function
        self.captured = captured
        self._lock = forking.lock()
        self._paths: dict[Prefix, Path] = {}
        self._shared = SharedCode()
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
        packed: Packed,
        lane: int = 0,
        root: Prefix = (),
        patient: bool = False,
    ) -> Path:
        """The path for a prefix, recorded with some lane's inputs if there is none yet.

        Args:
            prefix: the outcomes so far.
            packed: the inputs.
            lane: the lane.
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
            if self.traces >= self._function.max_traces:
                raise TooManyTraces
            if patient and not self.pays(prefix):
                raise NotYet(self, prefix)
            start = time.perf_counter()
            trace = self._function.record(self, packed, lane, prefix)
            self._seconds += time.perf_counter() - start
            self.traces += 1
            trace.varied = self.traces > FEW
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
        return Path(trace, prefix, self._function.uniform(trace), self._shared)

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


def run_point(paths: Paths, packed: Packed, patient: bool) -> tuple[Trace, Any]:
    """Compute a single point; gives the trace that it followed, and the outputs.

    Args:
        paths: the traces.
        packed: the inputs.
        patient: whether a path that is new waits until a trace pays.

    Raises:
        NotYet: if it waits.
    """
    inputs = packed.contiguous()
    address = address_of(inputs)
    prefix: Prefix = ()
    before: Path | None = None
    status = 0
    while True:
        path = paths.at(prefix, packed, patient=patient)
        if before is not None:
            before.leads_to(status, path)
        outputs = numpy.empty(path.trace.n_outputs)
        status = path.kernel().call(address, address_of(outputs))
        if status == 0:
            return path.trace, outputs
        before = path
        prefix = path.after(status)
