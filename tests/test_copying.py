"""Copies and pickles of graphs: what comes back, and what stays shared."""

import copy
import io
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import Node, Operation, detect_anomaly, group
from chainrule import math as cm


class Scaled(Node):
    """A user's operation with attributes of its own."""

    def __init__(self, x: Node, factor: float, note: Any = None) -> None:
        super().__init__(factor * x.data, (x,))
        self.factor = factor
        self.note = note

    def _local_grad(self, parent: Node) -> float:
        return self.factor


class Parameter(Node):
    """A user's leaf with attributes of its own."""

    def __init__(self, data: float, owner: Any = None) -> None:
        super().__init__(data, name="parameter")
        self.owner = owner


class Slotted(Node):
    """One that keeps its attribute in a slot."""

    __slots__ = ("__secret", "factor")

    def __init__(self, x: Node, factor: float) -> None:
        super().__init__(factor * x.data, (x,))
        self.factor = factor
        self.__secret = -factor

    def secret(self) -> float:
        """What the private slot holds."""
        return self.__secret

    def _local_grad(self, parent: Node) -> float:
        return self.factor


class Model:
    """What holds parameters and is held by them."""

    def __init__(self) -> None:
        self.parameters = [Parameter(1.0, self), Parameter(2.0, self)]


def cube_value(x: float) -> float:
    """The value of a user's operation."""
    return x**3


def cube_local_grad(y: Any, x: Any) -> Any:
    """Its derivative."""
    return 3.0 * x**2


def total_value(*xs: float) -> float:
    """The value of a user's operation of any arity."""
    return sum(xs)


def total_local_grads(y: Any, *xs: Any) -> list[Any]:
    """Its derivatives."""
    return [1.0] * len(xs)


cube = Operation("cube", cube_value, (cube_local_grad,), symbol="³")
total = Operation("total", total_value, total_local_grads)


def python_round_trip(x: Any) -> Any:
    """Through the pickler and unpickler written in Python."""
    file = io.BytesIO()
    pickle._Pickler(file, 4).dump(x)
    file.seek(0)
    return pickle._Unpickler(file).load()


def round_trip(protocol: int) -> Callable[[Any], Any]:
    """Through pickle, at a protocol."""
    return lambda x: pickle.loads(pickle.dumps(x, protocol))


WAYS: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    **{f"protocol {protocol}": round_trip(protocol) for protocol in range(2, 6)},
    "python": python_round_trip,
}
all_ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def variety() -> tuple[Any, list[Node]]:
    """A graph with a node of every shape, and its leaves."""
    x, y = Node(1.5, name="x"), Node(0.5)
    p = Parameter(2.0, owner=["someone", 1])
    with group("outer"):
        a = x * y + 2 * x - y / 3 + (1 - x) + 2**y + x**2 + x**y - -x
        with group("inner"):
            b = a.tanh() + a.relu() + abs(y) + x % y + x // 2 + round(x, 1) + cm.where(x > 1, y, 0)
    b.name = "b"
    c = cm.fsum([a, b, 3.0, a]) + cm.hypot(x, y, p) + cm.polygamma(1, x) + cm.fma(x, 2, y)
    d = cube(c * 0.01) + total(x, 1, y, c, y) + total(x) + cm.stop_gradient(p)
    e = Scaled(d, 0.5, note={"k": [1, 2]}) + Scaled(Scaled(x, 2.0), 3.0)
    root = e * e + sum([x] * 3)
    return root, [x, y, p]


def assert_same_graph(old: Node, new: Node) -> None:
    """Equal in everything, and no node in common."""
    before, after = old.sorted_nodes(), new.sorted_nodes()
    assert len(before) == len(after)
    twin = dict(zip(before, after, strict=True))
    assert not set(before) & set(after)
    for u, v in twin.items():
        assert type(v) is type(u)
        assert (v.data.hex(), v.grad.hex()) == (u.data.hex(), u.grad.hex())
        assert (v.name, v.groups, v.line) == (u.name, u.groups, u.line)
        assert str(v) == str(u)
        assert [twin.get(x, x) if isinstance(x, Node) else x for x in u.operands] == list(
            v.operands
        )
        assert (u.operation is None) == (v.operation is None)
        if u.operation is not None and v.operation is not None:
            assert u.operation.name == v.operation.name
            assert (u.operation is v.operation) or not u.operation.builtin


# Copies of one graph


