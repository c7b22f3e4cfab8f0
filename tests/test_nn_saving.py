"""Saved and loaded networks are the same; every file that is not right is a clear error."""

from __future__ import annotations

import builtins
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import Node, nn
from chainrule.nn.saving import _digest

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


def forged(path: Path, tensors: dict[str, Any], **metadata: str) -> Path:
    """A file with some text beside its tensors and the right digest of it all."""
    whole = {"format": "chainrule-1", **metadata}
    whole["digest"] = _digest(tensors, whole)
    path.write_bytes(safetensors.numpy.save(tensors, whole))
    return path


UNIT = {"layers.0.neurons.0.weights": np.ones(1), "layers.0.neurons.0.bias": np.ones(())}
"""The tensors of a network of one neuron with one input."""

ARCHITECTURE = {"kind": "MLP", "n_in": 1, "sizes": [1], "activation": "relu"}

HUGE = 10**15

ARCHITECTURES: list[tuple[Any, str]] = [
    ({"kind": "Tree"}, "no architecture of a network: dict"),
    ({"kind": ["MLP"]}, "no architecture of a network: dict"),
    ([1, 2], r"no architecture of a network: list \[1, 2\]"),
    (None, "no architecture of a network: NoneType"),
    ("MLP", "no architecture of a network: str 'MLP'"),
    ({**ARCHITECTURE, "sizes": []}, r"sizes of a network are a list of whole .*, not list \[\]"),
    ({**ARCHITECTURE, "sizes": {"0": 1}}, "sizes of a network are a list"),
    ({**ARCHITECTURE, "sizes": [4, "3"]}, "sizes of a network are a list"),
    ({**ARCHITECTURE, "sizes": [1.0]}, "sizes of a network are a list"),
    ({**ARCHITECTURE, "sizes": [True]}, "sizes of a network are a list"),
    ({**ARCHITECTURE, "sizes": [10**4000]}, "sizes of a network are a list"),
    ({**ARCHITECTURE, "n_in": -1}, "n_in is a whole number from 1 up, not int -1"),
    ({**ARCHITECTURE, "n_in": "1"}, "n_in is a whole number from 1 up, not str '1'"),
    ({**ARCHITECTURE, "n_in": None}, "n_in is a whole number"),
    ({**ARCHITECTURE, "activation": "os.system"}, "no activation str 'os.system'"),
    ({**ARCHITECTURE, "activation": None}, "no activation NoneType"),
    ({**ARCHITECTURE, "activation": ["relu"]}, "no activation list"),
    ({**ARCHITECTURE, "n_in": HUGE}, f"has {HUGE + 1} parameters, and there are 2"),
    ({**ARCHITECTURE, "sizes": [HUGE]}, f"has {2 * HUGE} parameters, and there are 2"),
    ({**ARCHITECTURE, "sizes": [HUGE, HUGE, 1]}, "parameters, and there are 2"),
    ({**ARCHITECTURE, "sizes": [1] * 100_000}, "has 200000 parameters, and there are 2"),
    ({**ARCHITECTURE, "numbers": 5}, "numbers is a list of places and values, not int 5"),
    ({**ARCHITECTURE, "numbers": [[0, 0, 0]]}, "a number is given with its place, not as list"),
    ({**ARCHITECTURE, "numbers": [[0, 0, 0, 1]]}, "a number is given with its place, not as list"),
    ({**ARCHITECTURE, "numbers": [[0, 0, 2, 1.0]]}, "no such place for a number in a network"),
    ({**ARCHITECTURE, "numbers": [[0, 0, -1, 1.0]]}, "no such place for a number in a network"),
    ({**ARCHITECTURE, "numbers": [[0, 0, 0, 1.0]] * 2}, "no such place for a number"),
    ({**ARCHITECTURE, "numbers": [[0, 0, 0, 1.0]]}, "has 1 parameters, and there are 2"),
]


