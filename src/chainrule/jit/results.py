"""The result of a call over lanes, put together from sums and arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainrule import trees
from chainrule.array_elements import objects
from chainrule.lanes import move_lanes


class LaneResult:
    """Where the numbers of a result over lanes are.

    Args:
        layout: of the result at one lane.
        axes: for each of its leaves the axis of the lanes; None if they are added up.
        n_nodes: by how many nodes the result is differentiated as well.

    Attributes:
        added: for each output of the kernel whether it is added up over the lanes: the result's
            numbers, then their derivatives by the nodes; empty if none is.
        kept: the shapes of the arrays over the lanes, at one of them: one for each leaf that is not
            added up, then one for the derivatives of all of these.
    """

    def __init__(self, layout: trees.Layout, axes: Sequence[int | None], n_nodes: int) -> None:
        self._layout = layout
        self._axes = axes
        self._sizes = [trees.size_of(shape) for shape in layout.shapes]
        self.n_nodes = n_nodes
        flags = [
            axis is None for axis, size in zip(axes, self._sizes, strict=True) for _ in range(size)
        ]
        self._n_sums = sum(flags)
        truths = [i in layout.truths for i in range(len(axes))]
        self._leaves = [*zip(layout.shapes, self._sizes, axes, truths, strict=True)]
        every = flags + [flag for flag in flags for _ in range(n_nodes)]
        self.added = tuple(every) if any(flags) else ()
        self.kept = [
            shape or () for shape, axis in zip(layout.shapes, axes, strict=True) if axis is not None
        ]
        if n_nodes and self.kept:
            self.kept.append(((len(flags) - self._n_sums) * n_nodes,))
        self._as_it_is = not (n_nodes or layout.truths or any(axes)) and None not in axes

    def assembled(
        self,
        sums: Any,
        arrays: Sequence[Any],
        as_nodes: Callable[[list[Any], Any], list[Any]] | None,
    ) -> Any:
        """The result.

        Args:
            sums: the outputs that were added up.
            arrays: the others: see ``kept``.
            as_nodes: makes nodes of numbers and the rows of their derivatives, if there are any.
        """
        structure = self._layout.structure
        if self._as_it_is:
            return trees.unflatten(structure, arrays)
        rows = slopes = None
        if as_nodes is not None:
            rows = None if sums is None else sums[self._n_sums :].reshape(-1, self.n_nodes)
            if self.kept:
                *arrays, slopes = arrays
        remaining = iter(arrays)
        leaves: list[Any] = []
        at_sum = at_slope = 0
        for shape, size, axis, truth in self._leaves:
            if axis is None:
                values = sums[at_sum : at_sum + size]
                if as_nodes is not None:
                    assert rows is not None
                    made = as_nodes(values.tolist(), rows[at_sum : at_sum + size])
                    leaves.append(made[0] if shape is None else trees.array_of(made, shape))
                else:
                    array = values.item() if shape is None else values.reshape(shape)
                    is_most = shape and 2 * size >= len(sums)
                    leaves.append(array if shape is None or is_most else array.copy())
                at_sum += size
                continue
            array = next(remaining)
            if as_nodes is not None:
                assert slopes is not None
                stop = at_slope + size * self.n_nodes
                own = slopes[:, at_slope:stop].reshape(-1, self.n_nodes)
                at_slope = stop
                made = as_nodes(array.ravel().tolist(), own)
                array = objects(made).reshape(array.shape)
            if truth:
                array = trees.truth_of(array)
            leaves.append(move_lanes(array, axis))
        return trees.unflatten(structure, leaves)
