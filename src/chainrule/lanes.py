"""vmap: one function at many points, the lanes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy
import optree

from chainrule import trees
from chainrule.arrays import NodeArray, is_masked
from chainrule.carries import Carry, Columns, Stack
from chainrule.keywords import with_nearest_names
from chainrule.rules import described
from chainrule.sparse import refuse_stacking
from chainrule.tracebacks import boundary
from chainrule.tracing import PROGRESS, NotCompilable, Recorder
from chainrule.transforms import Transformed, handed_to

MAX_UNROLLED = 100_000
"""The lanes that a trace takes one after another where vmap is not outermost, and they differ."""
LEAST_LOOP = 8
"""The lanes from which on such a vmap is a loop whose body is traced once."""

Reduction = Literal["sum", "mean"] | None


class Vmap(Transformed):
    """What :func:`vmap` returns."""

    name = "vmap"

    def __init__(
        self, function: Callable[..., Any], in_axes: Any, out_axes: int, reduce: Reduction
    ) -> None:
        super().__init__(function)
        if reduce not in (None, "sum", "mean"):
            raise ValueError(f'vmap: reduce is None, "sum" or "mean", not {described(reduce)}')
        if not isinstance(out_axes, int) or isinstance(out_axes, bool):
            raise TypeError(f"vmap: out_axes is a whole number, not {described(out_axes)}")
        self.in_axes = tuple(in_axes) if isinstance(in_axes, list) else in_axes
        self.out_axes = out_axes
        self.reduce = reduce

    def axes_of(
        self, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[list[Any], Any, list[int | None]]:
        """The leaves of the arguments, their structure, and the axis of lanes of each.

        Raises:
            TypeError: if an axis is no whole number or None, or a leaf with lanes is no array.
            ValueError: if in_axes does not fit the arguments, or an array has no such axis.
        """
        if isinstance(self.in_axes, tuple) and len(self.in_axes) != len(args):
            raise ValueError(
                f"vmap: in_axes {self.in_axes} is for {len(self.in_axes)} arguments, but"
                f" {len(args)} were given"
            )
        leaves, _ = trees.leaves_of(tuple(args))
        if self.in_axes is None or isinstance(self.in_axes, int):
            axes: list[Any] = [self.in_axes] * len(leaves)
        else:
            try:
                prefix: Any = self.in_axes
                full: Any = tuple(args)
                axes = optree.broadcast_prefix(
                    prefix, full, none_is_leaf=True, namespace="chainrule"
                )
            except ValueError as error:
                raise ValueError(
                    f"vmap: in_axes {self.in_axes} does not fit the arguments: {error}"
                ) from None
        for leaf, axis in zip(leaves, axes, strict=True):
            if axis is None:
                continue
            if not isinstance(axis, int) or isinstance(axis, bool):
                raise TypeError(f"vmap: an axis is a whole number or None, not {described(axis)}")
            if is_masked(leaf):
                raise TypeError("vmap: lanes of a masked array would lose the mask; use .filled()")
            if not isinstance(leaf, numpy.ndarray):
                raise TypeError(
                    f"vmap: an argument with lanes is an array with an axis {axis}, not"
                    f" {described(leaf)}; give its place in in_axes as None if all lanes share it"
                )
            if not -leaf.ndim <= axis < leaf.ndim:
                raise ValueError(
                    f"vmap: in_axes names axis {axis} of an array of shape {leaf.shape}"
                )
        leaves, structure = trees.leaves_of((tuple(args), kwargs))
        return leaves, structure, axes + axes_by_keyword(leaves[len(axes) :])

    def lanes_of(self, leaves: Sequence[Any], axes: Sequence[int | None]) -> int:
        """How many lanes there are.

        Raises:
            ValueError: if no argument has lanes, or their numbers differ.
        """
        lengths = {
            leaf.shape[axis] for leaf, axis in zip(leaves, axes, strict=True) if axis is not None
        }
        if not lengths:
            raise ValueError("vmap: in_axes names no axis in any argument")
        if len(lengths) > 1:
            shapes = ", ".join(
                f"{leaf.shape[axis]} (axis {axis} of shape {leaf.shape})"
                for leaf, axis in zip(leaves, axes, strict=True)
                if axis is not None
            )
            raise ValueError(f"vmap: the arguments have different numbers of lanes: {shapes}")
        (length,) = lengths
        return int(length)

    @boundary
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The results of all lanes, stacked or added up; computed one lane after another."""
        leaves, structure, axes = self.axes_of(args, kwargs)
        lanes = self.lanes_of(leaves, axes)
        if lanes == 0:
            raise ValueError("vmap: the arguments have no lanes (an axis of length 0)")
        if lanes >= LEAST_LOOP and PROGRESS.recorder is not None:
            looped = self._traced_once(leaves, structure, axes, lanes)
            if looped is not None:
                return looped[0]
        if lanes > MAX_UNROLLED and PROGRESS.recorder is not None:
            raise NotCompilable(
                f"a vmap of {lanes} lanes inside a formula would be unrolled; vmap the whole"
                " function, or compile the vmap on its own"
            )
        results = []
        layout = None
        for lane in range(lanes):
            point = [
                leaf if axis is None else lane_of(leaf, axis, lane)
                for leaf, axis in zip(leaves, axes, strict=True)
            ]
            own_args, own_kwargs = trees.unflatten(structure, point)
            result = handed_to(self._function, own_args, own_kwargs, "vmap: the function")
            if layout is None:
                refuse_stacking(result)
            values, found = trees.flatten(result, "vmap: the function's result", truths=True)
            if layout is None:
                layout = found
            elif found != layout:
                raise ValueError(
                    "vmap: the function's result must have one structure and shape for all"
                    f" lanes; lane {lane} gave {found}, lane 0 {layout}"
                )
            results.append(values)
        assert layout is not None
        return self._stacked(results, layout)

    def _traced_once(
        self, leaves: Sequence[Any], structure: Any, axes: Sequence[int | None], lanes: int
    ) -> tuple[Any] | None:
        """The result of a loop over the lanes that a trace records; None for lane by lane."""
        recorder = PROGRESS.recorder
        assert recorder is not None
        along = {i: axis for i, axis in enumerate(axes) if axis is not None}
        rows = [
            leaves[i] if axis == 0 else numpy.moveaxis(leaves[i], axis, 0)
            for i, axis in along.items()
        ]
        point = list(leaves)

        def at_lane(_: Any, row: Sequence[Any]) -> tuple[Any, Any]:
            for i, x in zip(along, row, strict=True):
                point[i] = x
            own_args, own_kwargs = trees.unflatten(structure, point)
            result = handed_to(self._function, own_args, own_kwargs, "vmap: the function")
            values, layout = trees.flatten(result, "vmap: the function's result")
            return (), layout.unflatten(values)

        def plus(totals: Any, row: Any) -> tuple[Any, Any]:
            return [total + x for total, x in zip(totals, row, strict=True)], ()

        found = _loop(recorder, at_lane, (), rows)
        if found is None:
            return None
        arrays, layout = trees.leaves_of(found[1])
        if self.reduce is not None:
            found = _loop(recorder, plus, [x[0] for x in arrays], [x[1:] for x in arrays])
            assert found is not None
            by = lanes if self.reduce == "mean" else 1
            return (trees.unflatten(layout, [x / by if by > 1 else x for x in found[0]]),)
        return (trees.unflatten(layout, [move_lanes(x, self.out_axes) for x in arrays]),)

    def _stacked(self, results: list[list[Any]], layout: trees.Layout) -> Any:
        lanes = len(results)
        if self.reduce is not None:
            totals = results[0]
            for values in results[1:]:
                totals = [total + value for total, value in zip(totals, values, strict=True)]
            if self.reduce == "mean":
                totals = [total / lanes for total in totals]
            return dataclasses.replace(layout, truths=frozenset()).unflatten(totals)
        leaves = []
        start = 0
        for i, shape in enumerate(layout.shapes):
            size = trees.size_of(shape)
            column = [value for values in results for value in values[start : start + size]]
            start += size
            stacked = trees.array_of(column, (lanes, *(shape or ())))
            if i in layout.truths and PROGRESS.recorder is None:
                stacked = trees.truth_of(stacked)
            leaves.append(move_lanes(stacked, self.out_axes))
        return trees.unflatten(layout.structure, leaves)


