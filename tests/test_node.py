"""Nodes as numbers: construction, operators with everything around them, comparisons, text."""

import math
import operator
import pickle
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import chainrule
from chainrule import BinaryOpNode, Node, OperationNode, PowOp, ReLUNode, TanhNode, group
from chainrule import math as cm

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    "%": operator.mod,
    "//": operator.floordiv,
}
NUMBERS: list[Any] = [
    3,
    True,
    2.5,
    Fraction(5, 2),
    np.float64(2.5),
    np.float32(2.5),
    np.float16(2.5),
    np.int64(3),
    np.uint8(3),
]

symbols = pytest.mark.parametrize("symbol", OPERATORS)
numbers = pytest.mark.parametrize("number", NUMBERS, ids=lambda x: f"{type(x).__name__} {x}")


def nodes(*values: float) -> "np.ndarray[Any, np.dtype[np.object_]]":
    """An array of leaves."""
    return np.array([Node(value) for value in values], dtype=object)


def data(x: Any) -> Any:
    """The values of a node, or of the nodes and numbers of an array."""
    if isinstance(x, Node):
        return x.data
    return [data(item) for item in x] if isinstance(x, (list, np.ndarray)) else x


# Construction


@numbers
def test_a_leaf_holds_the_float_equal_to_the_number(number: Any) -> None:
    """Every kind of real number becomes a float."""
    x = Node(number)
    assert type(x.data) is float
    assert x.data == float(number)


def test_a_new_leaf() -> None:
    """No gradient, no parents, no operation, no name, no groups."""
    x = Node(1.5)
    assert (x.grad, x._parents, x.operands, x.operation) == (0.0, (), (), None)
    assert (x.name, x.groups, x.line) == (None, (), None)


@pytest.mark.parametrize("value", [math.inf, -math.inf, 5e-324, -0.0, 1.7976931348623157e308])
def test_a_leaf_keeps_extreme_values(value: float) -> None:
    """Infinities, the least and the greatest, and the sign of zero."""
    assert Node(value).data == value
    assert math.copysign(1.0, Node(value).data) == math.copysign(1.0, value)


def test_a_leaf_keeps_nan() -> None:
    """NaN is a value as any."""
    assert math.isnan(Node(math.nan).data)


def test_keywords() -> None:
    """All arguments can be given by name."""
    x = Node(data=1.0, name="x")
    y = Node(data=2.0, parents=(x,), name="y")
    assert y._parents == (x,)
    assert y.name == "y"


@pytest.mark.parametrize("kind", [tuple, list, iter])
def test_parents_are_any_iterable_of_nodes(kind: Callable[[Any], Any]) -> None:
    """They are kept as a tuple, in order, repeated ones repeatedly."""
    x, y = Node(1.0), Node(2.0)
    assert Node(3.0, kind((x, y, x)))._parents == (x, y, x)


def test_no_parents_make_a_leaf() -> None:
    """An empty sequence of parents is that of a leaf."""
    assert Node(3.0, [])._parents == ()


# Names, data, gradients


def test_name_can_be_set_and_removed() -> None:
    """A name is text or None; results of operations can have one, too."""
    x = Node(1.0, name="weight")
    y = x * 2
    assert (x.name, y.name) == ("weight", None)
    y.name = "twice"
    x.name = None
    assert (x.name, y.name) == (None, "twice")
    x.name = ""
    assert x.name == ""


def test_naming_one_node_names_no_other() -> None:
    """What nodes of a group share is not changed."""
    with group("layer"):
        x, y = Node(1.0), Node(2.0)
    x.name = "x"
    assert (x.name, y.name) == ("x", None)
    assert x.groups == y.groups == ("layer",)


@numbers
def test_data_and_grad_of_a_leaf_can_be_set(number: Any) -> None:
    """To any real number, kept as a float."""
    x = Node(1.0)
    x.data = number
    x.grad = number
    assert type(x.data) is type(x.grad) is float
    assert x.data == x.grad == float(number)


