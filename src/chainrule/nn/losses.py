"""Losses of one sample: a function of the prediction and the target; training takes the mean.

A prediction is a number or node, or a list of them; then the target is a list of the same length,
except for :func:`cross_entropy`, whose target is the number of the right class.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, Final

from chainrule import math
from chainrule.jit.indices import take
from chainrule.tracebacks import boundary

from ._choices import chosen, positive

Loss = Callable[[Any, Any], Any]


@boundary
def mean_squared_error(prediction: Any, target: Any) -> Any:
    """The square of the difference; of several outputs the mean."""
    return _mean_of_pairs(_squared, prediction, target)


@boundary
def huber(delta: float = 1.0) -> Loss:
    """Quadratic near 0 and linear from ``delta`` on (Huber, 1964): outliers pull less.

    Raises:
        ValueError: if delta is not above 0.
    """
    limit = positive("huber: delta", delta)

    def of_difference(difference: Any) -> Any:
        size = abs(difference)
        near = math.minimum(size, limit)
        return near * (size - 0.5 * near)

    @boundary
    def huber_loss(prediction: Any, target: Any) -> Any:
        return _mean_of_pairs(of_difference, prediction, target)

    return huber_loss


@boundary
def hinge(prediction: Any, target: Any) -> Any:
    """max(0, 1 - prediction · target) for targets -1 and 1: the loss of support vector machines."""
    return math.relu(1.0 - _one(prediction, "hinge") * target)


@boundary
def binary_cross_entropy(logit: Any, target: Any) -> Any:
    """-log of the probability of the target, 0 or 1, where sigmoid(logit) is that of 1.

    It is log(1 + exp(logit)) - target · logit, which neither overflows nor cancels. Of several
    outputs, each a question of its own, it is the mean.
    """
    if not hasattr(logit, "__len__"):
        return math.softplus(logit) - _one(target, "the target") * logit
    _check_lengths(logit, target)
    return _mean([math.softplus(x) - y * x for x, y in zip(logit, target, strict=True)])


@boundary
def cross_entropy(logits: Any, label: Any) -> Any:
    """-log of the probability of the class ``label``, where softmax(logits) are the probabilities.

    It is logsumexp(logits) - logits[label], relative to the largest logit: it does not overflow.

    Raises:
        TypeError: if there is a single logit: then :func:`binary_cross_entropy` is the loss.
    """
    if not hasattr(logits, "__len__"):
        raise TypeError(
            "cross_entropy takes a logit for each class; for a network of one output use"
            " binary_cross_entropy"
        )
    largest = math.stop_gradient(reduce(math.maximum, logits))
    powers = [math.exp(x - largest) for x in logits]
    return math.log(sum(powers[1:], powers[0])) + (largest - take(logits, label))


@boundary
def poisson(log_rate: Any, count: Any) -> Any:
    """Half the Poisson deviance of a count, a target from 0 up, whose expectation is exp(log_rate).

    It is exp(log_rate) - count · log_rate, -log of the probability, above the least that it can
    be for this count. Of several outputs it is the mean.
    """
    if not hasattr(log_rate, "__len__"):
        return _half_deviance(log_rate, _one(count, "the target"))
    _check_lengths(log_rate, count)
    return _mean([_half_deviance(x, y) for x, y in zip(log_rate, count, strict=True)])


LOSSES: Final[dict[str, Loss]] = {
    "mean_squared_error": mean_squared_error,
    "huber": huber(),
    "hinge": hinge,
    "binary_cross_entropy": binary_cross_entropy,
    "cross_entropy": cross_entropy,
    "poisson": poisson,
}


def loss(choice: str | Loss) -> Loss:
    """The loss of a name, or the function itself.

    Raises:
        TypeError: if it is neither text nor a function.
        ValueError: if there is no such name.
    """
    return choice if callable(choice) else chosen("loss", choice, LOSSES)


def _squared(x: Any) -> Any:
    return x * x


def _half_deviance(log_rate: Any, count: Any) -> Any:
    safe = math.where(count > 0, count, 1.0)  # 0 · log(0) is 0
    return math.exp(log_rate) - count * log_rate + (count * math.log(safe) - count)


def _mean_of_pairs(function: Callable[[Any], Any], prediction: Any, target: Any) -> Any:
    if not hasattr(prediction, "__len__"):
        return function(prediction - _one(target, "the target"))
    _check_lengths(prediction, target)
    return _mean([function(x - y) for x, y in zip(prediction, target, strict=True)])


def _mean(terms: list[Any]) -> Any:
    return sum(terms[1:], terms[0]) * (1.0 / len(terms))


def _check_lengths(prediction: Any, target: Any) -> None:
    found = len(target) if hasattr(target, "__len__") else 1
    if found != len(prediction) or not hasattr(target, "__len__"):
        raise ValueError(f"{len(prediction)} outputs are compared with {found} targets")


def _one(value: Any, what: str) -> Any:
    """A single number; also the only one of a list."""
    if not hasattr(value, "__len__"):
        return value
    if len(value) != 1:
        raise ValueError(f"{what} is one number for each sample, not {len(value)}")
    return value[0]
