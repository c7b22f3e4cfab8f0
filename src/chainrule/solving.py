"""Roots, fixed points and minima, differentiated by the implicit function theorem.

A solution x of g(x, p) = 0 moves with whatever p the function holds: dx/dp = -g_p / g_x. So no
derivative goes through the iterations that found x. Instead the solution is refined once more by
x - g(x, p) / s, where s is g_x as a number: the first step gives the first derivative, and each
further one gives one more, as the error in the Taylor series of x, multiplied by 1 - g_x / s,
gains an order. There are as many steps as there are transformations around the call that may ask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from chainrule.carries import EndlessError
from chainrule.handover import called
from chainrule.keywords import with_nearest_names
from chainrule.lax import while_loop
from chainrule.math import where
from chainrule.node import Node
from chainrule.rules import (
    absolute,
    described,
    divide,
    maximum,
    minimum,
    sign,
    stop_gradient,
    to_float,
)
from chainrule.tracing import PROGRESS
from chainrule.transforms import grad, jvp

__all__ = ["fixed_point", "minimize_scalar", "root"]

Function = Callable[[Any], Any]

MORE_ORDERS: Final = 4
"""The derivatives of a compiled function that may be asked for besides those taken inside it."""

_ROUNDING: Final = 4.0 * 2.0**-52
_NEAR: Final = 1e-6  # a longer step from what was found, relative to 1 + abs(x), leads to no zero


@with_nearest_names
def root(
    f: Function,
    x0: Any = None,
    *,
    bracket: Sequence[Any] | None = None,
    xtol: float = 2e-12,
    rtol: float = _ROUNDING,
    max_iterations: int = 100,
) -> Any:
    """Where a function of one number is 0.

    From a bracket, whose ends have values of opposite signs, by Chandrupatla's method (Advances in
    Engineering Software 28, 1997): inverse quadratic interpolation, or halving where that is not
    safe. From a start by secants. It stops within ``xtol + rtol * abs(x)``, and takes a step of
    Newton's besides.

    Args:
        f: the function; it may use nodes from around it, and the root moves with them.
        x0: where to start.
        bracket: a pair of numbers with the root between them, in place of x0.
        xtol: how close to come.
        rtol: the same, relative to the root.
        max_iterations: after so many it is given up.

    Returns:
        The root: a number, or a node if the function uses nodes.

    Raises:
        TypeError: if f does not give a number, or the start or the ends are none.
        ValueError: if there is neither or both of x0 and bracket, the values at its ends have the
            same sign, or the root has no derivative as the slope is 0 there.
        RuntimeError: if it was not found.
    """
    search = _Search("root", f, xtol, rtol, max_iterations)
    if (x0 is None) == (bracket is None):
        raise ValueError("root takes either a start, x0, or bracket=(low, high)")
    if bracket is None:
        return search.solution(search.value, search.secant(search.value, search.start(x0, "x0")))
    low, high = search.pair(bracket, "bracket")
    return search.solution(search.value, search.between(search.value, low, high))


@with_nearest_names
def fixed_point(
    f: Function,
    x0: Any,
    *,
    xtol: float = 2e-12,
    rtol: float = _ROUNDING,
    max_iterations: int = 500,
) -> Any:
    """Where a function of one number gives what it takes.

    By iterating it, two values at a time being extrapolated to their limit (Steffensen's method, as
    SciPy's function of this name does).

    Args:
        f: the function; it may use nodes from around it, and the fixed point moves with them.
        x0: where to start.
        xtol: how close to come.
        rtol: the same, relative to what is found.
        max_iterations: after so many it is given up.

    Raises:
        TypeError, ValueError, RuntimeError: as for :func:`root`.
    """
    search = _Search("fixed_point", f, xtol, rtol, max_iterations)

    def extrapolated(x: Any, _: Any) -> tuple[Any, Any]:
        first = _detached(search.value(x))
        second = _detached(search.value(first))
        bend = second - 2.0 * first + x
        step = first - x
        limit = where(absolute(bend) > 0.0, x - step * divide(step, bend), second)
        # Where a function climbs far, its second value hides how far off the first one was.
        near = absolute(step) <= _NEAR * (1.0 + absolute(x))
        return limit, where(near, limit - x, step)

    x, _ = search.iterated(extrapolated, (search.start(x0, "x0"), math.inf))
    return search.solution(lambda x: x - search.value(x), x)


@with_nearest_names
def minimize_scalar(
    f: Function,
    x0: Any = None,
    *,
    bounds: Sequence[Any] | None = None,
    xtol: float = 2e-12,
    rtol: float = _ROUNDING,
    max_iterations: int = 100,
) -> Any:
    """Where a function of one number has a minimum: one of those there are.

    Within bounds it is where the slope turns from falling to rising, or a bound behind which the
    function still falls; from a start, steps downhill, each twice as long as the one before, find
    bounds first.

    Args:
        f: the function; it may use nodes from around it, and the minimum moves with them.
        x0: where to start.
        bounds: a pair of numbers between which to look, in place of x0.
        xtol: how close to come.
        rtol: the same, relative to what is found.
        max_iterations: after so many it is given up.

    Returns:
        Where the minimum is: a number, or a node. At a bound it is the bound.

    Raises:
        TypeError, ValueError, RuntimeError: as for :func:`root`; the slope is that of the slope.
    """
    search = _Search("minimize_scalar", f, xtol, rtol, max_iterations)
    if (x0 is None) == (bounds is None):
        raise ValueError("minimize_scalar takes either a start, x0, or bounds=(low, high)")
    slope = grad(search.value)
    if bounds is None:
        low, high = search.valley(slope, search.start(x0, "x0"))
    else:
        low, high = search.pair(bounds, "bounds")
        low, high = search.descent(slope, low, high), search.descent(slope, high, low)
        if low is None:
            return bounds[0]
        if high is None:
            return bounds[1]
    return search.solution(slope, search.between(slope, low, high))


class _Search:
    """A function of one number, with how closely to look.

    Attributes:
        value: the function.
        most: iterations.
    """

    def __init__(self, name: str, f: Function, xtol: Any, rtol: Any, most: Any) -> None:
        if not callable(f):
            raise TypeError(f"{name} takes a function, not {described(f)}")
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise ValueError(
                f"{name}: max_iterations must be a whole number from 1 on, not {described(most)}"
            )
        for what, given in (("xtol", xtol), ("rtol", rtol)):
            if not to_float(given, name, f"takes as {what} a number") >= 0.0:
                raise ValueError(f"{name}: {what} must be a number from 0 on, not {given}")
        self.name = name
        self.most = most
        self._f = f
        self._xtol, self._rtol = xtol, rtol

    def value(self, x: Any) -> Any:
        """The function's value: a number or a node.

        Raises:
            TypeError: if it is neither.
        """
        y = called(self._f, (x,), {}, f"{self.name}: the function")
        if isinstance(y, Node):
            return y
        return to_float(y, self.name, "takes a function that gives a number")

    def start(self, x: Any, what: str) -> Any:
        """A start as a number, or a node of a trace, which no gradient goes back from."""
        if isinstance(x, Node):
            return _detached(x)
        return to_float(x, self.name, f"takes as {what} a number")

    def pair(self, ends: Any, what: str) -> tuple[Any, Any]:
        """The ends of an interval.

        Raises:
            TypeError: if it is no pair.
            ValueError: if the first is not the smaller one.
        """
        if not isinstance(ends, (tuple, list)) or len(ends) != 2:
            raise TypeError(
                f"{self.name} takes {what} as a pair (low, high), not {described(ends)}"
            )
        low, high = (self.start(end, what) for end in ends)
        if not low < high:
            raise ValueError(f"{self.name} takes {what}=(low, high) with low < high, not {ends}")
        return low, high

    def _tolerance(self, x: Any) -> Any:
        return self._xtol + self._rtol * absolute(x)

    def iterated(self, body: Callable[..., tuple[Any, ...]], state: tuple[Any, ...]) -> Any:
        """The state of a search at its end; it begins with x, and the step that led there.

        Raises:
            RuntimeError: if it does not end.
        """

        def goes_on(state: tuple[Any, ...]) -> Any:
            x, step, *_ = state
            step = where(absolute(x) < math.inf, absolute(step), math.nan)
            done = step <= self._tolerance(x)
            return where(done, 0.0, 1.0) > 0.0  # also with NaN

        try:
            return while_loop(goes_on, lambda x: body(*x), state, max_iterations=self.most)
        except EndlessError as error:
            raise RuntimeError(
                f"{self.name} has not converged in {self.most} iterations: start nearer, give a"
                " bracket, or more max_iterations"
            ) from error

    def secant(self, g: Function, x: Any) -> Any:
        """A zero of a function from a start on."""

        def step(x: Any, _: Any, before: Any, y: Any, last: Any) -> tuple[Any, ...]:
            change = where(absolute(y) <= 0.0, 0.0, before * divide(y, last - y))
            # A last step may be short just because the one before it went far: whether there is a
            # zero close by shows as soon as this one goes as far as the tolerance. The sign changes
            # there; or two short steps have not come nearer.
            least = self._tolerance(x)
            most = where(absolute(before) <= 2.0 * least, absolute(y), math.inf)
            short = absolute(change) <= least
            moved = where(short, where(change < 0.0, -least, least), change)
            there = _detached(g(x + moved))
            nearer = where(absolute(there) > most, 0.0, sign(there) * sign(y))
            found = where(short, nearer, 1.0) <= 0.0
            x = x + where(found, change, moved)
            return x, where(found, 0.0, math.inf), moved, there, y

        change = 1e-4 + 1e-4 * absolute(x)
        y, last = _detached(g(x + change)), _detached(g(x))
        return self.iterated(step, (x + change, math.inf, change, y, last))[0]

    def between(self, g: Function, low: Any, high: Any) -> Any:
        """A zero of a function in an interval.

        Raises:
            ValueError: if the values at its ends have the same sign, or there are none, or it has
                a pole in place of a zero.
        """
        at_low, at_high = _detached(g(low)), _detached(g(high))
        if not sign(at_low) * sign(at_high) <= 0.0:
            raise ValueError(
                f"{self.name} takes an interval at whose ends the function has opposite signs;"
                f" f({_shown(low)}) is {_shown(at_low)} and f({_shown(high)}) is {_shown(at_high)}"
            )

        def step(best: Any, width: Any, _: Any, part: Any, *points: Any) -> tuple[Any, ...]:
            a, b, f_a, f_b = points  # the zero is between a, the latest, and b
            x = a + part * (b - a)
            y = _detached(g(x))
            same = sign(y) * sign(f_a) > 0.0
            c, f_c = where(same, a, b), where(same, f_a, f_b)
            b, f_b = where(same, b, a), where(same, f_b, f_a)
            a, f_a = x, y
            nearer = absolute(f_a) < absolute(f_b)
            best, value = where(nearer, a, b), where(nearer, f_a, f_b)
            width = where(absolute(value) > 0.0, b - a, 0.0)
            # Inverse quadratic interpolation, where it is sure to fall between a and b.
            place, height = divide(a - b, c - b), divide(f_a - f_b, f_c - f_b)
            bent = maximum(height * height - place, (1.0 - height) ** 2 - (1.0 - place))
            part = divide(f_a, f_b - f_a) * divide(f_c, f_b - f_c) + divide(c - a, b - a) * divide(
                f_a, f_c - f_a
            ) * divide(f_b, f_c - f_b)
            least = divide(0.5 * self._tolerance(best), absolute(b - a))
            part = minimum(maximum(where(bent < 0.0, part, 0.5), least), 1.0 - least)
            return best, width, value, part, a, b, f_a, f_b

        state = low, math.inf, at_low, 0.5, low, high, at_low, at_high
        x, _, y, *_ = self.iterated(step, state)
        if not absolute(y) <= maximum(absolute(at_low), absolute(at_high)):
            raise ValueError(
                f"{self.name}: at {_shown(x)} the function changes its sign through a pole, not a"
                f" zero: a value near it is {_shown(y)}"
            )
        return x

    def descent(self, slope: Function, end: Any, other: Any) -> Any:
        """Where a function begins to fall from one end of an interval; None if it does not.

        If the slope at the end is 0, what is next to it decides.
        """
        for x in (end, end + _NEAR * (other - end)):
            rise = sign(_detached(slope(x))) * sign(other - end)
            if rise != 0.0:
                return None if rise > 0.0 else x
        return None

    def valley(self, slope: Function, x: Any) -> tuple[Any, Any]:
        """Bounds around a minimum of a function with this slope."""
        falls = _detached(slope(x)) < 0.0
        start = where(falls, 1.0, -1.0) * maximum(0.125 * absolute(x), 0.125)

        def step(x: Any, _: Any, length: Any) -> tuple[Any, ...]:
            there = x + length
            turned = length * _detached(slope(there)) >= 0.0
            return where(turned, x, there), where(turned, 0.0, length), 2.0 * length

        before, _, length = self.iterated(step, (x, math.inf, start))
        there = before + 0.5 * length
        return where(falls, before, there), where(falls, there, before)

    def solution(self, g: Function, x: Any) -> Any:
        """A zero as it moves with what the function uses; itself where that is no node.

        Raises:
            ValueError: if it is no zero, or the slope there is 0; in a trace it is NaN.
        """
        if not isinstance(self.value(x), Node):
            return x
        y, slope = _slope(g, x)
        near = absolute(divide(y, slope)) <= _NEAR * (1.0 + absolute(x))
        orders = len(PROGRESS.names) + 1
        if PROGRESS.recorder is not None:
            orders += MORE_ORDERS
            slope = where(near, slope, math.nan)
        elif not near:
            raise ValueError(
                f"{self.name}: what was found, {_shown(x)}, has no derivative, as the function has"
                f" a kink or a jump or no slope there: {_shown(y)} / {_shown(slope)} should be"
                " close to 0; for its value alone take stop_gradient of what the function uses"
            )
        for _ in range(orders):
            x = x - divide(g(x), slope)
        return x


def _detached(x: Any) -> Any:
    """A value that no gradient goes back from: a number, or in a trace a node."""
    if not isinstance(x, Node):
        return x
    return x._number if PROGRESS.recorder is None else stop_gradient(x)


def _slope(g: Function, x: Any) -> tuple[Any, Any]:
    """The value and the slope of a function, without gradients."""
    y, slope = jvp(g, (x,), (1.0,))
    return _detached(y), _detached(slope)


def _shown(x: Any) -> str:
    return f"{x._number if isinstance(x, Node) else x:.6g}"
