"""What can be done with nodes, by name: the tests of leaks and of memory that runs out do it all.

A case is a function of some nodes, a :class:`Pool`, and leaves them as they are but for gradients.
"""

# The cases misuse types on purpose, and most are lambdas in loops.
# mypy: disable-error-code="misc, operator, call-overload, assignment, arg-type, call-arg"

from __future__ import annotations

import contextlib
import copy
import math
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import math as cm
from chainrule.rules import OPERATIONS, Operation


class Scaled(cr.Node):
    """A user's node with an attribute."""

    def __init__(self, x: Any, factor: float = 3.0) -> None:
        super().__init__(factor * x.data, (x,))
        self.factor = factor

    def _local_grad(self, parent: cr.Node) -> Any:
        if isinstance(self.factor, float):
            return self.factor
        raise RuntimeError("no factor")


class Slotted(cr.Node):
    """A user's node with a slot."""

    __slots__ = ("note",)


def half(x: float) -> float:
    """The value of a user's operation."""
    return 0.5 * x


def half_grad(y: Any, x: Any) -> Any:
    """Its local gradient."""
    return 0.5


def failing_grad(y: Any, x: Any) -> Any:
    """A local gradient that fails."""
    raise RuntimeError("no gradient")


def no_number(*operands: Any) -> Any:
    """A value, or a local gradient, that is no number."""
    return "text"


HALF = Operation("half", half, [half_grad])
FAILING = Operation("failing", half, [failing_grad])
NO_NUMBER = Operation("no_number", no_number, [half_grad])
NO_SLOPE = Operation("no_slope", half, [no_number])


@cr.custom_gradient
def custom(x: Any, y: Any) -> Any:
    """A function with a derivative of its own."""
    return x * y, lambda cotangent: (cotangent * y, cotangent * x)


class Pool:
    """Nodes of every kind."""

    def __init__(self) -> None:
        self.x, self.y, self.z = cr.Node(0.75), cr.Node(0.5, name="y"), cr.Node(-1.25)
        self.whole = math.floor(self.x * 3.0)
        self.scaled = Scaled(self.x)
        self.after = self.scaled * self.y
        self.slotted = Slotted(2.0)
        self.user = HALF(self.x)
        self.named = cr.Node(2.0, name="named")
        self.bad = FAILING(self.x * 2.0) * self.y + self.z
        self.bad_class = Scaled(self.x * self.y)
        self.bad_class.factor = "text"
        self.bad_above: Any = self.bad_class * 2.0
        self.no_slope = NO_SLOPE(self.x) * 2.0
        self.custom = custom(self.x, self.y)
        with cr.group("group"), cr.record_lines():
            self.grouped = self.x * self.y + 1.0
        self.wide = cm.fsum([self.x, self.y, 2.0, self.z, self.x])
        self.root = polynomial(self.x, self.y)
        self.deep = polynomial(cm.hypot(self.x, self.y, 0.5), self.wide) + self.user + self.after
        leaf = cr.Node(3.0)
        self.stale = leaf * self.x
        leaf.data = 4.0
        self.cycle = Scaled(self.x)
        self.cycle._parents = (self.cycle * 2.0,)
        self.array = np.array([self.x, self.y, self.z])

    def leaves(self) -> list[cr.Node]:
        """Those whose gradients accumulate."""
        return [self.x, self.y, self.z, self.named, self.slotted]

    def watched(self) -> list[Any]:
        """Objects to which the number of references must not change."""
        nodes = [x for x in vars(self).values() if isinstance(x, cr.Node)]
        operations = [HALF, FAILING, *OPERATIONS.values()]
        kinds = [cr.Node, cr.OperationNode, cr.BinaryOpNode, cr.PowOp, Scaled, Slotted]
        return [*nodes, *operations, *kinds, type(self.whole), NUMBER, BIG, TEXT]


NUMBER, BIG, TEXT = 12345.678, 2**80, "some text"


def polynomial(x: Any, y: Any) -> Any:
    """A graph of the most frequent operations, with shared nodes."""
    a = x * y + 2.0
    for _ in range(4):
        a = (a * x - y / (a * a + 1.0)).tanh() + (a * 0.125).exp()
        a = cm.where(a > 0.0, a, 0.5 - a) ** 0.75 + cm.maximum(x, a).sin()
    return a.relu() + (a * a).sqrt()


