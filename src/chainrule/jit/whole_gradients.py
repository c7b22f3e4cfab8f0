"""Gradients that are those of whole programs: what a trace gives is differentiated, not a part.

The outermost transformation of a trace needs no inputs of its own where it is a gradient by what
the trace is handed: the function runs on that, and its program is differentiated. No nodes are made
for it, so that loops may read whole arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy

from chainrule import trees
from chainrule.node import Node
from chainrule.passes.gradients import with_gradients
from chainrule.program.form import Program
from chainrule.program.nests import Numbers
from chainrule.tracing import PROGRESS
from chainrule.transforms import Gradient, handed_to

from .indices import IndexArray
from .inputs import WholeArray

if TYPE_CHECKING:
    from .recorded import Recorded
    from .trace import Recorder


class WholeGradient(NamedTuple):
    """The gradient that a trace gives.

    Attributes:
        value: what is differentiated.
        places: the inputs by which.
        valued: whether the trace gives the value too.
    """

    value: Node
    places: Numbers
    valued: bool

    def of(self, program: Program) -> Program:
        """A program that gives it, from one that gives the value."""
        return with_gradients(program, self.places, self.valued)


def gradient(
    recorder: Recorder,
    transformation: Gradient,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    argnums: int | Sequence[int],
) -> tuple[Any] | None:
    """What a gradient gives as an outermost transformation; None where it must be a segment.

    Args:
        recorder: of the trace.
        transformation: it.
        args: its arguments,
        kwargs: and those by name.
        argnums: by which of them is differentiated, counted from 0.
    """
    recorded = recorder.recorded
    if not recorded.derives or len(PROGRESS.names) > 1 or transformation.has_aux:
        return None
    by = args[argnums] if isinstance(argnums, int) else tuple([args[i] for i in argnums])
    leaves, structure = trees.leaves_of(by)
    if not any(type(x) is WholeArray for x in leaves):
        return None
    found = [_places(recorded, x) for x in leaves]
    places = numpy.concatenate([[-1] if x is None else x for x in found])
    if places.min() < 0 or numpy.bincount(places).max() > 1:
        return None
    recorded.derives = False  # what is derived in the function is not what the trace gives
    result = handed_to(transformation.function, args, kwargs, transformation.name)
    value, layout = trees.flat(result) or trees.flatten(result, "")
    if not layout.is_number or not isinstance(value[0], Node) or value[0]._level < recorder.level:
        recorder.make_plain("gradient")
    recorder.gradient = WholeGradient(value[0], places, transformation.value)
    shapes = [None if isinstance(x, Node) else x.shape for x in leaves]
    parts = [trees.Operands(x, shape) for x, shape in zip(found, shapes, strict=True)]
    made = trees.unflatten(structure, parts)
    return ((value[0], made) if transformation.value else made,)


def _places(recorded: Recorded, leaf: Any) -> Numbers | None:
    """Which inputs of the trace a leaf holds; None if it holds anything else."""
    if type(leaf) is WholeArray and not leaf.holds_indices():
        return leaf.numbers().ravel()
    if isinstance(leaf, numpy.ndarray):
        if leaf.dtype != object or not leaf.size or isinstance(leaf, IndexArray):
            return None
        nodes = leaf.ravel().tolist()
    else:
        nodes = [leaf]
    numbers = [recorded.input_of(x) if isinstance(x, Node) else None for x in nodes]
    return None if None in numbers else numpy.array(numbers)
