"""Pickling of compiled functions: the function goes along, the machine code is made anew."""

from __future__ import annotations

import pickle
import sys
from dataclasses import astuple
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .function import Compiled


def reduced(compiled: Compiled) -> Any:
    """What pickle keeps: a name if the compiled function has one, else its parts.

    Raises:
        pickle.PicklingError: for a function without a name (a lambda, a closure) if cloudpickle is
            not installed.
    """
    module = sys.modules.get(getattr(compiled, "__module__", None) or "")
    found: Any = module
    name = getattr(compiled, "__qualname__", "")
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is compiled:  # a decorated function
        return name
    options = astuple(compiled.options)
    try:
        return _by_name, (pickle.dumps(compiled.function), options)
    except Exception:
        try:
            import cloudpickle
        except ImportError:
            raise pickle.PicklingError(
                f"{compiled!r} is made of a lambda or an inner function, which pickles only where"
                " cloudpickle is installed (pip install cloudpickle); or name the function in a"
                " module"
            ) from None
        return _from_bytes, (cloudpickle.dumps(compiled.function), options)


@lru_cache(maxsize=64)
def _by_name(data: bytes, options: tuple[Any, ...]) -> Compiled:
    """A compiled function of named functions; the same one each time, as it has a trace to keep."""
    return _from_bytes(data, options)


def _from_bytes(data: bytes, options: tuple[Any, ...]) -> Compiled:
    from .function import Compiled, Options

    return Compiled(pickle.loads(data), Options(*options))
