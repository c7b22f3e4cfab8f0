"""A run of a function on nodes, with the outcomes of its comparisons."""

from __future__ import annotations

import gc
import math
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import CodeType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy

from chainrule import forking
from chainrule.annotations import users_frame, users_line
from chainrule.carries import EndlessError
from chainrule.comparing import ConditionNode, held_equality
from chainrule.differentiation import Linearization
from chainrule.node import Node
from chainrule.passes.differentiate import Untraceable, differentiated
from chainrule.passes.gradients import with_gradients
from chainrule.passes.stretches import Unrolled
from chainrule.program.form import Program, statements
from chainrule.rewriting.decisions import Changed, Decisions, Refused
from chainrule.rewriting.log import Reader, Writer
from chainrule.rewriting.speculation import Speculation
from chainrule.rules import Operation, equal, not_equal
from chainrule.shortcuts import has_derivative, note_equality
from chainrule.tracing import PROGRESS, Counts, recording
from chainrule.trees import flatten

from .asked import Form, placed
from .bounds import OUTSIDE, Bounds, CountsWanted
from .indices import MANY, IndexArray, IndexNode, searchsorted, take
from .inputs import Inputs, PlainInputs
from .outcomes import Outcomes
from .recorded import IndicesWanted, Recorded, ValuesWanted
from .sites import PlainSites, Site, site_of
from .tables import RecordedTables

if TYPE_CHECKING:
    from .loops import Iteration
    from .whole_gradients import WholeGradient

MAX_GUARDS = 1_000_000
"""The comparisons after which a loop is taken to be endless."""


TRACED_ONCE: Final = {  # imported when they are met, as few functions have any
    "scan": ("loops", "traced_once"),
    "while": ("whiles", "traced_while"),
    "cond": ("branches", "traced_cond"),
    "product": ("products", "product"),
    "weighted_sums": ("products", "weighted_sums"),
    "extreme": ("extremes", "extreme"),
    "gradient": ("whole_gradients", "gradient"),
}
"""What is traced once, by modules of this room and their functions."""


class CompileError(RuntimeError):
    """A function that can't be compiled; it still runs eagerly."""


LONG_RUN: Final = 0.05
"""Seconds beyond which a run in plain numbers, where there is one, gives the first result."""
MANY_RESULTS: Final = 24
"""Beyond so many the gradient of each costs more than a pull-back of all."""


class NodesWanted(Exception):
    """Something has got past a whole array, to what stands for its nodes."""


