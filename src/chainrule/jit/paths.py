"""The traces of a function, and which of them each lane follows.

Every comparison that a traced program asks is a guard, unless those before it decide it: no path
contradicts itself. The outcomes so far, a prefix, decide which guard comes next; a trace is
recorded for a prefix and goes on as its own values decide. Where a guard of its kernel fails for a
lane, that lane belongs to the prefix that ends with the other outcome.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy

from chainrule import forking
from chainrule.backends.llvm.addresses import address_of
from chainrule.backends.llvm.kernel import Kernel
from chainrule.backends.llvm.pieces import mean
from chainrule.backends.llvm.shared import Functions, SharedCode
from chainrule.debugging import Shown
from chainrule.engine import ENGINE
from chainrule.node import Node
from chainrule.passes.going_on import going_on
from chainrule.program.elements import Mask
from chainrule.program.form import Compute, Loop, Program, Statement

from .asked import Asked
from .small import pattern_of_result
from .trace import Trace, collector_paused

if TYPE_CHECKING:
    from .arguments import Packed
    from .stages import Stage
    from .traced_function import TracedFunction

FEW = 4
"""Traces that are recorded at once, and whose programs are made as fast as may be.

Another path waits until a trace pays, and its program is made so that it may share code.
"""

CONVERTED = 8
"""Traces that it takes as long as, about, to find which branches of a long run can be converted."""
TRIED = 12
"""Traces after which it shows whether programs share code."""
MOST_LOST = 100_000
"""Paths of which it is known how long runs took that went without a trace."""

MANY = 20
"""Paths that run without a trace of which a warning is due; of traces five times as many."""
LONG_EAGERLY = 3.0
"""Seconds that these must have taken."""

SECONDS_OF_AN_OPERATION = 6e-7
"""What an operation takes where the function itself runs on nodes, with its derivative."""

MORE_EAGERLY = 9.0
"""How much more a run without a trace is taken to cost than its statements, until one has run.

