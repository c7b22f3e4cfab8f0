"""Networks in files: weights as safetensors, the architecture as JSON in the same file.

Loading reads numbers and text and never executes anything. Parameters of one innermost list are one
tensor of the file, such as ``layers.0.neurons.2.weights``. A digest of names and numbers stands
beside the architecture, so that an altered file is noticed. It is no signature: whoever writes a
file can give it the right one, so that all that a file says is checked before anything is made.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy

from chainrule.files import write_atomically
from chainrule.node import Node
from chainrule.tracebacks import boundary

from .architecture import architecture, built
from .layers import MLP
from .module import Module

FORMAT: Final = "chainrule-1"
RESERVED: Final = "__metadata__"  # what safetensors calls the text beside the tensors


class SavedFileError(ValueError):
    """A file of weights that can't be read, was altered, or belongs to another network."""


@boundary
def save(model: Module, path: str | os.PathLike[str]) -> Path:
    """Write a model's weights, and the architecture of an :class:`MLP`, to a safetensors file.

    The architecture includes numbers in the place of weights, such as 0.0 for one that was pruned.
    The file is complete or not there at all: it is written beside the place and then moved.

    Raises:
        ModuleNotFoundError: if safetensors is not installed.
        ValueError: if two parameters have one name, or a name can't be that of a tensor.
        OSError: if the file can't be written.
    """
    if not isinstance(model, Module):
        raise TypeError(f"save takes a Module, not {type(model).__name__}")
    library = _safetensors()
    tensors = {
        name: numpy.array([node.data for node in nodes]).reshape(shape)
        for name, (nodes, shape) in _tensors(model).items()
    }
    metadata = {"format": FORMAT, "model": type(model).__name__}
    described = architecture(model)
    if described is not None:
        metadata["architecture"] = json.dumps(described)
    metadata["digest"] = _digest(tensors, metadata)
    data: bytes = library.numpy.save(tensors, metadata)
    target = Path(path)
    write_atomically(target, data)
    return target


@boundary
def load(path: str | os.PathLike[str]) -> MLP:
    """The network of a file, made anew.

    Raises:
        SavedFileError: if the file can't be read, was altered, or says no architecture; then make
            the model and use :func:`load_weights`.
        OSError: if there is no such file.
    """
    tensors, metadata = _read(path)
    text = metadata.get("architecture")
    if text is None:
        raise SavedFileError(
            f"{path} holds the weights of {_kind(metadata)} and no architecture; make the model and"
            " use load_weights(model, path)"
        )
    try:
        description = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SavedFileError(f"{path}: its architecture is no JSON: {error}") from None
    try:
        model = built(description, sum(array.size for array in tensors.values()))
    except ValueError as error:
        raise SavedFileError(f"{path}: {error}") from None
    _put(model, tensors, path)
    return model


@boundary
def load_weights(model: Module, path: str | os.PathLike[str]) -> None:
    """Give a model the weights of a file, or raise and leave it as it was.

    Raises:
        SavedFileError: if the file can't be read, was altered, or is of another architecture.
        OSError: if there is no such file.
    """
    if not isinstance(model, Module):
        raise TypeError(f"load_weights takes a Module, not {type(model).__name__}")
    tensors, _ = _read(path)
    _put(model, tensors, path)


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The tensors and the metadata of a file, checked."""
    library = _safetensors()
    data = Path(path).read_bytes()
    try:
        tensors = library.numpy.load(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get(RESERVED) or {}
    except KeyError as error:
        raise SavedFileError(f"{path} holds numbers of type {error}, not of float64") from None
    except (library.SafetensorError, ValueError) as error:
        raise SavedFileError(f"{path} is no complete safetensors file: {error}") from None
    if metadata.get("format") != FORMAT:
        raise SavedFileError(f"{path} was not written by chainrule, or by another version of it")
    if metadata.get("digest") != _digest(tensors, metadata):
        raise SavedFileError(f"{path} was altered after it was written: its digest differs")
    return tensors, metadata


def _put(model: Module, tensors: Mapping[str, Any], path: Any) -> None:
    """Set the parameters; all is checked before the first is set."""
    wanted = _tensors(model)
    missing = [name for name in wanted if name not in tensors]
    extra = sorted(name for name in tensors if name not in wanted)
    if missing or extra:
        parts = []
        if missing:
            parts.append(f"it has no {_some(missing)}")
        if extra:
            parts.append(f"the model has no {_some(extra)}")
        raise SavedFileError(f"{path} is of another model than {_cut(model)}: {'; '.join(parts)}")
    for name, (_, shape) in wanted.items():
        if tensors[name].shape != shape or tensors[name].dtype != numpy.float64:
            raise SavedFileError(
                f"{path} is of another model than {_cut(model)}: {name} is"
                f" {tensors[name].dtype} {tensors[name].shape}, not float64 {shape}"
            )
    for name, (nodes, _) in wanted.items():
        for node, value in zip(nodes, tensors[name].ravel().tolist(), strict=True):
            node.data = value


def _tensors(model: Module) -> dict[str, tuple[list[Node], tuple[int, ...]]]:
    """The parameters gathered by the list they are in: nodes and shape, by name."""
    named = dict(model.named_parameters())
    lists: dict[str, list[Node]] = {}
    found: dict[str, tuple[list[Node], tuple[int, ...]]] = {}
    for name, node in named.items():
        head, _, last = name.rpartition(".")
        if head and head not in named and last == str(len(lists.get(head, ()))):
            lists.setdefault(head, []).append(node)
            found[head] = lists[head], (len(lists[head]),)
        else:
            found[name] = [node], ()
    for name in found:
        if name == RESERVED or not _is_text(name):
            raise ValueError(
                f"a parameter of {type(model).__name__} is called {name!r}, which can't be the name"
                " of a tensor in a file; give its key or attribute another name"
            )
    return found


def _is_text(name: str) -> bool:
    """Whether it can be written: half of a pair of surrogates can't."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(metadata: Mapping[str, str]) -> str:
    """What model a file says that it is of."""
    return f"a {metadata['model']}" if metadata.get("model", "").isidentifier() else "some model"


def _digest(tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> str:
    """A digest of all that the file says."""
    digest = hashlib.sha256()
    for key in sorted(metadata):
        if key != "digest":
            digest.update(repr((key, metadata[key])).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(repr((name, str(array.dtype), array.shape)).encode())
        digest.update(numpy.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(_cut, names[:3])) + more


def _cut(what: object) -> str:
    text = str(what)
    return text if len(text) <= 80 else text[:77] + "..."


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "saving and loading need safetensors: pip install 'chainrule[learn]'",
            name="safetensors",
        ) from None
    return safetensors
