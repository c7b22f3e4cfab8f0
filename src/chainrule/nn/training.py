"""fit: training a model on data."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from operator import is_not
from typing import Any, Final, NoReturn

import numpy

from chainrule.keywords import with_nearest_names
from chainrule.leaves import data_of, set_data
from chainrule.tracebacks import warn

from ._choices import count, not_negative
from .course import Array, DivergenceCheck, Place, course_of
from .evaluation import EagerSteps, Steps, loss_of_sample, steps_of
from .history import DivergenceError, History
from .initialization import Seed, generator
from .layers import MLP, Layer
from .losses import Loss, cross_entropy
from .losses import loss as loss_named
from .module import Module
from .optimizers import Optimizer, all_finite
from .optimizers import optimizer as optimizer_named
from .progress import progress_bar, show
from .samples import balanced, check_classes, checked_samples, checked_weights

DEFAULT_BATCH: Final = 32

Callback = Callable[[History, Module], Any]


@with_nearest_names
def fit(
    model: Module,
    X: Any,
    y: Any,
    *,
    loss: str | Loss = "mean_squared_error",
    optimizer: str | Optimizer = "adam",
    learning_rate: Any = None,
    epochs: int = 100,
    batch_size: int | None = None,
    shuffle: bool = True,
    seed: Seed = 0,
    validation: float | tuple[Any, Any] | list[Any] | None = None,
    patience: int | None = None,
    min_delta: float = 0.0,
    sample_weight: Any = None,
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
    compile: bool = True,
    threads: int | None = None,
) -> History:
    """Train a model: minimise the mean loss over samples.

    The loss of a sample is traced once and compiled; a batch is a run of the machine code. The
    weights are in the model's nodes at the end, whatever ends it; their gradients are 0.

    What the model reads besides its arguments and parameters, such as random numbers, is read
    when it is traced; ``compile=False`` runs it for each sample.

    Args:
        model: a :class:`Module`: a function of one row of X.
        X: inputs, a row (or a number, or an array) for each sample; whole numbers are look-ups.
        y: targets, a number or a row for each sample.
        loss: "mean_squared_error", "huber", "hinge", "binary_cross_entropy", "cross_entropy",
            "poisson", or a function of prediction and target that gives one number.
        optimizer: "sgd", "adam", "adamw", or an :class:`Optimizer`, which goes on where it is.
        learning_rate: for an optimizer given by name: a number or a schedule.
        epochs: how often to go through the data.
        batch_size: samples a step; by default 32, or all if there are fewer.
        shuffle: whether to go through the samples in another order each epoch.
        seed: for the order and the choice of validation samples. One seed, one result, bit for bit.
        validation: a pair (X, y), or which part of the samples to hold out.
        patience: stop after so many epochs without a better validation loss (without validation
            data, loss), and go back to the best weights: those of ``history.best_epoch``.
        min_delta: for patience: how much lower than at the last epoch that counted as better the
            loss must be to count as better.
        sample_weight: how much each sample counts, relative to the others.
        callbacks: called after each epoch with the history and the model; one that returns
            something true stops the training. Training goes on from weights that they set.
        progress: whether to show a bar; by default where somebody is looking.
        compile: whether to compile.
        threads: how many the compiled code may use.

    Returns:
        The history.

    Raises:
        TypeError: if an argument is of the wrong kind, or the loss gives no number.
        ValueError: if data, sizes or names do not fit.
        DivergenceError: if the loss, also on the validation data, a weight or the optimizer's state
            becomes NaN or infinite, or the mean loss of an epoch is above 1e5 times what it is for
            the first weights (1e5 where that is below 1), whatever the optimizer. Calls with one
            optimizer have the same first weights as long as training alone sets the weights. Model
            and optimizer are then as they were at the start of that epoch or, if the loss was too
            large there, at that of the epoch before or of the training.
    """
    run = _Training(model, loss, optimizer, learning_rate)
    run.epochs = count("epochs", epochs)
    run.patience = None if patience is None else count("patience", patience)
    run.min_delta = not_negative("min_delta", min_delta)
    run.callbacks = list(callbacks)
    run.shuffle = shuffle
    run.random = generator(seed)
    if threads is not None:
        count("threads", threads)
    run.take_data(X, y, sample_weight, validation)
    run.take_batch_size(batch_size)
    run.compile(compile, threads)
    return run.go(progress_bar(run.epochs, progress))


class _Training:
    """One call of :func:`fit`."""

    def __init__(
        self, model: Module, loss: str | Loss, optimizer: str | Optimizer, learning_rate: Any
    ) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"fit trains a Module, not {type(model).__name__}")
        self.model = model
        self.parameters = model.parameters()
        if not self.parameters:
            raise ValueError(f"{model!r} has no parameters to train")
        self.loss = loss_named(loss)
        self.optimizer = optimizer_named(optimizer, learning_rate)
        self.history = History()
        self.start = time.perf_counter()
        self.epochs = 0
        self.patience: int | None = None
        self.min_delta = 0.0
        self.callbacks: list[Callback] = []
        self.shuffle = True
        self.random = generator(0)
        self.weights: Any = None
        self.validation: Steps | None = None
        self.sound: Place | None = None  # what it goes back to when it has diverged
        self.errors = numpy.geterr()

    def take_data(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: float | tuple[Any, Any] | list[Any] | None,
    ) -> None:
        """Check the data."""
        inputs, targets = checked_samples(X, y, self.loss)
        samples = [inputs, targets]
        if sample_weight is not None:
            samples.append(balanced(checked_weights(sample_weight, len(inputs))))
        held_out: list[Any] | None = None
        if isinstance(validation, (tuple, list)):
            if len(validation) != 2:
                raise ValueError("validation is a pair (X, y), or a part between 0 and 1")
            held_out = list(checked_samples(validation[0], validation[1], self.loss))
            for name, a, b in zip("Xy", samples, held_out, strict=False):
                if a.shape[1:] != b.shape[1:]:
                    raise ValueError(
                        f"the validation data's {name} has samples of shape {b.shape[1:]}, the"
                        f" training data's {a.shape[1:]}"
                    )
            for i, (a, b) in enumerate(zip(samples, held_out, strict=False)):
                if a.dtype != b.dtype:  # whole numbers here, others there: they are no look-ups
                    samples[i], held_out[i] = a.astype(numpy.float64), b.astype(numpy.float64)
            if sample_weight is not None:
                held_out.append(numpy.ones(len(held_out[0])))
        elif validation is not None:
            samples, held_out = self._split(samples, validation)
        self.size = len(samples[0])
        if self.loss is cross_entropy:
            self._check_classes(samples, held_out)
        if len(samples) > 2:
            self.weights = samples[2]
        self.samples, self.held_out = samples, held_out

    def _split(self, samples: list[Any], part: Any) -> tuple[list[Any], list[Any]]:
        is_number = isinstance(part, Real) and not isinstance(part, bool)
        share = float(part) if is_number else math.nan
        if not 0.0 < share < 1.0:
            given = part if is_number else type(part).__name__
            raise ValueError(f"validation is a pair (X, y), or a part between 0 and 1, not {given}")
        n = len(samples[0])
        held = round(n * share)
        if not 0 < held < n:
            raise ValueError(f"validation={part} of {n} samples leaves none on one side")
        order = self.random.permutation(n)
        kept, held_out = ([a[i] for a in samples] for i in (order[held:], order[:held]))
        for sides, what in ((kept, "trains on"), (held_out, "holds out")):
            if len(sides) > 2 and not sides[2].any():
                raise ValueError(
                    f"validation={part} {what} {len(sides[0])} samples, each of which has the"
                    " weight 0; leave such samples out, or give a pair (X, y) for validation"
                )
        return kept, held_out

    def _check_classes(self, samples: list[Any], held_out: list[Any] | None) -> None:
        model = self.model
        if type(model) is MLP and type(model.layers[-1]) is Layer and model.sizes[-1] > 1:
            outputs: Any = model.layers[-1].neurons  # as many, and it need not run
        else:
            outputs = model(samples[0][0])
        if hasattr(outputs, "__len__"):
            for labels in [samples[1]] + ([held_out[1]] if held_out else []):
                check_classes(labels, len(outputs))

    def take_batch_size(self, batch_size: int | None) -> None:
        """How many samples a step has."""
        if batch_size is None:
            batch_size = min(DEFAULT_BATCH, self.size)
        self.batch = count("batch_size", batch_size)
        if self.batch > self.size:
            raise ValueError(f"batch_size is {self.batch}, but there are {self.size} samples")

    def compile(self, compiled: bool, threads: int | None) -> None:
        """Make what computes the loss and its gradient."""
        model, loss, parameters = self.model, self.loss, self.parameters
        samples, held_out = self.samples, self.held_out
        if compiled:
            steps = steps_of(model, loss, samples, parameters, threads)
            self.steps: Steps = steps
        else:
            function = loss_of_sample(model, loss, len(samples) > 2)
            self.steps = EagerSteps(function, samples, parameters)
        self.steps.values[:] = data_of(parameters)
        if held_out is None:
            return
        self.validation_total = None if len(held_out) < 3 else float(held_out[2].sum())
        if compiled:
            self.validation = steps_of(model, loss, held_out, parameters, threads, steps.program)
        else:
            self.validation = EagerSteps(function, held_out, parameters)

    def go(self, bar: Any) -> History:
        """Train."""
        history = self.history
        values, optimizer = self.steps.values, self.optimizer
        self.check = DivergenceCheck(course_of(optimizer, values), values, self._mean_loss)
        best = values
        best_score = counted = math.inf
        improved = 0  # the last epoch that was better by min_delta than the last such one
        try:
            # What overflows is told by a DivergenceError, not by NumPy's warnings.
            with numpy.errstate(over="ignore", invalid="ignore"):
                for epoch in range(self.epochs):
                    history.loss.append(self._epoch(epoch))
                    score = history.loss[-1]
                    if self.validation is not None:
                        score = self._validate(epoch)
                        history.validation_loss.append(score)
                    history.seconds.append(time.perf_counter() - self.start)
                    if score < best_score:
                        best_score = score
                        history.best_epoch = epoch
                        if self.patience is not None:
                            best = values.copy()
                    if score < counted - self.min_delta:
                        counted, improved = score, epoch
                    if bar is not None:
                        show(bar, history)
                    if self.callbacks and self._called_to_stop(epoch):
                        history.stopped = "callback"
                        break
                    if self.patience is not None and epoch - improved >= self.patience:
                        history.stopped = "patience"
                        break
            if self.callbacks and len(history.loss) > 1:
                self._check_parameters()
            if self.patience is not None and history.stopped != "callback":
                values[:] = best
        except KeyboardInterrupt:
            history.stopped = "interrupted"
            warn(
                f"training was interrupted after {history.steps} steps; the model has the weights"
                " of the last one",
                UserWarning,
            )
        finally:
            if self.sound is not None:
                values[:], state = self.sound
                optimizer.restore(state)
            self._return_weights()
            self.check.course.left = values.copy()
            if bar is not None:
                bar.close()
        return history

    def _epoch(self, epoch: int) -> float:
        """Go through the data once; gives the mean loss."""
        steps, optimizer, history = self.steps, self.optimizer, self.history
        values = steps.values
        self.check.course.begin_epoch(optimizer, values)
        total = 0.0
        whole = 0.0
        for index in self._batches():
            weight = None
            size: float = self.size if index is None else len(index)
            if self.weights is not None:
                own = self.weights if index is None else self.weights[index]
                size = weight = float(own.sum())
                if not weight:
                    continue
            loss, gradient = steps.step(index, weight)
            if not math.isfinite(loss):
                self._diverged(epoch, f"the loss is {loss:g}")
            optimizer.update(values, gradient)
            history.steps += 1
            total += loss * size
            whole += size
        mean = total / whole
        fault = self.check.fault(mean, optimizer)
        if fault is not None:
            self._diverged(epoch, fault)
        return mean

    def _mean_loss(self) -> float:
        """The mean loss on the samples of training."""
        loss, _ = self.steps.step(None, None if self.weights is None else float(self.weights.sum()))
        return loss

    def _validate(self, epoch: int) -> float:
        """The mean loss on the validation data."""
        assert self.validation is not None
        self.validation.values[:] = self.steps.values
        loss, _ = self.validation.step(None, self.validation_total)
        if not math.isfinite(loss):
            self._diverged(
                epoch,
                f"the loss on the validation data is {loss:g}",
                f", if the model and the loss are defined for them (on the others it is"
                f" {self.history.loss[-1]:g})",
            )
        return loss

    def _diverged(self, epoch: int, what: str, more: str = "") -> NoReturn:
        """Raise DivergenceError."""
        self.sound = self.check.course.epoch
        place, self.sound = self.check.sound_place()
        steps, rate = self.history.steps, self.optimizer.rate
        if steps:
            advice = f"the learning rate was {rate:g}, a smaller one may help{more}"
        else:  # the learning rate has had no influence
            advice = "that is before the first step: look at the first weights, data and loss"
        raise DivergenceError(
            f"training diverged: {what} at step {steps} (epoch {epoch}); {advice}. Model and"
            f" optimizer are as they were at {place}"
        )

    def _batches(self) -> Iterator[Any]:
        """The numbers of the samples of each batch; None for all."""
        if self.batch == self.size:
            yield None
            return
        order = self.random.permutation(self.size) if self.shuffle else numpy.arange(self.size)
        order = order.astype(numpy.int64, copy=False)
        for start in range(0, self.size, self.batch):
            yield order[start : start + self.batch]

    def _called_to_stop(self, epoch: int) -> bool:
        """Call the callbacks, and take over the weights that they set."""
        self._return_weights()
        try:
            with numpy.errstate(**self.errors):
                answers = [callback(self.history, self.model) for callback in self.callbacks]
                stop = any(list(map(_truth, answers)))
        except BaseException:
            self.steps.values[:] = self._found_weights()
            raise
        found = self._found_weights()
        if not all_finite(found):
            self._check_parameters()
            name, node = next(
                pair for pair in self.model.named_parameters() if not math.isfinite(pair[1].data)
            )
            raise ValueError(f"a callback set {name} to {node.data}; weights are finite numbers")
        self.steps.values[:] = found
        if epoch == 0:
            self._check_parameters()
        return stop

    def _check_parameters(self) -> None:
        """Raise ValueError if callbacks took parameters out of the model, or put others in.

        As this takes time, it is done after the first epoch and at the end.
        """
        now = self.model.parameters()
        if len(now) != len(self.parameters) or any(map(is_not, now, self.parameters)):
            raise ValueError(
                f"a callback took parameters out of {self.model!r} or put others in, which are not"
                " trained; set the data of those that are there (node.data = 0.0), or change the"
                " model between calls of fit"
            )

    def _return_weights(self) -> None:
        set_data(self.parameters, self.steps.values)

    def _found_weights(self) -> Array:
        """What the nodes hold now."""
        return data_of(self.parameters)


def _truth(answer: Any) -> bool:
    """Whether a callback's answer stops the training."""
    try:
        return bool(answer)
    except (TypeError, ValueError) as error:
        raise TypeError(
            "a callback returns True to stop the training, or nothing; this one returned"
            f" {type(answer).__name__}: {error}"
        ) from None
