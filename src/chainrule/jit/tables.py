"""Tables in a trace: arrays and lists whose elements are looked up by a number of the run."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy

from chainrule import rules
from chainrule.node import Node, OperationNode, apply
from chainrule.program.form import chosen
from chainrule.program.recording import LOOKUP, TABLE

if TYPE_CHECKING:
    from .trace import Recorder


class RecordedTable:
    """Elements that are looked up in a trace.

    Args:
        recorder: of the trace.
        elements: numbers and nodes; a flat array of objects that nobody changes.
    """

    def __init__(self, recorder: Recorder, elements: Any) -> None:
        self._recorder = recorder
        self._elements = elements
        self._nodes: dict[tuple[int, int] | None, Node] = {}
        self._bound: int | None = -1  # not known yet

    def bound(self, is_whole: Any, bound_of: Any) -> int | None:
        """What no element exceeds in absolute value if all are whole numbers, else None."""
        if self._bound == -1:
            whole = len(self._elements) > 0 and all(map(is_whole, self._elements))
            self._bound = max(map(bound_of, self._elements)) if whole else None
        return self._bound

    def look_up(self, index: Node) -> Any:
        """The element at an index from 0 on.

        Costs one operation, whatever the size. Where derivatives are nodes, not segments of the
        recording, each element is an operand.
        """
        if not self._recorder.segments:
            return apply(rules.gather, (index, *self._elements))
        node = self._table()
        self._recorder.recorded.looks_up = True
        element = _operand(self._elements[chosen(index._number, len(self._elements))])
        number = element._number if isinstance(element, Node) else element
        return OperationNode(LOOKUP, number, None, None, (index, element, node))

    def _table(self) -> Node:
        """The node that stands for it; in a loop of which one iteration is recorded, of its own."""
        recorded = self._recorder.recorded
        place = None
        if len(recorded.loops) > recorded.ended:
            place = len(recorded.loops), recorded.ended
        node = self._nodes.get(place)
        if node is None:
            first = self._recorder.inputs[0]
            operands = (first, *map(_operand, self._elements))
            node = self._nodes[place] = OperationNode(TABLE, 0.0, None, None, operands)
            node._level = first._level  # derivatives go by the elements
            recorded.record(node)
        return node


class RecordedTables:
    """The tables of a trace: what holds the same elements is one.

    Args:
        recorder: of the trace.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._known: dict[Any, RecordedTable] = {}
        self._last: dict[Any, tuple[bytes, RecordedTable]] = {}  # by where an array lies

    def of(self, array: Any) -> RecordedTable:
        """The table of an array of numbers and nodes."""
        place = array.ctypes.data, array.shape, array.strides, array.dtype.char
        content = numpy.ascontiguousarray(array)
        said = _bytes(content)
        last = self._last.get(place)
        if last is not None and last[0] == said:
            return last[1]
        key = array.dtype.char, said
        table = self._known.get(key)
        if table is None:
            table = RecordedTable(self._recorder, content.astype(object).reshape(-1))
            self._known[key] = table
        self._last[place] = said, table
        return table


def _bytes(array: Any) -> bytes:
    """The memory of an array; of objects, the addresses of those, which the table keeps alive."""
    return ctypes.string_at(array.ctypes.data, array.nbytes)


def _operand(x: Any) -> Any:
    return x if isinstance(x, Node) else float(x)
