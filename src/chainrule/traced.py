"""Traced values: which nodes a transformation follows, and the error where one would leave it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chainrule import rules
from chainrule.tracing import PROGRESS, TracedValueError, has_ended, name_of

if TYPE_CHECKING:
    from chainrule.node import Node

TO_CONSTANT: Final = "write stop_gradient(x) to treat it as constant"
USE_GRAD: Final = "use grad or value_and_grad for derivatives inside"
USE_OUTSIDE: Final = "call the function on nodes, outside, to see its graph"
USE_EQUAL: Final = "sets and dicts look up by hash; compare it with == instead"
AS_TEXT: Final = "leave the format out for a text without the value"


def followed(node: Node) -> bool:
    """Whether a transformation, or a trace in this thread, follows the node's value.

    Where nothing is recorded, the values of stop_gradient are constants.
    """
    if PROGRESS.recorder is not None:
        return True
    stopped = node._operation is rules.stop_gradient
    return node._level > 0 and (not stopped or has_ended(node._level))


def recorded(level: int) -> bool:
    """Whether a comparison at a level is part of a trace."""
    return PROGRESS.recorder is not None and not 0 < level < PROGRESS.recorded_level


def leaving(node: Node, what: str, instead: str = TO_CONSTANT) -> TracedValueError:
    """The error for a traced value that would leave the graph."""
    from chainrule.advice import users_place

    if has_ended(node._level):
        why = "it is used outside the transformation it belongs to, which has ended"
    else:
        why = (
            f"inside {name_of(node._level)} that would lose its dependence on the inputs; {instead}"
        )
    return TracedValueError(f"{what} a traced value at {users_place()}: {why}")
