"""A recording: the graph of a run as flat arrays, without a Python object a node.

Nothing is shared, folded or simplified yet. Recorded is what somebody asks for, with all that it
depends on; what nothing asks for is left out. This file is the reference; the C engine has a twin.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final

from chainrule.engine import ENGINE
from chainrule.node import _SERIALS, Node
from chainrule.operation import one, zero
from chainrule.program.form import Diagonal
from chainrule.rules import OPERATIONS, Operation


class Row:
    """The codes of rows, see :class:`Recording`."""

    LEAF: Final = 0
    MARKS: Final = 0x7FE0
    BEGIN, END, PULL, PUSH, RESULT, LOOP, EACH, END_LOOP = range(MARKS, MARKS + 8)
    ENTER, LEAVE, GIVE, CARRY, NEXT, LEFT = range(MARKS + 8, MARKS + 14)
    RESULTS, GIVES = range(MARKS + 16, MARKS + 18)
    INPUT: Final = 0x7FFE
    GUARD: Final = 0x7FFF
    POOLED: Final = 0x8000
    USER: Final = 0xFFFF


ABSENT: Final = -(2**31)
IN_BULK: Final = 2**30
"""From here on operands are no rows but results that RESULTS stands for: of what a run gives."""
KNOWN: Final = 1

OPERATION_OF: Final[dict[int, Operation]] = {
    operation.code: operation for operation in OPERATIONS.values() if operation.code
} or dict(enumerate(OPERATIONS.values(), 1))
"""Operations of the table by their codes: those of the engine; it takes others for the user's."""
_MARKS: Final = {
    code: name.lower().replace("_", " ")
    for name, code in vars(Row).items()
    if code in range(Row.BEGIN, Row.GIVES + 1) and name != "MARKS"
}
_DIGIT: Final = 1 << 10
CODE_OF: Final = {operation: code for code, operation in OPERATION_OF.items()}
IDENTITY: Final = CODE_OF[OPERATIONS["identity"]]

TABLE: Final = Operation("table", lambda *xs: 0.0, lambda y, *xs: [0.0] * len(xs))
"""Of an input of the run and the elements of a table, which look-ups name by it; no value."""
LOOKUP: Final = Operation("lookup", lambda index, element, table: element, [zero, one, zero])
"""Of an index, the element that the run has found, and the table: the element at run time.

As an operation of nodes it is right for the numbers of the run only.
"""


def are_rows(operands: Any) -> Any:
    """Which operands are rows."""
    return (operands >= 0) & (operands < IN_BULK)


def packed(diagonal: Diagonal) -> int:
    """A diagonal as one number that is not negative."""
    return (diagonal.period * _DIGIT + diagonal.stride) * _DIGIT + diagonal.shift