def _loop(recorder: Recorder, body: Any, init: Any, rows: Sequence[Any]) -> Any:
    """The last carry of a loop and what its iterations leave."""
    columns = Columns(rows, None, "vmap")
    return recorder.loop("scan", body, init, Carry(init, "vmap"), columns, Stack("vmap"), False)


def axes_by_keyword(leaves: Sequence[Any]) -> list[int | None]:
    """The axes of leaves of keyword arguments: 0 for arrays; all lanes share what has no axes."""
    return [0 if isinstance(leaf, numpy.ndarray) and leaf.ndim else None for leaf in leaves]


def move_lanes(stacked: Any, axis: int) -> Any:
    """An array whose first axis is the lanes, with that axis moved.

    Raises:
        ValueError: if the array has no such axis.
    """
    if axis == 0:
        return stacked
    if not -stacked.ndim <= axis < stacked.ndim:
        raise ValueError(
            f"vmap: out_axes names axis {axis} of a result of {stacked.ndim} axes, lanes included"
        )
    return numpy.moveaxis(stacked, 0, axis)


def lane_of(array: Any, axis: int, lane: int) -> Any:
    """One lane of an array; a plain number or node if nothing else is left."""
    if array.dtype == object and not isinstance(array, NodeArray):
        array = array.view(NodeArray)
    found = array[(*(slice(None),) * (axis % array.ndim), lane)]
    if isinstance(found, numpy.ndarray) and found.ndim:
        return found
    return found.item() if isinstance(found, (numpy.generic, numpy.ndarray)) else found


@with_nearest_names
def vmap(
    f: Callable[..., Any],
    in_axes: Any = 0,
    out_axes: int = 0,
    *,
    reduce: Reduction = None,
) -> Vmap:
    """A function at many points at once, the lanes.

    Eagerly it computes one lane after another; compiled, many at a time in the CPU's vectors.

    Args:
        f: a function of one point.
        in_axes: for each argument the axis of its arrays that runs over the lanes, or None where
            all lanes share it; one number for all; or trees of them that fit the arguments.
            Arrays given by keyword have the lanes along axis 0, as in JAX; all lanes share what
            else is given by keyword.
        out_axes: where the axis of lanes goes in the results.
        reduce: "sum" or "mean" to add the lanes up.

    Raises:
        ValueError: when called, if the arguments have no lanes or different numbers of them.
    """
    return Vmap(f, in_axes, out_axes, reduce)
