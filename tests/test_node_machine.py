"""Random programs on nodes beside a model of them in plain Python, step by step.

The model knows the table's own functions and what this file says: which node refers to which, whose
data was set after what, what a pass sends in which order. After each step every node must hold what
the model holds, to the last bit. ``python tests/test_node_machine.py 5000`` runs so many programs.
"""

from __future__ import annotations

import copy
import gc
import math
import operator
import os
import pickle
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from node_cases import HALF, Scaled, Slotted

import chainrule as cr
from chainrule.rules import OPERATIONS, Operation

MOST = 30
"""So many nodes are looked at; what they were computed from lives on below them."""

SYMBOLS = {
    **{"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "**": "power"},
    **{"%": "mod", "//": "floor_divide"},
}
OPERATORS: dict[str, Callable[..., Any]] = {
    **{"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv},
    **{"**": operator.pow, "%": operator.mod, "//": operator.floordiv},
}
SIGNED = ("*", "%", "//")
"""Of floats that are whole numbers, these give -0.0; of ints, they do not."""
COMPARISONS: dict[str, Callable[..., Any]] = {
    **{"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge},
    **{"==": operator.eq, "!=": operator.ne},
}
METHODS: dict[str, str] = {
    **{name: name for name in ("relu", "tanh", "exp", "exp2", "expm1", "log", "log2", "log10")},
    **{name: name for name in ("log1p", "sqrt", "cbrt", "sin", "cos", "tan", "sinh", "cosh")},
    **{name: name for name in ("sign", "floor", "ceil", "trunc", "sigmoid", "softplus")},
    **{"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arcsinh": "asinh"},
    **{"arccosh": "acosh", "arctanh": "atanh", "fabs": "absolute"},
    **{"__neg__": "negative", "__abs__": "absolute", "__floor__": "floor", "__ceil__": "ceil"},
}
CALLED = [
    name
    for name in OPERATIONS
    if name not in ("gamma", "lgamma", "polygamma", "gather", "floor", "ceil", "trunc")
]

special = st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 3.0, math.inf, -math.inf, math.nan, 5e-324, 1e300, -0.1]
)
floats = special | st.floats(-8.0, 8.0) | st.floats()
numbers = (
    floats
    | st.integers(-4, 4)
    | st.booleans()
    | floats.map(np.float64)
    | st.integers(-4, 4).map(np.int64)
)
places = st.integers(0, MOST - 1)
names = st.none() | st.sampled_from(["x", "", "loss", "Δ", "a\0b"])
threads = st.sampled_from([False, False, False, True])


class Twin:
    """What the model knows of a node.

    Attributes:
        number: the value.
        grad: the gradient.
        operation: of the table or a user's; None for leaves and users' own.
        operands: twins and floats.
        serial: when it was made, or its data was set.
        factor: the local gradient of a user's own.
    """

    def __init__(
        self,
        number: float,
        serial: int,
        operation: Operation | None = None,
        operands: Sequence[Any] = (),
        factor: float = 0.0,
    ) -> None:
        self.number, self.grad, self.serial = number, 0.0, serial
        self.operation, self.operands, self.factor = operation, tuple(operands), factor
        self.name: str | None = None
        self.groups: tuple[str, ...] = ()

    @property
    def parents(self) -> list[Twin]:
        """The twins among the operands."""
        return [x for x in self.operands if isinstance(x, Twin)]

    @property
    def values(self) -> list[float]:
        """The operands' numbers."""
        return [x.number if isinstance(x, Twin) else x for x in self.operands]

    def is_stale(self) -> bool:
        """Whether an operand was set since, and the value would now be another."""
        if not any(parent.serial > self.serial for parent in self.parents):
            return False
        if self.operation is None:
            return True
        return not same(self.operation.value(*self.values), self.number, signed=False)

    def local_grad(self, position: int) -> float | None:
        """By an operand, None if it is sent nothing."""
        operation = self.operation
        if operation is None:
            return self.factor
        if operation.ignores(position):
            return None
        values = self.values
        local = float(operation.local_grad(position, self.number, values))
        picked = not operation.picks or operation.deciding(local, values) != 0.0
        return local if picked else None


def same(a: float, b: float, signed: bool = True) -> bool:
    """Whether two floats are the same, all NaN being one."""
    if a != a or b != b:
        return a != a and b != b
    return struct.pack("d", a) == struct.pack("d", b) if signed else a == b


def in_thread(threaded: bool, action: Callable[[], Any]) -> Any:
    """The result of an action, perhaps in another thread; what it raises is raised."""
    if not threaded:
        return action()
    found: list[Any] = []

    def run() -> None:
        try:
            found.extend((True, action()))
        except Exception as error:
            found.extend((False, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    done, result = found
    if not done:
        raise result
    return result


class NodeMachine(RuleBasedStateMachine):
    """A program on nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[Any, Twin]] = []
        self.clock = 0
        self.groups: list[tuple[str, Any]] = []
        self.twin_of: dict[int, Twin] = {}

    # The pairs

    def tick(self) -> int:
        """The next serial number."""
        self.clock += 1
        return self.clock

    def at(self, place: int) -> tuple[Any, Twin]:
        """A pair."""
        return self.pairs[place % len(self.pairs)]

    def add(self, node: Any, twin: Twin, made: bool = True) -> None:
        """Look at one more."""
        assert isinstance(node, cr.Node)
        if made:
            twin.groups = tuple(name for name, _ in self.groups)
        self.pairs.append((node, twin))
        if len(self.pairs) > MOST:
            del self.pairs[0]

    def result(self, node: Any, name: str, *operands: Any, as_int: bool = False) -> None:
        """Look at the result of an operation of the table, maybe one that is an int in Python."""
        operation = OPERATIONS[name]
        numbers_ = [x.number if isinstance(x, Twin) else float(x) for x in operands]
        kept = [x if isinstance(x, Twin) else float(x) for x in operands]
        number = float(operation.value(*numbers_))
        twin = Twin(number, self.tick(), operation, kept)
        if as_int and is_whole(node) and same(number, -0.0):  # no int is
            self.add(node.operands[0], twin)
            twin = Twin(0.0, self.tick(), OPERATIONS["add"], [twin, 0.0])
        self.add(node, twin)

    # Making nodes

    @initialize(data=floats)
    def first(self, data: float) -> None:
        """There is always one."""
        self.leaf(data, None, False)

    @rule(data=numbers, name=names, threaded=threads)
    def leaf(self, data: Any, name: str | None, threaded: bool) -> None:
        """A leaf."""
        node = in_thread(threaded and not self.groups, lambda: cr.Node(data, name=name))
        twin = Twin(float(data), self.tick())
        twin.name = name
        self.add(node, twin)

    @rule(data=floats)
    def slotted(self, data: float) -> None:
        """A leaf of a user's class."""
        node: Any = Slotted(data)
        node.note = node * 2.0
        self.add(node, Twin(data, self.tick()))

    @rule(symbol=st.sampled_from(list(OPERATORS)), i=places, j=places, threaded=threads)
    def operator_of_nodes(self, symbol: str, i: int, j: int, threaded: bool) -> None:
        """An operator between two nodes, or a node and itself."""
        (x, u), (y, v) = self.at(i), self.at(j)
        if is_whole(x) and is_whole(y) and symbol in ("%", "//") and v.number == 0.0:
            with pytest.raises(ZeroDivisionError):
                OPERATORS[symbol](x, y)
            return
        threaded = threaded and not self.groups
        node = in_thread(threaded, lambda: OPERATORS[symbol](x, y))
        self.result(node, SYMBOLS[symbol], u, v, as_int=symbol in SIGNED)

    @rule(symbol=st.sampled_from(list(OPERATORS)), i=places, c=numbers, swapped=st.booleans())
    def operator_of_a_number(self, symbol: str, i: int, c: Any, swapped: bool) -> None:
        """An operator between a node and a number on either side."""
        x, u = self.at(i)
        divisor = u.number if swapped else c
        whole = is_whole(x) and isinstance(c, (int, np.integer))
        if whole and symbol in ("%", "//") and divisor == 0:
            with pytest.raises(ZeroDivisionError):
                OPERATORS[symbol](c, x) if swapped else OPERATORS[symbol](x, c)
            return
        if swapped:
            self.result(
                OPERATORS[symbol](c, x), SYMBOLS[symbol], float(c), u, as_int=symbol in SIGNED
            )
        else:
            self.result(
                OPERATORS[symbol](x, c), SYMBOLS[symbol], u, float(c), as_int=symbol in SIGNED
            )

    @rule(name=st.sampled_from(list(METHODS)), i=places, threaded=threads)
    def method(self, name: str, i: int, threaded: bool) -> None:
        """A method of no arguments."""
        x, u = self.at(i)
        node = in_thread(threaded and not self.groups, lambda: getattr(x, name)())
        if node is x:  # the floor of a whole number
            assert is_whole(x)
            return
        self.result(node, METHODS[name], u, as_int=name.startswith("__"))

    @rule(i=places)
    def rounding(self, i: int) -> None:
        """To a whole number."""
        x, u = self.at(i)
        node = round(x)
        if not is_whole(x):
            self.result(node, "round", u, 0.0, as_int=True)

    @rule(name=st.sampled_from(CALLED), operands=st.lists(places | numbers, min_size=4, max_size=4))
    def call(self, name: str, operands: list[Any]) -> None:
        """An operation of the table."""
        operation = OPERATIONS[name]
        count = 4 if operation.variadic else len(operation.local_grads)
        found = [self.at(x) if type(x) is int else x for x in operands[:count]]
        if not operation.variadic:
            for k, local_grad in enumerate(operation.local_grads):
                if local_grad is None:
                    found[k] = 1.0
        if not any(isinstance(x, tuple) for x in found):
            found[0] = self.at(0)
        twins = [x[1] if isinstance(x, tuple) else x for x in found]
        if name in ("mod", "floor_divide") and all(
            is_whole(x[0]) if isinstance(x, tuple) else isinstance(x, (int, np.integer))
            for x in found
        ):
            return
        node = operation(*[x[0] if isinstance(x, tuple) else x for x in found])
        self.result(node, name, *twins)

    @rule(i=places, factor=floats, cycle=st.booleans())
    def subclass(self, i: int, factor: float, cycle: bool) -> None:
        """A user's own, perhaps one that refers to what is computed from it."""
        x, u = self.at(i)
        node: Any = Scaled(x, factor)
        twin = Twin(factor * u.number, self.tick(), None, (u,), factor)
        if cycle:
            node.cache = [node * 2.0, x]
        self.add(node, twin)

    @rule(i=places)
    def users_operation(self, i: int) -> None:
        """A user's operation."""
        x, u = self.at(i)
        self.add(HALF(x), Twin(0.5 * u.number, self.tick(), HALF, (u,)))

    @rule(symbol=st.sampled_from(list(COMPARISONS)), i=places, other=places | floats)
    def compare(self, symbol: str, i: int, other: Any) -> None:
        """Values, but for == between nodes, which is identity."""
        x, u = self.at(i)
        y, v = self.at(other) if type(other) is int else (other, other)
        compare = COMPARISONS[symbol]
        if isinstance(v, Twin):
            expected = compare(u.number, v.number)
            if symbol in ("==", "!="):
                expected = (x is y) == (symbol == "==")
        else:
            expected = compare(u.number, v)
            assert compare(y, x) is compare(v, u.number)
        assert compare(x, y) is expected

    # Setting

    @rule(i=places, data=numbers)
    def set_data(self, i: int, data: Any) -> None:
        """Of a leaf, or a user's own; not of an operation."""
        node, twin = self.at(i)
        if twin.operation is not None:
            with pytest.raises(ValueError, match="result of an operation"):
                node.data = data
            return
        node.data = data
        twin.number, twin.serial = float(data), self.tick()

    @rule(i=places, j=st.integers(0, 100), data=floats)
    def set_data_below(self, i: int, j: int, data: float) -> None:
        """Of a leaf that a node was computed from, then a pass."""
        node, _ = self.at(i)
        order = node.sorted_nodes()
        leaves = [x for x in order if self.twin_of[id(x)].operation is None]
        leaf = leaves[j % len(leaves)] if leaves else node
        if leaves:
            leaf.data = data
            twin = self.twin_of[id(leaf)]
            twin.number, twin.serial = data, self.tick()
        self.backward(i, 1.0, False)

    @rule(name=st.sampled_from(["fsum", "hypot"]), some=st.lists(places, min_size=9, max_size=12))
    def wide(self, name: str, some: list[int]) -> None:
        """An operation of many operands."""
        pairs = [self.at(i) for i in some]
        self.result(
            OPERATIONS[name](*[node for node, _ in pairs], 2.0), name, *[u for _, u in pairs], 2.0
        )

    @rule(i=places, grad=numbers)
    def set_grad(self, i: int, grad: Any) -> None:
        """Of any node."""
        node, twin = self.at(i)
        node.grad = grad
        twin.grad = float(grad)

    @rule(i=places, name=names)
    def set_name(self, i: int, name: str | None) -> None:
        """Of any node."""
        node, twin = self.at(i)
        node.name = name
        twin.name = name

    @rule(places_=st.lists(places, max_size=5))
    def zero_grad(self, places_: list[int]) -> None:
        """Of several."""
        pairs = [self.at(i) for i in places_]
        cr.zero_grad([node for node, _ in pairs])
        for _, twin in pairs:
            twin.grad = 0.0

    @rule(i=places, wrong=st.sampled_from([None, "text", 1j, [], object()]))
    def misuse(self, i: int, wrong: Any) -> None:
        """What raises changes nothing."""
        node, _ = self.at(i)
        for use in (
            lambda: node + wrong,
            lambda: node.backward(wrong),
            lambda: setattr(node, "grad", wrong),
            lambda: type(node).data.__set__(node, wrong),
            lambda: delattr(node, "data"),
            lambda: float(node) if not is_whole(node) else node + wrong,
        ):
            with pytest.raises((TypeError, AttributeError, ValueError)):
                use()

    # Passes

    @rule(i=places, seed=st.just(1.0) | floats, threaded=threads)
    def backward(self, i: int, seed: float, threaded: bool) -> None:
        """Gradients by the model's own pass, in the order of the nodes."""
        node, twin = self.at(i)
        order = [self.twin_of[id(x)] for x in node.sorted_nodes()]
        self.check_order(twin, order)
        if any(x.is_stale() for x in order):
            with pytest.raises(ValueError, match="was changed after"):
                in_thread(threaded, lambda: node.backward(seed))
            return
        in_thread(threaded, lambda: node.backward(seed))
        gradients: dict[int, float] = {}
        self.send(gradients, twin, seed)
        for x in order:
            if not x.operands:
                continue
            reached = id(x) in gradients
            x.grad = gradients.get(id(x), 0.0)
            for position, operand in enumerate(x.operands):
                if reached and isinstance(operand, Twin):
                    local = x.local_grad(position)
                    if local is not None:
                        self.send(gradients, operand, x.grad * local)

    def send(self, gradients: dict[int, float], twin: Twin, message: float) -> None:
        """Add a message: to what a leaf holds, or to the sum of this pass."""
        if not twin.operands:
            twin.grad += message + 0.0
        else:
            gradients[id(twin)] = gradients.get(id(twin), -0.0) + (message + 0.0)

    def check_order(self, root: Twin, order: list[Twin]) -> None:
        """Root first, each node once, after all its children."""
        assert order[0] is root
        place = {id(x): i for i, x in enumerate(order)}
        assert len(place) == len(order)
        for x in order:
            assert all(place[id(parent)] > place[id(x)] for parent in x.parents)
        below = {id(root)} | {id(parent) for x in order for parent in x.parents}
        assert below == set(place)

    @rule(i=places)
    def local_grads(self, i: int) -> None:
        """By each parent, those included that are sent nothing."""
        node, twin = self.at(i)
        expected = [
            twin.factor
            if twin.operation is None
            else twin.operation.local_grad(k, twin.number, twin.values)
            for k, x in enumerate(twin.operands)
            if isinstance(x, Twin)
        ]
        found = node.local_grads()
        assert len(found) == len(expected)
        assert all(map(same, found, map(float, expected)))

    @rule(first=st.sampled_from(list(METHODS)), second=st.sampled_from(list(METHODS)), x=floats)
    def transformation(self, first: str, second: str, x: float) -> None:
        """The gradient of numbers is that of a pass."""

        def f(v: Any) -> Any:
            return getattr(getattr(v, first)() * v, second)() * 1.5

        leaf = cr.Node(x)
        f(leaf).backward()
        if not self.groups:
            assert same(cr.grad(f)(x), leaf.grad)

    # Copies

    @rule(i=places, way=st.sampled_from(["copy", "deepcopy", "pickle 2", "pickle 5"]))
    def duplicate(self, i: int, way: str) -> None:
        """Of a node alone, or of all that is below it."""
        node, twin = self.at(i)
        if way == "copy":
            new = Twin(twin.number, self.copied(twin), twin.operation, twin.operands, twin.factor)
            self.add_copy(copy.copy(node), twin, new)
            return
        before = node.sorted_nodes()
        made = (
            copy.deepcopy(node)
            if way == "deepcopy"
            else pickle.loads(pickle.dumps(node, int(way[-1])))
        )
        twins: dict[int, Twin] = {}
        for old in reversed(before):
            x = self.twin_of[id(old)]
            operands = [twins[id(y)] if isinstance(y, Twin) else y for y in x.operands]
            twins[id(x)] = Twin(x.number, self.copied(x), x.operation, operands, x.factor)
        for old, new_node in zip(before, made.sorted_nodes(), strict=True):
            x = self.twin_of[id(old)]
            if not x.operands or x is twin:
                self.add_copy(new_node, x, twins[id(x)])
            else:
                self.give(x, twins[id(x)])

    def copied(self, twin: Twin) -> int:
        """The serial of a copy: that of one that is stale is older than all."""
        serial = self.tick()
        return -1 if twin.is_stale() else serial

    def give(self, old: Twin, new: Twin) -> None:
        """What a copy has besides."""
        new.grad, new.name, new.groups = old.grad, old.name, old.groups

    def add_copy(self, node: Any, old: Twin, new: Twin) -> None:
        """Look at a copy."""
        self.give(old, new)
        self.add(node, new, made=False)

    # The life of nodes

    @rule(i=places, threaded=threads)
    def drop(self, i: int, threaded: bool) -> None:
        """Look no longer at a node, which may end, here or in another thread."""
        if len(self.pairs) > 1:
            place = i % len(self.pairs)
            in_thread(threaded, lambda: self.pairs.pop(place) and None)

    @rule()
    def collect(self) -> None:
        """What is in cycles ends."""
        gc.collect()

    @precondition(lambda self: len(self.groups) < 2)
    @rule(name=st.sampled_from(["a", "b"]))
    def open_group(self, name: str) -> None:
        """New nodes belong to a group."""
        context = cr.group(name)
        context.__enter__()
        self.groups.append((name, context))

    @precondition(lambda self: self.groups)
    @rule()
    def close_group(self) -> None:
        """The innermost ends."""
        _, context = self.groups.pop()
        context.__exit__(None, None, None)

    @invariant()
    def agrees(self) -> None:
        """Every node below those that are looked at is what the model says."""
        self.twin_of = {}
        waiting = list(self.pairs)
        kept: list[Any] = []
        while waiting:
            node, twin = waiting.pop()
            known = self.twin_of.setdefault(id(node), twin)
            assert known is twin, "one node for two"
            kept.append(node)
            if len(kept) > len(self.twin_of):
                kept.pop()
                continue
            self.check(node, twin)
            operands = node.operands
            assert len(operands) == len(twin.operands)
            for x, u in zip(operands, twin.operands, strict=True):
                if isinstance(u, Twin):
                    waiting.append((x, u))
                else:
                    assert type(x) is float
                    assert same(x, u)
        assert len({id(twin) for twin in self.twin_of.values()}) == len(self.twin_of)

    def check(self, node: Any, twin: Twin) -> None:
        """What a node holds."""
        assert same(node.data, twin.number), (node, twin.number)
        assert same(node.grad, twin.grad), (node, twin.grad)
        assert node.operation is twin.operation or node.operation.name == "half"  # a pickled one
        assert node.name == twin.name
        assert node.groups == twin.groups
        assert not getattr(node, "_pending", 0)
        assert [type(x) is not float for x in node.operands] == [
            isinstance(x, Twin) for x in twin.operands
        ]

    def teardown(self) -> None:
        """All contexts end, and all nodes."""
        while self.groups:
            self.close_group()
        self.pairs.clear()
        gc.collect()


def is_whole(x: Any) -> bool:
    """Whether a node is a whole number, an int in Python."""
    return hasattr(type(x), "__index__")


PROGRAMS = int(os.environ.get("CHAINRULE_PROGRAMS", "60"))


def run(programs: int, seeded: bool) -> None:
    """Run some programs."""
    run_state_machine_as_test(
        NodeMachine,
        settings=settings(
            max_examples=programs,
            stateful_step_count=40,
            deadline=None,
            derandomize=seeded,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_programs() -> None:
    """Nodes are what the model says, after each step."""
    run(PROGRAMS, True)


if __name__ == "__main__":
    run(int(sys.argv[1]), False)
