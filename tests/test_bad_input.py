"""Every bad input: an error of the right type that says what was given and what is accepted."""

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from marks import unmarked
from numpy import ma

import chainrule
from chainrule import (
    BinaryOpNode,
    Node,
    Operation,
    PowOp,
    ReLUNode,
    TanhNode,
    TracedValueError,
    check_grads,
    grad,
    group,
    hessian,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    stop_gradient,
    value_and_grad,
    vjp,
    zero_grad,
)
from chainrule import math as cm

HUGE = 10**400
LIST = [1.0]
X: Any = Node(2.0)
Y: Any = Node(3.0)
TWO: Any = lambda x, y: x * y  # noqa: E731
POINT: Any = np.array([1.0, 2.0])
LEAF: Any = Node  # for what no type checker lets through
ARRAY: Any = np.array([X, Y])


class Answering(Node):
    """A user's operation whose local gradient is whatever it is told."""

    def __init__(self, x: Node, answer: Any) -> None:
        super().__init__(x.data, (x,))
        self.answer = answer

    def _local_grad(self, parent: Node) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Unfinished(Node):
    """A user's operation without a local gradient."""

    def __init__(self, x: Node) -> None:
        super().__init__(x.data, (x,))


def setting(attribute: str, node: Callable[[], Any], value: Any) -> Callable[[], None]:
    """Assign to an attribute of a new node."""
    return lambda: setattr(node(), attribute, value)


def leaf() -> Node:
    """A new one."""
    return Node(2.0)


def result() -> Any:
    """Of an operation."""
    return Node(2.0, name="left") * 3


def entering(name: Any) -> Callable[[], None]:
    """Open a group."""

    def run() -> None:
        with group(name):
            pass

    return run


def subclassing(kind: Any) -> Callable[[], None]:
    """Derive from a class of the table, and make one."""

    def run() -> None:
        type("Mine", (kind,), {})(X)

    return run


def answering(answer: Any) -> Callable[[], None]:
    """Backpropagate through a user's hook."""
    return lambda: Answering(X, answer).backward()


def operating(value: Any, local_grad: Any = 1.0) -> Callable[[], None]:
    """Apply a user's operation and backpropagate."""
    return lambda: Operation("odd", lambda x: value, (lambda y, x: local_grad,))(X).backward()