class OddFloat(float):
    """Not what its own conversion says, as everywhere in Python's arithmetic."""

    def __float__(self) -> float:
        return 7.0


class OddInt(int):
    """Likewise."""

    def __float__(self) -> float:
        return 7.0


@pytest.mark.parametrize("number", [OddFloat(3.0), OddInt(3)])
def test_a_subclass_of_float_or_int_is_its_value(number: Any) -> None:
    """However a node meets it."""
    x = Node(2.0)
    assert (x + number).data == (number + x).data == 5.0
    assert (x**number).data == 8.0
    assert Node(number).data == 3.0
    assert type(Node(number).data) is float
    assert cm.atan2(x, number).data == math.atan2(2.0, 3.0)
    assert chainrule.rules.atan2(x, number).data == math.atan2(2.0, 3.0)
    x.data = number
    x.grad = number
    assert (x.data, x.grad) == (3.0, 3.0)
    x.backward(number)
    assert x.grad == 6.0


@pytest.mark.parametrize("number", [np.float64(3.0), np.int64(3), np.float32(3.0), np.bool_(True)])
def test_comparisons_with_numpys_numbers_give_a_bool(number: Any) -> None:
    """Python's, not NumPy's, which is no bool."""
    x = Node(2.0)
    assert all(type(holds) is bool for holds in (x < number, x >= number, x == number, x != number))


def test_a_keyword_that_python_uses_itself() -> None:
    """It is unknown, like any other."""
    for name in ("self", "node"):
        with pytest.raises(TypeError, match=f"no argument '{name}'"):
            Node(2.0, **{name: 1})


def test_another_init(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of any class, it is called where somebody puts it into the place of Node's own."""
    made: list[Any] = []
    init = Node.__init__

    def counted(self: Any, *args: Any, **kwargs: Any) -> None:
        made.append(self)
        init(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Node, "__init__", counted)
        nodes = [Node(1.0), Node(2), Node(3.0, name="x")]
    assert list(map(id, made)) == list(map(id, nodes))
    assert [node.data for node in nodes] == [1.0, 2.0, 3.0]
    Node(4.0)
    assert len(made) == 3


def test_data_in_place() -> None:
    """A step of gradient descent as the seed writes it."""
    x = Node(1.0)
    x.grad = 4.0
    x.data -= 0.25 * x.grad
    x.grad += 1.0
    assert (x.data, x.grad) == (0.0, 5.0)


def test_grad_of_a_result_can_be_set() -> None:
    """Only its value is fixed by its operands."""
    y = Node(1.0) * 2
    y.grad = 3.0
    assert y.grad == 3.0


# Operators


@symbols
def test_operator_of_two_nodes(symbol: str) -> None:
    """A BinaryOpNode that remembers both, in order."""
    x, y = Node(7.5), Node(2.0)
    z = OPERATORS[symbol](x, y)
    assert type(z) is BinaryOpNode
    assert z.data == OPERATORS[symbol](7.5, 2.0)
    assert z._parents == z.operands == (x, y)
    assert z._op == str(z) == symbol
    assert z.operation is not None
    assert z.operation.symbol == symbol


@symbols
@numbers
def test_operator_with_a_number_on_the_right(symbol: str, number: Any) -> None:
    """A node; the number is a constant of the operation."""
    x = Node(7.5)
    z = OPERATORS[symbol](x, number)
    assert isinstance(z, OperationNode)
    assert z.data == OPERATORS[symbol](7.5, float(number))
    assert type(z.data) is float
    assert z._parents == (x,)
    assert z.operands == (x, float(number))
    assert type(z.operands[1]) is float


@symbols
@numbers
def test_operator_with_a_number_on_the_left(symbol: str, number: Any) -> None:
    """The same, NumPy's scalars included."""
    x = Node(1.25)
    z = OPERATORS[symbol](number, x)
    assert isinstance(z, OperationNode)
    assert z.data == OPERATORS[symbol](float(number), 1.25)
    assert type(z.data) is float
    assert z._parents == (x,)
    assert z.operands == (float(number), x)
    assert type(z.operands[0]) is float


@symbols
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, object])
def test_operator_with_an_array(symbol: str, dtype: Any) -> None:
    """An object array of nodes of the same shape, the array on either side."""
    x = Node(1.5)
    array = np.array([[1, 2, 3], [4, 5, 6]], dtype=dtype)
    for swapped in (False, True):
        result = OPERATORS[symbol](array, x) if swapped else OPERATORS[symbol](x, array)
        expected = (
            OPERATORS[symbol](array.astype(float), 1.5)
            if swapped
            else OPERATORS[symbol](1.5, array.astype(float))
        )
        assert isinstance(result, np.ndarray)
        assert (result.shape, result.dtype) == ((2, 3), np.dtype(object))
        assert all(isinstance(z, OperationNode) and z._parents == (x,) for z in result.flat)
        assert data(result) == expected.tolist()


