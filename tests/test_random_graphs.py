"""Random programs against an independent derivative: dual numbers in mpmath, at 50 digits.

The reference knows nothing of the rules of the package. It takes the operands that the program had
as exact, so that rounding of values is judged node by node, and derivatives apart from it.
"""

import math
import operator
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import unmarked

from chainrule import Node, Operation, rules
from chainrule.backpropagation import gradients

mp = mpmath.MPContext()
mp.dps = 50

same = Operation("same", lambda x: x, (lambda y, x: 1.0,))

# The reference: for each operation, its value and the list of its derivatives


def _sign(x: Any) -> Any:
    return mp.sign(x)


def _half_greater(x: Any, y: Any) -> Any:
    return mp.mpf(1) if x > y else mp.mpf(0.5) if x == y else mp.mpf(0)


def _power(x: Any, n: Any) -> tuple[Any, list[Any]]:
    by_x = n * mp.power(x, n - 1) if n != 0 else mp.mpf(0)
    y = mp.power(x, n)
    return y, [by_x, y * mp.log(x) if x > 0 else _log_of_zero(n) if x == 0 else mp.nan]


def _log_of_zero(n: Any) -> Any:
    """The derivative of x ** n by n at x = 0, with n = 0 or above."""
    return -mp.inf if n == 0 else mp.mpf(0)


def _power_term(c: Any, x: Any, n: Any, k: Any) -> tuple[Any, list[Any]]:
    power, (by_x, by_n) = _power(x, n - k)
    return c * power, [power, c * by_x, c * by_n, None]


def _truncated(x: Any) -> Any:
    return mp.floor(x) if x >= 0 else mp.ceil(x)


def _remainder(u: Any, v: Any, whole: Any) -> tuple[Any, list[Any]]:
    return u - whole * v, [1, -whole]


def _cbrt(x: Any) -> Any:
    return mp.sign(x) * mp.cbrt(abs(x))


def _hypot(*xs: Any) -> tuple[Any, list[Any]]:
    y = mp.sqrt(mp.fsum(x * x for x in xs))
    return y, [x / y if y != 0 else mp.mpf(0) for x in xs]


def _over(p: Any, degree: int, *xs: Any) -> tuple[Any, list[Any]]:
    h = mp.sqrt(mp.fsum(x * x for x in xs))
    return p / h**degree, [1 / h**degree, *[-degree * p * x / h ** (degree + 2) for x in xs]]


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def _angle(y: Any, x: Any) -> tuple[Any, list[Any]]:
    square = x * x + y * y
    return mp.atan2(y, x), [x / square, -y / square]


def _copysign(x: Any, s: Any) -> tuple[Any, list[Any]]:
    return abs(x) * _sign(s), [_sign(x) * _sign(s), 0]


def _lgamma(x: Any) -> tuple[Any, list[Any]]:
    return mp.log(abs(mp.gamma(x))), [mp.digamma(x)]


def _gather(index: Any, *table: Any) -> tuple[Any, list[Any]]:
    if not table or index not in range(len(table)):
        raise ValueError("outside the table")
    return table[int(index)], [None, *[mp.mpf(int(i == index)) for i in range(len(table))]]


