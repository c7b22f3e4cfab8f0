"""fit: training a model on data."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy

from chainrule.keywords import with_nearest_names
from chainrule.tracebacks import boundary, warn

from ._choices import count, not_negative
from .evaluation import EagerSteps, Steps, loss_of_sample, set_data, steps_of
from .initialization import Seed, generator
from .losses import Loss, cross_entropy
from .losses import loss as loss_named
from .module import Module
from .optimizers import Optimizer
from .optimizers import optimizer as optimizer_named
from .samples import check_classes, checked_samples, checked_weights

DEFAULT_BATCH: Final = 32
EXPLODED: Final = 1e5
"""How many times its first value (or 1, if that is larger) the mean loss of an epoch may be."""


class DivergenceError(ArithmeticError):
    """Training whose loss is no longer finite, or 100,000 times as large as at the start."""


@dataclass
class History:
    """What happened in training.

    Attributes:
        loss: the mean loss of each epoch, as it was during the epoch.
        validation_loss: the loss on the validation data after each epoch; empty without such data.
        seconds: the time from the call, compiling included, to the end of each epoch.
        steps: how many updates there were.
        best_epoch: the epoch, from 0, with the best validation loss (without validation, loss).
        stopped: why it ended: "epochs", "patience", "callback" or "interrupted".
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    steps: int = 0
    best_epoch: int = -1
    stopped: str = "epochs"

    def __repr__(self) -> str:
        last = f", loss {self.loss[-1]:.4g}" if self.loss else ""
        if self.validation_loss:
            last += f", validation loss {self.validation_loss[-1]:.4g}"
        return f"History({len(self.loss)} epochs{last}, stopped by {self.stopped})"


Callback = Callable[[History, Module], Any]


