"""Compiled functions are plain Python, or say clearly why not: never another number.

``python tests/test_plain_programs.py 10000`` runs so many random programs of dicts, sets, text,
whole numbers, lists and loops; ``CHAINRULE_PROGRAMS=10000`` does in the tests. A failure names the
seed of its program: ``python tests/test_plain_programs.py 1 SEED``.
"""

from __future__ import annotations

import bisect
import collections
import copy
import functools
import heapq
import itertools
import math
import os
import statistics
import struct
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import optree
import pytest
from plain_programs import IDIOMS, Arguments, PlainProgram, plain_program

import chainrule as cr
from chainrule import math as crmath
from chainrule.engine import COMPILED

PROGRAMS = int(os.environ.get("CHAINRULE_PROGRAMS", "600" if COMPILED else "40"))
CALLS = 5
LANES = 4
NOISE_RUNS = 4

SCOPE: dict[str, Any] = {name: getattr(crmath, name) for name in crmath.__all__}
SCOPE.update(np=np, math=math, functools=functools, itertools=itertools, bisect=bisect)
SCOPE.update(heapq=heapq, collections=collections, statistics=statistics)


def plain(x: Any) -> Any:
    """A number of NumPy's as one of Python's, whose comparisons give True, not np.True_."""
    return x.item() if isinstance(x, np.generic) else x


SCOPE["plain"] = plain

CLEAR = (TypeError, ValueError, ArithmeticError, AttributeError, cr.CompileError)
"""What a function that cannot be compiled, or not be followed, may raise."""

EQUAL, ERROR, UNDECIDED, WRONG = "equal", "clear error", "undecided", "WRONG"


# Plain Python


class RaisedError(Exception):
    """What plain Python raised."""


class UnclearError(Exception):
    """Nothing to compare: plain Python differs from IEEE 754, or an outcome hangs on noise."""


def _on_floats(f: Callable[..., Any], args: Sequence[Any]) -> Any:
    """The result in plain Python.

    Raises:
        RaisedError: if it raised.
        UnclearError: if it divided floats by zero, or a number overflowed, where nodes go on.
    """
    try:
        with np.errstate(all="ignore", over="raise"):
            return f(*args)
    except FloatingPointError as error:
        raise UnclearError from error
    except (ZeroDivisionError, OverflowError) as error:
        if str(error).startswith(("float", "(34")):
            raise UnclearError from error
        raise RaisedError from error
    except Exception as error:
        raise RaisedError from error


def _leaves(tree: Any) -> list[Any]:
    """The numbers of a result, in a row."""
    found = []
    for leaf in optree.tree_leaves(tree):
        found += np.ravel(leaf).tolist() if isinstance(leaf, np.ndarray) else [leaf]
    return found


def _bits(x: Any) -> Any:
    """What makes a number this number, with the sign of a zero; a whole number stays one."""
    if isinstance(x, (float, np.floating)):
        return struct.pack("<d", float(x)) if x == x else b"nan"
    return x


def _same(x: Any, y: Any, signed: bool = True) -> bool:
    """The same number; a float for a whole number or a bool counts if it is equal."""
    if not signed and x == y == 0.0:
        return True
    if isinstance(x, (float, np.floating)) and isinstance(y, (float, np.floating)):
        return bool(_bits(x) == _bits(y))
    return bool(x == y)


@dataclass
class Expected:
    """What plain Python gives, and what it gives with noise in all that is not arithmetic.

    Attributes:
        result: the numbers.
        noisy: the same with noise; empty for exact programs.
        after: the arguments after the call.
        signed: whether zeros have a sign: a whole number has none, the node of one may.
    """

    result: list[Any]
    noisy: list[list[Any]]
    after: list[Any]
    signed: bool = True

    def agrees(self, found: Sequence[Any]) -> bool:
        """Whether the numbers are these, or as near as the noise allows.

        Raises:
            UnclearError: if noise alone changes the result.
        """
        pairs = zip(found, self.result, strict=False)
        if len(found) == len(self.result) and all(_same(x, y, self.signed) for x, y in pairs):
            return True
        if not self.noisy:
            return False
        if any(len(run) != len(self.result) for run in self.noisy):
            raise UnclearError
        for k, x in enumerate(self.result):
            spread = max(_distance(run[k], x) for run in self.noisy)
            if spread > 1e-9 * abs(x) + 1e-100:
                raise UnclearError
            if k >= len(found) or not _distance(found[k], x) <= 8 * spread + 4e-15 * abs(x):
                return False
        return len(found) == len(self.result)


def _distance(x: Any, y: Any) -> float:
    return 0.0 if _same(x, y) or x == y else math.inf if x != x or y != y else abs(x - y)