@symbols
def test_operator_with_an_array_of_nodes(symbol: str) -> None:
    """Element by element, in order."""
    x = Node(1.5)
    array = nodes(2.0, 3.0)
    right, left = OPERATORS[symbol](x, array), OPERATORS[symbol](array, x)
    assert [z._parents for z in right] == [(x, array[0]), (x, array[1])]
    assert [z._parents for z in left] == [(array[0], x), (array[1], x)]
    assert data(right) == [OPERATORS[symbol](1.5, 2.0), OPERATORS[symbol](1.5, 3.0)]
    assert data(left) == [OPERATORS[symbol](2.0, 1.5), OPERATORS[symbol](3.0, 1.5)]


@symbols
def test_operator_with_an_array_without_dimensions(symbol: str) -> None:
    """An array of one number and no dimension counts as that number."""
    x = Node(1.5)
    for z in (OPERATORS[symbol](x, np.array(2.0)), OPERATORS[symbol](np.array(2.0), x)):
        assert isinstance(z, OperationNode)
        assert z._parents == (x,)


def test_operator_with_an_empty_array() -> None:
    """Nothing, as objects."""
    result = Node(1.0) * np.zeros((0, 2))
    assert (result.shape, result.dtype) == ((0, 2), np.dtype(object))


@symbols
@pytest.mark.parametrize("u", [0.0, -0.0, 1.0, -8.0, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("v", [0.0, -0.0, 2.0, -1.0, 1 / 3, math.inf, -math.inf, math.nan])
def test_operators_agree_however_they_are_called(symbol: str, u: float, v: float) -> None:
    """Nodes on both sides, on either side, and the table on numbers give the same bits."""
    apply = OPERATORS[symbol]
    both = apply(Node(u), Node(v))
    values = [
        both.data,
        apply(Node(u), v).data,
        apply(u, Node(v)).data,
        both.operation(u, v),
        BinaryOpNode(Node(u), Node(v), symbol).data,
    ]
    assert len({value.hex() for value in values}) == 1


def test_division_by_zero_and_friends() -> None:
    """Nothing raises on a value."""
    x = Node(0.0)
    assert (1 / x).data == math.inf
    assert (-1 / x).data == -math.inf
    assert math.isnan((x / 0).data)
    assert math.isnan((Node(-8.0) ** (1 / 3)).data)
    assert (Node(1e200) * 1e200).data == math.inf
    assert (Node(10.0) ** 400).data == math.inf
    assert math.isnan((x % 0).data)


def test_signs_and_absolute_value() -> None:
    """The unary operators; plus gives the node itself."""
    x = Node(-1.5)
    assert (-x).data == 1.5
    assert abs(x).data == 1.5
    assert +x is x
    assert math.copysign(1.0, (-Node(0.0)).data) == -1.0


def test_augmented_assignment_makes_a_new_node() -> None:
    """Other names for the old node are not disturbed."""
    x = y = Node(2.0)
    y += 1
    y *= x
    assert (x.data, y.data) == (2.0, 6.0)
    assert y._parents[1] is x


def test_sum_and_product() -> None:
    """Python's own sum begins with the number 0."""
    xs: list[Any] = [Node(1.0), Node(2.0), Node(4.0)]
    assert sum(xs).data == 7.0
    assert math.prod(xs).data == 8.0
    assert sum(xs, start=xs[0]).data == 8.0


def test_power_with_a_number_is_a_powop() -> None:
    """The seed's class; the exponent is n, and its symbol says so."""
    y = Node(3.0) ** 2
    assert type(y) is PowOp
    assert (y.n, y.data, str(y)) == (2.0, 9.0, "** 2")
    assert type(PowOp(Node(3.0), 2).n) is float


def test_rounding() -> None:
    """Python's rounding functions give nodes with the derivative 0."""
    x = Node(-2.5)
    results = [round(x), math.floor(x), math.ceil(x), math.trunc(x), round(Node(2.675), 2)]
    assert all(isinstance(y, OperationNode) for y in results)
    assert data(results) == [-2.0, -3.0, -2.0, -2.0, 2.67]
    assert data([round(Node(value)) for value in (0.5, 1.5, 2.5, -0.5)]) == [0.0, 2.0, 2.0, -0.0]
    assert round(Node(1234.0), -2).data == 1200.0
    for y in results[:4]:
        y.backward()
    assert x.grad == 0.0


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_rounding_of_what_is_not_finite(value: float) -> None:
    """Stays what it is."""
    x = Node(value)
    for y in (round(x), math.floor(x), math.ceil(x), math.trunc(x), round(x, 2)):
        assert y.data.hex() == value.hex()


# NumPy's functions on arrays of nodes

UNARY: dict[str, list[float]] = {
    "absolute": [-1.5, 0.0, 2.0],
    "arccos": [-0.5, 0.0, 0.5],
    "arccosh": [1.0, 1.5, 40.0],
    "arcsin": [-0.5, 0.0, 0.5],
    "arcsinh": [-1.5, 0.0, 2.0],
    "arctan": [-1.5, 0.0, 2.0],
    "arctanh": [-0.5, 0.0, 0.5],
    "cbrt": [-8.0, 0.0, 2.0],
    "ceil": [-1.5, 0.2, 2.0],
    "cos": [-1.5, 0.0, 2.0],
    "cosh": [-1.5, 0.0, 2.0],
    "deg2rad": [-1.5, 0.0, 90.0],
    "degrees": [-1.5, 0.0, 2.0],
    "exp": [-1.5, 0.0, 2.0],
    "exp2": [-1.5, 0.0, 2.0],
    "expm1": [-1.5, 0.0, 1e-12],
    "fabs": [-1.5, 0.0, 2.0],
    "floor": [-1.5, 0.2, 2.0],
    "log": [0.1, 1.0, 2.0],
    "log10": [0.1, 1.0, 2.0],
    "log1p": [-0.5, 0.0, 1e-12],
    "log2": [0.1, 1.0, 2.0],
    "negative": [-1.5, 0.0, 2.0],
    "positive": [-1.5, 0.0, 2.0],
    "rad2deg": [-1.5, 0.0, 2.0],
    "radians": [-1.5, 0.0, 90.0],
    "reciprocal": [-1.5, 0.5, 2.0],
    "rint": [-1.5, 0.5, 2.5],
    "round": [-1.5, 0.5, 2.5],
    "sin": [-1.5, 0.0, 2.0],
    "sinh": [-1.5, 0.0, 2.0],
    "sqrt": [0.0, 1.0, 2.0],
    "square": [-1.5, 0.0, 2.0],
    "tan": [-1.5, 0.0, 2.0],
    "tanh": [-1.5, 0.0, 2.0],
    "trunc": [-1.5, 0.2, 2.0],
}
BINARY: dict[str, tuple[float, float]] = {
    "add": (1.5, -2.0),
    "arctan2": (1.5, -2.0),
    "divide": (1.5, -2.0),
    "floor_divide": (7.5, -2.0),
    "fmod": (-7.5, 2.0),
    "hypot": (3.0, -4.0),
    "maximum": (1.5, -2.0),
    "minimum": (1.5, -2.0),
    "multiply": (1.5, -2.0),
    "power": (1.5, -2.0),
    "remainder": (-7.5, 2.0),
    "subtract": (1.5, -2.0),
}


@pytest.mark.parametrize("name", UNARY)
def test_numpy_function_of_an_array_of_nodes(name: str) -> None:
    """An array of nodes with NumPy's values on floats."""
    values = UNARY[name]
    array = nodes(*values)
    result = getattr(np, name)(array)
    assert all(isinstance(y, Node) for y in result)
    assert all(y is x or y._parents[0] is x for x, y in zip(array, result, strict=True))
    assert data(result) == pytest.approx(getattr(np, name)(np.array(values)).tolist(), rel=1e-14)


@pytest.mark.parametrize("name", BINARY)
def test_numpy_function_of_two_arrays(name: str) -> None:
    """Nodes with nodes, nodes with numbers and numbers with nodes."""
    u, v = BINARY[name]
    function = getattr(np, name)
    expected = pytest.approx(float(function(u, v)), rel=1e-14)
    assert data(function(nodes(u), nodes(v))) == [expected]
    assert data(function(nodes(u), v)) == [expected]
    if name not in ("arctan2", "fmod", "hypot"):  # NumPy asks the first operand for its method
        assert data(function(np.array([u]), nodes(v))) == [expected]


def test_numpy_reductions() -> None:
    """Sums, products, means, the like; and what they use, derivatives included."""
    values = [3.0, 1.0, 2.0]
    floats, array = np.array(values), nodes(*values)
    for name in ("sum", "prod", "mean", "max", "min", "ptp", "median", "var", "std"):
        reduced = getattr(np, name)(array)
        assert isinstance(reduced, Node), name
        assert reduced.data == pytest.approx(float(getattr(np, name)(floats)), rel=1e-14), name
    for name in ("cumsum", "cumprod", "diff", "sort"):
        assert data(getattr(np, name)(array)) == getattr(np, name)(floats).tolist(), name
    assert (array @ array).data == 14.0
    assert np.dot(array, floats).data == 14.0
    assert int(np.argmax(array)) == 0
    np.var(array).backward()
    assert [x.grad for x in array] == pytest.approx([2 / 3, -2 / 3, 0.0])


def test_numpy_clip_and_where() -> None:
    """Comparisons of arrays give arrays of bool, so that masks work."""
    array = nodes(-1.0, 0.5, 2.0)
    assert data(np.clip(array, 0.0, 1.0)) == [0.0, 0.5, 1.0]
    zero = Node(0.0)
    chosen = np.where(array > 0, array, np.array([zero]))
    assert chosen.tolist() == [zero, array[1], array[2]]
    assert array[array > 0].tolist() == [array[1], array[2]]


def test_matrices_of_nodes() -> None:
    """Products of object arrays."""
    a = np.array([[Node(1.0), Node(2.0)], [Node(3.0), Node(4.0)]])
    assert data(a @ np.array([5.0, 6.0])) == [17.0, 39.0]
    assert data(np.array([[1.0, 1.0]]) @ a) == [[4.0, 6.0]]
    assert data(np.outer(a[0], a[1])) == [[3.0, 4.0], [6.0, 8.0]]


# Comparisons

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
comparisons = pytest.mark.parametrize("symbol", COMPARISONS)


@comparisons
@pytest.mark.parametrize("number", [2, 2.5, True, np.float64(2.5), np.float32(2), np.int64(3)])
@pytest.mark.parametrize("value", [1.0, 2.0, 2.5, 3.0, math.nan])
def test_comparing_with_a_number(symbol: str, number: Any, value: float) -> None:
    """Values are compared, in either order, to plain truth values."""
    compare, x = COMPARISONS[symbol], Node(value)
    for result, expected in (
        (compare(x, number), compare(value, float(number))),
        (compare(number, x), compare(float(number), value)),
    ):
        assert isinstance(result, (bool, np.bool_))
        assert result == expected


@comparisons
def test_comparing_with_a_number_that_no_float_equals(symbol: str) -> None:
    """Python compares exactly, and so do nodes."""
    compare = COMPARISONS[symbol]
    for number in (2**53 + 1, 10**400, Fraction(1, 3)):
        for value in (2.0**53, 1 / 3):
            assert compare(Node(value), number) is compare(value, number)
            assert compare(number, Node(value)) is compare(number, value)


@pytest.mark.parametrize("symbol", ["<", "<=", ">", ">="])
@pytest.mark.parametrize("u", [1.0, 2.0, math.nan])
@pytest.mark.parametrize("v", [1.0, 2.0, math.nan])
def test_ordering_of_nodes(symbol: str, u: float, v: float) -> None:
    """By value, to a plain bool."""
    compare = COMPARISONS[symbol]
    assert compare(Node(u), Node(v)) is compare(u, v)


@comparisons
def test_comparing_with_an_array(symbol: str) -> None:
    """An array of bool."""
    compare, x = COMPARISONS[symbol], Node(2.0)
    array = np.array([1.0, 2.0, 3.0])
    for result, expected in (
        (compare(x, array), compare(2.0, array)),
        (compare(array, x), compare(array, 2.0)),
        (compare(nodes(1.0, 2.0, 3.0), 2.0), compare(array, 2.0)),
    ):
        assert result.dtype == np.dtype(bool)
        assert result.tolist() == expected.tolist()


def test_ordering_an_array_of_nodes_by_a_node() -> None:
    """Element by element."""
    array, x = nodes(1.0, 2.0, 3.0), Node(2.0)
    assert (array < x).tolist() == [True, False, False]
    assert (x <= array).tolist() == [False, True, True]
    assert (array == array[1]).tolist() == [False, True, False]


def test_equality_of_nodes_is_identity() -> None:
    """Equal values do not make equal nodes."""
    x, y = Node(2.0), Node(2.0)
    same = x
    assert x == same
    assert (x != same) is False
    assert x != y
    assert (x == y) is False
    nan = Node(math.nan)
    assert [nan] == [nan]


def test_equality_with_anything_else() -> None:
    """Is false, as for a float."""
    x = Node(2.0)
    others: list[Any] = ["2", None, [2.0], object(), 2j]
    for other in others:
        assert (x == other) is False
        assert (x != other) is True
        assert (other == x) is False


def test_nodes_in_sets_and_dicts() -> None:
    """Found by identity."""
    x, y = Node(2.0), Node(2.0)
    assert len({x, y, x}) == 2
    table = {x: "x", y: "y"}
    assert (table[x], table[y]) == ("x", "y")
    assert Node(2.0) not in table
    assert hash(x) == hash(x)
    x.data = 3.0
    assert table[x] == "x"


def test_nodes_in_lists() -> None:
    """index, count, remove and in find the node itself."""
    x, y, z = Node(2.0), Node(2.0), Node(2.0)
    assert [x, y, z].index(y) == 1
    assert (x, y, x).count(x) == 2
    assert z not in [x, y]
    rest = [x, y, z]
    rest.remove(z)
    assert rest == [x, y]
    assert (y * z)._parents.index(z) == 1


def test_max_min_and_sorted() -> None:
    """Python's own choose among the nodes."""
    x, y, z = Node(2.0), Node(3.0), Node(1.0)
    assert max(x, y, z) is y
    assert min([x, y, z]) is z
    assert sorted([x, y, z]) == [z, x, y]


# Text


def test_repr() -> None:
    """Class, value and gradient in full, the operation, and the name."""
    assert repr(Node(0.1)) == "Node(data=0.1, grad=0.0)"
    assert repr(Node(1, name="w")) == "Node(data=1.0, grad=0.0, name='w')"
    assert repr(Node(2.0) * Node(3.0)) == "BinaryOpNode(data=6.0, grad=0.0, op='*')"
    assert repr(Node(2.0) ** 2) == "PowOp(data=4.0, grad=0.0, op='** 2')"
    x = Node(0.0)
    y = x.exp()
    y.name = "e"
    y.backward()
    assert repr(y) == "OperationNode(data=1.0, grad=1.0, op='exp', name='e')"


def test_str_of_leaves_and_users_nodes_is_repr() -> None:
    """Only operations have a symbol."""

    class Mine(Node):
        pass

    x = Node(0.1)
    assert str(x) == repr(x)
    assert str(Mine(1.0, (x,))) == "Mine(data=1.0, grad=0.0)"


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda x, y: x + y, "+"),
        (lambda x, y: x - y, "-"),
        (lambda x, y: x // y, "//"),
        (lambda x, y: x * 2, "* 2"),
        (lambda x, y: 2 * x, "2 *"),
        (lambda x, y: 1 / x, "1 /"),
        (lambda x, y: x**-0.5, "** -0.5"),
        (lambda x, y: x + 1e6, "+ 1e+06"),
        (lambda x, y: x % 3, "% 3"),
        (lambda x, y: -x, "neg"),
        (lambda x, y: abs(x), "abs"),
        (lambda x, y: x.tanh(), "tanh"),
        (lambda x, y: x.relu(), "relu"),
        (lambda x, y: x.exp(), "exp"),
        (lambda x, y: cm.maximum(x, y), "maximum"),
        (lambda x, y: cm.maximum(0, y), "maximum(0, ·)"),
        (lambda x, y: cm.where(x > y, x, y), "where(0, ·, ·)"),
        (lambda x, y: cm.fsum([x, 1, y]), "fsum(·, 1, ·)"),
        (lambda x, y: round(x, 2), "round(·, 2)"),
    ],
)
def test_str_of_an_operation_is_its_symbol(build: Callable[[Any, Any], Any], text: str) -> None:
    """With its constants, as the seed's pictures label it."""
    assert str(build(Node(2.0), Node(3.0))) == text


