"""Random programs that change arrays in place, at any place: rolled against flat, and every pass.

Loops in loops run forwards and backwards, by other loops' counters and by tables; what an iteration
reads may be from any iteration before. Nothing is compiled: the interpreter runs all.
``CHAINRULE_ARRAYS=1000`` checks as many, from ``CHAINRULE_FIRST`` on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy
import pytest
from random_forms import bits
from recorded_programs import recorded

from chainrule import Node
from chainrule import math as cm
from chainrule.passes import grammar, nest, roll
from chainrule.passes.flat import flat
from chainrule.passes.going_on import going_on
from chainrule.passes.gradients import with_gradients
from chainrule.passes.promote import promoted
from chainrule.program.form import Program
from chainrule.program.interpreter import interpret
from chainrule.program.verifier import verify

FIRST = int(os.environ.get("CHAINRULE_FIRST", "0"))
SEEDS = [*range(FIRST, FIRST + int(os.environ.get("CHAINRULE_ARRAYS", "50")))]
KNOWN = (116, 196, 313, 77171)  # were wrong once
PLACES = (0, 2, 3, 5)
SIZE = 7

_UNARY = ("sin({})", "tanh({})", "abs({})", "relu({})", "cos({})", "-({})", "exp(-abs({}))")
_BINARY = ("{} * {}", "{} + {}", "{} - {}", "maximum({}, {})", "minimum({}, {})")
_NAMES = ("sin", "tanh", "relu", "cos", "exp", "maximum", "minimum")


class _Writer:
    """Writes the source of a program."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.lines: list[str] = []
        self._loops = 0
        self._cost = 1

    def source(self) -> str:
        """The definition of ``f``."""
        random = self.random
        for _ in range(random.randint(3, 7)):
            self._statement(1, [])
        outputs = ["u + v + w", "u, v, w", "*A", "*A, *B[2:5], u", "L[-1], w", "A[2], sum(C)", "*L"]
        result = random.choice(outputs)
        tables = [random.randrange(SIZE) for _ in range(SIZE)]
        trips = [random.randrange(5) for _ in range(SIZE)]
        return "\n".join(
            [
                "def f(x):",
                "    A, B, L = [*x], [0.0] * 7, [x[0], 0.0]",
                "    C = [x[k] * 0.5 if k < 4 else 1.0 for k in range(7)]",
                f"    P, N, T = {tables}, {trips}, [0.0, -0.0, 0.25]",
                "    K = [0.1, 0.2, 0.3, 0.1, -0.5, 0.0, 1.0]",
                "    u, v, w = x[0], x[1], 0.0",
                *self.lines,
                f"    return [{result}]",
            ]
        )

    def _place(self, counters: Sequence[str]) -> str:
        random = self.random
        if not counters or random.random() < 0.2:
            return str(random.randrange(SIZE))
        i, j = random.choice(counters), random.choice(counters)
        ways = [i, f"({i} + 1) % 7", f"2 * {i} % 7", f"6 - {i} % 7", f"({i} + {j}) % 7"]
        return random.choice([*ways, f"P[{i} % 7]"])

    def _element(self, counters: Sequence[str]) -> str:
        return f"{self.random.choice('ABC')}[{self._place(counters)}]"

    def _operand(self, counters: Sequence[str]) -> str:
        random = self.random
        kind = random.random()
        if kind < 0.5:
            return self._element(counters)
        if kind < 0.6 and counters:
            return f"K[{random.choice(counters)} % 7]"
        if kind < 0.65:
            return repr(random.choice([0.0, 1.0, -1.0, 0.5, 2.0, -0.0]))
        if kind < 0.72 and counters:
            return f"T[{random.choice(counters)} % 3]"
        return random.choice("uvw")

    def _expression(self, counters: Sequence[str]) -> str:
        form = self.random.choice([*_BINARY, "pick({}, {})", "0.5 * {} + {}"])
        inner = form.format(self._operand(counters), self._operand(counters))
        return self.random.choice([*_UNARY, "({})", "({})"]).format(inner)

    def _statement(self, depth: int, counters: Sequence[str]) -> None:
        random, pad = self.random, "    " * depth
        kind = random.random() if random.random() < 0.6 + 0.1 * depth else 0.9
        name, value = random.choice("uvw"), self._expression(counters)
        if kind < 0.35:
            self.lines.append(f"{pad}{self._element(counters)} = {value}")
        elif kind < 0.65:
            self.lines.append(f"{pad}{name} {random.choice(['=', '=', '+= 0.3 *'])} {value}")
        elif kind < 0.70:
            self.lines.append(f"{pad}L.append({value})")
        elif kind < 0.75:
            self.lines.append(f"{pad}{name} = L[{random.choice(['-1', '-2', '0', 'len(L) // 2'])}]")
        elif kind < 0.83:
            asked = f"{self._operand(counters)} < {random.choice([0.1, 0.4, -0.2])}"
            if counters and kind < 0.80:
                i = random.choice(counters)
                asked = random.choice([f"{i} % 2", f"{i} == 0", f"{i} > 1", f"{i} % 3 == 1"])
            self.lines.append(f"{pad}if {asked}:")
            self._statement(depth + 1, counters)
        elif depth < 4 and self._cost < 90:
            self._loop(depth, counters)
        else:
            self.lines.append(f"{pad}{name} = {value}")

    def _loop(self, depth: int, counters: Sequence[str]) -> None:
        random = self.random
        counter = f"i{self._loops}"
        self._loops += 1
        trips = random.choice([2, 3, 4, 5, 7])
        ranges = [f"range({trips})"] * 2
        ranges += [f"range(1, {min(trips + 1, SIZE)})", f"reversed(range({trips}))"]
        if counters:
            outer = random.choice(counters)
            ranges += [f"range({outer})", f"range({outer}, 7)", f"range(N[{outer} % 7])"]
        self.lines.append(f"{'    ' * depth}for {counter} in {random.choice(ranges)}:")
        before = self._cost
        self._cost *= trips
        for _ in range(random.randint(1, 3)):
            self._statement(depth + 1, [*counters, counter])
        self._cost = before


