"""Plain numbers in a loop of which one iteration is traced: all that they are is known.

Python itself computes with each of them, so kinds, results and exceptions are what they are in a
plain loop. What they become together with nodes is a column of the loop.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy

from chainrule.array_elements import objects
from chainrule.jit.indices import IndexArray, IndexNode, TracedArray
from chainrule.jit.inputs import WholeArray
from chainrule.jit.whole import LARGEST
from chainrule.node import Node
from chainrule.program.nests import distinct
from chainrule.whole import WholeNode

if TYPE_CHECKING:
    from .once import Loop

_NUMBERS: Final = (int, float, numpy.number)
_ANYTHING: Final = (*_NUMBERS, bool, numpy.bool_, str, bytes, type(None), type)
"""What may be handed to a function beside such a number."""


class Known:
    """A plain number of a loop.

    Args:
        values: what it is in each iteration.
        loop: the loop.
    """

    __slots__ = ("_array", "_node", "loop", "values")
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, values: Sequence[Any], loop: Loop) -> None:
        self.values = values
        self.loop = loop
        self._node: Any = None
        self._array: Any = None

    def array(self) -> Any:
        """The numbers as an array, which nobody changes."""
        if self._array is None:
            self._array = numpy.array(self.values)
        return self._array

    def node(self) -> Node:
        """The node that it is beside others."""
        if self._node is None:
            array = self.array()
            are_ints = array.dtype == numpy.int64
            values = [int(array.min()), int(array.max())] if are_ints else self.values
            if max(map(abs, values)) > LARGEST and not self._are_floats():
                self._refuse()
            self._node = self.loop.column(numpy.array(array, dtype=numpy.float64))
        found: Node = self._node
        return found

    def _are_floats(self) -> bool:
        return all(isinstance(x, float) for x in self.values)

    def traced(self) -> Node:
        """The same, a whole number where it is one."""
        if all(type(x) is int for x in self.values):
            return IndexNode.of(self.node(), max(map(abs, self.values)))
        return self.node()

    def _with(self, other: Any, operation: Callable[[Any, Any], Any], swapped: bool) -> Any:
        """The result of an operator."""
        if isinstance(other, Known):
            if other.loop is not self.loop:
                self._refuse()
            pairs = zip(self.values, other.values, strict=True)
            return combined([operation(x, y) for x, y in pairs], self.loop)
        if isinstance(other, Node):
            mine = self.traced() if isinstance(other, WholeNode) else self.node()
            return operation(other, mine) if swapped else operation(mine, other)
        if isinstance(other, numpy.ndarray):
            if other.dtype != object or not all(_is_node(x) for x in other.ravel().tolist()):
                self._refuse()
            mine = self.node()
            return operation(other, mine) if swapped else operation(mine, other)
        if not isinstance(other, _ANYTHING):
            return NotImplemented
        if swapped:
            return combined([operation(other, x) for x in self.values], self.loop)
        return combined([operation(x, other) for x in self.values], self.loop)

    def _alone(self, operation: Callable[[Any], Any]) -> Any:
        return combined([*map(operation, self.values)], self.loop)

    def __neg__(self) -> Any:
        return self._alone(operator.neg)

    def __pos__(self) -> Any:
        return self._alone(operator.pos)

    def __abs__(self) -> Any:
        return self._alone(operator.abs)

    def __invert__(self) -> Any:
        return self._alone(operator.invert)

    def truth(self) -> Any:
        """Whether it is not 0."""
        return combined([*map(bool, self.values)], self.loop)

    def __bool__(self) -> bool:
        truths = set(map(bool, self.values))
        if len(truths) > 1:
            self._refuse()
        return truths.pop()

    def _refuse(self, *_: Any) -> NoReturn:
        self.loop.refuse_here("a number of it is used that can't be a node")

    __index__ = __int__ = __float__ = __str__ = __repr__ = __format__ = _refuse


def _add_operator(name: str, swapped: bool = False) -> None:
    operation = getattr(operator, f"__{name}__")
    method = f"__{'r' * swapped}{name}__"
    setattr(Known, method, lambda x, y: x._with(y, operation, swapped))


for _name in (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"),
    *("lshift", "rshift", "and", "or", "xor"),
):
    _add_operator(_name)
    _add_operator(_name, swapped=True)
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    _add_operator(_name)


def _is_node(x: Any) -> bool:
    return isinstance(x, Node) and not isinstance(x, WholeNode)


def _are_nodes(kind: type) -> bool:
    """The same of values of a type."""
    return issubclass(kind, Node) and not issubclass(kind, WholeNode)


def combined(values: list[Any], loop: Loop) -> Any:
    """What stands for plain values of the iterations of a loop."""
    first = values[0]
    if all(x is first for x in values):
        return first
    kinds = set(map(type, values))
    if kinds <= {bool, numpy.bool_}:
        if all(x == first for x in values):
            return first
        return loop.column(numpy.array(values, dtype=numpy.float64)) != 0.0
    if all(issubclass(kind, _NUMBERS) for kind in kinds) and bool not in kinds:
        same = len(kinds) == 1 and all(x == first for x in values)
        if same and (first or len(set(map(repr, values))) == 1):  # zeros have signs
            return first
        return Known(values, loop)
    if kinds == {tuple} and len(set(map(len, values))) == 1:
        return tuple([combined([*column], loop) for column in zip(*values, strict=True)])
    if kinds == {str} and len(set(values)) == 1:
        return first
    return loop.refuse_here("it goes through what is no number")


def stand_in(values: Sequence[Any], loop: Loop) -> Any:
    """What stands for what is read in the iterations of a loop."""
    if not values:
        return loop.refuse_here("it goes through nothing")
    first = values[0]
    if all(x is first for x in values):
        return first
    kinds = set(map(type, values))
    if all(map(_are_nodes, kinds)) or kinds == {IndexNode}:
        return loop.column(objects(values))
    if len(kinds) == 1 and not kinds.isdisjoint({tuple, list}):
        if len(set(map(len, values))) > 1:
            loop.refuse_here("it goes through rows of several lengths")
        made = [stand_in([*column], loop) for column in zip(*values, strict=True)]
        return tuple(made) if kinds == {tuple} else made
    if all(isinstance(x, numpy.ndarray) and x.dtype == object for x in values):
        if len({x.shape for x in values}) > 1 or not first.size or not first.ndim:
            loop.refuse_here("it goes through arrays of several shapes")
        stacked = numpy.stack([numpy.asarray(x).view(numpy.ndarray) for x in values])
        return columns_of(stacked, loop)
    return combined([*values], loop)


def columns_of(array: Any, loop: Loop) -> Any:
    """What stands for a row of an array of nodes."""
    flat = array if array.ndim == 1 else array.reshape(len(array), -1)
    if type(array) is not WholeArray:
        _check_nodes(flat.ravel(), loop)
    if array.ndim == 1:
        return loop.column(flat)
    nodes = [loop.column(flat[:, j]) for j in range(flat.shape[1])]
    return _row(nodes, array.shape[1:])


def _check_nodes(elements: Any, loop: Loop) -> None:
    """See that an array holds nodes alone."""
    kinds = set(map(type, elements.tolist()))
    if not all(map(_are_nodes, kinds)) and kinds != {IndexNode}:
        loop.refuse_here("it goes through arrays that hold something else than nodes")


def _row(nodes: Sequence[Node], shape: tuple[int, ...]) -> Any:
    """An array of what stands for the elements of a row."""
    kind = IndexArray if all(isinstance(x, IndexNode) for x in nodes) else TracedArray
    return objects(nodes).reshape(shape).view(kind)


def _gathered(array: Any, keys: tuple[Any, ...], loop: Loop) -> Any:
    """What stands for a row of an array of nodes, by the keys of these rows."""
    places = numpy.arange(array.size).reshape(array.shape)[keys]
    flat = array.reshape(-1)
    _check_nodes(flat[distinct(places)], loop)
    nodes, place = [], numpy.empty(array.size, dtype=numpy.int64)
    for column in places.reshape(len(places), -1).T:
        used = distinct(column)
        place[used] = numpy.arange(len(used))
        one_by_one = len(used) == len(column) and (used == column).all()
        nodes.append(loop.column(flat[used], None if one_by_one else place[column]))
    return nodes[0] if places.ndim == 1 else _row(nodes, places.shape[1:])


def looked_up(owner: Any, key: Any) -> Any:
    """An element of something by a key that holds such numbers."""
    keys = key if type(key) is tuple else (key,)
    known = [k for k in keys if isinstance(k, Known)]
    loop = known[0].loop
    if any(k.loop is not loop for k in known) or not all(isinstance(k, (Known, int)) for k in keys):
        loop.refuse_here("an element is looked up by something else than its index")
    if isinstance(owner, numpy.ndarray) and owner.dtype == object:
        arrays = tuple([k.array() if isinstance(k, Known) else k for k in keys])
        if any(x.dtype.kind not in "iu" for x in arrays if isinstance(x, numpy.ndarray)):
            loop.refuse_here("an element is looked up by what is no whole number")
        if any(isinstance(k, int) for k in keys):
            arrays = tuple(numpy.broadcast_arrays(*arrays))
        if type(owner) is not WholeArray:
            return _gathered(owner, arrays, loop)
        return columns_of(owner[arrays], loop)
    if not isinstance(owner, numpy.ndarray) and type(owner) not in (list, tuple, dict, range):
        loop.refuse_here("an element is looked up of something else than a list")
    if type(key) is tuple:
        each = list(zip(*[_each(k, loop) for k in keys], strict=True))
    else:
        each = key.values
    return stand_in([owner[k] for k in each], loop)


def _each(x: Any, loop: Loop) -> Sequence[Any]:
    return x.values if isinstance(x, Known) else [x] * loop.trips


def applied(function: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
    """What a function without effects gives for such numbers, beside others that are plain."""
    known = [x for x in (*args, *options.values()) if isinstance(x, Known)]
    loop = known[0].loop
    for x in (*args, *options.values()):
        if isinstance(x, Known):
            if x.loop is not loop:
                loop.refuse_here("numbers of several loops are used together")
        elif not isinstance(x, _ANYTHING) and not (
            isinstance(x, tuple) and all(isinstance(y, type) for y in x)
        ):
            loop.refuse_here("a function is called with its index and something else")
    rows = zip(*[_each(x, loop) for x in args], strict=True) if args else [()] * loop.trips
    named = {name: _each(x, loop) for name, x in options.items()}
    found = [
        function(*row, **{name: x[i] for name, x in named.items()}) for i, row in enumerate(rows)
    ]
    return combined(found, loop)


def holds_known(x: Any) -> bool:
    """Whether a list, tuple or array holds such numbers."""
    waiting = [x]
    for y in waiting:
        if isinstance(y, Known):
            return True
        if isinstance(y, (list, tuple)):
            waiting += y
        elif isinstance(y, dict):
            waiting += y.values()
        elif isinstance(y, numpy.ndarray) and y.dtype == object and type(y) is not WholeArray:
            waiting += y.ravel().tolist()
    return False
