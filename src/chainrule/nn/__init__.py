"""Networks of scalar nodes that train: modules, losses, optimizers, fit."""

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
from .plots import plot_fit, plot_loss, plot_network, plot_regions
from .saving import SavedFileError, load, load_weights, save
from .schedules import Constant, Cosine, Step, WarmUp
from .training import fit

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
