"""Random programs as people write them: branches, loops, sorting, where, kinks; as Python source.

The same source runs on floats and nodes, compiled, and on other numbers with other functions:
whoever runs it gives the functions it calls. Each operation stands in ``q(...)``, which does
nothing, or adds noise to show what rounding errors come to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from chainrule.rules import OPERATIONS, Operation

EXACT_FUNCTIONS = ("sqrt", "relu", "fabs", "where", "maximum", "minimum")
"""What a program may use besides + - * / and comparisons to be the same to the last bit."""

_GIVEN: dict[str, Sequence[str]] = {
    # Arithmetic beyond + - * /
    "power": (
        *("{a} ** 2", "{a} ** 3", "{a} ** 4", "{a} ** 5", "{a} ** 1", "{a} ** 0"),
        *("(1.0 + {a} * {a}) ** -1", "abs({a}) ** 1.5", "abs({a}) ** 0.5"),
        "(0.5 + {a} * {a}) ** t({b})",
        "2.0 ** t({a})",
    ),
    "power_term": ("power_term({a}, 0.5 + {b} * {b}, t({c}), {k})",),
    "mod": ("{a} % 1.5", "{a} % (0.5 + {b} * {b})"),
    "floor_divide": ("{a} // 1.5",),
    "fmod": ("fmod({a}, 0.5 + {b} * {b})",),
    "remainder": ("remainder({a}, 0.5 + {b} * {b})",),
    "fsum": ("fsum([{a}, {b}, {c}])",),
    "ldexp": ("ldexp({a}, 3)", "ldexp({a}, -2)"),
    # Exponentials and logarithms
    "exp": ("exp(t({a}))", "exp(-abs({a}))"),
    "exp2": ("exp2(t({a}))",),
    "expm1": ("expm1(t({a}))",),
    "log": ("log(0.1 + abs({a}))",),
    "log2": ("log2(0.1 + {a} * {a})",),
    "log10": ("log10(0.1 + {a} * {a})",),
    "log1p": ("log1p({a} * {a})",),
    "sqrt": ("sqrt(0.1 + {a} * {a})", "sqrt(abs({a}))"),
    # Trigonometry
    "tan": ("tan(t({a}))",),
    "asin": ("asin(0.9 * t({a}))",),
    "acos": ("acos(0.9 * t({a}))",),
    "atan2": ("atan2({a}, {b})", "atan2({a}, 1.5)"),
    "hypot": ("hypot({a}, {b})", "hypot({a}, {b}, {c}, 0.5)"),
    # NaN may have either sign, so it must not decide one
    "copysign": ("copysign({a}, {b} if {b} < 1.0 or {b} >= 1.0 else 1.0)",),
    "over_norm": ("over_norm({a}, {b}, 0.5)",),
    "over_squares": ("over_squares({a}, {b}, 0.5)",),
    # Hyperbolic functions
    "sinh": ("sinh(t({a}))",),
    "cosh": ("cosh(t({a}))",),
    "acosh": ("acosh(1.1 + {a} * {a})",),
    "atanh": ("atanh(0.9 * t({a}))",),
    # Kinks and steps
    "absolute": ("abs({a})", "absolute({a})"),
    "maximum": ("maximum({a}, {b})", "maximum({a}, 0.5)"),
    "minimum": ("minimum({a}, {b})",),
    "where": (
        "where({a} < {b}, {c}, {a})",
        "where(({a} < {b}) & ({c} >= 0.0), {a} * {b}, {c})",
        "where(({a} == 1.0) | ({b} > {c}), {b}, {a} / {c})",
        "where({a} > 0.0, sqrt({a}), 0.0)",
    ),
    "nonnegative": ("nonnegative(0.5 + {a} * {a})",),
    "sign": ("{b} * sign({a})",),
    "step": ("{b} * step({a})",),
    "greater": ("{c} * greater({a}, {b})",),
    "floor": ("{a} - floor({a})",),
    "ceil": ("ceil({a}) * {b}",),
    "trunc": ("trunc({a}) + {b}",),
    "round": ("{b} * round({a}, 0.0)", "{b} * round({a}, 1.0)"),
    "stop_gradient": ("stop_gradient({a}) * {b}",),
    # Activations and special functions
    "gamma": ("gamma(1.5 + 0.5 * t({a}))",),
    "lgamma": ("lgamma(1.5 + {a} * {a})",),
    "polygamma": ("polygamma(1.0, 1.5 + {a} * {a})",),
}
"""How programs use operations where their domains or names ask for it."""

_ELSEWHERE = {"add", "subtract", "multiply", "divide", "negative", "identity", "gather", "message"}
_ELSEWHERE |= {"less", "less_equal", "equal", "not_equal"}
"""Operations that all programs use by their signs, or can't name."""


