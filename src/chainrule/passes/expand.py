"""Loops of a recording whose iterations become rows: of one that was traced for others.

So what is made of the rows does not know how they were traced.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy

from chainrule.passes.stretches import Ints, LoopBody, Stretch, number_segments
from chainrule.program.nests import Numbers
from chainrule.program.recording import ABSENT, IN_BULK, Row, has_left, has_right

MOST_ROWS: Final = 20_000_000
"""Rows beyond which loops stay what they are."""
LARGEST: Final = 2**31 - 1
"""Of operands."""


def expanded(stretch: Stretch, outputs: Numbers) -> tuple[Stretch, Numbers]:
    """A recording without loops one iteration of which was traced for others.

    Args:
        stretch: the recording.
        outputs: operands of it.
    """
    if not any(_expands(x) for x in stretch.loops):
        return stretch, outputs
    try:
        rows = outputs < IN_BULK
        flat = _Flattening(stretch, outputs[rows], {}).whole()
    except _Stays:
        return stretch, outputs
    made = Stretch(stretch, flat.loops, stretch.n_inputs)
    made.codes, made.left, made.right, made.notes = flat.codes, flat.left, flat.right, flat.notes
    made.pool, made.constants, made.runs = flat.pool, flat.constants, flat.runs
    number_segments(made)
    placed = outputs.copy()
    placed[rows] = flat.outputs
    return made, placed


class _Stays(Exception):
    """A loop has to stay what it is."""


def _expands(loop: Any) -> bool:
    return isinstance(loop, LoopBody) and loop.expands


class _Flat(NamedTuple):
    """Rows without loops that are to be expanded, see :class:`Stretch`.

    Attributes:
        is_operand: which elements of the pool are operands.
        outputs: operands.
        n_inputs: how many rows of inputs stand before the others.
        n_segments: how many segments there are.
        loops: those that stay.
        runs: see :class:`Stretch`.
    """

    codes: Any
    left: Ints
    right: Ints
    notes: Ints
    pool: Ints
    is_operand: Any
    constants: Any
    outputs: Ints
    n_inputs: int
    n_segments: int
    loops: list[Any]
    runs: Numbers


class _Flattening:
    """Makes rows of the iterations of loops.

    Args:
        stretch: the rows.
        outputs: operands of it.
        known: the bodies that have been made, by id.
    """

    def __init__(self, stretch: Stretch, outputs: Any, known: dict[int, _Flat]) -> None:
        self._stretch = stretch
        self._outputs = numpy.array(outputs, dtype=numpy.int32)
        self._known = known
        codes = stretch.codes
        self._n_inputs = int(numpy.count_nonzero(codes == Row.INPUT))
        self._place = numpy.zeros(len(codes), dtype=numpy.int32)
        self._place[: self._n_inputs] = numpy.arange(self._n_inputs)
        self._rows = 0
        self._parts: list[tuple[Any, Ints, Ints, Ints]] = []
        pooled = numpy.flatnonzero(codes & Row.POOLED)
        is_operand = numpy.ones(len(stretch.pool), dtype=bool)
        is_operand[stretch.left[pooled[codes[pooled] == Row.USER]]] = False
        self._pools = [stretch.pool.astype(numpy.int32)]
        self._are_operands = [is_operand]
        self._n_pool = len(stretch.pool)
        self._constants = [stretch.constants]
        self._n_constants = len(stretch.constants)
        self._n_segments = int(numpy.count_nonzero(codes == Row.BEGIN))
        self._runs = [stretch.runs]

    def whole(self) -> _Flat:
        """All rows."""
        stretch = self._stretch
        at = 0
        for loop_row in numpy.flatnonzero(stretch.codes == Row.LOOP).tolist():
            loop: Any = stretch.loops[int(stretch.left[loop_row])]
            if not _expands(loop):
                if isinstance(loop, LoopBody) and any(x.source == "input" for x in loop.columns):
                    raise _Stays
                continue
            first = loop_row - loop.n_given
            self._keep(at, first)
            given = self._mapped(stretch.left[first:loop_row])
            at = loop_row + 1
            while at < len(stretch.codes) and stretch.codes[at] == Row.RESULT:
                at += 1
            results = self._iterations(loop, given)
            self._place[loop_row + 1 : at] = results[stretch.left[loop_row + 1 : at]]
        self._keep(at, len(stretch.codes))
        own = self._pools[0]
        own[self._are_operands[0]] = self._mapped(own[self._are_operands[0]])
        codes, left, right, notes = [numpy.concatenate(x) for x in zip(*self._parts, strict=True)]
        return _Flat(
            *(codes, left, right, notes),
            numpy.concatenate(self._pools),
            numpy.concatenate(self._are_operands),
            numpy.concatenate(self._constants),
            self._mapped(self._outputs),
            self._n_inputs,
            self._n_segments,
            stretch.loops if any(not _expands(x) for x in stretch.loops) else [],
            numpy.concatenate(self._runs),
        )

    def _mapped(self, operands: Ints) -> Ints:
        return numpy.where(operands < 0, operands, self._place[operands])

    def _keep(self, first: int, end: int) -> None:
        """Take some rows over."""
        stretch = self._stretch
        codes = stretch.codes[first:end]
        left, right = stretch.left[first:end].copy(), stretch.right[first:end].copy()
        self._place[first:end] = self._rows + numpy.arange(end - first)
        by_left, by_right = has_left(codes), has_right(codes) & (right != ABSENT)
        left[by_left] = self._mapped(left[by_left])
        right[by_right] = self._mapped(right[by_right])
        self._add(codes, left, right, stretch.notes[first:end])

    def _add(self, codes: Any, left: Ints, right: Ints, notes: Ints) -> None:
        self._parts.append((codes, left, right, notes))
        self._rows += len(codes)
        if self._rows > MOST_ROWS:
            raise _Stays

    def _iterations(self, loop: LoopBody, given: Ints) -> Ints:
        """Add the rows of all iterations of a loop; gives operands of what comes of it."""
        body = self._known.get(id(loop))
        if body is None:
            body = _Flattening(loop.stretch, loop.outputs, self._known).whole()
            self._known[id(loop)] = body
        if body.loops or loop.by_column:
            raise _Stays
        trips, heads = loop.trips, body.n_inputs
        size = len(body.codes) - heads
        if self._rows + trips * size > MOST_ROWS or self._n_pool + trips * len(body.pool) > LARGEST:
            raise _Stays
        ahead = self._rows - heads  # how far the rows of the first iteration are from the body's
        constants = self._n_constants
        self._constants.append(body.constants)
        self._n_constants += len(body.constants)
        inputs = self._inputs_of(loop, body, given, ahead, constants)
        each = numpy.arange(trips, dtype=numpy.int32)[:, None]

        def placed(column: Ints, is_operand: Any, start: Any = 0, step: Any = 0) -> Ints:
            """A column of the body in each iteration.

            Args:
                column: the column.
                is_operand: which of it are operands.
                start: how far what are none are from the body's in the first iteration,
                step: and how much further in each other.
            """
            of_rows = is_operand & (column >= heads)
            start = column + start + ahead * of_rows - constants * (is_operand & (column < 0))
            new: Ints = each * (step + size * of_rows).astype(numpy.int32)
            new += start.astype(numpy.int32)
            read = numpy.flatnonzero(is_operand & (column >= 0) & (column < heads))
            new[:, read] = inputs[:, column[read]]
            return new

        codes, left, right = body.codes[heads:], body.left[heads:], body.right[heads:]
        pooled = codes & Row.POOLED != 0
        by_segment = (codes >= Row.BEGIN) & (codes <= Row.PUSH)
        start = self._n_pool * pooled + self._n_segments * by_segment
        step = len(body.pool) * pooled + body.n_segments * by_segment
        lefts = placed(left, has_left(codes), start, step)
        rights = placed(right, has_right(codes) & (right != ABSENT))
        pool = placed(body.pool, body.is_operand)
        self._pools.append(pool.ravel())
        self._are_operands.append(numpy.tile(body.is_operand, trips))
        self._n_pool += pool.size
        self._n_segments += trips * body.n_segments
        outputs = placed(body.outputs, numpy.ones(len(body.outputs), dtype=bool))
        notes = numpy.tile(body.notes[heads:], trips)
        self._runs.append(numpy.array([[self._rows, trips, size]]))
        runs = numpy.tile(body.runs, (trips, 1))
        runs[:, 0] += ahead + size * numpy.repeat(numpy.arange(trips), len(body.runs))
        self._runs.append(runs)
        self._add(numpy.tile(codes, trips), lefts.ravel(), rights.ravel(), notes)
        carries = loop.n_carries
        return numpy.concatenate([outputs[-1, :carries], outputs[:, carries:].ravel()])

    def _inputs_of(
        self, loop: LoopBody, body: _Flat, given: Ints, ahead: int, constants: int
    ) -> Ints:
        """What the inputs of a body are in each iteration.

        Args:
            loop: the loop.
            body: this.
            given: what the loop is given.
            ahead: how far the rows of the first iteration are from those of the body.
            constants: how far its constants are.
        """
        trips, carries = loop.trips, loop.n_carries
        size = len(body.codes) - body.n_inputs
        inputs = numpy.zeros((trips, body.n_inputs), dtype=numpy.int32)
        for j, (source, first, step) in enumerate(loop.columns, start=carries):
            at = first + step * numpy.arange(trips, dtype=numpy.int32)
            if isinstance(source, str):
                inputs[:, j] = given[at] if source == "given" else self._inputs_at(at)
            else:
                inputs[:, j] = ~(self._n_constants + numpy.arange(trips))
                self._constants.append(source[at])
                self._n_constants += trips
        start = carries + len(loop.columns)
        inputs[:, start:] = given[carries : carries + body.n_inputs - start]
        inputs[:1, :carries] = given[:carries]
        handed = body.outputs[:carries]
        rows = handed >= body.n_inputs
        steps = size * numpy.arange(trips - 1, dtype=numpy.int32)[:, None]
        inputs[1:, :carries][:, rows] = handed[rows] + ahead + steps
        is_number = handed < 0
        inputs[1:, :carries][:, is_number] = handed[is_number] - constants
        passed = numpy.flatnonzero((handed >= 0) & (handed < body.n_inputs))
        same = handed[passed] == passed
        inputs[1:, passed[same]] = inputs[:1, passed[same]]
        others = passed[~same]
        for k in range(1, len(inputs)) if len(others) else ():
            inputs[k, others] = inputs[k - 1, handed[others]]
        return inputs

    def _inputs_at(self, numbers: Ints) -> Ints:
        """The rows of some inputs."""
        known = self._stretch.left[: self._n_inputs]
        order = numpy.argsort(known, kind="stable")
        at = numpy.searchsorted(known[order], numbers)
        if (at >= len(known)).any() or (known[order][at] != numbers).any():
            raise _Stays
        found: Ints = order[at].astype(numpy.int32)
        return found