def square(x: Any) -> Any:
    """A function of one number."""
    return x * x * 3.0 + x.sin() if hasattr(x, "sin") else x * x * 3.0 + cm.sin(x)


def in_context(context: Any, action: Callable[[], Any]) -> Any:
    """The result of an action in a context."""
    with context:
        return action()


def with_attribute(node: Any, name: str, value: Any) -> None:
    """Set an attribute and set it back."""
    before = getattr(node, name)
    setattr(node, name, value)
    setattr(node, name, before)


Action = Callable[[Pool], Any]
CASES: dict[str, Action] = {}
"""What succeeds."""
ERRORS: dict[str, tuple[type[BaseException], Action]] = {}
"""What raises, and what it raises."""
FOREIGN: dict[str, Action] = {}
FOREIGN_ERRORS: dict[str, tuple[type[BaseException], Action]] = {}
"""The same for what runs through NumPy, optree or context variables."""


def _operators() -> None:
    pairs: dict[str, Callable[..., Any]] = {
        **{"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv},
        **{"**": operator.pow, "%": operator.mod, "//": operator.floordiv, "divmod": divmod},
        **{"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge},
        **{"==": operator.eq, "!=": operator.ne},
    }
    numbers = {"float": NUMBER, "int": 3, "big int": BIG, "bool": True, "np": np.float64(1.5)}
    for sign, f in pairs.items():
        CASES[f"node {sign} node"] = lambda p, f=f: f(p.x, p.y)
        CASES[f"node {sign} itself"] = lambda p, f=f: f(p.x, p.x)
        CASES[f"node {sign} subclass"] = lambda p, f=f: f(p.x, p.scaled)
        CASES[f"subclass {sign} node"] = lambda p, f=f: f(p.scaled, p.x)
        CASES[f"whole {sign} node"] = lambda p, f=f: f(p.whole, p.x)
        CASES[f"whole {sign} whole"] = lambda p, f=f: f(p.whole, p.whole)
        FOREIGN[f"node {sign} array"] = lambda p, f=f: f(p.x, p.array)
        FOREIGN[f"array {sign} node"] = lambda p, f=f: f(p.array, p.x)
        for name, number in numbers.items():
            CASES[f"node {sign} {name}"] = lambda p, f=f, n=number: f(p.x, n)
            CASES[f"{name} {sign} node"] = lambda p, f=f, n=number: f(n, p.x)
            CASES[f"whole {sign} {name}"] = lambda p, f=f, n=number: f(p.whole, n)
        CASES[f"subclass {sign} float"] = lambda p, f=f: f(p.scaled, 2.5)
        ERRORS[f"node {sign} complex"] = ((TypeError), lambda p, f=f: f(p.x, object()))
        if sign not in ("==", "!="):
            ERRORS[f"node {sign} text"] = (TypeError, lambda p, f=f: f(p.x, TEXT))
            ERRORS[f"None {sign} node"] = (TypeError, lambda p, f=f: f(None, p.x))
        else:
            del ERRORS[f"node {sign} complex"]
            CASES[f"node {sign} object"] = lambda p, f=f: f(p.x, TEXT)
    for sign in ("+", "-", "*", "/", "**", "%", "//"):
        ERRORS[f"node {sign} huge int"] = (
            ValueError,
            lambda p, f=pairs[sign]: f(p.x, 10**400),
        )
    single: list[Callable[..., Any]] = [operator.neg, operator.pos, abs, round, math.floor]
    single += [math.ceil, math.trunc, bool, int, repr, str, hash]
    for f in single:
        CASES[f"{f.__name__} of a node"] = lambda p, f=f: f(p.x)
        CASES[f"{f.__name__} of an operation"] = lambda p, f=f: f(p.root)
        CASES[f"{f.__name__} of a whole number"] = lambda p, f=f: f(p.whole)
        CASES[f"{f.__name__} of a subclass"] = lambda p, f=f: f(p.scaled)
    CASES["~ of a whole number"] = lambda p: ~p.whole
    CASES["index"] = lambda p: [1, 2, 3][p.whole]
    CASES["format"] = lambda p: f"{p.x:.3f} {p.root}"
    CASES["round to digits"] = lambda p: round(p.x, 2)
    ERRORS["float"] = (TypeError, lambda p: float(p.x))
    ERRORS["complex"] = (TypeError, lambda p: complex(p.x))
    ERRORS["math.exp"] = (TypeError, lambda p: math.exp(p.x))
    ERRORS["pow with a modulus"] = (TypeError, lambda p: pow(p.x, 2, 3))
    ERRORS["format of nonsense"] = (ValueError, lambda p: f"{p.x:nonsense}")
    ERRORS["call"] = (TypeError, lambda p: p.x())


def _operations() -> None:
    for name, operation in OPERATIONS.items():
        nodes = len(operation.local_grads) if not operation.variadic else 4
        fixed = [] if operation.variadic else operation.local_grads

        def operands(p: Pool, count: int = nodes, fixed: Any = tuple(fixed)) -> list[Any]:
            found: list[Any] = [p.x, p.y, p.x * 0.5, p.y][:count]
            for i, local_grad in enumerate(fixed):
                if local_grad is None:
                    found[i] = 1.0
            return found

        CASES[f"operation {name}"] = lambda p, o=operation, of=operands: o(*of(p))
        CASES[f"backward of {name}"] = lambda p, o=operation, of=operands: o(*of(p)).backward()
        CASES[f"local_grads of {name}"] = lambda p, o=operation, of=operands: o(
            *of(p)
        ).local_grads()
        ERRORS[f"operation {name} of text"] = (
            TypeError,
            lambda p, o=operation, of=operands: o(*of(p)[:-1], TEXT) if o else None,
        )
        if len(fixed) > 1:
            ERRORS[f"operation {name} of too many"] = (
                TypeError,
                lambda p, o=operation, of=operands: o(*of(p), *of(p)),
            )
    for name in (
        *("relu", "tanh", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "cbrt"),
        *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "arcsinh", "arccosh"),
        *("arctanh", "sign", "floor", "ceil", "trunc", "sigmoid", "softplus", "fabs", "rint"),
        *("conjugate", "item", "is_integer", "rad2deg", "deg2rad", "degrees", "radians"),
    ):
        CASES[f"method {name}"] = lambda p, f=operator.methodcaller(name): f(p.x)
        CASES[f"method {name} of a subclass"] = lambda p, f=operator.methodcaller(name): f(p.scaled)
        ERRORS[f"method {name} of two"] = (
            TypeError,
            lambda p, f=operator.methodcaller(name, 2.0): f(p.x),
        )
    for name in ("arctan2", "hypot", "fmod"):
        CASES[f"method {name}"] = lambda p, f=operator.methodcaller(name, 2): f(p.x)
        ERRORS[f"method {name} of text"] = (
            TypeError,
            lambda p, f=operator.methodcaller(name, TEXT): f(p.x),
        )
    FOREIGN["np.exp of an array"] = lambda p: np.exp(p.array)
    FOREIGN["np.dot"] = lambda p: p.array @ p.array
    CASES["logsumexp"] = lambda p: cm.logsumexp([p.x, p.y, 1.0])
    CASES["clip"] = lambda p: cm.clip(p.x, 0.0, p.y)
    CASES["a user's operation"] = lambda p: HALF(p.x)
    CASES["backward of a user's operation"] = lambda p: (HALF(p.x) * 2.0).backward()
    FOREIGN["custom_gradient"] = lambda p: custom(p.x, p.y)
    FOREIGN["backward of custom_gradient"] = lambda p: p.custom.backward()
    ERRORS["a user's value that is no number"] = (TypeError, lambda p: NO_NUMBER(p.x))
    ERRORS["a user's local gradient that is no number"] = (
        TypeError,
        lambda p: NO_SLOPE(p.x).backward(),
    )


def _nodes() -> None:
    CASES["Node"] = lambda p: cr.Node(1.5)
    CASES["Node of an int"] = lambda p: cr.Node(3)
    CASES["Node of a NumPy number"] = lambda p: cr.Node(np.float64(3.0))
    CASES["Node with a name"] = lambda p: cr.Node(1.5, name=TEXT)
    CASES["Node with parents"] = lambda p: cr.Node(1.5, (p.x, p.y))
    CASES["Node with a list of parents"] = lambda p: cr.Node(1.5, [p.x, p.y], TEXT)
    CASES["BinaryOpNode"] = lambda p: cr.BinaryOpNode(p.x, p.y, "*")
    CASES["PowOp"] = lambda p: cr.PowOp(p.x, 2).n
    CASES["ReLUNode, TanhNode"] = lambda p: (cr.ReLUNode(p.x), cr.TanhNode(p.y))
    CASES["a subclass"] = lambda p: Scaled(p.x)
    CASES["a subclass with slots"] = lambda p: setattr(Slotted(1.0, (p.x,)), "note", p.y)
    CASES["a cycle of attributes"] = lambda p: setattr(Scaled(p.x), "cache", p.scaled * 2.0)
    CASES["__new__"] = lambda p: cr.Node.__new__(cr.Node)
    CASES["__init__ again"] = lambda p: Scaled(p.x).__init__(p.y)
    for name in ("data", "grad", "name", "groups", "line", "operation", "operands", "_parents"):
        for node in ("x", "named", "root", "scaled", "grouped", "wide", "whole", "custom"):
            CASES[f"read {name} of {node}"] = lambda p, a=name, n=node: getattr(getattr(p, n), a)
    for name, value in (("data", NUMBER), ("grad", 2), ("name", TEXT), ("name", None)):
        CASES[f"set {name} to {type(value).__name__}"] = lambda p, a=name, v=value: with_attribute(
            cr.Node(1.0), a, v
        )
    CASES["set the name of an operation"] = lambda p: with_attribute(p.x * p.y, "name", TEXT)
    CASES["set the name of a wide operation"] = lambda p: with_attribute(
        cm.fsum([p.x, p.y, 1.0]), "name", TEXT
    )
    CASES["set the name with a constant"] = lambda p: with_attribute(p.x * 2.0, "name", TEXT)
    CASES["set the name twice"] = lambda p: with_attribute(p.grouped, "name", TEXT)
    CASES["set the parents"] = lambda p: setattr(Scaled(p.x), "_parents", (p.y, p.z))
    CASES["_local_grad"] = lambda p: ((p.x * p.y)._local_grad(p.x), p.scaled._local_grad(p.x))
    ERRORS["Node of text"] = (TypeError, lambda p: cr.Node(TEXT))
    ERRORS["Node of a node"] = (TypeError, lambda p: cr.Node(p.x))
    ERRORS["Node of nothing"] = (TypeError, lambda p: cr.Node())
    ERRORS["Node with a wrong keyword"] = (TypeError, lambda p: cr.Node(1.0, label=TEXT))
    ERRORS["Node with wrong parents"] = (TypeError, lambda p: cr.Node(1.0, (p.x, 2.0)))
    ERRORS["Node with a wrong name"] = (TypeError, lambda p: cr.Node(1.0, (p.x,), 2))
    ERRORS["Node of a huge int"] = (ValueError, lambda p: cr.Node(10**400))
    ERRORS["a subclass of no number"] = (TypeError, lambda p: Scaled(p.x, TEXT))
    ERRORS["BinaryOpNode of a number"] = (TypeError, lambda p: cr.BinaryOpNode(p.x, 2.0, "*"))
    ERRORS["BinaryOpNode of a wrong operator"] = (
        ValueError,
        lambda p: cr.BinaryOpNode(p.x, p.y, TEXT),
    )
    ERRORS["a subclass of OperationNode"] = (
        TypeError,
        lambda p: type("Own", (cr.OperationNode,), {})(OPERATIONS["add"], 1.0, p.x, p.y, None),
    )
    for name, value in (("data", TEXT), ("grad", TEXT), ("name", 2), ("data", None)):
        ERRORS[f"set {name} to {value!r}"] = (
            TypeError,
            lambda p, a=name, v=value: setattr(p.named, a, v),
        )
    for name in ("data", "grad", "name", "_parents"):
        ERRORS[f"delete {name}"] = (AttributeError, lambda p, a=name: delattr(p.named, a))
    ERRORS["set the data of an operation"] = (ValueError, lambda p: setattr(p.root, "data", 1.0))
    ERRORS["set the parents of an operation"] = (
        ValueError,
        lambda p: setattr(p.root, "_parents", ()),
    )
    ERRORS["set wrong parents"] = (TypeError, lambda p: setattr(p.scaled, "_parents", (p.x, 2.0)))
    ERRORS["set the operands"] = (AttributeError, lambda p: setattr(p.root, "operands", ()))
    ERRORS["read an unknown attribute"] = (AttributeError, lambda p: p.root.unheard_of)
    ERRORS["_local_grad of a leaf"] = (ValueError, lambda p: p.x._local_grad(p.x))
    ERRORS["_local_grad of no parent"] = (ValueError, lambda p: (p.x * p.y)._local_grad(p.z))
    ERRORS["_local_grad not defined"] = (
        NotImplementedError,
        lambda p: cr.Node(1.0, (p.x,)).local_grads(),
    )


def _passes() -> None:
    for name in ("x", "root", "deep", "user", "scaled", "after", "wide", "grouped"):
        CASES[f"backward of the {name}"] = lambda p, n=name: getattr(p, n).backward()
        CASES[f"backward of the {name} with a seed"] = lambda p, n=name: getattr(p, n).backward(2)
        CASES[f"sorted_nodes of the {name}"] = lambda p, n=name: getattr(p, n).sorted_nodes()
        CASES[f"local_grads of the {name}"] = lambda p, n=name: getattr(p, n).local_grads()
        CASES[f"copy of the {name}"] = lambda p, n=name: copy.copy(getattr(p, n))
        CASES[f"deepcopy of the {name}"] = lambda p, n=name: copy.deepcopy(getattr(p, n))
    for name in ("x", "root", "deep", "scaled", "after", "wide", "grouped", "stale"):
        CASES[f"pickle of the {name}"] = lambda p, n=name: pickle.loads(pickle.dumps(getattr(p, n)))
    FOREIGN["backward in anomaly detection"] = lambda p: in_context(
        cr.detect_anomaly(), p.root.backward
    )
    CASES["build and backward"] = lambda p: polynomial(p.x, p.y).backward()
    CASES["backward without users' code"] = lambda p: p.root.backward()
    CASES["zero_grad"] = lambda p: cr.zero_grad([p.x, [p.y, (p.z,)], p.array])
    CASES["backward of a wide sum"] = lambda p: cm.fsum([p.x, p.y, 1.0] * 10).backward()
    CASES["backward of a wide norm"] = lambda p: cm.hypot(*[p.x, p.y] * 10, HALF(p.z)).backward()
    CASES["a fan"] = lambda p: sum([p.x * 2.0 for _ in range(50)], start=p.y).backward()
    ERRORS["backward of text"] = (TypeError, lambda p: p.root.backward(TEXT))
    ERRORS["backward of two seeds"] = (TypeError, lambda p: p.root.backward(1.0, 2.0))
    ERRORS["a failing local gradient"] = (RuntimeError, lambda p: p.bad.backward())
    ERRORS["a failing _local_grad"] = (RuntimeError, lambda p: p.bad_above.backward())
    ERRORS["no number for a local gradient"] = (TypeError, lambda p: p.no_slope.backward())
    ERRORS["a stale graph"] = (ValueError, lambda p: p.stale.backward())
    ERRORS["a cycle"] = (ValueError, lambda p: p.cycle.backward())
    ERRORS["a cycle sorted"] = (ValueError, lambda p: (p.cycle * 2.0).sorted_nodes())
    ERRORS["a cycle copied"] = (ValueError, lambda p: copy.deepcopy(p.cycle))
    ERRORS["zero_grad of text"] = (TypeError, lambda p: cr.zero_grad([p.x, TEXT]))
    FOREIGN_ERRORS["anomaly in a value"] = (
        FloatingPointError,
        lambda p: in_context(cr.detect_anomaly(), lambda: p.x / 0.0),
    )
    FOREIGN_ERRORS["anomaly in a subclass"] = (
        FloatingPointError,
        lambda p: in_context(cr.detect_anomaly(), lambda: Scaled(p.x, math.inf)),
    )
    FOREIGN_ERRORS["anomaly in a gradient"] = (
        FloatingPointError,
        lambda p: in_context(cr.detect_anomaly(), (p.x - p.x).sqrt().backward),
    )
    FOREIGN_ERRORS["domain error"] = (
        ValueError,
        lambda p: in_context(cr.domain_errors(), (p.x - 5.0).log),
    )
    ERRORS["a truncated pickle"] = (
        (pickle.UnpicklingError, EOFError),
        lambda p: pickle.loads(pickle.dumps(p.root)[:-200]),
    )
    FOREIGN["in a group"] = lambda p: in_context(cr.group("g"), lambda: p.x * p.y + 2.0)
    FOREIGN["a subclass in a group"] = lambda p: in_context(cr.group("g"), lambda: Scaled(p.x))
    FOREIGN["lines recorded"] = lambda p: in_context(cr.record_lines(), lambda: p.x * p.y + 2.0)
    FOREIGN["a wide operation in a group"] = lambda p: in_context(
        cr.group("g"), lambda: cm.fsum([p.x, p.y, 2.0])
    )


def _transformations() -> None:
    def f(x: Any, y: Any) -> Any:
        return polynomial(x * 1.0, y)

    FOREIGN["grad"] = lambda p: cr.grad(square)(0.5)
    FOREIGN["grad of a polynomial"] = lambda p: cr.grad(f, argnums=(0, 1))(0.5, 0.25)
    FOREIGN["grad of nodes"] = lambda p: cr.grad(square)(p.x)
    FOREIGN["grad with a captured node"] = lambda p: cr.grad(lambda x: x * p.x + p.y)(0.5)
    FOREIGN["value_and_grad"] = lambda p: cr.value_and_grad(square)(0.5)
    FOREIGN["grad of grad"] = lambda p: cr.grad(cr.grad(square))(0.5)
    FOREIGN["jvp"] = lambda p: cr.jvp(square, (0.5,), (1.0,))
    FOREIGN["vjp"] = lambda p: cr.vjp(square, 0.5)[1](1.0)
    FOREIGN["hvp"] = lambda p: cr.hvp(square, (0.5,), (1.0,))
    FOREIGN["hessian"] = lambda p: cr.hessian(square)(0.5)
    FOREIGN["jacobian"] = lambda p: cr.jacobian(lambda x: [x * x, cm.sin(x)])(0.5)
    FOREIGN["jacfwd"] = lambda p: cr.jacfwd(lambda x: [x * x, cm.sin(x)])(0.5)
    FOREIGN["grad of arrays"] = lambda p: cr.grad(lambda v: (v * v).sum())(np.array([0.5, 0.25]))
    FOREIGN["grad of custom_gradient"] = lambda p: cr.grad(lambda x: custom(x, 2.0 * x))(0.5)
    FOREIGN["grad of a user's operation"] = lambda p: cr.grad(lambda x: HALF(x) * x)(0.5)
    FOREIGN["trace"] = lambda p: traced(f)
    for name, wrong in {
        "data": lambda x: x.data * x,
        "hash": lambda x: x * len({x}),
        "float": lambda x: x * float(x),
        "backward": lambda x: x.backward(),
        "local_grads": lambda x: (x * x).local_grads()[0],
        "copy": lambda x: x * pickle.dumps(x),
        "sorted_nodes": lambda x: (x * 2.0).sorted_nodes()[0],
    }.items():
        FOREIGN_ERRORS[f"{name} in a transformation"] = (
            TypeError,
            lambda p, f=wrong: cr.grad(f)(0.5),
        )
    FOREIGN_ERRORS["grad of text"] = (TypeError, lambda p: cr.grad(square)(TEXT))
    FOREIGN_ERRORS["grad of a function that fails"] = (
        ZeroDivisionError,
        lambda p: cr.grad(lambda x: x * (1 // 0))(0.5),
    )
    FOREIGN_ERRORS["a value that leaves"] = (TypeError, lambda p: left_behind().data)


def left_behind() -> Any:
    """A traced value of a transformation that has ended."""
    kept: list[Any] = []

    def f(x: Any) -> Any:
        kept.append(x * 2.0)
        return x * x

    cr.grad(f)(0.5)
    return kept[0]


def traced(f: Callable[..., Any]) -> str:
    """What ``compile`` records of a function of two numbers, as text."""
    from chainrule.jit.trace import Trace

    trace = Trace(lambda xs: f(*xs), [0.5, 0.25], list, [0, 1])
    return str(trace.program)


def raising(kind: Any, action: Action) -> Action:
    """The action, which must raise an error of a kind."""

    def run(p: Pool) -> None:
        with contextlib.suppress(kind):
            action(p)
            raise AssertionError("no error")

    return run


for _fill in (_operators, _operations, _nodes, _passes, _transformations):
    _fill()