def _called(row: Operation) -> Sequence[str]:
    """A call of an operation that keeps to no domain."""
    operands = ("{a}", "{b}", "{c}")[: len(row.local_grads)]
    return (f"{row.name}({', '.join(operands)})",)


TEMPLATES: dict[str, Sequence[str]] = {
    name: _GIVEN.get(name) or _called(row)
    for name, row in OPERATIONS.items()
    if name not in _ELSEWHERE
}
"""How programs use the operations of the table; most arguments keep within the domains."""

SIMPLIFIED: Sequence[str] = (
    *("{a} + 0.0", "{a} - 0.0", "0.0 - {a}", "{a} + -0.0", "-0.0 + {a}", "0.0 + {a}"),
    *("{a} * 1.0", "{a} * -1.0", "{a} / -1.0", "{a} * 0.0", "{a} / 4.0", "{a} / 1e-320"),
    *("0.0 / {a}", "-3.0 * -{a}", "-(-{a})", "{a} + -{b}", "-{a} + {b}", "{a} - -{b}"),
    *("-{a} * -{b}", "-{a} / {b}", "{a} - {a}", "{a} / {a}"),
)
"""What a tape may leave out or write in another way, if it takes care of signs and NaN."""

RAW = {"log", "sqrt", "asin", "acosh", "atanh", "exp", "log1p", "sinh", "power", "tan", "log2"}
"""Operations that are sometimes handed anything, so that infinities and NaN come up."""

SLOW = {"gamma", "lgamma", "polygamma"}


@dataclass(frozen=True)
class Program:
    """A function of some numbers, as source.

    Attributes:
        source: ``def f(x)`` or ``def f(x0, x1, ...)``.
        inputs: how many numbers it takes.
        as_array: whether it takes them as one array.
        names: the operations of the table that it calls.
    """

    source: str
    inputs: int
    as_array: bool
    names: frozenset[str]

    def __repr__(self) -> str:
        return "\n" + self.source.replace("q(", "(")

    def function(
        self, functions: Mapping[str, Any], q: Callable[[Any], Any] | None = None
    ) -> Callable[..., Any]:
        """The function, calling those given; ``q`` is applied to the result of each operation."""
        source = self.source if q is not None else self.source.replace("q(", "(")
        scope: dict[str, Any] = {**functions, "q": q}
        exec(source, scope)
        found: Callable[..., Any] = scope["f"]
        return found


def program(seed: int, statements: int, exact: bool) -> Program:
    """A random program.

    Args:
        seed: of the random numbers.
        statements: how many there are on the outer level, at least.
        exact: only + - * /, square roots, comparisons and what picks one of some numbers.
    """
    return _Writer(seed, exact).program(statements)


