"""What may be used where it may be in vain: looked at when it is."""

from __future__ import annotations

import math as python_math
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any, Final, NamedTuple

import numpy

from chainrule import math, picks, sorting
from chainrule.comparing import ConditionNode
from chainrule.jit.indices import taken
from chainrule.node import BinaryOpNode, Node, OperationNode
from chainrule.transforms import Gradient, grad, value_and_grad

from . import lookups
from .known import Known

_PACKAGE: Final = __name__.partition(".")[0] + "."
_FUNCTIONS: Final = (FunctionType, BuiltinFunctionType, type, numpy.ufunc)
_VALUES: Final = frozenset(
    {
        *(float, int, bool, complex, str, bytes, type(None), type(...), tuple, list, dict, set),
        *(frozenset, range, slice, numpy.ndarray, ModuleType, numpy.float64, numpy.int64),
        numpy.bool_,
    }
)
"""Whose operators have no effect."""

SCALARS: Final = frozenset(
    {float, int, bool, str, type(None), numpy.float64, Node, OperationNode, BinaryOpNode}
)
"""The most frequent of these, and of nodes, that hold nothing."""

MAKING: Final = (enumerate, reversed, zip)
"""What makes something that is used up: it may be gone through where it is made, and only there."""

_VIEWS: Final = tuple(map(type, ({}.keys(), {}.values(), {}.items())))

_PLAIN: Final = (
    *(FunctionType, staticmethod, classmethod, MemberDescriptorType),
    type(NamedTuple("_Pair", [("first", int)]).first),  # type: ignore[attr-defined]
)
"""What an attribute of a class may be that runs no code where it is read."""

_READING: Final[tuple[Any, ...]] = tuple(
    x.__getattribute__ for x in (object, tuple, list, dict, float, int, str)
)
_BUILTINS: Final = (
    *(abs, all, any, bool, dict, divmod, enumerate, float, int, isinstance, len, list, max, min),
    *(pow, range, reversed, round, sorted, sum, tuple, zip),
)
_METHODS: Final[dict[type, frozenset[str]]] = {
    list: frozenset(["copy", "count", "index"]),
    tuple: frozenset(["count", "index"]),
    dict: frozenset(["get", "items", "keys", "values", "copy"]),
    numpy.ndarray: frozenset(
        [
            *("sum", "mean", "dot", "copy", "reshape", "ravel", "flatten", "max", "min", "prod"),
            *("cumsum", "transpose", "tolist"),
        ]
    ),
}
_ARRAYS: Final[tuple[Any, ...]] = (
    *(numpy.all, numpy.any, numpy.arange, numpy.array, numpy.asarray, numpy.clip),
    *(numpy.concatenate, numpy.copy, numpy.cumprod, numpy.cumsum, numpy.diff, numpy.dot),
    *(numpy.empty, numpy.eye, numpy.full, numpy.full_like, numpy.inner, numpy.linspace),
    *(numpy.max, numpy.mean, numpy.min, numpy.ones, numpy.ones_like, numpy.outer, numpy.prod),
    *(numpy.stack, numpy.sum, numpy.where, numpy.zeros, numpy.zeros_like),
)


def _pure() -> set[int]:
    functions: list[Any] = [*_BUILTINS, picks.max_of, picks.min_of, picks.any_of, picks.all_of]
    functions += [sorting.sorted_of, grad, value_and_grad, taken, *lookups.ROUNDING.values()]
    for module in (math, python_math):
        functions += [x for x in vars(module).values() if callable(x) and _is_of_math(x)]
    return {id(x) for x in (*functions, *_ARRAYS)}


def _is_of_math(x: Any) -> bool:
    """Whether something that a module of mathematics names is not imported from elsewhere."""
    return str(getattr(x, "__module__", "")).startswith((_PACKAGE, "math"))


_PURE: Final = _pure()
_INPUTS: Final = {"where": 3, "clip": 3, "dot": 2, "inner": 2, "outer": 2, "full_like": 2}
"""How many arguments of NumPy's functions may be arrays that are read; of others it is one."""
_ASIDE: Final = (len, isinstance, list, tuple, zip, enumerate, reversed)
"""What does nothing with what is in its arguments."""


def is_value(x: Any) -> bool:
    """Whether operators and iteration have no effect on something."""
    kind = type(x)
    if kind in _VALUES or issubclass(kind, Node):
        return kind in _VALUES or kind.__module__.startswith(_PACKAGE)
    if issubclass(kind, numpy.ndarray):
        return kind.__module__.startswith((_PACKAGE, "numpy"))
    return isinstance(x, (*_FUNCTIONS, MethodType, Known, Gradient)) or id(x) in _PURE


def is_pure(function: Any) -> bool:
    """Whether a call of something known has no effect."""
    if id(function) in _PURE:
        return True
    if isinstance(function, numpy.ufunc):  # one of a Python function is of objects alone
        return any("O" not in kinds for kinds in function.types)
    owner = getattr(function, "__self__", None)
    if isinstance(function, BuiltinFunctionType) and owner is not None:
        for kind, names in _METHODS.items():
            if isinstance(owner, kind) and is_value(owner):
                return function.__name__ in names
    return False


def why_not_of(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> str:
    """Why a call of something pure may have an effect, by its arguments; "" if it has none."""
    if options.get("key") is not None:
        return "a key may have an effect"
    arrays = len(args)
    if isinstance(function, numpy.ufunc):
        arrays = function.nin
    elif isinstance(getattr(function, "__self__", None), numpy.ndarray):
        arrays = _INPUTS.get(function.__name__, 1) - 1
    elif str(getattr(function, "__module__", "")).startswith("numpy"):
        arrays = _INPUTS.get(function.__name__, 1)
    given = [options.get("out"), *args[arrays:]]
    if any(isinstance(x, (numpy.ndarray, tuple)) and not _is_shape(x) for x in given):
        return "an array is assigned"
    if any(function is x for x in _ASIDE):
        return ""
    return "" if all(map(holds_values, args)) else "an argument may run code"


def _is_shape(x: Any) -> bool:
    return isinstance(x, tuple) and all(type(y) is int for y in x)


def holds_values(x: Any) -> bool:
    """Whether operators have no effect on what is in something, if it holds anything."""
    waiting = [x]
    seen: set[int] = set()
    for y in waiting:
        if y is not x and not is_value(y):
            return False
        if isinstance(y, numpy.ndarray):
            waiting += y.flat if y.dtype == object else ()
        elif isinstance(y, (list, tuple, set, frozenset, dict)) and id(y) not in seen:
            seen.add(id(y))
            waiting += y
            waiting += y.values() if isinstance(y, dict) else ()
    return True


def read_by(x: Any, name: str) -> Any:
    """What runs where an attribute is read: None where no code does, else what that is."""
    kind = type(x)
    if kind is ModuleType or is_value(x):
        return None
    if kind is super:
        kind = x.__self_class__
    if kind.__getattribute__ not in _READING:
        return kind.__getattribute__
    held = name in getattr(x, "__dict__", ())
    for base in kind.__mro__:
        if name in base.__dict__:
            found = base.__dict__[name]
            reads = type(found)
            if isinstance(found, _PLAIN) or not hasattr(reads, "__get__"):
                return None
            return None if held and not hasattr(reads, "__set__") else found
    return None if held else name


def may_go_on(x: Any) -> bool:
    """Whether a loop through something may go on in vain."""
    return is_value(x) or type(x) in _VIEWS


def may_change(x: Any) -> bool:
    """Whether ``+=`` may change the value itself."""
    return not isinstance(x, (float, int, str, bytes, tuple, Node, ConditionNode, Known))