class Plain(Unrolled):
    """Something can't be traced once.

    Args:
        what: "while" for loops that end by a condition, "cond" for branches in loops, "gradient"
            for gradients of whole programs.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Restart(Exception):
    """The traces so far must be recorded anew: what this one has found concerns them too."""


class Answered(Exception):
    """A run in plain numbers has given the result already, before a trace follows it.

    Args:
        result: what the function gives.
        seconds: that the run took.
    """

    def __init__(self, result: Any, seconds: float) -> None:
        super().__init__()
        self.result = result
        self.seconds = seconds


class Recorder:
    """The outcomes of the comparisons of a run.

    Args:
        forced: outcomes that the first comparisons must have, whatever the values: the path so far
            of the lanes for which the trace is recorded, as their kernel has found it.
        plain: where comparisons are plain bools.
        segments: whether transformations are segments of the recording, else derivatives are nodes.
        loops: whether loops of :mod:`chainrule.lax` may be recorded as one iteration.
        values: whether all values are computed, those too that nothing may ask for.
        events: what a run in plain numbers has met, which the trace follows; None for none.
        counts: of a run in plain numbers; None for none.

    Attributes:
        recorded: the rows so far; its guards are the conditions that have been asked, and were not
            decided by others.
        shortcuts: the lines at which an ``==`` held that decides a derivative.
        inputs: those of the trace.
        tables: what it has looked up.
        printed: how often the function has called debug_print.
        pulls: whether there are operations with a pull-back.
        gradient: what the trace gives, where that is the gradient of its program.
        speculation: the branches both of whose sides are computed.
        split: the line of the last comparison with an outcome that it must have.
        log: what it follows of a run in plain numbers; None for nothing.
        may_know_indices: whether the whole numbers among the arguments may be made static.
        position: how many comparisons have been asked for their truth.
        bounds: those of loops that end by a condition.
        presumes: whether the outcome of what is compared is presumed.
    """

    def __init__(
        self,
        forced: Sequence[bool],
        plain: PlainSites,
        segments: bool = False,
        values: bool = True,
        events: Any = None,
        counts: Counts | None = None,
    ) -> None:
        self.forced = forced
        self.bounds = plain.bounds
        self.counts = counts
        self._given = deque([] if counts is None else counts.given)
        self.loops = plain.loops and segments
        self._once = {"scan", "product", "extreme", *plain.once} if self.loops else set()
        self.unrolled = self.presumes = False
        self.tried: set[str] = set()
        self.iterations: list[Iteration] = []  # those that are being recorded
        self.shortcuts: list[str] = []
        self._plain = plain
        self.segments = segments
        self._values = values
        self._asked = 0
        self._equalities: list[tuple[Node, str]] = []
        self._comparisons: list[tuple[ConditionNode, CodeType, int]] = []
        self.operations: list[Operation] = []  # of the user's
        self.split = ""
        self.position = 0
        self.pulls = False
        self.may_know_indices = False
        self._indices_found = 0
        self.gradient: WholeGradient | None = None
        self.speculation = Speculation(self, plain.branches)
        self.log = None if events is None else Reader(events, self.speculation, plain.branches)

    def note_index(self) -> None:
        """Note that a whole number is found by guards.

        Raises:
            IndicesWanted: if there are many such, and those among the arguments may be static.
        """
        self._indices_found += 1
        self.check_indices()

    def check_indices(self) -> None:
        """The same, of all that have been found: NumPy does not let such an exception pass."""
        if self._indices_found > MANY and self.may_know_indices:
            raise IndicesWanted("many whole numbers are found by guards")

    def form_of(self, function: Any) -> Any:
        """What is called in the place of a function of the user's."""
        own = str(getattr(function, "__module__", "")).startswith("chainrule.")
        if own or not self._plain.branches.rewrite:
            return function
        return _rewriting().rewritten(function, False)

    def uses(self, operation: Operation) -> None:
        """Note that an operation of the user's is in the trace."""
        if not any(operation is known for known in self.operations):
            self.operations.append(operation)

    def linearization(
        self, began: Node, inputs: list[Node], outputs: Sequence[Any], level: int
    ) -> Any:
        """The linearization of a function in the trace, if it can be a segment of the recording."""
        if not self.segments:
            return None
        return _segments().recorded_linearization(self.recorded, began, inputs, outputs, level)

    def loop(self, what: str, *args: Any) -> Any:
        """The results of what is traced once, in a tuple; None where it is a plain one."""
        if what not in self._once:
            return None
        module, function = TRACED_ONCE[what]
        return getattr(import_module(f"chainrule.jit.{module}"), function)(self, *args)

    def make_plain(self, what: str) -> NoReturn:
        """Give up this trace for one in which something is not traced once.

        Raises:
            Plain: always.
        """
        self.unrolled = True
        raise Plain(what)

    def unroll(self) -> NoReturn:
        """Give up this trace for one with plain loops.

        Raises:
            Unrolled: always.
        """
        self.unrolled = True
        raise Unrolled

    def repeats(self, first: int, position: int, trips: int) -> bool:
        """Note that guards are asked in all iterations of a loop.

        Args:
            first: the first of them.
            position: where the first iteration begins.
            trips: how many iterations there are.

        Returns:
            whether they may have the same outcome in each.
        """
        guards, questions = self.recorded.guards, self.recorded.questions
        asked, asking = guards[first:], questions[first:]
        guards += asked * (trips - 1)
        if self.log is None:
            questions += asking * (trips - 1)
        else:
            size = self.position - position
            each = placed(size) * numpy.arange(1, trips, dtype=numpy.int64)[:, None]
            questions += (each + numpy.array(asking, dtype=numpy.int64)).ravel().tolist()
            self.position += size * (trips - 1)
        given = list(self.forced[first : len(guards)])
        for number, (x, y) in enumerate(zip(given, guards[first:], strict=False)):
            if x != y:
                self.speculation.end_later(first + number % len(asked))
                return False
        return True

    def begin(self, inputs: Sequence[Node] | Inputs, level: int, captured: Sequence[Node]) -> None:
        """Start the recording."""
        self.inputs = inputs
        self.level = level
        self.printed = 0
        self.recorded = Recorded(inputs, level, captured)
        self.tables = RecordedTables(self)
        self.recorded.values = self._values
        self._outcomes = Outcomes(self.recorded.numbering)

    def takes(self, what: str) -> bool:
        """Whether something that may fail, as arrays of conditions, is traced; then it may now."""
        self.tried.add(what)
        return what in self._plain.once

    def indices(self, found: Any, bound: int) -> Any:
        """An array of whole numbers of a trace, below a bound, as indices."""
        array = found.view(IndexArray)
        for at, x in numpy.ndenumerate(found):
            array[at] = IndexNode.of(x, bound) if isinstance(x, Node) else x
        return array

    def looked_up(self, table: Any, index: Any) -> Any:
        """An element of an array, list or tuple; see :func:`~.indices.take`."""
        return take(table, index)

    def searchsorted(self, table: Any, values: Any, right: bool) -> Any:
        """Where values belong in a sorted array, as indices."""
        return searchsorted(self.tables, table, values, right)

    def compared(self, condition: ConditionNode) -> Any:
        """What a comparison gives: itself, or its outcome where comparisons are plain."""
        unasked = self.log is not None or self.presumes or (self.bounds.active and self.iterations)
        if self.recorded.unknown and not unasked and any(map(_is_nan, condition.operands)):
            raise ValuesWanted
        frame = users_frame()
        code, instruction = frame.f_code, frame.f_lasti
        if self._plain.holds(code, instruction):
            return bool(condition)
        self._comparisons.append((condition, code, instruction))
        return condition

    def guard(self, condition: Node, outcome: bool) -> bool:
        """Note a question for a truth value; gives the one with which the program goes on."""
        self.speculation.before_guard()
        follows = self.speculation.follows
        self.position += 1
        if not follows and self.recorded.unknown and any(map(_is_nan, condition.operands)):
            raise ValuesWanted
        self._count()
        recorded, outcomes = self.recorded, self._outcomes
        numbering = recorded.numbering
        operand = recorded.record(condition)
        value = numbering.of(operand)
        ended = recorded.ended and not follows
        if ended and not isinstance(value, float) and numbering.comes_of_loops(value):
            self.speculation.check_known(condition)
            if self.counts is None:
                raise CountsWanted(None)
            self.unroll()
        decided = outcomes.decided(value)
        if decided is not None:
            return decided
        number = len(recorded.guards)
        if number < len(self.forced):
            outcome = self.forced[number]
            if number + 1 == len(self.forced):
                self.split = users_line()
        outcomes.note(value, outcome)
        recorded.guard(operand, value, outcome, None if self.log is None else self.position)
        self.speculation.note_guard()
        operation = condition._operation
        if (operation is equal or operation is not_equal) and held_equality(
            operation, outcome, *condition.operands
        ):
            self._note_equality(condition)
        return outcome

    @property
    def notes_failures(self) -> bool:
        """Whether what must hold, or an error is raised, is noted and not asked.

        So it is where an iteration may run in vain, or by what a loop has not computed.
        """
        around = self.iterations if not self.speculation.uncertain else []
        return any(x.masked or x.failed for x in around) and all(x.may_fail for x in around)

    def note_failed(self, what: str, condition: Node) -> None:
        """Note that something has failed if a condition holds.

        Args:
            what: the line of a loop that has outgrown its bound, or OUTSIDE.
            condition: a comparison, or 1.0 or 0.0.

        Raises:
            CountsWanted: if a loop is known to have.
            Unrolled: if something else is known to.
        """
        if self.iterations:
            self.iterations[-1].note_failed(what, condition)
            return
        self.position += 1
        recorded = self.recorded
        operand = recorded.record(condition)
        value = recorded.numbering.of(operand)
        if isinstance(value, float):
            failed = value != 0.0
        else:
            failed = self.forced[len(recorded.guards) :][:1] == (True,)
            recorded.guard(operand, value, False, None if self.log is None else self.position)
        if failed and what == OUTSIDE:
            self.unroll()
        if failed:
            raise CountsWanted(what, outgrown=True)

    def given(self, line: str) -> list[float] | None:
        """The numbers that come of a loop in no other one; None if they are not known."""
        while self._given and not self.iterations:
            place, numbers = self._given.popleft()
            if place == line:
                return numbers
        return None

    def decided(self, condition: Node) -> bool | None:
        """The outcome of a condition that those asked so far decide; else None."""
        self._count()
        recorded = self.recorded
        return self._outcomes.decided(recorded.numbering.of(recorded.record(condition)))

    def _count(self) -> None:
        """Count a comparison.

        Raises:
            CompileError: if there are so many that a loop must be endless.
        """
        self._asked += 1
        if self._asked > MAX_GUARDS:
            raise CompileError(
                f"the function has made {MAX_GUARDS:,} comparisons in one run; does its loop end?"
            )

    def _note_equality(self, condition: Node) -> None:
        """Note an == that holds on this path."""
        self._equalities.append((condition, users_line()))
        if next(reversed(PROGRESS.names), 0) > PROGRESS.recorded_level:
            line = note_equality(condition.operands, PROGRESS.recorded_level + 1)
            if line is not None:
                self.shortcuts.append(line)

    @property
    def compares_equal(self) -> bool:
        """Whether an == has held that may decide a derivative."""
        return bool(self._equalities)

    def note_parents(self, parents: Sequence[Node], level: int) -> None:
        """Note which of these equalities have a derivative by the nodes among the inputs."""
        ids = frozenset(map(id, parents)) if self._equalities else frozenset()
        for condition, line in self._equalities:
            if line not in self.shortcuts and has_derivative(condition.operands, level, ids):
                self.shortcuts.append(line)

    def not_asked(self) -> list[Site]:
        """The places of comparisons that nothing has used, or that were used as an index."""
        return [
            site_of(code, instruction)
            for condition, code, instruction in self._comparisons
            if condition.escaped or not condition.asked
        ]