class _Writer:
    """Writes a program."""

    def __init__(self, seed: int, exact: bool) -> None:
        self.random = Random(seed)
        self.exact = exact
        self.lines: list[str] = []
        self.count = 0
        self.used: set[str] = set()
        self.called: set[str] = set()

    def program(self, statements: int) -> Program:
        """The whole."""
        inputs = self.random.choice((1, 2, 2, 3))
        names = [f"x{i}" for i in range(inputs)]
        as_array = self.random.random() < 0.5
        parameters = "x" if as_array else ", ".join(names)
        self.lines = [f"def f({parameters}):"]
        if as_array:
            self.line(1, ", ".join(names) + ("," if inputs == 1 else "") + " = x")
        for i in range(statements):
            self.statement(1, names, top=i < statements - 1)
        rest = [name for name in names if name not in self.used or name == names[-1]]
        more = self.random.choice(names)
        self.line(1, "return " + " + ".join(rest if more in rest else [more, *rest]))
        return Program("\n".join(self.lines) + "\n", inputs, as_array, frozenset(self.called))

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    # Values

    def name(self, names: Sequence[str], other_than: str = "") -> str:
        """A variable, the new ones more often."""
        recent = names[-3:] if self.random.random() < 0.6 else names
        found = self.random.choice(recent)
        if found == other_than and self.random.random() < 0.8:
            found = self.random.choice(names)
        self.used.add(found)
        return found

    def number(self) -> str:
        return self.random.choice(
            ("0.0", "1.0", "-1.0", "0.5", "2.0", "3.0", "0.1", "-1.7", "1e-3", "-0.0", "1")
        )

    def operand(self, names: Sequence[str], other_than: str = "") -> str:
        return self.name(names, other_than) if self.random.random() < 0.85 else self.number()

    def expression(self, names: Sequence[str]) -> str:
        """One operation, or few, on variables and numbers."""
        a = self.name(names)
        b, c = self.operand(names, a), self.operand(names, a)
        choice = self.random.random()
        if choice < 0.1:
            return f"q(q({a} * {b}) {self.random.choice('+-')} {c})"
        if choice < 0.2:
            return f"q({self.random.choice(SIMPLIFIED).format(a=a, b=self.name(names, a))})"
        if choice < (0.6 if self.exact else 0.37):
            operator = self.random.choice(("+", "-", "*", "*", "/"))
            if operator == "/" and self.random.random() < 0.7:
                return f"q({a} / q(0.5 + q({b} * {b})))"
            return f"q({a} {operator} {b})"
        if choice < (0.65 if self.exact else 0.4):
            return f"-{a}"
        if choice < (0.78 if self.exact else 0.47):
            return self.builtin(names)
        if self.exact:
            return self.exact_call(a, b, c)
        return self.call(names)

    def exact_call(self, a: str, b: str, c: str) -> str:
        choices = (
            f"abs({a})",
            f"q(sqrt({a}))",
            f"q(sqrt(q(0.1 + q({a} * {a}))))",
            f"relu({a})",
            f"maximum({a}, {b})",
            f"minimum({a}, {c})",
            f"where({a} < {b}, {a}, {c})",
            f"where(({a} <= {b}) & ({a} != 0.0), {c}, q({a} / {b}))",
            f"where(({a} > {c}) | ({a} < {b}), q({a} * {b}), {c})",
            f"where({a} > 0.0, q(sqrt({a})), 0.0)",
        )
        return self.random.choice(choices)

    def call(self, names: Sequence[str]) -> str:
        """An operation of the table."""
        name = self.random.choice(list(TEMPLATES))
        if name in SLOW and self.random.random() < 0.7:
            name = "sin"
        self.called.add(name)
        a = self.name(names)
        b, c = self.name(names, a), self.operand(names, a)
        if name in RAW and self.random.random() < 0.1:
            return f"q({a} ** {b})" if name == "power" else f"q({name}({a}))"
        k = self.random.choice(("0.0", "1.0", "2.0"))
        text = self.random.choice(TEMPLATES[name]).format(a=a, b=b, c=c, k=k)
        return f"q({text})"

    def builtin(self, names: Sequence[str]) -> str:
        """Python's own functions that compare or add."""
        a = self.name(names)
        b, c = self.operand(names, a), self.operand(names, a)
        return self.random.choice(
            (
                f"max({a}, {b})",
                f"min({a}, {b}, {c})",
                f"max([{a}, {b}, {c}], key=abs)",
                f"sorted([{a}, {b}, {c}])[{self.random.randrange(3)}]",
                f"sorted([{a}, {b}], reverse=True)[0]",
                f"abs({a})",
                f"q(sum([{a}, {b}, {c}]))",
                f"({a} if {a} < {b} else {c})",
            )
        )

    # Conditions

    def condition(self, names: Sequence[str]) -> str:
        a = self.name(names)
        kind = self.random.random()
        if kind < 0.45:
            return f"{a} {self.comparison()} {self.number()}"
        if kind < 0.75:
            return f"{a} {self.comparison()} {self.operand(names, a)}"
        if kind < 0.8:
            return f"{a} {self.random.choice(('==', '!='))} {self.number()}"
        if kind < 0.85:
            return f"{a} == {self.name(names, a)}"
        if kind < 0.9:
            return f"{self.number()} < {a} <= {self.name(names, a)}"
        if kind < 0.94:
            return f"{a} > 0.0 and {self.condition(names)}"
        if kind < 0.98:
            return f"not {a} < 1.0 or {self.condition(names)}"
        return f"{a} != {a}"

    def comparison(self) -> str:
        return self.random.choice(("<", "<=", ">", ">="))

    # Statements

    def fresh(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def statement(self, depth: int, names: list[str], top: bool = False) -> None:
        """Add a statement that makes a new variable."""
        choice = self.random.random()
        new = self.fresh()
        if depth > 3 or choice < 0.6:
            self.line(depth, f"{new} = {self.expression(names)}")
        elif choice < 0.8:
            self.branches(depth, names, new)
        elif choice < 0.87:
            self.for_loop(depth, names, new)
        elif choice < 0.95:
            self.while_loop(depth, names, new)
        elif top and depth == 1:
            self.line(depth, f"if {self.condition(names)}:")
            self.line(depth + 1, f"return {self.expression(names)}")
            self.line(depth, f"{new} = {self.expression(names)}")
        else:
            self.line(depth, f"{new} = {self.expression(names)}")
        names.append(new)

    def branches(self, depth: int, names: Sequence[str], new: str) -> None:
        """If, elif, else, nested."""
        self.line(depth, f"if {self.condition(names)}:")
        self.block(depth + 1, names, new)
        for _ in range(self.random.choice((0, 0, 1, 2))):
            self.line(depth, f"elif {self.condition(names)}:")
            self.block(depth + 1, names, new)
        self.line(depth, "else:")
        self.block(depth + 1, names, new)

    def block(self, depth: int, names: Sequence[str], new: str) -> None:
        """Some statements, the last of which makes the variable."""
        inner = list(names)
        for _ in range(self.random.choice((0, 0, 0, 1, 2))):
            self.statement(depth, inner)
        self.line(depth, f"{new} = {self.expression(inner)}")

    def for_loop(self, depth: int, names: Sequence[str], new: str) -> None:
        self.line(depth, f"{new} = {self.operand(names)}")
        self.line(depth, f"for _ in range({self.random.randint(1, 4)}):")
        inner = [*names, new]
        if self.random.random() < 0.3:
            self.line(depth + 1, f"if {self.condition(inner)}:")
            self.line(depth + 2, "break")
        self.line(depth + 1, f"{new} = q(q(0.5 * {new}) + {self.expression(inner)})")

    def while_loop(self, depth: int, names: Sequence[str], new: str) -> None:
        """One that ends when it has converged, or after some rounds (it may be infinite)."""
        a = self.name(names)
        n = f"n{self.count}"
        self.line(depth, f"{new}, {n} = {a}, 0")
        if self.random.random() < 0.5:
            self.line(
                depth, f"while abs({new}) > {self.random.choice(('0.3', '1.0'))} and {n} < 9:"
            )
            self.line(depth + 1, f"{new} = q({new} * {self.random.choice(('0.5', '-0.25'))})")
        else:  # Newton's method for a square root
            self.line(depth, f"while abs(q(q({new} * {new}) - {a})) > 1e-3 and {n} < 9:")
            self.line(depth + 1, f"{new} = q(0.5 * q({new} + q({a} / {new})))")
        self.line(depth + 1, f"{n} += 1")


SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 3.0, math.inf, -math.inf, math.nan, 1e-3, 5e-324, 1e300)


def points(seed: int, inputs: int, lanes: int, special: float = 0.2) -> list[list[float]]:
    """Random inputs, some of them special numbers, some equal to each other."""
    random = Random(seed)
    table = []
    for _ in range(lanes):
        row: list[float] = []
        for _ in range(inputs):
            kind = random.random()
            if kind < special:
                row.append(random.choice(SPECIAL))
            elif row and kind < special + 0.05:
                row.append(row[-1])
            else:
                row.append(random.choice((-1, 1)) * 2.0 ** random.uniform(-3.0, 3.0))
        table.append(row)
    return table