About three times as much is computed then; and the first paths, whose cost is what is known of
those to come, have made the code that these share.
"""

LONG = 20_000
"""Instructions of a call during which other threads may go on."""

Prefix = tuple[bool, ...]


def taking_paths(count: int, line: str) -> str:
    """What a warning says of a function that takes many paths, most of which part at a line."""
    return (
        f"takes {count} paths or more, most of which part at {line}; each is traced, and compiled"
        " once that pays: where(condition, a, b), maximum and minimum of chainrule.math choose"
        " without a path of their own"
    )


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
        seconds: the time of the processor that recording and compiling it took so far.
    """

    def __init__(
        self,
        trace: Trace,
        prefix: Prefix,
        uniform: Mask | None,
        shared: SharedCode,
    ) -> None:
        self.trace = trace
        trace.lanes = uniform is not None
        self.prefix = prefix
        self.seconds = 0.0
        self._uniform = uniform
        self._shared = shared
        self._lock = forking.lock()
        self._kernels: list[tuple[tuple[bool, ...], Kernel]] = []
        self.guarded = len(trace.path) > len(prefix)

    @forking.computed_once
    def program(self) -> Program:
        """The trace's program without the guards of the prefix."""
        start = time.thread_time()
        with collector_paused():
            program = going_on(self.trace.program, len(self.prefix))
        self.seconds += time.thread_time() - start
        return program

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
                    with collector_paused():
                        program = self.program
                        start = time.thread_time()
                        found = Kernel(program, uniform, lanes, reduce, self._shared)
                        self.seconds += time.thread_time() - start
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
        return ENGINE.Step(
            *(*kernel.bare, trace.program.inputs.size, trace.n_outputs),
            *(kernel.work > LONG, *pattern_of_result(trace.layout), kernel),
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
        return sum([kernel.compile_seconds for _, kernel in self._kernels])

    def after(self, status: int) -> Prefix:
        """The prefix of a lane for which the kernel's guard number ``status - 1`` failed."""
        number = status - 1
        return (*self.trace.path[:number], not self.trace.path[number])


class Paths:
    """All the traces of a function for one kind of arguments.

    Args:
        function: what is traced.
        captured: nodes from outside that are known already.
        run_seconds: that a run without a trace takes; 0 if none has run.

    Attributes:
        captured: the nodes from outside that the traces use; they are inputs after the others.
        asked: what they compare.
        traces: how many there are.
        refused: whether there was one too many.
        run_seconds: that a run without a trace took lately.
    """

    def __init__(
        self,
        function: TracedFunction | Stage,
        captured: Sequence[Node] = (),
        run_seconds: float = 0.0,
    ) -> None:
        self._function = function
        self.captured = captured
        self._lock = forking.lock()
        self._paths: dict[Prefix, Path] = {}
        self._shared = SharedCode()
        self.asked = Asked()
        self.traces = 0
        self.refused = False
        self._lines: Counter[str] = Counter()  # at which traces have left others
        self._warned = False
        self.run_seconds = run_seconds
        self._seconds_eagerly = 0.0
        self._latest: deque[Path] = deque(maxlen=FEW)
        self._lost: dict[int, float] = {}  # seconds, by the hash of the path
        self._followed: dict[
            int, float
        ] = {}  # runs that end where a trace does, by the bits of all

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
            Answered: if a run in plain numbers is enough for now, and it waits.
        """
        found = self._paths.get(prefix)
        if found is not None:
            return found
        with self._lock:
            found = self._paths.get(prefix)
            if found is not None:
                return found
            if patient and not self.pays(prefix):
                raise NotYet(self, prefix)
            if self.traces >= self._function.max_traces:
                self.refused = True
                raise TooManyTraces
            start = time.thread_time()
            trace = self._function.record(self, packed, lane, prefix, patient)
            self.traces += 1
            trace.varied = self.traces > FEW and self._are_alike()
            found = self._paths[prefix] = self._path(trace, prefix)
            found.seconds = time.thread_time() - start
            self._latest.append(found)
            self._lines[trace.split] += prefix != ()
            if self.traces >= 5 * MANY:
                self._warn_of_many()
            parent = self._paths.get(root)
            if parent is not None and prefix != root:
                self._prefer_longer(parent, trace)
            return found

    def _are_alike(self) -> bool:
        """Whether programs have shared code so far, or there are too few to tell."""
        return self.traces <= TRIED or 4 * self._shared.reused >= self.traces

    def pays(self, prefix: Prefix, runs: int = 1) -> bool:
        """Whether to record a path for so many runs of the function, if it is not.

        The first ones are, at once; of long runs one is. Another one is when runs without it, those
        of now included, have lasted as long as recording and compiling it will: so both together
        take at most twice as long as if it had been known beforehand how often the path is taken.
        """
        if prefix in self._paths:
            return True
        if self.traces >= self._function.max_traces:
            self.refused = True
            return False
        if self.traces < (1 if self.run_seconds or self._function.branches.follows else FEW):
            return True
        if not self.run_seconds:  # none has run so far
            self.run_seconds = MORE_EAGERLY * eager_seconds(self._latest[-1].trace.program.body)
        lost = self._lost.get(hash(prefix), 0.0) + self._ended(runs) * self.run_seconds
        return lost >= self._cost()

    def _cost(self) -> float:
        """Seconds that a path takes to be recorded and compiled, by the latest ones."""
        traces = CONVERTED if self._function.branches.follows and self.traces == FEW else 1
        return traces * sorted([x.seconds for x in self._latest])[(len(self._latest) - 1) // 2]

    def followed(self, runs: int, ended: int) -> None:
        """Note how many of some runs that took a new path have followed it to its end."""
        size = runs.bit_length()
        self._followed[size] = (self._followed.get(size, ended) + ended) / 2.0

    def _ended(self, runs: int) -> float:
        """How many of some runs would follow a path to its end: as of about as many lately."""
        size = runs.bit_length()
        nearest = min(self._followed, key=lambda x: abs(x - size), default=0)
        larger = 2.0 ** max(0, size - nearest)
        return min(runs, self._followed.get(nearest, runs) * larger)

    def ran_eagerly(self, prefix: Prefix, seconds: float, runs: int = 1) -> None:
        """Note how long runs took that went without a trace of their path."""
        self.run_seconds = seconds / runs
        self._seconds_eagerly += seconds
        key = hash(prefix)
        if len(self._lost) >= MOST_LOST and key not in self._lost:
            self._lost.clear()
        # A trace would have been of use to those that follow it to its end.
        lost = self._ended(runs) * self.run_seconds
        self._lost[key] = self._lost.get(key, 0.0) + lost
        if len(self._lost) >= MANY and self._seconds_eagerly > LONG_EAGERLY:
            self._warn_of_many()

    def _warn_of_many(self) -> None:
        if not self._warned:
            self._warned = True
            line = self._lines.most_common(1)[0][0]
            self._function.warn_of_paths(self.traces + len(self._lost), line)

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


def eager_seconds(body: Sequence[Statement]) -> float:
    """What a run would take if the function itself ran on nodes, with its derivative, about."""
    total = 0.0
    for x in body:
        if isinstance(x, Loop):
            total += mean(x.trips) * eager_seconds(x.body)
        elif isinstance(x, Compute):
            total += SECONDS_OF_AN_OPERATION
    return total
