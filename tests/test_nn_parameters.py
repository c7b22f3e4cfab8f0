"""Parameters of any module are found once, in order, trained, saved and loaded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from random_modules import Built, Part, Spec, built, specs

from chainrule import Node, nn


@given(specs())
@settings(max_examples=500, deadline=None)
def test_parameters_of_random_modules(spec: Spec) -> None:
    """Each once, in one order, under one name; two of one name are refused by name."""
    made = built(spec)
    found = made.module.parameters()
    assert len(found) == len(made.parameters)
    assert all(one is other for one, other in zip(found, made.parameters, strict=True))
    if len(set(made.names)) < len(made.names):
        with pytest.raises(ValueError, match=r"two parameters of .* have the name"):
            made.module.named_parameters()
        return
    named = list(made.module.named_parameters())
    assert [name for name, _ in named] == made.names
    assert all(one is other for (_, one), other in zip(named, found, strict=True))
    for node in found:
        node.grad = 1.0
    made.module.zero_grad()
    assert not any(node.grad for node in found)


@given(specs())
@settings(max_examples=250, deadline=None)
def test_random_modules_are_saved_and_loaded(spec: Spec) -> None:
    """All bits of every parameter, into another module of the kind; else the save is refused."""
    made, other = built(spec), built(spec)
    values = np.random.default_rng(0).normal(size=len(made.parameters)).tolist()
    for node, value in zip(made.parameters, values, strict=True):
        node.data = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        if len(set(made.names)) < len(made.names):
            with pytest.raises(ValueError, match=r"two parameters of .* have the name"):
                nn.save(made.module, path)
            assert not path.exists()
            return
        nn.load_weights(other.module, nn.save(made.module, path))
    assert [node.data for node in other.parameters] == values


@given(specs())
@settings(max_examples=150, deadline=None)
def test_random_modules_are_trained(spec: Spec) -> None:
    """One step moves every parameter, and nothing else."""
    made = built(spec)
    if not made.parameters:
        return

    class Sum(nn.Module):
        """The squares of the nodes that a module was made of."""

        def __init__(self, made: Built) -> None:
            self.part = made.module
            self.made = made  # which is no module, and is not looked into

        def __call__(self, x: Any) -> Any:
            """The sum times x."""
            return sum(node * node for node in self.made.parameters) * x

    rest = [node for node in made.nodes if not any(node is p for p in made.parameters)]
    before = [node.data for node in made.parameters], [node.data for node in rest]
    nn.fit(Sum(made), [1.0], [0.0], epochs=1, optimizer="adam", compile=False)
    assert all(node.data != value for node, value in zip(made.parameters, before[0], strict=True))
    assert [node.data for node in rest] == before[1]


@pytest.mark.parametrize("shape", [(4, 3), (30, 30), (2, 3, 4), (3, 1, 2, 2), (5,), ()])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_several_arrays_of_nodes(shape: tuple[int, ...], count: int) -> None:
    """Every element of each, however many there are and of however many axes."""
    arrays = [np.empty(shape, dtype=object) for _ in range(count)]
    for array in arrays:
        for index in np.ndindex(*shape):
            array[index] = Node(0.0)
    module = Part({f"table{i}": array for i, array in enumerate(arrays)})
    found = module.parameters()
    expected = [node for array in arrays for node in array.ravel().tolist()]
    assert len(found) == len(expected) == count * int(np.prod(shape))
    assert all(one is other for one, other in zip(found, expected, strict=True))
    names = [name for name, _ in module.named_parameters()]
    assert names == [
        ".".join([f"table{i}", *map(str, index)])
        for i in range(count)
        for index in np.ndindex(*shape)
    ]


def test_two_matrices_are_trained_and_saved(tmp_path: Path) -> None:
    """A network of one's own whose layers are arrays: no row stays as it was."""

    class Dense(nn.Module):
        """Two matrices."""

        def __init__(self) -> None:
            draw = np.random.default_rng(0).normal(size=(2, 4, 4)).tolist()
            self.first, self.second = (
                np.array([[Node(value) for value in row] for row in rows]) for rows in draw
            )

        def __call__(self, x: Any) -> Any:
            """Their product with x, added up."""
            return np.sum(self.second @ (self.first @ np.asarray(x)))

    model = Dense()
    before = [node.data for node in model.parameters()]
    X = np.random.default_rng(1).normal(size=(8, 4))
    nn.fit(model, X, X[:, 0], epochs=2)
    after = [node.data for node in model.parameters()]
    assert len(after) == 32
    assert all(old != new for old, new in zip(before, after, strict=True))
    other = Dense()
    nn.load_weights(other, nn.save(model, tmp_path / "a"))
    assert np.array_equal(nn.predict(other, X), nn.predict(model, X))


