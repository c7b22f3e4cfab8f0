"""Checks of the data that a network is trained on, before anything is done with it."""

from __future__ import annotations

from typing import Any

import numpy

from chainrule.arrays import is_masked

from .losses import LOSSES, Loss, cross_entropy


def checked_inputs(X: Any) -> Any:
    """Inputs as an array of floats or of whole numbers (look-ups), a row for each sample.

    Raises:
        TypeError: if they are no numbers.
        ValueError: if there are none, or one is NaN or infinite.
    """
    return _checked("X", X)


def checked_samples(X: Any, y: Any, loss: Loss) -> tuple[Any, Any]:
    """Inputs and targets that fit each other and the loss.

    Raises:
        TypeError: if they are no numbers.
        ValueError: if there are none, their numbers differ, one is NaN or infinite, or a target is
            none that the loss knows.
    """
    inputs, targets = _checked("X", X), _checked("y", y)
    if len(inputs) != len(targets):
        raise ValueError(f"X has {len(inputs)} samples and y has {len(targets)}")
    if loss is LOSSES["hinge"]:
        _check_values(targets, (-1, 1), "hinge takes targets -1 and 1")
    elif loss is LOSSES["binary_cross_entropy"]:
        low, high = targets.min(), targets.max()
        if low < 0 or high > 1:
            raise ValueError(
                f"binary_cross_entropy takes targets 0 and 1 (or between), not {low:g} to {high:g}"
            )
    elif loss is LOSSES["poisson"] and targets.min() < 0:
        raise ValueError(f"poisson takes targets from 0 up (counts), not {targets.min():g}")
    elif loss is cross_entropy:
        return inputs, _checked_labels(targets)
    if loss in LOSSES.values():
        targets = targets.astype(numpy.float64)
    return inputs, targets


def check_classes(targets: Any, n_outputs: int) -> None:
    """Raise ValueError if a label is no number of an output."""
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= n_outputs:
        raise ValueError(
            f"the labels are {low} to {high}, but the network has {n_outputs} outputs: labels are"
            f" 0 to {n_outputs - 1}"
        )


def checked_weights(weights: Any, n_samples: int) -> Any:
    """Weights of samples: an array of floats from 0 up that are not all 0.

    Raises:
        ValueError: if there are more or fewer than samples, or one is negative, NaN or infinite.
    """
    array = _checked("sample_weight", weights).astype(numpy.float64)
    if array.shape != (n_samples,):
        raise ValueError(
            f"sample_weight has the shape {array.shape}; one number for each of {n_samples}"
            " samples is wanted"
        )
    if array.min() < 0 or not array.any():
        raise ValueError("sample_weight: the weights are numbers from 0 up, not all of them 0")
    return array


def balanced(weights: Any) -> Any:
    """Weights times the power of two that makes the largest one at least 1/2 and less than 1.

    Only their ratios count, which it doesn't change by a bit; sums of them no longer overflow.
    """
    _, exponent = numpy.frexp(weights.max())
    return numpy.ldexp(weights, -exponent)


def refuse_masked(name: str, data: Any) -> None:
    """Raise TypeError if something is masked: the numbers behind a mask would count as any others.

    Args:
        name: of the data, for the message.
        data: an array, or nested lists of them.
    """
    if _hides(data):
        raise TypeError(
            f"{name} is a masked array, and its masked numbers would count as any others; leave"
            f" these samples out, or give {name}.filled(value)"
        )


def _hides(data: Any) -> bool:
    """Whether something of the data is masked."""
    if isinstance(data, numpy.ndarray):
        return is_masked(data) and bool(numpy.ma.is_masked(data))
    if not isinstance(data, (list, tuple)) or not data:
        return False
    return isinstance(data[0], (list, tuple, numpy.ndarray)) and any(map(_hides, data))


def _checked(name: str, data: Any) -> Any:
    refuse_masked(name, data)
    array = numpy.asarray(data)
    if array.dtype == object:
        try:
            array = array.astype(numpy.float64)
        except (TypeError, ValueError):
            raise TypeError(f"{name} holds {array.flat[0]!r}, which is no number") from None
    if array.dtype.kind == "b":
        array = array.astype(numpy.float64)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} is an array of {array.dtype}, not of numbers")
    if array.ndim == 0:
        raise ValueError(f"{name} is a single number; it is an array with a row for each sample")
    if array.size == 0:
        raise ValueError(f"{name} is empty: its shape is {array.shape}")
    if array.dtype.kind == "f":
        array = array.astype(numpy.float64, copy=False)
        good = numpy.isfinite(array)
        if not good.all():
            place = tuple(int(i) for i in numpy.argwhere(~good)[0])
            raise ValueError(
                f"{name} holds {array[place]} at {list(place)}; the data must be finite numbers"
            )
        return array
    return array.astype(numpy.int64)


def _check_values(targets: Any, allowed: tuple[int, ...], what: str) -> None:
    wrong = targets[~numpy.isin(targets, allowed)]
    if wrong.size:
        raise ValueError(f"{what}, not {wrong.flat[0]:g}")


def _checked_labels(targets: Any) -> Any:
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim != 1:
        raise ValueError(
            f"cross_entropy takes one label for each sample; y has the shape {targets.shape}"
        )
    if (targets != numpy.floor(targets)).any():
        raise ValueError("cross_entropy takes labels that are whole numbers")
    return targets.astype(numpy.int64)
