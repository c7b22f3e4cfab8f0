"""Which part of a composition of transformations runs at each lane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainrule.lanes import Vmap
from chainrule.transforms import Gradient, Jacobian, Transformed


def peeled(
    function: Callable[..., Any],
) -> tuple[Callable[..., Any], Vmap | None, list[Transformed]]:
    """What to do at each lane, the vmap that says what the lanes are, and what stands around it.

    Differentiation is linear: the derivative of a sum over lanes, by what they share, is the sum of
    the derivatives at each lane.
    """
    outer: list[Transformed] = []
    inner = function
    while isinstance(inner, (Gradient, Jacobian)):
        outer.append(inner)
        inner = inner.function
    if not isinstance(inner, Vmap) or (outer and not _linear(outer, inner)):
        return function, None, []
    point = inner.function
    for transformed in reversed(outer):
        point = transformed.around(point)
    return point, inner, outer


def _linear(outer: Sequence[Transformed], vmap: Vmap) -> bool:
    """Whether transformations of a vmap are those of each lane, added up."""
    if vmap.reduce is None:
        return False
    if any(isinstance(t, Gradient) and t.has_aux for t in outer):
        return False
    if len(outer) == 1 and isinstance(outer[0], Gradient):
        return True
    if isinstance(vmap.in_axes, int) or vmap.in_axes is None:
        return False
    for transformed in outer:
        argnums = transformed.argnums  # type: ignore[attr-defined]
        for i in [argnums] if isinstance(argnums, int) else argnums:
            if not 0 <= i < len(vmap.in_axes) or vmap.in_axes[i] is not None:
                return False
    return not any(isinstance(t, Jacobian) and t.sparse for t in outer)
