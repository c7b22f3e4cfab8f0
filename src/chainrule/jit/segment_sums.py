"""Segment sums: values added up by the numbers of the segments they belong to."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy

from chainrule.arrays import NodeArray
from chainrule.node import Node
from chainrule.tracebacks import boundary
from chainrule.transforms import grad

from .indices import IndexNode, is_whole, take


@boundary
def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None) -> Any:
    """The sums of the elements, or rows, of each segment.

    Compiled, with numbers of segments that are data, each element is added where it belongs, at the
    cost of one addition.

    Args:
        data: an array or list of numbers and nodes; its first axis runs along ``segment_ids``.
        segment_ids: whole numbers, from 0 on, or negative ones, which count from the end.
        num_segments: how many there are; by default one more than the largest number, which must
            not be data then.

    Returns:
        An array: the sums of the segments, 0 for those without elements.

    Raises:
        IndexError: if there is no such segment.
        ValueError: if there are not as many numbers as elements.
        TypeError: if the numbers are no whole numbers.
    """
    values, numbers = numpy.asanyarray(data), numpy.asarray(segment_ids).view(numpy.ndarray)
    if numbers.ndim != 1 or values.shape[:1] != numbers.shape:
        raise ValueError(
            f"segment_sum takes a number for each element, not numbers of shape {numbers.shape} for"
            f" data of shape {values.shape}"
        )
    ids = numbers.tolist()
    if not all(map(is_whole, ids)):
        raise TypeError("segment_sum takes whole numbers as numbers of segments")
    traced = any(isinstance(k, Node) for k in ids)
    if num_segments is None:
        if traced:
            raise TypeError("segment_sum needs num_segments where numbers of segments are data")
        num_segments = max(ids, default=-1) + 1
    rows = values.reshape(len(ids), prod(values.shape[1:]))
    sums = _of_data if traced else _of_numbers
    columns = [sums(rows[:, j].tolist(), ids, num_segments) for j in range(rows.shape[1])]
    found = numpy.stack(columns, axis=1) if columns else numpy.zeros((num_segments, 0))
    found = found.reshape(num_segments, *values.shape[1:])
    return found.view(NodeArray) if found.dtype == object else found


def _of_numbers(column: list[Any], ids: list[int], count: int) -> Any:
    sums: list[Any] = [0.0] * count
    for x, k in zip(column, ids, strict=True):
        if not -count <= k < count:
            raise IndexError(f"there is no segment {k} of {count}")
        sums[k] = sums[k] + x
    return numpy.array(sums)


def _of_data(column: list[Any], ids: list[IndexNode], count: int) -> Any:
    """By what adding does to derivatives: it is what looking up becomes, the other way round."""

    def products(table: Any) -> Any:
        return sum([x * take(table, k) for x, k in zip(column, ids, strict=True)], start=0.0)

    return grad(products)(numpy.zeros(count))