REFERENCE: dict[str, Callable[..., tuple[Any, Sequence[Any]]]] = {
    "add": lambda a, b: (a + b, [1, 1]),
    "subtract": lambda a, b: (a - b, [1, -1]),
    "multiply": lambda a, b: (a * b, [b, a]),
    "azmul": lambda a, b: (a * b, [b, a]),
    "message": lambda reached, g, d: (g * d, [None, d, g]),
    "divide": lambda a, b: (a / b, [1 / b, -a / b**2]),
    "negative": lambda x: (-x, [-1]),
    "power": _power,
    "power_term": _power_term,
    "mod": lambda a, b: _remainder(a, b, mp.floor(a / b)),
    "fmod": lambda a, b: _remainder(a, b, _truncated(a / b)),
    "remainder": lambda a, b: _remainder(a, b, mp.nint(a / b)),
    "floor_divide": lambda a, b: (mp.floor(a / b), [0, 0]),
    "fma": lambda a, b, c: (a * b + c, [b, a, 1]),
    "fsum": lambda *xs: (mp.fsum(xs), [1] * len(xs)),
    "ldexp": lambda x, n: (x * mp.mpf(2) ** n, [mp.mpf(2) ** n, None]),
    "exp": lambda x: (mp.exp(x), [mp.exp(x)]),
    "exp2": lambda x: (mp.mpf(2) ** x, [mp.mpf(2) ** x * mp.ln2]),
    "expm1": lambda x: (mp.expm1(x), [mp.exp(x)]),
    "log": lambda x: (mp.log(x), [1 / x]),
    "log2": lambda x: (mp.log(x) / mp.ln2, [1 / (x * mp.ln2)]),
    "log10": lambda x: (mp.log(x) / mp.ln10, [1 / (x * mp.ln10)]),
    "log1p": lambda x: (mp.log1p(x), [1 / (1 + x)]),
    "sqrt": lambda x: (mp.sqrt(x), [1 / (2 * mp.sqrt(x))]),
    "cbrt": lambda x: (_cbrt(x), [1 / (3 * _cbrt(x) ** 2)]),
    "sin": lambda x: (mp.sin(x), [mp.cos(x)]),
    "cos": lambda x: (mp.cos(x), [-mp.sin(x)]),
    "tan": lambda x: (mp.tan(x), [mp.sec(x) ** 2]),
    "asin": lambda x: (mp.asin(x), [1 / mp.sqrt(1 - x * x)]),
    "acos": lambda x: (mp.acos(x), [-1 / mp.sqrt(1 - x * x)]),
    "atan": lambda x: (mp.atan(x), [1 / (1 + x * x)]),
    "atan2": _angle,
    "hypot": _hypot,
    "over_norm": lambda p, *xs: _over(p, 1, *xs),
    "over_squares": lambda p, *xs: _over(p, 2, *xs),
    "sinh": lambda x: (mp.sinh(x), [mp.cosh(x)]),
    "cosh": lambda x: (mp.cosh(x), [mp.sinh(x)]),
    "tanh": lambda x: (mp.tanh(x), [mp.sech(x) ** 2]),
    "sech2": lambda x: (mp.sech(x) ** 2, [-2 * mp.sech(x) ** 2 * mp.tanh(x)]),
    "asinh": lambda x: (mp.asinh(x), [1 / mp.sqrt(1 + x * x)]),
    "acosh": lambda x: (mp.acosh(x), [1 / mp.sqrt(x * x - 1)]),
    "atanh": lambda x: (mp.atanh(x), [1 / (1 - x * x)]),
    "relu": lambda x: (max(x, mp.mpf(0)), [int(x > 0)]),
    "absolute": lambda x: (abs(x), [_sign(x)]),
    "maximum": lambda a, b: (max(a, b), [_half_greater(a, b), _half_greater(b, a)]),
    "minimum": lambda a, b: (min(a, b), [_half_greater(b, a), _half_greater(a, b)]),
    "copysign": _copysign,
    "where": lambda c, a, b: (a if c else b, [None, int(c == 1), int(c == 0)]),
    "less": lambda a, b: (mp.mpf(int(a < b)), [0, 0]),
    "less_equal": lambda a, b: (mp.mpf(int(a <= b)), [0, 0]),
    "equal": lambda a, b: (mp.mpf(int(a == b)), [0, 0]),
    "not_equal": lambda a, b: (mp.mpf(int(a != b)), [0, 0]),
    "gather": _gather,
    "identity": lambda x: (x, [1]),
    "nonnegative": lambda x: (x if x >= 0 else mp.nan, [1]),
    "sign": lambda x: (_sign(x), [0]),
    "step": lambda x: (mp.mpf(int(x > 0)), [0]),
    "greater": lambda a, b: (_half_greater(a, b), [0, 0]),
    "floor": lambda x: (mp.floor(x), [0]),
    "ceil": lambda x: (mp.ceil(x), [0]),
    "trunc": lambda x: (_truncated(x), [0]),
    "round": lambda x, n: (mp.nint(x * mp.mpf(10) ** n) / mp.mpf(10) ** n, [0, None]),
    "stop_gradient": lambda x: (x, [0]),
    "sigmoid": lambda x: (_sigmoid(x), [_sigmoid(x) * _sigmoid(-x)]),
    "softplus": lambda x: (mp.log1p(mp.exp(x)), [_sigmoid(x)]),
    "erf": lambda x: (mp.erf(x), [2 / mp.sqrt(mp.pi) * mp.exp(-x * x)]),
    "erfc": lambda x: (mp.erfc(x), [-2 / mp.sqrt(mp.pi) * mp.exp(-x * x)]),
    "gaussian": lambda x: (mp.exp(-x * x), [-2 * x * mp.exp(-x * x)]),
    "norm_cdf": lambda x: (mp.ncdf(x), [mp.npdf(x)]),
    "norm_pdf": lambda x: (mp.npdf(x), [-x * mp.npdf(x)]),
    "gamma": lambda x: (mp.gamma(x), [mp.gamma(x) * mp.digamma(x)]),
    "lgamma": _lgamma,
    "polygamma": lambda n, x: (mp.psi(int(n), x), [None, mp.psi(int(n) + 1, x)]),
}
NUMBER_ONLY: dict[str, tuple[int, Sequence[float]]] = {  # the position of the number, and numbers
    "power_term": (3, (0.0, 1.0, 2.0)),
    "ldexp": (1, (-2.0, 0.0, 3.0)),
    "where": (0, (0.0, 1.0)),
    "message": (0, (1.0,)),
    "round": (1, (0.0, 1.0, 3.0)),
    "gather": (0, (0.0, 1.0, 2.0)),
    "polygamma": (0, (0.0, 1.0, 2.0)),
}
SYMBOLS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": operator.pow,
    "mod": operator.mod,
    "floor_divide": operator.floordiv,
}
STEPS = {"floor", "ceil", "trunc", "round", "floor_divide", "mod", "fmod", "remainder"}
COMPARISONS = {"less", "less_equal", "equal", "not_equal"}
DULL = COMPARISONS | {"sign", "step", "greater", "floor", "ceil", "trunc", "round", "floor_divide"}