def _pick(a: Any, b: Any) -> Any:
    if isinstance(a, Node):
        return cm.where(a > 0.1, b, 0.3)
    return b if a > 0.1 else 0.3


def _outputs(program: Program, x: Sequence[float]) -> list[float]:
    verify(program)
    outputs, failed = interpret(program, x)
    assert failed is None
    return outputs


@pytest.mark.parametrize("seed", [*SEEDS, *KNOWN])
def test_array_programs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values to the last bit; first and second derivatives but for the order of sums."""
    monkeypatch.setattr(roll, "SHORT", 4)
    monkeypatch.setattr(roll, "SHARE", 0.0)
    worth, unrolled = [(8, 24), (1, 0), (2, 4)][seed % 3]
    monkeypatch.setattr(grammar, "WORTH", worth)
    monkeypatch.setattr(nest, "UNROLLED", unrolled)
    scope: dict[str, Any] = {name: getattr(cm, name) for name in _NAMES} | {"pick": _pick}
    source = _Writer(seed).source()
    exec(source, scope)
    random = Random(seed + 1)
    x = [round(random.uniform(-1.0, 1.0), 2) for _ in range(SIZE)]
    rows, operands, values = recorded(scope["f"], x)
    plain, loops = flat(rows, operands), roll.rolled(rows, operands)
    for program in (plain, loops, promoted(going_on(loops, 0))):
        assert bits(_outputs(program, x)) == bits(values), source
    for most in (8, 2):  # outputs, for first and for second derivatives
        if len(operands) > most:
            break
        plain, loops = with_gradients(plain, PLACES), with_gradients(loops, PLACES)
        expected = _outputs(plain, x)
        for program in (loops, promoted(going_on(loops, 0))):
            found = _outputs(program, x)
            assert numpy.allclose(found, expected, rtol=1e-7, atol=1e-9, equal_nan=True), source
