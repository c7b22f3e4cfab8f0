"""Gradients that a compiled function takes in runs that no trace follows: compiled on their own.

A function whose nested loops take another path for nearly each input is not worth a trace each
time, and runs in plain numbers. A pure function that it differentiates many times then gets machine
code of its own, whose inputs are the arguments and all numbers that it reads from outside.
"""

from __future__ import annotations

import math
import time
from collections.abc import Hashable
from dataclasses import replace
from functools import cache
from importlib import import_module
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final

import numpy

from chainrule import forking, trees
from chainrule.annotations import ACTIVE
from chainrule.handover import called
from chainrule.tracing import PROGRESS
from chainrule.transforms import Gradient

if TYPE_CHECKING:
    from .function import Compiled, Options

LEAST: Final = 50
"""Calls before which a gradient is not compiled."""
QUICK: Final = 1e-5
"""Seconds below which it is of no use, as what it reads has to be looked at in each call."""
SECONDS: Final = 0.05
"""What compiling a gradient takes at least, about."""
CALLS: Final = 80
"""How many of its calls take as long as compiling it, about."""
MOST_LOST: Final = 0.5
"""Seconds that may be lost by compiling in vain, besides some times what the calls before took."""
TRIED: Final = 64
"""Calls after which it shows whether machine code is faster."""
IN_VAIN: Final = 200
"""Calls in a row that are left to the functions, after which no others of a run are looked at."""
MOST: Final = 64
"""Functions of which it is kept how long their gradients take, and kinds of what one reads."""


class InnerGradients:
    """The gradients that a compiled function takes, and their machine code.

    Args:
        options: of the compiled function.
    """

    def __init__(self, options: Options) -> None:
        self._options = replace(options, check=False)
        self._lock = forking.lock()
        self._tallies: dict[int, Tally] = {}  # by the id of code
        self._left = IN_VAIN

    @property
    def compiled(self) -> list[Compiled]:
        """Those that are compiled."""
        return [found for tally in self._tallies.values() for found in tally.compiled.values()]

    def instead(self, gradient: Gradient, args: tuple[Any, ...]) -> Any:
        """What a gradient is at some arguments; NotImplemented where it does that itself."""
        function = gradient._function
        if type(function) is not FunctionType or gradient.has_aux or ACTIVE.contexts:
            return NotImplemented
        code = function.__code__
        tally = self._tallies.get(id(code))
        if tally is None:
            tally = self._new_tally(code)
        if tally.eager:
            self._left -= 1
            if self._left < 0:
                PROGRESS.inner, self._left = None, IN_VAIN  # until the run ends
            return NotImplemented
        self._left = IN_VAIN
        PROGRESS.inner = None  # it is asked for the outermost gradients alone
        start = time.thread_time()
        try:
            if tally.pays:
                result = self._computed(tally, gradient, function, args)
                in_vain = result is NotImplemented
                tally.ran_compiled(time.thread_time() - start, in_vain)
                if not in_vain or tally.eager:
                    return result
                start = time.thread_time()
            result = gradient(*args)
            tally.ran_eagerly(time.thread_time() - start)
            return result
        finally:
            PROGRESS.inner = self

    def _new_tally(self, code: CodeType) -> Tally:
        with self._lock:
            if len(self._tallies) >= MOST:
                self._tallies.clear()
            return self._tallies.setdefault(id(code), Tally(code))

    def _computed(
        self, tally: Tally, gradient: Gradient, function: FunctionType, args: tuple[Any, ...]
    ) -> Any:
        """The result by machine code; NotImplemented, and no more of it, where it has none."""
        pure = _pure()
        try:
            kind, data = pure.read(function)
            key = _places(pure, gradient, args), gradient.value, kind
            compiled = tally.compiled.get(key)
            if compiled is None:
                compiled = self._compiled(pure, gradient, function)
                with self._lock:
                    if len(tally.compiled) >= MOST:
                        tally.compiled.clear()
                    compiled = tally.compiled.setdefault(key, compiled)
            result = compiled(*args, data)
        except Exception:  # it is impure, or says itself what is wrong
            tally.eager = True
            return NotImplemented
        # Of other results numbers may make an error.
        return result if _is_finite(result) else NotImplemented

    def _compiled(self, pure: Any, gradient: Gradient, function: FunctionType) -> Compiled:
        """The compiled gradient of a pure function, by what it reads as well."""
        make, name = pure.maker(function), function.__name__

        def lifted(*given: Any) -> Any:
            *args, data = given
            return called(make(iter(data)), args, {}, name)

        quiet = import_module("chainrule.jit.function").Quiet
        found: Compiled = quiet(
            Gradient(lifted, gradient.argnums, False, gradient.value), self._options
        )
        return found


@cache
def _pure() -> Any:
    return import_module("chainrule.rewriting.pure")  # here, as few functions need it


class Tally:
    """How long the gradients of a function have taken.

    Args:
        code: of the function.

    Attributes:
        eager: whether no more is asked whether they should be compiled.
        compiled: these, by how they are taken and what they read.
        pays: whether to compile: once they have taken as long as that will, about.
    """

    def __init__(self, code: CodeType) -> None:
        self._code = code  # so that no other has its id
        self.eager = False
        self.compiled: dict[Hashable, Compiled] = {}
        self._calls = 0
        self._seconds = 0.0
        self._lost = 0.0  # seconds, since they are compiled
        self._mean = math.inf  # seconds
        self._latest: list[float] = []  # seconds of compiled ones
        self.pays = False

    def ran_eagerly(self, seconds: float) -> None:
        """Note how long one took eagerly."""
        self._calls += 1
        self._seconds += seconds
        if self._calls >= LEAST:
            self._mean = self._seconds / self._calls
            self.eager |= self._mean < QUICK
            self.pays = self._seconds > SECONDS + CALLS * self._mean

    def ran_compiled(self, seconds: float, in_vain: bool) -> None:
        """Note how long one took compiled; where that is of no use they are eager for good."""
        self._lost += seconds if in_vain else seconds - self._mean
        self._latest.append(seconds)
        if len(self._latest) == TRIED:
            self.eager |= min(self._latest) > self._mean
            self._latest.clear()
        self.eager |= self._lost > MOST_LOST + 2.0 * self._seconds


def _places(pure: Any, gradient: Gradient, args: tuple[Any, ...]) -> Hashable:
    """The places of the arguments by which a gradient is taken.

    Raises:
        Impure: if they are not plain, or an argument holds something else than numbers.
    """
    argnums = gradient.argnums
    places = (argnums,) if type(argnums) is int else tuple(argnums)  # type: ignore[arg-type]
    for i in places:
        if not 0 <= i < len(args):
            raise pure.Impure("it is taken by an argument that is counted from the last one")
    for i, x in enumerate(args):
        if not (type(x) is numpy.ndarray and x.dtype == numpy.float64 and i in places):
            pure.check_data(x)
    return argnums if type(argnums) is int else places


def _is_finite(result: Any) -> bool:
    """Whether a result is made of finite numbers."""
    for x in trees.leaves_of(result)[0]:
        if type(x) is float:
            if x - x != 0.0:
                return False
        elif not (type(x) is numpy.ndarray and numpy.isfinite(x).all()):
            return False
    return True