def test_every_operation_of_the_table_has_a_reference() -> None:
    """A new operation needs its line here."""
    assert set(REFERENCE) == set(rules.OPERATIONS)


# Random programs


@dataclass
class Dual:
    """The reference's side of a node: its derivatives by the leaves, in mpmath.

    ``size`` holds what ``slope`` would be if no term cancelled another, and ``depth`` the longest
    path to a leaf: the rounding errors to be expected grow with both.
    """

    slope: dict[int, Any]
    size: dict[int, float]
    depth: int


class Program:
    """A graph that grows by random operations, with its dual numbers beside it."""

    def __init__(self, seed: int, leaves: int, operations: int) -> None:
        self.random = random.Random(seed)
        self.nodes: list[Node] = []
        self.duals: list[Dual] = []
        self.used: set[int] = set()
        self.leaves = leaves
        for i in range(leaves):
            self.nodes.append(Node(self.random.choice((-1, 1)) * self.random.uniform(0.1, 3.0)))
            self.duals.append(Dual({i: mp.mpf(1)}, {i: 1.0}, 0))
        while len(self.nodes) < leaves + operations:
            self.grow()

    def grow(self) -> None:
        """Add one operation, unless its value or a derivative is out of bounds."""
        name = self.random.choice(list(REFERENCE))
        if name in DULL and self.random.random() < 0.7:
            return
        operands = self.operands(name)
        places = [x for x in operands if isinstance(x, int)]
        if not places:
            return
        values = [self.nodes[x].data if isinstance(x, int) else x for x in operands]
        if name in ("atan2", "copysign") and 0.0 in values:
            return  # mpmath has no negative zero
        exact = [mp.mpf(value) for value in values]
        try:
            value, locals_ = REFERENCE[name](*exact)
        except (ValueError, ZeroDivisionError):  # outside the domain
            return
        if not _in_bounds(value, 1e4) or not all(_in_bounds(d, 1e6) for d in locals_):
            return
        node = self.call(name, operands)
        if name in STEPS and abs(node.data - value) > 0.01 * abs(value) + 1e-9:
            return  # rounded across the step: Python's own % and // do that
        assert abs(node.data - value) <= 1e-14 * abs(value) + 1e-300, (name, values)
        dual = Dual({}, {}, 1 + max(self.duals[place].depth for place in places))
        for operand, local in zip(operands, locals_, strict=True):
            if isinstance(operand, int):
                parent = self.duals[operand]
                magnitude = abs(float(local))
                for leaf, slope in parent.slope.items():
                    dual.slope[leaf] = dual.slope.get(leaf, 0) + local * slope
                    dual.size[leaf] = dual.size.get(leaf, 0.0) + magnitude * parent.size[leaf]
        if all(size < 1e30 for size in dual.size.values()):
            self.used.update(places)
            self.nodes.append(node)
            self.duals.append(dual)

    def operands(self, name: str) -> list[int | float]:
        """Places of nodes, new ones more often, and some constants, as floats."""
        arity = len(rules.OPERATIONS[name].local_grads)
        if rules.OPERATIONS[name].variadic:
            arity = self.random.randint(1, 6)
        operands: list[int | float] = []
        for _ in range(arity):
            if operands and self.random.random() < 0.1:
                operands.append(operands[-1])
            elif self.random.random() < 0.15:
                operands.append(self.random.choice((0.5, 2.0, 3.0, -1.0, 1.7, 0.1, -2.5)))
            else:
                recent = self.random.random() < 0.6
                first = max(0, len(self.nodes) - 8) if recent else 0
                operands.append(self.random.randrange(first, len(self.nodes)))
        if name in NUMBER_ONLY:
            position, numbers = NUMBER_ONLY[name]
            operands[position] = self.random.choice(numbers)
        return operands

    def call(self, name: str, operands: Sequence[int | float]) -> Node:
        """Apply the operation, by its operator or by the table's function."""
        given = [self.nodes[x] if isinstance(x, int) else x for x in operands]
        function: Callable[..., Any] = rules.OPERATIONS[name]
        if name in SYMBOLS and self.random.random() < 0.7:
            function = SYMBOLS[name]
        node = function(*given)
        assert isinstance(node, Node)
        assert list(node.operands) == given
        return node

    def root(self) -> tuple[Node, Dual]:
        """The sum of all that nothing else used, so that the whole graph is below."""
        total, dual = self.nodes[0], self.duals[0]
        for i, node in enumerate(self.nodes):
            if i and i not in self.used:
                total = total + node
                dual = Dual(
                    {k: dual.slope.get(k, 0) + self.duals[i].slope.get(k, 0) for k in self.leaf()},
                    {
                        k: dual.size.get(k, 0.0) + self.duals[i].size.get(k, 0.0)
                        for k in self.leaf()
                    },
                    1 + max(dual.depth, self.duals[i].depth),
                )
        return total, dual

    def leaf(self) -> range:
        """The places of the leaves."""
        return range(self.leaves)