def test_format() -> None:
    """Without a specification as repr, with one as the value."""
    x = Node(3.14159)
    y = x * 2
    assert f"{x:.2f} {y:8.3f} {x:+.1e}" == "3.14    6.283 +3.1e+00"
    assert f"{x}" == f"{x!r}" == repr(x)
    assert f"{y}" == f"{y!r}" == repr(y)
    assert f"{y!s}" == "* 2"


# Leaving the graph


@pytest.mark.parametrize(
    ("leave", "advice"),
    [
        (float, r"chainrule\.math.*node\.data"),
        (complex, r"node\.data"),
        (math.exp, r"chainrule\.math.*node\.data"),
        (math.sqrt, r"chainrule\.math.*node\.data"),
        (math.isnan, r"chainrule\.math.*node\.data"),
        (lambda x: math.atan2(x, 1.0), r"chainrule\.math.*node\.data"),
        (lambda x: np.array([x], dtype=float), r"node\.data"),
        (lambda x: np.zeros(1).__setitem__(0, x), r"node\.data"),
    ],
)
@pytest.mark.parametrize("result", [False, True])
def test_leaving_the_graph_is_an_error_with_advice(
    leave: Callable[[Any], Any], advice: str, result: bool
) -> None:
    """Nothing turns a node into a number behind one's back."""
    x = Node(2.0)
    with pytest.raises(TypeError, match=advice):
        leave(x * 2 if result else x)