@cache
def _rewriting() -> Any:
    from chainrule.rewriting import functions  # here, as plain networks do without

    return functions


@cache
def _segments() -> Any:
    from chainrule.jit import segments  # here, as few functions have any inside

    return segments


class Trace:
    """What a run recorded: a program and the path it took.

    Args:
        function: what is run.
        point: the numbers of its inputs.
        make_inputs: makes its arguments of nodes.
        live: the inputs by which its results are differentiated.
        forced: see :class:`Recorder`.
        captured: nodes from outside that are known already; they come first.
        by_captured: by how many of the captured nodes they are differentiated, by default all.
        plain: where comparisons are plain bools.
        derives: whether the function is a transformation, whose derivatives are its results.
        has_indices: whether there are indices among its arguments that may be made static.
        most_results: of more no derivatives are taken.
        answers: whether the first run in plain numbers, if it comes to that, is enough for now.

    Attributes:
        lanes: whether the program will run over lanes; to be said before it is wanted.
        varied: whether there are many traces like it; likewise.
        program_seconds: the time that making the program took.
        captured: the nodes from outside that it uses; they are inputs after the given ones.
        path: the outcomes of the guards.
        questions: what these compare, see :mod:`~.asked`.
        form: that of the recording; its rows are those of others with the same form.
        layout: the structure of the result.
        operations: the user's that it used.
        n_results: how many of the program's outputs are the result; the others are its derivatives
            by the nodes among the inputs.
        lacks_derivatives: whether these are left out, as there are many results.
        shortcuts: the lines at which an ``==`` held that decides a derivative.
        pulls: whether derivatives of it are a user's, in part.
        split: the line of the comparison at which it left another trace; "" for the first.
    """

    def __init__(
        self,
        function: Callable[[Sequence[Any]], Any],
        point: Sequence[float],
        make_inputs: Callable[[Inputs | PlainInputs], Any],
        live: Sequence[int],
        forced: Sequence[bool] = (),
        captured: Sequence[Node] = (),
        by_captured: int | None = None,
        plain: PlainSites | None = None,
        derives: bool = False,
        has_indices: bool = False,
        most_results: float = math.inf,
        answers: bool = False,
    ) -> None:
        self._function = function
        self._answers = answers
        self._most_results = most_results
        self._has_indices = has_indices
        self._derives = derives
        self._point = point
        self._make_inputs = make_inputs
        self._live = live
        self._by_captured = by_captured
        self._lock = forking.lock()
        self._program: Program | None = None
        self.program_seconds = 0.0
        self.lanes = False
        self.varied = False
        self._wholes = True
        with collector_paused():  # what the run has made is let go before it goes on
            self._record(forced, captured, PlainSites() if plain is None else plain)
            del self._function, self._make_inputs, self._inputs

    def _record(self, forced: Sequence[bool], captured: Sequence[Node], plain: PlainSites) -> None:
        """Run the function until nothing is in the way of a trace.

        Raises:
            Answered: if a run in plain numbers is enough for now.
        """
        segments, values, noted = True, False, None
        counts: Counts | None = None
        if plain.bounds.asked:
            counts = self._counted(plain.bounds, CountsWanted(None), not forced)
        follows = plain.branches.follows
        self._answers &= follows is None
        while True:
            if not forced and not plain.branches.suspended:  # the first of all paths
                plain.branches.plain.clear()
            events, noted = noted or self._noted(plain.branches), None
            if follows and events is None and forced:
                raise Restart
            recorder = Recorder(forced, plain, segments, values, events, counts)
            failed = False
            try:
                if self._run(recorder, captured, plain):
                    break
            except (Changed, Refused):
                if forced:
                    raise Restart from None
                if recorder.speculation.keeps_notes:
                    noted = events
                continue
            except Plain as error:
                plain.once.discard(error.what)
                if forced:
                    raise Restart from None
                continue
            except (Untraceable, Unrolled) as error:
                if self._has_indices and isinstance(error, IndicesWanted):
                    raise
                why = str(error) or "a value that it computes is asked for"
                if isinstance(error, Unrolled) and recorder.speculation.refuse_loops(why):
                    if forced:
                        raise Restart from None
                    continue
                segments &= isinstance(error, Unrolled)
                if recorder.loops and recorder.recorded.loops:
                    plain.loops = False  # there may be other guards then
                    if forced:
                        raise Restart from None
                continue
            except ValuesWanted:
                values = True
                continue
            except CountsWanted as wanted:
                counts, values = self._counted(plain.bounds, wanted, not forced), False
                if wanted.line is not None and forced:
                    raise Restart from None
                continue
            except NodesWanted:
                self._wholes = False
                continue
            except Exception as error:
                if self._wholes and self._inputs.are_whole:
                    self._wholes = False  # NumPy may have handed on what stands for their nodes
                    continue
                if not values and recorder.recorded.unknown:
                    values = True  # perhaps a NaN that stood for an unknown value was the reason
                    continue
                if not recorder.speculation.may_have_raised(error):
                    if recorder.log is None:
                        raise
                    plain.branches.follows = False  # plain numbers may have led there
                    if forced:
                        raise Restart from None
                    continue
                if recorder.speculation.fail(error):
                    if forced:
                        raise Restart from None
                    continue
                failed = True
            if failed:
                self._suspend(captured, plain)
                raise Restart
            plain.add(recorder.not_asked())
            if forced:
                raise Restart
        self.captured: Sequence[Node] = recorder.recorded.captured
        self.operations = recorder.operations
        self.shortcuts = recorder.shortcuts
        self.split = recorder.split
        self.pulls = recorder.pulls
        self.path = tuple(recorder.recorded.guards)
        self.questions = array("q", recorder.recorded.questions)
        self.form = Form(recorder.segments, self._wholes, recorder.log is not None)

    def _noted(self, branches: Decisions) -> list[Any] | None:
        """What the function meets in plain numbers; None where no trace follows that.

        Raises:
            Answered: if what it gives is enough for now.
        """
        if not branches.follows or branches.suspended:
            return None
        branches.follows = PROGRESS.recorder is None
        if not branches.follows:
            return None
        log = Writer(Speculation(None, branches), _rewriting().rewritten, branches)
        PROGRESS.log = log
        start = time.thread_time()
        try:
            with numpy.errstate(all="ignore"):  # as of nodes there are no warnings
                result = self._in_numbers()
        except Exception:
            branches.follows = False
            return None
        finally:
            PROGRESS.log = None
            events = log.finish()
        if self._answers:
            raise Answered(result, time.thread_time() - start)
        return events

    def _counted(self, bounds: Bounds, wanted: CountsWanted, first: bool) -> Counts:
        """What a run in plain numbers shows of loops.

        Args:
            bounds: of the loops.
            wanted: what has asked for it.
            first: whether there are no other traces, which must begin anew at once.

        Raises:
            Answered: if it was a long one, and what it gives is enough for now.
        """
        found: list[Any] = []
        start = time.thread_time()
        counts = bounds.counted(lambda: found.append(self._in_numbers()), wanted)
        seconds = time.thread_time() - start
        if first and self._answers and found and seconds > LONG_RUN:
            raise Answered(found[0], seconds)
        return counts

    def _in_numbers(self) -> Any:
        """The function's result in plain numbers."""
        return self._function(self._make_inputs(PlainInputs(self._point)))

    def _suspend(self, captured: Sequence[Node], plain: PlainSites) -> None:
        """Run the function with a guard at each branch, to see whether an exception is its own.

        If it is, it is raised; if not, branches are guards for good.
        """
        branches = plain.branches
        branches.suspended = True
        try:
            self._record((), captured, plain)
        finally:
            branches.suspended = False
        branches.refuse_all("an exception is raised")

    def _run(self, recorder: Recorder, captured: Sequence[Node], plain: PlainSites) -> bool:
        """Run the function; gives whether that went well, or comparisons must be plain bools."""
        with recording(recorder, recorder.log) as level:
            inputs = self._inputs = Inputs(self._point, level, self._wholes)
            recorder.begin(inputs, level, captured)
            recorder.recorded.derives = self._derives
            try:
                given = self._make_inputs(inputs)
                recorder.may_know_indices = self._has_indices
                recorder.speculation.meets_indices = inputs.has_indices
                result = self._function(given)
                recorder.check_indices()
                outputs, self.layout = flatten(
                    result, "compile: the function's result", truths=True
                )
                if any(issubclass(kind, ConditionNode) for kind in set(map(type, outputs))):
                    for y in outputs:
                        if isinstance(y, ConditionNode):
                            y.asked = True
            except Exception as error:
                if isinstance(error, EndlessError):
                    raise
                recorder.check_indices()
                if recorder.loops and recorder.recorded.loops:  # it may be for values not known yet
                    raise Unrolled from error
                if "conditions" in recorder.tried & plain.once:  # bools may do where they do not
                    recorder.make_plain("conditions")
                if not recorder.not_asked():
                    raise
            finally:
                del recorder.tables  # which know it: it is let go with its last reference
            recorder.speculation.check_none_left()
            if recorder.unrolled:
                raise Unrolled
            if recorder.not_asked():
                return False
            recorded, self._gradient = recorder.recorded, recorder.gradient
            self.n_results = self.layout.size
            if self._gradient is not None:
                outputs = [self._gradient.value]
            operands = recorded.operands_of(outputs)
            if inputs.met_unread:
                raise NodesWanted
            nodes = recorded.captured[: self._by_captured]
            parents = [*[inputs[i] for i in self._live], *nodes]
            recorder.note_parents(parents, level)
            odd = parents or recorder.operations or recorder.pulls or recorder.compares_equal
            if self._gradient is not None and odd:
                recorder.make_plain("gradient")
            self.lacks_derivatives = bool(parents) and self.n_results > self._most_results
            if self.lacks_derivatives:
                parents = []
            if parents and not recorder.segments:
                derived = _derivatives(parents, len(self._live), outputs, level)
                outputs = outputs + derived
                operands = numpy.append(operands, recorded.operands_of(derived))
            if parents and recorder.segments:
                if recorder.pulls:
                    raise Untraceable("a derivative of a user's")
                after = numpy.arange(len(inputs), len(inputs) + len(nodes))
                self._places = numpy.concatenate([numpy.array(self._live, numpy.int64), after])
            else:
                self._places = numpy.empty(0, numpy.int64)
            self._outputs = recorded.operands(outputs, operands)
            self._constants = recorded.constants(self._outputs)
            recorder.speculation.check_loops(recorded.different_loops)
            if not len(self._places):
                recorded.share(wanted=len(recorder.forced) <= len(recorded.guards))
                if self._gradient is not None and recorded.may_share:
                    recorder.make_plain("gradient")
            self._recorded = recorded
            if recorder.operations:  # whose derivatives may have to be nodes
                self.program  # noqa: B018
            return True

    @property
    def constant(self) -> list[float] | None:
        """The outputs, where it is known without a program that no input decides them."""
        if self._constants is None:
            return None
        return self._constants + [0.0] * (len(self._constants) * len(self._places))

    @property
    def n_outputs(self) -> int:
        """How many numbers the program gives: the result, and its derivatives by nodes."""
        if self._gradient is not None:
            return self.n_results
        return len(self._outputs) * (1 + len(self._places))

    @property
    def program(self) -> Program:
        """The program, made once it is wanted."""
        with self._lock:
            if self._program is None:
                start = time.perf_counter()
                with collector_paused():
                    program = self._recorded.program(self._outputs, self.lanes, self.varied)
                    if self._gradient is not None:
                        self._program = self._gradient.of(program)
                    elif len(self._places):
                        self._program = with_gradients(program, self._places)
                    else:
                        self._program = differentiated(program)
                del self._recorded
                self.program_seconds = time.perf_counter() - start
            return self._program

    @property
    def size(self) -> int:
        """How many statements the program has, if it has been made."""
        return 0 if self._program is None else sum(1 for _ in statements(self._program.body))


def _is_nan(x: Any) -> bool:
    number = x._number if isinstance(x, Node) else x
    return bool(number != number)


def _derivatives(parents: Sequence[Node], live: int, outputs: list[Any], level: int) -> list[Any]:
    """The gradient of each output by the live inputs and captured nodes, row by row, as nodes."""
    graph = Linearization(parents[:live], outputs, level, parents[live:])
    graph.live = True  # the local gradients depend on the inputs of each call
    rows: list[Any] = []
    for k in range(len(outputs)):
        rows.extend(graph.pull_back([1.0 if i == k else None for i in range(len(outputs))]))
    return rows


@contextmanager
def collector_paused() -> Iterator[None]:
    """Without the cyclic collector, which would walk a growing graph or code again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