@pytest.mark.parametrize(("description", "message"), ARCHITECTURES)
def test_an_impossible_architecture_is_an_error(
    tmp_path: Path, description: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even with a right digest: nothing is made, and a name is looked up in a table, never run."""

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("a network is made")

    monkeypatch.setattr(nn.MLP, "__init__", fail)
    path = forged(tmp_path / "a", UNIT, architecture=json.dumps(description))
    with pytest.raises(nn.SavedFileError, match=message):
        nn.load(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '{"kind":' * 100_000, "9" * 5000, "[1]]", "\0"]
)
def test_an_architecture_that_is_no_json(tmp_path: Path, text: str) -> None:
    """However deeply it is nested."""
    path = forged(tmp_path / "a", UNIT, architecture=text)
    with pytest.raises(nn.SavedFileError, match="its architecture is no JSON"):
        nn.load(path)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
SIZES = st.lists(st.integers(-1, 3) | ANYTHING, max_size=3) | ANYTHING
NUMBERS = st.lists(st.lists(st.integers(-1, 2) | st.floats(), min_size=4, max_size=4))


@given(
    st.sampled_from(["MLP"]) | ANYTHING,
    st.integers(-1, 3) | ANYTHING,
    SIZES,
    st.sampled_from([*nn.ACTIVATIONS]) | ANYTHING,
    NUMBERS | ANYTHING,
)
@settings(max_examples=300, deadline=None)
def test_random_architectures(kind: Any, n_in: Any, sizes: Any, relu: Any, numbers: Any) -> None:
    """They are the network of the weights, or a SavedFileError."""
    description = {"kind": kind, "n_in": n_in, "sizes": sizes, "activation": relu}
    description["numbers"] = numbers
    with tempfile.TemporaryDirectory() as folder:
        path = forged(Path(folder) / "a", UNIT, architecture=json.dumps(description))
        with suppress(nn.SavedFileError):
            assert weights(nn.load(path)) == [1.0, 1.0]


def test_an_architecture_of_other_weights(tmp_path: Path) -> None:
    """As many parameters, in other places."""
    description = {**ARCHITECTURE, "sizes": [1, 1], "numbers": [[0, 0, 0, 1.0], [1, 0, 1, 2.0]]}
    path = forged(tmp_path / "a", UNIT, architecture=json.dumps(description))
    with pytest.raises(nn.SavedFileError, match=r"it has no layers.1.neurons.0.weights; the model"):
        nn.load(path)


@pytest.mark.parametrize("model", [{}, {"model": ""}, {"model": "x\ny"}])
def test_a_file_that_does_not_say_its_model(tmp_path: Path, model: dict[str, str]) -> None:
    """It has no architecture either; its weights can be used."""
    path = forged(tmp_path / "a", UNIT, **model)
    with pytest.raises(nn.SavedFileError, match="the weights of some model and no architecture"):
        nn.load(path)
    other = nn.MLP(1, [1])
    nn.load_weights(other, path)
    assert weights(other) == [1.0, 1.0]


def raw(header: Any, data: bytes = b"") -> bytes:
    """A safetensors file of a header, which may be anything."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def one_tensor(kind: str, shape: list[Any], size: int) -> bytes:
    """A file of one tensor whose kind and shape may not fit its bytes."""
    entry = {"dtype": kind, "shape": shape, "data_offsets": [0, size]}
    return raw({"__metadata__": {"format": "chainrule-1"}, "a": entry}, b"\0" * size)


ENTRIES: list[Any] = [None, [], 5, {}, {"format": 1}, {"format": None}, {"dtype": "F64"}]
HEADERS = [
    *({"__metadata__": entry} for entry in ENTRIES),
    *({"a": entry} for entry in ENTRIES),
    *(b"[]", b"null", b"1", b'"a"', b"{\xff}", b'{"a":' * 5000, b'{"__metadata__":' * 5000),
    {"__metadata__": {"format": "chainrule-1", "digest": "\ud800"}},
]
KINDS = ["F64", "F32", "BF16", "F8_E4M3", "F4", "F8_E8M0", "C64", "BOOL", "U8", "X", ""]
SHAPES: list[tuple[list[Any], int]] = [
    ([0], 0), ([], 8), ([1], 8), ([8], 8), ([16], 8), ([-1], 8), ([1.5], 8), (["1"], 8),
    ([0, 2**62, 2**62], 0), ([2**40, 2**40], 8), ([2**63], 8), ([1] * 200, 8),
]  # fmt: skip


def test_forged_headers(tmp_path: Path) -> None:
    """Whatever stands there, it is a SavedFileError that names the file, and the model stays."""
    path = tmp_path / "a"
    model = nn.MLP(1, [1], seed=0)
    before = weights(model)
    files = [raw(header) for header in HEADERS]
    files.append(safetensors.numpy.save({"a" * 10**5: np.zeros(1)}, {"format": "chainrule-1"}))
    files += [one_tensor(kind, shape, size) for kind in KINDS for shape, size in SHAPES]
    for data in files:
        path.write_bytes(data)
        for call in (lambda: nn.load(path), lambda: nn.load_weights(model, path)):
            with pytest.raises(nn.SavedFileError) as caught:
                call()
            assert str(caught.value).startswith(str(path))
            assert len(str(caught.value)) < 1000
    assert weights(model) == before


def test_a_long_name_is_cut_in_messages(tmp_path: Path) -> None:
    """Of a tensor that the model does not have."""
    path = forged(tmp_path / "a", {"a" * 10**5: np.zeros(1)})
    with pytest.raises(nn.SavedFileError, match="the model has no aaa") as caught:
        nn.load_weights(nn.MLP(1, [1]), path)
    assert len(str(caught.value)) < 1000


def test_a_network_of_many_layers_is_cut_in_messages(tmp_path: Path) -> None:
    """As it may be a file that says how many there are."""
    description = {"kind": "MLP", "n_in": 1, "sizes": [1] * 500, "activation": "tanh"}
    tensors = {"a": np.zeros(1000)}
    path = forged(tmp_path / "a", tensors, architecture=json.dumps(description))
    with pytest.raises(nn.SavedFileError, match=r"of another model than MLP\(1, \[1, 1") as caught:
        nn.load(path)
    assert len(str(caught.value)) < 1000


def test_numbers_of_other_types(tmp_path: Path) -> None:
    """Of kinds that NumPy knows and of those that it does not."""
    path = forged(tmp_path / "a", {name: x.astype(np.float32) for name, x in UNIT.items()})
    with pytest.raises(nn.SavedFileError, match=r"weights is float32 \(1,\), not float64 \(1,\)"):
        nn.load_weights(nn.MLP(1, [1]), path)
    path.write_bytes(one_tensor("F8_E4M3", [1], 1))
    with pytest.raises(nn.SavedFileError, match="numbers of type 'F8_E4M3', not of float64"):
        nn.load_weights(nn.MLP(1, [1]), path)


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