def test_a_module_in_itself() -> None:
    """Cycles through attributes, lists and arrays end."""
    weight = Node(1.0)
    array = np.empty(2, dtype=object)
    record = np.empty(1, dtype=[("field", object)])
    held: list[Any] = [array, record]
    module = Part({"held": held, "weight": weight})
    array[0], array[1], record["field"][0] = held, module, record
    held.append(held)
    assert [name for name, _ in module.named_parameters()] == ["weight"]


COLLIDING: list[tuple[Callable[[], dict[str, Any]], str]] = [
    (lambda: {"x": {1: Node(1.0), "1": Node(2.0)}}, "x.1"),
    (lambda: {"x": {"y": Node(1.0)}, "x.y": Node(2.0)}, "x.y"),
    (lambda: {"x": {"x": {"y": Node(1.0)}, "x.y": Node(2.0)}}, "x.x.y"),
    (lambda: {"x": {None: Node(1.0), "None": Node(2.0)}}, "x.None"),
    (lambda: {"x": [Node(1.0)], "x.0": Node(2.0)}, "x.0"),
]


@pytest.mark.parametrize(("held", "name"), COLLIDING)
def test_colliding_names_are_refused(held: Any, name: str, tmp_path: Path) -> None:
    """Naming, saving and loading say which name; the parameters themselves are there."""
    module = Part(held())
    assert len(module.parameters()) == 2
    path = nn.save(nn.MLP(1, [1]), tmp_path / "a")
    before = path.read_bytes()
    for call in (
        module.named_parameters,
        lambda: nn.save(module, path),
        lambda: nn.load_weights(module, path),
    ):
        with pytest.raises(ValueError, match=f"have the name '{name}'.* another name"):
            call()
    assert path.read_bytes() == before
    assert repr(module) == "Part(2 parameters)"


@pytest.mark.parametrize(
    "held",
    [
        {"x": Node(1.0), "x.0": Node(2.0)},
        {"x.0": Node(1.0), "x.1": Node(2.0), "x": Node(3.0)},
        {"x": {"00": Node(1.0), "01": Node(2.0)}},
        {"x": {"0": Node(1.0), "01": Node(2.0)}, "y": [Node(3.0), 0.5, Node(4.0)]},
        {"0": Node(1.0), "": Node(2.0), "x": {"": Node(3.0)}},
    ],
)
def test_names_that_look_alike_are_kept_apart(held: dict[str, Any], tmp_path: Path) -> None:
    """The tensor of a list takes the name of no other parameter."""
    module = Part(held)
    path = nn.save(module, tmp_path / "a")
    before = [node.data for node in module.parameters()]
    for node in module.parameters():
        node.data = 0.0
    nn.load_weights(module, path)
    assert [node.data for node in module.parameters()] == before


@pytest.mark.parametrize("name", ["__metadata__", "\ud800"])
def test_names_that_no_tensor_can_have(name: str, tmp_path: Path) -> None:
    """They are refused by name, and no file is written that can't be read."""
    with pytest.raises(ValueError, match="can't be the name of a tensor"):
        nn.save(Part({name: Node(1.0)}), tmp_path / "a")
    assert not list(tmp_path.iterdir())
