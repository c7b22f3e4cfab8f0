"""Products of arrays in a trace: a large one is recorded as one, not term by term.

What it gives is known by what it depends on: nodes that have the values of the run, or NaN where
the trace does not have to know them, stand for its elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy

from chainrule.array_elements import objects
from chainrule.arrays import NodeArray
from chainrule.differentiation import fresh_inputs, met
from chainrule.leaves import are_leaves
from chainrule.node import Node, OperationNode, apply
from chainrule.passes.products import Factor, Product
from chainrule.passes.stretches import UNKNOWN
from chainrule.program.nests import Numbers
from chainrule.program.recording import ABSENT, KNOWN, Row
from chainrule.tracing import PROGRESS
from chainrule.whole import WholeNode

from .indices import TracedArray
from .inputs import WholeArray

if TYPE_CHECKING:
    from .trace import Recorder

LEAST: Final = 2000
"""The multiplications below which a product is that of its elements."""

LEAST_WEIGHTS: Final = 200
"""The multiplications below which a layer's sums are traced term by term: the code is as fast.

From there on the loops of layers one after another would be found as one, with other lengths each
time, which is slow.
"""

FEW: Final = 4
"""So few sums are too: the code is faster."""


def product(recorder: Recorder, left: Any, right: Any) -> tuple[Any] | None:
    """The product of two arrays as ``numpy.matmul`` gives it; None where it has to be plain."""
    arrays = left, right
    if not all(isinstance(x, numpy.ndarray) and x.ndim for x in arrays):
        return None
    shapes = (1, *left.shape)[-max(2, left.ndim) :], (*right.shape, 1)[: max(2, right.ndim)]
    (*_, rows, terms), (*_, inner, columns) = shapes
    try:
        batch = numpy.broadcast_shapes(shapes[0][:-2], shapes[1][:-2])
    except ValueError:
        return None  # NumPy says what is wrong
    shape = (*batch, rows, columns)
    if inner != terms or math.prod(shape) * terms < LEAST:
        return None
    factors = [_factor(recorder, x, axes) for x, axes in zip(arrays, shapes, strict=True)]
    if any(x is None for x in factors) or not any(x.nodes for x in factors if x):
        return None
    found = objects(_recorded(recorder, factors, shape)).reshape(shape)
    found = found[..., 0] if right.ndim == 1 else found
    found = (found[..., 0] if right.ndim == 1 else found[..., 0, :]) if left.ndim == 1 else found
    return (found[()] if found.ndim == 0 else found.view(TracedArray),)


def weighted_sums(
    recorder: Recorder, rows: Sequence[list[Any]], starts: list[Any], values: Any
) -> tuple[list[Node]] | None:
    """``start + row[0] * values[0] + row[1] * values[1] + …`` for each of some rows, in this order.

    None where it has to be plain: if it is small, in a loop inside the trace, depends on what a
    transformation there differentiates by, or if rows and starts are not leaves at even distances
    among the program's inputs.
    """
    shape = len(rows), len(values)
    if len(rows) < FEW or math.prod(shape) < LEAST_WEIGHTS or recorder.iterations:
        return None
    level = recorder.level
    if not isinstance(values, (NodeArray, list)) and type(values) is not numpy.ndarray:
        return None
    array = objects(values) if isinstance(values, list) else values
    factor = _factor(recorder, array, (shape[1],)) if array.ndim == 1 else None
    leaves: list[Any] = []
    for row, start in zip(rows, starts, strict=True):
        leaves += row
        leaves.append(start)
    size = shape[0] * (shape[1] + 1)
    if factor is None or len(leaves) != size or not are_leaves(leaves):
        return None
    if max(met([*leaves, *factor.nodes])[0]) > level:
        return None
    recorded = recorder.recorded
    places = recorded.places_of(leaves)
    if places is None:
        return None
    places = places.reshape(shape[0], -1)
    weights, begins = places[:, :-1], places[:, -1]
    source, at = factor.source, factor.places
    operands: Numbers = numpy.empty(0, dtype=numpy.int64)
    if isinstance(source, str) and source == "given":
        operands = recorded.operands_of([*map(_plain, factor.elements.tolist())])
        inputs = recorded.inputs_of(operands)
        if inputs is not None and _steps(inputs) is not None:
            source, at, operands = "input", inputs, operands[:0]
    across, along, step = _steps(weights), _steps(at), _steps(begins)
    if across is None or along is None or step is None:
        return None
    left = Factor("input", int(weights[0, 0]), across)
    right = Factor(source, int(at[0]), (0, *along))
    start = Factor("input", int(begins[0]), step)
    product = Product(shape[:1], shape[1], [left, right], operands, level, start)
    numbers = [math.nan] * shape[0]
    if recorded.values:
        read = _numbers(objects(leaves)).reshape(places.shape)
        numbers = _sums(read[:, :-1], _numbers(factor.elements), read[:, -1])
    else:
        recorded.unknown = True
    _mark(recorder, product)
    nodes = fresh_inputs(numbers, level)
    _mark_results(recorder, nodes, numbers)
    return (nodes,)


def _sums(weights: Any, values: Any, starts: Any) -> list[float]:
    """Weighted sums of the run, with the terms in their order."""
    terms = weights * values
    with numpy.errstate(all="ignore"):
        sums = numpy.cumsum(numpy.concatenate([starts[:, None], terms], axis=1), axis=1)
    found: list[float] = sums[:, -1].tolist()
    return found


class _Factor(NamedTuple):
    """A factor.

    Attributes:
        source: as of the program's :class:`~chainrule.passes.products.Factor`.
        places: where its elements lie there.
        elements: numbers and nodes; of inputs that need no nodes, their values.
        nodes: those it depends on, or one of them if no transformation follows these.
    """

    source: Any
    places: Numbers
    elements: Any
    nodes: list[Node]


def _factor(recorder: Recorder, array: Any, shape: tuple[int, ...]) -> _Factor | None:
    """A factor as an array of a shape; None if it holds something else than numbers and nodes."""
    if type(array) is WholeArray and not recorder.iterations and not array.holds_indices():
        places = array.numbers().reshape(shape)
        if _steps(places) is not None:
            first = array[(0,) * array.ndim]
            return _Factor("input", places, array.values().reshape(shape), [first])
    places = numpy.arange(array.size).reshape(shape)
    if array.dtype.kind in "fiub":
        return _Factor(array.ravel().astype(numpy.float64), places, array.reshape(shape), [])
    elements = numpy.asarray(array).reshape(shape)
    listed = elements.ravel().tolist()
    kinds = set(map(type, listed))
    if any(issubclass(x, WholeNode) or not issubclass(x, (Node, float, int)) for x in kinds):
        return None
    nodes = [x for x in listed if isinstance(x, Node)]
    if not nodes:
        return _Factor(elements.ravel().astype(numpy.float64), places, elements, nodes)
    return _Factor("given", places, elements, nodes)


def _steps(places: Numbers) -> tuple[int, ...] | None:
    """The distances of neighbours along each axis; None if they differ."""
    first = places[(0,) * places.ndim]
    steps = [
        int(numpy.take(places, 1, axis).flat[0] - first) if length > 1 else 0
        for axis, length in enumerate(places.shape)
    ]
    grid = numpy.ogrid[tuple(slice(length) for length in places.shape)]
    even = first + sum(step * at for step, at in zip(steps, grid, strict=True))
    return tuple(steps) if numpy.array_equal(places, even) else None


def _recorded(recorder: Recorder, factors: Sequence[Any], shape: tuple[int, ...]) -> list[Node]:
    """Record a product; gives nodes of its elements."""
    recorded = recorder.recorded
    placed: list[Factor] = []
    given: list[Any] = []
    for factor, axis in zip(factors, (-1, -2), strict=True):
        steps = _steps(factor.places)
        assert steps is not None
        *batch, row, column = steps
        batch = [0] * (len(shape) - len(steps)) + batch
        first = int(factor.places.flat[0])
        if isinstance(factor.source, str) and factor.source == "given":
            first = len(given)
            given += factor.elements.ravel().tolist()
        strides = (row, 0, column) if axis == -1 else (0, column, row)
        placed.append(Factor(factor.source, first, (*batch, *strides)))
    operands = recorded.operands_of([*map(_plain, given)])
    level = next(reversed(PROGRESS.names))
    _mark(recorder, Product(shape, factors[0].places.shape[-1], placed, operands, level))
    if recorded.values:
        numbers = _values(factors, shape)
    else:
        recorded.unknown = True
        numbers = [math.nan] * math.prod(shape)
    nodes = _standing(recorder, factors, shape, numbers)
    _mark_results(recorder, nodes, numbers)
    return nodes


def _mark(recorder: Recorder, product: Product) -> None:
    """Note that a product is computed."""
    recorded = recorder.recorded
    number = len(recorded.loops)
    recorded.loops.append(product)
    recorded.mark(Row.LOOP, number)
    recorded.mark(Row.END_LOOP, number)
    recorded.ended += 1


def _mark_results(recorder: Recorder, nodes: list[Node], numbers: Sequence[float]) -> None:
    """Note the results of the product that was noted last; NaN for numbers that are not known."""
    recorded = recorder.recorded
    known = [KNOWN] * len(nodes)
    if recorded.values:
        known = [ABSENT if math.isnan(number) else KNOWN for number in numbers]
    recorded.mark_all(Row.RESULT, [*range(len(nodes))], known, nodes)


def _plain(x: Any) -> Any:
    return x if isinstance(x, Node) else float(x)


def _values(factors: Sequence[Any], shape: tuple[int, ...]) -> list[float]:
    """The values of the run: sums of terms, in their order."""
    left, right = [_numbers(x.elements) for x in factors]
    with numpy.errstate(all="ignore"):
        total = left[..., :, 0, None] * right[..., None, 0, :]
        for k in range(1, left.shape[-1]):
            total = total + left[..., :, k, None] * right[..., None, k, :]
    found: list[float] = numpy.broadcast_to(total, shape).ravel().tolist()
    return found


def _numbers(elements: Any) -> Any:
    """The numbers of nodes and numbers."""
    if elements.dtype != object:
        return elements.astype(numpy.float64)
    listed = [float(x._number if isinstance(x, Node) else x) for x in elements.ravel().tolist()]
    return numpy.array(listed).reshape(elements.shape)


def _standing(
    recorder: Recorder, factors: Sequence[Any], shape: tuple[int, ...], numbers: Sequence[float]
) -> list[Node]:
    """Nodes with some numbers for the elements: each depends on its row and its column."""
    level = recorder.level
    if not recorder.iterations and all(y._level <= level for x in factors for y in x.nodes):
        return fresh_inputs([*numbers], level)
    ways = []
    for factor, axis in zip(factors, (-1, -2), strict=True):
        if isinstance(factor.source, str) and factor.source == "input":
            ways.append(factor.nodes * math.prod(shape))
            continue
        lines = numpy.moveaxis(factor.elements, axis, -1)
        found = objects([_way(line) for line in lines.reshape(-1, lines.shape[-1]).tolist()])
        found = numpy.expand_dims(found.reshape(lines.shape[:-1]), axis)
        ways.append(numpy.broadcast_to(found, shape).ravel().tolist())
    nodes = [
        OperationNode(UNKNOWN, x, None, None, (x, *given))  # made often: nothing is to be checked
        if given[0] is not None is not given[1]
        else _depending(x, given)
        for x, given in zip(numbers, zip(*ways, strict=True), strict=True)
    ]
    if min(met([*nodes])[0], default=level) < level:
        for node in nodes:
            node._level = max(node._level, level)
    return nodes


def _way(line: Sequence[Any]) -> Node | None:
    """A node that depends on those of a line; None if there is none."""
    nodes = [x for x in line if isinstance(x, Node)]
    return _depending(math.nan, nodes) if nodes else None


def _depending(number: float, given: Sequence[Node | None]) -> Node:
    """What is computed of something."""
    operands = (number, *[x for x in given if x is not None])
    if len(operands) > 2:  # made often: nothing is to be checked
        return OperationNode(UNKNOWN, number, None, None, operands)
    return apply(UNKNOWN, operands) if len(operands) > 1 else Node(number)