@all_ways
def test_a_graph_of_every_kind_of_node(way: Callable[[Any], Any]) -> None:
    """Values, gradients, names, groups, classes, operations and attributes come back."""
    root, leaves = variety()
    root.backward(2)
    root.backward()
    new = way(root)
    assert_same_graph(root, new)
    attributes = [vars(node) for node in new.sorted_nodes() if isinstance(node, Scaled)]
    assert [a["factor"] for a in attributes] == [0.5, 3.0, 2.0] or len(attributes) == 3
    assert {"k": [1, 2]} in [a["note"] for a in attributes]
    owners = [node.owner for node in new.sorted_nodes() if isinstance(node, Parameter)]
    assert owners == [["someone", 1]]
    assert owners[0] is not leaves[2].owner  # type: ignore[attr-defined]


@all_ways
def test_a_copy_backpropagates_like_the_original(way: Callable[[Any], Any]) -> None:
    """To the last bit, and without touching it."""
    root, leaves = variety()
    new = way(root)
    twin = dict(zip(root.sorted_nodes(), new.sorted_nodes(), strict=True))
    new.backward()
    assert [x.grad for x in leaves] == [0.0, 0.0, 0.0]
    root.backward()
    assert [x.grad.hex() for x in leaves] == [twin[x].grad.hex() for x in leaves]
    twin[leaves[0]].data = 7.0
    assert leaves[0].data == 1.5
    root.backward()


@all_ways
def test_a_leaf(way: Callable[[Any], Any]) -> None:
    """The smallest graph."""
    x = Node(-0.0, name="zero")
    x.grad = 3.0
    new = way(x)
    assert repr(new) == "Node(data=-0.0, grad=3.0, name='zero')"
    assert new._parents == ()
    new.data = 1.0
    assert (new * 2).data == 2.0


@all_ways
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 5e-324])
def test_values_that_are_not_ordinary(way: Callable[[Any], Any], value: float) -> None:
    """They come back as they were, on leaves and on results."""
    y = Node(value) * 1.0
    assert_same_graph(y, way(y))


@all_ways
def test_groups_open_while_copying_do_not_matter(way: Callable[[Any], Any]) -> None:
    """A copy was not made anew."""
    y = Node(1.0, name="x") * 2
    with group("elsewhere"):
        new = way(y)
    assert_same_graph(y, new)
    with group("here"), detect_anomaly():
        z = y + 1
    assert_same_graph(z, way(z))


@all_ways
def test_a_users_operation_works_after_copying(way: Callable[[Any], Any]) -> None:
    """Called again, on what came back."""
    x = Node(2.0)
    y = way(cube(x))
    y.backward()
    assert y._parents[0].grad == 12.0
    again = y.operation(y._parents[0])
    assert (again.data, str(again)) == (8.0, "³")
    assert way(cube)(2.0) == 8.0
    assert way(total)(1.0, 2.0, 3.0) == 6.0
    assert way(total(x, 1, x)).operation.variadic


@all_ways
def test_operations_of_the_table_are_themselves(way: Callable[[Any], Any]) -> None:
    """There is one of each."""
    assert way(cm.exp) is cm.exp
    assert way([cm.tanh, cm.fsum]) == [cm.tanh, cm.fsum]


@all_ways
def test_a_name_set_on_a_copy(way: Callable[[Any], Any]) -> None:
    """Is no one else's."""
    with group("g"):
        x, y = Node(1.0), Node(2.0)
    new = way([x, y])
    new[0].name = "n"
    assert (x.name, y.name, new[1].name) == (None, None, None)
    assert new[0].groups == ("g",)


def test_an_operation_of_lambdas_can_be_copied_not_pickled() -> None:
    """As Python's functions themselves."""
    double = Operation("double", lambda x: 2.0 * x, (lambda y, x: 2.0,))
    y = double(Node(3.0))
    new = copy.deepcopy(y)
    new.backward()
    assert new._parents[0].grad == 2.0
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(y)


# Shallow copies


def test_a_shallow_copy_has_the_same_parents() -> None:
    """And else its own life."""
    x = Node(3.0)
    for y in (x * x, 2 * x, x**2, x.tanh(), -x, cm.fsum([x, 1, x]), cube(x), Scaled(x, 2.0)):
        y.grad = 5.0
        y.name = "y"
        new = copy.copy(y)
        assert new is not y
        assert type(new) is type(y)
        assert new._parents == y._parents
        assert (new.data, new.grad, new.name, str(new)) == (y.data, y.grad, y.name, str(y))
        new.name = "other"
        new.grad = 0.0
        assert (y.grad, y.name) == (5.0, "y")
        x.grad = 0.0
        new.backward()
        slope = x.grad
        x.grad = 0.0
        y.backward()
        assert x.grad == slope


def test_a_shallow_copy_of_a_leaf() -> None:
    """Accumulates apart, shares its attributes."""
    owner = [1]
    p = Parameter(2.0, owner)
    new = copy.copy(p)
    assert new.owner is owner
    new.owner = None
    assert p.owner is owner
    (new * 3).backward()
    assert (p.grad, new.grad) == (0.0, 3.0)


