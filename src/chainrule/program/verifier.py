"""What is asked of every program, checked without running it; tests do so after every pass.

The structure is checked a statement at a time. What happens to the elements of arrays is checked
in all iterations, each with the time at which it happens: a step of a clock for each statement.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy
from numpy.typing import NDArray

from .form import (
    BY_VALUE,
    CONSTANT,
    INPUT,
    IS_VALUE,
    SUMS,
    VALUES,
    Add,
    Array,
    Carry,
    Compute,
    Derive,
    End,
    Enter,
    Gather,
    Guard,
    Index,
    Last,
    Leave,
    Load,
    Loop,
    Operand,
    Program,
    ProgramError,
    Scatter,
    Segment,
    Slice,
    Statement,
    Store,
    parts,
)
from .nests import Numbers, added, count, instance, numbers, unique

_ALL = (INPUT, CONSTANT, VALUES, SUMS)
_KINDS: Final[dict[type[Statement], Sequence[str]]] = {
    Load: _ALL,
    Store: (VALUES,),
    Add: (SUMS,),
    Gather: _ALL,
    Scatter: (SUMS,),
    Derive: (VALUES,),
}
"""The kinds of arrays that statements take."""


def verify(program: Program) -> None:
    """Check a program.

    Raises:
        ProgramError: if it breaks a rule of the form, in any iteration.
    """
    structure = _Structure(program)
    times = Clock(program.body).times
    _check_guards(structure, times)
    _check_places(structure)
    _check_elements(structure, times)


class _Structure:
    """A walk that sees what is visible where.

    Attributes:
        program: the program.
        around: of each statement, the loops around it.
        segments: of each statement, the segments around it.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.around: dict[Statement, list[Loop]] = {}
        self.segments: dict[Statement, list[Segment]] = {}
        self._loops: list[Loop] = []
        self._open: list[Segment] = []
        self._visible: set[Statement] = set()
        self._derives = False
        self._carries = False
        if program.inputs.kind != INPUT:
            raise ProgramError(f"the array of inputs is of kind {program.inputs.kind}")
        self._body(program.body)
        for output in program.outputs:
            if isinstance(output, Slice):
                self._array(output.array, _ALL, "an output")
                if not 0 <= output.start <= output.start + output.size <= output.array.size:
                    raise ProgramError(f"outputs {output.start} and on of {_said(output.array)}")
            else:
                self._operand(output, "an output")
        if self._derives and self._carries:
            raise ProgramError("carries in a program with Derive")

    def _body(self, body: list[Statement]) -> None:
        for statement in body:
            if statement in self.around:
                raise ProgramError(f"{_name(statement)} stands in two places")
            self.around[statement] = list(self._loops)
            self.segments[statement] = list(self._open)
            for operand in statement.operands:
                self._operand(operand, _name(statement))
            if isinstance(statement, Loop):
                self._loop(statement)
            elif isinstance(statement, Segment):
                self._open.append(statement)
                self._body(statement.body)
                self._open.pop()
            else:
                self._statement(statement)
            self._visible.add(statement)

    def _loop(self, loop: Loop) -> None:
        self._index(loop.trips, "a trip count")
        for carry in loop.carries:
            if type(carry) is not Carry or carry in self.around:
                raise ProgramError("a carry that is in two places, or none")
            self._carries = True
            self.around[carry] = [*self._loops, loop]
            self.segments[carry] = list(self._open)
        self._loops.append(loop)
        outside = set(self._visible)
        self._visible.update(loop.carries)
        self._body(loop.body)
        for carry in loop.carries:
            self._operand(carry.next, "a carry")
        self._visible = outside
        self._loops.pop()

    def _statement(self, x: Statement) -> None:
        name = _name(x)
        if isinstance(x, Compute):
            if not x.operands:
                raise ProgramError(f"{name} without operands")
            try:
                x.operation.check_arity(len(x.operands))
            except TypeError as error:
                raise ProgramError(str(error)) from None
        elif isinstance(x, Last):
            if x.loop not in self._visible or x.carry not in x.loop.carries:
                raise ProgramError("Last of a loop that has not run here, or without that carry")
        elif isinstance(x, End):
            if not self._open or self._open[-1] is not x.segment:
                raise ProgramError(f"{name} outside the body of its segment")
            own = isinstance(x.value, Statement) and x.segment in self.segments[x.value]
            if isinstance(x, Enter) and own and not isinstance(x.value, Load):
                raise ProgramError("Enter of a value that its own segment computes")
        elif isinstance(x, Derive):
            self._derives = True
            if x.segment not in self._visible:
                raise ProgramError("Derive of a segment that has not run here")
            if x.diagonal is not None and not (x.forward and x.diagonal.period > 0):
                raise ProgramError("Derive of a diagonal backwards, or without a period")
        elif isinstance(x, BY_VALUE):
            if x.size < 1:
                raise ProgramError(f"{name} of {x.size} elements")
        elif not isinstance(x, (Load, Store, Guard)):
            raise ProgramError(f"{name} can't stand in a body")
        for part, kind in parts(type(x)).items():
            if kind == "Array":
                self._array(getattr(x, part), _KINDS[type(x)], name)
            elif kind == "Index":
                self._index(getattr(x, part), name)

    def _operand(self, x: Operand, user: str) -> None:
        if isinstance(x, IS_VALUE):
            if x not in self._visible:
                raise ProgramError(
                    f"{user} uses {_name(x)} before it is there, or outside of its loop"
                )
        elif not isinstance(x, float):
            raise ProgramError(f"{user} uses a {type(x).__name__}, which is no value")

    def _index(self, index: Index, user: str) -> None:
        if not index.loops() <= set(self._loops):
            raise ProgramError(f"the index of {user} depends on a loop that is not around it")

    def _array(self, array: Array, kinds: Sequence[str], user: str) -> None:
        if array.size < 0:
            raise ProgramError(f"{user} takes {_said(array)}, of a negative size")
        if array.kind not in kinds:
            raise ProgramError(f"{user} takes no {array.kind} array, {_said(array)}")
        if array.kind == INPUT and array is not self.program.inputs:
            raise ProgramError(f"{user} takes {_said(array)}, not the program's array of inputs")
        if array.kind == CONSTANT and (
            array.data is None
            or array.data.dtype != numpy.float64
            or array.data.shape != (array.size,)
        ):
            raise ProgramError(f"{_said(array)} is not a table of so many float64")


