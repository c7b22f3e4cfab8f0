"""Networks of scalar nodes that train: modules, losses, optimizers, fit."""

from typing import TYPE_CHECKING

from .activations import ACTIVATIONS
from .evaluation import Predictor, predict
from .grouping import ungrouped
from .history import DivergenceError, History
from .initialization import INITIALIZATIONS
from .layers import MLP, Layer, Neuron
from .losses import (
    LOSSES,
    binary_cross_entropy,
    cross_entropy,
    hinge,
    huber,
    mean_squared_error,
    poisson,
)
from .module import Module
from .optimizers import OPTIMIZERS, SGD, Adam, AdamW, Optimizer
from .schedules import Constant, Cosine, Step, WarmUp
from .training import fit

if TYPE_CHECKING:
    from .plots import plot_fit, plot_loss, plot_network, plot_regions
    from .saving import SavedFileError, load, load_weights, save

__all__ = [
    "ACTIVATIONS",
    "INITIALIZATIONS",
    "LOSSES",
    "MLP",
    "OPTIMIZERS",
    "SGD",
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "DivergenceError",
    "History",
    "Layer",
    "Module",
    "Neuron",
    "Optimizer",
    "Predictor",
    "SavedFileError",
    "Step",
    "WarmUp",
    "binary_cross_entropy",
    "cross_entropy",
    "fit",
    "hinge",
    "huber",
    "load",
    "load_weights",
    "mean_squared_error",
    "plot_fit",
    "plot_loss",
    "plot_network",
    "plot_regions",
    "poisson",
    "predict",
    "save",
    "ungrouped",
]

# Loaded at the first use, as training does without.
_ROOMS = {
    "plots": ("plot_fit", "plot_loss", "plot_network", "plot_regions"),
    "saving": ("SavedFileError", "load", "load_weights", "save"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    """A name of a room that is loaded at its first use."""
    from importlib import import_module

    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
