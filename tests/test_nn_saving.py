"""Saved and loaded networks are the same; every file that is not right is a clear error."""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from chainrule import Node, nn

X = np.random.default_rng(0).normal(size=(10, 2))


def weights(model: nn.Module) -> list[float]:
    """The data of its parameters."""
    return [p.data for p in model.parameters()]


class Line(nn.Module):
    """A module that is no MLP."""

    def __init__(self) -> None:
        self.slope, self.more = Node(2.0), [Node(3.0), Node(-0.5)]
        self.grid = [[Node(1.0), Node(2.0)], [Node(3.0), Node(4.0)]]

    def __call__(self, x: Any) -> Any:
        """The value of the line."""
        return self.slope * x + self.more[0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A saved network."""
    return nn.save(nn.MLP(2, [4, 3], "relu", seed=0), tmp_path / "model.safetensors")


def test_a_loaded_model_predicts_identically(file: Path) -> None:
    """Architecture and all bits of the weights."""
    model = nn.load(file)
    original = nn.MLP(2, [4, 3], "relu", seed=0)
    assert repr(model) == repr(original)
    assert weights(model) == weights(original)
    assert np.array_equal(nn.predict(model, X), nn.predict(original, X))
    other = nn.MLP(2, [4, 3], "relu", seed=1)
    nn.load_weights(other, file)
    assert weights(other) == weights(original)


def test_special_numbers(tmp_path: Path) -> None:
    """Signed zeros, infinities and tiny numbers are kept."""
    model = nn.MLP(1, [1, 1], seed=0)
    for p, value in zip(model.parameters(), (-0.0, float("inf"), 5e-324, 0.1), strict=True):
        p.data = value
    again = nn.load(nn.save(model, tmp_path / "a"))
    assert [str(v) for v in weights(again)] == ["-0.0", "inf", "5e-324", "0.1"]


def test_a_module_of_ones_own(tmp_path: Path) -> None:
    """Its weights are saved under their names; the model is made by the user."""
    path = nn.save(Line(), str(tmp_path / "line"))
    assert {name: array.shape for name, array in safetensors.numpy.load_file(path).items()} == {
        "slope": (), "more": (2,), "grid.0": (2,), "grid.1": (2,),
    }  # fmt: skip
    model = Line()
    for p in model.parameters():
        p.data = 0.0
    nn.load_weights(model, path)
    assert weights(model) == weights(Line())
    with pytest.raises(nn.SavedFileError, match=r"weights of a Line and no architecture; make the"):
        nn.load(path)


def test_an_activation_of_ones_own_is_not_saved(tmp_path: Path) -> None:
    """Code is no part of a file."""
    model = nn.MLP(1, [2, 1], lambda x: x * x, seed=0)
    path = nn.save(model, tmp_path / "a")
    with pytest.raises(nn.SavedFileError, match="no architecture"):
        nn.load(path)
    nn.load_weights(model, path)


def test_every_truncated_file_is_an_error(file: Path) -> None:
    """At any length, and the model stays as it was."""
    data = file.read_bytes()
    model = nn.MLP(2, [4, 3], "relu", seed=5)
    before = weights(model)
    for length in range(0, len(data), 7):
        file.write_bytes(data[:length])
        with pytest.raises(nn.SavedFileError):
            nn.load_weights(model, file)
        with pytest.raises(nn.SavedFileError):
            nn.load(file)
    assert weights(model) == before


def test_every_altered_byte_is_an_error(file: Path) -> None:
    """In the header, which may become unreadable, and in the numbers."""
    data = file.read_bytes()
    model = nn.MLP(2, [4, 3], "relu", seed=5)
    before = weights(model)
    for place in range(8, len(data), 5):
        changed = bytearray(data)
        changed[place] ^= 1
        file.write_bytes(bytes(changed))
        with pytest.raises(nn.SavedFileError):
            nn.load_weights(model, file)
    file.write_bytes(data + b"x")
    with pytest.raises(nn.SavedFileError):
        nn.load_weights(model, file)
    assert weights(model) == before


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.MLP(2, [4, 3, 1]), "it has no layers.2.neurons.0.weights, layers.2.neurons.0.bias"),
        (nn.MLP(2, [3]), r"the model has no layers.0.neurons.3.bias, .* and 5 more"),
        (nn.MLP(3, [4, 3]), r"layers.0.neurons.0.weights is float64 \(2,\), not float64 \(3,\)"),
    ],
)
def test_another_architecture_is_an_error(file: Path, model: nn.MLP, message: str) -> None:
    """It says what is missing, and the model stays as it was."""
    before = weights(model)
    with pytest.raises(nn.SavedFileError, match=message):
        nn.load_weights(model, file)
    assert weights(model) == before


@pytest.mark.parametrize(
    "description",
    [
        {"kind": "Tree"},
        {"kind": "MLP", "n_in": 2, "sizes": [], "activation": "relu"},
        {"kind": "MLP", "n_in": 2, "sizes": [4, "3"], "activation": "relu"},
        {"kind": "MLP", "n_in": -1, "sizes": [4, 3], "activation": "relu"},
        {"kind": "MLP", "n_in": 2, "sizes": [4, 3], "activation": "os.system"},
        {"kind": "MLP", "n_in": 2, "sizes": [4, 3], "activation": None},
        [1, 2],
    ],
)
def test_an_impossible_architecture_is_an_error(tmp_path: Path, description: Any) -> None:
    """Even with a right digest: a name is looked up in a table, never run."""
    from chainrule.nn.saving import _digest

    tensors = {"a": np.zeros(1)}
    metadata = {"format": "chainrule-1", "architecture": json.dumps(description)}
    metadata["digest"] = _digest(tensors, metadata)
    path = tmp_path / "a"
    safetensors.numpy.save_file(tensors, path, metadata)
    with pytest.raises(nn.SavedFileError):
        nn.load(path)


def test_files_of_others(tmp_path: Path) -> None:
    """A safetensors file from elsewhere, something else, nothing at all."""
    path = tmp_path / "a"
    safetensors.numpy.save_file({"a": np.zeros(1)}, path)
    with pytest.raises(nn.SavedFileError, match="was not written by chainrule"):
        nn.load(path)
    path.write_text("hello, this is no model")
    with pytest.raises(nn.SavedFileError, match="no complete safetensors file"):
        nn.load(path)
    with pytest.raises(FileNotFoundError):
        nn.load(tmp_path / "nowhere")


def test_writing_is_atomic(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it fails in the middle, the old file is still there and nothing else."""
    before = file.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        nn.save(nn.MLP(1, [1]), file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: nn.save([1.0], "a"), TypeError, "save takes a Module, not list"),  # type: ignore[arg-type]
    (lambda: nn.load_weights(3, "a"), TypeError, "load_weights takes a Module, not int"),  # type: ignore[arg-type]
    (lambda: nn.save(Line(), "/nowhere/at/all"), FileNotFoundError, "nowhere"),
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD)
def test_bad_input(call: Any, kind: type[Exception], message: str) -> None:
    """An error that says what was given and what is accepted."""
    with pytest.raises(kind, match=message):
        call()


def test_without_safetensors(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    real = builtins.__import__

    def missing(name: str, *args: Any) -> Any:
        if name.startswith("safetensors"):
            raise ModuleNotFoundError(name=name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ModuleNotFoundError, match="pip install 'chainrule"):
        nn.load(file)