def test_data_leaves_the_graph() -> None:
    """The one way out is a plain float."""
    y = Node(2.0) * 3
    assert type(y.data) is float
    assert math.exp(y.data) == math.exp(6.0)


# Groups


def test_groups_nest() -> None:
    """A node belongs to all groups open where it is made, outermost first."""
    x = Node(1.0)
    with group("model"):
        y = x * 2
        with group("layer"):
            z = y + x
        u = z.tanh()
    v = u + 1
    assert [n.groups for n in (x, y, z, u, v)] == [
        (),
        ("model",),
        ("model", "layer"),
        ("model",),
        (),
    ]


def test_a_group_holds_leaves_named_nodes_and_users_nodes() -> None:
    """However they are made."""

    class Mine(Node):
        pass

    with group("g"):
        made = [Node(1.0), Node(1.0, name="x"), Mine(1.0, (Node(2.0),)), abs(Node(-1.0))]
    assert all(node.groups == ("g",) for node in made)
    assert made[1].name == "x"


def test_a_group_and_a_name_leave_the_operands() -> None:
    """Constants, more than two operands and a user's parents, set before a name and after."""

    class Mine(Node):
        pass

    x, y = Node(2.0), Node(5.0)
    with group("g"):
        z, s, mine = 3.0 - x, cm.fsum([x, 1.0, y]), Mine(1.0, (x, y), "mine")
    for node, operands in ((z, (3.0, x)), (s, (x, 1.0, y)), (mine, (x, y))):
        assert (node.operands, node.groups) == (operands, ("g",))
        node.name = "n"
        assert (node.operands, node.groups, node.name) == (operands, ("g",), "n")
        node.name = None
        assert (node.operands, node.groups, node.name) == (operands, ("g",), None)
    mine._parents = (y,)
    assert (mine.operands, mine.groups) == ((y,), ("g",))
    mine._parents = ()
    assert (mine.operands, mine.groups) == ((), ("g",))
    (z * s).backward()
    assert (x.grad, y.grad) == (-8.0 + 1.0, 1.0)


