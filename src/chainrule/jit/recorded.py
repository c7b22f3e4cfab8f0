"""What a run has recorded so far: rows, what its guards compare, and segments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy

from chainrule.annotations import users_line
from chainrule.differentiation import fresh_inputs, met
from chainrule.leaves import are_same
from chainrule.node import Node
from chainrule.passes.differentiate import Untraceable
from chainrule.passes.expand import expanded
from chainrule.passes.products import Product
from chainrule.passes.roll import rolled
from chainrule.passes.sharing import Ints, Sharing, derives, worth_sharing
from chainrule.passes.stretches import UNKNOWN, LoopOf, Unrolled, apart
from chainrule.program.form import Diagonal, Program
from chainrule.program.nests import Numbers
from chainrule.program.numbering import Numbering
from chainrule.program.recording import (
    ABSENT,
    IN_BULK,
    KNOWN,
    LOOKUP,
    TABLE,
    Recording,
    Row,
    packed,
)
from chainrule.tracing import LEFTOVER, PROGRESS, TracedValueError, has_ended
from chainrule.trees import Operands

from .asked import OPERATION, placed, question
from .inputs import Inputs


class ValuesWanted(BaseException):
    """The run asks for a value that is not known: the trace has to be recorded with all values."""


class IndicesWanted(Untraceable):
    """What is looked up decides where a matrix has entries: index arrays must be known."""


class Recorded:
    """The recording of a run.

    Args:
        inputs: the input nodes of the trace, in order.
        level: the level of the trace.
        captured: nodes from outside that are known already; they come first.

    Attributes:
        captured: the nodes from outside that the graph uses; they are inputs after the given ones.
        numbering: which of its values are the same.
        guards: the outcomes of the guards.
        questions: what these compare, see :mod:`~.asked`.
        segments: how many there are.
        looks_up: whether tables are looked up: as nodes, look-ups are right for the numbers of the
            run only.
        loops: those of which one iteration is recorded.
        different_loops: how many of these do something else, when the trace has ended.
        ended: how many of these have ended.
        values: whether the trace has to know all values.
        derives: whether what is traced is a transformation: its derivatives are the results.
        repeated: whether it is an iteration, of which others are computed in numbers.
        keeps: whether a derivative may be asked for after the transformations around it.
        unknown: whether NaN may stand for a value that is not known.
        gradients: by the level of a transformation that asks for a pattern, the gradient in it:
            the nodes, what its inputs stand for, and on which of these each node depends, as the
            places where theirs begin, and these.
        may_share: whether equal values are one, or would be if all were finite.
        maps: by the level of a transformation that asks for a pattern, the loops in it whose
            iterations have been differentiated.
    """

    def __init__(
        self, inputs: Sequence[Node] | Inputs, level: int, captured: Sequence[Node] = ()
    ) -> None:
        given = len(inputs) if isinstance(inputs, Inputs) else inputs
        self._n_given = len(inputs)
        self._recording: Any = Recording(given, level, captured)
        if isinstance(inputs, Inputs):
            inputs.begin(self._recording)
        self.mark = self._recording.mark
        self.mark_all = self._recording.mark_all
        self.numbering: Any = Numbering(self._recording)
        self.captured: list[Node] = self._recording.captured
        self.guards: list[bool] = []
        self.questions: list[int] = []
        self.segments = 0
        self.looks_up = False
        self.loops: list[LoopOf | Product] = []
        self.different_loops = 0
        self.ended = 0
        self.values = False
        self.derives = False
        self.repeated = False
        self.keeps = False
        self.unknown = False
        self.gradients: dict[int, tuple[list[Node], list[Any], Any, Any]] = {}
        self.maps: dict[int, list[Any]] = {}
        self._level = level
        self.may_share = False
        self._same: Ints | None = None
        self._n_in_bulk = 0
        self._followed = 0  # of the captured, those that can be

    def record(self, root: object) -> int:
        """A number or node as an operand, recorded with all it depends on.

        Raises:
            TypeError: if it depends on a node whose value is computed in Python.
            TracedValueError: if it depends on a value of a transformation that has ended.
        """
        operand: int = self._recording.record(root)
        if len(self.captured) > self._followed:
            self._check_captured()
        return operand

    def record_all(self, roots: Sequence[object]) -> list[int]:
        """The same for several."""
        operands = [*map(self._recording.record, roots)]
        if len(self.captured) > self._followed:
            self._check_captured()
        return operands

    def _check_captured(self) -> None:
        if any(map(has_ended, met(self.captured[self._followed :])[0])):
            raise TracedValueError(f"compile at {users_line()}: the function uses {LEFTOVER}")
        self._followed = len(self.captured)

    def operands_of(self, outputs: Sequence[Any]) -> Numbers:
        """The same for what a run gives, in which there may be results without nodes."""
        if not any(kind is Operands for kind in set(map(type, outputs))):
            operands: Numbers = numpy.frombuffer(self._recording.record_all([*outputs]), "int64")
            self._check_captured()
            return operands
        parts = [
            x.rows if isinstance(x, Operands) else numpy.array([self.record(x)], dtype=numpy.int64)
            for x in outputs
        ]
        return numpy.concatenate(parts)

    def inputs_of(self, operands: Numbers) -> Numbers | None:
        """Which inputs of the program operands are; None if some are none."""
        if operands.min() < 0:
            return None
        if (numpy.array(self._recording.codes)[operands] != Row.INPUT).any():
            return None
        places: Numbers = numpy.array(self._recording.left)[operands].astype(numpy.int64)
        return places

    def places_of(self, leaves: list[Node]) -> Numbers | None:
        """Which inputs of the program leaves are, which become such; None if some are none."""
        places = self.inputs_of(self.operands_of(leaves[:1]))
        if places is not None:
            start, end = int(places[0]), int(places[0]) + len(leaves)
            known = self.captured[max(start - self._n_given, 0) : end - self._n_given]
            if are_same(known, leaves):  # as the parameters of a network do, in order
                return numpy.arange(start, end)
        return self.inputs_of(self.operands_of(leaves))

    def column(self, values: list[Any]) -> Any:
        """What each iteration of a loop reads: floats, or operands if some are nodes."""
        kinds = set(map(type, values))
        if not any(issubclass(kind, Node) for kind in kinds):
            return numpy.array(values, dtype=numpy.float64)
        return self.operands_of([*map(float, values)] if int in kinds else values)

    # Guards

    def is_unknown(self, node: Node) -> bool:
        """Whether a node's number may be another one than that of the run."""
        value = self.numbering.of(self.record(node))
        if isinstance(value, float):
            return False
        unknown: bool = self.numbering.comes_of_loops(value)
        return unknown or (self.unknown and math.isnan(node._number))

    def is_input(self, node: Node) -> bool:
        """Whether a node is an input of the trace."""
        code: int = self._recording.row(self.record(node))[0]
        return code == Row.INPUT

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self._recording.codes)

    def may_raise(self, since: int) -> bool:
        """Whether a row, of those from one on, takes an operation that may not run in vain.

        Look-ups may: whether an index is outside is asked besides.
        """
        recording = self._recording
        rows = numpy.flatnonzero(numpy.array(recording.codes[since:]) == Row.USER) + since
        pool, left = recording.pool, recording.left
        used = [recording.operations[pool[left[row]]] for row in rows.tolist()]
        return any(x.can_raise for x in used if x is not LOOKUP and x is not TABLE)

    def input_of(self, node: Node) -> int | None:
        """Which input of the trace a node is, captured nodes aside; None for another."""
        code, number, _ = self._recording.row(self.record(node))
        is_given = code == Row.INPUT and number < self._recording.n_inputs - len(self.captured)
        return number if is_given else None

    def guard(
        self, condition: int, value: int | float, outcome: bool, position: int | None
    ) -> None:
        """Let the program go on only with an outcome of a condition.

        Args:
            condition: an operand.
            value: its value.
            outcome: this.
            position: how many have been asked before, in a trace that follows a run; else None.
        """
        self._recording.guard(condition, outcome)
        self.guards.append(outcome)
        row = condition - len(self.captured)  # those of later traces stand before all others
        if position is None:
            asked = question(row, value, self.numbering.row)
        else:
            asked = placed(position)
            if not isinstance(value, float):
                asked |= self.numbering.row(value)[0] & OPERATION
        self.questions.append(asked)

    # Segments

    def segment(self, began: Node, inputs: Sequence[Node], outputs: Sequence[Any]) -> int:
        """Note what stands between inputs and outputs as a segment; gives its number.

        Args:
            began: a node that was made just before the inputs.
            inputs: the nodes that stand for its inputs.
            outputs: nodes and numbers.
        """
        number = self.segments
        self.segments += 1
        mark = self._recording.mark
        stood_for = [x._number if x._a is None else x._a for x in inputs]
        entered = self.record_all(stood_for)
        mark(Row.BEGIN, number, ABSENT, began)
        self.mark_all(Row.ENTER, entered, [*range(len(entered))], [*inputs])
        left = self.record_all(outputs)
        self.mark_all(Row.LEAVE, left, [*range(len(left))])
        mark(Row.END, number)
        return number

    def derived(
        self, segment: int, forward: bool, given: Sequence[Any], results: Sequence[Any]
    ) -> list[Node]:
        """Note that a derivative of a segment is taken; gives nodes of what comes.

        Args:
            segment: its number.
            forward: whether tangents are pushed forward; else cotangents are pulled back.
            given: these; None for no message.
            results: what comes: numbers, and nodes for what outer transformations are to follow.
        """
        places = [place for place, x in enumerate(given) if x is not None]
        operands = self.record_all([given[place] for place in places])
        self.mark_all(Row.GIVE, operands, places)
        self._recording.mark(Row.PUSH if forward else Row.PULL, segment)
        return self.results([*range(len(results))], results)

    def pulled_in_bulk(self, segment: int, cotangent: float, count: int) -> Numbers:
        """The same for what is pulled back to so many inputs of one cotangent, as operands."""
        self.mark(Row.GIVE, self.record(cotangent), 0)
        self.mark(Row.PULL, segment)
        return self.results_in_bulk(0, count)

    def results(self, places: list[int], numbers: Sequence[Any]) -> list[Node]:
        """Nodes of what comes of the derivative or loop that was noted last.

        Args:
            places: theirs among all that comes of it.
            numbers: what they are at the moment; or nodes.
        """
        nodes = fresh_inputs([*numbers], self._level)
        known = [KNOWN if x._number == x._number else ABSENT for x in nodes]
        self.mark_all(Row.RESULT, places, known, nodes)
        return nodes

    def rows_of_results(self, places: Numbers) -> Numbers:
        """The same as operands, where nothing asks for nodes."""
        first: int = self._recording.mark_results(places.astype(numpy.int32))
        return numpy.arange(first, first + len(places))

    def results_in_bulk(self, first: int, count: int) -> Numbers:
        """The same for results from a place on, which are no rows and never become nodes."""
        operand = IN_BULK + self._n_in_bulk
        if operand + count >= 2**31:
            return self.rows_of_results(first + numpy.arange(count))
        self._n_in_bulk += count
        self.mark(Row.RESULTS, operand, first)
        return numpy.arange(operand, operand + count)

    def nodes_of(self, operands: Numbers) -> list[Any]:
        """Nodes that stand for operands, as numbers do for constants.

        Raises:
            Unrolled: if there are results in bulk among them.
        """
        if operands.max(initial=-1) >= IN_BULK:
            raise Unrolled("results in bulk are added")
        constants = numpy.array(self._recording.constants)
        nodes: list[Any] = fresh_inputs([math.nan] * len(operands), self._level)
        for k, operand in enumerate(operands.tolist()):
            if operand < 0:
                nodes[k] = float(constants[~operand])
            else:
                self._recording.stand_for(operand, nodes[k])
        return nodes

    def is_followed(self, level: int) -> bool:
        """Whether a transformation around one may follow its results, or iterations in numbers."""
        if self.repeated:
            return True
        for other in reversed(PROGRESS.names):
            if other != level:
                return other > PROGRESS.recorded_level
        return False

    def gives(self, level: int) -> bool:
        """Whether what a transformation derives is what the trace gives: it needs no nodes."""
        return self.derives and not self.is_followed(level)

    def diagonal(
        self, segment: int, which: Diagonal, rows: Any, numbers: list[float]
    ) -> list[Node]:
        """Note that entries of a segment's matrix are taken; gives nodes of them.

        Args:
            segment: its number.
            which: the diagonal that they lie on.
            rows: where; whole numbers.
            numbers: what they are at the moment.
        """
        self._recording.mark(Row.PUSH, segment, packed(which))
        return self.results(rows.tolist(), numbers)

    # The program

    def operands(self, outputs: Sequence[Any], operands: Numbers) -> Numbers:
        """Nodes and numbers that the program is to give, as operands of what it is made of.

        Args:
            outputs: they.
            operands: they, recorded.

        Raises:
            TracedValueError: if one belongs to a transformation that has ended.
            Unrolled: if a loop can't be recorded as one iteration.
        """
        if any(map(has_ended, met([*outputs])[0])):
            raise TracedValueError(f"compile at {users_line()}: the result is {LEFTOVER}")
        moved = [(loop, j) for loop in self.loops for j in loop.rows()]
        ordered = numpy.concatenate([operands, *[loop.columns[j] for loop, j in moved]])
        self._recording.in_order(ordered)  # for good
        operands = ordered[: len(operands)]
        start = len(operands)
        for loop, j in moved:
            count = len(loop.columns[j])
            loop.columns[j] = ordered[start : start + count]
            start += count
        if self.loops:
            if any(operation is UNKNOWN for operation in self._recording.operations):
                raise Unrolled
            self._recording, operands = expanded(*apart(self._recording, self.loops, operands))
            self.different_loops = len(self._recording.loops)
        del self.numbering  # nothing is asked any more
        return operands

    def constants(self, operands: Numbers) -> list[float] | None:
        """The numbers that operands are, if all are constants."""
        if operands.max(initial=-1) >= 0:
            return None
        numbers: list[float] = numpy.array(self._recording.constants)[~operands].tolist()
        return numbers

    def share(self, wanted: bool) -> None:
        """Make equal values one, if that leaves few.

        Then the last outcome of the path says whether all that is derived is finite.

        Args:
            wanted: whether to; else it is known that not all is finite.
        """
        if not wanted:
            self.may_share = True
            self.guards.append(False)
            self.questions.append(0)
            return
        self._same = worth_sharing(self._recording)
        self.may_share = self._same is not None
        if self._same is not None and derives(self._recording):
            self.guards.append(True)
            self.questions.append(0)

    def program(self, operands: Numbers, lanes: bool, varied: bool) -> Program:
        """The program that gives some operands, for lanes or a single point.

        Args:
            operands: what :meth:`operands` gave.
            lanes: whether it is for lanes.
            varied: whether there are others like it, see :func:`~.roll.rolled`.
        """
        if self._same is None:
            return rolled(self._recording, operands, lanes, varied)
        sharing = Sharing(self._recording, self._same)
        placed = sharing.placed(operands)
        if derives(sharing):
            sharing.ask(placed)
        return rolled(sharing, placed, lanes, varied)