# What is shared stays shared


@all_ways
def test_sharing_in_containers(way: Callable[[Any], Any]) -> None:
    """Tuples, lists, dicts and arrays of nodes of one graph."""
    x, y = Node(2.0), Node(3.0)
    h = x * y
    first, second = h * 2, h + x
    pair = way((first, x))
    assert pair[0].sorted_nodes().count(pair[1]) == 1
    pair[0].backward()
    assert pair[1].grad == 6.0
    flipped = way((x, first))
    assert flipped[0] in flipped[1].sorted_nodes()
    a, b = way([first, second])
    a.backward()
    b.backward()
    assert a._parents[0] is b._parents[0]
    assert [n.grad for n in a._parents[0]._parents] == [10.0, 6.0]
    table = way({"loss": second, "weights": {"x": x, "y": y}, "again": second})
    assert table["loss"] is table["again"]
    table["loss"].backward()
    assert (table["weights"]["x"].grad, table["weights"]["y"].grad) == (4.0, 2.0)
    array = way(np.array([[x, h], [first, x]], dtype=object))
    assert array[0, 0] is array[1, 1]
    assert array[0, 1] in array[1, 0].sorted_nodes()
    assert way([x, x, [x]])[2][0] is not x
    repeated = way([x, h, x, h])
    assert repeated[0] is repeated[2]
    assert repeated[1] is repeated[3]
    assert repeated[1]._parents[0] is repeated[0]


@all_ways
def test_sharing_of_deep_graphs(way: Callable[[Any], Any]) -> None:
    """Several roots over one chain deeper than Python can recurse, in every order."""
    x = Node(1.0)
    nodes: list[Any] = [x]
    for _ in range(3 * sys.getrecursionlimit()):
        nodes.append(nodes[-1] * 1.0 + x)
    middle = len(nodes) // 2
    for picked in (
        [nodes[-1], nodes[middle], x],
        [x, nodes[middle], nodes[-1]],
        [nodes[-1] * 2, nodes[-1] * 3],
        [nodes[middle], nodes[-1] * 3, nodes[middle] * 2],
    ):
        new = way(picked)
        everything = {node for root in picked for node in root.sorted_nodes()}
        assert len({node for root in new for node in root.sorted_nodes()}) == len(everything)
        assert [n.data for n in new] == [n.data for n in picked]
    root = nodes[-1] * 2
    assert_same_graph(root, way(root))


@all_ways
def test_sharing_of_attributes(way: Callable[[Any], Any]) -> None:
    """Objects that several nodes hold, and nodes that attributes hold."""
    x = Node(1.0)
    shared = {"table": [1, 2]}
    y = Scaled(Scaled(x, 2.0, note=shared), 3.0, note=[shared, x])
    new = way(y)
    inner = new._parents[0]
    assert inner.note == shared
    assert inner.note is not shared
    assert new.note[0] is inner.note
    assert new.note[1] is inner._parents[0]


@all_ways
def test_nodes_that_attributes_hold(way: Callable[[Any], Any]) -> None:
    """They are not in the graph, and may have graphs of their own, of any depth."""
    deep: Any = Node(1.0)
    for _ in range(2 * sys.getrecursionlimit()):
        deep = deep * 1.0
    y: Node = Node(1.0)
    for i in range(2 * sys.getrecursionlimit()):
        y = Scaled(y, 1.0, note=deep if i % 100 == 3 else Node(float(i)))
    new = way(y)
    assert_same_graph(y, new)
    assert new.note.data == y.note.data  # type: ignore[attr-defined]
    holders = [n for n in new.sorted_nodes() if isinstance(n, Scaled) and n.note.operation]
    assert len(holders) > 1
    assert len({n.note for n in holders}) == 1
    assert_same_graph(deep, holders[0].note)


@all_ways
def test_a_node_and_its_owner_hold_each_other(way: Callable[[Any], Any]) -> None:
    """The references in a circle come back as a circle."""
    model = Model()
    loss = model.parameters[0] * model.parameters[1]
    for new in (way(model), way(model.parameters[0]).owner, way([loss, model])[1]):
        assert isinstance(new, Model)
        assert new is not model
        assert [p.owner is new for p in new.parameters] == [True, True]
    new_loss = way(loss)
    owner = new_loss._parents[0].owner
    assert owner.parameters == list(new_loss._parents)


@all_ways
def test_a_node_that_holds_itself(way: Callable[[Any], Any]) -> None:
    """In an attribute, as the owner of itself."""
    p = Parameter(1.0)
    p.owner = p
    new = way(p)
    assert new.owner is new
    assert new is not p