def test_a_group_ends_with_an_error() -> None:
    """What is made afterwards is outside."""
    with pytest.raises(RuntimeError, match="inside"), group("g"):
        raise RuntimeError("inside")
    assert Node(1.0).groups == ()


def test_a_group_as_decorator_and_in_a_generator() -> None:
    """The context manager of the standard library."""

    @group("f")
    def f(x: Node) -> Any:
        return x * 2

    assert f(Node(1.0)).groups == f(Node(1.0)).groups == ("f",)


# The table's classes


def test_classes_of_operations() -> None:
    """The seed's names, made by hand, by method and by function."""
    x, y = Node(2.0), Node(3.0)
    assert {type(z) for z in (x.relu(), cm.relu(x), ReLUNode(x))} == {ReLUNode}
    assert {type(z) for z in (x.tanh(), cm.tanh(x), TanhNode(x))} == {TanhNode}
    assert {type(z) for z in (x**2, cm.pow(x, 2), PowOp(x, 2))} == {PowOp}
    assert {type(z) for z in (x + y, BinaryOpNode(x, y, "+"))} == {BinaryOpNode}
    assert issubclass(OperationNode, Node)


def test_operands_in_order() -> None:
    """Constants as floats, nodes as they are."""
    x, y = Node(2.0), Node(3.0)
    assert cm.fma(x, 2, y).operands == (x, 2.0, y)
    assert cm.where(x < y, 1, y).operands == (1.0, 1.0, y)
    assert (5 - x).operands == (5.0, x)
    assert cm.hypot(x, y, x)._parents == (x, y, x)


def test_local_grads() -> None:
    """By position; by parent, the first position counts."""
    x, y = Node(2.0), Node(3.0)
    assert (x * y).local_grads() == (3.0, 2.0)
    assert (x - x).local_grads() == (1.0, -1.0)
    assert (x * y)._local_grad(y) == 2.0
    assert (x - x)._local_grad(x) == 1.0
    assert (6 / x).local_grads() == (-1.5,)
    with pytest.raises(ValueError, match="is not a parent of"):
        (x * 2)._local_grad(y)
    with pytest.raises(ValueError, match="a leaf has no parents"):
        x._local_grad(y)


def test_build_info() -> None:
    """Says which version and engine run; what it returns can be pickled and changed."""
    info = chainrule.build_info()
    assert info["version"] == chainrule.__version__
    assert isinstance(info["compiled"], bool)
    assert pickle.loads(pickle.dumps(info)) == info
    info["version"] = "changed"
    assert chainrule.build_info()["version"] == chainrule.__version__
