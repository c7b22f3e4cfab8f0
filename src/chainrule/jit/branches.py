"""Branches of :func:`chainrule.lax.cond` in loops of which one iteration is traced.

Both functions run, and ``where`` picks what they give: which one counts may be another in each
iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

from chainrule.carries import is_numeric, kind_of, leaves_of, shaped, values_in
from chainrule.comparing import ConditionNode
from chainrule.node import Node
from chainrule.passes.stretches import UNKNOWN
from chainrule.picks import chosen
from chainrule.program.recording import LOOKUP, TABLE
from chainrule.rules import Operation

if TYPE_CHECKING:
    from .trace import Recorder

SAFE: Final = (UNKNOWN, TABLE, LOOKUP)
"""Loops, of which the rows say it, and look-ups, which read no element that is not there."""


def traced_cond(
    recorder: Recorder, condition: Any, if_so: Callable[[], Any], if_not: Callable[[], Any]
) -> tuple[Any] | None:
    """What one of two functions gives, in a tuple.

    Args:
        recorder: of the trace.
        condition: picks the first.
        if_so: the first.
        if_not: the second.

    Returns:
        None where only one may run.

    Raises:
        Plain: if the trace must start anew with branches that are paths.
    """
    if not recorder.iterations or not isinstance(condition, ConditionNode):
        return None
    asked, rows = (len(recorder.recorded.guards), recorder.printed), recorder.recorded.rows
    iteration = recorder.iterations[-1]
    masked, iteration.masked = iteration.masked, True
    trees = []
    for side in (if_so, if_not):
        before = {**iteration.failed}
        trees.append(leaves_of(side()))
        iteration.count_failed(before, condition, holds=side is if_so)
    iteration.masked = masked
    if asked != (len(recorder.recorded.guards), recorder.printed):
        recorder.make_plain("cond")
    (one, structure), (other, other_structure) = trees
    kinds = [*map(kind_of, one)]
    alike = structure == other_structure and kinds == [*map(kind_of, other)]
    if not alike or None in kinds or not all(map(is_numeric, kinds)):
        recorder.make_plain("cond")
    pairs = [*zip(values_in(one), values_in(other), strict=True)]
    in_loops = recorder.recorded.may_raise(rows)
    if in_loops or any(may_raise(x, condition, SAFE) for pair in pairs for x in pair):
        recorder.make_plain("cond")
    picked = [x if x is y else chosen(condition, x, y) for x, y in pairs]
    return (structure.unflatten(shaped(kinds, picked)),)


def may_raise(x: Any, since: Node, but: Collection[Operation] = ()) -> bool:
    """Whether a value that is younger than a node takes an operation that may not run in vain.

    Args:
        x: the value.
        since: the node.
        but: operations that may.
    """
    waiting = [x]
    seen: set[int] = set()
    for y in waiting:
        if isinstance(y, tuple):
            waiting += y
        if not isinstance(y, Node) or y._serial <= since._serial or id(y) in seen:
            continue
        seen.add(id(y))
        operation = y._operation
        if operation is not None and operation not in but and operation.can_raise:
            return True
        waiting += y.operands
    return False