def expected_from(
    program: PlainProgram, args: Sequence[Any], wrap: Callable[[Any], Any] = lambda f: f
) -> Expected:
    """What plain Python gives; see :func:`_on_floats` for what it raises."""
    own = copy.deepcopy(list(args))
    result = _leaves(_on_floats(wrap(program.function(SCOPE)), own))
    noisy = []
    if "q(" in program.source:
        random = Random(program.source)

        def noise(x: Any) -> Any:
            return x * (1.0 + random.choice((-1, 1)) * random.randint(4, 8) * 2.0**-52)

        for _ in range(NOISE_RUNS):
            run = wrap(program.function(SCOPE, noise))
            noisy.append(_leaves(_on_floats(run, copy.deepcopy(list(args)))))
    signed = not any(f"{name}(" in program.source for name in ("round", "int", "floor", "divmod"))
    return Expected(result, noisy, own, signed)


# Programs


class Check:
    """One program, called some times with arguments that change.

    Args:
        seed: of the program, the arguments and how it is compiled.
        idiom: what the program is, if it is not random.
    """

    def __init__(self, seed: int, idiom: str | None = None, mode: str | None = None) -> None:
        self.seed = seed
        self.program = plain_program(seed, idiom)
        modes = ["compiled", "compiled", "checked", "lanes"]
        if self.program.number:
            modes += ["gradient", "gradient"]
        self.mode = mode or modes[seed % len(modes)]
        self.arguments = Arguments(self.program, seed)
        self.outcomes: list[str] = []
        self.errors: list[str] = []
        self.problems: list[str] = []

    def run(self) -> Check:
        """Make all calls."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self.mode == "lanes":
                self.lanes()
            elif self.mode == "gradient":
                self.gradient()
            else:
                call = cr.compile(self.program.function(SCOPE), check=self.mode == "checked")
                for _ in range(CALLS):
                    self.call(call)
                    self.arguments.change()
        return self

    def note(self, outcome: str, args: Any, found: Any = None, wanted: Any = None) -> None:
        """Keep an outcome, and what is wrong as text."""
        self.outcomes.append(outcome)
        if outcome == WRONG:
            call = len(self.outcomes)
            self.problems.append(
                f"seed {self.seed}, {self.mode}, call {call}: {found!r} for {wanted!r}\n"
                f"  at {args!r}{self.program!r}"
            )

    def failed(self, error: Exception, args: Any, wanted: Any) -> None:
        """Note an error of compiled code: clear, or wrong as well."""
        if isinstance(error, CLEAR) and str(error).strip():
            self.errors.append(f"{type(error).__name__}: {error}")
            self.note(ERROR, args)
        else:
            self.note(WRONG, args, error, wanted)

    def call(self, call: Callable[..., Any]) -> None:
        """One call of the compiled function, with arguments that live on."""
        given = self.arguments.snapshot()
        live = list(self.arguments.live.values())
        expected: Expected | None = None
        try:
            expected = expected_from(self.program, given)
        except UnclearError:
            self.note(UNDECIDED, given)
            return
        except RaisedError as error:
            raised = error.__cause__
        try:
            found = _leaves(call(*live))
        except Exception as error:
            if expected is None:
                self.note(EQUAL, given)
            else:
                self.failed(error, given, expected.result)
            return
        if expected is None:
            self.note(WRONG, given, found, raised)
            return
        try:
            right = expected.agrees(found)
        except UnclearError:
            self.note(UNDECIDED, given)
            return
        if right and repr(live) != repr(expected.after):  # it changes its arguments
            self.note(WRONG, given, f"arguments {live!r}", expected.after)
        else:
            self.note(EQUAL if right else WRONG, given, found, expected.result)

    def gradient(self) -> None:
        """Value and gradient by the floats, compiled, eager, and the value in plain Python."""
        floats = ("float", "list", "dict", "array")
        places = tuple(i for i, k in enumerate(self.program.kinds.values()) if k in floats)
        derived = cr.value_and_grad(self.program.function(SCOPE), argnums=places)
        call = cr.compile(derived)
        for _ in range(CALLS):
            given = self.arguments.snapshot()
            self.arguments.change()
            try:
                expected = expected_from(self.program, given)
            except (UnclearError, RaisedError):
                self.note(UNDECIDED, given)
                continue
            eager = self.derivatives(derived, given, expected)
            if eager is not None:
                self.outcomes.pop()
            compiled = self.derivatives(call, given, expected)
            if eager and compiled:
                for mine, other in zip(compiled, eager, strict=True):
                    if not _near(mine, other):
                        self.outcomes.pop()
                        self.note(WRONG, given, ("gradient", compiled), eager)
                        break

    def derivatives(
        self, derived: Callable[..., Any], given: Sequence[Any], expected: Expected
    ) -> list[float] | None:
        """The gradient's numbers, if the value is plain Python's."""
        try:
            value, grads = derived(*copy.deepcopy(list(given)))
        except Exception as error:
            self.failed(error, given, expected.result)
            return None
        try:
            right = expected.agrees([value])
        except UnclearError:
            self.note(UNDECIDED, given)
            return None
        self.note(EQUAL if right else WRONG, given, ("value", value), expected.result)
        return _leaves(grads) if right else None

    def lanes(self) -> None:
        """Compiled lanes: numbers and arrays differ from lane to lane, the rest is common."""
        mapped = {"float", "array", "indices"}
        axes = tuple(0 if k in mapped else None for k in self.program.kinds.values())
        call = cr.compile(cr.vmap(self.program.function(SCOPE), in_axes=axes))
        for _ in range(3):
            rows = [self.arguments.snapshot()]
            while len(rows) < LANES:
                self.arguments.change()
                rows.append(self.arguments.snapshot())
                for place, axis in enumerate(axes):
                    first = rows[0][place]
                    other = axis is None or np.shape(rows[-1][place]) != np.shape(first)
                    if other:
                        rows[-1][place] = copy.deepcopy(first)
            self.lane_call(call, rows, axes)

    def lane_call(self, call: Callable[..., Any], rows: list[list[Any]], axes: Any) -> None:
        """One call, and each of its lanes."""
        expected: list[Expected | None] = []
        raised: BaseException | None = None
        for row in rows:
            try:
                expected.append(expected_from(self.program, row))
            except UnclearError:
                expected.append(None)
            except RaisedError as error:
                raised = error.__cause__
        columns = [
            copy.deepcopy(rows[0][place]) if axis is None else np.array([r[place] for r in rows])
            for place, axis in enumerate(axes)
        ]
        try:
            results = call(*columns)
        except Exception as error:
            if raised is not None:
                self.note(EQUAL, rows)
            else:
                self.failed(error, rows, "lanes")
            return
        if raised is not None:
            self.note(WRONG, rows, results, raised)
            return
        for lane, one in enumerate(expected):
            if one is None:
                self.note(UNDECIDED, rows)
                continue
            found = [leaf[lane] for leaf in optree.tree_leaves(results)]
            try:
                right = one.agrees(found)
            except UnclearError:
                self.note(UNDECIDED, rows)
                continue
            self.note(EQUAL if right else WRONG, rows[lane], found, one.result)


def _near(x: float, y: float) -> bool:
    return x == y or (x != x and y != y) or abs(x - y) <= 1e-9 * abs(y) + 1e-12


@pytest.mark.parametrize("first", range(0, PROGRAMS, 20))
def test_random_programs(first: int) -> None:
    """No call of twenty programs gives another number than plain Python, without a word."""
    problems: list[str] = []
    for seed in range(first, min(first + 20, PROGRAMS)):
        problems += Check(seed).run().problems
    assert not problems, f"{len(problems)} wrong\n" + "\n".join(problems[:3])


ALL_IDIOMS = [idiom for group, _ in IDIOMS for idiom in group]


@pytest.mark.parametrize("mode", ["compiled", "gradient"])
@pytest.mark.parametrize("idiom", ALL_IDIOMS)
def test_idioms(idiom: str, mode: str) -> None:
    """Each idiom alone."""
    check = Check(ALL_IDIOMS.index(idiom), idiom, mode)
    if mode == "gradient" and not check.program.number:
        return
    problems = check.run().problems
    assert not problems, f"{len(problems)} wrong\n" + "\n".join(problems[:2])


def test_most_programs_compile() -> None:
    """Errors are clear, but not the rule."""
    outcomes = collections.Counter[str]()
    for seed in range(60):
        outcomes.update(Check(seed, mode="compiled").run().outcomes)
    assert outcomes[EQUAL] > 0.5 * sum(outcomes.values())
    assert outcomes[UNDECIDED] < 0.3 * sum(outcomes.values())


def test_a_frozen_value_is_found() -> None:
    """A program whose compiled form forgets an argument, or a digit, is wrong."""
    check = Check(0, "{v} = {x} + {y}", "compiled")
    f = check.program.function(SCOPE)
    first = check.arguments.snapshot()
    for wrong in (lambda *args: f(*first), lambda *args: f(*args) * (1 + 2.0**-52)):
        for _ in range(10):
            check.call(wrong)
            check.arguments.change()
        assert check.problems
        check.problems.clear()


def main() -> None:
    """Check as many programs as the first argument says, from the seed in the second on."""
    count = int(sys.argv[1])
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    outcomes = collections.Counter[str]()
    wrong = 0
    for seed in range(first, first + count):
        check = Check(seed).run()
        outcomes.update(check.outcomes)
        wrong += bool(check.problems)
        for problem in check.problems[:1]:
            print(problem, flush=True)
        if count == 1:
            print(check.mode, check.program, check.outcomes, *check.errors, sep="\n")
    print(f"{count} programs, {wrong} of them wrong; calls:", dict(outcomes))
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