class Clock:
    """When statements run: a step for each, in the order of the run.

    Attributes:
        times: of each statement that is no loop or segment, in each of its instances.
    """

    def __init__(self, body: list[Statement]) -> None:
        self.times: dict[Statement, Numbers] = {}
        self._durations: dict[Loop, Numbers] = {}  # of each iteration
        self._duration(body, [])
        self._run(body, [], numpy.zeros(1, dtype=numpy.int64))

    def _duration(self, body: list[Statement], loops: list[Loop]) -> Numbers:
        """How long a body takes, in each instance of it."""
        total = numpy.zeros(count(loops), dtype=numpy.int64)
        for statement in body:
            if isinstance(statement, Loop):
                self._durations[statement] = self._duration(statement.body, [*loops, statement])
                begin, end, clock = self._iterations(statement, loops)
                total += clock[end] - clock[begin]
            elif isinstance(statement, Segment):
                total += self._duration(statement.body, loops)
            else:
                total += 1
        return total

    def _iterations(self, loop: Loop, loops: list[Loop]) -> tuple[Numbers, Numbers, Numbers]:
        """Of each run of a loop its first iteration and the one after its last, and their times.

        Iterations are counted on over all runs, and so is the time.
        """
        trips = numbers(loop.trips, loops)
        end = numpy.cumsum(trips)
        return end - trips, end, numpy.append(0, numpy.cumsum(self._durations[loop]))

    def _run(self, body: list[Statement], loops: list[Loop], now: Numbers) -> Numbers:
        """Go through a body from a time on, in each instance of it; gives the time after it."""
        for statement in body:
            if isinstance(statement, Loop):
                begin, end, clock = self._iterations(statement, loops)
                starts = clock[:-1] + numpy.repeat(now - clock[begin], end - begin)
                self._run(statement.body, [*loops, statement], starts)
                now = now + clock[end] - clock[begin]
            elif isinstance(statement, Segment):
                now = self._run(statement.body, loops, now)
            else:
                self.times[statement] = now
                now = now + 1
        return now


def _check_guards(structure: _Structure, times: dict[Statement, Numbers]) -> None:
    """Guards are numbered in the order in which they are asked."""
    guards = [x for x in times if isinstance(x, Guard)]
    if not guards:
        return
    found = numpy.concatenate([numbers(x.number, structure.around[x]) for x in guards])
    ordered = found[numpy.argsort(numpy.concatenate([times[x] for x in guards]))]
    if (numpy.diff(ordered) <= 0).any():
        raise ProgramError("guards that are not numbered in the order in which they are asked")
    if len(ordered) and not 0 <= ordered[0] <= ordered[-1] < structure.program.guards:
        wrong = ordered[0] if ordered[0] < 0 else ordered[-1]
        raise ProgramError(f"guard {wrong} of a program of {structure.program.guards} guards")


def _check_places(structure: _Structure) -> None:
    """Each input and output of a segment has a place of its own."""
    for kind in (Enter, Leave):
        of_segments: dict[Segment, list[End]] = defaultdict(list)
        for statement in structure.around:
            if isinstance(statement, kind):
                of_segments[statement.segment].append(statement)
        for segment, members in of_segments.items():
            run = instance(structure.around[segment])
            around = [structure.around[x] for x in members]
            runs = numpy.concatenate([numbers(run, loops) for loops in around])
            places = numpy.concatenate(
                [numbers(x.place, loops) for x, loops in zip(members, around, strict=True)]
            )
            order = numpy.lexsort((places, runs))
            same = (numpy.diff(runs[order]) == 0) & (numpy.diff(places[order]) == 0)
            if same.any() or (places < 0).any():
                wrong = places[order][1:][same] if same.any() else places[places < 0]
                times = "twice" if same.any() else "once"
                raise ProgramError(f"{kind.__name__} of place {wrong[0]}, {times}")