@boundary
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
    validation: float | tuple[Any, Any] | None = None,
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
            data, loss), and go back to the best weights.
        min_delta: how much better counts as better.
        sample_weight: how much each sample counts.
        callbacks: called after each epoch with the history and the model; one that returns True
            stops the training.
        progress: whether to show a bar; by default where somebody is looking.
        compile: whether to compile.
        threads: how many the compiled code may use.

    Returns:
        The history.

    Raises:
        TypeError: if an argument is of the wrong kind, or the loss gives no number.
        ValueError: if data, sizes or names do not fit.
        DivergenceError: if the loss or a weight becomes NaN or infinite, or the mean loss of an
            epoch is above 1e5 times what it was for the first weights (1e5 where that was below 1),
            whatever the optimizer. The model then has the weights from the start of that epoch.
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
    return run.go(_bar(run.epochs, progress))


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
        self.first_loss: float | None = None  # of the first weights; known once it is needed

    def take_data(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: float | tuple[Any, Any] | None,
    ) -> None:
        """Check the data."""
        inputs, targets = checked_samples(X, y, self.loss)
        samples = [inputs, targets]
        if sample_weight is not None:
            samples.append(checked_weights(sample_weight, len(inputs)))
        held_out: list[Any] | None = None
        if isinstance(validation, tuple):
            if len(validation) != 2:
                raise ValueError("validation is a pair (X, y), or a part between 0 and 1")
            held_out = list(checked_samples(*validation, self.loss))
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
        if isinstance(part, bool) or not isinstance(part, (int, float)) or not 0 < part < 1:
            raise ValueError(f"validation is a pair (X, y), or a part between 0 and 1, not {part}")
        n = len(samples[0])
        held = round(n * part)
        if not 0 < held < n:
            raise ValueError(f"validation={part} of {n} samples leaves none on one side")
        order = self.random.permutation(n)
        return [a[order[held:]] for a in samples], [a[order[:held]] for a in samples]

    def _check_classes(self, samples: list[Any], held_out: list[Any] | None) -> None:
        output = self.model(samples[0][0])
        if hasattr(output, "__len__"):
            for labels in [samples[1]] + ([held_out[1]] if held_out else []):
                check_classes(labels, len(output))

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
        self.steps.values[:] = [node.data for node in parameters]
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
        self.safe = self.steps.values.copy()  # weights of which the loss is known to be finite
        self.best = self.first = self.safe
        best = math.inf
        diverged = False
        try:
            for epoch in range(self.epochs):
                history.loss.append(self._epoch(epoch))
                score = history.loss[-1]
                if self.validation is not None:
                    self.validation.values[:] = self.steps.values
                    score, _ = self.validation.step(None, self.validation_total)
                    history.validation_loss.append(score)
                history.seconds.append(time.perf_counter() - self.start)
                if score < best - self.min_delta or history.best_epoch < 0:
                    best = score
                    history.best_epoch = epoch
                    if self.patience is not None:
                        self.best = self.steps.values.copy()
                if bar is not None:
                    _show(bar, history)
                if self._called_to_stop():
                    history.stopped = "callback"
                    break
                if self.patience is not None and epoch - history.best_epoch >= self.patience:
                    history.stopped = "patience"
                    break
        except KeyboardInterrupt:
            history.stopped = "interrupted"
            warn(
                f"training was interrupted after {history.steps} steps; the model has the weights"
                " of the last one",
                UserWarning,
            )
        except DivergenceError:
            diverged = True
            raise
        finally:
            if diverged:
                self.steps.values[:] = self.safe
            elif self.patience is not None and history.stopped in ("epochs", "patience"):
                self.steps.values[:] = self.best
            self._return_weights()
            if bar is not None:
                bar.close()
        return history

    def _epoch(self, epoch: int) -> float:
        """Go through the data once; gives the mean loss."""
        steps, optimizer, history = self.steps, self.optimizer, self.history
        values = steps.values
        self.safe = values.copy()
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
                self._diverged(epoch, loss)
            optimizer.update(values, gradient)
            history.steps += 1
            total += loss * size
            whole += size
        mean = total / whole
        if not numpy.isfinite(values).all():
            self._diverged(epoch, math.nan)
        if mean > EXPLODED and mean > EXPLODED * abs(self._first_loss()):
            self._diverged(epoch, mean)
        return mean

    def _first_loss(self) -> float:
        """The mean loss of the weights that training began with."""
        if self.first_loss is None:
            steps = self.steps
            now = steps.values.copy()
            steps.values[:] = self.first
            total = None if self.weights is None else float(self.weights.sum())
            self.first_loss, _ = steps.step(None, total)
            steps.values[:] = now
        return self.first_loss

    def _diverged(self, epoch: int, loss: float) -> None:
        """Raise DivergenceError."""
        raise DivergenceError(
            f"training diverged: the loss is {loss:g} at step {self.history.steps} (epoch {epoch});"
            f" the learning rate was {self.optimizer.rate:g}, a smaller one may help. The model has"
            " the weights from the start of the epoch"
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

    def _called_to_stop(self) -> bool:
        if not self.callbacks:
            return False
        self._return_weights()
        answers = [callback(self.history, self.model) for callback in self.callbacks]
        return any(answer is True for answer in answers)

    def _return_weights(self) -> None:
        set_data(self.parameters, self.steps.values)
        for node in self.parameters:
            node.grad = 0.0


def _bar(epochs: int, progress: bool | None) -> Any:
    """A progress bar, or None where none is wanted."""
    if progress is None:
        progress = sys.stderr.isatty() or _in_notebook()
        if not progress:
            return None
        try:
            from tqdm.auto import tqdm
        except ModuleNotFoundError:
            return None
    elif not progress:
        return None
    else:
        try:
            from tqdm.auto import tqdm
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "the progress bar needs tqdm: pip install 'chainrule[learn]'", name="tqdm"
            ) from None
    return tqdm(total=epochs, unit="epoch", leave=True)


def _in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def _show(bar: Any, history: History) -> None:
    text = f"loss {history.loss[-1]:.4g}"
    if history.validation_loss:
        text += f", validation {history.validation_loss[-1]:.4g}"
    bar.set_postfix_str(text, refresh=False)
    bar.update()