# Compiled, some arguments meet the compiler's own check first: "str object expected; got int".
NUMBER = "a real number"
OPERAND = "real numbers and nodes"
# What is done, the error, and a part of its message
CASES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    # Making nodes
    "Node of text": (lambda: LEAF("x"), TypeError, rf"Node takes {NUMBER}, not str 'x'"),
    "Node of text that is a number": (
        lambda: LEAF("2"),
        TypeError,
        r"not str '2'; convert .*float",
    ),
    "Node of a complex number": (lambda: LEAF(1 + 2j), TypeError, r"complex \(1\+2j\); .*one real"),
    "Node of a list": (lambda: LEAF([1.0]), TypeError, rf"Node takes {NUMBER}, not list \[1.0\]"),
    "Node of an array": (lambda: LEAF(np.ones(2)), TypeError, r"not ndarray array\(\[1., 1.\]\)"),
    "Node of None": (lambda: LEAF(None), TypeError, rf"Node takes {NUMBER}, not NoneType None"),
    "Node of bytes": (lambda: LEAF(b"1"), TypeError, r"not bytes b'1'"),
    "Node of a node": (lambda: Node(X), TypeError, r"takes a number, not a node; .*stop_gradient"),
    "Node of a huge number": (
        lambda: Node(HUGE),
        ValueError,
        r"Node: int of 1329 bits is too large",
    ),
    "Node of a huge fraction": (
        lambda: Node(Fraction(HUGE)),
        ValueError,
        r"Fraction.* is too large",
    ),
    "Node of a number too long to print": (
        lambda: Node(10**5000),
        ValueError,
        r"Node: int .*is too large for a float",
    ),
    "parents not in a tuple": (lambda: Node(1.0, X), TypeError, r"parents .*nodes.*not .*Node"),
    "parents a number": (lambda: Node(1.0, 5), TypeError, r"parents .*nodes.*not int"),  # type: ignore[arg-type]
    "parents that are numbers": (lambda: Node(1.0, (X, 1)), TypeError, r"parents .*nodes, not int"),  # type: ignore[arg-type]
    "parents that are text": (
        lambda: Node(1.0, "xy"),  # type: ignore[arg-type]
        TypeError,
        r"by keyword: Node\(2\.0, name='xy'\)",
    ),
    "name a number": (
        lambda: Node(1.0, name=3),  # type: ignore[arg-type]
        TypeError,
        r"name of a node is text, not int|str or None .*got int",
    ),
    # Setting attributes
    "data to text": (setting("data", leaf, "1"), TypeError, rf"data takes {NUMBER}, not str '1'"),
    "data to None": (setting("data", leaf, None), TypeError, rf"data takes {NUMBER}, not None"),
    "data to a node": (setting("data", leaf, X), TypeError, rf"data takes {NUMBER}, not Node"),
    "data to a huge number": (setting("data", leaf, HUGE), ValueError, r"data: .* too large"),
    "data of a result": (
        setting("data", result, 1.0),
        ValueError,
        r"data of OperationNode\(data=6.0, grad=0.0, op='\* 3'\) is the result of an operation",
    ),
    "grad to None": (setting("grad", leaf, None), TypeError, rf"grad takes {NUMBER}, not None"),
    "grad to a node": (setting("grad", leaf, X), TypeError, rf"grad takes {NUMBER}, not Node"),
    "name to a number": (
        setting("name", leaf, 3),
        TypeError,
        r"name of a node is text, not int|str or None .*got int",
    ),
    "_parents to numbers": (setting("_parents", leaf, (1,)), TypeError, r"are nodes, not int"),
    "_parents of a result": (setting("_parents", result, ()), ValueError, r"can't be changed"),
    # Operators
    "node + text": (lambda: X + "1", TypeError, rf"\+ takes {OPERAND}, not str '1'"),
    "text + node": (lambda: "1" + X, TypeError, rf"\+ takes {OPERAND}, not str '1'"),
    "node + None": (lambda: X + None, TypeError, rf"\+ takes {OPERAND}, not NoneType None"),
    "None - node": (lambda: None - X, TypeError, rf"- takes {OPERAND}, not NoneType None"),
    "node + list": (lambda: X + LIST, TypeError, rf"\+ takes {OPERAND}, not list \[1.0\]"),
    "list * node": (lambda: LIST * X, TypeError, rf"\* takes {OPERAND}, not list \[1.0\]"),
    "node * complex": (lambda: X * 1j, TypeError, rf"\* takes {OPERAND}, not complex 1j"),
    "node ** text": (lambda: X ** "2", TypeError, rf"\*\* takes {OPERAND}, not str '2'"),
    "node // text": (lambda: X // "2", TypeError, rf"// takes {OPERAND}, not str '2'"),
    "node + object": (
        lambda: X + object(),
        TypeError,
        r"unsupported operand .*Node' and 'object'",
    ),
    "node * huge": (lambda: X * HUGE, ValueError, r"\*: int of 1329 bits is too large for a float"),
    "array of text + node": (lambda: np.array(["a"]) + X, TypeError, r"str"),
    "node < text": (lambda: X < "2", TypeError, r"'<' not supported .*Node' and 'str'"),
    # Leaving the graph
    "float(node)": (lambda: float(X), TypeError, r"not turned into a float.*node\.data"),
    "complex(node)": (lambda: complex(X), TypeError, r"node\.data"),
    "math.exp(node)": (lambda: math.exp(X), TypeError, r"use chainrule\.math\.exp in place"),
    "range(node)": (lambda: range(X), TypeError, r"Node' object cannot be interpreted as an int"),
    # The classes of the table
    "BinaryOpNode of a number": (lambda: BinaryOpNode(1, X, "+"), TypeError, r"node.*int"),  # type: ignore[arg-type]
    "BinaryOpNode of a number on the right": (
        lambda: BinaryOpNode(X, 1.5, "+"),  # type: ignore[arg-type]
        TypeError,
        r"node.*float",
    ),
    "BinaryOpNode of an unknown operator": (
        lambda: BinaryOpNode(X, X, "?"),
        ValueError,
        r"one of \+ - \* / \*\* % //, not '\?'",
    ),
    "ReLUNode of a number": (lambda: ReLUNode(1.5), TypeError, r"node.*float"),  # type: ignore[arg-type]
    "TanhNode of text": (lambda: TanhNode("x"), TypeError, r"node.*str"),  # type: ignore[arg-type]
    "PowOp of text": (
        lambda: PowOp(X, "2"),  # type: ignore[arg-type]
        TypeError,
        r"\*\* takes .*not str '2'|float .*got str",
    ),
    "PowOp of a node": (
        lambda: PowOp(X, Y),
        TypeError,
        r"\*\* takes .*number.*not .*Node|float .*got .*Node",
    ),
    "subclass of TanhNode": (
        subclassing(TanhNode),
        TypeError,
        r"Mine: subclass Node, not the class of an operation",
    ),
    # Backpropagation
    "seed of text": (lambda: X.backward("a"), TypeError, rf"backward takes {NUMBER} as seed.*'a'"),
    "seed None": (lambda: X.backward(None), TypeError, r"as seed, not NoneType None"),
    "seed a node": (lambda: X.backward(Y), TypeError, r"as seed, not Node"),
    "hook that raises": (answering(KeyError("half-way")), KeyError, r"half-way"),
    "hook that returns text": (answering("2"), TypeError, r"_local_grad of Answering .*str '2'"),
    "hook that returns None": (answering(None), TypeError, r"_local_grad of Answering .*None"),
    "hook that returns a complex": (answering(2j), TypeError, r"_local_grad of Answering .*2j"),
    "hook that returns a node": (
        answering(Y),
        TypeError,
        r"_local_grad of Answering (?!.*and nodes).*number.*not Node",
    ),
    "hook that returns an array": (answering(np.ones(2)), TypeError, r"Answering .*ndarray"),
    "hook that returns a huge number": (answering(HUGE), ValueError, r"Answering: .* too large"),
    "no hook": (lambda: Unfinished(X).backward(), NotImplementedError, r"Unfinished .*_local_grad"),
    "_local_grad of a leaf": (lambda: X._local_grad(Y), ValueError, r"a leaf has no parents"),
    "_local_grad by a stranger": (lambda: (X * 2)._local_grad(Y), ValueError, r"not a parent of"),
    "zero_grad of a number": (lambda: zero_grad([1]), TypeError, r"zero_grad takes nodes, not int"),
    "zero_grad of text": (lambda: zero_grad("x"), TypeError, r"zero_grad takes nodes, not str"),
    "zero_grad of None": (lambda: zero_grad(None), TypeError, r"takes nodes, not NoneType"),  # type: ignore[arg-type]
    "zero_grad of names": (lambda: zero_grad({"w": X}), TypeError, r"takes nodes, not str"),
    # Groups
    "group of a number": (entering(3), TypeError, r"group takes a name, not int|str .*got int"),
    "group of None": (
        entering(None),
        TypeError,
        r"group takes a name, not NoneType|str .*got None",
    ),
    "group without a name": (entering(""), ValueError, r"a name that is not empty"),
    # Functions
    "too many operands": (lambda: cm.exp(X, X), TypeError, r"exp takes 1 operand, not 2"),
    "too few operands": (lambda: cm.atan2(X), TypeError, r"atan2 takes 2 operands, not 1"),
    "no operands": (lambda: cm.exp(), TypeError, r"exp takes 1 operand, not 0"),
    "too many numbers": (lambda: cm.exp(1.0, 2.0), TypeError, r"exp takes 1 operand, not 2"),
    "exp of text": (lambda: cm.exp("1"), TypeError, rf"exp takes {OPERAND}, not str '1'"),
    "maximum of a node and text": (lambda: cm.maximum(X, "1"), TypeError, r"maximum .*str '1'"),
    "maximum of text and a node": (lambda: cm.maximum("1", X), TypeError, r"maximum .*str '1'"),
    "tanh of text": (lambda: cm.tanh("1"), TypeError, rf"tanh takes {OPERAND}, not str '1'"),
    "exp of an array": (lambda: cm.exp(ARRAY), TypeError, r"exp .*ndarray.*np\.exp\("),
    "exp of a list": (lambda: cm.exp([X]), TypeError, rf"exp takes {OPERAND}, not list"),
    "exp of a huge number": (
        lambda: cm.exp(HUGE),
        ValueError,
        r"exp: int of 1329 bits is too large",
    ),
    "fsum of text": (lambda: cm.fsum([X, "1"]), TypeError, r"fsum .*str '1'"),
    "fsum of a node": (lambda: cm.fsum(X), TypeError, r"'Node' object is not iterable|Node"),
    "stop_gradient of text": (lambda: stop_gradient("1"), TypeError, r"stop_gradient .*str '1'"),
    "isnan of text": (lambda: cm.isnan("1"), TypeError, r"str '1'"),
    "where of a node": (
        lambda: cm.where(X, X, Y),
        TypeError,
        r"comparison such as x > 0, not Node",
    ),
    "where of a number": (lambda: cm.where(2, X, Y), TypeError, r"comparison .*not int"),  # type: ignore[arg-type]
    "where of an array": (lambda: cm.where(ARRAY > 0, X, Y), TypeError, r"not ndarray.*np\.where"),
    "where of text": (lambda: cm.where(X > 0, "1", Y), TypeError, r"where .*str '1'"),
    "clip between limits in disorder": (lambda: cm.clip(X, 2, 1), ValueError, r"not 2.0 > 1.0"),
    "clip between nodes in disorder": (lambda: cm.clip(X, Y, X), ValueError, r"not 3.0 > 2.0"),
    "clip at text": (lambda: cm.clip(X, "0", "1"), TypeError, r"str '0'"),
    "dot of different lengths": (lambda: cm.dot([X], [X, Y]), ValueError, r"dot .*1 and 2"),
    "dist of different lengths": (lambda: cm.dist([X], []), ValueError, r"dist .*1 and 0"),
    "dot of text": (lambda: cm.dot([X], ["1"]), TypeError, r"str '1'"),
    "polygamma of an order that is a node": (
        lambda: cm.polygamma(X, Y),
        TypeError,
        r"operand 1 of polygamma must be a number",
    ),
    "ldexp by a node": (lambda: cm.ldexp(X, Y), TypeError, r"operand 2 of ldexp must be a number"),
    # Users' operations
    "operation without a name": (
        lambda: Operation("", abs, ()),
        ValueError,
        r"needs a name, not ''",
    ),
    "operation named by a number": (
        lambda: Operation(3, abs, ()),  # type: ignore[arg-type]
        TypeError,
        r"operation.* name.*not .*3|str .*got int",
    ),
    "operation without a function": (
        lambda: Operation("odd", 3, ()),  # type: ignore[arg-type]
        TypeError,
        r"value of odd must be a function of floats, not 3",
    ),
    "operation whose local gradient is a number": (
        lambda: Operation("odd", abs, (3,)),  # type: ignore[arg-type]
        TypeError,
        r"local gradient of odd must be a function, not 3",
    ),
    "operation whose local gradients are None": (
        lambda: Operation("odd", abs, None),  # type: ignore[arg-type]
        TypeError,
        r"local gradients of odd .*None",
    ),
    "operation whose local gradients are a number": (
        lambda: Operation("odd", abs, 5),  # type: ignore[arg-type]
        TypeError,
        r"local gradients of odd .*5",
    ),
    "operation with a symbol that is a number": (
        lambda: Operation("odd", abs, (abs,), 3),  # type: ignore[arg-type]
        TypeError,
        r"symbol.* 3|str .*got int",
    ),
    "operation whose value is text": (operating("2"), TypeError, r"the value of odd .*str '2'"),
    "operation whose value is None": (operating(None), TypeError, r"the value of odd .*None"),
    "operation whose value is a node": (
        operating(Y),
        TypeError,
        r"the value of odd (?!.*and nodes).*number.*not Node",
    ),
    "operation whose value is text, on a number": (
        lambda: Operation("odd", lambda x: "2", (None,))(1.0),
        TypeError,
        r"the value of odd .*str '2'",
    ),
    "operation whose local gradient is text": (
        operating(1.0, "2"),
        TypeError,
        r"a local gradient of odd .*str '2'",
    ),
    "operation whose local gradient is a node": (
        operating(1.0, Y),
        TypeError,
        r"a local gradient of odd (?!.*and nodes).*number.*not Node",
    ),
    "operation whose value raises": (
        lambda: Operation("odd", lambda x: [][0], (None,))(1.0),
        IndexError,
        r"index out of range",
    ),
    "operation on a node where it takes a number": (
        lambda: Operation("odd", abs, (None,))(X),
        TypeError,
        r"operand 1 of odd must be a number",
    ),
    # Transformations: what is differentiated
    "grad of a number": (lambda: grad(3), TypeError, r"^grad takes a function, not int 3"),  # type: ignore[arg-type]
    "value_and_grad of None": (lambda: value_and_grad(None), TypeError, r"^value_and_grad takes"),  # type: ignore[arg-type]
    "jacfwd of a node": (lambda: jacfwd(X), TypeError, r"^jacfwd takes a function, not Node"),
    "jacrev of text": (lambda: jacrev("f"), TypeError, r"^jacrev takes a function, not str 'f'"),  # type: ignore[arg-type]
    "jacobian of a list": (lambda: jacobian(LIST), TypeError, r"^jacobian takes a function, not l"),  # type: ignore[arg-type]
    "hessian of a number": (lambda: hessian(3), TypeError, r"^(grad|hessian) takes a function"),  # type: ignore[arg-type]
    "jvp of a number": (lambda: jvp(3, (1.0,), (1.0,)), TypeError, r"'int' object is not callable"),  # type: ignore[arg-type]
    # Which arguments
    "argnums a float": (
        lambda: grad(TWO, 1.0),  # type: ignore[arg-type]
        TypeError,
        r"grad: argnums takes argument numbers, not float 1.0",
    ),
    "argnums text": (
        lambda: jacobian(TWO, "x"),  # type: ignore[arg-type]
        TypeError,
        r"jacobian: argnums takes argument numbers, not str 'x'",
    ),
    "argnums a truth value": (
        lambda: hessian(TWO, (0, True)),
        TypeError,
        r"hessian|grad: argnums takes argument numbers, not bool True",
    ),
    "argnums empty": (lambda: grad(TWO, ()), ValueError, r"grad: argnums names no argument"),
    "argnums outside": (
        lambda: grad(TWO, 2)(1.0, 2.0),
        ValueError,
        r"grad: argnums=2, but the function was called with 2 positional arguments",
    ),
    "argnums outside, negative": (
        lambda: jacrev(TWO, (0, -3))(1.0, 2.0),
        ValueError,
        r"jacrev: argnums=\(0, -3\), but .* 2 positional",
    ),
    "argnums by name": (
        lambda: grad(lambda x: x)(x=1.0),
        ValueError,
        r"grad: argnums=0, but the function was called with 0 positional arguments",
    ),
    "argnums twice": (
        lambda: value_and_grad(TWO, (0, -2))(1.0, 2.0),
        ValueError,
        r"value_and_grad: argnums=\(0, -2\) names an argument twice",
    ),
    "differentiated by text": (
        lambda: grad(TWO, (0, 1))(1.0, "2"),
        TypeError,
        r"grad: what it differentiates by holds str '2', not numbers, nodes or arrays of them;"
        r" say with argnums which arguments to differentiate by",
    ),
    "differentiated by None": (
        lambda: jacobian(abs)([1.0, None]),
        TypeError,
        r"jacobian: what it differentiates by holds NoneType None, .*argnums",
    ),
    "differentiated by a truth value": (
        lambda: hessian(abs)(True),
        TypeError,
        r"hessian: what it differentiates by holds bool True",
    ),
    "differentiated by a complex number": (
        lambda: jvp(abs, (1j,), (1.0,)),
        TypeError,
        r"jvp: what it differentiates by holds complex 1j",
    ),
    "differentiated by an object": (
        lambda: vjp(abs, object()),
        TypeError,
        r"vjp: what it differentiates by holds object",
    ),
    "differentiated by truth values": (
        lambda: grad(np.sum)(POINT > 1),
        TypeError,
        r"holds an array of bool, not of numbers or nodes; say with argnums",
    ),
    "differentiated by complex numbers": (
        lambda: grad(np.sum)(POINT * 1j),
        TypeError,
        r"holds an array of complex128, not",
    ),
    "differentiated by an array of text": (
        lambda: grad(np.sum)(np.array(["a"])),
        TypeError,
        r"holds an array of <U1, not",
    ),
    "differentiated by an array of objects": (
        lambda: grad(np.sum)(np.array([1.0, None])),
        TypeError,
        r"holds an array with NoneType None, not numbers and nodes; say with argnums",
    ),
    "differentiated by a masked array": (
        lambda: grad(np.sum)(ma.masked_less(POINT, 1.5)),
        TypeError,
        r"holds a masked array, not numbers, nodes or arrays of them; say",
    ),
    "differentiated by a huge number": (
        lambda: grad(abs)(HUGE),
        ValueError,
        r"grad: what it differentiates by: int of 1329 bits is too large for a float",
    ),
    "differentiated by a huge number in an array": (
        lambda: grad(np.sum)(np.array([HUGE, 1.0], dtype=object)),
        ValueError,
        r"int of 1329 bits is too large",
    ),
    # The function's result
    "gradient of two numbers": (
        lambda: grad(lambda x: [x, x])(1.0),
        TypeError,
        r"grad takes a function with one number as result, not \[number, number\];"
        r" for several use jacobian, or vmap over the inputs",
    ),
    "gradient of one number in a dict": (
        lambda: grad(lambda x: {"loss": x})(1.0),
        TypeError,
        r"grad takes a function with one number as result, not \{'loss': number\}",
    ),
    "gradient of an array": (
        lambda: value_and_grad(lambda x: x)(POINT),
        TypeError,
        r"value_and_grad takes .* not an array of shape \(2,\)",
    ),
    "gradient of an array of one": (
        lambda: grad(lambda x: x)(np.ones((1, 1))),
        TypeError,
        r"grad takes .* not an array of shape \(1, 1\)",
    ),
    "gradient of nothing": (lambda: grad(lambda x: ())(1.0), TypeError, r"grad takes .* not \(\);"),
    "hessian of two numbers": (
        lambda: hessian(lambda x: (x, x))(1.0),
        TypeError,
        r"hessian takes a function with one number as result, not \(number, number\)",
    ),
    "hvp of two numbers": (
        lambda: hvp(lambda x: (x, x), (1.0,), (1.0,)),
        TypeError,
        r"hvp takes a function with one number as result",
    ),
    "gradient of many numbers": (
        lambda: grad(lambda x: [x] * 1000)(1.0),
        TypeError,
        r"not \[number, number, .*\.\.\.; for several",
    ),
    "gradient of None": (
        lambda: grad(lambda x: None)(1.0),
        TypeError,
        r"grad: the function's result holds NoneType None, not numbers, nodes or arrays of them$",
    ),
    "gradient of text": (
        lambda: grad(lambda x: "x")(1.0),
        TypeError,
        r"grad: the function's result holds str 'x'",
    ),
    "gradient of a truth value": (
        lambda: grad(lambda x: x > 0)(1.0),
        TypeError,
        r"grad: the function's result holds bool True",
    ),
    "jacobian of a set": (
        lambda: jacobian(lambda x: {x})(1.0),
        TracedValueError,
        r"the hash of a traced value .* inside jacobian",
    ),
    "jvp of a complex number": (
        lambda: jvp(lambda x: 1j, (1.0,), (1.0,)),
        TypeError,
        r"jvp: the function's result holds complex 1j",
    ),
    "vjp of a huge number": (
        lambda: vjp(lambda x: HUGE, 1.0),
        ValueError,
        r"vjp: the function's result: int of 1329 bits is too large",
    ),
    "has_aux without a pair": (
        lambda: grad(lambda x: x, has_aux=True)(1.0),
        TypeError,
        r"grad with has_aux takes a function that returns a pair \(result, auxiliary data\), not",
    ),
    "has_aux with three": (
        lambda: value_and_grad(lambda x: (x, x, x), has_aux=True)(1.0),
        TypeError,
        r"value_and_grad with has_aux takes a function that returns a pair",
    ),
    "aux of two numbers": (
        lambda: grad(lambda x: ([x, x], x), has_aux=True)(1.0),
        TypeError,
        r"grad takes a function with one number as result, not \[number, number\]",
    ),
    # Tangents and cotangents
    "jvp without a tuple": (
        lambda: jvp(abs, 1.0, (1.0,)),  # type: ignore[arg-type]
        TypeError,
        r"jvp takes the primals as a tuple, not float 1.0; for one .* write \(x,\)",
    ),
    "jvp of tangents without a tuple": (
        lambda: jvp(abs, (1.0,), POINT),
        TypeError,
        r"jvp takes the tangents as a tuple, not ndarray",
    ),
    "hvp without a tuple": (
        lambda: hvp(abs, POINT, (POINT,)),
        TypeError,
        r"hvp takes the primals as a tuple",
    ),
    "hvp of tangents without a tuple": (
        lambda: hvp(abs, (1.0,), {"x": 1.0}),  # type: ignore[arg-type]
        TypeError,
        r"hvp takes the tangents as a tuple, not dict",
    ),
    "too few tangents": (
        lambda: jvp(TWO, (1.0, 2.0), (1.0,)),
        ValueError,
        r"jvp: the tangents must have the structure and shapes of what they go with,"
        r" \(number, number\), not \(number,\)",
    ),
    "tangents of another shape": (
        lambda: jvp(np.sum, (POINT,), (np.ones(3),)),
        ValueError,
        r"jvp: the tangents must have .* \(array\(2,\),\), not \(array\(3,\),\)",
    ),
    "tangents of another structure": (
        lambda: hvp(lambda x: x["a"], ({"a": 1.0},), ({"b": 1.0},)),
        ValueError,
        r"the tangents must have .*\(\{'a': number\},\), not \(\{'b': number\},\)",
    ),
    "tangents of text": (
        lambda: jvp(abs, (1.0,), ("1",)),
        TypeError,
        r"jvp: the tree of tangents holds str '1'",
    ),
    "cotangents of another structure": (
        lambda: vjp(lambda x: [x, x], 1.0)[1](1.0),
        ValueError,
        r"vjp: the cotangents must have the structure .*, \[number, number\], not a number",
    ),
    "cotangents None": (
        lambda: vjp(lambda x: x, 1.0)[1](None),
        TypeError,
        r"vjp: the tree of cotangents holds NoneType None",
    ),
    # check_grads
    "check_grads without a tuple": (
        lambda: check_grads(abs, 1.0),  # type: ignore[arg-type]
        TypeError,
        r"check_grads takes the arguments as a tuple, not float 1.0; for one argument write \(x,\)",
    ),
    "check_grads of order 0": (
        lambda: check_grads(abs, (1.0,), order=0),
        ValueError,
        r"check_grads: order starts at 1, not int 0",
    ),
    "check_grads by an unknown mode": (
        lambda: check_grads(abs, (1.0,), modes=("fwd", "reverse")),
        ValueError,
        r'check_grads: a mode is "fwd" or "rev", not str \'reverse\'',
    ),
    "check_grads at text": (
        lambda: check_grads(abs, ("1",)),
        TypeError,
        r"check_grads: the tree of arguments holds str '1'",
    ),
    "check_grads of None": (
        lambda: check_grads(lambda x: None, (1.0,)),
        TypeError,
        r"the function's result holds NoneType None",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case: str) -> None:
    """Raises the error with the message; the nodes given are as before and of use."""
    do, error, message = CASES[case]
    before = (X.data, X.grad, Y.data, Y.grad)
    with pytest.raises(error) as caught:
        do()
    assert caught.type is error or error in (KeyError, IndexError)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)
    assert len(str(caught.value)) < 300
    assert (X.data, X.grad, Y.data, Y.grad) == before
    assert unmarked([X, Y])
    z = X * Y
    z.backward(0)
    assert z.grad == 0.0


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("polygamma", lambda: cm.polygamma(0.5, X)),
        ("polygamma", lambda: cm.polygamma(-1, X)),
        ("polygamma", lambda: cm.polygamma(math.nan, X)),
        ("polygamma", lambda: cm.polygamma(math.inf, X)),
        ("polygamma", lambda: cm.polygamma(1.5, 2.0)),
        ("ldexp", lambda: cm.ldexp(X, 2.5)),
        ("ldexp", lambda: cm.ldexp(X, math.nan)),
        ("round", lambda: X.__round__(1.5)),
        ("round", lambda: X.__round__(math.nan)),
    ],
)
def test_numbers_that_must_be_whole(name: str, call: Callable[[], Any]) -> None:
    """NaN, or an error that names the function: never the result for another number."""
    try:
        y = call()
    except (TypeError, ValueError) as error:
        assert name in str(error) or "int object expected" in str(error)  # noqa: PT017
    else:
        assert math.isnan(y.data if isinstance(y, Node) else y)


def test_a_long_input_is_cut_in_the_message() -> None:
    """A message stays readable whatever was given."""
    with pytest.raises(TypeError) as caught:
        LEAF([0.0] * 1000)
    assert len(str(caught.value)) < 100


def test_an_input_that_cannot_be_printed() -> None:
    """Its type is named all the same."""

    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("no text")

    with pytest.raises(TypeError, match="Node takes a real number, not Odd"):
        LEAF(Odd())


def test_nothing_else_is_public() -> None:
    """The names that the package promises are there."""
    assert all(hasattr(chainrule, name) for name in chainrule.__all__)
    assert all(hasattr(cm, name) for name in cm.__all__)