def _check_elements(structure: _Structure, times: dict[Statement, Numbers]) -> None:
    """Elements are written once and before they are read, and all that is asked for exists."""
    accesses = _Accesses(structure, times)
    for array in accesses.arrays:
        written, at = accesses.of(accesses.writes, array)
        if array.kind == VALUES:
            counts = numpy.bincount(written, minlength=array.size)
            if (counts > 1).any():
                raise ProgramError(f"second store to {_element(array, counts > 1)}")
        last = numpy.full(array.size, -1, dtype=numpy.int64)
        numpy.maximum.at(last, written, at)
        read, at = accesses.of(accesses.reads, array)
        if array.kind == VALUES:
            never = read[last[read] < 0]
            if len(never):
                raise ProgramError(f"read of {_said(array)} at {never[0]}, which is not stored")
        given, given_at = accesses.of(accesses.given, array)
        read, at = numpy.append(read, given), numpy.append(at, given_at)
        early = read[last[read] > at]
        if len(early):
            how = "stored" if array.kind == VALUES else "added to after that"
            raise ProgramError(f"read of {_said(array)} at {early[0]} before it is {how}")


class _Accesses:
    """What is done to the elements of arrays: where and when.

    Attributes:
        arrays: all of them.
        reads: of elements that must be there.
        given: reads of elements that need not be there.
        writes: stores and additions.
    """

    def __init__(self, structure: _Structure, times: dict[Statement, Numbers]) -> None:
        self.arrays: dict[Array, None] = {}
        self.reads: _Places = defaultdict(list)
        self.given: _Places = defaultdict(list)
        self.writes: _Places = defaultdict(list)
        self._structure = structure
        self._times = times
        for x in times:
            loops = structure.around[x]
            if isinstance(x, (Load, Store)):
                to = self.reads if isinstance(x, Load) else self.writes
                self._note(to, x.array, numbers(x.index, loops), times[x], _name(x))
            elif isinstance(x, BY_VALUE):
                to = self.reads if isinstance(x, Gather) else self.writes
                self._note(to, x.array, *self._range(x), _name(x))
            elif isinstance(x, Derive):
                inner, outer = (Enter, Leave) if x.forward else (Leave, Enter)
                if x.diagonal is None:
                    self._derive(x, self.given, x.given, x.given_at, inner)
                self._derive(x, self.writes, x.results, x.results_at, outer)
        for y in structure.program.outputs:
            if isinstance(y, Slice):
                places = numpy.arange(y.start, y.start + y.size)
                self._note(self.reads, y.array, places, numpy.full(y.size, _END), "an output")

    def _range(self, x: Gather | Scatter) -> tuple[Numbers, Numbers]:
        """All elements that a statement may access; each with the first read, or the last write."""
        firsts, which = unique(x.index, self._structure.around[x])
        times = self._times[x]
        asked = numpy.full(len(firsts), _END if isinstance(x, Gather) else -1)
        pick = numpy.minimum if isinstance(x, Gather) else numpy.maximum
        pick.at(asked, which, times)
        places = firsts[:, None] + numpy.arange(x.size)
        return places.reshape(-1), numpy.repeat(asked, x.size)

    def of(self, accesses: _Places, array: Array) -> tuple[Numbers, Numbers]:
        """The places and times of some accesses to an array."""
        parts = accesses[array]
        empty = numpy.zeros(0, dtype=numpy.int64)
        places, times = zip(*parts, strict=True) if parts else ([empty], [empty])
        return numpy.concatenate(places), numpy.concatenate(times)

    def _note(self, to: _Places, array: Array, places: Numbers, times: Numbers, user: str) -> None:
        self.arrays.setdefault(array)
        wrong = places[(places < 0) | (places >= array.size)]
        if len(wrong):
            raise ProgramError(f"{user} takes element {wrong[0]} of {_said(array)}")
        to[array].append((places, times))

    def _derive(self, x: Derive, to: _Places, array: Array, begin: Index, kind: type[End]) -> None:
        """What Derive does to an array: an element for each input or output of its segment."""
        around, outside = self._structure.around, self._structure.around[x.segment]
        self.arrays.setdefault(array)
        for y in self._times:
            if isinstance(y, kind) and y.segment is x.segment:
                loops = [*around[x], *around[y][len(outside) :]]
                places = numbers(added(begin, y.place), loops)
                now = self._times[x][numbers(instance(around[x]), loops)]
                self._note(to, array, places, now, _name(x))


_Places = dict[Array, list[tuple[Numbers, Numbers]]]
_END = 2**62


def _element(array: Array, which: NDArray[numpy.bool_]) -> str:
    return f"{_said(array)} at {numpy.flatnonzero(which)[0]}"


def _said(array: Array) -> str:
    return f"{array.name or 'array'}[{array.size}]"


def _name(statement: Statement) -> str:
    name = type(statement).__name__
    if isinstance(statement, Compute):
        name += f" {statement.operation.name}"
    line = None if statement.note is None else statement.note.line
    return name if line is None else f"{name} at {line}"