@all_ways
def test_attributes_in_slots(way: Callable[[Any], Any]) -> None:
    """They are kept, as those in the instance dict; by a shallow copy, too."""
    y = Slotted(Node(2.0), 3.0)
    for new in (way(y), copy.copy(y)):
        assert new.factor == 3.0
        assert new.secret() == -3.0
        new.backward()
        assert new._parents[0].grad == 3.0


@all_ways
def test_a_copy_of_a_stale_graph_is_stale(way: Callable[[Any], Any]) -> None:
    """Copying does not make right what backward refuses."""
    x = Node(3.0)
    y = x * x
    x.data = 4.0
    with pytest.raises(ValueError, match="was changed after multiply had used it"):
        y.backward()
    new = way(y)
    with pytest.raises(ValueError, match="was changed after multiply had used it"):
        new.backward()
    new._parents[0].data = 3.0
    new.backward()
    assert new._parents[0].grad == 6.0


def test_one_pickler_for_several_dumps() -> None:
    """Its memory lasts from one to the next, as for any object."""
    x = Node(1.0)
    y: Any = x
    for _ in range(2 * sys.getrecursionlimit()):
        y = y * x
    file = io.BytesIO()
    pickler = pickle.Pickler(file)
    for item in (x, y, y * 2):
        pickler.dump(item)
    file.seek(0)
    unpickler = pickle.Unpickler(file)
    a, b, c = (unpickler.load() for _ in range(3))
    assert c._parents == (b,)
    assert b.sorted_nodes()[-1] is a


@pytest.mark.parametrize("step", [lambda s: s * 0.9, lambda s: Scaled(s, 0.9, note=Node(1.0))])
def test_size_of_a_pickled_trajectory(step: Callable[[Any], Any]) -> None:
    """A list of states, each made from the one before, takes room in proportion to its length."""

    def size(length: int) -> int:
        states: list[Any] = [Node(1.0)]
        for _ in range(length):
            states.append(step(states[-1]))
        return len(pickle.dumps(states)) + len(pickle.dumps(states[-1]))

    assert size(800) < 2.5 * size(400)


def test_size_of_a_pickled_node() -> None:
    """What the file holds is the graph, once, whatever engine wrote it."""

    def size(length: int) -> int:
        y: Any = Node(1.0)
        for _ in range(length):
            y = y * 0.5
        return len(pickle.dumps(y))

    assert (size(2000) - size(1000)) / 1000 < 80


# Failures and threads


def chain(length: int, note: Any) -> Any:
    """A chain of users' nodes whose middle one holds ``note``."""
    y: Any = Node(1.0)
    for i in range(length):
        y = Scaled(y, 1.0, note=note if i == length // 2 else None) * 1.0
    return y


@pytest.mark.parametrize("dumps", [pickle.dumps, lambda x: pickle._Pickler(io.BytesIO()).dump(x)])
def test_after_a_failed_pickle(dumps: Callable[[Any], Any]) -> None:
    """The next one of the same thread is right: of another graph, or of a part of the same."""
    length = 2 * sys.getrecursionlimit()
    bad = chain(length, threading.Lock())
    good = chain(length, "note")
    for _ in range(2):
        with pytest.raises(TypeError, match="lock"):
            dumps(bad)
        assert_same_graph(good, pickle.loads(pickle.dumps(good)))
        with pytest.raises(TypeError, match="lock"):
            dumps([good, bad])
        nodes = bad.sorted_nodes()
        part = nodes[len(nodes) * 3 // 4]
        assert part.sorted_nodes()[-1] is nodes[-1]
        assert_same_graph(part, pickle.loads(pickle.dumps(part)))
    with pytest.raises(TypeError, match="lock"):
        copy.deepcopy(bad)
    assert_same_graph(good, copy.deepcopy(good))


def test_pickling_in_several_threads() -> None:
    """At once, the same graph and others."""
    shared = chain(1500, "shared")
    before = pickle.dumps(shared)
    errors: list[BaseException] = []

    def work(own: Any) -> None:
        try:
            for _ in range(3):
                assert_same_graph(own, pickle.loads(pickle.dumps(own)))
                assert pickle.dumps(shared) == before
                assert_same_graph(shared, python_round_trip(shared))
                assert_same_graph(own, copy.deepcopy(own))
        except BaseException as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(chain(1200, str(i)),)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not errors


def test_a_cycle_is_an_error() -> None:
    """Not an endless loop."""
    x = Node(1.0)
    y = x * 2
    x._parents = (y,)
    for way in WAYS.values():
        with pytest.raises(ValueError, match="the graph has a cycle"):
            way(y)
