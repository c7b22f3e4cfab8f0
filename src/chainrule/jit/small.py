"""Calls with plain arguments, with as little as possible around the machine code.

A small function is called millions of times. Arguments that are floats, tuples and lists of them,
and plain static values are therefore compared with a pattern, their numbers go straight to the
code of the first step, and where one of its guards fails, to that of the step which goes on there.
What fits no pattern takes the general way.

These classes are the reference of those in C, ``_engine/dispatch.c``, which run where there is an
engine.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy

from chainrule import trees
from chainrule.annotations import ACTIVE
from chainrule.engine import ENGINE
from chainrule.tracebacks import keep_users_frames
from chainrule.tracing import PROGRESS

from .statics import EXACT

if TYPE_CHECKING:
    from .arguments import Leaf
    from .plan import Plan

SLOT: Final = float
"""What stands for a number in a pattern."""
MAX_DEPTH: Final = 16
"""Of tuples and lists in a pattern."""
MAX_SMALL: Final = 16
"""Kinds of plain arguments that a compiled function knows at a time."""

_DRIVER: Final = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


class _Step:
    """The machine code of a path.

    Args:
        driver: the address of the function that runs it.
        code: that of the table which describes it.
        n_inputs: how many numbers it takes.
        n_outputs: how many it gives.
        long_running: whether other threads may go on meanwhile.
        result: the pattern of the result, or a function that makes it of the list of the outputs.
        kept: what the code lives as long as.

    Attributes:
        following: by the status of a guard that failed, the step that goes on.
    """

    def __init__(
        self,
        driver: int,
        code: int,
        n_inputs: int,
        n_outputs: int,
        long_running: bool,
        result: Any,
        kept: Any,
    ) -> None:
        self.following: dict[int, _Step] = {}
        self._code = code
        self._driver = _DRIVER(driver)
        self._outputs = ctypes.c_double * max(n_outputs, 1)
        self._n_outputs = n_outputs
        self._result = result
        self._kept = kept

    def run(self, inputs: int) -> tuple[int, Any]:
        """The status and the outputs for inputs at an address."""
        outputs = self._outputs()
        return self._driver(self._code, inputs, ctypes.addressof(outputs)), outputs

    def result(self, outputs: Any) -> Any:
        """The tree of the outputs."""
        numbers = list(outputs[: self._n_outputs])
        if self._result is not SLOT and callable(self._result):
            return self._result(numbers)
        return _filled(self._result, iter(numbers))


class _SmallCall:
    """One kind of plain arguments.

    Args:
        pattern: of the arguments: a tuple of slots, static values, tuples and lists.
        first: the step it begins with.
        looks: pairs of a function and the object that it has to give, or something has changed.
        changed: a function that tells whether anything else has changed, or None.
        plan: what it was made of.
    """

    def __init__(
        self,
        pattern: tuple[Any, ...],
        first: _Step,
        looks: tuple[tuple[Callable[[], Any], Any], ...],
        changed: Callable[[], bool] | None,
        plan: Plan,
    ) -> None:
        self.first = first
        self.plan = plan
        self._pattern = pattern
        self._looks = looks
        self._changed = changed

    def __call__(self, args: tuple[Any, ...]) -> Any:
        """The result; None if the arguments are of another kind, or no step goes on."""
        numbers: list[float] = []
        if not _matches(self._pattern, args, numbers) or self._has_changed():
            return None
        inputs = (ctypes.c_double * max(len(numbers), 1))(*numbers)
        step: _Step | None = self.first
        while step is not None:
            status, outputs = step.run(ctypes.addressof(inputs))
            if status == 0:
                return step.result(outputs)
            step = step.following.get(status)
        return None

    def _has_changed(self) -> bool:
        try:
            if any(look() is not value for look, value in self._looks):
                return True
        except Exception:  # it is not there any more
            return True
        return self._changed is not None and self._changed()


def _matches(pattern: Any, x: Any, numbers: list[float]) -> bool:
    """Whether an argument fits a pattern; its numbers go to a list."""
    if pattern is SLOT:
        if type(x) is not float and type(x) is not numpy.float64:
            return False
        numbers.append(float(x))
        return True
    if type(x) is not type(pattern):
        return False
    if type(pattern) not in (tuple, list):
        return bool(x == pattern)
    return len(x) == len(pattern) and all(
        _matches(part, y, numbers) for part, y in zip(pattern, x, strict=True)
    )


def _filled(pattern: Any, numbers: Any) -> Any:
    """The tree of a pattern that holds some numbers."""
    if pattern is SLOT:
        return next(numbers)
    return type(pattern)([_filled(part, numbers) for part in pattern])


class _Dispatch:
    """What a compiled function is called by.

    Attributes:
        calls: how often it was called.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._small: list[Any] = []

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """The result for these arguments."""
        try:
            if not kwargs and not ACTIVE.contexts and not PROGRESS.names:
                for small in list(self._small):
                    result = small(args)
                    if result is not None:
                        self.calls += 1
                        return result
            return self._general(args, kwargs)
        except BaseException as error:  # not a boundary, which costs a call
            keep_users_frames(error)
            raise

    def _general(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result, whatever the arguments are."""
        raise NotImplementedError


if ENGINE is None or TYPE_CHECKING:
    Step = _Step
    SmallCall = _SmallCall
    Dispatch = _Dispatch
else:
    Step = ENGINE.Step
    SmallCall = ENGINE.SmallCall
    Dispatch = ENGINE.Dispatch
    ENGINE.set_dispatch_hooks(PROGRESS, numpy.float64)


def pattern_of_arguments(structure: Any, leaves: Sequence[Leaf]) -> Any:
    """The pattern of positional arguments; None if they are not plain.

    Args:
        structure: of positional and keyword arguments.
        leaves: what the key keeps of each leaf.
    """
    parts = []
    for leaf in leaves:
        if leaf.kind == "number":
            parts.append(SLOT)
        elif leaf.is_exact:
            parts.append(leaf.value[1])
        else:
            return None
    args, kwargs = trees.unflatten(structure, parts)
    return args if not kwargs and _is_plain(args) else None


def pattern_of_result(layout: trees.Layout) -> Any:
    """The pattern of a result, or the function that makes it of a list of numbers."""
    if not layout.truths and all(shape is None for shape in layout.shapes):
        tree = trees.unflatten(layout.structure, [SLOT] * len(layout.shapes))
        if _is_plain(tree):
            return tree
    return layout.unflatten


def _is_plain(tree: Any, depth: int = 0) -> bool:
    """Whether a tree is made of tuples and lists alone."""
    if type(tree) in (tuple, list):
        return depth < MAX_DEPTH and all(_is_plain(part, depth + 1) for part in tree)
    return tree is SLOT or type(tree) in EXACT