def unpacked(number: int) -> Diagonal | None:
    """The diagonal that a number stands for; None for ABSENT."""
    if number == ABSENT:
        return None
    return Diagonal(number // _DIGIT**2, number // _DIGIT % _DIGIT, number % _DIGIT)


class Recording:
    """Rows: one for each input, node and guard.

    A row has a code and two operands, ``left`` and ``right``. An operand is the number of an
    earlier row or, if negative, ``~operand`` is that of a constant. The codes are those of the
    operations of one operand (``right`` is ABSENT) or two, and these:

    - INPUT: ``left`` is its number; captured nodes count on after the given inputs. Inputs that
      nobody has asked for may have none;
    - LEAF: a leaf that the run made, ``left`` its value, a constant;
    - GUARD: ``left`` was asked for its truth, and ``right``, 1 or 0, was the answer;
    - POOLED in an operation's code: ``right`` operands stand in the pool from ``left`` on;
    - USER: likewise for a user's operation; before the first operand stands its place among these.

    Rows of the operations TABLE and LOOKUP are of this kind.

    Others concern segments, the functions inside a run that a transformation differentiates:

    - BEGIN and END of a segment, ``left`` its number;
    - ENTER, a value: directly after BEGIN, for each of its inputs, ``left`` what the value is equal
      to, and ``right`` counts them;
    - LEAVE: directly before END, likewise for each of its outputs;
    - PULL or PUSH: cotangents are pulled back, or tangents pushed forward, through the segment
      ``left``; before it GIVE for each of these that there is, ``left`` the cotangent or tangent,
      ``right`` its place; after it RESULT for each of what comes, a value, ``left`` its place.
      RESULTS after it are many results from place ``right`` on, for what the run gives: operands
      from ``left`` on, which is IN_BULK or more, are these;
      PUSH with a ``right``: a diagonal of the matrix is wanted; ``packed`` has made the number.

    And others loops that are recorded as one iteration, that between LOOP and END_LOOP, ``left``
    the number of the loop:

    - CARRY, a value: what the iteration before has given; ``left`` is what the first one gets, and
      ``right`` counts them;
    - EACH, a value: what the iteration reads of column ``left``;
    - NEXT and LEFT: what it gives to the next one, and what it leaves for after the loop, ``left``
      the value, and ``right`` counts them. RESULT stands after the loop for each of the last
      carries and then of what the iterations have left; its ``right`` is KNOWN if the run knows
      the number.

    Rows of one call of ``record`` stand in the order in which the nodes were made, those of a later
    call after them; ``in_order`` puts all in this order.

    Args:
        inputs: the input nodes of the run, made before all others that depend on them; or how many
            there are, which get their rows by ``enter_inputs``. What is older is a constant.
        level: the level of the run: nodes of a lower one are from outside.
        captured: nodes from outside that are known already; they come first.

    Attributes:
        captured: the nodes from outside that the graph uses; they are inputs after the given ones.
        operations: the user's operations in it.
        annotations: names, groups and lines of its nodes.
    """

    def __init__(
        self, inputs: Sequence[Node] | int, level: int, captured: Sequence[Node] = ()
    ) -> None:
        self.captured: list[Node] = []
        self.operations: list[Operation] = []
        self.annotations: list[Any] = []
        self._level = level
        nodes = () if isinstance(inputs, int) else inputs
        self._n_given = inputs if isinstance(inputs, int) else len(inputs)
        self._first = min([x._serial for x in nodes] or [next(_SERIALS)])
        self._rows: dict[int, int] = {}  # of the run's nodes by serial number, which is no other's
        self._outside: dict[int, int] = {}  # rows of nodes from outside, by id
        self._places: dict[int, int] = {}  # of operations and annotations in their lists, by id
        self._columns = _Columns()
        self._lower: list[Node] = []  # inputs, so that they keep their ids
        self.enter_inputs(0, nodes)
        for node in captured:
            self._capture(node)

    def __len__(self) -> int:
        return len(self._columns.codes)

    @property
    def n_inputs(self) -> int:
        """How many inputs there are, those without a row included."""
        return self._n_given + len(self.captured)

    # The arrays. While a view of one is held, nothing can be recorded.

    @property
    def codes(self) -> memoryview:
        """The codes of the rows, as uint16."""
        return memoryview(self._columns.codes).toreadonly()

    @property
    def left(self) -> memoryview:
        """The first operands of the rows, as int32."""
        return memoryview(self._columns.left).toreadonly()

    @property
    def right(self) -> memoryview:
        """The second operands of the rows, as int32."""
        return memoryview(self._columns.right).toreadonly()

    @property
    def notes(self) -> memoryview:
        """The places of the rows' annotations, -1 for none, as int32; empty if no row has one."""
        return memoryview(self._columns.notes).toreadonly()

    @property
    def constants(self) -> memoryview:
        """The constants, as float64."""
        return memoryview(self._columns.constants).toreadonly()

    @property
    def pool(self) -> memoryview:
        """The operands of operations with more than two, as int32."""
        return memoryview(self._columns.pool).toreadonly()

    def row(self, number: int) -> tuple[int, Any, Any]:
        """A row: its code and operands, constants as floats, None where there is none.

        Raises:
            IndexError: if there is no such row.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"there is no row {number}")
        columns = self._columns
        code, left, right = columns.codes[number], columns.left[number], columns.right[number]
        constants = columns.constants
        shown = [
            None if x == ABSENT else x if x >= 0 or not is_operand else constants[~x]
            for x, is_operand in ((left, has_left(code)), (right, has_right(code)))
        ]
        return code, shown[0], shown[1]

    # Recording

    def enter_inputs(self, number: int, nodes: Sequence[Node]) -> None:
        """Give nodes that were just made rows as inputs, numbered from one on.

        Raises:
            TypeError: if one is no node.
            ValueError: if there are not so many inputs, or a node is older than the recording.
            BufferError: while a view of an array is held.
        """
        if number < 0 or number + len(nodes) > self._n_given:
            raise ValueError("there are not so many inputs")
        for i, x in enumerate(nodes, number):
            if not isinstance(x, Node):
                raise TypeError(f"an input of a recording is a node, not {type(x).__name__}")
            if x._level >= self._level and x._serial < self._first:
                raise ValueError("an input is not older than the recording")
            self._columns.append(Row.INPUT, i, ABSENT, -1)
            if x._level >= self._level:
                self._rows[x._serial] = len(self) - 1
            else:
                self._lower.append(x)
                self._outside[id(x)] = len(self) - 1

    def record(self, root: object) -> int:
        """Take a node or number, with all that it depends on; gives it as an operand.

        Raises:
            TypeError: if it is neither, or depends on a node whose value is computed in Python.
            BufferError: while a view of an array is held.
        """
        if not isinstance(root, (Node, float)):
            raise TypeError(f"a recording takes nodes and floats, not {type(root).__name__}")
        new = self._new(root)
        size = len(self)
        try:
            for node in new:
                self._enter(node)
        except BaseException:
            self._columns.cut(size)
            for node in new:
                self._rows.pop(node._serial, None)
            raise
        return self._operand(root)

    def record_all(self, roots: list[Any]) -> bytearray:
        """Take several; gives them as operands, of int64."""
        return bytearray(array("q", map(self.record, roots)))

    def guard(self, condition: int, outcome: bool) -> None:
        """Note that a row was asked for its truth, after all the nodes made so far.

        Raises:
            ValueError: if there is no such row.
            BufferError: while a view of an array is held.
        """
        if not 0 <= condition < len(self):
            raise ValueError(f"the condition of a guard is a row, not {condition}")
        self._columns.append(Row.GUARD, condition, int(outcome), -1)
        self._rows[next(_SERIALS)] = len(self) - 1

    def mark(self, code: int, left: int, right: int = ABSENT, node: Node | None = None) -> int:
        """Add a row that concerns a segment or loop; gives its number.

        Args:
            code: of a row that concerns segments or loops.
            left: its first operand or number.
            right: its second.
            node: where it stands in the order; by default after all that was made so far. If the
                node has a row, that becomes this one.

        Raises:
            TypeError: if it is no node.
            ValueError: if there is no such code or row, or the node is older than the inputs.
            BufferError: while a view of an array is held.
        """
        if not Row.MARKS <= code < Row.GUARD or code == Row.INPUT:
            raise ValueError(f"no mark is {code}")
        if has_left(code) and left >= len(self):
            raise ValueError(f"there is no row {left}")
        if node is not None and not isinstance(node, Node):
            raise TypeError("a mark stands where a node does")
        if node is not None and node._serial < self._first:
            raise ValueError("a mark is not older than the inputs")
        serial = next(_SERIALS) if node is None else node._serial
        row = self._rows.get(serial)
        if row is None:
            self._columns.append(code, left, right, -1)
            row = self._rows[serial] = len(self) - 1
        else:
            self._columns.put(row, code, left, right)
        return row

    def mark_all(
        self, code: int, left: list[int], right: list[int], nodes: list[Node] | None = None
    ) -> None:
        """Add several such rows of one code.

        Raises:
            ValueError: if there are not as many nodes and second operands as first ones.
        """
        if len(right) != len(left) or (nodes is not None and len(nodes) != len(left)):
            raise ValueError("there are not as many of each")
        for i, (x, y) in enumerate(zip(left, right, strict=True)):
            self.mark(code, x, y, None if nodes is None else nodes[i])

    def mark_results(self, places: Any) -> int:
        """Add rows that are results of what was marked last, and have no nodes; gives the first.

        Args:
            places: theirs, an array of int32.
        """
        first = len(self)
        for place in places.tolist():
            self.mark(Row.RESULT, place)
        return first

    def stand_for(self, row: int, node: Node) -> None:
        """Let a node that was just made stand for a row.

        Raises:
            TypeError: if it is no node.
            ValueError: if there is no such row, or the node has one.
        """
        if not 0 <= row < len(self):
            raise ValueError(f"there is no row {row}")
        if not isinstance(node, Node):
            raise TypeError("what stands for a row is a node")
        if node._serial < self._first or node._serial in self._rows:
            raise ValueError("the node is none that was just made")
        self._rows[node._serial] = row

    def in_order(self, operands: Any = ()) -> Any:
        """Put all rows in the order in which their nodes were made, inputs first.

        Args:
            operands: what ``record`` gave; an array of int64 of it is changed in its place.

        Returns:
            What these operands are now.
        """
        codes = self._columns.codes
        order = [row for row, code in enumerate(codes) if code == Row.INPUT]
        rows = dict.fromkeys([row for _, row in sorted(self._rows.items())])
        order += [row for row in rows if codes[row] != Row.INPUT]
        moved = {old: new for new, old in enumerate(order)}
        self._columns = self._columns.reordered(order, moved)
        self._rows = {serial: moved[row] for serial, row in self._rows.items()}
        self._outside = {key: moved[row] for key, row in self._outside.items()}
        placed = [moved.get(operand, operand) for operand in operands]
        if not hasattr(operands, "dtype"):
            return placed
        operands[:] = placed
        return operands

    def _new(self, root: Node | float) -> list[Node]:
        """The nodes that have no row yet, from the oldest to the newest."""
        found: dict[int, Node] = {}
        asked: list[Any] = [root]
        for node in asked:
            if not isinstance(node, Node):
                continue
            if node._level < self._level:
                if id(node) not in self._outside:
                    self._capture(node)
            elif (
                node._serial >= self._first
                and node._serial not in self._rows
                and node._serial not in found
            ):
                if node._operation is None and node.operands:
                    raise TypeError(
                        f"{type(node).__name__} can't be compiled: its value is computed in"
                        " Python; define an Operation instead"
                    )
                found[node._serial] = node
                asked.extend(node.operands)
        return [node for _, node in sorted(found.items())]

    def _capture(self, node: Node) -> None:
        """Take a node from outside as an input."""
        self._columns.append(Row.INPUT, self.n_inputs, ABSENT, -1)
        self._outside[id(node)] = len(self) - 1
        self.captured.append(node)

    def _enter(self, node: Node) -> None:
        """Append the row of a node whose operands have theirs."""
        columns = self._columns
        note = -1 if node._annotation is None else self._place(node._annotation, self.annotations)
        operation = node._operation
        if operation is None:
            columns.append(Row.LEAF, self._constant(node._number), ABSENT, note)
        else:
            operands = [self._operand(x) for x in node.operands]
            code = CODE_OF.get(operation, Row.USER)
            if operation.is_value and isinstance(node.operands[0], Node):
                operands, code = operands[:1], IDENTITY
            if code == Row.USER:
                place = self._place(operation, self.operations)
                columns.append(Row.USER, len(columns.pool), len(operands), note)
                columns.pool.extend([place, *operands])
            elif len(operands) > 2:
                columns.append(code | Row.POOLED, len(columns.pool), len(operands), note)
                columns.pool.extend(operands)
            else:
                columns.append(code, operands[0], (*operands, ABSENT)[1], note)
        self._rows[node._serial] = len(self) - 1

    def _operand(self, x: Node | float) -> int:
        if not isinstance(x, Node):
            return self._constant(x)
        if x._level < self._level:
            return self._outside[id(x)]
        if x._serial < self._first:
            return self._constant(x._number)
        return self._rows[x._serial]

    def _constant(self, number: float) -> int:
        constants = self._columns.constants
        constants.append(number)
        return ~(len(constants) - 1)

    def _place(self, item: Any, items: list[Any]) -> int:
        place = self._places.get(id(item))
        if place is None:
            place = self._places[id(item)] = len(items)
            items.append(item)
        return place

    def __str__(self) -> str:
        """The recording to read, one row a line."""
        return text(self)


class _Columns:
    """The arrays of a recording."""

    def __init__(self) -> None:
        self.codes = array("H")
        self.left = array("i")
        self.right = array("i")
        self.notes = array("i")
        self.constants = array("d")
        self.pool = array("i")

    def append(self, code: int, left: int, right: int, note: int) -> None:
        """Add a row."""
        size = len(self.codes)
        try:
            self.codes.append(code)
            self.left.append(left)
            self.right.append(right)
            if note >= 0 and not self.notes:
                self.notes.extend([-1] * size)
            if note >= 0 or self.notes:
                self.notes.append(note)
        except BaseException:
            self.cut(size)
            raise

    def put(self, row: int, code: int, left: int, right: int) -> None:
        """Let a row be another one."""
        self.codes[row], self.left[row], self.right[row] = code, left, right

    def cut(self, size: int) -> None:
        """Leave only the first rows."""
        for column in (self.codes, self.left, self.right, self.notes):
            if len(column) > size:
                del column[size:]

    def reordered(self, order: list[int], moved: dict[int, int]) -> _Columns:
        """The rows in another order; ``moved`` is its inverse."""
        new = _Columns()
        new.constants = self.constants
        new.pool = array("i", self.pool)
        for row in order:
            code, left, right = self.codes[row], self.left[row], self.right[row]
            if code & Row.POOLED:
                start = left + (code == Row.USER)
                for i in range(start, start + right):
                    new.pool[i] = moved.get(new.pool[i], new.pool[i])
            else:
                left = moved.get(left, left) if has_left(code) else left
                right = moved.get(right, right) if has_right(code) else right
            new.append(code, left, right, self.notes[row] if self.notes else -1)
        return new


def has_left(code: Any) -> Any:
    """Whether the first operand of a row is an operand, and not a number or place in the pool.

    Args:
        code: of one row, or of several in an array.
    """
    return (code < Row.MARKS) | ((code & 8 != 0) & (code != Row.INPUT) & (code < Row.POOLED))


def has_right(code: Any) -> Any:
    """Whether the second one is."""
    return code < Row.MARKS


def given_to(code: int, left: int, right: int, pool: Any) -> list[int]:
    """The operands of a row."""
    if code & Row.POOLED:
        start = left + (code == Row.USER)
        return list(pool[start : start + right])
    if not has_left(code):
        return []
    return [left] if right == ABSENT or not has_right(code) else [left, right]


def text(recording: Recording) -> str:
    """A recording to read, one row a line."""

    def shown(operand: int) -> str:
        return f"%{operand}" if operand >= 0 else repr(recording.constants[~operand])

    lines = []
    for row, code in enumerate(recording.codes):
        left, right = recording.left[row], recording.right[row]
        if code == Row.GUARD:
            lines.append(f"guard {shown(left)} is {'true' if right else 'false'}")
            continue
        if code in _MARKS:
            place = f" {right}" if right != ABSENT else ""
            said = f"{_MARKS[code]}{place} {shown(left) if has_left(code) else left}"
        elif code == Row.INPUT:
            said = f"input {left}"
        elif code == Row.LEAF:
            said = shown(left)
        else:
            operation = (
                recording.operations[recording.pool[left]]
                if code == Row.USER
                else OPERATION_OF[code & ~Row.POOLED]
            )
            given = given_to(code, left, right, recording.pool)
            operands = [shown(operand) for operand in given]
            if len(operands) == 2 and not operation.symbol.isidentifier():
                said = f" {operation.symbol} ".join(operands)
            else:
                said = f"{operation.symbol}({', '.join(operands)})"
        lines.append(f"%{row} = {said}")
    return "\n".join(lines)


if ENGINE is not None:
    Recording = ENGINE.Recording  # type: ignore[misc]
