"""Arrays of comparisons, where a trace records them: combined and counted without a branch.

On floats a comparison gives an array of bools. In a trace it is an array of objects: of
:class:`~chainrule.comparing.ConditionNode` and bools. What NumPy does to arrays of bools is done
here to these; where only bools will do, each is asked for its truth, which is a guard.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

import numpy

from chainrule.comparing import ConditionNode, is_truth, negated
from chainrule.node import Node
from chainrule.tracing import PROGRESS


def are_recorded() -> bool:
    """Whether comparisons of arrays stay conditions: a trace records, and takes them so."""
    return PROGRESS.recorder is not None and PROGRESS.recorder.takes("conditions")


def hold(x: Any) -> bool:
    """Whether x is an array of conditions."""
    if not isinstance(x, numpy.ndarray) or x.dtype != object or not x.size:
        return False
    if type(x.item(0)) not in (ConditionNode, bool):
        return False
    kinds = set(map(type, x.ravel().tolist()))
    return ConditionNode in kinds and kinds <= {ConditionNode, bool}


def truths(x: Any) -> Any:
    """An array of the truth of each element."""
    return numpy.asarray(numpy.frompyfunc(_truth, 1, 1)(numpy.asarray(x))).astype(bool)


def _truth(x: Any) -> bool:
    return bool(x != 0) if isinstance(x, Node) else bool(x)


def plain(x: Any) -> Any:
    """What stands for an array of conditions where only bools will do; anything else as it is."""
    return truths(x.view(numpy.ndarray)) if hold(x) else x


def found(results: Any) -> Any:
    """What a comparison of arrays gives: bools if all are, or may not be anything else."""
    if not isinstance(results, numpy.ndarray):
        return results if isinstance(results, ConditionNode) else bool(results)
    return results if are_recorded() and hold(results) else truths(results)


def numbers(x: Any) -> Any:
    """An array with 1 and 0 for conditions; anything else as it is."""
    if not hold(x):
        return x
    return numpy.frompyfunc(lambda c: c + 0, 1, 1)(numpy.asarray(x)).view(type(x))


def _condition(x: Any) -> Any:
    """The truth of an element, without a branch."""
    if isinstance(x, ConditionNode):
        return x
    return x != 0 if isinstance(x, Node) else bool(x)


def of(x: Any) -> Any:
    """The truth of each element, without a branch."""
    return (
        x
        if isinstance(x, ConditionNode) or hold(x)
        else numpy.frompyfunc(_condition, 1, 1)(numpy.asarray(x))
    )


def _combining(combined: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda x, y: combined(_condition(x), _condition(y))


_AND: Final = numpy.frompyfunc(_combining(operator.and_), 2, 1, identity=True)
_OR: Final = numpy.frompyfunc(_combining(operator.or_), 2, 1, identity=False)
_XOR: Final = numpy.frompyfunc(_combining(operator.xor), 2, 1, identity=False)
_NOT: Final = numpy.frompyfunc(lambda x: negated(_condition(x)), 1, 1)

LOGICAL: Final = {
    numpy.logical_and: _AND,
    numpy.logical_or: _OR,
    numpy.logical_xor: _XOR,
    numpy.logical_not: _NOT,
}
"""Those that ask their operands for their truth."""

_OF_BOOLS: Final = {
    numpy.bitwise_and: _AND,
    numpy.bitwise_or: _OR,
    numpy.bitwise_xor: _XOR,
    numpy.invert: _NOT,
    numpy.add: _OR,
    numpy.multiply: _AND,
}
"""What other ufuncs do to arrays of bools."""

_COMPARISONS: Final = {
    numpy.less: numpy.frompyfunc(operator.lt, 2, 1),
    numpy.less_equal: numpy.frompyfunc(operator.le, 2, 1),
    numpy.greater: numpy.frompyfunc(operator.gt, 2, 1),
    numpy.greater_equal: numpy.frompyfunc(operator.ge, 2, 1),
}

COUNTED: Final = (numpy.add, numpy.multiply)
"""Those whose reductions take bools for numbers."""


def loop_over(ufunc: Any, method: str, operands: list[Any]) -> tuple[Any, list[Any], bool]:
    """The loop for a ufunc in a trace.

    Returns:
        the loop, or None for the one there is otherwise; the operands; whether it gives conditions.
    """
    if ufunc in _COMPARISONS:
        return _COMPARISONS[ufunc], operands, True
    if ufunc in LOGICAL:
        return LOGICAL[ufunc], operands, True
    if not any(map(hold, operands)):
        return None, operands, False
    if method != "__call__" and ufunc in COUNTED:
        return None, [numbers(x) for x in operands], False
    if not all(hold(x) or _is_bool(x) for x in operands):
        return None, operands, False
    if ufunc in _OF_BOOLS:
        return _OF_BOOLS[ufunc], operands, True
    return ufunc, [plain(x) for x in operands], False


def _is_bool(x: Any) -> bool:
    return x.dtype == bool if isinstance(x, numpy.ndarray) else is_truth(x)