def _in_bounds(x: Any, limit: float) -> bool:
    return x is None or (not isinstance(x, mp.mpc) and bool(mp.isfinite(x)) and abs(x) < limit)


def _tolerance(dual: Dual) -> float:
    """A few units in the last place, and what as many random errors as a path is long come to."""
    return 1e-15 * (2.0 + math.sqrt(dual.depth))


programs = st.builds(
    Program,
    seed=st.integers(0, 2**32 - 1),
    leaves=st.integers(1, 6),
    operations=st.one_of(st.integers(1, 40), st.integers(40, 400)),
)
example_count = settings(max_examples=200, deadline=None, derandomize=True, database=None)


@example_count
@given(programs)
def test_gradients(program: Program) -> None:
    """Every leaf's gradient, to the rounding errors of the terms it is the sum of."""
    root, dual = program.root()
    root.backward()
    for i in program.leaf():
        slope, size = dual.slope.get(i, mp.mpf(0)), dual.size.get(i, 0.0)
        assert abs(program.nodes[i].grad - slope) <= _tolerance(dual) * size + 1e-290


@example_count
@given(programs)
def test_sorted_nodes_is_a_topological_order(program: Program) -> None:
    """Root first, each node once, parents after children, and all of the graph."""
    root, _ = program.root()
    order = root.sorted_nodes()
    place = {node: i for i, node in enumerate(order)}
    assert order[0] is root
    assert len(place) == len(order)
    assert all(place[node] < place[parent] for node in order for parent in node._parents)
    assert place.keys() >= set(program.nodes[1:])
    assert unmarked(order)


@example_count
@given(programs)
def test_both_ways_to_backpropagate_agree(program: Program) -> None:
    """In place, below a user's operation, and in the reference: the same bits, and twice."""
    root, _ = program.root()
    order = root.sorted_nodes()
    found = gradients(order, 1.0)
    results = [[found.get(id(node), 0.0).hex() for node in order]]
    for top in (root, same(root), root):
        for i in program.leaf():
            program.nodes[i].grad = 0.0
        top.backward()
        results.append([node.grad.hex() for node in order])
    assert results[0] == results[1] == results[2] == results[3]


@pytest.mark.parametrize("name", REFERENCE)
def test_programs_reach_every_operation(name: str) -> None:
    """No operation of the table is left out by the bounds."""
    assert any(name == node.operation.name for node in _sample() if node.operation is not None)


_sampled: list[Node] = []


def _sample() -> list[Node]:
    if not _sampled:
        for seed in range(20):
            _sampled.extend(Program(seed, 4, 200).nodes)
    return _sampled


def test_the_reference_can_fail() -> None:
    """A derivative that is wrong by a part in 10 billion is found."""
    program = Program(1, 3, 100)
    root, dual = program.root()
    root.backward()
    x = max(program.leaf(), key=lambda i: abs(dual.slope.get(i, 0)))
    wrong = program.nodes[x].grad * (1 + 1e-10)
    assert math.isfinite(wrong)
    assert abs(wrong - dual.slope[x]) > _tolerance(dual) * dual.size[x]
